//! Certificate revocation lists: which are believed (C21), and the newest of each CA, which serves all listeners of a node.
//!
//! A list is believed if a CA of the listener has signed it, if it is not past its next update, and if its number is not below one that was
//! seen of the same CA before. Whatever is wrong with a file, the last good list of a CA stays in force until it expires; then nobody with a
//! certificate of that CA comes in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keys::id::Time;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::oid_registry::OID_X509_EXT_DELTA_CRL_INDICATOR;
use x509_parser::prelude::{CertificateRevocationList, FromDer, ParsedExtension, X509Version};

use super::ca::{Ca, CaId};
use super::judge::verifier;
use super::pem::{self, TlsError};
use super::signature::is_signed_by;
use crate::system::rfc3339;

/// A CRL number has no more octets (RFC 5280, 5.2.3).
pub const CRL_NUMBER_BYTES: usize = 20;

/// The number of a CRL, big-endian; a later list of the same CA has a higher one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrlNumber(pub [u8; CRL_NUMBER_BYTES]);

impl CrlNumber {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut number = [0; CRL_NUMBER_BYTES];
        number[CRL_NUMBER_BYTES.checked_sub(bytes.len())?..].copy_from_slice(bytes);
        Some(Self(number))
    }
}

impl fmt::Display for CrlNumber {
    /// Decimal where people write decimal numbers, else as OpenSSL prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_first_chunk::<12>() {
            Some((&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], rest)) => {
                write!(f, "{}", rest.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
            }
            _ => write!(f, "0x{}", data_encoding::HEXUPPER.encode(&self.0)),
        }
    }
}

impl fmt::Debug for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with a CRL or its file; the last good list of the CA stays in force.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    /// The file does not read.
    #[error("{0}: the revocation lists of before stay in force until they expire")]
    File(#[from] TlsError),
    /// A list does not read.
    #[error("{file} holds a damaged CRL: put the CA's latest there")]
    Damaged {
        /// The file.
        file: PathBuf,
    },
    /// None of the CAs has issued it.
    #[error("{file} holds a CRL of {issuer}, which is no CA in client_ca: take it out, or add the CA")]
    Stranger {
        /// The file.
        file: PathBuf,
        /// Who has.
        issuer: String,
    },
    /// It is not signed by the CA whose name it bears, or that CA may not sign it.
    #[error("the CRL of {issuer} in {file} is not signed by a key of that CA for CRLs: put the CA's own there")]
    Signature {
        /// The file.
        file: PathBuf,
        /// Whose it should be.
        issuer: String,
    },
    /// It is one of the kinds that a client cannot be judged by.
    #[error(
        "the CRL of {issuer} in {file} {what}: have the CA issue one complete list (RFC 5280, version 2) with a signature that TLS accepts"
    )]
    Unfit {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        issuer: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A part that RFC 5280 asks for is not there.
    #[error("the CRL of {issuer} in {file} has no usable {what}: have the CA issue one as RFC 5280, 5.1 and 5.2.3 ask")]
    Lacks {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        issuer: String,
        /// What is missing.
        what: &'static str,
    },
    /// A later one was seen before.
    #[error("the CRL of {issuer} in {file} has number {number}, but {newest} was seen before: put the CA's latest there")]
    Older {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        issuer: String,
        /// Its number.
        number: CrlNumber,
        /// The highest seen.
        newest: CrlNumber,
    },
    /// It is past its next update, and the grace is over.
    #[error("the CRL of {issuer} in {file} has expired on {since}: put the CA's latest there")]
    Expired {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        issuer: String,
        /// Its next update.
        since: String,
    },
    /// There is no list for a CA, neither in the file nor from before.
    #[error("there is no CRL of {issuer}: put the CA's latest into {file}; until then nobody with a certificate of that CA is let in")]
    Absent {
        /// The file.
        file: PathBuf,
        /// Whose list is missing.
        issuer: String,
    },
}

impl CrlError {
    /// Is it worth while to read the same file again?
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::File(error) if error.may_pass())
    }
}

/// A list that is believed.
#[derive(Debug, Clone)]
pub struct Crl {
    pub(super) ca: CaId,
    /// The CA's name, for people.
    pub issuer: String,
    /// Its number.
    pub number: CrlNumber,
    /// When it was made.
    pub this_update: Time,
    /// When the next one is due.
    pub next_update: Time,
    pub(super) der: CertificateRevocationListDer<'static>,
}

/// The newest list of each CA, and the highest number that was ever seen.
#[derive(Debug, Clone, Default)]
pub struct Crls {
    newest: BTreeMap<CaId, Arc<Crl>>,
    floors: BTreeMap<CaId, CrlNumber>,
}

impl Crls {
    /// Takes what is good in a file; returns what is not.
    pub(super) fn take(&mut self, file: &Path, cas: &[Ca], grace: Duration, now: Time) -> Vec<CrlError> {
        let mut faults = Vec::new();
        match lists(file) {
            Ok(lists) => faults.extend(lists.into_iter().filter_map(|der| self.offer(file, cas, grace, now, der).err())),
            Err(error) => faults.push(error.into()),
        }
        let without = cas.iter().filter(|ca| !self.newest.contains_key(&ca.id));
        faults.extend(without.map(|ca| CrlError::Absent { file: file.to_owned(), issuer: ca.name.clone() }));
        faults
    }

    fn offer(
        &mut self,
        file: &Path,
        cas: &[Ca],
        grace: Duration,
        now: Time,
        der: CertificateRevocationListDer<'static>,
    ) -> Result<(), CrlError> {
        let crl = read(file, cas, der)?;
        let (file, issuer) = (file.to_owned(), crl.issuer.clone());
        match self.floors.get(&crl.ca) {
            Some(newest) if crl.number < *newest => Err(CrlError::Older { file, issuer, number: crl.number, newest: *newest }),
            _ if now > until(crl.next_update, grace) => Err(CrlError::Expired { file, issuer, since: rfc3339(crl.next_update) }),
            _ => {
                self.floors.insert(crl.ca, crl.number);
                self.newest.insert(crl.ca, Arc::new(crl));
                Ok(())
            }
        }
    }

    /// Lists below a number that was seen before this process began are not believed any more. Returns whether there were any.
    pub fn raise(&mut self, floors: &BTreeMap<CaId, CrlNumber>) -> bool {
        let before = self.newest.len();
        for (ca, floor) in floors {
            let known = self.floors.entry(*ca).or_insert(*floor);
            *known = (*known).max(*floor);
            self.newest.retain(|id, crl| id != ca || crl.number >= *floor);
        }
        self.newest.len() < before
    }

    /// The highest number seen of each CA.
    #[must_use]
    pub fn floors(&self) -> &BTreeMap<CaId, CrlNumber> {
        &self.floors
    }

    pub(super) fn of(&self, ca: CaId) -> Option<&Arc<Crl>> {
        self.newest.get(&ca)
    }
}

/// The last second at which a list counts.
pub(super) fn until(next_update: Time, grace: Duration) -> Time {
    let grace_seconds = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
    Time::from_seconds(next_update.seconds().saturating_add(grace_seconds))
}

fn lists(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let text = pem::read(file)?;
    let lists: Vec<_> =
        CertificateRevocationListDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| pem::fault(file, &error))?;
    if lists.is_empty() { Err(TlsError::Nothing { file: file.to_owned(), wants: "certificate revocation list in PEM" }) } else { Ok(lists) }
}

/// Why a list cannot say of every certificate of its CA whether it is revoked, if it cannot.
/// A name of the point that a whole list is fetched from is no fault: many CAs write it, and only certificates that name the same point are judged by it.
fn unfit(parsed: &CertificateRevocationList<'_>) -> Option<&'static str> {
    if parsed.version() != Some(X509Version::V2) {
        return Some("is of version 1");
    }
    parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        _ if extension.oid == OID_X509_EXT_DELTA_CRL_INDICATOR => Some("is a delta"),
        ParsedExtension::IssuingDistributionPoint(scope) if scope.indirect_crl => Some("is an indirect one"),
        ParsedExtension::IssuingDistributionPoint(scope)
            if scope.only_contains_user_certs
                || scope.only_contains_ca_certs
                || scope.only_contains_attribute_certs
                || scope.only_some_reasons.is_some() =>
        {
            Some("tells of a part of the CA's certificates only (Issuing Distribution Point)")
        }
        _ => None,
    })
}

fn read(file: &Path, cas: &[Ca], der: CertificateRevocationListDer<'static>) -> Result<Crl, CrlError> {
    let damaged = || CrlError::Damaged { file: file.to_owned() };
    let (rest, parsed) = CertificateRevocationList::from_der(&der).map_err(|_| damaged())?;
    if !rest.is_empty() {
        return Err(damaged());
    }
    let issuer = parsed.issuer().to_string();
    let lacks = |what| CrlError::Lacks { file: file.to_owned(), issuer: issuer.clone(), what };
    let mut namesakes = cas.iter().filter(|ca| ca.subject == parsed.issuer().as_raw()).peekable();
    if namesakes.peek().is_none() {
        return Err(CrlError::Stranger { file: file.to_owned(), issuer });
    }
    if let Some(what) = unfit(&parsed) {
        return Err(CrlError::Unfit { file: file.to_owned(), issuer, what });
    }
    let verdicts: Vec<_> = namesakes.filter(|ca| ca.signs_crls).map(|ca| (ca, is_signed_by(&der, &ca.key))).collect();
    let Some(&(ca, _)) = verdicts.iter().find(|(_, verdict)| *verdict == Some(true)) else {
        let file = file.to_owned();
        return Err(if verdicts.iter().any(|(_, verdict)| verdict.is_none()) {
            CrlError::Unfit { file, issuer, what: "is signed with an algorithm that is not accepted" }
        } else {
            CrlError::Signature { file, issuer }
        });
    };
    // What judges by it later has to read it as well: version 2, not a delta, no critical extension that it does not know.
    verifier(ca, std::iter::once(der.clone())).map_err(|_| damaged())?;
    let number = parsed.crl_number().and_then(|number| CrlNumber::read(&number.to_bytes_be())).ok_or_else(|| lacks("CRL number"))?;
    let next_update = parsed.next_update().ok_or_else(|| lacks("next update"))?;
    let (this_update, next_update) = (Time::from_seconds(parsed.last_update().timestamp()), Time::from_seconds(next_update.timestamp()));
    Ok(Crl { ca: ca.id, issuer: ca.name.clone(), number, this_update, next_update, der })
}
