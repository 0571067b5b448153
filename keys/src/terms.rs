//! Blind search terms: what a row can be found by, without a store learning what that is.
//!
//! `term = HMAC-SHA-256(K_index, tenant 16 | label | 0 | value)` cut to 16 bytes; a claim on a name is half a Name term and half a MAC of its own. Source: docs/SECURITY.md, C3 and C6.

use cipher::mac::HmacKey;

use crate::attributes::{Attributes, Name, Other};
use crate::id::{KeyVersion, Layer, ServiceId, TenantId};
use crate::row::{Header, ParentRef, Term};

/// Makes terms under one cluster's index key.
#[derive(Debug)]
pub struct TermMaker {
    key: HmacKey,
}

impl TermMaker {
    pub(crate) fn new(key: HmacKey) -> Self {
        Self { key }
    }

    fn term(&self, tenant: TenantId, label: &str, value: &[&[u8]]) -> Term {
        Term(self.mac(tenant, label, value).first_chunk().copied().expect("a MAC has 32 bytes"))
    }

    fn mac(&self, tenant: TenantId, label: &str, value: &[&[u8]]) -> [u8; 32] {
        let mut parts: Vec<&[u8]> = vec![tenant.as_bytes(), label.as_bytes(), &[0]];
        parts.extend_from_slice(value);
        self.key.mac(&parts)
    }

    /// Finds all of a tenant's rows.
    #[must_use]
    pub fn tenant(&self, tenant: TenantId) -> Term {
        self.term(tenant, "owner", &[])
    }

    /// Finds all of a service's rows.
    #[must_use]
    pub fn service(&self, tenant: TenantId, service: ServiceId) -> Term {
        self.term(tenant, "service", &[service.as_bytes()])
    }

    /// Finds one version of a chain.
    #[must_use]
    pub fn version(&self, chain: ParentRef) -> Term {
        let KeyVersion(version) = chain.version;
        self.term(TenantId::SYSTEM, "version", &[chain.chain.as_bytes(), &version.to_be_bytes()])
    }

    /// Finds the record of a tenant (`owner` = system) or of a tenant's service (`owner` = the tenant) by its name.
    #[must_use]
    pub fn scope_name(&self, owner: TenantId, name: &str) -> Term {
        self.term(owner, "scope", &[name.as_bytes()])
    }

    /// Finds objects by Name.
    #[must_use]
    pub fn name(&self, tenant: TenantId, name: &str) -> Term {
        self.term(tenant, "Name", &[name.as_bytes()])
    }

    /// Finds objects by Object Group.
    #[must_use]
    pub fn object_group(&self, tenant: TenantId, group: &str) -> Term {
        self.term(tenant, "Object Group", &[group.as_bytes()])
    }

    /// Finds objects by an attribute that the domain only keeps.
    #[must_use]
    pub fn other(&self, tenant: TenantId, name: &str, value: &[u8]) -> Term {
        let length = u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes();
        self.term(tenant, "other", &[&length, name.as_bytes(), value])
    }

    /// 16 bytes that stand for a claim on a unique name within a tenant and service (or, for scopes, within a tenant alone).
    ///
    /// The first half is that of the term by which objects of that name are found, whichever their service, so that a store can keep both together.
    /// The second tells services apart: two of them would have to meet in 64 bits of a MAC to get in each other's way.
    #[must_use]
    pub fn claim(&self, tenant: TenantId, service: Option<ServiceId>, name: &str) -> [u8; 16] {
        let scope = service.map_or([0; 16], |service| *service.as_bytes());
        let mac = self.mac(tenant, "claim", &[&scope, name.as_bytes()]);
        let mut claim = self.name(tenant, name).0;
        claim[8..].copy_from_slice(&mac[..8]);
        claim
    }

    /// 16 bytes that stand for what a service has imported under an identifier of another server: no two services have the same, whatever they name.
    #[must_use]
    pub fn imported(&self, tenant: TenantId, service: ServiceId, id: &str) -> [u8; 16] {
        self.term(tenant, "import", &[service.as_bytes(), id.as_bytes()]).0
    }

    /// All terms of an object's row, each once.
    ///
    /// Only what wraps other rows is looked for by its version: a term that one row alone has costs a store a page of its index per commit.
    #[must_use]
    pub fn of_object(&self, header: &Header, attributes: &Attributes) -> Vec<Term> {
        let tenant = header.owner.tenant;
        let mut terms = vec![self.tenant(tenant)];
        if matches!(header.id.layer, Layer::L2 | Layer::L21) {
            terms.push(self.version(ParentRef { chain: header.chain, version: header.version }));
        }
        terms.extend(header.owner.service.map(|service| self.service(tenant, service)));
        terms.extend(attributes.names.iter().map(|Name { value, .. }| self.name(tenant, value)));
        terms.extend(attributes.object_groups.iter().map(|group| self.object_group(tenant, &group.value)));
        terms.extend(attributes.others.iter().map(|Other { name, value, .. }| self.other(tenant, name, value)));
        terms.sort_unstable();
        terms.dedup();
        terms
    }
}
