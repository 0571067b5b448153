//! Names: each is claimed by a row of its own, which only one live object of a service can insert.

use uuid::Uuid;

use super::Vault;
use crate::attributes::{NAMES_MAX, Name};
use crate::error::Error;
use crate::id::{Layer, RowId};
use crate::port::{Change, Scope};
use crate::row::{Header, Row};
use crate::unit::{Unit, record_header};

impl Vault {
    /// Stages the claims on an object's names; each is a row that only one object can insert.
    pub(crate) async fn claim_names(&self, unit: &mut Unit, header: &Header, names: &[Name]) -> Result<(), Error> {
        if names.len() > NAMES_MAX {
            return Err(Error::invalid("Name", format!("at most {NAMES_MAX} a key")));
        }
        for name in names {
            let id = self.claim_id(header, name);
            let mut claim = self.claim_row(id, header);
            let taken = match unit.staged(id) {
                // Given up earlier in this unit: the row stays, of another generation.
                Some(Change::Delete { expected, .. }) => {
                    claim.header.generation = expected.next();
                    claim = self.shelf.registry.seal_row(claim.header, None, None, claim.terms);
                    false
                }
                Some(Change::Insert(_) | Change::Update { .. }) => true,
                None => self.shelf.store.retrieve_for(Scope::Tenant(header.owner.tenant), id).await?.is_some(),
            };
            if taken {
                return Err(Error::NameTaken { name: name.value.clone() });
            }
            unit.stage(Change::Insert(claim));
        }
        Ok(())
    }

    pub(crate) async fn free_names(&self, unit: &mut Unit, header: &Header, names: &[Name]) -> Result<(), Error> {
        for name in names {
            let id = self.claim_id(header, name);
            let expected = match unit.staged(id) {
                Some(change) => change.row().map(|row| row.header.generation),
                None => self.shelf.store.retrieve_for(Scope::Tenant(header.owner.tenant), id).await?.map(|row| row.header.generation),
            };
            // A claim that the store lost frees the name all the same.
            if let Some(expected) = expected {
                unit.stage(Change::Delete { id, expected });
            }
        }
        Ok(())
    }

    fn claim_id(&self, header: &Header, name: &Name) -> RowId {
        let claim = self.shelf.registry.integrity().terms.claim(header.owner.tenant, header.owner.service, &name.value);
        RowId::new(Layer::Name, Uuid::from_bytes(claim))
    }

    pub(crate) fn claim_row(&self, id: RowId, header: &Header) -> Row {
        let claim = Header { owner: header.owner, ..record_header(id, self.shelf.registry.records(), header.owner.tenant) };
        self.shelf.registry.seal_row(claim, None, None, Vec::new())
    }
}
