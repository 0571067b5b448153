//! Which records of the transactional outbox the log holds already.
//!
//! Numbers are given before a commit that may fail, and a failed commit may turn out to be durable. So the log keeps the mark up to which it
//! holds everything there is, and what it holds beyond; only the store can say whether a number in between was ever used.

use std::collections::BTreeSet;

/// With so many records ahead of a missing one, the store must be asked before more are taken.
const AHEAD_MAX: usize = 10_000;

/// The outbox as the log has seen it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outbox {
    mark: u64,
    ahead: BTreeSet<u64>,
}

impl Outbox {
    /// The log holds everything up to and including `mark`, and nothing beyond.
    pub(crate) fn up_to(mark: u64) -> Self {
        Self { mark, ahead: BTreeSet::new() }
    }

    /// Everything up to and including this one is in the log.
    pub(crate) fn mark(&self) -> u64 {
        self.mark
    }

    /// The highest number in the log.
    pub(crate) fn last(&self) -> u64 {
        self.ahead.last().copied().unwrap_or(self.mark)
    }

    /// True when the mark says all there is to say.
    pub(crate) fn is_contiguous(&self) -> bool {
        self.ahead.is_empty()
    }

    /// True when the store must be asked first.
    pub(crate) fn is_crowded(&self) -> bool {
        self.ahead.len() >= AHEAD_MAX
    }

    /// Takes note of a record; false if the log has it already.
    pub(crate) fn insert(&mut self, seq: u64) -> bool {
        if seq <= self.mark || !self.ahead.insert(seq) {
            return false;
        }
        self.close_up();
        true
    }

    /// There is no missing record below `seq`: the store was asked.
    pub(crate) fn complete_to(&mut self, seq: u64) {
        self.mark = self.mark.max(seq);
        self.ahead = self.ahead.split_off(&self.mark.saturating_add(1));
        self.close_up();
    }

    fn close_up(&mut self) {
        while self.mark.checked_add(1).is_some_and(|next| self.ahead.remove(&next)) {
            self.mark += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seqs: &[u64], new: &[bool], mark: u64) {
        let mut outbox = Outbox::default();
        let is_new: Vec<bool> = seqs.iter().map(|seq| outbox.insert(*seq)).collect();
        assert_eq!((is_new.as_slice(), outbox.mark()), (new, mark), "{seqs:?}");
    }

    #[test]
    fn a_record_is_new_once_in_any_order() {
        check(&[1, 2, 2, 1, 3], &[true, true, false, false, true], 3);
        check(&[2, 1, 2, 3], &[true, true, false, true], 3);
        check(&[3, 3], &[true, false], 0);
        check(&[0], &[false], 0);
        check(&[u64::MAX], &[true], 0);
    }

    #[test]
    fn the_mark_waits_for_the_missing_one() {
        check(&[1, 3, 4], &[true, true, true], 1);
        check(&[1, 3, 4, 2], &[true; 4], 4);
    }

    #[test]
    fn a_gap_that_the_store_does_not_know_is_passed_over() {
        let mut outbox = Outbox::up_to(3);
        assert!(outbox.insert(9) && outbox.insert(10) && outbox.insert(12));
        outbox.complete_to(9);
        assert_eq!((outbox.mark(), outbox.is_contiguous()), (10, false));
        assert!(!outbox.insert(12) && outbox.insert(11));
        assert_eq!((outbox.mark(), outbox.is_contiguous()), (12, true));
    }

    #[test]
    fn a_gap_is_never_passed_over_without_asking_the_store() {
        let mut outbox = Outbox::default();
        for seq in 2..2 + AHEAD_MAX as u64 {
            assert!(!outbox.is_crowded() && outbox.insert(seq));
        }
        assert_eq!((outbox.mark(), outbox.last(), outbox.is_crowded()), (0, 1 + AHEAD_MAX as u64, true));
        assert!(outbox.insert(1));
        assert_eq!((outbox.mark(), outbox.is_crowded()), (1 + AHEAD_MAX as u64, false));
    }
}
