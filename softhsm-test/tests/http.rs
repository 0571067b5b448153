//! A real core over HTTP: health and metrics, KMIP over HTTPS, and the admin interface by role.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use daemon::kmip_client::KmipError;
use keys::id::RowId;
use keys::policy::Action;
use keys::port::Clock;
use keys::record::Outcome;
use kmip::{Batch, GetAttributesRequest, ProtocolVersion, ResultReason};
use serde_json::Value;
use softhsm_test::https::{Reply, connect, post, reply, send};
use softhsm_test::{Appliance, Core, Who, requests, wait_for};

/// A KMIP message that asks for the attributes of a key.
fn message(id: &str) -> (kmip::Sent, kmip::Slot<GetAttributesRequest<'_>>) {
    let mut batch = Batch::new(ProtocolVersion::V1_4);
    let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: Vec::new() };
    let slot = batch.push(&request).expect("a small request");
    (batch.finish(), slot)
}

fn health(address: &str, path: &str) -> Reply {
    let mut socket = TcpStream::connect(address.strip_prefix("http://").expect("an address")).expect("the core listens");
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("the core reads");
    reply(&mut socket).expect("an answer")
}

/// The value of one series.
fn metric(appliance: &Appliance, series: &str) -> f64 {
    let page = health(&appliance.value("HEALTH_CORE"), "/metrics");
    let line = page.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).unwrap_or("0").to_owned();
    line.parse().expect("a number")
}

/// How many records the verified log has.
fn verified_records(appliance: &Appliance) -> u64 {
    let said = appliance.cli(Who::Operator, &["--json", "audit", "verify"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let report: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    report["records"].as_u64().expect("a number")
}

#[test]
fn a_message_over_https_is_answered_like_one_over_tls() {
    let appliance = Appliance::start();
    let id = appliance.value("L3_ID");
    let mut stream = connect(&appliance, "HTTPS_CORE", "CLIENT");
    let (sent, slot) = message(&id);
    for _ in 0..2 {
        let reply = send(&mut stream, &post(sent.bytes.len(), ""), &sent.bytes).expect("an answer");
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.head.contains("content-type: application/octet-stream") && reply.head.contains("cache-control: no-cache, no-store"));
        let answers = sent.answers(&reply.body).expect("a KMIP answer");
        assert_eq!(answers.get(&slot).expect("a success").unique_identifier, id);
    }
    let chunked = "POST /kmip HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (first, rest) = sent.bytes.split_at(20);
    let body = [b"14\r\n", first, b"\r\n", format!("{:x}\r\n", rest.len()).as_bytes(), rest, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(send(&mut stream, chunked, &body).expect("an answer").status, 200);
    let series = "strongroom_requests_total{protocol=\"https\",operation=\"get_attributes\",outcome=\"success\"}";
    assert!((metric(&appliance, series) - 3.0).abs() < 0.5, "{series}");
}

#[test]
fn a_kmip_failure_is_http_200_also_for_a_stranger_and_for_rubbish() {
    let appliance = Appliance::start();
    let before = verified_records(&appliance);
    let id = appliance.value("L3_ID");
    let (sent, slot) = message(&id);
    let mut stream = connect(&appliance, "HTTPS_CORE", "CLIENT2");
    let reply = send(&mut stream, &post(sent.bytes.len(), ""), &sent.bytes).expect("an answer");
    assert_eq!(reply.status, 200, "{reply:?}");
    let refused = sent.answers(&reply.body).expect("a KMIP answer").get(&slot).err();
    assert!(matches!(refused, Some(kmip::Error::Refused { reason: Some(ResultReason::ItemNotFound), .. })), "{refused:?}");
    for rubbish in [&b""[..], b"rubbish", &[0; 64], &[sent.bytes.clone(), sent.bytes.clone()].concat(), &sent.bytes[..40]] {
        let reply = send(&mut stream, &post(rubbish.len(), ""), rubbish).expect("an answer");
        assert_eq!(reply.status, 200, "{rubbish:?}");
        assert!(reply.body.starts_with(&[0x42, 0x00, 0x7B, 0x01]), "{rubbish:?}: {reply:?}");
    }
    assert!(verified_records(&appliance) >= before + 6, "each of the six is in the log");
}

/// A request of so many bytes in an encoding.
fn post_as(kind: &str, bytes: usize) -> String {
    format!("POST /kmip HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {bytes}\r\n\r\n")
}

/// Each encoding of text, by its media type, with what reads and writes it.
type Encoded = (&'static str, fn(&[u8]) -> Vec<u8>, fn(&[u8]) -> Vec<u8>);
const TEXTS: [Encoded; 3] = [("text/xml", to_xml, of_xml), ("application/xml", to_xml, of_xml), ("application/json", to_json, of_json)];

fn to_xml(ttlv: &[u8]) -> Vec<u8> {
    kmip::xml::write(ttlv).expect("a message")
}

fn of_xml(text: &[u8]) -> Vec<u8> {
    kmip::xml::read(text, kmip::MESSAGE_BYTES_MAX).expect("a message")
}

fn to_json(ttlv: &[u8]) -> Vec<u8> {
    kmip::json::write(ttlv).expect("a message")
}

fn of_json(text: &[u8]) -> Vec<u8> {
    kmip::json::read(text, kmip::MESSAGE_BYTES_MAX).expect("a message")
}

#[test]
fn a_message_in_xml_or_json_is_answered_in_kind_by_core_and_edge() {
    let appliance = Appliance::with_edges(1);
    let id = appliance.value("L3_ID");
    for listener in ["HTTPS_CORE", "HTTPS_EDGE"] {
        let mut stream = connect(&appliance, listener, "CLIENT");
        for (kind, write, read) in TEXTS {
            let (sent, slot) = message(&id);
            let text = write(&sent.bytes);
            let reply = send(&mut stream, &post_as(&format!("{kind}; charset=utf-8"), text.len()), &text).expect("an answer");
            assert_eq!(reply.status, 200, "{reply:?}");
            assert!(reply.head.contains(&format!("content-type: {kind}\r\n")), "{reply:?}");
            assert!(reply.head.contains("cache-control: no-cache") && reply.head.contains("content-length: "), "{reply:?}");
            let answer = read(&reply.body);
            assert_eq!(sent.answers(&answer).expect("a KMIP answer").get(&slot).expect("a success").unique_identifier, id);
        }
    }
}

#[test]
fn a_text_that_is_no_message_is_answered_in_kind_and_recorded() {
    let appliance = Appliance::start();
    let before = verified_records(&appliance);
    let mut stream = connect(&appliance, "HTTPS_CORE", "CLIENT");
    let mut sent = 0;
    for (kind, _, read) in TEXTS {
        for text in ["", "rubbish", "<RequestMessage><Rubbish/>", "<!DOCTYPE a><RequestMessage/>", "{\"tag\":\"Rubbish\"}", "<Name/>"] {
            let reply = send(&mut stream, &post_as(kind, text.len()), text.as_bytes()).expect("an answer");
            assert_eq!(reply.status, 200, "{text}: {reply:?}");
            let answer = read(&reply.body);
            let answer = kmip::ResponseMessage::read(&answer).expect("a legal answer");
            assert_eq!(answer.items[0].result_reason, Some(ResultReason::InvalidMessage), "{text}: {answer:?}");
            assert!(text != "{\"tag\":\"Rubbish\"}" || kind.ends_with("xml") || reply.text().contains("no field"), "{reply:?}");
            sent += 1;
        }
        // Longer than any text of a message may be.
        let limit = 4 * (1 << 20) + (64 << 10);
        let mut stream = connect(&appliance, "HTTPS_CORE", "CLIENT");
        send(&mut stream, &post_as(kind, limit + 1), b"").expect("an answer").refused(413);
    }
    assert!(verified_records(&appliance) >= before + sent, "each of them is in the log");
}

#[test]
fn what_is_no_message_is_refused_in_the_words_of_http() {
    let appliance = Appliance::start();
    let head = |line: &str, more: &str| format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{more}\r\n");
    let mut stream = connect(&appliance, "HTTPS_CORE", "CLIENT");
    for (line, more, status) in [
        ("POST /", "", 404),
        ("GET /api/v1/status", "", 404),
        ("GET /kmip", "", 405),
        ("DELETE /kmip", "", 405),
        ("POST /kmip", "", 415),
        ("POST /kmip", "Content-Type: text/plain\r\n", 415),
        ("POST /kmip", "Content-Type: text/xml\r\nContent-Encoding: gzip\r\n", 415),
    ] {
        let reply = send(&mut stream, &head(line, more), b"").expect("an answer");
        reply.refused(status);
        assert_eq!(reply.head.contains("allow: post"), status == 405, "{reply:?}");
    }
    // Announced beyond the limit: refused before a byte of it is sent.
    send(&mut stream, &post((1 << 20) + 1, "Expect: 100-continue\r\n"), b"").expect("an answer").refused(413);
    assert!(reply(&mut stream).is_none(), "what follows is not read as a request");
}

#[test]
fn who_speaks_for_another_without_being_an_edge_is_refused_and_recorded() {
    let appliance = Appliance::start();
    let id = appliance.value("L3_ID");
    let (sent, _slot) = message(&id);
    let before = verified_records(&appliance);
    for header in [
        "Client-Cert: :AAAA:\r\n",
        "client-cert-chain: :AAAA:\r\n",
        "Strongroom-Delegation: v=1;kid=1;seq=1;sig=:AA:\r\n",
        "Client-Cert: :AAAA:\r\nClient-Cert: :BBBB:\r\n",
        "Client-Cert: :AAAA:\r\n :BBBB:\r\n",
        "Host: other\r\n",
    ] {
        let mut stream = connect(&appliance, "HTTPS_CORE", "CLIENT");
        let reply = send(&mut stream, &post(sent.bytes.len(), header), &sent.bytes).expect("an answer");
        assert_eq!(reply.status, 400, "{header:?}: {reply:?}");
        assert!(softhsm_test::https::reply(&mut stream).is_none(), "{header:?}: the connection goes on");
    }
    assert!(verified_records(&appliance) >= before + 5, "each attempt is in the log");
}

#[test]
fn the_admin_listener_refuses_and_records_who_speaks_for_another() {
    let appliance = Appliance::start();
    let before = verified_records(&appliance);
    for header in ["Client-Cert: :AAAA:\r\n", "client-cert-chain: :AAAA:\r\n", "Strongroom-Delegation: v=1\r\n", "Host: other\r\n"] {
        let mut stream = connect(&appliance, "ADMIN_CORE", "OPERATOR");
        let request = format!("GET /api/v1/status HTTP/1.1\r\nHost: h\r\n{header}\r\n");
        assert_eq!(send(&mut stream, &request, b"").expect("an answer").status, 400, "{header:?}");
        assert!(reply(&mut stream).is_none(), "{header:?}: the connection goes on");
    }
    // Each has a session and a record.
    assert!(verified_records(&appliance) >= before + 4, "each attempt is in the log");
}

#[test]
fn each_role_may_do_on_the_admin_listener_what_the_policy_table_says() {
    let appliance = Appliance::start();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let post = |path: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let delete = |path: &str| format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let roles = ["OPERATOR", "AUDITOR", "TENANT_ADMIN", "CUSTODIAN1", "CLIENT"];
    let (own, theirs) = (format!("/api/v1/keys/{}", appliance.value("L3_ID")), format!("/api/v1/keys/{}", appliance.value("L3_ID2")));
    let l2 = send(&mut connect(&appliance, "ADMIN_CORE", "OPERATOR"), &get("/api/v1/tenants/acme"), b"").expect("an answer").json();
    let l2 = format!("/api/v1/keys/{}", l2["key"].as_str().expect("an identifier"));
    let l21 = format!("/api/v1/keys/{}", l21_of(&appliance, "acme"));
    let superseded = "{\"reason\":\"Superseded\"}";
    let found = r#"{"operation":"ivk-destroy","version":1,"found":{"status":"retired","algorithm":"","created":"","keys":0,"shreds":9}}"#;
    let cells: [(String, [u16; 5]); 81] = [
        (get("/api/v1/status"), [200, 200, 403, 403, 403]),
        (get("/api/v1/slots"), [200, 200, 403, 403, 403]),
        (post("/api/v1/slots", "{\"custodian\":\"nobody\"}"), [400, 403, 403, 403, 403]),
        (delete("/api/v1/slots/none"), [404, 403, 403, 403, 403]),
        (delete("/api/v1/slots/softhsm"), [409, 403, 403, 403, 403]),
        (get("/api/v1/kek/status"), [200, 200, 403, 403, 403]),
        (post("/api/v1/kek/rotate", "{\"algorithm\":\"ROT13\"}"), [400, 403, 403, 403, 403]),
        (post("/api/v1/kek/generate", "{\"algorithm\":\"ROT13\"}"), [400, 403, 403, 403, 403]),
        (get("/api/v1/kek/schedule"), [200, 200, 403, 403, 403]),
        (post("/api/v1/kek/versions/1/retire", ""), [409, 403, 403, 403, 403]),
        (post("/api/v1/kek/versions/1/destroy", ""), [409, 403, 403, 403, 403]),
        (post("/api/v1/kek/versions/x/destroy", ""), [404, 403, 403, 403, 403]),
        // Nobody says in the node's place what it has found.
        (post("/api/v1/ceremonies", found), [400, 403, 403, 400, 403]),
        (get("/api/v1/keystores"), [200, 200, 403, 403, 403]),
        (get("/api/v1/keystores/health"), [200, 200, 403, 403, 403]),
        (get("/api/v1/keystores/migration"), [200, 200, 403, 403, 403]),
        (post("/api/v1/keystores/migration", "{\"from\":\"embedded\",\"to\":\"main\"}"), [404, 403, 403, 403, 403]),
        (post("/api/v1/keystores/migration/abort", ""), [409, 403, 403, 403, 403]),
        (get("/api/v1/kek/reencryption"), [200, 200, 403, 403, 403]),
        (post("/api/v1/kek/reencryption/pause", ""), [200, 403, 403, 403, 403]),
        (post("/api/v1/kek/reencryption/resume", ""), [200, 403, 403, 403, 403]),
        (post("/api/v1/kek/reencryption/start", ""), [200, 403, 403, 403, 403]),
        (get("/api/v1/reports/rotation"), [200, 200, 403, 403, 403]),
        (get("/api/v1/reports/rotation?tenant=globex&limit=1"), [200, 200, 403, 403, 403]),
        (get("/api/v1/reports/rotation?tenant=nobody"), [404, 404, 403, 403, 403]),
        (get("/api/v1/reports/rotation?limit=1001"), [400, 400, 403, 403, 403]),
        (get("/api/v1/reports/rotation?after=L3-1"), [400, 400, 403, 403, 403]),
        (get("/api/v1/tenants"), [200, 200, 200, 403, 403]),
        (get("/api/v1/tenants/acme"), [200, 200, 200, 403, 403]),
        (get("/api/v1/tenants/globex"), [200, 200, 404, 403, 403]),
        (get("/api/v1/tenants/nobody"), [404, 404, 404, 403, 403]),
        (get("/api/v1/tenants/acme/services"), [200, 200, 200, 403, 403]),
        (get("/api/v1/tenants/globex/services"), [200, 200, 404, 403, 403]),
        (post("/api/v1/tenants", "{\"name\":\"Not A Name\"}"), [400, 403, 403, 403, 403]),
        (post("/api/v1/tenants/nobody/disable", "{\"off_board\":true}"), [404, 403, 403, 403, 403]),
        (post("/api/v1/tenants/acme/services", "{\"name\":\"billing\"}"), [409, 403, 403, 403, 403]),
        (post("/api/v1/tenants/acme/services", "{\"name\":\"new\",\"resource\":\"Not A Name\"}"), [400, 403, 403, 403, 403]),
        (post("/api/v1/tenants/acme/services/nobody/deployed", ""), [404, 403, 404, 403, 403]),
        (post("/api/v1/tenants/globex/services/billing/deployed", ""), [200, 403, 404, 403, 403]),
        (post("/api/v1/kek/rotate", "{\"rekey_dependents\":true}"), [400, 403, 403, 403, 403]),
        (get("/api/v1/openapi.json"), [200, 200, 200, 403, 403]),
        (get("/api/v1/nothing"), [404, 404, 404, 404, 404]),
        (get("/api/v1/keys"), [200, 200, 200, 403, 403]),
        (get("/api/v1/keys?tenant=acme&service=billing&layer=L3&state=active&limit=1000"), [200, 200, 200, 403, 403]),
        (get("/api/v1/keys?tenant=globex"), [200, 200, 404, 403, 403]),
        (get("/api/v1/keys?tenant=nobody"), [404, 404, 404, 403, 403]),
        (get("/api/v1/keys?service=billing"), [400, 400, 200, 403, 403]),
        (get("/api/v1/keys?tenant=acme&service=nobody"), [404, 404, 404, 403, 403]),
        (get("/api/v1/keys?layer=L4"), [400, 400, 400, 403, 403]),
        (get("/api/v1/keys?limit=0"), [400, 400, 400, 403, 403]),
        (get("/api/v1/keys?before=x"), [400, 400, 400, 403, 403]),
        (get(&own), [200, 200, 200, 403, 403]),
        (get(&l2), [200, 200, 200, 403, 403]),
        (get(&theirs), [200, 200, 404, 403, 403]),
        (get("/api/v1/keys/nothing"), [404, 404, 404, 403, 403]),
        (post(&format!("{theirs}/rotate"), ""), [403, 403, 404, 403, 403]),
        // What is Active is not archived.
        (post(&format!("{l2}/retire"), ""), [403, 403, 409, 403, 403]),
        (post(&format!("{l2}/rotate"), ""), [403, 403, 201, 403, 403]),
        (post(&format!("{theirs}/revoke"), superseded), [403, 403, 404, 403, 403]),
        // A service's default key is not revoked by anybody.
        (post(&format!("{own}/revoke"), superseded), [403, 403, 403, 403, 403]),
        (post(&format!("{own}/revoke"), "{\"reason\":\"Boredom\"}"), [403, 403, 400, 403, 403]),
        // Neither is the Active version of what wraps others, and one that is demoted, as this one just was, can only be compromised.
        (post(&format!("{l2}/revoke"), superseded), [403, 403, 409, 403, 403]),
        (post(&format!("{l21}/revoke"), superseded), [403, 403, 403, 403, 403]),
        (post(&format!("{l21}/rollback"), ""), [403, 403, 409, 403, 403]),
        (post(&format!("{l21}/rotate"), ""), [403, 403, 201, 403, 403]),
        (post(&format!("{l21}/rollback"), ""), [403, 403, 200, 403, 403]),
        (post(&format!("{own}/rollback"), ""), [403, 403, 409, 403, 403]),
        (post(&format!("{theirs}/rollback"), ""), [403, 403, 404, 403, 403]),
        (post("/api/v1/edges/nobody/give-up", "{\"key\":\"ab\"}"), [400, 403, 403, 403, 403]),
        (post("/api/v1/edges/nobody/give-up", &format!("{{\"key\":\"{}\"}}", "ab".repeat(32))), [404, 403, 403, 403, 403]),
        (post(&format!("{theirs}/retire"), ""), [403, 403, 404, 403, 403]),
        // It is Active.
        (post(&format!("{own}/retire"), ""), [403, 403, 409, 403, 403]),
        (post("/api/v1/keys/nothing/retire", ""), [403, 403, 404, 403, 403]),
        // They are Active.
        (post(&format!("{own}/destroy"), ""), [403, 403, 409, 403, 403]),
        (post(&format!("{l21}/destroy"), ""), [403, 403, 409, 403, 403]),
        (post(&format!("{theirs}/destroy"), ""), [403, 403, 404, 403, 403]),
        (post("/api/v1/keys/nothing/destroy", ""), [403, 403, 404, 403, 403]),
        // It was replaced above, and is not archived yet.
        (post(&format!("{l2}/destroy"), ""), [403, 403, 409, 403, 403]),
        // It opens.
        (post(&format!("{own}/repair"), ""), [409, 403, 403, 403, 403]),
        (post(&format!("{theirs}/repair"), "{\"dry_run\":true}"), [409, 409, 403, 403, 403]),
        (post("/api/v1/keys/nothing/repair", ""), [404, 403, 403, 403, 403]),
    ];
    for (place, role) in roles.into_iter().enumerate() {
        let mut stream = connect(&appliance, "ADMIN_CORE", role);
        for (request, wanted) in &cells {
            let before = verified_records(&appliance);
            let reply = send(&mut stream, request, b"").expect("an answer");
            let line = request.lines().next().expect("a first line");
            assert_eq!(reply.status, wanted[place], "{role} {line}: {reply:?}");
            if reply.status >= 400 {
                reply.refused(wanted[place]);
            }
            assert!(verified_records(&appliance) > before, "{role} {line} left no record");
        }
        for verb in ["seal", "unseal"] {
            if role != "OPERATOR" {
                send(&mut stream, &post(&format!("/api/v1/{verb}"), ""), b"").expect("an answer").refused(403);
            }
        }
    }
    let own = send(&mut connect(&appliance, "ADMIN_CORE", "TENANT_ADMIN"), &get("/api/v1/tenants"), b"").expect("an answer").json();
    assert_eq!(
        own.as_array().map(|tenants| tenants.iter().map(|tenant| tenant["name"].clone()).collect()),
        Some(vec![Value::from("acme")])
    );
    let denied = "strongroom_requests_total{protocol=\"admin\",operation=\"seal\",outcome=\"denied\"}";
    assert!((metric(&appliance, denied) - 4.0).abs() < 0.5, "{denied}");
}

/// A request of the admin interface, with a body if it is a POST.
fn admin(appliance: &Appliance, who: &str, line: &str, body: &str) -> Reply {
    let head = format!("{line} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    send(&mut connect(appliance, "ADMIN_CORE", who), &head, body.as_bytes()).expect("an answer")
}

/// A new L2.1 of a tenant.
fn l21_of(appliance: &Appliance, tenant: &str) -> String {
    let services = format!("POST /api/v1/tenants/{tenant}/services");
    assert_eq!(admin(appliance, "OPERATOR", &services, "{\"name\":\"ledger\",\"resource\":\"ledger\"}").status, 201);
    let shown = admin(appliance, "OPERATOR", &format!("GET /api/v1/tenants/{tenant}"), "").json();
    shown["resources"][0]["key"].as_str().expect("an identifier").to_owned()
}

#[test]
fn who_calls_the_admin_listener_too_often_is_told_when_to_come_again_and_the_socket_is_not() {
    let mut core = Core::prepared();
    let config = std::fs::read_to_string(core.config()).expect("dev has written it");
    std::fs::write(core.config(), config + "\nadmin:\n  calls_per_second: 1\n").expect("the file is ours");
    core.start();
    let call = |who: &str| {
        let value = |name: &str| core.value(name);
        let (cert, key) = (value(&format!("{who}_CERT")), value(&format!("{who}_KEY")));
        core.cli(&["status", "--admin", &value("ADMIN_CORE"), "--admin-ca", &value("CA_CERT"), "--admin-cert", &cert, "--admin-key", &key])
    };
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let refused = (0..20).map(|_| call("OPERATOR")).find(|output| !output.status.success());
    let refused = said(&refused.expect("one of twenty calls at once is too many"));
    assert!(refused.contains("`admin.calls_per_second`") && refused.contains("come again in"), "{refused}");
    assert!(call("AUDITOR").status.success(), "another client is served");
    for _ in 0..20 {
        let _status = core.ask(&["status"]);
    }
    let _sealed = core.ask(&["seal"]);
    assert_eq!(core.standing().split(':').next(), Some("sealed"));
    assert!(wait_for(|| call("OPERATOR").status.code() == Some(3)), "it is told that the node is sealed, once it may call again");
    let series = "strongroom_requests_total{protocol=\"admin\",operation=\"limit_calls\",outcome=\"denied\"}";
    assert!(core.metrics().contains(series), "{series}");
}

#[test]
fn another_tenants_key_is_answered_like_none_byte_for_byte() {
    let appliance = Appliance::start();
    let none = ["L3-01890a5d-ac96-774b-bcce-b302099a8057", "L21-01890a5d-ac96-774b-bcce-b302099a8057", "L3-", "rubbish"].map(str::to_owned);
    let names = [&[appliance.value("L3_ID2"), l21_of(&appliance, "globex")][..], &none].concat();
    for (method, verb, body) in [
        ("GET", "", ""),
        ("POST", "/rotate", ""),
        ("POST", "/rollback", ""),
        ("POST", "/destroy", ""),
        ("POST", "/revoke", "{\"reason\":\"Key Compromise\"}"),
        ("POST", "/revoke", "{}"),
    ] {
        let answer = |name: &String| {
            let reply = admin(&appliance, "TENANT_ADMIN", &format!("{method} /api/v1/keys/{name}{verb}"), body);
            let head: Vec<String> = reply.head.lines().filter(|line| !line.starts_with("date: ")).map(str::to_owned).collect();
            (reply.status, head, reply.body)
        };
        let answers: Vec<_> = names.iter().map(answer).collect();
        assert_eq!(answers[0].0, if body == "{}" { 400 } else { 404 }, "{answers:?}");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
}

/// Does a record of the log say that this was done to that version of a key, which then had that generation? As `audit/src/record.rs` has the bytes.
fn is_in_the_log(appliance: &Appliance, action: Action, id: &str, (version, generation): (u32, u64)) -> bool {
    let id = id.parse::<RowId>().expect("an identifier").to_bytes();
    let action = (action as u16).to_be_bytes();
    let id = [&action[..], &[7], &id, &version.to_be_bytes(), &generation.to_be_bytes(), &[Outcome::Success as u8]].concat();
    let logs = appliance.data_files().into_iter().filter(|path| path.parent().is_some_and(|folder| folder.ends_with("audit")));
    logs.filter_map(|path| std::fs::read(path).ok()).any(|log| log.windows(id.len()).any(|window| window == id))
}

#[test]
fn a_key_rotated_and_revoked_by_rest_is_so_for_kmip() {
    let appliance = Appliance::start();
    let old = appliance.value("L3_ID");
    let mut service = appliance.connect(Who::Service);
    let sealed = requests::encrypt(&mut service, &old, b"before".to_vec()).expect("the default key is Active");
    let rotate = |id: &str| admin(&appliance, "TENANT_ADMIN", &format!("POST /api/v1/keys/{id}/rotate"), "");
    let revoke = |id: &str, reason: &str| {
        admin(
            &appliance,
            "TENANT_ADMIN",
            &format!("POST /api/v1/keys/{id}/revoke"),
            &format!("{{\"reason\":\"{reason}\",\"message\":\"m\"}}"),
        )
    };
    let made = rotate(&old);
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let new = made["id"].as_str().expect("an identifier").to_owned();
    assert_ne!(new, old);
    assert_eq!((&made["version"], &made["state"], &made["service"]), (&Value::from(2), &Value::from("active"), &Value::from("billing")));

    let services = admin(&appliance, "AUDITOR", "GET /api/v1/tenants/acme/services", "").json();
    assert_eq!(services[0]["default_key"], new, "the service's default has moved");
    let fresh = requests::encrypt(&mut service, &new, b"after".to_vec()).expect("the new version is Active");
    assert_eq!(requests::decrypt(&mut service, &fresh).expect("it is its own"), b"after");
    assert_eq!(requests::decrypt(&mut service, &sealed).expect("the old version decrypts"), b"before");
    let refused = requests::encrypt(&mut service, &old, b"after".to_vec()).expect_err("the old version does not encrypt");
    assert!(matches!(&refused, KmipError::Kmip(kmip::Error::Refused { reason: Some(ResultReason::PermissionDenied), .. })), "{refused:?}");

    let again = rotate(&old);
    again.refused(409);
    assert!(again.text().contains(&new), "it does not say which key to rotate: {again:?}");
    revoke(&old, "Superseded").refused(409);
    let default = revoke(&new, "Key Compromise");
    default.refused(403);
    assert!(default.text().contains("ReKey first"), "{default:?}");
    let revoked = revoke(&old, "Key Compromise");
    assert_eq!((revoked.status, &revoked.json()["state"]), (200, &Value::from("compromised")), "{revoked:?}");
    assert!(requests::decrypt(&mut service, &sealed).is_err(), "a compromised key decrypts");
    revoke(&old, "CA Compromise").refused(409);

    let page = |who: &str, query: &str| admin(&appliance, who, &format!("GET /api/v1/keys?tenant=acme{query}"), "").json();
    for (who, sees_names) in [("TENANT_ADMIN", true), ("OPERATOR", false), ("AUDITOR", false)] {
        let keys = page(who, "")["keys"].as_array().expect("a list").clone();
        assert_eq!(keys.iter().map(|key| &key["id"]).collect::<Vec<_>>(), [&new, &old], "{who}");
        assert!(keys.iter().all(|key| key["names"].is_array() == sees_names), "{who}: {keys:?}");
        assert!(keys.iter().all(|key| key["wrapped_by"]["id"].as_str().is_some_and(|id| id.starts_with("L2-"))), "{who}: {keys:?}");
        let shown = admin(&appliance, who, &format!("GET /api/v1/keys/{old}"), "").json();
        assert_eq!(shown, keys[1], "{who}");
        assert_eq!(page(who, "&state=compromised")["keys"], Value::from(vec![shown]), "{who}");
    }
    let first = page("AUDITOR", "&limit=1");
    assert_eq!((&first["keys"][0]["id"], &first["next"]), (&Value::from(new.as_str()), &Value::from(new.as_str())));
    assert_eq!(page("AUDITOR", &format!("&limit=1&before={new}"))["keys"][0]["id"], old);
    let l2 = page("AUDITOR", "&layer=L2")["keys"].as_array().expect("a list").clone();
    assert_eq!((l2.len(), &l2[0]["wrapped_by"]), (1, &serde_json::json!({"version": 1})));

    for (action, id, version_and_generation) in
        [(Action::ReKey, &new, (2, 1)), (Action::Revoke, &old, (1, 3)), (Action::ListKeys, &old, (1, 3))]
    {
        assert!(wait_for(|| is_in_the_log(&appliance, action, id, version_and_generation)), "no record of {action:?} names {id}");
    }
    verified_records(&appliance);
    for series in [
        "strongroom_requests_total{protocol=\"admin\",operation=\"re_key\",outcome=\"success\"}",
        "strongroom_requests_total{protocol=\"admin\",operation=\"revoke\",outcome=\"success\"}",
    ] {
        assert!((metric(&appliance, series) - 1.0).abs() < 0.5, "{series}");
    }
}

#[test]
fn keys_on_the_command_line_are_a_tenant_admins_to_change() {
    let appliance = Appliance::start();
    let id = appliance.value("L3_ID");
    let remote = |arguments: &[&str]| {
        let [admin, ca, cert, key] = ["ADMIN_CORE", "CA_CERT", "TENANT_ADMIN_CERT", "TENANT_ADMIN_KEY"].map(|name| appliance.value(name));
        let options = ["--admin", &admin, "--admin-ca", &ca, "--admin-cert", &cert, "--admin-key", &key];
        appliance.cli(Who::Operator, &[arguments, &options].concat())
    };
    let local = |arguments: &[&str]| appliance.cli(Who::Operator, arguments);
    let shown = local(&["key", "show", &id]);
    assert!(shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains("state       active"), "{shown:?}");
    for command in [&["key", "rotate", &id][..], &["key", "revoke", &id, "--reason", "superseded"]] {
        let refused = local(command);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(told.contains("tenant-admin") && told.contains("--admin-cert"), "{told}");
    }
    let rotated = remote(&["--json", "key", "rotate", &id]);
    let new: Value = serde_json::from_slice(&rotated.stdout).unwrap_or_else(|error| panic!("{error}: {rotated:?}"));
    let revoked = remote(&["key", "revoke", &id, "--reason", "key-compromise", "--compromised-since", "2026-01-31T12:00:00Z"]);
    assert!(String::from_utf8_lossy(&revoked.stdout).contains("compromised"), "{revoked:?}");
    let listed = String::from_utf8_lossy(&local(&["key", "list", "--tenant", "acme", "--state", "active"]).stdout).into_owned();
    assert!(listed.contains(new["id"].as_str().expect("an identifier")) && !listed.contains(&id), "{listed}");
    for (command, code) in
        [(&["key", "show", "L3-1"][..], 1), (&["key", "list", "--tenant", "nobody"], 1), (&["key", "list", "--layer", "L9"], 2)]
    {
        assert_eq!(local(command).status.code(), Some(code), "{command:?}");
    }
}

#[test]
fn admin_requests_that_cannot_be_taken_are_refused_with_problem_details() {
    let appliance = Appliance::start();
    let mut stream = connect(&appliance, "ADMIN_CORE", "OPERATOR");
    let head = |line: &str, more: &str, bytes: usize| format!("{line} HTTP/1.1\r\nHost: h\r\nContent-Length: {bytes}\r\n{more}\r\n");
    const JSON: &str = "Content-Type: application/json\r\n";
    let deep = format!("{{\"name\":{}{}}}", "[".repeat(16), "]".repeat(16));
    for (line, more, body, status) in [
        ("DELETE /api/v1/tenants", "", "", 405),
        ("PUT /api/v1/status", "", "", 405),
        ("POST /api/v1/tenants", "Content-Type: text/plain\r\n", "{\"name\":\"x\"}", 415),
        ("POST /api/v1/tenants", "", "{\"name\":\"x\"}", 415),
        ("POST /api/v1/tenants", JSON, "{\"name\":", 400),
        ("POST /api/v1/tenants", JSON, "{\"name\":\"x\",\"more\":true}", 400),
        ("POST /api/v1/tenants", JSON, &deep, 400),
        ("POST /api/v1/unseal?retry_pin=maybe", "", "", 400),
        ("POST /api/v1/unseal", "", "1234", 400),
        ("GET /api/v1/tenants/%FF", "", "", 400),
        ("POST /api/v1/slots/none/verify", JSON, "{}", 404),
    ] {
        let reply = send(&mut stream, &head(line, more, body.len()), body.as_bytes()).expect("an answer");
        reply.refused(status);
        assert_eq!(reply.head.contains("allow: "), status == 405, "{reply:?}");
        // What came with a PIN does not stay in the buffers of a connection.
        let may_have_pin = line.starts_with("POST /api/v1/unseal");
        assert_eq!(reply.head.contains("connection: close"), may_have_pin, "{reply:?}");
        if may_have_pin {
            stream = connect(&appliance, "ADMIN_CORE", "OPERATOR");
        }
    }
    let long = " ".repeat(256 * 1024 + 1);
    send(&mut stream, &head("POST /api/v1/tenants", JSON, long.len()), b"").expect("an answer").refused(413);
}

#[test]
fn every_documented_operation_is_there_and_the_document_is_the_one_checked_in() {
    let appliance = Appliance::start();
    let ask = |line: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        send(&mut connect(&appliance, "ADMIN_CORE", "CLIENT"), &request, b"").expect("an answer").status
    };
    let request = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let document = send(&mut connect(&appliance, "ADMIN_CORE", "AUDITOR"), request, b"").expect("an answer").json();
    let printed: Value = serde_json::from_slice(&appliance.cli(Who::Operator, &["openapi", "--json"]).stdout).expect("JSON");
    assert_eq!(document, printed);
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{tenant}", "acme").replace("{slot}", "none").replace("{key}", "none");
        let operations = operations.as_object().expect("operations");
        for method in ["get", "post", "put", "delete", "patch"] {
            // A service may do nothing here, which is only said of what is there.
            let wanted = if operations.contains_key(method) { 403 } else { 405 };
            assert_eq!(ask(&format!("{} {path}", method.to_uppercase())), wanted, "{method} {path}");
        }
    }
}

#[test]
fn the_command_line_speaks_to_the_admin_listener_as_who_the_certificate_names() {
    let appliance = Appliance::start();
    let run = |who: &str, arguments: &[&str]| {
        let (admin, ca) = (appliance.value("ADMIN_CORE"), appliance.value("CA_CERT"));
        let (cert, key) = (appliance.value(&format!("{who}_CERT")), appliance.value(&format!("{who}_KEY")));
        let remote = ["--admin", &admin, "--admin-ca", &ca, "--admin-cert", &cert, "--admin-key", &key];
        appliance.cli(Who::Operator, &[arguments, &remote].concat())
    };
    for arguments in [&["status"][..], &["tenant", "list"], &["tenant", "create", "initech"], &["service", "create", "initech", "tps"]] {
        let said = run("OPERATOR", arguments);
        assert!(said.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
    }
    let services = String::from_utf8_lossy(&run("AUDITOR", &["service", "list", "initech"]).stdout).into_owned();
    assert!(services.contains("tps"), "{services}");
    let refused = run("AUDITOR", &["seal"]);
    assert_eq!(refused.status.code(), Some(1));
    let stranger = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| stranger.path().join(name).to_string_lossy().into_owned();
    let day = Duration::from_secs(86_400);
    let validity = daemon::certs::Validity::starting(daemon::system::SystemClock.now(), day).expect("it is possible");
    let (_, issued) = daemon::certs::Ca::create("a stranger", validity).expect("a CA");
    issued.write(std::path::Path::new(&file("c")), std::path::Path::new(&file("k"))).expect("the folder is ours");
    let admin = appliance.value("ADMIN_CORE");
    for (ca, cert, key) in
        [(file("c"), appliance.value("OPERATOR_CERT"), appliance.value("OPERATOR_KEY")), (appliance.value("CA_CERT"), file("c"), file("k"))]
    {
        let arguments = ["status", "--admin", &admin, "--admin-ca", &ca, "--admin-cert", &cert, "--admin-key", &key];
        let said = appliance.cli(Who::Operator, &arguments);
        let words = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.code() == Some(1) && words.contains("--admin-ca is the CA"), "{:?}: {words}", said.status);
    }
    assert!(String::from_utf8_lossy(&refused.stderr).contains("your role does not allow this"));
    let unknown = run("TENANT_ADMIN", &["tenant", "show", "initech"]);
    assert_eq!(unknown.status.code(), Some(1));
}

#[test]
fn a_sealed_node_is_alive_but_not_ready_and_says_so_in_each_protocol() {
    let appliance = Appliance::start();
    let address = appliance.value("HEALTH_CORE");
    assert_eq!((health(&address, "/healthz").status, health(&address, "/readyz").status), (200, 200));
    assert!((metric(&appliance, "strongroom_unsealed") - 1.0).abs() < 0.1);
    assert!((metric(&appliance, "strongroom_slots_good") - 1.0).abs() < 0.1);
    let request = "POST /api/v1/seal HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(send(&mut connect(&appliance, "ADMIN_CORE", "OPERATOR"), request, b"").expect("an answer").status, 200);
    assert_eq!(health(&address, "/healthz").status, 200);
    let ready = health(&address, "/readyz");
    assert_eq!((ready.status, ready.text()), (503, "sealed\n"));
    assert!(metric(&appliance, "strongroom_unsealed").abs() < 0.1);
    let id = appliance.value("L3_ID");
    let (sent, slot) = message(&id);
    let reply = send(&mut connect(&appliance, "HTTPS_CORE", "CLIENT"), &post(sent.bytes.len(), ""), &sent.bytes).expect("an answer");
    assert_eq!(reply.status, 200);
    let refused = sent.answers(&reply.body).expect("a KMIP answer").get(&slot).err();
    assert!(matches!(refused, Some(kmip::Error::Refused { reason: Some(ResultReason::GeneralFailure), .. })), "{refused:?}");
    let request = "GET /api/v1/tenants HTTP/1.1\r\nHost: localhost\r\n\r\n";
    send(&mut connect(&appliance, "ADMIN_CORE", "OPERATOR"), request, b"").expect("an answer").refused(503);
    let request = "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let status = send(&mut connect(&appliance, "ADMIN_CORE", "AUDITOR"), request, b"").expect("an answer").json();
    assert_eq!(status["state"], "sealed");
}

#[test]
fn the_health_listener_offers_three_pages_and_can_be_turned_off() {
    let appliance = Appliance::start();
    let address = appliance.value("HEALTH_CORE");
    let page = health(&address, "/metrics");
    assert!(page.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", page.head);
    assert!(page.text().ends_with("# EOF\n"));
    for name in ["acme", "globex", "billing"] {
        assert!(!page.text().contains(name), "a page without authentication names {name}");
    }
    health(&address, "/").refused(404);
    health(&address, "/api/v1/status").refused(404);
    drop(appliance);
    let mut core = Core::prepared();
    let address = core.value("HEALTH_CORE");
    let text = std::fs::read_to_string(core.config()).expect("dev has written it");
    let bind = address.strip_prefix("http://").expect("an address");
    std::fs::write(core.config(), text.replace(bind, "none")).expect("the file is ours");
    core.start();
    assert!(TcpStream::connect(bind).is_err(), "somebody listens");
    core.stop();
}
