//! The admin interface: types, routes, server and client of the REST API.

mod act;
pub(crate) mod calls;
mod ceremony_routes;
pub mod client;
pub mod document;
mod edge_routes;
pub mod evidence;
mod kek_routes;
mod key_routes;
mod keystore_routes;
pub mod peer;
pub mod report;
mod report_routes;
pub mod routes;
pub mod sent;
pub mod server;
mod service_routes;
pub(crate) mod shard_routes;
mod slot_routes;
pub mod status;
pub mod types;
