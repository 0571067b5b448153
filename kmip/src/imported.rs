//! What a client says of an object that it imports: all its attributes, as another server had them (4.41).
//!
//! They are taken as they are, as long as nobody relies on the server alone having set them. What only this server can know (where the object stands, how long
//! its client may go by what it knows of it) is passed over. What would be a lie is refused: an object that was destroyed or that nobody has seen, a digest
//! or a certificate's attribute that does not fit the object.

use keys::attributes::{Attributes, Other, Revocation};
use keys::id::Time;
use keys::lifecycle;
use keys::row::ObjectType;

use crate::attribute::{Attribute, AttributeName, AttributeValue, Instances};
use crate::brought::Brought;
use crate::enums::{CryptographicAlgorithm, HashingAlgorithm, RecommendedCurve, State};
use crate::error::excerpt;
use crate::failure::Failure;
use crate::instance::{self, encoded};
use crate::key_block::ManagedObject;
use crate::object::{Digest, UsageLimits};
use crate::ttlv::DateTime;
use crate::view;

/// An object's past, as its client tells it.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// Cryptographic Algorithm.
    pub(crate) algorithm: Option<CryptographicAlgorithm>,
    /// Cryptographic Length.
    pub(crate) bits: Option<i32>,
    /// Recommended Curve of Cryptographic Domain Parameters.
    pub(crate) curve: Option<RecommendedCurve>,
    /// Everything that is stored.
    pub(crate) attributes: Attributes,
    /// How much of the Usage Limits is used up.
    pub(crate) used: u64,
    state: Option<State>,
    once: Vec<AttributeName>,
}

impl Imported {
    /// Checks every attribute.
    ///
    /// # Errors
    /// Reasons of table 365.
    pub(crate) fn read<'a>(
        attributes: impl IntoIterator<Item = &'a Attribute<'a>>,
        (object, brought): (&ManagedObject<'_>, &Brought),
        now: Time,
    ) -> Result<Self, Failure> {
        let mut imported = Self::default();
        imported.attributes.dates.initial = now;
        imported.attributes.dates.last_change = now;
        imported.attributes.always_sensitive = true;
        imported.attributes.never_extractable = true;
        for attribute in attributes {
            imported.must_be_single(&attribute.value)?;
            imported.take(attribute, (object, brought), now)?;
        }
        imported.finish(now)
    }

    /// In which state the object was; without a word, the dates tell.
    ///
    /// # Errors
    /// Invalid Field for what was destroyed.
    pub(crate) fn state(&self) -> Result<lifecycle::State, Failure> {
        match self.state {
            Some(State::PreActive) | None => Ok(lifecycle::State::PreActive),
            Some(State::Active) => Ok(lifecycle::State::Active),
            Some(State::Deactivated) => Ok(lifecycle::State::Deprecated),
            Some(State::Compromised) => Ok(lifecycle::State::Compromised),
            Some(_) => Err(Failure::field("State: what was destroyed is not imported")),
        }
    }

    fn must_be_single(&mut self, value: &AttributeValue<'_>) -> Result<(), Failure> {
        let Some(name) = value.standard().filter(|name| name.row().instances == Instances::One) else { return Ok(()) };
        if self.once.contains(&name) {
            return Err(Failure::field(format!("{}: an object has only one", name.row().name)));
        }
        self.once.push(name);
        Ok(())
    }

    fn take(&mut self, attribute: &Attribute<'_>, (object, brought): (&ManagedObject<'_>, &Brought), now: Time) -> Result<(), Failure> {
        use AttributeValue as A;
        let Attribute { index, value } = attribute;
        let dates = &mut self.attributes.dates;
        let past = |name: &'static str, date: DateTime| {
            let date = instance::time(name, date)?;
            if date > now { Err(Failure::field(format!("{name}: it lies in the future"))) } else { Ok(date) }
        };
        match value {
            A::UniqueIdentifier(_) | A::LeaseTime(_) | A::StorageStatusMask(_) | A::KeyValuePresent(true) | A::Fresh(false) => {}
            A::Custom(name, _) if name.starts_with("y-") => {}
            A::Fresh(true) => return Err(Failure::field("Fresh: an object that is imported was elsewhere before")),
            A::KeyValuePresent(false) => return Err(Failure::field("Key Value Present: an object is imported with its Key Value")),
            A::DestroyDate(_) => return Err(Failure::field("Destroy Date: what was destroyed is not imported")),
            A::ObjectType(kind) if *kind == object.object_type() => {}
            A::ObjectType(_) => return Err(Failure::field("Object Type: the object that is given is of another type")),
            A::CryptographicAlgorithm(algorithm) => self.algorithm = Some(*algorithm),
            A::CryptographicLength(bits) => self.bits = Some(*bits),
            A::CryptographicDomainParameters(domain) if domain.qlength.is_none() => self.curve = domain.recommended_curve,
            A::CryptographicUsageMask(mask) => {
                let mask = u32::try_from(mask.0).map_err(|_| Failure::field("Cryptographic Usage Mask: there is no such bit"))?;
                self.attributes.usage_mask = mask;
            }
            A::State(state) => self.state = Some(*state),
            A::InitialDate(date) => dates.initial = past("Initial Date", *date)?,
            A::LastChangeDate(date) => dates.last_change = past("Last Change Date", *date)?,
            A::ArchiveDate(date) => self.attributes.archived = Some(past("Archive Date", *date)?),
            A::CompromiseDate(date) => dates.compromise = Some(past("Compromise Date", *date)?),
            A::CompromiseOccurrenceDate(date) => dates.compromise_occurrence = Some(past("Compromise Occurrence Date", *date)?),
            A::RevocationReason(reason) => {
                let code = reason.code.ok_or_else(|| Failure::missing("Revocation Reason: Revocation Reason Code is missing"))?;
                self.attributes.revocation = Some(Revocation { code: code.number(), message: reason.message.map(str::to_owned) });
            }
            A::AlwaysSensitive(is_so) => self.attributes.always_sensitive = *is_so,
            A::NeverExtractable(is_so) => self.attributes.never_extractable = *is_so,
            A::Digest(digest) => must_be_of(digest, object, brought)?,
            A::UsageLimits(limits) => {
                instance::put(&mut self.attributes, 0, value)?;
                self.used = used(limits)?;
            }
            A::CertificateType(_)
            | A::CertificateLength(_)
            | A::X509CertificateIdentifier(_)
            | A::X509CertificateSubject(_)
            | A::X509CertificateIssuer(_)
            | A::DigitalSignatureAlgorithm(_) => must_be_told_by(value, brought)?,
            // Links between versions are kept like any others: what this server acts on are those that its own Re-key made.
            A::RandomNumberGenerator(_) | A::Link(_) => self.keep(*index, value)?,
            other => {
                let index = self.index(*index, other)?;
                instance::put(&mut self.attributes, index, other)?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, index: Option<i32>, value: &AttributeValue<'_>) -> Result<(), Failure> {
        let index = self.index(index, value)?;
        if self.attributes.others.len() >= instance::OTHERS_MAX {
            let most = instance::OTHERS_MAX;
            return Err(Failure::too_many(format!("{}: a key has at most {most} attributes that the server only keeps", value.name())));
        }
        self.attributes.others.push(Other { name: value.name().to_owned(), index, value: encoded(value) });
        Ok(())
    }

    /// The index that the instance had, or the next one.
    fn index(&self, said: Option<i32>, value: &AttributeValue<'_>) -> Result<u32, Failure> {
        if value.standard().is_some_and(|name| name.row().instances == Instances::One) {
            return Ok(0);
        }
        let taken = instance::indexes(&self.attributes, value.name());
        let Some(said) = said.and_then(|said| u32::try_from(said).ok()) else {
            return Ok(taken.last().map_or(0, |last| last + 1));
        };
        if taken.contains(&said) {
            return Err(Failure::field(format!("{}: two instances have the Attribute Index {said}", excerpt(value.name()))));
        }
        Ok(said)
    }

    fn finish(mut self, now: Time) -> Result<Self, Failure> {
        let state = self.state()?;
        let Attributes { dates, sensitive, extractable, always_sensitive, never_extractable, .. } = &mut self.attributes;
        *extractable |= !self.once.contains(&AttributeName::Extractable);
        let claims = |name, claimed: bool| claimed && self.once.contains(&name);
        if claims(AttributeName::AlwaysSensitive, *always_sensitive) && !*sensitive {
            return Err(Failure::field("Always Sensitive: the object is not Sensitive"));
        }
        if claims(AttributeName::NeverExtractable, *never_extractable) && *extractable {
            return Err(Failure::field("Never Extractable: the object is Extractable"));
        }
        if state != lifecycle::State::Compromised && (dates.compromise.is_some() || dates.compromise_occurrence.is_some()) {
            return Err(Failure::field("State: an object with a Compromise Date is Compromised"));
        }
        instance::check_order(dates)?;
        if state == lifecycle::State::PreActive {
            instance::check_future(dates, now)?;
        }
        Ok(self)
    }
}

/// How much of the limits was used, if it is said how much is left.
fn used(limits: &UsageLimits) -> Result<u64, Failure> {
    let (Some(total), Some(count)) = (limits.total, limits.count) else { return Ok(0) };
    let used = total.checked_sub(count).filter(|_| count >= 0).and_then(|used| u64::try_from(used).ok());
    used.ok_or_else(|| Failure::field("Usage Limits: Usage Limits Count is from 0 to the Total"))
}

/// A digest of another form of the object, or by another function, is not computed here and says nothing.
fn must_be_of(digest: &Digest<'_>, object: &ManagedObject<'_>, brought: &Brought) -> Result<(), Failure> {
    let stored = view::stored_format(ObjectType(object.object_type().number()), brought.kind);
    let is_known = digest.hashing_algorithm == Some(HashingAlgorithm::Sha256) && digest.key_format_type == Some(stored);
    let own = brought.material.expose(|material| cipher::mac::sha256(&[material]));
    match digest.digest_value {
        Some(value) if is_known && value.0 != own => Err(Failure::field("Digest: the object that is given has another one")),
        _ => Ok(()),
    }
}

/// What a certificate says of itself is read from it.
fn must_be_told_by(value: &AttributeValue<'_>, brought: &Brought) -> Result<(), Failure> {
    let own = encoded(value);
    let is_so = brought.kept.iter().any(|kept| kept.name == value.name() && kept.value == own);
    if is_so { Ok(()) } else { Err(Failure::field(format!("{}: the object that is given says otherwise", value.name()))) }
}
