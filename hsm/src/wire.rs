//! The frame that carries a job to the device process and its answer back.
//!
//! ```text
//! "SRD1" | header_bytes u32 | first_secret_bytes u16 | second_secret_bytes u16 | header | first secret | second secret      (big-endian)
//! ```
//! The digit of the magic is the version. The header is postcard: an [`crate::Order`] one way, `Result<Answer, Refusal>` the other. The first
//! secret is the PIN, the second the payload; length 0 means there is none. Secrets are written from and read into locked memory with nothing in
//! between, which is why they are not in the header.

use std::io::{self, Read, Write};

use secret::{Bytes, Exhausted};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of a header: names and paths, an AAD, an RSA ciphertext.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of a secret on the wire; a PIN may be longer than a payload.
pub const FRAME_SECRET_BYTES_MAX: usize = 256;

const MAGIC: [u8; 4] = *b"SRD1";
const PREFIX_BYTES: usize = 12;

/// Why a frame was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer is gone, or the deadline has passed (`TimedOut`, `WouldBlock`).
    #[error("the other side cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// The bytes are not a frame of ours.
    #[error("{0}")]
    Malformed(&'static str),
    /// What is to be sent does not fit a frame.
    #[error("{0}")]
    TooLarge(&'static str),
    /// No locked memory for a secret.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
}

/// Writes one frame.
///
/// # Errors
/// `TooLarge` before the first byte left; `Io`.
pub fn write(to: &mut impl Write, header: &impl Serialize, secrets: [Option<&Bytes>; 2]) -> Result<(), WireError> {
    let header = postcard::to_allocvec(header).map_err(|_| WireError::TooLarge("a path in it is not UTF-8"))?;
    if header.len() > HEADER_BYTES_MAX {
        return Err(WireError::TooLarge("its names and associated data are longer than the wire carries"));
    }
    let mut open = Vec::with_capacity(PREFIX_BYTES + header.len());
    open.extend(MAGIC);
    open.extend(u32::try_from(header.len()).expect("bounded above").to_be_bytes());
    for secret in secrets {
        open.extend(secret_bytes(secret)?.to_be_bytes());
    }
    open.extend(header);
    to.write_all(&open)?;
    for secret in secrets.into_iter().flatten() {
        secret.expose(|bytes| to.write_all(bytes))?;
    }
    Ok(to.flush()?)
}

fn secret_bytes(secret: Option<&Bytes>) -> Result<u16, WireError> {
    let bytes = secret.map_or(0, Bytes::len);
    if bytes > FRAME_SECRET_BYTES_MAX {
        return Err(WireError::TooLarge("a secret in it is longer than the wire carries"));
    }
    Ok(u16::try_from(bytes).expect("bounded above"))
}

/// Reads one frame; lengths are checked before anything is allocated.
///
/// # Errors
/// `Malformed`, `Io` (a frame that ends early is `UnexpectedEof`), `Exhausted`.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<(T, [Option<Bytes>; 2]), WireError> {
    let mut prefix = [0; PREFIX_BYTES];
    from.read_exact(&mut prefix)?;
    let [m0, m1, m2, m3, h0, h1, h2, h3, a0, a1, b0, b1] = prefix;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(WireError::Malformed("bytes that are no frame of this version"));
    }
    let header_bytes = u32::from_be_bytes([h0, h1, h2, h3]) as usize;
    let secret_bytes = [u16::from_be_bytes([a0, a1]), u16::from_be_bytes([b0, b1])].map(usize::from);
    if header_bytes > HEADER_BYTES_MAX || secret_bytes.iter().any(|bytes| *bytes > FRAME_SECRET_BYTES_MAX) {
        return Err(WireError::Malformed("a frame that is longer than allowed"));
    }
    let mut header = vec![0; header_bytes];
    from.read_exact(&mut header)?;
    let header = match postcard::take_from_bytes(&header) {
        Ok((header, [])) => header,
        Ok(_) | Err(_) => return Err(WireError::Malformed("a header that does not decode")),
    };
    let [first, second] = secret_bytes;
    Ok((header, [read_secret(from, first)?, read_secret(from, second)?]))
}

fn read_secret(from: &mut impl Read, bytes: usize) -> Result<Option<Bytes>, WireError> {
    if bytes == 0 {
        return Ok(None);
    }
    Bytes::try_init_with(bytes, |place| Ok(from.read_exact(place)?)).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Answer;

    fn secret(text: &[u8]) -> Bytes {
        Bytes::init_with(text.len(), |place| place.copy_from_slice(text)).expect("the arena has room")
    }

    fn frame(first: Option<&Bytes>, second: Option<&Bytes>) -> Vec<u8> {
        let mut frame = Vec::new();
        write(&mut frame, &Answer::KeyMade, [first, second]).expect("it fits");
        frame
    }

    fn refused(frame: &[u8]) -> WireError {
        read::<Answer>(&mut &*frame).expect_err("this is not a frame")
    }

    #[test]
    fn each_secret_comes_back_in_its_own_place() {
        let (pin, payload) = (secret(b"4321"), secret(&[7; 32]));
        let (answer, [first, second]) = read::<Answer>(&mut &*frame(Some(&pin), Some(&payload))).expect("our own frame");
        assert_eq!(answer, Answer::KeyMade);
        assert!(first.is_some_and(|first| first.ct_eq(&pin)) && second.is_some_and(|second| second.ct_eq(&payload)));
        let (_, [first, second]) = read::<Answer>(&mut &*frame(None, Some(&payload))).expect("our own frame");
        assert!(first.is_none() && second.is_some_and(|second| second.ct_eq(&payload)));
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused() {
        let whole = frame(Some(&secret(b"4321")), Some(&secret(&[7; 32])));
        for cut in 0..whole.len() {
            assert!(matches!(refused(&whole[..cut]), WireError::Io(_)), "cut at {cut}");
        }
    }

    #[test]
    fn an_altered_prefix_is_refused_before_anything_is_allocated() {
        for (at, value) in [(0, b'X'), (3, b'2'), (4, 0xFF), (6, 0x41), (8, 0xFF), (10, 0x02)] {
            let mut altered = frame(None, Some(&secret(&[7; 32])));
            altered[at] = value;
            assert!(matches!(refused(&altered), WireError::Malformed(_)), "byte {at}");
        }
    }

    #[test]
    fn a_header_with_bytes_left_over_is_refused() {
        let mut longer = frame(None, None);
        longer[7] += 1;
        longer.push(0);
        assert!(matches!(refused(&longer), WireError::Malformed("a header that does not decode")));
    }

    #[test]
    fn what_does_not_fit_is_not_begun() {
        let mut sent = Vec::new();
        let long = secret(&[1; FRAME_SECRET_BYTES_MAX + 1]);
        assert!(matches!(write(&mut sent, &Answer::KeyMade, [Some(&long), None]), Err(WireError::TooLarge(_))));
        let wide = vec![0u8; HEADER_BYTES_MAX];
        assert!(matches!(write(&mut sent, &wide, [None, None]), Err(WireError::TooLarge(_))));
        assert!(sent.is_empty());
    }
}
