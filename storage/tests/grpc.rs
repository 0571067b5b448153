//! The keystore over plugins, which are real processes here: the conformance suite, crashes, and silence.

#[path = "support/plugin.rs"]
mod plugins;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keys::id::{Generation, Layer, OutboxSeq, RowId};
use keys::port::{Batch, Change, Keystore, StoreError};
use keys::row::{Header, Row};
use nix::sys::signal::Signal;
use plugin::v1;
use plugin::v1::keystore_operations_client::KeystoreOperationsClient;
use plugins::{Example, Plugin, TIMEOUT, open, open_rows, settings};
use storage::conformance;
use storage::conformance::sample::{batch, changed, entry, id, query, row};
use storage::grpc::{Grpc, Rows};
use storage::journalled::Plain;
use tokio::sync::watch;
use uuid::Uuid;

/// What F27 grants.
const ERROR_WITHIN: Duration = Duration::from_secs(5);
/// What F7 grants.
const RECOVERS_WITHIN: Duration = Duration::from_secs(2);
const KILLS: u64 = 12;

async fn conforms(example: Example) {
    let plugin = Plugin::start(example);
    let make = async || {
        let store = open(plugin.socket(), 1).await;
        conformance::empty(&store).await.expect("the plugin serves");
        Arc::new(store) as Arc<dyn Keystore>
    };
    let report = conformance::run(make).await.unwrap_or_else(|failure| panic!("{example:?}: {failure}"));
    assert!(report.passed.len() >= 31, "{example:?} passes {}", report.passed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_rust_conforms() {
    conforms(Example::Redb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_python_conforms() {
    conforms(Example::Python).await;
}

/// Without `batch`, with a journal.
async fn conforms_row_by_row(example: Example) {
    let plugin = Plugin::start(example);
    let journals = tempfile::tempdir().expect("a temporary folder");
    let made = AtomicU64::new(0);
    let make = async || {
        let journal = journals.path().join(made.fetch_add(1, Ordering::Relaxed).to_string());
        let store = open_rows(plugin.socket(), &journal).await;
        conformance::empty(&store).await.expect("the plugin serves");
        Arc::new(store) as Arc<dyn Keystore>
    };
    let report = conformance::run(make).await.unwrap_or_else(|failure| panic!("{example:?}: {failure}"));
    assert!(report.passed.len() >= 31, "{example:?} passes {}", report.passed.len());
    let refused = Grpc::open(settings(plugin.socket(), 1)).await.err().expect("it has no transactions");
    assert!(storage::grpc::is_without_batch(&refused), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_rust_conforms_row_by_row() {
    conforms_row_by_row(Example::RedbRows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_python_conforms_row_by_row() {
    conforms_row_by_row(Example::PythonRows).await;
}

/// A plugin may come to a change long after it was given up. It finds a place that has changed since, be it by a name's next owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_comes_late_finds_another_count_in_its_place() {
    let plugin = Plugin::start(Example::RedbRows);
    let rows = Rows::open(settings(plugin.socket(), 1)).await.expect("the plugin serves");
    let name = Row { header: Header { id: RowId::new(Layer::Name, Uuid::from_u128(7)), ..row(1, &[]).header }, ..row(1, &[]) };
    let address = format!("unix://{}", plugin.socket().display());
    let mut raw = KeystoreOperationsClient::connect(address).await.expect("the plugin serves");
    rows.put(&name, None).await.expect("it is free");
    rows.delete(name.header.id, name.header.generation).await.expect("it is there");
    rows.delete(name.header.id, name.header.generation).await.expect("once more changes nothing");
    assert_eq!(rows.get(name.header.id).await.expect("it serves"), None);
    rows.put(&name, None).await.expect("it is free again, and its generation the first again");
    let place = name.header.id.to_bytes().to_vec();
    for expected_generation in 1..=2 {
        let late = raw.delete_key(v1::DeleteKeyRequest { id: place.clone(), expected_generation }).await.expect("it serves").into_inner();
        assert!(matches!(late.outcome, Some(v1::change_response::Outcome::Conflict(_))), "{late:?}");
    }
    assert_eq!(rows.get(name.header.id).await.expect("it serves"), Some(name));
    // What has an identifier of its own leaves nothing.
    rows.put(&row(2, &[]), None).await.expect("it is free");
    rows.delete(id(2), Generation(1)).await.expect("it is there");
    let gone = raw.retrieve_key(v1::RetrieveKeyRequest { id: id(2).to_bytes().to_vec() }).await.expect("it serves").into_inner();
    assert_eq!(gone.row, None);
}

/// Commit `number`: a row of its own, the counter row, a record in, one out.
fn step(number: u64) -> Batch {
    let mut counter = row(0, &[]);
    counter.header.generation = Generation(number);
    let change = match number {
        1 => Change::Insert(counter),
        _ => Change::Update { expected: Generation(number - 1), row: counter },
    };
    let changes = vec![Change::Insert(row(1000 + number, &[7])), change];
    Batch { changes, outbox: vec![entry(number)], settled: number.checked_sub(3).map(OutboxSeq) }
}

async fn kills_lose_nothing(example: Example) {
    let mut plugin = Plugin::start(example);
    let store = Arc::new(open(plugin.socket(), 1).await);
    let mut number = 0;
    for kill in 0..KILLS {
        let (sender, mut committed) = watch::channel(number);
        let committing = tokio::spawn({
            let (store, first) = (Arc::clone(&store), number + 1);
            async move {
                for number in first.. {
                    if store.commit(step(number)).await.is_err() {
                        return number - 1;
                    }
                    sender.send_replace(number);
                }
                unreachable!("it is killed before")
            }
        });
        let _seen = committed.wait_for(|committed| *committed > number + kill).await.expect("it goes on until it is killed");
        plugin.kill();
        let acknowledged = committing.await.expect("the task ends by the plugin's death");
        plugin = plugin.restarted();
        let counter = loop {
            match store.retrieve(id(0)).await {
                Ok(found) => break found.map_or(0, |row| row.header.generation.0),
                Err(StoreError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => panic!("{example:?}: {error}"),
            }
        };
        assert!((acknowledged..=acknowledged + 1).contains(&counter), "{example:?}: acknowledged {acknowledged}, kept {counter}");
        number = counter;
        let own = store.find(&query(&[7], None, usize::MAX)).await.expect("it serves");
        assert_eq!(own.len() as u64, number, "{example:?}: no batch by half");
        let last = store.outbox(OutboxSeq(number.saturating_sub(1)), 9).await.expect("it serves");
        assert_eq!(last.len(), usize::from(number > 0), "{example:?}: the record of the last commit, and none after it");
    }
    assert!(number > KILLS, "{example:?}: only {number} commits");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_during_commits_loses_nothing_of_the_example_in_rust() {
    kills_lose_nothing(Example::Redb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_during_commits_loses_nothing_of_the_example_in_python() {
    kills_lose_nothing(Example::Python).await;
}

/// F27, F7: the first call ends at the deadline, later ones at once, and a commit that the plugin finishes long after is not lost and not done twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_hangs_is_cut_off_and_found_again() {
    let plugin = Plugin::start(Example::Redb);
    let store = open(plugin.socket(), 1).await;
    store.commit(step(1)).await.expect("it serves");
    plugin.hang();
    let began = Instant::now();
    let refused = store.commit(step(2)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    let took = began.elapsed();
    assert!(took <= ERROR_WITHIN && took + Duration::from_millis(100) >= TIMEOUT, "an error after {took:?}");
    let began = Instant::now();
    let refused = store.retrieve(id(0)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert!(began.elapsed() <= ERROR_WITHIN, "a read after {:?}", began.elapsed());
    plugin.signal(Signal::SIGCONT);
    let began = Instant::now();
    let found = loop {
        match store.retrieve(id(0)).await {
            Ok(found) => break found.expect("it was acknowledged").header.generation.0,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert!(began.elapsed() <= RECOVERS_WITHIN, "found again after {:?}", began.elapsed());
    // Whatever it was, it stays so.
    store.commit(step(found + 1)).await.expect("it serves");
    assert_eq!(store.find(&query(&[7], None, 9)).await.expect("it serves").len() as u64, found + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_lost_its_data_is_refused() {
    let plugin = Plugin::start(Example::Redb);
    let store = open(plugin.socket(), 1).await;
    store.commit(batch([Change::Insert(row(1, &[]))])).await.expect("it serves");
    let plugin = plugin.restarted_empty();
    let lost = loop {
        match store.retrieve(id(1)).await {
            Err(StoreError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            other => break other,
        }
    };
    assert!(matches!(&lost, Err(StoreError::Corrupt { what, .. }) if what.contains("lost acknowledged changes")), "{lost:?}");
    drop(plugin);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_on_one_plugin_keep_their_commits_apart() {
    let plugin = Plugin::start(Example::Redb);
    let (one, two) = (open(plugin.socket(), 1).await, open(plugin.socket(), 2).await);
    one.commit(Batch { outbox: vec![entry(1)], ..batch([Change::Insert(row(1, &[]))]) }).await.expect("it serves");
    two.commit(Batch { outbox: vec![entry(1)], ..batch([Change::Update { expected: Generation(1), row: changed(&row(1, &[]), &[]) }]) })
        .await
        .expect("the same number of another node");
    one.commit(Batch { settled: Some(OutboxSeq(1)), ..Batch::default() }).await.expect("it serves");
    assert!(one.outbox(OutboxSeq(0), 9).await.expect("it serves").is_empty());
    assert_eq!(two.outbox(OutboxSeq(0), 9).await.expect("it serves"), [entry(1)]);
}

/// A second process on a copy of the same node is noticed at its next commit by the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_of_the_same_node_is_noticed() {
    let plugin = Plugin::start(Example::Redb);
    let one = open(plugin.socket(), 1).await;
    one.commit(step(1)).await.expect("it serves");
    let two = open(plugin.socket(), 1).await;
    two.commit(step(2)).await.expect("it took the place");
    let refused = one.commit(step(3)).await;
    assert!(matches!(&refused, Err(StoreError::Corrupt { what, .. }) if what.contains("copy of this data_dir")), "{refused:?}");
}
