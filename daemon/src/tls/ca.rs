//! The CAs of a listener's clients, read from one PEM file.

use std::path::Path;

use keys::id::Time;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::X509Certificate;

use super::pem::{self, TlsError};
use super::signature::is_signed_by;

/// What tells CAs apart: SHA-256 of the public key. A CA of the same name with another key is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaId(pub [u8; 32]);

impl CaId {
    /// Of the CA that this is a certificate of.
    pub(super) fn of(x509: &X509Certificate<'_>) -> Self {
        Self(cipher::mac::sha256(&[x509.public_key().raw]))
    }
}

/// One certificate of the file.
#[derive(Debug, Clone)]
pub(super) struct Ca {
    pub(super) id: CaId,
    /// Its subject, for people.
    pub(super) name: String,
    /// Its subject, to be compared.
    pub(super) subject: Vec<u8>,
    /// Its public key with the algorithm, DER.
    pub(super) key: Vec<u8>,
    pub(super) der: CertificateDer<'static>,
    pub(super) not_before: Time,
    pub(super) not_after: Time,
    /// Its key usage, if it has one, allows signing CRLs (RFC 5280, 4.2.1.3).
    pub(super) signs_crls: bool,
    /// Another CA of the file has issued it. Then it is no trust anchor of its own, because its own issuer may have revoked it; clients need
    /// not send it.
    pub(super) is_below: bool,
}

/// Every CA of a file, in its order; at least one of them is a trust anchor.
pub(super) fn read(file: &Path) -> Result<Vec<Ca>, TlsError> {
    let chain = pem::chain(file)?;
    let parsed = chain.iter().map(|der| pem::parse(file, der)).collect::<Result<Vec<_>, _>>()?;
    let mut cas: Vec<Ca> = chain.iter().zip(&parsed).map(|(der, x509)| ca(der, x509, &parsed)).collect();
    if cas.iter().all(|ca| ca.is_below) {
        // They have signed each other in a ring.
        cas.iter_mut().for_each(|ca| ca.is_below = false);
    }
    Ok(cas)
}

fn ca(der: &CertificateDer<'static>, x509: &X509Certificate<'_>, all: &[X509Certificate<'_>]) -> Ca {
    // A namesake with an algorithm that nobody here can check counts as the issuer: a CA less is the safe fault.
    let is_issuer =
        |other: &X509Certificate<'_>| other.subject() == x509.issuer() && is_signed_by(der, other.public_key().raw) != Some(false);
    Ca {
        id: CaId::of(x509),
        key: x509.public_key().raw.to_vec(),
        name: x509.subject().to_string(),
        subject: x509.subject().as_raw().to_vec(),
        der: der.clone(),
        not_before: Time::from_seconds(x509.validity().not_before.timestamp()),
        not_after: Time::from_seconds(x509.validity().not_after.timestamp()),
        signs_crls: x509.key_usage().ok().flatten().is_none_or(|usage| usage.value.crl_sign()),
        is_below: x509.subject() != x509.issuer() && all.iter().any(is_issuer),
    }
}
