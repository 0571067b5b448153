//! Slot files that are altered, cut, moved, of other clusters or of later releases: refused by name, left as they are, never a panic.

use std::fs;
use std::sync::Arc;

use hsm::{Device, Refusal};
use keys::hierarchy::MasterKey;
use seal::{Error, Expected, NewSlot, Seal, SlotId};

use crate::fake::FakeToken;
use crate::fixture::{
    Bench, MAKE, add, expected, failure, integrity, is_master, master, new_slot, opened, other_cluster, randomness, refusal,
};

/// A slot on a fake token, which bears the thousands of tries.
fn on_fake_token() -> (Bench, Arc<FakeToken>, Seal) {
    let (bench, token) = (Bench::new(), Arc::new(FakeToken::default()));
    let device: Arc<dyn Device> = Arc::clone(&token) as Arc<dyn Device>;
    let seal = bench.seal_on(&device);
    add(&seal, "primary", "hsm").expect("the slot is made");
    (bench, token, seal)
}

#[test]
fn every_flipped_bit_is_refused_by_name() {
    let (bench, _, seal) = on_fake_token();
    let (file, good) = (bench.slot_file(), fs::read(bench.slot_file()).expect("readable"));
    for bit in 0..good.len() * 8 {
        let mut altered = good.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &altered).expect("writable");
        let error = failure(seal.unseal(Expected::default(), None));
        let named = match &error {
            Error::Corrupt { .. } | Error::NewerFormat { .. } | Error::KindNotBuilt { .. } | Error::Misnamed { .. } => true,
            Error::NoCustodian { .. } | Error::WrongKind { .. } | Error::WrongToken { .. } | Error::Forged => true,
            Error::Device { .. } => matches!(refusal(error), Refusal::BadCiphertext | Refusal::KeyMissing { .. }),
            _ => false,
        };
        assert!(named, "bit {bit}");
    }
    fs::write(&file, &good).expect("writable");
    assert!(is_master(&seal.unseal(Expected::default(), None).expect("it opens").master));
}

#[test]
fn a_real_token_refuses_alterations_of_every_part_and_opens_afterwards() {
    let bench = Bench::with_slot();
    let (file, good) = (bench.slot_file(), fs::read(bench.slot_file()).expect("readable"));
    for byte in (0..good.len()).step_by(11) {
        let mut altered = good.clone();
        altered[byte] ^= 1;
        fs::write(&file, &altered).expect("writable");
        failure(bench.seal().unseal(Expected::default(), None));
    }
    fs::write(&file, &good).expect("writable");
    assert!(is_master(&bench.seal().unseal(expected(), None).expect("it opens").master));
    assert_eq!(bench.hsm.latches(), 0);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let (bench, _, seal) = on_fake_token();
    let (file, good) = (bench.slot_file(), fs::read(bench.slot_file()).expect("readable"));
    for cut in 0..good.len() {
        fs::write(&file, &good[..cut]).expect("writable");
        assert!(matches!(failure(seal.unseal(expected(), None)), Error::Corrupt { .. }), "cut at {cut}");
    }
}

#[test]
fn a_broken_first_slot_does_not_keep_the_second_from_opening() {
    let bench = Bench::with_slot();
    let first = bench.slot_file();
    add(&bench.seal(), "spare", "hsm").expect("the slot is made");
    let good = fs::read(&first).expect("readable");
    // In the manifest hash, so that only the MasterKey's own seal shows it.
    let mut altered = good.clone();
    *altered.last_mut().expect("it is not empty") ^= 1;
    fs::write(&first, &altered).expect("writable");
    let back = bench.seal().unseal(expected(), None).expect("the second slot opens");
    assert!(is_master(&back.master));
    assert!(matches!(&back.attempts[..], [first, second] if matches!(first.failure, Some(Error::Forged)) && opened(second)));
    // Unreadable, so that it is not even tried.
    fs::write(&first, &good[..40]).expect("writable");
    let back = bench.seal().unseal(expected(), None).expect("the second slot opens");
    assert!(matches!((&back.attempts[..], &back.unreadable[..]), ([only], [file]) if opened(only) && first.ends_with(&file.file)));
}

#[test]
fn slots_of_another_cluster_or_generation_are_refused_without_asking_a_device() {
    let (_bench, token, seal) = on_fake_token();
    let before = token.jobs();
    let elsewhere = Expected { cluster: Some(other_cluster()), ..expected() };
    assert!(matches!(failure(seal.unseal(elsewhere, None)), Error::WrongCluster { wants, .. } if wants == other_cluster()));
    let later = Expected { generation: Some(2), ..expected() };
    assert!(matches!(failure(seal.unseal(later, None)), Error::WrongGeneration { is: 1, wants: 2 }));
    assert!(matches!(seal.verify("primary", elsewhere, MAKE), Err(Error::WrongCluster { .. })));
    assert_eq!(token.jobs(), before);
}

#[test]
fn a_slot_is_not_added_among_those_of_another_cluster() {
    let (bench, _, seal) = on_fake_token();
    let foreign = NewSlot { cluster: other_cluster(), ..new_slot("foreign", "hsm") };
    assert!(matches!(seal.add(foreign, (&master(), &integrity()), &randomness(), MAKE), Err(Error::WrongCluster { .. })));
    assert_eq!(bench.files("").len(), 2, "the slot and the table");
}

#[test]
fn a_slot_of_a_later_release_is_named_and_left_untouched() {
    let (bench, _, seal) = on_fake_token();
    let (file, mut later) = (bench.slot_file(), fs::read(bench.slot_file()).expect("readable"));
    later[5] = 2;
    later.extend_from_slice(b"fields of the future");
    fs::write(&file, &later).expect("writable");
    let error = seal.unseal(expected(), None).expect_err("this release cannot read it").to_string();
    assert!(error.contains("format 2 is newer"), "{error}");
    add(&seal, "primary", "hsm").expect("the slot is made");
    let listing = seal.list().expect("readable");
    assert_eq!((listing.slots.len(), listing.unreadable.len()), (1, 1));
    assert_eq!(fs::read(&file).expect("readable"), later);
}

#[test]
fn a_copied_slot_file_is_not_a_second_slot() {
    let (bench, _, seal) = on_fake_token();
    let copy = bench.slots_dir().join(format!("{}.slot", SlotId::from_random([7; 16])));
    fs::copy(bench.slot_file(), &copy).expect("writable");
    fs::copy(&copy, bench.slots_dir().join("backup.slot")).expect("writable");
    let listing = seal.list().expect("readable");
    assert_eq!(listing.slots.len(), 1);
    let reasons: Vec<_> = listing.unreadable.iter().map(|file| &file.why).collect();
    assert!(matches!(reasons[..], [Error::Misnamed { .. }, Error::Invalid { .. }] | [Error::Invalid { .. }, Error::Misnamed { .. }]));
}

#[test]
fn what_is_no_slot_file_is_ignored_or_named_and_never_read_whole() {
    let (bench, _, seal) = on_fake_token();
    let named = |byte: u8| bench.slots_dir().join(format!("{}.slot", SlotId::from_random([byte; 16])));
    fs::write(bench.slots_dir().join("notes.txt"), "not a slot").expect("writable");
    fs::create_dir(named(1)).expect("writable");
    let huge = fs::File::create(named(2)).expect("writable");
    huge.set_len(1 << 40).expect("a sparse file");
    let listing = seal.list().expect("readable");
    assert_eq!((listing.slots.len(), listing.unreadable.len()), (1, 2));
    for file in &listing.unreadable {
        assert!(matches!(file.why, Error::Corrupt { .. }), "{}", file.why);
    }
}

#[test]
fn the_generation_that_is_asked_for_decides_which_slot_opens() {
    let (_bench, _, seal) = on_fake_token();
    let other = randomness();
    let fresh = MasterKey::generate(&other).expect("there is randomness");
    let later = NewSlot { generation: 2, ..new_slot("rekeyed", "hsm") };
    seal.add(later, (&fresh, &integrity()), &other, MAKE).expect("the slot is made");
    let back = seal.unseal(Expected { generation: Some(2), ..expected() }, None).expect("the new slot opens");
    assert!(!is_master(&back.master));
    assert_eq!(back.slot.header.label.as_str(), "rekeyed");
    assert!(is_master(&seal.unseal(expected(), None).expect("the old slot opens").master));
}
