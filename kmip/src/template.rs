//! What a client asks of a new key, read from its Template-Attribute.

use cipher::pair::{Curve, PairKind};
use keys::attributes::{Attributes, Other};
use keys::id::{Layer, Time};
use keys::policy::NodeRole;
use keys::row::Header;

use crate::attribute::{Attribute, AttributeName, AttributeValue, Instances, SetBy};
use crate::enums::{CryptographicAlgorithm, RecommendedCurve, RngAlgorithm};
use crate::error::excerpt;
use crate::failure::Failure;
use crate::half;
use crate::instance;
use crate::mask::CryptographicUsageMask as Mask;
use crate::object::{CryptographicDomainParameters, RngParameters, TemplateAttribute};
use crate::payload::CreateKeyPairRequest;
use crate::ttlv::DateTime;

/// Length of an RSA modulus of which nothing is said.
const RSA_BITS: u32 = 2048;

/// A new symmetric key as its client wants it.
#[derive(Debug)]
pub(crate) struct Template {
    /// Cryptographic Algorithm.
    pub(crate) algorithm: CryptographicAlgorithm,
    /// Cryptographic Length.
    pub(crate) bits: u32,
    /// Everything that is stored; its Object Groups are as sent.
    pub(crate) attributes: Attributes,
}

/// A new key pair as its client wants it.
#[derive(Debug)]
pub(crate) struct PairTemplate {
    /// Cryptographic Algorithm.
    pub(crate) algorithm: CryptographicAlgorithm,
    /// Algorithm, length and curve, as one.
    pub(crate) kind: PairKind,
    /// What is stored of the private half.
    pub(crate) private: Attributes,
    /// What is stored of the public half.
    pub(crate) public: Attributes,
}

/// What a client says of an object that it brings.
#[derive(Debug)]
pub(crate) struct Registered {
    /// Cryptographic Algorithm.
    pub(crate) algorithm: Option<CryptographicAlgorithm>,
    /// Cryptographic Length.
    pub(crate) bits: Option<i32>,
    /// Recommended Curve of Cryptographic Domain Parameters, which only keys of pairs have.
    pub(crate) curve: Option<RecommendedCurve>,
    /// Everything that is stored.
    pub(crate) attributes: Attributes,
}

impl Registered {
    /// Checks every attribute; none has to be there. Without a usage mask an object is for nothing but being returned (MongoDB, and whoever keeps secrets).
    ///
    /// # Errors
    /// Reasons of table 330.
    pub(crate) fn read(template: &TemplateAttribute<'_>, now: Time) -> Result<Self, Failure> {
        must_name_no_template(template)?;
        let mut draft = Draft::default();
        for attribute in &template.attributes {
            draft.take(&attribute.value)?;
        }
        let curve = draft.curve()?;
        let Draft { algorithm, bits, mask, mut attributes, once, .. } = draft;
        attributes.usage_mask = any_mask(mask.unwrap_or(Mask(0)))?;
        attributes.extractable |= !once.0.contains(&AttributeName::Extractable);
        instance::check_order(&attributes.dates)?;
        instance::check_future(&attributes.dates, now)?;
        Ok(Self { algorithm, bits, curve, attributes })
    }
}

impl PairTemplate {
    /// Checks every attribute against the standard's tables.
    ///
    /// # Errors
    /// Reasons of table 329.
    pub(crate) fn read(request: &CreateKeyPairRequest<'_>, now: Time) -> Result<Self, Failure> {
        let common = request.common_template_attribute.as_ref();
        let private = Draft::of_half(common, request.private_key_template_attribute.as_ref())?;
        let public = Draft::of_half(common, request.public_key_template_attribute.as_ref())?;
        let algorithm = same("Cryptographic Algorithm", private.algorithm, public.algorithm)?;
        let bits = same("Cryptographic Length", private.bits, public.bits)?;
        let curve = same("Cryptographic Domain Parameters", private.curve()?, public.curve()?)?;
        let algorithm = algorithm.ok_or_else(|| Failure::missing("Cryptographic Algorithm is missing"))?;
        let kind = pair_kind(algorithm, bits, curve)?;
        let (mut private, mut public) = (private.finish_half(kind, now)?, public.finish_half(kind, now)?);
        for (half, own) in [(&mut private, &request.private_key_template_attribute), (&mut public, &request.public_key_template_attribute)]
        {
            let attributes = [common, own.as_ref()].into_iter().flatten().flat_map(|template| template.attributes.clone()).collect();
            note_making(half, &TemplateAttribute { names: Vec::new(), attributes }, now)?;
        }
        Ok(Self { algorithm, kind, private, public })
    }
}

/// Table 168: what has to be the same for both halves. One of them may leave it to the other.
fn same<T: PartialEq>(name: &str, private: Option<T>, public: Option<T>) -> Result<Option<T>, Failure> {
    match (private, public) {
        (Some(private), Some(public)) if private != public => {
            Err(Failure::field(format!("{name}: both halves of a pair have the same, name it in the Common Template-Attribute")))
        }
        (private, public) => Ok(private.or(public)),
    }
}

/// The pair that is asked for. A length is enough to know a curve, and a curve to know the length.
fn pair_kind(algorithm: CryptographicAlgorithm, bits: Option<i32>, curve: Option<RecommendedCurve>) -> Result<PairKind, Failure> {
    let bits =
        bits.map(|bits| u32::try_from(bits).map_err(|_| Failure::field("Cryptographic Length: a length is positive"))).transpose()?;
    if algorithm == CryptographicAlgorithm::Rsa {
        if curve.is_some() {
            return Err(Failure::field("Cryptographic Domain Parameters: RSA has no curve"));
        }
        let kind = PairKind::Rsa { bits: bits.unwrap_or(RSA_BITS) };
        return if kind.is_made() { Ok(kind) } else { Err(Failure::field("Cryptographic Length: RSA pairs have 2048, 3072 or 4096 bits")) };
    }
    if !half::is_ec(algorithm) {
        return Err(Failure::field("Cryptographic Algorithm: pairs are made for RSA, ECDSA, ECDH and EC; register others"));
    }
    let offered = || Failure::field("Cryptographic Length and Recommended Curve: P-256, P-384 and P-521 are offered, name one");
    let named = curve.map(|curve| half::curve(curve).ok_or_else(offered)).transpose()?;
    let sized = bits.map(|bits| Curve::ALL.into_iter().find(|curve| curve.bits() == bits).ok_or_else(offered)).transpose()?;
    match (named, sized) {
        (Some(named), Some(sized)) if named != sized => Err(Failure::field("Cryptographic Length: the Recommended Curve has another one")),
        (named, sized) => named.or(sized).map(PairKind::Ec).ok_or_else(offered),
    }
}

/// A [`Template`] while it is read.
#[derive(Default)]
struct Draft {
    algorithm: Option<CryptographicAlgorithm>,
    bits: Option<i32>,
    mask: Option<Mask>,
    domain: Option<CryptographicDomainParameters>,
    attributes: Attributes,
    once: Once,
}

/// The single-instance attributes that a template has named so far.
#[derive(Default)]
struct Once(Vec<AttributeName>);

impl Template {
    /// Checks every attribute against the standard's table and what a node keeps.
    ///
    /// - `node`: where the key is made: a core keeps AES keys that are for one purpose, an edge whatever a service needs.
    /// - `now`: time of day, which a key that is not to activate by itself must not have outlived.
    ///
    /// # Errors
    /// Reasons of table 328.
    pub(crate) fn read(template: &TemplateAttribute<'_>, node: NodeRole, now: Time) -> Result<Self, Failure> {
        must_name_no_template(template)?;
        let mut draft = Draft::default();
        for attribute in &template.attributes {
            draft.take(&attribute.value)?;
        }
        draft.finish(node, now)
    }
}

/// Puts what a client asks of a replacement in the place of what it copies from the key it replaces (4.4): an attribute that is named takes
/// the place of all instances copied.
///
/// - `attributes`: as copied. `old`: the header of the key that is replaced.
///
/// # Errors
/// Reasons of tables 328 and 331.
pub(crate) fn change(template: &TemplateAttribute<'_>, attributes: &mut Attributes, old: &Header, now: Time) -> Result<(), Failure> {
    must_name_no_template(template)?;
    let mut once = Once::default();
    let mut named: Vec<&str> = Vec::new();
    for value in template.attributes.iter().map(|attribute| &attribute.value) {
        once.may_be_set(value)?;
        match value {
            AttributeValue::CryptographicAlgorithm(asked) if asked.number() == old.algorithm.0 => continue,
            AttributeValue::CryptographicAlgorithm(_) => return Err(copied("Cryptographic Algorithm")),
            AttributeValue::CryptographicLength(asked) if u32::try_from(*asked) == Ok(old.bits) => continue,
            AttributeValue::CryptographicLength(_) => return Err(copied("Cryptographic Length")),
            AttributeValue::CryptographicUsageMask(mask) if mask.0.cast_unsigned() == attributes.usage_mask => continue,
            AttributeValue::CryptographicUsageMask(_) => return Err(copied("Cryptographic Usage Mask")),
            AttributeValue::CryptographicDomainParameters(_) if instance::value(attributes, value.name(), 0).as_ref() == Some(value) => {
                continue;
            }
            AttributeValue::CryptographicDomainParameters(_) => return Err(copied("Cryptographic Domain Parameters")),
            AttributeValue::Fresh(true) | AttributeValue::StorageStatusMask(_) => continue,
            AttributeValue::RandomNumberGenerator(asked) if *asked == GENERATOR => continue,
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
    instance::must_be_countable(attributes, old.id.layer != Layer::L4)?;
    instance::check_order(&attributes.dates)?;
    instance::check_future(&attributes.dates, now)
}

/// Two Template-Attributes as one: of what an object has once, the value of the first counts, and of what it has several of, all values.
pub(crate) fn joined<'a>(first: Option<&TemplateAttribute<'a>>, then: Option<&TemplateAttribute<'a>>) -> TemplateAttribute<'a> {
    let mut all = first.cloned().unwrap_or_default();
    let of_first = all.attributes.len();
    for attribute in then.iter().flat_map(|then| &then.attributes) {
        let is_said = |said: &&Attribute<'a>| match is_single(&attribute.value) {
            true => said.value.name() == attribute.value.name(),
            false => said.value == attribute.value,
        };
        if !all.attributes[..of_first].iter().any(|said| is_said(&said)) {
            all.attributes.push(attribute.clone());
        }
    }
    all.names.extend(then.iter().flat_map(|then| then.names.iter().cloned()));
    all
}

fn copied(name: &str) -> Failure {
    Failure::field(format!("{name}: a replacement has that of the key it replaces; use Create for another"))
}

/// The names of Templates were resolved where there are any: at a core there are none.
fn must_name_no_template(template: &TemplateAttribute<'_>) -> Result<(), Failure> {
    if template.names.is_empty() { Ok(()) } else { Err(no_such_template()) }
}

/// The one answer to a name that is no Template's of the client's.
pub(crate) fn no_such_template() -> Failure {
    Failure { message: "there is no such Template: name the attributes themselves".into(), ..Failure::not_found() }
}

/// Could some object be made with these attributes? What all of an object's kinds have in common is judged, the rest when one is made.
///
/// # Errors
/// Invalid Field for what no Template holds; reasons of tables 328 to 330.
pub(crate) fn must_be_possible<'v, 'a: 'v>(values: impl Iterator<Item = &'v AttributeValue<'a>>) -> Result<(), Failure> {
    use AttributeValue as A;
    let mut draft = Draft::default();
    for value in values {
        match value {
            A::Name(_) | A::Link(_) | A::Fresh(_) | A::StorageStatusMask(_) => {
                return Err(Failure::field(format!("{}: a Template holds no such attribute", value.name())));
            }
            // Certificates are registered with these, though only to say what they say themselves.
            A::CertificateType(_) | A::CertificateLength(_) | A::DigitalSignatureAlgorithm(_) => {}
            _ => draft.take(value)?,
        }
    }
    draft.curve()?;
    draft.mask.map_or(Ok(0), any_mask)?;
    instance::check_order(&draft.attributes.dates)
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
            AttributeValue::CryptographicDomainParameters(domain) => self.domain = Some(*domain),
            AttributeValue::Fresh(true) | AttributeValue::StorageStatusMask(_) => {}
            AttributeValue::Fresh(false) => return Err(Failure::field("Fresh: a new key has not been served to anybody")),
            other => {
                let index = if is_single(other) { 0 } else { instance::next_index(&self.attributes, other.name()) };
                instance::put(&mut self.attributes, index, other)?;
            }
        }
        Ok(())
    }

    /// Table 166: a half has the attributes of both templates, and of what it has once, its own.
    fn of_half(common: Option<&TemplateAttribute<'_>>, own: Option<&TemplateAttribute<'_>>) -> Result<Self, Failure> {
        let (mut draft, mut common_draft) = (Self::default(), Once::default());
        for template in [common, own].into_iter().flatten() {
            must_name_no_template(template)?;
        }
        for attribute in own.iter().flat_map(|template| &template.attributes) {
            draft.take(&attribute.value)?;
        }
        for value in common.iter().flat_map(|template| &template.attributes).map(|attribute| &attribute.value) {
            common_draft.may_be_set(value)?;
            if value.standard().is_none_or(|name| !draft.once.0.contains(&name)) {
                draft.take(value)?;
            }
        }
        Ok(draft)
    }

    /// The curve that is named. Qlength is for DSA.
    fn curve(&self) -> Result<Option<RecommendedCurve>, Failure> {
        match self.domain {
            Some(CryptographicDomainParameters { qlength: Some(_), .. }) => {
                Err(Failure::field("Qlength: it is for DSA, of which no pairs are kept"))
            }
            Some(CryptographicDomainParameters { recommended_curve, .. }) => Ok(recommended_curve),
            None => Ok(None),
        }
    }

    fn finish_half(self, kind: PairKind, now: Time) -> Result<Attributes, Failure> {
        let Self { mask, mut attributes, once, .. } = self;
        let mask = mask.ok_or_else(|| Failure::missing("Cryptographic Usage Mask is missing: each half of a pair has one"))?;
        attributes.usage_mask = any_mask(mask)?;
        attributes.extractable |= !once.0.contains(&AttributeName::Extractable);
        attributes.others.extend(half::domain(kind));
        instance::check_order(&attributes.dates)?;
        instance::check_future(&attributes.dates, now)?;
        Ok(attributes)
    }

    fn finish(self, node: NodeRole, now: Time) -> Result<Template, Failure> {
        if self.domain.is_some() {
            return Err(Failure::field("Cryptographic Domain Parameters: a symmetric key has none"));
        }
        let Self { algorithm, bits, mask, mut attributes, once, .. } = self;
        let algorithm = algorithm.ok_or_else(|| Failure::missing("Cryptographic Algorithm is missing"))?;
        let mask = mask.ok_or_else(|| Failure::missing("Cryptographic Usage Mask is missing"))?;
        let bits = match node {
            NodeRole::Core if algorithm != CryptographicAlgorithm::Aes => {
                return Err(Failure::field("Cryptographic Algorithm: a core keeps AES keys only"));
            }
            NodeRole::Core | NodeRole::Edge => length(algorithm, bits)?,
        };
        instance::must_be_countable(&attributes, node == NodeRole::Core)?;
        attributes.usage_mask = match node {
            NodeRole::Core => usage_mask(mask)?,
            NodeRole::Edge => any_mask(mask)?,
        };
        attributes.extractable |= node == NodeRole::Edge && !once.0.contains(&AttributeName::Extractable);
        instance::check_order(&attributes.dates)?;
        instance::check_future(&attributes.dates, now)?;
        Ok(Template { algorithm, bits, attributes })
    }
}

/// The length of a key of this algorithm in bits: what is asked for, if it can be, or the usual one.
fn length(algorithm: CryptographicAlgorithm, asked: Option<i32>) -> Result<u32, Failure> {
    use CryptographicAlgorithm as A;
    let (usual, fits): (u32, fn(u32) -> bool) = match algorithm {
        A::Aes => (256, |bits| matches!(bits, 128 | 192 | 256)),
        A::HmacSha1 => (160, is_for_hmac),
        A::HmacSha224 | A::HmacSha3_224 => (224, is_for_hmac),
        A::HmacSha256 | A::HmacSha3_256 => (256, is_for_hmac),
        A::HmacSha384 | A::HmacSha3_384 => (384, is_for_hmac),
        A::HmacSha512 | A::HmacSha3_512 => (512, is_for_hmac),
        A::ChaCha20 | A::ChaCha20Poly1305 => (256, |bits| bits == 256),
        // Without the parity bits, which are not counted.
        A::TripleDES => (168, |bits| matches!(bits, 112 | 168)),
        _ => {
            return Err(Failure::field(
                "Cryptographic Algorithm: keys are made for AES, ChaCha20, HMAC with SHA and 3DES; register others",
            ));
        }
    };
    let bits = asked.map_or(Ok(usual), u32::try_from).ok().filter(|bits| fits(*bits));
    bits.ok_or_else(|| match algorithm {
        A::Aes => Failure::field("Cryptographic Length: an AES key has 128, 192 or 256 bits"),
        A::TripleDES => Failure::field("Cryptographic Length: a 3DES key has 112 or 168 bits"),
        A::ChaCha20 | A::ChaCha20Poly1305 => Failure::field("Cryptographic Length: a ChaCha20 key has 256 bits"),
        _ => Failure::field("Cryptographic Length: an HMAC key has whole bytes, 112 to 4096 bits"),
    })
}

/// The standard has no name for the generator of the system.
pub(crate) const GENERATOR: RngParameters = RngParameters {
    rng_algorithm: RngAlgorithm::Unspecified,
    cryptographic_algorithm: None,
    cryptographic_length: None,
    hashing_algorithm: None,
    drbg_algorithm: None,
    recommended_curve: None,
    fips186_variation: None,
    prediction_resistance: None,
};

/// Notes when and how the material of a new object of an edge is made (3.31, 3.47), instead of what was noted of material that it replaces.
///
/// # Errors
/// The client asks for another generator.
pub(crate) fn note_making(attributes: &mut Attributes, template: &TemplateAttribute<'_>, now: Time) -> Result<(), Failure> {
    must_be_our_generator(template)?;
    let date = AttributeValue::OriginalCreationDate(DateTime(now.seconds()));
    for value in [date, AttributeValue::RandomNumberGenerator(GENERATOR)] {
        // A client may have its own date.
        let may_be_own = matches!(value, AttributeValue::OriginalCreationDate(_));
        if !may_be_own || !template.attributes.iter().any(|attribute| attribute.value.name() == value.name()) {
            attributes.others.retain(|other| other.name != value.name());
            attributes.others.push(Other { name: value.name().to_owned(), index: 0, value: instance::encoded(&value) });
        }
    }
    Ok(())
}

/// Refuses to make a key with another generator than the system's (3.44).
///
/// # Errors
/// Invalid Field.
pub(crate) fn must_be_our_generator(template: &TemplateAttribute<'_>) -> Result<(), Failure> {
    let is_other = |asked: &AttributeValue<'_>| matches!(asked, AttributeValue::RandomNumberGenerator(asked) if *asked != GENERATOR);
    if template.attributes.iter().any(|attribute| is_other(&attribute.value)) {
        return Err(Failure::field("Random Number Generator: keys are made by the system's, which is Unspecified; leave it out"));
    }
    Ok(())
}

/// From the least that NIST SP 800-131A allows to more than any block of the hash functions.
fn is_for_hmac(bits: u32) -> bool {
    (112..=4096).contains(&bits) && bits.is_multiple_of(8)
}

/// An edge's key is for whatever its service says.
fn any_mask(mask: Mask) -> Result<u32, Failure> {
    u32::try_from(mask.0).map_err(|_| Failure::field("Cryptographic Usage Mask: there is no such bit"))
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
