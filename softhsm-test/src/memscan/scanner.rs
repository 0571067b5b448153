//! A scanner process as its user sees it: asked, answered, ended when dropped.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::binary;
use crate::memscan::forms::{Class, Needle, Needles};
use crate::memscan::search::{Answer, Question, Report};

/// A running `memscan` with its needles.
pub struct Scanner {
    needles: Vec<Needle>,
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// A process whose heap holds every needle in the clear.
pub struct Held(Scanner);

impl Held {
    /// The process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.0.child.id()
    }
}

impl Scanner {
    /// Starts one.
    ///
    /// # Panics
    /// If the program is not built.
    #[must_use]
    pub fn new(needles: &Needles) -> Self {
        let mut child = Command::new(binary("memscan", "softhsm-test"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary is there");
        let questions = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut scanner = Self { needles: needles.list(), child, questions, answers };
        scanner.send(&serde_json::to_string(&scanner.needles).expect("needles are plain data"));
        scanner
    }

    /// Plants every needle in the heap of another process.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn plant(&self) -> Held {
        let mut needles = Needles::default();
        needles.extend(&self.needles);
        let mut held = Self::new(&needles);
        assert!(matches!(held.ask(&Question::Hold), Answer::Holding), "the needles are not held");
        Held(held)
    }

    /// What it searches for.
    #[must_use]
    pub fn needles(&self) -> &[Needle] {
        &self.needles
    }

    /// Looks at every readable mapping of a process.
    ///
    /// # Panics
    /// If it cannot: run as root.
    #[must_use]
    pub fn process(&mut self, process: u32) -> Report {
        self.look(&Question::Process(process))
    }

    /// Looks at a file.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn file(&mut self, path: &Path) -> Report {
        self.look(&Question::File(path.to_owned()))
    }

    /// The hits of a report by class and place.
    pub fn named<'a>(&'a self, report: &'a Report) -> impl Iterator<Item = (Needle, &'a str)> + 'a {
        report.hits.iter().map(|(number, place)| (self.needles[*number], place.as_str()))
    }

    /// The needles that a report did not find.
    #[must_use]
    pub fn missing(&self, report: &Report) -> Vec<Class> {
        let found = |number: usize| report.hits.iter().any(|(hit, _)| *hit == number);
        self.needles.iter().enumerate().filter(|(number, _)| !found(*number)).map(|(_, needle)| needle.class).collect()
    }

    fn look(&mut self, question: &Question) -> Report {
        match self.ask(question) {
            Answer::Seen(report) => report,
            other => panic!("{question:?}: {other:?}; the scanner needs root and a process that lives"),
        }
    }

    fn ask(&mut self, question: &Question) -> Answer {
        self.send(&serde_json::to_string(question).expect("a question is plain data"));
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the scanner lives");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the scanner said {line:?}: {error}"))
    }

    fn send(&mut self, line: &str) {
        let questions = self.questions.as_mut().expect("it is open until the drop");
        writeln!(questions, "{line}").and_then(|()| questions.flush()).expect("the scanner lives");
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        drop(self.questions.take());
        let _reaped = self.child.wait();
    }
}

/// Every ordinary file below a folder.
#[must_use]
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}
