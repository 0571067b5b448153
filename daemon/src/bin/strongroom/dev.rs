//! `strongroom dev`: a throwaway appliance on loopback, made from nothing below one folder, supervised until SIGTERM.

mod pki;
mod supervise;
mod token;
mod tpm;

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt::Display;
use std::future::poll_fn;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use daemon::admin::client::Client;
use daemon::admin::types::{EnrolEdges, NewService, NewTenant};
use daemon::certs::write_private;
use daemon::config::{Config, Listener, Listeners, Means};
use daemon::layout::Layout;
use data_encoding::HEXLOWER;
use keys::id::ScopeName;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Failure, Kind};
use pki::{CLIENTS, Pki};
use supervise::{NodeCommand, Running, beside};
use token::{DevToken, MODULE, PIN_CREDENTIAL, SHARD_TOKENS, TOKEN};
use tpm::DevTpm;

/// Tenants of a throwaway appliance; each has one service of this name.
const TENANTS: [&str; 2] = ["acme", "globex"];
const SERVICE: &str = "billing";
/// Most edges of a throwaway appliance.
const EDGES_MAX: i64 = 16;
/// The TPM's port above a base; its control channel is one above that.
const TPM_PORT: u16 = 8;
/// A node that dies sooner after its start is not restarted for ever.
const SHORT_LIFE: Duration = Duration::from_secs(2);
/// So many short lives in a row end `dev`.
const SHORT_LIVES_MAX: u32 = 3;
/// Linux gives those from 32768 on to connections going out (`ip_local_port_range`).
const LASTING_PORTS: Range<u16> = 16384..32768;
/// So many are tried until some are free.
const PORTS_TRIED: u32 = 1000;

/// Start a throwaway appliance below DIR and serve until SIGTERM; the same folder brings back the same keys.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Where everything is made
    #[arg(long)]
    dir: PathBuf,
    /// KMIP port of the core; HTTPS is at N+2, the admin interface at N+4, health at N+6; the first edge's are one above each, those of
    /// further edges ten above each time. Chosen by the system at the first start if not given
    #[arg(long, value_name = "N")]
    base_port: Option<u16>,
    /// How many edges, each a group of its own
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=EDGES_MAX))]
    edges: u16,
    /// Where edges keep their objects; embedded if not given, or what they were made with
    #[arg(long, value_enum)]
    edge_store: Option<EdgeStore>,
    /// Leave a child that dies as it is, instead of restarting it
    #[arg(long)]
    no_restart: bool,
    /// How the MasterKey is sealed; softhsm if not given, or what the folder was made with
    #[arg(long, value_enum)]
    seal: Option<SealKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EdgeStore {
    /// In memory only: gone with the process
    Memory,
    /// In a file of its own
    Embedded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SealKind {
    /// A key on a SoftHSM2 token
    Softhsm,
    /// A TPM 2.0, by swtpm
    Tpm,
    /// Shards on three SoftHSM2 tokens, two of which open it
    Shamir,
}

/// Prefixes an error with what was tried.
pub(crate) fn told<E: std::error::Error>(what: impl Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure::failed(format!("{what}: {error}"))
}

/// Runs `dev` until SIGTERM or an interrupt.
pub(crate) fn run(args: &DevArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(told("the runtime does not start"))?;
    runtime.block_on(serve(args))
}

async fn serve(args: &DevArgs) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.dir).map_err(told(args.dir.display()))?;
    let dir = args.dir.canonicalize().map_err(told(args.dir.display()))?;
    let dev = Dev::prepare(&dir, args).await?;
    let mut terminate = signal(SignalKind::terminate()).map_err(told("SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(told("SIGINT"))?;
    let mut told_to_stop = pin!(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    let mut running = Vec::new();
    let ended = tokio::select! {
        ended = supervise(&dev, args.no_restart, &mut running) => ended.map(|never| match never {}),
        () = &mut told_to_stop => Ok(()),
    };
    // Edges first, so that none of them misses its core.
    let mut stopped = ended;
    for node in running.into_iter().rev().flatten() {
        let stop = node.stop().await;
        stopped = stopped.and(stop);
    }
    stopped
}

/// Starts all nodes, the core first, and restarts each that dies.
async fn supervise(dev: &Dev, no_restart: bool, running: &mut Vec<Option<Running>>) -> Result<Infallible, Failure> {
    for node in 0..dev.nodes.len() {
        running.push(dev.start(node).await?);
    }
    dev.tell(running).await?;
    let mut deaths: Vec<Deaths> = dev.nodes.iter().map(|node| Deaths::of(&node.command.name)).collect();
    let mut started = vec![Instant::now(); running.len()];
    loop {
        let (node, ended) = next_end(running).await?;
        running[node] = None;
        tracing::warn!(%ended, node = dev.nodes[node].command.name, "a node died");
        if no_restart {
            continue;
        }
        deaths[node].count(ended, started[node].elapsed())?;
        running[node] = dev.restart(node, &mut deaths[node]).await?;
        started[node] = Instant::now();
        dev.tell(running).await?;
    }
}

/// Waits for the first node that ends by itself.
async fn next_end(running: &mut [Option<Running>]) -> Result<(usize, ExitStatus), Failure> {
    poll_fn(|context| {
        for (index, node) in running.iter_mut().enumerate() {
            let ended = node.as_mut().map_or(Poll::Pending, |node| pin!(node.ended()).poll(context));
            if let Poll::Ready(ended) = ended {
                return Poll::Ready(ended.map(|ended| (index, ended)));
            }
        }
        Poll::Pending
    })
    .await
}

/// A node's deaths soon after its start, in a row.
struct Deaths {
    node: String,
    count: u32,
}

impl Deaths {
    fn of(node: &str) -> Self {
        Self { node: node.to_owned(), count: 0 }
    }

    /// Counts an end; one by SIGKILL came from outside and says nothing about the node.
    fn count(&mut self, ended: ExitStatus, lived: Duration) -> Result<(), Failure> {
        if lived >= SHORT_LIFE || ended.signal() == Some(Signal::SIGKILL as i32) {
            self.count = 0;
            return Ok(());
        }
        self.another(&ended.to_string())
    }

    fn another(&mut self, why: &str) -> Result<(), Failure> {
        self.count += 1;
        if self.count < SHORT_LIVES_MAX {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "the {} died {SHORT_LIVES_MAX} times within {SHORT_LIFE:?} of its start, at last with: {why}",
            self.node
        )))
    }

    /// How long to wait before the next start.
    fn pause(&self) -> Duration {
        SHORT_LIFE * self.count
    }
}

/// A prepared folder.
struct Dev {
    dir: PathBuf,
    pki: Pki,
    /// With `--seal tpm`.
    tpm: Option<DevTpm>,
    /// The core, then the edges.
    nodes: Vec<Node>,
}

/// A node of the appliance.
struct Node {
    command: NodeCommand,
    data_dir: PathBuf,
    /// The group of an edge; `None` for the core.
    group: Option<ScopeName>,
    /// Keep its ports until its first start, if the system has just chosen them: others ask it for free ones too.
    held: Mutex<Vec<TcpListener>>,
}

impl Dev {
    /// Makes token, certificates, configurations and cluster unless they are there.
    async fn prepare(dir: &Path, args: &DevArgs) -> Result<Self, Failure> {
        let config = dir.join("core.yaml");
        let sealed_by = sealed_by(&config)?;
        let kind = args.seal.or(sealed_by.map(|(kind, _)| kind)).unwrap_or(SealKind::Softhsm);
        if let Some((known, _)) = sealed_by.filter(|(known, _)| *known != kind) {
            return Err(Failure::usage(format!("{} is sealed by {known:?}: leave --seal out, or take another folder", dir.display())));
        }
        let token = DevToken::new(&dir.join("softhsm"));
        std::fs::create_dir_all(dir.join("softhsm")).map_err(told(dir.display()))?;
        token.ensure(if kind == SealKind::Shamir { &SHARD_TOKENS } else { &[TOKEN] })?;
        let pki = Pki::new(&dir.join("pki"));
        pki.ensure()?;
        let command = |name: &str, config| {
            let (program, credentials) = (beside("strongroomd")?, token.credentials());
            Ok::<_, Failure>(NodeCommand { name: name.to_owned(), program, config, credentials, notify: dir.join(format!("{name}.sock")) })
        };
        let tpm_port = match (kind, args.base_port, sealed_by) {
            (SealKind::Tpm, Some(base), _) => Some(base.checked_add(TPM_PORT).ok_or_else(|| Failure::usage("--base-port: too high"))?),
            (SealKind::Tpm, None, Some((_, port))) => port,
            (SealKind::Tpm, None, None) => Some(tpm::free_port()?),
            _ => None,
        };
        let mut held = Vec::new();
        if args.base_port.is_some() || !config.exists() {
            let mut ports = args.base_port.map_or_else(Ports::free, |base| Ports::above(base, 0))?;
            let custodians = match tpm_port {
                Some(port) => tpm_text(port),
                None if kind == SealKind::Shamir => shards_text(&token),
                None => token_text("softhsm", TOKEN, &token),
            };
            write(&config, &config_text(dir, &custodians, &pki, &ports))?;
            held = std::mem::take(&mut ports.held);
        }
        let tpm = match tpm_port {
            Some(port) => Some(DevTpm::start(&dir.join("swtpm"), port).await?),
            None => None,
        };
        let upstream = https(&config)?;
        let mut nodes = vec![Node { command: command("core", config)?, data_dir: dir.join("core"), group: None, held: Mutex::new(held) }];
        for number in 1..=args.edges {
            let name = if number == 1 { "edge".to_owned() } else { format!("edge{number}") };
            let group: ScopeName = name.parse().expect("edges are numbered");
            pki.ensure_edge(&group)?;
            let (config, data_dir) = (dir.join(format!("{name}.yaml")), dir.join(&name));
            let mut held = Vec::new();
            if args.base_port.is_some() || args.edge_store.is_some() || !config.exists() {
                let mut ports = match args.base_port {
                    Some(base) => Ports::above(base, number)?,
                    None => Ports::of(&config).map_or_else(Ports::free, Ok)?,
                };
                let store = args.edge_store.unwrap_or(EdgeStore::Embedded);
                write(&config, &edge_text(&data_dir, &pki, &ports, &group, &upstream, store))?;
                held = std::mem::take(&mut ports.held);
            }
            nodes.push(Node { command: command(&name, config)?, data_dir, group: Some(group), held: Mutex::new(held) });
        }
        let this = Self { dir: dir.to_owned(), pki, tpm, nodes };
        this.ensure_made(&this.nodes[0])?;
        Ok(this)
    }

    /// Runs `strongroom init` in a process of its own, as an operator would, unless the node is there.
    fn ensure_made(&self, node: &Node) -> Result<(), Failure> {
        if Layout::new(&node.data_dir).identity().is_ok() {
            return Ok(());
        }
        match &self.tpm {
            _ if node.group.is_some() => node.command.operate(["init".as_ref()]),
            None => {
                let first = first_custodian(&node.command.config)?;
                node.command.operate(["init", "--make-key", "--custodian", &first].map(OsStr::new))
            }
            Some(tpm) => {
                let (key, approval) = (tpm.release_key(), tpm.approval());
                let sign = ["slot", "tpm-policy", "sign", "--note", "first start", "--key"].map(OsStr::new);
                node.command.operate(sign.into_iter().chain([key.as_os_str(), "--out".as_ref(), approval.as_os_str()]))?;
                node.command.operate(["init".as_ref(), "--approval".as_ref(), approval.as_os_str()])
            }
        }
    }

    /// Where everything is told, once all nodes have served.
    fn env(&self) -> PathBuf {
        self.dir.join("dev.env")
    }

    fn client(&self) -> Client {
        Client::new(&Layout::new(&self.nodes[0].data_dir).socket())
    }

    /// Starts a node; `None` for an edge that cannot be made yet, because the core is sealed.
    ///
    /// A core that stays sealed, as after a wrong PIN, is left running if it has served before: to unseal it takes a node to speak to.
    async fn start(&self, node: usize) -> Result<Option<Running>, Failure> {
        let Node { command, data_dir, group, held } = &self.nodes[node];
        let let_go = || held.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let Some(group) = group else {
            let_go();
            let running = command.start().await?;
            match self.settle().await {
                Ok(()) => {}
                Err(failure) if failure.kind == Kind::Unavailable && self.env().exists() => {
                    let socket = Layout::new(data_dir).socket();
                    tracing::warn!(pid = running.pid(), why = %failure, socket = %socket.display(), "serving, but not unsealed; strongroom --socket speaks to it");
                }
                Err(failure) => return Err(failure),
            }
            return Ok(Some(running));
        };
        match self.enrol(group).await {
            Ok(()) => {
                self.ensure_made(&self.nodes[node])?;
                self.enrol_key(group, data_dir).await?;
            }
            Err(failure) if failure.kind == Kind::Unavailable && self.env().exists() => {
                if Layout::new(data_dir).identity().is_err() {
                    return Ok(None);
                }
            }
            Err(failure) => return Err(failure),
        }
        let_go();
        command.start().await.map(Some)
    }

    /// Makes sure of the tenants and their services.
    async fn settle(&self) -> Result<(), Failure> {
        for tenant in TENANTS {
            let _key = default_key(&self.client(), tenant).await?;
        }
        Ok(())
    }

    /// Makes sure that an edge group serves the tenants, unless somebody has decided otherwise.
    async fn enrol(&self, group: &ScopeName) -> Result<(), Failure> {
        let client = self.client();
        if !client.edges().await?.iter().any(|known| known.name == group.as_str()) {
            let tenants = TENANTS.map(str::to_owned).to_vec();
            client.enrol_edges(&EnrolEdges { group: group.to_string(), tenants, keys: Vec::new() }).await?;
        }
        Ok(())
    }

    /// Lets an edge speak for its clients.
    async fn enrol_key(&self, group: &ScopeName, data_dir: &Path) -> Result<(), Failure> {
        let identity = Layout::new(data_dir).identity().map_err(|error| Failure::of(Kind::Failed, &error))?;
        let key = identity.edge.map(|edge| HEXLOWER.encode(&edge.delegation_public));
        let known = self.client().edges().await?.into_iter().find(|known| known.name == group.as_str());
        if let (Some(key), Some(known)) = (key, known)
            && known.status == "enrolled"
            && !known.keys.contains(&key)
        {
            self.client().enrol_edges(&EnrolEdges { group: group.to_string(), tenants: Vec::new(), keys: vec![key] }).await?;
        }
        Ok(())
    }

    /// Starts a node in place of one that died, later each time that it died young.
    async fn restart(&self, node: usize, deaths: &mut Deaths) -> Result<Option<Running>, Failure> {
        loop {
            tokio::time::sleep(deaths.pause()).await;
            match self.start(node).await {
                Ok(running) => return Ok(running),
                Err(failure) => {
                    tracing::warn!(%failure, "the node does not start");
                    deaths.another(&failure.message)?;
                }
            }
        }
    }

    /// Writes `dev.env`, unless the core is sealed: what it says then stays as it was.
    async fn tell(&self, running: &[Option<Running>]) -> Result<(), Failure> {
        let mut lines = Vec::new();
        for (name, tenant) in [("L3_ID", TENANTS[0]), ("L3_ID2", TENANTS[1])] {
            match default_key(&self.client(), tenant).await {
                Ok(key) => lines.push((name.to_owned(), key)),
                Err(failure) if failure.kind == Kind::Unavailable && self.env().exists() => return Ok(()),
                Err(failure) => return Err(failure),
            }
        }
        for (node, running) in self.nodes.iter().zip(running) {
            let config = Config::load(&node.command.config, std::env::vars_os()).map_err(|error| Failure::of(Kind::Failed, &error))?;
            lines.extend(node.lines(&config, running.as_ref()));
        }
        let path = |path: PathBuf| path.display().to_string();
        lines.extend([
            ("CA_CERT".to_owned(), path(self.pki.cert("ca"))),
            ("CA_KEY".to_owned(), path(self.pki.key("ca"))),
            ("CRL".to_owned(), path(self.pki.crl())),
            ("CLIENT_PEM".to_owned(), path(self.pki.client_pem())),
            ("TENANT".to_owned(), TENANTS[0].to_owned()),
            ("SERVICE".to_owned(), SERVICE.to_owned()),
        ]);
        if let (Some(tpm), Some((_, Some(port)))) = (&self.tpm, sealed_by(&self.nodes[0].command.config)?) {
            lines.extend([("TPM2TOOLS_TCTI".to_owned(), tpm::tcti(port)), ("RELEASE_KEY".to_owned(), path(tpm.release_key()))]);
        }
        let edges = self.nodes.iter().filter_map(|node| node.group.as_ref()).map(|group| group.as_str().to_uppercase());
        let mut names: Vec<String> = CLIENTS.iter().map(|client| client.0.to_owned()).collect();
        names.extend(edges.filter(|name| name != "EDGE"));
        for name in names {
            lines.push((format!("{name}_CERT"), path(self.pki.cert(&name))));
            lines.push((format!("{name}_KEY"), path(self.pki.key(&name))));
        }
        let text: String = lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        write(&self.env(), &text)?;
        tracing::info!(env = %self.env().display(), "serving");
        Ok(())
    }
}

impl Node {
    /// What `dev.env` says of the node.
    fn lines(&self, config: &Config, running: Option<&Running>) -> Vec<(String, String)> {
        let name = self.command.name.to_uppercase();
        let listeners = &config.listeners;
        let socket = |listener: &Option<Listener>| listener.as_ref().map(|listener| listener.bind.to_string());
        let url = |scheme: &str, socket: Option<String>| socket.map(|socket| format!("{scheme}://{socket}")).unwrap_or_default();
        let path = |path: PathBuf| path.display().to_string();
        vec![
            (format!("KMIP_{name}"), socket(&listeners.kmip).unwrap_or_default()),
            (format!("HTTPS_{name}"), url("https", socket(&listeners.https))),
            (format!("ADMIN_{name}"), url("https", socket(&listeners.admin))),
            (format!("HEALTH_{name}"), url("http", listeners.health.map(|socket| socket.to_string()))),
            (format!("{name}_PID"), running.map(|running| running.pid().to_string()).unwrap_or_default()),
            (format!("{name}_CONFIG"), path(self.command.config.clone())),
            (format!("AUDIT_DIR_{name}"), path(Layout::new(&config.data_dir).audit())),
        ]
    }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    write_private(file, text.as_bytes()).map_err(|error| Failure::of(Kind::Failed, &error))
}

/// Where the HTTPS listener of a configuration is.
fn https(config: &Path) -> Result<String, Failure> {
    let config = Config::load(config, std::env::vars_os()).map_err(|error| Failure::of(Kind::Failed, &error))?;
    let https =
        config.listeners.https.ok_or_else(|| Failure::failed("the core's configuration has no listeners.https, which edges need"))?;
    Ok(format!("https://{}", https.bind))
}

/// The default key of a tenant's one service; makes tenant and service unless they are there.
async fn default_key(client: &Client, tenant: &str) -> Result<String, Failure> {
    if !client.tenants().await?.iter().any(|known| known.name == tenant) {
        client.create_tenant(&NewTenant { name: tenant.to_owned() }).await?;
    }
    let known = client.services(tenant).await?;
    match known.into_iter().find(|service| service.name == SERVICE) {
        Some(service) => Ok(service.default_key),
        None => Ok(client.create_service(tenant, &NewService { name: SERVICE.to_owned(), resource: None }).await?.default_key),
    }
}

/// Any port that will still be free when a node that was stopped starts again: none of those that the system gives to connections going out.
fn lasting_port() -> Result<u16, Failure> {
    let drawn = getrandom::u32().map_err(told("the system's randomness"))?;
    let (first, behind) = (u32::from(LASTING_PORTS.start), u32::from(LASTING_PORTS.end));
    Ok(u16::try_from(first + drawn % (behind - first)).expect("the range is one of ports"))
}

/// A node's ports on 127.0.0.1.
struct Ports {
    kmip: u16,
    https: u16,
    admin: u16,
    health: u16,
    /// Keep those that nobody uses from being taken.
    held: Vec<TcpListener>,
}

impl Ports {
    /// Those of a node that belong to a base: the core has number 0, and the first edge the odd ports in between.
    fn above(base: u16, number: u16) -> Result<Self, Failure> {
        let first = number.checked_sub(1).map_or(0, |further| 10 * further + 1);
        let above = |more: u16| base.checked_add(first + more).ok_or_else(|| Failure::usage("--base-port: too high for so many nodes"));
        Ok(Self { kmip: above(0)?, https: above(2)?, admin: above(4)?, health: above(6)?, held: Vec::new() })
    }

    /// Those of a configuration that is there.
    fn of(config: &Path) -> Option<Self> {
        let Listeners { kmip, https, admin, health } = Config::load(config, []).ok()?.listeners;
        let port = |listener: Option<Listener>| listener.map(|listener| listener.bind.port());
        Some(Self { kmip: port(kmip)?, https: port(https)?, admin: port(admin)?, health: health?.port(), held: Vec::new() })
    }

    /// Four that nobody uses now.
    fn free() -> Result<Self, Failure> {
        let mut found = Vec::new();
        for _ in 0..PORTS_TRIED {
            let port = lasting_port()?;
            // Each is held until all are known, so that they differ.
            found.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(|socket| (port, socket)));
            if let [(kmip, _), (https, _), (admin, _), (health, _)] = found[..] {
                return Ok(Self { kmip, https, admin, health, held: found.into_iter().map(|(_, socket)| socket).collect() });
            }
        }
        Err(Failure::failed("no free ports on 127.0.0.1: choose them by --base-port"))
    }
}

/// How the core of a folder is sealed, and the port of its TPM, if it has one; `None` before its first start.
fn sealed_by(config: &Path) -> Result<Option<(SealKind, Option<u16>)>, Failure> {
    if !config.exists() {
        return Ok(None);
    }
    let config = Config::load(config, std::env::vars_os()).map_err(|error| Failure::of(Kind::Failed, &error))?;
    Ok(config.seal.custodians.first().map(|custodian| match &custodian.means {
        Means::Pkcs11(_) => (SealKind::Softhsm, None),
        Means::Tpm2(tpm2) => (SealKind::Tpm, tpm::port(&tpm2.tpm.tcti)),
        Means::Age(_) | Means::Card(_) | Means::Shamir(_) => (SealKind::Shamir, None),
    }))
}

/// The custodian of the first slot: `dev` writes it first.
fn first_custodian(config: &Path) -> Result<String, Failure> {
    let config = Config::load(config, std::env::vars_os()).map_err(|error| Failure::of(Kind::Failed, &error))?;
    let first = config.seal.custodians.into_iter().next().map(|custodian| custodian.name);
    first.ok_or_else(|| Failure::failed("the core's configuration has no seal.custodians"))
}

fn config_text(dir: &Path, custodians: &str, pki: &Pki, ports: &Ports) -> String {
    format!(
        "# Made by `strongroom dev`.\nrole: core\ndata_dir: {data_dir:?}\n{common}seal:\n  writes: {writes:?}\n  custodians:\n{custodians}",
        data_dir = dir.join("core"),
        writes = dir.join("softhsm"),
        common = common_text(pki, ports),
    )
}

fn shards_text(token: &DevToken) -> String {
    let keepers: Vec<String> = (1..=SHARD_TOKENS.len()).map(|number| format!("softhsm-{number}")).collect();
    let shards = format!("    - name: shards\n      shamir:\n        threshold: 2\n        keepers: [{}]\n", keepers.join(", "));
    let tokens = keepers.iter().zip(SHARD_TOKENS).map(|(name, label)| token_text(name, label, token));
    std::iter::once(shards).chain(tokens).collect()
}

fn token_text(name: &str, label: &str, token: &DevToken) -> String {
    format!(
        r#"    - name: {name}
      pkcs11:
        module: {MODULE:?}
        token: {label:?}
        key: "strongroom-seal"
        pin: "credential:{PIN_CREDENTIAL}"
        environment:
          SOFTHSM2_CONF: {conf:?}
"#,
        conf = token.conf(),
    )
}

fn tpm_text(port: u16) -> String {
    format!("    - name: swtpm\n      tpm2:\n        tcti: {:?}\n", tpm::tcti(port))
}

fn edge_text(data_dir: &Path, pki: &Pki, ports: &Ports, group: &ScopeName, upstream: &str, store: EdgeStore) -> String {
    let name = group.as_str().to_uppercase();
    format!(
        r#"# Made by `strongroom dev`.
role: edge
data_dir: {data_dir:?}
{common}edge:
  group: "{group}"
  upstreams: "{upstream}"
  ca: {ca:?}
  cert: {cert:?}
  key: {key:?}
  ephemeral: {ephemeral}
"#,
        common = common_text(pki, ports),
        ca = pki.cert("ca"),
        cert = pki.cert(&name),
        key = pki.key(&name),
        ephemeral = store == EdgeStore::Memory,
    )
}

/// What the configurations of all nodes have alike.
fn common_text(pki: &Pki, ports: &Ports) -> String {
    format!(
        r#"listeners:
{kmip}{https}{admin}  health:
    bind: "127.0.0.1:{health}"
identity:
  rules:
    - uri: "strongroom://{{tenant}}/{{service}}/{{role}}"
    - subject: {{ O: "{{tenant}}", OU: "{{role}}", CN: "{{service}}" }}
"#,
        kmip = listener_text("kmip", ports.kmip, pki),
        https = listener_text("https", ports.https, pki),
        admin = listener_text("admin", ports.admin, pki),
        health = ports.health,
    )
}

fn listener_text(name: &str, port: u16, pki: &Pki) -> String {
    let (cert, key, ca, crl) = (pki.cert("server"), pki.key("server"), pki.cert("ca"), pki.crl());
    format!("  {name}:\n    bind: \"127.0.0.1:{port}\"\n    cert: {cert:?}\n    key: {key:?}\n    client_ca: {ca:?}\n    crl: {crl:?}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_short_lives_in_a_row_are_enough() {
        let (failed, killed) = (ExitStatus::from_raw(1 << 8), ExitStatus::from_raw(Signal::SIGKILL as i32));
        let mut deaths = Deaths::of("core");
        for (ended, lived) in [(failed, 0), (failed, 1), (failed, 2), (failed, 0), (failed, 1), (killed, 0), (failed, 0), (failed, 1)] {
            deaths.count(ended, Duration::from_secs(lived)).expect("no three in a row");
        }
        let failure = deaths.count(failed, Duration::ZERO).expect_err("the third");
        assert!(failure.message.contains("3 times") && failure.message.contains("exit status: 1"), "{failure}");
    }
}
