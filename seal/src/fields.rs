//! Reads and writes the fields of the stored formats: big-endian numbers, and fields of varying length behind a bounded u32.

use crate::Error;

/// A format being read from its first byte to its last; nothing is allocated for a length that is not there.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let field = self.slice(N, what)?;
        Ok(field.try_into().expect("the slice has N bytes"))
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Error> {
        self.array(what).map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Error> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Error> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Error> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// A field behind its length.
    pub(crate) fn prefixed(&mut self, bytes_max: usize, what: &'static str) -> Result<&'a [u8], Error> {
        let start = self.at;
        let length = usize::try_from(self.u32(what)?).unwrap_or(usize::MAX);
        if length > bytes_max {
            return Err(Error::Corrupt { what, at: start });
        }
        self.slice(length, what)
    }

    /// A text field behind its length.
    pub(crate) fn text(&mut self, bytes_max: usize, what: &'static str) -> Result<&'a str, Error> {
        let start = self.at;
        std::str::from_utf8(self.prefixed(bytes_max, what)?).map_err(|_| Error::Corrupt { what, at: start })
    }

    /// Refuses bytes behind the last field.
    pub(crate) fn end(&self) -> Result<(), Error> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(Error::Corrupt { what: "its end", at: self.at }) }
    }

    fn slice(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Error> {
        let rest = &self.bytes[self.at..];
        let field = rest.get(..length).ok_or(Error::Corrupt { what, at: self.at })?;
        self.at += length;
        Ok(field)
    }
}

/// Appends a field behind its length.
pub(crate) fn put_prefixed(to: &mut Vec<u8>, field: &[u8]) {
    to.extend_from_slice(&u32::try_from(field.len()).expect("every field has a maximum far below 4 GiB").to_be_bytes());
    to.extend_from_slice(field);
}
