//! Deadlines on a stream that HTTP is spoken on, by what is waited for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A request must be whole this long after its first byte.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// The peer must take something of an answer within this time.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What a connection waits for, shared between the stream and who answers. Each change is a new number, so that none is overlooked.
#[derive(Debug, Clone, Default)]
pub struct Pace(Arc<AtomicU64>);

const WAITING: u64 = 0;
const RECEIVING: u64 = 1;
const ANSWERING: u64 = 2;
const PHASES: u64 = 4;

impl Pace {
    /// A request has begun to arrive.
    pub fn receiving(&self) {
        if self.phase() == WAITING {
            self.change(RECEIVING);
        }
    }

    /// The request is whole; from now on nothing is expected of the peer.
    pub fn answering(&self) {
        self.change(ANSWERING);
    }

    /// The answer is made; the next request may begin.
    pub fn waiting(&self) {
        self.change(WAITING);
    }

    fn phase(&self) -> u64 {
        self.0.load(Ordering::Relaxed) % PHASES
    }

    fn change(&self, phase: u64) {
        let number = self.0.load(Ordering::Relaxed) / PHASES;
        self.0.store((number + 1) * PHASES + phase, Ordering::Relaxed);
    }
}

/// A stream that fails with [`io::ErrorKind::TimedOut`] when its peer is too slow.
#[derive(Debug)]
pub struct Paced<S> {
    stream: S,
    pace: Pace,
    idle: Duration,
    /// The number of the phase that `until` belongs to.
    phase: u64,
    /// No byte may be waited for beyond this moment; `None` while none is expected.
    until: Option<Instant>,
    /// Since the peer last took something.
    writing: Option<Instant>,
    reader: Pin<Box<Sleep>>,
    writer: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    /// Follows `pace`; a connection without a request ends after `idle`.
    pub fn new(stream: S, pace: Pace, idle: Duration) -> Self {
        let now = Instant::now();
        let timer = || Box::pin(sleep_until(now));
        Self { stream, pace, idle, phase: 0, until: Some(now + idle), writing: None, reader: timer(), writer: timer() }
    }

    /// Brings the deadline of reading up to what is waited for now.
    fn follow(&mut self) {
        let phase = self.pace.0.load(Ordering::Relaxed);
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        self.until = match phase % PHASES {
            WAITING => Some(Instant::now() + self.idle),
            RECEIVING => Some(Instant::now() + REQUEST_WITHIN),
            _ => None,
        };
    }

    fn late_reader(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some(until) = self.until else { return Poll::Pending };
        late(&mut self.reader, until, context)
    }

    fn late_writer(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let since = *self.writing.get_or_insert_with(Instant::now);
        late(&mut self.writer, since + ANSWER_WITHIN, context)
    }
}

fn late(timer: &mut Pin<Box<Sleep>>, until: Instant, context: &mut Context<'_>) -> Poll<io::Error> {
    if timer.deadline() != until {
        timer.as_mut().reset(until);
    }
    ready!(timer.as_mut().poll(context));
    Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer is too slow"))
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.follow();
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            if read.is_ok() && buffer.filled().len() > before {
                self.pace.receiving();
                self.follow();
            }
            return Poll::Ready(read);
        }
        self.late_reader(context).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(context, bytes) {
            self.writing = None;
            return Poll::Ready(written);
        }
        self.late_writer(context).map(Err)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(context) {
            self.writing = None;
            return Poll::Ready(flushed);
        }
        self.late_writer(context).map(Err)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(shut) = Pin::new(&mut self.stream).poll_shutdown(context) {
            return Poll::Ready(shut);
        }
        self.late_writer(context).map(Err)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const IDLE: Duration = Duration::from_secs(3600);

    /// How long a read waits before it is given up.
    async fn patience(paced: &mut Paced<tokio::io::DuplexStream>) -> Duration {
        let begun = Instant::now();
        let error = paced.read(&mut [0; 8]).await.expect_err("nobody writes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        begun.elapsed()
    }

    fn about(is: Duration, wanted: Duration) {
        assert!(is >= wanted && is < wanted + Duration::from_secs(1), "{is:?} is not {wanted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_ten_seconds_from_its_first_byte_however_it_trickles() {
        let (near, mut far) = duplex(64);
        let mut paced = Paced::new(near, Pace::default(), IDLE);
        let begun = Instant::now();
        let trickle = tokio::spawn(async move {
            while far.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        while paced.read(&mut [0; 8]).await.is_ok() {}
        about(begun.elapsed(), REQUEST_WITHIN);
        drop(paced);
        trickle.await.expect("it does not panic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_idle_longer_than_a_request_may_take() {
        let (near, mut far) = duplex(64);
        let pace = Pace::default();
        let mut paced = Paced::new(near, pace.clone(), IDLE);
        about(patience(&mut paced).await, IDLE);
        for _ in 0..2 {
            far.write_all(b"request").await.expect("there is room");
            paced.read_exact(&mut [0; 7]).await.expect("a request");
            pace.answering();
            tokio::time::sleep(REQUEST_WITHIN * 3).await;
            pace.waiting();
            about(patience(&mut paced).await, IDLE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_expected_of_the_peer_while_it_is_answered() {
        let (near, _far) = duplex(64);
        let pace = Pace::default();
        let mut paced = Paced::new(near, pace.clone(), IDLE);
        pace.receiving();
        pace.answering();
        let read = tokio::time::timeout(IDLE * 2, paced.read(&mut [0; 8])).await;
        assert!(read.is_err(), "{read:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_take_its_answer_is_given_up() {
        let (near, _far) = duplex(8);
        let mut paced = Paced::new(near, Pace::default(), IDLE);
        let begun = Instant::now();
        let error = paced.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        about(begun.elapsed(), ANSWER_WITHIN);
    }
}
