//! The custodian that is a PKCS#11 token.
//!
//! What a slot stores for it (C10, "custodian parameters"; fields of varying length behind a u32):
//!
//! ```text
//! token serial | key label | key id, empty if none | scheme u8 (1 AES-GCM, 2 RSA-OAEP SHA-256, 3 RSA-OAEP SHA-1) | iv 12, scheme 1 only
//! ```
//! The module's path is not among them: what code is loaded is decided by root-owned configuration alone. The key's name is, so that older slots
//! open when the configuration names a newer key. The serial is compared before a PIN is sent: a token of the same label is not the same token.

use std::path::PathBuf;
use std::sync::Arc;

use hsm::{Device, DeviceError, KeyKind, KeyName, Login, Protected, Refusal, Scheme, Token, TokenName, TokenReport};
use secret::Bytes;

use crate::custodian::{Consent, Custodian, CustodianKind, Guarded, New, Place, Platform};
use crate::fields::{Reader, put_prefixed};
use crate::pin::PinSource;
use crate::{Error, Label};

/// Most bytes of a serial number, key label or key id.
const NAME_BYTES_MAX: usize = 256;

const AES_GCM: u8 = 1;
const RSA_OAEP_SHA256: u8 = 2;
const RSA_OAEP_SHA1: u8 = 3;

/// A token as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Settings {
    /// Absolute path of the module.
    pub module: PathBuf,
    /// Which of its tokens.
    pub token: TokenName,
    /// The key for new slots.
    pub key: KeyName,
    /// Where the PIN comes from.
    pub pin: PinSource,
}

/// A token, ready for jobs.
pub(crate) struct Pkcs11 {
    name: Label,
    token: Token,
    key: KeyName,
    pin: PinSource,
    device: Arc<dyn Device>,
}

impl Pkcs11 {
    /// Starts nothing.
    ///
    /// # Errors
    /// `Invalid`.
    pub(crate) fn new(name: Label, settings: Pkcs11Settings, device: Arc<dyn Device>) -> Result<Self, Error> {
        let Pkcs11Settings { module, token, key, pin } = settings;
        if !module.is_absolute() {
            return Err(Error::Invalid { field: "PKCS#11 module", wants: "an absolute path" });
        }
        let (TokenName::Label(token_name) | TokenName::Serial(token_name)) = &token;
        let fits = |bytes: usize| (1..=NAME_BYTES_MAX).contains(&bytes);
        if !fits(token_name.len()) || !fits(key.label.len()) || !key.id.as_ref().is_none_or(|id| fits(id.len())) {
            return Err(Error::Invalid { field: "PKCS#11 token or key", wants: "a name of 1 to 256 bytes" });
        }
        Ok(Self { name, token: Token { module, name: token }, key, pin, device })
    }

    fn describe(&self) -> Result<TokenReport, Error> {
        self.token.describe(&*self.device).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: DeviceError) -> Error {
        Error::Device { name: self.name.clone(), source }
    }

    /// As [`Token::protect`]; makes the key first if it is missing and may be made.
    fn protect_payload(
        &self,
        login: Login<'_>,
        payload: &Bytes,
        aad: &[u8],
        key_to_make: Option<KeyKind>,
    ) -> Result<Protected, DeviceError> {
        let protect = || self.token.protect(&*self.device, login, &self.key, aad, payload);
        match (protect(), key_to_make) {
            (Err(DeviceError::Refused(Refusal::KeyMissing { .. })), Some(kind)) => {
                self.token.make_key(&*self.device, login, &self.key, kind)?;
                protect()
            }
            (outcome, _) => outcome,
        }
    }
}

impl Custodian for Pkcs11 {
    fn name(&self) -> &Label {
        &self.name
    }

    fn kind(&self) -> CustodianKind {
        CustodianKind::Pkcs11
    }

    fn unattended(&self) -> bool {
        matches!(self.pin, PinSource::Credential(_))
    }

    fn protect(&self, secret: &Bytes, of: New<'_>, consent: Consent<'_>) -> Result<Guarded, Error> {
        let pin = self.pin.pin(&self.name, consent)?;
        let report = self.describe()?;
        let best = *report.key_kinds.first().ok_or_else(|| Error::TokenUnable { name: self.name.clone() })?;
        let protected = self.protect_payload(pin.login(consent), secret, &of.header.encode(), consent.make_key.then_some(best));
        let Protected { scheme, ciphertext } = protected.map_err(|source| self.failed(source))?;
        let parameters = Parameters { serial: report.serial, key: self.key.clone(), scheme };
        Ok(Guarded { parameters: parameters.encode(), protected: ciphertext })
    }

    fn open(&self, at: Place<'_>, consent: Consent<'_>) -> Result<Bytes, Error> {
        let Parameters { serial, key, scheme } = Parameters::decode(&at.guarded.parameters)?;
        let pin = self.pin.pin(&self.name, consent)?;
        let is = self.describe()?.serial;
        if is != serial {
            return Err(Error::WrongToken { name: self.name.clone(), is, wants: serial });
        }
        let protected = Protected { scheme, ciphertext: at.guarded.protected.clone() };
        let aad = at.header.encode();
        self.token.open(&*self.device, pin.login(consent), &key, &aad, &protected).map_err(|source| self.failed(source))
    }

    fn ailing(&self, _: Place<'_>, _: Consent<'_>) -> Vec<(Label, Error)> {
        Vec::new()
    }

    fn people(&self) -> Vec<Label> {
        Vec::new()
    }

    fn follows_platform(&self) -> bool {
        false
    }

    fn platform(&self, _: Option<&[u8]>) -> Result<Option<Platform>, Error> {
        Ok(None)
    }
}

/// What a slot stores for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// Serial number of the token.
    pub(crate) serial: String,
    /// The key on it.
    pub(crate) key: KeyName,
    /// How the slot key is protected.
    pub(crate) scheme: Scheme,
}

impl Parameters {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_prefixed(&mut bytes, self.serial.as_bytes());
        put_prefixed(&mut bytes, self.key.label.as_bytes());
        put_prefixed(&mut bytes, self.key.id.as_deref().unwrap_or_default());
        match self.scheme {
            Scheme::AesGcm { iv } => {
                bytes.push(AES_GCM);
                bytes.extend_from_slice(&iv);
            }
            Scheme::RsaOaepSha256 => bytes.push(RSA_OAEP_SHA256),
            Scheme::RsaOaepSha1 => bytes.push(RSA_OAEP_SHA1),
        }
        bytes
    }

    /// Reads what a slot stores.
    ///
    /// # Errors
    /// `Corrupt`, with offsets within the parameters.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let serial = reader.text(NAME_BYTES_MAX, "token serial")?.to_owned();
        let label = reader.text(NAME_BYTES_MAX, "key label")?.to_owned();
        let id = Some(reader.prefixed(NAME_BYTES_MAX, "key id")?).filter(|id| !id.is_empty()).map(<[u8]>::to_vec);
        let at = reader.at();
        let scheme = match reader.u8("protection scheme")? {
            AES_GCM => Scheme::AesGcm { iv: reader.array("protection nonce")? },
            RSA_OAEP_SHA256 => Scheme::RsaOaepSha256,
            RSA_OAEP_SHA1 => Scheme::RsaOaepSha1,
            _ => return Err(Error::Corrupt { what: "protection scheme", at }),
        };
        reader.end()?;
        Ok(Self { serial, key: KeyName { label, id }, scheme })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(id: Option<Vec<u8>>, scheme: Scheme) -> Parameters {
        Parameters { serial: "0123abcd".to_owned(), key: KeyName { label: "slot-key".to_owned(), id }, scheme }
    }

    #[test]
    fn parameters_are_read_as_they_were_written_and_in_no_other_form() {
        for scheme in [Scheme::AesGcm { iv: [7; 12] }, Scheme::RsaOaepSha256, Scheme::RsaOaepSha1] {
            for id in [None, Some(vec![0x51])] {
                let parameters = parameters(id, scheme.clone());
                let bytes = parameters.encode();
                assert_eq!(Parameters::decode(&bytes).ok(), Some(parameters));
                for cut in 0..bytes.len() {
                    assert!(Parameters::decode(&bytes[..cut]).is_err(), "cut at {cut}");
                }
                assert!(Parameters::decode(&[&bytes[..], &[0]].concat()).is_err());
            }
        }
    }

    #[test]
    fn an_unknown_scheme_and_a_long_name_are_refused() {
        let mut bytes = parameters(None, Scheme::RsaOaepSha1).encode();
        *bytes.last_mut().expect("there is a scheme") = 4;
        assert!(matches!(Parameters::decode(&bytes), Err(Error::Corrupt { what: "protection scheme", .. })));
        let long = Parameters { serial: "s".repeat(NAME_BYTES_MAX + 1), ..parameters(None, Scheme::RsaOaepSha1) };
        assert!(matches!(Parameters::decode(&long.encode()), Err(Error::Corrupt { what: "token serial", at: 0 })));
    }
}
