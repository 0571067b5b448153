//! The way to the server: how a connection is made, in which role, and how much is taken from it at a time.
//!
//! The driver keeps a message until it is whole, and every server says itself how long it is. So the bytes are looked at as they come: a message that
//! announces more than any of ours has ends the connection before it is kept. Passing by there are rows without end, which whoever asked counts.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use deadpool_postgres::Connect;
use futures_util::TryStreamExt;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use super::ANSWERED_ROW_BYTES_MAX;
use super::fault::Breach;
use super::roles::taking;
use super::tls::Tls;

/// Longest message of a server's that is no row.
pub(super) const MESSAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// All that a server may say of its settings while a connection stands; the driver keeps the last of each.
const SETTINGS_BYTES_MAX: u64 = 1024 * 1024;
/// The tag of such a message.
const SETTING: u8 = b'S';
/// That of a row.
const ROW: u8 = b'D';
/// Port of a socket's name where the URL has none.
const PORT: u16 = 5432;

/// A message that was not taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Excess(Arc<Mutex<Option<Breach>>>);

impl Excess {
    /// Says it once.
    pub(super) fn take(&self) -> Option<Breach> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, breach: Breach) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(breach);
    }
}

/// Makes connections.
pub(super) struct Way {
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Taken before anything is asked for; none while the tables are made.
    pub(super) role: Option<String>,
    pub(super) excess: Excess,
}

impl Connect for Way {
    fn connect(&self, config: &Config) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move {
            let (client, task) = if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))) {
                self.by_socket(&config).await?
            } else {
                let (client, connection) = config.connect(Tls::new(self.tls.clone(), self.excess.clone())).await?;
                (client, driven(connection))
            };
            if let Some(role) = &self.role
                && let Err(error) = client.batch_execute(&taking(role)).await
            {
                task.abort();
                return Err(error);
            }
            Ok((client, task))
        })
    }
}

impl Way {
    /// To the first socket that answers.
    async fn by_socket(&self, config: &Config) -> Result<(Client, JoinHandle<()>), Error> {
        let ports = config.get_ports();
        let mut failed = None;
        for (number, host) in config.get_hosts().iter().enumerate() {
            let Host::Unix(folder) = host else { continue };
            let port = ports.get(number).or(ports.first()).copied().unwrap_or(PORT);
            let socket = match UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await {
                Ok(socket) => socket,
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            let (client, connection) = config.connect_raw(Bounded::new(socket, self.excess.clone()), NoTls).await?;
            let task = driven(connection);
            if config.get_hosts().len() == 1 {
                return Ok((client, task));
            }
            // Of several, the one that takes changes is meant.
            let mut said = std::pin::pin!(client.simple_query_raw("show transaction_read_only").await?);
            let is_read_only = loop {
                match said.try_next().await? {
                    Some(SimpleQueryMessage::Row(row)) => break row.get(0) == Some("on"),
                    Some(_) => {}
                    None => break false,
                }
            };
            if !is_read_only {
                return Ok((client, task));
            }
            task.abort();
            failed = Some(io::Error::other("the server takes no changes"));
        }
        let error = failed.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        // The driver makes its errors itself: of a stream that fails at once.
        config.connect_raw(Unreached(Some(error)), NoTls).await.map(|(client, connection)| (client, driven(connection)))
    }
}

fn driven<C: Future<Output = Result<(), Error>> + Send + 'static>(connection: C) -> JoinHandle<()> {
    // Whoever waits for an answer hears that there will be none.
    tokio::spawn(async move { drop(connection.await) })
}

/// A stream of a server's messages, none of them too long.
pub(super) struct Bounded<S> {
    stream: S,
    frames: Frames,
    excess: Excess,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S, excess: Excess) -> Self {
        Self { stream, frames: Frames::default(), excess }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        let read = std::task::ready!(Pin::new(&mut this.stream).poll_read(context, buffer));
        if read.is_ok()
            && let Err(breach) = this.frames.pass(&buffer.filled()[before..])
        {
            this.excess.put(breach);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, breach)));
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Where a server's messages begin and end: a tag, a length that counts itself, and the rest.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; 5],
    header_bytes: usize,
    /// Of the message that has begun.
    left: u64,
    settings: u64,
}

impl Frames {
    /// Looks at what has come.
    fn pass(&mut self, mut bytes: &[u8]) -> Result<(), Breach> {
        while !bytes.is_empty() {
            let body = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= body as u64;
            bytes = &bytes[body..];
            let count = bytes.len().min(self.header.len() - self.header_bytes);
            self.header[self.header_bytes..][..count].copy_from_slice(&bytes[..count]);
            self.header_bytes += count;
            bytes = &bytes[count..];
            if self.header_bytes == self.header.len() {
                self.begin()?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Breach> {
        let [tag, length @ ..] = self.header;
        let length = u64::from(u32::from_be_bytes(length));
        if tag == SETTING {
            self.settings += length;
        }
        if length > MESSAGE_BYTES_MAX || self.settings > SETTINGS_BYTES_MAX {
            return Err(Breach::Message { bytes: length.max(self.settings) });
        }
        // Told before it is read: of a longer one the time of a call might be over first.
        if tag == ROW && length > ANSWERED_ROW_BYTES_MAX as u64 {
            return Err(Breach::Row { bytes: length });
        }
        self.header_bytes = 0;
        // One that is shorter than its length the driver refuses.
        self.left = length.saturating_sub(4);
        Ok(())
    }
}

/// A stream that was not to be had.
struct Unreached(Option<io::Error>);

impl Unreached {
    fn why<T>(&mut self) -> Poll<io::Result<T>> {
        Poll::Ready(Err(self.0.take().unwrap_or_else(|| io::ErrorKind::NotConnected.into())))
    }
}

impl AsyncRead for Unreached {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.why()
    }
}

impl AsyncWrite for Unreached {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.why()
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.why()
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.why()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: usize) -> Vec<u8> {
        let mut message = vec![tag];
        message.extend_from_slice(&u32::try_from(body + 4).expect("it is short").to_be_bytes());
        message.resize(body + 5, 7);
        message
    }

    fn check(bytes: &[u8], expected: Result<(), Breach>) {
        for piece in [1, 2, 3, 4, 5, 6, 7, 1000, bytes.len()] {
            let mut frames = Frames::default();
            assert_eq!(bytes.chunks(piece).try_for_each(|piece| frames.pass(piece)), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_message_that_announces_too_much_is_refused_wherever_it_is_cut() {
        let whole = [message(b'D', 0), message(b'T', 1), message(b'D', 3000), message(b'Z', 1)].concat();
        check(&whole, Ok(()));
        let long = u32::MAX.to_be_bytes();
        check(&[&whole[..], b"D", &long, b"more"].concat(), Err(Breach::Message { bytes: u32::MAX.into() }));
        let most = u32::try_from(MESSAGE_BYTES_MAX).expect("it is small");
        check(&[&whole[..], b"T", &most.to_be_bytes(), b"more"].concat(), Ok(()));
        check(&[&whole[..], b"T", &(most + 1).to_be_bytes()].concat(), Err(Breach::Message { bytes: MESSAGE_BYTES_MAX + 1 }));
        let row = u32::try_from(ANSWERED_ROW_BYTES_MAX).expect("it is small");
        check(&[&whole[..], b"D", &row.to_be_bytes(), b"more"].concat(), Ok(()));
        check(&[&whole[..], b"D", &(row + 1).to_be_bytes()].concat(), Err(Breach::Row { bytes: u64::from(row) + 1 }));
        // Too short is the driver's to refuse, and does not put us out of step.
        check(&[b"D", &0_u32.to_be_bytes()[..], &whole].concat(), Ok(()));
    }

    #[test]
    fn settings_without_end_are_refused() {
        let mut frames = Frames::default();
        let setting = message(SETTING, 996);
        let outcome = (0..2000).try_for_each(|_| frames.pass(&setting));
        assert_eq!(outcome, Err(Breach::Message { bytes: 1_049_000 }));
    }
}
