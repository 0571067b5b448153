//! The step by which a row comes under a newer version of its parent: the pure part, which whoever walks the rows applies to each.

use crate::envelope::Envelope;
use crate::error::Error;
use crate::registry::Registry;
use crate::row::{Header, ParentRef, Row};

/// A row of an edge with its object key as core has wrapped it anew, under `parent`: the next generation. Neither material nor attributes are
/// touched, because they lie under the object key and the attribute key.
///
/// # Errors
/// [`Error::Corrupt`] if the row has no object key.
pub(crate) fn rewrapped(registry: &Registry, row: &Row, parent: ParentRef, wrapped: &[u8]) -> Result<Row, Error> {
    let material = row.material.as_deref().ok_or_else(|| Error::corrupt("it has no object key", row.header.id))?;
    let envelope = Envelope::decode(material)?;
    let material = Envelope { wrapped, ..envelope }.encode();
    let header = Header { parent, generation: row.header.generation.next(), ..row.header.clone() };
    Ok(registry.seal_row(header, Some(material), row.attributes.clone(), row.terms.clone()))
}
