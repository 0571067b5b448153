//! Who gets what: strangers, wrong roles, L4 at a core, a sealed node, failures of the appliance.

use std::sync::atomic::Ordering;

use futures_executor::block_on;
use keys::id::RowId;
use keys::policy::{Action, Role};
use keys::record::Outcome;
use keys::row::Row;
use kmip::ttlv::{ByteString, Writer};
use kmip::*;

use crate::world::*;
use ProtocolVersion::{V1_0, V1_2, V1_4};

const UNKNOWN: &str = "L3-01890a5d-ac96-774b-bcce-b302099a8057";
const L4: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Every operation that names an object, in a message of its own.
fn naming(id: &str) -> Vec<(Operation, Vec<u8>)> {
    fn one<C: Call>(call: &C) -> (Operation, Vec<u8>) {
        let mut batch = Batch::new(V1_2);
        batch.push(call).expect("1.2 has the operation");
        (C::OPERATION, batch.finish().bytes)
    }
    let unique_identifier = Some(id);
    let data = Some(ByteString(&[0; 32]));
    let iv_counter_nonce = Some(ByteString(&[0; 16]));
    vec![
        one(&GetAttributesRequest { unique_identifier, attribute_names: vec![] }),
        one(&GetAttributeListRequest { unique_identifier }),
        one(&ActivateRequest { unique_identifier }),
        one(&revoke_request(id, RevocationReasonCode::KeyCompromise)),
        one(&DestroyRequest { unique_identifier }),
        one(&EncryptRequest { unique_identifier, data, ..EncryptRequest::default() }),
        one(&DecryptRequest { unique_identifier, data, iv_counter_nonce, ..DecryptRequest::default() }),
        one(&ReKeyRequest { unique_identifier, ..ReKeyRequest::default() }),
        one(&CheckRequest { unique_identifier, ..CheckRequest::default() }),
        one(&GetRequest { unique_identifier, ..GetRequest::default() }),
        one(&AddAttributeRequest { unique_identifier, attribute: bare(named("n")) }),
        one(&ModifyAttributeRequest { unique_identifier, attribute: bare(named("n")) }),
        one(&DeleteAttributeRequest { unique_identifier, attribute_name: "Name", attribute_index: None }),
    ]
}

#[test]
fn anothers_an_unknown_and_a_malformed_identifier_get_the_same_bytes() {
    let world = World::found();
    let (own, default) = (world.key(), world.default_key());
    let l2 =
        world.admin().locate(V1_0, &[AttributeValue::Custom("y-layer", ttlv::Value::TextString("L2"))]).expect("an admin looks")[0].clone();
    let long = "L3-".repeat(10_000);
    let upper = UNKNOWN.to_uppercase();
    world.take_records();
    let bad =
        [own.as_str(), &default, &l2, UNKNOWN, "", "1", "L3-", &upper, &long, "L9-01890a5d-ac96-774b-bcce-b302099a8057", "\u{0}'; --"];
    for (role, tenant) in [
        (Role::Service, "globex"),
        (Role::TenantAdmin, "globex"),
        (Role::Service, "nobody"),
        (Role::Operator, ""),
        (Role::Auditor, "acme"),
        (Role::Edge, "acme"),
        (Role::Custodian, ""),
    ] {
        let mut stranger = world.client(role, tenant, "billing");
        let wanted = naming(UNKNOWN);
        for id in bad {
            for ((operation, message), (_, absent)) in naming(id).iter().zip(&wanted) {
                let refusals_before = world.pace.waits();
                let answer = stranger.ask(message);
                // What could be there leaves at the same moment as what is; what is no identifier at all leaves at once.
                let is_well_formed = id.parse::<RowId>().is_ok();
                assert_eq!(world.pace.waits() - refusals_before, u64::from(is_well_formed), "{operation:?} of {id:.60}");
                assert_eq!(answer, stranger.ask(absent), "{operation:?} of {id:.60} as {role:?} of {tenant}");
                let (_, status, reason, text) = only_item(&answer);
                assert_eq!((status, reason), (ResultStatus::OperationFailed, Some(ResultReason::ItemNotFound)), "{operation:?}");
                assert_eq!(text, "no such object");
            }
        }
        assert!(world.outcomes().iter().all(|record| record.1 == Outcome::NotFound));
    }
    assert_eq!(world.admin().state(&own), State::Active);
}

#[test]
fn another_service_of_the_same_tenant_is_a_stranger_too() {
    let world = World::found();
    let own = world.key();
    let mut payroll = world.client(Role::Service, "acme", "payroll");
    for (operation, message) in naming(&own) {
        assert_eq!(only_item(&payroll.ask(&message)).2, Some(ResultReason::ItemNotFound), "{operation:?}");
    }
    assert_eq!(payroll.locate(V1_0, &[AttributeValue::UniqueIdentifier(&own)]), Ok(vec![]));
}

#[test]
fn a_role_does_to_its_own_key_what_the_table_allows_and_nothing_else() {
    let world = World::found();
    let id = world.admin().create(V1_2, &wish("billing", &[])).expect("a plain key");
    let refused = |mut client: Client<'_>| {
        let denied = |message: &[u8], client: &mut Client<'_>| only_item(&client.ask(message)).2 == Some(ResultReason::PermissionDenied);
        let all = naming(&id);
        all.into_iter().filter(|(_, message)| denied(message, &mut client)).map(|(operation, _)| operation).collect::<Vec<_>>()
    };
    // The key is Pre-Active, so that a service may not use it yet either.
    use Operation as O;
    let governing = [O::ReKey, O::Get, O::AddAttribute, O::ModifyAttribute, O::DeleteAttribute];
    assert_eq!(refused(world.service()), [&[O::Activate, O::Revoke, O::Destroy, O::Encrypt, O::Decrypt][..], &governing].concat());
    world.take_records();
    let mut admin = world.admin();
    let encrypt = naming(&id).remove(5).1;
    let (_, _, reason, text) = only_item(&admin.ask(&encrypt));
    assert_eq!((reason, text.as_str()), (Some(ResultReason::PermissionDenied), "the principal's role does not allow this operation"));
    let record = world.take_records()[0];
    assert_eq!((record.action, record.object, record.outcome), (Action::Encrypt, Some(row_id(&id)), Outcome::Denied));
}

#[test]
fn an_l4_is_held_by_an_edge_whoever_asks_and_whether_or_not_it_exists() {
    let world = World::found();
    for role in Role::ALL {
        let mut client = world.client(role, "acme", "billing");
        for (operation, message) in naming(L4) {
            let (_, status, reason, text) = only_item(&client.ask(&message));
            assert_eq!((status, reason), (ResultStatus::OperationFailed, Some(ResultReason::PermissionDenied)), "{operation:?} {role:?}");
            assert_eq!(text, "L4 objects are held by an edge");
        }
        for object_type in ObjectType::ALL.iter().filter(|object_type| object_type.since() <= V1_0) {
            let request = CreateRequest { object_type: *object_type, ..create_request(&wish("billing", &[])) };
            let answer = client.call(V1_0, &request, |_| ());
            let is_made = role == Role::TenantAdmin && *object_type == ObjectType::SymmetricKey;
            assert_eq!(answer.is_ok(), is_made, "{object_type:?} {role:?}");
            if let Err(failed) = answer {
                assert_eq!(failed.reason, ResultReason::PermissionDenied);
                let is_l4 = role == Role::Service || *object_type != ObjectType::SymmetricKey;
                assert_eq!(failed.message == "L4 objects are held by an edge", is_l4, "{object_type:?} {role:?}: {}", failed.message);
            }
        }
    }
}

#[test]
fn an_operation_that_is_not_offered_says_so_unless_it_is_plainly_for_an_edge() {
    let world = World::found();
    let mut service = world.service();
    let mut ask = |version: ProtocolVersion, operation: u32, fields: &dyn Fn(&mut Writer<'_>)| {
        let write = |out: &mut Writer<'_>| {
            out.enumeration(Tag::OPERATION, operation);
            let payload = out.open(Tag::REQUEST_PAYLOAD);
            fields(out);
            out.close(payload);
        };
        only_item(&service.ask(&message(version.into(), |_| (), &[&write]))).2.expect("it fails")
    };
    let unsupported = ResultReason::OperationNotSupported;
    let lease = Operation::ObtainLease.number();
    assert_eq!(ask(V1_0, lease, &|_| ()), unsupported);
    assert_eq!(ask(V1_0, lease, &|out| out.text(Tag::UNIQUE_IDENTIFIER, UNKNOWN)), unsupported);
    assert_eq!(ask(V1_0, lease, &|out| out.text(Tag::UNIQUE_IDENTIFIER, L4)), ResultReason::PermissionDenied);
    assert_eq!(ask(V1_0, lease, &|out| out.integer(Tag::UNIQUE_IDENTIFIER, 4)), unsupported);
    assert_eq!(ask(V1_0, Operation::CreateKeyPair.number(), &|_| ()), ResultReason::PermissionDenied);
    assert_eq!(ask(V1_4, Operation::ReKeyKeyPair.number(), &|_| ()), ResultReason::PermissionDenied);
    assert_eq!(ask(V1_0, Operation::ReKeyKeyPair.number(), &|_| ()), unsupported, "1.1 brought it");
    let secret = |out: &mut Writer<'_>| ObjectType::SecretData.encode(Tag::OBJECT_TYPE, out);
    assert_eq!(ask(V1_0, Operation::Register.number(), &secret), ResultReason::PermissionDenied);
    assert_eq!(ask(V1_4, 0x2C, &secret), unsupported);
    assert_eq!(ask(V1_4, 0x8000_0001, &|_| ()), unsupported);
    // Legal elsewhere, but not in this version.
    assert_eq!(ask(V1_0, Operation::Encrypt.number(), &|_| ()), unsupported);
    assert_eq!(ask(V1_0, Operation::DiscoverVersions.number(), &|_| ()), unsupported);
    // Some are known, if only for edges.
    let edges = [Action::Unsupported, Action::Register, Action::CreateKeyPair, Action::ReKeyKeyPair, Action::ObtainLease];
    assert!(world.outcomes().iter().all(|(action, _)| edges.contains(action)));
}

#[test]
fn only_owners_of_keys_may_search() {
    let world = World::found();
    for role in Role::ALL {
        let found = world.client(role, "acme", "billing").locate(V1_0, &[]);
        match role {
            Role::Service | Role::TenantAdmin => assert!(found.is_ok_and(|found| !found.is_empty()), "{role:?}"),
            Role::Edge | Role::Operator | Role::Custodian | Role::Auditor => assert_eq!(why(found), ResultReason::PermissionDenied),
        }
    }
    assert_eq!(world.client(Role::Service, "nobody", "billing").locate(V1_0, &[]), Ok(vec![]));
}

#[test]
fn rights_follow_what_is_made_while_a_client_is_connected() {
    let world = World::found();
    let mut admin = world.client(Role::TenantAdmin, "initech", "");
    assert_eq!(why(admin.create(V1_0, &wish("reports", &[]))), ResultReason::PermissionDenied);
    block_on(world.settle("initech", &["reports"]));
    admin.create(V1_0, &wish("reports", &[])).expect("the tenant exists now");
}

#[test]
fn a_sealed_node_answers_every_item_with_general_failure_and_records_it() {
    let world = World::found();
    let id = world.key();
    let mut client = world.admin();
    world.take_records();
    client.sealed = true;
    let versions = client.call(V1_2, &DiscoverVersionsRequest::default(), |_| ()).expect_err("it is sealed");
    assert_eq!(versions.reason, ResultReason::GeneralFailure);
    assert!(versions.message.contains("sealed"), "{}", versions.message);
    let query = QueryRequest { functions: vec![QueryFunction::QueryOperations] };
    assert_eq!(why(client.call(V1_2, &query, |_| ())), ResultReason::GeneralFailure);
    for request in [L4, UNKNOWN, &id] {
        for (operation, message) in naming(request) {
            assert_eq!(only_item(&client.ask(&message)).2, Some(ResultReason::GeneralFailure), "{operation:?}");
        }
    }
    assert!(world.take_records().iter().all(|record| record.outcome == Outcome::Unavailable && record.object.is_none()));
    client.sealed = false;
    assert_eq!(client.state(&id), State::Active);
}

#[test]
fn without_an_audit_log_nothing_is_answered_but_that() {
    let world = World::found();
    let (mut admin, id) = (world.admin(), world.key());
    world.audit.down.store(true, Ordering::Relaxed);
    let mut batch = Batch::new(V1_2);
    batch.on_error(BatchErrorContinuationOption::Continue);
    batch.push(&ActivateRequest { unique_identifier: Some(UNKNOWN) }).expect("1.0 has Activate");
    batch.push(&GetAttributesRequest { unique_identifier: Some(&id), attribute_names: vec![] }).expect("1.0 has Get Attributes");
    let sent = batch.finish();
    let (answer, withheld) = admin.try_ask(&sent.bytes);
    assert!(withheld.is_some());
    let message = ResponseMessage::read(&answer).expect("answers are legal in their version");
    assert_eq!(message.items.len(), 2);
    let ids: Vec<_> = message.items.iter().map(|item| item.unique_batch_item_id.map(|id| id.0.to_vec())).collect();
    assert_eq!(ids, [Some(vec![0; 8]), Some(vec![0, 0, 0, 0, 0, 0, 0, 1])]);
    for item in &message.items {
        assert_eq!((item.result_status, item.result_reason), (ResultStatus::OperationFailed, Some(ResultReason::GeneralFailure)));
        assert!(item.payload.is_none() && !item.result_message.unwrap_or_default().contains("told to"));
    }
}

#[test]
fn a_full_store_fails_a_create_without_a_word_about_where() {
    let world = World::found();
    let mut admin = world.admin();
    world.store.full.store(true, Ordering::Relaxed);
    let mut batch = Batch::new(V1_2);
    batch.push(&create_request(&wish("billing", &[named("full")]))).expect("1.0 has Create");
    let (answer, withheld) = admin.try_ask(&batch.finish().bytes);
    assert!(withheld.is_some());
    let (_, _, reason, text) = only_item(&answer);
    assert_eq!(reason, Some(ResultReason::GeneralFailure));
    assert!(!text.contains("path"), "{text}");
    world.store.full.store(false, Ordering::Relaxed);
    admin.create(V1_2, &wish("billing", &[named("full")])).expect("nothing was written the first time");
}

#[test]
fn a_name_lost_in_a_race_is_an_invalid_field_and_no_secret_of_the_other() {
    let world = World::found();
    let request = |name: &str| {
        let mut batch = Batch::new(V1_0);
        batch.push(&create_request(&wish("billing", &[named(name)]))).expect("1.0 has Create");
        batch.finish().bytes
    };
    block_on(async {
        let [mut one, mut other] = [world.admin(), world.admin()];
        let now = keys::id::Time::from_seconds(START);
        let message = request("both");
        let unit = world.vault.begin(one.caller.session());
        let (first, first_unit) = dispatch(Some(&world.vault), &mut one.caller, unit, &message, now, vec![]).await;
        let unit = world.vault.begin(other.caller.session());
        let (second, second_unit) = dispatch(Some(&world.vault), &mut other.caller, unit, &message, now, vec![]).await;
        let receipt = first_unit.commit().await.expect("the first one wins");
        assert_eq!(only_item(&first.release(receipt)).1, ResultStatus::Success);
        let error = second_unit.commit().await.expect_err("the name is taken");
        let answer = second.withhold(&error);
        assert_eq!(only_item(&answer).2, Some(ResultReason::InvalidField));
    });
}

#[test]
fn a_damaged_row_is_refused_without_details_and_the_others_are_served() {
    let world = World::found();
    let [bad, good] = [world.key(), world.key()];
    world.store.rows().entry(row_id(&bad)).and_modify(|row: &mut Row| row.header.bits = 128);
    let mut admin = world.admin();
    world.take_records();
    let request = GetAttributesRequest { unique_identifier: Some(&bad), attribute_names: vec![] };
    let failed = admin.call(V1_0, &request, |_| ()).expect_err("it does not verify");
    assert_eq!(failed.reason, ResultReason::GeneralFailure);
    assert!(!failed.message.contains("MAC"), "{}", failed.message);
    assert_eq!(world.outcomes(), [(Action::GetAttributes, Outcome::Corrupt)]);
    assert_eq!(admin.state(&good), State::Active);
}

#[test]
fn credentials_give_no_rights_and_are_refused_only_where_that_is_wanted() {
    let world = World::found();
    let query = QueryRequest { functions: vec![QueryFunction::QueryObjects] };
    let header = |out: &mut Writer<'_>| {
        let authentication = out.open(Tag::AUTHENTICATION);
        let credential = out.open(Tag::CREDENTIAL);
        CredentialType::UsernameAndPassword.encode(Tag::CREDENTIAL_TYPE, out);
        let value = out.open(Tag::CREDENTIAL_VALUE);
        out.text(Tag::USERNAME, "ceph");
        out.text(Tag::PASSWORD, "correct horse");
        out.close(value);
        out.close(credential);
        out.close(authentication);
    };
    let message = message(V1_0.into(), header, &[&|out: &mut Writer<'_>| item(out, Operation::Query.number(), &query)]);
    assert_eq!(only_item(&world.service().ask(&message)).1, ResultStatus::Success);
    world.take_records();
    let mut strict = world.client_with(Role::Service, "acme", "billing", Credentials::Refuse);
    let (operation, _, reason, text) = only_item(&strict.ask(&message));
    assert_eq!((operation, reason), (None, Some(ResultReason::AuthenticationNotSuccessful)));
    assert!(!text.contains("horse"), "{text}");
    assert_eq!(world.outcomes(), [(Action::Unsupported, Outcome::Denied)]);
}
