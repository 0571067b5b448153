//! A wrong PIN is tried once, whatever happens afterwards.

use std::fs;

use hsm::latch::LatchState;
use hsm::{Device as _, Job, Login, Refusal, Secrets, Task, Work};

use crate::fixture::{PIN, SoftHsm, key, login, open_with, pin, refusal, token};

const WRONG: &str = "4321-bad";

#[test]
fn a_wrong_pin_latches_and_the_right_one_is_then_not_tried() {
    let (hsm, protected) = SoftHsm::with_protected();
    let first = open_with(&hsm.device, &token(), login(&pin(WRONG)), &protected);
    assert!(matches!(refusal(first), Refusal::WrongPin { .. }));
    assert_eq!(hsm.latches().len(), 1);

    let second = refusal(hsm.open(&protected));
    assert!(matches!(second, Refusal::Latched { state: LatchState::WrongPin, .. }));
    assert!(second.to_string().contains("strongroom slot verify --retry-pin"));
    // A login with the right PIN would have reset the token's own mark.
    assert!(token().describe(&hsm.device).expect("describing needs no login").pin_count_low);
}

#[test]
fn a_person_who_says_retry_gets_one_try_and_a_good_one_unlatches() {
    let (hsm, protected) = SoftHsm::with_protected();
    let (good, bad) = (pin(PIN), pin(WRONG));
    refusal(open_with(&hsm.device, &token(), login(&bad), &protected));
    let retry = |pin| open_with(&hsm.device, &token(), Login { pin, retry_latched: true }, &protected);

    assert!(matches!(refusal(retry(&bad)), Refusal::WrongPin { .. }));
    assert!(matches!(refusal(hsm.open(&protected)), Refusal::Latched { .. }));
    assert!(retry(&good).is_ok());
    assert!(hsm.latches().is_empty());
    assert!(hsm.open(&protected).is_ok());
}

#[test]
fn the_latch_holds_by_whatever_path_the_module_is_called() {
    let (hsm, protected) = SoftHsm::with_protected();
    refusal(open_with(&hsm.device, &token(), login(&pin(WRONG)), &protected));
    let link = hsm.tokens().with_file_name("module.so");
    std::os::unix::fs::symlink(&token().module, &link).expect("writable");
    let by_link = hsm::Token { module: link, ..token() };
    let opened = open_with(&hsm.device, &by_link, login(&pin(PIN)), &protected);
    assert!(matches!(refusal(opened), Refusal::Latched { .. }));
}

#[test]
fn a_wrong_pin_for_one_token_does_not_latch_another() {
    let (hsm, protected) = SoftHsm::with_protected();
    hsm.add_token("second");
    let second = hsm::Token { name: hsm::TokenName::Label("second".to_owned()), ..token() };
    refusal(open_with(&hsm.device, &second, login(&pin(WRONG)), &protected));
    assert!(hsm.open(&protected).is_ok());
}

#[test]
fn a_damaged_latch_still_forbids_the_login() {
    let (hsm, protected) = SoftHsm::with_protected();
    refusal(open_with(&hsm.device, &token(), login(&pin(WRONG)), &protected));
    fs::write(&hsm.latches()[0], "").expect("writable");
    assert!(matches!(refusal(hsm.open(&protected)), Refusal::Latched { state: LatchState::Unreadable, .. }));
}

#[test]
fn without_a_place_for_the_latch_there_is_no_login() {
    let (hsm, protected) = SoftHsm::with_protected();
    fs::remove_dir_all(hsm.latch_dir()).expect("writable");
    let first = open_with(&hsm.device, &token(), login(&pin(WRONG)), &protected);
    assert!(matches!(refusal(first), Refusal::LatchUnusable { .. }));
    fs::create_dir(hsm.latch_dir()).expect("writable");
    assert!(!token().describe(&hsm.device).expect("describing needs no login").pin_count_low);
    assert!(hsm.open(&protected).is_ok());
}

#[test]
fn a_latch_that_cannot_be_written_forbids_the_login() {
    let (hsm, protected) = SoftHsm::with_protected();
    refusal(open_with(&hsm.device, &token(), login(&pin(WRONG)), &protected));
    let latch = hsm.latches().remove(0);
    assert!(open_with(&hsm.device, &token(), Login { pin: &pin(PIN), retry_latched: true }, &protected).is_ok());

    // A folder where the new latch is to be written fails that write like a full disk.
    fs::create_dir(latch.with_extension("new")).expect("writable");
    let refused = refusal(open_with(&hsm.device, &token(), login(&pin(WRONG)), &protected));
    assert!(matches!(refused, Refusal::LatchUnusable { .. }));
    assert!(!token().describe(&hsm.device).expect("describing needs no login").pin_count_low);
}

#[test]
fn a_job_that_needs_a_pin_and_has_none_is_refused_and_not_latched() {
    let (hsm, protected) = SoftHsm::with_protected();
    let job = Job { work: Work::Token { token: token(), task: Task::Open { key: key(), aad: Vec::new(), protected } }, retry_pin: false };
    assert!(matches!(refusal(hsm.device.run(&job, Secrets::default())), Refusal::PinNeeded { .. }));
    assert!(hsm.latches().is_empty());
}

#[test]
fn no_refusal_repeats_the_pin() {
    let (hsm, protected) = SoftHsm::with_protected();
    for _ in 0..2 {
        let refusal = refusal(open_with(&hsm.device, &token(), login(&pin(WRONG)), &protected));
        assert!(!format!("{refusal} {refusal:?}").contains(WRONG));
    }
    assert!(!fs::read_to_string(&hsm.latches()[0]).expect("readable").contains(WRONG));
}
