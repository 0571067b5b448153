//! TLS for the listeners and for our own KMIP client: versions, suites, resumption, and who is let in (C21).
//!
//! - TLS 1.3, and 1.2 with ECDHE and AEAD suites only; X25519MLKEM768 is taken where the peer offers it. No ALPN: KMIP has none.
//! - Clients must show a certificate. A resumed session keeps the one of its full handshake and rustls does not look at it again, so the
//!   listener asks [`ClientJudge`] after every handshake, full or resumed, and again whenever the minute or the trust has changed and when
//!   the first date of the chain, or of a revocation list for it, is over.
//! - Resumption state stays in this process: no tickets that a stolen ticket key would open, and one bounded store per listener, so that
//!   no other listener's sessions are taken here and a new [`ServerTls`] (after any change of the files) begins with an empty one.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use keys::id::Time;
use keys::port::Clock;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};

use crate::config::{CertificateFiles, Listener};
use ca::Ca;

mod ca;
mod crl;
mod judge;
mod pem;
mod sessions;
mod shown;
mod signature;
mod trust;
mod vote;

pub use ca::CaId;
pub use crl::{CRL_NUMBER_BYTES, Crl, CrlError, CrlNumber, Crls};
pub use judge::{ClientJudge, Why, handshake_failure, is_of_certificate};
pub use pem::{TlsError, chain, dates};
use sessions::Sessions;
pub use shown::watching;
pub use trust::{Trust, TrustKeeper, Trusted, trust};
pub use vote::sign_vote;

/// Sessions that a listener remembers for resumption; each keeps the client's chain, one to two KiB as a rule and never more than
/// `judge` lets in.
pub const SESSIONS_MAX: usize = 4096;
/// Session ids that a client gets after a full TLS 1.3 handshake, so that it can resume twice at a time.
const TICKETS_PER_HANDSHAKE: usize = 2;

/// What a listener's files say of itself and of the CAs of its clients.
#[derive(Debug, Clone)]
pub struct Material {
    own: Vec<Own>,
    /// Those outside their dates that have never been good: shown to nobody, but their end is told.
    undated: Vec<Own>,
    cas: Arc<[Ca]>,
}

/// One of the listener's own certificates, and where it is from.
#[derive(Debug, Clone)]
struct Own {
    files: CertificateFiles,
    key: Arc<CertifiedKey>,
}

impl Material {
    /// Reads each chain (the server's own certificate first) with its private key, and the CAs whose clients are let in; all PEM.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong, an expired certificate among others.
    pub fn read(listener: &Listener, now: Time) -> Result<Self, TlsError> {
        let (material, undated) = Self::read_first(listener, now)?;
        undated.into_iter().next().map_or(Ok(material), Err)
    }

    /// Like [`Material::read`], for a node that starts: what is outside its dates does not end it, because the node is to be administrable, and comes
    /// beside. Without a certificate that is good now there is no handshake, and a CA that is over lets nobody in.
    ///
    /// # Errors
    /// What has to be corrected in files or configuration.
    pub fn read_first(listener: &Listener, now: Time) -> Result<(Self, Vec<TlsError>), TlsError> {
        let (mut good, mut undated, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        for files in &listener.certificates {
            let (own, fault) = own(files, now)?;
            if fault.is_none() {
                good.push(own)
            } else {
                undated.push(own)
            }
            faults.extend(fault);
        }
        let cas = ca::read(&listener.client_ca)?;
        faults.extend(check_cas(listener, &cas, now).err());
        Ok((Self { own: good, undated, cas: cas.into() }, faults))
    }

    /// Is there a certificate to show to clients?
    #[must_use]
    pub fn can_serve(&self) -> bool {
        !self.own.is_empty()
    }

    /// Reads the files anew and takes each certificate of the listener, and the CAs of its clients, that are good; returns what is wrong with
    /// the others, which stay what they were. So a fault of the one never keeps a CA in force that was taken out.
    pub fn read_again(&mut self, listener: &Listener, now: Time) -> Vec<TlsError> {
        let mut faults = Vec::new();
        match ca::read(&listener.client_ca).and_then(|cas| check_cas(listener, &cas, now).map(|()| cas)) {
            Ok(cas) => self.cas = cas.into(),
            Err(error) => faults.push(error),
        }
        let mut undated = Vec::new();
        let read = |files: &CertificateFiles| {
            let (read, fault) = match own(files, now) {
                Ok((own, None)) => return Some(own),
                Ok((own, Some(fault))) => (Some(own), fault),
                Err(fault) => (None, fault),
            };
            faults.push(fault);
            let before = self.own.iter().find(|own| own.files == *files).cloned();
            undated.extend(read.filter(|_| before.is_none()));
            before
        };
        let own: Vec<_> = listener.certificates.iter().filter_map(read).collect();
        self.undated = undated;
        if !own.is_empty() {
            self.own = own;
        }
        faults
    }

    /// Takes what is good of the listener's revocation lists; returns what is not.
    pub fn take_crls(&self, listener: &Listener, crls: &mut Crls, now: Time) -> Vec<CrlError> {
        listener.crl.as_ref().map_or_else(Vec::new, |file| crls.take(file, &self.cas, listener.crl_grace, now))
    }

    /// What the revocation lists in force are: CA, number, when the next is due, and until when they count.
    pub fn crls<'a>(&'a self, listener: &'a Listener, crls: &'a Crls) -> impl Iterator<Item = (&'a Crl, Time)> {
        let lists = self.cas.iter().filter(|_| listener.crl.is_some()).filter_map(|ca| crls.of(ca.id));
        lists.map(|crl| (&**crl, crl::until(crl.next_update, listener.crl_grace)))
    }

    /// When the first of the listener's own certificates ends.
    #[must_use]
    pub fn server_until(&self) -> Option<Time> {
        let own = self.own.iter().chain(&self.undated).filter_map(|own| Some((&own.files.cert, own.key.cert.first()?)));
        own.filter_map(|(file, der)| dates(file, der).ok()).map(|(_, until)| until).min()
    }

    /// When the first CA of the listener's clients ends.
    #[must_use]
    pub fn client_ca_until(&self, listener: &Listener) -> Option<Time> {
        self.cas.iter().filter_map(|ca| dates(&listener.client_ca, &ca.der).ok()).map(|(_, until)| until).min()
    }
}

/// One at least is to be within its dates.
fn check_cas(listener: &Listener, cas: &[Ca], now: Time) -> Result<(), TlsError> {
    let check = |ca: &Ca| pem::check_dates(&listener.client_ca, &ca.der, now);
    if cas.iter().any(|ca| check(ca).is_ok()) { Ok(()) } else { check(&cas[0]) }
}

/// One certificate with its key, and what is wrong with its dates.
fn own(files: &CertificateFiles, now: Time) -> Result<(Own, Option<TlsError>), TlsError> {
    let CertificateFiles { cert, key } = files;
    let chain = chain(cert)?;
    let undated = match pem::check_dates(cert, &chain[0], now) {
        Err(error @ (TlsError::Expired { .. } | TlsError::NotYetValid { .. })) => Some(error),
        checked => checked.map(|()| None)?,
    };
    let key = CertifiedKey::from_der(chain, pem::key(key)?, &provider()).map_err(|error| rejected(cert, key, &error))?;
    Ok((Own { files: files.clone(), key: Arc::new(key) }, undated))
}

/// Chooses the certificate by the signatures that the client understands: the first of the configuration that will do. With none, the
/// handshake goes on with the first of all, and fails with the alert that tells the client why.
#[derive(Debug)]
struct BySignature(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for BySignature {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.iter().find(|own| own.key.choose_scheme(hello.signature_schemes()).is_some()).or(self.0.first()).cloned()
    }
}

/// The TLS side of one listener.
#[derive(Debug, Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    judge: ClientJudge,
}

impl ServerTls {
    /// Puts together what the files say, with an empty store of sessions.
    ///
    /// - `clock`: what certificates are judged by in handshakes.
    ///
    /// # Errors
    /// [`TlsError::Rejected`] if the TLS library does not take a CA.
    pub fn new(listener: &Listener, material: &Material, crls: &Crls, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let lists = listener.crl.is_some().then_some((crls, listener.crl_grace));
        let judge = ClientJudge::new(&listener.client_ca, &material.cas, lists)?;
        let mut config = ServerConfig::builder_with_details(provider(), Arc::new(ClockTime(clock)))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| TlsError::Rejected { file: listener.client_ca.clone(), what: error.to_string() })?
            .with_client_cert_verifier(Arc::new(judge.clone()))
            .with_cert_resolver(Arc::new(BySignature(material.own.iter().map(|own| Arc::clone(&own.key)).collect())));
        config.session_storage = Arc::new(Sessions::new(SESSIONS_MAX));
        config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
        Ok(Self { config: Arc::new(config), judge })
    }

    /// Reads all files of a listener, for a process that serves it without ever reading them again or only wants to know whether it could.
    ///
    /// # Errors
    /// [`TlsError`] for certificates, keys and CAs. What is wrong with revocation lists comes beside: it only keeps clients out.
    pub fn load(listener: &Listener, clock: Arc<dyn Clock>) -> Result<(Self, Vec<CrlError>), TlsError> {
        let material = Material::read(listener, clock.now())?;
        let mut crls = Crls::default();
        let faults = material.take_crls(listener, &mut crls, clock.now());
        Ok((Self::new(listener, &material, &crls, clock)?, faults))
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
        Ok(Self { config: client_config(ca, Some((cert, key)))?, server_name: name })
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

/// How a server is called: by the CAs that are trusted to have issued its certificate, and with an own chain and private key if it asks for one; all PEM.
///
/// # Errors
/// [`TlsError`] names the file and what is wrong.
pub(crate) fn client_config(ca: &Path, own: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in chain(ca)? {
        roots.add(root).map_err(|_| TlsError::Certificate { file: ca.to_owned() })?;
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| TlsError::Rejected { file: ca.to_owned(), what: error.to_string() })?
        .with_root_certificates(roots);
    let config = match own {
        Some((cert, key)) => config.with_client_auth_cert(chain(cert)?, pem::key(key)?).map_err(|error| rejected(cert, key, &error))?,
        None => config.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Has the library seed its generator of randomness for TLS, on a thread of its own and before it is needed.
///
/// It measures the jitter of the processor for that, which takes 30 ms, or 100 on a busy machine; else the first handshake would wait for it.
///
/// # Errors
/// No thread can be started.
pub fn seed() -> std::io::Result<()> {
    let draw = || {
        // A failure shows again in the handshake, which then fails.
        let _seeded = provider().secure_random.fill(&mut [0]);
    };
    std::thread::Builder::new().name("seed".to_owned()).spawn(draw).map(drop)
}

/// aws-lc-rs with its default suites and groups, all of which are forward-secret AEADs; the hybrid group comes first (its feature
/// `prefer-post-quantum`).
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
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
