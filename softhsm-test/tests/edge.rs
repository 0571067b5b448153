//! The road through a real edge: what a client does there, what is left where, and what outlives a restart of edge or core.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use daemon::kmip_client::{Endpoint, KmipError};
use daemon::tls::ClientTls;
use kmip::{
    Batch, Call, CreateRequest, DecryptRequest, EncryptRequest, ProtocolVersion, ResultReason, RevocationReasonCode, Sent, Slot, State,
};
use rustls::{ClientConnection, StreamOwned};
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Appliance, Edge, Who, wait_for};

const PASSWORD: &[u8] = b"correct horse battery staple 7264";

fn refusal<T>(outcome: Result<T, KmipError>) -> ResultReason {
    match outcome {
        Err(KmipError::Kmip(kmip::Error::Refused { reason: Some(reason), .. })) => reason,
        Err(error) => panic!("not a refusal: {error}"),
        Ok(_) => panic!("it was done"),
    }
}

/// A key of that name that can be used, and something encrypted with it.
fn sealed(client: &mut daemon::kmip_client::KmipClient, name: &str) -> Secret {
    let key = requests::create(client, name).expect("the edge is well");
    requests::activate(client, &key).expect("the edge is well");
    requests::encrypt(client, &key, name.as_bytes().to_vec()).expect("the edge is well")
}

#[test]
fn a_key_lives_at_an_edge_from_create_to_destroy() {
    let mut edge = Edge::prepared();
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let key = requests::create(&mut client, "invoices").expect("the service may");
    assert!(!key.starts_with("L3-"), "{key}");
    assert_eq!(refusal(requests::encrypt(&mut client, &key, b"early".to_vec())), ResultReason::PermissionDenied);
    requests::activate(&mut client, &key).expect("it is Pre-Active");
    let first = requests::encrypt(&mut client, &key, b"plain".to_vec()).expect("it is Active");
    assert_eq!(requests::decrypt(&mut client, &first).expect("it is Active"), b"plain");
    let mut cut = first.clone();
    cut.tag[0] ^= 1;
    assert_eq!(refusal(requests::decrypt(&mut client, &cut)), ResultReason::CryptographicFailure);

    requests::set_contact(&mut client, &key, None, Some("me")).expect("it can be added");
    requests::set_contact(&mut client, &key, Some("me"), Some("you")).expect("it can be changed");
    let face = requests::look(&mut client, &key).expect("it is there");
    assert_eq!((face.state, face.version, face.contact.as_deref()), (State::Active, 1, Some("you")));
    assert_eq!(requests::locate(&mut client, "invoices").expect("a search"), [key.as_str()]);
    assert_eq!(refusal(requests::create(&mut client, "invoices")), ResultReason::InvalidField);

    let next = requests::rekey(&mut client, &key).expect("it is Active");
    assert_eq!(requests::locate(&mut client, "invoices").expect("a search"), [next.as_str()]);
    let old = requests::look(&mut client, &key).expect("it is there");
    assert_eq!((old.state, old.replacement.as_deref()), (State::Active, Some(next.as_str())), "an L4 that is replaced stays what it was");
    assert_eq!(refusal(requests::rekey(&mut client, &key)), ResultReason::PermissionDenied);
    assert_eq!(requests::decrypt(&mut client, &first).expect("it still opens what it has sealed"), b"plain");
    let second = requests::encrypt(&mut client, &next, b"more".to_vec()).expect("it is Active");

    assert_eq!(refusal(requests::destroy(&mut client, &next)), ResultReason::PermissionDenied);
    requests::revoke(&mut client, &next, RevocationReasonCode::CessationOfOperation).expect("it is Active");
    assert_eq!(refusal(requests::encrypt(&mut client, &next, b"late".to_vec())), ResultReason::PermissionDenied);
    requests::destroy(&mut client, &next).expect("it is Deactivated");
    assert_eq!(requests::look(&mut client, &next).expect("it is there still").state, State::Destroyed);
    assert!(requests::decrypt(&mut client, &second).is_err(), "a destroyed key decrypts");
    drop(client);
    edge.stop_both();
}

/// The same message over KMIP's own port and as the body of an HTTPS request.
#[test]
fn the_edge_answers_over_https_as_over_tls() {
    let mut edge = Edge::prepared();
    edge.start_both();
    let secret = sealed(&mut edge.connect(Who::Service), "over tls");
    let mut https = Https::connect(&edge.endpoint(Who::Service), &edge.value("HTTPS_EDGE"));
    let (sent, slot) = decryption(&secret);
    let opened = https.ask::<DecryptRequest<'_>, _>(&sent, &slot, |answer| answer.data.map(|data| data.0.to_vec()));
    assert_eq!(opened, Ok(Some(b"over tls".to_vec())));

    let mut batch = Batch::new(ProtocolVersion::V1_4);
    let slot = batch.push(&requests::creating("over https")).expect("a small request");
    let key = https.ask::<CreateRequest<'_>, _>(&batch.finish(), &slot, |answer| answer.unique_identifier.to_owned()).expect("it is made");
    let mut batch = Batch::new(ProtocolVersion::V1_4);
    let slot = batch.push(&requests::encrypting(&key, b"x")).expect("a small request");
    let early = https.ask::<EncryptRequest<'_>, _>(&batch.finish(), &slot, |_| ());
    assert_eq!(early, Err(Some(ResultReason::PermissionDenied)), "it is Pre-Active");

    let mut stranger = Https::connect(&edge.endpoint(Who::OtherService), &edge.value("HTTPS_EDGE"));
    let (sent, slot) = decryption(&secret);
    assert_eq!(stranger.ask::<DecryptRequest<'_>, _>(&sent, &slot, |_| ()), Err(Some(ResultReason::ItemNotFound)));
    drop((https, stranger));
    edge.stop_both();
}

#[test]
fn what_an_edge_has_acknowledged_is_there_after_a_crash_of_either_node() {
    let mut edge = Edge::prepared();
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let secrets: Vec<Secret> = (0..5).map(|number| sealed(&mut client, &format!("before {number}"))).collect();
    let password = requests::register(&mut client, "password", PASSWORD).expect("the edge keeps it");
    let check = |client: &mut daemon::kmip_client::KmipClient| {
        for secret in &secrets {
            assert_eq!(requests::decrypt(client, secret).expect("it is warm or the core answers"), secret.plain);
        }
        assert_eq!(requests::get(client, &password).expect("it is there"), PASSWORD);
    };
    check(&mut client);

    // Warm keys do not notice that the core is away, nor that another has come in its place.
    edge.core.kill();
    check(&mut client);
    edge.core.start();
    check(&mut client);
    let _later = sealed(&mut client, "after the core");

    drop(client);
    edge.kill();
    edge.start();
    assert_eq!(edge.standing(), "unsealed: ");
    let mut client = edge.connect(Who::Service);
    check(&mut client);
    assert_eq!(requests::locate(&mut client, "before 3").expect("a search"), [secrets[3].key.as_str()]);
    drop(client);
    edge.stop_both();
}

#[test]
fn nothing_of_a_registered_secret_is_in_any_file_of_edge_or_core() {
    let mut edge = Edge::prepared();
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let id = requests::register(&mut client, "named-in-the-clear", PASSWORD).expect("the edge keeps it");
    assert_eq!(requests::get(&mut client, &id).expect("it is its own"), PASSWORD);
    requests::set_contact(&mut client, &id, None, Some("contact-in-the-clear")).expect("it can be added");
    drop(client);
    edge.stop_both();

    let files: Vec<PathBuf> = [edge.data_files(), edge.core.data_files()].concat();
    let contains =
        |path: &PathBuf, needle: &[u8]| std::fs::read(path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle));
    for needle in [PASSWORD, &PASSWORD[..16], b"named-in-the-clear", b"contact-in-the-clear"] {
        let found: Vec<_> = files.iter().filter(|path| contains(path, needle)).collect();
        assert!(found.is_empty(), "{} is in {found:?}", String::from_utf8_lossy(needle));
    }
    // The search itself works: it finds what is planted, and the object's own row, at the edge and nowhere else.
    let planted = edge.dir().join("planted");
    std::fs::write(&planted, [b"before", PASSWORD].concat()).expect("the folder is ours");
    assert!(contains(&planted, PASSWORD));
    let row: uuid::Uuid = id.parse().expect("L4 identifiers are UUIDs");
    assert!(edge.stores().iter().any(|file| contains(file, row.as_bytes())), "the row is not where this test looks");
    assert!(!edge.core.stores().iter().any(|file| contains(file, row.as_bytes())), "the core stores an L4 object");
}

#[test]
fn two_tenants_may_use_one_name_and_do_not_see_each_other() {
    let mut edge = Edge::prepared();
    edge.start_both();
    let (mut acme, mut globex) = (edge.connect(Who::Service), edge.connect(Who::OtherService));
    let (ours, theirs) = (sealed(&mut acme, "shared name"), sealed(&mut globex, "shared name"));
    assert_ne!(ours.key, theirs.key);
    assert_eq!(requests::locate(&mut acme, "shared name").expect("a search"), [ours.key.as_str()]);
    assert_eq!(requests::locate(&mut globex, "shared name").expect("a search"), [theirs.key.as_str()]);
    assert_eq!(refusal(requests::decrypt(&mut globex, &ours)), ResultReason::ItemNotFound);
    assert_eq!(refusal(requests::encrypt(&mut globex, &ours.key, vec![1])), ResultReason::ItemNotFound);
    assert_eq!(refusal(requests::look(&mut globex, &ours.key)), ResultReason::ItemNotFound);
    assert_eq!(refusal(requests::revoke(&mut globex, &ours.key, RevocationReasonCode::KeyCompromise)), ResultReason::ItemNotFound);
    assert_eq!(refusal(requests::destroy(&mut globex, &ours.key)), ResultReason::ItemNotFound);
    let password = requests::register(&mut acme, "password", PASSWORD).expect("the edge keeps it");
    assert_eq!(refusal(requests::get(&mut globex, &password)), ResultReason::ItemNotFound);
    // Roles that hold no objects, at a node that keeps nothing else.
    for who in [Who::Operator, Who::Auditor, Who::Edge, Who::TenantAdmin] {
        let mut client = edge.connect(who);
        // What a tenant-admin makes is the core's.
        let made = requests::create(&mut client, "not mine");
        assert!(made.is_err() || who == Who::TenantAdmin && made.is_ok_and(|key| key.starts_with("L3-")), "{who:?} made an object");
        assert!(requests::decrypt(&mut client, &ours).is_err(), "{who:?} decrypted");
        assert!(requests::get(&mut client, &password).is_err(), "{who:?} read a password");
    }
    assert_eq!(requests::decrypt(&mut acme, &ours).expect("nothing has happened to it"), b"shared name");
    drop((acme, globex));
    edge.stop_both();
}

#[test]
fn keys_of_the_core_are_used_and_governed_through_an_edge() {
    let mut edge = Edge::prepared();
    edge.start_both();
    let (mut admin, mut service, mut other) = (edge.connect(Who::TenantAdmin), edge.connect(Who::Service), edge.connect(Who::OtherService));
    let key = requests::create(&mut admin, "of the core").expect("a tenant-admin may");
    requests::activate(&mut admin, &key).expect("it is Pre-Active");
    let secret = requests::encrypt(&mut service, &key, b"plain".to_vec()).expect("it is the service's");
    assert_eq!(requests::decrypt(&mut edge.core.connect(Who::Service), &secret).expect("it is the core's key"), b"plain");
    assert_eq!(requests::decrypt(&mut service, &secret).expect("the core does it"), b"plain");
    assert_eq!(refusal(requests::decrypt(&mut other, &secret)), ResultReason::ItemNotFound);
    assert_eq!(refusal(requests::decrypt(&mut admin, &secret)), ResultReason::PermissionDenied);
    assert_eq!(refusal(requests::destroy(&mut service, &key)), ResultReason::PermissionDenied);
    requests::revoke(&mut admin, &key, RevocationReasonCode::CessationOfOperation).expect("it is Active");
    assert_eq!(refusal(requests::encrypt(&mut service, &key, b"late".to_vec())), ResultReason::PermissionDenied);
    edge.core.kill();
    assert_eq!(refusal(requests::decrypt(&mut service, &secret)), ResultReason::GeneralFailure);
    edge.core.start();
    let mut opened = Err(String::new());
    let is_back = wait_for(|| {
        opened = requests::decrypt(&mut service, &secret).map_err(|error| error.to_string());
        opened.is_ok()
    });
    assert!(is_back, "{opened:?}");
    drop((admin, service, other));
    edge.stop_both();
}

#[test]
fn an_object_of_one_edge_group_does_not_exist_at_the_other() {
    let appliance = Appliance::with_edges(2);
    let (mut first, mut second) = (appliance.connect_at("edge", Who::Service), appliance.connect_at("edge2", Who::Service));
    let (ours, theirs) = (sealed(&mut first, "same name"), sealed(&mut second, "same name"));
    for (client, own, other) in [(&mut first, &ours, &theirs), (&mut second, &theirs, &ours)] {
        assert_eq!(requests::decrypt(client, own).expect("its own group's"), b"same name");
        assert_eq!(refusal(requests::decrypt(client, other)), ResultReason::ItemNotFound);
        assert_eq!(requests::locate(client, "same name").expect("a search"), [own.key.as_str()]);
    }
    drop((first, second));
    for node in ["edge", "edge2", "core"] {
        appliance.kill_and_wait(node);
    }
    let mut second = appliance.connect_at("edge2", Who::Service);
    assert_eq!(requests::decrypt(&mut second, &theirs).expect("both are back"), b"same name");
    drop(second);
    for node in ["edge", "edge2", "core"] {
        let verified = appliance.cli_at(node, Who::Operator, &["audit", "verify"]);
        assert!(verified.status.success(), "{node}: {}", String::from_utf8_lossy(&verified.stderr));
    }
    drop(appliance.stop());
}

#[test]
fn an_edge_that_keeps_nothing_says_so_and_forgets() {
    let mut edge = Edge::prepared_with(&["ephemeral: true"]);
    std::fs::remove_dir_all(edge.data_dir()).expect("dev has made it");
    edge.core.start();
    let _made = edge.ask(&["init"]);
    edge.start();
    assert!(edge.status().contains("volatile store"), "{}", edge.status());
    let mut client = edge.connect(Who::Service);
    let secret = sealed(&mut client, "for now");
    assert_eq!(requests::decrypt(&mut client, &secret).expect("it lasts as long as the process"), b"for now");
    let refused = requests::register(&mut client, "password", PASSWORD).expect_err("it would be lost");
    assert!(refused.to_string().contains("in memory only"), "{refused}");
    assert_eq!(requests::locate(&mut client, "password").expect("a search"), [""; 0]);
    drop(client);
    assert!(!edge.store().exists(), "there is a store");
    edge.stop();
    edge.start();
    assert_eq!(edge.standing(), "unsealed: ");
    let mut client = edge.connect(Who::Service);
    assert_eq!(refusal(requests::decrypt(&mut client, &secret)), ResultReason::ItemNotFound);
    assert_eq!(requests::locate(&mut client, "for now").expect("a search"), [""; 0]);
    let _again = sealed(&mut client, "for now");
    drop(client);
    edge.stop_both();
}

#[test]
fn the_command_line_speaks_to_an_edge_as_to_a_core() {
    let appliance = Appliance::start_in(tempfile::tempdir().expect("a temporary folder"), &["--edge-store", "memory"]);
    let status = appliance.cli_at("edge", Who::Operator, &["status"]);
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && said.contains("volatile store") && said.contains("edge"), "{said}");
    let created = appliance.cli_at("edge", Who::Service, &["kmip", "create", "--name", "cli", "--activate"]);
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let located = appliance.cli_at("edge", Who::Service, &["kmip", "locate", "--name", "cli"]);
    assert_eq!(located.stdout, created.stdout);
    assert!(appliance.cli(Who::Service, &["kmip", "locate", "--name", "cli"]).stdout.is_empty(), "the core has it too");
    drop(appliance.stop());
}

#[test]
fn a_warm_key_is_served_without_the_core() {
    let mut edge = Edge::prepared();
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let secret = sealed(&mut client, "warm");
    edge.core.kill();
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(requests::decrypt(&mut client, &secret).expect("it is warm"), b"warm");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "the core was asked: {:?}", began.elapsed());
}

fn decryption(secret: &Secret) -> (Sent, Slot<DecryptRequest<'_>>) {
    let mut batch = Batch::new(ProtocolVersion::V1_4);
    let slot = batch.push(&requests::decrypting(secret)).expect("a small request");
    (batch.finish(), slot)
}

/// One connection over which KMIP is posted.
struct Https(StreamOwned<ClientConnection, TcpStream>);

impl Https {
    fn connect(endpoint: &Endpoint, url: &str) -> Self {
        let tls = ClientTls::load(&endpoint.ca, &endpoint.cert, &endpoint.key, "localhost").expect("dev's certificates are good");
        let connection = ClientConnection::new(tls.config(), tls.server_name()).expect("the configuration is good");
        let socket = TcpStream::connect(url.strip_prefix("https://").expect("an address")).expect("the edge listens");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a duration");
        Self(StreamOwned::new(connection, socket))
    }

    /// What `read` finds in the answer, or the reason of the refusal.
    fn ask<C: Call, T>(&mut self, sent: &Sent, slot: &Slot<C>, read: impl FnOnce(C::Answer<'_>) -> T) -> Result<T, Option<ResultReason>> {
        let length = sent.bytes.len();
        let head =
            format!("POST /kmip HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n");
        self.0.write_all(&[head.as_bytes(), &sent.bytes].concat()).and_then(|()| self.0.flush()).expect("the edge reads");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("answers say their length");
        let mut body = vec![0; length.parse().expect("a length")];
        self.0.read_exact(&mut body).expect("the announced body");
        match sent.answers(&body).expect("a KMIP answer").get(slot) {
            Ok(answer) => Ok(read(answer)),
            Err(kmip::Error::Refused { reason, .. }) => Err(reason),
            Err(error) => panic!("{error}"),
        }
    }
}
