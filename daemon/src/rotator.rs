//! The keeper that rotates the IVK when its time has come (KEK-3).
//!
//! When that is follows from the Active version's own record, so a node that was off for long rotates once, and one that was restored knows as well.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keys::id::Time;
use keys::policy::NodeRole;
use keys::rotate::NewIvk;

use crate::node::{Node, Open};
use crate::notices::Topic;
use crate::schedule::Schedule;
use crate::stop::Stop;
use crate::system::rfc3339;

/// How often it is looked whether a rotation is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So long after one that failed it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(10 * 60);
/// What status files the warnings under.
const TOPIC: Topic = Topic::Rotation;

/// The rotations of one node.
pub(crate) struct Rotator {
    node: Arc<Node>,
    /// When the next one is due, as of which unseal and which change of a version.
    due: Option<((Time, u64), Option<Time>)>,
    retry: Option<Instant>,
}

impl Rotator {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, due: None, retry: None }
    }

    /// Rotates whenever it is due, until it is told to stop.
    pub(crate) async fn run(mut self, mut stop: Stop) -> io::Result<()> {
        if self.node.config.role == NodeRole::Edge || self.node.config.ivk.schedule == Schedule::OnDemand {
            stop.requested().await;
            return Ok(());
        }
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "whether the IVK is due for rotation cannot be told");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.requested() => return Ok(()),
            }
        }
    }

    async fn look(&mut self) -> Result<(), keys::Error> {
        let Some(open) = self.node.open() else { return Ok(()) };
        let Some(due) = self.due(&open).await? else { return Ok(()) };
        if open.vault.now() < due || self.retry.is_some_and(|retry| Instant::now() < retry) {
            return Ok(());
        }
        // Sealing waits for whoever holds the domain.
        drop(open);
        self.due = None;
        match self.node.rotate_ivk(self.node.system, NewIvk::default()).await {
            Ok(_) => {
                self.retry = None;
                self.node.notices.say(TOPIC, Vec::new());
            }
            Err(error) => {
                tracing::warn!(%error, "the IVK is due for rotation, which is tried again in {RETRY_AFTER:?}");
                let warning = format!("the IVK was to be rotated at {}: {error}; run `strongroom ivk rotate`", rfc3339(due));
                self.node.notices.say(TOPIC, vec![warning]);
                self.retry = Some(Instant::now() + RETRY_AFTER);
            }
        }
        Ok(())
    }

    async fn due(&mut self, open: &Open) -> Result<Option<Time>, keys::Error> {
        let of = (open.since, open.vault.parents_epoch());
        if let Some((known, due)) = self.due
            && known == of
        {
            return Ok(due);
        }
        let due = self.node.ivk_due(&open.vault.ivk_status().await?, open.vault.now())?;
        self.due = Some((of, due));
        // Somebody has rotated it by hand.
        if due.is_some_and(|due| open.vault.now() < due) {
            self.node.notices.say(TOPIC, Vec::new());
        }
        Ok(due)
    }
}
