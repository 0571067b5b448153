//! Encrypt and Decrypt with a service's default key.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::ensure;

use super::{Bench, Case, cpu_line, ratio_line};
use crate::load::{Compared, Connection, Measured, Server};
use crate::product::Who;
use crate::requests::{Sealed, decrypt, decrypting, encrypt, encrypting, sealed, succeeded};
use crate::table::Line;

const KIBIBYTE: usize = 1024;
/// Items of the batch that is measured.
const BATCH_ITEMS: usize = 16;

/// Data that differs from place to place.
fn data(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|place| place.to_le_bytes()[0] ^ place.to_le_bytes()[1]).collect()
}

impl Bench {
    /// Messages of so many items, against a reference that encrypts once an item.
    async fn encrypts(&self, server: Server, bytes: usize, items: usize, connections: usize) -> anyhow::Result<Compared> {
        let key = self.product.key();
        let plain = data(bytes);
        let sent = Rc::new(encrypt(key, &plain, items));
        let kept = Rc::new(RefCell::new(Vec::new()));
        let scripts = (0..connections).map(|_| encrypting(&sent, items, &kept)).collect();
        let case = Case { server, who: Who::User, sent: &sent, data_bytes: bytes, items, append_bytes: None };
        let compared = self.against(case, scripts).await?;
        self.decrypts_to(key, &kept.take(), &plain).await?;
        Ok(compared)
    }

    async fn decrypts_to(&self, key: &str, kept: &[Sealed], plain: &[u8]) -> anyhow::Result<()> {
        ensure!(!kept.is_empty(), "nothing was encrypted");
        let mut connection = Connection::open(self.product.server(), &self.product.tls(Who::User, false)?).await?;
        let mut seen = std::collections::BTreeSet::new();
        for one in kept {
            ensure!(seen.insert(&one.iv), "an IV twice");
            let sent = decrypt(key, one);
            let answer = connection.exchange(&sent.bytes).await?;
            succeeded(&sent, answer, 1)?;
            ensure!(answer[answer.len() - plain.len().next_multiple_of(8)..].starts_with(plain), "another plaintext");
        }
        Ok(())
    }

    async fn decrypts(&self, bytes: usize, connections: usize) -> anyhow::Result<Compared> {
        let (key, plain) = (self.product.key(), Rc::new(data(bytes)));
        let asked = encrypt(key, &plain, 1);
        let mut connection = Connection::open(self.product.server(), &self.product.tls(Who::User, false)?).await?;
        let made = sealed(&succeeded(&asked, connection.exchange(&asked.bytes).await?, 1)?)?;
        let sent = Rc::new(decrypt(key, &made));
        let scripts = (0..connections).map(|_| decrypting(&sent, &plain)).collect();
        let case = Case { server: self.product.server(), who: Who::User, sent: &sent, data_bytes: bytes, items: 1, append_bytes: None };
        self.against(case, scripts).await
    }
}

pub(super) async fn kibibyte(bench: &Bench) -> anyhow::Result<()> {
    for connections in [1, 8, 64] {
        let compared = bench.encrypts(bench.product.server(), KIBIBYTE, 1, connections).await?;
        let (product, reference) = (compared.product, compared.reference);
        cpu_line(format!("Encrypt 1 KiB, {connections} connections"), &compared, 1.6, 1.2).print();
        if connections == 1 {
            ratio_line("  p50 at one connection".to_owned(), product.p50_micros, reference.p50_micros, "us", 1.5, 1.2).print();
        }
        if connections == 64 {
            ratio_line("  p99 at 64 connections".to_owned(), product.p99_micros, reference.p99_micros, "us", 3.0, 1.5).print();
        }
        let compared = bench.decrypts(KIBIBYTE, connections).await?;
        cpu_line(format!("Decrypt 1 KiB, {connections} connections"), &compared, 1.6, 1.2).print();
    }
    Ok(())
}

pub(super) async fn sizes(bench: &Bench) -> anyhow::Result<()> {
    for (bytes, name, must, aim) in [(64, "64 B", 1.6, 1.25), (16 * KIBIBYTE, "16 KiB", 1.4, 1.15), (256 * KIBIBYTE, "256 KiB", 1.3, 1.15)]
    {
        let compared = bench.encrypts(bench.product.server(), bytes, 1, 8).await?;
        cpu_line(format!("Encrypt {name}, 8 connections"), &compared, must, aim).print();
    }
    Ok(())
}

/// Sixteen operations in one message against the reference's one AEAD for each of them.
pub(super) async fn batch(bench: &Bench) -> anyhow::Result<()> {
    let compared = bench.encrypts(bench.product.server(), 64, BATCH_ITEMS, 8).await?;
    let line = cpu_line(format!("batch of {BATCH_ITEMS} x 64 B, per item, 8 connections"), &compared, 4.0, 2.0);
    let each = |measured: &Measured| measured.cpu_micros / BATCH_ITEMS as f64;
    let item = format!("{:.2} / {:.2} us CPU an item; ", each(&compared.product), each(&compared.reference));
    Line { detail: item + &line.detail, ..line }.print();
    Ok(())
}

pub(super) async fn https(bench: &Bench) -> anyhow::Result<()> {
    let server = bench.product.https();
    let compared = bench.encrypts(server, KIBIBYTE, 1, 8).await?;
    cpu_line("Encrypt 1 KiB over HTTPS, 8 connections".to_owned(), &compared, 1.8, 1.3).print();
    Ok(())
}
