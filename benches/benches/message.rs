//! How long does it take to decode an Encrypt request of 1 KiB, and to encode its answer?

use benches::requests::encrypt;
use criterion::{Criterion, criterion_group, criterion_main};
use kmip::ttlv::{ByteString, Writer};
use kmip::{Decode, Encode, EncryptRequest, EncryptResponse, ProtocolVersion, Request, Tag};

const KEY: &str = "L3-01890a5d-ac96-774b-bcce-b302099a8057";
const DATA: [u8; 1024] = [0x5A; 1024];

fn message(criterion: &mut Criterion) {
    let sent = encrypt(KEY, &DATA, 1).bytes;
    decode(&sent, |request| {
        assert_eq!((request.unique_identifier, request.data), (Some(KEY), Some(ByteString(&DATA))), "what was sent is what was read");
    });
    criterion.bench_function("decode a request", |bencher| bencher.iter(|| decode(&sent, |request| request.data.is_some())));

    let mut out = Vec::new();
    encode(&mut out);
    assert!(out.windows(DATA.len()).any(|window| window == DATA), "the data is in the answer");
    criterion.bench_function("encode an answer", |bencher| bencher.iter(|| encode(&mut out)));
}

fn decode<R>(bytes: &[u8], look: impl FnOnce(EncryptRequest<'_>) -> R) -> R {
    let request = Request::decode(bytes).expect("a request of ours");
    look(EncryptRequest::decode(request.message.items[0].payload, request.rules).expect("an Encrypt"))
}

fn encode(out: &mut Vec<u8>) {
    out.clear();
    let answer = EncryptResponse {
        unique_identifier: KEY,
        data: Some(ByteString(&DATA)),
        iv_counter_nonce: Some(ByteString(&[7; 12])),
        correlation_value: None,
        authentication_tag: Some(ByteString(&[9; 16])),
    };
    answer.encode(Tag::RESPONSE_PAYLOAD, &mut Writer::new(out, ProtocolVersion::V1_4));
}

criterion_group!(benches, message);
criterion_main!(benches);
