//! Asks keystores that were away when the node started until they answer, and tells the audit log of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use keys::policy::Action;
use keys::record::Outcome;
use tokio::time::sleep;

use crate::boot::BootError;
use crate::causes::told;
use crate::keystore::Tried;
use crate::node::Node;
use crate::stop::Stop;

/// How long they are left alone at first, doubled each time.
const PAUSE_LEAST: Duration = Duration::from_millis(250);
/// Never longer than this.
const PAUSE_MOST: Duration = Duration::from_secs(5);

/// Asks until all have answered.
///
/// # Errors
/// The default keystore answers and is not the node's: another start would say the same, and until then nothing is served anyway.
pub(crate) async fn keep(node: Arc<Node>, mut stop: Stop) -> io::Result<()> {
    tokio::select! {
        failed = await_all(&node) => failed?,
        () = stop.requested() => return Ok(()),
    }
    stop.requested().await;
    Ok(())
}

async fn await_all(node: &Node) -> io::Result<()> {
    let Some(keystores) = node.keystores.as_ref().filter(|keystores| keystores.awaits_any()) else { return Ok(()) };
    note(node, Outcome::Unavailable);
    let (mut pause, mut was_refused) = (PAUSE_LEAST, false);
    while keystores.awaits_any() {
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MOST);
        for Tried { keystore, is_default, outcome } in keystores.try_late().await {
            match outcome {
                Ok(()) => {
                    tracing::info!(keystore, "the keystore answers");
                    note(node, Outcome::Success);
                }
                Err(BootError::Store(error)) if storage::is_away(&error) => {}
                Err(error) => {
                    let why = told(&error);
                    if is_default {
                        note(node, Outcome::Denied);
                        return Err(io::Error::other(why));
                    }
                    if !std::mem::replace(&mut was_refused, true) {
                        tracing::error!(keystore, why, "the keystore answers and is of no use");
                        note(node, Outcome::Denied);
                    }
                }
            }
        }
    }
    Ok(())
}

fn note(node: &Node, outcome: Outcome) {
    if let Err(error) = node.note_own(node.system, Action::AwaitKeystore, outcome) {
        tracing::error!(%error, "what became of the keystore is not in the audit log");
    }
}
