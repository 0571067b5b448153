//! What the daemon tells its service manager, if there is one: how it stands, that a start takes longer, and that it is alive.
//!
//! A sign of life says that a restart would mend nothing: the runtime takes up tasks, the node's state can be looked at, and the audit log answers, with
//! a refusal if need be. Whether the keystore answers is not asked, nor whether the disk does: a node that is started anew has the same keystore and
//! the same disk, and has lost what it could serve without them. A sealed node is alive.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use keys::port::AuditSink;
use sd_notify::NotifyState;
use tokio::task::JoinError;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::node::Node;
use crate::stop::Stop;

/// How often a start that is not over asks for more time.
const EXTEND_EVERY: Duration = Duration::from_secs(10);
/// For how long it asks.
const EXTEND_BY: Duration = Duration::from_secs(30);
/// How often it asks: a keystore that was not closed is gone through for minutes, and never for hours.
const EXTENSIONS_MAX: u32 = 360;
/// So many signs of life are due within the time after which the service manager takes the daemon for dead.
const SIGNS_WITHIN: u32 = 4;

/// Tells the service manager, if there is one.
pub(crate) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager was not told");
    }
}

/// Asks for more time until it is dropped, or has asked often enough.
pub(crate) async fn starting() {
    let by = u32::try_from(EXTEND_BY.as_micros()).expect("a constant below an hour");
    for _ in 0..EXTENSIONS_MAX {
        tell(&[NotifyState::ExtendTimeoutUsec(by), NotifyState::Status("starting: opening keystore and audit log")]);
        sleep(EXTEND_EVERY).await;
    }
}

/// Gives signs of life, if they are asked for, and tells each change of the node's state.
///
/// # Errors
/// None; a part of the node that runs returns a result.
pub(crate) async fn keep(node: Arc<Node>, mut stop: Stop) -> io::Result<()> {
    tokio::select! {
        never = keep_told(&node) => match never {},
        never = keep_alive(&node) => match never {},
        () = stop.requested() => Ok(()),
    }
}

async fn keep_told(node: &Node) -> Infallible {
    let mut told = node.standing();
    loop {
        let changed = node.changed();
        let standing = node.standing();
        if told != standing {
            tell(&[NotifyState::Status(&standing)]);
            told = standing;
        }
        changed.await;
    }
}

async fn keep_alive(node: &Arc<Node>) -> Infallible {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| *limit >= Duration::from_millis(1)) else { return pending().await };
    let mut signs = interval(limit / SIGNS_WITHIN);
    signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_well = true;
    loop {
        signs.tick().await;
        let answered = matches!(timeout(limit / 2, answers(node)).await, Ok(Ok(())));
        if answered {
            tell(&[NotifyState::Watchdog]);
        } else if is_well {
            tracing::error!(
                "no sign of life is given: the node's state or its audit log does not answer; the service manager ends the daemon"
            );
        }
        is_well = answered;
    }
}

/// Returns when another task and another thread have had their turn, and the log has said whether it takes records.
async fn answers(node: &Arc<Node>) -> Result<(), JoinError> {
    tokio::spawn(ready(())).await?;
    let node = Arc::clone(node);
    let looked = move || {
        let _sealed_or_not = node.sealed();
        let _takes_or_refuses = node.audit.ready();
    };
    tokio::task::spawn_blocking(looked).await
}
