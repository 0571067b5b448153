//! A PostgreSQL server, or whoever stands before it, that sends more than can be an answer, or nothing: memory stays bounded, the error says what was sent, each
//! call ends in its time, and when the server is itself again it is found.
#![expect(clippy::print_stdout, reason = "its counts are part of the result")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keys::id::OutboxSeq;
use keys::port::{Change, Keystore, Scope, StoreError};
use softhsm_test::PostgresServer;
use storage::conformance::sample::{batch, id, query, row, tenant};
use storage::postgres::{Postgres, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(2);
/// As [`storage::postgres`] has it, and some more for what lies in sockets.
const PASSED_MAX: u64 = 17 << 20;

/// What comes instead of the first row of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Lie {
    None,
    /// A message of 1 GiB, for as long as it is taken.
    Huge,
    /// The row, again and again.
    Endless,
    /// Rows of 15 MiB.
    Large,
    /// Settings of the server's, each another.
    Settings,
    /// Nothing, as from a machine that is gone: the connection stands.
    Silent,
    /// A byte a second.
    Slow,
}

impl Lie {
    const ALL: [Self; 7] = [Self::None, Self::Huge, Self::Endless, Self::Large, Self::Settings, Self::Silent, Self::Slow];
}

struct Liar {
    dir: tempfile::TempDir,
    lie: Arc<AtomicU8>,
    /// Bytes of lies that were taken off it.
    taken: Arc<AtomicU64>,
}

impl Liar {
    fn before(server: &PostgresServer) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join(format!(".s.PGSQL.{}", server.port()))).expect("the folder is new");
        let this = Self { dir, lie: Arc::default(), taken: Arc::default() };
        let (to, lie, taken) = (server.socket(), Arc::clone(&this.lie), Arc::clone(&this.taken));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (to, lie, taken) = (to.clone(), Arc::clone(&lie), Arc::clone(&taken));
                tokio::spawn(async move { pass(client, UnixStream::connect(to).await?, &lie, &taken).await });
            }
        });
        this
    }

    fn url(&self, server: &PostgresServer, database: &str) -> String {
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgresql://strongroom@{socket}:{}/{database}", server.port())
    }

    fn tell(&self, lie: Lie) {
        self.taken.store(0, Ordering::SeqCst);
        self.lie.store(lie as u8, Ordering::SeqCst);
    }
}

async fn pass(mut client: UnixStream, mut server: UnixStream, lie: &AtomicU8, taken: &AtomicU64) -> std::io::Result<()> {
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            count = client.read(&mut from_client) => match count? {
                0 => return Ok(()),
                count => server.write_all(&from_client[..count]).await?,
            },
            count = server.read(&mut from_server) => {
                let answer = &from_server[..count?];
                let telling = Lie::ALL[usize::from(lie.load(Ordering::SeqCst))];
                match first_row(answer).filter(|_| telling != Lie::None) {
                    _ if answer.is_empty() => return Ok(()),
                    None => client.write_all(answer).await?,
                    Some((at, end)) => {
                        client.write_all(&answer[..at]).await?;
                        return lied(client, telling, &answer[at..end], taken).await;
                    }
                }
            }
        }
    }
}

/// Where the first row of an answer begins and ends; an answer of the server's begins with a message, and is short here.
fn first_row(answer: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while let Some([tag, length @ ..]) = answer.get(at..)?.first_chunk::<5>() {
        let end = at + 1 + usize::try_from(u32::from_be_bytes(*length)).expect("it is short");
        if *tag == b'D' {
            return Some((at, end.min(answer.len())));
        }
        at = end;
    }
    None
}

async fn lied(mut client: UnixStream, lie: Lie, row: &[u8], taken: &AtomicU64) -> std::io::Result<()> {
    let mut number = 0_u64;
    loop {
        number += 1;
        let piece = match lie {
            Lie::None => return Ok(()),
            Lie::Huge if number == 1 => [&b"D"[..], &(1_u32 << 30).to_be_bytes()].concat(),
            Lie::Huge => vec![0; 1 << 16],
            Lie::Endless => row.to_vec(),
            // One column, which is as long as the message has it.
            Lie::Large => {
                let body = 15_u32 << 20;
                [&b"D"[..], &(body + 10).to_be_bytes(), &1_u16.to_be_bytes(), &body.to_be_bytes(), &vec![0; body as usize]].concat()
            }
            Lie::Settings => {
                let setting = format!("setting_{number}\0{}\0", "x".repeat(1000));
                let length = u32::try_from(setting.len() + 4).expect("it is short");
                [&b"S"[..], &length.to_be_bytes(), setting.as_bytes()].concat()
            }
            Lie::Silent => return std::future::pending().await,
            Lie::Slow => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                row[..1].to_vec()
            }
        };
        client.write_all(&piece).await?;
        taken.fetch_add(piece.len() as u64, Ordering::SeqCst);
    }
}

fn settings(url: &str) -> Settings {
    Settings { url: url.parse().expect("a URL"), password: None, tls: None, connections: 4, timeout: TIMEOUT, node: Uuid::from_u128(1) }
}

async fn soon<T>(call: impl AsyncFn() -> Result<T, StoreError>) -> T {
    let began = Instant::now();
    loop {
        match call().await {
            Err(StoreError::Unavailable { .. }) if began.elapsed() < Duration::from_secs(20) => tokio::task::yield_now().await,
            outcome => return outcome.expect("the server is there"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_an_answer_is_not_kept_and_each_call_ends_in_its_time() {
    let server = PostgresServer::new();
    let database = server.database();
    let store = Postgres::create(settings(&server.url(&database))).await.expect("an empty database");
    store.commit(batch((1..=4).map(|number| Change::Insert(row(number, &[7]))).collect::<Vec<_>>())).await.expect("it answers");
    drop(store);
    let liar = Liar::before(&server);
    let store = Postgres::open(settings(&liar.url(&server, &database))).await.expect("nobody lies yet");
    for (lie, said) in [
        (Lie::Huge, "announces a message of 1073741824 bytes, and 16777216 are taken at most"),
        (Lie::Endless, "more than the 1 rows"),
        (Lie::Large, "announces a row of 15728650 bytes, and 524288 are taken at most"),
        (Lie::Settings, "announces a message of 10"),
        (Lie::Silent, "no answer in time"),
        (Lie::Slow, "no answer in time"),
    ] {
        for call in 0..4 {
            let scope = if call % 2 == 0 { Scope::Node } else { Scope::Tenant(tenant(1)) };
            // Warm, so that what is lied about is a row.
            assert_eq!(soon(async || store.retrieve_for(scope, id(1)).await).await, Some(row(1, &[7])));
            assert_eq!(soon(async || store.find_for(scope, &query(&[7], None, 1)).await).await.len(), 1);
            if call == 2 {
                soon(async || store.commit_within(&[tenant(1)], batch([])).await).await;
            }
            liar.tell(lie);
            let began = Instant::now();
            let outcome = match call {
                0 | 1 => store.retrieve_for(scope, id(1)).await.map(drop),
                2 => store.commit_within(&[tenant(1)], batch([])).await,
                _ => store.find_for(scope, &query(&[7], None, 1)).await.map(drop),
            };
            let (took, taken) = (began.elapsed(), liar.taken.load(Ordering::SeqCst));
            liar.tell(Lie::None);
            println!("{lie:?}, call {call}: {taken} bytes were taken in {took:?}: {outcome:?}");
            assert!(took < TIMEOUT + Duration::from_secs(1), "{lie:?}: {took:?}");
            // A commit waits for all of its answers, lets go of what it does not want, and tries again, for as long as it has time.
            assert!(taken <= PASSED_MAX || call == 2, "{lie:?}: {taken} bytes were taken");
            match outcome {
                Err(StoreError::Unavailable { source, .. }) if source.to_string().contains(said) => {}
                Err(StoreError::Unavailable { .. }) if call == 2 => {}
                other => panic!("{lie:?}, call {call}: {other:?}"),
            }
        }
        // It is itself again, and so is what was kept.
        assert_eq!(soon(async || store.retrieve(id(2)).await).await, Some(row(2, &[7])));
    }
    assert_eq!(soon(async || store.outbox(OutboxSeq(0), 9).await).await, []);
    let kilobytes: u64 = std::fs::read_to_string("/proc/self/status")
        .expect("Linux tells it")
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
        .expect("a number");
    println!("most memory ever: {kilobytes} kB");
    assert!(kilobytes < 256 << 10, "{kilobytes} kB");
}

/// A server that stops while a node starts does not keep it for ever either.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_ends_a_start_in_its_time() {
    let server = PostgresServer::new();
    let database = server.database();
    drop(Postgres::create(settings(&server.url(&database))).await.expect("an empty database"));
    let liar = Liar::before(&server);
    for lie in [Lie::Silent, Lie::Slow, Lie::Huge] {
        liar.tell(lie);
        let began = Instant::now();
        let refused = Postgres::open(settings(&liar.url(&server, &database))).await.err();
        assert!(matches!(refused, Some(StoreError::Unavailable { .. })), "{lie:?}");
        assert!(began.elapsed() < 3 * TIMEOUT, "{lie:?}: {:?}", began.elapsed());
        liar.tell(Lie::None);
        Postgres::open(settings(&liar.url(&server, &database))).await.expect("it is itself again");
    }
}
