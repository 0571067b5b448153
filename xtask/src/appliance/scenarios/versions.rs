//! Programs of two releases: one after the other on one data folder, and core and edge side by side.

use anyhow::{Result, ensure};

use super::super::machine::{Disk, Machine};
use super::super::{Lab, OLDER, blocks};
use super::{PROVE, UNIT};

/// How many services each release makes.
const SERVICES: u32 = 20;

/// What a file of the data folder says of its format, for the shell: a line for each.
const FORMATS: &str = r#"cd /var/lib/strongroom
grep -o '"format": [0-9]*' node.json placement.json
for file in audit/*.log; do echo "audit: $(od -An -tu1 -j11 -N2 $file)"; done | sort -u
for file in slots/*.slot; do echo "slot: $(od -An -tu1 -j4 -N2 $file)"; done | sort -u"#;

/// Where the older programs lie beside those that are installed.
const UNPACKED: &str = "/opt/older";

const CLIENT: &str = "cd /root/ca; export CA_CERT=ca.pem CLIENT_CERT=client.pem CLIENT_KEY=client.key";
const CORE: &str = "export KMIP_CORE=localhost:5696";
const EDGE: &str = "export KMIP_CORE=localhost:5796";
const AT_CORE: &str = "strongroom --config /etc/strongroom/core.yaml";
const AT_EDGE: &str = "strongroom --config /etc/strongroom/edge.yaml";
const AS_ADMIN: &str = "strongroom --admin https://localhost:5698 --admin-ca ca.pem --admin-cert admin.pem --admin-key admin.key --config /etc/strongroom/core.yaml";

impl Machine {
    fn put(&self, version: &str) -> Result<()> {
        // Whoever asks is told that the administrator's files stay.
        let options = "--yes --quiet --allow-downgrades --option Dpkg::Options::=--force-confold";
        self.sh(&format!("apt-get install {options} /package/strongroom_{version}_*.deb")).map(drop)
    }

    /// Services and something encrypted, by which it is known again.
    fn write(&self, name: &str) -> Result<()> {
        self.sh(&format!(
            "for i in $(seq {SERVICES}); do strongroom service create acme {name}-$i > /dev/null; done
            {CLIENT}; {CORE}; echo {name} | strongroom kmip encrypt \"$(cat key)\" --mode gcm --in - --out {name}.enc"
        ))
        .map(drop)
    }

    fn read(&self, name: &str) -> Result<()> {
        let there = self.sh(&format!("strongroom --json service list acme | grep -o '\"{name}-[0-9]*\"' | sort -u | wc -l"))?;
        ensure!(there == SERVICES.to_string(), "of {SERVICES} services that the {name} release has made {there} are there");
        self.sh(&format!("{CLIENT}; {CORE}; strongroom kmip decrypt \"$(cat key)\" --in {name}.enc --out - | grep -qx {name}"))?;
        self.sh("strongroom audit verify").map(drop)
    }
}

/// The number of this tree's package.
fn newer(machine: &Machine) -> Result<String> {
    machine.sh("ls /package | sort -V | tail -n 1 | cut -d _ -f 2")
}

/// A machine with the older package, whose node was made by the commands of the docs/INSTALL.md in it.
fn with_older(lab: &Lab, name: &str) -> Result<Machine> {
    let machine = lab.boot(&Disk::new(lab.folder.join(name), vec![lab.root.clone()])?)?;
    machine.sh(&format!("cp /package/strongroom_{OLDER}_*.deb /root"))?;
    let page = "./usr/share/doc/strongroom/INSTALL.md";
    let document = machine.sh(&format!("dpkg-deb --fsys-tarfile /root/*.deb | tar --extract --to-stdout {page}"))?;
    machine.sh(&format!("cd /root\n{}\nprintf %s \"$KEY\" > /root/ca/key", blocks(&document).join("\n")))?;
    machine.prove()?;
    Ok(machine)
}

pub(super) fn upgrade(lab: &mut Lab) -> Result<String> {
    let machine = with_older(lab, "upgrade")?;
    let newer = newer(&machine)?;
    let running = || machine.sh(&format!("sha256sum < /proc/$(systemctl show --value --property=MainPID {UNIT})/exe"));
    let process = || machine.sh(&format!("systemctl show --value --property=MainPID {UNIT}"));
    let (program, before) = (running()?, process()?);
    machine.write("older")?;
    let formats = machine.sh(FORMATS)?;

    machine.put(&newer)?;
    machine.prove()?;
    ensure!(before != process()?, "an upgrade leaves the old daemon running");
    ensure!((program != running()?) == lab.older.is_other(), "what runs is not what the packages have");
    machine.sh("grep -q 'credential:hsm-pin' /etc/strongroom/core.yaml")?;
    machine.read("older")?;
    machine.write("newer")?;

    // Where a file had another format now, the older release would have to refuse it by name and leave it as it is, as scenario `newer` has it.
    let now = machine.sh(FORMATS)?;
    ensure!(formats == now, "formats have changed, and so what the older release has to do here, from\n{formats}\nto\n{now}");
    let killed = after_a_kill(&machine, &newer)?;
    machine.put(OLDER)?;
    machine.prove()?;
    ensure!(program == running()?, "a downgrade leaves the newer daemon running");
    for name in ["older", "newer", "killed"] {
        machine.read(name)?;
    }

    let told = machine.sh("apt-get purge --yes --quiet strongroom 2>&1 | grep -e 'left as it is'")?;
    machine
        .sh("test -s /var/lib/strongroom/node.json && ! systemctl is-active strongroom-core.service && ! test -e /usr/bin/strongroomd")?;
    let formats = now.lines().count();
    Ok(format!(
        "{} to {newer} and back, {formats} formats as before, each reads what the other wrote; of a newer one that was killed it says: {killed}; purge: {told}",
        lab.older.told()
    ))
}

/// What the older release makes of what the newer one leaves when it is killed: it serves all of it, or refuses by name and takes nothing from the newer one.
fn after_a_kill(machine: &Machine, newer: &str) -> Result<String> {
    const REFUSED: &str = "has schema .*, this release knows up to";
    machine.set("Restart=no")?;
    machine.restart()?;
    machine.prove()?;
    machine.write("killed")?;
    machine.sh(&format!("systemctl kill --signal=KILL {UNIT}"))?;
    machine.wait_for(&format!("systemctl is-failed {UNIT}"))?;
    machine.put(OLDER)?;
    machine.sh(&format!("systemctl reset-failed {UNIT}; systemctl start {UNIT} || true"))?;
    let refused = format!("journalctl --no-pager --output=cat --unit={UNIT} | grep -q '{REFUSED}'");
    machine.wait_for(&format!("strongroom status || {refused}"))?;
    let is_refused = machine.sh(&refused).is_ok();
    machine.put(newer)?;
    machine.sh(&format!("systemctl restart {UNIT}"))?;
    machine.prove()?;
    machine.read("killed")?;
    Ok(if is_refused { machine.said(REFUSED)? } else { "nothing, and serves it".to_owned() })
}

pub(super) fn mixed(lab: &mut Lab) -> Result<String> {
    for older in ["core", "edge"] {
        mix(lab, older)?;
    }
    Ok(format!("core, then edge, of {}: key, lease, delegation and a replaced L3 go through the other release", lab.older.told()))
}

/// A core and its edge, of which this one is of the older release.
fn mix(lab: &Lab, older: &str) -> Result<()> {
    let name = format!("mixed-{older}");
    let machine = if older == "core" {
        // Its configuration is of its own release: an older one refuses keys that it does not know.
        let machine = with_older(lab, &name)?;
        machine.put(&newer(&machine)?)?;
        machine
    } else {
        lab.boot(&lab.disk(&name)?)?
    };
    machine.prove()?;
    let program = |role: &str| if role == older { format!("{UNPACKED}/usr/bin") } else { "/usr/bin".to_owned() };
    // An edge has a host of its own as a rule: here it shares the core's, so it has other ports and another folder.
    machine.sh(&format!(
        r#"dpkg-deb --extract /package/strongroom_{OLDER}_*.deb {UNPACKED}
        install -d /etc/systemd/system/strongroom-edge.service.d
        printf '[Service]\nStateDirectory=\nStateDirectory=strongroom-edge\n' > /etc/systemd/system/strongroom-edge.service.d/folder.conf
        printf '[Service]\nExecStart=\nExecStart={UNPACKED}/usr/bin/strongroomd --config /etc/strongroom/{older}.yaml\n' > /etc/systemd/system/strongroom-{older}.service.d/older.conf
        systemctl daemon-reload
        tls='cert: /etc/strongroom/tls/server.pem, key: /etc/strongroom/tls/server.key, client_ca: /etc/strongroom/tls/client-ca.pem, crl: /etc/strongroom/tls/client-ca.crl'
        sed -i "s|^listeners:|&\n  https: {{bind: '127.0.0.1:5697', $tls}}\n  admin: {{bind: '127.0.0.1:5698', $tls}}|" /etc/strongroom/core.yaml
        systemctl restart {UNIT}
        cd /root/ca
        strongroom cert issue --ca ca.pem --ca-key ca.key --role edge --name west --out edge.pem --out-key edge.key
        strongroom cert issue --ca ca.pem --ca-key ca.key --role tenant-admin --tenant acme --name chief --out admin.pem --out-key admin.key
        install -o root -g strongroom -m 0640 edge.pem edge.key /etc/strongroom/tls/
        cat > /etc/strongroom/edge.yaml <<END
role: edge
data_dir: /var/lib/strongroom-edge
edge:
  group: west
  upstreams: [https://localhost:5697]
  ca: /etc/strongroom/tls/client-ca.pem
  cert: /etc/strongroom/tls/edge.pem
  key: /etc/strongroom/tls/edge.key
  lease: 1s
listeners:
  kmip: {{bind: '127.0.0.1:5796', $tls}}
  health: {{bind: '127.0.0.1:5799'}}
END"#
    ))?;
    machine.wait_for(&format!("{AT_CORE} status"))?;
    // As README.md has it, "Add an edge".
    machine.sh(&format!(
        r#"{AT_CORE} edge enrol west --tenant acme
        install -d -o strongroom -g strongroom -m 0700 /var/lib/strongroom-edge
        key=$(systemd-run --quiet --pipe --wait -p User=strongroom -p UMask=0077 \
            {}/strongroom --json --config /etc/strongroom/edge.yaml init | grep delegation_key | grep -o '[0-9a-f]\{{64\}}')
        {AT_CORE} edge enrol west --key "$key"
        systemctl start strongroom-edge.service"#,
        program("edge")
    ))?;
    machine.wait_for(&format!("{AT_EDGE} status"))?;
    for role in ["core", "edge"] {
        let runs = machine.sh(&format!("readlink /proc/$(systemctl show --value --property=MainPID strongroom-{role}.service)/exe"))?;
        ensure!(runs == format!("{}/strongroomd", program(role)), "as {role} runs {runs}");
    }

    machine.sh(&format!(
        "{CLIENT}; {EDGE}; strongroom kmip create --name mixed --activate > mixed; echo mixed | strongroom kmip encrypt \"$(cat mixed)\" --mode gcm --in - --out mixed.enc"
    ))?;
    let opens = format!("{CLIENT}; {EDGE}; strongroom kmip decrypt \"$(cat mixed)\" --in mixed.enc --out - | grep -qx mixed");
    machine.sh(&opens)?;
    machine.sh(&PROVE.replace("5696", "5796"))?;
    // What the core says of a tenant comes with the next lease.
    machine.sh(&format!("{AT_CORE} tenant disable acme"))?;
    machine.wait_for(&format!("! ({opens})"))?;
    machine.sh(&format!("{AT_CORE} tenant enable acme"))?;
    machine.wait_for(&opens)?;
    // The old version is given up when the edge has said that nothing lies under it.
    machine.sh(&format!("{CLIENT}; {AS_ADMIN} key rotate \"$(cat key)\""))?;
    machine.wait_for(&format!("{CLIENT}; {AS_ADMIN} key retire --yes \"$(cat key)\""))?;
    machine.sh("systemctl restart strongroom-edge.service")?;
    machine.wait_for(&opens)?;
    machine.sh(&format!("{AT_CORE} audit verify; {AT_EDGE} audit verify")).map(drop)
}
