//! What clients, operators and the nodes themselves ask for, each as one task: a few verbs of a vault, a record, a commit.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use keys::Error;
use keys::attributes::{Attributes, Name, Revocation};
use keys::edge::NewObject;
use keys::hierarchy::MasterKey;
use keys::id::{Layer, RowId, ScopeName, SessionId, Time};
use keys::lifecycle::{Event, State};
use keys::list::KeyFilter;
use keys::policy::verb::{Activate, Decrypt, Destroy, Encrypt, GetAttributes, ModifyAttribute, ReKey, Revoke};
use keys::policy::{Action, Grants, NodeRole, Principal, Role};
use keys::record::{Outcome, Record};
use keys::reencrypt::Cursor;
use keys::rotate::NewIvk;
use keys::row::{Algorithm, Header, ObjectType};
use keys::tenancy::NewServiceKey;
use keys::unit::Unit;
use keys::vault::{Vault, View};

use super::model::{Effect, Key, Model};

/// Encrypt and Decrypt.
const MASK: u32 = 0x0C;

/// How an operation ends.
pub(crate) type Done = Result<(), Error>;

/// One operation on one node.
#[derive(Clone)]
pub(crate) struct Op {
    pub(crate) session: SessionId,
    pub(crate) vault: Arc<Vault>,
    pub(crate) model: Rc<RefCell<Model>>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) role: Role,
    pub(crate) tenant: ScopeName,
    pub(crate) service: Option<ScopeName>,
}

pub(crate) fn name(text: &str) -> ScopeName {
    text.parse().expect("the simulation's names are names")
}

fn named(text: &str) -> Vec<Name> {
    vec![Name { value: text.to_owned(), kind: 1, index: 0 }]
}

pub(crate) fn key_of(view: &View) -> Key {
    Key {
        header: view.header.clone(),
        state: view.header.state,
        deactivation: view.attributes.dates.deactivation,
        digest: view.attributes.digest,
        names: view.attributes.names.iter().map(|name| name.value.clone()).collect(),
        told: State::PreActive,
        is_replaced: false,
    }
}

impl Op {
    pub(crate) fn begin(&self) -> Unit {
        self.vault.begin(self.session)
    }

    pub(crate) async fn grants(&self, who: &Who) -> Result<Grants, Error> {
        // What a dispatcher asks before anything else.
        self.vault.check_lease()?;
        let Who { role, tenant, service } = who.clone();
        self.vault.grants(&Principal { role, tenant: Some(tenant), service, certificate: [0; 32] }).await
    }

    pub(crate) fn record(&self, unit: &mut Unit, action: Action, header: Option<&Header>) {
        let (object, version) = (header.map(|header| header.id), header.map(|header| header.version));
        let (time, session) = (self.vault.now(), self.session);
        unit.record(Record { time, session, action, object, version, generation: None, outcome: Outcome::Success });
    }

    /// Commits what changes something: from its record's commit on, the model has the effect.
    pub(crate) async fn commit(&self, unit: Unit, effect: Effect) -> Done {
        self.model.borrow_mut().pending.insert(self.session, effect);
        unit.commit().await?.answered();
        Ok(())
    }

    /// Commits what only looked, so that the log knows of it and of the time.
    async fn looked(&self, mut unit: Unit, action: Action, header: Option<&Header>) -> Done {
        self.record(&mut unit, action, header);
        unit.commit().await?.answered();
        Ok(())
    }

    pub(crate) fn broken(&self, what: String) {
        self.model.borrow_mut().broken.push(what);
    }

    pub(crate) async fn create_tenant(&self, tenant: &ScopeName) -> Done {
        let mut unit = self.begin();
        let made = self.vault.create_tenant(&mut unit, tenant).await?;
        self.record(&mut unit, Action::CreateTenant, None);
        self.commit(unit, Effect::Tenant { id: made.id, name: made.name, key: made.key }).await
    }

    /// A service with its keys under the tenant's own, or under those of a resource, which is made if there is none.
    pub(crate) async fn create_service(&self, tenant: &ScopeName, service: &ScopeName, resource: Option<&ScopeName>) -> Done {
        let mut unit = self.begin();
        let (made, resource) = self.vault.create_service_of(&mut unit, tenant, service, resource).await?;
        self.record(&mut unit, Action::CreateService, None);
        let new = resource.map(|resource| resource.key).filter(|key| unit.staged(*key).is_some());
        let effect = Effect::Service { id: made.id, tenant: made.tenant, name: made.name, made: [Some(made.default_key), new] };
        self.commit(unit, effect).await
    }

    pub(crate) async fn disable(&self, tenant: &ScopeName, is_disabled: bool) -> Done {
        let mut unit = self.begin();
        self.vault.set_tenant_disabled(&mut unit, tenant, is_disabled).await?;
        self.record(&mut unit, if is_disabled { Action::DisableTenant } else { Action::EnableTenant }, None);
        self.commit(unit, Effect::Disabled { tenant: tenant.clone(), is_disabled }).await
    }

    pub(crate) async fn enrol(&self, group: &ScopeName, tenants: &[ScopeName]) -> Done {
        let mut unit = self.begin();
        self.vault.enrol_edges(&mut unit, group, tenants, &[]).await?;
        self.record(&mut unit, Action::EnrolEdge, None);
        self.commit(unit, Effect::Group { name: group.clone(), tenants: tenants.to_vec(), is_revoked: false }).await
    }

    pub(crate) async fn revoke_edges(&self, group: &ScopeName) -> Done {
        let mut unit = self.begin();
        self.vault.revoke_edges(&mut unit, group).await?;
        self.record(&mut unit, Action::RevokeEdge, None);
        self.commit(unit, Effect::Group { name: group.clone(), tenants: Vec::new(), is_revoked: true }).await
    }

    /// A further key of a service, at its core.
    pub(crate) async fn create_key(&self, who: &Who, text: &str) -> Done {
        let grants = self.grants(who).await?;
        let mut unit = self.begin();
        let attributes = Attributes { names: named(text), usage_mask: MASK, ..Attributes::default() };
        let service = grants.service().ok_or(Error::NotFound)?;
        let header = self.vault.create_service_key(&mut unit, NewServiceKey { service, bits: 256, attributes }).await?;
        let view = self.vault.attributes(&unit, grants.check::<GetAttributes>(&header)?).await?;
        self.record(&mut unit, Action::Create, Some(&header));
        self.commit(unit, Effect::Made(key_of(&view))).await
    }

    /// An object of a service, at an edge.
    pub(crate) async fn create_object(&self, who: &Who, text: &str, is_active: bool) -> Done {
        let grants = self.grants(who).await?;
        let mut unit = self.begin();
        let mut attributes = Attributes { names: named(text), usage_mask: MASK, ..Attributes::default() };
        attributes.dates.activation = is_active.then(|| self.vault.now());
        let (object_type, algorithm) = (ObjectType::SYMMETRIC_KEY, Algorithm::AES);
        let new = NewObject { object_type, algorithm, bits: 256, attributes, material: None };
        let view = self.vault.create_object(&mut unit, &grants, new).await?;
        self.record(&mut unit, Action::Create, Some(&view.header));
        self.commit(unit, Effect::Made(key_of(&view))).await
    }

    pub(crate) async fn activate(&self, who: &Who, id: RowId) -> Done {
        let grants = self.grants(who).await?;
        let mut unit = self.begin();
        let header = self.vault.header(&unit, &grants, id).await?;
        let authorized = grants.check::<Activate>(&header)?;
        self.vault.change(&mut unit, authorized, Event::Activate, |attributes, now| attributes.dates.activation = Some(now)).await?;
        self.record(&mut unit, Action::Activate, Some(&header));
        self.commit(unit, Effect::Moved { id, event: Event::Activate }).await
    }

    pub(crate) async fn revoke(&self, who: &Who, id: RowId, is_compromise: bool) -> Done {
        let grants = self.grants(who).await?;
        let mut unit = self.begin();
        let header = self.vault.header(&unit, &grants, id).await?;
        let revocation = Revocation { code: if is_compromise { 2 } else { 5 }, message: None };
        self.vault.revoke(&mut unit, grants.check::<Revoke>(&header)?, revocation, None).await?;
        self.record(&mut unit, Action::Revoke, Some(&header));
        self.commit(unit, Effect::Moved { id, event: if is_compromise { Event::Compromise } else { Event::Deprecate } }).await
    }

    pub(crate) async fn destroy(&self, who: &Who, id: RowId) -> Done {
        let grants = self.grants(who).await?;
        let mut unit = self.begin();
        let header = self.vault.header(&unit, &grants, id).await?;
        self.vault.destroy(&mut unit, grants.check::<Destroy>(&header)?).await?;
        self.record(&mut unit, Action::Destroy, Some(&header));
        self.commit(unit, Effect::Moved { id, event: Event::Destroy }).await
    }

    pub(crate) async fn rekey(&self, who: &Who, id: RowId) -> Done {
        let grants = self.grants(who).await?;
        let mut unit = self.begin();
        let header = self.vault.header(&unit, &grants, id).await?;
        let new = self.vault.rekey(&mut unit, grants.check::<ReKey>(&header)?, |_, attributes, _| Ok::<_, Error>(attributes)).await?;
        self.record(&mut unit, Action::ReKey, Some(&header));
        self.commit(unit, Effect::Replaced { old: id, new: key_of(&new), is_compromised: false, renews: false }).await
    }

    pub(crate) async fn rekey_tenant(&self, who: &Who) -> Done {
        let tenant = self.vault.tenant_by_name(&who.tenant).await?.ok_or(Error::NotFound)?;
        self.rekey(who, tenant.key).await
    }

    /// Gives an object another name, and an end if `ends` says so.
    pub(crate) async fn edit(&self, who: &Who, id: RowId, text: &str, ends: Option<Time>) -> Done {
        let grants = self.grants(who).await?;
        let mut unit = self.begin();
        let header = self.vault.header(&unit, &grants, id).await?;
        let authorized = grants.check::<ModifyAttribute>(&header)?;
        let edited = |view: &View, _| {
            let mut attributes = Attributes { names: named(text), ..(*view.attributes).clone() };
            attributes.dates.deactivation = ends.or(attributes.dates.deactivation);
            Ok::<_, Error>(attributes)
        };
        let view = self.vault.edit(&mut unit, authorized, edited).await?;
        self.record(&mut unit, Action::ModifyAttribute, Some(&header));
        let deactivation = view.attributes.dates.deactivation;
        self.commit(unit, Effect::Edited { id, names: vec![text.to_owned()], deactivation }).await
    }

    /// Uses a key's bytes, which must be those that it was made with.
    pub(crate) async fn use_key(&self, who: &Who, id: RowId, protects: bool) -> Done {
        let grants = self.grants(who).await?;
        let unit = self.begin();
        let header = self.vault.header(&unit, &grants, id).await?;
        let digest = |bytes: &[u8], view: &View| Ok((cipher::mac::sha256(&[bytes]), view.state));
        let (action, (found, state)) = if protects {
            (Action::Encrypt, self.vault.open(&unit, grants.check::<Encrypt>(&header)?, digest).await?)
        } else {
            (Action::Decrypt, self.vault.open(&unit, grants.check::<Decrypt>(&header)?, digest).await?)
        };
        let expected = self.model.borrow_mut().keys.get_mut(&id).map(|key| *key.digest.get_or_insert(found));
        if expected != Some(found) {
            self.broken(format!("{id} opens to other bytes than it was made with"));
        }
        let other =
            self.model.borrow().keys.iter().find(|(other, key)| **other != id && key.digest == Some(found)).map(|(other, _)| *other);
        if let Some(other) = other {
            self.broken(format!("{id} has the bytes of {other}"));
        }
        if state.is_destroyed() || matches!(state, State::Compromised | State::Retired) {
            self.broken(format!("{id} was used although it is {state:?}"));
        }
        self.looked(unit, action, Some(&header)).await
    }

    /// Looks at a key, and remembers in what state it is said to be.
    pub(crate) async fn look(&self, who: &Who, id: RowId) -> Done {
        let grants = self.grants(who).await?;
        let unit = self.begin();
        let header = self.vault.header(&unit, &grants, id).await?;
        let view = self.vault.attributes(&unit, grants.check::<GetAttributes>(&header)?).await?;
        let known = self.model.borrow().keys.get(&id).and_then(|key| key.digest);
        if known.is_some() && view.attributes.digest != known {
            self.broken(format!("{id} says another digest than it was made with"));
        }
        self.looked(unit, Action::GetAttributes, Some(&header)).await?;
        self.model.borrow_mut().looked.push((self.session, id, view.state));
        Ok(())
    }

    /// Somebody asks for what is another's: it does not exist.
    pub(crate) async fn trespass(&self, who: &Who, id: RowId) -> Done {
        let grants = self.grants(who).await?;
        let unit = self.begin();
        match self.vault.header(&unit, &grants, id).await {
            Err(Error::NotFound | Error::Unavailable { .. }) => self.looked(unit, Action::GetAttributes, None).await,
            other => {
                self.broken(format!("{who:?} was told of {id}: {other:?}"));
                Ok(())
            }
        }
    }

    /// A tenant's keys are in its list, all of them that were `known` before and nobody else's.
    pub(crate) async fn list(&self, who: &Who, known: &BTreeSet<RowId>) -> Done {
        let grants = self.grants(who).await?;
        let filter = KeyFilter { tenant: None, service: None, layer: Layer::L3, before: None, limit: 1000 };
        let page = self.vault.keys(&grants, &filter).await?;
        let model = self.model.borrow();
        let known = known
            .iter()
            .filter_map(|id| model.keys.get(id))
            .filter(|key| key.header.id.layer == Layer::L3 && Some(key.header.owner.tenant) == grants.tenant());
        let missing = known.filter(|key| !page.keys.iter().any(|listed| listed.header.id == key.header.id)).count();
        let foreign = page.keys.iter().filter(|listed| Some(listed.header.owner.tenant) != grants.tenant()).count();
        drop(model);
        if !page.refused.is_empty() || foreign > 0 || missing > 0 {
            self.broken(format!("of the list {missing} keys are missing, {foreign} are foreign, and refused is {:?}", page.refused));
        }
        Ok(())
    }

    pub(crate) async fn rotate_ivk(&self, master: &MasterKey, new: NewIvk) -> Done {
        let mut unit = self.begin();
        let rotated = self.vault.rotate_ivk(&mut unit, master, new).await?;
        if rotated.is_repeated {
            return Ok(());
        }
        let id = unit.records().last().and_then(|record| record.object).expect("a rotation names its new version");
        let NewIvk { is_compromised, renews, .. } = new;
        self.commit(unit, Effect::RotatedIvk { id, version: rotated.version, is_compromised, renews }).await
    }

    /// One step of a walk; where it stands is known to it alone, and to nobody after a crash.
    pub(crate) async fn walk(&self, walker: &RefCell<Option<Cursor>>, limit: usize) -> Done {
        let at = walker.borrow().clone();
        let mut unit = self.begin();
        let walked = self.vault.reencrypt(&mut unit, at, limit).await?;
        // At an edge a row may lie under an L3 that its core has destroyed.
        if !walked.refused.is_empty() && self.vault.node() == NodeRole::Core {
            self.broken(format!("a walk refused {:?}", walked.refused));
        }
        if walked.moved > 0 {
            self.commit(unit, Effect::Nothing).await?;
        }
        if let Some(references) = walked.references {
            self.claim(references);
        }
        *walker.borrow_mut() = walked.next;
        Ok(())
    }

    /// A pass of the sweep finds nothing.
    pub(crate) async fn sweep(&self) -> Done {
        let mut cursor = None;
        loop {
            let swept = self.vault.sweep(cursor, 4096).await?;
            if !swept.findings.is_empty() {
                self.broken(format!("the sweep found {:?}", swept.findings));
            }
            cursor = swept.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    pub(crate) async fn renew_lease(&self) -> Done {
        self.vault.renew_lease().await
    }

    pub(crate) async fn tend(&self) -> Done {
        self.vault.tend().await.map(drop)
    }
}
