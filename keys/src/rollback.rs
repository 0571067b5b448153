//! Roll-back of an L2.1, the one step backwards that a key may go: an earlier version becomes Active again and the Active one Deprecated, in one unit (C23).
//!
//! Names and links follow as they do when a version is replaced, so whoever follows the links to the replacement comes to the Active version whatever happened
//! before. What lies under the version that was Active is brought under the other one by [re-encryption](crate::reencrypt).

use crate::attributes::{Attributes, Links};
use crate::error::Error;
use crate::lifecycle::Event;
use crate::policy::Authorized;
use crate::policy::verb::RollBack;
use crate::rekey::demoted;
use crate::resource::Resource;
use crate::row::ParentRef;
use crate::unit::Unit;
use crate::vault::{Vault, View};

impl Vault {
    /// Stages that a Deprecated version of an L2.1 takes over again; returns it as it will be.
    ///
    /// # Errors
    /// [`Error::WrongState`] for a version that is Active, archived, compromised or destroyed; [`Error::Raced`]; [`Error::Corrupt`]; the store's.
    pub async fn roll_back(&self, unit: &mut Unit, authorized: Authorized<RollBack>) -> Result<View, Error> {
        let (row, view) = self.row_to_change(unit, &authorized).await?;
        let state = view.state.next(row.header.id.layer, Event::Reactivate)?;
        let resource = self.resource_in(unit, &row.header).await?;
        let (record_row, resource) = resource.ok_or_else(|| Error::corrupt("it is no version of a resource's key", row.header.id))?;
        if resource.key == row.header.id {
            // It took over since it was looked at.
            return Err(Error::Raced);
        }
        let active_row = self.row_in(unit, resource.key).await?;
        let active = self.view_of_row(&active_row).await?;
        let now = self.now();
        self.free_names(unit, &active_row.header, &active.attributes.names).await?;
        self.claim_names(unit, &row.header, &active.attributes.names).await?;

        let mut attributes = Attributes {
            names: active.attributes.names.clone(),
            links: Links { replaced: Some(resource.key), ..Links::default() },
            ..(*view.attributes).clone()
        };
        attributes.dates.deactivation = None;
        attributes.touch(now);
        let mut given_up = demoted(&active, row.header.id, now);
        given_up.dates.deactivation = Some(now);
        let before = active.state.next(active_row.header.id.layer, Event::Deprecate)?;

        let parent = ParentRef { chain: row.header.chain, version: row.header.version };
        let (key, tenant) = (row.header.id, row.header.owner.tenant);
        self.stage_change(unit, active_row, before, given_up).await?;
        let rolled_back = self.stage_change(unit, row, state, attributes).await?;
        self.stage_record(unit, record_row, tenant, &Resource { key, parent, ..resource }).await?;
        Ok(rolled_back)
    }
}
