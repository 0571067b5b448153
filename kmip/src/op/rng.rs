//! RNG Retrieve and RNG Seed, 4.35 and 4.36: random bytes of the system's generator, which takes no client's seed.

use keys::policy::Action;

use crate::context::Context;
use crate::failure::Failure;
use crate::payload::{RngRetrieveRequest, RngSeedRequest, RngSeedResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::Writer;

/// Most random bytes of one answer.
const RANDOM_BYTES_MAX: usize = 64 * 1024;

pub(super) fn retrieve(context: &Context<'_>, request: &RngRetrieveRequest, out: &mut Writer<'_>) -> Result<(), Failure> {
    context.grants.check_plain(Action::RngRetrieve, None)?;
    let bytes = usize::try_from(request.data_length).ok().filter(|bytes| (1..=RANDOM_BYTES_MAX).contains(bytes));
    let bytes = bytes.ok_or_else(|| Failure::field(format!("Data Length: 1 to {RANDOM_BYTES_MAX} bytes at a time")))?;
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.bytes_with(Tag::DATA, |out| {
        let begin = out.len();
        out.resize(begin + bytes, 0);
        context.vault.random(&mut out[begin..])
    })?;
    out.close(payload);
    Ok(())
}

/// The seed is not used, which 4.36 allows: what one client could add another could have chosen.
pub(super) fn seed(context: &Context<'_>, _request: &RngSeedRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    context.grants.check_plain(Action::RngSeed, None)?;
    RngSeedResponse { data_length: 0 }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}
