//! One KMIP connection: TLS stream, input buffer, output buffer, deadlines; the only loop with a socket.

use std::sync::Arc;
use std::time::Duration;

use keys::id::SessionId;
use keys::policy::{Action, Principal};
use keys::port::Clock;
use keys::record::Outcome;
use kmip::{Caller, Frames, Framing};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroize;

use crate::answer::answer;
use crate::listener::Gate;
use crate::node::Node;
use crate::stop::Stop;
use crate::system::SystemClock;

/// A frame must be whole this long after its first byte.
const FRAME_WITHIN: Duration = Duration::from_secs(10);
/// An answer must be taken by the peer within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Read buffer of an idle connection, in bytes; grown for a frame and given back after it.
const BUFFER_BYTES: usize = 4096;

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
    /// The certificate no longer holds.
    #[error("certificate refused: {why}")]
    Refused {
        /// Why.
        why: String,
    },
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Who is at the other end of a connection.
pub struct Peer {
    /// As the identity rules say.
    pub principal: Principal,
    /// Its number in the audit log.
    pub session: SessionId,
}

/// Serves one connection until it ends.
///
/// # Errors
/// Always: why it ended.
pub async fn serve<S>(mut stream: S, peer: Peer, mut gate: Gate, node: Arc<Node>, mut stop: Stop) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frames = Frames::of_requests(node.config.kmip.message_bytes_max);
    let mut caller = Caller::new(peer.principal, peer.session, node.config.kmip.credentials);
    let mut input = Vec::with_capacity(BUFFER_BYTES);
    let mut output = Vec::new();
    loop {
        let frame = tokio::select! {
            biased;
            // First, so that a peer that always has a next request hears it too.
            () = stop.requested() => return Err(Ended::Stopping),
            frame = next_frame(&mut stream, &frames, &mut input, node.config.kmip.idle_timeout) => frame?,
        };
        if let Err(why) = gate.check(SystemClock.now()) {
            return Err(refused(&node, caller.session(), why.to_string()));
        }
        if answer(&node, &mut caller, &input[..frame], &mut output).await {
            input[..frame].zeroize();
        }
        input.drain(..frame);
        input.shrink_to(BUFFER_BYTES);
        within("the peer's reading of an answer", ANSWER_WITHIN, write(&mut stream, &output)).await?;
        output.clear();
        output.shrink_to(BUFFER_BYTES);
    }
}

/// The end of a connection whose certificate no longer holds; it is recorded like one that is refused at once.
fn refused(node: &Node, session: SessionId, why: String) -> Ended {
    if let Err(error) = node.note(session, Action::Connect, Outcome::Denied) {
        tracing::error!(%error, session = session.0, "a refused certificate is not in the audit log");
    }
    Ended::Refused { why }
}

/// Reads until the buffer begins with a whole frame; returns its length.
async fn next_frame<S: AsyncRead + Unpin>(stream: &mut S, frames: &Frames, input: &mut Vec<u8>, idle: Duration) -> Result<usize, Ended> {
    if input.is_empty() {
        within("waiting for a request", idle, fill(stream, input)).await?;
    }
    within("a request", FRAME_WITHIN, async {
        loop {
            match frames.next(input).map_err(|error| Ended::Malformed { why: error.to_string() })? {
                Framing::Message(length) => return Ok(length),
                Framing::Need(more) => {
                    input.reserve(more);
                    fill(stream, input).await?;
                }
            }
        }
    })
    .await
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
    timeout(limit, work).await.unwrap_or(Err(Ended::TimedOut { what, limit }))
}
