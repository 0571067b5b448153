//! Randomness with the one check that catches a dead source: two equal draws in a row stop the issue of keys for good.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::port::{Entropy, EntropyError};
use crate::wrap::SALT_BYTES;

/// How many leading bytes of consecutive draws are compared; a sound source repeats them once in 2^96 draws.
const COMPARED_BYTES: usize = 12;
/// Length of the initialization vector of AES-GCM in bytes.
const IV_BYTES: usize = 12;
/// So much is drawn at a time of what is not secret: a draw costs as much as the AEAD of a short text.
const DRAWN_BYTES: usize = 512;

/// The checked source that everything in the domain draws from.
pub struct Randomness {
    source: Arc<dyn Entropy>,
    last: Mutex<Watch>,
}

/// What is kept of the last draw: a MAC of it under a key of this process, because a draw is somebody's key.
struct Watch {
    key: Option<[u8; 32]>,
    last: Last,
    /// Drawn and not used yet. Not secret; each is given out once.
    ivs: Vec<[u8; IV_BYTES]>,
    /// The same of salts.
    salts: Vec<[u8; SALT_BYTES]>,
}

/// What the last draw was.
enum Last {
    Nothing,
    Drawn([u8; COMPARED_BYTES]),
    Repeated,
}

impl std::fmt::Debug for Randomness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Randomness")
    }
}

impl Randomness {
    /// Wraps a source.
    #[must_use]
    pub fn new(source: Arc<dyn Entropy>) -> Self {
        Self { source, last: Mutex::new(Watch { key: None, last: Last::Nothing, ivs: Vec::new(), salts: Vec::new() }) }
    }

    /// Fills `buffer` with fresh random bytes.
    ///
    /// # Errors
    /// [`EntropyError`] if the source fails, and from the first repeated draw on for ever (C17, F26).
    pub fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        self.watch().draw(&*self.source, buffer)
    }

    /// A fresh initialization vector for AES-GCM: random, from a draw of many.
    ///
    /// # Errors
    /// As [`Randomness::fill`]; when the source fails, what was drawn before is still given out, after a repeated draw nothing is.
    pub fn gcm_iv(&self) -> Result<[u8; IV_BYTES], EntropyError> {
        self.one_of_many(|watch| &mut watch.ivs)
    }

    /// A fresh salt of a wrapped blob, from a draw of many.
    ///
    /// # Errors
    /// As [`Randomness::gcm_iv`].
    pub fn salt(&self) -> Result<[u8; SALT_BYTES], EntropyError> {
        self.one_of_many(|watch| &mut watch.salts)
    }

    fn one_of_many<const N: usize>(&self, kept: fn(&mut Watch) -> &mut Vec<[u8; N]>) -> Result<[u8; N], EntropyError> {
        let mut watch = self.watch();
        if let Some(one) = kept(&mut watch).pop() {
            return Ok(one);
        }
        let mut drawn = vec![[0; N]; DRAWN_BYTES / N];
        watch.draw(&*self.source, drawn.as_flattened_mut())?;
        kept(&mut watch).extend_from_slice(&drawn);
        drawn.sort_unstable();
        if drawn.windows(2).any(|two| two[0] == two[1]) {
            return Err(watch.stop());
        }
        Ok(kept(&mut watch).pop().expect("a draw is of many"))
    }

    /// An array of fresh random bytes that are not secret: a salt, an IV, an identifier.
    ///
    /// # Errors
    /// As [`Randomness::fill`].
    pub fn array<const N: usize>(&self) -> Result<[u8; N], EntropyError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn draw(&mut self, source: &dyn Entropy, buffer: &mut [u8]) -> Result<(), EntropyError> {
        let key = match self.key {
            Some(key) => key,
            None => {
                let mut key = [0; 32];
                source.fill(&mut key)?;
                *self.key.insert(key)
            }
        };
        source.fill(buffer)?;
        let seen = cipher::mac::hmac_sha256(&key, &[buffer]);
        let seen: [u8; COMPARED_BYTES] = *seen.first_chunk().expect("a MAC has 32 bytes");
        let repeats = match &self.last {
            Last::Nothing => false,
            Last::Drawn(before) => *before == seen && buffer.len() >= COMPARED_BYTES,
            Last::Repeated => true,
        };
        if repeats {
            buffer.fill(0);
            return Err(self.stop());
        }
        self.last = Last::Drawn(seen);
        Ok(())
    }

    /// Nothing is drawn any more, and nothing given out that was.
    fn stop(&mut self) -> EntropyError {
        self.last = Last::Repeated;
        self.ivs.clear();
        self.salts.clear();
        EntropyError { why: "two consecutive draws were equal; restart once the system's generator is sound".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

    /// Counts up, but sticks at `sticks_at`.
    struct Sticky {
        next: AtomicU8,
        sticks_at: u8,
    }

    impl Entropy for Sticky {
        fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
            buffer.fill(self.next.fetch_add(1, Ordering::Relaxed).min(self.sticks_at));
            Ok(())
        }
    }

    #[test]
    fn a_repeated_draw_stops_the_source_for_good() {
        let randomness = Randomness::new(Arc::new(Sticky { next: AtomicU8::new(0), sticks_at: 3 }));
        let drawn: Vec<bool> = (0..5).map(|_| randomness.array::<32>().is_ok()).collect();
        assert_eq!(drawn, [true, true, true, false, false]);
    }

    #[test]
    fn no_initialization_vector_and_no_salt_is_given_out_twice() {
        let randomness = Randomness::new(Arc::new(Counting(AtomicU32::new(0))));
        const SOME: usize = 3 * DRAWN_BYTES / IV_BYTES;
        let ivs: std::collections::BTreeSet<_> = (0..SOME).map(|_| randomness.gcm_iv().expect("the source is sound")).collect();
        let salts: std::collections::BTreeSet<_> = (0..SOME).map(|_| randomness.salt().expect("the source is sound")).collect();
        assert_eq!((ivs.len(), salts.len()), (SOME, SOME));
    }

    #[test]
    fn a_draw_that_repeats_within_itself_stops_the_source_for_good() {
        let randomness = Randomness::new(Arc::new(Sticky { next: AtomicU8::new(0), sticks_at: u8::MAX }));
        assert!(randomness.gcm_iv().is_err(), "all its vectors are equal");
        assert!(randomness.array::<32>().is_err());
    }

    #[test]
    fn a_source_that_repeats_a_draw_takes_back_the_vectors_that_are_left() {
        let source = Arc::new(Stuck { counting: Counting(AtomicU32::new(0)), is_stuck: AtomicBool::new(false) });
        let randomness = Randomness::new(Arc::<Stuck>::clone(&source));
        randomness.gcm_iv().expect("the source is sound");
        randomness.salt().expect("the source is sound");
        source.is_stuck.store(true, Ordering::Relaxed);
        assert!(randomness.array::<32>().is_ok(), "one draw repeats nothing yet");
        assert!(randomness.array::<32>().is_err());
        assert!(randomness.gcm_iv().is_err() && randomness.salt().is_err());
    }

    /// Every four bytes are a number that was not there before.
    struct Counting(AtomicU32);

    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
            for four in buffer.chunks_mut(4) {
                four.copy_from_slice(&self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            }
            Ok(())
        }
    }

    /// Counts until it is stuck.
    struct Stuck {
        counting: Counting,
        is_stuck: AtomicBool,
    }

    impl Entropy for Stuck {
        fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
            match self.is_stuck.load(Ordering::Relaxed) {
                true => buffer.fill(7),
                false => self.counting.fill(buffer)?,
            }
            Ok(())
        }
    }
}
