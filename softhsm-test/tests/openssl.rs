//! What an edge computes for its clients, held against OpenSSL: signatures and encryption by RSA, derived keys, secrets that two parties agree on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use daemon::kmip_client::{KmipClient, KmipError};
use kmip::ttlv::ByteString;
use kmip::{
    Attribute, AttributeValue, CreateKeyPairRequest, CryptographicAlgorithm, CryptographicDomainParameters, CryptographicParameters,
    CryptographicUsageMask as Mask, DecryptRequest, DerivationMethod, DerivationParameters, DeriveKeyRequest, EncryptRequest, GetRequest,
    HashingAlgorithm, KeyBlock, KeyFormatType, KeyMaterial, KeyValue, ManagedObject, ObjectType, PaddingMethod, PlainKeyValue, PublicKey,
    RecommendedCurve, RegisterRequest, SecretData, SecretDataType, SignRequest, SignatureVerifyRequest, TemplateAttribute,
    ValidityIndicator,
};
use softhsm_test::requests;
use softhsm_test::{Edge, Who};

const TEXT: &[u8] = b"what is signed, encrypted and derived from";
const SALT: &[u8] = b"sixteen bytes...";
/// Clients that derive at once: more than are served at once, and than a small machine has processors.
const DERIVING: usize = 4;
const ITERATIONS: i32 = 2_000_000;

/// Runs OpenSSL; returns what it says if it succeeds.
fn openssl(arguments: &[&str]) -> Option<Vec<u8>> {
    let run = Command::new("openssl").args(arguments).output().expect("openssl is on every Debian");
    run.status.success().then_some(run.stdout)
}

/// Puts bytes into a file for OpenSSL.
fn file(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path: PathBuf = folder.join(name);
    std::fs::write(&path, bytes).expect("the folder is ours");
    path.display().to_string()
}

fn template(attributes: &[AttributeValue<'static>]) -> TemplateAttribute<'static> {
    let attributes = attributes.iter().map(|value| Attribute { index: None, value: value.clone() }).collect();
    TemplateAttribute { names: Vec::new(), attributes }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// An Active RSA pair that does everything: the private and the public half.
fn pair(client: &mut KmipClient) -> [String; 2] {
    let common = [AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::Rsa), AttributeValue::CryptographicLength(2048)];
    let mask = |one: Mask, other| Some(template(&[AttributeValue::CryptographicUsageMask(one.with(other))]));
    let request = CreateKeyPairRequest {
        common_template_attribute: Some(template(&common)),
        private_key_template_attribute: mask(Mask::SIGN, Mask::DECRYPT),
        public_key_template_attribute: mask(Mask::VERIFY, Mask::ENCRYPT),
    };
    let answer = client.call(&request).expect("it is offered");
    let ids = [answer.private_key_unique_identifier.to_owned(), answer.public_key_unique_identifier.to_owned()];
    ids.iter().for_each(|id| requests::activate(client, id).expect("it is new"));
    ids
}

/// A half of a pair in DER.
fn half(client: &mut KmipClient, id: &str, format: KeyFormatType) -> Vec<u8> {
    let request = GetRequest { unique_identifier: Some(id), key_format_type: Some(format), ..GetRequest::default() };
    let answer = client.call(&request).expect("it is the client's");
    let (ManagedObject::PrivateKey(kmip::PrivateKey { key_block }) | ManagedObject::PublicKey(PublicKey { key_block })) = &answer.object
    else {
        panic!("{:?}", answer.object_type)
    };
    match &key_block.key_value {
        Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(bytes), .. })) => bytes.0.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// Signs all of the text, or in three parts.
fn sign(client: &mut KmipClient, id: &str, way: &CryptographicParameters<'static>, in_parts: bool) -> Vec<u8> {
    let (unique_identifier, cryptographic_parameters) = (Some(id), Some(way.clone()));
    let first = SignRequest { unique_identifier, cryptographic_parameters, data: Some(ByteString(TEXT)), ..SignRequest::default() };
    if !in_parts {
        return client.call(&first).expect("it is offered").signature_data.expect("it is done").0.to_vec();
    }
    let (begun, rest) = TEXT.split_at(7);
    let first = SignRequest { data: Some(ByteString(begun)), init_indicator: Some(true), ..first };
    let value = client.call(&first).expect("it is offered").correlation_value.expect("it goes on").0.to_vec();
    let next = SignRequest {
        unique_identifier,
        data: Some(ByteString(rest)),
        correlation_value: Some(ByteString(&value)),
        ..SignRequest::default()
    };
    client.call(&next).expect("it goes on");
    let last = SignRequest { data: None, final_indicator: Some(true), ..next };
    client.call(&last).expect("it ends").signature_data.expect("it is done").0.to_vec()
}

fn verify(client: &mut KmipClient, id: &str, way: &CryptographicParameters<'static>, signature: &[u8]) -> ValidityIndicator {
    let request = SignatureVerifyRequest {
        unique_identifier: Some(id),
        cryptographic_parameters: Some(way.clone()),
        data: Some(ByteString(TEXT)),
        signature_data: Some(ByteString(signature)),
        ..SignatureVerifyRequest::default()
    };
    client.call(&request).expect("it is offered").validity_indicator
}

#[test]
fn openssl_and_an_edge_take_each_others_signatures_and_ciphertexts_of_rsa() {
    use HashingAlgorithm as H;
    let mut edge = Edge::prepared();
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let folder = tempfile::tempdir().expect("there is a temporary directory");
    let [private, public] = pair(&mut client);
    let private_key = file(folder.path(), "private", &half(&mut client, &private, KeyFormatType::Pkcs8));
    let public_key = file(folder.path(), "public", &half(&mut client, &public, KeyFormatType::X509));
    let digest = file(folder.path(), "digest", &cipher::mac::sha256(&[TEXT]));
    let none = CryptographicParameters::default;

    for (salt, mask, mask_name) in [(0, H::Sha256, "sha256"), (20, H::Sha1, "sha1"), (32, H::Sha512, "sha512"), (222, H::Sha256, "sha256")]
    {
        let way = CryptographicParameters {
            padding_method: Some(PaddingMethod::Pss),
            hashing_algorithm: Some(H::Sha256),
            salt_length: Some(salt),
            mask_generator_hash: Some(mask),
            ..none()
        };
        let (salt, mask) = (format!("rsa_pss_saltlen:{salt}"), format!("rsa_mgf1_md:{mask_name}"));
        let options =
            ["-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "digest:sha256", "-pkeyopt", &salt, "-pkeyopt", &mask, "-in", &digest];
        for in_parts in [false, true] {
            let ours = file(folder.path(), "ours", &sign(&mut client, &private, &way, in_parts));
            let judge = ["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", &public_key, "-sigfile", &ours];
            assert!(openssl(&[&judge[..], &options].concat()).is_some(), "{salt} {mask} {in_parts}");
        }
        let make = ["pkeyutl", "-sign", "-keyform", "DER", "-inkey", &private_key];
        let theirs = openssl(&[&make[..], &options].concat()).expect("openssl signs");
        assert_eq!(verify(&mut client, &public, &way, &theirs), ValidityIndicator::Valid, "{salt} {mask}");
        let another = CryptographicParameters { salt_length: Some(33), ..way };
        assert_eq!(verify(&mut client, &public, &another, &theirs), ValidityIndicator::Invalid, "{salt} {mask}");
    }

    let text = file(folder.path(), "text", TEXT);
    for (hash, hash_name, mask, mask_name, label) in [
        (H::Sha384, "sha384", H::Sha256, "sha256", &b""[..]),
        (H::Sha384, "sha384", H::Sha256, "sha256", b"label"),
        (H::Sha256, "sha256", H::Sha1, "sha1", b"label"),
        (H::Sha1, "sha1", H::Sha512, "sha512", b""),
    ] {
        let way = CryptographicParameters {
            padding_method: Some(PaddingMethod::Oaep),
            hashing_algorithm: Some(hash),
            mask_generator_hash: Some(mask),
            p_source: Some(ByteString(label)),
            ..none()
        };
        let options = ["rsa_padding_mode:oaep".to_owned(), format!("rsa_oaep_md:{hash_name}"), format!("rsa_mgf1_md:{mask_name}")];
        let labelled = (!label.is_empty()).then(|| format!("rsa_oaep_label:{}", hex(label)));
        let options: Vec<&str> = options.iter().chain(&labelled).flat_map(|option| ["-pkeyopt", option]).collect();
        let seal = ["pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", &public_key, "-in", &text];
        let theirs = openssl(&[&seal[..], &options].concat()).expect("openssl encrypts");
        let request = DecryptRequest {
            unique_identifier: Some(&private),
            cryptographic_parameters: Some(way.clone()),
            data: Some(ByteString(&theirs)),
            ..DecryptRequest::default()
        };
        assert_eq!(client.call(&request).expect("it is the same way").data.map(|data| data.0), Some(TEXT), "{way:?}");
        let request = EncryptRequest {
            unique_identifier: Some(&public),
            cryptographic_parameters: Some(way.clone()),
            data: Some(ByteString(TEXT)),
            ..EncryptRequest::default()
        };
        let ours = client.call(&request).expect("it is offered").data.expect("it is done").0.to_vec();
        let ours = file(folder.path(), "sealed", &ours);
        let open = ["pkeyutl", "-decrypt", "-keyform", "DER", "-inkey", &private_key, "-in", &ours];
        assert_eq!(openssl(&[&open[..], &options].concat()).as_deref(), Some(TEXT), "{way:?}");
    }
    drop(client);
    edge.stop_both();
}

/// An Active secret to derive from.
fn base(client: &mut KmipClient, material: &[u8]) -> String {
    let key_block = KeyBlock {
        key_format_type: KeyFormatType::Opaque,
        key_compression_type: None,
        key_value: Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(material)), attributes: Vec::new() })),
        cryptographic_algorithm: None,
        cryptographic_length: None,
        key_wrapping_data: None,
    };
    let object = ManagedObject::SecretData(SecretData { secret_data_type: SecretDataType::Password, key_block });
    let template_attribute = template(&[AttributeValue::CryptographicUsageMask(Mask::DERIVE_KEY)]);
    let request = RegisterRequest { object_type: ObjectType::SecretData, template_attribute, object };
    let id = client.call(&request).expect("the edge keeps it").unique_identifier.to_owned();
    requests::activate(client, &id).expect("it is new");
    id
}

/// Derives so many bytes, and has them told.
fn derived(
    client: &mut KmipClient,
    base: &str,
    method: DerivationMethod,
    parameters: DerivationParameters<'_>,
    bytes: i32,
) -> Result<Vec<u8>, KmipError> {
    let hashing_algorithm = Some(HashingAlgorithm::Sha256);
    let cryptographic_parameters = Some(CryptographicParameters { hashing_algorithm, ..CryptographicParameters::default() });
    let mask = AttributeValue::CryptographicUsageMask(Mask::DERIVE_KEY);
    let request = DeriveKeyRequest {
        object_type: ObjectType::SecretData,
        unique_identifiers: vec![base],
        derivation_method: method,
        derivation_parameters: DerivationParameters { cryptographic_parameters, ..parameters },
        template_attribute: template(&[AttributeValue::CryptographicLength(bytes * 8), mask]),
    };
    let id = client.call(&request)?.unique_identifier.to_owned();
    requests::get(client, &id)
}

#[test]
fn openssl_and_an_edge_derive_the_same_keys_and_others_are_served_meanwhile() {
    let mut edge = Edge::prepared();
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let base = base(&mut client, b"password");
    let key = format!("hexkey:{}", hex(b"password"));
    let fixed = format!("hexsalt:{}", hex(TEXT));
    for (method, name, iv) in [
        (DerivationMethod::Nist800_108C, "mode:COUNTER", &b""[..]),
        (DerivationMethod::Nist800_108F, "mode:FEEDBACK", b""),
        (DerivationMethod::Nist800_108F, "mode:FEEDBACK", b"thirty-two bytes that are fed in"),
    ] {
        let initialization_vector = (!iv.is_empty()).then_some(ByteString(iv));
        let parameters =
            DerivationParameters { derivation_data: Some(ByteString(TEXT)), initialization_vector, ..DerivationParameters::default() };
        let ours = derived(&mut client, &base, method, parameters, 80).expect("it is offered");
        let seed = (!iv.is_empty()).then(|| format!("hexseed:{}", hex(iv)));
        let options = ["mac:HMAC", "digest:SHA256", name, &key, &fixed, "use-l:0", "use-separator:0"];
        let options: Vec<&str> = options.into_iter().chain(seed.as_deref()).flat_map(|option| ["-kdfopt", option]).collect();
        let theirs = openssl(&[&["kdf", "-keylen", "80", "-binary"][..], &options, &["KBKDF"]].concat());
        assert_eq!(Some(ours), theirs, "{method:?} {}", iv.len());
    }

    let iterations = format!("iter:{ITERATIONS}");
    let salt = format!("hexsalt:{}", hex(SALT));
    let options = ["-kdfopt", "digest:SHA256", "-kdfopt", "pass:password", "-kdfopt", &salt, "-kdfopt", &iterations];
    let theirs = openssl(&[&["kdf", "-keylen", "32", "-binary"][..], &options, &["PBKDF2"]].concat()).expect("openssl derives");
    let stretching =
        || DerivationParameters { salt: Some(ByteString(SALT)), iteration_count: Some(ITERATIONS), ..DerivationParameters::default() };
    let clients: Vec<KmipClient> = (0..DERIVING).map(|_| edge.connect(Who::Service)).collect();
    let left = AtomicUsize::new(DERIVING);
    let mut served = 0;
    std::thread::scope(|scope| {
        let (base, theirs, left) = (&base, &theirs, &left);
        for mut client in clients {
            scope.spawn(move || {
                let ours = derived(&mut client, base, DerivationMethod::Pbkdf2, stretching(), 32);
                left.fetch_sub(1, Ordering::Relaxed);
                assert_eq!(&ours.expect("it is offered"), theirs);
            });
        }
        while left.load(Ordering::Relaxed) > 0 {
            assert_eq!(requests::get(&mut client, base).expect("it is there"), b"password");
            served += 1;
        }
    });
    assert!(served > DERIVING, "{served} others were served meanwhile");
    let more = DerivationParameters { iteration_count: Some(ITERATIONS + 1), ..stretching() };
    assert!(derived(&mut client, &base, DerivationMethod::Pbkdf2, more, 32).is_err(), "more than is offered");
    drop(client);
    edge.stop_both();
}

/// Secret Data of 32 bytes on which two keys agree, the private one first.
fn agreed(client: &mut KmipClient, keys: [&str; 2]) -> Vec<u8> {
    let mask = AttributeValue::CryptographicUsageMask(Mask::DERIVE_KEY);
    let request = DeriveKeyRequest {
        object_type: ObjectType::SecretData,
        unique_identifiers: keys.to_vec(),
        derivation_method: DerivationMethod::AsymmetricKey,
        derivation_parameters: DerivationParameters::default(),
        template_attribute: template(&[AttributeValue::CryptographicLength(32 * 8), mask]),
    };
    let id = client.call(&request).expect("they are of one curve").unique_identifier.to_owned();
    requests::get(client, &id).expect("it is the client's")
}

#[test]
fn openssl_and_an_edge_agree_on_the_same_secret() {
    let mut edge = Edge::prepared();
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let folder = tempfile::tempdir().expect("there is a temporary directory");
    let use_of_it = || AttributeValue::CryptographicUsageMask(Mask::DERIVE_KEY);
    for (curve, name) in [(RecommendedCurve::P256, "P-256"), (RecommendedCurve::P384, "P-384"), (RecommendedCurve::P521, "P-521")] {
        let domain = CryptographicDomainParameters { qlength: None, recommended_curve: Some(curve) };
        let common =
            [AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::Ecdh), AttributeValue::CryptographicDomainParameters(domain)];
        let request = CreateKeyPairRequest {
            common_template_attribute: Some(template(&common)),
            private_key_template_attribute: Some(template(&[use_of_it()])),
            public_key_template_attribute: Some(template(&[use_of_it()])),
        };
        let answer = client.call(&request).expect("it is offered");
        let [private, public] = [answer.private_key_unique_identifier.to_owned(), answer.public_key_unique_identifier.to_owned()];
        requests::activate(&mut client, &private).expect("it is new");
        let ours = file(folder.path(), "ours", &half(&mut client, &public, KeyFormatType::X509));

        let group = format!("group:{name}");
        let theirs = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", &group, "-outform", "DER"]).expect("openssl makes one");
        let theirs = file(folder.path(), "theirs", &theirs);
        let sent = openssl(&["pkey", "-in", &theirs, "-inform", "DER", "-pubout", "-outform", "DER"]).expect("openssl has both halves");
        let key_block = KeyBlock {
            key_format_type: KeyFormatType::X509,
            key_compression_type: None,
            key_value: Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(&sent)), attributes: Vec::new() })),
            cryptographic_algorithm: None,
            cryptographic_length: None,
            key_wrapping_data: None,
        };
        let object = ManagedObject::PublicKey(PublicKey { key_block });
        let request = RegisterRequest { object_type: ObjectType::PublicKey, template_attribute: template(&[use_of_it()]), object };
        let of_theirs = client.call(&request).expect("the edge keeps it").unique_identifier.to_owned();
        requests::activate(&mut client, &of_theirs).expect("it is new");

        let secret = openssl(&["pkeyutl", "-derive", "-keyform", "DER", "-inkey", &theirs, "-peerform", "DER", "-peerkey", &ours]);
        let secret = secret.expect("openssl agrees");
        assert_eq!(agreed(&mut client, [&private, &of_theirs]), secret[..32], "{name}");
    }
    drop(client);
    edge.stop_both();
}
