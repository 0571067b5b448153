//! Who holds the places of the listener, and who goes first when there is none left.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keys::id::SessionId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A connection that is told to go has gone within this time.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// The places of authenticated connections.
pub(super) struct Places {
    free: Arc<Semaphore>,
    held: Mutex<HashMap<SessionId, Held>>,
    start: Instant,
}

/// What is known of one connection.
struct Held {
    certificate: [u8; 32],
    activity: Arc<Activity>,
    leave: Arc<Notify>,
}

/// When a connection was last at work.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    /// Milliseconds since `start`.
    last: AtomicU64,
}

impl Activity {
    fn since(start: Instant) -> Self {
        let activity = Self { start, last: AtomicU64::new(0) };
        activity.touch();
        activity
    }

    /// The connection is at work now.
    pub(super) fn touch(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }
}

/// One place; free again when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    session: SessionId,
    activity: Arc<Activity>,
    leave: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// So many places.
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(count)), held: Mutex::default(), start: Instant::now() })
    }

    /// A place for a session; if there is none, the longest idle connection of the busiest certificate gives its own (C21).
    ///
    /// `None` if that one does not go in time.
    pub(super) async fn take(self: &Arc<Self>, session: SessionId, certificate: [u8; 32]) -> Option<Place> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.send_one_away();
                timeout(LEAVE_WITHIN, Arc::clone(&self.free).acquire_owned()).await.ok()?.ok()?
            }
        };
        let (activity, leave) = (Arc::new(Activity::since(self.start)), Arc::new(Notify::new()));
        let held = Held { certificate, activity: Arc::clone(&activity), leave: Arc::clone(&leave) };
        self.held().insert(session, held);
        Some(Place { places: Arc::clone(self), session, activity, leave, _permit: permit })
    }

    fn send_one_away(&self) {
        let mut held = self.held();
        let mut crowds: HashMap<[u8; 32], usize> = HashMap::new();
        for one in held.values() {
            *crowds.entry(one.certificate).or_default() += 1;
        }
        let weight = |one: &Held| (crowds[&one.certificate], std::cmp::Reverse(one.activity.last.load(Ordering::Relaxed)));
        let Some(session) = held.iter().max_by_key(|(_, one)| weight(one)).map(|(session, _)| *session) else { return };
        // Taken out at once, so that the next newcomer sends away another one.
        if let Some(one) = held.remove(&session) {
            one.leave.notify_one();
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<SessionId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// To be touched with each request.
    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Waits until the place is wanted by another.
    pub(super) async fn wanted(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.held().remove(&self.session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CROWD: [u8; 32] = [1; 32];
    const LONER: [u8; 32] = [2; 32];

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_of_the_busiest_goes_and_nobody_else() {
        let places = Places::new(3);
        let take = |session, certificate| places.take(SessionId(session), certificate);
        let loner = take(1, LONER).await.expect("there are three places");
        let idle = take(2, CROWD).await.expect("there are three places");
        let active = take(3, CROWD).await.expect("there are three places");
        loner.activity.last.store(10, Ordering::Relaxed);
        idle.activity.last.store(20, Ordering::Relaxed);
        active.activity.last.store(30, Ordering::Relaxed);
        let newcomer = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take(SessionId(4), LONER).await.is_some() }
        });
        idle.wanted().await;
        drop(idle);
        assert!(newcomer.await.expect("it does not panic"), "the place that was given up is taken");
        for other in [&loner, &active] {
            assert!(timeout(LEAVE_WITHIN, other.wanted()).await.is_err(), "session {} was sent away", other.session.0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_go_in_time_is_not_waited_for() {
        let places = Places::new(1);
        let _stays = places.take(SessionId(1), CROWD).await.expect("there is a place");
        assert!(places.take(SessionId(2), LONER).await.is_none());
    }

    #[tokio::test]
    async fn a_place_given_back_is_free() {
        let places = Places::new(1);
        for session in 1..4 {
            assert!(places.take(SessionId(session), CROWD).await.is_some());
        }
        assert!(places.held().is_empty());
    }
}
