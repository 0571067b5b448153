//! `strongroom doctor --client`: what each known program needs is there at an edge, and a server that lacks something is told so.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;

use kmip::notation::{self, Bindings};
use kmip::{Operation, Request};
use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;
use softhsm_test::{Appliance, Who, https};

const CLIENTS: [&str; 10] = ["mongodb", "percona", "mysql-keyring", "pg_tde", "ceph", "vcenter", "synology", "vast", "veeam", "fortigate"];

fn doctor(appliance: &Appliance, client: &str, more: &[&str]) -> Output {
    // VAST posts its messages, so it is given the other port.
    let https = appliance.value("HTTPS_EDGE");
    let server: &[&str] = if client == "vast" { &["--server", &https] } else { &[] };
    appliance.cli_at("edge", Who::Service, &[&["doctor", "--client", client], server, more].concat())
}

fn told(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Everything that the service can find at the edge.
fn objects(appliance: &Appliance) -> String {
    let output = appliance.cli_at("edge", Who::Service, &["kmip", "locate"]);
    let (said, complaint) = told(&output);
    assert!(output.status.success(), "{complaint}");
    said
}

#[test]
fn every_known_client_finds_at_an_edge_what_it_needs_and_leaves_nothing_behind() {
    let appliance = Appliance::with_edges(1);
    let before = objects(&appliance);
    for client in CLIENTS {
        let output = doctor(&appliance, client, &["--json"]);
        let (said, complaint) = told(&output);
        let replay: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{client}: {error}: {said}{complaint}"));
        assert_eq!((&replay["client"], &replay["left"]), (&client.into(), &serde_json::json!([])), "{said}");
        let steps = replay["steps"].as_array().expect("a list");
        let not_good: Vec<_> = steps.iter().filter(|step| step["verdict"] != "good").collect();
        assert!(not_good.is_empty() && !steps.is_empty(), "{client}: {not_good:#?}");
        assert_eq!(output.status.code(), Some(0), "{client}: {complaint}");
    }
    assert_eq!(objects(&appliance), before, "the replays have left objects");
    drop(appliance.stop());
}

/// Each was told of a broken connection, and to look into logs.
#[test]
fn whoever_gives_the_address_of_the_other_port_is_told_so() {
    let appliance = Appliance::with_edges(1);
    let https = appliance.value("HTTPS_EDGE");
    let asked: [(&[&str], &str); 3] = [
        (&["--client", "vast"], "this client uses HTTPS: give --server the HTTPS address"),
        (&["--client", "mongodb", "--server", &https], "give --server the address of the KMIP port"),
        (&["--client", "veeam", "--server", &https], "give --server the address of the KMIP port"),
    ];
    for (arguments, expected) in asked {
        let output = appliance.cli_at("edge", Who::Service, &[&["doctor"][..], arguments].concat());
        let (said, complaint) = told(&output);
        assert!(said.is_empty() && complaint.contains(expected), "{arguments:?}: {said}{complaint}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    drop(appliance.stop());
}

#[test]
fn for_people_each_step_is_a_line() {
    let appliance = Appliance::with_edges(1);
    let (said, complaint) = told(&doctor(&appliance, "pg_tde", &[]));
    assert_eq!(complaint, "");
    let starts = [
        "pg_tde (Percona pg_tde",
        "ok    Locate    1.0  ",
        "ok    Register  1.0  ",
        "ok    Locate    1.0  ",
        "ok    Get       1.0  ",
        "ok    Get       1.0  ",
    ];
    assert_eq!(said.lines().count(), starts.len(), "{said}");
    for (line, start) in said.lines().zip(starts) {
        assert!(line.starts_with(start), "{line} does not begin with {start}");
    }
    assert!(said.ends_with(": Item Not Found\n"), "{said}");
    drop(appliance.stop());
}

/// A core keeps nothing for services, and says so: nothing is done there by half.
#[test]
fn a_server_that_refuses_is_quoted_and_the_rest_is_not_sent() {
    let appliance = Appliance::start();
    let output = appliance.cli(Who::Service, &["doctor", "--client", "mongodb"]);
    let (said, complaint) = told(&output);
    assert_eq!(output.status.code(), Some(1), "{said}{complaint}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[1].starts_with("FAIL  Register  1.0  ") && lines[1].contains(": Permission Denied: "), "{said}");
    assert!(lines[2].trim_start().starts_with("no master key can be made: "), "{said}");
    assert!(lines[3].starts_with("-     Activate  1.0  ") && lines[3].contains("not sent"), "{said}");
    assert!(complaint.contains("steps of mongodb would fail: Register, Create"), "{complaint}");
    let unknown = appliance.cli(Who::Service, &["doctor", "--client", "nobody"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(told(&unknown).1.contains("mysql-keyring"), "the names are told");
    let nobody = appliance.cli(Who::Service, &["doctor", "--client", "ceph", "--server", "127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(3), "{}", told(&nobody).1);
    drop(appliance.stop());
}

/// A server that is not ours, with three faults: it says too much in its answer to Register, moves no name, and destroys nothing.
#[test]
fn another_vendors_faults_are_found_and_what_stays_there_is_listed() {
    let appliance = Appliance::start();
    let pki = appliance.dir().join("pki");
    let config = https::server(&pki.join("server.pem"), &pki.join("server.key"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let served = std::thread::spawn(move || {
        let (socket, _) = listener.accept().expect("the doctor comes");
        let connection = ServerConnection::new(config).expect("the configuration is good");
        answer_badly(&mut StreamOwned::new(connection, socket));
    });
    let server = format!("localhost:{}", address.rsplit_once(':').expect("HOST:PORT").1);
    let output = appliance.cli(Who::Service, &["doctor", "--client", "pg_tde", "--json", "--server", &server]);
    let (said, complaint) = told(&output);
    assert_eq!(output.status.code(), Some(1), "{said}{complaint}");
    let replay: Value = serde_json::from_str(&said).expect("JSON");
    let found: Vec<(&str, &str)> = replay["steps"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|step| (step["verdict"].as_str().expect("text"), step["came_back"].as_str().expect("text")))
        .collect();
    assert_eq!(found[0], ("good", "done"));
    assert_eq!(found[1].0, "bad");
    assert!(found[1].1.contains("Object Type does not belong there"), "{found:?}");
    assert_eq!(found[3], ("bad", "Operation Not Supported: not here"));
    assert_eq!(replay["left"], serde_json::json!(["theirs-1"]));
    assert!(complaint.contains("remove what could not be destroyed: theirs-1"), "{complaint}");
    served.join().expect("it has answered everything");
    drop(appliance.stop());
}

/// Answers each message until the other side is gone.
fn answer_badly(stream: &mut (impl Read + Write)) {
    let mut head = [0; 8];
    while stream.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes(head[4..].try_into().expect("four bytes"));
        let mut message = head.to_vec();
        message.resize(8 + usize::try_from(length).expect("short"), 0);
        stream.read_exact(&mut message[8..]).expect("a whole message");
        let request = Request::decode(&message).expect("the doctor sends messages");
        let operation = request.message.items[0].operation.0;
        let result = match Operation::of(operation) {
            Some(Operation::Locate) => "ResultStatus=#0 ResponsePayload{}".to_owned(),
            Some(Operation::Register) => "ResultStatus=#0 ResponsePayload{ObjectType=#2 UniqueIdentifier=\"theirs-1\"}".to_owned(),
            _ => "ResultStatus=#1 ResultReason=#5 ResultMessage=\"not here\"".to_owned(),
        };
        let version = "ProtocolVersion{ProtocolVersionMajor=1 ProtocolVersionMinor=0}";
        let answer = format!(
            "ResponseMessage{{ResponseHeader{{{version} TimeStamp=@0 BatchCount=1}} BatchItem{{Operation=#{operation:X} {result}}}}}"
        );
        stream.write_all(&notation::encode(&answer, &Bindings::new()).expect("it is right")).expect("the doctor reads");
        stream.flush().expect("the doctor reads");
    }
}
