//! Secrets sealed, opened, tampered with and taken to another TPM; what is left behind.

use hsm::{Device as _, Job, Refusal, Secrets, TpmPolicy, TpmSealed, TpmTask, Work};
use secret::Bytes;
use sha2::{Digest as _, Sha256};

use super::{PCRS, PIN, Platform, REFERENCE, secret};
use crate::fixture::{login, pin, refusal};

#[test]
fn a_secret_comes_back_from_another_process() {
    let platform = Platform::new();
    let sealed = platform.protect();
    let approval = platform.approve(&PCRS);
    assert!(platform.open(&[approval], &sealed).expect("it opens").ct_eq(&secret()));
    assert_eq!(platform.latch_count(), 0);
}

#[test]
fn a_secret_with_a_pin_comes_back_for_that_pin() {
    let platform = Platform::new();
    let sealed = platform.protect_with_pin(PIN);
    let approval = platform.approve(&PCRS);
    for _ in 0..2 {
        assert!(platform.open_with_pin(PIN, std::slice::from_ref(&approval), &sealed).expect("it opens").ct_eq(&secret()));
    }
    assert_eq!((platform.latch_count(), platform.swtpm.lockout_counter()), (0, 0));
}

/// A TPM cuts zeros off the end of an authorization value: of one PIN in 256 the digest ends in one.
#[test]
fn a_pin_whose_digest_ends_in_zero_opens_too() {
    let platform = Platform::new();
    let text = (0..).map(|number| format!("pin {number}")).find(|text| Sha256::digest(text)[31] == 0).expect("there is one");
    let sealed = platform.protect_with_pin(&text);
    assert!(platform.open_with_pin(&text, &[platform.approve(&PCRS)], &sealed).is_ok());
}

#[test]
fn every_length_of_secret_is_sealed_and_no_other() {
    let platform = Platform::new();
    let approval = platform.approve(&PCRS);
    let protect = |bytes: usize| {
        let secret = Bytes::init_with(bytes, |place| place.fill(0x5A)).expect("the arena has room");
        (platform.tpm().protect(&platform.device, None, &platform.policy(false), &secret), secret)
    };
    for bytes in [1, 32, 64, hsm::SECRET_BYTES_MAX] {
        let (sealed, secret) = protect(bytes);
        let opened = platform.open(std::slice::from_ref(&approval), &sealed.expect("the TPM seals"));
        assert!(opened.expect("it opens").ct_eq(&secret), "{bytes} bytes");
    }
    assert!(matches!(refusal(protect(hsm::SECRET_BYTES_MAX + 1).0), Refusal::BadJob { .. }));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let platform = Platform::new();
    let long = TpmPolicy { reference: vec![0; 65], ..platform.policy(false) };
    assert!(matches!(refusal(platform.tpm().protect(&platform.device, None, &long, &secret())), Refusal::BadJob { .. }));

    let unused = platform.tpm().protect(&platform.device, Some(login(&pin(PIN))), &platform.policy(false), &secret());
    assert!(matches!(refusal(unused), Refusal::BadJob { .. }));

    let mut nowhere = platform.policy(false);
    nowhere.release_key.y[31] ^= 1;
    assert!(matches!(refusal(platform.tpm().protect(&platform.device, None, &nowhere, &secret())), Refusal::BadJob { .. }));

    let work = Work::Tpm { tpm: platform.tpm(), task: TpmTask::Protect { policy: platform.policy(false) } };
    let without = platform.device.run(&Job { work, retry_pin: false }, Secrets::default());
    assert!(matches!(refusal(without), Refusal::BadJob { .. }));

    for pcrs in [[24].as_slice(), &[7, 7], &[8, 7]] {
        assert!(matches!(refusal(platform.tpm().describe(&platform.device, pcrs)), Refusal::BadJob { .. }));
    }
    let many = vec![platform.approve(&PCRS); 33];
    assert!(matches!(refusal(platform.open(&many, &platform.protect())), Refusal::BadJob { .. }));
}

#[test]
fn a_tpm_is_described() {
    let platform = Platform::new();
    platform.swtpm.set_lockout_max(7);
    let report = platform.tpm().describe(&platform.device, &[]).expect("it is there");
    assert!(report.model.starts_with("IBM") && report.model.contains("SW"), "{}", report.model);
    assert_eq!((report.lockout_counter, report.lockout_max, report.digest), (0, 7, None));
    assert_eq!((report.root_name.len(), &report.root_name[..2]), (34, [0x00, 0x0B].as_slice()));

    // More registers than one answer of a TPM holds; all are zero but 17 to 22, which are ones.
    let all: Vec<u8> = (0..24).collect();
    let values = (0..24).flat_map(|pcr| [if (17..23).contains(&pcr) { 0xFF } else { 0 }; 32]).collect::<Vec<u8>>();
    let described = platform.tpm().describe(&platform.device, &all).expect("it is there");
    assert_eq!(described.digest, Some(Sha256::digest(values).into()));
    assert_eq!(described.root_name, report.root_name);
}

#[test]
fn another_tpm_and_a_cleared_one_are_told_from_the_right_one() {
    let mut platform = Platform::new();
    let sealed = platform.protect_with_pin(PIN);
    let approval = platform.approve(&PCRS);
    platform.swtpm.stop();
    platform.swtpm.start();
    assert!(platform.open_with_pin(PIN, std::slice::from_ref(&approval), &sealed).is_ok(), "after a power cycle it is still the same");

    platform.swtpm.clear();
    assert_eq!(refusal(platform.open_with_pin(PIN, std::slice::from_ref(&approval), &sealed)), Refusal::WrongTpm);
    platform.swtpm.replace();
    assert_eq!(refusal(platform.open_with_pin(PIN, &[approval], &sealed)), Refusal::WrongTpm);
    assert_eq!((platform.latch_count(), platform.swtpm.lockout_counter()), (0, 0));
}

/// Also under the right root key's name, as somebody would put it who wants the sealed object loaded elsewhere.
#[test]
fn an_altered_object_is_bad_ciphertext_wherever_it_was_altered() {
    let platform = Platform::new();
    let sealed = platform.protect_with_pin(PIN);
    let approval = platform.approve(&PCRS);
    let check = |altered: &TpmSealed, what: &str| {
        let refused = refusal(platform.open_with_pin(PIN, std::slice::from_ref(&approval), altered));
        assert_eq!(refused, Refusal::BadCiphertext, "{what}");
    };
    for at in 0..sealed.public.len() {
        let mut altered = sealed.clone();
        altered.public[at] ^= 1 << (at % 8);
        check(&altered, &format!("public byte {at}"));
    }
    for at in (0..sealed.private.len()).step_by(5).chain([1, 2, 3, sealed.private.len() - 1]) {
        let mut altered = sealed.clone();
        altered.private[at] ^= 1 << (at % 8);
        check(&altered, &format!("private byte {at}"));
    }
    for bytes in [0, 1, 2, 40, sealed.private.len() - 1] {
        check(&TpmSealed { private: sealed.private[..bytes].to_vec(), ..sealed.clone() }, "shorter private half");
        check(&TpmSealed { public: sealed.public[..bytes.min(sealed.public.len() - 1)].to_vec(), ..sealed.clone() }, "shorter public half");
    }
    for extra in [1, 2000] {
        check(&TpmSealed { private: [sealed.private.clone(), vec![0; extra]].concat(), ..sealed.clone() }, "longer private half");
        check(&TpmSealed { public: [sealed.public.clone(), vec![0; extra]].concat(), ..sealed.clone() }, "longer public half");
    }
    assert_eq!((platform.latch_count(), platform.swtpm.lockout_counter()), (0, 0));
    assert!(platform.open_with_pin(PIN, &[approval], &sealed).is_ok());
}

#[test]
fn one_slots_object_does_not_open_as_anothers() {
    let platform = Platform::new();
    let sealed = platform.protect();
    let other = TpmPolicy { reference: b"slot 2, policy 1".to_vec(), ..platform.policy(false) };
    let state = platform.approve(&PCRS).digest;
    let approval = platform.release.approve(&PCRS, state, &other.reference);
    let opened = platform.tpm().open(&platform.device, None, &other, vec![approval], &sealed);
    assert_eq!(refusal(opened), Refusal::BadCiphertext);
    assert_ne!(other.reference, REFERENCE);
}

#[test]
fn nothing_is_left_in_the_tpm_after_a_hundred_jobs() {
    let platform = Platform::new();
    platform.swtpm.set_lockout_max(1000);
    let (sealed, with_pin) = (platform.protect(), platform.protect_with_pin(PIN));
    let approval = [platform.approve(&PCRS)];
    let unsigned = [hsm::TpmApproval { signature: vec![1; 64], ..approval[0].clone() }];
    let mut altered = sealed.clone();
    altered.private[40] ^= 1;
    for round in 0..16 {
        assert!(platform.open(&approval, &sealed).is_ok(), "round {round}");
        assert!(platform.retry_with_pin(PIN, &approval, &with_pin).is_ok(), "round {round}");
        assert!(matches!(refusal(platform.open(&unsigned, &sealed)), Refusal::NotApproved { .. }));
        assert_eq!(refusal(platform.open(&approval, &altered)), Refusal::BadCiphertext);
        assert!(matches!(refusal(platform.retry_with_pin("wrong", &approval, &with_pin)), Refusal::WrongPin { .. }));
        platform.protect();
    }
    assert_eq!(platform.swtpm.left_behind(), "");
    assert_eq!(platform.swtpm.lockout_counter(), 16);
}
