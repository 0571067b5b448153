//! Keys as who runs, audits or governs them may see them: headers, page by page or one, and which key version wraps each.

use std::collections::HashMap;

use crate::error::Error;
use crate::id::{ChainId, KeyVersion, Layer, RowId, ScopeName, ServiceId, TenantId, Time};
use crate::lifecycle::State;
use crate::policy::{Action, Grants, Role};
use crate::port::Query;
use crate::row::{Header, Owner, ParentRef, Row, Term};
use crate::vault::{Vault, View};

/// Most keys on one page.
pub const LISTED_KEYS_MAX: usize = 1000;

/// Which keys are wanted.
#[derive(Debug, Clone)]
pub struct KeyFilter {
    /// Of this tenant only; a tenant-admin gets its own in any case.
    pub tenant: Option<TenantId>,
    /// Of this service of the tenant only.
    pub service: Option<ServiceId>,
    /// L2, L2.1 or L3.
    pub layer: Layer,
    /// What stood in [`KeyPage::next`] of the page before.
    pub before: Option<RowId>,
    /// At most so many, and [`LISTED_KEYS_MAX`].
    pub limit: usize,
}

/// Keys, newest first.
#[derive(Debug, Clone)]
pub struct KeyPage {
    /// Those that verify.
    pub keys: Vec<ListedKey>,
    /// Those that do not, by name.
    pub refused: Vec<RowId>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<RowId>,
}

/// One key version.
#[derive(Debug, Clone)]
pub struct ListedKey {
    /// Its visible header.
    pub header: Header,
    /// Its state now, by the dates.
    pub state: State,
    /// When it was made.
    pub created: Time,
    /// Name of its tenant; `None` if the tenant's record does not verify.
    pub tenant: Option<ScopeName>,
    /// Name of its service, if it is a service's and the service's record verifies.
    pub service: Option<ScopeName>,
    /// Name of the resource that it is the L2.1 of, or lies under as an L3, if that one's record verifies.
    pub resource: Option<ScopeName>,
    /// Its names, for its tenant-admin only.
    pub names: Option<Vec<String>>,
    /// What wraps it.
    pub wrapped_by: WrappedBy,
}

/// The key version that wraps another. Until that is destroyed, copies of the wrapped one that a store, its log or a backup still holds can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrappedBy {
    /// The version's own id; `None` for an IVK, which is known by its number.
    pub id: Option<RowId>,
    /// Its number in its chain.
    pub version: KeyVersion,
}

/// What many keys of a page have in common, looked up once.
#[derive(Default)]
struct Known {
    parents: HashMap<ParentRef, WrappedBy>,
    tenants: HashMap<TenantId, Option<ScopeName>>,
    services: HashMap<ServiceId, Option<ScopeName>>,
    resources: HashMap<ChainId, Option<ScopeName>>,
}

impl Vault {
    /// A page of keys. An operator and an auditor see any tenant's, without a name; a tenant-admin its tenant's, with them.
    ///
    /// # Errors
    /// [`Error::Denied`] by role, [`Error::NotFound`] for another tenant; [`Error::Invalid`] for a layer without keys of tenants or a service without
    /// its tenant; the store's.
    pub async fn keys(&self, grants: &Grants, filter: &KeyFilter) -> Result<KeyPage, Error> {
        let (terms, tenant) = self.listed_terms(grants, filter)?;
        let limit = filter.limit.clamp(1, LISTED_KEYS_MAX);
        let hints = self.shelf.store.find(&Query { layer: filter.layer, terms: terms.clone(), before: filter.before, limit }).await?;
        let next = hints.last().filter(|_| hints.len() == limit).map(|row| row.header.id);
        let mut page = KeyPage { keys: Vec::with_capacity(hints.len()), refused: Vec::new(), next };
        let mut known = Known::default();
        // What the store returns is only a hint: each row has to carry the terms itself.
        for (id, owner) in hints.iter().map(|hint| (hint.header.id, hint.header.owner)) {
            match self.listed_key(grants, id, &terms, &mut known).await {
                Ok(Some(key)) => page.keys.push(key),
                Ok(None) => {}
                Err(Error::Corrupt { .. }) if tenant.is_some_and(|tenant| tenant != owner.tenant) => {}
                Err(Error::Corrupt { .. }) => page.refused.push(id),
                Err(error) => return Err(error),
            }
        }
        Ok(page)
    }

    /// One key, for who finds it in the list.
    ///
    /// # Errors
    /// [`Error::Denied`] by role; [`Error::NotFound`] for another tenant's key as for none; [`Error::Corrupt`] if it does not verify; the store's.
    pub async fn key(&self, grants: &Grants, id: RowId) -> Result<ListedKey, Error> {
        grants.check_plain(Action::ListKeys, None)?;
        if !is_listed(id.layer) {
            return Err(Error::NotFound);
        }
        let may_know = |owner: &Owner| grants.check_tenant(Action::ListKeys, owner.tenant).is_ok();
        let row = self.row_for(id, grants, may_know, self.pace.now()).await?;
        self.described(grants, self.view_of_row(&row).await?).await
    }

    /// A key that the caller holds a view of, with what the list says beside.
    ///
    /// # Errors
    /// The store's.
    pub async fn described(&self, grants: &Grants, view: View) -> Result<ListedKey, Error> {
        self.described_by(grants, view, &mut Known::default()).await
    }

    /// What to search for, and whose keys that are; `None` for anybody's.
    fn listed_terms(&self, grants: &Grants, filter: &KeyFilter) -> Result<(Vec<Term>, Option<TenantId>), Error> {
        grants.check_plain(Action::ListKeys, None)?;
        if !is_listed(filter.layer) {
            return Err(Error::invalid("layer", "L2, L2.1 or L3"));
        }
        let own = grants.tenant().filter(|_| grants.role() == Role::TenantAdmin);
        let tenant = filter.tenant.or(own);
        if let Some(tenant) = tenant {
            grants.check_tenant(Action::ListKeys, tenant)?;
        } else if grants.role() == Role::TenantAdmin {
            return Err(Error::NotFound);
        }
        let maker = &self.shelf.registry.integrity().terms;
        let terms = match (tenant, filter.service) {
            (Some(tenant), Some(service)) => vec![maker.service(tenant, service)],
            (Some(tenant), None) => vec![maker.tenant(tenant)],
            (None, None) => Vec::new(),
            (None, Some(_)) => return Err(Error::invalid("service", "name its tenant too")),
        };
        Ok((terms, tenant))
    }

    async fn listed_key(&self, grants: &Grants, id: RowId, terms: &[Term], known: &mut Known) -> Result<Option<ListedKey>, Error> {
        let carries = |row: &Row| terms.iter().all(|term| row.terms.contains(term));
        let Some(row) = self.shelf.row(id).await?.filter(carries) else { return Ok(None) };
        Ok(Some(self.described_by(grants, self.view_of_row(&row).await?, known).await?))
    }

    async fn described_by(&self, grants: &Grants, view: View, known: &mut Known) -> Result<ListedKey, Error> {
        let View { header, state, attributes } = view;
        let names = grants.owns(&header.owner).then(|| attributes.names.iter().map(|name| name.value.clone()).collect());
        let wrapped_by = match known.parents.get(&header.parent) {
            Some(found) => *found,
            None => {
                let found = WrappedBy { id: self.parent_of(&header).await?, version: header.parent.version };
                *known.parents.entry(header.parent).or_insert(found)
            }
        };
        let tenant = match known.tenants.get(&header.owner.tenant) {
            Some(found) => found.clone(),
            None => {
                let found = verified(self.tenant(header.owner.tenant).await)?.map(|tenant| tenant.name);
                known.tenants.entry(header.owner.tenant).or_insert(found).clone()
            }
        };
        let service = match header.owner.service {
            None => None,
            Some(id) => match known.services.get(&id) {
                Some(found) => found.clone(),
                None => {
                    let found = verified(self.service(id).await)?.map(|service| service.name);
                    known.services.entry(id).or_insert(found).clone()
                }
            },
        };
        let chain = if header.id.layer == Layer::L21 { header.chain } else { header.parent.chain };
        let resource = match known.resources.get(&chain) {
            Some(found) => found.clone(),
            None => {
                let found = verified(self.resource(chain).await)?.flatten().map(|resource| resource.name);
                known.resources.entry(chain).or_insert(found).clone()
            }
        };
        Ok(ListedKey { created: attributes.dates.initial, header, state, tenant, service, resource, names, wrapped_by })
    }
}

fn is_listed(layer: Layer) -> bool {
    matches!(layer, Layer::L2 | Layer::L21 | Layer::L3)
}

/// A record that is damaged or gone does not keep its keys from being shown.
fn verified<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(record) => Ok(Some(record)),
        Err(Error::Corrupt { .. } | Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
