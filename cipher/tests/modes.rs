//! ECB, CBC and CTR with every padding, whole and in parts, against published cases and the modes written down naively over others' AES.

use aes_gcm::aead::KeyInit;
use aes_gcm::aes::cipher::BlockCipherEncrypt;
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use cipher::mode::{self, Mode};
use cipher::stream::{self, STATE_BYTES};
use cipher::{Error, Padding};
use proptest::prelude::*;

const KEYS: [&[u8]; 3] = [&[7; 16], &[7; 24], &[7; 32]];
const EARLIER: &[u8] = b"earlier output";
const RANDOM: [u8; 15] = [0xA5; 15];

/// Every mode with every padding.
fn modes() -> Vec<Mode> {
    let padded = Padding::ALL.into_iter().flat_map(|padding| [Mode::Ecb(padding), Mode::Cbc(padding)]);
    padded.chain([Mode::Ctr]).collect()
}

fn padding_of(mode: Mode) -> Option<Padding> {
    match mode {
        Mode::Ecb(padding) | Mode::Cbc(padding) => Some(padding),
        Mode::Ctr => None,
    }
}

/// What is removed in the end must not come out before it.
fn is_removed(mode: Mode) -> bool {
    padding_of(mode).is_some_and(Padding::is_removed)
}

fn unhex(digits: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(digit).collect()
}

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at * 7 % 251).expect("below 251")).collect()
}

fn encrypted(mode: Mode, key: &[u8], iv: &[u8], text: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = EARLIER.to_vec();
    let encrypting = mode::encrypt(mode, key, iv, text, &RANDOM, &mut out);
    assert!(out.starts_with(EARLIER) && (encrypting.is_ok() || out == EARLIER), "what is refused leaves nothing");
    encrypting.map(|()| out.split_off(EARLIER.len()))
}

fn decrypted(mode: Mode, key: &[u8], iv: &[u8], text: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = EARLIER.to_vec();
    let decrypting = mode::decrypt(mode, key, iv, text, &mut out);
    assert!(out.starts_with(EARLIER) && (decrypting.is_ok() || out == EARLIER), "what is refused leaves nothing");
    decrypting.map(|()| out.split_off(EARLIER.len()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Encrypt,
    Decrypt,
}

/// The same in the parts between these places, in ascending order; `seen` is told how much was taken in and came out after each.
fn in_parts(
    direction: Direction,
    mode: Mode,
    key: &[u8],
    iv: &[u8],
    text: &[u8],
    cuts: &[usize],
    seen: impl Fn(usize, usize),
) -> Result<Vec<u8>, Error> {
    let (mut state, mut after, mut out, mut from) = ([0xEE; STATE_BYTES], [0xEE; STATE_BYTES], Vec::new(), 0);
    stream::begin(mode, iv, &mut state)?;
    for cut in cuts {
        let cut = (*cut).min(text.len());
        let part = if direction == Direction::Encrypt { stream::encrypt_part } else { stream::decrypt_part };
        part(mode, key, &state, &text[from..cut], &mut after, &mut out)?;
        (state, from) = (after, cut);
        seen(cut, out.len());
    }
    let before_last = out.clone();
    let last = match direction {
        Direction::Encrypt => stream::encrypt_last(mode, key, &state, &text[from..], &RANDOM, &mut out),
        Direction::Decrypt => stream::decrypt_last(mode, key, &state, &text[from..], &mut out),
    };
    assert!(last.is_ok() || out == before_last, "what is refused leaves nothing");
    last.map(|()| out)
}

fn encrypted_block(key: &[u8], block: [u8; 16]) -> [u8; 16] {
    let mut block = block.into();
    match key.len() {
        16 => Aes128::new_from_slice(key).expect("the length fits").encrypt_block(&mut block),
        24 => Aes192::new_from_slice(key).expect("the length fits").encrypt_block(&mut block),
        _ => Aes256::new_from_slice(key).expect("the length fits").encrypt_block(&mut block),
    }
    block.into()
}

fn xor(block: &[u8], other: [u8; 16]) -> Vec<u8> {
    block.iter().zip(other).map(|(a, b)| a ^ b).collect()
}

/// The paddings as one would explain them.
fn padded(padding: Padding, text: &[u8]) -> Vec<u8> {
    let missing = 16 - text.len() % 16;
    let number = u8::try_from(missing).expect("at most 16");
    let tail = match padding {
        Padding::Pkcs5 => vec![number; missing],
        Padding::AnsiX923 => [&vec![0; missing - 1][..], &[number]].concat(),
        Padding::Iso10126 => [&RANDOM[..missing - 1], &[number]].concat(),
        Padding::Zeros => vec![0; missing % 16],
        Padding::None => vec![],
    };
    [text, &tail].concat()
}

/// The modes as SP 800-38A draws them, block by block.
fn by_others(mode: Mode, key: &[u8], iv: &[u8], text: &[u8]) -> Vec<u8> {
    let text = padding_of(mode).map_or(text.to_vec(), |padding| padded(padding, text));
    let mut chain = <[u8; 16]>::try_from(iv).unwrap_or_default();
    let mut out = Vec::new();
    for block in text.chunks(16) {
        match mode {
            Mode::Ecb(_) => out.extend(encrypted_block(key, block.try_into().expect("whole blocks"))),
            Mode::Cbc(_) => {
                chain = encrypted_block(key, xor(block, chain).try_into().expect("whole blocks"));
                out.extend(chain);
            }
            Mode::Ctr => {
                out.extend(xor(block, encrypted_block(key, chain)));
                chain = u128::from_be_bytes(chain).wrapping_add(1).to_be_bytes();
            }
        }
    }
    out
}

/// How much of `taken` bytes has to come out of parts.
fn comes_out(direction: Direction, mode: Mode, taken: usize) -> usize {
    match (direction, mode) {
        (_, Mode::Ctr) => taken,
        (Direction::Encrypt, Mode::Ecb(_)) => taken / 16 * 16,
        (Direction::Encrypt, Mode::Cbc(_)) => (taken / 16).saturating_sub(1) * 16,
        (Direction::Decrypt, _) if is_removed(mode) => taken.saturating_sub(1) / 16 * 16,
        (Direction::Decrypt, _) => taken / 16 * 16,
    }
}

/// One mode, both directions, whole and in parts.
fn check(mode: Mode, key: &[u8], iv: &[u8; 16], text: &[u8], cuts: &[usize]) {
    let iv = &iv[..mode.iv_bytes()];
    let text = if padding_of(mode) == Some(Padding::None) { &text[..text.len() / 16 * 16] } else { text };
    let ciphertext = by_others(mode, key, iv, text);
    let back = if padding_of(mode) == Some(Padding::Zeros) { padded(Padding::Zeros, text) } else { text.to_vec() };
    let case = format!("{mode:?}, {} bytes of key, {} of text, cut at {cuts:?}", key.len(), text.len());

    assert_eq!(encrypted(mode, key, iv, text).as_ref(), Ok(&ciphertext), "{case}");
    assert_eq!(decrypted(mode, key, iv, &ciphertext).as_ref(), Ok(&back), "{case}");
    for (direction, from, to) in [(Direction::Encrypt, text, &ciphertext), (Direction::Decrypt, &ciphertext, &back)] {
        let seen = |taken, out| assert_eq!(out, comes_out(direction, mode, taken), "{taken} were taken in, {case}");
        assert_eq!(in_parts(direction, mode, key, iv, from, cuts, seen).as_ref(), Ok(to), "{case}");
    }
}

/// Appendix F of NIST SP 800-38A: F.1, F.2 and F.5 with all three key sizes.
#[test]
fn the_standards_cases_are_met_at_every_cut() {
    let text = unhex(concat!(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    ));
    let (iv, counter) = (unhex("000102030405060708090a0b0c0d0e0f"), unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"));
    let keys = [
        unhex("2b7e151628aed2a6abf7158809cf4f3c"),
        unhex("8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b"),
        unhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
    ];
    let (ecb, cbc) = (Mode::Ecb(Padding::None), Mode::Cbc(Padding::None));
    for (mode, key, ciphertext) in [
        (
            ecb,
            &keys[0],
            [
                "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf",
                "43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4",
            ],
        ),
        (
            ecb,
            &keys[1],
            [
                "bd334f1d6e45f25ff712a214571fa5cc974104846d0ad3ad7734ecb3ecee4eef",
                "ef7afd2270e2e60adce0ba2face6444e9a4b41ba738d6c72fb16691603c18e0e",
            ],
        ),
        (
            ecb,
            &keys[2],
            [
                "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870",
                "b6ed21b99ca6f4f9f153e7b1beafed1d23304b7a39f9f3ff067d8d8f9e24ecc7",
            ],
        ),
        (
            cbc,
            &keys[0],
            [
                "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2",
                "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
            ],
        ),
        (
            cbc,
            &keys[1],
            [
                "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a",
                "571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd",
            ],
        ),
        (
            cbc,
            &keys[2],
            [
                "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d",
                "39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
            ],
        ),
        (
            Mode::Ctr,
            &keys[0],
            [
                "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff",
                "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
            ],
        ),
        (
            Mode::Ctr,
            &keys[1],
            [
                "1abc932417521ca24f2b0459fe7e6e0b090339ec0aa6faefd5ccc2c6f4ce8e94",
                "1e36b26bd1ebc670d1bd1d665620abf74f78a7f6d29809585a97daec58c6b050",
            ],
        ),
        (
            Mode::Ctr,
            &keys[2],
            [
                "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5",
                "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
            ],
        ),
    ] {
        let iv = match mode {
            Mode::Ecb(_) => &[][..],
            Mode::Cbc(_) => &iv,
            Mode::Ctr => &counter,
        };
        let ciphertext = unhex(&ciphertext.concat());
        assert_eq!(encrypted(mode, key, iv, &text).as_ref(), Ok(&ciphertext), "{mode:?}");
        assert_eq!(decrypted(mode, key, iv, &ciphertext).as_ref(), Ok(&text), "{mode:?}");
        for cut in 0..=text.len() {
            assert_eq!(in_parts(Direction::Encrypt, mode, key, iv, &text, &[cut], |_, _| ()).as_ref(), Ok(&ciphertext), "{mode:?}");
            assert_eq!(in_parts(Direction::Decrypt, mode, key, iv, &ciphertext, &[cut], |_, _| ()).as_ref(), Ok(&text), "{mode:?}");
        }
    }
}

#[test]
fn every_cut_of_a_short_text_in_three_gives_what_others_make_of_it() {
    for mode in modes() {
        for bytes in [0, 1, 15, 16, 17, 31, 32, 33] {
            for one in 0..=bytes {
                for other in one..=bytes {
                    check(mode, KEYS[2], &[9; 16], &text(bytes), &[one, other]);
                }
            }
        }
    }
}

#[test]
fn one_byte_at_a_time_and_empty_parts_change_nothing_with_every_key_size() {
    for (mode, key) in modes().into_iter().flat_map(|mode| KEYS.map(|key| (mode, key))) {
        check(mode, key, &[9; 16], &text(100), &(0..120).collect::<Vec<_>>());
        check(mode, key, &[9; 16], &text(48), &[0, 0, 16, 16, 16, 20, 20, 32, 32, 48, 48, 48]);
    }
}

#[test]
fn pkcs5_in_cbc_is_what_the_usual_functions_do() {
    for key in KEYS {
        for bytes in 0..50 {
            let mut usual = Vec::new();
            mode::cbc_encrypt(key, &[9; 16], &text(bytes), &mut usual).expect("lengths fit");
            assert_eq!(encrypted(Mode::Cbc(Padding::Pkcs5), key, &[9; 16], &text(bytes)), Ok(usual));
        }
    }
}

#[test]
fn a_counter_block_counts_in_all_its_bits_and_comes_round() {
    for key in KEYS {
        for ones in [4, 8, 12, 16] {
            for before_zero in 0..4 {
                let mut counter = [0x3C; 16];
                counter[16 - ones..].fill(0xFF);
                counter[15] -= before_zero;
                for cuts in [&[][..], &[1], &[16, 32, 48], &[31, 33, 63, 65]] {
                    check(Mode::Ctr, key, &counter, &text(100), cuts);
                }
            }
        }
    }
}

/// Whoever knows a ciphertext block before the next plaintext block is fixed has any block of its choice encrypted as it is.
#[test]
fn cbc_puts_out_no_block_before_the_next_one_was_taken_in_with_any_padding() {
    for padding in Padding::ALL {
        for step in 1..=48 {
            let cuts: Vec<usize> = (0..=80).step_by(step).collect();
            let seen = |taken, out| assert!(out == 0 || taken >= out + 16, "{out} bytes are known after {taken} with {padding:?}");
            in_parts(Direction::Encrypt, Mode::Cbc(padding), KEYS[2], &[9; 16], &text(80), &cuts, seen).expect("lengths fit");
        }
    }
}

#[test]
fn broken_blocks_and_bad_paddings_are_refused_alike_where_there_is_one_to_remove() {
    for mode in modes().into_iter().filter(|mode| is_removed(*mode)) {
        let iv = &[9; 16][..mode.iv_bytes()];
        let whole = encrypted(mode, KEYS[1], iv, &text(40)).expect("lengths fit");
        // Blocks of the text end with bytes that tell no length.
        let bad_padding = encrypted(with_padding(mode, Padding::None), KEYS[1], iv, &[&text(40)[..], &[0xEE; 8]].concat());
        let bad_padding = bad_padding.expect("whole blocks");
        for broken in [&whole[..0], &whole[..1], &whole[1..], &whole[..15], &whole[..47], &bad_padding[..]] {
            assert_eq!(decrypted(mode, KEYS[1], iv, broken), Err(Error::Refused), "{mode:?}");
            for cut in 0..=broken.len() {
                let refused = in_parts(Direction::Decrypt, mode, KEYS[1], iv, broken, &[cut], |_, _| ());
                assert_eq!(refused, Err(Error::Refused), "{mode:?}, {} bytes cut at {cut}", broken.len());
            }
        }
    }
}

fn with_padding(mode: Mode, padding: Padding) -> Mode {
    match mode {
        Mode::Ecb(_) => Mode::Ecb(padding),
        Mode::Cbc(_) => Mode::Cbc(padding),
        Mode::Ctr => Mode::Ctr,
    }
}

#[test]
fn a_wrong_length_is_a_typed_error_that_names_the_input() {
    fn check(what: &'static str, is_bytes: usize, got: Result<Vec<u8>, Error>) {
        let error = got.expect_err(what);
        assert!(matches!(error, Error::WrongLength { what: w, is_bytes: n, .. } if w == what && n == is_bytes), "{error}");
    }
    for mode in modes() {
        let iv = &[9; 16][..mode.iv_bytes()];
        for bad in [0, 1, 15, 17, 23, 33, 64] {
            let key = vec![7; bad];
            check("AES key", bad, encrypted(mode, &key, iv, &text(32)));
            check("AES key", bad, decrypted(mode, &key, iv, &text(32)));
            check("AES key", bad, in_parts(Direction::Encrypt, mode, &key, iv, &text(32), &[9], |_, _| ()));
            check("AES key", bad, in_parts(Direction::Decrypt, mode, &key, iv, &text(32), &[9], |_, _| ()));
        }
        let what = match mode {
            Mode::Ecb(_) => "ECB initialization vector",
            Mode::Cbc(_) => "CBC initialization vector",
            Mode::Ctr => "CTR counter block",
        };
        for bad in [0, 1, 12, 15, 16, 17, 64].into_iter().filter(|bytes| *bytes != iv.len()) {
            check(what, bad, encrypted(mode, KEYS[0], &vec![9; bad], &text(32)));
            check(what, bad, decrypted(mode, KEYS[0], &vec![9; bad], &text(32)));
            check(what, bad, in_parts(Direction::Encrypt, mode, KEYS[0], &vec![9; bad], &text(32), &[9], |_, _| ()));
        }
        let long = vec![0; mode::DATA_BYTES_MAX + 1];
        check("data", long.len(), encrypted(mode, KEYS[0], iv, &long));
        check("data", long.len(), decrypted(mode, KEYS[0], iv, &long));
    }
    for (mode, padding) in modes().into_iter().filter_map(|mode| padding_of(mode).map(|padding| (mode, padding))) {
        let iv = &[9; 16][..mode.iv_bytes()];
        for bad in [1, 15, 17, 47] {
            if padding == Padding::None {
                check("data", bad, encrypted(mode, KEYS[0], iv, &text(bad)));
                check("data", bad, in_parts(Direction::Encrypt, mode, KEYS[0], iv, &text(bad), &[3, 16], |_, _| ()));
            }
            if !padding.is_removed() {
                check("data", bad, decrypted(mode, KEYS[0], iv, &text(bad)));
                check("data", bad, in_parts(Direction::Decrypt, mode, KEYS[0], iv, &text(bad), &[3, 16], |_, _| ()));
            }
        }
        if padding == Padding::Iso10126 {
            let mut out = Vec::new();
            let short = mode::encrypt(mode, KEYS[0], iv, b"text", &RANDOM[..14], &mut out);
            check("randomness for ISO 10126", 14, short.map(|()| out));
        } else {
            assert_eq!(mode::encrypt(mode, KEYS[0], iv, &text(32), &[], &mut Vec::new()), Ok(()), "{mode:?} takes no randomness");
        }
    }
}

proptest! {
    #[test]
    fn any_splitting_gives_what_others_make_of_the_whole(
        text in prop::collection::vec(any::<u8>(), 0..3000),
        iv in any::<[u8; 16]>(),
        mut cuts in prop::collection::vec(0_usize..3000, 0..12),
        key in 0_usize..3,
    ) {
        cuts.sort_unstable();
        for mode in modes() {
            check(mode, KEYS[key], &iv, &text, &cuts);
        }
    }
}
