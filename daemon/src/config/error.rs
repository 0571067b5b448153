//! What can be wrong with a configuration, said with file, key, value and the accepted form.

use std::fmt;
use std::path::PathBuf;

/// Most characters of a refused value that an error repeats.
const VALUE_CHARS_MAX: usize = 100;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The configuration file.
    File(PathBuf),
    /// An environment variable that overrides it.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// A refused value, cut and escaped for one line of a terminal; one that may be or hold a secret is never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// A text.
    pub(super) fn text(key: &str, value: &str) -> Self {
        let short: String = value.chars().take(VALUE_CHARS_MAX).collect();
        Self::described(key, format!("{short:?}"))
    }

    /// Something else than a text, in words.
    pub(super) fn described(key: &str, words: String) -> Self {
        let may_be_secret = [".pin", ".password", ".secret_id", ".url"].iter().any(|name| key.ends_with(name));
        if may_be_secret { Self("(not shown)".to_owned()) } else { Self(words) }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{file}: {source}", file = .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody has said which of them is meant.
    #[error("there are {}: say by --config which node is meant", .files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" and "))]
    Several {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Others than its owner may change the file, and with it whom the node trusts.
    #[error("{file}: may be written by group or others (mode {mode:04o}): chmod go-w {file}", file = .file.display())]
    Writable {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is neither root's nor the process's own.
    #[error("{file}: belongs to user {owner}, who is neither root nor the user of this process ({user}): chown root {file}", file = .file.display())]
    Owner {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// The text is not YAML, or not one map.
    #[error("{place}: {what}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says, with line and column.
        what: String,
    },
    /// A key that does not exist: misspelt, or of another release.
    #[error("{place}: unknown key `{key}`{near}; accepted here: {accepted}", near = did_you_mean(.near), accepted = .accepted.join(", "))]
    UnknownKey {
        /// Where.
        place: Place,
        /// The whole key.
        key: String,
        /// Keys that look like it, the likeliest first.
        near: Vec<String>,
        /// Every key of the section.
        accepted: Vec<String>,
    },
    /// A required key is not there.
    #[error("{place}: `{key}` is missing: give {form}")]
    Missing {
        /// The file that should have it.
        place: Place,
        /// The whole key.
        key: String,
        /// What to write.
        form: &'static str,
    },
    /// A value that is not accepted.
    #[error("{place}: `{key}` is {value}: give {form}")]
    Invalid {
        /// Where.
        place: Place,
        /// The whole key.
        key: String,
        /// The refused value.
        value: Shown,
        /// What to write instead.
        form: &'static str,
    },
    /// A credential is needed and the service manager has passed none.
    #[error(
        "credential `{name}` is not there: add LoadCredential={name}:PATH to the unit, or set CREDENTIALS_DIRECTORY to the folder that holds it"
    )]
    NoCredentials {
        /// The credential's name.
        name: String,
    },
}

fn did_you_mean(near: &[String]) -> String {
    match near {
        [] => format!(" (this release, {}, has nothing like it; a newer one may)", env!("CARGO_PKG_VERSION")),
        near => format!(" (did you mean `{}`?)", near.join("` or `")),
    }
}
