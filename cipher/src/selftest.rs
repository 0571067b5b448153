//! Known-answer tests that run at start and on demand, before any key is touched (C17).
//!
//! KW is RFC 3394 section 4.6, KWP the first example of RFC 5649 section 6, Ed25519 is case 2 of RFC 8032 section 7.1, ECDSA is in RFC 6979, A.2.5, HMAC-SHA-256 is case 2 of
//! RFC 4231, SHA-256 is the example of FIPS 180-4; what clients hash and
//! authenticate is told at its constants; Shamir's shares are a few lines of Python's; all other answers were computed with OpenSSL and libsodium from the inputs below. Every cipher
//! must also refuse changed bytes.

use crate::hash::{HASH_BYTES_MAX, Hash};
use crate::keywrap::{KEY_WRAP_OVERHEAD_BYTES, KeyWrap};
use crate::mac::{Mac, hmac_sha256, sha256};
use crate::mode::Mode;
use crate::signature::{self, Message, Scheme};
use crate::stream::{self, STATE_BYTES};
use crate::{Aead, Error, Padding, ecdsa, kdf, mode, shamir, sign};

/// An algorithm gave a wrong answer: no cryptography may be used in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("self-test failed: {what}; do not restart in a loop, check the memory, the processor and the installed binary")]
pub struct SelfTestFailed {
    /// What failed.
    pub what: &'static str,
}

/// Runs every known-answer test; takes about a millisecond, some 20 ms the first time because the libraries set themselves up.
///
/// # Errors
/// [`SelfTestFailed`] with the name of the first algorithm that gave a wrong answer.
pub fn run() -> Result<(), SelfTestFailed> {
    AEADS.iter().try_for_each(AeadAnswer::check)?;
    GCMS.iter().try_for_each(GcmAnswer::check)?;
    LONG_IVS.iter().try_for_each(LongIvAnswer::check)?;
    CBCS.iter().try_for_each(CbcAnswer::check)?;
    MODES.iter().try_for_each(ModeAnswer::check)?;
    KEY_WRAPS.iter().try_for_each(KeyWrapAnswer::check)?;
    HKDF.check()?;
    require(hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]) == HMAC, "HMAC-SHA-256")?;
    require(sha256(&[b"a", b"bc"]) == SHA, "SHA-256")?;
    require(hashes_of_clients() == HASHES, "client data: a hash function")?;
    require(hmacs_of_clients() == Ok(HMACS), "client data: HMAC")?;
    require(cmac_of_clients() == Ok(CMAC), "client data: AES-CMAC")?;
    SIGNATURE.check()?;
    ECDSA.check()?;
    RSA.check()?;
    SHAMIR.check()
}

/// SHA-256 of all hashes of "abc" in their order, each as its own standard publishes it.
const HASHES: [u8; 32] = unhex("06d5c6240471fcc36a25505c29424ada4218ddeef90915b83f7d591e36bd5260");
/// SHA-256 of the HMACs of case 2 of RFC 4231 with the functions of [`hmacs_of_clients`].
const HMACS: [u8; 32] = unhex("b4d1f7f78d2d7a393edeac524ad1ab50d6a64ad2275bdbaadee672f20ad8df53");
/// Example 3 of RFC 4493.
const CMAC: [u8; 16] = unhex("dfa66747de9ae63030ca32611497c827");

fn hashes_of_clients() -> [u8; 32] {
    let mut all = Vec::with_capacity(Hash::ALL.len() * HASH_BYTES_MAX);
    for hash in Hash::ALL {
        let begin = all.len();
        all.resize(begin + hash.bytes(), 0);
        hash.whole(&[b"a", b"bc"], &mut all[begin..]);
    }
    sha256(&[&all])
}

fn hmacs_of_clients() -> Result<[u8; 32], Error> {
    use Hash as H;
    let mut all = Vec::with_capacity(9 * HASH_BYTES_MAX);
    for hash in [H::Sha1, H::Sha224, H::Sha256, H::Sha384, H::Sha512, H::Sha3_224, H::Sha3_256, H::Sha3_384, H::Sha3_512] {
        let begin = all.len();
        all.resize(begin + hash.bytes(), 0);
        Mac::Hmac(hash).whole(b"Jefe", &[b"what do ya want ", b"for nothing?"], &mut all[begin..])?;
    }
    Ok(sha256(&[&all]))
}

fn cmac_of_clients() -> Result<[u8; 16], Error> {
    let key: [u8; 16] = unhex("2b7e151628aed2a6abf7158809cf4f3c");
    let text: [u8; 40] = unhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411");
    let mut mac = [0; 16];
    Mac::Cmac.whole(&key, &[&text], &mut mac).map(|()| mac)
}

const KEY: [u8; 32] = counting(0);
const NONCE: [u8; 24] = counting(0x40);
const CBC_IV: [u8; 16] = counting(0x40);
const LONG_IV: [u8; 60] = counting(0x40);
const PADDING_RANDOM: [u8; 15] = counting(0x80);
const AAD: &[u8] = b"strongroom self-test";
const TEXT: &[u8; 39] = b"known answers, encrypted and back again";

struct AeadAnswer {
    what: &'static str,
    aead: Aead,
    ciphertext: [u8; TEXT.len()],
    tag: [u8; 16],
}

const AEADS: [AeadAnswer; 3] = [
    AeadAnswer {
        what: "AES-256-GCM",
        aead: Aead::Aes256Gcm,
        ciphertext: unhex("89d7c154481ce66dbeb37244e848333e17a52025c7416a4757262081b7718cb8f32892cbbfd0b1"),
        tag: unhex("00dfd375c37d5d00d409beaf122a4e46"),
    },
    AeadAnswer {
        what: "XChaCha20-Poly1305",
        aead: Aead::XChaCha20Poly1305,
        ciphertext: unhex("bf576a07bec01878fc83e2ccdcb045f7fcd9dfbd632d36fe4a509321296642f37dd9630934fbea"),
        tag: unhex("8352d0e36d95fd9fe973c62e9620ddde"),
    },
    AeadAnswer {
        what: "AES-256-GCM-SIV",
        aead: Aead::Aes256GcmSiv,
        ciphertext: unhex("e65ae69af33187c5e2ffde9a45d9a9ff3fda95cb49038749e34fb0072867fc61abb3ddc39a9583"),
        tag: unhex("064b9d08bdaf9753f30af20f257c27b4"),
    },
];

struct GcmAnswer {
    what: &'static str,
    key_bytes: usize,
    ciphertext: [u8; TEXT.len()],
    tag: [u8; 16],
}

const GCMS: [GcmAnswer; 3] = [
    GcmAnswer {
        what: "client data: AES-128-GCM",
        key_bytes: 16,
        ciphertext: unhex("524706bd036b98deffce266d8d0b5d9d221ecb126da6f0fa9b21a6455cbe626a66fa390dfac85c"),
        tag: unhex("d1e4998ce0ea0ccdded8f344dabfcff3"),
    },
    GcmAnswer {
        what: "client data: AES-192-GCM",
        key_bytes: 24,
        ciphertext: unhex("4d62330dff7739db9e64e0ce2e1f330fe69874e3b44f1afcef2e8fcbec5e4707f4cd84f0e03dab"),
        tag: unhex("e3dad45bd14d8b2bad625a2744c0ac05"),
    },
    GcmAnswer {
        what: "client data: AES-256-GCM",
        key_bytes: 32,
        ciphertext: unhex("89d7c154481ce66dbeb37244e848333e17a52025c7416a4757262081b7718cb8f32892cbbfd0b1"),
        tag: unhex("00dfd375c37d5d00d409beaf122a4e46"),
    },
];

/// GCM with an IV that becomes a counter block by hashing, and with every length of tag.
struct LongIvAnswer {
    what: &'static str,
    key_bytes: usize,
    ciphertext: [u8; TEXT.len()],
    tag: [u8; 16],
}

const LONG_IVS: [LongIvAnswer; 3] = [
    LongIvAnswer {
        what: "client data: AES-128-GCM with a long IV",
        key_bytes: 16,
        ciphertext: unhex("e8fddaf7a4d3c89a4d57b4963968459df99a8e5a317040df87dd1817e18358b0cb457b79d39335"),
        tag: unhex("e5af0d2aea12ac30856e71a23ac7eb8d"),
    },
    LongIvAnswer {
        what: "client data: AES-192-GCM with a long IV",
        key_bytes: 24,
        ciphertext: unhex("21078be987c77321c0994466276f8e62e0086c647ffcc3135972bcdb508f5d3432c094ef3a2107"),
        tag: unhex("4dc8a3582af3a8a70ef48e03bf5aa87e"),
    },
    LongIvAnswer {
        what: "client data: AES-256-GCM with a long IV",
        key_bytes: 32,
        ciphertext: unhex("c94f269d2f5e78f320f4110512e669b7dabf38893e7a6b896a8641af4f54346f7be93c299af03d"),
        tag: unhex("4fb559e4936f95c5688b9c64364a43f6"),
    },
];

struct CbcAnswer {
    what: &'static str,
    key_bytes: usize,
    ciphertext: [u8; 48],
}

const CBCS: [CbcAnswer; 3] = [
    CbcAnswer {
        what: "client data: AES-128-CBC",
        key_bytes: 16,
        ciphertext: unhex("6c58ed23679f78d9370ab63cbbb24ed87873d7f3275a3e877765b56da7641d1e44c0be2d5f2e6684358149806ee5b654"),
    },
    CbcAnswer {
        what: "client data: AES-192-CBC",
        key_bytes: 24,
        ciphertext: unhex("99b2d45ea4d94acfdaf5509f4a465a221afc63bbc32c6efe9d40d61136e777bf9b9896a60156ab8051ed20a8efe55a41"),
    },
    CbcAnswer {
        what: "client data: AES-256-CBC",
        key_bytes: 32,
        ciphertext: unhex("f65d2ac689712fd6113a840505ebb28c221871faaf8f59b0bb34ef14374aa6ec8cae188801af2cb535fb85f14febddaa"),
    },
];

/// A mode without a tag. Data that is not padded is the first two blocks.
#[derive(Clone, Copy)]
struct ModeAnswer<'a> {
    what: &'static str,
    mode: Mode,
    key_bytes: usize,
    ciphertext: &'a [u8],
}

const MODES: [ModeAnswer<'static>; 10] = [
    ModeAnswer {
        what: "client data: AES-128-ECB",
        mode: Mode::Ecb(Padding::Pkcs5),
        key_bytes: 16,
        ciphertext: &unhex::<48>("ee0952d74fe3e077dd91f7aab2c973fe687051362a2f7adbc3a3bf19803ed578f5f148ff06b987a01144c6457f268cb4"),
    },
    ModeAnswer {
        what: "client data: AES-192-ECB",
        mode: Mode::Ecb(Padding::Pkcs5),
        key_bytes: 24,
        ciphertext: &unhex::<48>("051f499771ca55a0cd570de8d4d1d30661df328167eda7ddfef8fd38c28c43796d099a284f0612caf4e6a28ad6edb51b"),
    },
    ModeAnswer {
        what: "client data: AES-256-ECB",
        mode: Mode::Ecb(Padding::Pkcs5),
        key_bytes: 32,
        ciphertext: &unhex::<48>("133fb6d3e50bd522cadc1d386c46d1350b3e0befe783a13ae965dffa6229229bb4bc631b4f0f34f85b1f2cd6d8b04534"),
    },
    ModeAnswer {
        what: "client data: AES-128-CTR",
        mode: Mode::Ctr,
        key_bytes: 16,
        ciphertext: &unhex::<39>("be5d8aec2b8132830d29f92f8fd16acf5caaafbb405eca8ceadabb46ee4244782d1dfcc72cb8b7"),
    },
    ModeAnswer {
        what: "client data: AES-192-CTR",
        mode: Mode::Ctr,
        key_bytes: 24,
        ciphertext: &unhex::<39>("4c3af14649794cfd83e605ff54c546b13d0d40c0f9d3bf6cbf903d883f85789a98150791f35c16"),
    },
    ModeAnswer {
        what: "client data: AES-256-CTR",
        mode: Mode::Ctr,
        key_bytes: 32,
        ciphertext: &unhex::<39>("c810b048f97adb81e00c07b5fe779132de166cead89a0125ab88d3aa703434528e50c28ccc89c9"),
    },
    ModeAnswer {
        what: "client data: AES-256-CBC without padding",
        mode: Mode::Cbc(Padding::None),
        key_bytes: 32,
        ciphertext: &unhex::<32>("f65d2ac689712fd6113a840505ebb28c221871faaf8f59b0bb34ef14374aa6ec"),
    },
    ModeAnswer {
        what: "client data: AES-256-CBC with padding by zeros",
        mode: Mode::Cbc(Padding::Zeros),
        key_bytes: 32,
        ciphertext: &unhex::<48>("f65d2ac689712fd6113a840505ebb28c221871faaf8f59b0bb34ef14374aa6ecee7091ff90b572b3a61006e28064c38b"),
    },
    ModeAnswer {
        what: "client data: AES-256-CBC with X9.23 padding",
        mode: Mode::Cbc(Padding::AnsiX923),
        key_bytes: 32,
        ciphertext: &unhex::<48>("f65d2ac689712fd6113a840505ebb28c221871faaf8f59b0bb34ef14374aa6eccaa07ba6fb83d61b65156ed19f771abe"),
    },
    ModeAnswer {
        what: "client data: AES-256-CBC with ISO 10126 padding",
        mode: Mode::Cbc(Padding::Iso10126),
        key_bytes: 32,
        ciphertext: &unhex::<48>("f65d2ac689712fd6113a840505ebb28c221871faaf8f59b0bb34ef14374aa6ec756858fe4427fc754832183950201ed9"),
    },
];

#[derive(Clone, Copy)]
struct KeyWrapAnswer<'a> {
    how: KeyWrap,
    key: &'a [u8],
    plain: &'a [u8],
    wrapped: &'a [u8],
}

const KEY_WRAPS: [KeyWrapAnswer<'static>; 2] = [
    KeyWrapAnswer {
        how: KeyWrap::Kw,
        key: &counting::<32>(0),
        plain: &unhex::<32>("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"),
        wrapped: &unhex::<40>("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"),
    },
    KeyWrapAnswer {
        how: KeyWrap::Kwp,
        key: &unhex::<24>("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8"),
        plain: &unhex::<20>("c37b7e6492584340bed12207808941155068f738"),
        wrapped: &unhex::<32>("138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"),
    },
];

struct HkdfAnswer {
    out: [u8; 96],
}

const HKDF: HkdfAnswer = HkdfAnswer {
    out: unhex(
        "7bc96a99133e935bd4c5801723436ffdc08497eb6ed0fb06391bd1284e68d6d922fcf298cf3d0da994020ddbc7bca3a5\
         0f3557819b2d1927884d5e77afb35cd5ec198829cea38be3283d639ebe6f1c66a62e9aefd6b83dc5de55a9de964c4f0e",
    ),
};

const HMAC: [u8; 32] = unhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
const SHA: [u8; 32] = unhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");

struct SignatureAnswer {
    seed: [u8; 32],
    public: [u8; 32],
    message: &'static [u8],
    signature: [u8; 64],
}

const SIGNATURE: SignatureAnswer = SignatureAnswer {
    seed: unhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"),
    public: unhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"),
    message: &[0x72],
    signature: unhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
};

struct RsaAnswer {
    public: [u8; 270],
    message: &'static [u8],
    signature: [u8; 256],
}

const RSA: RsaAnswer = RsaAnswer {
    public: unhex(
        "3082010a0282010100927b6d8b961feae4c1c18c56b72c5437949303cf3d6df44cb7ac75427215bfae09b84b137cdb792a684f3d822e3066f82a0e993f6ce85f\
         6bbfbcec83d5467d5e05bdfc25915b4a8b6729ae4ce954070e49d7ff90a4ea64f12f8e510591b26f7c7ca4dcab02f26c8eae110078b325ade834736523d16bd9\
         4dc4b8c96f1e5b4f8aa41e452809b4864b6742db0db2bd321859dae78c6e120d3de484e3898edd916a8486e31c22007769b0f8acd7e2cd7b234505904ea04cd3\
         0eb91ac4b67a2fe06b93387df0fdb0ae85c650f2674e4cd98b2f732adee506b0639928ec3e5dac162ed56f1fa18deb2cc01996bcd08097657308456894e28762\
         c03fc58a34c24f11770203010001",
    ),
    message: AAD,
    signature: unhex(
        "5f3963044e8f5a9a377694604d699f4dfeca3c398a474dccc7a52bb1a9bcc7f0d5b76503383ed86a325d44f95f825ec210d80b84038cea35741b16cb04699f6e\
         d39d7a2a33f22c72d6f12507bec3428433ccce1880abaad4267bf02634ed0afabd176a731f65d29ce2264394231ed020146a2eddf4c5364099853519ad95f702\
         1579f657a4105f473783745b6941febfc19f8a7721e4760096c0ac2f4d697e987b6ec91bfd479bcb3383b70b2d607c4ed44067ce1d3291b277679bb6ea7589fc\
         1993e3eb50ee91ba82fc9865a93b5fb3dedb42527ec28a1f5f205cabf96eee3a3bf1e71b9c469c89ffdc3c1a3234ee17712f1be284c2c18c509092bf0696b1cc",
    ),
};

struct EcdsaAnswer {
    public: [u8; ecdsa::PUBLIC_BYTES],
    message: &'static [u8],
    signature: [u8; ecdsa::SIGNATURE_BYTES],
}

const ECDSA: EcdsaAnswer = EcdsaAnswer {
    public: unhex(
        "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
         7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
    ),
    message: b"sample",
    signature: unhex(
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
         f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
    ),
};

/// Three of the shares of KEY, any of which give it back, by coefficients that count from 0x40.
struct ShamirAnswer {
    shares: [(u8, [u8; 32]); 3],
}

const SHAMIR: ShamirAnswer = ShamirAnswer {
    shares: [
        (1, unhex("202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f")),
        (2, unhex("1b1c15120700090e23242d2a3f3831366b6c65627770797e53545d5a4f484146")),
        (255, unhex("45a88469dc311df06c81ad40f51834d917fad63b8e634fa23ed3ff12a74a668b")),
    ],
};

impl AeadAnswer {
    fn check(&self) -> Result<(), SelfTestFailed> {
        let nonce = &NONCE[..self.aead.nonce_bytes()];
        let mut buf = *TEXT;
        let tag = self.aead.seal_in_place(&KEY, nonce, AAD, &mut buf);
        require(tag == Ok(self.tag) && buf == self.ciphertext, self.what)?;

        let opened = self.aead.open_in_place(&KEY, nonce, AAD, &mut buf, &self.tag);
        require(opened == Ok(()) && buf == *TEXT, self.what)?;

        let refused = |aad: &[u8], mut text: [u8; TEXT.len()], tag: &[u8; 16]| {
            self.aead.open_in_place(&KEY, nonce, aad, &mut text, tag) == Err(Error::Refused) && text == [0; TEXT.len()]
        };
        require(refused(AAD, flipped(self.ciphertext), &self.tag), self.what)?;
        require(refused(AAD, self.ciphertext, &flipped(self.tag)), self.what)?;
        require(refused(b"", self.ciphertext, &self.tag), self.what)
    }
}

impl GcmAnswer {
    fn check(&self) -> Result<(), SelfTestFailed> {
        let (key, iv) = (&KEY[..self.key_bytes], &NONCE[..mode::GCM_IV_BYTES]);
        let mut out = Vec::new();
        let tag = mode::gcm_encrypt(key, iv, AAD, TEXT, &mut out);
        require(tag == Ok(self.tag) && out == self.ciphertext, self.what)?;

        out.clear();
        let opened = mode::gcm_decrypt(key, iv, AAD, &self.ciphertext, &self.tag, &mut out);
        require(opened == Ok(()) && out == TEXT, self.what)?;

        let refused = |aad: &[u8], text: &[u8], tag: &[u8]| {
            let mut out = Vec::new();
            mode::gcm_decrypt(key, iv, aad, text, tag, &mut out) == Err(Error::Refused) && out.is_empty()
        };
        require(refused(AAD, &flipped(self.ciphertext), &self.tag), self.what)?;
        require(refused(AAD, &self.ciphertext, &flipped(self.tag)), self.what)?;
        require(refused(b"", &self.ciphertext, &self.tag), self.what)?;
        require(self.in_parts(key, iv) == Ok(()), self.what)
    }

    /// Parts are encrypted by other code than the whole; they must come to the same.
    fn in_parts(&self, key: &[u8], iv: &[u8]) -> Result<(), Error> {
        let (mut first, mut second, mut out) = ([0; STATE_BYTES], [0; STATE_BYTES], Vec::new());
        stream::gcm_begin(key, iv, AAD, &mut first)?;
        stream::gcm_encrypt_part(key, &first, &TEXT[..21], &mut second, &mut out)?;
        let tag = stream::gcm_encrypt_last(key, &second, &TEXT[21..], &mut out)?;
        if tag == self.tag && out == self.ciphertext { Ok(()) } else { Err(Error::Refused) }
    }
}

impl CbcAnswer {
    fn check(&self) -> Result<(), SelfTestFailed> {
        let key = &KEY[..self.key_bytes];
        let mut out = Vec::new();
        let encrypted = mode::cbc_encrypt(key, &CBC_IV, TEXT, &mut out);
        require(encrypted == Ok(()) && out == self.ciphertext, self.what)?;

        out.clear();
        let decrypted = mode::cbc_decrypt(key, &CBC_IV, &self.ciphertext, &mut out);
        require(decrypted == Ok(()) && out == TEXT, self.what)?;

        // A bit of the last block but one flips the same bit of the padding, so that its length byte no longer fits.
        let mut bad_padding = self.ciphertext;
        bad_padding[31] ^= 1;
        let refused = |ciphertext: &[u8]| {
            let mut out = Vec::new();
            mode::cbc_decrypt(key, &CBC_IV, ciphertext, &mut out) == Err(Error::Refused) && out.is_empty()
        };
        require(refused(&bad_padding) && refused(&self.ciphertext[1..]), self.what)?;
        self.in_parts().check()
    }

    /// Parts are put together and their padding is removed by other code.
    fn in_parts(&self) -> ModeAnswer<'_> {
        ModeAnswer { what: self.what, mode: Mode::Cbc(Padding::Pkcs5), key_bytes: self.key_bytes, ciphertext: &self.ciphertext }
    }
}

impl ModeAnswer<'_> {
    fn check(&self) -> Result<(), SelfTestFailed> {
        let (key, iv) = (&KEY[..self.key_bytes], &CBC_IV[..self.mode.iv_bytes()]);
        let (text, with_zeros) = (&TEXT[..TEXT.len().min(self.ciphertext.len())], [&TEXT[..], &[0; 9]].concat());
        let mut out = Vec::new();
        let encrypted = mode::encrypt(self.mode, key, iv, text, &PADDING_RANDOM, &mut out);
        require(encrypted == Ok(()) && out == self.ciphertext, self.what)?;

        let back = if self.mode == Mode::Cbc(Padding::Zeros) { &with_zeros } else { text };
        out.clear();
        let decrypted = mode::decrypt(self.mode, key, iv, self.ciphertext, &mut out);
        require(decrypted == Ok(()) && out == back, self.what)?;
        require(self.parts(key, iv, text, back) == Ok(()), self.what)?;

        let refused = |ciphertext: &[u8]| {
            let mut out = Vec::new();
            mode::decrypt(self.mode, key, iv, ciphertext, &mut out) == Err(Error::Refused) && out.is_empty()
        };
        // The second block ends with a character, which is more than the length of a padding.
        let takes_any = !matches!(self.mode, Mode::Ecb(padding) | Mode::Cbc(padding) if padding.is_removed());
        require(takes_any || refused(&self.ciphertext[1..]) && refused(&self.ciphertext[..32]), self.what)
    }

    fn parts(&self, key: &[u8], iv: &[u8], text: &[u8], back: &[u8]) -> Result<(), Error> {
        let (mut first, mut second, mut encrypted, mut decrypted) = ([0; STATE_BYTES], [0; STATE_BYTES], Vec::new(), Vec::new());
        stream::begin(self.mode, iv, &mut first)?;
        stream::encrypt_part(self.mode, key, &first, &text[..21], &mut second, &mut encrypted)?;
        stream::encrypt_last(self.mode, key, &second, &text[21..], &PADDING_RANDOM, &mut encrypted)?;
        stream::decrypt_part(self.mode, key, &first, &self.ciphertext[..21], &mut second, &mut decrypted)?;
        stream::decrypt_last(self.mode, key, &second, &self.ciphertext[21..], &mut decrypted)?;
        if encrypted == self.ciphertext && decrypted == back { Ok(()) } else { Err(Error::Refused) }
    }
}

impl LongIvAnswer {
    fn check(&self) -> Result<(), SelfTestFailed> {
        (mode::GCM_TAG_BYTES_MIN..=mode::GCM_TAG_BYTES).try_for_each(|tag_bytes| self.check_with(&self.tag[..tag_bytes]))
    }

    fn check_with(&self, tag: &[u8]) -> Result<(), SelfTestFailed> {
        let key = &KEY[..self.key_bytes];
        let mut out = Vec::new();
        let encrypted = mode::gcm_encrypt_with(key, &LONG_IV, AAD, TEXT, tag.len(), &mut out);
        require(encrypted.as_deref() == Ok(tag) && out == self.ciphertext, self.what)?;

        out.clear();
        let opened = mode::gcm_decrypt_with(key, &LONG_IV, AAD, &self.ciphertext, tag, &mut out);
        require(opened == Ok(()) && out == TEXT, self.what)?;

        let refused = |iv: &[u8], aad: &[u8], text: &[u8], tag: &[u8]| {
            let mut out = Vec::new();
            mode::gcm_decrypt_with(key, iv, aad, text, tag, &mut out) == Err(Error::Refused) && out.is_empty()
        };
        let mut wrong_end = tag.to_vec();
        wrong_end[tag.len() - 1] ^= 1;
        require(refused(&LONG_IV, AAD, &self.ciphertext, &wrong_end), self.what)?;
        require(refused(&LONG_IV, AAD, &flipped(self.ciphertext), tag), self.what)?;
        require(refused(&flipped(LONG_IV), AAD, &self.ciphertext, tag), self.what)?;
        require(refused(&LONG_IV, b"", &self.ciphertext, tag), self.what)
    }
}

impl KeyWrapAnswer<'_> {
    fn check(&self) -> Result<(), SelfTestFailed> {
        let what = self.how.name();
        let mut wrapped = vec![0; self.wrapped.len()];
        require(self.how.wrap(self.key, self.plain, &mut wrapped) == Ok(()) && wrapped == self.wrapped, what)?;

        let mut plain = vec![0; wrapped.len() - KEY_WRAP_OVERHEAD_BYTES];
        let opened = self.how.unwrap(self.key, self.wrapped, &mut plain);
        require(opened == Ok(self.plain.len()) && plain.starts_with(self.plain), what)?;

        wrapped[self.plain.len() / 2] ^= 1;
        let refused = self.how.unwrap(self.key, &wrapped, &mut plain);
        require(refused == Err(Error::Refused) && plain.iter().all(|byte| *byte == 0), what)
    }
}

impl HkdfAnswer {
    fn check(&self) -> Result<(), SelfTestFailed> {
        let failed = SelfTestFailed { what: "HKDF-SHA-512" };
        let prk = kdf::extract(&CBC_IV, &KEY).map_err(|_| failed)?;
        let mut out = [0; 96];
        kdf::expand(&prk, &[b"strongroom/", b"self-test/1"], &mut out).map_err(|_| failed)?;
        require(out == self.out, failed.what)?;
        let expander = kdf::Expander::new(&prk).map_err(|_| failed)?;
        out.fill(0);
        expander.expand(&[b"strongroom/", b"self-test/1"], &mut out).map_err(|_| failed)?;
        require(out == self.out, failed.what)
    }
}

impl SignatureAnswer {
    fn check(&self) -> Result<(), SelfTestFailed> {
        let what = "Ed25519";
        require(sign::public_from_seed(&self.seed) == self.public, what)?;
        require(sign::sign(&self.seed, self.message) == self.signature, what)?;
        require(sign::verify(&self.public, self.message, &self.signature) == Ok(()), what)?;
        require(sign::verify(&self.public, self.message, &flipped(self.signature)) == Err(Error::Refused), what)?;
        require(sign::verify(&self.public, b"", &self.signature) == Err(Error::Refused), what)
    }
}

impl RsaAnswer {
    fn check(&self) -> Result<(), SelfTestFailed> {
        let what = "RSA";
        let verify = |message, signature: &[u8]| {
            signature::verify(Scheme::Pkcs1(signature::Hash::Sha256), &self.public, Message::Data(message), signature)
        };
        require(verify(self.message, &self.signature) == Ok(()), what)?;
        require(verify(self.message, &flipped(self.signature)) == Err(Error::Refused), what)?;
        require(verify(b"", &self.signature) == Err(Error::Refused), what)
    }
}

impl EcdsaAnswer {
    fn check(&self) -> Result<(), SelfTestFailed> {
        let what = "ECDSA P-256";
        require(ecdsa::verify(&self.public, self.message, &self.signature) == Ok(()), what)?;
        require(ecdsa::verify(&self.public, self.message, &flipped(self.signature)) == Err(Error::Refused), what)?;
        require(ecdsa::verify(&self.public, b"", &self.signature) == Err(Error::Refused), what)
    }
}

impl ShamirAnswer {
    fn check(&self) -> Result<(), SelfTestFailed> {
        let what = "Shamir";
        let coefficients = counting::<64>(0x40);
        let mut out = [0; 32];
        for (x, share) in &self.shares {
            require(shamir::share(&KEY, &coefficients, *x, &mut out) == Ok(()) && out == *share, what)?;
        }
        let shares = self.shares.each_ref().map(|(x, share)| (*x, share.as_slice()));
        require(shamir::combine(&shares, &mut out) == Ok(()) && out == KEY, what)?;
        require(shamir::combine(&[shares[0], shares[0]], &mut out) == Err(Error::Refused), what)?;
        require(shamir::combine(&shares[1..], &mut out) == Ok(()) && out != KEY, what)
    }
}

fn require(holds: bool, what: &'static str) -> Result<(), SelfTestFailed> {
    if holds { Ok(()) } else { Err(SelfTestFailed { what }) }
}

fn flipped<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    bytes[N / 2] ^= 1;
    bytes
}

const fn counting<const N: usize>(first: u8) -> [u8; N] {
    let mut bytes = [first; N];
    let mut at = 1;
    while at < N {
        bytes[at] = bytes[at - 1] + 1;
        at += 1;
    }
    bytes
}

/// Reads the answers above at compile time; a digit that is none, or a wrong count of them, does not compile.
const fn unhex<const N: usize>(text: &str) -> [u8; N] {
    assert!(text.len() == 2 * N);
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = digit(text.as_bytes()[2 * at]) << 4 | digit(text.as_bytes()[2 * at + 1]);
        at += 1;
    }
    bytes
}

const fn digit(character: u8) -> u8 {
    match character {
        b'0'..=b'9' => character - b'0',
        b'a'..=b'f' => character - b'a' + 10,
        _ => panic!("not a lower-case hexadecimal digit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_build_gives_the_known_answers() {
        assert_eq!(run(), Ok(()));
    }

    #[test]
    fn a_wrong_answer_fails_under_the_name_of_its_algorithm() {
        for answer in AEADS {
            let what = answer.what;
            let failed = Err(SelfTestFailed { what });
            assert_eq!(AeadAnswer { tag: flipped(answer.tag), ..answer }.check(), failed);
            assert_eq!(AeadAnswer { ciphertext: flipped(answer.ciphertext), ..answer }.check(), failed);
        }
        for answer in GCMS {
            let what = answer.what;
            let failed = Err(SelfTestFailed { what });
            assert_eq!(GcmAnswer { tag: flipped(answer.tag), ..answer }.check(), failed);
            assert_eq!(GcmAnswer { ciphertext: flipped(answer.ciphertext), ..answer }.check(), failed);
        }
        for answer in CBCS {
            let what = answer.what;
            assert_eq!(CbcAnswer { ciphertext: flipped(answer.ciphertext), ..answer }.check(), Err(SelfTestFailed { what }));
        }
        for answer in LONG_IVS {
            let what = answer.what;
            let failed = Err(SelfTestFailed { what });
            assert_eq!(LongIvAnswer { tag: flipped(answer.tag), ..answer }.check(), failed);
            assert_eq!(LongIvAnswer { ciphertext: flipped(answer.ciphertext), ..answer }.check(), failed);
        }
        for answer in MODES {
            let mut ciphertext = answer.ciphertext.to_vec();
            ciphertext[30] ^= 1;
            let failed = Err(SelfTestFailed { what: answer.what });
            assert_eq!(ModeAnswer { ciphertext: &ciphertext, ..answer }.check(), failed);
        }
        for answer in KEY_WRAPS {
            let failed = Err(SelfTestFailed { what: answer.how.name() });
            let (mut wrapped, mut plain) = (answer.wrapped.to_vec(), answer.plain.to_vec());
            wrapped[0] ^= 1;
            plain[0] ^= 1;
            assert_eq!(KeyWrapAnswer { wrapped: &wrapped, ..answer }.check(), failed);
            assert_eq!(KeyWrapAnswer { plain: &plain, ..answer }.check(), failed);
        }
        let hkdf = HkdfAnswer { out: flipped(HKDF.out) };
        assert_eq!(hkdf.check(), Err(SelfTestFailed { what: "HKDF-SHA-512" }));
        let signature = SignatureAnswer { signature: flipped(SIGNATURE.signature), ..SIGNATURE };
        assert_eq!(signature.check(), Err(SelfTestFailed { what: "Ed25519" }));
        let public = SignatureAnswer { public: flipped(SIGNATURE.public), ..SIGNATURE };
        assert_eq!(public.check(), Err(SelfTestFailed { what: "Ed25519" }));
        let signature = EcdsaAnswer { signature: flipped(ECDSA.signature), ..ECDSA };
        assert_eq!(signature.check(), Err(SelfTestFailed { what: "ECDSA P-256" }));
        let signature = RsaAnswer { signature: flipped(RSA.signature), ..RSA };
        assert_eq!(signature.check(), Err(SelfTestFailed { what: "RSA" }));
        for nth in 0..SHAMIR.shares.len() {
            let mut shares = SHAMIR.shares;
            shares[nth].1 = flipped(shares[nth].1);
            assert_eq!(ShamirAnswer { shares }.check(), Err(SelfTestFailed { what: "Shamir" }));
        }
    }

    #[test]
    fn every_algorithm_of_the_registry_has_an_answer() {
        assert_eq!(AEADS.map(|answer| answer.aead), Aead::ALL);
        assert_eq!(KEY_WRAPS.map(|answer| answer.how), KeyWrap::ALL);
        let modes = CBCS.iter().map(|answer| answer.in_parts().mode).chain(MODES.map(|answer| answer.mode));
        let modes: Vec<Mode> = modes.collect();
        assert!(Padding::ALL.into_iter().all(|padding| modes.contains(&Mode::Cbc(padding))));
    }
}
