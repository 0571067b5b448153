//! Encryptions, decryptions, MACs, signatures and hashes that arrive in several requests: what is remembered of each one between its parts.
//!
//! Neither a key nor a cipher's context is kept. A part opens its key through [`Vault::open`] like any other use, so rights, state, dates and usage
//! mask hold at every part. In between there is a state of some bytes, wrapped under the cache key, or the ciphertext that AES-GCM has to collect
//! until its tag can be verified (C4). Sealing the node drops all of it.
//!
//! A stream belongs to a principal and to this node, not to a connection. For everybody else, for another key, in the other direction, after
//! [`IDLE_SECONDS_MAX`] or once the key has changed its state, it does not exist, and nobody is told why. It is the state that is compared and
//! not the generation, which also moves with an edited attribute or a new wrap: they are no reason to begin anew.
//!
//! # Why a stream never goes back
//!
//! Two parts after the same state of GCM would be encrypted with the same keystream. So a [`Turn`] takes the stream out of the table, and only
//! [`Receipt::answered`](crate::unit::Receipt::answered) puts it back, with its new state, when the message is committed and its answer goes out.
//! Whatever else happens (a failed item, Undo, an answer too large, an audit log that cannot be written, a cancelled request) drops the turn, and
//! that ends the stream: there is no older state to come back to. What the node cannot see is an answer that is lost on its way. A client that
//! did not get one has to begin anew, because a part that it repeats counts as the next one; GCM's tag would show the mistake, CBC has no tag.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cipher::mode::Mode;
use cipher::signature::Scheme;
use cipher::stream::STATE_BYTES;
use cipher::{Hash, Mac};
use secret::{Bytes, Key};
use uuid::Uuid;

use crate::cache::Hidden;
use crate::error::Error;
use crate::id::{Layer, RowId, Time};
use crate::lifecycle::State;
use crate::policy::Principal;
use crate::unit::Unit;
use crate::vault::{Vault, View};

/// A stream is forgotten so many seconds after its last part.
pub const IDLE_SECONDS_MAX: i64 = 60;
/// Most streams of a node.
pub const STREAMS_MAX: usize = 4096;
/// Most streams of one principal.
pub const STREAMS_PER_PRINCIPAL_MAX: usize = 64;
/// Most ciphertext and additional data that one stream collects, in bytes: the plaintext leaves in one answer.
pub const COLLECTED_BYTES_MAX: usize = 15 << 20;
/// Most bytes that all streams of one principal keep collected.
pub const COLLECTED_PER_PRINCIPAL_BYTES_MAX: usize = 48 << 20;
/// Most streams of all principals of one tenant, so that none takes the node from the others.
pub const STREAMS_PER_TENANT_MAX: usize = STREAMS_MAX / 4;
/// Most bytes that all streams of one tenant keep collected.
pub const COLLECTED_PER_TENANT_BYTES_MAX: usize = COLLECTED_PER_NODE_BYTES_MAX / 4;
/// Most bytes that all streams of a node keep collected.
pub const COLLECTED_PER_NODE_BYTES_MAX: usize = 256 << 20;

/// Length of a Correlation Value in bytes: random, so that nobody guesses another's.
const VALUE_BYTES: usize = 16;

/// What a stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Encrypts in a mode without a tag.
    Encrypt(Mode),
    /// Encrypts with AES-GCM; the tag has so many bytes.
    EncryptGcm {
        /// 12 to 16.
        tag_bytes: usize,
    },
    /// Decrypts in a mode without a tag.
    Decrypt(Mode),
    /// Collects, then decrypts with AES-GCM; the tag has so many bytes.
    DecryptGcm {
        /// 12 to 16.
        tag_bytes: usize,
    },
    /// Authenticates.
    Mac(Mac),
    /// Authenticates, and compares in the end.
    MacVerify(Mac),
    /// Hashes, and signs the hash in the end.
    Sign(Scheme),
    /// Hashes, and verifies a signature of the hash in the end.
    SignatureVerify(Scheme),
    /// Hashes, without any key.
    Hash(Hash),
}

/// How far a stream has come.
#[derive(Debug)]
pub enum Progress {
    /// A state of [`cipher::stream`].
    Running(Key<STATE_BYTES>),
    /// What came in; nothing went out.
    Collected(Collected),
    /// A state of [`cipher::Mac`] or [`cipher::Hash`].
    Hashing(Hashing),
}

/// A MAC, a hash or a signature whose last part is still to come.
#[derive(Debug)]
pub struct Hashing {
    /// As secret as a key.
    pub state: Bytes,
    /// What the MAC is to be, or the signature to verify, if that came already.
    pub claimed: Option<Vec<u8>>,
}

/// An AES-GCM decryption whose last part is still to come. None of it is secret.
#[derive(Debug, Default)]
pub struct Collected {
    /// Initialization vector.
    pub iv: Vec<u8>,
    /// Additional data.
    pub additional: Vec<u8>,
    /// The tag, if it came already.
    pub tag: Option<Vec<u8>>,
    /// Ciphertext.
    pub text: Vec<u8>,
}

impl Collected {
    /// Takes in another part of the ciphertext.
    ///
    /// # Errors
    /// [`Error::Invalid`] above [`COLLECTED_BYTES_MAX`].
    pub fn add(&mut self, text: &[u8]) -> Result<(), Error> {
        if self.additional.len() + self.text.len() + text.len() > COLLECTED_BYTES_MAX {
            let why = "AES-GCM releases nothing before its tag verifies, so Decrypt in parts has to keep all of it and takes at most";
            return Err(Error::invalid("Data", format!("{why} {COLLECTED_BYTES_MAX} bytes, additional data included")));
        }
        self.text.extend_from_slice(text);
        Ok(())
    }

    /// How much memory it takes.
    fn bytes(&self) -> usize {
        self.iv.capacity() + self.additional.capacity() + self.tag.as_ref().map_or(0, Vec::capacity) + self.text.capacity()
    }
}

/// The right to do one part of a stream. Dropping it ends the stream.
#[derive(Debug)]
pub struct Turn {
    streams: Option<Arc<Streams>>,
    value: [u8; VALUE_BYTES],
    kind: Kind,
    begun_in: State,
}

impl Turn {
    /// The stream's Correlation Value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// What the stream does.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Is the key still in the state in which the stream began?
    #[must_use]
    pub fn holds_for(&self, key: &View) -> bool {
        self.begun_in == key.state
    }

    fn put_back(mut self, kept: Kept) {
        if let Some(streams) = self.streams.take()
            && let Some(slot) = streams.slots().get_mut(&self.value)
        {
            slot.kept = Some(kept);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(streams) = &self.streams {
            streams.slots().remove(&self.value);
        }
    }
}

/// A stream's next state, which is not in the table yet: its message is not committed.
#[derive(Debug)]
pub(crate) struct Staged {
    turn: Turn,
    kept: Kept,
}

impl Staged {
    pub(crate) fn put_back(self) {
        self.turn.put_back(self.kept);
    }

    fn is(&self, value: &[u8; VALUE_BYTES]) -> bool {
        self.turn.value == *value
    }
}

/// Progress between two parts.
#[derive(Debug)]
enum Kept {
    Running(Hidden),
    Collected(Collected),
    Hashing { state: Hidden, claimed: Option<Vec<u8>> },
}

/// The streams of a node.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Mutex<HashMap<[u8; VALUE_BYTES], Slot>>,
}

/// One stream's place in the table.
#[derive(Debug)]
struct Slot {
    principal: Principal,
    /// `None` for a hash.
    key: Option<RowId>,
    kind: Kind,
    begun_in: State,
    last_part: Time,
    collected_bytes: usize,
    /// `None` while somebody has the turn.
    kept: Option<Kept>,
}

impl Slot {
    fn is_idle(&self, now: Time) -> bool {
        self.kept.is_some() && now.millis() - self.last_part.millis() > IDLE_SECONDS_MAX * 1000
    }
}

impl Streams {
    /// Never held while a [`Turn`] is dropped, which takes it.
    fn slots(&self) -> MutexGuard<'_, HashMap<[u8; VALUE_BYTES], Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a place for a new stream; its value is new.
    fn reserve(&self, value: [u8; VALUE_BYTES], slot: Slot) -> Result<(), Error> {
        self.forget_idle(slot.last_part);
        let mut slots = self.slots();
        if slots.values().filter(|other| other.principal == slot.principal).count() >= STREAMS_PER_PRINCIPAL_MAX {
            return Err(Error::Denied { why: "64 operations in parts are under way, which is the most: finish some of them first" });
        }
        if slots.values().filter(|other| other.principal.tenant == slot.principal.tenant).count() >= STREAMS_PER_TENANT_MAX {
            return Err(Error::Denied {
                why: "1024 operations in parts of the tenant are under way, which is the most: finish some of them first",
            });
        }
        if slots.len() >= STREAMS_MAX {
            return Err(Error::Unavailable { what: format!("{STREAMS_MAX} operations in parts are under way") });
        }
        match slots.entry(value) {
            Entry::Vacant(entry) => entry.insert(slot),
            Entry::Occupied(_) => return Err(Error::Unavailable { what: "the random generator repeats itself".to_owned() }),
        };
        Ok(())
    }

    /// Counts what a stream is about to keep.
    fn account(&self, value: &[u8; VALUE_BYTES], collected_bytes: usize, now: Time) -> Result<(), Error> {
        self.forget_idle(now);
        let mut slots = self.slots();
        let Some(slot) = slots.get(value) else { return Err(Error::NotFound) };
        let others = || slots.iter().filter(|(other, _)| *other != value);
        let sum = |counts: &dyn Fn(&Principal) -> bool| {
            let counted = others().filter(|(_, other)| counts(&other.principal));
            counted.map(|(_, other)| other.collected_bytes).sum::<usize>() + collected_bytes
        };
        let own = sum(&|other| *other == slot.principal);
        let tenants = sum(&|other| other.tenant == slot.principal.tenant);
        let all = sum(&|_| true);
        if collected_bytes > 0 && own > COLLECTED_PER_PRINCIPAL_BYTES_MAX {
            return Err(Error::Denied {
                why: "the operations in parts that are under way have collected 48 MiB: finish some of them first",
            });
        }
        if collected_bytes > 0 && tenants > COLLECTED_PER_TENANT_BYTES_MAX {
            return Err(Error::Denied {
                why: "the operations in parts of the tenant that are under way have collected 64 MiB: finish some of them first",
            });
        }
        if collected_bytes > 0 && all > COLLECTED_PER_NODE_BYTES_MAX {
            return Err(Error::Unavailable { what: format!("operations in parts have collected {COLLECTED_PER_NODE_BYTES_MAX} bytes") });
        }
        if let Some(slot) = slots.get_mut(value) {
            (slot.collected_bytes, slot.last_part) = (collected_bytes, now);
        }
        Ok(())
    }

    /// Takes the turn, if there is such a stream and `fits` says so; `Some(None)` if somebody has it.
    fn take(self: &Arc<Self>, value: [u8; VALUE_BYTES], now: Time, fits: impl Fn(&Slot) -> bool) -> Option<Option<Staged>> {
        let mut slots = self.slots();
        let slot = slots.get_mut(&value).filter(|slot| fits(slot))?;
        if slot.is_idle(now) {
            slots.remove(&value);
            return None;
        }
        let (kind, begun_in) = (slot.kind, slot.begun_in);
        let staged = |kept| Staged { turn: Turn { streams: Some(Arc::clone(self)), value, kind, begun_in }, kept };
        Some(slot.kept.take().map(staged))
    }

    /// Drops what nobody has gone on with in time.
    fn forget_idle(&self, now: Time) {
        self.slots().retain(|_, slot| !slot.is_idle(now));
    }
}

impl Vault {
    /// Begins a stream of `principal`, with the key as it is now.
    ///
    /// # Errors
    /// [`Error::Denied`] above [`STREAMS_PER_PRINCIPAL_MAX`] and [`STREAMS_PER_TENANT_MAX`]; [`Error::Unavailable`] above [`STREAMS_MAX`] and without randomness.
    pub fn begin_stream(&self, principal: &Principal, key: &View, kind: Kind) -> Result<Turn, Error> {
        self.begin_slot(principal, Some(key.header.id), key.state, kind)
    }

    /// The same of a stream that needs no key.
    ///
    /// # Errors
    /// As [`Vault::begin_stream`].
    pub fn begin_keyless_stream(&self, principal: &Principal, kind: Kind) -> Result<Turn, Error> {
        self.begin_slot(principal, None, State::Active, kind)
    }

    fn begin_slot(&self, principal: &Principal, key: Option<RowId>, begun_in: State, kind: Kind) -> Result<Turn, Error> {
        let value = self.randomness.array()?;
        let slot = Slot { principal: principal.clone(), key, kind, begun_in, last_part: self.now(), collected_bytes: 0, kept: None };
        self.streams.reserve(value, slot)?;
        Ok(Turn { streams: Some(Arc::clone(&self.streams)), value, kind, begun_in })
    }

    /// The turn for the next part of a stream, with what the part before left; `None` if the principal has no such stream under this key (or without one), if
    /// `fits` does not take its kind, or if another request has the turn.
    ///
    /// # Errors
    /// No locked memory.
    pub fn next_turn(
        &self,
        unit: &mut Unit,
        principal: &Principal,
        key: impl Into<Option<RowId>>,
        value: &[u8],
        fits: impl Fn(Kind) -> bool,
    ) -> Result<Option<(Turn, Progress)>, Error> {
        let Ok(value) = <[u8; VALUE_BYTES]>::try_from(value) else { return Ok(None) };
        let key = key.into();
        let is_it = |slot: &Slot| slot.principal == *principal && slot.key == key && fits(slot.kind);
        let here = self.streams.take(value, self.now(), is_it);
        // If the turn is taken, an earlier item of the same message may have left it in the unit.
        let Some(Staged { turn, kept }) = here.and_then(|here| here.or_else(|| unit.take_stream(|staged| staged.is(&value)))) else {
            return Ok(None);
        };
        // What is named if the memory was damaged.
        let named = key.unwrap_or_else(|| RowId::new(Layer::Request, Uuid::from_bytes(value)));
        let progress = match kept {
            Kept::Running(hidden) => Progress::Running(Key::try_init_with(|state| self.cache.uncover(&hidden, state, named))?),
            Kept::Collected(collected) => Progress::Collected(collected),
            Kept::Hashing { state, claimed } => {
                let state = Bytes::try_init_with(state.bytes(), |plain| self.cache.uncover(&state, plain, named))?;
                Progress::Hashing(Hashing { state, claimed })
            }
        };
        Ok(Some((turn, progress)))
    }

    /// Stages what a part leaves to the next one; it counts from when the message's answer goes out.
    ///
    /// # Errors
    /// [`Error::Denied`] above [`COLLECTED_PER_PRINCIPAL_BYTES_MAX`] and [`COLLECTED_PER_TENANT_BYTES_MAX`], [`Error::Unavailable`] above [`COLLECTED_PER_NODE_BYTES_MAX`].
    pub fn keep_stream(&self, unit: &mut Unit, turn: Turn, progress: Progress) -> Result<(), Error> {
        let (kept, collected_bytes) = match progress {
            Progress::Running(state) => (Kept::Running(state.expose(|state| self.cache.conceal(state))), 0),
            Progress::Collected(collected) => {
                let bytes = collected.bytes();
                (Kept::Collected(collected), bytes)
            }
            Progress::Hashing(Hashing { state, claimed }) => {
                let state = state.expose(|state| self.cache.conceal(state));
                (Kept::Hashing { state, claimed }, 0)
            }
        };
        self.streams.account(&turn.value, collected_bytes, self.now())?;
        unit.stage_stream(Staged { turn, kept });
        Ok(())
    }

    /// Drops the streams whose time is over, so that what they collected does not wait for the next one to begin.
    pub fn forget_idle_streams(&self) {
        self.streams.forget_idle(self.now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Role;

    /// Of a tenant that it shares with at most two others.
    fn principal(number: u8) -> Principal {
        of_tenant(number, number / 3)
    }

    fn of_tenant(number: u8, tenant: u8) -> Principal {
        let tenant = Some(format!("tenant-{tenant}").parse().expect("a name"));
        Principal { role: Role::Service, tenant, service: None, certificate: [number; 32] }
    }

    /// A stream of principal `number` that nobody is at work on.
    fn slot(number: u8, collected_bytes: usize) -> Slot {
        Slot {
            principal: principal(number),
            key: Some(RowId::new(Layer::L3, Uuid::nil())),
            kind: Kind::DecryptGcm { tag_bytes: 16 },
            begun_in: State::Active,
            last_part: Time::from_seconds(0),
            collected_bytes,
            kept: Some(Kept::Collected(Collected::default())),
        }
    }

    fn value(number: usize) -> [u8; VALUE_BYTES] {
        (number as u128).to_be_bytes()
    }

    #[test]
    fn a_node_has_so_many_streams_and_forgets_idle_ones_for_a_new_one() {
        let streams = Streams::default();
        for number in 0..STREAMS_MAX {
            let owner = u8::try_from(number / STREAMS_PER_PRINCIPAL_MAX).expect("64 principals");
            streams.reserve(value(number), slot(owner, 0)).expect("there is room");
        }
        let one_more = |now| streams.reserve(value(STREAMS_MAX), Slot { last_part: Time::from_seconds(now), ..slot(255, 0) });
        assert!(matches!(one_more(60), Err(Error::Unavailable { .. })));
        one_more(61).expect("all others are too old");
        assert_eq!(streams.slots().len(), 1);
    }

    #[test]
    fn a_principal_and_a_node_collect_so_much_and_whoever_is_at_work_is_counted() {
        let streams = Streams::default();
        let others = COLLECTED_PER_NODE_BYTES_MAX / COLLECTED_PER_PRINCIPAL_BYTES_MAX;
        for number in 0..others {
            // Each of a tenant of its own.
            let owner = 3 * u8::try_from(number).expect("few");
            let at_work = Slot { kept: None, ..slot(owner, COLLECTED_PER_PRINCIPAL_BYTES_MAX) };
            streams.reserve(value(number), at_work).expect("there is room");
        }
        streams.reserve(value(100), slot(100, 0)).expect("there is room");
        streams.reserve(value(101), slot(0, 0)).expect("there is room");
        let now = Time::from_seconds(1);
        let left = COLLECTED_PER_NODE_BYTES_MAX - others * COLLECTED_PER_PRINCIPAL_BYTES_MAX;
        assert!(matches!(streams.account(&value(100), left + 1, now), Err(Error::Unavailable { .. })));
        streams.account(&value(100), left, now).expect("that is all there is");
        streams.account(&value(100), left, now).expect("a stream does not count against itself");
        assert!(matches!(streams.account(&value(101), 1, now), Err(Error::Denied { .. })));
        streams.account(&value(101), 0, now).expect("what collects nothing goes on");
        assert!(matches!(streams.account(&value(102), 1, now), Err(Error::NotFound)));
    }

    #[test]
    fn a_tenant_takes_a_quarter_of_a_node_however_many_principals_it_has() {
        let streams = Streams::default();
        let of = |number: u8, tenant, bytes| Slot { principal: of_tenant(number, tenant), ..slot(number, bytes) };
        for number in 0..STREAMS_PER_TENANT_MAX {
            let owner = u8::try_from(number / STREAMS_PER_PRINCIPAL_MAX).expect("16 principals");
            streams.reserve(value(number), of(owner, 1, 0)).expect("there is room");
        }
        assert!(matches!(streams.reserve(value(5000), of(200, 1, 0)), Err(Error::Denied { .. })));
        streams.reserve(value(5001), of(200, 2, 0)).expect("another tenant's share is untouched");
        let now = Time::from_seconds(1);
        streams.account(&value(0), COLLECTED_PER_PRINCIPAL_BYTES_MAX, now).expect("there is room");
        let left = COLLECTED_PER_TENANT_BYTES_MAX - COLLECTED_PER_PRINCIPAL_BYTES_MAX;
        let another = STREAMS_PER_PRINCIPAL_MAX;
        assert!(matches!(streams.account(&value(another), left + 1, now), Err(Error::Denied { .. })));
        streams.account(&value(another), left, now).expect("that is the tenant's all");
        streams.account(&value(5001), COLLECTED_PER_PRINCIPAL_BYTES_MAX, now).expect("another tenant's share is untouched");
    }

    #[test]
    fn an_idle_stream_is_forgotten_but_not_while_somebody_has_the_turn() {
        let streams = Streams::default();
        streams.reserve(value(1), slot(1, 0)).expect("there is room");
        streams.reserve(value(2), Slot { kept: None, ..slot(1, 0) }).expect("there is room");
        streams.forget_idle(Time::from_seconds(60));
        assert_eq!(streams.slots().len(), 2);
        streams.forget_idle(Time::from_seconds(61));
        assert_eq!(streams.slots().keys().collect::<Vec<_>>(), [&value(2)]);
    }

    #[test]
    fn a_turn_that_is_dropped_ends_its_stream_and_one_that_is_put_back_does_not() {
        let streams = Arc::new(Streams::default());
        streams.reserve(value(1), slot(1, 0)).expect("there is room");
        let take = || streams.take(value(1), Time::from_seconds(1), |_| true);
        let Some(Some(staged)) = take() else { panic!("it is there") };
        assert!(matches!(take(), Some(None)), "somebody has the turn");
        staged.put_back();
        assert!(streams.take(value(1), Time::from_seconds(1), |_| false).is_none());
        let Some(Some(staged)) = take() else { panic!("it was put back") };
        drop(staged);
        assert!(take().is_none());
        assert!(streams.slots().is_empty());
    }
}
