//! `keystore certify`: whether a plugin keeps the rules of a keystore.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use daemon::confine;
use daemon::plugin::{PluginSupervisor, Program};
use keys::id::Layer;
use keys::port::{Keystore, Query, StoreError};
use nix::unistd::User;
use serde::Serialize;
use storage::conformance::{self, Failure as Broken, Violation};
use storage::grpc::{self, Grpc, Rows, Settings};
use storage::intents::Intents;
use storage::journalled::Journalled;
use tempfile::TempDir;
use uuid::Uuid;

use crate::context::{Context, wait};
use crate::failure::{Failure, Kind};
use crate::output::table;

/// How long one call of a plugin may take.
const CALL_WITHIN: Duration = Duration::from_secs(4);
/// How long a plugin may take until it listens.
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// How often it is tried meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// As whose commits the cases are.
const NODE: Uuid = Uuid::from_u128(0x5354_524f_4e47_524f_4f4d_0000_4345_5254);

/// `keystore certify`.
#[derive(Debug, Args)]
pub(crate) struct Certify {
    /// A program to be started, confined as a node would, with a new folder for its data
    #[arg(long, value_name = "PATH", required_unless_present = "socket")]
    plugin: Option<PathBuf>,
    /// The Unix socket of a plugin that runs
    #[arg(long, value_name = "PATH", conflicts_with = "plugin")]
    socket: Option<PathBuf>,
    /// The name or number of the user that has to listen there; root or yourself if left out
    #[arg(long, requires = "socket")]
    user: Option<String>,
    /// Arguments of the program
    #[arg(last = true, requires = "plugin")]
    arguments: Vec<String>,
}

/// One rule.
#[derive(Debug, Serialize)]
struct Case {
    rule: &'static str,
    passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// What `keystore certify` found.
#[derive(Debug, Serialize)]
struct Certified {
    /// Without it the node keeps a journal and changes one row at a time.
    batch: bool,
    passed: usize,
    failed: usize,
    cases: Vec<Case>,
}

/// A plugin while it is certified; ended with it, if it was started for that.
struct Tried {
    socket: PathBuf,
    user: Option<u32>,
    running: Option<(PluginSupervisor, TempDir)>,
    /// For the journal of a plugin without transactions.
    journal: TempDir,
}

/// Runs `keystore certify`.
pub(super) fn run(context: &Context, args: &Certify) -> Result<(), Failure> {
    let tried = tried(args)?;
    let certified = wait(certify(&tried))?;
    context.out.show(&certified, text)?;
    if certified.failed == 0 {
        return Ok(());
    }
    let message = format!("the plugin breaks {} of {} rules", certified.failed, certified.cases.len());
    Err(Failure { kind: Kind::Unverified, message })
}

fn tried(args: &Certify) -> Result<Tried, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(error.to_string());
    let folder = || tempfile::Builder::new().prefix("strongroom-certify-").tempdir().map_err(|error| failed(&error));
    let journal = folder()?;
    let (Some(program), None) = (&args.plugin, &args.socket) else {
        let user = args.user.as_deref().map(number).transpose()?;
        return Ok(Tried { socket: args.socket.clone().expect("one of the two is given"), user, running: None, journal });
    };
    let path = std::path::absolute(program).map_err(|error| failed(&error))?;
    let folder = folder()?;
    let program = Program {
        sha256: confine::hash(&path).map_err(|error| failed(&error))?,
        path,
        arguments: args.arguments.clone(),
        state: folder.path().to_owned(),
        confine: std::env::current_exe().map_err(|error| failed(&error))?.with_file_name("strongroomd"),
    };
    let socket = program.socket();
    let supervisor = PluginSupervisor::start("certify", program).map_err(|error| failed(&error))?;
    Ok(Tried { socket, user: None, running: Some((supervisor, folder)), journal })
}

fn number(user: &str) -> Result<u32, Failure> {
    let named = || User::from_name(user).ok().flatten().map(|user| user.uid.as_raw());
    user.parse().ok().or_else(named).ok_or_else(|| Failure::usage(format!("this machine has no user `{user}`")))
}

async fn open(tried: &Tried) -> Result<(Arc<dyn Keystore>, bool), Failure> {
    let settings =
        Settings { name: "certify".to_owned(), socket: tried.socket.clone(), user: tried.user, timeout: CALL_WITHIN, node: NODE };
    let until = Instant::now() + STARTS_WITHIN;
    loop {
        let error = match Grpc::open(settings.clone()).await {
            Ok(grpc) => return Ok((Arc::new(grpc), true)),
            Err(error) if grpc::is_without_batch(&error) => {
                let rows = Rows::open(settings).await.map_err(unavailable)?;
                let intents = Intents::open(&tried.journal.path().join("intents.redb")).map_err(unavailable)?;
                return Ok((Arc::new(Journalled::new(rows, intents, CALL_WITHIN).map_err(unavailable)?), false));
            }
            Err(error) => error,
        };
        let Some((supervisor, _)) = &tried.running else { return Err(unavailable(error)) };
        if let Some(ended) = supervisor.ended() {
            return Err(Failure::unavailable(format!(
                "the program ended ({ended}) before it served on its socket: run it by hand with STRONGROOM_PLUGIN_SOCKET and STRONGROOM_PLUGIN_STATE set, and see what it says"
            )));
        }
        if !storage::is_away(&error) || Instant::now() >= until {
            return Err(unavailable(error));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn certify(tried: &Tried) -> Result<Certified, Failure> {
    let (store, batch) = open(tried).await?;
    must_be_empty(&*store, &tried.socket).await?;
    let make = async || {
        // A store that is not emptied fails the next case by itself.
        let _emptied = conformance::empty(&*store).await;
        Arc::clone(&store)
    };
    let failed = conformance::run(make).await.err().map_or_else(Vec::new, |Broken { failed, .. }| failed);
    conformance::empty(&*store).await.map_err(unavailable)?;
    let why = |rule| failed.iter().find(|(name, _)| *name == rule).map(|(_, violation)| told(violation));
    let cases: Vec<Case> =
        conformance::names().map(|rule| (rule, why(rule))).map(|(rule, why)| Case { rule, passed: why.is_none(), why }).collect();
    Ok(Certified { batch, passed: cases.len() - failed.len(), failed: failed.len(), cases })
}

/// Somebody's rows are not removed for a test.
async fn must_be_empty(store: &dyn Keystore, socket: &Path) -> Result<(), Failure> {
    for layer in (0..=u8::MAX).filter_map(|number| Layer::try_from(number).ok()) {
        let query = Query { layer, terms: Vec::new(), before: None, limit: 1 };
        if !store.find(&query).await.map_err(unavailable)?.is_empty() {
            let at = socket.display();
            return Err(Failure::failed(format!("the plugin at {at} holds rows, which the cases would remove: give it an empty place")));
        }
    }
    Ok(())
}

fn unavailable(error: StoreError) -> Failure {
    let message = error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    Failure { kind: Kind::Unavailable, message }
}

fn told(violation: &Violation) -> String {
    match violation {
        Violation::Failed(error) => error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
        other => other.to_string(),
    }
}

fn text(certified: &Certified) -> String {
    let row = |case: &Case| {
        let result = if case.passed { "passed" } else { "FAILED" };
        vec![result.to_owned(), case.rule.to_owned(), case.why.clone().unwrap_or_default()]
    };
    let table = table(&["result", "rule", "why"], certified.cases.iter().map(row).collect(), "no cases");
    let how = if certified.batch { "" } else { ", without the capability `batch`: with a journal of the node's" };
    format!("{table}\n{} passed, {} failed{how}", certified.passed, certified.failed)
}
