//! What a keystore costs: Create, the first look at each key after a restart, and looks at a key that is warm, on one core whose rows are moved from each
//! kind of keystore to the next.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use daemon::confine;
use daemon::kmip_client::KmipClient;
use softhsm_test::requests::{self, Secret};
use softhsm_test::{OpenbaoServer, PostgresServer, binary};

use super::Bench;
use super::life::swept;
use crate::load::median;
use crate::machine::cpu_time;
use crate::product::Who;
use crate::table::{Bound, Line};

/// Keys that are made and looked at in each keystore.
const KEYS: usize = 200;
/// Looks at the warm key.
const WARM: usize = 500;
/// Rows that were read are kept so long (`row_cache.life`).
const KEPT: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);

/// What one operation took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    cpu_micros: f64,
    p50_micros: f64,
}

/// The servers behind the keystores, as long as they are measured.
struct Servers {
    _database: PostgresServer,
    _vault: OpenbaoServer,
}

impl Servers {
    /// Tells the node of them; it hears of it at its next start.
    fn beside(bench: &Bench) -> anyhow::Result<Self> {
        let node = bench.product.node();
        let (database, vault) = (PostgresServer::new(), OpenbaoServer::new());
        node.write_credential(OpenbaoServer::CREDENTIAL, &vault.secret_id());
        let program = node.dir().join("plugin");
        fs::copy(binary("plugin-redb", "plugin-redb"), &program)?;
        let hash: String = confine::hash(&program)?.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!(
            "{}\nkeystores:\n  main: {{postgres: {{url: '{}'}}}}\n  vault: {{openbao: {}}}\n  plug: {{grpc: {{command: {program:?}, sha256: {hash}}}}}\n\
             routing: [{{keystore: embedded}}]\nrow_cache: {{life: {}s}}\n",
            fs::read_to_string(node.config())?,
            database.url(&database.database()),
            vault.section(&vault.url(), &vault.role_id(), &vault.prefix(), "ca.pem", TIMEOUT),
            KEPT.as_secs(),
        );
        fs::write(node.config(), text)?;
        Ok(Self { _database: database, _vault: vault })
    }
}

pub(super) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let _servers = Servers::beside(bench)?;
    restart(bench).await?;
    let mut first: Option<[Cost; 2]> = None;
    for (from, to, what) in [
        (None, "embedded", "embedded"),
        (Some("embedded"), "main", "PostgreSQL"),
        (Some("main"), "vault", "OpenBao"),
        (Some("vault"), "plug", "plugin"),
    ] {
        if let Some(from) = from {
            let _moved = bench.product.node().ask(&["keystore", "migrate", "--from", from, "--to", to, "--watch"]);
        }
        let (created, looked, reads) = measured(bench, to).await?;
        let [create, look] = *first.get_or_insert([created, looked]);
        line(&format!("{what}: CPU per Create, of embedded"), created, create);
        line(&format!("{what}: CPU per first Get Attributes, of embedded"), looked, look);
        let must = if to == "embedded" { Bound::None } else { Bound::AtMost(0.05) };
        Line { what: format!("{what}: rows asked for per warm Decrypt"), must, aim: must, value: reads, detail: format!("{WARM} of them") }
            .print();
    }
    Ok(())
}

fn line(what: &str, cost: Cost, of: Cost) {
    let detail = format!(
        "{:.0} / {:.0} us CPU; p50 {:.0} / {:.0} us, {:.1} times",
        cost.cpu_micros,
        of.cpu_micros,
        cost.p50_micros,
        of.p50_micros,
        cost.p50_micros / of.p50_micros
    );
    Line { what: what.to_owned(), must: Bound::None, aim: Bound::None, value: cost.cpu_micros / of.cpu_micros, detail }.print();
}

/// Waits for the sweep, which reads all rows, and until what it has read is kept no more.
async fn restart(bench: &mut Bench) -> anyhow::Result<()> {
    bench.product.restart()?;
    swept(bench).await?;
    tokio::time::sleep(2 * KEPT).await;
    Ok(())
}

/// Create, the first look, and how many rows a warm use asks for.
async fn measured(bench: &mut Bench, store: &str) -> anyhow::Result<(Cost, Cost, f64)> {
    let mut ids = Vec::new();
    let mut maker = bench.product.connect(Who::Maker)?;
    let created = cost(bench, KEYS, |number| {
        ids.push(requests::create(&mut maker, &format!("{store}-{number}"))?);
        Ok(())
    })?;
    let warm: Secret = {
        requests::activate(&mut maker, &ids[0])?;
        requests::encrypt(&mut bench.product.connect(Who::User)?, &ids[0], b"warm".to_vec())?
    };
    restart(bench).await?;
    let mut maker = bench.product.connect(Who::Maker)?;
    let looked = cost(bench, KEYS, |number| {
        requests::look(&mut maker, &ids[number])?;
        Ok(())
    })?;
    let mut user = bench.product.connect(Who::User)?;
    decrypt(&mut user, &warm)?;
    let before = reads(bench)?;
    for _ in 0..WARM {
        decrypt(&mut user, &warm)?;
    }
    Ok((created, looked, (reads(bench)? - before) / WARM as f64))
}

fn decrypt(user: &mut KmipClient, secret: &Secret) -> anyhow::Result<()> {
    ensure!(requests::decrypt(user, secret)? == secret.plain, "a wrong plaintext");
    Ok(())
}

fn cost(bench: &Bench, times: usize, mut call: impl FnMut(usize) -> anyhow::Result<()>) -> anyhow::Result<Cost> {
    let before = cpu_time(bench.product.process())?;
    let mut took = Vec::with_capacity(times);
    for number in 0..times {
        let began = Instant::now();
        call(number)?;
        took.push(began.elapsed().as_secs_f64() * 1e6);
    }
    let cpu = cpu_time(bench.product.process())? - before;
    Ok(Cost { cpu_micros: cpu.as_secs_f64() * 1e6 / times as f64, p50_micros: median(took.into_iter()) })
}

/// Rows that were asked of the keystore since the start.
fn reads(bench: &Bench) -> anyhow::Result<f64> {
    let page = bench.product.node().metrics();
    let line = page.lines().find_map(|line| line.strip_prefix("strongroom_store_reads_total ")).context("no such metric")?;
    Ok(line.parse()?)
}
