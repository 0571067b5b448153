//! What a core says to strangers and to bad bytes, over real TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use daemon::certs::{Ca, ClientName, Holder, Validity};
use daemon::kmip_client::{Endpoint, KmipClient};
use daemon::tls::ClientTls;
use keys::id::Time;
use keys::policy::Role;
use kmip::ttlv::ByteString;
use kmip::{
    ActivateRequest, Batch, BlockCipherMode, CryptographicParameters, DecryptRequest, DestroyRequest, EncryptRequest, GetAttributesRequest,
    ProtocolVersion, ResultReason,
};
use rustls::{ClientConnection, StreamOwned};
use softhsm_test::{Appliance, Who};

const FAR: Duration = Duration::from_secs(3600);

fn now() -> Time {
    use keys::port::Clock;
    daemon::system::SystemClock.now()
}

fn tls(endpoint: &Endpoint) -> StreamOwned<ClientConnection, TcpStream> {
    let tls = ClientTls::load(&endpoint.ca, &endpoint.cert, &endpoint.key, "localhost").expect("dev's certificates are good");
    let connection = ClientConnection::new(tls.config(), tls.server_name()).expect("the configuration is good");
    let socket = TcpStream::connect(&endpoint.server).expect("the core listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a duration");
    StreamOwned::new(connection, socket)
}

/// Sends one message and reads one whole answer.
fn exchange(endpoint: &Endpoint, bytes: &[u8]) -> Vec<u8> {
    let mut stream = tls(endpoint);
    stream.write_all(bytes).expect("the core reads");
    stream.flush().expect("the core reads");
    let mut answer = vec![0; 8];
    stream.read_exact(&mut answer).expect("the core answers");
    let length = u32::from_be_bytes(answer[4..8].try_into().expect("four bytes"));
    answer.resize(8 + usize::try_from(length).expect("short"), 0);
    stream.read_exact(&mut answer[8..]).expect("the core answers");
    answer
}

fn refusal(outcome: Result<(), daemon::kmip_client::KmipError>) -> Option<ResultReason> {
    match outcome {
        Err(daemon::kmip_client::KmipError::Kmip(kmip::Error::Refused { reason, .. })) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_stranger_learns_nothing_from_the_bytes_of_a_refusal() {
    let appliance = Appliance::start();
    let theirs = appliance.value("L3_ID");
    let absent = "L3-01890a5d-ac96-774b-bcce-b302099a8057".to_owned();
    let endpoint = appliance.endpoint(Who::OtherService);
    let mut answers: Vec<Vec<u8>> = Vec::new();
    for id in [&theirs, &absent] {
        let mut batch = Batch::new(ProtocolVersion::V1_4);
        let _slot = batch.push(&GetAttributesRequest { unique_identifier: Some(id), attribute_names: Vec::new() });
        let sent = batch.finish();
        answers.push(without_time(exchange(&endpoint, &sent.bytes)));
    }
    assert_eq!(answers[0], answers[1]);
    let mut client = appliance.connect(Who::OtherService);
    for malformed in ["L3-", "no such thing", "L3-01890A5D-AC96-774B-BCCE-B302099A8057"] {
        let request = DecryptRequest { unique_identifier: Some(malformed), ..DecryptRequest::default() };
        assert_eq!(refusal(client.call(&request).map(drop)), Some(ResultReason::ItemNotFound), "{malformed}");
    }
}

fn gcm() -> CryptographicParameters<'static> {
    CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::Gcm), ..CryptographicParameters::default() }
}

/// More than one message holds, by two connections in turns; the other service has no part in it.
#[test]
fn data_longer_than_a_message_goes_in_parts_over_any_connection_of_its_client() {
    let appliance = Appliance::start();
    let id = appliance.value("L3_ID");
    let text: Vec<u8> = (0..3_000_001_u32).map(|at| u8::try_from(at % 251).expect("below 251")).collect();
    let mut connections = [appliance.connect(Who::Service), appliance.connect(Who::Service)];
    let (mut sealed, mut iv, mut tag, mut value) = (Vec::new(), Vec::new(), Vec::new(), None::<Vec<u8>>);
    let chunks: Vec<&[u8]> = text.chunks(700_001).collect();
    for (number, chunk) in chunks.iter().enumerate() {
        let request = EncryptRequest {
            unique_identifier: Some(&id),
            cryptographic_parameters: value.is_none().then(gcm),
            data: Some(ByteString(chunk)),
            correlation_value: value.as_deref().map(ByteString),
            init_indicator: value.is_none().then_some(true),
            final_indicator: (number + 1 == chunks.len()).then_some(true),
            ..EncryptRequest::default()
        };
        let stranger = appliance.connect(Who::OtherService).call(&request).map(drop);
        assert_eq!(refusal(stranger), Some(ResultReason::ItemNotFound));
        let answer = connections[number % 2].call(&request).expect("an Active key encrypts");
        sealed.extend_from_slice(answer.data.expect("GCM holds nothing back").0);
        iv.extend(answer.iv_counter_nonce.map(|iv| iv.0.to_vec()).into_iter().flatten());
        tag.extend(answer.authentication_tag.map(|tag| tag.0.to_vec()).into_iter().flatten());
        value = answer.correlation_value.map(|value| value.0.to_vec()).or(value);
    }
    assert_eq!((iv.len(), tag.len()), (12, 16), "one IV and one tag for all parts");

    let (mut opened, mut value) = (Vec::new(), None::<Vec<u8>>);
    let chunks: Vec<&[u8]> = sealed.chunks(900_000).collect();
    for (number, chunk) in chunks.iter().enumerate() {
        let (is_first, is_last) = (value.is_none(), number + 1 == chunks.len());
        let request = DecryptRequest {
            unique_identifier: Some(&id),
            cryptographic_parameters: is_first.then(gcm),
            data: Some(ByteString(chunk)),
            iv_counter_nonce: is_first.then_some(ByteString(&iv)),
            correlation_value: value.as_deref().map(ByteString),
            init_indicator: is_first.then_some(true),
            final_indicator: is_last.then_some(true),
            authentication_tag: is_last.then_some(ByteString(&tag)),
            ..DecryptRequest::default()
        };
        let answer = connections[number % 2].call(&request).expect("an Active key decrypts");
        let data = answer.data.map_or(&[][..], |data| data.0);
        assert!(is_last || data.is_empty(), "released before the tag was seen");
        opened.extend_from_slice(data);
        value = answer.correlation_value.map(|value| value.0.to_vec()).or(value);
    }
    assert!(opened == text);
}

/// A response without the 16 bytes of its Time Stamp item's value.
fn without_time(mut answer: Vec<u8>) -> Vec<u8> {
    const TIME_STAMP: [u8; 4] = [0x42, 0x00, 0x92, 0x09];
    let at = answer.windows(4).position(|window| window == TIME_STAMP).expect("every response has a Time Stamp");
    answer[at + 8..at + 16].fill(0);
    answer
}

#[test]
fn an_l4_is_refused_by_its_syntax() {
    let appliance = Appliance::start();
    let bare = "01890a5d-ac96-774b-bcce-b302099a8057";
    for who in [Who::Service, Who::TenantAdmin] {
        let mut client = appliance.connect(who);
        assert_eq!(
            refusal(client.call(&ActivateRequest { unique_identifier: Some(bare) }).map(drop)),
            Some(ResultReason::PermissionDenied)
        );
        assert_eq!(refusal(client.call(&DestroyRequest { unique_identifier: Some(bare) }).map(drop)), Some(ResultReason::PermissionDenied));
    }
}

#[test]
fn truncated_oversized_and_deeply_nested_requests_are_cut_off_and_others_served() {
    let appliance = Appliance::start();
    let endpoint = appliance.endpoint(Who::Service);
    let header = |length: u32| [&[0x42, 0x00, 0x78, 0x01][..], &length.to_be_bytes()].concat();
    let nested = (0..100_u32).rev().fold(Vec::new(), |inner, _| {
        [&[0x42, 0x00, 0x0F, 0x01][..], &u32::try_from(inner.len()).expect("short").to_be_bytes(), &inner].concat()
    });
    let cases = [
        ("not KMIP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("four gigabytes announced", header(u32::MAX - 7)),
        ("nested a hundred deep", [header(u32::try_from(nested.len()).expect("short")), nested].concat()),
        ("rubbish in a frame", [header(64), vec![0xA5; 64]].concat()),
    ];
    for (what, bytes) in cases {
        let answer = exchange_until_answer(&endpoint, &bytes);
        assert!(answer.is_empty() || answer.starts_with(&[0x42, 0x00, 0x7B, 0x01]), "{what}: {answer:?}");
        appliance
            .connect(Who::Service)
            .call(&GetAttributesRequest { unique_identifier: Some(&appliance.value("L3_ID")), attribute_names: Vec::new() })
            .expect("others are served");
    }
    // Cut in the middle of a frame: no answer, no harm.
    let mut stream = tls(&endpoint);
    stream.write_all(&header(1000)).expect("the core reads");
    drop(stream);
    drop(appliance.connect(Who::Service));
}

/// The answer to one frame, or nothing if the core closes.
fn exchange_until_answer(endpoint: &Endpoint, bytes: &[u8]) -> Vec<u8> {
    let mut stream = tls(endpoint);
    stream.write_all(bytes).expect("the core reads");
    stream.flush().expect("the core reads");
    let mut answer = vec![0; 64 * 1024];
    let length = stream.read(&mut answer).unwrap_or(0);
    answer.truncate(length);
    answer
}

/// A client certificate of a CA, in a folder.
fn client(folder: &Path, ca: &Ca, name: &str, validity: Validity, holder: &Holder) -> (PathBuf, PathBuf) {
    let paths = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    ca.issue(holder, validity).expect("the CA signs").write(&paths.0, &paths.1).expect("the folder is ours");
    paths
}

#[test]
fn certificates_that_do_not_hold_are_not_served() {
    let appliance = Appliance::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ours = Ca::load(Path::new(&appliance.value("CA_CERT")), Path::new(&appliance.value("CA_KEY"))).expect("dev's CA is good");
    let valid = Validity::starting(now(), FAR).expect("an hour");
    let (foreign, _) = Ca::create("another CA", valid).expect("a CA");
    let expired =
        Validity::between(Time::from_seconds(now().seconds() - 7200), Time::from_seconds(now().seconds() - 3600)).expect("an hour");
    let parse = |text: &str| text.parse().expect("a name");
    let service = Holder::Client(ClientName::new(Some(parse("acme")), parse("billing"), Role::Service).expect("a service has a tenant"));
    let server_only = Holder::Server { names: Vec::new() };
    let cases = [
        ("wrong CA", client(folder.path(), &foreign, "foreign", valid, &service)),
        ("expired", client(folder.path(), &ours, "expired", expired, &service)),
        ("a server's certificate", client(folder.path(), &ours, "server", valid, &server_only)),
    ];
    for (what, (cert, key)) in cases {
        let endpoint = Endpoint { cert, key, ..appliance.endpoint(Who::Service) };
        assert!(!is_served(&endpoint), "{what}");
    }
    let unknown = Holder::Client(ClientName::new(Some(parse("nobody")), parse("billing"), Role::Service).expect("a service has a tenant"));
    let (cert, key) = client(folder.path(), &ours, "unknown", valid, &unknown);
    let endpoint = Endpoint { cert, key, ..appliance.endpoint(Who::Service) };
    let mut stranger = KmipClient::connect(&endpoint, ProtocolVersion::V1_4).expect("a rule matches");
    let request = GetAttributesRequest { unique_identifier: Some(&appliance.value("L3_ID")), attribute_names: Vec::new() };
    assert_eq!(refusal(stranger.call(&request).map(drop)), Some(ResultReason::ItemNotFound), "a tenant that does not exist");
    let (cert, key) = client(folder.path(), &ours, "good", valid, &service);
    assert!(is_served(&Endpoint { cert, key, ..appliance.endpoint(Who::Service) }), "the test's own certificates are good");
}

/// The second rule of `dev`: a certificate without our URI, but with the subject that the rule names. Any other subject has no rule, and no entry.
#[test]
fn a_certificate_is_known_by_its_subject_where_a_rule_says_so() {
    let appliance = Appliance::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let known = with_subject(&appliance, &folder.path().join("known"), "/O=acme/OU=service/CN=billing");
    let mut client = KmipClient::connect(&known, ProtocolVersion::V1_4).expect("the second rule matches");
    let request = GetAttributesRequest { unique_identifier: Some(&appliance.value("L3_ID")), attribute_names: Vec::new() };
    assert_eq!(client.call(&request).expect("it is the service's own key").unique_identifier, appliance.value("L3_ID"));
    for (number, subject) in ["/CN=billing", "/O=acme/OU=service/CN=billing/L=there", "/O=acme/OU=root/CN=billing"].into_iter().enumerate()
    {
        let unknown = with_subject(&appliance, &folder.path().join(number.to_string()), subject);
        assert!(!is_served(&unknown), "{subject} has no rule");
    }
}

/// A client certificate of dev's CA with this subject and no names beside it.
fn with_subject(appliance: &Appliance, folder: &Path, subject: &str) -> Endpoint {
    std::fs::create_dir(folder).expect("the folder is ours");
    let path = |name: &str| folder.join(name).display().to_string();
    let openssl = |arguments: &[&str]| {
        let run = std::process::Command::new("openssl").args(arguments).output().expect("openssl is on every Debian");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    let request = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", &path("key"), "-out", &path("csr")];
    openssl(&[&request[..], &["-subj", subject]].concat());
    // Without any extension openssl would write X.509 version 1, which TLS libraries refuse.
    std::fs::write(path("ext"), "basicConstraints=CA:FALSE").expect("the folder is ours");
    let (ca, ca_key) = (appliance.value("CA_CERT"), appliance.value("CA_KEY"));
    let sign =
        ["x509", "-req", "-in", &path("csr"), "-CA", &ca, "-CAkey", &ca_key, "-set_serial", "7", "-days", "1", "-extfile", &path("ext")];
    openssl(&[&sign[..], &["-out", &path("cert")]].concat());
    Endpoint { cert: path("cert").into(), key: path("key").into(), ..appliance.endpoint(Who::Service) }
}

fn is_served(endpoint: &Endpoint) -> bool {
    let Ok(mut client) = KmipClient::connect(endpoint, ProtocolVersion::V1_4) else { return false };
    client.call(&kmip::DiscoverVersionsRequest::default()).is_ok()
}

#[test]
fn the_command_line_does_with_gcm_what_other_clients_do() {
    let appliance = Appliance::start();
    let run = |who, arguments: &[&str]| -> String {
        let Output { status, stdout, stderr } = appliance.cli(who, arguments);
        assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&stdout).trim().to_owned()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("plain"), [7; 1024]).expect("the folder is ours");
    let create = ["kmip", "create", "--name", "cli", "--algorithm", "aes", "--length", "256", "--mask", "encrypt,decrypt", "--activate"];
    let _created = run(Who::TenantAdmin, &create);
    let key = run(Who::Service, &["kmip", "locate", "--name", "cli"]);
    run(Who::Service, &["kmip", "encrypt", &key, "--mode", "gcm", "--in", &path("plain"), "--out", &path("sealed")]);
    run(Who::Service, &["kmip", "decrypt", &key, "--in", &path("sealed"), "--out", &path("opened")]);
    assert_eq!(std::fs::read(path("opened")).expect("it was written"), [7; 1024]);
    assert!(run(Who::Service, &["kmip", "attributes", &key]).contains("Active"));
    assert!(run(Who::OtherService, &["kmip", "locate", "--name", "cli"]).is_empty());
    run(Who::TenantAdmin, &["kmip", "revoke", &key, "--reason", "cessation-of-operation"]);
    let refused =
        appliance.cli(Who::Service, &["kmip", "encrypt", &key, "--mode", "gcm", "--in", &path("plain"), "--out", &path("sealed")]);
    assert!(!refused.status.success(), "a revoked key encrypts");
    run(Who::TenantAdmin, &["kmip", "destroy", &key]);
    assert!(run(Who::TenantAdmin, &["kmip", "attributes", &key]).contains("Destroyed"));
}
