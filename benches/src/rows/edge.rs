//! What an edge alone promises: that what is warm asks the core for nothing, and that many objects do not hold up a restart.

use std::time::Instant;

use anyhow::{Context, ensure};
use kmip::{Decode, GetResponse, KeyMaterial, KeyValue, ManagedObject, ProtocolVersion, Rules, Sent};
use tokio::task::JoinSet;

use super::Bench;
use super::life::{first_encrypt, line};
use super::locate::{fill, locate, located};
use crate::load::Connection;
use crate::product::{Product, Who};
use crate::requests::{create, decrypt, encrypt, get, one, sealed, succeeded};

/// How often each operation is asked for.
const OPERATIONS: usize = 1000;
/// Connections that read objects.
const READERS: usize = 8;
/// Of so many objects, one is looked for by its name too.
const LOCATED_OF: usize = 100;

/// An edge's calls to its core since its start.
#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    lease: u64,
    wrap: u64,
    unwrap: u64,
    forward: u64,
}

impl Calls {
    fn of(product: &Product) -> anyhow::Result<Self> {
        let page = product.node().metrics();
        let count = |call: &str| {
            let series = format!("strongroom_edge_core_calls_total{{call=\"{call}\"}} ");
            let value = page.lines().find_map(|line| line.strip_prefix(&series)).context(series)?;
            anyhow::Ok(value.parse()?)
        };
        Ok(Self { lease: count("lease")?, wrap: count("wrap")?, unwrap: count("unwrap")?, forward: count("forward")? })
    }

    fn since(self, before: Self) -> Self {
        Self {
            lease: self.lease - before.lease,
            wrap: self.wrap - before.wrap,
            unwrap: self.unwrap - before.unwrap,
            forward: self.forward - before.forward,
        }
    }
}

/// Calls to the core for a thousand operations each; to refill the pool and to renew the lease is not theirs.
pub(super) async fn calls(bench: &Bench) -> anyhow::Result<()> {
    let product = &bench.product;
    let key = product.key();
    let mut connection = Connection::open(product.server(), &product.tls(Who::User, false)?).await?;
    let encrypting = encrypt(key, b"an invoice", 1);
    let made = sealed(&succeeded(&encrypting, connection.exchange(&encrypting.bytes).await?, 1)?)?;
    let fresh = |number: usize| create(&[format!("warm-{number}")]);
    let operations: [(&str, &dyn Fn(usize) -> Sent); 4] = [
        ("Create", &fresh),
        ("Get", &|_| one(&get(key))),
        ("Encrypt", &|_| encrypt(key, b"an invoice", 1)),
        ("Decrypt", &|_| decrypt(key, &made)),
    ];
    for (name, request) in operations {
        let before = Calls::of(product)?;
        for number in 0..OPERATIONS {
            let sent = request(number);
            succeeded(&sent, connection.exchange(&sent.bytes).await?, 1)?;
        }
        let Calls { lease, wrap, unwrap, forward } = Calls::of(product)?.since(before);
        let detail = format!("and {wrap} to fill the pool, {lease} for the lease");
        line(&format!("calls to core, {OPERATIONS} warm {name}"), 0.0, 0.0, (unwrap + forward) as f64, detail);
    }
    Ok(())
}

/// An edge with many objects is stopped and started: each of them is found, and is what it was.
pub(super) async fn restart(bench: &mut Bench) -> anyhow::Result<()> {
    fill(bench, bench.keys).await?;
    let before = materials(bench).await?;
    let began = bench.product.restart()?;
    first_encrypt(bench).await?;
    let ready = began.elapsed().as_secs_f64() * 1e3;
    let calls = Calls::of(&bench.product)?;
    line(&format!("start to first Encrypt, {} objects, ms", bench.keys), 500.0, 50.0, ready, format!("{calls:?}"));
    let began = Instant::now();
    ensure!(materials(bench).await? == before, "an object is not what it was");
    let reading = began.elapsed().as_secs_f64();
    let unwraps = Calls::of(&bench.product)?.since(calls).unwrap as f64;
    let detail = format!("{} objects read cold by {READERS} connections in {reading:.1} s, all as before", before.len());
    line("calls to core per object that is read cold", 1.0, 1.0, unwraps / before.len() as f64, detail);
    let mut connection = Connection::open(bench.product.server(), &bench.product.tls(Who::User, false)?).await?;
    for number in (0..bench.keys).step_by(LOCATED_OF) {
        let sent = locate(&super::locate::name(number));
        let answers = succeeded(&sent, connection.exchange(&sent.bytes).await?, 1)?;
        ensure!(located(&answers)?.iter().all(|id| bench.filled.contains(id)), "another key");
        ensure!(located(&answers)?.len() == 1, "object {number} is not found by its name");
    }
    Ok(())
}

/// All objects that were filled, as Get returns them.
async fn materials(bench: &Bench) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let (server, tls) = (bench.product.server(), bench.product.tls(Who::User, false)?);
    let mut tasks = JoinSet::new();
    for reader in 0..READERS {
        let mut connection = Connection::open(server, &tls).await?;
        let ids: Vec<String> = bench.filled.iter().skip(reader).step_by(READERS).cloned().collect();
        tasks.spawn(async move {
            let mut read = Vec::with_capacity(ids.len());
            for id in ids {
                let sent = one(&get(&id));
                let material = material(&sent, connection.exchange(&sent.bytes).await?)?;
                read.push((id, material));
            }
            anyhow::Ok(read)
        });
    }
    let mut all = Vec::new();
    while let Some(read) = tasks.join_next().await {
        all.extend(read??);
    }
    all.sort_unstable();
    Ok(all)
}

fn material(sent: &Sent, answer: &[u8]) -> anyhow::Result<Vec<u8>> {
    let answers = succeeded(sent, answer, 1)?;
    let payload = answers.message.items[0].payload.context("no payload")?;
    let got = GetResponse::decode(payload, Rules::of_response(ProtocolVersion::V1_4))?;
    let ManagedObject::SymmetricKey(key) = got.object else { anyhow::bail!("no Symmetric Key") };
    let Some(KeyValue::Plain(value)) = key.key_block.key_value else { anyhow::bail!("no plain key") };
    let KeyMaterial::Bytes(bytes) = value.key_material else { anyhow::bail!("not raw") };
    Ok(bytes.0.to_vec())
}
