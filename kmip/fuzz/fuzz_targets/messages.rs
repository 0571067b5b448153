//! Well-formed messages of any content to the server: the input says which fields of which type stand where.
#![no_main]

mod server;

use kmip::ttlv::{BigInteger, ByteString, DateTime, Interval, ItemType, Writer};
use kmip::{Encode, Operation, ProtocolVersion, Tag, VersionNumber};
use libfuzzer_sys::fuzz_target;

/// Deeper than what is allowed, by a little.
const DEPTH_MAX: usize = 40;

/// Names that attributes have, so that the input need not spell them.
const NAMES: [&str; 12] = [
    "State",
    "Name",
    "Object Group",
    "Cryptographic Algorithm",
    "Cryptographic Length",
    "Cryptographic Usage Mask",
    "Activation Date",
    "Deactivation Date",
    "Contact Information",
    "Extractable",
    "x-custom",
    "billing",
];

/// The input, taken byte by byte; an exhausted one goes on with zeroes.
struct Choices<'i>(&'i [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices(input);
    let version = ProtocolVersion::ALL[usize::from(choices.byte()) % ProtocolVersion::ALL.len()];
    let items = 1 + choices.byte() % 4;
    let mut bytes = vec![];
    let mut out = Writer::new(&mut bytes, ProtocolVersion::LATEST);
    let message = out.open(Tag::REQUEST_MESSAGE);
    let header = out.open(Tag::REQUEST_HEADER);
    VersionNumber::from(version).encode(Tag::PROTOCOL_VERSION, &mut out);
    if choices.byte() % 2 == 1 {
        out.enumeration(Tag::BATCH_ERROR_CONTINUATION_OPTION, u32::from(choices.byte() % 4));
    }
    if choices.byte() % 4 == 1 {
        fields(&mut choices, &mut out, 2);
    }
    out.integer(Tag::BATCH_COUNT, i32::from(items));
    out.close(header);
    for number in 0..items {
        let item = out.open(Tag::BATCH_ITEM);
        let operations = Operation::ALL;
        out.enumeration(Tag::OPERATION, operations[usize::from(choices.byte()) % operations.len()].number());
        if items > 1 {
            out.bytes(Tag::UNIQUE_BATCH_ITEM_ID, ByteString(&[number]));
        }
        let payload = out.open(Tag::REQUEST_PAYLOAD);
        fields(&mut choices, &mut out, 3);
        out.close(payload);
        out.close(item);
    }
    out.close(message);
    server::ask(&bytes);
});

/// As many fields as the input wants at this depth.
fn fields(choices: &mut Choices<'_>, out: &mut Writer<'_>, depth: usize) {
    while !choices.is_over() {
        let kind = choices.byte();
        if kind == 0 {
            return;
        }
        // The published tags lie between 420001 and 420130.
        let [high, low] = choices.number();
        let Some(tag) = Tag::of([0x42, high & 1, low]) else { continue };
        match ItemType::of(kind % 10 + 1).expect("there are ten types") {
            ItemType::Structure if depth < DEPTH_MAX => {
                let open = out.open(tag);
                fields(choices, out, depth + 1);
                out.close(open);
            }
            ItemType::Structure => {}
            ItemType::Integer => out.integer(tag, i32::from_be_bytes(choices.number())),
            ItemType::LongInteger => out.long_integer(tag, i64::from_be_bytes(choices.number())),
            ItemType::BigInteger => out.big_integer(tag, BigInteger(&choices.number::<8>())),
            ItemType::Enumeration => out.enumeration(tag, u32::from(choices.byte())),
            ItemType::Boolean => out.boolean(tag, choices.byte() % 2 == 1),
            ItemType::TextString => text(choices, out, tag),
            ItemType::ByteString => {
                let length = usize::from(choices.byte() % 64);
                let value: Vec<u8> = (0..length).map(|_| choices.byte()).collect();
                out.bytes(tag, ByteString(&value));
            }
            ItemType::DateTime => out.date_time(tag, DateTime(i64::from_be_bytes(choices.number()))),
            ItemType::Interval => out.interval(tag, Interval(u32::from_be_bytes(choices.number()))),
        }
    }
}

/// A key's identifier, a name that attributes have, or letters of the input.
fn text(choices: &mut Choices<'_>, out: &mut Writer<'_>, tag: Tag) {
    match choices.byte() {
        choice @ 0..100 => out.text(tag, NAMES[usize::from(choice) % NAMES.len()]),
        100..200 => out.text(tag, &server::key()),
        length => {
            let letters: Vec<u8> = (200..length).map(|_| choices.byte()).collect();
            out.text(tag, &String::from_utf8_lossy(&letters));
        }
    }
}
