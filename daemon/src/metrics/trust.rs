//! Until when what the listeners believe holds, and what is wrong with their files.

use std::sync::{Mutex, PoisonError};

use keys::id::Time;

/// The trust of every listener, as whoever keeps it has told last.
#[derive(Debug, Default)]
pub struct TrustUntil(Mutex<Vec<ListenerTrust>>);

/// The trust of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTrust {
    /// Its name.
    pub listener: &'static str,
    /// When the first of its own certificates ends.
    pub server: Option<Time>,
    /// When the first CA of its clients ends.
    pub client_ca: Option<Time>,
    /// When the first revocation list in force is to be replaced; `None` without any.
    pub crl: Option<Time>,
    /// What is wrong with its files.
    pub faults: usize,
}

impl TrustUntil {
    /// So it stands now.
    pub(crate) fn tell(&self, listeners: Vec<ListenerTrust>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = listeners;
    }

    pub(super) fn told(&self) -> Vec<ListenerTrust> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
