//! Does the time of a refusal tell what it must not (F29)? Welch's t over random turns of two classes: another tenant's key and one that does not
//! exist; a tag that is wrong in its first byte and one that is in its last.
//!
//! Asked in this process, without a network whose noise would hide a difference: the whole message, from its bytes to its committed answer. The
//! foreign keys are in use by their owner just before. A difference is found if |t| reaches 4.5, the bound of dudect (Reparaz, Balasch,
//! Verbauwhede 2017), in all samples or in the quicker part of them.
#![expect(clippy::print_stdout, reason = "a tool for people: what it prints is its result")]

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use benches::requests::{decrypt, encrypt, one, sealed, succeeded};
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

/// Bytes that are encrypted.
const DATA: [u8; 64] = [0; 64];
/// Of GCM, as it is asked for here.
const TAG_BYTES: usize = 16;

#[derive(Parser)]
struct Arguments {
    /// How many refusals to time for each operation.
    #[arg(long, default_value_t = 1_000_000)]
    count: usize,
}

/// One of these is asked in each turn.
type Classes = [Vec<Vec<u8>>; 2];

/// What is timed.
#[derive(Debug, Clone, Copy)]
enum Row {
    GetAttributes,
    Encrypt,
    Tag,
}

impl Row {
    const ALL: [Self; 3] = [Self::GetAttributes, Self::Encrypt, Self::Tag];

    fn name(self) -> &'static str {
        match self {
            Self::GetAttributes => "Get Attributes, foreign or absent",
            Self::Encrypt => "Encrypt, foreign or absent",
            Self::Tag => "Decrypt, first or last byte of the tag wrong",
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    println!("{} refusals a row; |t| from {T_MAX} on tells two classes apart", arguments.count);
    // A refusal that must not tell is mostly a wait, so the rows go on beside each other.
    let worst = std::thread::scope(|scope| {
        let rows = Row::ALL.map(|row| scope.spawn(move || time(row, arguments.count)));
        rows.into_iter()
            .map(|row| row.join().expect("it returns its failure"))
            .try_fold(0.0_f64, |worst, row| row.map(|row| worst.max(row)))
    })?;
    ensure!(worst < T_MAX, "told apart: |t| = {worst:.2}");
    println!("not told apart: |t| at most {worst:.2}");
    Ok(())
}

/// The largest |t| of a row, in a cluster and on a thread of its own.
fn time(row: Row, count: usize) -> anyhow::Result<f64> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let dir = tempfile::tempdir()?;
        let master = MasterKey::generate(&Randomness::new(Arc::new(SystemEntropy)))?;
        let (vault, _writer) = domain(dir.path(), &master);
        let foreign = settle(&vault, "globex", KEYS).await?;
        let own = settle(&vault, "acme", KEYS).await?;
        let absent: Vec<String> =
            (0..KEYS).map(|_| Ok(RowId::new(Layer::L3, vault.new_uuid()?).to_string())).collect::<anyhow::Result<_>>()?;
        let uses = foreign.iter().map(|id| encrypt(id, &DATA, 1).bytes).collect();
        let bench = Bench { vault, uses };
        let hidden = |message: fn(&str) -> Vec<u8>| [&foreign, &absent].map(|ids| ids.iter().map(|id| message(id)).collect());
        let classes = match row {
            Row::GetAttributes => {
                hidden(|id| one(&GetAttributesRequest { unique_identifier: Some(id), attribute_names: vec!["State"] }).bytes)
            }
            Row::Encrypt => hidden(|id| encrypt(id, &DATA, 1).bytes),
            Row::Tag => bench.wrong_tags(&own).await?,
        };
        let samples = bench.refusals(&classes, count).await?;
        let mean = samples[0].iter().sum::<f64>() / samples[0].len() as f64 / 1000.0;
        let mut worst: f64 = 0.0;
        for percent in QUICKEST_PERCENT {
            let t = welch(&samples, percent);
            println!("{}: mean {mean:.0} us; quickest {percent} %: t = {t:.2}", row.name());
            worst = worst.max(t.abs());
        }
        Ok(worst)
    })
}

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

struct Bench {
    vault: Arc<Vault>,
    /// Of the foreign keys, by their owner.
    uses: Vec<Vec<u8>>,
}

impl Bench {
    /// Decryptions of what each key has encrypted, with a bit of the tag turned: in its first byte, or in its last.
    async fn wrong_tags(&self, own: &[String]) -> anyhow::Result<Classes> {
        let mut service = Caller::new(principal("acme")?, SESSION, Credentials::Ignore);
        let mut classes = [Vec::new(), Vec::new()];
        for id in own {
            let sent = encrypt(id, &DATA, 1);
            let answer = self.ask(&mut service, &sent.bytes, Vec::new()).await?;
            let sealed = sealed(&succeeded(&sent, &answer, 1)?)?;
            for (class, at) in classes.iter_mut().zip([0, TAG_BYTES - 1]) {
                let mut sealed = sealed.clone();
                sealed.tag[at] ^= 1;
                class.push(decrypt(id, &sealed).bytes);
            }
        }
        Ok(classes)
    }

    /// Nanoseconds of each refusal, by class. Every turn draws its class; before it, now and then, the owner uses one of the foreign keys.
    async fn refusals(&self, classes: &Classes, count: usize) -> anyhow::Result<[Vec<f64>; 2]> {
        let mut owner = Caller::new(principal("globex")?, SESSION, Credentials::Ignore);
        let mut stranger = Caller::new(principal("acme")?, SESSION, Credentials::Ignore);
        let mut samples = [Vec::with_capacity(count), Vec::with_capacity(count)];
        let mut draws = vec![0; count * 2];
        for part in draws.chunks_mut(4096) {
            SystemEntropy.fill(part)?;
        }
        let mut out = Vec::new();
        for (turn, draw) in draws.chunks_exact(2).enumerate() {
            let (class, key) = (usize::from(draw[0] & 1), usize::from(draw[1]));
            if turn % 16 == 0 {
                out = self.ask(&mut owner, &self.uses[key], out).await?;
            }
            let began = Instant::now();
            out = self.ask(&mut stranger, &classes[class][key], out).await?;
            samples[class].push(began.elapsed().as_nanos() as f64);
        }
        Ok(samples)
    }

    async fn ask(&self, caller: &mut Caller, message: &[u8], out: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let unit = self.vault.begin(SESSION);
        let (response, unit) = kmip::dispatch(Some(&self.vault), caller, unit, message, SystemClock.now(), out).await;
        Ok(response.release(unit.commit().await?))
    }
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
