//! A session with the server: who we are there, by a token that is renewed before it ends, and what its answers mean.

use std::time::Duration;

use hyper::body::Bytes as Body;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use keys::port::StoreError;
use secret::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::fault;
use super::http::{Answer, Call, Way};

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Longest answer of a login and of the health, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// A token that was refused is replaced by a new one unless it is younger than this: then it is not the token that is refused.
const YOUNG: Duration = Duration::from_secs(1);

/// How the node shows who it is.
pub enum Login {
    /// A role's id and the secret that goes with it.
    AppRole {
        /// Not secret.
        role: String,
        /// The secret id.
        secret: Bytes,
    },
    /// The certificate of the TLS connection.
    Certificate,
}

/// One server, namespace and identity.
pub(super) struct Session {
    way: Way,
    /// As errors name the server.
    place: String,
    namespace: Option<HeaderValue>,
    login: Login,
    token: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    value: HeaderValue,
    since: Instant,
    /// From then on it is renewed; none if it does not end.
    due: Option<Instant>,
    ends: Option<Instant>,
}

impl Token {
    fn has_ended(&self) -> bool {
        self.ends.is_some_and(|ends| Instant::now() >= ends)
    }
}

#[derive(Deserialize)]
struct LoggedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
    lease_duration: u64,
}

/// `None` if it does not say so.
#[derive(Deserialize)]
struct Health {
    sealed: Option<bool>,
}

/// What was asked for is answered, or is not there, or the number of its version is another one.
pub(super) enum Said {
    Done(Body),
    Absent,
    Mismatch,
}

impl Session {
    /// - `namespace`: text that may stand in a header.
    pub(super) fn new(way: Way, place: String, namespace: Option<&str>, login: Login) -> Self {
        let namespace = namespace.and_then(|namespace| HeaderValue::from_str(namespace).ok());
        Self { way, place, namespace, login, token: Mutex::default() }
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Asks on new connections from now on.
    pub(super) fn part(&self) {
        self.way.part();
    }

    /// What was answered is none of the server's answers.
    pub(super) fn no_answer(&self, what: &str) -> StoreError {
        self.part();
        fault::refused(&self.place, what)
    }

    /// A request in the node's name. It may be made twice.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
        bytes_max: usize,
    ) -> Result<Said, StoreError> {
        let body = body.map_or_else(Body::new, |body| Body::from(body.to_string()));
        let token = self.token(None).await?;
        let answer = self.send(method.clone(), path, Some(&token), body.clone(), bytes_max).await?;
        if answer.status != StatusCode::FORBIDDEN || token.since.elapsed() < YOUNG {
            return self.judge(&answer).await;
        }
        // It was revoked, or has ended by the server's clock.
        let token = self.token(Some(&token.value)).await?;
        let answer = self.send(method, path, Some(&token), body, bytes_max).await?;
        self.judge(&answer).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&Token>,
        body: Body,
        answer_bytes_max: usize,
    ) -> Result<Answer, StoreError> {
        let token = token.map(|token| (TOKEN, token.value.clone()));
        let headers: Vec<_> = token.into_iter().chain(self.namespace.clone().map(|namespace| (NAMESPACE, namespace))).collect();
        let call = Call { method, path, headers: &headers, body, answer_bytes_max };
        self.way.ask(&call).await.map_err(|lost| fault::lost(&self.place, &lost))
    }

    async fn judge(&self, answer: &Answer) -> Result<Said, StoreError> {
        match answer.status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(Said::Done(answer.body.clone())),
            StatusCode::NOT_FOUND => Ok(Said::Absent),
            StatusCode::BAD_REQUEST if fault::said(&answer.body).contains("check-and-set") => Ok(Said::Mismatch),
            StatusCode::FORBIDDEN => Err(StoreError::Denied { at: self.place.clone(), what: fault::said(&answer.body) }),
            StatusCode::SERVICE_UNAVAILABLE if self.is_sealed().await => Err(StoreError::Sealed { at: self.place.clone() }),
            status if status.is_redirection() => Err(fault::refused(
                &self.place,
                "a redirect, as a standby sends it: name the server that is active, or the load balancer before it",
            )),
            status => Err(fault::refused(&self.place, &format!("{status}: {}", fault::said(&answer.body)))),
        }
    }

    /// Why does it not serve?
    async fn is_sealed(&self) -> bool {
        let asked = self.send(Method::GET, "sys/health", None, Body::new(), ANSWER_BYTES_MAX).await;
        let health = asked.ok().and_then(|answer| serde_json::from_slice(&answer.body).ok());
        health.and_then(|Health { sealed }| sealed).unwrap_or(false)
    }

    /// A token that serves, another one than `refused`.
    async fn token(&self, refused: Option<&HeaderValue>) -> Result<Token, StoreError> {
        let mut slot = self.token.lock().await;
        let kept = slot.take_if(|token| token.has_ended() || refused == Some(&token.value));
        drop(kept);
        let token = match slot.as_ref() {
            Some(token) if token.due.is_none_or(|due| Instant::now() < due) => return Ok(token.clone()),
            Some(token) => match self.renew(token).await {
                Some(renewed) => renewed,
                None => self.log_in().await?,
            },
            None => self.log_in().await?,
        };
        Ok(slot.insert(token).clone())
    }

    /// `None` if it cannot go on: a new one is asked for then.
    async fn renew(&self, token: &Token) -> Option<Token> {
        let answer = self.send(Method::POST, "auth/token/renew-self", Some(token), Body::new(), ANSWER_BYTES_MAX).await.ok()?;
        let renewed = self.logged_in(&answer).ok()?;
        // Near the end of what its role allows it is renewed for ever shorter times.
        let left = |token: &Token| token.ends.map(|ends| ends.saturating_duration_since(token.since));
        (left(&renewed)? > left(token)? / 2).then_some(Token { value: token.value.clone(), ..renewed })
    }

    async fn log_in(&self) -> Result<Token, StoreError> {
        let (path, body) = match &self.login {
            Login::AppRole { role, secret } => {
                let body = secret.expose(|secret| {
                    let secret = std::str::from_utf8(secret).unwrap_or_default();
                    Zeroizing::new(json!({ "role_id": role, "secret_id": secret }).to_string())
                });
                ("auth/approle/login", Body::copy_from_slice(body.as_bytes()))
            }
            Login::Certificate => ("auth/cert/login", Body::from_static(b"{}")),
        };
        let answer = self.send(Method::POST, path, None, body, ANSWER_BYTES_MAX).await?;
        match answer.status {
            StatusCode::OK => self.logged_in(&answer),
            // So it says that it does not know role, secret or certificate.
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                Err(StoreError::Denied { at: self.place.clone(), what: format!("the login: {}", fault::said(&answer.body)) })
            }
            _ => Err(self.judge(&answer).await.err().unwrap_or_else(|| fault::refused(&self.place, "no token"))),
        }
    }

    fn logged_in(&self, answer: &Answer) -> Result<Token, StoreError> {
        let no_token = || self.no_answer("a login without a token");
        if answer.status != StatusCode::OK {
            return Err(no_token());
        }
        let LoggedIn { auth } = serde_json::from_slice(&answer.body).map_err(|_| no_token())?;
        let mut value = HeaderValue::from_str(&Zeroizing::new(auth.client_token)).map_err(|_| no_token())?;
        value.set_sensitive(true);
        let since = Instant::now();
        let lease = (auth.lease_duration > 0).then(|| Duration::from_secs(auth.lease_duration));
        Ok(Token { value, since, due: lease.map(|lease| since + lease * 2 / 3), ends: lease.map(|lease| since + lease) })
    }
}
