//! Row-level security in the PostgreSQL keystore (D13): what each role reaches, what a mistake above the store is told, and how the roles come to be.
#![expect(clippy::print_stdout, reason = "its counts are part of the result")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keys::id::{Generation, KeyVersion, Layer, OutboxSeq, TenantId};
use keys::port::{Batch, Change, Keystore, Query, Scope, StoreError};
use keys::row::Row;
use softhsm_test::PostgresServer;
use storage::conformance::sample::{batch, changed, entry, id, query, row, tenant};
use storage::postgres::{Postgres, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use uuid::Uuid;

const ROWS: u64 = 20;
/// The term that all of them have.
const ALL: u64 = 777;
/// Every table that has anything of the keystore's.
const TABLES: [&str; 6] = ["records", "terms", "kek_storage", "encryption_keys", "outbox", "nodes"];

fn settings(url: &str, node: u128, connections: usize) -> Settings {
    let url = url.parse().expect("the fixture's URL is one");
    Settings { url, password: None, tls: None, connections, timeout: Duration::from_secs(5), node: Uuid::from_u128(node) }
}

async fn fresh(server: &PostgresServer, connections: usize) -> (String, Postgres) {
    let database = server.database();
    let store = Postgres::create(settings(&server.url(&database), 1, connections)).await.expect("an empty database");
    (database, store)
}

fn why(outcome: Result<Postgres, StoreError>) -> String {
    match outcome {
        Ok(_) => panic!("it opens"),
        Err(StoreError::Unavailable { source, .. }) => source.to_string(),
        Err(other) => panic!("it does not open for another reason: {other}"),
    }
}

/// The appliance's own, with material that lies in `kek_storage`.
fn ivk() -> Row {
    let mut ivk = row(1000, &[]);
    ivk.header.id.layer = Layer::Ivk;
    ivk.header.owner.tenant = TenantId::SYSTEM;
    ivk.header.version = KeyVersion::FIRST;
    ivk
}

/// Ten rows of each of two tenants, all with one term, an IVK version, and two audit records of each of two nodes.
async fn two_tenants(server: &PostgresServer, connections: usize) -> (String, Postgres) {
    let (database, store) = fresh(server, connections).await;
    let mut changes: Vec<Change> = (1..=ROWS).map(|number| Change::Insert(row(number, &[ALL, number]))).collect();
    changes.push(Change::Insert(ivk()));
    store.commit(Batch { changes, outbox: vec![entry(1), entry(2)], settled: None }).await.expect("it answers");
    let other = Postgres::open(settings(&server.url(&database), 2, 2)).await.expect("it is there");
    other.commit(Batch { outbox: vec![entry(1), entry(2)], ..Batch::default() }).await.expect("it answers");
    (database, store)
}

fn uuid(tenant: TenantId) -> Uuid {
    Uuid::from_bytes(*tenant.as_bytes())
}

/// A connection as the user that the node logs in as.
async fn logged_in(server: &PostgresServer, database: &str) -> Client {
    let config: tokio_postgres::Config = server.url(database).parse().expect("a URL");
    let (client, connection) = config.connect(NoTls).await.expect("it answers");
    tokio::spawn(connection);
    client
}

/// What an attempt reaches, of which nothing stays.
async fn reached(client: &Client, role: &str, tenants: Option<&[TenantId]>, statement: &str) -> Result<u64, String> {
    let list = tenants.map(|tenants| tenants.iter().map(|tenant| uuid(*tenant).to_string()).collect::<Vec<_>>().join(","));
    let setting =
        list.map(|list| format!("set local strongroom.tenants = '{{{list}}}'; set local strongroom.node = '{}';", Uuid::from_u128(1)));
    let role = if role.is_empty() { String::new() } else { format!("set local role {role};") };
    client.batch_execute(&format!("begin; {role} {}", setting.unwrap_or_default())).await.expect("it is a member");
    let done = client.simple_query(statement).await;
    client.batch_execute("rollback").await.expect("it answers");
    let done = done.map_err(|error| error.as_db_error().map_or(error.to_string(), |said| said.message().to_owned()))?;
    let count = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::CommandComplete(count) => Some(*count),
        _ => None,
    };
    Ok(done.iter().find_map(count).expect("a statement ends"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_isolation_by_sql_with_tenant_as_role() {
    let server = PostgresServer::new();
    let (database, store) = two_tenants(&server, 4).await;
    let client = logged_in(&server, &database).await;
    let (a, b) = (tenant(2), tenant(1));
    let term = |number: u64| format!("term = '\\x{}'", data_encoding::HEXLOWER.encode(&storage::conformance::sample::term(number).0));
    let who: [(&str, &str, Option<&[TenantId]>); 6] = [
        ("owner, no role", "", None),
        ("requests, nothing set", "strongroom_requests", None),
        ("requests, A", "strongroom_requests", Some(&[a])),
        ("requests, A and system", "strongroom_requests", Some(&[a, TenantId::SYSTEM])),
        ("requests, system", "strongroom_requests", Some(&[TenantId::SYSTEM])),
        ("worker", "strongroom_worker", None),
    ];
    // Rows that select, and update or delete, reach of each table.
    let expected: BTreeMap<&str, [u64; 6]> = [
        ("owner, no role", [0; 6]),
        ("requests, nothing set", [0; 6]),
        ("requests, A", [10, 20, 0, 0, 2, 1]),
        ("requests, A and system", [11, 20, 1, 1, 2, 1]),
        ("requests, system", [1, 0, 1, 1, 2, 1]),
        ("worker", [21, 40, 1, 1, 4, 2]),
    ]
    .into();
    println!("{:<24}{}", "", TABLES.map(|table| format!("{table:>16}")).concat());
    for (name, role, tenants) in who {
        let mut selected = [0; 6];
        for (place, table) in TABLES.iter().enumerate() {
            selected[place] = reached(&client, role, tenants, &format!("select * from strongroom.{table}")).await.unwrap_or_else(|said| {
                panic!("{name}: {table}: {said}");
            });
        }
        println!("{name:<24}{}", selected.map(|count| format!("{count:>16}")).concat());
        assert_eq!(selected, expected[name], "{name}");
        for (table, change, place) in [
            ("records", "update strongroom.records set bits = bits + 1", 0),
            ("records", "delete from strongroom.records", 0),
            ("terms", "delete from strongroom.terms", 1),
            ("kek_storage", "update strongroom.kek_storage set status = 'x'", 2),
            ("kek_storage", "delete from strongroom.kek_storage", 2),
            ("outbox", "delete from strongroom.outbox", 4),
            ("nodes", "update strongroom.nodes set commits = commits + 1", 5),
        ] {
            assert_eq!(reached(&client, role, tenants, change).await, Ok(expected[name][place]), "{name}: {table}: {change}");
        }
        // By the row itself, and by what leads to it.
        let sees = |tenant: TenantId| name == "worker" || tenants.is_some_and(|tenants| tenants.contains(&tenant));
        for (number, owner) in [(2, a), (1, b)] {
            let of = format!("id = '{}'", id(number).uuid);
            for statement in [
                format!("select * from strongroom.records where layer = 10 and {of}"),
                format!("select * from strongroom.terms where {}", term(number)),
                format!(
                    "select r.* from strongroom.records r join strongroom.terms t on t.layer = r.layer and t.id = r.id where t.{}",
                    term(number)
                ),
                format!("update strongroom.records set state = 'destroyed' where {of}"),
                format!("delete from strongroom.records where {of}"),
            ] {
                assert_eq!(reached(&client, role, tenants, &statement).await, Ok(u64::from(sees(owner))), "{name}: {statement}");
            }
            // A row of its own, made out of one of theirs, and the other way round.
            let copy = format!(
                "insert into strongroom.records select layer, '{}', chain, version, object_type, algorithm, bits, state, expiry, '{}', service, \
                 generation, parent, parent_version, stored from strongroom.records where {of}",
                Uuid::from_u128(99),
                uuid(b)
            );
            let given = format!("update strongroom.records set tenant = '{}' where {of}", uuid(b));
            for statement in [copy, given] {
                let outcome = reached(&client, role, tenants, &statement).await;
                match (sees(owner), sees(b)) {
                    (true, true) => assert_eq!(outcome, Ok(1), "{name}: {statement}"),
                    (true, false) => {
                        assert!(outcome.as_ref().is_err_and(|said| said.contains("row-level security")), "{name}: {outcome:?}")
                    }
                    (false, _) => assert_eq!(outcome, Ok(0), "{name}: {statement}"),
                }
            }
        }
    }
    for table in ["schema", "roles"] {
        let refused = reached(&client, "strongroom_requests", Some(&[a]), &format!("select * from strongroom.{table}")).await;
        assert!(refused.is_err_and(|said| said.contains("permission denied")), "{table}");
    }
    assert_eq!(store.find(&query(&[ALL], None, 99)).await.expect("it answers").len() as u64, ROWS, "nothing of all that has stayed");
}

/// A mistake above the store: another tenant's identifiers, terms and changes under this tenant's name. All by one connection, so that nothing of one call is
/// left for the next.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_in_the_wrong_tenants_scope_is_not_found() {
    let server = PostgresServer::new();
    let (database, store) = two_tenants(&server, 2).await;
    let (a, b) = (Scope::Tenant(tenant(2)), Scope::Tenant(tenant(1)));
    for number in 1..=ROWS {
        let (own, others) = if number % 2 == 0 { (a, b) } else { (b, a) };
        assert_eq!(store.retrieve_for(others, id(number)).await.expect("it answers"), None, "{number}");
        assert_eq!(store.retrieve_for(own, id(number)).await.expect("it answers"), Some(row(number, &[ALL, number])));
        assert_eq!(store.find_for(others, &query(&[number], None, 9)).await.expect("it answers"), []);
        assert_eq!(store.find_for(own, &query(&[number, ALL], None, 9)).await.expect("it answers"), [row(number, &[ALL, number])]);
    }
    assert_eq!(store.find_for(a, &query(&[ALL], None, 99)).await.expect("it answers").len() as u64, ROWS / 2);
    assert_eq!(store.find_for(a, &query(&[], None, 99)).await.expect("it answers").len() as u64, ROWS / 2);
    // The appliance's own is shown to everybody.
    assert_eq!(store.retrieve_for(a, ivk().header.id).await.expect("it answers"), Some(ivk()));
    let roots = Query { layer: Layer::Ivk, terms: vec![], before: None, limit: 9 };
    assert_eq!(store.find_for(b, &roots).await.expect("it answers"), [ivk()]);

    // Row 2 is A's. Whoever takes it for B's changes nothing, also if A has a change of its own in the same transaction.
    let (stolen, removed) = (
        |mut row: Row| {
            row.header.owner.tenant = tenant(1);
            Change::Update { expected: Generation::FIRST, row }
        },
        Change::Delete { id: id(2), expected: Generation::FIRST },
    );
    let next = changed(&row(2, &[ALL]), &[ALL]);
    let conflict = |outcome: Result<(), StoreError>| matches!(outcome, Err(StoreError::Conflict { id: at }) if at == id(2));
    assert!(conflict(store.commit_within(&[tenant(1)], batch([stolen(next.clone())])).await));
    assert!(conflict(store.commit_within(&[tenant(1), TenantId::SYSTEM], batch([removed.clone()])).await));
    let own = changed(&row(4, &[7, 4]), &[ALL]);
    let both = batch([Change::Update { expected: Generation::FIRST, row: own.clone() }, stolen(next)]);
    assert!(conflict(store.commit_within(&[tenant(1), tenant(2)], both).await));
    // An insert in another's name is refused by the policy, and so are changes of the appliance's own by who does not name it.
    let refused = store.commit_within(&[tenant(1)], batch([Change::Insert(row(100, &[ALL]))])).await;
    assert!(
        matches!(&refused, Err(StoreError::Unavailable { source, .. }) if source.to_string().contains("row-level security")),
        "{refused:?}"
    );
    let ivks = Change::Delete { id: ivk().header.id, expected: Generation::FIRST };
    assert!(matches!(store.commit_within(&[tenant(1)], batch([ivks])).await, Err(StoreError::Conflict { .. })));
    for number in 1..=ROWS {
        assert_eq!(store.retrieve(id(number)).await.expect("it answers"), Some(row(number, &[ALL, number])), "nothing was changed");
    }
    assert_eq!(store.retrieve(id(100)).await.expect("it answers"), None);
    // What is right goes through, by the same connection.
    store
        .commit_within(&[tenant(2)], batch([Change::Update { expected: Generation::FIRST, row: own.clone() }]))
        .await
        .expect("it is its own");
    store.commit_within(&[tenant(2)], batch([removed])).await.expect("it is its own");
    assert_eq!(store.retrieve_for(a, id(4)).await.expect("it answers"), Some(own));
    assert_eq!(store.retrieve_for(a, id(2)).await.expect("it answers"), None);

    // A connection that the server has ended, and one that was left in the midst of a call, have nothing to say of whose rows they showed.
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'strongroom'";
    server.sql(&database, end);
    assert_eq!(store.retrieve_for(b, id(6)).await.expect("it is tried again"), None);
    for _ in 0..20 {
        let given_up = tokio::time::timeout(Duration::from_micros(200), store.retrieve_for(a, id(6))).await;
        assert!(given_up.is_err() || given_up.is_ok_and(|row| row.is_ok_and(|row| row.is_some())));
        assert_eq!(store.retrieve_for(b, id(6)).await.expect("it answers"), None);
    }
}

/// A row cache before the store does not show what the store would not.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_cache_keeps_tenants_apart_as_the_store_does() {
    let server = PostgresServer::new();
    let (_, store) = two_tenants(&server, 2).await;
    let limits = storage::cached::Settings { bytes: 1 << 20, life: Duration::from_secs(60) };
    let cached = storage::cached::Cached::new(Arc::new(store), limits, Arc::default());
    let (a, b) = (Scope::Tenant(tenant(2)), Scope::Tenant(tenant(1)));
    for scopes in [[a, b, Scope::Node, b, a], [b, a, b, Scope::Node, a]] {
        for number in [2, 4, 6, 50] {
            for scope in scopes {
                let expected = (scope != b && number != 50).then(|| row(number, &[ALL, number]));
                assert_eq!(cached.retrieve_for(scope, id(number)).await.expect("it answers"), expected, "{number} in {scope:?}");
            }
        }
        cached.commit(batch([])).await.expect("it answers");
    }
    let next = changed(&row(2, &[ALL]), &[ALL]);
    let stolen = batch([Change::Update { expected: Generation::FIRST, row: next.clone() }]);
    assert!(cached.commit_within(&[tenant(1)], stolen.clone()).await.is_err());
    cached.commit_within(&[tenant(2)], stolen).await.expect("it is its own");
    assert_eq!(cached.retrieve_for(a, id(2)).await.expect("it answers"), Some(next));
    assert_eq!(cached.retrieve_for(b, id(2)).await.expect("it answers"), None);
}

/// Counts how often the client has asked and waited.
struct Turns {
    dir: tempfile::TempDir,
    turns: Arc<AtomicU64>,
}

impl Turns {
    fn before(server: &PostgresServer) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join(format!(".s.PGSQL.{}", server.port()))).expect("the folder is new");
        let turns = Arc::<AtomicU64>::default();
        let (to, counted) = (server.socket(), Arc::clone(&turns));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&to).await.expect("it answers");
                tokio::spawn(pass(client, server, Arc::clone(&counted)));
            }
        });
        Self { dir, turns }
    }
}

async fn pass(mut client: UnixStream, mut server: UnixStream, turns: Arc<AtomicU64>) -> std::io::Result<()> {
    let (mut from_client, mut from_server, mut is_asking) = (vec![0; 1 << 16], vec![0; 1 << 16], false);
    loop {
        tokio::select! {
            count = client.read(&mut from_client) => {
                let count = count?;
                turns.fetch_add(u64::from(!std::mem::replace(&mut is_asking, true)), Ordering::SeqCst);
                server.write_all(&from_client[..count]).await?;
                if count == 0 { return Ok(()) }
            }
            count = server.read(&mut from_server) => {
                let count = count?;
                // The last word of an answer: ready for the next.
                is_asking &= from_server[..count].last_chunk::<6>().is_none_or(|end| end[..5] != [b'Z', 0, 0, 0, 5] || end[5] == b'T');
                client.write_all(&from_server[..count]).await?;
                if count == 0 { return Ok(()) }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_reads_takes_one_round_trip_as_what_the_node_reads() {
    const READS: u32 = 300;
    let server = PostgresServer::new();
    let (database, _) = two_tenants(&server, 2).await;
    let turns = Turns::before(&server);
    let url =
        format!("postgresql://strongroom@{}:{}/{database}", turns.dir.path().display().to_string().replace('/', "%2F"), server.port());
    let store = Postgres::open(settings(&url, 3, 2)).await.expect("it is there");
    for scope in [Scope::Node, Scope::Tenant(tenant(2))] {
        // The first connects, and prepares the statements.
        assert!(store.retrieve_for(scope, id(2)).await.expect("it answers").is_some());
        let before = turns.turns.load(Ordering::SeqCst);
        for _ in 0..READS {
            assert!(store.retrieve_for(scope, id(2)).await.expect("it answers").is_some());
        }
        let asked = turns.turns.load(Ordering::SeqCst) - before;
        // What the proxy takes for two is at times one, cut in the middle of an answer.
        assert!((u64::from(READS)..=u64::from(READS) + 9).contains(&asked), "{asked} round trips for {READS} reads in {scope:?}");
    }
    let direct = Postgres::open(settings(&server.url(&database), 4, 2)).await.expect("it is there");
    for scope in [Scope::Node, Scope::Tenant(tenant(2)), Scope::Node, Scope::Tenant(tenant(2))] {
        let _warm = direct.retrieve_for(scope, id(2)).await.expect("it answers");
        let began = Instant::now();
        for _ in 0..READS {
            let _row = direct.retrieve_for(scope, id(2)).await.expect("it answers");
        }
        println!("{scope:?}: {:?} a read", began.elapsed() / READS);
    }
}

/// Tables as the release before had them, with rows, are brought up to date; and policies bind them from then on.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_from_schema_1_keeps_every_row_and_brings_the_policies() {
    let server = PostgresServer::new();
    let (database, store) = two_tenants(&server, 2).await;
    drop(store);
    server.sql(&database, "alter schema strongroom rename to newer");
    let made = "set role strongroom; create schema strongroom; \
                create table strongroom.schema (is_only boolean primary key default true check (is_only), number bigint not null); \
                insert into strongroom.schema (number) values (1);";
    server.sql(&database, &format!("{made} {}", include_str!("../src/postgres/schema/1.sql")));
    for copy in ["records", "encryption_keys", "kek_storage", "outbox", "nodes"] {
        server.sql(&database, &format!("insert into strongroom.{copy} select * from newer.{copy}"));
    }
    server.sql(&database, "insert into strongroom.terms select term, layer, id from newer.terms");
    // One that leads nowhere.
    server.sql(&database, &format!("insert into strongroom.terms values ('\\x01', 10, '{}')", Uuid::from_u128(99)));
    server.sql(&database, "drop schema newer cascade");
    let store = Postgres::open(settings(&server.url(&database), 1, 4))
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
    assert_eq!(server.sql(&database, "select number from strongroom.schema"), "2");
    assert_eq!(server.sql(&database, "select count(*), count(distinct tenant) from strongroom.terms"), "40|2");
    for number in 1..=ROWS {
        let own = Scope::Tenant(tenant(number));
        assert_eq!(store.retrieve_for(own, id(number)).await.expect("it answers"), Some(row(number, &[ALL, number])));
        assert_eq!(store.retrieve_for(Scope::Tenant(tenant(number + 1)), id(number)).await.expect("it answers"), None);
        assert_eq!(store.find_for(own, &query(&[number], None, 9)).await.expect("it answers").len(), 1);
    }
    assert_eq!(store.retrieve(ivk().header.id).await.expect("it answers"), Some(ivk()));
    assert_eq!(store.outbox(OutboxSeq(0), 9).await.expect("it answers"), [entry(1), entry(2)]);
    store.commit(batch([Change::Insert(row(30, &[ALL]))])).await.expect("it goes on");
    drop(store);
    Postgres::open(settings(&server.url(&database), 1, 4)).await.expect("once is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_are_missing_are_made_or_named_with_what_makes_them() {
    let server = PostgresServer::new();
    for (user, rights) in [("plain", ""), ("Ow\"n'er", "createrole")] {
        let quoted = format!("\"{}\"", user.replace('"', "\"\""));
        server.sql("postgres", &format!("create role {quoted} login {rights}"));
        server.sql("postgres", &format!("create database db_{} owner {quoted}", rights.len()));
    }
    let url = |user: &str, database: &str| server.url(database).replace("//strongroom@", &format!("//{user}@"));
    // Who may make them does, whatever its name.
    let made = Postgres::create(settings(&url("Ow%22n'er", "db_10"), 1, 2))
        .await
        .unwrap_or_else(|error| panic!("{:?}", std::error::Error::source(&error)));
    let even = || batch([Change::Insert(row(2, &[ALL]))]);
    made.commit_within(&[tenant(1)], even()).await.expect_err("the odd ones are its own");
    made.commit_within(&[tenant(2)], even()).await.expect("it is its own");
    // To who may not, it is said what an administrator has to run; nothing is made before that.
    let settings_of = || settings(&url("plain", "db_0"), 1, 2);
    let refused = why(Postgres::create(settings_of()).await);
    let (_, command) = refused.split_once('`').expect("it names what to run");
    let command = command.trim_end_matches('`');
    assert!(command.starts_with("CREATE ROLE \"plain_requests\" NOLOGIN; GRANT \"plain_requests\" TO \"plain\"; CREATE ROLE"), "{refused}");
    assert_eq!(server.sql("db_0", "select count(*) from pg_tables where schemaname = 'strongroom' and tablename = 'records'"), "0");
    server.sql("postgres", command);
    drop(Postgres::create(settings_of()).await.unwrap_or_else(|error| panic!("{:?}", std::error::Error::source(&error))));
    // A role that the policies do not bind, and one that was taken away.
    server.sql("postgres", "alter role plain_requests bypassrls");
    assert!(why(Postgres::open(settings_of()).await).contains("ALTER ROLE \"plain_requests\" NOSUPERUSER NOBYPASSRLS"));
    server.sql("postgres", "alter role plain_requests nobypassrls");
    server.sql("postgres", "revoke plain_worker from plain");
    assert!(why(Postgres::open(settings_of()).await).contains("`GRANT \"plain_worker\" TO \"plain\"`"));
    server.sql("postgres", "grant plain_worker to plain");
    Postgres::open(settings_of()).await.expect("all is as it was");
}
