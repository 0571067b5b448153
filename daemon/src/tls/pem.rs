//! Certificates and private keys from PEM files, with errors that name the file and the fault.

use std::path::{Path, PathBuf};

use keys::id::Time;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::system::rfc3339;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("{file}: {source}", file = .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not well-formed PEM.
    #[error("{file} is not well-formed PEM: {what}", file = .file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// What is wrong; never the file's content.
        what: &'static str,
    },
    /// A PEM file without what it should hold.
    #[error("{file} holds no {wants}", file = .file.display())]
    Nothing {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        wants: &'static str,
    },
    /// A certificate that does not read.
    #[error("{file} holds a damaged certificate", file = .file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
    },
    /// A certificate that is no longer valid.
    #[error("the certificate of {subject} in {file} has expired on {since}: renew it", file = .file.display())]
    Expired {
        /// The file.
        file: PathBuf,
        /// Its subject.
        subject: String,
        /// Its last second.
        since: String,
    },
    /// A certificate that is not yet valid.
    #[error("the certificate of {subject} in {file} is valid from {from} only: look at the system's clock", file = .file.display())]
    NotYetValid {
        /// The file.
        file: PathBuf,
        /// Its subject.
        subject: String,
        /// Its first second.
        from: String,
    },
    /// The private key is another certificate's.
    #[error("{key} does not hold the private key of the first certificate in {cert}", key = .key.display(), cert = .cert.display())]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Not a name that a server can have.
    #[error("{name:?} is neither an IP address nor a DNS name")]
    ServerName {
        /// The name.
        name: String,
    },
    /// What the file holds cannot be used for TLS.
    #[error("{file} cannot be used for TLS: {what}", file = .file.display())]
    Rejected {
        /// The file.
        file: PathBuf,
        /// What the TLS library says.
        what: String,
    },
}

impl TlsError {
    /// Is it worth while to read the same file again? A lack of descriptors passes, and so does the time before a first second.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreadable { .. } | Self::NotYetValid { .. })
    }
}

/// Every certificate of a file, in its order; at least one.
///
/// # Errors
/// [`TlsError`] names the file and what is wrong.
pub fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(file)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| fault(file, &error))?;
    if chain.is_empty() { Err(TlsError::Nothing { file: file.to_owned(), wants: "certificate in PEM" }) } else { Ok(chain) }
}

/// The first private key of a file: PKCS#8, PKCS#1 or SEC 1, not encrypted.
pub(super) fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    match PrivateKeyDer::from_pem_slice(&read(file)?) {
        Ok(key) => Ok(key),
        Err(PemError::NoItemsFound) => Err(TlsError::Nothing { file: file.to_owned(), wants: "unencrypted private key in PEM" }),
        Err(error) => Err(fault(file, &error)),
    }
}

/// When a certificate is valid: first and last second.
///
/// # Errors
/// [`TlsError::Certificate`] with the name of `file`.
pub fn dates(file: &Path, der: &CertificateDer<'_>) -> Result<(Time, Time), TlsError> {
    let validity = parse(file, der)?.validity().clone();
    Ok((Time::from_seconds(validity.not_before.timestamp()), Time::from_seconds(validity.not_after.timestamp())))
}

/// Refuses a certificate that is not valid `now`.
pub(super) fn check_dates(file: &Path, der: &CertificateDer<'_>, now: Time) -> Result<(), TlsError> {
    let (from, to) = dates(file, der)?;
    let (file, subject) = (file.to_owned(), parse(file, der)?.subject().to_string());
    if now.seconds() < from.seconds() {
        return Err(TlsError::NotYetValid { file, subject, from: rfc3339(from) });
    }
    if now.seconds() > to.seconds() {
        return Err(TlsError::Expired { file, subject, since: rfc3339(to) });
    }
    Ok(())
}

pub(super) fn parse<'a>(file: &Path, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, TlsError> {
    X509Certificate::from_der(der).map(|(_, certificate)| certificate).map_err(|_| TlsError::Certificate { file: file.to_owned() })
}

pub(super) fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    std::fs::read(file).map(Zeroizing::new).map_err(|source| TlsError::Unreadable { file: file.to_owned(), source })
}

pub(super) fn fault(file: &Path, error: &PemError) -> TlsError {
    let what = match error {
        PemError::MissingSectionEnd { .. } => "a section has no END line",
        PemError::IllegalSectionStart { .. } => "a BEGIN line is damaged",
        PemError::Base64Decode(_) => "a section is not base64",
        _ => "a section does not read",
    };
    TlsError::Pem { file: file.to_owned(), what }
}
