//! Bytes that no client would send: the server neither falls over nor falls silent (F19).

use std::sync::LazyLock;

use keys::policy::Role;
use kmip::ttlv::{ByteString, Value};
use kmip::*;
use proptest::prelude::*;

use crate::world::*;

/// One world for all cases; what they change in it does not matter to them.
static WORLD: LazyLock<World> = LazyLock::new(World::found);

/// Legal messages to begin from, one or two of each operation.
static MESSAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    fn push<C: Call>(messages: &mut Vec<Vec<u8>>, version: ProtocolVersion, call: &C) {
        let mut batch = Batch::new(version);
        batch.on_error(BatchErrorContinuationOption::Continue);
        batch.push(call).expect("the version has the operation");
        batch.push(&QueryRequest { functions: QueryFunction::ALL[..4].to_vec() }).expect("1.0 has Query");
        batch.push(call).expect("the version has the operation");
        messages.push(batch.finish().bytes);
    }
    let (id, mut messages) = (WORLD.key(), Vec::new());
    let unique_identifier = Some(id.as_str());
    let (data, iv) = (Some(ByteString(&[7; 48])), Some(ByteString(&[9; 16])));
    let filters = vec![bare(named("n")), bare(AttributeValue::Custom("x-a", Value::Integer(1)))];
    for version in [ProtocolVersion::V1_2, ProtocolVersion::V1_4] {
        let create = wish("billing", &[named("n"), AttributeValue::Custom("x-a", Value::Integer(1))]);
        push(&mut messages, version, &create_request(&create));
        push(&mut messages, version, &LocateRequest { attributes: filters.clone(), maximum_items: Some(2), ..LocateRequest::default() });
        push(&mut messages, version, &GetAttributesRequest { unique_identifier, attribute_names: vec!["State", "Name"] });
        push(&mut messages, version, &GetAttributeListRequest { unique_identifier });
        push(&mut messages, version, &ActivateRequest { unique_identifier });
        push(&mut messages, version, &revoke_request(&id, RevocationReasonCode::Superseded));
        push(&mut messages, version, &DestroyRequest { unique_identifier: None });
        push(&mut messages, version, &DiscoverVersionsRequest::default());
        let parameters = CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::Gcm), ..CryptographicParameters::default() };
        let cryptographic_parameters = Some(parameters);
        push(
            &mut messages,
            version,
            &EncryptRequest {
                unique_identifier,
                data,
                cryptographic_parameters: cryptographic_parameters.clone(),
                ..EncryptRequest::default()
            },
        );
        push(
            &mut messages,
            version,
            &DecryptRequest { unique_identifier, data, iv_counter_nonce: iv, cryptographic_parameters, ..DecryptRequest::default() },
        );
    }
    messages
});

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() }
}

/// Asks as each role that owns keys, and as one that does not; `ask` itself checks that the answer is legal and recorded.
fn survives(message: &[u8]) {
    for role in [Role::TenantAdmin, Role::Service, Role::Auditor] {
        let answer = WORLD.client(role, "acme", "billing").ask(message);
        assert!(!answer.is_empty());
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&bytes);
    }

    #[test]
    fn random_bytes_behind_a_good_header_are_answered(from in any::<prop::sample::Index>(), at in 60_usize..120, tail in prop::collection::vec(any::<u8>(), 0..64)) {
        let message = from.get(&MESSAGES);
        survives(&[&message[..at], &tail].concat());
    }

    #[test]
    fn a_message_with_changed_bytes_is_answered(from in any::<prop::sample::Index>(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut message = from.get(&MESSAGES).clone();
        for (at, byte) in changes {
            let at = at.index(message.len());
            message[at] = byte;
        }
        survives(&message);
    }

    #[test]
    fn a_message_with_a_part_doubled_or_cut_out_is_answered(from in any::<prop::sample::Index>(), first in 0_usize..60, length in 1_usize..12, doubled in any::<bool>()) {
        let message = from.get(&MESSAGES);
        let (first, last) = (8 * first, (8 * (first + length)).min(message.len()));
        let first = first.min(last);
        let rest = if doubled { first } else { last };
        let mut changed = [&message[..last - if doubled { 0 } else { last - first }], &message[rest..]].concat();
        let length = u32::try_from(changed.len() - 8).expect("small");
        changed[4..8].copy_from_slice(&length.to_be_bytes());
        survives(&changed);
    }

    #[test]
    fn any_limit_on_the_answer_is_kept_or_answered_in_one_item(from in any::<prop::sample::Index>(), bytes_max in 0_i32..2000) {
        let request = from.get(&MESSAGES);
        let mut message = Vec::new();
        // Maximum Response Size belongs right behind the version: 16 bytes of message and header, 40 of version.
        let limit = [&[0x42, 0x00, 0x50, 2, 0, 0, 0, 4], &bytes_max.to_be_bytes()[..], &[0; 4]].concat();
        message.extend_from_slice(&request[..56]);
        message.extend_from_slice(&limit);
        message.extend_from_slice(&request[56..]);
        for length_at in [4, 12] {
            let length = u32::from_be_bytes(message[length_at..length_at + 4].try_into().expect("four bytes")) + 16;
            message[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        }
        prop_assert_eq!(Request::decode(&message).expect("still legal").message.header.maximum_response_size, Some(bytes_max));
        let answer = WORLD.admin().ask(&message);
        let items = ResponseMessage::read(&answer).expect("legal").items.len();
        prop_assert!(answer.len() <= usize::try_from(bytes_max).expect("positive") || items == 1);
    }
}

#[test]
fn every_message_to_begin_from_is_legal() {
    for message in MESSAGES.iter() {
        assert_eq!(Request::decode(message).map(|request| request.message.items.len()).expect("the client writes legal requests"), 3);
    }
}

/// The daemon drives it from a task that moves between threads.
#[test]
fn dispatch_can_move_between_threads() {
    fn is_send(_: &impl Send) {}
    let mut client = WORLD.admin();
    let unit = WORLD.vault.begin(client.caller.session());
    is_send(&dispatch(Some(&WORLD.vault), &mut client.caller, unit, &[], keys::id::Time::from_seconds(0), vec![]));
}
