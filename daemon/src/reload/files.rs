//! The files of all listeners: what was read of them last, and what is wrong with them.
//!
//! A disk or a network file system may keep whoever asks it waiting for ever, so all of this is done on a copy, by a thread that may wait.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use keys::id::Time;
use keys::port::Clock;

use super::stamp::Watch;
use crate::config::{Listener, Listeners};
use crate::metrics::ListenerTrust;
use crate::system::{SystemClock, rfc3339};
use crate::tls::{CrlError, Crls, Material, TlsError};

/// What is said of a file that is not as it should be, when there is something else to go on with.
const KEPT: &str = "what was read of it before stays in force";
/// And where there is nothing: the node is to be administrable all the same.
const UNUSED: &str = "until that is mended this listener lets nobody in; a good file is taken up by itself";
/// And where something else serves that was read at the same time.
const LEFT_OUT: &str = "it is left out until it is good";

/// How often files are read again whose fault may have passed.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// The files of every listener, and the newest revocation list of each CA, which serves all of them.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) listeners: Vec<Watched>,
    pub(super) crls: Crls,
    /// When they were last read.
    tried: Instant,
}

/// One listener.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) name: &'static str,
    pub(super) told: Listener,
    pub(super) material: Material,
    watch: Watch,
    pub(super) faults: Vec<String>,
    /// One of the faults may pass though no file changes.
    may_pass: bool,
}

impl Default for Files {
    fn default() -> Self {
        Self { listeners: Vec::new(), crls: Crls::default(), tried: Instant::now() }
    }
}

impl Files {
    /// Reads the files of one more listener. Without a good revocation list, or with what is outside its dates, it is taken all the same, and lets nobody in.
    pub(super) fn open(&mut self, name: &'static str, told: &Listener) -> Result<&Watched, TlsError> {
        let now = SystemClock.now();
        let watch = Watch::on(files(told));
        let (material, undated) = Material::read_first(told, now)?;
        let lists = material.take_crls(told, &mut self.crls, now);
        let may_pass = undated.iter().any(TlsError::may_pass) || lists.iter().any(CrlError::may_pass);
        let faults = faults(name, undated, if material.can_serve() { LEFT_OUT } else { UNUSED }, lists);
        let at = self.listeners.len();
        self.listeners.push(Watched { name, told: told.clone(), material, watch, faults, may_pass });
        Ok(&self.listeners[at])
    }

    /// Has something changed, or passed, that is to be put into force? Then it was read.
    pub(super) fn look(&mut self) -> bool {
        // Each is asked, so that each knows what it saw last.
        let changed: Vec<_> = self.listeners.iter_mut().filter_map(|listener| listener.watch.look().then_some(listener.name)).collect();
        if !changed.is_empty() {
            tracing::info!(listeners = changed.join(", "), "files have changed: reading them");
            self.reload();
            return true;
        }
        let may_pass = self.listeners.iter().any(|listener| listener.may_pass) && self.tried.elapsed() >= TRY_EVERY;
        // The same files again, because what was wrong with them may be over; that counts only if something is.
        may_pass && self.read()
    }

    /// Reads all files, because a revocation list serves all listeners.
    pub(super) fn reload(&mut self) {
        for listener in &mut self.listeners {
            // A change after this is seen at the next look, also if it comes while the files are read.
            listener.watch.used();
        }
        self.read();
    }

    /// Takes up what a new configuration says of listeners that are served.
    pub(super) fn follow(&mut self, told: &Listeners) {
        for listener in &mut self.listeners {
            let told = match listener.name {
                "kmip" => &told.kmip,
                "https" => &told.https,
                _ => &told.admin,
            };
            if let Some(told) = told {
                listener.told = told.clone();
                listener.watch = Watch::on(files(told));
            }
        }
    }

    /// Reads every file. Returns whether other faults were found than before.
    fn read(&mut self) -> bool {
        self.tried = Instant::now();
        let now = SystemClock.now();
        let mut is_other = false;
        for listener in &mut self.listeners {
            is_other |= listener.read(&mut self.crls, now);
        }
        is_other
    }
}

impl Watched {
    /// Reads every file; what is good of it is kept for the next trust. Returns whether other faults were found than before.
    fn read(&mut self, crls: &mut Crls, now: Time) -> bool {
        let name = self.name;
        let files = self.material.read_again(&self.told, now);
        let lists = self.material.take_crls(&self.told, crls, now);
        self.may_pass = files.iter().any(TlsError::may_pass) || lists.iter().any(CrlError::may_pass);
        let faults = faults(name, files, if self.material.can_serve() { KEPT } else { UNUSED }, lists);
        std::mem::replace(&mut self.faults, faults) != self.faults
    }

    /// Until when all that is in force holds.
    pub(super) fn trust(&self, crls: &Crls) -> ListenerTrust {
        ListenerTrust {
            listener: self.name,
            server: self.material.server_until(),
            client_ca: self.material.client_ca_until(&self.told),
            crl: self.material.crls(&self.told, crls).map(|(crl, _)| crl.next_update).min(),
            faults: self.faults.len(),
        }
    }

    /// Lists that are in the last quarter of their life, or over.
    pub(super) fn expiring<'a>(&'a self, crls: &'a Crls, now: Time) -> impl Iterator<Item = String> + 'a {
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

/// What is said of a listener's files and revocation lists.
fn faults(name: &str, files: Vec<TlsError>, so: &str, lists: Vec<CrlError>) -> Vec<String> {
    let files = files.into_iter().map(|error| format!("listeners.{name}: {error}; {so}"));
    files.chain(lists.into_iter().map(|fault| format!("listeners.{name}: {fault}"))).collect()
}

/// Every file that a listener reads.
fn files(told: &Listener) -> Vec<PathBuf> {
    let own = told.certificates.iter().flat_map(|files| [&files.cert, &files.key]);
    own.chain([&told.client_ca]).chain(&told.crl).cloned().collect()
}
