//! Resources: what a tenant keeps keys for under a chain of L2.1 of its own, so that those keys are rotated and rolled back apart from the tenant's others.
//!
//! A resource is made with its first service. Which services are its is said by where their default keys lie, and by nothing else: the chain of the L2.1 that
//! wraps them is the id of the resource's record.

use secret::Bytes;
use serde::{Deserialize, Serialize};

use crate::attributes::{Attributes, Group};
use crate::budget::RowHeader;
use crate::error::Error;
use crate::id::{ChainId, KeyVersion, Layer, RowId, ScopeName, TenantId};
use crate::policy::Action;
use crate::port::{Change, Query};
use crate::record::{Outcome, Record};
use crate::row::{Header, Owner, ParentRef, Row};
use crate::tenancy::{LISTED_MAX, Service, Tenant};
use crate::unit::Unit;
use crate::vault::{NewKey, Vault, key_header};
use crate::wrap::ParentKey;

/// A resource, as its record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name; unique in the tenant.
    pub name: ScopeName,
    /// The Active version of its L2.1.
    pub key: RowId,
    /// The same, as a parent.
    pub parent: ParentRef,
    /// The newest version that there ever was; after a roll-back it is not the Active one.
    pub newest: KeyVersion,
}

/// What a new service's keys are to lie under.
pub(crate) struct Above {
    /// The resource as it is, or will be with the unit.
    pub(crate) resource: Resource,
    /// Its L2.1, if that is made by the same unit: no chain opens it before it is stored.
    pub(crate) key: Option<ParentKey>,
}

impl Vault {
    /// The tenant's resource of this name; if there is none, it is staged with version 1 of its L2.1.
    ///
    /// # Errors
    /// [`Error::Raced`] if another request makes it at the same time; the parent's and the store's.
    pub(crate) async fn resource_for(&self, unit: &mut Unit, tenant: &Tenant, name: &ScopeName) -> Result<Above, Error> {
        if let Some(resource) = self.resource_by_name(tenant.id, name).await? {
            return Ok(Above { resource, key: None });
        }
        let chain = ChainId::new(self.new_uuid()?);
        let record = resource_row(chain);
        if !self.claim(unit, tenant.id, &format!("resource {name}"), record).await? {
            return Err(Error::Raced);
        }
        let owner = Owner { tenant: tenant.id, service: None };
        let header = key_header(RowId::new(Layer::L21, self.new_uuid()?), chain, owner, tenant.parent, cipher::aead::Aead::Aes256Gcm);
        let attributes = Attributes { object_groups: vec![Group { value: name.to_string(), index: 0 }], ..self.fresh_attributes(0) };
        let material = self.fresh_material(&header)?;
        let header = self.insert_material(unit, NewKey { header, attributes }, &material).await?.header;
        let key = Some(self.parent_key(&header, &material)?);
        let parent = ParentRef { chain, version: header.version };
        let resource = Resource { tenant: tenant.id, name: name.clone(), key: header.id, parent, newest: header.version };
        let maker = &self.shelf.registry.integrity().terms;
        let terms = vec![maker.scope_name(tenant.id, name.as_str()), maker.tenant(tenant.id)];
        let place = RowHeader { id: record, owner: tenant.id, expected: None };
        unit.stage(Change::Insert(self.record_row(place, &resource, terms).await?));
        self.record_made(unit, &header);
        Ok(Above { resource, key })
    }

    fn parent_key(&self, header: &Header, material: &Bytes) -> Result<ParentKey, Error> {
        Ok(material.expose(|bytes| ParentKey::new(self.shelf.registry.cluster(), bytes, header.aead))?)
    }

    /// The service's own record tells of the service alone.
    fn record_made(&self, unit: &mut Unit, header: &Header) {
        let (time, session, action) = (self.now(), unit.session(), Action::CreateResource);
        let Header { id, version, generation, .. } = *header;
        let (object, version, generation) = (Some(id), Some(version), Some(generation));
        unit.record_also(Record { time, session, action, object, version, generation, outcome: Outcome::Success });
    }

    /// A tenant's resource by its name.
    ///
    /// # Errors
    /// The store's.
    pub async fn resource_by_name(&self, tenant: TenantId, name: &ScopeName) -> Result<Option<Resource>, Error> {
        let term = self.shelf.registry.integrity().terms.scope_name(tenant, name.as_str());
        let found: Option<Resource> = self.only(Layer::Resource, term).await?;
        Ok(found.filter(|resource| resource.tenant == tenant && resource.name == *name))
    }

    /// A tenant's resources, newest first, at most [`LISTED_MAX`].
    ///
    /// # Errors
    /// The store's.
    pub async fn resources(&self, tenant: TenantId) -> Result<Vec<Resource>, Error> {
        let terms = vec![self.shelf.registry.integrity().terms.tenant(tenant)];
        self.listed(Query { layer: Layer::Resource, terms, before: None, limit: LISTED_MAX }).await
    }

    /// The resource whose L2.1 are the versions of `chain`; `None` for any other chain.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; the store's.
    pub async fn resource(&self, chain: ChainId) -> Result<Option<Resource>, Error> {
        match self.shelf.row(resource_row(chain)).await? {
            Some(row) => Ok(Some(self.content(&row).await?)),
            None => Ok(None),
        }
    }

    /// The resource that a service's keys lie under; `None` if they lie under the tenant's L2 itself.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if its default key does not verify; the store's.
    pub async fn resource_of(&self, service: &Service) -> Result<Option<Resource>, Error> {
        self.resource(self.shelf.existing(service.default_key).await?.header.parent.chain).await
    }

    /// Reads the L2.1 of a resource back from the store and opens it, so that nobody relies on one that is not there (C18).
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it does not open; the store's.
    pub async fn read_back_resource(&self, resource: &Resource) -> Result<(), Error> {
        self.open_anew(resource.parent).await
    }

    /// The record of the resource whose L2.1 this is, as this unit sees it, and its row; `None` for a key of another layer.
    pub(crate) async fn resource_in(&self, unit: &Unit, header: &Header) -> Result<Option<(Row, Resource)>, Error> {
        if header.id.layer != Layer::L21 {
            return Ok(None);
        }
        let row = self.row_in(unit, resource_row(header.chain)).await.map_err(|error| match error {
            Error::NotFound => Error::corrupt("its resource has no record", header.id),
            other => other,
        })?;
        let record = self.content(&row).await?;
        Ok(Some((row, record)))
    }

    /// The Active version of a chain of a tenant that wraps other keys; `None` if nobody says. A version that a unit is about to make is not it before
    /// that is stored, because nothing opens it until then.
    pub(crate) async fn active_version(&self, tenant: TenantId, chain: ChainId) -> Result<Option<ParentRef>, Error> {
        let own = self.tenant(tenant).await?.parent;
        if own.chain == chain {
            return Ok(Some(own));
        }
        Ok(self.resource(chain).await?.filter(|resource| resource.tenant == tenant).map(|resource| resource.parent))
    }
}

/// The id of a resource's record, by the chain of its L2.1.
fn resource_row(chain: ChainId) -> RowId {
    RowId::new(Layer::Resource, uuid::Uuid::from_bytes(*chain.as_bytes()))
}
