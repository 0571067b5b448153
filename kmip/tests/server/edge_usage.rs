//! What ends a use at an edge: Usage Limits and what is allocated of them, leases, the archive.

use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::{ByteString, Interval};
use kmip::*;

use crate::pairs::*;
use crate::world::*;
use AttributeValue as A;
use ProtocolVersion::{V1_0, V1_4};
use ResultReason as R;

fn limited(total: i64, unit: UsageLimitsUnit) -> A<'static> {
    A::UsageLimits(UsageLimits { total: Some(total), count: None, unit: Some(unit) })
}

/// An Active AES key for data and for MACs, with some attributes more.
fn key(client: &mut Client<'_>, more: &[A<'_>]) -> String {
    let mut attributes = wish("billing", more);
    attributes[2] = A::CryptographicUsageMask(CryptographicUsageMask(DATA | 0x180 | 0x30));
    let id = client.create(V1_4, &attributes).expect("a plain key");
    client.activate(&id).expect("it is new");
    id
}

fn encrypt(client: &mut Client<'_>, id: &str, mode: BlockCipherMode, data: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Failed> {
    let parameters = CryptographicParameters { block_cipher_mode: Some(mode), ..Default::default() };
    let (unique_identifier, data) = (Some(id), Some(ByteString(data)));
    let request = EncryptRequest { unique_identifier, cryptographic_parameters: Some(parameters), data, ..EncryptRequest::default() };
    client.call(V1_4, &request, |answer| (answer.data.expect("some").0.to_vec(), answer.iv_counter_nonce.expect("made").0.to_vec()))
}

fn decrypts(client: &mut Client<'_>, id: &str, (data, iv): &(Vec<u8>, Vec<u8>)) -> Result<(), Failed> {
    let (unique_identifier, data, iv_counter_nonce) = (Some(id), Some(ByteString(data)), Some(ByteString(iv)));
    let request = DecryptRequest { unique_identifier, data, iv_counter_nonce, ..DecryptRequest::default() };
    client.call(V1_4, &request, |_| ())
}

fn macs(client: &mut Client<'_>, id: &str, data: &[u8]) -> Result<(), Failed> {
    let parameters = CryptographicParameters { cryptographic_algorithm: Some(CryptographicAlgorithm::Aes), ..Default::default() };
    let (unique_identifier, data) = (Some(id), Some(ByteString(data)));
    let request = MacRequest { unique_identifier, cryptographic_parameters: Some(parameters), data, ..MacRequest::default() };
    client.call(V1_4, &request, |_| ())
}

fn allocate(client: &mut Client<'_>, id: &str, usage_limits_count: i64) -> Result<(), Failed> {
    client.call(V1_0, &GetUsageAllocationRequest { unique_identifier: Some(id), usage_limits_count }, |_| ())
}

/// Total and Count.
fn left(client: &mut Client<'_>, id: &str) -> Option<(i64, i64)> {
    let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: vec!["Usage Limits"] };
    let told = client.call(V1_4, &request, |answer| match answer.attributes.as_slice() {
        [Attribute { value: A::UsageLimits(limits), .. }] => Some((limits.total.expect("set"), limits.count.expect("counted"))),
        [] => None,
        others => panic!("{others:?}"),
    });
    told.expect("it is the client's")
}

fn check_count(client: &mut Client<'_>, id: &str, count: i64) -> Result<(), Failed> {
    client.call(V1_4, &CheckRequest { unique_identifier: Some(id), usage_limits_count: Some(count), ..Default::default() }, |_| ())
}

#[test]
fn so_many_objects_are_protected_and_no_more_and_what_was_is_still_processed() {
    let world = World::edge();
    let mut service = world.service();
    let id = key(&mut service, &[limited(5, UsageLimitsUnit::Object)]);
    assert_eq!(left(&mut service, &id), Some((5, 5)));
    let sealed = encrypt(&mut service, &id, BlockCipherMode::Cbc, b"first").expect("one");
    encrypt(&mut service, &id, BlockCipherMode::Gcm, b"second, which needs an IV of the server's").expect("two");
    macs(&mut service, &id, b"third").expect("three");
    // What fails protects nothing.
    let parameters = CryptographicParameters { padding_method: Some(PaddingMethod::None), ..Default::default() };
    let (unique_identifier, data) = (Some(id.as_str()), Some(ByteString(b"no whole block")));
    let request = EncryptRequest { unique_identifier, cryptographic_parameters: Some(parameters), data, ..EncryptRequest::default() };
    assert_eq!(why(service.call(V1_4, &request, |_| ())), R::InvalidField);
    assert_eq!(left(&mut service, &id), Some((5, 2)));
    check_count(&mut service, &id, 2).expect("so many are left");
    assert_eq!(why(check_count(&mut service, &id, 3)), R::PermissionDenied);
    // An object in parts is one.
    let first = EncryptRequest { unique_identifier, data, init_indicator: Some(true), ..EncryptRequest::default() };
    let first = EncryptRequest { data: Some(ByteString(&[7; 32])), ..first };
    let value = service.call(V1_4, &first, |answer| answer.correlation_value.expect("it goes on").0.to_vec()).expect("four");
    let last = EncryptRequest {
        unique_identifier,
        data,
        correlation_value: Some(ByteString(&value)),
        final_indicator: Some(true),
        ..EncryptRequest::default()
    };
    service.call(V1_4, &last, |_| ()).expect("it is the same object");
    assert_eq!(left(&mut service, &id), Some((5, 1)));
    encrypt(&mut service, &id, BlockCipherMode::Ctr, b"fifth").expect("five");
    let _before = world.take_records();
    for mode in [BlockCipherMode::Cbc, BlockCipherMode::Gcm, BlockCipherMode::Ctr] {
        let refused = encrypt(&mut service, &id, mode, b"sixth").expect_err("that was all");
        assert_eq!(refused.reason, R::PermissionDenied);
        assert!(refused.message.contains("0 units left") && refused.message.contains("ReKey"), "{}", refused.message);
    }
    assert_eq!(why(macs(&mut service, &id, b"sixth")), R::PermissionDenied);
    assert!(world.outcomes().iter().all(|(_, outcome)| *outcome == Outcome::WrongState));
    assert_eq!(decrypts(&mut service, &id, &sealed), Ok(()), "processing is not limited");
    assert_eq!(left(&mut service, &id), Some((5, 0)));
    // A replacement has the limit anew.
    let new = service.rekey(V1_4, &id).expect("it is Active");
    assert_eq!(left(&mut service, &new), Some((5, 5)));
    encrypt(&mut service, &new, BlockCipherMode::Cbc, b"sixth").expect("one of the new key's");
}

/// What a pair protects is what its halves sign and encrypt; verifying and decrypting go on for ever.
#[test]
fn signatures_and_what_rsa_encrypts_are_counted_by_each_half() {
    let world = World::edge();
    let mut service = world.service();
    let object = limited(2, UsageLimitsUnit::Object);
    let request = pair_request(&[&wanted(RSA)[..], &[object]].concat(), &[mask(SIGN | 8)], &[mask(VERIFY | 4)]);
    let [private, public] = made(&mut service, V1_4, &request).expect("it is offered");
    service.activate(&private).expect("it is new");
    service.activate(&public).expect("it is new");
    let pss = CryptographicParameters {
        padding_method: Some(PaddingMethod::Pss),
        hashing_algorithm: Some(HashingAlgorithm::Sha256),
        ..Default::default()
    };
    let oaep = CryptographicParameters {
        padding_method: Some(PaddingMethod::Oaep),
        hashing_algorithm: Some(HashingAlgorithm::Sha256),
        mask_generator_hash: Some(HashingAlgorithm::Sha256),
        ..Default::default()
    };
    let seal = |client: &mut Client<'_>, data: &[u8]| {
        let (unique_identifier, data) = (Some(public.as_str()), Some(ByteString(data)));
        let request = EncryptRequest { unique_identifier, cryptographic_parameters: Some(oaep.clone()), data, ..EncryptRequest::default() };
        client.call(V1_4, &request, |answer| answer.data.expect("some").0.to_vec())
    };
    let open = |client: &mut Client<'_>, data: &[u8]| {
        let (unique_identifier, data) = (Some(private.as_str()), Some(ByteString(data)));
        let request = DecryptRequest { unique_identifier, cryptographic_parameters: Some(oaep.clone()), data, ..DecryptRequest::default() };
        client.call(V1_4, &request, |answer| answer.data.expect("some").0.to_vec())
    };
    let first = sign(&mut service, V1_4, &signing(&private, &pss, b"first")).expect("one of two");
    let sealed = seal(&mut service, b"first").expect("one of two");
    assert_eq!([left(&mut service, &private), left(&mut service, &public)], [Some((2, 1)); 2], "each half has its own limit");
    // What fails protects nothing.
    assert_eq!(why(sign(&mut service, V1_4, &signing(&private, &CryptographicParameters::default(), b"x"))), R::InvalidField);
    assert_eq!(why(seal(&mut service, &[7; 400])), R::InvalidField);
    for _ in 0..3 {
        assert_eq!(verify(&mut service, V1_4, &judging(&public, &pss, b"first", &first)), VALID);
        assert_eq!(open(&mut service, &sealed).as_deref(), Ok(b"first".as_slice()));
    }
    assert_eq!([left(&mut service, &private), left(&mut service, &public)], [Some((2, 1)); 2]);
    sign(&mut service, V1_4, &signing(&private, &pss, b"second")).expect("two of two");
    seal(&mut service, b"second").expect("two of two");
    assert_eq!(why(sign(&mut service, V1_4, &signing(&private, &pss, b"third"))), R::PermissionDenied);
    assert_eq!(why(seal(&mut service, b"third")), R::PermissionDenied);
    assert_eq!(open(&mut service, &sealed).as_deref(), Ok(b"first".as_slice()), "processing is not limited");
    // A new pair has the limit anew.
    let request = ReKeyKeyPairRequest { private_key_unique_identifier: Some(&private), ..ReKeyKeyPairRequest::default() };
    let new = service
        .call(V1_4, &request, |answer| [answer.private_key_unique_identifier.to_owned(), answer.public_key_unique_identifier.to_owned()]);
    for id in new.expect("an Active pair") {
        assert_eq!(left(&mut service, &id), Some((2, 2)));
    }
    // By bytes, those of the data count, or of the digest that is given for them.
    let ec = cipher::pair::PairKind::Ec(cipher::pair::Curve::P256);
    let bytes = limited(40, UsageLimitsUnit::Byte);
    let [private, _] =
        made(&mut service, V1_4, &pair_request(&[&wanted(ec)[..], &[bytes]].concat(), &[mask(SIGN)], &[mask(VERIFY)])).expect("offered");
    service.activate(&private).expect("it is new");
    let way = ecdsa(HashingAlgorithm::Sha256);
    sign(&mut service, V1_4, &signing(&private, &way, b"8 bytes.")).expect("8 of 40");
    let digested = SignRequest { data: None, digested_data: Some(ByteString(&[7; 32])), ..signing(&private, &way, b"") };
    sign(&mut service, V1_4, &digested).expect("the other 32");
    assert_eq!(left(&mut service, &private), Some((40, 0)));
    assert_eq!(why(sign(&mut service, V1_4, &signing(&private, &way, b"1"))), R::PermissionDenied);
}

#[test]
fn nothing_is_protected_after_the_protect_stop_date_nor_processed_before_the_process_start_date() {
    let world = World::edge();
    let mut service = world.service();
    let date = |seconds| ttlv::DateTime(START + seconds);
    let stops = key(&mut service, &[A::ProtectStopDate(date(100))]);
    let starts = key(&mut service, &[A::ProcessStartDate(date(100))]);
    let sealed = encrypt(&mut service, &stops, BlockCipherMode::Cbc, b"in time").expect("it protects still");
    let early = encrypt(&mut service, &starts, BlockCipherMode::Cbc, b"early").expect("it protects already");
    macs(&mut service, &stops, b"in time").expect("it protects still");
    assert_eq!(why(decrypts(&mut service, &starts, &early)), R::PermissionDenied);
    world.wait(100);
    assert_eq!(why(encrypt(&mut service, &stops, BlockCipherMode::Cbc, b"too late")), R::PermissionDenied);
    assert_eq!(why(macs(&mut service, &stops, b"too late")), R::PermissionDenied);
    assert_eq!(decrypts(&mut service, &stops, &sealed), Ok(()), "what was protected is processed");
    assert_eq!(decrypts(&mut service, &starts, &early), Ok(()));
}

#[test]
fn bytes_are_counted_and_a_client_takes_its_share_of_them() {
    let world = World::edge();
    let mut service = world.service();
    let id = key(&mut service, &[limited(1000, UsageLimitsUnit::Byte)]);
    encrypt(&mut service, &id, BlockCipherMode::Cbc, &[0; 600]).expect("600 of 1000");
    assert_eq!(left(&mut service, &id), Some((1000, 400)));
    assert_eq!(why(encrypt(&mut service, &id, BlockCipherMode::Cbc, &[0; 401])), R::PermissionDenied);
    assert_eq!(left(&mut service, &id), Some((1000, 400)), "a refusal takes nothing");
    allocate(&mut service, &id, 300).expect("it is there");
    assert_eq!(why(allocate(&mut service, &id, 101)), R::PermissionDenied);
    assert_eq!(left(&mut service, &id), Some((1000, 100)));
    for none in [0, -1, i64::MIN] {
        assert_eq!(why(allocate(&mut service, &id, none)), R::InvalidField, "{none}");
    }
    encrypt(&mut service, &id, BlockCipherMode::Gcm, &[0; 100]).expect("the rest");
    assert_eq!(left(&mut service, &id), Some((1000, 0)));
    // Without limits there is nothing to allocate, and what protects nothing now gives nothing.
    let unlimited = key(&mut service, &[]);
    assert_eq!(left(&mut service, &unlimited), None);
    assert_eq!(why(allocate(&mut service, &unlimited, 1)), R::IllegalOperation);
    let resting = key(&mut service, &[limited(9, UsageLimitsUnit::Object)]);
    service.revoke(&resting, RevocationReasonCode::CessationOfOperation).expect("it is Active");
    assert_eq!(why(allocate(&mut service, &resting, 1)), R::PermissionDenied);
    let mut admin = world.admin();
    assert_eq!(why(allocate(&mut admin, &id, 1)), R::PermissionDenied);
    let mut other = world.client(Role::Service, "acme", "payroll");
    assert_eq!(why(allocate(&mut other, &id, 1)), R::ItemNotFound);
}

#[test]
fn a_limit_changes_until_something_was_taken_of_it() {
    let world = World::edge();
    let mut service = world.service();
    let id = key(&mut service, &[]);
    encrypt(&mut service, &id, BlockCipherMode::Cbc, b"before there is a limit").expect("an Active key");
    service.add(V1_4, &id, limited(7, UsageLimitsUnit::Object)).expect("it has none");
    assert_eq!(why(service.add(V1_4, &id, limited(8, UsageLimitsUnit::Object))), R::IllegalOperation);
    let only_total = A::UsageLimits(UsageLimits { total: Some(9), count: None, unit: None });
    service.modify(V1_4, &id, None, only_total).expect("nothing was taken yet");
    assert_eq!(left(&mut service, &id), Some((9, 9)), "the unit stays");
    let count = A::UsageLimits(UsageLimits { total: Some(9), count: Some(9), unit: Some(UsageLimitsUnit::Object) });
    assert_eq!(why(service.modify(V1_4, &id, None, count)), R::PermissionDenied);
    for wrong in [0, -1, i64::MIN] {
        assert_eq!(why(service.modify(V1_4, &id, None, limited(wrong, UsageLimitsUnit::Object))), R::InvalidField, "{wrong}");
    }
    service.delete(V1_4, &id, "Usage Limits", None).expect("nothing was taken yet");
    assert_eq!(left(&mut service, &id), None);
    service.add(V1_4, &id, limited(7, UsageLimitsUnit::Object)).expect("it has none");
    encrypt(&mut service, &id, BlockCipherMode::Cbc, b"one").expect("of seven");
    assert_eq!(why(service.modify(V1_4, &id, None, limited(700, UsageLimitsUnit::Object))), R::PermissionDenied);
    assert_eq!(why(service.delete(V1_4, &id, "Usage Limits", None)), R::PermissionDenied);
    assert_eq!(left(&mut service, &id), Some((7, 6)));
}

#[test]
fn a_lease_tells_the_last_change_and_none_is_given_for_what_nobody_is_to_use() {
    let world = World::edge();
    let mut service = world.service();
    let id = key(&mut service, &[]);
    world.wait(10);
    service.add(V1_4, &id, A::Comment("changed")).expect("it has none");
    let changed = world.now();
    world.wait(10);
    let ask = |client: &mut Client<'_>, id: &str| {
        let request = ObtainLeaseRequest { unique_identifier: Some(id) };
        client.call(V1_0, &request, |answer| (answer.lease_time, answer.last_change_date.0))
    };
    assert_eq!(ask(&mut service, &id), Ok((Interval(3600), changed)));
    assert_eq!(service.instances(&id, "Lease Time"), [(None, format!("{:?}", A::LeaseTime(Interval(3600))))]);
    let leasing = |seconds| CheckRequest { unique_identifier: Some(&id), lease_time: Some(Interval(seconds)), ..Default::default() };
    service.call(V1_4, &leasing(3600), |_| ()).expect("so long");
    assert_eq!(why(service.call(V1_4, &leasing(3601), |_| ())), R::PermissionDenied);
    assert_eq!(why(ask(&mut world.admin(), &id)), R::PermissionDenied);
    assert_eq!(why(ask(&mut world.client(Role::Service, "globex", "billing"), &id)), R::ItemNotFound);
    service.revoke(&id, RevocationReasonCode::KeyCompromise).expect("it is Active");
    assert_eq!(why(ask(&mut service, &id)), R::PermissionDenied);
}

#[test]
fn an_archived_object_is_refused_for_everything_until_it_is_recovered() {
    let world = World::edge();
    let (mut service, mut admin) = (world.service(), world.admin());
    let id = key(&mut service, &[named("old")]);
    let other = key(&mut service, &[]);
    let sealed = encrypt(&mut service, &id, BlockCipherMode::Cbc, b"kept").expect("it is Active");
    let archive = |client: &mut Client<'_>| client.call(V1_0, &ArchiveRequest { unique_identifier: Some(&id) }, |_| ());
    let recover = |client: &mut Client<'_>| client.call(V1_0, &RecoverRequest { unique_identifier: Some(&id) }, |_| ());
    let mut stranger = world.client(Role::Service, "acme", "payroll");
    assert_eq!(why(archive(&mut stranger)), R::ItemNotFound);
    let _before = world.take_records();
    let archived_at = world.now();
    archive(&mut service).expect("it is at hand");
    assert_eq!(world.outcomes(), [(Action::Archive, Outcome::Success)]);
    world.wait(5);
    let unique_identifier = Some(id.as_str());
    let refusals = [
        archive(&mut service).map(drop),
        archive(&mut admin).map(drop),
        encrypt(&mut service, &id, BlockCipherMode::Gcm, b"x").map(drop),
        decrypts(&mut service, &id, &sealed),
        macs(&mut service, &id, b"x"),
        service.call(V1_4, &GetRequest { unique_identifier, ..Default::default() }, |_| ()),
        service.call(V1_4, &GetAttributesRequest { unique_identifier, ..Default::default() }, |_| ()),
        service.call(V1_4, &GetAttributeListRequest { unique_identifier }, |_| ()),
        service.call(V1_4, &CheckRequest { unique_identifier, ..Default::default() }, |_| ()),
        service.call(V1_4, &ObtainLeaseRequest { unique_identifier }, |_| ()),
        allocate(&mut service, &id, 1),
        service.add(V1_4, &id, A::Comment("x")).map(drop),
        service.modify(V1_4, &id, None, named("new")).map(drop),
        service.delete(V1_4, &id, "Name", None).map(drop),
        service.rekey(V1_4, &id).map(drop),
        service.revoke(&id, RevocationReasonCode::Superseded).map(drop),
        admin.destroy(&id).map(drop),
    ];
    for (index, refused) in refusals.into_iter().enumerate() {
        assert_eq!(why(refused), R::ObjectArchived, "{index}");
    }
    // Nor does it wrap another, nor leave wrapped.
    for (object, with) in [(&other, &id), (&id, &other)] {
        let key_information = Some(WrappingKeyInformation { unique_identifier: with, cryptographic_parameters: None });
        let specification = KeyWrappingSpecification {
            wrapping_method: WrappingMethod::Encrypt,
            encryption_key_information: key_information,
            mac_signature_key_information: None,
            attribute_names: vec![],
            encoding_option: None,
        };
        let request =
            GetRequest { unique_identifier: Some(object), key_wrapping_specification: Some(specification), ..GetRequest::default() };
        assert_eq!(why(service.call(V1_4, &request, |_| ())), R::ObjectArchived);
    }
    // Locate finds it where it is asked for.
    let mut located = |mask: Option<i32>, attribute: A<'_>| {
        let storage_status_mask = mask.map(StorageStatusMask);
        let request = LocateRequest { storage_status_mask, attributes: vec![bare(attribute)], ..LocateRequest::default() };
        service.call(V1_4, &request, |answer| answer.unique_identifiers.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(located(None, named("old")), Ok(vec![]));
    assert_eq!(located(Some(1), named("old")), Ok(vec![]));
    assert_eq!(located(Some(2), named("old")), Ok(vec![id.clone()]));
    assert_eq!(located(Some(3), named("old")), Ok(vec![id.clone()]));
    assert_eq!(located(Some(2), A::ArchiveDate(ttlv::DateTime(archived_at))), Ok(vec![id.clone()]));
    assert_eq!(located(Some(2), A::ArchiveDate(ttlv::DateTime(archived_at + 1))), Ok(vec![]));
    // Its name stays taken.
    assert_eq!(why(service.create(V1_4, &wish("billing", &[named("old")]))), R::InvalidField);
    assert_eq!(why(recover(&mut stranger)), R::ItemNotFound);
    recover(&mut admin).expect("an admin governs the tenant's objects");
    recover(&mut service).expect("it is at hand, which is what is wanted");
    assert_eq!(decrypts(&mut service, &id, &sealed), Ok(()));
    assert_eq!(service.state(&id), State::Active);
    assert!(service.instances(&id, "Archive Date").is_empty());
    // What is destroyed is not put away.
    service.revoke(&id, RevocationReasonCode::Superseded).expect("it is Active");
    service.destroy(&id).expect("it is Deactivated");
    assert_eq!(why(archive(&mut service)), R::PermissionDenied);
}
