//! The first boot: the wizard at a terminal, on a host that has the package and nothing else.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, ensure};

use super::super::Lab;
use super::super::machine::{Disk, Machine, TPM};
use super::tpm::DEVICE;
use super::{PROVE, UNIT};

/// The state of the platform, approved by a release key.
const APPROVE: &str = "cd /root
openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out release.pem
tpm2_pcrread --quiet --output registers sha256:7
strongroom slot tpm-policy sign --key release.pem --pcrs sha256:7 --digest \"$(sha256sum registers | cut -d ' ' -f 1)\" --out first.approval";

/// An edge beside the core, with the files that docs/INSTALL.md has made.
const ENROL: &str = "cd /root/ca
strongroom edge enrol west --tenant acme
strongroom cert issue --ca ca.pem --ca-key ca.key --role edge --name west --out edge.pem --out-key edge.key
install -o root -g strongroom -m 0640 edge.pem edge.key ca.pem /etc/strongroom/tls/
install -d -o strongroom -g strongroom -m 0700 /var/lib/strongroom-edge
install -d /etc/systemd/system/strongroom-edge.service.d
printf '[Service]\\nReadWritePaths=/var/lib/strongroom-edge\\n' > /etc/systemd/system/strongroom-edge.service.d/data.conf
systemctl daemon-reload";

const RETURN: &str = "\r";
const DOWN: &str = "\x1b[B\r";

/// A person at a terminal with a program on it.
struct Terminal {
    script: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Terminal {
    fn start(machine: &Machine, line: &str) -> Result<Self> {
        let mut script = machine.inside();
        script.args(["TERM=xterm", "COLUMNS=200", "script", "--quiet", "--flush", "--return", "--command", line, "/dev/null"]);
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("nsenter cannot be started")?;
        let (keyboard, screen) = (script.stdin.take().context("it is piped")?, script.stdout.take().context("it is piped")?);
        Ok(Self { script, keyboard, screen, seen: String::new() })
    }

    /// Waits for each question and types the answer; what was typed before it would be lost.
    fn answer(&mut self, answers: &[(&str, &str)]) -> Result<()> {
        for (question, keys) in answers {
            let mut byte = [0];
            while !self.seen.contains(question) {
                let read = self.screen.read(&mut byte)?;
                ensure!(read == 1, "nobody has asked {question:?}: {}", self.seen);
                self.seen.push_str(&String::from_utf8_lossy(&byte));
            }
            self.seen.clear();
            self.keyboard.write_all(keys.as_bytes())?;
        }
        Ok(())
    }

    /// What else is on the screen; an error if the program does not end with 0.
    fn end(mut self) -> Result<String> {
        let mut rest = Vec::new();
        self.screen.read_to_end(&mut rest)?;
        let said = format!("{}{}", self.seen, String::from_utf8_lossy(&rest));
        let status = self.script.wait()?;
        ensure!(status.success(), "the wizard ended with {status}: {said}");
        Ok(said)
    }
}

pub(super) fn wizard(lab: &mut Lab) -> Result<String> {
    let disk = Disk::new(lab.folder.join("wizard"), vec![lab.root.clone()])?;
    let machine = lab.boot(&disk)?;
    let block = |words: &str| lab.install.iter().find(|block| block.contains(words)).context("docs/INSTALL.md has the commands");
    machine.sh(&format!("cd /root && cp $(ls /package/*.deb | sort -V | tail -n 1) .\n{}", block("apt-get install")?))?;
    machine.sh(block("cert issue")?)?;
    machine.sh(&DEVICE.replace("ADDRESS", TPM))?;
    machine.tpm(APPROVE)?;
    let mut terminal = Terminal::start(&machine, "strongroom init --wizard")?;
    let tcti = format!("{TPM}\r");
    terminal.answer(&[
        ("What the node is", RETURN),
        ("Folder for keys", RETURN),
        ("What seals the MasterKey", DOWN),
        ("The TPM", &tcti),
        ("What you call the device", RETURN),
        ("Its PIN is", RETURN),
        ("File with the first approval", "/root/first.approval\r"),
        ("Where KMIP is served", RETURN),
        ("Names and addresses", RETURN),
        ("The server's certificate", RETURN),
        ("Its private key", RETURN),
        ("CAs of the clients", RETURN),
        ("Their revocation lists", RETURN),
        ("Write the file", "y"),
    ])?;
    let said = terminal.end()?;
    ensure!(said.contains("as user strongroom"), "for whom the node is, is not said: {said}");
    machine.sh(&format!("test -z \"$(find /var/lib/strongroom ! -user strongroom)\"; systemctl enable --quiet --now {UNIT}"))?;
    machine.wait_for("strongroom status")?;
    // From here on as docs/INSTALL.md has it.
    let key = machine.sh(&format!("{}\nprintf %s \"$KEY\" > /root/ca/key", block("tenant create")?))?;
    ensure!(key.ends_with("hello"), "what was encrypted does not come back: {key}");
    machine.power_off()?;

    let machine = lab.boot(&disk)?;
    machine.wait_for("strongroom status")?;
    machine.sh(PROVE)?;
    edge(&machine)?;
    machine.power_off()?;
    Ok("a core under a TPM, which opens at the next boot by itself, and an edge of it; all files are the daemon's user's".to_owned())
}

/// An edge on the same host, so that its data folder and its port are others.
fn edge(machine: &Machine) -> Result<()> {
    machine.sh("sed -i 's,^listeners:,listeners:\\n  https:\\n    bind: 0.0.0.0:5697\\n    cert: /etc/strongroom/tls/server.pem\\n    key: /etc/strongroom/tls/server.key\\n    client_ca: /etc/strongroom/tls/client-ca.pem\\n    crl: /etc/strongroom/tls/client-ca.crl,' /etc/strongroom/core.yaml
        strongroom config check")?;
    machine.sh(&format!("systemctl restart {UNIT}"))?;
    machine.wait_for("strongroom status")?;
    machine.sh(ENROL)?;
    // There is a node on this host: its file is not taken for the new one's.
    let refused = machine.sh("! script --quiet --return --command 'strongroom init --wizard' /dev/null")?;
    ensure!(refused.contains("core.yaml is there already"), "a second wizard: {refused}");
    let mut terminal = Terminal::start(machine, "strongroom --config /etc/strongroom/edge.yaml init --wizard")?;
    terminal.answer(&[
        ("What the node is", DOWN),
        ("Folder for keys", "/var/lib/strongroom-edge\r"),
        ("Group of the edge", "west\r"),
        ("HTTPS listener of a core", "https://localhost:5697\r"),
        ("CA of the cores' certificates", "/etc/strongroom/tls/ca.pem\r"),
        ("The edge's certificate", "/etc/strongroom/tls/edge.pem\r"),
        ("Its private key", "/etc/strongroom/tls/edge.key\r"),
        ("Where KMIP is served", "127.0.0.1:5700\r"),
        ("Names and addresses", RETURN),
        ("The server's certificate", RETURN),
        ("Its private key", RETURN),
        ("CAs of the clients", RETURN),
        ("Their revocation lists", RETURN),
        ("Write the file", "y"),
    ])?;
    terminal.end()?;
    // The core has the port of the health listener.
    machine.sh("test -z \"$(find /var/lib/strongroom-edge ! -user strongroom)\"
        sed -i 's,^listeners:,listeners:\\n  health:\\n    bind: none,' /etc/strongroom/edge.yaml
        systemctl enable --quiet --now strongroom-edge.service")?;
    // Two nodes: neither is taken for the other.
    machine.wait_for("strongroom --config /etc/strongroom/edge.yaml status")?;
    let several = machine.sh("! strongroom status 2>&1")?;
    ensure!(several.contains("core.yaml and /etc/strongroom/edge.yaml"), "of two nodes one was taken: {several}");
    Ok(())
}
