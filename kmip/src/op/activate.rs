//! Activate, 4.19.

use keys::lifecycle::Event;
use keys::policy::verb;

use crate::context::Context;
use crate::failure::Failure;
use crate::payload::{ActivateRequest, ActivateResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::templates;
use crate::ttlv::Writer;

pub(super) async fn run(context: &mut Context<'_>, request: ActivateRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Activate>(request.unique_identifier).await?;
    templates::must_be_none(&named.header, "activated")?;
    let activate = |attributes: &mut keys::attributes::Attributes, now| attributes.dates.activation = Some(now);
    let header = context.vault.change(context.unit, named.authorized, Event::Activate, activate).await?;
    context.is_about(&header);
    ActivateResponse { unique_identifier: &named.text }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}
