//! The custodian that is several others: each keeps a shard of the slot key, and any `threshold` of them give it back (C11).
//!
//! What a slot stores for it (fields of varying length behind a u32):
//!
//! ```text
//! parameters  split_id 16 | threshold u8 | count u8 | count x (x u8 | keeper | kind u8 | SHA3-256 of the plain shard 32 | keeper's parameters)
//! protected   count x what the keeper protected
//!
//! shard       split_id 16 | threshold u8 | x u8 | share 32
//! ```
//! All shards are opened again when they are made. A shard that is altered, of another split, or another's in its place is known by its digest, and
//! named; the others go on.

use std::collections::BTreeSet;
use std::sync::Arc;

use cipher::mac::sha3_256;
use cipher::shamir;
use secret::Bytes;

use crate::custodian::{Consent, Custodian, CustodianKind, GUARDED_BYTES_MAX, Guarded, New, Place, Platform, SLOT_KEY_BYTES};
use crate::fields::{Reader, put_prefixed};
use crate::name::LABEL_BYTES_MAX;
use crate::slots::device;
use crate::{Error, Label};

const SPLIT_ID_BYTES: usize = 16;
const HEAD_BYTES: usize = SPLIT_ID_BYTES + 2;
const SHARD_BYTES: usize = HEAD_BYTES + SLOT_KEY_BYTES;
/// Most keepers of a slot.
pub const KEEPERS_MAX: usize = 16;

/// Several custodians as the configuration names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShamirSettings {
    /// How many keepers open a slot, 2 to their number.
    pub threshold: u8,
    /// The custodians that keep a shard each, 2 to [`KEEPERS_MAX`], each once.
    pub keepers: Vec<Label>,
}

/// Custodians that keep a shard each.
pub(crate) struct Shamir {
    name: Label,
    threshold: u8,
    keepers: Vec<Arc<dyn Custodian>>,
}

impl Shamir {
    /// - `custodians`: those among which the keepers are.
    ///
    /// # Errors
    /// `Invalid`, `NoCustodian`.
    pub(crate) fn new(name: Label, settings: &ShamirSettings, custodians: &[Arc<dyn Custodian>]) -> Result<Self, Error> {
        let ShamirSettings { threshold, keepers } = settings;
        let distinct: BTreeSet<&Label> = keepers.iter().collect();
        if distinct.len() != keepers.len() || !(2..=KEEPERS_MAX).contains(&keepers.len()) {
            return Err(Error::Invalid { field: "keepers of shards", wants: "2 to 16 custodians, each once" });
        }
        if *threshold < 2 || usize::from(*threshold) > keepers.len() {
            return Err(Error::Invalid { field: "threshold of shards", wants: "2 to the number of keepers" });
        }
        let found = |keeper: &Label| {
            let custodian = custodians.iter().find(|custodian| custodian.name() == keeper);
            custodian.cloned().ok_or_else(|| Error::NoCustodian { name: keeper.clone() })
        };
        Ok(Self { name, threshold: *threshold, keepers: keepers.iter().map(found).collect::<Result<_, _>>()? })
    }

    fn keeper(&self, shard: &Shard) -> Result<&dyn Custodian, Error> {
        let keeper = self.keepers.iter().find(|keeper| *keeper.name() == shard.keeper);
        let keeper = keeper.ok_or_else(|| Error::NoCustodian { name: shard.keeper.clone() })?;
        if keeper.kind() != shard.kind {
            return Err(Error::WrongKind { name: shard.keeper.clone(), is: keeper.kind(), wants: shard.kind });
        }
        Ok(&**keeper)
    }

    /// Opens one shard, and compares it with what was split.
    fn open_shard(&self, shard: &Shard, at: Place<'_>, consent: Consent<'_>) -> Result<Bytes, Error> {
        let opened = self.keeper(shard)?.open(Place { guarded: &shard.guarded, ..at }, consent)?;
        if opened.expose(|opened| cipher::mac::ct_eq(&sha3_256(opened), &shard.digest)) && opened.len() == SHARD_BYTES {
            return Ok(opened);
        }
        Err(Error::ShardUnfit { keeper: shard.keeper.clone() })
    }

    /// Splits a slot key, and has each keeper protect its shard.
    fn split(&self, secret: &Bytes, of: New<'_>, consent: Consent<'_>) -> Result<Split, Error> {
        let split_id: [u8; SPLIT_ID_BYTES] = of.randomness.array()?;
        let coefficients = usize::from(self.threshold - 1) * SLOT_KEY_BYTES;
        let coefficients = Bytes::try_init_with(coefficients, |place| Ok::<_, Error>(of.randomness.fill(place)?))?;
        let mut shards = Vec::with_capacity(self.keepers.len());
        for (keeper, x) in self.keepers.iter().zip(1..) {
            let plain = Bytes::init_with(SHARD_BYTES, |place| {
                let (head, share) = place.split_at_mut(HEAD_BYTES);
                head.copy_from_slice(&[&split_id[..], &[self.threshold, x]].concat());
                let share = secret.expose(|secret| coefficients.expose(|coefficients| shamir::share(secret, coefficients, x, share)));
                share.expect("a slot key and coefficients of its length");
            })?;
            let guarded = keeper.protect(&plain, of, consent)?;
            shards.push(Shard { x, keeper: keeper.name().clone(), kind: keeper.kind(), digest: plain.expose(sha3_256), guarded });
        }
        Ok(Split { split_id, threshold: self.threshold, shards })
    }
}

impl Custodian for Shamir {
    fn name(&self) -> &Label {
        &self.name
    }

    fn kind(&self) -> CustodianKind {
        CustodianKind::Shamir
    }

    fn unattended(&self) -> bool {
        self.keepers.iter().filter(|keeper| keeper.unattended()).count() >= usize::from(self.threshold)
    }

    fn protect(&self, secret: &Bytes, of: New<'_>, consent: Consent<'_>) -> Result<Guarded, Error> {
        let split = self.split(secret, of, consent)?;
        let devices: BTreeSet<_> = split.shards.iter().map(|shard| device(shard.kind, &shard.guarded.parameters)).collect();
        if devices.len() != split.shards.len() {
            return Err(Error::Invalid {
                field: "keepers of shards",
                wants: "each a device of its own: two shards on one are lost together",
            });
        }
        let approvals = of.approval.cloned().into_iter().collect::<Vec<_>>();
        let guarded = split.encode();
        let at = Place { header: of.header, guarded: &guarded, approvals: &approvals };
        // The PIN has just been accepted, so there is no latch left that a person would have to overrule.
        let consent = Consent { retry_pin: false, ..consent };
        split.shards.iter().try_for_each(|shard| self.open_shard(shard, at, consent).map(drop))?;
        Ok(guarded)
    }

    fn open(&self, at: Place<'_>, consent: Consent<'_>) -> Result<Bytes, Error> {
        let Split { split_id, threshold, mut shards } = Split::decode(at.guarded)?;
        shards.sort_by_key(|shard| !self.keeper(shard).is_ok_and(Custodian::unattended));
        let (mut opened, mut why) = (Vec::new(), Vec::new());
        for shard in &shards {
            match self.open_shard(shard, at, consent) {
                Ok(plain) => opened.push((shard.x, plain)),
                Err(error) => why.push((shard.keeper.clone(), error)),
            }
            if opened.len() == usize::from(threshold) {
                return combine(&opened, split_id, threshold);
            }
        }
        Err(Error::TooFewShards { opened: opened.len(), wants: threshold, why })
    }

    fn ailing(&self, at: Place<'_>, consent: Consent<'_>) -> Vec<(Label, Error)> {
        let shards = Split::decode(at.guarded).map(|split| split.shards).unwrap_or_default();
        let needs_nobody = |shard: &&Shard| self.keeper(shard).map_or(true, Custodian::unattended);
        let open = |shard: &Shard| self.open_shard(shard, at, consent).err().map(|why| (shard.keeper.clone(), why));
        shards.iter().filter(needs_nobody).filter_map(open).collect()
    }

    fn follows_platform(&self) -> bool {
        self.keepers.iter().any(|keeper| keeper.follows_platform())
    }

    /// Each TPM among the keepers is asked by its own name.
    fn platform(&self, _: Option<&[u8]>) -> Result<Option<Platform>, Error> {
        Ok(None)
    }
}

/// The slot key of shards whose digests fit. That they are of one split is in what the digests are of.
fn combine(shards: &[(u8, Bytes)], split_id: [u8; SPLIT_ID_BYTES], threshold: u8) -> Result<Bytes, Error> {
    let head = |x: u8| [&split_id[..], &[threshold, x]].concat();
    if shards.iter().any(|(x, plain)| plain.expose(|plain| plain[..HEAD_BYTES] != head(*x))) {
        return Err(Error::Forged);
    }
    // The shares are gathered in locked memory, since they are needed at once.
    let shares = Bytes::init_with(shards.len() * SLOT_KEY_BYTES, |place| {
        for (to, (_, plain)) in place.chunks_exact_mut(SLOT_KEY_BYTES).zip(shards) {
            plain.expose(|plain| to.copy_from_slice(&plain[HEAD_BYTES..]));
        }
    })?;
    Bytes::try_init_with(SLOT_KEY_BYTES, |place| {
        shares.expose(|shares| {
            let points: Vec<(u8, &[u8])> = shards.iter().map(|(x, _)| *x).zip(shares.chunks_exact(SLOT_KEY_BYTES)).collect();
            shamir::combine(&points, place).map_err(|_| Error::Forged)
        })
    })
}

/// One shard as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    x: u8,
    keeper: Label,
    pub(crate) kind: CustodianKind,
    /// SHA3-256 of the plain shard.
    digest: [u8; 32],
    pub(crate) guarded: Guarded,
}

/// What a slot stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split {
    split_id: [u8; SPLIT_ID_BYTES],
    pub(crate) threshold: u8,
    pub(crate) shards: Vec<Shard>,
}

impl Split {
    fn encode(&self) -> Guarded {
        let count = u8::try_from(self.shards.len()).expect("there are few keepers");
        let mut parameters = [&self.split_id[..], &[self.threshold, count]].concat();
        let mut protected = Vec::new();
        for Shard { x, keeper, kind, digest, guarded } in &self.shards {
            parameters.push(*x);
            put_prefixed(&mut parameters, keeper.as_str().as_bytes());
            parameters.push(*kind as u8);
            parameters.extend_from_slice(digest);
            put_prefixed(&mut parameters, &guarded.parameters);
            put_prefixed(&mut protected, &guarded.protected);
        }
        Guarded { parameters, protected }
    }

    /// Reads what a slot stores.
    ///
    /// # Errors
    /// `Corrupt`, with offsets within the parameters or the protected part.
    pub(crate) fn decode(guarded: &Guarded) -> Result<Self, Error> {
        let (mut reader, mut protected) = (Reader::new(&guarded.parameters), Reader::new(&guarded.protected));
        let split_id = reader.array("split id")?;
        let at = reader.at();
        let (threshold, count) = (reader.u8("threshold")?, reader.u8("number of shards")?);
        if threshold < 2 || threshold > count || usize::from(count) > KEEPERS_MAX {
            return Err(Error::Corrupt { what: "threshold", at });
        }
        let mut shards: Vec<Shard> = Vec::with_capacity(count.into());
        for _ in 0..count {
            let at = reader.at();
            let x = reader.u8("point of a shard")?;
            if x == 0 || shards.iter().any(|other| other.x == x) {
                return Err(Error::Corrupt { what: "point of a shard", at });
            }
            let at = reader.at();
            let keeper = reader.text(LABEL_BYTES_MAX, "keeper of a shard")?.parse();
            let keeper = keeper.map_err(|_| Error::Corrupt { what: "keeper of a shard", at })?;
            let at = reader.at();
            let kind = CustodianKind::from_number(reader.u8("kind of a keeper")?).filter(|kind| *kind != CustodianKind::Shamir);
            let kind = kind.ok_or(Error::Corrupt { what: "kind of a keeper", at })?;
            let digest = reader.array("digest of a shard")?;
            let parameters = reader.prefixed(GUARDED_BYTES_MAX, "parameters of a keeper")?.to_vec();
            let protected = protected.prefixed(GUARDED_BYTES_MAX, "protected shard")?.to_vec();
            shards.push(Shard { x, keeper, kind, digest, guarded: Guarded { parameters, protected } });
        }
        reader.end()?;
        protected.end()?;
        Ok(Self { split_id, threshold, shards })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split() -> Split {
        let shard = |x: u8| Shard {
            x,
            keeper: format!("hsm-{x}").parse().expect("a label"),
            kind: CustodianKind::Pkcs11,
            digest: [x; 32],
            guarded: Guarded { parameters: vec![x; 20], protected: vec![x; 60] },
        };
        Split { split_id: [0x51; 16], threshold: 2, shards: vec![shard(1), shard(2), shard(3)] }
    }

    #[test]
    fn a_split_is_read_as_it_was_written_and_in_no_other_form() {
        let guarded = split().encode();
        assert_eq!(Split::decode(&guarded).expect("its own form"), split());
        for cut in 0..guarded.parameters.len() {
            let cut = Guarded { parameters: guarded.parameters[..cut].to_vec(), ..guarded.clone() };
            assert!(Split::decode(&cut).is_err());
        }
        for cut in 0..guarded.protected.len() {
            let cut = Guarded { protected: guarded.protected[..cut].to_vec(), ..guarded.clone() };
            assert!(Split::decode(&cut).is_err());
        }
        let longer = |bytes: &[u8]| [bytes, &[0]].concat();
        assert!(Split::decode(&Guarded { parameters: longer(&guarded.parameters), ..guarded.clone() }).is_err());
        assert!(Split::decode(&Guarded { protected: longer(&guarded.protected), ..guarded }).is_err());
    }

    #[test]
    fn a_split_that_nobody_can_have_made_is_refused() {
        let odd = [
            Split { threshold: 1, ..split() },
            Split { threshold: 4, ..split() },
            Split { shards: vec![Shard { x: 0, ..split().shards[0].clone() }, split().shards[1].clone()], ..split() },
            Split { shards: vec![split().shards[1].clone(), split().shards[1].clone()], ..split() },
            Split {
                shards: vec![Shard { kind: CustodianKind::Shamir, ..split().shards[0].clone() }, split().shards[1].clone()],
                ..split()
            },
        ];
        for odd in odd {
            assert!(matches!(Split::decode(&odd.encode()), Err(Error::Corrupt { .. })), "{odd:?}");
        }
    }
}
