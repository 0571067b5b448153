//! What was found: by state of the core and class of key, in how many samples, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::memscan::forms::{Class, Form};
use crate::memscan::scanner::Scanner;
use crate::memscan::search::Report;

/// Counts per state and class.
#[derive(Debug)]
pub struct Table {
    /// Of so many samples of a state, how many may show a key of a class.
    samples_max: fn(&str, Class, u64) -> u64,
    /// In the order in which the states were seen.
    states: Vec<&'static str>,
    /// What was searched for, but the control.
    classes: BTreeSet<Class>,
    samples: BTreeMap<&'static str, u64>,
    read_bytes: BTreeMap<&'static str, u64>,
    cells: BTreeMap<(&'static str, Class), Cell>,
}

/// What was found of one class in one state.
#[derive(Debug, Default, Clone)]
pub struct Cell {
    /// Samples with a hit.
    pub samples: u64,
    /// Hits: one needle in one place.
    pub hits: u64,
    /// In which form, in what kind of place, in how many samples.
    pub places: BTreeMap<(Form, String), u64>,
}

impl Table {
    pub(super) fn new(samples_max: fn(&str, Class, u64) -> u64) -> Self {
        Self {
            samples_max,
            states: Vec::new(),
            classes: BTreeSet::new(),
            samples: BTreeMap::new(),
            read_bytes: BTreeMap::new(),
            cells: BTreeMap::new(),
        }
    }

    /// Every state and class that shows more than it may.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let cells = self.states.iter().flat_map(|state| self.classes().map(|class| (*state, class)));
        let missed = cells.filter_map(|(state, class)| {
            let (found, samples) = (self.cell(state, class).samples, self.samples(state));
            (found > (self.samples_max)(state, class, samples)).then(|| format!("{state}: {class} in {found} of {samples} samples"))
        });
        missed.collect()
    }

    /// Adds one sample of a state.
    ///
    /// # Panics
    /// If the control was not found, and so nothing else could have been.
    pub fn add(&mut self, state: &'static str, scanner: &Scanner, report: &Report) {
        self.count(state, report.read_bytes);
        self.classes.extend(scanner.needles().iter().map(|needle| needle.class).filter(|class| *class != Class::Control));
        let mut seen = BTreeMap::<Class, BTreeSet<(Form, &str)>>::new();
        for (needle, place) in scanner.named(report) {
            seen.entry(needle.class).or_default().insert((needle.form, place));
            self.cells.entry((state, needle.class)).or_default().hits += 1;
        }
        for (class, places) in seen {
            let cell = self.cells.entry((state, class)).or_default();
            cell.samples += 1;
            for (form, place) in places {
                *cell.places.entry((form, place.to_owned())).or_default() += 1;
            }
        }
    }

    fn count(&mut self, state: &'static str, read_bytes: u64) {
        if !self.states.contains(&state) {
            self.states.push(state);
        }
        *self.samples.entry(state).or_default() += 1;
        *self.read_bytes.entry(state).or_default() += read_bytes;
    }

    /// What was found of a class in a state.
    #[must_use]
    pub fn cell(&self, state: &'static str, class: Class) -> Cell {
        self.cells.get(&(state, class)).cloned().unwrap_or_default()
    }

    /// How many samples a state has.
    #[must_use]
    pub fn samples(&self, state: &'static str) -> u64 {
        self.samples.get(state).copied().unwrap_or_default()
    }

    /// The classes that were searched for.
    pub fn classes(&self) -> impl Iterator<Item = Class> {
        self.classes.iter().copied()
    }

    /// The states that were seen.
    #[must_use]
    pub fn states(&self) -> &[&'static str] {
        &self.states
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<22} {:>7} {:>8}", "state", "samples", "MiB each")?;
        for class in self.classes() {
            write!(f, " {class:>11}")?;
        }
        writeln!(f)?;
        for state in &self.states {
            let samples = self.samples(state);
            let mebibytes = self.read_bytes.get(state).copied().unwrap_or_default() / samples.max(1) / (1 << 20);
            write!(f, "{state:<22} {samples:>7} {mebibytes:>8}")?;
            for class in self.classes() {
                write!(f, " {:>11}", self.cell(state, class).samples)?;
            }
            writeln!(f)?;
        }
        for ((state, class), cell) in self.cells.iter().filter(|((_, class), _)| *class != Class::Control) {
            for ((form, place), samples) in &cell.places {
                writeln!(f, "  {state}: {class} as {form:?} in {place}: {samples} samples")?;
            }
        }
        Ok(())
    }
}
