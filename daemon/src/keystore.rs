//! The node's keystores, opened or made, and which rows belong to which.

mod elsewhere;
mod late;
mod plugin;
mod record;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audit::LogId;
use keys::id::RowId;
use keys::port::{Keystore, StoreError};
use storage::embedded::Embedded;
use storage::intents::Intents;
use storage::memory::Memory;
use storage::routed::{Class, Placement, Routed};
use tokio::sync::Notify;

use crate::boot::BootError;
use crate::causes::told;
use crate::config::{self, Config, EMBEDDED, KeystoreKind};
use crate::layout::{Layout, LayoutError};
use crate::plugin::Plugin;

use elsewhere::Found;
use late::Late;
pub(crate) use late::Tried;
use plugin::Plugins;
use record::{Moving, Phase, Record};

/// Where rows are kept.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Keystore>,
    /// The one that is a file of the node's own, if rows belong there.
    pub(crate) embedded: Option<Arc<Embedded>>,
    /// None at an edge that keeps nothing.
    pub(crate) keystores: Option<Arc<Keystores>>,
}

/// The keystores of a node, as one and one by one.
pub struct Keystores {
    routed: Arc<Routed>,
    door: Door,
    record: Mutex<Record>,
    progress: Mutex<Progress>,
    /// Those that did not answer when the node was started.
    late: Vec<Arc<Late>>,
    /// Told when there is something to move, or not any more.
    ordered: Notify,
}

/// One keystore.
pub(crate) struct One {
    pub(crate) store: Arc<dyn Keystore>,
    /// The same, if it is a file of the node's own.
    embedded: Option<Arc<Embedded>>,
    /// The same, if it has not answered yet.
    late: Option<Arc<Late>>,
}

/// The keystore of a node that is made now, and what has to live as long.
pub(crate) struct Made {
    pub(crate) store: Arc<dyn Keystore>,
    _door: Door,
}

/// How keystores are opened.
struct Door {
    keystores: Vec<config::Keystore>,
    layout: Layout,
    log: LogId,
    plugins: Plugins,
    /// Other nodes use them too.
    is_shared: bool,
}

/// How far rows have come that are being moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Rows that were looked at in this phase.
    pub(crate) rows: u64,
    /// What is done in this phase, in words.
    pub(crate) doing: &'static str,
    /// Why it waits.
    pub(crate) error: Option<String>,
}

/// A migration, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Migration {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) step: Move,
    pub(crate) progress: Progress,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Move {
    /// Copy, compare and switch to this placement.
    Copy(Placement),
    /// Remove what lies where this placement had it.
    Clear(Placement),
    /// The same of copies that are not to be.
    Undo(Placement),
}

/// Why no rows are moved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MoveError {
    /// One at a time.
    #[error("rows are being moved from keystore {from} to {to}: see `strongroom keystore migrate --status`, or end that by --abort")]
    UnderWay {
        /// From where.
        from: String,
        /// Where to.
        to: String,
    },
    /// There is no such keystore.
    #[error("there is no keystore `{name}` in the configuration: `strongroom keystore list` shows those that there are")]
    Unknown {
        /// What it was called.
        name: String,
    },
    /// There is nothing to move.
    #[error("nothing of that belongs to keystore {from}: `strongroom keystore list` shows what does")]
    Nothing {
        /// The keystore.
        from: String,
    },
    /// Others would not hear of it.
    #[error(
        "several edges share the keystore, and rows are moved for one alone: stop the others for good and give this one a keystore of its own"
    )]
    Shared,
    /// Nothing is being moved.
    #[error("no rows are being moved")]
    Idle,
    /// It cannot be taken back any more.
    #[error(
        "the rows belong to keystore {to} already, what is left in {from} is being removed: migrate from {to} to {from} to have them back"
    )]
    Switched {
        /// From where.
        from: String,
        /// Where to.
        to: String,
    },
    /// The keystore does not open.
    #[error("keystore {name} does not open: {why}")]
    NotOpen {
        /// The keystore.
        name: String,
        /// Why.
        why: String,
    },
    /// The keystore that rows come to is not configured any more.
    #[error(
        "the keystore that rows are moved to is not under `keystores` any more: put it back, or end the migration by `strongroom keystore migrate --abort`"
    )]
    Gone,
    /// A keystore does not keep what it is given.
    #[error(
        "row {row} is another in its copy each time it is compared: look after the keystore that it is copied to, or end the migration by --abort"
    )]
    Differs {
        /// The first such row.
        row: RowId,
    },
    /// A keystore does not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record cannot be written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// The keystore of a node that is made now.
pub(crate) async fn create(config: &Config, layout: &Layout, log: LogId) -> Result<Made, BootError> {
    let (door, home) = (Door::new(config, layout, log), config.placement.home());
    let one = door.open(home, false).await?;
    Record::new(&config.placement, home).write(layout)?;
    Ok(Made { store: one.store, _door: door })
}

/// The keystores of a node that exists, with all rows where the configuration has them, or where they were moved to.
pub(crate) async fn open(config: &Config, layout: &Layout, log: LogId) -> Result<Opened, BootError> {
    if config.edge.as_ref().is_some_and(|edge| edge.is_ephemeral) {
        return Ok(Opened { store: Arc::new(Memory::new()), embedded: None, keystores: None });
    }
    let door = Door::new(config, layout, log);
    let mut record = Record::read(layout)?.unwrap_or_else(|| before_there_were_records(config, layout));
    let as_read = record.clone();
    let (mut stores, mut embedded, mut late) = (BTreeMap::new(), None, Vec::new());
    for name in record.in_force.stores().into_iter().map(str::to_owned).collect::<Vec<_>>() {
        let one = if record.made.contains(&name) { door.open_or_await(&name).await? } else { door.open(&name, false).await? };
        embedded = embedded.or(one.embedded);
        late.extend(one.late);
        record.made.insert(name.clone());
        stores.insert(name, one.store);
    }
    let intents = (stores.len() > 1).then(|| Intents::open(&layout.routing())).transpose()?;
    let routed = Routed::new(stores, record.in_force.clone(), intents)?;
    if !config.placement.agrees_with(&record.in_force) && !config.placement.agrees_with(&record.told) {
        refuse_to_lose_rows(&routed, &record, &config.placement).await?;
        for name in config.placement.stores().into_iter().filter(|name| routed.keystore(name).is_none()) {
            let one = door.open(name, record.made.contains(name)).await?;
            embedded = embedded.or(one.embedded);
            record.made.insert(name.to_owned());
            routed.add(name, one.store, || Intents::open(&layout.routing()))?;
        }
        record.in_force = config.placement.clone();
        routed.switch::<StoreError>(config.placement.clone(), || Ok(())).await?;
    }
    if config.placement.agrees_with(&record.in_force) {
        record.told = config.placement.clone();
    }
    if record != as_read || !layout.placement().exists() {
        record.write(layout)?;
    }
    let routed = Arc::new(routed);
    let keystores = Keystores {
        routed: Arc::clone(&routed),
        door,
        record: Mutex::new(record),
        progress: Mutex::default(),
        late,
        ordered: Notify::new(),
    };
    Ok(Opened { store: routed, embedded, keystores: Some(Arc::new(keystores)) })
}

/// A node of an earlier release had one keystore.
fn before_there_were_records(config: &Config, layout: &Layout) -> Record {
    let home = if layout.store().exists() { EMBEDDED } else { config.placement.home() };
    Record::new(&Placement::at(home), home)
}

/// May the configuration have rows elsewhere than they are? Only where there are none.
async fn refuse_to_lose_rows(routed: &Routed, record: &Record, wanted: &Placement) -> Result<(), BootError> {
    if let Some(Moving { from, to, .. }) = &record.moving {
        return Err(BootError::RowsMoving { from: from.clone(), to: to.clone() });
    }
    match routed.misplaced(wanted).await? {
        Some((row, from, to)) => Err(BootError::RowsElsewhere { row, from, to }),
        None => Ok(()),
    }
}

impl Door {
    fn new(config: &Config, layout: &Layout, log: LogId) -> Self {
        let is_shared = config.edge.as_ref().is_some_and(|edge| edge.is_shared);
        Self { keystores: config.keystores.clone(), layout: layout.clone(), log, plugins: Plugins::default(), is_shared }
    }

    /// Opens a keystore, or makes it. One that was made before must be there.
    async fn open(&self, name: &str, is_made: bool) -> Result<One, BootError> {
        if name == EMBEDDED {
            let path = self.layout.store();
            if is_made && !path.exists() {
                return Err(BootError::StoreMissing { path });
            }
            let embedded = Arc::new(Embedded::open(&path)?);
            return Ok(One { store: Arc::<Embedded>::clone(&embedded), embedded: Some(embedded), late: None });
        }
        let Some(keystore) = self.keystores.iter().find(|keystore| keystore.name.as_str() == name) else {
            return Err(BootError::KeystoreGone { keystore: name.to_owned() });
        };
        let found = match (is_made, self.is_shared) {
            (true, true) => Found::MadeForAll,
            (true, false) => Found::Made,
            (false, true) => Found::ByOthers,
            (false, false) => Found::Empty,
        };
        let store = elsewhere::open(keystore, &self.layout, self.log, found, &self.plugins).await?;
        Ok(One { store, embedded: None, late: None })
    }

    /// Opens one that was made before. If it is only away, it stands for itself until it answers.
    async fn open_or_await(&self, name: &str) -> Result<One, BootError> {
        match self.open(name, true).await {
            Err(BootError::Store(error)) if storage::is_away(&error) => {
                let why = told(&error);
                tracing::warn!(keystore = name, why, "the keystore does not answer: it is awaited");
                let late = Arc::new(Late::new(name, why));
                Ok(One { store: Arc::<Late>::clone(&late), embedded: None, late: Some(late) })
            }
            opened => opened,
        }
    }

    fn knows(&self, name: &str) -> bool {
        name == EMBEDDED || self.keystores.iter().any(|keystore| keystore.name.as_str() == name)
    }

    fn kind(&self, name: &str) -> &'static str {
        let keystore = self.keystores.iter().find(|keystore| keystore.name.as_str() == name);
        keystore.map_or(EMBEDDED, |keystore| match keystore.kind {
            KeystoreKind::Postgres(_) => "postgres",
            KeystoreKind::Openbao(_) => "openbao",
            KeystoreKind::Grpc(_) => "grpc",
        })
    }
}

impl Keystores {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them by name, with their kinds; also those that nothing belongs to.
    pub(crate) fn kinds(&self) -> BTreeMap<String, &'static str> {
        let configured = self.door.keystores.iter().map(|keystore| keystore.name.as_str());
        configured.chain([EMBEDDED]).chain(self.record().in_force.stores()).map(|name| (name.to_owned(), self.door.kind(name))).collect()
    }

    /// The plugins behind those of them that have one.
    pub(crate) fn plugins(&self) -> Vec<Arc<Plugin>> {
        self.door.plugins.all()
    }

    /// Does one of them that did not answer when the node was started still not?
    pub(crate) fn awaits_any(&self) -> bool {
        self.late.iter().any(|late| late.why().is_some())
    }

    /// Is the default one of those?
    pub(crate) fn awaits_default(&self) -> bool {
        let home = self.routed.placement().home().to_owned();
        self.late.iter().any(|late| late.name == home && late.why().is_some())
    }

    /// Those on other machines or of other processes that rows belong to, and whether each has answered since the node was started.
    pub(crate) fn answered(&self) -> Vec<(String, bool)> {
        let is_late = |name: &str| self.late.iter().any(|late| late.name == name && late.why().is_some());
        let placement = self.routed.placement();
        let elsewhere = placement.stores().into_iter().filter(|name| *name != EMBEDDED);
        elsewhere.map(|name| (name.to_owned(), !is_late(name))).collect()
    }

    /// Asks those that did not answer when the node was started, each once.
    pub(crate) async fn try_late(&self) -> Vec<Tried> {
        let mut tried = Vec::new();
        for late in self.late.iter().filter(|late| late.why().is_some()) {
            let outcome = match self.door.open(&late.name, true).await {
                Ok(one) => {
                    late.opened(one.store);
                    Ok(())
                }
                Err(error) => {
                    late.failed(told(&error));
                    Err(error)
                }
            };
            tried.push(Tried { keystore: late.name.clone(), is_default: late.name == self.routed.placement().home(), outcome });
        }
        tried
    }

    /// All of them as one.
    pub(crate) fn routed(&self) -> &Routed {
        &self.routed
    }

    /// What is to be done again and again until it is heard of as done.
    pub(crate) fn migration(&self) -> Option<Migration> {
        let Moving { phase, other, from, to } = self.record().moving.clone()?;
        let step = match phase {
            Phase::Copy => Move::Copy(other),
            Phase::Clear => Move::Clear(other),
            Phase::Undo => Move::Undo(other),
        };
        Some(Migration { from, to, step, progress: self.progress().clone() })
    }

    /// Do rows belong anywhere but to the file of the node's own?
    pub(crate) fn reach_elsewhere(&self) -> bool {
        self.routed.placement().stores().into_iter().any(|name| name != EMBEDDED)
    }

    /// What a person has to know: that the configuration says something else than what counts.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let record = self.record();
        let mut warnings = Vec::new();
        if !record.told.agrees_with(&record.in_force) {
            let home = record.in_force.home();
            warnings.push(format!(
                "rows were moved between keystores, and config.yaml does not say so yet: bring `routing` in line with `strongroom keystore list` (the default is {home})"
            ));
        }
        if let Some(Moving { from, to, phase, .. }) = &record.moving {
            let what = match phase {
                Phase::Copy => "are being moved",
                Phase::Clear => "have come, and what is left is being removed,",
                Phase::Undo => "stay, and their copies are being removed,",
            };
            let why = self.progress().error.as_ref().map_or(String::new(), |error| format!(" ({error})"));
            warnings.push(format!("rows {what} from keystore {from} to {to}{why}: see `strongroom keystore migrate --status`"));
        }
        for late in &self.late {
            warnings.extend(late.why().map(|why| {
                format!("keystore {} has not answered since the start: {why}; what lies there is unavailable until it does", late.name)
            }));
        }
        if self.routed.is_unsettled() {
            warnings.push("a change of several keystores waits for one that does not answer; nothing else is changed before".to_owned());
        }
        warnings
    }

    /// Waits for an order, or for the end of one.
    pub(crate) async fn ordered(&self) {
        self.ordered.notified().await;
    }

    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has rows of `class` moved that belong to `from`.
    pub(crate) async fn order(&self, class: &Class, from: &str, to: &str) -> Result<(), MoveError> {
        if self.door.is_shared {
            return Err(MoveError::Shared);
        }
        let kinds = self.kinds();
        if let Some(name) = [from, to].into_iter().find(|name| !kinds.contains_key(*name)) {
            return Err(MoveError::Unknown { name: name.to_owned() });
        }
        let is_made = {
            let record = self.record();
            refuse_second(&record)?;
            record.made.contains(to)
        };
        self.open(to, is_made).await?;
        let mut record = self.record();
        refuse_second(&record)?;
        let next = record.in_force.moved(class, from, to);
        if next.agrees_with(&record.in_force) {
            return Err(MoveError::Nothing { from: from.to_owned() });
        }
        let mut changed = record.clone();
        changed.made.insert(to.to_owned());
        changed.moving = Some(Moving { phase: Phase::Copy, other: next, from: from.to_owned(), to: to.to_owned() });
        self.change(&mut record, changed)?;
        Ok(())
    }

    /// Opens the keystores of a placement that rows come to or leave. False: the configuration does not know one of them any more.
    pub(crate) async fn open_all(&self, placement: &Placement) -> Result<bool, MoveError> {
        for name in placement.stores() {
            if !self.door.knows(name) {
                return Ok(false);
            }
            self.open(name, true).await?;
        }
        Ok(true)
    }

    async fn open(&self, name: &str, is_made: bool) -> Result<(), MoveError> {
        if self.routed.keystore(name).is_some() {
            return Ok(());
        }
        let not_open = |error: BootError| MoveError::NotOpen { name: name.to_owned(), why: told(&error) };
        let opened = self.door.open(name, is_made).await;
        let one = opened.inspect_err(|_| self.door.plugins.end(name)).map_err(not_open)?;
        Ok(self.routed.add(name, one.store, || Intents::open(&self.door.layout.routing()))?)
    }

    /// Has the rows stay where they are.
    pub(crate) fn abort(&self) -> Result<(), MoveError> {
        let mut record = self.record();
        let Some(moving) = record.moving.clone() else { return Err(MoveError::Idle) };
        let Moving { phase, from, to, .. } = moving.clone();
        match phase {
            Phase::Clear => Err(MoveError::Switched { from, to }),
            Phase::Undo => Ok(()),
            Phase::Copy => {
                let changed = Record { moving: Some(Moving { phase: Phase::Undo, ..moving }), ..record.clone() };
                Ok(self.change(&mut record, changed)?)
            }
        }
    }

    /// The one durable step: from now on the rows belong where they have been copied to. False: they are not to be any more.
    pub(crate) async fn switch(&self, next: &Placement) -> Result<bool, MoveError> {
        let remember = || {
            let mut record = self.record();
            let Some(moving) = record.moving.clone().filter(|moving| moving.phase == Phase::Copy) else { return Err(MoveError::Idle) };
            let moving = Moving { phase: Phase::Clear, other: record.in_force.clone(), ..moving };
            let changed = Record { in_force: next.clone(), moving: Some(moving), ..record.clone() };
            Ok(self.change(&mut record, changed)?)
        };
        match self.routed.switch(next.clone(), remember).await {
            Err(MoveError::Idle) => Ok(false),
            switched => switched.map(|()| true),
        }
    }

    /// Nothing is left to do.
    pub(crate) fn end(&self) -> Result<(), LayoutError> {
        let mut record = self.record();
        let changed = Record { moving: None, ..record.clone() };
        self.change(&mut record, changed)
    }

    fn change(&self, record: &mut Record, changed: Record) -> Result<(), LayoutError> {
        changed.write(&self.door.layout)?;
        *record = changed;
        *self.progress() = Progress::default();
        self.ordered.notify_one();
        Ok(())
    }
}

fn refuse_second(record: &Record) -> Result<(), MoveError> {
    match &record.moving {
        Some(Moving { from, to, .. }) => Err(MoveError::UnderWay { from: from.clone(), to: to.clone() }),
        None => Ok(()),
    }
}
