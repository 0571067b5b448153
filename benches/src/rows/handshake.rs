//! Handshakes: connect, mutual TLS 1.3, one small request, close.
//!
//! What a resumed handshake saves is the server's signature and the look at the client's: the key exchange (C21 wants it hybrid), the key schedule and
//! the socket's life are the same. So the bare reference itself does not come below two thirds of a full one, and a bound of 0.6 can only be met by
//! a server that wastes time in full handshakes. The reference's own figures stand beside the product's, also for a client that knows X25519 alone:
//! without the hybrid exchange a full handshake is a little cheaper, and the ratio is no better.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use kmip::DiscoverVersionsRequest;
use nix::unistd::Pid;
use rustls::ClientConfig;

use super::Bench;
use crate::load::{Connection, Server, median};
use crate::machine::{CLIENT_CORE, SERVER_CORE, cpu_time, pin};
use crate::product::Who;
use crate::reference::{Reference, Work};
use crate::requests::one;
use crate::table::{Bound, Line};

pub(super) async fn run(bench: &Bench) -> anyhow::Result<()> {
    let request = Rc::new(one(&DiscoverVersionsRequest::default())).bytes.clone();
    let work = Work { data_bytes: 64, items: 1, answer_bytes: 256, append_bytes: None, http: false };
    let reference = Reference::start(&bench.product, work)?;
    let (full, resumed) = (bench.product.tls(Who::User, false)?, bench.product.tls(Who::User, true)?);
    let (classic, classic_resumed) = (bench.product.classic_tls(Who::User, false)?, bench.product.classic_tls(Who::User, true)?);
    let mut figures: [Vec<f64>; 6] = Default::default();
    for _ in 0..bench.plan.rounds {
        let cases = [
            (bench.product.server(), &full, false),
            (reference.server(), &full, false),
            (bench.product.server(), &resumed, true),
            (reference.server(), &resumed, true),
            (reference.server(), &classic, false),
            (reference.server(), &classic_resumed, true),
        ];
        for (figures, (server, tls, resume)) in figures.iter_mut().zip(cases) {
            figures.push(round(server, tls, &request, bench.plan.round, resume).await?);
        }
    }
    let [product, theirs, resumed, their_resumed, classic, classic_resumed] = figures.map(|figures| median(figures.into_iter()));
    let line = |what: &str, must, aim, value, detail| Line {
        what: what.to_owned(),
        must: Bound::AtMost(must),
        aim: Bound::AtMost(aim),
        value,
        detail,
    };
    line("full mTLS handshake", 1.3, 1.05, product / theirs, format!("{product:.0} / {theirs:.0} us CPU")).print();
    let detail = format!(
        "{resumed:.0} / {product:.0} us CPU; the reference's: {their_resumed:.0} / {theirs:.0}, with X25519 alone {classic_resumed:.0} / {classic:.0}"
    );
    line("resumed handshake against full", 0.6, 0.5, resumed / product, detail).print();
    Ok(())
}

/// Server CPU per handshake in microseconds.
async fn round(server: Server, tls: &Arc<ClientConfig>, request: &[u8], length: Duration, resume: bool) -> anyhow::Result<f64> {
    pin(Pid::this(), CLIENT_CORE)?;
    pin(server.process, SERVER_CORE)?;
    // The first one brings the tickets.
    Connection::open(server, tls).await?.exchange(request).await?;
    let (before, until, mut handshakes) = (cpu_time(server.process)?, Instant::now() + length, 0_u32);
    while Instant::now() < until {
        let mut connection = Connection::open(server, tls).await?;
        connection.exchange(request).await?;
        ensure!(connection.is_resumed() == resume, "the handshake was of the other kind");
        handshakes += 1;
    }
    let used = cpu_time(server.process)?.saturating_sub(before);
    Ok(used.as_secs_f64() * 1e6 / f64::from(handshakes))
}
