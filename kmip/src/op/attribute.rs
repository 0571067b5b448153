//! Add Attribute, Modify Attribute and Delete Attribute, 4.14 to 4.16.

use keys::attributes::Attributes;
use keys::id::{Layer, ScopeName};
use keys::lifecycle::State;
use keys::policy::{NodeRole, verb};
use keys::row::Header;
use keys::tenancy::Service;
use keys::vault::View;

use crate::attribute::{Attribute, AttributeName, AttributeValue};
use crate::context::Context;
use crate::edit::{self, Changed};
use crate::enums::ResultReason;
use crate::failure::Failure;
use crate::payload::{AddAttributeRequest, AddAttributeResponse, DeleteAttributeRequest, ModifyAttributeRequest, ModifyAttributeResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::Writer;
use crate::view::shown_index;

/// A failure in the reasons of tables 341 to 343, which have one of their own for a Name that is taken.
struct Refused(Failure);

impl From<keys::Error> for Refused {
    fn from(error: keys::Error) -> Self {
        if matches!(error, keys::Error::WrongState { is: State::Retired, .. }) {
            return Self(Failure::archived());
        }
        let is_taken = matches!(error, keys::Error::NameTaken { .. });
        let failure = Failure::from(error);
        Self(if is_taken { Failure { reason: ResultReason::IllegalOperation, ..failure } } else { failure })
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

/// The service of a key, whose name is one of its Object Groups and stays so.
pub(super) struct Home(Option<Service>);

pub(super) async fn add(context: &mut Context<'_>, request: AddAttributeRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::AddAttribute>(request.unique_identifier).await?;
    let home = Home::of(context, &named.header).await?;
    home.must_be_of_no_other(context, &request.attribute.value).await?;
    must_be_unused(context, &named.header, request.attribute.value.name()).await?;
    let mut index = 0;
    let add = |view: &View, now| home.changed(view, edit::add(view, &request.attribute, now), &mut index);
    let view = context.vault.edit(context.unit, named.authorized, add).await.map_err(|Refused(failure)| failure)?;
    context.is_about(&view.header);
    let value = request.attribute.value;
    let attribute = Attribute { index: shown_index(&value, index), value };
    AddAttributeResponse { unique_identifier: &named.text, attribute }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

pub(super) async fn modify(context: &mut Context<'_>, request: ModifyAttributeRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::ModifyAttribute>(request.unique_identifier).await?;
    let home = Home::of(context, &named.header).await?;
    home.must_be_of_no_other(context, &request.attribute.value).await?;
    must_be_unused(context, &named.header, request.attribute.value.name()).await?;
    let version = out.version();
    let mut index = 0;
    let modify = |view: &View, now| home.changed(view, edit::modify(view, &request.attribute, now, version), &mut index);
    let view = context.vault.edit(context.unit, named.authorized, modify).await.map_err(|Refused(failure)| failure)?;
    context.is_about(&view.header);
    let value = request.attribute.value;
    let attribute = Attribute { index: shown_index(&value, index), value };
    ModifyAttributeResponse { unique_identifier: &named.text, attribute }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

pub(super) async fn delete(context: &mut Context<'_>, request: DeleteAttributeRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::DeleteAttribute>(request.unique_identifier).await?;
    let home = Home::of(context, &named.header).await?;
    let DeleteAttributeRequest { attribute_name: name, attribute_index, .. } = request;
    must_be_unused(context, &named.header, name).await?;
    let version = out.version();
    let (mut index, mut deleted) = (0, vec![]);
    let delete = |view: &View, _| {
        let after = home.changed(view, edit::delete(view, name, attribute_index, version), &mut index)?;
        if let Some(value) = edit::value(view, name, index) {
            Attribute { index: shown_index(&value, index), value }.encode(Tag::ATTRIBUTE, &mut Writer::new(&mut deleted, version));
        }
        Ok(after)
    };
    let view = context.vault.edit(context.unit, named.authorized, delete).await.map_err(|Refused(failure)| failure)?;
    context.is_about(&view.header);
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.text(Tag::UNIQUE_IDENTIFIER, &named.text);
    out.encoded(&deleted);
    out.close(payload);
    Ok(())
}

/// Usage Limits of which something was given away stay what they are.
async fn must_be_unused(context: &Context<'_>, header: &Header, name: &str) -> Result<(), Failure> {
    if AttributeName::of(name) != Some(AttributeName::UsageLimits) {
        return Ok(());
    }
    edit::must_be_unused(name, context.vault.is_usage_begun(header.id).await?)
}

impl Home {
    /// The service of the key with this header. An L4 has its service by who made it, and its groups say nothing of that.
    pub(super) async fn of(context: &Context<'_>, header: &Header) -> Result<Self, Failure> {
        Ok(Self(match header.owner.service.filter(|_| header.id.layer != Layer::L4) {
            Some(service) => Some(context.vault.service(service).await?),
            None => None,
        }))
    }

    /// A group that is another service's name would say that the key is of that one.
    pub(super) async fn must_be_of_no_other(&self, context: &Context<'_>, value: &AttributeValue<'_>) -> Result<(), Failure> {
        let AttributeValue::ObjectGroup(group) = value else { return Ok(()) };
        if context.vault.node() == NodeRole::Edge {
            return Ok(());
        }
        let (Some(tenant), Ok(name)) = (context.grants.tenant(), group.parse::<ScopeName>()) else { return Ok(()) };
        let found = context.vault.service_by_name(tenant, &name).await?;
        if found.is_some_and(|found| self.0.as_ref().is_none_or(|own| own.id != found.id)) {
            return Err(Failure::field(format!("Object Group: {name} is another service of the tenant; a key stays with its own")));
        }
        Ok(())
    }

    /// The attributes after a change, unless the key would lose the group of its service by it; notes the index.
    fn changed(&self, view: &View, changed: Result<Changed, Failure>, index: &mut u32) -> Result<Attributes, Refused> {
        let after = changed?;
        *index = after.index;
        self.must_stay(&view.attributes, &after.attributes)?;
        Ok(after.attributes)
    }

    /// Refuses attributes without the group that names the service, if there was one.
    pub(super) fn must_stay(&self, before: &Attributes, after: &Attributes) -> Result<(), keys::Error> {
        let name = self.0.as_ref().map(|service| service.name.to_string());
        let has = |attributes: &Attributes| attributes.object_groups.iter().any(|group| Some(&group.value) == name.as_ref());
        if has(before) && !has(after) {
            return Err(keys::Error::Denied { why: "the Object Group that names the key's service stays" });
        }
        Ok(())
    }
}
