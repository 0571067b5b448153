//! A daemon that has too little of something, or is held up, and has to come back by itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::super::Lab;
use super::super::machine::Machine;
use super::{PROVE, UNIT};

const PING: &str = "cd /root/ca
export KMIP_CORE=localhost:5696 CA_CERT=ca.pem CLIENT_CERT=client.pem CLIENT_KEY=client.key
timeout 30 strongroom kmip ping";

pub(super) fn descriptors(lab: &mut Lab) -> Result<String> {
    const LIMIT: u32 = 128;
    const IDLE: u32 = 200;
    let machine = lab.boot(&lab.disk("descriptors")?)?;
    machine.set(&format!("LimitNOFILE={LIMIT}"))?;
    machine.restart()?;
    machine.prove()?;
    let process = machine.sh(&format!("systemctl show --value --property=MainPID {UNIT}"))?;
    let open = || machine.sh(&format!("ls /proc/{process}/fd | wc -l")).and_then(|count| count.parse::<u32>().context("wc counts"));
    let at_rest = open()?;

    // Clients that have come in and say nothing. The pipe, which their shell keeps open too, gives them nothing to say.
    let idle = format!(
        "cd /root/ca; mkfifo idle; exec 3<>idle; for i in $(seq {IDLE}); do openssl s_client -quiet -connect localhost:5696 -CAfile ca.pem -cert client.pem -key client.key <&3 >/dev/null 2>&1 & done; echo started; wait"
    );
    machine.sh(&format!("systemd-run --quiet --unit=idle sh -c '{}'", idle.replace('$', "$$")))?;
    let cut = format!("journalctl --no-pager --output=cat --unit={UNIT} | grep -c 'connection cut: places are short'");
    machine.wait_for(&format!("test $({cut}) -gt 0"))?;
    let busy = open()?;
    ensure!(busy > at_rest + 10 && busy <= LIMIT, "{busy} descriptors of {LIMIT} are open, {at_rest} before");
    machine.sh(PING).context("idle clients keep others out")?;
    machine.sh("strongroom status").context("idle clients keep the operator out")?;
    let cut = machine.sh(&cut)?;
    machine.sh("systemctl stop idle")?;
    machine.sh(PROVE)?;

    // Connections that never say who they are.
    let silent = format!(
        "for i in $(seq {IDLE}); do eval \"exec $((i + 10))<>/dev/tcp/127.0.0.1/5696\"; done; echo held; exec tail --follow /dev/null"
    );
    machine.sh(&format!("systemd-run --quiet --unit=silent bash -c '{}'", silent.replace('$', "$$")))?;
    machine.wait_for("journalctl --no-pager --output=cat --unit=silent | grep -qx held")?;
    machine.sh("strongroom status").context("silent connections keep the operator out")?;
    machine.sh("systemctl stop silent")?;
    machine.wait_for(PROVE)?;
    machine.wait_for(&format!("test $(ls /proc/{process}/fd | wc -l) -le {}", at_rest + 2))?;
    let now = machine.sh(&format!("systemctl show --value --property=MainPID {UNIT}"))?;
    ensure!(process == now && machine.restarts()? == 0, "the daemon was started anew");
    Ok(format!(
        "{IDLE} idle clients with LimitNOFILE={LIMIT}: {busy} descriptors open, {cut} idle clients cut for others; no restart, all closed again"
    ))
}

pub(super) fn frozen(lab: &mut Lab) -> Result<String> {
    const ROUNDS: u32 = 3;
    let machine = lab.boot(&lab.disk("frozen")?)?;
    machine.prove()?;
    let load = "for i in $$(seq 100000); do strongroom service create acme frozen-$$i > /dev/null && echo frozen-$$i >> /root/made || echo $$i >> /root/failed; done";
    machine.sh(&format!("touch /root/made /root/failed; systemd-run --quiet --unit=load sh -c '{load}'"))?;
    machine.wait_for("test $(wc -l < /root/made) -ge 5")?;
    for _ in 0..ROUNDS {
        // The one that is on its way may have been answered before.
        let still = machine.sh(&format!(
            "systemctl kill --kill-whom=main --signal=STOP {UNIT}; wc -l < /root/made > /root/before
            timeout 4 tail --follow /dev/null || true; echo $(($(wc -l < /root/made) - $(cat /root/before)))
            systemctl kill --kill-whom=main --signal=CONT {UNIT}"
        ))?;
        ensure!(still == "0" || still == "1", "{still} services were made while the daemon stood still");
        machine.wait_for("test $(wc -l < /root/made) -ge $(($(cat /root/before) + 5))")?;
    }
    machine.sh("systemctl stop load")?;
    machine.prove()?;
    let failed = machine.sh("wc -l < /root/failed")?;
    ensure!(failed == "0", "{failed} requests failed");
    let missing = machine.sh("strongroom --json service list acme | grep -o '\"frozen-[0-9]*\"' | tr -d '\"' | sort -u > /root/there
        sort /root/made | comm -23 - /root/there | wc -l")?;
    ensure!(missing == "0", "{missing} services that were acknowledged are gone");
    ensure!(machine.restarts()? == 0, "the daemon was started anew");
    machine.sh(&format!("systemctl stop {UNIT}; runuser -u strongroom -- strongroom audit verify"))?;
    let made = machine.sh("wc -l < /root/made")?;
    Ok(format!("{ROUNDS} times 4 s; {made} acknowledged services, none missing, none refused, no restart"))
}

/// The host's control groups for memory, of version 1: a process can be limited there without its guest's knowledge.
const MEMORY: &str = "/sys/fs/cgroup/memory";

/// A group of which all memory that is taken from now on is bounded, below the one of this program.
struct Bounded {
    folder: PathBuf,
}

impl Bounded {
    fn new(bytes: u32) -> Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").context("/proc is there")?;
        let own = own.lines().find_map(|line| line.split_once(":memory:")).context("this program is in a group for memory")?.1;
        let folder = Path::new(MEMORY).join(own.trim_start_matches('/')).join(format!("strongroom-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let this = Self { folder };
        this.write("memory.limit_in_bytes", &bytes.to_string())?;
        Ok(this)
    }

    fn take(&self, process: u32) -> Result<()> {
        self.write("cgroup.procs", &process.to_string())
    }

    /// How often the kernel has killed for want of memory here.
    fn kills(&self) -> Result<u32> {
        let text = fs::read_to_string(self.folder.join("memory.oom_control")).context("the group is there")?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.parse().ok()).context("the kernel counts")
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.folder.join(file), text).with_context(|| format!("{file} of {} takes no {text}", self.folder.display()))
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        // It is empty when the machine is gone.
        let _left = fs::remove_dir(&self.folder);
    }
}

pub(super) fn oom(lab: &mut Lab) -> Result<String> {
    const ROUNDS: u32 = 3;
    const MORE: u32 = 4 << 20;
    const CLIENTS: u32 = 200;
    if !Path::new(MEMORY).join("memory.limit_in_bytes").exists() {
        return Ok("NOT PLAYED: the host has no control groups of version 1 for memory".to_owned());
    }
    let bounded = Bounded::new(MORE)?;
    let machine = lab.boot(&lab.disk("oom")?)?;
    machine.prove()?;
    let made = "for i in $$(seq 100000); do strongroom service create acme oom-$$i > /dev/null && echo oom-$$i >> /root/made; done";
    machine.sh(&format!("touch /root/made; systemd-run --quiet --unit=load sh -c '{made}'"))?;
    for round in 1..=ROUNDS {
        machine.wait_for(&format!("test $(wc -l < /root/made) -ge {}", round * 10))?;
        bounded.take(machine.host_process(&main_process(&machine)?)?)?;
        // Each connection takes memory, and the next comes when the last was told to go.
        let client = format!(
            "cd /root/ca; mkfifo idle-{round}; exec 3<>idle-{round}; for i in $$(seq {CLIENTS}); do openssl s_client -quiet -connect localhost:5696 -CAfile ca.pem -cert client.pem -key client.key <&3 >/dev/null 2>&1 & done; wait"
        );
        machine.sh(&format!("systemd-run --quiet --unit=hungry-{round} sh -c '{client}'"))?;
        machine.wait_for(&format!("test $(systemctl show --value --property=NRestarts {UNIT}) = {round}"))?;
        ensure!(bounded.kills()? == round, "the daemon was not killed for want of memory");
        // Most of its clients have gone with the daemon, and perhaps all.
        machine.sh(&format!("systemctl stop hungry-{round} || true"))?;
        machine.prove()?;
    }
    machine.sh("systemctl stop load")?;
    let told = machine.said("Main process exited, code=killed, status=9/KILL")?;
    let missing = machine.sh("strongroom --json service list acme | grep -o '\"oom-[0-9]*\"' | tr -d '\"' | sort -u > /root/there
        sort /root/made | comm -23 - /root/there | wc -l")?;
    ensure!(missing == "0", "{missing} services that were acknowledged are gone");
    machine.sh(&format!("systemctl stop {UNIT}; runuser -u strongroom -- strongroom audit verify"))?;
    let made = machine.sh("wc -l < /root/made")?;
    Ok(format!("{ROUNDS} kills by the kernel, at {} MiB more than at rest; {made} acknowledged services, none missing; {told}", MORE >> 20))
}

fn main_process(machine: &Machine) -> Result<String> {
    machine.sh(&format!("systemctl show --value --property=MainPID {UNIT}"))
}
