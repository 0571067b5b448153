//! Any bytes as a client's certificate, as a file of CAs and as a revocation list: an error or what they say, and nothing falls over.
#![no_main]

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use daemon::certs::{Ca, Holder, Validity};
use daemon::config::{CertificateFiles, Listener};
use daemon::identity::{RuleText, Rules};
use daemon::tls::{Crls, Material, chain};
use keys::id::Time;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const NOW: Time = Time::from_seconds(1_800_000_000);

/// A listener whose files are good until one of them is the input.
struct World {
    dir: TempDir,
    rules: Rules,
    good: Material,
    listener: Listener,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::found());
}

impl World {
    fn found() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| dir.path().join(name);
        let validity = Validity::between(Time::from_seconds(1_700_000_000), Time::from_seconds(1_900_000_000)).expect("a span");
        let (ca, issued) = Ca::create("fuzz CA", validity).expect("a CA");
        issued.write(&file("ca.pem"), &file("ca.key")).expect("the folder is ours");
        let server = ca.issue(&Holder::Server { names: Vec::new() }, validity).expect("the CA signs");
        server.write(&file("server.pem"), &file("server.key")).expect("the folder is ours");
        let listener = Listener {
            bind: "127.0.0.1:1".parse().expect("an address"),
            certificates: vec![CertificateFiles { cert: file("server.pem"), key: file("server.key") }],
            client_ca: file("ca.pem"),
            crl: Some(file("input")),
            crl_grace: Duration::ZERO,
        };
        let good = Material::read(&listener, NOW).expect("the files are good");
        let dns = RuleText { dns: Some("{service}.{tenant}.{role}".to_owned()), ..RuleText::default() };
        let uri = RuleText { uri: Some("kmip://{tenant}/{service}/{role}".to_owned()), ..RuleText::default() };
        let rules = Rules::parse(vec![uri, dns]).expect("the rules are well-formed");
        Self { dir, rules, good, listener }
    }

    fn put(&self, bytes: &[u8]) -> PathBuf {
        let file = self.dir.path().join("input");
        fs::write(&file, bytes).expect("the folder is ours");
        file
    }
}

fuzz_target!(|bytes: &[u8]| WORLD.with_borrow(|world| {
    let explained = world.rules.explain(bytes);
    assert!(explained.lines().all(|line| !line.contains('\n')), "an explanation that is no line");
    let file = world.put(bytes);
    let mut crls = Crls::default();
    let _bad = world.good.take_crls(&world.listener, &mut crls, NOW);
    for certificate in chain(&file).into_iter().flatten() {
        let _named = world.rules.principal(&certificate);
    }
    let listener = Listener { client_ca: file, ..world.listener.clone() };
    let _material = Material::read(&listener, NOW);
}));
