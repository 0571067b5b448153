//! What the host has to bring: the credentials that the unit hands over, and no disk for pages that are swapped out.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use daemon::config::{Config, Credential, Means, TpmPin};

use crate::doctor::Finding;

/// Where systemd keeps the credentials of the unit while it runs; only root looks in there.
const OF_THE_UNIT: &str = "/run/credentials/strongroom-core.service";
/// Permission bits with which the node takes no PIN: those of others, and of a group that writes.
const REFUSED: u32 = 0o026;

/// Credentials, and swap.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let own = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let mut findings: Vec<Finding> = needed(config).into_iter().map(|credential| handed_over(credential, own.as_deref())).collect();
    findings.extend(fs::read_to_string("/proc/swaps").map(|swaps| swap(&swaps)));
    findings
}

/// Those by which devices open without a person.
fn needed(config: &Config) -> Vec<&Credential> {
    config.seal.custodians.iter().filter_map(|custodian| of(&custodian.means)).collect()
}

fn of(means: &Means) -> Option<&Credential> {
    match means {
        Means::Pkcs11(pkcs11) => pkcs11.pin.as_ref(),
        Means::Tpm2(tpm2) => match &tpm2.pin {
            Some(TpmPin::Credential(credential)) => Some(credential),
            Some(TpmPin::Typed) | None => None,
        },
        Means::Age(_) | Means::Card(_) | Means::Shamir(_) => None,
    }
}

/// - `own`: the folder of this process's credentials, if it runs as the unit does.
fn handed_over(credential: &Credential, own: Option<&Path>) -> Finding {
    let check = "credential";
    let path = |folder| credential.path(Some(folder)).expect("a folder is given");
    let Some(own) = own else {
        let of_the_unit = path(Path::new(OF_THE_UNIT));
        return match fs::metadata(&of_the_unit) {
            Ok(_) => fit(&of_the_unit),
            Err(_) => Finding::unknown(check, format!("whether the unit gets {} cannot be seen from here", of_the_unit.display())),
        };
    };
    fit(&path(own))
}

fn fit(path: &Path) -> Finding {
    let check = "credential";
    let name = path.display();
    match fs::metadata(path) {
        Err(error) => Finding::bad(
            check,
            format!("{name}: {error}"),
            format!("add LoadCredential={}:FILE to the unit", path.file_name().unwrap_or_default().to_string_lossy()),
        ),
        Ok(found) if found.len() == 0 => Finding::bad(check, format!("{name} is empty"), "write the PIN into the file that the unit loads"),
        Ok(found) if found.mode() & REFUSED != 0 => {
            Finding::bad(check, format!("{name} is open to others ({:04o})", found.mode() & 0o7777), format!("chmod 0400 {name}"))
        }
        Ok(_) => Finding::good(check, name.to_string()),
    }
}

/// - `swaps`: `/proc/swaps`.
fn swap(swaps: &str) -> Finding {
    let on: Vec<&str> = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    // What is compressed in memory stays there.
    let disks: Vec<&str> = on.iter().filter(|name| !name.starts_with("/dev/zram")).copied().collect();
    if disks.is_empty() {
        return Finding::good("swap", "pages of memory go to no disk");
    }
    let detail = format!("pages of memory may go to {}: keys never do, what clients send and get may", disks.join(", "));
    Finding::warning(
        "swap",
        detail,
        "`swapoff --all` and take it out of /etc/fstab, or encrypt it with a key that is made anew at each boot",
    )
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::doctor::Verdict;

    const HEAD: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

    fn check(finding: &Finding, verdict: Verdict, words: &str) {
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        let todo = finding.todo.clone().unwrap_or_default();
        assert!(finding.detail.contains(words) || todo.contains(words), "{finding:?}");
    }

    #[test]
    fn swap_on_a_disk_is_told_and_compressed_memory_is_none() {
        check(&swap(HEAD), Verdict::Good, "no disk");
        check(&swap(&format!("{HEAD}/dev/zram0 partition 1 0 100\n")), Verdict::Good, "no disk");
        check(&swap(&format!("{HEAD}/dev/zram0 partition 1 0 100\n/swapfile file 2097148 0 -2\n")), Verdict::Warning, "/swapfile:");
    }

    #[test]
    fn a_credential_that_is_missing_empty_or_open_is_bad_and_one_out_of_sight_is_unknown() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let yaml = "role: core\ndata_dir: /d\nseal:\n  custodians:\n    - name: h\n      pkcs11: { module: /m.so, token: t, key: k, pin: \"credential:nobodys-pin\" }\n";
        let file = dir.path().join("config.yaml");
        fs::write(&file, yaml).expect("the folder is ours");
        let config = Config::load(&file, Vec::new()).expect("a good configuration");
        let credentials = needed(&config);
        assert_eq!(credentials.len(), 1);
        let found = || handed_over(credentials[0], Some(dir.path()));
        check(&found(), Verdict::Bad, "LoadCredential=nobodys-pin");
        let pin = dir.path().join("nobodys-pin");
        fs::write(&pin, "").expect("the folder is ours");
        check(&found(), Verdict::Bad, "empty");
        fs::write(&pin, "4321").expect("the folder is ours");
        fs::set_permissions(&pin, Permissions::from_mode(0o644)).expect("the file is ours");
        check(&found(), Verdict::Bad, "chmod 0400");
        fs::set_permissions(&pin, Permissions::from_mode(0o400)).expect("the file is ours");
        check(&found(), Verdict::Good, "nobodys-pin");
        check(&handed_over(credentials[0], None), Verdict::Unknown, "nobodys-pin");
    }
}
