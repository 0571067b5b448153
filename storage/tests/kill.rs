//! Kill -9 during commits: every acknowledged row is there afterwards, and no batch by half.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use keys::id::{Generation, OutboxSeq};
use keys::port::{Batch, Change, Keystore};
use keys::row::Row;
use storage::conformance::sample::{entry, id, query, row};
use storage::embedded::Embedded;
use support::random;

/// Names the database file to the child, which is this same program.
const CHILD: &str = "STORAGE_KILL_CHILD";
const TEST: &str = "acknowledged_commits_survive_kill_9";
const KILLS: u64 = 20;
const SEED: u64 = 0x6b69_6c6c_2d39_0001;
/// Rows inserted by each commit.
const ROWS: u64 = 3;
/// Outbox records that are not settled yet.
const UNSETTLED: u64 = 10;

/// Commit `number`: three rows, one update of the counter row, one audit record in, one out.
fn step(number: u64) -> Batch {
    let mut changes: Vec<_> = rows(number).into_iter().map(Change::Insert).collect();
    changes.push(match number {
        1 => Change::Insert(counter(1)),
        _ => Change::Update { expected: Generation(number - 1), row: counter(number) },
    });
    Batch { changes, outbox: vec![entry(number)], settled: number.checked_sub(UNSETTLED).map(OutboxSeq) }
}

fn rows(number: u64) -> Vec<Row> {
    (0..ROWS).map(|place| row(1000 + number * ROWS + place, &[1, 1000 + number])).collect()
}

/// The row that every commit changes; its generation and its only term are the number of commits.
fn counter(number: u64) -> Row {
    let mut counter = row(0, &[500_000 + number]);
    counter.header.generation = Generation(number);
    counter
}

async fn commits(store: &Embedded) -> u64 {
    store.retrieve(id(0)).await.expect("the store reads").map_or(0, |row| row.header.generation.0)
}

/// Commits until it is killed, and says so after each.
async fn commit_for_ever(path: &Path) -> ! {
    let store = Embedded::open(path).expect("the file opens again");
    let mut number = commits(&store).await;
    loop {
        number += 1;
        store.commit(step(number)).await.expect("the store is sound");
        writeln!(std::io::stdout(), "acknowledged {number}").expect("the parent reads");
    }
}

/// Starts a child, kills it after `count` more commits and some time, and returns the last one that it acknowledged.
fn kill_one(path: &Path, count: u64, spin: u64) -> u64 {
    let me = std::env::current_exe().expect("a test has a program");
    let mut child =
        Command::new(me).args([TEST, "--exact", "--nocapture"]).env(CHILD, path).stdout(Stdio::piped()).spawn().expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("it is a pipe"));
    let mut lines = output.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok());
    let mut last = 0;
    for _ in 0..count {
        last = lines.next().expect("the child commits until it is killed");
    }
    // The next commit is under way: how far it gets is left to chance and to this loop.
    (0..spin).for_each(|turn| {
        std::hint::black_box(turn);
    });
    child.kill().expect("it runs");
    child.wait().expect("it runs");
    lines.last().unwrap_or(last)
}

async fn check(path: &Path, acknowledged: u64) {
    let store = Embedded::open(path).expect("the file opens again");
    let found = commits(&store).await;
    assert!(found == acknowledged || found == acknowledged + 1, "{acknowledged} acknowledged, {found} found");
    for number in 1..=found {
        let newest_first: Vec<_> = rows(number).into_iter().rev().collect();
        assert_eq!(store.find(&query(&[1000 + number], None, 99)).await.expect("the store reads"), newest_first, "commit {number}");
        for row in newest_first {
            assert_eq!(store.retrieve(row.header.id).await.expect("the store reads"), Some(row), "commit {number}");
        }
    }
    for row in rows(found + 1) {
        assert_eq!(store.retrieve(row.header.id).await.expect("the store reads"), None, "half of commit {}", found + 1);
    }
    let listed = store.find(&query(&[1], None, usize::MAX)).await.expect("the store reads").len() as u64;
    assert_eq!(listed, found * ROWS, "rows by their common term");
    for number in 1..=found + 1 {
        let holders = store.find(&query(&[500_000 + number], None, 9)).await.expect("the store reads").len();
        assert_eq!(holders, usize::from(number == found), "term of counter {number}");
    }
    let outbox = store.outbox(OutboxSeq(0), usize::MAX).await.expect("the store reads");
    let unsettled: Vec<_> = (found.saturating_sub(UNSETTLED) + 1..=found).map(entry).collect();
    assert_eq!(outbox, unsettled);
}

#[tokio::test]
async fn acknowledged_commits_survive_kill_9() {
    if let Some(path) = std::env::var_os(CHILD) {
        commit_for_ever(Path::new(&path)).await;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.redb");
    let mut state = SEED;
    for _ in 0..KILLS {
        let acknowledged = kill_one(&path, 1 + random(&mut state) % 20, random(&mut state) % 200_000);
        check(&path, acknowledged).await;
    }
}
