//! Makes key pairs on threads that may be busy for seconds, a few at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use cipher::pair::{Pair, PairKind, generate};
use keys::port::{PairError, PairMaker};
use tokio::sync::Semaphore;

/// Most pairs that are made at once: each takes a processor.
const PAIRS_AT_ONCE_MAX: usize = 2;
/// Most clients whose pairs are made or waited for; the next one is told to come back.
const PAIRS_WAITED_FOR_MAX: usize = 32;

/// The makers of one opened node.
pub(crate) struct Pairs {
    room: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Default for Pairs {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(PAIRS_AT_ONCE_MAX)), waiting: AtomicUsize::new(0) }
    }
}

/// A place among those who wait, given back whatever happens.
struct Place<'p>(&'p AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pairs {
    fn place(&self) -> Result<Place<'_>, PairError> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(&self.waiting);
        if waiting < PAIRS_WAITED_FOR_MAX { Ok(place) } else { Err(PairError::Busy { waiting }) }
    }
}

#[async_trait]
impl PairMaker for Pairs {
    async fn make(&self, kind: PairKind) -> Result<Pair, PairError> {
        let _place = self.place()?;
        let turn = Arc::clone(&self.room).acquire_owned().await.expect("nobody closes it");
        // Whoever goes away meanwhile leaves the thread busy, so the turn is over only when that is done.
        let work = move || {
            let made = generate(kind);
            drop(turn);
            made
        };
        Ok(tokio::task::spawn_blocking(work).await.expect("making a pair does not panic")?)
    }
}

#[cfg(test)]
mod tests {
    use cipher::pair::Curve;
    use tokio::task::JoinSet;

    use super::*;

    /// So many clients who each want a pair, all begun.
    async fn clients(pairs: &Arc<Pairs>, count: usize) -> JoinSet<Result<Pair, PairError>> {
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let pairs = Arc::clone(pairs);
            clients.spawn(async move { pairs.make(PairKind::Ec(Curve::P256)).await });
        }
        tokio::task::yield_now().await;
        clients
    }

    #[tokio::test]
    async fn everybody_gets_a_pair_of_their_own() {
        let pairs = Arc::new(Pairs::default());
        let made = clients(&pairs, PAIRS_WAITED_FOR_MAX).await.join_all().await;
        let made: Vec<Pair> = made.into_iter().collect::<Result<_, _>>().expect("there is room for all");
        assert!(made.windows(2).all(|two| !two[0].private.ct_eq(&two[1].private)));
        assert_eq!(pairs.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn one_too_many_is_told_to_come_back_and_nobody_else_is() {
        let pairs = Arc::new(Pairs::default());
        let all = Arc::clone(&pairs.room).acquire_many_owned(2).await.expect("nobody closes it");
        let waiting = clients(&pairs, PAIRS_WAITED_FOR_MAX - 1).await;
        let mut gone = clients(&pairs, 1).await;
        let refused = pairs.make(PairKind::Ec(Curve::P256)).await;
        assert_eq!(refused.map(|_| ()), Err(PairError::Busy { waiting: PAIRS_WAITED_FOR_MAX }));
        gone.shutdown().await;
        let last = clients(&pairs, 1).await;
        drop(all);
        for made in waiting.join_all().await.into_iter().chain(last.join_all().await) {
            made.expect("there was room");
        }
    }
}
