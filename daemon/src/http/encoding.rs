//! The encodings of KMIP over HTTPS, by their media types.

use kmip::{TextError, json, xml};

/// A text has a body of at most so many times the limit of a message in TTLV ...
const TEXT_FACTOR: usize = 4;
/// ... and so many bytes more.
const TEXT_BYTES: usize = 64 * 1024;

/// How a message is said in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// TTLV itself.
    Ttlv,
    /// XML, as the profile names it.
    TextXml,
    /// XML, as others name it.
    ApplicationXml,
    /// JSON.
    Json,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ttlv, Self::TextXml, Self::ApplicationXml, Self::Json];

    /// What Content-Type says.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Ttlv => "application/octet-stream",
            Self::TextXml => "text/xml",
            Self::ApplicationXml => "application/xml",
            Self::Json => "application/json",
        }
    }

    /// Most that a body may have whose message has at most `bytes_max` in TTLV.
    pub const fn body_bytes_max(self, bytes_max: usize) -> usize {
        match self {
            Self::Ttlv => bytes_max,
            Self::TextXml | Self::ApplicationXml | Self::Json => bytes_max.saturating_mul(TEXT_FACTOR).saturating_add(TEXT_BYTES),
        }
    }

    /// The message in TTLV, of at most `bytes_max`.
    ///
    /// # Errors
    /// What is wrong with a text. TTLV is not looked at.
    pub fn read(self, body: Vec<u8>, bytes_max: usize) -> Result<Vec<u8>, TextError> {
        match self {
            Self::Ttlv => Ok(body),
            Self::TextXml | Self::ApplicationXml => xml::read(&body, bytes_max),
            Self::Json => json::read(&body, bytes_max),
        }
    }

    /// An answer given in TTLV.
    ///
    /// # Errors
    /// It is none, which can only be a core's that an edge passes on.
    pub fn write(self, ttlv: Vec<u8>) -> Result<Vec<u8>, kmip::Error> {
        match self {
            Self::Ttlv => Ok(ttlv),
            Self::TextXml | Self::ApplicationXml => xml::write(&ttlv),
            Self::Json => json::write(&ttlv),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_kmip_md_names_every_media_type() {
        let document = include_str!("../../../docs/KMIP.md");
        for encoding in Encoding::ALL {
            assert!(document.contains(&format!("`{}`", encoding.media_type())), "{encoding:?}");
        }
    }
}
