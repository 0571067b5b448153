//! A full disk, under the keystore and under the audit log: refused by name and in time, nothing lost, healed without a restart.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use daemon::kmip_client::{KmipClient, KmipError};
use kmip::Error::Refused;
use kmip::ttlv::ByteString;
use kmip::{EncryptRequest, GetAttributesRequest, ResultReason};
use softhsm_test::requests::create;
use softhsm_test::{Core, Disk, Who};

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

fn exists(core: &Core, id: &str) -> bool {
    let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: Vec::new() };
    core.connect(Who::TenantAdmin).call(&request).is_ok()
}

#[test]
fn a_full_keystore_refuses_changes_serves_reads_and_heals_alone() {
    let mut core = Core::prepared();
    let disk = Disk::mount(&core.dir().join("disk"), "24m");
    let store = core.dir().join("core/store.redb");
    fs::copy(&store, disk.path().join("store.redb")).expect("there is room");
    fs::remove_file(&store).expect("it is ours");
    std::os::unix::fs::symlink(disk.path().join("store.redb"), &store).expect("it is ours");
    core.start();
    let mut admin = core.connect(Who::TenantAdmin);
    let before = create(&mut admin, "before").expect("there is room");
    disk.fill();
    must_be_general_failure(create(&mut admin, "full").map(drop));
    encrypt(&mut core.connect(Who::Service), &core.value("L3_ID")).expect("reads go on");
    disk.empty();
    let after = create(&mut admin, "after").expect("there is room again");
    assert!(exists(&core, &before) && exists(&core, &after));
    create(&mut admin, "full").expect("the refused name was never taken");
    core.stop();
    let _verified = core.ask(&["audit", "verify"]);
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
    disk.empty();
    create(&mut admin, "after").expect("it resumes alone");
    assert!(exists(&core, &before));
    core.stop();
    let verified = core.ask(&["--json", "audit", "verify"]);
    let records: serde_json::Value = serde_json::from_str(&verified).expect("a report in JSON");
    assert!(records["records"].as_u64().is_some_and(|records| records >= served), "{served} served after the disk was full: {verified}");
}
