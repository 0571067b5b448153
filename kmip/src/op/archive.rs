//! Archive and Recover, 4.22 and 4.23.

use keys::policy::verb;

use crate::context::Context;
use crate::failure::Failure;
use crate::payload::{ArchiveRequest, ArchiveResponse, RecoverRequest, RecoverResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::Writer;

pub(super) async fn archive(context: &mut Context<'_>, request: ArchiveRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Archive>(request.unique_identifier).await?;
    let view = context.vault.archive(context.unit, named.authorized).await?;
    context.is_about(&view.header);
    ArchiveResponse { unique_identifier: &named.text }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

pub(super) async fn recover(context: &mut Context<'_>, request: RecoverRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Recover>(request.unique_identifier).await?;
    let view = context.vault.recover(context.unit, named.authorized).await?;
    context.is_about(&view.header);
    *context.placeholder = Some(view.header.id);
    RecoverResponse { unique_identifier: &named.text }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}
