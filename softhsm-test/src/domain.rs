//! A core's domain over the real store and log, in this process: no device, no socket.

use std::path::Path;
use std::sync::Arc;

use audit::{Log, LogId};
use daemon::system::{SystemClock, SystemEntropy, SystemPace};
use keys::cluster;
use keys::entropy::Randomness;
use keys::hierarchy::MasterKey;
use keys::id::{ClusterId, OutboxSeq, SessionId, Time};
use keys::port::{AuditSink, Clock};
use keys::record::{Origin, SessionRecord};
use keys::row::Row;
use keys::vault::{Parts, Vault};
use storage::embedded::Embedded;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The session that the log of a [`domain`] knows.
pub const SESSION: SessionId = SessionId(1);

/// Founds a cluster in `dir`, under a MasterKey that the caller has made; the task is its writer.
///
/// # Panics
/// If the folder is not empty or not ours, or there is no runtime.
#[must_use]
pub fn domain(dir: &Path, master: &MasterKey) -> (Arc<Vault>, JoinHandle<()>) {
    let (vault, writer, _unstored) = made(dir, master);
    (vault, writer)
}

/// As [`domain`], with its root records in the store, for what changes them.
///
/// # Panics
/// As [`domain`].
pub async fn founded(dir: &Path, master: &MasterKey) -> (Arc<Vault>, JoinHandle<()>) {
    let (vault, writer, rows) = made(dir, master);
    let mut unit = vault.begin(SESSION);
    vault.stage_genesis(&mut unit, rows);
    let _receipt = unit.commit().await.expect("a new store takes it");
    (vault, writer)
}

fn made(dir: &Path, master: &MasterKey) -> (Arc<Vault>, JoinHandle<()>, Vec<Row>) {
    let randomness = Randomness::new(Arc::new(SystemEntropy));
    let cluster = ClusterId::new(Uuid::from_bytes([3; 16]));
    let genesis = cluster::found(cluster, master, &randomness, SystemClock.now(), [0; 32]).expect("the arena has room");
    std::fs::create_dir(dir.join("audit")).expect("the folder is ours");
    let (log, _fresh) = Log::open(&dir.join("audit"), audit::Settings::default(), LogId([4; 16])).expect("a new log");
    log.set_key(genesis.audit_seed).expect("a new log takes any key");
    let session = SessionRecord {
        time: SystemClock.now(),
        session: SESSION,
        origin: Origin::System,
        role: None,
        tenant: String::new(),
        service: String::new(),
        certificate: [0; 32],
        peer: String::new(),
    };
    log.session(&session).expect("the log is well");
    let (vault, writer) = Vault::core(Parts {
        registry: genesis.registry,
        store: Arc::new(Embedded::open(&dir.join("store.redb")).expect("a new store")),
        audit: Arc::new(log),
        clock: Arc::new(SystemClock),
        pace: Arc::new(SystemPace),
        entropy: Arc::new(SystemEntropy),
        system: SESSION,
        next_outbox: OutboxSeq(1),
        not_before: Time::default(),
    })
    .expect("the arena has room");
    (vault, tokio::spawn(writer.run()), genesis.rows)
}
