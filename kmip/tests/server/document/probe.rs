//! The nodes that are asked, and requests that succeed if what they ask for is offered.

use keys::policy::NodeRole;
use kmip::ttlv::ByteString;
use kmip::*;

use crate::world::*;
use AttributeValue as A;
use ProtocolVersion::V1_4;

/// A core and an edge.
pub(crate) struct Nodes {
    core: World,
    edge: World,
}

/// A node as its clients see it: at a core a tenant-admin makes what a service uses, at an edge the service does both.
pub(crate) struct Node<'w> {
    pub(crate) owner: Client<'w>,
    pub(crate) user: Client<'w>,
    pub(crate) role: NodeRole,
}

impl Nodes {
    pub(crate) fn found() -> Self {
        Self { core: World::found(), edge: World::edge() }
    }

    pub(crate) fn core(&self) -> Node<'_> {
        Node { owner: self.core.admin(), user: self.core.service(), role: NodeRole::Core }
    }

    pub(crate) fn edge(&self) -> Node<'_> {
        Node { owner: self.edge.service(), user: self.edge.service(), role: NodeRole::Edge }
    }

    pub(crate) fn both(&self) -> [Node<'_>; 2] {
        [self.core(), self.edge()]
    }
}

/// Does the node do it?
pub(crate) fn does<C: Call>(client: &mut Client<'_>, call: &C) -> bool {
    client.call(V1_4, call, |_| ()).is_ok()
}

/// The largest number up to `most` with which it succeeds, if it does with all below.
pub(crate) fn largest(most: usize, mut succeeds: impl FnMut(usize) -> bool) -> usize {
    let (mut good, mut bad) = (0, most + 1);
    while bad - good > 1 {
        let middle = usize::midpoint(good, bad);
        if succeeds(middle) { good = middle } else { bad = middle }
    }
    assert!(good < most, "there is a limit below {most}");
    good
}

/// Every use.
const ALL_USES: i32 = 0x000F_FFFF;

pub(crate) fn all_uses() -> A<'static> {
    A::CryptographicUsageMask(CryptographicUsageMask(ALL_USES))
}

pub(crate) fn template<'a>(values: impl IntoIterator<Item = A<'a>>) -> TemplateAttribute<'a> {
    TemplateAttribute { names: vec![], attributes: values.into_iter().map(bare).collect() }
}

pub(crate) fn block(key_format_type: KeyFormatType, algorithm: Option<CryptographicAlgorithm>, material: &[u8]) -> KeyBlock<'_> {
    KeyBlock {
        key_format_type,
        key_compression_type: None,
        key_value: Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(material)), attributes: vec![] })),
        cryptographic_algorithm: algorithm,
        cryptographic_length: algorithm.and(i32::try_from(material.len() * 8).ok()),
        key_wrapping_data: None,
    }
}

impl Node<'_> {
    /// An Active AES key for this, in the service's group.
    pub(crate) fn key(&mut self, mask: i32, more: &[A<'_>]) -> String {
        let mut attributes = wish("billing", more);
        attributes[2] = A::CryptographicUsageMask(CryptographicUsageMask(mask));
        let id = self.owner.create(V1_4, &attributes).expect("a plain key");
        self.owner.activate(&id).expect("it is new");
        id
    }

    pub(crate) fn register(&mut self, object: ManagedObject<'_>) -> Result<String, Failed> {
        let mask = [all_uses()].into_iter().filter(|_| !matches!(object, ManagedObject::OpaqueObject(_)));
        let request = RegisterRequest { object_type: object.object_type(), template_attribute: template(mask), object };
        self.owner.call(V1_4, &request, |answer| answer.unique_identifier.to_owned())
    }

    /// A Template of these attributes, and the Name that it goes by: nobody else's.
    pub(crate) fn template(&mut self, holds: &[A<'_>]) -> Result<(String, String), Failed> {
        let name = format!("template of {}", self.key(DATA, &[]));
        let object = ManagedObject::Template(Template { attributes: holds.iter().cloned().map(bare).collect() });
        let request = RegisterRequest { object_type: ObjectType::Template, template_attribute: template([named(&name)]), object };
        let id = self.owner.call(V1_4, &request, |answer| answer.unique_identifier.to_owned())?;
        Ok((id, name))
    }

    /// A pair for every use, its private half first.
    pub(crate) fn pair(&mut self, common: &[A<'_>]) -> Result<[String; 2], Failed> {
        let request = CreateKeyPairRequest {
            common_template_attribute: Some(template(common.iter().cloned())),
            private_key_template_attribute: Some(template([all_uses()])),
            public_key_template_attribute: Some(template([all_uses()])),
        };
        let ids = |answer: CreateKeyPairResponse<'_>| {
            [answer.private_key_unique_identifier.to_owned(), answer.public_key_unique_identifier.to_owned()]
        };
        let pair = self.owner.call(V1_4, &request, ids)?;
        for id in &pair {
            self.owner.activate(id).expect("it is new");
        }
        Ok(pair)
    }

    pub(crate) fn curve_pair(&mut self, curve: RecommendedCurve) -> Result<[String; 2], Failed> {
        self.pair(&[A::CryptographicAlgorithm(CryptographicAlgorithm::Ecdsa), on_curve(curve)])
    }

    pub(crate) fn rsa_pair(&mut self, bits: i32) -> Result<[String; 2], Failed> {
        self.pair(&[A::CryptographicAlgorithm(CryptographicAlgorithm::Rsa), A::CryptographicLength(bits)])
    }

    /// Is a new key made with these attributes? It is destroyed at once, so that its names are free.
    pub(crate) fn takes<'a>(&mut self, more: impl IntoIterator<Item = A<'a>>) -> bool {
        let mut attributes = wish("billing", &[]);
        attributes.retain(|attribute| !matches!(attribute, A::ObjectGroup(_)));
        attributes.extend(more);
        let made = self.owner.create(V1_4, &attributes);
        made.is_ok_and(|id| self.owner.destroy(&id).is_ok())
    }

    /// Are so many searches of one message all done?
    pub(crate) fn searches(&mut self, count: usize) -> bool {
        let mut batch = Batch::new(V1_4);
        let name = LocateRequest { attributes: vec![bare(named("nobody's"))], ..LocateRequest::default() };
        let slots: Vec<_> = (0..count).map(|_| batch.push(&name).expect("1.4 has Locate")).collect();
        let sent = batch.finish();
        let answer = self.user.ask(&sent.bytes);
        let answers = sent.answers(&answer).expect("it answers this request");
        slots.iter().all(|slot| answers.get(slot).is_ok())
    }

    pub(crate) fn draws(&mut self, bytes: usize) -> bool {
        does(&mut self.user, &RngRetrieveRequest { data_length: i32::try_from(bytes).expect("few") })
    }

    /// Are so many bits derived? Whole bytes only.
    pub(crate) fn derives_bits(&mut self, bits: usize) -> bool {
        let id = self.key(0x200, &[]);
        let bits = i32::try_from(bits.next_multiple_of(8)).expect("few");
        let algorithm = Some(CryptographicAlgorithm::HmacSha256);
        let parameters = CryptographicParameters { cryptographic_algorithm: algorithm, ..CryptographicParameters::default() };
        let request = DeriveKeyRequest {
            object_type: ObjectType::SecretData,
            unique_identifiers: vec![&id],
            derivation_method: DerivationMethod::Nist800_108C,
            derivation_parameters: DerivationParameters {
                cryptographic_parameters: Some(parameters),
                derivation_data: Some(ByteString(b"label\0context")),
                ..DerivationParameters::default()
            },
            template_attribute: template([A::CryptographicLength(bits), all_uses()]),
        };
        does(&mut self.owner, &request)
    }

    /// The attributes that an object has, by name.
    pub(crate) fn told(&mut self, id: &str) -> Vec<String> {
        let request = GetAttributeListRequest { unique_identifier: Some(id) };
        let names = |answer: GetAttributeListResponse<'_>| answer.attribute_names.iter().map(ToString::to_string).collect();
        self.owner.call(V1_4, &request, names).expect("it is one's own")
    }
}

pub(crate) fn on_curve(curve: RecommendedCurve) -> A<'static> {
    A::CryptographicDomainParameters(CryptographicDomainParameters { qlength: None, recommended_curve: Some(curve) })
}
