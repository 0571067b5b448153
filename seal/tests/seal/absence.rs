//! What is not there, or is another one than before: the token, its key, the custodian, the slots.

use hsm::Refusal;
use seal::{Consent, Error, Residency};
use softhsm_test::LABEL;

use crate::fixture::{Bench, add, expected, failure, is_master, label, opened, refusal};

#[test]
fn a_token_that_was_taken_away_is_named_and_opens_after_its_return() {
    let bench = Bench::with_slot();
    bench.hsm.pull();
    assert!(matches!(refusal(failure(bench.seal().unseal(expected(), None))), Refusal::TokenMissing { .. }));
    let probes = bench.seal().probe(expected()).expect("the directory is there");
    assert!(matches!(Residency::of(&probes), Residency::Resident { .. }));
    bench.hsm.put_back();
    assert!(is_master(&bench.seal().unseal(expected(), None).expect("it opens").master));
    let probes = bench.seal().probe(expected()).expect("the directory is there");
    assert_eq!(Residency::of(&probes), Residency::WipedAfterJobs);
    assert_eq!(bench.hsm.latches(), 0);
}

#[test]
fn when_a_token_is_destroyed_the_probe_tells_and_the_other_slot_opens() {
    let bench = Bench::with_slot();
    bench.hsm.add_token("second");
    let seal = bench.seal_with(vec![bench.custodian("hsm", LABEL), bench.custodian("spare", "second")]);
    add(&seal, "spare", "spare").expect("the slot is made");
    assert!(seal.probe(expected()).expect("the directory is there").iter().all(opened));
    bench.hsm.delete_token(LABEL);
    let probes = seal.probe(expected()).expect("the directory is there");
    let outcomes: Vec<_> = probes.iter().map(|probe| (probe.label.as_str(), opened(probe))).collect();
    assert_eq!(outcomes, [("primary", false), ("spare", true)]);
    assert_eq!(Residency::of(&probes), Residency::WipedAfterJobs);
    let back = seal.unseal(expected(), None).expect("the second slot opens");
    assert!(is_master(&back.master));
    assert_eq!(back.slot.header.label, label("spare"));
    assert!(matches!(&back.attempts[..], [first, second] if !opened(first) && opened(second)));
}

#[test]
fn a_token_of_the_same_label_is_not_sent_the_pin() {
    let bench = Bench::with_slot();
    bench.hsm.delete_token(LABEL);
    bench.hsm.add_token(LABEL);
    // Its PIN would be wrong here, and a wrong one is what would leave a latch.
    bench.hsm.write_pin("not-the-pin");
    assert!(matches!(failure(bench.seal().unseal(expected(), None)), Error::WrongToken { is, wants, .. } if is != wants));
    assert_eq!(bench.hsm.latches(), 0);
}

#[test]
fn a_slot_whose_custodian_is_not_configured_names_it_and_is_probed() {
    let bench = Bench::with_slot();
    let renamed = bench.seal_with(vec![bench.custodian("renamed", LABEL)]);
    assert!(matches!(failure(renamed.unseal(expected(), None)), Error::NoCustodian { name } if name == label("hsm")));
    let probes = renamed.probe(expected()).expect("the directory is there");
    assert!(matches!(&probes[..], [probe] if !opened(probe)));
    assert!(matches!(renamed.verify("primary", expected(), Consent::default()), Err(Error::NoCustodian { .. })));
    assert!(matches!(add(&bench.seal(), "other", "unknown"), Err(Error::NoCustodian { .. })));
}

#[test]
fn without_slots_the_next_step_is_named() {
    let bench = Bench::new();
    let error = bench.seal().unseal(expected(), None).expect_err("there is no slot");
    assert!(matches!(error, Error::NoSlots { .. }));
    assert!(error.to_string().contains("strongroom init"));
    assert!(bench.seal().list().expect("an absent directory is empty").slots.is_empty());
}
