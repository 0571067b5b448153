//! What somebody sees who taps the wire between the device process and the TPM.

use std::str::FromStr as _;

use hsm::{Refusal, Tpm};
use sha2::{Digest as _, Sha256};
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    Auth, Digest, KeyedHashScheme, PublicBuilder, PublicKeyedHashParameters, SensitiveData, SymmetricDefinitionObject,
};
use tss_esapi::utils::create_restricted_decryption_rsa_public;
use tss_esapi::{Context, TctiNameConf};

use super::recorder::Recorder;
use super::{PCRS, PIN, Platform, SECRET, secret};
use crate::fixture::{login, pin, refusal};

const CREATE_PRIMARY: [u8; 4] = 0x131u32.to_be_bytes();
const START_AUTH_SESSION: [u8; 4] = 0x176u32.to_be_bytes();

#[test]
fn neither_secret_nor_pin_crosses_the_bus_in_the_clear() {
    let platform = Platform::new();
    let approval = platform.approve(&PCRS);
    let recorder = Recorder::before(platform.swtpm.port());
    let (tpm, policy) = (Tpm { tcti: recorder.tcti() }, platform.policy(true));
    let sealed = tpm.protect(&platform.device, Some(login(&pin(PIN))), &policy, &secret()).expect("the TPM seals");
    let opened = tpm.open(&platform.device, Some(login(&pin(PIN))), &policy, vec![approval.clone()], &sealed);
    assert!(opened.expect("it opens").ct_eq(&secret()));

    // It did record this job: what no session can encrypt went by, the public half of the object and the approval's signature.
    assert!(recorder.saw(&sealed.public) && recorder.saw(&approval.signature[..32]));
    // One session to seal, two to open, and each is salted to a transient object: without one, TPM_RH_NULL (40000007) would stand there.
    assert_eq!(recorder.after(&START_AUTH_SESSION), [0x80; 3]);
    assert!(!recorder.saw(SECRET));
    assert!(!recorder.saw(PIN.as_bytes()));
    assert!(!recorder.saw(&Sha256::digest(PIN)));
}

#[test]
fn no_session_is_begun_with_another_tpm_and_no_pin_shown_to_it() {
    let mut platform = Platform::new();
    let (sealed, approval) = (platform.protect_with_pin(PIN), platform.approve(&PCRS));
    platform.swtpm.replace();
    let recorder = Recorder::before(platform.swtpm.port());
    let other = Tpm { tcti: recorder.tcti() };
    let opened = other.open(&platform.device, Some(login(&pin(PIN))), &platform.policy(true), vec![approval], &sealed);
    assert_eq!(refusal(opened), Refusal::WrongTpm);
    assert!(recorder.saw(&CREATE_PRIMARY) && !recorder.saw(&START_AUTH_SESSION));
}

/// The control: the same search finds what a client without salted sessions sends and gets.
#[test]
fn a_client_without_salted_sessions_is_found_out_by_the_same_search() {
    let platform = Platform::new();
    for auth in [PIN.as_bytes(), &Sha256::digest(PIN)] {
        let recorder = Recorder::before(platform.swtpm.port());
        assert_eq!(plain_round_trip(&recorder.tcti(), auth), SECRET);
        assert!(recorder.saw(SECRET));
        assert!(recorder.saw(auth));
    }
}

/// Seals and opens [`SECRET`] as most examples do: with the authorization itself as the password.
fn plain_round_trip(tcti: &str, auth: &[u8]) -> Vec<u8> {
    let mut context = Context::new(TctiNameConf::from_str(tcti).expect("a name")).expect("a TPM");
    context.set_sessions((Some(AuthSession::Password), None, None));
    let root = create_restricted_decryption_rsa_public(
        SymmetricDefinitionObject::AES_128_CFB,
        tss_esapi::interface_types::key_bits::RsaKeyBits::Rsa2048,
        tss_esapi::structures::RsaExponent::default(),
    );
    let root = context.create_primary(Hierarchy::Owner, root.expect("a template"), None, None, None, None).expect("a root key").key_handle;
    let attributes = ObjectAttributesBuilder::new().with_fixed_tpm(true).with_fixed_parent(true).with_user_with_auth(true).build();
    let public = PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes.expect("attributes"))
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
        .expect("a template");
    let auth = Auth::try_from(auth).expect("it fits");
    let secret = SensitiveData::try_from(SECRET.as_slice()).expect("it fits");
    let made = context.create(root, public, Some(auth.clone()), Some(secret), None, None).expect("the TPM seals");
    let object = context.load(root, made.out_private, made.out_public).expect("the TPM loads").into();
    context.tr_set_auth(object, auth).expect("it is loaded");
    context.unseal(object).expect("it opens").value().to_vec()
}
