//! The product under load: a real core with SoftHSM, or an edge beside one, with embedded store, authorization and audit, and its clients' TLS.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use daemon::kmip_client::{Endpoint, KmipClient};
use daemon::tls::ClientTls;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group::X25519;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use softhsm_test::{Core, Edge, requests, signal, wait_for};

use crate::load::Server;

/// Who a client is.
#[derive(Debug, Clone, Copy)]
pub enum Who {
    /// acme/billing, service: it uses keys.
    User,
    /// Who makes keys: acme's tenant-admin at a core, acme/billing at an edge.
    Maker,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// A core, by the default L3 of a service.
    Core,
    /// An edge, by an L4.
    Edge,
}

/// A running node; killed when dropped.
pub struct Product {
    fixture: Fixture,
    daemon: Child,
    key: String,
}

enum Fixture {
    Core(Core),
    /// With its core beside it.
    Edge(Edge),
}

impl Fixture {
    fn node(&self) -> &Core {
        match self {
            Self::Core(core) => core,
            Self::Edge(edge) => edge,
        }
    }
}

impl Product {
    /// Prepares a cluster with its tenants in a fresh folder and starts a node on it; an edge beside its core, with a key to use.
    ///
    /// # Errors
    /// It does not start, or is not unsealed.
    pub fn start(role: Role) -> anyhow::Result<Self> {
        let fixture = match role {
            Role::Core => Fixture::Core(Core::prepared()),
            Role::Edge => {
                let mut edge = Edge::prepared();
                edge.core.start();
                Fixture::Edge(edge)
            }
        };
        let daemon = spawn(fixture.node())?;
        let mut product = Self { fixture, daemon, key: String::new() };
        ensure!(wait_for(|| product.status().contains("\"unsealed\"")), "the node is not unsealed: {}", product.status());
        product.key = match role {
            Role::Core => product.node().value("L3_ID"),
            Role::Edge => {
                let mut client = product.connect(Who::Maker)?;
                let key = requests::create(&mut client, "measured")?;
                requests::activate(&mut client, &key)?;
                key
            }
        };
        Ok(product)
    }

    /// Whether it is an edge.
    #[must_use]
    pub fn is_edge(&self) -> bool {
        matches!(self.fixture, Fixture::Edge(_))
    }

    /// As whom a client comes.
    fn certificate(&self, who: Who) -> softhsm_test::Who {
        match who {
            Who::Maker if !self.is_edge() => softhsm_test::Who::TenantAdmin,
            Who::User | Who::Maker => softhsm_test::Who::Service,
        }
    }

    /// What `strongroom status` says.
    #[must_use]
    pub fn status(&self) -> String {
        self.node().status()
    }

    /// The prepared folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.node().dir()
    }

    /// The fixture.
    #[must_use]
    pub fn node(&self) -> &Core {
        self.fixture.node()
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
        let address = self.node().endpoint(softhsm_test::Who::Service).server.parse().expect("dev.env holds an address");
        Server { process: self.process(), address, http: false }
    }

    /// Its HTTPS listener.
    ///
    /// # Panics
    /// If `dev.env` has no address.
    #[must_use]
    pub fn https(&self) -> Server {
        let url = self.node().value(if self.is_edge() { "HTTPS_EDGE" } else { "HTTPS_CORE" });
        let address = url.trim_start_matches("https://").parse().expect("dev.env holds an address");
        Server { address, http: true, ..self.server() }
    }

    /// A blocking connection for preparations and checks.
    ///
    /// # Errors
    /// The node does not take it.
    pub fn connect(&self, who: Who) -> anyhow::Result<KmipClient> {
        Ok(self.node().try_connect(self.certificate(who))?)
    }

    /// A client's side of TLS; sessions are resumed only if `resume` says so.
    ///
    /// # Errors
    /// The files of the fixture are not there.
    pub fn tls(&self, who: Who, resume: bool) -> anyhow::Result<Arc<ClientConfig>> {
        let Endpoint { ca, cert, key, .. } = self.node().endpoint(self.certificate(who));
        let loaded = ClientTls::load(&ca, &cert, &key, "127.0.0.1")?;
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
        roots.add_parsable_certificates(daemon::tls::chain(self.node().value("CA_CERT").as_ref())?);
        let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&TLS13])?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.client_auth_cert_resolver = Arc::clone(&hybrid.client_auth_cert_resolver);
        config.resumption = hybrid.resumption.clone();
        Ok(Arc::new(config))
    }

    /// The key that is used: at a core the default L3 of the client's service, at an edge an L4.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Stops the node and starts it again, and says when; a core unseals itself if its token is there.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> anyhow::Result<Instant> {
        signal(self.daemon.id(), Signal::SIGTERM);
        let ended = self.daemon.wait()?;
        ensure!(ended.success(), "the node stopped with {ended}");
        let began = Instant::now();
        self.daemon = spawn(self.fixture.node())?;
        Ok(began)
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        signal(self.daemon.id(), Signal::SIGKILL);
        let _reaped = self.daemon.wait();
    }
}

fn spawn(node: &Core) -> anyhow::Result<Child> {
    node.command().stderr(Stdio::null()).spawn().context("strongroomd")
}
