//! What a client asks of a new key, read from its Template-Attribute.

use keys::attributes::{Attributes, NAMES_MAX, Name, Other};
use keys::id::Time;
use keys::lifecycle::Dates;

use crate::attribute::{AttributeName, AttributeValue, Instances, SetBy};
use crate::enums::{CryptographicAlgorithm, ResultReason};
use crate::error::excerpt;
use crate::failure::Failure;
use crate::mask::CryptographicUsageMask as Mask;
use crate::object::TemplateAttribute;
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::{DateTime, Writer};
use crate::version::ProtocolVersion;

/// Most attributes of one key that the domain only keeps.
pub(crate) const OTHERS_MAX: usize = 64;
/// Most Object Groups of one key.
pub(crate) const OBJECT_GROUPS_MAX: usize = 16;
/// First and last second that a date may have: years 1 and 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A new symmetric key as its client wants it.
#[derive(Debug)]
pub(crate) struct Template {
    /// Cryptographic Length.
    pub(crate) bits: u32,
    /// Everything that is stored; its Object Groups are as sent.
    pub(crate) attributes: Attributes,
}

/// A [`Template`] while it is read.
#[derive(Default)]
struct Draft {
    algorithm: Option<CryptographicAlgorithm>,
    bits: Option<i32>,
    mask: Option<Mask>,
    attributes: Attributes,
    single: Vec<AttributeName>,
}

impl Template {
    /// Checks every attribute against the standard's table and what a core keeps.
    ///
    /// - `now`: time of day, which a key that is not to activate by itself must not have outlived.
    ///
    /// # Errors
    /// Reasons of table 328.
    pub(crate) fn read(template: &TemplateAttribute<'_>, now: Time) -> Result<Self, Failure> {
        if !template.names.is_empty() {
            return Err(Failure { message: "there is no such Template: name the attributes themselves".into(), ..Failure::not_found() });
        }
        let mut draft = Draft::default();
        for attribute in &template.attributes {
            draft.take(&attribute.value)?;
        }
        draft.finish(now)
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

impl Draft {
    fn take(&mut self, value: &AttributeValue<'_>) -> Result<(), Failure> {
        self.may_be_set(value)?;
        let Attributes { names, dates, object_groups, sensitive, extractable, .. } = &mut self.attributes;
        match value {
            AttributeValue::Name(name) => {
                if names.len() == NAMES_MAX {
                    return Err(Failure::invalid(ResultReason::IndexOutOfBounds, format!("Name: a key has at most {NAMES_MAX}")));
                }
                let (Some(value), Some(kind)) = (name.value, name.name_type) else {
                    return Err(Failure::missing("Name: Name Value and Name Type are both needed"));
                };
                names.push(Name { value: value.to_owned(), kind: kind.number() });
            }
            AttributeValue::CryptographicAlgorithm(algorithm) => self.algorithm = Some(*algorithm),
            AttributeValue::CryptographicLength(bits) => self.bits = Some(*bits),
            AttributeValue::CryptographicUsageMask(mask) => self.mask = Some(*mask),
            AttributeValue::ActivationDate(date) => dates.activation = Some(time("Activation Date", *date)?),
            AttributeValue::ProcessStartDate(date) => dates.process_start = Some(time("Process Start Date", *date)?),
            AttributeValue::ProtectStopDate(date) => dates.protect_stop = Some(time("Protect Stop Date", *date)?),
            AttributeValue::DeactivationDate(date) => dates.deactivation = Some(time("Deactivation Date", *date)?),
            AttributeValue::ObjectGroup(group) => {
                if object_groups.len() == OBJECT_GROUPS_MAX {
                    return Err(Failure::field(format!("Object Group: a key is in at most {OBJECT_GROUPS_MAX}")));
                }
                object_groups.push((*group).to_owned());
            }
            AttributeValue::Sensitive(value) => *sensitive = *value,
            AttributeValue::Extractable(value) => *extractable = *value,
            AttributeValue::Fresh(true) | AttributeValue::StorageStatusMask(_) => {}
            AttributeValue::Fresh(false) => return Err(Failure::field("Fresh: a new key has not been served to anybody")),
            AttributeValue::UsageLimits(_) => return Err(Failure::unsupported("Usage Limits are not offered by a core")),
            AttributeValue::ApplicationSpecificInformation(information) if information.data.is_none() => {
                let message = "Application Specific Information: Application Data is needed, the server makes none for any namespace";
                return Err(Failure::invalid(ResultReason::ApplicationNamespaceNotSupported, message));
            }
            AttributeValue::ApplicationSpecificInformation(_)
            | AttributeValue::AlternativeName(_)
            | AttributeValue::Comment(_)
            | AttributeValue::ContactInformation(_)
            | AttributeValue::CryptographicParameters(_)
            | AttributeValue::Custom(..)
            | AttributeValue::Description(_)
            | AttributeValue::Link(_)
            | AttributeValue::OperationPolicyName(_)
            | AttributeValue::OriginalCreationDate(_) => self.keep(value)?,
            other => return Err(Failure::field(format!("{}: a symmetric key of a core has no such attribute", other.name()))),
        }
        Ok(())
    }

    /// Refuses what only the server sets, and a second instance of what has one.
    fn may_be_set(&mut self, value: &AttributeValue<'_>) -> Result<(), Failure> {
        let read_only = || Failure::field(format!("{}: this attribute is read only", excerpt(value.name())));
        let Some(name) = value.standard() else {
            return if value.name().starts_with("y-") { Err(read_only()) } else { Ok(()) };
        };
        let row = name.row();
        if row.set_by == SetBy::Server {
            return Err(read_only());
        }
        if row.instances == Instances::One {
            if self.single.contains(&name) {
                return Err(Failure::field(format!("{}: a key has only one", row.name)));
            }
            self.single.push(name);
        }
        Ok(())
    }

    /// Keeps an attribute that the domain does not act on, under the next free index.
    fn keep(&mut self, value: &AttributeValue<'_>) -> Result<(), Failure> {
        let others = &mut self.attributes.others;
        if others.len() == OTHERS_MAX {
            let name = excerpt(value.name());
            return Err(Failure::field(format!("{name}: a key has at most {OTHERS_MAX} attributes that the server only keeps")));
        }
        let index = others.iter().filter(|other| other.name == value.name()).count();
        let index = u32::try_from(index).expect("a key has few attributes");
        others.push(Other { name: value.name().to_owned(), index, value: encoded(value) });
        Ok(())
    }

    fn finish(self, now: Time) -> Result<Template, Failure> {
        let Self { algorithm, bits, mask, mut attributes, .. } = self;
        let algorithm = algorithm.ok_or_else(|| Failure::missing("Cryptographic Algorithm is missing"))?;
        if algorithm != CryptographicAlgorithm::Aes {
            return Err(Failure::field("Cryptographic Algorithm: a core keeps AES keys only"));
        }
        let bits = match bits.unwrap_or(256) {
            128 => 128,
            192 => 192,
            256 => 256,
            _ => return Err(Failure::field("Cryptographic Length: an AES key has 128, 192 or 256 bits")),
        };
        attributes.usage_mask = usage_mask(mask.ok_or_else(|| Failure::missing("Cryptographic Usage Mask is missing"))?)?;
        check_order(&attributes.dates)?;
        check_future(&attributes.dates, now)?;
        Ok(Template { bits, attributes })
    }
}

/// A core's key is for data or for keys, never for both: who may unwrap with a key could otherwise have it decrypt what it wraps.
fn usage_mask(mask: Mask) -> Result<u32, Failure> {
    let data = Mask::ENCRYPT.with(Mask::DECRYPT);
    let keys = Mask::WRAP_KEY.with(Mask::UNWRAP_KEY);
    match u32::try_from(mask.0) {
        Ok(bits) if data.has(mask) || keys.has(mask) => Ok(bits),
        _ => Err(Failure::field("Cryptographic Usage Mask: Encrypt and Decrypt, or Wrap Key and Unwrap Key, and nothing else")),
    }
}

/// 3.24 to 3.27: a key begins to be used before it ends to be.
fn check_order(dates: &Dates) -> Result<(), Failure> {
    let activation = ("Activation Date", dates.activation);
    let process_start = ("Process Start Date", dates.process_start);
    let protect_stop = ("Protect Stop Date", dates.protect_stop);
    let deactivation = ("Deactivation Date", dates.deactivation);
    let ordered = [
        (activation, process_start),
        (activation, protect_stop),
        (activation, deactivation),
        (process_start, deactivation),
        (protect_stop, deactivation),
    ];
    for ((first_name, first), (then_name, then)) in ordered {
        if first.zip(then).is_some_and(|(first, then)| then < first) {
            return Err(Failure::field(format!("{then_name}: it precedes {first_name}")));
        }
    }
    Ok(())
}

/// A key that is activated later, by whoever asks for that, must not be past its end before it begins.
fn check_future(dates: &Dates, now: Time) -> Result<(), Failure> {
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
