//! Which algorithms there are for what: made keys, encryption, signatures, codes, hashes, derivation.

use kmip::ttlv::ByteString;
use kmip::*;

use super::probe::{Node, Nodes, all_uses, block, does, on_curve, template};
use super::table::{Table, list, yes};
use crate::world::*;
use AttributeValue as A;
use CryptographicAlgorithm as Algorithm;
use ProtocolVersion::V1_4;

type Parameters = CryptographicParameters<'static>;

const TEXT: ByteString<'static> = ByteString(b"sixteen bytes...");
/// Lengths of keys in bits that are tried.
const LENGTHS: [i32; 14] = [56, 64, 80, 112, 128, 160, 168, 192, 224, 256, 384, 512, 2048, 4096];
/// The same of RSA.
const MODULI: [i32; 5] = [1024, 2048, 3072, 4096, 8192];

/// All sections about algorithms.
pub(super) fn all(nodes: &Nodes) -> String {
    [made(nodes), encrypted(nodes), signed(nodes), hashed(nodes), derived(nodes), in_parts(nodes)].join("\n")
}

fn made(nodes: &Nodes) -> String {
    let mut table = Table::new(&["Cryptographic Algorithm", "Since KMIP", "Core", "Edge"]);
    for algorithm in Algorithm::ALL {
        let lengths = nodes.both().map(|mut node| list(node.lengths(*algorithm)));
        if lengths.iter().any(|lengths| lengths != "-") {
            table.row(&[algorithm.name(), &algorithm.since().to_string(), &lengths[0], &lengths[1]]);
        }
    }
    let mut edge = nodes.edge();
    let moduli = list(MODULI.into_iter().filter(|bits| edge.rsa_pair(*bits).is_ok()).map(|bits| bits.to_string()));
    let curves = list(RecommendedCurve::ALL.iter().filter(|curve| edge.curve_pair(**curve).is_ok()).map(|curve| curve.name()));
    let pairs = list(Algorithm::ALL.iter().filter(|algorithm| edge.makes_pair(**algorithm)).map(|algorithm| algorithm.name()));
    let tried = list(LENGTHS.map(|bits| bits.to_string()));
    format!(
        "\
## Keys that are made

Create, by lengths in bits of {tried}:

{table}
Create Key Pair at an edge: {pairs}; RSA with {moduli} bits, of {tried_moduli}; curves {curves}. A key of another algorithm may be registered, and is kept and returned.
",
        tried_moduli = list(MODULI.map(|bits| bits.to_string())),
    )
}

impl Node<'_> {
    /// The lengths that a new key of this algorithm may have.
    fn lengths(&mut self, algorithm: Algorithm) -> Vec<String> {
        let mut is_made = |bits: &i32| {
            let mut attributes = wish("billing", &[]);
            attributes[0] = A::CryptographicAlgorithm(algorithm);
            attributes[1] = A::CryptographicLength(*bits);
            self.owner.create(V1_4, &attributes).is_ok()
        };
        LENGTHS.iter().filter(|bits| is_made(bits)).map(ToString::to_string).collect()
    }

    fn makes_pair(&mut self, algorithm: Algorithm) -> bool {
        let curve = Some(on_curve(RecommendedCurve::P256)).filter(|_| algorithm != Algorithm::Rsa);
        let common: Vec<A<'_>> = [A::CryptographicAlgorithm(algorithm)].into_iter().chain(curve).collect();
        self.pair(&common).is_ok()
    }

    fn encrypts(&mut self, id: &str, parameters: &Parameters) -> bool {
        let (unique_identifier, cryptographic_parameters) = (Some(id), Some(parameters.clone()));
        does(&mut self.user, &EncryptRequest { unique_identifier, cryptographic_parameters, data: Some(TEXT), ..EncryptRequest::default() })
    }

    fn signs(&mut self, id: &str, parameters: &Parameters) -> bool {
        let (unique_identifier, cryptographic_parameters) = (Some(id), Some(parameters.clone()));
        does(&mut self.user, &SignRequest { unique_identifier, cryptographic_parameters, data: Some(TEXT), ..SignRequest::default() })
    }

    /// A key that its client brings.
    fn brought(&mut self, algorithm: Algorithm) -> String {
        let key_block = block(KeyFormatType::Raw, Some(algorithm), b"a key of thirty-two bytes, raw..");
        let id = self.register(ManagedObject::SymmetricKey(SymmetricKey { key_block })).expect("a key of any algorithm is kept");
        self.owner.activate(&id).expect("it is new");
        id
    }
}

fn padded(padding: PaddingMethod) -> Parameters {
    Parameters { padding_method: Some(padding), ..Parameters::default() }
}

fn encrypted(nodes: &Nodes) -> String {
    let mut table = Table::new(&["Block Cipher Mode", "Since KMIP", "Padding Methods at a core", "Padding Methods at an edge"]);
    let mut both = nodes.both().map(|mut node| (node.key(DATA, &[]), node));
    for mode in BlockCipherMode::ALL {
        let told = both.each_mut().map(|(id, node)| {
            let fits = |padding: &&PaddingMethod| node.encrypts(id, &Parameters { block_cipher_mode: Some(*mode), ..padded(**padding) });
            list(PaddingMethod::ALL.iter().filter(fits).map(|padding| padding.name()))
        });
        if told.iter().any(|told| told != "-") {
            table.row(&[mode.name(), &mode.since().to_string(), &told[0], &told[1]]);
        }
    }
    let tags = both.each_mut().map(|(id, node)| {
        let gcm =
            |bytes: i32| Parameters { block_cipher_mode: Some(BlockCipherMode::Gcm), tag_length: Some(bytes), ..Parameters::default() };
        list((1..=32).filter(|bytes| node.encrypts(id, &gcm(*bytes))).map(|bytes| bytes.to_string()))
    });
    let own_iv = both.each_mut().map(|(id, node)| {
        let parameters = Some(Parameters { block_cipher_mode: Some(BlockCipherMode::Gcm), ..Parameters::default() });
        let request = EncryptRequest {
            unique_identifier: Some(id),
            cryptographic_parameters: parameters,
            data: Some(TEXT),
            iv_counter_nonce: Some(ByteString(&[1; 12])),
            ..EncryptRequest::default()
        };
        yes(does(&mut node.user, &request))
    });
    let mut edge = nodes.edge();
    let [_, public] = edge.rsa_pair(2048).expect("it is offered");
    let oaep = |hash: HashingAlgorithm, of_mask: HashingAlgorithm| Parameters {
        hashing_algorithm: Some(hash),
        mask_generator_hash: Some(of_mask),
        ..padded(PaddingMethod::Oaep)
    };
    let hashes: Vec<_> = HashingAlgorithm::ALL.iter().filter(|hash| edge.encrypts(&public, &oaep(**hash, **hash))).collect();
    let mixed = edge.encrypts(&public, &oaep(HashingAlgorithm::Sha256, HashingAlgorithm::Sha1));
    let pkcs1 = edge.encrypts(&public, &padded(PaddingMethod::Pkcs1V1_5));
    format!(
        "\
## Encrypt and Decrypt

With AES keys; without any parameters those of the key count, else CBC with PKCS5:

{table}
Tags of GCM in bytes, of 1 to 32: core {core_tags}; edge {edge_tags}. IVs of the client's own with GCM: core {core_iv}; edge {edge_iv} (`kmip.gcm_caller_iv` can forbid it).

With RSA at an edge: OAEP with {hashes}; another hash in the mask generator: {mixed}; PKCS1 v1.5: {pkcs1}.
",
        core_tags = tags[0],
        edge_tags = tags[1],
        core_iv = own_iv[0],
        edge_iv = own_iv[1],
        hashes = list(hashes.into_iter().map(|hash| hash.name())),
        mixed = yes(mixed),
        pkcs1 = yes(pkcs1),
    )
}

fn signed(nodes: &Nodes) -> String {
    let mut edge = nodes.edge();
    let [rsa, _] = edge.rsa_pair(2048).expect("it is offered");
    let curves = [RecommendedCurve::P256, RecommendedCurve::P384, RecommendedCurve::P521];
    let mut keys = vec![
        ("RSA, PSS".to_owned(), rsa.clone(), padded(PaddingMethod::Pss)),
        ("RSA, PKCS1 v1.5".to_owned(), rsa, padded(PaddingMethod::Pkcs1V1_5)),
    ];
    for curve in curves {
        let [private, _] = edge.curve_pair(curve).expect("it is offered");
        keys.push((format!("ECDSA on {}", curve.name()), private, Parameters::default()));
    }
    let mut table = Table::new(&["Key and padding", "Hashing Algorithms", "Digital Signature Algorithms that say the same"]);
    for (name, id, parameters) in &keys {
        let by_hash = |hash: &&HashingAlgorithm| edge.signs(id, &Parameters { hashing_algorithm: Some(**hash), ..parameters.clone() });
        let hashes = list(HashingAlgorithm::ALL.iter().filter(by_hash).map(|hash| hash.name()));
        let by_name = |algorithm: &&DigitalSignatureAlgorithm| {
            let pss = **algorithm == DigitalSignatureAlgorithm::RsassaPssPkcs1V2_1;
            let hashing_algorithm = pss.then_some(HashingAlgorithm::Sha256);
            let digital_signature_algorithm = Some(**algorithm);
            edge.signs(id, &Parameters { digital_signature_algorithm, hashing_algorithm, ..parameters.clone() })
        };
        let named = list(DigitalSignatureAlgorithm::ALL.iter().filter(by_name).map(|algorithm| algorithm.name()));
        table.row(&[name, &hashes, &named]);
    }
    let codes = Algorithm::ALL.iter().filter(|algorithm| {
        let id = edge.brought(**algorithm);
        let parameters = Some(Parameters { cryptographic_algorithm: Some(**algorithm), ..Parameters::default() });
        let request =
            MacRequest { unique_identifier: Some(&id), cryptographic_parameters: parameters, data: Some(TEXT), ..MacRequest::default() };
        does(&mut edge.user, &request)
    });
    let codes = list(codes.map(|algorithm| if *algorithm == Algorithm::Aes { "AES (CMAC)" } else { algorithm.name() }));
    format!(
        "\
## Sign, Signature Verify, MAC and MAC Verify

At an edge alone; data as it is or, from 1.4 on, its digest. A signature with SHA-1 is told to be invalid.

{table}
MAC and MAC Verify: {codes}.
"
    )
}

fn hashed(nodes: &Nodes) -> String {
    let mut edge = nodes.edge();
    let hashes = HashingAlgorithm::ALL.iter().filter(|hash| {
        let cryptographic_parameters = Parameters { hashing_algorithm: Some(**hash), ..Parameters::default() };
        let (init_indicator, final_indicator, correlation_value) = (None, None, None);
        let data = Some(TEXT);
        does(&mut edge.user, &HashRequest { cryptographic_parameters, data, correlation_value, init_indicator, final_indicator })
    });
    format!("## Hash\n\nAt an edge alone: {}.\n", list(hashes.map(|hash| hash.name())))
}

fn derived(nodes: &Nodes) -> String {
    let mut edge = nodes.edge();
    let (key, password) = (edge.key(0x200, &[]), edge.brought(Algorithm::HmacSha256));
    let pair = edge.curve_pair(RecommendedCurve::P256).expect("it is offered");
    let methods = DerivationMethod::ALL.iter().filter(|method| {
        let none = DerivationParameters::default();
        let sha256 = Some(Parameters { hashing_algorithm: Some(HashingAlgorithm::Sha256), ..Parameters::default() });
        let derivation_parameters = match method {
            DerivationMethod::Pbkdf2 => {
                DerivationParameters { cryptographic_parameters: sha256, salt: Some(ByteString(b"salt")), iteration_count: Some(1), ..none }
            }
            DerivationMethod::Hash => DerivationParameters { cryptographic_parameters: sha256, ..none },
            DerivationMethod::Encrypt => {
                let mode = Parameters { block_cipher_mode: Some(BlockCipherMode::Cbc), ..padded(PaddingMethod::None) };
                let (initialization_vector, derivation_data) = (Some(TEXT), Some(TEXT));
                DerivationParameters { cryptographic_parameters: Some(mode), initialization_vector, derivation_data, ..none }
            }
            DerivationMethod::AsymmetricKey => none,
            _ => DerivationParameters { derivation_data: Some(TEXT), ..none },
        };
        let bases = match method {
            DerivationMethod::Encrypt => vec![&*key],
            DerivationMethod::AsymmetricKey => pair.iter().map(String::as_str).collect(),
            _ => vec![&*password],
        };
        let request = DeriveKeyRequest {
            object_type: ObjectType::SecretData,
            unique_identifiers: bases,
            derivation_method: **method,
            derivation_parameters,
            template_attribute: template([A::CryptographicLength(128), all_uses()]),
        };
        does(&mut edge.owner, &request)
    });
    let methods = list(methods.map(|method| method.name()));
    format!("## Derive Key\n\nAt an edge alone, into Symmetric Keys and Secret Data: {methods}.\n")
}

/// Which operations take the first of several parts.
fn in_parts(nodes: &Nodes) -> String {
    use Operation as O;
    let mut table = Table::new(&["Requests in parts (Init Indicator)", "Core", "Edge"]);
    let mut edge = nodes.edge();
    let ([private, public], mac) = (edge.curve_pair(RecommendedCurve::P256).expect("it is offered"), edge.brought(Algorithm::HmacSha256));
    for operation in [O::Encrypt, O::Decrypt, O::Sign, O::SignatureVerify, O::Mac, O::MacVerify, O::Hash] {
        let told = nodes.both().map(|mut node| {
            let key = node.key(DATA, &[]);
            let id = match operation {
                O::Sign => &private,
                O::SignatureVerify => &public,
                O::Mac | O::MacVerify => &mac,
                _ => &key,
            };
            yes(node.begins(operation, id))
        });
        table.row(&[operation.name(), told[0], told[1]]);
    }
    format!("## Requests in parts\n\nFrom KMIP 1.3 on; the parts may come by several connections.\n\n{table}")
}

impl Node<'_> {
    fn begins(&mut self, operation: Operation, id: &str) -> bool {
        let (unique_identifier, init_indicator, data) = (Some(id), Some(true), Some(TEXT));
        let sha256 = Parameters { hashing_algorithm: Some(HashingAlgorithm::Sha256), ..Parameters::default() };
        let hashing = Some(sha256.clone());
        let client = &mut self.user;
        match operation {
            Operation::Encrypt => does(client, &EncryptRequest { unique_identifier, data, init_indicator, ..EncryptRequest::default() }),
            Operation::Decrypt => {
                let none = DecryptRequest::default();
                does(client, &DecryptRequest { unique_identifier, data, iv_counter_nonce: Some(TEXT), init_indicator, ..none })
            }
            Operation::Sign => {
                let none = SignRequest::default();
                does(client, &SignRequest { unique_identifier, cryptographic_parameters: hashing, data, init_indicator, ..none })
            }
            Operation::SignatureVerify => {
                let none = SignatureVerifyRequest::default();
                does(client, &SignatureVerifyRequest { unique_identifier, cryptographic_parameters: hashing, data, init_indicator, ..none })
            }
            Operation::Mac => does(client, &MacRequest { unique_identifier, data, init_indicator, ..MacRequest::default() }),
            Operation::MacVerify => {
                does(client, &MacVerifyRequest { unique_identifier, data, init_indicator, ..MacVerifyRequest::default() })
            }
            Operation::Hash => {
                let (cryptographic_parameters, correlation_value, final_indicator) = (sha256, None, None);
                does(client, &HashRequest { cryptographic_parameters, data, correlation_value, init_indicator, final_indicator })
            }
            other => panic!("{other:?} has no parts"),
        }
    }
}
