//! docs/KMIP.md, written from what a core and an edge answer, and held against it: whoever asks whether a client will work finds there what the client would.
//!
//! What is offered is asked for, not typed; `document/proofs.tsv` names what else shows each operation.

mod cryptography;
mod objects;
pub(crate) mod probe;
mod proofs;
mod table;

use std::path::Path;

use kmip::ttlv::Value;
use kmip::*;

use probe::{Node, Nodes, largest};
use proofs::Proofs;
use table::{Table, list, yes};

use crate::world::*;
use ProtocolVersion::V1_4;

/// Set by `cargo xtask kmip-document`: the document is written rather than compared.
const WRITE: &str = "STRONGROOM_WRITE_DOCUMENTS";

/// What a server sends to a client. Everything else a client sends.
const BY_SERVERS: [Operation; 2] = [Operation::Notify, Operation::Put];

#[test]
fn docs_kmip_md_is_what_a_core_and_an_edge_answer() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/KMIP.md");
    let text = document();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, text).expect("the folder of documents can be written");
        return;
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    let line = checked_in.lines().zip(text.lines()).position(|(is, wanted)| is != wanted).unwrap_or(0) + 1;
    assert!(checked_in == text, "docs/KMIP.md is stale from line {line} on: cargo xtask kmip-document");
}

fn document() -> String {
    let nodes = Nodes::found();
    let (core, edge) = (operations(&mut nodes.core()), operations(&mut nodes.edge()));
    let proofs = Proofs::read(&core, &edge);
    let kept = objects::kept(&nodes);
    let mut text = introduction(&nodes, &core, &edge, &proofs, objects::counts(&kept));
    for section in [
        operation_table(&core, &edge, &proofs),
        objects::types(&nodes),
        objects::uses(&nodes),
        objects::attributes(&nodes, &kept),
        objects::formats(&nodes),
        objects::wrapping(&nodes),
        cryptography::all(&nodes),
        query(&nodes),
        limits(&nodes),
        transports(),
        exceptions(&proofs),
    ] {
        text.push('\n');
        text.push_str(&section);
    }
    text
}

/// What Query lists.
fn operations(node: &mut Node<'_>) -> Vec<Operation> {
    let request = QueryRequest { functions: vec![QueryFunction::QueryOperations] };
    node.user.call(V1_4, &request, |answer| answer.operations).expect("anybody may ask")
}

fn introduction(
    nodes: &Nodes,
    core: &[Operation],
    edge: &[Operation],
    proofs: &Proofs<'_>,
    [attributes, by_clients]: [usize; 2],
) -> String {
    let sent: Vec<Operation> = Operation::ALL.iter().copied().filter(|one| !BY_SERVERS.contains(one)).collect();
    let either = sent.iter().filter(|one| core.contains(one) || edge.contains(one)).count();
    let discover = DiscoverVersionsRequest::default();
    let versions = nodes.core().user.call(V1_4, &discover, |answer| answer.versions).expect("anybody may ask");
    let versions = list(versions.iter().map(|version| format!("{}.{}", version.major, version.minor)));
    let of_cases = proofs.passed + proofs.failed.len();
    format!(
        "\
# KMIP support

For whoever has to judge whether a client will work with a node. `cargo xtask kmip-document` writes this page from what a core and an edge answer when they are asked, and
a test fails while it says anything else; so it is not edited by hand.

## Will my client work?

It has to speak KMIP {versions} by one of the [transports](#encodings-and-transports), over TLS 1.2 or 1.3, with a client certificate from a CA that the node was told of,
which names its tenant and service. User names and passwords inside requests give no rights. And what it asks for has to be offered here.

- A program that keeps keys or secrets of its own (disk and database encryption, backup, storage, virtual machines) connects to an **edge**: the column *Edge* counts.
- A program that encrypts with the key that its service was given, an L3, connects to a **core**, or to an edge, which passes it on: the column *Core* counts.
- `strongroom doctor --client NAME --server HOST:PORT --ca CA --cert CERT --key KEY` sends what a known program of that name sends, and says line by line what would fail.
- `strongroom kmip query` shows what a node itself says that it offers.

In figures: {either} of the {all} operations that clients send, {at_core} by a core and {at_edge} by an edge; {attributes} of the {of_attributes} attributes, of which a client
may set {by_clients}; {passed} of the {of_cases} published test cases of the KMIP 1.4 profiles pass at an edge, each in TTLV, XML and JSON.
",
        all = sent.len(),
        at_core = core.len(),
        at_edge = edge.len(),
        of_attributes = AttributeName::ALL.len(),
        passed = proofs.passed,
    )
}

fn operation_table(core: &[Operation], edge: &[Operation], proofs: &Proofs<'_>) -> String {
    let mut table = Table::new(&["Operation", "Since KMIP", "Core", "Edge", "Shown by"]);
    for operation in Operation::ALL {
        let (name, since) = (operation.name(), operation.since().to_string());
        let told = proofs.told(*operation);
        table.row(&[name, &since, yes(core.contains(operation)), yes(edge.contains(operation)), &told]);
    }
    format!(
        "\
## Operations

An edge also answers every operation of a core on the keys of the core (identifiers that begin with L2, L21 or L3): it passes the item on and the answer back. *Shown by* names
published cases, and tests of this repository; all others are refused with Operation Not Supported.

{table}"
    )
}

fn query(nodes: &Nodes) -> String {
    let mut table = Table::new(&["Query Function", "Since KMIP", "Core", "Edge"]);
    for function in QueryFunction::ALL {
        let request = QueryRequest { functions: vec![*function] };
        let told = nodes.both().map(|mut node| {
            let is_empty = node.user.call(V1_4, &request, |answer| answer == QueryResponse::default()).expect("anybody may ask");
            if is_empty { "nothing to tell" } else { "answered" }
        });
        table.row(&[function.name(), &function.since().to_string(), told[0], told[1]]);
    }
    let mut capabilities = Table::new(&["Capability", "Core", "Edge"]);
    let request = QueryRequest { functions: vec![QueryFunction::QueryCapabilities] };
    let told = nodes.both().map(|mut node| {
        let first = |answer: QueryResponse<'_>| answer.capability_information.first().cloned().expect("it is answered");
        let one = node.user.call(V1_4, &request, first).expect("anybody may ask");
        let say = |is: Option<bool>| is.map_or("-", yes).to_owned();
        [
            ("Streaming: requests in parts", say(one.streaming)),
            ("Asynchronous requests", say(one.asynchronous)),
            ("Attestation", say(one.attestation)),
            ("Batches that are undone", say(one.batch_undo)),
            ("Batches that go on after a failure", say(one.batch_continue)),
            ("Unwrap Mode", one.unwrap_mode.map_or("-", UnwrapMode::name).to_owned()),
            ("Destroy Action", one.destroy_action.map_or("-", DestroyAction::name).to_owned()),
            ("RNG Mode", one.rng_mode.map_or("-", RngMode::name).to_owned()),
        ]
    });
    for ((name, core), (_, edge)) in told[0].iter().zip(&told[1]) {
        capabilities.row(&[name, core, edge]);
    }
    format!("## Query\n\n{table}\n{capabilities}")
}

fn limits(nodes: &Nodes) -> String {
    let mut table = Table::new(&["Limit", "Most"]);
    let mut row = |name: &str, most: usize| table.row(&[name, &most.to_string()]);
    row("Bytes of a request, unless `kmip.message_bytes_max` says otherwise", MESSAGE_BYTES_MAX);
    row("Batch items of a request", BATCH_ITEMS_MAX);
    row("Repetitions of one field", schema::FIELD_REPEATS_MAX);
    row("Levels of structures in structures", ttlv::DEPTH_MAX);
    let mut edge = nodes.edge();
    row("Searches (Locate) of a request", largest(BATCH_ITEMS_MAX, |count| edge.searches(count)));
    let words: Vec<String> = (0..200).map(|index| format!("x-limit {index}")).collect();
    let mut row_of = |name: &str, value: fn(&str) -> AttributeValue<'_>| {
        row(name, largest(words.len(), |count| edge.takes(words[..count].iter().map(|word| value(word)))));
    };
    row_of("Names of an object", named);
    row_of("Object Groups of an object", |word| AttributeValue::ObjectGroup(word));
    row_of("Attributes of an object that are only kept, such as `x-` and Link", |word| AttributeValue::Custom(word, Value::Boolean(true)));
    row("Bytes of one RNG Retrieve", largest(1 << 20, |bytes| edge.draws(bytes)));
    row("Bits that Derive Key makes", largest(1 << 20, |bits| edge.derives_bits(bits)));
    format!("## Limits\n\nWhat is above a limit is refused by the name of its field, and nothing of it is done.\n\n{table}")
}

fn transports() -> String {
    let mut table = Table::new(&["Encoding", "Transport", "Shown by"]);
    table.row(&["TTLV", "TLS, `listeners.kmip`", "`softhsm-test/tests/pykmip.rs::pykmip_does_everything_an_edge_serves_in_every_version`"]);
    let https = "HTTPS, `listeners.https`, `POST /kmip` as";
    table.row(&[
        "TTLV",
        &format!("{https} `application/octet-stream`"),
        "`softhsm-test/tests/http.rs::a_message_over_https_is_answered_like_one_over_tls`",
    ]);
    let texts = "`softhsm-test/tests/http.rs::a_message_in_xml_or_json_is_answered_in_kind_by_core_and_edge`";
    table.row(&["XML", &format!("{https} `text/xml` or `application/xml`"), texts]);
    table.row(&["JSON", &format!("{https} `application/json`"), texts]);
    format!(
        "\
## Encodings and transports

Every version, operation and node is the same in all of them; the answer is in the encoding of the request. Each message of a connection may be of another version.

{table}"
    )
}

fn exceptions(proofs: &Proofs<'_>) -> String {
    let mut table = Table::new(&["Case", "Why it does not pass"]);
    for (case, why) in &proofs.failed {
        table.row(&[case, why]);
    }
    format!(
        "\
## Exceptions

- A request with Asynchronous Indicator is answered at once; attestation is neither asked for nor judged.
- Templates are an edge's: a core keeps none, and tells a request that names one that there is no such Template.
- Object Group Member in Locate: fresh is what no Get has returned yet. The default is at a core each service's default key, at an edge the newest Active object asked for.
- The reason in an answer is one that its version has: what 1.4 calls Sensitive or Not Extractable is Permission Denied before.
- Which identifiers others have is told to nobody: an unknown, a malformed and another client's are all Item Not Found.
- Undo takes back what the node itself did. A batch that would have an edge undo what a core has done is refused before it begins.
- What is imported goes by the identifier that it came under, whatever that looks like, and by one of the node's own, which Locate tells; `y-imported-as` tells the former.
  Others have nothing to do with it: they may have imported something else under the same one. All attributes are what the request says, but for those that only
  the node can know (Unique Identifier, Lease Time, `y-` attributes). Refused are what is destroyed, Fresh, a date of the server's in the future, and a Digest or an attribute of
  a certificate that is not the object's. Replace Existing takes the place of what the service could destroy, in the same State or a later one.
- No wrapped key is kept as it came: Key Wrap Type As Registered is refused for it, and an Import of it wants Not Wrapped. What a Sensitive key has wrapped is Sensitive.
- A key that wraps or unwraps at an edge has no bits in its usage mask but Wrap Key, Unwrap Key and Export.
- Get Attributes without names tells all attributes, as the standard wants, in 1.3 and 1.4 so also the Random Number Generator that whatever a node has made must have.
  PyKMIP has no reader for that one and none for `y-` attributes: let it ask by names, or speak 1.2.
- A core makes all IVs itself and returns keys only wrapped by another; it holds AES keys alone.
- Published cases that do not pass:

{table}"
    )
}
