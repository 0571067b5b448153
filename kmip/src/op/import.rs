//! Import, 4.41: an object that another server has had, with all that was known of it there, kept at an edge.

use keys::edge::NewObject;
use keys::id::Layer;
use keys::import::Import;
use keys::lifecycle::State;
use keys::policy::Action;
use keys::row::{Algorithm, ObjectType};
use secret::Bytes;

use crate::brought::Brought;
use crate::context::Context;
use crate::enums::KeyWrapType;
use crate::failure::Failure;
use crate::imported::Imported;
use crate::key_block::{ManagedObject, PlainKeyValue};
use crate::payload::{ImportRequest, ImportResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::templates;
use crate::ttlv::{Value, Writer};
use crate::unwrapping::{Opened, enclosed, opened};
use crate::view::{Y_IMPORTED_AS, kept};

pub(super) async fn run(context: &mut Context<'_>, request: ImportRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    context.grants.check_plain(Action::Import, Some(Layer::L4))?;
    context.vault.must_keep()?;
    must_be_unwrapped(request.key_wrap_type, &request.object)?;
    let (now, id) = (context.vault.now(), request.unique_identifier);
    let replaces = request.replace_existing == Some(true);
    if let ManagedObject::Template(template) = &request.object {
        let mut attributes = templates::imported(&request.attributes, template)?;
        attributes.dates.initial = now;
        attributes.dates.last_change = now;
        let (object_type, material) = (ObjectType::TEMPLATE, Some(Bytes::init_with(0, |_| ())?));
        let object = NewObject { object_type, algorithm: Algorithm::NONE, bits: 0, attributes, material };
        return keep(context, Import { id, replaces, object, state: State::PreActive, used: 0 }, out).await;
    }
    let read = |plain: Option<&PlainKeyValue<'_>>| {
        let brought = Brought::read(&request.object, plain)?;
        let inside = enclosed(plain, &request.attributes);
        let imported = Imported::read(request.attributes.iter().chain(&inside), (&request.object, &brought), now)?;
        let (algorithm, bits) = brought.agreed(&request.object, imported.algorithm, imported.bits, imported.curve)?;
        Ok((brought, imported, algorithm, bits))
    };
    let Opened { read: (brought, imported, algorithm, bits), came } = opened(context, &request.object, read).await?;
    let state = imported.state()?;
    let Imported { mut attributes, used, .. } = imported;
    attributes.others.extend(brought.kept);
    attributes.others.push(kept(Y_IMPORTED_AS, Value::TextString(id)));
    came.mark(&mut attributes);
    let object_type = ObjectType(request.object.object_type().number());
    let object = NewObject { object_type, algorithm, bits, attributes, material: Some(brought.material) };
    keep(context, Import { id, replaces, object, state, used }, out).await
}

async fn keep(context: &mut Context<'_>, import: Import<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let id = import.id;
    let made = context.vault.import(context.unit, &context.grants, import).await?;
    context.is_about(&made.header);
    *context.placeholder = Some(made.header.id);
    ImportResponse { unique_identifier: id }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

/// What comes wrapped is to be kept as it came, unless Not Wrapped is asked for; and so nothing is kept here.
fn must_be_unwrapped(asked: Option<KeyWrapType>, object: &ManagedObject<'_>) -> Result<(), Failure> {
    let comes_wrapped = object.key_block().is_some_and(|block| block.key_wrapping_data.is_some());
    match asked {
        Some(KeyWrapType::NotWrapped) => Ok(()),
        None | Some(KeyWrapType::AsRegistered) if !comes_wrapped => Ok(()),
        _ => Err(Failure::field("Key Wrap Type: no key is kept wrapped as it came; ask for Not Wrapped, and it is unwrapped")),
    }
}
