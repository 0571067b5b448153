//! Keys derived from keys (KMIP's Derive Key): what comes out is a key, so every function fills bytes that its caller has in locked memory.

use pbkdf2::pbkdf2_hmac;
use secret::{Bytes, Exhausted, scrubbed, wipe};

use crate::hash::{HASH_BYTES_MAX, Hash};
use crate::mac::Mac;
use crate::mode::{self, Mode};
use crate::{Error, Padding};

/// Most iterations of PBKDF2, over all blocks of what is derived: a second or two of a processor.
pub const ITERATIONS_MAX: u32 = 2_000_000;

/// The front of a hash.
///
/// # Errors
/// [`Error::WrongLength`] if `out` is longer than the hash.
pub fn hash(hash: Hash, data: &[u8], out: &mut [u8]) -> Result<(), Error> {
    front(hash.bytes(), out, |whole| {
        hash.whole(&[data], whole);
        Ok(())
    })
}

/// The front of a MAC of `data` under `key`.
///
/// # Errors
/// [`Error::WrongLength`] if `out` is longer than the MAC, or for an AES key.
pub fn mac(mac: Mac, key: &[u8], data: &[u8], out: &mut [u8]) -> Result<(), Error> {
    front(mac.bytes(), out, |whole| mac.whole(key, &[data], whole))
}

/// Fills `out` with the front of something that has `bytes` bytes.
fn front(bytes: usize, out: &mut [u8], fill: impl FnOnce(&mut [u8]) -> Result<(), Error>) -> Result<(), Error> {
    if out.len() > bytes {
        return Err(too_long(out.len()));
    }
    scrubbed(|| {
        let mut whole = [0; HASH_BYTES_MAX];
        fill(&mut whole[..bytes])?;
        out.copy_from_slice(&whole[..out.len()]);
        Ok(())
    })
}

pub(crate) fn too_long(is_bytes: usize) -> Error {
    Error::WrongLength { what: "derived key", is_bytes, wants: "at most what the derivation method puts out" }
}

/// The front of `data`, encrypted under `key` in a mode without a tag.
///
/// # Errors
/// [`Error::WrongLength`] for key, IV or data, or if `out` is longer than the ciphertext.
pub fn encryption(mode: Mode, key: &[u8], iv: &[u8], data: &[u8], out: &mut [u8]) -> Result<(), Error> {
    if matches!(mode, Mode::Cbc(Padding::Iso10126) | Mode::Ecb(Padding::Iso10126)) {
        return Err(Error::Refused);
    }
    let mut encrypted = Vec::with_capacity(data.len() + mode::BLOCK_BYTES);
    mode::encrypt(mode, key, iv, data, &[], &mut encrypted)?;
    let is_enough = encrypted.len() >= out.len();
    if is_enough {
        out.copy_from_slice(&encrypted[..out.len()]);
    }
    wipe(&mut encrypted);
    if is_enough { Ok(()) } else { Err(too_long(out.len())) }
}

/// NIST SP 800-108, 4.1: the KDF in counter mode, its counter of 32 bits before `fixed`, all of which the caller gives.
///
/// # Errors
/// [`Error::WrongLength`] for an AES key.
pub fn counter_mode(mac: Mac, key: &[u8], fixed: &[u8], out: &mut [u8]) -> Result<(), Error> {
    scrubbed(|| {
        let mut block = [0; HASH_BYTES_MAX];
        for (counter, part) in (1_u32..).zip(out.chunks_mut(mac.bytes())) {
            mac.whole(key, &[&counter.to_be_bytes(), fixed], &mut block[..mac.bytes()])?;
            part.copy_from_slice(&block[..part.len()]);
        }
        Ok(())
    })
}

/// NIST SP 800-108, 4.2: the KDF in feedback mode, its counter of 32 bits between what is fed back and `fixed`, all of which the caller gives.
///
/// - `iv`: what is fed back first: as long as what the MAC puts out, or empty.
///
/// # Errors
/// [`Error::WrongLength`] for an AES key, or the IV.
pub fn feedback_mode(mac: Mac, key: &[u8], iv: &[u8], fixed: &[u8], out: &mut [u8]) -> Result<(), Error> {
    if !iv.is_empty() && iv.len() != mac.bytes() {
        return Err(Error::WrongLength {
            what: "initialization vector",
            is_bytes: iv.len(),
            wants: "none, or as many as the function puts out in",
        });
    }
    scrubbed(|| {
        let (mut block, mut fed) = ([0; HASH_BYTES_MAX], [0; HASH_BYTES_MAX]);
        fed[..iv.len()].copy_from_slice(iv);
        let mut fed_bytes = iv.len();
        for (counter, part) in (1_u32..).zip(out.chunks_mut(mac.bytes())) {
            mac.whole(key, &[&fed[..fed_bytes], &counter.to_be_bytes(), fixed], &mut block[..mac.bytes()])?;
            part.copy_from_slice(&block[..part.len()]);
            (fed, fed_bytes) = (block, mac.bytes());
        }
        Ok(())
    })
}

/// NIST SP 800-108, 4.3: the KDF in double-pipeline iteration mode, its counter of 32 bits between the first pipeline's output and `fixed`, all of
/// which the caller gives.
///
/// # Errors
/// [`Error::WrongLength`] for an AES key.
pub fn double_pipeline_mode(mac: Mac, key: &[u8], fixed: &[u8], out: &mut [u8]) -> Result<(), Error> {
    scrubbed(|| {
        let (mut block, mut piped) = ([0; HASH_BYTES_MAX], [0; HASH_BYTES_MAX]);
        mac.whole(key, &[fixed], &mut piped[..mac.bytes()])?;
        for (counter, part) in (1_u32..).zip(out.chunks_mut(mac.bytes())) {
            mac.whole(key, &[&piped[..mac.bytes()], &counter.to_be_bytes(), fixed], &mut block[..mac.bytes()])?;
            part.copy_from_slice(&block[..part.len()]);
            mac.whole(key, &[&piped[..mac.bytes()]], &mut block[..mac.bytes()])?;
            piped = block;
        }
        Ok(())
    })
}

/// PBKDF2 (RFC 8018) with HMAC, ready to be run where it may take long.
#[derive(Debug)]
pub struct Stretch {
    derive: fn(&[u8], &[u8], u32, &mut [u8]),
    password: Bytes,
    salt: Vec<u8>,
    iterations: u32,
    bytes: usize,
}

impl Stretch {
    /// A derivation of `bytes` bytes; the password is copied.
    ///
    /// # Errors
    /// [`Error::Refused`] for a hash function that is neither SHA-1 nor of SHA-2; [`Error::WrongLength`] for no iteration, or more than
    /// [`ITERATIONS_MAX`] over all blocks; [`Error::Exhausted`].
    pub fn new(hash: Hash, password: &[u8], salt: &[u8], iterations: u32, bytes: usize) -> Result<Self, Error> {
        let derive: fn(&[u8], &[u8], u32, &mut [u8]) = match hash {
            Hash::Sha1 => pbkdf2_hmac::<sha1::Sha1>,
            Hash::Sha224 => pbkdf2_hmac::<sha2::Sha224>,
            Hash::Sha256 => pbkdf2_hmac::<sha2::Sha256>,
            Hash::Sha384 => pbkdf2_hmac::<sha2::Sha384>,
            Hash::Sha512 => pbkdf2_hmac::<sha2::Sha512>,
            _ => return Err(Error::Refused),
        };
        let blocks = bytes.div_ceil(hash.bytes()).max(1) as u64;
        if iterations == 0 || blocks * u64::from(iterations) > u64::from(ITERATIONS_MAX) {
            let is_bytes = usize::try_from(iterations).unwrap_or(usize::MAX);
            return Err(Error::WrongLength { what: "iteration count", is_bytes, wants: "1 to 2000000 over all blocks of what is derived" });
        }
        let password = Bytes::init_with(password.len(), |copy| copy.copy_from_slice(password))?;
        Ok(Self { derive, password, salt: salt.to_vec(), iterations, bytes })
    }

    /// Derives.
    ///
    /// # Errors
    /// [`Exhausted`] without locked memory.
    pub fn run(self) -> Result<Bytes, Exhausted> {
        Bytes::init_with(self.bytes, |out| {
            self.password.expose(|password| scrubbed(|| (self.derive)(password, &self.salt, self.iterations, out)));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hexadecimal")
    }

    fn check(expected: &str, derive: impl Fn(&mut [u8]) -> Result<(), Error>) {
        let expected = hex(expected);
        let mut out = vec![0; expected.len()];
        derive(&mut out).expect("the inputs fit");
        assert_eq!(out, expected);
        // A shorter key is the front of a longer one.
        derive(&mut out[..7]).expect("the inputs fit");
        assert_eq!(out[..7], expected[..7]);
    }

    /// RFC 6070, cases 1, 2 and 5; with SHA-256 the same inputs by Python's hashlib.
    #[test]
    fn pbkdf2_is_that_of_its_document() {
        let (password, salt) = (&b"password"[..], &b"salt"[..]);
        let pbkdf2 = |hash, password: &[u8], salt: &[u8], iterations, out: &mut [u8]| {
            let derived = Stretch::new(hash, password, salt, iterations, out.len())?.run()?;
            derived.expose(|derived| out.copy_from_slice(derived));
            Ok(())
        };
        check("0c60c80f961f0e71f3a9b524af6012062fe037a6", |out| pbkdf2(Hash::Sha1, password, salt, 1, out));
        check("ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957", |out| pbkdf2(Hash::Sha1, password, salt, 2, out));
        check("3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038", |out| {
            pbkdf2(Hash::Sha1, b"passwordPASSWORDpassword", b"saltSALTsaltSALTsaltSALTsaltSALTsalt", 4096, out)
        });
        check("c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134af7ad98c1b458ce3f", |out| {
            pbkdf2(Hash::Sha256, password, salt, 4096, out)
        });
    }

    /// Computed by a few lines of Python's hmac, by section 4.1 of SP 800-108.
    #[test]
    fn counter_mode_is_that_of_its_document() {
        let fixed = b"label\0context";
        check("e4681742cf733275b27b83e2cd92e116981948c6b530006763d782b27fb2873dc048a053981786b04f3482fbe219f4227ad9", |out| {
            counter_mode(Mac::Hmac(Hash::Sha256), b"a key of some length", fixed, out)
        });
        check(
            "eb4f964d4ed9632366ac647b4f045a2a4753ab92f9ed3968a917386dcbe9b5435646626461a2a8af2d9d1eb5ba76de09ee763165e5b920e1e782c0d604d151808ae20f764bfe9f0a103fbd566c327b7ad2dbcbc332ed7238e2708b03a4ad0fb355853bc7",
            |out| counter_mode(Mac::Hmac(Hash::Sha512), b"a key of some length", fixed, out),
        );
        let cmac = |text: &[u8]| {
            let mut out = [0; 16];
            Mac::Cmac.whole(&[7; 16], &[text], &mut out).expect("the key fits");
            out
        };
        let mut out = [0; 20];
        counter_mode(Mac::Cmac, &[7; 16], fixed, &mut out).expect("the key fits");
        let blocks = [cmac(b"\0\0\0\x01label\0context"), cmac(b"\0\0\0\x02label\0context")].concat();
        assert_eq!(out, blocks[..20]);
    }

    /// NIST CAVP, KDFFeedback_gen.rsp, counter of 32 bits behind the iteration variable: HMAC-SHA-256 with an IV and without one.
    #[test]
    fn feedback_mode_is_that_of_its_document() {
        let sha_256 = Mac::Hmac(Hash::Sha256);
        let (key, iv, fixed) = (
            hex("93f698e842eed75394d629d957e2e89c6e741f810b623c8b901e38376d068e7b"),
            hex("9f575d9059d3e0c0803f08112f8a806de3c3471912cdf42b095388b14b33508e"),
            hex("53b89c18690e2057a1d167822e636de50be0018532c431f7f5e37f77139220d5e042599ebe266af5767ee18cd2c5c19a1f0f80"),
        );
        check(
            "bd1476f43a4e315747cf5918e0ea5bc0d98769457477c3ab18b742def0e079a933b756365afb5541f253fee43c6fd788a44041038509e9eeb68f7d65ffbb5f95",
            |out| feedback_mode(sha_256, &key, &iv, &fixed, out),
        );
        let (key, fixed) = (
            hex("e3dd9ec3bc30026325040b4d6a820234319bbacf204c9b3c95aef17216513395"),
            hex("06b76346a153c26e1c493ef94d72095cfa23e08042407368d72ae760f2f1f2125121f0b3ec105fe75818e247da135e42305dfb"),
        );
        check(
            "dafc087eea03a7865ad67cf9c441125c55de25d818de44279a49e77b370179c1e0a56bf8e905dfc3bb6f8d187106e1a793e77d198d041f4ce6a5072b8610b2c9b5bdf0c0ca07",
            |out| feedback_mode(sha_256, &key, &[], &fixed, out),
        );
        for bytes in [1, 31, 33, 64] {
            let refused = feedback_mode(sha_256, &key, &vec![7; bytes], &fixed, &mut [0; 32]);
            assert!(matches!(refused, Err(Error::WrongLength { what: "initialization vector", .. })), "{bytes}");
        }
        assert_eq!(feedback_mode(Mac::Cmac, &[7; 16], &[7; 16], &fixed, &mut [0; 32]), Ok(()));
        assert!(feedback_mode(Mac::Cmac, &[7; 15], &[], &fixed, &mut [0; 32]).is_err(), "no AES key");
    }

    /// NIST CAVP, KDFDblPipeline_gen.rsp, counter of 32 bits behind the iteration variable: CMAC-AES-128 and HMAC-SHA-256.
    #[test]
    fn double_pipeline_mode_is_that_of_its_document() {
        let (key, fixed) = (
            hex("34f0c2542bfe13c7149b68c8a1ef636b"),
            hex("daefcc52d6e32e1614109268933087fce3d64a5a6f111ba1a8d343a1e388a1752aaea93853be52864997a81c84b04c4f3ff3bd"),
        );
        check(
            "fc0eae673e7db3c4660668e187bcd81d5ca9b89213d8d741e71c9bab89bb4fb3c4df541d89a8117f0f56b0f15111ae28abf81fb7d7349fbbcaf01137e4d73527",
            |out| double_pipeline_mode(Mac::Cmac, &key, &fixed, out),
        );
        let (key, fixed) = (
            hex("9306645e6b3182a66b1cca905480b7ffa8d60467a52c12202476a54287a45bc0"),
            hex("0fc1704af3daaa5942025495c22a710ed64bba03d71f0f89ee2b37552a073797d639a8fda73ee616332f5a54e51359ea578382"),
        );
        check(
            "a0a718541e7722e8a62b7946ea0244d1b6f3f1dc9213a880cc1c777ead8814b51b687777258e32fe9f0e85854271d9cb029026c3c7eb920136005634b4e1c09acffa969cd952",
            |out| double_pipeline_mode(Mac::Hmac(Hash::Sha256), &key, &fixed, out),
        );
        assert!(double_pipeline_mode(Mac::Cmac, &[7; 15], &fixed, &mut [0; 32]).is_err(), "no AES key");
    }

    #[test]
    fn what_a_method_puts_out_is_all_there_is() {
        let mut out = [0; 65];
        for (bytes, function) in [(20, Hash::Sha1), (32, Hash::Sha256), (64, Hash::Sha512)] {
            hash(function, b"data", &mut out[..bytes]).expect("all of it");
            assert!(matches!(hash(function, b"data", &mut out[..=bytes]), Err(Error::WrongLength { what: "derived key", .. })));
            mac(Mac::Hmac(function), b"key", b"data", &mut out[..bytes]).expect("all of it");
            assert!(mac(Mac::Hmac(function), b"key", b"data", &mut out[..=bytes]).is_err());
        }
        let ecb = Mode::Ecb(Padding::None);
        encryption(ecb, &[7; 16], &[], &[1; 32], &mut out[..32]).expect("all of it");
        let mut direct = Vec::new();
        mode::encrypt(ecb, &[7; 16], &[], &[1; 32], &[], &mut direct).expect("whole blocks");
        assert_eq!(out[..32], direct);
        assert!(matches!(encryption(ecb, &[7; 16], &[], &[1; 32], &mut out[..33]), Err(Error::WrongLength { what: "derived key", .. })));
        assert_eq!(encryption(Mode::Ecb(Padding::Iso10126), &[7; 16], &[], &[1; 32], &mut out[..32]), Err(Error::Refused));
    }

    #[test]
    fn iterations_are_bounded_over_all_blocks() {
        let new = |hash, iterations, bytes| Stretch::new(hash, b"password", b"salt", iterations, bytes).map(|_| ());
        assert!(matches!(new(Hash::Sha256, 0, 32), Err(Error::WrongLength { what: "iteration count", .. })));
        assert!(new(Hash::Sha256, ITERATIONS_MAX / 2 + 1, 33).is_err());
        assert!(new(Hash::Sha256, ITERATIONS_MAX + 1, 32).is_err());
        assert!(new(Hash::Sha256, u32::MAX, 64).is_err());
        assert_eq!(new(Hash::Sha256, ITERATIONS_MAX, 32), Ok(()));
        assert_eq!(new(Hash::Sha256, ITERATIONS_MAX / 2, 33), Ok(()));
        assert_eq!(new(Hash::Md5, 1, 16), Err(Error::Refused));
    }
}
