//! The memory campaign of a core: through all its states, looked at in each.

use std::fs;

use crate::memscan::forms::{Class, Needles};
use crate::memscan::harvest::harvest;
use crate::memscan::load::Besides;
use crate::memscan::look::Look;
use crate::memscan::table::Table;
use crate::{Core, wait_for};

/// KMIP requests of every kind.
const UNDER_LOAD: &str = "under load";
/// The same, and tenants made and slots verified without a pause, which needs IVK and MasterKey all the time.
const ADMINISTERED: &str = "administered";
/// Classes of the keys that a core has.
const CLASSES: usize = 9;

/// What a core's states may show (C15).
fn samples_max(state: &str, class: Class, samples: u64) -> u64 {
    match (state, class) {
        (UNDER_LOAD, Class::MasterKey | Class::Ivk | Class::IntegrityKey | Class::SlotKey | Class::Pin) => 0,
        (UNDER_LOAD | ADMINISTERED, _) => rarely(samples),
        _ => 0,
    }
}

/// A key that is used is in the clear for microseconds; few samples say little about a rate, so a few hits are let pass.
pub(super) fn rarely(samples: u64) -> u64 {
    (samples / 100).max(3)
}

/// Takes a core through its states, with `samples` samples under load.
///
/// # Panics
/// If the scanner does not find what is planted or known to be there; if the core does not do its work.
#[must_use]
pub fn memory_campaign(samples: u64) -> Table {
    let mut core = Core::prepared();
    let mut look = Look::new(&harvest(&core), samples_max);

    core.start();
    let key = core.value("L3_ID");
    wait_for_sweep(&core, None);
    look.idle("unsealed", &core);
    look.under_load(UNDER_LOAD, samples, &core, &key, &Besides::Nothing);
    look.under_load(ADMINISTERED, samples / 5, &core, &key, &Besides::Operator);
    look.idle("idle after load", &core);
    // The keys that the load has made.
    look.search_also_for(&harvest(&core));
    look.idle("idle, new keys too", &core);
    look.core_image("core image", &core);

    let _sealed = core.ask(&["seal"]);
    // At once: on a machine that is not busy, long before the second is over that C15 allows.
    look.once("sealed", &core);
    look.core_image("core image, sealed", &core);

    typed_pin(&core, &mut look);
    core.stop();
    look.files("files after TERM", &core);
    wrong_pin(&mut core, &mut look);
    assert_eq!(look.table.classes().count(), CLASSES, "not all of a core's keys were searched for");
    look.table
}

/// A PIN that a person types takes another way in than one from a credential.
fn typed_pin(core: &Core, look: &mut Look) {
    let pin = core.credential();
    let (before, swept) = (descriptors(core), swept(core));
    let _unsealed = core.ask(&["unseal", "--custodian", "softhsm", "--pin-file", &pin.display().to_string()]);
    assert!(wait_for(|| descriptors(core) <= before), "the connection that brought the PIN is still there");
    wait_for_sweep(core, swept.as_deref());
    look.idle("unsealed by typed PIN", core);
    let _sealed = core.ask(&["seal"]);
    look.once("sealed again", core);
}

/// When the last sweep of the keystore ended.
fn swept(core: &Core) -> Option<String> {
    let status: serde_json::Value = serde_json::from_str(&core.status()).ok()?;
    status["swept"].as_str().map(str::to_owned)
}

/// Each unseal is followed by a sweep, which is work: a core is idle once it has ended.
fn wait_for_sweep(core: &Core, before: Option<&str>) {
    assert!(wait_for(|| swept(core).is_some_and(|now| Some(&*now) != before)), "no sweep has ended since the unseal");
}

/// How many files, pipes and sockets the core has open.
fn descriptors(core: &Core) -> usize {
    fs::read_dir(format!("/proc/{}/fd", core.pid())).expect("it runs").count()
}

/// A core that was given a wrong PIN stays sealed and keeps nothing of the try.
fn wrong_pin(core: &mut Core, look: &mut Look) {
    const WRONG: &str = "a-pin-of-nobody!";
    let mut wrong = Needles::default();
    wrong.raw(Class::Pin, WRONG.as_bytes());
    look.search_also_for(&wrong);
    let _right = core.write_pin(WRONG);
    core.start();
    look.idle("refused PIN", core);
    core.stop();
}
