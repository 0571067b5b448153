//! The slot campaign: a core is killed at the n-th call that changes the directory of slots, for every n, while a slot is added or removed (F12).
//!
//! The slot is a TPM's, so that approvals come and go as well; another one, on a token, is there all the time.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::appliance::{Who, wait_for};
use crate::core::Core;
use crate::requests::{self, Secret};
use crate::soak::strace::Strace;
use crate::soak::{each_call, verified};
use crate::swtpm::Swtpm;

/// Calls by which the directory changes.
const CALLS: [&str; 4] = ["write", "fsync", "rename", "unlink"];

/// What is under way when the core is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Add,
    Remove,
}

/// One kind of call during one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Site {
    change: Change,
    call: &'static str,
}

impl Display for Site {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.change, self.call)
    }
}

#[derive(Debug, Default)]
struct Tally {
    /// Points at which the core was killed.
    points: BTreeMap<Site, u32>,
    /// After how many kills the slot was there, and was not.
    there: u32,
    absent: u32,
}

/// Kills a core at most `count` times: at each site's 1st, 2nd, 3rd ... call, until a site has no further; says what was seen.
///
/// # Panics
/// If a core does not open by itself after a kill, a listed slot does not open, the slots are neither the old nor the new ones, a change looks like
/// somebody else's, or the log does not verify.
#[must_use]
pub fn slot_campaign(count: u32) -> String {
    let mut bench = Bench::new();
    let mut tally = Tally::default();
    let sites = [Change::Add, Change::Remove].into_iter().flat_map(|change| CALLS.map(|call| Site { change, call }));
    let covered = each_call(sites, count, |site, nth| bench.round(site, nth, &mut tally));
    bench.core.stop();
    let _last = verified(&bench.core);
    let points: Vec<String> = tally.points.iter().map(|(site, points)| format!("{site} {points}")).collect();
    format!(
        "rounds {}, kills {} ({}: {}); after a kill the slot was there as a whole {}, absent {}, by half 0; cores that did not open 0, \
         slots that did not open 0, changes taken for somebody else's 0",
        covered.rounds,
        tally.there + tally.absent,
        if covered.is_all { "every call of every site" } else { "some sites have further calls" },
        points.join(", "),
        tally.there,
        tally.absent
    )
}

struct Bench {
    core: Core,
    _tpm: Swtpm,
    /// For the slot that comes and goes.
    approval: String,
    slot: String,
    /// What that slot's files are called, at any time.
    files: Vec<PathBuf>,
    secret: Secret,
}

impl Bench {
    fn new() -> Self {
        let (mut core, tpm) = (Core::prepared(), Swtpm::new());
        let config = fs::read_to_string(core.config()).expect("dev has written it");
        fs::write(core.config(), format!("{config}    - name: tpm\n      tpm2:\n        tcti: {:?}\n", tpm.tcti()))
            .expect("the folder is ours");
        core.start();
        let [key, approval] = ["release.pem", "first.approval"].map(|name| core.dir().join(name).display().to_string());
        let made =
            Command::new("openssl").args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key]).output();
        assert!(made.is_ok_and(|made| made.status.success()), "openssl makes no key: apt-get install openssl");
        let signed = core.ask(&["--json", "slot", "tpm-policy", "sign", "--custodian", "tpm", "--key", &key, "--out", &approval]);
        let signed: serde_json::Value = serde_json::from_str(&signed).expect("JSON");
        let slot = signed["slot"].as_str().expect("it names the slot").to_owned();
        let secret = requests::encrypt(&mut core.connect(Who::Service), &core.value("L3_ID"), b"kept".to_vec()).expect("the core is well");
        let mut this = Self { core, _tpm: tpm, approval, slot, files: Vec::new(), secret };
        this.bring_to(Change::Remove);
        this.files = this.file_names();
        this
    }

    /// The directory and every name in it under which this slot, its approval and the table are ever written.
    fn file_names(&self) -> Vec<PathBuf> {
        let dir = self.core.data_dir().join("slots");
        let entries = fs::read_dir(&dir).expect("readable").map(|entry| entry.expect("readable").path());
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&self.slot) || name.starts_with("table.")
        };
        let names: Vec<PathBuf> = entries.filter(is_ours).collect();
        assert_eq!(names.len(), 3, "a slot, its approval and the table: {names:?}");
        let fresh: Vec<PathBuf> = names.iter().map(|name| name.with_extension("new")).collect();
        [vec![dir], names, fresh].concat()
    }

    /// Undoes what stands in the way of a change.
    fn bring_to(&self, change: Change) {
        match (change, self.is_there()) {
            (Change::Add, true) => drop(self.core.ask(&self.command(Change::Remove))),
            (Change::Remove, false) => drop(self.core.ask(&self.command(Change::Add))),
            _ => {}
        }
    }

    fn command(&self, change: Change) -> Vec<&str> {
        match change {
            Change::Add => vec!["slot", "add", "--custodian", "tpm", "--approval", &self.approval],
            Change::Remove => vec!["slot", "remove", &self.slot, "--yes"],
        }
    }

    /// Kills the core at a call; false if the change has no such call.
    fn round(&mut self, site: Site, nth: u32, tally: &mut Tally) -> bool {
        self.bring_to(site.change);
        let files: Vec<&Path> = self.files.iter().map(AsRef::as_ref).collect();
        let strace = Strace::attach(self.core.pid(), &format!("{}:signal=SIGKILL:when={nth}", site.call), &files);
        let done = self.core.cli(&self.command(site.change));
        let was_killed = !done.status.success();
        if was_killed {
            let told = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(wait_for(|| self.core.has_ended()), "{site} {nth}: refused by a core that runs: {told}");
        }
        // Not before the core is reaped: a strace that is told to go waits for the threads of a process that nobody has.
        drop(strace);
        assert_eq!(self.core.has_ended(), was_killed, "{site} {nth}: told as done by a core that was killed before");
        if was_killed {
            self.core.kill();
            self.core.start();
            *tally.points.entry(site).or_default() += 1;
            let seen = if self.is_there() { &mut tally.there } else { &mut tally.absent };
            *seen += 1;
        } else {
            assert_eq!(self.is_there(), site.change == Change::Add, "{site} {nth}");
        }
        self.must_be_well(&format!("{site} {nth}"));
        was_killed
    }

    /// Is the slot listed? The other one always is, and nothing else.
    fn is_there(&self) -> bool {
        let slots: serde_json::Value = serde_json::from_str(&self.core.ask(&["--json", "slot", "list"])).expect("JSON");
        let mut labels: Vec<&str> = slots.as_array().expect("a list").iter().filter_map(|slot| slot["label"].as_str()).collect();
        labels.sort_unstable();
        assert!(labels == ["softhsm"] || labels == ["softhsm", "tpm"], "{labels:?}");
        labels.len() == 2
    }

    fn must_be_well(&self, at: &str) {
        assert_eq!(self.core.standing(), "unsealed: ", "{at}");
        let status = self.core.status();
        assert!(!status.contains("outside") && !status.contains("table of slots"), "{at}: {status}");
        let opened = self.core.ask(&["slot", "verify"]);
        assert_eq!(opened.lines().count(), 1 + usize::from(self.is_there()), "{at}: {opened}");
        let plain = requests::decrypt(&mut self.core.connect(Who::Service), &self.secret).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(plain, self.secret.plain, "{at}: a wrong plaintext");
    }
}
