//! Edges under test beside their core, without a supervisor: the test starts, stops and kills each of them.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use crate::appliance::{Appliance, wait_for};
use crate::binary;
use crate::core::Core;
use crate::postgres::PostgresServer;

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

/// A core and two edges of its group `edge`, which are to share one database; nothing runs, and neither edge has been made.
pub struct SharedEdges {
    /// The core of both.
    pub core: Core,
    /// The edges.
    pub edges: [Core; 2],
    /// Where the database is.
    pub server: PostgresServer,
    /// Its name.
    pub database: String,
}

impl SharedEdges {
    /// A folder, and an empty database.
    ///
    /// # Panics
    /// If something is missing.
    #[must_use]
    pub fn prepared() -> Self {
        let server = PostgresServer::new();
        let database = server.database();
        let [core, edges @ ..] = prepared_for(|_| format!("{{postgres: {{url: '{}', timeout: 3s}}}}", server.url(&database)));
        Self { core, edges, server, database }
    }

    /// Starts the core, and makes and starts both edges, each as if there were no other.
    ///
    /// # Panics
    /// If one is not made, or does not open.
    #[must_use]
    pub fn serving() -> Self {
        let mut this = Self::prepared();
        make_and_start(&mut this.core, &mut this.edges);
        this
    }
}

/// A core and two edges of its group `edge`, which are to share one plugin that runs as a unit would; no node runs, and neither edge has been made.
pub struct PluginEdges {
    /// The core of both.
    pub core: Core,
    /// The edges.
    pub edges: [Core; 2],
    plugin: Child,
}

impl PluginEdges {
    /// A folder, and an empty plugin, which runs.
    ///
    /// # Panics
    /// If something is missing.
    #[must_use]
    pub fn prepared() -> Self {
        let [core, edges @ ..] = prepared_for(|dir| format!("{{grpc: {{socket: {:?}}}}}", dir.join("rows/socket")));
        fs::create_dir(core.dir().join("rows")).expect("the folder is ours");
        let plugin = start_plugin(&core, &[]);
        Self { core, edges, plugin }
    }

    /// Starts the core, and makes and starts both edges, each as if there were no other.
    ///
    /// # Panics
    /// If one is not made, or does not open.
    #[must_use]
    pub fn serving() -> Self {
        let mut this = Self::prepared();
        make_and_start(&mut this.core, &mut this.edges);
        this
    }

    /// Ends the plugin, and starts it again with these arguments.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart_plugin(&mut self, arguments: &[&str]) {
        self.end_plugin();
        self.plugin = start_plugin(&self.core, arguments);
    }

    fn end_plugin(&mut self) {
        let _gone = self.plugin.kill();
        let _reaped = self.plugin.wait();
    }
}

impl Drop for PluginEdges {
    fn drop(&mut self) {
        self.end_plugin();
    }
}

fn start_plugin(core: &Core, arguments: &[&str]) -> Child {
    let state = core.dir().join("rows");
    let socket = state.join("socket");
    let _of_an_earlier_one = fs::remove_file(&socket);
    let mut command = Command::new(binary("plugin-redb", "plugin-redb"));
    command.args(arguments).env("STRONGROOM_PLUGIN_SOCKET", &socket).env("STRONGROOM_PLUGIN_STATE", state).stdin(Stdio::null());
    let plugin = command.spawn().expect("the plugin starts");
    assert!(wait_for(|| UnixStream::connect(&socket).is_ok()), "the plugin does not listen");
    plugin
}

/// A core and two edges that are to share the keystore which the text says; it is told the folder.
fn prepared_for(keystore: impl FnOnce(&Path) -> String) -> [Core; 3] {
    let dir = Arc::new(Appliance::with_edges(2).stop());
    let nodes = ["core", "edge", "edge2"].map(|name| Core::on(Arc::clone(&dir), name));
    let config = |edge: &Core| fs::read_to_string(edge.config()).expect("dev has written it");
    let first = config(&nodes[1]);
    // `dev` writes this section last, and each edge is of a group of its own.
    let (_, section) = first.split_once("\nedge:\n").expect("an edge's configuration has this section");
    let store = format!("keystores:\n  shared: {}\n", keystore(nodes[0].dir()));
    for edge in &nodes[1..] {
        let own = config(edge);
        let (before, _) = own.split_once("\nedge:\n").expect("an edge's configuration has this section");
        fs::write(edge.config(), format!("{before}\nedge:\n{section}  shared: true\n{store}")).expect("the folder is ours");
        fs::remove_dir_all(edge.data_dir()).expect("the folder is ours");
    }
    nodes
}

/// Starts the core, makes both edges at the same moment, and starts them.
fn make_and_start(core: &mut Core, edges: &mut [Core; 2]) {
    core.start();
    let making = edges.each_ref().map(|edge| {
        let mut init = edge.cli_command(&["init"]);
        init.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary is there")
    });
    for init in making {
        let Output { status, stderr, .. } = init.wait_with_output().expect("it is our child");
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    }
    edges.iter_mut().for_each(Core::start);
    for edge in edges {
        assert!(wait_for(|| edge.standing().starts_with("unsealed")), "the edge is {}", edge.standing());
    }
}
