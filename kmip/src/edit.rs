//! Add, Modify and Delete Attribute on a key's attributes, by the rules of section 3 and the reasons of tables 341 to 343.

use std::borrow::Cow;

use keys::attributes::Attributes;
use keys::id::{Layer, Time};
use keys::lifecycle::{Dates, State};
use keys::vault::View;

use crate::attribute::{Attribute, AttributeName, AttributeRow, AttributeValue, Deletable, Instances, Modifiable, SetBy};
use crate::enums::ResultReason;
use crate::error::excerpt;
use crate::failure::Failure;
use crate::instance;
use crate::schema::Encode;
use crate::templates;
use crate::version::ProtocolVersion;
use crate::view;

/// What is said of an attribute that is the server's own.
const READ_ONLY: &str = "this attribute is read only";
/// What a core says where its own rule is stricter than the standard's.
const TIGHTENS: &str = "a key becomes Sensitive and ceases to be Extractable, never the other way; make another key";

/// A key after a change of one attribute.
pub(crate) struct Changed {
    /// All its attributes.
    pub(crate) attributes: Attributes,
    /// Which instance was added, modified or removed.
    pub(crate) index: u32,
}

/// Adds an instance.
///
/// # Errors
/// Reasons of table 341.
pub(crate) fn add(view: &View, attribute: &Attribute<'_>, now: Time) -> Result<Changed, Failure> {
    let Attribute { index, value } = attribute;
    let name = value.name();
    if index.is_some() {
        return Err(Failure::field("Attribute Index: the server gives it, leave it out"));
    }
    must_be_the_clients(value)?;
    let mut attributes = Attributes::clone(&view.attributes);
    let row = value.standard().map(AttributeName::row);
    let has_one = !indexes(view, name).is_empty() || value.standard().is_some_and(|name| view::is_made_by_core(view, name));
    if row.is_some_and(|row| row.instances == Instances::One) && has_one {
        return Err(Failure::invalid(ResultReason::IllegalOperation, format!("{name}: the key has one, use Modify Attribute")));
    }
    let is_counted = matches!(value, AttributeValue::UsageLimits(_));
    if templates::holds(&view.header, name) {
        let index = templates::next_index(&attributes, name);
        return changed_content(attributes, index, value);
    }
    if !instance::is_supported(value) {
        return Err(denied(name, instance::NOT_GIVEN));
    }
    if is_counted && view.header.id.layer != Layer::L4 {
        return Err(denied(name, "a core counts none: make the key at an edge"));
    }
    if let Some(row) = row {
        must_be_changeable(row, view, now)?;
    }
    must_not_set_the_count(value)?;
    let index = instance::next_index(&attributes, name);
    instance::put(&mut attributes, index, value)?;
    check_dates(view, &attributes.dates, now)?;
    Ok(Changed { attributes, index })
}

/// Puts a value in the place of an instance's.
///
/// # Errors
/// Reasons of table 342.
pub(crate) fn modify(view: &View, attribute: &Attribute<'_>, now: Time, version: ProtocolVersion) -> Result<Changed, Failure> {
    let Attribute { index, value } = attribute;
    let name = value.name();
    must_be_the_clients(value)?;
    let row = value.standard().map(AttributeName::row);
    let is_content = templates::holds(&view.header, name);
    if row.is_some_and(|row| row.modifiable == Modifiable::Never) && !is_content {
        return Err(denied(name, READ_ONLY));
    }
    let mut attributes = Attributes::clone(&view.attributes);
    let indexes = indexes(view, name);
    if indexes.is_empty() {
        return Err(Failure::field(format!("{}: the key has none, use Add Attribute", excerpt(name))));
    }
    let index = instance_of(row, &indexes, *index, version).ok_or_else(|| no_instance(name))?;
    must_not_be_the_servers(&attributes, name, index)?;
    if is_content {
        return changed_content(attributes, index, value);
    }
    if let Some(row) = row {
        must_be_changeable(row, view, now)?;
    }
    must_not_set_the_count(value)?;
    let loosens = match value {
        AttributeValue::Sensitive(value) => attributes.sensitive && !value,
        AttributeValue::Extractable(value) => !attributes.extractable && *value,
        _ => false,
    };
    if loosens {
        return Err(denied(name, TIGHTENS));
    }
    instance::put(&mut attributes, index, value)?;
    check_dates(view, &attributes.dates, now)?;
    Ok(Changed { attributes, index })
}

/// Takes an instance away; it can be read from what there was before.
///
/// # Errors
/// Reasons of table 343, and of 11.16 of 1.0, which wants an index where there are several instances and none where there is one at most.
pub(crate) fn delete(view: &View, name: &str, index: Option<i32>, version: ProtocolVersion) -> Result<Changed, Failure> {
    let is_content = templates::holds(&view.header, name);
    let unknown = || Failure { message: Cow::Owned(format!("{}: the key has no such attribute", excerpt(name))), ..Failure::not_found() };
    let row = AttributeName::of(name).map(AttributeName::row);
    if row.is_some_and(|row| row.since > version) || (row.is_none() && !name.starts_with("x-") && !name.starts_with("y-")) {
        return Err(unknown());
    }
    let stays = |row: AttributeRow| row.deletable == Deletable::Stays && !is_content;
    if row.is_some_and(|row| row.set_by == SetBy::Server || stays(row)) || name.starts_with("y-") {
        return Err(denied(name, "this attribute is read only, or a key cannot be without it"));
    }
    let indexes = indexes(view, name);
    if indexes.is_empty() {
        return Err(unknown());
    }
    if version == ProtocolVersion::V1_0 && index.is_none() && indexes.len() > 1 {
        return Err(Failure::field(format!("Attribute Index: the key has several of {}", excerpt(name))));
    }
    let index = instance_of(row, &indexes, index, version).ok_or_else(|| no_instance(name))?;
    must_not_be_the_servers(&view.attributes, name, index)?;
    if !value(view, name, index).is_some_and(|value| value.legal_in(version)) {
        return Err(no_instance(name));
    }
    let mut attributes = Attributes::clone(&view.attributes);
    if is_content {
        attributes.others.retain(|other| other.name != name || other.index != index);
    } else {
        instance::take(&mut attributes, name, index);
    }
    Ok(Changed { attributes, index })
}

/// The instances of an attribute that there are.
fn indexes(view: &View, name: &str) -> Vec<u32> {
    match templates::holds(&view.header, name) {
        true => instance::kept(&view.attributes, name).collect(),
        false => instance::indexes(&view.attributes, name),
    }
}

/// The value of one instance of an attribute that may be removed.
pub(crate) fn value<'a>(view: &'a View, name: &str, index: u32) -> Option<AttributeValue<'a>> {
    if !templates::holds(&view.header, name) {
        return instance::value(&view.attributes, name, index);
    }
    view.attributes.others.iter().find(|other| other.name == name && other.index == index).and_then(view::stored)
}

/// A Template that holds a value instead of, or beside, what it has held.
fn changed_content(mut attributes: Attributes, index: u32, value: &AttributeValue<'_>) -> Result<Changed, Failure> {
    instance::keep(&mut attributes.others, index, value)?;
    templates::must_fit(&attributes)?;
    Ok(Changed { attributes, index })
}

fn denied(name: &str, why: &str) -> Failure {
    let message = Cow::Owned(format!("{}: {why}", excerpt(name)));
    Failure { message, ..keys::Error::Denied { why: "" }.into() }
}

fn no_instance(name: &str) -> Failure {
    Failure { message: Cow::Owned(format!("{}: no instance has this index", excerpt(name))), ..Failure::not_found() }
}

fn must_be_the_clients(value: &AttributeValue<'_>) -> Result<(), Failure> {
    let is_servers = match value {
        AttributeValue::Custom(name, _) => name.starts_with("y-"),
        AttributeValue::Link(link) => instance::is_servers(link),
        other => other.standard().is_some_and(|name| name.row().set_by == SetBy::Server),
    };
    if is_servers { Err(denied(value.name(), READ_ONLY)) } else { Ok(()) }
}

/// 3.21: how much of a limit is left is the server's to say.
fn must_not_set_the_count(value: &AttributeValue<'_>) -> Result<(), Failure> {
    match value {
        AttributeValue::UsageLimits(limits) if limits.count.is_some() => Err(denied(value.name(), "Usage Limits Count is the server's")),
        _ => Ok(()),
    }
}

/// A limit is fixed once something was given of it (3.21).
pub(crate) fn must_be_unused(name: &str, is_usage_begun: bool) -> Result<(), Failure> {
    if is_usage_begun { Err(denied(name, "the key is in use: its limits stay what they are")) } else { Ok(()) }
}

/// The links of a key to what it replaces and what replaces it stay.
fn must_not_be_the_servers(attributes: &Attributes, name: &str, index: u32) -> Result<(), Failure> {
    let is_kept = AttributeName::of(name) != Some(AttributeName::Link) || instance::value(attributes, name, index).is_some();
    if is_kept { Ok(()) } else { Err(denied(name, READ_ONLY)) }
}

/// The instance that is meant, if there is one; without an index it is the one with index 0.
fn instance_of(row: Option<AttributeRow>, indexes: &[u32], asked: Option<i32>, version: ProtocolVersion) -> Option<u32> {
    // 1.0 forbids an index, even 0, where there cannot be several instances.
    let is_forbidden = version == ProtocolVersion::V1_0 && row.is_some_and(|row| row.instances == Instances::One);
    if is_forbidden && asked.is_some() {
        return None;
    }
    let index = u32::try_from(asked.unwrap_or(0)).ok()?;
    indexes.contains(&index).then_some(index)
}

/// The dates of 3.24 to 3.27 are fixed once they have had their effect.
fn must_be_changeable(row: AttributeRow, view: &View, now: Time) -> Result<(), Failure> {
    let (state, dates) = (view.state, &view.attributes.dates);
    let is_in_use = matches!(state, State::PreActive | State::Active);
    let is_ahead = match AttributeName::of(row.name) {
        Some(AttributeName::ProcessStartDate) => dates.process_start.is_none_or(|date| now < date),
        Some(AttributeName::ProtectStopDate) => dates.protect_stop.is_none_or(|date| now < date),
        _ => true,
    };
    let (holds, wants) = match row.modifiable {
        Modifiable::Never | Modifiable::Always | Modifiable::UntilUsed => (true, ""),
        Modifiable::PreActive => (state == State::PreActive, "it can be set while the key is Pre-Active"),
        Modifiable::UntilInactive => (is_in_use, "it can be set while the key is Pre-Active or Active"),
        Modifiable::UntilReached => (is_in_use && is_ahead, "it can be set until it is reached, while the key is Pre-Active or Active"),
    };
    if holds { Ok(()) } else { Err(denied(row.name, wants)) }
}

/// Judges what an edit does to the dates, not what they were before it.
fn check_dates(view: &View, dates: &Dates, now: Time) -> Result<(), Failure> {
    let before = &view.attributes.dates;
    instance::check_order_after(before, dates)?;
    if view.state == State::PreActive && dates != before { instance::check_future(dates, now) } else { Ok(()) }
}
