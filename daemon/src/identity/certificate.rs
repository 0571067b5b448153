//! The names in a certificate, read so that no two readers can disagree: anything doubtful is a flaw, not a guess.

use x509_parser::asn1_rs::Tag;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::Quoted;

/// Attributes of a subject that a rule can name (RFC 4514, RFC 5280 appendix A), with their object identifiers.
pub(super) const ATTRIBUTES: [(&str, &str); 9] = [
    ("CN", "2.5.4.3"),
    ("serialNumber", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
];

/// What makes a certificate's names doubtful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Not a certificate in DER, or bytes behind it.
    #[error("not one X.509 certificate in DER")]
    Encoding,
    /// A NUL or another control character in a name: some reader would stop or be misled there.
    #[error("a name in the certificate has a control character")]
    Control,
    /// A URI or DNS SAN beyond ASCII, or one that does not read.
    #[error("a subject alternative name in the certificate is not ASCII")]
    AlternativeName,
    /// Two values of one attribute of the subject.
    #[error("the subject has an attribute twice")]
    Twice,
    /// A part of the subject with several attributes.
    #[error("the subject has a part of several attributes")]
    MultiValued,
    /// An attribute of the subject in an encoding other than UTF-8 or ASCII.
    #[error("the subject has an attribute that is not UTF-8")]
    NotText,
}

/// What rules look at.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) certificate_sha256: [u8; 32],
    pub(super) spki_sha256: [u8; 32],
    pub(super) uris: Vec<String>,
    pub(super) dns: Vec<String>,
    /// Attributes by short name (or object identifier) in the certificate's order. A flaw refuses the peer only if a rule looks here.
    pub(super) subject: Result<Vec<(String, String)>, Flaw>,
}

impl Names {
    pub(super) fn read(der: &[u8]) -> Result<Self, Flaw> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| Flaw::Encoding)?;
        if !rest.is_empty() {
            return Err(Flaw::Encoding);
        }
        let (uris, dns) = alternative_names(&certificate)?;
        let subject = match subject(certificate.subject()) {
            // A NUL is never an accident.
            Err(Flaw::Control) => return Err(Flaw::Control),
            subject => subject,
        };
        Ok(Self {
            certificate_sha256: cipher::mac::sha256(&[der]),
            spki_sha256: cipher::mac::sha256(&[certificate.public_key().raw]),
            uris,
            dns,
            subject,
        })
    }

    /// One line per name, for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let subject = match &self.subject {
            Ok(attributes) => {
                attributes.iter().map(|(name, value)| format!("{name}={}", Quoted::new(value))).collect::<Vec<_>>().join(", ")
            }
            Err(flaw) => flaw.to_string(),
        };
        let uris = self.uris.iter().map(|uri| format!("URI {}", Quoted::new(uri)));
        let dns = self.dns.iter().map(|name| format!("DNS {}", Quoted::new(name)));
        let spki = format!("public key SHA-256 {}", hex(&self.spki_sha256));
        uris.chain(dns).chain([format!("subject {subject}"), spki]).collect()
    }
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Result<(Vec<String>, Vec<String>), Flaw> {
    let (mut uris, mut dns) = (Vec::new(), Vec::new());
    for extension in certificate.extensions() {
        if extension.oid != OID_X509_EXT_SUBJECT_ALT_NAME {
            continue;
        }
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else { return Err(Flaw::AlternativeName) };
        for name in &names.general_names {
            match name {
                GeneralName::URI(text) => uris.push(ascii(text)?),
                GeneralName::DNSName(text) => dns.push(ascii(text)?),
                GeneralName::Invalid(..) => return Err(Flaw::AlternativeName),
                _ => {}
            }
        }
    }
    Ok((uris, dns))
}

fn ascii(text: &str) -> Result<String, Flaw> {
    if text.chars().any(char::is_control) {
        return Err(Flaw::Control);
    }
    if text.is_ascii() { Ok(text.to_owned()) } else { Err(Flaw::AlternativeName) }
}

fn subject(name: &X509Name<'_>) -> Result<Vec<(String, String)>, Flaw> {
    // Control characters first, wherever they are: they outweigh every other flaw.
    let texts: Vec<_> = name.iter_attributes().map(text).collect();
    if texts.iter().flatten().any(|text| text.chars().any(char::is_control)) {
        return Err(Flaw::Control);
    }
    if name.iter_rdn().any(|part| part.iter().count() != 1) {
        return Err(Flaw::MultiValued);
    }
    let mut attributes: Vec<(String, String)> = Vec::new();
    for (attribute, text) in name.iter_attributes().zip(texts) {
        let identifier = attribute.attr_type().to_id_string();
        let short = ATTRIBUTES.iter().find(|(_, known)| *known == identifier).map_or(identifier.as_str(), |(short, _)| short);
        if attributes.iter().any(|(other, _)| other == short) {
            return Err(Flaw::Twice);
        }
        attributes.push((short.to_owned(), text.ok_or(Flaw::NotText)?));
    }
    Ok(attributes)
}

/// The text of an attribute, if it is in one of the encodings whose bytes mean the same to everybody.
fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let value = attribute.attr_value();
    let text = std::str::from_utf8(value.data).ok()?;
    let known = match value.tag() {
        Tag::Utf8String => true,
        Tag::PrintableString | Tag::Ia5String => text.is_ascii(),
        _ => false,
    };
    known.then(|| text.to_owned())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
