//! Where a database is: `postgresql://USER@HOST:PORT/DATABASE`.

use std::fmt;
use std::str::FromStr;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// Server, user and database; never a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    text: String,
    config: Config,
}

/// Why a text is no [`Url`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a URL of the form postgresql://USER@HOST:PORT/DATABASE without a password")]
pub struct BadUrl;

impl Url {
    /// Is the server reached by Unix sockets alone? Nothing crosses a network then, and there is no TLS.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
    }

    /// The text that it was read from; it holds no secret.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As an error names it: hosts with ports, and the database.
    pub(super) fn place(&self) -> String {
        let authority = self.text.split_once("://").map_or(&*self.text, |(_, rest)| rest);
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        place.replace("%2F", "/").replace("%2f", "/")
    }

    pub(super) fn config(&self) -> Config {
        self.config.clone()
    }
}

impl FromStr for Url {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        // What could be said behind a question mark is either said elsewhere or would weaken what is.
        let is_url = text.starts_with("postgresql://") && !text.contains(['?', '#', ' ', '\0']);
        let config: Config = if is_url { text.parse().map_err(|_| BadUrl)? } else { return Err(BadUrl) };
        let is_named = |name: Option<&str>| name.is_some_and(|name| !name.is_empty());
        let hosts = config.get_hosts();
        let unix = hosts.iter().filter(|host| matches!(host, Host::Unix(_))).count();
        let is_whole = is_named(config.get_user()) && is_named(config.get_dbname()) && config.get_password().is_none();
        // Some by a socket and some over a network would be two ways to trust them.
        let is_of_one_kind = !hosts.is_empty() && (unix == 0 || unix == hosts.len());
        if is_whole && is_of_one_kind { Ok(Self { text: text.to_owned(), config }) } else { Err(BadUrl) }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_user_host_and_database_and_no_password() {
        for (text, is_local, place) in [
            ("postgresql://strongroom@db.example.com:5432/strongroom", false, "db.example.com:5432/strongroom"),
            ("postgresql://strongroom@db/keys", false, "db/keys"),
            ("postgresql://strongroom@a:5432,b:5433/keys", false, "a:5432,b:5433/keys"),
            ("postgresql://strongroom@[::1]:5432/keys", false, "[::1]:5432/keys"),
            ("postgresql://strongroom@%2Fvar%2Frun%2Fpostgresql/keys", true, "/var/run/postgresql/keys"),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!((url.is_local(), url.place().as_str(), url.as_str()), (is_local, place, text));
        }
        for text in [
            "",
            "host=db user=strongroom dbname=keys",
            "https://strongroom@db/keys",
            "postgresql://db/keys",
            "postgresql://strongroom@db",
            "postgresql://strongroom@db/",
            "postgresql://strongroom@/keys",
            "postgresql://strongroom:secret@db/keys",
            "postgresql://strongroom@db/keys?sslmode=disable",
            "postgresql://strongroom@db/keys?password=secret",
            "postgresql://strongroom@%2Frun,db/keys",
        ] {
            assert_eq!(text.parse::<Url>(), Err(BadUrl), "{text}");
        }
    }
}
