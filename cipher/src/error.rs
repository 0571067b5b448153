//! The one error type of the crate.

/// Why an algorithm did not do its work.
///
/// A failed decryption is one variant without detail: wrong key, changed bytes and bad padding look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A stored record names an AEAD this version does not have; 0 and 0xFFFF never name one (C1).
    #[error("AEAD number {number} is not known to this version: the record is damaged or was written by a newer one")]
    UnknownAead {
        /// The number as read.
        number: u16,
    },
    /// The caller passed an input whose length the algorithm does not take.
    #[error("{what} is {is_bytes} bytes long, and must be {wants} bytes")]
    WrongLength {
        /// The input.
        what: &'static str,
        /// Its length in bytes.
        is_bytes: usize,
        /// The accepted length or lengths in bytes.
        wants: &'static str,
    },
    /// The bytes do not verify under this key: nothing was released.
    #[error("refused: the key, the initialization vector, the additional data or the bytes themselves are not those of the original")]
    Refused,
    /// The bytes, or the numbers, are no key of the form that they are said to be in.
    #[error("{why}")]
    NotAKey {
        /// What is wrong with them.
        why: &'static str,
    },
    /// A key pair could not be made, or its halves did not fit: nothing of it is used.
    #[error("the key pair could not be made; try again, and check the machine if that does not help")]
    NotMade,
    /// There is no locked memory left.
    #[error(transparent)]
    Exhausted(#[from] secret::Exhausted),
}
