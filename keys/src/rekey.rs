//! ReKey: the next version of a chain and the demotion of the one before it, in one unit.
//!
//! Version n + 1 and what becomes of version n, by the state of n (KMIP 1.4 §4.4, table 173; SECURITY C23):
//!
//! | n is | n + 1 | n becomes |
//! |---|---|---|
//! | Pre-Active | what its dates say | Deprecated |
//! | Active | Active | Deprecated, its Deactivation Date now |
//! | Deprecated, Compromised | Active | what it was |
//! | Retired, destroyed | none: refused | |
//!
//! An L4 is its client's: n stays what it is, and n + 1 is what its dates say, also later.
//!
//! A Pre-Active version is deprecated although it never was Active: left as it is it could be activated beside its replacement, and the chain would
//! have two Active versions. Only the version that no other has replaced is: the newest, or the one that was rolled back to. Both writers of a race
//! change its row, so one of them wins and no number is skipped.

use secret::Bytes;
use serde::Serialize;

use crate::attributes::{Attributes, Links, Revocation};
use crate::budget::RowHeader;
use crate::error::Error;
use crate::id::{Generation, KeyVersion, Layer, RowId, TenantId, Time};
use crate::lifecycle::{Dates, Event, Purpose, State};
use crate::policy::verb::ReKey;
use crate::policy::{Action, Authorized};
use crate::port::Change;
use crate::record::{Outcome, Record, Subject};
use crate::resource::Resource;
use crate::row::{Header, ParentRef, Row};
use crate::tenancy::{Service, Tenant, tenant_row};
use crate::unit::Unit;
use crate::vault::{NewKey, Vault, View};

/// What was said of one version and a replacement does not take over (table 173): its links, and what tells of how it was made or came.
const NOT_COPIED: [&str; 5] = ["Link", "Original Creation Date", "Random Number Generator", "y-imported-as", "y-registered-wrapped"];

/// KMIP's Revocation Reason Code Key Compromise.
const KEY_COMPROMISE: u32 = 2;

/// A version that is to be replaced.
pub(crate) struct Old {
    pub(crate) row: Row,
    pub(crate) view: View,
    /// The number of the version that replaces it.
    pub(crate) next: KeyVersion,
    /// That version's name and material, if it is not of random bytes.
    pub(crate) made: Option<(RowId, Bytes)>,
}

impl Vault {
    /// Stages the replacement of the newest version of a chain; returns the new version.
    ///
    /// - `edit` gets the view of the old version, the attributes of the new one as table 173 has them, and the time; it applies what the client
    ///   asks for. What the domain keeps is set afterwards, whatever it returns. A date of the old version that has passed is not copied where it
    ///   would end the new version before it begins.
    ///
    /// Names move, both Links are set, and if the chain is a service's default, a tenant's L2 or a resource's L2.1, the record of service, tenant or resource
    /// follows. The new version has an IV budget of its own, and for a parent the Active version of the chain that wraps the old one.
    ///
    /// # Errors
    /// [`Error::Replaced`] names the version after it; [`Error::WrongState`] for an archived or a destroyed key; [`Error::Invalid`] if `edit` asks for another usage
    /// mask, or for dates by which the replacement would not be in use at once; [`Error::NameTaken`]; what `edit` returns.
    pub async fn rekey<E: From<Error>>(
        &self,
        unit: &mut Unit,
        authorized: Authorized<ReKey>,
        edit: impl FnOnce(&View, Attributes, Time) -> Result<Attributes, E>,
    ) -> Result<View, E> {
        let (row, view) = self.row_to_change(unit, &authorized).await?;
        self.rekey_row(unit, row, view, edit).await
    }

    /// As [`Vault::rekey`], with the attributes as they are copied, of a version that others may know: that becomes Compromised.
    ///
    /// - `renews`: what lies below a tenant's key gets new material too, which is ordered with the change and done by the node.
    ///
    /// # Errors
    /// As [`Vault::rekey`]; [`Error::Invalid`] if a service's key is to have what lies below it renewed.
    pub async fn rekey_compromised(&self, unit: &mut Unit, authorized: Authorized<ReKey>, renews: bool) -> Result<View, Error> {
        let (row, view) = self.row_to_change(unit, &authorized).await?;
        let Header { id, owner, .. } = row.header;
        if renews && id.layer != Layer::L2 {
            return Err(Error::invalid(
                "rekey_dependents",
                "only below a tenant's key (L2); what lies below a service's key its clients replace",
            ));
        }
        let new = self.rekey_row(unit, row, view, |_, attributes, _| Ok::<_, Error>(attributes)).await?;
        let row = self.row_in(unit, id).await?;
        let view = self.view_of_row(&row).await?;
        if view.state != State::Compromised {
            let state = view.state.next(id.layer, Event::Compromise)?;
            let (now, mut attributes) = (self.now(), (*view.attributes).clone());
            attributes.dates.compromise = Some(now);
            attributes.dates.compromise_occurrence = Some(attributes.dates.initial);
            attributes.revocation = Some(Revocation { code: KEY_COMPROMISE, message: None });
            let revoked = self.stage_change(unit, row, state, attributes).await?;
            let Subject { object, version, generation } = Subject::from(&revoked.header);
            let (session, action) = (unit.session(), Action::Revoke);
            unit.record_also(Record { time: now, session, action, object, version, generation, outcome: Outcome::Success });
        }
        if renews {
            self.order(unit, Some(owner.tenant)).await?;
        }
        Ok(new)
    }

    /// As [`Vault::rekey`], for who has the right to it: whoever asked was authorized, or the node does it of its own accord.
    pub(crate) async fn rekey_row<E: From<Error>>(
        &self,
        unit: &mut Unit,
        row: Row,
        view: View,
        edit: impl FnOnce(&View, Attributes, Time) -> Result<Attributes, E>,
    ) -> Result<View, E> {
        must_be_newest(&view)?;
        let now = self.now();
        let attributes = edit(&view, replacement(&view, now), now)?;
        let mut attributes = kept(&view, attributes, now);
        if row.header.id.layer == Layer::L4 {
            self.limit_life(&mut attributes.dates, now)?;
        } else {
            must_replace_at_once(&view, &attributes, now)?;
        }
        let default = self.default_of(unit, &row.header).await?;
        let resource = self.resource_in(unit, &row.header).await?;
        if default.is_some() || matches!(row.header.id.layer, Layer::L2 | Layer::L21) {
            must_stay_in_use(&attributes.dates, now)?;
        }
        let tenant = row.header.owner.tenant;
        let parent = match (row.header.id.layer, row.header.owner.service) {
            (Layer::L4, Some(service)) => self.leased_parent(service)?,
            (Layer::L2, _) => self.shelf.registry.active_ivk()?,
            _ => {
                let active = self.active_version(tenant, row.header.parent.chain).await?;
                active.ok_or_else(|| Error::corrupt("its parent is no key of its tenant", row.header.id))?
            }
        };
        // After a roll-back there are versions beyond the one that is replaced.
        let next = resource.as_ref().map_or(row.header.version, |(_, resource)| resource.newest).next();
        let new = self.rotate(unit, Old { row, view, next, made: None }, attributes, parent, now).await?;
        if let Some((row, record)) = resource {
            let Header { id: key, chain, version, .. } = new.header;
            let record = Resource { key, parent: ParentRef { chain, version }, newest: version, ..record };
            self.stage_record(unit, row, tenant, &record).await?;
        }
        if let Some((row, record)) = default {
            let record = Service { default_key: new.header.id, ..record };
            self.stage_record(unit, row, tenant, &record).await?;
            self.follow_group(unit, &record).await?;
        }
        if new.header.id.layer == Layer::L2 {
            let row = self.row_in(unit, tenant_row(tenant)).await?;
            let Header { id: key, chain, version, .. } = new.header;
            let record = Tenant { key, parent: ParentRef { chain, version }, ..self.content(&row).await? };
            self.stage_record(unit, row, tenant, &record).await?;
        }
        Ok(new)
    }

    /// Stages what the record of a tenant or service says now.
    pub(crate) async fn stage_record<T: Serialize + Sync>(
        &self,
        unit: &mut Unit,
        row: Row,
        tenant: TenantId,
        record: &T,
    ) -> Result<(), Error> {
        let expected = row.header.generation;
        let place = RowHeader { id: row.header.id, owner: tenant, expected: Some(expected) };
        let row = self.record_row(place, record, row.terms).await?;
        unit.stage(Change::Update { expected, row });
        Ok(())
    }

    /// Stages version n + 1 with new material under `parent`, and demotes version n. Whoever calls has decided that n may be replaced.
    pub(crate) async fn rotate(
        &self,
        unit: &mut Unit,
        old: Old,
        attributes: Attributes,
        parent: ParentRef,
        now: Time,
    ) -> Result<View, Error> {
        let Old { row, view, next, made } = old;
        let (id, material) = match made {
            Some((id, material)) => (id, Some(material)),
            None => (RowId::new(row.header.id.layer, self.new_uuid()?), None),
        };
        let header = Header {
            id,
            version: next,
            state: attributes.dates.state_at(State::PreActive, now),
            expiry: attributes.dates.deactivation,
            generation: Generation::FIRST,
            parent,
            ..row.header.clone()
        };
        self.free_names(unit, &row.header, &view.attributes.names).await?;
        let new = NewKey { header, attributes };
        let new = match material {
            Some(material) => self.insert_material(unit, new, &material).await?,
            None => self.insert_seen(unit, new).await?,
        };
        let mut demoted = demoted(&view, id, now);
        let state = match view.state {
            State::PreActive | State::Active if row.header.id.layer != Layer::L4 => {
                demoted.dates.deactivation = Some(now);
                view.state.next(row.header.id.layer, Event::Deprecate)?
            }
            other => other,
        };
        self.stage_change(unit, row, state, demoted).await?;
        Ok(new)
    }
}

/// What is said of a version from when `by` has its place.
pub(crate) fn demoted(old: &View, by: RowId, now: Time) -> Attributes {
    let mut demoted = Attributes { names: Vec::new(), ..(*old.attributes).clone() };
    demoted.links.replacement_index = demoted.next_link_index();
    demoted.links.replacement = Some(by);
    demoted.touch(now);
    demoted
}

/// A service's default key is in use until it is replaced (C23), so no date may end or interrupt that.
pub(crate) fn must_stay_in_use(dates: &Dates, now: Time) -> Result<(), Error> {
    if dates.deactivation.is_some() || dates.protect_stop.is_some() {
        return Err(Error::Denied {
            why: "a service's default key, like a tenant's, is in use until it is replaced: it has no Deactivation and no Protect Stop Date",
        });
    }
    if !dates.window_allows(Purpose::Process, now) {
        return Err(Error::Denied { why: "a service's default key decrypts at any time: it has no Process Start Date in the future" });
    }
    Ok(())
}

pub(crate) fn must_be_newest(view: &View) -> Result<(), Error> {
    if let Some(by) = view.attributes.links.replacement {
        return Err(Error::Replaced { by });
    }
    if view.state == State::Retired || view.state.is_destroyed() {
        return Err(Error::WrongState { is: view.state, wants: "a key that is neither archived nor destroyed: create another" });
    }
    Ok(())
}

/// The attributes of the new version as table 173 copies them.
pub(crate) fn replacement(old: &View, now: Time) -> Attributes {
    let attributes = (*old.attributes).clone();
    let ahead = |date: Option<Time>| date.filter(|date| *date > now);
    let dates = attributes.dates;
    let begun = |date: Option<Time>| if old.state == State::PreActive { date } else { Some(date.map_or(now, |date| date.min(now))) };
    let activation = begun(dates.activation);
    let dates = Dates {
        activation,
        // A key that was activated late may have one that precedes its activation.
        process_start: dates.process_start.map(|start| activation.map_or(start, |begun| start.max(begun))),
        // The old version's end, if it has passed, is why it is replaced, and not when the new one ends.
        protect_stop: ahead(dates.protect_stop),
        deactivation: ahead(dates.deactivation),
        ..Dates::default()
    };
    let others = attributes.others.into_iter().filter(|other| !NOT_COPIED.contains(&other.name.as_str())).collect();
    Attributes { dates, others, links: links(old), ..attributes }
}

/// The links of the new version; known to `edit`, so that a link of the client's does not take the index of the domain's.
fn links(old: &View) -> Links {
    Links { replaced: Some(old.header.id), ..Links::default() }
}

/// What is the domain's to say about the new version.
pub(crate) fn kept(old: &View, attributes: Attributes, now: Time) -> Attributes {
    let Dates { activation, process_start, protect_stop, deactivation, .. } = attributes.dates;
    let dates = Dates { initial: now, last_change: now, activation, process_start, protect_stop, deactivation, ..Dates::default() };
    Attributes { dates, links: links(old), revocation: None, ..attributes }
}

fn must_replace_at_once(old: &View, new: &Attributes, now: Time) -> Result<(), Error> {
    if new.usage_mask != old.attributes.usage_mask {
        return Err(Error::invalid("Cryptographic Usage Mask", "a replacement has the mask of the key that it replaces"));
    }
    match new.dates.state_at(State::PreActive, now) {
        State::Active if !new.dates.window_allows(Purpose::Protect, now) => {
            Err(Error::invalid("Protect Stop Date", "a core's key is replaced at once: its replacement must protect by its dates"))
        }
        State::Active => Ok(()),
        State::PreActive if old.state == State::PreActive => Ok(()),
        _ => Err(Error::invalid("Activation Date", "a core's key is replaced at once: its replacement must be Active by its dates")),
    }
}
