//! Re-key Key Pair, 4.5: a new pair in the place of another, each half as Re-key replaces a key.
//!
//! The request names the Private Key. Which Public Key belongs to it the Links of both say, as Create Key Pair, or whoever registered them, has made them.

use keys::attributes::Attributes;
use keys::id::{Layer, RowId, Time};
use keys::policy::verb;
use keys::row::{Header, ObjectType};
use keys::vault::View;

use crate::attribute::AttributeValue;
use crate::context::Context;
use crate::enums::{LinkType, ResultReason};
use crate::failure::Failure;
use crate::half;
use crate::op::create_key_pair::link;
use crate::op::re_key::{check_offset, replacement};
use crate::payload::{ReKeyKeyPairRequest, ReKeyKeyPairResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::template;
use crate::templates;
use crate::ttlv::Writer;
use crate::view;

pub(super) async fn run(context: &mut Context<'_>, request: ReKeyKeyPairRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::ReKeyKeyPair>(request.private_key_unique_identifier).await?;
    if named.header.object_type != ObjectType::PRIVATE_KEY {
        return Err(keys::Error::Denied { why: "a pair is named by its Private Key" }.into());
    }
    let kind = half::kind(&named.header).filter(|kind| kind.is_made());
    let kind = kind.ok_or(keys::Error::Denied { why: "no pair of this kind is made: make another one by Create Key Pair" })?;
    let old_public = public_half(context, &named.header).await?;
    *context.wrapper = Some(old_public.id);
    let ReKeyKeyPairRequest { offset, common_template_attribute, private_key_template_attribute, public_key_template_attribute, .. } =
        request;
    let common = templates::named(context, common_template_attribute.as_ref()).await?;
    let private = templates::named(context, private_key_template_attribute.as_ref()).await?;
    let public = templates::named(context, public_key_template_attribute.as_ref()).await?;
    let common = common_template_attribute.as_ref().map(|template| templates::resolved(template, &common));
    let private = private_key_template_attribute.as_ref().map(|template| templates::resolved(template, &private));
    let public = public_key_template_attribute.as_ref().map(|template| templates::resolved(template, &public));
    let [private, public] = [private, public].map(|own| template::joined(own.as_ref(), common.as_ref()));
    for template in [&private, &public] {
        check_offset(offset, template, Layer::L4)?;
    }
    let [private_id, public_id] = [context.vault.new_object_id()?, context.vault.new_object_id()?];
    let edit = |old: &View, copied: Attributes, now: Time| {
        let (template, kind, other) = match old.header.object_type {
            ObjectType::PRIVATE_KEY => (&private, LinkType::PublicKeyLink, public_id),
            _ => (&public, LinkType::PrivateKeyLink, private_id),
        };
        let mut attributes = replacement(old, copied, template, offset, now)?;
        link(&mut attributes, kind, other);
        Ok::<_, Failure>(attributes)
    };
    let halves = [named.authorized, context.grants.check::<verb::ReKeyKeyPair>(&old_public)?];
    let [private, public] = context.vault.rekey_pair(context.unit, kind, halves, [private_id, public_id], edit).await?;
    context.is_about(&private.header);
    *context.wrapper = Some(public.header.id);
    *context.placeholder = Some(private.header.id);
    let response = ReKeyKeyPairResponse {
        private_key_unique_identifier: &private_id.to_string(),
        public_key_unique_identifier: &public_id.to_string(),
        private_key_template_attribute: None,
        public_key_template_attribute: None,
    };
    response.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

/// The Public Key of the pair: the one that the Private Key is linked to and that is linked back.
async fn public_half(context: &mut Context<'_>, private: &Header) -> Result<Header, Failure> {
    let no_pair = keys::Error::Denied { why: "the Private Key's Links do not tell its Public Key: each half has one to the other" };
    let [public] = &linked(context, private, LinkType::PublicKeyLink).await?[..] else { return Err(no_pair.into()) };
    let is_other_half = public.object_type == ObjectType::PUBLIC_KEY && half::kind(public) == half::kind(private);
    if !is_other_half {
        return Err(no_pair.into());
    }
    match &linked(context, public, LinkType::PrivateKeyLink).await?[..] {
        [back] if back.id == private.id => Ok(public.clone()),
        _ => Err(no_pair.into()),
    }
}

/// Where an object's Links of this kind lead. A link of what was imported may name what was imported with it, by the identifier that it came under.
async fn linked(context: &Context<'_>, of: &Header, kind: LinkType) -> Result<Vec<Header>, Failure> {
    let authorized = context.grants.check::<verb::ReKeyKeyPair>(of)?;
    let view: View = context.vault.attributes(context.unit, authorized).await?;
    let kept = view.attributes.others.iter().filter_map(view::stored);
    let texts = kept.filter_map(|value| match value {
        AttributeValue::Link(link) if link.link_type == Some(kind) => link.linked_object_identifier.map(ToOwned::to_owned),
        _ => None,
    });
    let mut found: Vec<Header> = Vec::new();
    for text in texts.collect::<Vec<_>>() {
        match context.header(&text).await {
            Ok(header) if found.iter().all(|known| known.id != header.id) => found.push(header),
            Ok(_) => {}
            // A link may say anything.
            Err(failure) if failure.reason == ResultReason::ItemNotFound && text.parse::<RowId>().is_err() => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(found)
}
