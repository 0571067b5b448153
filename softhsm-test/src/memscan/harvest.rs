//! The true keys of a core, opened from its files and its token as the core itself does it, and turned into needles.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cipher::aead::Aead;
use cipher::kdf;
use daemon::config::{self, Config};
use daemon::layout::Layout;
use hsm::{Device, DeviceError, DeviceProcess, Job, ProcessSettings, Reply, Secrets};
use keys::cluster;
use keys::hierarchy::{MasterKey, MasterPurpose};
use keys::id::{ClusterId, Layer};
use keys::port::{Keystore, Query};
use keys::registry::Registry;
use keys::row::{ParentRef, Row};
use keys::wrap::ParentKey;
use seal::{CustodianSettings, Expected, Means, PinSource, Pkcs11Settings, Seal, SealSettings};
use secret::{Bytes, Key};
use storage::embedded::Embedded;

use crate::core::copy_store;
use crate::memscan::forms::{Class, Needles};
use crate::{Core, binary};

const DEVICE_DEADLINE: Duration = Duration::from_secs(30);
/// Most keys of one layer that are searched for.
const KEYS_MAX: usize = 64;

/// Where a blob keeps its salt, and how the keys of a blob are told apart: the format that `keys::wrap` states.
const SALT_AT: usize = 30;
const SALT_BYTES: usize = 32;
const WRAP_LABEL: &[u8] = b"strongroom/wrap/1";

/// Needles for every key of a core: the newest of each layer, as its keystore holds them now.
///
/// The keystore is copied first: call it while the core stands still or does nothing, and while no device job is under way.
///
/// # Panics
/// If the core's files do not open.
#[must_use]
pub(super) fn harvest(core: &Core) -> Needles {
    let config = Config::load(&core.config(), std::env::vars_os()).expect("dev has written it");
    let layout = Layout::new(&config.data_dir);
    let cluster = layout.identity().expect("the core exists").cluster;
    let mut needles = Needles::default();
    needles.raw(Class::Control, cluster.as_bytes());
    let master = open_master(core, &config, &layout, &mut needles);
    master.expose(|key| needles.raw(Class::MasterKey, key));

    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(harvest_store(&copied(&layout.store()), cluster, &master, &mut needles));
    needles
}

/// A keystore that holds what the file at `store` holds now.
pub(super) fn copied(store: &Path) -> Arc<dyn Keystore> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = folder.path().join("store.redb");
    copy_store(store, &copy).expect("the keystore is there");
    // The files are open: the folder may go.
    Arc::new(Embedded::open(&copy).expect("a whole copy"))
}

/// Opens the MasterKey, and notes the PIN that went to the device process and the slot key that came back.
fn open_master(core: &Core, config: &Config, layout: &Layout, needles: &mut Needles) -> MasterKey {
    let custodian = config.seal.custodians.first().expect("dev has one");
    let config::Means::Pkcs11(pkcs11) = &custodian.means else { panic!("sealed by a token") };
    let process = DeviceProcess::new(ProcessSettings {
        program: binary("strongroom-device", "hsm-helper"),
        latch_dir: layout.latch(),
        environment: pkcs11.environment.clone(),
        deadline: DEVICE_DEADLINE,
    });
    let listener = Arc::new(Listener { process, heard: Mutex::default() });
    let means = Means::Pkcs11(Pkcs11Settings {
        module: pkcs11.token.module.clone(),
        token: pkcs11.token.name.clone(),
        key: pkcs11.key.clone(),
        pin: PinSource::Credential(core.dir().join("softhsm/credentials/hsm-pin")),
    });
    let settings = CustodianSettings { name: custodian.name.parse().expect("dev chose it"), region: None, means };
    let device: Arc<dyn Device> = Arc::<Listener>::clone(&listener);
    let seal =
        Seal::new(SealSettings { slots_dir: layout.slots(), custodians: vec![settings] }, &device).expect("dev's settings are sound");
    let opened = seal.unseal(Expected::default(), None).expect("the token is there");
    let heard = std::mem::take(&mut *listener.heard.lock().unwrap_or_else(PoisonError::into_inner));
    for (class, secret) in heard {
        secret.expose(|bytes| needles.raw(class, bytes));
        if class == Class::SlotKey {
            let prk = secret.expose(|key| kdf::extract(opened.slot.header.id.as_bytes(), key)).expect("the arena has room");
            prk.expose(|prk| needles.hmac(class, prk));
            derived(&prk, b"strongroom/slot/mk/1").expose(|key| needles.aes(class, key));
        }
    }
    opened.master
}

/// A device process whose secrets are listened to on their way in and out.
struct Listener {
    process: DeviceProcess,
    heard: Mutex<Vec<(Class, Bytes)>>,
}

impl Listener {
    fn hear(&self, class: Class, secret: Option<&Bytes>) {
        if let Some(secret) = secret {
            let copy = secret.expose(|from| Bytes::init_with(from.len(), |to| to.copy_from_slice(from))).expect("the arena has room");
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).push((class, copy));
        }
    }
}

impl Device for Listener {
    fn run(&self, job: &Job, secrets: Secrets<'_>) -> Result<Reply, DeviceError> {
        self.hear(Class::Pin, secrets.pin);
        let reply = self.process.run(job, secrets)?;
        self.hear(Class::SlotKey, reply.secret.as_ref());
        Ok(reply)
    }
}

async fn harvest_store(store: &Arc<dyn Keystore>, cluster: ClusterId, master: &MasterKey, needles: &mut Needles) {
    let registry = cluster::load(store, cluster, master).await.expect("the roots open").registry;
    let mut below = Harvest { cluster, registry: &registry, needles };
    let roots = [
        (Layer::Ivk, Class::Ivk, MasterPurpose::IvkWrap, b"strongroom/mk/ivk-wrap/1".as_slice()),
        (Layer::Integrity, Class::IntegrityKey, MasterPurpose::IntegrityWrap, b"strongroom/mk/integrity-wrap/1"),
        (Layer::Audit, Class::AuditKey, MasterPurpose::AuditWrap, b"strongroom/mk/audit-wrap/1"),
    ];
    let mut ivks = Vec::new();
    for (layer, class, purpose, label) in roots {
        let prk = master.expose(|key| below.prk(Class::MasterKey, key));
        let wrapping = derived(&prk, label);
        wrapping.expose(|key| below.needles.raw(Class::MasterKey, key));
        let prk = wrapping.expose(|key| below.prk(Class::MasterKey, key));
        let parent = master.parent(cluster, purpose).expect("the arena has room");
        for row in rows(store, layer).await {
            let opened = below.open(class, &parent, &prk, &row);
            match layer {
                Layer::Ivk => ivks.push((row, opened)),
                Layer::Integrity => opened.expose(|key| below.integrity(key)),
                _ => opened.expose(|seed| below.needles.ed25519(class, seed)),
            }
        }
    }
    let tenants = below.children(Class::L2, (Class::Ivk, &ivks), &rows(store, Layer::L2).await);
    let resources = below.children(Class::L2, (Class::L2, &tenants), &rows(store, Layer::L21).await);
    let services = rows(store, Layer::L3).await;
    for parents in [&tenants, &resources] {
        let _opened = below.children(Class::L3, (Class::L2, parents), &services);
    }
}

pub(super) async fn rows(store: &Arc<dyn Keystore>, layer: Layer) -> Vec<Row> {
    store.find(&Query { layer, terms: Vec::new(), before: None, limit: KEYS_MAX }).await.expect("a whole copy")
}

pub(super) struct Harvest<'a> {
    pub(super) cluster: ClusterId,
    pub(super) registry: &'a Registry,
    pub(super) needles: &'a mut Needles,
}

impl Harvest<'_> {
    /// The rows that one of `parents` wraps, opened.
    fn children(&mut self, class: Class, (parent_class, parents): (Class, &[(Row, Bytes)]), children: &[Row]) -> Vec<(Row, Bytes)> {
        let mut opened = Vec::new();
        for (row, key) in parents {
            let parent = key.expose(|key| ParentKey::new(self.cluster, key, row.header.aead)).expect("the arena has room");
            let prk = key.expose(|key| self.prk(parent_class, key));
            let is_child = |child: &&Row| {
                (child.header.parent.chain, child.header.parent.version) == (row.header.chain, row.header.version)
                    && child.material.is_some()
            };
            for child in children.iter().filter(is_child) {
                opened.push((child.clone(), self.open(class, &parent, &prk, child)));
            }
        }
        opened
    }

    /// Opens one row: its key, and the key of its blob.
    fn open(&mut self, class: Class, parent: &ParentKey, prk: &Key<64>, row: &Row) -> Bytes {
        let blob = row.material.as_deref().expect("a key has material");
        let binding = self.registry.material_binding(&row.header);
        self.blob_key(class, parent.aead(), prk, binding.parent, blob);
        let opened = parent.unwrap(&binding, blob).expect("the row opens");
        opened.expose(|key| self.key(class, key));
        opened
    }

    /// Key bytes as such; of those that encrypt by AES also what that makes of them.
    pub(super) fn key(&mut self, class: Class, key: &[u8]) {
        match key.try_into() {
            Ok(key) if matches!(class, Class::L3 | Class::L4) => self.needles.aes(class, key),
            _ => self.needles.raw(class, key),
        }
    }

    /// The key of one blob that is wrapped under `parent`, whose extracted key is `prk`.
    pub(super) fn blob_key(&mut self, class: Class, aead: Aead, prk: &Key<64>, parent: ParentRef, blob: &[u8]) {
        let salt = &blob[SALT_AT..SALT_AT + SALT_BYTES];
        let info = [WRAP_LABEL, &aead.number().to_be_bytes(), parent.chain.as_bytes(), &parent.version.0.to_be_bytes(), salt].concat();
        derived(prk, &info).expose(|key| self.needles.aes(class, key));
    }

    pub(super) fn prk(&mut self, class: Class, key: &[u8]) -> Key<64> {
        let prk = kdf::extract(self.cluster.as_bytes(), key).expect("the arena has room");
        prk.expose(|prk| self.needles.hmac(class, prk));
        prk
    }

    pub(super) fn integrity(&mut self, key: &[u8]) {
        let prk = self.prk(Class::IntegrityKey, key);
        for label in ["meta", "registry", "slots", "index", "records"] {
            let derived = derived(&prk, format!("strongroom/ik/{label}/1").as_bytes());
            derived.expose(|key| self.needles.hmac(Class::IntegrityDerived, key));
            if label == "records" {
                let _prk = derived.expose(|key| self.prk(Class::IntegrityDerived, key));
            }
        }
    }
}

fn derived(prk: &Key<64>, info: &[u8]) -> Key<32> {
    let derive = |out: &mut [u8; 32]| kdf::expand(prk, &[info], out).expect("32 bytes are few");
    Key::init_with(derive).expect("the arena has room")
}
