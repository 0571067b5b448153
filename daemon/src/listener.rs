//! The KMIP listener: accepts, finishes mutual TLS, names the principal, and hands over to a session.
//!
//! Connections that have not shown who they are have places of their own, so that they cannot keep anybody out who has.

mod places;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keys::id::Time;
use keys::policy::Action;
use keys::port::Clock;
use keys::record::{Origin, Outcome};
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::node::Node;
use crate::session::{self, Peer};
use crate::stop::Stop;
use crate::system::SystemClock;
use crate::tls::{ClientJudge, ServerTls, Why, handshake_failure};
use places::{Activity, Places};

/// A TLS handshake must be over within this time.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Most connections at a time.
const CONNECTIONS_MAX: usize = 16_384;
/// Fewest, however few descriptors there are.
const CONNECTIONS_MIN: usize = 64;
/// Most connections at a time that have not finished their handshake.
const HANDSHAKES_MAX: usize = 1024;
/// What the process needs beside connections: store, log, admin connections, device processes.
const DESCRIPTORS_KEPT: u64 = 256;
/// How long to wait before accepting again when the system has run out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The KMIP listener of a node.
pub struct KmipListener {
    socket: TcpListener,
    tls: ServerTls,
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
        let all = usize::try_from(descriptors.saturating_sub(DESCRIPTORS_KEPT)).unwrap_or(usize::MAX);
        let all = all.clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
        let handshakes = HANDSHAKES_MAX.min(all / 4);
        Self { handshakes, places: all - handshakes }
    }
}

/// Judges a connection's certificate again whenever the minute has changed.
pub struct Gate {
    judge: ClientJudge,
    chain: Vec<CertificateDer<'static>>,
    minute: i64,
    activity: Option<Arc<Activity>>,
}

impl Gate {
    /// Judges the chain for a request at `now`; later calls in the same minute cost nothing.
    ///
    /// # Errors
    /// [`Why`] the certificate does not hold.
    pub fn check(&mut self, now: Time) -> Result<(), Why> {
        if let Some(activity) = &self.activity {
            activity.touch();
        }
        let minute = now.seconds().div_euclid(60);
        if minute != self.minute {
            self.judge.check(&self.chain, now)?;
            self.minute = minute;
        }
        Ok(())
    }
}

impl KmipListener {
    /// Takes over a bound socket; `descriptors` is how many files and sockets the process may open.
    #[must_use]
    pub fn new(socket: TcpListener, tls: ServerTls, node: Arc<Node>, descriptors: u64) -> Self {
        Self { socket, tls, node, room: Room::within(descriptors) }
    }

    /// Accepts until told to stop; sessions that have not ended `drain` later are cut.
    pub async fn run(self, mut stop: Stop, drain: Duration) {
        let handshakes = Arc::new(Semaphore::new(self.room.handshakes));
        let places = Places::new(self.room.places);
        let mut sessions = JoinSet::new();
        loop {
            let (stream, address, handshake) = tokio::select! {
                biased;
                () = stop.requested() => break,
                Some(ended) = sessions.join_next() => {
                    report(ended);
                    continue;
                }
                accepted = accept(&self.socket, &handshakes) => accepted,
            };
            sessions.spawn(self.connection(stream, address, handshake, Arc::clone(&places), stop.clone()));
        }
        drop(self.socket);
        let ended = async {
            while let Some(ended) = sessions.join_next().await {
                report(ended);
            }
        };
        if timeout(drain, ended).await.is_err() {
            tracing::warn!(connections = sessions.len(), "connections cut that did not finish in time");
            sessions.shutdown().await;
        }
    }

    fn connection(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        handshaking: OwnedSemaphorePermit,
        places: Arc<Places>,
        stop: Stop,
    ) -> impl Future<Output = ()> + Send + 'static {
        let acceptor = TlsAcceptor::from(self.tls.config());
        let (judge, node) = (self.tls.judge(), Arc::clone(&self.node));
        async move {
            let stream = match handshake(acceptor, stream).await {
                Ok(stream) => stream,
                Err(error) => return tracing::info!(%address, why = handshake_failure(&error), "TLS handshake failed"),
            };
            let chain: Vec<_> =
                stream.get_ref().1.peer_certificates().unwrap_or_default().iter().map(|der| der.clone().into_owned()).collect();
            let mut gate = Gate { judge, chain, minute: i64::MIN, activity: None };
            let peer = match admit(&node, &mut gate, address) {
                Ok(peer) => peer,
                Err(why) => return tracing::warn!(%address, %why, "connection refused"),
            };
            let session = peer.session.0;
            let Some(place) = places.take(peer.session, peer.principal.certificate).await else {
                return tracing::warn!(session, %address, "connection refused: every place is taken and none became free");
            };
            drop(handshaking);
            gate.activity = Some(place.activity());
            tokio::select! {
                ended = session::serve(stream, peer, gate, node, stop) => if let Err(ended) = ended {
                    tracing::debug!(session, %address, why = %ended, "connection ended");
                },
                () = place.wanted() => tracing::warn!(session, %address, "connection cut: places are short, and it was idle longest"),
            }
        }
    }
}

/// The next connection, once a handshake may begin. Nothing is lost if it is not waited for to the end.
async fn accept(socket: &TcpListener, handshakes: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let permit = Arc::clone(handshakes).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match socket.accept().await {
            Ok((stream, address)) => return (stream, address, permit),
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
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

async fn handshake(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    match timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake within five seconds")),
    }
}

/// Judges the certificate, names the principal and opens its session in the log. Refused attempts are recorded too.
fn admit(node: &Node, gate: &mut Gate, address: SocketAddr) -> Result<Peer, String> {
    let peer = address.to_string();
    let refuse = |why: String| {
        let noted = node.session(Origin::Kmip, None, &peer).and_then(|session| node.note(session, Action::Connect, Outcome::Denied));
        match noted {
            Ok(()) => why,
            Err(error) => format!("{why}; {error}"),
        }
    };
    gate.check(SystemClock.now()).map_err(|why| refuse(why.to_string()))?;
    let leaf = gate.chain.first().ok_or_else(|| refuse("no certificate".to_owned()))?;
    let (principal, _rule) = node.config.identity.principal(leaf).map_err(|why| refuse(why.to_string()))?;
    let session = node.session(Origin::Kmip, Some(&principal), &peer).map_err(|error| error.to_string())?;
    Ok(Peer { principal, session })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_need_more_descriptors_than_there_are() {
        for descriptors in [1024, 4096, 524_288, u64::MAX] {
            let Room { handshakes, places } = Room::within(descriptors);
            let all = u64::try_from(handshakes + places).expect("a small number");
            assert!(all <= descriptors - DESCRIPTORS_KEPT && handshakes < places, "{descriptors}: {handshakes} and {places}");
        }
        assert_eq!(Room::within(u64::MAX), Room { handshakes: 1024, places: 15_360 });
        assert_eq!(Room::within(10), Room { handshakes: 16, places: 48 });
    }
}
