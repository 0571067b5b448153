//! The PostgreSQL keystore against a real server: the suite, and what only a store behind a network has to bear.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keys::id::{Generation, KeyVersion, Layer, OutboxSeq};
use keys::lifecycle::State;
use keys::port::{Batch, Change, Keystore, Query, StoreError};
use keys::row::Row;
use softhsm_test::PostgresServer;
use storage::conformance;
use storage::conformance::sample::{batch, changed, entry, id, query, row};
use storage::postgres::{Postgres, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(5);
const PASSED_MIN: usize = 25;

fn settings(url: &str, node: u128) -> Settings {
    let url = url.parse().expect("the fixture's URL is one");
    Settings { url, password: None, tls: None, connections: 8, timeout: TIMEOUT, node: Uuid::from_u128(node) }
}

async fn fresh(server: &PostgresServer) -> (String, Postgres) {
    let database = server.database();
    let store = Postgres::create(settings(&server.url(&database), 1)).await.expect("an empty database");
    (database, store)
}

/// The reason why a store does not open.
fn why(outcome: Result<Postgres, StoreError>) -> String {
    match outcome {
        Ok(_) => panic!("it opens"),
        Err(StoreError::Unavailable { source, .. }) => source.to_string(),
        Err(other) => panic!("it does not open for another reason: {other}"),
    }
}

/// What is answered once the store has seen that the server is there again.
async fn soon<T>(call: impl AsyncFn() -> Result<T, StoreError>) -> T {
    let began = Instant::now();
    loop {
        match call().await {
            Err(StoreError::Unavailable { .. }) if began.elapsed() < Duration::from_secs(20) => tokio::task::yield_now().await,
            outcome => return outcome.expect("the server is there"),
        }
    }
}

#[track_caller]
fn says_corrupt(outcome: Result<Option<Row>, StoreError>, what: &str) {
    match outcome {
        Err(StoreError::Corrupt { what: said, at }) if said.contains(what) && !at.is_empty() => {}
        other => panic!("not refused for `{what}`: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_conforms() {
    let server = PostgresServer::new();
    let report = conformance::run(async || Arc::new(fresh(&server).await.1) as Arc<dyn Keystore>).await;
    assert!(report.unwrap_or_else(|failure| panic!("{failure}")).passed.len() >= PASSED_MIN);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_after_a_crash_of_the_server() {
    let mut server = PostgresServer::new();
    let (database, store) = fresh(&server).await;
    let first = row(1, &[1, 2]);
    store.commit(Batch { changes: vec![Change::Insert(first.clone())], outbox: vec![entry(1)], settled: None }).await.expect("it answers");
    server.crash();
    let began = Instant::now();
    assert!(matches!(store.retrieve(id(1)).await, Err(StoreError::Unavailable { .. })), "nobody answers");
    assert!(matches!(store.commit(batch([Change::Insert(row(2, &[]))])).await, Err(StoreError::Unavailable { .. })), "nobody answers");
    assert!(began.elapsed() < TIMEOUT, "a server that is away is told from one that is slow");
    assert!(why(Postgres::open(settings(&server.url(&database), 1)).await).contains("see that the server runs"));
    server.start();
    // The same value goes on, without anybody's help.
    assert_eq!(store.retrieve(id(1)).await.expect("it is back"), Some(first));
    assert_eq!(store.outbox(OutboxSeq(0), 9).await.expect("it is back"), [entry(1)]);
    store.commit(batch([Change::Insert(row(2, &[]))])).await.expect("it is back");
}

/// KEK-10 to KEK-15, as D12 has them.
#[tokio::test(flavor = "multi_thread")]
async fn ivk_material_lies_in_kek_storage_and_nowhere_else() {
    let server = PostgresServer::new();
    let (database, store) = fresh(&server).await;
    let ivk = |version: u32| {
        let mut ivk = row(u64::from(version), &[]);
        ivk.header.id.layer = Layer::Ivk;
        ivk.header.version = KeyVersion(version);
        ivk.material = Some(format!("wrapped key {version}").into_bytes());
        ivk
    };
    let next = |row: &Row, state, material: Option<&[u8]>| {
        let mut next = changed(row, &[]);
        next.header.state = state;
        next.material = material.map(<[u8]>::to_vec);
        next
    };
    let (one, two) = (ivk(1), ivk(2));
    store.commit(batch([Change::Insert(one.clone())])).await.expect("it answers");
    let demoted = next(&one, State::Deprecated, one.material.as_deref());
    let update = |row: &Row| Change::Update { expected: Generation(row.header.generation.0 - 1), row: row.clone() };
    store.commit(batch([update(&demoted), Change::Insert(two.clone())])).await.expect("it answers");
    let table = || {
        let columns =
            "kek_id, ivk_version, convert_from(kek_encrypted, 'UTF8'), encryption_key_id, created_at <= now(), rotated_at is null, status";
        server.sql(&database, &format!("select {columns} from strongroom.kek_storage order by ivk_version"))
    };
    assert_eq!(table(), "1|1|wrapped key 1|1|t|f|deprecated\n2|2|wrapped key 2|1|t|t|active");
    let stored = "select count(*) from strongroom.records where position('wrapped key'::bytea in stored) > 0";
    assert_eq!(server.sql(&database, stored), "0", "there is one copy of the material");
    let query = Query { layer: Layer::Ivk, terms: vec![], before: None, limit: 9 };
    assert_eq!(store.find(&query).await.expect("it answers"), [two.clone(), demoted.clone()]);
    assert_eq!(store.retrieve(two.header.id).await.expect("it answers"), Some(two.clone()));

    // Under the next MasterKey.
    let mut rewrapped = next(&two, State::Active, Some(b"wrapped anew"));
    rewrapped.header.parent.version = KeyVersion(2);
    store.commit(batch([update(&rewrapped)])).await.expect("it answers");
    assert_eq!(server.sql(&database, "select id from strongroom.encryption_keys order by id"), "1\n2");
    let shredded = next(&next(&demoted, State::Retired, demoted.material.as_deref()), State::Destroyed, None);
    store.commit(batch([Change::Update { expected: Generation(2), row: shredded.clone() }])).await.expect("it answers");
    assert_eq!(table(), "1|1||1|t|f|destroyed\n2|2|wrapped anew|2|t|t|active");
    assert_eq!(store.find(&query).await.expect("it answers"), [rewrapped.clone(), shredded.clone()]);

    for (edit, undo) in [("status = 'active'", "status = 'destroyed'"), ("encryption_key_id = 2", "encryption_key_id = 1")] {
        server.sql(&database, &format!("update strongroom.kek_storage set {edit} where ivk_version = 1"));
        says_corrupt(store.retrieve(shredded.header.id).await, "kek_storage says something else");
        assert_eq!(store.find(&query).await.expect("it answers"), [rewrapped.clone()], "the other is served");
        server.sql(&database, &format!("update strongroom.kek_storage set {undo} where ivk_version = 1"));
    }
    store.commit(batch([Change::Delete { id: shredded.header.id, expected: shredded.header.generation }])).await.expect("it answers");
    assert_eq!(server.sql(&database, "select ivk_version from strongroom.kek_storage"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_edited_by_sql_are_refused_by_name_and_others_served() {
    let server = PostgresServer::new();
    let (database, store) = fresh(&server).await;
    let rows: Vec<Row> = (1..=4).map(|number| row(number, &[7])).collect();
    store.commit(batch(rows.iter().cloned().map(Change::Insert).collect::<Vec<_>>())).await.expect("it answers");
    let of = |number| format!("id = '{}'", id(number).uuid);
    let columns = [
        "chain",
        "version",
        "object_type",
        "algorithm",
        "bits",
        "state",
        "expiry",
        "tenant",
        "service",
        "generation",
        "parent",
        "parent_version",
    ];
    for column in columns {
        let other = match column {
            "chain" | "tenant" | "service" | "parent" => "'00000000-0000-0000-0000-0000000000ff'".to_owned(),
            "state" => "'retired'".to_owned(),
            number => format!("{number} + 1"),
        };
        let before = server.sql(&database, &format!("select {column} from strongroom.records where {}", of(2)));
        server.sql(&database, &format!("update strongroom.records set {column} = {other} where {}", of(2)));
        says_corrupt(store.retrieve(id(2)).await, "changed by hand");
        let found = store.find(&query(&[7], None, 9)).await.expect("it answers");
        assert_eq!(found.iter().map(|row| row.header.id).collect::<Vec<_>>(), [id(4), id(3), id(1)], "{column}");
        server.sql(&database, &format!("update strongroom.records set {column} = '{before}' where {}", of(2)));
        assert_eq!(store.retrieve(id(2)).await.expect("it answers"), Some(rows[1].clone()), "{column}");
    }
    // One record's bytes in the place of another.
    let swapped = format!("update strongroom.records set stored = (select stored from strongroom.records where {}) where {}", of(1), of(3));
    server.sql(&database, &swapped);
    says_corrupt(store.retrieve(id(3)).await, "another record lies in its place");
    server.sql(&database, &format!("update strongroom.records set stored = '\\x0102' where {}", of(4)));
    says_corrupt(store.retrieve(id(4)).await, "not a row");
    // A term that leads to a record which does not carry it.
    server.sql(&database, &format!("update strongroom.terms set term = '\\x{}' where {}", "00".repeat(16), of(1)));
    assert_eq!(store.find(&query(&[7], None, 9)).await.expect("it answers"), [rows[1].clone()]);
    assert_eq!(store.retrieve(id(1)).await.expect("it answers"), Some(rows[0].clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_are_left_alone() {
    let server = PostgresServer::new();
    let (database, store) = fresh(&server).await;
    let url = server.url(&database);
    store.commit(batch([Change::Insert(row(1, &[]))])).await.expect("it answers");
    assert!(why(Postgres::create(settings(&url, 1)).await).contains("ALTER SCHEMA strongroom RENAME TO strongroom_aside"));
    Postgres::open(settings(&url, 1)).await.expect("it is ours");
    server.sql(&database, "update strongroom.schema set number = 7");
    let newer = why(Postgres::open(settings(&url, 1)).await);
    assert!(newer.contains("has schema 7, this release knows up to 2; upgrade strongroom"), "{newer}");
    assert_eq!(server.sql(&database, "select number from strongroom.schema"), "7");
    server.sql(&database, "alter schema strongroom rename to strongroom_aside");
    assert!(why(Postgres::open(settings(&url, 1)).await).contains("nothing was made in its place"));
    Postgres::create(settings(&url, 1)).await.expect("the way out that the refusal names");
    let other = server.database();
    server.sql(&other, "alter role strongroom set synchronous_commit = off");
    let careless = why(Postgres::create(settings(&server.url(&other), 1)).await);
    assert!(careless.contains("synchronous_commit = off"), "{careless}");
    assert!(why(Postgres::open(settings(&server.url("nowhere"), 1)).await).contains("\"nowhere\" does not exist"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_make_the_tables_at_once_find_one_set_of_them() {
    let server = PostgresServer::new();
    let url = server.url(&server.database());
    let made = (1..=6).map(|node| tokio::spawn(Postgres::create(settings(&url, node))));
    for made in made.collect::<Vec<_>>() {
        let store =
            made.await.expect("it does not panic").unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        assert!(store.find(&query(&[], None, 1)).await.expect("it answers").is_empty());
    }
}

/// Two nodes on one store change the same rows in opposite orders, which the server ends by refusing one of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_tried_again_and_never_told() {
    const ROWS: u64 = 60;
    const ROUNDS_MAX: u64 = 500;
    let server = PostgresServer::new();
    server.sql("postgres", "alter role strongroom set deadlock_timeout = '5ms'");
    let url = server.url(&server.database());
    let one = Postgres::create(settings(&url, 1)).await.expect("an empty database");
    let other = Postgres::create(settings(&url, 2)).await.expect("an empty database");
    one.commit(batch((1..=ROWS).map(|number| Change::Insert(row(number, &[]))).collect::<Vec<_>>())).await.expect("it answers");
    let met = || server.said().matches("deadlock detected").count();
    let mut generation = 1;
    while met() < 5 {
        assert!(generation < ROUNDS_MAX, "{} deadlocks in {ROUNDS_MAX} rounds", met());
        let next = |number| {
            let mut next = row(number, &[]);
            next.header.generation = Generation(generation + 1);
            Change::Update { expected: Generation(generation), row: next }
        };
        let [upwards, downwards] = [(1..=ROWS).map(next).collect::<Vec<_>>(), (1..=ROWS).rev().map(next).collect()];
        let (left, right) = tokio::join!(one.commit(batch(upwards)), other.commit(batch(downwards)));
        let is_lost = |outcome: &Result<(), StoreError>| matches!(outcome, Err(StoreError::Conflict { .. }));
        assert!((left.is_ok() && is_lost(&right)) || (is_lost(&left) && right.is_ok()), "{left:?}, {right:?}");
        generation += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_kept_waiting_fails_in_time_and_changes_nothing() {
    let server = PostgresServer::new();
    let (database, _) = fresh(&server).await;
    let short = Settings { timeout: Duration::from_millis(500), ..settings(&server.url(&database), 1) };
    let store = Postgres::open(short).await.expect("it is ours");
    let config: tokio_postgres::Config = server.url(&database).parse().expect("a URL");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("it answers");
    let connection = tokio::spawn(connection);
    client.batch_execute("begin; lock table strongroom.records in access exclusive mode").await.expect("the owner may");
    for outcome in [store.retrieve(id(1)).await.map(drop), store.commit(batch([Change::Insert(row(1, &[]))])).await] {
        assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
    }
    client.batch_execute("commit").await.expect("it answers");
    assert_eq!(store.retrieve(id(1)).await.expect("the way is free"), None);
    store.commit(batch([Change::Insert(row(1, &[]))])).await.expect("the way is free");
    drop(client);
    connection.await.expect("it does not panic").expect("it ends in good order");
}

/// F7: a server that takes connections and says nothing costs each caller the timeout at most, and does not hold those back who come then.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_not_waited_for_by_everybody() {
    let server = PostgresServer::new();
    let (database, _) = fresh(&server).await;
    let short = Settings { timeout: Duration::from_millis(500), ..settings(&server.url(&database), 1) };
    let store = Arc::new(Postgres::open(short).await.expect("it is ours"));
    store.commit(batch([Change::Insert(row(1, &[]))])).await.expect("it answers");
    server.freeze();
    let began = Instant::now();
    let changes: Vec<_> = (2..12)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.commit(batch([Change::Insert(row(number, &[]))])).await })
        })
        .collect();
    for outcome in changes {
        let outcome = outcome.await.expect("it does not panic");
        assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
    }
    // Ten in a row, each for its time, would be five seconds.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    server.thaw();
    assert_eq!(soon(async || store.retrieve(id(1)).await).await, Some(row(1, &[])));
    for number in 2..12 {
        let kept = store.retrieve(id(number)).await.expect("it answers");
        assert_eq!(kept, None, "nobody was told that it is there, and the server was given no COMMIT");
    }
    store.commit(batch([Change::Insert(row(2, &[]))])).await.expect("it answers");
}

/// What the wire between store and server does to a COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Wire {
    Whole,
    /// The COMMIT arrives; its answer does not.
    LosesAnswer,
    /// The COMMIT does not arrive.
    LosesCommit,
    /// The COMMIT arrives when the store has long asked again on another connection; its answer does not.
    IsLate,
    /// As [`Wire::LosesAnswer`], and from then on nothing passes.
    DiesAfter,
    /// As [`Wire::LosesCommit`], and from then on nothing passes.
    DiesBefore,
    /// Nothing passes.
    Dead,
}

impl Wire {
    const ALL: [Self; 7] = [Self::Whole, Self::LosesAnswer, Self::LosesCommit, Self::IsLate, Self::DiesAfter, Self::DiesBefore, Self::Dead];
}

/// A socket before the server's.
struct Proxy {
    dir: tempfile::TempDir,
    state: Arc<ProxyState>,
}

#[derive(Default)]
struct ProxyState {
    wire: AtomicU8,
    cuts: AtomicU32,
    /// Somebody counts the node's commits again.
    counted: Notify,
}

impl Proxy {
    fn before(server: &PostgresServer) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join(format!(".s.PGSQL.{}", server.port()))).expect("the folder is new");
        let state = Arc::<ProxyState>::default();
        let (to, accepting) = (server.socket(), Arc::clone(&state));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (to, state) = (to.clone(), Arc::clone(&accepting));
                tokio::spawn(async move { state.pass(client, UnixStream::connect(to).await?).await });
            }
        });
        Self { dir, state }
    }

    fn url(&self, server: &PostgresServer, database: &str) -> String {
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgresql://strongroom@{socket}:{}/{database}", server.port())
    }

    fn set(&self, wire: Wire) {
        self.state.wire.store(wire as u8, Ordering::SeqCst);
    }

    fn cuts(&self) -> u32 {
        self.state.cuts.load(Ordering::SeqCst)
    }
}

impl ProxyState {
    /// What happens to a COMMIT now; it happens once.
    fn next(&self) -> Wire {
        let wire = Wire::ALL[usize::from(self.wire.load(Ordering::SeqCst))];
        let then = match wire {
            Wire::DiesAfter | Wire::DiesBefore | Wire::Dead => Wire::Dead,
            Wire::Whole | Wire::LosesAnswer | Wire::LosesCommit | Wire::IsLate => Wire::Whole,
        };
        self.wire.store(then as u8, Ordering::SeqCst);
        self.cuts.fetch_add(u32::from(wire != Wire::Whole), Ordering::SeqCst);
        wire
    }

    async fn pass(&self, mut client: UnixStream, mut server: UnixStream) -> io::Result<()> {
        let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            let (count, is_clients) = tokio::select! {
                count = client.read(&mut from_client) => (count?, true),
                count = server.read(&mut from_server) => (count?, false),
            };
            if count == 0 || self.wire.load(Ordering::SeqCst) == Wire::Dead as u8 {
                return Ok(());
            }
            if !is_clients {
                client.write_all(&from_server[..count]).await?;
                continue;
            }
            let holds = |text: &[u8]| from_client[..count].windows(text.len()).any(|window| window == text);
            if holds(b"commits + 1") {
                self.counted.notify_waiters();
            }
            let wire = if holds(b"COMMIT\0") { self.next() } else { Wire::Whole };
            if matches!(wire, Wire::LosesCommit | Wire::DiesBefore | Wire::Dead) {
                return Ok(());
            }
            if wire == Wire::IsLate {
                let counted = self.counted.notified();
                drop(client);
                counted.await;
                server.write_all(&from_client[..count]).await?;
                return server.read(&mut from_server).await.map(drop);
            }
            server.write_all(&from_client[..count]).await?;
            if wire != Wire::Whole {
                return server.read(&mut from_server).await.map(drop);
            }
        }
    }
}

/// F8. A store that tried again without asking what came of the first try would find its own row in the way, or queue its record twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_happens_once() {
    const CUTS: u64 = 120;
    let server = PostgresServer::new();
    let (database, _) = fresh(&server).await;
    let proxy = Proxy::before(&server);
    let store = Postgres::open(settings(&proxy.url(&server, &database), 1)).await.expect("the wire is whole");
    for number in 1..=CUTS {
        proxy.set([Wire::LosesAnswer, Wire::LosesCommit, Wire::IsLate][usize::try_from(number % 3).expect("it is small")]);
        let settled = Some(OutboxSeq(number.saturating_sub(2)));
        let batch = Batch { changes: vec![Change::Insert(row(number, &[1]))], outbox: vec![entry(number)], settled };
        store.commit(batch).await.unwrap_or_else(|error| panic!("commit {number}: {error}: {:?}", std::error::Error::source(&error)));
        assert_eq!(store.retrieve(id(number)).await.expect("the wire is whole"), Some(row(number, &[1])), "{number}");
    }
    assert_eq!(u64::from(proxy.cuts()), CUTS);
    assert_eq!(store.find(&query(&[1], None, 1000)).await.expect("the wire is whole").len() as u64, CUTS);
    assert_eq!(store.outbox(OutboxSeq(0), 9).await.expect("the wire is whole"), [entry(CUTS - 1), entry(CUTS)]);
    assert_eq!(server.sql(&database, "select commits from strongroom.nodes"), CUTS.to_string());
}

/// Nobody can be told what came of such a commit. But when something is answered again, it is either there or will never be.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_which_nobody_hears_is_settled_before_anything_else_is_answered() {
    let server = PostgresServer::new();
    let (database, _) = fresh(&server).await;
    let proxy = Proxy::before(&server);
    let short = Settings { timeout: Duration::from_millis(700), ..settings(&proxy.url(&server, &database), 1) };
    let store = Postgres::open(short).await.expect("the wire is whole");
    let mut expected = Vec::new();
    for number in 1..=6 {
        let wire = if number % 2 == 0 { Wire::DiesAfter } else { Wire::DiesBefore };
        proxy.set(wire);
        let lost = Batch { changes: vec![Change::Insert(row(number, &[]))], outbox: vec![entry(number)], settled: None };
        let outcome = store.commit(lost).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
        assert!(store.retrieve(id(number)).await.is_err(), "nothing passes");
        proxy.set(Wire::Whole);
        expected.extend((wire == Wire::DiesAfter).then(|| entry(number)));
        // Whichever call is the first one.
        match number % 3 {
            0 => assert_eq!(soon(async || store.retrieve(id(number)).await).await.is_some(), wire == Wire::DiesAfter),
            1 => {
                let commit = async || match store.commit(batch([Change::Insert(row(100 + number, &[]))])).await {
                    // A try whose time was over on a busy machine may have come to the server.
                    Err(StoreError::Conflict { .. }) => Ok(()),
                    done => done,
                };
                soon(commit).await;
            }
            _ => {}
        }
        assert_eq!(soon(async || store.outbox(OutboxSeq(0), 9).await).await, expected, "{wire:?}");
        assert_eq!(store.retrieve(id(number)).await.expect("the wire is whole").is_some(), wire == Wire::DiesAfter);
    }
}
