//! A daemon that has too little of something, or is held up, and has to come back by itself.

use anyhow::{Context, Result, ensure};

use super::super::Lab;
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
