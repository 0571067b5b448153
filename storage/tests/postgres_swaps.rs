//! Rows that somebody has exchanged by SQL: every ordered pair of twenty, in three ways. What lies in another's place is refused by its name, the others are served.
#![expect(clippy::print_stdout, reason = "its counts are part of the result")]

use keys::id::{Layer, RowId};
use keys::port::{Change, Keystore, StoreError};
use keys::row::Row;
use softhsm_test::PostgresServer;
use storage::conformance::sample::{batch, id, query, row};
use storage::postgres::{Postgres, Settings};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

const ROWS: u64 = 20;

/// How two rows change places.
#[derive(Debug, Clone, Copy)]
enum Swap {
    /// One's bytes are copied over the other's.
    Copied,
    /// Their bytes are exchanged.
    Stored,
    /// All of them is exchanged, but under which identifier it lies.
    Whole,
}

impl Swap {
    /// Does it, and undoes it again but for a copy.
    async fn carry_out(self, client: &Client, one: RowId, other: RowId) {
        let (one, other) = (one.uuid, other.uuid);
        let pair = format!("(a.id = '{one}' and b.id = '{other}') or (a.id = '{other}' and b.id = '{one}')");
        let statement = match self {
            Self::Copied => format!(
                "update strongroom.records a set stored = b.stored from strongroom.records b where a.id = '{one}' and b.id = '{other}'"
            ),
            Self::Stored => format!("update strongroom.records a set stored = b.stored from strongroom.records b where {pair}"),
            Self::Whole => format!(
                "update strongroom.records a set (chain, version, object_type, algorithm, bits, state, expiry, tenant, service, generation, parent, \
                 parent_version, stored) = (b.chain, b.version, b.object_type, b.algorithm, b.bits, b.state, b.expiry, b.tenant, b.service, b.generation, \
                 b.parent, b.parent_version, b.stored) from strongroom.records b where {pair}"
            ),
        };
        let changed = client.execute(&statement, &[]).await.expect("the administrator may");
        assert_eq!(changed, if matches!(self, Self::Copied) { 1 } else { 2 });
    }
}

fn names(outcome: &Result<Option<Row>, StoreError>, id: RowId) -> bool {
    matches!(outcome, Err(StoreError::Corrupt { at, what }) if *at == id.to_string() && what.contains("another record lies in its place"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_380_ordered_pairs_that_change_places_is_refused_by_name_and_the_others_are_served() {
    let server = PostgresServer::new();
    let database = server.database();
    let url = server.url(&database);
    let settings = Settings {
        url: url.parse().expect("a URL"),
        password: None,
        tls: None,
        connections: 4,
        timeout: std::time::Duration::from_secs(5),
        node: Uuid::from_u128(1),
    };
    let store = Postgres::create(settings).await.expect("an empty database");
    let rows: Vec<Row> = (1..=ROWS).map(|number| row(number, &[7])).collect();
    store.commit(batch(rows.iter().cloned().map(Change::Insert).collect::<Vec<_>>())).await.expect("it answers");
    let config: tokio_postgres::Config = url.replace("//strongroom@", "//postgres@").parse().expect("a URL");
    let (client, connection) = config.connect(NoTls).await.expect("it answers");
    tokio::spawn(connection);
    for swap in [Swap::Copied, Swap::Stored, Swap::Whole] {
        let (mut tried, mut named, mut served) = (0, 0, 0);
        for one in 1..=ROWS {
            for other in (1..=ROWS).filter(|other| *other != one) {
                swap.carry_out(&client, id(one), id(other)).await;
                tried += 1;
                let hit: &[u64] = if matches!(swap, Swap::Copied) { &[one] } else { &[one, other] };
                for number in hit {
                    named += u64::from(names(&store.retrieve(id(*number)).await, id(*number)));
                }
                let found = store.find(&query(&[7], None, 99)).await.expect("it answers");
                let sound = rows.iter().rev().filter(|row| hit.iter().all(|number| row.header.id != id(*number)));
                assert!(found.iter().eq(sound), "{swap:?} of {one} and {other}");
                served += found.len() as u64;
                match swap {
                    Swap::Copied => {
                        let stored = rows[usize::try_from(one - 1).expect("it is small")].encode();
                        let uuid = id(one).uuid;
                        client.execute("update strongroom.records set stored = $1 where id = $2", &[&stored, &uuid]).await.expect("it may");
                    }
                    Swap::Stored | Swap::Whole => swap.carry_out(&client, id(one), id(other)).await,
                }
            }
        }
        let hits = if matches!(swap, Swap::Copied) { 1 } else { 2 };
        println!(
            "{swap:?}: {tried} ordered pairs, {named} of {} rows refused by name, {served} of {} others served",
            tried * hits,
            tried * (ROWS - hits)
        );
        assert_eq!((tried, named, served), (380, 380 * hits, 380 * (ROWS - hits)));
    }
    assert_eq!(store.find(&query(&[7], None, 99)).await.expect("it answers").len() as u64, ROWS, "all lie where they were");
    assert_eq!(id(1).layer, Layer::L3);
}
