//! Slots whose key lies in shards on real tokens and a real TPM.

use std::fs;

use hsm::Tpm;
use keys::id::Time;
use seal::{
    Approval, Consent, CustodianSettings, Error, Means, NewSlot, Platform, ReleaseSigner, Residency, Seal, ShamirSettings, SlotId, State,
    Tpm2Settings,
};
use softhsm_test::{LABEL, Swtpm};

use crate::fixture::{Bench, MAKE, add, expected, failure, integrity, is_master, label, master, new_slot, opened, randomness};

/// Tokens that keep a shard each, beside the first.
const OTHERS: [&str; 2] = ["second", "third"];

fn shards(threshold: u8, keepers: &[&str]) -> CustodianSettings {
    let keepers = keepers.iter().map(|keeper| label(keeper)).collect();
    CustodianSettings { name: label("shards"), region: None, means: Means::Shamir(ShamirSettings { threshold, keepers }) }
}

fn tokens(bench: &Bench) -> Vec<CustodianSettings> {
    vec![bench.custodian("a", LABEL), bench.custodian("b", OTHERS[0]), bench.custodian("c", OTHERS[1])]
}

/// With tokens `a`, `b` and `c`, two of which open; in the order in which a configuration may have them.
fn two_of_three() -> (Bench, Seal) {
    let bench = Bench::new();
    OTHERS.into_iter().for_each(|token| bench.hsm.add_token(token));
    let mut custodians = vec![shards(2, &["a", "b", "c"])];
    custodians.extend(tokens(&bench));
    let seal = bench.seal_with(custodians);
    add(&seal, "recovery", "shards").expect("the slot is made");
    (bench, seal)
}

#[test]
fn any_two_of_three_tokens_open_and_one_does_not() {
    let (bench, seal) = two_of_three();
    assert!(is_master(&seal.unseal(expected(), None).expect("all are there").master));
    assert_eq!(seal.list().expect("readable").too_few(), None, "no one device is needed");
    let probes = seal.probe(expected()).expect("readable");
    assert!(matches!(&probes[..], [probe] if opened(probe) && probe.ailing.is_empty()));
    assert_eq!(Residency::of(&probes), Residency::WipedAfterJobs);

    bench.hsm.delete_token(LABEL);
    assert!(is_master(&seal.unseal(expected(), None).expect("two are left").master));
    let probes = seal.probe(expected()).expect("readable");
    assert!(matches!(&probes[..], [probe] if opened(probe) && probe.ailing.len() == 1 && probe.ailing[0].0 == label("a")), "{probes:?}");

    bench.hsm.delete_token(OTHERS[1]);
    let why = failure(seal.unseal(expected(), None));
    let told = why.to_string();
    assert!(matches!(&why, Error::TooFewShards { opened: 1, wants: 2, why } if why.len() == 2), "{told}");
    assert!(told.contains("`a`") && told.contains("`c`") && !told.contains("`b`"), "{told}");
    assert!(matches!(seal.verify("recovery", expected(), Consent::default()), Err(Error::TooFewShards { .. })));
}

#[test]
fn a_shard_of_another_split_is_named_and_the_others_open() {
    let (bench, seal) = two_of_three();
    add(&seal, "recoverz", "shards").expect("the slot is made");
    let files = bench.files(".slot");
    let [one, other] = [&files[0], &files[1]].map(|file| fs::read(file).expect("readable"));
    assert_eq!(one.len(), other.len());
    // Every byte of one slot in the place of the other's: none makes it open to anything else.
    for at in (0..one.len()).step_by(7) {
        let mut mixed = one.clone();
        mixed[at..].copy_from_slice(&other[at..]);
        fs::write(&files[0], &mixed).expect("writable");
        if let Ok(back) = seal.unseal(expected(), None) {
            assert!(is_master(&back.master), "byte {at}");
        }
    }
}

#[test]
fn a_tpm_keeps_a_shard_beside_tokens() {
    let mut tpm = Swtpm::new();
    let bench = Bench::new();
    bench.hsm.add_token(OTHERS[0]);
    let settings = Tpm2Settings { tpm: Tpm { tcti: tpm.tcti() }, pcrs: vec![7], pin: None };
    let custodians = vec![
        bench.custodian("a", LABEL),
        bench.custodian("b", OTHERS[0]),
        CustodianSettings { name: label("tpm"), region: None, means: Means::Tpm2(settings) },
        shards(2, &["a", "b", "tpm"]),
    ];
    let seal = bench.seal_with(custodians);
    assert!(matches!(add(&seal, "recovery", "shards"), Err(Error::ApprovalNeeded { name }) if name == label("tpm")));
    assert_eq!((bench.files(".slot").len(), bench.files(".approval").len()), (0, 0));
    let signer = ReleaseSigner::from_pkcs8(include_bytes!("../golden/release-key.der")).expect("a key on P-256");
    let Platform { pcrs, digest } = seal.platform(&label("tpm"), None).expect("the TPM answers");
    let state = State { slot: SlotId::from_bytes([7; 16]), policy_gen: 1, pcrs, digest };
    let approval = Approval::sign(&signer, state, Time::from_seconds(0), label("state")).expect("it signs");
    let new = NewSlot { approval: Some(approval), ..new_slot("recovery", "shards") };
    seal.add(new, (&master(), &integrity()), &randomness(), MAKE).expect("the slot is made");
    bench.hsm.delete_token(LABEL);
    assert!(is_master(&seal.unseal(expected(), None).expect("a token and the TPM are left").master));
    tpm.stop();
    assert!(matches!(failure(seal.unseal(expected(), None)), Error::TooFewShards { opened: 1, .. }));
}

#[test]
fn shards_that_would_be_lost_together_are_refused_and_leave_nothing() {
    let bench = Bench::new();
    bench.hsm.add_token(OTHERS[0]);
    // Two names of one token.
    let custodians = vec![bench.custodian("a", LABEL), bench.custodian("same", LABEL), shards(2, &["a", "same"])];
    let seal = bench.seal_with(custodians);
    assert!(matches!(add(&seal, "recovery", "shards"), Err(Error::Invalid { field: "keepers of shards", .. })));
    assert!(bench.files(".slot").is_empty() && bench.files(".new").is_empty());
    let made = |custodians| {
        let settings = seal::SealSettings { slots_dir: bench.slots_dir(), custodians };
        Seal::new(settings, &bench.device).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(made(vec![bench.custodian("a", LABEL), shards(2, &["a", "b"])]).contains("no custodian is called `b`"));
    assert!(made(vec![bench.custodian("a", LABEL), shards(1, &["a", "a"])]).contains("each once"));
    assert!(made(vec![bench.custodian("a", LABEL), bench.custodian("b", OTHERS[0]), shards(3, &["a", "b"])]).contains("threshold"));
    assert!(made(vec![bench.custodian("a", LABEL), bench.custodian("b", OTHERS[0]), shards(1, &["a", "b"])]).contains("threshold"));
}
