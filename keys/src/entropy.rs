//! Randomness with the one check that catches a dead source: two equal draws in a row stop the issue of keys for good.

use std::sync::{Arc, Mutex, PoisonError};

use crate::port::{Entropy, EntropyError};

/// How many leading bytes of consecutive draws are compared; a sound source repeats them once in 2^96 draws.
const COMPARED_BYTES: usize = 12;

/// The checked source that everything in the domain draws from.
pub struct Randomness {
    source: Arc<dyn Entropy>,
    last: Mutex<Watch>,
}

/// What is kept of the last draw: a MAC of it under a key of this process, because a draw is somebody's key.
struct Watch {
    key: Option<[u8; 32]>,
    last: Last,
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
        Self { source, last: Mutex::new(Watch { key: None, last: Last::Nothing }) }
    }

    /// Fills `buffer` with fresh random bytes.
    ///
    /// # Errors
    /// [`EntropyError`] if the source fails, and from the first repeated draw on for ever (C17, F26).
    pub fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        let mut watch = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match watch.key {
            Some(key) => key,
            None => {
                let mut key = [0; 32];
                self.source.fill(&mut key)?;
                *watch.key.insert(key)
            }
        };
        self.source.fill(buffer)?;
        let seen = cipher::mac::hmac_sha256(&key, &[buffer]);
        let seen: [u8; COMPARED_BYTES] = *seen.first_chunk().expect("a MAC has 32 bytes");
        let stopped = match &watch.last {
            Last::Nothing => false,
            Last::Drawn(before) => *before == seen && buffer.len() >= COMPARED_BYTES,
            Last::Repeated => true,
        };
        if stopped {
            watch.last = Last::Repeated;
            buffer.fill(0);
            return Err(EntropyError { why: "two consecutive draws were equal; restart once the system's generator is sound".to_owned() });
        }
        watch.last = Last::Drawn(seen);
        Ok(())
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};

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
}
