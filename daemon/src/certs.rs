//! A small certificate authority: makes and signs the certificates of `strongroom cert issue` and `strongroom dev`.
//!
//! Keys are ECDSA P-256 in PKCS#8, certificates X.509 v3, both PEM. Serial numbers are random, so that a renewed certificate can be revoked
//! apart from the one before it. What a signing request says of its owner is not believed: only its key and the proof of owning it count.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keys::id::{ScopeName, Time};
use keys::policy::Role;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams, SanType, SerialNumber, SubjectPublicKeyInfo, date_time_ymd,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::identity::NO_NAME;

const SERIAL_BYTES: usize = 16;
/// 9999-12-31T23:59:59Z, the last second that X.509 can write (RFC 5280, 4.1.2.5).
const LAST_SECOND: i64 = 253_402_300_799;
const CERTIFICATE_REQUEST: &str = "CERTIFICATE REQUEST";

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A role with a tenant has none, or the other way round.
    #[error("the role {role} {}: leave the tenant {}", if *.wants_tenant { "belongs to a tenant" } else { "stands for no tenant" },
        if *.wants_tenant { "in" } else { "out" }, role = .role.name())]
    Tenant {
        /// The role.
        role: Role,
        /// Does it have one?
        wants_tenant: bool,
    },
    /// A server's name that no certificate can hold.
    #[error("{name:?} is neither an IP address nor a DNS name")]
    ServerName {
        /// The name.
        name: String,
    },
    /// The end is not after the beginning, or outside of what X.509 can write.
    #[error("a certificate is valid from a time after 1970 to a later one before the year 10000")]
    Validity,
    /// The CA's certificate or key does not read, or they do not belong together.
    #[error("{file}: {what}", file = .file.display())]
    Ca {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The signing request does not read, or its signature is wrong.
    #[error("the signing request cannot be used: {what}")]
    Request {
        /// What is wrong.
        what: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No randomness from the system.
    #[error("the system gives no randomness: {0}")]
    Entropy(getrandom::Error),
    /// Making a key or a signature failed.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    not_before_seconds: u64,
    not_after_seconds: u64,
}

impl Validity {
    /// Both ends in whole seconds; times in the past make an expired certificate.
    ///
    /// # Errors
    /// [`CertError::Validity`].
    pub fn between(not_before: Time, not_after: Time) -> Result<Self, CertError> {
        let (from, to) = (not_before.seconds(), not_after.seconds());
        match (u64::try_from(from), u64::try_from(to)) {
            (Ok(not_before_seconds), Ok(not_after_seconds)) if from < to && to <= LAST_SECOND => {
                Ok(Self { not_before_seconds, not_after_seconds })
            }
            _ => Err(CertError::Validity),
        }
    }

    /// `length` from `now` on.
    ///
    /// # Errors
    /// [`CertError::Validity`].
    pub fn starting(now: Time, length: Duration) -> Result<Self, CertError> {
        let seconds = i64::try_from(length.as_secs()).map_err(|_| CertError::Validity)?;
        Self::between(now, Time::from_seconds(now.seconds().saturating_add(seconds)))
    }
}

/// Whom a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A server: localhost, 127.0.0.1, ::1 and these DNS names and IP addresses.
    Server {
        /// Further names.
        names: Vec<String>,
    },
    /// A peer of the node.
    Client(ClientName),
}

/// What a client's certificate says: tenant, name and role, as URI SAN and as subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientName {
    tenant: Option<ScopeName>,
    name: ScopeName,
    role: Role,
}

impl ClientName {
    /// `name` is the service for the role `service`, else a personal name that tells certificates apart.
    ///
    /// # Errors
    /// [`CertError::Tenant`].
    pub fn new(tenant: Option<ScopeName>, name: ScopeName, role: Role) -> Result<Self, CertError> {
        let wants_tenant = matches!(role, Role::Service | Role::TenantAdmin);
        if tenant.is_some() == wants_tenant { Ok(Self { tenant, name, role }) } else { Err(CertError::Tenant { role, wants_tenant }) }
    }

    /// `strongroom://TENANT/NAME/ROLE`, the tenant `-` for a role of the appliance.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("strongroom://{}/{}/{}", self.tenant(), self.name, self.role.name())
    }

    fn tenant(&self) -> &str {
        self.tenant.as_ref().map_or(NO_NAME, ScopeName::as_str)
    }
}

/// A certificate with its new key.
#[derive(Debug)]
pub struct Issued {
    /// PEM.
    pub certificate: String,
    /// PKCS#8 in PEM.
    pub key: Zeroizing<String>,
}

impl Issued {
    /// Writes both, the key first, so that a certificate in place always has its key.
    ///
    /// # Errors
    /// [`CertError::Io`].
    pub fn write(&self, certificate: &Path, key: &Path) -> Result<(), CertError> {
        write_private(key, self.key.as_bytes())?;
        write_private(certificate, self.certificate.as_bytes())
    }
}

/// Writes a new private key, ECDSA on P-256 in PKCS #8 and PEM.
///
/// # Errors
/// [`CertError::Make`], [`CertError::Io`].
pub fn write_new_key(path: &Path) -> Result<(), CertError> {
    write_private(path, Zeroizing::new(KeyPair::generate()?.serialize_pem()).as_bytes())
}

/// A certificate authority that can sign.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// A new one; write the [`Issued`] down, the `Ca` itself signs at once.
    ///
    /// # Errors
    /// [`CertError::Entropy`], [`CertError::Make`].
    pub fn create(common_name: &str, validity: Validity) -> Result<(Self, Issued), CertError> {
        let mut params = params(validity)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let pem = Zeroizing::new(key.serialize_pem());
        Ok((Self { issuer: Issuer::new(params, key) }, Issued { certificate, key: pem }))
    }

    /// Reads one back.
    ///
    /// # Errors
    /// [`CertError::Io`]; [`CertError::Ca`] if a file does not read, or the key is not the certificate's.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, CertError> {
        let bad = |file: &Path, what: &dyn ToString| CertError::Ca { file: file.to_owned(), what: what.to_string() };
        let pair = KeyPair::from_pem(&Zeroizing::new(read(key)?)).map_err(|_| bad(key, &"holds no private key in PKCS#8 and PEM"))?;
        let pem = read(certificate)?;
        let (_, parsed) = parse_x509_pem(pem.as_bytes()).map_err(|_| bad(certificate, &"holds no certificate in PEM"))?;
        let x509 = parsed.parse_x509().map_err(|_| bad(certificate, &"its first certificate is damaged"))?;
        if !x509.is_ca() {
            return Err(bad(certificate, &"is not the certificate of a CA"));
        }
        if x509.public_key().raw != pair.subject_public_key_info() {
            return Err(bad(certificate, &format!("does not belong to the key in {}", key.display())));
        }
        let issuer = Issuer::from_ca_cert_pem(&pem, pair).map_err(|error| bad(certificate, &error))?;
        Ok(Self { issuer })
    }

    /// A certificate with a new key.
    ///
    /// # Errors
    /// [`CertError::ServerName`], [`CertError::Entropy`], [`CertError::Make`].
    pub fn issue(&self, holder: &Holder, validity: Validity) -> Result<Issued, CertError> {
        let key = KeyPair::generate()?;
        let certificate = leaf(holder, validity)?.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }

    /// A revocation list, in PEM, of the certificates with these serial numbers (as in the certificate: big-endian).
    ///
    /// - `number`: higher with each list.
    ///
    /// # Errors
    /// [`CertError::Make`].
    pub fn revocation_list(&self, number: u64, revoked: &[Vec<u8>], validity: Validity) -> Result<String, CertError> {
        let this_update = date_time_ymd(1970, 1, 1) + Duration::from_secs(validity.not_before_seconds);
        let next_update = date_time_ymd(1970, 1, 1) + Duration::from_secs(validity.not_after_seconds);
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }

    /// A certificate, in PEM, for the key of a PKCS#10 signing request in PEM. The names are `holder`'s, whatever the request asks for.
    ///
    /// # Errors
    /// [`CertError::Request`] if it does not read, is not signed by its key, or has a key that cannot be certified; as [`Ca::issue`].
    pub fn sign(&self, request_pem: &str, holder: &Holder, validity: Validity) -> Result<String, CertError> {
        let bad = |what: &str| CertError::Request { what: what.to_owned() };
        let (_, pem) = parse_x509_pem(request_pem.as_bytes()).map_err(|_| bad("it is not PEM"))?;
        if pem.label != CERTIFICATE_REQUEST {
            return Err(bad(&format!("it is a {}, not a {CERTIFICATE_REQUEST}", pem.label)));
        }
        let (_, request) = X509CertificationRequest::from_der(&pem.contents).map_err(|_| bad("it is damaged"))?;
        request.verify_signature().map_err(|_| bad("its signature is not by its own key"))?;
        let spki = request.certification_request_info.subject_pki.raw;
        let key = SubjectPublicKeyInfo::from_der(spki).map_err(|_| bad("its key is of an unknown kind"))?;
        if key.subject_public_key_info() != spki {
            return Err(bad("its key has parameters that a certificate from here cannot repeat"));
        }
        Ok(leaf(holder, validity)?.signed_by(&key, &self.issuer)?.pem())
    }
}

fn params(validity: Validity) -> Result<CertificateParams, CertError> {
    let mut serial = [0; SERIAL_BYTES];
    getrandom::fill(&mut serial).map_err(CertError::Entropy)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(validity.not_before_seconds);
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(validity.not_after_seconds);
    Ok(params)
}

fn leaf(holder: &Holder, validity: Validity) -> Result<CertificateParams, CertError> {
    let mut params = params(validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    match holder {
        Holder::Server { names } => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.distinguished_name.push(DnType::CommonName, names.first().map_or("localhost", String::as_str));
            let always = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
            params.subject_alt_names = always.iter().chain(names).map(|name| server_name(name)).collect::<Result<_, _>>()?;
        }
        Holder::Client(client) => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.distinguished_name.push(DnType::OrganizationName, client.tenant());
            params.distinguished_name.push(DnType::OrganizationalUnitName, client.role.name());
            params.distinguished_name.push(DnType::CommonName, client.name.as_str());
            params.subject_alt_names = vec![SanType::URI(client.uri().try_into()?)];
        }
    }
    Ok(params)
}

fn server_name(name: &str) -> Result<SanType, CertError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let known = rustls::pki_types::DnsName::try_from(name).is_ok();
    let dns = name.to_owned().try_into().ok().filter(|_| known);
    dns.map(SanType::DnsName).ok_or_else(|| CertError::ServerName { name: name.to_owned() })
}

fn read(path: &Path) -> Result<String, CertError> {
    std::fs::read_to_string(path).map_err(|source| CertError::Io { path: path.to_owned(), source })
}

/// Writes a file of mode 0600, whole or not at all, and durable when this returns.
///
/// # Errors
/// [`CertError::Io`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), CertError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|failed| failed.error)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|source| CertError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
