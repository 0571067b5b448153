//! The server's half, from the bytes of a request to the bytes of its answer and its audit records, on a founded core with fakes around it.

mod attributes;
mod batch;
mod create;
mod crypto;
mod edit;
mod fakes;
mod hostile;
mod lifecycle;
mod locate;
mod messages;
mod policy;
mod stream;
mod world;
