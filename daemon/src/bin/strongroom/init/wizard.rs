//! `strongroom init --wizard`: asks what `init` needs, shows the configuration and the commands that it stands for, and does it once that is confirmed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{IsTerminal, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use daemon::config::{Config, Means, role_file};
use daemon::init::InitReport;
use daemon::layout::Layout;
use dialoguer::console::Term;
use dialoguer::{Confirm, Input, Select};
use keys::policy::NodeRole;
use tempfile::NamedTempFile;

use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::init::{self, InitArgs};
use crate::output::tell;

/// Readable by the daemon's user, whoever that is; there is no secret in it.
const CONFIG_MODE: u32 = 0o644;

/// Where the PIN of a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pin {
    /// A person types it at each unseal.
    Typed,
    /// In this file, which the unit loads as this credential.
    Credential { name: String, file: PathBuf },
    /// The TPM's slot has none.
    Without,
}

/// By what the node opens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Opens {
    Token {
        custodian: String,
        module: PathBuf,
        token: String,
        key: String,
        environment: BTreeMap<String, String>,
        writes: Option<PathBuf>,
        pin: Pin,
    },
    Tpm {
        custodian: String,
        tcti: String,
        pin: Pin,
        approval: PathBuf,
    },
    Core {
        group: String,
        upstream: String,
        ca: PathBuf,
        cert: PathBuf,
        key: PathBuf,
    },
}

/// The KMIP listener.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Door {
    bind: String,
    /// Names and addresses in its certificate.
    names: String,
    cert: PathBuf,
    key: PathBuf,
    client_ca: PathBuf,
    /// None: revoked clients are let in.
    crl: Option<PathBuf>,
}

/// Everything that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answers {
    data_dir: PathBuf,
    opens: Opens,
    door: Door,
}

/// Asks, shows, and makes the node.
pub(crate) fn run(context: &Context) -> Result<InitReport, Failure> {
    let found = context.config_path()?;
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        let instead = "write the configuration by hand (docs/config.example.yaml explains every key) and run `strongroom init`";
        return Err(Failure::usage(format!("--wizard asks on a terminal, and there is none: {instead}")));
    }
    if found.exists() {
        let path = found.display();
        let instead = format!("run `strongroom --config {path} init` with it, or name another file by --config");
        return Err(Failure::failed(format!("{path} is there already and is not overwritten: {instead}")));
    }
    let answers = Questions(Term::stderr())
        .ask()
        .map_err(|error| Failure::failed(format!("not everything was answered ({error}): nothing was written")))?;
    // Else the unit of the role would not find it.
    let path = &if context.has_named_config() { found } else { role_file(answers.role()) };
    let text = answers.yaml();
    let (written, mut config) = answers.check(path, &text)?;
    tell(&format!("\n{} will be:\n\n{text}\nThat, and what is done then, stands for:\n\n{}", path.display(), answers.commands(path)));
    let is_meant = Confirm::new().with_prompt("Write the file and make the node").default(false).interact_on(&Term::stderr());
    if !is_meant.unwrap_or(false) {
        return Err(Failure::failed("not confirmed: nothing was written"));
    }
    let unwritten = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}; nothing was written", path.display()));
    written.persist_noclobber(path).map_err(|error| unwritten(&error.error))?;
    init::run(&config_for_init(&mut config), answers.arguments()).map_err(|failure| Failure {
        message: format!("{}; {} is written: mend what is named, then run the commands above", failure.message, path.display()),
        ..failure
    })
}

/// The PIN is given here, as the unit's credential is not there yet.
fn config_for_init(config: &mut Config) -> Config {
    for custodian in &mut config.seal.custodians {
        if let Means::Pkcs11(pkcs11) = &mut custodian.means {
            pkcs11.pin = None;
        }
    }
    config.clone()
}

impl Answers {
    /// The file, in a place beside `path` until it is meant, and what it says.
    fn check(&self, path: &Path, text: &str) -> Result<(NamedTempFile, Config), Failure> {
        let at = |error: std::io::Error| Failure::failed(format!("{}: {error}; nothing was written", path.display()));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(at)?;
        let mut file = NamedTempFile::new_in(folder).map_err(at)?;
        file.write_all(text.as_bytes()).map_err(at)?;
        file.as_file().set_permissions(Permissions::from_mode(CONFIG_MODE)).map_err(at)?;
        file.as_file().sync_all().map_err(at)?;
        let config = Config::load(file.path(), Vec::new()).map_err(|error| Failure::of(Kind::Failed, &error))?;
        match Layout::new(&self.data_dir).identity() {
            Ok(identity) => {
                let dir = self.data_dir.display();
                Err(Failure::failed(format!("{dir} holds cluster {} already: use another data_dir, or keep this one", identity.cluster)))
            }
            Err(_) => Ok((file, config)),
        }
    }

    fn role(&self) -> NodeRole {
        if matches!(self.opens, Opens::Core { .. }) { NodeRole::Edge } else { NodeRole::Core }
    }

    fn node(&self) -> &'static str {
        match self.role() {
            NodeRole::Core => "core",
            NodeRole::Edge => "edge",
        }
    }

    fn yaml(&self) -> String {
        let mut text = String::from("# Made by `strongroom init --wizard`; docs/config.example.yaml explains every key.\n");
        let Door { bind, cert, key, client_ca, crl, .. } = &self.door;
        let mut line = |indent: usize, name: &str, value: &str| {
            let value = if value.is_empty() { String::new() } else { format!(" {}", quoted(value)) };
            writeln!(text, "{:indent$}{name}:{value}", "").expect("writing into a String does not fail");
        };
        line(0, "role", self.node());
        line(0, "data_dir", &shown(&self.data_dir));
        line(0, "listeners", "");
        line(2, "kmip", "");
        line(4, "bind", bind);
        line(4, "cert", &shown(cert));
        line(4, "key", &shown(key));
        line(4, "client_ca", &shown(client_ca));
        line(4, "crl", &crl.as_deref().map_or_else(|| "none".to_owned(), shown));
        match &self.opens {
            Opens::Token { custodian, module, token, key, environment, writes, pin } => {
                line(0, "seal", "");
                if let Some(place) = writes {
                    line(2, "writes", &shown(place));
                }
                line(2, "custodians", "");
                line(4, "- name", custodian);
                line(6, "pkcs11", "");
                line(8, "module", &shown(module));
                line(8, "token", token);
                line(8, "key", key);
                if let Pin::Credential { name, .. } = pin {
                    line(8, "pin", &format!("credential:{name}"));
                }
                if !environment.is_empty() {
                    line(8, "environment", "");
                }
                environment.iter().for_each(|(name, value)| line(10, name, value));
            }
            Opens::Tpm { custodian, tcti, pin, .. } => {
                line(0, "seal", "");
                line(2, "custodians", "");
                line(4, "- name", custodian);
                line(6, "tpm2", "");
                line(8, "tcti", tcti);
                if *pin == Pin::Typed {
                    line(8, "pin", "typed");
                }
            }
            Opens::Core { group, upstream, ca, cert, key } => {
                line(0, "edge", "");
                line(2, "group", group);
                line(2, "upstreams", "");
                text.push_str(&format!("    - {}\n", quoted(upstream)));
                for (name, file) in [("ca", ca), ("cert", cert), ("key", key)] {
                    text.push_str(&format!("  {name}: {}\n", quoted(&shown(file))));
                }
            }
        }
        text
    }

    /// What a person would have typed.
    fn commands(&self, path: &Path) -> String {
        let Door { names, cert, key, .. } = &self.door;
        let (mut lines, mut after) = (vec![format!("strongroom --config {} config check", shell(path))], Vec::new());
        if !cert.exists() {
            let (cert, key) = (shell(cert), shell(key));
            lines.push(format!("strongroom cert issue --ca CA --ca-key CA_KEY --server {names} --out {cert} --out-key {key}"));
        }
        let init = format!("strongroom --config {} init", shell(path));
        match &self.opens {
            Opens::Token { custodian, pin, .. } => {
                let init = format!("{init} --custodian {custodian} --make-key");
                lines.push(match pin {
                    Pin::Credential { name, file } => format!("systemd-run --pipe --wait -p LoadCredential={name}:{} {init}", shell(file)),
                    Pin::Typed | Pin::Without => format!("{init} --pin-prompt"),
                });
                if let Pin::Credential { name, file } = pin {
                    after.push(format!("systemd-creds encrypt --name={name} {} /etc/credstore.encrypted/{name}", shell(file)));
                    after.push(format!(
                        "# the unit has LoadCredentialEncrypted=hsm-pin; for another name a drop-in with LoadCredentialEncrypted={name}"
                    ));
                }
            }
            Opens::Tpm { custodian, tcti, pin, approval } => {
                let asked = if *pin == Pin::Typed { " --pin-prompt" } else { "" };
                lines.push(format!("{init} --custodian {custodian} --approval {}{asked}", shell(approval)));
                if tcti.starts_with("device:") {
                    after.push("# the unit needs the device: copy drop-ins/tpm.conf, as docs/SYSTEMD.md says".to_owned());
                }
            }
            Opens::Core { .. } => lines.push(init),
        }
        if path == role_file(self.role()) {
            after.push(format!("systemctl enable --now strongroom-{}.service", self.node()));
        }
        let written = |lines: &[String]| lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
        match &after[..] {
            [] => written(&lines),
            after => format!("{}\nThen, for the node to run:\n\n{}", written(&lines), written(after)),
        }
    }

    fn arguments(&self) -> InitArgs {
        let (custodian, pin, approval, make_key) = match &self.opens {
            Opens::Token { custodian, pin, .. } => (Some(custodian), Some(pin), None, true),
            Opens::Tpm { custodian, pin, approval, .. } => (Some(custodian), Some(pin), Some(approval.clone()), false),
            Opens::Core { .. } => (None, None, None, false),
        };
        InitArgs {
            wizard: false,
            custodian: custodian.map(|name| name.parse().expect("the configuration was checked")),
            make_key,
            pin_file: pin.and_then(|pin| if let Pin::Credential { file, .. } = pin { Some(file.clone()) } else { None }),
            pin_prompt: pin == Some(&Pin::Typed),
            approval,
            shards_dir: None,
            roster: Vec::new(),
            approvals: 0,
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A YAML text, which JSON's are too.
fn quoted(value: &str) -> String {
    serde_json::to_string(value).expect("a text always prints")
}

/// A word of a shell.
fn shell(path: &Path) -> String {
    let text = shown(path);
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    if is_plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Asks on a terminal.
struct Questions(Term);

impl Questions {
    fn ask(&self) -> dialoguer::Result<Answers> {
        let is_edge = self.choose(
            "What the node is",
            &["core: it holds the keys of tenants and services", "edge: it keeps objects next to the workload"],
        )? == 1;
        let data_dir = self.path("Folder for keys (wrapped), audit log and slots", Some("/var/lib/strongroom"), false)?;
        let opens = match is_edge {
            true => self.edge()?,
            false if self.choose("What seals the MasterKey", &["a PKCS#11 token (HSM)", "a TPM 2.0 of this machine"])? == 0 => {
                self.token()?
            }
            false => self.tpm()?,
        };
        Ok(Answers { data_dir, opens, door: self.door()? })
    }

    fn token(&self) -> dialoguer::Result<Opens> {
        let module = self.path("PKCS#11 module", None, true)?;
        let token = self.text("Label of the token", None)?;
        let key = self.text("Label of the seal key on it, made if it is not there", Some("strongroom-seal"))?;
        let environment = self.environment()?;
        let writes = self.writes()?;
        let custodian = self.text("What you call the device", Some("hsm-a"))?;
        let pin =
            match self.choose("Its PIN is", &["in a file, which the unit loads as a credential", "typed by a person at each unseal"])? {
                0 => {
                    let name = self.text("Name of the credential", Some("hsm-pin"))?;
                    Pin::Credential { name, file: self.path("File with the PIN", Some("/root/hsm-pin"), true)? }
                }
                _ => Pin::Typed,
            };
        Ok(Opens::Token { custodian, module, token, key, environment, writes, pin })
    }

    fn environment(&self) -> dialoguer::Result<BTreeMap<String, String>> {
        let wanted = |text: &String| match text.is_empty() || text.split_once('=').is_some_and(|(name, _)| !name.is_empty()) {
            true => Ok(()),
            false => Err("NAME=VALUE, or nothing"),
        };
        let mut environment = BTreeMap::new();
        loop {
            let asked = Input::<String>::new().with_prompt("Variable that the module needs, NAME=VALUE, or nothing").allow_empty(true);
            let given = asked.validate_with(wanted).interact_text_on(&self.0)?;
            let Some((name, value)) = given.split_once('=') else { return Ok(environment) };
            environment.insert(name.to_owned(), value.to_owned());
        }
    }

    fn writes(&self) -> dialoguer::Result<Option<PathBuf>> {
        let wanted = |text: &String| match text.is_empty() || Path::new(text).is_absolute() {
            true => Ok(()),
            false => Err("an absolute path, or nothing"),
        };
        let asked = Input::<String>::new().with_prompt("Folder that the module writes to (tokens, locks, logs), or nothing");
        let given = asked.allow_empty(true).validate_with(wanted).interact_text_on(&self.0)?;
        Ok((!given.is_empty()).then(|| given.into()))
    }

    fn tpm(&self) -> dialoguer::Result<Opens> {
        let tcti = self.text("The TPM", Some("device:/dev/tpmrm0"))?;
        let custodian = self.text("What you call the device", Some("tpm"))?;
        let pin = if self.choose("Its PIN is", &["none: the state of the platform is enough", "typed by a person at each unseal"])? == 0 {
            Pin::Without
        } else {
            Pin::Typed
        };
        let approval = self.path("File with the first approval (strongroom slot tpm-policy sign)", None, true)?;
        Ok(Opens::Tpm { custodian, tcti, pin, approval })
    }

    fn edge(&self) -> dialoguer::Result<Opens> {
        Ok(Opens::Core {
            group: self.text("Group of the edge, as it was enrolled at the core", None)?,
            upstream: self.text("HTTPS listener of a core", Some("https://core.example.com:5697"))?,
            ca: self.path("CA of the cores' certificates", Some("/etc/strongroom/ca.pem"), true)?,
            cert: self.path("The edge's certificate", Some("/etc/strongroom/edge.pem"), true)?,
            key: self.path("Its private key", Some("/etc/strongroom/edge.key"), true)?,
        })
    }

    fn door(&self) -> dialoguer::Result<Door> {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let bind = self.text("Where KMIP is served", Some("0.0.0.0:5696"))?;
        let names = self.text("Names and addresses in the server's certificate, with commas", host.as_deref().map(str::trim))?;
        let cert = self.path("The server's certificate", Some("/etc/strongroom/tls/server.pem"), false)?;
        let key = self.path("Its private key", Some("/etc/strongroom/tls/server.key"), false)?;
        let client_ca = self.path("CAs of the clients", Some("/etc/strongroom/tls/client-ca.pem"), false)?;
        let crl = self.text("Their revocation lists (none: revoked clients are let in)", Some("/etc/strongroom/tls/client-ca.crl"))?;
        Ok(Door { bind, names, cert, key, client_ca, crl: (crl != "none").then(|| PathBuf::from(crl)) })
    }

    fn choose(&self, question: &str, choices: &[&str]) -> dialoguer::Result<usize> {
        Select::new().with_prompt(question).items(choices).default(0).interact_on(&self.0)
    }

    fn text(&self, question: &str, default: Option<&str>) -> dialoguer::Result<String> {
        let asked = Input::<String>::new().with_prompt(question);
        match default {
            Some(default) => asked.default(default.to_owned()).interact_text_on(&self.0),
            None => asked.interact_text_on(&self.0),
        }
    }

    fn path(&self, question: &str, default: Option<&str>, must_be_there: bool) -> dialoguer::Result<PathBuf> {
        let wanted = |text: &String| match Path::new(text) {
            path if !path.is_absolute() => Err("an absolute path"),
            path if must_be_there && !path.exists() => Err("there is no such file"),
            _ => Ok(()),
        };
        let asked = Input::<String>::new().with_prompt(question).validate_with(wanted);
        let asked = if let Some(default) = default { asked.default(default.to_owned()) } else { asked };
        asked.interact_text_on(&self.0).map(PathBuf::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        Door {
            bind: "127.0.0.1:5696".to_owned(),
            names: "kms.example,10.0.0.1".to_owned(),
            cert: "/nonexistent/a b.pem".into(),
            key: "/nonexistent/server.key".into(),
            client_ca: "/nonexistent/ca.pem".into(),
            crl: None,
        }
    }

    fn token(pin: Pin) -> Answers {
        let environment = BTreeMap::from([("SOFTHSM2_CONF".to_owned(), "/etc/soft: hsm.conf".to_owned())]);
        let (custodian, token, key) = ("hsm-a".to_owned(), "my \"token\"".to_owned(), "k".to_owned());
        let writes = Some("/var/lib/my tokens".into());
        let opens = Opens::Token { custodian, module: "/m.so".into(), token, key, environment, writes, pin };
        Answers { data_dir: "/nonexistent/data".into(), opens, door: door() }
    }

    fn credential() -> Pin {
        Pin::Credential { name: "hsm-pin".to_owned(), file: "/root/hsm-pin".into() }
    }

    fn check(answers: &Answers) -> Config {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (_, config) = answers
            .check(&dir.path().join("config.yaml"), &answers.yaml())
            .unwrap_or_else(|failure| panic!("{failure}: {}", answers.yaml()));
        assert!(!dir.path().join("config.yaml").exists(), "it was written before anybody confirmed it");
        config
    }

    #[test]
    fn what_is_written_is_a_configuration_that_says_what_was_answered() {
        let config = check(&token(credential()));
        let Means::Pkcs11(pkcs11) = &config.seal.custodians[0].means else { panic!("{config:?}") };
        assert_eq!(pkcs11.environment["SOFTHSM2_CONF"], "/etc/soft: hsm.conf");
        assert_eq!(config.seal.writes, [Path::new("/var/lib/my tokens")]);
        assert!(pkcs11.pin.is_some() && config.listeners.kmip.is_some_and(|kmip| kmip.crl.is_none()));
        let typed = check(&token(Pin::Typed));
        assert!(typed.seal.custodians[0].needs_person());
        let tpm = |pin| Opens::Tpm { custodian: "tpm".to_owned(), tcti: "device:/dev/tpmrm0".to_owned(), pin, approval: "/a".into() };
        assert!(check(&Answers { opens: tpm(Pin::Typed), ..token(Pin::Typed) }).seal.custodians[0].needs_person());
        assert!(!check(&Answers { opens: tpm(Pin::Without), ..token(Pin::Typed) }).seal.custodians[0].needs_person());
        let file = |name: &str| PathBuf::from(format!("/etc/{name}"));
        let upstream = "https://core.example.com:5697".to_owned();
        let edge = Opens::Core { group: "west".to_owned(), upstream, ca: file("ca"), cert: file("cert"), key: file("key") };
        assert!(check(&Answers { opens: edge, ..token(Pin::Typed) }).edge.is_some_and(|edge| edge.group.as_str() == "west"));
    }

    #[test]
    fn the_commands_are_those_that_a_person_would_type() {
        let said = token(credential()).commands(Path::new("/etc/c.yaml"));
        for line in [
            "  strongroom --config /etc/c.yaml config check\n",
            "  strongroom cert issue --ca CA --ca-key CA_KEY --server kms.example,10.0.0.1 --out '/nonexistent/a b.pem' --out-key /nonexistent/server.key\n",
            "  systemd-run --pipe --wait -p LoadCredential=hsm-pin:/root/hsm-pin strongroom --config /etc/c.yaml init --custodian hsm-a --make-key\n",
            "  systemd-creds encrypt --name=hsm-pin /root/hsm-pin /etc/credstore.encrypted/hsm-pin\n",
        ] {
            assert!(said.contains(line), "{line} is not in\n{said}");
        }
        assert!(!said.contains("systemctl"), "no unit reads that file: {said}");
        let found = token(credential()).commands(&role_file(NodeRole::Core));
        assert!(found.ends_with("  systemctl enable --now strongroom-core.service\n"), "{found}");
        let typed = token(Pin::Typed).commands(Path::new("/etc/c.yaml"));
        assert!(typed.contains("init --custodian hsm-a --make-key --pin-prompt\n"), "{typed}");
    }

    #[test]
    fn an_answer_that_the_configuration_refuses_writes_nothing() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut answers = token(Pin::Typed);
        answers.door.bind = "nowhere".to_owned();
        let failure = answers.check(&dir.path().join("config.yaml"), &answers.yaml()).expect_err("no address");
        assert!(failure.message.contains("listeners.kmip.bind"), "{failure}");
        assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 0);
    }
}
