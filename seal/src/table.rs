//! The table of slots: which slot files the cluster knows, under a MAC that only an unsealed cluster can make (C10).
//!
//! ```text
//! "SRT1" | fmt u16 = 2 | count u8 | count x entry, ascending | pending u8 (0 or 1) | pending x entry | mac 32
//! entry    slot_id 16 | SHA-256 of the slot file 32
//! ```
//! `mac` is the integrity key's over all before it. Format 1 has no pending part. The table names slots and holds no secret; it is compared after
//! unsealing, because a slot file that was planted, exchanged or taken away is to be seen, though a planted one cannot open this cluster's MasterKey.
//!
//! The pending slot is being added or removed: its file may be there, with that content, or not. It is written before the directory changes, so that
//! a crash in between is told from a change by somebody else; which way it went is settled by the next writer, or the next unsealing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keys::hierarchy::IntegrityKeys;

use crate::fields::Reader;
use crate::slots::{Listing, SLOTS_MAX};
use crate::{Error, SlotId, file};

const MAGIC: &[u8; 4] = b"SRT1";
const FORMAT_WITHOUT_PENDING: u16 = 1;
const FORMAT: u16 = 2;
const MAC_BYTES: usize = 32;
const TABLE_BYTES_MAX: usize = 8 + 256 * 48 + MAC_BYTES;

/// A slot file by its content.
pub(crate) type Entry = (SlotId, [u8; 32]);

/// What the cluster knows of its slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Those that are to be there.
    pub(crate) known: BTreeMap<SlotId, [u8; 32]>,
    /// The one that may be there or not.
    pub(crate) pending: Option<Entry>,
}

impl Table {
    /// The table of the slots that are there.
    pub(crate) fn of(listing: &Listing) -> Self {
        Self { known: listing.digests.clone(), pending: None }
    }

    /// The same without anything pending: what is there of it counts, with the content that it was to have.
    pub(crate) fn settled(mut self, listing: &Listing) -> Self {
        if let Some((slot, digest)) = self.pending.take().filter(|(slot, _)| listing.digests.contains_key(slot)) {
            self.known.insert(slot, digest);
        }
        self
    }

    /// Compares it with the slots that are there.
    ///
    /// # Errors
    /// `TableMismatch`.
    pub(crate) fn check(&self, listing: &Listing) -> Result<(), Error> {
        let Self { known, .. } = self.clone().settled(listing);
        let found = &listing.digests;
        let added: Vec<SlotId> = found.keys().filter(|slot| !known.contains_key(slot)).copied().collect();
        let removed: Vec<SlotId> = known.keys().filter(|slot| !found.contains_key(slot)).copied().collect();
        let differs = |(slot, digest): (&SlotId, &[u8; 32])| known.get(slot).filter(|known| *known != digest).map(|_| *slot);
        let changed: Vec<SlotId> = found.iter().filter_map(differs).collect();
        if added.is_empty() && removed.is_empty() && changed.is_empty() {
            return Ok(());
        }
        Err(Error::TableMismatch { added, removed, changed })
    }
}

/// Writes the table durably; the earlier one stays if that fails.
pub(crate) fn write(dir: &Path, table: &Table, integrity: &IntegrityKeys) -> Result<(), Error> {
    let fresh = dir.join("table.new");
    file::write(&fresh, &encode(table, integrity)?)?;
    file::publish(&fresh, &path(dir))
}

/// Reads the table.
///
/// # Errors
/// `TableMissing`, `TableForged`, `NewerFormat`, `Io`.
pub(crate) fn read(dir: &Path, integrity: &IntegrityKeys) -> Result<Table, Error> {
    let path = path(dir);
    if !path.exists() {
        return Err(Error::TableMissing { path });
    }
    match decode(&file::read(&path, TABLE_BYTES_MAX)?, integrity) {
        Err(Error::Corrupt { .. }) => Err(Error::TableForged { path }),
        decoded => decoded,
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("table.mac")
}

fn encode(table: &Table, integrity: &IntegrityKeys) -> Result<Vec<u8>, Error> {
    let count = u8::try_from(table.known.len()).map_err(|_| Error::SlotsFull { max: SLOTS_MAX })?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT.to_be_bytes());
    bytes.push(count);
    for (slot, digest) in &table.known {
        bytes.extend([&slot.as_bytes()[..], digest].concat());
    }
    bytes.push(u8::from(table.pending.is_some()));
    if let Some((slot, digest)) = &table.pending {
        bytes.extend([&slot.as_bytes()[..], digest].concat());
    }
    let mac = integrity.slot_table_mac(&bytes);
    bytes.extend_from_slice(&mac);
    Ok(bytes)
}

/// Believes nothing but the format's number before the MAC has verified.
fn decode(bytes: &[u8], integrity: &IntegrityKeys) -> Result<Table, Error> {
    let mut reader = Reader::new(bytes);
    if reader.array("magic")? != *MAGIC {
        return Err(Error::Corrupt { what: "magic", at: 0 });
    }
    let format = reader.u16("format")?;
    match format {
        FORMAT_WITHOUT_PENDING | FORMAT => {}
        0 => return Err(Error::Corrupt { what: "format", at: MAGIC.len() }),
        format => return Err(Error::NewerFormat { format, known: FORMAT }),
    }
    let (content, mac) = bytes.split_last_chunk::<MAC_BYTES>().ok_or(Error::Corrupt { what: "mac", at: bytes.len() })?;
    if !cipher::mac::ct_eq(&integrity.slot_table_mac(content), mac) {
        return Err(Error::Corrupt { what: "mac", at: content.len() });
    }
    let count = reader.u8("count")?;
    let known = (0..count).map(|_| entry(&mut reader)).collect::<Result<_, _>>()?;
    let at = reader.at();
    let pending = match if format == FORMAT { reader.u8("pending")? } else { 0 } {
        0 => None,
        1 => Some(entry(&mut reader)?),
        _ => return Err(Error::Corrupt { what: "pending", at }),
    };
    reader.array::<MAC_BYTES>("mac")?;
    reader.end()?;
    Ok(Table { known, pending })
}

fn entry(reader: &mut Reader<'_>) -> Result<Entry, Error> {
    Ok((SlotId::from_bytes(reader.array("slot id")?), reader.array("digest")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keys::id::ClusterId;
    use uuid::Uuid;

    /// Made by an independent implementation from the layout in this file's first lines.
    const FIRST: &[u8] = include_bytes!("../tests/golden/table-v1.bin");
    const GOLDEN: &[u8] = include_bytes!("../tests/golden/table-v2.bin");

    fn integrity(byte: u8) -> IntegrityKeys {
        IntegrityKeys::new(ClusterId::new(Uuid::from_bytes([0x22; 16])), &[byte; 32]).expect("the arena has room")
    }

    #[test]
    fn a_table_of_the_first_format_is_read_for_ever() {
        let table = decode(FIRST, &integrity(0x1C)).expect("a table of the first format");
        assert_eq!(table.known.get(&SlotId::from_bytes([0x33; 16])), Some(&[0x44; 32]));
        assert_eq!((table.known.len(), table.pending), (2, None));
    }

    #[test]
    fn a_table_with_a_pending_slot_is_read_and_written_as_it_was() {
        let table = decode(GOLDEN, &integrity(0x1C)).expect("a table of this format");
        assert_eq!(table.known, decode(FIRST, &integrity(0x1C)).expect("a table of the first format").known);
        assert_eq!(table.pending, Some((SlotId::from_bytes([0x55; 16]), [0x66; 32])));
        assert_eq!(encode(&table, &integrity(0x1C)).expect("few slots"), GOLDEN);
    }

    #[test]
    fn an_altered_table_and_another_clusters_are_refused() {
        for golden in [FIRST, GOLDEN] {
            for bit in 0..golden.len() * 8 {
                let mut altered = golden.to_vec();
                altered[bit / 8] ^= 1 << (bit % 8);
                let refused = decode(&altered, &integrity(0x1C));
                assert!(matches!(refused, Err(Error::Corrupt { .. } | Error::NewerFormat { .. })), "bit {bit}: {refused:?}");
            }
            for cut in 0..golden.len() {
                assert!(decode(&golden[..cut], &integrity(0x1C)).is_err(), "cut at {cut}");
            }
            assert!(decode(golden, &integrity(0x1D)).is_err());
        }
        let newer = decode(&[&MAGIC[..], &[0, 3]].concat(), &integrity(0x1C)).expect_err("a later release's").to_string();
        assert!(newer.contains("format 3 is newer than this release, which knows 2"), "{newer}");
    }

    #[test]
    fn a_pending_slot_may_be_there_or_not_but_not_with_another_content() {
        let slot = SlotId::from_bytes([0x55; 16]);
        let table = Table { known: BTreeMap::new(), pending: Some((slot, [0x66; 32])) };
        let with = |digest| Listing { digests: BTreeMap::from([(slot, digest)]), ..Listing::default() };
        assert!(table.check(&Listing::default()).is_ok() && table.check(&with([0x66; 32])).is_ok());
        assert!(matches!(table.check(&with([0x67; 32])), Err(Error::TableMismatch { changed, .. }) if changed == [slot]));
        assert_eq!(table.clone().settled(&Listing::default()), Table::default());
        let settled = table.settled(&with([0x67; 32]));
        assert!(matches!(settled.check(&with([0x67; 32])), Err(Error::TableMismatch { changed, .. }) if changed == [slot]));
    }
}
