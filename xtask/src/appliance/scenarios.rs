//! What happens to machines with the package, and what has to be true afterwards.

mod data;
mod first;
mod reload;
mod strain;
mod tpm;
mod versions;

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Lab;
use super::machine::{Disk, Machine};

/// One story.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// Makes what all others begin with.
    pub(super) is_first: bool,
    /// Plays it; what came of it, in a line.
    pub(super) play: fn(&mut Lab) -> Result<String>,
}

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { is_first: true, ..story("install", "docs/INSTALL.md, word by word, on a Debian that has nothing", install) },
    story("wizard", "`init --wizard` at a terminal makes a core under a TPM, and an edge", first::wizard),
    story("boot", "the node opens by itself at each boot, and its keys are there", boot),
    story("kill", "the daemon is killed, and systemd starts it again", kill),
    story("power-cut", "the machine loses its power while keys are made", power_cut),
    story("wrong-pin", "the credential has a wrong PIN at three boots: the token is asked once", wrong_pin),
    story("no-credential", "the credential is missing at one start", no_credential),
    story("ownership", "files of the node belong to somebody else", ownership),
    story("upgrade", "an older package, the newer one, the older one again, and none", versions::upgrade),
    story("mixed", "core and edge are of two releases, either way round", versions::mixed),
    story("sockets", "systemd holds the port: clients wait for the daemon, and it is started by them", sockets),
    story("watchdog", "the daemon stops without ending", watchdog),
    story("expired", "the server's certificate has expired at a start", expired),
    story("read-only", "/var takes no write", read_only),
    story("reload", "certificate and CRL are replaced under 10,000 requests", reload::reload),
    story("past", "the clock says 1970", past),
    story("tpm", "the PIN is sealed to a TPM and to what the firmware measured", tpm::tpm),
    story("newer", "files of the node have a format that a later release wrote", data::newer),
    story("descriptors", "the daemon may open few files, and many clients are idle", strain::descriptors),
    story("frozen", "the daemon stands still for a while that the watchdog allows", strain::frozen),
    story("oom", "the kernel kills the daemon for want of memory, under load", strain::oom),
];

const fn story(name: &'static str, what: &'static str, play: fn(&mut Lab) -> Result<String>) -> Scenario {
    Scenario { name, what, is_first: false, play }
}

const UNIT: &str = "strongroom-core.service";

/// Lines and columns of a screen.
const SCREEN: (usize, usize) = (24, 80);

/// What was encrypted at the installation decrypts.
const PROVE: &str = "
cd /root/ca
export KMIP_CORE=localhost:5696 CA_CERT=ca.pem CLIENT_CERT=client.pem CLIENT_KEY=client.key
strongroom kmip decrypt \"$(cat key)\" --in hello.enc --out - | grep -qx hello";

impl Lab {
    /// A disk as the first scenario has left it.
    fn disk(&self, name: &str) -> Result<Disk> {
        Disk::new(self.folder.join(name), self.installed.clone())
    }

    fn boot(&self, disk: &Disk) -> Result<Machine> {
        Machine::boot(disk, &self.packages)
    }

    /// Keeps what a person would have seen, for whoever writes the texts: `first-boot.txt`.
    ///
    /// - `is_first`: nothing that was kept before stays.
    fn show(&self, title: &str, seen: &str, is_first: bool) -> Result<()> {
        let path = self.folder.join("first-boot.txt");
        let before = if is_first { String::new() } else { fs::read_to_string(&path).unwrap_or_default() };
        fs::write(&path, format!("{before}== {title}\n\n{seen}\n\n")).with_context(|| format!("{} cannot be written", path.display()))
    }
}

impl Machine {
    /// The node serves, and has its keys.
    fn prove(&self) -> Result<()> {
        self.wait_for("strongroom status")?;
        self.sh(PROVE).map(drop)
    }

    /// Runs commands, and returns what a terminal would have: each line that is run, and what it prints.
    fn session(&self, commands: &str) -> Result<String> {
        self.sh(&format!("cat > /root/session <<'SESSION'\n{commands}\nSESSION\nsh -ev /root/session 2>&1; rm /root/session"))
    }

    /// How often the daemon was started anew.
    fn restarts(&self) -> Result<u32> {
        self.sh(&format!("systemctl show --value --property=NRestarts {UNIT}"))?.parse().context("systemd counts restarts")
    }

    /// A setting of the unit's that is only for this scenario; it holds from the next start on.
    fn set(&self, lines: &str) -> Result<()> {
        self.sh(&format!("printf '[Service]\\n{lines}\\n' > /etc/systemd/system/{UNIT}.d/scenario.conf && systemctl daemon-reload"))
            .map(drop)
    }

    fn restart(&self) -> Result<String> {
        self.sh(&format!("systemctl restart {UNIT}"))
    }

    /// What the daemon has said since its last start that has these words; an error if it has not.
    fn said(&self, words: &str) -> Result<String> {
        self.wait_for(&format!("journalctl --no-pager --output=cat --unit={UNIT} | grep -q -e '{words}'"))?;
        self.sh(&format!("journalctl --no-pager --output=cat --unit={UNIT} | grep -e '{words}' | tail -n 1"))
    }
}

fn install(lab: &mut Lab) -> Result<String> {
    let disk = Disk::new(lab.folder.join("install"), vec![lab.root.clone()])?;
    let machine = lab.boot(&disk)?;
    let version = machine.sh("cd /root && cp $(ls /package/*.deb | sort -V | tail -n 1) . && ls | sed 's/.*_\\(.*\\)_.*/\\1/'")?;
    let (package, rest) = lab.install.split_first().context("docs/INSTALL.md has commands")?;
    machine.sh(&format!("cd /root\n{package}"))?;
    for unit in ["strongroom-core.service", "strongroom-edge.service", "strongroom-core-kmip.socket"] {
        let state = machine.sh(&format!("systemctl is-enabled {unit} || true; systemctl is-active {unit} || true"))?;
        ensure!(state == "disabled\ninactive", "{unit} after the installation: {state}");
    }
    for file in [
        "man/man1/strongroom-slot-add.1.gz",
        "man/man8/strongroomd.8.gz",
        "bash-completion/completions/strongroom",
        "zsh/vendor-completions/_strongroom",
        "fish/vendor_completions.d/strongroom.fish",
        "doc/strongroom/config.example.yaml",
        "doc/strongroom/sbom/strongroom.cdx.json",
    ] {
        machine.sh(&format!("test -s /usr/share/{file}"))?;
    }
    let early = machine
        .sh("! strongroom status 2>&1; systemctl start strongroom-core.service; ! systemctl is-active --quiet strongroom-core.service")?;
    ensure!(early.contains("/etc/strongroom/config.yaml"), "without a configuration: {early}");
    // One shell, as a person's: later blocks use what earlier ones have set.
    let printed = machine.session(&format!("{}\nprintf %s \"$KEY\" > /root/ca/key", rest.join("\n")))?;
    ensure!(printed.lines().rev().any(|line| line == "hello"), "what was encrypted does not come back: {printed}");
    // At a terminal, as it is put there at the first login.
    let screen = |command: &str| {
        machine
            .sh(&format!("script --quiet --return --command 'stty rows {} cols {}; {command}' /dev/null | tr -d '\\r'", SCREEN.0, SCREEN.1))
    };
    let (status, doctor) = (screen("strongroom status")?, screen("strongroom doctor")?);
    let (lines, columns) = (status.lines().count(), status.lines().map(|line| line.chars().count()).max());
    ensure!(lines < SCREEN.0 && columns <= Some(SCREEN.1), "the status of a new node does not fit a screen: {status}");
    ensure!(status.contains("only where the configuration says"), "Landlock does not hold the daemon: {status}");
    ensure!(!doctor.contains("FAIL"), "a host that was installed by the book: {doctor}");
    lab.show("docs/INSTALL.md, from step 2 on", &format!("{printed}\n\n{status}\n\n{doctor}"), true)?;
    machine.power_off()?;
    lab.installed = disk.into_layers();
    Ok(format!("{version}; to the first key by {} blocks of commands", lab.install.len()))
}

fn boot(lab: &mut Lab) -> Result<String> {
    let disk = lab.disk("boot")?;
    let mut seconds = Vec::new();
    for _ in 0..2 {
        let started = Instant::now();
        let machine = lab.boot(&disk)?;
        machine.wait_for("strongroom status")?;
        seconds.push(format!("{:.1} s", started.elapsed().as_secs_f64()));
        machine.prove()?;
        machine.power_off()?;
    }
    Ok(format!("from power to an open node: {}", seconds.join(", ")))
}

fn kill(lab: &mut Lab) -> Result<String> {
    let machine = lab.boot(&lab.disk("kill")?)?;
    machine.prove()?;
    machine.sh(&format!("systemctl kill --signal=KILL {UNIT}"))?;
    let started = Instant::now();
    machine.wait_for(&format!("test $(systemctl show --value --property=NRestarts {UNIT}) = 1"))?;
    machine.prove()?;
    Ok(format!("open again after {:.1} s", started.elapsed().as_secs_f64()))
}

fn power_cut(lab: &mut Lab) -> Result<String> {
    const ROUNDS: u32 = 3;
    let disk = lab.disk("power-cut")?;
    let mut made = 0;
    for round in 0..ROUNDS {
        let machine = lab.boot(&disk)?;
        machine.prove()?;
        // Each service has a key from the start.
        let load =
            "for i in $(seq 100000); do strongroom service create acme cut-ROUND-$i > /dev/null && echo cut-ROUND-$i >> /root/made; done";
        machine.sh(&format!("touch /root/made; systemd-run --quiet sh -c '{}'", load.replace("ROUND", &round.to_string())))?;
        machine.wait_for(&format!("test $(wc -l < /root/made) -ge {}", made + 10))?;
        machine.cut_power();
        let machine = lab.boot(&disk)?;
        machine.prove()?;
        let missing = machine.sh("strongroom --json service list acme | grep -o '\"cut-[0-9-]*\"' | tr -d '\"' | sort -u > /root/there
            sort /root/made | comm -23 - /root/there | wc -l")?;
        ensure!(missing == "0", "{missing} services that were acknowledged are gone");
        made = machine.sh("wc -l < /root/made")?.parse().context("wc counts")?;
        machine.sh("strongroom audit verify")?;
        machine.power_off()?;
    }
    Ok(format!("{ROUNDS} times; {made} acknowledged services, none missing (processes are killed, the host keeps what they wrote)"))
}

fn wrong_pin(lab: &mut Lab) -> Result<String> {
    let disk = lab.disk("wrong-pin")?;
    let machine = lab.boot(&disk)?;
    machine.prove()?;
    // The module that stands between counts the logins.
    machine.sh(
        "sed -i -e 's,module: .*,module: /usr/lib/x86_64-linux-gnu/pkcs11-spy.so,' -e 's,^\\( *\\)SOFTHSM2_CONF: .*,&\\n\\1PKCS11SPY: /usr/lib/softhsm/libsofthsm2.so\\n\\1PKCS11SPY_OUTPUT: /var/lib/strongroom-tokens/spy,' /etc/strongroom/core.yaml
        strongroom config check
        printf wrong | systemd-creds encrypt --name=hsm-pin - /etc/credstore.encrypted/hsm-pin
        rm -f /var/lib/strongroom-tokens/spy",
    )?;
    machine.power_off()?;
    for boot in 1..=3 {
        let machine = lab.boot(&disk)?;
        let state =
            machine.sh("strongroom status 2>&1; echo \"exit $?\"").or_else(|_| machine.sh("strongroom status 2>&1 || echo \"exit $?\""))?;
        ensure!(state.contains("exit 3") && state.contains("sealed"), "after boot {boot}: {state}");
        machine.power_off()?;
    }
    let machine = lab.boot(&disk)?;
    let seen = machine.session("strongroom status || true\nstrongroom doctor || true")?;
    ensure!(seen.contains("do what is named, then run `strongroom unseal`"), "after a wrong PIN: {seen}");
    lab.show("a wrong PIN", &seen, false)?;
    let logins = machine.sh("grep -c ': C_Login' /var/lib/strongroom-tokens/spy || true")?;
    ensure!(logins == "1", "{logins} logins with a wrong PIN in four boots");
    machine.sh("systemd-creds encrypt --name=hsm-pin /root/hsm-pin /etc/credstore.encrypted/hsm-pin")?;
    machine.restart()?;
    // As the status says.
    machine.sh("strongroom slot verify --retry-pin && strongroom unseal")?;
    machine.prove()?;
    Ok("1 login in 4 boots; with the right PIN `strongroom slot verify --retry-pin` and `unseal` open it".to_owned())
}

fn no_credential(lab: &mut Lab) -> Result<String> {
    let machine = lab.boot(&lab.disk("no-credential")?)?;
    machine.sh("mv /etc/credstore.encrypted/hsm-pin /root/")?;
    machine.sh(&format!("systemctl restart {UNIT} || true"))?;
    let said = machine.said("hsm-pin")?;
    ensure!(machine.restarts()? == 0, "a credential that is missing is tried again and again");
    let seen =
        machine.session("strongroom status || true\nstrongroom doctor || true\nsystemctl --no-pager status strongroom-core || true")?;
    lab.show("no credential", &seen, false)?;
    machine.sh("mv /root/hsm-pin /etc/credstore.encrypted/ 2>/dev/null || true; ls /etc/credstore.encrypted/hsm-pin")?;
    machine.restart()?;
    machine.prove()?;
    Ok(said)
}

fn ownership(lab: &mut Lab) -> Result<String> {
    let machine = lab.boot(&lab.disk("ownership")?)?;
    machine.prove()?;
    // As after a restore by root: systemd gives the folder that the unit names back to its user.
    machine.sh(&format!("systemctl stop {UNIT}; chown --recursive root:root /var/lib/strongroom; systemctl start {UNIT}"))?;
    machine.prove()?;
    machine.sh(&format!("systemctl stop {UNIT}; chown root:root /var/lib/strongroom/store.redb; systemctl start {UNIT} || true"))?;
    let said = machine.said("keystore unavailable.*denied")?;
    machine.sh(&format!(
        "systemctl stop {UNIT}; chown strongroom: /var/lib/strongroom/store.redb; systemctl reset-failed {UNIT}; systemctl start {UNIT}"
    ))?;
    machine.prove()?;
    Ok(said)
}

fn sockets(lab: &mut Lab) -> Result<String> {
    let machine = lab.boot(&lab.disk("sockets")?)?;
    machine.prove()?;
    machine.sh(&format!("systemctl stop {UNIT}; systemctl start strongroom-core-kmip.socket; ! systemctl is-active {UNIT}"))?;
    // Who comes while the daemon opens may be told that it is sealed.
    machine.wait_for(PROVE)?;
    let load = "cd /root/ca; export KMIP_CORE=localhost:5696 CA_CERT=ca.pem CLIENT_CERT=client.pem CLIENT_KEY=client.key
        while true; do strongroom kmip query > /dev/null && echo good >> /root/load || echo bad >> /root/load; done";
    machine.sh(&format!("touch /root/load; systemd-run --quiet --unit=load sh -c '{load}'"))?;
    for _ in 0..3 {
        machine.sh("grep -c good /root/load > /root/before || true")?;
        machine.restart()?;
        machine.wait_for("test $(grep -c good /root/load) -ge $(($(cat /root/before) + 5))")?;
    }
    machine.sh("systemctl stop load")?;
    let refused = machine.sh("journalctl --no-pager --output=cat --unit=load | grep -c 'no KMIP server answers' || true")?;
    ensure!(refused == "0", "{refused} connections were refused while the daemon restarted");
    let bad = machine.sh("grep -c bad /root/load || true")?;
    Ok(format!("started by its first client; in 3 restarts under load no connection was refused, {bad} requests were told to come again"))
}

fn watchdog(lab: &mut Lab) -> Result<String> {
    let machine = lab.boot(&lab.disk("watchdog")?)?;
    machine.set("WatchdogSec=3s")?;
    machine.restart()?;
    machine.prove()?;
    // Three times as long as it may be silent: a daemon that says nothing of itself would be gone.
    machine.sh("timeout 9 tail -f /dev/null || true")?;
    ensure!(machine.restarts()? == 0, "the watchdog bites a healthy daemon");
    let started = Instant::now();
    machine.sh(&format!("systemctl kill --kill-whom=main --signal=STOP {UNIT}"))?;
    machine.wait_for(&format!("test $(systemctl show --value --property=NRestarts {UNIT}) = 1"))?;
    machine.prove()?;
    Ok(format!("found and open again after {:.1} s of WatchdogSec=3s", started.elapsed().as_secs_f64()))
}

fn expired(lab: &mut Lab) -> Result<String> {
    let machine = lab.boot(&lab.disk("expired")?)?;
    machine.sh(
        "cd /root/ca && strongroom cert issue --ca ca.pem --ca-key ca.key --server localhost --not-before 2020-01-01T00:00:00Z --days 30 --out old.pem --out-key old.key
        install -o root -g strongroom -m 0640 old.pem /etc/strongroom/tls/server.pem; install -o root -g strongroom -m 0640 old.key /etc/strongroom/tls/server.key",
    )?;
    machine.restart()?;
    // Sealed or not, the node is there for its operator; only its clients are not let in.
    machine.wait_for("strongroom status")?;
    let told = machine.sh("strongroom status | grep 'server.pem has expired'")?;
    machine.sh("strongroom service create acme meanwhile")?;
    lab.show("an expired certificate", &machine.session("strongroom status || true\nstrongroom doctor || true")?, false)?;
    ensure!(machine.sh(PROVE).is_err(), "a client is served with an expired certificate");
    machine.sh(
        "cd /root/ca && install -o root -g strongroom -m 0640 server.key /etc/strongroom/tls/server.key; install -o root -g strongroom -m 0640 server.pem /etc/strongroom/tls/server.pem",
    )?;
    // Neither a restart nor a signal.
    machine.wait_for(PROVE)?;
    machine.sh("! strongroom status | grep expired")?;
    ensure!(machine.restarts()? == 0, "the daemon was started anew");
    Ok(told)
}

fn read_only(lab: &mut Lab) -> Result<String> {
    let machine = lab.boot(&lab.disk("read-only")?)?;
    machine.prove()?;
    machine.sh(&format!("systemctl stop {UNIT}; mount --bind /var /var; mount -o remount,ro,bind /var; systemctl start {UNIT} || true"))?;
    let said = machine.said("ERROR.*Read-only")?;
    machine.sh(&format!("mount -o remount,rw,bind /var; systemctl reset-failed {UNIT}; systemctl start {UNIT}"))?;
    machine.prove()?;
    Ok(said)
}

fn past(lab: &mut Lab) -> Result<String> {
    let machine = lab.boot(&lab.disk("past")?)?;
    machine.prove()?;
    let library = machine.sh("ls /usr/lib/*/faketime/libfaketimeMT.so.1")?;
    machine.set(&format!("Environment=LD_PRELOAD={library} \"FAKETIME=@1970-01-02 00:00:00\""))?;
    machine.sh(&format!("systemctl restart {UNIT} || true"))?;
    machine.wait_for("strongroom status")?;
    let line = machine.said("server.pem is valid from")?;
    ensure!(machine.sh(PROVE).is_err() && machine.restarts()? == 0, "a client is served with a certificate that is not valid yet");
    machine.sh(&format!("rm /etc/systemd/system/{UNIT}.d/scenario.conf; systemctl daemon-reload; systemctl restart {UNIT}"))?;
    machine.prove()?;
    Ok(line)
}
