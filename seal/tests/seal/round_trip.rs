//! What is sealed opens again: by which slots, with which keys, and what is said about them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use hsm::{KeyKind, KeyName, Login, Refusal, Token, TokenName};
use seal::{CustodianKind, Error, PinSource, Residency, Seal, SealSettings, TooFewSlots};
use softhsm_test::{LABEL, MODULE, PIN};

use crate::fixture::{
    Bench, MAKE, add, cluster, custodian, expected, integrity, is_master, label, master, new_slot, opened, pin, randomness, refusal,
};

#[test]
fn the_master_key_that_was_sealed_is_the_one_that_opens() {
    let bench = Bench::new();
    let made = add(&bench.seal(), "primary", "hsm").expect("the slot is made");
    let back = bench.seal().unseal(expected(), None).expect("it opens");
    assert!(is_master(&back.master));
    assert_eq!(back.slot, made);
    assert_eq!((made.header.cluster, made.header.generation, made.header.slot_set), (cluster(), 1, 1));
    assert_eq!(made.header.kind, CustodianKind::Pkcs11);
    assert_eq!(made.roster, new_slot("primary", "hsm").roster);
    assert!(matches!(&back.attempts[..], [attempt] if attempt.unattended && opened(attempt)));
    assert_eq!(Residency::of(&back.attempts), Residency::WipedAfterJobs);
}

#[test]
fn nobody_else_may_read_the_slots_and_they_hold_no_key_in_the_clear() {
    let bench = Bench::with_slot();
    let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(bench.slots_dir()), 0o700);
    assert_eq!(mode(bench.slot_file()), 0o600);
    let bytes = fs::read(bench.slot_file()).expect("readable");
    assert!(!bytes.windows(8).any(|window| window == [0x4D; 8]));
    assert!(!bytes.windows(MODULE.len()).any(|window| window == MODULE.as_bytes()));
    assert_eq!(bench.files("").len(), 2, "the slot and the table");
}

#[test]
fn an_rsa_key_that_is_on_the_token_already_is_used() {
    let bench = Bench::new();
    let (token, good) = (Token { module: MODULE.into(), name: TokenName::Label(LABEL.to_owned()) }, pin(PIN));
    let key = KeyName { label: "slot-key".to_owned(), id: Some(vec![0x51]) };
    let login = Login { pin: &good, retry_latched: false };
    token.make_key(&*bench.device, login, &key, KeyKind::Rsa3072).expect("the token makes it");
    let slot = add(&bench.seal(), "primary", "hsm").expect("the slot is made");
    assert_eq!(slot.guarded.protected.len(), 384);
    assert!(is_master(&bench.seal().unseal(expected(), None).expect("it opens").master));
}

#[test]
fn without_leave_no_key_is_made_on_the_token() {
    let bench = Bench::new();
    let refused = bench.seal().add(new_slot("primary", "hsm"), (&master(), &integrity()), &randomness(), seal::Consent::default());
    assert!(matches!(refusal(refused.expect_err("there is no key")), Refusal::KeyMissing { .. }));
    assert!(bench.files("").is_empty());
}

#[test]
fn a_label_is_given_once() {
    let bench = Bench::with_slot();
    assert!(matches!(add(&bench.seal(), "primary", "hsm"), Err(Error::LabelTaken { .. })));
    assert_eq!(bench.files(".slot").len(), 1);
}

#[test]
fn there_are_at_most_sixteen_slots() {
    let bench = Bench::with_slot();
    let bytes = fs::read(bench.slot_file()).expect("readable");
    for number in 1..seal::SLOTS_MAX {
        fs::write(bench.slots_dir().join(format!("{number}.slot")), &bytes).expect("writable");
    }
    assert!(matches!(add(&bench.seal(), "one more", "hsm"), Err(Error::SlotsFull { max: 16 })));
}

#[test]
fn a_typed_pin_opens_and_is_needed_again_next_time() {
    let bench = Bench::new();
    let seal = || bench.seal_with(vec![custodian("hsm", LABEL, PinSource::Typed)]);
    let typed = pin(PIN);
    let consent = seal::Consent { pin: Some(&typed), ..MAKE };
    seal().add(new_slot("primary", "hsm"), (&master(), &integrity()), &randomness(), consent).expect("the slot is made");
    let name = label("hsm");
    let back = seal().unseal(expected(), Some(seal::TypedPin { custodian: &name, pin: &typed, retry_pin: false })).expect("it opens");
    assert!(is_master(&back.master));
    assert!(matches!(&back.attempts[..], [attempt] if !attempt.unattended));
    assert!(matches!(Residency::of(&back.attempts), Residency::Resident { .. }));
    assert!(matches!(crate::fixture::failure(seal().unseal(expected(), None)), Error::NeedsPin { .. }));
    assert!(seal().probe(expected()).expect("the directory is there").is_empty());
}

#[test]
fn a_typed_pin_is_not_tried_at_another_custodian() {
    let bench = Bench::with_slot();
    let seal = bench.seal_with(vec![custodian("hsm", LABEL, PinSource::Typed)]);
    let (typed, name) = (pin("9999"), label("other"));
    let refused = seal.unseal(expected(), Some(seal::TypedPin { custodian: &name, pin: &typed, retry_pin: false }));
    assert!(matches!(crate::fixture::failure(refused), Error::NeedsPin { .. }));
    assert_eq!(bench.hsm.latches(), 0);
}

#[test]
fn slots_on_one_token_count_once_as_independent() {
    let bench = Bench::with_slot();
    bench.hsm.add_token("second");
    let seal = bench.seal_with(vec![bench.custodian("hsm", LABEL), bench.custodian("spare", "second")]);
    assert_eq!(seal.list().expect("readable").too_few(), Some(TooFewSlots { independent: 1 }));
    add(&seal, "twin", "hsm").expect("the slot is made");
    let listing = seal.list().expect("readable");
    assert_eq!((listing.slots.len(), listing.too_few()), (2, Some(TooFewSlots { independent: 1 })));
    let spare = add(&seal, "spare", "spare").expect("the slot is made");
    assert_eq!(spare.header.slot_set, 3);
    assert_eq!(seal.list().expect("readable").too_few(), None);
}

#[test]
fn a_slot_is_found_by_its_id_and_its_label_and_verified() {
    let bench = Bench::with_slot();
    let seal = bench.seal();
    let id = seal.list().expect("readable").slots[0].header.id;
    for name in [id.to_string().as_str(), "primary"] {
        assert_eq!(seal.verify(name, expected(), seal::Consent::default()).expect("it opens").header.id, id);
    }
    let unknown = seal.verify("secondary", expected(), seal::Consent::default());
    assert!(matches!(unknown, Err(Error::NoSuchSlot { name }) if name == "secondary"));
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let bench = Bench::new();
    let check = |slots_dir: &str, custodians| {
        let settings = SealSettings { slots_dir: slots_dir.into(), custodians };
        assert!(matches!(Seal::new(settings, &bench.device), Err(Error::Invalid { .. })));
    };
    let with = |change: &dyn Fn(&mut seal::Pkcs11Settings)| {
        let mut custodian = bench.custodian("hsm", LABEL);
        let seal::Means::Pkcs11(settings) = &mut custodian.means else { panic!("a token") };
        change(settings);
        vec![custodian]
    };
    check("slots", vec![bench.custodian("hsm", LABEL)]);
    check("/slots", vec![bench.custodian("hsm", LABEL), bench.custodian("hsm", "second")]);
    check("/slots", with(&|settings| settings.module = "libsofthsm2.so".into()));
    check("/slots", with(&|settings| settings.token = TokenName::Label(String::new())));
    check("/slots", with(&|settings| settings.key.label = "k".repeat(257)));
    check("/slots", with(&|settings| settings.key.id = Some(Vec::new())));
}
