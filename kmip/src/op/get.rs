//! Get and Export, 4.11 and 4.40: an object, of a core a key wrapped by another one; Export adds its attributes.

use keys::id::Layer;
use keys::policy::verb::{self, Exports};
use keys::row::Header;
use keys::vault::View;
use secret::Bytes;

use crate::clear::{bare_object, clear_object};
use crate::context::Context;
use crate::enums::{KeyFormatType, ResultReason};
use crate::failure::Failure;
use crate::key_block::{KeyWrappingSpecification, ManagedObject};
use crate::payload::{ExportRequest, ExportResponse, GetRequest, GetResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::templates;
use crate::ttlv::Writer;
use crate::view::{self, Surroundings};
use crate::wrapping::{Wanted, Wrapping};

pub(super) async fn get(context: &mut Context<'_>, request: GetRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Get>(request.unique_identifier).await?;
    let view = context.vault.attributes(context.unit, named.authorized).await?;
    if view.state.is_destroyed() {
        return Err(Failure::invalid(ResultReason::IllegalOperation, "the key is destroyed: only its attributes are left"));
    }
    let GetRequest { key_format_type, key_wrap_type, key_compression_type, key_wrapping_specification: specification, .. } = request;
    let wanted = Wanted { key_format_type, key_wrap_type, key_compression_type, specification };
    let write = |object: ManagedObject<'_>, _: &View, out: &mut Writer<'_>| {
        let response = GetResponse { object_type: object.object_type(), unique_identifier: &named.text, object };
        response.encode(Tag::RESPONSE_PAYLOAD, out);
    };
    hand_out::<verb::Get>(context, wanted, (&named.header, &view), out, write).await
}

pub(super) async fn export(context: &mut Context<'_>, request: ExportRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Export>(request.unique_identifier).await?;
    let view = context.vault.attributes(context.unit, named.authorized).await?;
    *context.placeholder = Some(named.header.id);
    let around = Surroundings::of(context, &view, |_| true).await?;
    let write = |object: ManagedObject<'_>, view: &View, out: &mut Writer<'_>| {
        let attributes = view::attributes(view, &around, |_| true);
        let response = ExportResponse { object_type: object.object_type(), unique_identifier: &named.text, attributes, object };
        response.encode(Tag::RESPONSE_PAYLOAD, out);
    };
    // 4.40: of a destroyed key, everything but the key.
    if view.state.is_destroyed() {
        write(bare_object(&view)?, &view, out);
        return Ok(());
    }
    let ExportRequest { key_format_type, key_wrap_type, key_compression_type, key_wrapping_specification: specification, .. } = request;
    let wanted = Wanted { key_format_type, key_wrap_type, key_compression_type, specification };
    hand_out::<verb::Export>(context, wanted, (&named.header, &view), out, write).await
}

/// A Template, which has no key, so that there is one way to return it.
fn template<'v>(wanted: &Wanted<'_>, view: &'v View) -> Result<ManagedObject<'v>, Failure> {
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
    Ok(ManagedObject::Template(templates::object(view)))
}

/// Hands the object to `write` as it is wanted, with what it is afterwards.
async fn hand_out<V: Exports>(
    context: &mut Context<'_>,
    mut wanted: Wanted<'_>,
    (header, view): (&Header, &View),
    out: &mut Writer<'_>,
    write: impl FnOnce(ManagedObject<'_>, &View, &mut Writer<'_>),
) -> Result<(), Failure> {
    if templates::is_one(header) {
        write(template(&wanted, view)?, view, out);
        return Ok(());
    }
    if view.header.id.layer != Layer::L4 {
        let specification = wanted.specification_of_core(view)?;
        return wrapped_by_core::<V>(context, specification, (header, view), out, write).await;
    }
    match wanted.specification_of_edge(view)? {
        Some(specification) => wrapped::<V>(context, (wanted, specification), (header, view), out, write).await,
        None => in_the_clear::<V>(context, &wanted, header, out, write).await,
    }
}

/// What an L4 is to its own service.
async fn in_the_clear<V: Exports>(
    context: &mut Context<'_>,
    wanted: &Wanted<'_>,
    header: &Header,
    out: &mut Writer<'_>,
    write: impl FnOnce(ManagedObject<'_>, &View, &mut Writer<'_>),
) -> Result<(), Failure> {
    let authorized = context.grants.check::<V>(header)?;
    let write = |material: &[u8], view: &View| clear_object(wanted, view, material, |object| write(object, view, out));
    let (written, view) = context.vault.reveal(context.unit, authorized, write).await?;
    written?;
    context.is_about(&view.header);
    Ok(())
}

/// An L4 in the format that is wanted, wrapped.
async fn wrapped<V: Exports>(
    context: &mut Context<'_>,
    (wanted, specification): (Wanted<'_>, KeyWrappingSpecification<'_>),
    (header, view): (&Header, &View),
    out: &mut Writer<'_>,
    write: impl FnOnce(ManagedObject<'_>, &View, &mut Writer<'_>),
) -> Result<(), Failure> {
    let (wrapping, with) = Wrapping::of(context, specification).await?;
    let around = Surroundings::of(context, view, |name| wrapping.wants(name)).await?;
    let (version, mut format) = (out.version(), KeyFormatType::Raw);
    let shape = |material: &[u8], view: &View| -> Result<Bytes, Failure> {
        let enclosed = clear_object(&wanted, view, material, |object| wrapping.enclose(&object, view, &around, version))?;
        let (of_object, bytes) = enclosed?;
        format = of_object;
        Ok(bytes)
    };
    let authorized = context.grants.check::<V>(header)?;
    let exported = context.vault.export_shaped(context.unit, authorized, with, wrapping.algorithm, shape).await?;
    context.is_about(&exported.view.header);
    write(wrapping.object(&exported.view, format, &exported.wrapped)?, &exported.view, out);
    Ok(())
}

/// A key of a core, whose bytes nobody here sees.
async fn wrapped_by_core<V: Exports>(
    context: &mut Context<'_>,
    specification: KeyWrappingSpecification<'_>,
    (header, view): (&Header, &View),
    out: &mut Writer<'_>,
    write: impl FnOnce(ManagedObject<'_>, &View, &mut Writer<'_>),
) -> Result<(), Failure> {
    let (wrapping, with) = Wrapping::of(context, specification).await?;
    let around = Surroundings::of(context, view, |name| wrapping.wants(name)).await?;
    let frame = wrapping.frame(view.header.material_bytes(), view, &around, out.version());
    let authorized = context.grants.check::<V>(header)?;
    let exported = context.vault.export(context.unit, authorized, with, wrapping.algorithm, |_| Ok::<_, Failure>(frame)).await?;
    context.is_about(&exported.view.header);
    write(wrapping.object(&exported.view, KeyFormatType::Raw, &exported.wrapped)?, &exported.view, out);
    Ok(())
}
