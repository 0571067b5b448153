//! The Debian that scenarios boot: made once by debootstrap, never written to afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::run;

const RELEASE: &str = "bookworm";

/// What the package depends on, and what the scenarios use. The package itself comes later, by its file.
const PACKAGES: &[&str] = &[
    "apt-utils",
    "ca-certificates",
    "dbus",
    "faketime",
    "libtss2-esys-3.0.2-0",
    "libtss2-mu0",
    "libtss2-tcti-swtpm0",
    "libtss2-tctildr0",
    "opensc-pkcs11",
    "openssl",
    "procps",
    "softhsm2",
    "swtpm",
    "systemd",
    "systemd-sysv",
    "tpm2-tools",
];

/// Units that have nothing to do in a container.
const MASKED: &[&str] = &["getty@tty1.service", "console-getty.service", "apt-daily.timer", "apt-daily-upgrade.timer"];

/// The root's folder below `folder`, made if it is not there or has other packages.
pub(super) fn ensure(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    let stamp = folder.join("root.packages");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(root);
    }
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("{} cannot be removed", root.display()))?;
    }
    fs::create_dir_all(&root).with_context(|| format!("{} cannot be made", root.display()))?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", &format!("--include={}", PACKAGES.join(",")), RELEASE]).arg(&root).arg(mirror()?);
    run(&mut debootstrap)?;
    run(Command::new("systemctl").arg(format!("--root={}", root.display())).args(["--quiet", "mask"]).args(MASKED))?;
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n").context("the root takes no file")?;
    fs::write(&stamp, wanted).with_context(|| format!("{} cannot be written", stamp.display()))?;
    Ok(root)
}

/// The one that this machine's own packages come from.
fn mirror() -> Result<String> {
    let targets = Command::new("apt-get").args(["indextargets", "--format=$(RELEASE) $(REPO_URI)", "Created-By: Packages"]).output();
    let targets = targets.context("apt-get cannot be started")?;
    let found = from_targets(&String::from_utf8_lossy(&targets.stdout));
    ensure!(found.is_some(), "no source of apt has {RELEASE}: name a mirror in /etc/apt/sources.list");
    found.context("it was there")
}

fn from_targets(targets: &str) -> Option<String> {
    let repositories = targets.lines().filter_map(|line| line.split_once(' '));
    repositories.filter(|(release, _)| *release == RELEASE).map(|(_, repository)| repository.to_owned()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_the_release_itself() {
        let targets = "bookworm-security http://a/debian-security/\nbookworm http://b/debian/\nbookworm-updates http://c/debian/\n";
        assert_eq!(from_targets(targets).as_deref(), Some("http://b/debian/"));
        assert_eq!(from_targets("stable http://b/debian/\n"), None);
    }
}
