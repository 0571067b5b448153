//! A KMIP client over mutual TLS: one connection, one request at a time, blocking.

mod https;

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use kmip::{Batch, Call, Frames, Framing, ProtocolVersion, Sent};
use rustls::{ClientConnection, HandshakeKind, StreamOwned};

use crate::tls::{ClientTls, TlsError};

pub use https::post;

/// How long a TCP connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long the server may be silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where the server is, and who we are.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `HOST:PORT`.
    pub server: String,
    /// The name to expect in the server's certificate; the host of `server` if none is given.
    pub server_name: Option<String>,
    /// PEM file with the certificates that may have issued the server's.
    pub ca: PathBuf,
    /// PEM file with our certificate and its chain.
    pub cert: PathBuf,
    /// PEM file with our private key.
    pub key: PathBuf,
}

impl Endpoint {
    /// Reads the files and says whom to expect.
    ///
    /// # Errors
    /// `Address` or `Files`.
    pub fn tls(&self) -> Result<ClientTls, KmipError> {
        let name = self.server_name.as_deref().map_or_else(|| host(&self.server), Ok)?;
        Ok(ClientTls::load(&self.ca, &self.cert, &self.key, name)?)
    }
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum KmipError {
    /// `server` cannot be meant.
    #[error("`{server}` is not an address: use HOST:PORT")]
    Address {
        /// What was given.
        server: String,
    },
    /// A file or name of the TLS side is of no use.
    #[error(transparent)]
    Files(#[from] TlsError),
    /// Nobody listens there.
    #[error("no KMIP server answers at {server} ({source}): check the address, and that the node runs")]
    Unreachable {
        /// The address.
        server: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server's certificate does not hold, or the server does not take ours.
    #[error(
        "TLS with {server} failed: {source}; check --ca and --server-name, and by `strongroom cert explain` what our certificate says to the server"
    )]
    Tls {
        /// The address.
        server: String,
        /// Why not.
        source: rustls::Error,
    },
    /// The connection broke.
    #[error(
        "{server} ended the connection ({source}): see its log, and by `strongroom cert explain` whether our certificate has a rule there"
    )]
    Lost {
        /// The address.
        server: String,
        /// What the connection said.
        source: io::Error,
    },
    /// The server was silent for too long.
    #[error("{server} did not answer within {seconds} s")]
    TimedOut {
        /// The address.
        server: String,
        /// How long we waited.
        seconds: u64,
    },
    /// It speaks HTTPS, but does not take the request.
    #[error("{server} answered POST /kmip with HTTP status {status}: give the address at which it takes KMIP over HTTPS")]
    Http {
        /// The address.
        server: String,
        /// The status.
        status: u16,
    },
    /// The server refused, or its answer cannot be used.
    #[error(transparent)]
    Kmip(#[from] kmip::Error),
}

/// One connection to a KMIP server.
pub struct KmipClient {
    server: String,
    version: ProtocolVersion,
    stream: StreamOwned<ClientConnection, TcpStream>,
    answer: Vec<u8>,
}

impl KmipClient {
    /// Connects and finishes the handshake; later requests are made in `version`.
    ///
    /// # Errors
    /// Everything but `Kmip`. With TLS 1.3 a server's refusal of our certificate comes with the first answer.
    pub fn connect(endpoint: &Endpoint, version: ProtocolVersion) -> Result<Self, KmipError> {
        Self::over(&endpoint.tls()?, &endpoint.server, version)
    }

    /// As [`Self::connect`], with a side of TLS that may remember a session with this server.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn over(tls: &ClientTls, server: &str, version: ProtocolVersion) -> Result<Self, KmipError> {
        let socket = connect_tcp(server)?;
        let session = ClientConnection::new(tls.config(), tls.server_name());
        let session = session.map_err(|source| KmipError::Tls { server: server.to_owned(), source })?;
        let stream = StreamOwned::new(session, socket);
        let mut client = Self { server: server.to_owned(), version, stream, answer: vec![] };
        client.finish_handshake()?;
        Ok(client)
    }

    /// Whether the handshake took up an earlier session.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Does one operation.
    ///
    /// # Errors
    /// [`KmipError::Kmip`] with `Refused` if the server did not do it; after any other error the connection is of no further use.
    pub fn call<C: Call>(&mut self, request: &C) -> Result<C::Answer<'_>, KmipError> {
        let mut batch = Batch::new(self.version);
        let slot = batch.push(request)?;
        let sent = batch.finish();
        Ok(self.exchange(&sent)?.get(&slot)?)
    }

    /// Sends a finished batch and reads its answers.
    ///
    /// # Errors
    /// As [`Self::call`], but refusals of single operations stay in the answers.
    pub fn exchange(&mut self, sent: &Sent) -> Result<kmip::Answers<'_>, KmipError> {
        Ok(sent.answers(self.exchange_bytes(&sent.bytes)?)?)
    }

    /// Sends the bytes of a message, of any version, and reads those of its answer.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`KmipError::Kmip`] if the answer is no message.
    pub fn exchange_bytes(&mut self, request: &[u8]) -> Result<&[u8], KmipError> {
        self.stream.write_all(request).and_then(|()| self.stream.flush()).map_err(|source| self.failed(source))?;
        self.read_message()?;
        Ok(&self.answer)
    }

    fn finish_handshake(&mut self) -> Result<(), KmipError> {
        while self.stream.conn.is_handshaking() {
            self.stream.conn.complete_io(&mut self.stream.sock).map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    fn read_message(&mut self) -> Result<(), KmipError> {
        let frames = Frames::of_responses(ANSWER_BYTES_MAX);
        self.answer.clear();
        while let Framing::Need(bytes) = frames.next(&self.answer)? {
            let start = self.answer.len();
            self.answer.resize(start + bytes, 0);
            self.stream.read_exact(&mut self.answer[start..]).map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> KmipError {
        let server = self.server.clone();
        if matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            return KmipError::TimedOut { server, seconds: ANSWER_WITHIN.as_secs() };
        }
        match source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => KmipError::Tls { server, source: tls.clone() },
            None => KmipError::Lost { server, source },
        }
    }
}

fn connect_tcp(server: &str) -> Result<TcpStream, KmipError> {
    let unreachable = |source| KmipError::Unreachable { server: server.to_owned(), source };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs().map_err(unreachable)? {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(socket) => return prepared(socket).map_err(unreachable),
            Err(error) => failure = error,
        }
    }
    Err(unreachable(failure))
}

fn prepared(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(ANSWER_WITHIN))?;
    socket.set_write_timeout(Some(ANSWER_WITHIN))?;
    Ok(socket)
}

/// Host without the brackets of an IPv6 address.
fn host(server: &str) -> Result<&str, KmipError> {
    let (host, _port) = server.rsplit_once(':').ok_or_else(|| KmipError::Address { server: server.to_owned() })?;
    Ok(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
}
