//! The domain: the key hierarchy, its rules, and the ports through which it asks for a store, an audit log, time and randomness.
//!
//! No runtime, socket, file, environment, logger, clock or generator of its own: what the world is needed for comes in through [`port`].

pub mod answers;
pub mod attributes;
pub mod budget;
pub mod cache;
pub mod chain;
pub mod chains;
pub mod cluster;
pub mod deploy;
pub mod edge;
pub mod edges;
mod edit;
pub mod entropy;
pub mod envelope;
pub mod error;
pub mod export;
pub mod floor;
pub mod freshness;
pub mod hierarchy;
pub mod id;
pub mod lease;
pub mod lifecycle;
pub mod list;
pub mod master;
pub mod object_keys;
pub mod order;
pub mod policy;
mod pool;
pub mod port;
pub mod record;
pub mod reencrypt;
pub mod references;
pub mod registry;
mod rekey;
pub mod renew;
pub mod repair;
pub mod resource;
pub mod retire;
mod revoke;
mod rewrap;
mod rollback;
pub mod rotate;
pub mod row;
mod scopes;
mod shelf;
pub mod stream;
pub mod sweep;
pub mod tenancy;
pub mod terms;
pub mod unit;
pub mod uses;
pub mod vault;
pub mod walk;
pub mod wrap;

pub use error::Error;
