//! Check, 4.10: whether the client may use a key in some way, and if not, what stands against it.

use keys::id::Layer;
use keys::lifecycle::{Purpose, State};
use keys::policy::verb::{self, UsesMaterial};
use keys::row::Header;
use keys::vault::View;

use crate::context::Context;
use crate::enums::ResultReason;
use crate::failure::Failure;
use crate::mask::CryptographicUsageMask as Mask;
use crate::payload::{CheckRequest, CheckResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::{Interval, Writer};
use crate::view::LEASE;

pub(super) async fn run(context: &mut Context<'_>, request: CheckRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Check>(request.unique_identifier).await?;
    let view = context.vault.attributes(context.unit, named.authorized).await?;
    if view.state == State::Retired {
        return Err(Failure::archived());
    }
    if view.state.is_destroyed() {
        return Err(Failure::invalid(ResultReason::IllegalOperation, "the key is destroyed: there is nothing to use"));
    }
    if request.usage_limits_count.is_some_and(|count| count < 0) {
        return Err(Failure::field("Usage Limits Count: it is not negative"));
    }
    let allowed = allowed(context, &named.header, &view);
    let left = match &view.attributes.usage_limits {
        Some(limits) => context.vault.usage_left(named.header.id, limits).await?,
        None => u64::MAX,
    };
    let leases = if named.header.id.layer == Layer::L4 { LEASE } else { Interval(0) };
    let against = CheckResponse {
        usage_limits_count: request.usage_limits_count.filter(|count| u64::try_from(*count).is_ok_and(|count| count > left)),
        cryptographic_usage_mask: request.cryptographic_usage_mask.filter(|wanted| !allowed.has(*wanted)),
        // A core grants no leases.
        lease_time: request.lease_time.filter(|lease| lease.0 > leases.0),
        ..CheckResponse::default()
    };
    if against != CheckResponse::default() {
        let mut payload = vec![];
        against.encode(Tag::RESPONSE_PAYLOAD, &mut Writer::new(&mut payload, out.version()));
        let denied = Failure::from(keys::Error::Denied { why: "the key may not be used so; the answer names what stands against it" });
        return Err(Failure { payload: Some(payload), ..denied });
    }
    CheckResponse { unique_identifier: Some(&named.text), ..CheckResponse::default() }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

/// What this client may do with the key now: by the policy table, the key's own mask, its state and its dates.
fn allowed(context: &Context<'_>, header: &Header, view: &View) -> Mask {
    let may = |purpose: Purpose| view.state.allows(purpose) && view.attributes.dates.window_allows(purpose, context.vault.now());
    // An edge's key that does something else neither wraps nor unwraps; a core has none of that kind.
    let wraps = header.id.layer != Layer::L4 || view.attributes.is_for_keys_alone();
    let uses = [
        (Mask::ENCRYPT, context.grants.check::<verb::Encrypt>(header).is_ok() && may(verb::Encrypt::PURPOSE)),
        (Mask::DECRYPT, context.grants.check::<verb::Decrypt>(header).is_ok() && may(verb::Decrypt::PURPOSE)),
        (Mask::SIGN, context.grants.check::<verb::Sign>(header).is_ok() && may(verb::Sign::PURPOSE)),
        (Mask::VERIFY, context.grants.check::<verb::SignatureVerify>(header).is_ok() && may(verb::SignatureVerify::PURPOSE)),
        (Mask::DERIVE_KEY, context.grants.check::<verb::DeriveKey>(header).is_ok() && may(verb::DeriveKey::PURPOSE)),
        (Mask::MAC_GENERATE, context.grants.check::<verb::Mac>(header).is_ok() && may(verb::Mac::PURPOSE)),
        (Mask::MAC_VERIFY, context.grants.check::<verb::MacVerify>(header).is_ok() && may(verb::MacVerify::PURPOSE)),
        (Mask::WRAP_KEY, context.grants.check::<verb::WrapWith>(header).is_ok() && may(Purpose::Protect) && wraps),
        (Mask::UNWRAP_KEY, context.grants.check::<verb::UnwrapWith>(header).is_ok() && may(Purpose::Process) && wraps),
    ];
    let own = Mask(view.attributes.usage_mask.cast_signed());
    let bits = uses.into_iter().filter(|(bit, is_allowed)| *is_allowed && own.has(*bit));
    bits.fold(Mask(0), |mask, (bit, _)| mask.with(bit))
}
