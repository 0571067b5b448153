//! A stream that wipes the room it is read into, each time it is read from.
//!
//! rustls decrypts in its buffer for reading, hyper parses in its own, and both keep that buffer for as long as the connection lives: what was read
//! last would lie in an idle connection's until something longer arrives. Both ask for more as soon as they have passed on what there was, with the
//! whole buffer for room; here it is overwritten first. Source: docs/SECURITY.md, C15 and C16.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// hyper lends its whole buffer only while that has not grown, and it grows once a read fills it: 8 KiB.
const HYPER_BYTES_MAX: usize = (8 << 10) - 1;

/// The stream.
#[derive(Debug)]
pub struct Wiped<S> {
    stream: S,
    read_bytes_max: usize,
}

impl<S> Wiped<S> {
    /// For rustls to read from.
    pub fn for_tls(stream: S) -> Self {
        Self { stream, read_bytes_max: usize::MAX }
    }

    /// For hyper to read from.
    pub fn for_http(stream: S) -> Self {
        Self { stream, read_bytes_max: HYPER_BYTES_MAX }
    }

    /// What it reads from.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wiped<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // The rest is wiped by being initialized.
        let used_before = buffer.initialized().len() - buffer.filled().len();
        let room = buffer.initialize_unfilled();
        room[..used_before].fill(0);
        let bytes = room.len().min(self.read_bytes_max);
        let mut part = ReadBuf::new(&mut room[..bytes]);
        let read = Pin::new(&mut self.stream).poll_read(context, &mut part);
        let bytes = part.filled().len();
        buffer.advance(bytes);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wiped<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // rustls hands over one record mostly, and send(2) is cheaper than writev(2).
        match pieces {
            [only] => Pin::new(&mut self.stream).poll_write(context, only),
            pieces => Pin::new(&mut self.stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_was_read_before_is_gone_as_soon_as_more_is_asked_for() {
        let (near, mut far) = duplex(64);
        let mut wiped = Wiped::for_tls(near);
        let mut room = [0; 32];
        far.write_all(b"a secret of twenty-six ...").await.expect("it is read");
        let mut buffer = ReadBuf::new(&mut room);
        poll_fn(|context| Pin::new(&mut wiped).poll_read(context, &mut buffer)).await.expect("it was written");
        assert_eq!(buffer.filled(), b"a secret of twenty-six ...");
        // Used again from its beginning, as by rustls and hyper; nothing arrives.
        let mut buffer = ReadBuf::new(&mut room);
        poll_fn(|context| {
            assert!(Pin::new(&mut wiped).poll_read(context, &mut buffer).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(room, [0; 32]);
    }

    #[tokio::test]
    async fn what_is_kept_stays_and_no_more_is_read_than_may_be() {
        let (near, mut far) = duplex(64 << 10);
        far.write_all(&[7; 32 << 10]).await.expect("there is room");
        let mut wiped = Wiped::for_http(near);
        let mut room = vec![9; 16 << 10];
        let mut buffer = ReadBuf::new(&mut room);
        buffer.advance(10);
        poll_fn(|context| Pin::new(&mut wiped).poll_read(context, &mut buffer)).await.expect("it was written");
        assert_eq!((buffer.filled().len(), &buffer.filled()[..10]), (10 + HYPER_BYTES_MAX, &[9; 10][..]));
        assert!(buffer.filled()[10..].iter().all(|byte| *byte == 7));
        assert!(room[10 + HYPER_BYTES_MAX..].iter().all(|byte| *byte == 0));
    }
}
