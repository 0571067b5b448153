//! Deadlines on a stream that HTTP is spoken on, by what is waited for.
//!
//! Bytes that arrive together with the end of a request are the beginning of the next one, but lie in hyper's buffer, where nobody is told of them. So
//! the bytes of each request are counted on their way there. Who has ever sent more than one request at a time (HTTP calls it pipelining, and
//! hardly any client does it) has no time to be idle any more: its next request must be whole ten seconds after the last answer.

use std::io::{self, IoSlice};
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
pub struct Pace(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU64,
    /// Length of the body of the last request, or [`IN_CHUNKS`].
    body_bytes: AtomicU64,
}

/// A body of a length that is not known ahead.
const IN_CHUNKS: u64 = u64::MAX;

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

    /// The head of a request is there; `body_bytes` is the length of the body that it announces, `None` for one in chunks.
    pub fn with_body(&self, body_bytes: Option<u64>) {
        self.0.body_bytes.store(body_bytes.unwrap_or(IN_CHUNKS), Ordering::Relaxed);
        self.receiving();
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
        self.0.phase.load(Ordering::Relaxed) % PHASES
    }

    fn change(&self, phase: u64) {
        let number = self.0.phase.load(Ordering::Relaxed) / PHASES;
        self.0.phase.store((number + 1) * PHASES + phase, Ordering::Relaxed);
    }
}

/// The end of a line with an empty one after it.
const EMPTY_LINE_BYTES: usize = 4;

/// How much of a request, from its first byte, has gone by.
#[derive(Debug, Default)]
struct Passed {
    /// Bytes of the line that is not over yet, but for carriage returns.
    line_bytes: u64,
    /// There was a line with something in it: an empty one ends the head now.
    has_begun: bool,
    /// Bytes after the head; `None` before its end.
    body_bytes: Option<u64>,
    /// The last line of all was empty.
    ends_empty: bool,
}

impl Passed {
    fn see(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            if let Some(body_bytes) = &mut self.body_bytes {
                *body_bytes += 1;
                if let Some(skipped) = rest.len().checked_sub(EMPTY_LINE_BYTES).filter(|skipped| *skipped > 0) {
                    // Of a body only the end is looked at.
                    *body_bytes += skipped as u64;
                    rest = &rest[skipped..];
                    self.line_bytes = 1;
                    continue;
                }
            }
            match byte {
                b'\r' => {}
                b'\n' => {
                    self.ends_empty = self.line_bytes == 0;
                    if self.ends_empty && self.has_begun && self.body_bytes.is_none() {
                        self.body_bytes = Some(0);
                    }
                    self.line_bytes = 0;
                }
                _ => {
                    (self.has_begun, self.ends_empty) = (true, false);
                    self.line_bytes += 1;
                }
            }
        }
    }

    /// Was more sent than this request, which is known to be whole?
    fn has_more(&self, announced: u64) -> bool {
        match self.body_bytes {
            // The last chunk, and every head, ends with an empty line; a head that is whole is not waited for.
            Some(_) if announced == IN_CHUNKS => !self.ends_empty,
            Some(passed) => passed > announced,
            // Its head went by as a part of the request before.
            None => true,
        }
    }
}

/// A stream that fails with [`io::ErrorKind::TimedOut`] when its peer is too slow.
#[derive(Debug)]
pub struct Paced<S> {
    stream: S,
    pace: Pace,
    idle: Duration,
    passed: Passed,
    /// More than one request was sent at a time.
    pipelines: bool,
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
        let (passed, pipelines) = (Passed::default(), false);
        Self { stream, pace, idle, passed, pipelines, phase: 0, until: Some(now + idle), writing: None, reader: timer(), writer: timer() }
    }

    /// Brings the deadline of reading up to what is waited for now.
    fn follow(&mut self) {
        let phase = self.pace.0.phase.load(Ordering::Relaxed);
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        if phase % PHASES == WAITING {
            self.pipelines |= std::mem::take(&mut self.passed).has_more(self.pace.0.body_bytes.load(Ordering::Relaxed));
        }
        self.until = match phase % PHASES {
            WAITING if !self.pipelines => Some(Instant::now() + self.idle),
            WAITING => Some(Instant::now() + REQUEST_WITHIN.min(self.idle)),
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

/// A timer that rings too early is set anew then, and not for each request: almost all end long before.
fn late(timer: &mut Pin<Box<Sleep>>, until: Instant, context: &mut Context<'_>) -> Poll<io::Error> {
    if timer.deadline() > until {
        timer.as_mut().reset(until);
    }
    ready!(timer.as_mut().poll(context));
    while timer.deadline() < until {
        timer.as_mut().reset(until);
        ready!(timer.as_mut().poll(context));
    }
    Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer is too slow"))
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.follow();
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            if read.is_ok() && buffer.filled().len() > before {
                self.passed.see(&buffer.filled()[before..]);
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

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write_vectored(context, pieces) {
            self.writing = None;
            return Poll::Ready(written);
        }
        self.late_writer(context).map(Err)
    }

    /// So that hyper does not copy an answer behind its head.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
            far.write_all(b"GET\r\n\r\n").await.expect("there is room");
            paced.read_exact(&mut [0; 7]).await.expect("a request");
            pace.answering();
            tokio::time::sleep(REQUEST_WITHIN * 3).await;
            pace.waiting();
            about(patience(&mut paced).await, IDLE);
        }
    }

    #[test]
    fn what_was_sent_beyond_a_request_is_seen() {
        let check = |sent: &[&str], announced, more| {
            let mut passed = Passed::default();
            sent.iter().for_each(|sent| passed.see(sent.as_bytes()));
            assert_eq!(passed.has_more(announced), more, "{sent:?} with a body of {announced}");
        };
        for (head, rest) in
            [("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "G"), ("GET / HTTP/1.1\n\n", "\n"), ("\r\n\nGET /\r\nA: b\r\n\r\n", "GET /\r\n\r\n")]
        {
            check(&[head], 0, false);
            check(&[&head[..9], &head[9..]], 0, false);
            check(&[head, rest], 0, true);
            check(&[head, "\r\n\r\n"], 4, false);
            check(&[head, "\r\n\r\nG"], 4, true);
            check(&[head, &"x\r\n\r\n".repeat(100), "\r\n"], 502, false);
            check(&[head, &"x\r\n\r\n".repeat(100), "\r\n"], 501, true);
            check(&[&[head, "400\r\n", &"x".repeat(0x400), "\r\n0\r\n\r\n"].concat()], IN_CHUNKS, false);
            check(&[&[head, "400\r\n", &"x".repeat(0x400), "\r\n0\r\n\r\nGET / HTTP/1.1\r\n"].concat()], IN_CHUNKS, true);
            check(&[head, "1\r\nx\r\n0\r\n\r\n"], IN_CHUNKS, false);
            check(&[head, "1\r\nx\r\n0\r\n\r\n", "GET"], IN_CHUNKS, true);
        }
        check(&["GET / HTTP/1.1\r\nHost: h\r\n"], 0, true);
        check(&[], 0, true);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_was_met_does_not_end_a_later_wait() {
        let (near, mut far) = duplex(64);
        let pace = Pace::default();
        let mut paced = Paced::new(near, pace.clone(), IDLE);
        far.write_all(b"GET").await.expect("there is room");
        let rest = tokio::spawn(async move {
            tokio::time::sleep(REQUEST_WITHIN / 2).await;
            far.write_all(b"\r\n\r\n").await.expect("there is room");
            far
        });
        paced.read_exact(&mut [0; 7]).await.expect("a request");
        let _far = rest.await.expect("it does not panic");
        pace.answering();
        pace.waiting();
        about(patience(&mut paced).await, IDLE);
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

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_take_an_answer_in_pieces_is_given_up() {
        let (near, _far) = duplex(8);
        let mut paced = Paced::new(near, Pace::default(), IDLE);
        assert!(paced.is_write_vectored());
        let begun = Instant::now();
        let error = loop {
            match paced.write_vectored(&[IoSlice::new(b"head"), IoSlice::new(b"body")]).await {
                Ok(written) => assert!(written > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        about(begun.elapsed(), ANSWER_WITHIN);
    }
}
