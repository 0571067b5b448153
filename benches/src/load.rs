//! The client: connections that send requests one after another, measured in rounds that alternate between two servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::unistd::Pid;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet, spawn_local, yield_now};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::machine::{CLIENT_CORE, SERVER_CORE, cpu_time, pin};

const HEADER_BYTES: usize = 8;
/// Before each side's first round, so that keys are warm and connections awake.
const WARM_UP: Duration = Duration::from_millis(300);

/// A server process, and where it listens.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    /// Whose CPU time counts.
    pub process: Pid,
    /// Its KMIP (or HTTPS) socket.
    pub address: SocketAddr,
    /// Whether it wants its frames in HTTP POSTs.
    pub http: bool,
}

/// What one connection asks, and how it knows that the answer is right.
pub trait Script {
    /// The next request.
    fn request(&mut self) -> &[u8];
    /// Looks at the answer to it.
    ///
    /// # Errors
    /// It is wrong.
    fn answered(&mut self, answer: &[u8]) -> anyhow::Result<()>;
}

/// How long is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds of each side.
    pub rounds: usize,
    /// Length of one.
    pub round: Duration,
}

/// One open connection.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    http: bool,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    /// Connects and finishes the handshake.
    ///
    /// # Errors
    /// The server's or the system's.
    pub async fn open(server: Server, tls: &Arc<ClientConfig>) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(server.address).await.context("the server does not listen")?;
        socket.set_nodelay(true)?;
        let name = ServerName::from(server.address.ip());
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, socket).await.context("no TLS")?;
        Ok(Self { stream, http: server.http, input: Vec::new(), output: Vec::new() })
    }

    /// Whether the server took a session of before.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// Sends a message and returns the answer.
    ///
    /// # Errors
    /// The connection ends.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        self.output.clear();
        if self.http {
            let head = format!(
                "POST /kmip HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
                request.len()
            );
            self.output.extend_from_slice(head.as_bytes());
        }
        self.output.extend_from_slice(request);
        self.stream.write_all(&self.output).await?;
        self.stream.flush().await?;
        self.input.clear();
        loop {
            if let Some((start, end)) = if self.http { whole_post(&self.input)? } else { whole_frame(&self.input) } {
                ensure!(self.input.len() == end, "bytes behind the answer");
                return Ok(&self.input[start..end]);
            }
            ensure!(self.stream.read_buf(&mut self.input).await? > 0, "the server closed the connection");
        }
    }
}

/// Where the answer lies, once all of it is there.
fn whole_frame(input: &[u8]) -> Option<(usize, usize)> {
    let length: [u8; 4] = input.get(4..HEADER_BYTES)?.try_into().ok()?;
    let end = HEADER_BYTES + u32::from_be_bytes(length) as usize;
    (input.len() >= end).then_some((0, end))
}

fn whole_post(input: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(head) = input.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&input[..head])?;
    ensure!(text.starts_with("HTTP/1.1 200"), "{text}");
    let length =
        text.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|rest| rest.trim().parse::<usize>()));
    let (start, length) = (head + 4, length.context("no Content-Length")??);
    Ok((input.len() >= start + length).then_some((start, start + length)))
}

/// One side of a comparison: a server with its connections.
pub struct Side {
    server: Server,
    connections: Vec<(Connection, Box<dyn Script>)>,
    rounds: Vec<Round>,
    nanos: Vec<u64>,
}

/// Totals of one round.
struct Round {
    operations: u64,
    cpu: Duration,
    wall: Duration,
}

/// What one side did, medians over its rounds.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Server CPU per operation in microseconds.
    pub cpu_micros: f64,
    /// Operations per second.
    pub rate: f64,
    /// Median latency in microseconds.
    pub p50_micros: f64,
    /// 99th percentile in microseconds.
    pub p99_micros: f64,
}

impl Side {
    /// Opens a connection for each script.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub async fn open(server: Server, tls: &Arc<ClientConfig>, scripts: Vec<Box<dyn Script>>) -> anyhow::Result<Self> {
        let mut connections = Vec::with_capacity(scripts.len());
        for script in scripts {
            connections.push((Connection::open(server, tls).await?, script));
        }
        Ok(Self { server, connections, rounds: Vec::new(), nanos: Vec::new() })
    }

    async fn round(&mut self, length: Duration, keep: bool) -> anyhow::Result<()> {
        let core = if self.connections.len() == 1 { CLIENT_CORE } else { SERVER_CORE };
        pin(self.server.process, core)?;
        // With a core of its own the client never sleeps: else a server that keeps it waiting would pay for waking it at every answer, and the
        // faster one would not.
        let awake = (self.connections.len() > 1).then(|| spawn_local(stay_awake()));
        let cpu_before = cpu_time(self.server.process)?;
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for (connection, script) in self.connections.drain(..) {
            tasks.spawn_local(drive(connection, script, began + length));
        }
        let mut operations = 0;
        while let Some(done) = tasks.join_next().await {
            let (connection, script, nanos) = done??;
            operations += nanos.len() as u64;
            self.connections.push((connection, script));
            if keep {
                self.nanos.extend_from_slice(&nanos);
            }
        }
        let (wall, cpu) = (began.elapsed(), cpu_time(self.server.process)?.saturating_sub(cpu_before));
        if let Some(awake) = awake {
            awake.abort();
        }
        if keep {
            self.rounds.push(Round { operations, cpu, wall });
        }
        Ok(())
    }

    fn measured(&mut self) -> Measured {
        self.nanos.sort_unstable();
        let at = |share: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
            let index = ((self.nanos.len() - 1) as f64 * share) as usize;
            self.nanos[index] as f64 / 1e3
        };
        Measured {
            cpu_micros: median(self.rounds.iter().map(Round::cpu_micros)),
            rate: median(self.rounds.iter().map(|round| round.operations as f64 / round.wall.as_secs_f64())),
            p50_micros: at(0.5),
            p99_micros: at(0.99),
        }
    }
}

impl Round {
    fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.operations.max(1) as f64
    }
}

async fn stay_awake() {
    loop {
        yield_now().await;
    }
}

async fn drive(
    mut connection: Connection,
    mut script: Box<dyn Script>,
    until: Instant,
) -> anyhow::Result<(Connection, Box<dyn Script>, Vec<u64>)> {
    let mut nanos = Vec::new();
    let mut now = Instant::now();
    while now < until {
        let answer = connection.exchange(script.request()).await?;
        let done = Instant::now();
        nanos.push(u64::try_from((done - now).as_nanos()).unwrap_or(u64::MAX));
        script.answered(answer)?;
        now = Instant::now();
    }
    Ok((connection, script, nanos))
}

/// Product and reference side by side.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// The one.
    pub product: Measured,
    /// The other.
    pub reference: Measured,
    /// Median over the rounds of CPU per operation of the product divided by the reference's of the same moment.
    pub cpu_ratio: f64,
}

/// Lets both sides work in turns.
///
/// # Errors
/// A wrong answer; a connection that ends.
pub async fn compare(mut product: Side, mut reference: Side, plan: Plan) -> anyhow::Result<Compared> {
    pin(Pid::this(), CLIENT_CORE)?;
    let tasks = LocalSet::new();
    let work = async {
        for side in [&mut product, &mut reference] {
            side.round(WARM_UP, false).await?;
        }
        for _ in 0..plan.rounds {
            product.round(plan.round, true).await.context("the product")?;
            reference.round(plan.round, true).await.context("the reference")?;
        }
        anyhow::Ok(())
    };
    tasks.run_until(work).await?;
    let ratios = product.rounds.iter().zip(&reference.rounds).map(|(product, reference)| product.cpu_micros() / reference.cpu_micros());
    Ok(Compared { cpu_ratio: median(ratios), product: product.measured(), reference: reference.measured() })
}

/// Where a turn of [`alternate`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is about to begin.
    Begins,
    /// It is over.
    Ended,
}

/// Lets two loads of one server work in turns, the first alone, the second beside what `beside` does; it is told of each of the second's turns, and
/// says how much CPU of its own the server has spent on that by then.
///
/// # Errors
/// A wrong answer; a connection that ends; what `beside` says.
pub async fn alternate(
    mut alone: Side,
    mut accompanied: Side,
    plan: Plan,
    mut beside: impl AsyncFnMut(Turn) -> anyhow::Result<Duration>,
) -> anyhow::Result<(Measured, Measured)> {
    pin(Pid::this(), CLIENT_CORE)?;
    let work = async {
        alone.round(WARM_UP, false).await?;
        for _ in 0..plan.rounds {
            alone.round(plan.round, true).await?;
            let before = beside(Turn::Begins).await?;
            accompanied.round(plan.round, true).await?;
            let own = beside(Turn::Ended).await?.saturating_sub(before);
            if let Some(round) = accompanied.rounds.last_mut() {
                round.cpu = round.cpu.saturating_sub(own);
            }
        }
        anyhow::Ok(())
    };
    LocalSet::new().run_until(work).await?;
    Ok((alone.measured(), accompanied.measured()))
}

/// The middle value; NaN of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
