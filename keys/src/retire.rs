//! Retirement of a key's version by its tenant-admin: archived, it refuses every use, and never comes back (SECURITY C23).
//!
//! That nothing lies under a version of an L2 or L2.1 any more is found by a look at all keys; what lies under one of an L3 is at the edges.
//! Only versions of a service's default chain wrap edges' object keys, so only these wait for edges. What clients have encrypted directly under a
//! version is not known to anybody and becomes unreadable: that is why nothing retires an L3 by itself.

use crate::edges::EdgeGroup;
use crate::error::Error;
use crate::id::{Layer, RowId};
use crate::lifecycle::{Event, State};
use crate::policy::Authorized;
use crate::policy::verb::{Destroy, RetireKey};
use crate::port::Query;
use crate::references::{Holding, Why};
use crate::row::Header;
use crate::unit::Unit;
use crate::uses::Unused;
use crate::vault::{Vault, View};

/// Edge groups of one page.
const PAGE_GROUPS: usize = 64;

/// Why a version of an L3 is not retired, or not destroyed.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// Edges may have objects under it.
    #[error("{}", told(groups))]
    Held {
        /// Which ones; not empty.
        groups: Vec<Holding>,
    },
    /// The key, or its store.
    #[error(transparent)]
    Keys(#[from] Error),
}

impl Vault {
    /// Stages that a Deprecated version of an L3 is archived, if every enrolled edge group of its tenant has left it; returns the key as it will be.
    ///
    /// # Errors
    /// [`RetireError::Held`] names the groups that have not, or have not said so since this core was unsealed; [`Error::WrongState`] unless it is
    /// Deprecated; [`Error::Raced`]; [`Error::Corrupt`]; the store's.
    pub async fn retire_key(&self, unit: &mut Unit, authorized: Authorized<RetireKey>) -> Result<View, RetireError> {
        let (row, view) = self.row_to_change(unit, &authorized).await?;
        let state = retired(view.state, row.header.id.layer)?;
        if self.default_of(unit, &row.header).await?.is_some() {
            return Err(Error::Denied { why: "this is the Active version of the service's default key: replace it by ReKey first" }.into());
        }
        let groups = self.holding(&row.header).await?;
        if !groups.is_empty() {
            return Err(RetireError::Held { groups });
        }
        let mut attributes = (*view.attributes).clone();
        attributes.touch(self.now());
        Ok(self.stage_change(unit, row, state, attributes).await?)
    }

    /// Stages that a Deprecated version of an L2 or L2.1 is archived; returns it as it will be.
    ///
    /// - `unused`: no key lies under it.
    ///
    /// # Errors
    /// [`Error::WrongState`] unless it is Deprecated; [`Error::Raced`] if it has changed since it was authorized, or since the look.
    pub async fn retire_parent(&self, unit: &mut Unit, authorized: Authorized<RetireKey>, unused: Unused) -> Result<View, Error> {
        let (row, view) = self.row_to_change(unit, &authorized).await?;
        let state = retired(view.state, row.header.id.layer)?;
        unused.must_be_of(&row.header)?;
        let mut attributes = (*view.attributes).clone();
        attributes.touch(self.now());
        self.stage_change(unit, row, state, attributes).await
    }

    /// Stages the end of a Compromised version of an L2 or L2.1, which is not archived before: material gone, a tombstone left; returns it as it will be.
    ///
    /// - `unused`: no key lies under it.
    ///
    /// # Errors
    /// [`Error::WrongState`] unless it is Compromised; [`Error::Raced`] if it has changed since it was authorized, or since the look.
    pub async fn destroy_compromised(&self, unit: &mut Unit, authorized: Authorized<Destroy>, unused: Unused) -> Result<View, Error> {
        let (row, view) = self.row_to_change(unit, &authorized).await?;
        if view.state != State::Compromised {
            return Err(Error::WrongState { is: view.state, wants: "a Compromised version; a Deprecated one is retired first" });
        }
        let state = view.state.next(row.header.id.layer, Event::Destroy)?;
        unused.must_be_of(&row.header)?;
        self.destroy_row(unit, row, view, state).await
    }

    /// As [`Vault::destroy_seen`], of an L3 only if every enrolled edge group of its tenant has left it: an archived one was left before.
    ///
    /// KMIP's Destroy asks no edge: it is how a tenant loses on purpose what edges have under a version.
    ///
    /// # Errors
    /// As [`Vault::destroy_seen`]; [`RetireError::Held`].
    pub async fn destroy_left(&self, unit: &mut Unit, authorized: Authorized<Destroy>) -> Result<View, RetireError> {
        let (row, view) = self.row_to_change(unit, &authorized).await?;
        let layer = row.header.id.layer;
        view.state.next(layer, Event::Destroy).map_err(Error::from)?;
        if layer == Layer::L3 && view.state != State::Retired {
            let groups = self.holding(&row.header).await?;
            if !groups.is_empty() {
                return Err(RetireError::Held { groups });
            }
        }
        Ok(self.destroy_seen(unit, authorized).await?)
    }

    /// The enrolled edge groups that may have objects under an L3 version.
    async fn holding(&self, key: &Header) -> Result<Vec<Holding>, Error> {
        let service = self.service(key.owner.service.ok_or(Error::NotFound)?).await?;
        if self.shelf.existing(service.default_key).await?.header.chain != key.chain {
            return Ok(Vec::new());
        }
        let mut holding = Vec::new();
        let mut before: Option<RowId> = None;
        loop {
            let query = Query { layer: Layer::EdgeGroup, terms: Vec::new(), before, limit: PAGE_GROUPS };
            let page = self.shelf.store.find(&query).await?;
            for hint in &page {
                // One that does not verify may be of this tenant.
                let group: EdgeGroup = self.content(&self.shelf.existing(hint.header.id).await?).await?;
                if !group.is_revoked && group.tenants.contains(&key.owner.tenant) {
                    holding.extend(self.reported.holds(&group, key.id));
                }
            }
            match page.last().filter(|_| page.len() == PAGE_GROUPS) {
                Some(row) => before = Some(row.header.id),
                None => return Ok(holding),
            }
        }
    }
}

/// The state of a version that is archived.
///
/// # Errors
/// [`Error::WrongState`] says what to do with one that is not Deprecated.
pub(crate) fn retired(is: State, layer: Layer) -> Result<State, Error> {
    is.next(layer, Event::Retire).map_err(|_| Error::WrongState { is, wants: wants(is, layer) })
}

/// What is to be done about a version that cannot be archived.
fn wants(is: State, layer: Layer) -> &'static str {
    match (is, layer) {
        (State::Retired, _) => "a Deprecated version: this one is archived already",
        (State::Destroyed | State::DestroyedCompromised, _) => "a Deprecated version: of this one there is nothing left to archive",
        (State::Compromised, Layer::Ivk) => {
            "a Deprecated version: a Compromised one is not archived, but removed by `strongroom ivk destroy` once no key lies under it"
        }
        (State::Compromised, Layer::L2 | Layer::L21) => {
            "a Deprecated version: a Compromised one is not archived, but removed by `strongroom key destroy` once no key lies under it"
        }
        (State::Compromised, _) => {
            "a Deprecated version: a Compromised one is not archived, but removed by `strongroom key destroy` once edges have left it"
        }
        (_, Layer::Ivk) => "a Deprecated version: `strongroom ivk rotate` replaces an Active one",
        _ => "a Deprecated version: `strongroom key rotate` replaces an Active one",
    }
}

fn told(groups: &[Holding]) -> String {
    let told: Vec<String> = groups.iter().map(told_one).collect();
    format!(
        "edges may have objects under it: {}. They say so with each renewal of their lease, and again after this core was unsealed",
        told.join("; ")
    )
}

fn told_one(Holding { group, edge, why }: &Holding) -> String {
    let key = edge.map_or_else(String::new, |edge| format!(" --key {edge:x}"));
    let edge = edge.map_or_else(|| "an edge of it".to_owned(), |edge| format!("its edge {edge}"));
    let why = match why {
        Why::Silent => format!(
            "{edge} has not reported: start it; if it is gone for good, an operator gives it up by `strongroom edge revoke {group}{key}`"
        ),
        Why::NotWalked => format!("{edge} has not looked through its objects since it was opened: see `strongroom reencrypt status` there"),
        Why::Refers => {
            format!("{edge} has objects under it, or has not looked since it was replaced: see `strongroom reencrypt status` there")
        }
        Why::Damaged { rows } => format!("{edge} has {rows} objects that do not verify: `strongroom status` there says what to do"),
    };
    format!("group {group} ({why})")
}
