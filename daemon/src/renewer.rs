//! The keeper that gives keys below the IVK their next version when their time has come, and writes down what has ended by its dates (ARCH-17, ARCH-21).
//!
//! A tenant's key, a resource's and a service's default key are due by when their version in force became that, by schedule or by an order to renew all below a key that
//! others may know (ARCH-22), so a walk over tenants and services tells all there is
//! to do. Walks take a hundredth of the time at most: with many tenants one is replaced so much later, by as little as its delay was drawn anyway.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use keys::id::{Layer, RowId, Time};
use keys::order::Order;
use keys::policy::NodeRole;
use keys::renew::{Expired, RenewCursor, Renewed, RenewedKeys, Standing};
use keys::sweep::Finding;
use keys::unit::{CommitError, Unit};

use crate::node::{Node, Open};
use crate::notices::Topic;
use crate::schedule::Schedule;
use crate::stop::Stop;

/// Tenants, services or keys that one commit looks at.
const STEP_ROWS: usize = 32;
/// Shortest rest between two walks.
const REST_MIN: Duration = Duration::from_secs(1);
/// A walk is followed by a rest so many times as long.
const REST_TIMES: u32 = 100;
/// So often one step is done again that loses a race to a client.
const TRIES_MAX: usize = 8;
/// What status files the warnings under.
const TOPIC: Topic = Topic::Renewal;
/// Most refused keys that are told one by one.
const TOLD_MAX: usize = 10;

/// The renewals of one node.
pub(crate) struct Renewer {
    node: Arc<Node>,
}

/// What one walk has done.
#[derive(Debug, Default)]
struct Walked {
    /// The orders that it carries out.
    orders: Vec<Order>,
    renewed: usize,
    ended: usize,
    refused: Vec<Finding>,
}

impl Walked {
    fn add(&mut self, step: Self) {
        let Self { orders: _, renewed, ended, refused } = step;
        (self.renewed, self.ended) = (self.renewed + renewed, self.ended + ended);
        self.refused.extend(refused);
    }
}

/// How far a walk has come.
enum Place {
    /// Tenants' keys and services' default keys.
    Standing(RenewCursor),
    /// All other keys below what orders name.
    Below(Option<RowId>),
    /// The orders that are done then.
    Ordered,
    /// Keys with an end.
    Ending(Option<RowId>),
}

impl Renewer {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Walks until it is told to stop.
    pub(crate) async fn run(self, mut stop: Stop) -> io::Result<()> {
        if self.node.config.role == NodeRole::Edge {
            stop.requested().await;
            return Ok(());
        }
        loop {
            let began = Instant::now();
            let walked = tokio::select! {
                walked = self.walk() => walked,
                () = stop.requested() => return Ok(()),
            };
            match walked {
                Ok(walked) => self.say(&walked),
                Err(error) => tracing::warn!(%error, "keys that are due for a next version wait"),
            }
            tokio::select! {
                () = self.rest(began.elapsed() * REST_TIMES) => {}
                () = stop.requested() => return Ok(()),
            }
        }
    }

    /// Rests so long, or until something is ordered, which does not wait.
    async fn rest(&self, rest: Duration) {
        let began = Instant::now();
        loop {
            tokio::time::sleep(REST_MIN).await;
            let is_ordered = match self.node.open() {
                Some(open) => open.vault.orders().await.is_ok_and(|orders| !orders.is_empty()),
                None => false,
            };
            if is_ordered || began.elapsed() >= rest {
                return;
            }
        }
    }

    /// One walk over everything that may be due; it ends early if the node is sealed.
    async fn walk(&self) -> Result<Walked, keys::Error> {
        let orders = match self.node.open() {
            Some(open) => {
                let now = open.vault.now();
                open.vault.orders().await?.into_iter().filter(|order| order.until < now).collect()
            }
            None => return Ok(Walked::default()),
        };
        let mut walked = Walked { orders, ..Walked::default() };
        let is_standing = self.is_scheduled() || !walked.orders.is_empty();
        let mut place = Some(if is_standing { Place::Standing(RenewCursor::default()) } else { Place::Ending(None) });
        while let Some(at) = place {
            place = self.step(&at, &mut walked).await?;
            tokio::task::yield_now().await;
        }
        Ok(walked)
    }

    fn is_scheduled(&self) -> bool {
        let ivk = &self.node.config.ivk;
        ivk.tenants != Schedule::OnDemand || ivk.resources != Schedule::OnDemand || ivk.services != Schedule::OnDemand
    }

    /// Commits one step, which is done again if it loses a race, and says where to go on.
    async fn step(&self, at: &Place, walked: &mut Walked) -> Result<Option<Place>, keys::Error> {
        for _ in 0..TRIES_MAX {
            // The domain is held for one step only: sealing waits for whoever holds it.
            let Some(open) = self.node.open() else { return Ok(None) };
            let mut unit = open.vault.begin(self.node.system);
            let (step, next) = match self.stage(&open, &mut unit, at, walked).await {
                Err(keys::Error::Raced) => continue,
                done => done?,
            };
            match unit.commit().await {
                Ok(_receipt) => {
                    self.node.renewed.fetch_add(step.renewed as u64, Ordering::Relaxed);
                    walked.add(step);
                    return Ok(next);
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(keys::Error::Raced)
    }

    async fn stage(&self, open: &Open, unit: &mut Unit, at: &Place, walked: &Walked) -> Result<(Walked, Option<Place>), keys::Error> {
        match at {
            Place::Standing(cursor) => {
                let now = open.vault.now();
                let is_due = |standing: &Standing| walked.orders.iter().any(|order| order.wants(standing)) || self.is_due(standing, now);
                let Renewed { next, renewed, refused } = open.vault.renew(unit, cursor.clone(), STEP_ROWS, is_due).await?;
                let behind = if walked.orders.is_empty() { Place::Ordered } else { Place::Below(None) };
                let next = next.map_or(behind, Place::Standing);
                Ok((Walked { renewed, refused, ..Walked::default() }, Some(next)))
            }
            Place::Below(before) => {
                let RenewedKeys { next, renewed, refused } = open.vault.renew_ordered(unit, *before, STEP_ROWS, &walked.orders).await?;
                let next = next.map_or(Place::Ordered, |before| Place::Below(Some(before)));
                Ok((Walked { renewed, refused, ..Walked::default() }, Some(next)))
            }
            Place::Ordered => {
                // What does not verify now is due again when it was put back.
                if walked.refused.is_empty() {
                    open.vault.end_orders(unit, &walked.orders).await?;
                }
                Ok((Walked::default(), Some(Place::Ending(None))))
            }
            Place::Ending(before) => {
                let is_replaced = self.node.config.ivk.replace_expired;
                let Expired { next, ended, renewed, refused } = open.vault.expire(unit, *before, STEP_ROWS, is_replaced).await?;
                Ok((Walked { renewed, ended, refused, ..Walked::default() }, next.map(|before| Place::Ending(Some(before)))))
            }
        }
    }

    fn is_due(&self, standing: &Standing, now: Time) -> bool {
        let ivk = &self.node.config.ivk;
        let schedule = match standing.key.layer {
            Layer::L2 => &ivk.tenants,
            Layer::L21 => &ivk.resources,
            _ => &ivk.services,
        };
        // The identifier is this version's own, and random in its second half.
        schedule.due(standing.since, now, &[standing.key.uuid.as_bytes()]).is_some_and(|due| due <= now)
    }

    fn say(&self, walked: &Walked) {
        let Walked { renewed, ended, refused, .. } = walked;
        if *renewed > 0 || *ended > 0 {
            tracing::info!(renewed, ended, "keys got a next version by themselves, or ended by their dates");
        }
        self.node.notices.say(TOPIC, warnings(refused));
    }
}

fn warnings(refused: &[Finding]) -> Vec<String> {
    let one = |Finding { row, what }: &Finding| format!("{row} has no next version by itself ({what}): restore it from a backup");
    let more = refused.len().saturating_sub(TOLD_MAX);
    let rest = (more > 0).then(|| format!("{more} more keys have no next version by themselves"));
    refused.iter().take(TOLD_MAX).map(one).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_first_refused_keys_are_named_and_the_others_counted() {
        let refused = |count: u128| -> Vec<String> {
            let finding = |row| Finding { row: RowId::new(Layer::L3, Uuid::from_u128(row)), what: "the blob does not verify".to_owned() };
            warnings(&(0..count).map(finding).collect::<Vec<_>>())
        };
        assert_eq!((refused(0).len(), refused(10).len(), refused(17).len()), (0, 10, 11));
        assert!(refused(17)[0].contains("L3-00000000") && refused(17)[10].starts_with("7 more keys"), "{:?}", refused(17));
    }
}
