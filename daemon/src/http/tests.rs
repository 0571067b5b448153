//! HTTP over a pipe: what the road does with heads, bodies and peers that are slow, cut off or no HTTP at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::body::{NoBody, collect};
use super::*;
use crate::stop::stop;

const IDLE: Duration = Duration::from_secs(3600);
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A connection to a server that sends each body back, and how many requests it has answered.
fn echo() -> (DuplexStream, Arc<AtomicUsize>, tokio::task::JoinHandle<hyper::Result<()>>) {
    let (near, far) = duplex(1 << 20);
    let answered = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&answered);
    let server = tokio::spawn(async move {
        let (_keep, stop) = stop();
        serve(far, IDLE, stop, |request, pace| {
            let counting = Arc::clone(&counting);
            async move {
                let body = match collect(request.into_body(), BODY_BYTES_MAX).await {
                    Ok(body) => body,
                    Err(NoBody::TooLarge) => b"too large".to_vec(),
                    Err(NoBody::Broken) => return Err(Closed),
                };
                pace.answering();
                counting.fetch_add(1, Ordering::Relaxed);
                Ok(Response::new(Full::new(Bytes::from(body))))
            }
        })
        .await
    });
    (near, answered, server)
}

/// Sends all of it, says that this is all, and reads all that comes back.
async fn exchange(request: &[u8]) -> String {
    let (mut client, _, _server) = echo();
    client.write_all(request).await.expect("there is room");
    client.shutdown().await.expect("it is open");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("the server closes");
    String::from_utf8(answer).expect("text")
}

/// Bodies of the answers, which are plain enough to be cut at their heads.
fn bodies(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| answer.split_once("\r\n\r\n").expect("a head").1).collect()
}

#[tokio::test]
async fn requests_that_arrive_together_are_answered_one_after_the_other() {
    let one = |body: &str| format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answers = exchange([one("first"), one(""), one("third")].concat().as_bytes()).await;
    assert_eq!(bodies(&answers), ["first", "", "third"]);
}

#[tokio::test]
async fn a_body_in_chunks_is_whole() {
    let request = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n";
    assert_eq!(bodies(&exchange(request).await), ["abcde"]);
}

#[tokio::test]
async fn beside_chunks_a_length_does_not_count() {
    for (one, other) in [("Content-Length: 3", "Transfer-Encoding: chunked"), ("Transfer-Encoding: chunked", "Content-Length: 3")] {
        let request = format!("POST / HTTP/1.1\r\nHost: h\r\n{one}\r\n{other}\r\n\r\n5\r\nabcde\r\n0\r\n\r\n");
        assert_eq!(bodies(&exchange(request.as_bytes()).await), ["abcde"], "{one}");
    }
}

#[tokio::test]
async fn who_asks_first_is_told_to_go_on() {
    let (mut client, ..) = echo();
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").await.expect("there is room");
    let mut go_on = [0; 25];
    client.read_exact(&mut go_on).await.expect("an interim answer");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"ok").await.expect("there is room");
    client.shutdown().await.expect("it is open");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");
    assert_eq!(bodies(&answer), ["ok"]);
}

#[tokio::test]
async fn who_asks_first_with_too_much_is_not_told_to_go_on() {
    let answer = exchange(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(bodies(&answer), ["too large"]);
    assert!(!answer.contains("100 Continue"), "{answer}");
}

#[tokio::test]
async fn heads_that_are_no_http_are_refused_and_end_the_connection() {
    let many = "X: y\r\n".repeat(HEADERS_MAX + 1);
    let long = "y".repeat(4 * HEAD_BYTES_MAX);
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost: h\r\nClient-Cert: a\r\n b\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost : h\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n", "400"),
        ("\x16\x03\x01\x00\r\n", "400"),
        (&format!("GET / HTTP/1.1\r\nHost: h\r\n{many}"), "431"),
        (&format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n"), "431"),
    ] {
        let (mut client, answered, server) = echo();
        client.write_all(format!("{head}\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.expect("there is room");
        let mut answer = Vec::new();
        let closed = timeout(Duration::from_secs(5), client.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(closed.is_ok(), "{head:.60?} keeps the connection open: {answer}");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head:.60?}: {answer}");
        assert_eq!(answered.load(Ordering::Relaxed), 0, "{head:.60?}");
        let ended = server.await.expect("it does not panic").expect_err("it was no HTTP");
        assert!(ended.is_parse(), "{head:.60?}: {ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_heads_and_slow_bodies_are_cut_after_ten_seconds() {
    for slow in ["GET / HTTP/1.1\r\nHost:", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc"] {
        let (mut client, answered, server) = echo();
        client.write_all(slow.as_bytes()).await.expect("there is room");
        let begun = tokio::time::Instant::now();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("the server closes");
        assert!(answer.is_empty() && answered.load(Ordering::Relaxed) == 0, "{slow:?}: {answer:?}");
        let took = begun.elapsed();
        assert!(took >= pace::REQUEST_WITHIN && took < pace::REQUEST_WITHIN + Duration::from_secs(1), "{slow:?}: {took:?}");
        assert!(server.await.expect("it does not panic").is_err(), "{slow:?}");
    }
}

/// What comes with the end of one request lies in hyper's buffer before anybody waits for it.
#[tokio::test(start_paused = true)]
async fn a_head_that_began_with_the_request_before_is_cut_after_ten_seconds_too() {
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n\r\n\r\n";
    let chunks = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    let slow = "GET / HTTP/1.1\r\nHost:";
    for (sent, answers, limit) in [
        (get.to_owned(), 1, IDLE),
        (post.to_owned(), 1, IDLE),
        (chunks.to_owned(), 1, IDLE),
        ([get, slow].concat(), 1, pace::REQUEST_WITHIN),
        ([post, slow].concat(), 1, pace::REQUEST_WITHIN),
        ([chunks, slow].concat(), 1, pace::REQUEST_WITHIN),
        ([get, post, "G"].concat(), 2, pace::REQUEST_WITHIN),
        ([chunks, chunks, get, slow].concat(), 3, pace::REQUEST_WITHIN),
    ] {
        let (mut client, answered, server) = echo();
        client.write_all(sent.as_bytes()).await.expect("there is room");
        let begun = tokio::time::Instant::now();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("the server closes");
        assert_eq!(answered.load(Ordering::Relaxed), answers, "{sent:?}");
        let took = begun.elapsed();
        assert!(took >= limit && took < limit + Duration::from_secs(1), "{sent:?}: {took:?}");
        let _idle_or_cut = server.await.expect("it does not panic");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_stays_open_between_requests_and_ends_when_the_node_stops() {
    let (mut client, far) = duplex(1 << 16);
    let (stopper, stop) = stop();
    let server = tokio::spawn(serve(far, IDLE, stop, |_request, pace| async move {
        pace.answering();
        Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
    }));
    for _ in 0..2 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("there is room");
        let mut answer = [0; 5];
        while !answer.ends_with(b"hello") {
            answer.rotate_left(1);
            client.read_exact(&mut answer[4..]).await.expect("an answer");
        }
        tokio::time::sleep(IDLE / 2).await;
    }
    stopper.stop();
    let ended = timeout(Duration::from_secs(1), server).await.expect("an idle connection ends at once");
    ended.expect("it does not panic").expect("in good order");
}

#[tokio::test]
async fn a_request_is_answered_to_its_end_though_its_peer_has_hung_up() {
    let (mut client, answered, server) = echo();
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok").await.expect("there is room");
    drop(client);
    let _broken = server.await.expect("it does not panic");
    assert_eq!(answered.load(Ordering::Relaxed), 1);
}
