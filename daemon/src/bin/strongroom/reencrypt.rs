//! `reencrypt`: the walk that brings keys under the newest versions of what wraps them.

use std::time::Duration;

use clap::{Args, Subcommand};
use daemon::admin::types::ReencryptionInfo;
use indicatif::{ProgressBar, ProgressStyle};

use crate::context::{Context, wait};
use crate::failure::Failure;
use crate::output::{clean, pairs};

/// How often a watched walk is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// `reencrypt ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Reencrypt {
    /// Show how far the keys have come; exit code 1 if some were refused
    Status(Status),
    /// Begin a walk over all keys, although nothing is known to be due
    Start,
    /// Hold the walk until it is resumed, also over a restart
    Pause,
    /// Let the walk go on
    Resume,
}

/// `reencrypt status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Wait until the walk has ended, with a progress bar
    #[arg(long)]
    watch: bool,
}

/// Runs `reencrypt ...`.
pub(crate) fn run(context: &Context, command: &Reencrypt) -> Result<(), Failure> {
    let client = context.client()?;
    let controlled = |verb| context.out.show(&wait(client.control_reencryption(verb))?, walk_text);
    match command {
        Reencrypt::Status(Status { watch }) => {
            let mut walk = wait(client.reencryption())?;
            if *watch {
                let bar = ProgressBar::new(0);
                while walk.state == "walking" {
                    show(&bar, &walk);
                    walk = wait(async {
                        tokio::time::sleep(WATCH_EVERY).await;
                        client.reencryption().await
                    })?;
                }
                bar.finish_and_clear();
            }
            context.out.show(&walk, walk_text)?;
            match walk.refused {
                0 => Ok(()),
                refused => Err(Failure::failed(format!("{refused} keys stay under an old version: `strongroom status` names them"))),
            }
        }
        Reencrypt::Start => controlled("start"),
        Reencrypt::Pause => controlled("pause"),
        Reencrypt::Resume => controlled("resume"),
    }
}

/// With an end in sight only where a walk before has counted the keys.
fn show(bar: &ProgressBar, walk: &ReencryptionInfo) {
    let template = match walk.of {
        Some(of) => {
            bar.set_length(of.max(walk.looked_at));
            "{wide_bar} {pos} of about {len} keys, {msg} moved, {eta} left"
        }
        None => "{spinner} {pos} keys, {msg} moved, {elapsed} so far",
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the template is ours"));
    bar.set_position(walk.looked_at);
    bar.set_message(walk.moved.to_string());
}

fn walk_text(walk: &ReencryptionInfo) -> String {
    let resumed = if walk.resumed { ", from where it was before" } else { "" };
    let mut rows = vec![("re-encryption", format!("{}{resumed}", walk.state))];
    let limits = if walk.urgent { "none, after a compromise".to_owned() } else { format!("rate {}, processor {}", walk.rate, walk.cpu) };
    rows.push(("limits", limits));
    rows.extend(walk.began.iter().map(|time| ("began", time.clone())));
    rows.extend(walk.ended.iter().map(|time| ("ended", time.clone())));
    let of = walk.of.filter(|of| walk.state != "done" && *of >= walk.looked_at).map_or(String::new(), |of| format!(" of about {of}"));
    rows.push(("looked at", format!("{}{of} keys", walk.looked_at)));
    rows.push(("moved", format!("{} keys", walk.moved)));
    if walk.refused > 0 {
        rows.push(("refused", format!("{} keys", walk.refused)));
        rows.extend(walk.refusals.iter().map(|refusal| ("", clean(refusal))));
    }
    rows.extend(walk.renewals.iter().map(|renewal| {
        let below = renewal.tenant.as_ref().map_or_else(|| "the IVK".to_owned(), |tenant| format!("tenant {tenant}'s key"));
        ("renews", format!("what lies below {below} and was made until {}", renewal.until))
    }));
    if walk.renewed > 0 {
        rows.push(("renewed", format!("{} keys since the start", walk.renewed)));
    }
    rows.extend(walk.error.iter().map(|error| ("waits", clean(error))));
    pairs(&rows)
}

#[cfg(test)]
mod tests {
    use daemon::admin::types::RenewalInfo;

    use super::*;

    #[test]
    fn a_walk_is_told_with_what_it_refused() {
        let walk = ReencryptionInfo {
            state: "walking".to_owned(),
            began: Some("2026".to_owned()),
            ended: None,
            looked_at: 7,
            of: Some(9),
            moved: 5,
            refused: 1,
            refusals: vec!["L2-x: the blob does not verify".to_owned()],
            error: None,
            resumed: true,
            rate: "500/s".to_owned(),
            cpu: "20%".to_owned(),
            urgent: false,
            renewals: vec![RenewalInfo { tenant: Some("acme".to_owned()), until: "2026".to_owned() }],
            renewed: 3,
        };
        let text = walk_text(&walk);
        for part in [
            "walking",
            "7 of about 9 keys",
            "5 keys",
            "1 keys",
            "L2-x",
            "below tenant acme's key",
            "3 keys since",
            "from where it was",
            "rate 500/s, processor 20%",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(walk_text(&ReencryptionInfo { urgent: true, ..walk }).contains("none, after a compromise"));
    }
}
