//! Can a client tell another tenant's key from one that does not exist by the time of the refusal? Welch's t over random turns of both (F29).
//!
//! Asked in this process, without a network whose noise would hide a difference: the whole message, from its bytes to its committed answer. The
//! foreign keys are in use by their owner just before. A difference is found if |t| reaches 4.5, the bound of dudect (Reparaz, Balasch,
//! Verbauwhede 2017), in all samples or in the quicker part of them.
#![expect(clippy::print_stdout, reason = "a tool for people: what it prints is its result")]

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use benches::requests::{encrypt, one};
use clap::Parser;
use daemon::system::{SystemClock, SystemEntropy};
use keys::attributes::{Attributes, Name};
use keys::entropy::Randomness;
use keys::hierarchy::MasterKey;
use keys::id::{Layer, RowId, ScopeName, Time};
use keys::lifecycle::Dates;
use keys::policy::{Principal, Role};
use keys::port::{Clock, Entropy};
use keys::tenancy::NewServiceKey;
use keys::vault::Vault;
use kmip::{Caller, Credentials, GetAttributesRequest};
use softhsm_test::{SESSION, domain};

/// Bound of |t| above which two classes are told apart.
const T_MAX: f64 = 4.5;
/// Keys of the other tenant, and identifiers of none.
const KEYS: usize = 256;
/// Parts of the samples, the quickest first, that are judged on their own: slow outliers are the machine's.
const QUICKEST_PERCENT: [usize; 4] = [100, 99, 90, 50];

#[derive(Parser)]
struct Arguments {
    /// How many refusals to time for each operation.
    #[arg(long, default_value_t = 1_000_000)]
    count: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let dir = tempfile::tempdir()?;
    let entropy = Arc::new(SystemEntropy);
    let master = MasterKey::generate(&Randomness::new(Arc::clone(&entropy) as Arc<dyn Entropy>))?;
    let (vault, _writer) = domain(dir.path(), &master);
    let foreign = settle(&vault, "globex", KEYS).await?;
    settle(&vault, "acme", KEYS).await?;
    let absent: Vec<String> = (0..KEYS).map(|_| Ok(RowId::new(Layer::L3, vault.new_uuid()?).to_string())).collect::<anyhow::Result<_>>()?;
    println!("{} refusals an operation; |t| above {T_MAX} tells a foreign key from an absent one", arguments.count);
    let mut worst: f64 = 0.0;
    for (operation, message) in OPERATIONS {
        let messages = [&foreign, &absent].map(|ids| ids.iter().map(|id| message(id)).collect::<Vec<_>>());
        let samples = refusals(&vault, &entropy, &messages, arguments.count).await?;
        for percent in QUICKEST_PERCENT {
            let t = welch(&samples, percent);
            println!("{operation}, quickest {percent} %: t = {t:.2}");
            worst = worst.max(t.abs());
        }
    }
    ensure!(worst < T_MAX, "foreign and absent identifiers are told apart: |t| = {worst:.2}");
    println!("not told apart: |t| at most {worst:.2}");
    Ok(())
}

type Operation = (&'static str, fn(&str) -> Vec<u8>);

const OPERATIONS: [Operation; 2] = [
    ("Get Attributes", |id| one(&GetAttributesRequest { unique_identifier: Some(id), attribute_names: vec!["State"] }).bytes),
    ("Encrypt", |id| encrypt(id, &[0; 64], 1).bytes),
];

fn principal(tenant: &str) -> anyhow::Result<Principal> {
    let (tenant, service): (ScopeName, ScopeName) = (tenant.parse()?, "billing".parse()?);
    Ok(Principal { role: Role::Service, tenant: Some(tenant), service: Some(service), certificate: [0; 32] })
}

/// A tenant with one service and so many further Active keys of it.
async fn settle(vault: &Vault, tenant: &str, keys: usize) -> anyhow::Result<Vec<String>> {
    let principal = principal(tenant)?;
    let (tenant, service) = (principal.tenant.clone().context("it has one")?, principal.service.clone().context("it has one")?);
    let mut unit = vault.begin(SESSION);
    vault.create_tenant(&mut unit, &tenant).await?;
    let _receipt = unit.commit().await?;
    let mut unit = vault.begin(SESSION);
    vault.create_service(&mut unit, &tenant, &service).await?;
    let _receipt = unit.commit().await?;
    let service = vault.grants(&principal).await?.service().context("it was made")?;
    let mut ids = Vec::with_capacity(keys);
    let mut unit = vault.begin(SESSION);
    for number in 0..keys {
        let attributes = Attributes {
            names: vec![Name { value: format!("key-{number}"), kind: 1, index: 0 }],
            usage_mask: 0x0C,
            dates: Dates { activation: Some(Time::from_seconds(1)), ..Dates::default() },
            ..Attributes::default()
        };
        ids.push(vault.create_service_key(&mut unit, NewServiceKey { service, bits: 256, attributes }).await?.id.to_string());
    }
    let _receipt = unit.commit().await?;
    Ok(ids)
}

/// Nanoseconds of each refusal, those of foreign keys first. Every turn draws its class; before it, the owner uses one of the foreign keys.
async fn refusals(vault: &Vault, entropy: &SystemEntropy, messages: &[Vec<Vec<u8>>; 2], count: usize) -> anyhow::Result<[Vec<f64>; 2]> {
    let mut owner = Caller::new(principal("globex")?, SESSION, Credentials::Ignore);
    let mut stranger = Caller::new(principal("acme")?, SESSION, Credentials::Ignore);
    let mut samples = [Vec::with_capacity(count), Vec::with_capacity(count)];
    let mut draws = vec![0; count * 2];
    for part in draws.chunks_mut(4096) {
        entropy.fill(part)?;
    }
    let mut out = Vec::new();
    for (turn, draw) in draws.chunks_exact(2).enumerate() {
        let (class, key) = (usize::from(draw[0] & 1), usize::from(draw[1]));
        if turn % 16 == 0 {
            out = ask(vault, &mut owner, &messages[0][key], out).await?;
        }
        let began = Instant::now();
        out = ask(vault, &mut stranger, &messages[class][key], out).await?;
        samples[class].push(began.elapsed().as_nanos() as f64);
    }
    Ok(samples)
}

async fn ask(vault: &Vault, caller: &mut Caller, message: &[u8], out: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let unit = vault.begin(SESSION);
    let (response, unit) = kmip::dispatch(Some(vault), caller, unit, message, SystemClock.now(), out).await;
    Ok(response.release(unit.commit().await?))
}

/// Welch's t of the samples below a percentile of all of them.
fn welch(samples: &[Vec<f64>; 2], percent: usize) -> f64 {
    let mut all: Vec<f64> = samples.iter().flatten().copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    let limit = all[(all.len() * percent / 100).saturating_sub(1)];
    let [one, other] = samples.each_ref().map(|class| moments(class.iter().copied().filter(|sample| *sample <= limit)));
    (one.mean - other.mean) / (one.variance / one.count + other.variance / other.count).sqrt()
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

/// Count, mean and variance in one pass (Welford 1962).
fn moments(samples: impl Iterator<Item = f64>) -> Moments {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for sample in samples {
        count += 1.0;
        let off = sample - mean;
        mean += off / count;
        squares += off * (sample - mean);
    }
    Moments { count, mean, variance: squares / (count - 1.0) }
}
