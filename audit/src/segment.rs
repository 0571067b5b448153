//! Reading segments: their names, their lines, and where a kill or power loss tore the last one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use keys::id::Time;

use crate::chain::{Chain, link};
use crate::error::{AuditError, Finding, Flaw};
use crate::log::CALL_BYTES_MAX;
use crate::record::{FRAME_BYTES, HEADER, Header, LINK_BYTES, Line, is_chained, length_range};

/// A machine that lost power leaves whole sectors unwritten, which read as zeroes.
const SECTOR_BYTES: u64 = 512;

/// The path of a segment.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:012}.log"))
}

/// The path of a segment while it is being made.
pub(crate) fn new_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:012}.new"))
}

/// The numbers of all segments, rising.
///
/// # Errors
/// [`AuditError::Io`].
pub(crate) fn list(dir: &Path) -> Result<Vec<u64>, AuditError> {
    let names = std::fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
    let number = |name: &OsString| name.to_str()?.strip_suffix(".log")?.parse().ok();
    let is_ours = |(number, name): &(u64, OsString)| *number > 0 && path(dir, *number).file_name() == Some(name);
    let names = names.map_err(AuditError::io("list", dir))?.into_iter();
    let mut numbers: Vec<u64> = names.filter_map(|name| Some((number(&name)?, name))).filter(is_ours).map(|(number, _)| number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// With the line that names the next segment.
    Continued,
    /// It is the newest: `bytes` of whole lines, then `torn_bytes` of a line that was never finished.
    Open { bytes: u64, torn_bytes: u64 },
}

/// Where a line stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) file: &'a Path,
    pub(crate) offset: u64,
    pub(crate) seq: u64,
}

impl Place<'_> {
    pub(crate) fn broken(self, flaw: Flaw) -> AuditError {
        AuditError::Broken(Finding { file: self.file.to_owned(), offset: self.offset, seq: self.seq, flaw })
    }
}

/// Reads the header of a segment, without believing it.
///
/// # Errors
/// [`AuditError::Io`] or [`AuditError::Broken`].
pub(crate) fn header(dir: &Path, number: u64) -> Result<Header, AuditError> {
    let file = path(dir, number);
    let place = Place { file: &file, offset: 0, seq: 0 };
    let mut reader = Reader::open(&file)?;
    match reader.next().map_err(AuditError::io("read", &file))? {
        Next::Line { kind: HEADER, body, .. } => match Line::decode(HEADER, body).map_err(|flaw| place.broken(flaw))? {
            Line::Header(header) => Ok(header),
            _ => Err(place.broken(Flaw::Header)),
        },
        Next::Flaw { flaw, .. } => Err(place.broken(flaw)),
        _ => Err(place.broken(Flaw::Header)),
    }
}

/// Follows `chain` through one segment, handing every line to `visit` after it was found to follow.
///
/// - `is_newest`: a torn tail is no flaw. Of any other flaw, the first one ends the walk.
/// - Time in proportion to the file, memory for one line.
///
/// # Errors
/// [`AuditError::Io`] or [`AuditError::Broken`].
pub(crate) fn walk(
    dir: &Path,
    number: u64,
    is_newest: bool,
    chain: &mut Chain,
    mut visit: impl FnMut(&Line, Place<'_>) -> Result<(), AuditError>,
) -> Result<Tail, AuditError> {
    let file = path(dir, number);
    let mut reader = Reader::open(&file)?;
    let mut has_ended = false;
    loop {
        let place = Place { file: &file, offset: reader.offset, seq: chain.next_seq };
        let (flaw, end) = match reader.next().map_err(AuditError::io("read", &file))? {
            Next::Line { .. } if has_ended => return Err(place.broken(Flaw::AfterEnd)),
            Next::Line { kind, .. } if (kind == HEADER) != (place.offset == 0) => return Err(place.broken(Flaw::Header)),
            Next::Line { kind, body, link } => match Line::decode(kind, body).and_then(|line| {
                chain.follow(&line, body, link, number)?;
                Ok(line)
            }) {
                Ok(line) => {
                    visit(&line, place)?;
                    has_ended = matches!(line, Line::End { .. });
                    continue;
                }
                Err(flaw) => (flaw, reader.offset),
            },
            Next::Nothing if has_ended => return Ok(Tail::Continued),
            Next::Nothing if !is_newest => return Err(place.broken(Flaw::NoEnd)),
            Next::Nothing => return Ok(Tail::Open { bytes: place.offset, torn_bytes: 0 }),
            Next::Flaw { flaw, end } => (flaw, end),
        };
        let is_torn = flaw == Flaw::Cut || flaw == Flaw::Kind(0) && reader.is_unfinished() || reader.ends_unwritten_before(end);
        if is_newest && !has_ended && place.offset > 0 && is_torn {
            let end = if flaw == Flaw::Cut { reader.file_bytes } else { reader.written_bytes };
            return Ok(Tail::Open { bytes: place.offset, torn_bytes: end - place.offset });
        }
        return Err(place.broken(flaw));
    }
}

/// The highest time of the records and sessions in a segment, as far as each line follows the one before; `None` if there are none.
///
/// # Errors
/// [`AuditError::Io`]: flaws are for the walk and the verifier to name.
pub(crate) fn last_time(dir: &Path, number: u64) -> Result<Option<Time>, AuditError> {
    let file = path(dir, number);
    let mut reader = Reader::open(&file)?;
    let (mut head, mut last) = ([0; LINK_BYTES], None);
    while let Next::Line { kind, body, link: stored } = reader.next().map_err(AuditError::io("read", &file))? {
        let Ok(line) = Line::decode(kind, body) else { break };
        if let Line::Header(header) = &line {
            head = header.head;
        }
        if is_chained(kind) {
            if stored != link(&head, kind, body) {
                break;
            }
            head = stored;
        }
        last = last.max(line.time());
    }
    Ok(last)
}

/// What comes next in a file.
enum Next<'r> {
    Line { kind: u8, body: &'r [u8], link: [u8; LINK_BYTES] },
    Flaw { flaw: Flaw, end: u64 },
    Nothing,
}

/// Splits a file into lines.
struct Reader {
    from: BufReader<File>,
    /// The line that was read last.
    line: Vec<u8>,
    offset: u64,
    file_bytes: u64,
    /// Behind this offset there are only zeroes.
    written_bytes: u64,
}

impl Reader {
    fn open(path: &Path) -> Result<Self, AuditError> {
        let open = || {
            let mut file = File::open(path)?;
            let (file_bytes, written_bytes) = lengths(&mut file)?;
            Ok(Self { from: BufReader::with_capacity(1 << 16, file), line: Vec::new(), offset: 0, file_bytes, written_bytes })
        };
        open().map_err(AuditError::io("open", path))
    }

    fn next(&mut self) -> io::Result<Next<'_>> {
        let left = self.file_bytes - self.offset;
        if self.offset >= self.written_bytes {
            return Ok(Next::Nothing);
        }
        if left < FRAME_BYTES as u64 {
            return Ok(Next::Flaw { flaw: Flaw::Cut, end: self.file_bytes });
        }
        let mut frame = [0; FRAME_BYTES];
        self.from.read_exact(&mut frame)?;
        let (kind, length) = (frame[0], usize::from(u16::from_be_bytes([frame[1], frame[2]])));
        let end = self.offset + FRAME_BYTES as u64 + length as u64;
        match length_range(kind) {
            Err(flaw) => return Ok(Next::Flaw { flaw, end }),
            Ok((least, most)) if !(least..=most).contains(&length) => {
                return Ok(Next::Flaw { flaw: Flaw::Length { kind, bytes: length }, end });
            }
            Ok(_) if end > self.file_bytes => return Ok(Next::Flaw { flaw: Flaw::Cut, end: self.file_bytes }),
            Ok(_) => {}
        }
        self.line.resize(length, 0);
        self.from.read_exact(&mut self.line)?;
        self.offset = end;
        match self.line.split_last_chunk() {
            Some((body, link)) if is_chained(kind) => Ok(Next::Line { kind, body, link: *link }),
            _ => Ok(Next::Line { kind, body: &self.line, link: [0; LINK_BYTES] }),
        }
    }

    /// Was what begins here still being written when the process was killed? Its first byte is written last (`window.rs`), and more than one
    /// write is never under way.
    fn is_unfinished(&self) -> bool {
        self.written_bytes < self.file_bytes && self.written_bytes - self.offset <= CALL_BYTES_MAX
    }

    /// Is everything from some sector's beginning before `end` to the end of the file unwritten?
    fn ends_unwritten_before(&self, end: u64) -> bool {
        self.written_bytes.next_multiple_of(SECTOR_BYTES) < end.min(self.file_bytes)
    }
}

/// The length of a file, and where the zeroes at its end begin.
fn lengths(file: &mut File) -> io::Result<(u64, u64)> {
    loop {
        let file_bytes = file.metadata()?.len();
        match written_bytes(file, file_bytes) {
            // Its writer has closed it, and cut the zeroes off, meanwhile.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            done => return Ok((file_bytes, done?)),
        }
    }
}

/// Where the zeroes at the end of a file begin.
fn written_bytes(file: &mut File, file_bytes: u64) -> io::Result<u64> {
    let mut end = file_bytes;
    let mut chunk = vec![0; 1 << 12];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let chunk = &mut chunk[..usize::try_from(end - start).expect("a chunk fits into memory")];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(chunk)?;
        if let Some(last) = chunk.iter().rposition(|byte| *byte != 0) {
            end = start + last as u64 + 1;
            break;
        }
        end = start;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(end)
}
