//! The three public areas (part 2, 12.2.4) that we ask a TPM for or show it, and the policy under which a secret opens.
//!
//! - **Storage root key**: the TCG's ECC template (TPM v2.0 Provisioning Guidance, 7.5.1): P-256, restricted decryption, AES-128-CFB, no
//!   dictionary attack protection because its authorization is empty, `unique` of 32 + 32 zeros. The same seed makes the same key each time.
//! - **Release key**: `sign | userWithAuth`, SHA-256 as name algorithm, no policy, scheme ECDSA with SHA-256 and no other, P-256. Only its public
//!   half is ever shown to a TPM. Its Name is 000B | SHA-256(TPMT_PUBLIC), so another template would be another Name and open nothing.
//! - **Sealed object**: `fixedTPM | fixedParent | adminWithPolicy`, and `noDA` if there is no PIN to count wrong tries of. No `userWithAuth`: there
//!   is no way to it but the policy.
//!
//! The policy is PolicyAuthorize(release key, reference), and PolicyAuthValue after it if there is a PIN. After it, so that what the release key
//! signs stands in front of the PIN and can never take its place.

use hsm::{DIGEST_BYTES, ReleaseKey, TpmPolicy};
use sha2::{Digest as _, Sha256};
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::structures::{
    Digest, EccParameter, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, KeyedHashScheme, Name, Public, PublicBuilder,
    PublicEccParameters, PublicKeyedHashParameters, SymmetricDefinitionObject,
};
use tss_esapi::traits::{Marshall as _, UnMarshall as _};

/// TPM_ALG_SHA256, with which a Name begins.
const SHA256: [u8; 2] = [0x00, 0x0B];
const POLICY_AUTHORIZE: [u8; 4] = 0x16Au32.to_be_bytes();
const POLICY_AUTH_VALUE: [u8; 4] = 0x16Bu32.to_be_bytes();

const VALID: &str = "the template is valid";

pub(crate) fn root() -> Public {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true);
    ecc(attributes, SymmetricDefinitionObject::AES_128_CFB, EccScheme::Null, &[0; 32], &[0; 32])
}

pub(crate) fn release_key(key: &ReleaseKey) -> Public {
    let attributes = ObjectAttributesBuilder::new().with_sign_encrypt(true).with_user_with_auth(true);
    let scheme = EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256));
    ecc(attributes, SymmetricDefinitionObject::Null, scheme, &key.x, &key.y)
}

fn ecc(attributes: ObjectAttributesBuilder, symmetric: SymmetricDefinitionObject, scheme: EccScheme, x: &[u8; 32], y: &[u8; 32]) -> Public {
    let [x, y] = [x, y].map(|coordinate| EccParameter::try_from(coordinate.as_slice()).expect("32 bytes fit a coordinate"));
    area(PublicAlgorithm::Ecc, attributes)
        .with_ecc_parameters(PublicEccParameters::new(symmetric, scheme, EccCurve::NistP256, KeyDerivationFunctionScheme::Null))
        .with_ecc_unique_identifier(EccPoint::new(x, y))
        .build()
        .expect(VALID)
}

/// A sealed object under `policy_digest`; `unique` is what the TPM put there, or empty when one is asked for.
pub(crate) fn sealed(policy: &TpmPolicy, policy_digest: [u8; DIGEST_BYTES], unique: Digest) -> Public {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_admin_with_policy(true)
        .with_no_da(!policy.has_pin);
    area(PublicAlgorithm::KeyedHash, attributes)
        .with_auth_policy(digest(&policy_digest))
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(unique)
        .build()
        .expect(VALID)
}

fn area(algorithm: PublicAlgorithm, attributes: ObjectAttributesBuilder) -> PublicBuilder {
    PublicBuilder::new()
        .with_public_algorithm(algorithm)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes.build().expect(VALID))
}

/// Reads a sealed object's public area if it is exactly what [`sealed`] makes for this policy; `None` for all else.
pub(crate) fn read_sealed(policy: &TpmPolicy, bytes: &[u8]) -> Option<Public> {
    let public = Public::unmarshall(bytes).ok()?;
    let Public::KeyedHash { unique, .. } = &public else { return None };
    let expected = sealed(policy, policy_digest(policy), unique.clone());
    (public == expected && marshalled(&public) == bytes).then_some(public)
}

/// The policy digest of the sealed object (part 3, 23.16 and 23.17), computed here and not asked of the TPM.
pub(crate) fn policy_digest(policy: &TpmPolicy) -> [u8; DIGEST_BYTES] {
    let name = name(&release_key(&policy.release_key));
    let authorize = Sha256::new().chain_update([0; DIGEST_BYTES]).chain_update(POLICY_AUTHORIZE).chain_update(name).finalize();
    let authorized = Sha256::new().chain_update(authorize).chain_update(&policy.reference).finalize();
    if policy.has_pin {
        Sha256::new().chain_update(authorized).chain_update(POLICY_AUTH_VALUE).finalize().into()
    } else {
        authorized.into()
    }
}

/// The Name of an object with SHA-256 as its name algorithm (part 1, 16): of the public area itself, whatever the TPM says that it is.
pub(crate) fn name(public: &Public) -> Vec<u8> {
    [SHA256.as_slice(), &Sha256::digest(marshalled(public))].concat()
}

/// [`name`] as the binding wants it.
pub(crate) fn tpm_name(public: &Public) -> Name {
    Name::try_from(name(public)).expect("34 bytes fit a Name")
}

/// The bytes of a TPMT_PUBLIC.
pub(crate) fn marshalled(public: &Public) -> Vec<u8> {
    public.marshall().expect("a public area that was built or read can be written")
}

pub(crate) fn digest(bytes: &[u8; DIGEST_BYTES]) -> Digest {
    Digest::try_from(bytes.as_slice()).expect("32 bytes fit a digest")
}
