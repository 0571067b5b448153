//! `key`: the keys of tenants and services, what they are and what becomes of them.

use std::io::{self, IsTerminal, Write};

use clap::{Args, Subcommand};
use daemon::admin::types::{KeyInfo, KeyLayer, KeyList, KeyState, KeysWanted, RepairInfo, RepairKey, RevokeKey, RotateKey, WrappedByInfo};
use jiff::Timestamp;
use keys::id::ScopeName;
use keys::list::LISTED_KEYS_MAX;
use kmip::RevocationReasonCode;

use crate::context::{Context, wait};
use crate::dev::told;
use crate::failure::Failure;
use crate::kmip::name::revocation_reason;
use crate::output::{pairs, table};

const WRAPPED_BY: &str = "\
WRAPPED BY is the key version that wraps this one. Old bytes of a key, also of a destroyed one, may survive in free pages of the keystore and in \
backups; they can be opened until that version is destroyed.";

const BY_TENANT_ADMIN: &str = "\
Only a tenant-admin does this, with its certificate: --admin, --admin-ca, --admin-cert and --admin-key.";

const RETIRING: &str = "\
Under a version of an L2 or L2.1 no key may lie any more: re-encryption brings them under the newest one. What clients have encrypted directly under a \
version of an L3, by its identifier, becomes unreadable: nobody knows whether there is such data. Objects at edges come under the newest version by \
themselves, and the version is refused to be retired before every edge of the tenant has said that it has none under it; edges say so with each renewal \
of their lease, and again after the core was unsealed.

Only a tenant-admin does this, with its certificate: --admin, --admin-ca, --admin-cert and --admin-key.";

const REPAIRING: &str = "\
A key is refused, and named by `strongroom reencrypt status` and `strongroom status`, where its stored blobs name another algorithm than the record of what \
wraps them. It is mended if they open by their own: they are sealed anew under the newest version of what wraps them, and re-encryption goes on. Anything else \
that is wrong with a key is told and stays as it is: restore the key from a backup.";

/// `key ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// List keys, newest first
    #[command(after_help = WRAPPED_BY)]
    List(List),
    /// Show one version of a key
    #[command(after_help = WRAPPED_BY)]
    Show {
        /// Its identifier
        id: String,
    },
    /// Replace a key by its next version, Active at once; the old one still decrypts
    #[command(after_help = BY_TENANT_ADMIN)]
    Rotate(Rotate),
    /// Let an earlier version of an L2.1 take over again; the Active one is Deprecated
    #[command(after_help = BY_TENANT_ADMIN)]
    Rollback {
        /// Identifier of the version, which is Deprecated: `strongroom key list --layer L2.1`
        id: String,
    },
    /// Take a key out of use
    #[command(after_help = BY_TENANT_ADMIN)]
    Revoke(Revoke),
    /// Archive a version that another one has replaced: it refuses every use, and never comes back
    #[command(after_help = RETIRING)]
    Retire {
        /// Its identifier
        id: String,
        /// Do not ask, which is done before an L3 is retired
        #[arg(long)]
        yes: bool,
    },
    /// Remove a key's material for ever: of an archived or compromised version that nothing needs any more
    #[command(after_help = BY_TENANT_ADMIN)]
    Destroy {
        /// Its identifier
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Seal a key anew that is refused because its blobs name another algorithm than what wraps them
    #[command(after_help = REPAIRING)]
    Repair {
        /// Its identifier
        id: String,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

/// `key list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Of this tenant only
    #[arg(long, value_name = "NAME")]
    tenant: Option<ScopeName>,
    /// Of this service of the tenant only
    #[arg(long, value_name = "NAME")]
    service: Option<ScopeName>,
    /// Of this layer
    #[arg(long, value_enum, ignore_case = true, default_value = "L3")]
    layer: KeyLayer,
    /// In this state only
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<KeyState>,
    /// Look at so many keys
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = limit)]
    limit: usize,
    /// Go on where an earlier list ended
    #[arg(long, value_name = "ID")]
    before: Option<String>,
}

/// `key rotate`.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// Identifier of the newest version
    id: String,
    /// The old version may be known to others: it neither encrypts nor decrypts any more; what lies under a tenant's key, and edges' objects under a service's,
    /// is moved
    #[arg(long)]
    compromised: bool,
    /// Of a tenant's key: its L2.1 and all its services' L3 that are in use get new material too, see `strongroom reencrypt status`. What clients keep at edges
    /// they replace themselves (KMIP Re-key)
    #[arg(long, requires = "compromised")]
    rekey_dependents: bool,
}

/// `key revoke`.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Its identifier
    id: String,
    /// Why: unspecified, key-compromise, ca-compromise, affiliation-changed, superseded, cessation-of-operation, privilege-withdrawn. After a compromise
    /// the key neither encrypts nor decrypts; else it still decrypts
    #[arg(long, value_parser = revocation_reason)]
    reason: RevocationReasonCode,
    /// A remark that is kept with the reason
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// When the key was first known to be compromised, as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    compromised_since: Option<Timestamp>,
}

fn limit(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=LISTED_KEYS_MAX).contains(count));
    count.ok_or_else(|| format!("1 to {LISTED_KEYS_MAX}"))
}

/// Runs `key ...`.
pub(crate) fn run(context: &Context, command: &Key) -> Result<(), Failure> {
    let client = context.client()?;
    let one = |key: KeyInfo| context.out.show(&key, key_text);
    match command {
        Key::List(list) => context.out.show(&wait(client.keys(&wanted(list)))?, keys_text),
        Key::Show { id } => one(wait(client.key(id))?),
        Key::Rotate(Rotate { id, compromised, rekey_dependents }) => {
            let how = RotateKey { compromised: *compromised, rekey_dependents: *rekey_dependents };
            one(wait(client.rotate_key(id, &how))?)
        }
        Key::Rollback { id } => one(wait(client.roll_key_back(id))?),
        Key::Revoke(revoke) => one(wait(client.revoke_key(&revoke.id, &why(revoke)))?),
        Key::Retire { id, yes } => {
            // Under an L2 or L2.1 clients have encrypted nothing, and no key may be left.
            let question = format!("Retire {id}? What was encrypted directly under it becomes unreadable for ever. Type yes: ");
            if !yes && !id.starts_with("L2") && !is_meant(&question, "retire")? {
                return Err(Failure::failed("nothing was retired"));
            }
            one(wait(client.retire_key(id))?)
        }
        Key::Destroy { id, yes } => {
            let question = format!("Destroy {id}? Its material is gone for ever then, and what is encrypted under it. Type yes: ");
            if !yes && !is_meant(&question, "destroy")? {
                return Err(Failure::failed("nothing was destroyed"));
            }
            one(wait(client.destroy_key(id))?)
        }
        Key::Repair { id, dry_run } => context.out.show(&wait(client.repair_key(id, &RepairKey { dry_run: *dry_run }))?, repair_text),
    }
}

fn repair_text(repair: &RepairInfo) -> String {
    let RepairInfo { id, tenant, found, recorded, wrapped_by, repaired } = repair;
    let done =
        if *repaired { "sealed anew; `strongroom reencrypt status` shows whether others are refused" } else { "would be sealed anew" };
    pairs(&[
        ("key", id.clone()),
        ("tenant", tenant.clone()),
        ("its blobs", format!("{found}, by which they open")),
        ("record above", recorded.clone()),
        ("wrapped by", wrapper(wrapped_by)),
        ("result", done.to_owned()),
    ])
}

/// Asks the person at the terminal.
fn is_meant(question: &str, verb: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("nobody can be asked: give --yes to {verb} the key")));
    }
    write!(io::stderr(), "{question}").map_err(told("standard error"))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(told("standard input"))?;
    Ok(answer.trim() == "yes")
}

fn wanted(list: &List) -> KeysWanted {
    KeysWanted {
        tenant: list.tenant.as_ref().map(ScopeName::to_string),
        service: list.service.as_ref().map(ScopeName::to_string),
        layer: Some(list.layer),
        state: list.state,
        limit: Some(list.limit),
        before: list.before.clone(),
    }
}

fn why(revoke: &Revoke) -> RevokeKey {
    RevokeKey {
        reason: revoke.reason.name().to_owned(),
        message: revoke.message.clone(),
        compromise_occurred: revoke.compromised_since.map(|time| time.to_string()),
    }
}

fn key_text(key: &KeyInfo) -> String {
    let mut rows = vec![("key", key.id.clone()), ("layer", name(key.layer)), ("tenant", key.tenant.clone())];
    rows.extend(key.service.clone().map(|service| ("service", service)));
    rows.extend(key.resource.clone().map(|resource| ("resource", resource)));
    rows.extend(key.names.iter().flatten().map(|name| ("name", name.clone())));
    rows.extend([
        ("state", name(key.state)),
        ("algorithm", format!("{} {}", key.algorithm, key.bits)),
        ("chain", key.chain.clone()),
        ("version", key.version.to_string()),
        ("created", key.created.clone()),
    ]);
    rows.extend(key.expiry.clone().map(|expiry| ("expires", expiry)));
    rows.extend([("generation", key.generation.to_string()), ("wrapped by", wrapper(&key.wrapped_by))]);
    pairs(&rows)
}

fn keys_text(list: &KeyList) -> String {
    let row = |key: &KeyInfo| {
        let or_dash = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
        let mut cells = vec![key.id.clone(), key.tenant.clone(), or_dash(&key.service), or_dash(&key.resource)];
        cells.extend([key.version.to_string(), name(key.state), format!("{} {}", key.algorithm, key.bits), wrapper(&key.wrapped_by)]);
        cells.push(key.names.as_ref().map_or_else(|| "-".to_owned(), |names| names.join(", ")));
        cells
    };
    let refused = list
        .refused
        .iter()
        .map(|id| vec![id.clone(), "-".to_owned(), "-".to_owned(), "-".to_owned(), "-".to_owned(), "refused".to_owned()]);
    let rows = list.keys.iter().map(row).chain(refused).collect();
    let nothing = if list.next.is_some() { "no such keys on this page\n" } else { "no such keys\n" };
    let mut text = table(&["key", "tenant", "service", "resource", "version", "state", "algorithm", "wrapped by", "names"], rows, nothing);
    if !list.refused.is_empty() {
        text.push_str("refused: stored records that do not verify and are not used; restore them from a backup\n");
    }
    if let Some(next) = &list.next {
        text.push_str(&pairs(&[("more", format!("strongroom key list --before {next}, with the same options"))]));
    }
    text
}

fn wrapper(WrappedByInfo { id, version }: &WrappedByInfo) -> String {
    id.as_ref().map_or_else(|| format!("IVK {version}"), |id| format!("{id} (version {version})"))
}

/// As in JSON.
fn name(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|name| name.as_str().map(str::to_owned)).expect("layers and states are texts")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> KeyInfo {
        KeyInfo {
            id: "L3-1".to_owned(),
            layer: KeyLayer::L3,
            tenant: "acme".to_owned(),
            service: Some("billing".to_owned()),
            resource: None,
            chain: "c".to_owned(),
            version: 2,
            state: KeyState::PreActive,
            algorithm: "AES".to_owned(),
            bits: 256,
            created: "2026".to_owned(),
            expiry: None,
            generation: 3,
            wrapped_by: WrappedByInfo { id: Some("L2-1".to_owned()), version: 1 },
            names: Some(vec!["invoices".to_owned()]),
        }
    }

    fn list(keys: Vec<KeyInfo>) -> KeyList {
        KeyList { keys, refused: Vec::new(), next: None }
    }

    #[test]
    fn a_key_is_shown_with_what_the_caller_may_know_of_it() {
        let text = key_text(&key());
        for line in ["name        invoices", "state       pre-active", "algorithm   AES 256", "wrapped by  L2-1 (version 1)"] {
            assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
        }
        let l2 = KeyInfo {
            layer: KeyLayer::L21,
            service: None,
            resource: Some("ledger".to_owned()),
            names: None,
            expiry: Some("2030".to_owned()),
            wrapped_by: WrappedByInfo { id: None, version: 4 },
            ..key()
        };
        let text = key_text(&l2);
        assert!(text.contains("L2.1\n") && text.contains("IVK 4\n") && text.contains("expires     2030\n"), "{text}");
        assert!(text.contains("resource    ledger\n"), "{text}");
        assert!(!text.contains("service") && !text.contains("name "), "{text}");
    }

    #[test]
    fn keys_are_a_table_that_names_the_refused_and_the_next_page() {
        let text = keys_text(&list(vec![key()]));
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().nth(1).is_some_and(|row| row.ends_with("invoices")), "{text}");
        let page = KeyList { refused: vec!["L3-9".to_owned()], next: Some("L3-1".to_owned()), ..list(vec![key()]) };
        let text = keys_text(&page);
        assert!(text.lines().any(|line| line.starts_with("L3-9") && line.ends_with("refused")), "{text}");
        assert!(text.contains("do not verify") && text.contains("--before L3-1"), "{text}");
    }

    #[test]
    fn an_empty_page_is_not_taken_for_the_end() {
        assert_eq!(keys_text(&list(vec![])), "no such keys\n");
        let text = keys_text(&KeyList { next: Some("L3-1".to_owned()), ..list(vec![]) });
        assert!(text.contains("on this page") && text.contains("--before L3-1"), "{text}");
    }

    #[test]
    fn a_repair_says_who_disagreed_and_whether_it_was_done() {
        let repair = |repaired| RepairInfo {
            id: "L3-1".to_owned(),
            tenant: "acme".to_owned(),
            found: "AES-256-GCM".to_owned(),
            recorded: "XChaCha20-Poly1305".to_owned(),
            wrapped_by: WrappedByInfo { id: Some("L2-9".to_owned()), version: 2 },
            repaired,
        };
        let (done, would) = (repair_text(&repair(true)), repair_text(&repair(false)));
        for line in ["its blobs     AES-256-GCM, by which they open", "record above  XChaCha20-Poly1305", "wrapped by    L2-9 (version 2)"]
        {
            assert!(done.lines().any(|shown| shown == line), "{line}: {done}");
        }
        assert!(done.contains("sealed anew; ") && would.contains("would be sealed anew"), "{done}{would}");
    }

    #[test]
    fn a_revocation_is_sent_in_the_words_of_the_standard() {
        let revoke = Revoke {
            id: "L3-1".to_owned(),
            reason: RevocationReasonCode::CessationOfOperation,
            message: None,
            compromised_since: Some("2026-01-31T12:00:00Z".parse().expect("a time")),
        };
        let sent = why(&revoke);
        assert_eq!((sent.reason.as_str(), sent.compromise_occurred.as_deref()), ("Cessation of Operation", Some("2026-01-31T12:00:00Z")));
    }
}
