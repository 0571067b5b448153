//! The true keys of an edge, opened by its core as the edge itself has them opened, and turned into needles.

use std::collections::HashMap;
use std::sync::Arc;

use cipher::aead::Aead;
use daemon::config::Config;
use daemon::layout::Layout;
use daemon::role::upstream::Cores;
use keys::edge;
use keys::entropy::Randomness;
use keys::envelope::Envelope;
use keys::id::{Layer, RowId, ServiceId};
use keys::lease::Lease;
use keys::port::Upstream;
use keys::row::ParentRef;
use keys::wrap::ParentKey;
use secret::{Bytes, Key};

use crate::Edge;
use crate::memscan::forms::{Class, Needles};
use crate::memscan::harvest::{Harvest, copied, rows};

/// How an edge wraps under its object keys.
const AEAD: Aead = Aead::Aes256Gcm;

/// Needles for every key of an edge: its own, those of its newest objects, and their material, as its keystore holds them now.
///
/// The keystore is copied first: call it while the edge does nothing and its core answers.
///
/// # Panics
/// If the edge's files do not open.
#[must_use]
pub(super) fn harvest_edge(edge: &Edge) -> Needles {
    let mut needles = Needles::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(harvest(edge, &mut needles));
    needles
}

async fn harvest(edge: &Edge, needles: &mut Needles) {
    let config = Config::load(&edge.config(), std::env::vars_os()).expect("dev has written it");
    let layout = Layout::new(&config.data_dir);
    let own = layout.identity().expect("the edge exists").edge.expect("it is an edge");
    let cores = Cores::new(&config.edge.expect("it is an edge"));
    let lease = cores.lease().await.expect("the core answers");
    for (class, stored) in [(Class::AuditKey, own.audit_key), (Class::DelegationKey, own.delegation_key)] {
        let seed = edge::open_root(&cores, &lease, &stored).await.expect("it is this group's");
        seed.expose(|seed| needles.ed25519(class, seed));
    }
    let store = copied(&layout.store());
    let randomness = Randomness::new(Arc::new(daemon::system::SystemEntropy));
    let (registry, made) = edge::roots(&store, &cores, &lease, &randomness).await.expect("the roots open");
    assert!(made.is_none(), "an edge that has started keeps its integrity key");
    let mut below = Harvest { cluster: lease.cluster, registry: &registry, needles };
    for row in rows(&store, Layer::Integrity).await {
        let stored = row.material.as_deref().expect("a key has material");
        let key = edge::open_root(&cores, &lease, stored).await.expect("it is this group's");
        key.expose(|key| {
            below.needles.raw(Class::IntegrityKey, key);
            below.integrity(key);
        });
    }

    let mut attribute_keys = HashMap::new();
    for row in rows(&store, Layer::AttributeKey).await {
        let envelope = Envelope::decode(row.material.as_deref().expect("a key has material")).expect("an edge has written it");
        let (_, prk) = object_key(&mut below, &cores, &lease, row.header.parent, &envelope).await;
        attribute_keys.insert(ServiceId::new(row.header.id.uuid), (envelope.id, prk));
    }
    assert!(!attribute_keys.is_empty(), "the edge has made nothing yet");
    for row in rows(&store, Layer::L4).await {
        let (id, prk) = &attribute_keys[&row.header.owner.service.expect("an object belongs to a service")];
        let attributes = row.attributes.as_deref().expect("an object has attributes");
        below.blob_key(Class::ObjectKey, AEAD, prk, id.parent(), attributes);
        // Destroyed: there is nothing left to be found.
        let Some(material) = row.material.as_deref() else { continue };
        let envelope = Envelope::decode(material).expect("an edge has written it");
        let (key, prk) = object_key(&mut below, &cores, &lease, row.header.parent, &envelope).await;
        below.blob_key(Class::ObjectKey, AEAD, &prk, envelope.id.parent(), envelope.sealed);
        let key = key.expose(|key| ParentKey::new(lease.cluster, key, AEAD)).expect("the arena has room");
        let binding = keys::wrap::Binding { parent: envelope.id.parent(), ..registry.material_binding(&row.header) };
        key.unwrap(&binding, envelope.sealed).expect("the object opens").expose(|material| below.key(Class::L4, material));
    }
}

/// Has an object key opened; notes it and what is extracted from it.
async fn object_key(below: &mut Harvest<'_>, cores: &Cores, lease: &Lease, parent: ParentRef, envelope: &Envelope<'_>) -> (Bytes, Key<64>) {
    let key = cores.unwrap(l3(lease, parent), envelope.id, envelope.wrapped).await.expect("the core opens it");
    key.expose(|key| below.key(Class::ObjectKey, key));
    let prk = key.expose(|key| below.prk(Class::ObjectKey, key));
    (key, prk)
}

fn l3(lease: &Lease, parent: ParentRef) -> RowId {
    let service = lease.tenants.iter().flat_map(|tenant| &tenant.services).find(|service| service.chain == parent.chain);
    let mut versions = service.into_iter().flat_map(|service| &service.versions);
    versions.find(|key| key.version == parent.version).expect("the lease names it").id
}
