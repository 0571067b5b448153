//! Changes of which nobody knows whether they have happened, by what follows from them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What may have changed by a commit that had no clear end, while no answer of the store since has told that it has ended.
///
/// The two are told apart because resolving grants anew takes the store from everybody, also from those whose keys are open; and a key's change, which
/// only leases follow from, is far more frequent than that of a tenant or a service.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    grants: AtomicBool,
    leases: AtomicBool,
}

impl Doubt {
    /// Such a commit was about these.
    pub(crate) fn begin(&self, is_of_grants: bool, is_of_leases: bool) {
        self.grants.fetch_or(is_of_grants, Ordering::AcqRel);
        self.leases.fetch_or(is_of_leases, Ordering::AcqRel);
    }

    pub(crate) fn is_any(&self) -> bool {
        self.grants.load(Ordering::Acquire) || self.leases.load(Ordering::Acquire)
    }

    /// The store has answered, so that it is decided: has resolved anew what may have changed.
    pub(crate) fn end(&self, policy_epoch: &AtomicU64, lease_epoch: &AtomicU64) {
        for (doubt, epoch) in [(&self.grants, policy_epoch), (&self.leases, lease_epoch)] {
            if doubt.swap(false, Ordering::AcqRel) {
                epoch.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(of_grants: bool, of_leases: bool, expected: (u64, u64)) {
        let (doubt, policy, lease) = (Doubt::default(), AtomicU64::new(0), AtomicU64::new(0));
        doubt.begin(of_grants, of_leases);
        // What is clear of itself takes nothing back.
        doubt.begin(false, false);
        assert_eq!(doubt.is_any(), of_grants || of_leases);
        for _ in 0..2 {
            doubt.end(&policy, &lease);
            assert_eq!((policy.load(Ordering::Relaxed), lease.load(Ordering::Relaxed)), expected, "{of_grants} {of_leases}");
        }
        assert!(!doubt.is_any());
    }

    #[test]
    fn what_may_have_changed_is_resolved_anew_once_and_nothing_else() {
        check(false, false, (0, 0));
        check(true, true, (1, 1));
        check(false, true, (0, 1));
        check(true, false, (1, 0));
    }
}
