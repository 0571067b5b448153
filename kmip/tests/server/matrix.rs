//! Every operation, every role, every kind of identifier, every state of a key: each cell against a table of its own.

use std::collections::BTreeMap;

use keys::policy::Role;
use kmip::ttlv::{ByteString, Value};
use kmip::*;

use crate::world::*;
use Operation as O;
use ProtocolVersion::V1_4;
use ResultReason as R;

const ABSENT: &str = "L3-01890a5d-ac96-774b-bcce-b302099a8057";

/// The operations that name one object.
const NAMING: [O; 14] = [
    O::Activate,
    O::Revoke,
    O::Destroy,
    O::GetAttributes,
    O::GetAttributeList,
    O::Encrypt,
    O::Decrypt,
    O::ReKey,
    O::Check,
    O::Get,
    O::AddAttribute,
    O::ModifyAttribute,
    O::DeleteAttribute,
    O::Export,
];

const STATES: [State; 5] = [State::PreActive, State::Active, State::Deactivated, State::Compromised, State::Destroyed];

/// A message with one operation on one object; without an identifier, on the ID Placeholder's.
pub(crate) fn one(operation: Operation, version: ProtocolVersion, id: Option<&str>) -> Vec<u8> {
    let mut batch = Batch::new(version);
    let pushed = push(&mut batch, operation, id);
    pushed.expect("the version has the operation");
    batch.finish().bytes
}

/// Adds an operation to a batch.
pub(crate) fn push(batch: &mut Batch, operation: Operation, id: Option<&str>) -> Result<(), Error> {
    let unique_identifier = id;
    let (data, iv_counter_nonce) = (Some(ByteString(&[7; 32])), Some(ByteString(&[0; 12])));
    let comment = bare(AttributeValue::Custom("x-note", Value::TextString("new")));
    let gcm = Some(CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::Gcm), ..CryptographicParameters::default() });
    match operation {
        O::Create => batch.push(&create_request(&wish("billing", &[]))).map(drop),
        O::Locate => batch.push(&LocateRequest::default()).map(drop),
        O::Query => batch.push(&QueryRequest { functions: vec![QueryFunction::QueryObjects] }).map(drop),
        O::DiscoverVersions => batch.push(&DiscoverVersionsRequest::default()).map(drop),
        O::Activate => batch.push(&ActivateRequest { unique_identifier }).map(drop),
        O::Revoke => {
            let request = RevokeRequest { unique_identifier, ..revoke_request("", RevocationReasonCode::KeyCompromise) };
            batch.push(&request).map(drop)
        }
        O::Destroy => batch.push(&DestroyRequest { unique_identifier }).map(drop),
        O::GetAttributes => batch.push(&GetAttributesRequest { unique_identifier, attribute_names: vec![] }).map(drop),
        O::GetAttributeList => batch.push(&GetAttributeListRequest { unique_identifier }).map(drop),
        O::Encrypt => batch.push(&EncryptRequest { unique_identifier, data, ..EncryptRequest::default() }).map(drop),
        O::Decrypt => {
            let request = DecryptRequest { unique_identifier, cryptographic_parameters: gcm, data, iv_counter_nonce, ..Default::default() };
            batch.push(&request).map(drop)
        }
        O::ReKey => batch.push(&ReKeyRequest { unique_identifier, ..ReKeyRequest::default() }).map(drop),
        O::Check => batch.push(&CheckRequest { unique_identifier, ..CheckRequest::default() }).map(drop),
        O::Get => batch.push(&GetRequest { unique_identifier, ..GetRequest::default() }).map(drop),
        O::AddAttribute => batch.push(&AddAttributeRequest { unique_identifier, attribute: comment }).map(drop),
        O::ModifyAttribute => batch.push(&ModifyAttributeRequest { unique_identifier, attribute: comment }).map(drop),
        O::DeleteAttribute => {
            let request = DeleteAttributeRequest { unique_identifier, attribute_name: "x-note", attribute_index: None };
            batch.push(&request).map(drop)
        }
        O::Export => batch.push(&ExportRequest { unique_identifier, ..ExportRequest::default() }).map(drop),
        other => panic!("a core does not offer {other:?}"),
    }
}

/// A new key of acme's, with an attribute to change, in this state.
pub(crate) fn key_in(world: &World, service: &str, state: State) -> String {
    let mut admin = world.admin();
    let note = AttributeValue::Custom("x-note", Value::TextString("old"));
    let id = admin.create(V1_4, &wish(service, &[note])).expect("a plain key");
    if [State::Active, State::Deactivated].contains(&state) {
        admin.activate(&id).expect("it is new");
    }
    match state {
        State::Deactivated => drop(admin.revoke(&id, RevocationReasonCode::Unspecified).expect("it is Active")),
        State::Compromised => drop(admin.revoke(&id, RevocationReasonCode::KeyCompromise).expect("it is Pre-Active")),
        State::Destroyed => drop(admin.destroy(&id).expect("it is Pre-Active")),
        _ => {}
    }
    id
}

/// Who may do what to its own L3, by section 6 of the design.
fn may(operation: Operation, role: Role) -> bool {
    match operation {
        O::Encrypt | O::Decrypt => role == Role::Service,
        O::GetAttributes | O::GetAttributeList | O::Check => [Role::Service, Role::TenantAdmin].contains(&role),
        _ => role == Role::TenantAdmin,
    }
}

/// What comes of a permitted operation in each of [`STATES`]; `None` is success.
fn by_state(operation: Operation) -> [Option<R>; 5] {
    let (ok, denied) = (None, Some(R::PermissionDenied));
    match operation {
        O::Activate => [ok, denied, denied, denied, denied],
        O::Revoke => [ok, ok, ok, denied, ok],
        O::Destroy => [ok, denied, ok, ok, denied],
        O::GetAttributes | O::GetAttributeList => [ok; 5],
        O::Encrypt => [denied, ok, denied, denied, denied],
        O::Decrypt => [denied, Some(R::CryptographicFailure), Some(R::CryptographicFailure), denied, denied],
        O::ReKey | O::AddAttribute | O::ModifyAttribute | O::DeleteAttribute => [ok, ok, ok, ok, denied],
        O::Check => [ok, ok, ok, ok, Some(R::IllegalOperation)],
        O::Get => {
            [Some(R::NotExtractable), Some(R::NotExtractable), Some(R::NotExtractable), Some(R::NotExtractable), Some(R::IllegalOperation)]
        }
        O::Export => [Some(R::NotExtractable), Some(R::NotExtractable), Some(R::NotExtractable), Some(R::NotExtractable), ok],
        other => panic!("{other:?} names no object"),
    }
}

fn client(world: &World, role: Role) -> Client<'_> {
    let tenant = if [Role::Operator, Role::Custodian].contains(&role) { "" } else { "acme" };
    world.client(role, tenant, if role == Role::Service { "billing" } else { "" })
}

fn reason_of(answer: &[u8]) -> Option<R> {
    let (_, status, reason, _) = only_item(answer);
    assert_eq!(status == ResultStatus::Success, reason.is_none());
    reason
}

#[test]
fn every_operation_on_an_own_key_in_every_state_is_what_the_tables_say() {
    let world = World::found();
    let mut cells = 0;
    for role in Role::ALL {
        for operation in NAMING {
            for (state, expected) in STATES.into_iter().zip(by_state(operation)) {
                let id = key_in(&world, "billing", state);
                let told = reason_of(&client(&world, role).ask(&one(operation, V1_4, Some(&id))));
                let owns = [Role::Service, Role::TenantAdmin].contains(&role);
                let expected = match (owns, may(operation, role)) {
                    (false, _) => Some(R::ItemNotFound),
                    (true, false) => Some(R::PermissionDenied),
                    (true, true) => expected,
                };
                assert_eq!(told, expected, "{operation:?} by {role:?} of a key that is {state:?}");
                cells += 1;
            }
        }
    }
    counted(cells);
    assert_eq!(cells, 6 * 14 * 5);
}

#[test]
fn every_operation_on_anothers_no_and_no_possible_key_is_refused_without_telling_which() {
    let world = World::found();
    let mut cells = 0;
    let foreign = world.client(Role::TenantAdmin, "globex", "").create(V1_4, &wish("billing", &[])).expect("a plain key");
    let l2 = world.admin().locate(V1_4, &[AttributeValue::Custom("y-layer", Value::TextString("L2"))]).expect("an admin looks")[0].clone();
    let mut others: BTreeMap<&str, String> = BTreeMap::new();
    for state in STATES {
        others.insert(state.name(), key_in(&world, "payroll", state));
    }
    let malformed = ["", "L3-", "l3-01890a5d-ac96-774b-bcce-b302099a8057", "L3-01890A5D-AC96-774B-BCCE-B302099A8057", "\u{0}", "L3-%s%n"];
    for role in Role::ALL {
        for operation in NAMING {
            let mut client = client(&world, role);
            let absent = client.ask(&one(operation, V1_4, Some(ABSENT)));
            assert_eq!(reason_of(&absent), Some(R::ItemNotFound), "{operation:?} by {role:?}");
            for id in malformed.into_iter().chain([foreign.as_str()]) {
                assert_eq!(client.ask(&one(operation, V1_4, Some(id))), absent, "{operation:?} by {role:?} of {id:?}");
                cells += 1;
            }
            if role != Role::TenantAdmin {
                for id in others.values().chain([&l2]) {
                    assert_eq!(client.ask(&one(operation, V1_4, Some(id))), absent, "{operation:?} by {role:?} of {id}");
                    cells += 1;
                }
            }
            // An L4 is told from its spelling, whether or not it exists.
            let l4 = client.ask(&one(operation, V1_4, Some("01890a5d-ac96-774b-bcce-b302099a8057")));
            assert_eq!(reason_of(&l4), Some(R::PermissionDenied), "{operation:?} by {role:?}");
            // Without an identifier, nothing is meant: nobody's object, too.
            assert_eq!(reason_of(&client.ask(&one(operation, V1_4, None))), Some(R::ItemNotFound), "{operation:?} by {role:?}");
            cells += 3;
        }
    }
    let mut admin = world.admin();
    for operation in NAMING {
        let allowed = [O::GetAttributes, O::GetAttributeList, O::ReKey].contains(&operation);
        let expected = (!allowed).then_some(R::PermissionDenied);
        assert_eq!(reason_of(&admin.ask(&one(operation, V1_4, Some(&l2)))), expected, "{operation:?} of an L2");
        cells += 1;
    }
    counted(cells);
}

#[test]
fn operations_that_name_no_object_are_what_the_table_says() {
    let world = World::found();
    let mut cells = 0;
    for role in Role::ALL {
        for operation in [O::Create, O::Locate, O::Query, O::DiscoverVersions] {
            let allowed = match operation {
                O::Create => role == Role::TenantAdmin,
                O::Locate => [Role::Service, Role::TenantAdmin].contains(&role),
                _ => true,
            };
            let told = reason_of(&client(&world, role).ask(&one(operation, V1_4, None)));
            assert_eq!(told, (!allowed).then_some(R::PermissionDenied), "{operation:?} by {role:?}");
            cells += 1;
        }
    }
    counted(cells);
    assert_eq!(cells, 24);
}

#[test]
fn query_lists_what_is_offered_in_the_version_and_the_matrix_covers_it() {
    let world = World::found();
    let query = QueryRequest { functions: vec![QueryFunction::QueryOperations] };
    for version in ProtocolVersion::ALL {
        let told = world.service().call(version, &query, |answer| answer.operations.clone()).expect("anybody may ask");
        let plain = [O::Create, O::Locate, O::Query, O::DiscoverVersions];
        let mut expected: Vec<_> = NAMING.into_iter().chain(plain).filter(|operation| operation.since() <= version).collect();
        expected.sort_by_key(|operation| operation.number());
        assert_eq!(told, expected, "{version}");
    }
}
