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

/// The one file that there is of [`DEFAULT_FILE`] and those of the roles; [`DEFAULT_FILE`] if there is none, for whoever opens it to say so.
///
/// # Errors
/// [`ConfigError::Several`].
pub fn default_file() -> Result<PathBuf, ConfigError> {
    only([DEFAULT_FILE.into(), role_file(NodeRole::Core), role_file(NodeRole::Edge)])
        .map(|found| found.unwrap_or_else(|| DEFAULT_FILE.into()))
}

/// The one that is there; links to one another are one.
fn only(files: [PathBuf; 3]) -> Result<Option<PathBuf>, ConfigError> {
    let there = |file: &PathBuf| std::fs::symlink_metadata(file).is_ok();
    let mut found: Vec<PathBuf> = files.into_iter().filter(there).collect();
    found.dedup_by_key(|file| std::fs::canonicalize(&*file).unwrap_or_else(|_| file.clone()));
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
    fn the_one_file_that_is_there_is_meant_and_of_several_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = || ["config.yaml", "core.yaml", "edge.yaml"].map(|name| folder.path().join(name));
        let [config, core, edge] = files();
        assert_eq!(only(files()).expect("none is there"), None);
        std::fs::write(&core, "role: core").expect("the folder is ours");
        assert_eq!(only(files()).expect("one is there"), Some(core.clone()));
        std::os::unix::fs::symlink("core.yaml", &config).expect("the folder is ours");
        assert_eq!(only(files()).expect("both are one"), Some(config));
        std::fs::write(&edge, "role: edge").expect("the folder is ours");
        let several = only(files()).expect_err("two nodes").to_string();
        assert!(several.contains(&edge.display().to_string()) && several.contains("--config"), "{several}");
    }
}
