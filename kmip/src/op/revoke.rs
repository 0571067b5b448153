//! Revoke, 4.20.

use keys::attributes::{Attributes, Revocation};
use keys::id::Time;
use keys::lifecycle::Event;
use keys::policy::verb;

use crate::context::Context;
use crate::enums::RevocationReasonCode;
use crate::failure::Failure;
use crate::instance;
use crate::payload::{RevokeRequest, RevokeResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::Writer;

pub(super) async fn run(context: &mut Context<'_>, request: RevokeRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Revoke>(request.unique_identifier).await?;
    let code = request.revocation_reason.code.ok_or_else(|| Failure::missing("Revocation Reason Code is missing"))?;
    let is_compromise = match code {
        RevocationReasonCode::KeyCompromise | RevocationReasonCode::CaCompromise => true,
        RevocationReasonCode::Unspecified
        | RevocationReasonCode::AffiliationChanged
        | RevocationReasonCode::Superseded
        | RevocationReasonCode::CessationOfOperation
        | RevocationReasonCode::PrivilegeWithdrawn => false,
        RevocationReasonCode::Extension(_) => return Err(Failure::field("Revocation Reason Code: there is no such reason")),
    };
    // With any other reason the date means nothing, yet clients send one (Percona: 0), so it is passed over.
    let occurred = request.compromise_occurrence_date.filter(|_| is_compromise);
    let occurred = occurred.map(|date| instance::time("Compromise Occurrence Date", date)).transpose()?;
    let revocation = Revocation { code: code.number(), message: request.revocation_reason.message.map(ToOwned::to_owned) };
    let event = if is_compromise { Event::Compromise } else { Event::Deprecate };
    let edit = |attributes: &mut Attributes, now: Time| {
        if is_compromise {
            attributes.dates.compromise = Some(now);
            attributes.dates.compromise_occurrence = occurred.or(Some(attributes.dates.initial));
        } else {
            attributes.dates.deactivation = Some(now);
        }
        attributes.revocation = Some(revocation);
    };
    let header = context.vault.change(context.unit, named.authorized, event, edit).await?;
    context.is_about(&header);
    RevokeResponse { unique_identifier: &named.text }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}
