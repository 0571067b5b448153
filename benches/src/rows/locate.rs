//! Locate by Name among a thousand and among many keys, against our own Get Attributes.

use std::rc::Rc;

use anyhow::ensure;
use kmip::{Attribute, AttributeValue, GetAttributesRequest, LocateRequest, Name, NameType, Sent};
use nix::unistd::Pid;
use tokio::task::JoinSet;

use super::Bench;
use crate::load::{Compared, Connection, Side, compare};
use crate::machine::{CLIENT_CORE, SERVER_CORE, pin};
use crate::product::Who;
use crate::requests::{create, one, repeat, succeeded, succeeding};
use crate::table::{Bound, Line};

/// Keys created by one message.
const BATCH_KEYS: usize = 64;
/// Connections that create.
const FILLERS: usize = 8;
/// Connections that are timed.
const CONNECTIONS: usize = 8;
const FEW: usize = 1000;

/// The name of the key with this number.
pub(super) fn name(number: usize) -> String {
    format!("filled-{number}")
}

pub(super) fn locate(name: &str) -> Sent {
    let value = AttributeValue::Name(Name { value: Some(name), name_type: Some(NameType::UninterpretedTextString) });
    one(&LocateRequest { attributes: vec![Attribute { index: None, value }], ..LocateRequest::default() })
}

pub(super) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    for keys in [FEW, bench.keys] {
        fill(bench, keys).await?;
        let Compared { product, reference, cpu_ratio } = measure(bench, keys).await?;
        let detail = format!(
            "{:.1} / {:.1} us CPU; p50 {:.0} / {:.0} us",
            product.cpu_micros, reference.cpu_micros, product.p50_micros, reference.p50_micros
        );
        let what = format!("Locate by Name among {keys}, against Get Attributes");
        Line { what, must: Bound::AtMost(3.0), aim: Bound::AtMost(1.3), value: cpu_ratio, detail }.print();
    }
    Ok(())
}

async fn measure(bench: &Bench, keys: usize) -> anyhow::Result<Compared> {
    let tls = bench.product.tls(Who::User, false)?;
    let sent = Rc::new(locate(&name(keys / 2)));
    let mut connection = Connection::open(bench.product.server(), &tls).await?;
    let answers = succeeded(&sent, connection.exchange(&sent.bytes).await?, 1)?;
    let located = located(&answers)?;
    ensure!(located.len() == 1, "{} keys of that name", located.len());
    let key = bench.product.key();
    let get = Rc::new(one(&GetAttributesRequest { unique_identifier: Some(key), attribute_names: vec!["State", "Name"] }));
    let searching = (0..CONNECTIONS).map(|_| {
        let expected = located[0].clone();
        repeat(Rc::clone(&sent), move |sent, answer| {
            let answers = succeeded(sent, answer, 1)?;
            ensure!(self::located(&answers)? == [expected.as_str()], "another key");
            Ok(())
        })
    });
    let ours = Side::open(bench.product.server(), &tls, searching.collect()).await?;
    let asking = (0..CONNECTIONS).map(|_| succeeding(Rc::clone(&get), 1)).collect();
    compare(ours, Side::open(bench.product.server(), &tls, asking).await?, bench.plan).await
}

pub(super) fn located(answers: &kmip::Answers<'_>) -> anyhow::Result<Vec<String>> {
    use kmip::Decode as _;
    let Some(payload) = answers.message.items[0].payload else { return Ok(Vec::new()) };
    let payload = kmip::LocateResponse::decode(payload, kmip::Rules::of_response(kmip::ProtocolVersion::V1_4))?;
    Ok(payload.unique_identifiers.into_iter().map(str::to_owned).collect())
}

/// Creates keys through KMIP, in batches over several connections, until there are so many.
pub(super) async fn fill(bench: &mut Bench, keys: usize) -> anyhow::Result<()> {
    pin(Pid::this(), CLIENT_CORE)?;
    pin(bench.product.process(), SERVER_CORE)?;
    let (server, tls) = (bench.product.server(), bench.product.tls(Who::Maker, false)?);
    let mut tasks = JoinSet::new();
    for filler in 0..FILLERS {
        let mut connection = Connection::open(server, &tls).await?;
        let numbers: Vec<usize> = (bench.filled.len()..keys).skip(filler).step_by(FILLERS).collect();
        tasks.spawn(async move {
            let mut made = Vec::new();
            for chunk in numbers.chunks(BATCH_KEYS) {
                let names: Vec<String> = chunk.iter().map(|number| name(*number)).collect();
                let sent = create(&names);
                made.extend(created(&succeeded(&sent, connection.exchange(&sent.bytes).await?, names.len())?)?);
            }
            anyhow::Ok(made)
        });
    }
    while let Some(done) = tasks.join_next().await {
        bench.filled.extend(done??);
    }
    Ok(())
}

fn created(answers: &kmip::Answers<'_>) -> anyhow::Result<Vec<String>> {
    use kmip::Decode as _;
    let made = |payload| {
        let payload = kmip::CreateResponse::decode(payload, kmip::Rules::of_response(kmip::ProtocolVersion::V1_4))?;
        Ok(payload.unique_identifier.to_owned())
    };
    answers.message.items.iter().filter_map(|item| item.payload).map(made).collect()
}
