//! How an edge speaks for its client to a core: the client's certificate chain in HTTP headers, and the edge's signature that binds it to this request on
//! this connection (C22, RFC 9440, RFC 9266).
//!
//! ```text
//! Client-Cert: :BASE64:                      the client's certificate, DER
//! Client-Cert-Chain: :BASE64:, :BASE64:      its intermediates, if it has sent some
//! Strongroom-Request-Id: UUID                by what both nodes' audit logs name the request
//! Strongroom-Delegation: v=1;kid=HEX32;seq=N;sig=HEX64
//! signed   "strongroom-delegation-v1" 0 | channel | seq u64 | method SP path | SHA-256(chain) | request id | SHA-256(body)
//! ```
//! Each signed part has its length before it, as u32; numbers are big-endian. `channel` is the TLS exporter of the connection, so nothing of it is of use on
//! another one; `seq` grows with each request on a connection, so nothing is taken twice. `kid` is the public key itself.

use cipher::mac::sha256;
use cipher::sign;
use data_encoding::{BASE64, HEXLOWER};
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use rustls::{ConnectionCommon, ProtocolVersion};
use uuid::Uuid;

/// Label of the exporter, RFC 9266.
const CHANNEL_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
/// Bytes of the exporter.
pub const CHANNEL_BYTES: usize = 32;
/// Most certificates of a client's chain.
const CHAIN_MAX: usize = 8;
const SIGNED_LABEL: &[u8] = b"strongroom-delegation-v1\0";

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const DELEGATION: HeaderName = HeaderName::from_static("strongroom-delegation");
const REQUEST_ID: HeaderName = HeaderName::from_static("strongroom-request-id");

/// Why headers of a delegation are not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unbelieved {
    /// A header that has to be there once is missing or comes twice.
    #[error("{0} has to be there once")]
    Header(&'static str),
    /// A header does not read.
    #[error("{0} does not read")]
    Unreadable(&'static str),
    /// Another connection's, or a replay.
    #[error("seq does not grow on this connection")]
    Replayed,
    /// The edge's key is not enrolled.
    #[error("the edge's delegation key is not enrolled: run strongroom edge enrol with --key at the core")]
    UnknownKey,
    /// The signature is not over this request on this connection.
    #[error("the signature does not verify")]
    Signature,
}

/// What binds signatures to a connection (RFC 9266); `None` below TLS 1.3.
pub fn channel<D>(connection: &ConnectionCommon<D>) -> Option<[u8; CHANNEL_BYTES]> {
    let is_1_3 = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    is_1_3.then(|| connection.export_keying_material([0; CHANNEL_BYTES], CHANNEL_LABEL, Some(&[])).ok()).flatten()
}

/// What is signed, beside the channel.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// HTTP path.
    pub path: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// A client for which an edge vouches, not believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// The client's certificate chain in DER, its own first.
    pub chain: Vec<Vec<u8>>,
    /// By what both nodes' audit logs name the request.
    pub request: Uuid,
    /// The edge's public key.
    pub kid: [u8; sign::PUBLIC_BYTES],
    /// Grows with each request on a connection.
    pub seq: u64,
    signature: [u8; sign::SIGNATURE_BYTES],
}

/// Is one of the headers there by which a request would speak for somebody else? Its name.
#[must_use]
pub fn header(headers: &HeaderMap) -> Option<&'static str> {
    let all = [("client-cert", CLIENT_CERT), ("client-cert-chain", CLIENT_CERT_CHAIN), ("strongroom-delegation", DELEGATION)];
    all.into_iter().find(|(_, name)| headers.contains_key(name)).map(|(text, _)| text)
}

impl Vouched {
    /// Signs for a client on a connection; returns the headers.
    #[must_use]
    pub fn headers(
        seed: &[u8; sign::SEED_BYTES],
        channel: &[u8; CHANNEL_BYTES],
        seq: u64,
        (chain, request): (&[Vec<u8>], Uuid),
        message: Request<'_>,
    ) -> HeaderMap {
        let kid = sign::public_from_seed(seed);
        let signature = sign::sign(seed, &signed(channel, seq, chain, request, message));
        let item = |der: &Vec<u8>| format!(":{}:", BASE64.encode(der));
        let mut headers = HeaderMap::new();
        let mut put = |name, text: String| headers.insert(name, HeaderValue::from_str(&text).expect("letters, digits and marks"));
        put(CLIENT_CERT, chain.first().map(item).unwrap_or_default());
        if chain.len() > 1 {
            put(CLIENT_CERT_CHAIN, chain[1..].iter().map(item).collect::<Vec<_>>().join(", "));
        }
        put(REQUEST_ID, request.to_string());
        put(DELEGATION, format!("v=1;kid={};seq={seq};sig={}", HEXLOWER.encode(&kid), HEXLOWER.encode(&signature)));
        headers
    }

    /// Reads the headers of a request that has some of them.
    ///
    /// # Errors
    /// [`Unbelieved`] names the header.
    pub fn read(headers: &HeaderMap) -> Result<Self, Unbelieved> {
        let mut chain = vec![certificate("Client-Cert", once(headers, &CLIENT_CERT, "Client-Cert")?)?];
        if headers.contains_key(&CLIENT_CERT_CHAIN) {
            let rest = once(headers, &CLIENT_CERT_CHAIN, "Client-Cert-Chain")?;
            for item in rest.split(',') {
                chain.push(certificate("Client-Cert-Chain", item.trim_matches([' ', '\t']))?);
            }
        }
        if chain.len() > CHAIN_MAX {
            return Err(Unbelieved::Unreadable("Client-Cert-Chain"));
        }
        let request = once(headers, &REQUEST_ID, "Strongroom-Request-Id")?.parse();
        let request = request.map_err(|_| Unbelieved::Unreadable("Strongroom-Request-Id"))?;
        let (kid, seq, signature) =
            parameters(once(headers, &DELEGATION, "Strongroom-Delegation")?).ok_or(Unbelieved::Unreadable("Strongroom-Delegation"))?;
        Ok(Self { chain, request, kid, seq, signature })
    }

    /// Does an enrolled key vouch for this request on this connection, for the first time?
    ///
    /// - `last`: the `seq` of the request before, 0 before the first.
    ///
    /// # Errors
    /// [`Unbelieved`].
    pub fn check(
        &self,
        keys: &[[u8; sign::PUBLIC_BYTES]],
        channel: &[u8; CHANNEL_BYTES],
        last: u64,
        message: Request<'_>,
    ) -> Result<(), Unbelieved> {
        if self.seq <= last {
            return Err(Unbelieved::Replayed);
        }
        if !keys.contains(&self.kid) {
            return Err(Unbelieved::UnknownKey);
        }
        let signed = signed(channel, self.seq, &self.chain, self.request, message);
        sign::verify(&self.kid, &signed, &self.signature).map_err(|_| Unbelieved::Signature)
    }
}

fn signed(channel: &[u8; CHANNEL_BYTES], seq: u64, chain: &[Vec<u8>], request: Uuid, message: Request<'_>) -> Vec<u8> {
    let mut certificates = Vec::new();
    chain.iter().for_each(|der| push(&mut certificates, der));
    let mut signed = SIGNED_LABEL.to_vec();
    push(&mut signed, channel);
    push(&mut signed, &seq.to_be_bytes());
    push(&mut signed, format!("{} {}", message.method, message.path).as_bytes());
    push(&mut signed, &sha256(&[&certificates]));
    push(&mut signed, request.as_bytes());
    push(&mut signed, &sha256(&[message.body]));
    signed
}

fn push(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&u32::try_from(part.len()).expect("HTTP bounds every part").to_be_bytes());
    out.extend_from_slice(part);
}

/// The text of a header that has to be there once.
fn once<'h>(headers: &'h HeaderMap, name: &HeaderName, shown: &'static str) -> Result<&'h str, Unbelieved> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(only), None) => only.to_str().map_err(|_| Unbelieved::Unreadable(shown)),
        _ => Err(Unbelieved::Header(shown)),
    }
}

/// A byte sequence of a structured field (RFC 8941, 3.3.5).
fn certificate(shown: &'static str, item: &str) -> Result<Vec<u8>, Unbelieved> {
    let inner = item.strip_prefix(':').and_then(|item| item.strip_suffix(':')).filter(|inner| !inner.is_empty());
    inner.and_then(|inner| BASE64.decode(inner.as_bytes()).ok()).ok_or(Unbelieved::Unreadable(shown))
}

fn parameters(text: &str) -> Option<([u8; sign::PUBLIC_BYTES], u64, [u8; sign::SIGNATURE_BYTES])> {
    let [version, kid, seq, sig] = text.split(';').collect::<Vec<_>>().try_into().ok()?;
    if version != "v=1" {
        return None;
    }
    let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).ok();
    let kid = hex(kid.strip_prefix("kid=")?)?.try_into().ok()?;
    let seq = seq.strip_prefix("seq=")?;
    let seq = seq.parse().ok().filter(|number: &u64| number.to_string() == seq)?;
    let sig = hex(sig.strip_prefix("sig=")?)?.try_into().ok()?;
    Some((kid, seq, sig))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 32] = [7; 32];
    const CHANNEL: [u8; 32] = [9; 32];
    const REQUEST: Uuid = Uuid::from_u128(5);

    fn message() -> Request<'static> {
        Request { method: "POST", path: "/kmip", body: b"body" }
    }

    fn chain() -> Vec<Vec<u8>> {
        vec![b"leaf".to_vec(), b"intermediate".to_vec()]
    }

    fn headers() -> HeaderMap {
        Vouched::headers(&SEED, &CHANNEL, 3, (&chain(), REQUEST), message())
    }

    fn keys() -> Vec<[u8; 32]> {
        vec![[1; 32], sign::public_from_seed(&SEED)]
    }

    #[test]
    fn what_an_edge_signs_its_core_believes_once() {
        let vouched = Vouched::read(&headers()).expect("they read");
        assert_eq!((&vouched.chain, vouched.request, vouched.seq), (&chain(), REQUEST, 3));
        assert_eq!(vouched.check(&keys(), &CHANNEL, 2, message()), Ok(()));
        assert_eq!(vouched.check(&keys(), &CHANNEL, 3, message()), Err(Unbelieved::Replayed));
        assert_eq!(vouched.check(&keys(), &CHANNEL, 4, message()), Err(Unbelieved::Replayed));
    }

    #[test]
    fn nothing_of_it_holds_for_another_connection_key_or_request() {
        let vouched = Vouched::read(&headers()).expect("they read");
        assert_eq!(vouched.check(&[[1; 32]], &CHANNEL, 0, message()), Err(Unbelieved::UnknownKey));
        assert_eq!(vouched.check(&keys(), &[8; 32], 0, message()), Err(Unbelieved::Signature));
        for other in
            [Request { method: "PUT", ..message() }, Request { path: "/kmip2", ..message() }, Request { body: b"other", ..message() }]
        {
            assert_eq!(vouched.check(&keys(), &CHANNEL, 0, other), Err(Unbelieved::Signature), "{other:?}");
        }
        for other in [
            Vouched { chain: vec![b"leaf".to_vec()], ..vouched.clone() },
            Vouched { chain: vec![b"leafintermediate".to_vec()], ..vouched.clone() },
            Vouched { request: Uuid::nil(), ..vouched.clone() },
            Vouched { seq: 4, ..vouched.clone() },
            Vouched { signature: [0; 64], ..vouched },
        ] {
            assert_eq!(other.check(&keys(), &CHANNEL, 0, message()), Err(Unbelieved::Signature), "{other:?}");
        }
    }

    #[test]
    fn missing_doubled_and_garbled_headers_are_named() {
        let check = |edit: &dyn Fn(&mut HeaderMap), expected| {
            let mut headers = headers();
            edit(&mut headers);
            assert_eq!(Vouched::read(&headers).err(), expected);
        };
        for (name, shown) in [(CLIENT_CERT, "Client-Cert"), (DELEGATION, "Strongroom-Delegation"), (REQUEST_ID, "Strongroom-Request-Id")] {
            check(&|headers| drop(headers.remove(&name)), Some(Unbelieved::Header(shown)));
            let twice = |headers: &mut HeaderMap| {
                let value = headers[&name].clone();
                headers.append(&name, value);
            };
            check(&twice, Some(Unbelieved::Header(shown)));
            check(&|headers| drop(headers.insert(&name, HeaderValue::from_static("x"))), Some(Unbelieved::Unreadable(shown)));
        }
        check(&|headers| drop(headers.remove(&CLIENT_CERT_CHAIN)), None);
        let long = [":bGVhZg==:"; CHAIN_MAX].join(", ");
        check(
            &|headers| drop(headers.insert(&CLIENT_CERT_CHAIN, HeaderValue::from_str(&long).expect("it is text"))),
            Some(Unbelieved::Unreadable("Client-Cert-Chain")),
        );
        for bad in [":bGVhZg==", "bGVhZg==", "::", ":bGVhZg==:;", ": bGVhZg==:"] {
            let edit = |headers: &mut HeaderMap| drop(headers.insert(&CLIENT_CERT, HeaderValue::from_static(bad)));
            check(&edit, Some(Unbelieved::Unreadable("Client-Cert")));
        }
        let good = headers()[&DELEGATION].to_str().expect("it is text").to_owned();
        for bad in
            [good.replace("v=1", "v=2"), good.replace("seq=3", "seq=03"), good.replace("seq=3", "seq=-3"), good.to_uppercase(), good + ";"]
        {
            let edit = |headers: &mut HeaderMap| drop(headers.insert(&DELEGATION, HeaderValue::from_str(&bad).expect("it is text")));
            check(&edit, Some(Unbelieved::Unreadable("Strongroom-Delegation")));
        }
    }

    #[test]
    fn who_speaks_for_another_is_known_by_each_header() {
        let headers = |name: &'static str| HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("x"))]);
        for name in ["client-cert", "client-cert-chain", "strongroom-delegation"] {
            assert_eq!(header(&headers(name)), Some(name));
        }
        assert_eq!(header(&headers("client-certificate")), None);
    }
}
