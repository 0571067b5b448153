//! The bare reference: the least that a server of KMIP over mutual TLS can do, to divide the product's cost by.
//!
//! It reads a TTLV frame (or an HTTP POST), encrypts as much of it as it is told with one cached key, and writes a canned answer of a given length.
//! With `--durable` the answer waits for an append and fdatasync that all waiting requests share. It checks nothing else and keeps nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::Context;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use clap::Parser;
use daemon::config::{CertificateFiles, Listener};
use daemon::system::SystemClock;
use daemon::tls::ServerTls;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const HEADER_BYTES: usize = 8;
/// Length of GCM's initialization vector in bytes.
const IV_BYTES: usize = 12;
/// What a connection's input buffer begins with, in bytes.
const BUFFER_BYTES: usize = 4096;

#[derive(Parser)]
struct Arguments {
    /// Where the address that was bound is written.
    #[arg(long)]
    address_file: PathBuf,
    #[arg(long)]
    cert: PathBuf,
    #[arg(long)]
    key: PathBuf,
    #[arg(long)]
    client_ca: PathBuf,
    /// How many bytes of a request are encrypted at a time.
    #[arg(long)]
    data_bytes: usize,
    /// How many times, each under its own IV.
    #[arg(long, default_value_t = 1)]
    items: usize,
    /// Length of the answer.
    #[arg(long)]
    answer_bytes: usize,
    /// Appends to this file, and syncs it, before an answer.
    #[arg(long)]
    durable: Option<PathBuf>,
    /// How much is appended for a request.
    #[arg(long, default_value_t = 1024)]
    append_bytes: usize,
    /// Speaks HTTP/1.1.
    #[arg(long)]
    http: bool,
}

/// What every connection works with.
struct Server {
    key: LessSafeKey,
    data_bytes: usize,
    items: usize,
    answer_bytes: usize,
    durable: Option<mpsc::Sender<oneshot::Sender<()>>>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let listener = Listener {
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        certificates: vec![CertificateFiles { cert: arguments.cert, key: arguments.key }],
        client_ca: arguments.client_ca,
        crl: None,
        crl_grace: Duration::ZERO,
    };
    let (tls, _without_lists) = ServerTls::load(&listener, Arc::new(SystemClock))?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("32 bytes"));
    let durable = arguments.durable.map(|path| group_writer(&path, arguments.append_bytes)).transpose()?;
    let Arguments { data_bytes, items, answer_bytes, .. } = arguments;
    let server = Arc::new(Server { key, data_bytes, items, answer_bytes, durable });
    let socket = TcpListener::bind(listener.bind).await?;
    let new = arguments.address_file.with_extension("new");
    std::fs::write(&new, socket.local_addr()?.to_string())?;
    std::fs::rename(&new, &arguments.address_file)?;
    loop {
        let (stream, _) = socket.accept().await?;
        stream.set_nodelay(true)?;
        let (server, acceptor) = (Arc::clone(&server), TlsAcceptor::from(tls.config()));
        tokio::spawn(connection(server, acceptor, stream, arguments.http));
    }
}

/// A thread that makes one append and one fdatasync for all requests that wait.
fn group_writer(path: &PathBuf, append_bytes: usize) -> anyhow::Result<mpsc::Sender<oneshot::Sender<()>>> {
    let mut file: File = OpenOptions::new().create(true).append(true).open(path).with_context(|| path.display().to_string())?;
    let (sender, receiver) = mpsc::channel::<oneshot::Sender<()>>();
    std::thread::spawn(move || {
        while let Ok(first) = receiver.recv() {
            let mut waiting = vec![first];
            waiting.extend(receiver.try_iter());
            file.write_all(&vec![0x5A; append_bytes * waiting.len()]).expect("the disk takes it");
            file.sync_data().expect("the disk takes it");
            for done in waiting {
                let _gone = done.send(());
            }
        }
    });
    Ok(sender)
}

async fn connection(server: Arc<Server>, acceptor: TlsAcceptor, stream: TcpStream, http: bool) -> io::Result<()> {
    let stream = acceptor.accept(stream).await?;
    if http { posts(server, stream).await } else { frames(&server, stream).await }
}

async fn frames(server: &Server, mut stream: TlsStream<TcpStream>) -> io::Result<()> {
    let (mut input, mut output) = (Vec::with_capacity(BUFFER_BYTES), Vec::new());
    loop {
        let length = loop {
            let missing = match input.get(4..HEADER_BYTES) {
                Some(length) => {
                    let whole = HEADER_BYTES + u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
                    if input.len() >= whole {
                        break whole;
                    }
                    whole - input.len()
                }
                None => HEADER_BYTES,
            };
            input.reserve(missing);
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        };
        server.answer(&input[..length], &mut output).await;
        input.drain(..length);
        stream.write_all(&output).await?;
        stream.flush().await?;
    }
}

async fn posts(server: Arc<Server>, stream: TlsStream<TcpStream>) -> io::Result<()> {
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let server = Arc::clone(&server);
        async move {
            let body = request.into_body().collect().await?.to_bytes();
            let mut output = Vec::new();
            server.answer(&body, &mut output).await;
            let answer = Response::builder().header("content-type", "application/octet-stream").body(Full::new(Bytes::from(output)));
            Ok::<_, hyper::Error>(answer.expect("a plain response"))
        }
    });
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.map_err(io::Error::other)
}

impl Server {
    /// A frame of `answer_bytes`, with the ciphertext behind its header.
    async fn answer(&self, frame: &[u8], output: &mut Vec<u8>) {
        output.clear();
        output.resize(self.answer_bytes, 0);
        output[..4].copy_from_slice(&[0x42, 0x00, 0x7B, 0x01]);
        let length = u32::try_from(self.answer_bytes - HEADER_BYTES).expect("answers are below 4 GiB");
        output[4..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
        // From the frame's end: there the data is.
        let data = &frame[frame.len() - (self.data_bytes * self.items).min(frame.len())..];
        let room = output.len().min(HEADER_BYTES + data.len());
        let body = &mut output[HEADER_BYTES..room];
        body.copy_from_slice(&data[..body.len()]);
        for item in body.chunks_mut(self.data_bytes) {
            let mut iv = [0; IV_BYTES];
            aws_lc_rs::rand::fill(&mut iv).expect("the system has randomness");
            let sealed = self.key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::empty(), item);
            let _tag = sealed.expect("a frame is below GCM's limit");
        }
        if let Some(durable) = &self.durable {
            let (done, is_durable) = oneshot::channel();
            durable.send(done).expect("the writer lives as long as the process");
            let _done = is_durable.await;
        }
    }
}
