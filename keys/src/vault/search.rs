//! The search for objects by what they carry.

use std::sync::Arc;

use super::{Vault, View, Want};
use crate::cache::Entry;
use crate::error::Error;
use crate::id::{Layer, RowId};
use crate::policy::{Grants, Role};
use crate::port::{Change, Query, Scope};
use crate::row::{Row, Term};
use crate::unit::Unit;

/// Most rows that one search looks at above the store; further ones are not found, and the answer says how many were.
pub const SEARCHED_ROWS_MAX: usize = 10_000;
const SEARCH_PAGE_ROWS: usize = 256;

impl Vault {
    /// The principal's objects of `layer` that carry all `terms` and pass `keep`, as this unit sees them, newest first.
    ///
    /// Looks at no more than [`SEARCHED_ROWS_MAX`] rows. Rows that do not verify are left out, and those of a tenant's services that may not be
    /// served: they are refused by name when asked for.
    ///
    /// # Errors
    /// The store's.
    pub async fn find(
        &self,
        unit: &Unit,
        grants: &Grants,
        layer: Layer,
        mut terms: Vec<Term>,
        keep: impl Fn(&View) -> bool,
    ) -> Result<Vec<RowId>, Error> {
        let Some(tenant) = grants.tenant() else { return Ok(Vec::new()) };
        let maker = &self.shelf.registry.integrity().terms;
        match (grants.role(), grants.service()) {
            (Role::Service, Some(service)) => terms.push(maker.service(tenant, service)),
            (Role::TenantAdmin, _) => terms.push(maker.tenant(tenant)),
            _ => return Ok(Vec::new()),
        }
        let fits = |view: &View| grants.owns(&view.header.owner) && keep(view);
        let mut found = Vec::new();
        let staged = unit.changes().filter_map(Change::row).filter(|row| row.header.id.layer == layer);
        for row in staged.filter(|row| terms.iter().all(|term| row.terms.contains(term))) {
            if fits(&self.view(&self.open_row(row, Want::Attributes).await?)) {
                found.push(row.header.id);
            }
        }
        let mut query = Query { layer, terms, before: None, limit: SEARCH_PAGE_ROWS };
        for _ in 0..SEARCHED_ROWS_MAX / SEARCH_PAGE_ROWS {
            let read_after = (self.shelf.seen.forgotten(), self.cache.epoch());
            let page = self.shelf.store.find_for(Scope::Tenant(tenant), &query).await?;
            query.before = page.last().map(|row| row.header.id);
            let last = page.len() < SEARCH_PAGE_ROWS;
            for row in page.iter().filter(|row| unit.staged(row.header.id).is_none()) {
                let entry = match self.entry_of_hint(Scope::Tenant(tenant), row, &query.terms, read_after).await {
                    Ok(Some(entry)) => entry,
                    // Refused by name when it is asked for.
                    Ok(None) | Err(Error::Corrupt { .. }) => continue,
                    // One service that may not be served does not hide the others from their tenant.
                    Err(Error::Withdrawn { .. }) if grants.role() == Role::TenantAdmin => continue,
                    Err(error) => return Err(error),
                };
                if fits(&self.view(&entry)) {
                    found.push(row.header.id);
                }
            }
            if last {
                break;
            }
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        Ok(found)
    }

    /// The entry of a row that a search returned, if it still is what was searched for.
    async fn entry_of_hint(
        &self,
        scope: Scope,
        hint: &Row,
        terms: &[Term],
        (forgotten, epoch): (u64, u64),
    ) -> Result<Option<Arc<Entry>>, Error> {
        let is_sound = self.shelf.registry.check_row(hint).is_ok() && self.shelf.seen.takes_hint(hint, forgotten);
        if is_sound {
            return Ok(Some(self.entry_of_row(hint, Want::Attributes, epoch).await?));
        }
        // Changed between the search and now, or not sound at all: the row itself tells.
        let Some(row) = self.shelf.row_for(scope, hint.header.id).await? else { return Ok(None) };
        if terms.iter().all(|term| row.terms.contains(term)) {
            Ok(Some(self.entry_of_row(&row, Want::Attributes, epoch).await?))
        } else {
            Ok(None)
        }
    }
}
