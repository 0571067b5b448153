//! PINs that are wrong or cannot be had: tried once or not at all, and what brings the slot back.

use std::fs;

use hsm::Refusal;
use hsm::latch::LatchState;
use seal::{Consent, Error, PinSource, TypedPin};
use softhsm_test::{LABEL, PIN};

use crate::fixture::{
    Bench, MAKE, add, custodian, expected, failure, failures, integrity, is_master, label, master, new_slot, opened, pin, randomness,
    refusal,
};

const RETRY: Consent<'_> = Consent { pin: None, retry_pin: true, make_key: false, shards: &[] };
const WRONG: &str = "1111-bad";

#[test]
fn a_wrong_pin_is_tried_once_and_then_a_person_must_allow_another_try() {
    let bench = Bench::with_slot();
    bench.hsm.write_pin(WRONG);
    let first = bench.seal().unseal(expected(), None);
    let text = first.as_ref().expect_err("the PIN is wrong").to_string();
    assert!(text.contains("primary") && text.contains("slot verify") && text.contains("--retry-pin") && !text.contains(WRONG), "{text}");
    assert!(matches!(refusal(failure(first)), Refusal::WrongPin { .. }));
    assert_eq!(bench.hsm.latches(), 1);

    // A login with the right PIN would succeed and unlatch: that neither happens shows that there is none.
    bench.hsm.write_pin(PIN);
    for _ in 0..2 {
        let refused = failure(bench.seal().unseal(expected(), None));
        assert!(matches!(refusal(refused), Refusal::Latched { state: LatchState::WrongPin, .. }));
        assert!(!bench.seal().probe(expected()).expect("the directory is there").iter().any(opened));
        assert!(bench.seal().verify("primary", expected(), Consent::default()).is_err());
    }

    assert!(bench.seal().verify("primary", expected(), RETRY).is_ok());
    assert_eq!(bench.hsm.latches(), 0);
    assert!(is_master(&bench.seal().unseal(expected(), None).expect("it opens").master));
}

#[test]
fn a_retry_with_a_wrong_pin_stays_latched() {
    let bench = Bench::with_slot();
    bench.hsm.write_pin(WRONG);
    failure(bench.seal().unseal(expected(), None));
    let retried = bench.seal().verify("primary", expected(), RETRY);
    assert!(matches!(refusal(retried.expect_err("the PIN is wrong")), Refusal::WrongPin { .. }));
    assert_eq!(bench.hsm.latches(), 1);
}

#[test]
fn two_slots_of_one_token_cost_one_try() {
    let bench = Bench::with_slot();
    add(&bench.seal(), "twin", "hsm").expect("the slot is made");
    bench.hsm.write_pin(WRONG);
    let refused: Vec<_> = failures(bench.seal().unseal(expected(), None)).into_iter().map(refusal).collect();
    assert!(matches!(&refused[..], [Refusal::WrongPin { .. }, Refusal::Latched { .. }]), "{refused:?}");
}

#[test]
fn a_slot_is_not_added_with_a_wrong_pin() {
    let bench = Bench::with_slot();
    bench.hsm.write_pin(WRONG);
    let refused = add(&bench.seal(), "twin", "hsm").expect_err("the PIN is wrong");
    assert!(matches!(refusal(refused), Refusal::WrongPin { .. }));
    assert_eq!(bench.files("").len(), 2, "the slot and the table");
}

#[test]
fn a_missing_or_open_credential_is_named_and_no_login_is_made() {
    let bench = Bench::with_slot();
    let path = bench.hsm.pin_file();
    let named = |error: Error| assert!(error.to_string().contains(path.to_str().expect("UTF-8")), "{error}");
    fs::remove_file(&path).expect("it is there");
    named(failure(bench.seal().unseal(expected(), None)));
    fs::write(&path, WRONG).expect("writable");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("it is ours");
    named(failure(bench.seal().unseal(expected(), None)));
    assert_eq!(bench.hsm.latches(), 0);
}

#[test]
fn a_slot_is_removed_when_another_opens_with_the_pin_of_a_person_and_not_without() {
    let bench = Bench::with_slot();
    bench.hsm.add_token("second");
    let seal = bench.seal_with(vec![bench.custodian("hsm", LABEL), custodian("person", "second", PinSource::Typed)]);
    let (typed, name) = (pin(PIN), label("person"));
    let consent = Consent { pin: Some(&typed), ..MAKE };
    seal.add(new_slot("spare", "person"), (&master(), &integrity()), &randomness(), consent).expect("the slot is made");
    let remove = |typed| seal.remove("primary", expected(), (&master(), &integrity()), typed);
    let refused = remove(None).expect_err("nobody types");
    assert!(
        matches!(&refused, Error::LastSlot { attempts, .. } if matches!(attempts[0].failure, Some(Error::NeedsPin { .. }))),
        "{refused}"
    );
    assert_eq!(bench.files(".slot").len(), 2);
    remove(Some(TypedPin { custodian: &name, pin: &typed, retry_pin: false })).expect("the other opens");
    assert_eq!(bench.files(".slot").len(), 1);
    seal.check_table(&integrity()).expect("it is on record");
}

#[test]
fn a_slot_stays_whose_only_companion_has_a_wrong_pin_which_is_tried_once() {
    let bench = Bench::with_slot();
    add(&bench.seal(), "spare", "hsm").expect("the slot is made");
    bench.hsm.write_pin(WRONG);
    for _ in 0..3 {
        let refused = bench.seal().remove("spare", expected(), (&master(), &integrity()), None);
        assert!(matches!(refused, Err(Error::LastSlot { attempts, .. }) if attempts.len() == 1));
    }
    assert_eq!((bench.hsm.latches(), bench.files(".slot").len()), (1, 2));
}
