//! Where a PIN or a shard comes from: the terminal without echo, or a file; never an argument or a variable.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use seal::SHARD_TEXT_BYTES_MAX;
use secret::Bytes;

use crate::failure::Failure;

/// Longest PIN that a node takes.
const PIN_BYTES_MAX: usize = 256;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    what: &'static str,
    bytes_max: usize,
    /// The option that reads it from a file.
    option: &'static str,
}

/// A PIN.
pub(crate) const PIN: Asked = Asked { what: "PIN", bytes_max: PIN_BYTES_MAX, option: "--pin-file" };
/// A shard.
pub(crate) const SHARD: Asked = Asked { what: "shard", bytes_max: SHARD_TEXT_BYTES_MAX, option: "--shard" };

/// Asks for a PIN on the terminal, with echo off.
pub(crate) fn from_terminal(question: &str) -> Result<Bytes, Failure> {
    typed(question, PIN)
}

/// Asks on the terminal, with echo off.
pub(crate) fn typed(question: &str, asked: Asked) -> Result<Bytes, Failure> {
    let Asked { what, option, .. } = asked;
    let failed = |error: io::Error| Failure::failed(format!("cannot ask for the {what} on the terminal ({error}): use {option}"));
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(failed)?;
    terminal.write_all(question.as_bytes()).map_err(failed)?;
    let quiet = Quiet::new(&terminal).map_err(failed)?;
    let line = read(&mut &terminal, asked);
    drop(quiet);
    line
}

/// Reads a PIN: the first line of a file.
pub(crate) fn from_file(path: &Path) -> Result<Bytes, Failure> {
    first_line(path, PIN)
}

/// Reads the first line of a file; `-` is standard input.
pub(crate) fn first_line(path: &Path, asked: Asked) -> Result<Bytes, Failure> {
    if path == Path::new("-") {
        return read(&mut io::stdin().lock(), asked);
    }
    let failed = |error: io::Error| Failure::failed(format!("cannot read the {} from {}: {error}", asked.what, path.display()));
    read(&mut File::open(path).map_err(failed)?, asked)
}

/// Reads one line straight into locked memory.
fn read(source: &mut impl Read, asked: Asked) -> Result<Bytes, Failure> {
    let mut length = 0;
    let line = Bytes::try_init_with(asked.bytes_max + 1, |buffer| -> Result<(), Failure> {
        length = line_bytes(source, buffer, asked)?;
        Ok(())
    })?;
    if length == 0 {
        return Err(Failure::failed(format!("the {} is empty", asked.what)));
    }
    Ok(line.expose(|line| Bytes::init_with(length, |pin| pin.copy_from_slice(&line[..length])))?)
}

/// Fills `buffer` with one line and returns its length without the line's end.
fn line_bytes(source: &mut impl Read, buffer: &mut [u8], asked: Asked) -> Result<usize, Failure> {
    let Asked { what, bytes_max, .. } = asked;
    let mut length = 0;
    while length < buffer.len() {
        let place = &mut buffer[length..=length];
        match source.read(place) {
            Ok(0) => return Ok(length),
            Ok(_) if place == b"\n" => return Ok(length),
            Ok(_) => length += 1,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::failed(format!("cannot read the {what}: {error}"))),
        }
    }
    Err(Failure::failed(format!("the {what} has more than {bytes_max} bytes")))
}

/// Turns the terminal's echo off until it is dropped.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        quiet.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // If the terminal is gone, there is no echo to turn on again.
        let _gone = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

impl From<secret::Exhausted> for Failure {
    fn from(error: secret::Exhausted) -> Self {
        Self::failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mut input: &[u8], expected: Result<&[u8], &str>) {
        let read = read(&mut input, PIN);
        match (read, expected) {
            (Ok(pin), Ok(expected)) => pin.expose(|pin| assert_eq!(pin, expected)),
            (Err(failure), Err(words)) => assert!(failure.message.contains(words), "{failure}"),
            (read, expected) => panic!("{:?} instead of {expected:?}", read.map(|pin| pin.len())),
        }
    }

    #[test]
    fn a_pin_is_the_first_line_without_its_end() {
        check(b"4321", Ok(b"4321"));
        check(b"4321\n", Ok(b"4321"));
        check(b"43 21 \nnext\n", Ok(b"43 21 "));
        check(&[b'7'; PIN_BYTES_MAX], Ok(&[b'7'; PIN_BYTES_MAX]));
    }

    #[test]
    fn an_empty_or_endless_pin_is_refused() {
        check(b"", Err("empty"));
        check(b"\n4321", Err("empty"));
        check(&[b'7'; PIN_BYTES_MAX + 1], Err("more than 256 bytes"));
        check(&[b'7'; 10_000], Err("more than 256 bytes"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let failure = from_file(Path::new("/nonexistent/pin")).expect_err("there is no such file");
        assert!(failure.message.contains("/nonexistent/pin"), "{failure}");
    }
}
