//! Keeps the trust of every listener up to date with its files, and takes up a changed configuration on SIGHUP.
//!
//! The CAs of clients, each certificate with its key, and the revocation list of each CA change for themselves: a fault of one keeps no other
//! back. What is wrong with a new file is told in status, log and audit log, and what was in force stays; a fault that may pass by itself, such
//! as a lack of descriptors, has the file read again until it does.

mod stamp;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keys::floor::CrlFloors;
use keys::id::Time;
use keys::policy::Action;
use keys::port::Clock;
use keys::record::Outcome;
use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use crate::boot::tell;
use crate::config::{Config, Listener};
use crate::identity::Rules;
use crate::node::Node;
use crate::stop::Stop;
use crate::system::{SystemClock, rfc3339};
use crate::tls::{CaId, CrlError, CrlNumber, Crls, Material, ServerTls, TlsError, Trust, TrustKeeper, Trusted, trust};
use stamp::Watch;

/// How often the files are looked at. A changed one is read at the second look after the change.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often files are read again whose fault may have passed.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How often a sealed node is asked whether it is open now.
const OPEN_LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often it is said anew which lists will expire soon.
const SAY_EVERY_SECONDS: i64 = 60;
/// What status files the warnings under.
const TOPIC: &str = "trust";

/// Everything that the listeners believe, and where it comes from.
pub struct Reloader {
    file: PathBuf,
    node: Arc<Node>,
    rules: Rules,
    listeners: Vec<Watched>,
    crls: Crls,
    /// The node that was open when the numbers were last stored, and the numbers.
    stored: Option<(Time, BTreeMap<CaId, CrlNumber>)>,
    /// Why they could not be stored, or the configuration not be read.
    faults: Faults,
    said: i64,
    /// When the files were last read.
    tried: Instant,
}

#[derive(Default)]
struct Faults {
    store: Option<String>,
    config: Option<String>,
}

/// One listener.
struct Watched {
    name: &'static str,
    told: Listener,
    material: Material,
    keeper: TrustKeeper,
    watch: Watch,
    faults: Vec<String>,
    /// One of the faults may pass though no file changes.
    may_pass: bool,
}

impl Watched {
    /// Reads every file; what is good of it is kept for the next trust. Returns whether other faults were found than before.
    fn read(&mut self, crls: &mut Crls, now: Time) -> bool {
        let name = self.name;
        let files = self.material.read_again(&self.told, now);
        let lists = self.material.take_crls(&self.told, crls, now);
        self.may_pass = files.iter().any(TlsError::may_pass) || lists.iter().any(CrlError::may_pass);
        let files = files.into_iter().map(|error| format!("listeners.{name}: {error}; what was read of it before stays in force"));
        let faults = files.chain(lists.into_iter().map(|fault| format!("listeners.{name}: {fault}"))).collect();
        std::mem::replace(&mut self.faults, faults) != self.faults
    }

    /// Puts what was read into force.
    fn install(&mut self, crls: &Crls, rules: &Rules) {
        match ServerTls::new(&self.told, &self.material, crls, Arc::new(SystemClock)) {
            Ok(tls) => self.keeper.replace(Trust { tls, rules: rules.clone() }),
            Err(error) => self.faults.push(format!("listeners.{}: {error}", self.name)),
        }
    }

    /// Lists that are in the last quarter of their life, or over.
    fn expiring<'a>(&'a self, crls: &'a Crls, now: Time) -> impl Iterator<Item = String> + 'a {
        self.material.crls(&self.told, crls).filter_map(move |(crl, until)| {
            let (due, name) = (rfc3339(crl.next_update), self.name);
            let quarter_seconds = (crl.next_update.seconds() - crl.this_update.seconds()) / 4;
            if now > until {
                Some(format!(
                    "listeners.{name}: the CRL of {} has expired on {due}: nobody with a certificate of that CA is let in",
                    crl.issuer
                ))
            } else if now.seconds() > crl.next_update.seconds() - quarter_seconds {
                let until = rfc3339(until);
                Some(format!(
                    "listeners.{name}: the CRL of {} is due on {due}, clients are let in until {until}: put its next one there",
                    crl.issuer
                ))
            } else {
                None
            }
        })
    }
}

impl Reloader {
    /// - `file`: the configuration, read again on SIGHUP.
    #[must_use]
    pub fn new(file: PathBuf, node: Arc<Node>) -> Self {
        let rules = node.config.identity.clone();
        Self {
            file,
            node,
            rules,
            listeners: Vec::new(),
            crls: Crls::default(),
            stored: None,
            faults: Faults::default(),
            said: 0,
            tried: Instant::now(),
        }
    }

    /// Reads the files of one listener for the first time. Without a good revocation list it starts all the same, and lets nobody in.
    ///
    /// # Errors
    /// What is wrong with certificates, keys or CAs.
    pub fn open(&mut self, name: &'static str, told: &Listener) -> Result<Trusted, TlsError> {
        let now = SystemClock.now();
        let watch = Watch::on(files(told));
        let material = Material::read(told, now)?;
        let lists = material.take_crls(told, &mut self.crls, now);
        let may_pass = lists.iter().any(CrlError::may_pass);
        let faults = lists.into_iter().map(|fault| format!("listeners.{name}: {fault}")).collect();
        let tls = ServerTls::new(told, &material, &self.crls, Arc::new(SystemClock))?;
        let (keeper, trusted) = trust(Trust { tls, rules: self.rules.clone() });
        self.listeners.push(Watched { name, told: told.clone(), material, keeper, watch, faults, may_pass });
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
                _ = looks.tick() => self.look(),
                () = self.opened() => {}
            }
            self.store_floors().await;
            self.say_each_minute();
        }
    }

    fn look(&mut self) {
        // Each is asked, so that each knows what it saw last.
        let changed: Vec<_> = self.listeners.iter_mut().filter_map(|listener| listener.watch.look().then_some(listener.name)).collect();
        if !changed.is_empty() {
            tracing::info!(listeners = changed.join(", "), "files have changed: reading them");
            self.reload();
        } else if self.listeners.iter().any(|listener| listener.may_pass) && self.tried.elapsed() >= TRY_EVERY {
            self.try_again();
        }
    }

    /// Reads the same files again, because what was wrong with them may be over; that counts only if something is.
    fn try_again(&mut self) {
        if self.read(SystemClock.now()) {
            self.put_into_force();
        }
    }

    /// Returns whether other faults were found than before.
    fn read(&mut self, now: Time) -> bool {
        self.tried = Instant::now();
        let mut is_other = false;
        for listener in &mut self.listeners {
            is_other |= listener.read(&mut self.crls, now);
        }
        is_other
    }

    /// Reads all files and puts what is good into force, everywhere, because a revocation list serves all listeners.
    fn reload(&mut self) {
        for listener in &mut self.listeners {
            // A change after this is seen at the next look, also if it comes while the files are read.
            listener.watch.used();
        }
        self.read(SystemClock.now());
        self.put_into_force();
    }

    /// Puts what was read into force, and tells of it.
    fn put_into_force(&mut self) {
        self.install();
        let is_good = self.faults.config.is_none() && self.listeners.iter().all(|listener| listener.faults.is_empty());
        let outcome = if is_good { Outcome::Success } else { Outcome::Invalid };
        if let Err(error) = self.node.note(self.node.system, Action::ReloadTrust, outcome) {
            tracing::error!(%error, "a reload is not in the audit log");
        }
        tracing::info!(is_good, "reloaded");
        self.say(SystemClock.now());
    }

    fn install(&mut self) {
        for listener in &mut self.listeners {
            listener.install(&self.crls, &self.rules);
        }
    }

    /// Reads the configuration again, and takes of it what can change under way.
    fn hang_up(&mut self) {
        let since = NotifyState::monotonic_usec_now();
        tell(&[NotifyState::Reloading, since.unwrap_or(NotifyState::Status("reloading"))]);
        match Config::load_guarded(&self.file, std::env::vars_os()) {
            Ok(config) => {
                self.faults.config = None;
                self.take(config);
            }
            Err(error) => self.faults.config = Some(format!("the configuration was not reloaded: {error}")),
        }
        self.reload();
        let refused = self.node.notices.all().len();
        let said = format!("{}; reloaded, with {refused} warnings: see `strongroom status`", self.node.status().state);
        tell(&[NotifyState::Ready, NotifyState::Status(&said)]);
    }

    fn take(&mut self, config: Config) {
        let restart: Vec<_> = self.node.config.differences(&config).into_iter().filter(|key| !self.can_change(key)).collect();
        if !restart.is_empty() {
            tracing::warn!(keys = restart.join(", "), "these changes of the configuration need a restart");
        }
        let [kmip, https, admin] = [&config.listeners.kmip, &config.listeners.https, &config.listeners.admin];
        for listener in &mut self.listeners {
            let told = match listener.name {
                "kmip" => kmip,
                "https" => https,
                _ => admin,
            };
            if let Some(told) = told {
                listener.told = told.clone();
                listener.watch = Watch::on(files(told));
            }
        }
        self.rules = config.identity;
    }

    /// Identity rules, and the files of a listener that is served.
    fn can_change(&self, key: &str) -> bool {
        let of_listener = |listener: &Watched| {
            let key = key.strip_prefix("listeners.").and_then(|key| key.strip_prefix(listener.name)).and_then(|key| key.strip_prefix('.'));
            key.and_then(|key| key.split('[').next()).is_some_and(|key| matches!(key, "cert" | "key" | "client_ca" | "crl" | "crl_grace"))
        };
        key.starts_with("identity.") || self.listeners.iter().any(of_listener)
    }

    /// Waits for the next unseal, whose node knows of numbers from before: a list below them is not to be believed for one request more.
    async fn opened(&self) {
        if self.node.open().is_some() && (self.stored.is_some() || self.faults.store.is_some()) {
            // Done, or tried again at the next look.
            return std::future::pending().await;
        }
        while self.node.open().is_none() {
            tokio::time::sleep(OPEN_LOOK_EVERY).await;
        }
    }

    /// Keeps the numbers where a restart finds them; those that were found there count too.
    async fn store_floors(&mut self) {
        let Some(open) = self.node.open() else {
            (self.stored, self.faults.store) = (None, None);
            return;
        };
        if self.stored.as_ref().is_some_and(|(since, floors)| *since == open.since && floors == self.crls.floors()) {
            return;
        }
        let seen = CrlFloors(self.crls.floors().iter().map(|(ca, number)| (ca.0, number.0)).collect());
        match open.vault.raise_crl_floors(&seen).await {
            Ok(stored) => {
                self.faults.store = None;
                if self.crls.raise(&stored.0.into_iter().map(|(ca, number)| (CaId(ca), CrlNumber(number))).collect()) {
                    self.reload();
                }
                self.stored = Some((open.since, self.crls.floors().clone()));
            }
            Err(error) => self.faults.store = Some(format!("the numbers of revocation lists are not stored: {error}")),
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
        let mut warnings: Vec<String> = [&self.faults.config, &self.faults.store].into_iter().flatten().cloned().collect();
        for listener in &self.listeners {
            warnings.extend(listener.faults.iter().cloned().chain(listener.expiring(&self.crls, now)));
        }
        self.node.notices.say(TOPIC, warnings);
    }
}

/// Every file that a listener reads.
fn files(told: &Listener) -> Vec<PathBuf> {
    let own = told.certificates.iter().flat_map(|files| [&files.cert, &files.key]);
    own.chain([&told.client_ca]).chain(&told.crl).cloned().collect()
}
