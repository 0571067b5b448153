//! The Debian packages that checks and demo need, installed when they are missing.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{run, shown};

/// Package, and what needs it.
const PACKAGES: &[(&str, &str)] = &[
    ("age", "the program by which people open their shards"),
    ("binutils", "strip, for what is packaged"),
    ("debootstrap", "which makes the Debian that is booted with the package"),
    ("dpkg-dev", "dpkg-shlibdeps, which finds what the package depends on"),
    ("faketime", "libfaketime, by which a core's clock jumps"),
    ("gdb", "gcore, which takes the core image that is searched for keys"),
    ("libtss2-dev", "tpm2-tss, against which the device process is built"),
    ("libtss2-tcti-swtpm0", "its way to the software TPM"),
    ("opensc", "pkcs11-tool, which looks at a token from outside"),
    ("pkg-config", "by which the build finds tpm2-tss"),
    ("postgresql-15", "the server behind every test of the PostgreSQL keystore"),
    ("prometheus", "promtool, which checks the alert rules"),
    ("python3-venv", "the environment of the clients that tests drive and of the checking programs"),
    ("softhsm2", "the software token behind every device test"),
    ("strace", "faults put under the running programs"),
    ("swtpm", "the software TPM behind every TPM test"),
    ("systemd", "systemd-analyze, which verifies the unit files"),
    ("systemd-container", "systemd-nspawn, which boots it"),
    ("tpm2-tools", "what looks at a TPM from outside, and changes its state"),
];

/// Installs what is missing, as root or through sudo; else an error that shows the commands to run.
pub(crate) fn install() -> Result<()> {
    let missing = missing(&installed()?);
    if missing.is_empty() {
        println!("nothing is missing");
        return Ok(());
    }
    for (name, why) in PACKAGES.iter().filter(|(name, _)| missing.contains(name)) {
        println!("missing: {name} ({why})");
    }
    let Some(apt) = Apt::with_privilege()? else {
        let unprivileged = Apt { program: "apt-get" };
        bail!("as root run: {} && {}", shown(&unprivileged.update()), shown(&unprivileged.install(&missing)));
    };
    // A mirror, or apt's own temporary files, can fail once for no lasting reason; so everything gets a second try.
    apt.update_and_install(&missing).or_else(|error| {
        println!("{error:#}; trying once more");
        run(&mut apt.repair())?;
        apt.update_and_install(&missing)
    })
}

/// What dpkg says of the packages in the table, a line each: status, then name. It leaves out those it does not know.
fn installed() -> Result<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Abbrev} ${Package}\\n"]).args(PACKAGES.iter().map(|(name, _)| name));
    let names: Vec<_> = PACKAGES.iter().map(|(name, _)| *name).collect();
    let output = query.output().with_context(|| format!("this is no Debian: install what it calls {} by hand", names.join(" ")))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn missing(installed: &str) -> Vec<&'static str> {
    let is_installed = |name: &str| installed.lines().any(|line| line.split_whitespace().eq(["ii", name]));
    PACKAGES.iter().map(|(name, _)| *name).filter(|name| !is_installed(name)).collect()
}

struct Apt {
    program: &'static str,
}

impl Apt {
    fn with_privilege() -> Result<Option<Self>> {
        let id = Command::new("id").arg("--user").output().context("`id` cannot be started")?;
        if id.stdout.trim_ascii() == b"0" {
            return Ok(Some(Self { program: "apt-get" }));
        }
        let has_sudo = Command::new("sudo").arg("--version").output().is_ok();
        Ok(has_sudo.then_some(Self { program: "sudo" }))
    }

    fn update_and_install(&self, packages: &[&str]) -> Result<()> {
        run(&mut self.update())?;
        run(&mut self.install(packages))
    }

    fn update(&self) -> Command {
        self.command(&["update", "--quiet"])
    }

    fn install(&self, packages: &[&str]) -> Command {
        let mut command = self.command(&["install", "--yes", "--quiet", "--no-install-recommends"]);
        command.args(packages);
        command
    }

    fn repair(&self) -> Command {
        self.command(&["install", "--yes", "--quiet", "--fix-broken"])
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        if self.program == "sudo" {
            command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        } else {
            command.env("DEBIAN_FRONTEND", "noninteractive");
        }
        command.args(arguments);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dpkg: &str, expected: &[&str]) {
        assert_eq!(missing(dpkg), expected, "{dpkg:?}");
    }

    #[test]
    fn packages_that_dpkg_does_not_know_are_missing() {
        let all: Vec<_> = PACKAGES.iter().map(|(name, _)| *name).collect();
        check("", &all);
        let installed = |names: &[&str]| names.iter().map(|name| format!("ii  {name}\n")).collect::<String>();
        check(&installed(&all[2..]), &all[..2]);
        check(&installed(&all), &[]);
    }

    #[test]
    fn a_removed_or_half_installed_package_is_missing() {
        let named = |status: &str, (name, _): &(&str, &str)| format!("{status}  {name}\n");
        let but =
            |one, status| PACKAGES.iter().map(|package| named(if package.0 == one { status } else { "ii" }, package)).collect::<String>();
        check(&but("opensc", "rc"), &["opensc"]);
        check(&but("softhsm2", "iU"), &["softhsm2"]);
    }

    #[test]
    fn the_command_for_sudo_still_asks_nothing() {
        let line = shown(&Apt { program: "sudo" }.install(&["softhsm2"]));
        assert_eq!(line, "sudo DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends softhsm2");
    }
}
