//! Batches at an edge, and of several makings at either node: each way to go on after a failure, with the failure at each position.

use keys::id::{Layer, RowId};
use keys::policy::NodeRole;
use keys::record::Outcome;
use keys::row::Row;
use kmip::*;

use crate::document::probe::{Node, Nodes, all_uses, block, on_curve, template};
use crate::errors::making::derivation;
use crate::errors::push_naming;
use crate::world::*;
use AttributeValue as A;
use BatchErrorContinuationOption::{Continue, Stop, Undo};
use Operation as O;
use ProtocolVersion::V1_4;

const OPTIONS: [Option<BatchErrorContinuationOption>; 4] = [None, Some(Stop), Some(Continue), Some(Undo)];
const ABSENT: [&str; 2] = ["L3-01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8057"];

/// What should come of a batch of so many items, of which one fails.
struct Expected {
    statuses: Vec<ResultStatus>,
    /// The items that were done, and stay so.
    done: Vec<usize>,
}

impl Expected {
    fn of(items: usize, option: Option<BatchErrorContinuationOption>, failing: usize) -> Self {
        let (mut statuses, mut done) = (vec![ResultStatus::Success; items], (0..items).collect::<Vec<_>>());
        if failing < items {
            statuses[failing] = ResultStatus::OperationFailed;
            done.retain(|index| *index != failing);
            if option != Some(Continue) {
                statuses.truncate(failing + 1);
                done.truncate(failing);
            }
            if option == Some(Undo) {
                statuses[..failing].fill(ResultStatus::OperationUndone);
                done.clear();
            }
        }
        Self { statuses, done }
    }

    /// Looks at the answer and at the audit records, of which a pair, and a key that leaves wrapped, has two an item.
    fn check(&self, sent: &Sent, node: &mut Node<'_>, case: &str) {
        let _earlier = node.owner.world.take_records();
        let (answer, withheld) = node.owner.try_ask(&sent.bytes);
        assert_eq!(withheld, None, "{case}");
        let answer = ResponseMessage::read(&answer).expect("answers are legal in their version");
        let statuses: Vec<_> = answer.items.iter().map(|item| item.result_status).collect();
        assert_eq!(statuses, self.statuses, "{case}");
        let failed = answer.items.iter().find(|item| item.result_status == ResultStatus::OperationFailed);
        assert!(failed.is_none_or(|item| item.result_reason == Some(ResultReason::ItemNotFound)), "{case}");
        let told: Vec<Outcome> = node.owner.world.outcomes().into_iter().map(|record| record.1).collect();
        for (status, outcome) in [
            (ResultStatus::Success, Outcome::Success),
            (ResultStatus::OperationUndone, Outcome::Undone),
            (ResultStatus::OperationFailed, Outcome::NotFound),
        ] {
            let items = statuses.iter().filter(|is| **is == status).count();
            let records = told.iter().filter(|is| **is == outcome).count();
            assert!((items..=2 * items).contains(&records), "{case}: {records} records of {items} items {outcome:?}");
        }
    }
}

/// The objects and keys that are stored.
fn objects(world: &World) -> Vec<(RowId, Row)> {
    let is_one = |id: &RowId| matches!(id.layer, Layer::L3 | Layer::L4 | Layer::Name);
    world.store.rows().iter().filter(|(id, _)| is_one(id)).map(|(id, row)| (*id, row.clone())).collect()
}

fn fails(batch: &mut Batch, role: NodeRole) {
    push_naming(batch, O::Check, ABSENT[usize::from(role == NodeRole::Edge)]);
}

/// What an item does to the object that it names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Changes,
    Nothing,
}

/// What an edge has beside what a core has; Create and the like are below.
const KINDS: [(Operation, State, Does); 17] = [
    (O::Activate, State::PreActive, Does::Changes),
    (O::Revoke, State::Active, Does::Changes),
    (O::Destroy, State::Deactivated, Does::Changes),
    (O::Archive, State::Active, Does::Changes),
    (O::Recover, State::Active, Does::Changes),
    (O::ReKey, State::Active, Does::Changes),
    (O::DeriveKey, State::Active, Does::Changes),
    (O::AddAttribute, State::Active, Does::Changes),
    (O::ModifyAttribute, State::Active, Does::Changes),
    (O::DeleteAttribute, State::Active, Does::Changes),
    // An object that was returned is not Fresh any more.
    (O::Get, State::Active, Does::Changes),
    (O::Check, State::Active, Does::Nothing),
    (O::GetAttributes, State::Active, Does::Nothing),
    (O::ObtainLease, State::Active, Does::Nothing),
    (O::Mac, State::Active, Does::Nothing),
    (O::Encrypt, State::Active, Does::Nothing),
    (O::Locate, State::Active, Does::Nothing),
];

fn object(edge: &mut Node<'_>, operation: Operation, state: State) -> String {
    let note = A::Custom("x-note", ttlv::Value::TextString("old"));
    let attributes = [A::CryptographicAlgorithm(CryptographicAlgorithm::Aes), A::CryptographicLength(256), all_uses(), note];
    let id = edge.owner.create(V1_4, &attributes).expect("a plain key");
    if state != State::PreActive {
        edge.owner.activate(&id).expect("it is new");
    }
    if state == State::Deactivated {
        edge.owner.revoke(&id, RevocationReasonCode::Superseded).expect("it is Active");
    }
    if operation == O::Recover {
        edge.owner.call(V1_4, &ArchiveRequest { unique_identifier: Some(&id) }, |_| ()).expect("it is at hand");
    }
    id
}

#[test]
fn each_kind_of_item_of_an_edge_is_stopped_continued_and_undone_at_each_position() {
    let nodes = Nodes::found();
    let mut cases = 0;
    for (operation, state, does) in KINDS {
        for option in OPTIONS {
            for failing in 0..=3 {
                let mut edge = nodes.edge();
                let ids: Vec<String> = (0..3).map(|_| object(&mut edge, operation, state)).collect();
                let mut batch = Batch::new(V1_4);
                option.into_iter().for_each(|option| batch.on_error(option));
                for (index, id) in ids.iter().enumerate() {
                    if index == failing { fails(&mut batch, NodeRole::Edge) } else { push_naming(&mut batch, operation, id) }
                }
                let case = format!("{operation:?} {option:?} {failing}");
                let expected = Expected::of(3, option, failing);
                let world = edge.owner.world;
                let rows = |ids: &[String]| ids.iter().map(|id| world.store.rows().get(&row_id(id)).cloned()).collect::<Vec<_>>();
                let (before, all_before) = (rows(&ids), objects(world));
                expected.check(&batch.finish(), &mut edge, &case);
                let after = rows(&ids);
                let changed: Vec<usize> = (0..3).filter(|index| before[*index] != after[*index]).collect();
                assert_eq!(changed, if does == Does::Changes { expected.done.clone() } else { vec![] }, "{case}");
                let made = objects(world).len() - all_before.len();
                let makes = usize::from(matches!(operation, O::ReKey | O::DeriveKey));
                assert_eq!(made, makes * expected.done.len(), "{case}");
                if expected.done.is_empty() {
                    assert!(objects(world) == all_before, "{case}: all is as it was");
                }
                cases += 1;
            }
        }
    }
    counted(cases);
    assert_eq!(cases, 17 * 4 * 4);
}

/// Adds the `index`-th making to a batch, each of another operation if the node has so many; each makes an object of this name.
fn push_making(batch: &mut Batch, role: NodeRole, index: usize, name: &str, [base, replaced]: &[String; 2]) {
    let name = named(name);
    let pushed = match (role, index) {
        (_, 0) => batch.push(&create_request(&wish("billing", &[name]))).map(drop),
        (_, 1) => {
            let template_attribute = Some(template([name]));
            batch.push(&ReKeyRequest { unique_identifier: Some(replaced), offset: None, template_attribute }).map(drop)
        }
        (NodeRole::Core, _) => batch.push(&create_request(&wish("payroll", &[name]))).map(drop),
        (NodeRole::Edge, 2) => {
            let key_block = block(KeyFormatType::Raw, Some(CryptographicAlgorithm::Aes), b"a key of thirty-two bytes, raw..");
            let object = ManagedObject::SymmetricKey(SymmetricKey { key_block });
            let template_attribute = template([all_uses(), name]);
            batch.push(&RegisterRequest { object_type: ObjectType::SymmetricKey, template_attribute, object }).map(drop)
        }
        (NodeRole::Edge, 3) => {
            let template_attribute = template([A::CryptographicLength(128), all_uses(), name]);
            batch.push(&DeriveKeyRequest { template_attribute, ..derivation(&[base]) }).map(drop)
        }
        (NodeRole::Edge, _) => {
            let common = template([A::CryptographicAlgorithm(CryptographicAlgorithm::Ecdsa), on_curve(RecommendedCurve::P256)]);
            let request = CreateKeyPairRequest {
                common_template_attribute: Some(common),
                private_key_template_attribute: Some(template([all_uses(), name])),
                public_key_template_attribute: Some(template([all_uses()])),
            };
            batch.push(&request).map(drop)
        }
    };
    pushed.expect("1.4 has all of them");
}

#[test]
fn a_batch_of_several_makings_is_stopped_continued_and_undone_at_each_position_at_core_and_edge() {
    const ITEMS: usize = 5;
    let nodes = Nodes::found();
    let mut cases = 0;
    for role in [NodeRole::Core, NodeRole::Edge] {
        for option in OPTIONS {
            for failing in 0..=ITEMS {
                let mut node = if role == NodeRole::Core { nodes.core() } else { nodes.edge() };
                let base = if role == NodeRole::Edge { node.key(0x200, &[]) } else { node.key(DATA, &[]) };
                let ids = [base, node.key(DATA, &[])];
                let names: Vec<String> = (0..ITEMS).map(|index| format!("{index} {}", ids[1])).collect();
                let mut batch = Batch::new(V1_4);
                option.into_iter().for_each(|option| batch.on_error(option));
                for (index, name) in names.iter().enumerate() {
                    if index == failing { fails(&mut batch, role) } else { push_making(&mut batch, role, index, name, &ids) }
                }
                let case = format!("{role:?} {option:?} {failing}");
                let expected = Expected::of(ITEMS, option, failing);
                let world = node.owner.world;
                let before = objects(world);
                let commits = world.store.commits.load(std::sync::atomic::Ordering::Relaxed);
                expected.check(&batch.finish(), &mut node, &case);
                let committed = world.store.commits.load(std::sync::atomic::Ordering::Relaxed) - commits;
                assert_eq!(committed, u64::from(!expected.done.is_empty()), "{case}: one message, one transaction");
                let made: Vec<usize> = (0..ITEMS).filter(|index| exists(&mut node, &names[*index])).collect();
                assert_eq!(made, expected.done, "{case}");
                if expected.done.is_empty() {
                    assert!(objects(world) == before, "{case}: all is as it was");
                }
                // What was not made has left its name to others.
                for index in (0..ITEMS).filter(|index| !expected.done.contains(index)) {
                    node.owner.create(V1_4, &wish("billing", &[named(&names[index])])).expect("nobody has the name");
                }
                cases += 1;
            }
        }
    }
    counted(cases);
    assert_eq!(cases, 2 * 4 * (ITEMS + 1));
}

fn exists(node: &mut Node<'_>, name: &str) -> bool {
    !node.owner.locate(V1_4, &[named(name)]).expect("names are legal").is_empty()
}

#[test]
fn a_batch_that_would_have_an_edge_undo_what_a_core_did_is_refused_before_it_begins() {
    let world = World::edge();
    let (mut service, mut admin) = (world.service(), world.admin());
    let l3 = admin.create(V1_4, &wish("billing", &[])).expect("a tenant-admin's keys are made by the core");
    let state = |world: &World| world.admin().state(&l3);
    let mixed = |option, name: &str| {
        let mut batch = Batch::new(V1_4);
        batch.on_error(option);
        batch.push(&create_request(&wish("billing", &[named(name)]))).expect("1.4 has Create");
        batch.push(&GetAttributesRequest { unique_identifier: Some(&l3), attribute_names: vec![] }).expect("1.4 has Get Attributes");
        batch.finish()
    };
    let before = objects(&world);
    let (_, status, reason, text) = only_item(&service.ask(&mixed(Undo, "apart").bytes));
    assert_eq!((status, reason), (ResultStatus::OperationFailed, Some(ResultReason::OperationNotSupported)));
    assert!(text.contains("send them apart"), "{text}");
    assert!(objects(&world) == before, "nothing of it is done");
    for option in [Stop, Continue] {
        // What is passed on has a record more.
        let (answer, withheld) = service.try_ask(&mixed(option, &format!("{option:?}")).bytes);
        assert_eq!(withheld, None);
        let items = ResponseMessage::read(&answer).expect("answers are legal in their version").items;
        assert!(items.len() == 2 && items.iter().all(|item| item.result_status == ResultStatus::Success), "{option:?}");
    }
    // Alone, there is nothing else that would have to be undone.
    let mut alone = Batch::new(V1_4);
    alone.on_error(Undo);
    alone.push(&ActivateRequest { unique_identifier: Some(&l3) }).expect("1.4 has Activate");
    assert_eq!(only_item(&admin.ask(&alone.finish().bytes)).1, ResultStatus::Success);
    assert_eq!(state(&world), State::Active);
}
