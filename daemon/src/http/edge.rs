//! What a core's HTTPS listener has for edges beside KMIP: the lease.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{HeaderMap, Response, StatusCode, header};
use keys::id::SessionId;
use keys::policy::{Action, Principal};
use keys::port::Clock;
use keys::record::{Outcome, Record};

use super::kmip::Answer;
use crate::admin::status::{problem, problem_of};
use crate::node::Node;
use crate::system::SystemClock;

/// Where an edge asks what it may serve.
pub const LEASE_PATH: &str = "/edge/v1/lease";

/// Tells an edge what it may serve; others are refused. One record each.
pub async fn lease(node: &Node, principal: &Principal, session: SessionId) -> Answer {
    let Some(open) = node.open() else {
        return refused(problem(StatusCode::SERVICE_UNAVAILABLE, "the core is sealed: its operator has to unseal it"));
    };
    let told = async { open.vault.lease(&open.vault.grants(principal).await?).await }.await;
    let outcome = told.as_ref().map_or_else(|error| error.outcome(), |_| Outcome::Success);
    let (time, action) = (SystemClock.now(), Action::RenewLease);
    let mut unit = open.vault.begin(session);
    unit.record(Record { time, session, action, object: None, version: None, generation: None, outcome });
    let told = match unit.commit().await {
        Ok(_receipt) => told,
        Err(error) => Err(error.into()),
    };
    node.metrics.requests.count(keys::record::Origin::Https, action, outcome);
    match told {
        Ok(lease) => {
            let body = serde_json::to_vec(&lease).expect("ids, names and numbers always print");
            let mut response = Response::new(Full::from(body));
            mark(response.headers_mut());
            response
        }
        Err(error) => refused(problem_of(error)),
    }
}

fn mark(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
}

fn refused(response: Response<Bytes>) -> Answer {
    response.map(Full::new)
}
