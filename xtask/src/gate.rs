//! A run of named stages: each timed, a table at the end, a stop at the first that fails.

use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::command;

/// The stages run so far.
pub(crate) struct Gate {
    started: Instant,
    rows: Vec<Row>,
    /// A stage that belongs to it cannot run on this machine.
    is_incomplete: bool,
}

/// All that could run has passed, and something could not.
#[derive(Debug)]
pub(crate) struct Incomplete;

impl fmt::Display for Incomplete {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "what ran has passed, but a stage cannot run on this machine: see NOT RUN above; `--without STAGE` leaves it out on purpose"
        )
    }
}

impl std::error::Error for Incomplete {}

struct Row {
    stage: &'static str,
    outcome: Outcome,
}

enum Outcome {
    Passed(Duration),
    Failed(Duration),
    NotRun(String),
}

impl Gate {
    /// A gate with no stage run.
    pub(crate) fn open() -> Self {
        Self { started: Instant::now(), rows: Vec::new(), is_incomplete: false }
    }

    /// Runs one command as a stage; the command itself is what repeats it.
    pub(crate) fn command(&mut self, stage: &'static str, mut command: Command) -> Result<()> {
        let repeat = command::shown(&command);
        self.stage(stage, &repeat, || command::run(&mut command))
    }

    /// Runs `work` as a stage. On failure prints the table and returns an error that names the stage and the command to `repeat` it.
    pub(crate) fn stage(&mut self, stage: &'static str, repeat: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n== {stage}");
        let started = Instant::now();
        let result = work();
        let took = started.elapsed();
        let outcome = if result.is_ok() { Outcome::Passed(took) } else { Outcome::Failed(took) };
        self.rows.push(Row { stage, outcome });
        result.map_err(|error| {
            println!("\n{self}");
            anyhow!("stage {stage} failed: {error:#}\nrepeat it with: {repeat}")
        })?;
        println!("== {stage}: passed in {}", seconds(took));
        Ok(())
    }

    /// Notes a stage that has nothing to work on, and why; this changes no exit status.
    pub(crate) fn not_run(&mut self, stage: &'static str, why: &str) {
        println!("\n== {stage}: NOT RUN: {why}");
        self.rows.push(Row { stage, outcome: Outcome::NotRun(why.to_owned()) });
    }

    /// Notes a stage that this machine cannot run, and why; the gate is [`Incomplete`] then.
    pub(crate) fn cannot_run(&mut self, stage: &'static str, why: &str) {
        self.not_run(stage, why);
        self.is_incomplete = true;
    }

    /// Prints the table. An error if a stage cannot run here.
    pub(crate) fn close(self) -> Result<()> {
        println!("\n{self}");
        if self.is_incomplete { Err(Incomplete.into()) } else { Ok(()) }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { stage, outcome } in &self.rows {
            match outcome {
                Outcome::Passed(took) => writeln!(out, "{stage:<14} passed   {:>9}", seconds(*took))?,
                Outcome::Failed(took) => writeln!(out, "{stage:<14} FAILED   {:>9}", seconds(*took))?,
                Outcome::NotRun(why) => writeln!(out, "{stage:<14} NOT RUN  {why}")?,
            }
        }
        write!(out, "{:<14}          {:>9}", "total", seconds(self.started.elapsed()))
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_failed_stage_names_itself_its_cause_and_the_command_to_repeat() {
        let mut gate = Gate::open();
        let error = gate.stage("tidy", "cargo xtask tidy", || bail!("two violations")).expect_err("the stage fails");
        for part in ["tidy failed", "two violations", "cargo xtask tidy"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert!(gate.to_string().contains("FAILED"));
    }

    #[test]
    fn the_table_tells_passed_from_not_run() {
        let mut gate = Gate::open();
        gate.stage("format", "cargo fmt", || Ok(())).expect("the stage passes");
        gate.not_run("advisories", "no database");
        let table = gate.to_string();
        assert!(table.contains("format         passed"), "{table}");
        assert!(table.contains("advisories     NOT RUN  no database"), "{table}");
        assert!(!table.contains("FAILED"), "{table}");
        assert!(gate.close().is_ok(), "a stage without work leaves a gate complete");
    }

    #[test]
    fn a_gate_with_a_stage_that_cannot_run_is_incomplete() {
        let mut gate = Gate::open();
        gate.cannot_run("appliance", "it takes root");
        assert!(gate.to_string().contains("appliance      NOT RUN  it takes root"));
        assert!(gate.close().expect_err("it is incomplete").is::<Incomplete>());
    }
}
