//! What an X.509 certificate says of itself, as attributes of section 3.8 to 3.16.

use cipher::certificate::Certificate;
use keys::attributes::Other;

use crate::attribute::AttributeValue;
use crate::enums::{CertificateType, DigitalSignatureAlgorithm};
use crate::instance::encoded;
use crate::object::{X509CertificateIdentifier, X509CertificateIssuer, X509CertificateSubject};
use crate::ttlv::ByteString;

/// The attributes of a certificate of so many bytes, to be kept.
pub(crate) fn attributes<'c>(certificate: &Certificate<'c>, bytes: usize) -> Vec<Other> {
    use AttributeValue as A;
    let strings = |names: &[&'c [u8]]| names.iter().map(|name| ByteString(name)).collect();
    let mut values = vec![
        A::CertificateType(CertificateType::X509),
        A::CertificateLength(i32::try_from(bytes).unwrap_or(i32::MAX)),
        A::X509CertificateIdentifier(X509CertificateIdentifier {
            issuer: Some(ByteString(certificate.issuer)),
            serial_number: Some(ByteString(certificate.serial_number)),
        }),
        A::X509CertificateSubject(X509CertificateSubject {
            distinguished_name: Some(ByteString(certificate.subject)),
            alternative_names: strings(&certificate.subject_names),
        }),
        A::X509CertificateIssuer(X509CertificateIssuer {
            distinguished_name: Some(ByteString(certificate.issuer)),
            alternative_names: strings(&certificate.issuer_names),
        }),
    ];
    values.extend(signed_by(certificate).map(A::DigitalSignatureAlgorithm));
    values.iter().map(|value| Other { name: value.name().to_owned(), index: 0, value: encoded(value) }).collect()
}

/// How it was signed, if the standard has a name for that.
pub(crate) fn signed_by(certificate: &Certificate<'_>) -> Option<DigitalSignatureAlgorithm> {
    use DigitalSignatureAlgorithm as D;
    match certificate.signature_algorithm.as_str() {
        "1.2.840.113549.1.1.4" => Some(D::Md5WithRsaEncryptionPkcs1V1_5),
        "1.2.840.113549.1.1.5" => Some(D::Sha1WithRsaEncryptionPkcs1V1_5),
        "1.2.840.113549.1.1.10" => Some(D::RsassaPssPkcs1V2_1),
        "1.2.840.113549.1.1.11" => Some(D::Sha256WithRsaEncryptionPkcs1V1_5),
        "1.2.840.113549.1.1.12" => Some(D::Sha384WithRsaEncryptionPkcs1V1_5),
        "1.2.840.113549.1.1.13" => Some(D::Sha512WithRsaEncryptionPkcs1V1_5),
        "1.2.840.113549.1.1.14" => Some(D::Sha224WithRsaEncryptionPkcs1V1_5),
        "1.2.840.10045.4.1" => Some(D::EcdsaWithSha1),
        "1.2.840.10045.4.3.1" => Some(D::EcdsaWithSha224),
        "1.2.840.10045.4.3.2" => Some(D::EcdsaWithSha256),
        "1.2.840.10045.4.3.3" => Some(D::EcdsaWithSha384),
        "1.2.840.10045.4.3.4" => Some(D::EcdsaWithSha512),
        _ => None,
    }
}
