//! The effective configuration as YAML, in the order of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::Path;

use ::kmip::{CallerIvs, Credentials};
use audit::SyncMode;
use data_encoding::HEXLOWER;
use keys::policy::NodeRole;
use yaml_rust2::{Yaml, YamlEmitter, YamlLoader};

use storage::routed::{Class, Placement};

use super::check::routing::LAYERS;
use super::check::{NONE, OAEPS, TYPED, UNLIMITED, pcrs_text};
use super::{
    AppRole, Config, Custodian, Edge, Grpc, Ivk, Keystore, KeystoreKind, Listener, LogFormat, Means, Openbao, Pkcs11, Postgres, Runs, Tpm2,
    TpmPin, file, units,
};
use crate::schedule::Schedule;

impl From<&Config> for file::File {
    fn from(config: &Config) -> Self {
        let role = match config.role {
            NodeRole::Core => "core",
            NodeRole::Edge => "edge",
        };
        Self {
            role: text(role),
            data_dir: path(&config.data_dir),
            cluster: text(&config.cluster),
            listeners: Some(file::Listeners {
                kmip: config.listeners.kmip.as_ref().map(listener),
                https: config.listeners.https.as_ref().map(listener),
                admin: config.listeners.admin.as_ref().map(listener),
                health: Some(file::Health { bind: Some(config.listeners.health.map_or_else(|| NONE.to_owned(), |bind| bind.to_string())) }),
            }),
            identity: Some(file::Identity { rules: Some(config.identity.texts().cloned().collect()) }),
            region: config.region.clone(),
            keystores: (!config.keystores.is_empty()).then(|| config.keystores.iter().map(keystore).collect()),
            routing: routing(&config.placement, !config.keystores.is_empty()),
            seal: Some(file::Seal {
                device: path(&config.seal.device),
                writes: paths(config.seal.writes.iter().map(|place| &**place)),
                probe_interval: Some(units::duration_text(config.seal.probe_interval)),
                custodians: Some(config.seal.custodians.iter().map(custodian).collect()),
            }),
            ivk: (config.role == NodeRole::Core).then(|| {
                let Ivk { schedule: own, tenants, resources, services, replace_expired } = &config.ivk;
                let (rotate_every, rotate_at) = schedule(own);
                let (tenants_every, tenants_at) = schedule(tenants);
                let (resources_every, resources_at) = schedule(resources);
                let (services_every, services_at) = schedule(services);
                file::Ivk {
                    rotate_every,
                    rotate_at,
                    tenants: Some(file::Tenants { rotate_every: tenants_every, rotate_at: tenants_at }),
                    resources: Some(file::Resources { rotate_every: resources_every, rotate_at: resources_at }),
                    services: Some(file::Services {
                        rotate_every: services_every,
                        rotate_at: services_at,
                        replace_expired: Some(*replace_expired),
                    }),
                }
            }),
            reencrypt: (config.role == NodeRole::Core)
                .then(|| file::Reencrypt { rate: Some(rate_text(config.reencrypt.rate)), cpu: Some(format!("{}%", config.reencrypt.cpu)) }),
            edge: config.edge.as_ref().map(edge),
            admin: Some(file::Admin { calls_per_second: Some(config.admin.calls_per_second.get()) }),
            kmip: Some(file::Kmip {
                idle_timeout: Some(units::duration_text(config.kmip.idle_timeout)),
                message_max: Some(units::size_text(config.kmip.message_bytes_max)),
                credentials: text(match config.kmip.settings.credentials {
                    Credentials::Ignore => "ignore",
                    Credentials::Refuse => "refuse",
                }),
                gcm_caller_iv: text(match config.kmip.settings.gcm_caller_iv {
                    CallerIvs::Accept => "accept",
                    CallerIvs::Refuse => "refuse",
                }),
            }),
            audit: Some(file::Audit {
                sync: text(match config.audit.sync {
                    SyncMode::Lifecycle => "lifecycle",
                    SyncMode::Always => "always",
                }),
            }),
            row_cache: Some(file::RowCache {
                size: Some(units::size_text(usize::try_from(config.row_cache.bytes).unwrap_or(usize::MAX))),
                life: Some(units::duration_text(config.row_cache.life)),
            }),
            memory: Some(file::Memory {
                arena: Some(units::size_text(config.memory.arena_bytes)),
                require_secretmem: Some(config.memory.require_secretmem),
            }),
            log: Some(file::Log {
                level: Some(config.log.level.as_str().to_lowercase()),
                format: text(match config.log.format {
                    LogFormat::Text => "text",
                    LogFormat::Json => "json",
                }),
            }),
        }
    }
}

/// The interval and the times.
fn schedule(schedule: &Schedule) -> (Option<String>, Option<String>) {
    match schedule {
        Schedule::OnDemand => (text(NONE), text(NONE)),
        Schedule::Every(every) => (Some(units::duration_text(*every)), text(NONE)),
        Schedule::At(calendar) => (text(NONE), text(calendar.text())),
    }
}

/// As `reencrypt.rate` has it.
pub(crate) fn rate_text(rate: Option<NonZeroU32>) -> String {
    rate.map_or_else(|| UNLIMITED.to_owned(), |rate| format!("{rate}/s"))
}

fn listener(listener: &Listener) -> file::Listener {
    file::Listener {
        bind: Some(listener.bind.to_string()),
        cert: paths(listener.certificates.iter().map(|files| &*files.cert)),
        key: paths(listener.certificates.iter().map(|files| &*files.key)),
        client_ca: path(&listener.client_ca),
        crl: listener.crl.as_deref().map_or_else(|| text(NONE), path),
        crl_grace: Some(units::duration_text(listener.crl_grace)),
    }
}

/// The rules that count on this node, and the default.
fn routing(placement: &Placement, is_needed: bool) -> Option<Vec<file::Route>> {
    let route = |class: &Class, keystore: &str| {
        let mut layers: Vec<String> =
            LAYERS.iter().filter(|(_, layer)| class.layers.contains(layer)).map(|(name, _)| (*name).to_owned()).collect();
        let layer = match layers.len() {
            0 => None,
            1 => layers.pop().map(file::OneOrMore::One),
            _ => Some(file::OneOrMore::More(layers)),
        };
        file::Route { layer, tenant: class.tenant.map(|tenant| tenant.to_string()), region: None, keystore: text(keystore) }
    };
    let rules = placement.rules().iter().map(|rule| route(&rule.class, &rule.keystore));
    let default = std::iter::once_with(|| route(&Class::default(), placement.home()));
    (is_needed || !placement.rules().is_empty()).then(|| rules.chain(default).collect())
}

fn keystore(keystore: &Keystore) -> (String, file::Keystore) {
    let Keystore { name, kind } = keystore;
    let shown = match kind {
        KeystoreKind::Postgres(database) => file::Keystore { postgres: Some(postgres(database)), ..file::Keystore::default() },
        KeystoreKind::Openbao(folder) => file::Keystore { openbao: Some(openbao(folder)), ..file::Keystore::default() },
        KeystoreKind::Grpc(plugin) => file::Keystore { grpc: Some(grpc(plugin)), ..file::Keystore::default() },
    };
    (name.to_string(), shown)
}

fn openbao(openbao: &Openbao) -> file::Openbao {
    let approle = |approle: &AppRole| file::AppRole { role_id: text(&approle.role), secret_id: Some(approle.secret.reference()) };
    file::Openbao {
        url: text(openbao.url.as_str()),
        mount: text(&openbao.mount),
        prefix: text(&openbao.prefix),
        namespace: openbao.namespace.clone(),
        ca: path(&openbao.ca),
        cert: openbao.client.as_ref().and_then(|files| path(&files.cert)),
        key: openbao.client.as_ref().and_then(|files| path(&files.key)),
        approle: openbao.approle.as_ref().map(approle),
        timeout: Some(units::duration_text(openbao.timeout)),
    }
}

fn grpc(grpc: &Grpc) -> file::Grpc {
    let timeout = Some(units::duration_text(grpc.timeout));
    match &grpc.runs {
        Runs::Unit { socket, user } => file::Grpc { socket: path(socket), user: user.clone(), timeout, ..file::Grpc::default() },
        Runs::Daemon { command, sha256, arguments } => file::Grpc {
            command: path(command),
            sha256: Some(HEXLOWER.encode(sha256)),
            args: (!arguments.is_empty()).then(|| file::OneOrMore::More(arguments.clone())),
            timeout,
            ..file::Grpc::default()
        },
    }
}

fn postgres(postgres: &Postgres) -> file::Postgres {
    file::Postgres {
        url: text(postgres.url.as_str()),
        password: postgres.password.as_ref().map(super::Credential::reference),
        ca: postgres.ca.as_deref().and_then(path),
        cert: postgres.client.as_ref().and_then(|files| path(&files.cert)),
        key: postgres.client.as_ref().and_then(|files| path(&files.key)),
        pool: u32::try_from(postgres.connections).ok(),
        timeout: Some(units::duration_text(postgres.timeout)),
    }
}

fn paths<'a>(paths: impl Iterator<Item = &'a Path>) -> Option<file::OneOrMore> {
    let mut texts: Vec<String> = paths.filter_map(path).collect();
    if texts.len() == 1 { texts.pop().map(file::OneOrMore::One) } else { Some(file::OneOrMore::More(texts)) }
}

fn custodian(custodian: &Custodian) -> file::Custodian {
    let shared = file::Custodian { name: text(&custodian.name), region: custodian.region.clone(), ..file::Custodian::default() };
    match &custodian.means {
        Means::Pkcs11(device) => file::Custodian { pkcs11: Some(pkcs11(device)), ..shared },
        Means::Tpm2(device) => file::Custodian { tpm2: Some(tpm2(device)), ..shared },
        Means::Age(recipient) => file::Custodian { age: Some(file::Age { recipient: Some(recipient.to_string()) }), ..shared },
        Means::Card(key) => {
            let oaep = OAEPS.into_iter().find(|(_, oaep)| *oaep == key.oaep()).map(|(name, _)| name.to_owned());
            file::Custodian { card: Some(file::Card { public_key: Some(key.pem()), oaep }), ..shared }
        }
        Means::Shamir(shamir) => {
            let keepers = Some(file::OneOrMore::More(shamir.keepers.clone()));
            let shamir = file::Shamir { threshold: Some(shamir.threshold.into()), keepers };
            file::Custodian { shamir: Some(shamir), ..shared }
        }
    }
}

fn pkcs11(pkcs11: &Pkcs11) -> file::Pkcs11 {
    let (token, serial) = match &pkcs11.token.name {
        hsm::TokenName::Label(label) => (text(label), None),
        hsm::TokenName::Serial(serial) => (None, text(serial)),
    };
    file::Pkcs11 {
        module: path(&pkcs11.token.module),
        token,
        serial,
        key: text(&pkcs11.key.label),
        pin: pkcs11.pin.as_ref().map(super::Credential::reference),
        environment: Some(pkcs11.environment.clone()),
    }
}

fn tpm2(tpm2: &Tpm2) -> file::Tpm2 {
    let pin = tpm2.pin.as_ref().map(|pin| match pin {
        TpmPin::Credential(credential) => credential.reference(),
        TpmPin::Typed => TYPED.to_owned(),
    });
    file::Tpm2 { tcti: text(&tpm2.tpm.tcti), pcrs: text(&pcrs_text(&tpm2.pcrs)), pin }
}

fn edge(edge: &Edge) -> file::Edge {
    let url = |upstream: &super::Upstream| format!("https://{}", upstream.authority());
    file::Edge {
        group: text(edge.group.as_str()),
        upstreams: Some(file::OneOrMore::More(edge.upstreams.iter().map(url).collect())),
        ca: path(&edge.ca),
        cert: path(&edge.cert),
        key: path(&edge.key),
        ephemeral: Some(edge.is_ephemeral),
        shared: Some(edge.is_shared),
        lease: Some(units::duration_text(edge.lease)),
        offline_ttl: Some(units::duration_text(edge.offline_ttl)),
        pool: u32::try_from(edge.pool_keys).ok(),
        cache: Some(units::size_text(edge.cache_bytes)),
        l4_ttl: Some(edge.l4_ttl.map_or_else(|| NONE.to_owned(), units::duration_text)),
    }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn path(path: &Path) -> Option<String> {
    // Every path was text in the file.
    Some(path.to_string_lossy().into_owned())
}

/// The keys whose values differ between two files.
pub(super) fn differences(one: &file::File, other: &file::File) -> Vec<String> {
    let values = |file: &file::File| {
        let mut values = BTreeMap::new();
        flatten(String::new(), serde_json::to_value(file).expect("texts, truth values, lists and maps of them always print"), &mut values);
        values
    };
    let (one, other) = (values(one), values(other));
    let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    keys.into_iter().filter(|key| one.get(*key) != other.get(*key)).cloned().collect()
}

fn flatten(key: String, value: serde_json::Value, values: &mut BTreeMap<String, serde_json::Value>) {
    use serde_json::Value::{Array, Null, Object};
    match value {
        Null => {}
        Object(map) => map.into_iter().for_each(|(name, value)| {
            flatten(if key.is_empty() { name } else { format!("{key}.{name}") }, value, values);
        }),
        Array(list) => list.into_iter().enumerate().for_each(|(index, value)| flatten(format!("{key}[{index}]"), value, values)),
        scalar => {
            values.insert(key, scalar);
        }
    }
}

/// Prints a file without the keys that it does not have.
pub(super) fn yaml(file: &file::File) -> String {
    // JSON is YAML: the loader keeps its order, which is that of the struct's fields.
    let json = serde_json::to_string(file).expect("texts, truth values, lists and maps of them always print");
    let documents = YamlLoader::load_from_str(&json).expect("every JSON text is a YAML document");
    let mut output = String::new();
    for document in documents {
        YamlEmitter::new(&mut output).dump(&without_nulls(document)).expect("writing into a String does not fail");
    }
    output.trim_start_matches("---\n").to_owned() + "\n"
}

fn without_nulls(yaml: Yaml) -> Yaml {
    match yaml {
        Yaml::Hash(map) => {
            Yaml::Hash(map.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Yaml::Array(list) => Yaml::Array(list.into_iter().map(without_nulls).collect()),
        scalar => scalar,
    }
}
