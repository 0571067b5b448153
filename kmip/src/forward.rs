//! What an edge does not hold itself: the client's item goes to the core, alone and in the client's name, and the core's answer comes back unchanged.

use keys::id::{Layer, RowId};
use keys::policy::{Action, NodeRole, Role};
use keys::record::{Outcome, Subject};

use crate::attribute::AttributeValue;
use crate::context::Context;
use crate::enums::{Operation, ResultReason, ResultStatus};
use crate::error::Error;
use crate::failure::Failure;
use crate::message::{RequestBatchItem, RequestHeader, ResponseMessage};
use crate::op;
use crate::payload::LocateRequest;
use crate::schema::{Decode, Encode, Rules};
use crate::search::is_layer_name;
use crate::tag::Tag;
use crate::ttlv::{Item, Value, Writer};

/// The layer of core's keys that an item is about, if it is.
pub(crate) fn layer_at_core(node: NodeRole, role: Role, rules: Rules, item: &RequestBatchItem<'_>) -> Option<Layer> {
    if node == NodeRole::Core {
        return None;
    }
    match item.operation.known_in(rules.version)? {
        Operation::Query | Operation::DiscoverVersions => None,
        // To a core nothing is imported, by whatever name.
        Operation::Import => None,
        Operation::Create => (role == Role::TenantAdmin).then_some(Layer::L3),
        Operation::Locate => located_layer(rules, item.payload),
        _ => named_layer(item.payload).ok().flatten(),
    }
    .filter(|layer| matches!(layer, Layer::L2 | Layer::L21 | Layer::L3))
}

/// The layer of the object that a payload names.
fn named_layer(payload: Item<'_>) -> Result<Option<Layer>, Error> {
    let mut fields = payload.fields()?;
    while let Some(field) = fields.next_item()? {
        if field.tag == Tag::UNIQUE_IDENTIFIER {
            return Ok(field.text()?.parse::<RowId>().ok().map(|id| id.layer));
        }
    }
    Ok(None)
}

/// The layer that a search names.
fn located_layer(rules: Rules, payload: Item<'_>) -> Option<Layer> {
    let request = LocateRequest::decode(payload, rules.locating()).ok()?;
    let templates = request.template_attribute.iter().flat_map(|template| &template.attributes);
    request.attributes.iter().chain(templates).find_map(|attribute| match attribute.value {
        AttributeValue::Custom(name, Value::TextString(text)) if is_layer_name(name) => {
            [Layer::L2, Layer::L21, Layer::L3].into_iter().find(|layer| crate::view::layer_name(*layer) == text)
        }
        _ => None,
    })
}

/// Has one item done by the core.
pub(crate) async fn run(context: &mut Context<'_>, item: &RequestBatchItem<'_>, layer: Layer, out: &mut Writer<'_>) -> Result<(), Failure> {
    let action = op::action(item.operation, context.rules.version);
    // A search names no object, so who may search here may search there.
    if action == Action::Locate {
        context.grants.check_plain(action, None)?;
    } else {
        context.grants.check_upstream(action, layer)?;
    }
    if let Some(id) = named(item.payload) {
        *context.subject = Subject::named(id);
    }
    let request = context.vault.new_request()?;
    *context.forwarded = Some(request);
    let message = alone(context, item);
    let answer = context.vault.forward(context.chain, request, &message).await?;
    let answer = ResponseMessage::read(&answer).map_err(|_| unusable())?;
    let [only] = answer.items.as_slice() else { return Err(unusable()) };
    if only.result_status != ResultStatus::Success {
        let reason = only.result_reason.unwrap_or(ResultReason::GeneralFailure);
        let message = only.result_message.unwrap_or("the core gives no reason").to_owned().into();
        let payload = only.payload.map(|payload| encoded(payload, context));
        return Err(Failure { reason, outcome: outcome(reason), message, payload, is_race: false });
    }
    let payload = only.payload.filter(|_| only.operation == Some(item.operation)).ok_or_else(unusable)?;
    if op::decides_on_placeholder(item.operation) {
        *context.placeholder = named(payload);
    }
    payload.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

fn named(payload: Item<'_>) -> Option<RowId> {
    let mut fields = payload.fields().ok()?;
    let mut found = None;
    while let Some(field) = fields.next_item().ok()? {
        if field.tag == Tag::UNIQUE_IDENTIFIER {
            // Of several, none is the one.
            if found.is_some() {
                return None;
            }
            found = field.text().ok()?.parse().ok();
        }
    }
    found
}

/// The item in a message of its own.
fn alone(context: &Context<'_>, item: &RequestBatchItem<'_>) -> Vec<u8> {
    let header = RequestHeader {
        protocol_version: context.rules.version.into(),
        maximum_response_size: None,
        client_correlation_value: None,
        server_correlation_value: None,
        asynchronous_indicator: None,
        attestation_capable_indicator: None,
        attestation_types: vec![],
        authentication: None,
        batch_error_continuation_option: None,
        batch_order_option: None,
        time_stamp: None,
        batch_count: 1,
    };
    let mut message = Vec::new();
    let mut out = Writer::new(&mut message, context.rules.version);
    let open = out.open(Tag::REQUEST_MESSAGE);
    header.encode(Tag::REQUEST_HEADER, &mut out);
    let item = RequestBatchItem { unique_batch_item_id: None, message_extension: None, ..item.clone() };
    item.encode(Tag::BATCH_ITEM, &mut out);
    out.close(open);
    message
}

fn encoded(payload: Item<'_>, context: &Context<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    payload.encode(Tag::RESPONSE_PAYLOAD, &mut Writer::new(&mut bytes, context.rules.version));
    bytes
}

fn unusable() -> Failure {
    keys::Error::Unavailable { what: "the core's answer cannot be used".to_owned() }.into()
}

/// How the edge's own record tells what the core has decided; the core's record tells it more closely.
fn outcome(reason: ResultReason) -> Outcome {
    match reason {
        ResultReason::ItemNotFound => Outcome::NotFound,
        ResultReason::PermissionDenied | ResultReason::Sensitive | ResultReason::NotExtractable => Outcome::Denied,
        ResultReason::GeneralFailure => Outcome::Unavailable,
        ResultReason::CryptographicFailure => Outcome::Refused,
        ResultReason::ObjectArchived => Outcome::WrongState,
        _ => Outcome::Invalid,
    }
}
