//! Keys made, found and refused; secrets protected, opened and tampered with.

use hsm::{Device as _, Job, KeyKind, KeyName, Protected, Refusal, Scheme, Secrets, Task, Work};
use secret::Bytes;

use crate::fixture::{AAD, LABEL, MODULE, PIN, SoftHsm, key, login, pin, refusal, secret, token};

#[test]
fn a_secret_comes_back_from_another_process() {
    let (hsm, protected) = SoftHsm::with_protected();
    assert!(matches!(protected.scheme, Scheme::AesGcm { .. }));
    assert_eq!(protected.ciphertext.len(), 48);
    assert!(hsm.open(&protected).expect("it opens").ct_eq(&secret()));
    assert!(hsm.latches().is_empty());
}

#[test]
fn two_protections_of_one_secret_differ() {
    let (hsm, first) = SoftHsm::with_protected();
    let second = token().protect(&hsm.device, login(&pin(PIN)), &key(), AAD, &secret()).expect("the token protects");
    assert_ne!(first.scheme, second.scheme);
    assert_ne!(first.ciphertext, second.ciphertext);
}

#[test]
fn a_token_is_described_without_a_pin() {
    let hsm = SoftHsm::new();
    let report = token().describe(&hsm.device).expect("it is there");
    assert_eq!(report.label, LABEL);
    assert_eq!(report.key_kinds, [KeyKind::Aes256, KeyKind::Rsa3072]);
    assert!(!report.serial.is_empty() && !report.pin_count_low && !report.pin_locked);
}

#[test]
fn a_token_is_found_by_its_serial() {
    let (hsm, protected) = SoftHsm::with_protected();
    let serial = token().describe(&hsm.device).expect("it is there").serial;
    let by_serial = hsm::Token { name: hsm::TokenName::Serial(serial), ..token() };
    let opened = by_serial.open(&hsm.device, login(&pin(PIN)), &key(), AAD, &protected).expect("it opens");
    assert!(opened.ct_eq(&secret()));
}

#[test]
fn whatever_is_altered_is_a_bad_ciphertext_and_no_device_fault() {
    let (hsm, good) = SoftHsm::with_protected();
    let altered = |change: &dyn Fn(&mut Protected)| {
        let mut protected = good.clone();
        change(&mut protected);
        assert_eq!(refusal(hsm.open(&protected)), Refusal::BadCiphertext, "{protected:?}");
    };
    altered(&|protected| protected.ciphertext[0] ^= 1);
    altered(&|protected| protected.ciphertext[47] ^= 0x80);
    altered(&|protected| protected.ciphertext.truncate(47));
    altered(&|protected| protected.ciphertext.truncate(16));
    altered(&|protected| protected.ciphertext.clear());
    altered(&|protected| protected.scheme = Scheme::AesGcm { iv: [0; 12] });
    altered(&|protected| protected.scheme = Scheme::RsaOaepSha1);
    let elsewhere = token().open(&hsm.device, login(&pin(PIN)), &key(), b"another slot", &good);
    assert_eq!(refusal(elsewhere), Refusal::BadCiphertext);
    assert!(hsm.open(&good).is_ok());
}

#[test]
fn another_key_of_the_token_does_not_open_it() {
    let (hsm, protected) = SoftHsm::with_protected();
    let other = KeyName { label: "other".to_owned(), id: None };
    token().make_key(&hsm.device, login(&pin(PIN)), &other, KeyKind::Aes256).expect("the token makes it");
    let opened = token().open(&hsm.device, login(&pin(PIN)), &other, AAD, &protected);
    assert_eq!(refusal(opened), Refusal::BadCiphertext);
}

#[test]
fn an_rsa_key_protects_where_gcm_is_not_to_be_had() {
    let hsm = SoftHsm::new();
    let (pin, rsa) = (pin(PIN), KeyName { label: "rsa".to_owned(), id: None });
    token().make_key(&hsm.device, login(&pin), &rsa, KeyKind::Rsa3072).expect("the token makes it");
    let protected = token().protect(&hsm.device, login(&pin), &rsa, AAD, &secret()).expect("the token protects");
    // SoftHSM takes OAEP with SHA-1 only, and the parameters say so.
    assert_eq!(protected.scheme, Scheme::RsaOaepSha1);
    assert_eq!(protected.ciphertext.len(), 384);
    let open = |aad: &[u8], protected: &Protected| token().open(&hsm.device, login(&pin), &rsa, aad, protected);
    assert!(open(AAD, &protected).expect("it opens").ct_eq(&secret()));
    assert_eq!(refusal(open(b"another slot", &protected)), Refusal::BadCiphertext);
    let mut altered = protected;
    altered.ciphertext[100] ^= 1;
    assert_eq!(refusal(open(AAD, &altered)), Refusal::BadCiphertext);
}

#[test]
fn a_name_that_is_taken_is_not_made_again() {
    let (hsm, _) = SoftHsm::with_protected();
    for kind in [KeyKind::Aes256, KeyKind::Rsa3072] {
        let again = token().make_key(&hsm.device, login(&pin(PIN)), &key(), kind);
        assert!(matches!(refusal(again), Refusal::KeyExists { .. }));
    }
}

#[test]
fn a_key_that_is_not_there_is_missing() {
    let (hsm, protected) = SoftHsm::with_protected();
    for wrong in [KeyName { label: "slot-kez".to_owned(), id: None }, KeyName { id: Some(vec![0x52]), ..key() }] {
        let opened = token().open(&hsm.device, login(&pin(PIN)), &wrong, AAD, &protected);
        assert!(matches!(refusal(opened), Refusal::KeyMissing { .. }));
    }
}

#[test]
fn a_label_that_two_keys_have_is_ambiguous_until_the_id_is_named() {
    let (hsm, protected) = SoftHsm::with_protected();
    let twin = KeyName { id: Some(vec![0x52]), ..key() };
    token().make_key(&hsm.device, login(&pin(PIN)), &twin, KeyKind::Aes256).expect("another id is another name");
    let by_label = KeyName { id: None, ..key() };
    let opened = token().open(&hsm.device, login(&pin(PIN)), &by_label, AAD, &protected);
    assert!(matches!(refusal(opened), Refusal::KeyAmbiguous { count: 2, .. }));
    assert!(hsm.open(&protected).is_ok());
}

/// Makes an AES-256 key called `foreign` with `pkcs11-tool`.
fn foreign_key(hsm: &SoftHsm, flags: &[&str]) -> KeyName {
    let made =
        ["--module", MODULE, "--token-label", LABEL, "--login", "--pin", PIN, "--keygen", "--key-type", "AES:32", "--label", "foreign"];
    hsm.tool("pkcs11-tool", "opensc", &[&made, flags].concat());
    KeyName { label: "foreign".to_owned(), id: None }
}

#[test]
fn an_extractable_key_is_not_used() {
    let hsm = SoftHsm::new();
    let foreign = foreign_key(&hsm, &["--sensitive", "--extractable"]);
    let protected = token().protect(&hsm.device, login(&pin(PIN)), &foreign, AAD, &secret());
    assert!(matches!(refusal(protected), Refusal::KeyUnfit { attribute, .. } if attribute.contains("Extractable")));
}

#[test]
fn a_readable_key_is_not_used() {
    let hsm = SoftHsm::new();
    let foreign = foreign_key(&hsm, &[]);
    let protected = token().protect(&hsm.device, login(&pin(PIN)), &foreign, AAD, &secret());
    assert!(matches!(refusal(protected), Refusal::KeyUnfit { attribute, .. } if attribute.contains("Sensitive")));
}

#[test]
fn a_key_that_came_from_outside_is_not_used() {
    let hsm = SoftHsm::new();
    let value = hsm.tokens().with_file_name("value");
    std::fs::write(&value, [0x11; 32]).expect("writable");
    let write =
        ["--module", MODULE, "--token-label", LABEL, "--login", "--pin", PIN, "--type", "secrkey", "--key-type", "AES:32", "--sensitive"];
    let file = ["--label", "imported", "--write-object", value.to_str().expect("UTF-8")];
    hsm.tool("pkcs11-tool", "opensc", &[&write[..], &file[..]].concat());
    let imported = KeyName { label: "imported".to_owned(), id: None };
    let protected = token().protect(&hsm.device, login(&pin(PIN)), &imported, AAD, &secret());
    assert!(matches!(refusal(protected), Refusal::KeyUnfit { .. }));
}

#[test]
fn secrets_of_no_byte_or_too_many_are_refused() {
    let (hsm, _) = SoftHsm::with_protected();
    let long = Bytes::init_with(hsm::SECRET_BYTES_MAX + 1, |_| ()).expect("the arena has room");
    let protect = |payload: Option<&Bytes>| {
        let job = Job { work: Work::Token { token: token(), task: Task::Protect { key: key(), aad: AAD.to_vec() } }, retry_pin: false };
        hsm.device.run(&job, Secrets { pin: Some(&pin(PIN)), payload })
    };
    assert!(matches!(refusal(protect(Some(&long))), Refusal::BadJob { .. }));
    assert!(matches!(refusal(protect(None)), Refusal::BadJob { .. }));
}

/// SoftHSM rewrites its token file at each login; a second process that read it meanwhile saw no token.
#[test]
fn jobs_at_the_same_time_all_find_the_token_and_none_is_latched() {
    let (hsm, protected) = SoftHsm::with_protected();
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..8).map(|_| scope.spawn(|| hsm.open(&protected).map(|_| ()))).collect();
        for job in jobs {
            job.join().expect("no panic").expect("it opens");
        }
    });
}
