//! Template objects, 2.2.6: named lists of attributes that the Template-Attribute of a request may refer to.
//!
//! What a Template holds lies among the attributes that the domain only keeps, each under its own name: sealed as those of every object, and beside no
//! material. But for its Name nothing of it is said of the Template itself, which has no state, no mask and no dates, and is in no group. The versions from
//! 1.3 on deprecate Templates and still have them, so all are served alike.

use keys::attributes::Attributes;
use keys::id::Layer;
use keys::policy::{NodeRole, verb};
use keys::row::{Header, ObjectType};
use keys::vault::View;

use crate::attribute::{Attribute, AttributeName, AttributeValue, SetBy};
use crate::context::Context;
use crate::enums::{ObjectType as Type, ResultReason};
use crate::failure::Failure;
use crate::instance;
use crate::key_block::Template;
use crate::object::{Name, TemplateAttribute};
use crate::op::locate::take_search;
use crate::template::{joined, must_be_possible, no_such_template};
use crate::view::{shown_index, stored};

/// Is the object a Template?
pub(crate) fn is_one(header: &Header) -> bool {
    header.object_type == ObjectType::TEMPLATE
}

/// Refuses a Template where a state would change, which it has not.
///
/// # Errors
/// Illegal Operation.
pub(crate) fn must_be_none(header: &Header, what: &'static str) -> Result<(), Failure> {
    if is_one(header) {
        return Err(Failure::invalid(ResultReason::IllegalOperation, format!("a Template has no state and is not {what}: destroy it")));
    }
    Ok(())
}

/// Whether an object has the attribute of this name for the objects that are made with it.
pub(crate) fn holds(header: &Header, name: &str) -> bool {
    is_one(header) && AttributeName::of(name) != Some(AttributeName::Name)
}

/// What is stored of a Template that is registered.
///
/// - `own`: the request's Template-Attribute, whose Names are the Template's; whatever else it says is for the objects made with it, too (3.18.2.3).
///
/// # Errors
/// Reasons of table 330.
pub(crate) fn registered(own: &TemplateAttribute<'_>, template: &Template<'_>) -> Result<Attributes, Failure> {
    if !own.names.is_empty() {
        return Err(Failure::field("Template-Attribute: a Template is made of attributes, and of no other Template"));
    }
    let is_name = |value: &&AttributeValue<'_>| matches!(value, AttributeValue::Name(_));
    if template.attributes.iter().any(|attribute| is_name(&&attribute.value)) {
        return Err(Failure::field("Name: that of a Template stands in the Template-Attribute beside it, not inside"));
    }
    let (names, others): (Vec<_>, Vec<_>) = own.attributes.iter().map(|attribute| &attribute.value).partition(is_name);
    let content = others.into_iter().chain(template.attributes.iter().map(|attribute| &attribute.value));
    // Where an object is to be stored, which some clients say, is nothing that it holds.
    let content: Vec<_> = content.filter(|value| !matches!(value, AttributeValue::StorageStatusMask(_))).collect();
    must_be_possible(content.iter().copied())?;
    let mut attributes = Attributes::default();
    for value in names {
        let index = instance::next_index(&attributes, value.name());
        instance::put(&mut attributes, index, value)?;
    }
    for value in content {
        let index = next_index(&attributes, value.name());
        instance::keep(&mut attributes.others, index, value)?;
    }
    Ok(attributes)
}

/// What is stored of a Template that is imported: its Names stand among its attributes, and another server may repeat there what it holds.
///
/// # Errors
/// Reasons of table 365.
pub(crate) fn imported(said: &[Attribute<'_>], template: &Template<'_>) -> Result<Attributes, Failure> {
    let is_other = |attribute: &&Attribute<'_>| matches!(&attribute.value, AttributeValue::ObjectType(kind) if *kind != Type::Template);
    if said.iter().any(|attribute| is_other(&attribute)) {
        return Err(Failure::field("Object Type: the object that is given is of another type"));
    }
    let is_servers = |value: &AttributeValue<'_>| match value.standard() {
        Some(name) => name.row().set_by == SetBy::Server,
        None => value.name().starts_with("y-"),
    };
    let is_held = |value: &AttributeValue<'_>| template.attributes.iter().any(|held| held.value == *value);
    let attributes = said.iter().filter(|attribute| !is_servers(&attribute.value) && !is_held(&attribute.value)).cloned().collect();
    registered(&TemplateAttribute { names: Vec::new(), attributes }, template)
}

/// The index of the next instance of what a Template holds.
pub(crate) fn next_index(attributes: &Attributes, name: &str) -> u32 {
    instance::kept(attributes, name).max().map_or(0, |last| last + 1)
}

/// Could objects still be made with what a Template holds now?
///
/// # Errors
/// Invalid Field.
pub(crate) fn must_fit(attributes: &Attributes) -> Result<(), Failure> {
    let values: Vec<_> = attributes.others.iter().filter_map(stored).collect();
    must_be_possible(values.iter())
}

/// A Template as Get returns it.
pub(crate) fn object(view: &View) -> Template<'_> {
    let shown = |(index, value)| Attribute { index: shown_index(&value, index), value };
    Template { attributes: content(view).map(shown).collect() }
}

fn content(view: &View) -> impl Iterator<Item = (u32, AttributeValue<'_>)> {
    view.attributes.others.iter().filter_map(|other| stored(other).map(|value| (other.index, value)))
}

/// The Templates that a Template-Attribute names, in its order.
///
/// # Errors
/// Item Not Found, also of what is another's or no Template; Object Archived; General Failure for too many.
pub(crate) async fn named(context: &mut Context<'_>, template: Option<&TemplateAttribute<'_>>) -> Result<Vec<View>, Failure> {
    let mut found = Vec::new();
    for name in template.iter().flat_map(|template| &template.names) {
        take_search(context)?;
        found.push(one(context, name).await?);
    }
    Ok(found)
}

async fn one(context: &Context<'_>, name: &Name<'_>) -> Result<View, Failure> {
    let tenant = context.grants.tenant().filter(|_| context.vault.node() == NodeRole::Edge);
    let (Some(tenant), Some(value)) = (tenant, name.value) else { return Err(no_such_template()) };
    let is_it = |view: &View| {
        let has = |own: &keys::attributes::Name| own.value == value && name.name_type.is_none_or(|kind| kind.number() == own.kind);
        is_one(&view.header) && view.attributes.names.iter().any(has)
    };
    let term = context.vault.registry().integrity().terms.name(tenant, value);
    let found = context.vault.find(context.unit, &context.grants, Layer::L4, vec![term], is_it).await?;
    let id = *found.first().ok_or_else(no_such_template)?;
    let header = context.vault.header(context.unit, &context.grants, id).await?;
    let authorized = context.grants.check::<verb::GetAttributes>(&header)?;
    Ok(context.vault.attributes(context.unit, authorized).await?)
}

/// A Template-Attribute with what the Templates that it names add to it (section 4): of what there is one of its own value counts first, then that of the
/// last Template.
pub(crate) fn resolved<'a>(template: &TemplateAttribute<'a>, named: &'a [View]) -> TemplateAttribute<'a> {
    let mut all = TemplateAttribute { names: Vec::new(), attributes: template.attributes.clone() };
    for view in named.iter().rev() {
        let attributes = content(view).map(|(_, value)| Attribute { index: None, value }).collect();
        all = joined(Some(&all), Some(&TemplateAttribute { names: Vec::new(), attributes }));
    }
    all
}
