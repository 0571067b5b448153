//! The report on rotation of a real core: what it says, who signs it, and what becomes of one that was changed.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use keys::policy::Action;
use serde_json::Value;
use softhsm_test::{Appliance, Who, wait_for};

fn run(appliance: &Appliance, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = appliance.cli(Who::Operator, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn rows<'r>(report: &'r Value, layer: &str) -> Vec<&'r Value> {
    report["report"]["chains"].as_array().expect("a list").iter().filter(|row| row["layer"] == layer).collect()
}

/// A report once a whole walk has ended since the last change.
fn settled(appliance: &Appliance) -> Value {
    let mut report = Value::Null;
    let is_settled = wait_for(|| {
        report = appliance.ask(&["report", "rotation"]);
        report["report"]["walk"]["is_current"] == true
    });
    assert!(is_settled, "{report}");
    report
}

fn metrics(appliance: &Appliance) -> String {
    let mut stream = TcpStream::connect(appliance.value("HEALTH_CORE").trim_start_matches("http://")).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("it answers");
    page
}

fn path(file: &Path) -> &str {
    file.to_str().expect("a temporary folder's name is text")
}

#[test]
fn a_rotation_is_in_the_report_that_the_node_has_signed() {
    let appliance = Appliance::start();
    let before = appliance.ask(&["report", "rotation"]);
    let ivk = rows(&before, "IVK")[0];
    assert_eq!((&ivk["active_version"], &ivk["policy"], &ivk["overdue"]), (&1.into(), &"every 30days".into(), &false.into()), "{ivk}");
    assert!(ivk["next_due"].is_string() && ivk["last_rotation"].is_null(), "{ivk}");
    let of = |layer| -> Vec<_> {
        let mut names: Vec<_> = rows(&before, layer).iter().map(|row| (row["tenant"].to_string(), row["service"].to_string())).collect();
        names.sort();
        names
    };
    let text = |text: &str| format!("\"{text}\"");
    assert_eq!(of("L2"), [(text("acme"), "null".to_owned()), (text("globex"), "null".to_owned())]);
    assert_eq!(of("L3"), [(text("acme"), text("billing")), (text("globex"), text("billing"))]);
    assert!(rows(&before, "L3").iter().all(|row| row["keys_under_older"].is_null() && row["policy"] == "none"), "{before}");

    // A compromised version stays open until it is destroyed; a tenant's key has a version 2.
    let _rotated = appliance.ask(&["ivk", "rotate", "--compromised"]);
    let l2 = appliance.ask(&["tenant", "show", "acme"])["key"].as_str().expect("it has one").to_owned();
    let admin = appliance.as_who(Who::TenantAdmin);
    let admin = admin.each_ref().map(String::as_str);
    let _rotated = appliance.ask(&[&admin[..], &["key", "rotate", &l2]].concat());
    let after = settled(&appliance);
    let ivk = rows(&after, "IVK")[0];
    assert_eq!((&ivk["active_version"], &ivk["compromised"]), (&2.into(), &vec![1].into()), "{ivk}");
    assert!(ivk["last_rotation"].is_string() && ivk["keys_under_older"] == 0, "{ivk}");
    let acme = rows(&after, "L2").into_iter().find(|row| row["tenant"] == "acme").expect("a row").clone();
    assert_eq!((&acme["active_version"], &acme["keys_under_older"]), (&2.into(), &0.into()), "{acme}");
    assert!(acme["last_rotation"].is_string(), "{acme}");
    assert_eq!(after["report"]["summary"]["compromised"], 1);
    assert_eq!(after["report"]["summary"]["keys_under_older"], 0);

    let metrics = metrics(&appliance);
    assert!(metrics.contains("\nstrongroom_ivk_version 2.0\n") && metrics.contains("\nstrongroom_ivk_compromised 1.0\n"), "{metrics}");
    assert!(metrics.contains("\nstrongroom_ivk_rotation_due_seconds 2"), "30 days are 2592000 s: {metrics}");

    let only = appliance.ask(&["report", "rotation", "--tenant", "globex"]);
    assert!(rows(&only, "L2").len() == 1 && rows(&only, "L3").len() == 1 && !only.to_string().contains("acme"), "{only}");
    let files = appliance.data_files();
    let verified = appliance.cli(Who::Operator, &["audit", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let code = (Action::ReportRotation as u16).to_be_bytes();
    let logs = files.iter().filter(|path| path.parent().is_some_and(|folder| folder.ends_with("audit")));
    let is_told = logs.filter_map(|path| fs::read(path).ok()).any(|log| log.windows(2).any(|window| window == code));
    assert!(is_told, "no record of a report");
}

#[test]
fn parts_of_a_report_make_the_whole_and_each_is_signed() {
    let appliance = Appliance::start();
    let whole = settled(&appliance);
    let key = whole["public_key"].as_str().expect("a key").to_owned();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut found, mut after, mut count) = (Vec::new(), None::<String>, 0);
    loop {
        let file = dir.path().join(format!("{count}.json"));
        let mut arguments = vec!["report", "rotation", "--limit", "1", "--out", path(&file)];
        arguments.extend(after.iter().flat_map(|after| ["--after", after]));
        let part = appliance.ask(&arguments);
        assert_eq!(part["report"]["after"].as_str(), after.as_deref());
        found.extend(part["report"]["chains"].as_array().expect("a list").iter().filter(|row| row["layer"] != "IVK").cloned());
        let (code, said, why) = run(&appliance, &["report", "verify", path(&file), "--key", &key]);
        assert!(code == Some(0) && said.contains("the key given"), "{said}{why}");
        count += 1;
        match part["report"]["next"].as_str() {
            Some(next) if count < 10 => after = Some(next.to_owned()),
            _ => break,
        }
    }
    assert!((4..10).contains(&count), "{count} parts");
    let wanted: Vec<Value> =
        whole["report"]["chains"].as_array().expect("a list").iter().filter(|row| row["layer"] != "IVK").cloned().collect();
    assert_eq!(found, wanted);
}

#[test]
fn a_saved_report_is_checked_without_the_node_and_printed() {
    let appliance = Appliance::start();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (file, page) = (dir.path().join("r.json"), dir.path().join("r.html"));
    let auditor = appliance.as_who(Who::Auditor);
    let auditor = auditor.each_ref().map(String::as_str);
    let report = ["report", "rotation", "--out", path(&file), "--html", path(&page)];
    let (code, said, why) = run(&appliance, &[&auditor[..], &report].concat());
    assert!(code == Some(0) && said.contains("acme/billing") && said.contains("0 overdue"), "{said}{why}");
    let printed = fs::read_to_string(&page).expect("it was written");
    assert!(printed.contains("acme / billing") && printed.contains("size: A4") && !printed.contains("<script"), "{printed}");
    let (code, ..) = run(&appliance, &report);
    assert_eq!(code, Some(1), "evidence was written over");
    let tenants = appliance.as_who(Who::TenantAdmin);
    let tenants = tenants.each_ref().map(String::as_str);
    let (code, said, why) = run(&appliance, &[&tenants[..], &["report", "rotation"]].concat());
    assert!(code == Some(1) && said.is_empty() && why.contains("operator or auditor"), "{said}{why}");

    let signed = fs::read_to_string(&file).expect("it was written");
    let key = serde_json::from_str::<Value>(&signed).expect("JSON")["public_key"].as_str().expect("a key").to_owned();
    let audited = appliance.ask(&["audit", "verify"]);
    assert_eq!(audited["signer"], key.as_str(), "it is the key of the audit log");
    drop(appliance.stop());
    let verify = |arguments: &[&str]| {
        let output =
            std::process::Command::new(softhsm_test::binary("strongroom", "daemon")).args(arguments).output().expect("it is there");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let again = dir.path().join("again.html");
    let (code, said) = verify(&["report", "verify", path(&file), "--key", &key, "--html", path(&again)]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read_to_string(&again).expect("it was written"), printed);
    let (code, said) = verify(&["report", "verify", path(&file), "--key", &"00".repeat(32)]);
    assert_eq!(code, Some(4), "{said}");
    fs::write(&file, signed.replace("\"overdue\": false", "\"overdue\": true")).expect("the folder is ours");
    let (code, said) = verify(&["report", "verify", path(&file)]);
    assert!(code == Some(4) && said.contains("was changed after it was signed"), "{said}");
}
