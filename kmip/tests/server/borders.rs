//! Just inside a rule and just outside of it, at a core and at an edge: full batches, versions mixed on one connection, attributes of later versions,
//! attributes that are read-only; and what Check says of a use against what the use is told.

use keys::policy::NodeRole;
use keys::record::Outcome;
use kmip::ttlv::ByteString;
use kmip::*;

use crate::document::probe::{Node, Nodes, all_uses, template};
use crate::edit;
use crate::errors::{push_naming, stored};
use crate::pairs;
use crate::world::*;
use AttributeValue as A;
use ProtocolVersion::{V1_0, V1_4};
use ResultReason as R;

/// So many Creates, each under a Name of its own.
fn creates(count: usize, prefix: &str) -> Sent {
    let mut batch = Batch::new(V1_0);
    for index in 0..count {
        let name = format!("{prefix} {index}");
        batch.push(&create_request(&wish("billing", &[named(&name)]))).expect("1.0 has Create");
    }
    batch.finish()
}

#[test]
fn a_full_batch_is_done_and_one_item_more_is_refused_as_a_whole() {
    for mut node in Nodes::found().both() {
        let sent = creates(BATCH_ITEMS_MAX, "full");
        let answer = node.owner.ask(&sent.bytes);
        let items = ResponseMessage::read(&answer).expect("answers are legal in their version").items;
        assert_eq!(items.len(), BATCH_ITEMS_MAX, "{:?}", node.role);
        assert!(items.iter().all(|item| item.result_status == ResultStatus::Success), "{:?}", node.role);
        let (world, before) = (node.owner.world, stored(node.owner.world));
        let _earlier = world.take_records();
        let (operation, status, reason, text) = only_item(&node.owner.ask(&creates(BATCH_ITEMS_MAX + 1, "above").bytes));
        assert_eq!((operation, status, reason), (None, ResultStatus::OperationFailed, Some(R::InvalidMessage)), "{:?}", node.role);
        assert!(text.contains(&BATCH_ITEMS_MAX.to_string()), "the limit is told: {text}");
        assert!(stored(world) == before, "{:?}: nothing of it is done", node.role);
        assert!(matches!(world.outcomes()[..], [(_, Outcome::Invalid)]), "{:?}", node.role);
    }
}

#[test]
fn each_version_may_follow_each_other_on_one_connection() {
    let nodes = Nodes::found();
    let mut pairs = 0;
    for mut node in nodes.both() {
        for first in ProtocolVersion::ALL {
            for second in ProtocolVersion::ALL {
                let id = node.owner.create(first, &wish("billing", &[])).expect("a plain key");
                let all = GetAttributesRequest { unique_identifier: Some(&id), attribute_names: vec![] };
                // The answer is read as strictly as its version demands.
                let names = |answer: GetAttributesResponse<'_>| {
                    answer.attributes.iter().filter_map(|attribute| attribute.value.standard()).collect::<Vec<_>>()
                };
                let told = node.owner.call(second, &all, names).expect("it is one's own");
                assert!(told.iter().all(|name| name.row().since <= second), "{first} {second}: {told:?}");
                assert_eq!(told.contains(&AttributeName::Sensitive), second >= V1_4, "{first} {second}");
                pairs += 1;
            }
        }
    }
    counted(pairs);
    assert_eq!(pairs, 2 * 5 * 5);
}

/// The same message in another minor version: the client half would leave out what that does not have.
fn in_version(version: ProtocolVersion, mut message: Vec<u8>) -> Vec<u8> {
    let number = VersionNumber::from(version).minor;
    let minor = message.windows(3).position(|tag| tag == Tag::PROTOCOL_VERSION_MINOR.bytes()).expect("every header has one");
    message[minor + 11] = u8::try_from(number).expect("a digit");
    message
}

fn of<C: Call>(call: &C) -> Vec<u8> {
    let mut batch = Batch::new(V1_4);
    batch.push(call).expect("1.4 has the operation");
    batch.finish().bytes
}

/// The requests in which an attribute can stand, each with the reason for which one that does not exist there is refused.
fn requests<'a>(node: &Node<'_>, id: &'a str, value: &A<'a>) -> Vec<(Vec<u8>, R)> {
    let attribute = bare(value.clone());
    let unique_identifier = Some(id);
    let mut requests = vec![
        (of(&create_request(&wish("billing", std::slice::from_ref(value)))), R::InvalidField),
        (of(&ReKeyRequest { unique_identifier, offset: None, template_attribute: Some(template([value.clone()])) }), R::InvalidField),
        (of(&LocateRequest { attributes: vec![attribute.clone()], ..LocateRequest::default() }), R::InvalidField),
        (of(&AddAttributeRequest { unique_identifier, attribute: attribute.clone() }), R::InvalidField),
        (of(&ModifyAttributeRequest { unique_identifier, attribute }), R::InvalidField),
        (of(&DeleteAttributeRequest { unique_identifier, attribute_name: value.name(), attribute_index: None }), R::ItemNotFound),
    ];
    if node.role == NodeRole::Edge {
        let (opaque_data_type, opaque_data_value) = (OpaqueDataType::Extension(0x8000_0001), ByteString(b"whatever"));
        let object = ManagedObject::OpaqueObject(OpaqueObject { opaque_data_type, opaque_data_value });
        let template_attribute = template([value.clone()]);
        requests.push((of(&RegisterRequest { object_type: ObjectType::OpaqueObject, template_attribute, object }), R::InvalidField));
    }
    requests
}

#[test]
fn an_attribute_of_a_later_version_is_refused_in_every_request_of_an_earlier_one() {
    let nodes = Nodes::found();
    let mut cells = 0;
    for mut node in nodes.both() {
        let id = node.key(DATA, &[]);
        let world = node.owner.world;
        let before = stored(world);
        for value in edit::rules().into_iter().map(|rule| rule.value) {
            let Some(row) = value.standard().map(AttributeName::row) else { continue };
            for version in ProtocolVersion::ALL.into_iter().filter(|version| *version < row.since) {
                for (index, (message, expected)) in requests(&node, &id, &value).into_iter().enumerate() {
                    let case = format!("{:?}: {} in {version}, request {index}", node.role, row.name);
                    let (_, status, reason, text) = only_item(&node.owner.ask(&in_version(version, message)));
                    assert_eq!((status, reason), (ResultStatus::OperationFailed, Some(expected)), "{case}: {text}");
                    cells += 1;
                }
            }
        }
        assert!(stored(world) == before, "{:?}: nothing changed", node.role);
        assert!(world.outcomes().iter().skip(2).all(|(_, outcome)| *outcome != Outcome::Success), "{:?}", node.role);
    }
    counted(cells);
    assert!(cells > 400, "{cells}");
}

#[test]
fn what_a_client_may_not_write_is_refused_by_add_modify_and_delete_on_each_kind_of_object() {
    let nodes = Nodes::found();
    let mut cells = 0;
    for mut node in nodes.both() {
        let mut ids = vec![node.key(DATA, &[])];
        if node.role == NodeRole::Edge {
            let der = pairs::certificate();
            let certificate = Certificate { certificate_type: CertificateType::X509, certificate_value: ByteString(&der) };
            ids.push(node.register(ManagedObject::Certificate(certificate)).expect("it is kept"));
            ids.extend(
                node.pair(&[A::CryptographicAlgorithm(CryptographicAlgorithm::Rsa), A::CryptographicLength(2048)]).expect("it is offered"),
            );
        }
        let world = node.owner.world;
        let before = stored(world);
        for (id, value) in ids.iter().flat_map(|id| edit::rules().into_iter().map(move |rule| (id, rule.value))) {
            let Some(row) = value.standard().map(AttributeName::row) else { continue };
            let is_servers = row.set_by == SetBy::Server;
            let (add, modify, delete) = (is_servers, row.modifiable == Modifiable::Never, is_servers || row.deletable == Deletable::Stays);
            let unique_identifier = Some(id.as_str());
            let attribute = bare(value.clone());
            let asked = [
                (add, of(&AddAttributeRequest { unique_identifier, attribute: attribute.clone() })),
                (modify, of(&ModifyAttributeRequest { unique_identifier, attribute })),
                (delete, of(&DeleteAttributeRequest { unique_identifier, attribute_name: row.name, attribute_index: None })),
            ];
            for (index, (_, message)) in asked.into_iter().enumerate().filter(|(_, (is_fixed, _))| *is_fixed) {
                let case = format!("{:?}: {} of {id}, request {index}", node.role, row.name);
                let _earlier = world.take_records();
                let (_, status, reason, text) = only_item(&node.owner.ask(&message));
                assert_eq!((status, reason), (ResultStatus::OperationFailed, Some(R::PermissionDenied)), "{case}: {text}");
                assert!(matches!(world.outcomes()[..], [(_, Outcome::Denied)]), "{case}");
                cells += 1;
            }
        }
        assert!(stored(world) == before, "{:?}: nothing changed", node.role);
        let made = node.owner.create(V1_4, &[wish("billing", &[]), vec![all_uses(), A::State(State::Active)]].concat());
        assert_eq!(why(made), R::InvalidField, "nor at its making");
    }
    counted(cells);
    assert!(cells > 400, "{cells}");
}

/// An object in a state, by its Active one.
fn brought_to(node: &mut Node<'_>, id: &str, state: State) {
    let code = match state {
        State::Deactivated => RevocationReasonCode::Superseded,
        State::Compromised => RevocationReasonCode::KeyCompromise,
        _ => return,
    };
    node.owner.revoke(id, code).expect("it is Active");
}

/// Check knew nothing of Sign, Signature Verify and Derive Key once, and said of keys for these that they are for nothing.
#[test]
fn check_says_of_each_use_what_the_use_is_told_in_each_state() {
    use CryptographicUsageMask as Mask;
    use Operation as O;
    let nodes = Nodes::found();
    let mut cells = 0;
    for state in [State::Active, State::Deactivated, State::Compromised] {
        let mut edge = nodes.edge();
        let uses = [
            (Mask::ENCRYPT, O::Encrypt),
            (Mask::DECRYPT, O::Decrypt),
            (Mask::MAC_GENERATE, O::Mac),
            (Mask::MAC_VERIFY, O::MacVerify),
            (Mask::DERIVE_KEY, O::DeriveKey),
            (Mask::SIGN, O::Sign),
            (Mask::VERIFY, O::SignatureVerify),
        ];
        for (mask, operation) in uses {
            for is_for_it in [true, false] {
                let own = if is_for_it { mask } else { Mask::CERTIFICATE_SIGN };
                let id = match operation {
                    O::Sign | O::SignatureVerify => {
                        let mask = A::CryptographicUsageMask(own);
                        let request = CreateKeyPairRequest {
                            common_template_attribute: Some(template([
                                A::CryptographicAlgorithm(CryptographicAlgorithm::Ecdsa),
                                A::CryptographicLength(256),
                            ])),
                            private_key_template_attribute: Some(template([mask.clone()])),
                            public_key_template_attribute: Some(template([mask])),
                        };
                        let half = |answer: CreateKeyPairResponse<'_>| match operation {
                            O::Sign => answer.private_key_unique_identifier.to_owned(),
                            _ => answer.public_key_unique_identifier.to_owned(),
                        };
                        let id = edge.owner.call(V1_4, &request, half).expect("it is offered");
                        edge.owner.activate(&id).expect("it is new");
                        id
                    }
                    _ => edge.key(own.0, &[]),
                };
                brought_to(&mut edge, &id, state);
                let asked = CheckRequest { unique_identifier: Some(&id), cryptographic_usage_mask: Some(mask), ..CheckRequest::default() };
                let said = edge.owner.call(V1_4, &asked, |_| ()).err().map(|failed| failed.reason);
                let mut batch = Batch::new(V1_4);
                push_naming(&mut batch, operation, &id);
                let told = only_item(&edge.owner.ask(&batch.finish().bytes)).2;
                // Table 333 calls what may not be derived from an Invalid Field.
                let denied = if operation == O::DeriveKey { R::InvalidField } else { R::PermissionDenied };
                let case = format!("{operation:?} of a key that is {state:?}, for it: {is_for_it}");
                assert_eq!(said.is_some(), told == Some(denied), "{case}: Check says {said:?}, the use is told {told:?}");
                assert_eq!(said.is_some(), said == Some(R::PermissionDenied), "{case}");
                cells += 1;
            }
        }
    }
    counted(cells);
    assert_eq!(cells, 3 * 7 * 2);
}
