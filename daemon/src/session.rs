//! One KMIP connection: TLS stream, input buffer, output buffer, deadlines; the only loop with a socket.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use keys::port::Clock;
use keys::record::Origin;
use kmip::{Caller, Frames, Framing};
use secret::wipe;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::answer::answer;
use crate::listener::{Arrival, Shut, shut};
use crate::system::SystemClock;

/// A frame must be whole this long after its first byte.
const FRAME_WITHIN: Duration = Duration::from_secs(10);
/// An answer must be taken by the peer within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Buffers of an idle connection, in bytes each.
const BUFFER_BYTES: usize = 4096;
/// Buffers that have grown for a message are given back if no other follows within this time: to make them anew for each costs more than the message.
const ROOM_KEPT: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The peer closed between frames.
    #[error("closed by the peer")]
    ByPeer,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// A deadline passed.
    #[error("{what} took longer than {limit:?}")]
    TimedOut {
        /// What.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The bytes are no KMIP: framing is lost.
    #[error("not KMIP: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// The peer may not go on.
    #[error("refused: {why}")]
    Refused {
        /// Why.
        why: Shut,
    },
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Serves one connection until it ends.
pub async fn serve(arrival: Arrival) {
    let (session, address) = (arrival.peer.session.0, arrival.peer.address);
    let ended = run(arrival).await;
    tracing::debug!(session, %address, why = %ended, "connection ended");
}

async fn run(arrival: Arrival) -> Ended {
    match requests(arrival).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

/// Answers request after request.
async fn requests(arrival: Arrival) -> Result<Infallible, Ended> {
    let Arrival { mut stream, peer, mut gate, node, mut stop } = arrival;
    let frames = Frames::of_requests(node.config.kmip.message_bytes_max);
    let mut caller = Caller::new(peer.principal, peer.session, node.config.kmip.settings);
    if node.config.edge.is_some() {
        caller = caller.with_chain(gate.chain().iter().map(|der| der.to_vec()).collect());
    }
    let mut input = Vec::with_capacity(BUFFER_BYTES);
    let mut output = Vec::new();
    let idle = node.config.kmip.idle_timeout;
    // Both live as long as the connection: to move a timer or to ask again costs little, to make them for each request does not.
    let mut stopping = pin!(stop.requested());
    let mut idle_over = pin!(sleep(idle));
    loop {
        let has_grown = input.capacity().max(output.capacity()) > BUFFER_BYTES;
        let rest = if has_grown { ROOM_KEPT.min(idle) } else { idle };
        idle_over.as_mut().reset(Instant::now() + rest);
        let frame = tokio::select! {
            biased;
            // First, so that a peer that always has a next request hears it too.
            () = &mut stopping => return Err(Ended::Stopping),
            frame = next_frame(&mut stream, &frames, &mut input, idle_over.as_mut()) => frame?,
        };
        let frame = match frame {
            Some(frame) => frame,
            None if has_grown => {
                input.shrink_to(BUFFER_BYTES);
                output.shrink_to(BUFFER_BYTES);
                continue;
            }
            None => return Err(Ended::TimedOut { what: "waiting for a request", limit: idle }),
        };
        if let Err(why) = gate.check(SystemClock.now()) {
            shut(&node, Origin::Kmip, caller.session(), &why);
            return Err(Ended::Refused { why });
        }
        answer(&node, Origin::Kmip, &mut caller, &input[..frame], &mut output).await;
        wipe(&mut input[..frame]);
        input.drain(..frame);
        within("the peer's reading of an answer", ANSWER_WITHIN, write(&mut stream, &output)).await?;
        wipe(&mut output);
        output.clear();
    }
}

/// Reads until the buffer begins with a whole frame; returns its length, or `None` if nothing has come when `idle_over` is.
async fn next_frame<S: AsyncRead + Unpin>(
    stream: &mut S,
    frames: &Frames,
    input: &mut Vec<u8>,
    idle_over: Pin<&mut Sleep>,
) -> Result<Option<usize>, Ended> {
    if input.is_empty() {
        tokio::select! {
            biased;
            filled = fill(stream, input) => filled?,
            () = idle_over => return Ok(None),
        }
    }
    let whole = async {
        loop {
            match frames.next(input).map_err(|error| Ended::Malformed { why: error.to_string() })? {
                Framing::Message(length) => return Ok(Some(length)),
                Framing::Need(more) => {
                    input.reserve(more);
                    fill(stream, input).await?;
                }
            }
        }
    };
    within("a request", FRAME_WITHIN, whole).await
}

async fn fill<S: AsyncRead + Unpin>(stream: &mut S, input: &mut Vec<u8>) -> Result<(), Ended> {
    if stream.read_buf(input).await? == 0 {
        return Err(if input.is_empty() { Ended::ByPeer } else { Ended::Malformed { why: "closed inside a request".to_owned() } });
    }
    Ok(())
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, output: &[u8]) -> Result<(), Ended> {
    stream.write_all(output).await?;
    Ok(stream.flush().await?)
}

async fn within<T>(what: &'static str, limit: Duration, work: impl Future<Output = Result<T, Ended>>) -> Result<T, Ended> {
    let mut work = pin!(work);
    // Mostly it is done at once, and no timer is made.
    match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        Poll::Ready(done) => done,
        Poll::Pending => timeout(limit, work).await.unwrap_or(Err(Ended::TimedOut { what, limit })),
    }
}
