//! Keystores of each kind under a core, with the means to make each of their faults.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use daemon::confine;
use data_encoding::HEXLOWER;
use nix::sys::signal::Signal;

use crate::appliance::{signal, wait_for};
use crate::binary;
use crate::core::Core;
use crate::disk::Disk;
use crate::https;
use crate::openbao::OpenbaoServer;
use crate::postgres::PostgresServer;
use crate::soak::wire::{Lie, Place, Wire, WireState};

/// What the configuration has as the time of a call.
const TIMEOUT: Duration = Duration::from_secs(4);
/// How late a slow keystore answers.
const SLOW: Duration = Duration::from_secs(30);
/// How many answers are lost, one after the other, each at another place.
const ANSWERS_LOST: u32 = 10;
/// The folder's size where the medium can be full.
const DISK: &str = "48m";
/// OpenBao's is larger: of each change it keeps a log and what came of it.
const VAULTS_DISK: &str = "128m";

/// A kind of keystore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Embedded,
    Postgres,
    Openbao,
    /// One that runs in a unit of its own.
    Plugin,
    /// One that the core runs.
    OwnPlugin,
    /// Keys in PostgreSQL, all else in the core's own file.
    Routed,
}

pub(super) const STORES: [Store; 6] = [Store::Embedded, Store::OwnPlugin, Store::Plugin, Store::Routed, Store::Openbao, Store::Postgres];

/// What befalls a keystore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Down,
    Killed,
    Restarted,
    Sealed,
    Slow,
    HalfOpen,
    Garbage,
    Lies(Lie),
    AnswersLost,
    TokenRevoked,
    DiskFull,
    Hangs,
    OtherBinary,
    Promoted,
}

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Killed => "killed under load, started again",
            Self::Restarted => "restarted",
            Self::Sealed => "sealed",
            Self::Slow => "answers after 30 s",
            Self::HalfOpen => "takes connections, never answers",
            Self::Garbage => "sends garbage",
            Self::Lies(Lie::NoAnswer) => "answers with what is no answer",
            Self::Lies(Lie::Long | Lie::LongMessage | Lie::LongRow) => "answers 1 GiB",
            Self::Lies(Lie::OtherProtocol) => "speaks another protocol version",
            Self::AnswersLost => "answers lost, at each place",
            Self::TokenRevoked => "token revoked",
            Self::DiskFull => "disk full",
            Self::Hangs => "hangs",
            Self::OtherBinary => "another program in its place",
            Self::Promoted => "killed for good, standby promoted",
        }
    }

    /// Does it last until clients have heard of it?
    pub(super) fn is_heard(self) -> bool {
        !matches!(self, Self::Killed | Self::Restarted | Self::AnswersLost | Self::TokenRevoked | Self::Promoted)
    }
}

impl Store {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres => "PostgreSQL",
            Self::Openbao => "OpenBao",
            Self::Plugin => "plugin, a unit",
            Self::OwnPlugin => "plugin, the node's",
            Self::Routed => "L3 in PostgreSQL, else embedded",
        }
    }

    pub(super) fn faults(self) -> &'static [Fault] {
        use Fault::*;
        match self {
            Self::Embedded => &[DiskFull],
            Self::Postgres | Self::Routed => {
                &[Down, Killed, Restarted, Slow, HalfOpen, Garbage, Lies(Lie::LongRow), AnswersLost, DiskFull, Promoted]
            }
            Self::Openbao => {
                &[Down, Sealed, Killed, Slow, HalfOpen, Garbage, Lies(Lie::NoAnswer), Lies(Lie::Long), AnswersLost, TokenRevoked, DiskFull]
            }
            Self::Plugin => {
                &[Down, Killed, Slow, HalfOpen, Garbage, Lies(Lie::OtherProtocol), Lies(Lie::LongMessage), AnswersLost, DiskFull, Hangs]
            }
            Self::OwnPlugin => &[Killed, Hangs, OtherBinary],
        }
    }

    /// A core that serves acme/billing from such a keystore.
    pub(super) fn estate(self) -> Estate {
        let mut core = Core::prepared();
        let means = match self {
            Self::Embedded => {
                let disk = Disk::mount(&core.dir().join("disk"), DISK);
                let (store, there) = (core.store(), disk.path().join("store.redb"));
                fs::copy(&store, &there).expect("there is room");
                fs::remove_file(&store).expect("it is ours");
                std::os::unix::fs::symlink(there, &store).expect("it is ours");
                core.start();
                Means { wire: None, back: Back::File { disk } }
            }
            Self::Postgres | Self::Routed => {
                let server = PostgresServer::new();
                let (database, disk) = server.database_on_disk(DISK);
                let wire = Wire::by_unix(&core.dir().join(format!(".s.PGSQL.{}", server.port())), Place::Unix(server.socket()));
                let url = server.url_in(core.dir(), &database);
                let section = format!("postgres: {{url: '{url}', timeout: {}s}}", TIMEOUT.as_secs());
                if self == Self::Routed {
                    configure(&core, &section, "routing: [{keystore: embedded}]");
                    core.start();
                    let _moved = core.ask(&["keystore", "migrate", "--from", "embedded", "--to", "main", "--layer", "L3", "--watch"]);
                } else {
                    found(&mut core, &section);
                }
                Means { wire: Some(wire), back: Back::Database { server, database, disk } }
            }
            Self::Openbao => {
                let server = OpenbaoServer::on_disk(VAULTS_DISK);
                let tls = https::server(&server.file("server.pem"), &server.file("server.key"));
                let (wire, port) = Wire::by_tcp(Place::Tcp(server.port()), tls);
                core.write_credential(OpenbaoServer::CREDENTIAL, &server.secret_id());
                let url = format!("https://127.0.0.1:{port}");
                let section = server.section(&url, &server.role_id(), "keys", "ca.pem", TIMEOUT);
                found(&mut core, &format!("openbao: {section}"));
                Means { wire: Some(wire), back: Back::Vault { server } }
            }
            Self::Plugin => {
                let disk = Disk::mount(&core.dir().join("disk"), DISK);
                let mut unit = Unit { disk, child: None };
                unit.start();
                let socket = core.dir().join("plugin.sock");
                let wire = Wire::by_unix(&socket, Place::Unix(unit.socket()));
                let user = nix::unistd::geteuid();
                found(&mut core, &format!("grpc: {{socket: {socket:?}, user: '{user}', timeout: {}s}}", TIMEOUT.as_secs()));
                Means { wire: Some(wire), back: Back::Unit(unit) }
            }
            Self::OwnPlugin => {
                let program = core.dir().join("plugin");
                fs::copy(binary("plugin-redb", "plugin-redb"), &program).expect("the folder is ours");
                let hash = HEXLOWER.encode(&confine::hash(&program).expect("it was just copied"));
                found(&mut core, &format!("grpc: {{command: {program:?}, sha256: {hash}, timeout: {}s}}", TIMEOUT.as_secs()));
                Means { wire: None, back: Back::Own { program } }
            }
        };
        Estate { core, means }
    }
}

fn configure(core: &Core, section: &str, rest: &str) {
    let plain = fs::read_to_string(core.config()).expect("dev has written it");
    fs::write(core.config(), format!("{plain}\nkeystores:\n  main:\n    {section}\n{rest}\n")).expect("the folder is ours");
}

/// Makes a new cluster in the keystore that the section tells of.
fn found(core: &mut Core, section: &str) {
    fs::remove_dir_all(core.data_dir()).expect("the folder is ours");
    configure(core, section, "");
    assert!(core.init_command().status().expect("the binary is there").success(), "init in an empty keystore: {section}");
    core.start();
    let _made = core.ask(&["tenant", "create", "acme"]);
    let _made = core.ask(&["service", "create", "acme", "billing"]);
}

/// A core and what is behind its keystore.
pub(super) struct Estate {
    core: Core,
    means: Means,
}

impl Estate {
    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    pub(super) fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    pub(super) fn parts(&mut self) -> (&Core, &mut Means) {
        (&self.core, &mut self.means)
    }

    /// What the keystore itself shows to belong to nothing.
    pub(super) fn orphans(&self) -> u64 {
        let Back::Database { server, database, .. } = &self.means.back else { return 0 };
        let terms = "select count(*) from strongroom.terms t where not exists \
             (select 1 from strongroom.records r where r.layer = t.layer and r.id = t.id)";
        server.sql(database, terms).parse().expect("a number")
    }
}

/// What makes the faults.
pub(super) struct Means {
    wire: Option<Wire>,
    back: Back,
}

enum Back {
    File { disk: Disk },
    Database { server: PostgresServer, database: String, disk: Disk },
    Vault { server: OpenbaoServer },
    Unit(Unit),
    Own { program: PathBuf },
}

/// A plugin that somebody else runs.
struct Unit {
    disk: Disk,
    child: Option<Child>,
}

impl Unit {
    fn socket(&self) -> PathBuf {
        self.disk.path().join("socket")
    }

    fn start(&mut self) {
        let _none_left = fs::remove_file(self.socket());
        let mut command = Command::new(binary("plugin-redb", "plugin-redb"));
        command.env("STRONGROOM_PLUGIN_SOCKET", self.socket()).env("STRONGROOM_PLUGIN_STATE", self.disk.path()).stdin(Stdio::null());
        self.child = Some(command.spawn().expect("the plugin starts"));
        assert!(wait_for(|| UnixStream::connect(self.socket()).is_ok()), "the plugin does not listen");
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), Signal::SIGKILL);
            let _reaped = child.wait();
        }
    }

    fn signal(&self, with: Signal) {
        signal(self.child.as_ref().expect("it runs").id(), with);
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The plugin that the core has started: nothing else has the name of this copy.
fn process_of(program: &std::path::Path) -> u32 {
    let all = || fs::read_dir("/proc").expect("there is one").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |process: &u32| {
        let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).next() == Some(program.as_os_str().as_encoded_bytes())
    };
    let mut found = None;
    assert!(
        wait_for(|| {
            found = all().find(is_it);
            found.is_some()
        }),
        "the plugin does not run"
    );
    found.expect("it was found")
}

/// Puts a program of other bytes in its place, or takes it away.
fn alter(program: &std::path::Path, is_altered: bool) {
    let mut bytes = fs::read(binary("plugin-redb", "plugin-redb")).expect("it is there");
    if is_altered {
        bytes.push(0);
    }
    fs::remove_file(program).expect("it is ours");
    fs::write(program, bytes).expect("the folder is ours");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

impl Means {
    /// Makes the fault. One that clients need not hear of is over when this returns.
    pub(super) fn begin(&mut self, fault: Fault) {
        let wire = self.wire.clone();
        let become_so = |state| wire.as_ref().expect("it has a wire").become_so(state);
        match (fault, &mut self.back) {
            (Fault::Slow, _) => become_so(WireState::Slow(SLOW)),
            (Fault::HalfOpen, _) => become_so(WireState::HalfOpen),
            (Fault::Garbage, _) => become_so(WireState::Garbage),
            (Fault::Lies(lie), _) => become_so(WireState::Lies(lie)),
            (Fault::AnswersLost, _) => {
                let wire = wire.expect("it has a wire");
                for place in 0..ANSWERS_LOST {
                    wire.become_so(WireState::LosesAnswer(place));
                    assert!(wait_for(|| wire.is_open()), "no answer {place} is lost");
                }
            }
            (Fault::DiskFull, Back::File { disk } | Back::Database { disk, .. } | Back::Unit(Unit { disk, .. })) => disk.fill(),
            (Fault::DiskFull, Back::Vault { server }) => server.disk().fill(),
            (Fault::Down, Back::Database { server, .. }) => server.stop(),
            (Fault::Down, Back::Vault { server }) => server.crash(),
            (Fault::Down, Back::Unit(unit)) => unit.kill(),
            (Fault::Killed, Back::Database { server, .. }) => {
                server.crash();
                server.start();
            }
            (Fault::Killed, Back::Vault { server }) => {
                server.crash();
                server.start();
            }
            (Fault::Killed, Back::Unit(unit)) => {
                unit.kill();
                unit.start();
            }
            (Fault::Killed, Back::Own { program }) => signal(process_of(program), Signal::SIGKILL),
            (Fault::Restarted, Back::Database { server, .. }) => {
                server.stop();
                server.start();
            }
            (Fault::Sealed, Back::Vault { server }) => server.seal(),
            (Fault::TokenRevoked, Back::Vault { server }) => server.revoke_tokens(),
            (Fault::Hangs, Back::Unit(unit)) => unit.signal(Signal::SIGSTOP),
            (Fault::Hangs, Back::Own { program }) => signal(process_of(program), Signal::SIGSTOP),
            (Fault::OtherBinary, Back::Own { program }) => {
                let process = process_of(program);
                alter(program, true);
                signal(process, Signal::SIGKILL);
            }
            (Fault::Promoted, Back::Database { server, .. }) => {
                let standby = server.standby();
                server.crash();
                standby.promote();
                let wire = wire.expect("it has a wire");
                wire.lead_to(Place::Unix(standby.socket()));
                *server = standby;
            }
            (fault, _) => panic!("{} cannot befall it", fault.name()),
        }
    }

    /// Ends the fault; the keystore answers when this returns.
    pub(super) fn end(&mut self, fault: Fault) {
        match (fault, &mut self.back) {
            (Fault::Slow | Fault::HalfOpen | Fault::Garbage | Fault::Lies(_), _) => {
                self.wire.as_ref().expect("it has a wire").become_so(WireState::Open);
            }
            (Fault::DiskFull, Back::File { disk } | Back::Database { disk, .. } | Back::Unit(Unit { disk, .. })) => disk.empty(),
            (Fault::DiskFull, Back::Vault { server }) => {
                server.disk().empty();
                server.see_to();
            }
            (Fault::Down, Back::Database { server, .. }) => server.start(),
            (Fault::Down, Back::Vault { server }) => server.start(),
            (Fault::Down, Back::Unit(unit)) => unit.start(),
            (Fault::Sealed, Back::Vault { server }) => server.unseal(),
            (Fault::Hangs, Back::Unit(unit)) => unit.signal(Signal::SIGCONT),
            (Fault::OtherBinary, Back::Own { program }) => alter(program, false),
            // Over already, or seen to by the core itself.
            _ => {}
        }
    }
}
