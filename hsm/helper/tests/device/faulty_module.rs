//! What no SoftHSM does: crashes, hangs, a locked PIN, a last try, a device that decrypts nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hsm::latch::LatchState;
use hsm::{DeviceError, DeviceProcess, Login, ProcessSettings, Protected, Refusal, Scheme, Token, TokenName};
use secret::Bytes;
use tempfile::TempDir;

use crate::fixture::{DEADLINE, PIN, PROGRAM, latches_in, login, open_with, pin, refusal};

const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

struct Faulty {
    latches: TempDir,
}

impl Faulty {
    fn new() -> Self {
        Self { latches: tempfile::tempdir().expect("a directory") }
    }

    fn device(&self, fault: &str, deadline: Duration) -> DeviceProcess {
        DeviceProcess::new(ProcessSettings {
            program: PROGRAM.into(),
            latch_dir: self.latches.path().to_owned(),
            environment: BTreeMap::from([("FAULT".to_owned(), fault.to_owned())]),
            deadline,
        })
    }

    fn open(&self, fault: &str) -> Result<Bytes, DeviceError> {
        open_with(&self.device(fault, DEADLINE), &faulty_token(), login(&pin(PIN)), &anything())
    }

    fn retry(&self, fault: &str) -> Result<Bytes, DeviceError> {
        open_with(&self.device(fault, DEADLINE), &faulty_token(), Login { pin: &pin(PIN), retry_latched: true }, &anything())
    }

    fn is_latched(&self) -> bool {
        !latches_in(self.latches.path()).is_empty()
    }
}

fn faulty_token() -> Token {
    let module: PathBuf = Path::new(PROGRAM).with_file_name("examples").join("libfaulty_module.so");
    assert!(module.exists(), "{} is missing: cargo build -p hsm-helper --examples", module.display());
    Token { module, name: TokenName::Serial("0000000000000042".to_owned()) }
}

fn anything() -> Protected {
    Protected { scheme: Scheme::AesGcm { iv: [0; 12] }, ciphertext: vec![0; 48] }
}

#[test]
fn a_crash_in_the_module_is_told_by_its_signal() {
    let faulty = Faulty::new();
    let crashed = faulty_token().describe(&faulty.device("initialize-crashes", DEADLINE));
    assert!(matches!(crashed, Err(DeviceError::Died { signal: Some(SIGSEGV), .. })));
    assert!(faulty_token().describe(&faulty.device("", DEADLINE)).is_ok());
}

#[test]
fn a_crash_inside_the_login_leaves_it_latched() {
    let faulty = Faulty::new();
    assert!(matches!(faulty.open("login-crashes"), Err(DeviceError::Died { signal: Some(SIGABRT), .. })));
    assert!(matches!(refusal(faulty.open("")), Refusal::Latched { state: LatchState::Attempting, .. }));
}

#[test]
fn a_login_that_hangs_is_killed_at_the_deadline_and_leaves_it_latched() {
    let faulty = Faulty::new();
    // A busy machine may not even reach the login within the shorter ones.
    for deadline in [1, 5, 25].map(Duration::from_secs) {
        let hung = open_with(&faulty.device("login-hangs", deadline), &faulty_token(), login(&pin(PIN)), &anything());
        assert!(matches!(hung, Err(DeviceError::TimedOut { .. })));
        if faulty.is_latched() {
            break;
        }
    }
    assert!(matches!(refusal(faulty.open("")), Refusal::Latched { state: LatchState::Attempting, .. }));
}

#[test]
fn the_process_is_hardened_before_the_module_runs_and_undisturbed_only_while_it_logs_in() {
    let faulty = Faulty::new();
    // A breach would end the process by a signal; what is refused is refused by the token, after the login.
    assert!(matches!(refusal(faulty.open("checks-hardening")), Refusal::DeviceFault { call, .. } if call == "C_Decrypt"));
}

#[test]
fn a_device_removed_during_the_login_is_a_fault_and_no_wrong_pin() {
    let faulty = Faulty::new();
    let removed = Refusal::DeviceFault { call: "C_Login".to_owned(), code: "DeviceRemoved".to_owned() };
    assert_eq!(refusal(faulty.open("login-removed")), removed);
    assert!(!faulty.is_latched());
}

#[test]
fn a_retry_that_meets_a_fault_leaves_the_latch_as_it_was() {
    let faulty = Faulty::new();
    assert!(faulty.open("login-crashes").is_err());
    assert!(matches!(refusal(faulty.retry("login-removed")), Refusal::DeviceFault { .. }));
    assert!(matches!(refusal(faulty.open("")), Refusal::Latched { state: LatchState::Attempting, .. }));
}

#[test]
fn a_pin_that_the_login_finds_locked_is_latched_as_locked() {
    let faulty = Faulty::new();
    assert!(matches!(refusal(faulty.open("login-locked")), Refusal::PinLocked { .. }));
    assert!(matches!(refusal(faulty.open("")), Refusal::Latched { state: LatchState::Locked, .. }));
}

#[test]
fn the_last_try_is_left_to_a_person() {
    let faulty = Faulty::new();
    // A login would end the process: so none was made.
    for _ in 0..2 {
        assert!(matches!(refusal(faulty.open("final-try-login-crashes")), Refusal::Latched { state: LatchState::FinalTry, .. }));
    }
    assert!(
        matches!(refusal(faulty.retry("final-try")), Refusal::DeviceFault { .. }),
        "the login was good, and this device decrypts nothing"
    );
    assert!(!faulty.is_latched());
}

#[test]
fn a_token_with_a_locked_pin_gets_no_login_even_if_a_person_says_so() {
    let faulty = Faulty::new();
    assert!(matches!(refusal(faulty.open("locked-login-crashes")), Refusal::PinLocked { .. }));
    assert!(matches!(refusal(faulty.retry("locked-login-crashes")), Refusal::PinLocked { .. }));
}

#[test]
fn a_device_that_fails_its_canary_too_is_at_fault_and_the_ciphertext_is_not() {
    let failed = Refusal::DeviceFault { call: "C_Decrypt".to_owned(), code: "GeneralError".to_owned() };
    assert_eq!(refusal(Faulty::new().open("")), failed);
}

#[test]
fn a_token_without_gcm_is_told_what_it_lacks() {
    let lacking = refusal(Faulty::new().open("no-gcm"));
    assert_eq!(lacking, Refusal::MechanismMissing { mechanism: "CKM_AES_GCM".to_owned() });
}

#[test]
fn a_failing_finalize_does_not_undo_what_was_done() {
    let faulty = Faulty::new();
    assert!(faulty_token().describe(&faulty.device("finalize-fails", DEADLINE)).is_ok());
}
