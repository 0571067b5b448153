//! The life of a key through Create, Activate, Revoke and Destroy, in every version.

use keys::policy::Action;
use keys::record::Outcome;
use kmip::ttlv::{ByteString, DateTime};
use kmip::*;

use crate::world::*;
use ProtocolVersion::{V1_0, V1_2, V1_4};

fn encrypt_request(id: &str) -> EncryptRequest<'_> {
    EncryptRequest { unique_identifier: Some(id), data: Some(ByteString(b"an invoice")), ..EncryptRequest::default() }
}

/// Encrypts and returns data and IV.
fn encrypts(client: &mut Client<'_>, id: &str) -> Result<(Vec<u8>, Vec<u8>), Failed> {
    client.call(V1_2, &encrypt_request(id), |answer| {
        let bytes = |field: Option<ByteString<'_>>| field.expect("a whole answer").0.to_vec();
        (bytes(answer.data), bytes(answer.iv_counter_nonce))
    })
}

fn decrypts(client: &mut Client<'_>, id: &str, (data, iv): &(Vec<u8>, Vec<u8>)) -> Result<Vec<u8>, Failed> {
    let (data, iv_counter_nonce) = (Some(ByteString(data)), Some(ByteString(iv)));
    let request = DecryptRequest { unique_identifier: Some(id), data, iv_counter_nonce, ..DecryptRequest::default() };
    client.call(V1_2, &request, |answer| answer.data.expect("a whole answer").0.to_vec())
}

#[test]
fn a_key_lives_from_create_to_destroy_in_every_version() {
    let world = World::found();
    let (mut admin, mut service) = (world.admin(), world.service());
    for version in ProtocolVersion::ALL {
        let name = format!("key of {version}");
        world.wait(1);
        let id = admin.create(version, &wish("billing", &[named(&name)])).expect("a plain key");
        assert!(id.starts_with("L3-"), "{id}");
        assert_eq!(admin.state(&id), State::PreActive);
        let given = Some(id.as_str());
        let active = admin.call(version, &ActivateRequest { unique_identifier: given }, |answer| answer.unique_identifier.to_owned());
        assert_eq!(active.as_deref(), Ok(id.as_str()));
        assert_eq!(admin.state(&id), State::Active);
        assert_eq!(service.locate(version, &[named(&name)]), Ok(vec![id.clone()]));
        let list = GetAttributeListRequest { unique_identifier: given };
        let names = service.call(version, &list, |answer| answer.attribute_names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let all = GetAttributesRequest { unique_identifier: given, attribute_names: vec![] };
        let attributes = service.call(version, &all, |answer| {
            let mut names: Vec<_> = answer.attributes.iter().map(|attribute| attribute.value.name().to_owned()).collect();
            names.dedup();
            names
        });
        let (mut names, attributes) = (names.expect("it is the service's"), attributes.expect("it is the service's"));
        names.retain(|name| !name.starts_with("y-") && name != "Random Number Generator");
        assert_eq!(names, attributes);
        let sealed = encrypts(&mut service, &id).expect("an Active key encrypts");
        assert_eq!(decrypts(&mut service, &id, &sealed).as_deref(), Ok(b"an invoice".as_slice()));
        let request = revoke_request(&id, RevocationReasonCode::Superseded);
        let revoked = admin.call(version, &request, |answer| answer.unique_identifier.to_owned());
        assert_eq!(revoked.as_deref(), Ok(id.as_str()));
        assert_eq!(admin.state(&id), State::Deactivated);
        let destroyed = admin.call(version, &DestroyRequest { unique_identifier: given }, |answer| answer.unique_identifier.to_owned());
        assert_eq!(destroyed.as_deref(), Ok(id.as_str()));
        assert_eq!(admin.state(&id), State::Destroyed);
        assert_eq!(service.locate(version, &[named(&name)]), Ok(vec![]));
    }
}

#[test]
fn encrypt_needs_an_active_key_and_decrypt_one_that_is_not_compromised() {
    let world = World::found();
    let (mut admin, mut service) = (world.admin(), world.service());
    let id = admin.create(V1_2, &wish("billing", &[])).expect("a plain key");
    world.take_records();
    assert_eq!(why(encrypts(&mut service, &id)), ResultReason::PermissionDenied);
    assert_eq!(world.outcomes(), [(Action::Encrypt, Outcome::WrongState)]);
    admin.activate(&id).expect("a new key activates");
    let sealed = encrypts(&mut service, &id).expect("an Active key encrypts");
    admin.revoke(&id, RevocationReasonCode::CessationOfOperation).expect("an Active key is revoked");
    assert_eq!(why(encrypts(&mut service, &id)), ResultReason::PermissionDenied);
    decrypts(&mut service, &id, &sealed).expect("a Deactivated key decrypts");
    admin.revoke(&id, RevocationReasonCode::KeyCompromise).expect("a Deactivated key is declared compromised");
    assert_eq!(admin.state(&id), State::Compromised);
    assert_eq!(why(encrypts(&mut service, &id)), ResultReason::PermissionDenied);
    assert_eq!(why(decrypts(&mut service, &id, &sealed)), ResultReason::PermissionDenied);
    admin.destroy(&id).expect("a Compromised key is destroyed");
    assert_eq!(admin.state(&id), State::DestroyedCompromised);
    assert_eq!(why(decrypts(&mut service, &id, &sealed)), ResultReason::PermissionDenied);
}

#[test]
fn an_event_that_does_not_apply_is_refused_and_changes_nothing() {
    let world = World::found();
    let (mut admin, id) = (world.admin(), world.key());
    assert_eq!(why(admin.activate(&id)), ResultReason::PermissionDenied);
    assert_eq!(why(admin.destroy(&id)), ResultReason::PermissionDenied);
    assert_eq!(admin.state(&id), State::Active);
    admin.revoke(&id, RevocationReasonCode::Unspecified).expect("an Active key is revoked");
    assert_eq!(why(admin.revoke(&id, RevocationReasonCode::Unspecified)), ResultReason::PermissionDenied);
    assert_eq!(why(admin.activate(&id)), ResultReason::PermissionDenied);
    admin.destroy(&id).expect("a Deactivated key is destroyed");
    assert_eq!(why(admin.destroy(&id)), ResultReason::PermissionDenied);
    admin.revoke(&id, RevocationReasonCode::CaCompromise).expect("transition 10 of the state table");
    assert_eq!(admin.state(&id), State::DestroyedCompromised);
}

#[test]
fn the_dates_of_a_revocation_are_those_that_the_standard_says() {
    let world = World::found();
    let mut admin = world.admin();
    let dates = |client: &mut Client<'_>, id: &str| {
        let names = vec!["Compromise Date", "Compromise Occurrence Date", "Deactivation Date", "Revocation Reason"];
        let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: names };
        client
            .call(V1_4, &request, |answer| format!("{:?}", answer.attributes.iter().map(|a| &a.value).collect::<Vec<_>>()))
            .expect("its own")
    };
    let created = world.now();
    let [one, two, three] = [world.key(), world.key(), world.key()];
    world.wait(100);
    // Percona sends a date with every reason; it counts with a compromise only.
    admin.revoke(&one, RevocationReasonCode::Unspecified).expect("revoked");
    let now = world.now();
    let told = dates(&mut admin, &one);
    assert!(told.contains(&format!("DeactivationDate(DateTime({now}))")) && !told.contains("Compromise"), "{told}");
    assert!(told.contains("Unspecified") && told.contains("said the test"), "{told}");
    admin.revoke(&two, RevocationReasonCode::KeyCompromise).expect("revoked");
    let told = dates(&mut admin, &two);
    assert!(told.contains(&format!("CompromiseDate(DateTime({now}))")) && told.contains("CompromiseOccurrenceDate(DateTime(0))"), "{told}");
    let request = RevokeRequest { compromise_occurrence_date: None, ..revoke_request(&three, RevocationReasonCode::CaCompromise) };
    admin.call(V1_0, &request, |_| ()).expect("revoked");
    let told = dates(&mut admin, &three);
    assert!(told.contains(&format!("CompromiseOccurrenceDate(DateTime({created}))")), "{told}");
    let never =
        RevokeRequest { compromise_occurrence_date: Some(DateTime(i64::MAX)), ..revoke_request(&one, RevocationReasonCode::KeyCompromise) };
    assert_eq!(why(admin.call(V1_0, &never, |_| ())), ResultReason::InvalidField);
}

#[test]
fn a_reason_that_nobody_knows_is_no_revocation() {
    let world = World::found();
    let (mut admin, id) = (world.admin(), world.key());
    assert_eq!(why(admin.revoke(&id, RevocationReasonCode::Extension(0x8000_0001))), ResultReason::InvalidField);
    assert_eq!(admin.state(&id), State::Active);
}

#[test]
fn the_default_key_of_a_service_encrypts_and_is_neither_revoked_nor_destroyed() {
    let world = World::found();
    let id = world.default_key();
    encrypts(&mut world.service(), &id).expect("it is Active with its service");
    let mut admin = world.admin();
    let failed = admin.revoke(&id, RevocationReasonCode::KeyCompromise).expect_err("it is replaced, never revoked");
    assert_eq!(failed.reason, ResultReason::PermissionDenied);
    assert!(failed.message.contains("ReKey"), "{}", failed.message);
    assert_eq!(why(admin.destroy(&id)), ResultReason::PermissionDenied);
}

#[test]
fn state_and_use_follow_the_dates() {
    let world = World::found();
    let (mut admin, mut service) = (world.admin(), world.service());
    let at = |seconds| DateTime(START + seconds);
    let dates = [
        AttributeValue::ActivationDate(at(10)),
        AttributeValue::ProcessStartDate(at(20)),
        AttributeValue::ProtectStopDate(at(30)),
        AttributeValue::DeactivationDate(at(40)),
    ];
    let id = admin.create(V1_2, &wish("billing", &dates)).expect("the dates are in order");
    assert_eq!(admin.state(&id), State::PreActive);
    world.wait(10);
    assert_eq!(admin.state(&id), State::Active);
    let sealed = encrypts(&mut service, &id).expect("within its active time");
    assert_eq!(why(decrypts(&mut service, &id, &sealed)), ResultReason::PermissionDenied);
    world.wait(10);
    decrypts(&mut service, &id, &sealed).expect("after Process Start Date");
    world.wait(10);
    assert_eq!(why(encrypts(&mut service, &id)), ResultReason::PermissionDenied);
    decrypts(&mut service, &id, &sealed).expect("Protect Stop Date stops protecting only");
    world.wait(10);
    assert_eq!(admin.state(&id), State::Deactivated);
    decrypts(&mut service, &id, &sealed).expect("a Deactivated key decrypts");
    world.wait(-1000);
    assert_eq!(admin.state(&id), State::Deactivated);
}

#[test]
fn a_date_of_activation_in_the_past_makes_a_key_active_at_once() {
    let world = World::found();
    let id = world.admin().create(V1_0, &wish("billing", &[AttributeValue::ActivationDate(DateTime(START - 3600))])).expect("a plain key");
    assert_eq!(world.admin().state(&id), State::Active);
    encrypts(&mut world.service(), &id).expect("it is Active");
}

/// A Retired version was found in the archive, and did not say since when it is there.
#[test]
fn a_retired_version_is_deactivated_with_an_archive_date() {
    let world = World::found();
    let mut admin = world.admin();
    let id = world.key();
    admin.revoke(&id, RevocationReasonCode::Superseded).expect("it is Active");
    assert!(admin.instances(&id, "Archive Date").is_empty());
    world.wait(5);
    world.retire(&id);
    let at = world.now();
    world.wait(7);
    assert_eq!(admin.state(&id), State::Deactivated);
    assert_eq!(admin.instances(&id, "Archive Date"), [(None, format!("{:?}", AttributeValue::ArchiveDate(DateTime(at))))]);
    let request = GetAttributeListRequest { unique_identifier: Some(&id) };
    let lists = admin.call(V1_4, &request, |answer| answer.attribute_names.contains(&"Archive Date"));
    assert_eq!(lists, Ok(true));
    let mut located = |mask: i32, seconds: i64| {
        let attributes = vec![bare(AttributeValue::ArchiveDate(DateTime(seconds)))];
        let request = LocateRequest { storage_status_mask: Some(StorageStatusMask(mask)), attributes, ..LocateRequest::default() };
        admin.call(V1_4, &request, |answer| answer.unique_identifiers.len()).expect("it can be searched by")
    };
    assert_eq!([located(2, at), located(1, at), located(2, at + 1)], [1, 0, 0]);
    admin.destroy(&id).expect("it is archived");
    assert!(admin.instances(&id, "Archive Date").is_empty(), "there is nothing left to archive");
}
