//! Obtain Lease, 4.17: for how long a client may go by what it knows of an object, and when that changed last.

use keys::policy::verb;

use crate::context::Context;
use crate::failure::Failure;
use crate::payload::{ObtainLeaseRequest, ObtainLeaseResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::{DateTime, Interval, Writer};
use crate::view::LEASE;

pub(super) async fn run(context: &mut Context<'_>, request: ObtainLeaseRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::ObtainLease>(request.unique_identifier).await?;
    let view = context.vault.attributes(context.unit, named.authorized).await?;
    let lease_time = lease(&view)?;
    let last_change_date = DateTime(view.attributes.dates.last_change.seconds());
    ObtainLeaseResponse { unique_identifier: &named.text, lease_time, last_change_date }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

/// There is none for what nobody is to use any more.
fn lease(view: &keys::vault::View) -> Result<Interval, Failure> {
    use keys::lifecycle::State;
    if crate::templates::is_one(&view.header) {
        return Err(keys::Error::Denied { why: "a Template is no cryptographic object: there is no lease of it" }.into());
    }
    match view.state {
        State::PreActive | State::Active | State::Deprecated => Ok(LEASE),
        State::Retired | State::Compromised | State::Destroyed | State::DestroyedCompromised => {
            let wants = "Pre-Active, Active or Deactivated";
            Err(keys::Error::WrongState { is: view.state, wants }.into())
        }
    }
}
