//! Slot files that were planted, taken away or exchanged: named after unsealing.

use std::fs;
use std::sync::Arc;

use hsm::Device;
use keys::hierarchy::IntegrityKeys;
use seal::{Error, Seal, SlotId};

use crate::fake::FakeToken;
use crate::fixture::{Bench, MAKE, add, expected, integrity, master, new_slot, other_cluster, randomness};

/// Two slots, on record.
fn with_table() -> (Bench, Seal, SlotId) {
    let bench = Bench::new();
    let device: Arc<dyn Device> = Arc::new(FakeToken::default());
    let seal = bench.seal_on(&device);
    add(&seal, "primary", "hsm").expect("the slot is made");
    let spare = add(&seal, "spare", "hsm").expect("the slot is made");
    seal.check_table(&integrity()).expect("nothing has changed");
    (bench, seal, spare.header.id)
}

fn mismatch(seal: &Seal) -> (Vec<SlotId>, Vec<SlotId>, Vec<SlotId>) {
    match seal.check_table(&integrity()) {
        Err(Error::TableMismatch { added, removed, changed }) => (added, removed, changed),
        other => panic!("no mismatch: {other:?}"),
    }
}

fn file(bench: &Bench, slot: SlotId) -> std::path::PathBuf {
    bench.slots_dir().join(format!("{slot}.slot"))
}

#[test]
fn a_slot_that_was_taken_away_is_named() {
    let (bench, seal, spare) = with_table();
    fs::remove_file(file(&bench, spare)).expect("it is there");
    assert_eq!(mismatch(&seal), (vec![], vec![spare], vec![]));
    assert!(seal.check_table(&integrity()).expect_err("it differs").to_string().contains(&format!("removed {spare}")));
}

#[test]
fn a_slot_that_was_planted_is_named_though_it_cannot_be_read() {
    let (bench, seal, _) = with_table();
    let planted = SlotId::from_random([7; 16]);
    fs::write(file(&bench, planted), "not a slot").expect("writable");
    assert_eq!(mismatch(&seal), (vec![planted], vec![], vec![]));
}

#[test]
fn a_slot_that_was_exchanged_is_named() {
    let (bench, seal, spare) = with_table();
    let mut bytes = fs::read(file(&bench, spare)).expect("readable");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    fs::write(file(&bench, spare), bytes).expect("writable");
    assert_eq!(mismatch(&seal), (vec![], vec![], vec![spare]));
    fs::remove_file(file(&bench, spare)).expect("it is there");
    fs::create_dir(file(&bench, spare)).expect("writable");
    assert_eq!(mismatch(&seal), (vec![], vec![], vec![spare]));
}

#[test]
fn a_slot_that_is_added_or_removed_is_on_record() {
    let (_bench, seal, spare) = with_table();
    add(&seal, "third", "hsm").expect("the slot is made");
    seal.check_table(&integrity()).expect("it is on record");
    let removed = seal.remove("spare", expected(), (&master(), &integrity()), None).expect("others open");
    assert_eq!((removed.id, removed.slot.map(|slot| slot.header.id)), (spare, Some(spare)));
    seal.check_table(&integrity()).expect("it is on record");
    let labels: Vec<String> = seal.list().expect("readable").slots.iter().map(|slot| slot.header.label.to_string()).collect();
    assert_eq!(labels, ["primary", "third"]);
}

#[test]
fn a_table_that_is_missing_altered_or_another_clusters_is_not_believed() {
    let (bench, seal, _) = with_table();
    let table = bench.slots_dir().join("table.mac");
    let good = fs::read(&table).expect("readable");
    for altered in [&good[..good.len() - 1], &good[..3], &[], &[&good[..], &[0]].concat()] {
        fs::write(&table, altered).expect("writable");
        assert!(matches!(seal.check_table(&integrity()), Err(Error::TableForged { .. })), "{} bytes", altered.len());
    }
    fs::remove_file(&table).expect("it is there");
    assert!(matches!(seal.check_table(&integrity()), Err(Error::TableMissing { .. })));
    let foreign = IntegrityKeys::new(other_cluster(), &[0x1C; 32]).expect("the arena has room");
    seal.add(new_slot("third", "hsm"), (&master(), &foreign), &randomness(), MAKE).expect("the slot is made");
    assert!(matches!(seal.check_table(&integrity()), Err(Error::TableForged { .. })));
}

#[test]
fn a_table_that_cannot_be_written_leaves_the_earlier_one() {
    let (bench, seal, _) = with_table();
    fs::create_dir(bench.slots_dir().join("table.new")).expect("writable");
    assert!(matches!(add(&seal, "third", "hsm"), Err(Error::Io { .. })));
    assert!(matches!(seal.remove("spare", expected(), (&master(), &integrity()), None), Err(Error::Io { .. })));
    seal.check_table(&integrity()).expect("the earlier table is there");
    assert_eq!(seal.list().expect("readable").slots.len(), 2);
}
