//! Judges a client's certificate chain at any time, with the words for the log.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keys::id::Time;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, SignatureScheme};
use x509_parser::nom::Parser;
use x509_parser::prelude::{X509Certificate, X509CertificateParser};

use super::ca::{Ca, CaId};
use super::crl::{Crl, Crls, until};
use super::pem::TlsError;
use super::signature::{is_signed_by, remembering};
use super::{provider, shown, unix};
use crate::system::rfc3339;

/// Most certificates that a client may send; real chains have two or three.
const CERTIFICATES_MAX: usize = 8;
/// Most bytes of all of them. The listener keeps a chain with every connection and every session that can be resumed.
const CHAIN_BYTES_MAX: usize = 16 * 1024;
/// Most verifiers of one trust anchor.
const CHOICES_MAX: usize = 64;

/// Says whether a client's chain leads to one of the CAs now. Cheap to clone, keeps nothing of what it has judged.
///
/// Each trust anchor has a verifier of its own, because a chain is as good as its CA's own dates, which path validation (RFC 5280, 6.1) leaves
/// out, and as its CA's revocation list. The same judge stands in the handshake and behind every live connection.
#[derive(Debug, Clone)]
pub struct ClientJudge(Arc<Court>);

#[derive(Debug)]
struct Court {
    anchors: Vec<Anchor>,
    /// CAs of the file below an anchor, which clients need not send.
    below: Vec<CertificateDer<'static>>,
    /// Names of the anchors, which clients choose a certificate by.
    hints: Vec<DistinguishedName>,
}

#[derive(Debug)]
struct Anchor {
    id: CaId,
    name: String,
    not_before: Time,
    not_after: Time,
    /// One for each choice among lists of the same issuer's name, because the TLS library takes the first of a name; at least one.
    verifiers: Vec<Arc<dyn ClientCertVerifier>>,
    revoked: Revoked,
}

/// What is known of the certificates that an anchor, or a CA below it, has revoked.
#[derive(Debug)]
enum Revoked {
    /// It is not asked for.
    NotAsked,
    /// There is no list of the anchor itself.
    Unknown,
    /// The lists that the verifier has.
    Known(Vec<Expiry>),
}

/// When the list of one CA expires.
#[derive(Debug)]
struct Expiry {
    ca: CaId,
    name: String,
    next_update: Time,
    until: Time,
}

/// Why a client's certificate does not hold. The peer only sees a TLS alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The client showed none.
    NoCertificate,
    /// It sent more certificates than anybody needs.
    TooLong,
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
    /// A CA has revoked it, or an intermediate.
    Revoked,
    /// The CA that issued it, or an intermediate, is not in client_ca, so that nothing says what it has revoked.
    UnknownStatus,
    /// There is no revocation list of the CA that is believed.
    NoCrl {
        /// The CA.
        ca: String,
    },
    /// The revocation list of the CA is too old to be believed.
    CrlExpired {
        /// The CA.
        ca: String,
        /// When the next one was due.
        since: Time,
    },
    /// Anything else, in the TLS library's words.
    Other(String),
}

impl std::error::Error for Why {}

/// The alert that the peer gets follows from it.
impl From<Why> for rustls::Error {
    fn from(why: Why) -> Self {
        let certificate = match why {
            Why::NoCertificate => return Self::NoCertificatesPresented,
            Why::UnknownIssuer => CertificateError::UnknownIssuer,
            Why::Expired { since } => CertificateError::ExpiredContext { time: unix(since), not_after: unix(since) },
            Why::NotYetValid { from } => CertificateError::NotValidYetContext { time: unix(from), not_before: unix(from) },
            Why::NotForClients => CertificateError::InvalidPurpose,
            Why::Signature => CertificateError::BadSignature,
            Why::Revoked => CertificateError::Revoked,
            Why::UnknownStatus => CertificateError::UnknownRevocationStatus,
            other => CertificateError::Other(OtherError(Arc::new(other))),
        };
        Self::InvalidCertificate(certificate)
    }
}

impl ClientJudge {
    /// - `crls`: the lists, and how long after its next update one still counts; `None` if nobody asks for revocation.
    pub(super) fn new(file: &Path, cas: &[Ca], crls: Option<(&Crls, Duration)>) -> Result<Self, TlsError> {
        let anchors = cas.iter().filter(|ca| !ca.is_below).map(|ca| Anchor::new(file, ca, cas, crls)).collect::<Result<Vec<_>, _>>()?;
        let hints = anchors.iter().flat_map(|anchor| anchor.verifiers[0].root_hint_subjects().iter().cloned()).collect();
        let below = cas.iter().filter(|ca| ca.is_below).map(|ca| ca.der.clone()).collect();
        Ok(Self(Arc::new(Court { anchors, below, hints })))
    }

    /// Judges a chain, the client's own certificate first, as the peer sent it; returns the last second up to which the verdict can stand.
    ///
    /// # Errors
    /// [`Why`] it does not hold at `now`.
    pub fn check(&self, chain: &[CertificateDer<'_>], now: Time) -> Result<Time, Why> {
        let (leaf, intermediates) = chain.split_first().ok_or(Why::NoCertificate)?;
        self.check_parts(leaf, intermediates, now)
    }

    fn check_parts(&self, leaf: &CertificateDer<'_>, sent: &[CertificateDer<'_>], now: Time) -> Result<Time, Why> {
        if sent.len() >= CERTIFICATES_MAX || sent.iter().map(|der| der.len()).sum::<usize>() + leaf.len() > CHAIN_BYTES_MAX {
            return Err(Why::TooLong);
        }
        let intermediates: Vec<_> = sent.iter().chain(&self.0.below).map(|der| CertificateDer::from(&**der)).collect();
        let mut worst = Why::UnknownIssuer;
        for anchor in &self.0.anchors {
            match anchor.check(leaf, &intermediates, now) {
                Ok(until) => return Ok(until),
                // The CA that issued it has more to say than those that did not.
                Err(Why::UnknownIssuer) => {}
                Err(why) => worst = why,
            }
        }
        Err(worst)
    }
}

impl ClientCertVerifier for ClientJudge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.0.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        shown::note(leaf);
        let _until = self.check_parts(leaf, intermediates, time(now)).map_err(rustls::Error::from)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl Anchor {
    fn new(file: &Path, ca: &Ca, cas: &[Ca], crls: Option<(&Crls, Duration)>) -> Result<Self, TlsError> {
        let own_and_below = || cas.iter().filter(|other| other.is_below || other.id == ca.id);
        let (revoked, lists) = match crls {
            None => (Revoked::NotAsked, Vec::new()),
            Some((crls, _)) if crls.of(ca.id).is_none() => (Revoked::Unknown, Vec::new()),
            Some((crls, grace)) => {
                let known: Vec<_> = own_and_below().filter_map(|ca| crls.of(ca.id).map(|crl| (ca, crl))).collect();
                let expiries = known.iter().map(|(ca, crl)| Expiry {
                    ca: ca.id,
                    name: ca.name.clone(),
                    next_update: crl.next_update,
                    until: until(crl.next_update, grace),
                });
                (Revoked::Known(expiries.collect()), known)
            }
        };
        let rejected = |what| TlsError::Rejected { file: file.to_owned(), what };
        let choices = choices(&lists).ok_or_else(|| rejected("it has too many CAs of the same names: take the old ones out".to_owned()))?;
        let verifiers = choices.into_iter().map(|lists| verifier(ca, lists.iter().map(|crl| crl.der.clone())));
        let verifiers = verifiers.collect::<Result<_, _>>().map_err(rejected)?;
        Ok(Self { id: ca.id, name: ca.name.clone(), not_before: ca.not_before, not_after: ca.not_after, verifiers, revoked })
    }

    /// Asks each verifier. A list that another key of the same name has signed makes a verifier refuse, so the right choice alone lets in.
    fn verify(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: Time) -> Result<(), Why> {
        // That a list is another key's says less than what the right list says, whichever is asked first.
        let is_vague = |why: &Why| matches!(why, Why::Other(_) | Why::Signature);
        let mut worst: Option<Why> = None;
        for verifier in &self.verifiers {
            match verifier.verify_client_cert(leaf, intermediates, unix(now)).map_err(|error| Why::from(&error)) {
                Ok(_) => return Ok(()),
                Err(why) if worst.as_ref().is_none_or(is_vague) => worst = Some(why),
                Err(_) => {}
            }
        }
        Err(worst.unwrap_or(Why::UnknownIssuer))
    }

    fn check(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: Time) -> Result<Time, Why> {
        self.verify(leaf, intermediates, now)?;
        if now.seconds() > self.not_after.seconds() {
            return Err(Why::CaExpired { since: self.not_after });
        }
        if now.seconds() < self.not_before.seconds() {
            return Err(Why::CaNotYetValid { from: self.not_before });
        }
        let lists = match &self.revoked {
            Revoked::NotAsked => &[][..],
            Revoked::Unknown => return Err(Why::NoCrl { ca: self.name.clone() }),
            Revoked::Known(lists) => lists,
        };
        let (above, mut ends) = above(leaf, intermediates);
        for list in lists.iter().filter(|list| list.ca == self.id || above.contains(&list.ca)) {
            if now > list.until {
                return Err(Why::CrlExpired { ca: list.name.clone(), since: list.next_update });
            }
            ends.push(list.until);
        }
        // What is over already is on no path that was taken.
        Ok(ends.into_iter().filter(|end| *end >= now).fold(self.not_after, Time::min))
    }
}

/// Every intermediate that has signed the leaf or one that has, whichever way the verifier went; and the last seconds of them and the leaf.
fn above(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> (Vec<CaId>, Vec<Time>) {
    // One that does not read is on no path.
    let read = |der| Some((der, shallow(der)?));
    let mut others: Vec<_> = intermediates.iter().filter_map(read).collect();
    let mut found: Vec<_> = read(leaf).into_iter().collect();
    let mut at = 0;
    while let Some((der, x509)) = found.get(at) {
        let has_signed = |(_, other): &mut (&CertificateDer<'_>, X509Certificate<'_>)| {
            other.subject() == x509.issuer() && is_signed_by(der, other.public_key().raw) == Some(true)
        };
        let issuers: Vec<_> = others.extract_if(.., has_signed).collect();
        found.extend(issuers);
        at += 1;
    }
    let ends = found.iter().map(|(_, x509)| Time::from_seconds(x509.validity().not_after.timestamp())).collect();
    (found.iter().skip(1).map(|(_, x509)| CaId::of(x509)).collect(), ends)
}

/// A certificate without what its extensions say, which takes most of the reading.
fn shallow<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509CertificateParser::new().with_deep_parse_extensions(false).parse(der).ok().map(|(_, x509)| x509)
}

/// Every way to take one list of each issuer's name; a single one if no two CAs share a name. `None` if there are too many.
fn choices<'a>(lists: &[(&Ca, &'a Arc<Crl>)]) -> Option<Vec<Vec<&'a Arc<Crl>>>> {
    let mut namesakes: BTreeMap<&[u8], BTreeMap<CaId, &'a Arc<Crl>>> = BTreeMap::new();
    for (ca, crl) in lists {
        namesakes.entry(&ca.subject).or_default().insert(ca.id, crl);
    }
    let mut choices = vec![Vec::new()];
    for lists in namesakes.into_values() {
        choices = choices.iter().flat_map(|before| lists.values().map(|crl| [&before[..], &[*crl]].concat())).collect();
        if choices.len() > CHOICES_MAX {
            return None;
        }
    }
    Some(choices)
}

/// A verifier of one trust anchor, which asks `lists` for every certificate of a chain, if there are any; their expiry is our own business.
pub(super) fn verifier(
    ca: &Ca,
    lists: impl IntoIterator<Item = CertificateRevocationListDer<'static>>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut store = RootCertStore::empty();
    store.add(ca.der.clone()).map_err(|error| error.to_string())?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::new(remembering())).with_crls(lists);
    builder.build().map_err(|error| error.to_string())
}

/// Why a handshake that ended in `error` failed, for the log.
#[must_use]
pub fn handshake_failure(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => Why::from(tls).to_string(),
        None => error.to_string(),
    }
}

/// Did a handshake fail because of the certificate that the client showed?
#[must_use]
pub fn is_of_certificate(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
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
            CertificateError::Revoked => Self::Revoked,
            CertificateError::UnknownRevocationStatus => Self::UnknownStatus,
            CertificateError::Other(OtherError(inner)) if inner.is::<Self>() => {
                inner.downcast_ref().cloned().unwrap_or(Self::UnknownIssuer)
            }
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
            Self::TooLong => write!(f, "the client sent more than {CERTIFICATES_MAX} certificates or {CHAIN_BYTES_MAX} bytes of them"),
            Self::UnknownIssuer => {
                f.write_str("the client's certificate is not from a CA in client_ca, or an intermediate certificate is missing")
            }
            Self::Expired { since } => write!(f, "the client's certificate has expired on {}", rfc3339(*since)),
            Self::NotYetValid { from } => write!(f, "the client's certificate is valid from {} only", rfc3339(*from)),
            Self::NotForClients => f.write_str("the extended key usage of the client's certificate does not allow clients"),
            Self::Signature => f.write_str("the client's certificate names a CA in client_ca, but is not signed with its key"),
            Self::CaExpired { since } => write!(f, "the CA of the client's certificate has expired on {}", rfc3339(*since)),
            Self::CaNotYetValid { from } => write!(f, "the CA of the client's certificate is valid from {} only", rfc3339(*from)),
            Self::Revoked => f.write_str("the client's certificate, or an intermediate one, is revoked"),
            Self::UnknownStatus => f.write_str(
                "a CA between the client's certificate and those in client_ca has no CRL here: add that CA to client_ca, and its CRL to crl",
            ),
            Self::NoCrl { ca } => write!(f, "there is no good CRL of {ca}, the CA of the client's certificate: put its latest into crl"),
            Self::CrlExpired { ca, since } => {
                write!(f, "the CRL of {ca}, a CA of the client's certificate, has expired on {}: put its latest into crl", rfc3339(*since))
            }
            Self::Other(what) => f.write_str(what),
        }
    }
}
