//! A tenant's key is replaced, and all keys under it are brought under its new version: how long that takes on an idle core, and what clients notice
//! on a busy one. The engine is the one that follows a rotation of the IVK.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use softhsm_test::requests::rekey;

use super::Bench;
use super::life::line;
use super::locate::fill;
use crate::load::{Measured, Script, Side, Turn, alternate};
use crate::machine::{cpu_time, resident_bytes, unpin};
use crate::product::{Product, Who};
use crate::requests::{creating, encrypt, succeeding};

const CONNECTIONS: usize = 8;
const DATA: [u8; 1024] = [7; 1024];
/// How long a walk may take before it counts as stuck.
const WALKED_WITHIN: Duration = Duration::from_secs(900);
/// A load is measured beside a walk only if that takes so many rounds on an idle node.
const WALK_ROUNDS: u32 = 2;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The budget is for so many keys.
const BUDGET_KEYS: f64 = 1e6;

pub(super) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    fill(bench, bench.keys).await?;
    let (idle, took) = idle(bench).await?;
    if took < bench.plan.round * WALK_ROUNDS {
        println!("  a walk of {} keys is over before a round is: --keys with more of them for the rows under load", bench.keys);
        return Ok(());
    }
    let sent = Rc::new(encrypt(bench.product.key(), &DATA, 1));
    let encrypting = || (0..CONNECTIONS).map(|_| succeeding(Rc::clone(&sent), 1)).collect();
    let (quiet, busy) = beside(bench, idle, Who::User, encrypting).await?;
    line("  Encrypt meanwhile, CPU without the walk's", 1.15, 1.05, busy.cpu_micros / quiet.cpu_micros, detail(&quiet, &busy));
    line("  Encrypt meanwhile, p99", 2.0, 1.3, busy.p99_micros / quiet.p99_micros, String::new());
    let mut turn = 0;
    let creating = || {
        turn += 1;
        (0..CONNECTIONS).map(|number| creating(format!("walk-{turn}-{number}"))).collect()
    };
    let (quiet, busy) = beside(bench, idle, Who::Maker, creating).await?;
    line("  Create meanwhile, p99", 3.0, 1.5, busy.p99_micros / quiet.p99_micros, detail(&quiet, &busy));
    Ok(())
}

fn detail(quiet: &Measured, busy: &Measured) -> String {
    format!(
        "{:.1} / {:.1} us CPU; {:.0} / {:.0} op/s; p50 {:.0} / {:.0} us; p99 {:.0} / {:.0} us",
        busy.cpu_micros, quiet.cpu_micros, busy.rate, quiet.rate, busy.p50_micros, quiet.p50_micros, busy.p99_micros, quiet.p99_micros
    )
}

/// Walks with nobody else there, on all cores; what a key costs in CPU, and how long the walk took.
async fn idle(bench: &Bench) -> anyhow::Result<(Duration, Duration)> {
    let process = bench.product.process();
    unpin(process)?;
    let (cpu, began) = (cpu_time(process)?, Instant::now());
    let walk = Walk::begin(&bench.product)?;
    walk.ended().await?;
    let (elapsed, moved) = (began.elapsed(), walk.moved()?);
    let took = elapsed.as_secs_f64();
    let each = (cpu_time(process)? - cpu).div_f64(moved);
    ensure!(moved >= bench.keys as f64, "{moved} keys were moved");
    let detail = format!(
        "{took:.2} s, {:.0} keys/s, {:.1} us CPU a key; rotation {:.1} ms; resident {} MB",
        moved / took,
        each.as_secs_f64() * 1e6,
        walk.rotation.as_secs_f64() * 1e3,
        resident_bytes(process)? / 1_000_000
    );
    line(&format!("re-encryption of {moved} keys, s a million"), 10.0, 3.0, took * BUDGET_KEYS / moved, detail);
    Ok((each, elapsed))
}

/// A load in turns without and with a walk beside it, whose own CPU is taken off.
async fn beside(
    bench: &Bench,
    each: Duration,
    who: Who,
    mut scripts: impl FnMut() -> Vec<Box<dyn Script>>,
) -> anyhow::Result<(Measured, Measured)> {
    let (product, tls) = (&bench.product, bench.product.tls(who, false)?);
    let quiet = Side::open(product.server(), &tls, scripts()).await?;
    let busy = Side::open(product.server(), &tls, scripts()).await?;
    let mut walk = None;
    alternate(quiet, busy, bench.plan, async |turn| match (turn, &walk) {
        (Turn::Begins, _) => {
            let begun = Walk::begin(product)?;
            let moved = begun.moving().await?;
            walk = Some(begun);
            Ok(each.mul_f64(moved))
        }
        (Turn::Ended, None) => anyhow::bail!("a turn begins before it ends"),
        (Turn::Ended, Some(walk)) => {
            let moved = walk.moved()?;
            ensure!(walk.state()?["state"] == "walking", "the walk ended before the round: more keys are needed");
            walk.ended().await?;
            Ok(each.mul_f64(moved))
        }
    })
    .await
}

/// What follows the rotation of a tenant's key.
struct Walk<'p> {
    product: &'p Product,
    /// When the walk before it began.
    before: Value,
    rotation: Duration,
}

impl<'p> Walk<'p> {
    fn begin(product: &'p Product) -> anyhow::Result<Self> {
        let mut walk = Self { product, before: Value::Null, rotation: Duration::ZERO };
        walk.before = walk.state()?["began"].take();
        let tenant = walk.ask(&["tenant", "show", "acme"])?;
        let key = tenant["key"].as_str().context("a tenant has a key")?;
        let mut client = product.connect(Who::Maker)?;
        let began = Instant::now();
        rekey(&mut client, key)?;
        walk.rotation = began.elapsed();
        Ok(walk)
    }

    fn ask(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.product.node().ask(&[&["--json"], arguments].concat()))?)
    }

    fn state(&self) -> anyhow::Result<Value> {
        self.ask(&["reencrypt", "status"])
    }

    fn moved(&self) -> anyhow::Result<f64> {
        self.state()?["moved"].as_f64().context("a walk counts what it moves")
    }

    /// Waits until it moves keys.
    async fn moving(&self) -> anyhow::Result<f64> {
        self.until(|state| state["began"] != self.before && state["moved"].as_f64() > Some(0.0)).await?;
        self.moved()
    }

    async fn ended(&self) -> anyhow::Result<()> {
        self.until(|state| state["began"] != self.before && state["state"] == "done").await
    }

    async fn until(&self, is_so: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let state = self.state()?;
            if is_so(&state) {
                return Ok(());
            }
            ensure!(began.elapsed() < WALKED_WITHIN, "the walk does not get there: {state}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
