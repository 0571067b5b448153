//! Edits of an object's attributes: what a client may change is its closure's to decide, what only the server sets stays as it is.

use crate::attributes::{Attributes, Name};
use crate::error::Error;
use crate::id::Time;
use crate::lifecycle::{Dates, Purpose, State};
use crate::policy::Authorized;
use crate::policy::verb::Edits;
use crate::rekey::must_stay_in_use;
use crate::unit::Unit;
use crate::vault::{Vault, View};

impl Vault {
    /// Stages an edit of an object's attributes; returns the object as it will be.
    ///
    /// - `edit` gets the present view and the time, and returns the attributes as they shall be. New names are claimed, given up ones are free.
    ///
    /// Dates may move the state forward, never back. What the server alone sets (Digest, Links between versions, usage mask, revocation, the
    /// dates of events) is kept, whatever `edit` returns.
    ///
    /// # Errors
    /// [`Error::WrongState`] for a destroyed or archived object; [`Error::NameTaken`]; [`Error::Invalid`]; [`Error::Denied`] for an end of a service's
    /// default key, and for a Process Start Date that would stop a key which processes; what `edit` returns.
    pub async fn edit<V: Edits, E: From<Error>>(
        &self,
        unit: &mut Unit,
        authorized: Authorized<V>,
        edit: impl FnOnce(&View, Time) -> Result<Attributes, E>,
    ) -> Result<View, E> {
        let (row, view) = self.row_to_change(unit, &authorized).await?;
        if view.state.is_destroyed() {
            return Err(Error::WrongState { is: view.state, wants: "a key that is not destroyed" }.into());
        }
        if view.state == State::Retired {
            return Err(Error::WrongState { is: view.state, wants: "a key that is not archived" }.into());
        }
        let now = self.now();
        let attributes = kept(&view.attributes, edit(&view, now)?, now);
        must_go_on_processing(&view, &attributes.dates, now)?;
        if self.default_of(unit, &row.header).await?.is_some() {
            must_stay_in_use(&attributes.dates, now)?;
        }
        let only_in = |names: &[Name], others: &[Name]| names.iter().filter(|name| !others.contains(name)).cloned().collect::<Vec<_>>();
        // Given up first, so that a name may change its type or its place.
        self.free_names(unit, &row.header, &only_in(&view.attributes.names, &attributes.names)).await?;
        self.claim_names(unit, &row.header, &only_in(&attributes.names, &view.attributes.names)).await?;
        let state = attributes.dates.state_at(view.state, now);
        Ok(self.stage_change(unit, row, state, attributes).await?)
    }
}

/// Data that a key has protected stays readable: no Process Start Date takes that back for a while.
fn must_go_on_processing(view: &View, dates: &Dates, now: Time) -> Result<(), Error> {
    let processes = view.state != State::PreActive && view.attributes.dates.window_allows(Purpose::Process, now);
    if processes && !dates.window_allows(Purpose::Process, now) {
        return Err(Error::Denied { why: "the key is in use already: its Process Start Date cannot lie in the future" });
    }
    Ok(())
}

/// `new` with everything that only the server sets as it was in `old`.
fn kept(old: &Attributes, new: Attributes, now: Time) -> Attributes {
    let Dates { activation, process_start, protect_stop, deactivation, .. } = new.dates;
    Attributes {
        dates: Dates { last_change: now, activation, process_start, protect_stop, deactivation, ..old.dates },
        usage_mask: old.usage_mask,
        revocation: old.revocation.clone(),
        digest: old.digest,
        always_sensitive: old.always_sensitive && new.sensitive,
        never_extractable: old.never_extractable && !new.extractable,
        served: old.served,
        links: old.links,
        archived: old.archived,
        ..new
    }
}
