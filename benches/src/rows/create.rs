//! Create: a key, its name and its audit record durable before the answer.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Bench, Case, cpu_line, ratio_line};
use crate::load::Compared;
use crate::product::Who;
use crate::requests::{create, creating};
use crate::table::{Bound, Line};

/// About what a key, its claim and its record take on the disk.
const APPEND_BYTES: usize = 1024;

impl Bench {
    async fn creates(&self, run: &str, connections: usize) -> anyhow::Result<Compared> {
        // Names of the run before are taken for ever.
        let run = format!("{run}-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
        let sent = Rc::new(create(&[format!("{run}-first")]));
        let scripts = (0..connections).map(|number| creating(format!("{run}-{number}"))).collect();
        let case = Case {
            server: self.product.server(),
            who: Who::Maker,
            sent: &sent,
            data_bytes: 64,
            items: 1,
            append_bytes: Some(APPEND_BYTES),
        };
        self.against(case, scripts).await
    }
}

pub(super) async fn run(bench: &Bench) -> anyhow::Result<()> {
    let one = bench.creates("one", 1).await?;
    ratio_line("Create, durable: p50 at 1 connection".to_owned(), one.product.p50_micros, one.reference.p50_micros, "us", 2.5, 1.6).print();
    let many = bench.creates("many", 64).await?;
    let detail = format!("{:.0} / {:.0} op/s", many.product.rate, many.reference.rate);
    let value = many.product.rate / many.reference.rate;
    let what = "Create, durable: rate at 64 connections".to_owned();
    Line { what, must: Bound::AtLeast(0.3), aim: Bound::AtLeast(0.6), value, detail }.print();
    let line = cpu_line("  CPU per Create at 64 connections".to_owned(), &many, 0.0, 0.0);
    Line { must: Bound::None, aim: Bound::None, ..line }.print();
    Ok(())
}
