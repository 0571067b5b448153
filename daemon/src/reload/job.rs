//! A piece of work beside its owner, who goes on meanwhile: it may wait for a disk that never answers.

use std::future::pending;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

/// At most one piece of work of its kind.
pub(super) struct Job<T> {
    running: Option<(JoinHandle<T>, Instant)>,
}

impl<T> Default for Job<T> {
    fn default() -> Self {
        Self { running: None }
    }
}

impl<T: Send + 'static> Job<T> {
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Has it been running for longer than this?
    pub(super) fn exceeds(&self, limit: Duration) -> bool {
        self.running.as_ref().is_some_and(|(_, began)| began.elapsed() >= limit)
    }

    /// Begins it on a thread that may wait.
    pub(super) fn block(&mut self, work: impl FnOnce() -> T + Send + 'static) {
        self.running = Some((tokio::task::spawn_blocking(work), Instant::now()));
    }

    /// Begins it as a task.
    pub(super) fn spawn(&mut self, work: impl Future<Output = T> + Send + 'static) {
        self.running = Some((tokio::spawn(work), Instant::now()));
    }

    /// Nobody wants to know any more.
    pub(super) fn drop_it(&mut self) {
        if let Some((handle, _)) = self.running.take() {
            handle.abort();
        }
    }

    /// Waits for its end; for ever if there is none. Nothing is lost if it is not waited for to the end.
    pub(super) async fn ended(&mut self) -> T {
        let Some((handle, _)) = &mut self.running else { return pending().await };
        let done = handle.await.expect("the work does not panic");
        self.running = None;
        done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A disk that does not answer holds up nothing but its own reader.
    #[tokio::test]
    async fn work_that_hangs_is_seen_to_be_late_and_its_end_is_not_missed() {
        let (answer, disk) = mpsc::channel();
        let mut job = Job::default();
        assert!(!job.is_running() && !job.exceeds(Duration::ZERO));
        job.block(move || disk.recv().expect("somebody answers at last"));
        let given_up = tokio::time::timeout(Duration::from_millis(20), job.ended()).await;
        assert!(given_up.is_err(), "it has not ended");
        assert!(job.is_running() && job.exceeds(Duration::from_millis(20)) && !job.exceeds(Duration::from_secs(3600)));
        answer.send(7).expect("it waits");
        assert_eq!(job.ended().await, 7);
        assert!(!job.is_running() && !job.exceeds(Duration::ZERO));
    }
}
