//! The keeper that moves rows from one keystore to another while the node serves.
//!
//! What is to be done stands in the node's own files, so it goes on after a restart: a walk that was cut off begins anew and compares what is there
//! already. A keystore that does not answer is waited for; until the switch nobody else has to.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use keys::id::RowId;
use keys::policy::Action;
use keys::record::Outcome;
use storage::routed::{Cursor, Placement};

use crate::causes::told;
use crate::keystore::{Keystores, Migration, Move, MoveError, Progress};
use crate::node::Node;
use crate::stop::Stop;

/// So long after a step that failed it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// So often copies are compared and mended before it is said that a keystore does not keep them.
const COMPARISONS_MAX: u32 = 5;
/// What may be left to bring over while nobody changes anything.
const LAST_ROWS: usize = 32;
/// So often what was changed is brought over before the rest is brought over in one go all the same.
const ROUNDS_MAX: u32 = 8;

/// The migrations of one node.
pub(crate) struct Mover {
    node: Arc<Node>,
}

/// What is done with all rows that belong elsewhere.
#[derive(Debug, Clone, Copy)]
enum Walk {
    Copy,
    Compare,
    CompareCopies,
    Clear,
}

impl Walk {
    fn in_words(self) -> &'static str {
        match self {
            Self::Copy => "copying",
            Self::Compare => "comparing rows with their copies",
            Self::CompareCopies => "comparing copies with their rows",
            Self::Clear => "removing what is left",
        }
    }
}

/// How a phase ended.
enum Ended {
    /// There is another order, or none.
    Otherwise,
    Done,
}

impl Mover {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Moves what is to be moved, until it is told to stop.
    pub(crate) async fn run(self, mut stop: Stop) -> io::Result<()> {
        let Some(keystores) = self.node.keystores.clone() else {
            stop.requested().await;
            return Ok(());
        };
        loop {
            let pause = match keystores.migration() {
                None => None,
                Some(Migration { step, .. }) => {
                    let tried = tokio::select! {
                        tried = self.carry_on(&keystores, &step) => tried,
                        () = stop.requested() => return Ok(()),
                    };
                    match tried {
                        Ok(()) => continue,
                        Err(error) => {
                            tracing::warn!(%error, "moving rows waits");
                            keystores.progress().error = Some(told(&error));
                            Some(RETRY_AFTER)
                        }
                    }
                }
            };
            tokio::select! {
                () = keystores.ordered() => {}
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
                () = stop.requested() => return Ok(()),
            }
        }
    }

    async fn carry_on(&self, keystores: &Keystores, step: &Move) -> Result<(), MoveError> {
        match step {
            Move::Copy(next) => {
                if !keystores.open_all(next).await? {
                    return Err(MoveError::Gone);
                }
                if matches!(self.copy(keystores, next, step).await?, Ended::Done) && keystores.switch(next).await? {
                    tracing::info!("rows belong to another keystore now");
                    self.note(Action::SwitchKeystore);
                }
                Ok(())
            }
            Move::Clear(other) | Move::Undo(other) => {
                keystores.routed().forget_changes();
                if !keystores.open_all(other).await? {
                    tracing::warn!("a keystore is not in the configuration any more: what is left there of rows that were moved stays");
                    keystores.end()?;
                    self.note(Action::EndMigration);
                    return Ok(());
                }
                if matches!(walk(keystores, step, other, Walk::Clear).await?, (Ended::Done, _)) {
                    keystores.end()?;
                    tracing::info!("nothing is being moved between keystores any more");
                    self.note(Action::EndMigration);
                }
                Ok(())
            }
        }
    }

    /// Until all rows are there twice but for what was changed in the last moment.
    async fn copy(&self, keystores: &Keystores, next: &Placement, step: &Move) -> Result<Ended, MoveError> {
        let routed = keystores.routed();
        routed.note_changes().await?;
        if matches!(walk(keystores, step, next, Walk::Copy).await?, (Ended::Otherwise, _)) {
            return Ok(Ended::Otherwise);
        }
        let mut comparisons = 0;
        loop {
            routed.catch_up(next).await?;
            let mut differing = None;
            for compare in [Walk::Compare, Walk::CompareCopies] {
                match walk(keystores, step, next, compare).await? {
                    (Ended::Otherwise, _) => return Ok(Ended::Otherwise),
                    (Ended::Done, found) => differing = differing.or(found),
                }
            }
            comparisons += 1;
            match differing {
                None => break,
                Some(row) if comparisons == COMPARISONS_MAX => return Err(MoveError::Differs { row }),
                Some(_) => {}
            }
        }
        for _ in 0..ROUNDS_MAX {
            if routed.catch_up(next).await? <= LAST_ROWS {
                break;
            }
        }
        Ok(Ended::Done)
    }

    fn note(&self, action: Action) {
        if let Err(error) = self.node.note_own(self.node.system, action, Outcome::Success) {
            tracing::error!(%error, "what became of a migration is not in the audit log");
        }
    }
}

/// Goes through all rows that belong elsewhere by `other`. Returns with the first that differed.
async fn walk(keystores: &Keystores, step: &Move, other: &Placement, walk: Walk) -> Result<(Ended, Option<RowId>), MoveError> {
    let (mut at, mut differing, mut rows) = (Some(Cursor::default()), None, 0);
    let routed = keystores.routed();
    while let Some(cursor) = at {
        let done = match walk {
            Walk::Copy => routed.copy(other, cursor).await?,
            Walk::Compare => routed.compare(other, cursor, false).await?,
            Walk::CompareCopies => routed.compare(other, cursor, true).await?,
            Walk::Clear => routed.clear(other, cursor).await?,
        };
        rows += done.rows as u64;
        (at, differing) = (done.next, differing.or(done.differing.first().copied()));
        if keystores.migration().is_none_or(|now| now.step != *step) {
            return Ok((Ended::Otherwise, differing));
        }
        *keystores.progress() = Progress { rows, doing: walk.in_words(), error: None };
    }
    Ok((Ended::Done, differing))
}
