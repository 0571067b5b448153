//! `strongroom`: the operator's command line.

mod audit;
mod card;
mod ceremony;
mod cert;
mod configuration;
mod context;
mod dev;
mod doctor;
mod edge;
mod failure;
mod init;
mod ivk;
mod key;
mod keystore;
mod kmip;
mod node;
mod openapi;
mod output;
mod pin;
mod reencrypt;
mod report;
mod service;
mod shell;
mod slot;
mod tenant;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use data_encoding::HEXLOWER;
use serde_json::json;

use crate::context::{Context, Options};
use crate::failure::{Failure, Kind};

/// A typed PIN passes through the buffers of a terminal, a file or HTTP (C16).
#[global_allocator]
static HEAP: secret::WipingHeap = secret::WipingHeap;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the operation failed or was refused
  2  the command line is wrong, or asks for what this release does not have
  3  the node is sealed, cannot serve now, or cannot be reached
  4  what was verified is not as it should be";

/// Operate a Strongroom node, and use it as a KMIP client
#[derive(Parser)]
#[command(name = "strongroom", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(init::InitArgs),
    Dev(dev::DevArgs),
    /// Show the node's state; exit code 3 if it is sealed
    Status,
    /// Unseal the node, by a device or with a PIN
    Unseal(node::Unseal),
    /// Seal the node: it forgets its keys and serves nobody
    Seal,
    /// Check everything the node needs, or all that a KMIP client needs of a server, and say what to do
    Doctor(Box<doctor::DoctorArgs>),
    /// Tenants
    #[command(subcommand)]
    Tenant(tenant::Tenant),
    /// Services of a tenant
    #[command(subcommand)]
    Service(service::Service),
    /// Edge groups: which edges may keep whose objects
    #[command(subcommand)]
    Edge(edge::Edge),
    /// Keys of tenants and services
    #[command(subcommand)]
    Key(key::Key),
    /// Seal slots, each of which opens the MasterKey
    #[command(subcommand)]
    Slot(slot::Slot),
    /// What the custodians have to approve
    #[command(subcommand)]
    Ceremony(ceremony::Ceremony),
    /// Internal versioned keys
    #[command(subcommand)]
    Ivk(ivk::Ivk),
    /// How keys come under new versions of what wraps them
    #[command(subcommand)]
    Reencrypt(reencrypt::Reencrypt),
    /// Where rows are stored, and moving them elsewhere
    #[command(subcommand)]
    Keystore(keystore::Keystore),
    /// Evidence for auditors, signed by the node
    #[command(subcommand)]
    Report(report::Report),
    /// The audit log
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Certificates of clients and servers
    #[command(subcommand)]
    Cert(cert::Cert),
    /// The node's configuration
    #[command(subcommand)]
    Config(configuration::Configuration),
    /// Use a KMIP server
    Kmip(Box<kmip::Kmip>),
    /// Print the OpenAPI document of the admin interface
    Openapi,
    /// Print a completion script
    Completions(shell::Completions),
    /// Write manual pages
    Man(shell::Man),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let context = Context::new(cli.options);
    match harden().and_then(|()| run(&context, cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(context.out.json),
    }
}

/// PINs and plaintext pass through this process.
fn harden() -> Result<(), Failure> {
    daemon::system::harden().map_err(|error| Failure::failed(format!("cannot harden the process: {error}")))
}

fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Init(args) => init(context, args),
        Command::Dev(args) => dev(&args),
        Command::Status => node::status(context),
        Command::Unseal(args) => node::unseal(context, &args),
        Command::Seal => node::seal(context),
        Command::Doctor(args) => doctor::run(context, &args),
        Command::Tenant(command) => tenant::run(context, &command),
        Command::Service(command) => service::run(context, &command),
        Command::Edge(command) => edge::run(context, &command),
        Command::Key(command) => key::run(context, &command),
        Command::Slot(command) => slot::run(context, &command),
        Command::Ceremony(command) => ceremony::run(context, &command),
        Command::Ivk(command) => ivk::run(context, &command),
        Command::Reencrypt(command) => reencrypt::run(context, &command),
        Command::Keystore(command) => keystore::run(context, &command),
        Command::Report(command) => report::run(context, &command),
        Command::Audit(command) => audit::run(context, &command),
        Command::Cert(command) => cert::run(context, &command),
        Command::Config(command) => configuration::run(context, &command),
        Command::Kmip(args) => kmip::run(context, &args),
        Command::Openapi => openapi::run(context),
        Command::Completions(args) => shell::completions(context, &args, Cli::command()),
        Command::Man(args) => shell::man(&args, Cli::command()),
    }
}

/// What the first slot alone is not enough for.
const ONE_SLOT: &str = "if the device of the first slot is lost, so is every key: name a second one under seal.custodians, start, and run \
                        `strongroom slot add --custodian NAME --make-key` (a TPM: --approval FILE)";

fn init(context: &Context, args: init::InitArgs) -> Result<(), Failure> {
    let made = init::begin(context, args)?;
    let audit_key = HEXLOWER.encode(&made.audit_key);
    let (slot, group) = (&made.slot, &made.group);
    let speaks_by = made.delegation_key.as_ref().map(|key| HEXLOWER.encode(key));
    let value = json!({
        "cluster": made.cluster.to_string(), "slot": slot, "group": group, "audit_key": audit_key, "delegation_key": speaks_by, "aside": made.aside,
    });
    context.out.show(&value, |_| {
        let next = match group {
            Some(_) => "start strongroomd: it opens as soon as its core answers",
            None => "start strongroomd: it unseals by itself if the slot needs no person",
        };
        let mut rows = vec![("cluster", made.cluster.to_string())];
        rows.extend(slot.iter().map(|slot| ("first slot", slot.clone())));
        rows.extend(group.iter().map(|group| ("edge group", group.clone())));
        rows.push(("audit key", format!("{audit_key}; keep it elsewhere, for `strongroom audit verify --key`")));
        rows.extend(speaks_by.iter().zip(group).map(|(key, group)| {
            (
                "delegation key",
                format!("{key}; for clients that use keys of the core: strongroom edge enrol {group} --key {key} at the core"),
            )
        }));
        rows.extend(slot.iter().map(|_| ("warning", ONE_SLOT.to_owned())));
        rows.push(("next", next.to_owned()));
        let kept = |aside: PathBuf| {
            ("kept", format!("{}: what an init that did not finish, or a node without its node.json, had left", aside.display()))
        };
        rows.extend(made.aside.map(kept));
        output::pairs(&rows)
    })
}

/// The supervisor tells what it does as a daemon would.
fn dev(args: &dev::DevArgs) -> Result<(), Failure> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    dev::run(args)
}

/// Help and version go to standard output; everything else is a usage error, as an object if the command line asks for JSON.
fn not_understood(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && json {
        return usage(error).report(true);
    }
    // There is nowhere else to say that the stream is closed.
    let _unheard = error.print();
    if error.use_stderr() { ExitCode::from(Kind::Usage.code()) } else { ExitCode::SUCCESS }
}

fn usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Failure::usage(lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["strongroom"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_commands_are_understood() {
        let lines = [
            "init --make-key",
            "init --wizard",
            "init --custodian hsm --pin-prompt",
            "dev --dir d --base-port 7000 --no-restart",
            "status",
            "status --json",
            "--json --data-dir d status",
            "unseal",
            "unseal --pin-prompt",
            "unseal --pin-file f --custodian hsm",
            "unseal --shard f",
            "unseal --shard f --card /m.so --token t",
            "unseal --shard - --card /m.so --token t --pin-file f --retry-pin",
            "seal --socket s",
            "status --admin https://h:1 --admin-ca a --admin-cert c --admin-key k",
            "doctor --config c",
            "doctor --client pg_tde --server h:5696 --server-name n --ca a --cert c --key k --json",
            "tenant create acme",
            "tenant list",
            "tenant show acme",
            "tenant disable acme --off-board",
            "service create acme billing",
            "service create acme billing --resource ledger",
            "service list acme",
            "service deployed acme billing --json",
            "edge enrol west --tenant acme --tenant globex",
            "edge list",
            "edge revoke west",
            "edge revoke west --key ab",
            "key list",
            "key list --tenant acme --service billing --layer l2.1 --state pre-active --limit 1000 --before L3-1 --json",
            "key show L3-1",
            "key rotate L2-1 --compromised --rekey-dependents",
            "key rotate L3-1 --admin https://h --admin-ca a --admin-cert c --admin-key k",
            "key rollback L21-1 --admin https://h --admin-ca a --admin-cert c --admin-key k",
            "key retire L2-1 --admin https://h --admin-ca a --admin-cert c --admin-key k",
            "key revoke L3-1 --reason key-compromise --message m --compromised-since 2026-01-31T12:00:00Z",
            "key retire L3-1",
            "key retire L3-1 --yes",
            "key destroy L21-1 --yes",
            "key repair L3-1",
            "key repair L3-1 --dry-run --json",
            "keystore certify --socket s --user u",
            "keystore certify --plugin p --json -- --verbose f",
            "slot list",
            "slot add --custodian tpm",
            "slot add --custodian hsm --label spare --make-key --approval f --json",
            "slot remove spare",
            "slot remove spare --yes --json",
            "slot verify",
            "slot verify s1 --retry-pin",
            "ivk status",
            "ivk rotate",
            "ivk rotate --compromised --rekey-dependents",
            "ivk retire 1",
            "ivk destroy 1",
            "ivk destroy 1 --yes --no-wait --json",
            "ivk schedule",
            "reencrypt status",
            "reencrypt start",
            "reencrypt pause",
            "reencrypt resume",
            "keystore list",
            "keystore health",
            "keystore migrate --from embedded --to main --layer L3 --tenant acme --watch",
            "keystore migrate --status",
            "keystore migrate --abort",
            "report rotation",
            "report rotation --tenant acme --limit 1000 --after service-1 --out f --html g --json",
            "ceremony manifest c1",
            "ceremony manifest c1 --out f --json",
            "report verify f",
            "report verify f --key 0000000000000000000000000000000000000000000000000000000000000000 --html g",
            "audit verify",
            "audit verify --dir d --key 0000000000000000000000000000000000000000000000000000000000000000",
            "cert issue --ca a --ca-key k --role service --tenant acme --name billing --out c --out-key k",
            "cert issue --ca a --ca-key k --role operator --name bob --csr r --out c --days 1",
            "cert issue --ca a --ca-key k --server kms.example,10.0.0.1 --out c --out-key k",
            "cert explain c",
            "config check",
            "config show",
            "openapi",
            "openapi --json",
            "completions bash",
            "man d",
            "kmip ping --server h:1 --ca a --cert c --key k",
            "kmip --protocol 1.0 query",
            "kmip create --name n --algorithm aes --length 256 --mask encrypt,decrypt --object-group g --activate",
            "kmip create",
            "kmip create --mask wrap-key,unwrap-key --extractable",
            "kmip activate L3-1",
            "kmip attributes L3-1 State Name",
            "kmip attributes L3-1 --add x-a=b --add Comment=c --modify Name[1]=n --delete Comment[0] --json",
            "kmip rekey L3-1",
            "kmip get L3-1 --wrapping-key L3-2 --out f",
            "kmip get L3-1 --wrapping-key L3-2 --algorithm aes-key-wrap-padding --encoding ttlv --json",
            "kmip locate",
            "kmip locate --name n --object-group g --max 1",
            "kmip encrypt L3-1 --mode cbc --in - --out f",
            "kmip encrypt L3-1 --in f --aad a --json",
            "kmip decrypt --in f --out -",
            "kmip decrypt L3-1 --in f --out g --server-name n",
            "kmip revoke L3-1 --reason key-compromise --message m --compromised-since 2026-01-31T12:00:00Z",
            "kmip destroy L3-1",
        ];
        for line in lines {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).err().map(|error| error.to_string()).unwrap_or_default());
        }
    }

    /// A command of a document with a value in the place of each name that stands for one.
    fn filled_in(command: &str) -> String {
        let value = |word: &str| match word {
            "SPKI_SHA256" => "0".repeat(64),
            "ID" | "SLOT" => "L3-1".to_owned(),
            "N" | "M" => "1".to_owned(),
            "HOST" => "https://h".to_owned(),
            "…" => "embedded".to_owned(),
            "NAME" | "GROUP" => "name".to_owned(),
            word => word.to_owned(),
        };
        command.split_whitespace().skip(1).map(value).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_command_of_the_runbook_is_understood() {
        let runbook = include_str!("../../../../docs/RUNBOOK.md");
        let (advice, messages) = runbook.split_once("\n## Does not start\n").expect("a part on what programs say");
        let commands = |text: &'static str| {
            let of_blocks = text.lines().filter(|line| line.starts_with("strongroom "));
            of_blocks.chain(text.split('`').filter(|code| code.starts_with("strongroom ") && !code.contains('\n')))
        };
        assert!(commands(advice).count() > 60, "{}", commands(advice).count());
        for command in commands(advice) {
            let failure = parse(&filled_in(command)).err().filter(clap::Error::use_stderr);
            assert!(failure.is_none(), "{command}: {}", failure.map(|error| error.to_string()).unwrap_or_default());
        }
        // What programs say names commands without their arguments.
        for command in commands(messages) {
            let failure = parse(&filled_in(command)).err().filter(|error| error.kind() != clap::error::ErrorKind::MissingRequiredArgument);
            assert!(failure.is_none(), "{command}: {}", failure.map(|error| error.to_string()).unwrap_or_default());
        }
    }

    #[test]
    fn the_runbook_has_every_exit_code() {
        let runbook = include_str!("../../../../docs/RUNBOOK.md");
        for line in EXIT_CODES.lines().skip(1) {
            let (code, _) = line.trim().split_once("  ").expect("a code and what it says");
            assert!(runbook.contains(&format!("\n| {code} | ")), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_a_usage_error() {
        let lines = [
            "",
            "unknown",
            "init --wizard --make-key",
            "init --pin-prompt --pin-file f",
            "unseal 4321",
            "unseal --pin 4321",
            "seal --socket s --admin https://h",
            "unseal --pin-prompt --pin-file f",
            "unseal --card /m.so --token t",
            "unseal --shard f --card /m.so",
            "unseal --shard f --token t",
            "unseal --shard-prompt --card /m.so --token t",
            "unseal --shard f --custodian hsm",
            "slot add",
            "slot add --custodian hsm --pin 4321",
            "slot remove",
            "tenant create",
            "tenant create Acme",
            "service create acme",
            "edge enrol west",
            "key list --layer L4",
            "key list --state broken",
            "key list --limit 0",
            "key list --limit 1001",
            "key list --tenant Acme",
            "key show",
            "key rotate",
            "key rollback",
            "service create acme billing --resource Ledger",
            "key revoke L3-1",
            "key retire",
            "key destroy",
            "key repair",
            "key revoke L3-1 --reason boredom",
            "report rotation --limit 0",
            "report rotation --limit 1001",
            "report rotation --tenant Acme",
            "report verify",
            "report verify f --key 00",
            "audit verify --key 00",
            "cert issue --ca a --ca-key k --out c --out-key k",
            "cert issue --ca a --ca-key k --role king --name n --out c --out-key k",
            "cert issue --ca a --ca-key k --role operator --out c --out-key k",
            "cert issue --ca a --ca-key k --role operator --name n --out c",
            "cert issue --ca a --ca-key k --role operator --name n --server h --out c --out-key k",
            "completions cobol",
            "kmip",
            "kmip ping --protocol 2.0",
            "kmip create --algorithm rot13",
            "kmip create --mask everything",
            "kmip create --length long",
            "kmip encrypt L3-1 --mode ecb --in f --out g",
            "kmip encrypt L3-1 --out g",
            "kmip locate --max 0",
            "kmip attributes L3-1 --add Comment",
            "kmip attributes L3-1 --add State=Active",
            "kmip attributes L3-1 --modify Name[x]=n",
            "kmip attributes L3-1 --delete Name[-1]",
            "kmip attributes L3-1 State --add x-a=b",
            "kmip rekey",
            "kmip get L3-1 --out f",
            "kmip get L3-1 --wrapping-key L3-2 --algorithm cbc --out f",
            "kmip revoke L3-1 --reason boredom",
            "kmip revoke L3-1 --compromised-since yesterday",
            "kmip destroy",
        ];
        for line in lines {
            let error = parse(line).err().unwrap_or_else(|| panic!("{line} was understood"));
            assert!(error.use_stderr() || line.is_empty() || line == "kmip", "{line}");
        }
    }

    #[test]
    fn a_usage_error_is_one_line_for_programs() {
        let failure = usage(&parse("tenant create Acme").err().expect("no capitals"));
        assert_eq!(failure.kind, Kind::Usage);
        assert!(!failure.message.contains('\n') && failure.message.starts_with("invalid value 'Acme'"), "{failure}");
    }

    #[test]
    fn manual_pages_and_completions_cover_every_command() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        clap_mangen::generate_to(Cli::command(), dir.path()).expect("the folder is ours");
        for page in [
            "strongroom.1",
            "strongroom-unseal.1",
            "strongroom-kmip-encrypt.1",
            "strongroom-kmip-get.1",
            "strongroom-cert-issue.1",
            "strongroom-key-revoke.1",
        ] {
            assert!(dir.path().join(page).exists(), "{page}");
        }
        let mut script = vec![];
        clap_complete::generate(clap_complete::Shell::Bash, &mut Cli::command(), "strongroom", &mut script);
        assert!(String::from_utf8_lossy(&script).contains("strongroom__subcmd__kmip__subcmd__locate"), "no such function in the script");
    }
}
