//! KMIP 1.0 to 1.4 without I/O: the published tables, the TTLV codec, transcoders for XML and JSON, framing, messages for server and client.
//!
//! Nothing here reads a clock, draws a random number, opens a socket or logs. Decoding borrows from the input buffer; encoding
//! appends to the output buffer. What a field may look like in which protocol version is said once, in the tables that
//! [`schema`]'s one macro turns into decoder, encoder and version check.

mod attribute;
mod brought;
mod certificate;
mod clear;
mod client;
mod connection;
mod context;
mod dispatch;
mod edit;
mod enums;
mod error;
mod failure;
mod forward;
mod half;
mod imported;
mod instance;
pub mod json;
mod key_block;
mod mask;
mod message;
mod names;
pub mod notation;
mod object;
mod op;
mod part;
mod payload;
mod primitive;
mod reason;
mod response;
pub mod schema;
mod scheme;
mod search;
mod tag;
mod template;
mod templates;
mod text;
mod transparent;
pub mod ttlv;
mod unwrapping;
mod version;
mod view;
mod wrapping;
pub mod xml;

pub use attribute::{Attribute, AttributeName, AttributeRow, AttributeValue, Deletable, Instances, Modifiable, SetBy};
pub use client::{Answers, Batch, Call, Sent, Slot};
pub use connection::{Frames, Framing, MESSAGE_BYTES_MAX};
pub use dispatch::{Caller, CallerIvs, Credentials, Sealed, Settings, dispatch, refuse_text};
pub use enums::*;
pub use error::Error;
pub use key_block::*;
pub use mask::{CryptographicUsageMask, StorageStatusMask};
pub use message::*;
pub use object::*;
pub use payload::*;
pub use reason::reason;
pub use response::Response;
pub use schema::{Decode, Encode, OneOf, Rules};
pub use tag::Tag;
pub use text::{TextError, TextFault};
pub use transparent::*;
pub use version::{ProtocolVersion, VersionNumber};
