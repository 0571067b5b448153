//! A sample of the error tables of KMIP 1.4, section 11, at a whole edge and its core over TLS: the reason, nothing changed, and the record in the log's file.

use std::fs;
use std::path::{Path, PathBuf};

use keys::id::RowId;
use keys::policy::Action;
use keys::record::Outcome;
use softhsm_test::raw::Raw;
use softhsm_test::{Appliance, Who};

const V1_4: (i32, i32) = (1, 4);
const ABSENT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const ABSENT_L3: &str = "L3-01890a5d-ac96-774b-bcce-b302099a8057";

/// One request that fails.
struct Row {
    action: Action,
    /// The operation's number in hexadecimal, as the answer repeats it.
    operation: &'static str,
    payload: String,
    /// The object that its record names.
    object: Option<String>,
    /// The reason's number in hexadecimal, and the outcome in the log.
    reason: &'static str,
    outcome: Outcome,
}

const ITEM_NOT_FOUND: (&str, Outcome) = ("1", Outcome::NotFound);
const INVALID_MESSAGE: (&str, Outcome) = ("4", Outcome::Invalid);
const INVALID_FIELD: (&str, Outcome) = ("7", Outcome::Invalid);
const CRYPTOGRAPHIC_FAILURE: (&str, Outcome) = ("A", Outcome::Refused);
const ILLEGAL_OPERATION: (&str, Outcome) = ("B", Outcome::Invalid);
const DENIED: (&str, Outcome) = ("C", Outcome::Denied);
const WRONG_STATE: (&str, Outcome) = ("C", Outcome::WrongState);
const ARCHIVED: (&str, Outcome) = ("D", Outcome::WrongState);
const NOT_EXTRACTABLE: (&str, Outcome) = ("17", Outcome::Denied);

fn row(action: Action, operation: &'static str, payload: impl Into<String>, (reason, outcome): (&'static str, Outcome)) -> Row {
    Row { action, operation, payload: payload.into(), object: None, reason, outcome }
}

/// The same about an object.
fn about(action: Action, operation: &'static str, id: &str, more: &str, told: (&'static str, Outcome)) -> Row {
    let payload = format!("UniqueIdentifier=\"{id}\" {more}");
    Row { object: Some(id.to_owned()), ..row(action, operation, payload, told) }
}

fn aes(bits: u16, mask: u16, more: &str) -> String {
    let attributes = format!(r#""Cryptographic Algorithm"=#3 "Cryptographic Length"={bits} "Cryptographic Usage Mask"={mask} {more}"#);
    format!("ObjectType=#2 TemplateAttribute{{{attributes}}}")
}

fn done(raw: &mut Raw, operation: &str, payload: &str) -> String {
    let said = raw.one(V1_4, &format!("Operation=#{operation} RequestPayload{{{payload}}}"));
    assert!(said.only().contains("ResultStatus=#0"), "{}", said.only());
    said.only().to_owned()
}

/// An Active key.
fn key(raw: &mut Raw, mask: u16, more: &str) -> String {
    let made = raw.one(V1_4, &format!("Operation=#1 RequestPayload{{{}}}", aes(256, mask, more)));
    let id = made.id();
    let _active = done(raw, "12", &format!("UniqueIdentifier=\"{id}\""));
    id
}

/// What can be seen: which objects there are, and the attributes of these.
fn seen(raw: &mut Raw, ids: &[&String]) -> Vec<String> {
    let all = ids.iter().map(|id| done(raw, "B", &format!("UniqueIdentifier=\"{id}\""))).collect::<Vec<_>>();
    [all, vec![done(raw, "8", "")]].concat()
}

/// The outcomes of all records of this action on this object, in order: see the format in `audit/src/record.rs`.
fn outcomes(folder: &Path, action: Action, id: &str) -> Vec<u8> {
    let (action, id) = ((action as u16).to_be_bytes(), id.parse::<RowId>().expect("an identifier").to_bytes());
    // Between the action and the object is a byte that says what is present; behind it are version and generation.
    let line = |window: &&[u8]| window[..2] == action && window[3..20] == id;
    let entries = fs::read_dir(folder.join("audit")).expect("the node has a log").flatten().map(|entry| entry.path());
    let mut segments: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
    segments.sort();
    let logs = segments.iter().map(|segment| fs::read(segment).expect("it reads"));
    logs.flat_map(|log| log.windows(33).filter(line).map(|window| window[32]).collect::<Vec<_>>()).collect()
}

fn check(raw: &mut Raw, log: &Path, kept: &[&String], rows: &[Row]) {
    let before = seen(raw, kept);
    for row in rows {
        let Row { action, operation, payload, object, reason, outcome } = row;
        let recorded = |object: &Option<String>| object.as_ref().map_or(vec![], |id| outcomes(log, *action, id));
        let earlier = recorded(object).len();
        let said = raw.one(V1_4, &format!("Operation=#{operation} RequestPayload{{{payload}}}"));
        let start = format!("Operation=#{operation} ResultStatus=#1 ResultReason=#{reason} ResultMessage=\"");
        assert!(said.only().starts_with(&start), "{payload}: {} does not begin with {start}", said.only());
        if object.is_some() {
            assert_eq!(recorded(object)[earlier..], [*outcome as u8], "{action:?} of {payload}");
        }
    }
    assert_eq!(seen(raw, kept), before, "nothing changed");
}

#[test]
fn errors_at_a_whole_edge_and_core_are_those_of_the_tables_and_are_in_the_log() {
    use Action as A;
    let appliance = Appliance::with_edges(1);
    let mut service = Raw::connect(&appliance.endpoint_at("edge", Who::Service));
    let id = key(&mut service, 12, r#""Comment"="as it was""#);
    let archived = key(&mut service, 12, "");
    let _archived = done(&mut service, "15", &format!("UniqueIdentifier=\"{archived}\""));
    let raw = "SymmetricKey{KeyBlock{KeyFormatType=#1 KeyValue{KeyMaterial=0x000102030405060708090a0b0c0d0e0f} CryptographicAlgorithm=#3 CryptographicLength=128}}";
    let derivation = "DerivationParameters{CryptographicParameters{HashingAlgorithm=#6} DerivationData=0x00}";
    let derived = r#"TemplateAttribute{"Cryptographic Length"=128 "Cryptographic Usage Mask"=0}"#;
    let data = "Data=0x000102030405060708090a0b0c0d0e0f";
    let rows = [
        row(A::Create, "1", aes(256, 12, "").replace("ObjectType=#2", "ObjectType=#63"), INVALID_FIELD),
        row(A::Create, "1", aes(255, 12, ""), INVALID_FIELD),
        row(A::CreateKeyPair, "2", r#"CommonTemplateAttribute{"Cryptographic Algorithm"=#4}"#, INVALID_MESSAGE),
        row(A::Register, "3", format!("ObjectType=#7 TemplateAttribute{{}} {raw}"), INVALID_FIELD),
        about(A::ReKey, "4", ABSENT, "", ITEM_NOT_FOUND),
        row(
            A::DeriveKey,
            "5",
            format!("ObjectType=#7 UniqueIdentifier=\"{id}\" DerivationMethod=#3 {derivation} {derived}"),
            INVALID_FIELD,
        ),
        row(A::Locate, "8", r#"Attribute{AttributeName="Favourite Colour" AttributeValue="green"}"#, INVALID_FIELD),
        about(A::Check, "9", &id, "CryptographicUsageMask=1", DENIED),
        about(A::Get, "A", &archived, "", ARCHIVED),
        about(A::GetAttributes, "B", &id, r#"AttributeName="State" AttributeName="State""#, INVALID_MESSAGE),
        about(A::GetAttributeList, "C", ABSENT, "", ITEM_NOT_FOUND),
        about(A::AddAttribute, "D", &id, r#""State"=#3"#, DENIED),
        about(A::AddAttribute, "D", &id, r#""Comment"="another""#, ILLEGAL_OPERATION),
        about(A::ModifyAttribute, "E", &id, r#""Description"="none yet""#, INVALID_FIELD),
        about(A::DeleteAttribute, "F", &id, r#"AttributeName="Favourite Colour""#, ITEM_NOT_FOUND),
        about(A::ObtainLease, "10", ABSENT, "", ITEM_NOT_FOUND),
        about(A::GetUsageAllocation, "11", &id, "UsageLimitsCount=1L", ("B", Outcome::WrongState)),
        about(A::Activate, "12", &id, "", WRONG_STATE),
        about(A::Revoke, "13", &id, "RevocationReason{RevocationReasonCode=#80000001}", INVALID_FIELD),
        about(A::Destroy, "14", &id, "", WRONG_STATE),
        about(A::Archive, "15", &archived, "", ARCHIVED),
        about(A::Recover, "16", ABSENT, "", ITEM_NOT_FOUND),
        about(A::Encrypt, "1F", &archived, data, ARCHIVED),
        about(A::Decrypt, "20", &id, &format!("{data} IVCounterNonce=0x000102030405060708090a0b0c0d0e0f"), CRYPTOGRAPHIC_FAILURE),
        about(A::Sign, "21", &id, data, DENIED),
        about(A::Mac, "23", &id, &format!("CryptographicParameters{{CryptographicAlgorithm=#3}} {data}"), DENIED),
        row(A::Hash, "27", format!("CryptographicParameters{{HashingAlgorithm=#6}} {data} CorrelationValue=0x07"), ITEM_NOT_FOUND),
        row(A::Unsupported, "6", "", ("5", Outcome::Invalid)),
    ];
    check(&mut service, &appliance.dir().join("edge"), &[&id], &rows);

    let mut admin = Raw::connect(&appliance.endpoint(Who::TenantAdmin));
    let id = key(&mut admin, 12, r#""Object Group"="billing" "Comment"="as it was""#);
    let rows = [
        row(A::Create, "1", aes(255, 12, r#""Object Group"="billing""#), INVALID_FIELD),
        about(A::ReKey, "4", ABSENT_L3, "", ITEM_NOT_FOUND),
        about(A::Check, "9", &id, "CryptographicUsageMask=1", DENIED),
        about(A::Get, "A", &id, "", NOT_EXTRACTABLE),
        about(A::AddAttribute, "D", &id, r#""State"=#3"#, DENIED),
        about(
            A::ModifyAttribute,
            "E",
            &id,
            r#"Attribute{AttributeName="Comment" AttributeIndex=7 AttributeValue="another"}"#,
            ITEM_NOT_FOUND,
        ),
        about(A::DeleteAttribute, "F", &id, r#"AttributeName="Cryptographic Algorithm""#, DENIED),
        about(A::Activate, "12", &id, "", WRONG_STATE),
        about(A::Revoke, "13", &id, "RevocationReason{RevocationReasonCode=#80000001}", INVALID_FIELD),
        about(A::Destroy, "14", &id, "", WRONG_STATE),
        about(A::Encrypt, "1F", &id, data, DENIED),
        about(A::Export, "2B", &id, "", NOT_EXTRACTABLE),
        row(A::Unsupported, "10", "", ("5", Outcome::Invalid)),
    ];
    check(&mut admin, &appliance.dir().join("core"), &[&id], &rows);
    for node in ["edge", "core"] {
        let verified = appliance.cli_at(node, Who::Operator, &["audit", "verify"]);
        assert!(verified.status.success(), "{node}: {}", String::from_utf8_lossy(&verified.stderr));
    }
    drop(appliance.stop());
}
