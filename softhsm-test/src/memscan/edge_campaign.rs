//! The memory campaign of an edge: through all its states, looked at in each. It has keys of its own, and must never have one of its core's.

use std::time::Duration;

use crate::memscan::campaign::rarely;
use crate::memscan::edge_harvest::harvest_edge;
use crate::memscan::forms::Class;
use crate::memscan::harvest::harvest;
use crate::memscan::load::Besides;
use crate::memscan::look::{Look, pause};
use crate::memscan::table::Table;
use crate::requests;
use crate::{Edge, Who, wait_for};

/// KMIP requests of every kind, some of which the core answers.
const UNDER_LOAD: &str = "edge under load";
/// The same, while the L3 gets new versions, so that object keys and attribute keys are opened and wrapped anew.
const REKEYED: &str = "L3 re-keyed under load";
/// An edge that has asked its core for nothing in this time has nothing to ask.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Classes of the keys that an edge or its core has.
const CLASSES: usize = 12;

/// What an edge's states may show (C15): of the integrity key itself and of its core's keys nothing ever. Each request that is passed on to the core is
/// signed, and the keys that sign are in the clear for as long as that takes. After each Re-key object keys are wrapped anew by the dozen.
fn samples_max(state: &str, class: Class, samples: u64) -> u64 {
    match (state, class) {
        (REKEYED, Class::ObjectKey) => (samples / 20).max(3),
        (UNDER_LOAD | REKEYED, Class::L4 | Class::ObjectKey | Class::IntegrityDerived) => rarely(samples),
        (UNDER_LOAD | REKEYED, Class::AuditKey | Class::DelegationKey) => (samples / 10).max(4),
        _ => 0,
    }
}

/// Waits until the edge asks its core for no keys any more.
fn settled(edge: &Edge) -> bool {
    let calls = || edge.metrics().lines().filter(|line| line.contains("core_calls") && line.contains("wrap")).collect::<String>();
    wait_for(|| {
        let before = calls();
        pause(LOOK_AGAIN);
        before == calls()
    })
}

/// Takes an edge through its states, with `samples` samples under load.
///
/// # Panics
/// As [`crate::memscan::memory_campaign`].
#[must_use]
pub fn edge_memory_campaign(samples: u64) -> Table {
    let mut edge = Edge::prepared_with(&["lease: 1s", "offline_ttl: 10s"]);
    let mut needles = harvest(&edge.core);
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let key = requests::create(&mut client, "in use").expect("the edge is well");
    requests::activate(&mut client, &key).expect("it is new");
    let _secret = requests::register(&mut client, "a secret", b"correct horse battery staple").expect("the edge keeps it");
    let before = requests::encrypt(&mut client, &key, vec![7; 64]).expect("it is Active");
    assert_eq!(requests::get(&mut client, &key).expect("it is its own").len(), 32);
    needles.extend(&harvest_edge(&edge).list());
    let mut look = Look::new(&needles, samples_max);

    // The connection on which all that went to and fro is still there.
    look.idle("opened by its core", &edge);
    drop(client);
    look.under_load(UNDER_LOAD, samples, &edge, &key, &Besides::Upstream);
    look.under_load(REKEYED, samples / 5, &edge, &key, &Besides::Rekeying(&edge.core));
    assert!(settled(&edge), "what the load has left to be done is not done");
    look.idle("idle after load", &edge);
    // The keys that the load has made, of both.
    look.search_also_for(&harvest(&edge.core));
    look.search_also_for(&harvest_edge(&edge));
    look.idle("idle, new keys too", &edge);
    look.idle("its core, idle", &edge.core);
    look.core_image("core image", &edge);

    let opens = |edge: &Edge| edge.try_connect(Who::Service).is_ok_and(|mut client| requests::decrypt(&mut client, &before).is_ok());
    // Brought under the newest L3 by its use, and warm.
    assert!(opens(&edge) && settled(&edge) && opens(&edge), "the edge is well");
    edge.core.stop();
    assert!(opens(&edge), "the lease goes on for a while");
    look.idle("core gone", &edge);
    assert!(wait_for(|| !opens(&edge)), "no lease ends");
    look.idle("lease over", &edge);
    edge.core.start();
    assert!(wait_for(|| opens(&edge)) && settled(&edge), "the core is back");
    look.idle("core back", &edge);

    let _sealed = edge.ask(&["seal"]);
    look.once("sealed", &edge);
    look.core_image("core image, sealed", &edge);
    let _opened = edge.ask(&["unseal"]);
    assert!(opens(&edge) && settled(&edge), "it is open again");
    look.idle("opened again", &edge);
    let _revoked = edge.core.ask(&["edge", "revoke", "edge"]);
    assert!(wait_for(|| !opens(&edge)), "a revoked edge goes on");
    look.idle("edge revoked", &edge);
    edge.stop_both();
    look.files("files after TERM", &edge);
    assert_eq!(look.table.classes().count(), CLASSES, "not all of both nodes' keys were searched for");
    look.table
}
