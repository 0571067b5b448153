//! What somebody else has encrypted to a key of the token, as a shard for the holder of a card.

use std::fs;

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use hsm::{DeviceError, Oaep, Refusal};
use secret::Bytes;
use sha2::{Digest as _, Sha256};

use crate::fixture::{LABEL, MODULE, PIN, SoftHsm, login, pin, refusal, token};

const TEXT: &[u8] = b"SRSHARD1-what its keeper reads";
const RSA_BYTES: usize = 256;

/// A token with one RSA key pair, and the public half as SubjectPublicKeyInfo.
fn card() -> (SoftHsm, Vec<u8>) {
    let hsm = SoftHsm::new();
    let file = hsm.latch_dir().join("spki.der").display().to_string();
    let shared = ["--module", MODULE, "--token-label", LABEL, "--id", "0c"];
    let pair = ["--login", "--pin", PIN, "--keypairgen", "--key-type", "rsa:2048", "--label", "any"];
    for more in [&pair[..], &["--read-object", "--type", "pubkey", "--output-file", &file]] {
        hsm.tool("pkcs11-tool", "opensc", &[&shared[..], more].concat());
    }
    (hsm, fs::read(file).expect("pkcs11-tool wrote it"))
}

fn encrypted(spki: &[u8], oaep: Oaep, text: &[u8]) -> Vec<u8> {
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(spki).expect("an RSA key")).expect("a sound key");
    let algorithm = if oaep == Oaep::Sha1 { &OAEP_SHA1_MGF1SHA1 } else { &OAEP_SHA256_MGF1SHA256 };
    let mut place = vec![0; key.ciphertext_size()];
    key.encrypt(algorithm, text, &mut place, None).expect("short enough").to_vec()
}

/// Of the modulus, which is the first number of the key: 256 bytes before the exponent's five at the end.
fn digest(spki: &[u8]) -> [u8; 32] {
    let end = spki.len() - 5;
    Sha256::digest(&spki[end - RSA_BYTES..end]).into()
}

fn opened(hsm: &SoftHsm, spki: &[u8], oaep: Oaep, ciphertext: &[u8]) -> Result<Bytes, DeviceError> {
    token().decipher(&hsm.device, login(&pin(PIN)), digest(spki), oaep, ciphertext)
}

#[test]
fn a_key_is_found_by_its_modulus_whatever_it_is_called() {
    let (hsm, spki) = card();
    for text in [&TEXT[..1], TEXT, &[7; 190]] {
        let secret = opened(&hsm, &spki, Oaep::Sha1, &encrypted(&spki, Oaep::Sha1, text)).expect("it is its own");
        secret.expose(|bytes| assert_eq!(bytes, text));
    }
    let (other, other_spki) = card();
    let refused = refusal(opened(&other, &spki, Oaep::Sha1, &encrypted(&spki, Oaep::Sha1, TEXT)));
    assert!(matches!(refused, Refusal::OtherCard { keys: 1, .. }), "{refused}");
    assert!(matches!(refusal(opened(&SoftHsm::new(), &spki, Oaep::Sha1, &[1; RSA_BYTES])), Refusal::OtherCard { keys: 0, .. }));
    assert!(opened(&other, &other_spki, Oaep::Sha1, &encrypted(&other_spki, Oaep::Sha1, TEXT)).is_ok());
}

#[test]
fn what_was_altered_or_is_for_another_hash_is_told_from_a_device_that_fails() {
    let (hsm, spki) = card();
    let whole = encrypted(&spki, Oaep::Sha1, TEXT);
    for at in [0, 100, RSA_BYTES - 1] {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        assert_eq!(refusal(opened(&hsm, &spki, Oaep::Sha1, &altered)), Refusal::BadCiphertext, "byte {at}");
    }
    for odd in [&whole[1..], &[&whole[..], &[0]].concat(), &encrypted(&spki, Oaep::Sha256, TEXT)] {
        assert_eq!(refusal(opened(&hsm, &spki, Oaep::Sha1, odd)), Refusal::BadCiphertext, "{} bytes", odd.len());
    }
    // SoftHSM has OAEP with SHA-1 only.
    let refused = refusal(opened(&hsm, &spki, Oaep::Sha256, &encrypted(&spki, Oaep::Sha256, TEXT)));
    assert!(matches!(&refused, Refusal::MechanismMissing { mechanism } if mechanism.contains("SHA256")), "{refused}");
    // The public half is gone, so nothing shows that the card is well.
    let shared = ["--module", MODULE, "--token-label", LABEL, "--login", "--pin", PIN];
    hsm.tool("pkcs11-tool", "opensc", &[&shared[..], &["--delete-object", "--type", "pubkey", "--id", "0c"]].concat());
    assert!(opened(&hsm, &spki, Oaep::Sha1, &whole).is_ok());
    let mut altered = whole;
    altered[100] ^= 1;
    assert!(matches!(refusal(opened(&hsm, &spki, Oaep::Sha1, &altered)), Refusal::DeviceFault { call, .. } if call == "C_Decrypt"));
}

#[test]
fn a_wrong_pin_is_sent_once() {
    let (hsm, spki) = card();
    let whole = encrypted(&spki, Oaep::Sha1, TEXT);
    let try_with = |text: &str| token().decipher(&hsm.device, login(&pin(text)), digest(&spki), Oaep::Sha1, &whole);
    assert!(matches!(refusal(try_with("0000-wrong")), Refusal::WrongPin { .. }));
    assert!(matches!(refusal(try_with("0000-wrong")), Refusal::Latched { .. }), "nothing was sent");
    assert_eq!(hsm.latches().len(), 1);
}
