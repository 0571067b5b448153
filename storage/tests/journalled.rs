//! The journal over a store without transactions that fails at its 1st, 2nd, 3rd ... call: no batch is ever seen or left in halves.

mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use keys::id::{Generation, OutboxSeq, RowId};
use keys::port::{Batch, Change, Keystore, OutboxEntry, Query, StoreError};
use keys::row::Row;
use storage::conformance;
use storage::conformance::sample::{batch, changed, entry, id, query, row};
use storage::intents::Intents;
use storage::journalled::{Journalled, Plain};
use support::{Content, Disk, EIO, content, contents, steps};
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const PASSED_MIN: usize = 25;

/// What happens at one call of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The call does not arrive.
    Lost,
    /// The call arrives; its answer does not.
    Unanswered,
    /// As [`Fault::Lost`], and so is every later call until somebody mends it.
    Away,
    /// The store has no room.
    Full,
    /// There is no answer, and the call has not arrived.
    HangsBefore,
    /// There is no answer, and the call has arrived.
    HangsAfter,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<RowId, Row>,
    /// How many calls it takes, and what happens then.
    fault: Option<(u64, Fault)>,
    /// After so many calls somebody else changes this row, if it is still as it was.
    foreign: Option<(u64, Row)>,
}

/// A store of one row at a time; what it holds outlives who asks.
#[derive(Default)]
struct Table {
    state: Mutex<State>,
    hangs: Notify,
    goes_on: Notify,
}

#[derive(Clone, Default)]
struct Client(Arc<Table>);

impl Client {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no test panics here")
    }

    fn fail(&self, nth: u64, fault: Fault) {
        self.state().fault = Some((nth, fault));
    }

    /// Ends all faults; returns whether one has happened.
    fn mend(&self) -> bool {
        self.state().fault.take().is_some_and(|(left, _)| left == 0)
    }

    fn now(&self) -> Option<Fault> {
        let state = &mut *self.state();
        match &mut state.foreign {
            Some((0, _)) | None => {}
            Some((left, row)) => {
                *left -= 1;
                let before = Generation(row.header.generation.0 - 1);
                if *left == 0 && state.rows.get(&row.header.id).is_some_and(|stored| stored.header.generation == before) {
                    state.rows.insert(row.header.id, row.clone());
                }
            }
        }
        match &mut state.fault {
            Some((0, Fault::Away)) => Some(Fault::Away),
            Some((0, _)) | None => None,
            Some((left, fault)) => {
                *left -= 1;
                (*left == 0).then_some(*fault)
            }
        }
    }

    async fn call<T>(&self, call: impl FnOnce(&mut BTreeMap<RowId, Row>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        tokio::task::yield_now().await;
        let lost = || StoreError::Unavailable { what: "asking the test's store", source: "a call is lost".into() };
        let fault = self.now();
        match fault {
            Some(Fault::Lost | Fault::Away) => return Err(lost()),
            Some(Fault::Full) => return Err(StoreError::Full { at: "the test's store".to_owned() }),
            Some(Fault::HangsBefore) => self.hang().await,
            Some(Fault::Unanswered | Fault::HangsAfter) | None => {}
        }
        let done = call(&mut self.state().rows);
        match fault {
            Some(Fault::Unanswered) => return Err(lost()),
            Some(Fault::HangsAfter) => self.hang().await,
            _ => {}
        }
        done
    }

    async fn hang(&self) {
        self.0.hangs.notify_one();
        self.0.goes_on.notified().await;
    }
}

#[async_trait]
impl Plain for Client {
    async fn get(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.call(|rows| Ok(rows.get(&id).cloned())).await
    }

    async fn put(&self, row: &Row, expected: Option<Generation>) -> Result<(), StoreError> {
        let id = row.header.id;
        self.call(|rows| {
            let stored = rows.get(&id);
            if stored != Some(row) && stored.map(|row| row.header.generation) != expected {
                return Err(StoreError::Conflict { id });
            }
            rows.insert(id, row.clone());
            Ok(())
        })
        .await
    }

    async fn delete(&self, id: RowId, expected: Generation) -> Result<(), StoreError> {
        self.call(|rows| match rows.get(&id).map(|row| row.header.generation) {
            Some(other) if other != expected => Err(StoreError::Conflict { id }),
            _ => {
                rows.remove(&id);
                Ok(())
            }
        })
        .await
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        let is_found = |row: &&Row| {
            let id = row.header.id;
            let is_before = query.before.is_none_or(|before| id < before);
            id.layer == query.layer && is_before && query.terms.iter().all(|term| row.terms.contains(term))
        };
        self.call(|rows| Ok(rows.values().rev().filter(is_found).take(query.limit).cloned().collect())).await
    }
}

fn open(client: &Client, folder: &Path) -> Journalled<Client> {
    let intents = Intents::open(&folder.join("intents.redb")).expect("the journal opens");
    Journalled::new(client.clone(), intents, PATIENCE).expect("the journal is intact")
}

/// In memory: no power fails here, and thousands of syncs would take minutes.
fn volatile_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").expect("a temporary folder")
}

/// One life of a process: its end takes all that it was at.
fn life<T>(work: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(work)
}

/// Makes the steps that are left, until one fails.
async fn go_on(store: &dyn Keystore, acknowledged: &Cell<usize>) -> Option<StoreError> {
    for step in steps().into_iter().skip(acknowledged.get()) {
        match store.commit(step).await {
            Ok(()) => acknowledged.set(acknowledged.get() + 1),
            Err(error) => return Some(error),
        }
    }
    None
}

/// Which of the whole states it is.
fn whole(found: &Content, expected: &[Content], acknowledged: usize) -> usize {
    let state = expected.iter().position(|whole| whole == found).unwrap_or_else(|| panic!("half of a batch: {found:?}"));
    assert!(state == acknowledged || state == acknowledged + 1, "{acknowledged} acknowledged, and {state} found");
    state
}

/// The steps with one fault among them; returns whether it happened.
fn round(nth: u64, fault: Fault, is_killed: bool, expected: &[Content]) -> bool {
    let folder = volatile_folder();
    let client = Client::default();
    let acknowledged = Cell::new(0);
    client.fail(nth, fault);
    let after_mending = async |store: &dyn Keystore| {
        let state = whole(&content(store).await.expect("the store answers"), expected, acknowledged.get());
        acknowledged.set(state);
        assert!(go_on(store, &acknowledged).await.is_none(), "commits go on");
        assert_eq!(&content(store).await.expect("the store answers"), expected.last().expect("there are some"));
    };
    let fired = life(async {
        let store = open(&client, folder.path());
        let failure = tokio::select! {
            failure = go_on(&store, &acknowledged) => failure,
            () = client.0.hangs.notified() => return client.mend(),
        };
        if matches!(fault, Fault::HangsBefore | Fault::HangsAfter) {
            assert!(failure.is_none(), "{failure:?}");
            return client.mend();
        }
        let told = failure.as_ref().map(|error| matches!(error, StoreError::Full { .. }));
        assert_eq!(told.is_some(), client.state().fault.is_some_and(|(left, _)| left == 0), "{failure:?}");
        assert_eq!(told.unwrap_or(fault == Fault::Full), fault == Fault::Full, "{failure:?}");
        if let Ok(found) = content(&store).await {
            whole(&found, expected, acknowledged.get());
        }
        let fired = client.mend();
        if fault == Fault::Full {
            assert_eq!(&content(&store).await.expect("the store answers"), &expected[acknowledged.get()], "nothing was changed");
        }
        if !is_killed {
            after_mending(&store).await;
        }
        fired
    });
    life(async {
        let store = open(&client, folder.path());
        after_mending(&store).await;
    });
    fired
}

fn rounds(fault: Fault, is_killed: bool) {
    let expected = life(contents());
    let mut nth = 1;
    while round(nth, fault, is_killed, &expected) {
        nth += 1;
    }
    assert!(nth > 60, "only {nth} calls were seen");
}

#[test]
fn a_lost_call_leaves_no_half_of_a_batch() {
    rounds(Fault::Lost, false);
    rounds(Fault::Lost, true);
}

#[test]
fn a_lost_answer_leaves_no_half_of_a_batch() {
    rounds(Fault::Unanswered, false);
    rounds(Fault::Unanswered, true);
}

#[test]
fn a_store_that_goes_away_leaves_no_half_of_a_batch() {
    rounds(Fault::Away, false);
    rounds(Fault::Away, true);
}

#[test]
fn a_store_without_room_leaves_nothing_of_a_batch() {
    rounds(Fault::Full, false);
    rounds(Fault::Full, true);
}

#[test]
fn a_killed_process_leaves_no_half_of_a_batch() {
    rounds(Fault::HangsBefore, true);
    rounds(Fault::HangsAfter, true);
}

/// What another node, which should not be there, changes in the midst of a commit stays, and of the commit stays nothing; also if the node is killed
/// while it takes it back.
#[test]
fn a_batch_that_meets_a_foreign_change_is_undone() {
    let foreign = changed(&row(3, &[3]), &[9]);
    let ours = || Batch {
        changes: vec![
            Change::Insert(row(5, &[5])),
            Change::Update { expected: Generation::FIRST, row: changed(&row(1, &[1]), &[7]) },
            Change::Delete { id: id(2), expected: Generation::FIRST },
            Change::Update { expected: Generation::FIRST, row: changed(&row(3, &[3]), &[8]) },
        ],
        outbox: vec![entry(1)],
        settled: None,
    };
    let first = [row(3, &[3]), row(2, &[2]), row(1, &[1])];
    let mut undone = 0;
    for call in 1..12 {
        for killed_at in 1..30 {
            let folder = volatile_folder();
            let client = Client::default();
            let outcome = life(async {
                let store = open(&client, folder.path());
                store.commit(batch(first.clone().map(Change::Insert))).await.expect("the store answers");
                client.state().foreign = Some((call, foreign.clone()));
                client.fail(killed_at, Fault::HangsAfter);
                tokio::select! {
                    outcome = store.commit(ours()) => Some(outcome),
                    () = client.0.hangs.notified() => None,
                }
            });
            let is_killed = client.mend();
            assert_eq!(outcome.is_none(), is_killed);
            life(async {
                let store = open(&client, folder.path());
                let rows = store.find(&query(&[], None, 9)).await.expect("the store answers");
                let records = store.outbox(OutboxSeq(0), 9).await.expect("the journal answers");
                let is_theirs = rows.contains(&foreign);
                match outcome {
                    Some(Ok(())) => assert!(!is_theirs, "both have won"),
                    Some(Err(StoreError::Conflict { id: at })) => assert!(is_theirs && at == id(3), "{at}"),
                    Some(Err(other)) => panic!("{other}"),
                    None => {}
                }
                if is_theirs || records.is_empty() {
                    let third = if is_theirs { foreign.clone() } else { first[0].clone() };
                    assert_eq!(rows, [third, first[1].clone(), first[2].clone()], "undone as a whole");
                    assert_eq!(records, []);
                    undone += usize::from(is_theirs);
                } else {
                    assert_eq!(rows.iter().map(|row| row.header.id).collect::<Vec<_>>(), [id(5), id(3), id(1)], "done as a whole");
                    assert_eq!(records, [entry(1)]);
                }
            });
            if !is_killed {
                break;
            }
        }
    }
    assert!(undone > 20, "only {undone} were undone");
}

/// While a batch is half applied its rows are answered to nobody, and others are.
#[tokio::test]
async fn who_reads_a_row_of_a_batch_waits_for_its_end() {
    const SOON: Duration = Duration::from_millis(100);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let client = Client::default();
    let store = Arc::new(open(&client, folder.path()));
    store.commit(batch((1..=3).map(|number| Change::Insert(row(number, &[1, number]))).collect::<Vec<_>>())).await.expect("it answers");
    let update = |number| Change::Update { expected: Generation::FIRST, row: changed(&row(number, &[1, number]), &[1, number]) };
    // Two are read, the first is put, and the second.
    client.fail(4, Fault::HangsBefore);
    let committing = Arc::clone(&store);
    let commit = tokio::spawn(async move { committing.commit(batch([update(1), update(2)])).await });
    client.0.hangs.notified().await;
    for number in [1, 2] {
        assert!(timeout(SOON, store.retrieve(id(number))).await.is_err(), "row {number} is half of a batch");
        assert!(timeout(SOON, store.find(&query(&[number], None, 9))).await.is_err(), "row {number} is half of a batch");
    }
    assert!(timeout(SOON, store.find(&query(&[1], None, 9))).await.is_err(), "two rows of it are");
    assert_eq!(store.retrieve(id(3)).await.expect("it answers"), Some(row(3, &[1, 3])));
    assert_eq!(store.find(&query(&[3], None, 9)).await.expect("it answers"), [row(3, &[1, 3])]);
    let reading = Arc::clone(&store);
    let waits = tokio::spawn(async move { reading.retrieve(id(1)).await });
    client.0.goes_on.notify_one();
    commit.await.expect("it does not panic").expect("it answers");
    let read = waits.await.expect("it does not panic").expect("it answers");
    assert_eq!(read.expect("it is there").header.generation, Generation(2));
}

/// Who was reading while a batch came and went asks again.
#[tokio::test]
async fn a_search_that_a_batch_has_overtaken_is_made_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let client = Client::default();
    let store = Arc::new(open(&client, folder.path()));
    client.fail(1, Fault::HangsAfter);
    let reading = Arc::clone(&store);
    let search = tokio::spawn(async move { reading.find(&query(&[1], None, 9)).await });
    client.0.hangs.notified().await;
    store.commit(batch([Change::Insert(row(1, &[1])), Change::Insert(row(2, &[1]))])).await.expect("it answers");
    client.0.goes_on.notify_one();
    let found = search.await.expect("it does not panic").expect("it answers");
    assert_eq!(found, [row(2, &[1]), row(1, &[1])]);
}

#[tokio::test]
async fn a_store_that_says_nothing_is_waited_for_no_longer_than_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let client = Client::default();
    let intents = Intents::open(&folder.path().join("intents.redb")).expect("the journal opens");
    let store = Journalled::new(client.clone(), intents, Duration::from_millis(200)).expect("the journal is intact");
    client.fail(2, Fault::HangsBefore);
    let outcome = store.commit(batch([Change::Insert(row(1, &[]))])).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
    assert!(matches!(store.retrieve(id(1)).await, Err(StoreError::Unavailable { .. })), "it is not known whether it is there");
    client.0.goes_on.notify_one();
    assert_eq!(store.retrieve(id(1)).await.expect("it answers"), Some(row(1, &[])));
}

/// The steps on a journal whose disk fails; returns whether it did.
async fn journal_round(fail: impl Fn(&Disk), expected: &[Content]) -> bool {
    let folder = volatile_folder();
    let path = folder.path().join("intents.redb");
    let (client, disk, acknowledged) = (Client::default(), Arc::new(Disk::default()), Cell::new(0));
    fail(&disk);
    let opened = support::journal_on(&disk, &path);
    if let Ok(store) = opened.and_then(|intents| Journalled::new(client.clone(), intents, PATIENCE)) {
        let failure = go_on(&store, &acknowledged).await;
        assert_eq!(failure.is_some(), disk.fired(), "{failure:?}");
        if failure.is_some() {
            let again = store.commit(Batch::default()).await;
            assert!(matches!(again, Err(StoreError::Poisoned)), "{again:?}");
        }
    }
    let store = open(&client, folder.path());
    whole(&content(&store).await.expect("the store answers"), expected, acknowledged.get());
    disk.fired()
}

#[tokio::test]
async fn no_failed_write_or_sync_of_the_journal_leaves_half_of_a_batch() {
    let expected = contents().await;
    let mut writes = 1;
    while journal_round(|disk| disk.fail_write(writes, EIO), &expected).await {
        writes += 1;
    }
    let mut syncs = 1;
    while journal_round(|disk| disk.fail_sync(syncs, EIO), &expected).await {
        syncs += 1;
    }
    assert!(writes > 50 && syncs > 10, "only {writes} writes and {syncs} syncs were seen");
}

#[tokio::test]
async fn a_full_disk_under_the_journal_refuses_changes_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (client, disk) = (Client::default(), Arc::new(Disk::default()));
    let intents = support::journal_on(&disk, &folder.path().join("intents.redb")).expect("a new file opens");
    let store = Journalled::new(client, intents, PATIENCE).expect("the journal is intact");
    store.commit(batch([Change::Insert(row(1, &[]))])).await.expect("there is room");
    disk.take_no_write(true);
    let refused = store.commit(Batch { changes: vec![Change::Insert(row(2, &[]))], outbox: vec![entry(1)], settled: None }).await;
    assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
    assert_eq!(store.find(&query(&[], None, 9)).await.expect("reads go on"), [row(1, &[])]);
    disk.take_no_write(false);
    store.commit(Batch { changes: vec![Change::Insert(row(2, &[]))], outbox: vec![entry(1)], settled: None }).await.expect("there is room");
    let records: Vec<OutboxEntry> = store.outbox(OutboxSeq(0), 9).await.expect("the journal answers");
    assert_eq!(records, [entry(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journalled_store_conforms() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let make = async || {
        let fresh = tempfile::tempdir_in(&folder).expect("a folder").keep();
        Arc::new(open(&Client::default(), &fresh)) as Arc<dyn Keystore>
    };
    let report = conformance::run(make).await.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.passed.len() >= PASSED_MIN);
}
