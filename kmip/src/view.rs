//! An object of the domain as the attributes of section 3.

use cipher::pair::PairKind;
use keys::attributes::{Attributes, Links, Name, Other};
use keys::id::{Layer, RowId, Time};
use keys::lifecycle;
use keys::policy::verb;
use keys::row::{self, Header};
use keys::vault::View;

use crate::attribute::{Attribute, AttributeName, AttributeValue, Instances};
use crate::context::Context;
use crate::enums::{
    CryptographicAlgorithm, HashingAlgorithm, KeyFormatType, LinkType, NameType, ObjectType, RevocationReasonCode, State, UsageLimitsUnit,
};
use crate::failure::Failure;
use crate::half;
use crate::instance::encoded;
use crate::mask::CryptographicUsageMask;
use crate::object::{self, RevocationReason, UsageLimits};
use crate::schema::Rules;
use crate::template::GENERATOR;
use crate::templates;
use crate::ttlv::{ByteString, DateTime, Interval, Item, Value};
use crate::version::ProtocolVersion;

/// Where an object stands: its layer.
pub(crate) const Y_LAYER: &str = "y-layer";
/// The name of its service.
pub(crate) const Y_SERVICE: &str = "y-service";
/// Which version of its chain it is.
pub(crate) const Y_VERSION: &str = "y-version";
/// The key that wraps it.
pub(crate) const Y_PARENT: &str = "y-parent";

/// Of Secret Data, its type. These are kept with an object like a client's own attributes, but only the server sets them.
pub(crate) const Y_SECRET_DATA_TYPE: &str = "y-secret-data-type";
/// Of a key that came wrapped, that it did.
pub(crate) const Y_CAME_WRAPPED: &str = "y-registered-wrapped";
/// Of what was imported, the identifier that it came under.
pub(crate) const Y_IMPORTED_AS: &str = "y-imported-as";
/// Of an Opaque Object, its type.
pub(crate) const Y_OPAQUE_DATA_TYPE: &str = "y-opaque-data-type";
/// Of Secret Data and keys of pairs, the Key Format Type that they came in.
pub(crate) const Y_KEY_FORMAT: &str = "y-key-format-type";

/// One of these, to be kept.
pub(crate) fn kept(name: &str, value: Value<'_>) -> Other {
    Other { name: name.to_owned(), index: 0, value: encoded(&AttributeValue::Custom(name, value)) }
}

/// The number that was kept under this name.
pub(crate) fn kept_number(attributes: &Attributes, name: &str) -> Option<u32> {
    let other = attributes.others.iter().find(|other| other.name == name)?;
    match stored(other) {
        Some(AttributeValue::Custom(_, Value::Enumeration(number))) => Some(number),
        _ => None,
    }
}

/// Did the key come wrapped?
pub(crate) fn came_wrapped(attributes: &Attributes) -> bool {
    attributes.others.iter().any(|other| other.name == Y_CAME_WRAPPED)
}

/// For how long the client of an edge may go by what it knows of an object.
pub(crate) const LEASE: Interval = Interval(3600);

/// What has to be looked up before an object's attributes can be told.
#[derive(Debug)]
pub(crate) struct Surroundings {
    id: String,
    links: Vec<String>,
    service: Option<String>,
    parent: Option<String>,
    /// How much of its Usage Limits is left.
    usage_left: Option<u64>,
    /// May the client know the digest of the material?
    has_digest: bool,
}

impl Surroundings {
    /// Looks up what `wanted` names.
    pub(crate) async fn of(context: &Context<'_>, view: &View, wanted: impl Fn(&str) -> bool) -> Result<Self, Failure> {
        let service = match view.header.owner.service.filter(|_| wanted(Y_SERVICE)) {
            Some(service) => Some(context.vault.service(service).await?.name.to_string()),
            None => None,
        };
        let parent = match wanted(Y_PARENT) {
            true => Some(match context.vault.parent_of(&view.header).await? {
                Some(parent) => parent.to_string(),
                None => format!("IVK.{}", view.header.parent.version.0),
            }),
            false => None,
        };
        let usage_left = match &view.attributes.usage_limits {
            Some(limits) if wanted(AttributeName::UsageLimits.row().name) => Some(context.vault.usage_left(view.header.id, limits).await?),
            _ => None,
        };
        let links = links(&view.attributes).map(|(_, (_, id))| id.to_string()).collect();
        let may_get = view.header.id.layer == Layer::L4 && context.grants.check::<verb::Get>(&view.header).is_ok();
        Ok(Self { id: view.header.id.to_string(), links, service, parent, usage_left, has_digest: may_get })
    }
}

/// The `wanted` attributes that the object has and its owner may see, in the standard's order.
///
/// Digest is for those only who may have the material itself (C7), which at a core is nobody.
pub(crate) fn attributes<'a>(view: &'a View, around: &'a Surroundings, wanted: impl Fn(&str) -> bool) -> Vec<Attribute<'a>> {
    let plain = plain_values(view, around).into_iter().map(|value| (0, value));
    let all = plain.chain(several_values(&view.attributes, around));
    let mut instances: Vec<(u32, AttributeValue<'_>)> = all.filter(|(_, value)| wanted(value.name())).collect();
    let place = |value: &AttributeValue<'_>| value.standard().map_or(usize::MAX, |name| name as usize);
    instances.sort_by(|(index, one), (other_index, other)| {
        place(one).cmp(&place(other)).then_with(|| one.name().cmp(other.name())).then(index.cmp(other_index))
    });
    instances.into_iter().map(|(index, value)| Attribute { index: shown_index(&value, index), value }).collect()
}

/// The index of an instance of what may have several; a single one goes without.
pub(crate) fn shown_index(value: &AttributeValue<'_>, index: u32) -> Option<i32> {
    let several = value.standard().is_none_or(|name| name.row().instances == Instances::Many);
    i32::try_from(index).ok().filter(|_| several)
}

/// The links that Re-key made: to what the key replaces and to what replaces it, by kind and identifier, each with its index.
pub(crate) fn links(attributes: &Attributes) -> impl Iterator<Item = (u32, (LinkType, RowId))> {
    let Links { replaced, replacement, replacement_index } = attributes.links;
    let replaced = replaced.map(|id| (0, (LinkType::ReplacedObjectLink, id)));
    let replacement = replacement.map(|id| (replacement_index, (LinkType::ReplacementObjectLink, id)));
    replaced.into_iter().chain(replacement)
}

/// What may have several instances, each with its index.
fn several_values<'a>(attributes: &'a Attributes, around: &'a Surroundings) -> impl Iterator<Item = (u32, AttributeValue<'a>)> {
    use AttributeValue as A;
    let name = |name: &'a Name| (name.index, A::Name(object::Name { value: Some(&name.value), name_type: NameType::of(name.kind) }));
    let link = |((index, kind), id): ((u32, LinkType), &'a String)| {
        (index, A::Link(object::Link { link_type: Some(kind), linked_object_identifier: Some(id) }))
    };
    let kinds = links(attributes).map(|(index, (kind, _))| (index, kind));
    let names = attributes.names.iter().map(name);
    let groups = attributes.object_groups.iter().map(|group| (group.index, A::ObjectGroup(&group.value)));
    let others = attributes.others.iter().filter_map(|other| stored(other).map(|value| (other.index, value)));
    names.chain(groups).chain(kinds.zip(&around.links).map(link)).chain(others)
}

/// What there is one of, and where the object stands.
fn plain_values<'a>(view: &'a View, around: &'a Surroundings) -> Vec<AttributeValue<'a>> {
    use AttributeValue as A;
    let (header, attributes, dates) = (&view.header, &view.attributes, &view.attributes.dates);
    let mut values = vec![
        A::UniqueIdentifier(&around.id),
        A::InitialDate(date(dates.initial)),
        A::LastChangeDate(date(dates.last_change)),
        A::Custom(Y_LAYER, Value::TextString(layer_name(header.id.layer))),
        A::Custom(Y_VERSION, Value::Integer(i32::try_from(header.version.0).unwrap_or(i32::MAX))),
    ];
    values.extend(ObjectType::of(header.object_type.0).map(A::ObjectType));
    values.extend(around.service.as_deref().map(|service| A::Custom(Y_SERVICE, Value::TextString(service))));
    values.extend(around.parent.as_deref().map(|parent| A::Custom(Y_PARENT, Value::TextString(parent))));
    if templates::is_one(header) {
        return values;
    }
    values.extend([
        A::State(state(view.state)),
        A::CryptographicLength(bits(view)),
        A::CryptographicUsageMask(CryptographicUsageMask(attributes.usage_mask.cast_signed())),
        A::Fresh(!attributes.served),
        A::Sensitive(attributes.sensitive),
        A::AlwaysSensitive(attributes.always_sensitive),
        A::Extractable(attributes.extractable),
        A::NeverExtractable(attributes.never_extractable),
    ]);
    values.extend(CryptographicAlgorithm::of(header.algorithm.0).map(A::CryptographicAlgorithm));
    values.extend(dates.activation.map(|time| A::ActivationDate(date(time))));
    values.extend(dates.process_start.map(|time| A::ProcessStartDate(date(time))));
    values.extend(dates.protect_stop.map(|time| A::ProtectStopDate(date(time))));
    values.extend(dates.deactivation.map(|time| A::DeactivationDate(date(time))));
    values.extend(dates.destroy.map(|time| A::DestroyDate(date(time))));
    values.extend(dates.compromise_occurrence.map(|time| A::CompromiseOccurrenceDate(date(time))));
    values.extend(dates.compromise.map(|time| A::CompromiseDate(date(time))));
    values.extend(archived(view).map(|time| A::ArchiveDate(date(time))));
    values.extend((header.id.layer == Layer::L4).then_some(A::LeaseTime(LEASE)));
    values.extend(is_made_by_core(view, AttributeName::OriginalCreationDate).then(|| A::OriginalCreationDate(date(dates.initial))));
    values.extend(is_made_by_core(view, AttributeName::RandomNumberGenerator).then_some(A::RandomNumberGenerator(GENERATOR)));
    values.extend(attributes.usage_limits.map(|limits| {
        let number = |units: u64| i64::try_from(units).ok();
        let (total, count) = (number(limits.total), around.usage_left.and_then(number));
        A::UsageLimits(UsageLimits { total, count, unit: UsageLimitsUnit::of(limits.unit) })
    }));
    values.extend(attributes.digest.as_ref().filter(|_| around.has_digest).map(|digest| {
        A::Digest(object::Digest {
            hashing_algorithm: Some(HashingAlgorithm::Sha256),
            digest_value: Some(ByteString(digest)),
            key_format_type: Some(digest_format(header)),
        })
    }));
    values.extend(attributes.revocation.as_ref().map(|revocation| {
        let (code, message) = (RevocationReasonCode::of(revocation.code), revocation.message.as_deref());
        A::RevocationReason(RevocationReason { code, message })
    }));
    values
}

/// Whether an attribute that tells how an object was made follows from the object's being a core's, and is not noted with it (3.43, 3.44): whatever a core
/// has it made itself, at its Initial Date, with the system's generator. Its client may have said another date.
pub(crate) fn is_made_by_core(view: &View, name: AttributeName) -> bool {
    let tells = matches!(name, AttributeName::OriginalCreationDate | AttributeName::RandomNumberGenerator);
    tells && view.header.id.layer != Layer::L4 && !view.attributes.others.iter().any(|other| other.name == name.row().name)
}

/// The format in which an object is stored, so that its digest is of that.
fn digest_format(header: &Header) -> KeyFormatType {
    stored_format(header.object_type, half::kind(header))
}

/// The same of an object that is not stored yet; a certificate too has a key of some kind.
pub(crate) fn stored_format(object_type: row::ObjectType, kind: Option<PairKind>) -> KeyFormatType {
    match kind {
        Some(kind) if matches!(object_type, row::ObjectType::PUBLIC_KEY | row::ObjectType::PRIVATE_KEY) => {
            half::stored_format(object_type, kind)
        }
        _ if object_type.0 == ObjectType::Certificate.number() => KeyFormatType::X509,
        _ => KeyFormatType::Raw,
    }
}

/// Cryptographic Length; an object's size does not change when its material goes.
pub(crate) fn bits(view: &View) -> i32 {
    i32::try_from(view.header.bits).unwrap_or(i32::MAX)
}

/// Since when an object is archived: a version of a core's key that is Retired, too, of which nothing changes after that.
pub(crate) fn archived(view: &View) -> Option<Time> {
    let Attributes { archived, dates, .. } = &*view.attributes;
    archived.or_else(|| (view.state == lifecycle::State::Retired).then_some(dates.last_change))
}

/// The state by which the standard knows one of ours: it has one word for what no longer protects.
pub(crate) fn state(state: lifecycle::State) -> State {
    match state {
        lifecycle::State::PreActive => State::PreActive,
        lifecycle::State::Active => State::Active,
        lifecycle::State::Deprecated | lifecycle::State::Retired => State::Deactivated,
        lifecycle::State::Compromised => State::Compromised,
        lifecycle::State::Destroyed => State::Destroyed,
        lifecycle::State::DestroyedCompromised => State::DestroyedCompromised,
    }
}

/// The layer as [`Y_LAYER`] carries it.
pub(crate) fn layer_name(layer: Layer) -> &'static str {
    match layer {
        Layer::L2 => "L2",
        Layer::L21 => "L2.1",
        Layer::L3 => "L3",
        Layer::L4 => "L4",
        Layer::Cluster
        | Layer::Ivk
        | Layer::Integrity
        | Layer::Audit
        | Layer::Tenant
        | Layer::Service
        | Layer::EdgeGroup
        | Layer::AttributeKey
        | Layer::Name
        | Layer::IvBudget
        | Layer::UsageBudget
        | Layer::Bucket
        | Layer::Answer
        | Layer::Resource
        | Layer::Request => "",
    }
}

/// An attribute that the domain only keeps. It was legal when it was stored, and the latest version has all that older ones have.
pub(crate) fn stored(other: &Other) -> Option<AttributeValue<'_>> {
    let item = Item::only(&other.value).ok()?;
    AttributeValue::read(&other.name, item, Rules::of(ProtocolVersion::LATEST)).ok()
}

fn date(time: Time) -> DateTime {
    DateTime(time.seconds())
}
