//! What a client asks of a new key, read from its Template-Attribute.

use keys::attributes::Attributes;
use keys::id::Time;

use crate::attribute::{AttributeName, AttributeValue, Instances, SetBy};
use crate::enums::CryptographicAlgorithm;
use crate::error::excerpt;
use crate::failure::Failure;
use crate::instance;
use crate::mask::CryptographicUsageMask as Mask;
use crate::object::TemplateAttribute;

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
    once: Once,
}

/// The single-instance attributes that a template has named so far.
#[derive(Default)]
struct Once(Vec<AttributeName>);

impl Template {
    /// Checks every attribute against the standard's table and what a core keeps.
    ///
    /// - `now`: time of day, which a key that is not to activate by itself must not have outlived.
    ///
    /// # Errors
    /// Reasons of table 328.
    pub(crate) fn read(template: &TemplateAttribute<'_>, now: Time) -> Result<Self, Failure> {
        must_name_no_template(template)?;
        let mut draft = Draft::default();
        for attribute in &template.attributes {
            draft.take(&attribute.value)?;
        }
        draft.finish(now)
    }
}

/// Puts what a client asks of a replacement in the place of what it copies from the key it replaces (4.4): an attribute that is named takes
/// the place of all instances copied.
///
/// - `attributes`: as copied. `bits`: of the key that is replaced.
///
/// # Errors
/// Reasons of tables 328 and 331.
pub(crate) fn change(template: &TemplateAttribute<'_>, attributes: &mut Attributes, bits: u32, now: Time) -> Result<(), Failure> {
    must_name_no_template(template)?;
    let mut once = Once::default();
    let mut named: Vec<&str> = Vec::new();
    for value in template.attributes.iter().map(|attribute| &attribute.value) {
        once.may_be_set(value)?;
        match value {
            AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::Aes) => continue,
            AttributeValue::CryptographicAlgorithm(_) => return Err(copied("Cryptographic Algorithm")),
            AttributeValue::CryptographicLength(asked) if u32::try_from(*asked) == Ok(bits) => continue,
            AttributeValue::CryptographicLength(_) => return Err(copied("Cryptographic Length")),
            AttributeValue::CryptographicUsageMask(mask) if mask.0.cast_unsigned() == attributes.usage_mask => continue,
            AttributeValue::CryptographicUsageMask(_) => return Err(copied("Cryptographic Usage Mask")),
            AttributeValue::Fresh(true) | AttributeValue::StorageStatusMask(_) => continue,
            _ => {}
        }
        let name = value.name();
        if !named.contains(&name) {
            named.push(name);
            instance::indexes(attributes, name).into_iter().for_each(|index| instance::take(attributes, name, index));
        }
        let index = if is_single(value) { 0 } else { instance::next_index(attributes, name) };
        instance::put(attributes, index, value)?;
    }
    instance::check_order(&attributes.dates)?;
    instance::check_future(&attributes.dates, now)
}

fn copied(name: &str) -> Failure {
    Failure::field(format!("{name}: a replacement has that of the key it replaces; use Create for another"))
}

fn must_name_no_template(template: &TemplateAttribute<'_>) -> Result<(), Failure> {
    if template.names.is_empty() {
        return Ok(());
    }
    Err(Failure { message: "there is no such Template: name the attributes themselves".into(), ..Failure::not_found() })
}

fn is_single(value: &AttributeValue<'_>) -> bool {
    value.standard().is_some_and(|name| name.row().instances == Instances::One)
}

impl Once {
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
            if self.0.contains(&name) {
                return Err(Failure::field(format!("{}: a key has only one", row.name)));
            }
            self.0.push(name);
        }
        Ok(())
    }
}

impl Draft {
    fn take(&mut self, value: &AttributeValue<'_>) -> Result<(), Failure> {
        self.once.may_be_set(value)?;
        match value {
            AttributeValue::CryptographicAlgorithm(algorithm) => self.algorithm = Some(*algorithm),
            AttributeValue::CryptographicLength(bits) => self.bits = Some(*bits),
            AttributeValue::CryptographicUsageMask(mask) => self.mask = Some(*mask),
            AttributeValue::Fresh(true) | AttributeValue::StorageStatusMask(_) => {}
            AttributeValue::Fresh(false) => return Err(Failure::field("Fresh: a new key has not been served to anybody")),
            other => {
                let index = if is_single(other) { 0 } else { instance::next_index(&self.attributes, other.name()) };
                instance::put(&mut self.attributes, index, other)?;
            }
        }
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
        instance::check_order(&attributes.dates)?;
        instance::check_future(&attributes.dates, now)?;
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
