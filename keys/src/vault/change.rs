//! What becomes of a key: events of its life, its end, and the next generation of its row.

use std::sync::Arc;

use super::{Vault, View, at, encode_attributes};
use crate::attributes::Attributes;
use crate::error::Error;
use crate::id::{Layer, Time};
use crate::lifecycle::{Event, State};
use crate::policy::verb::{Changes, Destroy};
use crate::policy::{Action, Authorized, Verb};
use crate::port::Change;
use crate::row::{Header, ObjectType, Row};
use crate::tenancy::{Service, service_row};
use crate::unit::Unit;

impl Vault {
    /// Stages an event of an object's life and an edit of its attributes with it.
    ///
    /// # Errors
    /// [`Error::WrongState`] by the lifecycle table; [`Error::Denied`] for a service's default key, which is replaced by ReKey instead.
    pub async fn change<V: Changes>(
        &self,
        unit: &mut Unit,
        authorized: Authorized<V>,
        event: Event,
        edit: impl FnOnce(&mut Attributes, Time),
    ) -> Result<Header, Error> {
        Ok(self.change_seen(unit, authorized, event, edit).await?.header)
    }

    /// As [`Vault::change`]; returns the object as it will be.
    pub(crate) async fn change_seen<V: Changes>(
        &self,
        unit: &mut Unit,
        authorized: Authorized<V>,
        event: Event,
        edit: impl FnOnce(&mut Attributes, Time),
    ) -> Result<View, Error> {
        let (row, view) = self.row_to_change(unit, &authorized).await?;
        let state = view.state.next(row.header.id.layer, event)?;
        if event != Event::Activate {
            self.must_not_be_default(unit, &row.header).await?;
        }
        let mut attributes = Arc::unwrap_or_clone(view.attributes);
        let now = self.now();
        edit(&mut attributes, now);
        attributes.touch(now);
        self.stage_change(unit, row, state, attributes).await
    }

    /// Stages the end of an object: material gone, names free, a tombstone with its attributes left; of a Template, nothing.
    ///
    /// # Errors
    /// [`Error::WrongState`] for an Active or destroyed key, and for one above others that is not archived; [`Error::Denied`] for a service's default key.
    pub async fn destroy(&self, unit: &mut Unit, authorized: Authorized<Destroy>) -> Result<Header, Error> {
        Ok(self.destroy_seen(unit, authorized).await?.header)
    }

    /// As [`Vault::destroy`]; returns the object as it will be.
    ///
    /// # Errors
    /// As [`Vault::destroy`].
    pub async fn destroy_seen(&self, unit: &mut Unit, authorized: Authorized<Destroy>) -> Result<View, Error> {
        let (row, view) = self.row_to_change(unit, &authorized).await?;
        if row.header.object_type == ObjectType::TEMPLATE {
            return self.remove_row(unit, &row, view).await;
        }
        let state = view.state.next(row.header.id.layer, Event::Destroy)?;
        if matches!(row.header.id.layer, Layer::L2 | Layer::L21) && view.state != State::Retired {
            let wants = match view.state {
                State::Compromised => "a look through the keys below: `strongroom key destroy` does that",
                _ => "a Retired version, under which no key lies: retire it first",
            };
            return Err(Error::WrongState { is: view.state, wants });
        }
        self.destroy_row(unit, row, view, state).await
    }

    /// Stages what [`Vault::destroy`] does, of a version that nobody needs any more.
    pub(crate) async fn destroy_row(&self, unit: &mut Unit, row: Row, view: View, state: State) -> Result<View, Error> {
        self.must_not_be_default(unit, &row.header).await?;
        unit.intend(self.now(), Action::Destroy, &row.header);
        let mut attributes = Arc::unwrap_or_clone(view.attributes);
        attributes.dates.destroy = Some(self.now());
        attributes.touch(self.now());
        self.free_names(unit, &row.header, &attributes.names).await?;
        self.stage_change(unit, Row { material: None, ..row }, state, attributes).await
    }

    /// The row behind an authorized change, as this unit sees it, and its present view.
    pub(crate) async fn row_to_change<V: Verb>(&self, unit: &Unit, authorized: &Authorized<V>) -> Result<(Row, View), Error> {
        let row = self.row_in_scope(unit, authorized.scope(), authorized.id()).await?;
        if row.header.generation != authorized.generation() {
            return Err(Error::Raced);
        }
        let view = self.view_of_row(&row).await?;
        if view.attributes.archived.is_some() {
            return Err(Error::Archived);
        }
        Ok((row, view))
    }

    /// Stages the next generation of `row`: `state`, `attributes`, and the material that is left in it.
    pub(crate) async fn stage_change(&self, unit: &mut Unit, row: Row, state: State, attributes: Attributes) -> Result<View, Error> {
        let header = Header { state, expiry: attributes.dates.deactivation, ..next_header(&row.header) };
        let expected = row.header.generation;
        let row = self.seal_attributes(header, &attributes, row.material).await?;
        let header = row.header.clone();
        unit.stage(Change::Update { expected, row });
        Ok(self.seen_as(header, attributes))
    }

    /// A changed row: new attributes, material as it was.
    async fn seal_attributes(&self, header: Header, attributes: &Attributes, material: Option<Vec<u8>>) -> Result<Row, Error> {
        let content = encode_attributes(&header, attributes)?;
        let registry = &self.shelf.registry;
        let child = [(registry.attributes_binding(&header), &content)];
        let sealed = self.parent.reseal(header.parent, &child).await.map_err(|error| at(error, header.id))?.pop();
        let terms = registry.integrity().terms.of_object(&header, attributes);
        Ok(registry.seal_row(header, material, sealed, terms))
    }

    /// The Active version of a service's default chain is replaced, never revoked or destroyed: exactly one is Active at every instant (C23). So it is with
    /// a tenant's L2 and a resource's L2.1.
    async fn must_not_be_default(&self, unit: &Unit, header: &Header) -> Result<(), Error> {
        if matches!(header.id.layer, Layer::L2 | Layer::L21) && header.state == State::Active {
            return Err(Error::Denied { why: "this is the Active version of a key that wraps others: replace it by ReKey first" });
        }
        if self.default_of(unit, header).await?.is_some() {
            return Err(Error::Denied { why: "this is the Active version of the service's default key: replace it by ReKey first" });
        }
        Ok(())
    }

    /// The service whose default key this is, as this unit sees it, and its record's row.
    pub(crate) async fn default_of(&self, unit: &Unit, header: &Header) -> Result<Option<(Row, Service)>, Error> {
        let Some(service) = header.owner.service.filter(|_| header.id.layer == Layer::L3) else { return Ok(None) };
        let row = self.row_in(unit, service_row(service)).await?;
        let record: Service = self.content(&row).await?;
        Ok((record.default_key == header.id).then_some((row, record)))
    }
}

/// The header of the next generation, with a new place for the attributes in the AAD.
pub(crate) fn next_header(header: &Header) -> Header {
    Header { generation: header.generation.next(), attributes_seq: header.attributes_seq + 1, ..header.clone() }
}
