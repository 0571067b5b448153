//! What an edge does by itself: opens as soon as a core answers, renews its lease, keeps object keys ready, hears the other edges of its keystore.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use keys::edge::Tended;
use keys::sharing::HEARD_FOR;
use tokio::time::{Instant, sleep, sleep_until};

use crate::node::{Node, Open};
use crate::notices::Topic;
use crate::stop::Stop;

/// How often a core is asked while the edge is closed, or after something failed.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How often the other edges are heard that share the keystore: one that fails is made up for in time.
const HEAR_EVERY: Duration = Duration::from_millis(500);
/// What status files the warnings under.
const TOPIC: Topic = Topic::SharedKeystore;

/// Tends an edge until told to stop; a core needs none of it.
///
/// # Errors
/// None; the type is that of all tasks of a node.
pub async fn keep(node: Arc<Node>, mut stop: Stop) -> io::Result<()> {
    let Some((every, is_shared)) = node.config.edge.as_ref().map(|edge| (edge.lease, edge.is_shared)) else {
        stop.requested().await;
        return Ok(());
    };
    loop {
        let changed = node.changed();
        let work = async {
            match node.open() {
                Some(open) if is_shared => tokio::select! {
                    () = tend(&open, every) => {}
                    () = hear(&node, &open) => {}
                },
                Some(open) => tend(&open, every).await,
                None => open_again(&node).await,
            }
        };
        tokio::select! {
            () = work => {}
            // Whoever tends an open node holds it open, so a seal ends that.
            () = changed => {}
            () = stop.requested() => return Ok(()),
        }
    }
}

async fn open_again(node: &Node) {
    sleep(RETRY_EVERY).await;
    if let Err(error) = node.reopen().await {
        tracing::debug!(%error, "still closed");
    }
}

/// Hears the other edges for as long as nobody ends it.
async fn hear(node: &Node, open: &Open) {
    let mut heard = Instant::now();
    loop {
        let asked = Instant::now();
        match open.vault.hear().await {
            Ok(_nodes) => {
                heard = asked;
                node.notices.say(TOPIC, Vec::new());
            }
            Err(error) if heard.elapsed() >= HEARD_FOR => {
                let what = "it is not known what other edges change in the shared keystore, so every key is read from there at each use";
                node.notices.say(TOPIC, vec![format!("{what}: {error}")]);
            }
            Err(error) => tracing::debug!(%error, "the other edges are not heard"),
        }
        sleep_until(asked + HEAR_EVERY).await;
    }
}

/// Renews and tends for as long as nobody ends it.
async fn tend(open: &Open, every: Duration) {
    let vault = &open.vault;
    // The lease of the opening itself is as good as new.
    let mut renew_at = Instant::now() + every;
    let mut was_heard = true;
    loop {
        tokio::select! {
            () = sleep_until(renew_at) => {
                let renewed = vault.renew_lease().await;
                renew_at = Instant::now() + if renewed.is_ok() { every } else { every.min(RETRY_EVERY) };
                match (&renewed, was_heard) {
                    (Err(error), true) => tracing::warn!(%error, "the lease was not renewed"),
                    (Ok(()), false) => tracing::info!("the lease is renewed again"),
                    _ => {}
                }
                was_heard = renewed.is_ok();
            }
            () = vault.due() => match vault.tend().await {
                Ok(Tended { rewrapped, refused }) => {
                    for finding in refused {
                        tracing::error!(row = %finding.row, what = finding.what, "an object stays under an older L3");
                    }
                    if rewrapped > 0 {
                        tracing::info!(objects = rewrapped, "brought under the newest L3");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "object keys are not ready");
                    sleep(RETRY_EVERY).await;
                }
            },
        }
    }
}
