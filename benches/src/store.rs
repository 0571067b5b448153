//! An embedded store with as many keys as asked for, changed in the shape in which the product changes it.

use std::path::Path;

use keys::freshness::{BUCKETS, CLAIM_BUCKETS, bucket_row};
use keys::id::{Generation, Layer, OutboxSeq, RowId};
use keys::port::{Batch, Change, Keystore};
use keys::row::{Row, Term};
use storage::conformance::sample;
use storage::embedded::Embedded;
use uuid::Uuid;

/// Keys that one commit of the filling adds.
const FILL_KEYS: u64 = 1024;
/// A term that every key has, like its tenant's.
const SHARED: u64 = 1;
/// Numbers of unique terms begin here.
const UNIQUE: u64 = 1 << 32;

/// A store, and what the next batch for it is made of.
pub struct Filled {
    /// The store.
    pub store: Embedded,
    next: u64,
    settled: u64,
    buckets: Vec<Generation>,
}

/// Spreads numbers over all 64 bits (SplitMix64, Steele, Lea, Flood 2014), as a MAC would.
fn scattered(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// The unique term that finds key `number`.
#[must_use]
pub fn name_term(number: u64) -> Term {
    sample::term(scattered(UNIQUE + number))
}

fn key(number: u64) -> Row {
    let mut row = sample::row(number, &[SHARED]);
    row.terms.extend([sample::term(SHARED + 1), sample::term(SHARED + 2), name_term(number), sample::term(scattered(UNIQUE * 2 + number))]);
    row
}

/// Its identifier begins as the Name's term does.
fn claim(number: u64) -> Row {
    let mut row = sample::row(number, &[]);
    row.header.id = RowId::new(Layer::Name, Uuid::from_u64_pair(scattered(UNIQUE + number), scattered(UNIQUE * 3 + number)));
    row.material = None;
    row.attributes = None;
    row
}

fn bucket(number: u16, generation: Generation) -> Row {
    let mut row = sample::row(0, &[]);
    row.header.id = bucket_row(number);
    row.header.generation = generation;
    row.material = None;
    row.attributes = Some(vec![0x5A; 118]);
    row
}

impl Filled {
    /// Makes a store in `folder` with `keys` keys.
    ///
    /// # Panics
    /// If the disk does not take it.
    #[must_use]
    pub fn new(folder: &Path, keys: u64) -> Self {
        let store = Embedded::open(&folder.join("bench.db")).expect("a fresh folder");
        let mut filled = Self { store, next: 1, settled: 0, buckets: vec![Generation::FIRST; usize::from(BUCKETS)] };
        let buckets: Vec<_> = (0..BUCKETS).map(|number| Change::Insert(bucket(number, Generation::FIRST))).collect();
        filled.commit(sample::batch(buckets));
        while filled.next < keys {
            let batch = filled.creates(FILL_KEYS.min(keys - filled.next));
            filled.commit(batch);
        }
        filled
    }

    /// A batch as the writer makes it of so many Creates: keys, claims, a bucket of their time and one for each claim, audit records.
    pub fn creates(&mut self, keys: u64) -> Batch {
        let numbers = self.next..self.next + keys;
        let mut changes: Vec<Change> =
            numbers.clone().flat_map(|number| [Change::Insert(key(number)), Change::Insert(claim(number))]).collect();
        let claims = usize::from(CLAIM_BUCKETS);
        let mut touched: Vec<usize> = numbers.clone().map(|number| place(scattered(UNIQUE * 3 + number), claims)).collect();
        touched.push(claims + place(scattered(self.next), self.buckets.len() - claims));
        touched.sort_unstable();
        touched.dedup();
        for number in touched {
            let expected = self.buckets[number];
            self.buckets[number] = expected.next();
            let number = u16::try_from(number).expect("below BUCKETS");
            changes.push(Change::Update { expected, row: bucket(number, expected.next()) });
        }
        let outbox = numbers.map(sample::entry).collect();
        self.next += keys;
        // The log has what the commit before this one queued.
        let settled = Some(OutboxSeq(self.settled));
        self.settled = self.next - 1;
        Batch { changes, outbox, settled }
    }

    /// Commits.
    ///
    /// # Panics
    /// If the store refuses.
    pub fn commit(&self, batch: Batch) {
        runtime().block_on(self.store.commit(batch)).expect("the store takes it");
    }

    /// The id of key `number`.
    #[must_use]
    pub fn id(number: u64) -> RowId {
        sample::id(number)
    }
}

fn place(number: u64, places: usize) -> usize {
    usize::try_from(number % places as u64).expect("below a usize")
}

/// The store commits on a blocking thread of the runtime around it.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("threads"))
}
