//! The way between an edge and its core, which a campaign closes and opens.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::edge::Edge;

/// How often a connection on which nothing comes looks at the state of the way.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WayState {
    /// It arrives.
    Open,
    /// Every connection is cut, and each new one.
    Cut,
    /// It waits until the way is open again.
    Silent,
    /// Of what the core sends, so many bytes arrive; then that connection is cut, and the way is open.
    CutAfter(usize),
}

/// All TCP connections from an edge to its core.
pub(super) struct Way(Arc<Mutex<WayState>>);

impl Way {
    /// Puts itself between an edge that is not started yet and its core.
    pub(super) fn before(edge: &Edge) -> Self {
        let core = edge.value("HTTPS_CORE").trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        edge.set(&format!("upstreams: \"https://{}\"", listener.local_addr().expect("it is bound")));
        let state = Arc::new(Mutex::new(WayState::Open));
        let now = Arc::clone(&state);
        thread::spawn(move || {
            for edge in listener.incoming().flatten() {
                let Ok(core) = TcpStream::connect(&core) else { continue };
                for (from, to, is_answer) in [(edge.try_clone(), core.try_clone(), false), (Ok(core), Ok(edge), true)] {
                    let (Ok(from), Ok(to), now) = (from, to, Arc::clone(&now)) else { continue };
                    thread::spawn(move || carry(from, &to, &now, is_answer));
                }
            }
        });
        Self(state)
    }

    pub(super) fn become_so(&self, state: WayState) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Was the one connection cut that was to be?
    pub(super) fn is_open(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) == WayState::Open
    }
}

/// Carries what comes from one side to the other, as long as both are there.
fn carry(mut from: TcpStream, mut to: &TcpStream, state: &Mutex<WayState>, is_answer: bool) {
    let now = || *state.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bytes = [0; 16 * 1024];
    let is_timed = from.set_read_timeout(Some(LOOK_EVERY)).is_ok();
    while is_timed && now() != WayState::Cut {
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => {
                while now() == WayState::Silent {
                    thread::park_timeout(LOOK_EVERY);
                }
                let arrives = if is_answer { arriving(&mut state.lock().unwrap_or_else(PoisonError::into_inner), length) } else { length };
                if to.write_all(&bytes[..arrives]).is_err() || arrives < length {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    // The other direction may have done so already.
    let _closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// How many of `length` bytes of an answer arrive.
fn arriving(state: &mut WayState, length: usize) -> usize {
    match *state {
        WayState::CutAfter(left) if left < length => {
            *state = WayState::Open;
            left
        }
        WayState::CutAfter(left) => {
            *state = WayState::CutAfter(left - length);
            length
        }
        _ => length,
    }
}
