//! Revoke, 4.20.

use keys::attributes::Revocation;
use keys::policy::verb;

use crate::context::Context;
use crate::enums::RevocationReasonCode;
use crate::failure::Failure;
use crate::instance;
use crate::payload::{RevokeRequest, RevokeResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::templates;
use crate::ttlv::Writer;

pub(super) async fn run(context: &mut Context<'_>, request: RevokeRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Revoke>(request.unique_identifier).await?;
    templates::must_be_none(&named.header, "revoked")?;
    let code = request.revocation_reason.code.ok_or_else(|| Failure::missing("Revocation Reason Code is missing"))?;
    if matches!(code, RevocationReasonCode::Extension(_)) {
        return Err(Failure::field("Revocation Reason Code: there is no such reason"));
    }
    let revocation = Revocation { code: code.number(), message: request.revocation_reason.message.map(ToOwned::to_owned) };
    // With any other reason the date means nothing, yet clients send one (Percona: 0), so it is passed over.
    let occurred = request.compromise_occurrence_date.filter(|_| revocation.is_compromise());
    let occurred = occurred.map(|date| instance::time("Compromise Occurrence Date", date)).transpose()?;
    let revoked = context.vault.revoke(context.unit, named.authorized, revocation, occurred).await?;
    context.is_about(&revoked.header);
    RevokeResponse { unique_identifier: &named.text }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}
