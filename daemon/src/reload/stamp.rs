//! Has a file changed? Its metadata say so, whatever put it there: a rename, a copy, a symbolic link that points elsewhere.
//!
//! They are polled. Kernel notifications would be some hundred milliseconds faster, but are silent on network file systems and when a folder
//! above is replaced, and watching all of that takes more code than asking about a dozen files twice a second.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the file system says of one file; `None` if it cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp(Option<[i128; 5]>);

impl Stamp {
    fn of(file: &Path) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self(std::fs::metadata(file).ok().map(|about| {
            let (modified, changed) = (nanoseconds(about.mtime(), about.mtime_nsec()), nanoseconds(about.ctime(), about.ctime_nsec()));
            [about.dev().into(), about.ino().into(), about.len().into(), modified, changed]
        }))
    }
}

/// A set of files that are used together.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    used: Vec<Stamp>,
    seen: Vec<Stamp>,
}

impl Watch {
    /// Watches these files, as they are now.
    pub(super) fn on(files: Vec<PathBuf>) -> Self {
        let used = stamps(&files);
        Self { files, seen: used.clone(), used }
    }

    /// Has one of them changed since the last use, and has none since the last look, so that nobody is in the middle of writing?
    pub(super) fn look(&mut self) -> bool {
        let now = stamps(&self.files);
        let is_quiet = now == self.seen;
        self.seen = now;
        is_quiet && self.seen != self.used
    }

    /// They are about to be read.
    pub(super) fn used(&mut self) {
        self.used = stamps(&self.files);
        self.seen.clone_from(&self.used);
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| Stamp::of(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_it_is_quiet_and_until_it_is_used() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (file, other) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&file, "1").expect("the folder is ours");
        let mut watch = Watch::on(vec![file.clone(), other.clone()]);
        assert!(!watch.look(), "nothing has changed");
        std::fs::write(folder.path().join("new"), "2").expect("the folder is ours");
        std::fs::rename(folder.path().join("new"), &file).expect("the folder is ours");
        assert!(!watch.look(), "it may be in the middle of changing");
        assert!(watch.look());
        std::fs::write(&other, "was not there").expect("the folder is ours");
        assert!(!watch.look(), "it changes again");
        assert!(watch.look() && watch.look());
        watch.used();
        assert!(!watch.look());
        std::fs::remove_file(&file).expect("it is there");
        assert!(!watch.look());
        assert!(watch.look(), "a file that is gone has changed");
    }

    #[test]
    fn a_symbolic_link_that_points_elsewhere_is_a_change() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["one", "two"] {
            std::fs::write(path(name), "same").expect("the folder is ours");
        }
        std::os::unix::fs::symlink("one", path("link")).expect("the folder is ours");
        let mut watch = Watch::on(vec![path("link")]);
        std::os::unix::fs::symlink("two", path("next")).expect("the folder is ours");
        std::fs::rename(path("next"), path("link")).expect("the folder is ours");
        assert!(!watch.look() && watch.look());
    }
}
