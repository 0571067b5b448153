//! The custodian that is several others: each keeps a shard of the slot key, and any `threshold` of them give it back (C11).
//!
//! What a slot stores for it (fields of varying length behind a u32):
//!
//! ```text
//! parameters  split_id 16 | threshold u8 | count u8 |
//!             count x (x u8 | keeper | region | kind u8 | SHA3-256 of the plain shard 32 | keeper's parameters)
//! protected   count x what the keeper protected
//! ```
//! The shards of devices are opened again when they are made, those of people when they give them back ([`Seal::admit`](crate::Seal::admit)). A shard
//! that is altered, of another split, or another's in its place is known by its digest, and named; the others go on.

use std::collections::BTreeSet;
use std::sync::Arc;

use cipher::mac::ct_eq;
use cipher::shamir;
use secret::Bytes;

use crate::custodian::{Consent, Custodian, CustodianKind, GUARDED_BYTES_MAX, Guarded, New, Place, Platform, SLOT_KEY_BYTES};
use crate::fields::{Reader, put_prefixed};
use crate::name::LABEL_BYTES_MAX;
use crate::shard::{Head, PlainShard, SPLIT_ID_BYTES};
use crate::slots::device;
use crate::{Error, Label};

/// Most keepers of a slot: the field has no more points.
pub const KEEPERS_MAX: usize = shamir::SHARES_MAX;

/// Several custodians as the configuration names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShamirSettings {
    /// How many keepers open a slot, 2 to their number.
    pub threshold: u8,
    /// The custodians that keep a shard each, 2 to [`KEEPERS_MAX`], each once.
    pub keepers: Vec<Label>,
}

/// Who keeps a shard, and where they say that they keep it.
#[derive(Clone)]
pub(crate) struct Keeper {
    pub(crate) custodian: Arc<dyn Custodian>,
    pub(crate) region: Option<Label>,
}

/// Custodians that keep a shard each.
pub(crate) struct Shamir {
    name: Label,
    threshold: u8,
    keepers: Vec<Keeper>,
}

impl Shamir {
    /// - `known`: those among whom the keepers are.
    ///
    /// # Errors
    /// `Invalid`, `NoCustodian`.
    pub(crate) fn new(name: Label, settings: &ShamirSettings, known: &[Keeper]) -> Result<Self, Error> {
        let ShamirSettings { threshold, keepers } = settings;
        let distinct: BTreeSet<&Label> = keepers.iter().collect();
        if distinct.len() != keepers.len() || !(2..=KEEPERS_MAX).contains(&keepers.len()) {
            return Err(Error::Invalid { field: "keepers of shards", wants: "2 to 255 custodians, each once" });
        }
        if *threshold < 2 || usize::from(*threshold) > keepers.len() {
            return Err(Error::Invalid { field: "threshold of shards", wants: "2 to the number of keepers" });
        }
        let found = |keeper: &Label| {
            let found = known.iter().find(|known| known.custodian.name() == keeper);
            found.cloned().ok_or_else(|| Error::NoCustodian { name: keeper.clone() })
        };
        Ok(Self { name, threshold: *threshold, keepers: keepers.iter().map(found).collect::<Result<_, _>>()? })
    }

    fn custodians(&self) -> impl Iterator<Item = &dyn Custodian> {
        self.keepers.iter().map(|keeper| &*keeper.custodian)
    }

    fn keeper(&self, shard: &Shard) -> Result<&dyn Custodian, Error> {
        let keeper = self.custodians().find(|keeper| *keeper.name() == shard.keeper);
        let keeper = keeper.ok_or_else(|| Error::NoCustodian { name: shard.keeper.clone() })?;
        if keeper.kind() != shard.kind {
            return Err(Error::WrongKind { name: shard.keeper.clone(), is: keeper.kind(), wants: shard.kind });
        }
        Ok(keeper)
    }

    /// Opens one shard by its keeper, and compares it with what was split.
    fn open_shard(&self, shard: &Shard, at: Place<'_>, consent: Consent<'_>) -> Result<PlainShard, Error> {
        // A PIN that was typed is one token's, and would be a wrong one at the others.
        let consent = Consent { pin: None, ..consent };
        let opened = self.keeper(shard)?.open(Place { guarded: &shard.guarded, ..at }, consent)?;
        PlainShard::from_bytes(opened).ok().filter(|plain| shard.is_of(plain)).ok_or_else(|| shard.unfit())
    }

    /// Splits a slot key.
    fn split(&self, secret: &Bytes, of: New<'_>) -> Result<Vec<PlainShard>, Error> {
        let split = of.randomness.array::<SPLIT_ID_BYTES>()?;
        let coefficients = usize::from(self.threshold - 1) * SLOT_KEY_BYTES;
        let coefficients = Bytes::try_init_with(coefficients, |place| Ok::<_, Error>(of.randomness.fill(place)?))?;
        let at = |x| Head { cluster: of.header.cluster, split, threshold: self.threshold, x };
        let share = |x| {
            PlainShard::try_new(at(x), |share| {
                let made = secret.expose(|secret| coefficients.expose(|coefficients| shamir::share(secret, coefficients, x, share)));
                made.map_err(|_| Error::Invalid { field: "slot key", wants: "32 bytes" })
            })
        };
        let plain: Vec<PlainShard> = (1..=u8::MAX).take(self.keepers.len()).map(share).collect::<Result<_, _>>()?;
        // Every shard is in one of these, and the polynomial is one: what they give back, any give back.
        for some in plain.chunks(self.threshold.into()).chain([&plain[plain.len() - usize::from(self.threshold)..]]) {
            if some.len() == usize::from(self.threshold) && !combine(&some.iter().collect::<Vec<_>>())?.ct_eq(secret) {
                return Err(Error::Forged);
            }
        }
        Ok(plain)
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
        self.custodians().filter(|keeper| keeper.unattended()).count() >= usize::from(self.threshold)
    }

    fn protect(&self, secret: &Bytes, of: New<'_>, consent: Consent<'_>) -> Result<Guarded, Error> {
        let plain = self.split(secret, of)?;
        let consent = Consent { pin: None, ..consent };
        let mut shards = Vec::with_capacity(plain.len());
        for (Keeper { custodian, region }, plain) in self.keepers.iter().zip(&plain) {
            let guarded = custodian.protect(plain.bytes(), of, consent)?;
            let (x, digest, region) = (plain.head().x, plain.digest(), region.clone());
            shards.push(Shard { x, keeper: custodian.name().clone(), region, kind: custodian.kind(), digest, guarded });
        }
        let devices: BTreeSet<_> = shards.iter().map(|shard| device(shard.kind, &shard.guarded.parameters)).collect();
        if devices.len() != shards.len() {
            return Err(Error::Invalid {
                field: "keepers of shards",
                wants: "each a device or recipient of its own: two shards on one are lost together",
            });
        }
        let approvals = of.approval.cloned().into_iter().collect::<Vec<_>>();
        let Some(Head { split, threshold, .. }) = plain.first().map(PlainShard::head) else { return Err(Error::Forged) };
        let split = Split { id: split, threshold, shards };
        let guarded = split.encode();
        let at = Place { header: of.header, guarded: &guarded, approvals: &approvals };
        // The PINs have just been accepted, so there is no latch left that a person would have to overrule.
        let consent = Consent { retry_pin: false, ..consent };
        let mut of_devices = split.shards.iter().filter(|shard| !shard.kind.is_person());
        of_devices.try_for_each(|shard| self.open_shard(shard, at, consent).map(drop))?;
        Ok(guarded)
    }

    fn open(&self, at: Place<'_>, consent: Consent<'_>) -> Result<Bytes, Error> {
        let Split { threshold, mut shards, id } = Split::decode(at.guarded)?;
        let wants = usize::from(threshold);
        let given = |shard: &Shard| consent.shards.iter().find(|plain| plain.head().split == id && shard.is_of(plain));
        let mut opened: Vec<&PlainShard> = shards.iter().filter_map(given).map(|plain| &**plain).take(wants).collect();
        let (mut by_devices, mut why) = (Vec::new(), Vec::new());
        shards.retain(|shard| given(shard).is_none());
        shards.sort_by_key(|shard| !self.keeper(shard).is_ok_and(Custodian::unattended));
        for shard in &shards {
            if opened.len() + by_devices.len() == wants {
                break;
            }
            match self.open_shard(shard, at, consent) {
                Ok(plain) => by_devices.push(plain),
                Err(error) => why.push((shard.keeper.clone(), error)),
            }
        }
        opened.extend(&by_devices);
        if opened.len() < wants {
            return Err(Error::TooFewShards { opened: opened.len(), wants: threshold, why });
        }
        combine(&opened)
    }

    fn ailing(&self, at: Place<'_>, consent: Consent<'_>) -> Vec<(Label, Error)> {
        let shards = Split::decode(at.guarded).map(|split| split.shards).unwrap_or_default();
        let needs_nobody = |shard: &&Shard| self.keeper(shard).map_or(true, Custodian::unattended);
        let open = |shard: &Shard| self.open_shard(shard, at, consent).err().map(|why| (shard.keeper.clone(), why));
        shards.iter().filter(needs_nobody).filter_map(open).collect()
    }

    fn people(&self) -> Vec<Label> {
        self.custodians().flat_map(Custodian::people).collect()
    }

    fn follows_platform(&self) -> bool {
        self.custodians().any(Custodian::follows_platform)
    }

    /// Each TPM among the keepers is asked by its own name.
    fn platform(&self, _: Option<&[u8]>) -> Result<Option<Platform>, Error> {
        Ok(None)
    }
}

/// The slot key of shards that are known to be of one split, as many as its threshold.
fn combine(shards: &[&PlainShard]) -> Result<Bytes, Error> {
    // The shares are gathered in locked memory, since they are needed at once.
    let shares = Bytes::init_with(shards.len() * SLOT_KEY_BYTES, |place| {
        for (to, plain) in place.chunks_exact_mut(SLOT_KEY_BYTES).zip(shards) {
            plain.expose_share(|share| to.copy_from_slice(share));
        }
    })?;
    Bytes::try_init_with(SLOT_KEY_BYTES, |place| {
        shares.expose(|shares| {
            let points: Vec<(u8, &[u8])> = shards.iter().map(|plain| plain.head().x).zip(shares.chunks_exact(SLOT_KEY_BYTES)).collect();
            shamir::combine(&points, place).map_err(|_| Error::Forged)
        })
    })
}

/// One shard as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) x: u8,
    pub(crate) keeper: Label,
    pub(crate) region: Option<Label>,
    pub(crate) kind: CustodianKind,
    /// SHA3-256 of the plain shard.
    pub(crate) digest: [u8; 32],
    pub(crate) guarded: Guarded,
}

impl Shard {
    /// Is this what was split for it? The digest says so, of the split and the point too.
    pub(crate) fn is_of(&self, plain: &PlainShard) -> bool {
        ct_eq(&plain.digest(), &self.digest)
    }

    pub(crate) fn unfit(&self) -> Error {
        Error::ShardUnfit { keeper: self.keeper.clone() }
    }
}

/// What a slot stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) id: [u8; SPLIT_ID_BYTES],
    pub(crate) threshold: u8,
    pub(crate) shards: Vec<Shard>,
}

impl Split {
    fn encode(&self) -> Guarded {
        let count = u8::try_from(self.shards.len()).expect("there are few keepers");
        let mut parameters = [&self.id[..], &[self.threshold, count]].concat();
        let mut protected = Vec::new();
        for Shard { x, keeper, region, kind, digest, guarded } in &self.shards {
            parameters.push(*x);
            put_prefixed(&mut parameters, keeper.as_str().as_bytes());
            put_prefixed(&mut parameters, region.as_ref().map_or("", Label::as_str).as_bytes());
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
        let id = reader.array("split id")?;
        let at = reader.at();
        let (threshold, count) = (reader.u8("threshold")?, reader.u8("number of shards")?);
        if threshold < 2 || threshold > count {
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
            let region = match reader.text(LABEL_BYTES_MAX, "region of a shard")? {
                "" => None,
                region => Some(region.parse().map_err(|_| Error::Corrupt { what: "region of a shard", at })?),
            };
            let at = reader.at();
            let kind = CustodianKind::from_number(reader.u8("kind of a keeper")?).filter(|kind| *kind != CustodianKind::Shamir);
            let kind = kind.ok_or(Error::Corrupt { what: "kind of a keeper", at })?;
            let digest = reader.array("digest of a shard")?;
            let parameters = reader.prefixed(GUARDED_BYTES_MAX, "parameters of a keeper")?.to_vec();
            let protected = protected.prefixed(GUARDED_BYTES_MAX, "protected shard")?.to_vec();
            shards.push(Shard { x, keeper, region, kind, digest, guarded: Guarded { parameters, protected } });
        }
        reader.end()?;
        protected.end()?;
        Ok(Self { id, threshold, shards })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recipient;
    use crate::custodian::SlotKey;
    use crate::manifest;
    use crate::slot::Slot;

    /// Made by an independent implementation from the layouts in this crate: keepers of every kind, whose shards are those of the slot's key.
    const GOLDEN: &[u8] = include_bytes!("../tests/golden/slot-shamir-v1.bin");
    const GOLDEN_SHARDS: &str = include_str!("../tests/golden/shards-v1.txt");
    const GOLDEN_MANIFEST: &str = include_str!("../tests/golden/manifest-v1.json");

    #[test]
    fn what_the_first_format_stores_for_keepers_is_read_for_ever() {
        let slot = Slot::decode(GOLDEN).expect("a slot of the first format");
        let split = Split::decode(&slot.guarded).expect("it is split");
        assert_eq!((split.id, split.threshold, split.encode()), ([0x51; 16], 2, slot.guarded.clone()));
        let kinds = split.shards.iter().map(|shard| (shard.x, shard.keeper.as_str(), shard.region.as_ref().map(Label::as_str), shard.kind));
        assert_eq!(
            kinds.collect::<Vec<_>>(),
            [
                (1, "hsm-a", None, CustodianKind::Pkcs11),
                (2, "tpm", Some("rack 2"), CustodianKind::Tpm2),
                (3, "anna", Some("office, Berlin"), CustodianKind::Age),
                (4, "dora", Some("pocket"), CustodianKind::Card),
                (5, "emil", None, CustodianKind::Card),
            ]
        );
        let recipient =
            |at: usize| Recipient::from_parameters(split.shards[at].kind, &split.shards[at].guarded.parameters).expect("stored");
        assert_eq!(recipient(2).map(|recipient| recipient.to_string().starts_with("age1")), Some(true));
        let oaep = |at| if let Some(Recipient::Card(key)) = recipient(at) { Some(key.oaep()) } else { None };
        assert_eq!([3, 4].map(oaep), [Some(hsm::Oaep::Sha256), Some(hsm::Oaep::Sha1)]);
        assert_eq!((recipient(0), recipient(1)), (None, None));
        assert!(split.shards.iter().all(|shard| device(shard.kind, &shard.guarded.parameters).is_some()));
        assert_eq!(manifest::manifest(&slot.header, &slot.guarded).expect("it is split"), GOLDEN_MANIFEST);
    }

    #[test]
    fn any_two_shards_of_the_first_format_open_its_slot_for_ever() {
        let slot = Slot::decode(GOLDEN).expect("a slot of the first format");
        let shards: Vec<Arc<PlainShard>> =
            GOLDEN_SHARDS.lines().map(|line| Arc::new(PlainShard::parse(line.as_bytes()).expect("a whole shard"))).collect();
        assert_eq!(shards.len(), 5);
        for (shard, line) in shards.iter().zip(GOLDEN_SHARDS.lines()) {
            shard.text().expect("the arena has room").expose(|text| assert_eq!(text, line.as_bytes()));
        }
        let board = Shamir { name: "board".parse().expect("a label"), threshold: 2, keepers: Vec::new() };
        for one in 0..5 {
            for other in (0..5).filter(|other| *other != one) {
                let given = [Arc::clone(&shards[one]), Arc::clone(&shards[other])];
                let opened = board.open(slot.place(&[]), Consent { shards: &given, ..Consent::default() }).expect("two are enough");
                let master = SlotKey::from_opened(&opened).and_then(|key| slot.open(&key)).expect("it opens");
                master.expose(|master| assert_eq!(*master, [0x4D; 32], "{one} and {other}"));
            }
            let alone = board.open(slot.place(&[]), Consent { shards: &shards[one..=one], ..Consent::default() });
            assert!(matches!(alone, Err(Error::TooFewShards { opened: 1, .. })));
        }
    }

    fn split() -> Split {
        let shard = |x: u8| Shard {
            x,
            keeper: format!("hsm-{x}").parse().expect("a label"),
            region: (x == 2).then(|| "vault 2".parse().expect("a label")),
            kind: CustodianKind::Pkcs11,
            digest: [x; 32],
            guarded: Guarded { parameters: vec![x; 20], protected: vec![x; 60] },
        };
        Split { id: [0x51; 16], threshold: 2, shards: vec![shard(1), shard(2), shard(3)] }
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
