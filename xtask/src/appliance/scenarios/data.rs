//! A data folder that another release has written.

use anyhow::{Result, ensure};

use super::super::Lab;
use super::super::machine::Machine;
use super::UNIT;

/// What a file takes to be a later release's, and what the daemon makes of it.
struct Later {
    /// Below the data folder, by the shell's patterns.
    file: &'static str,
    /// For the shell, with the file as `$1`.
    edit: &'static str,
    /// What the journal then has.
    said: &'static str,
    /// The unit's exit status, or none if the node runs sealed.
    status: Option<u8>,
    /// Files that may change at such a start: where the node runs, it logs; and redb marks a file that it opens.
    own: &'static str,
}

const LATER: &[Later] = &[
    Later {
        file: "node.json",
        edit: r#"sed -i 's/"format": 1/"format": 2/' "$1""#,
        said: "node.json was written by a newer release .format 2; this release knows 1",
        status: Some(65),
        own: "-",
    },
    Later {
        file: "placement.json",
        edit: r#"sed -i 's/"format": 1/"format": 2/' "$1""#,
        said: "placement.json was written by a newer release .format 2; this release knows 1",
        status: Some(65),
        own: "-",
    },
    Later {
        file: "audit/*.log",
        edit: r#"printf '\2' | dd of="$1" bs=1 seek=12 conv=notrunc status=none"#,
        said: "audit/000000000001.log.*format version 2 is unknown; use the strongroom that wrote it",
        status: Some(65),
        own: "store.redb",
    },
    Later {
        file: "slots/*.slot",
        edit: r#"printf '\2' | dd of="$1" bs=1 seek=5 conv=notrunc status=none"#,
        said: "slot: format 2 is newer than this release, which knows 1",
        status: None,
        own: "store.redb\\|audit/",
    },
];

impl Machine {
    /// Every file of the data folder with its digest.
    fn digests(&self, but: &str) -> Result<String> {
        self.sh(&format!("cd /var/lib/strongroom; find . -type f | sort | grep -v -e '\\./\\({but}\\)' | xargs sha256sum"))
    }
}

pub(super) fn newer(lab: &mut Lab) -> Result<String> {
    let machine = lab.boot(&lab.disk("newer")?)?;
    machine.prove()?;
    for later in LATER {
        let Later { file, edit, said, status, own } = later;
        machine.sh(&format!(
            "systemctl stop {UNIT}; cd /var/lib/strongroom; rm -rf /root/kept; cp -a . /root/kept; set -- {file}; {edit}; ! cmp -s \"$1\" \"/root/kept/$1\""
        ))?;
        let before = machine.digests(own)?;
        machine.sh(&format!("systemctl start {UNIT} || true"))?;
        machine.said(said)?;
        match status {
            Some(status) => {
                // Not "activating": systemd would try again.
                let shown =
                    machine.sh(&format!("systemctl show --value --property=ActiveState --property=ExecMainStatus {UNIT} | xargs"))?;
                let is_right = shown.contains("failed") && shown.split(' ').any(|word| word == status.to_string());
                ensure!(is_right, "with a newer {file} the unit is {shown}");
            }
            None => drop(machine.sh("strongroom status | grep '^state *sealed'")?),
        }
        ensure!(machine.restarts()? == 0, "a newer {file} is tried again and again");
        machine.sh(&format!("systemctl stop {UNIT}"))?;
        let after = machine.digests(own)?;
        ensure!(before == after, "a newer {file} does not stay as it is, before:\n{before}\nafter:\n{after}");
        machine.sh(&format!(
            "cd /var/lib/strongroom; set -- {file}; cp -a \"/root/kept/$1\" \"$1\"; systemctl reset-failed {UNIT} || true; systemctl start {UNIT}"
        ))?;
        machine.prove()?;
    }
    Ok(format!("{} kinds of files, each named, none changed, no start repeated; as they were, the node opens", LATER.len()))
}
