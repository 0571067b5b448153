//! The door of every TLS port: accepts, finishes mutual TLS, judges the certificate, names the principal, and hands the connection over.
//!
//! What is spoken behind it is the caller's business. Connections that have not shown who they are have places of their own, so that they
//! cannot keep anybody out who has.

mod gate;
mod places;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keys::id::SessionId;
use keys::policy::{Action, Principal};
use keys::port::Clock;
use keys::record::{Origin, Outcome};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::metrics::Refused;
use crate::node::Node;
use crate::stop::Stop;
use crate::system::SystemClock;
use crate::tls::{self, Trusted, handshake_failure, is_of_certificate};
use crate::wiped::Wiped;
pub use gate::{Gate, Shut};
use places::Places;

/// A TLS handshake must be over within this time.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Most connections at a time through one door.
const CONNECTIONS_MAX: usize = 16_384;
/// Fewest, however few descriptors there are.
const CONNECTIONS_MIN: usize = 64;
/// Most connections at a time that have not finished their handshake.
const HANDSHAKES_MAX: usize = 1024;
/// How long to wait before accepting again when the system has run out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the log is told that nobody can be let in.
const ACCEPT_TOLD_EVERY: Duration = Duration::from_secs(10);
/// A peer that has been silent for so long is asked whether it is still there, and so often, before its connection ends.
const KEEP_ALIVE: KeepAlive = KeepAlive { after_seconds: 60, every_seconds: 15, times: 4 };

/// Keep-alive of TCP (tcp(7)).
struct KeepAlive {
    after_seconds: u32,
    every_seconds: u32,
    times: u32,
}

/// A TCP port with mutual TLS.
pub struct Door {
    socket: TcpListener,
    trusted: Trusted,
    origin: Origin,
    node: Arc<Node>,
    room: Room,
}

/// How many connections there may be at a time.
#[derive(Debug, PartialEq, Eq)]
struct Room {
    /// Before and in the handshake.
    handshakes: usize,
    /// After it.
    places: usize,
}

impl Room {
    fn within(descriptors: u64) -> Self {
        let all = usize::try_from(descriptors).unwrap_or(usize::MAX).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
        let handshakes = HANDSHAKES_MAX.min(all / 4);
        Self { handshakes, places: all - handshakes }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// As the identity rules say.
    pub principal: Principal,
    /// Its number in the audit log.
    pub session: SessionId,
    /// Its address and port.
    pub address: SocketAddr,
}

/// A connection whose peer is known and may come in.
pub struct Arrival {
    /// After the handshake; what was negotiated is `stream.get_ref().1`. Boxed, because every future that it is passed through keeps room for it.
    pub stream: Box<TlsStream<Wiped<TcpStream>>>,
    /// Who.
    pub peer: Peer,
    /// To be asked before each request; an error ends the connection.
    pub gate: Gate,
    /// The node.
    pub node: Arc<Node>,
    /// When it is requested, the connection ends with the request under way.
    pub stop: Stop,
}

impl Door {
    /// Takes over a bound socket.
    ///
    /// - `trusted`: what the listener believes, and follows from now on.
    /// - `origin`: how its sessions are called in the audit log.
    /// - `descriptors`: how many of the process's open files and sockets its connections may take.
    ///
    /// # Errors
    /// The socket takes no keep-alive.
    pub fn new(socket: TcpListener, trusted: Trusted, origin: Origin, node: Arc<Node>, descriptors: u64) -> io::Result<Self> {
        // Accepted sockets inherit it from the one that listens.
        setsockopt(&socket, sockopt::KeepAlive, &true)?;
        setsockopt(&socket, sockopt::TcpKeepIdle, &KEEP_ALIVE.after_seconds)?;
        setsockopt(&socket, sockopt::TcpKeepInterval, &KEEP_ALIVE.every_seconds)?;
        setsockopt(&socket, sockopt::TcpKeepCount, &KEEP_ALIVE.times)?;
        Ok(Self { socket, trusted, origin, node, room: Room::within(descriptors) })
    }

    /// Accepts until told to stop, and gives each connection that may come in to `serve`, which may be dropped at any await: when the
    /// certificate no longer holds, when places are short, and when it has not ended `drain` after the stop.
    pub async fn run<F>(self, mut stop: Stop, drain: Duration, serve: impl Fn(Arrival) -> F + Clone + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handshakes = Arc::new(Semaphore::new(self.room.handshakes));
        let places = Places::new(self.room.places);
        let mut connections = JoinSet::new();
        let mut told = None;
        loop {
            let (stream, address, handshake) = tokio::select! {
                biased;
                () = stop.requested() => break,
                Some(ended) = connections.join_next() => {
                    report(ended);
                    continue;
                }
                accepted = accept(&self.socket, &handshakes, &mut told) => accepted,
            };
            let entrance = Entrance {
                trusted: self.trusted.clone(),
                origin: self.origin,
                node: Arc::clone(&self.node),
                places: Arc::clone(&places),
                stop: stop.clone(),
                address,
            };
            connections.spawn(entrance.pass(stream, handshake, serve.clone()));
        }
        drop(self.socket);
        let ended = async {
            while let Some(ended) = connections.join_next().await {
                report(ended);
            }
        };
        if timeout(drain, ended).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections cut that did not finish in time");
            connections.shutdown().await;
        }
    }
}

/// What one connection needs on its way in.
struct Entrance {
    trusted: Trusted,
    origin: Origin,
    node: Arc<Node>,
    places: Arc<Places>,
    stop: Stop,
    address: SocketAddr,
}

impl Entrance {
    async fn pass<F>(mut self, stream: TcpStream, handshaking: OwnedSemaphorePermit, serve: impl Fn(Arrival) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (address, node) = (self.address, Arc::clone(&self.node));
        let counts = node.metrics.door(self.origin);
        let acceptor = TlsAcceptor::from(self.trusted.latest().tls.config());
        let (shaken, shown) = tls::watching(handshake(acceptor, stream)).await;
        let stream = match shaken {
            Ok(stream) => stream,
            Err(error) => {
                counts.handshake_failed(&error);
                let why = handshake_failure(&error);
                if let Some(certificate) = shown.filter(|_| is_of_certificate(&error)) {
                    node.note_refusal(self.origin, certificate, address, &why);
                }
                return tracing::info!(%address, why, "TLS handshake failed");
            }
        };
        let (peer, mut gate) = match self.admit(&stream) {
            Ok(admitted) => admitted,
            Err(why) => return tracing::warn!(%address, %why, "connection refused"),
        };
        let session = peer.session;
        let Some(place) = self.places.take(session, peer.principal.certificate).await else {
            counts.refused(Refused::NoPlace);
            return tracing::warn!(session = session.0, %address, "connection refused: every place is taken and none became free");
        };
        drop(handshaking);
        let _open = counts.open();
        gate.tell(place.activity());
        let mut watch = gate.watch();
        let arrival = Arrival { stream, peer, gate, node: Arc::clone(&self.node), stop: self.stop };
        // A task of its own: else each request would have the two waits beside it looked at as well.
        let mut serving = JoinSet::new();
        serving.spawn(serve(arrival));
        tokio::select! {
            Some(ended) = serving.join_next() => report(ended),
            () = place.wanted() => {
                tracing::warn!(session = session.0, %address, "connection cut: places are short, and it was idle longest");
            }
            why = watch.shut(|| SystemClock.now()) => {
                shut(&self.node, self.origin, session, &why);
            }
        }
        serving.shutdown().await;
    }

    /// Judges the certificate, names the principal and opens its session in the log. Refused attempts are recorded too.
    fn admit(&self, stream: &TlsStream<Wiped<TcpStream>>) -> Result<(Peer, Gate), String> {
        let chain: Vec<_> = stream.get_ref().1.peer_certificates().unwrap_or_default().iter().map(|der| der.clone().into_owned()).collect();
        let name = self.address.to_string();
        let certificate = chain.first().map_or([0; 32], |leaf| cipher::mac::sha256(&[leaf]));
        let gate = Gate::open(self.trusted.clone(), chain.into(), SystemClock.now()).map_err(|why| {
            self.node.metrics.door(self.origin).refused(refused(&why));
            let why = why.to_string();
            self.node.note_refusal(self.origin, certificate, self.address, &why);
            why
        })?;
        let principal = gate.principal().clone();
        let session = self.node.session(self.origin, Some(&principal), &name).map_err(|error| {
            self.node.metrics.door(self.origin).refused(Refused::AuditLog);
            error.to_string()
        })?;
        Ok((Peer { principal, session, address: self.address }, gate))
    }
}

/// Under which reason a connection is counted that may not come in or go on.
fn refused(why: &Shut) -> Refused {
    match why {
        Shut::Certificate(_) => Refused::Certificate,
        Shut::Unknown(_) | Shut::Renamed => Refused::Identity,
    }
}

/// Tells of the end of a connection that may not go on: in metrics and audit log like one that is refused at once.
pub fn shut(node: &Node, origin: Origin, session: SessionId, why: &Shut) {
    node.metrics.door(origin).refused(refused(why));
    tracing::warn!(session = session.0, %why, "connection cut");
    if let Err(error) = node.note(session, Action::Connect, Outcome::Denied) {
        tracing::error!(%error, session = session.0, "a connection that was cut is not in the audit log");
    }
}

/// The next connection, once a handshake may begin. Nothing is lost if it is not waited for to the end.
async fn accept(
    socket: &TcpListener,
    handshakes: &Arc<Semaphore>,
    told: &mut Option<Instant>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let permit = Arc::clone(handshakes).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match socket.accept().await {
            Ok((stream, address)) => return (stream, address, permit),
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() > ACCEPT_TOLD_EVERY) {
                    tracing::warn!(%error, "cannot accept");
                    *told = Some(Instant::now());
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

async fn handshake(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<Box<TlsStream<Wiped<TcpStream>>>> {
    stream.set_nodelay(true)?;
    match timeout(HANDSHAKE_WITHIN, acceptor.accept(Wiped::for_tls(stream))).await {
        Ok(done) => done.map(Box::new),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake within five seconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_need_more_descriptors_than_there_are() {
        for descriptors in [1024, 4096, 524_288, u64::MAX] {
            let Room { handshakes, places } = Room::within(descriptors);
            let all = u64::try_from(handshakes + places).expect("a small number");
            assert!(all <= descriptors && handshakes < places, "{descriptors}: {handshakes} and {places}");
        }
        assert_eq!(Room::within(u64::MAX), Room { handshakes: 1024, places: 15_360 });
        assert_eq!(Room::within(10), Room { handshakes: 16, places: 48 });
    }
}
