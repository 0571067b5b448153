//! What is not there: the token, one of two tokens, the module, the device program.

use std::fs;
use std::path::Path;

use hsm::{DeviceError, DeviceProcess, ProcessSettings, Refusal, Token, TokenName};

use crate::fixture::{DEADLINE, LABEL, SoftHsm, refusal, token};

#[test]
fn a_token_that_was_taken_away_is_missing_until_it_returns() {
    let (hsm, protected) = SoftHsm::with_protected();
    let away = hsm.tokens().with_file_name("away");
    for _ in 0..3 {
        fs::rename(hsm.tokens(), &away).expect("writable");
        fs::create_dir(hsm.tokens()).expect("writable");
        assert!(matches!(refusal(hsm.open(&protected)), Refusal::TokenMissing { seen: 0, .. }));
        fs::remove_dir_all(hsm.tokens()).expect("writable");
        fs::rename(&away, hsm.tokens()).expect("writable");
        assert!(hsm.open(&protected).is_ok());
    }
    assert!(hsm.latches().is_empty());
}

#[test]
fn a_token_store_that_vanished_is_refused_and_works_after_it_returns() {
    let (hsm, protected) = SoftHsm::with_protected();
    let away = hsm.tokens().with_file_name("away");
    fs::rename(hsm.tokens(), &away).expect("writable");
    let gone = refusal(hsm.open(&protected));
    assert!(matches!(gone, Refusal::TokenMissing { .. } | Refusal::ModuleUnusable { .. }), "{gone}");
    fs::rename(&away, hsm.tokens()).expect("writable");
    assert!(hsm.open(&protected).is_ok());
    assert!(hsm.latches().is_empty());
}

#[test]
fn two_tokens_of_one_label_are_ambiguous_until_the_serial_is_named() {
    let (hsm, protected) = SoftHsm::with_protected();
    let serial = token().describe(&hsm.device).expect("it is there").serial;
    hsm.add_token(LABEL);
    assert!(matches!(refusal(hsm.open(&protected)), Refusal::TokenAmbiguous { count: 2, .. }));
    let by_serial = Token { name: TokenName::Serial(serial), ..token() };
    assert!(by_serial.describe(&hsm.device).is_ok());
}

#[test]
fn a_token_of_another_label_is_missing_and_the_others_are_counted() {
    let hsm = SoftHsm::new();
    let other = Token { name: TokenName::Label("other".to_owned()), ..token() };
    assert!(matches!(refusal(other.describe(&hsm.device)), Refusal::TokenMissing { seen: 1, .. }));
}

#[test]
fn a_module_that_is_missing_or_no_module_is_named() {
    let hsm = SoftHsm::new();
    for wrong in ["/usr/lib/softhsm/no-such-module.so", "/etc/passwd", "/"] {
        let described = Token { module: wrong.into(), ..token() }.describe(&hsm.device);
        assert!(matches!(refusal(described), Refusal::ModuleUnusable { module, .. } if module == Path::new(wrong)));
    }
}

#[test]
fn a_missing_device_program_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("strongroom-device");
    let settings = ProcessSettings {
        program: program.clone(),
        latch_dir: dir.path().to_owned(),
        environment: std::collections::BTreeMap::new(),
        deadline: DEADLINE,
    };
    let error = token().describe(&DeviceProcess::new(settings)).expect_err("there is no program");
    assert!(error.to_string().contains(program.to_str().expect("UTF-8")));
    assert!(matches!(error, DeviceError::NotStarted { .. }));
}
