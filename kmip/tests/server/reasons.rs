//! What is said of the same mistake in each operation and each version.

use std::sync::atomic::Ordering;

use keys::policy::Role;
use kmip::ttlv::{Item, Writer};
use kmip::*;

use crate::matrix::{key_in, one};
use crate::world::*;
use Operation as O;
use ProtocolVersion::{V1_0, V1_4};
use ResultReason as R;

/// All that a core offers, with the role that may do it and the state of the key it succeeds in; Get has no success without another key.
const ALL: [(Operation, Role, Option<State>); 18] = [
    (O::Create, Role::TenantAdmin, None),
    (O::Locate, Role::Service, None),
    (O::Query, Role::Service, None),
    (O::DiscoverVersions, Role::Service, None),
    (O::Activate, Role::TenantAdmin, Some(State::PreActive)),
    (O::Revoke, Role::TenantAdmin, Some(State::Active)),
    (O::Destroy, Role::TenantAdmin, Some(State::PreActive)),
    (O::GetAttributes, Role::Service, Some(State::Active)),
    (O::GetAttributeList, Role::Service, Some(State::Active)),
    (O::Encrypt, Role::Service, Some(State::Active)),
    (O::Decrypt, Role::Service, Some(State::Active)),
    (O::ReKey, Role::TenantAdmin, Some(State::Active)),
    (O::Check, Role::Service, Some(State::Active)),
    (O::Get, Role::TenantAdmin, Some(State::Active)),
    (O::AddAttribute, Role::TenantAdmin, Some(State::Active)),
    (O::ModifyAttribute, Role::TenantAdmin, Some(State::Active)),
    (O::DeleteAttribute, Role::TenantAdmin, Some(State::Active)),
    (O::Export, Role::TenantAdmin, Some(State::Destroyed)),
];

/// Payload fields that are already encoded.
pub(crate) struct Fields(pub(crate) Vec<u8>);

impl Encode for Fields {
    fn encode(&self, tag: Tag, out: &mut Writer<'_>) {
        let open = out.open(tag);
        out.encoded(&self.0);
        out.close(open);
    }
}

/// The fields of the payload of a request with one item.
fn fields(message: &[u8]) -> Vec<u8> {
    let request = Request::decode(message).expect("the client writes legal requests");
    let mut bytes = vec![];
    let payload: &Item<'_> = &request.message.items[0].payload;
    payload.encode(Tag::REQUEST_PAYLOAD, &mut Writer::new(&mut bytes, V1_4));
    bytes.split_off(8)
}

pub(crate) fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = vec![];
    write(&mut Writer::new(&mut bytes, V1_4));
    bytes
}

#[test]
fn the_same_mistake_has_the_same_reason_in_every_operation_and_version() {
    let world = World::found();
    let id = key_in(&world, "billing", State::Active);
    let unknown_tag = Tag::of([0x42, 0x01, 0x25]).expect("a tag");
    let mut cells = 0;
    for version in ProtocolVersion::ALL {
        for (operation, role, state) in ALL {
            let mut client = world.client(role, "acme", if role == Role::Service { "billing" } else { "" });
            let mut ask = |payload: Vec<u8>| {
                let write = |out: &mut Writer<'_>| item(out, operation.number(), &Fields(payload.clone()));
                only_item(&client.ask(&message(version.into(), |_| (), &[&write]))).2
            };
            let case = format!("{operation:?} in {version}");
            if operation.since() > version {
                assert_eq!(ask(vec![]), Some(R::OperationNotSupported), "{case}");
                cells += 1;
                continue;
            }
            let names = state.is_some();
            let good = fields(&one(operation, version, names.then_some(&id)));
            let nameless = fields(&one(operation, version, None));
            let with = |extra: Vec<u8>| [good.clone(), extra].concat();
            assert_eq!(ask(with(written(|out| out.text(unknown_tag, "x")))), Some(R::InvalidField), "an unknown field of {case}");
            assert_eq!(
                ask(with(written(|out| out.text(Tag::BATCH_COUNT, "x")))),
                Some(R::InvalidField),
                "a field from elsewhere of {case}"
            );
            let cut = good.len() < 8 || ask(good[..good.len() - 8].to_vec()) == Some(R::InvalidMessage);
            assert!(cut, "a payload cut short of {case}");
            cells += 3;
            if names {
                let identifier = |text: &str| written(|out| out.text(Tag::UNIQUE_IDENTIFIER, text));
                assert_eq!(ask(with(identifier(&id))), Some(R::InvalidMessage), "a field twice of {case}");
                let number = written(|out| out.integer(Tag::UNIQUE_IDENTIFIER, 1));
                assert_eq!(ask([number, nameless.clone()].concat()), Some(R::InvalidMessage), "another type of {case}");
                assert_eq!(ask([identifier("L3-1"), nameless.clone()].concat()), Some(R::ItemNotFound), "no such key of {case}");
                assert_eq!(ask(nameless), Some(R::ItemNotFound), "an empty placeholder of {case}");
                cells += 4;
            }
        }
    }
    counted(cells);
    assert_eq!(world.admin().state(&id), State::Active, "none of it did anything");
}

#[test]
fn what_an_operation_cannot_do_without_is_missed_in_every_version() {
    let world = World::found();
    let id = key_in(&world, "billing", State::Active);
    let uid = || written(|out| out.text(Tag::UNIQUE_IDENTIFIER, &id));
    let mut cells = 0;
    let needed: [(Operation, Role, Vec<u8>); 8] = [
        (O::Create, Role::TenantAdmin, written(|out| ObjectType::SymmetricKey.encode(Tag::OBJECT_TYPE, out))),
        (O::Query, Role::Service, vec![]),
        (O::Revoke, Role::TenantAdmin, uid()),
        (O::Encrypt, Role::Service, uid()),
        (O::Decrypt, Role::Service, uid()),
        (O::AddAttribute, Role::TenantAdmin, uid()),
        (O::ModifyAttribute, Role::TenantAdmin, uid()),
        (O::DeleteAttribute, Role::TenantAdmin, uid()),
    ];
    for (operation, role, payload) in needed {
        for version in ProtocolVersion::ALL.into_iter().filter(|version| operation.since() <= *version) {
            let mut client = world.client(role, "acme", if role == Role::Service { "billing" } else { "" });
            let write = |out: &mut Writer<'_>| item(out, operation.number(), &Fields(payload.clone()));
            let answer = client.ask(&message(version.into(), |_| (), &[&write]));
            assert_eq!(only_item(&answer).2, Some(R::InvalidMessage), "{operation:?} in {version}");
            cells += 1;
        }
    }
    counted(cells);
}

#[test]
fn an_answer_that_is_too_large_undoes_each_operation_in_each_version() {
    let world = World::found();
    let mut cells = 0;
    for version in ProtocolVersion::ALL {
        for (operation, role, state) in ALL {
            // Decrypt of no ciphertext and Get without a wrapping key do not succeed.
            if operation.since() > version || [O::Decrypt, O::Get].contains(&operation) {
                continue;
            }
            let id = state.map(|state| key_in(&world, "billing", state));
            let payload = fields(&one(operation, version, id.as_deref()));
            let mut client = world.client(role, "acme", if role == Role::Service { "billing" } else { "" });
            let ask = |client: &mut Client<'_>, bytes| {
                let write = |out: &mut Writer<'_>| item(out, operation.number(), &Fields(payload.clone()));
                client.ask(&message(version.into(), |out| out.integer(Tag::MAXIMUM_RESPONSE_SIZE, bytes), &[&write]))
            };
            let (rows, commits) = (world.store.rows().clone(), world.store.commits.load(Ordering::Relaxed));
            let answer = ask(&mut client, 96);
            assert_eq!(only_item(&answer).2, Some(R::ResponseTooLarge), "{operation:?} in {version}");
            // A block of IVs that was reserved for an Encrypt stays reserved.
            let mut now = world.store.rows().clone();
            now.retain(|id, _| rows.contains_key(id));
            assert_eq!(now, rows, "{operation:?} in {version}");
            assert!(operation == O::Encrypt || world.store.commits.load(Ordering::Relaxed) == commits, "{operation:?} in {version}");
            assert_eq!(only_item(&ask(&mut client, 100_000)).1, ResultStatus::Success, "{operation:?} in {version}");
            cells += 2;
        }
    }
    counted(cells);
}

#[test]
fn an_answer_has_only_what_its_version_has() {
    // Every answer of the other tests is read as strictly as its version demands; here, that old ones hear of no newer reason.
    let world = World::found();
    let id = key_in(&world, "billing", State::Active);
    for (version, reason) in [(V1_0, R::PermissionDenied), (V1_4, R::NotExtractable)] {
        assert_eq!(only_item(&world.admin().ask(&one(O::Get, version, Some(&id)))).2, Some(reason));
    }
}
