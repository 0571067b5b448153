//! Which way to encrypt Cryptographic Parameters ask for, and what a node refuses of them.

use cipher::Padding;
use cipher::mode::{GCM_TAG_BYTES, GCM_TAG_BYTES_MIN, Mode};
use keys::attributes::Attributes;
use keys::policy::NodeRole;
use keys::row::{Algorithm, ObjectType};
use keys::vault::View;

use crate::attribute::{AttributeName, AttributeValue};
use crate::enums::{BlockCipherMode, CryptographicAlgorithm, PaddingMethod, ResultReason};
use crate::failure::Failure;
use crate::object::CryptographicParameters;
use crate::view;

/// A way to encrypt. A core offers CBC with PKCS#5 padding and GCM with a tag of 16 bytes, and makes all IVs itself (C4); an edge, what is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// A mode without a tag.
    Plain(Mode),
    /// AES-GCM; 96 bits of IV where the server makes it.
    Gcm {
        /// Length of the tag, 12 to 16.
        tag_bytes: usize,
    },
}

impl Scheme {
    /// What there is without any parameters: AES-CBC with PKCS#5 padding.
    pub(crate) const CBC: Self = Self::Plain(Mode::Cbc(Padding::Pkcs5));
    /// What a core offers of GCM.
    pub(crate) const GCM: Self = Self::Gcm { tag_bytes: GCM_TAG_BYTES };

    /// What the request's parameters ask for; without any, what the key's first ones do; without those, AES-CBC with PKCS#5 padding.
    pub(crate) fn of(request: Option<&CryptographicParameters<'_>>, key: &View, node: NodeRole) -> Result<Self, Failure> {
        if (key.header.object_type, key.header.algorithm) != (ObjectType::SYMMETRIC_KEY, Algorithm::AES) {
            return Err(Failure::field("Cryptographic Algorithm: of the keys here, those for AES encrypt and decrypt"));
        }
        match request {
            Some(parameters) => Self::asked(parameters, node),
            None => Self::of_key(&key.attributes, node),
        }
    }

    fn of_key(key: &Attributes, node: NodeRole) -> Result<Self, Failure> {
        first_parameters(key).map_or(Ok(Self::CBC), |parameters| Self::asked(&parameters, node))
    }

    /// What these parameters ask for.
    pub(crate) fn asked(parameters: &CryptographicParameters<'_>, node: NodeRole) -> Result<Self, Failure> {
        if parameters.cryptographic_algorithm.is_some_and(|algorithm| algorithm != CryptographicAlgorithm::Aes) {
            return Err(Failure::field("Cryptographic Algorithm: the key is an AES key"));
        }
        let parts = [parameters.fixed_field_length, parameters.invocation_field_length, parameters.counter_length];
        if parts.iter().chain([&parameters.initial_counter_value]).any(Option::is_some) {
            return Err(Failure::unsupported("Cryptographic Parameters: the IV is random, it has no fields and no counter"));
        }
        let scheme = match node {
            NodeRole::Core => asked_of_core(parameters),
            NodeRole::Edge => asked_of_edge(parameters),
        }?;
        let iv_bits = match scheme {
            // Whether a client's own IV is as long as it says is judged when it is there.
            Self::Gcm { .. } if node == NodeRole::Edge => return Ok(scheme),
            Self::Gcm { .. } => 96,
            Self::Plain(mode) => i32::try_from(mode.iv_bytes() * 8).expect("an IV is short"),
        };
        if parameters.iv_length.is_some_and(|asked| asked != iv_bits) {
            return Err(Failure::unsupported("IV Length: 96 bits with GCM, 128 with CBC and CTR, none with ECB"));
        }
        Ok(scheme)
    }
}

/// The key's Cryptographic Parameters with the lowest index, which are meant where a request has none.
pub(crate) fn first_parameters(key: &Attributes) -> Option<CryptographicParameters<'_>> {
    let name = AttributeName::CryptographicParameters.row().name;
    let first = key.others.iter().filter(|other| other.name == name).min_by_key(|other| other.index);
    match first.and_then(view::stored) {
        Some(AttributeValue::CryptographicParameters(parameters)) => Some(parameters),
        _ => None,
    }
}

fn asked_of_core(parameters: &CryptographicParameters<'_>) -> Result<Scheme, Failure> {
    let (scheme, padding) = match parameters.block_cipher_mode {
        None | Some(BlockCipherMode::Cbc) => (Scheme::CBC, PaddingMethod::Pkcs5),
        Some(BlockCipherMode::Gcm) => (Scheme::GCM, PaddingMethod::None),
        Some(_) => return Err(Failure::unsupported("Block Cipher Mode: a core offers GCM and CBC")),
    };
    if parameters.padding_method.is_some_and(|asked| asked != padding) {
        return Err(Failure::unsupported("Padding Method: a core offers PKCS5 with CBC and None with GCM"));
    }
    if scheme == Scheme::GCM && parameters.tag_length.is_some_and(|asked| asked != 16) {
        return Err(Failure::invalid(ResultReason::GeneralFailure, "Tag Length: a core offers 16 bytes"));
    }
    Ok(scheme)
}

fn asked_of_edge(parameters: &CryptographicParameters<'_>) -> Result<Scheme, Failure> {
    let padding = parameters.padding_method;
    let mode = match parameters.block_cipher_mode {
        None | Some(BlockCipherMode::Cbc) => Mode::Cbc(padded(padding.unwrap_or(PaddingMethod::Pkcs5))?),
        // The published cases (CS-BC-M-1, -4) have whole blocks stay what they are.
        Some(BlockCipherMode::Ecb) => Mode::Ecb(padded(padding.unwrap_or(PaddingMethod::None))?),
        Some(BlockCipherMode::Ctr) => {
            must_be_unpadded(padding)?;
            Mode::Ctr
        }
        Some(BlockCipherMode::Gcm) => {
            must_be_unpadded(padding)?;
            return Ok(Scheme::Gcm { tag_bytes: tag_bytes(parameters.tag_length)? });
        }
        Some(_) => return Err(Failure::unsupported("Block Cipher Mode: an edge offers GCM, CBC, CTR and ECB")),
    };
    Ok(Scheme::Plain(mode))
}

fn tag_bytes(asked: Option<i32>) -> Result<usize, Failure> {
    let bytes = asked.map_or(Some(GCM_TAG_BYTES), |asked| usize::try_from(asked).ok());
    let offered = bytes.filter(|bytes| (GCM_TAG_BYTES_MIN..=GCM_TAG_BYTES).contains(bytes));
    // The reason is that of the published case CS-BC-M-GCM-1.
    offered.ok_or_else(|| Failure::invalid(ResultReason::GeneralFailure, "Tag Length: an edge offers 12 to 16 bytes"))
}

fn padded(asked: PaddingMethod) -> Result<Padding, Failure> {
    match asked {
        PaddingMethod::Pkcs5 => Ok(Padding::Pkcs5),
        PaddingMethod::None => Ok(Padding::None),
        PaddingMethod::Zeros => Ok(Padding::Zeros),
        PaddingMethod::AnsiX9_23 => Ok(Padding::AnsiX923),
        PaddingMethod::Iso10126 => Ok(Padding::Iso10126),
        _ => Err(Failure::unsupported("Padding Method: an edge offers None, PKCS5, Zeros, ANSI X9.23 and ISO 10126")),
    }
}

fn must_be_unpadded(asked: Option<PaddingMethod>) -> Result<(), Failure> {
    if asked.is_some_and(|asked| asked != PaddingMethod::None) {
        return Err(Failure::unsupported("Padding Method: with GCM and CTR there is none"));
    }
    Ok(())
}
