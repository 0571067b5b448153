//! What a Locate request asks for: blind terms for the store, and criteria for what the store cannot see.

use keys::attributes::Other;
use keys::id::{Layer, RowId, ServiceId, TenantId, Time};
use keys::policy::NodeRole;
use keys::row::{ParentRef, Term};
use keys::terms::TermMaker;
use keys::vault::View;

use crate::attribute::{AttributeName, AttributeValue};
use crate::context::Context;
use crate::enums::{LinkType, ObjectGroupMember, State};
use crate::failure::Failure;
use crate::instance::encoded;
use crate::mask::StorageStatusMask;
use crate::object::{Name, RevocationReason};
use crate::payload::LocateRequest;
use crate::template::GENERATOR;
use crate::templates;
use crate::ttlv::{DateTime, Item, ItemType, Value};
use crate::view;

/// A search: what matches carries all terms and meets all criteria.
pub(crate) struct Search {
    /// Whose objects are searched: a layer of core's keys, or what an edge holds.
    pub(crate) layer: Layer,
    /// For the store, the most selective first.
    pub(crate) terms: Vec<Term>,
    criteria: Vec<Criterion>,
    dates: Vec<(AttributeName, i64)>,
    storage: StorageStatusMask,
    with_destroyed: bool,
    only_newest: bool,
}

/// What an object has to be like.
enum Criterion {
    /// Nothing here is.
    Never,
    /// One of these.
    Ids(Vec<RowId>),
    Name {
        value: Option<String>,
        kind: Option<u32>,
    },
    ObjectType(u32),
    Algorithm(u32),
    Length(i32),
    /// All these bits.
    Mask(u32),
    State(State),
    Revocation {
        code: Option<u32>,
        message: Option<String>,
    },
    Group(String),
    Fresh(bool),
    Sensitive(bool),
    AlwaysSensitive(bool),
    Extractable(bool),
    NeverExtractable(bool),
    /// One that Re-key made, or one that is only kept.
    Link {
        kind: Option<LinkType>,
        target: Option<String>,
        kept: Box<Self>,
    },
    /// The system's, or one that is kept.
    Generator {
        is_ours: bool,
        kept: Box<Self>,
    },
    Service(ServiceId),
    Version(i32),
    Parent(ParentRef),
    /// An attribute that is only kept, given in whole or in part.
    Kept {
        name: String,
        value: Vec<u8>,
    },
    /// Within two dates, both included, in seconds.
    Between {
        name: AttributeName,
        first: i64,
        last: i64,
    },
}

impl Search {
    /// Reads the request; attributes count the same bare or in a Template-Attribute.
    ///
    /// # Errors
    /// Invalid Field for attributes that nobody here understands.
    pub(crate) async fn read(context: &Context<'_>, request: &LocateRequest<'_>) -> Result<Self, Failure> {
        let storage = request.storage_status_mask.unwrap_or(StorageStatusMask::ON_LINE);
        let (criteria, dates) = (Vec::new(), Vec::new());
        let layer = match context.vault.node() {
            NodeRole::Core => Layer::L3,
            NodeRole::Edge => Layer::L4,
        };
        let mut search = Self { layer, terms: Vec::new(), criteria, dates, storage, with_destroyed: false, only_newest: false };
        let template = request.template_attribute.as_ref();
        // In Locate no Template is used, so a name that stands where one's would is the object's.
        for name in template.iter().flat_map(|template| &template.names) {
            search.name(context, name);
        }
        for attribute in request.attributes.iter().chain(template.iter().flat_map(|template| &template.attributes)) {
            search.add(context, &attribute.value).await?;
        }
        search.add_dates()?;
        search.add_member(context, request).await?;
        Ok(search)
    }

    /// Whether an object is one of those that were asked for.
    pub(crate) fn fits(&self, view: &View) -> bool {
        let place = if view::archived(view).is_some() { StorageStatusMask::ARCHIVAL } else { StorageStatusMask::ON_LINE };
        let is_wanted = self.with_destroyed || !view.state.is_destroyed();
        let may_fit = |criterion: &Criterion| !templates::is_one(&view.header) || criterion.is_of_templates();
        self.storage.has(place) && is_wanted && self.criteria.iter().all(|criterion| may_fit(criterion) && criterion.fits(view))
    }

    /// What was asked for, of what was found, newest first.
    pub(crate) fn wanted(&self, mut found: Vec<RowId>) -> Vec<RowId> {
        if self.only_newest {
            found.truncate(1);
        }
        found
    }

    async fn add(&mut self, context: &Context<'_>, value: &AttributeValue<'_>) -> Result<(), Failure> {
        use AttributeValue as A;
        let criterion = match value {
            A::UniqueIdentifier(id) => {
                let imported = context.vault.imported_id(&context.grants, id);
                Some(Criterion::Ids(id.parse().ok().into_iter().chain(imported).collect()))
            }
            A::Name(name) => Some(self.name(context, name)),
            A::ObjectType(kind) => Some(Criterion::ObjectType(kind.number())),
            A::CryptographicAlgorithm(algorithm) => Some(Criterion::Algorithm(algorithm.number())),
            A::CryptographicLength(bits) => Some(Criterion::Length(*bits)),
            A::CryptographicUsageMask(mask) => Some(Criterion::Mask(mask.0.cast_unsigned())),
            A::State(state) => {
                self.with_destroyed = true;
                Some(Criterion::State(*state))
            }
            A::RevocationReason(RevocationReason { code, message }) => {
                Some(Criterion::Revocation { code: code.map(|code| code.number()), message: message.map(ToOwned::to_owned) })
            }
            A::ObjectGroup(group) => {
                self.term(context, |terms, tenant| terms.object_group(tenant, group));
                Some(Criterion::Group((*group).to_owned()))
            }
            A::Fresh(fresh) => Some(Criterion::Fresh(*fresh)),
            A::Sensitive(value) => Some(Criterion::Sensitive(*value)),
            A::AlwaysSensitive(value) => Some(Criterion::AlwaysSensitive(*value)),
            A::Extractable(value) => Some(Criterion::Extractable(*value)),
            A::NeverExtractable(value) => Some(Criterion::NeverExtractable(*value)),
            A::Link(link) => Some(Criterion::Link {
                kind: link.link_type,
                target: link.linked_object_identifier.map(ToOwned::to_owned),
                kept: Box::new(self.kept(context, value)),
            }),
            A::RandomNumberGenerator(asked) => {
                Some(Criterion::Generator { is_ours: *asked == GENERATOR, kept: Box::new(self.kept(context, value)) })
            }
            A::StorageStatusMask(mask) => {
                self.storage = *mask;
                None
            }
            A::InitialDate(date)
            | A::ActivationDate(date)
            | A::ProcessStartDate(date)
            | A::ProtectStopDate(date)
            | A::DeactivationDate(date)
            | A::CompromiseOccurrenceDate(date)
            | A::CompromiseDate(date)
            | A::ArchiveDate(date)
            | A::LastChangeDate(date)
            | A::OriginalCreationDate(date)
            | A::DestroyDate(date) => {
                self.date(value, *date);
                None
            }
            A::Custom(name, value) if is_layer_name(name) => self.place(context, view::Y_LAYER, value).await?,
            A::Custom(view::Y_IMPORTED_AS, _) => Some(self.kept(context, value)),
            A::Custom(name, value) if name.starts_with("y-") => self.place(context, name, value).await?,
            A::Custom(..)
            | A::AlternativeName(_)
            | A::ApplicationSpecificInformation(_)
            | A::CertificateLength(_)
            | A::CertificateType(_)
            | A::Comment(_)
            | A::ContactInformation(_)
            | A::CryptographicDomainParameters(_)
            | A::CryptographicParameters(_)
            | A::Description(_)
            | A::DigitalSignatureAlgorithm(_)
            | A::OperationPolicyName(_)
            | A::X509CertificateIdentifier(_)
            | A::X509CertificateIssuer(_)
            | A::X509CertificateSubject(_) => Some(self.kept(context, value)),
            // No object has any of these, or (Digest) nobody may know.
            A::CertificateIdentifier(_)
            | A::CertificateIssuer(_)
            | A::CertificateSubject(_)
            | A::Digest(_)
            | A::KeyValueLocation(_)
            | A::KeyValuePresent(_)
            | A::LeaseTime(_)
            | A::Pkcs12FriendlyName(_)
            | A::UsageLimits(_) => Some(Criterion::Never),
        };
        self.criteria.extend(criterion);
        Ok(())
    }

    fn name(&mut self, context: &Context<'_>, name: &Name<'_>) -> Criterion {
        if let Some(value) = name.value {
            self.term(context, |terms, tenant| terms.name(tenant, value));
        }
        let (value, kind) = (name.value.map(ToOwned::to_owned), name.name_type.map(|kind| kind.number()));
        Criterion::Name { value, kind }
    }

    fn date(&mut self, value: &AttributeValue<'_>, DateTime(seconds): DateTime) {
        if let Some(name) = value.standard() {
            self.with_destroyed |= name == AttributeName::DestroyDate;
            self.dates.push((name, seconds));
        }
    }

    /// The attributes that say where an object stands; the layer is a place to search and leaves nothing to compare.
    async fn place(&mut self, context: &Context<'_>, name: &str, value: &Value<'_>) -> Result<Option<Criterion>, Failure> {
        let criterion = match (name, value) {
            (view::Y_LAYER, Value::TextString(text)) => {
                let layers = [Layer::L2, Layer::L21, Layer::L3, Layer::L4];
                let named = layers.into_iter().find(|layer| view::layer_name(*layer) == *text);
                let is_here = |layer: &Layer| (*layer == Layer::L4) == (context.vault.node() == NodeRole::Edge);
                if let Some(layer) = named.filter(is_here) {
                    self.layer = layer;
                    return Ok(None);
                }
                None
            }
            (view::Y_SERVICE, Value::TextString(text)) => service(context, text).await?.map(Criterion::Service),
            (view::Y_VERSION, Value::Integer(version)) => Some(Criterion::Version(*version)),
            (view::Y_PARENT, Value::TextString(text)) => parent(context, text).await?.map(Criterion::Parent),
            (view::Y_LAYER | view::Y_SERVICE | view::Y_VERSION | view::Y_PARENT, _) => None,
            _ => return Err(Failure::field("Attribute Name: the server makes no such attribute")),
        };
        Ok(criterion.or(Some(Criterion::Never)))
    }

    /// An attribute that is only kept. A whole value has a term; a structure may be given in part, so it is compared field by field.
    fn kept(&mut self, context: &Context<'_>, value: &AttributeValue<'_>) -> Criterion {
        let (name, value) = (value.name().to_owned(), encoded(value));
        if Item::only(&value).is_ok_and(|item| item.kind != ItemType::Structure) {
            self.term(context, |terms, tenant| terms.other(tenant, &name, &value));
        }
        Criterion::Kept { name, value }
    }

    fn term(&mut self, context: &Context<'_>, make: impl FnOnce(&TermMaker, TenantId) -> Term) {
        let terms = &context.vault.registry().integrity().terms;
        self.terms.extend(context.grants.tenant().map(|tenant| make(terms, tenant)));
    }

    /// One date of a kind is that date, two are a range.
    fn add_dates(&mut self) -> Result<(), Failure> {
        let mut dates = std::mem::take(&mut self.dates);
        while let Some((name, one)) = dates.pop() {
            let others: Vec<i64> = dates.iter().filter(|date| date.0 == name).map(|date| date.1).collect();
            let (first, last) = match *others.as_slice() {
                [] => (one, one),
                [other] => (one.min(other), one.max(other)),
                _ => return Err(Failure::field(format!("{}: give one date, or two for a range", name.row().name))),
            };
            dates.retain(|date| date.0 != name);
            self.criteria.push(Criterion::Between { name, first, last });
        }
        Ok(())
    }

    /// Object Group Member, 4.9: fresh is what has not been served. The default is, at a core, each service's default key; at an edge, the newest Active
    /// object of those that were asked for, so that whoever puts an object into a group and activates it makes it the default.
    async fn add_member(&mut self, context: &Context<'_>, request: &LocateRequest<'_>) -> Result<(), Failure> {
        match request.object_group_member {
            None => {}
            Some(ObjectGroupMember::GroupMemberFresh) => self.criteria.push(Criterion::Fresh(true)),
            Some(ObjectGroupMember::GroupMemberDefault) => {
                self.only_newest = context.vault.node() == NodeRole::Edge;
                let default = match context.grants.tenant() {
                    _ if self.only_newest => Criterion::State(State::Active),
                    Some(tenant) => Criterion::Ids(context.vault.default_keys(context.unit, tenant).await?),
                    None => Criterion::Never,
                };
                self.criteria.push(default);
            }
            Some(ObjectGroupMember::Extension(_)) => return Err(Failure::field("Object Group Member: there is no such member")),
        }
        Ok(())
    }
}

/// Whether an attribute of this name says which layer is searched: the server's own, or the name that clients without such attributes use.
pub(crate) fn is_layer_name(name: &str) -> bool {
    matches!(name, view::Y_LAYER | "x-layer")
}

/// The client's service of this name.
async fn service(context: &Context<'_>, text: &str) -> Result<Option<ServiceId>, Failure> {
    let (Some(tenant), Ok(name)) = (context.grants.tenant(), text.parse()) else { return Ok(None) };
    Ok(context.vault.service_by_name(tenant, &name).await?.map(|service| service.id))
}

/// The key version with this identifier, if it is the client's tenant's.
async fn parent(context: &Context<'_>, text: &str) -> Result<Option<ParentRef>, Failure> {
    let Ok(id) = text.parse::<RowId>() else { return Ok(None) };
    match context.vault.header_in_tenant(context.unit, &context.grants, id).await {
        Ok(header) => Ok(Some(ParentRef { chain: header.chain, version: header.version })),
        Err(keys::Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Criterion {
    /// Does it ask for something that Templates have themselves (2.2.6 of 1.0)? The rest of what they hold is said of what is made with them.
    fn is_of_templates(&self) -> bool {
        use AttributeName as N;
        match self {
            Self::Between { name, .. } => matches!(name, N::InitialDate | N::LastChangeDate | N::ArchiveDate),
            Self::Ids(_) | Self::Name { .. } | Self::ObjectType(_) | Self::Service(_) | Self::Version(_) | Self::Parent(_) => true,
            _ => false,
        }
    }

    fn fits(&self, view: &View) -> bool {
        let (header, attributes) = (&view.header, &view.attributes);
        match self {
            Self::Never => false,
            Self::Ids(ids) => ids.contains(&header.id),
            Self::Name { value, kind } => attributes
                .names
                .iter()
                .any(|name| value.as_ref().is_none_or(|value| name.value == *value) && kind.is_none_or(|kind| name.kind == kind)),
            Self::ObjectType(kind) => header.object_type.0 == *kind,
            Self::Algorithm(algorithm) => header.algorithm.0 == *algorithm,
            Self::Length(bits) => view::bits(view) == *bits,
            Self::Mask(mask) => attributes.usage_mask & mask == *mask,
            Self::State(state) => view::state(view.state) == *state,
            Self::Revocation { code, message } => attributes.revocation.as_ref().is_some_and(|revocation| {
                code.is_none_or(|code| revocation.code == code) && (message.is_none() || revocation.message == *message)
            }),
            Self::Group(wanted) => attributes.object_groups.iter().any(|group| group.value == *wanted),
            Self::Fresh(fresh) => attributes.served != *fresh,
            Self::Sensitive(sensitive) => attributes.sensitive == *sensitive,
            Self::AlwaysSensitive(always) => attributes.always_sensitive == *always,
            Self::Extractable(extractable) => attributes.extractable == *extractable,
            Self::NeverExtractable(never) => attributes.never_extractable == *never,
            Self::Link { kind, target, kept } => {
                kept.fits(view)
                    || view::links(attributes).any(|(_, (linked, id))| {
                        kind.is_none_or(|kind| kind == linked) && target.as_ref().is_none_or(|target| *target == id.to_string())
                    })
            }
            Self::Generator { is_ours, kept } => {
                kept.fits(view) || *is_ours && view::is_made_by_core(view, AttributeName::RandomNumberGenerator)
            }
            Self::Service(service) => header.owner.service == Some(*service),
            Self::Version(version) => i32::try_from(header.version.0) == Ok(*version),
            Self::Parent(parent) => header.parent == *parent,
            Self::Kept { name, value } => attributes.others.iter().any(|other| other.name == *name && includes(other, value)),
            Self::Between { name, first, last } => (*first..=*last).contains(&seconds(view, *name)),
        }
    }
}

/// Whether a kept value is `wanted`, or a structure with all its fields.
pub(crate) fn includes(other: &Other, wanted: &[u8]) -> bool {
    let fields = |bytes| {
        let mut fields = Item::only(bytes).and_then(|item| item.fields()).ok()?;
        Some(std::iter::from_fn(|| fields.next_item().ok().flatten()).collect::<Vec<_>>())
    };
    match (fields(&other.value), fields(wanted)) {
        (Some(has), Some(wanted)) => wanted.iter().all(|field| has.contains(field)),
        (None, None) => other.value == wanted,
        _ => false,
    }
}

/// A date of an object in seconds; one that is not set is the largest there is (4.9).
fn seconds(view: &View, name: AttributeName) -> i64 {
    let dates = &view.attributes.dates;
    let date = match name {
        AttributeName::InitialDate => Some(dates.initial),
        AttributeName::LastChangeDate => Some(dates.last_change),
        AttributeName::ActivationDate => dates.activation,
        AttributeName::ProcessStartDate => dates.process_start,
        AttributeName::ProtectStopDate => dates.protect_stop,
        AttributeName::DeactivationDate => dates.deactivation,
        AttributeName::DestroyDate => dates.destroy,
        AttributeName::CompromiseOccurrenceDate => dates.compromise_occurrence,
        AttributeName::CompromiseDate => dates.compromise,
        AttributeName::ArchiveDate => view::archived(view),
        AttributeName::OriginalCreationDate => original_creation(view),
        _ => None,
    };
    date.map_or(i64::MAX, Time::seconds)
}

fn original_creation(view: &View) -> Option<Time> {
    let said = view.attributes.others.iter().find_map(|other| match view::stored(other) {
        Some(AttributeValue::OriginalCreationDate(DateTime(seconds))) => Some(Time::from_seconds(seconds)),
        _ => None,
    });
    let is_made_here = view::is_made_by_core(view, AttributeName::OriginalCreationDate);
    said.or_else(|| is_made_here.then_some(view.attributes.dates.initial))
}
