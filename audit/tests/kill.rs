//! Kills a process that writes the log, at random moments: nothing acknowledged is missing, and nothing is taken for tampering.

use std::env;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use audit::{Log, LogId, Settings, SyncMode, verify};
use keys::id::{Generation, KeyVersion, OutboxSeq, SessionId, Time};
use keys::policy::Action;
use keys::port::{AuditSink, OutboxEntry};
use keys::record::{Origin, Outcome, Record, SessionRecord};
use secret::Key;

const KILLS: u64 = 20;
const ID: LogId = LogId([7; 16]);
const SETTINGS: Settings = Settings { segment_bytes: 60_000, reserve_bytes: 64 << 10, sync: SyncMode::Lifecycle };

fn main() {
    match env::args().nth(1).as_deref() {
        Some("write") => write(Path::new(&env::args().nth(2).expect("the directory is the second argument"))),
        // A test runner asks which tests there are, and then again which of them are to be passed over: none.
        Some("--list") if env::args().any(|argument| argument == "--ignored") => {}
        Some("--list") => std::io::stdout().write_all(b"killed_writers_lose_nothing: test\n").expect("the runner listens"),
        _ => killed_writers_lose_nothing(),
    }
}

fn open(dir: &Path) -> (Log, u64, u64) {
    let (log, report) = Log::open(dir, SETTINGS, ID).unwrap_or_else(|error| panic!("after a kill: {error}"));
    log.set_key(Key::init_with(|seed| seed.fill(9)).expect("the arena has room")).expect("it is the same key");
    (log, report.repaired_bytes, report.outbox.0)
}

fn record(number: u64) -> Record {
    Record {
        time: Time::from_millis(1_700_000_000_000),
        session: SessionId(1),
        action: Action::Encrypt,
        object: None,
        version: Some(KeyVersion::FIRST),
        generation: Some(Generation(number)),
        outcome: Outcome::Success,
    }
}

/// Writes until killed; says each record's number after it was acknowledged.
fn write(dir: &Path) {
    let (log, _, mut outbox) = open(dir);
    let (tenant, service, peer) = (String::new(), String::new(), "test".to_owned());
    let (time, session, origin) = (Time::from_millis(0), SessionId(1), Origin::System);
    log.session(&SessionRecord { time, session, origin, role: None, tenant, service, certificate: [0; 32], peer })
        .expect("the log takes a session");
    let mut acknowledge = std::io::stdout();
    for number in 1_u64.. {
        if number % 5 == 0 {
            outbox += 1;
            log.settle(&[OutboxEntry { seq: OutboxSeq(outbox), record: record(number) }]).expect("the log takes settled records");
        } else {
            log.append(&[record(number)]).expect("the log takes a record");
        }
        acknowledge.write_all(&number.to_be_bytes()).and_then(|()| acknowledge.flush()).expect("the parent listens");
        if number % 40 == 0 {
            log.flush().expect("the log can be flushed");
        }
    }
}

fn killed_writers_lose_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut acknowledged, mut torn) = (0, 0);
    for kill in 0..KILLS {
        let written = kill_one(dir.path(), 1 + kill * 97);
        acknowledged += written;
        let before = verify(dir.path(), None).unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        let (log, repaired_bytes, _) = open(dir.path());
        assert_eq!(before.torn_bytes, repaired_bytes, "kill {kill}");
        torn += u64::from(repaired_bytes > 0);
        // One record may have been written whose acknowledgement was not.
        assert!((acknowledged..=acknowledged + kill + 1).contains(&before.records), "kill {kill}: {acknowledged} of {}", before.records);
        log.flush().expect("the log is healthy after a restart");
        let after = verify(dir.path(), None).unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        assert_eq!((after.records, after.torn_bytes, after.unsigned), (before.records, 0, 0), "kill {kill}");
    }
    writeln!(std::io::stdout(), "{KILLS} kills, {acknowledged} records acknowledged and found, {torn} torn tails").expect("stdout is open");
}

/// Lets a child write `least` records or more; returns how many it acknowledged before it was killed.
fn kill_one(dir: &Path, least: u64) -> u64 {
    let me = env::current_exe().expect("the test has a path");
    let mut child: Child = Command::new(me).arg("write").arg(dir).stdout(Stdio::piped()).spawn().expect("the test can start itself");
    let mut acknowledgements = child.stdout.take().expect("stdout is a pipe");
    let mut number = [0; 8];
    for _ in 0..least {
        acknowledgements.read_exact(&mut number).expect("the child writes until it is killed");
    }
    child.kill().expect("the child runs");
    child.wait().expect("the child was killed");
    let mut rest = Vec::new();
    acknowledgements.read_to_end(&mut rest).expect("the pipe can be read");
    least + (rest.len() / 8) as u64
}
