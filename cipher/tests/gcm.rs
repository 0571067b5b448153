//! AES-GCM with IVs and tags of other lengths than usual, whole and in parts, against published cases and an implementation of others.

use aes_gcm::aead::consts::{U1, U8, U11, U12, U13, U15, U16, U17, U31, U32, U33, U60, U64, U127, U128};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::cipher::{BlockCipherEncrypt, InOutBuf};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AesGcm, Nonce};
use cipher::stream::{self, STATE_BYTES};
use cipher::{Error, mode};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use proptest::prelude::*;

const KEYS: [&[u8]; 3] = [&[7; 16], &[7; 24], &[7; 32]];
const EARLIER: &[u8] = b"earlier output";

fn unhex(digits: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(digit).collect()
}

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at * 7 % 251).expect("below 251")).collect()
}

fn whole(key: &[u8], iv: &[u8], aad: &[u8], text: &[u8], tag_bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let mut out = EARLIER.to_vec();
    let tag = mode::gcm_encrypt_with(key, iv, aad, text, tag_bytes, &mut out).expect("lengths fit");
    assert!(out.starts_with(EARLIER));
    (out.split_off(EARLIER.len()), tag.to_vec())
}

/// The same in parts: the pieces between these places, in ascending order.
fn in_parts(key: &[u8], iv: &[u8], aad: &[u8], text: &[u8], tag_bytes: usize, cuts: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let (mut state, mut after, mut out, mut from) = ([0xEE; STATE_BYTES], [0xEE; STATE_BYTES], Vec::new(), 0);
    stream::gcm_begin_with(key, iv, aad, &mut state).expect("lengths fit");
    for cut in cuts {
        let cut = (*cut).min(text.len());
        stream::gcm_encrypt_part(key, &state, &text[from..cut], &mut after, &mut out).expect("lengths fit");
        (state, from) = (after, cut);
        assert_eq!(out.len(), cut, "GCM holds nothing back");
    }
    let tag = stream::gcm_encrypt_last_with(key, &state, &text[from..], tag_bytes, &mut out).expect("lengths fit");
    (out, tag.to_vec())
}

fn decrypted(key: &[u8], iv: &[u8], aad: &[u8], text: &[u8], tag: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = EARLIER.to_vec();
    let decrypting = mode::gcm_decrypt_with(key, iv, aad, text, tag, &mut out);
    assert!(out.starts_with(EARLIER) && (decrypting.is_ok() || out == EARLIER), "what is refused leaves nothing");
    decrypting.map(|()| out.split_off(EARLIER.len()))
}

/// What RustCrypto's AES-GCM makes of it, for the lengths of IV in a list of types.
fn by_others(key: &[u8], iv: &[u8], aad: &[u8], text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    macro_rules! try_lengths {
        ($($length:ty),*) => {
            $(if let Ok(nonce) = <&Nonce<$length>>::try_from(iv) {
                let mut out = text.to_vec();
                let room = InOutBuf::from(&mut out[..]);
                let tag = match key.len() {
                    16 => AesGcm::<Aes128, $length>::new_from_slice(key).expect("it fits").encrypt_inout_detached(nonce, aad, room),
                    24 => AesGcm::<Aes192, $length>::new_from_slice(key).expect("it fits").encrypt_inout_detached(nonce, aad, room),
                    _ => AesGcm::<Aes256, $length>::new_from_slice(key).expect("it fits").encrypt_inout_detached(nonce, aad, room),
                };
                return (out, tag.expect("a short text").to_vec());
            })*
        };
    }
    try_lengths!(U1, U8, U11, U12, U13, U15, U16, U17, U31, U32, U33, U60, U64, U127, U128);
    panic!("no type for {} bytes of IV", iv.len())
}

const IV_LENGTHS: [usize; 15] = [1, 8, 11, 12, 13, 15, 16, 17, 31, 32, 33, 60, 64, 127, 128];

/// Whole, in parts, shortened and back: everything must come to what others make of it.
fn check(key: &[u8], iv: &[u8], aad: &[u8], text: &[u8], cuts: &[usize]) {
    let (right_text, right_tag) = by_others(key, iv, aad, text);
    for tag_bytes in 12..=16 {
        let right = (right_text.clone(), right_tag[..tag_bytes].to_vec());
        assert_eq!(whole(key, iv, aad, text, tag_bytes), right, "{} bytes of IV", iv.len());
        assert_eq!(in_parts(key, iv, aad, text, tag_bytes, cuts), right, "{} bytes of IV, cut at {cuts:?}", iv.len());
        assert_eq!(decrypted(key, iv, aad, &right.0, &right.1).as_deref(), Ok(text), "{} bytes of IV", iv.len());
    }
}

/// Test cases 5, 6, 11, 12, 17 and 18 of McGrew and Viega's submission of GCM to NIST: IVs of 8 and 60 bytes.
#[test]
fn the_submissions_cases_with_other_ivs_are_met_at_every_cut() {
    let key = unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    let short_iv = unhex("cafebabefacedbad");
    let long_iv = unhex(concat!(
        "9313225df88406e555909c5aff5269aa6a7a9538534f7da1e4c303d2a318a728",
        "c3c0c95156809539fcf0e2429a6b525416aedbf5a0de6a57a637b39b"
    ));
    let aad = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let text = unhex(concat!(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    ));
    for (key_bytes, iv, tag) in [
        (16, &short_iv, "3612d2e79e3b0785561be14aaca2fccb"),
        (16, &long_iv, "619cc5aefffe0bfa462af43c1699d050"),
        (24, &short_iv, "65dcc57fcf623a24094fcca40d3533f8"),
        (24, &long_iv, "dcf566ff291c25bbb8568fc3d376a6d9"),
        (32, &short_iv, "3a337dbf46a792c45e454913fe2ea8f2"),
        (32, &long_iv, "a44a8266ee1c8eb0c8b5d4cf5ae9f19a"),
    ] {
        let (encrypted, met) = whole(&key[..key_bytes], iv, &aad, &text, 16);
        assert_eq!(met, unhex(tag), "{key_bytes} bytes of key, {} of IV", iv.len());
        for cut in 0..=text.len() {
            assert_eq!(in_parts(&key[..key_bytes], iv, &aad, &text, 16, &[cut]), (encrypted.clone(), met.clone()));
        }
        assert_eq!(decrypted(&key[..key_bytes], iv, &aad, &encrypted, &met), Ok(text.clone()));
    }
}

#[test]
fn every_length_of_iv_and_tag_gives_what_others_make_of_it() {
    for key in KEYS {
        for iv_bytes in IV_LENGTHS {
            for bytes in [0, 1, 15, 16, 17, 100] {
                check(key, &text(iv_bytes), b"additional data of 29 bytes..", &text(bytes), &[0, 7, 16, 50]);
            }
        }
    }
}

/// A counter block of GCM counts in its last 32 bits only, and with a hashed IV it begins anywhere, so that it comes round within any text.
#[test]
fn a_counter_that_comes_round_leaves_the_other_96_bits_alone() {
    for key in KEYS {
        for before_zero in 0..5 {
            let mut j0 = [0xFF; 16];
            j0[12..].copy_from_slice(&(u32::MAX - before_zero).to_be_bytes());
            let iv = iv_of(key, j0);
            for cuts in [&[][..], &[1], &[16], &[17, 33], &[16, 32, 48, 64, 80], &[47, 48, 49, 79, 80, 81]] {
                check(key, &iv, b"aad", &text(150), cuts);
            }
        }
    }
}

/// The IV of 16 bytes whose first counter block is `j0`: the one equation of GHASH that gives it, solved backwards.
fn iv_of(key: &[u8], j0: [u8; 16]) -> [u8; 16] {
    let inverse = inverse(hash_key(key));
    let mut hashed = product(j0, inverse);
    hashed[15] ^= 128;
    product(hashed, inverse)
}

fn hash_key(key: &[u8]) -> [u8; 16] {
    let mut block = [0; 16].into();
    match key.len() {
        16 => Aes128::new_from_slice(key).expect("the length fits").encrypt_block(&mut block),
        24 => Aes192::new_from_slice(key).expect("the length fits").encrypt_block(&mut block),
        _ => Aes256::new_from_slice(key).expect("the length fits").encrypt_block(&mut block),
    }
    block.into()
}

/// In GCM's field, where the hash of one block is its product with the hash key.
fn product(a: [u8; 16], b: [u8; 16]) -> [u8; 16] {
    let mut hash = GHash::new(&a.into());
    hash.update(&[b.into()]);
    hash.finalize().into()
}

/// The power 2^128 - 2: the product of all squares of squares of `a` but `a` itself.
fn inverse(a: [u8; 16]) -> [u8; 16] {
    let mut square = product(a, a);
    let mut inverse = square;
    for _ in 2..128 {
        square = product(square, square);
        inverse = product(inverse, square);
    }
    inverse
}

#[test]
fn any_flipped_bit_is_refused_under_every_length_of_tag() {
    fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        (0..8 * bytes.len()).map(move |bit| {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            changed
        })
    }
    for (iv_bytes, tag_bytes) in [(12, 12), (12, 15), (8, 16), (60, 13), (128, 12)] {
        let (key, iv, aad) = (KEYS[2], text(iv_bytes), b"aad");
        let (encrypted, tag) = whole(key, &iv, aad, &text(37), tag_bytes);
        let refused = |iv: &[u8], aad: &[u8], text: &[u8], tag: &[u8]| assert_eq!(decrypted(key, iv, aad, text, tag), Err(Error::Refused));
        flips(&encrypted).for_each(|changed| refused(&iv, aad, &changed, &tag));
        flips(&tag).for_each(|changed| refused(&iv, aad, &encrypted, &changed));
        flips(&iv).for_each(|changed| refused(&changed, aad, &encrypted, &tag));
        flips(aad).for_each(|changed| refused(&iv, &changed, &encrypted, &tag));
        refused(&iv, aad, &encrypted[1..], &tag);
        refused(&[&iv[..], &[0]].concat()[1..], aad, &encrypted, &tag);
    }
}

#[test]
fn an_iv_or_tag_of_another_length_is_a_typed_error_that_names_it() {
    fn check<T: std::fmt::Debug>(what: &'static str, is_bytes: usize, got: Result<T, Error>) {
        let error = got.expect_err(what);
        assert!(matches!(error, Error::WrongLength { what: w, is_bytes: n, .. } if w == what && n == is_bytes), "{error}");
    }
    let (key, iv, mut out, mut state) = (KEYS[0], [9; 16], Vec::new(), [0; STATE_BYTES]);
    for bad in [0, 129, 256] {
        let bytes = vec![9; bad];
        check("GCM initialization vector", bad, mode::gcm_encrypt_with(key, &bytes, b"", b"text", 16, &mut out));
        check("GCM initialization vector", bad, mode::gcm_decrypt_with(key, &bytes, b"", b"text", &iv, &mut out));
        check("GCM initialization vector", bad, stream::gcm_begin_with(key, &bytes, b"", &mut state));
    }
    stream::gcm_begin_with(key, &iv, b"", &mut state).expect("lengths fit");
    for bad in [0, 4, 8, 11, 17, 32] {
        let bytes = vec![9; bad];
        for iv_bytes in [12, 16] {
            check("GCM tag", bad, mode::gcm_encrypt_with(key, &iv[..iv_bytes], b"", b"text", bad, &mut out));
            check("GCM tag", bad, mode::gcm_decrypt_with(key, &iv[..iv_bytes], b"", b"text", &bytes, &mut out));
        }
        check("GCM tag", bad, stream::gcm_encrypt_last_with(key, &state, b"text", bad, &mut out));
    }
    for bad in [0, 15, 17, 33] {
        let bytes = vec![7; bad];
        for iv_bytes in [12, 16] {
            check("AES key", bad, mode::gcm_encrypt_with(&bytes, &iv[..iv_bytes], b"", b"text", 16, &mut out));
            check("AES key", bad, mode::gcm_decrypt_with(&bytes, &iv[..iv_bytes], b"", b"text", &iv[..12], &mut out));
            check("AES key", bad, stream::gcm_begin_with(&bytes, &iv[..iv_bytes], b"", &mut state));
        }
    }
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn any_splitting_gives_what_others_make_of_the_whole(
        text in prop::collection::vec(any::<u8>(), 0..3000),
        aad in prop::collection::vec(any::<u8>(), 0..70),
        iv in prop::collection::vec(any::<u8>(), 128),
        iv_length in 0..IV_LENGTHS.len(),
        mut cuts in prop::collection::vec(0_usize..3000, 0..12),
        key in 0_usize..3,
    ) {
        cuts.sort_unstable();
        check(KEYS[key], &iv[..IV_LENGTHS[iv_length]], &aad, &text, &cuts);
    }
}
