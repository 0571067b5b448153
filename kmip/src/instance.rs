//! Where each attribute that a client may set is kept: its instances are listed, put and taken here and nowhere else.

use keys::attributes::{Attributes, Group, NAMES_MAX, Name, Other, UsageLimits};
use keys::id::Time;
use keys::lifecycle::Dates;

use crate::attribute::{AttributeName, AttributeValue};
use crate::enums::{LinkType, NameType, ResultReason, UsageLimitsUnit};
use crate::error::excerpt;
use crate::failure::Failure;
use crate::object;
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::{DateTime, Writer};
use crate::version::ProtocolVersion;
use crate::view;

/// Most attributes of one key that the domain only keeps.
pub(crate) const OTHERS_MAX: usize = 64;
/// Most Object Groups of one key.
pub(crate) const OBJECT_GROUPS_MAX: usize = 16;
/// First and last second that a date may have: years 1 and 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// What is said of an attribute that no object has by a client's wish.
pub(crate) const NOT_GIVEN: &str = "no object here has this attribute by a client's wish";

/// Whether an object can have this attribute by a client's wish; a key of a core, all but Usage Limits.
pub(crate) fn is_supported(value: &AttributeValue<'_>) -> bool {
    use AttributeValue as A;
    matches!(
        value,
        A::ActivationDate(_)
            | A::AlternativeName(_)
            | A::ApplicationSpecificInformation(_)
            | A::Comment(_)
            | A::ContactInformation(_)
            | A::CryptographicParameters(_)
            | A::Custom(..)
            | A::DeactivationDate(_)
            | A::Description(_)
            | A::Extractable(_)
            | A::Link(_)
            | A::Name(_)
            | A::ObjectGroup(_)
            | A::OperationPolicyName(_)
            | A::OriginalCreationDate(_)
            | A::ProcessStartDate(_)
            | A::ProtectStopDate(_)
            | A::RandomNumberGenerator(_)
            | A::Sensitive(_)
            | A::UsageLimits(_)
    )
}

/// The indexes of the instances that there are, by the attribute's name, ascending.
pub(crate) fn indexes(attributes: &Attributes, name: &str) -> Vec<u32> {
    let dates = &attributes.dates;
    let one = |is_there: bool| if is_there { vec![0] } else { vec![] };
    let mut indexes = match AttributeName::of(name) {
        Some(AttributeName::Name) => attributes.names.iter().map(|name| name.index).collect(),
        Some(AttributeName::ObjectGroup) => attributes.object_groups.iter().map(|group| group.index).collect(),
        Some(AttributeName::Link) => view::links(attributes).map(|(index, _)| index).chain(kept(attributes, name)).collect(),
        Some(AttributeName::ActivationDate) => one(dates.activation.is_some()),
        Some(AttributeName::ProcessStartDate) => one(dates.process_start.is_some()),
        Some(AttributeName::ProtectStopDate) => one(dates.protect_stop.is_some()),
        Some(AttributeName::DeactivationDate) => one(dates.deactivation.is_some()),
        Some(AttributeName::UsageLimits) => one(attributes.usage_limits.is_some()),
        Some(
            AttributeName::CryptographicAlgorithm
            | AttributeName::CryptographicLength
            | AttributeName::CryptographicUsageMask
            | AttributeName::Extractable
            | AttributeName::Fresh
            | AttributeName::Sensitive,
        ) => one(true),
        _ => kept(attributes, name).collect(),
    };
    indexes.sort_unstable();
    indexes
}

/// The indexes of the instances among what the domain only keeps.
pub(crate) fn kept<'a>(attributes: &'a Attributes, name: &'a str) -> impl Iterator<Item = u32> + 'a {
    attributes.others.iter().filter(move |other| other.name == name).map(|other| other.index)
}

/// The index of the next instance: no living one's, and above them all, so that none changes (2.1.1).
pub(crate) fn next_index(attributes: &Attributes, name: &str) -> u32 {
    indexes(attributes, name).last().map_or(0, |last| last + 1)
}

/// The value of one instance of an attribute that may be removed.
pub(crate) fn value<'a>(attributes: &'a Attributes, name: &str, index: u32) -> Option<AttributeValue<'a>> {
    match AttributeName::of(name) {
        Some(AttributeName::Name) => {
            let found = attributes.names.iter().find(|name| name.index == index)?;
            Some(AttributeValue::Name(object::Name { value: Some(&found.value), name_type: NameType::of(found.kind) }))
        }
        Some(AttributeName::ObjectGroup) => {
            attributes.object_groups.iter().find(|group| group.index == index).map(|group| AttributeValue::ObjectGroup(&group.value))
        }
        Some(AttributeName::UsageLimits) => attributes.usage_limits.map(|limits| {
            let total = i64::try_from(limits.total).ok();
            AttributeValue::UsageLimits(object::UsageLimits { total, count: None, unit: UsageLimitsUnit::of(limits.unit) })
        }),
        _ => attributes.others.iter().find(|other| other.name == name && other.index == index).and_then(view::stored),
    }
}

/// Puts a value in the place of the instance with this index, or makes that instance.
///
/// # Errors
/// Invalid Field for a value that cannot be meant; Index Out of Bounds for more instances than are kept.
pub(crate) fn put(attributes: &mut Attributes, index: u32, value: &AttributeValue<'_>) -> Result<(), Failure> {
    let Attributes { names, dates, object_groups, sensitive, extractable, .. } = &mut *attributes;
    match value {
        AttributeValue::Name(name) => put_name(names, index, name)?,
        AttributeValue::ActivationDate(date) => dates.activation = Some(time("Activation Date", *date)?),
        AttributeValue::ProcessStartDate(date) => dates.process_start = Some(time("Process Start Date", *date)?),
        AttributeValue::ProtectStopDate(date) => dates.protect_stop = Some(time("Protect Stop Date", *date)?),
        AttributeValue::DeactivationDate(date) => dates.deactivation = Some(time("Deactivation Date", *date)?),
        AttributeValue::ObjectGroup(group) => put_group(object_groups, index, group)?,
        AttributeValue::Sensitive(value) => *sensitive = *value,
        AttributeValue::Extractable(value) => *extractable = *value,
        AttributeValue::UsageLimits(limits) => attributes.usage_limits = Some(usage_limits(attributes.usage_limits, limits)?),
        AttributeValue::ApplicationSpecificInformation(information) if information.data.is_none() => {
            let message = "Application Specific Information: Application Data is needed, the server makes none for any namespace";
            return Err(Failure::invalid(ResultReason::ApplicationNamespaceNotSupported, message));
        }
        AttributeValue::Link(link) if is_servers(link) => {
            return Err(Failure::field("Link: only Re-key links a key to its replacement"));
        }
        value if is_supported(value) => keep(&mut attributes.others, index, value)?,
        other => return Err(Failure::field(format!("{}: {NOT_GIVEN}", other.name()))),
    }
    Ok(())
}

/// 3.21: a client says Total and Unit, or corrects one of them; the Count is the server's and passed over.
fn usage_limits(before: Option<UsageLimits>, asked: &object::UsageLimits) -> Result<UsageLimits, Failure> {
    let total = match asked.total {
        Some(total) => u64::try_from(total).ok().filter(|total| *total > 0),
        None => before.map(|before| before.total),
    };
    let total = total.ok_or_else(|| Failure::field("Usage Limits: Usage Limits Total is a number above 0"))?;
    let unit = match asked.unit {
        Some(unit @ (UsageLimitsUnit::Byte | UsageLimitsUnit::Object)) => Some(unit.number()),
        Some(UsageLimitsUnit::Extension(_)) => None,
        None => before.map(|before| before.unit),
    };
    let unit = unit.ok_or_else(|| Failure::field("Usage Limits: Usage Limits Unit is Byte or Object"))?;
    Ok(UsageLimits { total, unit })
}

/// Refuses Usage Limits at a core, which counts none.
///
/// # Errors
/// Feature Not Supported.
pub(crate) fn must_be_countable(attributes: &Attributes, is_core: bool) -> Result<(), Failure> {
    if is_core && attributes.usage_limits.is_some() {
        return Err(Failure::unsupported("Usage Limits are not offered by a core"));
    }
    Ok(())
}

/// Whether only the server makes such links.
pub(crate) fn is_servers(link: &object::Link<'_>) -> bool {
    matches!(link.link_type, Some(LinkType::ReplacementObjectLink | LinkType::ReplacedObjectLink))
}

fn put_name(names: &mut Vec<Name>, index: u32, name: &object::Name<'_>) -> Result<(), Failure> {
    let (Some(value), Some(kind)) = (name.value, name.name_type) else {
        return Err(Failure::missing("Name: Name Value and Name Type are both needed"));
    };
    let name = Name { value: value.to_owned(), kind: kind.number(), index };
    match names.iter().position(|name| name.index == index) {
        Some(place) => names[place] = name,
        None if names.len() == NAMES_MAX => return Err(Failure::too_many(format!("Name: a key has at most {NAMES_MAX}"))),
        None => names.push(name),
    }
    Ok(())
}

fn put_group(groups: &mut Vec<Group>, index: u32, value: &str) -> Result<(), Failure> {
    let group = Group { value: value.to_owned(), index };
    match groups.iter().position(|group| group.index == index) {
        Some(place) => groups[place] = group,
        None if groups.len() == OBJECT_GROUPS_MAX => {
            return Err(Failure::too_many(format!("Object Group: a key is in at most {OBJECT_GROUPS_MAX}")));
        }
        None => groups.push(group),
    }
    Ok(())
}

/// Keeps an attribute that the domain does not act on.
///
/// # Errors
/// Index Out of Bounds.
pub(crate) fn keep(others: &mut Vec<Other>, index: u32, value: &AttributeValue<'_>) -> Result<(), Failure> {
    let (name, bytes) = (value.name(), encoded(value));
    match others.iter().position(|other| other.name == name && other.index == index) {
        Some(place) => others[place].value = bytes,
        None if others.len() == OTHERS_MAX => {
            let name = excerpt(name);
            return Err(Failure::too_many(format!("{name}: a key has at most {OTHERS_MAX} attributes that the server only keeps")));
        }
        None => others.push(Other { name: name.to_owned(), index, value: bytes }),
    }
    Ok(())
}

/// Takes an instance away; the indexes of the others stay.
pub(crate) fn take(attributes: &mut Attributes, name: &str, index: u32) {
    match AttributeName::of(name) {
        Some(AttributeName::Name) => attributes.names.retain(|name| name.index != index),
        Some(AttributeName::ObjectGroup) => attributes.object_groups.retain(|group| group.index != index),
        Some(AttributeName::UsageLimits) => attributes.usage_limits = None,
        _ => attributes.others.retain(|other| other.name != name || other.index != index),
    }
}

/// A client's date as the domain keeps it.
///
/// # Errors
/// Invalid Field outside the years 1 to 9999.
pub(crate) fn time(name: &'static str, DateTime(seconds): DateTime) -> Result<Time, Failure> {
    if SECONDS.contains(&seconds) {
        Ok(Time::from_seconds(seconds))
    } else {
        Err(Failure::field(format!("{name}: a date of the years 1 to 9999 is wanted")))
    }
}

/// 3.24 to 3.27: a key begins to be used before it ends to be.
///
/// # Errors
/// Invalid Field.
pub(crate) fn check_order(dates: &Dates) -> Result<(), Failure> {
    check_order_after(&Dates::default(), dates)
}

/// The same for an edit. Two dates that it leaves alone may be out of order: a key that is activated or revoked on request gets a date of that time.
///
/// # Errors
/// Invalid Field.
pub(crate) fn check_order_after(before: &Dates, dates: &Dates) -> Result<(), Failure> {
    let activation = ("Activation Date", before.activation, dates.activation);
    let process_start = ("Process Start Date", before.process_start, dates.process_start);
    let protect_stop = ("Protect Stop Date", before.protect_stop, dates.protect_stop);
    let deactivation = ("Deactivation Date", before.deactivation, dates.deactivation);
    let ordered = [
        (activation, process_start),
        (activation, protect_stop),
        (activation, deactivation),
        (process_start, deactivation),
        (protect_stop, deactivation),
    ];
    for ((first_name, first_was, first), (then_name, then_was, then)) in ordered {
        let is_edited = (first, then) != (first_was, then_was);
        if is_edited && first.zip(then).is_some_and(|(first, then)| then < first) {
            return Err(Failure::field(format!("{then_name}: it precedes {first_name}")));
        }
    }
    Ok(())
}

/// A key that is activated later, by whoever asks for that, must not be past its end before it begins.
///
/// # Errors
/// Invalid Field.
pub(crate) fn check_future(dates: &Dates, now: Time) -> Result<(), Failure> {
    let ends = [("Protect Stop Date", dates.protect_stop), ("Deactivation Date", dates.deactivation)];
    match ends.into_iter().find(|(_, end)| end.is_some_and(|end| end <= now)) {
        Some((name, _)) if dates.activation.is_none() => {
            Err(Failure::field(format!("{name}: it has passed, and there is no Activation Date before it")))
        }
        _ => Ok(()),
    }
}

/// An attribute's value as one item, as it is stored and searched for.
pub(crate) fn encoded(value: &AttributeValue<'_>) -> Vec<u8> {
    let mut bytes = vec![];
    value.encode(Tag::ATTRIBUTE_VALUE, &mut Writer::new(&mut bytes, ProtocolVersion::LATEST));
    bytes
}
