//! The player of the KMIP test cases, with cases of our own: what it passes is right, and what is wrong it finds.

use std::fs;

use softhsm_test::Appliance;
use softhsm_test::conformance::{Case, Encoding, Player, cases};

fn pair(request: &str, response: &str) -> String {
    let version = "<ProtocolVersion><ProtocolVersionMajor type='Integer' value='1'/><ProtocolVersionMinor type='Integer' value='4'/></ProtocolVersion>";
    let count = "<BatchCount type='Integer' value='1'/>";
    format!(
        "<RequestMessage><RequestHeader>{version}{count}</RequestHeader><BatchItem>{request}</BatchItem></RequestMessage>\
         <ResponseMessage><ResponseHeader>{version}<TimeStamp type='DateTime' value='$NOW'/>{count}</ResponseHeader>\
         <BatchItem>{response}</BatchItem></ResponseMessage>"
    )
}

fn attribute(name: &str, kind: &str, value: &str) -> String {
    format!("<Attribute><AttributeName type='TextString' value='{name}'/><AttributeValue type='{kind}' value='{value}'/></Attribute>")
}

/// A key is made, looked at, used too early and destroyed; `state` is what it should be.
fn life(state: &str) -> String {
    let operation = |name: &str| format!("<Operation type='Enumeration' value='{name}'/>");
    let success = "<ResultStatus type='Enumeration' value='Success'/>";
    let id = "<UniqueIdentifier type='TextString' value='$UNIQUE_IDENTIFIER_0'/>";
    let made = "<ObjectType type='Enumeration' value='SymmetricKey'/>";
    let algorithm = attribute("Cryptographic Algorithm", "Enumeration", "AES");
    let template = [
        algorithm.clone(),
        attribute("Cryptographic Length", "Integer", "128"),
        attribute("Cryptographic Usage Mask", "Integer", "Encrypt Decrypt"),
    ]
    .concat();
    let create = format!("{}<RequestPayload>{made}<TemplateAttribute>{template}</TemplateAttribute></RequestPayload>", operation("Create"));
    let created = format!("{}{success}<ResponsePayload>{made}{id}</ResponsePayload>", operation("Create"));
    let names = ["State", "Cryptographic Algorithm"].map(|name| format!("<AttributeName type='TextString' value='{name}'/>")).concat();
    let look = format!("{}<RequestPayload>{id}{names}</RequestPayload>", operation("GetAttributes"));
    let seen = attribute("State", "Enumeration", state);
    let seen = format!("{}{success}<ResponsePayload>{id}{algorithm}{seen}</ResponsePayload>", operation("GetAttributes"));
    let encrypt = format!("{}<RequestPayload>{id}<Data type='ByteString' value='00'/></RequestPayload>", operation("Encrypt"));
    let early = format!(
        "{}<ResultStatus type='Enumeration' value='OperationFailed'/><ResultReason type='Enumeration' value='PermissionDenied'/>\
         <ResultMessage type='TextString' value='any'/>",
        operation("Encrypt")
    );
    let destroy = format!("{}<RequestPayload>{id}</RequestPayload>", operation("Destroy"));
    let destroyed = format!("{}{success}<ResponsePayload>{id}</ResponsePayload>", operation("Destroy"));
    let pairs = [pair(&create, &created), pair(&look, &seen), pair(&encrypt, &early), pair(&destroy, &destroyed)];
    format!("<KMIP><!-- a comment -->{}</KMIP>", pairs.concat())
}

#[test]
fn a_right_case_passes_and_a_wrong_one_does_not_in_each_encoding() {
    let appliance = Appliance::with_edges(1);
    let right = Case::read("RIGHT", &life("PreActive")).expect("a case");
    let wrong = Case::read("WRONG", &life("Active")).expect("a case");
    for encoding in Encoding::ALL {
        let mut player = Player::of(&appliance, encoding);
        assert_eq!(player.play(std::slice::from_ref(&right)), [Ok(())], "{encoding:?}");
        let results = player.play(&[wrong.clone(), right.clone()]);
        let why = results[0].clone().expect_err("its expectation is wrong");
        assert!(why.contains("exchange 2") && why.contains("expected Active, got PreActive"), "{encoding:?}: {why}");
        assert_eq!(results[1], Err("WRONG failed before it".to_owned()));
    }
}

#[test]
fn cases_are_found_below_a_folder_and_chained_by_their_names() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |path: &str| fs::write(folder.path().join(path), life("PreActive")).expect("the folder is ours");
    fs::create_dir(folder.path().join("optional")).expect("the folder is ours");
    for path in ["TL-M-2-14.xml", "TL-M-1-14.xml", "SKLC-M-1-14.xml", "optional/SKLC-O-1-14.xml"] {
        write(path);
    }
    fs::write(folder.path().join("README.md"), "no case").expect("the folder is ours");
    let groups = cases(folder.path()).expect("cases");
    let ids: Vec<Vec<&str>> = groups.iter().map(|group| group.iter().map(|case| case.id.as_str()).collect()).collect();
    assert_eq!(ids, [vec!["SKLC-M-1-14"], vec!["SKLC-O-1-14"], vec!["TL-M-1-14", "TL-M-2-14"]]);
}

#[test]
fn a_folder_without_cases_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert!(cases(folder.path()).expect_err("it is empty").contains("has no cases"));
    fs::write(folder.path().join("a.xml"), "<KMIP><RequestMessage/></KMIP>").expect("the folder is ours");
    assert!(cases(folder.path()).expect_err("no response").contains("not a list of requests"));
    assert!(cases(&folder.path().join("none")).is_err());
}
