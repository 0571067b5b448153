//! What a caller sent, taken apart without refusing anything yet: a refusal is the route's, so that each leaves its record.

use std::convert::Infallible;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::admin::status::Refused;
use crate::http::body::{NoBody, collect};
use crate::http::media_type;
use crate::http::pace::Pace;

/// Longest request body, in bytes (C24).
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// How deep lists and objects of a body may stand in one another (C24).
const DEPTH_MAX: usize = 16;

const JSON: &str = "application/json";

/// A request's query and body.
pub struct Sent {
    uri: axum::http::Uri,
    kind: Option<String>,
    body: Result<Vec<u8>, NoBody>,
}

impl<S: Sync> FromRequest<S> for Sent {
    type Rejection = Infallible;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Infallible> {
        let (head, body) = request.into_parts();
        let body = collect(body, BODY_BYTES_MAX).await;
        // On the TLS port the deadline of the request ends here.
        if let Some(pace) = head.extensions.get::<Pace>() {
            pace.answering();
        }
        Ok(Self { kind: media_type(&head.headers), uri: head.uri, body })
    }
}

impl Sent {
    /// The body as it came.
    ///
    /// # Errors
    /// It is too long, or was not whole.
    pub fn bytes(&self) -> Result<&[u8], Refused> {
        match &self.body {
            Ok(body) => Ok(body),
            Err(NoBody::TooLarge) => Err(Refused::too_large(BODY_BYTES_MAX)),
            Err(NoBody::Broken) => Err(Refused::invalid("the body ended early".to_owned())),
        }
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is not JSON, too deep, or not what the route takes; the refusal says where.
    pub fn json<T: DeserializeOwned + Serialize>(&self) -> Result<T, Refused> {
        let body = self.bytes()?;
        if self.kind.as_deref() != Some(JSON) {
            return Err(Refused::media_type(JSON));
        }
        if depth(body) > DEPTH_MAX {
            return Err(Refused::invalid(format!("the body is nested deeper than {DEPTH_MAX}")));
        }
        let not = |error: String| Refused::invalid(format!("the body cannot be taken: {error}"));
        let taken: T = serde_json::from_slice(body).map_err(|error| not(error.to_string()))?;
        let (sent, meant) = (serde_json::from_slice(body), serde_json::to_value(&taken));
        if !sent.ok().zip(meant.ok()).is_some_and(|(sent, meant)| has_shape(&sent, &meant)) {
            return Err(not("it has an array where an object with named members is wanted".to_owned()));
        }
        Ok(taken)
    }

    /// The query.
    ///
    /// # Errors
    /// It is not what the route takes.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        match Query::<T>::try_from_uri(&self.uri) {
            Ok(Query(query)) => Ok(query),
            Err(error) => Err(Refused::invalid(error.body_text())),
        }
    }
}

/// Is there an object wherever one was meant? Reading alone also takes the list of its members' values for it.
fn has_shape(sent: &Value, meant: &Value) -> bool {
    match (sent, meant) {
        (Value::Array(_), Value::Object(_)) => false,
        (Value::Array(sent), Value::Array(meant)) => sent.iter().zip(meant).all(|(sent, meant)| has_shape(sent, meant)),
        (Value::Object(sent), Value::Object(meant)) => {
            sent.iter().all(|(name, sent)| meant.get(name).is_none_or(|meant| has_shape(sent, meant)))
        }
        _ => true,
    }
}

/// How deep JSON is nested, whatever else it may be.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The one name in a route's path.
pub struct Named(Result<String, PathRejection>);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(Path::<String>::from_request_parts(parts, state).await.map(|Path(name)| name)))
    }
}

impl Named {
    /// The name, percent-decoded.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn text(&self) -> Result<&str, Refused> {
        self.0.as_deref().map_err(|error| Refused::invalid(error.body_text()))
    }
}

/// The two names in a route's path.
pub struct NamedTwice(Result<(String, String), PathRejection>);

impl<S: Send + Sync> FromRequestParts<S> for NamedTwice {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(Path::<(String, String)>::from_request_parts(parts, state).await.map(|Path(names)| names)))
    }
}

impl NamedTwice {
    /// The names, percent-decoded, in the path's order.
    ///
    /// # Errors
    /// One of them is not UTF-8.
    pub fn texts(&self) -> Result<(&str, &str), Refused> {
        let names = self.0.as_ref().map_err(|error| Refused::invalid(error.body_text()))?;
        Ok((&names.0, &names.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_that_of_brackets_outside_of_texts() {
        let deep = |count: usize| "[".repeat(count) + &"]".repeat(count);
        for (json, wanted) in [
            ("", 0),
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[{"b":1},{"c":[]}]}"#, 4),
            (r#"{"a":"[[[[\"[[[["}"#, 1),
            (r#"["\\",[]]"#, 2),
            ("]]]][", 1),
            (&deep(16), 16),
            (&deep(100_000), 100_000),
        ] {
            assert_eq!(depth(json.as_bytes()), wanted, "{json:.60}");
        }
    }

    fn sent(kind: Option<&str>, body: Result<&[u8], NoBody>) -> Sent {
        Sent { uri: axum::http::Uri::from_static("/x?retry_pin=maybe"), kind: kind.map(str::to_owned), body: body.map(<[u8]>::to_vec) }
    }

    fn status(refused: Refused) -> u16 {
        axum::response::IntoResponse::into_response(refused).status().as_u16()
    }

    #[test]
    fn what_cannot_be_taken_is_refused_by_its_kind() {
        let json = |kind, body| sent(kind, body).json::<crate::admin::types::NewTenant>();
        assert_eq!(json(Some(JSON), Ok(br#"{"name":"acme"}"#)).expect("it is as it should be").name, "acme");
        for (kind, body, wanted) in [
            (Some("text/plain"), Ok(&br#"{"name":"acme"}"#[..]), 415),
            (None, Ok(br#"{"name":"acme"}"#), 415),
            (Some(JSON), Ok(b""), 400),
            (Some(JSON), Ok(br#"{"name":"acme","more":1}"#), 400),
            (Some(JSON), Ok(br#"{"name":"acme"} {}"#), 400),
            (Some(JSON), Ok(br#"["acme"]"#), 400),
            (Some(JSON), Ok(br#"{"name":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}"#), 400),
            (Some(JSON), Err(NoBody::TooLarge), 413),
            (None, Err(NoBody::TooLarge), 413),
            (Some(JSON), Err(NoBody::Broken), 400),
        ] {
            let refused = json(kind, body).expect_err("it cannot be taken");
            assert_eq!(status(refused), wanted, "{kind:?} {body:?}");
        }
        let ceremony = |body: &[u8]| sent(Some(JSON), Ok(body)).json::<crate::admin::types::NewCeremony>();
        let order = br#"{"operation":"rekey","roster":{"approvals":1,"custodians":["aa"]}}"#;
        ceremony(order).expect("it is as it should be");
        for list in [&br#"["slot-remove","hsm"]"#[..], br#"["rekey"]"#, br#"{"operation":"rekey","roster":[1,["aa"]]}"#] {
            assert_eq!(status(ceremony(list).expect_err("a list is no object")), 400, "{}", list.escape_ascii());
        }
        assert_eq!(status(sent(None, Ok(b"")).query::<crate::admin::types::UnsealBy>().expect_err("not a truth value")), 400);
    }
}
