//! What lies on the disk of a core: no key byte, no Name, no attribute value beyond the visible header.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use audit::{Log, LogId};
use daemon::system::{SystemClock, SystemEntropy};
use keys::attributes::{Attributes, Group, Name, Other};
use keys::cluster;
use keys::entropy::Randomness;
use keys::hierarchy::MasterKey;
use keys::id::{ClusterId, OutboxSeq, ScopeName, SessionId, Time};
use keys::policy::verb::Decrypt;
use keys::policy::{NodeRole, Principal, Role};
use keys::port::{AuditSink, Clock};
use keys::record::{Origin, SessionRecord};
use keys::tenancy::NewServiceKey;
use keys::vault::{Parts, Vault};
use storage::embedded::Embedded;
use uuid::Uuid;

const SESSION: SessionId = SessionId(1);

fn contains(file: &Path, needle: &[u8]) -> bool {
    std::fs::read(file).expect("the file reads").windows(needle.len()).any(|window| window == needle)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn scope(name: &str) -> ScopeName {
    name.parse().expect("a name")
}

/// A core's domain over the real store and log, without a device: the MasterKey comes from the caller.
fn core(dir: &Path, master: &MasterKey) -> (Arc<Vault>, tokio::task::JoinHandle<()>) {
    let randomness = Randomness::new(Arc::new(SystemEntropy));
    let cluster = ClusterId::new(Uuid::from_bytes([3; 16]));
    let genesis = cluster::found(cluster, master, &randomness, SystemClock.now(), [0; 32]).expect("the arena has room");
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
        node: NodeRole::Core,
        registry: genesis.registry,
        store: Arc::new(Embedded::open(&dir.join("store.redb")).expect("a new store")),
        audit: Arc::new(log),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        system: SESSION,
        next_outbox: OutboxSeq(1),
        not_before: Time::default(),
    })
    .expect("the arena has room");
    (vault, tokio::spawn(writer.run()))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_byte_name_or_attribute_value_is_in_any_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(dir.path().join("audit")).expect("the folder is ours");
    let master = MasterKey::generate(&Randomness::new(Arc::new(SystemEntropy))).expect("the arena has room");
    let (vault, writing) = core(dir.path(), &master);

    let mut unit = vault.begin(SESSION);
    vault.create_tenant(&mut unit, &scope("tenant-in-the-clear")).await.expect("the name is free");
    let _receipt = unit.commit().await.expect("the store is well");
    let mut unit = vault.begin(SESSION);
    vault.create_service(&mut unit, &scope("tenant-in-the-clear"), &scope("service-in-the-clear")).await.expect("the name is free");
    let _receipt = unit.commit().await.expect("the store is well");
    let principal = Principal {
        role: Role::Service,
        tenant: Some(scope("tenant-in-the-clear")),
        service: Some(scope("service-in-the-clear")),
        certificate: [0; 32],
    };
    let grants = vault.grants(&principal).await.expect("the store is well");
    let attributes = Attributes {
        names: vec![Name { value: "name-in-the-clear".to_owned(), kind: 1, index: 0 }],
        usage_mask: 0x0C,
        dates: keys::lifecycle::Dates { activation: Some(Time::from_seconds(1)), ..keys::lifecycle::Dates::default() },
        object_groups: vec![Group { value: "group-in-the-clear".to_owned(), index: 0 }],
        others: vec![Other { name: "x-custom".to_owned(), index: 0, value: b"value-in-the-clear".to_vec() }],
        ..Attributes::default()
    };
    let mut unit = vault.begin(SESSION);
    let new = NewServiceKey { service: grants.service().expect("it exists"), bits: 256, attributes };
    let header = vault.create_service_key(&mut unit, new).await.expect("the name is free");
    let _receipt = unit.commit().await.expect("the store is well");

    let unit = vault.begin(SESSION);
    let header = vault.header(&unit, &grants, header.id).await.expect("it is stored");
    let authorized = grants.check::<Decrypt>(&header).expect("its own");
    let key = vault.open(&unit, authorized, |key, _| Ok(key.to_vec())).await.expect("it opens");
    let digest = cipher::mac::sha256(&[&key]);
    let _receipt = unit.commit().await.expect("the log is well");
    drop(vault);
    writing.await.expect("the writer ends in good order");

    let secrets: [(&str, &[u8]); 10] = [
        ("key", &key),
        ("half a key", &key[..16]),
        ("MasterKey", &master.expose(|bytes| *bytes)),
        ("Digest", &digest),
        ("Name", b"name-in-the-clear"),
        ("Object Group", b"group-in-the-clear"),
        ("custom attribute's name", b"x-custom"),
        ("custom attribute's value", b"value-in-the-clear"),
        ("tenant's name", b"tenant-in-the-clear"),
        ("service's name", b"service-in-the-clear"),
    ];
    let files = files_below(dir.path());
    assert!(files.len() >= 2, "store and log: {files:?}");
    for (what, secret) in secrets {
        for file in &files {
            assert!(!contains(file, secret), "{what} is in {}", file.display());
        }
        // The search itself works: what is planted is found.
        let planted = dir.path().join("planted");
        std::fs::write(&planted, [b"before", secret, b"after"].concat()).expect("the folder is ours");
        assert!(contains(&planted, secret), "{what} is not found where it was planted");
    }
    // The search does see the store's rows: the visible header has the key's own id in it.
    assert!(files.iter().any(|file| contains(file, header.id.uuid.as_bytes())), "the row is not where this test looks");
}
