//! Rollback by the store: what has been seen of each row, and the digest of each bucket of rows.
//!
//! (a) A row that was seen at a generation may never come back older, nor different at the same generation. (b) Rows fall into 4,096 buckets; a
//! bucket's record holds the sum, modulo 2^256, of one MAC per row, and changes in its rows' transaction. Where several nodes share a store each has
//! a part of the sum (`sharing.rs`). Source: SECURITY C9.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::hierarchy::IntegrityKeys;
use crate::id::{Generation, Layer, RowId, TenantId};
use crate::policy::Grants;
use crate::port::Scope;
use crate::row::{Owner, Row};

/// Number of buckets.
pub const BUCKETS: u16 = 4096;
/// The first so many buckets are for the claims on names.
pub const CLAIM_BUCKETS: u16 = 64;
/// How long identifiers fall into the same bucket, in milliseconds: a few commits, but so short that a million keys, even of one busy hour, are
/// spread over all buckets.
const SLICE_MILLIS: u64 = 64;
/// So many that a table is small: a growing one leaves a hole of its size in the heap.
const SHARDS: usize = 256;

/// The newest generation of every row seen since unseal; 41 bytes a row, 50 to 100 with the table's free places.
///
/// A row is removed by the writer, in three steps that a reader may fall between: it is said to be leaving, the store removes it, it is forgotten. Who
/// finds nothing from the first step on has not found a loss. And who read the row before the second, but tells of it after the third, would have it
/// missed for ever: so a reader first notes the moment, by which that is known.
#[derive(Debug)]
pub struct Seen {
    shards: [Mutex<Shard>; SHARDS],
    /// How many rows were forgotten, of all shards.
    forgotten: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    marks: HashMap<RowId, Mark>,
    /// Those that the writer is removing just now.
    leaving: HashSet<RowId>,
    /// How many rows were forgotten.
    forgotten: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), forgotten: AtomicU64::default() }
    }
}

/// What had been seen of a row, and removed near it, before it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    mark: Option<Mark>,
    forgotten: u64,
}

/// There is one for every row of the store, so it is made of bytes, which need no padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Big-endian: sorts as the number does.
    generation: [u8; 8],
    mac: [u8; 8],
    owner: OwnerTag,
}

/// Whose row it was, as far as an owner has to recognize itself: the ends of both ids, which are random. A stranger's are the same once in
/// four thousand million times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnerTag {
    tenant: [u8; 4],
    service: [u8; 4],
}

impl OwnerTag {
    fn of(owner: &Owner) -> Self {
        Self { tenant: end(owner.tenant.as_bytes()), service: owner.service.map_or([0; 4], |service| end(service.as_bytes())) }
    }

    /// May a row of this owner lie in `scope`?
    pub(crate) fn is_in(self, scope: Scope) -> bool {
        match scope {
            Scope::Node => true,
            Scope::Tenant(tenant) => [tenant, TenantId::SYSTEM].iter().any(|tenant| end(tenant.as_bytes()) == self.tenant),
        }
    }

    /// The owner as somebody knows it: the parts that are its own, nobody's else.
    pub(crate) fn seen_by(self, grants: &Grants) -> Owner {
        let tenant = grants.tenant().filter(|tenant| end(tenant.as_bytes()) == self.tenant);
        let service = grants.service().filter(|service| end(service.as_bytes()) == self.service);
        Owner { tenant: tenant.unwrap_or(TenantId::SYSTEM), service }
    }
}

fn end(id: &[u8; 16]) -> [u8; 4] {
    *id.last_chunk().expect("an id has 16 bytes")
}

impl Mark {
    fn of(row: &Row) -> Self {
        let mac = *row.meta_mac.first_chunk().expect("a MAC has 32 bytes");
        Self { generation: row.header.generation.0.to_be_bytes(), mac, owner: OwnerTag::of(&row.header.owner) }
    }
}

impl Seen {
    /// Accepts a row that is new, newer, or the same as before.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the store went back in time for this row.
    pub fn check(&self, row: &Row) -> Result<(), Error> {
        self.shard(row.header.id).check(row)
    }

    /// As [`Seen::check`], for a row that was read after `moment`. `false`: it may have been removed since, so nothing is noted, and it is to be read again.
    ///
    /// # Errors
    /// As [`Seen::check`].
    pub(crate) fn check_since(&self, row: &Row, moment: Moment) -> Result<bool, Error> {
        let mut shard = self.shard(row.header.id);
        if shard.forgotten != moment.forgotten {
            return Ok(false);
        }
        shard.check(row).map(|()| true)
    }

    /// Is a row that a search returned what was seen last, or newer, or new? Also `false` if it may have been removed since there were `forgotten`.
    pub(crate) fn takes_hint(&self, row: &Row, forgotten: u64) -> bool {
        let mut shard = self.shard(row.header.id);
        let may_be_gone = self.forgotten() != forgotten && !shard.marks.contains_key(&row.header.id);
        !may_be_gone && shard.check(row).is_ok()
    }

    /// How many rows were forgotten so far; asked for before a search.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Acquire)
    }

    /// True if nothing newer than `generation` has been seen of the row.
    pub fn is_current(&self, id: RowId, generation: Generation) -> bool {
        self.shard(id).marks.get(&id).is_none_or(|mark| mark.generation <= generation.0.to_be_bytes())
    }

    /// What was seen of a row last: another moment says that it has changed, or may have gone.
    pub(crate) fn moment(&self, id: RowId) -> Moment {
        let shard = self.shard(id);
        Moment { mark: shard.marks.get(&id).copied(), forgotten: shard.forgotten }
    }

    /// True if the row has been seen and was not removed in good order.
    pub fn knows(&self, id: RowId) -> bool {
        self.shard(id).marks.contains_key(&id)
    }

    /// True if the row is to be there: it has been seen, and nobody removes it.
    pub(crate) fn misses(&self, id: RowId) -> bool {
        let shard = self.shard(id);
        shard.marks.contains_key(&id) && !shard.leaving.contains(&id)
    }

    /// The row is about to be removed.
    pub(crate) fn leave(&self, id: RowId) {
        self.shard(id).leaving.insert(id);
    }

    /// It was not removed, as far as is known.
    pub(crate) fn stay(&self, id: RowId) {
        self.shard(id).leaving.remove(&id);
    }

    /// Whose it was when it was last seen, if it was.
    pub(crate) fn owner(&self, id: RowId) -> Option<OwnerTag> {
        self.shard(id).marks.get(&id).map(|mark| mark.owner)
    }

    /// A row was removed in good order: should its id be used again, it starts anew.
    pub fn forget(&self, id: RowId) {
        let mut shard = self.shard(id);
        shard.marks.remove(&id);
        shard.leaving.remove(&id);
        shard.forgotten += 1;
        self.forgotten.fetch_add(1, Ordering::Release);
    }

    /// As [`Seen::forget`], if nothing was seen of the row since.
    pub(crate) fn forget_since(&self, id: RowId, moment: Moment) {
        let mut shard = self.shard(id);
        if shard.marks.get(&id).copied() == moment.mark && shard.forgotten == moment.forgotten {
            shard.marks.remove(&id);
            shard.forgotten += 1;
            self.forgotten.fetch_add(1, Ordering::Release);
        }
    }

    /// Every row that has been seen and was not removed in good order.
    pub(crate) fn ids(&self) -> Vec<RowId> {
        let of = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).marks.keys().copied().collect::<Vec<_>>();
        self.shards.iter().flat_map(of).collect()
    }

    fn shard(&self, id: RowId) -> MutexGuard<'_, Shard> {
        // The last byte of every UUID here is random.
        let shard = usize::from(id.uuid.as_bytes()[15]) % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn check(&mut self, row: &Row) -> Result<(), Error> {
        let mark = Mark::of(row);
        let seen = self.marks.entry(row.header.id).or_insert(mark);
        if seen.generation > mark.generation || seen.generation == mark.generation && seen.mac != mark.mac {
            return Err(Error::corrupt("the keystore returned an older state of it (rollback)", row.header.id));
        }
        *seen = mark;
        Ok(())
    }
}

/// The sealed content of a bucket's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bucket {
    /// How often it has changed.
    pub seq: u64,
    /// Sum of its rows' MACs, modulo 2^256, big-endian.
    pub digest: [u8; 32],
}

impl Bucket {
    /// Counts a row in.
    pub fn add(&mut self, mac: &[u8; 32]) {
        let mut carry = 0;
        for (sum, byte) in self.digest.iter_mut().zip(mac).rev() {
            let total = u16::from(*sum) + u16::from(*byte) + carry;
            *sum = total.to_be_bytes()[1];
            carry = total >> 8;
        }
    }

    /// Counts a row out.
    pub fn subtract(&mut self, mac: &[u8; 32]) {
        let mut borrow = 0;
        for (sum, byte) in self.digest.iter_mut().zip(mac).rev() {
            let total = 256 + u16::from(*sum) - u16::from(*byte) - borrow;
            *sum = total.to_be_bytes()[1];
            borrow = u16::from(total < 256);
        }
    }
}

/// Which bucket a row falls into; `None` for the buckets' own records.
///
/// Rows whose identifiers are of the same 64 ms share one, so that requests which make keys at the same time, and therefore share a
/// transaction, do not change a bucket each. A name's claim has no time in its identifier, so claims have [`CLAIM_BUCKETS`] to themselves: few, so
/// that their records are few pages, and apart, so that a busy one keeps no key from being compared.
#[must_use]
pub fn bucket_of(integrity: &IntegrityKeys, id: RowId) -> Option<u16> {
    let number = |mac: [u8; 32], of: u16| u16::from_be_bytes([mac[0], mac[1]]) % of;
    match id.layer {
        Layer::Bucket => None,
        Layer::Name | Layer::Answer => Some(number(integrity.registry_mac(&[b"bucket of a claim", id.uuid.as_bytes()]), CLAIM_BUCKETS)),
        _ => {
            let mac = integrity.registry_mac(&[b"bucket of a time", &slice_of(id.uuid).to_be_bytes()]);
            Some(CLAIM_BUCKETS + number(mac, BUCKETS - CLAIM_BUCKETS))
        }
    }
}

/// The slice of time in which an identifier was made (UUIDv7, RFC 9562 5.7: the first 48 bits are milliseconds).
fn slice_of(uuid: Uuid) -> u64 {
    let millis = u64::try_from(uuid.as_u128() >> 80).expect("48 bits");
    millis / SLICE_MILLIS
}

/// What a row adds to its bucket's digest. The row's own MAC, which covers all of it, stands for its content: so count only rows whose MAC was checked.
#[must_use]
pub fn row_mac(integrity: &IntegrityKeys, row: &Row) -> [u8; 32] {
    integrity.registry_mac(&[b"row", &row.header.id.to_bytes(), &row.header.generation.0.to_be_bytes(), &row.meta_mac])
}

/// The id of a bucket's record.
#[must_use]
pub fn bucket_row(bucket: u16) -> RowId {
    RowId::new(Layer::Bucket, Uuid::from_u128(u128::from(bucket)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ChainId, KeyVersion, TenantId};
    use crate::row::{Header, ParentRef};
    use crate::unit::record_header;
    use proptest::prelude::{any, proptest};

    proptest! {
        #[test]
        fn what_is_counted_in_and_out_leaves_no_trace(start: [u8; 32], macs in proptest::collection::vec(any::<[u8; 32]>(), 0..8)) {
            let mut bucket = Bucket { seq: 0, digest: start };
            for mac in &macs {
                bucket.add(mac);
            }
            for mac in macs.iter().rev() {
                bucket.subtract(mac);
            }
            assert_eq!(bucket.digest, start);
        }
    }

    fn bucket_at(integrity: &IntegrityKeys, layer: Layer, millis: u64, random: u8) -> u16 {
        let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &[random; 10]).into_uuid();
        bucket_of(integrity, RowId::new(layer, uuid)).expect("it is no bucket's own record")
    }

    #[test]
    fn rows_of_one_slice_of_time_share_a_bucket_and_slices_fill_all_buckets() {
        let integrity = IntegrityKeys::new(crate::id::ClusterId::new(Uuid::nil()), &[1; 32]).expect("the arena has room");
        let began = 1_800_000_000_000 / SLICE_MILLIS * SLICE_MILLIS;
        let first = bucket_at(&integrity, Layer::L3, began, 1);
        assert_eq!(bucket_at(&integrity, Layer::IvBudget, began + SLICE_MILLIS - 1, 2), first);
        let slices = (0..8 * u64::from(BUCKETS)).map(|slice| bucket_at(&integrity, Layer::L3, began + slice * SLICE_MILLIS, 1));
        let filled: std::collections::BTreeSet<u16> = slices.collect();
        // Each stays empty with probability e^-8.
        assert!(filled.len() > 4016, "{}", filled.len());
        assert!(filled.iter().all(|number| (CLAIM_BUCKETS..BUCKETS).contains(number)));
    }

    #[test]
    fn claims_have_buckets_of_their_own_whatever_time_their_identifier_seems_to_tell() {
        let integrity = IntegrityKeys::new(crate::id::ClusterId::new(Uuid::nil()), &[1; 32]).expect("the arena has room");
        let buckets: std::collections::BTreeSet<u16> = (0..=255).map(|last| bucket_at(&integrity, Layer::Name, 0, last)).collect();
        assert!(buckets.len() > 32, "{}", buckets.len());
        assert!(buckets.iter().all(|number| *number < CLAIM_BUCKETS));
    }

    #[test]
    fn a_mark_of_a_row_has_no_padding() {
        assert_eq!(size_of::<(RowId, Mark)>(), 17 + 8 + 8 + 8);
    }

    fn row(generation: u64) -> Row {
        let header = Header { generation: Generation(generation), ..record_header(id(), parent(), TenantId::SYSTEM) };
        Row { header, material: None, attributes: None, terms: Vec::new(), meta_mac: [7; 32] }
    }

    #[test]
    fn a_row_is_missed_until_it_is_about_to_be_removed_and_again_if_it_was_not() {
        let seen = Seen::default();
        assert!(!seen.misses(id()));
        seen.check(&row(1)).expect("it is the first that is seen");
        assert!(seen.misses(id()));
        seen.leave(id());
        assert!(!seen.misses(id()) && seen.knows(id()));
        seen.stay(id());
        assert!(seen.misses(id()));
        seen.leave(id());
        seen.forget(id());
        assert!(!seen.misses(id()) && !seen.knows(id()));
        seen.check(&row(1)).expect("its identifier is used again");
        assert!(seen.misses(id()));
    }

    #[test]
    fn what_was_read_before_it_was_removed_is_not_noted_afterwards() {
        let seen = Seen::default();
        let (moment, forgotten) = (seen.moment(id()), seen.forgotten());
        assert!(matches!(seen.check_since(&row(5), moment), Ok(true)));
        assert!(seen.takes_hint(&row(5), forgotten) && seen.takes_hint(&row(6), forgotten) && !seen.takes_hint(&row(5), forgotten));
        let moment = seen.moment(id());
        seen.forget(id());
        assert_ne!(seen.moment(id()), moment);
        assert!(matches!(seen.check_since(&row(6), moment), Ok(false)));
        assert!(!seen.takes_hint(&row(6), forgotten) && !seen.knows(id()));
        // Used again, it begins anew, and what came before that is still not noted.
        seen.check(&row(1)).expect("it is the first that is seen");
        assert!(matches!(seen.check_since(&row(6), moment), Ok(false)));
        assert!(matches!(seen.check_since(&row(1), seen.moment(id())), Ok(true)));
        assert!(seen.takes_hint(&row(1), seen.forgotten()));
    }

    #[test]
    fn generations_are_compared_as_numbers() {
        let seen = Seen::default();
        for (older, newer) in [(1, 2), (255, 256), (0xFFFF, 0x1_0000), (u64::MAX - 1, u64::MAX)] {
            seen.forget(id());
            seen.check(&row(newer)).expect("it is the first that is seen");
            assert!(seen.check(&row(older)).is_err(), "{older} after {newer}");
            assert!(seen.is_current(id(), Generation(newer)) && !seen.is_current(id(), Generation(older)), "{newer}");
        }
    }

    fn id() -> RowId {
        RowId::new(Layer::L3, Uuid::nil())
    }

    fn parent() -> ParentRef {
        ParentRef { chain: ChainId::new(Uuid::nil()), version: KeyVersion::FIRST }
    }

    #[test]
    fn sums_wrap_around_at_two_to_the_256() {
        let mut one = [0; 32];
        one[31] = 1;
        let mut bucket = Bucket { seq: 0, digest: [0xFF; 32] };
        bucket.add(&one);
        assert_eq!(bucket.digest, [0; 32]);
        bucket.subtract(&one);
        assert_eq!(bucket.digest, [0xFF; 32]);
    }
}
