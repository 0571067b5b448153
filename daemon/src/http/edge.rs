//! What a core's HTTPS listener has for edges beside KMIP: the lease, and what they tell of the keys that they have left.

use data_encoding::HEXLOWER;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response, StatusCode, header};
use keys::id::SessionId;
use keys::policy::{Action, Principal};
use keys::port::Clock;
use keys::record::{Outcome, Record};
use keys::references::{EdgeKey, References};
use serde::{Deserialize, Serialize};

use super::Closed;
use super::body::{NoBody, collect};
use super::kmip::Answer;
use super::pace::Pace;
use crate::admin::status::{problem, problem_of};
use crate::node::{Node, Open};
use crate::system::SystemClock;

/// Where an edge asks what it may serve.
pub const LEASE_PATH: &str = "/edge/v1/lease";

/// Where an edge tells which versions of L3s it has left.
pub const REFERENCES_PATH: &str = "/edge/v1/references";
/// Longest report that is read: room for [`keys::references::LEFT_MAX`] versions.
const REPORT_BYTES_MAX: usize = 1 << 20;

/// What an edge posts there. Its JSON crosses releases, as that of [`References`] does.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The public half of its delegation key in hex.
    pub edge: String,
    /// What it tells.
    #[serde(flatten)]
    pub references: References,
}

/// Takes what an edge tells of the versions that it has left; others are refused. One record each.
///
/// # Errors
/// [`Closed`]: the request ended early.
pub async fn references(
    node: &Node,
    principal: &Principal,
    session: SessionId,
    request: Request<Incoming>,
    pace: Pace,
) -> Result<Answer, Closed> {
    let body = match collect(request.into_body(), REPORT_BYTES_MAX).await {
        Ok(body) => body,
        Err(NoBody::Broken) => return Err(Closed),
        Err(NoBody::TooLarge) => return Ok(refused(problem(StatusCode::PAYLOAD_TOO_LARGE, "a report has at most 1 MiB"))),
    };
    pace.answering();
    let Some(open) = node.open() else { return Ok(sealed(node)) };
    let took = async {
        let (edge, references) = read(&body)?;
        open.vault.take_references(&open.vault.grants(principal).await?, edge, references).await
    };
    let took = took.await;
    let outcome = took.as_ref().map_or_else(|error| error.outcome(), |()| Outcome::Success);
    let recorded = record(node, &open, session, Action::ReportReferences, outcome).await;
    Ok(match recorded.and(took) {
        Ok(()) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Err(error) => refused(problem_of(error)),
    })
}

fn read(body: &[u8]) -> Result<(EdgeKey, References), keys::Error> {
    let invalid = |why: String| keys::Error::Invalid { field: "report", why };
    let Report { edge, references } = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
    let edge = HEXLOWER.decode(edge.as_bytes()).ok().and_then(|edge| edge.try_into().ok());
    Ok((EdgeKey(edge.ok_or_else(|| invalid("`edge` has 64 lower-case hex digits".to_owned()))?), references))
}

fn sealed(node: &Node) -> Answer {
    refused(problem(StatusCode::SERVICE_UNAVAILABLE, node.sealed_for_edges()))
}

/// Tells an edge what it may serve; others are refused. One record each.
pub async fn lease(node: &Node, principal: &Principal, session: SessionId) -> Answer {
    let Some(open) = node.open() else { return sealed(node) };
    let told = async { open.vault.lease(&open.vault.grants(principal).await?).await }.await;
    let outcome = told.as_ref().map_or_else(|error| error.outcome(), |_| Outcome::Success);
    match record(node, &open, session, Action::RenewLease, outcome).await.and(told) {
        Ok(lease) => {
            let body = serde_json::to_vec(&lease).expect("ids, names and numbers always print");
            let mut response = Response::new(Full::from(body));
            mark(response.headers_mut());
            response
        }
        Err(error) => refused(problem_of(error)),
    }
}

async fn record(node: &Node, open: &Open, session: SessionId, action: Action, outcome: Outcome) -> Result<(), keys::Error> {
    let mut unit = open.vault.begin(session);
    let time = SystemClock.now();
    unit.record(Record { time, session, action, object: None, version: None, generation: None, outcome });
    let recorded = unit.commit().await;
    node.metrics.requests.count(keys::record::Origin::Https, action, outcome);
    let _receipt = recorded?;
    Ok(())
}

fn mark(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
}

fn refused(response: Response<Bytes>) -> Answer {
    response.map(Full::new)
}

#[cfg(test)]
mod tests {
    use keys::id::{Layer, RowId, ScopeName, ServiceId, TenantId, Time};
    use keys::lease::{Lease, LeasedService};
    use uuid::Uuid;

    use super::*;

    fn lease() -> Lease {
        let name: ScopeName = "west".parse().expect("a name");
        let (id, chain) = (ServiceId::new(Uuid::from_u128(1)), keys::id::ChainId::new(Uuid::from_u128(2)));
        Lease {
            cluster: keys::id::ClusterId::new(Uuid::from_u128(3)),
            group: LeasedService { id, name, chain, versions: Vec::new() },
            system: TenantId::SYSTEM,
            tenants: Vec::new(),
            reports: None,
        }
    }

    /// A core of the release before says nothing of reports, and one of the release after may say more.
    #[test]
    fn leases_of_the_releases_around_read() {
        let mut json = serde_json::to_value(lease()).expect("it prints");
        let fields = json.as_object_mut().expect("a structure");
        fields.remove("reports").expect("it has the field");
        fields.insert("further".to_owned(), 1.into());
        assert_eq!(serde_json::from_value::<Lease>(json).expect("it reads"), lease());
    }

    #[test]
    fn a_report_reads_with_what_it_has() {
        let references =
            References { began: Some(Time::from_seconds(7)), left: [RowId::new(Layer::L3, Uuid::from_u128(1))].into(), damaged: 2 };
        let edge = "ab".repeat(32);
        let report = Report { edge: edge.clone(), references: references.clone() };
        let body = serde_json::to_vec(&report).expect("it prints");
        let (key, told) = read(&body).expect("it reads");
        assert_eq!((key, told), (EdgeKey([0xAB; 32]), references));
        let (_, least) = read(format!("{{\"edge\":\"{edge}\",\"further\":[]}}").as_bytes()).expect("it reads");
        assert_eq!(least, References::default());
    }

    #[test]
    fn the_longest_report_is_read() {
        let left = (0..keys::references::LEFT_MAX as u128).map(|number| RowId::new(Layer::L3, Uuid::from_u128(u128::MAX - number)));
        let references = References { began: Some(Time::from_seconds(i64::MAX / 1000)), left: left.collect(), damaged: u64::MAX };
        let report = Report { edge: "ab".repeat(32), references };
        let bytes = serde_json::to_vec(&report).expect("it prints").len();
        assert!(bytes <= REPORT_BYTES_MAX, "{bytes}");
    }

    #[test]
    fn a_report_of_nobody_is_refused() {
        for body in ["", "{}", "[]", "{\"edge\":\"ab\"}", "{\"edge\":7}", "{\"edge\":\"AB\",\"left\":[]}"] {
            assert!(matches!(read(body.as_bytes()), Err(keys::Error::Invalid { .. })), "{body}");
        }
        let bad_left = format!("{{\"edge\":\"{}\",\"left\":[\"everything\"]}}", "ab".repeat(32));
        assert!(matches!(read(bad_left.as_bytes()), Err(keys::Error::Invalid { .. })));
    }
}
