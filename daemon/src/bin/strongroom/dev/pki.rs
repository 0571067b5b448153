//! The certificates of `dev`: a CA, one server certificate, one client certificate for each kind of principal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::certs::{Ca, CertError, ClientName, Holder, Validity, write_private};
use daemon::system::SystemClock;
use keys::id::ScopeName;
use keys::policy::Role;
use keys::port::Clock;

use crate::dev::told;
use crate::failure::{Failure, Kind};

/// A throwaway appliance's certificates outlive every test and no customer.
const VALID_FOR: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Name in `dev.env`, tenant, name and role of each client certificate.
pub(crate) const CLIENTS: [(&str, Option<&str>, &str, Role); 9] = [
    ("CLIENT", Some("acme"), "billing", Role::Service),
    ("CLIENT2", Some("globex"), "billing", Role::Service),
    ("TENANT_ADMIN", Some("acme"), "admin", Role::TenantAdmin),
    ("OPERATOR", None, "operator", Role::Operator),
    ("AUDITOR", None, "auditor", Role::Auditor),
    ("CUSTODIAN1", None, "custodian-1", Role::Custodian),
    ("CUSTODIAN2", None, "custodian-2", Role::Custodian),
    ("CUSTODIAN3", None, "custodian-3", Role::Custodian),
    ("EDGE", None, "edge", Role::Edge),
];

/// The folder with all of them.
pub(crate) struct Pki {
    folder: PathBuf,
}

impl Pki {
    /// The certificates below `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { folder: dir.to_owned() }
    }

    /// Certificate of `name`, in PEM.
    pub(crate) fn cert(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.pem", name.to_lowercase()))
    }

    /// Its key, in PKCS#8 and PEM.
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.key", name.to_lowercase()))
    }

    /// What the CA has revoked: nothing, until somebody puts another list there.
    pub(crate) fn crl(&self) -> PathBuf {
        self.folder.join("ca.crl")
    }

    /// The first client's certificate and key in one file.
    pub(crate) fn client_pem(&self) -> PathBuf {
        self.folder.join("client-both.pem")
    }

    /// Makes what is missing; the last file made says that all are there.
    pub(crate) fn ensure(&self) -> Result<(), Failure> {
        if self.client_pem().exists() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder).map_err(told(self.folder.display()))?;
        self.make().map_err(|error| Failure::of(Kind::Failed, &error))
    }

    /// Makes the certificate of a further edge, unless it is there: its group has the name of the edge.
    pub(crate) fn ensure_edge(&self, group: &ScopeName) -> Result<(), Failure> {
        let name = group.as_str().to_uppercase();
        if self.cert(&name).exists() {
            return Ok(());
        }
        let make = || {
            let validity = Validity::starting(SystemClock.now(), VALID_FOR)?;
            let client = ClientName::new(None, group.clone(), Role::Edge)?;
            let ca = Ca::load(&self.cert("ca"), &self.key("ca"))?;
            ca.issue(&Holder::Client(client), validity)?.write(&self.cert(&name), &self.key(&name))
        };
        make().map_err(|error| Failure::of(Kind::Failed, &error))
    }

    fn make(&self) -> Result<(), CertError> {
        let validity = Validity::starting(SystemClock.now(), VALID_FOR)?;
        let (ca, issued) = Ca::create("strongroom dev CA", validity)?;
        issued.write(&self.cert("ca"), &self.key("ca"))?;
        write_private(&self.crl(), ca.revocation_list(1, &[], validity)?.as_bytes())?;
        ca.issue(&Holder::Server { names: Vec::new() }, validity)?.write(&self.cert("server"), &self.key("server"))?;
        for (name, tenant, person, role) in CLIENTS {
            let parse = |text: &str| text.parse::<ScopeName>().expect("the table's names are names");
            let client = ClientName::new(tenant.map(parse), parse(person), role)?;
            ca.issue(&Holder::Client(client), validity)?.write(&self.cert(name), &self.key(name))?;
        }
        let both =
            [self.cert("CLIENT"), self.key("CLIENT")].map(|path| std::fs::read(&path).map_err(|source| CertError::Io { path, source }));
        let [cert, key] = both;
        write_private(&self.client_pem(), &[cert?, key?].concat())
    }
}
