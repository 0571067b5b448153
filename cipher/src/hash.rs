//! The hash functions of KMIP's table 9.1.3.2.16, whole and in parts, of bytes that may be secret.
//!
//! A part takes the state that the part before it left, and writes the state for the next one: the chaining value, the begun block and the length, as
//! the library serializes them. A state tells the begun block, so it is as secret as the data: it lives in locked memory.
//!
//! MD2, MD4, MD5, SHA-1, Tiger and RIPEMD-160 are here because clients ask for them by name; nothing of the appliance's own uses them.

use std::marker::PhantomData;

use secret::scrubbed;
use sha2::digest::Digest;
use sha2::digest::common::BlockSizeUser;
use sha2::digest::common::hazmat::SerializableState;

/// Length of the longest hash in bytes.
pub const HASH_BYTES_MAX: usize = 64;
/// Length of the longest block in bytes: SHA3-224's.
pub(crate) const BLOCK_BYTES_MAX: usize = 144;

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their names are those of their standards")]
pub enum Hash {
    Md2,
    Md4,
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Ripemd160,
    Tiger,
    Whirlpool,
    Sha512_224,
    Sha512_256,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

/// What a library's hash function can do, with its type left behind.
trait Steps {
    fn bytes(&self) -> usize;
    fn block_bytes(&self) -> usize;
    fn state_bytes(&self) -> usize;
    fn whole(&self, parts: &[&[u8]], out: &mut [u8]);
    fn begin(&self, after: &mut [u8]);
    fn part(&self, before: &[u8], data: &[u8], after: &mut [u8]);
    fn last(&self, before: &[u8], data: &[u8], out: &mut [u8]);
}

/// The steps of one of them.
struct Of<D>(PhantomData<D>);

impl<D: Digest + BlockSizeUser + SerializableState> Of<D> {
    fn resumed(state: &[u8]) -> D {
        let state = state.try_into().expect("a state has the length that its hash function says");
        D::deserialize(state).expect("a state is what this hash function wrote")
    }

    fn write(hash: &D, state: &mut [u8]) {
        state.copy_from_slice(&hash.serialize());
    }
}

impl<D: Digest + BlockSizeUser + SerializableState> Steps for Of<D> {
    fn bytes(&self) -> usize {
        <D as Digest>::output_size()
    }

    fn block_bytes(&self) -> usize {
        D::block_size()
    }

    fn state_bytes(&self) -> usize {
        size_of::<sha2::digest::common::hazmat::SerializedState<D>>()
    }

    fn whole(&self, parts: &[&[u8]], out: &mut [u8]) {
        let mut hash = D::new();
        parts.iter().for_each(|part| hash.update(part));
        out.copy_from_slice(&hash.finalize());
    }

    fn begin(&self, after: &mut [u8]) {
        Self::write(&D::new(), after);
    }

    fn part(&self, before: &[u8], data: &[u8], after: &mut [u8]) {
        let mut hash = Self::resumed(before);
        hash.update(data);
        Self::write(&hash, after);
    }

    fn last(&self, before: &[u8], data: &[u8], out: &mut [u8]) {
        let mut hash = Self::resumed(before);
        hash.update(data);
        out.copy_from_slice(&hash.finalize());
    }
}

impl Hash {
    /// Every hash function, in the standard's order.
    pub const ALL: [Self; 17] = [
        Self::Md2,
        Self::Md4,
        Self::Md5,
        Self::Sha1,
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Ripemd160,
        Self::Tiger,
        Self::Whirlpool,
        Self::Sha512_224,
        Self::Sha512_256,
        Self::Sha3_224,
        Self::Sha3_256,
        Self::Sha3_384,
        Self::Sha3_512,
    ];

    fn steps(self) -> &'static dyn Steps {
        match self {
            Self::Md2 => &Of::<md2::Md2>(PhantomData),
            Self::Md4 => &Of::<md4::Md4>(PhantomData),
            Self::Md5 => &Of::<md5::Md5>(PhantomData),
            Self::Sha1 => &Of::<sha1::Sha1>(PhantomData),
            Self::Sha224 => &Of::<sha2::Sha224>(PhantomData),
            Self::Sha256 => &Of::<sha2::Sha256>(PhantomData),
            Self::Sha384 => &Of::<sha2::Sha384>(PhantomData),
            Self::Sha512 => &Of::<sha2::Sha512>(PhantomData),
            Self::Ripemd160 => &Of::<ripemd::Ripemd160>(PhantomData),
            Self::Tiger => &Of::<tiger::Tiger>(PhantomData),
            Self::Whirlpool => &Of::<whirlpool::Whirlpool>(PhantomData),
            Self::Sha512_224 => &Of::<sha2::Sha512_224>(PhantomData),
            Self::Sha512_256 => &Of::<sha2::Sha512_256>(PhantomData),
            Self::Sha3_224 => &Of::<sha3::Sha3_224>(PhantomData),
            Self::Sha3_256 => &Of::<sha3::Sha3_256>(PhantomData),
            Self::Sha3_384 => &Of::<sha3::Sha3_384>(PhantomData),
            Self::Sha3_512 => &Of::<sha3::Sha3_512>(PhantomData),
        }
    }

    /// Length of a hash in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.steps().bytes()
    }

    pub(crate) fn block_bytes(self) -> usize {
        self.steps().block_bytes()
    }

    /// Length of a state in bytes.
    #[must_use]
    pub fn state_bytes(self) -> usize {
        self.steps().state_bytes()
    }

    /// Fills `out`, which is as long as the hash, with that of the concatenated parts.
    pub fn whole(self, parts: &[&[u8]], out: &mut [u8]) {
        scrubbed(|| self.steps().whole(parts, out));
    }

    /// Writes the first state.
    pub fn begin(self, after: &mut [u8]) {
        scrubbed(|| self.steps().begin(after));
    }

    /// Takes in a part that is not the last, and writes the state `after` it.
    pub fn part(self, before: &[u8], data: &[u8], after: &mut [u8]) {
        scrubbed(|| self.steps().part(before, data, after));
    }

    /// Takes in the last part, and fills `out`, which is as long as the hash.
    pub fn last(self, before: &[u8], data: &[u8], out: &mut [u8]) {
        scrubbed(|| self.steps().last(before, data, out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(hash: Hash, text: &[u8]) -> String {
        let mut out = vec![0; hash.bytes()];
        hash.whole(&[text], &mut out);
        data_encoding::HEXLOWER.encode(&out)
    }

    /// "abc" and its hash as the function's own standard publishes it (RFC 1319, 1320, 1321, FIPS 180-4, ISO/IEC 10118-3, the paper on Tiger, FIPS 202).
    #[test]
    fn each_function_hashes_abc_as_its_standard_says() {
        let check = |hash, expected: &str| assert_eq!(of(hash, b"abc"), expected, "{hash:?}");
        check(Hash::Md2, "da853b0d3f88d99b30283a69e6ded6bb");
        check(Hash::Md4, "a448017aaf21d8525fc10ae87aa6729d");
        check(Hash::Md5, "900150983cd24fb0d6963f7d28e17f72");
        check(Hash::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
        check(Hash::Sha224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7");
        check(Hash::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        check(Hash::Sha384, "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7");
        check(
            Hash::Sha512,
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        );
        check(Hash::Ripemd160, "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc");
        check(Hash::Tiger, "2aab1484e8c158f2bfb8c5ff41b57a525129131c957b5f93");
        check(
            Hash::Whirlpool,
            "4e2448a4c6f486bb16b6562c73b4020bf3043e3a731bce721ae1b303d97e6d4c7181eebdb6c57e277d0e34957114cbd6c797fc9d95d8b582d225292076d4eef5",
        );
        check(Hash::Sha512_224, "4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa");
        check(Hash::Sha512_256, "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23");
        check(Hash::Sha3_224, "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf");
        check(Hash::Sha3_256, "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
        check(Hash::Sha3_384, "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25");
        check(
            Hash::Sha3_512,
            "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
        );
    }

    #[test]
    fn parts_hash_as_their_concatenation_wherever_they_are_cut() {
        let text: Vec<u8> = (0..=255).chain(0..=60).collect();
        for hash in Hash::ALL {
            let (mut state, mut out) = (vec![0; hash.state_bytes()], vec![0; hash.bytes()]);
            for cuts in [[0, 0], [1, 1], [63, 64], [64, 128], [100, 250], [143, 144], [316, 317]] {
                hash.begin(&mut state);
                for part in [&text[..cuts[0]], &text[cuts[0]..cuts[1]]] {
                    let before = state.clone();
                    hash.part(&before, part, &mut state);
                }
                hash.last(&state, &text[cuts[1]..], &mut out);
                assert_eq!(data_encoding::HEXLOWER.encode(&out), of(hash, &text), "{hash:?} cut at {cuts:?}");
            }
            assert!(hash.bytes() <= HASH_BYTES_MAX && hash.block_bytes() <= BLOCK_BYTES_MAX, "{hash:?}");
        }
    }
}
