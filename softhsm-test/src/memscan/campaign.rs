//! The memory campaign of a core: through all its states, looked at in each.

use std::fs;

use crate::memscan::forms::{Class, Needles};
use crate::memscan::harvest::harvest;
use crate::memscan::load::Besides;
use crate::memscan::look::Look;
use crate::memscan::table::Table;
use crate::{Core, People, wait_for};

/// KMIP requests of every kind.
const UNDER_LOAD: &str = "under load";
/// The same, and tenants made and slots verified without a pause, which needs IVK and MasterKey all the time.
const ADMINISTERED: &str = "administered";
/// Characters of a shard's text that are the same in many: the prefix, and the ids of cluster and split.
const SHARD_HEAD_BYTES: usize = 72;
/// Classes of the keys that a core has.
const CLASSES: usize = 10;

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
    by_people(&mut core, &mut look);
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

/// A core that people open: their shards come in by a way of their own, and wait in it for one another.
fn by_people(core: &mut Core, look: &mut Look) {
    const NAMES: [&str; 3] = ["anna", "ben", "clara"];
    let people = People::new(&NAMES);
    let config = fs::read_to_string(core.config()).expect("dev has written it");
    fs::write(core.config(), config + &people.custodians(&NAMES, 2)).expect("the folder is ours");
    core.start();
    let _added = core.ask(&["slot", "add", "--custodian", "board"]);
    let mut shards = Needles::default();
    for name in NAMES {
        let text = people.shard(core, "board", name);
        let packed: Vec<u8> = text.iter().copied().filter(u8::is_ascii_alphanumeric).collect();
        // Behind what all shards begin with.
        [&text[SHARD_HEAD_BYTES..], &packed[SHARD_HEAD_BYTES..]].into_iter().for_each(|form| shards.raw(Class::Shard, form));
    }
    look.search_also_for(&shards);
    let before = descriptors(core);
    let given = |names: &[&str], outcome: &str| {
        assert_eq!(people.give(core, "board", names), outcome);
        assert!(wait_for(|| descriptors(core) <= before), "the connection that brought the shard is still there");
    };
    given(&NAMES, "listed");
    wait_for_sweep(core, None);
    look.idle("shards read back", core);
    let _sealed = core.ask(&["seal"]);
    core.pull_token();
    given(&NAMES[..1], "collecting");
    look.idle("one shard of two given", core);
    let swept = swept(core);
    given(&NAMES[1..2], "unsealed");
    wait_for_sweep(core, swept.as_deref());
    look.idle("unsealed by people", core);
    let _sealed = core.ask(&["seal"]);
    look.once("sealed, people's", core);
    core.return_token();
    core.stop();
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
