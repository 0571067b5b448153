//! `slot shards`: who keeps the shards of a slot, and the files and sheets for the people among them.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use daemon::admin::types::{ShardInfo, SplitInfo};

use crate::context::{Context, wait};
use crate::failure::Failure;
use crate::output::table;
use crate::slot::sheet::Sheet;

/// `slot shards`.
#[derive(Debug, Args)]
pub(crate) struct Shards {
    /// The slot's id or label
    slot: String,
    /// Write each person's encrypted shard, and a sheet of it as text and as a picture, into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs `slot shards`.
pub(crate) fn run(context: &Context, args: &Shards) -> Result<(), Failure> {
    let split = wait(context.client()?.shards(&args.slot))?;
    let Some(dir) = &args.out else { return context.out.show(&split, text) };
    let files = hand_out(dir, &split)?;
    context.out.show(&files, |files| files.iter().map(|file| format!("{}\n", file.display())).collect())
}

/// Writes what people get; returns the files.
pub(crate) fn hand_out(dir: &Path, split: &SplitInfo) -> Result<Vec<PathBuf>, Failure> {
    fs::create_dir_all(dir).map_err(|error| Failure::failed(format!("cannot make the folder {}: {error}", dir.display())))?;
    let mut files = Vec::new();
    for shard in split.shards.iter().filter(|shard| shard.age_file.is_some() || shard.card_file.is_some()) {
        let sheet = Sheet::new(split, shard)?;
        let base = dir.join(file_name(shard));
        let own = if shard.card_file.is_some() { "card" } else { "age" };
        for (extension, content) in [(own, sheet.armored.clone()), ("txt", sheet.printed()), ("svg", sheet.svg())] {
            let file = base.with_extension(extension);
            fs::write(&file, content).map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display())))?;
            files.push(file);
        }
    }
    Ok(files)
}

/// `POINT-KEEPER`, of letters, digits and hyphens.
fn file_name(shard: &ShardInfo) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("{}-{}", shard.point, shard.keeper.chars().map(plain).collect::<String>())
}

fn text(split: &SplitInfo) -> String {
    let row = |shard: &ShardInfo| {
        let keeps = shard.recipient.clone().unwrap_or_else(|| "a device".to_owned());
        vec![
            shard.point.to_string(),
            shard.keeper.clone(),
            shard.region.clone().unwrap_or_else(|| "-".to_owned()),
            shard.kind.clone(),
            keeps,
        ]
    };
    let waits = if split.is_pending { "; it does not count before all people have read theirs back" } else { "" };
    let rows = table(&["shard", "keeper", "region", "kind", "for"], split.shards.iter().map(row).collect(), "no shards");
    format!("any {} of {} open slot {}{waits}\n{rows}", split.threshold, split.shards.len(), split.label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keepers_name_cannot_leave_the_folder() {
        let shard = ShardInfo {
            point: 3,
            keeper: "../../etc/ärger".to_owned(),
            region: None,
            kind: "age".to_owned(),
            recipient: None,
            plain_sha3_256: String::new(),
            age_file: None,
            card_file: None,
        };
        assert_eq!(file_name(&shard), "3-------etc--rger");
    }
}
