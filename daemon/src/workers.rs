//! Does what takes a processor for seconds, key pairs and derivations from passwords, on threads of its own, a few at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use cipher::derive::Stretch;
use cipher::pair::{Pair, PairKind, generate};
use keys::port::{PairError, PairMaker, StretchError, Stretcher};
use secret::Bytes;
use tokio::sync::Semaphore;

/// Most works that are done at once: each takes a processor.
const WORKS_AT_ONCE_MAX: usize = 2;
/// Most clients whose work is done or waited for; the next one is told to come back.
const WAITED_FOR_MAX: usize = 32;

/// The workers of one opened node.
pub(crate) struct Workers {
    room: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Default for Workers {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(WORKS_AT_ONCE_MAX)), waiting: AtomicUsize::new(0) }
    }
}

/// A place among those who wait, given back whatever happens.
struct Place<'p>(&'p AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// So many wait already.
struct Busy(usize);

impl Workers {
    fn place(&self) -> Result<Place<'_>, Busy> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(&self.waiting);
        if waiting < WAITED_FOR_MAX { Ok(place) } else { Err(Busy(waiting)) }
    }

    async fn done<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let _place = self.place()?;
        let turn = Arc::clone(&self.room).acquire_owned().await.expect("nobody closes it");
        // Whoever goes away meanwhile leaves the thread busy, so the turn is over only when that is done.
        let work = move || {
            let done = work();
            drop(turn);
            done
        };
        Ok(tokio::task::spawn_blocking(work).await.expect("the work does not panic"))
    }
}

#[async_trait]
impl PairMaker for Workers {
    async fn make(&self, kind: PairKind) -> Result<Pair, PairError> {
        let made = self.done(move || generate(kind)).await.map_err(|Busy(waiting)| PairError::Busy { waiting })?;
        Ok(made?)
    }
}

#[async_trait]
impl Stretcher for Workers {
    async fn stretch(&self, stretch: Stretch) -> Result<Bytes, StretchError> {
        let derived = self.done(move || stretch.run()).await.map_err(|Busy(waiting)| StretchError::Busy { waiting })?;
        Ok(derived?)
    }
}

#[cfg(test)]
mod tests {
    use cipher::Hash;
    use cipher::pair::Curve;
    use tokio::task::JoinSet;

    use super::*;

    /// So many clients who each want a pair, all begun.
    async fn clients(workers: &Arc<Workers>, count: usize) -> JoinSet<Result<Pair, PairError>> {
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let workers = Arc::clone(workers);
            clients.spawn(async move { workers.make(PairKind::Ec(Curve::P256)).await });
        }
        tokio::task::yield_now().await;
        clients
    }

    fn stretch() -> Stretch {
        Stretch::new(Hash::Sha256, b"password", b"salt", 4096, 32).expect("it may be asked for")
    }

    /// The value is that of RFC 8018's function by Python's hashlib.
    #[tokio::test]
    async fn a_derivation_waits_for_its_turn_while_the_thread_that_asked_serves_others() {
        let workers = Arc::new(Workers::default());
        let all = Arc::clone(&workers.room).acquire_many_owned(2).await.expect("nobody closes it");
        let asked = Arc::clone(&workers);
        let derived = tokio::spawn(async move { asked.stretch(stretch()).await });
        // One thread runs both tasks: it comes back here.
        tokio::task::yield_now().await;
        assert_eq!((workers.waiting.load(Ordering::Relaxed), derived.is_finished()), (1, false));
        drop(all);
        let derived = derived.await.expect("it does not panic").expect("there is room");
        assert!(derived.expose(|bytes| bytes.starts_with(&[0xc5, 0xe4, 0x78, 0xd5, 0x92, 0x88, 0xc8, 0x41])));
        assert_eq!(workers.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn everybody_gets_a_pair_of_their_own() {
        let workers = Arc::new(Workers::default());
        let made = clients(&workers, WAITED_FOR_MAX).await.join_all().await;
        let made: Vec<Pair> = made.into_iter().collect::<Result<_, _>>().expect("there is room for all");
        assert!(made.windows(2).all(|two| !two[0].private.ct_eq(&two[1].private)));
        assert_eq!(workers.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn one_too_many_is_told_to_come_back_and_nobody_else_is() {
        let workers = Arc::new(Workers::default());
        let all = Arc::clone(&workers.room).acquire_many_owned(2).await.expect("nobody closes it");
        let waiting = clients(&workers, WAITED_FOR_MAX - 1).await;
        let mut gone = clients(&workers, 1).await;
        let refused = workers.make(PairKind::Ec(Curve::P256)).await;
        assert_eq!(refused.map(|_| ()), Err(PairError::Busy { waiting: WAITED_FOR_MAX }));
        let refused = workers.stretch(stretch()).await;
        assert_eq!(refused.map(|_| ()), Err(StretchError::Busy { waiting: WAITED_FOR_MAX }), "they wait in one line");
        gone.shutdown().await;
        let last = clients(&workers, 1).await;
        drop(all);
        for made in waiting.join_all().await.into_iter().chain(last.join_all().await) {
            made.expect("there was room");
        }
    }
}
