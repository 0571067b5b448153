//! Re-key, 4.4: the next version of a key, which takes over its names.

use keys::attributes::Attributes;
use keys::id::{Layer, Time};
use keys::policy::verb;
use keys::row::ObjectType;
use keys::vault::View;

use crate::attribute::AttributeName;
use crate::context::Context;
use crate::enums::ResultReason;
use crate::failure::Failure;
use crate::object::TemplateAttribute;
use crate::op::attribute::Home;
use crate::payload::{ReKeyRequest, ReKeyResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::template;
use crate::templates;
use crate::ttlv::{Interval, Writer};

pub(super) async fn run(context: &mut Context<'_>, request: ReKeyRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::ReKey>(request.unique_identifier).await?;
    if named.header.object_type != ObjectType::SYMMETRIC_KEY {
        return Err(keys::Error::Denied { why: "only a Symmetric Key is replaced: register another object" }.into());
    }
    let templates = templates::named(context, request.template_attribute.as_ref()).await?;
    let template = templates::resolved(&request.template_attribute.unwrap_or_default(), &templates);
    check_offset(request.offset, &template, named.header.id.layer)?;
    let home = Home::of(context, &named.header).await?;
    for attribute in &template.attributes {
        home.must_be_of_no_other(context, &attribute.value).await?;
    }
    let edit = |old: &View, copied: Attributes, now: Time| {
        let attributes = replacement(old, copied, &template, request.offset, now)?;
        home.must_stay(&old.attributes, &attributes)?;
        Ok::<_, Failure>(attributes)
    };
    let view = context.vault.rekey(context.unit, named.authorized, edit).await?;
    context.is_about(&view.header);
    let id = view.header.id;
    *context.placeholder = Some(id);
    ReKeyResponse { unique_identifier: &id.to_string(), template_attribute: None }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

/// An offset says when a replacement begins, and only dates of the key it replaces move with that.
///
/// Every chain of a core has one key that protects, so a replacement cannot wait while the key it replaces has stopped.
///
/// # Errors
/// Invalid Message, Feature Not Supported.
pub(super) fn check_offset(offset: Option<Interval>, template: &TemplateAttribute<'_>, layer: Layer) -> Result<(), Failure> {
    let Some(Interval(seconds)) = offset else { return Ok(()) };
    let dates =
        [AttributeName::ActivationDate, AttributeName::ProcessStartDate, AttributeName::ProtectStopDate, AttributeName::DeactivationDate];
    let names_date = template.attributes.iter().any(|attribute| attribute.value.standard().is_some_and(|name| dates.contains(&name)));
    if names_date {
        return Err(Failure::missing("Offset: it stands in for the dates; give the one or the others"));
    }
    if seconds != 0 && layer != Layer::L4 {
        return Err(Failure::unsupported("Offset: a replacement takes over at once; leave it out, or give 0"));
    }
    Ok(())
}

/// The attributes of the new key, or of one half of a new pair.
///
/// # Errors
/// Reasons of tables 331 and 332.
pub(super) fn replacement(
    old: &View,
    mut copied: Attributes,
    template: &TemplateAttribute<'_>,
    offset: Option<Interval>,
    now: Time,
) -> Result<Attributes, Failure> {
    if let Some(Interval(seconds)) = offset {
        shift_dates(old, &mut copied, Time::from_millis(now.millis().saturating_add(i64::from(seconds) * 1000)))?;
    }
    template::change(template, &mut copied, &old.header, now)?;
    match old.header.id.layer {
        Layer::L4 => template::note_making(&mut copied, template, now)?,
        _ => template::must_be_our_generator(template)?,
    }
    Ok(copied)
}

/// Tables 172 and 176: the replacement is Active from `begins` on, and all dates move by as much as the activation does.
fn shift_dates(old: &View, new: &mut Attributes, begins: Time) -> Result<(), Failure> {
    let dates = &old.attributes.dates;
    let others = [dates.process_start, dates.protect_stop, dates.deactivation];
    let shifted = match dates.activation {
        Some(activation) => {
            let by = begins.millis().saturating_sub(activation.millis());
            others.map(|date| date.map(|date| Time::from_millis(date.millis().saturating_add(by))))
        }
        None if others.iter().any(Option::is_some) => {
            let message = "Offset: the key has dates but no Activation Date that they could be counted from";
            return Err(Failure::invalid(ResultReason::IllegalOperation, message));
        }
        None => others,
    };
    new.dates.activation = Some(begins);
    [new.dates.process_start, new.dates.protect_stop, new.dates.deactivation] = shifted;
    // A key that was activated late may have one that precedes its activation.
    new.dates.process_start = new.dates.process_start.map(|start| start.max(begins));
    Ok(())
}
