//! Who may speak for a client at a core, and with what: every forged, replayed or foreign delegation is refused and recorded.

use std::path::Path;

use cipher::sign::public_from_seed;
use daemon::delegation::{Request, Vouched, channel};
use kmip::{
    Attribute, AttributeValue, Batch, CreateRequest, CryptographicAlgorithm, CryptographicUsageMask, GetAttributesRequest, Name, NameType,
    ObjectType, ProtocolVersion, ResultReason, TemplateAttribute,
};
use serde_json::Value;
use softhsm_test::https::{Reply, Tls, connect, post, reply, send};
use softhsm_test::{Appliance, Who, requests};
use uuid::Uuid;

const SEED: [u8; 32] = [0x5E; 32];

/// An appliance whose core takes the test for an edge of the group `edge`, which serves acme.
fn appliance() -> Appliance {
    let appliance = Appliance::start();
    let key: String = public_from_seed(&SEED).iter().map(|byte| format!("{byte:02x}")).collect();
    let enrolled = appliance.cli(Who::Operator, &["edge", "enrol", "edge", "--tenant", "acme", "--key", &key]);
    assert!(enrolled.status.success(), "{enrolled:?}");
    appliance
}

/// The chain of one of dev's client certificates.
fn chain(appliance: &Appliance, name: &str) -> Vec<Vec<u8>> {
    let file = appliance.value(&format!("{name}_CERT"));
    daemon::tls::chain(Path::new(&file)).expect("dev's certificates are good").iter().map(|der| der.to_vec()).collect()
}

fn ask(id: &str) -> kmip::Sent {
    let mut batch = Batch::new(ProtocolVersion::V1_4);
    let names = vec!["State"];
    let _slot = batch.push(&GetAttributesRequest { unique_identifier: Some(id), attribute_names: names }).expect("a small request");
    batch.finish()
}

/// What a delegation says and what it is signed for; the same where it is honest.
struct Delegation<'a> {
    seed: [u8; 32],
    chain: Vec<Vec<u8>>,
    seq: u64,
    path: &'a str,
    body: &'a [u8],
    /// Of another connection.
    channel: Option<[u8; 32]>,
    /// The request's name.
    request: u128,
}

impl Delegation<'_> {
    /// The header lines for this connection.
    fn lines(&self, stream: &Tls) -> Vec<(String, String)> {
        let own = channel(&stream.conn).expect("TLS 1.3");
        let message = Request { method: "POST", path: self.path, body: self.body };
        let request = (&*self.chain, Uuid::from_u128(self.request));
        let headers = Vouched::headers(&self.seed, &self.channel.unwrap_or(own), self.seq, request, message);
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned())).collect()
    }
}

fn text(lines: &[(String, String)]) -> String {
    lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

/// A connection whose handshake is done, so that its channel is known.
fn edge(appliance: &Appliance, name: &str) -> Tls {
    let mut stream = connect(appliance, "HTTPS_CORE", name);
    let Tls { conn, sock } = &mut stream;
    while conn.is_handshaking() {
        conn.complete_io(sock).expect("the core takes dev's certificates");
    }
    stream
}

fn reason(answer: &Reply, sent: &kmip::Sent) -> Option<ResultReason> {
    assert_eq!(answer.status, 200, "{answer:?}");
    sent.answers(&answer.body).expect("a KMIP answer").message.items[0].result_reason
}

fn records(appliance: &Appliance) -> u64 {
    let said = appliance.cli(Who::Operator, &["--json", "audit", "verify"]);
    let report: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    report["records"].as_u64().expect("a number")
}

#[test]
fn a_client_for_whom_an_enrolled_edge_vouches_is_served_as_itself_and_no_further() {
    let appliance = appliance();
    let (own, foreign) = (appliance.value("L3_ID"), appliance.value("L3_ID2"));
    let mut stream = edge(&appliance, "EDGE");
    let mut seq = 0;
    let mut asked = |stream: &mut Tls, client: &str, id: &str| {
        seq += 1;
        let sent = ask(id);
        let delegation =
            Delegation { seed: SEED, chain: chain(&appliance, client), seq, path: "/kmip", body: &sent.bytes, channel: None, request: 7 };
        let head = post(sent.bytes.len(), &text(&delegation.lines(stream)));
        reason(&send(stream, &head, &sent.bytes).expect("an answer"), &sent)
    };
    assert_eq!(asked(&mut stream, "CLIENT", &own), None, "the client's own key");
    assert_eq!(asked(&mut stream, "TENANT_ADMIN", &own), None, "its tenant-admin's too");
    assert_eq!(asked(&mut stream, "CLIENT", &foreign), Some(ResultReason::ItemNotFound), "another tenant's key");
    // The client could, but the edge is not enrolled for its tenant.
    assert_eq!(asked(&mut stream, "CLIENT2", &foreign), Some(ResultReason::PermissionDenied));
    for nobody in ["OPERATOR", "AUDITOR", "CUSTODIAN1", "EDGE"] {
        assert_eq!(asked(&mut stream, nobody, &own), Some(ResultReason::PermissionDenied), "{nobody}");
    }
    // Among them, the edge's own calls go on as its own.
    let sent = ask(&own);
    let own_call = send(&mut stream, &post(sent.bytes.len(), ""), &sent.bytes).expect("an answer");
    assert!(reason(&own_call, &sent).is_some(), "an edge does not look at keys in its own name");
    let revoked = appliance.cli(Who::Operator, &["edge", "revoke", "edge"]);
    assert!(revoked.status.success(), "{revoked:?}");
    let delegation = Delegation {
        seed: SEED,
        chain: chain(&appliance, "CLIENT"),
        seq: 1000,
        path: "/kmip",
        body: &sent.bytes,
        channel: None,
        request: 7,
    };
    let head = post(sent.bytes.len(), &text(&delegation.lines(&stream)));
    assert_eq!(send(&mut stream, &head, &sent.bytes).expect("an answer").status, 400, "the group is revoked");
}

#[test]
fn a_forged_replayed_or_foreign_delegation_is_refused_cut_and_recorded() {
    let appliance = appliance();
    let sent = ask(&appliance.value("L3_ID"));
    let client = chain(&appliance, "CLIENT");
    let good = || Delegation { seed: SEED, chain: client.clone(), seq: 1, path: "/kmip", body: &sent.bytes, channel: None, request: 7 };
    let before = records(&appliance);
    let mut attacks = 0;
    let mut refused = |who: &str, what: &str, lines: &dyn Fn(&Tls) -> String| {
        let mut stream = edge(&appliance, who);
        let head = post(sent.bytes.len(), &lines(&stream));
        let answer = send(&mut stream, &head, &sent.bytes).expect("an answer");
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert!(reply(&mut stream).is_none(), "{what}: the connection goes on");
        attacks += 1;
    };
    for who in ["CLIENT", "TENANT_ADMIN", "OPERATOR", "AUDITOR", "CUSTODIAN1"] {
        refused(who, who, &|stream| text(&good().lines(stream)));
    }
    refused("EDGE", "an unknown key", &|stream| text(&Delegation { seed: [1; 32], ..good() }.lines(stream)));
    refused("EDGE", "another connection", &|stream| text(&Delegation { channel: Some([2; 32]), ..good() }.lines(stream)));
    refused("EDGE", "another path", &|stream| text(&Delegation { path: "/edge/v1/lease", ..good() }.lines(stream)));
    refused("EDGE", "another body", &|stream| text(&Delegation { body: b"other", ..good() }.lines(stream)));
    refused("EDGE", "seq 0", &|stream| text(&Delegation { seq: 0, ..good() }.lines(stream)));
    refused("EDGE", "a certificate that is none", &|stream| text(&Delegation { chain: vec![b"leaf".to_vec()], ..good() }.lines(stream)));
    let others = || chain(&appliance, "CLIENT2");
    refused("EDGE", "another client than signed for", &|stream| {
        let mut lines = good().lines(stream);
        let other = Delegation { chain: others(), ..good() }.lines(stream);
        let certificate = |line: &&mut (String, String)| line.0 == "client-cert";
        lines.iter_mut().find(certificate).expect("it is there").1 = other[0].1.clone();
        text(&lines)
    });
    for index in 0..3 {
        refused("EDGE", "a header is missing", &|stream| {
            let mut lines = good().lines(stream);
            lines.remove(index);
            text(&lines)
        });
        refused("EDGE", "a header comes twice", &|stream| {
            let lines = good().lines(stream);
            text(&[&lines[..], &lines[index..=index]].concat())
        });
        refused("EDGE", "a header is folded", &|stream| {
            let mut lines = good().lines(stream);
            lines[index].1.insert_str(3, "\r\n ");
            text(&lines)
        });
    }
    // The same again on the same connection.
    let mut stream = edge(&appliance, "EDGE");
    let head = post(sent.bytes.len(), &text(&good().lines(&stream)));
    assert_eq!(send(&mut stream, &head, &sent.bytes).expect("an answer").status, 200);
    assert_eq!(send(&mut stream, &head, &sent.bytes).expect("an answer").status, 400, "a replay");
    assert!(reply(&mut stream).is_none(), "the connection goes on");
    attacks += 1;
    assert!(records(&appliance) >= before + attacks, "each of {attacks} attempts is in the log");
}

#[test]
fn a_request_that_comes_again_gets_the_answer_that_it_had_and_changes_nothing_more() {
    let appliance = appliance();
    let create = |name: &str| {
        let mut batch = Batch::new(ProtocolVersion::V1_4);
        let attribute = |value| Attribute { index: None, value };
        let attributes = vec![
            attribute(AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::Aes)),
            attribute(AttributeValue::CryptographicUsageMask(CryptographicUsageMask::ENCRYPT)),
            attribute(AttributeValue::Name(Name { value: Some(name), name_type: Some(NameType::UninterpretedTextString) })),
        ];
        let template_attribute = TemplateAttribute { names: Vec::new(), attributes };
        let request = CreateRequest { object_type: ObjectType::SymmetricKey, template_attribute };
        let _slot = batch.push(&request).expect("a small request");
        batch.finish().bytes
    };
    let ask = |client: &str, seq: u64, request: u128, body: &[u8]| {
        // Each on a connection of its own, as after one that broke.
        let mut stream = edge(&appliance, "EDGE");
        let chain = chain(&appliance, client);
        let delegation = Delegation { seed: SEED, chain, seq, path: "/kmip", body, channel: None, request };
        let head = post(body.len(), &text(&delegation.lines(&stream)));
        send(&mut stream, &head, body).expect("an answer")
    };
    let body = create("once");
    let first = ask("TENANT_ADMIN", 1, 1, &body);
    let again = ask("TENANT_ADMIN", 1, 1, &body);
    assert_eq!((first.status, &first.body), (200, &again.body), "the same key");
    let refused = ask("TENANT_ADMIN", 1, 2, &body);
    assert_ne!(refused.body, first.body, "under another name it is another request, and the key's name is taken");
    assert_eq!(ask("TENANT_ADMIN", 1, 1, &create("other")).status, 400, "another request under the same name");
    assert_eq!(ask("CLIENT", 1, 1, &body).status, 400, "another client's request under the same name");
    let mut admin = appliance.connect(Who::TenantAdmin);
    assert_eq!(requests::locate(&mut admin, "once").expect("it searches").len(), 1);
    assert!(requests::locate(&mut admin, "other").expect("it searches").is_empty());
}
