//! What real clients send that broke a server once, replayed byte by byte at a real edge; every field of each answer is looked at.

use kmip::notation;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use softhsm_test::raw::{Raw, Said, tls};
use softhsm_test::{Appliance, Who, wait_for};

const V1_0: (i32, i32) = (1, 0);
const V1_1: (i32, i32) = (1, 1);
const V1_2: (i32, i32) = (1, 2);
const V1_3: (i32, i32) = (1, 3);
const V1_4: (i32, i32) = (1, 4);
const VERSIONS: [(i32, i32); 5] = [V1_0, V1_1, V1_2, V1_3, V1_4];

const AES_256: &str = r#""Cryptographic Algorithm"=#3 "Cryptographic Length"=256 "Cryptographic Usage Mask"=12"#;
const MATERIAL: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// An edge that serves, and one connection to it as acme/billing.
fn edge() -> (Appliance, Raw) {
    let appliance = Appliance::with_edges(1);
    let raw = at_edge(&appliance, Who::Service);
    (appliance, raw)
}

fn at_edge(appliance: &Appliance, who: Who) -> Raw {
    Raw::connect(&appliance.endpoint_at("edge", who))
}

fn name(text: &str) -> String {
    format!(r#""Name"{{NameValue="{text}" NameType=#1}}"#)
}

fn said_name(text: &str) -> String {
    said_instance("Name", &format!("{{NameValue=\"{text}\" NameType=#1}}"))
}

/// The first instance of an attribute that may have several: the edge names its index.
fn said_instance(name: &str, value: &str) -> String {
    format!("Attribute{{AttributeName=\"{name}\" AttributeIndex=0 AttributeValue{value}}}")
}

fn said_attribute(name: &str, value: &str) -> String {
    format!("Attribute{{AttributeName=\"{name}\" AttributeValue{value}}}")
}

fn create(attributes: &str) -> String {
    format!("Operation=#1 RequestPayload{{ObjectType=#2 TemplateAttribute{{{attributes}}}}}")
}

fn raw_key(attributes: &str) -> String {
    let block =
        format!("KeyBlock{{KeyFormatType=#1 KeyValue{{KeyMaterial=0x{MATERIAL}}} CryptographicAlgorithm=#3 CryptographicLength=256}}");
    format!("Operation=#3 RequestPayload{{ObjectType=#2 TemplateAttribute{{{attributes}}} SymmetricKey{{{block}}}}}")
}

/// Secret Data of this type (1 Password, 2 Seed), Opaque, with these hexadecimal digits.
fn secret(kind: u32, hexadecimal: &str, attributes: &str) -> String {
    let block = format!("KeyBlock{{KeyFormatType=#2 KeyValue{{KeyMaterial=0x{hexadecimal}}}}}");
    format!("Operation=#3 RequestPayload{{ObjectType=#7 TemplateAttribute{{{attributes}}} SecretData{{SecretDataType=#{kind} {block}}}}}")
}

fn about(operation: &str, id: &str, more: &str) -> String {
    format!("Operation=#{operation} RequestPayload{{UniqueIdentifier=\"{id}\" {more}}}")
}

fn done(operation: &str, payload: &str) -> String {
    format!("Operation=#{operation} ResultStatus=#0 ResponsePayload{{{payload}}}")
}

fn done_with(operation: &str, id: &str) -> String {
    done(operation, &format!("UniqueIdentifier=\"{id}\""))
}

fn got_raw_key(id: &str) -> String {
    let block =
        format!("KeyBlock{{KeyFormatType=#1 KeyValue{{KeyMaterial=0x{MATERIAL}}} CryptographicAlgorithm=#3 CryptographicLength=256}}");
    done("A", &format!("ObjectType=#2 UniqueIdentifier=\"{id}\" SymmetricKey{{{block}}}"))
}

/// That an item failed for this reason, and said why.
fn failed(said: &str, operation: &str, reason: &str) {
    let start = format!("Operation=#{operation} ResultStatus=#1 ResultReason=#{reason} ResultMessage=\"");
    let message = said.strip_prefix(&start).unwrap_or_else(|| panic!("{said} does not begin with {start}"));
    assert!(message.ends_with('"') && message.matches('"').count() == 1 && message.len() > 10, "{said}");
}

const ITEM_NOT_FOUND: &str = "1";
const PERMISSION_DENIED: &str = "C";
const INVALID_FIELD: &str = "7";

/// Percona's component_keyring_kmip speaks 1.4 and 1.0 on one connection, and revokes with a date of 0.
#[test]
fn q01_versions_may_be_mixed_on_one_connection() {
    let (appliance, mut raw) = edge();
    let attributes = format!(r#"{AES_256} {} "Object Group"="mysql""#, name("keyring-1"));
    let said = raw.one(V1_4, &raw_key(&attributes));
    let key = said.id();
    assert_eq!(said.only(), done_with("3", &key));
    let said =
        raw.one(V1_0, &secret(1, "70617373", &format!(r#""Cryptographic Usage Mask"=516 {} "Object Group"="mysql""#, name("keyring-2"))));
    let password = said.id();
    assert_eq!(said.only(), done_with("3", &password));
    assert_eq!(raw.one(V1_0, &about("12", &key, "")).only(), done_with("12", &key));

    let page = |offset: u32| format!(r#"Operation=#8 RequestPayload{{MaximumItems=1 OffsetItems={offset} "Object Group"="mysql"}}"#);
    let pages: Vec<Said> = (0..3).map(|offset| raw.one(V1_4, &page(offset))).collect();
    assert_eq!(pages[0].only(), done("8", &format!("LocatedItems=2 UniqueIdentifier=\"{password}\"")), "the newest first");
    assert_eq!(pages[1].only(), done("8", &format!("LocatedItems=2 UniqueIdentifier=\"{key}\"")));
    assert_eq!(pages[2].only(), done("8", "LocatedItems=2"), "behind the last page there is an empty one");
    let sixteen = r#"Operation=#8 RequestPayload{MaximumItems=16 OffsetItems=0 "Object Type"=#2 "Object Group"="mysql"}"#;
    assert_eq!(raw.one(V1_4, sixteen).only(), done("8", &format!("LocatedItems=1 UniqueIdentifier=\"{key}\"")));
    let old = r#"Operation=#8 RequestPayload{MaximumItems=16 "Object Type"=#7}"#;
    assert_eq!(raw.one(V1_0, old).only(), done("8", &format!("UniqueIdentifier=\"{password}\"")), "Located Items is of 1.3");

    assert_eq!(raw.one(V1_0, &about("A", &key, "")).only(), got_raw_key(&key));
    assert_eq!(raw.one(V1_4, &about("A", &key, "")).only(), got_raw_key(&key));
    let names = done("B", &format!("UniqueIdentifier=\"{key}\" {}", said_name("keyring-1")));
    assert_eq!(raw.one(V1_0, &about("B", &key, "AttributeName=\"Name\"")).only(), names);
    let revoke = about("13", &key, "RevocationReason{RevocationReasonCode=#1} CompromiseOccurrenceDate=@0");
    assert_eq!(raw.one(V1_0, &revoke).only(), done_with("13", &key));
    assert_eq!(raw.one(V1_4, &about("14", &key, "")).only(), done_with("14", &key));
    assert_eq!(raw.one(V1_4, sixteen).only(), done("8", "LocatedItems=0"));
    drop(appliance.stop());
}

/// vault#24309: a field of 1.4 in an answer in 1.0.
#[test]
fn q02_no_answer_has_a_field_that_is_not_of_its_version() {
    let (appliance, mut raw) = edge();
    for version in VERSIONS {
        let key = raw.one(version, &create(&format!("{AES_256} {}", name(&format!("{version:?}"))))).id();
        let said = raw.one(version, &format!("Operation=#8 RequestPayload{{MaximumItems=16 {}}}", name(&format!("{version:?}"))));
        let located = if version >= V1_3 { "LocatedItems=1 " } else { "" };
        assert_eq!(said.only(), done("8", &format!("{located}UniqueIdentifier=\"{key}\"")), "{version:?}");
        // A client of 1.4 that correlates is told the server's value; others have no such field, and no answer has it unasked.
        let digest = raw.one(version, &about("B", &key, "AttributeName=\"Digest\""));
        assert_eq!(digest.only().contains("KeyFormatType=#1"), version >= V1_1, "{version:?}: {digest:?}");
        let query = raw.one(version, "Operation=#18 RequestPayload{QueryFunction=#1 QueryFunction=#2 QueryFunction=#3}");
        let operations: Vec<u32> = numbers(query.only(), "Operation=#").into_iter().skip(1).collect();
        let newest = match version {
            V1_0 => 0x1A,
            V1_1 => 0x1E,
            V1_2 => 0x28,
            V1_3 => 0x29,
            _ => 0x2B,
        };
        assert!(operations.iter().all(|operation| *operation <= newest), "{version:?}: {query:?}");
        for later in ["ExtensionInformation", "AttestationType", "RNGParameters", "ProfileInformation", "CapabilityInformation"] {
            assert!(!query.only().contains(later), "{version:?}: {query:?}");
        }
    }
    drop(appliance.stop());
}

/// The hexadecimal numbers that stand behind `before`.
fn numbers(text: &str, before: &str) -> Vec<u32> {
    let digits = |part: &str| part.chars().take_while(char::is_ascii_hexdigit).collect::<String>();
    text.split(before).skip(1).map(|part| u32::from_str_radix(&digits(part), 16).expect("digits")).collect()
}

/// vault#9147: an Object Type in the answer to Register.
#[test]
fn q03_the_answer_to_register_is_the_identifier_alone() {
    let (appliance, mut raw) = edge();
    for version in VERSIONS {
        let opaque = r#"Operation=#3 RequestPayload{ObjectType=#8 TemplateAttribute{} OpaqueObject{OpaqueDataType=#80000001 OpaqueDataValue=0x0102}}"#;
        for register in [raw_key(AES_256), secret(1, "70617373", ""), opaque.to_owned()] {
            let said = raw.one(version, &register);
            assert_eq!(said.only(), done_with("3", &said.id()), "{version:?}");
        }
        let created = raw.one(version, &create(AES_256));
        assert_eq!(created.only(), done("1", &format!("ObjectType=#2 UniqueIdentifier=\"{}\"", created.id())), "Create's has it");
    }
    drop(appliance.stop());
}

/// Cosmian/kms#687: attributes that the client's version does not have.
#[test]
fn q04_attributes_come_only_in_versions_that_have_them() {
    let (appliance, mut raw) = edge();
    let attributes = format!(r#"{AES_256} {} "Comment"="c" "Description"="d" "x-a"="b""#, name("q04"));
    let key = raw.one(V1_4, &create(&attributes)).id();
    let names = |said: &Said| -> Vec<String> {
        let names = said.only().split("AttributeName=\"").skip(1).map(|part| part.split('"').next().expect("a name").to_owned());
        names.collect()
    };
    for version in VERSIONS {
        let (list, all) = (raw.one(version, &about("C", &key, "")), raw.one(version, &about("B", &key, "")));
        let mut expected = vec!["Name", "State", "Cryptographic Algorithm", "Cryptographic Usage Mask", "Initial Date", "Digest", "x-a"];
        let newer = [
            (V1_1, &["Fresh"][..]),
            (V1_2, &["Original Creation Date", "Alternative Name", "Key Value Present", "Key Value Location"]),
            (V1_3, &["Random Number Generator"]),
            (V1_4, &["Sensitive", "Always Sensitive", "Extractable", "Never Extractable", "Comment", "Description"]),
        ];
        expected.extend((version >= V1_1).then_some("Fresh"));
        expected.extend(newer[3].1.iter().filter(|_| version >= V1_4));
        for said in [&list, &all] {
            let came = names(said);
            let missing: Vec<_> = expected.iter().filter(|name| !came.iter().any(|came| came == *name)).collect();
            let too_new = |(since, names): &(_, &[&str])| *since > version && names.iter().any(|name| came.iter().any(|came| came == name));
            assert!(missing.is_empty() && !newer.iter().any(too_new), "{version:?}: without {missing:?}: {said:?}");
        }
        let named = raw.one(version, &about("B", &key, "AttributeName=\"Comment\""));
        let comment = if version >= V1_4 { format!(" {}", said_attribute("Comment", "=\"c\"")) } else { String::new() };
        assert_eq!(named.only(), done("B", &format!("UniqueIdentifier=\"{key}\"{comment}")), "{version:?}");
    }
    drop(appliance.stop());
}

/// Cosmian/kms#824: FortiGate's Locate has the Name inside a Template-Attribute, and got the first key there was.
#[test]
fn q05_a_name_inside_a_template_attribute_is_searched_for() {
    let (appliance, mut raw) = edge();
    let wanted = raw.one(V1_0, &create(&format!("{AES_256} {}", name("fortigate")))).id();
    let _newer = raw.one(V1_0, &create(&format!("{AES_256} {}", name("other"))));
    let credential = r#"Authentication{Credential{CredentialType=#1 CredentialValue{Username="fgt" Password="not checked"}}}"#;
    for version in VERSIONS {
        let located = if version >= V1_3 { "LocatedItems=1 " } else { "" };
        let attribute = format!("TemplateAttribute{{{}}}", name("fortigate"));
        let bare = "TemplateAttribute{Name{NameValue=\"fortigate\" NameType=#1}}".to_owned();
        for inside in [attribute, bare] {
            let said = raw.ask(version, credential, &[&format!("Operation=#8 RequestPayload{{MaximumItems=1 {inside}}}")]);
            assert_eq!(said.only(), done("8", &format!("{located}UniqueIdentifier=\"{wanted}\"")), "{version:?} {inside}");
        }
        let nobody = format!("Operation=#8 RequestPayload{{MaximumItems=1 TemplateAttribute{{{}}}}}", name("nobody"));
        assert_eq!(raw.ask(version, credential, &[&nobody]).only(), done("8", located.replace('1', "0").trim()), "{version:?}");
    }
    drop(appliance.stop());
}

/// Cosmian/kms#760: Synology gives its secret a name after it was registered, before it is activated, each operation on a connection of its own.
#[test]
fn q06_modify_attribute_repeats_the_attribute_of_a_pre_active_object() {
    let (appliance, raw) = edge();
    drop(raw);
    let ask = |item: &str| at_edge(&appliance, Who::Service).one(V1_2, item);
    let query = ask(
        "Operation=#18 RequestPayload{QueryFunction=#1 QueryFunction=#2 QueryFunction=#3 QueryFunction=#4 QueryFunction=#5 QueryFunction=#6}",
    );
    assert!(query.only().starts_with("Operation=#18 ResultStatus=#0 ResponsePayload{Operation="), "{query:?}");
    assert_eq!(ask(&format!("Operation=#8 RequestPayload{{{}}}", name("synology"))).only(), done("8", ""));
    let attributes = format!(r#""Cryptographic Usage Mask"=2 "Operation Policy Name"="default" {}"#, name("temporary"));
    let id = ask(&secret(1, "0011223344556677", &attributes)).id();
    let modified = ask(&about("E", &id, &name("synology")));
    assert_eq!(modified.only(), done("E", &format!("UniqueIdentifier=\"{id}\" {}", said_name("synology"))));
    assert_eq!(ask(&format!("Operation=#8 RequestPayload{{{}}}", name("synology"))).only(), done_with("8", &id));
    assert_eq!(ask(&format!("Operation=#8 RequestPayload{{{}}}", name("temporary"))).only(), done("8", ""));
    assert_eq!(ask(&about("12", &id, "")).only(), done_with("12", &id));
    let list = ask(&about("C", &id, ""));
    assert!(list.only().contains("AttributeName=\"Operation Policy Name\""), "{list:?}");
    let policy =
        ask(&about("B", &id, "AttributeName=\"State\" AttributeName=\"Operation Policy Name\" AttributeName=\"Cryptographic Usage Mask\""));
    for expected in [
        said_attribute("State", "=#2"),
        said_attribute("Operation Policy Name", "=\"default\""),
        said_attribute("Cryptographic Usage Mask", "=2"),
    ] {
        assert!(policy.only().contains(&expected), "{policy:?} has no {expected}");
    }
    let block = "KeyBlock{KeyFormatType=#2 KeyValue{KeyMaterial=0x0011223344556677}}";
    let got = done("A", &format!("ObjectType=#7 UniqueIdentifier=\"{id}\" SecretData{{SecretDataType=#1 {block}}}"));
    assert_eq!(ask(&about("A", &id, "")).only(), got);
    assert_eq!(ask(&about("13", &id, "RevocationReason{RevocationReasonCode=#6}")).only(), done_with("13", &id));
    assert_eq!(ask(&about("14", &id, "")).only(), done_with("14", &id));
    drop(appliance.stop());
}

/// pg_tde never activates its keys, and takes anything but a clean "not found" for a broken server.
#[test]
fn q07_a_pre_active_key_is_returned() {
    let (appliance, mut raw) = edge();
    for version in [V1_0, V1_4] {
        let text = format!("pg_tde-{}", version.1);
        let locate = format!(r#"Operation=#8 RequestPayload{{"Object Type"=#2 {}}}"#, name(&text));
        assert_eq!(raw.one(version, &locate).only(), done("8", ""), "nobody is an empty answer");
        let id = raw.one(version, &raw_key(&format!("{AES_256} {}", name(&text)))).id();
        assert_eq!(raw.one(version, &locate).only(), done_with("8", &id));
        assert_eq!(raw.one(version, &about("A", &id, "")).only(), got_raw_key(&id));
        let state = done("B", &format!("UniqueIdentifier=\"{id}\" {}", said_attribute("State", "=#1")));
        assert_eq!(raw.one(version, &about("B", &id, "AttributeName=\"State\"")).only(), state, "Get changes no state");
        failed(raw.one(version, &about("A", "01890a5d-ac96-774b-bcce-b302099a8057", "")).only(), "A", ITEM_NOT_FOUND);
        failed(raw.one(version, &about("A", "no such key", "")).only(), "A", ITEM_NOT_FOUND);
    }
    drop(appliance.stop());
}

/// MongoDB's drivers register 96 bytes for nothing but being returned.
#[test]
fn q08_a_usage_mask_of_zero_is_taken() {
    let (appliance, mut raw) = edge();
    let seed = MATERIAL.repeat(3);
    let said = raw.one(V1_0, &secret(2, &seed, r#""Cryptographic Usage Mask"=0"#));
    let id = said.id();
    assert_eq!(said.only(), done_with("3", &id));
    assert_eq!(raw.one(V1_0, &about("12", &id, "")).only(), done_with("12", &id));
    let block = format!("KeyBlock{{KeyFormatType=#2 KeyValue{{KeyMaterial=0x{seed}}}}}");
    let got = done("A", &format!("ObjectType=#7 UniqueIdentifier=\"{id}\" SecretData{{SecretDataType=#2 {block}}}"));
    assert_eq!(raw.one(V1_0, &about("A", &id, "")).only(), got);
    let mask = done("B", &format!("UniqueIdentifier=\"{id}\" {}", said_attribute("Cryptographic Usage Mask", "=0")));
    assert_eq!(raw.one(V1_0, &about("B", &id, "AttributeName=\"Cryptographic Usage Mask\"")).only(), mask);
    drop(appliance.stop());
}

/// Veeam reads a Key Value with attributes as a broken key, and takes up its TLS sessions again.
#[test]
fn q09_a_key_value_has_no_attributes_and_tls_sessions_are_resumed() {
    let (appliance, mut raw) = edge();
    let attributes = format!(r#"{AES_256} {} "x-backup"="b" "Contact Information"="c""#, name("veeam"));
    let id = raw.one(V1_4, &raw_key(&attributes)).id();
    assert_eq!(raw.one(V1_4, &about("A", &id, "KeyFormatType=#1")).only(), got_raw_key(&id));
    let endpoint = appliance.endpoint_at("edge", Who::Service);
    for version in [&TLS12, &TLS13] {
        let client = tls(&endpoint, &[version]);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut raw = Raw::with(&client, &endpoint.server);
            assert_eq!(raw.one(V1_4, &about("A", &id, "")).only(), got_raw_key(&id), "{version:?}: the same client as before");
            assert_eq!(raw.handshake(), Some(expected), "{version:?}");
        }
    }
    drop(appliance.stop());
}

/// PyKMIP#459: an array asks for everything in one message and names the object only by having located it.
#[test]
fn q10_a_batch_goes_on_with_what_it_has_located() {
    let (appliance, mut raw) = edge();
    let places = r#""x-ResourceID"="r-17" "x-SystemID"="s-4""#;
    let opaque = "OpaqueObject{OpaqueDataType=#80000001 OpaqueDataValue=0xfeed}";
    let register = format!("Operation=#3 RequestPayload{{ObjectType=#8 TemplateAttribute{{{places}}} {opaque}}}");
    let id = raw.one(V1_0, &register).id();
    let _another = raw.one(V1_0, &register.replace("r-17", "r-18"));
    let items = [
        "Operation=#18 UniqueBatchItemID=0x01 RequestPayload{QueryFunction=#3}",
        &format!("Operation=#8 UniqueBatchItemID=0x02 RequestPayload{{\"Object Type\"=#8 {places}}}"),
        "Operation=#A UniqueBatchItemID=0x03 RequestPayload{}",
        "Operation=#B UniqueBatchItemID=0x04 RequestPayload{AttributeName=\"x-SystemID\"}",
    ];
    let said = raw.ask(V1_0, "", &items);
    let answer = |operation: &str, item: u32, payload: &str| {
        format!("Operation=#{operation} UniqueBatchItemID=0x0{item} ResultStatus=#0 ResponsePayload{{{payload}}}")
    };
    assert!(
        said.0[0].starts_with("Operation=#18 UniqueBatchItemID=0x01 ResultStatus=#0 ResponsePayload{VendorIdentification=\""),
        "{said:?}"
    );
    let system = said_instance("x-SystemID", "=\"s-4\"");
    let expected = [
        answer("8", 2, &format!("UniqueIdentifier=\"{id}\"")),
        answer("A", 3, &format!("ObjectType=#8 UniqueIdentifier=\"{id}\" {opaque}")),
        answer("B", 4, &format!("UniqueIdentifier=\"{id}\" {system}")),
    ];
    assert_eq!(said.0[1..], expected);
    // Where nothing is located, nothing else is meant by the items behind.
    let missed = items[1].replace("r-17", "r-19");
    let said = raw.ask(V1_0, "BatchErrorContinuationOption=#1", &[items[0], &missed, items[2], items[3]]);
    assert_eq!(said.0[1], answer("8", 2, ""));
    for failure in &said.0[2..] {
        assert!(failure.contains("ResultStatus=#1"), "{failure}");
    }
    drop(appliance.stop());
}

/// vCenter gives also a single item an identifier, and adds three attributes in one batch.
#[test]
fn q11_batch_item_identifiers_come_back_and_three_attributes_are_added_at_once() {
    let (appliance, mut raw) = edge();
    let health = "Operation=#1E UniqueBatchItemID=0x3031 RequestPayload{}";
    let said = raw.one(V1_1, health);
    assert!(said.only().starts_with("Operation=#1E UniqueBatchItemID=0x3031 ResultStatus=#0 ResponsePayload{ProtocolVersion{"), "{said:?}");
    let create = create(AES_256).replace("RequestPayload", "UniqueBatchItemID=0x4142 RequestPayload");
    let said = raw.one(V1_1, &create);
    let id = said.id();
    assert_eq!(
        said.only(),
        format!("Operation=#1 UniqueBatchItemID=0x4142 ResultStatus=#0 ResponsePayload{{ObjectType=#2 UniqueIdentifier=\"{id}\"}}")
    );
    let attributes = [("x-Product", "VMware vSphere"), ("x-Product_Version", "8.0.3 build-1"), ("x-Vendor", "VMware, Inc.")];
    let add = |(number, (name, value)): (usize, &(&str, &str))| {
        format!("Operation=#D UniqueBatchItemID=0x0{number} RequestPayload{{UniqueIdentifier=\"{id}\" \"{name}\"=\"{value}\"}}")
    };
    let items: Vec<String> = attributes.iter().enumerate().map(add).collect();
    let said = raw.ask(V1_1, "BatchOrderOption=true", &items.iter().map(String::as_str).collect::<Vec<_>>());
    for (number, (name, value)) in attributes.iter().enumerate() {
        let attribute = said_instance(name, &format!("=\"{value}\""));
        let expected =
            format!("Operation=#D UniqueBatchItemID=0x0{number} ResultStatus=#0 ResponsePayload{{UniqueIdentifier=\"{id}\" {attribute}}}");
        assert_eq!(said.0[number], expected);
        let located = raw.one(V1_1, &format!("Operation=#8 RequestPayload{{\"{name}\"=\"{value}\"}}"));
        assert_eq!(located.only(), done_with("8", &id));
    }
    drop(appliance.stop());
}

/// VAST speaks over HTTPS, and finds its newest key by the name that Re-key has moved.
#[test]
fn q12_re_key_moves_the_name_also_over_https() {
    let (appliance, raw) = edge();
    drop(raw);
    let mut endpoint = appliance.endpoint_at("edge", Who::Service);
    endpoint.server = appliance.value("HTTPS_EDGE").trim_start_matches("https://").to_owned();
    let mut raw = Raw::connect(&endpoint).over_https();
    let discovered = raw.one(V1_4, "Operation=#1E RequestPayload{}");
    assert_eq!(numbers(&discovered.only().replace("Minor=", "Minor=#"), "Minor=#"), [4, 3, 2, 1, 0]);
    let attributes = format!(r#"{AES_256} {} "Object Group"="vast" "Operation Policy Name"="default""#, name("vast-key"));
    let old = raw.one(V1_4, &create(&attributes)).id();
    for add in [r#""x-a"="1""#, r#""x-b"="2""#, r#""Contact Information"="vast""#] {
        let said = raw.one(V1_4, &about("D", &old, add));
        assert!(said.only().starts_with("Operation=#D ResultStatus=#0 "), "{said:?}");
    }
    assert_eq!(raw.one(V1_4, &about("12", &old, "")).only(), done_with("12", &old));
    let said = raw.one(V1_4, &about("4", &old, ""));
    let new = said.id();
    assert_eq!(said.only(), done_with("4", &new));
    assert_ne!(new, old);
    let locate = format!("Operation=#8 RequestPayload{{{}}}", name("vast-key"));
    assert_eq!(raw.one(V1_4, &locate).only(), done_with("8", &new));
    let wanted = "AttributeName=\"Name\" AttributeName=\"State\" AttributeName=\"Object Group\"";
    let (state, group) = (said_attribute("State", "=#2"), said_instance("Object Group", "=\"vast\""));
    let said = raw.one(V1_4, &about("B", &new, wanted));
    for expected in [&said_name("vast-key"), &state, &group] {
        assert!(said.only().contains(expected), "{said:?} has no {expected}");
    }
    let said = raw.one(V1_4, &about("B", &old, wanted));
    assert!(!said.only().contains("NameValue") && said.only().contains(&state), "{said:?}");
    assert_eq!(raw.one(V1_4, &about("9", &new, "CryptographicUsageMask=12")).only(), done_with("9", &new));
    for id in [&old, &new] {
        assert_eq!(raw.one(V1_4, &about("13", id, "RevocationReason{RevocationReasonCode=#6}")).only(), done_with("13", id));
        assert_eq!(raw.one(V1_4, &about("14", id, "")).only(), done_with("14", id));
    }
    drop(appliance.stop());
}

/// Cosmian/kms#1103: what only a server sets, a client could set too.
#[test]
fn attributes_that_are_read_only_are_not_written_by_a_client() {
    let (appliance, mut raw) = edge();
    let key = raw.one(V1_4, &create(&format!("{AES_256} {}", name("read-only")))).id();
    let before = raw.one(V1_4, &about("B", &key, ""));
    let read_only = [
        r#""State"=#2"#,
        r#""Unique Identifier"="01890a5d-ac96-774b-bcce-b302099a8057""#,
        r#""Object Type"=#7"#,
        r#""Initial Date"=@1"#,
        r#""Destroy Date"=@1"#,
        r#""Compromise Date"=@1"#,
        r#""Last Change Date"=@1"#,
        r#""Always Sensitive"=true"#,
        r#""Never Extractable"=true"#,
        r#""y-layer"="L2""#,
        r#""Digest"{HashingAlgorithm=#6 DigestValue=0x00 KeyFormatType=#1}"#,
    ];
    for attribute in read_only {
        let said = raw.one(V1_4, &create(&format!("{AES_256} {attribute}")));
        failed(said.only(), "1", INVALID_FIELD);
        for operation in ["D", "E"] {
            let said = raw.one(V1_4, &about(operation, &key, attribute));
            assert!(said.only().starts_with(&format!("Operation=#{operation} ResultStatus=#1 ")), "{attribute}: {said:?}");
        }
        let named = attribute.split('"').nth(1).expect("a name");
        let said = raw.one(V1_4, &about("F", &key, &format!("AttributeName=\"{named}\"")));
        assert!(said.only().starts_with("Operation=#F ResultStatus=#1 "), "{attribute}: {said:?}");
    }
    assert_eq!(raw.one(V1_4, &about("B", &key, "")), before, "nothing has changed");
    drop(appliance.stop());
}

/// COSMIAN-2026-017 and -018: Re-key and Activate of somebody else's key.
#[test]
fn another_client_cannot_re_key_or_activate() {
    let (appliance, mut raw) = edge();
    let key = raw.one(V1_4, &create(&format!("{AES_256} {}", name("mine")))).id();
    let mut other = at_edge(&appliance, Who::OtherService);
    let revoke = "RevocationReason{RevocationReasonCode=#2}";
    for (operation, more) in [("4", ""), ("12", ""), ("13", revoke), ("14", ""), ("A", ""), ("B", ""), ("9", ""), ("D", r#""x-a"="1""#)] {
        failed(other.one(V1_4, &about(operation, &key, more)).only(), operation, ITEM_NOT_FOUND);
    }
    let state = done("B", &format!("UniqueIdentifier=\"{key}\" {}", said_attribute("State", "=#1")));
    assert_eq!(raw.one(V1_4, &about("B", &key, "AttributeName=\"State\"")).only(), state);
    drop(appliance.stop());
}

/// Ceph, FortiGate, NetApp and Barbican send user and password; the certificate alone says who somebody is.
#[test]
fn a_credential_in_the_header_is_taken_and_gives_no_rights() {
    let (appliance, mut raw) = edge();
    let key = raw.one(V1_0, &create(&format!("{AES_256} {}", name("ceph")))).id();
    let mut other = at_edge(&appliance, Who::OtherService);
    let user = r#"Authentication{Credential{CredentialType=#1 CredentialValue{Username="acme/billing" Password="Tr0ub4dor&3"}}}"#;
    let device = r#"Authentication{Credential{CredentialType=#2 CredentialValue{DeviceSerialNumber="42" DeviceIdentifier="array"}}}"#;
    let look = about("B", &key, "AttributeName=\"State\"");
    let expected = done("B", &format!("UniqueIdentifier=\"{key}\" {}", said_attribute("State", "=#1")));
    for (version, header) in VERSIONS.into_iter().flat_map(|version| [(version, user), (version, device)]) {
        if version == V1_0 && header == device {
            continue;
        }
        let header = format!("MaximumResponseSize=65536 {header} TimeStamp=@1");
        assert_eq!(raw.ask(version, &header, &[&look]).only(), expected, "{version:?}");
        failed(other.ask(version, &header, &[&look]).only(), "B", ITEM_NOT_FOUND);
    }
    let dir = appliance.stop();
    let logs = std::process::Command::new("grep").args(["-rlF", "Tr0ub4dor"]).arg(dir.path()).output().expect("grep is on every Debian");
    assert_eq!(String::from_utf8_lossy(&logs.stdout), "", "a password is in a file");
}

/// Percona and Ceph send their time; nobody's clock is a reason to refuse.
#[test]
fn a_clients_time_stamp_is_never_a_reason_to_refuse() {
    let (appliance, mut raw) = edge();
    for time in ["0", "-1", "1", "4102444800", "9223372036854775807"] {
        let said = raw.ask(V1_0, &format!("TimeStamp=@{time}"), &[&create(AES_256)]);
        assert!(said.only().starts_with("Operation=#1 ResultStatus=#0 "), "{time}: {said:?}");
    }
    drop(appliance.stop());
}

/// VAST comes every 61 s, vCenter every 5 min, and pools keep connections for hours: the kernel keeps them alive, and an hour has to pass before the edge closes.
#[test]
fn an_idle_connection_is_kept_alive_for_an_hour() {
    let (appliance, mut raw) = edge();
    let _first = raw.one(V1_4, "Operation=#1E RequestPayload{}");
    let config = appliance.cli_at("edge", Who::Service, &["config", "show"]);
    let shown = String::from_utf8_lossy(&config.stdout).into_owned();
    assert!(shown.contains("idle_timeout: 1h"), "{shown}");
    let ours = format!(":{:04X}", raw.port());
    let mut seen = Vec::new();
    let is_kept_alive = || {
        let sockets = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| std::fs::read_to_string(file).unwrap_or_default()).concat();
        let fields = sockets.lines().map(|line| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>());
        seen = fields.filter(|fields| fields.len() > 5 && fields[2].ends_with(&ours)).collect();
        // The timer that runs: 02 is the one of keep-alive, once all that was sent is known to have come; its time is in hundredths of a second.
        let timer = seen.first().and_then(|fields| fields[5].strip_prefix("02:"));
        timer.and_then(|left| u64::from_str_radix(left, 16).ok()).is_some_and(|left| left <= 6_000)
    };
    assert!(wait_for(is_kept_alive), "{seen:?}");
    drop(appliance.stop());
}

/// EDB and Percona's next library may begin with 2.x; they are told in 1.4 and then ask which versions there are.
#[test]
fn a_request_in_2_x_is_an_invalid_message_in_a_1_4_header() {
    let (appliance, mut raw) = edge();
    for version in [(2, 0), (2, 1), (3, 0), (0, 9)] {
        let said = raw.ask_in(version, V1_4, "", &["Operation=#1E RequestPayload{}"]);
        let message = said.only().strip_prefix("ResultStatus=#1 ResultReason=#4 ResultMessage=\"");
        assert!(message.is_some_and(|message| message.contains(&format!("{}.{}", version.0, version.1))), "{version:?}: {said:?}");
    }
    let offer = |major: i32, minor: i32| format!("ProtocolVersion{{ProtocolVersionMajor={major} ProtocolVersionMinor={minor}}}");
    let offers = [offer(2, 1), offer(2, 0), offer(1, 4), offer(1, 2)].join(" ");
    let said = raw.one(V1_2, &format!("Operation=#1E RequestPayload{{{offers}}}"));
    assert_eq!(said.only(), done("1E", &[offer(1, 4), offer(1, 2)].join(" ")));
    let said = raw.one(V1_4, &format!("Operation=#1E RequestPayload{{{}}}", offer(2, 1)));
    assert_eq!(said.only(), done("1E", ""), "nothing in common is an empty list");
    drop(appliance.stop());
}

/// MySQL Enterprise numbers its attributes, and names in a Template-Attribute where the key is to be kept.
#[test]
fn attribute_indices_and_a_storage_status_mask_in_a_template_are_taken() {
    let (appliance, mut raw) = edge();
    let numbered = |name: &str, value: &str| format!("Attribute{{AttributeName=\"{name}\" AttributeIndex=0 AttributeValue{value}}}");
    let attributes = [
        numbered("Cryptographic Algorithm", "=#3"),
        numbered("Cryptographic Length", "=256"),
        numbered("Cryptographic Usage Mask", "=12"),
        numbered("Storage Status Mask", "=1"),
        numbered("Name", "{NameValue=\"okv\" NameType=#1}"),
    ];
    let said = raw.ask(V1_1, "MaximumResponseSize=280000", &[&create(&attributes.join(" "))]);
    assert_eq!(said.only(), done("1", &format!("ObjectType=#2 UniqueIdentifier=\"{}\"", said.id())));
    let named = raw.one(V1_1, &about("B", &said.id(), "AttributeName=\"Name\""));
    assert_eq!(named.only(), done("B", &format!("UniqueIdentifier=\"{}\" {}", said.id(), said_name("okv"))));
    drop(appliance.stop());
}

/// The hexadecimal digits of the Byte String with that tag.
fn bytes<'s>(said: &'s Said, tag: &str) -> Option<&'s str> {
    let (_, rest) = said.only().split_once(&format!("{tag}=0x"))?;
    rest.split([' ', '}']).next()
}

/// Delegated clients that say nothing of how, and those that say it once, with the key.
#[test]
fn encrypt_without_parameters_is_as_the_key_says_or_cbc() {
    let (appliance, mut raw) = edge();
    let gcm = r#""Cryptographic Parameters"{BlockCipherMode=#9 CryptographicAlgorithm=#3 TagLength=16}"#;
    for (more, iv_digits, sealed_digits) in [("", 32, 32), (gcm, 24, 10 + 32)] {
        let key = raw.one(V1_2, &create(&format!("{AES_256} {more}"))).id();
        let _active = raw.one(V1_2, &about("12", &key, ""));
        let said = raw.one(V1_2, &about("1F", &key, "Data=0x68656c6c6f"));
        let (data, iv) = (bytes(&said, "Data").expect("a ciphertext"), bytes(&said, "IVCounterNonce").expect("the server's IV"));
        assert_eq!((data.len(), iv.len()), (sealed_digits, iv_digits), "{said:?}");
        assert_eq!(said.only(), done("1F", &format!("UniqueIdentifier=\"{key}\" Data=0x{data} IVCounterNonce=0x{iv}")));
        let opened = raw.one(V1_2, &about("20", &key, &format!("Data=0x{data} IVCounterNonce=0x{iv}")));
        assert_eq!(opened.only(), done("20", &format!("UniqueIdentifier=\"{key}\" Data=0x68656c6c6f")));
    }
    drop(appliance.stop());
}

/// OpenBao's seal brings its own IV: in CBC, and in GCM with the tag behind the data before 1.4 and in a field of its own since.
#[test]
fn a_clients_own_iv_is_used_and_the_tag_is_where_its_version_has_it() {
    let (appliance, mut raw) = edge();
    let key = raw.one(V1_4, &create(AES_256)).id();
    let _active = raw.one(V1_4, &about("12", &key, ""));
    let (gcm, cbc) = (
        "CryptographicParameters{BlockCipherMode=#9 CryptographicAlgorithm=#3 TagLength=16}",
        "CryptographicParameters{BlockCipherMode=#1 PaddingMethod=#3 CryptographicAlgorithm=#3}",
    );
    let plain = done("20", &format!("UniqueIdentifier=\"{key}\" Data=0x68656c6c6f"));
    for (number, version) in [V1_2, V1_3, V1_4].into_iter().enumerate() {
        let iv = format!("IVCounterNonce=0x0{number}0000000000000000000000");
        let said = raw.one(version, &about("1F", &key, &format!("{gcm} Data=0x68656c6c6f {iv}")));
        let data = bytes(&said, "Data").expect("a ciphertext").to_owned();
        let tag = bytes(&said, "AuthenticatedEncryptionTag").map(|tag| format!(" AuthenticatedEncryptionTag=0x{tag}")).unwrap_or_default();
        assert_eq!((data.len(), tag.is_empty()), if version == V1_4 { (10, false) } else { (10 + 32, true) }, "{said:?}");
        assert_eq!(said.only(), done("1F", &format!("UniqueIdentifier=\"{key}\" Data=0x{data}{tag}")), "its own IV is not repeated");
        assert_eq!(raw.one(version, &about("20", &key, &format!("{gcm} Data=0x{data} {iv}{tag}"))).only(), plain);
    }
    let iv = "IVCounterNonce=0x000102030405060708090a0b0c0d0e0f";
    let said = raw.one(V1_4, &about("1F", &key, &format!("{cbc} Data=0x68656c6c6f {iv}")));
    let data = bytes(&said, "Data").expect("a ciphertext");
    assert_eq!(said.only(), done("1F", &format!("UniqueIdentifier=\"{key}\" Data=0x{data}")));
    assert_eq!(raw.one(V1_4, &about("20", &key, &format!("{cbc} Data=0x{data} {iv}"))).only(), plain);
    drop(appliance.stop());
}

/// Reasons of 1.4 have others before.
#[test]
fn a_refusal_has_a_reason_that_its_version_knows() {
    let (appliance, mut raw) = edge();
    let taken = create(&format!("{AES_256} {}", name("taken")));
    let _first = raw.one(V1_4, &taken);
    let sensitive = raw.one(V1_4, &create(&format!(r#"{AES_256} "Sensitive"=true"#))).id();
    let kept = raw.one(V1_4, &create(&format!(r#"{AES_256} "Extractable"=false"#))).id();
    for version in VERSIONS {
        let said = raw.one(version, &taken);
        let reasons = numbers(said.only(), "ResultReason=#");
        // 0x12 and beyond are of 1.4 (table 328): Object Already Exists, Sensitive, Not Extractable among them.
        assert!(reasons.len() == 1 && (version >= V1_4 || reasons[0] < 0x12 || reasons[0] == 0x100), "{version:?}: {said:?}");
        for id in [&sensitive, &kept] {
            let said = raw.one(version, &about("A", id, ""));
            if version < V1_4 {
                failed(said.only(), "A", PERMISSION_DENIED);
            } else {
                assert!(numbers(said.only(), "ResultReason=#")[0] > 0x11, "{said:?}");
            }
        }
    }
    drop(appliance.stop());
}

#[test]
fn the_notation_of_these_tests_writes_what_the_product_writes() {
    use kmip::{ActivateRequest, Batch, ProtocolVersion};
    let mut batch = Batch::new(ProtocolVersion::V1_2);
    let _slot = batch.push(&ActivateRequest { unique_identifier: Some("k") }).expect("a small request");
    let item = "Operation=#12 UniqueBatchItemID=0x0000000000000000 RequestPayload{UniqueIdentifier=\"k\"}";
    let written = notation::encode(&notation::request(V1_2, "", &[item]), &notation::Bindings::new()).expect("it is right");
    assert_eq!(written, batch.finish().bytes);
}
