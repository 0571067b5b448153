//! The lines of the table, in groups that can be asked for by name.

mod create;
mod crypt;
mod edge;
mod handshake;
mod life;
mod locate;
mod requests;
mod rotation;
mod stores;

use std::rc::Rc;

use anyhow::ensure;
use clap::ValueEnum;
use kmip::Sent;

use crate::load::{Compared, Plan, Script, Server, Side, compare};
use crate::product::{Product, Role, Who};
use crate::reference::{Reference, Work};
use crate::requests::to_reference;
use crate::table::{Bound, Line};

/// A group of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// Encrypt and Decrypt of 1 KiB at 1, 8 and 64 connections.
    Crypt,
    /// Encrypt of 64 B, 16 KiB and 256 KiB.
    Sizes,
    /// Batches of 16 encryptions of 64 B.
    Batch,
    /// Get of an edge, Get Attributes, DiscoverVersions, Query.
    Requests,
    /// Encrypt over HTTPS.
    Https,
    /// Full and resumed handshakes.
    Handshake,
    /// Durable Create at 1 and 64 connections.
    Create,
    /// Locate by Name among few and many keys.
    Locate,
    /// Of a core: re-encryption after a rotation, idle and under load.
    Rotation,
    /// An edge's calls to its core for what is warm.
    Calls,
    /// Of a core: what each kind of keystore costs. Only if it is named: it starts PostgreSQL and OpenBao, and leaves the rows in a plugin.
    Stores,
    /// Memory; of a core times of start and unseal. Restarts the node.
    Life,
    /// An edge's restart with many objects.
    Restart,
}

impl Group {
    /// All groups of a core but [`Group::Stores`], in the order in which they do not disturb each other.
    const CORE: [Self; 10] = [
        Self::Crypt,
        Self::Sizes,
        Self::Batch,
        Self::Requests,
        Self::Https,
        Self::Handshake,
        Self::Create,
        Self::Locate,
        Self::Rotation,
        Self::Life,
    ];
    /// The same of an edge.
    const EDGE: [Self; 11] = [
        Self::Crypt,
        Self::Sizes,
        Self::Batch,
        Self::Requests,
        Self::Https,
        Self::Handshake,
        Self::Calls,
        Self::Create,
        Self::Locate,
        Self::Life,
        Self::Restart,
    ];

    /// All groups of a node.
    #[must_use]
    pub fn all(role: Role) -> &'static [Self] {
        match role {
            Role::Core => &Self::CORE,
            Role::Edge => &Self::EDGE,
        }
    }
}

/// What every group works with.
pub struct Bench {
    /// The node.
    pub product: Product,
    /// How long.
    pub plan: Plan,
    /// Keys for the rows that need many.
    pub keys: usize,
    /// The identifiers of those that were made so far.
    pub filled: Vec<String>,
}

impl Bench {
    /// Measures a group and prints its lines.
    ///
    /// # Errors
    /// A wrong answer, a server that ends, or a group that the node does not have.
    pub async fn run(&mut self, group: Group) -> anyhow::Result<()> {
        let is_edges = matches!(group, Group::Calls | Group::Restart);
        ensure!(self.product.is_edge() || !is_edges, "{group:?} is an edge's: say `--role edge`");
        ensure!(!self.product.is_edge() || !matches!(group, Group::Rotation | Group::Stores), "{group:?} is a core's: say `--role core`");
        match group {
            Group::Crypt => crypt::kibibyte(self).await,
            Group::Sizes => crypt::sizes(self).await,
            Group::Batch => crypt::batch(self).await,
            Group::Requests => requests::run(self).await,
            Group::Https => crypt::https(self).await,
            Group::Handshake => handshake::run(self).await,
            Group::Create => create::run(self).await,
            Group::Locate => locate::run(self).await,
            Group::Calls => edge::calls(self).await,
            Group::Rotation => rotation::run(self).await,
            Group::Stores => stores::run(self).await,
            Group::Life => life::run(self).await,
            Group::Restart => edge::restart(self).await,
        }
    }

    /// The product's scripts against a reference that answers as many bytes to the same request.
    async fn against(&self, case: Case<'_>, scripts: Vec<Box<dyn Script>>) -> anyhow::Result<Compared> {
        let answer_bytes = self.answer_bytes(&case).await?;
        let work =
            Work { data_bytes: case.data_bytes, items: case.items, answer_bytes, append_bytes: case.append_bytes, http: case.server.http };
        let reference = Reference::start(&self.product, work)?;
        let tls = self.product.tls(case.who, false)?;
        let theirs = (0..scripts.len()).map(|_| to_reference(case.sent, answer_bytes)).collect();
        let product = Side::open(case.server, &tls, scripts).await?;
        compare(product, Side::open(reference.server(), &tls, theirs).await?, self.plan).await
    }

    async fn answer_bytes(&self, case: &Case<'_>) -> anyhow::Result<usize> {
        let tls = self.product.tls(case.who, false)?;
        let mut connection = crate::load::Connection::open(case.server, &tls).await?;
        Ok(connection.exchange(&case.sent.bytes).await?.len())
    }
}

/// What is compared.
struct Case<'a> {
    server: Server,
    who: Who,
    sent: &'a Rc<Sent>,
    data_bytes: usize,
    /// How many times the reference encrypts as much.
    items: usize,
    append_bytes: Option<usize>,
}

/// The line for server CPU per operation.
fn cpu_line(what: String, compared: &Compared, must: f64, aim: f64) -> Line {
    let Compared { product, reference, cpu_ratio } = compared;
    let detail = format!(
        "{:.1} / {:.1} us CPU; {:.0} / {:.0} op/s; p50 {:.0} / {:.0} us; p99 {:.0} / {:.0} us",
        product.cpu_micros,
        reference.cpu_micros,
        product.rate,
        reference.rate,
        product.p50_micros,
        reference.p50_micros,
        product.p99_micros,
        reference.p99_micros
    );
    Line { what, must: Bound::AtMost(must), aim: Bound::AtMost(aim), value: *cpu_ratio, detail }
}

/// The line for a figure of the product divided by the reference's.
fn ratio_line(what: String, product: f64, reference: f64, unit: &str, must: f64, aim: f64) -> Line {
    let detail = format!("{product:.0} / {reference:.0} {unit}");
    Line { what, must: Bound::AtMost(must), aim: Bound::AtMost(aim), value: product / reference, detail }
}
