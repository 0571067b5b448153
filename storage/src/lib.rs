//! Keystores: where rows, their search terms and the audit outbox are kept, behind the domain's `Keystore` port.

pub mod conformance;
pub mod embedded;
pub mod memory;
