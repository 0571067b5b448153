//! The custodians of a cluster: whose approvals count, and how many are needed.
//!
//! ```text
//! threshold u8 | count u8 | count x SHA-256 of a custodian's SubjectPublicKeyInfo 32, ascending
//! ```
//! A slot carries the roster for the time while the cluster record cannot be read; the record keeps its hash, to be compared after opening.

use std::fmt;

use crate::Error;
use crate::fields::Reader;

/// SHA-256 of the SubjectPublicKeyInfo of a custodian's certificate (RFC 5280, 4.1.2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustodianKey(pub [u8; 32]);

/// Most bytes of a stored roster.
pub(crate) const ROSTER_BYTES_MAX: usize = 2 + 255 * 32;

/// M of N custodians; without any, M is 0 and no ceremony can be approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    threshold: u8,
    custodians: Vec<CustodianKey>,
}

/// One person alone can have the slots changed, and the MasterKey replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneAlone {
    /// How many custodians there are, each of whom can; with none it is an operator.
    pub custodians: usize,
}

impl fmt::Display for OneAlone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.custodians {
            0 => f.write_str("custodians: none, so one operator alone can change the slots and replace the MasterKey: name some by")?,
            count => write!(
                f,
                "custodians: {count}, and any one of them alone can approve a change of the slots or another MasterKey: have two approve, by"
            )?,
        }
        f.write_str(" `strongroom ceremony start rekey --roster SPKI_SHA256 --roster ... --approvals 2`")
    }
}

impl Roster {
    /// The roster of a cluster that has no custodians yet.
    #[must_use]
    pub const fn empty() -> Self {
        Self { threshold: 0, custodians: Vec::new() }
    }

    /// - `threshold`: how many must approve, 1 to the number of custodians.
    /// - `custodians`: 1 to 255, all different, in any order.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn new(threshold: u8, mut custodians: Vec<CustodianKey>) -> Result<Self, Error> {
        custodians.sort_unstable();
        if custodians.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::Invalid { field: "custodian roster", wants: "every key once: one holder has one vote" });
        }
        let count = u8::try_from(custodians.len());
        match count {
            Ok(count) if threshold >= 1 && threshold <= count => Ok(Self { threshold, custodians }),
            Ok(_) | Err(_) => {
                Err(Error::Invalid { field: "custodian roster", wants: "1 to 255 custodians and a threshold from 1 to their number" })
            }
        }
    }

    /// The standing warning, if it is due: nobody has to agree with whoever wants something.
    #[must_use]
    pub fn one_alone(&self) -> Option<OneAlone> {
        (self.threshold <= 1).then_some(OneAlone { custodians: self.custodians.len() })
    }

    /// How many must approve.
    #[must_use]
    pub const fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Whose approvals count, ascending.
    #[must_use]
    pub fn custodians(&self) -> &[CustodianKey] {
        &self.custodians
    }

    /// SHA-256 of [`Roster::encode`]: what the cluster record keeps.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        cipher::mac::sha256(&[&self.encode()])
    }

    /// The one encoding of this roster.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = u8::try_from(self.custodians.len()).expect("checked when the roster was made");
        let keys = self.custodians.iter().flat_map(|custodian| custodian.0);
        [self.threshold, count].into_iter().chain(keys).collect()
    }

    /// Reads what [`Roster::encode`] wrote and nothing else.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "custodian roster";
        let mut reader = Reader::new(bytes);
        let (threshold, count) = (reader.u8(WHAT)?, reader.u8(WHAT)?);
        let keys = (0..count).map(|_| reader.array(WHAT).map(CustodianKey)).collect::<Result<Vec<_>, _>>()?;
        reader.end()?;
        let roster = if bytes == [0, 0] { Self::empty() } else { Self::new(threshold, keys)? };
        if roster.encode() == bytes { Ok(roster) } else { Err(Error::Corrupt { what: WHAT, at: 2 }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(numbers: &[u8]) -> Vec<CustodianKey> {
        numbers.iter().map(|number| CustodianKey([*number; 32])).collect()
    }

    #[test]
    fn a_roster_that_nobody_or_too_few_could_satisfy_is_refused() {
        let check = |threshold, numbers: &[u8], is_good: bool| {
            assert_eq!(Roster::new(threshold, keys(numbers)).is_ok(), is_good, "{threshold} of {numbers:?}");
        };
        check(1, &[1], true);
        check(2, &[1, 2, 3], true);
        check(3, &[1, 2, 3], true);
        check(0, &[1, 2], false);
        check(4, &[1, 2, 3], false);
        check(0, &[], false);
        check(1, &[], false);
        check(1, &[1, 2, 1], false);
        let many: Vec<u8> = (0..=255).collect();
        check(1, &many[..255], true);
        check(1, &many, false);
    }

    #[test]
    fn a_roster_is_warned_of_while_one_person_is_enough() {
        let said = |roster: Roster| roster.one_alone().map(|alone| alone.to_string()).unwrap_or_default();
        assert!(said(Roster::empty()).contains("one operator alone"));
        let roster = |threshold| Roster::new(threshold, keys(&[1, 2, 3])).expect("it is sound");
        assert!(said(roster(1)).contains("custodians: 3, and any one of them alone"));
        assert_eq!([2, 3].map(|threshold| roster(threshold).one_alone()), [None, None]);
    }

    #[test]
    fn the_order_in_which_custodians_are_named_does_not_matter() {
        let [one, other] = [[3, 1, 2], [2, 3, 1]].map(|numbers| Roster::new(2, keys(&numbers)).expect("it is sound"));
        assert_eq!(one, other);
        assert_eq!(one.hash(), other.hash());
        assert_ne!(one.hash(), Roster::new(1, keys(&[1, 2, 3])).expect("it is sound").hash());
    }

    #[test]
    fn only_the_one_encoding_is_read() {
        for roster in [Roster::empty(), Roster::new(2, keys(&[1, 2, 3])).expect("it is sound")] {
            assert_eq!(Roster::decode(&roster.encode()).ok(), Some(roster));
        }
        let whole = Roster::new(2, keys(&[1, 2, 3])).expect("it is sound").encode();
        assert_eq!(whole.len(), 2 + 3 * 32);
        for cut in 0..whole.len() {
            assert!(Roster::decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut swapped = whole.clone();
        swapped[2..66].rotate_left(32);
        for wrong in [swapped, [&whole[..], &[0]].concat(), vec![1, 0], vec![0, 1]] {
            assert!(Roster::decode(&wrong).is_err(), "{wrong:?}");
        }
    }
}
