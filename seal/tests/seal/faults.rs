//! Adding a slot while the device fails, the daemon dies or the disk refuses: the slots are as before, or complete.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use hsm::Device;
use seal::{Error, SlotId};

use crate::fake::{Fault, Faulty};
use crate::fixture::{Bench, add, expected, is_master};

/// Repeats `add` with the fault at the first job, the second, and so on, until it succeeds; returns how often it did not.
fn fail_at_each_job(bench: &Bench, fault: Fault) -> usize {
    for jobs in 0.. {
        let device: Arc<dyn Device> = Arc::new(Faulty { inner: Arc::clone(&bench.device), left: AtomicUsize::new(jobs), fault });
        let seal = bench.seal_on(&device);
        let added = catch_unwind(AssertUnwindSafe(|| add(&seal, "spare", "hsm")));
        if matches!(added, Ok(Ok(_))) {
            return jobs;
        }
        let listing = bench.seal().list().expect("readable");
        assert!(listing.slots.len() == 1 && listing.unreadable.is_empty(), "after {jobs} jobs");
        assert!(is_master(&bench.seal().unseal(expected(), None).expect("the old slot opens").master), "after {jobs} jobs");
    }
    unreachable!("there are fewer jobs than numbers")
}

#[test]
fn a_device_that_fails_at_any_job_leaves_the_slots_as_they_were() {
    let bench = Bench::with_slot();
    // Describe and protect; describe and open once more.
    assert_eq!(fail_at_each_job(&bench, Fault::TimesOut), 4);
    assert_eq!(bench.seal().list().expect("readable").slots.len(), 2);
    assert!(bench.files(".new").is_empty());
}

#[test]
fn a_daemon_that_dies_at_any_job_leaves_the_slots_as_they_were() {
    let bench = Bench::with_slot();
    assert_eq!(fail_at_each_job(&bench, Fault::Dies), 4);
    assert_eq!(bench.seal().list().expect("readable").slots.len(), 2);
    assert!(bench.files(".new").is_empty(), "what the dead ones left is removed by the next");
}

#[test]
fn a_failed_first_slot_leaves_none_and_the_key_that_was_made_is_used() {
    let bench = Bench::new();
    for jobs in 0..6 {
        let device: Arc<dyn Device> =
            Arc::new(Faulty { inner: Arc::clone(&bench.device), left: AtomicUsize::new(jobs), fault: Fault::TimesOut });
        let failed = add(&bench.seal_on(&device), "primary", "hsm");
        if failed.is_ok() {
            break;
        }
        assert!(matches!(bench.seal().unseal(expected(), None), Err(Error::NoSlots { .. })), "after {jobs} jobs");
    }
    assert!(is_master(&bench.seal().unseal(expected(), None).expect("it opens").master));
}

#[test]
fn what_an_interrupted_writer_left_is_ignored_and_then_removed() {
    let bench = Bench::with_slot();
    let left = bench.slots_dir().join(format!("{}.new", SlotId::from_random([7; 16])));
    for content in [fs::read(bench.slot_file()).expect("readable"), b"half a slo".to_vec(), Vec::new()] {
        fs::write(&left, content).expect("writable");
        assert_eq!(bench.seal().list().expect("readable").slots.len(), 1);
        assert!(is_master(&bench.seal().unseal(expected(), None).expect("it opens").master));
    }
    add(&bench.seal(), "spare", "hsm").expect("the slot is made");
    assert!(!left.exists());
}

#[test]
fn a_place_where_slots_cannot_be_written_is_named() {
    let bench = Bench::new();
    fs::write(bench.slots_dir(), "not a directory").expect("writable");
    let error = add(&bench.seal(), "primary", "hsm").expect_err("there is no directory");
    assert!(matches!(&error, Error::Io { path, .. } if *path == bench.slots_dir()), "{error}");
    assert!(matches!(bench.seal().unseal(expected(), None), Err(Error::Io { .. })));
}
