//! The body of a request, whole and bounded, in one buffer that can be wiped.

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use zeroize::Zeroize;

/// Room for a body of unknown length, in bytes.
const ROOM_BYTES: usize = 4096;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoBody {
    /// It is longer than allowed.
    TooLarge,
    /// It ended early, or is not framed as HTTP says.
    Broken,
}

/// Collects a body of at most `bytes_max`; one that announces more is not read at all.
///
/// # Errors
/// [`NoBody`]; what was read of it is wiped.
pub async fn collect<B: Body<Data = Bytes> + Unpin>(mut body: B, bytes_max: usize) -> Result<Vec<u8>, NoBody> {
    let announced = body.size_hint().exact();
    let room = match announced {
        Some(bytes) => usize::try_from(bytes).ok().filter(|bytes| *bytes <= bytes_max).ok_or(NoBody::TooLarge)?,
        None => ROOM_BYTES,
    };
    let mut whole = Vec::with_capacity(room);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(wiped(whole, NoBody::Broken)) };
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > bytes_max - whole.len() {
            return Err(wiped(whole, NoBody::TooLarge));
        }
        make_room(&mut whole, data.len());
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

/// Grows without leaving a copy behind.
fn make_room(whole: &mut Vec<u8>, more: usize) {
    if whole.capacity() - whole.len() < more {
        let mut roomier = Vec::with_capacity((whole.len() + more).max(whole.capacity() * 2));
        roomier.extend_from_slice(whole);
        whole.zeroize();
        *whole = roomier;
    }
}

fn wiped(mut whole: Vec<u8>, why: NoBody) -> NoBody {
    whole.zeroize();
    why
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body_util::Full;
    use hyper::body::Frame;

    use super::*;

    /// So many pieces of so many bytes, unannounced.
    struct Pieces(usize, usize);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
            self.0 = left;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![7; self.1])))))
        }
    }

    #[tokio::test]
    async fn a_body_is_taken_up_to_the_limit_and_not_beyond() {
        for (bytes, fits) in [(0, true), (99, true), (100, true), (101, false), (100_000, false)] {
            let collected = collect(Full::new(Bytes::from(vec![7; bytes])), 100).await;
            assert_eq!(collected, if fits { Ok(vec![7; bytes]) } else { Err(NoBody::TooLarge) }, "{bytes}");
        }
    }

    #[tokio::test]
    async fn pieces_of_unknown_number_are_counted_as_they_come() {
        assert_eq!(collect(Pieces(10, 1000), 10_000).await, Ok(vec![7; 10_000]));
        assert_eq!(collect(Pieces(11, 1000), 10_000).await, Err(NoBody::TooLarge));
        assert_eq!(collect(Pieces(usize::MAX, 1000), 1 << 20).await, Err(NoBody::TooLarge));
    }
}
