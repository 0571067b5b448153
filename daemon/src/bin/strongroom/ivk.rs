//! `ivk`: the versioned keys below the MasterKey.

use std::io::{self, IsTerminal, Write};

use clap::{Args, Subcommand};
use daemon::admin::types::{IvkInfo, KekRotated, KekSchedule, KekStatus, RenewalInfo, RotateKek, ScheduleInfo};

use crate::ceremony;
use crate::context::{Context, wait};
use crate::dev::told;
use crate::failure::Failure;
use crate::output::{pairs, table};

const AFTER_ROTATE: &str = "\
The new version wraps from now on. What lies under the one before is brought under it in the background, while everything is served: see \
`strongroom reencrypt status`.";

const AFTER_DESTROY: &str = "\
The custodians approve it as any ceremony, by `strongroom ceremony approve`; with the last approval it is done, and never undone. A cluster without \
custodians does it at once. A copy of the keystore from before still opens for whoever has the MasterKey: `strongroom ceremony start rekey` ends that.";

/// `ivk ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Ivk {
    /// Show every IVK version
    Status,
    /// Make the next IVK version, which wraps from then on
    #[command(after_help = AFTER_ROTATE)]
    Rotate(Rotate),
    /// Show when the IVK and the keys below it are rotated by themselves
    Schedule,
    /// Archive a version that was replaced: all keys are looked at first, and none may lie under it
    Retire {
        /// Its number
        version: u32,
    },
    /// Have the custodians destroy a version that was replaced: all keys are looked at first, and none may lie under it
    #[command(after_help = AFTER_DESTROY)]
    Destroy {
        /// Its number
        version: u32,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Only ask the custodians; they approve elsewhere
        #[arg(long)]
        no_wait: bool,
    },
}

/// `ivk rotate`.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// How the new version wraps: AES-256-GCM, XChaCha20-Poly1305 or AES-256-GCM-SIV [default: as the one before]
    #[arg(long, value_name = "NAME")]
    algorithm: Option<String>,
    /// The versions so far may be known to others: nothing but re-encryption opens them any more
    #[arg(long)]
    compromised: bool,
    /// All keys below (L2, L2.1, L3) that are in use get new material too, in the background: see `strongroom reencrypt status`. What clients keep at edges they
    /// replace themselves (KMIP Re-key)
    #[arg(long, requires = "compromised")]
    rekey_dependents: bool,
}

/// Runs `ivk ...`.
pub(crate) fn run(context: &Context, command: &Ivk) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Ivk::Status => {
            let KekStatus { versions, reencryption } = wait(client.kek_status())?;
            context.out.show(&versions, |versions| ivk_text(versions) + &renewals_text(&reencryption.renewals))
        }
        Ivk::Rotate(Rotate { algorithm, compromised, rekey_dependents }) => {
            let how = RotateKek { algorithm: algorithm.clone(), compromised: *compromised, rekey_dependents: *rekey_dependents };
            context.out.show(&wait(client.rotate_kek(&how))?, rotated_text)
        }
        Ivk::Schedule => context.out.show(&wait(client.kek_schedule())?, schedule_text),
        Ivk::Retire { version } => context.out.show(&wait(client.retire_kek(*version))?.versions, |versions| ivk_text(versions)),
        Ivk::Destroy { version, yes, no_wait } => {
            if !yes && !confirmed(*version, &wait(client.kek_status())?.versions)? {
                return Err(Failure::failed("nothing was destroyed"));
            }
            let started = wait(client.destroy_kek(*version))?;
            ceremony::see_through(context, &client, started, *no_wait)
        }
    }
}

/// Asks the person at the terminal.
fn confirmed(version: u32, versions: &[IvkInfo]) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody can be asked: give --yes to have the version destroyed"));
    }
    let mine: Vec<IvkInfo> = versions.iter().filter(|ivk| ivk.version == version).cloned().collect();
    let mut answer = String::new();
    let question = format!("{}Destroy IVK version {version}? It cannot be brought back. Type yes: ", ivk_text(&mine));
    write!(io::stderr(), "{question}").map_err(told("standard error"))?;
    io::stdin().read_line(&mut answer).map_err(told("standard input"))?;
    Ok(answer.trim() == "yes")
}

fn ivk_text(versions: &[IvkInfo]) -> String {
    let dash = || "-".to_owned();
    let row = |ivk: &IvkInfo| {
        let mut cells = vec![ivk.version.to_string(), ivk.status.clone(), ivk.algorithm.clone(), ivk.bits.to_string(), ivk.created.clone()];
        cells.push(ivk.rotated.clone().unwrap_or_else(dash));
        cells.push(ivk.destroyed.clone().unwrap_or_else(dash));
        cells.push(ivk.keys.map_or_else(dash, |keys| keys.to_string()));
        cells
    };
    let head = ["ivk", "status", "algorithm", "bits", "created", "rotated", "destroyed", "keys"];
    let advice = versions.iter().filter_map(|ivk| Some(format!("IVK {}: {}\n", ivk.version, ivk.advice.as_ref()?)));
    table(&head, versions.iter().map(row).collect(), "no such IVK\n") + &advice.collect::<String>()
}

/// What is not done yet of `--rekey-dependents`.
fn renewals_text(renewals: &[RenewalInfo]) -> String {
    let below = |renewal: &RenewalInfo| renewal.tenant.as_ref().map_or_else(|| "the IVK".to_owned(), |tenant| format!("{tenant}'s key"));
    let one = |renewal| format!("below {}, keys get new material: see `strongroom reencrypt status`\n", below(renewal));
    renewals.iter().map(one).collect()
}

fn rotated_text(rotated: &KekRotated) -> String {
    let KekRotated { version, replaced, millis, .. } = rotated;
    pairs(&[
        ("IVK", format!("version {version} wraps from now on, in place of version {replaced}")),
        ("took", format!("{millis} ms")),
        ("next", "`strongroom reencrypt status --watch` shows how far the keys have come".to_owned()),
    ])
}

fn schedule_text(schedule: &KekSchedule) -> String {
    let KekSchedule { every, at, next, overdue, tenants, resources, services, replace_expired } = schedule;
    let mut rows = vec![("IVK", when_text(&ScheduleInfo { every: every.clone(), at: at.clone() }))];
    rows.extend(next.iter().map(|next| ("next", format!("{next}{}", if *overdue { ", overdue: see `strongroom status`" } else { "" }))));
    rows.extend([
        ("tenants' keys", when_text(tenants)),
        ("resources' keys", when_text(resources)),
        ("services' keys", when_text(services)),
    ]);
    rows.push(("expired keys", if *replace_expired { "get a next version" } else { "are Deprecated" }.to_owned()));
    pairs(&rows)
}

fn when_text(schedule: &ScheduleInfo) -> String {
    match (&schedule.every, &schedule.at) {
        (Some(every), _) => format!("every {every}"),
        (None, Some(at)) => format!("at {at} (minute, hour, day, month, day of week; UTC)"),
        (None, None) => "on demand only".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_says_what_is_overdue() {
        let schedule = |every: Option<&str>, next: Option<&str>, overdue| KekSchedule {
            every: every.map(str::to_owned),
            at: None,
            next: next.map(str::to_owned),
            overdue,
            tenants: ScheduleInfo { every: Some("1year".to_owned()), at: None },
            resources: ScheduleInfo { every: None, at: Some("0 4 * * *".to_owned()) },
            services: ScheduleInfo::default(),
            replace_expired: false,
        };
        assert!(schedule_text(&schedule(None, None, false)).contains("IVK              on demand only"));
        assert!(schedule_text(&schedule(None, None, false)).contains("resources' keys  at 0 4 * * *"));
        assert!(schedule_text(&schedule(None, None, false)).contains("tenants' keys    every 1year"));
        assert!(!schedule_text(&schedule(Some("30days"), Some("2026"), false)).contains("overdue"));
        assert!(schedule_text(&schedule(Some("30days"), Some("2026"), true)).contains("2026, overdue"));
        let monthly = KekSchedule { at: Some("0 3 1 * *".to_owned()), ..schedule(None, Some("2026"), false) };
        assert!(schedule_text(&monthly).contains("0 3 1 * *"));
    }

    #[test]
    fn ivk_versions_are_a_table() {
        let ivk = IvkInfo {
            version: 1,
            algorithm: "AES-256-GCM".to_owned(),
            bits: 256,
            status: "active".to_owned(),
            created: "2026".to_owned(),
            rotated: None,
            destroyed: None,
            keys: Some(3),
            can_retire: false,
            can_destroy: false,
            advice: None,
        };
        let gone = IvkInfo { status: "retired".to_owned(), keys: None, advice: Some("nothing needs it".to_owned()), ..ivk.clone() };
        let expected = "\
IVK  STATUS   ALGORITHM    BITS  CREATED  ROTATED  DESTROYED  KEYS
1    active   AES-256-GCM  256   2026     -        -          3
1    retired  AES-256-GCM  256   2026     -        -          -
IVK 1: nothing needs it
";
        assert_eq!(ivk_text(&[ivk, gone]), expected);
    }

    #[test]
    fn what_gets_new_material_is_told_below_the_versions() {
        let renewal = |tenant: Option<&str>| RenewalInfo { tenant: tenant.map(str::to_owned), until: "2026".to_owned() };
        let text = renewals_text(&[renewal(None), renewal(Some("acme"))]);
        assert!(text.contains("below the IVK, keys") && text.contains("below acme's key, keys"), "{text}");
        assert!(renewals_text(&[]).is_empty());
    }
}
