//! The re-key of the MasterKey on a whole node: slots of the generation in force open it at every step, and nothing below the roots changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use audit::{Log, LogId};
use daemon::config::Config;
use daemon::layout::{Identity, Layout};
use daemon::node::{Authority, Custody, Node, NodeParts, RekeyError, RekeyReport, RekeyStep, SlotError, Typed};
use daemon::sandbox::Confinement;
use daemon::sessions::Sessions;
use daemon::system::{SystemClock, SystemEntropy, SystemPace};
use hsm::{Device, DeviceProcess, KeyName, ProcessSettings, TokenName, Tpm};
use keys::cluster;
use keys::entropy::Randomness;
use keys::hierarchy::MasterKey;
use keys::id::{ClusterId, OutboxSeq, RowId, ScopeName, SessionId, Time};
use keys::policy::verb::Decrypt;
use keys::policy::{Principal, Role};
use keys::port::{AuditSink, Batch, Clock, Keystore, OutboxEntry, Query, StoreError};
use keys::record::{Origin, SessionRecord};
use keys::row::Row;
use keys::vault::{Parts, Vault};
use seal::{
    Approval, Ceremony, Consent, CustodianKey, CustodianSettings, Expected, Label, Means, NewSlot, PinSource, Pkcs11Settings, PlainShard,
    Platform, Question, Recipient, ReleaseSigner, Roster, Seal, SealSettings, ShamirSettings, Slot, SlotId, State, Tpm2Settings, Vote,
};
use softhsm_test::{LABEL, MODULE, PIN, People, SoftHsm, Swtpm, binary, wait_for};
use storage::embedded::Embedded;
use tempfile::TempDir;
use uuid::Uuid;

/// Not secret: of the tests of `seal`.
const RELEASE_KEY: &[u8] = include_bytes!("../../seal/tests/golden/release-key.der");
const NAMES: [&str; 3] = ["anna", "ben", "clara"];
const FIRST: CustodianKey = CustodianKey([1; 32]);
const SECOND: CustodianKey = CustodianKey([2; 32]);
const LOG: LogId = LogId([4; 16]);

/// A cluster with a tenant on a node's files, and its devices.
struct Bench {
    hsm: SoftHsm,
    tpm: Option<Swtpm>,
    people: Option<People>,
    dir: TempDir,
    /// Its token's PIN is typed by a person.
    is_typed: bool,
}

/// A keystore that fails one call, whichever it is.
struct Failing {
    inner: Arc<Embedded>,
    /// So many calls succeed before that; below zero afterwards.
    left: AtomicI64,
}

impl Failing {
    fn call(&self) -> Result<(), StoreError> {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(StoreError::Unavailable { what: "told to", source: "a test".into() }),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Keystore for Failing {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.call()?;
        self.inner.retrieve(id).await
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.call()?;
        self.inner.find(query).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.call()?;
        self.inner.commit(batch).await
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.inner.outbox(after, limit).await
    }
}

fn label(text: &str) -> Label {
    text.parse().expect("a label")
}

fn scope(text: &str) -> ScopeName {
    text.parse().expect("a name")
}

fn cluster_id() -> ClusterId {
    ClusterId::new(Uuid::from_bytes([3; 16]))
}

fn expected(generation: u32) -> Expected {
    Expected { cluster: Some(cluster_id()), generation: Some(generation) }
}

fn randomness() -> Randomness {
    Randomness::new(Arc::new(SystemEntropy))
}

impl Bench {
    /// With a slot of each of these custodians, labelled as they are called: `hsm`, `spare`, `tpm`, `board`.
    async fn founded(custodians: &[&str]) -> Self {
        Self::founded_by(custodians, Roster::empty()).await
    }

    async fn founded_by(custodians: &[&str], roster: Roster) -> Self {
        let hsm = SoftHsm::new();
        hsm.add_token("spare");
        let tpm = custodians.contains(&"tpm").then(Swtpm::new);
        let people = custodians.contains(&"board").then(|| People::new(&NAMES));
        let this = Self { hsm, tpm, people, dir: tempfile::tempdir().expect("a temporary folder"), is_typed: false };
        Layout::new(this.dir.path()).prepare().expect("the folder is ours");
        let (seal, master) = (this.seal(), MasterKey::generate(&randomness()).expect("the arena has room"));
        let genesis = cluster::found(cluster_id(), &master, &randomness(), SystemClock.now(), roster.hash()).expect("room");
        for custodian in custodians {
            let approval = (*custodian == "tpm").then(|| this.approval(1));
            let new = NewSlot {
                custodian: label(custodian),
                label: label(custodian),
                cluster: cluster_id(),
                generation: 1,
                roster: roster.clone(),
                approval,
                created: SystemClock.now(),
            };
            let consent = Consent { make_key: true, ..Consent::default() };
            let slot = seal.add(new, (&master, genesis.registry.integrity()), &randomness(), consent).expect("the devices are well");
            if *custodian == "board" {
                seal.admit(slot.header.id, &this.shards(&seal, &slot), genesis.registry.integrity()).expect("all are there");
            }
        }
        this.store_roots(genesis).await;
        this
    }

    async fn store_roots(&self, genesis: cluster::Genesis) {
        let (log, _fresh) = Log::open(&Layout::new(self.dir.path()).audit(), audit::Settings::default(), LOG).expect("a new log");
        log.set_key(genesis.audit_seed).expect("a new log takes any key");
        let session = SessionId(1);
        let told = SessionRecord {
            time: SystemClock.now(),
            session,
            origin: Origin::System,
            role: None,
            tenant: String::new(),
            service: String::new(),
            certificate: [0; 32],
            peer: String::new(),
        };
        log.session(&told).expect("the log is well");
        let (vault, writer) = Vault::core(Parts {
            registry: genesis.registry,
            store: Arc::new(self.embedded()),
            audit: Arc::new(log),
            clock: Arc::new(SystemClock),
            pace: Arc::new(SystemPace),
            entropy: Arc::new(SystemEntropy),
            system: session,
            next_outbox: OutboxSeq(1),
            not_before: Time::default(),
        })
        .expect("the arena has room");
        let writing = tokio::spawn(writer.run());
        let mut unit = vault.begin(session);
        vault.stage_genesis(&mut unit, genesis.rows);
        let _receipt = unit.commit().await.expect("the store is well");
        for step in 0..2 {
            let mut unit = vault.begin(session);
            match step {
                0 => vault.create_tenant(&mut unit, &scope("acme")).await.map(drop).expect("the name is free"),
                _ => vault.create_service(&mut unit, &scope("acme"), &scope("billing")).await.map(drop).expect("the name is free"),
            }
            let _receipt = unit.commit().await.expect("the store is well");
        }
        drop(vault);
        writing.await.expect("the writer ends");
    }

    fn embedded(&self) -> Embedded {
        let path = Layout::new(self.dir.path()).store();
        let mut opened = None;
        // The last user of the one before may be about to close it.
        let is_open = wait_for(|| {
            opened = Embedded::open(&path).ok();
            opened.is_some()
        });
        assert!(is_open, "the keystore stays closed");
        opened.expect("it is open")
    }

    fn seal(&self) -> Seal {
        self.seal_in(Layout::new(self.dir.path()).slots())
    }

    /// The same custodians, with the slots of another folder.
    fn seal_in(&self, slots_dir: PathBuf) -> Seal {
        let token = |name: &str, token: &str| {
            let pin = if self.is_typed { PinSource::Typed } else { PinSource::Credential(self.hsm.pin_file()) };
            let key = KeyName { label: "seal".to_owned(), id: None };
            let settings = Pkcs11Settings { module: MODULE.into(), token: TokenName::Label(token.to_owned()), key, pin };
            CustodianSettings { name: label(name), region: None, means: Means::Pkcs11(settings) }
        };
        let mut custodians = vec![token("hsm", LABEL), token("spare", "spare")];
        if let Some(tpm) = &self.tpm {
            let settings = Tpm2Settings { tpm: Tpm { tcti: tpm.tcti() }, pcrs: vec![7], pin: None };
            custodians.push(CustodianSettings { name: label("tpm"), region: None, means: Means::Tpm2(settings) });
        }
        if let Some(people) = &self.people {
            for name in NAMES {
                let means = Means::Person(Recipient::Age(people.recipient(name).parse().expect("a recipient")));
                custodians.push(CustodianSettings { name: label(name), region: None, means });
            }
            let means = Means::Shamir(ShamirSettings { threshold: 2, keepers: NAMES.map(label).into() });
            custodians.push(CustodianSettings { name: label("board"), region: None, means });
        }
        let device: Arc<dyn Device> = Arc::new(DeviceProcess::new(ProcessSettings {
            program: binary("strongroom-device", "hsm-helper"),
            latch_dir: self.hsm.latch_dir(),
            environment: self.hsm.environment(),
            deadline: Duration::from_secs(60),
        }));
        Seal::new(SealSettings { slots_dir, custodians }, &device).expect("sound settings")
    }

    /// The present state of the TPM, approved for a slot.
    fn approval(&self, slot: u8) -> Approval {
        let signer = ReleaseSigner::from_pkcs8(RELEASE_KEY).expect("a key on P-256");
        let Platform { pcrs, digest } = self.seal().platform(&label("tpm"), None).expect("the TPM answers");
        let state = State { slot: SlotId::from_bytes([slot; 16]), policy_gen: 1, pcrs, digest };
        Approval::sign(&signer, state, SystemClock.now(), label("state")).expect("it signs")
    }

    /// What everybody reads who opens the age file that a slot has for them.
    fn shards(&self, seal: &Seal, slot: &Slot) -> Vec<Arc<PlainShard>> {
        let people = self.people.as_ref().expect("there are people");
        let (_, keepers) = seal.keepers(&slot.header.id.to_string()).expect("readable").expect("it is split");
        let shard = |kept: &seal::Keeping| PlainShard::parse(&people.decrypted(kept.keeper.as_str(), &kept.protected)).expect("whole");
        keepers.shards.iter().map(shard).map(Arc::new).collect()
    }

    /// A node that has just started.
    async fn sealed(&self) -> Arc<Node> {
        let embedded = Arc::new(self.embedded());
        self.sealed_on(Arc::<Embedded>::clone(&embedded), embedded).await
    }

    async fn sealed_on(&self, store: Arc<dyn Keystore>, embedded: Arc<Embedded>) -> Arc<Node> {
        let layout = Layout::new(self.dir.path());
        let (file, module) = (self.dir.path().join("config.yaml"), MODULE);
        let text = format!(
            "role: core\ndata_dir: {:?}\nlisteners:\n  health: {{bind: none}}\n\
             seal:\n  custodians:\n    - name: hsm\n      pkcs11: {{module: {module:?}, token: {LABEL}, key: seal}}\n",
            self.dir.path().display()
        );
        fs::write(&file, text).expect("the folder is ours");
        let (log, report) = Log::open(&layout.audit(), audit::Settings::default(), LOG).expect("the log is whole");
        let node = Arc::new(Node::new(NodeParts {
            config: Config::load(&file, []).expect("a configuration"),
            identity: Identity { cluster: cluster_id(), log: LOG, edge: None },
            memory: secret::Report { backing: secret::Backing::Mlock, arena_bytes: 0 },
            confinement: Confinement::Absent,
            store,
            embedded: Some(embedded),
            keystores: None,
            audit: Arc::new(log),
            custody: Custody::Slots(Arc::new(self.seal())),
            sessions: Sessions::after(report.last_session),
            last_outbox: report.outbox_last,
            last_time: report.last_time,
            socket: layout.socket(),
        }));
        node.reconcile().await.expect("log and store are well");
        node.record_start().expect("the log is well");
        node
    }

    /// A node that has just opened by itself.
    async fn open(&self) -> Arc<Node> {
        let node = self.sealed().await;
        node.unseal(node.system, None).await.expect("a slot opens");
        node
    }

    fn slots(&self) -> Vec<(String, u32)> {
        let listing = self.seal().list().expect("readable");
        assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
        listing.slots.iter().map(|slot| (slot.header.label.to_string(), slot.header.generation)).collect()
    }

    /// Every slot of the generation opens.
    fn must_all_open(&self, generation: u32) {
        let probed = self.seal().probe(expected(generation)).expect("readable");
        assert!(!probed.is_empty() && probed.iter().all(|attempt| attempt.failure.is_none()), "{probed:?}");
    }
}

async fn close(node: Arc<Node>) {
    node.seal(node.system).await.expect("the log is well");
}

async fn prepare(node: &Arc<Node>, approvals: BTreeMap<Label, Approval>) -> Result<RekeyReport, RekeyError> {
    node.rekey_master(node.system, Authority::Operator, RekeyStep::Prepare { approvals, roster: None }).await
}

/// By the word of the custodian of before, or an operator's, who have another take their place.
async fn prepare_for(node: &Arc<Node>, by: Option<CustodianKey>, next: CustodianKey) -> Result<RekeyReport, RekeyError> {
    let step = RekeyStep::Prepare { approvals: BTreeMap::new(), roster: Some(alone(next)) };
    node.rekey_master(node.system, by.map_or(Authority::Operator, approved), step).await
}

/// That custodian's approval, who decides alone.
fn approved(by: CustodianKey) -> Authority {
    let question = Question { cluster: cluster_id(), id: Uuid::from_bytes([9; 16]), operation: "rekey".to_owned(), digest: [0; 32] };
    let mut ceremony = Ceremony::new(question, alone(by)).expect("it has a custodian");
    ceremony.vote(Vote::Approve, by).expect("on the roster");
    Authority::Custodians(ceremony.approval().expect("one is enough"))
}

fn alone(key: CustodianKey) -> Roster {
    Roster::new(1, vec![key]).expect("it is sound")
}

async fn switch(node: &Arc<Node>) -> Result<RekeyReport, RekeyError> {
    node.rekey_master(node.system, Authority::Operator, RekeyStep::Switch).await
}

async fn abandon(node: &Arc<Node>) -> Result<RekeyReport, RekeyError> {
    node.rekey_master(node.system, Authority::Operator, RekeyStep::Abandon).await
}

fn pairs(of: &[(&str, u32)]) -> Vec<(String, u32)> {
    of.iter().map(|(label, generation)| ((*label).to_owned(), *generation)).collect()
}

/// The bytes of the service's default key; that a sweep finds nothing, and that nothing is said of the table of slots.
async fn served(node: &Node) -> (RowId, Vec<u8>) {
    let vault = Arc::clone(&node.open().expect("the node is open").vault);
    let principal = Principal { role: Role::Service, tenant: Some(scope("acme")), service: Some(scope("billing")), certificate: [0; 32] };
    let grants = vault.grants(&principal).await.expect("the store is well");
    let id = vault.service(grants.service().expect("it exists")).await.expect("it is stored").default_key;
    let unit = vault.begin(node.system);
    let header = vault.header(&unit, &grants, id).await.expect("it is its own");
    let authorized = grants.check::<Decrypt>(&header).expect("a service decrypts");
    let key = vault.open(&unit, authorized, |key, _| Ok::<_, keys::Error>(key.to_vec())).await.expect("it opens");
    let mut cursor = None;
    loop {
        let swept = vault.sweep(cursor, 4096).await.expect("the store is well");
        assert_eq!(swept.findings, []);
        cursor = swept.next;
        if cursor.is_none() {
            break;
        }
    }
    let said = warnings(node);
    assert!(!said.contains("outside strongroom"), "{said}");
    (id, key)
}

/// What the node warns of, a line each.
fn warnings(node: &Node) -> String {
    node.warnings().into_iter().map(|(_, warning)| warning + "\n").collect()
}

/// The hash of the roster that the keystore names and the slots in force carry.
async fn roster_hash(bench: &Bench, node: &Node) -> [u8; 32] {
    let generation = generation(node).await;
    let opened = bench.seal().unseal(Expected { cluster: Some(cluster_id()), generation }, None).expect("it opens");
    let roots = cluster::load(&node.store, cluster_id(), &opened.master).await.expect("it is the MasterKey in force");
    assert_eq!(opened.slot.roster.hash(), roots.cluster.roster_hash, "generation {generation:?}");
    roots.cluster.roster_hash
}

async fn generation(node: &Node) -> Option<u32> {
    cluster::master_generation(&node.store).await.expect("the store is well")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_rekey_survives_a_restart_and_leaves_the_new_slots_alone() {
    let bench = Bench::founded(&["hsm", "spare"]).await;
    let node = bench.open().await;
    let before = served(&node).await;
    assert!(matches!(switch(&node).await, Err(RekeyError::NotPrepared)));
    assert_eq!(abandon(&node).await.expect("there is nothing to do").removed, []);
    let old = bench.seal().unseal(expected(1), None).expect("it opens").master;

    let report = prepare(&node, BTreeMap::new()).await.expect("the devices are well");
    assert_eq!((report.generation, report.made.len(), report.waiting.len(), report.roots), (1, 2, 0, None));
    let both = pairs(&[("hsm", 1), ("spare", 1), ("hsm", 2), ("spare", 2)]);
    assert_eq!(bench.slots(), both);
    assert_eq!(generation(&node).await, Some(1));
    let said = warnings(&node);
    assert!(said.contains("a re-key of the MasterKey is prepared (2 new slots)"), "{said}");
    assert!(!said.contains("independent slots") && !said.contains("does not open"), "{said}");
    assert_eq!(served(&node).await, before);
    close(node).await;

    // The keystore says that the old one is in force, so it opens by the old ones and keeps the new ones.
    let node = bench.open().await;
    assert_eq!((served(&node).await, bench.slots()), (before.clone(), both));
    let report = switch(&node).await.expect("every slot is there");
    let roots = report.roots.expect("a switch wraps the roots");
    assert_eq!((roots.integrity_keys, roots.ivks, roots.audit_keys, roots.cluster.master_generation), (1, 1, 1, 2));
    assert_eq!((report.generation, report.made.len(), report.removed.len(), report.left), (2, 2, 2, None));
    assert_eq!((bench.slots(), generation(&node).await), (pairs(&[("hsm", 2), ("spare", 2)]), Some(2)));
    bench.must_all_open(2);
    assert!(!warnings(&node).contains("re-key"), "{}", warnings(&node));
    assert!(cluster::load(&node.store, cluster_id(), &old).await.is_err(), "the old MasterKey opens the roots");
    assert_eq!(served(&node).await, before);
    close(node).await;

    // The key that signs the log is the one of before: what it has signed verifies, and what it signs now.
    let [signer] = roots.cluster.audit_keys[..] else { panic!("one node") };
    let report = audit::verify(&Layout::new(bench.dir.path()).audit(), Some(signer)).expect("the log is whole");
    assert!(report.signatures > 1 && report.unsigned == 0 && report.torn_bytes == 0, "{report:?}");

    // Either device alone opens it.
    bench.hsm.delete_token("spare");
    let node = bench.open().await;
    assert_eq!(served(&node).await, before);
    assert!(matches!(prepare(&node, BTreeMap::new()).await, Err(RekeyError::NotMade { label: of, .. }) if of == label("spare")));
    assert_eq!(bench.slots(), pairs(&[("hsm", 2), ("spare", 2)]), "what was made of it is gone");
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_switch_is_mended_by_the_next_unseal() {
    let bench = Bench::founded(&["hsm", "spare"]).await;
    let node = bench.open().await;
    let before = served(&node).await;
    prepare(&node, BTreeMap::new()).await.expect("the devices are well");
    // Up to the commit, and no further.
    let [old, new] = [1, 2].map(|generation| bench.seal().unseal(expected(generation), None).expect("it opens").master);
    let vault = Arc::clone(&node.open().expect("it is open").vault);
    let mut unit = vault.begin(node.system);
    vault.rekey_master(&mut unit, (&old, &new), Roster::empty().hash()).await.expect("the store is well");
    let _receipt = unit.commit().await.expect("the store is well");
    drop(vault);
    close(node).await;
    assert_eq!(bench.slots().len(), 4);

    let node = bench.open().await;
    assert_eq!(bench.slots(), pairs(&[("hsm", 2), ("spare", 2)]));
    bench.must_all_open(2);
    assert_eq!(served(&node).await, before);
    assert!(!warnings(&node).contains("MasterKey that was replaced"), "{}", warnings(&node));
    // And once more, from there.
    prepare(&node, BTreeMap::new()).await.expect("the devices are well");
    assert_eq!(switch(&node).await.expect("every slot is there").generation, 3);
    assert_eq!((served(&node).await, bench.slots()), (before, pairs(&[("hsm", 3), ("spare", 3)])));
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_is_abandoned_or_prepared_anew_when_the_slots_have_changed() {
    let bench = Bench::founded(&["hsm", "spare"]).await;
    let node = bench.open().await;
    let before = served(&node).await;
    let first = prepare(&node, BTreeMap::new()).await.expect("the devices are well");
    let abandoned = abandon(&node).await.expect("the old ones open");
    assert_eq!((abandoned.generation, abandoned.removed), (1, first.made));
    assert_eq!(bench.slots(), pairs(&[("hsm", 1), ("spare", 1)]));
    assert!(matches!(switch(&node).await, Err(RekeyError::NotPrepared)));

    // As a crash in the middle of the preparation leaves it.
    let second = prepare(&node, BTreeMap::new()).await.expect("the devices are well");
    let opened = bench.seal().unseal(expected(1), None).expect("it opens").master;
    let vault = Arc::clone(&node.open().expect("it is open").vault);
    let keys = (&opened, vault.registry().integrity());
    let removed = bench.seal().remove(&second.made[1].to_string(), expected(1), keys, None).expect("the old ones open");
    assert!(matches!(switch(&node).await, Err(RekeyError::SlotsChanged { labels }) if labels == [label("spare")]));
    let third = prepare(&node, BTreeMap::new()).await.expect("the devices are well");
    assert_eq!((third.removed, removed.id), (vec![second.made[0]], second.made[1]));

    // A slot that its operator has removed does not come back with the new MasterKey.
    let spare = bench.seal().list().expect("readable").of_generation(Some(1)).find("spare").expect("it is there").header.id;
    bench.seal().remove(&spare.to_string(), expected(1), keys, None).expect("another opens");
    assert!(matches!(switch(&node).await, Err(RekeyError::SlotsChanged { labels }) if labels == [label("spare")]));
    prepare(&node, BTreeMap::new()).await.expect("the devices are well");
    switch(&node).await.expect("every slot is there");
    drop(vault);
    assert_eq!((served(&node).await, bench.slots()), (before, pairs(&[("hsm", 2)])));
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_slot_that_does_not_open_keeps_the_old_master_key_in_force() {
    let bench = Bench::founded(&["hsm", "spare"]).await;
    let node = bench.open().await;
    let before = served(&node).await;
    prepare(&node, BTreeMap::new()).await.expect("the devices are well");
    bench.hsm.delete_token("spare");
    let refused = switch(&node).await.expect_err("one of them does not open").to_string();
    assert!(refused.contains("`spare`") && refused.contains("prepare the re-key again"), "{refused}");
    assert_eq!((generation(&node).await, bench.slots().len()), (Some(1), 4));
    assert_eq!(served(&node).await, before);
    close(node).await;
    let node = bench.open().await;
    assert_eq!(served(&node).await, before);
    close(node).await;
    let sealed = bench.sealed().await;
    assert!(matches!(switch(&sealed).await, Err(RekeyError::Sealed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tpms_slot_is_made_anew_by_an_approval_of_its_own() {
    let bench = Bench::founded(&["hsm", "tpm"]).await;
    let node = bench.open().await;
    let before = served(&node).await;
    let refused = prepare(&node, BTreeMap::new()).await.expect_err("there is no approval").to_string();
    assert!(refused.contains("`tpm`") && refused.contains("strongroom slot tpm-policy sign"), "{refused}");
    let approvals = |of: &[(&str, u8)]| of.iter().map(|(called, slot)| (label(called), bench.approval(*slot))).collect();
    let refused = prepare(&node, approvals(&[("tpm", 2), ("hsm", 3)])).await;
    assert!(matches!(refused, Err(RekeyError::ApprovalUnwanted { label: of }) if of == label("hsm")));
    assert_eq!(bench.slots(), pairs(&[("hsm", 1), ("tpm", 1)]), "nothing was tried");
    // One that names the old slot is for no new one.
    let refused = prepare(&node, approvals(&[("tpm", 1)])).await;
    assert!(matches!(refused, Err(RekeyError::NotMade { source: seal::Error::SlotExists { .. }, .. })), "{refused:?}");
    assert_eq!(bench.slots(), pairs(&[("hsm", 1), ("tpm", 1)]));
    prepare(&node, approvals(&[("tpm", 2)])).await.expect("the state is the present one");
    switch(&node).await.expect("every slot is there");
    bench.must_all_open(2);
    assert_eq!((served(&node).await, bench.slots()), (before.clone(), pairs(&[("hsm", 2), ("tpm", 2)])));
    close(node).await;
    bench.hsm.pull();
    let node = bench.open().await;
    assert_eq!(served(&node).await, before);
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_people_is_waited_for() {
    let bench = Bench::founded(&["hsm", "board"]).await;
    let node = bench.open().await;
    let before = served(&node).await;
    let report = prepare(&node, BTreeMap::new()).await.expect("the devices are well");
    assert_eq!(report.waiting, [label("board")]);
    assert_eq!(bench.slots(), pairs(&[("hsm", 1), ("board", 1), ("hsm", 2)]));
    let refused = switch(&node).await.expect_err("their shards were not read back").to_string();
    assert!(refused.contains("`board`") && refused.contains("strongroom slot shards"), "{refused}");
    // One that waits is abandoned like one that counts.
    assert_eq!(abandon(&node).await.expect("the old ones open").removed.len(), 2);
    assert!(bench.seal().pending().expect("readable").is_empty());

    prepare(&node, BTreeMap::new()).await.expect("the devices are well");
    close(node).await;
    let node = bench.open().await;
    let (seal, vault) = (bench.seal(), Arc::clone(&node.open().expect("it is open").vault));
    let waiting = seal.pending().expect("readable").remove(0);
    seal.admit(waiting.header.id, &bench.shards(&seal, &waiting), vault.registry().integrity()).expect("all are there");
    drop(vault);
    let report = switch(&node).await.expect("every slot counts");
    assert_eq!((report.removed.len(), bench.slots()), (2, pairs(&[("hsm", 2), ("board", 2)])));
    assert_eq!(served(&node).await, before);
    close(node).await;

    // Two of them open what the device would have.
    let shards = bench.shards(&seal, seal.list().expect("readable").find("board").expect("it is there"));
    bench.hsm.delete_token(LABEL);
    let opened = seal.unseal_by(expected(2), None, &shards[1..]).expect("two open");
    let store: Arc<dyn Keystore> = Arc::new(bench.embedded());
    let roots = cluster::load(&store, cluster_id(), &opened.master).await.expect("it is the MasterKey in force");
    assert_eq!(roots.cluster.master_generation, 2);
}

/// Whichever call of the keystore fails, the slots of the generation that it says open it, and the custodians are those of before or those who were to come,
/// as these slots say too.
#[tokio::test(flavor = "multi_thread")]
async fn each_call_of_the_keystore_that_fails_during_a_switch_leaves_a_node_that_opens() {
    let mut after_the_commit = 0;
    for calls in 0.. {
        // Anew each time: every switch makes a version of the IVK, and every version more calls.
        let bench = Bench::founded_by(&["hsm"], alone(FIRST)).await;
        let node = bench.open().await;
        let before = served(&node).await;
        prepare_for(&node, Some(FIRST), SECOND).await.expect("the devices are well");
        assert_eq!(roster_hash(&bench, &node).await, alone(FIRST).hash(), "nothing is changed before the switch");
        close(node).await;

        let embedded = Arc::new(bench.embedded());
        let store = Arc::new(Failing { inner: Arc::clone(&embedded), left: AtomicI64::new(-1) });
        let node = bench.sealed_on(Arc::<Failing>::clone(&store), embedded).await;
        node.unseal(node.system, None).await.expect("a slot opens");
        store.left.store(calls, Ordering::Relaxed);
        let switched = node.rekey_master(node.system, Authority::Before, RekeyStep::Switch).await;
        let has_struck = store.left.swap(-1, Ordering::Relaxed) < 0;
        let is = generation(&node).await.expect("there are roots");
        assert!(is == 1 || is == 2, "call {calls}: {is}");
        assert!(switched.is_err() || is == 2, "call {calls}: {switched:?}");
        let is_told = switched.as_ref().map_or(true, |report| report.left.is_some() || report.ivk.is_some());
        assert!(is_told, "call {calls}: {switched:?}");
        after_the_commit += usize::from(is == 2 && switched.as_ref().map_or(true, |report| report.ivk.is_none()));
        assert_eq!(served(&node).await, before, "call {calls}");
        close(node).await;
        drop(store);

        let node = bench.open().await;
        assert_eq!((served(&node).await, generation(&node).await), (before, Some(is)), "call {calls}");
        assert_eq!(roster_hash(&bench, &node).await, alone(if is == 1 { FIRST } else { SECOND }).hash(), "call {calls}");
        bench.must_all_open(is);
        assert!(bench.slots().iter().all(|(_, generation)| *generation >= is), "call {calls}: {:?}", bench.slots());
        close(node).await;
        if !has_struck {
            switched.expect("nothing has failed");
            assert!(calls > 10 && after_the_commit > 0, "{calls} calls, {after_the_commit} after the commit");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_custodians_of_before_has_others_take_their_place() {
    let bench = Bench::founded_by(&["hsm"], alone(FIRST)).await;
    let node = bench.open().await;
    for (by, is_other) in [(Some(SECOND), true), (None, false)] {
        let refused = prepare_for(&node, by, SECOND).await;
        let is_named = match refused {
            Err(RekeyError::Authority(SlotError::OtherRoster)) => is_other,
            Err(RekeyError::Authority(SlotError::NeedsCeremony)) => !is_other,
            _ => false,
        };
        assert!(is_named, "{by:?}");
    }
    assert_eq!(bench.slots(), pairs(&[("hsm", 1)]));
    prepare_for(&node, Some(FIRST), SECOND).await.expect("the devices are well");
    // Given up, it leaves those of before.
    let refused = node.rekey_master(node.system, approved(SECOND), RekeyStep::Abandon).await;
    assert!(matches!(refused, Err(RekeyError::Authority(SlotError::OtherRoster))), "{refused:?}");
    node.rekey_master(node.system, approved(FIRST), RekeyStep::Abandon).await.expect("the old one opens");
    assert_eq!(roster_hash(&bench, &node).await, alone(FIRST).hash());
    prepare_for(&node, Some(FIRST), SECOND).await.expect("the devices are well");
    let report = node.rekey_master(node.system, approved(FIRST), RekeyStep::Switch).await.expect("every slot is there");
    assert_eq!(report.roster, Some(alone(SECOND)));
    assert_eq!(roster_hash(&bench, &node).await, alone(SECOND).hash());
    let refused = prepare_for(&node, Some(FIRST), FIRST).await;
    assert!(matches!(refused, Err(RekeyError::Authority(SlotError::OtherRoster))), "{refused:?}");
    // Without a roster of its own the next one keeps this one.
    let step = RekeyStep::Prepare { approvals: BTreeMap::new(), roster: None };
    node.rekey_master(node.system, approved(SECOND), step).await.expect("the devices are well");
    let report = node.rekey_master(node.system, Authority::Before, RekeyStep::Switch).await.expect("every slot is there");
    assert_eq!((report.roster, roster_hash(&bench, &node).await), (None, alone(SECOND).hash()));
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_people_alone_open_the_node_keeps_the_new_master_key_until_the_switch() {
    let mut bench = Bench::founded(&["hsm", "board"]).await;
    bench.is_typed = true;
    let node = bench.sealed().await;
    let pin = || secret::Bytes::init_with(PIN.len(), |place| place.copy_from_slice(PIN.as_bytes())).expect("the arena has room");
    let typed = || Some(Typed { custodian: label("hsm"), pin: pin(), retry_pin: false });
    node.unseal(node.system, typed()).await.expect("the PIN is right");
    let before = served(&node).await;
    let refused = prepare(&node, BTreeMap::new()).await;
    assert!(matches!(&refused, Err(RekeyError::NotMade { label: of, .. }) if *of == label("hsm")), "nobody types its PIN: {refused:?}");

    // The token's slot is gone, and the table with it.
    let (slots, seal) = (Layout::new(bench.dir.path()).slots(), bench.seal());
    let file = slots.join(format!("{}.slot", seal.list().expect("readable").find("hsm").expect("it is there").header.id));
    let kept = fs::read(&file).expect("readable");
    let forget = || {
        fs::remove_file(&file).expect("it is there");
        fs::remove_file(slots.join("table.mac")).expect("it is there");
    };
    let admit = |node: &Node| {
        let vault = Arc::clone(&node.open().expect("it is open").vault);
        let waiting = seal.pending().expect("readable").remove(0);
        seal.admit(waiting.header.id, &bench.shards(&seal, &waiting), vault.registry().integrity()).expect("all are there");
    };
    forget();
    assert_eq!(prepare(&node, BTreeMap::new()).await.expect("nobody is needed").waiting, [label("board")]);
    admit(&node);
    // A seal drops it.
    fs::write(&file, &kept).expect("the folder is ours");
    close(Arc::clone(&node)).await;
    node.unseal(node.system, typed()).await.expect("the PIN is right");
    forget();
    let refused = switch(&node).await.expect_err("nothing opens the new one").to_string();
    assert!(refused.contains("prepare the re-key again"), "{refused}");
    assert_eq!(generation(&node).await, Some(1));

    prepare(&node, BTreeMap::new()).await.expect("nobody is needed");
    admit(&node);
    assert!(node.masterkey().contains("the next one is resident"), "{}", node.masterkey());
    let report = switch(&node).await.expect("the node has kept it");
    assert_eq!((report.removed.len(), bench.slots()), (1, pairs(&[("board", 2)])));
    assert_eq!(served(&node).await, before);
    // It is resident, so the next job needs nobody.
    assert!(node.masterkey().starts_with("resident") && !node.masterkey().contains("next"), "{}", node.masterkey());
    prepare(&node, BTreeMap::new()).await.expect("nobody is needed");
    assert_eq!(abandon(&node).await.expect("people open the old one").removed.len(), 1);
    close(node).await;
    let shards = bench.shards(&seal, seal.list().expect("readable").find("board").expect("it is there"));
    let opened = seal.unseal_by(expected(2), None, &shards[..2]).expect("two open");
    let store: Arc<dyn Keystore> = Arc::new(bench.embedded());
    assert!(cluster::load(&store, cluster_id(), &opened.master).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_step_is_taken_at_a_time() {
    let bench = Bench::founded(&["hsm"]).await;
    let node = bench.open().await;
    let (one, two) = tokio::join!(prepare(&node, BTreeMap::new()), prepare(&node, BTreeMap::new()));
    let busy = |taken: &Result<RekeyReport, RekeyError>| matches!(taken, Err(RekeyError::Slots(seal::Error::Busy)));
    assert!((one.is_ok() && busy(&two)) || (busy(&one) && two.is_ok()), "{one:?} {two:?}");
    assert_eq!(bench.slots(), pairs(&[("hsm", 1), ("hsm", 2)]));
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_old_slots_open_a_master_key_that_opens_nothing_of_today() {
    let bench = Bench::founded(&["hsm", "spare"]).await;
    let (slots, copies) = (Layout::new(bench.dir.path()).slots(), bench.dir.path().join("copies"));
    fs::create_dir(&copies).expect("the folder is ours");
    for slot in fs::read_dir(&slots).expect("readable").flatten() {
        fs::copy(slot.path(), copies.join(slot.file_name())).expect("the folder is ours");
    }
    let node = bench.open().await;
    let before = served(&node).await;
    prepare(&node, BTreeMap::new()).await.expect("the devices are well");
    let roots = switch(&node).await.expect("every slot is there").roots.expect("they were wrapped anew");
    assert_eq!((roots.integrity_keys, roots.ivks, roots.audit_keys), (1, 1, 1));
    assert_eq!(served(&node).await, before);
    close(node).await;

    let old = bench.seal_in(copies).unseal(expected(1), None).expect("the devices still have their keys").master;
    let new = bench.seal().unseal(expected(2), None).expect("the devices are well").master;
    let store: Arc<dyn Keystore> = Arc::new(bench.embedded());
    let told = cluster::load(&store, cluster_id(), &old).await.err().expect("the old one opens the roots").to_string();
    assert!(told.contains("the blob does not verify"), "{told}");
    assert!(cluster::load(&store, cluster_id(), &new).await.is_ok());
}
