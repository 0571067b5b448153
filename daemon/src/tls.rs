//! TLS for the listeners and for our own KMIP client: versions, suites, resumption, and who is let in (C21).
//!
//! - TLS 1.3, and 1.2 with ECDHE and AEAD suites only; X25519MLKEM768 is taken where the peer offers it. No ALPN: KMIP has none.
//! - Clients must show a certificate. A resumed session keeps the one of its full handshake and rustls does not look at it again, so the
//!   listener asks [`ClientJudge`] after every handshake, full or resumed, and again whenever the minute has changed.
//! - Resumption state stays in this process: no tickets that a stolen ticket key would open, and one bounded store per listener, so that
//!   no other listener's sessions are taken here and a new [`ServerTls`] (after a change of CA) begins with an empty one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use keys::id::Time;
use keys::port::Clock;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};

mod judge;
mod pem;
mod trust;

pub use judge::{ClientJudge, Why, handshake_failure};
pub use pem::{TlsError, chain, dates};
pub use trust::{Trust, TrustKeeper, Trusted, trust};

/// Sessions that a listener remembers for resumption; each keeps the client's chain, one to two KiB.
pub const SESSIONS_MAX: usize = 4096;
/// Session ids that a client gets after a full TLS 1.3 handshake, so that it can resume twice at a time.
const TICKETS_PER_HANDSHAKE: usize = 2;

/// The TLS side of one listener.
#[derive(Debug, Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    judge: ClientJudge,
}

impl ServerTls {
    /// Reads the server's chain (its own certificate first), its private key, and the CAs whose clients are let in; all PEM.
    ///
    /// - `clock`: what certificates are judged by, in handshakes too.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong, an expired certificate among others.
    pub fn load(cert: &Path, key: &Path, client_ca: &Path, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let now = clock.now();
        let own = chain(cert)?;
        pem::check_dates(cert, &own[0], now)?;
        let roots = chain(client_ca)?;
        let mut store = RootCertStore::empty();
        for root in &roots {
            store.add(root.clone()).map_err(|_| TlsError::Certificate { file: client_ca.to_owned() })?;
        }
        if roots.iter().all(|root| pem::check_dates(client_ca, root, now).is_err()) {
            pem::check_dates(client_ca, &roots[0], now)?;
        }
        let judge = ClientJudge::new(client_ca, &roots, &provider())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider()).build();
        let verifier = verifier.map_err(|error| TlsError::Rejected { file: client_ca.to_owned(), what: error.to_string() })?;
        let config = ServerConfig::builder_with_details(provider(), Arc::new(ClockTime(clock)))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| TlsError::Rejected { file: cert.to_owned(), what: error.to_string() })?
            .with_client_cert_verifier(verifier)
            .with_single_cert(own, pem::key(key)?);
        let mut config = config.map_err(|error| rejected(cert, key, &error))?;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
        Ok(Self { config: Arc::new(config), judge })
    }

    /// For the acceptor.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// For the connection: asks again what the handshake asked.
    #[must_use]
    pub fn judge(&self) -> ClientJudge {
        self.judge.clone()
    }
}

/// The TLS side of our own KMIP client.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

impl ClientTls {
    /// Reads the CAs whose servers are trusted, and the client's own chain and private key; all PEM.
    ///
    /// - `server_name`: the DNS name or IP address that the server's certificate must have.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong.
    pub fn load(ca: &Path, cert: &Path, key: &Path, server_name: &str) -> Result<Self, TlsError> {
        let name = ServerName::try_from(server_name.to_owned()).map_err(|_| TlsError::ServerName { name: server_name.to_owned() })?;
        let mut roots = RootCertStore::empty();
        for root in chain(ca)? {
            roots.add(root).map_err(|_| TlsError::Certificate { file: ca.to_owned() })?;
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| TlsError::Rejected { file: cert.to_owned(), what: error.to_string() })?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain(cert)?, pem::key(key)?)
            .map_err(|error| rejected(cert, key, &error))?;
        Ok(Self { config: Arc::new(config), server_name: name })
    }

    /// For the connector.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// For the connector.
    #[must_use]
    pub fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }
}

/// aws-lc-rs with its default suites and groups, all of which are forward-secret AEADs; the hybrid group comes first (PLATFORM: feature
/// `prefer-post-quantum`).
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn rejected(cert: &Path, key: &Path, error: &rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::KeyMismatch { cert: cert.to_owned(), key: key.to_owned() }
        }
        rustls::Error::InvalidCertificate(_) => TlsError::Certificate { file: cert.to_owned() },
        error => TlsError::Rejected { file: key.to_owned(), what: error.to_string() },
    }
}

/// Lets rustls see our clock.
struct ClockTime(Arc<dyn Clock>);

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0.now()))
    }
}

fn unix(time: Time) -> UnixTime {
    // Before 1970 every certificate is not yet valid, and so it is in 1970.
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(time.seconds()).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
