//! Several keystores as one: every rule of the port holds for rows that lie apart, and a batch over two keystores is whole whatever fails in its midst.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use keys::id::{Generation, Layer, OutboxSeq, RowId};
use keys::port::{Batch, Change, Keystore, OutboxEntry, Query, StoreError};
use keys::row::Row;
use storage::conformance;
use storage::conformance::sample::{batch, changed, entry, id, query, row, tenant};
use storage::embedded::Embedded;
use storage::intents::Intents;
use storage::memory::Memory;
use storage::routed::{Class, Cursor, Placement, Routed, Rule};
use support::random;
use tokio::sync::Semaphore;

const CHILD: &str = "STORAGE_ROUTED_KILL_CHILD";
const KILLED: &str = "a_batch_over_two_files_survives_kill_9_whole";
const KILLS: u64 = 20;
const SEED: u64 = 0x726f_7574_6564_0001;
/// Rows inserted by each commit.
const ROWS: u64 = 4;
/// Outbox records that are not settled yet.
const UNSETTLED: u64 = 3;
/// Commits of a run in which one call fails.
const COMMITS: u64 = 3;
/// More calls than such a run has.
const CALLS_MAX: u64 = 500;

/// Even rows belong to `near`, and with them all that is no key; odd ones to `far`.
fn apart() -> Placement {
    let class = Class { tenant: Some(tenant(1)), ..Class::default() };
    Placement::new("near", vec![Rule { class, keystore: "far".to_owned() }])
}

fn routed(near: Arc<dyn Keystore>, far: Arc<dyn Keystore>, placement: Placement, intents: &Path) -> Routed {
    let stores = BTreeMap::from([("near".to_owned(), near), ("far".to_owned(), far)]);
    Routed::new(stores, placement, Some(Intents::open(intents).expect("the file opens"))).expect("intents read")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_lie_apart_conform() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let make = async || {
        let fresh = tempfile::tempdir_in(&folder).expect("a folder").keep();
        Arc::new(routed(Arc::new(Memory::new()), Arc::new(Memory::new()), apart(), &fresh.join("intents"))) as Arc<dyn Keystore>
    };
    let report = conformance::run(make).await;
    assert!(report.expect("rows that lie apart conform").passed.len() >= 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keystore_alone_conforms_without_intents() {
    let make = async || {
        let stores = BTreeMap::from([("only".to_owned(), Arc::new(Memory::new()) as Arc<dyn Keystore>)]);
        Arc::new(Routed::new(stores, Placement::at("only"), None).expect("there is nothing to read")) as Arc<dyn Keystore>
    };
    let report = conformance::run(make).await;
    assert!(report.expect("one keystore conforms").passed.len() >= 25);
}

/// When a call fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Failure {
    Before,
    /// It is done, but nobody is told.
    After,
}

/// A keystore of which one call fails, counted over all that share the count.
struct Flaky {
    inner: Arc<dyn Keystore>,
    left: Arc<AtomicU64>,
    failure: Failure,
}

impl Flaky {
    fn fails(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let fails = self.fails();
        if fails && self.failure == Failure::Before {
            return Err(unavailable());
        }
        let outcome = call.await;
        if fails { Err(unavailable()) } else { outcome }
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { what: "a planted fault", source: "it was to fail".into() }
}

#[async_trait]
impl Keystore for Flaky {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.call(self.inner.retrieve(id)).await
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.call(self.inner.find(query)).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.call(self.inner.commit(batch)).await
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.call(self.inner.outbox(after, limit)).await
    }
}

/// Commit `number`: rows in both keystores, one of the last commit's rows removed, an update of the counter row, one audit record in, one out.
fn step(number: u64) -> Batch {
    let mut changes: Vec<_> = rows(number).into_iter().map(Change::Insert).collect();
    if number > 1 {
        changes.push(Change::Delete { id: removed(number - 1), expected: Generation::FIRST });
    }
    changes.push(match number {
        1 => Change::Insert(counter(1)),
        _ => Change::Update { expected: Generation(number - 1), row: counter(number) },
    });
    Batch { changes, outbox: vec![entry(number)], settled: number.checked_sub(UNSETTLED).map(OutboxSeq) }
}

fn rows(number: u64) -> Vec<Row> {
    (0..ROWS).map(|place| row(1000 + number * ROWS + place, &[1, 1000 + number])).collect()
}

/// Alternately near and far.
fn removed(number: u64) -> RowId {
    id(1000 + number * ROWS + number % 2)
}

/// The row that every commit changes; its generation and its only term are the number of commits.
fn counter(number: u64) -> Row {
    let mut counter = row(0, &[500_000 + number]);
    counter.header.generation = Generation(number);
    counter
}

async fn commits(store: &Routed) -> u64 {
    store.retrieve(id(0)).await.expect("the keystores read").map_or(0, |row| row.header.generation.0)
}

/// All that `found` commits make, and nothing else.
async fn check(store: &Routed, found: u64) {
    for number in 1..=found + 1 {
        let is_there = |row: &Row| number <= found && !(number < found && row.header.id == removed(number));
        let wanted: Vec<_> = rows(number).into_iter().rev().filter(is_there).collect();
        assert_eq!(store.find(&query(&[1000 + number], None, 99)).await.expect("the keystores read"), wanted, "commit {number} of {found}");
        for row in rows(number) {
            let read = store.retrieve(row.header.id).await.expect("the keystores read");
            assert_eq!(read.is_some(), is_there(&row), "{} of commit {number} of {found}", row.header.id);
        }
    }
    let listed = store.find(&query(&[1], None, usize::MAX)).await.expect("the keystores read").len() as u64;
    assert_eq!(listed, found * ROWS - found.saturating_sub(1), "rows by their common term");
    let outbox = store.outbox(OutboxSeq(0), usize::MAX).await.expect("the keystores read");
    assert_eq!(outbox, (found.saturating_sub(UNSETTLED) + 1..=found).map(entry).collect::<Vec<_>>());
}

/// One call of a few commits fails. Returns whether there was such a call.
async fn run_with_failure(nth: u64, failure: Failure, restarts: bool, folder: &Path) -> bool {
    let intents = folder.join(format!("{nth}-{failure:?}-{restarts}"));
    let (near, far) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
    let left = Arc::new(AtomicU64::new(nth));
    let flaky = |inner: &Arc<Memory>| Arc::new(Flaky { inner: Arc::<Memory>::clone(inner), left: Arc::clone(&left), failure });
    let mut store = routed(flaky(&near), flaky(&far), apart(), &intents);
    let mut number = 1;
    while number <= COMMITS {
        match store.commit(step(number)).await {
            Ok(()) => number += 1,
            Err(StoreError::Unavailable { .. }) => {
                if restarts {
                    drop(store);
                    store = routed(Arc::<Memory>::clone(&near), Arc::<Memory>::clone(&far), apart(), &intents);
                }
                let found = commits(&store).await;
                assert!(found == number - 1 || found == number, "call {nth}: {found} after commit {number}");
                check(&store, found).await;
                number = found + 1;
            }
            Err(error) => panic!("call {nth}: {error}"),
        }
    }
    let was_met = left.load(Ordering::Acquire) == 0 || left.load(Ordering::Acquire) > CALLS_MAX;
    left.store(u64::MAX, Ordering::Release);
    check(&store, COMMITS).await;
    was_met
}

#[tokio::test]
async fn whichever_call_fails_a_batch_is_whole_or_absent() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (failure, restarts) in [(Failure::Before, false), (Failure::After, false), (Failure::Before, true), (Failure::After, true)] {
        let mut nth = 1;
        while run_with_failure(nth, failure, restarts, folder.path()).await {
            nth += 1;
            assert!(nth < CALLS_MAX, "the run ends");
        }
        assert!(nth > 30, "only {nth} calls were met");
    }
}

/// A keystore whose commits wait for a permit.
struct Gated {
    inner: Arc<Memory>,
    gate: Arc<Semaphore>,
    /// How many have come.
    come: Arc<Semaphore>,
}

#[async_trait]
impl Keystore for Gated {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.inner.retrieve(id).await
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.inner.find(query).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.come.add_permits(1);
        self.gate.acquire().await.expect("it stays open").forget();
        self.inner.commit(batch).await
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.inner.outbox(after, limit).await
    }
}

/// A batch over both keystores that has changed the far one, and waits to change the home.
struct Waiting {
    near: Arc<Memory>,
    far: Arc<Memory>,
    gate: Arc<Semaphore>,
    store: Arc<Routed>,
    commit: tokio::task::JoinHandle<Result<(), StoreError>>,
    folder: tempfile::TempDir,
}

async fn waiting() -> Waiting {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (near, far) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
    let (gate, come) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let gated = Gated { inner: Arc::clone(&near), gate: Arc::clone(&gate), come: Arc::clone(&come) };
    near.commit(batch([Change::Insert(row(2, &[]))])).await.expect("it is new");
    far.commit(batch([Change::Insert(row(3, &[])), Change::Insert(row(5, &[7]))])).await.expect("they are new");
    let store = Arc::new(routed(Arc::new(gated), Arc::<Memory>::clone(&far), apart(), &folder.path().join("intents")));
    let changes = vec![
        Change::Insert(row(1, &[])),
        Change::Update { expected: Generation::FIRST, row: changed(&row(2, &[]), &[]) },
        Change::Update { expected: Generation::FIRST, row: changed(&row(3, &[]), &[]) },
        Change::Delete { id: id(5), expected: Generation::FIRST },
    ];
    let committing = Arc::clone(&store);
    let commit = tokio::spawn(async move { committing.commit(Batch { changes, outbox: vec![entry(1)], settled: None }).await });
    come.acquire().await.expect("it stays open").forget();
    assert_eq!(far.retrieve(id(5)).await.expect("memory reads"), None, "the far keystore is changed first");
    Waiting { near, far, gate, store, commit, folder }
}

#[tokio::test]
async fn nobody_sees_half_of_a_batch_and_others_are_read_meanwhile() {
    let Waiting { gate, store, commit, folder: _kept, .. } = waiting().await;
    let reading = |number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.retrieve(id(number)).await.expect("memory reads") })
    };
    let (far, near) = (reading(3), reading(2));
    let searching = Arc::clone(&store);
    let search = tokio::spawn(async move { searching.find(&query(&[], None, 9)).await.expect("memory reads") });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!far.is_finished() && !near.is_finished() && !search.is_finished());
    assert_eq!(store.retrieve(id(77)).await.expect("memory reads"), None);
    assert_eq!(store.find(&Query { layer: Layer::L4, ..query(&[], None, 9) }).await.expect("memory reads"), vec![]);
    gate.add_permits(1);
    commit.await.expect("it does not panic").expect("nobody else changes the rows");
    for read in [far, near] {
        assert_eq!(read.await.expect("it does not panic").map(|row| row.header.generation), Some(Generation(2)));
    }
    let found: Vec<_> = search.await.expect("it does not panic").iter().map(|row| row.header.id).collect();
    assert_eq!(found, [id(3), id(2), id(1)]);
}

#[tokio::test]
async fn what_another_node_has_changed_first_takes_the_whole_batch_back() {
    let Waiting { near, far, gate, store, commit, folder: _kept } = waiting().await;
    let others = batch([Change::Update { expected: Generation::FIRST, row: changed(&row(2, &[]), &[9]) }]);
    near.commit(others).await.expect("it is the first");
    gate.add_permits(9);
    let lost = commit.await.expect("it does not panic").expect_err("the row has changed");
    assert!(matches!(lost, StoreError::Conflict { id: at } if at == id(2)), "{lost}");
    assert_eq!(near.retrieve(id(2)).await.expect("memory reads"), Some(changed(&row(2, &[]), &[9])));
    assert_eq!(far.retrieve(id(1)).await.expect("memory reads"), None);
    assert_eq!(far.retrieve(id(3)).await.expect("memory reads"), Some(row(3, &[])));
    assert_eq!(store.find(&query(&[7], None, 9)).await.expect("memory reads"), vec![row(5, &[7])]);
    assert_eq!(store.outbox(OutboxSeq(0), 9).await.expect("memory reads"), vec![]);
    assert!(!store.is_unsettled());
}

/// A keystore that does not answer.
struct Gone;

#[async_trait]
impl Keystore for Gone {
    async fn retrieve(&self, _: RowId) -> Result<Option<Row>, StoreError> {
        Err(unavailable())
    }

    async fn find(&self, _: &Query) -> Result<Vec<Row>, StoreError> {
        Err(unavailable())
    }

    async fn commit(&self, _: Batch) -> Result<(), StoreError> {
        Err(unavailable())
    }

    async fn outbox(&self, _: OutboxSeq, _: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        Err(unavailable())
    }
}

#[tokio::test]
async fn a_keystore_that_is_gone_stops_what_lies_there_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let near = Arc::new(Memory::new());
    let store = routed(near, Arc::new(Gone), apart(), &folder.path().join("intents"));
    store.commit(Batch { outbox: vec![entry(1)], ..batch([Change::Insert(row(2, &[1]))]) }).await.expect("it is near");
    assert_eq!(store.retrieve(id(2)).await.expect("it is near"), Some(row(2, &[1])));
    assert_eq!(store.find(&Query { layer: Layer::Name, ..query(&[], None, 9) }).await.expect("names are near"), vec![]);
    for outcome in [
        store.retrieve(id(1)).await.map(drop),
        store.find(&query(&[1], None, 9)).await.map(drop),
        store.commit(batch([Change::Insert(row(1, &[]))])).await,
        store.commit(batch([Change::Insert(row(1, &[])), Change::Insert(row(4, &[]))])).await,
    ] {
        assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
    }
    // Nothing was begun that could not end.
    assert!(!store.is_unsettled());
    store.commit(batch([Change::Insert(row(4, &[]))])).await.expect("it is near");
}

async fn commit_for_ever(folder: &Path) -> ! {
    let store = two_files(folder);
    let mut number = commits(&store).await;
    loop {
        number += 1;
        store.commit(step(number)).await.expect("the files are sound");
        writeln!(std::io::stdout(), "acknowledged {number}").expect("the parent reads");
    }
}

fn two_files(folder: &Path) -> Routed {
    let open = |name: &str| Arc::new(Embedded::open(&folder.join(name)).expect("the file opens"));
    routed(open("near"), open("far"), apart(), &folder.join("intents"))
}

/// Starts a child, kills it after `count` more commits and some time, and returns the last one that it acknowledged.
fn kill_one(folder: &Path, count: u64, spin: u64) -> u64 {
    let me = std::env::current_exe().expect("a test has a program");
    let mut child =
        Command::new(me).args([KILLED, "--exact", "--nocapture"]).env(CHILD, folder).stdout(Stdio::piped()).spawn().expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("it is a pipe"));
    let mut lines = output.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok());
    let mut last = 0;
    for _ in 0..count {
        last = lines.next().expect("the child commits until it is killed");
    }
    (0..spin).for_each(|turn| {
        std::hint::black_box(turn);
    });
    child.kill().expect("it runs");
    child.wait().expect("it runs");
    lines.last().unwrap_or(last)
}

#[tokio::test]
async fn a_batch_over_two_files_survives_kill_9_whole() {
    if let Some(folder) = std::env::var_os(CHILD) {
        commit_for_ever(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut state = SEED;
    for _ in 0..KILLS {
        // Of four syncs each commit has one or two where half of it is in the files.
        let acknowledged = kill_one(folder.path(), 1 + random(&mut state) % 8, random(&mut state) % 1_000_000);
        let store = two_files(folder.path());
        let found = commits(&store).await;
        assert!(found == acknowledged || found == acknowledged + 1, "{acknowledged} acknowledged, {found} found");
        check(&store, found).await;
    }
}

/// Brings all rows to where `next` has them, each step again if a call failed in it.
///
/// - `pace`: gets permits with every step, for those who change rows meanwhile.
async fn migrate(store: &Routed, next: &Placement, pace: &Semaphore) {
    while store.note_changes().await.is_err() {}
    let walk = async |copies: Option<bool>| {
        let (mut at, mut differing) = (Some(Cursor::default()), 0);
        while let Some(cursor) = at {
            let step = match copies {
                None => store.copy(next, cursor).await,
                Some(copies) => store.compare(next, cursor, copies).await,
            };
            pace.add_permits(4);
            if let Ok(step) = step {
                (at, differing) = (step.next, differing + step.differing.len());
            }
        }
        differing
    };
    walk(None).await;
    for copies in [false, true] {
        assert_eq!(walk(Some(copies)).await, 0, "a copy is as its row");
    }
    // Under load without a pause that is never nothing.
    let mut rounds = 0;
    while rounds < 5 {
        rounds += u32::from(store.catch_up(next).await.is_ok());
    }
    while store.switch::<StoreError>(next.clone(), || Ok(())).await.is_err() {}
}

async fn clear(store: &Routed, was: &Placement, pace: &Semaphore) {
    let mut at = Some(Cursor::default());
    while let Some(cursor) = at {
        pace.add_permits(4);
        if let Ok(step) = store.clear(was, cursor).await {
            at = step.next;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_move_under_load_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (near, far) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
    let store = Arc::new(routed(Arc::<Memory>::clone(&near), Arc::<Memory>::clone(&far), Placement::at("near"), &folder.path().join("i")));
    for number in 1..=100 {
        store.commit(step(number)).await.expect("memory takes it");
    }
    let done = Arc::new(AtomicU64::new(100));
    let (committing, counted, pace) = (Arc::clone(&store), Arc::clone(&done), Arc::new(Semaphore::new(0)));
    let paced = Arc::clone(&pace);
    let load = tokio::spawn(async move {
        while let Ok(permit) = paced.acquire().await {
            permit.forget();
            let number = counted.load(Ordering::Acquire) + 1;
            committing.commit(step(number)).await.expect("moving rows refuses nobody");
            counted.store(number, Ordering::Release);
        }
    });
    let all = Class::default();
    let to_far = Placement::at("near").moved(&all, "near", "far");
    let half = to_far.moved(&Class { tenant: Some(tenant(0)), ..Class::default() }, "far", "near");
    let mut was = Placement::at("near");
    for next in [to_far, half.clone(), Placement::at("near"), half] {
        let before = done.load(Ordering::Acquire);
        migrate(&store, &next, &pace).await;
        clear(&store, &was, &pace).await;
        was = next;
        while done.load(Ordering::Acquire) < before + 5 {
            tokio::task::yield_now().await;
        }
    }
    pace.close();
    load.await.expect("no commit is refused");
    check(&store, done.load(Ordering::Acquire)).await;
    // Even rows came back near, odd ones are far, with all that is no key.
    for (inner, parity) in [(&near, 0), (&far, 1)] {
        let found = inner.find(&query(&[], None, usize::MAX)).await.expect("memory reads");
        assert!(found.len() > 100 && found.iter().all(|row| row.header.owner.tenant == tenant(parity)), "{parity}");
    }
    assert_eq!(near.outbox(OutboxSeq(0), 9).await.expect("memory reads"), vec![]);
}

#[tokio::test]
async fn rows_move_whichever_call_fails() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for failure in [Failure::Before, Failure::After] {
        let mut nth = 1;
        loop {
            let (near, far) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
            let left = Arc::new(AtomicU64::new(u64::MAX));
            let flaky = |inner: &Arc<Memory>| Arc::new(Flaky { inner: Arc::<Memory>::clone(inner), left: Arc::clone(&left), failure });
            let store = routed(flaky(&near), flaky(&far), Placement::at("near"), &folder.path().join(format!("{nth}-{failure:?}")));
            for number in 1..=40 {
                store.commit(step(number)).await.expect("nothing fails yet");
            }
            left.store(nth, Ordering::Release);
            let nobody = Semaphore::new(0);
            migrate(&store, &apart(), &nobody).await;
            clear(&store, &Placement::at("near"), &nobody).await;
            let was_met = left.load(Ordering::Acquire) > CALLS_MAX || left.load(Ordering::Acquire) == 0;
            left.store(u64::MAX, Ordering::Release);
            check(&store, 40).await;
            assert!(
                near.find(&query(&[], None, usize::MAX))
                    .await
                    .expect("memory reads")
                    .iter()
                    .all(|row| row.header.owner.tenant == tenant(0))
            );
            if !was_met {
                break;
            }
            nth += 1;
        }
        assert!(nth > 30, "only {nth} calls were met");
    }
}

#[tokio::test]
async fn a_copy_that_is_not_as_its_row_is_found_and_mended() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (near, far) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
    let store = routed(Arc::<Memory>::clone(&near), Arc::<Memory>::clone(&far), Placement::at("near"), &folder.path().join("intents"));
    store.commit(batch((1..=9).map(|number| Change::Insert(row(number, &[]))).collect::<Vec<_>>())).await.expect("they are new");
    let next = Placement::at("far");
    store.note_changes().await.expect("nothing is open");
    let copied = store.copy(&next, Cursor::default()).await.expect("memory copies");
    assert_eq!(copied.rows, 9);
    // One is lost, one is another, one is too many.
    far.commit(batch([
        Change::Delete { id: id(1), expected: Generation::FIRST },
        Change::Update { expected: Generation::FIRST, row: changed(&row(2, &[]), &[]) },
        Change::Insert(row(77, &[])),
    ]))
    .await
    .expect("nobody looks");
    let rows = store.compare(&next, Cursor::default(), false).await.expect("memory reads");
    let copies = store.compare(&next, Cursor::default(), true).await.expect("memory reads");
    assert_eq!((rows.differing, copies.differing), (vec![id(2), id(1)], vec![id(77)]));
    assert_eq!(store.catch_up(&next).await.expect("memory takes it"), 3);
    for copies in [false, true] {
        let again = store.compare(&next, Cursor::default(), copies).await.expect("memory reads");
        assert_eq!((again.rows, again.differing), (9, vec![]));
    }
}
