//! One edge under test beside its core, without a supervisor: the test starts, stops and kills each of them.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::appliance::Appliance;
use crate::core::Core;

/// A prepared folder with a core and an edge of the group `edge`, which serves acme and globex. To start, ask and stop the edge is as for a core.
pub struct Edge {
    /// The edge's core.
    pub core: Core,
    node: Core,
}

impl Edge {
    /// A folder as `dev` leaves it; nothing runs.
    #[must_use]
    pub fn prepared() -> Self {
        Self::prepared_with(&[])
    }

    /// As [`Edge::prepared`], with these lines in the section `edge` of its configuration, each in place of what that says of the same.
    ///
    /// # Panics
    /// If the folder is gone.
    #[must_use]
    pub fn prepared_with(settings: &[&str]) -> Self {
        let dir = Arc::new(Appliance::with_edges(1).stop());
        let this = Self { core: Core::on(Arc::clone(&dir), "core"), node: Core::on(dir, "edge") };
        settings.iter().for_each(|line| this.set(line));
        this
    }

    /// Puts a line into the section `edge` of the configuration, which an edge reads when it starts.
    ///
    /// # Panics
    /// If the folder is gone.
    pub fn set(&self, line: &str) {
        let name = line.split_once(':').expect("NAME: VALUE").0;
        let config = fs::read_to_string(self.config()).expect("dev has written it");
        // `dev` writes this section last.
        let (before, section) = config.split_once("\nedge:\n").expect("an edge's configuration has this section");
        let other = |known: &&str| !known.trim_start().starts_with(&format!("{name}:"));
        let kept: String = section.lines().filter(other).map(|known| format!("{known}\n")).collect();
        fs::write(self.config(), format!("{before}\nedge:\n{kept}  {line}\n")).expect("the folder is ours");
    }

    /// Starts core and edge.
    ///
    /// # Panics
    /// If one of them does not run.
    pub fn start_both(&mut self) {
        self.core.start();
        self.start();
    }

    /// Stops both in good order, and lets the logs of both be verified.
    ///
    /// # Panics
    /// If one does not stop well, or a log does not verify.
    pub fn stop_both(&mut self) {
        self.stop();
        self.core.stop();
        let _verified = (self.ask(&["audit", "verify"]), self.core.ask(&["audit", "verify"]));
    }
}

impl Deref for Edge {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.node
    }
}

impl DerefMut for Edge {
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.node
    }
}
