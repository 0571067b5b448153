//! Connections of one TLS port: open now, and those that came to nothing, by reason.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::AlertDescription;

use super::Count;

/// The counters of one port.
#[derive(Debug, Default)]
pub struct Door {
    open: Arc<AtomicU64>,
    failed: [Count; Failed::ALL.len()],
    refused: [Count; Refused::ALL.len()],
}

/// One open connection, until it is dropped.
#[derive(Debug)]
pub struct Open(Arc<AtomicU64>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a TLS handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Failed {
    /// It took too long.
    Timeout,
    /// The client showed no certificate.
    NoCertificate,
    /// The client's certificate does not hold.
    Certificate,
    /// The client did not like ours, or broke off with another alert.
    Alert,
    /// The connection broke, or what came was no TLS.
    Broken,
}

impl Failed {
    pub(super) const ALL: [Self; 5] = [Self::Timeout, Self::NoCertificate, Self::Certificate, Self::Alert, Self::Broken];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NoCertificate => "no_certificate",
            Self::Certificate => "certificate",
            Self::Alert => "alert",
            Self::Broken => "broken",
        }
    }

    fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(rustls::Error::InvalidCertificate(_)) => Self::Certificate,
            Some(rustls::Error::AlertReceived(AlertDescription::CloseNotify)) => Self::Broken,
            Some(rustls::Error::AlertReceived(_)) => Self::Alert,
            None if error.kind() == io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Broken,
        }
    }
}

/// Why a connection that had finished its handshake was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Refused {
    /// Its certificate does not hold, or no longer.
    Certificate,
    /// No identity rule names it.
    Identity,
    /// The audit log cannot take its session.
    AuditLog,
    /// Every place was taken.
    NoPlace,
}

impl Refused {
    pub(super) const ALL: [Self; 4] = [Self::Certificate, Self::Identity, Self::AuditLog, Self::NoPlace];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Identity => "identity",
            Self::AuditLog => "audit_log",
            Self::NoPlace => "no_place",
        }
    }
}

impl Door {
    /// A connection is open until what is returned is dropped.
    #[must_use]
    pub fn open(&self) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&self.open))
    }

    /// A handshake ended in this error.
    pub fn handshake_failed(&self, error: &io::Error) {
        self.failed[Failed::of(error) as usize].add(1);
    }

    /// A connection was turned away after its handshake.
    pub fn refused(&self, why: Refused) {
        self.refused[why as usize].add(1);
    }

    pub(super) fn open_now(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Failed::ALL.into_iter().map(|why| (why.name(), self.failed[why as usize].value()))
    }

    pub(super) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refused::ALL.into_iter().map(|why| (why.name(), self.refused[why as usize].value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_open_until_it_is_dropped() {
        let door = Door::default();
        let (first, second) = (door.open(), door.open());
        drop(first);
        assert_eq!(door.open_now(), 1);
        drop(second);
        assert_eq!(door.open_now(), 0);
    }

    #[test]
    fn a_failed_handshake_is_counted_under_its_reason() {
        let tls = |error| io::Error::new(io::ErrorKind::InvalidData, rustls::Error::clone(&error));
        for (error, reason) in [
            (io::Error::new(io::ErrorKind::TimedOut, "slow"), "timeout"),
            (tls(rustls::Error::NoCertificatesPresented), "no_certificate"),
            (tls(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)), "certificate"),
            (tls(rustls::Error::AlertReceived(AlertDescription::UnknownCA)), "alert"),
            (tls(rustls::Error::HandshakeNotComplete), "broken"),
            (io::Error::from(io::ErrorKind::UnexpectedEof), "broken"),
        ] {
            let door = Door::default();
            door.handshake_failed(&error);
            let counted: Vec<_> = door.failures().filter(|(_, count)| *count > 0).collect();
            assert_eq!(counted, [(reason, 1)], "{error}");
        }
    }
}
