//! `keystore`: where rows are stored, whether that answers, and moving them elsewhere.

mod certify;

use std::time::Duration;

use clap::{Args, Subcommand};
use daemon::admin::types::{KeystoreHealth, KeystoreInfo, MigrateKeystore, MigrationInfo};
use indicatif::{ProgressBar, ProgressStyle};

use crate::context::{Context, wait};
use crate::failure::{Failure, Kind};
use crate::output::{clean, pairs, table};

/// How often a watched migration is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// `keystore ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Keystore {
    /// Show the keystores and what belongs to each
    List,
    /// Ask each keystore for a row; exit code 3 if one that has rows does not answer
    Health,
    /// Move rows from one keystore to another while the node serves
    #[command(
        after_help = "The rows are copied, compared and then belong to the other keystore at once; what is left in the first is removed. This goes on by itself, also \
after a restart, and waits for a keystore that does not answer. Afterwards bring `routing` in config.yaml in line with `strongroom keystore list`; until then \
`strongroom status` warns of it. Nothing else may use the keystore that rows leave: stop other nodes first that share it."
    )]
    Migrate(Migrate),
    /// Try every rule of a keystore on a plugin; exit code 4 if it breaks one
    ///
    /// The plugin must hold no rows: every case begins and ends with an empty store.
    Certify(certify::Certify),
}

/// `keystore migrate`.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// The keystore that the rows belong to
    #[arg(long, value_name = "NAME", required_unless_present_any = ["status", "abort"], requires = "to")]
    from: Option<String>,
    /// The keystore that they are to belong to
    #[arg(long, value_name = "NAME", requires = "from")]
    to: Option<String>,
    /// Only keys of this layer (L2, L2.1, L3, L4); may be repeated
    #[arg(long, value_name = "LAYER", requires = "from")]
    layer: Vec<String>,
    /// Only keys of this tenant: its name or its id
    #[arg(long, value_name = "TENANT", requires = "from")]
    tenant: Option<String>,
    /// Wait until it has ended
    #[arg(long)]
    watch: bool,
    /// Only show how far it has come
    #[arg(long, conflicts_with_all = ["from", "abort"])]
    status: bool,
    /// Have the rows stay where they are, and their copies removed
    #[arg(long, conflicts_with = "from")]
    abort: bool,
}

/// Runs `keystore ...`.
pub(crate) fn run(context: &Context, command: &Keystore) -> Result<(), Failure> {
    let client = || context.client();
    match command {
        Keystore::Certify(args) => certify::run(context, args),
        Keystore::List => context.out.show(&wait(client()?.keystores())?, |stores| list_text(stores)),
        Keystore::Health => {
            let found = wait(client()?.keystore_health())?;
            context.out.show(&found, |found| health_text(found))?;
            let failing: Vec<&str> = found.iter().filter(|store| store.state == "failing").map(|store| &*store.name).collect();
            match failing.is_empty() {
                true => Ok(()),
                false => Err(Failure { kind: Kind::Unavailable, message: format!("no answer from {}", failing.join(", ")) }),
            }
        }
        Keystore::Migrate(Migrate { from, to, layer, tenant, watch, abort, .. }) => {
            let client = client()?;
            let mut info = match (from, to) {
                (Some(from), Some(to)) => {
                    let what = MigrateKeystore { from: from.clone(), to: to.clone(), layers: layer.clone(), tenant: tenant.clone() };
                    wait(client.migrate(&what))?
                }
                _ if *abort => wait(client.abort_migration())?,
                _ => wait(client.migration())?,
            };
            if *watch {
                let bar = ProgressBar::new(0);
                bar.set_style(ProgressStyle::with_template("{spinner} {msg}, {elapsed} so far").expect("the template is ours"));
                while info.state != "none" {
                    bar.set_message(format!("{}: {} rows", info.doing.as_deref().unwrap_or(&info.state), info.rows));
                    info = wait(async {
                        tokio::time::sleep(WATCH_EVERY).await;
                        client.migration().await
                    })?;
                }
                bar.finish_and_clear();
            }
            context.out.show(&info, migration_text)
        }
    }
}

fn list_text(stores: &[KeystoreInfo]) -> String {
    let row = |store: &KeystoreInfo| {
        let rows = if store.rows.is_empty() { "nothing".to_owned() } else { store.rows.join("; ") };
        vec![store.name.clone(), store.kind.clone(), store.state.clone(), rows]
    };
    table(&["keystore", "kind", "state", "rows"], stores.iter().map(row).collect(), "this edge is ephemeral: it keeps nothing")
}

fn health_text(stores: &[KeystoreHealth]) -> String {
    let row = |store: &KeystoreHealth| {
        let time = store.micros.map_or(String::new(), |micros| format!("{}.{:03} ms", micros / 1000, micros % 1000));
        vec![store.name.clone(), store.state.clone(), time, store.error.as_deref().map(clean).unwrap_or_default()]
    };
    table(&["keystore", "state", "read", "why"], stores.iter().map(row).collect(), "this edge is ephemeral: it keeps nothing")
}

fn migration_text(info: &MigrationInfo) -> String {
    let (Some(from), Some(to)) = (&info.from, &info.to) else {
        return "no rows are being moved: `strongroom keystore list` shows where they are\n".to_owned();
    };
    let mut rows = vec![("migration", format!("from {from} to {to}: {}", info.state))];
    rows.extend(info.doing.iter().map(|doing| ("now", format!("{doing}, {} rows so far", info.rows))));
    rows.extend(info.error.iter().map(|error| ("waits", clean(error))));
    pairs(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keystore_is_shown_with_what_belongs_to_it() {
        let store = |name: &str, rows: &[&str]| KeystoreInfo {
            name: name.to_owned(),
            kind: "postgres".to_owned(),
            rows: rows.iter().map(|rows| (*rows).to_owned()).collect(),
            state: "in use".to_owned(),
        };
        let text = list_text(&[store("main", &["L3", "everything else (default)"]), store("spare", &[])]);
        assert!(text.contains("L3; everything else (default)") && text.contains("nothing"), "{text}");
    }

    #[test]
    fn health_is_shown_with_the_time_that_it_took_or_why_there_is_none() {
        let ok = KeystoreHealth { name: "a".to_owned(), state: "ok".to_owned(), micros: Some(12_034), error: None };
        let failing =
            KeystoreHealth { name: "b".to_owned(), state: "failing".to_owned(), micros: None, error: Some("gone\x1b".to_owned()) };
        let text = health_text(&[ok, failing]);
        assert!(text.contains("12.034 ms") && text.contains("gone") && !text.contains('\x1b'), "{text}");
    }

    #[test]
    fn a_migration_is_shown_with_what_it_is_at_and_none_as_none() {
        let none = MigrationInfo { state: "none".to_owned(), from: None, to: None, doing: None, rows: 0, error: None };
        assert!(migration_text(&none).contains("no rows are being moved"));
        let text = migration_text(&MigrationInfo {
            state: "copying".to_owned(),
            from: Some("a".to_owned()),
            to: Some("b".to_owned()),
            doing: Some("copying".to_owned()),
            rows: 7,
            error: Some("no answer".to_owned()),
        });
        for part in ["from a to b", "7 rows", "no answer"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
