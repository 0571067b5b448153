//! Discover Versions, 4.26.

use keys::policy::Action;

use crate::context::Context;
use crate::failure::Failure;
use crate::payload::{DiscoverVersionsRequest, DiscoverVersionsResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::Writer;
use crate::version::{ProtocolVersion, VersionNumber};

pub(super) fn run(context: &Context<'_>, request: &DiscoverVersionsRequest, out: &mut Writer<'_>) -> Result<(), Failure> {
    context.grants.check_plain(Action::DiscoverVersions, None)?;
    let asked = |version: &VersionNumber| request.versions.is_empty() || request.versions.contains(version);
    let versions = ProtocolVersion::ALL.into_iter().map(VersionNumber::from).filter(asked).collect();
    DiscoverVersionsResponse { versions }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}
