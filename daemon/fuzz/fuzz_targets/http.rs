//! The bytes of a whole connection to the road of KMIP over HTTPS, up to the message and back from it: each answer is HTTP, and nothing hangs.
#![no_main]

use std::time::Duration;

use daemon::http::encoding::Encoding;
use daemon::http::kmip::message;
use daemon::http::{Closed, serve};
use daemon::stop;
use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::{Builder, Runtime};

/// Shorter than a product's, so that inputs can be too long for it.
const MESSAGE_BYTES_MAX: usize = 4096;
const IDLE: Duration = Duration::from_secs(60);
/// Whatever was sent, a connection that its peer has ended is over by then.
const OVER_WITHIN: Duration = Duration::from_secs(5);

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

fuzz_target!(|bytes: &[u8]| {
    let answers = RUNTIME.with(|runtime| runtime.block_on(async { tokio::time::timeout(OVER_WITHIN, converse(bytes)).await.expect("it ends") }));
    assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."), "an answer that is no HTTP");
});

/// Sends everything, ends, and returns all that comes back; a message is answered by itself.
async fn converse(bytes: &[u8]) -> Vec<u8> {
    let (near, far) = duplex(1024);
    let (mut from, mut to) = tokio::io::split(far);
    let (_stopper, stop) = stop::stop();
    let served = serve(near, IDLE, stop, async |request, pace: daemon::http::pace::Pace| match message(request, &Encoding::ALL, MESSAGE_BYTES_MAX).await? {
        Ok((encoding, body)) => {
            assert!(body.len() <= encoding.body_bytes_max(MESSAGE_BYTES_MAX), "a message above the limit");
            let message = encoding.read(body, MESSAGE_BYTES_MAX).unwrap_or_default();
            assert!(message.len() <= MESSAGE_BYTES_MAX, "a message above the limit");
            pace.answering();
            Ok::<_, Closed>(Response::new(Full::new(Bytes::from(message))))
        }
        Err(refused) => Ok(refused),
    });
    let send = async {
        // A server that has closed takes no more.
        let _sent = to.write_all(bytes).await;
        let _ended = to.shutdown().await;
    };
    let mut answers = Vec::new();
    let (_outcome, (), read) = tokio::join!(served, send, from.read_to_end(&mut answers));
    read.expect("memory reads");
    answers
}
