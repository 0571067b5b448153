//! A ceremony: what is asked of the custodians of a cluster, and who of them has said yes (C12).
//!
//! What a custodian signs, numbers big-endian, fields of varying length behind a u32:
//!
//! ```text
//! "strongroom-ceremony-v1" 0 | cluster_id 16 | ceremony id 16 | vote u8 (1 approve, 2 cancel) | operation | SHA-256 of its parameters 32
//! ```
//! The id is drawn for one ceremony, so a signature counts in that one only. Whoever calls has checked the signature against the public key; here it
//! is decided whether that key has a vote, and what the votes come to. Nothing here knows a clock or a file.

use std::collections::BTreeSet;

use keys::id::ClusterId;
use uuid::Uuid;

use crate::fields::put_prefixed;
use crate::{CustodianKey, Error, Roster};

const SIGNED: &[u8] = b"strongroom-ceremony-v1\0";

/// What a custodian says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Vote {
    /// Let it be done.
    Approve = 1,
    /// Let it not be done.
    Cancel = 2,
}

/// What the votes come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// More are wanted.
    Collecting,
    /// Enough have approved.
    Approved,
    /// Enough have cancelled.
    Cancelled,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The cluster.
    pub cluster: ClusterId,
    /// Drawn for this ceremony.
    pub id: Uuid,
    /// What is to be done, as `slot-add`.
    pub operation: String,
    /// SHA-256 of what it is to be done with.
    pub digest: [u8; 32],
}

impl Question {
    /// The bytes that a custodian signs.
    #[must_use]
    pub fn message(&self, vote: Vote) -> Vec<u8> {
        let mut bytes = [SIGNED, self.cluster.as_bytes(), self.id.as_bytes(), &[vote as u8]].concat();
        put_prefixed(&mut bytes, self.operation.as_bytes());
        bytes.extend_from_slice(&self.digest);
        bytes
    }
}

/// A question and the votes on it.
#[derive(Debug, Clone)]
pub struct Ceremony {
    /// The question.
    pub question: Question,
    roster: Roster,
    votes: BTreeSet<(Vote, CustodianKey)>,
}

/// That the custodians of this roster have approved a change: made by [`Ceremony::approval`] alone.
#[derive(Debug)]
pub struct Approved {
    roster: Roster,
}

impl Approved {
    /// Whose approval it is; to be compared with the cluster record.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }
}

impl Ceremony {
    /// Nobody has voted yet.
    ///
    /// # Errors
    /// `NoRoster`.
    pub fn new(question: Question, roster: Roster) -> Result<Self, Error> {
        if roster.custodians().is_empty() {
            return Err(Error::NoRoster);
        }
        Ok(Self { question, roster, votes: BTreeSet::new() })
    }

    /// Counts a vote whose signature is good.
    ///
    /// # Errors
    /// `NotOnRoster`; `VotedTwice`, for one holder has one vote, and takes none back.
    pub fn vote(&mut self, vote: Vote, key: CustodianKey) -> Result<Standing, Error> {
        if !self.roster.custodians().contains(&key) {
            return Err(Error::NotOnRoster { key });
        }
        if !self.votes.insert((vote, key)) {
            return Err(Error::VotedTwice { key });
        }
        Ok(self.standing())
    }

    /// What the votes come to. A ceremony that enough have cancelled stays cancelled.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let wants = usize::from(self.roster.threshold());
        match (self.voters(Vote::Cancel).count() >= wants, self.voters(Vote::Approve).count() >= wants) {
            (true, _) => Standing::Cancelled,
            (false, true) => Standing::Approved,
            (false, false) => Standing::Collecting,
        }
    }

    /// Who has said so.
    pub fn voters(&self, vote: Vote) -> impl Iterator<Item = CustodianKey> {
        self.votes.iter().filter(move |(said, _)| *said == vote).map(|(_, key)| *key)
    }

    /// Whose votes count.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The proof that it was approved, if it was.
    #[must_use]
    pub fn approval(&self) -> Option<Approved> {
        (self.standing() == Standing::Approved).then(|| Approved { roster: self.roster.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> CustodianKey {
        CustodianKey([number; 32])
    }

    fn question() -> Question {
        let (cluster, id) = (ClusterId::new(Uuid::from_bytes([0xC1; 16])), Uuid::from_bytes([0x1D; 16]));
        Question { cluster, id, operation: "slot-add".to_owned(), digest: [0xD1; 32] }
    }

    fn ceremony() -> Ceremony {
        Ceremony::new(question(), Roster::new(2, vec![key(1), key(2), key(3)]).expect("it is sound")).expect("it has custodians")
    }

    #[test]
    fn the_signed_bytes_are_these_for_ever() {
        let mut expected = b"strongroom-ceremony-v1\0".to_vec();
        expected.extend_from_slice(&[0xC1; 16]);
        expected.extend_from_slice(&[0x1D; 16]);
        expected.extend_from_slice(b"\x01\0\0\0\x08slot-add");
        expected.extend_from_slice(&[0xD1; 32]);
        assert_eq!(question().message(Vote::Approve), expected);
        let mut odd = vec![question().message(Vote::Cancel)];
        odd.push(Question { operation: "slot-adf".to_owned(), ..question() }.message(Vote::Approve));
        odd.push(Question { digest: [0xD2; 32], ..question() }.message(Vote::Approve));
        odd.push(Question { id: Uuid::from_bytes([0x1E; 16]), ..question() }.message(Vote::Approve));
        assert!(odd.iter().all(|message| *message != expected));
    }

    #[test]
    fn two_of_three_approve_and_one_holder_has_one_vote() {
        let mut ceremony = ceremony();
        assert_eq!(ceremony.vote(Vote::Approve, key(1)).expect("on the roster"), Standing::Collecting);
        assert!(matches!(ceremony.vote(Vote::Approve, key(1)), Err(Error::VotedTwice { .. })));
        assert!(matches!(ceremony.vote(Vote::Approve, key(4)), Err(Error::NotOnRoster { key: stranger }) if stranger == key(4)));
        assert!(ceremony.approval().is_none());
        assert_eq!(ceremony.vote(Vote::Approve, key(3)).expect("on the roster"), Standing::Approved);
        assert_eq!(ceremony.approval().expect("two have said so").roster(), ceremony.roster());
    }

    #[test]
    fn as_many_cancel_as_approve_and_cancelled_stays_cancelled() {
        let mut ceremony = ceremony();
        ceremony.vote(Vote::Approve, key(1)).expect("on the roster");
        assert_eq!(ceremony.vote(Vote::Cancel, key(1)).expect("it may change its mind"), Standing::Collecting);
        assert_eq!(ceremony.vote(Vote::Cancel, key(2)).expect("on the roster"), Standing::Cancelled);
        assert_eq!(ceremony.vote(Vote::Approve, key(3)).expect("on the roster"), Standing::Cancelled);
        assert!(ceremony.approval().is_none());
        assert!(matches!(Ceremony::new(question(), Roster::empty()), Err(Error::NoRoster)));
    }
}
