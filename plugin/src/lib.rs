//! What an author of a keystore plugin needs: the published protocol, and a server that speaks it for a small trait.
//!
//! Strongroom keeps rows. What a row says is wrapped and authenticated before a plugin sees it, so a plugin stores bytes, finds them by an id or by blind terms, and
//! changes them only if they are as Strongroom expects. The protocol is `proto/strongroom/keystore/v1/keystore.proto`; its comments are the contract, for
//! plugins in any language. In Rust it is enough to implement [`Transactional`] and to call [`serve_transactional`]:
//!
//! ```no_run
//! # fn open(_: &std::path::Path) -> impl plugin::Transactional { Nothing }
//! # struct Nothing;
//! # impl plugin::Store for Nothing {
//! #     fn about(&self) -> plugin::About { plugin::About { name: "nothing".to_owned(), version: "1".to_owned() } }
//! #     fn health(&self) -> Result<(), plugin::Fault> { Ok(()) }
//! #     fn retrieve(&self, _: &plugin::Id) -> Result<Option<Vec<u8>>, plugin::Fault> { Ok(None) }
//! #     fn list(&self, search: &plugin::Search) -> Result<plugin::Page, plugin::Fault> { plugin::Page::take(search, []) }
//! #     fn change(&self, _: &plugin::Change) -> Result<(), plugin::Refusal> { Ok(()) }
//! # }
//! # impl plugin::Transactional for Nothing {
//! #     fn last_commit(&self, _: &plugin::Node) -> Result<Option<plugin::CommitId>, plugin::Fault> { Ok(None) }
//! #     fn commit(&self, _: &plugin::Batch) -> Result<(), plugin::Refusal> { Ok(()) }
//! #     fn records(&self, _: &plugin::Node, _: u64, _: usize) -> Result<Vec<plugin::QueuedRecord>, plugin::Fault> { Ok(vec![]) }
//! # }
//! #[tokio::main]
//! async fn main() -> Result<(), plugin::ServeError> {
//!     let state = plugin::state_folder()?;
//!     plugin::serve_transactional(open(&state.join("rows"))).await
//! }
//! ```
//!
//! A store without transactions implements [`Store`] alone, and is served by [`serve()`]. `strongroom keystore certify` tells whether a plugin keeps the rules.

mod request;
mod serve;
mod store;
#[rustfmt::skip]
#[expect(missing_docs, unused_qualifications, clippy::all, reason = "written by tonic-prost-build from the .proto, whose comments are the documentation")]
pub mod v1;

pub use serve::{ServeError, serve, serve_transactional, state_folder};
pub use store::{About, Batch, Change, CommitId, Fault, Id, Node, Page, QueuedRecord, Refusal, Row, Search, Store, Term, Transactional};

/// The version of the protocol that this crate speaks.
pub const PROTOCOL: u32 = 1;
/// The environment variable with the path of the socket that a plugin listens on.
pub const SOCKET_VARIABLE: &str = "STRONGROOM_PLUGIN_SOCKET";
/// The environment variable with the one folder in which a plugin may write.
pub const STATE_VARIABLE: &str = "STRONGROOM_PLUGIN_STATE";

/// Length of an id: a layer and a UUID.
pub const ID_BYTES: usize = 17;
/// Length of a term.
pub const TERM_BYTES: usize = 16;
/// Length of a node's name.
pub const NODE_BYTES: usize = 16;
/// Length of a commit's name.
pub const COMMIT_BYTES: usize = 16;
/// What Strongroom puts before a row that is stored by a plugin without `batch`, in bytes.
pub const PLACE_BYTES: usize = 8;
/// Longest row as stored, in bytes.
pub const STORED_BYTES_MAX: usize = 256 * 1024 + PLACE_BYTES;
/// Most terms of a row.
pub const TERMS_MAX: usize = 256 * 1024 / TERM_BYTES;
/// Longest audit record, in bytes.
pub const RECORD_BYTES_MAX: usize = 1024;
/// Most records of one answer.
pub const RECORDS_MAX: usize = 1024;
/// Most rows of one answer.
pub const PAGE_ROWS_MAX: usize = 1024;
/// Longest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Longest answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;
