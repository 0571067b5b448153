//! Tenants and services: their records, their first keys, and whom a certificate's names stand for.

use cipher::aead::Aead;
use serde::{Deserialize, Serialize};

use crate::attributes::{Attributes, Group};
use crate::budget::RowHeader;
use crate::error::Error;
use crate::id::{ChainId, KeyVersion, Layer, RowId, ScopeName, ServiceId, TenantId};
use crate::lifecycle::{Dates, State};
use crate::policy::{Grants, Principal, Role};
use crate::port::{Change, Query, Scope};
use crate::resource::Resource;
use crate::row::{Algorithm, Header, Owner, ParentRef};
use crate::unit::{Unit, record_header};
use crate::vault::{NewKey, Vault, key_header};

/// Cryptographic Usage Mask of a service's default key: Encrypt and Decrypt.
const MASK_ENCRYPT_DECRYPT: u32 = 0x04 | 0x08;
/// Most tenants or services that one list returns.
pub const LISTED_MAX: usize = 1000;

/// A tenant, as its record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name; unique in the cluster.
    pub name: ScopeName,
    /// The Active version of its L2.
    pub key: RowId,
    /// The same, as a parent.
    pub parent: ParentRef,
    /// Nothing of it is served.
    pub is_disabled: bool,
}

/// A service, as its record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name; unique in the tenant.
    pub name: ScopeName,
    /// The Active version of its default L3 chain.
    pub default_key: RowId,
}

/// A further L3 chain to be made by a tenant-admin.
#[derive(Debug, Clone)]
pub struct NewServiceKey {
    /// For which service.
    pub service: ServiceId,
    /// Size in bits.
    pub bits: u32,
    /// What the client said; dates decide the first state.
    pub attributes: Attributes,
}

impl Vault {
    /// What the principal may do: its names resolved to ids. Names that do not exist give no rights.
    ///
    /// # Errors
    /// The store's.
    pub async fn grants(&self, principal: &Principal) -> Result<Grants, Error> {
        if let Some(edge) = &self.edge {
            return self.edge_grants(edge, principal);
        }
        // The reserved tenant has no clients of its own; an edge's group is one of its services.
        let named = match principal.role {
            Role::Edge => Some(&ScopeName::system()),
            _ => principal.tenant.as_ref().filter(|name| !name.is_reserved()),
        };
        let tenant = match named {
            Some(name) => self.tenant_by_name(name).await?,
            None => None,
        };
        if tenant.as_ref().is_some_and(|tenant| tenant.is_disabled) {
            return Err(Error::tenant_disabled());
        }
        let service = match (&tenant, &principal.service) {
            (Some(tenant), Some(name)) => self.service_by_name(tenant.id, name).await?,
            _ => None,
        };
        Ok(Grants::new(self.node(), principal.role, tenant.map(|tenant| tenant.id), service.map(|service| service.id)))
    }

    /// Stages a tenant and version 1 of its L2.
    ///
    /// # Errors
    /// [`Error::NameTaken`]; the parent's and the store's.
    pub async fn create_tenant(&self, unit: &mut Unit, name: &ScopeName) -> Result<Tenant, Error> {
        let uuid = self.new_uuid()?;
        let tenant = TenantId::new(uuid);
        self.claim_scope(unit, TenantId::SYSTEM, name, RowId::new(Layer::Tenant, uuid)).await?;
        let chain = ChainId::new(self.new_uuid()?);
        let key = RowId::new(Layer::L2, self.new_uuid()?);
        let owner = Owner { tenant, service: None };
        let header = key_header(key, chain, owner, self.shelf.registry.active_ivk()?, Aead::Aes256Gcm);
        self.insert(unit, NewKey { header, attributes: self.fresh_attributes(0) }).await?;
        let record =
            Tenant { id: tenant, name: name.clone(), key, parent: ParentRef { chain, version: KeyVersion::FIRST }, is_disabled: false };
        let place = RowHeader { id: RowId::new(Layer::Tenant, uuid), owner: tenant, expected: None };
        let terms = vec![self.shelf.registry.integrity().terms.scope_name(TenantId::SYSTEM, name.as_str())];
        unit.stage(Change::Insert(self.record_row(place, &record, terms).await?));
        Ok(record)
    }

    /// Stages that a tenant is served nothing any more, or again; returns it as it will be.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a tenant; the store's.
    pub async fn set_tenant_disabled(&self, unit: &mut Unit, name: &ScopeName, is_disabled: bool) -> Result<Tenant, Error> {
        let term = self.shelf.registry.integrity().terms.scope_name(TenantId::SYSTEM, name.as_str());
        let row = self.shelf.newest(Query { layer: Layer::Tenant, terms: vec![term], before: None, limit: 1 }).await?;
        let row = row.ok_or(Error::NotFound)?;
        let tenant = Tenant { is_disabled, ..self.content(&row).await? };
        let expected = row.header.generation;
        let place = RowHeader { id: row.header.id, owner: tenant.id, expected: Some(expected) };
        let row = self.record_row(place, &tenant, row.terms).await?;
        unit.stage(Change::Update { expected, row });
        Ok(tenant)
    }

    /// Reads a tenant's key back from the store and opens it, so that nobody relies on one that is not there (C18).
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it does not open; the store's.
    pub async fn read_back(&self, tenant: &Tenant) -> Result<(), Error> {
        self.open_anew(tenant.parent).await
    }

    pub(crate) async fn open_anew(&self, parent: ParentRef) -> Result<(), Error> {
        self.parent.forget(parent);
        self.parent.unwrap(parent, &[]).await?;
        Ok(())
    }

    /// Stages a service of a tenant and version 1 of its default L3.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a tenant; [`Error::NameTaken`]; the parent's and the store's.
    pub async fn create_service(&self, unit: &mut Unit, tenant: &ScopeName, name: &ScopeName) -> Result<Service, Error> {
        Ok(self.create_service_of(unit, tenant, name, None).await?.0)
    }

    /// As [`Vault::create_service`], with its keys under the L2.1 of a resource, which is staged too if the tenant has none of that name.
    ///
    /// # Errors
    /// As [`Vault::create_service`]; [`Error::Raced`] if another request makes the resource at the same time.
    pub async fn create_service_of(
        &self,
        unit: &mut Unit,
        tenant: &ScopeName,
        name: &ScopeName,
        resource: Option<&ScopeName>,
    ) -> Result<(Service, Option<Resource>), Error> {
        let tenant = self.tenant_by_name(tenant).await?.ok_or(Error::NotFound)?;
        let uuid = self.new_uuid()?;
        let service = ServiceId::new(uuid);
        let id = RowId::new(Layer::Service, uuid);
        self.claim_scope(unit, tenant.id, name, id).await?;
        let above = match resource {
            Some(resource) => Some(self.resource_for(unit, &tenant, resource).await?),
            None => None,
        };
        let parent = above.as_ref().map_or(tenant.parent, |above| above.resource.parent);
        let default_key = RowId::new(Layer::L3, self.new_uuid()?);
        let owner = Owner { tenant: tenant.id, service: Some(service) };
        let header = key_header(default_key, ChainId::new(self.new_uuid()?), owner, parent, Aead::Aes256Gcm);
        let attributes =
            Attributes { object_groups: vec![Group { value: name.to_string(), index: 0 }], ..self.fresh_attributes(MASK_ENCRYPT_DECRYPT) };
        let new = NewKey { header, attributes };
        match above.as_ref().and_then(|above| above.key.as_ref()) {
            Some(key) => self.insert_under(unit, new, key).await?,
            None => self.insert(unit, new).await?,
        };
        let record = Service { id: service, tenant: tenant.id, name: name.clone(), default_key };
        let maker = &self.shelf.registry.integrity().terms;
        let terms = vec![maker.scope_name(tenant.id, name.as_str()), maker.tenant(tenant.id)];
        unit.stage(Change::Insert(self.record_row(RowHeader { id, owner: tenant.id, expected: None }, &record, terms).await?));
        Ok((record, above.map(|above| above.resource)))
    }

    /// Stages a further L3 chain of a service, Pre-Active unless its dates say otherwise.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NameTaken`]; the parent's and the store's.
    pub async fn create_service_key(&self, unit: &mut Unit, new: NewServiceKey) -> Result<Header, Error> {
        let (service, parent) = self.service_and_parent(new.service).await?;
        let owner = Owner { tenant: service.tenant, service: Some(service.id) };
        let id = RowId::new(Layer::L3, self.new_uuid()?);
        let header = key_header(id, ChainId::new(self.new_uuid()?), owner, parent, Aead::Aes256Gcm);
        let now = self.now();
        let mut attributes = new.attributes;
        attributes.dates.initial = now;
        attributes.touch(now);
        let state = attributes.dates.state_at(State::PreActive, now);
        let header = Header { state, algorithm: Algorithm::AES, bits: new.bits, expiry: attributes.dates.deactivation, ..header };
        self.insert(unit, NewKey { header, attributes }).await
    }

    /// A service and what its new keys come under: the Active version of the chain that its default key lies under.
    async fn service_and_parent(&self, id: ServiceId) -> Result<(Service, ParentRef), Error> {
        let epoch = self.policy_epoch();
        if let Some(kept) = self.scopes.makers.get(epoch, &id) {
            return Ok(kept);
        }
        let service = self.service(id).await?;
        let chain = self.shelf.existing(service.default_key).await?.header.parent.chain;
        let parent = self.active_version(service.tenant, chain).await?;
        let parent = parent.ok_or_else(|| Error::corrupt("its parent is no key of its tenant", service.default_key))?;
        self.scopes.makers.put(epoch, id, (service.clone(), parent));
        Ok((service, parent))
    }

    /// A tenant by its name.
    ///
    /// # Errors
    /// The store's.
    pub async fn tenant_by_name(&self, name: &ScopeName) -> Result<Option<Tenant>, Error> {
        let term = self.shelf.registry.integrity().terms.scope_name(TenantId::SYSTEM, name.as_str());
        let found: Option<Tenant> = self.only(Layer::Tenant, term).await?;
        Ok(found.filter(|tenant| tenant.name == *name))
    }

    /// A tenant's service by its name.
    ///
    /// # Errors
    /// The store's.
    pub async fn service_by_name(&self, tenant: TenantId, name: &ScopeName) -> Result<Option<Service>, Error> {
        if let Some(edge) = &self.edge {
            return Ok(self.leased_service_by_name(edge, tenant, name));
        }
        let (epoch, asked) = (self.policy_epoch(), (tenant, name.clone()));
        if let Some(kept) = self.scopes.named.get(epoch, &asked) {
            return Ok(Some(kept));
        }
        let term = self.shelf.registry.integrity().terms.scope_name(tenant, name.as_str());
        let found: Option<Service> = self.only(Layer::Service, term).await?;
        let found = found.filter(|service| service.tenant == tenant && service.name == *name);
        // That there is none is not kept, because anybody may ask for any name.
        found.iter().for_each(|service| self.scopes.named.put(epoch, asked.clone(), service.clone()));
        Ok(found)
    }

    /// A service by its id.
    ///
    /// # Errors
    /// [`Error::NotFound`]; the store's.
    pub async fn service(&self, id: ServiceId) -> Result<Service, Error> {
        if let Some(edge) = &self.edge {
            return self.leased_service(edge, id);
        }
        self.content(&self.shelf.existing(service_row(id)).await?).await
    }

    /// A tenant by its id.
    ///
    /// # Errors
    /// [`Error::NotFound`]; the store's.
    pub async fn tenant(&self, id: TenantId) -> Result<Tenant, Error> {
        self.content(&self.shelf.existing_for(Scope::Tenant(id), tenant_row(id)).await?).await
    }

    /// All tenants, newest first, at most [`LISTED_MAX`].
    ///
    /// # Errors
    /// The store's.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, Error> {
        self.listed(Query { layer: Layer::Tenant, terms: Vec::new(), before: None, limit: LISTED_MAX }).await
    }

    /// A tenant's services, newest first, at most [`LISTED_MAX`].
    ///
    /// # Errors
    /// The store's.
    pub async fn services(&self, tenant: TenantId) -> Result<Vec<Service>, Error> {
        let terms = vec![self.shelf.registry.integrity().terms.tenant(tenant)];
        self.listed(Query { layer: Layer::Service, terms, before: None, limit: LISTED_MAX }).await
    }

    /// The default keys of a tenant's services, as this unit sees them.
    ///
    /// # Errors
    /// The store's.
    pub async fn default_keys(&self, unit: &Unit, tenant: TenantId) -> Result<Vec<RowId>, Error> {
        let mut keys = Vec::new();
        for service in self.services(tenant).await? {
            let row = service_row(service.id);
            let service = if unit.staged(row).is_some() { self.content::<Service>(&self.row_in(unit, row).await?).await? } else { service };
            keys.push(service.default_key);
        }
        Ok(keys)
    }

    /// The newest `limit` services of a tenant, for who must know whether there are more than one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names a record that does not verify, because leaving it out would change the answer; the store's.
    pub async fn newest_services(&self, tenant: TenantId, limit: usize) -> Result<Vec<Service>, Error> {
        let epoch = self.policy_epoch();
        if let Some(kept) = self.scopes.newest.get(epoch, &(tenant, limit)) {
            return Ok(kept);
        }
        let terms = vec![self.shelf.registry.integrity().terms.tenant(tenant)];
        let mut services = Vec::new();
        let scope = Scope::Tenant(tenant);
        for hint in self.shelf.store.find_for(scope, &Query { layer: Layer::Service, terms, before: None, limit }).await? {
            services.push(self.content(&self.shelf.existing_for(scope, hint.header.id).await?).await?);
        }
        self.scopes.newest.put(epoch, (tenant, limit), services.clone());
        Ok(services)
    }

    /// Records that do not verify are left out: they are refused by name when they are asked for.
    pub(crate) async fn listed<T: for<'de> Deserialize<'de>>(&self, query: Query) -> Result<Vec<T>, Error> {
        let mut records = Vec::new();
        for hint in self.shelf.store.find(&query).await? {
            let row = match self.shelf.row(hint.header.id).await {
                Ok(Some(row)) => row,
                Ok(None) | Err(Error::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            records.push(self.content(&row).await?);
        }
        Ok(records)
    }

    pub(crate) async fn only<T: for<'de> Deserialize<'de>>(&self, layer: Layer, term: crate::row::Term) -> Result<Option<T>, Error> {
        match self.shelf.newest(Query { layer, terms: vec![term], before: None, limit: 1 }).await? {
            Some(row) => Ok(Some(self.content(&row).await?)),
            None => Ok(None),
        }
    }

    async fn claim_scope(&self, unit: &mut Unit, owner: TenantId, name: &ScopeName, holder: RowId) -> Result<(), Error> {
        let is_free = self.claim(unit, owner, &format!("scope {name}"), holder).await?;
        if is_free { Ok(()) } else { Err(Error::NameTaken { name: name.to_string() }) }
    }

    /// Stages the claim on what only one row of an owner may have; `false` if one has it.
    pub(crate) async fn claim(&self, unit: &mut Unit, owner: TenantId, what: &str, holder: RowId) -> Result<bool, Error> {
        let claim = self.shelf.registry.integrity().terms.claim(owner, None, what);
        let id = RowId::new(Layer::Name, uuid::Uuid::from_bytes(claim));
        if self.shelf.store.retrieve(id).await?.is_some() || unit.staged(id).is_some() {
            return Ok(false);
        }
        unit.stage(Change::Insert(self.claim_row(id, &record_header(holder, self.shelf.registry.records(), owner))));
        Ok(true)
    }

    pub(crate) fn fresh_attributes(&self, usage_mask: u32) -> Attributes {
        let now = self.now();
        let dates = Dates { initial: now, last_change: now, activation: Some(now), ..Dates::default() };
        Attributes { usage_mask, dates, ..Attributes::default() }
    }
}

/// The id of a service's record.
pub(crate) fn service_row(id: ServiceId) -> RowId {
    RowId::new(Layer::Service, uuid::Uuid::from_bytes(*id.as_bytes()))
}

pub(crate) fn tenant_row(id: TenantId) -> RowId {
    RowId::new(Layer::Tenant, uuid::Uuid::from_bytes(*id.as_bytes()))
}
