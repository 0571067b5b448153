//! KMIP over HTTPS: each message is posted on a connection of its own, as clients do that have no KMIP connection to keep.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{ANSWER_BYTES_MAX, ANSWER_WITHIN, CONNECT_WITHIN, KmipError};
use crate::tls::ClientTls;

/// Posts a message to `/kmip` at `HOST:PORT` and returns the answer's bytes.
///
/// # Errors
/// Everything but `Address`, `Files` and `Kmip`; `Http` if it is answered with another status than 200.
pub async fn post(tls: &ClientTls, server: &str, message: &[u8]) -> Result<Vec<u8>, KmipError> {
    let socket = within(server, CONNECT_WITHIN, TcpStream::connect(server)).await?;
    let socket = socket.map_err(|source| KmipError::Unreachable { server: server.to_owned(), source })?;
    within(server, ANSWER_WITHIN, converse(tls, server, socket, message)).await?
}

async fn within<T>(server: &str, limit: Duration, work: impl Future<Output = T>) -> Result<T, KmipError> {
    let late = |_| KmipError::TimedOut { server: server.to_owned(), seconds: limit.as_secs() };
    tokio::time::timeout(limit, work).await.map_err(late)
}

async fn converse(tls: &ClientTls, server: &str, socket: TcpStream, message: &[u8]) -> Result<Vec<u8>, KmipError> {
    let lost = |source| KmipError::Lost { server: server.to_owned(), source };
    let stream = TlsConnector::from(tls.config()).connect(tls.server_name(), socket).await;
    let stream = stream.map_err(|source| match source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => KmipError::Tls { server: server.to_owned(), source: tls.clone() },
        None => lost(source),
    })?;
    let request = Request::post("/kmip").header(header::HOST, server).header(header::CONTENT_TYPE, "application/octet-stream");
    let request = request.body(Full::new(Bytes::copy_from_slice(message)));
    let request = request.map_err(|_| KmipError::Address { server: server.to_owned() })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| lost(io::Error::other(error)))?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(io::Error::other)?;
        // Without its sender the connection ends.
        drop(sender);
        Ok((status, body.to_bytes()))
    };
    let (answer, _ended) = tokio::join!(answer, connection);
    match answer.map_err(lost)? {
        (hyper::StatusCode::OK, body) => Ok(body.to_vec()),
        (status, _) => Err(KmipError::Http { server: server.to_owned(), status: status.as_u16() }),
    }
}
