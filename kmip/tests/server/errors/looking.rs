//! Locate, Check, Get, Export, Get Attributes and Get Attribute List.

use super::*;
use crate::reasons::written;

pub(super) fn tables() -> Vec<Table> {
    vec![locate(), check(), get(), export(), get_attributes(), get_attribute_list()]
}

fn locate() -> Table {
    let rows = vec![arises("Non-existing attributes or attributes that the server does not understand are given", R::InvalidField, |_| {
        let fields = written(|out| {
            let attribute = out.open(Tag::ATTRIBUTE);
            out.text(Tag::ATTRIBUTE_NAME, "Favourite Colour");
            out.text(Tag::ATTRIBUTE_VALUE, "green");
            out.close(attribute);
        });
        by_hand(O::Locate, fields)
    })];
    Table { operation: O::Locate, number: 336, rows }
}

fn check() -> Table {
    let rows = vec![
        of_unknown!(Check, "Object does not exist"),
        of_archived!(Check),
        arises("Check cannot be performed on this object", R::IllegalOperation, |node| naming(O::Check, &destroyed(node))),
        arises("The client is not allowed to use the object according to the specified attributes", R::PermissionDenied, |node| {
            let id = node.key(DATA, &[]);
            let cryptographic_usage_mask = Some(CryptographicUsageMask::SIGN);
            of(&CheckRequest { unique_identifier: Some(&id), cryptographic_usage_mask, ..CheckRequest::default() })
        }),
    ];
    Table { operation: O::Check, number: 337, rows }
}

fn mode(mode: BlockCipherMode) -> CryptographicParameters<'static> {
    CryptographicParameters { block_cipher_mode: Some(mode), ..CryptographicParameters::default() }
}

fn wrapper(node: &mut Node<'_>) -> String {
    node.key(0x30, &[A::CryptographicParameters(mode(BlockCipherMode::NISTKeyWrap))])
}

fn leaving(node: &mut Node<'_>) -> String {
    node.key(DATA, &[A::Extractable(true)])
}

fn specification(with: &str) -> KeyWrappingSpecification<'_> {
    KeyWrappingSpecification {
        wrapping_method: WrappingMethod::Encrypt,
        encryption_key_information: Some(WrappingKeyInformation { unique_identifier: with, cryptographic_parameters: None }),
        mac_signature_key_information: None,
        attribute_names: vec![],
        encoding_option: Some(EncodingOption::NoEncoding),
    }
}

/// Get and Export ask alike.
#[derive(Clone, Copy)]
struct How(Operation);

const GET: How = How(O::Get);
const EXPORT: How = How(O::Export);

impl How {
    fn ask(self, request: GetRequest<'_>) -> Vec<u8> {
        let GetRequest { unique_identifier, key_format_type, key_wrap_type, key_compression_type, key_wrapping_specification } = request;
        match self.0 {
            O::Get => {
                of(&GetRequest { unique_identifier, key_format_type, key_wrap_type, key_compression_type, key_wrapping_specification })
            }
            _ => of(&ExportRequest { unique_identifier, key_format_type, key_wrap_type, key_compression_type, key_wrapping_specification }),
        }
    }

    fn wrapped(self, id: &str, specification: KeyWrappingSpecification<'_>) -> Vec<u8> {
        let key_wrapping_specification = Some(specification);
        self.ask(GetRequest { unique_identifier: Some(id), key_wrapping_specification, ..GetRequest::default() })
    }

    fn under(self, node: &mut Node<'_>, with: &str) -> Vec<u8> {
        let id = leaving(node);
        self.wrapped(&id, specification(with))
    }

    fn as_format(self, node: &mut Node<'_>) -> Vec<u8> {
        let (id, with) = (leaving(node), wrapper(node));
        let key_wrapping_specification = Some(specification(&with));
        let key_format_type = Some(KeyFormatType::Pkcs12);
        self.ask(GetRequest { unique_identifier: Some(&id), key_format_type, key_wrapping_specification, ..GetRequest::default() })
    }

    fn compressed(self, node: &mut Node<'_>) -> Vec<u8> {
        let (id, with) = (leaving(node), wrapper(node));
        let key_wrapping_specification = Some(specification(&with));
        let key_compression_type = Some(KeyCompressionType::EcPublicKeyTypeX9_62Hybrid);
        self.ask(GetRequest { unique_identifier: Some(&id), key_compression_type, key_wrapping_specification, ..GetRequest::default() })
    }

    fn with_parameters(self, node: &mut Node<'_>) -> Vec<u8> {
        let (id, with) = (leaving(node), wrapper(node));
        let cryptographic_parameters = Some(mode(BlockCipherMode::AESKeyWrapPadding));
        let encryption_key_information = Some(WrappingKeyInformation { unique_identifier: &with, cryptographic_parameters });
        self.wrapped(&id, KeyWrappingSpecification { encryption_key_information, ..specification(&with) })
    }

    fn encoded(self, node: &mut Node<'_>, encoding: EncodingOption, attribute_names: Vec<&str>) -> Vec<u8> {
        let (id, with) = (leaving(node), wrapper(node));
        self.wrapped(&id, KeyWrappingSpecification { encoding_option: Some(encoding), attribute_names, ..specification(&with) })
    }

    fn as_registered(self, node: &mut Node<'_>) -> Vec<u8> {
        let (id, with) = (leaving(node), wrapper(node));
        let key_wrapping_specification = Some(specification(&with));
        let key_wrap_type = Some(KeyWrapType::AsRegistered);
        self.ask(GetRequest { unique_identifier: Some(&id), key_wrap_type, key_wrapping_specification, ..GetRequest::default() })
    }
}

const KEYS_ALONE: &str = "a core keeps keys alone";
const UNSIGNED: &str = "a key leaves encrypted and nothing else: Feature Not Supported, before the other key is looked at";
const VENDORS_ENCODING: EncodingOption = EncodingOption::Extension(0x8000_0001);

/// The rows that Get and Export share.
macro_rules! leaves {
    ($operation:ident, $how:ident) => {
        vec![
            of_unknown!($operation, "Object does not exist"),
            arises("Wrapping key does not exist", R::ItemNotFound, |node| $how.under(node, absent(node))),
            at_edge(
                "Object with Encryption Key Information exists, but it is not a key",
                R::IllegalOperation,
                |node| {
                    let with = secret(node);
                    $how.under(node, &with)
                },
                KEYS_ALONE,
            ),
            arises(
                "Object with Encryption Key Information exists, but it is not able to be used for wrapping",
                R::PermissionDenied,
                |node| {
                    let with = node.key(DATA, &[A::CryptographicParameters(mode(BlockCipherMode::NISTKeyWrap))]);
                    $how.under(node, &with)
                },
            ),
            never("Object with MAC/Signature Key Information exists, but it is not a key", R::IllegalOperation, UNSIGNED),
            never("Object with MAC/Signature Key Information exists, but it is not able to be used for it", R::PermissionDenied, UNSIGNED),
            arises("Object cannot be provided in the desired Key Format Type", R::KeyFormatTypeNotSupported, |node| $how.as_format(node)),
            arises("Object cannot be provided in the desired Key Compression Type", R::KeyCompressionTypeNotSupported, |node| {
                $how.compressed(node)
            }),
            arises("Cryptographic Parameters associated with the object do not match those provided", R::ItemNotFound, |node| {
                $how.with_parameters(node)
            }),
            arises("Object cannot be provided in the desired Encoding Option", R::EncodingOptionError, |node| {
                $how.encoded(node, VENDORS_ENCODING, vec![])
            }),
            arises("Encoding Option not permitted when attribute names are wrapped, too", R::EncodingOptionError, |node| {
                $how.encoded(node, EncodingOption::NoEncoding, vec!["State"])
            }),
            arises("Key Wrap Type is not supported by the server", R::FeatureNotSupported, |node| $how.as_registered(node)),
        ]
    };
}

fn get() -> Table {
    let mut rows: Vec<Row> = leaves!(Get, GET);
    rows.push(arises("Object exists and is not a Template, but the server only has attributes for it", R::IllegalOperation, |node| {
        naming(O::Get, &destroyed(node))
    }));
    rows.push(of_archived!(Get));
    rows.push(arises("Object is Sensitive", R::Sensitive, |node| {
        let id = node.key(DATA, &[A::Extractable(true), A::Sensitive(true)]);
        naming(O::Get, &id)
    }));
    rows.push(arises("Object is not Extractable", R::NotExtractable, |node| {
        let (id, with) = (node.key(DATA, &[A::Extractable(false)]), wrapper(node));
        GET.wrapped(&id, specification(&with))
    }));
    Table { operation: O::Get, number: 338, rows }
}

fn export() -> Table {
    Table { operation: O::Export, number: 364, rows: leaves!(Export, EXPORT) }
}

fn get_attributes() -> Table {
    let rows = vec![
        of_unknown!(GetAttributes),
        arises("The same Attribute Name is present more than once", R::InvalidMessage, |node| {
            let id = node.key(DATA, &[]);
            of(&GetAttributesRequest { unique_identifier: Some(&id), attribute_names: vec!["State", "Name", "State"] })
        }),
        of_archived!(GetAttributes at an edge),
    ];
    Table { operation: O::GetAttributes, number: 339, rows }
}

fn get_attribute_list() -> Table {
    let rows = vec![of_unknown!(GetAttributeList), of_archived!(GetAttributeList at an edge)];
    Table { operation: O::GetAttributeList, number: 340, rows }
}
