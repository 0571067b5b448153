//! A smart card whose holder keeps a shard: the RSA key to which it is encrypted, and the file that the card opens (C11).
//!
//! ```text
//! parameters  oaep u8 (1 SHA-256, 2 SHA-1; MGF1 with the same) | SubjectPublicKeyInfo of the RSA key
//! protected   RSA-OAEP of the shard's text, without a label
//! file        "SRC1" | oaep u8 | SHA-256 of the key's modulus 32 | protected
//! ```
//! The file says which key opens it, so that another card is told from a file that was altered. Without these 37 bytes it is what any program decrypts that
//! speaks PKCS#11. Nothing of it is believed: the text that comes out has a checksum, and its slot knows the shard's digest.
//!
//! The key is the public half alone, so the machine cannot read the shard back; its holder shows that the card opens it. OAEP is computed by AWS-LC, with
//! randomness of its own, and needs no SHA-2 from a card that has only SHA-1: what OAEP asks of its hash is not collision resistance.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use cipher::mac::sha256;
use data_encoding::{BASE64, HEXLOWER};
use hsm::Oaep;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey;

use crate::Error;
use crate::fields::Reader;

/// Bits of a card's key. Longer ones would not leave room for the code on a printed sheet.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
const HEAD_BYTES: usize = MAGIC.len() + 1 + 32;
const MAGIC: &[u8; 4] = b"SRC1";
const LINE_CHARACTERS: usize = 64;
const UNFIT: Error =
    Error::Invalid { field: "card's public key", wants: "an RSA key of 2048 to 4096 bits, or a certificate of one, in PEM" };

/// The public half of a card's RSA key, and how is encrypted to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardKey {
    /// As AWS-LC writes it, so that one key has one form.
    spki: Vec<u8>,
    oaep: Oaep,
    modulus_sha256: [u8; 32],
}

impl CardKey {
    /// - `pem`: the key or a certificate of it; of a certificate nothing but the key counts.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn from_pem(pem: &str, oaep: Oaep) -> Result<Self, Error> {
        let block = Pem::iter_from_buffer(pem.as_bytes()).next().and_then(Result::ok).ok_or(UNFIT)?;
        match block.label.as_str() {
            "PUBLIC KEY" => Self::from_spki(&block.contents, oaep),
            "CERTIFICATE" => Self::from_spki(block.parse_x509().map_err(|_| UNFIT)?.public_key().raw, oaep),
            _ => Err(UNFIT),
        }
    }

    fn from_spki(spki: &[u8], oaep: Oaep) -> Result<Self, Error> {
        let key = PublicEncryptingKey::from_der(spki).map_err(|_| UNFIT)?;
        if !RSA_BITS.contains(&key.key_size_bits()) {
            return Err(UNFIT);
        }
        let spki: PublicKeyX509Der<'_> = key.as_der().map_err(|_| UNFIT)?;
        let spki = spki.as_ref().to_vec();
        let (_, parsed) = SubjectPublicKeyInfo::from_der(&spki).map_err(|_| UNFIT)?;
        let Ok(PublicKey::RSA(rsa)) = parsed.parsed() else { return Err(UNFIT) };
        let first = rsa.modulus.iter().position(|byte| *byte != 0).ok_or(UNFIT)?;
        let modulus_sha256 = sha256(&[&rsa.modulus[first..]]);
        Ok(Self { spki, oaep, modulus_sha256 })
    }

    /// The key as a configuration has it.
    #[must_use]
    pub fn pem(&self) -> String {
        let text = BASE64.encode(&self.spki);
        let lines = text.as_bytes().chunks(LINE_CHARACTERS).map(String::from_utf8_lossy);
        let body: String = lines.map(|line| format!("{line}\n")).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{body}-----END PUBLIC KEY-----\n")
    }

    /// The hash of its OAEP.
    #[must_use]
    pub const fn oaep(&self) -> Oaep {
        self.oaep
    }

    /// SHA-256 of the SubjectPublicKeyInfo: whatever is encrypted how, one key has one.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&[&self.spki])
    }

    pub(crate) fn parameters(&self) -> Vec<u8> {
        [&[number(self.oaep)], &self.spki[..]].concat()
    }

    /// What a slot stores.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn from_parameters(bytes: &[u8]) -> Result<Self, Error> {
        let (oaep, spki) = bytes.split_first().ok_or(Error::Corrupt { what: "hash of OAEP", at: 0 })?;
        let oaep = oaep_of(*oaep).ok_or(Error::Corrupt { what: "hash of OAEP", at: 0 })?;
        let key = Self::from_spki(spki, oaep).ok().filter(|key| key.spki == spki);
        key.ok_or(Error::Corrupt { what: "public key of a card", at: 1 })
    }

    /// # Errors
    /// `Invalid`, if AWS-LC does not take the key.
    pub(crate) fn encrypt(&self, text: &[u8]) -> Result<Vec<u8>, Error> {
        let key = PublicEncryptingKey::from_der(&self.spki).map_err(|_| UNFIT)?;
        let key = OaepPublicEncryptingKey::new(key).map_err(|_| UNFIT)?;
        let mut place = vec![0; key.ciphertext_size()];
        let algorithm = match self.oaep {
            Oaep::Sha256 => &OAEP_SHA256_MGF1SHA256,
            Oaep::Sha1 => &OAEP_SHA1_MGF1SHA1,
        };
        Ok(key.encrypt(algorithm, text, &mut place, None).map_err(|_| UNFIT)?.to_vec())
    }

    /// The file that the holder gets of what a slot stores for the key.
    #[must_use]
    pub fn file(&self, protected: &[u8]) -> Vec<u8> {
        CardFile { oaep: self.oaep, modulus_sha256: self.modulus_sha256, ciphertext: protected.to_vec() }.encode()
    }
}

impl fmt::Display for CardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", HEXLOWER.encode(&self.fingerprint()))
    }
}

/// What a card opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardFile {
    /// How it was encrypted.
    pub oaep: Oaep,
    /// Which key opens it: SHA-256 of its modulus, without leading zeros.
    pub modulus_sha256: [u8; 32],
    /// What goes to the card.
    pub ciphertext: Vec<u8>,
}

impl CardFile {
    fn encode(&self) -> Vec<u8> {
        [&MAGIC[..], &[number(self.oaep)], &self.modulus_sha256, &self.ciphertext].concat()
    }

    /// Reads what [`CardKey::file`] wrote.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if reader.array("magic of a card's shard")? != *MAGIC {
            return Err(Error::Corrupt { what: "magic of a card's shard", at: 0 });
        }
        let at = reader.at();
        let oaep = oaep_of(reader.u8("hash of OAEP")?).ok_or(Error::Corrupt { what: "hash of OAEP", at })?;
        let modulus_sha256 = reader.array("digest of a card's key")?;
        let ciphertext = bytes[reader.at()..].to_vec();
        if !RSA_BITS.contains(&(ciphertext.len() * 8)) {
            return Err(Error::Corrupt { what: "shard for a card", at: HEAD_BYTES });
        }
        Ok(Self { oaep, modulus_sha256, ciphertext })
    }
}

const fn number(oaep: Oaep) -> u8 {
    match oaep {
        Oaep::Sha256 => 1,
        Oaep::Sha1 => 2,
    }
}

const fn oaep_of(number: u8) -> Option<Oaep> {
    match number {
        1 => Some(Oaep::Sha256),
        2 => Some(Oaep::Sha1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::Pkcs8V1Der;
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};

    use super::*;

    const TEXT: &[u8] = b"SRSHARD1-as it is handed out";
    /// Another key in this form; the private halves of the keys in this module are made anew each time.
    const EC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n\
        -----END PUBLIC KEY-----\n";

    fn private(size: KeySize) -> PrivateDecryptingKey {
        PrivateDecryptingKey::generate(size).expect("there is randomness")
    }

    fn pem_of(private: &PrivateDecryptingKey) -> String {
        let der: PublicKeyX509Der<'_> = private.public_key().as_der().expect("it has a form");
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(der.as_ref()))
    }

    /// A number of so many bits, all of them ones, in the place of a modulus.
    fn pem_of_bits(bits: usize) -> String {
        let part = |tag: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).expect("it is short").to_be_bytes();
            [&[tag, 0x82], &length[..], content].concat()
        };
        let modulus = part(2, &[&[0], &vec![0xFF; bits / 8][..]].concat());
        let key = part(0x30, &[&modulus[..], &[2, 3, 1, 0, 1]].concat());
        let rsa = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
        let spki = part(0x30, &[&rsa[..], &part(3, &[&[0], &key[..]].concat())].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(&spki))
    }

    #[test]
    fn what_is_encrypted_to_a_key_its_private_half_opens_by_the_same_hash_only() {
        let private = private(KeySize::Rsa2048);
        let pem = pem_of(&private);
        let decrypting = OaepPrivateDecryptingKey::new(private).expect("a sound key");
        for (oaep, own, other) in
            [(Oaep::Sha256, &OAEP_SHA256_MGF1SHA256, &OAEP_SHA1_MGF1SHA1), (Oaep::Sha1, &OAEP_SHA1_MGF1SHA1, &OAEP_SHA256_MGF1SHA256)]
        {
            let key = CardKey::from_pem(&pem, oaep).expect("a key of 2048 bits");
            let (one, two) = (key.encrypt(TEXT).expect("short enough"), key.encrypt(TEXT).expect("short enough"));
            assert_ne!(one, two, "it is drawn anew each time");
            let file = CardFile::decode(&key.file(&one)).expect("its own form");
            assert_eq!((file.oaep, &file.ciphertext), (oaep, &one));
            let mut place = vec![0; decrypting.min_output_size()];
            assert_eq!(decrypting.decrypt(own, &file.ciphertext, &mut place, None).expect("the right key"), TEXT);
            assert!(decrypting.decrypt(other, &file.ciphertext, &mut place, None).is_err(), "{oaep:?}");
        }
        let [sha256, sha1] = [Oaep::Sha256, Oaep::Sha1].map(|oaep| CardKey::from_pem(&pem, oaep).expect("a key of 2048 bits"));
        assert!(sha256 != sha1 && sha256.fingerprint() == sha1.fingerprint(), "it is one key");
        assert_eq!(CardKey::from_pem(&sha1.pem(), Oaep::Sha1).ok(), Some(sha1));
    }

    #[test]
    fn only_rsa_keys_that_a_card_has_are_taken() {
        for size in [KeySize::Rsa2048, KeySize::Rsa3072] {
            assert!(CardKey::from_pem(&pem_of(&private(size)), Oaep::Sha256).is_ok());
        }
        assert!(CardKey::from_pem(&pem_of_bits(4096), Oaep::Sha256).is_ok());
        let [short, long] = [1024, 4104].map(pem_of_bits);
        let secret: Pkcs8V1Der<'_> = private(KeySize::Rsa2048).as_der().expect("it has a form");
        let secret = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(secret.as_ref()));
        for wrong in ["", "age1zvkyg2lq", EC, &short, &long, &secret, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            let refused = CardKey::from_pem(wrong, Oaep::Sha256);
            assert!(matches!(refused, Err(Error::Invalid { field: "card's public key", .. })), "{wrong}: {refused:?}");
        }
    }

    #[test]
    fn parameters_and_files_are_read_as_they_were_written_and_in_no_other_form() {
        let key = CardKey::from_pem(&pem_of(&private(KeySize::Rsa2048)), Oaep::Sha1).expect("a key of 2048 bits");
        let parameters = key.parameters();
        assert_eq!(CardKey::from_parameters(&parameters).ok(), Some(key.clone()));
        for cut in 0..parameters.len() {
            assert!(matches!(CardKey::from_parameters(&parameters[..cut]), Err(Error::Corrupt { .. })), "cut at {cut}");
        }
        for odd in [[&[3], &parameters[1..]].concat(), [&parameters[..], &[0]].concat()] {
            assert!(matches!(CardKey::from_parameters(&odd), Err(Error::Corrupt { .. })));
        }
        let file = key.file(&[5; 256]);
        assert_eq!((&file[..5], &file[HEAD_BYTES..]), (&b"SRC1\x02"[..], &[5; 256][..]));
        for cut in 0..file.len() {
            assert!(cut > HEAD_BYTES + 255 || CardFile::decode(&file[..cut]).is_err(), "cut at {cut}");
        }
        let longest = key.file(&[5; 512]);
        assert!(longest.len() == HEAD_BYTES + 4096 / 8 && CardFile::decode(&longest).is_ok());
        for odd in [[&b"SRC2"[..], &file[4..]].concat(), [&file[..4], &[0], &file[5..]].concat(), key.file(&[5; 513])] {
            assert!(matches!(CardFile::decode(&odd), Err(Error::Corrupt { .. })));
        }
    }
}
