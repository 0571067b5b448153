//! Which configuration is meant when nobody names one: a host has one node as a rule, and its file is called as its unit has it.

use std::path::{Path, PathBuf};

use keys::policy::NodeRole;

use super::{ConfigError, DEFAULT_FILE};

/// The file that the unit of a role reads.
#[must_use]
pub fn role_file(role: NodeRole) -> PathBuf {
    Path::new(DEFAULT_FILE).with_file_name(match role {
        NodeRole::Core => "core.yaml",
        NodeRole::Edge => "edge.yaml",
    })
}

/// [`DEFAULT_FILE`] where it is there, else the one file that there is of those of the roles; [`DEFAULT_FILE`] if there is none, for whoever opens it to say so.
///
/// # Errors
/// [`ConfigError::Several`].
pub fn default_file() -> Result<PathBuf, ConfigError> {
    only([DEFAULT_FILE.into(), role_file(NodeRole::Core), role_file(NodeRole::Edge)])
        .map(|found| found.unwrap_or_else(|| DEFAULT_FILE.into()))
}

/// The first where it is there: somebody has made it, and an earlier package may have left files of both roles beside it. Else the one that is there.
fn only(files: [PathBuf; 3]) -> Result<Option<PathBuf>, ConfigError> {
    let there = |file: &PathBuf| std::fs::symlink_metadata(file).is_ok();
    if there(&files[0]) {
        let [first, ..] = files;
        return Ok(Some(first));
    }
    let found: Vec<PathBuf> = files.into_iter().filter(there).collect();
    match &found[..] {
        [] => Ok(None),
        [only] => Ok(Some(only.clone())),
        _ => Err(ConfigError::Several { files: found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_file_that_is_there_is_meant_and_of_two_roles_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = || ["config.yaml", "core.yaml", "edge.yaml"].map(|name| folder.path().join(name));
        let [config, core, edge] = files();
        assert_eq!(only(files()).expect("none is there"), None);
        std::fs::write(&core, "role: core").expect("the folder is ours");
        assert_eq!(only(files()).expect("one is there"), Some(core.clone()));
        std::fs::write(&edge, "role: edge").expect("the folder is ours");
        let several = only(files()).expect_err("two nodes").to_string();
        assert!(several.contains(&edge.display().to_string()) && several.contains("--config"), "{several}");
        std::os::unix::fs::symlink("core.yaml", &config).expect("the folder is ours");
        assert_eq!(only(files()).expect("somebody has said which"), Some(config));
    }
}
