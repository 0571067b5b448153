//! HTTP over TLS by hand, for tests that have to send what no library would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use daemon::tls::ClientTls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConnection, ServerConfig, StreamOwned};
use serde_json::Value;

use crate::Appliance;

/// A connection after its handshake.
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// The side of a server with that certificate, which asks for none.
///
/// # Panics
/// If the files are not those of `dev`.
#[must_use]
pub fn server(cert: &Path, key: &Path) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("the provider has them");
    Arc::new(config.with_no_client_auth().with_single_cert(chain, key).expect("they belong together"))
}

/// What a server answered.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Lower case.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts the status, and problem details that repeat it.
    ///
    /// # Panics
    /// If it is not so.
    pub fn refused(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        assert_eq!(self.json()["status"], status, "{self:?}");
        assert!(self.json()["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
    }
}

/// Reads one answer; `None` if the connection ends instead.
///
/// # Panics
/// If it is no HTTP, or does not come in time.
pub fn reply(stream: &mut impl Read) -> Option<Reply> {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => seen.push(byte[0]),
            Ok(_) => return None,
            Err(error) => {
                assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "no answer in time");
                return None;
            }
        }
    }
    let head = String::from_utf8(seen).expect("heads are text").to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the announced body");
    Some(Reply { status, head, body })
}

/// A connection to the listener whose address is in `dev.env` under `listener`, as who holds the certificate `name`.
///
/// # Panics
/// If nobody listens there.
#[must_use]
pub fn connect(appliance: &Appliance, listener: &str, name: &str) -> Tls {
    connect_to(&|name| appliance.value(name), listener, name)
}

/// As [`connect`], by the values of a `dev.env`.
///
/// # Panics
/// If nobody listens there.
#[must_use]
pub fn connect_to(value: &dyn Fn(&str) -> String, listener: &str, name: &str) -> Tls {
    let file = |name: &str| PathBuf::from(value(name));
    let tls = ClientTls::load(&file("CA_CERT"), &file(&format!("{name}_CERT")), &file(&format!("{name}_KEY")), "localhost");
    let tls = tls.expect("dev's certificates are good");
    let connection = ClientConnection::new(tls.config(), tls.server_name()).expect("the configuration is good");
    let server = value(listener);
    let socket = TcpStream::connect(server.strip_prefix("https://").expect("an address")).expect("the core listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a duration");
    StreamOwned::new(connection, socket)
}

/// Sends a request and reads the answer.
///
/// # Panics
/// If the server does not read it.
pub fn send(stream: &mut Tls, head: &str, body: &[u8]) -> Option<Reply> {
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).and_then(|()| stream.flush()).expect("the core reads");
    reply(stream)
}

/// The head of a request with a TTLV message of so many bytes, with more header lines.
#[must_use]
pub fn post(bytes: usize, more: &str) -> String {
    format!("POST /kmip HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: {bytes}\r\n{more}\r\n")
}
