//! Derive Key, 4.6: a new object of an edge, computed from others that are for that.
//!
//! The first identifier names the derivation key, for PBKDF2 the password. Derivation data come with the request, or are the Secret Data that a second
//! identifier names. What is derived is as Sensitive as what it comes from. Keys with Usage Limits are used once by it.
//!
//! Of the method Asymmetric Key KMIP 1.4 has no more than the name; later versions add that it is key agreement between a private and a public key. Here
//! that is ECDH: two identifiers name the two, in whichever order, and the secret that they share is the output of the method, from whose front a key is
//! taken as of every other method. No hash goes over it: none of those that could is named in the standard, and who wants one derives again.

use cipher::derive::{self, ITERATIONS_MAX, Stretch};
use cipher::mode::Mode;
use cipher::pair::PairKind;
use cipher::{Hash, Mac, Padding, agreement};
use keys::attributes::{Attributes, Other};
use keys::edge::NewObject;
use keys::id::Layer;
use keys::policy::{Action, NodeRole, verb};
use keys::row::{Algorithm, Header, ObjectType as Kind};
use keys::usage::Protected;
use keys::vault::View;
use secret::Bytes;

use crate::attribute::{AttributeName, AttributeValue};
use crate::context::{Context, Named};
use crate::enums::{
    CryptographicAlgorithm, DerivationMethod as M, HashingAlgorithm, KeyFormatType, LinkType, ObjectType, ResultReason, SecretDataType,
};
use crate::failure::Failure;
use crate::half;
use crate::instance;
use crate::object::{CryptographicParameters, DerivationParameters, Link};
use crate::op::{hash, mac};
use crate::payload::{DeriveKeyRequest, DeriveKeyResponse};
use crate::schema::Encode;
use crate::scheme::Scheme;
use crate::tag::Tag;
use crate::template::{Registered, note_making};
use crate::templates;
use crate::ttlv::{Value, Writer};
use crate::view::{self, Y_KEY_FORMAT, Y_SECRET_DATA_TYPE, kept};

/// Most bytes that are derived at a time.
const DERIVED_BYTES_MAX: u32 = 8 * 1024;
/// Most links from an object to what was derived of it; the oldest goes for a new one.
const DERIVED_LINKS_MAX: usize = 32;

pub(super) async fn run(context: &mut Context<'_>, request: DeriveKeyRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    context.grants.check_plain(Action::DeriveKey, Some(Layer::L4))?;
    let now = context.vault.now();
    let named = templates::named(context, Some(&request.template_attribute)).await?;
    let template = templates::resolved(&request.template_attribute, &named);
    let mut registered = Registered::read(&template, now)?;
    note_making(&mut registered.attributes, &template, now)?;
    let (object_type, algorithm) = wanted(&request, &registered)?;
    let bits = bits(&registered, algorithm)?;
    let parameters = &request.derivation_parameters;
    let agrees = request.derivation_method == M::AsymmetricKey;
    let (key, data) = match request.unique_identifiers.as_slice() {
        [one, other] if agrees && one != other => (*one, Some(*other)),
        _ if agrees => return Err(Failure::field("Unique Identifier: this method takes two, a Private Key and a Public Key")),
        [key] => (*key, None),
        [key, data] if key != data => (*key, Some(*data)),
        _ => {
            return Err(Failure::field(
                "Unique Identifier: the derivation key, and Secret Data with the derivation data if that is not in the request",
            ));
        }
    };
    let (base, second): (Named<'_, verb::DeriveKey>, _) = match data {
        Some(other) if agrees => halves(context, key, other).await?,
        Some(_) if parameters.derivation_data.is_some() => return Err(ambiguous()),
        Some(id) => {
            let data = secret_data(context, id).await?;
            (derivation_key(context, key).await?, Some(data))
        }
        None => (derivation_key(context, key).await?, None),
    };
    let data = second.as_ref().map(|second| &second.bytes);
    let job = Job { method: request.derivation_method, parameters, has_data_object: data.is_some() };
    let given = parameters.derivation_data.map_or(&[][..], |data| data.0);
    let bytes = usize::try_from(bits / 8).expect("a few thousand");
    let protected = Protected::object(data.map_or(given.len(), Bytes::len));
    let derived = if job.method == M::Pbkdf2 {
        let prepare = |key: &[u8], view: &View| Ok::<_, Failure>((job.stretch(key, bytes)?, view.attributes.sensitive));
        context.vault.stretch(context.unit, base.authorized, protected, prepare).await
    } else {
        let derive = |key: &[u8], view: &View| {
            let material = Bytes::try_init_with(bytes, |out| match data {
                Some(data) => data.expose(|data| job.derive(key, view, data, out)),
                None => job.derive(key, view, given, out),
            })?;
            Ok::<_, Failure>((material, view.attributes.sensitive))
        };
        context.vault.protect(context.unit, base.authorized, protected, derive).await
    };
    let (material, is_sensitive) = derived.map_err(unable)?;
    let mut attributes = registered.attributes;
    attributes.sensitive |= is_sensitive || second.as_ref().is_some_and(|second| second.is_sensitive);
    let bases: Vec<&Header> = std::iter::once(&base.header).chain(second.as_ref().map(|second| &second.header)).collect();
    for header in &bases {
        put_link(&mut attributes, LinkType::DerivationBaseObjectLink, &header.id.to_string())?;
    }
    if object_type == ObjectType::SecretData {
        attributes.others.push(kept(Y_SECRET_DATA_TYPE, Value::Enumeration(SecretDataType::Seed.number())));
        attributes.others.push(kept(Y_KEY_FORMAT, Value::Enumeration(KeyFormatType::Raw.number())));
    }
    let new = NewObject { object_type: Kind(object_type.number()), algorithm, bits, attributes, material: Some(material) };
    let made = context.vault.create_object(context.unit, &context.grants, new).await?;
    let id = made.header.id.to_string();
    for header in bases {
        let authorized = context.grants.check::<verb::DeriveKey>(header)?;
        context.vault.edit(context.unit, authorized, |view, _| linked(view, &id)).await?;
    }
    context.is_about(&made.header);
    *context.placeholder = Some(made.header.id);
    DeriveKeyResponse { unique_identifier: &id, template_attribute: None }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

/// What is to be made, and for which algorithm.
fn wanted(request: &DeriveKeyRequest<'_>, registered: &Registered) -> Result<(ObjectType, Algorithm), Failure> {
    match (request.object_type, registered.algorithm) {
        (ObjectType::SymmetricKey, Some(algorithm)) => Ok((ObjectType::SymmetricKey, Algorithm(algorithm.number()))),
        (ObjectType::SymmetricKey, None) => Err(Failure::field("Cryptographic Algorithm: it has to be said for a symmetric key")),
        (ObjectType::SecretData, algorithm) => {
            Ok((ObjectType::SecretData, algorithm.map_or(Algorithm::NONE, |algorithm| Algorithm(algorithm.number()))))
        }
        _ => Err(Failure::field("Object Type: a Symmetric Key or Secret Data is derived")),
    }
}

fn bits(registered: &Registered, algorithm: Algorithm) -> Result<u32, Failure> {
    let asked = registered.bits.ok_or_else(|| Failure::field("Cryptographic Length: it has to be said how much is to be derived"))?;
    let fits = |bits: &u32| *bits > 0 && *bits <= DERIVED_BYTES_MAX * 8 && bits.is_multiple_of(8);
    let bits = u32::try_from(asked).ok().filter(fits);
    let bits = bits.ok_or_else(|| Failure::field(format!("Cryptographic Length: whole bytes, at most {DERIVED_BYTES_MAX}")))?;
    if algorithm == Algorithm::AES && !matches!(bits, 128 | 192 | 256) {
        return Err(Failure::field("Cryptographic Length: an AES key has 128, 192 or 256 bits"));
    }
    Ok(bits)
}

fn ambiguous() -> Failure {
    Failure::missing("Derivation Data: it is in the request and in an object that is named, give it once")
}

async fn derivation_key<'r>(context: &mut Context<'_>, id: &'r str) -> Result<Named<'r, verb::DeriveKey>, Failure> {
    let named = context.object::<verb::DeriveKey>(Some(id)).await?;
    // The bytes of any other object are a form of writing it down, and not a key.
    if ![ObjectType::SymmetricKey.number(), ObjectType::SecretData.number()].contains(&named.header.object_type.0) {
        return Err(Failure::field("Unique Identifier: the derivation key is a Symmetric Key or Secret Data"));
    }
    Ok(named)
}

/// The private key that agrees with the public one, and that one.
async fn halves<'r>(
    context: &mut Context<'_>,
    one: &'r str,
    other: &'r str,
) -> Result<(Named<'r, verb::DeriveKey>, Option<Second>), Failure> {
    let [one, other] = [context.object::<verb::DeriveKey>(Some(one)).await?, context.object(Some(other)).await?];
    let (private, public) = match (one.header.object_type, other.header.object_type) {
        (Kind::PRIVATE_KEY, Kind::PUBLIC_KEY) => (one, other),
        (Kind::PUBLIC_KEY, Kind::PRIVATE_KEY) => (other, one),
        _ => return Err(Failure::field("Unique Identifier: this method takes a Private Key and the Public Key of the other party")),
    };
    match half::kind(&private.header) {
        Some(PairKind::Ec(_)) if half::kind(&public.header) == half::kind(&private.header) => {}
        _ => return Err(Failure::field("Unique Identifier: this method takes two keys of one elliptic curve")),
    }
    Ok((private, Some(Second::of(context, public).await?)))
}

/// The derivation data that an object holds.
async fn secret_data(context: &mut Context<'_>, id: &str) -> Result<Second, Failure> {
    let named = context.object::<verb::DeriveKey>(Some(id)).await?;
    if named.header.object_type.0 != ObjectType::SecretData.number() {
        return Err(Failure::field("Unique Identifier: the second object is Secret Data with the derivation data"));
    }
    Second::of(context, named).await
}

/// What is derived from beside the derivation key.
struct Second {
    bytes: Bytes,
    header: Header,
    is_sensitive: bool,
}

impl Second {
    async fn of(context: &Context<'_>, named: Named<'_, verb::DeriveKey>) -> Result<Self, Failure> {
        let Named { header, authorized, .. } = named;
        let copy = |bytes: &[u8], view: &View| {
            let copy = Bytes::init_with(bytes.len(), |copy| copy.copy_from_slice(bytes))?;
            Ok::<_, Failure>((copy, view.attributes.sensitive))
        };
        let (bytes, is_sensitive) = context.vault.protect(context.unit, authorized, Protected::object(0), copy).await.map_err(unable)?;
        Ok(Self { bytes, header, is_sensitive })
    }
}

/// Table 333: an object that cannot be derived from is Invalid Field.
fn unable(failure: Failure) -> Failure {
    match failure.reason {
        ResultReason::PermissionDenied => Failure { reason: ResultReason::InvalidField, ..failure },
        _ => failure,
    }
}

/// The attributes of an object from which another was derived.
fn linked(view: &View, id: &str) -> Result<Attributes, Failure> {
    let mut attributes = (*view.attributes).clone();
    let is_derived =
        |other: &Other| matches!(view::stored(other), Some(AttributeValue::Link(link)) if link.link_type == Some(LinkType::DerivedKeyLink));
    let mut indexes: Vec<u32> = attributes.others.iter().filter(|other| is_derived(other)).map(|other| other.index).collect();
    indexes.sort_unstable();
    if indexes.len() >= DERIVED_LINKS_MAX {
        instance::take(&mut attributes, AttributeName::Link.row().name, indexes[0]);
    }
    put_link(&mut attributes, LinkType::DerivedKeyLink, id)?;
    Ok(attributes)
}

fn put_link(attributes: &mut Attributes, kind: LinkType, id: &str) -> Result<(), Failure> {
    let index = instance::next_index(attributes, AttributeName::Link.row().name);
    let link = Link { link_type: Some(kind), linked_object_identifier: Some(id) };
    instance::put(attributes, index, &AttributeValue::Link(link))
}

/// A derivation as the request wants it.
struct Job<'a> {
    method: M,
    parameters: &'a DerivationParameters<'a>,
    has_data_object: bool,
}

impl Job<'_> {
    fn derive(&self, key: &[u8], view: &View, data: &[u8], out: &mut [u8]) -> Result<(), Failure> {
        let asked = self.parameters.cryptographic_parameters.as_ref();
        if self.parameters.salt.is_some() || self.parameters.iteration_count.is_some() {
            return Err(Failure::field("Derivation Parameters: Salt and Iteration Count are PBKDF2's"));
        }
        self.must_have_use_for_iv()?;
        match self.method {
            M::Hash => {
                if self.has_data() {
                    return Err(ambiguous());
                }
                derive::hash(hash_of(asked)?, key, out).map_err(failed)
            }
            M::Hmac => {
                self.must_have_data()?;
                let prf = match mac::own(view) {
                    Some(own) => own,
                    None => Mac::Hmac(hash_of(asked).or_else(|_| hmac_of(asked, view))?),
                };
                derive::mac(prf, key, data, out).map_err(failed)
            }
            M::Encrypt => {
                self.must_have_data()?;
                let iv = self.parameters.initialization_vector.map_or(&[][..], |iv| iv.0);
                derive::encryption(mode(asked, view)?, key, iv, data, out).map_err(failed)
            }
            M::Nist800_108C => {
                self.must_have_data()?;
                derive::counter_mode(mac::algorithm(asked, view)?, key, data, out).map_err(failed)
            }
            M::Nist800_108F => {
                self.must_have_data()?;
                let iv = self.parameters.initialization_vector.map_or(&[][..], |iv| iv.0);
                derive::feedback_mode(mac::algorithm(asked, view)?, key, iv, data, out).map_err(failed)
            }
            M::Nist800_108Dpi => {
                self.must_have_data()?;
                derive::double_pipeline_mode(mac::algorithm(asked, view)?, key, data, out).map_err(failed)
            }
            M::AsymmetricKey => {
                self.must_be_plain_agreement()?;
                agreement::agree(key, data, out).map_err(failed)
            }
            M::Pbkdf2 | M::Extension(_) => Err(Failure::field(
                "Derivation Method: PBKDF2, HASH, HMAC, ENCRYPT, the three of NIST800-108 and Asymmetric Key are offered",
            )),
        }
    }

    /// Nothing can be said about it but that it is ECDH.
    fn must_be_plain_agreement(&self) -> Result<(), Failure> {
        if self.parameters.derivation_data.is_some() {
            return Err(Failure::field("Derivation Data: this method has none; register the other party's Public Key, and name that"));
        }
        let Some(asked) = &self.parameters.cryptographic_parameters else { return Ok(()) };
        let algorithm = asked.cryptographic_algorithm;
        let of_all = CryptographicParameters { cryptographic_algorithm: algorithm, ..CryptographicParameters::default() };
        if *asked == of_all && matches!(algorithm, None | Some(CryptographicAlgorithm::Ecdh | CryptographicAlgorithm::Ec)) {
            return Ok(());
        }
        Err(Failure::field("Cryptographic Parameters: this method is ECDH without a hash; leave them out, or name ECDH as the algorithm"))
    }

    fn must_have_use_for_iv(&self) -> Result<(), Failure> {
        if matches!(self.method, M::Encrypt | M::Nist800_108F) || self.parameters.initialization_vector.is_none() {
            return Ok(());
        }
        Err(Failure::field("Initialization Vector: of the methods here ENCRYPT and NIST800-108-F have one"))
    }

    /// PBKDF2, which takes too long to be done while the key is open.
    fn stretch(&self, password: &[u8], bytes: usize) -> Result<Stretch, Failure> {
        let asked = self.parameters.cryptographic_parameters.as_ref();
        self.must_have_use_for_iv()?;
        if self.has_data() {
            return Err(ambiguous());
        }
        let salt = self.parameters.salt.ok_or_else(|| Failure::field("Salt: PBKDF2 needs one"))?;
        let count = self.parameters.iteration_count.and_then(|count| u32::try_from(count).ok());
        let count = count.filter(|count| (1..=ITERATIONS_MAX).contains(count));
        let needs = || Failure::field(format!("Iteration Count: PBKDF2 needs 1 to {ITERATIONS_MAX} over all blocks of what is derived"));
        let count = count.ok_or_else(needs)?;
        // RFC 8018 has HMAC-SHA-1 where nothing is said.
        let hash = match asked {
            Some(asked) if asked.hashing_algorithm.is_some() => hash_of(Some(asked))?,
            Some(CryptographicParameters { cryptographic_algorithm: Some(algorithm), .. }) => match mac::hmac(*algorithm) {
                Some(Mac::Hmac(hash)) => hash,
                _ => return Err(Failure::field("Cryptographic Algorithm: PBKDF2 goes by an HMAC")),
            },
            _ => Hash::Sha1,
        };
        Stretch::new(hash, password, salt.0, count, bytes).map_err(|error| match error {
            cipher::Error::Refused => Failure::field("Hashing Algorithm: PBKDF2 is offered with SHA-1 and SHA-2"),
            cipher::Error::Exhausted(full) => full.into(),
            other => failed(other),
        })
    }

    fn has_data(&self) -> bool {
        self.has_data_object || self.parameters.derivation_data.is_some()
    }

    fn must_have_data(&self) -> Result<(), Failure> {
        if self.has_data() {
            Ok(())
        } else {
            Err(Failure::field("Derivation Data: this method needs some, here or in a Secret Data object"))
        }
    }
}

fn hash_of(asked: Option<&CryptographicParameters<'_>>) -> Result<Hash, Failure> {
    let named: Option<HashingAlgorithm> = asked.and_then(|asked| asked.hashing_algorithm);
    hash::function(named.ok_or_else(|| Failure::field("Cryptographic Parameters: this method needs a Hashing Algorithm"))?)
}

fn hmac_of(asked: Option<&CryptographicParameters<'_>>, view: &View) -> Result<Hash, Failure> {
    match mac::algorithm(asked, view)? {
        Mac::Hmac(hash) => Ok(hash),
        Mac::Cmac => Err(Failure::field("Cryptographic Algorithm: this method goes by an HMAC")),
    }
}

/// The mode to derive in; one with a tag, or with a padding of random bytes, would put out other things than a key.
fn mode(asked: Option<&CryptographicParameters<'_>>, view: &View) -> Result<Mode, Failure> {
    match Scheme::of(asked, view, NodeRole::Edge)? {
        Scheme::Plain(Mode::Cbc(Padding::Iso10126) | Mode::Ecb(Padding::Iso10126)) | Scheme::Gcm { .. } => {
            Err(Failure::field("Block Cipher Mode: ENCRYPT derives by CBC, ECB or CTR, without a padding of random bytes"))
        }
        Scheme::Plain(mode) => Ok(mode),
    }
}

fn failed(error: cipher::Error) -> Failure {
    Failure::invalid(ResultReason::CryptographicFailure, error.to_string())
}
