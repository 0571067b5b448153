//! The one mapping from errors to HTTP status, and the problem body that goes with it (RFC 9457).

use axum::body::{Body, Bytes};
use axum::http::{self, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use keys::Error;
use keys::policy::Role;
use keys::record::Outcome;

use crate::admin::types::Problem;
use crate::node::{SlotError, UnsealError};

/// Problem details (RFC 9457) as a response; every refusal over HTTP that has a body has this one.
#[must_use]
pub fn problem(status: StatusCode, detail: &str) -> http::Response<Bytes> {
    let title = status.canonical_reason().unwrap_or("refused").to_owned();
    let body = serde_json::to_vec(&Problem { title, status: status.as_u16(), detail: detail.to_owned() });
    let mut response = http::Response::new(Bytes::from(body.expect("texts and numbers always print")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The problem that the domain's error is.
#[must_use]
pub fn problem_of(error: Error) -> http::Response<Bytes> {
    let Refused { status, detail, .. } = Refused::from(error);
    problem(status, &detail)
}

/// The media type of problem details.
pub const PROBLEM: &str = "application/problem+json";

/// A refusal on its way out: status, body, and what the audit log says of it.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    detail: String,
    /// How the audit log tells it.
    pub outcome: Outcome,
}

impl Refused {
    /// The caller's fault, in a part of the request that the domain never sees.
    #[must_use]
    pub fn invalid(detail: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, detail, outcome: Outcome::Invalid }
    }

    /// Another request has changed a row first, so that this one may be done again.
    #[must_use]
    pub fn is_race(&self) -> bool {
        self.status == StatusCode::CONFLICT && self.outcome == Error::Raced.outcome()
    }

    /// The caller's role does not allow it.
    #[must_use]
    pub fn denied() -> Self {
        Self { status: StatusCode::FORBIDDEN, detail: "your role does not allow this".to_owned(), outcome: Outcome::Denied }
    }

    /// The caller's role does not allow it; others do.
    #[must_use]
    pub fn denied_as(role: Role, allowed: &[Role]) -> Self {
        let allowed = allowed.iter().map(|role| role.name()).collect::<Vec<_>>().join(" or ");
        let detail = format!(
            "your role does not allow this: you are {}, it takes the certificate of {allowed} (--admin, --admin-cert)",
            role.name()
        );
        Self { detail, ..Self::denied() }
    }

    /// The caller may not, and why.
    #[must_use]
    pub fn forbidden(detail: String) -> Self {
        Self { detail, ..Self::denied() }
    }

    /// What is told of it.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// There is no such thing.
    #[must_use]
    pub fn not_found(detail: String) -> Self {
        Self { status: StatusCode::NOT_FOUND, detail, outcome: Outcome::NotFound }
    }

    /// Too much of it was wrong of late.
    #[must_use]
    pub fn too_many(detail: String) -> Self {
        Self { status: StatusCode::TOO_MANY_REQUESTS, detail, outcome: Outcome::Denied }
    }

    /// The body is not of the kind that is understood.
    #[must_use]
    pub fn media_type(wants: &str) -> Self {
        let detail = format!("send the body as {wants}");
        Self { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, detail, outcome: Outcome::Invalid }
    }

    /// The body is longer than is read.
    #[must_use]
    pub fn too_large(bytes_max: usize) -> Self {
        let detail = format!("a body has at most {bytes_max} bytes");
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, detail, outcome: Outcome::Invalid }
    }

    /// There is something, but nothing that takes this method.
    #[must_use]
    pub fn method() -> Self {
        let detail = "use a method of the Allow header; /api/v1/openapi.json tells what there is".to_owned();
        Self { status: StatusCode::METHOD_NOT_ALLOWED, detail, outcome: Outcome::Invalid }
    }

    /// It does not go with how things stand.
    #[must_use]
    pub fn conflict(detail: String) -> Self {
        Self { status: StatusCode::CONFLICT, detail, outcome: Outcome::WrongState }
    }

    /// The node is sealed.
    #[must_use]
    pub fn sealed(reason: &str) -> Self {
        let detail = format!("the node is sealed ({reason}): {}", way_out(reason));
        Self { status: StatusCode::SERVICE_UNAVAILABLE, detail, outcome: Outcome::Unavailable }
    }

    /// A part of the appliance does not work now.
    #[must_use]
    pub fn unavailable(detail: String) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, detail, outcome: Outcome::Unavailable }
    }
}

/// What opens a sealed core. After a refused PIN `unseal` alone tries nothing, and the reason names the way.
#[must_use]
pub fn way_out(reason: &str) -> &'static str {
    match reason.contains("--retry-pin") {
        true => "do what is named, then run `strongroom unseal`",
        false => "run `strongroom unseal`",
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Denied { .. } | Error::NotExtractable | Error::Sensitive | Error::Withdrawn { .. } => StatusCode::FORBIDDEN,
            Error::NotFound => StatusCode::NOT_FOUND,
            Error::WrongState { .. }
            | Error::Archived
            | Error::NameTaken { .. }
            | Error::Exists
            | Error::Raced
            | Error::IvsExhausted { .. }
            | Error::UsageExhausted { .. }
            | Error::Unlimited
            | Error::Replaced { .. } => StatusCode::CONFLICT,
            Error::Invalid { .. } | Error::Forged | Error::NotUnwrapped => StatusCode::BAD_REQUEST,
            Error::Unavailable { .. } | Error::NoLease { .. } | Error::NotMade(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Corrupt { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, detail: error.to_string(), outcome: error.outcome() }
    }
}

impl From<seal::Error> for Refused {
    fn from(error: seal::Error) -> Self {
        match error {
            seal::Error::NoSuchSlot { .. } => Self::not_found(error.to_string()),
            seal::Error::ApprovalForged
            | seal::Error::ApprovalUnfit { .. }
            | seal::Error::ApprovalNeeded { .. }
            | seal::Error::Invalid { .. }
            | seal::Error::NoCustodian { .. }
            | seal::Error::LabelAmbiguous { .. } => Self::invalid(error.to_string()),
            seal::Error::LabelTaken { .. }
            | seal::Error::SlotExists { .. }
            | seal::Error::SlotsFull { .. }
            | seal::Error::LastSlot { .. }
            | seal::Error::Busy => Self::conflict(error.to_string()),
            other => Self::unavailable(other.to_string()),
        }
    }
}

impl From<SlotError> for Refused {
    fn from(error: SlotError) -> Self {
        match error {
            SlotError::Slots(error) => Self::from(error),
            SlotError::Roots(error) => Self::from(error),
            SlotError::NeedsCredential { .. } => Self::invalid(error.to_string()),
            SlotError::Edge | SlotError::NeedsCeremony | SlotError::OtherRoster => Self::conflict(error.to_string()),
        }
    }
}

impl From<UnsealError> for Refused {
    fn from(error: UnsealError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        problem(self.status, &self.detail).map(Body::from)
    }
}
