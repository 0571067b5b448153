//! The memory campaign: a core through all its states, looked at in each.

use std::fs;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use crate::memscan::forms::{Class, Needles};
use crate::memscan::harvest::harvest;
use crate::memscan::load::{Gauge, Load};
use crate::memscan::scanner::{Scanner, files_below};
use crate::memscan::table::Table;
use crate::{Core, wait_for};

/// Under load a core runs for so long between two samples; odd, so as not to keep step with any timer.
const BETWEEN_SAMPLES: Duration = Duration::from_millis(17);
/// Samples of a core that does nothing.
const IDLE_SAMPLES: u64 = 3;
/// Requests that make a core warm.
const WARM_REQUESTS: u64 = 300;

/// KMIP requests of every kind.
const UNDER_LOAD: &str = "under load";
/// The same, and tenants made and slots verified without a pause, which needs IVK and MasterKey all the time.
const ADMINISTERED: &str = "administered";

/// Samples with a hit that a state may have for a class (C15). A key that is used is in the clear for microseconds; few samples say little about
/// a rate, so a few hits are let pass.
fn samples_max(state: &str, class: Class, samples: u64) -> u64 {
    let rarely = (samples / 100).max(3);
    match (state, class) {
        (UNDER_LOAD, Class::MasterKey | Class::Ivk | Class::IntegrityKey | Class::SlotKey | Class::Pin) => 0,
        (UNDER_LOAD | ADMINISTERED, _) => rarely,
        _ => 0,
    }
}

/// Every state and class that shows more than it may.
#[must_use]
pub fn missed_goals(table: &Table) -> Vec<String> {
    let cells = table.states().iter().flat_map(|state| Class::SECRET.map(|class| (*state, class)));
    let missed = cells.filter_map(|(state, class)| {
        let (found, samples) = (table.cell(state, class).samples, table.samples(state));
        (found > samples_max(state, class, samples)).then(|| format!("{state}: {class} in {found} of {samples} samples"))
    });
    missed.collect()
}

/// Takes a core through its states, with `samples` samples under load.
///
/// # Panics
/// If the scanner does not find what is planted or known to be there; if the core does not do its work.
#[must_use]
pub fn memory_campaign(samples: u64) -> Table {
    let mut core = Core::prepared();
    let needles = harvest(&core);
    let mut scanner = Scanner::new(&needles);
    everything_planted_is_found(&mut scanner);
    let mut table = Table::default();

    core.start();
    idle("unsealed", &core, &mut scanner, &mut table);
    under_load(UNDER_LOAD, &core, &mut scanner, &mut table, samples);
    under_load(ADMINISTERED, &core, &mut scanner, &mut table, samples / 5);
    idle("idle after load", &core, &mut scanner, &mut table);
    // Now with the keys that the load has made.
    let mut scanner = Scanner::new(&with_new_keys(&core, needles));
    idle("idle, new keys too", &core, &mut scanner, &mut table);
    core_image("core image", &core, &mut scanner, &mut table);

    let _sealed = core.ask(&["seal"]);
    // At once: on a machine that is not busy, long before the second is over that C15 allows.
    sample("sealed", &core, &mut scanner, &mut table);
    core_image("core image, sealed", &core, &mut scanner, &mut table);

    typed_pin(&core, &mut scanner, &mut table);
    core.stop();
    files("files after TERM", &core, &mut scanner, &mut table);
    wrong_pin(&mut core, &mut scanner, &mut table);
    table
}

fn everything_planted_is_found(scanner: &mut Scanner) {
    let held = scanner.plant();
    let report = scanner.process(held.process());
    let missing = scanner.missing(&report);
    assert!(missing.is_empty(), "a scan that cannot find: {} needles planted and not found, {missing:?}", missing.len());
    assert!(report.hits.iter().any(|(_, place)| place == "anon" || place == "heap"), "{:?}", report.hits.first());
}

fn sample(state: &'static str, core: &Core, scanner: &mut Scanner, table: &mut Table) {
    let report = scanner.process(core.pid());
    let has_control = scanner.named(&report).any(|(needle, _)| needle.class == Class::Control);
    assert!(has_control, "{state}: not even the cluster's id was found: {} bytes read", report.read_bytes);
    assert!(report.hidden_bytes.contains_key("secretmem"), "this kernel has no memfd_secret: boot with secretmem.enable=1");
    table.add(state, scanner, &report);
}

fn idle(state: &'static str, core: &Core, scanner: &mut Scanner, table: &mut Table) {
    for _ in 0..IDLE_SAMPLES {
        sample(state, core, scanner, table);
        pause(BETWEEN_SAMPLES);
    }
}

fn under_load(state: &'static str, core: &Core, scanner: &mut Scanner, table: &mut Table, samples: u64) {
    let gauge = Gauge::default();
    std::thread::scope(|scope| {
        let mut load = Load::start(scope, core, &gauge, state);
        if state == ADMINISTERED {
            load.administer(scope, core);
        }
        assert!(wait_for(|| gauge.requests() >= WARM_REQUESTS), "{} requests in a minute", gauge.requests());
        for _ in 0..samples {
            let before = gauge.requests();
            sample(state, core, scanner, table);
            pause(BETWEEN_SAMPLES);
            assert!(wait_for(|| gauge.requests() > before), "the core has stopped working");
        }
        load.stop();
    });
}

/// Needles also for what the keystore holds by now; the core does nothing meanwhile.
fn with_new_keys(core: &Core, before: Needles) -> Needles {
    let mut needles = harvest(core);
    needles.extend(&before.list());
    needles
}

/// What `gcore` writes as root, which neither RLIMIT_CORE nor a cleared dumpable flag keeps it from.
fn core_image(state: &'static str, core: &Core, scanner: &mut Scanner, table: &mut Table) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let prefix = folder.path().join("image");
    let made = Command::new("gcore").arg("-o").arg(&prefix).arg(core.pid().to_string()).output();
    let made = made.unwrap_or_else(|error| panic!("cannot run gcore ({error}): apt-get install gdb"));
    let image = folder.path().join(format!("image.{}", core.pid()));
    assert!(image.exists(), "gcore: {}", String::from_utf8_lossy(&made.stderr));
    let report = scanner.file(&image);
    assert!(scanner.named(&report).any(|(needle, _)| needle.class == Class::Control), "{state}: not even the cluster's id was found");
    table.add(state, scanner, &report);
}

/// A PIN that a person types takes another way in than one from a credential.
fn typed_pin(core: &Core, scanner: &mut Scanner, table: &mut Table) {
    let pin = core.credential();
    let before = descriptors(core);
    let _unsealed = core.ask(&["unseal", "--custodian", "softhsm", "--pin-file", &pin.display().to_string()]);
    assert!(wait_for(|| descriptors(core) <= before), "the connection that brought the PIN is still there");
    idle("unsealed by typed PIN", core, scanner, table);
    let _sealed = core.ask(&["seal"]);
    sample("sealed again", core, scanner, table);
}

/// How many files, pipes and sockets the core has open.
fn descriptors(core: &Core) -> usize {
    fs::read_dir(format!("/proc/{}/fd", core.pid())).expect("it runs").count()
}

/// Everything that the core has written. The PIN's own credential is where the PIN is, and the one place.
fn files(state: &'static str, core: &Core, scanner: &mut Scanner, table: &mut Table) {
    let credential = core.credential();
    let found = scanner.file(&credential);
    assert!(scanner.named(&found).any(|(needle, _)| needle.class == Class::Pin), "the PIN is not even where it is kept");
    let mut seen = 0;
    for path in files_below(core.dir()).into_iter().filter(|path| *path != credential) {
        let report = scanner.file(&path);
        seen += usize::from(path.starts_with(core.dir().join("core")));
        table.add(state, scanner, &report);
    }
    assert!(seen >= 3, "store, log and slot: {seen} files");
}

/// A core that was given a wrong PIN stays sealed and keeps nothing of the try.
fn wrong_pin(core: &mut Core, scanner: &mut Scanner, table: &mut Table) {
    const WRONG: &str = "a-pin-of-nobody!";
    let mut needles = Needles::default();
    needles.extend(scanner.needles());
    needles.raw(Class::Pin, WRONG.as_bytes());
    let mut scanner = Scanner::new(&needles);
    let _right = core.write_pin(WRONG);
    core.start();
    idle("refused PIN", core, &mut scanner, table);
    core.stop();
}

fn pause(how_long: Duration) {
    // A channel that nobody sends on is the timer.
    let (_keep, timer) = mpsc::channel::<()>();
    let _elapsed = timer.recv_timeout(how_long);
}
