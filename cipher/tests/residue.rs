//! What a call leaves behind: the whole process is searched for the key, its HMAC pads, derived keys and refused plaintext after each operation.
//!
//! The search reads `/proc/self/mem` and skips what the kernel refuses, such as the arena's own pages. Patterns are kept inverted and compared
//! byte by byte, so that the search does not find itself. One test function, because a key in use on another thread would be found as well.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use cipher::kdf::Expander;
use cipher::key_form::{ec_parts, rsa_parts};
use cipher::keywrap::KeyWrap;
use cipher::mac::HmacKey;
use cipher::mode::Mode;
use cipher::pair::{Curve, Pair, PairKind, generate};
use cipher::rsa::{self, Encryption, PaddingHash};
use cipher::signature::{self, Message, Pss, Salt, Scheme};
use cipher::stream::{self, STATE_BYTES};
use cipher::{Aead, Hash, Mac, Padding, agreement, derive, kdf, mac, mode, sign};
use secret::{Backing, Bytes, Key, Settings, scrubbed};
use sha2::block_api::{compress256, compress512};
use sha2::{Digest, Sha512};

/// The bitwise inverse of the key that every operation uses.
const INVERTED_KEY: [u8; 32] = [
    0x3c, 0x91, 0x5e, 0xd7, 0x08, 0xa2, 0x6f, 0xbb, 0x14, 0xe9, 0x42, 0x87, 0xfd, 0x30, 0xc6, 0x7a, //
    0xb5, 0x19, 0xee, 0x63, 0x2d, 0xf4, 0x98, 0x0c, 0x71, 0xca, 0x3f, 0xa6, 0x55, 0x82, 0xdb, 0x10,
];

/// FIPS 180-4, section 5.3.3 and 5.3.5.
const SHA256_START: [u32; 8] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
const SHA512_START: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// Bytes of a pattern that must match in a row; half a key found is a key lost.
const PIECE_BYTES: usize = 16;

const PAGE_BYTES: usize = 4096;

const CARRIED_BYTES: usize = PIECE_BYTES - 1;

#[test]
fn no_operation_leaves_key_bytes_outside_locked_memory() {
    let report = secret::arena::init(Settings::default()).expect("nothing used the arena before");
    // Pages that are only locked can be read by the search: it then finds the key itself, which counts as two pieces.
    let at_rest = match report.backing {
        Backing::Secretmem => 0,
        Backing::Mlock => 2,
    };
    let key = test_key();
    let patterns = patterns();
    let mut search = Search::new();
    assert_eq!(search.hits(&patterns), at_rest, "making the patterns left secret bytes behind");

    let copy = key.expose(|bytes| bytes.to_vec());
    assert_eq!(search.hits(&patterns), at_rest + 2, "the search must find a key that lies open");
    wipe(copy);

    for (name, operation) in OPERATIONS {
        deep_in_the_stack(|| operation(&key));
        assert_eq!(search.hits(&patterns), at_rest, "{name} left secret bytes behind");
    }
    private_keys_leave_nothing(&mut search);
    agreement_leaves_nothing(&mut search);
}

/// Signs and decrypts with RSA, also by calls around aws-lc-rs: the library is to wipe the key that it has read.
fn private_keys_leave_nothing(search: &mut Search) {
    let pair = generate(PairKind::Rsa { bits: 2048 }).expect("the generator works");
    let patterns = pair.private.expose(inverted_numbers);
    let at_rest = search.hits(&patterns);
    let copy = pair.private.expose(<[u8]>::to_vec);
    assert!(search.hits(&patterns) > at_rest, "the search must find a key that lies open");
    wipe(copy);
    let usual = Pss::usual(signature::Hash::Sha256);
    for pss in [usual, Pss { salt: Salt::Bytes(222), ..usual }] {
        deep_in_the_stack(|| sign(&pair, pss));
        assert_eq!(search.hits(&patterns), at_rest, "{pss:?} left secret bytes behind");
    }
    for mask in [PaddingHash::Sha256, PaddingHash::Sha1] {
        deep_in_the_stack(|| encrypt_and_decrypt(&pair, mask));
        assert_eq!(search.hits(&patterns), at_rest, "OAEP with a mask of {mask:?} left secret bytes behind");
    }
}

/// Agrees on a secret on each curve: of scalar and secret nothing is to be found afterwards.
fn agreement_leaves_nothing(search: &mut Search) {
    for curve in Curve::ALL {
        let [pair, other] = [(); 2].map(|()| generate(PairKind::Ec(curve)).expect("the generator works"));
        let agreed = Bytes::init_with(curve.bytes(), |out| agree(&pair, &other, out)).expect("the arena has room");
        let inverted = |number: &[u8]| number.iter().map(|byte| !byte).collect::<Vec<u8>>();
        let scalar = pair.private.expose(|private| inverted(ec_parts(private).expect("it is stored so").1));
        let patterns: Vec<Vec<u8>> =
            [scalar, agreed.expose(inverted)].into_iter().flat_map(|number| [number.iter().rev().copied().collect(), number]).collect();
        let at_rest = search.hits(&patterns);
        let copy = agreed.expose(<[u8]>::to_vec);
        assert!(search.hits(&patterns) > at_rest, "the search must find a secret that lies open");
        wipe(copy);
        deep_in_the_stack(|| {
            let again = Bytes::init_with(curve.bytes(), |out| agree(&pair, &other, out)).expect("the arena has room");
            assert!(again.ct_eq(&agreed));
        });
        assert_eq!(search.hits(&patterns), at_rest, "{curve:?} left secret bytes behind");
    }
}

fn agree(pair: &Pair, other: &Pair, out: &mut [u8]) {
    pair.private.expose(|private| other.public.expose(|public| agreement::agree(private, public, out))).expect("they are of one curve");
}

fn sign(pair: &Pair, pss: Pss) {
    let mut out = Vec::new();
    let message = Message::Data(b"text");
    pair.private.expose(|key| signature::sign(Scheme::Pss(pss), key, message, &mut out)).expect("the salt fits");
}

/// And is refused.
fn encrypt_and_decrypt(pair: &Pair, mask: PaddingHash) {
    let how = Encryption::Oaep { hash: PaddingHash::Sha256, mask };
    let mut sealed = Vec::new();
    pair.public.expose(|key| rsa::encrypt(how, key, b"label", b"text", &mut sealed)).expect("it fits");
    pair.private.expose(|key| rsa::decrypt(how, key, b"label", &sealed, &mut Vec::new())).expect("what was encrypted decrypts");
    assert!(pair.private.expose(|key| rsa::decrypt(how, key, b"other", &sealed, &mut Vec::new())).is_err());
}

/// Inverted: the secret numbers of an RSA key, as they are stored and as the library has them, the lowest byte first.
fn inverted_numbers(private: &[u8]) -> Vec<Vec<u8>> {
    let parts = rsa_parts(private).expect("it is stored so");
    let numbers = [parts.p, parts.q, parts.private_exponent];
    let inverted = numbers.map(|number| number.iter().map(|byte| !byte).collect::<Vec<u8>>());
    inverted.into_iter().flat_map(|number| [number.iter().rev().copied().collect(), number]).collect()
}

/// Runs `operation` so far down the stack that the search, which comes next, does not overwrite what it left.
#[inline(never)]
fn deep_in_the_stack(operation: impl FnOnce()) {
    let above = std::hint::black_box([0_u8; 64 * 1024]);
    operation();
    std::hint::black_box(&above);
}

fn test_key() -> Key<32> {
    Key::init_with(|bytes| bytes.iter_mut().zip(INVERTED_KEY).for_each(|(byte, inverted)| *byte = !inverted)).expect("the arena has room")
}

type Operation = fn(&Key<32>);

const OPERATIONS: [(&str, Operation); 31] = [
    ("wrapping with AES-256-GCM", |key| wrap_and_unwrap(Aead::Aes256Gcm, key)),
    ("wrapping with XChaCha20-Poly1305", |key| wrap_and_unwrap(Aead::XChaCha20Poly1305, key)),
    ("wrapping with AES-256-GCM-SIV", |key| wrap_and_unwrap(Aead::Aes256GcmSiv, key)),
    ("HKDF", |key| drop(derive(key))),
    ("HKDF begun once", |key| drop(derive_often(key))),
    ("HMAC", |key| assert_ne!(key.expose(|key| mac::hmac_sha256(key, &[b"text"])), [0; 32])),
    ("HMAC begun once", |key| assert_ne!(HmacKey::new(key).expect("the arena has room").mac(&[b"text"]), [0; 32])),
    ("Ed25519 signing", |key| assert_ne!(key.expose(|key| sign::sign(key, b"text")), [0; 64])),
    ("Ed25519 key set-up", |key| assert_ne!(key.expose(sign::public_from_seed), [0; 32])),
    ("AES-GCM under the key", |key| key.expose(|key| gcm(key))),
    ("AES-GCM with a long IV under the key", |key| key.expose(|key| gcm_with(key))),
    ("AES-CBC under the key", |key| key.expose(|key| cbc(key))),
    ("KW under the key", |key| key.expose(|key| key_wrap(KeyWrap::Kw, key, &[0x11; 32]))),
    ("KWP under the key", |key| key.expose(|key| key_wrap(KeyWrap::Kwp, key, &[0x11; 30]))),
    ("KW of the key", |key| key.expose(|key| key_wrap(KeyWrap::Kw, &[5; 32], key))),
    ("KWP of the key", |key| key.expose(|key| key_wrap(KeyWrap::Kwp, &[5; 32], &key[..31]))),
    ("AES-GCM in parts under the key", |key| key.expose(|key| gcm_in_parts(key))),
    ("AES-CBC in parts under the key", |key| key.expose(|key| cbc_in_parts(key))),
    ("AES-CBC in parts of the key", |key| key.expose(|key| cbc_of_secret_parts(key))),
    ("every mode and padding under the key", |key| key.expose(|key| modes(key, &[0x11; 64]))),
    ("every mode and padding of the key", |key| key.expose(|key| modes(&[5; 32], key))),
    ("every mode and padding in parts under the key", |key| key.expose(|key| modes_in_parts(key))),
    ("a refused decryption of the key with every padding", |key| key.expose(|key| refused_paddings(key))),
    ("a refused AES-GCM decryption of the key", |key| key.expose(|key| refused_gcm(key))),
    ("a refused AES-GCM decryption of the key by a short tag", |key| key.expose(|key| refused_gcm_with(key))),
    ("a refused AES-CBC decryption of the key", |key| key.expose(|key| refused_cbc(key))),
    ("every MAC under the key", |key| key.expose(|key| macs(key))),
    ("every MAC in parts under the key", |key| key.expose(|key| macs_in_parts(key))),
    ("every hash of the key", |key| key.expose(|key| hashes(key))),
    ("keys derived from the key", |key| key.expose(|key| derivations(key))),
    ("a panic over the key", |key| key.expose(panic_over)),
];

fn wrap_and_unwrap(aead: Aead, key: &Key<32>) {
    let mut buf = [0x11; 64];
    let tag = key.expose(|key| aead.seal_once_in_place(key, b"aad", &mut buf)).expect("a short text");
    key.expose(|key| aead.open_once_in_place(key, b"aad", &mut buf, &tag)).expect("what was sealed opens");
    let refused = key.expose(|key| aead.open_once_in_place(key, b"aad", &mut buf, &tag));
    assert!(refused.is_err());
}

fn every_mac() -> impl Iterator<Item = Mac> {
    Hash::ALL.into_iter().map(Mac::Hmac).chain([Mac::Cmac])
}

fn macs(key: &[u8]) {
    for mac in every_mac() {
        mac.whole(key, &[b"text"], &mut vec![0; mac.bytes()]).expect("the key fits");
    }
}

/// The states between the parts are secret and would lie in locked memory, so they are wiped here.
fn macs_in_parts(key: &[u8]) {
    for mac in every_mac() {
        let (mut state, mut after) = (vec![0; mac.state_bytes()], vec![0; mac.state_bytes()]);
        mac.begin(key, &mut state).expect("the key fits");
        mac.part(key, &state, b"one", &mut after).expect("the key fits");
        mac.last(key, &after, b"two", &mut vec![0; mac.bytes()]).expect("the key fits");
        wipe(state);
        wipe(after);
    }
}

fn hashes(key: &[u8]) {
    for hash in Hash::ALL {
        let mut out = vec![0; hash.bytes()];
        hash.whole(&[key], &mut out);
        let (mut state, mut after) = (vec![0; hash.state_bytes()], vec![0; hash.state_bytes()]);
        hash.begin(&mut state);
        hash.part(&state, key, &mut after);
        hash.last(&after, key, &mut out);
        wipe(state);
        wipe(after);
    }
}

fn derivations(key: &[u8]) {
    let mut out = [0; 32];
    let mac = Mac::Hmac(Hash::Sha256);
    derive::hash(Hash::Sha256, key, &mut out).expect("it fits");
    derive::mac(mac, key, b"data", &mut out).expect("it fits");
    derive::counter_mode(mac, key, b"data", &mut out).expect("it fits");
    derive::counter_mode(Mac::Cmac, key, b"data", &mut out).expect("it fits");
    derive::feedback_mode(mac, key, &[7; 32], b"data", &mut out).expect("it fits");
    derive::double_pipeline_mode(mac, key, b"data", &mut out).expect("it fits");
    derive::encryption(Mode::Ecb(Padding::None), key, &[], &[7; 32], &mut out).expect("it fits");
    let stretch = derive::Stretch::new(Hash::Sha512, key, b"salt", 3, 32).expect("it fits");
    drop(stretch.run().expect("the arena has room"));
}

fn gcm(key: &[u8]) {
    let mut text = Vec::new();
    let tag = mode::gcm_encrypt(key, &[1; 12], b"", &[0x11; 64], &mut text).expect("lengths fit");
    mode::gcm_decrypt(key, &[1; 12], b"", &text, &tag, &mut Vec::new()).expect("what was encrypted decrypts");
}

fn gcm_with(key: &[u8]) {
    let mut text = Vec::with_capacity(128);
    let tag = mode::gcm_encrypt_with(key, &[1; 60], b"aad", &[0x11; 64], 13, &mut text).expect("lengths fit");
    mode::gcm_decrypt_with(key, &[1; 60], b"aad", &text, &tag, &mut Vec::new()).expect("what was encrypted decrypts");
    let (mut state, mut after) = ([0; STATE_BYTES], [0; STATE_BYTES]);
    stream::gcm_begin_with(key, &[1; 60], b"aad", &mut state).expect("lengths fit");
    stream::gcm_encrypt_part(key, &state, &[0x11; 21], &mut after, &mut text).expect("lengths fit");
    stream::gcm_encrypt_last_with(key, &after, &[0x11; 21], 13, &mut text).expect("lengths fit");
}

fn cbc(key: &[u8]) {
    let mut text = Vec::new();
    mode::cbc_encrypt(key, &[1; 16], &[0x11; 64], &mut text).expect("lengths fit");
    mode::cbc_decrypt(key, &[1; 16], &text, &mut Vec::new()).expect("what was encrypted decrypts");
}

/// Wraps, unwraps and is refused; what comes back lies in locked memory.
fn key_wrap(how: KeyWrap, key: &[u8], plain: &[u8]) {
    let mut wrapped = vec![0; how.wrapped_bytes(plain.len()).expect("the length fits")];
    how.wrap(key, plain, &mut wrapped).expect("lengths fit");
    for refused in [false, true] {
        wrapped[20] ^= u8::from(refused);
        let opened = Key::<32>::init_with(|out| assert_eq!(how.unwrap(key, &wrapped, out).is_err(), refused));
        drop(opened.expect("the arena has room"));
    }
}

fn gcm_in_parts(key: &[u8]) {
    let (mut state, mut after, mut out) = ([0; STATE_BYTES], [0; STATE_BYTES], Vec::with_capacity(128));
    stream::gcm_begin(key, &[1; 12], b"aad", &mut state).expect("lengths fit");
    stream::gcm_encrypt_part(key, &state, &[0x11; 21], &mut after, &mut out).expect("lengths fit");
    stream::gcm_encrypt_last(key, &after, &[0x11; 21], &mut out).expect("lengths fit");
}

fn cbc_in_parts(key: &[u8]) {
    let (mut first, mut after, mut text) = ([0; STATE_BYTES], [0; STATE_BYTES], Vec::with_capacity(128));
    stream::cbc_begin(&[1; 16], &mut first).expect("lengths fit");
    stream::cbc_encrypt_part(key, &first, &[0x11; 21], &mut after, &mut text).expect("lengths fit");
    stream::cbc_encrypt_last(key, &after, &[0x11; 21], &mut text).expect("lengths fit");
    let mut out = Vec::with_capacity(128);
    stream::cbc_decrypt_part(key, &first, &text[..21], &mut after, &mut out).expect("lengths fit");
    stream::cbc_decrypt_last(key, &after, &text[21..], &mut out).expect("what was encrypted decrypts");
}

/// 31 bytes of plaintext leave 15 of them in the state, which is the caller's to keep in locked memory.
fn cbc_of_secret_parts(plaintext: &[u8]) {
    let (mut first, mut after, mut text) = ([0; STATE_BYTES], [0; STATE_BYTES], Vec::with_capacity(128));
    stream::cbc_begin(&[1; 16], &mut first).expect("lengths fit");
    stream::cbc_encrypt_part(&[5; 32], &first, &plaintext[..31], &mut after, &mut text).expect("lengths fit");
    stream::cbc_encrypt_last(&[5; 32], &after, &plaintext[31..], &mut text).expect("lengths fit");
}

fn every_mode() -> impl Iterator<Item = Mode> {
    Padding::ALL.into_iter().flat_map(|padding| [Mode::Ecb(padding), Mode::Cbc(padding)]).chain([Mode::Ctr])
}

/// What comes back is wiped here.
fn modes(key: &[u8], plaintext: &[u8]) {
    for mode in every_mode() {
        let (iv, mut text) = (&[1; 16][..mode.iv_bytes()], Vec::with_capacity(128));
        mode::encrypt(mode, key, iv, plaintext, &[2; 15], &mut text).expect("lengths fit");
        let mut out = Vec::with_capacity(256);
        mode::decrypt(mode, key, iv, &text, &mut out).expect("what was encrypted decrypts");
        assert!(out.starts_with(plaintext));
        wipe(out);
    }
}

fn modes_in_parts(key: &[u8]) {
    for mode in every_mode() {
        let (mut first, mut after, mut text) = ([0; STATE_BYTES], [0; STATE_BYTES], Vec::with_capacity(256));
        stream::begin(mode, &[1; 16][..mode.iv_bytes()], &mut first).expect("lengths fit");
        stream::encrypt_part(mode, key, &first, &[0x11; 21], &mut after, &mut text).expect("lengths fit");
        stream::encrypt_last(mode, key, &after, &[0x11; 27], &[2; 15], &mut text).expect("lengths fit");
        let mut out = Vec::with_capacity(256);
        stream::decrypt_part(mode, key, &first, &text[..21], &mut after, &mut out).expect("lengths fit");
        stream::decrypt_last(mode, key, &after, &text[21..], &mut out).expect("what was encrypted decrypts");
    }
}

fn refused_paddings(key: &[u8]) {
    let plaintext = [key, &[0xEE; 16]].concat();
    for padding in Padding::ALL.into_iter().filter(|padding| padding.is_removed()) {
        let mut text = Vec::with_capacity(256);
        mode::encrypt(Mode::Ecb(Padding::None), &[5; 32], &[], &plaintext, &[], &mut text).expect("whole blocks");
        assert!(mode::decrypt(Mode::Ecb(padding), &[5; 32], &[], &text, &mut Vec::new()).is_err());
    }
    wipe(plaintext);
}

fn refused_gcm(plaintext: &[u8]) {
    let mut text = Vec::new();
    let tag = mode::gcm_encrypt(&[5; 32], &[1; 12], b"", plaintext, &mut text).expect("lengths fit");
    assert!(mode::gcm_decrypt(&[5; 32], &[1; 12], b"x", &text, &tag, &mut Vec::new()).is_err());
}

fn refused_gcm_with(plaintext: &[u8]) {
    let mut text = Vec::new();
    let tag = mode::gcm_encrypt_with(&[5; 32], &[1; 60], b"", plaintext, 12, &mut text).expect("lengths fit");
    assert!(mode::gcm_decrypt_with(&[5; 32], &[1; 60], b"x", &text, &tag, &mut Vec::new()).is_err());
}

fn refused_cbc(key: &[u8]) {
    let plaintext = [key, key].concat();
    let mut text = Vec::new();
    mode::cbc_encrypt(&[5; 32], &[1; 16], &plaintext, &mut text).expect("lengths fit");
    // The padding is a block of its own; cut off, the last block of plaintext does not end like padding.
    text.truncate(plaintext.len());
    wipe(plaintext);
    assert!(mode::cbc_decrypt(&[5; 32], &[1; 16], &text, &mut Vec::new()).is_err());
}

fn panic_over(key: &[u8; 32]) {
    let panicked = std::panic::catch_unwind(|| {
        scrubbed(|| {
            let copy = std::hint::black_box(*key);
            assert_eq!(copy[0], copy[1], "the two differ, so this panics");
            std::hint::black_box(&copy);
        });
    });
    assert!(panicked.is_err());
}

/// The pseudorandom key and 64 derived bytes, all in locked memory.
fn derive(key: &Key<32>) -> (Key<64>, Key<64>) {
    let prk = key.expose(|key| kdf::extract(b"salt", key)).expect("the arena has room");
    let derived = Key::try_init_with(|out: &mut [u8; 64]| {
        kdf::expand(&prk, &[b"info"], out).expect("64 bytes are not too many");
        Ok::<(), secret::Exhausted>(())
    });
    (prk, derived.expect("the arena has room"))
}

/// The same 64 derived bytes.
fn derive_often(key: &Key<32>) -> Key<64> {
    let prk = key.expose(|key| kdf::extract(b"salt", key)).expect("the arena has room");
    let expander = Expander::new(&prk).expect("the arena has room");
    let derived = Key::init_with(|out| expander.expand(&[b"info"], out).expect("64 bytes are not too many"));
    derived.expect("the arena has room")
}

/// Inverted: the key and the pseudorandom key, as they are, under the pads of HMAC and as the states of the hash behind those; what is derived from
/// them; Ed25519's secret prefix; GCM's hash key.
fn patterns() -> Vec<Vec<u8>> {
    let key = test_key();
    let (prk, derived) = derive(&key);
    let mut patterns = Vec::new();
    for mask in [0xFF, 0xFF ^ 0x36, 0xFF ^ 0x5C] {
        patterns.push(key.expose(|bytes| bytes.map(|byte| byte ^ mask)).to_vec());
        patterns.push(prk.expose(|bytes| bytes.map(|byte| byte ^ mask)).to_vec());
    }
    for pad in [0x36, 0x5C] {
        patterns.push(key.expose(|key| inverted_sha256_state(key, pad)));
        patterns.push(prk.expose(|prk| inverted_sha512_state(prk, pad)));
    }
    patterns.push(derived.expose(|bytes| bytes.map(|byte| !byte)).to_vec());
    let expanded = Key::<64>::init_with(|out| scrubbed(|| key.expose(|seed| out.copy_from_slice(&Sha512::digest(seed)))));
    patterns.push(expanded.expect("the arena has room").expose(|bytes| bytes[32..].iter().map(|byte| !byte).collect()));
    patterns.push(key.expose(inverted_hash_key));
    patterns
}

/// The words of SHA-256 behind the padded key, as they lie in memory.
fn inverted_sha256_state(key: &[u8; 32], pad: u8) -> Vec<u8> {
    scrubbed(|| {
        let (mut block, mut state) = ([pad; 64], SHA256_START);
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        compress256(&mut state, &[block]);
        state.iter().flat_map(|word| (!word).to_ne_bytes()).collect()
    })
}

/// The same of SHA-512.
fn inverted_sha512_state(key: &[u8; 64], pad: u8) -> Vec<u8> {
    scrubbed(|| {
        let (mut block, mut state) = ([pad; 128], SHA512_START);
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        compress512(&mut state, &[block]);
        state.iter().flat_map(|word| (!word).to_ne_bytes()).collect()
    })
}

/// GCM's hash key is the block of zeros encrypted, and so is the first block of CBC over zeros.
fn inverted_hash_key(key: &[u8; 32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    mode::cbc_encrypt(key, &[0; 16], &[0; 16], &mut out).expect("lengths fit");
    let inverted = out[..16].iter().map(|byte| !byte).collect();
    wipe(out);
    inverted
}

fn wipe(mut bytes: Vec<u8>) {
    bytes.fill(0);
    std::hint::black_box(&bytes);
}

/// Reads the process's own memory page by page through one buffer, whose own content it leaves out.
struct Search {
    memory: File,
    /// The last bytes of the page before, so that a pattern across two pages is found too, then a page.
    buffer: Vec<u8>,
}

impl Search {
    fn new() -> Self {
        let memory = File::open("/proc/self/mem").expect("Linux shows a process its memory");
        Self { memory, buffer: vec![0; CARRIED_BYTES + PAGE_BYTES] }
    }

    /// How many places hold a piece of a pattern.
    fn hits(&mut self, inverted: &[Vec<u8>]) -> usize {
        let hits = writable_ranges().into_iter().map(|range| self.hits_in(range, inverted)).sum();
        self.buffer.fill(0);
        hits
    }

    fn hits_in(&mut self, range: Range<u64>, inverted: &[Vec<u8>]) -> usize {
        let own_start = self.buffer.as_ptr() as u64;
        let own = own_start..own_start + self.buffer.len() as u64;
        let mut hits = 0;
        self.buffer.fill(0);
        for page_start in range.step_by(PAGE_BYTES) {
            let page = &mut self.buffer[CARRIED_BYTES..];
            if self.memory.read_exact_at(page, page_start).is_err() {
                return hits;
            }
            page.iter_mut().zip(page_start..).filter(|(_, place)| own.contains(place)).for_each(|(byte, _)| *byte = 0);
            hits += count(&self.buffer, inverted);
            self.buffer.copy_within(PAGE_BYTES.., 0);
        }
        hits
    }
}

/// The addresses of the mappings of this process that may be written.
fn writable_ranges() -> Vec<Range<u64>> {
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux shows a process its mappings");
    let writable = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw")));
    writable
        .map(|line| {
            let (start, end) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a mapping starts with its range");
            let address = |text| u64::from_str_radix(text, 16).expect("addresses are hexadecimal");
            address(start)..address(end)
        })
        .collect()
}

fn count(bytes: &[u8], inverted: &[Vec<u8>]) -> usize {
    let pieces = || inverted.iter().flat_map(|pattern| pattern.chunks_exact(PIECE_BYTES));
    let matches = |window: &[u8], piece: &[u8]| window.iter().zip(piece).all(|(byte, inverted)| *byte == !inverted);
    bytes.windows(PIECE_BYTES).map(|window| pieces().filter(|piece| matches(window, piece)).count()).sum()
}
