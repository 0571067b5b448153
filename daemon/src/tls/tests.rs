//! Handshakes in memory, both sides ours, against a clock that the test sets; and files that must not load.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use keys::id::ScopeName;
use keys::policy::Role;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion, ServerConnection, SupportedProtocolVersion};

use super::*;
use crate::certs::{Ca, ClientName, Holder, Issued, Validity};

/// What the server's clock shows at first: 2030-01-01T00:00:00Z.
const NOW: i64 = 1_893_456_000;
const HOUR: i64 = 3600;

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Time {
        Time::from_seconds(self.0.load(Ordering::Relaxed))
    }
}

/// A folder with a CA, a server's and a client's certificate.
struct Fixture {
    folder: tempfile::TempDir,
    ca: Ca,
    clock: Arc<SetClock>,
}

fn between(from: i64, to: i64) -> Validity {
    Validity::between(Time::from_seconds(from), Time::from_seconds(to)).expect("the validity is possible")
}

/// From 1980 to 9000, so that the client's own clock, the system's, is in it.
fn ages() -> Validity {
    between(315_532_800, 221_845_392_000)
}

fn name(text: &str) -> ScopeName {
    text.parse().expect("the text is a name")
}

fn service() -> Holder {
    Holder::Client(ClientName::new(Some(name("acme")), name("billing"), Role::Service).expect("the name is well-formed"))
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (ca, issued) = Ca::create("Test CA", ages()).expect("a CA can be made");
        let fixture = Self { folder, ca, clock: Arc::new(SetClock(AtomicI64::new(NOW))) };
        fixture.put("ca", &issued);
        fixture.put("server", &fixture.ca.issue(&Holder::Server { names: vec![] }, ages()).expect("it can be issued"));
        fixture.put("client", &fixture.ca.issue(&service(), between(NOW - HOUR, NOW + HOUR)).expect("it can be issued"));
        fixture
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn put(&self, file: &str, issued: &Issued) {
        issued.write(&self.path(&format!("{file}.pem")), &self.path(&format!("{file}.key"))).expect("it can be written");
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).expect("it can be written");
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).expect("it reads")
    }

    fn listener(&self, cert: &str, key: &str, ca: &str) -> Listener {
        Listener {
            bind: "127.0.0.1:0".parse().expect("an address"),
            certificates: vec![CertificateFiles { cert: self.path(cert), key: self.path(key) }],
            client_ca: self.path(ca),
            crl: None,
            crl_grace: Duration::ZERO,
        }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }

    fn load(&self, cert: &str, key: &str, ca: &str) -> Result<ServerTls, TlsError> {
        ServerTls::load(&self.listener(cert, key, ca), self.clock()).map(|(tls, _)| tls)
    }

    fn server(&self) -> ServerTls {
        self.load("server.pem", "server.key", "ca.pem").expect("the server loads")
    }

    /// The client whose files are called `file`.
    fn client(&self, file: &str) -> ClientTls {
        let path = |ending: &str| self.path(&format!("{file}.{ending}"));
        ClientTls::load(&self.path("ca.pem"), &path("pem"), &path("key"), "localhost").expect("the client loads")
    }

    /// A client with `file`'s certificate speaks to the server.
    fn meet(&self, file: &str) -> Result<Met, Why> {
        meet(&self.client(file).config(), &self.server())
    }
}

/// Both ends after a handshake.
struct Met {
    client: ClientConnection,
    server: ServerConnection,
}

impl Met {
    fn chain(&self) -> &[CertificateDer<'static>] {
        self.server.peer_certificates().expect("the server knows its peer")
    }

    fn kind(&self) -> HandshakeKind {
        self.server.handshake_kind().expect("the handshake is over")
    }
}

/// A whole handshake, session tickets included. The server's refusal, in the words for the log.
fn meet(client: &Arc<ClientConfig>, server: &ServerTls) -> Result<Met, Why> {
    let name = ServerName::try_from("localhost").expect("it is a name");
    let mut client = ClientConnection::new(Arc::clone(client), name).expect("the client begins");
    let mut server = ServerConnection::new(server.config()).expect("the server begins");
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("a Vec takes every byte");
        }
        feed(&wire, |mut bytes| server.read_tls(&mut bytes));
        server.process_new_packets().map_err(|error| Why::from(&error))?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("a Vec takes every byte");
        }
        feed(&wire, |mut bytes| client.read_tls(&mut bytes));
        client.process_new_packets().expect("the client has nothing against the server");
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(Met { client, server })
}

fn feed(mut wire: &[u8], mut read: impl FnMut(&[u8]) -> std::io::Result<usize>) {
    while !wire.is_empty() {
        let taken = read(wire).expect("the bytes are taken");
        wire = &wire[taken..];
    }
}

/// The fixture's client in one version, with its certificate or without.
fn only(fixture: &Fixture, version: &'static SupportedProtocolVersion, certificate: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(first(&fixture.read("ca.pem"))).expect("the CA is one");
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).expect("the version is there");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    if certificate {
        config.client_auth_cert_resolver = Arc::clone(&fixture.client("client").config().client_auth_cert_resolver);
    }
    Arc::new(config)
}

fn first(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("the text holds a certificate")
}

#[test]
fn a_client_of_the_ca_is_let_in_and_known() {
    let fixture = Fixture::new();
    let met = fixture.meet("client").expect("it is let in");
    assert_eq!(met.chain(), [first(&fixture.read("client.pem"))]);
    assert_eq!(met.server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(met.server.negotiated_key_exchange_group().map(|group| group.name()), Some(NamedGroup::X25519MLKEM768));
    assert_eq!(met.server.alpn_protocol(), None);
    fixture.server().judge().check(met.chain(), fixture.clock.now()).expect("the judge agrees");
}

#[test]
fn every_suite_and_group_is_forward_secret_and_authenticated() {
    let server = Fixture::new().server();
    let suites: Vec<_> = server.config().crypto_provider().cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
    assert!(suites.len() >= 6);
    for suite in suites {
        assert!(suite.starts_with("TLS13_") || suite.starts_with("TLS_ECDHE_"), "{suite}");
        assert!(suite.contains("_GCM_") || suite.contains("CHACHA20_POLY1305"), "{suite}");
    }
    assert_eq!(server.config().crypto_provider().kx_groups[0].name(), NamedGroup::X25519MLKEM768);
}

#[test]
fn tls_1_2_and_1_3_are_spoken() {
    let fixture = Fixture::new();
    for (version, spoken) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let met = meet(&only(&fixture, version, true), &fixture.server()).expect("it is let in");
        assert_eq!(met.client.protocol_version(), Some(spoken));
        assert_eq!(met.chain().len(), 1);
    }
}

/// A ClientHello by hand: legacy version, suites, and extensions for signatures and groups.
fn hello(version: u16, suites: &[u16]) -> Vec<u8> {
    let block = |bytes: &[u8]| [&u16::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat();
    let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &block(body)].concat();
    let extensions =
        [extension(10, &block(&words(&[0x001d, 0x0017]))), extension(11, &[1, 0]), extension(13, &block(&words(&[0x0403, 0x0401])))]
            .concat();
    let body = [&version.to_be_bytes()[..], &[7; 32], &[0], &block(&words(suites)), &[1, 0], &block(&extensions)].concat();
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    [&[22, 3, 1][..], &block(&message)].concat()
}

/// The alert that a server answers with: its description.
fn alert(server: &ServerTls, bytes: &[u8]) -> Option<u8> {
    let mut server = ServerConnection::new(server.config()).expect("the server begins");
    feed(bytes, |mut bytes| server.read_tls(&mut bytes));
    let refused = server.process_new_packets().is_err();
    let mut wire = Vec::new();
    server.write_tls(&mut wire).expect("a Vec takes every byte");
    (refused && wire.first() == Some(&21)).then(|| wire[6])
}

#[test]
fn older_versions_and_weaker_suites_get_an_alert() {
    const PROTOCOL_VERSION: u8 = 70;
    const HANDSHAKE_FAILURE: u8 = 40;
    let server = Fixture::new().server();
    let ecdhe_gcm = 0xc02b;
    assert_eq!(alert(&server, &hello(0x0303, &[ecdhe_gcm])), None, "the same hello of TLS 1.2 goes on");
    for version in [0x0300, 0x0301, 0x0302] {
        assert_eq!(alert(&server, &hello(version, &[ecdhe_gcm])), Some(PROTOCOL_VERSION), "{version:#x}");
    }
    for suite in [0x009c, 0x002f, 0xc009, 0xc013, 0xc023, 0x0033, 0x009e, 0x0005, 0xc02b ^ 0x8000] {
        assert_eq!(alert(&server, &hello(0x0303, &[suite])), Some(HANDSHAKE_FAILURE), "{suite:#x}");
    }
    assert!(alert(&server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").is_some());
}

#[test]
fn a_client_without_a_certificate_is_refused_in_both_versions() {
    let fixture = Fixture::new();
    for version in [&TLS12, &TLS13] {
        let refused = meet(&only(&fixture, version, false), &fixture.server()).err();
        assert_eq!(refused, Some(Why::NoCertificate));
    }
}

#[test]
fn certificates_of_other_cas_are_refused_even_under_the_same_name() {
    let fixture = Fixture::new();
    let other = |common_name: &str| Ca::create(common_name, ages()).expect("a CA can be made").0;
    fixture.put("foreign", &other("Other CA").issue(&service(), ages()).expect("it can be issued"));
    fixture.put("namesake", &other("Test CA").issue(&service(), ages()).expect("it can be issued"));
    assert_eq!(fixture.meet("foreign").err(), Some(Why::UnknownIssuer));
    assert_eq!(fixture.meet("namesake").err(), Some(Why::Signature));
}

#[test]
fn certificates_out_of_their_time_are_refused_with_the_time() {
    let fixture = Fixture::new();
    fixture.put("old", &fixture.ca.issue(&service(), between(NOW - HOUR, NOW - 1)).expect("it can be issued"));
    fixture.put("new", &fixture.ca.issue(&service(), between(NOW + 1, NOW + HOUR)).expect("it can be issued"));
    let expired = fixture.meet("old").err().expect("it must be refused");
    assert_eq!(expired, Why::Expired { since: Time::from_seconds(NOW - 1) });
    assert_eq!(expired.to_string(), "the client's certificate has expired on 2029-12-31T23:59:59Z");
    assert_eq!(fixture.meet("new").err(), Some(Why::NotYetValid { from: Time::from_seconds(NOW + 1) }));
}

/// A certificate of the fixture's CA with these extended key usages.
fn with_usages(fixture: &Fixture, file: &str, usages: &[ExtendedKeyUsagePurpose]) {
    let ca_key = KeyPair::from_pem(&fixture.read("ca.key")).expect("the CA's key reads");
    let issuer = Issuer::from_ca_cert_pem(&fixture.read("ca.pem"), ca_key).expect("the CA reads");
    let key = KeyPair::generate().expect("a key can be made");
    let mut params = CertificateParams::default();
    params.extended_key_usages = usages.to_vec();
    fixture.write(&format!("{file}.pem"), &params.signed_by(&key, &issuer).expect("it can be signed").pem());
    fixture.write(&format!("{file}.key"), &key.serialize_pem());
}

#[test]
fn the_extended_key_usage_may_be_absent_but_not_only_for_servers() {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, ServerAuth};
    let fixture = Fixture::new();
    for (usages, good) in [
        (&[][..], true),
        (&[ClientAuth], true),
        (&[ServerAuth, ClientAuth], true),
        (&[ServerAuth], false),
        (&[CodeSigning], false),
        (&[Any], false),
    ] {
        with_usages(&fixture, "usage", usages);
        let refused = fixture.meet("usage").err();
        assert_eq!(refused, (!good).then_some(Why::NotForClients), "{usages:?}");
    }
    assert_eq!(fixture.meet("server").err(), Some(Why::NotForClients));
}

#[test]
fn a_ca_does_not_get_in_as_a_client() {
    let fixture = Fixture::new();
    assert!(matches!(fixture.meet("ca"), Err(Why::Other(_) | Why::UnknownIssuer)));
}

#[test]
fn a_resumed_session_keeps_its_chain_and_is_judged_anew() {
    for version in [&TLS12, &TLS13] {
        let fixture = Fixture::new();
        let config = only(&fixture, version, true);
        let server = fixture.server();
        let full = meet(&config, &server).expect("it is let in");
        assert_eq!(full.kind(), HandshakeKind::Full, "{version:?}");
        let resumed = meet(&config, &server).expect("it is let in");
        assert_eq!(resumed.kind(), HandshakeKind::Resumed, "{version:?}");
        assert_eq!(resumed.chain(), full.chain(), "the judge has something to judge");
        server.judge().check(resumed.chain(), fixture.clock.now()).expect("it still holds");

        fixture.clock.0.store(NOW + HOUR + 1, Ordering::Relaxed);
        let late = meet(&config, &server).expect("rustls does not look again");
        assert_eq!(late.kind(), HandshakeKind::Resumed, "{version:?}");
        let why = server.judge().check(late.chain(), fixture.clock.now());
        assert_eq!(why, Err(Why::Expired { since: Time::from_seconds(NOW + HOUR) }), "{version:?}");
    }
}

#[test]
fn a_session_is_resumed_by_no_other_listener() {
    for version in [&TLS12, &TLS13] {
        let fixture = Fixture::new();
        let config = only(&fixture, version, true);
        let (here, there) = (fixture.server(), fixture.server());
        meet(&config, &here).expect("it is let in");
        assert_eq!(meet(&config, &there).expect("it is let in").kind(), HandshakeKind::Full, "{version:?}");
    }
}

#[test]
fn no_ticket_carries_a_session_out_of_the_process() {
    let config = Fixture::new().server().config();
    assert!(!config.ticketer.enabled());
    assert_eq!(config.max_early_data_size, 0);
    assert!(config.alpn_protocols.is_empty());
}

#[test]
fn nobody_is_judged_good_without_a_chain_or_with_rubbish() {
    let judge = Fixture::new().server().judge();
    let now = Time::from_seconds(NOW);
    assert_eq!(judge.check(&[], now), Err(Why::NoCertificate));
    assert!(matches!(judge.check(&[CertificateDer::from(vec![0x30, 0])], now), Err(Why::Other(_))));
}

#[test]
fn a_chain_that_nobody_needs_is_refused_before_it_is_kept() {
    let fixture = Fixture::new();
    let judge = fixture.server().judge();
    let leaf = first(&fixture.read("client.pem"));
    let long = |certificates: usize| vec![leaf.clone(); certificates];
    assert!(judge.check(&long(8), fixture.clock.now()).is_ok());
    assert_eq!(judge.check(&long(9), fixture.clock.now()), Err(Why::TooLong));
    let fat = [leaf, CertificateDer::from(vec![0; 16 * 1024])];
    assert_eq!(judge.check(&fat, fixture.clock.now()), Err(Why::TooLong));
}

/// A CA and an intermediate below it, with the end of their validity.
fn tower(root_until: i32, middle_until: i32) -> (rcgen::Certificate, rcgen::Certificate, Vec<CertificateDer<'static>>) {
    let ca = |name: &str, until: i32| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(until, 1, 1);
        params
    };
    let key = || KeyPair::generate().expect("a key can be made");
    let (root_params, root_key) = (ca("Root", root_until), key());
    let root = root_params.self_signed(&root_key).expect("it can be signed");
    let root_issuer = Issuer::new(root_params, root_key);
    let (middle_params, middle_key) = (ca("Middle", middle_until), key());
    let middle = middle_params.signed_by(&middle_key, &root_issuer).expect("it can be signed");
    let leaf = CertificateParams::default().signed_by(&key(), &Issuer::new(middle_params, middle_key)).expect("it can be signed");
    let chain = vec![leaf.der().clone(), middle.der().clone()];
    (root, middle, chain)
}

#[test]
fn the_whole_chain_is_judged_by_its_dates_the_ca_included() {
    let fixture = Fixture::new();
    let (root, _, chain) = tower(2031, 2032);
    fixture.write("root.pem", &(fixture.read("ca.pem") + &root.pem()));
    let judge = fixture.load("server.pem", "server.key", "root.pem").expect("it loads").judge();
    let in_year = |year: i64| Time::from_seconds((year - 1970) * 31_557_600 + 180 * 86_400);
    assert_eq!(judge.check(&chain, in_year(2030)), Ok(Time::from_seconds(1_924_992_000)), "until the CA itself is over");
    assert_eq!(judge.check(&chain[..1], in_year(2030)), Err(Why::UnknownIssuer), "the intermediate is missing");
    assert!(matches!(judge.check(&chain, in_year(2031)), Err(Why::CaExpired { .. })));
    assert!(matches!(judge.check(&chain, in_year(2032)), Err(Why::Expired { .. })));
    assert!(matches!(judge.check(&chain, Time::from_seconds(-1)), Err(Why::NotYetValid { .. })));
}

#[test]
fn of_several_cas_one_may_have_expired() {
    let fixture = Fixture::new();
    let (root, _, chain) = tower(2029, 2040);
    fixture.write("both.pem", &(root.pem() + &fixture.read("ca.pem")));
    let tls = fixture.load("server.pem", "server.key", "both.pem").expect("one CA is enough");
    assert!(matches!(tls.judge().check(&chain, Time::from_seconds(NOW)), Err(Why::CaExpired { .. })));
    let met = meet(&fixture.client("client").config(), &tls).expect("the other CA's clients are let in");
    assert_eq!(tls.judge().check(met.chain(), Time::from_seconds(NOW)), Ok(Time::from_seconds(NOW + HOUR)));
    fixture.write("expired.pem", &root.pem());
    let refused = fixture.load("server.pem", "server.key", "expired.pem").expect_err("no CA is left");
    assert!(matches!(&refused, TlsError::Expired { file, .. } if file.ends_with("expired.pem")), "{refused}");
}

#[test]
fn a_fault_of_the_listeners_own_certificate_keeps_no_ca_in_force() {
    let fixture = Fixture::new();
    let mut told = fixture.listener("server.pem", "server.key", "cas.pem");
    fixture.write("cas.pem", &fixture.read("ca.pem"));
    let mut material = Material::read(&told, fixture.clock.now()).expect("the files are good");
    let meets = |material: &Material, told: &Listener| {
        let tls = ServerTls::new(told, material, &Crls::default(), fixture.clock()).expect("it can be put together");
        meet(&fixture.client("client").config(), &tls).map(drop)
    };
    assert_eq!(meets(&material, &told), Ok(()));
    let (other, issued) = Ca::create("Other CA", ages()).expect("a CA can be made");
    fixture.put("cas", &issued);
    fixture.put("server", &other.issue(&Holder::Server { names: vec![] }, between(NOW - HOUR, NOW - 1)).expect("it can be issued"));
    let before = material.own[0].key.cert.clone();
    let faults = material.read_again(&told, fixture.clock.now());
    assert!(matches!(&faults[..], [TlsError::Expired { file, .. }] if file.ends_with("server.pem")), "{faults:?}");
    assert_eq!(meets(&material, &told), Err(Why::UnknownIssuer), "its CA was taken out");
    assert_eq!(material.own[0].key.cert, before, "what was good is still served");

    std::fs::remove_file(fixture.path("cas.pem")).expect("it is there");
    fixture.put("server", &fixture.ca.issue(&Holder::Server { names: vec![] }, ages()).expect("it can be issued"));
    let faults = material.read_again(&told, fixture.clock.now());
    assert!(matches!(&faults[..], [error @ TlsError::Unreadable { .. }] if error.may_pass()), "{faults:?}");
    assert_ne!(material.own[0].key.cert, before, "a new certificate does not wait for the CAs");
    assert_eq!(meets(&material, &told), Err(Why::UnknownIssuer));

    told.certificates.push(CertificateFiles { cert: fixture.path("none"), key: fixture.path("none") });
    fixture.put("cas", &Ca::create("Third CA", ages()).expect("a CA can be made").1);
    assert_eq!(material.read_again(&told, fixture.clock.now()).len(), 1);
    assert_eq!(material.own.len(), 1, "one that was never good is left out");
}

/// A node that started with a certificate whose time was over did not start at all, and could be administered by nobody.
#[test]
fn a_certificate_outside_its_dates_serves_nobody_until_a_good_one_is_there() {
    let fixture = Fixture::new();
    let told = fixture.listener("server.pem", "server.key", "ca.pem");
    let meets = |material: &Material| {
        let tls = ServerTls::new(&told, material, &Crls::default(), fixture.clock()).expect("it can be put together");
        let (config, connector) = (tls.config(), fixture.client("client").config());
        let mut server = ServerConnection::new(config).expect("a server");
        let mut client = ClientConnection::new(connector, "localhost".try_into().expect("a name")).expect("a client");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("a vector takes it");
        server.read_tls(&mut hello.as_slice()).expect("it reads");
        server.process_new_packets().map(drop)
    };
    let times = [(between(NOW - HOUR, NOW - 1), NOW - 1), (between(NOW + 1, NOW + HOUR), NOW + HOUR)];
    for (dates, until) in times {
        fixture.put("server", &fixture.ca.issue(&Holder::Server { names: vec![] }, dates).expect("it can be issued"));
        let (mut material, faults) = Material::read_first(&told, fixture.clock.now()).expect("the files fit together");
        assert!(matches!(&faults[..], [TlsError::Expired { .. } | TlsError::NotYetValid { .. }]), "{faults:?}");
        assert_eq!(material.server_until(), Some(Time::from_seconds(until)), "its end is told");
        assert!(!material.can_serve() && meets(&material).is_err());
        assert_eq!(material.read_again(&told, fixture.clock.now()).len(), 1, "it is no better the second time");
        assert!(!material.can_serve() && material.server_until() == Some(Time::from_seconds(until)));
        fixture.put("server", &fixture.ca.issue(&Holder::Server { names: vec![] }, ages()).expect("it can be issued"));
        assert!(material.read_again(&told, fixture.clock.now()).is_empty());
        assert!(material.can_serve() && meets(&material).is_ok());
    }
    fixture.write("server.key", &fixture.read("client.key"));
    assert!(matches!(Material::read_first(&told, fixture.clock.now()), Err(TlsError::KeyMismatch { .. })), "what is wrong stays wrong");
}

#[test]
fn files_that_cannot_serve_are_named_with_their_fault() {
    let fixture = Fixture::new();
    fixture.put("late", &fixture.ca.issue(&Holder::Server { names: vec![] }, between(NOW - HOUR, NOW - 1)).expect("it can be issued"));
    fixture.put("early", &fixture.ca.issue(&Holder::Server { names: vec![] }, between(NOW + 1, NOW + HOUR)).expect("it can be issued"));
    fixture.write("empty.pem", "");
    fixture.write("text.pem", "no PEM at all\n");
    fixture.write("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    fixture.write("base64.pem", "-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n");
    fixture.write("rubbish.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    fixture.write("locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    fixture.write("rubbish.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    for (cert, key, ca, parts) in [
        ("late.pem", "late.key", "ca.pem", &["late.pem", "has expired on 2029-12-31T23:59:59Z", "CN=localhost"][..]),
        ("early.pem", "early.key", "ca.pem", &["early.pem", "valid from 2030-01-01T00:00:01Z only"]),
        ("none.pem", "server.key", "ca.pem", &["none.pem", "No such file"]),
        ("empty.pem", "server.key", "ca.pem", &["empty.pem holds no certificate"]),
        ("server.key", "server.key", "ca.pem", &["server.key holds no certificate"]),
        ("text.pem", "server.key", "ca.pem", &["text.pem holds no certificate"]),
        ("cut.pem", "server.key", "ca.pem", &["cut.pem", "no END line"]),
        ("base64.pem", "server.key", "ca.pem", &["base64.pem", "not base64"]),
        ("rubbish.pem", "server.key", "ca.pem", &["rubbish.pem", "damaged certificate"]),
        ("server.pem", "client.key", "ca.pem", &["client.key does not hold the private key", "server.pem"]),
        ("server.pem", "server.pem", "ca.pem", &["server.pem holds no unencrypted private key"]),
        ("server.pem", "locked.key", "ca.pem", &["locked.key holds no unencrypted private key"]),
        ("server.pem", "rubbish.key", "ca.pem", &["rubbish.key cannot be used for TLS"]),
        ("server.pem", "server.key", "empty.pem", &["empty.pem holds no certificate"]),
        ("server.pem", "server.key", "rubbish.pem", &["rubbish.pem", "damaged certificate"]),
    ] {
        let refused = fixture.load(cert, key, ca).expect_err("it must be refused").to_string();
        for part in parts {
            assert!(refused.contains(part), "`{refused}` does not say `{part}`");
        }
        assert!(!refused.contains("AAAA") && !refused.contains("****"), "{refused}");
    }
}

#[test]
fn our_client_trusts_only_the_servers_name_and_ca() {
    let fixture = Fixture::new();
    let load = |ca: &Path, name: &str| ClientTls::load(ca, &fixture.path("client.pem"), &fixture.path("client.key"), name);
    for bad in ["", "a b", "localhost:5696", "http://localhost"] {
        assert!(matches!(load(&fixture.path("ca.pem"), bad), Err(TlsError::ServerName { .. })), "{bad:?}");
    }
    for good in ["localhost", "127.0.0.1", "::1"] {
        assert!(load(&fixture.path("ca.pem"), good).is_ok(), "{good}");
    }
    let mixed = ClientTls::load(&fixture.path("ca.pem"), &fixture.path("client.pem"), &fixture.path("server.key"), "localhost");
    assert!(matches!(mixed, Err(TlsError::KeyMismatch { .. })));
}

mod revocation;

#[test]
fn a_failed_handshake_is_told_in_our_words() {
    let of = |error: rustls::Error| handshake_failure(&std::io::Error::new(std::io::ErrorKind::InvalidData, error));
    assert_eq!(of(rustls::Error::NoCertificatesPresented), "the client showed no certificate");
    assert!(of(rustls::CertificateError::UnknownIssuer.into()).contains("not from a CA in client_ca"));
    let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "no handshake within five seconds");
    assert_eq!(handshake_failure(&late), "no handshake within five seconds");
}
