//! Judges the certificate of one live connection, as often as something it depends on has changed.

use std::sync::Arc;
use std::time::Duration;

use keys::id::Time;
use keys::policy::Principal;
use rustls::pki_types::CertificateDer;

use super::places::Activity;
use crate::identity::Refusal;
use crate::tls::{Trusted, Why};

/// How long an idle connection is left unjudged at most.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Why a connection may not go on. The peer only sees that it ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shut {
    /// The certificate does not hold.
    #[error("{0}")]
    Certificate(Why),
    /// No identity rule names it.
    #[error("{0}")]
    Unknown(Refusal),
    /// The identity rules were changed, and name it otherwise than when it came.
    #[error("the identity rules name the peer otherwise than before: it has to connect again")]
    Renamed,
}

/// Lets a connection go on while its certificate holds and names the same principal.
///
/// The verdict is kept until the minute changes, the first date of the chain or of a list for it is over, or the listener's trust is replaced;
/// in between a check costs one atomic load.
pub struct Gate {
    trusted: Trusted,
    chain: Arc<[CertificateDer<'static>]>,
    principal: Principal,
    minute: i64,
    /// The last second of the verdict.
    until: Time,
    activity: Option<Arc<Activity>>,
}

impl Gate {
    /// Judges a chain for the first time, as the peer sent it.
    pub(super) fn open(mut trusted: Trusted, chain: Arc<[CertificateDer<'static>]>, now: Time) -> Result<Self, Shut> {
        let (principal, until) = judge(&mut trusted, &chain, now)?;
        Ok(Self { trusted, chain, principal, minute: minute(now), until, activity: None })
    }

    /// Judges the connection for a request at `now`.
    ///
    /// # Errors
    /// [`Shut`]: the connection has to end.
    pub fn check(&mut self, now: Time) -> Result<(), Shut> {
        if let Some(activity) = &self.activity {
            activity.touch();
        }
        if self.minute == minute(now) && now.seconds() <= self.until.seconds() && !self.trusted.is_replaced() {
            return Ok(());
        }
        self.judge_again(now)
    }

    /// Whom the certificate names.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The peer's chain, its own certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Whom another chain names, by what this listener believes now: that of a client for which the peer vouches.
    ///
    /// # Errors
    /// [`Shut`]: it would not be let in.
    pub fn judge_other(&mut self, chain: &[Vec<u8>], now: Time) -> Result<Principal, Shut> {
        let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        judge(&mut self.trusted, &chain, now).map(|(principal, _until)| principal)
    }

    /// Another gate for the same connection, which tells nobody that the connection is at work.
    pub(super) fn watch(&self) -> Self {
        Self {
            trusted: self.trusted.clone(),
            chain: Arc::clone(&self.chain),
            principal: self.principal.clone(),
            minute: self.minute,
            until: self.until,
            activity: None,
        }
    }

    /// Waits, also between requests, until the connection may not go on: until a date is over, or the trust was replaced.
    pub(super) async fn shut(&mut self, now: impl Fn() -> Time) -> Shut {
        loop {
            let left_seconds = self.until.seconds().saturating_sub(now().seconds()).saturating_add(1);
            // The clock may be set meanwhile.
            let left = Duration::from_secs(u64::try_from(left_seconds).unwrap_or(0)).clamp(Duration::from_secs(1), SLEEP_MAX);
            tokio::select! {
                () = self.trusted.replaced() => {}
                () = tokio::time::sleep(left) => {}
            }
            if let Err(shut) = self.judge_again(now()) {
                return shut;
            }
        }
    }

    /// Tells the connection's place of each request.
    pub(super) fn tell(&mut self, activity: Arc<Activity>) {
        self.activity = Some(activity);
    }

    fn judge_again(&mut self, now: Time) -> Result<(), Shut> {
        let (principal, until) = judge(&mut self.trusted, &self.chain, now)?;
        if principal != self.principal {
            return Err(Shut::Renamed);
        }
        self.until = until;
        self.minute = minute(now);
        Ok(())
    }
}

fn judge(trusted: &mut Trusted, chain: &[CertificateDer<'static>], now: Time) -> Result<(Principal, Time), Shut> {
    let trust = trusted.latest();
    let until = trust.tls.judge().check(chain, now).map_err(Shut::Certificate)?;
    let leaf = chain.first().ok_or(Shut::Certificate(Why::NoCertificate))?;
    trust.rules.principal(leaf).map(|(principal, _rule)| (principal, until)).map_err(Shut::Unknown)
}

fn minute(now: Time) -> i64 {
    now.seconds().div_euclid(60)
}
