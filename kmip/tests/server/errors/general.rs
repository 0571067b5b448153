//! Table 327: what can be wrong with any message.

use keys::policy::Role;

use super::*;
use crate::reasons::written;

/// A message that is refused.
struct Made {
    message: Vec<u8>,
    /// What its answer says that it answers.
    names: Option<Operation>,
}

/// A row of the table.
struct General {
    error: &'static str,
    reason: R,
    make: fn() -> Made,
}

fn general(error: &'static str, reason: R, make: fn() -> Made) -> General {
    General { error, reason, make }
}

/// A message that is refused as a whole.
fn whole(message: Vec<u8>) -> Made {
    Made { message, names: None }
}

/// A message whose only item, of this operation, fails.
fn item_of(operation: Operation, message: Vec<u8>) -> Made {
    Made { message, names: Some(operation) }
}

fn query(more: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
    by_hand(O::Query, query_fields(more))
}

fn query_fields(more: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
    written(|out| {
        QueryFunction::QueryObjects.encode(Tag::QUERY_FUNCTION, out);
        more(out);
    })
}

fn unknown_field(out: &mut Writer<'_>) {
    out.text(Tag::of([0x42, 0x01, 0x25]).expect("a tag"), "x");
}

#[test]
fn every_row_of_the_general_errors_has_its_reason_changes_nothing_and_is_recorded() {
    let nodes = Nodes::found();
    let rows = [
        general("Protocol major version mismatch", R::InvalidMessage, || {
            let fields = Fields(query_fields(|_| ()));
            let number = VersionNumber { major: 2, minor: 0 };
            whole(message(number, |_| (), &[&|out: &mut Writer<'_>| item(out, O::Query.number(), &fields)]))
        }),
        general("Error parsing batch item or payload within batch item", R::InvalidMessage, || {
            item_of(O::Query, by_hand(O::Query, written(|out| out.text(Tag::QUERY_FUNCTION, "Query Objects"))))
        }),
        general("The same field is contained in a header/batch item/payload more than once", R::InvalidMessage, || {
            let twice = |out: &mut Writer<'_>| [1, 2].into_iter().for_each(|items| out.integer(Tag::MAXIMUM_ITEMS, items));
            item_of(O::Locate, by_hand(O::Locate, written(twice)))
        }),
        general("Same major & minor version, unknown field", R::InvalidField, || item_of(O::Query, query(unknown_field))),
        general("Client is not allowed to perform the specified operation", R::PermissionDenied, || {
            item_of(O::Create, of(&create_request(&wish("billing", &[]))))
        }),
        general("Maximum Response Size has been exceeded", R::ResponseTooLarge, || {
            let fields = Fields(query_fields(|_| ()));
            let small = |out: &mut Writer<'_>| out.integer(Tag::MAXIMUM_RESPONSE_SIZE, 64);
            item_of(O::Query, message(V1_4.into(), small, &[&|out: &mut Writer<'_>| item(out, O::Query.number(), &fields)]))
        }),
        general("Server does not support operation", R::OperationNotSupported, || item_of(O::Certify, by_hand(O::Certify, vec![]))),
        general("The Criticality Indicator is True, but the server does not understand the extension", R::FeatureNotSupported, || {
            let fields = Fields(query_fields(|_| ()));
            let extended = |out: &mut Writer<'_>| {
                item(out, O::Query.number(), &fields);
                let extension = out.open(Tag::MESSAGE_EXTENSION);
                out.text(Tag::VENDOR_IDENTIFICATION, "initech");
                out.boolean(Tag::CRITICALITY_INDICATOR, true);
                let vendor = out.open(Tag::VENDOR_EXTENSION);
                out.close(vendor);
                out.close(extension);
            };
            whole(message(V1_4.into(), |_| (), &[&extended]))
        }),
        general("Message cannot be parsed", R::InvalidMessage, || whole(query(|_| ())[..40].to_vec())),
    ];
    for node in nodes.both() {
        let world = node.owner.world;
        for General { error, reason, make } in &rows {
            let Made { message, names } = make();
            let (before, _earlier) = (stored(world), world.take_records());
            // Whoever only reads the log may ask what there is, and nothing else.
            let mut auditor = world.client(Role::Auditor, "acme", "");
            let asker = if *reason == R::PermissionDenied { &mut auditor } else { &mut world.service() };
            let (operation, status, told, _) = only_item(&asker.ask(&message));
            let case = format!("{:?}: {error}", node.role);
            assert_eq!((operation, status, told), (names.map(Into::into), ResultStatus::OperationFailed, Some(*reason)), "{case}");
            assert!(stored(world) == before, "{case}: nothing changes");
            let outcomes = world.outcomes();
            assert!(matches!(outcomes[..], [(_, outcome)] if outcome != Outcome::Success), "{case}: {outcomes:?}");
        }
        // The one row that is no failure: a later minor version, with a field that is not known yet.
        let fields = Fields(query_fields(unknown_field));
        let later = message(VersionNumber { major: 1, minor: 5 }, |_| (), &[&|out: &mut Writer<'_>| item(out, O::Query.number(), &fields)]);
        assert_eq!(only_item(&world.service().ask(&later)).1, ResultStatus::Success, "{:?}", node.role);
    }
    counted(2 * (rows.len() + 1));
}
