//! Algorithms as functions of exposed bytes: AEADs, client-data modes, key wrap, key derivation, key agreement, MACs, signatures, and the self-tests that prove
//! them.
//!
//! Nothing here knows an id, a policy, a file, a clock or a random source: keys, nonces and initialization vectors are arguments, and whoever
//! calls is answerable for their uniqueness (what aws-lc draws itself for key pairs, [`pair`] tells). Key bytes are borrowed for the length of a
//! call; what the call leaves on the stack is overwritten before it returns, and what it put on the heap is wiped (`tests/residue.rs` searches the process for both).

pub mod aead;
pub mod age;
pub mod agreement;
pub mod certificate;
mod cmac;
pub mod derive;
pub mod ecdsa;
mod error;
mod gcm;
pub mod hash;
pub mod kdf;
pub mod key_form;
pub mod keywrap;
pub mod mac;
mod midstate;
pub mod mode;
mod padding;
pub mod pair;
pub mod rsa;
mod rsa_padding;
pub mod selftest;
pub mod shamir;
pub mod sign;
pub mod signature;
pub mod stream;

pub use aead::Aead;
pub use error::Error;
pub use hash::Hash;
pub use mac::Mac;
pub use padding::Padding;
