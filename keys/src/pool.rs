//! Object keys that were wrapped before anybody needs them, so that a new object costs no call to the core.
//!
//! Keys lie here under the cache key. There are at most so many for each service that makes objects; those of another version than the one that
//! wraps now are dropped unused, which leaves nothing behind anywhere.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cache::Hidden;
use crate::envelope::ObjectKeyId;
use crate::id::ServiceId;
use crate::row::ParentRef;

/// An object key with what core made of it.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) id: ObjectKeyId,
    /// By the core, under [`Stock::parent`].
    pub(crate) wrapped: Vec<u8>,
    /// Under the cache key.
    pub(crate) key: Hidden,
}

/// The object keys of one service.
#[derive(Debug)]
struct Stock {
    parent: ParentRef,
    ready: Vec<Ready>,
}

/// The object keys of all services that have made an object since the start.
#[derive(Debug)]
pub(crate) struct Pool {
    keys_max: usize,
    stocks: Mutex<BTreeMap<ServiceId, Stock>>,
}

impl Pool {
    /// An empty one.
    pub(crate) fn new(keys_max: usize) -> Self {
        Self { keys_max, stocks: Mutex::default() }
    }

    fn stocks(&self) -> MutexGuard<'_, BTreeMap<ServiceId, Stock>> {
        self.stocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key that was wrapped under `parent`, and whether there should be more of them soon.
    pub(crate) fn take(&self, service: ServiceId, parent: ParentRef) -> (Option<Ready>, bool) {
        let mut stocks = self.stocks();
        let stock = stocks.entry(service).or_insert_with(|| Stock { parent, ready: Vec::new() });
        if stock.parent != parent {
            *stock = Stock { parent, ready: Vec::new() };
        }
        let taken = stock.ready.pop();
        (taken, stock.ready.len() <= self.keys_max / 2)
    }

    /// Takes in keys that were wrapped under `parent`, as many as there is room for.
    pub(crate) fn put(&self, service: ServiceId, parent: ParentRef, keys: Vec<Ready>) {
        if let Some(stock) = self.stocks().get_mut(&service).filter(|stock| stock.parent == parent) {
            let room = self.keys_max.saturating_sub(stock.ready.len());
            stock.ready.extend(keys.into_iter().take(room));
        }
    }

    /// How many keys each service lacks that has made an object, and under which version.
    pub(crate) fn lacking(&self) -> Vec<(ServiceId, ParentRef, usize)> {
        let lacks = |(service, stock): (&ServiceId, &Stock)| (*service, stock.parent, self.keys_max.saturating_sub(stock.ready.len()));
        self.stocks().iter().map(lacks).filter(|(_, _, keys)| *keys > 0).collect()
    }

    /// Keeps the stocks of those versions only that `wraps` names.
    pub(crate) fn keep(&self, wraps: impl Fn(ServiceId) -> Option<ParentRef>) {
        self.stocks().retain(|service, stock| match wraps(*service) {
            Some(parent) => {
                if stock.parent != parent {
                    *stock = Stock { parent, ready: Vec::new() };
                }
                true
            }
            None => false,
        });
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.stocks().values().map(|stock| stock.ready.len()).sum()
    }
}
