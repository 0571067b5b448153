//! Records of tenants and services between uses: whoever makes a key asks for both, and they change with the policy epoch only.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use crate::edges::EdgeGroup;
use crate::id::{ScopeName, ServiceId, TenantId};
use crate::lease::Lease;
use crate::row::ParentRef;
use crate::tenancy::Service;

/// Most answers of one kind that are kept; all are dropped when there are more.
const KEPT_MAX: usize = 4096;

/// What was read of tenants and services, each kind by what was asked.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    /// Services and what their new keys come under, by the service's id.
    pub(crate) makers: Kept<ServiceId, (Service, ParentRef)>,
    /// Services by their tenant and name.
    pub(crate) named: Kept<(TenantId, ScopeName), Service>,
    /// Edge groups by their id.
    pub(crate) edges: Kept<ServiceId, EdgeGroup>,
    /// What edge groups may serve, by their id.
    pub(crate) leases: Kept<ServiceId, Arc<Lease>>,
    /// Whether a tenant is disabled, for edges.
    pub(crate) disabled: Kept<TenantId, bool>,
    /// A tenant's newest services, by the most that were asked for.
    pub(crate) newest: Kept<(TenantId, usize), Vec<Service>>,
}

/// Answers that hold for as long as the policy epoch stands where it stood before they were read.
#[derive(Debug)]
pub(crate) struct Kept<K, V>(Mutex<(u64, HashMap<K, V>)>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    /// The answer of this epoch, if there is one.
    pub(crate) fn get(&self, epoch: u64, asked: &K) -> Option<V> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1.get(asked).filter(|_| kept.0 == epoch).cloned()
    }

    /// Keeps an answer. `epoch` is that of before it was read: the epoch moves after a change is durable and before it is acknowledged, so an
    /// answer from before the change is never taken for one from after.
    pub(crate) fn put(&self, epoch: u64, asked: K, answer: V) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.0 != epoch || kept.1.len() >= KEPT_MAX {
            *kept = (epoch, HashMap::new());
        }
        kept.1.insert(asked, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_epoch_is_never_given() {
        let kept = Kept::default();
        kept.put(7, "asked", 1);
        assert_eq!((kept.get(7, &"asked"), kept.get(6, &"asked"), kept.get(8, &"asked")), (Some(1), None, None));
        kept.put(8, "other", 2);
        assert_eq!((kept.get(8, &"asked"), kept.get(7, &"asked"), kept.get(8, &"other")), (None, None, Some(2)));
    }

    #[test]
    fn no_more_than_so_many_answers_are_kept() {
        let kept = Kept::default();
        for number in 0..=KEPT_MAX {
            kept.put(1, number, number);
        }
        assert_eq!((kept.get(1, &0), kept.get(1, &KEPT_MAX)), (None, Some(KEPT_MAX)));
    }
}
