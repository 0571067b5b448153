//! The paddings that bring data to whole blocks of AES, as KMIP's Padding Method enumeration has them.

use subtle::{Choice, ConstantTimeEq, ConstantTimeGreater};

use crate::Error;
use crate::mode::BLOCK_BYTES;

/// The most bytes of padding, as a byte that tells them.
const NUMBER_MAX: u8 = 16;

/// How the last block is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Not at all: data must be whole blocks.
    None,
    /// 1 to 16 bytes, each of them their number (RFC 5652 section 6.3; RFC 8018 has it for blocks of 8 bytes).
    Pkcs5,
    /// 0 to 15 zeros. They cannot be told from data and stay when it is decrypted: the client, which knows the length, cuts them off.
    Zeros,
    /// 0 to 15 zeros and a byte that tells their number, itself included.
    AnsiX923,
    /// 0 to 15 random bytes and a byte that tells their number, itself included.
    Iso10126,
}

impl Padding {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Pkcs5, Self::Zeros, Self::AnsiX923, Self::Iso10126];

    /// How many random bytes [`pad`](Self::pad) is to be given.
    #[must_use]
    pub fn random_bytes(self) -> usize {
        if self == Self::Iso10126 { BLOCK_BYTES - 1 } else { 0 }
    }

    /// Whether decryption takes it away again; if so, there is at least one byte of it.
    #[must_use]
    pub fn is_removed(self) -> bool {
        !matches!(self, Self::None | Self::Zeros)
    }

    /// What follows data of `data_bytes` bytes: writes it to the front of `block`, and returns that.
    ///
    /// - `random`: as many bytes as [`random_bytes`](Self::random_bytes) says, or more.
    ///
    /// # Errors
    /// [`Error::WrongLength`] for data that is not whole blocks and is not padded, or for too few random bytes.
    pub fn pad<'a>(self, data_bytes: usize, random: &[u8], block: &'a mut [u8; BLOCK_BYTES]) -> Result<&'a [u8], Error> {
        let Some(random) = random.get(..self.random_bytes()) else {
            return Err(Error::WrongLength { what: "randomness for ISO 10126", is_bytes: random.len(), wants: "15" });
        };
        let missing = BLOCK_BYTES - data_bytes % BLOCK_BYTES;
        let bytes = if self.is_removed() { missing } else { missing % BLOCK_BYTES };
        let (padding, _) = block.split_at_mut(bytes);
        let number = u8::try_from(bytes).expect("at most a block");
        padding.fill(if self == Self::Pkcs5 { number } else { 0 });
        padding.iter_mut().zip(random).for_each(|(byte, random)| *byte = *random);
        match (self, padding.last_mut()) {
            (Self::None, Some(_)) => return Err(not_whole_blocks(data_bytes)),
            (Self::AnsiX923 | Self::Iso10126, Some(last)) => *last = number,
            _ => {}
        }
        Ok(padding)
    }

    /// How many bytes of `padded`, which is whole blocks, are data.
    ///
    /// The time this takes tells nothing of the bytes; what is done with the answer may.
    ///
    /// # Errors
    /// [`Error::Refused`] for a padding that [`pad`](Self::pad) does not make.
    pub fn unpad(self, padded: &[u8]) -> Result<usize, Error> {
        if !self.is_removed() {
            return Ok(padded.len());
        }
        let block: &[u8; BLOCK_BYTES] = padded.last_chunk().ok_or(Error::Refused)?;
        let number = block[BLOCK_BYTES - 1];
        let mut is_good = !number.ct_eq(&0) & !number.ct_gt(&NUMBER_MAX);
        for (before_end, byte) in (1..).zip(block.iter().rev()) {
            let is_data = before_end.ct_gt(&number);
            is_good &= is_data | self.has(before_end, *byte, number);
        }
        if bool::from(is_good) { Ok(padded.len() - usize::from(number)) } else { Err(Error::Refused) }
    }

    /// Whether `byte` can be one of `number` bytes of padding, at this place from the end.
    fn has(self, before_end: u8, byte: u8, number: u8) -> Choice {
        let is_last = before_end.ct_eq(&1);
        match self {
            Self::Pkcs5 => byte.ct_eq(&number),
            Self::AnsiX923 => is_last | byte.ct_eq(&0),
            Self::Iso10126 | Self::Zeros | Self::None => Choice::from(1),
        }
    }

    /// Refuses ciphertext of a length that encryption with this padding does not make.
    pub(crate) fn check_ciphertext(self, bytes: u64) -> Result<(), Error> {
        let is_whole = bytes.is_multiple_of(BLOCK_BYTES as u64);
        match self.is_removed() {
            true if bytes == 0 || !is_whole => Err(Error::Refused),
            false if !is_whole => Err(not_whole_blocks(usize::try_from(bytes).unwrap_or(usize::MAX))),
            _ => Ok(()),
        }
    }
}

fn not_whole_blocks(is_bytes: usize) -> Error {
    Error::WrongLength { what: "data", is_bytes, wants: "a multiple of 16" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: [u8; 15] = [0x5A; 15];

    fn padded(padding: Padding, data: &[u8]) -> Vec<u8> {
        let mut block = [0xEE; BLOCK_BYTES];
        let tail = padding.pad(data.len(), &RANDOM, &mut block).expect("there is randomness, and the data is whole if it must be");
        [data, tail].concat()
    }

    #[test]
    fn each_padding_is_what_its_standard_says() {
        let data = [0xDD; 13];
        let ends = |padding| padded(padding, &data)[13..].to_vec();
        assert_eq!(ends(Padding::Pkcs5), [3, 3, 3]);
        assert_eq!(ends(Padding::Zeros), [0, 0, 0]);
        assert_eq!(ends(Padding::AnsiX923), [0, 0, 3]);
        assert_eq!(ends(Padding::Iso10126), [0x5A, 0x5A, 3]);

        let whole = [0xDD; 16];
        let ends = |padding| padded(padding, &whole)[16..].to_vec();
        assert_eq!(ends(Padding::None), []);
        assert_eq!(ends(Padding::Pkcs5), [16; 16]);
        assert_eq!(ends(Padding::Zeros), []);
        assert_eq!(ends(Padding::AnsiX923), [&[0; 15][..], &[16]].concat());
        assert_eq!(ends(Padding::Iso10126), [&RANDOM[..], &[16]].concat());
    }

    #[test]
    fn data_of_every_length_comes_back_but_for_zeros() {
        for padding in Padding::ALL {
            for bytes in (0..=49).filter(|bytes| padding != Padding::None || bytes % 16 == 0) {
                let data = vec![0xDD; bytes];
                let padded = padded(padding, &data);
                assert_eq!(padded.len() % 16, 0);
                let back = padding.unpad(&padded).expect("it was padded so");
                assert_eq!(back, if padding == Padding::Zeros { padded.len() } else { bytes }, "{padding:?}");
            }
        }
    }

    /// Every length byte with every byte of the block changed, against the definitions read naively.
    #[test]
    fn a_block_that_padding_does_not_make_is_refused() {
        for padding in Padding::ALL.into_iter().filter(|padding| padding.is_removed()) {
            for number in 0..=255_u8 {
                for (at, filling) in (0..15).flat_map(|at| [(at, 0), (at, 1), (at, number)]) {
                    let mut block = [if padding == Padding::Pkcs5 { number } else { 0 }; 16];
                    (block[at], block[15]) = (filling, number);
                    let tail = &block[16_usize.saturating_sub(number.into()).min(15)..15];
                    let is_good = (1..=16).contains(&number)
                        && match padding {
                            Padding::Pkcs5 => tail.iter().all(|byte| *byte == number),
                            Padding::AnsiX923 => tail.iter().all(|byte| *byte == 0),
                            _ => true,
                        };
                    let data_bytes = if is_good { Ok(32 - usize::from(number)) } else { Err(Error::Refused) };
                    assert_eq!(padding.unpad(&[[7; 16], block].concat()), data_bytes, "{padding:?} of {block:?}");
                }
            }
            assert_eq!(padding.unpad(&[]), Err(Error::Refused));
        }
    }

    #[test]
    fn data_that_cannot_be_padded_is_a_typed_error() {
        let mut block = [0; BLOCK_BYTES];
        for bytes in [1, 15, 17] {
            let error = Error::WrongLength { what: "data", is_bytes: bytes, wants: "a multiple of 16" };
            assert_eq!(Padding::None.pad(bytes, &RANDOM, &mut block), Err(error));
        }
        // The same for every length, or a caller that brings too little would be right now and then.
        for bytes in [1, 15, 16] {
            let error = Error::WrongLength { what: "randomness for ISO 10126", is_bytes: 14, wants: "15" };
            assert_eq!(Padding::Iso10126.pad(bytes, &RANDOM[..14], &mut block), Err(error));
        }
    }
}
