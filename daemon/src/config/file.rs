//! The configuration file as serde reads and prints it: nothing is checked or filled in here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::identity::RuleText;

/// The whole file. A section that is not there is `None`; [`super::Config`] is what the program uses.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub(super) role: Option<String>,
    pub(super) data_dir: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) listeners: Option<Listeners>,
    pub(super) identity: Option<Identity>,
    pub(super) region: Option<String>,
    pub(super) keystores: Option<BTreeMap<String, Keystore>>,
    pub(super) row_cache: Option<RowCache>,
    pub(super) routing: Option<Vec<Route>>,
    pub(super) seal: Option<Seal>,
    pub(super) ivk: Option<Ivk>,
    pub(super) reencrypt: Option<Reencrypt>,
    pub(super) edge: Option<Edge>,
    pub(super) admin: Option<Admin>,
    pub(super) kmip: Option<Kmip>,
    pub(super) audit: Option<Audit>,
    pub(super) memory: Option<Memory>,
    pub(super) log: Option<Log>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listeners {
    pub(super) kmip: Option<Listener>,
    pub(super) https: Option<Listener>,
    pub(super) admin: Option<Listener>,
    pub(super) health: Option<Health>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Health {
    pub(super) bind: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) bind: Option<String>,
    pub(super) cert: Option<OneOrMore>,
    pub(super) key: Option<OneOrMore>,
    pub(super) client_ca: Option<String>,
    pub(super) crl: Option<String>,
    pub(super) crl_grace: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ivk {
    pub(super) rotate_every: Option<String>,
    pub(super) rotate_at: Option<String>,
    pub(super) tenants: Option<Tenants>,
    pub(super) resources: Option<Resources>,
    pub(super) services: Option<Services>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tenants {
    pub(super) rotate_every: Option<String>,
    pub(super) rotate_at: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resources {
    pub(super) rotate_every: Option<String>,
    pub(super) rotate_at: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Services {
    pub(super) rotate_every: Option<String>,
    pub(super) rotate_at: Option<String>,
    pub(super) replace_expired: Option<bool>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reencrypt {
    pub(super) rate: Option<String>,
    pub(super) cpu: Option<String>,
}

/// A text, or a list of texts.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) rules: Option<Vec<RuleText>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keystore {
    pub(super) postgres: Option<Postgres>,
    pub(super) openbao: Option<Openbao>,
    pub(super) grpc: Option<Grpc>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RowCache {
    pub(super) size: Option<String>,
    pub(super) life: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Openbao {
    pub(super) url: Option<String>,
    pub(super) mount: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) ca: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) approle: Option<AppRole>,
    pub(super) timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppRole {
    pub(super) role_id: Option<String>,
    pub(super) secret_id: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grpc {
    pub(super) socket: Option<String>,
    pub(super) user: Option<String>,
    pub(super) command: Option<String>,
    pub(super) args: Option<OneOrMore>,
    pub(super) sha256: Option<String>,
    pub(super) timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Postgres {
    pub(super) url: Option<String>,
    pub(super) password: Option<String>,
    pub(super) ca: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) pool: Option<u32>,
    pub(super) timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) layer: Option<OneOrMore>,
    pub(super) tenant: Option<String>,
    pub(super) region: Option<String>,
    pub(super) keystore: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seal {
    pub(super) device: Option<String>,
    pub(super) writes: Option<OneOrMore>,
    pub(super) probe_interval: Option<String>,
    pub(super) custodians: Option<Vec<Custodian>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Custodian {
    pub(super) name: Option<String>,
    pub(super) pkcs11: Option<Pkcs11>,
    pub(super) region: Option<String>,
    pub(super) tpm2: Option<Tpm2>,
    pub(super) age: Option<Age>,
    pub(super) card: Option<Card>,
    pub(super) shamir: Option<Shamir>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Age {
    pub(super) recipient: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Card {
    pub(super) public_key: Option<String>,
    pub(super) oaep: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shamir {
    pub(super) threshold: Option<u32>,
    pub(super) keepers: Option<OneOrMore>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tpm2 {
    pub(super) tcti: Option<String>,
    pub(super) pcrs: Option<String>,
    pub(super) pin: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pkcs11 {
    pub(super) module: Option<String>,
    pub(super) token: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) key: Option<String>,
    pub(super) pin: Option<String>,
    pub(super) environment: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edge {
    pub(super) group: Option<String>,
    pub(super) upstreams: Option<OneOrMore>,
    pub(super) ca: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) ephemeral: Option<bool>,
    pub(super) shared: Option<bool>,
    pub(super) lease: Option<String>,
    pub(super) offline_ttl: Option<String>,
    pub(super) pool: Option<u32>,
    pub(super) cache: Option<String>,
    pub(super) l4_ttl: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) calls_per_second: Option<u32>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kmip {
    pub(super) idle_timeout: Option<String>,
    pub(super) message_max: Option<String>,
    pub(super) credentials: Option<String>,
    pub(super) gcm_caller_iv: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Audit {
    pub(super) sync: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    pub(super) arena: Option<String>,
    pub(super) require_secretmem: Option<bool>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) level: Option<String>,
    pub(super) format: Option<String>,
}
