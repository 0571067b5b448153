//! Runs one external command, shown as a line that can be pasted into a shell.

use std::fmt::Write;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// `cargo` with these arguments: the very cargo that runs this program.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Runs to the end with the caller's terminal; an error if it cannot be started or does not exit with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command.status().with_context(|| format!("{} cannot be started", command.get_program().display()))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// The command as it would be typed in the repository's root, with the variables set for it.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        let value = value.unwrap_or_default().to_string_lossy();
        write!(line, "{}={} ", name.display(), quoted(&value)).expect("a String takes all that is written");
    }
    let program = command.get_program().to_string_lossy();
    line.push_str(if program.ends_with("/cargo") { "cargo" } else { &program });
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(&argument.to_string_lossy()));
    }
    line
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_pasted_into_a_shell() {
        let mut command = Command::new("/opt/bin/cargo");
        command.args(["run", "", "a b", "it's"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(shown(&command), r"RUSTDOCFLAGS='-D warnings' cargo run '' 'a b' 'it'\''s'");
    }

    #[test]
    fn a_command_that_exits_with_1_is_an_error_that_names_it() {
        let error = run(&mut Command::new("false")).expect_err("false exits with 1");
        assert!(error.to_string().contains("`false`"), "{error}");
    }

    #[test]
    fn a_missing_program_is_an_error_that_names_it() {
        let error = run(&mut Command::new("/nowhere/at-all")).expect_err("there is no such program");
        assert!(error.to_string().contains("/nowhere/at-all"), "{error}");
    }
}
