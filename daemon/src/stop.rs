//! The word to stop, from the one who says it to everybody who waits for it.

use tokio::sync::watch;

/// Says the word.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// Hears the word.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

/// A pair that is not stopped yet.
#[must_use]
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Everybody is to stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Waits until the word was said, also if that was before.
    pub async fn requested(&mut self) {
        // A sender that is gone cannot say it any more: that is a stop too.
        let _said = self.0.wait_for(|stopping| *stopping).await;
    }
}
