//! The campaign of flipped bits: one bit anywhere in the files of a stopped core is flipped, and it is opened again (F5).
//!
//! Most flips are looked at in this process, through the same crates and in the same order as `daemon/src/boot.rs` uses them; what protects the
//! MasterKey by a real device process. Every [`DAEMON_EVERY`]-th flip is given to a real daemon and read over KMIP.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use audit::Log;
use daemon::config::{self, Config, Custodian};
use daemon::kmip_client::KmipError;
use daemon::layout::{Identity, Layout};
use daemon::system::{SystemClock, SystemEntropy, SystemPace};
use hsm::{Device, DeviceProcess, ProcessSettings};
use keys::cluster;
use keys::hierarchy::MasterKey;
use keys::id::{ClusterId, OutboxSeq, RowId, SessionId};
use keys::policy::verb::Decrypt;
use keys::policy::{Principal, Role};
use keys::port::{AuditSink, Keystore};
use keys::vault::{Parts, Vault};
use kmip::ResultReason;
use seal::{CustodianSettings, Expected, Means, PinSource, Pkcs11Settings, Seal, SealSettings};
use storage::embedded::Embedded;
use tokio::runtime::Runtime;

use crate::appliance::{Who, wait_for};
use crate::binary;
use crate::core::Core;
use crate::requests::{self, Secret};
use crate::soak::random::Random;

const KEYS: usize = 8;
const DEVICE_DEADLINE: Duration = Duration::from_secs(30);
const DAEMON_EVERY: u32 = 40;
const SLICE_ROWS: usize = 64;
/// Our reads are no operations of a client: they go under a session number that no daemon gives.
const SESSION: SessionId = SessionId(u64::MAX);

/// What came of one flip; the worse ones (a wrong key, a changed log that verifies, a crash) end the campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Everything opens and is right: nothing that is used was hit.
    Harmless,
    /// Some keys are refused by name, the others are right.
    KeyRefused,
    /// Some keys are said not to exist, the others are right, and the sweep says that something is damaged: their row's place or owner was hit.
    KeyHidden,
    /// Every key opens, and the sweep says that another record is damaged.
    Swept,
    /// The core does not start, or stays sealed, and says at what.
    StartRefused,
    /// The core serves, and tells what is wrong: a warning, or a log that does not verify.
    Told,
    /// The last line of the log is taken for one that a crash has cut off, and said to be.
    Torn,
}

/// A stopped core as it should be.
struct Sound {
    core: Core,
    config: Config,
    layout: Layout,
    files: BTreeMap<PathBuf, Vec<u8>>,
    master: MasterKey,
    keys: Vec<(RowId, Vec<u8>)>,
    secrets: Vec<Secret>,
}

/// Flips `count` bits, one at a time; says what came of them.
///
/// # Panics
/// At the first flip that yields a wrong key or plaintext, an unnamed failure, a key that is gone without a word, a changed log that verifies, or a
/// crash.
#[must_use]
pub fn flip_campaign(count: u32, seed: u64) -> String {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    hush_the_engine();
    let mut random = Random::new(seed);
    let mut sound = Sound::new(&runtime);
    let mut table: BTreeMap<(String, Outcome), u32> = BTreeMap::new();
    let mut by_daemon = 0;
    for number in 1..=count {
        let file = sound.choose(&mut random);
        let bytes = &sound.files[&file];
        let (at, bit) = (choose_byte(bytes, &mut random), random.within(0..8));
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        fs::write(&file, flipped).expect("the folder is ours");
        let what = format!("bit {bit} of byte {at} of {}", file.display());
        let outcome = if number % DAEMON_EVERY == 0 {
            by_daemon += 1;
            sound.look_by_daemon(&what)
        } else {
            sound.look(&runtime, &file, &what)
        };
        *table.entry((kind(&file), outcome)).or_default() += 1;
        sound.restore();
    }
    let rows: Vec<_> =
        table.iter().map(|((file, outcome), flips)| format!("  {file:<10} {:<12} {flips:>6}", format!("{outcome:?}"))).collect();
    format!("flips {count} (by a real daemon {by_daemon}); wrong plaintext 0, silent 0, crash 0\n{}", rows.join("\n"))
}

/// The engine panics on some damage, which the store contains; its words would only look like a failure.
fn hush_the_engine() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|location| location.file().contains("redb")) {
            loud(panic);
        }
    }));
}

/// Every second flip hits a byte that is not zero: most of a store's file is free.
fn choose_byte(bytes: &[u8], random: &mut Random) -> usize {
    loop {
        let at = random.place(bytes.len());
        if bytes[at] != 0 || random.within(0..2) == 0 {
            return at;
        }
    }
}

/// The files of one kind are one row of the table.
fn kind(file: &Path) -> String {
    let last = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default();
    match last(file.extension()).as_str() {
        extension @ ("slot" | "log") => extension.to_owned(),
        _ => last(file.file_name()),
    }
}

impl Sound {
    fn new(runtime: &Runtime) -> Self {
        let mut core = Core::prepared();
        core.start();
        let (mut admin, mut service) = (core.connect(Who::TenantAdmin), core.connect(Who::Service));
        let mut secrets = Vec::new();
        for number in 0..KEYS {
            let key = requests::create(&mut admin, &format!("key-{number}")).expect("the core is well");
            requests::activate(&mut admin, &key).expect("the core is well");
            secrets.push(requests::encrypt(&mut service, &key, vec![0x5A; 64]).expect("the core is well"));
        }
        drop((admin, service));
        core.stop();
        let config = Config::load(&core.config(), []).expect("dev's configuration is good");
        let layout = Layout::new(&core.data_dir());
        let (_, master) = master_key(&core);
        let files = files_below(&core.data_dir());
        let mut this = Self { core, config, layout, files, master, keys: Vec::new(), secrets };
        let ids: Vec<RowId> = this.secrets.iter().map(|secret| secret.key.parse().expect("the core's own identifier")).collect();
        let opened = runtime.block_on(this.open(&this.master, ids.clone())).expect("it is sound");
        this.keys = ids.into_iter().zip(opened.keys.into_iter().map(|key| key.expect("it is sound"))).collect();
        this.restore();
        this
    }

    /// Most flips hit the keystore, some the log, and the small files more often than their size would have it.
    fn choose(&self, random: &mut Random) -> PathBuf {
        let wanted = match random.within(0..100) {
            0..65 => "redb",
            65..90 => "log",
            90..95 => "slot",
            95..98 => "mac",
            _ => "json",
        };
        let fitting: Vec<_> = self.files.keys().filter(|file| file.extension().is_some_and(|extension| extension == wanted)).collect();
        fitting[random.place(fitting.len())].clone()
    }

    fn restore(&self) {
        for (file, bytes) in &self.files {
            fs::write(file, bytes).expect("the folder is ours");
        }
        // A log may have begun a segment, an unseal may have left a mark.
        for file in files_below(&self.core.data_dir()).keys().filter(|file| !self.files.contains_key(*file)) {
            fs::remove_file(file).expect("the folder is ours");
        }
    }

    /// Opens everything as a start does, and each key.
    fn look(&self, runtime: &Runtime, file: &Path, what: &str) -> Outcome {
        let verdict = audit::verify(&self.layout.audit(), None);
        let is_seal = file.starts_with(self.layout.slots());
        let opened = match self.master(is_seal) {
            Ok(master) => {
                runtime.block_on(self.open(master.as_ref().unwrap_or(&self.master), self.keys.iter().map(|(id, _)| *id).collect()))
            }
            Err(error) => Err(error),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                assert!(!error.is_empty(), "{what}: refused without a word");
                return Outcome::StartRefused;
            }
        };
        let (mut is_refused, mut is_hidden) = (false, false);
        for ((id, right), found) in self.keys.iter().zip(&opened.keys) {
            match found {
                Ok(found) => assert!(found == right, "{what}: {id} opens as another key"),
                Err(keys::Error::Corrupt { .. }) => is_refused = true,
                Err(keys::Error::NotFound) => is_hidden = true,
                Err(error) => panic!("{what}: of {id} it is said: {error}"),
            }
        }
        assert!(opened.is_swept || !is_hidden, "{what}: a key is gone, and nobody says so");
        assert!(opened.is_swept || !is_refused, "{what}: a key is refused when it is used, and nobody says so before");
        match verdict {
            _ if is_hidden => Outcome::KeyHidden,
            _ if is_refused => Outcome::KeyRefused,
            _ if opened.is_swept => Outcome::Swept,
            Err(_) => Outcome::Told,
            Ok(report) if report.torn_bytes > 0 => Outcome::Torn,
            Ok(_) if opened.is_told => Outcome::Told,
            Ok(_) => {
                assert!(!file.starts_with(self.layout.audit()), "{what}: nobody notices");
                Outcome::Harmless
            }
        }
    }

    /// The MasterKey from its slots, if it is they that were hit.
    fn master(&self, is_hit: bool) -> Result<Option<MasterKey>, String> {
        if !is_hit {
            return Ok(None);
        }
        let identity = self.layout.identity().map_err(told)?;
        let seal = open_seal(&self.config, &self.layout, &self.core);
        Ok(Some(seal.unseal(expected(identity), None).map_err(told)?.master))
    }

    async fn open(&self, master: &MasterKey, ids: Vec<RowId>) -> Result<Opened, String> {
        let identity = self.layout.identity().map_err(told)?;
        let store: Arc<dyn Keystore> = Arc::new(Embedded::open(&self.layout.store()).map_err(told)?);
        let (log, report) = Log::open(&self.layout.audit(), self.config.audit, identity.log).map_err(told)?;
        let roots = cluster::load(&store, identity.cluster, master).await.map_err(told)?;
        log.set_key(roots.audit_seed).map_err(told)?;
        let seal = open_seal(&self.config, &self.layout, &self.core);
        let is_told = seal.check_table(roots.registry.integrity()).is_err() || !seal.list().map_err(told)?.unreadable.is_empty();
        let (vault, writer) = Vault::core(Parts {
            registry: roots.registry,
            store,
            audit: Arc::new(log) as Arc<dyn AuditSink>,
            clock: Arc::new(SystemClock),
            pace: Arc::new(SystemPace),
            entropy: Arc::new(SystemEntropy),
            system: SESSION,
            next_outbox: OutboxSeq(report.outbox_last.0 + 1),
            not_before: report.last_time,
        })
        .map_err(told)?;
        let writing = tokio::spawn(writer.run());
        let is_swept = finds_damage(&vault).await?;
        let grants = vault.grants(&service()).await.map_err(told);
        let mut keys = Vec::new();
        for id in ids {
            let grants = grants.as_ref().map_err(Clone::clone)?;
            keys.push(open_key(&vault, grants, id).await);
        }
        drop(vault);
        writing.await.map_err(told)?;
        Ok(Opened { keys, is_told, is_swept })
    }

    fn look_by_daemon(&mut self, what: &str) -> Outcome {
        let log_is_broken = !self.core.cli(&["audit", "verify"]).status.success();
        let outcome = match self.core.try_start() {
            Err(why) => {
                // Its last word is a named error; that of a panic which nobody contained would be the panic's.
                assert!(
                    why.trim_end().lines().next_back().is_some_and(|last| last.contains("ERROR strongroomd")),
                    "{what}: the daemon ends with {why}"
                );
                Outcome::StartRefused
            }
            Ok(()) if self.core.status().contains("\"sealed\"") => Outcome::StartRefused,
            Ok(()) => {
                assert!(wait_for(|| self.core.status().contains("\"swept\": \"")), "{what}: the keystore is not swept");
                let is_swept = self.core.status().contains("is damaged (");
                let mut service = self.core.connect(Who::Service);
                let plain: Vec<_> = self.secrets.iter().map(|secret| (requests::decrypt(&mut service, secret), &secret.plain)).collect();
                assert!(
                    plain.iter().all(|(found, right)| found.as_ref().map_or(true, |found| found == *right)),
                    "{what}: a wrong plaintext"
                );
                assert!(is_swept || plain.iter().all(|(found, _)| found.is_ok()), "{what}: a key is gone or refused, and nobody says so");
                if plain.iter().any(|(found, _)| found.as_ref().is_err_and(is_not_found)) {
                    Outcome::KeyHidden
                } else if plain.iter().any(|(found, _)| found.is_err()) {
                    Outcome::KeyRefused
                } else if is_swept {
                    Outcome::Swept
                } else if log_is_broken || self.core.status().contains(".slot") {
                    Outcome::Told
                } else {
                    Outcome::Harmless
                }
            }
        };
        assert!(outcome == Outcome::StartRefused || !self.core.has_ended(), "{what}: the daemon crashed");
        self.core.kill();
        outcome
    }
}

/// What a start has found.
struct Opened {
    keys: Vec<Result<Vec<u8>, keys::Error>>,
    /// Something is wrong with the slots, and it is said.
    is_told: bool,
    /// The sweep after the unseal finds something.
    is_swept: bool,
}

/// A whole sweep, as `daemon/src/sweeper.rs` makes it.
async fn finds_damage(vault: &Vault) -> Result<bool, String> {
    let (mut cursor, mut is_damaged) = (None, false);
    loop {
        match vault.sweep(cursor, SLICE_ROWS).await {
            Ok(swept) => {
                is_damaged |= !swept.findings.is_empty();
                cursor = swept.next;
            }
            Err(keys::Error::Corrupt { .. }) => return Ok(true),
            Err(error) => return Err(told(error)),
        }
        if cursor.is_none() {
            return Ok(is_damaged);
        }
    }
}

async fn open_key(vault: &Vault, grants: &keys::policy::Grants, id: RowId) -> Result<Vec<u8>, keys::Error> {
    let unit = vault.begin(SESSION);
    let header = vault.header(&unit, grants, id).await?;
    let authorized = grants.check::<Decrypt>(&header).map_err(keys::Error::from)?;
    vault.open(&unit, authorized, |key, _| Ok(key.to_vec())).await
}

/// The cluster and the MasterKey of a stopped core, opened by a real device process: for tests that plant what only the core's own keys can sign.
///
/// # Panics
/// If its token is away.
#[must_use]
pub fn master_key(core: &Core) -> (ClusterId, MasterKey) {
    let config = Config::load(&core.config(), []).expect("dev's configuration is good");
    let layout = Layout::new(&core.data_dir());
    let identity = layout.identity().expect("the node exists");
    let cluster = identity.cluster;
    let opened = open_seal(&config, &layout, core).unseal(expected(identity), None).expect("the token is there");
    (cluster, opened.master)
}

/// As `daemon::boot` makes it; that takes the folder of the credentials from the environment, which is the whole campaign's.
fn open_seal(config: &Config, layout: &Layout, core: &Core) -> Seal {
    let device: Arc<dyn Device> = Arc::new(DeviceProcess::new(ProcessSettings {
        program: binary("strongroom-device", "hsm-helper"),
        latch_dir: layout.latch(),
        environment: config
            .seal
            .custodians
            .iter()
            .flat_map(Custodian::environment)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        deadline: DEVICE_DEADLINE,
    }));
    let settings = |custodian: &Custodian| {
        let config::Means::Pkcs11(config::Pkcs11 { token, key, .. }) = custodian.means.clone() else { panic!("sealed by a token") };
        let pin = PinSource::Credential(core.credentials().join("hsm-pin"));
        let means = Means::Pkcs11(Pkcs11Settings { module: token.module, token: token.name, key, pin });
        CustodianSettings { name: custodian.name.parse().expect("dev's own name"), region: None, means }
    };
    let settings = SealSettings { slots_dir: layout.slots(), custodians: config.seal.custodians.iter().map(settings).collect() };
    Seal::new(settings, &device).expect("dev's seal is good")
}

fn service() -> Principal {
    let scope = |name: &str| Some(name.parse().expect("a name"));
    Principal { role: Role::Service, tenant: scope("acme"), service: scope("billing"), certificate: [0; 32] }
}

fn expected(identity: Identity) -> Expected {
    Expected { cluster: Some(identity.cluster), generation: None }
}

fn is_not_found(error: &KmipError) -> bool {
    matches!(error, KmipError::Kmip(kmip::Error::Refused { reason: Some(ResultReason::ItemNotFound), .. }))
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Files with something in them, and what it is.
fn files_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let below = entries.flat_map(|path| match path.is_dir() {
        true => files_below(&path),
        false => fs::read(&path).into_iter().filter(|bytes| !bytes.is_empty()).map(|bytes| (path.clone(), bytes)).collect(),
    });
    below.collect()
}
