//! Batches: order, the three ways to go on after a failure, the ID Placeholder, and answers that would be too large.

use std::sync::atomic::Ordering;

use keys::policy::Action;
use keys::record::Outcome;
use kmip::ttlv::{ByteString, Writer};
use kmip::*;

use crate::matrix::{key_in, push};
use crate::world::*;
use BatchErrorContinuationOption::{Continue, Stop, Undo};
use ProtocolVersion::{V1_0, V1_3, V1_4};

type Statuses = Vec<(ResultStatus, Option<ResultReason>)>;

/// What an answer says of each item, after a look at everything it must repeat.
fn statuses(sent: &Sent, answer: &[u8]) -> Statuses {
    let request = Request::decode(&sent.bytes).expect("the client writes legal requests");
    let message = ResponseMessage::read(answer).expect("answers are legal in their version");
    for (item, asked) in message.items.iter().zip(&request.message.items) {
        assert_eq!((item.operation, item.unique_batch_item_id), (Some(asked.operation), asked.unique_batch_item_id));
        assert_eq!(item.payload.is_some(), item.result_status == ResultStatus::Success);
    }
    message.items.iter().map(|item| (item.result_status, item.result_reason)).collect()
}

/// Four Creates, of which the one at `failing` cannot be.
fn creates(version: ProtocolVersion, option: Option<BatchErrorContinuationOption>, failing: usize) -> Sent {
    let mut batch = Batch::new(version);
    option.into_iter().for_each(|option| batch.on_error(option));
    for index in 0..4 {
        let name = format!("batch {index}");
        let bits = if index == failing { 255 } else { 256 };
        let mut attributes = wish("billing", &[named(&name)]);
        attributes[1] = AttributeValue::CryptographicLength(bits);
        batch.push(&create_request(&attributes)).expect("1.0 has Create");
    }
    batch.finish()
}

/// Which of the four keys exist.
fn made(client: &mut Client<'_>) -> Vec<usize> {
    let mut exists = |index: usize| !client.locate(V1_0, &[named(&format!("batch {index}"))]).expect("names are legal").is_empty();
    (0..4).filter(|index| exists(*index)).collect()
}

#[test]
fn each_option_does_at_each_position_what_table_366_says() {
    let ok = (ResultStatus::Success, None);
    let failed = (ResultStatus::OperationFailed, Some(ResultReason::InvalidField));
    let undone = (ResultStatus::OperationUndone, None);
    for version in [V1_0, V1_4] {
        for option in [None, Some(Stop), Some(Continue), Some(Undo)] {
            for failing in 0..=4 {
                let world = World::found();
                let mut admin = world.admin();
                let sent = creates(version, option, failing);
                world.take_records();
                let commits = world.store.commits.load(Ordering::Relaxed);
                let answer = admin.ask(&sent.bytes);
                let case = format!("{version} {option:?} {failing}");
                let (mut expected, mut exists) = (vec![ok; 4], vec![0, 1, 2, 3]);
                if failing < 4 {
                    match option {
                        None | Some(Stop | BatchErrorContinuationOption::Extension(_)) => {
                            expected.truncate(failing);
                            expected.push(failed);
                            exists.truncate(failing);
                        }
                        Some(Continue) => {
                            expected[failing] = failed;
                            exists.remove(failing);
                        }
                        Some(Undo) => {
                            expected = vec![undone; failing];
                            expected.push(failed);
                            exists.clear();
                        }
                    }
                }
                assert_eq!(statuses(&sent, &answer), expected, "{case}");
                let recorded: Vec<_> = expected
                    .iter()
                    .map(|status| match status.0 {
                        ResultStatus::Success => (Action::Create, Outcome::Success),
                        ResultStatus::OperationUndone => (Action::Create, Outcome::Undone),
                        _ => (Action::Create, Outcome::Invalid),
                    })
                    .collect();
                assert_eq!(world.outcomes(), recorded, "{case}");
                let changed = u64::from(!exists.is_empty());
                assert_eq!(world.store.commits.load(Ordering::Relaxed) - commits, changed, "{case}: one message, one transaction");
                assert_eq!(made(&mut admin), exists, "{case}");
            }
        }
    }
}

#[test]
fn an_item_that_fails_half_way_leaves_no_half_behind() {
    let world = World::found();
    let mut admin = world.admin();
    admin.create(V1_0, &wish("billing", &[named("taken")])).expect("the name is free");
    let mut batch = Batch::new(V1_0);
    batch.on_error(Continue);
    // Its first name is claimed before its second turns out to be taken.
    batch.push(&create_request(&wish("billing", &[named("free"), named("taken")]))).expect("1.0 has Create");
    batch.push(&create_request(&wish("billing", &[named("other")]))).expect("1.0 has Create");
    let sent = batch.finish();
    let answer = admin.ask(&sent.bytes);
    let invalid = (ResultStatus::OperationFailed, Some(ResultReason::InvalidField));
    assert_eq!(statuses(&sent, &answer), [invalid, (ResultStatus::Success, None)]);
    admin.create(V1_0, &wish("billing", &[named("free")])).expect("nobody holds the name");
}

#[test]
fn what_create_made_is_what_the_rest_of_the_batch_is_about() {
    let world = World::found();
    let mut admin = world.admin();
    let mut batch = Batch::new(V1_0);
    let create = batch.push(&create_request(&wish("billing", &[]))).expect("1.0 has Create");
    let activate = batch.push(&ActivateRequest::default()).expect("1.0 has Activate");
    let state = GetAttributesRequest { unique_identifier: None, attribute_names: vec!["State"] };
    let state = batch.push(&state).expect("1.0 has Get Attributes");
    let found = batch.push(&LocateRequest {
        attributes: vec![bare(AttributeValue::State(State::Active)), bare(AttributeValue::CryptographicLength(256))],
        ..LocateRequest::default()
    });
    let found = found.expect("1.0 has Locate");
    let sent = batch.finish();
    let answer = admin.ask(&sent.bytes);
    let answers = sent.answers(&answer).expect("it answers this request");
    let id = answers.get(&create).expect("a plain key").unique_identifier;
    assert_eq!(answers.get(&activate).expect("it is new").unique_identifier, id);
    let state = answers.get(&state).expect("it is there");
    assert_eq!((state.unique_identifier, &state.attributes[0].value), (id, &AttributeValue::State(State::Active)));
    assert!(answers.get(&found).expect("a search").unique_identifiers.contains(&id), "a batch sees what it did itself");
    let records = world.take_records();
    assert!(records[..3].iter().all(|record| record.object == Some(row_id(id)) && record.version.is_some()));
    assert_eq!(
        records.iter().map(|record| record.generation.map(|generation| generation.0)).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(2), None]
    );
}

/// Locate, then State of whatever that found.
fn locate_and_look(client: &mut Client<'_>, locate: &LocateRequest<'_>) -> Result<String, Failed> {
    let mut batch = Batch::new(V1_3);
    batch.push(locate).expect("1.0 has Locate");
    let look = GetAttributesRequest { unique_identifier: None, attribute_names: vec!["State"] };
    let look = batch.push(&look).expect("1.0 has Get Attributes");
    let sent = batch.finish();
    let answer = client.ask(&sent.bytes);
    let answers = sent.answers(&answer).expect("it answers this request");
    Ok(answers.get(&look).map_err(failed)?.unique_identifier.to_owned())
}

#[test]
fn only_a_locate_of_one_object_fills_the_placeholder() {
    let world = World::found();
    let (mut admin, mut service) = (world.admin(), world.service());
    let mut create = |name| {
        world.wait(1);
        admin.create(V1_0, &wish("billing", &[named(name)])).expect("a plain key")
    };
    let ids = [create("0"), create("1")];
    let by_name = |name| LocateRequest { attributes: vec![bare(named(name))], ..LocateRequest::default() };
    assert_eq!(locate_and_look(&mut service, &by_name("0")), Ok(ids[0].clone()));
    assert_eq!(why(locate_and_look(&mut service, &by_name("2"))), ResultReason::ItemNotFound);
    let several = LocateRequest { attributes: vec![bare(AttributeValue::State(State::PreActive))], ..LocateRequest::default() };
    assert_eq!(why(locate_and_look(&mut service, &several)), ResultReason::ItemNotFound);
    let offset = LocateRequest { offset_items: Some(1), ..several.clone() };
    assert_eq!(why(locate_and_look(&mut service, &offset)), ResultReason::ItemNotFound);
    let first = LocateRequest { maximum_items: Some(1), ..several };
    assert_eq!(locate_and_look(&mut service, &first), Ok(ids[1].clone()));
}

#[test]
fn a_failed_create_leaves_no_placeholder_to_what_follows() {
    let world = World::found();
    let mut admin = world.admin();
    let mut batch = Batch::new(V1_0);
    batch.on_error(Continue);
    batch.push(&create_request(&wish("billing", &[named("first")]))).expect("1.0 has Create");
    batch.push(&create_request(&wish("billing", &[named("first")]))).expect("1.0 has Create");
    batch.push(&DestroyRequest::default()).expect("1.0 has Destroy");
    let sent = batch.finish();
    let answer = admin.ask(&sent.bytes);
    let failed = |reason| (ResultStatus::OperationFailed, Some(reason));
    let expected = [(ResultStatus::Success, None), failed(ResultReason::InvalidField), failed(ResultReason::ItemNotFound)];
    assert_eq!(statuses(&sent, &answer), expected);
    assert_eq!(admin.locate(V1_0, &[named("first")]).map(|found| found.len()), Ok(1));
}

#[test]
fn the_placeholder_does_not_outlive_its_batch() {
    let world = World::found();
    let mut admin = world.admin();
    admin.create(V1_0, &wish("billing", &[])).expect("a plain key");
    assert_eq!(why(admin.call(V1_0, &DestroyRequest::default(), |_| ())), ResultReason::ItemNotFound);
}

#[test]
fn several_items_need_an_identifier_each_and_one_does_not() {
    let world = World::found();
    let query = QueryRequest { functions: vec![QueryFunction::QueryObjects] };
    let plain = |out: &mut Writer<'_>| item(out, Operation::Query.number(), &query);
    let numbered = |out: &mut Writer<'_>| {
        Operation::Query.encode(Tag::OPERATION, out);
        out.bytes(Tag::UNIQUE_BATCH_ITEM_ID, ByteString(b"one"));
        query.encode(Tag::REQUEST_PAYLOAD, out);
    };
    let mut service = world.service();
    let answer = service.ask(&message(V1_3.into(), |_| (), &[&numbered, &plain]));
    let (operation, status, reason, _) = only_item(&answer);
    assert_eq!((operation, status, reason), (None, ResultStatus::OperationFailed, Some(ResultReason::InvalidMessage)));
    let answer = service.ask(&message(V1_3.into(), |_| (), &[&plain]));
    assert_eq!(only_item(&answer).1, ResultStatus::Success);
    assert_eq!(ResponseMessage::read(&answer).expect("legal").items[0].unique_batch_item_id, None);
}

#[test]
fn an_answer_above_the_clients_limit_is_a_failure_and_its_change_is_not_made() {
    let world = World::found();
    let mut admin = world.admin();
    for (bytes_max, fits) in [(200, false), (0, false), (-1, false), (10_000, true)] {
        let mut batch = Batch::new(V1_0);
        batch.maximum_response_size(bytes_max);
        batch.push(&create_request(&wish("billing", &[named("large")]))).expect("1.0 has Create");
        let sent = batch.finish();
        let answer = admin.ask(&sent.bytes);
        let expected =
            if fits { (ResultStatus::Success, None) } else { (ResultStatus::OperationFailed, Some(ResultReason::ResponseTooLarge)) };
        assert_eq!(statuses(&sent, &answer), [expected], "{bytes_max}");
        assert_eq!(admin.locate(V1_0, &[named("large")]).map(|found| !found.is_empty()), Ok(fits), "{bytes_max}");
    }
}

#[test]
fn an_item_too_large_fails_alone_and_a_batch_of_failures_too_large_is_undone() {
    let world = World::found();
    let (mut admin, id) = (world.admin(), world.key());
    let request = |name: &str, looks: bool, bytes_max| {
        let mut batch = Batch::new(V1_0);
        batch.on_error(Continue);
        batch.maximum_response_size(bytes_max);
        batch.push(&create_request(&wish("billing", &[named(name)]))).expect("1.0 has Create");
        if looks {
            let all = GetAttributesRequest { unique_identifier: Some(&id), attribute_names: vec![] };
            batch.push(&all).expect("1.0 has Get Attributes");
        }
        batch.finish()
    };
    let alone = i32::try_from(admin.ask(&request("alone", false, i32::MAX).bytes).len()).expect("small");
    let too_large = (ResultStatus::OperationFailed, Some(ResultReason::ResponseTooLarge));

    world.take_records();
    let sent = request("undone", true, alone + 8);
    let answer = admin.ask(&sent.bytes);
    let (operation, status, reason, _) = only_item(&answer);
    assert_eq!((operation, (status, reason)), (None, too_large));
    assert!(answer.len() <= usize::try_from(alone + 8).expect("positive"));
    assert_eq!(admin.locate(V1_0, &[named("undone")]), Ok(vec![]));
    assert_eq!(world.outcomes()[..2], [(Action::Create, Outcome::Undone), (Action::GetAttributes, Outcome::Invalid)]);

    let sent = request("kept", true, alone + 200);
    let answer = admin.ask(&sent.bytes);
    assert_eq!(statuses(&sent, &answer), [(ResultStatus::Success, None), too_large]);
    assert_eq!(admin.locate(V1_0, &[named("kept")]).map(|found| found.len()), Ok(1));
}

#[test]
fn the_seventeenth_search_of_a_message_is_refused_and_nothing_else_is() {
    let world = World::found();
    let mut admin = world.admin();
    let mut batch = Batch::new(V1_0);
    batch.on_error(Continue);
    let locate = LocateRequest { attributes: vec![bare(named("nobody's"))], ..LocateRequest::default() };
    for _ in 0..18 {
        batch.push(&locate).expect("1.0 has Locate");
    }
    batch.push(&create_request(&wish("billing", &[]))).expect("1.0 has Create");
    let sent = batch.finish();
    let ok = (ResultStatus::Success, None);
    let refused = (ResultStatus::OperationFailed, Some(ResultReason::GeneralFailure));
    let expected = [vec![ok; 16], vec![refused; 2], vec![ok]].concat();
    for _ in 0..2 {
        assert_eq!(statuses(&sent, &admin.ask(&sent.bytes)), expected, "each message has its own");
    }
}

/// What a batch can have several of, each with a key that it succeeds on, and whether it changes the key.
const KINDS: [(Operation, State, bool); 12] = [
    (Operation::Activate, State::PreActive, true),
    (Operation::Revoke, State::Active, true),
    (Operation::Destroy, State::Deactivated, true),
    (Operation::ReKey, State::Active, true),
    (Operation::AddAttribute, State::Active, true),
    (Operation::ModifyAttribute, State::Active, true),
    (Operation::DeleteAttribute, State::Active, true),
    (Operation::Check, State::Active, false),
    (Operation::GetAttributes, State::Active, false),
    (Operation::GetAttributeList, State::Active, false),
    (Operation::Export, State::Destroyed, false),
    (Operation::Locate, State::Active, false),
];

#[test]
fn each_kind_of_item_is_stopped_continued_and_undone_at_each_position() {
    let ok = (ResultStatus::Success, None);
    let failed = (ResultStatus::OperationFailed, Some(ResultReason::ItemNotFound));
    let undone = (ResultStatus::OperationUndone, None);
    let world = World::found();
    let mut cases = 0;
    for (operation, state, changes) in KINDS {
        for option in [None, Some(Stop), Some(Continue), Some(Undo)] {
            for failing in 0..=3 {
                let ids: Vec<String> = (0..3).map(|_| key_in(&world, "billing", state)).collect();
                let mut batch = Batch::new(V1_4);
                option.into_iter().for_each(|option| batch.on_error(option));
                for (index, id) in ids.iter().enumerate() {
                    let pushed = match index == failing {
                        true => push(&mut batch, Operation::Check, Some("L3-01890a5d-ac96-774b-bcce-b302099a8057")),
                        false => push(&mut batch, operation, Some(id)),
                    };
                    pushed.expect("1.4 has all of them");
                }
                let sent = batch.finish();
                let rows = |world: &World| ids.iter().map(|id| world.store.rows().get(&row_id(id)).cloned()).collect::<Vec<_>>();
                let (before, all_before, commits) = (rows(&world), world.store.rows().len(), world.store.commits.load(Ordering::Relaxed));
                world.take_records();
                let answer = world.admin().ask(&sent.bytes);
                let case = format!("{operation:?} {option:?} {failing}");
                let (mut expected, mut done) = (vec![ok; 3], vec![0, 1, 2]);
                if failing < 3 {
                    match option {
                        Some(Continue) => {
                            expected[failing] = failed;
                            done.remove(failing);
                        }
                        Some(Undo) => {
                            expected = [vec![undone; failing], vec![failed]].concat();
                            done.clear();
                        }
                        _ => {
                            expected = [vec![ok; failing], vec![failed]].concat();
                            done.truncate(failing);
                        }
                    }
                }
                assert_eq!(statuses(&sent, &answer), expected, "{case}");
                let after = rows(&world);
                let changed: Vec<usize> = (0..3).filter(|index| before[*index] != after[*index]).collect();
                assert_eq!(changed, if changes { done.clone() } else { vec![] }, "{case}");
                let is_rekey = operation == Operation::ReKey;
                let made = world.store.rows().len() - all_before;
                assert!(
                    if is_rekey { made >= done.len() && (made == 0) == done.is_empty() } else { made == 0 },
                    "{case}: {made} rows made"
                );
                let committed = world.store.commits.load(Ordering::Relaxed) - commits;
                assert_eq!(committed, u64::from(changes && !done.is_empty()), "{case}: one message, one transaction");
                let outcomes: Vec<Outcome> = world.outcomes().into_iter().map(|record| record.1).collect();
                let told: Vec<Outcome> = expected
                    .iter()
                    .map(|status| match status.0 {
                        ResultStatus::Success => Outcome::Success,
                        ResultStatus::OperationUndone => Outcome::Undone,
                        _ => Outcome::NotFound,
                    })
                    .collect();
                assert_eq!(outcomes, told, "{case}");
                cases += 1;
            }
        }
    }
    counted(cases);
    assert_eq!(cases, 12 * 4 * 4);
}

#[test]
fn a_mixed_batch_that_is_undone_leaves_names_links_and_defaults_as_they_were() {
    let world = World::found();
    let mut admin = world.admin();
    let named_key = admin.create(V1_4, &wish("billing", &[named("kept")])).expect("the name is free");
    admin.activate(&named_key).expect("it is new");
    let default = world.default_key();
    let before = world.store.rows().clone();
    let mut batch = Batch::new(V1_4);
    batch.on_error(Undo);
    batch.push(&ReKeyRequest { unique_identifier: Some(&named_key), ..ReKeyRequest::default() }).expect("1.0 has Re-key");
    batch.push(&AddAttributeRequest { unique_identifier: None, attribute: bare(named("second")) }).expect("1.0 has Add Attribute");
    batch.push(&ReKeyRequest { unique_identifier: Some(&default), ..ReKeyRequest::default() }).expect("1.0 has Re-key");
    batch.push(&create_request(&wish("billing", &[named("third")]))).expect("1.0 has Create");
    batch.push(&DestroyRequest::default()).expect("1.0 has Destroy");
    batch.push(&ActivateRequest { unique_identifier: Some(&default) }).expect("1.0 has Activate");
    let sent = batch.finish();
    let answer = admin.ask(&sent.bytes);
    let undone = (ResultStatus::OperationUndone, None);
    let denied = (ResultStatus::OperationFailed, Some(ResultReason::PermissionDenied));
    assert_eq!(statuses(&sent, &answer), [vec![undone; 5], vec![denied]].concat());
    assert_eq!(*world.store.rows(), before);
    assert_eq!((world.default_key(), admin.state(&named_key)), (default, State::Active));
    assert_eq!(admin.locate(V1_4, &[named("kept")]), Ok(vec![named_key]));
}

#[test]
fn the_placeholder_follows_create_re_key_and_locate_and_is_emptied_by_what_finds_no_one_object() {
    let world = World::found();
    let mut admin = world.admin();
    let several = LocateRequest { attributes: vec![bare(AttributeValue::CryptographicLength(256))], ..LocateRequest::default() };
    let by_name = |name| LocateRequest { attributes: vec![bare(named(name))], ..LocateRequest::default() };
    let state = GetAttributesRequest { unique_identifier: None, attribute_names: vec!["State"] };
    let mut batch = Batch::new(V1_3);
    batch.on_error(Continue);
    let create = batch.push(&create_request(&wish("billing", &[named("one")]))).expect("1.0 has Create");
    let activate = batch.push(&ActivateRequest::default()).expect("1.0 has Activate");
    let rekey = batch.push(&ReKeyRequest::default()).expect("1.0 has Re-key");
    let looks: Vec<_> = [None, Some(by_name("one")), Some(by_name("nobody")), Some(by_name("one")), Some(several)]
        .into_iter()
        .map(|locate| {
            if let Some(locate) = locate {
                batch.push(&locate).expect("1.0 has Locate");
            }
            batch.push(&state).expect("1.0 has Get Attributes")
        })
        .collect();
    let sent = batch.finish();
    let answer = admin.ask(&sent.bytes);
    let answers = sent.answers(&answer).expect("it answers this request");
    let old = answers.get(&create).expect("a plain key").unique_identifier;
    assert_eq!(answers.get(&activate).expect("it is new").unique_identifier, old);
    let new = answers.get(&rekey).expect("an Active key").unique_identifier;
    assert_ne!(new, old);
    let told: Vec<_> = looks.iter().map(|look| answers.get(look).map(|answer| answer.unique_identifier).map_err(failed)).collect();
    let told: Vec<_> = told.into_iter().map(|told| told.map_err(|failed| failed.reason)).collect();
    let missing = Err(ResultReason::ItemNotFound);
    assert_eq!(told, [Ok(new), Ok(new), missing, Ok(new), missing]);
}

#[test]
fn a_batch_is_answered_in_its_order_whatever_batch_order_option_says() {
    let world = World::found();
    let query = |id: &'static [u8]| {
        move |out: &mut Writer<'_>| {
            Operation::Query.encode(Tag::OPERATION, out);
            out.bytes(Tag::UNIQUE_BATCH_ITEM_ID, ByteString(id));
            QueryRequest { functions: vec![QueryFunction::QueryObjects] }.encode(Tag::REQUEST_PAYLOAD, out);
        }
    };
    let (one, two, three) = (query(b"1"), query(b""), query(b"\x00\xff same length no matter"));
    for order in [None, Some(false), Some(true)] {
        for version in ProtocolVersion::ALL {
            let header = |out: &mut Writer<'_>| order.into_iter().for_each(|order| out.boolean(Tag::BATCH_ORDER_OPTION, order));
            let answer = world.service().ask(&message(version.into(), header, &[&one, &two, &three]));
            let answer = ResponseMessage::read(&answer).expect("answers are legal in their version");
            let ids: Vec<_> = answer.items.iter().map(|item| item.unique_batch_item_id.expect("it is repeated").0).collect();
            assert_eq!(ids, [&b"1"[..], b"", b"\x00\xff same length no matter"], "{order:?} {version}");
        }
    }
}
