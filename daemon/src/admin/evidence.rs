//! What a node has signed as evidence, checked from a saved file alone: reports on rotation, and manifests of ceremonies.

use serde::Deserialize;
use serde_json::Value;

use crate::admin::report::{self, ReportError, SignedReport};
use crate::admin::types::SignedManifest;

/// Version of the form of a manifest.
const MANIFEST_FORMAT: u16 = 1;

/// What a saved file is, if it is what the node signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A report on rotation.
    Rotation(Box<SignedReport>),
    /// What was done in a ceremony.
    Ceremony {
        /// What a reader is told of it.
        said: ManifestSaid,
        /// Id of the audit log of the node that signed it, in hex.
        log: String,
        /// Public half of the key that signed it, in hex.
        public_key: String,
    },
}

/// What of a manifest is told to who checks it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ManifestSaid {
    format: u16,
    /// The cluster's id.
    pub cluster: String,
    /// The ceremony's id.
    pub ceremony: String,
    /// What was asked.
    pub asked: Asked,
    /// When it ended, in RFC 3339.
    pub ended: String,
    /// What came of it.
    pub outcome: String,
}

/// What was asked of custodians, by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Asked {
    /// As in the request.
    pub operation: String,
}

/// Reads a saved report or manifest and checks its signature, from the text alone.
///
/// - `pinned`: the public key that must have signed; `None` believes the one that the file names.
///
/// # Errors
/// [`ReportError`].
pub fn verify(saved: &str, pinned: Option<[u8; 32]>) -> Result<Evidence, ReportError> {
    let unreadable = |error: serde_json::Error| ReportError::Unreadable { why: error.to_string() };
    let value: Value = serde_json::from_str(saved).map_err(unreadable)?;
    if value.get("manifest").is_none() {
        return Ok(Evidence::Rotation(Box::new(report::verify(saved, pinned)?)));
    }
    let signed: SignedManifest = serde_json::from_value(value).map_err(unreadable)?;
    let SignedManifest { manifest, log, public_key, signature } = signed;
    let (Some(public_key), Some(signature)) = (public_key, signature) else { return Err(ReportError::Unsigned) };
    report::check(&log, &public_key, &signature, pinned, manifest.as_bytes())?;
    let said: ManifestSaid = serde_json::from_str(&manifest).map_err(unreadable)?;
    if said.format != MANIFEST_FORMAT {
        let why = format!("its form is {}, this release reads {MANIFEST_FORMAT}", said.format);
        return Err(ReportError::Unreadable { why });
    }
    Ok(Evidence::Ceremony { said, log, public_key })
}

#[cfg(test)]
mod tests {
    use cipher::sign;
    use data_encoding::HEXLOWER;

    use super::*;

    const SEED: [u8; 32] = [7; 32];
    const LOG: [u8; 16] = [9; 16];

    fn signed() -> SignedManifest {
        let manifest =
            r#"{"format":1,"cluster":"c","ceremony":"x","asked":{"operation":"slot-remove","slot":"s"},"ended":"2026","outcome":"done"}"#;
        let message = [b"strongroom-statement-v1\0", &LOG[..], manifest.as_bytes()].concat();
        SignedManifest {
            manifest: manifest.to_owned(),
            log: HEXLOWER.encode(&LOG),
            public_key: Some(HEXLOWER.encode(&sign::public_from_seed(&SEED))),
            signature: Some(HEXLOWER.encode(&sign::sign(&SEED, &message))),
        }
    }

    fn checked(signed: &SignedManifest, pinned: Option<[u8; 32]>) -> Result<Evidence, ReportError> {
        verify(&serde_json::to_string(signed).expect("it prints"), pinned)
    }

    #[test]
    fn a_saved_manifest_is_checked_by_itself() {
        let key = sign::public_from_seed(&SEED);
        for pinned in [None, Some(key)] {
            let Ok(Evidence::Ceremony { said, log, public_key }) = checked(&signed(), pinned) else { panic!("it is signed") };
            assert_eq!((said.asked.operation.as_str(), said.outcome.as_str()), ("slot-remove", "done"));
            assert_eq!((log, Some(public_key)), (signed().log, signed().public_key));
        }
    }

    #[test]
    fn a_manifest_that_was_changed_or_is_anothers_or_unsigned_is_refused() {
        let other = HEXLOWER.encode(&sign::public_from_seed(&[8; 32]));
        let changed = |manifest: &str| SignedManifest { manifest: manifest.to_owned(), ..signed() };
        let more = signed().manifest.replace("done", "failed");
        for forged in [
            changed(&more),
            changed(&format!("{} ", signed().manifest)),
            SignedManifest { log: "08".repeat(16), ..signed() },
            SignedManifest { public_key: Some(other), ..signed() },
            SignedManifest { signature: Some("00".repeat(64)), ..signed() },
        ] {
            assert_eq!(checked(&forged, None), Err(ReportError::Forged), "{forged:?}");
        }
        let found = signed().public_key.expect("it is signed");
        assert_eq!(checked(&signed(), Some([1; 32])), Err(ReportError::OtherKey { found }));
        for unsigned in [SignedManifest { signature: None, ..signed() }, SignedManifest { public_key: None, ..signed() }] {
            assert_eq!(checked(&unsigned, None), Err(ReportError::Unsigned));
        }
        // As an earlier release answered.
        let before = SignedManifest { log: String::new(), ..signed() };
        assert!(matches!(checked(&before, None), Err(ReportError::Unreadable { why }) if why == "log has not 16 bytes"));
        for odd in ["", "[]", "{}", r#"{"manifest":1}"#] {
            assert!(matches!(verify(odd, None), Err(ReportError::Unreadable { .. })), "{odd}");
        }
    }
}
