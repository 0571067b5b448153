//! The wire between a node and its keystore, which a campaign delays, cuts, and lies on.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How often a connection on which nothing comes looks at the state of the wire.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What a liar announces.
const LONG_BYTES: u32 = 1 << 30;

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireState {
    Open,
    /// Answers come so much later.
    Slow(Duration),
    /// Connections are taken and nothing is answered.
    HalfOpen,
    /// So many pieces of the node's still are answered; the next arrives, its answer does not, and the wire is open.
    LosesAnswer(u32),
    /// Answers are of the same length, and no answers.
    Garbage,
    /// The server is one that speaks its protocol, and lies.
    Lies(Lie),
}

/// How a server lies that speaks its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// HTTP/1.1: what is no answer.
    NoAnswer,
    /// HTTP/1.1: announces 1 GiB, and sends it.
    Long,
    /// gRPC: announces 1 GiB.
    LongMessage,
    /// gRPC: says that it speaks protocol 9.
    OtherProtocol,
    /// PostgreSQL: announces a row of 1 GiB, and sends it.
    LongRow,
}

/// Where a server listens.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Tcp(u16),
    Unix(PathBuf),
}

/// Either kind of connection.
trait Stream: Read + Write + Send {
    fn again(&self) -> io::Result<Box<dyn Stream>>;
    fn wait_at_most(&self, time: Duration) -> io::Result<()>;
    fn end(&self);
}

macro_rules! stream {
    ($kind:ty) => {
        impl Stream for $kind {
            fn again(&self) -> io::Result<Box<dyn Stream>> {
                Ok(Box::new(self.try_clone()?))
            }

            fn wait_at_most(&self, time: Duration) -> io::Result<()> {
                self.set_read_timeout(Some(time))
            }

            fn end(&self) {
                // The other side may have done so.
                let _gone = self.shutdown(Shutdown::Both);
            }
        }
    };
}

stream!(TcpStream);
stream!(UnixStream);

struct Shared {
    state: Mutex<(u64, WireState)>,
    to: Mutex<Place>,
    /// With which certificate a liar speaks TLS.
    tls: Option<Arc<ServerConfig>>,
}

/// All connections from a node to its keystore.
#[derive(Clone)]
pub(super) struct Wire(Arc<Shared>);

impl Wire {
    /// Listens on a free port of loopback; returns the port, too.
    pub(super) fn by_tcp(to: Place, tls: Arc<ServerConfig>) -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let this = Self::before(to, Some(tls));
        let wire = this.clone();
        thread::spawn(move || listener.incoming().flatten().for_each(|node| wire.take(Box::new(node))));
        (this, port)
    }

    pub(super) fn by_unix(at: &Path, to: Place) -> Self {
        let listener = UnixListener::bind(at).expect("the folder is ours");
        let this = Self::before(to, None);
        let wire = this.clone();
        thread::spawn(move || listener.incoming().flatten().for_each(|node| wire.take(Box::new(node))));
        this
    }

    fn before(to: Place, tls: Option<Arc<ServerConfig>>) -> Self {
        Self(Arc::new(Shared { state: Mutex::new((0, WireState::Open)), to: Mutex::new(to), tls }))
    }

    /// From now on; connections are cut, but those that are to be slow or half open stay.
    pub(super) fn become_so(&self, state: WireState) {
        let mut now = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = now.1 == WireState::Open && matches!(state, WireState::Slow(_) | WireState::HalfOpen | WireState::LosesAnswer(_));
        *now = (now.0 + u64::from(!is_kept), state);
    }

    /// Was the answer lost that was to be?
    pub(super) fn is_open(&self) -> bool {
        self.now().1 == WireState::Open
    }

    /// To another server from the next connection on.
    pub(super) fn lead_to(&self, to: Place) {
        *self.0.to.lock().unwrap_or_else(PoisonError::into_inner) = to;
        let mut now = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        now.0 += 1;
    }

    fn now(&self) -> (u64, WireState) {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, node: Box<dyn Stream>) {
        let (epoch, state) = self.now();
        let wire = self.clone();
        if let WireState::Lies(lie) = state {
            thread::spawn(move || wire.lie(node, lie));
            return;
        }
        let server = self.0.to.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let server: io::Result<Box<dyn Stream>> = match server {
            Place::Tcp(port) => TcpStream::connect(("127.0.0.1", port)).map(|stream| Box::new(stream) as Box<dyn Stream>),
            Place::Unix(path) => UnixStream::connect(path).map(|stream| Box::new(stream) as Box<dyn Stream>),
        };
        let Ok(server) = server else { return node.end() };
        let (Ok(to_node), Ok(to_server)) = (node.again(), server.again()) else { return };
        let other = self.clone();
        thread::spawn(move || other.carry(epoch, node, to_server, false));
        thread::spawn(move || wire.carry(epoch, server, to_node, true));
    }

    /// Carries what comes from one side to the other, as long as both are there and the wire is the same.
    fn carry(&self, epoch: u64, mut from: Box<dyn Stream>, mut to: Box<dyn Stream>, is_answer: bool) {
        let mut bytes = vec![0; 64 * 1024];
        let is_timed = from.wait_at_most(LOOK_EVERY).is_ok();
        while is_timed && self.now().0 == epoch {
            let length = match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            let came = Instant::now();
            loop {
                match self.now() {
                    (now, WireState::Slow(by)) if now == epoch && is_answer && came.elapsed() < by => {}
                    (now, WireState::HalfOpen) if now == epoch => {}
                    _ => break,
                }
                thread::park_timeout(LOOK_EVERY);
            }
            if self.now().0 != epoch {
                break;
            }
            if is_answer && self.now().1 == WireState::Garbage {
                let garbled = bytes[..length].iter_mut().zip(0_u8..=u8::MAX);
                garbled.for_each(|(byte, place)| *byte = byte.wrapping_mul(31).wrapping_add(place));
            }
            let loses = !is_answer && self.loses_now();
            if to.write_all(&bytes[..length]).is_err() {
                break;
            }
            if loses {
                // The server may do what it is asked for.
                thread::park_timeout(LOOK_EVERY);
                self.become_so(WireState::Open);
                break;
            }
        }
        from.end();
        to.end();
    }

    /// Is this the piece whose answer is lost? Then no answer passes any more.
    fn loses_now(&self) -> bool {
        let mut now = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut now.1 {
            WireState::LosesAnswer(0) => {
                now.1 = WireState::HalfOpen;
                true
            }
            WireState::LosesAnswer(left) => {
                *left -= 1;
                false
            }
            _ => false,
        }
    }

    fn lie(&self, node: Box<dyn Stream>, lie: Lie) {
        // Whoever is lied to may hang up.
        let _cut = match (lie, &self.0.tls) {
            (Lie::NoAnswer | Lie::Long, Some(tls)) => {
                let connection = ServerConnection::new(Arc::clone(tls)).expect("the configuration is good");
                lie_by_http(StreamOwned::new(connection, node), lie)
            }
            (Lie::LongRow, _) => lie_by_postgres(node),
            _ => lie_by_grpc(node, lie),
        };
    }
}

fn lie_by_http(mut node: impl Read + Write, lie: Lie) -> io::Result<()> {
    let mut asked = [0; 1 << 16];
    while node.read(&mut asked)? > 0 {
        if lie == Lie::NoAnswer {
            node.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")?;
            node.flush()?;
            continue;
        }
        node.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG_BYTES}\r\n\r\n").as_bytes())?;
        for _ in 0..LONG_BYTES >> 16 {
            node.write_all(&asked)?;
        }
    }
    Ok(())
}

/// Lets everybody in, and answers whatever is asked with one row (PostgreSQL, "Message Formats": AuthenticationOk, ReadyForQuery, DataRow).
fn lie_by_postgres(mut node: Box<dyn Stream>) -> io::Result<()> {
    let mut asked = vec![0; 1 << 16];
    let _startup = node.read(&mut asked)?;
    node.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")?;
    while node.read(&mut asked)? > 0 {
        node.write_all(&[b"D", &LONG_BYTES.to_be_bytes()[..]].concat())?;
        for _ in 0..LONG_BYTES >> 16 {
            node.write_all(&asked)?;
        }
    }
    Ok(())
}

/// One answer to the first call of a connection (RFC 9113, RFC 7541 literals), which is asked for on stream 1.
fn lie_by_grpc(mut node: Box<dyn Stream>, lie: Lie) -> io::Result<()> {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let (settings, data, headers) = (4, 0, 1);
    let head = [&[0x88, 0x0f, 0x10, 0x10][..], b"application/grpc"].concat();
    let mut asked = vec![0; 1 << 16];
    let _preface = node.read(&mut asked)?;
    node.write_all(&frame(settings, 0, 0, &[]))?;
    node.write_all(&frame(settings, 1, 0, &[]))?;
    // The call may come in a piece of its own.
    thread::park_timeout(LOOK_EVERY);
    let _call = node.wait_at_most(LOOK_EVERY).and_then(|()| node.read(&mut asked));
    node.write_all(&frame(headers, 4, 1, &head))?;
    if lie == Lie::LongMessage {
        let announced = [&[0][..], &LONG_BYTES.to_be_bytes(), &[0x0a; 8192]].concat();
        node.write_all(&frame(data, 0, 1, &announced))?;
    } else {
        node.write_all(&frame(data, 0, 1, &[0, 0, 0, 0, 2, 0x08, 9]))?;
        let status = [&[0, 11][..], b"grpc-status", &[1], b"0"].concat();
        node.write_all(&frame(headers, 5, 1, &status))?;
    }
    node.wait_at_most(Duration::from_secs(60))?;
    while node.read(&mut asked)? > 0 {}
    Ok(())
}
