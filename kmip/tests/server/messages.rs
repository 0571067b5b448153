//! Messages as a whole: versions, headers, what cannot be read, Query and Discover Versions.

use keys::policy::Action;
use keys::record::Outcome;
use kmip::ttlv::{DateTime, Writer};
use kmip::*;

use crate::world::*;
use ProtocolVersion::{V1_0, V1_1, V1_2, V1_3, V1_4};

fn query(out: &mut Writer<'_>) {
    item(out, Operation::Query.number(), &QueryRequest { functions: vec![QueryFunction::QueryOperations] });
}

/// The reason for which a message is refused as a whole, and the version in which that is said.
fn refused(world: &World, message: &[u8]) -> (ResultReason, VersionNumber) {
    world.take_records();
    let answer = world.service().ask(message);
    let (operation, status, reason, _) = only_item(&answer);
    assert_eq!((operation, status), (None, ResultStatus::OperationFailed));
    assert_eq!(world.outcomes(), [(Action::Unsupported, Outcome::Invalid)]);
    (reason.expect("a failure has a reason"), ResponseMessage::read(&answer).expect("legal").header.protocol_version)
}

#[test]
fn the_answer_is_in_the_requests_version_and_carries_the_servers_time() {
    let world = World::found();
    for version in ProtocolVersion::ALL {
        let stamped = |out: &mut Writer<'_>| out.date_time(Tag::TIME_STAMP, DateTime(0));
        let answer = world.service().ask(&message(version.into(), stamped, &[&query]));
        let header = ResponseMessage::read(&answer).expect("legal").header;
        assert_eq!((header.protocol_version, header.time_stamp), (version.into(), DateTime(START)));
        assert_eq!(header.server_correlation_value, None);
    }
}

#[test]
fn a_later_minor_version_is_answered_as_1_4_and_another_major_one_is_invalid() {
    let world = World::found();
    let answer = world.service().ask(&message(VersionNumber { major: 1, minor: 7 }, |_| (), &[&query]));
    assert_eq!(ResponseMessage::read(&answer).expect("legal").header.protocol_version, V1_4.into());
    for number in [VersionNumber { major: 2, minor: 0 }, VersionNumber { major: 0, minor: 9 }] {
        assert_eq!(refused(&world, &message(number, |_| (), &[&query])), (ResultReason::InvalidMessage, V1_4.into()));
    }
}

#[test]
fn what_cannot_be_read_is_answered_and_recorded_once() {
    let world = World::found();
    let whole = message(V1_2.into(), |_| (), &[&query]);
    for end in 0..whole.len() {
        assert_eq!(refused(&world, &whole[..end]).0, ResultReason::InvalidMessage, "{end}");
    }
    let twice = |out: &mut Writer<'_>| [1, 2].into_iter().for_each(|size| out.integer(Tag::MAXIMUM_RESPONSE_SIZE, size));
    assert_eq!(refused(&world, &message(V1_2.into(), twice, &[&query])), (ResultReason::InvalidMessage, V1_2.into()));
    let foreign = |out: &mut Writer<'_>| out.integer(Tag::LEASE_TIME, 1);
    assert_eq!(refused(&world, &message(V1_2.into(), foreign, &[&query])), (ResultReason::InvalidField, V1_2.into()));
    let option = |out: &mut Writer<'_>| out.enumeration(Tag::BATCH_ERROR_CONTINUATION_OPTION, 0x8000_0001);
    assert_eq!(refused(&world, &message(V1_2.into(), option, &[&query])), (ResultReason::InvalidField, V1_2.into()));
}

#[test]
fn nesting_beyond_the_limit_is_refused_in_the_header_and_in_a_payload() {
    let world = World::found();
    let deep = |out: &mut Writer<'_>| {
        let open: Vec<_> = (0..40).map(|_| out.open(Tag::CREDENTIAL_VALUE)).collect();
        open.into_iter().rev().for_each(|open| out.close(open));
    };
    let header = |out: &mut Writer<'_>| {
        let authentication = out.open(Tag::AUTHENTICATION);
        let credential = out.open(Tag::CREDENTIAL);
        CredentialType::UsernameAndPassword.encode(Tag::CREDENTIAL_TYPE, out);
        deep(out);
        out.close(credential);
        out.close(authentication);
    };
    assert_eq!(refused(&world, &message(V1_2.into(), header, &[&query])).0, ResultReason::InvalidMessage);
    let payload = |out: &mut Writer<'_>| {
        out.enumeration(Tag::OPERATION, Operation::Locate.number());
        let payload = out.open(Tag::REQUEST_PAYLOAD);
        let attribute = out.open(Tag::ATTRIBUTE);
        out.text(Tag::ATTRIBUTE_NAME, "x-deep");
        let value = out.open(Tag::ATTRIBUTE_VALUE);
        deep(out);
        out.close(value);
        out.close(attribute);
        out.close(payload);
    };
    let (operation, _, reason, _) = only_item(&world.service().ask(&message(V1_2.into(), |_| (), &[&payload])));
    assert_eq!((operation, reason), (Some(Operation::Locate.into()), Some(ResultReason::InvalidMessage)));
}

#[test]
fn a_critical_extension_is_refused_and_another_one_passed_over() {
    let world = World::found();
    let extended = |critical: bool| {
        move |out: &mut Writer<'_>| {
            query(out);
            let extension = out.open(Tag::MESSAGE_EXTENSION);
            out.text(Tag::VENDOR_IDENTIFICATION, "initech");
            out.boolean(Tag::CRITICALITY_INDICATOR, critical);
            let vendor = out.open(Tag::VENDOR_EXTENSION);
            out.close(vendor);
            out.close(extension);
        }
    };
    assert_eq!(refused(&world, &message(V1_2.into(), |_| (), &[&extended(true)])).0, ResultReason::FeatureNotSupported);
    assert_eq!(only_item(&world.service().ask(&message(V1_2.into(), |_| (), &[&extended(false)]))).1, ResultStatus::Success);
}

#[test]
fn a_payload_that_cannot_be_read_fails_its_item_only() {
    let world = World::found();
    let wrong = |out: &mut Writer<'_>| {
        out.enumeration(Tag::OPERATION, Operation::Activate.number());
        let payload = out.open(Tag::REQUEST_PAYLOAD);
        out.integer(Tag::UNIQUE_IDENTIFIER, 1);
        out.close(payload);
    };
    let (operation, _, reason, _) = only_item(&world.admin().ask(&message(V1_2.into(), |_| (), &[&wrong])));
    assert_eq!((operation, reason), (Some(Operation::Activate.into()), Some(ResultReason::InvalidMessage)));
    assert_eq!(world.outcomes(), [(Action::Activate, Outcome::Invalid)]);
}

#[test]
fn a_client_that_could_wait_is_answered_at_once() {
    let world = World::found();
    let asynchronous = |out: &mut Writer<'_>| out.boolean(Tag::ASYNCHRONOUS_INDICATOR, true);
    assert_eq!(only_item(&world.service().ask(&message(V1_0.into(), asynchronous, &[&query]))).1, ResultStatus::Success);
}

#[test]
fn a_client_of_1_4_that_correlates_gets_a_number_of_the_servers_for_each_message() {
    let world = World::found();
    let mut service = world.service();
    let correlated = |out: &mut Writer<'_>| out.text(Tag::CLIENT_CORRELATION_VALUE, "order 66");
    let mut value = || {
        let answer = service.ask(&message(V1_4.into(), correlated, &[&query]));
        let header = ResponseMessage::read(&answer).expect("legal").header;
        assert_eq!(header.client_correlation_value, None);
        header.server_correlation_value.expect("1.4 has the field").to_owned()
    };
    assert_ne!(value(), value());
}

#[test]
fn one_connection_may_change_its_version_with_every_message() {
    let world = World::found();
    let id = world.key();
    let mut admin = world.admin();
    let all = GetAttributesRequest { unique_identifier: Some(&id), attribute_names: vec![] };
    let mut has_1_4 = |version| {
        let is_new = |attribute: &Attribute<'_>| attribute.value.name() == "Sensitive";
        admin.call(version, &all, |answer| answer.attributes.iter().any(is_new)).expect("it is there")
    };
    assert_eq!([V1_4, V1_0, V1_4, V1_3].map(&mut has_1_4), [true, false, true, false]);
}

#[test]
fn query_lists_what_is_offered_in_the_version_and_that_is_offered() {
    let world = World::found();
    let mut service = world.service();
    for version in ProtocolVersion::ALL {
        let functions = vec![QueryFunction::QueryOperations, QueryFunction::QueryObjects, QueryFunction::QueryServerInformation];
        let listed = service.call(version, &QueryRequest { functions }, |answer| {
            assert_eq!(answer.object_types, [ObjectType::SymmetricKey]);
            assert!(answer.vendor_identification.expect("it was asked for").starts_with("strongroom "));
            answer.operations
        });
        let listed = listed.expect("Query is for everybody");
        for operation in Operation::ALL.iter().filter(|operation| operation.since() <= version) {
            let empty = LocateRequest::default();
            let asked = |out: &mut Writer<'_>| item(out, operation.number(), &empty);
            let (_, _, reason, _) = only_item(&service.ask(&message(version.into(), |_| (), &[&asked])));
            let is_edges = [Operation::CreateKeyPair, Operation::ReKeyKeyPair].contains(operation);
            let is_offered = !matches!(reason, Some(ResultReason::OperationNotSupported)) && !is_edges;
            assert_eq!(is_offered, listed.contains(operation), "{operation:?} in {version}");
        }
    }
}

#[test]
fn query_answers_every_function_with_what_the_version_has() {
    let world = World::found();
    let mut service = world.service();
    for version in ProtocolVersion::ALL {
        let functions = QueryFunction::ALL.iter().copied().filter(|function| function.since() <= version).collect();
        let answer = service.call(version, &QueryRequest { functions }, |answer| {
            assert!(answer.application_namespaces.is_empty() && answer.extension_information.is_empty());
            (answer.rng_parameters.len(), answer.capability_information.first().map(|capable| (capable.streaming, capable.batch_undo)))
        });
        let expected = match version {
            V1_0 | V1_1 | V1_2 => (0, None),
            V1_3 => (1, Some((Some(true), None))),
            V1_4 => (1, Some((Some(true), Some(true)))),
        };
        assert_eq!(answer, Ok(expected), "{version}");
    }
    let extension = QueryRequest { functions: vec![QueryFunction::Extension(0x8000_0000)] };
    assert_eq!(why(service.call(V1_0, &extension, |_| ())), ResultReason::InvalidField);
}

#[test]
fn discover_versions_answers_what_both_sides_speak_in_the_servers_order() {
    let world = World::found();
    let mut service = world.service();
    let number = |major, minor| VersionNumber { major, minor };
    let mut check = |asked: &[VersionNumber], expected: &[VersionNumber]| {
        let request = DiscoverVersionsRequest { versions: asked.to_vec() };
        assert_eq!(service.call(V1_1, &request, |answer| answer.versions).as_deref(), Ok(expected), "{asked:?}");
    };
    let all = [number(1, 4), number(1, 3), number(1, 2), number(1, 1), number(1, 0)];
    check(&[], &all);
    check(&[number(1, 0), number(2, 0), number(1, 3)], &[number(1, 3), number(1, 0)]);
    check(&[number(2, 1), number(1, 9)], &[]);
}
