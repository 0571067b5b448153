//! A wire tap: passes the bytes between a client and a TPM on, keeps a copy, and swallows a command if it is told to.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use softhsm_test::free_port_pair;

/// Listens in front of a TPM for as long as the test runs.
pub(super) struct Recorder {
    port: u16,
    tap: Arc<Tap>,
}

#[derive(Default)]
struct Tap {
    streams: Mutex<Vec<Vec<u8>>>,
    swallowed: Mutex<Option<[u8; 4]>>,
}

impl Recorder {
    pub(super) fn before(tpm_port: u16) -> Self {
        let (port, listeners) = listeners();
        let tap = Arc::new(Tap::default());
        for (listener, to) in listeners.into_iter().zip([tpm_port, tpm_port + 1]) {
            let tap = tap.clone();
            thread::spawn(move || {
                for client in listener.incoming() {
                    let client = client.expect("a connection");
                    // Without a TPM behind it, the client sees its connection close.
                    let Ok(tpm) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                    pass(&client, &tpm, &tap);
                    pass(&tpm, &client, &tap);
                }
            });
        }
        Self { port, tap }
    }

    pub(super) fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// From now on, commands of this code do not arrive; `None`: all do.
    pub(super) fn swallow(&self, command: Option<[u8; 4]>) {
        *self.tap.swallowed.lock().expect("nobody panics") = command;
    }

    /// What followed these bytes each time they went by: one byte.
    pub(super) fn after(&self, bytes: &[u8]) -> Vec<u8> {
        let streams = self.tap.streams.lock().expect("nobody panics");
        let follows = |window: &[u8]| window.starts_with(bytes).then(|| window[bytes.len()]);
        streams.iter().flat_map(|stream| stream.windows(bytes.len() + 1).filter_map(follows)).collect()
    }

    /// Whether these bytes went by, in either direction.
    pub(super) fn saw(&self, bytes: &[u8]) -> bool {
        let streams = self.tap.streams.lock().expect("nobody panics");
        streams.iter().any(|stream| stream.windows(bytes.len()).any(|window| window == bytes))
    }
}

fn pass(from: &TcpStream, to: &TcpStream, tap: &Arc<Tap>) {
    let (mut from, mut to) = (from.try_clone().expect("a descriptor"), to.try_clone().expect("a descriptor"));
    let tap = tap.clone();
    let stream = {
        let mut streams = tap.streams.lock().expect("nobody panics");
        streams.push(Vec::new());
        streams.len() - 1
    };
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            // Kept before it is passed on: whoever has an answer finds it here.
            tap.streams.lock().expect("nobody panics")[stream].extend(&buffer[..count]);
            let swallowed = *tap.swallowed.lock().expect("nobody panics");
            // The code stands behind tag and size.
            if swallowed.is_some_and(|command| buffer[..count].get(6..10) == Some(&command)) {
                continue;
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _closed_already = to.shutdown(Shutdown::Write);
    });
}

/// On two free ports in a row.
pub(super) fn listeners() -> (u16, [TcpListener; 2]) {
    let bound = || {
        let port = free_port_pair();
        let bind = |port| TcpListener::bind(("127.0.0.1", port)).ok();
        Some((port, [bind(port)?, bind(port + 1)?]))
    };
    (0..100).find_map(|_| bound()).expect("two free ports in a row")
}
