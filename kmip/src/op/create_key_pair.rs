//! Create Key Pair, 4.2: both halves of a new pair of the client's own service, each linked to the other.

use keys::attributes::{Attributes, Other};
use keys::edge::NewPair;
use keys::id::{Layer, RowId};
use keys::policy::Action;
use keys::row::Algorithm;

use crate::attribute::AttributeValue;
use crate::context::Context;
use crate::enums::LinkType;
use crate::failure::Failure;
use crate::instance::{self, encoded};
use crate::object::Link;
use crate::payload::{CreateKeyPairRequest, CreateKeyPairResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::template::PairTemplate;
use crate::templates;
use crate::ttlv::Writer;

pub(super) async fn run(context: &mut Context<'_>, request: CreateKeyPairRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    context.grants.check_plain(Action::CreateKeyPair, Some(Layer::L4))?;
    let CreateKeyPairRequest { common_template_attribute, private_key_template_attribute, public_key_template_attribute } = request;
    let common = templates::named(context, common_template_attribute.as_ref()).await?;
    let private = templates::named(context, private_key_template_attribute.as_ref()).await?;
    let public = templates::named(context, public_key_template_attribute.as_ref()).await?;
    let request = CreateKeyPairRequest {
        common_template_attribute: common_template_attribute.as_ref().map(|template| templates::resolved(template, &common)),
        private_key_template_attribute: private_key_template_attribute.as_ref().map(|template| templates::resolved(template, &private)),
        public_key_template_attribute: public_key_template_attribute.as_ref().map(|template| templates::resolved(template, &public)),
    };
    let PairTemplate { algorithm, kind, mut private, mut public } = PairTemplate::read(&request, context.vault.now())?;
    let (private_id, public_id) = (context.vault.new_object_id()?, context.vault.new_object_id()?);
    link(&mut private, LinkType::PublicKeyLink, public_id);
    link(&mut public, LinkType::PrivateKeyLink, private_id);
    let algorithm = Algorithm(algorithm.number());
    let new = NewPair { kind, algorithm, private: (private_id, private), public: (public_id, public) };
    let (private, public) = context.vault.create_pair(context.unit, &context.grants, new).await?;
    context.is_about(&private.header);
    *context.wrapper = Some(public.header.id);
    *context.placeholder = Some(private.header.id);
    let response = CreateKeyPairResponse {
        private_key_unique_identifier: &private_id.to_string(),
        public_key_unique_identifier: &public_id.to_string(),
        private_key_template_attribute: None,
        public_key_template_attribute: None,
    };
    response.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

/// Adds a link of the server's, behind those of the client's.
pub(super) fn link(attributes: &mut Attributes, kind: LinkType, to: RowId) {
    let to = to.to_string();
    let value = AttributeValue::Link(Link { link_type: Some(kind), linked_object_identifier: Some(&to) });
    let index = instance::next_index(attributes, value.name());
    attributes.others.push(Other { name: value.name().to_owned(), index, value: encoded(&value) });
}
