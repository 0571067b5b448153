//! The admin interface: types, server and client of the REST API on the node's Unix socket.

pub mod client;
pub mod routes;
pub mod server;
pub mod status;
pub mod types;
