//! Tasks in one thread, polled one at a time in an order that the seed chooses.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::ports::lock;
use super::random::Dice;

/// Whose memory a task is part of; 0 is the core.
pub(crate) type Place = usize;

/// What runs.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Who can go on, in the order of their waking.
type Ready = Arc<Mutex<Vec<u64>>>;

struct Bell {
    task: u64,
    ready: Ready,
    has_rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if !self.has_rung.swap(true, Ordering::Relaxed) {
            lock(&self.ready).push(self.task);
        }
    }
}

struct Task {
    place: Place,
    work: Work,
    bell: Arc<Bell>,
}

/// Every task of every node.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: BTreeMap<u64, Task>,
    next: u64,
    ready: Ready,
}

impl Executor {
    pub(crate) fn spawn(&mut self, place: Place, work: Work) {
        let bell = Arc::new(Bell { task: self.next, ready: Arc::clone(&self.ready), has_rung: AtomicBool::new(false) });
        Arc::clone(&bell).wake();
        self.tasks.insert(self.next, Task { place, work, bell });
        self.next += 1;
    }

    /// Polls one of the tasks that can go on; false if none can.
    pub(crate) fn poll_one(&mut self, dice: &Dice) -> bool {
        loop {
            let waiting = lock(&self.ready).len() as u64;
            if waiting == 0 {
                return false;
            }
            let at = usize::try_from(dice.within(0..waiting)).expect("below a length");
            let id = lock(&self.ready).swap_remove(at);
            // One that has ended or crashed meanwhile is passed over.
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            task.bell.has_rung.store(false, Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(&task.bell));
            if task.work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                drop(self.tasks.remove(&id));
            }
            return true;
        }
    }

    /// A node's memory is gone: its tasks end wherever they are. The others look around.
    pub(crate) fn crash(&mut self, place: Place) {
        self.tasks.retain(|_, task| task.place != place);
        self.tasks.values().for_each(|task| Arc::clone(&task.bell).wake());
    }
}

/// Lets others go first, so many times.
pub(crate) async fn pause(mut times: u64) {
    std::future::poll_fn(|context| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
