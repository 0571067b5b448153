//! The search itself, as the program `memscan` runs it: needles first, then questions, one JSON document a line.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::memscan::forms::{NEEDLE_BYTES, Needle};

const CHUNK_BYTES: usize = 256 * 1024;
const PAGE_BYTES: usize = 4096;
/// What a needle across two chunks needs of the first.
const CARRIED_BYTES: usize = NEEDLE_BYTES - 1;
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// What to look at.
#[derive(Debug, Serialize, Deserialize)]
pub enum Question {
    /// Every readable mapping of a process, which is stopped meanwhile, so that what is seen is one moment.
    Process(u32),
    /// A file.
    File(PathBuf),
    /// Hold every needle on the heap, in the clear, and say so: for another scanner to find.
    Hold,
}

/// What was found.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Bytes that could be read.
    pub read_bytes: u64,
    /// Bytes of mappings that say they are readable and are not, by what they are: the arena's pages, for one.
    pub hidden_bytes: BTreeMap<String, u64>,
    /// Number of the needle, and in what kind of place it was.
    pub hits: Vec<(usize, String)>,
}

/// The answer to a question.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It was looked at.
    Seen(Report),
    /// The needles are held.
    Holding,
    /// It cannot be looked at.
    Failed(String),
}

/// Answers questions until there are no more.
///
/// # Errors
/// Input or output failed, or the input is not what it should be.
pub fn serve(input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut lines = input.lines();
    let needles: Vec<Needle> = serde_json::from_str(&lines.next().ok_or(io::ErrorKind::UnexpectedEof)??)?;
    let mut search = Search::new(&needles)?;
    let mut held: Vec<u8> = Vec::new();
    for line in lines {
        let answer = match serde_json::from_str(&line?)? {
            Question::Process(process) => search.process(process).map(Answer::Seen),
            Question::File(path) => search.file(&path).map(Answer::Seen),
            Question::Hold => {
                held = needles.iter().flat_map(|needle| needle.inverted.map(|byte| !byte)).collect();
                Ok(Answer::Holding)
            }
        };
        let answer = answer.unwrap_or_else(|error| Answer::Failed(error.to_string()));
        writeln!(output, "{}", serde_json::to_string(&answer)?)?;
        output.flush()?;
    }
    drop(held);
    Ok(())
}

/// The needles as one automaton, and the buffer that everything passes through. Both know inverted bytes only.
struct Search {
    automaton: AhoCorasick,
    buffer: Vec<u8>,
}

impl Search {
    fn new(needles: &[Needle]) -> io::Result<Self> {
        let patterns = needles.iter().map(|needle| needle.inverted);
        let automaton = AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).build(patterns).map_err(io::Error::other)?;
        Ok(Self { automaton, buffer: vec![0; CARRIED_BYTES + CHUNK_BYTES] })
    }

    fn process(&mut self, process: u32) -> io::Result<Report> {
        let _stopped = Stopped::new(process)?;
        let memory = File::open(format!("/proc/{process}/mem"))?;
        let mut report = Report::default();
        for Mapping { range, kind } in mappings(process)? {
            let mut at = range.start;
            while at < range.end {
                let wanted = usize::try_from(range.end - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
                let is_first = at == range.start;
                let read = memory.read_at(&mut self.buffer[CARRIED_BYTES..CARRIED_BYTES + wanted], at).unwrap_or(0);
                if read == 0 {
                    let gap = wanted.min(PAGE_BYTES);
                    *report.hidden_bytes.entry(kind.clone()).or_default() += gap as u64;
                    self.buffer[..CARRIED_BYTES].fill(0);
                    at += gap as u64;
                    continue;
                }
                self.look(read, is_first, &kind, &mut report);
                at += read as u64;
            }
        }
        Ok(report)
    }

    fn file(&mut self, path: &Path) -> io::Result<Report> {
        let mut file = File::open(path)?;
        let mut report = Report::default();
        let kind = path.display().to_string();
        let mut is_first = true;
        loop {
            match file.read(&mut self.buffer[CARRIED_BYTES..])? {
                0 => return Ok(report),
                read => self.look(read, is_first, &kind, &mut report),
            }
            is_first = false;
        }
    }

    /// Looks at `read` fresh bytes behind the carried ones, inverts them on the way, and carries their end over to the next call.
    fn look(&mut self, read: usize, is_first: bool, kind: &str, report: &mut Report) {
        report.read_bytes += read as u64;
        let end = CARRIED_BYTES + read;
        if self.buffer[CARRIED_BYTES..end] == ZEROS[..read] {
            // Inverted, as the carried bytes are.
            self.buffer[..CARRIED_BYTES].fill(0xFF);
            return;
        }
        invert(&mut self.buffer[CARRIED_BYTES..end]);
        let start = if is_first { CARRIED_BYTES } else { 0 };
        let found = self.automaton.find_overlapping_iter(&self.buffer[start..end]);
        report.hits.extend(found.map(|found| (found.pattern().as_usize(), kind.to_owned())));
        self.buffer.copy_within(end - CARRIED_BYTES..end, 0);
    }
}

/// Sixteen bytes at a time, because a debug build does this too.
fn invert(bytes: &mut [u8]) {
    let (blocks, rest) = bytes.as_chunks_mut::<16>();
    for block in blocks {
        *block = (!u128::from_ne_bytes(*block)).to_ne_bytes();
    }
    rest.iter_mut().for_each(|byte| *byte = !*byte);
}

/// A readable range of a process and what it is.
struct Mapping {
    range: Range<u64>,
    kind: String,
}

fn mappings(process: u32) -> io::Result<Vec<Mapping>> {
    let stacks = stack_pointers(process)?;
    let text = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let mappings = text.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        let range = address(start)?..address(end)?;
        let is_readable = fields.next()?.starts_with('r');
        let kind = match fields.nth(3) {
            _ if stacks.iter().any(|pointer| range.contains(pointer)) => "stack",
            Some("[heap]") => "heap",
            Some(name) if name.contains("secretmem") => "secretmem",
            Some(name) if name.starts_with('/') => "file",
            Some(name) if name.starts_with("[v") => "kernel",
            _ => "anon",
        };
        is_readable.then(|| Mapping { range, kind: kind.to_owned() })
    });
    Ok(mappings.collect())
}

/// Where each thread of a stopped process has its stack pointer: the last field but one of `/proc/PID/task/TID/syscall`.
fn stack_pointers(process: u32) -> io::Result<Vec<u64>> {
    let mut pointers = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(task?.path().join("syscall")).unwrap_or_default();
        let field = text.split_ascii_whitespace().rev().nth(1);
        pointers.extend(field.and_then(|field| u64::from_str_radix(field.trim_start_matches("0x"), 16).ok()));
    }
    Ok(pointers)
}

/// A process that stands still until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(process: u32) -> io::Result<Self> {
        let pid = Pid::from_raw(i32::try_from(process).map_err(io::Error::other)?);
        kill(pid, Signal::SIGSTOP)?;
        let stopped = Self(pid);
        while !all_threads_stand(process)? {
            std::thread::yield_now();
        }
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Fails only for a process that has ended.
        let _gone = kill(self.0, Signal::SIGCONT);
    }
}

fn all_threads_stand(process: u32) -> io::Result<bool> {
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let stat = fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
        // The state follows the name, which may hold anything, parentheses too.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        match state {
            Some('T' | 't') | None => {}
            Some('Z' | 'X') => return Err(io::Error::other("the process has ended")),
            Some(_) => return Ok(false),
        }
    }
    Ok(true)
}
