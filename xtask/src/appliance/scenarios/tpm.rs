//! A credential that only this machine opens, as long as its firmware is the one that it was sealed under.

use anyhow::{Result, ensure};

use super::super::Lab;
use super::super::machine::{Machine, TPM};
use super::UNIT;

/// A TPM, and what firmware does at each boot: systemd takes a register that nothing was measured into for none.
pub(super) const DEVICE: &str = "cat > /etc/systemd/system/tpm.service <<'END'
[Unit]
Before=strongroom-core.service
[Service]
Type=forking
Environment=TPM2TOOLS_TCTI=ADDRESS
StateDirectory=tpm
ExecStart=/usr/bin/swtpm socket --daemon --tpm2 --server type=tcp,port=2321 --ctrl type=tcp,port=2322 --tpmstate dir=/var/lib/tpm --flags not-need-init,startup-clear
ExecStartPost=/usr/bin/tpm2_pcrextend 7:sha256=1111111111111111111111111111111111111111111111111111111111111111
[Install]
WantedBy=multi-user.target
END
systemctl enable --quiet --now tpm";

impl Machine {
    /// A command for the TPM. It has no resource manager, and systemd 252 leaves a session behind at each use.
    pub(super) fn tpm(&self, command: &str) -> Result<String> {
        self.sh(&format!("export TPM2TOOLS_TCTI={TPM}; for kind in l s t; do tpm2_flushcontext -$kind; done; {command}"))
    }

    fn seal_pin(&self) -> Result<()> {
        let device = format!("--with-key=tpm2 --tpm2-device={TPM} --tpm2-pcrs=7");
        self.tpm(&format!("systemd-creds encrypt --name=hsm-pin {device} /root/hsm-pin /etc/credstore.encrypted/hsm-pin"))?;
        // It has to be the TPM that opens it.
        self.tpm("! systemd-creds decrypt --name=hsm-pin --tpm2-device=swtpm:port=1 /etc/credstore.encrypted/hsm-pin - 2>/dev/null")?;
        self.tpm("true").map(drop)
    }
}

pub(super) fn tpm(lab: &mut Lab) -> Result<String> {
    let disk = lab.disk("tpm")?;
    let machine = lab.boot(&disk)?;
    machine.sh(&DEVICE.replace("ADDRESS", TPM))?;
    machine.seal_pin()?;
    machine.restart()?;
    machine.prove()?;
    machine.power_off()?;

    let machine = lab.boot(&disk)?;
    machine.prove()?;
    machine.tpm("tpm2_pcrextend 7:sha256=2222222222222222222222222222222222222222222222222222222222222222")?;
    machine.sh(&format!("! systemctl restart {UNIT}"))?;
    let why = machine.said("Failed to set up credentials")?;
    let status = machine.sh(&format!("systemctl stop {UNIT}; systemctl show --value --property=ExecMainStatus {UNIT}"))?;
    ensure!(status == "243", "the daemon started with another firmware: {status}");
    ensure!(machine.restarts()? == 0, "a credential that does not open is tried again and again");
    ensure!(machine.said("status=243")?.contains("243/CREDENTIALS"), "nobody is told what failed");
    machine.seal_pin()?;
    machine.sh(&format!("systemctl reset-failed {UNIT} || true; systemctl start {UNIT}"))?;
    machine.prove()?;
    Ok(format!("opens at the next boot; after another firmware 243/CREDENTIALS ({why}); sealed anew, it opens"))
}
