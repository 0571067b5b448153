//! What the daemon denies itself and everything that it starts, by Landlock: each place to write in but those of its configuration.
//!
//! Reading stays as the user and the unit have it: a module of an HSM's vendor reads what it likes, and a list of that would be wrong for the next one.
//! Nor are ports: which addresses a name stands for is known only when it is asked for, and the kernel holds a unit to its addresses better than a
//! process can (`IPAddressAllow=`). Sockets with a path are reached by a connection, which is no write; those without one are left, because service
//! managers in containers are told by them.

use std::path::{Path, PathBuf};

use landlock::{ABI, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, path_beneath_rules};

use crate::config::{Config, Means};
use crate::layout::Layout;

/// What any program may write to.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/full"];
/// Making, changing, renaming (5.19) and truncating (6.2) files. Not ioctl (6.12): a device that may not be opened for writing is of little use already,
/// and one that is opened for reading only is none of ours.
const WRITING: ABI = ABI::V3;

/// How far the kernel holds a process to the places in which it may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// In everything.
    Whole,
    /// In making and changing files; a kernel before 6.12 lets it signal others, one before 6.2 truncate files elsewhere.
    Partial,
    /// Not at all: it writes wherever its user may.
    Absent,
}

impl Confinement {
    /// As status has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Partial => "partial",
            Self::Absent => "absent",
        }
    }
}

/// Holds the daemon to the places of its configuration. Call it while the process has one thread: the kernel holds that one, and whatever it starts.
///
/// A kernel that cannot do it is no reason not to serve; it is said, and standing in the node's status.
#[must_use]
pub fn enter(config: &Config) -> Confinement {
    for place in named(config).iter().filter(|place| !place.exists()) {
        let place = place.display();
        tracing::warn!(%place, "named by `seal.writes`, or a TPM's device, and not there: if it comes later, nothing can be written to it before a restart");
    }
    let confinement = write_only_below(places(config)).unwrap_or_else(|error| {
        tracing::error!(%error, "Landlock refuses");
        Confinement::Absent
    });
    match confinement {
        Confinement::Whole | Confinement::Partial => {
            tracing::debug!(confinement = confinement.name(), "held to the places that it writes to")
        }
        Confinement::Absent => tracing::warn!("{ABSENT}"),
    }
    confinement
}

/// What is said while nothing holds the process.
pub const ABSENT: &str = "the daemon, its devices and its plugins may write wherever its user may: there is no Landlock; boot a kernel from 5.13 on with `landlock` in `lsm=`, and in a container let its filter of system calls pass it";

/// Holds the calling thread, and what it starts from now on, to writing below `places` and to signalling nobody outside.
///
/// A place that is not there is left out. What a place leads to is settled now: another folder that comes to its name later is another place.
///
/// # Errors
/// The kernel has Landlock and refuses.
pub fn write_only_below<P: AsRef<Path>>(places: impl IntoIterator<Item = P>) -> Result<Confinement, RulesetError> {
    let writing = AccessFs::from_write(WRITING);
    let rules = Ruleset::default().handle_access(writing)?.scope(Scope::Signal)?.create()?;
    let rules = rules.add_rules(path_beneath_rules(places, writing))?.add_rules(path_beneath_rules(DEVICES, writing))?;
    // What a module or a plugin was refused is to be found in the kernel's audit log (6.15), by which an operator learns what to list.
    Ok(match rules.log_new_exec(true)?.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Confinement::Whole,
        RulesetStatus::PartiallyEnforced => Confinement::Partial,
        RulesetStatus::NotEnforced => Confinement::Absent,
    })
}

/// Every place that a node of this configuration writes to.
fn places(config: &Config) -> Vec<PathBuf> {
    let layout = Layout::new(&config.data_dir);
    // Those below `data_dir` are named too, because each may be a link to another disk.
    let own = [config.data_dir.clone(), layout.audit(), layout.slots(), layout.latch(), layout.plugins(), layout.store()];
    own.into_iter().chain(named(config)).collect()
}

/// What the devices need.
fn named(config: &Config) -> Vec<PathBuf> {
    let tpm = |means: &Means| match means {
        Means::Tpm2(tpm2) => tpm2.tpm.tcti.strip_prefix("device:").map(PathBuf::from),
        Means::Pkcs11(_) | Means::Age(_) | Means::Card(_) | Means::Shamir(_) => None,
    };
    let tpms = config.seal.custodians.iter().filter_map(|custodian| tpm(&custodian.means));
    config.seal.writes.iter().cloned().chain(tpms).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;

    use super::*;

    fn configured(seal: &str) -> Config {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("config.yaml");
        fs::write(&file, format!("role: core\ndata_dir: /d\nseal:\n{seal}")).expect("the folder is ours");
        Config::load(&file, []).expect("a good configuration")
    }

    fn of(seal: &str) -> Vec<String> {
        places(&configured(seal)).into_iter().map(|place| place.display().to_string()).collect()
    }

    #[test]
    fn a_node_writes_below_its_data_folder_even_where_parts_of_it_are_links() {
        assert_eq!(of("  probe_interval: 1h\n"), ["/d", "/d/audit", "/d/slots", "/d/latch", "/d/plugins", "/d/store.redb"]);
    }

    #[test]
    fn what_devices_write_to_is_what_the_configuration_names_and_the_file_of_a_tpm() {
        let tpm = "    - name: t\n      tpm2: {}\n    - name: s\n      tpm2: {tcti: \"swtpm:host=127.0.0.1,port=1\"}\n";
        let token = "    - name: h\n      pkcs11: {module: /m.so, token: t, key: k}\n";
        assert_eq!(of(&format!("  custodians:\n{token}"))[6..], [] as [String; 0]);
        assert_eq!(
            of(&format!("  writes: [/var/lib/tokens, /dev/shm]\n  custodians:\n{token}{tpm}"))[6..],
            ["/var/lib/tokens", "/dev/shm", "/dev/tpmrm0"]
        );
        assert_eq!(of("  writes: /opt/hsm\n")[6..], ["/opt/hsm"]);
    }

    /// The kernel holds the thread that asks for it and those that it starts, so a thread of its own is spoilt for nobody.
    #[test]
    fn a_thread_that_is_held_writes_below_its_places_and_reads_elsewhere() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
        fs::create_dir(&inside).expect("the folder is ours");
        fs::write(&outside, "before").expect("the folder is ours");
        let held = move || {
            let confinement = write_only_below([inside.clone(), "/nonexistent".into()]).expect("it is no fault that a place is not there");
            assert_ne!(confinement, Confinement::Absent, "the machine that tests this has Landlock");
            fs::write(inside.join("new"), "new").expect("it is below its place");
            fs::rename(inside.join("new"), inside.join("moved")).expect("it stays below its place");
            assert_eq!(fs::read(&outside).expect("reading is free"), b"before");
            let refused = [
                fs::write(&outside, "after"),
                fs::remove_file(&outside),
                fs::rename(inside.join("moved"), outside.with_extension("moved")),
                fs::hard_link(&outside, inside.join("linked")),
            ];
            for refused in refused {
                let kind = refused.expect_err("it is elsewhere").kind();
                assert!(matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::CrossesDevices), "{kind:?}");
            }
            fs::write("/dev/null", "nothing").expect("anybody may");
        };
        std::thread::spawn(held).join().expect("it is held as it should be");
        assert_eq!(fs::read(dir.path().join("outside")).expect("it is there"), b"before");
    }
}
