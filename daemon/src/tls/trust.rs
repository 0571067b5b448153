//! What a listener believes now: one immutable value, replaced as a whole while connections follow it.

use std::sync::Arc;

use tokio::sync::watch;

use super::ServerTls;
use crate::identity::Rules;

/// Certificates, whose clients are let in, and who they are.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The listener's own certificates, the CAs of its clients and what they have revoked.
    pub tls: ServerTls,
    /// Who a client is, by its certificate.
    pub rules: Rules,
}

/// Replaces the trust of one listener.
#[derive(Debug)]
pub struct TrustKeeper(watch::Sender<Arc<Trust>>);

/// Follows the trust of one listener. Asking whether it was replaced costs one atomic load.
#[derive(Debug, Clone)]
pub struct Trusted(watch::Receiver<Arc<Trust>>);

/// The two ends of a listener's trust.
#[must_use]
pub fn trust(first: Trust) -> (TrustKeeper, Trusted) {
    let (sender, receiver) = watch::channel(Arc::new(first));
    (TrustKeeper(sender), Trusted(receiver))
}

impl TrustKeeper {
    /// What is in force.
    #[must_use]
    pub fn current(&self) -> Arc<Trust> {
        Arc::clone(&self.0.borrow())
    }

    /// Puts another value in force: for every new connection at once, and every live one is judged again.
    pub fn replace(&self, trust: Trust) {
        self.0.send_replace(Arc::new(trust));
    }
}

impl Trusted {
    /// What is in force; from now on only a later value counts as new.
    pub fn latest(&mut self) -> Arc<Trust> {
        Arc::clone(&self.0.borrow_and_update())
    }

    /// Was it replaced since the last look?
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        // Nobody is left who could replace it: what was seen last stays.
        self.0.has_changed().unwrap_or(false)
    }

    /// Waits until it is replaced.
    pub async fn replaced(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
