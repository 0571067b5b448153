//! For whom root makes a node: for the user to whom its folder belongs, as whom the daemon runs.
//!
//! Files of root in it would be closed to the daemon, and so would what a software token keeps of a key that root makes. Root becomes that user instead
//! of giving the files away afterwards: in a folder of somebody else's, root is not to change owners by name.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use daemon::config::{Config, Means};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, getgrouplist, setgroups, setresgid, setresuid};

use crate::failure::Failure;
use crate::output::tell;

/// Goes on as the owner of the data folder, for good, if root runs this and the folder is there and not root's.
///
/// What only root may read has to be read before: a PIN, an approval.
pub(super) fn become_them(config: &Config) -> Result<(), Failure> {
    let Some(owner) = fs::metadata(&config.data_dir).ok().map(|about| about.uid()).filter(|owner| *owner != 0) else { return Ok(()) };
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let dir = config.data_dir.display();
    let unknown =
        || Failure::failed(format!("{dir} belongs to user {owner}, whom this machine does not know: chown it to the daemon's user"));
    let user = User::from_uid(Uid::from_raw(owner)).ok().flatten().ok_or_else(unknown)?;
    let refused = |error: Errno| Failure::failed(format!("cannot go on as user {}, to whom {dir} belongs: {error}", user.name));
    let name = CString::new(user.name.as_str()).map_err(|_| unknown())?;
    let mut groups = getgrouplist(&name, user.gid).map_err(refused)?;
    groups.extend(devices(config).filter_map(|device| fs::metadata(device).ok()).map(|about| Gid::from_raw(about.gid())));
    setgroups(&groups).and_then(|()| setresgid(user.gid, user.gid, user.gid)).map_err(refused)?;
    setresuid(user.uid, user.uid, user.uid).map_err(refused)?;
    tell(&format!("The node is made as user {}, to whom {dir} belongs.", user.name));
    Ok(())
}

/// TPMs, which the unit gives the daemon by their group.
fn devices(config: &Config) -> impl Iterator<Item = &Path> {
    config.seal.custodians.iter().filter_map(|custodian| match &custodian.means {
        Means::Tpm2(tpm2) => tpm2.tpm.tcti.strip_prefix("device:").map(Path::new),
        _ => None,
    })
}
