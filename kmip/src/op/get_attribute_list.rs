//! Get Attribute List, 4.13.

use keys::policy::verb;

use crate::context::Context;
use crate::failure::Failure;
use crate::payload::{GetAttributeListRequest, GetAttributeListResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::Writer;
use crate::view::{self, Surroundings};

pub(super) async fn run(context: &mut Context<'_>, request: GetAttributeListRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::GetAttributeList>(request.unique_identifier).await?;
    let object = context.vault.attributes(context.unit, named.authorized).await?;
    let around = Surroundings::of(context, &object, |_| true).await?;
    let mut attributes = view::attributes(&object, &around, |_| true);
    attributes.retain(|attribute| attribute.legal_in(out.version()));
    let mut attribute_names: Vec<&str> = attributes.iter().map(|attribute| attribute.value.name()).collect();
    attribute_names.dedup();
    GetAttributeListResponse { unique_identifier: &named.text, attribute_names }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}
