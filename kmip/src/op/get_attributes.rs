//! Get Attributes, 4.12.

use keys::id::Layer;
use keys::policy::verb;

use crate::context::Context;
use crate::error::Error;
use crate::failure::Failure;
use crate::payload::{GetAttributesRequest, GetAttributesResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::Writer;
use crate::view::{self, Surroundings};

const RNG: &str = "Random Number Generator";

/// Names that the object or the version does not have are no error: they are not in the answer.
pub(super) async fn run(context: &mut Context<'_>, request: GetAttributesRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::GetAttributes>(request.unique_identifier).await?;
    let names = &request.attribute_names;
    if names.iter().enumerate().any(|(index, name)| names[..index].contains(name)) {
        return Err(Error::Duplicate { offset: 0, field: Tag::ATTRIBUTE_NAME.name() }.into());
    }
    // Where an object stands (`y-`), and with what a core made it, is told only to who asks for it by name: PyKMIP gives up on a whole answer that has
    // a custom attribute or Random Number Generator. The published cases want the latter of an edge.
    let is_unread = |name: &str| name.starts_with("y-") || name == RNG && named.header.id.layer != Layer::L4;
    let wanted = |name: &str| if names.is_empty() { !is_unread(name) } else { names.contains(&name) };
    let object = context.vault.attributes(context.unit, named.authorized).await?;
    let around = Surroundings::of(context, &object, wanted).await?;
    let attributes = view::attributes(&object, &around, wanted);
    GetAttributesResponse { unique_identifier: &named.text, attributes }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}
