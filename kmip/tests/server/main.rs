//! The server's half, from the bytes of a request to the bytes of its answer and its audit records, on a founded core, or an edge of one, with fakes around it.

mod attributes;
mod batch;
mod check;
mod create;
mod crypto;
mod edge;
mod edge_crypto;
mod edge_derive;
mod edge_keys;
mod edge_mac;
mod edge_usage;
mod edit;
mod fakes;
mod get;
mod hostile;
mod lifecycle;
mod locate;
mod matrix;
mod messages;
mod object_key;
mod pairs;
mod policy;
mod re_key;
mod reasons;
mod stream;
mod world;
