//! Tables of Markdown, and the words that stand in their cells.

use std::fmt;

/// A table under construction.
pub(super) struct Table {
    columns: usize,
    text: String,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        let mut table = Self { columns: head.len(), text: String::new() };
        table.row(head);
        table.text.push_str(&"|---".repeat(head.len()));
        table.text.push_str("|\n");
        table
    }

    pub(super) fn row(&mut self, cells: &[&str]) {
        assert_eq!(cells.len(), self.columns, "{cells:?}");
        self.text.push_str("| ");
        self.text.push_str(&cells.join(" | "));
        self.text.push_str(" |\n");
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

pub(super) fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "-" }
}

/// The words with commas between; a dash if there is none.
pub(super) fn list<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    let words: Vec<T> = words.into_iter().collect();
    match words.as_slice() {
        [] => "-".to_owned(),
        words => words.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", "),
    }
}
