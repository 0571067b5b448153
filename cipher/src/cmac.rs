//! AES-CMAC (NIST SP 800-38B, RFC 4493), one part at a time.
//!
//! ```text
//! bytes of a state
//!  0..16   the chaining value
//! 16..32   data that was taken in and not enciphered yet: the last block is enciphered with another key than those before it
//! 32       how many bytes of that there are
//! ```

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};

use crate::Error;

/// Length of a CMAC in bytes.
pub(crate) const CMAC_BYTES: usize = 16;
/// Length of a state in bytes.
pub(crate) const STATE_BYTES: usize = 33;

type Block = [u8; 16];

/// Lends the block cipher of `key` to `use_it`; its schedule stays on the stack, for the caller to overwrite.
fn with_cipher<R>(key: &[u8], use_it: impl FnOnce(&dyn Fn(&mut Block)) -> R) -> Result<R, Error> {
    fn of<C: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16> + KeyInit>(key: &[u8]) -> C {
        C::new_from_slice(key).expect("the length was looked at")
    }
    match key.len() {
        16 => {
            let cipher: Aes128 = of(key);
            Ok(use_it(&|block| cipher.encrypt_block(block.into())))
        }
        24 => {
            let cipher: Aes192 = of(key);
            Ok(use_it(&|block| cipher.encrypt_block(block.into())))
        }
        32 => {
            let cipher: Aes256 = of(key);
            Ok(use_it(&|block| cipher.encrypt_block(block.into())))
        }
        is_bytes => Err(Error::WrongLength { what: "AES key", is_bytes, wants: "16, 24 or 32" }),
    }
}

/// Takes `data` in.
pub(crate) fn part(key: &[u8], state: &mut [u8], data: &[u8]) -> Result<(), Error> {
    with_cipher(key, |encrypt| take_in(encrypt, state, data))
}

fn take_in(encrypt: &dyn Fn(&mut Block), state: &mut [u8], mut data: &[u8]) {
    let mut chain = block(&state[..16]);
    let mut waiting = usize::from(state[32]);
    while !data.is_empty() {
        if waiting == 16 {
            mix(&mut chain, &state[16..32]);
            encrypt(&mut chain);
            waiting = 0;
        }
        let (now, later) = data.split_at(data.len().min(16 - waiting));
        state[16 + waiting..][..now.len()].copy_from_slice(now);
        (waiting, data) = (waiting + now.len(), later);
    }
    state[..16].copy_from_slice(&chain);
    state[32] = u8::try_from(waiting).expect("at most a block");
}

/// Takes the last data in and fills `out`.
pub(crate) fn last(key: &[u8], state: &mut [u8], data: &[u8], out: &mut [u8]) -> Result<(), Error> {
    with_cipher(key, |encrypt| {
        take_in(encrypt, state, data);
        let mut first = [0; 16];
        encrypt(&mut first);
        let first = doubled(first);
        let waiting = usize::from(state[32]);
        let subkey = if waiting == 16 { first } else { doubled(first) };
        if waiting < 16 {
            state[16 + waiting..32].fill(0);
            state[16 + waiting] = 0x80;
        }
        let mut chain = block(&state[..16]);
        mix(&mut chain, &state[16..32]);
        mix(&mut chain, &subkey);
        encrypt(&mut chain);
        out.copy_from_slice(&chain);
    })
}

/// The product with x in GF(2^128), without a branch.
fn doubled(block: Block) -> Block {
    let value = u128::from_be_bytes(block);
    ((value << 1) ^ (0x87 * (value >> 127))).to_be_bytes()
}

fn mix(chain: &mut Block, other: &[u8]) {
    chain.iter_mut().zip(other).for_each(|(to, from)| *to ^= from);
}

fn block(bytes: &[u8]) -> Block {
    bytes.try_into().expect("a block")
}
