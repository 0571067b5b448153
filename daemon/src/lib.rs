//! The daemon and its command line: everything that touches the world.

pub mod admin;
pub mod answer;
pub mod boot;
pub mod certs;
pub mod config;
pub mod delegation;
pub mod http;
pub mod identity;
pub mod init;
pub mod kmip_client;
pub mod layout;
pub mod listener;
pub mod logging;
pub mod metrics;
pub mod node;
pub mod notices;
mod reencryptor;
mod refusals;
pub mod reload;
pub mod role;
pub mod session;
pub mod sessions;
pub mod stop;
mod sweeper;
pub mod system;
pub mod tls;
pub mod wiped;
