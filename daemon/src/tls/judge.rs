//! Judges a client's certificate chain at any time, with the words for the log.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use keys::id::Time;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore};

use super::pem::{self, TlsError};
use super::unix;
use crate::system::rfc3339;

/// Says whether a client's chain leads to one of the CAs now. Cheap to clone, keeps nothing of what it has judged.
///
/// Each CA has a verifier of its own, because a chain is as good as its CA's own dates, which path validation (RFC 5280, 6.1) leaves out.
/// A CA's revocation list belongs to its verifier too.
#[derive(Debug, Clone)]
pub struct ClientJudge {
    roots: Arc<[Root]>,
}

#[derive(Debug)]
struct Root {
    not_before: Time,
    not_after: Time,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Why a client's certificate does not hold. The peer only sees a TLS alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The client showed none.
    NoCertificate,
    /// No CA of the listener has issued it, or an intermediate certificate is missing.
    UnknownIssuer,
    /// It, or an intermediate, is past its last second.
    Expired {
        /// That second.
        since: Time,
    },
    /// It, or an intermediate, is before its first second.
    NotYetValid {
        /// That second.
        from: Time,
    },
    /// Its extended key usage is there and does not allow clients.
    NotForClients,
    /// Its issuer has the name of a CA, but not that CA's key.
    Signature,
    /// The CA that issued it is past its own last second.
    CaExpired {
        /// That second.
        since: Time,
    },
    /// The CA that issued it is before its own first second.
    CaNotYetValid {
        /// That second.
        from: Time,
    },
    /// Anything else, in the TLS library's words.
    Other(String),
}

impl ClientJudge {
    pub(super) fn new(file: &Path, roots: &[CertificateDer<'static>], provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let one = |root: &CertificateDer<'static>| {
            let (not_before, not_after) = pem::dates(file, root)?;
            let mut store = RootCertStore::empty();
            store.add(root.clone()).map_err(|_| TlsError::Certificate { file: file.to_owned() })?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider)).build();
            let verifier = verifier.map_err(|error| TlsError::Rejected { file: file.to_owned(), what: error.to_string() })?;
            Ok(Root { not_before, not_after, verifier })
        };
        Ok(Self { roots: roots.iter().map(one).collect::<Result<_, _>>()? })
    }

    /// Judges a chain, the client's own certificate first, as the peer sent it.
    ///
    /// # Errors
    /// [`Why`] it does not hold at `now`.
    pub fn check(&self, chain: &[CertificateDer<'_>], now: Time) -> Result<(), Why> {
        let (leaf, intermediates) = chain.split_first().ok_or(Why::NoCertificate)?;
        let mut worst = Why::UnknownIssuer;
        for root in &*self.roots {
            match root.check(leaf, intermediates, now) {
                Ok(()) => return Ok(()),
                // The CA that issued it has more to say than those that did not.
                Err(Why::UnknownIssuer) => {}
                Err(why) => worst = why,
            }
        }
        Err(worst)
    }
}

impl Root {
    fn check(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: Time) -> Result<(), Why> {
        self.verifier.verify_client_cert(leaf, intermediates, unix(now)).map_err(|error| Why::from(&error))?;
        if now.seconds() > self.not_after.seconds() {
            return Err(Why::CaExpired { since: self.not_after });
        }
        if now.seconds() < self.not_before.seconds() {
            return Err(Why::CaNotYetValid { from: self.not_before });
        }
        Ok(())
    }
}

/// Why a handshake that ended in `error` failed, for the log.
#[must_use]
pub fn handshake_failure(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => Why::from(tls).to_string(),
        None => error.to_string(),
    }
}

impl From<&rustls::Error> for Why {
    fn from(error: &rustls::Error) -> Self {
        let certificate = match error {
            rustls::Error::NoCertificatesPresented => return Self::NoCertificate,
            rustls::Error::InvalidCertificate(certificate) => certificate,
            other => return Self::Other(other.to_string()),
        };
        match certificate {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired { since: time(*not_after) },
            CertificateError::NotValidYetContext { not_before, .. } => Self::NotYetValid { from: time(*not_before) },
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Self::NotForClients,
            CertificateError::BadSignature => Self::Signature,
            other => Self::Other(other.to_string()),
        }
    }
}

fn time(unix: UnixTime) -> Time {
    Time::from_seconds(i64::try_from(unix.as_secs()).unwrap_or(i64::MAX))
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("the client showed no certificate"),
            Self::UnknownIssuer => {
                f.write_str("the client's certificate is not from a CA in client_ca, or an intermediate certificate is missing")
            }
            Self::Expired { since } => write!(f, "the client's certificate has expired on {}", rfc3339(*since)),
            Self::NotYetValid { from } => write!(f, "the client's certificate is valid from {} only", rfc3339(*from)),
            Self::NotForClients => f.write_str("the extended key usage of the client's certificate does not allow clients"),
            Self::Signature => f.write_str("the client's certificate names a CA in client_ca, but is not signed with its key"),
            Self::CaExpired { since } => write!(f, "the CA of the client's certificate has expired on {}", rfc3339(*since)),
            Self::CaNotYetValid { from } => write!(f, "the CA of the client's certificate is valid from {} only", rfc3339(*from)),
            Self::Other(what) => f.write_str(what),
        }
    }
}
