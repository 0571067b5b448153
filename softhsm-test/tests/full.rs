//! A full disk, under the keystore and under the audit log: refused by name and in time, nothing lost, healed without a restart.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use daemon::kmip_client::{KmipClient, KmipError};
use daemon::tls::ClientTls;
use kmip::Error::Refused;
use kmip::ttlv::ByteString;
use kmip::{EncryptRequest, GetAttributesRequest, ResultReason};
use rustls::{ClientConnection, StreamOwned};
use softhsm_test::requests::{activate, create};
use softhsm_test::{Core, Disk, Edge, Who};

/// A refusal for want of an audit log comes within this time.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("there is room");
    }
}

fn encrypt(client: &mut KmipClient, key: &str) -> Result<(), KmipError> {
    let request = EncryptRequest { unique_identifier: Some(key), data: Some(ByteString(b"data")), ..EncryptRequest::default() };
    client.call(&request).map(drop)
}

/// A client is told that it may come again, not what is wrong inside; the operator's status tells that.
fn must_be_general_failure(outcome: Result<(), KmipError>) {
    match outcome {
        Err(KmipError::Kmip(Refused { reason: Some(ResultReason::GeneralFailure), .. })) => {}
        other => panic!("not a General Failure: {other:?}"),
    }
}

/// A connection to the admin listener that stays.
struct AdminConnection(StreamOwned<ClientConnection, TcpStream>);

impl AdminConnection {
    fn open(core: &Core, who: &str) -> Self {
        let file = |name: &str| PathBuf::from(core.value(name));
        let tls = ClientTls::load(&file("CA_CERT"), &file(&format!("{who}_CERT")), &file(&format!("{who}_KEY")), "localhost");
        let tls = tls.expect("dev's certificates are good");
        let connection = ClientConnection::new(tls.config(), tls.server_name()).expect("a sound configuration");
        let admin = core.value("ADMIN_CORE");
        let socket = TcpStream::connect(admin.strip_prefix("https://").expect("an address")).expect("the core listens");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a sound timeout");
        Self(StreamOwned::new(connection, socket))
    }

    /// The status of the answer.
    fn get(&mut self, path: &str) -> u16 {
        write!(self.0, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").and_then(|()| self.0.flush()).expect("the core reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("an answer");
            head.extend(byte);
        }
        let head = String::from_utf8(head).expect("heads are text").to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length").parse().expect("a length");
        self.0.read_exact(&mut vec![0; length]).expect("the announced body");
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }
}

fn exists(node: &Core, who: Who, id: &str) -> bool {
    let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: Vec::new() };
    node.connect(who).call(&request).is_ok()
}

/// - `who` makes keys at this node.
fn fills_up_and_heals(node: &mut Core, who: Who) {
    let disk = Disk::mount(&node.dir().join("disk"), "24m");
    let store = node.store();
    fs::copy(&store, disk.path().join("store.redb")).expect("there is room");
    fs::remove_file(&store).expect("it is ours");
    std::os::unix::fs::symlink(disk.path().join("store.redb"), &store).expect("it is ours");
    node.start();
    let mut client = node.connect(who);
    let before = create(&mut client, "before").expect("there is room");
    activate(&mut client, &before).expect("it is new");
    disk.fill();
    must_be_general_failure(create(&mut client, "full").map(drop));
    encrypt(&mut node.connect(Who::Service), &before).expect("reads go on");
    disk.empty();
    let after = create(&mut client, "after").expect("there is room again");
    assert!(exists(node, who, &before) && exists(node, who, &after));
    create(&mut client, "full").expect("the refused name was never taken");
    node.stop();
    let _verified = node.ask(&["audit", "verify"]);
}

#[test]
fn a_full_keystore_refuses_changes_serves_reads_and_heals_alone() {
    fills_up_and_heals(&mut Core::prepared(), Who::TenantAdmin);
}

#[test]
fn so_does_an_edges() {
    let mut edge = Edge::prepared();
    edge.core.start();
    fills_up_and_heals(&mut edge, Who::Service);
    edge.core.stop();
}

#[test]
fn a_full_audit_log_stops_every_operation_in_time_and_resumes_alone() {
    let mut core = Core::prepared();
    let folder = core.dir().join("core/audit");
    let kept = core.dir().join("audit-kept");
    fs::create_dir(&kept).expect("the folder is ours");
    copy_folder(&folder, &kept);
    let disk = Disk::mount(&folder, "160m");
    copy_folder(&kept, &folder);
    core.start();
    let mut admin = core.connect(Who::TenantAdmin);
    let before = create(&mut admin, "before").expect("there is room");
    let (mut service, key) = (core.connect(Who::Service), core.value("L3_ID"));
    let mut auditor = AdminConnection::open(&core, "AUDITOR");
    assert_eq!(auditor.get("/api/v1/slots"), 200);
    disk.fill();
    // What was set aside ahead lasts for a while: the log refuses before it runs out, not after.
    let mut served = 0;
    let refused = loop {
        match encrypt(&mut service, &key) {
            Ok(()) => served += 1,
            Err(error) => break error,
        }
        assert!(served < 100_000, "the log never runs out");
    };
    must_be_general_failure(Err(refused));
    let asked = Instant::now();
    must_be_general_failure(create(&mut admin, "full").map(drop));
    assert!(asked.elapsed() < REFUSED_WITHIN, "{:?}", asked.elapsed());
    assert!(core.status().contains("audit"), "status works, and says what is wrong");
    // Who may only look has a certificate too, and may not use up what the operator needs.
    let records = || {
        let report: serde_json::Value = serde_json::from_str(&core.ask(&["--json", "audit", "verify"])).expect("a report in JSON");
        report["records"].as_u64().expect("a number")
    };
    let before_looks = records();
    for path in ["/api/v1/slots", "/api/v1/status", "/api/v1/tenants"].into_iter().cycle().take(60) {
        assert_eq!(auditor.get(path), 503, "{path}");
    }
    assert_eq!(records(), before_looks, "an auditor writes on a full disk");
    let remote = |who: &str, arguments: &[&str]| {
        let [admin, ca] = ["ADMIN_CORE", "CA_CERT"].map(|name| core.value(name));
        let [cert, key] = ["CERT", "KEY"].map(|name| core.value(&format!("{who}_{name}")));
        core.cli(&[arguments, &["--admin", &admin, "--admin-ca", &ca, "--admin-cert", &cert, "--admin-key", &key]].concat())
    };
    assert!(!remote("TENANT_ADMIN", &["status"]).status.success(), "a new session of somebody else");
    for look in [&["status"][..], &["slot", "list"], &["tenant", "list"]] {
        let told = remote("OPERATOR", look);
        assert!(told.status.success(), "{look:?}: {}", String::from_utf8_lossy(&told.stderr));
        let _told_on_the_socket = core.ask(look);
    }
    assert!(!remote("OPERATOR", &["tenant", "create", "initech"]).status.success(), "a change waits for space");
    disk.empty();
    create(&mut admin, "after").expect("it resumes alone");
    assert!(exists(&core, Who::TenantAdmin, &before));
    core.stop();
    let verified = core.ask(&["--json", "audit", "verify"]);
    let records: serde_json::Value = serde_json::from_str(&verified).expect("a report in JSON");
    assert!(records["records"].as_u64().is_some_and(|records| records >= served), "{served} served after the disk was full: {verified}");
}
