//! Create, Create Key Pair, Register, Import, Re-key and Derive Key.

use super::*;
use crate::document::probe::{on_curve, template};
use crate::pairs;
use crate::reasons::written;
use ttlv::{DateTime, Interval};

const TEMPLATES: &str = "Templates that do not exist are given in request";
const VALUES: &str = "Incorrect attribute value(s) specified";
const CRYPTOGRAPHIC: &str = "Error creating cryptographic object";
const INSTANCES: &str = "Trying to set more instances than the server supports of an attribute that MAY have multiple instances";
const NAMES: &str = "Trying to create a new object with the same Name attribute value as an existing object";
const NAMESPACE: &str = "The particular Application Namespace is not supported, and Application Data cannot be generated";
const ARCHIVED_TEMPLATE: &str = "Template object is archived";

pub(super) fn tables() -> Vec<Table> {
    vec![create(), create_key_pair(), register(), import(), re_key(), re_key_key_pair(), derive_key()]
}

/// A template that names another, which there is not.
fn naming_template<'a>(values: &[A<'a>]) -> TemplateAttribute<'a> {
    naming_template_of("gold", values)
}

fn naming_template_of<'a>(name: &'a str, values: &[A<'a>]) -> TemplateAttribute<'a> {
    let name = Name { value: Some(name), name_type: Some(NameType::UninterpretedTextString) };
    TemplateAttribute { names: vec![name], ..template(values.iter().cloned()) }
}

fn a_key(more: &[A<'_>]) -> Vec<u8> {
    of(&create_request(&wish("billing", more)))
}

fn of_unknown_type(operation: Operation, rest: &dyn Encode) -> Vec<u8> {
    let fields = written(|out| {
        out.enumeration(Tag::OBJECT_TYPE, 0x63);
        rest.encode(Tag::TEMPLATE_ATTRIBUTE, out);
    });
    by_hand(operation, fields)
}

fn create() -> Table {
    let rows = vec![
        arises("Object Type is not recognized", R::InvalidField, |_| of_unknown_type(O::Create, &template(wish("billing", &[])))),
        arises(TEMPLATES, R::ItemNotFound, |_| {
            let template_attribute = naming_template(&wish("billing", &[]));
            of(&CreateRequest { object_type: ObjectType::SymmetricKey, template_attribute })
        }),
        arises(VALUES, R::InvalidField, |_| {
            let mut attributes = wish("billing", &[]);
            attributes[1] = A::CryptographicLength(255);
            of(&create_request(&attributes))
        }),
        never(CRYPTOGRAPHIC, R::CryptographicFailure, GENERATOR),
        arises(INSTANCES, R::IndexOutOfBounds, |node| {
            let names = too_many_names(node);
            a_key(&names.iter().map(|name| named(name)).collect::<Vec<_>>())
        }),
        arises(NAMES, R::InvalidField, |node| a_key(&[named(&with_name(node).1)])),
        arises(NAMESPACE, R::ApplicationNamespaceNotSupported, |_| a_key(&[no_application_data()])),
        at_edge(
            ARCHIVED_TEMPLATE,
            R::ObjectArchived,
            |node| {
                let name = archived_template(node);
                let template_attribute = naming_template_of(&name, &wish("billing", &[]));
                of(&CreateRequest { object_type: ObjectType::SymmetricKey, template_attribute })
            },
            NO_TEMPLATES,
        ),
    ];
    Table { operation: O::Create, number: 328, rows }
}

fn pair(common: TemplateAttribute<'_>) -> Vec<u8> {
    of(&CreateKeyPairRequest {
        common_template_attribute: Some(common),
        private_key_template_attribute: Some(template([all_uses()])),
        public_key_template_attribute: Some(template([all_uses()])),
    })
}

fn curve(more: &[A<'static>]) -> Vec<A<'static>> {
    let plain = [A::CryptographicAlgorithm(CryptographicAlgorithm::Ecdsa), on_curve(RecommendedCurve::P256)];
    [&plain[..], more].concat()
}

fn create_key_pair() -> Table {
    let rows = vec![
        arises(TEMPLATES, R::ItemNotFound, |_| pair(naming_template(&curve(&[])))),
        arises(VALUES, R::InvalidField, |_| pair(template(curve(&[A::CryptographicLength(257)])))),
        arises(CRYPTOGRAPHIC, R::CryptographicFailure, |node| {
            node.owner.world.pairs.broken.store(true, std::sync::atomic::Ordering::Relaxed);
            pair(template(curve(&[])))
        }),
        arises(NAMES, R::InvalidField, |node| {
            let (_, name) = with_name(node);
            let plain = curve(&[]);
            of(&CreateKeyPairRequest {
                common_template_attribute: Some(template(plain)),
                private_key_template_attribute: Some(template([all_uses()])),
                public_key_template_attribute: Some(template([all_uses(), named(&name)])),
            })
        }),
        arises(INSTANCES, R::IndexOutOfBounds, |node| {
            let names = too_many_names(node);
            of(&CreateKeyPairRequest {
                common_template_attribute: Some(template(curve(&[]))),
                private_key_template_attribute: Some(template([all_uses()].into_iter().chain(names.iter().map(|name| named(name))))),
                public_key_template_attribute: Some(template([all_uses()])),
            })
        }),
        arises("REQUIRED field(s) missing", R::InvalidMessage, |_| {
            let common_template_attribute = Some(template(curve(&[])));
            of(&CreateKeyPairRequest { common_template_attribute, ..CreateKeyPairRequest::default() })
        }),
        arises(NAMESPACE, R::ApplicationNamespaceNotSupported, |_| pair(template(curve(&[no_application_data()])))),
        arises(ARCHIVED_TEMPLATE, R::ObjectArchived, |node| {
            let name = archived_template(node);
            pair(naming_template_of(&name, &curve(&[])))
        }),
    ];
    Table { operation: O::CreateKeyPair, number: 329, rows }
}

fn raw() -> ManagedObject<'static> {
    let key_block = block(KeyFormatType::Raw, Some(CryptographicAlgorithm::Aes), b"a key of thirty-two bytes, raw..");
    ManagedObject::SymmetricKey(SymmetricKey { key_block })
}

fn brought(object_type: ObjectType, template_attribute: TemplateAttribute<'_>) -> Vec<u8> {
    of(&RegisterRequest { object_type, template_attribute, object: raw() })
}

fn register() -> Table {
    let pkcs12 = "a key in PKCS#12 is refused as such: Key Format Type Not Supported";
    let rows = vec![
        arises("Object Type is not recognized", R::InvalidField, |_| of_unknown_type(O::Register, &template([all_uses()]))),
        arises("Object Type does not match type of cryptographic object provided", R::InvalidField, |_| {
            brought(ObjectType::SecretData, template([all_uses()]))
        }),
        arises(TEMPLATES, R::ItemNotFound, |_| brought(ObjectType::SymmetricKey, naming_template(&[all_uses()]))),
        arises(VALUES, R::InvalidField, |_| brought(ObjectType::SymmetricKey, template([all_uses(), A::CryptographicLength(128)]))),
        arises("Trying to register a new Template object containing a Name attribute with the Template structure", R::InvalidField, |_| {
            let object = ManagedObject::Template(Template { attributes: vec![bare(named("inside"))] });
            of(&RegisterRequest { object_type: ObjectType::Template, template_attribute: template([named("outside")]), object })
        }),
        arises(NAMES, R::InvalidField, |node| {
            let (_, name) = with_name(node);
            brought(ObjectType::SymmetricKey, template([all_uses(), named(&name)]))
        }),
        arises(INSTANCES, R::IndexOutOfBounds, |node| {
            let names = too_many_names(node);
            brought(ObjectType::SymmetricKey, template([all_uses()].into_iter().chain(names.iter().map(|name| named(name)))))
        }),
        arises(NAMESPACE, R::ApplicationNamespaceNotSupported, |_| {
            brought(ObjectType::SymmetricKey, template([all_uses(), no_application_data()]))
        }),
        arises(ARCHIVED_TEMPLATE, R::ObjectArchived, |node| {
            let name = archived_template(node);
            brought(ObjectType::SymmetricKey, naming_template_of(&name, &[all_uses()]))
        }),
        never(
            "Encoding Option not permitted when Key Wrapping Specification contains attribute names",
            R::EncodingOptionError,
            "a request to register has no Key Wrapping Specification",
        ),
        never("Key Format Type is PKCS#12, but missing or multiple PKCS#12 Password Links", R::InvalidField, pkcs12),
        never("Key Format Type is PKCS#12, but PKCS#12 Password Link is not that of a Password", R::InvalidField, pkcs12),
    ];
    Table { operation: O::Register, number: 330, rows }
}

fn came(id: &str, values: &[A<'_>]) -> Vec<u8> {
    of(&importing(id, values))
}

fn importing<'a>(id: &'a str, values: &[A<'a>]) -> ImportRequest<'a> {
    let attributes = [all_uses()].into_iter().chain(values.iter().cloned()).map(bare).collect();
    ImportRequest { unique_identifier: id, replace_existing: None, key_wrap_type: None, attributes, object: raw() }
}

fn import() -> Table {
    let rows = vec![
        arises("Unique identifier already exists and Replace Existing is false or not specified", R::ObjectAlreadyExists, |node| {
            let id = node.key(DATA, &[]);
            of(&ImportRequest { replace_existing: Some(false), ..importing(&id, &[]) })
        }),
        arises("Object Type is not recognized", R::InvalidField, |_| {
            let fields = written(|out| {
                out.text(Tag::UNIQUE_IDENTIFIER, "7");
                bare(all_uses()).encode(Tag::ATTRIBUTE, out);
                let split_key = out.open(Tag::SPLIT_KEY);
                out.close(split_key);
            });
            by_hand(O::Import, fields)
        }),
        arises("Object Type does not match type of cryptographic object provided", R::InvalidField, |_| {
            came("7", &[A::ObjectType(ObjectType::SecretData)])
        }),
        arises(VALUES, R::InvalidField, |_| came("7", &[A::CryptographicLength(128)])),
        arises("Trying to register a new object with the same Name attribute value as an existing object", R::InvalidField, |node| {
            came("7", &[named(&with_name(node).1)])
        }),
        arises(INSTANCES, R::IndexOutOfBounds, |node| {
            let names = too_many_names(node);
            came("7", &names.iter().map(|name| named(name)).collect::<Vec<_>>())
        }),
        arises(NAMESPACE, R::ApplicationNamespaceNotSupported, |_| came("7", &[no_application_data()])),
        never(
            "Encoding Option not permitted when Key Wrapping Specification contains attribute names",
            R::EncodingOptionError,
            "a request to import has no Key Wrapping Specification",
        ),
        arises("Field is not supported by server", R::InvalidField, |_| {
            of(&ImportRequest { key_wrap_type: Some(KeyWrapType::Extension(0x8000_0001)), ..importing("7", &[]) })
        }),
    ];
    Table { operation: O::Import, number: 365, rows }
}

fn replacing(id: &str, offset: Option<u32>, values: &[A<'_>]) -> Vec<u8> {
    let template_attribute = Some(template(values.iter().cloned())).filter(|template| !template.attributes.is_empty());
    of(&ReKeyRequest { unique_identifier: Some(id), offset: offset.map(Interval), template_attribute })
}

fn re_key() -> Table {
    let rows = vec![
        of_unknown!(ReKey),
        arises("Object specified is not able to be re-keyed", R::PermissionDenied, |node| replacing(&destroyed(node), None, &[])),
        arises("Offset field is not permitted at the same time as any of the dates", R::InvalidMessage, |node| {
            let id = node.key(DATA, &[]);
            replacing(&id, Some(0), &[A::ActivationDate(DateTime(START))])
        }),
        never("Cryptographic error during re-key", R::CryptographicFailure, GENERATOR),
        arises(NAMESPACE, R::ApplicationNamespaceNotSupported, |node| {
            let id = node.key(DATA, &[]);
            replacing(&id, None, &[no_application_data()])
        }),
        of_archived!(ReKey),
        arises("An offset cannot be used since no Activation Date has been specified for the existing key", R::IllegalOperation, |node| {
            let dated = wish("billing", &[A::DeactivationDate(DateTime(START + 1000))]);
            let id = node.owner.create(V1_4, &dated).expect("a date in the future");
            replacing(&id, Some(0), &[])
        }),
        never("The Key Value is not present on the server", R::KeyValueNotPresent, HAS_VALUE),
    ];
    Table { operation: O::ReKey, number: 331, rows }
}

/// A pair on a curve with these attributes, its private half.
fn private_half(node: &mut Node<'_>, more: &[A<'static>]) -> String {
    let [private, _] = node.pair(&curve(more)).expect("it is offered");
    private
}

fn replacing_pair(private: &str, offset: Option<u32>, values: &[A<'_>]) -> Vec<u8> {
    let common_template_attribute = Some(template(values.iter().cloned())).filter(|template| !template.attributes.is_empty());
    of(&ReKeyKeyPairRequest {
        private_key_unique_identifier: Some(private),
        offset: offset.map(Interval),
        common_template_attribute,
        ..ReKeyKeyPairRequest::default()
    })
}

fn re_key_key_pair() -> Table {
    let rows = vec![
        arises("No object with the specified Unique Identifier exists", R::ItemNotFound, |node| replacing_pair(absent(node), None, &[])),
        arises("Object specified is not able to be re-keyed", R::PermissionDenied, |node| replacing_pair(&node.key(DATA, &[]), None, &[])),
        arises("Offset field is not permitted at the same time as any of the dates", R::InvalidMessage, |node| {
            replacing_pair(&private_half(node, &[]), Some(0), &[A::ActivationDate(DateTime(START))])
        }),
        arises("Cryptographic error during re-key", R::CryptographicFailure, |node| {
            let id = private_half(node, &[]);
            node.owner.world.pairs.broken.store(true, std::sync::atomic::Ordering::Relaxed);
            replacing_pair(&id, None, &[])
        }),
        arises(NAMESPACE, R::ApplicationNamespaceNotSupported, |node| {
            replacing_pair(&private_half(node, &[]), None, &[no_application_data()])
        }),
        arises("Object is archived", R::ObjectArchived, |node| {
            let id = private_half(node, &[]);
            archive(node, &id);
            replacing_pair(&id, None, &[])
        }),
        arises("An offset cannot be used since no Activation Date has been specified for the existing key", R::IllegalOperation, |node| {
            let common = curve(&[A::DeactivationDate(DateTime(START + 1000))]);
            let request = CreateKeyPairRequest {
                common_template_attribute: Some(template(common)),
                private_key_template_attribute: Some(template([all_uses()])),
                public_key_template_attribute: Some(template([all_uses()])),
            };
            let private = |answer: CreateKeyPairResponse<'_>| answer.private_key_unique_identifier.to_owned();
            let id = node.owner.call(V1_4, &request, private).expect("a date in the future");
            replacing_pair(&id, Some(0), &[])
        }),
        never("The Key Value is not present on the server", R::KeyValueNotPresent, HAS_VALUE),
    ];
    Table { operation: O::ReKeyKeyPair, number: 332, rows }
}

/// 16 bytes of Secret Data by HMAC of data in the request.
pub(crate) fn derivation<'a>(ids: &[&'a str]) -> DeriveKeyRequest<'a> {
    DeriveKeyRequest {
        object_type: ObjectType::SecretData,
        unique_identifiers: ids.to_vec(),
        derivation_method: DerivationMethod::Hmac,
        derivation_parameters: DerivationParameters {
            cryptographic_parameters: sha256(),
            derivation_data: Some(DATA_BYTES),
            ..DerivationParameters::default()
        },
        template_attribute: template([A::CryptographicLength(128), all_uses()]),
    }
}

fn derive_key() -> Table {
    let rows = vec![
        of_unknown!(DeriveKey, "One or more of the objects specified do not exist"),
        arises("One or more of the objects specified are not of the correct type", R::InvalidField, |node| {
            let certificate_type = CertificateType::X509;
            let der = pairs::certificate();
            let object = ManagedObject::Certificate(Certificate { certificate_type, certificate_value: ByteString(&der) });
            let id = node.register(object).expect("it is kept");
            node.owner.activate(&id).expect("it is new");
            of(&derivation(&[&id]))
        }),
        arises(TEMPLATES, R::ItemNotFound, |node| {
            let id = node.key(0x200, &[]);
            let template_attribute = naming_template(&[A::CryptographicLength(128), all_uses()]);
            of(&DeriveKeyRequest { template_attribute, ..derivation(&[&id]) })
        }),
        arises("Invalid Derivation Method", R::InvalidField, |node| {
            let id = node.key(0x200, &[]);
            of(&DeriveKeyRequest { derivation_method: DerivationMethod::Extension(0x8000_0001), ..derivation(&[&id]) })
        }),
        arises("Invalid Derivation Parameters", R::InvalidField, |node| {
            let id = node.key(0x200, &[]);
            of(&DeriveKeyRequest { derivation_parameters: DerivationParameters::default(), ..derivation(&[&id]) })
        }),
        arises("Ambiguous derivation data provided both with Derivation Data and Secret Data object", R::InvalidMessage, |node| {
            let (id, data) = (node.key(0x200, &[]), secret(node));
            of(&derivation(&[&id, &data]))
        }),
        arises(VALUES, R::InvalidField, |node| {
            let id = node.key(0x200, &[]);
            of(&DeriveKeyRequest { template_attribute: template([A::CryptographicLength(12), all_uses()]), ..derivation(&[&id]) })
        }),
        arises("One or more of the specified objects are not able to be used to derive a new key", R::InvalidField, |node| {
            let id = node.key(DATA, &[]);
            of(&derivation(&[&id]))
        }),
        arises("Trying to derive a new key with the same Name attribute value as an existing object", R::InvalidField, |node| {
            let (id, (_, name)) = (node.key(0x200, &[]), with_name(node));
            let template_attribute = template([A::CryptographicLength(128), all_uses(), named(&name)]);
            of(&DeriveKeyRequest { template_attribute, ..derivation(&[&id]) })
        }),
        arises(NAMESPACE, R::ApplicationNamespaceNotSupported, |node| {
            let id = node.key(0x200, &[]);
            let template_attribute = template([A::CryptographicLength(128), all_uses(), no_application_data()]);
            of(&DeriveKeyRequest { template_attribute, ..derivation(&[&id]) })
        }),
        of_archived!(DeriveKey),
        arises("The specified length exceeds the output of the derivation method", R::CryptographicFailure, |node| {
            let id = node.key(0x200, &[]);
            of(&DeriveKeyRequest { template_attribute: template([A::CryptographicLength(512), all_uses()]), ..derivation(&[&id]) })
        }),
        never("The Key Value is not present on the server", R::KeyValueNotPresent, HAS_VALUE),
    ];
    Table { operation: O::DeriveKey, number: 333, rows }
}
