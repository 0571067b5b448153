//! `kmip ...`: a KMIP client on the command line.

mod attribute;
mod change;
pub(crate) mod connection;
mod crypt;
mod envelope;
pub(crate) mod name;
mod object;
mod server;
mod wrapped;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::failure::Failure;

/// `kmip ...`.
#[derive(Debug, Args)]
pub(crate) struct Kmip {
    #[command(flatten)]
    connection: connection::Connection,
    #[command(subcommand)]
    operation: Operation,
}

/// One KMIP operation.
#[derive(Debug, Subcommand)]
enum Operation {
    /// Ask which versions the server speaks, and how long it takes
    Ping,
    /// Ask what the server offers
    Query,
    /// Make a symmetric key; prints its identifier
    Create(object::Create),
    /// Make a Pre-Active key Active
    Activate(object::Identified),
    /// Show an object's attributes, or change them
    Attributes(object::Attributes),
    /// Find objects; prints their identifiers, newest first
    Locate(object::Locate),
    /// Encrypt a file
    Encrypt(crypt::Encrypt),
    /// Decrypt what `encrypt` wrote
    Decrypt(crypt::Decrypt),
    /// Replace a key by its next version, which takes over its names; prints the new identifier
    Rekey(object::Identified),
    /// Get a key, wrapped by another key
    Get(wrapped::Get),
    /// Take a key out of use; what it encrypted can still be decrypted
    Revoke(object::Revoke),
    /// Destroy a key that is not Active; what it encrypted is lost
    Destroy(object::Identified),
}

/// Runs `kmip ...`.
pub(crate) fn run(context: &Context, args: &Kmip) -> Result<(), Failure> {
    let out = context.out;
    match &args.operation {
        Operation::Ping => server::ping(out, &args.connection),
        Operation::Query => server::query(out, &mut args.connection.connect()?),
        Operation::Create(create) => object::create(out, &mut args.connection.connect()?, create),
        Operation::Activate(which) => object::activate(out, &mut args.connection.connect()?, which),
        Operation::Attributes(which) => object::attributes(out, &args.connection, which),
        Operation::Rekey(which) => object::rekey(out, &mut args.connection.connect()?, which),
        Operation::Get(what) => wrapped::get(out, &args.connection, what),
        Operation::Locate(what) => object::locate(out, &mut args.connection.connect()?, what),
        Operation::Revoke(which) => object::revoke(out, &mut args.connection.connect()?, which),
        Operation::Destroy(which) => object::destroy(out, &mut args.connection.connect()?, which),
        Operation::Encrypt(what) => crypt::encrypt(out, &args.connection, what),
        Operation::Decrypt(what) => crypt::decrypt(out, &args.connection, what),
    }
}
