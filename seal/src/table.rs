//! The table of slots: which slot files the cluster knows, under a MAC that only an unsealed cluster can make (C10).
//!
//! ```text
//! "SRT1" | fmt u16 = 1 | count u8 | count x (slot_id 16 | SHA-256 of the slot file 32), ascending | mac 32
//! ```
//! `mac` is the integrity key's over all before it. The table names slots and holds no secret; it is compared after unsealing, because a slot file
//! that was planted, exchanged or taken away is to be seen, though a planted one cannot open this cluster's MasterKey.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keys::hierarchy::IntegrityKeys;

use crate::fields::Reader;
use crate::slots::{Listing, SLOTS_MAX};
use crate::{Error, SlotId, file};

const MAGIC: &[u8; 4] = b"SRT1";
const FORMAT: u16 = 1;
const MAC_BYTES: usize = 32;
const TABLE_BYTES_MAX: usize = 7 + 255 * 48 + MAC_BYTES;

type Digests = BTreeMap<SlotId, [u8; 32]>;

/// Writes the table of the slots that are there.
pub(crate) fn write(dir: &Path, listing: &Listing, integrity: &IntegrityKeys) -> Result<(), Error> {
    let fresh = dir.join("table.new");
    file::write(&fresh, &encode(&listing.digests, integrity)?)?;
    file::publish(&fresh, &path(dir))
}

/// Compares the table with the slots that are there.
///
/// # Errors
/// `TableMissing`, `TableForged`, `TableMismatch`, `NewerFormat`, `Io`.
pub(crate) fn check(dir: &Path, listing: &Listing, integrity: &IntegrityKeys) -> Result<(), Error> {
    let path = path(dir);
    if !path.exists() {
        return Err(Error::TableMissing { path });
    }
    let known = match decode(&file::read(&path, TABLE_BYTES_MAX)?, integrity) {
        Err(Error::Corrupt { .. }) => return Err(Error::TableForged { path }),
        decoded => decoded?,
    };
    let found = &listing.digests;
    let beyond = |these: &Digests, those: &Digests| these.keys().filter(|slot| !those.contains_key(slot)).copied().collect::<Vec<_>>();
    let differs = |(slot, digest): (&SlotId, &[u8; 32])| known.get(slot).filter(|known| *known != digest).map(|_| *slot);
    let (added, removed) = (beyond(found, &known), beyond(&known, found));
    let changed: Vec<SlotId> = found.iter().filter_map(differs).collect();
    if added.is_empty() && removed.is_empty() && changed.is_empty() {
        return Ok(());
    }
    Err(Error::TableMismatch { added, removed, changed })
}

fn path(dir: &Path) -> PathBuf {
    dir.join("table.mac")
}

fn encode(digests: &Digests, integrity: &IntegrityKeys) -> Result<Vec<u8>, Error> {
    let count = u8::try_from(digests.len()).map_err(|_| Error::SlotsFull { max: SLOTS_MAX })?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT.to_be_bytes());
    bytes.push(count);
    for (slot, digest) in digests {
        bytes.extend_from_slice(slot.as_bytes());
        bytes.extend_from_slice(digest);
    }
    let mac = integrity.slot_table_mac(&bytes);
    bytes.extend_from_slice(&mac);
    Ok(bytes)
}

/// Believes nothing but the format's number before the MAC has verified.
fn decode(bytes: &[u8], integrity: &IntegrityKeys) -> Result<Digests, Error> {
    let mut reader = Reader::new(bytes);
    if reader.array("magic")? != *MAGIC {
        return Err(Error::Corrupt { what: "magic", at: 0 });
    }
    match reader.u16("format")? {
        FORMAT => {}
        0 => return Err(Error::Corrupt { what: "format", at: MAGIC.len() }),
        format => return Err(Error::NewerFormat { format }),
    }
    let (content, mac) = bytes.split_last_chunk::<MAC_BYTES>().ok_or(Error::Corrupt { what: "mac", at: bytes.len() })?;
    if !cipher::mac::ct_eq(&integrity.slot_table_mac(content), mac) {
        return Err(Error::Corrupt { what: "mac", at: content.len() });
    }
    let count = reader.u8("count")?;
    let digests = (0..count).map(|_| Ok((SlotId::from_bytes(reader.array("slot id")?), reader.array("digest")?))).collect();
    reader.array::<MAC_BYTES>("mac")?;
    reader.end()?;
    digests
}

#[cfg(test)]
mod tests {
    use super::*;
    use keys::id::ClusterId;
    use uuid::Uuid;

    /// Made by an independent implementation from the layout in this file's first lines.
    const GOLDEN: &[u8] = include_bytes!("../tests/golden/table-v1.bin");

    fn integrity(byte: u8) -> IntegrityKeys {
        IntegrityKeys::new(ClusterId::new(Uuid::from_bytes([0x22; 16])), &[byte; 32]).expect("the arena has room")
    }

    #[test]
    fn a_table_of_the_first_format_is_read_for_ever() {
        let digests = decode(GOLDEN, &integrity(0x1C)).expect("a table of the first format");
        assert_eq!(digests.get(&SlotId::from_bytes([0x33; 16])), Some(&[0x44; 32]));
        assert_eq!(digests.len(), 2);
        assert_eq!(encode(&digests, &integrity(0x1C)).expect("few slots"), GOLDEN);
    }

    #[test]
    fn an_altered_table_and_another_clusters_are_refused() {
        for bit in 0..GOLDEN.len() * 8 {
            let mut altered = GOLDEN.to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            let refused = decode(&altered, &integrity(0x1C));
            assert!(matches!(refused, Err(Error::Corrupt { .. } | Error::NewerFormat { .. })), "bit {bit}: {refused:?}");
        }
        for cut in 0..GOLDEN.len() {
            assert!(decode(&GOLDEN[..cut], &integrity(0x1C)).is_err(), "cut at {cut}");
        }
        assert!(decode(GOLDEN, &integrity(0x1D)).is_err());
    }
}
