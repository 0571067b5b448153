//! The node's files: are they there, and are they its own?

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use daemon::config::{Config, Means};
use daemon::layout::{Layout, LayoutError};

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::doctor::Finding;

/// Permission bits of group and others.
const OTHERS: u32 = 0o077;
/// Permission bits that let group and others write.
const OTHERS_WRITE: u32 = 0o022;
/// The one that lets the group read.
const GROUP_READS: u32 = 0o040;
/// Permission bits that let anybody execute.
const EXECUTE: u32 = 0o111;

/// Data folder, identity, keys, device program, modules, PIN latches.
pub(super) fn check(config: &Config, layout: &Layout) -> Vec<Finding> {
    let mut findings = vec![data_dir(&config.data_dir), identity(layout)];
    let group = std::fs::metadata(&config.data_dir).ok().map(|folder| folder.gid());
    let listeners = &config.listeners;
    for (name, listener) in [("kmip", &listeners.kmip), ("https", &listeners.https), ("admin", &listeners.admin)] {
        findings.extend(
            listener
                .iter()
                .flat_map(|listener| &listener.certificates)
                .map(|files| private_key(&format!("listeners.{name}.key"), &files.key, group)),
        );
    }
    findings.extend(config.edge.iter().map(|edge| private_key("edge.key", &edge.key, group)));
    findings.push(device(&device_program(config)));
    findings.extend(config.seal.custodians.iter().filter_map(|custodian| match &custodian.means {
        Means::Pkcs11(pkcs11) => Some(module(&pkcs11.token.module)),
        Means::Tpm2(tpm2) => Some(tpm(&tpm2.tpm.tcti)),
        // Its keepers are in the list themselves.
        Means::Age(_) | Means::Card(_) | Means::Shamir(_) => None,
    }));
    findings.extend(config.seal.writes.iter().filter_map(|place| written(place)));
    findings.extend(latches(&layout.latch()));
    findings
}

/// Beside our own program, where the daemon's is too.
fn device_program(config: &Config) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    config.seal.device(own.parent().unwrap_or(Path::new("/")))
}

fn data_dir(dir: &Path) -> Finding {
    let check = "data folder";
    let path = dir.display();
    match std::fs::metadata(dir) {
        Err(error) => {
            Finding::bad(check, format!("{path}: {error}"), "make it, owned by the daemon's user with mode 0700, or correct data_dir")
        }
        Ok(found) if !found.is_dir() => Finding::bad(check, format!("{path} is no folder"), "correct data_dir"),
        Ok(found) if found.mode() & OTHERS != 0 => {
            Finding::bad(check, format!("{path} is open to others ({})", mode(&found)), format!("chmod 0700 {path}"))
        }
        Ok(found) => read_only(dir, statvfs(dir).map_or(FsFlags::empty(), |about| about.flags()))
            .or_else(|| strangers(dir, &found))
            .unwrap_or_else(|| Finding::good(check, format!("{path}, mode {}", mode(&found)))),
    }
}

fn read_only(dir: &Path, flags: FsFlags) -> Option<Finding> {
    let path = dir.display();
    let detail = || format!("{path} is on a file system that is mounted read-only");
    let todo = "look into `dmesg` for why, mend it, and remount it writable; in a unit, name it by ReadWritePaths= or StateDirectory=";
    flags.contains(FsFlags::ST_RDONLY).then(|| Finding::bad("data folder", detail(), todo))
}

/// A file in the folder, or in a folder of it, that belongs to another user than the folder does.
fn strangers(dir: &Path, folder: &Metadata) -> Option<Finding> {
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let is_folder = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let below: Vec<PathBuf> = entries(dir).filter(is_folder).collect();
    let is_strange = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok_and(|found| found.uid() != folder.uid());
    let stranger = entries(dir).chain(below.iter().flat_map(|folder| entries(folder))).find(is_strange)?;
    let detail = format!("{} belongs to another user than the folder", stranger.display());
    Some(Finding::bad("data folder", detail, format!("chown -R {}:{} {}", folder.uid(), folder.gid(), dir.display())))
}

fn identity(layout: &Layout) -> Finding {
    let check = "cluster";
    match layout.identity() {
        Ok(identity) => Finding::good(check, identity.cluster.to_string()),
        Err(error @ LayoutError::Uninitialised { .. }) => Finding::bad(check, error.to_string(), "run `strongroom init`"),
        Err(error @ LayoutError::Newer { .. }) => Finding::bad(check, error.to_string(), "install the release that wrote it"),
        Err(error) => Finding::bad(check, error.to_string(), "restore node.json from a copy, owned by the daemon's user"),
    }
}

/// - `group`: the daemon's, which may read it: it is root's file, as a rule.
fn private_key(key: &str, path: &Path, group: Option<u32>) -> Finding {
    let check = "private key";
    let name = path.display();
    match std::fs::metadata(path) {
        Err(error) => Finding::bad(check, format!("{name}: {error}"), format!("correct {key}")),
        Ok(found) if found.mode() & if group == Some(found.gid()) { OTHERS & !GROUP_READS } else { OTHERS } != 0 => {
            let todo = format!("chmod 0600 {name}, or 0640 if its group is the daemon's");
            Finding::bad(check, format!("{name} is open to others ({})", mode(&found)), todo)
        }
        Ok(found) => Finding::good(check, format!("{name}, mode {}", mode(&found))),
    }
}

fn device(path: &Path) -> Finding {
    let check = "device program";
    let name = path.display();
    match std::fs::metadata(path) {
        Err(error) => Finding::bad(check, format!("{name}: {error}"), "install strongroom-device there, or correct seal.device"),
        Ok(found) if found.mode() & EXECUTE == 0 => Finding::bad(check, format!("{name} is no program"), format!("chmod 0755 {name}")),
        Ok(found) => writable_by_others(check, path, &found).unwrap_or_else(|| Finding::good(check, name.to_string())),
    }
}

/// The TPM's file, where it is one; others are asked when a slot is opened.
fn tpm(tcti: &str) -> Finding {
    let check = "TPM";
    match tcti.strip_prefix("device:").map(std::fs::metadata) {
        Some(Err(error)) => Finding::bad(check, format!("{tcti}: {error}"), "turn the TPM on in the firmware, or correct seal.custodians"),
        Some(Ok(_)) | None => Finding::good(check, tcti.to_owned()),
    }
}

fn module(path: &Path) -> Finding {
    let check = "PKCS#11 module";
    let name = path.display();
    match std::fs::metadata(path) {
        Err(error) => Finding::bad(check, format!("{name}: {error}"), "install the device's PKCS#11 module, or correct seal.custodians"),
        Ok(found) => writable_by_others(check, path, &found).unwrap_or_else(|| Finding::good(check, name.to_string())),
    }
}

/// A place of `seal.writes` that the daemon cannot have been given.
fn written(place: &Path) -> Option<Finding> {
    let error = std::fs::metadata(place).err()?;
    let detail = format!("seal.writes: {}: {error}", place.display());
    Some(Finding::warning(
        "PKCS#11 module",
        detail,
        "make it, then restart the node: it may write there only if it was there at the start; or correct seal.writes",
    ))
}

fn writable_by_others(check: &'static str, path: &Path, found: &Metadata) -> Option<Finding> {
    let name = path.display();
    (found.mode() & OTHERS_WRITE != 0)
        .then(|| Finding::bad(check, format!("{name} can be changed by others ({})", mode(found)), format!("chmod go-w {name}")))
}

/// A finding per PIN that was refused and must not be tried again by itself.
fn latches(dir: &Path) -> Vec<Finding> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let latched = entries.filter(|path| path.extension().is_some_and(|extension| extension == "latch"));
    latched
        .map(|path| {
            let todo = "correct the PIN, then run `strongroom slot verify --retry-pin`";
            Finding::bad("PIN", format!("a device has refused its PIN, or a login was cut off ({})", path.display()), todo)
        })
        .collect()
}

fn mode(found: &Metadata) -> String {
    format!("{:04o}", found.mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::doctor::Verdict;

    fn file(dir: &Path, mode: u32) -> PathBuf {
        let path = dir.join("file");
        fs::write(&path, "").expect("the folder is ours");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("the file is ours");
        path
    }

    fn check(finding: &Finding, verdict: Verdict, words: &str) {
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        let todo = finding.todo.clone().unwrap_or_default();
        assert!(finding.detail.contains(words) || todo.contains(words), "{finding:?}");
    }

    #[test]
    fn a_data_folder_that_others_can_enter_is_bad() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("the folder is ours");
        check(&data_dir(dir.path()), Verdict::Good, "0700");
        check(&data_dir(&dir.path().join("absent")), Verdict::Bad, "data_dir");
        check(&data_dir(&file(dir.path(), 0o600)), Verdict::Bad, "no folder");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o750)).expect("the folder is ours");
        check(&data_dir(dir.path()), Verdict::Bad, "chmod 0700");
    }

    #[test]
    fn a_data_folder_that_cannot_be_written_is_bad() {
        let dir = Path::new("/var/lib/strongroom");
        check(&read_only(dir, FsFlags::ST_RDONLY | FsFlags::ST_NOSUID).expect("it is read-only"), Verdict::Bad, "remount");
        assert_eq!(read_only(dir, FsFlags::ST_NOSUID), None);
    }

    #[test]
    fn a_file_of_another_user_is_found_also_in_a_folder_below() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = fs::metadata(dir.path()).expect("it is there");
        fs::create_dir(dir.path().join("audit")).expect("the folder is ours");
        file(&dir.path().join("audit"), 0o600);
        assert_eq!(strangers(dir.path(), &folder), None);
        let owner = if folder.uid() == 0 {
            std::os::unix::fs::chown(dir.path().join("audit/file"), Some(65534), None).expect("root gives files away");
            folder
        } else {
            // To the owner of the root folder, what is ours is strange.
            fs::metadata("/").expect("it is there")
        };
        check(&strangers(dir.path(), &owner).expect("one is strange"), Verdict::Bad, "chown -R");
    }

    #[test]
    fn a_private_key_that_others_can_read_is_bad() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        check(&private_key("listeners.https.key", &dir.path().join("absent"), None), Verdict::Bad, "listeners.https.key");
        let group = fs::metadata(dir.path()).expect("it is there").gid();
        for (mode, group, verdict, words) in [
            (0o400, None, Verdict::Good, "0400"),
            (0o640, None, Verdict::Bad, "chmod 0600"),
            (0o640, Some(group + 1), Verdict::Bad, "chmod 0600"),
            (0o640, Some(group), Verdict::Good, "0640"),
            (0o660, Some(group), Verdict::Bad, "chmod 0600"),
            (0o644, Some(group), Verdict::Bad, "0640 if its group is the daemon's"),
        ] {
            check(&private_key("edge.key", &file(dir.path(), mode), group), verdict, words);
        }
    }

    #[test]
    fn foreign_code_that_others_can_change_is_bad() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        check(&device(&dir.path().join("absent")), Verdict::Bad, "seal.device");
        check(&device(&file(dir.path(), 0o644)), Verdict::Bad, "no program");
        check(&device(&file(dir.path(), 0o775)), Verdict::Bad, "go-w");
        check(&device(&file(dir.path(), 0o755)), Verdict::Good, "file");
        check(&module(&dir.path().join("absent.so")), Verdict::Bad, "seal.custodians");
        check(&module(&file(dir.path(), 0o666)), Verdict::Bad, "go-w");
        check(&module(&file(dir.path(), 0o644)), Verdict::Good, "file");
    }

    #[test]
    fn a_place_to_write_in_that_is_not_there_is_told() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(written(dir.path()), None);
        check(&written(&dir.path().join("absent")).expect("it is not there"), Verdict::Warning, "seal.writes");
    }

    #[test]
    fn a_folder_without_a_cluster_points_to_init() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        check(&identity(&Layout::new(dir.path())), Verdict::Bad, "strongroom init");
        fs::write(dir.path().join("node.json"), "{").expect("the folder is ours");
        check(&identity(&Layout::new(dir.path())), Verdict::Bad, "restore");
    }

    #[test]
    fn a_refused_pin_is_told_with_the_way_out() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert!(latches(&dir.path().join("absent")).is_empty());
        fs::write(dir.path().join("ab.lock"), "").expect("the folder is ours");
        assert!(latches(dir.path()).is_empty());
        fs::write(dir.path().join("ab.latch"), "").expect("the folder is ours");
        let found = latches(dir.path());
        assert_eq!(found.len(), 1);
        check(&found[0], Verdict::Bad, "--retry-pin");
    }
}
