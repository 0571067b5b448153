//! The KMIP listener: accepts, finishes mutual TLS, names the principal, and hands over to a session.

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
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::node::Node;
use crate::session::{self, Peer};
use crate::stop::Stop;
use crate::system::SystemClock;
use crate::tls::{ClientJudge, ServerTls, Why, handshake_failure};

/// A TLS handshake must be over within this time.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Most connections at a time.
pub const CONNECTIONS_MAX: usize = 16_384;
/// How long to wait before accepting again when the system has run out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The KMIP listener of a node.
pub struct KmipListener {
    socket: TcpListener,
    tls: ServerTls,
    node: Arc<Node>,
}

/// Judges a connection's certificate again whenever the minute has changed.
pub struct Gate {
    judge: ClientJudge,
    chain: Vec<CertificateDer<'static>>,
    minute: i64,
}

impl Gate {
    /// Judges the chain at `now`; later calls in the same minute cost nothing.
    ///
    /// # Errors
    /// [`Why`] the certificate does not hold.
    pub fn check(&mut self, now: Time) -> Result<(), Why> {
        let minute = now.seconds().div_euclid(60);
        if minute != self.minute {
            self.judge.check(&self.chain, now)?;
            self.minute = minute;
        }
        Ok(())
    }
}

impl KmipListener {
    /// Takes over a bound socket.
    #[must_use]
    pub fn new(socket: TcpListener, tls: ServerTls, node: Arc<Node>) -> Self {
        Self { socket, tls, node }
    }

    /// Accepts until told to stop, then waits until every session has ended.
    pub async fn run(self, mut stop: Stop) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let sessions = tokio_util::task::TaskTracker::new();
        loop {
            let place = tokio::select! {
                place = Arc::clone(&places).acquire_owned() => place.expect("the semaphore is never closed"),
                () = stop.requested() => break,
            };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stop.requested() => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    let connection = self.connection(stream, address, stop.clone());
                    sessions.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        sessions.close();
        sessions.wait().await;
    }

    fn connection(&self, stream: TcpStream, address: SocketAddr, stop: Stop) -> impl Future<Output = ()> + Send + 'static {
        let acceptor = TlsAcceptor::from(self.tls.config());
        let (judge, node) = (self.tls.judge(), Arc::clone(&self.node));
        async move {
            let stream = match handshake(acceptor, stream).await {
                Ok(stream) => stream,
                Err(error) => return tracing::info!(%address, why = handshake_failure(&error), "TLS handshake failed"),
            };
            let chain: Vec<_> =
                stream.get_ref().1.peer_certificates().unwrap_or_default().iter().map(|der| der.clone().into_owned()).collect();
            let mut gate = Gate { judge, chain, minute: i64::MIN };
            let peer = match admit(&node, &mut gate, address) {
                Ok(peer) => peer,
                Err(why) => return tracing::warn!(%address, %why, "connection refused"),
            };
            let session = peer.session.0;
            if let Err(ended) = session::serve(stream, peer, gate, node, stop).await {
                tracing::debug!(session, %address, why = %ended, "connection ended");
            }
        }
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
