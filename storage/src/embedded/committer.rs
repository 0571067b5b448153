//! The thread on which the engine writes, and where a panic of the engine is survived that could not be unwound.
//!
//! The engine trusts the pages that it reads. Where it meets damage among its own books while it commits, it may panic, and panic once more while that
//! unwinds, which would end the process: of 23,000 flipped bits in a small file three did. So a panic in the midst of a commit, as also the closing of
//! the file is one, is not unwound at all. The panic hook tells who waits and stops the thread where it stands, with all that it holds, for the rest of the process's life. That is
//! little: after damage nothing is written any more, and readers share no lock with a commit for long.

use std::cell::{Cell, RefCell};
use std::io;
use std::panic;
use std::sync::Once;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use keys::port::StoreError;
use tokio::sync::oneshot;

type Outcome = Result<(), StoreError>;
type Job = Box<dyn FnOnce() -> Outcome + Send>;
/// Called with what came of a job; dropped if the thread was stopped.
type Waiting = Box<dyn FnOnce(Outcome) + Send>;
type Jobs = Receiver<(Job, Waiting)>;

thread_local! {
    /// Further jobs, and who waits for the one that is being done: both are dropped if a panic stops the thread, which is how it is heard of.
    static QUEUE: RefCell<Option<Jobs>> = const { RefCell::new(None) };
    static WAITING: Cell<Option<Waiting>> = const { Cell::new(None) };
    static IS_COMMITTING: Cell<bool> = const { Cell::new(false) };
}

/// One thread that does one job at a time; it ends with the value.
pub(super) struct Committer {
    jobs: Sender<(Job, Waiting)>,
}

impl Committer {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        stop_instead_of_unwinding();
        let (jobs, queue) = channel();
        thread::Builder::new().name("keystore".to_owned()).spawn(move || {
            QUEUE.set(Some(queue));
            work();
        })?;
        Ok(Self { jobs })
    }

    /// What came of the job; `None` if the engine panicked in it or in an earlier one. It is done also if nobody waits for it any more.
    pub(super) async fn run(&self, job: impl FnOnce() -> Outcome + Send + 'static) -> Option<Outcome> {
        let (waiting, told) = oneshot::channel();
        self.give(job, |outcome| drop(waiting.send(outcome)))?;
        told.await.ok()
    }

    /// As [`Committer::run`], for a destructor.
    pub(super) fn run_blocking(&self, job: impl FnOnce() -> Outcome + Send + 'static) -> Option<Outcome> {
        let (waiting, told) = channel();
        self.give(job, move |outcome| drop(waiting.send(outcome)))?;
        told.recv().ok()
    }

    fn give(&self, job: impl FnOnce() -> Outcome + Send + 'static, waiting: impl FnOnce(Outcome) + Send + 'static) -> Option<()> {
        self.jobs.send((Box::new(job), Box::new(waiting))).ok()
    }
}

fn work() {
    while let Some((job, waiting)) = QUEUE.with_borrow(|queue| queue.as_ref()?.recv().ok()) {
        WAITING.set(Some(waiting));
        let outcome = job();
        if let Some(waiting) = WAITING.take() {
            waiting(outcome);
        }
    }
}

/// Runs the part of a job that may not be unwound.
pub(super) fn committing<R>(work: impl FnOnce() -> R) -> R {
    IS_COMMITTING.set(true);
    let done = work();
    IS_COMMITTING.set(false);
    done
}

/// Sees to it that a panic inside [`committing`] stops its thread. Other panics go on as before.
///
/// The thread stays inside the hook, so nobody may set another one after a panic: it would wait for ever.
fn stop_instead_of_unwinding() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            others(panic);
            if IS_COMMITTING.get() {
                drop((QUEUE.take(), WAITING.take()));
                loop {
                    thread::park();
                }
            }
        }));
    });
}
