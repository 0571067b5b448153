//! Framing: where in the bytes received so far a whole message ends.

use crate::error::Error;
use crate::tag::Tag;
use crate::ttlv::{HEADER_BYTES, ItemType};

/// Default limit of a message with its header, in bytes (C24).
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Finds the messages of one kind in a stream of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    first_bytes: [u8; 4],
    message_bytes_max: usize,
}

/// What the bytes received so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// At least this many further bytes have to arrive; never 0.
    Need(usize),
    /// The first so many bytes are one whole message.
    Message(usize),
}

impl Frames {
    /// The server's side: Request Messages of at most this many bytes.
    #[must_use]
    pub const fn of_requests(message_bytes_max: usize) -> Self {
        Self::of(Tag::REQUEST_MESSAGE, message_bytes_max)
    }

    /// The client's side: Response Messages of at most this many bytes.
    #[must_use]
    pub const fn of_responses(message_bytes_max: usize) -> Self {
        Self::of(Tag::RESPONSE_MESSAGE, message_bytes_max)
    }

    const fn of(tag: Tag, message_bytes_max: usize) -> Self {
        let [first, second, third] = tag.bytes();
        Self { first_bytes: [first, second, third, ItemType::Structure as u8], message_bytes_max }
    }

    /// Looks at the start of `input`, which begins where the last message ended.
    ///
    /// - Errors: `Malformed` as soon as the bytes cannot begin such a message; `TooLong` as soon as the header says so, before the
    ///   message has to be buffered. After an error the stream has no further messages: where the next one begins is unknown.
    pub fn next(&self, input: &[u8]) -> Result<Framing, Error> {
        if let Some(offset) = input.iter().zip(&self.first_bytes).position(|(is, wanted)| is != wanted) {
            return Err(Error::Malformed { offset, expected: "the tag and type of a KMIP message in TTLV" });
        }
        let Some((header, _)) = input.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(Framing::Need(HEADER_BYTES - input.len()));
        };
        let [.., length0, length1, length2, length3] = *header;
        let length = u32::from_be_bytes([length0, length1, length2, length3]);
        if !length.is_multiple_of(8) {
            return Err(Error::Malformed { offset: 4, expected: "a length that is a multiple of 8" });
        }
        let bytes = u64::from(length) + HEADER_BYTES as u64;
        let message = usize::try_from(bytes).ok().filter(|bytes| *bytes <= self.message_bytes_max);
        let message = message.ok_or(Error::TooLong { bytes, bytes_max: self.message_bytes_max })?;
        Ok(match message.checked_sub(input.len()) {
            None | Some(0) => Framing::Message(message),
            Some(missing) => Framing::Need(missing),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[u8], expected: Result<Framing, Error>) {
        assert_eq!(Frames::of_requests(64).next(input), expected, "{input:02X?}");
    }

    /// A header that announces `length` bytes, and that many zeros.
    fn message(length: u8) -> Vec<u8> {
        [&[0x42, 0x00, 0x78, 0x01, 0, 0, 0, length][..], &vec![0; usize::from(length)]].concat()
    }

    #[test]
    fn asks_for_what_is_missing_at_every_byte() {
        let whole = message(16);
        for at in 0..whole.len() {
            check(&whole[..at], Ok(Framing::Need(if at < 8 { 8 - at } else { 24 - at })));
        }
        check(&whole, Ok(Framing::Message(24)));
    }

    #[test]
    fn leaves_the_next_message_alone() {
        check(&[message(8), message(16)].concat(), Ok(Framing::Message(16)));
    }

    #[test]
    fn takes_a_message_of_exactly_the_limit_and_none_above() {
        check(&message(56), Ok(Framing::Message(64)));
        check(&message(64)[..8], Err(Error::TooLong { bytes: 72, bytes_max: 64 }));
        check(&[0x42, 0, 0x78, 1, 0xFF, 0xFF, 0xFF, 0xF8], Err(Error::TooLong { bytes: 0x1_0000_0000, bytes_max: 64 }));
    }

    #[test]
    fn refuses_another_protocol_at_its_first_byte() {
        let refused = |offset| Err(Error::Malformed { offset, expected: "the tag and type of a KMIP message in TTLV" });
        check(b"G", refused(0));
        check(b"\x16\x03\x01", refused(0));
        check(&[0x42, 0x00, 0x7B], refused(2));
        check(&[0x42, 0x00, 0x78, 0x02], refused(3));
    }

    #[test]
    fn refuses_a_length_that_no_structure_has() {
        check(&message(12)[..8], Err(Error::Malformed { offset: 4, expected: "a length that is a multiple of 8" }));
    }

    #[test]
    fn a_client_frames_responses_and_no_requests() {
        let frames = Frames::of_responses(64);
        assert_eq!(frames.next(&[0x42, 0x00, 0x7B, 0x01, 0, 0, 0, 0]), Ok(Framing::Message(8)));
        assert!(frames.next(&message(0)).is_err());
    }
}
