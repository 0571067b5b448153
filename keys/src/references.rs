//! Which versions of L3s an edge has left: what it tells its core with each lease, and what the core remembers of it.
//!
//! A claim needs no clock. It is about versions that the lease already said were replaced when the edge began its walk, and a version that was
//! replaced is never Active again: so nothing new comes under it, neither at the edge (`unit.rs`) nor at the core. A claim is about a store as it is: a
//! store that is put back to an earlier day may have what its edge said it had not.
//!
//! A core remembers in memory only. Edges tell it again when it has forgotten, and until they have nothing is retired.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::edges::{EdgeGroup, KEYS_MAX};
use crate::error::Error;
use crate::id::{RowId, ScopeName, ServiceId, Time};

/// Most versions of one report.
pub const LEFT_MAX: usize = 10_000;

/// What an edge tells of its own rows. Its JSON crosses releases: further fields have a default, and unknown ones are passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct References {
    /// When its last whole walk began, by its own clock: for people to look at. `None`: it has not ended one since it was opened.
    #[serde(default)]
    pub began: Option<Time>,
    /// Replaced versions of L3s under which it has found nothing: the oldest [`LEFT_MAX`].
    #[serde(default)]
    pub left: BTreeSet<RowId>,
    /// Rows that do not verify, so that nobody knows where they lie: then it claims nothing.
    #[serde(default)]
    pub damaged: u64,
}

/// An edge, by the public half of its delegation key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeKey(pub [u8; 32]);

impl fmt::Display for EdgeKey {
    /// As the list of its group begins it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::LowerHex for EdgeKey {
    /// Whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a core was told since it was unsealed.
#[derive(Debug)]
pub(crate) struct Reported {
    /// Names this memory, so that edges find out that it is new.
    pub(crate) memory: Uuid,
    groups: Mutex<HashMap<ServiceId, BTreeMap<EdgeKey, References>>>,
}

impl Reported {
    pub(crate) fn new(memory: Uuid) -> Self {
        Self { memory, groups: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceId, BTreeMap<EdgeKey, References>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what an edge says, in the place of what it said before.
    ///
    /// # Errors
    /// [`Error::Denied`] if more edges of the group speak than a group can have; [`Error::Invalid`] for more versions than [`LEFT_MAX`].
    pub(crate) fn take(&self, group: ServiceId, edge: EdgeKey, references: References) -> Result<(), Error> {
        if references.left.len() > LEFT_MAX {
            return Err(Error::invalid("report", format!("at most {LEFT_MAX} versions")));
        }
        let mut groups = self.lock();
        let edges = groups.entry(group).or_default();
        if edges.len() >= KEYS_MAX && !edges.contains_key(&edge) {
            return Err(Error::Denied { why: "256 edges of the group have reported since the core was unsealed: no more are counted" });
        }
        edges.insert(edge, references);
        Ok(())
    }

    /// What an edge has said no longer counts.
    pub(crate) fn forget(&self, group: ServiceId, edge: EdgeKey) {
        if let Some(edges) = self.lock().get_mut(&group) {
            edges.remove(&edge);
        }
    }

    /// Why `key` may not be retired for this group's sake, if so: one reason of the first of its edges that has one.
    pub(crate) fn holds(&self, group: &EdgeGroup, key: RowId) -> Option<Holding> {
        let groups = self.lock();
        let none = BTreeMap::new();
        let told = groups.get(&group.id).unwrap_or(&none);
        let known: BTreeSet<EdgeKey> = group.keys.iter().map(|key| EdgeKey(*key)).chain(told.keys().copied()).collect();
        let why = match known.iter().find_map(|edge| Some((*edge, Why::of(told.get(edge), key)?))) {
            Some((edge, why)) => Some((Some(edge), why)),
            None => known.is_empty().then_some((None, Why::Silent)),
        };
        why.map(|(edge, why)| Holding { group: group.name.clone(), edge, why })
    }
}

/// An edge group for whose sake a version is not retired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Its name.
    pub group: ScopeName,
    /// Which of its edges; `None` if none of them is known.
    pub edge: Option<EdgeKey>,
    /// Why.
    pub why: Why,
}

/// Why an edge holds a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It has not reported since the core was unsealed.
    Silent,
    /// It has not walked through its objects since it was opened.
    NotWalked,
    /// It has objects under the version, or has not walked since the version was replaced.
    Refers,
    /// It has rows that do not verify.
    Damaged {
        /// How many.
        rows: u64,
    },
}

impl Why {
    fn of(told: Option<&References>, key: RowId) -> Option<Self> {
        match told {
            None => Some(Self::Silent),
            Some(References { damaged: rows @ 1.., .. }) => Some(Self::Damaged { rows: *rows }),
            Some(References { began: None, .. }) => Some(Self::NotWalked),
            Some(References { left, .. }) => (!left.contains(&key)).then_some(Self::Refers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Layer, TenantId};

    fn version(number: u128) -> RowId {
        RowId::new(Layer::L3, Uuid::from_u128(number))
    }

    fn group(keys: &[EdgeKey]) -> EdgeGroup {
        EdgeGroup {
            id: ServiceId::new(Uuid::from_u128(5)),
            name: "west".parse().expect("a name"),
            system: TenantId::SYSTEM,
            default_key: version(9),
            tenants: Vec::new(),
            keys: keys.iter().map(|key| key.0).collect(),
            is_revoked: false,
        }
    }

    fn left(versions: &[u128]) -> References {
        References { began: Some(Time::from_seconds(1)), left: versions.iter().map(|number| version(*number)).collect(), damaged: 0 }
    }

    fn check(group: &EdgeGroup, told: &[(EdgeKey, References)], expected: Option<(Option<EdgeKey>, Why)>) {
        let reported = Reported::new(Uuid::nil());
        for (edge, references) in told {
            reported.take(group.id, *edge, references.clone()).expect("there is room");
        }
        let holding = reported.holds(group, version(1)).map(|Holding { edge, why, .. }| (edge, why));
        assert_eq!(holding, expected, "{told:?}");
    }

    #[test]
    fn a_group_lets_go_once_every_edge_of_it_has_said_so() {
        let (one, two) = (EdgeKey([1; 32]), EdgeKey([2; 32]));
        let nobody = group(&[]);
        check(&nobody, &[], Some((None, Why::Silent)));
        check(&nobody, &[(one, left(&[1]))], None);
        let both = group(&[one, two]);
        check(&both, &[], Some((Some(one), Why::Silent)));
        check(&both, &[(one, left(&[1]))], Some((Some(two), Why::Silent)));
        check(&both, &[(one, left(&[1, 3])), (two, left(&[3]))], Some((Some(two), Why::Refers)));
        check(&both, &[(one, left(&[1])), (two, References::default())], Some((Some(two), Why::NotWalked)));
        check(&both, &[(one, left(&[1])), (two, left(&[1]))], None);
        check(&both, &[(one, left(&[1])), (two, left(&[1])), (EdgeKey([3; 32]), left(&[]))], Some((Some(EdgeKey([3; 32])), Why::Refers)));
    }

    #[test]
    fn what_an_edge_says_later_counts_and_damage_outweighs_a_claim() {
        let one = EdgeKey([1; 32]);
        let west = group(&[one]);
        check(&west, &[(one, left(&[1])), (one, left(&[]))], Some((Some(one), Why::Refers)));
        check(&west, &[(one, left(&[1])), (one, References { damaged: 2, ..left(&[1]) })], Some((Some(one), Why::Damaged { rows: 2 })));
    }

    #[test]
    fn a_group_does_not_fill_the_memory() {
        let (reported, west) = (Reported::new(Uuid::nil()), group(&[]));
        let edge = |number: usize| EdgeKey(std::array::from_fn(|at| number.to_be_bytes().get(at).copied().unwrap_or_default()));
        for number in 0..KEYS_MAX {
            reported.take(west.id, edge(number), left(&[1])).expect("there is room");
        }
        assert!(matches!(reported.take(west.id, edge(KEYS_MAX), left(&[1])), Err(Error::Denied { .. })));
        reported.take(west.id, edge(7), left(&[])).expect("it is known");
        let many: Vec<u128> = (0..=LEFT_MAX as u128).collect();
        reported.take(west.id, edge(7), left(&many[1..])).expect("so many may be left");
        assert!(matches!(reported.take(west.id, edge(7), left(&many)), Err(Error::Invalid { .. })));
    }
}
