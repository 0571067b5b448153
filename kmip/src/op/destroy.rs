//! Destroy, 4.21.

use keys::policy::verb;

use crate::context::Context;
use crate::failure::Failure;
use crate::payload::{DestroyRequest, DestroyResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::Writer;

pub(super) async fn run(context: &mut Context<'_>, request: DestroyRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Destroy>(request.unique_identifier).await?;
    let header = context.vault.destroy(context.unit, named.authorized).await?;
    context.is_about(&header);
    DestroyResponse { unique_identifier: &named.text }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}
