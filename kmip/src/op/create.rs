//! Create, 4.1: at a core, a further key of one of the tenant's services; at an edge, a key of the client's own service.

use keys::attributes::Group;
use keys::edge::NewObject;
use keys::id::{Layer, ScopeName, TenantId};
use keys::policy::{Action, NodeRole, Role};
use keys::row::Header;
use keys::tenancy::{NewServiceKey, Service};

use crate::context::Context;
use crate::enums::ObjectType;
use crate::failure::Failure;
use crate::payload::{CreateRequest, CreateResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::template::{Template, must_be_our_generator, note_making};
use crate::templates;
use crate::ttlv::Writer;

pub(super) async fn run(context: &mut Context<'_>, request: CreateRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    if context.vault.node() == NodeRole::Edge {
        return at_edge(context, &request, out).await;
    }
    let tenant = may_create(context, request.object_type)?;
    let Template { bits, mut attributes, .. } = Template::read(&request.template_attribute, NodeRole::Core, context.vault.now())?;
    must_be_our_generator(&request.template_attribute)?;
    let service = service(context, tenant, &attributes.object_groups).await?;
    if attributes.object_groups.is_empty() {
        attributes.object_groups.push(Group { value: service.name.to_string(), index: 0 });
    }
    let header = context.vault.create_service_key(context.unit, NewServiceKey { service: service.id, bits, attributes }).await?;
    answer(context, &header, out);
    Ok(())
}

async fn at_edge(context: &mut Context<'_>, request: &CreateRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    context.grants.check_plain(Action::Create, Some(Layer::L4))?;
    if request.object_type != ObjectType::SymmetricKey {
        return Err(Failure::field("Object Type: Create makes a Symmetric Key; register other objects"));
    }
    let named = templates::named(context, Some(&request.template_attribute)).await?;
    let template = &templates::resolved(&request.template_attribute, &named);
    let Template { algorithm, bits, mut attributes } = Template::read(template, NodeRole::Edge, context.vault.now())?;
    note_making(&mut attributes, template, context.vault.now())?;
    let (object_type, algorithm) = (keys::row::ObjectType::SYMMETRIC_KEY, keys::row::Algorithm(algorithm.number()));
    let new = NewObject { object_type, algorithm, bits, attributes, material: None };
    let made = context.vault.create_object(context.unit, &context.grants, new).await?;
    answer(context, &made.header, out);
    Ok(())
}

fn answer(context: &mut Context<'_>, header: &Header, out: &mut Writer<'_>) {
    context.is_about(header);
    *context.placeholder = Some(header.id);
    let unique_identifier = &header.id.to_string();
    let response = CreateResponse { object_type: ObjectType::SymmetricKey, unique_identifier, template_attribute: None };
    response.encode(Tag::RESPONSE_PAYLOAD, out);
}

/// Whose key it would be. A service's own objects, and all that are no symmetric keys, are L4.
fn may_create(context: &Context<'_>, object_type: ObjectType) -> Result<TenantId, Failure> {
    let grants = &context.grants;
    if grants.role() == Role::Service || object_type != ObjectType::SymmetricKey {
        grants.check_plain(Action::Create, Some(Layer::L4)).map_err(|_| Failure::held_by_edge())?;
    }
    grants.check_plain(Action::Create, Some(Layer::L3))?;
    let unknown = keys::Error::Denied { why: "the tenant that the certificate names does not exist" };
    Ok(grants.tenant().ok_or(unknown)?)
}

/// The service that an Object Group names; without any group, the tenant's only service.
async fn service(context: &Context<'_>, tenant: TenantId, groups: &[Group]) -> Result<Service, Failure> {
    if groups.is_empty() {
        return only_service(context, tenant).await;
    }
    let mut named: Option<Service> = None;
    // What cannot be a service's name is just a group.
    for name in groups.iter().filter_map(|group| group.value.parse::<ScopeName>().ok()) {
        let Some(found) = context.vault.service_by_name(tenant, &name).await? else { continue };
        if let Some(first) = named.as_ref().filter(|first| first.id != found.id) {
            let (first, second) = (&first.name, &found.name);
            return Err(Failure::field(format!("Object Group: {first} and {second} are both services of the tenant; name one")));
        }
        named = Some(found);
    }
    named.ok_or_else(|| Failure::field("Object Group: none is a service of the tenant; name one"))
}

async fn only_service(context: &Context<'_>, tenant: TenantId) -> Result<Service, Failure> {
    let mut services = context.vault.newest_services(tenant, 2).await?;
    match (services.pop(), services.pop()) {
        (Some(only), None) => Ok(only),
        (Some(one), Some(other)) => {
            Err(Failure::field(format!("Object Group: name one service of the tenant, like {} or {}", one.name, other.name)))
        }
        (None, _) => Err(Failure::field("Object Group: the tenant has no service that a key could be of")),
    }
}
