//! `strongroom dev`: a throwaway appliance on loopback, made from nothing below one folder, supervised until SIGTERM.

mod pki;
mod supervise;
mod token;

use std::fmt::Display;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use daemon::admin::client::Client;
use daemon::admin::types::{NewService, NewTenant};
use daemon::certs::write_private;
use daemon::config::{Config, Listener};
use daemon::layout::Layout;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Failure, Kind};
use pki::{CLIENTS, Pki};
use supervise::{Core, CoreCommand, beside};
use token::{DevToken, MODULE, PIN_CREDENTIAL, TOKEN};

/// Tenants of a throwaway appliance; each has one service of this name.
const TENANTS: [&str; 2] = ["acme", "globex"];
const SERVICE: &str = "billing";
/// A core that dies sooner after its start is not restarted for ever.
const SHORT_LIFE: Duration = Duration::from_secs(2);
/// So many short lives in a row end `dev`.
const SHORT_LIVES_MAX: u32 = 3;

/// Start a throwaway appliance below DIR and serve until SIGTERM; the same folder brings back the same keys.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Where everything is made
    #[arg(long)]
    dir: PathBuf,
    /// KMIP port; HTTPS is at N+2, the admin interface at N+4, health at N+6. Chosen by the system at the first start if not given
    #[arg(long, value_name = "N")]
    base_port: Option<u16>,
    /// Leave a child that dies as it is, instead of restarting it
    #[arg(long)]
    no_restart: bool,
    /// How the MasterKey is sealed
    #[arg(long, value_enum, default_value = "softhsm")]
    seal: SealKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SealKind {
    /// A key on a SoftHSM2 token
    Softhsm,
    /// Not in this release
    Tpm,
    /// Not in this release
    Shamir,
}

/// Prefixes an error with what was tried.
pub(crate) fn told<E: std::error::Error>(what: impl Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure::failed(format!("{what}: {error}"))
}

/// Runs `dev` until SIGTERM or an interrupt.
pub(crate) fn run(args: &DevArgs) -> Result<(), Failure> {
    if args.seal != SealKind::Softhsm {
        return Err(Failure::usage("this release seals with softhsm only: leave --seal out"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(told("the runtime does not start"))?;
    runtime.block_on(serve(args))
}

async fn serve(args: &DevArgs) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.dir).map_err(told(args.dir.display()))?;
    let dir = args.dir.canonicalize().map_err(told(args.dir.display()))?;
    let dev = Dev::prepare(&dir, args.base_port)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(told("SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(told("SIGINT"))?;
    let mut told_to_stop = pin!(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    let mut core = tokio::select! {
        core = dev.start() => Some(core?),
        () = &mut told_to_stop => return Ok(()),
    };
    let mut deaths = Deaths::default();
    loop {
        let running = async {
            match &mut core {
                Some(core) => core.ended().await,
                None => std::future::pending().await,
            }
        };
        let since = Instant::now();
        let ended = tokio::select! {
            ended = running => ended?,
            () = &mut told_to_stop => break,
        };
        tracing::warn!(%ended, "the core died");
        if args.no_restart {
            core = None;
            continue;
        }
        deaths.count(ended, since.elapsed())?;
        core = tokio::select! {
            core = dev.restart(&mut deaths) => Some(core?),
            () = &mut told_to_stop => return Ok(()),
        };
    }
    match core {
        Some(core) => core.stop().await,
        None => Ok(()),
    }
}

/// Deaths soon after the start, in a row.
#[derive(Default)]
struct Deaths(u32);

impl Deaths {
    /// Counts an end; one by SIGKILL came from outside and says nothing about the core.
    fn count(&mut self, ended: ExitStatus, lived: Duration) -> Result<(), Failure> {
        if lived >= SHORT_LIFE || ended.signal() == Some(Signal::SIGKILL as i32) {
            self.0 = 0;
            return Ok(());
        }
        self.another(&ended.to_string())
    }

    fn another(&mut self, why: &str) -> Result<(), Failure> {
        self.0 += 1;
        if self.0 < SHORT_LIVES_MAX {
            return Ok(());
        }
        Err(Failure::failed(format!("the core died {SHORT_LIVES_MAX} times within {SHORT_LIFE:?} of its start, at last with: {why}")))
    }

    /// How long to wait before the next start.
    fn pause(&self) -> Duration {
        SHORT_LIFE * self.0
    }
}

/// A prepared folder.
struct Dev {
    dir: PathBuf,
    pki: Pki,
    config: PathBuf,
    command: CoreCommand,
}

impl Dev {
    /// Makes token, certificates, configuration and cluster unless they are there.
    fn prepare(dir: &Path, base_port: Option<u16>) -> Result<Self, Failure> {
        let token = DevToken::new(&dir.join("softhsm"));
        std::fs::create_dir_all(dir.join("softhsm")).map_err(told(dir.display()))?;
        token.ensure()?;
        let pki = Pki::new(&dir.join("pki"));
        pki.ensure()?;
        let config = dir.join("core.yaml");
        if base_port.is_some() || !config.exists() {
            let ports = base_port.map_or_else(Ports::free, Ports::above)?;
            write_private(&config, config_text(dir, &token, &pki, &ports).as_bytes()).map_err(|error| Failure::of(Kind::Failed, &error))?;
        }
        let command = CoreCommand {
            program: beside("strongroomd")?,
            config: config.clone(),
            credentials: token.credentials(),
            notify: dir.join("notify.sock"),
        };
        let this = Self { dir: dir.to_owned(), pki, config, command };
        this.ensure_cluster()?;
        Ok(this)
    }

    /// Runs `strongroom init` in a process of its own, as an operator would.
    fn ensure_cluster(&self) -> Result<(), Failure> {
        if Layout::new(&self.data_dir()).identity().is_ok() {
            return Ok(());
        }
        let made = std::process::Command::new(std::env::current_exe().map_err(told("our own path"))?)
            .arg("--config")
            .arg(&self.config)
            .args(["init", "--make-key"])
            .env("CREDENTIALS_DIRECTORY", &self.command.credentials)
            .output()
            .map_err(told("strongroom init"))?;
        if made.status.success() { Ok(()) } else { Err(Failure::failed(String::from_utf8_lossy(&made.stderr).trim())) }
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.join("core")
    }

    /// Where everything is told, once the core has served.
    fn env(&self) -> PathBuf {
        self.dir.join("dev.env")
    }

    /// Starts a core, makes sure of its tenants, and tells where everything is.
    ///
    /// A core that stays sealed, as after a wrong PIN, is left running if it has served before: to unseal it takes a node to speak to.
    async fn start(&self) -> Result<Core, Failure> {
        let core = self.command.start().await?;
        let config = Config::load(&self.config, std::env::vars_os()).map_err(|error| Failure::of(Kind::Failed, &error))?;
        let socket = Layout::new(&config.data_dir).socket();
        let client = Client::new(&socket);
        let mut keys = Vec::new();
        for tenant in TENANTS {
            match default_key(&client, tenant).await {
                Ok(key) => keys.push(key),
                Err(failure) if failure.kind == Kind::Unavailable && self.env().exists() => {
                    tracing::warn!(pid = core.pid(), why = %failure, socket = %socket.display(), "serving, but not unsealed; strongroom --socket speaks to it");
                    return Ok(core);
                }
                Err(failure) => return Err(failure),
            }
        }
        self.write_env(&config, &core, &keys)?;
        tracing::info!(pid = core.pid(), env = %self.env().display(), "serving");
        Ok(core)
    }

    /// Starts a core in place of one that died, later each time that it died young.
    async fn restart(&self, deaths: &mut Deaths) -> Result<Core, Failure> {
        loop {
            tokio::time::sleep(deaths.pause()).await;
            match self.start().await {
                Ok(core) => return Ok(core),
                Err(failure) => {
                    tracing::warn!(%failure, "the core does not start");
                    deaths.another(&failure.message)?;
                }
            }
        }
    }

    fn write_env(&self, config: &Config, core: &Core, keys: &[String]) -> Result<(), Failure> {
        let path = |path: PathBuf| path.display().to_string();
        let listeners = &config.listeners;
        let socket = |listener: &Option<Listener>| listener.as_ref().map(|listener| listener.bind.to_string());
        let url = |scheme: &str, socket: Option<String>| socket.map(|socket| format!("{scheme}://{socket}")).unwrap_or_default();
        let mut lines = vec![
            ("KMIP_CORE".to_owned(), socket(&listeners.kmip).unwrap_or_default()),
            ("HTTPS_CORE".to_owned(), url("https", socket(&listeners.https))),
            ("ADMIN_CORE".to_owned(), url("https", socket(&listeners.admin))),
            ("HEALTH_CORE".to_owned(), url("http", listeners.health.map(|socket| socket.to_string()))),
            ("CORE_PID".to_owned(), core.pid().to_string()),
            ("CORE_CONFIG".to_owned(), path(self.config.clone())),
            ("AUDIT_DIR_CORE".to_owned(), path(Layout::new(&config.data_dir).audit())),
            ("CA_CERT".to_owned(), path(self.pki.cert("ca"))),
            ("CA_KEY".to_owned(), path(self.pki.key("ca"))),
            ("CRL".to_owned(), path(self.pki.crl())),
            ("CLIENT_PEM".to_owned(), path(self.pki.client_pem())),
            ("TENANT".to_owned(), TENANTS[0].to_owned()),
            ("SERVICE".to_owned(), SERVICE.to_owned()),
            ("L3_ID".to_owned(), keys[0].clone()),
            ("L3_ID2".to_owned(), keys[1].clone()),
        ];
        for (name, ..) in CLIENTS {
            lines.push((format!("{name}_CERT"), path(self.pki.cert(name))));
            lines.push((format!("{name}_KEY"), path(self.pki.key(name))));
        }
        let text: String = lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        write_private(&self.env(), text.as_bytes()).map_err(|error| Failure::of(Kind::Failed, &error))
    }
}

/// The default key of a tenant's one service; makes tenant and service unless they are there.
async fn default_key(client: &Client, tenant: &str) -> Result<String, Failure> {
    if !client.tenants().await?.iter().any(|known| known.name == tenant) {
        client.create_tenant(&NewTenant { name: tenant.to_owned() }).await?;
    }
    let known = client.services(tenant).await?;
    match known.into_iter().find(|service| service.name == SERVICE) {
        Some(service) => Ok(service.default_key),
        None => Ok(client.create_service(tenant, &NewService { name: SERVICE.to_owned() }).await?.default_key),
    }
}

/// The core's ports on 127.0.0.1.
struct Ports {
    kmip: u16,
    https: u16,
    admin: u16,
    health: u16,
}

impl Ports {
    /// Those that belong to a base; the odd ones in between are an edge's.
    fn above(base: u16) -> Result<Self, Failure> {
        let above = |more: u16| base.checked_add(more).ok_or_else(|| Failure::usage("--base-port: at most 65529"));
        Ok(Self { kmip: base, https: above(2)?, admin: above(4)?, health: above(6)? })
    }

    /// Four that nobody uses now.
    fn free() -> Result<Self, Failure> {
        // All are held until all are known, so that they differ.
        let sockets = (0..4).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>();
        let sockets = sockets.map_err(told("no free port on 127.0.0.1"))?;
        let ports: Result<Vec<u16>, _> = sockets.iter().map(|socket| socket.local_addr().map(|address| address.port())).collect();
        let ports = ports.map_err(told("no free port on 127.0.0.1"))?;
        Ok(Self { kmip: ports[0], https: ports[1], admin: ports[2], health: ports[3] })
    }
}

fn config_text(dir: &Path, token: &DevToken, pki: &Pki, ports: &Ports) -> String {
    format!(
        r#"# Made by `strongroom dev`.
role: core
data_dir: {data_dir:?}
listeners:
{kmip}{https}{admin}  health:
    bind: "127.0.0.1:{health}"
identity:
  rules:
    - uri: "strongroom://{{tenant}}/{{service}}/{{role}}"
    - subject: {{ O: "{{tenant}}", OU: "{{role}}", CN: "{{service}}" }}
seal:
  custodians:
    - name: softhsm
      pkcs11:
        module: {MODULE:?}
        token: {TOKEN:?}
        key: "strongroom-seal"
        pin: "credential:{PIN_CREDENTIAL}"
        environment:
          SOFTHSM2_CONF: {conf:?}
"#,
        data_dir = dir.join("core"),
        kmip = listener_text("kmip", ports.kmip, pki),
        https = listener_text("https", ports.https, pki),
        admin = listener_text("admin", ports.admin, pki),
        health = ports.health,
        conf = token.conf(),
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
        let mut deaths = Deaths::default();
        for (ended, lived) in [(failed, 0), (failed, 1), (failed, 2), (failed, 0), (failed, 1), (killed, 0), (failed, 0), (failed, 1)] {
            deaths.count(ended, Duration::from_secs(lived)).expect("no three in a row");
        }
        let failure = deaths.count(failed, Duration::ZERO).expect_err("the third");
        assert!(failure.message.contains("3 times") && failure.message.contains("exit status: 1"), "{failure}");
    }
}
