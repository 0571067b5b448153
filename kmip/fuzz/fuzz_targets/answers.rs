//! Any bytes to the client half: an answer to another question, or none, is an error and never a panic.
#![no_main]

use std::sync::LazyLock;

use kmip::{Batch, GetAttributesRequest, LocateRequest, ProtocolVersion, QueryFunction, QueryRequest, ResponseMessage, Sent, Slot};
use libfuzzer_sys::fuzz_target;

struct Asked {
    sent: Sent,
    attributes: Slot<GetAttributesRequest<'static>>,
    found: Slot<LocateRequest<'static>>,
    offered: Slot<QueryRequest>,
}

static ASKED: LazyLock<Vec<Asked>> = LazyLock::new(|| ProtocolVersion::ALL.into_iter().map(asked).collect());

fn asked(version: ProtocolVersion) -> Asked {
    let mut batch = Batch::new(version);
    let known = "every version has it";
    let attributes = batch.push(&GetAttributesRequest { unique_identifier: Some("a"), attribute_names: vec![] }).expect(known);
    let found = batch.push(&LocateRequest::default()).expect(known);
    let offered = batch.push(&QueryRequest { functions: vec![QueryFunction::QueryOperations] }).expect(known);
    Asked { sent: batch.finish(), attributes, found, offered }
}

fuzz_target!(|bytes: &[u8]| {
    let _read = ResponseMessage::read(bytes);
    for asked in ASKED.iter() {
        let Ok(answers) = asked.sent.answers(bytes) else { continue };
        let _attributes = answers.get(&asked.attributes);
        let _found = answers.get(&asked.found);
        let _offered = answers.get(&asked.offered);
    }
});
