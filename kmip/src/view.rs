//! An object of the domain as the attributes of section 3.

use keys::attributes::Other;
use keys::id::{Layer, Time};
use keys::lifecycle;
use keys::vault::View;

use crate::attribute::{Attribute, AttributeName, AttributeValue, Instances};
use crate::context::Context;
use crate::enums::{CryptographicAlgorithm, NameType, ObjectType, RevocationReasonCode, State};
use crate::failure::Failure;
use crate::mask::CryptographicUsageMask;
use crate::object::{Name, RevocationReason};
use crate::schema::Rules;
use crate::ttlv::{DateTime, Item, Value};
use crate::version::ProtocolVersion;

/// Where an object stands: its layer.
pub(crate) const Y_LAYER: &str = "y-layer";
/// The name of its service.
pub(crate) const Y_SERVICE: &str = "y-service";
/// Which version of its chain it is.
pub(crate) const Y_VERSION: &str = "y-version";
/// The key that wraps it.
pub(crate) const Y_PARENT: &str = "y-parent";

/// What has to be looked up before an object's attributes can be told.
#[derive(Debug)]
pub(crate) struct Surroundings {
    id: String,
    service: Option<String>,
    parent: Option<String>,
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
        Ok(Self { id: view.header.id.to_string(), service, parent })
    }
}

/// All attributes that the object has and its owner may see, in the standard's order.
///
/// Digest is not among them: it is for those only who may have the key itself (C7), and nobody may at a core.
pub(crate) fn attributes<'a>(view: &'a View, around: &'a Surroundings) -> Vec<Attribute<'a>> {
    let mut values = plain_values(view, &around.id);
    values.extend(view.attributes.others.iter().filter_map(stored));
    values.push(AttributeValue::Custom(Y_LAYER, Value::TextString(layer_name(view.header.id.layer))));
    values.extend(around.service.as_deref().map(|service| AttributeValue::Custom(Y_SERVICE, Value::TextString(service))));
    let version = i32::try_from(view.header.version.0).unwrap_or(i32::MAX);
    values.push(AttributeValue::Custom(Y_VERSION, Value::Integer(version)));
    values.extend(around.parent.as_deref().map(|parent| AttributeValue::Custom(Y_PARENT, Value::TextString(parent))));
    values.sort_by_key(|value| (value.standard().map_or(usize::MAX, |name| name as usize), value.name()));
    indexed(values)
}

/// What the domain itself acts on.
fn plain_values<'a>(view: &'a View, id: &'a str) -> Vec<AttributeValue<'a>> {
    use AttributeValue as A;
    let (header, attributes, dates) = (&view.header, &view.attributes, &view.attributes.dates);
    let mut values = vec![
        A::UniqueIdentifier(id),
        A::State(state(view.state)),
        A::CryptographicLength(bits(view)),
        A::CryptographicUsageMask(CryptographicUsageMask(attributes.usage_mask.cast_signed())),
        A::InitialDate(date(dates.initial)),
        A::LastChangeDate(date(dates.last_change)),
        A::Fresh(FRESH),
        A::Sensitive(attributes.sensitive),
        // Neither changes after Create, so what holds now has always held.
        A::AlwaysSensitive(attributes.sensitive),
        A::Extractable(attributes.extractable),
        A::NeverExtractable(!attributes.extractable),
    ];
    values.extend(ObjectType::of(header.object_type.0).map(A::ObjectType));
    values.extend(CryptographicAlgorithm::of(header.algorithm.0).map(A::CryptographicAlgorithm));
    values.extend(attributes.names.iter().map(|name| A::Name(Name { value: Some(&name.value), name_type: NameType::of(name.kind) })));
    values.extend(attributes.object_groups.iter().map(|group| A::ObjectGroup(group)));
    values.extend(dates.activation.map(|time| A::ActivationDate(date(time))));
    values.extend(dates.process_start.map(|time| A::ProcessStartDate(date(time))));
    values.extend(dates.protect_stop.map(|time| A::ProtectStopDate(date(time))));
    values.extend(dates.deactivation.map(|time| A::DeactivationDate(date(time))));
    values.extend(dates.destroy.map(|time| A::DestroyDate(date(time))));
    values.extend(dates.compromise_occurrence.map(|time| A::CompromiseOccurrenceDate(date(time))));
    values.extend(dates.compromise.map(|time| A::CompromiseDate(date(time))));
    values.extend(attributes.revocation.as_ref().map(|revocation| {
        let (code, message) = (RevocationReasonCode::of(revocation.code), revocation.message.as_deref());
        A::RevocationReason(RevocationReason { code, message })
    }));
    values
}

/// A core serves no key's bytes to anybody, so all its keys are fresh (3.34).
pub(crate) const FRESH: bool = true;

/// Cryptographic Length; an object's size does not change when its material goes.
pub(crate) fn bits(view: &View) -> i32 {
    i32::try_from(view.header.bits).unwrap_or(i32::MAX)
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
        | Layer::Name
        | Layer::IvBudget
        | Layer::Bucket => "",
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

/// Numbers the instances of what may have several; a single one goes without a number.
fn indexed(values: Vec<AttributeValue<'_>>) -> Vec<Attribute<'_>> {
    let mut attributes: Vec<Attribute<'_>> = Vec::with_capacity(values.len());
    for value in values {
        let several = value.standard().is_none_or(|name: AttributeName| name.row().instances == Instances::Many);
        let before = attributes.iter().filter(|attribute| attribute.value.name() == value.name()).count();
        let index = i32::try_from(before).ok().filter(|_| several);
        attributes.push(Attribute { index, value });
    }
    attributes
}
