//! Get and Export, 4.11 and 4.40: an object, of a core a key wrapped by another one; Export adds its attributes.

use keys::id::Layer;
use keys::policy::verb::{self, Exports};
use keys::row::Header;
use keys::vault::View;

use crate::clear::clear_object;
use crate::context::Context;
use crate::enums::ResultReason;
use crate::failure::Failure;
use crate::key_block::{KeyWrappingSpecification, ManagedObject, SymmetricKey};
use crate::payload::{ExportRequest, ExportResponse, GetRequest, GetResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::templates;
use crate::ttlv::Writer;
use crate::view::{self, Surroundings};
use crate::wrapping::{Wanted, Wrapping, bare_block};

pub(super) async fn get(context: &mut Context<'_>, request: GetRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Get>(request.unique_identifier).await?;
    let view = context.vault.attributes(context.unit, named.authorized).await?;
    if view.state.is_destroyed() {
        return Err(Failure::invalid(ResultReason::IllegalOperation, "the key is destroyed: only its attributes are left"));
    }
    let GetRequest { key_format_type, key_wrap_type, key_compression_type, key_wrapping_specification: specification, .. } = request;
    let wanted = Wanted { key_format_type, key_wrap_type, key_compression_type, specification };
    if templates::is_one(&view.header) {
        return template(&wanted, &view, &named.text, out);
    }
    if view.header.id.layer == Layer::L4 && wanted.specification.is_none() {
        return in_the_clear(context, &wanted, &named.header, &named.text, out).await;
    }
    let specification = wanted.specification_for(&view)?;
    let (wrapping, wrapped, view) = wrap::<verb::Get>(context, specification, &named.header, &view, out).await?;
    let object = ManagedObject::SymmetricKey(wrapping.key(&view, &wrapped));
    let response = GetResponse { object_type: object.object_type(), unique_identifier: &named.text, object };
    response.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

/// A Template has no key, so there is one way to return it.
fn template(wanted: &Wanted<'_>, view: &View, text: &str, out: &mut Writer<'_>) -> Result<(), Failure> {
    let Wanted { key_format_type, key_wrap_type, key_compression_type, specification } = wanted;
    if specification.is_some() || key_wrap_type.is_some() {
        return Err(Failure::field("Key Wrapping Specification: a Template has no key that could be wrapped"));
    }
    if key_compression_type.is_some() {
        let message = "Key Compression Type: a Template has no key";
        return Err(Failure::invalid(ResultReason::KeyCompressionTypeNotSupported, message));
    }
    if key_format_type.is_some() {
        return Err(Failure::invalid(ResultReason::KeyFormatTypeNotSupported, "Key Format Type: a Template has no key"));
    }
    let object = ManagedObject::Template(templates::object(view));
    let response = GetResponse { object_type: object.object_type(), unique_identifier: text, object };
    response.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

/// What an L4 is to its own service.
async fn in_the_clear(
    context: &mut Context<'_>,
    wanted: &Wanted<'_>,
    header: &Header,
    text: &str,
    out: &mut Writer<'_>,
) -> Result<(), Failure> {
    let authorized = context.grants.check::<verb::Get>(header)?;
    let write = |material: &[u8], view: &View| {
        clear_object(wanted, view, material, |object| {
            let response = GetResponse { object_type: object.object_type(), unique_identifier: text, object };
            response.encode(Tag::RESPONSE_PAYLOAD, out);
        })
    };
    let (written, view) = context.vault.reveal(context.unit, authorized, write).await?;
    written?;
    context.is_about(&view.header);
    Ok(())
}

pub(super) async fn export(context: &mut Context<'_>, request: ExportRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Export>(request.unique_identifier).await?;
    let view = context.vault.attributes(context.unit, named.authorized).await?;
    *context.placeholder = Some(named.header.id);
    // 4.40: of a destroyed key, everything but the key.
    if view.state.is_destroyed() {
        let object = ManagedObject::SymmetricKey(SymmetricKey { key_block: bare_block(&view) });
        return write_export(context, &named.text, &view, object, out).await;
    }
    let ExportRequest { key_format_type, key_wrap_type, key_compression_type, key_wrapping_specification: specification, .. } = request;
    let specification = Wanted { key_format_type, key_wrap_type, key_compression_type, specification }.specification_for(&view)?;
    let (wrapping, wrapped, view) = wrap::<verb::Export>(context, specification, &named.header, &view, out).await?;
    write_export(context, &named.text, &view, ManagedObject::SymmetricKey(wrapping.key(&view, &wrapped)), out).await
}

/// Wraps the key behind `header`; returns with what, the wrapped key, and the key as it is afterwards.
async fn wrap<'a, V: Exports>(
    context: &mut Context<'_>,
    specification: KeyWrappingSpecification<'a>,
    header: &Header,
    view: &View,
    out: &Writer<'_>,
) -> Result<(Wrapping<'a>, Vec<u8>, View), Failure> {
    let (wrapping, with) = Wrapping::of(context, specification).await?;
    let around = Surroundings::of(context, view, |name| wrapping.wants(name)).await?;
    let frame = wrapping.frame(view, &around, out.version());
    let authorized = context.grants.check::<V>(header)?;
    let exported = context.vault.export(context.unit, authorized, with, wrapping.algorithm, |_| Ok::<_, Failure>(frame)).await?;
    context.is_about(&exported.view.header);
    Ok((wrapping, exported.wrapped, exported.view))
}

async fn write_export(
    context: &Context<'_>,
    id: &str,
    view: &View,
    object: ManagedObject<'_>,
    out: &mut Writer<'_>,
) -> Result<(), Failure> {
    let around = Surroundings::of(context, view, |_| true).await?;
    let attributes = view::attributes(view, &around, |_| true);
    let response = ExportResponse { object_type: object.object_type(), unique_identifier: id, attributes, object };
    response.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}
