//! A wrong PIN for an object in a TPM is tried once, and a TPM in lockout is left alone.

use std::time::Duration;

use hsm::latch::LatchState;
use hsm::{DeviceError, Login, Refusal, Tpm, TpmApproval, TpmSealed};

use super::recorder::Recorder;
use super::{PCRS, PIN, Platform, device, secret};
use crate::fixture::{DEADLINE, login, pin, refusal};

const WRONG: &str = "4321-bad";
const UNSEAL: [u8; 4] = 0x15Eu32.to_be_bytes();

fn sealed() -> (Platform, TpmSealed, [TpmApproval; 1]) {
    let platform = Platform::new();
    let sealed = platform.protect_with_pin(PIN);
    let approval = platform.approve(&PCRS);
    (platform, sealed, [approval])
}

#[test]
fn a_wrong_pin_latches_and_the_right_one_is_then_not_tried() {
    let (platform, sealed, approval) = sealed();
    assert!(matches!(refusal(platform.open_with_pin(WRONG, &approval, &sealed)), Refusal::WrongPin { .. }));
    assert_eq!((platform.latch_count(), platform.swtpm.lockout_counter()), (1, 1));
    for text in [WRONG, PIN] {
        let refused = refusal(platform.open_with_pin(text, &approval, &sealed));
        assert!(matches!(refused, Refusal::Latched { state: LatchState::WrongPin, .. }), "{refused}");
    }
    assert_eq!((platform.latch_count(), platform.swtpm.lockout_counter()), (1, 1));
}

#[test]
fn a_person_who_says_retry_gets_one_try_and_a_good_one_unlatches() {
    let (platform, sealed, approval) = sealed();
    platform.swtpm.set_lockout_max(10);
    refusal(platform.open_with_pin(WRONG, &approval, &sealed));
    assert!(matches!(refusal(platform.retry_with_pin(WRONG, &approval, &sealed)), Refusal::WrongPin { .. }));
    assert_eq!(platform.swtpm.lockout_counter(), 2);
    assert!(platform.retry_with_pin(PIN, &approval, &sealed).is_ok());
    assert_eq!(platform.latch_count(), 0);
    assert!(platform.open_with_pin(PIN, &approval, &sealed).is_ok());
}

#[test]
fn a_tpm_in_lockout_gets_no_further_try_and_the_latch_stays_as_it_was() {
    let (platform, sealed, approval) = sealed();
    platform.swtpm.set_lockout_max(3);
    for tries in 1..=3 {
        assert!(matches!(refusal(platform.retry_with_pin(WRONG, &approval, &sealed)), Refusal::WrongPin { .. }));
        assert_eq!(platform.swtpm.lockout_counter(), tries);
    }
    for _ in 0..3 {
        assert_eq!(refusal(platform.retry_with_pin(PIN, &approval, &sealed)), Refusal::TpmLockedOut);
        assert_eq!(platform.swtpm.lockout_counter(), 3);
    }
    assert!(matches!(refusal(platform.open_with_pin(PIN, &approval, &sealed)), Refusal::Latched { state: LatchState::WrongPin, .. }));
    platform.swtpm.clear_lockout();
    assert!(platform.retry_with_pin(PIN, &approval, &sealed).is_ok());
    assert_eq!(platform.latch_count(), 0);
}

#[test]
fn a_lockout_that_somebody_else_brought_about_latches_nothing() {
    let (platform, sealed, approval) = sealed();
    platform.swtpm.set_lockout_max(1);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let somebody = device(&elsewhere, DEADLINE);
    let wrong = platform.tpm().open(&somebody, Some(login(&pin(WRONG))), &platform.policy(true), approval.to_vec(), &sealed);
    assert!(matches!(refusal(wrong), Refusal::WrongPin { .. }));

    for _ in 0..2 {
        assert_eq!(refusal(platform.open_with_pin(PIN, &approval, &sealed)), Refusal::TpmLockedOut);
    }
    assert_eq!((platform.latch_count(), platform.swtpm.lockout_counter()), (0, 1));
    platform.swtpm.clear_lockout();
    assert!(platform.open_with_pin(PIN, &approval, &sealed).is_ok());
}

#[test]
fn a_lockout_does_not_hold_back_what_has_no_pin() {
    let (platform, with_pin, approval) = sealed();
    let without = platform.protect();
    platform.swtpm.set_lockout_max(1);
    refusal(platform.open_with_pin(WRONG, &approval, &with_pin));
    assert!(platform.open(&approval, &without).is_ok());
}

/// A TPM, or a wire, that does not answer: nobody knows whether the PIN was tried, so it counts as if it had been.
#[test]
fn a_try_without_a_verdict_leaves_it_latched() {
    let platform = Platform::new();
    let recorder = Recorder::before(platform.swtpm.port());
    let (tpm, policy, text) = (Tpm { tcti: recorder.tcti() }, platform.policy(true), pin(PIN));
    let (sealed, approval) = (platform.protect_with_pin(PIN), platform.approve(&PCRS));
    let open = |deadline, login| tpm.open(&device(&platform.latches, deadline), Some(login), &policy, vec![approval.clone()], &sealed);
    // A process that is killed flushes nothing.
    let flush = || ["-t", "-l"].map(|kind| platform.swtpm.tool("tpm2_flushcontext", &[kind]));

    recorder.swallow(Some(UNSEAL));
    // A busy machine may not even reach the try within the shorter ones.
    for deadline in [1, 5, 25].map(Duration::from_secs) {
        assert!(matches!(open(deadline, login(&text)), Err(DeviceError::TimedOut { .. })));
        flush();
        if platform.latch_count() == 1 {
            break;
        }
    }
    recorder.swallow(None);
    assert!(matches!(refusal(open(DEADLINE, login(&text))), Refusal::Latched { state: LatchState::Attempting, .. }));
    assert!(open(DEADLINE, Login { pin: &text, retry_latched: true }).expect("it opens").ct_eq(&secret()));
    assert_eq!(platform.latch_count(), 0);
}

#[test]
fn an_object_with_a_pin_wants_one_to_be_made_and_to_be_opened() {
    let (platform, sealed, approval) = sealed();
    let serial: String = sealed.root_name[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let (tpm, policy) = (platform.tpm(), platform.policy(true));
    let opened = tpm.open(&platform.device, None, &policy, approval.to_vec(), &sealed);
    assert_eq!(refusal(opened), Refusal::PinNeeded { serial: serial.clone() });
    let made = tpm.protect(&platform.device, None, &policy, &secret());
    assert_eq!(refusal(made), Refusal::PinNeeded { serial });
    assert_eq!((platform.latch_count(), platform.swtpm.lockout_counter()), (0, 0));
}

/// Not even by taking `has_pin` for false: the object was made with dictionary attack protection and another policy.
#[test]
fn a_policy_without_the_pin_does_not_open_what_has_one() {
    let (platform, sealed, approval) = sealed();
    assert_eq!(refusal(platform.open(&approval, &sealed)), Refusal::BadCiphertext);
}

#[test]
fn no_refusal_repeats_the_pin() {
    let (platform, sealed, approval) = sealed();
    for _ in 0..2 {
        let refusal = refusal(platform.open_with_pin(WRONG, &approval, &sealed));
        assert!(!format!("{refusal} {refusal:?}").contains(WRONG));
    }
}
