//! Import (KMIP 1.4 §4.41): an object that comes with its past, under an identifier that another server gave it.
//!
//! That identifier becomes no row's: the row has one that is made of tenant, service and identifier by a MAC. So no service can lay its hand on, or find out about,
//! what another one has under any identifier; two imports under the same one meet in the same row; and any text will do, whatever the other server's look like.
//! The service finds the object by either. What was destroyed stays in its place, and nothing comes back there.
//!
//! A client says what the object was, never more than it could make itself: see [`Import`].

use cipher::aead::Aead;
use secret::{Bytes, scrubbed};

use crate::attributes::{Attributes, Name};
use crate::edge::{MATERIAL_BYTES_MAX, NewObject};
use crate::error::Error;
use crate::id::{ChainId, Layer, RowId, ServiceId, TenantId};
use crate::lifecycle::{Event, State};
use crate::policy::verb::Destroy;
use crate::policy::{Action, Grants};
use crate::port::Change;
use crate::row::{Header, ObjectType, Owner};
use crate::unit::Unit;
use crate::vault::{Vault, View, key_header, next_header};

/// Longest identifier of another server, in bytes.
pub const IMPORTED_ID_BYTES_MAX: usize = 256;

/// An object to be imported, with its material.
#[derive(Debug)]
pub struct Import<'a> {
    /// The identifier that it comes under.
    pub id: &'a str,
    /// An object that is there already makes room for it.
    pub replaces: bool,
    /// What it is. Of its attributes, Always Sensitive and Never Extractable are what its client claims: kept if they are so from here on, and of an object
    /// that is replaced were so. Digest, links between versions and whether it was served are the domain's to say.
    pub object: NewObject,
    /// In which state it was; its dates may have moved it on since.
    pub state: State,
    /// How much of its Usage Limits was used.
    pub used: u64,
}

impl Vault {
    /// The identifier of what the principal's service has imported as `id`, there or not; `None` for who has no service, and at a core.
    #[must_use]
    pub fn imported_id(&self, grants: &Grants, id: &str) -> Option<RowId> {
        let (tenant, service) = grants.tenant().zip(grants.service())?;
        let is_one = self.edge.is_some() && (1..=IMPORTED_ID_BYTES_MAX).contains(&id.len());
        is_one.then(|| self.row_of_import(tenant, service, id))
    }

    fn row_of_import(&self, tenant: TenantId, service: ServiceId, id: &str) -> RowId {
        let bytes = self.shelf.registry.integrity().terms.imported(tenant, service, id);
        RowId::new(Layer::L4, uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Stages an object of the principal's service as it was elsewhere.
    ///
    /// # Errors
    /// [`Error::Exists`]; of one that is to be replaced [`Error::WrongState`], if it could not be destroyed now or would go back to an earlier state, and
    /// [`Error::Denied`] if its Usage Limits are in use and would change; [`Error::Invalid`], [`Error::NameTaken`]; [`Error::Denied`] for who has no
    /// service, or at an edge that keeps nothing; the core's and the store's.
    pub async fn import(&self, unit: &mut Unit, grants: &Grants, import: Import<'_>) -> Result<View, Error> {
        self.must_keep()?;
        let (Some(tenant), Some(service)) = (grants.tenant(), grants.service()) else {
            return Err(Error::Denied { why: "the service that the certificate names does not exist" });
        };
        must_be_whole(&import)?;
        match self.imported_before(unit, grants, &import).await? {
            None => self.import_new(unit, (tenant, service), import).await,
            Some(header) if import.replaces => self.replace(unit, grants, &header, import).await,
            Some(_) => Err(Error::Exists),
        }
    }

    /// What the service has under this identifier: its own by that name, or imported.
    async fn imported_before(&self, unit: &Unit, grants: &Grants, import: &Import<'_>) -> Result<Option<Header>, Error> {
        for id in import.id.parse::<RowId>().ok().into_iter().chain(self.imported_id(grants, import.id)) {
            match self.header(unit, grants, id).await {
                Err(Error::NotFound) => {}
                found => return found.map(Some),
            }
        }
        Ok(None)
    }

    async fn import_new(&self, unit: &mut Unit, (tenant, service): (TenantId, ServiceId), import: Import<'_>) -> Result<View, Error> {
        let id = self.row_of_import(tenant, service, import.id);
        let parent = self.ensure_attribute_key(tenant, service).await?;
        let owner = Owner { tenant, service: Some(service) };
        let new = key_header(id, ChainId::new(id.uuid), owner, parent, Aead::Aes256Gcm);
        let Ready { header, attributes, material } = self.settled(import.object, import.state, new, None)?;
        self.claim_names(unit, &header, &attributes.names).await?;
        if import.used > 0 {
            self.stage_used(unit, &header, import.used).await?;
        }
        let row = self.seal_new(header, &attributes, &material).await?;
        let header = row.header.clone();
        unit.stage(Change::Insert(row));
        Ok(self.seen_as(header, attributes))
    }

    /// Stages that an object makes room for another one under its identifier. It ends with that, so it has to be one that could be destroyed; and its identifier
    /// does not go back to an earlier state.
    async fn replace(&self, unit: &mut Unit, grants: &Grants, found: &Header, import: Import<'_>) -> Result<View, Error> {
        let authorized = grants.check::<Destroy>(found)?;
        let (row, view) = self.row_to_change(unit, &authorized).await?;
        if view.state.is_destroyed() {
            return Err(Error::WrongState {
                is: view.state,
                wants: "an identifier of nothing that was destroyed: that does not come back",
            });
        }
        let _ends = view.state.next(Layer::L4, Event::Destroy)?;
        let is_template = |kind| kind == ObjectType::TEMPLATE;
        if is_template(row.header.object_type) != is_template(import.object.object_type) {
            return Err(Error::invalid("Object Type", "a Template takes the place of a Template, and of nothing else"));
        }
        let parent = match row.header.owner.service {
            Some(service) => self.ensure_attribute_key(row.header.owner.tenant, service).await?,
            None => return Err(Error::corrupt("it is no service's", row.header.id)),
        };
        let new = Header { parent, wrap_seq: row.header.wrap_seq + 1, ..next_header(&row.header) };
        let Ready { header, attributes, material } = self.settled(import.object, import.state, new, Some(&view))?;
        if (header.state as u8) < (view.state as u8) {
            return Err(Error::WrongState { is: view.state, wants: "an import in that State or a later one: no identifier goes back" });
        }
        match self.is_usage_begun(row.header.id).await? {
            true if attributes.usage_limits != view.attributes.usage_limits => {
                return Err(Error::Denied { why: "the object is in use: its Usage Limits stay what they are" });
            }
            false if import.used > 0 => self.stage_used(unit, &header, import.used).await?,
            true | false => {}
        }
        unit.intend(self.now(), Action::Import, &row.header);
        let only_in = |names: &[Name], others: &[Name]| names.iter().filter(|name| !others.contains(name)).cloned().collect::<Vec<_>>();
        self.free_names(unit, &row.header, &only_in(&view.attributes.names, &attributes.names)).await?;
        self.claim_names(unit, &row.header, &only_in(&attributes.names, &view.attributes.names)).await?;
        let expected = row.header.generation;
        let row = self.seal_new(header, &attributes, &material).await?;
        let header = row.header.clone();
        unit.stage(Change::Update { expected, row });
        Ok(self.seen_as(header, attributes))
    }

    /// The object as it will be, with what the domain says of it.
    fn settled(&self, object: NewObject, state: State, header: Header, before: Option<&View>) -> Result<Ready, Error> {
        let NewObject { object_type, algorithm, bits, mut attributes, material } = object;
        let material = material.ok_or_else(|| Error::invalid("Key Material", "an object is imported with it"))?;
        let now = self.now();
        if object_type != ObjectType::TEMPLATE {
            self.limit_life(&mut attributes.dates, now)?;
        }
        attributes.digest = Some(scrubbed(|| material.expose(|bytes| cipher::mac::sha256(&[bytes]))));
        let before = before.map(|view| &view.attributes);
        attributes.always_sensitive &= attributes.sensitive && before.is_none_or(|before| before.always_sensitive);
        attributes.never_extractable &= !attributes.extractable && before.is_none_or(|before| before.never_extractable);
        attributes.served = true;
        attributes.links = before.map(|before| before.links).unwrap_or_default();
        let state = attributes.dates.state_at(state, now);
        let header = Header { object_type, algorithm, bits, state, expiry: attributes.dates.deactivation, ..header };
        Ok(Ready { header, attributes, material })
    }
}

/// An object that is ready to be sealed.
struct Ready {
    header: Header,
    attributes: Attributes,
    material: Bytes,
}

fn must_be_whole(import: &Import<'_>) -> Result<(), Error> {
    let NewObject { material, attributes, .. } = &import.object;
    if import.id.is_empty() || import.id.len() > IMPORTED_ID_BYTES_MAX {
        return Err(Error::invalid("Unique Identifier", format!("1 to {IMPORTED_ID_BYTES_MAX} bytes")));
    }
    if import.id.parse::<RowId>().is_ok_and(|id| id.layer != Layer::L4) {
        return Err(Error::invalid("Unique Identifier", "it is one of a core's keys, and nothing is imported to a core"));
    }
    if material.as_ref().is_some_and(|material| material.len() > MATERIAL_BYTES_MAX) {
        return Err(Error::invalid("Key Material", format!("at most {MATERIAL_BYTES_MAX} bytes")));
    }
    if !matches!(import.state, State::PreActive | State::Active | State::Deprecated | State::Compromised) {
        return Err(Error::invalid("State", "Pre-Active, Active, Deactivated or Compromised: what is destroyed is not imported"));
    }
    if attributes.usage_limits.is_none_or(|limits| import.used > limits.total) && import.used > 0 {
        return Err(Error::invalid("Usage Limits", "Usage Limits Count is at most the Total"));
    }
    Ok(())
}
