//! Revocation lists: which are believed, what stays when one is not, and whom they keep out, in full handshakes and resumed ones.

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize, SerialNumber,
};
use rustls::SignatureScheme;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

const DAY: i64 = 86_400;

/// A listener with its lists, as a running node has them.
struct Running {
    fixture: Fixture,
    told: Listener,
    material: Material,
    crls: Crls,
}

impl Running {
    /// A node whose CA has revoked nothing, by list number 5, good for a day.
    fn new() -> Self {
        let fixture = Fixture::new();
        let told = Listener { crl: Some(fixture.path("ca.crl")), ..fixture.listener("server.pem", "server.key", "ca.pem") };
        let material = Material::read(&told, fixture.clock.now()).expect("the files are good");
        let mut running = Self { fixture, told, material, crls: Crls::default() };
        assert_eq!(running.put(5, &[], (NOW - HOUR, NOW + DAY)), Vec::<String>::new());
        running
    }

    fn list(&self, number: u64, revoked: &[&str], (from, to): (i64, i64)) -> String {
        let serials: Vec<_> = revoked.iter().map(|file| self.serial(file)).collect();
        self.fixture.ca.revocation_list(number, &serials, between(from, to)).expect("it can be signed")
    }

    fn serial(&self, file: &str) -> Vec<u8> {
        let der = first(&self.fixture.read(&format!("{file}.pem")));
        X509Certificate::from_der(&der).expect("it reads").1.tbs_certificate.raw_serial().to_vec()
    }

    /// Puts a list into the file and has it read; returns what is said of it.
    fn put(&mut self, number: u64, revoked: &[&str], dates: (i64, i64)) -> Vec<String> {
        let list = self.list(number, revoked, dates);
        self.put_text(&list)
    }

    fn put_text(&mut self, text: &str) -> Vec<String> {
        self.fixture.write("ca.crl", text);
        self.read()
    }

    fn read(&mut self) -> Vec<String> {
        let faults = self.material.take_crls(&self.told, &mut self.crls, self.fixture.clock.now());
        faults.iter().map(ToString::to_string).collect()
    }

    fn tls(&self) -> ServerTls {
        ServerTls::new(&self.told, &self.material, &self.crls, self.fixture.clock()).expect("it can be put together")
    }

    /// How a client fares that comes now.
    fn meet(&self, file: &str) -> Result<(), Why> {
        meet(&self.fixture.client(file).config(), &self.tls()).map(drop)
    }
}

#[test]
fn a_revoked_certificate_is_refused_and_others_are_not() {
    let mut running = Running::new();
    running.fixture.put("other", &running.fixture.ca.issue(&service(), ages()).expect("it can be issued"));
    assert_eq!(running.meet("client"), Ok(()));
    assert_eq!(running.put(6, &["client"], (NOW, NOW + DAY)), Vec::<String>::new());
    assert_eq!(running.meet("client"), Err(Why::Revoked));
    assert_eq!(running.meet("other"), Ok(()));
}

/// Good signatures are remembered, verdicts are not.
#[test]
fn who_came_often_is_refused_at_once_when_revoked_or_when_the_ca_is_taken_out() {
    let mut running = Running::new();
    let (other, issued) = Ca::create("Other CA", ages()).expect("a CA can be made");
    running.fixture.put("other-ca", &issued);
    running.fixture.put("other", &other.issue(&service(), ages()).expect("it can be issued"));
    let ca = running.fixture.read("ca.pem");
    let both = format!("{ca}{}", running.fixture.read("other-ca.pem"));
    running.fixture.write("both.pem", &both);
    running.told = Listener { crl: None, ..running.fixture.listener("server.pem", "server.key", "both.pem") };
    let read = |running: &mut Running| {
        assert!(running.material.read_again(&running.told, Time::from_seconds(NOW)).is_empty());
    };
    read(&mut running);
    for _ in 0..3 {
        assert_eq!([running.meet("client"), running.meet("other")], [Ok(()), Ok(())]);
    }
    let chain = [first(&running.fixture.read("other.pem"))];
    assert!(running.tls().judge().check(&chain, Time::from_seconds(NOW)).is_ok());
    running.fixture.write("both.pem", &ca);
    read(&mut running);
    assert_eq!([running.meet("client"), running.meet("other")], [Ok(()), Err(Why::UnknownIssuer)]);
    assert_eq!(running.tls().judge().check(&chain, Time::from_seconds(NOW)), Err(Why::UnknownIssuer));

    running.told.crl = Some(running.fixture.path("ca.crl"));
    assert_eq!(running.meet("client"), Ok(()));
    assert_eq!(running.put(6, &["client"], (NOW, NOW + DAY)), Vec::<String>::new());
    assert_eq!(running.meet("client"), Err(Why::Revoked));
    assert_eq!(running.tls().judge().check(&[first(&running.fixture.read("client.pem"))], Time::from_seconds(NOW)), Err(Why::Revoked));
}

#[test]
fn a_list_that_is_not_believed_changes_nothing() {
    let mut running = Running::new();
    assert_eq!(running.put(6, &["client"], (NOW, NOW + DAY)), Vec::<String>::new());
    let (foreign, _) = Ca::create("Other CA", ages()).expect("a CA can be made");
    let (namesake, _) = Ca::create("Test CA", ages()).expect("a CA can be made");
    let by = |ca: &Ca| ca.revocation_list(9, &[], between(NOW, NOW + DAY)).expect("it can be signed");
    let good = running.list(7, &[], (NOW, NOW + DAY));
    // The number in the list is changed, and with it the signature is wrong.
    let lines: Vec<_> = good.lines().collect();
    let cut = lines[..lines.len() - 2].join("\n");
    let bad: [(&str, String, &str); 9] = [
        ("older", running.list(5, &[], (NOW, NOW + DAY)), "has number 5, but 6 was seen before"),
        ("expired", running.list(7, &[], (NOW - DAY, NOW - 1)), "has expired on 2029-12-31T23:59:59Z"),
        ("another CA's", by(&foreign), "holds a CRL of CN=Other CA, which is no CA in client_ca"),
        ("another key's", by(&namesake), "is not signed by a key of that CA"),
        ("empty", String::new(), "holds no certificate revocation list in PEM"),
        ("text", "revoked: none\n".to_owned(), "holds no certificate revocation list in PEM"),
        ("cut", cut, "no END line"),
        ("rubbish", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n".to_owned(), "holds a damaged CRL"),
        ("a certificate", running.fixture.read("ca.pem"), "holds no certificate revocation list in PEM"),
    ];
    for (what, text, said) in bad {
        let faults = running.put_text(&text);
        assert!(matches!(&faults[..], [fault] if fault.contains(said) && fault.contains("ca.crl")), "{what}: {faults:?}");
        assert_eq!(running.meet("client"), Err(Why::Revoked), "{what}");
        assert_eq!(running.crls.of(running.material.cas[0].id).expect("the last good one").number.to_string(), "6", "{what}");
    }
    std::fs::remove_file(running.fixture.path("ca.crl")).expect("it is there");
    assert!(running.read()[0].contains("No such file"));
    assert_eq!(running.meet("client"), Err(Why::Revoked));
    assert_eq!(running.put(6, &["client"], (NOW, NOW + DAY)), Vec::<String>::new(), "the same list again is no fault");
}

#[test]
fn a_list_that_lacks_what_the_standard_asks_for_is_refused() {
    let mut running = Running::new();
    let text = running.list(6, &[], (NOW, NOW + DAY));
    // Every single byte that is changed makes the signature wrong or the list unreadable.
    let der = rustls::pki_types::CertificateRevocationListDer::from_pem_slice(text.as_bytes()).expect("it reads").to_vec();
    for at in 0..der.len() {
        let mut bent = der.clone();
        bent[at] ^= 0x20;
        let pem = format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", data_encoding::BASE64.encode(&bent));
        assert_eq!(running.put_text(&pem).len(), 1, "byte {at}");
    }
    assert_eq!(running.crls.of(running.material.cas[0].id).expect("the last good one").number.to_string(), "5");
}

#[test]
fn when_the_last_good_list_expires_nobody_is_let_in_until_there_is_another() {
    let mut running = Running::new();
    let tls = running.tls();
    let met = meet(&running.fixture.client("client").config(), &tls).expect("it is let in");
    let at = |seconds: i64| tls.judge().check(met.chain(), Time::from_seconds(seconds)).map(drop);
    running.fixture.put("client", &running.fixture.ca.issue(&service(), ages()).expect("it can be issued"));
    let long = meet(&running.fixture.client("client").config(), &tls).expect("it is let in");
    let late = |judge: ClientJudge, seconds: i64| judge.check(long.chain(), Time::from_seconds(seconds)).map(drop);
    assert_eq!(at(NOW + HOUR), Ok(()));
    let until = |chain: &[CertificateDer<'_>]| tls.judge().check(chain, Time::from_seconds(NOW)).map(Time::seconds);
    assert_eq!(until(met.chain()), Ok(NOW + HOUR), "the certificate is over first");
    assert_eq!(until(long.chain()), Ok(NOW + DAY), "the list is over first");
    assert_eq!(late(tls.judge(), NOW + DAY), Ok(()));
    let expired = Err(Why::CrlExpired { ca: "CN=Test CA".to_owned(), since: Time::from_seconds(NOW + DAY) });
    assert_eq!(late(tls.judge(), NOW + DAY + 1), expired);
    running.told.crl_grace = Duration::from_secs(3600);
    assert_eq!(late(running.tls().judge(), NOW + DAY + HOUR), Ok(()));
    assert_eq!(late(running.tls().judge(), NOW + DAY + HOUR + 1), expired);
    running.fixture.clock.0.store(NOW + 2 * DAY, Ordering::Relaxed);
    assert_eq!(running.meet("client"), expired, "in the handshake too");
    assert_eq!(running.put(6, &[], (NOW + 2 * DAY, NOW + 3 * DAY)), Vec::<String>::new());
    assert_eq!(running.meet("client"), Ok(()));
}

#[test]
fn without_any_list_nobody_is_let_in_unless_none_is_asked_for() {
    let mut running = Running::new();
    running.crls = Crls::default();
    running.fixture.write("ca.crl", "");
    let faults = running.read();
    assert!(faults.len() == 2 && faults[1].contains("there is no CRL of CN=Test CA"), "{faults:?}");
    assert_eq!(running.meet("client"), Err(Why::NoCrl { ca: "CN=Test CA".to_owned() }));
    running.told.crl = None;
    assert_eq!(running.meet("client"), Ok(()));
}

#[test]
fn a_number_from_before_a_restart_counts() {
    let mut running = Running::new();
    let ca = running.material.cas[0].id;
    let floors = |number: u8| {
        let mut bytes = [0; CRL_NUMBER_BYTES];
        bytes[CRL_NUMBER_BYTES - 1] = number;
        std::collections::BTreeMap::from([(ca, CrlNumber(bytes))])
    };
    assert!(!running.crls.raise(&floors(4)) && !running.crls.raise(&floors(5)));
    assert_eq!(running.meet("client"), Ok(()));
    assert!(running.crls.raise(&floors(9)), "the list in force is older than one that was seen");
    assert!(matches!(running.meet("client"), Err(Why::NoCrl { .. })));
    assert!(running.put(8, &[], (NOW, NOW + DAY))[0].contains("has number 8, but 9 was seen before"));
    assert_eq!(running.put(9, &[], (NOW, NOW + DAY)), Vec::<String>::new());
    assert_eq!(running.meet("client"), Ok(()));
}

/// rustls keeps a client's chain with the session and never looks at it again: our judge does.
#[test]
fn a_resumed_session_of_a_certificate_revoked_since_is_refused() {
    for version in [&TLS12, &TLS13] {
        let mut running = Running::new();
        let config = only(&running.fixture, version, true);
        let before = running.tls();
        assert_eq!(meet(&config, &before).expect("it is let in").kind(), HandshakeKind::Full);
        assert_eq!(running.put(6, &["client"], (NOW, NOW + DAY)), Vec::<String>::new());
        let now = running.tls();
        let resumed = meet(&config, &before).expect("a handshake that began before the change");
        assert_eq!(resumed.kind(), HandshakeKind::Resumed, "{version:?}");
        assert_eq!(now.judge().check(resumed.chain(), running.fixture.clock.now()), Err(Why::Revoked), "{version:?}");
        assert_eq!(meet(&config, &now).err(), Some(Why::Revoked), "the new store knows no session, and the full handshake is refused");
    }
}

#[test]
fn each_kind_of_client_gets_a_certificate_that_it_understands() {
    let fixture = Fixture::new();
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key can be made");
    let ca_key = KeyPair::from_pem(&fixture.read("ca.key")).expect("the CA's key reads");
    let issuer = Issuer::from_ca_cert_pem(&fixture.read("ca.pem"), ca_key).expect("the CA reads");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    fixture.write("rsa.pem", &params.signed_by(&key, &issuer).expect("it can be signed").pem());
    fixture.write("rsa.key", &key.serialize_pem());
    let mut told = fixture.listener("server.pem", "server.key", "ca.pem");
    told.certificates.push(CertificateFiles { cert: fixture.path("rsa.pem"), key: fixture.path("rsa.key") });
    let (server, _) = ServerTls::load(&told, fixture.clock()).expect("it loads");
    let [ecdsa, rsa] = ["server.pem", "rsa.pem"].map(|file| first(&fixture.read(file)));
    for (schemes, wanted) in [
        (&[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256][..], Some(&ecdsa)),
        (&[SignatureScheme::RSA_PSS_SHA256], Some(&rsa)),
        (&[SignatureScheme::ECDSA_NISTP256_SHA256], Some(&ecdsa)),
        (&[SignatureScheme::ED25519], None),
    ] {
        let own = Material::read(&told, fixture.clock.now()).expect("it reads").own;
        let chosen = BySignature(own.into_iter().map(|own| own.key).collect());
        let found = chosen.0.iter().find(|own| own.key.choose_scheme(schemes).is_some());
        assert_eq!(found.map(|own| &own.cert[0]), wanted, "{schemes:?}");
    }
    let met = meet(&fixture.client("client").config(), &server).expect("it is let in");
    assert_eq!(met.client.peer_certificates().map(|chain| &chain[0]), Some(&ecdsa));
    told.certificates.reverse();
    let (server, _) = ServerTls::load(&told, fixture.clock()).expect("it loads");
    let met = meet(&fixture.client("client").config(), &server).expect("it is let in");
    assert_eq!(met.client.peer_certificates().map(|chain| &chain[0]), Some(&rsa), "the first of the configuration that will do");
}

/// A root, an intermediate that signs clients, and lists by both.
struct Tower {
    running: Running,
    root: Issuer<'static, KeyPair>,
    middle: Issuer<'static, KeyPair>,
    middle_der: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
}

const MIDDLE_SERIAL: u64 = 77;
const LEAF_SERIAL: u64 = 88;

impl Tower {
    fn new(middle_in_file: bool) -> Self {
        Self::over(KeyPair::generate().expect("a key can be made"), middle_in_file)
    }

    /// Over a root with this key.
    fn over(root_key: KeyPair, middle_in_file: bool) -> Self {
        let ca = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params
        };
        let key = || KeyPair::generate().expect("a key can be made");
        let (root_params, root_key) = (ca("Root"), root_key);
        let root_pem = root_params.self_signed(&root_key).expect("it can be signed").pem();
        let root = Issuer::new(root_params, root_key);
        let (mut middle_params, middle_key) = (ca("Middle"), key());
        middle_params.serial_number = Some(MIDDLE_SERIAL.into());
        let middle_cert = middle_params.signed_by(&middle_key, &root).expect("it can be signed");
        let middle = Issuer::new(middle_params, middle_key);
        let mut leaf = CertificateParams::default();
        leaf.serial_number = Some(LEAF_SERIAL.into());
        let leaf = leaf.signed_by(&key(), &middle).expect("it can be signed").der().clone();
        let mut running = Running::new();
        let middle_pem = middle_cert.pem();
        running.fixture.write("tower.pem", &if middle_in_file { root_pem + &middle_pem } else { root_pem });
        running.told.client_ca = running.fixture.path("tower.pem");
        running.material = Material::read(&running.told, running.fixture.clock.now()).expect("the files are good");
        Self { running, root, middle, middle_der: middle_cert.der().clone(), leaf }
    }

    fn crl(issuer: &Issuer<'static, KeyPair>, number: u64, revoked: &[u64]) -> String {
        Self::list(issuer, number, revoked, NOW + DAY, None)
    }

    fn list(
        issuer: &Issuer<'static, KeyPair>,
        number: u64,
        revoked: &[u64],
        until: i64,
        scope: Option<rcgen::CrlIssuingDistributionPoint>,
    ) -> String {
        let time = |seconds: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).expect("after 1970"));
        let params = CertificateRevocationListParams {
            this_update: time(NOW),
            next_update: time(until),
            crl_number: number.into(),
            issuing_distribution_point: scope,
            revoked_certs: revoked
                .iter()
                .map(|serial| rcgen::RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: time(NOW),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer).expect("it can be signed").pem().expect("it prints")
    }

    /// The verdict on the leaf, with or without the intermediate beside it, under these lists.
    fn check(&mut self, with_middle: bool, lists: &[String]) -> Result<(), Why> {
        self.running.crls = Crls::default();
        let _faults = self.running.put_text(&lists.concat());
        let mut chain = vec![self.leaf.clone()];
        chain.extend(with_middle.then(|| self.middle_der.clone()));
        self.running.tls().judge().check(&chain, self.running.fixture.clock.now()).map(drop)
    }
}

#[test]
fn every_ca_of_a_chain_has_its_say() {
    let mut tower = Tower::new(true);
    let root = |revoked: &[u64]| Tower::crl(&tower.root, 1, revoked);
    let middle = |revoked: &[u64]| Tower::crl(&tower.middle, 1, revoked);
    let cases = [
        ([root(&[]), middle(&[])], Ok(())),
        ([root(&[]), middle(&[LEAF_SERIAL])], Err(Why::Revoked)),
        ([root(&[MIDDLE_SERIAL]), middle(&[])], Err(Why::Revoked)),
        ([root(&[LEAF_SERIAL]), middle(&[MIDDLE_SERIAL])], Ok(())),
        ([root(&[]), String::new()], Err(Why::UnknownStatus)),
        ([String::new(), middle(&[])], Err(Why::NoCrl { ca: "CN=Root".to_owned() })),
    ];
    for (lists, wanted) in cases {
        for with_middle in [true, false] {
            assert_eq!(tower.check(with_middle, &lists), wanted, "{lists:?}");
        }
    }
    let both = [Tower::crl(&tower.root, 1, &[]), Tower::crl(&tower.middle, 1, &[])];
    assert_eq!(Tower::new(true).check(true, &both), Err(Why::NoCrl { ca: "CN=Root".to_owned() }), "other keys under the same names");
}

#[test]
fn a_root_revokes_a_ca_of_the_file_whatever_its_algorithm() {
    for algorithm in [&PKCS_ECDSA_P521_SHA512, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let root_key = KeyPair::generate_for(algorithm).expect("a key can be made");
        let mut tower = Tower::over(root_key, true);
        let lists = |revoked: &[u64]| [Tower::crl(&tower.root, 1, revoked), Tower::crl(&tower.middle, 1, &[])];
        let (none, middle) = (lists(&[]), lists(&[MIDDLE_SERIAL]));
        assert_eq!(tower.check(true, &none), Ok(()), "{algorithm:?}");
        assert_eq!(tower.check(true, &middle), Err(Why::Revoked), "{algorithm:?}");
    }
}

#[test]
fn a_list_that_tells_of_a_part_only_is_refused_and_raises_no_number() {
    let mut tower = Tower::new(true);
    let point = rcgen::CrlDistributionPoint { uris: vec!["http://ca.example/1.crl".to_owned()] };
    let part = |scope| Some(rcgen::CrlIssuingDistributionPoint { distribution_point: point.clone(), scope });
    let good = [Tower::crl(&tower.root, 1, &[]), Tower::crl(&tower.middle, 1, &[LEAF_SERIAL])];
    assert_eq!(tower.check(true, &good), Err(Why::Revoked));
    for scope in [rcgen::CrlScope::UserCertsOnly, rcgen::CrlScope::CaCertsOnly] {
        let faults = tower.running.put_text(&Tower::list(&tower.middle, 9, &[], NOW + DAY, part(Some(scope))));
        assert!(matches!(&faults[..], [fault] if fault.contains("Issuing Distribution Point")), "{faults:?}");
        let id = tower.running.material.cas[1].id;
        assert_eq!(tower.running.crls.of(id).expect("the good one").number.to_string(), "1");
        assert_eq!(tower.running.crls.floors()[&id].to_string(), "1");
    }
    let whole = tower.running.put_text(&Tower::list(&tower.middle, 9, &[], NOW + DAY, part(None)));
    assert_eq!(whole, [] as [String; 0], "a list that only says where it is fetched from tells of all certificates");
}

/// A CA below the root of a tower, in its file, and a client of it.
fn further(tower: &mut Tower, name: &str, above: Option<&Issuer<'static, KeyPair>>) -> (Issuer<'static, KeyPair>, CertificateDer<'static>) {
    let key = || KeyPair::generate().expect("a key can be made");
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = key();
    let cert = params.signed_by(&ca_key, above.unwrap_or(&tower.root)).expect("it can be signed");
    let ca = Issuer::new(params, ca_key);
    let mut leaf = CertificateParams::default();
    leaf.serial_number = Some(LEAF_SERIAL.into());
    let leaf = leaf.signed_by(&key(), &ca).expect("it can be signed").der().clone();
    let running = &mut tower.running;
    running.fixture.write("tower.pem", &(running.fixture.read("tower.pem") + &cert.pem()));
    running.material = Material::read(&running.told, running.fixture.clock.now()).expect("the files are good");
    (ca, leaf)
}

#[test]
fn a_ca_that_was_renewed_under_its_name_has_two_keys_and_two_lists() {
    let mut tower = Tower::new(true);
    let (renewed, new_leaf) = further(&mut tower, "Middle", None);
    let old_leaf = tower.leaf.clone();
    let refused = Err(Why::Revoked);
    for (old_revoked, new_revoked) in [(&[][..], &[][..]), (&[LEAF_SERIAL], &[]), (&[], &[LEAF_SERIAL])] {
        let lists = [Tower::crl(&tower.root, 1, &[]), Tower::crl(&tower.middle, 1, old_revoked), Tower::crl(&renewed, 1, new_revoked)];
        for (leaf, revoked) in [(&old_leaf, old_revoked), (&new_leaf, new_revoked)] {
            tower.leaf = leaf.clone();
            let wanted = if revoked.is_empty() { Ok(()) } else { refused.clone() };
            assert_eq!(tower.check(false, &lists), wanted, "{old_revoked:?} {new_revoked:?}");
        }
    }
    let without = [Tower::crl(&tower.root, 1, &[]), Tower::crl(&tower.middle, 1, &[])];
    tower.leaf = new_leaf;
    assert!(tower.check(false, &without).is_err(), "the other key's list says nothing of it");
}

#[test]
fn an_expired_list_keeps_out_the_clients_of_its_ca_alone() {
    let mut tower = Tower::new(true);
    let (other, other_leaf) = further(&mut tower, "Other", None);
    let (below, _) = further(&mut tower, "Below", Some(&other));
    let good_leaf = tower.leaf.clone();
    let mut lists: Vec<_> = [&tower.root, &tower.middle, &below].map(|ca| Tower::crl(ca, 1, &[])).into();
    lists.push(Tower::list(&other, 1, &[], NOW + HOUR, None));
    for (leaf, wanted) in
        [(good_leaf, Ok(())), (other_leaf, Err(Why::CrlExpired { ca: "CN=Other".to_owned(), since: Time::from_seconds(NOW + HOUR) }))]
    {
        tower.leaf = leaf;
        tower.running.fixture.clock.0.store(NOW, Ordering::Relaxed);
        assert_eq!(tower.check(false, &lists), Ok(()));
        let judge = tower.running.tls().judge();
        assert_eq!(judge.check(&[tower.leaf.clone()], Time::from_seconds(NOW + HOUR + 1)).map(drop), wanted);
    }
}

#[test]
fn a_chain_over_a_ca_that_is_not_in_the_file_is_refused_where_lists_are_asked_for() {
    let mut tower = Tower::new(false);
    let root = Tower::crl(&tower.root, 1, &[]);
    assert_eq!(tower.check(true, &[root]), Err(Why::UnknownStatus));
    tower.running.told.crl = None;
    assert_eq!(tower.check(true, &[]), Ok(()));
}

#[test]
fn a_number_prints_as_people_write_it() {
    let number = |bytes: &[u8]| {
        let mut all = [0; CRL_NUMBER_BYTES];
        all[CRL_NUMBER_BYTES - bytes.len()..].copy_from_slice(bytes);
        CrlNumber(all).to_string()
    };
    assert_eq!(number(&[1, 0]), "256");
    assert_eq!(number(&[255; 8]), u64::MAX.to_string());
    assert_eq!(number(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), format!("0x{}010000000000000000", "00".repeat(11)));
}
