//! Edge groups at their core: which tenants' keys they may wrap their object keys under, and that wrapping.
//!
//! A group is a service of the reserved tenant `system`, so that it has an L3 of its own, under which its integrity key is wrapped, and a record of the
//! tenants it is enrolled for. Core keeps nothing of an object key: the blob goes back to the edge. Source: SECURITY C1, C6.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use secret::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::budget::RowHeader;
use crate::envelope::ObjectKeyId;
use crate::error::Error;
use crate::id::{Layer, RowId, ScopeName, ServiceId, TenantId};
use crate::lease::{Lease, LeasedKey, LeasedService, LeasedTenant};
use crate::lifecycle::State;
use crate::policy::verb::{UnwrapObjectKey, UsesMaterial, WrapObjectKey};
use crate::policy::{Action, Authorized, Grants, Principal, Role};
use crate::port::{Change, Query};
use crate::record::{Outcome, Record};
use crate::references::{EdgeKey, References};
use crate::row::{Header, Owner, ParentRef};
use crate::tenancy::{LISTED_MAX, Service, Tenant};
use crate::unit::Unit;
use crate::vault::Vault;
use crate::wrap::{ObjectKeyPlace, ParentKey};

/// Bytes of an object key.
pub const OBJECT_KEY_BYTES: usize = 32;
/// How many versions a lease runs after that are made while it is put together.
const CHASED_VERSIONS_MAX: usize = 16;
/// Rows that one look for versions brings.
const LEASE_PAGE_ROWS: usize = 256;
/// Most edges of one group that vouch for clients.
pub const KEYS_MAX: usize = 256;
/// Most tenants of one group.
pub const TENANTS_MAX: usize = 1000;

/// An edge group, as its record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeGroup {
    /// Its id: that of its service of the tenant `system`.
    pub id: ServiceId,
    /// Its name, which the certificates of its edges carry; unique.
    pub name: ScopeName,
    /// The reserved tenant.
    pub system: TenantId,
    /// The Active version of its own L3.
    pub default_key: RowId,
    /// Whose keys its edges may use.
    pub tenants: Vec<TenantId>,
    /// Public halves of the keys by which its edges vouch for clients (C22).
    pub keys: Vec<[u8; 32]>,
    /// Its edges are refused everything.
    pub is_revoked: bool,
}

impl EdgeGroup {
    /// May its edges use this owner's L3?
    pub(crate) fn serves(&self, owner: &Owner) -> bool {
        let is_its_own = owner.tenant == self.system && owner.service == Some(self.id);
        !self.is_revoked && (is_its_own || self.tenants.contains(&owner.tenant) && owner.service.is_some())
    }
}

impl Vault {
    /// Stages a new group, or further tenants of one that is there; either way it is not revoked any more. Needs [`Vault::ensure_system_tenant`] first.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a tenant; [`Error::Invalid`] for too many; the parent's and the store's.
    pub async fn enrol_edges(
        &self,
        unit: &mut Unit,
        name: &ScopeName,
        tenants: &[ScopeName],
        keys: &[[u8; 32]],
    ) -> Result<EdgeGroup, Error> {
        let system = self.tenant_by_name(&ScopeName::system()).await?.ok_or(Error::NotFound)?;
        let before = self.edge_group_row(name).await?;
        let mut group = match &before {
            Some((_, group)) => EdgeGroup { is_revoked: false, ..group.clone() },
            None => {
                let service = self.create_service(unit, &system.name, name).await?;
                let (id, default_key) = (service.id, service.default_key);
                EdgeGroup {
                    id,
                    name: name.clone(),
                    system: system.id,
                    default_key,
                    tenants: Vec::new(),
                    keys: Vec::new(),
                    is_revoked: false,
                }
            }
        };
        for tenant in tenants {
            let tenant = self.tenant_by_name(tenant).await?.filter(|tenant| tenant.id != system.id).ok_or(Error::NotFound)?;
            if !group.tenants.contains(&tenant.id) {
                group.tenants.push(tenant.id);
            }
        }
        for key in keys {
            if !group.keys.contains(key) {
                group.keys.push(*key);
            }
        }
        if group.keys.len() > KEYS_MAX {
            return Err(Error::invalid("keys", format!("at most {KEYS_MAX} a group")));
        }
        if group.tenants.is_empty() || group.tenants.len() > TENANTS_MAX {
            return Err(Error::invalid("tenants", format!("1 to {TENANTS_MAX}")));
        }
        self.stage_group(unit, before.map(|(header, _)| header), &group).await?;
        Ok(group)
    }

    /// Stages that a group's edges are refused everything from now on.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a group; the store's.
    pub async fn revoke_edges(&self, unit: &mut Unit, name: &ScopeName) -> Result<EdgeGroup, Error> {
        let (header, group) = self.edge_group_row(name).await?.ok_or(Error::NotFound)?;
        let group = EdgeGroup { is_revoked: true, ..group };
        self.stage_group(unit, Some(header), &group).await?;
        Ok(group)
    }

    /// Stages that one edge of a group is given up: it speaks for nobody any more, and keys are retired without waiting for it.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a group, or without such a key in it; the store's.
    pub async fn give_up_edge(&self, unit: &mut Unit, name: &ScopeName, edge: EdgeKey) -> Result<EdgeGroup, Error> {
        let (header, mut group) = self.edge_group_row(name).await?.ok_or(Error::NotFound)?;
        let known = group.keys.len();
        group.keys.retain(|key| *key != edge.0);
        if group.keys.len() == known {
            return Err(Error::NotFound);
        }
        // Should it not be committed, the edge tells it again when the core has forgotten; until then it is waited for.
        self.reported.forget(group.id, edge);
        self.stage_group(unit, Some(header), &group).await?;
        Ok(group)
    }

    /// Makes the reserved tenant `system`, unless it is there: in a unit of its own, because what lies under its key needs it stored.
    ///
    /// # Errors
    /// The parent's and the store's.
    pub async fn ensure_system_tenant(&self) -> Result<Tenant, Error> {
        let name = ScopeName::system();
        if let Some(tenant) = self.tenant_by_name(&name).await? {
            return Ok(tenant);
        }
        let mut unit = self.begin(self.system);
        unit.mark_own();
        let made = self.create_tenant(&mut unit, &name).await?;
        let (session, time) = (self.system, self.now());
        let action = Action::CreateTenant;
        unit.record(Record { time, session, action, object: None, version: None, generation: None, outcome: Outcome::Success });
        let _receipt = unit.commit().await?;
        Ok(made)
    }

    /// All groups, newest first, at most [`LISTED_MAX`].
    ///
    /// # Errors
    /// The store's.
    pub async fn edge_groups(&self) -> Result<Vec<EdgeGroup>, Error> {
        self.listed(Query { layer: Layer::EdgeGroup, terms: Vec::new(), before: None, limit: LISTED_MAX }).await
    }

    /// What the group that the client's certificate names may serve.
    ///
    /// # Errors
    /// [`Error::Denied`] for who is no edge of a group that is enrolled; [`Error::Corrupt`]; the store's.
    pub async fn lease(&self, grants: &Grants) -> Result<Lease, Error> {
        grants.check_plain(Action::RenewLease, None)?;
        // Before anything is read, so that what is kept is never taken for newer than it is.
        let epoch = self.lease_epoch.load(Ordering::Acquire);
        let group = self.own_group(grants).await?;
        if let Some(kept) = self.scopes.leases.get(epoch, &group.id) {
            return Ok((*kept).clone());
        }
        let mut tenants = Vec::with_capacity(group.tenants.len());
        for tenant in &group.tenants {
            let Tenant { id, name, is_disabled, .. } = self.tenant(*tenant).await?;
            let mut services = Vec::new();
            for service in self.services(id).await? {
                match self.leased(service).await {
                    Ok(leased) => services.push(leased),
                    // What lies under its key stays shut, and all others are served. The sweep tells of it.
                    Err(Error::Corrupt { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            tenants.push(LeasedTenant { id, name, is_disabled, services });
        }
        let own = self.leased(self.service(group.id).await?).await?;
        let reports = Some(self.reported.memory);
        let lease = Lease { cluster: self.shelf.registry.cluster(), group: own, system: group.system, tenants, reports };
        self.scopes.leases.put(epoch, group.id, Arc::new(lease.clone()));
        Ok(lease)
    }

    /// Remembers which versions an edge says that it has left, until this core is sealed.
    ///
    /// - `edge`: which one. Edges of one group are believed about each other: they hold the same objects' keys.
    ///
    /// # Errors
    /// [`Error::Denied`] for who is no edge of a group that is enrolled; the store's.
    pub async fn take_references(&self, grants: &Grants, edge: EdgeKey, references: References) -> Result<(), Error> {
        grants.check_plain(Action::ReportReferences, None)?;
        let group = self.own_group(grants).await?;
        self.reported.take(group.id, edge, references)
    }

    /// The principal's group, and the keys by which its edges vouch for clients.
    ///
    /// # Errors
    /// [`Error::Denied`] for who is no edge of a group that is enrolled and not revoked; the store's.
    pub async fn delegation_keys(&self, edge: &Principal) -> Result<(ServiceId, Vec<[u8; 32]>), Error> {
        let EdgeGroup { id, keys, .. } = self.own_group(&self.grants(edge).await?).await?;
        Ok((id, keys))
    }

    /// What a client may do for which an edge vouches: no more than the client itself, and only what the edge's group is enrolled for.
    ///
    /// # Errors
    /// [`Error::Denied`] if it is not, or for a client that is no service and no tenant-admin; the store's.
    pub async fn delegated_grants(&self, edge: &Principal, client: &Principal) -> Result<Grants, Error> {
        let group = self.own_group(&self.grants(edge).await?).await?;
        if !matches!(client.role, Role::Service | Role::TenantAdmin) {
            return Err(Error::Denied { why: "an edge speaks for services and tenant-admins only" });
        }
        let grants = self.grants(client).await?;
        match grants.tenant() {
            Some(tenant) if group.tenants.contains(&tenant) => Ok(grants),
            _ => Err(Error::Denied { why: "the edge is not enrolled for the client's tenant" }),
        }
    }

    /// The enrolled group of an edge.
    async fn own_group(&self, grants: &Grants) -> Result<EdgeGroup, Error> {
        let group = match (grants.role(), grants.service()) {
            (Role::Edge, Some(group)) => self.edge_group(group).await?,
            _ => return Err(Error::Denied { why: "the edge group that the certificate names is not enrolled" }),
        };
        if group.is_revoked { Err(Error::Denied { why: "the edge group is revoked" }) } else { Ok(group) }
    }

    /// A service with the versions of its default chain that can be used still.
    async fn leased(&self, service: Service) -> Result<LeasedService, Error> {
        let Service { id, tenant, name, default_key } = service;
        let chain = self.shelf.existing(default_key).await?.header.chain;
        let terms = vec![self.shelf.registry.integrity().terms.service(tenant, id)];
        let mut query = Query { layer: Layer::L3, terms, before: None, limit: LEASE_PAGE_ROWS };
        let mut versions = Vec::new();
        loop {
            let page = self.shelf.store.find(&query).await?;
            for hint in page.iter().filter(|hint| hint.header.chain == chain) {
                let header = match self.shelf.existing(hint.header.id).await {
                    Ok(row) => row.header,
                    Err(Error::Corrupt { .. }) => continue,
                    Err(error) => return Err(error),
                };
                if header.chain == chain && !header.state.is_destroyed() && header.state != State::Retired {
                    versions.push(LeasedKey { id: header.id, version: header.version, state: header.state });
                }
            }
            match page.last().filter(|_| page.len() == LEASE_PAGE_ROWS) {
                Some(last) => query.before = Some(last.header.id),
                None => break,
            }
        }
        // A Re-key meanwhile shows the old version as replaced, and the new one not at all.
        for _ in 0..CHASED_VERSIONS_MAX {
            if versions.iter().any(|key| key.state == State::Active) {
                break;
            }
            let newest = self.service(id).await?.default_key;
            let Header { version, state, .. } = self.shelf.existing(newest).await?.header;
            let newest = LeasedKey { id: newest, version, state };
            if versions.contains(&newest) {
                // Revoked: there is none.
                break;
            }
            versions.retain(|key| key.id != newest.id);
            versions.push(newest);
        }
        versions.sort_unstable_by_key(|key| key.version);
        Ok(LeasedService { id, name, chain, versions })
    }

    /// The group that the client's certificate names, with the proof that it may do `V` to the L3 `id`, whose header is returned too.
    ///
    /// To an edge, a key of a tenant that its group is not enrolled for does not exist.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Denied`]; [`Error::Corrupt`]; the store's.
    pub async fn authorize_edge<V: UsesMaterial>(
        &self,
        unit: &Unit,
        grants: &Grants,
        id: RowId,
    ) -> Result<(EdgeGroup, Header, Authorized<V>), Error> {
        let group = match (grants.role(), grants.service()) {
            (Role::Edge, Some(group)) => self.edge_group(group).await?,
            _ => return Err(Error::Denied { why: "object keys are wrapped for edges only" }),
        };
        let header = self.header_for(unit, grants, id, |owner| group.serves(owner)).await?;
        if self.is_disabled(header.owner.tenant).await? {
            return Err(Error::tenant_disabled());
        }
        let authorized = grants.check_edge(&group, &header)?;
        Ok((group, header, authorized))
    }

    /// Wraps an edge's object key under an L3.
    ///
    /// # Errors
    /// [`Error::WrongState`], [`Error::Denied`], [`Error::Raced`]; [`Error::Invalid`] for a key of another length.
    pub async fn wrap_object_key(
        &self,
        unit: &Unit,
        (group, authorized): (&EdgeGroup, Authorized<WrapObjectKey>),
        object_key: ObjectKeyId,
        plain: &[u8],
    ) -> Result<Vec<u8>, Error> {
        if plain.len() != OBJECT_KEY_BYTES {
            return Err(Error::invalid("Data", "an object key has 32 bytes"));
        }
        let salt = self.randomness.salt()?;
        self.open(unit, authorized, |bytes, view| {
            let (key, place) = self.object_key_parent(group, bytes, &view.header, object_key)?;
            let blob = key.wrap(&place, plain, &salt)?;
            // C18: nothing is handed out that does not open again.
            let opened = key.unwrap(&place, &blob)?.expose(|opened| cipher::mac::ct_eq(opened, plain));
            if opened { Ok(blob) } else { Err(crate::wrap::WrapError::Forged.into()) }
        })
        .await
    }

    /// Opens an edge's object key.
    ///
    /// # Errors
    /// [`Error::WrongState`], [`Error::Denied`], [`Error::Raced`]; [`Error::Forged`] if it was not wrapped for this place.
    pub async fn unwrap_object_key(
        &self,
        unit: &Unit,
        (group, authorized): (&EdgeGroup, Authorized<UnwrapObjectKey>),
        object_key: ObjectKeyId,
        blob: &[u8],
    ) -> Result<Bytes, Error> {
        self.open(unit, authorized, |bytes, view| {
            let (key, place) = self.object_key_parent(group, bytes, &view.header, object_key)?;
            key.unwrap(&place, blob).map_err(|_| Error::Forged)
        })
        .await
    }

    fn object_key_parent(
        &self,
        group: &EdgeGroup,
        bytes: &[u8],
        l3: &Header,
        object_key: ObjectKeyId,
    ) -> Result<(ParentKey, ObjectKeyPlace), Error> {
        let cluster = self.shelf.registry.cluster();
        let Owner { tenant, service } = l3.owner;
        let service = service.ok_or(Error::NotFound)?;
        let parent = ParentRef { chain: l3.chain, version: l3.version };
        let place = ObjectKeyPlace { cluster, tenant, service, group: group.id, object_key, parent };
        Ok((ParentKey::new(cluster, bytes, l3.aead)?, place))
    }

    async fn is_disabled(&self, tenant: TenantId) -> Result<bool, Error> {
        let epoch = self.policy_epoch();
        if let Some(kept) = self.scopes.disabled.get(epoch, &tenant) {
            return Ok(kept);
        }
        let is_disabled = self.tenant(tenant).await?.is_disabled;
        self.scopes.disabled.put(epoch, tenant, is_disabled);
        Ok(is_disabled)
    }

    /// A group by its id, which a client's grants tell.
    async fn edge_group(&self, id: ServiceId) -> Result<EdgeGroup, Error> {
        let epoch = self.policy_epoch();
        if let Some(kept) = self.scopes.edges.get(epoch, &id) {
            return Ok(kept);
        }
        let group: EdgeGroup = self.content(&self.shelf.existing(group_row(id)).await?).await?;
        self.scopes.edges.put(epoch, id, group.clone());
        Ok(group)
    }

    async fn edge_group_row(&self, name: &ScopeName) -> Result<Option<(Header, EdgeGroup)>, Error> {
        let Some(system) = self.tenant_by_name(&ScopeName::system()).await? else { return Ok(None) };
        let Some(service) = self.service_by_name(system.id, name).await? else { return Ok(None) };
        let row = self.shelf.existing(group_row(service.id)).await?;
        let group = self.content(&row).await?;
        Ok(Some((row.header, group)))
    }

    /// Stages that the record of an edge group names the default key that its service has now; of any other service there is no such record.
    pub(crate) async fn follow_group(&self, unit: &mut Unit, service: &Service) -> Result<(), Error> {
        let Some(row) = self.shelf.row(group_row(service.id)).await? else { return Ok(()) };
        let group = EdgeGroup { default_key: service.default_key, ..self.content(&row).await? };
        self.stage_group(unit, Some(row.header), &group).await
    }

    async fn stage_group(&self, unit: &mut Unit, before: Option<Header>, group: &EdgeGroup) -> Result<(), Error> {
        let expected = before.map(|header| header.generation);
        let place = RowHeader { id: group_row(group.id), owner: group.system, expected };
        let row = self.record_row(place, group, Vec::new()).await?;
        unit.stage(match expected {
            None => Change::Insert(row),
            Some(expected) => Change::Update { expected, row },
        });
        Ok(())
    }
}

fn group_row(id: ServiceId) -> RowId {
    RowId::new(Layer::EdgeGroup, Uuid::from_bytes(*id.as_bytes()))
}
