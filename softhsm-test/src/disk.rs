//! A small disk that can be filled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own in memory, unmounted when dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// A disk of this size (tmpfs(5)), mounted.
    ///
    /// # Panics
    /// If this is not root.
    #[must_use]
    pub fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).expect("the folder is ours");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"]).arg(at).status();
        assert!(mounted.is_ok_and(|status| status.success()), "mounting needs root");
        Self(at.to_owned())
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Takes every free byte.
    pub fn fill(&self) {
        let _full = fs::write(self.ballast(), vec![0; 256 << 20]);
    }

    /// Gives them back.
    ///
    /// # Panics
    /// If it was not filled.
    pub fn empty(&self) {
        fs::remove_file(self.ballast()).expect("the disk was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
