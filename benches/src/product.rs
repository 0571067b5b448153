//! The product under load: a real core with SoftHSM, embedded store, authorization and audit, and its clients' TLS.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use daemon::kmip_client::{Endpoint, KmipClient};
use daemon::tls::ClientTls;
use kmip::ProtocolVersion;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group::X25519;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use softhsm_test::{Core, signal, wait_for};

use crate::load::Server;

/// Who a client is.
#[derive(Debug, Clone, Copy)]
pub enum Who {
    /// acme/billing, service: it encrypts.
    Service,
    /// acme, tenant-admin: it creates.
    TenantAdmin,
}

impl Who {
    fn prefix(self) -> &'static str {
        match self {
            Self::Service => "CLIENT",
            Self::TenantAdmin => "TENANT_ADMIN",
        }
    }
}

/// A running core; killed when dropped.
pub struct Product {
    core: Core,
    daemon: Child,
}

impl Product {
    /// Prepares a cluster with its tenants in a fresh folder and starts a core on it.
    ///
    /// # Errors
    /// It does not start, or is not unsealed.
    pub fn start() -> anyhow::Result<Self> {
        let core = Core::prepared();
        let daemon = spawn(&core)?;
        let product = Self { core, daemon };
        ensure!(wait_for(|| product.status().contains("\"unsealed\"")), "the core is not unsealed: {}", product.status());
        Ok(product)
    }

    /// What `strongroom status` says.
    #[must_use]
    pub fn status(&self) -> String {
        self.core.status()
    }

    /// The prepared folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.core.dir()
    }

    /// The fixture.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Its process.
    ///
    /// # Panics
    /// Never: process ids are small.
    #[must_use]
    pub fn process(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.daemon.id()).expect("process ids are small"))
    }

    /// Its KMIP listener.
    ///
    /// # Panics
    /// If `dev.env` has no address.
    #[must_use]
    pub fn server(&self) -> Server {
        let address = self.core.value("KMIP_CORE").parse().expect("dev.env holds an address");
        Server { process: self.process(), address, http: false }
    }

    /// Its HTTPS listener.
    ///
    /// # Panics
    /// If `dev.env` has no address.
    #[must_use]
    pub fn https(&self) -> Server {
        let url = self.core.value("HTTPS_CORE");
        let address = url.trim_start_matches("https://").parse().expect("dev.env holds an address");
        Server { address, http: true, ..self.server() }
    }

    /// A blocking connection for preparations and checks.
    ///
    /// # Errors
    /// The core does not take it.
    pub fn connect(&self, who: Who) -> anyhow::Result<KmipClient> {
        let path = |name: &str| self.core.value(name).into();
        let prefix = who.prefix();
        let (cert, key) = (path(&format!("{prefix}_CERT")), path(&format!("{prefix}_KEY")));
        let endpoint = Endpoint { server: self.core.value("KMIP_CORE"), server_name: None, ca: path("CA_CERT"), cert, key };
        Ok(KmipClient::connect(&endpoint, ProtocolVersion::V1_4)?)
    }

    /// A client's side of TLS; sessions are resumed only if `resume` says so.
    ///
    /// # Errors
    /// The files of the fixture are not there.
    pub fn tls(&self, who: Who, resume: bool) -> anyhow::Result<Arc<ClientConfig>> {
        let path = |name: String| self.core.value(&name);
        let prefix = who.prefix();
        let (ca, cert, key) = (path("CA_CERT".to_owned()), path(format!("{prefix}_CERT")), path(format!("{prefix}_KEY")));
        let loaded = ClientTls::load(ca.as_ref(), cert.as_ref(), key.as_ref(), "127.0.0.1")?;
        let mut config = ClientConfig::clone(&loaded.config());
        if !resume {
            config.resumption = Resumption::disabled();
        }
        Ok(Arc::new(config))
    }

    /// The same of a client that knows no key exchange but X25519, to see what the hybrid one costs.
    ///
    /// # Errors
    /// The files of the fixture are not there.
    pub fn classic_tls(&self, who: Who, resume: bool) -> anyhow::Result<Arc<ClientConfig>> {
        let hybrid = self.tls(who, resume)?;
        let provider = CryptoProvider { kx_groups: vec![X25519], ..CryptoProvider::clone(hybrid.crypto_provider()) };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(daemon::tls::chain(self.core.value("CA_CERT").as_ref())?);
        let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&TLS13])?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.client_auth_cert_resolver = Arc::clone(&hybrid.client_auth_cert_resolver);
        config.resumption = hybrid.resumption.clone();
        Ok(Arc::new(config))
    }

    /// The default key of the client's service.
    #[must_use]
    pub fn default_key(&self) -> String {
        self.core.value("L3_ID")
    }

    /// Stops the core and starts it again, and says when; it unseals itself if its token is there.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> anyhow::Result<Instant> {
        signal(self.daemon.id(), Signal::SIGTERM);
        let ended = self.daemon.wait()?;
        ensure!(ended.success(), "the core stopped with {ended}");
        let began = Instant::now();
        self.daemon = spawn(&self.core)?;
        Ok(began)
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        signal(self.daemon.id(), Signal::SIGKILL);
        let _reaped = self.daemon.wait();
    }
}

fn spawn(core: &Core) -> anyhow::Result<Child> {
    core.command().stderr(Stdio::null()).spawn().context("strongroomd")
}
