//! The client against device processes that hang, crash and send rubbish.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hsm::{Answer, Device as _, DeviceError, DeviceProcess, Job, ProcessSettings, Reply, Secrets, Task, Token, TokenName, Work};
use secret::Bytes;

/// Far above what any of them takes that does not hang.
const DEADLINE: Duration = Duration::from_secs(60);

fn run(fake: &str, deadline: Duration) -> Result<Reply, DeviceError> {
    let device = DeviceProcess::new(ProcessSettings {
        program: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/device.sh"),
        latch_dir: PathBuf::from("/nonexistent"),
        environment: BTreeMap::from([("FAKE".to_owned(), fake.to_owned())]),
        deadline,
    });
    let pin = Bytes::init_with(4, |place| place.copy_from_slice(b"4321")).expect("the arena has room");
    device.run(&job(), Secrets { pin: Some(&pin), payload: None })
}

fn token() -> Token {
    Token { module: "/m.so".into(), name: TokenName::Label("t".to_owned()) }
}

fn job() -> Job {
    Job { work: Work::Token { token: token(), task: Task::Describe }, retry_pin: false }
}

fn garbled(fake: &str) -> &'static str {
    match run(fake, DEADLINE) {
        Err(DeviceError::Garbled { what }) => what,
        other => panic!("{fake}: {other:?}"),
    }
}

#[test]
fn a_process_that_never_answers_is_killed_at_the_deadline() {
    let begun = Instant::now();
    let hung = run("hang", Duration::from_millis(200));
    assert!(matches!(hung, Err(DeviceError::TimedOut { .. })), "{hung:?}");
    assert!(begun.elapsed() < DEADLINE);
}

#[test]
fn a_process_that_closes_its_socket_and_lives_on_is_not_waited_for() {
    let begun = Instant::now();
    let ended = run("close", DEADLINE);
    assert!(matches!(ended, Err(DeviceError::Died { .. })), "{ended:?}");
    assert!(begun.elapsed() < DEADLINE);
}

#[test]
fn an_answer_counts_although_its_process_does_not_exit() {
    let begun = Instant::now();
    let reply = run("lingers", DEADLINE).expect("the answer is whole");
    assert_eq!(reply.answer, Answer::KeyMade);
    assert!(begun.elapsed() < DEADLINE);
}

#[test]
fn a_crash_is_told_by_its_signal_and_an_exit_by_its_code() {
    assert!(matches!(run("crash", DEADLINE), Err(DeviceError::Died { signal: Some(11), code: None })));
    assert!(matches!(run("exit", DEADLINE), Err(DeviceError::Died { signal: None, code: Some(3) })));
}

#[test]
fn rubbish_is_refused_within_bounds() {
    assert_eq!(garbled("noise"), "bytes that are no frame of this version");
    assert_eq!(garbled("huge-header"), "a frame that is longer than allowed");
    assert_eq!(garbled("huge-secret"), "a frame that is longer than allowed");
    assert_eq!(garbled("undecodable"), "a header that does not decode");
    assert_eq!(garbled("secret-in-the-pins-place"), "a secret where there is none");
}

#[test]
fn an_answer_that_is_cut_is_a_death_and_no_answer() {
    assert!(matches!(run("cut", DEADLINE), Err(DeviceError::Died { .. })));
}

#[test]
fn an_answer_to_another_task_is_refused() {
    let device = DeviceProcess::new(ProcessSettings {
        program: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/device.sh"),
        latch_dir: PathBuf::from("/nonexistent"),
        environment: BTreeMap::from([("FAKE".to_owned(), "misfit".to_owned())]),
        deadline: DEADLINE,
    });
    assert!(matches!(token().describe(&device), Err(DeviceError::Garbled { what: "an answer to another task" })));
}

#[test]
fn nothing_of_our_environment_reaches_the_process() {
    assert!(matches!(run("environment", DEADLINE), Err(DeviceError::Died { signal: None, code: Some(42) })));
}

#[test]
fn a_job_that_is_too_large_for_the_wire_is_not_sent() {
    let device = DeviceProcess::new(ProcessSettings {
        program: "/bin/true".into(),
        latch_dir: PathBuf::from("/nonexistent"),
        environment: BTreeMap::new(),
        deadline: DEADLINE,
    });
    let long = Bytes::init_with(257, |_| ()).expect("the arena has room");
    let sent = device.run(&job(), Secrets { pin: Some(&long), payload: None });
    assert!(matches!(sent, Err(DeviceError::TooLarge { .. })));
}
