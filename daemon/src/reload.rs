//! Keeps the trust of every listener up to date with its files, and takes up a changed configuration on SIGHUP.
//!
//! The CAs of clients, each certificate with its key, and the revocation list of each CA change for themselves: a fault of one keeps no other
//! back. What is wrong with a new file is told in status, log and audit log, and what was in force stays; a fault that may pass by itself, such
//! as a lack of descriptors, has the file read again until it does.
//!
//! Whatever may wait for a disk runs beside: reading files on a thread of its own, storing CRL numbers as a task. Neither is begun again before it has
//! ended, and of one that takes too long it is said so. A CRL number counts from the moment it was seen, whether or not it could be stored;
//! storing is tried again until it is done. The numbers that an unseal finds are believed before the node is open.

mod files;
mod job;
mod stamp;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keys::floor::CrlFloors;
use keys::id::Time;
use keys::policy::Action;
use keys::port::Clock;
use keys::record::Outcome;
use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::config::{Config, Listener};
use crate::identity::Rules;
use crate::logging::LogLevel;
use crate::node::{FoundFloors, Node};
use crate::notices::Topic;
use crate::stop::Stop;
use crate::system::SystemClock;
use crate::tls::{CaId, CrlNumber, ServerTls, TlsError, Trust, TrustKeeper, Trusted, trust};
use crate::vitals::tell;
use files::{Files, Watched};
use job::Job;

/// How often the files are looked at. A changed one is read at the second look after the change.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longer than this no good disk takes to read the files.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Longer than this no good store takes to keep the CRL numbers.
const STORE_WITHIN: Duration = Duration::from_secs(5);
/// How often it is said anew which lists will expire soon.
const SAY_EVERY_SECONDS: i64 = 60;
/// What status files the warnings under.
const TOPIC: Topic = Topic::Trust;

/// Everything that the listeners believe, and where it comes from.
pub struct Reloader {
    file: PathBuf,
    node: Arc<Node>,
    log: LogLevel,
    rules: Rules,
    files: Files,
    /// One for each listener, in the order of `files`.
    keepers: Vec<TrustKeeper>,
    reading: Job<Read>,
    /// What is to be read as soon as nothing is being read.
    next: Want,
    /// The service manager waits to be told that a reload is over.
    is_told_reloading: bool,
    /// What an unseal has found.
    found: mpsc::Receiver<FoundFloors>,
    storing: Job<(Time, Result<CrlFloors, keys::Error>)>,
    /// The node that was open when the numbers were last stored, and the numbers.
    stored: Option<(Time, BTreeMap<CaId, CrlNumber>)>,
    faults: Faults,
    said: i64,
}

/// What is wrong beside the files themselves.
#[derive(Default)]
struct Faults {
    /// The CRL numbers could not be stored.
    store: Option<String>,
    /// The configuration could not be read.
    config: Option<String>,
    /// The files take too long to read.
    late: Option<String>,
    /// The TLS library does not take what was read.
    install: Vec<String>,
}

/// How much is to be read: each does what the one before does, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Want {
    /// What has changed.
    Look,
    /// All files.
    Reload,
    /// The configuration, and all files.
    HangUp,
}

/// What was read.
struct Read {
    want: Want,
    files: Files,
    /// It is to be put into force.
    is_new: bool,
    config: Option<Result<Box<Config>, String>>,
}

impl Reloader {
    /// - `file`: the configuration, read again on SIGHUP.
    #[must_use]
    pub fn new(file: PathBuf, node: Arc<Node>, log: LogLevel) -> Self {
        let rules = node.config.identity.clone();
        let found = node.follow_floors();
        Self {
            file,
            node,
            log,
            rules,
            files: Files::default(),
            keepers: Vec::new(),
            reading: Job::default(),
            next: Want::Look,
            is_told_reloading: false,
            found,
            storing: Job::default(),
            stored: None,
            faults: Faults::default(),
            said: 0,
        }
    }

    /// Reads the files of one listener for the first time. Without a good revocation list, or with what is outside its dates, it starts all the same, and lets nobody in.
    ///
    /// # Errors
    /// What is wrong with certificates, keys or CAs.
    pub fn open(&mut self, name: &'static str, told: &Listener) -> Result<Trusted, TlsError> {
        let material = self.files.open(name, told)?.material.clone();
        let tls = ServerTls::new(told, &material, &self.files.crls, Arc::new(SystemClock))?;
        let (keeper, trusted) = trust(Trust { tls, rules: self.rules.clone() });
        self.keepers.push(keeper);
        Ok(trusted)
    }

    /// Follows the files until told to stop.
    ///
    /// # Errors
    /// None; a part of the node that runs returns a result.
    pub async fn run(mut self, mut hangup: Signal, mut stop: Stop) -> io::Result<()> {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.requested() => return Ok(()),
                Some(()) = hangup.recv() => self.hang_up(),
                Some(FoundFloors { floors, believed }) = self.found.recv() => {
                    self.believe(&floors);
                    // An unseal that has given up waiting has failed.
                    let _waits = believed.send(());
                }
                read = self.reading.ended() => self.finish_reading(read),
                (since, stored) = self.storing.ended() => self.finish_storing(since, stored),
                _ = looks.tick() => {
                    self.read();
                    self.store_floors();
                    self.say_what_is_late();
                    self.say_each_minute();
                }
            }
        }
    }

    /// Begins to read what is wanted, unless something is being read.
    fn read(&mut self) {
        if self.reading.is_running() {
            return;
        }
        let want = std::mem::replace(&mut self.next, Want::Look);
        let (mut files, file) = (self.files.clone(), self.file.clone());
        self.reading.block(move || {
            let mut config = None;
            let is_new = match want {
                Want::Look => files.look(),
                Want::Reload => {
                    files.reload();
                    true
                }
                Want::HangUp => {
                    let read = Config::load_guarded(&file, std::env::vars_os());
                    if let Ok(told) = &read {
                        files.follow(&told.listeners);
                    }
                    files.reload();
                    config = Some(read.map(Box::new).map_err(|error| format!("the configuration was not reloaded: {error}")));
                    true
                }
            };
            Read { want, files, is_new, config }
        });
    }

    fn finish_reading(&mut self, Read { want, mut files, is_new, config }: Read) {
        // Numbers that were learnt while it was read count, too.
        let is_older = files.crls.raise(self.files.crls.floors());
        self.files = files;
        let was_late = self.faults.late.take().is_some();
        match config {
            Some(Ok(config)) => {
                self.faults.config = None;
                self.take(*config);
            }
            Some(Err(error)) => self.faults.config = Some(error),
            None => {}
        }
        if is_older {
            // What was dropped is to be told by its name.
            self.next = self.next.max(Want::Reload);
        }
        if is_new || is_older {
            self.put_into_force();
        } else if was_late {
            self.say(SystemClock.now());
        }
        if want == Want::HangUp && self.next != Want::HangUp {
            self.tell_reloaded();
        }
        if self.next > Want::Look {
            self.read();
        }
    }

    /// Puts what was read into force, and tells of it.
    fn put_into_force(&mut self) {
        self.install();
        let is_read = self.files.listeners.iter().all(|listener| listener.faults.is_empty());
        let is_good = is_read && self.faults.config.is_none() && self.faults.install.is_empty();
        let outcome = if is_good { Outcome::Success } else { Outcome::Invalid };
        if let Err(error) = self.node.note(self.node.system, Action::ReloadTrust, outcome) {
            tracing::error!(%error, "a reload is not in the audit log");
        }
        tracing::info!(is_good, "reloaded");
        self.say(SystemClock.now());
    }

    fn install(&mut self) {
        self.faults.install.clear();
        for (Watched { name, told, material, .. }, keeper) in self.files.listeners.iter().zip(&self.keepers) {
            match ServerTls::new(told, material, &self.files.crls, Arc::new(SystemClock)) {
                Ok(tls) => keeper.replace(Trust { tls, rules: self.rules.clone() }),
                Err(error) => self.faults.install.push(format!("listeners.{name}: {error}")),
            }
        }
    }

    /// Has the configuration read again, for what can change under way.
    fn hang_up(&mut self) {
        let since = NotifyState::monotonic_usec_now();
        tell(&[NotifyState::Reloading, since.unwrap_or(NotifyState::Status("reloading"))]);
        self.is_told_reloading = true;
        self.next = Want::HangUp;
        self.read();
    }

    fn tell_reloaded(&mut self) {
        if std::mem::take(&mut self.is_told_reloading) {
            let warnings = self.node.notices.all().len();
            let said = format!("{}; reloaded, with {warnings} warnings: see `strongroom status`", self.node.status().state);
            tell(&[NotifyState::Ready, NotifyState::Status(&said)]);
        }
    }

    fn take(&mut self, config: Config) {
        let restart: Vec<_> = self.node.config.differences(&config).into_iter().filter(|key| !self.can_change(key)).collect();
        if !restart.is_empty() {
            tracing::warn!(keys = restart.join(", "), "these changes of the configuration need a restart");
        }
        self.log.set(config.log.level);
        self.node.reencryption.hold_back(config.reencrypt);
        self.rules = config.identity;
    }

    /// Identity rules, how much is logged, how re-encryption is held back, and the files of a listener that is served.
    fn can_change(&self, key: &str) -> bool {
        let of_listener = |listener: &Watched| {
            let key = key.strip_prefix("listeners.").and_then(|key| key.strip_prefix(listener.name)).and_then(|key| key.strip_prefix('.'));
            key.and_then(|key| key.split('[').next()).is_some_and(|key| matches!(key, "cert" | "key" | "client_ca" | "crl" | "crl_grace"))
        };
        key.starts_with("identity.") || key.starts_with("reencrypt.") || key == "log.level" || self.files.listeners.iter().any(of_listener)
    }

    /// From now on no list below these numbers is in force; what the files hold now is read at once, and it is said if that is one.
    fn believe(&mut self, floors: &CrlFloors) {
        if self.files.crls.raise(&floors.0.iter().map(|(ca, number)| (CaId(*ca), CrlNumber(*number))).collect()) {
            self.put_into_force();
            self.next = self.next.max(Want::Reload);
            self.read();
        }
    }

    /// Keeps the numbers where a restart finds them; those that are there count too.
    fn store_floors(&mut self) {
        let Some(open) = self.node.open() else {
            // A task that hangs would hold the keys that are to be wiped.
            self.storing.drop_it();
            (self.stored, self.faults.store) = (None, None);
            return;
        };
        let is_stored = self.stored.as_ref().is_some_and(|(since, floors)| *since == open.since && floors == self.files.crls.floors());
        if is_stored || self.storing.is_running() {
            return;
        }
        let seen = CrlFloors(self.files.crls.floors().iter().map(|(ca, number)| (ca.0, number.0)).collect());
        self.storing.spawn(async move { (open.since, open.vault.raise_crl_floors(&seen).await) });
    }

    fn finish_storing(&mut self, since: Time, stored: Result<CrlFloors, keys::Error>) {
        match stored {
            Ok(floors) => {
                self.believe(&floors);
                self.stored = Some((since, floors.0.into_iter().map(|(ca, number)| (CaId(ca), CrlNumber(number))).collect()));
                self.say_of_store(None);
            }
            Err(error) => self.say_of_store(Some(format!("the numbers of revocation lists are not stored: {error}"))),
        }
    }

    fn say_of_store(&mut self, fault: Option<String>) {
        if self.faults.store != fault {
            self.faults.store = fault;
            self.say(SystemClock.now());
        }
    }

    fn say_what_is_late(&mut self) {
        if self.storing.exceeds(STORE_WITHIN) {
            let seconds = STORE_WITHIN.as_secs();
            self.say_of_store(Some(format!(
                "the numbers of revocation lists are not stored: the keystore has not answered for {seconds} s"
            )));
        }
        if self.reading.exceeds(READ_WITHIN) && self.faults.late.is_none() {
            let seconds = READ_WITHIN.as_secs();
            self.faults.late = Some(format!(
                "the files of the listeners cannot be read: their disk has not answered for {seconds} s; what was read of them before stays in force"
            ));
            self.say(SystemClock.now());
            self.tell_reloaded();
        }
    }

    fn say_each_minute(&mut self) {
        let now = SystemClock.now();
        if self.said != now.seconds().div_euclid(SAY_EVERY_SECONDS) {
            self.say(now);
        }
    }

    fn say(&mut self, now: Time) {
        self.said = now.seconds().div_euclid(SAY_EVERY_SECONDS);
        let Faults { store, config, late, install } = &self.faults;
        let mut warnings: Vec<String> = [config, store, late].into_iter().flatten().chain(install).cloned().collect();
        for listener in &self.files.listeners {
            warnings.extend(listener.faults.iter().cloned().chain(listener.expiring(&self.files.crls, now)));
        }
        self.node.notices.say(TOPIC, warnings);
        self.node.metrics.trust.tell(self.files.listeners.iter().map(|listener| listener.trust(&self.files.crls)).collect());
    }
}
