//! The report on rotation, as it goes over the admin interface and is kept as evidence: its form, its canonical text, and its signature.
//!
//! What is signed is the canonical text of the report alone (RFC 8785, for the texts, whole numbers and truth values that it consists of), so that a saved report
//! may be formatted anew and still verifies.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// Version of the form.
pub const FORMAT: u16 = 1;

/// Query of `GET /api/v1/reports/rotation`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RotationWanted {
    /// Of this tenant only, by name, besides the IVK.
    pub tenant: Option<String>,
    /// So many records of tenants and services are looked at for one part: 1 to 1000, 1000 if left out.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// What stood in `next` of the part before.
    pub after: Option<String>,
}

/// A report with the node's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedReport {
    /// What is signed, in its canonical text (RFC 8785).
    pub report: RotationReport,
    /// Id of the node's audit log, in hex.
    pub log: String,
    /// Public half of the node's audit signing key, in hex.
    pub public_key: String,
    /// Ed25519 over `strongroom-statement-v1`, a zero, the 16 bytes of `log`, and the canonical text of `report`; in hex.
    pub signature: String,
}

/// How the keys of all layers are rotated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotationReport {
    /// Version of this form: 1.
    pub format: u16,
    /// `rotation`.
    pub kind: String,
    /// The cluster's id.
    pub cluster: String,
    /// What people call the cluster.
    pub cluster_name: String,
    /// Version of the program that made it.
    pub version: String,
    /// Since when there are keys, in RFC 3339: when version 1 of the IVK was made.
    pub from: String,
    /// When the report was made, in RFC 3339.
    pub until: String,
    /// The tenant that was asked for; absent: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The part before ended there; absent from the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Where the next part begins: `after` of the next request. Absent from the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What all of it comes to.
    pub summary: RotationSummary,
    /// The walk that brings keys under the newest versions.
    pub walk: RotationWalk,
    /// One row a key: the IVK, then the tenants' (L2), L2.1, and the services' default ones (L3), newest first.
    pub chains: Vec<RotationChain>,
    /// Records that do not verify, and what is wrong: they have no row.
    pub refused: Vec<String>,
}

/// Part of [`RotationReport`]: what its rows come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotationSummary {
    /// Rows.
    pub chains: u64,
    /// Those whose rotation is overdue.
    pub overdue: u64,
    /// Those that no schedule rotates.
    pub unscheduled: u64,
    /// Compromised versions whose material is not destroyed.
    pub compromised: u64,
    /// Keys that lie under a version that is no longer Active; absent while a walk has to find out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_under_older: Option<u64>,
    /// Records that do not verify.
    pub refused: u64,
}

/// Part of [`RotationReport`]: the walk, as `GET /api/v1/kek/reencryption` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotationWalk {
    /// `walking`, `paused`, `waiting` or `done`.
    pub state: String,
    /// Has a whole walk ended since a version was last replaced?
    pub is_current: bool,
    /// When the last whole walk ended, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Keys that it has looked at.
    pub looked_at: u64,
    /// Keys that it has moved.
    pub moved: u64,
    /// Keys that it left behind, because they do not verify.
    pub refused: u64,
}

/// Part of [`RotationReport`]: the versions of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotationChain {
    /// `IVK`, `L2`, `L2.1` or `L3`.
    pub layer: String,
    /// Its tenant's name; absent for the IVK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Its service's name, of an L3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The chain's id; absent for the IVK, of which there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// The Active version.
    pub active_version: u32,
    /// Its identifier; absent for the IVK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_id: Option<String>,
    /// When it was made, in RFC 3339.
    pub made: String,
    /// How old it is, in whole days.
    pub age_days: u32,
    /// The schedule by which it is rotated, or `none`: when somebody asks.
    pub policy: String,
    /// When it took over from another version, in RFC 3339; absent: it is the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rotation: Option<String>,
    /// When the schedule rotates it next, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_due: Option<String>,
    /// That time is over.
    pub overdue: bool,
    /// Keys that lie under a version that is no longer Active, as the last whole walk has left them. Absent while a walk has to find out, and for an L3: what
    /// lies under that is kept by edges and clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_under_older: Option<u64>,
    /// Compromised versions whose material is not destroyed, of the 256 versions next to the Active one.
    pub compromised: Vec<u32>,
}

/// Why a saved report is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// It is no report, and no manifest.
    #[error(
        "it is no signed report or manifest ({why}): give a file that `strongroom report rotation --out FILE` or `strongroom ceremony manifest --out FILE` has written"
    )]
    Unreadable {
        /// What is wrong with it.
        why: String,
    },
    /// It was signed with another key than the one given.
    #[error("it is signed with the key {found}, not with the one given: see whether it is another node's, or forged")]
    OtherKey {
        /// The key that it names.
        found: String,
    },
    /// The signature does not hold.
    #[error("its signature does not hold: it was changed after it was signed, or never was")]
    Forged,
    /// There is no signature.
    #[error("nobody has signed it, because the node was sealed when the ceremony ended: see the audit log by `strongroom audit verify`")]
    Unsigned,
}

/// The canonical text of a value that consists of texts, whole numbers and truth values (RFC 8785).
#[must_use]
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            // The names of the form are ASCII, so bytes have the order of UTF-16 units.
            names.sort_unstable();
            let fields: Vec<String> = names.iter().map(|name| format!("{}:{}", text(name), canonical(&fields[*name]))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

fn text(name: &str) -> String {
    Value::from(name).to_string()
}

impl RotationReport {
    /// What is signed.
    ///
    /// # Panics
    /// Never: plain fields always print.
    #[must_use]
    pub fn canonical(&self) -> String {
        canonical(&serde_json::to_value(self).expect("plain fields always print"))
    }
}

/// Reads a saved report and checks its signature, from the text alone.
///
/// - `pinned`: the public key that must have signed; `None` believes the one that the report names.
///
/// # Errors
/// [`ReportError`].
pub fn verify(saved: &str, pinned: Option<[u8; 32]>) -> Result<SignedReport, ReportError> {
    let unreadable = |why: String| ReportError::Unreadable { why };
    let value: Value = serde_json::from_str(saved).map_err(|error| unreadable(error.to_string()))?;
    let signed: SignedReport = serde_json::from_value(value.clone()).map_err(|error| unreadable(error.to_string()))?;
    if signed.report.format != FORMAT {
        return Err(unreadable(format!("its form is {}, this release reads {FORMAT}", signed.report.format)));
    }
    // What was signed is what is there, also what this release does not know.
    let statement = canonical(&value["report"]);
    check(&signed.log, &signed.public_key, &signed.signature, pinned, statement.as_bytes())?;
    Ok(signed)
}

/// Checks a node's signature of a statement.
///
/// # Errors
/// [`ReportError`].
pub(crate) fn check(log: &str, public_key: &str, signature: &str, pinned: Option<[u8; 32]>, statement: &[u8]) -> Result<(), ReportError> {
    let (key, log): ([u8; 32], [u8; 16]) = (hex("public_key", public_key)?, hex("log", log)?);
    let signature: [u8; 64] = hex("signature", signature)?;
    if pinned.is_some_and(|pinned| pinned != key) {
        return Err(ReportError::OtherKey { found: public_key.to_owned() });
    }
    let holds = audit::verify_statement(&key, audit::LogId(log), statement, &signature);
    if holds { Ok(()) } else { Err(ReportError::Forged) }
}

fn hex<const N: usize>(name: &str, text: &str) -> Result<[u8; N], ReportError> {
    let unreadable = |why: String| ReportError::Unreadable { why };
    let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| unreadable(format!("{name} is no lower-case hex")))?;
    bytes.try_into().map_err(|_| unreadable(format!("{name} has not {N} bytes")))
}

#[cfg(test)]
mod tests {
    use cipher::sign;

    use super::*;

    const SEED: [u8; 32] = [7; 32];
    const LOG: [u8; 16] = [9; 16];

    fn report() -> RotationReport {
        RotationReport {
            format: FORMAT,
            kind: "rotation".to_owned(),
            cluster: "c".to_owned(),
            cluster_name: "Zürich \"1\"\n".to_owned(),
            version: "0".to_owned(),
            from: "2026-01-01T00:00:00Z".to_owned(),
            until: "2026-02-01T00:00:00Z".to_owned(),
            tenant: None,
            after: None,
            next: None,
            summary: RotationSummary { chains: 1, ..RotationSummary::default() },
            walk: RotationWalk { state: "done".to_owned(), is_current: true, ended: None, looked_at: 0, moved: 0, refused: 0 },
            chains: vec![RotationChain {
                layer: "IVK".to_owned(),
                tenant: None,
                service: None,
                chain: None,
                active_version: 2,
                active_id: None,
                made: "2026-01-31T00:00:00Z".to_owned(),
                age_days: 1,
                policy: "30days".to_owned(),
                last_rotation: Some("2026-01-31T00:00:00Z".to_owned()),
                next_due: Some("2026-03-02T00:00:00Z".to_owned()),
                overdue: false,
                keys_under_older: Some(0),
                compromised: vec![1],
            }],
            refused: Vec::new(),
        }
    }

    fn signed() -> SignedReport {
        let report = report();
        let message = [b"strongroom-statement-v1\0", &LOG[..], report.canonical().as_bytes()].concat();
        SignedReport {
            log: HEXLOWER.encode(&LOG),
            public_key: HEXLOWER.encode(&sign::public_from_seed(&SEED)),
            signature: HEXLOWER.encode(&sign::sign(&SEED, &message)),
            report,
        }
    }

    fn saved() -> String {
        serde_json::to_string_pretty(&signed()).expect("it prints")
    }

    #[test]
    fn the_canonical_text_is_sorted_and_has_no_space() {
        let value: Value =
            serde_json::from_str("{ \"b\": [1, true, null, {\"z\": \"ü\\u0001\\n\", \"a\": {}}], \"a\": \"x\" }").expect("JSON");
        assert_eq!(canonical(&value), "{\"a\":\"x\",\"b\":[1,true,null,{\"a\":{},\"z\":\"ü\\u0001\\n\"}]}");
        assert!(report().canonical().starts_with("{\"chains\":[{\"active_version\":2,\"age_days\":1,\"compromised\":[1],"));
    }

    #[test]
    fn a_saved_report_verifies_however_it_is_formatted() {
        let key = sign::public_from_seed(&SEED);
        assert_eq!(verify(&saved(), Some(key)), Ok(signed()));
        assert_eq!(verify(&saved(), None), Ok(signed()));
        let value: Value = serde_json::from_str(&saved()).expect("JSON");
        assert_eq!(verify(&canonical(&value), Some(key)), Ok(signed()));
        // A later release may say more: that is signed too.
        let more = saved().replace("\"kind\"", "\"more\": 1, \"kind\"");
        assert_eq!(verify(&more, None), Err(ReportError::Forged));
    }

    #[test]
    fn a_report_that_was_changed_or_is_anothers_is_refused() {
        let check = |from: &str, to: &str| {
            let changed = saved().replacen(from, to, 1);
            assert_ne!(changed, saved(), "{from}");
            verify(&changed, None).expect_err(to)
        };
        for (from, to) in [
            ("\"active_version\": 2", "\"active_version\": 3"),
            ("\"overdue\": false", "\"overdue\": true"),
            ("\"keys_under_older\": 0,", ""),
            ("\"refused\": []", "\"refused\": [\"x\"]"),
            (&"09".repeat(16), &"08".repeat(16)),
            (&signed().signature[..4], "0000"),
        ] {
            assert_eq!(check(from, to), ReportError::Forged, "{from}");
        }
        let other = HEXLOWER.encode(&sign::public_from_seed(&[8; 32]));
        assert_eq!(check(&signed().public_key, &other), ReportError::Forged);
        assert_eq!(verify(&saved(), Some([1; 32])), Err(ReportError::OtherKey { found: signed().public_key }));
        for odd in ["\"format\": 2", "\"format\": \"x\""] {
            assert!(matches!(check("\"format\": 1", odd), ReportError::Unreadable { .. }), "{odd}");
        }
        for odd in ["", "{}", "[]", "{\"report\":{}}"] {
            assert!(matches!(verify(odd, None), Err(ReportError::Unreadable { .. })), "{odd}");
        }
    }
}
