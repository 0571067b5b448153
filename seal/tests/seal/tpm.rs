//! Slots of a real TPM (swtpm) beside those of a token: approvals, and what opens when a device is gone.

use hsm::{APPROVALS_MAX, Refusal, Tpm};
use keys::id::Time;
use seal::{
    Approval, Consent, CustodianSettings, Error, Means, NewSlot, PinSource, Platform, ReleaseSigner, Seal, Slot, SlotId, State,
    Tpm2Settings, TypedPin,
};
use softhsm_test::{LABEL, PIN, Swtpm};

use crate::fixture::{
    Bench, MAKE, add, expected, failure, failures, integrity, is_master, label, master, new_slot, opened, pin, randomness, refusal,
};

/// ECDSA keys on P-256 that are not secret: of these tests. PKCS #8 in DER, made by openssl.
const RELEASE_KEY: &[u8] = include_bytes!("../golden/release-key.der");
const OTHER_KEY: &[u8] = include_bytes!("../golden/other-key.der");

/// The register that these tests' approvals speak of.
const PCR: u8 = 7;

fn signer() -> ReleaseSigner {
    ReleaseSigner::from_pkcs8(RELEASE_KEY).expect("a key on P-256")
}

fn custodian(tpm: &Swtpm) -> CustodianSettings {
    with_pin(tpm, None)
}

fn with_pin(tpm: &Swtpm, pin: Option<PinSource>) -> CustodianSettings {
    let settings = Tpm2Settings { tpm: Tpm { tcti: tpm.tcti() }, pcrs: vec![PCR], pin };
    CustodianSettings { name: label("tpm"), region: None, means: Means::Tpm2(settings) }
}

fn both(bench: &Bench, tpm: &Swtpm) -> Seal {
    bench.seal_with(vec![bench.custodian("hsm", LABEL), custodian(tpm)])
}

/// An approval of the present state.
fn approval(seal: &Seal, signer: &ReleaseSigner, slot: SlotId, at: i64) -> Approval {
    let Platform { pcrs, digest } = seal.platform(&label("tpm"), None).expect("the TPM answers");
    Approval::sign(signer, State { slot, policy_gen: 1, pcrs, digest }, Time::from_seconds(at), label("state")).expect("it signs")
}

fn add_tpm(seal: &Seal, approval: Approval) -> Result<Slot, Error> {
    let new = NewSlot { approval: Some(approval), ..new_slot("platform", "tpm") };
    seal.add(new, (&master(), &integrity()), &randomness(), MAKE)
}

fn slot_id(byte: u8) -> SlotId {
    SlotId::from_bytes([byte; 16])
}

/// A bench with a slot on its token and one on a TPM, which outlives it.
fn with_both(tpm: &Swtpm) -> (Bench, Seal) {
    let bench = Bench::with_slot();
    let seal = both(&bench, tpm);
    let first = approval(&seal, &signer(), slot_id(7), 0);
    assert_eq!(add_tpm(&seal, first).expect("the slot is made").header.id, slot_id(7));
    (bench, seal)
}

#[test]
fn each_of_two_devices_opens_when_the_other_is_gone() {
    let mut tpm = Swtpm::new();
    let (bench, seal) = with_both(&tpm);
    assert_eq!(seal.list().expect("readable").too_few(), None, "two devices are independent");
    assert!(seal.probe(expected()).expect("readable").iter().all(opened));
    bench.hsm.pull();
    let back = seal.unseal(expected(), None).expect("the TPM opens");
    assert!(is_master(&back.master) && back.slot.header.label == label("platform"));
    bench.hsm.put_back();
    tpm.stop();
    let back = seal.unseal(expected(), None).expect("the token opens");
    assert!(is_master(&back.master) && back.slot.header.label == label("primary"));
    let probes = seal.probe(expected()).expect("readable");
    assert_eq!(probes.iter().filter(|probe| opened(probe)).count(), 1);
    bench.hsm.pull();
    let why = failures(seal.unseal(expected(), None));
    assert_eq!(why.len(), 2, "{why:?}");
    tpm.start();
    assert!(is_master(&seal.unseal(expected(), None).expect("the TPM is back").master));
}

#[test]
fn two_slots_of_one_tpm_are_lost_together() {
    let tpm = Swtpm::new();
    let bench = Bench::new();
    let seal = bench.seal_with(vec![custodian(&tpm)]);
    let one = approval(&seal, &signer(), slot_id(1), 0);
    add_tpm(&seal, one).expect("the slot is made");
    let two = approval(&seal, &signer(), slot_id(2), 0);
    let new = NewSlot { approval: Some(two), ..new_slot("the same again", "tpm") };
    seal.add(new, (&master(), &integrity()), &randomness(), MAKE).expect("the slot is made");
    assert_eq!(seal.list().expect("readable").too_few().map(|few| few.independent), Some(1));
}

#[test]
fn a_slot_that_would_not_open_is_not_made_and_leaves_nothing() {
    let tpm = Swtpm::new();
    let bench = Bench::with_slot();
    let seal = both(&bench, &tpm);
    let good = approval(&seal, &signer(), slot_id(7), 0);
    let left = || (bench.files(".slot").len(), bench.files(".approval").len(), bench.files(".new").len());

    assert!(matches!(add(&seal, "platform", "tpm"), Err(Error::ApprovalNeeded { .. })));
    let of_another_state = State { digest: [9; 32], ..good.state.clone() };
    let of_another_state = Approval::sign(&signer(), of_another_state, good.created, good.note.clone()).expect("it signs");
    let refused = add_tpm(&seal, of_another_state).expect_err("the platform is in another state");
    assert!(matches!(refusal(refused), Refusal::NotApproved { states } if states == [(vec![PCR], good.state.digest)]));
    let misused = NewSlot { approval: Some(good.clone()), ..new_slot("second", "hsm") };
    assert!(matches!(seal.add(misused, (&master(), &integrity()), &randomness(), MAKE), Err(Error::Invalid { field: "approval", .. })));
    assert_eq!(left(), (1, 0, 0));

    add_tpm(&seal, good.clone()).expect("the slot is made");
    assert_eq!(left(), (2, 1, 0));
    let again = NewSlot { approval: Some(good), ..new_slot("again", "tpm") };
    assert!(
        matches!(seal.add(again, (&master(), &integrity()), &randomness(), MAKE), Err(Error::SlotExists { slot }) if slot == slot_id(7))
    );
    assert_eq!(left(), (2, 1, 0), "the first one's approval stays");
    assert!(matches!(seal.platform(&label("hsm"), None), Err(Error::NoPlatform { .. })));
}

#[test]
fn an_approval_counts_for_its_slot_and_policy_when_the_release_key_has_signed_it() {
    let tpm = Swtpm::new();
    let (bench, seal) = with_both(&tpm);
    bench.hsm.pull();
    tpm.extend(PCR);
    let why = failures(seal.unseal(expected(), None));
    assert!(why.into_iter().any(|why| matches!(why, Error::Device { .. } if matches!(refusal(why), Refusal::NotApproved { .. }))));

    let now = approval(&seal, &signer(), slot_id(7), 1);
    let other = ReleaseSigner::from_pkcs8(OTHER_KEY).expect("a key on P-256");
    assert!(matches!(seal.approve(&approval(&seal, &other, slot_id(7), 1)), Err(Error::ApprovalUnfit { .. })));
    assert!(matches!(seal.approve(&approval(&seal, &signer(), slot_id(8), 1)), Err(Error::NoSuchSlot { .. })));
    let later = State { policy_gen: 2, ..now.state.clone() };
    let later = Approval::sign(&signer(), later, now.created, now.note.clone()).expect("it signs");
    assert!(matches!(seal.approve(&later), Err(Error::ApprovalUnfit { .. })));
    let primary = seal.list().expect("readable").find("primary").expect("it is there").header.id;
    assert!(matches!(seal.approve(&approval(&seal, &signer(), primary, 1)), Err(Error::ApprovalUnfit { .. })));
    assert_eq!(seal.approvals("platform").expect("readable").len(), 1);

    seal.approve(&now).expect("it fits");
    seal.approve(&now).expect("the same again changes nothing");
    let kept = seal.approvals("platform").expect("readable");
    assert_eq!((kept.len(), kept.last()), (2, Some(&now)));
    assert!(is_master(&seal.unseal(expected(), None).expect("the TPM opens again").master));

    // A damaged one beside it shuts out nobody else.
    let files = bench.files(".approval");
    std::fs::write(&files[0], b"no approval").expect("writable");
    std::fs::write(&files[1], b"no approval").expect("writable");
    assert!(seal.unseal(expected(), None).is_err(), "none is left");
    seal.approve(&now).expect("it fits");
    assert!(is_master(&seal.unseal(expected(), None).expect("the TPM opens again").master));
}

#[test]
fn a_slot_has_no_more_approvals_than_a_job_takes() {
    let tpm = Swtpm::new();
    let (_bench, seal) = with_both(&tpm);
    for number in 1..APPROVALS_MAX {
        seal.approve(&approval(&seal, &signer(), slot_id(7), i64::try_from(number).expect("a small number"))).expect("there is room");
    }
    assert!(seal.unseal(expected(), None).is_ok());
    assert!(seal.verify("platform", expected(), MAKE).is_ok(), "as many as there may be");
    let further = approval(&seal, &signer(), slot_id(7), 1_000);
    assert!(matches!(seal.approve(&further), Err(Error::ApprovalUnfit { .. })));
}

#[test]
fn a_pin_is_asked_for_in_an_approved_state_too_and_a_wrong_one_is_tried_once() {
    let tpm = Swtpm::new();
    let bench = Bench::new();
    let credential = || PinSource::Credential(bench.hsm.pin_file());
    let seal = bench.seal_with(vec![with_pin(&tpm, Some(credential()))]);
    let first = approval(&seal, &signer(), slot_id(7), 0);
    add_tpm(&seal, first).expect("the slot is made");
    let probes = seal.probe(expected()).expect("readable");
    assert!(matches!(&probes[..], [probe] if opened(probe) && probe.unattended));

    // Without a credential it needs a person, and is no probe's to open.
    let typed = bench.seal_with(vec![with_pin(&tpm, Some(PinSource::Typed))]);
    assert!(matches!(failure(typed.unseal(expected(), None)), Error::NeedsPin { .. }));
    assert!(typed.probe(expected()).expect("readable").is_empty());
    let (custodian, pin) = (label("tpm"), pin(PIN));
    let by_hand = TypedPin { custodian: &custodian, pin: &pin, retry_pin: false };
    assert!(is_master(&typed.unseal(expected(), Some(by_hand)).expect("the PIN is right").master));
    // That the slot has a PIN is in the slot: a configuration without one does not open it.
    let forgotten = bench.seal_with(vec![with_pin(&tpm, None)]);
    assert!(matches!(failure(forgotten.unseal(expected(), None)), Error::NeedsPin { .. }));

    bench.hsm.write_pin("another-pin");
    assert!(matches!(refusal(failure(seal.unseal(expected(), None))), Refusal::WrongPin { .. }));
    assert!(matches!(refusal(failure(seal.unseal(expected(), None))), Refusal::Latched { .. }));
    assert_eq!(tpm.lockout_counter(), 1, "the TPM has seen one try");
    bench.hsm.write_pin(PIN);
    assert!(matches!(refusal(failure(seal.unseal(expected(), None))), Refusal::Latched { .. }));
    seal.verify("platform", expected(), Consent { retry_pin: true, ..Consent::default() }).expect("a person allows one try");
    assert!(is_master(&seal.unseal(expected(), None).expect("the latch is gone").master));
}
