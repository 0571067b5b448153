//! Which of the offered ways to encrypt Cryptographic Parameters ask for, and what a core refuses of them.

use keys::attributes::Attributes;

use crate::attribute::{AttributeName, AttributeValue};
use crate::enums::{BlockCipherMode, CryptographicAlgorithm, PaddingMethod};
use crate::failure::Failure;
use crate::object::CryptographicParameters;
use crate::view;

/// A way to encrypt that a core offers; the server makes all IVs (C4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// AES-CBC with PKCS#5 padding, IV of 16 bytes.
    Cbc,
    /// AES-GCM, IV of 12 bytes, tag of 16 bytes.
    Gcm,
}

impl Scheme {
    /// What the request's parameters ask for; without any, what the key's first ones do; without those, AES-CBC with PKCS#5 padding.
    pub(crate) fn of(request: Option<&CryptographicParameters<'_>>, key: &Attributes) -> Result<Self, Failure> {
        if let Some(parameters) = request {
            return Self::asked(parameters);
        }
        let name = AttributeName::CryptographicParameters.row().name;
        let first = key.others.iter().filter(|other| other.name == name).min_by_key(|other| other.index);
        match first.and_then(view::stored) {
            Some(AttributeValue::CryptographicParameters(parameters)) => Self::asked(&parameters),
            _ => Ok(Self::Cbc),
        }
    }

    /// What these parameters ask for.
    pub(crate) fn asked(parameters: &CryptographicParameters<'_>) -> Result<Self, Failure> {
        if parameters.cryptographic_algorithm.is_some_and(|algorithm| algorithm != CryptographicAlgorithm::Aes) {
            return Err(Failure::field("Cryptographic Algorithm: the key is an AES key"));
        }
        let scheme = match parameters.block_cipher_mode {
            None | Some(BlockCipherMode::Cbc) => Self::Cbc,
            Some(BlockCipherMode::Gcm) => Self::Gcm,
            Some(_) => return Err(Failure::unsupported("Block Cipher Mode: a core offers GCM and CBC")),
        };
        let (padding, iv_bits) = match scheme {
            Self::Cbc => (PaddingMethod::Pkcs5, 128),
            Self::Gcm => (PaddingMethod::None, 96),
        };
        let differs = |asked: Option<i32>, offered| asked.is_some_and(|asked| asked != offered);
        if parameters.padding_method.is_some_and(|asked| asked != padding) {
            return Err(Failure::unsupported("Padding Method: a core offers PKCS5 with CBC and None with GCM"));
        }
        if differs(parameters.iv_length, iv_bits) {
            return Err(Failure::unsupported("IV Length: a core offers 96 bits with GCM and 128 with CBC"));
        }
        if scheme == Self::Gcm && differs(parameters.tag_length, 16) {
            return Err(Failure::unsupported("Tag Length: a core offers 16 bytes"));
        }
        let parts = [parameters.fixed_field_length, parameters.invocation_field_length, parameters.counter_length];
        if parts.iter().chain([&parameters.initial_counter_value]).any(Option::is_some) {
            return Err(Failure::unsupported("Cryptographic Parameters: the IV is random, it has no fields and no counter"));
        }
        Ok(scheme)
    }
}
