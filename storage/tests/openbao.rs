//! The OpenBao keystore against a real server: the suite, and what only a store behind a network has to bear.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keys::id::{Generation, Layer, OutboxSeq};
use keys::port::{Batch, Change, Keystore, StoreError};
use keys::row::Row;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use secret::Bytes;
use softhsm_test::OpenbaoServer;
use storage::conformance;
use storage::conformance::sample::{batch, changed, entry, id, query, row};
use storage::intents::Intents;
use storage::journalled::{Journalled, Plain};
use storage::openbao::{Login, Openbao, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

/// Of one request; no call takes longer than twice that.
const TIMEOUT: Duration = Duration::from_secs(2);
/// F7: within this a caller hears that the store is away, and after it is back it is found again.
const ERROR_WITHIN: Duration = Duration::from_secs(5);
const BACK_WITHIN: Duration = Duration::from_secs(2);
const PASSED_MIN: usize = 25;

fn tls(server: &OpenbaoServer, own: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(server.file("ca.pem")).expect("the fixture's CA")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("they are known");
    let config = config.with_root_certificates(roots);
    if !own {
        return Arc::new(config.with_no_client_auth());
    }
    let chain = vec![CertificateDer::from_pem_file(server.file("client.pem")).expect("the fixture's")];
    let key = PrivateKeyDer::from_pem_file(server.file("client.key")).expect("the fixture's");
    Arc::new(config.with_client_auth_cert(chain, key).expect("they belong together"))
}

fn secret(text: &str) -> Bytes {
    Bytes::init_with(text.len(), |bytes| bytes.copy_from_slice(text.as_bytes())).expect("locked memory")
}

fn settings(server: &OpenbaoServer, prefix: &str) -> Settings {
    Settings {
        url: server.url().parse().expect("the fixture's URL is one"),
        mount: server.mount().to_owned(),
        prefix: prefix.to_owned(),
        namespace: None,
        tls: tls(server, false),
        login: Login::AppRole { role: server.role_id(), secret: secret(&server.secret_id()) },
        timeout: TIMEOUT,
        node: Uuid::from_u128(1),
    }
}

/// A keystore with a journal of its own.
struct Store {
    keystore: Journalled<Openbao>,
    folder: tempfile::TempDir,
    prefix: String,
}

fn journalled(plain: Openbao, folder: &tempfile::TempDir) -> Journalled<Openbao> {
    let intents = Intents::open(&folder.path().join("intents.redb")).expect("the journal opens");
    Journalled::new(plain, intents, 2 * TIMEOUT).expect("the journal is intact")
}

async fn fresh(server: &OpenbaoServer) -> Store {
    let (prefix, folder) = (server.prefix(), tempfile::tempdir().expect("a folder"));
    let plain = Openbao::create(settings(server, &prefix)).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    Store { keystore: journalled(plain, &folder), folder, prefix }
}

fn told(error: &StoreError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn why(outcome: Result<Openbao, StoreError>) -> String {
    outcome.map_or_else(|error| told(&error), |_| panic!("it opens"))
}

fn insert(number: u64) -> Batch {
    batch([Change::Insert(row(number, &[1, number]))])
}

/// What is answered once the store has seen that the server is there again, and how long that took.
async fn soon<T>(call: impl AsyncFn() -> Result<T, StoreError>) -> (T, Duration) {
    let began = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return (answer, began.elapsed()),
            Err(error) if began.elapsed() > Duration::from_secs(30) => panic!("{}", told(&error)),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// The error of a call, which has to come in time.
async fn fails<T: std::fmt::Debug>(fault: &str, call: impl Future<Output = Result<T, StoreError>>) -> StoreError {
    let began = Instant::now();
    let error = call.await.expect_err(fault);
    measured(fault, "error", began.elapsed(), ERROR_WITHIN);
    error
}

/// The store is back, and what it held is there.
async fn is_back(fault: &str, store: &Store, rows: u64) {
    let rows = usize::try_from(rows).expect("a test's number of rows");
    let (found, took) = soon(async || store.keystore.find(&query(&[1], None, rows + 1)).await).await;
    measured(fault, "recovery", took, BACK_WITHIN);
    assert_eq!(found.len(), rows, "{fault}");
}

#[expect(clippy::print_stdout, reason = "how long it took is part of the result")]
fn measured(fault: &str, what: &str, took: Duration, limit: Duration) {
    println!("{fault}: {what} after {:.2} s", took.as_secs_f64());
    assert!(took <= limit, "{fault}: {what} after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn openbao_conforms() {
    let server = OpenbaoServer::new();
    let folders = std::sync::Mutex::new(Vec::new());
    let make = async || {
        let Store { keystore, folder, .. } = fresh(&server).await;
        folders.lock().expect("nobody panicked").push(folder);
        Arc::new(keystore) as Arc<dyn Keystore>
    };
    let report = conformance::run(make).await.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.passed.len() >= PASSED_MIN);
}

/// KS-4: of what is overwritten or deleted nothing is left on the server, and of a search's entries no orphan.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_gone_with_all_its_versions() {
    let server = OpenbaoServer::new();
    let store = fresh(&server).await;
    let names = |folder: &str| {
        let path = format!("{}/{}/{folder}", server.mount(), store.prefix);
        let output = server.bao(&["kv", "list", "-format=json", &path]);
        serde_json::from_str::<Vec<String>>(&output).expect("a list")
    };
    store.keystore.commit(batch([Change::Insert(row(1, &[1, 2])), Change::Insert(row(2, &[1]))])).await.expect("it answers");
    let mut claim = row(3, &[]);
    claim.header.id.layer = Layer::Name;
    store.keystore.commit(batch([Change::Insert(claim.clone())])).await.expect("it answers");
    let next = changed(&row(1, &[]), &[1, 3]);
    store.keystore.commit(batch([Change::Update { expected: Generation::FIRST, row: next }])).await.expect("it answers");
    let rows = format!("rows/{:02x}/", Layer::L3 as u8);
    let newest_first = names(&rows);
    assert_eq!(newest_first.len(), 2);
    let path = format!("{}/metadata/{}/{rows}{}", server.mount(), store.prefix, newest_first[1]);
    let metadata = server.bao(&["read", "-format=json", &path]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON");
    assert_eq!(metadata["data"]["current_version"], 2, "{metadata}");
    assert_eq!(metadata["data"]["versions"].as_object().map(|versions| versions.len()), Some(1), "{metadata}");
    assert_eq!(names("terms/").len(), 2, "the row has lost a term, and nothing is in its folder");
    let delete = |id, generation| Change::Delete { id, expected: Generation(generation) };
    let all = [delete(id(1), 2), delete(id(2), 1), delete(claim.header.id, 1)];
    store.keystore.commit(batch(all)).await.expect("it answers");
    assert_eq!(names(""), ["rows/", "schema"], "no term is left");
    assert_eq!(names("rows/"), [format!("{:02x}/", Layer::Name as u8)], "and the place of a claim alone");
    let place = format!("rows/{:02x}/", Layer::Name as u8);
    let empty = server.bao(&["kv", "get", "-format=json", &format!("{}/{}/{place}{}", server.mount(), store.prefix, names(&place)[0])]);
    let empty: serde_json::Value = serde_json::from_str(&empty).expect("JSON");
    assert_eq!(empty["data"]["data"], serde_json::json!({}));
    store.keystore.commit(batch([Change::Insert(claim)])).await.expect("it may be taken again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_a_commit_leaves_no_half_of_it() {
    const KILLS: u64 = 6;
    let mut server = OpenbaoServer::new();
    let store = Arc::new(fresh(&server).await);
    let mut acknowledged = Vec::new();
    for kill in 1..=KILLS {
        let changes =
            |number: u64| (0..8).map(|place| Change::Insert(row(1000 * number + place, &[1, 50_000 + number]))).collect::<Vec<_>>();
        let committing = Arc::clone(&store);
        let (telling, mut done) = tokio::sync::mpsc::unbounded_channel();
        let commits = tokio::spawn(async move {
            for number in 100 * kill.. {
                let batch = Batch { changes: changes(number), outbox: vec![entry(number)], settled: None };
                if let Err(error) = committing.keystore.commit(batch).await {
                    return error;
                }
                telling.send(number).expect("somebody counts");
            }
            unreachable!("it is killed before")
        });
        for _ in 0..kill {
            acknowledged.extend(done.recv().await);
        }
        server.crash();
        let error = fails("killed", async { Err::<(), _>(commits.await.expect("it does not panic")) }).await;
        assert!(matches!(error, StoreError::Unavailable { .. } | StoreError::Sealed { .. }), "{}", told(&error));
        while let Some(number) = done.recv().await {
            acknowledged.push(number);
        }
        server.run();
        let sealed = fails("started and sealed", store.keystore.retrieve(id(1))).await;
        assert!(matches!(sealed, StoreError::Sealed { .. }), "{}", told(&sealed));
        server.unseal();
        let ((), took) = soon(async || store.keystore.commit(Batch::default()).await).await;
        measured("killed", "recovery", took, BACK_WITHIN);
    }
    let records = store.keystore.outbox(OutboxSeq(0), 10_000).await.expect("it answers");
    for number in &acknowledged {
        assert!(records.contains(&entry(*number)), "{number} was acknowledged");
    }
    let rows = store.keystore.find(&query(&[1], None, 10_000)).await.expect("it answers");
    assert_eq!(rows.len(), records.len() * 8, "no half of a batch");
    for record in records {
        let rows = store.keystore.find(&query(&[50_000 + record.seq.0], None, 10)).await.expect("it answers");
        assert_eq!(rows.len(), 8, "{record:?}");
    }
}

/// KS-23, KS-24, F7.
#[tokio::test(flavor = "multi_thread")]
async fn sealed_away_and_denied_are_told_apart_and_end_without_a_restart() {
    let mut server = OpenbaoServer::new();
    let store = fresh(&server).await;
    store.keystore.commit(insert(1)).await.expect("it answers");

    server.seal();
    for error in [fails("sealed", store.keystore.retrieve(id(1))).await, fails("sealed", store.keystore.commit(insert(2))).await] {
        assert!(matches!(error, StoreError::Sealed { .. }), "{}", told(&error));
        assert!(told(&error).contains("is sealed: unseal it there"), "{}", told(&error));
    }
    assert!(why(Openbao::open(settings_of(&server, &store.prefix)).await).contains("is sealed"));
    server.unseal();
    is_back("sealed", &store, 1).await;

    server.allow(false);
    for error in [fails("denied", store.keystore.retrieve(id(1))).await, fails("denied", store.keystore.commit(insert(2))).await] {
        assert!(matches!(error, StoreError::Denied { .. }), "{}", told(&error));
        assert!(told(&error).contains("permission denied"), "{}", told(&error));
    }
    server.allow(true);
    is_back("denied", &store, 1).await;

    server.crash();
    for error in [fails("away", store.keystore.retrieve(id(1))).await, fails("away", store.keystore.commit(insert(2))).await] {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{}", told(&error));
        assert!(told(&error).contains("see that the server runs"), "{}", told(&error));
    }
    server.start();
    is_back("away", &store, 1).await;

    server.freeze();
    let began = Instant::now();
    let (read, change) = tokio::join!(store.keystore.retrieve(id(1)), store.keystore.commit(insert(2)));
    assert!(matches!((&read, &change), (Err(StoreError::Unavailable { .. }), Err(StoreError::Unavailable { .. }))), "{read:?} {change:?}");
    measured("frozen", "error", began.elapsed(), ERROR_WITHIN);
    server.thaw();
    is_back("frozen", &store, 1).await;
    store.keystore.commit(insert(2)).await.expect("it answers");
    is_back("frozen", &store, 2).await;
}

/// Without asking the server for a login that it cannot give.
fn settings_of(server: &OpenbaoServer, prefix: &str) -> Settings {
    let login = Login::AppRole { role: "role".to_owned(), secret: secret("secret") };
    Settings {
        url: server.url().parse().expect("the fixture's URL is one"),
        mount: server.mount().to_owned(),
        prefix: prefix.to_owned(),
        namespace: None,
        tls: tls(server, false),
        login,
        timeout: TIMEOUT,
        node: Uuid::from_u128(1),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_or_is_revoked_is_replaced() {
    let server = OpenbaoServer::new();
    server.tokens_last("2s");
    let store = fresh(&server).await;
    let began = Instant::now();
    let mut number = 0;
    // Several lives of a token.
    while began.elapsed() < Duration::from_secs(7) {
        number += 1;
        store.keystore.commit(insert(number)).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    }
    server.tokens_last("1h");
    let (_, took) = soon(async || store.keystore.retrieve(id(1)).await).await;
    assert!(took < BACK_WITHIN);
    let _revoked = server.bao(&["lease", "revoke", "-force", "-prefix", "auth/approle/login"]);
    let (_, took) = soon(async || store.keystore.retrieve(id(1)).await).await;
    measured("revoked", "recovery", took, BACK_WITHIN);
    is_back("revoked", &store, number).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_known_by_its_certificate_too() {
    let server = OpenbaoServer::new();
    let prefix = server.prefix();
    let with = |own| Settings { tls: tls(&server, own), login: Login::Certificate, ..settings(&server, &prefix) };
    assert!(why(Openbao::open(with(false)).await).contains("refuses this node: the login"));
    let plain = Openbao::create(with(true)).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    plain.put(&row(1, &[1]), None).await.expect("it answers");
    assert_eq!(plain.get(id(1)).await.expect("it answers"), Some(row(1, &[1])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_meant_is_refused_with_what_to_do() {
    let server = OpenbaoServer::new();
    let store = fresh(&server).await;
    let prefix = &store.prefix;
    let other = Settings { node: Uuid::from_u128(2), ..settings(&server, prefix) };
    assert!(why(Openbao::create(other).await).contains("holds the records of a cluster"));
    assert!(why(Openbao::open(settings(&server, "nowhere")).await).contains("nothing was made in its place"));
    let wrong = Settings { login: Login::AppRole { role: server.role_id(), secret: secret("wrong") }, ..settings(&server, prefix) };
    assert!(why(Openbao::open(wrong).await).contains("refuses this node: the login: invalid"));
    let elsewhere = Settings { namespace: Some("elsewhere".to_owned()), ..settings(&server, prefix) };
    assert!(why(Openbao::open(elsewhere).await).contains("refuses this node"));
    // On the command line it would be a text.
    std::fs::write(server.file("schema.json"), "{\"schema\": 7}").expect("the folder is ours");
    let file = format!("@{}", server.file("schema.json").display());
    let _put = server.bao(&["kv", "put", "-cas=1", &format!("{}/{prefix}/schema", server.mount()), &file]);
    assert!(why(Openbao::open(settings(&server, prefix)).await).contains("has schema 7, this release knows up to 1; upgrade strongroom"));
    let _written = server.bao(&["write", &format!("{}/config", server.mount()), "max_versions=5"]);
    let keeps = why(Openbao::open(settings(&server, prefix)).await);
    assert!(keeps.contains("bao write strongroom/config max_versions=1 cas_required=true"), "{keeps}");
}

/// A node on its own namespace of a server that others use, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_holds_mount_and_login() {
    let server = OpenbaoServer::new();
    let _made = server.bao(&["namespace", "create", "keys"]);
    let within = |arguments: &[&str]| {
        server.bao(&[&arguments[..arguments.len().min(2)], &["-namespace=keys"], &arguments[arguments.len().min(2)..]].concat())
    };
    let _made = within(&["secrets", "enable", "-path=strongroom", "-version=2", "kv"]);
    let _made = within(&["policy", "write", "strongroom", &server.file("policy.hcl").display().to_string()]);
    let _made = within(&["auth", "enable", "approle"]);
    let _made = server.bao(&["write", "-namespace=keys", "auth/approle/role/node", "token_policies=strongroom"]);
    let role = server.bao(&["read", "-namespace=keys", "-field=role_id", "auth/approle/role/node/role-id"]);
    let secret_id = server.bao(&["write", "-namespace=keys", "-f", "-field=secret_id", "auth/approle/role/node/secret-id"]);
    let settings = Settings {
        namespace: Some("keys".to_owned()),
        login: Login::AppRole { role, secret: secret(&secret_id) },
        ..settings(&server, "one")
    };
    let plain = Openbao::create(settings).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    plain.put(&row(1, &[1]), None).await.expect("it answers");
    assert_eq!(plain.find(&query(&[1], None, 9)).await.expect("it answers"), [row(1, &[1])]);
    let listed = server.bao(&["kv", "list", "-namespace=keys", "-format=json", "strongroom/one"]);
    assert!(listed.contains("schema"), "{listed}");
}

/// Whoever may write to the server puts one record in the place of another, or something that is none.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_altered_on_the_server_is_refused_and_hides_nothing_else() {
    let server = OpenbaoServer::new();
    let store = fresh(&server).await;
    let rows: Vec<Row> = (1..=4).map(|number| row(number, &[7])).collect();
    store.keystore.commit(batch(rows.iter().cloned().map(Change::Insert).collect::<Vec<_>>())).await.expect("it answers");
    let list = format!("{}/{}/rows/{:02x}", server.mount(), store.prefix, Layer::L3 as u8);
    let names: Vec<String> = serde_json::from_str(&server.bao(&["kv", "list", "-format=json", &list])).expect("a list");
    let stored = |place: usize| server.bao(&["kv", "get", "-field=row", &format!("{list}/{}", names[place])]);
    let [swapped, ..] = [stored(1)];
    for (place, row) in [(0, swapped.as_str()), (2, "AAAA"), (3, "?")] {
        let _put = server.bao(&["kv", "put", "-cas=1", &format!("{list}/{}", names[place]), &format!("row={row}")]);
    }
    for (number, what) in [(4, "another record lies in its place"), (2, "not a row"), (1, "not base64")] {
        match store.keystore.retrieve(id(number)).await {
            Err(StoreError::Corrupt { what: said, at }) if said.contains(what) && at == id(number).to_string() => {}
            other => panic!("{number} is not refused for `{what}`: {other:?}"),
        }
    }
    for terms in [&[][..], &[7]] {
        assert_eq!(store.keystore.find(&query(terms, None, 9)).await.expect("it answers"), [rows[2].clone()]);
    }
}

/// What the wire between store and server does to a request that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Wire {
    Whole,
    /// What the client sends arrives; no answer does.
    LosesAnswer,
    /// What the client sends does not arrive.
    LosesRequest,
    /// From now on nothing passes, and nobody hears of it.
    HalfOpen,
}

impl Wire {
    const ALL: [Self; 4] = [Self::Whole, Self::LosesAnswer, Self::LosesRequest, Self::HalfOpen];
}

/// A port before the server's; TLS passes through it.
struct Proxy {
    port: u16,
    state: Arc<ProxyState>,
}

#[derive(Default)]
struct ProxyState {
    wire: AtomicU8,
    /// How many pieces from the client still pass before the fault.
    passes: AtomicU32,
    cuts: AtomicU32,
}

impl Proxy {
    async fn before(server: &OpenbaoServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::<ProxyState>::default();
        let (to, accepting) = (server.port(), Arc::clone(&state));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&accepting);
                tokio::spawn(async move { state.pass(client, TcpStream::connect(("127.0.0.1", to)).await?).await });
            }
        });
        Self { port, state }
    }

    fn set(&self, wire: Wire, passes: u32) {
        self.state.passes.store(passes, Ordering::SeqCst);
        self.state.wire.store(wire as u8, Ordering::SeqCst);
    }
}

impl ProxyState {
    fn wire(&self) -> Wire {
        Wire::ALL[usize::from(self.wire.load(Ordering::SeqCst))]
    }

    /// What happens to a piece from the client; a fault happens once, but one that stays.
    fn next(&self) -> Wire {
        let wire = self.wire();
        if wire == Wire::Whole || self.passes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Wire::Whole;
        }
        if wire != Wire::HalfOpen {
            self.wire.store(Wire::Whole as u8, Ordering::SeqCst);
        }
        self.cuts.fetch_add(1, Ordering::SeqCst);
        wire
    }

    async fn pass(&self, mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
        let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            let (count, is_clients) = tokio::select! {
                count = client.read(&mut from_client) => (count?, true),
                count = server.read(&mut from_server) => (count?, false),
            };
            if count == 0 {
                return Ok(());
            }
            if !is_clients {
                client.write_all(&from_server[..count]).await?;
                continue;
            }
            match self.next() {
                Wire::Whole => server.write_all(&from_client[..count]).await?,
                Wire::LosesRequest => return Ok(()),
                Wire::LosesAnswer => {
                    server.write_all(&from_client[..count]).await?;
                    return server.read(&mut from_server).await.map(drop);
                }
                Wire::HalfOpen => {
                    while self.wire() == Wire::HalfOpen {
                        tokio::task::yield_now().await;
                    }
                    return Ok(());
                }
            }
        }
    }
}

/// F8: at whichever request the wire breaks, each commit happens once and as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_requests_or_answers_are_lost_happens_once() {
    const CUTS: u64 = 120;
    let server = OpenbaoServer::new();
    let proxy = Proxy::before(&server).await;
    let (prefix, folder) = (server.prefix(), tempfile::tempdir().expect("a folder"));
    let url = || format!("https://127.0.0.1:{}", proxy.port).parse().expect("a URL");
    let plain =
        Openbao::create(Settings { url: url(), ..settings(&server, &prefix) }).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    let store = journalled(plain, &folder);
    for number in 1..=CUTS {
        let fault = if number % 2 == 0 { Wire::LosesAnswer } else { Wire::LosesRequest };
        proxy.set(fault, u32::try_from(number % 12).expect("it is small"));
        let mut changes = vec![Change::Insert(row(number, &[1, 1000 + number]))];
        if number > 1 {
            changes.push(Change::Delete { id: id(10_000 + number - 1), expected: Generation::FIRST });
        }
        changes.push(Change::Insert(row(10_000 + number, &[2])));
        let settled = Some(OutboxSeq(number.saturating_sub(2)));
        let batch = Batch { changes, outbox: vec![entry(number)], settled };
        let outcome = store.commit(batch.clone()).await;
        proxy.set(Wire::Whole, 0);
        // It is settled before anything is answered, and a change with an unclear end is gone on with.
        let (mut found, _) = soon(async || store.retrieve(id(number)).await).await;
        if let Err(error) = outcome {
            assert!(matches!(error, StoreError::Unavailable { .. }), "{}", told(&error));
            // Cut off before it had begun, it left nothing, so that the same can be done now.
            if found.is_none() {
                store.commit(batch).await.unwrap_or_else(|error| panic!("{number}: {}", told(&error)));
                found = store.retrieve(id(number)).await.expect("the wire is whole");
            }
        }
        assert_eq!(found, Some(row(number, &[1, 1000 + number])), "{number}");
    }
    assert!(u64::from(proxy.state.cuts.load(Ordering::SeqCst)) > CUTS / 2);
    assert_eq!(store.find(&query(&[1], None, 1000)).await.expect("the wire is whole").len() as u64, CUTS);
    assert_eq!(store.find(&query(&[2], None, 1000)).await.expect("the wire is whole"), [row(10_000 + CUTS, &[2])]);
    assert_eq!(store.outbox(OutboxSeq(0), 9).await.expect("the wire is whole"), [entry(CUTS - 1), entry(CUTS)]);

    proxy.set(Wire::HalfOpen, 0);
    let fault = "half-open";
    for error in [fails(fault, store.retrieve(id(1))).await, fails(fault, store.commit(insert(5000))).await] {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{}", told(&error));
    }
    proxy.set(Wire::Whole, 0);
    let (_, took) = soon(async || store.retrieve(id(1)).await).await;
    measured(fault, "recovery", took, BACK_WITHIN);
    drop(folder);
}

/// What a server may do that means harm, or is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// Announces 1 GiB, and sends it.
    Long,
    /// Sends pieces without an end.
    Endless,
    /// Sends a head without an end.
    Head,
    /// Answers after half a minute.
    Slow,
    /// Sends whoever asks elsewhere.
    Redirect,
    /// Answers with what is no answer.
    Garbage,
    /// Answers each read, and each write with what is no answer.
    Acknowledges,
    /// Answers each read, but after half a second.
    Unhurried,
    /// Answers with what is no answer on its first connection, as long as that is used; well on others.
    Stays,
}

/// How long [`Lie::Unhurried`] takes.
const UNHURRIED: Duration = Duration::from_millis(500);
/// There is no such row.
const NOTHING: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

const LIES: [Lie; 6] = [Lie::Long, Lie::Endless, Lie::Head, Lie::Slow, Lie::Redirect, Lie::Garbage];

/// A server that lets anybody log in and open a keystore, and lies about every row.
async fn liar(like: &OpenbaoServer, lie: Lie) -> u16 {
    let chain = vec![CertificateDer::from_pem_file(like.file("server.pem")).expect("the fixture's")];
    let key = PrivateKeyDer::from_pem_file(like.file("server.key")).expect("the fixture's");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("they are known");
    let config = config.with_no_client_auth().with_single_cert(chain, key).expect("they belong together");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        let mut is_first = true;
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, first) = (acceptor.clone(), std::mem::take(&mut is_first));
            tokio::spawn(async move { serve(acceptor.accept(socket).await?, lie, first).await });
        }
    });
    port
}

async fn serve(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, lie: Lie, is_first: bool) -> io::Result<()> {
    let mut asked = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            return Ok(());
        }
        asked.extend_from_slice(&piece[..count]);
        // A login's body may come in a piece of its own.
        let text = String::from_utf8_lossy(&asked).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let announced = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.trim().parse().ok());
        if body.len() < announced.unwrap_or(0) {
            continue;
        }
        asked.clear();
        let honest = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = match head.split(' ').nth(1).unwrap_or_default() {
            "/v1/auth/approle/login" => honest(r#"{"auth": {"client_token": "t", "lease_duration": 3600}}"#),
            path if path.ends_with("/config") => honest(r#"{"data": {"max_versions": 1, "cas_required": true}}"#),
            path if path.ends_with("/schema") => honest(r#"{"data": {"data": {"schema": 1}, "metadata": {"version": 1}}}"#),
            _ => match lie {
                Lie::Acknowledges if head.starts_with("POST") => honest("[]"),
                Lie::Stays if is_first => honest("[]"),
                Lie::Acknowledges | Lie::Stays => NOTHING.to_owned(),
                Lie::Unhurried => {
                    tokio::time::sleep(UNHURRIED).await;
                    NOTHING.to_owned()
                }
                _ => return tell(stream, lie).await,
            },
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

async fn tell(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, lie: Lie) -> io::Result<()> {
    let zeroes = vec![b'0'; 1 << 16];
    let (head, piece): (&[u8], Vec<u8>) = match lie {
        Lie::Long => (b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", zeroes),
        Lie::Endless => (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", [b"10000\r\n", &zeroes[..], b"\r\n"].concat()),
        Lie::Head => (b"HTTP/1.1 200 OK\r\nX: ", zeroes),
        Lie::Slow => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
        }
        Lie::Redirect => {
            let elsewhere = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
            return stream.write_all(elsewhere).await;
        }
        Lie::Acknowledges | Lie::Unhurried | Lie::Stays => return Ok(()),
        Lie::Garbage => return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]").await,
    };
    stream.write_all(head).await?;
    loop {
        stream.write_all(&piece).await?;
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is there");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

/// F7: whatever it answers, a caller hears of it in time, and the node's memory does not grow with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lies_costs_neither_memory_nor_time() {
    const GROWTH_MIB_MAX: u64 = 64;
    let like = OpenbaoServer::new();
    for lie in LIES {
        let url = format!("https://127.0.0.1:{}", liar(&like, lie).await).parse().expect("a URL");
        let plain = Openbao::open(Settings { url, ..settings_of(&like, "keys") }).await.unwrap_or_else(|error| panic!("{}", told(&error)));
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(journalled(plain, &folder));
        let before = resident_mib();
        let began = Instant::now();
        let reads: Vec<_> = (0..32)
            .map(|number| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.retrieve(id(number)).await })
            })
            .collect();
        let searched = store.find(&query(&[1], None, 9)).await;
        let changed = store.commit(insert(1)).await;
        for read in reads {
            let read = read.await.expect("it does not panic");
            let is_told = matches!(read, Err(StoreError::Unavailable { .. } | StoreError::Corrupt { .. }));
            assert!(is_told, "{lie:?}: {read:?}");
        }
        assert!(searched.is_err() && changed.is_err(), "{lie:?}: {searched:?} {changed:?}");
        measured(&format!("{lie:?}"), "34 errors", began.elapsed(), ERROR_WITHIN);
        let grown = resident_mib() - before;
        assert!(grown <= GROWTH_MIB_MAX, "{lie:?}: grown by {grown} MiB");
    }
}

/// A connection on which somebody else answers, as a proxy that has lost its way, was kept, and asked on again for as long as it answered anything.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_with_what_is_no_answer_is_not_asked_again() {
    let like = OpenbaoServer::new();
    for is_search in [false, true] {
        let url = format!("https://127.0.0.1:{}", liar(&like, Lie::Stays).await).parse().expect("a URL");
        let plain = Openbao::open(Settings { url, ..settings_of(&like, "keys") }).await.unwrap_or_else(|error| panic!("{}", told(&error)));
        let folder = tempfile::tempdir().expect("a folder");
        let store = journalled(plain, &folder);
        let ask = async || match is_search {
            true => store.find(&query(&[1], None, 9)).await.map(|rows| rows.len()),
            false => store.retrieve(id(1)).await.map(|row| usize::from(row.is_some())),
        };
        assert!(ask().await.is_err(), "that is no answer");
        assert_eq!(ask().await.unwrap_or_else(|error| panic!("{}", told(&error))), 0);
    }
}

/// A node that had made a place and ended before it could note that was refused there for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_the_node_has_made_and_left_empty_is_gone_on_with() {
    let server = OpenbaoServer::new();
    let prefix = server.prefix();
    drop(Openbao::create(settings(&server, &prefix)).await.unwrap_or_else(|error| panic!("{}", told(&error))));
    let other = Settings { node: Uuid::from_u128(2), ..settings(&server, &prefix) };
    assert!(why(Openbao::create(other).await).contains("holds the records of a cluster"));
    let plain = Openbao::create(settings(&server, &prefix)).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    plain.put(&row(1, &[1]), None).await.expect("it answers");
    assert!(why(Openbao::create(settings(&server, &prefix)).await).contains("holds the records of a cluster"));
}

/// What was no answer to a write was taken for one, so that a key was acknowledged that was nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_not_answered_as_one_is_no_commit() {
    let like = OpenbaoServer::new();
    let url = format!("https://127.0.0.1:{}", liar(&like, Lie::Acknowledges).await).parse().expect("a URL");
    let plain = Openbao::open(Settings { url, ..settings_of(&like, "keys") }).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    let folder = tempfile::tempdir().expect("a folder");
    let store = journalled(plain, &folder);
    assert_eq!(store.retrieve(id(1)).await.expect("there is none"), None);
    let refused = store.commit(insert(1)).await.expect_err("nothing says that it was written");
    assert!(told(&refused).contains("an answer to a write that is none"), "{}", told(&refused));
}

/// Rows that wait for others of the same node, as while many are moved, were taken for a server that does not answer; all calls were refused then.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_the_nodes_own_is_no_silence_of_the_server() {
    // Four times as many as are asked for at once: the last of them wait for three others.
    const CALLS: u64 = 64;
    let like = OpenbaoServer::new();
    let url = format!("https://127.0.0.1:{}", liar(&like, Lie::Unhurried).await).parse().expect("a URL");
    let plain = Openbao::open(Settings { url, ..settings_of(&like, "keys") }).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(journalled(plain, &folder));
    let reads: Vec<_> = (0..CALLS)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.retrieve(id(number)).await })
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.expect("it does not panic").unwrap_or_else(|error| panic!("{}", told(&error))), None);
    }
}
