//! Requests that encrypt nothing: Get, Get Attributes, DiscoverVersions, Query.

use std::rc::Rc;

use kmip::{DiscoverVersionsRequest, GetAttributesRequest, QueryFunction, QueryRequest, Sent};

use super::{Bench, Case, cpu_line};
use crate::product::Who;
use crate::requests::{get, one, succeeding};

/// Connections at a time.
const CONNECTIONS: usize = 8;

pub(super) async fn run(bench: &Bench) -> anyhow::Result<()> {
    let key = bench.product.key();
    if bench.product.is_edge() {
        line(bench, "Get", one(&get(key))).await?;
    }
    let attributes = GetAttributesRequest { unique_identifier: Some(key), attribute_names: vec!["State", "Cryptographic Length", "Name"] };
    line(bench, "Get Attributes (three)", one(&attributes)).await?;
    line(bench, "DiscoverVersions", one(&DiscoverVersionsRequest::default())).await?;
    let functions = vec![QueryFunction::QueryOperations, QueryFunction::QueryObjects, QueryFunction::QueryServerInformation];
    line(bench, "Query", one(&QueryRequest { functions })).await
}

async fn line(bench: &Bench, name: &str, sent: Sent) -> anyhow::Result<()> {
    let sent = Rc::new(sent);
    let scripts = (0..CONNECTIONS).map(|_| succeeding(Rc::clone(&sent), 1)).collect();
    let case = Case { server: bench.product.server(), who: Who::User, sent: &sent, data_bytes: 64, items: 1, append_bytes: None };
    let compared = bench.against(case, scripts).await?;
    cpu_line(format!("{name}, {CONNECTIONS} connections"), &compared, 1.6, 1.25).print();
    Ok(())
}
