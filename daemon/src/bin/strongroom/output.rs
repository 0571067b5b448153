//! The only way to standard output: one value, as JSON for programs or as text for people.

use std::io::{self, ErrorKind, IsTerminal, Write};

use dialoguer::console::Term;
use serde::Serialize;

use crate::failure::Failure;

/// Where results go, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// One JSON document instead of text.
    pub(crate) json: bool,
}

impl Output {
    /// Prints a result: the value as JSON, or what `text` makes of it.
    pub(crate) fn show<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        self.bytes(self.render(value, text).as_bytes())
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            // The reader has seen enough, as `head` does.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| Failure::failed(format!("cannot write to standard output: {error}"))),
        }
    }

    fn render<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> String {
        let mut rendered = match self.json {
            true => serde_json::to_string_pretty(value).expect("results are plain structures, lists and texts"),
            false => text(value),
        };
        if !rendered.is_empty() && !rendered.ends_with('\n') {
            rendered.push('\n');
        }
        rendered
    }
}

/// Tells whoever watches something that is no result. If nobody can read it, nothing is lost.
pub(crate) fn tell(text: &str) {
    let _unread = writeln!(io::stderr().lock(), "{text}");
}

/// Text on one line that moves no cursor: lines are joined by semicolons, other control characters are spelt out.
pub(crate) fn clean(text: &str) -> String {
    let spelt = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let line = |line: &str| line.chars().map(spelt).collect::<String>();
    let mut lines = text.trim_end_matches('\n').split('\n');
    let first = lines.next().map(line).into_iter();
    first.chain(lines.map(|next| line(next.trim_start()))).collect::<Vec<_>>().join("; ")
}

/// Lines of `name  value` with aligned values; a name may repeat.
pub(crate) fn pairs<N: AsRef<str>>(rows: &[(N, String)]) -> String {
    aligned(&rows.iter().map(|(name, value)| vec![name.as_ref().to_owned(), value.clone()]).collect::<Vec<_>>())
}

/// Aligned columns under a head; `nothing` if there are no rows.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>, nothing: &str) -> String {
    if rows.is_empty() {
        return nothing.to_owned();
    }
    let head = head.iter().map(|name| name.to_uppercase()).collect();
    aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// How wide the terminal is that is written to, if it is one: what programs read keeps its lines.
pub(crate) fn columns() -> Option<usize> {
    io::stdout().is_terminal().then(|| usize::from(Term::stdout().size().1))
}

/// Breaks longer lines at blanks, and goes on below their last column, which begins at `indent`. A word is never broken: it may be a command.
pub(crate) fn folded(text: &str, indent: usize, columns: Option<usize>) -> String {
    let Some(columns) = columns else { return text.to_owned() };
    let mut folded = String::new();
    for line in text.lines() {
        let (head, value) = line.split_at(line.char_indices().nth(indent).map_or(line.len(), |(at, _)| at));
        folded.push_str(head);
        let mut at = indent;
        for (place, word) in value.split(' ').enumerate() {
            let length = word.chars().count();
            if place > 0 && at + 1 + length > columns {
                folded.push_str(&format!("\n{:indent$}", ""));
                at = indent;
            } else if place > 0 {
                folded.push(' ');
                at += 1;
            }
            folded.push_str(word);
            at += length;
        }
        folded.push('\n');
    }
    folded
}

fn aligned(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_one_json_document_or_lines_of_text() {
        let value = ["a"];
        assert_eq!(Output { json: true }.render(&value, |_| "unused".to_owned()), "[\n  \"a\"\n]\n");
        assert_eq!(Output { json: false }.render(&value, |value| value.join(",")), "a\n");
        assert_eq!(Output { json: false }.render(&value, |_| String::new()), "");
    }

    #[test]
    fn columns_are_aligned_by_characters_and_have_no_trailing_blanks() {
        let rows = vec![vec!["zürich".to_owned(), "1".to_owned()], vec!["b".to_owned(), String::new()]];
        assert_eq!(table(&["name", "n"], rows, "none"), "NAME    N\nzürich  1\nb\n");
        assert_eq!(table(&["name"], vec![], "none yet"), "none yet");
        assert_eq!(pairs(&[("a", "1".to_owned()), ("long", "2".to_owned())]), "a     1\nlong  2\n");
    }

    #[test]
    fn a_terminals_lines_are_broken_at_blanks_and_a_programs_are_not() {
        let text = pairs(&[("name", "one two three".to_owned()), ("n", "x".repeat(20))]);
        assert_eq!(folded(&text, 6, None), text);
        assert_eq!(folded(&text, 6, Some(80)), text);
        assert_eq!(folded(&text, 6, Some(13)), format!("name  one two\n      three\nn     {}\n", "x".repeat(20)));
    }

    #[test]
    fn what_comes_from_outside_moves_no_cursor() {
        assert_eq!(pairs(&[("name", "x\u{1b}[2J\r\ny\t".to_owned())]), "name  x\\u{1b}[2J\\r; y\\t\n");
    }
}
