//! A node looked at: its memory, its core image and its files.

use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use crate::memscan::forms::{Class, Needles};
use crate::memscan::load::{Besides, Gauge, Load};
use crate::memscan::scanner::{Scanner, files_below};
use crate::memscan::table::Table;
use crate::{Core, wait_for};

/// Under load a node runs for so long between two samples; odd, so as not to keep step with any timer.
const BETWEEN_SAMPLES: Duration = Duration::from_millis(17);
/// Samples of a node that does nothing.
const IDLE_SAMPLES: u64 = 3;
/// Requests that make a node warm.
const WARM_REQUESTS: u64 = 300;

/// A scanner, and what it has seen so far.
pub(super) struct Look {
    scanner: Scanner,
    pub(super) table: Table,
}

impl Look {
    /// - `samples_max`: of so many samples of a state, how many may show a key of a class.
    ///
    /// # Panics
    /// If the scanner does not find what is planted.
    pub(super) fn new(needles: &Needles, samples_max: fn(&str, Class, u64) -> u64) -> Self {
        let mut scanner = Scanner::new(needles);
        let held = scanner.plant();
        let report = scanner.process(held.process());
        let missing = scanner.missing(&report);
        assert!(missing.is_empty(), "a scan that cannot find: {} needles planted and not found, {missing:?}", missing.len());
        assert!(report.hits.iter().any(|(_, place)| place == "anon" || place == "heap"), "{:?}", report.hits.first());
        drop(held);
        Self { scanner, table: Table::new(samples_max) }
    }

    /// Searches for these from now on as well.
    pub(super) fn search_also_for(&mut self, further: &Needles) {
        let mut needles = Needles::default();
        needles.extend(self.scanner.needles());
        needles.extend(&further.list());
        self.scanner = Scanner::new(&needles);
    }

    pub(super) fn once(&mut self, state: &'static str, node: &Core) {
        let report = self.scanner.process(node.pid());
        let has_control = self.scanner.named(&report).any(|(needle, _)| needle.class == Class::Control);
        assert!(has_control, "{state}: not even the cluster's id was found: {} bytes read", report.read_bytes);
        assert!(report.hidden_bytes.contains_key("secretmem"), "this kernel has no memfd_secret: boot with secretmem.enable=1");
        self.table.add(state, &self.scanner, &report);
    }

    pub(super) fn idle(&mut self, state: &'static str, node: &Core) {
        for _ in 0..IDLE_SAMPLES {
            self.once(state, node);
            pause(BETWEEN_SAMPLES);
        }
    }

    /// - `key`: an Active key of the service.
    pub(super) fn under_load(&mut self, state: &'static str, samples: u64, node: &Core, key: &str, besides: &Besides<'_>) {
        let gauge = Gauge::default();
        std::thread::scope(|scope| {
            let load = Load::start(scope, node, key, &gauge, state, besides);
            assert!(wait_for(|| gauge.requests() >= WARM_REQUESTS), "{} requests in a minute", gauge.requests());
            for _ in 0..samples {
                let before = gauge.requests();
                self.once(state, node);
                pause(BETWEEN_SAMPLES);
                assert!(wait_for(|| gauge.requests() > before), "the node has stopped working");
            }
            load.stop();
        });
    }

    /// What `gcore` writes as root, which neither RLIMIT_CORE nor a cleared dumpable flag keeps it from.
    pub(super) fn core_image(&mut self, state: &'static str, node: &Core) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let prefix = folder.path().join("image");
        let made = Command::new("gcore").arg("-o").arg(&prefix).arg(node.pid().to_string()).output();
        let made = made.unwrap_or_else(|error| panic!("cannot run gcore ({error}): apt-get install gdb"));
        let image = folder.path().join(format!("image.{}", node.pid()));
        assert!(image.exists(), "gcore: {}", String::from_utf8_lossy(&made.stderr));
        let report = self.scanner.file(&image);
        let has_control = self.scanner.named(&report).any(|(needle, _)| needle.class == Class::Control);
        assert!(has_control, "{state}: not even the cluster's id was found");
        self.table.add(state, &self.scanner, &report);
    }

    /// Everything that the nodes of the folder have written. The PIN's own credential is where the PIN is, and the one place.
    pub(super) fn files(&mut self, state: &'static str, node: &Core) {
        let credential = node.credential();
        let found = self.scanner.file(&credential);
        assert!(self.scanner.named(&found).any(|(needle, _)| needle.class == Class::Pin), "the PIN is not even where it is kept");
        let mut seen = 0;
        for path in files_below(node.dir()).into_iter().filter(|path| *path != credential) {
            let report = self.scanner.file(&path);
            seen += usize::from(path.starts_with(node.data_dir()));
            self.table.add(state, &self.scanner, &report);
        }
        assert!(seen >= 3, "store, log and identity: {seen} files");
    }
}

pub(super) fn pause(how_long: Duration) {
    // A channel that nobody sends on is the timer.
    let (_keep, timer) = mpsc::channel::<()>();
    let _elapsed = timer.recv_timeout(how_long);
}
