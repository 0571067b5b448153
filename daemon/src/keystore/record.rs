//! `data_dir/placement.json`: which rows belong to which keystore, and whether some are on their way.
//!
//! It changes as a whole, durably, and only by [`Record::write`]: a migration switches with it.

use std::collections::BTreeSet;
use std::{fs, io};

use keys::id::TenantId;
use serde::{Deserialize, Serialize};
use storage::routed::{Class, Placement, Rule};
use uuid::Uuid;

use crate::config::LAYERS;
use crate::layout::{Layout, LayoutError, stored};

const FORMAT: u32 = 1;

/// Where rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// What the configuration said when it last agreed.
    pub(super) told: Placement,
    /// Where rows belong; another than the configuration says once they were moved.
    pub(super) in_force: Placement,
    /// Keystores that were made, so that one that is empty has lost something.
    pub(super) made: BTreeSet<String>,
    pub(super) moving: Option<Moving>,
}

/// Rows on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moving {
    pub(super) phase: Phase,
    /// While they are copied, or the copies removed: where they would belong. Afterwards: where they belonged.
    pub(super) other: Placement,
    pub(super) from: String,
    pub(super) to: String,
}

/// How far they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// They are copied and compared.
    Copy,
    /// They have come; what is left where they were is removed.
    Clear,
    /// They stay; their copies are removed.
    Undo,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordFile {
    format: u32,
    told: PlacementFile,
    in_force: PlacementFile,
    made: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moving: Option<MovingFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlacementFile {
    home: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rules: Vec<RuleFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<Uuid>,
    keystore: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MovingFile {
    phase: Phase,
    other: PlacementFile,
    from: String,
    to: String,
}

impl PlacementFile {
    fn of(placement: &Placement) -> Self {
        let rule = |rule: &Rule| RuleFile {
            layers: LAYERS.iter().filter(|(_, layer)| rule.class.layers.contains(layer)).map(|(name, _)| (*name).to_owned()).collect(),
            tenant: rule.class.tenant.map(|tenant| Uuid::from_bytes(*tenant.as_bytes())),
            keystore: rule.keystore.clone(),
        };
        Self { home: placement.home().to_owned(), rules: placement.rules().iter().map(rule).collect() }
    }

    fn placement(self) -> Option<Placement> {
        let layer = |text: &String| LAYERS.iter().find(|(name, _)| name == text).map(|(_, layer)| *layer);
        let rule = |RuleFile { layers, tenant, keystore }: RuleFile| {
            let layers = layers.iter().map(layer).collect::<Option<_>>()?;
            Some(Rule { class: Class { layers, tenant: tenant.map(TenantId::new) }, keystore })
        };
        Some(Placement::new(&self.home, self.rules.into_iter().map(rule).collect::<Option<_>>()?))
    }
}

impl RecordFile {
    fn record(self) -> Option<Record> {
        let moving = match self.moving {
            None => None,
            Some(MovingFile { phase, other, from, to }) => Some(Moving { phase, other: other.placement()?, from, to }),
        };
        Some(Record { told: self.told.placement()?, in_force: self.in_force.placement()?, made: self.made, moving })
    }
}

impl Record {
    /// Of a node that has all its rows where the configuration says.
    pub(super) fn new(placement: &Placement, made: &str) -> Self {
        Self { told: placement.clone(), in_force: placement.clone(), made: BTreeSet::from([made.to_owned()]), moving: None }
    }

    /// The record, if there is one.
    pub(super) fn read(layout: &Layout) -> Result<Option<Self>, LayoutError> {
        let path = layout.placement();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LayoutError::Io { path, source }),
        };
        let file: Option<RecordFile> = stored(&path, &text, FORMAT)?;
        file.and_then(RecordFile::record).map(Some).ok_or(LayoutError::Damaged { path })
    }

    /// Makes it the one that counts.
    pub(super) fn write(&self, layout: &Layout) -> Result<(), LayoutError> {
        let file = RecordFile {
            format: FORMAT,
            told: PlacementFile::of(&self.told),
            in_force: PlacementFile::of(&self.in_force),
            made: self.made.clone(),
            moving: self.moving.as_ref().map(|Moving { phase, other, from, to }| MovingFile {
                phase: *phase,
                other: PlacementFile::of(other),
                from: from.clone(),
                to: to.clone(),
            }),
        };
        let text = serde_json::to_vec_pretty(&file).expect("plain fields always print");
        let path = layout.placement();
        layout.replace(&path, &text).map_err(|source| LayoutError::Io { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keys::id::Layer;

    #[test]
    fn a_record_reads_as_it_was_written_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::new(folder.path());
        assert_eq!(Record::read(&layout).expect("there is none"), None);
        let class = Class { layers: [Layer::L3, Layer::L21].into(), tenant: Some(TenantId::new(Uuid::from_u128(7))) };
        let rules = vec![Rule { class, keystore: "far".to_owned() }, Rule { class: Class::default(), keystore: "near".to_owned() }];
        let plain = Record::new(&Placement::new("embedded", rules), "embedded");
        let moving = Moving { phase: Phase::Clear, other: Placement::at("far"), from: "far".to_owned(), to: "embedded".to_owned() };
        for record in [plain.clone(), Record { moving: Some(moving), ..plain }] {
            record.write(&layout).expect("the folder is ours");
            assert_eq!(Record::read(&layout).expect("it was written"), Some(record));
        }
        let text = fs::read_to_string(layout.placement()).expect("it was written");
        for damaged in [text.replace("\"L3\"", "\"L5\""), text[..text.len() / 2].to_owned()] {
            fs::write(layout.placement(), damaged).expect("the folder is ours");
            assert!(matches!(Record::read(&layout), Err(LayoutError::Damaged { .. })));
        }
        fs::write(layout.placement(), text.replace("\"format\": 1", "\"format\": 2")).expect("the folder is ours");
        assert!(matches!(Record::read(&layout), Err(LayoutError::Newer { format: 2, known: 1, .. })));
    }
}
