//! Edge groups at a real core: enrolled, served, revoked, and remembered.

use daemon::kmip_client::KmipError;
use kmip::ResultReason;
use softhsm_test::requests::{unwrap_object_key, wrap_object_key};
use softhsm_test::{Core, Who};

const PLACE: [u8; 16] = [7; 16];
const KEY: [u8; 32] = [0x5A; 32];

fn is_refused(result: &Result<Vec<u8>, KmipError>, wanted: ResultReason) -> bool {
    matches!(result, Err(KmipError::Kmip(kmip::Error::Refused { reason: Some(reason), .. })) if *reason == wanted)
}

#[test]
fn an_enrolled_edge_is_served_over_restarts_until_it_is_revoked() {
    let mut core = Core::prepared();
    core.start();
    let (own, foreign) = (core.value("L3_ID"), core.value("L3_ID2"));
    let mut edge = core.connect(Who::Edge);
    let unknown = wrap_object_key(&mut edge, &own, &PLACE, &KEY);
    assert!(is_refused(&unknown, ResultReason::PermissionDenied), "{unknown:?}");

    let enrolled = core.ask(&["edge", "enrol", "edge", "--tenant", "acme"]);
    assert!(enrolled.contains("enrolled") && enrolled.contains("acme"), "{enrolled}");
    let blob = wrap_object_key(&mut edge, &own, &PLACE, &KEY).expect("acme is enrolled");
    let stranger = wrap_object_key(&mut edge, &foreign, &PLACE, &KEY);
    assert!(is_refused(&stranger, ResultReason::ItemNotFound), "{stranger:?}");
    let service = wrap_object_key(&mut core.connect(Who::Service), &own, &PLACE, &KEY);
    assert!(is_refused(&service, ResultReason::PermissionDenied), "{service:?}");

    drop(edge);
    core.stop();
    core.start();
    let mut edge = core.connect(Who::Edge);
    assert_eq!(unwrap_object_key(&mut edge, &own, &PLACE, &blob).expect("it is still enrolled"), KEY);
    let _more = core.ask(&["edge", "enrol", "edge", "--tenant", "globex"]);
    assert!(wrap_object_key(&mut edge, &foreign, &PLACE, &KEY).is_ok(), "globex is enrolled too");
    let listed = core.ask(&["edge", "list"]);
    assert!(listed.contains("acme, globex"), "{listed}");

    let revoked = core.ask(&["edge", "revoke", "edge"]);
    assert!(revoked.contains("revoked"), "{revoked}");
    let refused = unwrap_object_key(&mut edge, &own, &PLACE, &blob);
    assert!(is_refused(&refused, ResultReason::ItemNotFound), "the open connection is served: {refused:?}");
    drop(edge);
    core.stop();
    let _verified = core.ask(&["audit", "verify"]);
}

#[test]
fn nobody_becomes_a_client_of_the_reserved_tenant() {
    let mut core = Core::prepared();
    core.start();
    let missing = core.cli(&["edge", "enrol", "edge", "--tenant", "nobody"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no tenant `nobody`"), "{missing:?}");
    let taken = core.cli(&["tenant", "create", "system"]);
    assert!(String::from_utf8_lossy(&taken.stderr).contains("the appliance's own tenant"), "{taken:?}");
    let _enrolled = core.ask(&["edge", "enrol", "edge", "--tenant", "acme"]);
    for arguments in
        [&["service", "create", "system", "north"][..], &["edge", "enrol", "edge", "--tenant", "system"], &["edge", "revoke", "north"]]
    {
        assert!(!core.cli(arguments).status.success(), "{arguments:?}");
    }
    core.stop();
}
