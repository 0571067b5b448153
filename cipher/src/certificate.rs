//! What an X.509 certificate says of itself (RFC 5280), and nothing about whether to believe it.

use der::Reader;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use crate::Error;
use crate::key_form::{PublicForm, read_public, whole};
use crate::pair::PairKind;

/// A certificate's names, its key and how it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate<'a> {
    /// The issuer's distinguished name, in DER.
    pub issuer: &'a [u8],
    /// The subject's, in DER.
    pub subject: &'a [u8],
    /// The serial number: the content of its INTEGER.
    pub serial_number: &'a [u8],
    /// The names in Subject Alternative Name, each a GeneralName in DER.
    pub subject_names: Vec<&'a [u8]>,
    /// Those in Issuer Alternative Name.
    pub issuer_names: Vec<&'a [u8]>,
    /// The signature algorithm's object identifier in its dotted form.
    pub signature_algorithm: String,
    /// The kind of its key, if it is one of those that are offered.
    pub key: Option<PairKind>,
}

impl<'a> Certificate<'a> {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`Error::NotAKey`] for anything else, and for bytes behind it.
    pub fn read(given: &'a [u8]) -> Result<Self, Error> {
        let (rest, certificate) = X509Certificate::from_der(given).map_err(|_| not_a_certificate())?;
        if !rest.is_empty() {
            return Err(not_a_certificate());
        }
        let inner = &certificate.tbs_certificate;
        let (mut subject_names, mut issuer_names) = (Vec::new(), Vec::new());
        for extension in inner.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(_) => subject_names = general_names(extension.value)?,
                ParsedExtension::IssuerAlternativeName(_) => issuer_names = general_names(extension.value)?,
                _ => {}
            }
        }
        let key = read_public(PublicForm::SubjectPublicKeyInfo, inner.subject_pki.raw).ok().map(|(kind, _)| kind);
        Ok(Self {
            issuer: inner.issuer.as_raw(),
            subject: inner.subject.as_raw(),
            serial_number: inner.raw_serial(),
            subject_names,
            issuer_names,
            signature_algorithm: certificate.signature_algorithm.algorithm.to_id_string(),
            key,
        })
    }
}

/// The members of a SEQUENCE of GeneralNames, each with its tag.
fn general_names(extension: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let names = whole(extension, |reader| {
        let mut names = Vec::new();
        while !reader.is_finished() {
            names.push(reader.tlv_bytes()?);
        }
        Ok(names)
    });
    names.map_err(|_| not_a_certificate())
}

fn not_a_certificate() -> Error {
    Error::NotAKey { why: "the bytes are no X.509 certificate in DER" }
}
