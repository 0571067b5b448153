//! Plays cases: sends each request to an edge and compares what it answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use daemon::tls::ClientTls;
use rustls::{ClientConnection, StreamOwned};

use super::compare::{Bindings, compare};
use super::{Case, Node};
use crate::Appliance;
use crate::https::{self, Tls};

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// TTLV over TLS.
    Ttlv,
    /// XML over HTTPS.
    Xml,
    /// JSON over HTTPS.
    Json,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ttlv, Self::Xml, Self::Json];

    /// As the results name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ttlv => "TTLV",
            Self::Xml => "XML",
            Self::Json => "JSON",
        }
    }
}

/// A client of an appliance's edge.
pub struct Player {
    encoding: Encoding,
    stream: Tls,
}

impl Player {
    /// Connects as the service of `dev`.
    ///
    /// # Panics
    /// If the appliance has no edge, or it does not serve.
    #[must_use]
    pub fn of(appliance: &Appliance, encoding: Encoding) -> Self {
        let stream = match encoding {
            Encoding::Ttlv => connect(appliance),
            Encoding::Xml | Encoding::Json => https::connect(appliance, "HTTPS_EDGE", "CLIENT"),
        };
        Self { encoding, stream }
    }

    /// Plays cases that follow each other; after the first one that fails the others fail, too. Says of each why it failed.
    pub fn play(&mut self, cases: &[Case]) -> Vec<Result<(), String>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs().cast_signed();
        let items = || cases.iter().flat_map(|case| &case.pairs).flat_map(|(request, _)| request.all("BatchItem"));
        let registers = items().any(|item| item.text("Operation") == Some("Register"));
        let brings = items().any(|item| item.child("RequestPayload").is_some_and(|payload| payload.child("PublicKey").is_some()));
        let mut bindings = Bindings::new(now, !registers).with_public_key(brings);
        let mut failed_before = None;
        let mut results = Vec::new();
        for case in cases {
            let result = match &failed_before {
                Some(id) => Err(format!("{id} failed before it")),
                None => self.case(case, &mut bindings),
            };
            if result.is_err() && failed_before.is_none() {
                failed_before = Some(case.id.clone());
            }
            results.push(result);
        }
        results
    }

    fn case(&mut self, case: &Case, bindings: &mut Bindings) -> Result<(), String> {
        for (number, (request, expected)) in case.pairs.iter().enumerate() {
            let mut text = String::new();
            request.write(&|value| bindings.replaced(value), &mut text);
            let actual = Node::parse(&self.ask(&text)?)?;
            bindings.note(&actual);
            compare(request, expected, &actual, bindings).map_err(|difference| {
                let said = actual.child("BatchItem").and_then(|item| item.text("ResultMessage"));
                let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
                format!("exchange {}: {difference}{said}", number + 1)
            })?;
        }
        Ok(())
    }

    /// Sends a request given in XML, and returns the answer in XML, whatever lies between.
    fn ask(&mut self, text: &str) -> Result<String, String> {
        let ttlv = || kmip::xml::read(text.as_bytes(), kmip::MESSAGE_BYTES_MAX).map_err(|error| format!("the request: {error}"));
        let answer = match self.encoding {
            Encoding::Ttlv => self.exchange(&ttlv()?),
            Encoding::Xml => {
                let answer = self.post("text/xml", text.as_bytes())?;
                kmip::xml::read(&answer, kmip::MESSAGE_BYTES_MAX).map_err(|error| format!("the answer: {error}"))?
            }
            Encoding::Json => {
                let request = kmip::json::write(&ttlv()?).map_err(|error| format!("the request: {error}"))?;
                let answer = self.post("application/json", &request)?;
                kmip::json::read(&answer, kmip::MESSAGE_BYTES_MAX).map_err(|error| format!("the answer: {error}"))?
            }
        };
        let answer = kmip::xml::write(&answer).map_err(|error| format!("the answer: {error}"))?;
        Ok(String::from_utf8(answer).expect("XML is text"))
    }

    fn exchange(&mut self, message: &[u8]) -> Vec<u8> {
        self.stream.write_all(message).and_then(|()| self.stream.flush()).expect("the edge reads");
        let mut answer = vec![0; kmip::ttlv::HEADER_BYTES];
        self.stream.read_exact(&mut answer).expect("an answer");
        let length = u32::from_be_bytes(*answer.last_chunk().expect("a header"));
        let mut value = vec![0; usize::try_from(length).expect("a length")];
        self.stream.read_exact(&mut value).expect("the whole answer");
        answer.extend(value);
        answer
    }

    fn post(&mut self, kind: &str, body: &[u8]) -> Result<Vec<u8>, String> {
        let length = body.len();
        let head = format!("POST /kmip HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        let reply = https::send(&mut self.stream, &head, body).expect("an answer");
        let is_as_profiled = reply.status == 200
            && reply.head.contains(&format!("content-type: {kind}"))
            && reply.head.contains("content-length: ")
            && reply.head.contains("cache-control: no-cache");
        if is_as_profiled { Ok(reply.body) } else { Err(format!("not the answer of the HTTPS profile: {}", reply.head)) }
    }
}

/// TTLV over TLS, byte by byte: no client of ours stands between.
fn connect(appliance: &Appliance) -> Tls {
    let file = |name: &str| PathBuf::from(appliance.value(name));
    let tls =
        ClientTls::load(&file("CA_CERT"), &file("CLIENT_CERT"), &file("CLIENT_KEY"), "localhost").expect("dev's certificates are good");
    let connection = ClientConnection::new(tls.config(), tls.server_name()).expect("the configuration is good");
    let socket = TcpStream::connect(appliance.value("KMIP_EDGE")).expect("the edge listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a duration");
    StreamOwned::new(connection, socket)
}
