//! Which server a `kmip` command speaks to, and as whom.

use std::path::PathBuf;

use ::kmip::{ProtocolVersion, VersionNumber};
use clap::Args;
use daemon::kmip_client::{Endpoint, KmipClient};

use crate::failure::Failure;

/// The options of every `kmip` command; `strongroom dev` writes the variables into DIR/dev.env.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    #[command(flatten)]
    server: Server,
    /// KMIP version of the requests, 1.0 to 1.4
    #[arg(long, global = true, value_name = "VERSION", default_value = "1.4", value_parser = version)]
    protocol: ProtocolVersion,
}

/// Where a KMIP server is, and who we are to it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Server {
    /// The server's address
    #[arg(long, global = true, value_name = "HOST:PORT", env = "KMIP_CORE")]
    server: Option<String>,
    /// Name to expect in the server's certificate, if it is not that of --server
    #[arg(long, global = true, value_name = "NAME")]
    server_name: Option<String>,
    /// PEM file with the CA that issued the server's certificate
    #[arg(long, global = true, value_name = "FILE", env = "CA_CERT")]
    ca: Option<PathBuf>,
    /// PEM file with the client certificate and its chain
    #[arg(long, global = true, value_name = "FILE", env = "CLIENT_CERT")]
    cert: Option<PathBuf>,
    /// PEM file with the client's private key
    #[arg(long, global = true, value_name = "FILE", env = "CLIENT_KEY")]
    key: Option<PathBuf>,
}

impl Connection {
    /// Version of the requests.
    pub(super) fn protocol(&self) -> ProtocolVersion {
        self.protocol
    }

    /// Where and as whom.
    pub(super) fn endpoint(&self) -> Result<Endpoint, Failure> {
        self.server.endpoint()
    }

    /// Connects.
    pub(super) fn connect(&self) -> Result<KmipClient, Failure> {
        Ok(KmipClient::connect(&self.endpoint()?, self.protocol)?)
    }
}

impl Server {
    /// Where and as whom.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Failure> {
        Ok(Endpoint {
            server: needed(self.server.as_ref(), "--server HOST:PORT", "KMIP_CORE")?,
            server_name: self.server_name.clone(),
            ca: needed(self.ca.as_ref(), "--ca FILE", "CA_CERT")?,
            cert: needed(self.cert.as_ref(), "--cert FILE", "CLIENT_CERT")?,
            key: needed(self.key.as_ref(), "--key FILE", "CLIENT_KEY")?,
        })
    }
}

fn needed<T: Clone>(value: Option<&T>, option: &str, variable: &str) -> Result<T, Failure> {
    value.cloned().ok_or_else(|| Failure::usage(format!("give {option}, or set {variable}")))
}

fn version(text: &str) -> Result<ProtocolVersion, &'static str> {
    ProtocolVersion::ALL.into_iter().find(|version| version.to_string() == text).ok_or("versions 1.0, 1.1, 1.2, 1.3 and 1.4 are spoken")
}

/// How a version number of the other side is shown.
pub(crate) fn shown(number: VersionNumber) -> String {
    format!("{}.{}", number.major, number.minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_one_of_five() {
        assert_eq!(version("1.0"), Ok(ProtocolVersion::V1_0));
        assert_eq!(version("1.4"), Ok(ProtocolVersion::V1_4));
        for bad in ["", "1", "1.5", "2.0", "1.4 ", "v1.4"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_option_and_variable() {
        let connection = Server { server: None, server_name: None, ca: None, cert: None, key: None };
        assert_eq!(connection.endpoint().expect_err("nothing is given"), Failure::usage("give --server HOST:PORT, or set KMIP_CORE"));
        let connection = Server { server: Some("a:1".to_owned()), ca: Some("ca".into()), cert: Some("cert".into()), ..connection };
        assert_eq!(connection.endpoint().expect_err("no key"), Failure::usage("give --key FILE, or set CLIENT_KEY"));
    }
}
