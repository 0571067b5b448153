//! Protecting and opening a secret under a key of the token.
//!
//! AES-GCM binds the AAD itself. RSA-OAEP cannot on the tokens at hand, so the plaintext is SHA-256(AAD) | secret, compared when opened.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use hsm::{Oaep, Protected, Refusal, SECRET_BYTES_MAX, Scheme};
use secret::{Bytes, Exhausted};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use crate::fault::{code, fault};
use crate::key::Key;

const TAG_BITS: u64 = 128;
const TAG_BYTES: usize = 16;
const DIGEST_BYTES: usize = 32;
/// Protected and opened again to see whether the device works; not a secret, and its own AAD.
pub(crate) const CANARY: &[u8] = b"strongroom canary";

/// Protects 1 to 96 bytes.
pub(crate) fn protect(session: &Session, key: &Key, offered: &[MechanismType], aad: &[u8], secret: &Bytes) -> Result<Protected, Refusal> {
    if secret.is_empty() || secret.len() > SECRET_BYTES_MAX {
        return Err(Refusal::BadJob { reason: format!("a secret of {} bytes; it must have 1 to {SECRET_BYTES_MAX}", secret.len()) });
    }
    offers(key, offered)?;
    match key {
        Key::Aes(handle) => protect_gcm(session, *handle, aad, secret),
        Key::Rsa { public, .. } => protect_oaep(session, *public, aad, secret),
    }
}

/// Opens what `protect` returned. If the token refuses, one round trip of a canary decides whose fault that is.
pub(crate) fn open(session: &Session, key: &Key, offered: &[MechanismType], aad: &[u8], protected: &Protected) -> Result<Bytes, Refusal> {
    offers(key, offered)?;
    let error = match decrypt(session, key, aad, protected) {
        Ok(mut opened) => return take(&mut opened, aad, &protected.scheme),
        Err(error) => error,
    };
    match code(&error) {
        Some(RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange) => Err(Refusal::BadCiphertext),
        // SoftHSM answers a wrong tag with CKR_GENERAL_ERROR, others with something else again.
        _ if canary_survives(session, key, offered) => Err(Refusal::BadCiphertext),
        _ => Err(fault(error)),
    }
}

fn offers(key: &Key, offered: &[MechanismType]) -> Result<(), Refusal> {
    let needed = match key {
        Key::Aes(_) => MechanismType::AES_GCM,
        Key::Rsa { .. } => MechanismType::RSA_PKCS_OAEP,
    };
    if offered.contains(&needed) { Ok(()) } else { Err(Refusal::MechanismMissing { mechanism: needed.to_string() }) }
}

fn canary_survives(session: &Session, key: &Key, offered: &[MechanismType]) -> bool {
    let Ok(canary) = Bytes::init_with(CANARY.len(), |place| place.copy_from_slice(CANARY)) else { return false };
    let Ok(protected) = protect(session, key, offered, CANARY, &canary) else { return false };
    let Ok(mut opened) = decrypt(session, key, CANARY, &protected) else { return false };
    take(&mut opened, CANARY, &protected.scheme).is_ok_and(|opened| opened.ct_eq(&canary))
}

fn protect_gcm(session: &Session, key: ObjectHandle, aad: &[u8], secret: &Bytes) -> Result<Protected, Refusal> {
    let mut iv = [0; 12];
    getrandom::fill(&mut iv).map_err(|error| Refusal::DeviceFault { call: "getrandom".to_owned(), code: error.to_string() })?;
    // The token may put a nonce of its own in the place of ours; what is stored is what it used.
    let mechanism = Mechanism::AesGcm(GcmParams::new(&mut iv, aad, TAG_BITS.into()).map_err(fault)?);
    let ciphertext = secret.expose(|bytes| session.encrypt(&mechanism, key, bytes)).map_err(fault)?;
    if ciphertext.len() != secret.len() + TAG_BYTES {
        return Err(Refusal::DeviceFault { call: "C_Encrypt".to_owned(), code: format!("{} bytes of ciphertext", ciphertext.len()) });
    }
    Ok(Protected { scheme: Scheme::AesGcm { iv }, ciphertext })
}

/// SHA-256 if the token takes it, else SHA-1.
fn protect_oaep(session: &Session, public: ObjectHandle, aad: &[u8], secret: &Bytes) -> Result<Protected, Refusal> {
    let plain = Bytes::init_with(DIGEST_BYTES + secret.len(), |place| {
        let (digest, rest) = place.split_at_mut(DIGEST_BYTES);
        digest.copy_from_slice(&Sha256::digest(aad));
        secret.expose(|bytes| rest.copy_from_slice(bytes));
    })
    .map_err(no_memory)?;
    let encrypt = |mechanism: &Mechanism<'_>| plain.expose(|bytes| session.encrypt(mechanism, public, bytes));
    match encrypt(&oaep(Oaep::Sha256)) {
        Ok(ciphertext) => Ok(Protected { scheme: Scheme::RsaOaepSha256, ciphertext }),
        Err(Error::Pkcs11(RvError::ArgumentsBad | RvError::MechanismParamInvalid | RvError::MechanismInvalid, _)) => {
            Ok(Protected { scheme: Scheme::RsaOaepSha1, ciphertext: encrypt(&oaep(Oaep::Sha1)).map_err(fault)? })
        }
        Err(error) => Err(fault(error)),
    }
}

fn decrypt(session: &Session, key: &Key, aad: &[u8], protected: &Protected) -> cryptoki::error::Result<Vec<u8>> {
    match (key, &protected.scheme) {
        (Key::Aes(handle), Scheme::AesGcm { iv }) => {
            let mut iv = *iv;
            let mechanism = Mechanism::AesGcm(GcmParams::new(&mut iv, aad, TAG_BITS.into())?);
            session.decrypt(&mechanism, *handle, &protected.ciphertext)
        }
        (Key::Rsa { private, .. }, Scheme::RsaOaepSha256) => session.decrypt(&oaep(Oaep::Sha256), *private, &protected.ciphertext),
        (Key::Rsa { private, .. }, Scheme::RsaOaepSha1) => session.decrypt(&oaep(Oaep::Sha1), *private, &protected.ciphertext),
        // Protected by a key of the other kind.
        (Key::Aes(_), Scheme::RsaOaepSha256 | Scheme::RsaOaepSha1) | (Key::Rsa { .. }, Scheme::AesGcm { .. }) => {
            Err(Error::Pkcs11(RvError::EncryptedDataInvalid, cryptoki::context::Function::DecryptInit))
        }
    }
}

/// Moves an opened secret into locked memory and wipes where it came from.
fn take(opened: &mut Vec<u8>, aad: &[u8], scheme: &Scheme) -> Result<Bytes, Refusal> {
    let secret = match scheme {
        Scheme::AesGcm { .. } => Some(opened.as_slice()),
        Scheme::RsaOaepSha256 | Scheme::RsaOaepSha1 => opened.strip_prefix(Sha256::digest(aad).as_slice()),
    };
    let taken = match secret.filter(|secret| (1..=SECRET_BYTES_MAX).contains(&secret.len())) {
        Some(secret) => Bytes::init_with(secret.len(), |place| place.copy_from_slice(secret)).map_err(no_memory),
        None => Err(Refusal::BadCiphertext),
    };
    opened.zeroize();
    taken
}

pub(crate) fn no_memory(error: Exhausted) -> Refusal {
    Refusal::Unprotected { reason: error.to_string() }
}

pub(crate) fn oaep(hash: Oaep) -> Mechanism<'static> {
    let (hash, mgf) = match hash {
        Oaep::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        Oaep::Sha1 => (MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
    };
    PkcsOaepParams::new(hash, mgf, PkcsOaepSource::empty()).into()
}
