//! A private PostgreSQL: a server of its own in a temporary directory, reached by a Unix socket there and, if asked for, by TLS on loopback.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};
use tempfile::TempDir;

use crate::{Disk, lasting_port, signal, wait_for};

/// Debian's PostgreSQL.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// PostgreSQL refuses to run as root; Debian's package makes this user.
const USER: &str = "postgres";
/// The role that owns the databases of `PostgresServer::database`.
const ROLE: &str = "strongroom";
/// Its password, for connections that are not by the socket.
pub const PASSWORD: &str = "not-a-good-password";

/// A running server, or a stopped one that can be started again; removed when the value is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    dir: TempDir,
    port: u16,
    settings: Vec<String>,
    process: Option<Child>,
    databases: AtomicU32,
}

impl Default for PostgresServer {
    fn default() -> Self {
        Self::new()
    }
}

impl PostgresServer {
    /// A new server that listens on its socket alone, and answers.
    ///
    /// # Panics
    /// If PostgreSQL is not installed, or does not start.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Vec::new())
    }

    /// A new server that listens on 127.0.0.1 and 127.0.0.2, too, with TLS and passwords.
    ///
    /// # Panics
    /// As [`PostgresServer::new`].
    #[must_use]
    pub fn with_tls(cert: &Path, key: &Path) -> Self {
        let this = Self::with(Vec::new());
        let mut this = this.stopped();
        for (name, from) in [("server.pem", cert), ("server.key", key)] {
            let to = this.dir.path().join(name);
            fs::copy(from, &to).expect("it is there");
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).expect("it is ours");
            this.give(&to);
        }
        let file = |name: &str| this.dir.path().join(name).display().to_string();
        this.settings = vec![
            "listen_addresses=127.0.0.1,127.0.0.2".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", file("server.pem")),
            format!("ssl_key_file={}", file("server.key")),
        ];
        this.start();
        this
    }

    fn with(settings: Vec<String>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let port = lasting_port();
        let mut this = Self { dir, port, settings, process: None, databases: AtomicU32::new(0) };
        this.give(this.dir.path());
        let mut initdb = this.program("initdb");
        initdb.arg("-D").arg(this.data()).args(["-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]);
        initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256"]);
        let Output { status, stdout, stderr } =
            initdb.output().unwrap_or_else(|error| panic!("cannot run initdb ({error}): apt-get install postgresql-15"));
        assert!(status.success(), "initdb: {}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        this.start();
        // What docs/KEYSTORES.md has an administrator do.
        for statement in [
            format!("create role {ROLE} login password '{PASSWORD}'"),
            format!("create role {ROLE}_requests nologin"),
            format!("create role {ROLE}_worker nologin"),
            format!("grant {ROLE}_requests, {ROLE}_worker to {ROLE}"),
        ] {
            this.sql("postgres", &statement);
        }
        this
    }

    fn stopped(mut self) -> Self {
        self.stop();
        self
    }

    /// Makes an empty database that belongs to the role of the URLs, and returns its name.
    ///
    /// # Panics
    /// If the server does not answer.
    #[must_use]
    pub fn database(&self) -> String {
        let name = format!("keys{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("create database {name} owner {ROLE}"));
        name
    }

    /// As [`PostgresServer::database`], on a small disk of its own (tmpfs(5)), where there is no log of the server's.
    ///
    /// # Panics
    /// If this is not root.
    #[must_use]
    pub fn database_on_disk(&self, size: &str) -> (String, Disk) {
        let disk = Disk::mount(&self.dir.path().join("disk"), size);
        let space = disk.path().join("space");
        fs::create_dir(&space).expect("the disk is ours");
        fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        self.give(&space);
        self.sql("postgres", &format!("create tablespace small location '{}'", space.display()));
        let name = self.database();
        self.sql("postgres", &format!("alter database {name} set tablespace small"));
        (name, disk)
    }

    /// A second server that follows this one, which from now on waits with each commit until the other has it.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn standby(&self) -> Self {
        self.sql("postgres", "alter system set synchronous_standby_names = '*'");
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let mut this = Self { dir, port: lasting_port(), settings: Vec::new(), process: None, databases: AtomicU32::new(0) };
        this.give(this.dir.path());
        let mut copy = this.program("pg_basebackup");
        copy.arg("-D").arg(this.data()).arg("-h").arg(self.dir.path()).args(["-p", &self.port.to_string(), "-U", "postgres"]);
        copy.args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-T"]);
        copy.arg(format!("{}={}", self.dir.path().join("disk/space").display(), this.dir.path().join("space").display()));
        let Output { status, stderr, .. } = copy.output().expect("the program is there");
        assert!(status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&stderr));
        this.start();
        self.sql("postgres", "select pg_reload_conf()");
        let follows = || self.sql("postgres", "select count(*) from pg_stat_replication where sync_state = 'sync'") == "1";
        assert!(wait_for(follows), "the standby does not follow: {}", this.said());
        this
    }

    /// Makes a standby the server that serves.
    ///
    /// # Panics
    /// If it is none.
    pub fn promote(&self) {
        assert_eq!(self.sql("postgres", "select pg_promote(true, 60)"), "t", "{}", self.said());
        self.sql("postgres", "alter system reset synchronous_standby_names");
        self.sql("postgres", "select pg_reload_conf()");
    }

    /// The URL of a database by a socket in another folder, which is of the same number.
    #[must_use]
    pub fn url_in(&self, folder: &Path, database: &str) -> String {
        // Not every place behind an @ can have a port.
        let folder = folder.display().to_string().replace('/', "%2F");
        format!("postgresql://{ROLE}@{folder}:{}/{database}", self.port)
    }

    /// The URL of a database by the socket.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_in(self.dir.path(), database)
    }

    /// The URL of a database by TLS.
    #[must_use]
    pub fn tls_url(&self, database: &str) -> String {
        format!("postgresql://{ROLE}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on loopback, and in the socket's name.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join(format!(".s.PGSQL.{}", self.port))
    }

    /// Runs SQL as the server's own administrator; returns what it selects, a line for each row.
    ///
    /// # Panics
    /// If it is refused.
    pub fn sql(&self, database: &str, text: &str) -> String {
        let Output { status, stdout, stderr } = self.psql(database, text);
        assert!(status.success(), "{text}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&stdout).trim_end().to_owned()
    }

    /// What the server has written to its log.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn psql(&self, database: &str, text: &str) -> Output {
        let mut psql = Command::new(Path::new(PROGRAMS).join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--username=postgres"]);
        psql.arg("--host").arg(self.dir.path()).arg(format!("--port={}", self.port)).args(["--dbname", database, "--command", text]);
        psql.output().unwrap_or_else(|error| panic!("cannot run psql ({error}): apt-get install postgresql-15"))
    }

    /// Stops it as its operator would, which ends every connection.
    pub fn stop(&mut self) {
        self.end(Signal::SIGINT);
    }

    /// Stops it at once, as a crash does; what was committed is there when it is started again.
    pub fn crash(&mut self) {
        self.end(Signal::SIGQUIT);
    }

    /// Stops all its processes where they stand: it takes connections, as the system does for it, and answers nothing.
    ///
    /// # Panics
    /// If it is not running.
    pub fn freeze(&self) {
        self.signal_all(Signal::SIGSTOP);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// If it is not running.
    pub fn thaw(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    fn signal_all(&self, with: Signal) {
        let first = self.process.as_ref().expect("it is running").id();
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).expect("Linux tells them");
        // The one that makes others comes first.
        signal(first, with);
        children.split_whitespace().for_each(|child| signal(child.parse().expect("a process id"), with));
    }

    /// Starts it again on the same data and port.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "it is running");
        let mut server = self.program("postgres");
        server.arg("-D").arg(self.data()).arg("-k").arg(self.dir.path()).args(["-p", &self.port.to_string()]);
        let listens = ["listen_addresses=", "unix_socket_permissions=0777"].map(str::to_owned);
        for setting in listens.iter().chain(&self.settings) {
            server.args(["-c", setting]);
        }
        let log = fs::File::options().append(true).create(true).open(self.log()).expect("the folder is ours");
        let started = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.process = Some(started.unwrap_or_else(|error| panic!("cannot run postgres ({error}): apt-get install postgresql-15")));
        let answers = wait_for(|| self.has_ended() || self.psql("postgres", "select 1").status.success());
        assert!(answers && !self.has_ended(), "postgres does not start: {}", self.said());
    }

    fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.try_wait().is_ok_and(|ended| ended.is_some()))
    }

    fn end(&mut self, by: Signal) {
        if let Some(mut process) = self.process.take() {
            signal(process.id(), by);
            // One that a test has left frozen hears nothing before.
            signal(process.id(), Signal::SIGCONT);
            let _status = process.wait();
        }
    }

    /// A program of PostgreSQL's, as a user that is not root.
    fn program(&self, name: &str) -> Command {
        let program = Path::new(PROGRAMS).join(name);
        assert!(program.is_file(), "{} is not there: apt-get install postgresql-15", program.display());
        let mut command = if Uid::effective().is_root() {
            // It takes the place of setpriv, so that it is our child.
            let mut command = Command::new("setpriv");
            command.args(["--reuid", USER, "--regid", USER, "--init-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.dir.path());
        command
    }

    /// To the server's user, if that is not our own.
    fn give(&self, path: &Path) {
        if Uid::effective().is_root() {
            let user = User::from_name(USER).ok().flatten();
            let user = user.unwrap_or_else(|| panic!("there is no user {USER}: apt-get install postgresql-15"));
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("root may");
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.crash();
    }
}
