//! Sockets that the service manager has bound and passes at the start, each by the name of the listener that it is for.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt};

use crate::config::Listeners;

/// The names that a socket's unit may give by `FileDescriptorName=`.
const LISTENERS: [&str; 4] = ["kmip", "https", "admin", "health"];

/// Why the node does not start with what was passed.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// The service manager says what is not so.
    #[error("the sockets that LISTEN_FDS and LISTEN_FDNAMES speak of cannot be taken: {0}")]
    Garbled(#[source] io::Error),
    /// Nobody knows what it is for.
    #[error("a socket was passed with the name `{name}`: FileDescriptorName= in its unit has to be kmip, https, admin or health")]
    Unknown {
        /// As it was called.
        name: String,
    },
    /// A listener has one.
    #[error("two sockets were passed for listeners.{listener}, which has one address: disable one of their units")]
    Twice {
        /// The listener.
        listener: &'static str,
    },
    /// It cannot be accepted from.
    #[error(
        "what was passed for listeners.{listener} is no TCP socket that listens: its unit needs ListenStream=ADDRESS:PORT and Accept=no"
    )]
    NotListening {
        /// The listener.
        listener: &'static str,
    },
    /// The configuration has no such listener.
    #[error(
        "a socket was passed for listeners.{listener}, which the configuration does not have: write it there, or disable the socket's unit"
    )]
    Unused {
        /// The listener.
        listener: &'static str,
    },
    /// The configuration has it elsewhere.
    #[error(
        "listeners.{listener}.bind is {bind}, and the socket that was passed listens on {passed}: correct `bind`, or ListenStream= in its unit"
    )]
    Elsewhere {
        /// The listener.
        listener: &'static str,
        /// Where the configuration has it.
        bind: SocketAddr,
        /// Where the socket is.
        passed: SocketAddr,
    },
}

/// The sockets by listener; empty where nobody has passed any.
#[derive(Debug, Default)]
pub struct Passed(BTreeMap<&'static str, TcpListener>);

impl Passed {
    /// Takes what was passed to this process; once, before it has threads.
    ///
    /// # Errors
    /// [`PassedError`] names the socket.
    pub fn take() -> Result<Self, PassedError> {
        // First, because the other takes the variables away; no child inherits the sockets from then on.
        let names: Vec<String> = sd_notify::listen_fds_with_names().map_err(PassedError::Garbled)?.map(|(_, name)| name).collect();
        if names.is_empty() {
            return Ok(Self::default());
        }
        let mut sockets = ListenFd::from_env();
        let mut passed = BTreeMap::new();
        for (index, name) in names.into_iter().enumerate() {
            let listener = LISTENERS.into_iter().find(|listener| *listener == name);
            let listener = listener.ok_or(PassedError::Unknown { name })?;
            let socket = sockets.take_tcp_listener(index).ok().flatten().filter(listens).ok_or(PassedError::NotListening { listener })?;
            if passed.insert(listener, socket).is_some() {
                return Err(PassedError::Twice { listener });
            }
        }
        Ok(Self(passed))
    }

    /// Does the configuration have each of them, at the same address?
    ///
    /// # Errors
    /// [`PassedError::Unused`], [`PassedError::Elsewhere`].
    pub(crate) fn check(&self, listeners: &Listeners) -> Result<(), PassedError> {
        for (listener, socket) in &self.0 {
            let told = match *listener {
                "kmip" => listeners.kmip.as_ref().map(|told| told.bind),
                "https" => listeners.https.as_ref().map(|told| told.bind),
                "admin" => listeners.admin.as_ref().map(|told| told.bind),
                _ => listeners.health,
            };
            let bind = told.ok_or(PassedError::Unused { listener })?;
            let passed = socket.local_addr().map_err(|_| PassedError::NotListening { listener })?;
            if (passed.ip(), passed.port()) != (bind.ip(), bind.port()) {
                return Err(PassedError::Elsewhere { listener, bind, passed });
            }
        }
        Ok(())
    }

    /// The socket of a listener: the one that was passed, else one that is bound now.
    ///
    /// # Errors
    /// The address cannot be had.
    pub(crate) async fn bind(&mut self, listener: &str, address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
        let Some(socket) = self.0.remove(listener) else { return tokio::net::TcpListener::bind(address).await };
        socket.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(socket)
    }
}

fn listens(socket: &TcpListener) -> bool {
    getsockopt(socket, sockopt::AcceptConn).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(health: Option<SocketAddr>) -> Listeners {
        Listeners { kmip: None, https: None, admin: None, health }
    }

    #[test]
    fn a_passed_socket_has_to_be_where_the_configuration_has_it() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let here = socket.local_addr().expect("it is bound");
        let passed = Passed(BTreeMap::from([("health", socket)]));
        passed.check(&listeners(Some(here))).expect("it is the same");
        let elsewhere = SocketAddr::new(here.ip(), here.port() ^ 1);
        let refused = passed.check(&listeners(Some(elsewhere))).expect_err("the port is another").to_string();
        assert!(refused.contains(&here.to_string()) && refused.contains(&elsewhere.to_string()), "{refused}");
        let refused = passed.check(&listeners(None)).expect_err("there is no such listener").to_string();
        assert!(refused.contains("listeners.health") && refused.contains("disable"), "{refused}");
    }

    #[tokio::test]
    async fn a_listener_without_a_passed_socket_binds_its_own() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let here = socket.local_addr().expect("it is bound");
        let mut passed = Passed(BTreeMap::from([("kmip", socket)]));
        assert_eq!(passed.bind("kmip", here).await.and_then(|socket| socket.local_addr()).expect("it was passed"), here);
        let other = passed.bind("https", SocketAddr::new(here.ip(), 0)).await.and_then(|socket| socket.local_addr());
        assert_ne!(other.expect("a port is free"), here);
    }
}
