//! `kmip ping` and `kmip query`: questions to the server itself.

use std::time::{Duration, Instant};

use ::kmip::{DiscoverVersionsRequest, QueryFunction, QueryRequest, QueryResponse};
use daemon::kmip_client::KmipClient;
use serde::Serialize;

use crate::failure::Failure;
use crate::kmip::connection::{Connection, shown};
use crate::output::{Output, pairs};

#[derive(Debug, Serialize)]
struct Pinged {
    server: String,
    protocol: String,
    versions: Vec<String>,
    connect_micros: u128,
    answer_micros: u128,
}

#[derive(Debug, Serialize)]
struct Offered {
    vendor: Option<String>,
    operations: Vec<&'static str>,
    object_types: Vec<&'static str>,
}

/// Discover Versions, timed.
pub(super) fn ping(out: Output, connection: &Connection) -> Result<(), Failure> {
    let started = Instant::now();
    let mut client = connection.connect()?;
    let connected = Instant::now();
    let versions = client.call(&DiscoverVersionsRequest::default())?.versions;
    let answered = Instant::now();
    let pinged = Pinged {
        server: connection.endpoint()?.server,
        protocol: connection.protocol().to_string(),
        versions: versions.into_iter().map(shown).collect(),
        connect_micros: (connected - started).as_micros(),
        answer_micros: (answered - connected).as_micros(),
    };
    out.show(&pinged, ping_text)
}

fn ping_text(pinged: &Pinged) -> String {
    let millis = |micros: u128| {
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        format!("{:.2} ms", Duration::from_micros(micros).as_secs_f64() * 1e3)
    };
    format!(
        "{} speaks KMIP {}; connected in {}, answered in {}",
        pinged.server,
        pinged.versions.join(", "),
        millis(pinged.connect_micros),
        millis(pinged.answer_micros)
    )
}

/// Query: operations, object types, vendor.
pub(super) fn query(out: Output, client: &mut KmipClient) -> Result<(), Failure> {
    let functions = vec![QueryFunction::QueryOperations, QueryFunction::QueryObjects, QueryFunction::QueryServerInformation];
    let offered = offered(&client.call(&QueryRequest { functions })?);
    out.show(&offered, query_text)
}

fn offered(answer: &QueryResponse<'_>) -> Offered {
    Offered {
        vendor: answer.vendor_identification.map(str::to_owned),
        operations: answer.operations.iter().map(|operation| operation.name()).collect(),
        object_types: answer.object_types.iter().map(|kind| kind.name()).collect(),
    }
}

fn query_text(offered: &Offered) -> String {
    pairs(&[
        ("vendor", offered.vendor.clone().unwrap_or_default()),
        ("operations", offered.operations.join(", ")),
        ("object types", offered.object_types.join(", ")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_is_one_line() {
        let pinged = Pinged {
            server: "localhost:5696".to_owned(),
            protocol: "1.4".to_owned(),
            versions: vec!["1.4".to_owned(), "1.3".to_owned()],
            connect_micros: 3_141,
            answer_micros: 250,
        };
        assert_eq!(ping_text(&pinged), "localhost:5696 speaks KMIP 1.4, 1.3; connected in 3.14 ms, answered in 0.25 ms");
        let json = serde_json::to_string(&pinged).expect("a plain structure");
        assert!(json.ends_with(r#""versions":["1.4","1.3"],"connect_micros":3141,"answer_micros":250}"#), "{json}");
    }

    #[test]
    fn an_offer_is_told_in_the_standards_names() {
        let answer = QueryResponse {
            operations: vec![::kmip::Operation::Create, ::kmip::Operation::GetAttributes],
            object_types: vec![::kmip::ObjectType::SymmetricKey],
            vendor_identification: Some("Strongroom"),
            ..QueryResponse::default()
        };
        assert_eq!(
            query_text(&offered(&answer)),
            "vendor        Strongroom\noperations    Create, Get Attributes\nobject types  Symmetric Key\n"
        );
    }
}
