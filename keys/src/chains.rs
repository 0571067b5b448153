//! Chains of key versions as evidence shows them: which version protects, when it was made, and what has become of the others.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::id::{ChainId, KeyVersion, Layer, RowId, ScopeName, TenantId, Time};
use crate::lifecycle::State;
use crate::port::Query;
use crate::row::Term;
use crate::sweep::Finding;
use crate::tenancy::{Service, Tenant, tenant_row};
use crate::vault::{Vault, View};

/// Most records that one page looks at.
pub const CHAINS_MAX: usize = 1000;
/// Most versions of one chain that are looked at: the Active one and its neighbours.
pub const CHAIN_VERSIONS_MAX: usize = 256;

/// What is walked, in this order: the records of tenants (for their L2), L2.1, the records of services (for their default L3).
const LAYERS: [Layer; 3] = [Layer::Tenant, Layer::L21, Layer::Service];

/// Which chains are wanted.
#[derive(Debug, Clone)]
pub struct ChainsWanted {
    /// Of this tenant only.
    pub tenant: Option<TenantId>,
    /// What stood in [`ChainPage::next`] of the page before.
    pub after: Option<ChainCursor>,
    /// At most so many records are looked at, and [`CHAINS_MAX`].
    pub limit: usize,
}

/// The record that a page ended with: `tenant-`, `l21-` or `service-` and its UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainCursor(RowId);

/// Chains of tenants and services, by layer, newest first.
#[derive(Debug, Default)]
pub struct ChainPage {
    /// Those whose records verify.
    pub chains: Vec<ChainStatus>,
    /// Records that do not.
    pub refused: Vec<Finding>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<ChainCursor>,
}

/// One chain.
#[derive(Debug, Clone)]
pub struct ChainStatus {
    /// L2, L2.1 or L3.
    pub layer: Layer,
    /// The chain.
    pub chain: ChainId,
    /// Its tenant's name.
    pub tenant: ScopeName,
    /// Its service's name, of an L3.
    pub service: Option<ScopeName>,
    /// The version that the tenant's or service's record names.
    pub active: VersionStatus,
    /// The others, at most [`CHAIN_VERSIONS_MAX`] with it.
    pub others: Vec<VersionStatus>,
}

/// One version of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionStatus {
    /// Its identifier.
    pub id: RowId,
    /// Its number.
    pub version: KeyVersion,
    /// Its state now, by its dates.
    pub state: State,
    /// When it was made.
    pub created: Time,
    /// When it became the Active one, if it is that.
    pub since: Time,
}

impl fmt::Display for ChainCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", prefix(self.0.layer), self.0.uuid)
    }
}

/// A text is not where a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotACursor;

impl FromStr for ChainCursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let layer = LAYERS.into_iter().find(|layer| text.split('-').next() == Some(prefix(*layer))).ok_or(NotACursor)?;
        let uuid = text.split_once('-').and_then(|(_, uuid)| uuid.parse().ok()).ok_or(NotACursor)?;
        Some(Self(RowId::new(layer, uuid))).filter(|cursor| cursor.to_string() == text).ok_or(NotACursor)
    }
}

fn prefix(layer: Layer) -> &'static str {
    match layer {
        Layer::Tenant => "tenant",
        Layer::L21 => "l21",
        _ => "service",
    }
}

impl Vault {
    /// A page of chains with an Active version: the L2 of each tenant, every L2.1, the default L3 of each service.
    ///
    /// # Errors
    /// The store's. A record that does not verify is no error: it is named.
    pub async fn chains(&self, wanted: &ChainsWanted) -> Result<ChainPage, Error> {
        let limit = wanted.limit.clamp(1, CHAINS_MAX);
        let after = wanted.after.map(|ChainCursor(row)| row);
        let terms: Vec<Term> = wanted.tenant.iter().map(|tenant| self.shelf.registry.integrity().terms.tenant(*tenant)).collect();
        let (mut page, mut looked, mut names) = (ChainPage::default(), 0, BTreeMap::new());
        for layer in LAYERS.into_iter().skip_while(|layer| after.is_some_and(|after| after.layer != *layer)) {
            let before = after.filter(|after| after.layer == layer);
            let rows: Vec<RowId> = match (layer, wanted.tenant) {
                (Layer::Tenant, Some(tenant)) => Some(tenant_row(tenant)).filter(|_| before.is_none()).into_iter().collect(),
                _ => {
                    let query = Query { layer, terms: terms.clone(), before, limit: limit - looked };
                    self.shelf.store.find(&query).await?.iter().map(|hint| hint.header.id).collect()
                }
            };
            for id in &rows {
                match self.chain_of(*id, wanted.tenant, &mut names).await {
                    Ok(chain) => page.chains.extend(chain),
                    Err(Error::Corrupt { what, .. }) => page.refused.push(Finding { row: *id, what }),
                    Err(Error::NotFound) => {
                        page.refused.push(Finding { row: *id, what: "the keystore has lost the key that it names".to_owned() });
                    }
                    Err(error) => return Err(error),
                }
            }
            looked += rows.len();
            if looked >= limit {
                page.next = rows.last().copied().map(ChainCursor);
                break;
            }
        }
        Ok(page)
    }

    /// The chain that a record stands for; `None` if it stands for none that is wanted.
    async fn chain_of(
        &self,
        id: RowId,
        tenant: Option<TenantId>,
        names: &mut BTreeMap<TenantId, ScopeName>,
    ) -> Result<Option<ChainStatus>, Error> {
        let Some(row) = self.shelf.row(id).await? else { return Ok(None) };
        let (layer, key, owner, service) = match id.layer {
            Layer::Tenant => {
                let tenant: Tenant = self.content(&row).await?;
                names.insert(tenant.id, tenant.name);
                (Layer::L2, tenant.key, tenant.id, None)
            }
            Layer::Service => {
                let service: Service = self.content(&row).await?;
                (Layer::L3, service.default_key, service.tenant, Some(service.name))
            }
            _ if row.header.state == State::Active => (Layer::L21, id, row.header.owner.tenant, None),
            _ => return Ok(None),
        };
        // What a search returns is only a hint.
        if tenant.is_some_and(|tenant| tenant != owner) {
            return Ok(None);
        }
        let name = match names.get(&owner) {
            Some(name) => name.clone(),
            None => names.entry(owner).or_insert(self.tenant(owner).await?.name).clone(),
        };
        let view = self.view_of_row(&self.shelf.existing(key).await?).await?;
        let others = self.neighbours(&view).await?;
        Ok(Some(ChainStatus { layer, chain: view.header.chain, tenant: name, service, active: version_status(&view), others }))
    }

    /// The versions that a version's links lead to, the older ones first.
    async fn neighbours(&self, active: &View) -> Result<Vec<VersionStatus>, Error> {
        let mut found = Vec::new();
        for is_older in [true, false] {
            let step = |view: &View| if is_older { view.attributes.links.replaced } else { view.attributes.links.replacement };
            let mut next = step(active);
            while let Some(id) = next.filter(|_| found.len() + 1 < CHAIN_VERSIONS_MAX) {
                let Some(row) = self.shelf.row(id).await? else { break };
                let view = self.view_of_row(&row).await?;
                next = step(&view);
                found.push(version_status(&view));
            }
        }
        Ok(found)
    }
}

fn version_status(view: &View) -> VersionStatus {
    let View { header, state, attributes } = view;
    VersionStatus { id: header.id, version: header.version, state: *state, created: attributes.dates.initial, since: view.in_force_since() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_as_it_was_written_and_nothing_else_does() {
        let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
        for text in [format!("tenant-{uuid}"), format!("l21-{uuid}"), format!("service-{uuid}")] {
            assert_eq!(text.parse::<ChainCursor>().expect("it is one").to_string(), text);
        }
        for text in ["", "tenant", "tenant-", "l21-x", uuid, &format!("L3-{uuid}"), &format!("tenant-{}", uuid.to_uppercase())] {
            assert_eq!(text.parse::<ChainCursor>(), Err(NotACursor), "{text}");
        }
    }
}
