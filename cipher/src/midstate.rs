//! HMAC (FIPS 198-1) begun once: the two states of the hash behind its padded key, from which each text goes on. Half of the work on a short text.
//!
//! ```text
//! inner state of the hash | outer state of the hash
//! ```
//! With them whoever has them makes every MAC that the key makes: they are as secret as the key, and lie where it does.

use sha2::Digest;
use sha2::digest::Output;
use sha2::digest::block_api::{Block, BlockSizeUser, Buffer, BufferKindUser, CoreProxy, UpdateCore};
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

/// Bytes of one state of SHA-512, and of SHA-256: eight words and a count of blocks.
pub(crate) const SHA512_STATE_BYTES: usize = 64 + 16;
pub(crate) const SHA256_STATE_BYTES: usize = 32 + 8;

/// A hash that can be put down between two blocks, and taken up again.
pub(crate) trait Resumable: Digest + CoreProxy<Core: BufferKindUser + UpdateCore + SerializableState + Default> {}

impl<D: Digest + CoreProxy<Core: BufferKindUser + UpdateCore + SerializableState + Default>> Resumable for D {}

/// Fills `states` with what a key of at most one block yields. The caller overwrites the stack.
pub(crate) fn begin<D: Resumable>(key: &[u8], states: &mut [u8]) {
    let state_bytes = states.len() / 2;
    for (pad, state) in [0x36, 0x5C].into_iter().zip(states.chunks_exact_mut(state_bytes)) {
        let mut block = Block::<D::Core>::default();
        assert!(key.len() <= <D::Core as BlockSizeUser>::block_size(), "a longer key is hashed first");
        block.fill(pad);
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        let mut core = D::Core::default();
        core.update_blocks(&[block]);
        state.copy_from_slice(&core.serialize());
    }
}

/// The MAC of the concatenated parts, by what [`begin`] filled in. The caller overwrites the stack.
pub(crate) fn mac<'p, D: Resumable>(states: &[u8], parts: impl IntoIterator<Item = &'p [u8]>) -> Output<D> {
    let (inner, outer) = states.split_at(states.len() / 2);
    let (mut inner, mut outer) = (resume::<D>(inner), resume::<D>(outer));
    parts.into_iter().for_each(|part| inner.update(part));
    outer.update(inner.finalize());
    outer.finalize()
}

fn resume<D: Resumable>(state: &[u8]) -> D {
    let state = <&SerializedState<D::Core>>::try_from(state).expect("a state is as long as it was written");
    D::compose(D::Core::deserialize(state).expect("any bytes are a state"), Buffer::<D::Core>::default())
}
