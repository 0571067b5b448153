//! The key on the token: found by name, made if asked, and used only if it cannot have a copy elsewhere.

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use hsm::{KeyKind, KeyName, Refusal};

use crate::fault::fault;
use crate::token::missing;

const AES_BYTES: u64 = 32;
const RSA_BITS: u64 = 3072;
/// An RSA key made elsewhere may be shorter than ours, but not shorter than what still counts as sound.
const RSA_BITS_MIN: usize = 2048;
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// A key that passed the checks.
pub(crate) enum Key {
    /// An AES-256 key.
    Aes(ObjectHandle),
    /// An RSA key pair.
    Rsa {
        /// Encrypts.
        public: ObjectHandle,
        /// Decrypts.
        private: ObjectHandle,
    },
}

impl Key {
    /// The only key of that name, if it is acceptable.
    pub(crate) fn find(session: &Session, name: &KeyName) -> Result<Self, Refusal> {
        let mut named = named(session, name)?;
        match (named.pop(), named.len()) {
            (None, _) => Err(Refusal::KeyMissing { key: describe(name) }),
            (Some((kind, handle)), 0) => Self::check(session, name, kind, handle),
            (Some(_), others) => Err(Refusal::KeyAmbiguous { key: describe(name), count: others + 1 }),
        }
    }

    fn check(session: &Session, name: &KeyName, kind: KeyKind, handle: ObjectHandle) -> Result<Self, Refusal> {
        let unfit = |attribute: &str| Refusal::KeyUnfit { key: describe(name), attribute: attribute.to_owned() };
        require(session, handle, kind).map_err(|error| match error {
            Unfit::Attribute(wanted) => unfit(&format!("{wanted:?}")),
            Unfit::Refused(refusal) => refusal,
        })?;
        match kind {
            KeyKind::Aes256 => Ok(Self::Aes(handle)),
            KeyKind::Rsa3072 => {
                let modulus = modulus(session, handle)?.filter(|modulus| modulus.len() * 8 >= RSA_BITS_MIN);
                let modulus = modulus.ok_or_else(|| unfit("Modulus of at least 2048 bits"))?;
                // Found by its modulus and not by its name: whatever is called alike, only the other half of this pair has it.
                let wanted = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Modulus(modulus), Attribute::Encrypt(true)];
                let public =
                    session.find_objects(&wanted).map_err(fault)?.pop().ok_or_else(|| unfit("its public half, which is missing"))?;
                Ok(Self::Rsa { public, private: handle })
            }
        }
    }
}

/// Makes a key of that name that cannot leave the token, and destroys it again if the token made it otherwise than asked.
pub(crate) fn make(session: &Session, name: &KeyName, kind: KeyKind, mechanisms: &[MechanismType]) -> Result<(), Refusal> {
    if let Some(mechanism) = missing(kind, mechanisms) {
        return Err(Refusal::MechanismMissing { mechanism: mechanism.to_string() });
    }
    if !named(session, name)?.is_empty() {
        return Err(Refusal::KeyExists { key: describe(name) });
    }
    let made = generate(session, name, kind).map_err(fault)?;
    Key::find(session, name).map(|_fit| ()).inspect_err(|_| {
        for object in made {
            // The refusal is the news; that the unfit key could not be removed as well would only bury it.
            let _removed = session.destroy_object(object);
        }
    })
}

fn generate(session: &Session, name: &KeyName, kind: KeyKind) -> cryptoki::error::Result<Vec<ObjectHandle>> {
    let mut kept = own_attributes(name);
    kept.extend([Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Decrypt(true)]);
    match kind {
        KeyKind::Aes256 => {
            kept.extend([Attribute::Encrypt(true), Attribute::ValueLen(AES_BYTES.into())]);
            Ok(vec![session.generate_key(&Mechanism::AesKeyGen, &kept)?])
        }
        KeyKind::Rsa3072 => {
            let mut shown = own_attributes(name);
            let exponent = Attribute::PublicExponent(RSA_EXPONENT.to_vec());
            shown.extend([Attribute::Private(false), Attribute::Encrypt(true), Attribute::ModulusBits(RSA_BITS.into()), exponent]);
            let (public, private) = session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &shown, &kept)?;
            Ok(vec![public, private])
        }
    }
}

fn own_attributes(name: &KeyName) -> Vec<Attribute> {
    let mut attributes = vec![Attribute::Token(true), Attribute::Label(name.label.clone().into_bytes())];
    attributes.extend(name.id.clone().map(Attribute::Id));
    attributes
}

/// Every key of that name that is of a kind we use; its public half is not counted.
fn named(session: &Session, name: &KeyName) -> Result<Vec<(KeyKind, ObjectHandle)>, Refusal> {
    let kinds = [(KeyKind::Aes256, ObjectClass::SECRET_KEY, KeyType::AES), (KeyKind::Rsa3072, ObjectClass::PRIVATE_KEY, KeyType::RSA)];
    let mut all = Vec::new();
    for (kind, class, key_type) in kinds {
        let mut wanted = own_attributes(name);
        wanted.extend([Attribute::Class(class), Attribute::KeyType(key_type)]);
        all.extend(session.find_objects(&wanted).map_err(fault)?.into_iter().map(|handle| (kind, handle)));
    }
    Ok(all)
}

enum Unfit {
    Attribute(Attribute),
    Refused(Refusal),
}

/// The attributes that say: generated on the token, never readable, and able to do the work.
fn require(session: &Session, handle: ObjectHandle, kind: KeyKind) -> Result<(), Unfit> {
    let mut wanted = vec![
        Attribute::Extractable(false),
        Attribute::Sensitive(true),
        Attribute::NeverExtractable(true),
        Attribute::AlwaysSensitive(true),
        Attribute::Local(true),
        Attribute::Decrypt(true),
    ];
    if kind == KeyKind::Aes256 {
        wanted.extend([Attribute::Encrypt(true), Attribute::ValueLen(AES_BYTES.into())]);
    }
    let types: Vec<AttributeType> = wanted.iter().map(Attribute::attribute_type).collect();
    let are = session.get_attributes(handle, &types).map_err(|error| Unfit::Refused(fault(error)))?;
    match wanted.into_iter().find(|wanted| !are.contains(wanted)) {
        Some(wanted) => Err(Unfit::Attribute(wanted)),
        None => Ok(()),
    }
}

pub(crate) fn modulus(session: &Session, private: ObjectHandle) -> Result<Option<Vec<u8>>, Refusal> {
    let attributes = session.get_attributes(private, &[AttributeType::Modulus]).map_err(fault)?;
    Ok(attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::Modulus(modulus) => Some(modulus),
        _ => None,
    }))
}

fn describe(name: &KeyName) -> String {
    match &name.id {
        None => format!("label `{}`", name.label),
        Some(id) => format!("label `{}` and id {}", name.label, id.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}
