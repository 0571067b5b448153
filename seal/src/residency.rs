//! Whether the MasterKey may be wiped between jobs: only while a slot is known to open without a person.

use std::fmt;

use crate::{Attempt, Error, Label};

/// What becomes of the MasterKey after a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Residency {
    /// Wiped; the next job opens a slot by itself.
    WipedAfterJobs,
    /// Kept in locked memory until sealed.
    Resident {
        /// Why it must be.
        why: Why,
    },
}

/// Why the MasterKey stays in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// No slot was opened without a person, or tried.
    NoUnattendedSlot,
    /// The last try of every unattended slot failed.
    UnattendedSlotsFail(Vec<Label>),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUnattendedSlot => f.write_str("no slot opens without a person"),
            Self::UnattendedSlotsFail(labels) => {
                let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
                write!(f, "the last probe failed of {}", labels.join(", "))
            }
        }
    }
}

impl Residency {
    /// Decides by the last attempt at each slot: those of [`crate::Seal::unseal`], later those of each [`crate::Seal::probe`].
    #[must_use]
    pub fn of(last: &[Attempt]) -> Self {
        // A slot of another generation opens another MasterKey, so it is no reason for anything.
        let is_of_this_key = |attempt: &&Attempt| !matches!(attempt.failure, Some(Error::WrongGeneration { .. }));
        let unattended: Vec<&Attempt> = last.iter().filter(|attempt| attempt.unattended).filter(is_of_this_key).collect();
        if unattended.iter().any(|attempt| attempt.failure.is_none()) {
            Self::WipedAfterJobs
        } else if unattended.is_empty() {
            Self::Resident { why: Why::NoUnattendedSlot }
        } else {
            let failing = unattended.iter().map(|attempt| attempt.label.clone()).collect();
            Self::Resident { why: Why::UnattendedSlotsFail(failing) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SlotId;

    fn check(last: &[(bool, bool)], expected: &Residency) {
        let attempts: Vec<Attempt> = last
            .iter()
            .map(|(unattended, opened)| Attempt {
                slot: SlotId::from_bytes([1; 16]),
                label: "primary".parse().expect("a label"),
                unattended: *unattended,
                failure: (!opened).then_some(Error::Forged),
                ailing: Vec::new(),
            })
            .collect();
        assert_eq!(Residency::of(&attempts), *expected, "{last:?}");
    }

    #[test]
    fn the_master_key_is_wiped_only_while_an_unattended_slot_opens() {
        let resident = |why| Residency::Resident { why };
        let fails = |count| resident(Why::UnattendedSlotsFail(vec!["primary".parse().expect("a label"); count]));
        check(&[(true, true)], &Residency::WipedAfterJobs);
        check(&[(true, false), (false, false), (true, true)], &Residency::WipedAfterJobs);
        check(&[], &resident(Why::NoUnattendedSlot));
        check(&[(false, true)], &resident(Why::NoUnattendedSlot));
        check(&[(false, true), (true, false)], &fails(1));
        check(&[(true, false), (true, false)], &fails(2));
    }

    #[test]
    fn slots_of_another_generation_decide_nothing() {
        let of = |failure: Option<Error>| Attempt {
            slot: SlotId::from_bytes([1; 16]),
            label: "primary".parse().expect("a label"),
            unattended: true,
            failure,
            ailing: Vec::new(),
        };
        let other = || of(Some(Error::WrongGeneration { is: 2, wants: 1 }));
        assert_eq!(Residency::of(&[other()]), Residency::Resident { why: Why::NoUnattendedSlot });
        let fails = Why::UnattendedSlotsFail(vec!["primary".parse().expect("a label")]);
        assert_eq!(Residency::of(&[other(), of(Some(Error::Forged))]), Residency::Resident { why: fails });
        assert_eq!(Residency::of(&[other(), of(None)]), Residency::WipedAfterJobs);
    }
}
