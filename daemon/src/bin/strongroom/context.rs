//! What every command shares: the global options, and what follows from them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use daemon::admin::client::Client;
use daemon::config::{self, Config};
use daemon::layout::Layout;

use crate::failure::{Failure, Kind};
use crate::output::Output;

/// Options before or after any command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Options {
    /// The node's configuration [default: that of config.yaml, core.yaml and edge.yaml in /etc/strongroom which is there]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// The node's data folder, instead of the configured one
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The node's admin socket [default: strongroom.sock in the data folder]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Speak to the node's admin listener, https://HOST or https://HOST:PORT, instead of its socket [env: STRONGROOM_ADMIN, without --socket and --data-dir]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "socket")]
    admin: Option<String>,
    /// With --admin: the CAs whose servers are trusted, in PEM
    #[arg(long, global = true, value_name = "FILE", env = "STRONGROOM_ADMIN_CA")]
    admin_ca: Option<PathBuf>,
    /// With --admin: who you are, in PEM
    #[arg(long, global = true, value_name = "FILE", env = "STRONGROOM_ADMIN_CERT")]
    admin_cert: Option<PathBuf>,
    /// With --admin: the certificate's private key, in PEM
    #[arg(long, global = true, value_name = "FILE", env = "STRONGROOM_ADMIN_KEY")]
    admin_key: Option<PathBuf>,
    /// Print results as JSON on standard output, errors as {"error": {...}} on standard error
    #[arg(long, global = true)]
    json: bool,
}

/// Options and output of the command that runs.
pub(crate) struct Context {
    options: Options,
    /// Where its result goes.
    pub(crate) out: Output,
}

impl Context {
    /// From the command line.
    pub(crate) fn new(options: Options) -> Self {
        let out = Output { json: options.json };
        Self { options, out }
    }

    /// Path of the configuration file.
    pub(crate) fn config_path(&self) -> Result<PathBuf, Failure> {
        let named = self.options.config.clone().map_or_else(config::default_file, Ok);
        named.map_err(|error| Failure::of(Kind::Usage, &error))
    }

    /// Has somebody named it?
    pub(crate) fn has_named_config(&self) -> bool {
        self.options.config.is_some()
    }

    /// The configuration: the file, then the environment, then `--data-dir`.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        if let Some(dir) = self.data_dir()? {
            environment.retain(|(name, _)| name != "STRONGROOM__DATA_DIR");
            environment.push(("STRONGROOM__DATA_DIR".into(), dir.into()));
        }
        Config::load(&self.config_path()?, environment).map_err(|error| Failure::of(Kind::Failed, &error))
    }

    /// Where the node's files are. The configuration is read only if `--data-dir` does not say it.
    pub(crate) fn layout(&self) -> Result<Layout, Failure> {
        match self.data_dir()? {
            Some(dir) => Ok(Layout::new(&dir)),
            None => self
                .config()
                .map(|config| Layout::new(&config.data_dir))
                .map_err(|failure| Failure { message: format!("{}; or say where the node is by --data-dir", failure.message), ..failure }),
        }
    }

    /// A client of the node: over its socket, or where --admin says.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let Options { socket, admin_ca, admin_cert, admin_key, .. } = &self.options;
        match (socket, &self.admin(std::env::var("STRONGROOM_ADMIN").ok())) {
            (Some(socket), _) => Ok(Client::new(socket)),
            (None, None) => Ok(Client::new(&self.layout()?.socket())),
            (None, Some(address)) => match (admin_ca, admin_cert, admin_key) {
                (Some(ca), Some(cert), Some(key)) => Ok(Client::remote(address, ca, cert, key)?),
                _ => Err(Failure::usage("--admin needs --admin-ca, --admin-cert and --admin-key")),
            },
        }
    }

    /// The address of the admin listener, if it is the one to speak to: what the command line says counts before the environment.
    fn admin(&self, environment: Option<String>) -> Option<String> {
        let Options { socket, data_dir, admin, .. } = &self.options;
        admin.clone().or(environment.filter(|_| socket.is_none() && data_dir.is_none()))
    }

    fn data_dir(&self) -> Result<Option<PathBuf>, Failure> {
        let absolute = self.options.data_dir.as_ref().map(std::path::absolute).transpose();
        absolute.map_err(|error| Failure::usage(format!("--data-dir: {error}")))
    }
}

/// Runs one call to its end.
pub(crate) fn wait<T>(call: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime of one thread needs no more than an epoll descriptor").block_on(call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    fn options() -> Options {
        Options {
            config: Some("/nonexistent/config.yaml".into()),
            data_dir: None,
            socket: None,
            admin: None,
            admin_ca: None,
            admin_cert: None,
            admin_key: None,
            json: false,
        }
    }

    #[test]
    fn the_environment_names_a_node_only_if_the_command_line_names_none() {
        let admin = |options| Context::new(options).admin(Some("https://environment".to_owned()));
        assert_eq!(admin(options()).as_deref(), Some("https://environment"));
        assert_eq!(admin(Options { data_dir: Some("/d".into()), ..options() }), None);
        assert_eq!(admin(Options { socket: Some("/s".into()), ..options() }), None);
        let both = Options { data_dir: Some("/d".into()), admin: Some("https://line".to_owned()), ..options() };
        assert_eq!(admin(both).as_deref(), Some("https://line"));
    }

    #[test]
    fn a_data_dir_or_a_socket_makes_the_configuration_unnecessary() {
        let context = Context::new(Options { data_dir: Some("/d".into()), ..options() });
        assert_eq!(context.layout().expect("no file is read").socket(), PathBuf::from("/d/strongroom.sock"));
        assert!(Context::new(Options { socket: Some("/s".into()), ..options() }).client().is_ok());
    }

    #[test]
    fn an_address_without_a_certificate_is_a_usage_error() {
        let context = Context::new(Options { admin: Some("https://h".to_owned()), admin_ca: Some("/ca".into()), ..options() });
        assert_eq!(context.client().expect_err("nobody is named").kind, Kind::Usage);
        let files = Options { admin_ca: Some("/n".into()), admin_cert: Some("/n".into()), admin_key: Some("/n".into()), ..options() };
        let context = Context::new(Options { admin: Some("http://h".to_owned()), ..files });
        assert_eq!(context.client().expect_err("not https").kind, Kind::Usage);
    }

    #[test]
    fn without_either_the_missing_configuration_is_named_with_the_way_out() {
        let failure = Context::new(options()).client().expect_err("there is no such file");
        assert_eq!(failure.kind, Kind::Failed);
        assert!(failure.message.contains("/nonexistent/config.yaml") && failure.message.contains("--data-dir"), "{failure}");
    }

    #[test]
    fn a_node_that_is_not_there_is_exit_code_3_and_named_by_its_socket() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let context = Context::new(Options { data_dir: Some(dir.path().to_owned()), ..options() });
        let client = context.client().expect("no file is read");
        let failure = Failure::from(wait(client.status()).expect_err("nobody listens"));
        assert_eq!(failure.kind.code(), 3);
        assert!(failure.message.contains(&dir.path().join("strongroom.sock").display().to_string()), "{failure}");
    }
}
