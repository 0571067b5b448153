//! Messages by hand over mutual TLS, and their answers as text, so that a test sees every field that comes back, and where.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use daemon::kmip_client::Endpoint;
use kmip::notation::{self, Bindings};
use kmip::ttlv::Item;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::https::{Tls, post, send};

/// How far a response's Time Stamp may be from this machine's clock.
const CLOCK_SECONDS: u64 = 60;

/// A connection on which requests are written in [`kmip::notation`].
pub struct Raw {
    stream: Tls,
    is_https: bool,
}

/// The answer to one message: its header was right, and this is each of its Batch Items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said(pub Vec<String>);

impl Said {
    /// The one Batch Item.
    ///
    /// # Panics
    /// If there is not just one.
    #[must_use]
    pub fn only(&self) -> &str {
        let [only] = &self.0[..] else { panic!("{self:#?} is not one item") };
        only
    }

    /// The text of the first item with that tag.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn text(&self, tag: &str) -> String {
        let from = format!("{tag}=\"");
        let all = self.0.join(" ");
        let (_, rest) = all.split_once(&from).unwrap_or_else(|| panic!("no {tag} in {all}"));
        rest.split_once('"').expect("texts end").0.to_owned()
    }

    /// The identifier that the answer names first.
    #[must_use]
    pub fn id(&self) -> String {
        self.text("UniqueIdentifier")
    }
}

/// A client's side of TLS that remembers sessions, as .NET and Java do.
///
/// # Panics
/// If the files of `endpoint` are not good.
#[must_use]
pub fn tls(endpoint: &Endpoint, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let read = |file: &Path| CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>).expect("certificates");
    let mut roots = RootCertStore::empty();
    read(&endpoint.ca).into_iter().for_each(|root| roots.add(root).expect("a CA"));
    let key = PrivateKeyDer::from_pem_file(&endpoint.key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("the provider has them");
    Arc::new(config.with_root_certificates(roots).with_client_auth_cert(read(&endpoint.cert), key).expect("they belong together"))
}

impl Raw {
    /// To a KMIP port.
    ///
    /// # Panics
    /// If nobody listens there.
    #[must_use]
    pub fn connect(endpoint: &Endpoint) -> Self {
        Self::with(&tls(endpoint, rustls::ALL_VERSIONS), &endpoint.server)
    }

    /// As [`Raw::connect`], with a side of TLS that may have been there before.
    ///
    /// # Panics
    /// If nobody listens there.
    #[must_use]
    pub fn with(tls: &Arc<ClientConfig>, server: &str) -> Self {
        let name = "localhost".try_into().expect("a name");
        let connection = ClientConnection::new(Arc::clone(tls), name).expect("the configuration is good");
        let socket = TcpStream::connect(server).expect("the node listens");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a duration");
        Self { stream: StreamOwned::new(connection, socket), is_https: false }
    }

    /// Puts each message into the body of an HTTPS request from now on.
    #[must_use]
    pub fn over_https(self) -> Self {
        Self { is_https: true, ..self }
    }

    /// How the handshake went, after the first answer.
    #[must_use]
    pub fn handshake(&self) -> Option<HandshakeKind> {
        self.stream.conn.handshake_kind()
    }

    /// Our end of the connection.
    ///
    /// # Panics
    /// If the connection is gone.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.stream.sock.local_addr().expect("a socket has an address").port()
    }

    /// Sends one Batch Item without more in its header and reads the answer.
    pub fn one(&mut self, version: (i32, i32), item: &str) -> Said {
        self.ask(version, "", &[item])
    }

    /// Sends a message and reads the answer, whose header must be of `version`, of now, and have nothing in it that was not asked for.
    ///
    /// # Panics
    /// If it is not so.
    pub fn ask(&mut self, version: (i32, i32), header: &str, items: &[&str]) -> Said {
        self.ask_in(version, version, header, items)
    }

    /// As [`Raw::ask`], with an answer that has to be in another version.
    ///
    /// # Panics
    /// If it is not.
    pub fn ask_in(&mut self, version: (i32, i32), answer_version: (i32, i32), header: &str, items: &[&str]) -> Said {
        let text = notation::request(version, header, items);
        let bytes = notation::encode(&text, &Bindings::new()).unwrap_or_else(|error| panic!("{error} in {text}"));
        let answer = self.exchange(&bytes);
        let message = Item::only(&answer).expect("the answer is one item");
        let shown = notation::show(&message, false).expect("the answer is TTLV");
        let (major, minor) = answer_version;
        let start = format!(
            "ResponseMessage{{ResponseHeader{{ProtocolVersion{{ProtocolVersionMajor={major} ProtocolVersionMinor={minor}}} TimeStamp=@"
        );
        let rest = shown.strip_prefix(&start).unwrap_or_else(|| panic!("{shown} does not begin with {start}"));
        let (time, rest) = rest.split_once(' ').expect("something follows");
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970").as_secs();
        assert!(now.abs_diff(time.parse().expect("seconds")) < CLOCK_SECONDS, "{time} is not now, {now}");
        let mut reader = message.fields().expect("a structure");
        let mut parts = Vec::new();
        while let Some(item) = reader.next_item().expect("the answer is TTLV") {
            parts.push(notation::show(&item, false).expect("the answer is TTLV"));
        }
        parts.remove(0);
        assert!(rest.starts_with(&format!("BatchCount={}}} ", parts.len())), "{shown}");
        let inside =
            |part: &String| part.strip_prefix("BatchItem{").and_then(|part| part.strip_suffix('}')).expect("a batch item").to_owned();
        Said(parts.iter().map(inside).collect())
    }

    fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.is_https {
            let reply = send(&mut self.stream, &post(bytes.len(), ""), bytes).expect("the node answers");
            assert_eq!(reply.status, 200, "{reply:?}");
            return reply.body;
        }
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).expect("the node reads");
        let mut answer = vec![0; 8];
        self.stream.read_exact(&mut answer).expect("the node answers");
        let length = u32::from_be_bytes(answer[4..8].try_into().expect("four bytes"));
        answer.resize(8 + usize::try_from(length).expect("short"), 0);
        self.stream.read_exact(&mut answer[8..]).expect("the node answers");
        answer
    }
}
