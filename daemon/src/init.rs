//! `strongroom init`: makes a cluster. The MasterKey, its first slot, the roots; then, last and atomically, the node's identity.
//!
//! Of an edge it makes the node alone: its own keys, which its core wraps, and where it belongs.
//!
//! Until `node.json` is there nothing exists: what an init that was cut off has left is moved aside by the next one.

use std::path::PathBuf;
use std::sync::Arc;

use audit::{Log, LogId};
use keys::cluster::{self, Genesis};
use keys::edge::{self, EdgeRoot};
use keys::entropy::Randomness;
use keys::hierarchy::{IntegrityKeys, MasterKey, ROOT_KEY_BYTES};
use keys::id::{ClusterId, Layer, OutboxSeq, ScopeName, ServiceId, SessionId, Time};
use keys::lease::Lease;
use keys::policy::Action;
use keys::port::{AuditSink, Clock, Keystore, Pace, Query, Upstream};
use keys::record::{Origin, Outcome, Record, SessionRecord};
use keys::registry::Registry;
use keys::unit::{Unit, Writer};
use keys::vault::{EdgeParts, Parts, Vault};
use seal::{Approval, Consent, Expected, Label, NewSlot, PlainShard, Roster, Seal};
use secret::{Bytes, Key};
use uuid::Uuid;

use crate::admin::shard_routes::split_info;
use crate::admin::types::SplitInfo;
use crate::boot::{self, BootError};
use crate::config::{self, Config};
use crate::keystore;
use crate::layout::{EdgeIdentity, Identity, Layout};
use crate::node::{edge_parts, shared_as};
use crate::role::upstream::Cores;
use crate::system::{SystemClock, SystemEntropy, SystemPace};

/// The session under which `init` writes its records: the first of the log.
const INIT_SESSION: SessionId = SessionId(1);

/// How often other edges may be met that make the same.
const MEETINGS_MAX: u32 = 4;

/// What the operator decides.
pub struct InitOptions {
    /// The custodian of the first slot; if none is named, the only one but for people.
    pub custodian: Option<Label>,
    /// Make the key on the token if it has none of that name.
    pub make_key: bool,
    /// The token's PIN, where no credential holds it.
    pub pin: Option<Bytes>,
    /// The first state of the platform in which a TPM's slot may open.
    pub approval: Option<Approval>,
    /// Who approves ceremonies.
    pub roster: Roster,
    /// Where people get their shards and give them back; needed if they keep some of the first slot.
    pub desk: Option<Box<dyn ShardDesk>>,
}

/// Where people get their shards of the first slot, and show that they can open them.
pub trait ShardDesk {
    /// Hands the shards out.
    ///
    /// # Errors
    /// Why it cannot; nothing is initialised then.
    fn hand_out(&mut self, split: &SplitInfo) -> Result<(), String>;

    /// A shard that a person has opened, of those whose are missing.
    ///
    /// # Errors
    /// Nobody gives any more; nothing is initialised then.
    fn next(&mut self, missing: &[Label]) -> Result<Bytes, String>;

    /// The last one was wrong.
    fn refuse(&mut self, why: &seal::Error);
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitReport {
    /// The cluster.
    pub cluster: ClusterId,
    /// Label of the first slot; an edge has none.
    pub slot: Option<String>,
    /// The edge group; a core is of none.
    pub group: Option<String>,
    /// Where something that looked like an unfinished init went.
    pub aside: Option<PathBuf>,
    /// Public half of the key by which an edge vouches for its clients, to be enrolled at the core.
    pub delegation_key: Option<[u8; 32]>,
    /// Public half of the audit signing key, to be kept elsewhere for `audit verify --key`.
    pub audit_key: [u8; 32],
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The node's files, memory, seal, store or log.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// No custodian, or more than one and none named.
    #[error("{count} custodians are configured under seal.custodians: name the one for the first slot with --custodian")]
    WhichCustodian {
        /// How many.
        count: usize,
    },
    /// The roots could not be made or stored.
    #[error(transparent)]
    Domain(#[from] keys::Error),
    /// The core knows the edge's certificate as another group's.
    #[error("the core knows this edge's certificate as one of the group {group}: correct edge.group, or use another certificate")]
    OtherGroup {
        /// What the core calls the group.
        group: ScopeName,
    },
    /// The keystore has rows, and not of this edge group.
    #[error(
        "the keystore that is to be shared holds the rows of another edge group, or of a core: give it a database, or a plugin, of the group's own"
    )]
    OthersRows,
    /// The keystore is another edge's alone.
    #[error("the keystore belongs to an edge that does not share it: set edge.shared to true at that edge, restart it, and repeat this")]
    Unshared,
    /// People keep shards, and there is nowhere to give them.
    #[error("people keep shards of slot {label}: say with --shards-dir DIR where they get them; they give them back here")]
    NoDesk {
        /// The slot.
        label: Label,
    },
    /// Their shards were not handed out, or not read back.
    #[error("the shards were not read back ({what}): nothing was initialised")]
    Desk {
        /// What happened.
        what: String,
    },
    /// What was just stored does not open again.
    #[error("what was just stored does not open again: {what}; nothing was initialised")]
    ReadBack {
        /// What failed.
        what: String,
    },
}

impl From<seal::Error> for InitError {
    fn from(error: seal::Error) -> Self {
        Self::Boot(error.into())
    }
}

/// Makes a cluster in `config.data_dir`. Call [`boot::prepare_process`] before.
///
/// # Errors
/// [`InitError`]; the folder then holds no cluster, and the next try starts anew.
pub async fn run(config: &Config, options: InitOptions) -> Result<InitReport, InitError> {
    let layout = Layout::new(&config.data_dir);
    layout.check_socket().map_err(BootError::from)?;
    layout.prepare().map_err(BootError::from)?;
    let _lock = layout.lock().map_err(BootError::from)?;
    let aside = layout.set_unfinished_aside(SystemClock.now()).map_err(BootError::from)?;
    layout.prepare().map_err(BootError::from)?;
    let custodian = which_custodian(config, options.custodian.as_ref())?;
    let randomness = Randomness::new(Arc::new(SystemEntropy));
    let now = SystemClock.now();
    let cluster = ClusterId::new(random_uuid(&randomness)?);
    let log_id = LogId(random_uuid(&randomness)?.into_bytes());

    let master = MasterKey::generate(&randomness).map_err(keys::Error::from)?;
    let genesis = cluster::found(cluster, &master, &randomness, now, options.roster.hash())?;
    let seal = boot::open_seal(config, &layout)?;
    let consent = Consent { pin: options.pin.as_ref(), make_key: options.make_key, ..Consent::default() };
    let InitOptions { approval, roster, desk, .. } = options;
    let new = NewSlot { label: custodian.clone(), custodian, cluster, generation: 1, roster, approval, created: now };
    let slot = seal.add(new, (&master, genesis.registry.integrity()), &randomness, consent)?;
    drop(master);
    let shards = shards_back(&seal, &slot, desk, genesis.registry.integrity())?;

    let audit_key = genesis.cluster.audit_keys[0];
    let opened = keystore::create(config, &layout, log_id).await?;
    let store = Arc::clone(&opened.store);
    store_roots(&layout, log_id, genesis, &store, now).await?;
    read_back(&seal, &store, options.pin.as_ref(), &shards, &slot).await?;
    layout.write_identity(&Identity { cluster, log: log_id, edge: None }).map_err(BootError::from)?;
    Ok(InitReport { cluster, slot: Some(slot.header.label.to_string()), group: None, aside, delegation_key: None, audit_key })
}

/// Makes an edge in `config.data_dir`, which its core must have enrolled and answer for. Call [`boot::prepare_process`] before.
///
/// # Errors
/// [`InitError`]; the folder then holds no node, and the next try starts anew.
pub async fn run_edge(config: &Config, settings: &config::Edge) -> Result<InitReport, InitError> {
    let layout = Layout::new(&config.data_dir);
    layout.check_socket().map_err(BootError::from)?;
    layout.prepare().map_err(BootError::from)?;
    let _lock = layout.lock().map_err(BootError::from)?;
    let aside = layout.set_unfinished_aside(SystemClock.now()).map_err(BootError::from)?;
    layout.prepare().map_err(BootError::from)?;
    let randomness = Randomness::new(Arc::new(SystemEntropy));
    let upstream: Arc<dyn Upstream> = Arc::new(Cores::new(settings));
    let asked = SystemPace.now();
    let lease = upstream.lease().await.map_err(keys::Error::from)?;
    if lease.group.name != settings.group {
        return Err(InitError::OtherGroup { group: lease.group.name });
    }
    let log_id = LogId(random_uuid(&randomness)?.into_bytes());
    let (seed, audit_stored) = root(&*upstream, &lease, &randomness, "the audit key").await?;
    let audit_key = seed.expose(cipher::sign::public_from_seed);
    let (delegation, delegation_key) = root(&*upstream, &lease, &randomness, "the delegation key").await?;
    let delegation_public = delegation.expose(cipher::sign::public_from_seed);
    let (cluster, group) = (lease.cluster, lease.group.id);
    let log = open_log(&layout, log_id, seed, SystemClock.now())?;
    if !settings.is_ephemeral {
        let opened = keystore::create(config, &layout, log_id).await?;
        let store = Arc::clone(&opened.store);
        let edge_parts = || EdgeParts { shared_as: shared_as(settings, log_id), ..edge_parts(settings, lease.clone(), asked, &upstream) };
        let mut tries = 1;
        loop {
            let (registry, made) = edge::roots(&store, &*upstream, &lease, &randomness).await?;
            let (vault, writer) = Vault::edge(parts(registry, &store, &log, SystemClock.now()), edge_parts())?;
            if settings.is_shared {
                must_be_for_all(&store, &vault, group, made.is_none()).await?;
            }
            let is_first = made.is_some();
            match commit(vault, writer, |vault, unit| made.into_iter().for_each(|row| vault.stage_edge_roots(unit, row))).await {
                // Another edge may have been the first; what it has made is for all.
                Err(InitError::Domain(_)) if is_first && settings.is_shared && tries < MEETINGS_MAX => tries += 1,
                done => break done?,
            }
        }
        let (_, missing) = edge::roots(&store, &*upstream, &lease, &randomness).await?;
        if missing.is_some() {
            return Err(InitError::ReadBack { what: "the integrity key".to_owned() });
        }
    }
    log.flush().map_err(keys::Error::from)?;
    let own = EdgeIdentity { group, audit_key: audit_stored, delegation_key, delegation_public };
    layout.write_identity(&Identity { cluster, log: log_id, edge: Some(own) }).map_err(BootError::from)?;
    Ok(InitReport {
        cluster,
        slot: None,
        group: Some(settings.group.to_string()),
        aside,
        delegation_key: Some(delegation_public),
        audit_key,
    })
}

/// A keystore that edges share is empty, or has the integrity key of their group alone, and the record of one at least that shares it.
async fn must_be_for_all(store: &Arc<dyn Keystore>, vault: &Vault, group: ServiceId, is_made: bool) -> Result<(), InitError> {
    let query = Query { layer: Layer::Integrity, terms: Vec::new(), before: None, limit: 2 };
    let found = store.find(&query).await.map_err(keys::Error::from)?;
    if found.iter().any(|row| row.header.id.uuid.as_bytes() != group.as_bytes()) {
        return Err(InitError::OthersRows);
    }
    if is_made && !vault.is_shared().await? { Err(InitError::Unshared) } else { Ok(()) }
}

/// People keep shards only.
fn which_custodian(config: &Config, named: Option<&Label>) -> Result<Label, InitError> {
    let all: Vec<&config::Custodian> = config.seal.custodians.iter().filter(|custodian| !custodian.is_person()).collect();
    match (named, &all[..]) {
        (Some(named), _) => Ok(named.clone()),
        (None, [only]) => Ok(only.name.parse()?),
        (None, several) => Err(InitError::WhichCustodian { count: several.len() }),
    }
}

/// Hands the shards of people out, and has them all back before the slot counts (C11); none if nobody keeps any.
fn shards_back(
    seal: &Seal,
    slot: &seal::Slot,
    desk: Option<Box<dyn ShardDesk>>,
    integrity: &IntegrityKeys,
) -> Result<Vec<Arc<PlainShard>>, InitError> {
    let Some((_, keepers)) = seal.keepers(&slot.header.id.to_string())?.filter(|(_, keepers)| keepers.is_pending) else {
        return Ok(Vec::new());
    };
    let mut desk = desk.ok_or_else(|| InitError::NoDesk { label: slot.header.label.clone() })?;
    let told = |what: String| InitError::Desk { what };
    let people = keepers.shards.iter().filter(|shard| shard.recipient.is_some());
    let mut missing: Vec<Label> = people.map(|shard| shard.keeper.clone()).collect();
    desk.hand_out(&split_info(slot, keepers)).map_err(told)?;
    let mut given = Vec::new();
    while !missing.is_empty() {
        let text = desk.next(&missing).map_err(told)?;
        let weighed = text.expose(PlainShard::parse).and_then(|shard| seal.weigh(&shard, slot.header.cluster).map(|of| (of.keeper, shard)));
        match weighed {
            Err(why) => desk.refuse(&why),
            Ok((keeper, _)) if !missing.contains(&keeper) => desk.refuse(&seal::Error::ShardTwice { keeper }),
            Ok((keeper, shard)) => {
                missing.retain(|other| *other != keeper);
                given.push(Arc::new(shard));
            }
        }
    }
    seal.admit(slot.header.id, &given, integrity)?;
    Ok(given)
}

fn random_uuid(randomness: &Randomness) -> Result<Uuid, InitError> {
    Ok(uuid::Builder::from_random_bytes(randomness.array().map_err(keys::Error::from)?).into_uuid())
}

/// A key of the edge's own, and how it is stored: opened from that before anybody relies on it (C18).
async fn root(
    upstream: &dyn Upstream,
    lease: &Lease,
    randomness: &Randomness,
    what: &str,
) -> Result<(Key<ROOT_KEY_BYTES>, Vec<u8>), InitError> {
    let EdgeRoot { key, stored } = edge::new_root(upstream, lease, randomness).await?;
    let opened = edge::open_root(upstream, lease, &stored).await?;
    if opened.ct_eq(&key) { Ok((key, stored)) } else { Err(InitError::ReadBack { what: what.to_owned() }) }
}

/// Roots and the first audit record in one transaction, as every later change.
async fn store_roots(layout: &Layout, log_id: LogId, genesis: Genesis, store: &Arc<dyn Keystore>, now: Time) -> Result<(), InitError> {
    let log = open_log(layout, log_id, genesis.audit_seed, now)?;
    let (vault, writer) = Vault::core(parts(genesis.registry, store, &log, now))?;
    commit(vault, writer, |vault, unit| vault.stage_genesis(unit, genesis.rows)).await?;
    Ok(log.flush().map_err(keys::Error::from)?)
}

/// A new log with the session of `init`.
fn open_log(layout: &Layout, log_id: LogId, seed: Key<ROOT_KEY_BYTES>, now: Time) -> Result<Arc<Log>, InitError> {
    let (log, _fresh) = Log::open(&layout.audit(), audit::Settings::default(), log_id).map_err(BootError::from)?;
    log.set_key(seed).map_err(BootError::from)?;
    log.session(&SessionRecord {
        time: now,
        session: INIT_SESSION,
        origin: Origin::System,
        role: None,
        tenant: String::new(),
        service: String::new(),
        certificate: [0; 32],
        peer: format!("strongroom init {}", env!("CARGO_PKG_VERSION")),
    })
    .map_err(keys::Error::from)?;
    Ok(Arc::new(log))
}

fn parts(registry: Registry, store: &Arc<dyn Keystore>, log: &Arc<Log>, now: Time) -> Parts {
    Parts {
        registry,
        store: Arc::clone(store),
        audit: Arc::<Log>::clone(log),
        clock: Arc::new(SystemClock),
        pace: Arc::new(SystemPace),
        entropy: Arc::new(SystemEntropy),
        system: INIT_SESSION,
        next_outbox: OutboxSeq(1),
        not_before: now,
    }
}

/// Commits what `stage` stages with the record of the initialisation, and ends the vault.
async fn commit(vault: Arc<Vault>, writer: Writer, stage: impl FnOnce(&Vault, &mut Unit)) -> Result<(), InitError> {
    let writing = tokio::spawn(writer.run());
    let mut unit = vault.begin(INIT_SESSION);
    stage(&vault, &mut unit);
    unit.record(Record {
        time: vault.now(),
        session: INIT_SESSION,
        action: Action::Init,
        object: Some(cluster::cluster_row()),
        version: None,
        generation: None,
        outcome: Outcome::Success,
    });
    let _receipt = unit.commit().await.map_err(keys::Error::from)?;
    drop(vault);
    let _ended = writing.await;
    Ok(())
}

/// C18: the slot and the roots are opened from what is on the medium before anybody relies on them.
async fn read_back(
    seal: &Seal,
    store: &Arc<dyn Keystore>,
    pin: Option<&Bytes>,
    shards: &[Arc<PlainShard>],
    slot: &seal::Slot,
) -> Result<(), InitError> {
    let cluster = slot.header.cluster;
    let typed = pin.map(|pin| seal::TypedPin { custodian: &slot.header.custodian, pin, retry_pin: false });
    let failed = |what: String| InitError::ReadBack { what };
    let expected = Expected { cluster: Some(cluster), generation: Some(1) };
    let opened = seal.unseal_by(expected, typed, shards).map_err(|error| failed(error.to_string()))?;
    let roots = cluster::load(store, cluster, &opened.master).await.map_err(|error| failed(error.to_string()))?;
    seal.check_table(roots.registry.integrity()).map_err(|error| failed(error.to_string()))
}
