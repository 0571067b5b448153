//! Get Usage Allocation, 4.18: a part of a key's Usage Limits for a client that protects data itself.

use keys::policy::verb;

use crate::context::Context;
use crate::failure::Failure;
use crate::payload::{GetUsageAllocationRequest, GetUsageAllocationResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::Writer;

pub(super) async fn run(context: &mut Context<'_>, request: GetUsageAllocationRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::GetUsageAllocation>(request.unique_identifier).await?;
    let units = u64::try_from(request.usage_limits_count).ok().filter(|units| *units > 0);
    let units = units.ok_or_else(|| Failure::field("Usage Limits Count: a number of units above 0"))?;
    context.vault.allocate(context.unit, named.authorized, units).await?;
    GetUsageAllocationResponse { unique_identifier: &named.text }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}
