//! A seal slot: the MasterKey sealed under a random slot key, which a custodian protects (C10).
//!
//! ```text
//! header  "SRS1" | fmt u16 = 1 | type u8 | slot_id 16 | cluster_id 16 | mk_generation u32 | slot_set u64 | created i64 (ms since 1970) |
//!         label_bytes u32 | label | custodian_bytes u32 | custodian
//! guard   parameters_bytes u32 | custodian parameters | protected_bytes u32 | protected slot key
//! seal    aead u16 = 1 | ct 32 | tag 16 | kcv 32
//! tail    roster_bytes u32 | roster | manifest_hash 32
//!
//! custodian's AAD   header
//! key               HKDF-SHA-512(salt slot_id, slot key, "strongroom/slot/mk/1"), 32 bytes
//! ct, tag           AES-256-GCM(key, nonce zero, MasterKey, AAD = the whole file without ct and tag)
//! ```
//! All numbers are big-endian; label and custodian are UTF-8. A slot key is drawn for one slot and seals one MasterKey, so its derived key is used
//! once and the nonce may be zero (C4). Nothing of the file is believed before the tag has verified; the custodian must be known earlier, so its
//! parameters are compared with the token before a PIN is sent.

use cipher::aead::{Aead, TAG_BYTES};
use keys::hierarchy::{MasterKey, ROOT_KEY_BYTES};
use keys::id::{ClusterId, Time};
use secret::{Exhausted, Key};
use uuid::Uuid;

use crate::custodian::{CustodianKind, GUARDED_BYTES_MAX, Guarded, Place, SlotKey};
use crate::fields::{Reader, put_prefixed};
use crate::name::LABEL_BYTES_MAX;
use crate::roster::ROSTER_BYTES_MAX;
use crate::{Approval, Error, Label, Roster, SlotId, manifest};

const MAGIC: &[u8; 4] = b"SRS1";
const FORMAT: u16 = 1;
const KEY_LABEL: &[u8] = b"strongroom/slot/mk/1";
/// Most bytes of a slot file: the largest guard and roster, and room for the fixed fields.
pub(crate) const SLOT_BYTES_MAX: usize = 2 * GUARDED_BYTES_MAX + ROSTER_BYTES_MAX + 1024;

/// What a slot is, decided before its custodian is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Kind of its custodian.
    pub kind: CustodianKind,
    /// Which slot.
    pub id: SlotId,
    /// The cluster whose MasterKey it holds.
    pub cluster: ClusterId,
    /// The generation of that MasterKey.
    pub generation: u32,
    /// Grows by one with each slot that is added.
    pub slot_set: u64,
    /// When it was made.
    pub created: Time,
    /// What people call it.
    pub label: Label,
    /// The custodian's name in the configuration.
    pub custodian: Label,
}

impl Header {
    /// The stored form, which is also what the custodian binds the slot key to.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(self.cluster.as_bytes());
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.slot_set.to_be_bytes());
        bytes.extend_from_slice(&self.created.millis().to_be_bytes());
        put_prefixed(&mut bytes, self.label.as_str().as_bytes());
        put_prefixed(&mut bytes, self.custodian.as_str().as_bytes());
        bytes
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        if reader.array("magic")? != *MAGIC {
            return Err(Error::Corrupt { what: "magic", at: 0 });
        }
        let at = reader.at();
        match reader.u16("format")? {
            FORMAT => {}
            0 => return Err(Error::Corrupt { what: "format", at }),
            format => return Err(Error::NewerFormat { format, known: FORMAT }),
        }
        let at = reader.at();
        let kind = CustodianKind::from_number(reader.u8("type")?).ok_or(Error::Corrupt { what: "type", at })?;
        if !matches!(kind, CustodianKind::Pkcs11 | CustodianKind::Tpm2 | CustodianKind::Shamir) {
            return Err(Error::KindNotBuilt { kind });
        }
        Ok(Self {
            kind,
            id: SlotId::from_bytes(reader.array("slot id")?),
            cluster: ClusterId::new(Uuid::from_bytes(reader.array("cluster id")?)),
            generation: reader.u32("MasterKey generation")?,
            slot_set: reader.u64("slot set")?,
            created: Time::from_millis(reader.array("date").map(i64::from_be_bytes)?),
            label: label(reader, "label")?,
            custodian: label(reader, "custodian")?,
        })
    }
}

fn label(reader: &mut Reader<'_>, what: &'static str) -> Result<Label, Error> {
    let at = reader.at();
    reader.text(LABEL_BYTES_MAX, what)?.parse().map_err(|_| Error::Corrupt { what, at })
}

/// A whole slot, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What it is.
    pub header: Header,
    /// The slot key in its custodian's keeping.
    pub guarded: Guarded,
    sealed: [u8; ROOT_KEY_BYTES],
    tag: [u8; TAG_BYTES],
    kcv: [u8; 32],
    /// The custodians, for the time before the cluster record can be read; compare its hash afterwards.
    pub roster: Roster,
    /// SHA3-256 of the manifest of a split; zero if there is none.
    pub(crate) manifest_hash: [u8; 32],
}

impl Slot {
    /// Seals a MasterKey under a slot key that was drawn for this slot.
    ///
    /// # Errors
    /// `Exhausted`; `Corrupt` if a custodian of several has returned no split.
    pub(crate) fn seal(header: Header, guarded: Guarded, roster: Roster, slot_key: &SlotKey, master: &MasterKey) -> Result<Self, Error> {
        let kcv = master.check_value(header.cluster)?;
        let manifest_hash = manifest::hash(&header, &guarded)?;
        let (sealed, tag) = ([0; ROOT_KEY_BYTES], [0; TAG_BYTES]);
        let mut slot = Self { header, guarded, sealed, tag, kcv, roster, manifest_hash };
        let key = slot.sealing_key(slot_key)?;
        let aad = slot.aad();
        let sealed = Key::<ROOT_KEY_BYTES>::init_with(|place| {
            master.expose(|master| place.copy_from_slice(master));
            let tag = key.expose(|key| Aead::Aes256Gcm.seal_once_in_place(key, &aad, place));
            slot.tag = tag.expect("32 bytes are no more than the cipher takes");
        })?;
        sealed.expose(|sealed| slot.sealed = *sealed);
        Ok(slot)
    }

    /// Does a person who says this mean it?
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.header.id.to_string() == name || self.header.label.as_str() == name
    }

    /// Does it say of itself that it holds this MasterKey? Its maker has computed that, and whoever opens it compares it.
    pub(crate) fn names(&self, master: &MasterKey) -> Result<bool, Exhausted> {
        Ok(cipher::mac::ct_eq(&master.check_value(self.header.cluster)?, &self.kcv))
    }

    /// What its custodian opens.
    pub(crate) fn place<'a>(&'a self, approvals: &'a [Approval]) -> Place<'a> {
        Place { header: &self.header, guarded: &self.guarded, approvals }
    }

    /// Opens the MasterKey and compares its check value.
    ///
    /// # Errors
    /// `Forged`, `WrongMasterKey`, `Exhausted`.
    pub(crate) fn open(&self, slot_key: &SlotKey) -> Result<MasterKey, Error> {
        let key = self.sealing_key(slot_key)?;
        let aad = self.aad();
        let opened = Key::<ROOT_KEY_BYTES>::try_init_with(|place| {
            place.copy_from_slice(&self.sealed);
            key.expose(|key| Aead::Aes256Gcm.open_once_in_place(key, &aad, place, &self.tag)).map_err(|_| Error::Forged)
        })?;
        let master = MasterKey::from_key(opened);
        if !cipher::mac::ct_eq(&master.check_value(self.header.cluster)?, &self.kcv) {
            return Err(Error::WrongMasterKey);
        }
        Ok(master)
    }

    /// The stored form.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.before_seal();
        bytes.extend_from_slice(&self.sealed);
        bytes.extend_from_slice(&self.tag);
        bytes.extend_from_slice(&self.after_seal());
        bytes
    }

    /// SHA-256 of its file.
    pub(crate) fn digest(&self) -> [u8; 32] {
        cipher::mac::sha256(&[&self.encode()])
    }

    /// Reads the stored form; `Slot::encode` gives the same bytes again.
    ///
    /// # Errors
    /// `Corrupt`, `NewerFormat`, `KindNotBuilt`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader)?;
        let parameters = reader.prefixed(GUARDED_BYTES_MAX, "custodian parameters")?.to_vec();
        let protected = reader.prefixed(GUARDED_BYTES_MAX, "protected slot key")?.to_vec();
        let at = reader.at();
        if reader.u16("algorithm")? != Aead::Aes256Gcm.number() {
            return Err(Error::Corrupt { what: "algorithm", at });
        }
        let sealed = reader.array("sealed MasterKey")?;
        let tag = reader.array("tag")?;
        let kcv = reader.array("check value")?;
        let at = reader.at();
        let roster = reader.prefixed(ROSTER_BYTES_MAX, "custodian roster")?;
        let roster = Roster::decode(roster).map_err(|_| Error::Corrupt { what: "custodian roster", at })?;
        let manifest_hash = reader.array("manifest hash")?;
        reader.end()?;
        Ok(Self { header, guarded: Guarded { parameters, protected }, sealed, tag, kcv, roster, manifest_hash })
    }

    fn sealing_key(&self, slot_key: &SlotKey) -> Result<Key<32>, Exhausted> {
        let prk = slot_key.0.expose(|key| cipher::kdf::extract(self.header.id.as_bytes(), key))?;
        Key::init_with(|out| cipher::kdf::expand(&prk, &[KEY_LABEL], out).expect("32 bytes are below the limit of HKDF"))
    }

    fn aad(&self) -> Vec<u8> {
        [self.before_seal(), self.after_seal()].concat()
    }

    fn before_seal(&self) -> Vec<u8> {
        let mut bytes = self.header.encode();
        put_prefixed(&mut bytes, &self.guarded.parameters);
        put_prefixed(&mut bytes, &self.guarded.protected);
        bytes.extend_from_slice(&Aead::Aes256Gcm.number().to_be_bytes());
        bytes
    }

    fn after_seal(&self) -> Vec<u8> {
        let mut bytes = self.kcv.to_vec();
        put_prefixed(&mut bytes, &self.roster.encode());
        bytes.extend_from_slice(&self.manifest_hash);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CustodianKey;
    use proptest::prelude::*;

    /// Made by an independent implementation from the layout in this file's first lines.
    const GOLDEN: &[u8] = include_bytes!("../tests/golden/slot-v1.bin");
    const GOLDEN_TPM2: &[u8] = include_bytes!("../tests/golden/slot-tpm2-v1.bin");
    const GOLDEN_SHAMIR: &[u8] = include_bytes!("../tests/golden/slot-shamir-v1.bin");
    const FORMAT_AT: usize = 4;
    const TYPE_AT: usize = 6;

    fn key(byte: u8) -> Key<32> {
        Key::init_with(|place| place.fill(byte)).expect("the arena has room")
    }

    fn golden_key() -> SlotKey {
        SlotKey(key(0x42))
    }

    fn golden() -> Slot {
        Slot::decode(GOLDEN).expect("a slot of the first format")
    }

    #[test]
    fn a_slot_of_the_first_format_opens_for_ever() {
        let slot = golden();
        assert_eq!(slot.encode(), GOLDEN);
        assert_eq!(slot.header.label.as_str(), "primary");
        assert_eq!(slot.header.generation, 1);
        assert_eq!(slot.roster, Roster::new(2, vec![CustodianKey([0xA1; 32]), CustodianKey([0xA2; 32])]).expect("it is sound"));
        slot.open(&golden_key()).expect("it opens").expose(|master| assert_eq!(*master, [0x4D; 32]));
        let anew =
            Slot::seal(slot.header.clone(), slot.guarded.clone(), slot.roster.clone(), &golden_key(), &MasterKey::from_key(key(0x4D)));
        assert_eq!(anew.expect("the arena has room").encode(), GOLDEN);
    }

    /// What the custodians of the other kinds store is read in their own modules.
    #[test]
    fn slots_of_every_kind_in_the_first_format_open_for_ever() {
        for (golden, kind) in [(GOLDEN, CustodianKind::Pkcs11), (GOLDEN_TPM2, CustodianKind::Tpm2), (GOLDEN_SHAMIR, CustodianKind::Shamir)]
        {
            let slot = Slot::decode(golden).expect("a slot of the first format");
            assert_eq!((slot.header.kind, slot.encode()), (kind, golden.to_vec()));
            slot.open(&golden_key()).expect("it opens").expose(|master| assert_eq!(*master, [0x4D; 32]));
            // Its manifest too is made as it was made then.
            let Slot { header, guarded, roster, .. } = slot;
            let anew = Slot::seal(header, guarded, roster, &golden_key(), &MasterKey::from_key(key(0x4D)));
            assert_eq!(anew.expect("the arena has room").encode(), golden, "{kind}");
        }
    }

    #[test]
    fn every_flipped_bit_is_refused_though_the_slot_key_is_right() {
        // Of the long one every third, which are bits of every byte.
        for (golden, step) in [(GOLDEN, 1), (GOLDEN_TPM2, 1), (GOLDEN_SHAMIR, 3)] {
            for bit in (0..golden.len() * 8).step_by(step) {
                let mut altered = golden.to_vec();
                altered[bit / 8] ^= 1 << (bit % 8);
                let opened = Slot::decode(&altered).and_then(|slot| slot.open(&golden_key()));
                let error = opened.expect_err("nothing in a slot is unprotected");
                let named = matches!(error, Error::Corrupt { .. } | Error::NewerFormat { .. } | Error::KindNotBuilt { .. } | Error::Forged);
                assert!(named, "bit {bit}: {error}");
            }
        }
    }

    #[test]
    fn a_slot_that_is_cut_or_longer_is_refused() {
        for cut in 0..GOLDEN.len() {
            assert!(matches!(Slot::decode(&GOLDEN[..cut]), Err(Error::Corrupt { .. })), "cut at {cut}");
        }
        assert!(matches!(Slot::decode(&[GOLDEN, &[0]].concat()), Err(Error::Corrupt { what: "its end", .. })));
    }

    #[test]
    fn the_key_of_another_slot_does_not_open_it() {
        assert!(matches!(golden().open(&SlotKey(key(0x43))), Err(Error::Forged)));
    }

    #[test]
    fn a_slot_that_holds_another_master_key_than_it_says_is_not_used() {
        // Sealed correctly, under a check value that is another key's: only its maker could have done it.
        let Slot { header, guarded, roster, .. } = golden();
        let honest = Slot::seal(header, guarded, roster, &golden_key(), &MasterKey::from_key(key(0x4D))).expect("the arena has room");
        let mut wrong = Slot { kcv: [0xEE; 32], ..honest };
        let (sealing_key, aad) = (wrong.sealing_key(&golden_key()).expect("the arena has room"), wrong.aad());
        let mut plain = [0x4D; 32];
        wrong.tag = sealing_key.expose(|key| Aead::Aes256Gcm.seal_once_in_place(key, &aad, &mut plain)).expect("short enough");
        wrong.sealed = plain;
        assert!(matches!(wrong.open(&golden_key()), Err(Error::WrongMasterKey)));
    }

    #[test]
    fn other_formats_and_types_are_refused_by_name() {
        let with = |at: usize, value: u8| {
            let mut bytes = GOLDEN.to_vec();
            bytes[at] = value;
            Slot::decode(&bytes).expect_err("this release does not know it").to_string()
        };
        assert!(with(FORMAT_AT + 1, 2).contains("format 2 is newer"));
        assert!(with(FORMAT_AT, 1).contains("format 257 is newer"));
        assert!(with(FORMAT_AT + 1, 0).contains("format"));
        let names = ["openbao-transit", "aws-kms", "azure-key-vault", "gcp-kms"];
        for (number, name) in (4..).zip(names) {
            assert!(with(TYPE_AT, number).contains(&format!("cannot open slots of type {name}")), "{number}");
        }
        for unknown in [0, 8, 255] {
            assert!(with(TYPE_AT, unknown).contains("type"), "{unknown}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(Slot::decode(&bytes).is_err());
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(at in 0..GOLDEN.len(), patch in proptest::collection::vec(any::<u8>(), 1..8)) {
            let mut bytes = GOLDEN.to_vec();
            let end = GOLDEN.len().min(at + patch.len());
            bytes[at..end].copy_from_slice(&patch[..end - at]);
            if let Ok(slot) = Slot::decode(&bytes) {
                prop_assert_eq!(slot.encode(), bytes);
            }
        }
    }
}
