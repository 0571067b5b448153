//! How long does a rotation of the IVK take, and bringing every tenant's key under the new version? `rotation --keys N`, on the embedded store in this
//! process, with the audit log on; beside it the floor: what the cryptography alone costs, and a walk that only reads every row.
#![expect(clippy::print_stdout, reason = "a tool for people: what it prints is its result")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use benches::machine;
use cipher::aead::Aead;
use clap::Parser;
use daemon::system::SystemEntropy;
use keys::attributes::Attributes;
use keys::entropy::Randomness;
use keys::hierarchy::MasterKey;
use keys::id::{ChainId, ClusterId, Layer, RowId};
use keys::reencrypt::Cursor;
use keys::rotate::NewIvk;
use keys::row::{Header, Row};
use keys::vault::{NewKey, Vault};
use keys::wrap::ParentKey;
use nix::unistd::Pid;
use softhsm_test::{SESSION, founded};
use uuid::Uuid;

/// Keys of one commit while the store is filled.
const FILL_KEYS: usize = 4096;
/// Rows of one slice of the walk, and most rows of one of its commits: as in the daemon while clients are at work.
const SLICE_ROWS: usize = 32;
const COMMIT_ROWS: usize = 256;
/// Keys by which the floor is measured.
const FLOOR_KEYS: usize = 20_000;
/// About what is known of a tenant's key.
const ATTRIBUTES_BYTES: usize = 64;

#[derive(Parser)]
struct Arguments {
    /// How many tenants' keys there are.
    #[arg(long, default_value_t = 10_000)]
    keys: usize,
    /// How many rotations, each with its walk.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { keys, rounds } = Arguments::parse();
    println!("{}; {keys} keys", machine::description());
    let dir = tempfile::tempdir()?;
    let master = MasterKey::generate(&Randomness::new(Arc::new(SystemEntropy)))?;
    let (vault, _writer) = founded(dir.path(), &master).await;
    let began = Instant::now();
    fill(&vault, keys).await?;
    println!("filled in {:.1} s, resident {} MB", began.elapsed().as_secs_f64(), resident()?);
    for _ in 0..rounds {
        let began = Instant::now();
        let mut unit = vault.begin(SESSION);
        vault.rotate_ivk(&mut unit, &master, NewIvk::default()).await?;
        let _receipt = unit.commit().await?;
        let rotation = began.elapsed();
        let (walk, moved) = walk(&vault).await?;
        ensure!(moved == keys, "{moved} keys were moved");
        println!(
            "rotation {:.1} ms; walk {:.2} s, {:.0} keys/s, {:.1} us a key; resident {} MB",
            rotation.as_secs_f64() * 1e3,
            walk.as_secs_f64(),
            moved as f64 / walk.as_secs_f64(),
            walk.as_secs_f64() * 1e6 / moved as f64,
            resident()?
        );
    }
    let (idle, moved) = walk(&vault).await?;
    ensure!(moved == 0, "{moved} keys were moved though none was due");
    println!("floor, the store: a walk that only reads takes {:.2} s", idle.as_secs_f64());
    floor()?;
    drop(vault);
    Ok(())
}

fn resident() -> anyhow::Result<u64> {
    Ok(machine::resident_bytes(Pid::this())? / 1_000_000)
}

/// Puts so many chains of L2 into the store, as a tenant's first version is.
async fn fill(vault: &Vault, keys: usize) -> anyhow::Result<()> {
    let like = sample_key(vault).await?;
    let mut left = keys.checked_sub(1).context("at least one key")?;
    while left > 0 {
        let mut unit = vault.begin(SESSION);
        for _ in 0..left.min(FILL_KEYS) {
            let (id, chain) = (RowId::new(Layer::L2, vault.new_uuid()?), ChainId::new(vault.new_uuid()?));
            let header = Header { id, chain, ..like.clone() };
            vault.insert(&mut unit, NewKey { header, attributes: Attributes::default() }).await?;
        }
        let _receipt = unit.commit().await?;
        left -= left.min(FILL_KEYS);
    }
    Ok(())
}

/// The header of the key of a tenant that is made for it.
async fn sample_key(vault: &Vault) -> anyhow::Result<Header> {
    let mut unit = vault.begin(SESSION);
    let tenant = vault.create_tenant(&mut unit, &"acme".parse()?).await?;
    let row = unit.staged(tenant.key).and_then(keys::port::Change::row).map(|row| row.header.clone());
    let _receipt = unit.commit().await?;
    row.context("a tenant is made with its key")
}

async fn walk(vault: &Vault) -> anyhow::Result<(Duration, usize)> {
    let began = Instant::now();
    let (mut next, mut moved) = (Some(Cursor::default()), 0);
    while next.is_some() {
        let mut unit = vault.begin(SESSION);
        let mut staged = 0;
        while let Some(cursor) = next.take() {
            let walked = vault.reencrypt(&mut unit, Some(cursor), SLICE_ROWS).await?;
            ensure!(walked.refused.is_empty(), "{:?}", walked.refused);
            staged += walked.moved;
            next = walked.next;
            if staged >= COMMIT_ROWS {
                break;
            }
            tokio::task::yield_now().await;
        }
        let _receipt = unit.commit().await?;
        moved += staged;
    }
    Ok((began.elapsed(), moved))
}

/// What no engine can do without, for each key: opened, sealed and opened again, its material and its attributes.
fn floor() -> anyhow::Result<()> {
    let cluster = ClusterId::new(Uuid::from_bytes([3; 16]));
    let parent = ParentKey::new(cluster, &[7; 32], Aead::Aes256Gcm)?;
    let row: Row = storage::conformance::sample::row(1, &[]);
    let binding = keys::wrap::Binding {
        cluster,
        tenant: row.header.owner.tenant,
        id: row.header.id,
        version: row.header.version,
        parent: row.header.parent,
        object_type: row.header.object_type,
        algorithm: row.header.algorithm,
        bits: 256,
        wrap_seq: 1,
    };
    let (material, attributes) = ([0x5A; 32], [0x5A; ATTRIBUTES_BYTES]);
    let blobs = [parent.wrap(&binding, &material, &[1; 32])?, parent.wrap(&binding, &attributes, &[2; 32])?];
    let began = Instant::now();
    for _ in 0..FLOOR_KEYS {
        for blob in &blobs {
            let opened = parent.unwrap(&binding, blob)?;
            let sealed = opened.expose(|plain| parent.wrap(&binding, plain, &[3; 32]))?;
            ensure!(parent.unwrap(&binding, &sealed)?.ct_eq(&opened), "it opens");
        }
    }
    println!("floor, cryptography: {:.1} us a key on one processor", began.elapsed().as_secs_f64() * 1e6 / FLOOR_KEYS as f64);
    Ok(())
}
