//! `strongroomd confine`: becomes a pinned program that may write in one folder only.
//!
//! The program is opened once, hashed, and executed from the same descriptor: what runs is what was compared, whatever a path leads to meanwhile. Before
//! that the process gives up what the program does not need: new privileges by set-uid programs, core files, files beyond a number, and by Landlock every
//! place to write in but the folder, and all others to signal. It ends with the process that started it.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use data_encoding::HEXLOWER;
use landlock::RulesetError;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{fexecve, getppid};

use crate::exit;
use crate::sandbox::{Confinement, write_only_below};

/// Length of a SHA-256.
pub const HASH_BYTES: usize = 32;
/// Longest program, in bytes.
const PROGRAM_BYTES_MAX: u64 = 512 << 20;
/// Most files and sockets of a confined process.
const DESCRIPTORS_MAX: u64 = 1024;
/// What a script begins with: its interpreter opens the descriptor anew, so that it has to stay open.
const SCRIPT: &[u8] = b"#!";

/// The exit code of a process that did not become the program.
pub const REFUSED_CODE: u8 = exit::CONFIGURATION;

/// `confine`.
#[derive(Debug, Clone, Args)]
pub struct Confine {
    /// The SHA-256 that the program has to have, in hex
    #[arg(long, value_name = "HEX", value_parser = hash_of_hex)]
    sha256: [u8; HASH_BYTES],
    /// The one folder in which it may write
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// End with this process, which is the one that has started this one
    #[arg(long, value_name = "PID")]
    parent: Option<i32>,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

/// Why the program does not run.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// It is not there, or cannot be read.
    #[error("cannot read {}: {source}; correct the path, or install it there", .program.display())]
    Unreadable {
        /// Its path.
        program: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It is not the one that was pinned.
    #[error(
        "{} has the SHA-256 {}, and has to have {}: it was replaced; find out by whom, then put the right one back or correct the hash",
        .program.display(), HEXLOWER.encode(.is), HEXLOWER.encode(.wants)
    )]
    OtherProgram {
        /// Its path.
        program: PathBuf,
        /// What was found.
        is: [u8; HASH_BYTES],
        /// What was pinned.
        wants: [u8; HASH_BYTES],
    },
    /// The process that started this one has ended already.
    #[error("the process {parent} that was to be served has ended")]
    Orphan {
        /// Which it was.
        parent: i32,
    },
    /// Landlock refuses.
    #[error("cannot confine the program to {}: {source}", .state.display())]
    Landlock {
        /// Its folder.
        state: PathBuf,
        /// What is wrong.
        #[source]
        source: RulesetError,
    },
    /// A system call failed.
    #[error("cannot confine or start the program: {0}")]
    System(#[from] Errno),
}

/// A SHA-256 as 64 lower-case hex digits.
///
/// # Errors
/// What it should be.
pub fn hash_of_hex(text: &str) -> Result<[u8; HASH_BYTES], &'static str> {
    let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or("give 64 lower-case hex digits, as sha256sum prints them")
}

/// A program that was read and is the pinned one.
#[derive(Debug)]
pub struct Pinned {
    file: File,
    is_script: bool,
}

impl Pinned {
    /// Opens and compares.
    ///
    /// # Errors
    /// [`ConfineError::Unreadable`], [`ConfineError::OtherProgram`].
    pub fn open(program: &Path, wants: [u8; HASH_BYTES]) -> Result<Self, ConfineError> {
        let (file, is, is_script) = read(program)?;
        if is != wants {
            return Err(ConfineError::OtherProgram { program: program.to_owned(), is, wants });
        }
        Ok(Self { file, is_script })
    }
}

/// The SHA-256 of a program as it is now.
///
/// # Errors
/// [`ConfineError::Unreadable`].
pub fn hash(program: &Path) -> Result<[u8; HASH_BYTES], ConfineError> {
    read(program).map(|(_, is, _)| is)
}

fn read(program: &Path) -> Result<(File, [u8; HASH_BYTES], bool), ConfineError> {
    let opened = || -> io::Result<(File, [u8; HASH_BYTES], bool)> {
        let file = File::open(program)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > PROGRAM_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it has to be a file of at most {PROGRAM_BYTES_MAX} bytes")));
        }
        let mut bytes = Vec::new();
        (&file).take(PROGRAM_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok((file, cipher::mac::sha256(&[&bytes]), bytes.starts_with(SCRIPT)))
    };
    opened().map_err(|source| ConfineError::Unreadable { program: program.to_owned(), source })
}

/// Becomes the program.
///
/// # Errors
/// [`ConfineError`]; the process is then of no use any more.
pub fn run(confine: Confine) -> Result<Infallible, ConfineError> {
    let Confine { sha256, state, parent, command } = confine;
    if let Some(parent) = parent {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid().as_raw() != parent {
            return Err(ConfineError::Orphan { parent });
        }
        // A unit says itself who else may open its socket.
        umask(Mode::from_bits_truncate(0o077));
    }
    let program = PathBuf::from(&command[0]);
    let Pinned { file, is_script } = Pinned::open(&program, sha256)?;
    let texts =
        |texts: Vec<OsString>| texts.into_iter().map(|text| CString::new(text.into_vec()).expect("the kernel has given it")).collect();
    let arguments: Vec<CString> = texts(command);
    let joined = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        name
    };
    let environment: Vec<CString> = texts(std::env::vars_os().map(joined).collect());
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS_MAX, DESCRIPTORS_MAX)?;
    prctl::set_no_new_privs()?;
    let confinement = write_only_below([&state]).map_err(|source| ConfineError::Landlock { state: state.clone(), source })?;
    if confinement == Confinement::Absent {
        tracing::warn!(program = %program.display(), "this kernel has no Landlock: the program may write wherever its user may");
    }
    if is_script {
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    Ok(fexecve(&file, &arguments, &environment)?)
}
