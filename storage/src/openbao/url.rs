//! Where an OpenBao server is: `https://HOST:PORT`.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::ServerName;

/// OpenBao's own.
const PORT: u16 = 8200;

/// Host and port.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    text: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) name: ServerName<'static>,
}

/// Why a text is no [`Url`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a URL of the form https://HOST:PORT, without a path")]
pub struct BadUrl;

impl Url {
    /// The text that it was read from; it holds no secret.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As the `Host` of a request names it.
    pub(super) fn authority(&self) -> &str {
        self.text.strip_prefix("https://").unwrap_or(&self.text).trim_end_matches('/')
    }
}

impl FromStr for Url {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let authority = text.strip_prefix("https://").ok_or(BadUrl)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if !authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte)) {
            return Err(BadUrl);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|port| *port != 0).ok_or(BadUrl)?),
            _ => (authority, PORT),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| BadUrl)?;
        Ok(Self { text: text.to_owned(), host, port, name })
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
    fn a_url_names_host_and_port_and_nothing_else() {
        for (text, host, port) in [
            ("https://bao.example.com", "bao.example.com", 8200),
            ("https://bao.example.com:8300/", "bao.example.com", 8300),
            ("https://10.0.0.1:8200", "10.0.0.1", 8200),
            ("https://[::1]:8200", "::1", 8200),
            ("https://[::1]", "::1", 8200),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!((url.host.as_str(), url.port, url.as_str()), (host, port, text));
        }
        for text in [
            "",
            "bao.example.com",
            "http://bao.example.com",
            "https://",
            "https://bao:0",
            "https://bao:99999",
            "https://bao/v1",
            "https://user:secret@bao",
            "https://bao?x",
            "https://b o",
        ] {
            assert_eq!(text.parse::<Url>(), Err(BadUrl), "{text}");
        }
    }
}
