//! Memory, and how long a start and an unseal take; runs on the keys that the rows before have made.

use std::time::{Duration, Instant};

use anyhow::ensure;
use kmip::{DiscoverVersionsRequest, GetAttributesRequest};

use super::Bench;
use super::locate::fill;
use crate::load::Connection;
use crate::machine::resident_bytes;
use crate::product::Who;
use crate::requests::{encrypt, one, succeeded};
use crate::table::{Bound, Line};

/// Connections that are opened and left alone.
const IDLE_CONNECTIONS: usize = 1000;
/// How long a start may take before it counts as failed.
const START_WITHIN: Duration = Duration::from_secs(20);
/// How long a sweep of the store may take.
const SWEEP_WITHIN: Duration = Duration::from_secs(300);
/// How often that is asked for.
const SWEEP_LOOK_EVERY: Duration = Duration::from_millis(500);
/// Up to so many keys the nearer bounds of an unseal hold, in milliseconds; above it, those for a million.
const FEW_KEYS: usize = 100_000;
const UNSEAL_FEW_MILLIS: (f64, f64) = (500.0, 50.0);
const UNSEAL_MANY_MILLIS: (f64, f64) = (3000.0, 300.0);

pub(super) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    bench.product.restart()?;
    first_encrypt(bench).await?;
    let idle = resident_bytes(bench.product.process())?;
    line("resident memory idle, MB", 30.0, 12.0, idle as f64 / 1e6, String::new());
    swept(bench).await?;
    connections(bench).await?;
    keys(bench).await?;
    if bench.product.is_edge() {
        return Ok(());
    }
    sealed_start(bench).await?;
    unseal(bench).await
}

pub(super) fn line(what: &str, must: f64, aim: f64, value: f64, detail: String) {
    Line { what: what.to_owned(), must: Bound::AtMost(must), aim: Bound::AtMost(aim), value, detail }.print();
}

/// Waits for the sweep that follows an unseal: it reads the whole store, and what it takes for that is not the connections'.
pub(super) async fn swept(bench: &Bench) -> anyhow::Result<()> {
    let began = Instant::now();
    while !bench.product.status().contains("\"swept\": \"") {
        ensure!(began.elapsed() < SWEEP_WITHIN, "the store is not swept: {}", bench.product.status());
        tokio::time::sleep(SWEEP_LOOK_EVERY).await;
    }
    Ok(())
}

async fn connections(bench: &Bench) -> anyhow::Result<()> {
    let before = resident_bytes(bench.product.process())?;
    let tls = bench.product.tls(Who::User, false)?;
    let request = one(&DiscoverVersionsRequest::default());
    let mut open = Vec::new();
    for _ in 0..IDLE_CONNECTIONS {
        let mut connection = Connection::open(bench.product.server(), &tls).await?;
        connection.exchange(&request.bytes).await?;
        open.push(connection);
    }
    let each = (resident_bytes(bench.product.process())? - before) as f64 / IDLE_CONNECTIONS as f64 / 1e3;
    line("resident memory per idle TLS connection, KB", 40.0, 15.0, each, format!("{} connections", open.len()));
    Ok(())
}

/// After a restart, so that only what is read counts, not what creating has left behind. The sweep reads every key too, so its end is waited for.
async fn keys(bench: &mut Bench) -> anyhow::Result<()> {
    fill(bench, bench.keys).await?;
    bench.product.restart()?;
    first_encrypt(bench).await?;
    let before = resident_bytes(bench.product.process())?;
    let mut connection = Connection::open(bench.product.server(), &bench.product.tls(Who::User, false)?).await?;
    for id in &bench.filled {
        let sent = one(&GetAttributesRequest { unique_identifier: Some(id), attribute_names: vec!["State"] });
        succeeded(&sent, connection.exchange(&sent.bytes).await?, 1)?;
    }
    swept(bench).await?;
    let each = (resident_bytes(bench.product.process())?.saturating_sub(before)) as f64 / bench.filled.len() as f64;
    let detail = format!("{} keys; the store's pages in memory and what the sweep keeps are counted in", bench.filled.len());
    line("resident memory per key in use, B", 600.0, 250.0, each, detail);
    Ok(())
}

/// Until a core without its token has said that it is sealed.
async fn sealed_start(bench: &mut Bench) -> anyhow::Result<()> {
    bench.product.node().pull_token();
    let began = bench.product.restart()?;
    let request = one(&DiscoverVersionsRequest::default());
    let tls = bench.product.tls(Who::User, false)?;
    loop {
        if let Ok(mut connection) = Connection::open(bench.product.server(), &tls).await
            && connection.exchange(&request.bytes).await.is_ok()
        {
            break;
        }
        ensure!(began.elapsed() < START_WITHIN, "the core does not answer");
        tokio::task::yield_now().await;
    }
    line("start to first answer while sealed, ms", 150.0, 60.0, began.elapsed().as_secs_f64() * 1e3, String::new());
    bench.product.node().return_token();
    Ok(())
}

async fn unseal(bench: &Bench) -> anyhow::Result<()> {
    let began = Instant::now();
    let _said = bench.product.node().ask(&["unseal"]);
    let told = began.elapsed();
    first_encrypt(bench).await?;
    let detail = format!("of which `strongroom unseal` with its device process {:.0} ms", told.as_secs_f64() * 1e3);
    let (must, aim) = if bench.keys <= FEW_KEYS { UNSEAL_FEW_MILLIS } else { UNSEAL_MANY_MILLIS };
    line(&format!("unseal to first Encrypt, {} keys, ms", bench.keys), must, aim, began.elapsed().as_secs_f64() * 1e3, detail);
    Ok(())
}

/// Tries until an encryption succeeds.
pub(super) async fn first_encrypt(bench: &Bench) -> anyhow::Result<()> {
    let (tls, key, began) = (bench.product.tls(Who::User, false)?, bench.product.key(), Instant::now());
    let sent = encrypt(key, b"first", 1);
    loop {
        if let Ok(mut connection) = Connection::open(bench.product.server(), &tls).await
            && let Ok(answer) = connection.exchange(&sent.bytes).await
            && succeeded(&sent, answer, 1).is_ok()
        {
            return Ok(());
        }
        ensure!(began.elapsed() < START_WITHIN, "the node does not encrypt");
        tokio::task::yield_now().await;
    }
}
