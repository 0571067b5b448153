//! Certificates that change while clients are served.

use anyhow::{Context, Result, ensure};

use super::super::Lab;
use super::super::machine::Machine;
use super::UNIT;

/// KMIP's Query, as octal escapes for printf.
const QUERY: &str = "\\102\\000\\170\\001\\000\\000\\000\\160\\102\\000\\167\\001\\000\\000\\000\\070\\102\\000\\151\\001\\000\\000\\000\\040\\102\\000\\152\\002\\000\\000\\000\\004\\000\\000\\000\\001\\000\\000\\000\\000\\102\\000\\153\\002\\000\\000\\000\\004\\000\\000\\000\\004\\000\\000\\000\\000\\102\\000\\015\\002\\000\\000\\000\\004\\000\\000\\000\\001\\000\\000\\000\\000\\102\\000\\017\\001\\000\\000\\000\\050\\102\\000\\134\\005\\000\\000\\000\\004\\000\\000\\000\\030\\000\\000\\000\\000\\102\\000\\171\\001\\000\\000\\000\\020\\102\\000\\164\\005\\000\\000\\000\\004\\000\\000\\000\\001\\000\\000\\000\\000";
/// A result status that says success, in hexadecimal.
const SUCCESS: &str = "42007f050000000400000000";

const KEPT: u32 = 4;
const REQUESTS_ON_EACH: u32 = 2_250;
/// Loops that make a connection for each request.
const LOOPS: u32 = 2;
const CONNECTIONS_OF_EACH: u32 = 500;
const REQUESTS: u32 = KEPT * REQUESTS_ON_EACH + LOOPS * CONNECTIONS_OF_EACH;
const RELOADS: u32 = 8;

/// For the shell: how many answers on kept connections say success.
fn count_kept() -> String {
    format!("cat /root/kept-* | od -An -v -tx1 | tr -d ' \\n' | grep -o {SUCCESS} | wc -l")
}

impl Machine {
    /// What was answered on kept connections, as far as it succeeded.
    fn kept_answers(&self) -> Result<u32> {
        self.sh(&count_kept())?.parse().context("wc counts")
    }

    /// How many requests on connections of their own ended this way.
    fn single_answers(&self, how: &str) -> Result<u32> {
        self.sh(&format!("grep -cx {how} /root/load || true"))?.parse().context("grep counts")
    }
}

pub(super) fn reload(lab: &mut Lab) -> Result<String> {
    let machine = lab.boot(&lab.disk("reload")?)?;
    machine.prove()?;
    machine.sh(&format!("printf '{QUERY}' > /root/query; touch /root/load"))?;
    for kept in 0..KEPT {
        // It stays open when all is asked.
        let client = format!(
            "cd /root/ca; for i in $$(seq {REQUESTS_ON_EACH}); do cat ../query; done | openssl s_client -quiet -connect localhost:5696 -CAfile ca.pem -cert client.pem -key client.key > /root/kept-{kept}"
        );
        machine.sh(&format!("systemd-run --quiet --unit=kept-{kept} sh -c '{client}'"))?;
    }
    for number in 0..LOOPS {
        let client = format!(
            "cd /root/ca; export KMIP_CORE=localhost:5696 CA_CERT=ca.pem CLIENT_CERT=client.pem CLIENT_KEY=client.key
            for i in $$(seq {CONNECTIONS_OF_EACH}); do strongroom kmip ping > /dev/null && echo good >> /root/load || echo bad >> /root/load; done"
        );
        machine.sh(&format!("systemd-run --quiet --unit=load-{number} sh -c '{client}'"))?;
    }
    let answers = || anyhow::Ok(machine.kept_answers()? + machine.single_answers("good")? + machine.single_answers("bad")?);
    for _ in 0..RELOADS {
        let before = answers()?;
        ensure!(before < REQUESTS, "all was answered before the last reload");
        machine.sh(&format!(
            "cd /root/ca && strongroom cert issue --ca ca.pem --ca-key ca.key --server localhost --out next.pem --out-key next.key
            openssl ca -config ca.conf -gencrl -keyfile ca.key -cert ca.pem -out next.crl 2>/dev/null
            for f in pem key; do install -o root -g strongroom -m 0640 next.$f /etc/strongroom/tls/new.$f; done
            install -o root -g strongroom -m 0640 next.crl /etc/strongroom/tls/new.crl; cd /etc/strongroom/tls
            mv new.key server.key; mv new.pem server.pem; mv new.crl client-ca.crl; systemctl reload {UNIT}
            wc -l < /root/load > /root/before"
        ))?;
        machine.wait_for("test $(wc -l < /root/load) -ge $(($(cat /root/before) + 20))")?;
    }
    let serial = machine.sh(
        "cd /root/ca; openssl x509 -in next.pem -noout -serial; openssl s_client -connect localhost:5696 -cert client.pem -key client.key </dev/null 2>/dev/null | openssl x509 -noout -serial",
    )?;
    ensure!(serial.lines().next() == serial.lines().last(), "the new certificate is not shown: {serial}");
    machine.wait_for(&format!("test $(wc -l < /root/load) = {}", LOOPS * CONNECTIONS_OF_EACH))?;
    let bad = machine.single_answers("bad")?;
    ensure!(bad == 0, "{bad} of {} requests on connections of their own failed", LOOPS * CONNECTIONS_OF_EACH);
    machine.wait_for(&format!("test $({}) = {}", count_kept(), KEPT * REQUESTS_ON_EACH))?;
    for kept in 0..KEPT {
        machine.sh(&format!("systemctl is-active kept-{kept}")).context("an open connection was dropped")?;
    }
    ensure!(machine.restarts()? == 0, "the daemon was started anew");
    let answered = answers()?;
    ensure!(answered == REQUESTS, "{answered} of {REQUESTS} requests were answered");
    Ok(format!(
        "{RELOADS} times; {answered} requests, on {KEPT} open connections and {} new ones: 0 dropped, 0 refused",
        LOOPS * CONNECTIONS_OF_EACH
    ))
}
