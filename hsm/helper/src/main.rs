//! `strongroom-device`: does one job on a PKCS#11 token or a TPM and exits; the only program of ours that loads a vendor's module (C14).
//!
//! It is started by [`hsm::DeviceProcess`] with a socket as standard input, takes no arguments and prints nothing. In order: harden, read the
//! job, C_Initialize, at most one login, the work, C_Finalize, wipe, answer, `_exit`. The answer comes last, so whoever holds it knows that no
//! session is left open. Copies of secrets that the module or cryptoki make on the heap die with the process, which nobody can dump.

mod card;
mod crypt;
mod fault;
mod harden;
mod key;
mod login;
mod token;
mod tpm;

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use hsm::latch::Turn;
use hsm::wire::{self, WireError};
use hsm::{Answer, Order, Refusal, Task, Token, Work};
use secret::Bytes;

use crate::card::Card;
use crate::crypt::{open, protect};
use crate::harden::Parent;
use crate::key::Key;
use crate::login::{Pin, log_in};
use crate::token::{Found, Module};

/// The arena of a process that holds one PIN and one slot key.
const ARENA_BYTES: usize = secret::arena::ARENA_BYTES_MIN;

type Outcome = Result<(Answer, Option<Bytes>), Refusal>;

fn main() {
    // Whatever went wrong with the socket: the client sees it close, and this process has nobody to tell.
    let code = match serve() {
        Ok(()) => 0,
        Err(_) => 1,
    };
    harden::leave(code)
}

fn serve() -> Result<(), WireError> {
    let mut socket = take_socket()?;
    let (answer, secret) = match harden().and_then(|parent| work(&mut socket, parent)) {
        Ok((answer, secret)) => (Ok(answer), secret),
        Err(refusal) => (Err(refusal), None),
    };
    wire::write(&mut socket, &answer, [None, secret.as_ref()])
}

/// Moves the socket away from descriptor 0, where a module might look for a terminal.
fn take_socket() -> io::Result<UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket.into())
}

fn harden() -> Result<Parent, Refusal> {
    let unprotected = |reason: String| Refusal::Unprotected { reason };
    let parent = harden::harden().map_err(|error| unprotected(error.to_string()))?;
    let settings = secret::Settings { arena_bytes: ARENA_BYTES, require_secretmem: false };
    secret::arena::init(settings).map_err(|error| unprotected(error.to_string()))?;
    Ok(parent)
}

fn work(socket: &mut UnixStream, parent: Parent) -> Outcome {
    let (order, [pin, payload]) = wire::read::<Order>(socket).map_err(|error| Refusal::BadJob { reason: error.to_string() })?;
    match &order.job.work {
        Work::Token { token, task } => on_token(&order, token, task, [pin, payload], parent),
        Work::Tpm { tpm, task } => tpm::work(&order, tpm, task, [pin, payload], parent),
    }
}

fn on_token(order: &Order, token: &Token, task: &Task, secrets: [Option<Bytes>; 2], parent: Parent) -> Outcome {
    let turn = take_turn(&order.latch_dir, &token.module)?;
    let module = Module::load(&token.module)?;
    let found = module.find(&token.name);
    let outcome = found.and_then(|found| do_task(task, order.job.retry_pin, &module, &found, secrets, &turn, parent));
    module.finalize();
    outcome
}

/// Waits until no other job works with the module. The client's deadline ends a wait that is too long.
fn take_turn(latch_dir: &Path, module: &Path) -> Result<Turn, Refusal> {
    let resolved = module.canonicalize();
    let resolved = resolved.map_err(|error| Refusal::ModuleUnusable { module: module.to_owned(), reason: error.to_string() })?;
    let turn = Turn::take(latch_dir, &resolved);
    turn.map_err(|error| Refusal::LatchUnusable { latch: latch_dir.to_owned(), reason: error.to_string() })
}

fn do_task(
    task: &Task,
    retry_pin: bool,
    module: &Module,
    found: &Found,
    [pin, payload]: [Option<Bytes>; 2],
    turn: &Turn,
    parent: Parent,
) -> Outcome {
    if *task == Task::Describe {
        return Ok((Answer::Described(module.describe(found)?), None));
    }
    let serial = found.info.serial_number().to_owned();
    let pin = Pin { bytes: pin.ok_or(Refusal::PinNeeded { serial })?, retry: retry_pin };
    let session = module.session(found, matches!(task, Task::MakeKey { .. }))?;
    log_in(&session, found, pin, turn, parent)?;
    let mechanisms = module.mechanisms(found)?;
    match task {
        Task::Describe => Ok((Answer::Described(module.describe(found)?), None)),
        Task::MakeKey { key, kind } => key::make(&session, key, *kind, &mechanisms).map(|()| (Answer::KeyMade, None)),
        Task::Protect { key, aad } => {
            let payload = payload.ok_or_else(|| Refusal::BadJob { reason: "there is nothing to protect".to_owned() })?;
            let key = Key::find(&session, key)?;
            Ok((Answer::Protected(protect(&session, &key, &mechanisms, aad, &payload)?), None))
        }
        Task::Open { key, aad, protected } => {
            let key = Key::find(&session, key)?;
            Ok((Answer::Opened, Some(open(&session, &key, &mechanisms, aad, protected)?)))
        }
        Task::Decipher { modulus_sha256, oaep, ciphertext } => {
            let card = Card { session: &session, serial: found.info.serial_number(), offered: &mechanisms };
            Ok((Answer::Opened, Some(card.decipher(modulus_sha256, *oaep, ciphertext)?)))
        }
    }
}
