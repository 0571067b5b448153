//! The KMIP client against a server of one connection, over real TLS.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use daemon::certs::{Ca, ClientName, Holder, Validity};
use daemon::config::{CertificateFiles, Listener};
use daemon::kmip_client::{Endpoint, KmipClient, KmipError};
use daemon::system::SystemClock;
use daemon::tls::ServerTls;
use keys::policy::Role;
use keys::port::Clock;
use kmip::ttlv::{DateTime, Item, Writer};
use kmip::{
    DiscoverVersionsRequest, DiscoverVersionsResponse, Encode, Frames, Framing, ProtocolVersion, Request, ResponseBatchItem,
    ResponseHeader, ResponseMessage, ResultReason, ResultStatus, Tag, VersionNumber,
};
use rustls::{ServerConnection, StreamOwned};
use tempfile::TempDir;

/// A CA, a server and a client in one folder.
struct Pki {
    dir: TempDir,
}

impl Pki {
    fn new() -> Self {
        let pki = Self { dir: tempfile::tempdir().expect("a temporary folder") };
        let validity = Validity::starting(SystemClock.now(), Duration::from_secs(3600)).expect("an hour from now");
        let (ca, issued) = Ca::create("test", validity).expect("the system has randomness");
        issued.write(&pki.path("ca.pem"), &pki.path("ca.key")).expect("the folder is ours");
        let name = |text: &str| text.parse().expect("a name");
        let client = ClientName::new(Some(name("acme")), name("billing"), Role::Service).expect("a service has a tenant");
        for (file, holder) in [("server", Holder::Server { names: vec![] }), ("client", Holder::Client(client))] {
            let issued = ca.issue(&holder, validity).expect("the system has randomness");
            issued.write(&pki.path(&format!("{file}.pem")), &pki.path(&format!("{file}.key"))).expect("the folder is ours");
        }
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn endpoint(&self, server: String) -> Endpoint {
        Endpoint { server, server_name: None, ca: self.path("ca.pem"), cert: self.path("client.pem"), key: self.path("client.key") }
    }

    /// Serves one connection: answers the first request with what `answer` makes of it; no answer closes.
    fn serve(&self, client_ca: &Path, answer: fn(&[u8]) -> Vec<u8>) -> (String, JoinHandle<()>) {
        let told = Listener {
            bind: "127.0.0.1:0".parse().expect("an address"),
            certificates: vec![CertificateFiles { cert: self.path("server.pem"), key: self.path("server.key") }],
            client_ca: client_ca.to_owned(),
            crl: None,
            crl_grace: Duration::ZERO,
        };
        let (tls, _faults) = ServerTls::load(&told, Arc::new(SystemClock)).expect("files that fit");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let serving = std::thread::spawn(move || {
            let (socket, _) = listener.accept().expect("the client comes");
            let session = ServerConnection::new(tls.config()).expect("a sound configuration");
            converse(StreamOwned::new(session, socket), answer);
        });
        (address, serving)
    }
}

fn converse(mut stream: StreamOwned<ServerConnection, TcpStream>, answer: fn(&[u8]) -> Vec<u8>) {
    let frames = Frames::of_requests(1 << 20);
    let mut request = vec![];
    while let Framing::Need(bytes) = frames.next(&request).expect("a request") {
        let start = request.len();
        request.resize(start + bytes, 0);
        if stream.read_exact(&mut request[start..]).is_err() {
            // The client did not like our certificate, or we did not like its.
            return;
        }
    }
    stream.write_all(&answer(&request)).and_then(|()| stream.flush()).expect("the client is there");
    stream.conn.send_close_notify();
    let _gone = stream.conn.complete_io(&mut stream.sock);
}

/// Answers whatever was asked with this item; the payload, if any, lists the versions 1.4 and 1.0.
fn respond(request: &[u8], status: ResultStatus, reason: Option<ResultReason>) -> Vec<u8> {
    let request = Request::decode(request).expect("a sound request");
    let asked = &request.message.items[0];
    let mut payload = vec![];
    let versions = [ProtocolVersion::V1_4, ProtocolVersion::V1_0].map(VersionNumber::from).to_vec();
    DiscoverVersionsResponse { versions }.encode(Tag::RESPONSE_PAYLOAD, &mut Writer::new(&mut payload, ProtocolVersion::V1_4));
    let item = ResponseBatchItem {
        operation: Some(asked.operation),
        unique_batch_item_id: asked.unique_batch_item_id,
        result_reason: reason,
        result_message: reason.map(|_| "no"),
        payload: (status == ResultStatus::Success).then(|| Item::only(&payload).expect("just written")),
        ..ResponseBatchItem::of(status)
    };
    let header = ResponseHeader {
        protocol_version: ProtocolVersion::V1_4.into(),
        time_stamp: DateTime(0),
        nonce: None,
        attestation_types: vec![],
        client_correlation_value: None,
        server_correlation_value: None,
        batch_count: 1,
    };
    let mut bytes = vec![];
    ResponseMessage { header, items: vec![item] }.encode(Tag::RESPONSE_MESSAGE, &mut Writer::new(&mut bytes, ProtocolVersion::V1_4));
    bytes
}

fn versions(request: &[u8]) -> Vec<u8> {
    respond(request, ResultStatus::Success, None)
}

/// Connects and asks for the versions.
fn ask(endpoint: &Endpoint) -> Result<Vec<VersionNumber>, KmipError> {
    let mut client = KmipClient::connect(endpoint, ProtocolVersion::V1_4)?;
    Ok(client.call(&DiscoverVersionsRequest::default())?.versions)
}

/// The error of asking a server that answers so.
fn refused(answer: fn(&[u8]) -> Vec<u8>) -> KmipError {
    let pki = Pki::new();
    let (address, serving) = pki.serve(&pki.path("ca.pem"), answer);
    let error = ask(&pki.endpoint(address)).expect_err("that is no answer");
    serving.join().expect("the server does not panic");
    error
}

#[test]
fn a_question_is_answered_over_mutual_tls() {
    let pki = Pki::new();
    let (address, serving) = pki.serve(&pki.path("ca.pem"), versions);
    let answer = ask(&pki.endpoint(address)).expect("the server answers");
    assert_eq!(answer, [VersionNumber { major: 1, minor: 4 }, VersionNumber { major: 1, minor: 0 }]);
    serving.join().expect("the server does not panic");
}

#[test]
fn a_refusal_keeps_the_servers_reason_and_words() {
    let error = refused(|request| respond(request, ResultStatus::OperationFailed, Some(ResultReason::PermissionDenied)));
    let KmipError::Kmip(kmip::Error::Refused { reason, message, .. }) = error else { panic!("{error:?}") };
    assert_eq!((reason, message.as_str()), (Some(ResultReason::PermissionDenied), "no"));
}

#[test]
fn a_connection_without_an_answer_is_lost() {
    let error = refused(|_| vec![]);
    assert!(matches!(error, KmipError::Lost { .. }), "{error:?}");
}

#[test]
fn half_an_answer_is_lost() {
    let error = refused(|request| {
        let mut whole = versions(request);
        whole.truncate(whole.len() / 2);
        whole
    });
    assert!(matches!(error, KmipError::Lost { .. }), "{error:?}");
}

#[test]
fn another_protocol_is_refused_at_its_first_byte() {
    let error = refused(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    assert!(matches!(error, KmipError::Kmip(kmip::Error::Malformed { offset: 0, .. })), "{error:?}");
}

#[test]
fn an_answer_longer_than_the_limit_is_refused_from_its_header() {
    let error = refused(|_| vec![0x42, 0x00, 0x7B, 0x01, 0x7F, 0xFF, 0xFF, 0xF8]);
    assert!(matches!(error, KmipError::Kmip(kmip::Error::TooLong { .. })), "{error:?}");
}

#[test]
fn a_server_of_another_ca_is_not_spoken_to() {
    let (pki, other) = (Pki::new(), Pki::new());
    let (address, serving) = pki.serve(&pki.path("ca.pem"), versions);
    let error = ask(&Endpoint { ca: other.path("ca.pem"), ..pki.endpoint(address) }).expect_err("nobody vouches for it");
    assert!(matches!(error, KmipError::Tls { .. }), "{error:?}");
    serving.join().expect("the server does not panic");
}

#[test]
fn a_server_of_another_name_is_not_spoken_to() {
    let pki = Pki::new();
    let (address, serving) = pki.serve(&pki.path("ca.pem"), versions);
    let error = ask(&Endpoint { server_name: Some("kms.example".to_owned()), ..pki.endpoint(address) }).expect_err("that is not its name");
    assert!(matches!(error, KmipError::Tls { .. }), "{error:?}");
    serving.join().expect("the server does not panic");
}

#[test]
fn a_client_of_another_ca_gets_no_answer() {
    let (pki, other) = (Pki::new(), Pki::new());
    let (address, serving) = pki.serve(&other.path("ca.pem"), versions);
    let error = ask(&pki.endpoint(address)).expect_err("nobody vouches for us");
    assert!(matches!(error, KmipError::Tls { .. } | KmipError::Lost { .. }), "{error:?}");
    assert!(error.to_string().contains("cert explain"), "{error}");
    serving.join().expect("the server does not panic");
}

#[test]
fn a_port_without_a_server_is_unreachable() {
    let pki = Pki::new();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let error = ask(&pki.endpoint(port.to_string())).expect_err("nobody listens");
    assert!(matches!(error, KmipError::Unreachable { .. }), "{error:?}");
    let error = ask(&pki.endpoint("localhost".to_owned())).expect_err("no port");
    assert!(matches!(error, KmipError::Address { .. }), "{error:?}");
}

#[test]
fn a_missing_key_file_is_named() {
    let pki = Pki::new();
    let error = ask(&Endpoint { key: pki.path("absent.key"), ..pki.endpoint("127.0.0.1:1".to_owned()) }).expect_err("no key");
    assert!(matches!(error, KmipError::Files(_)) && error.to_string().contains("absent.key"), "{error}");
}
