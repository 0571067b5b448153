//! Decrypting what somebody else has encrypted to a key of the token: a shard, for the holder of a smart card.
//!
//! Such a key is not ours: it may have been made elsewhere and have copies, as its holder likes. So nothing is asked of it but that it is the right one, which
//! its modulus says, whatever the card calls it.

use cryptoki::error::RvError;
use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use hsm::wire::FRAME_SECRET_BYTES_MAX;
use hsm::{Oaep, Refusal};
use secret::Bytes;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use crate::crypt::{CANARY, no_memory, oaep as mechanism};
use crate::fault::{code, fault};
use crate::key::modulus;

/// A card whose holder has logged in.
pub(crate) struct Card<'a> {
    pub(crate) session: &'a Session,
    pub(crate) serial: &'a str,
    pub(crate) offered: &'a [MechanismType],
}

impl Card<'_> {
    /// Decrypts up to 256 bytes. If the card refuses, one round trip of a canary decides whose fault that is.
    pub(crate) fn decipher(&self, modulus_sha256: &[u8; 32], oaep: Oaep, ciphertext: &[u8]) -> Result<Bytes, Refusal> {
        if !self.offered.contains(&MechanismType::RSA_PKCS_OAEP) {
            return Err(Refusal::MechanismMissing { mechanism: MechanismType::RSA_PKCS_OAEP.to_string() });
        }
        let (private, modulus) = self.key(modulus_sha256)?;
        let error = match self.session.decrypt(&mechanism(oaep), private, ciphertext) {
            Ok(mut opened) => return take(&mut opened),
            Err(error) => error,
        };
        match code(&error) {
            Some(RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange) => Err(Refusal::BadCiphertext),
            Some(RvError::ArgumentsBad | RvError::MechanismParamInvalid | RvError::MechanismInvalid) => {
                let hash = match oaep {
                    Oaep::Sha256 => MechanismType::SHA256,
                    Oaep::Sha1 => MechanismType::SHA1,
                };
                Err(Refusal::MechanismMissing { mechanism: format!("{} with {hash}", MechanismType::RSA_PKCS_OAEP) })
            }
            _ if self.canary_survives(private, modulus, oaep) => Err(Refusal::BadCiphertext),
            _ => Err(fault(error)),
        }
    }

    /// The private key of that modulus. Each is asked, because not every card searches by it.
    fn key(&self, modulus_sha256: &[u8; 32]) -> Result<(ObjectHandle, Vec<u8>), Refusal> {
        let wanted = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(KeyType::RSA)];
        let all = self.session.find_objects(&wanted).map_err(fault)?;
        for private in &all {
            if let Some(modulus) = modulus(self.session, *private)?.filter(|modulus| digest(modulus) == *modulus_sha256) {
                return Ok((*private, modulus));
            }
        }
        Err(Refusal::OtherCard { serial: self.serial.to_owned(), keys: all.len() })
    }

    /// Does the card open what was encrypted now? One without the public half cannot be asked, and is not believed to be well.
    fn canary_survives(&self, private: ObjectHandle, modulus: Vec<u8>, oaep: Oaep) -> bool {
        let wanted = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Modulus(modulus), Attribute::Encrypt(true)];
        let Some(public) = self.session.find_objects(&wanted).ok().and_then(|mut found| found.pop()) else { return false };
        let Ok(encrypted) = self.session.encrypt(&mechanism(oaep), public, CANARY) else { return false };
        self.session.decrypt(&mechanism(oaep), private, &encrypted).is_ok_and(|opened| opened == CANARY)
    }
}

fn digest(modulus: &[u8]) -> [u8; 32] {
    let first = modulus.iter().position(|byte| *byte != 0).unwrap_or(modulus.len());
    Sha256::digest(&modulus[first..]).into()
}

/// Moves what was decrypted into locked memory and wipes where it came from.
fn take(opened: &mut Vec<u8>) -> Result<Bytes, Refusal> {
    let taken = match (1..=FRAME_SECRET_BYTES_MAX).contains(&opened.len()) {
        true => Bytes::init_with(opened.len(), |place| place.copy_from_slice(opened)).map_err(no_memory),
        false => Err(Refusal::BadCiphertext),
    };
    opened.zeroize();
    taken
}
