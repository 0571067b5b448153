//! Bytes that are not TTLV, each refused at the byte that is wrong.

use kmip::ttlv::{DEPTH_MAX, Item, Writer};
use kmip::{Error, ProtocolVersion, Tag};

/// Reads `bytes` with everything inside and expects a complaint about this byte.
fn check(bytes: &[u8], offset: usize, expected: &'static str) {
    let refused = Item::only(bytes).and_then(|item| item.check());
    assert_eq!(refused, Err(Error::Malformed { offset, expected }), "{bytes:02X?}");
}

/// An item of this type with a declared length and these bytes behind the header.
fn item(kind: u8, length: u32, after: &[u8]) -> Vec<u8> {
    [&[0x42, 0x00, 0x20, kind][..], &length.to_be_bytes(), after].concat()
}

/// A structure around an item.
fn structure(inside: &[u8]) -> Vec<u8> {
    item(1, u32::try_from(inside.len()).expect("short"), inside)
}

#[test]
fn takes_the_shortest_items() {
    for bytes in [item(1, 0, &[]), item(7, 0, &[]), item(8, 0, &[]), structure(&structure(&[]))] {
        assert_eq!(Item::only(&bytes).and_then(|item| item.check()), Ok(()));
    }
}

#[test]
fn refuses_an_input_that_ends_in_a_header() {
    let whole = item(2, 4, &[0, 0, 0, 8, 0, 0, 0, 0]);
    for end in 0..8 {
        check(&whole[..end], 0, "an item header of 8 bytes");
    }
    check(&structure(&whole[..7]), 4, "a length that is a multiple of 8");
}

#[test]
fn refuses_a_value_that_ends_early() {
    let whole = item(2, 4, &[0, 0, 0, 8, 0, 0, 0, 0]);
    for end in 8..whole.len() {
        check(&whole[..end], 4, "a length within what encloses the item");
    }
}

#[test]
fn refuses_a_message_cut_at_any_byte() {
    let mut message = vec![];
    let mut out = Writer::new(&mut message, ProtocolVersion::V1_4);
    let outer = out.open(Tag::REQUEST_MESSAGE);
    let inner = out.open(Tag::REQUEST_HEADER);
    out.text(Tag::CLIENT_CORRELATION_VALUE, "abc");
    out.boolean(Tag::BATCH_ORDER_OPTION, true);
    out.close(inner);
    out.close(outer);
    for end in 0..message.len() {
        assert!(Item::only(&message[..end]).is_err(), "{end} of {} bytes", message.len());
    }
    assert_eq!(Item::only(&message).and_then(|item| item.check()), Ok(()));
}

#[test]
fn refuses_a_length_past_what_encloses_it() {
    check(&item(8, 9, &[0; 8]), 4, "a length within what encloses the item");
    check(&item(8, u32::MAX, &[0; 8]), 4, "a length within what encloses the item");
    check(&item(1, 16, &[0; 8]), 4, "a length within what encloses the item");
    check(&structure(&item(8, 9, &[0; 8])), 12, "a length within what encloses the item");
    // Long enough for the outer structure's neighbour, but not for the structure itself.
    let two = [structure(&item(8, 16, &[0; 8])), item(8, 8, &[0; 8])].concat();
    check(&structure(&two), 20, "a length within what encloses the item");
}

#[test]
fn refuses_bytes_behind_the_end() {
    check(&[item(1, 0, &[]), vec![0]].concat(), 8, "the end of the message");
    check(&[item(2, 4, &[0; 8]), item(2, 4, &[0; 8])].concat(), 16, "the end of the message");
}

#[test]
fn refuses_padding_other_than_zeros() {
    for position in 4..8 {
        let mut value = [0; 8];
        value[position] = 1;
        check(&item(2, 4, &value), 12, "padding of zeros");
        check(&item(5, 4, &value), 12, "padding of zeros");
        check(&item(10, 4, &value), 12, "padding of zeros");
        check(&item(8, 4, &value), 12, "padding of zeros");
        check(&structure(&item(7, 4, &value)), 20, "padding of zeros");
    }
    check(&item(8, 1, b"\x01\0\0\0\0\0\0\xFF"), 9, "padding of zeros");
}

#[test]
fn refuses_a_length_that_the_type_does_not_have() {
    for kind in [2, 5, 10] {
        for length in [0, 1, 3, 5, 8] {
            check(&item(kind, length, &[0; 8]), 4, "a length of 4");
        }
    }
    for kind in [3, 6, 9] {
        for length in [0, 4, 7, 9, 16] {
            check(&item(kind, length, &[0; 16]), 4, "a length of 8");
        }
    }
    for length in [1, 4, 12] {
        check(&item(1, length, &[0; 16]), 4, "a length that is a multiple of 8");
        check(&item(4, length, &[0; 16]), 4, "a length that is a positive multiple of 8");
    }
    check(&item(4, 0, &[]), 4, "a length that is a positive multiple of 8");
}

#[test]
fn refuses_a_type_that_does_not_exist() {
    for kind in [0, 11, 0x42, 0xFF] {
        check(&item(kind, 8, &[0; 8]), 3, "an item type from 01 to 0A");
    }
}

#[test]
fn refuses_a_tag_outside_both_ranges() {
    for first in [0x00, 0x41, 0x43, 0x53, 0x55, 0xFF] {
        check(&[first, 0x00, 0x20, 1, 0, 0, 0, 0], 0, "a tag that begins with 42 or 54");
    }
}

#[test]
fn refuses_a_boolean_that_is_neither_0_nor_1() {
    check(&item(6, 8, &[0, 0, 0, 0, 0, 0, 0, 2]), 0, "a Boolean of 0 or 1");
    check(&item(6, 8, &[1, 0, 0, 0, 0, 0, 0, 0]), 0, "a Boolean of 0 or 1");
    check(&structure(&item(6, 8, &[0xFF; 8])), 8, "a Boolean of 0 or 1");
}

#[test]
fn refuses_text_that_is_not_utf_8() {
    check(&item(7, 8, b"abc\xFFdefg"), 0, "a Text String in UTF-8");
    check(&item(7, 8, b"abcdefg\xC3"), 0, "a Text String in UTF-8");
    check(&item(7, 3, b"\xED\xA0\x80\0\0\0\0\0"), 0, "a Text String in UTF-8");
}

#[test]
fn refuses_a_value_asked_for_as_another_type() {
    let bytes = item(2, 4, &[0; 8]);
    let integer = Item::only(&bytes).expect("an Integer");
    let wanted = |expected| Error::Malformed { offset: 0, expected };
    assert_eq!(integer.integer(), Ok(0));
    assert_eq!(integer.enumeration(), Err(wanted("an Enumeration")));
    assert_eq!(integer.interval(), Err(wanted("an Interval")));
    assert_eq!(integer.long_integer(), Err(wanted("a Long Integer")));
    assert_eq!(integer.date_time(), Err(wanted("a Date-Time")));
    assert_eq!(integer.boolean(), Err(wanted("a Boolean")));
    assert_eq!(integer.text(), Err(wanted("a Text String")));
    assert_eq!(integer.bytes(), Err(wanted("a Byte String")));
    assert_eq!(integer.big_integer(), Err(wanted("a Big Integer")));
    assert_eq!(integer.fields().err(), Some(wanted("a Structure")));
}

#[test]
fn refuses_the_33rd_structure_inside_each_other() {
    let nested = |levels| (0..levels).fold(vec![], |inside: Vec<u8>, _| structure(&inside));
    assert_eq!(Item::only(&nested(DEPTH_MAX)).and_then(|item| item.check()), Ok(()));
    check(&nested(DEPTH_MAX + 1), DEPTH_MAX * 8, "at most 32 structures inside each other");
    check(&nested(5_000), DEPTH_MAX * 8, "at most 32 structures inside each other");
}
