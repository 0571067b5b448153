//! What kinds of objects there are, what is done with them, their attributes, and the formats they come and go in.

use kmip::ttlv::ByteString;
use kmip::*;

use super::probe::{Node, Nodes, all_uses, block, does, on_curve, template};
use super::table::{Table, list, yes};
use crate::edit;
use crate::pairs;
use crate::world::*;
use AttributeValue as A;
use CryptographicAlgorithm as Algorithm;
use ProtocolVersion::V1_4;

const BYTES: &[u8; 32] = b"a key of thirty-two bytes, raw..";

fn secret(format: KeyFormatType) -> ManagedObject<'static> {
    ManagedObject::SecretData(SecretData { secret_data_type: SecretDataType::Password, key_block: block(format, None, BYTES) })
}

fn opaque() -> ManagedObject<'static> {
    ManagedObject::OpaqueObject(OpaqueObject {
        opaque_data_type: OpaqueDataType::Extension(0x8000_0001),
        opaque_data_value: ByteString(BYTES),
    })
}

fn x509(der: &[u8]) -> ManagedObject<'_> {
    ManagedObject::Certificate(Certificate { certificate_type: CertificateType::X509, certificate_value: ByteString(der) })
}

/// Object types, and which operations make or take them at an edge.
pub(super) fn types(nodes: &Nodes) -> String {
    let mut table = Table::new(&["Object type", "Since KMIP", "Core", "Edge", "Comes to an edge by"]);
    let request = QueryRequest { functions: vec![QueryFunction::QueryObjects] };
    let [core, edge] = nodes.both().map(|mut node| node.user.call(V1_4, &request, |answer| answer.object_types).expect("anybody may ask"));
    for kind in ObjectType::ALL {
        let ways = list(ways(&mut nodes.edge(), *kind));
        table.row(&[kind.name(), &kind.since().to_string(), yes(core.contains(kind)), yes(edge.contains(kind)), &ways]);
    }
    format!("## Object types\n\nTo a core a Symmetric Key comes by Create and Re-key alone.\n\n{table}")
}

fn ways(edge: &mut Node<'_>, kind: ObjectType) -> Vec<&'static str> {
    let mut ways = vec![];
    if does(&mut edge.owner, &CreateRequest { object_type: kind, ..create_request(&wish("billing", &[])) }) {
        ways.push("Create");
    }
    if matches!(kind, ObjectType::PrivateKey | ObjectType::PublicKey) && edge.curve_pair(RecommendedCurve::P256).is_ok() {
        ways.push("Create Key Pair");
    }
    let (der, [private, public]) = (pairs::certificate(), pairs::halves());
    let object = match kind {
        ObjectType::Certificate => Some(x509(&der)),
        ObjectType::SymmetricKey => {
            Some(ManagedObject::SymmetricKey(SymmetricKey { key_block: block(KeyFormatType::Raw, Some(Algorithm::Aes), BYTES) }))
        }
        ObjectType::PrivateKey => Some(ManagedObject::PrivateKey(PrivateKey { key_block: block(KeyFormatType::Pkcs8, None, &private) })),
        ObjectType::PublicKey => Some(ManagedObject::PublicKey(PublicKey { key_block: block(KeyFormatType::X509, None, &public) })),
        ObjectType::SecretData => Some(secret(KeyFormatType::Raw)),
        ObjectType::OpaqueObject => Some(opaque()),
        _ => None,
    };
    let template = Template { attributes: vec![bare(A::CryptographicLength(256))] };
    let template = (kind == ObjectType::Template).then_some(ManagedObject::Template(template));
    let import = object.clone().or(template).map(|object| ImportRequest {
        unique_identifier: kind.name(),
        replace_existing: None,
        key_wrap_type: None,
        attributes: vec![bare(A::CryptographicUsageMask(CryptographicUsageMask(DATA)))],
        object,
    });
    let is_registered = match object {
        Some(object) => edge.register(object).is_ok(),
        None => kind == ObjectType::Template && edge.template(&[A::CryptographicLength(256)]).is_ok(),
    };
    if is_registered {
        ways.push("Register");
    }
    if import.is_some_and(|import| does(&mut edge.owner, &import)) {
        ways.push("Import");
    }
    let base = edge.key(0x200, &[]);
    if does(&mut edge.owner, &derivation(&base, kind)) {
        ways.push("Derive Key");
    }
    ways
}

fn derivation(base: &str, object_type: ObjectType) -> DeriveKeyRequest<'_> {
    let hash = CryptographicParameters { hashing_algorithm: Some(HashingAlgorithm::Sha256), ..CryptographicParameters::default() };
    let algorithm = (object_type == ObjectType::SymmetricKey).then_some(A::CryptographicAlgorithm(Algorithm::Aes));
    DeriveKeyRequest {
        object_type,
        unique_identifiers: vec![base],
        derivation_method: DerivationMethod::Hmac,
        derivation_parameters: DerivationParameters {
            cryptographic_parameters: Some(hash),
            derivation_data: Some(ByteString(b"data")),
            ..DerivationParameters::default()
        },
        template_attribute: template([A::CryptographicLength(256), all_uses()].into_iter().chain(algorithm)),
    }
}

/// One object of each kind, Active where it can be.
pub(super) struct Kind {
    name: &'static str,
    pub(super) id: String,
    /// What encrypts for it, or signs what it verifies: a pair's other half.
    partner: String,
    algorithm: Option<Algorithm>,
}

pub(super) fn kinds(edge: &mut Node<'_>) -> Vec<Kind> {
    let alone = |name, id: String, algorithm| Kind { name, partner: id.clone(), id, algorithm };
    let hmac = [A::CryptographicAlgorithm(Algorithm::HmacSha256), all_uses()];
    let hmac = edge.owner.create(V1_4, &hmac).expect("it is offered");
    let [rsa, rsa_public] = edge.rsa_pair(2048).expect("it is offered");
    let [ec, ec_public] = edge.curve_pair(RecommendedCurve::P256).expect("it is offered");
    let halves = |name, id: &str, partner: &str, algorithm| Kind {
        name,
        id: id.to_owned(),
        partner: partner.to_owned(),
        algorithm: Some(algorithm),
    };
    let certificate = edge.register(x509(&pairs::certificate())).expect("it is one");
    let (password, blob) = (edge.register(secret(KeyFormatType::Raw)).expect("it is kept"), edge.register(opaque()).expect("it is kept"));
    for id in [&hmac, &certificate, &password, &blob] {
        edge.owner.activate(id).expect("it is new");
    }
    vec![
        alone("AES key", edge.key(0x000F_FFFF, &[]), Some(Algorithm::Aes)),
        alone("HMAC key", hmac, Some(Algorithm::HmacSha256)),
        halves("RSA private key", &rsa, &rsa_public, Algorithm::Rsa),
        halves("RSA public key", &rsa_public, &rsa, Algorithm::Rsa),
        halves("EC private key", &ec, &ec_public, Algorithm::Ecdsa),
        halves("EC public key", &ec_public, &ec, Algorithm::Ecdsa),
        alone("Certificate", certificate, None),
        alone("Secret Data", password, None),
        alone("Opaque Object", blob, None),
    ]
}

/// What is done with each kind of object.
pub(super) fn uses(nodes: &Nodes) -> String {
    let head = [
        "Object",
        "Get",
        "Get, wrapped",
        "Encrypt",
        "Decrypt",
        "Sign",
        "Signature Verify",
        "MAC",
        "MAC Verify",
        "Derive Key",
        "Re-key",
        "Re-key Key Pair",
    ];
    let mut table = Table::new(&head);
    let mut edge = nodes.edge();
    for kind in kinds(&mut edge) {
        let cells = kind.tries(&mut edge).map(yes);
        table.row(&[&[kind.name], &cells[..]].concat());
    }
    format!(
        "\
## What an edge does with each kind of object

In its right state, with a usage mask that allows it. What finds, tells, changes or ends an object (Locate, Get Attributes, Activate, Destroy and the like) is the same for all.

{table}"
    )
}

impl Kind {
    fn parameters(&self) -> Option<CryptographicParameters<'static>> {
        let none = CryptographicParameters::default();
        match self.algorithm {
            Some(Algorithm::Rsa) => Some(CryptographicParameters { padding_method: Some(PaddingMethod::Oaep), ..none }),
            _ => None,
        }
    }

    fn signing(&self) -> Option<CryptographicParameters<'static>> {
        let padding_method = (self.algorithm == Some(Algorithm::Rsa)).then_some(PaddingMethod::Pss);
        let hashing_algorithm = Some(HashingAlgorithm::Sha256);
        Some(CryptographicParameters { padding_method, hashing_algorithm, ..CryptographicParameters::default() })
    }

    fn mac(&self) -> Option<CryptographicParameters<'static>> {
        let algorithm = if self.algorithm == Some(Algorithm::Aes) { Algorithm::Aes } else { Algorithm::HmacSha256 };
        Some(CryptographicParameters { cryptographic_algorithm: Some(algorithm), ..CryptographicParameters::default() })
    }

    /// From the object alone, or with the other half of its pair.
    fn derivation(&self) -> DeriveKeyRequest<'_> {
        let alone = derivation(&self.id, ObjectType::SecretData);
        if self.partner == self.id {
            return alone;
        }
        DeriveKeyRequest {
            unique_identifiers: vec![&self.id, &self.partner],
            derivation_method: DerivationMethod::AsymmetricKey,
            derivation_parameters: DerivationParameters::default(),
            ..alone
        }
    }

    /// The eleven of the table, in its order.
    fn tries(&self, edge: &mut Node<'_>) -> [bool; 11] {
        let wrapper = edge.key(0x30, &[A::CryptographicParameters(mode(BlockCipherMode::AESKeyWrapPadding))]);
        let (unique_identifier, data) = (Some(self.id.as_str()), Some(ByteString(b"sixteen bytes...")));
        let client = &mut edge.owner;
        let get = GetRequest { unique_identifier, ..GetRequest::default() };
        let wrapped = GetRequest { key_wrapping_specification: Some(specification(&wrapper, EncodingOption::NoEncoding)), ..get.clone() };
        let seal = |id| EncryptRequest {
            unique_identifier: Some(id),
            cryptographic_parameters: self.parameters(),
            data,
            ..EncryptRequest::default()
        };
        let taken =
            |answer: EncryptResponse<'_>| (answer.data.map(|data| data.0.to_vec()), answer.iv_counter_nonce.map(|iv| iv.0.to_vec()));
        let (sealed, iv) = client.call(V1_4, &seal(&self.partner), taken).unwrap_or_default();
        let open = DecryptRequest {
            unique_identifier,
            cryptographic_parameters: self.parameters(),
            data: Some(ByteString(sealed.as_deref().unwrap_or(b"sixteen bytes..."))),
            iv_counter_nonce: iv.as_deref().map(ByteString),
            ..DecryptRequest::default()
        };
        let sign =
            |id| SignRequest { unique_identifier: Some(id), cryptographic_parameters: self.signing(), data, ..SignRequest::default() };
        let signature = client.call(V1_4, &sign(&self.partner), |answer| answer.signature_data.map(|signature| signature.0.to_vec()));
        let signature = signature.ok().flatten().unwrap_or_default();
        let judge = SignatureVerifyRequest {
            unique_identifier,
            cryptographic_parameters: self.signing(),
            data,
            signature_data: Some(ByteString(&signature)),
            ..SignatureVerifyRequest::default()
        };
        let code = MacRequest { unique_identifier, cryptographic_parameters: self.mac(), data, ..MacRequest::default() };
        let mac = client.call(V1_4, &code, |answer| answer.mac_data.map(|mac| mac.0.to_vec())).ok().flatten().unwrap_or_default();
        let verify = MacVerifyRequest {
            unique_identifier,
            cryptographic_parameters: self.mac(),
            data,
            mac_data: Some(ByteString(&mac)),
            ..MacVerifyRequest::default()
        };
        [
            does(client, &get),
            does(client, &wrapped),
            does(client, &seal(&self.id)),
            does(client, &open),
            does(client, &sign(&self.id)),
            client.call(V1_4, &judge, |answer| answer.validity_indicator).is_ok_and(|verdict| verdict == ValidityIndicator::Valid),
            does(client, &code),
            client.call(V1_4, &verify, |answer| answer.validity_indicator).is_ok_and(|verdict| verdict == ValidityIndicator::Valid),
            does(client, &self.derivation()),
            does(client, &ReKeyRequest { unique_identifier, ..ReKeyRequest::default() }),
            does(client, &ReKeyKeyPairRequest { private_key_unique_identifier: unique_identifier, ..ReKeyKeyPairRequest::default() }),
        ]
    }
}

fn mode(mode: BlockCipherMode) -> CryptographicParameters<'static> {
    CryptographicParameters { block_cipher_mode: Some(mode), ..CryptographicParameters::default() }
}

fn specification(with: &str, encoding: EncodingOption) -> KeyWrappingSpecification<'_> {
    KeyWrappingSpecification {
        wrapping_method: WrappingMethod::Encrypt,
        encryption_key_information: Some(WrappingKeyInformation { unique_identifier: with, cryptographic_parameters: None }),
        mac_signature_key_information: None,
        attribute_names: vec![],
        encoding_option: Some(encoding),
    }
}

/// What a node makes of an attribute.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Client,
    Server,
    PassedOver,
    Not,
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::PassedOver => "passed over",
            Self::Not => "-",
        }
    }
}

/// A value of each standard attribute that is legal for a new key, if any is.
fn values() -> Vec<(AttributeName, A<'static>)> {
    let mut values: Vec<(AttributeName, A<'static>)> = vec![];
    for value in edit::rules()
        .into_iter()
        .map(|rule| rule.value)
        .chain([A::Link(Link { link_type: Some(LinkType::ParentLink), linked_object_identifier: Some("anything") })])
    {
        let Some(name) = value.standard() else { continue };
        let value = match value {
            A::CryptographicDomainParameters(_) => on_curve(RecommendedCurve::P256),
            A::CryptographicUsageMask(_) => A::CryptographicUsageMask(CryptographicUsageMask(DATA)),
            A::Fresh(_) => A::Fresh(true),
            A::Link(link) if link.link_type != Some(LinkType::ParentLink) => continue,
            other => other,
        };
        values.push((name, value));
    }
    values
}

/// Who says an attribute at a core, and at an edge.
pub(super) fn kept(nodes: &Nodes) -> Vec<(AttributeName, [Kept; 2])> {
    let told = nodes.both().map(|mut node| told_by_itself(&mut node));
    let of_value = |(name, value): (AttributeName, A<'static>)| {
        let mut at = [Kept::Not; 2];
        for ((kept, mut node), told) in at.iter_mut().zip(nodes.both()).zip(&told) {
            *kept = match made_with(&mut node, &value) {
                Some(id) if node.told(&id).iter().any(|told| told == name.row().name) => Kept::Client,
                Some(_) => Kept::PassedOver,
                None if told.iter().any(|told| told == name.row().name) => Kept::Server,
                None => Kept::Not,
            };
        }
        (name, at)
    };
    let mut rows: Vec<_> = values().into_iter().map(of_value).collect();
    rows.sort_by_key(|(name, _)| *name as usize);
    assert_eq!(rows.iter().map(|(name, _)| *name).collect::<Vec<_>>(), AttributeName::ALL, "each attribute has one value here");
    rows
}

/// A new object that its client gave this attribute: a key, or else a half of a pair.
fn made_with(node: &mut Node<'_>, value: &A<'static>) -> Option<String> {
    let mut attributes = wish("billing", &[]);
    attributes.retain(|other| other.name() != value.name() || matches!(other, A::ObjectGroup(_)));
    attributes.push(value.clone());
    if let Ok(id) = node.owner.create(V1_4, &attributes) {
        return Some(id);
    }
    let pair = node.pair(&[A::CryptographicAlgorithm(Algorithm::Ecdsa), A::CryptographicLength(256), value.clone()]);
    pair.ok().map(|[private, _]| private)
}

/// The attributes that objects have without their client's doing, in any state.
fn told_by_itself(node: &mut Node<'_>) -> Vec<String> {
    let ends = [RevocationReasonCode::Superseded, RevocationReasonCode::KeyCompromise];
    let mut ids: Vec<String> = ends.map(|_| node.key(DATA, &[])).into();
    for (id, code) in ids.iter().zip(ends) {
        node.owner.revoke(id, code).expect("it is Active");
    }
    let destroyed = node.key(DATA, &[]);
    node.owner.revoke(&destroyed, RevocationReasonCode::Superseded).expect("it is Active");
    node.owner.destroy(&destroyed).expect("it is Deactivated");
    ids.push(destroyed);
    // An edge retires nothing, and of what it archives it tells nothing.
    let retired = node.key(DATA, &[]);
    if retired.starts_with("L3-") {
        node.owner.revoke(&retired, RevocationReasonCode::Superseded).expect("it is Active");
        node.owner.world.retire(&retired);
    }
    ids.push(retired);
    if let Ok(certificate) = node.register(x509(&pairs::certificate())) {
        ids.push(certificate);
    }
    let mut told: Vec<String> = ids.iter().flat_map(|id| node.told(id)).collect();
    told.sort_unstable();
    told.dedup();
    told
}

/// How many attributes there are at any node, and how many of them a client may give.
pub(super) fn counts(rows: &[(AttributeName, [Kept; 2])]) -> [usize; 2] {
    let count = |has: fn(Kept) -> bool| rows.iter().filter(|(_, at)| at.iter().any(|kept| has(*kept))).count();
    [count(|kept| matches!(kept, Kept::Client | Kept::Server)), count(|kept| kept == Kept::Client)]
}

pub(super) fn attributes(nodes: &Nodes, rows: &[(AttributeName, [Kept; 2])]) -> String {
    let mut table = Table::new(&["Attribute", "Since KMIP", "Core", "Edge", "Instances", "Changed by a client", "Removed by a client"]);
    for (name, at) in rows {
        let row = name.row();
        let instances = if row.instances == Instances::One { "one" } else { "many" };
        let is_there = at.iter().any(|kept| matches!(kept, Kept::Client | Kept::Server));
        let [changed, removed] = if is_there && row.set_by == SetBy::Client {
            [modifiable(row.modifiable), if row.deletable == Deletable::Goes { "yes" } else { "-" }]
        } else {
            ["-", "-"]
        };
        table.row(&[row.name, &row.since.to_string(), at[0].name(), at[1].name(), instances, changed, removed]);
    }
    let located = values().into_iter().filter(|(_, value)| nodes.edge().user.locate(V1_4, std::slice::from_ref(value)).is_ok()).count();
    format!(
        "\
## Attributes

*Core* and *Edge* tell who says the value of an attribute: the *client* when the object comes or later, or the *server* alone. A value that is *passed over* is taken and not
kept; one with a dash is refused by its name. Attributes that begin with `x-` are the client's own, of any type, as many as are kept; those that begin with `y-` are the server's:
`y-layer`, `y-service`, `y-version` and `y-parent` tell where an object stands, to whoever asks for them by name. Locate searches by {located} of the {all}, and by custom ones.

{table}",
        all = rows.len(),
    )
}

fn modifiable(when: Modifiable) -> &'static str {
    match when {
        Modifiable::Never => "-",
        Modifiable::Always => "yes",
        Modifiable::PreActive => "while Pre-Active",
        Modifiable::UntilInactive => "until Deactivated",
        Modifiable::UntilReached => "until reached",
        Modifiable::UntilUsed => "until used",
    }
}

/// In which formats an edge takes and returns each type of object that has a Key Block.
pub(super) fn formats(nodes: &Nodes) -> String {
    let types = [ObjectType::SymmetricKey, ObjectType::PrivateKey, ObjectType::PublicKey, ObjectType::SecretData];
    let mut table = Table::new(&["Key Format Type", "Since KMIP", "Symmetric Key", "Private Key", "Public Key", "Secret Data"]);
    let mut edge = nodes.edge();
    let mut kept: Vec<(ObjectType, String)> = kinds(&mut edge)
        .into_iter()
        .filter_map(|kind| match kind.name {
            "AES key" => Some((ObjectType::SymmetricKey, kind.id)),
            "RSA private key" | "EC private key" => Some((ObjectType::PrivateKey, kind.id)),
            "RSA public key" | "EC public key" => Some((ObjectType::PublicKey, kind.id)),
            _ => None,
        })
        .collect();
    for format in [KeyFormatType::Raw, KeyFormatType::Opaque] {
        kept.push((ObjectType::SecretData, edge.register(secret(format)).expect("it is kept")));
    }
    for format in KeyFormatType::ALL {
        let cells = types.map(|kind| {
            let comes = comes(&mut edge, kind, *format);
            let mut ids = kept.iter().filter(|(of, _)| *of == kind).map(|(_, id)| id);
            let goes = ids.any(|id| {
                let request = GetRequest { unique_identifier: Some(id), key_format_type: Some(*format), ..GetRequest::default() };
                does(&mut edge.owner, &request)
            });
            match (comes, goes) {
                (true, true) => "in and out",
                (true, false) => "in",
                (false, true) => "out",
                (false, false) => "-",
            }
        });
        table.row(&[&[format.name(), &format.since().to_string()], &cells[..]].concat());
    }
    format!(
        "\
## Key formats at an edge

In what a key is registered (*in*) and returned in the clear (*out*). A Private or Public Key that came in one format leaves in each that its kind has. Certificates are X.509 in DER.

{table}"
    )
}

/// Is the format not refused as such? What is sent is no key in most of them.
fn comes(edge: &mut Node<'_>, kind: ObjectType, format: KeyFormatType) -> bool {
    let algorithm = Some(Algorithm::Aes).filter(|_| kind == ObjectType::SymmetricKey);
    let mut key_block = block(format, algorithm, BYTES);
    if format == KeyFormatType::TransparentSymmetricKey {
        let key_material = KeyMaterial::TransparentSymmetricKey(TransparentSymmetricKey { key: ByteString(BYTES) });
        key_block.key_value = Some(KeyValue::Plain(PlainKeyValue { key_material, attributes: vec![] }));
    }
    let object = match kind {
        ObjectType::PrivateKey => ManagedObject::PrivateKey(PrivateKey { key_block }),
        ObjectType::PublicKey => ManagedObject::PublicKey(PublicKey { key_block }),
        ObjectType::SecretData => ManagedObject::SecretData(SecretData { secret_data_type: SecretDataType::Password, key_block }),
        _ => ManagedObject::SymmetricKey(SymmetricKey { key_block }),
    };
    edge.register(object).map_or_else(|failed| failed.reason != ResultReason::KeyFormatTypeNotSupported, |_| true)
}

/// How keys leave wrapped, and whether they come so.
pub(super) fn wrapping(nodes: &Nodes) -> String {
    let mut table = Table::new(&["Wrapping", "Encoding Option", "Core", "Edge"]);
    for (mode_of, encoding) in
        BlockCipherMode::ALL.iter().flat_map(|mode| EncodingOption::ALL.iter().map(move |encoding| (*mode, *encoding)))
    {
        let told = nodes.both().map(|mut node| node.wraps(mode_of, encoding, WrappingMethod::Encrypt));
        if told.contains(&true) {
            table.row(&[mode_of.name(), encoding.name(), yes(told[0]), yes(told[1])]);
        }
    }
    let methods = WrappingMethod::ALL.iter().filter(|method| {
        nodes.both().iter_mut().any(|node| node.wraps(BlockCipherMode::NISTKeyWrap, EncodingOption::NoEncoding, **method))
    });
    let methods = list(methods.map(|method| method.name()));
    let mut edge = nodes.edge();
    let with = edge.key(0x30, &[A::CryptographicParameters(mode(BlockCipherMode::NISTKeyWrap))]);
    let wrapped = KeyBlock {
        key_value: Some(KeyValue::Wrapped(ByteString(BYTES))),
        key_wrapping_data: Some(KeyWrappingData {
            wrapping_method: WrappingMethod::Encrypt,
            encryption_key_information: Some(WrappingKeyInformation { unique_identifier: &with, cryptographic_parameters: None }),
            mac_signature_key_information: None,
            mac_signature: None,
            iv_counter_nonce: None,
            encoding_option: Some(EncodingOption::NoEncoding),
        }),
        ..block(KeyFormatType::Raw, Some(Algorithm::Aes), BYTES)
    };
    let comes = edge.register(ManagedObject::SymmetricKey(SymmetricKey { key_block: wrapped }));
    let is_unknown = comes.is_err_and(|failed| failed.reason == ResultReason::FeatureNotSupported);
    let comes = if is_unknown {
        "A key that comes wrapped is refused."
    } else {
        "Register and Import open keys that come so, with a wrapping key of the service."
    };
    format!(
        "\
## Wrapping of keys

A core wraps Symmetric Keys; an edge whatever has a Key Block, in a format that has bytes. The mode is that of the wrapping key's Cryptographic Parameters; Wrapping Method: {methods}. \
The others are refused as Feature Not Supported: the standard says neither which bytes a MAC or a signature is made of, nor whether it is encrypted with the key. {comes}

{table}"
    )
}

impl Node<'_> {
    fn wraps(&mut self, by: BlockCipherMode, encoding: EncodingOption, method: WrappingMethod) -> bool {
        let with = self.key(0x30, &[A::CryptographicParameters(mode(by))]);
        let id = self.key(DATA, &[A::Extractable(true)]);
        let wanted = KeyWrappingSpecification { wrapping_method: method, ..specification(&with, encoding) };
        let request = GetRequest { unique_identifier: Some(&id), key_wrapping_specification: Some(wanted), ..GetRequest::default() };
        does(&mut self.owner, &request)
    }
}
