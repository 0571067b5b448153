//! From the file's texts to typed values with defaults: the only place where values are judged.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ::kmip::{CallerIvs, Credentials, Settings};
use audit::SyncMode;
use keys::id::ScopeName;
use keys::policy::NodeRole;
use secret::arena::{ARENA_BYTES_DEFAULT, ARENA_BYTES_MIN};

mod grpc;
mod openbao;
pub(super) mod routing;
mod writes;

use super::error::{ConfigError, Shown};
use super::source::Layers;
use super::{
    Admin, CertificateFiles, Config, Credential, Custodian, EMBEDDED, Edge, Ivk, Keystore, KeystoreKind, Kmip, Listener, Listeners, Log,
    LogFormat, Means, Pkcs11, Postgres, Reencrypt, Seal, Shamir, Tpm2, TpmPin, Upstream, file, units,
};
use crate::confine::hash_of_hex;
use crate::identity::Rules;
use crate::schedule::{Calendar, Schedule};

const CLUSTER_DEFAULT: &str = "strongroom";
const CLUSTER_CHARS_MAX: usize = 64;
const HEALTH_DEFAULT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5699));
/// What stands in place of an address or a file where there is to be none.
pub(super) const NONE: &str = "none";
/// What stands in place of a rate where there is none.
pub(super) const UNLIMITED: &str = "unlimited";
const RATE_MAX: u32 = 1_000_000;
/// Lies in the daemon's own folder.
const DEVICE_DEFAULT: &str = "strongroom-device";
const PROBE_INTERVAL_DEFAULT: Duration = Duration::from_secs(3600);
const IVK_SCHEDULE_DEFAULT: Schedule = Schedule::Every(Duration::from_secs(30 * 24 * 3600));
/// What an edge is told that has a section of its core.
const CORES_IVK: &str = "nothing: an edge has no Internal Versioned Key, its core rotates that";
const CORES_WALK: &str = "nothing: it holds back the walk of a core";
const ONE_SCHEDULE: &str = "nothing, or `none`: `rotate_at` says already when";
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);
const CRL_GRACE_DEFAULT: Duration = Duration::ZERO;
const CRL_GRACES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 86_400);
/// One per kind of key is enough.
const CERTIFICATES_MAX: usize = 4;
const DURATIONS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const MESSAGE_BYTES: RangeInclusive<usize> = 8 << 10..=16 << 20;
const LEASE_DEFAULT: Duration = Duration::from_secs(15);
const LEASES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
const OFFLINE_TTL_DEFAULT: Duration = Duration::from_secs(15 * 60);
const OFFLINE_TTLS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 86_400);
const L4_TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10 * 366 * 86_400);
const CALLS_PER_SECOND_DEFAULT: u32 = 100;
const CALLS_PER_SECOND: RangeInclusive<u32> = 1..=10_000;
const POOL_KEYS_DEFAULT: usize = 256;
const POOL_KEYS: RangeInclusive<usize> = 1..=16_384;
const CACHE_BYTES_DEFAULT: usize = 32 << 20;
const CACHE_BYTES: RangeInclusive<usize> = 64 << 10..=4 << 30;
const UPSTREAMS_MAX: usize = 16;
const KEYSTORE_NAME: &str = "a name of 1 to 63 of a-z, 0-9 and -";
const CONNECTIONS_DEFAULT: usize = 8;
/// One that waits for a commit must not hold up all who read.
const CONNECTIONS: RangeInclusive<usize> = 2..=256;
/// What F7 grants a keystore that does not answer.
const STORE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const STORE_TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// What F27 grants a plugin that hangs, with something left for the answer.
const PLUGIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(4);
const PLUGIN_TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(5);
const ROW_CACHE_BYTES: RangeInclusive<usize> = 0..=4 << 30;
const ROW_CACHE_BYTES_DEFAULT: usize = 16 << 20;
const ROW_LIVES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
const ROW_LIFE_DEFAULT: Duration = Duration::from_secs(30);
const NO_EDGE: &str = "no such section: it is for role `edge`";
const ARENA_BYTES: RangeInclusive<usize> = ARENA_BYTES_MIN..=1 << 30;
/// PKCS#11 v2.40, CK_TOKEN_INFO: `label` and `serialNumber` are fixed fields.
const TOKEN_LABEL_BYTES_MAX: usize = 32;
const TOKEN_SERIAL_BYTES_MAX: usize = 16;
const KEY_LABEL_BYTES_MAX: usize = 64;
const CREDENTIAL: &str = "credential:";
/// A PIN that a person types at each unseal.
pub(super) const TYPED: &str = "typed";
const TCTI_DEFAULT: &str = "device:/dev/tpmrm0";
const TCTI_BYTES_MAX: usize = 256;
/// The bank whose registers are named.
const PCR_BANK: &str = "sha256:";
/// The state of Secure Boot (TCG PC Client Platform Firmware Profile).
const PCR_DEFAULT: u8 = 7;
const PCR_MAX: u8 = 23;
const ONE_DEVICE: &str = "left out: a custodian is one of `pkcs11`, `tpm2`, `age`, `card` and `shamir`";
/// The hashes of OAEP, by the names that they have here.
pub(super) const OAEPS: [(&str, hsm::Oaep); 2] = [("sha256", hsm::Oaep::Sha256), ("sha1", hsm::Oaep::Sha1)];
/// NAME_MAX of Linux: a credential is a file.
const CREDENTIAL_NAME_BYTES_MAX: usize = 255;

/// What is wrong with which key; [`Fault::at`] says where it stands.
#[derive(Debug)]
pub struct Fault {
    key: String,
    what: What,
}

#[derive(Debug)]
enum What {
    Missing,
    Refused(String),
    /// With what to write instead.
    RefusedFor(String, &'static str),
}

impl Fault {
    fn missing(key: impl Into<String>) -> Self {
        Self { key: key.into(), what: What::Missing }
    }

    fn refused(key: impl Into<String>, value: String) -> Self {
        Self { key: key.into(), what: What::Refused(value) }
    }

    pub(super) fn at(self, layers: &Layers<'_>) -> ConfigError {
        let key = &self.key;
        match self.what {
            What::Missing => layers.missing(key),
            What::Refused(value) => layers.invalid(key, Shown::text(key, &value), None),
            What::RefusedFor(value, form) => layers.invalid(key, Shown::text(key, &value), Some(form)),
        }
    }
}

impl TryFrom<file::File> for Config {
    type Error = Fault;

    fn try_from(file: file::File) -> Result<Self, Fault> {
        let role = required("role", file.role, role)?;
        let seal = seal(file.seal.unwrap_or_default())?;
        if role == NodeRole::Edge && !seal.custodians.is_empty() {
            let what = What::RefusedFor(format!("a list of {}", seal.custodians.len()), "none: an edge seals nothing");
            return Err(Fault { key: "seal.custodians".to_owned(), what });
        }
        let edge = edge(role, file.edge)?;
        let keystores = keystores(edge.as_ref(), file.keystores.unwrap_or_default())?;
        let region = optional("region", file.region, routing::region)?;
        let placement = routing::placement(edge.as_ref(), &keystores, region.as_deref(), file.routing.unwrap_or_default())?;
        routing::may_be_shared(edge.as_ref(), &keystores, &placement)?;
        Ok(Self {
            role,
            data_dir: required("data_dir", file.data_dir, absolute)?,
            cluster: optional("cluster", file.cluster, cluster)?.unwrap_or_else(|| CLUSTER_DEFAULT.to_owned()),
            listeners: listeners(file.listeners.unwrap_or_default())?,
            identity: rules(file.identity.unwrap_or_default())?,
            seal,
            ivk: ivk(role, file.ivk.unwrap_or_default())?,
            reencrypt: reencrypt(role, file.reencrypt.unwrap_or_default())?,
            placement,
            region,
            keystores,
            edge,
            admin: admin(file.admin.unwrap_or_default())?,
            kmip: kmip(file.kmip.unwrap_or_default())?,
            audit: audit::Settings {
                sync: optional("audit.sync", file.audit.unwrap_or_default().sync, sync)?.unwrap_or(SyncMode::Lifecycle),
                ..audit::Settings::default()
            },
            row_cache: row_cache(file.row_cache.unwrap_or_default())?,
            memory: memory(file.memory.unwrap_or_default())?,
            log: log(file.log.unwrap_or_default())?,
        })
    }
}

fn ivk(role: NodeRole, raw: file::Ivk) -> Result<Ivk, Fault> {
    let file::Ivk { rotate_every, rotate_at, tenants, resources, services } = raw;
    let (tenants, resources, services) = (tenants.unwrap_or_default(), resources.unwrap_or_default(), services.unwrap_or_default());
    let told = [
        ("ivk.rotate_every", rotate_every.clone()),
        ("ivk.rotate_at", rotate_at.clone()),
        ("ivk.tenants.rotate_every", tenants.rotate_every.clone()),
        ("ivk.tenants.rotate_at", tenants.rotate_at.clone()),
        ("ivk.resources.rotate_every", resources.rotate_every.clone()),
        ("ivk.resources.rotate_at", resources.rotate_at.clone()),
        ("ivk.services.rotate_every", services.rotate_every.clone()),
        ("ivk.services.rotate_at", services.rotate_at.clone()),
        ("ivk.services.replace_expired", services.replace_expired.map(|is_wanted| is_wanted.to_string())),
    ];
    let is_edge = role == NodeRole::Edge;
    if let Some((key, value)) = told.into_iter().find_map(|(key, value)| value.filter(|_| is_edge).map(|value| (key, value))) {
        return Err(Fault { key: key.to_owned(), what: What::RefusedFor(value, CORES_IVK) });
    }
    Ok(Ivk {
        schedule: schedule("ivk", rotate_every, rotate_at, IVK_SCHEDULE_DEFAULT)?,
        tenants: schedule("ivk.tenants", tenants.rotate_every, tenants.rotate_at, Schedule::OnDemand)?,
        resources: schedule("ivk.resources", resources.rotate_every, resources.rotate_at, Schedule::OnDemand)?,
        services: schedule("ivk.services", services.rotate_every, services.rotate_at, Schedule::OnDemand)?,
        replace_expired: services.replace_expired.unwrap_or(false),
    })
}

fn reencrypt(role: NodeRole, raw: file::Reencrypt) -> Result<Reencrypt, Fault> {
    let told = [("reencrypt.rate", &raw.rate), ("reencrypt.cpu", &raw.cpu)];
    if let Some((key, Some(value))) = told.into_iter().find(|(_, value)| role == NodeRole::Edge && value.is_some()) {
        return Err(Fault { key: key.to_owned(), what: What::RefusedFor(value.clone(), CORES_WALK) });
    }
    let default = Reencrypt::default();
    Ok(Reencrypt {
        rate: optional("reencrypt.rate", raw.rate, rate)?.unwrap_or(default.rate),
        cpu: optional("reencrypt.cpu", raw.cpu, share)?.unwrap_or(default.cpu),
    })
}

/// So many a second, or as many as can be.
fn rate(text: &str) -> Option<Option<NonZeroU32>> {
    if text == UNLIMITED {
        return Some(None);
    }
    let number = digits(text.strip_suffix("/s")?)?;
    NonZeroU32::new(number).filter(|rate| rate.get() <= RATE_MAX).map(Some)
}

/// Percent.
fn share(text: &str) -> Option<u32> {
    digits(text.strip_suffix('%')?).filter(|percent| (1..=100).contains(percent))
}

fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// After an interval or at times of a calendar, but not both.
fn schedule(at: &str, every: Option<String>, times: Option<String>, default: Schedule) -> Result<Schedule, Fault> {
    let key = format!("{at}.rotate_every");
    let interval = optional(&key, every.clone(), life)?;
    match (optional(&format!("{at}.rotate_at"), times, calendar)?.flatten(), interval) {
        (Some(_), Some(Some(_))) => Err(Fault { key, what: What::RefusedFor(every.unwrap_or_default(), ONE_SCHEDULE) }),
        (Some(calendar), _) => Ok(Schedule::At(Box::new(calendar))),
        (None, Some(Some(every))) => Ok(Schedule::Every(every)),
        (None, Some(None)) => Ok(Schedule::OnDemand),
        (None, None) => Ok(default),
    }
}

/// Times, or none.
fn calendar(text: &str) -> Option<Option<Calendar>> {
    if text == NONE { Some(None) } else { Calendar::parse(text).map(Some) }
}

fn listeners(raw: file::Listeners) -> Result<Listeners, Fault> {
    let one = |name: &str, raw: Option<file::Listener>| raw.map(|raw| listener(&format!("listeners.{name}"), raw)).transpose();
    let health = raw.health.unwrap_or_default().bind;
    Ok(Listeners {
        kmip: one("kmip", raw.kmip)?,
        https: one("https", raw.https)?,
        admin: one("admin", raw.admin)?,
        health: optional("listeners.health.bind", health, health_socket)?.unwrap_or(Some(HEALTH_DEFAULT)),
    })
}

/// An address, or none.
fn health_socket(text: &str) -> Option<Option<SocketAddr>> {
    if text == NONE { Some(None) } else { text.parse().ok().map(Some) }
}

fn listener(at: &str, raw: file::Listener) -> Result<Listener, Fault> {
    Ok(Listener {
        bind: required(&format!("{at}.bind"), raw.bind, |text| text.parse().ok())?,
        certificates: certificates(at, raw.cert, raw.key)?,
        client_ca: required(&format!("{at}.client_ca"), raw.client_ca, absolute)?,
        crl: required(&format!("{at}.crl"), raw.crl, |text| if text == NONE { Some(None) } else { absolute(text).map(Some) })?,
        crl_grace: optional(&format!("{at}.crl_grace"), raw.crl_grace, grace)?.unwrap_or(CRL_GRACE_DEFAULT),
    })
}

/// The first certificate with the first key, and so on.
fn certificates(at: &str, certs: Option<file::OneOrMore>, keys: Option<file::OneOrMore>) -> Result<Vec<CertificateFiles>, Fault> {
    let (certs, keys) = (files(&format!("{at}.cert"), certs)?, files(&format!("{at}.key"), keys)?);
    if certs.len() != keys.len() {
        let what = format!("a list of {}", keys.len());
        return Err(Fault {
            key: format!("{at}.key"),
            what: What::RefusedFor(what, "as many keys as there are in `cert`, in the same order"),
        });
    }
    Ok(certs.into_iter().zip(keys).map(|(cert, key)| CertificateFiles { cert, key }).collect())
}

fn files(at: &str, raw: Option<file::OneOrMore>) -> Result<Vec<PathBuf>, Fault> {
    match raw {
        None => Err(Fault::missing(at)),
        Some(file::OneOrMore::One(text)) => Ok(vec![required(at, Some(text), absolute)?]),
        Some(file::OneOrMore::More(texts)) if texts.is_empty() || texts.len() > CERTIFICATES_MAX => {
            Err(Fault::refused(at, format!("a list of {}", texts.len())))
        }
        Some(file::OneOrMore::More(texts)) => {
            texts.into_iter().enumerate().map(|(index, text)| required(&format!("{at}[{index}]"), Some(text), absolute)).collect()
        }
    }
}

fn rules(raw: file::Identity) -> Result<Rules, Fault> {
    let Some(texts) = raw.rules else { return Ok(Rules::default()) };
    Rules::parse(texts).map_err(|bad| {
        let rule = format!("identity.rules[{}]", bad.index);
        let key = if bad.field.is_empty() { rule } else { format!("{rule}.{}", bad.field) };
        Fault { key, what: What::RefusedFor(bad.value, bad.wants) }
    })
}

/// Those that are elsewhere; the file below `data_dir` has no section.
fn keystores(edge: Option<&Edge>, raw: BTreeMap<String, file::Keystore>) -> Result<Vec<Keystore>, Fault> {
    if edge.is_some_and(|edge| edge.is_ephemeral) && !raw.is_empty() {
        let what = What::RefusedFor(format!("a map of {}", raw.len()), "no keystore: this edge is ephemeral (edge.ephemeral)");
        return Err(Fault { key: "keystores".to_owned(), what });
    }
    let one = |(name, raw): (String, file::Keystore)| {
        let at = format!("keystores.{name}");
        if name == EMBEDDED {
            return Err(Fault {
                key: at,
                what: What::RefusedFor(name, "another name: `embedded` is the node's own file, without a section"),
            });
        }
        let name: ScopeName = name.parse().map_err(|_| Fault { key: at.clone(), what: What::RefusedFor(name, KEYSTORE_NAME) })?;
        let kind = kind(&at, raw)?;
        Ok(Keystore { name, kind })
    };
    raw.into_iter().map(one).collect()
}

/// Of which kind a keystore is: exactly one.
fn kind(at: &str, raw: file::Keystore) -> Result<KeystoreKind, Fault> {
    let file::Keystore { postgres: database, openbao: folder, grpc: plugin } = raw;
    match (database, folder, plugin) {
        (None, Some(folder), None) => Ok(KeystoreKind::Openbao(openbao::openbao(&format!("{at}.openbao"), folder)?)),
        (None, None, Some(plugin)) => Ok(KeystoreKind::Grpc(grpc::grpc(&format!("{at}.grpc"), plugin)?)),
        (database, None, None) => Ok(KeystoreKind::Postgres(postgres(&format!("{at}.postgres"), database.unwrap_or_default())?)),
        _ => {
            let what = What::RefusedFor("two kinds".to_owned(), "`postgres`, `openbao` or `grpc`: a keystore is of one kind");
            Err(Fault { key: at.to_owned(), what })
        }
    }
}

fn row_cache(raw: file::RowCache) -> Result<storage::cached::Settings, Fault> {
    let bytes = optional("row_cache.size", raw.size, |text| size(text, &ROW_CACHE_BYTES))?.unwrap_or(ROW_CACHE_BYTES_DEFAULT);
    let life = optional("row_cache.life", raw.life, |text| within(text, &ROW_LIVES))?.unwrap_or(ROW_LIFE_DEFAULT);
    Ok(storage::cached::Settings { bytes: bytes as u64, life })
}

fn postgres(at: &str, raw: file::Postgres) -> Result<Postgres, Fault> {
    let key = |name: &str| format!("{at}.{name}");
    let url: storage::postgres::Url = required(&key("url"), raw.url, |text| text.parse().ok())?;
    let mut files = [("ca", raw.ca), ("cert", raw.cert), ("key", raw.key)].into_iter();
    if let Some((name, Some(told))) = files.clone().find(|(_, told)| url.is_local() && told.is_some()) {
        return Err(Fault { key: key(name), what: What::RefusedFor(told, "nothing: a Unix socket is reached without TLS") });
    }
    let mut next = || files.next().map_or(Ok(None), |(name, told)| optional(&key(name), told, absolute));
    let (ca, cert, own_key) = (next()?, next()?, next()?);
    if ca.is_none() && !url.is_local() {
        return Err(Fault::missing(key("ca")));
    }
    let client = match (cert, own_key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(CertificateFiles { cert, key }),
        (None, Some(_)) => return Err(Fault::missing(key("cert"))),
        (Some(_), None) => return Err(Fault::missing(key("key"))),
    };
    let connections = raw.pool.map_or(Ok(CONNECTIONS_DEFAULT), |pool| {
        let count = usize::try_from(pool).ok().filter(|count| CONNECTIONS.contains(count));
        count.ok_or_else(|| Fault::refused(key("pool"), pool.to_string()))
    })?;
    Ok(Postgres {
        url,
        password: optional(&key("password"), raw.password, credential)?,
        ca,
        client,
        connections,
        timeout: optional(&key("timeout"), raw.timeout, |text| within(text, &STORE_TIMEOUTS))?.unwrap_or(STORE_TIMEOUT_DEFAULT),
    })
}

fn seal(raw: file::Seal) -> Result<Seal, Fault> {
    let mut seen = HashSet::new();
    let mut custodians = Vec::new();
    for (index, raw) in raw.custodians.unwrap_or_default().into_iter().enumerate() {
        let custodian = custodian(&format!("seal.custodians[{index}]"), raw)?;
        if !seen.insert(custodian.name.clone()) {
            return Err(Fault::refused(format!("seal.custodians[{index}].name"), custodian.name));
        }
        custodians.push(custodian);
    }
    same_environment(&custodians)?;
    keepers_are_known(&custodians)?;
    Ok(Seal {
        device: optional("seal.device", raw.device, device)?.unwrap_or_else(|| DEVICE_DEFAULT.into()),
        writes: writes::writes(raw.writes)?,
        probe_interval: optional("seal.probe_interval", raw.probe_interval, duration)?.unwrap_or(PROBE_INTERVAL_DEFAULT),
        custodians,
    })
}

fn custodian(at: &str, raw: file::Custodian) -> Result<Custodian, Fault> {
    let name = required(&format!("{at}.name"), raw.name, |text| text.parse::<seal::Label>().ok())?.to_string();
    let second = |kind: &str| Fault { key: format!("{at}.{kind}"), what: What::RefusedFor("a map".to_owned(), ONE_DEVICE) };
    let region = optional(&format!("{at}.region"), raw.region, |text| text.parse::<seal::Label>().ok())?.map(|region| region.to_string());
    let mut all: Vec<(&str, Means)> = Vec::new();
    if let Some(raw) = raw.pkcs11 {
        all.push(("pkcs11", Means::Pkcs11(pkcs11(&format!("{at}.pkcs11"), raw)?)));
    }
    if let Some(raw) = raw.tpm2 {
        all.push(("tpm2", Means::Tpm2(tpm2(&format!("{at}.tpm2"), raw)?)));
    }
    if let Some(raw) = raw.age {
        all.push(("age", Means::Age(required(&format!("{at}.age.recipient"), raw.recipient, |text| text.parse().ok())?)));
    }
    if let Some(raw) = raw.card {
        all.push(("card", Means::Card(card(&format!("{at}.card"), raw)?)));
    }
    if let Some(raw) = raw.shamir {
        all.push(("shamir", Means::Shamir(shamir(&format!("{at}.shamir"), raw)?)));
    }
    let mut all = all.into_iter();
    let (_, means) = all.next().ok_or_else(|| Fault::missing(format!("{at}.pkcs11")))?;
    all.next().map_or(Ok(()), |(kind, _)| Err(second(kind)))?;
    Ok(Custodian { name, region, means })
}

fn card(at: &str, raw: file::Card) -> Result<seal::CardKey, Fault> {
    let oaep = optional(&format!("{at}.oaep"), raw.oaep, |text| OAEPS.into_iter().find(|(name, _)| *name == text).map(|(_, oaep)| oaep))?;
    let oaep = oaep.unwrap_or(hsm::Oaep::Sha256);
    required(&format!("{at}.public_key"), raw.public_key, |text| seal::CardKey::from_pem(text, oaep).ok())
}

fn shamir(at: &str, raw: file::Shamir) -> Result<Shamir, Fault> {
    let keepers = match raw.keepers.ok_or_else(|| Fault::missing(format!("{at}.keepers")))? {
        file::OneOrMore::One(one) => vec![one],
        file::OneOrMore::More(keepers) => keepers,
    };
    let distinct: HashSet<&String> = keepers.iter().collect();
    if distinct.len() != keepers.len() || !(2..=seal::KEEPERS_MAX).contains(&keepers.len()) {
        return Err(Fault::refused(format!("{at}.keepers"), keepers.join(", ")));
    }
    let threshold = raw.threshold.ok_or_else(|| Fault::missing(format!("{at}.threshold")))?;
    let fits = u8::try_from(threshold).ok().filter(|threshold| (2..=keepers.len()).contains(&usize::from(*threshold)));
    let threshold = fits.ok_or_else(|| Fault::refused(format!("{at}.threshold"), threshold.to_string()))?;
    Ok(Shamir { threshold, keepers })
}

/// Keepers are devices and people of the same list.
fn keepers_are_known(custodians: &[Custodian]) -> Result<(), Fault> {
    let is_known = |name: &String| custodians.iter().any(|other| other.name == *name && !matches!(other.means, Means::Shamir(_)));
    for (index, custodian) in custodians.iter().enumerate() {
        if let Means::Shamir(Shamir { keepers, .. }) = &custodian.means
            && let Some(unknown) = keepers.iter().find(|keeper| !is_known(keeper))
        {
            return Err(Fault::refused(format!("seal.custodians[{index}].shamir.keepers"), unknown.clone()));
        }
    }
    Ok(())
}

fn tpm2(at: &str, raw: file::Tpm2) -> Result<Tpm2, Fault> {
    let tcti = optional(&format!("{at}.tcti"), raw.tcti, |text| label(text, TCTI_BYTES_MAX))?;
    Ok(Tpm2 {
        tpm: hsm::Tpm { tcti: tcti.unwrap_or_else(|| TCTI_DEFAULT.to_owned()) },
        pcrs: optional(&format!("{at}.pcrs"), raw.pcrs, pcrs)?.unwrap_or_else(|| vec![PCR_DEFAULT]),
        pin: optional(&format!("{at}.pin"), raw.pin, |text| match text {
            TYPED => Some(TpmPin::Typed),
            other => credential(other).map(TpmPin::Credential),
        })?,
    })
}

/// Registers as [`pcrs`] reads them.
#[must_use]
pub fn pcrs_text(pcrs: &[u8]) -> String {
    let pcrs: Vec<String> = pcrs.iter().map(ToString::to_string).collect();
    format!("{PCR_BANK}{}", pcrs.join(","))
}

/// Registers of the SHA-256 bank, ascending, as `sha256:7,14`.
#[must_use]
pub fn pcrs(text: &str) -> Option<Vec<u8>> {
    let pcrs: Vec<u8> =
        text.strip_prefix(PCR_BANK)?.split(',').map(|pcr| pcr.parse().ok().filter(|pcr| *pcr <= PCR_MAX)).collect::<Option<_>>()?;
    pcrs.windows(2).all(|pair| pair[0] < pair[1]).then_some(pcrs)
}

fn pkcs11(at: &str, raw: file::Pkcs11) -> Result<Pkcs11, Fault> {
    let module = required(&format!("{at}.module"), raw.module, absolute)?;
    let token_label = optional(&format!("{at}.token"), raw.token, |text| label(text, TOKEN_LABEL_BYTES_MAX))?;
    let serial = optional(&format!("{at}.serial"), raw.serial, |text| label(text, TOKEN_SERIAL_BYTES_MAX))?;
    let token = match (token_label, serial) {
        (Some(label), None) => hsm::TokenName::Label(label),
        (None, Some(serial)) => hsm::TokenName::Serial(serial),
        (None, None) => return Err(Fault::missing(format!("{at}.token"))),
        (Some(_), Some(serial)) => return Err(Fault::refused(format!("{at}.serial"), serial)),
    };
    let key = required(&format!("{at}.key"), raw.key, |text| label(text, KEY_LABEL_BYTES_MAX))?;
    Ok(Pkcs11 {
        token: hsm::Token { module, name: token },
        key: hsm::KeyName { label: key, id: None },
        pin: optional(&format!("{at}.pin"), raw.pin, credential)?,
        environment: environment(&format!("{at}.environment"), raw.environment.unwrap_or_default())?,
    })
}

fn environment(at: &str, variables: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Fault> {
    let form = "a variable's name without `=`, and a value without NUL";
    match variables.iter().find(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')) {
        Some((name, value)) => Err(Fault { key: at.to_owned(), what: What::RefusedFor(format!("{name}={value}"), form) }),
        None => Ok(variables),
    }
}

/// One device process serves every custodian, so a variable has one value.
fn same_environment(custodians: &[Custodian]) -> Result<(), Fault> {
    let form = "the same value of a variable in every custodian that sets it, because one device process serves them all";
    let mut set: BTreeMap<&str, &str> = BTreeMap::new();
    for (index, custodian) in custodians.iter().enumerate() {
        for (name, value) in custodian.environment() {
            if *set.entry(name).or_insert(value) != value {
                let key = format!("seal.custodians[{index}].pkcs11.environment");
                return Err(Fault { key, what: What::RefusedFor(format!("{name}={value}"), form) });
            }
        }
    }
    Ok(())
}

fn role(text: &str) -> Option<NodeRole> {
    match text {
        "core" => Some(NodeRole::Core),
        "edge" => Some(NodeRole::Edge),
        _ => None,
    }
}

fn edge(role: NodeRole, raw: Option<file::Edge>) -> Result<Option<Edge>, Fault> {
    let raw = match (role, raw) {
        (NodeRole::Core, None) => return Ok(None),
        (NodeRole::Core, Some(_)) => return Err(Fault { key: "edge".to_owned(), what: What::RefusedFor("a map".to_owned(), NO_EDGE) }),
        (NodeRole::Edge, raw) => raw.unwrap_or_default(),
    };
    let pool_keys = raw.pool.map_or(Ok(POOL_KEYS_DEFAULT), |keys| {
        let count = usize::try_from(keys).ok().filter(|keys| POOL_KEYS.contains(keys));
        count.ok_or_else(|| Fault::refused("edge.pool", keys.to_string()))
    })?;
    Ok(Some(Edge {
        group: required("edge.group", raw.group, |text| text.parse().ok())?,
        upstreams: upstreams(raw.upstreams)?,
        ca: required("edge.ca", raw.ca, absolute)?,
        cert: required("edge.cert", raw.cert, absolute)?,
        key: required("edge.key", raw.key, absolute)?,
        is_ephemeral: raw.ephemeral.unwrap_or(false),
        is_shared: raw.shared.unwrap_or(false),
        lease: optional("edge.lease", raw.lease, |text| within(text, &LEASES))?.unwrap_or(LEASE_DEFAULT),
        offline_ttl: optional("edge.offline_ttl", raw.offline_ttl, |text| within(text, &OFFLINE_TTLS))?.unwrap_or(OFFLINE_TTL_DEFAULT),
        pool_keys,
        cache_bytes: optional("edge.cache", raw.cache, |text| size(text, &CACHE_BYTES))?.unwrap_or(CACHE_BYTES_DEFAULT),
        l4_ttl: optional("edge.l4_ttl", raw.l4_ttl, life)?.unwrap_or(None),
    }))
}

fn upstreams(raw: Option<file::OneOrMore>) -> Result<Vec<Upstream>, Fault> {
    let texts = match raw {
        None => return Err(Fault::missing("edge.upstreams")),
        Some(file::OneOrMore::One(text)) => return Ok(vec![required("edge.upstreams", Some(text), upstream)?]),
        Some(file::OneOrMore::More(texts)) => texts,
    };
    if texts.is_empty() || texts.len() > UPSTREAMS_MAX {
        return Err(Fault::refused("edge.upstreams", format!("a list of {}", texts.len())));
    }
    texts.into_iter().enumerate().map(|(index, text)| required(&format!("edge.upstreams[{index}]"), Some(text), upstream)).collect()
}

/// `https://HOST:PORT`, with or without a slash behind it.
fn upstream(text: &str) -> Option<Upstream> {
    let uri: hyper::Uri = text.parse().ok()?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let is_bare = uri.scheme_str() == Some("https") && uri.path() == "/" && uri.query().is_none();
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_name = rustls::pki_types::ServerName::try_from(host.clone()).is_ok();
    authority.port_u16().filter(|port| is_bare && is_name && *port > 0).map(|port| Upstream { host, port })
}

/// A duration, or none.
fn life(text: &str) -> Option<Option<Duration>> {
    if text == NONE { Some(None) } else { within(text, &L4_TTLS).map(Some) }
}

fn within(text: &str, range: &RangeInclusive<Duration>) -> Option<Duration> {
    units::duration(text).filter(|duration| range.contains(duration))
}

fn admin(raw: file::Admin) -> Result<Admin, Fault> {
    let calls = raw.calls_per_second.unwrap_or(CALLS_PER_SECOND_DEFAULT);
    let allowed = NonZeroU32::new(calls).filter(|_| CALLS_PER_SECOND.contains(&calls));
    Ok(Admin { calls_per_second: allowed.ok_or_else(|| Fault::refused("admin.calls_per_second", calls.to_string()))? })
}

fn kmip(raw: file::Kmip) -> Result<Kmip, Fault> {
    Ok(Kmip {
        idle_timeout: optional("kmip.idle_timeout", raw.idle_timeout, duration)?.unwrap_or(IDLE_TIMEOUT_DEFAULT),
        message_bytes_max: optional("kmip.message_max", raw.message_max, |text| size(text, &MESSAGE_BYTES))?
            .unwrap_or(::kmip::MESSAGE_BYTES_MAX),
        settings: Settings {
            credentials: optional("kmip.credentials", raw.credentials, credentials)?.unwrap_or(Credentials::Ignore),
            gcm_caller_iv: optional("kmip.gcm_caller_iv", raw.gcm_caller_iv, caller_ivs)?.unwrap_or(CallerIvs::Accept),
        },
    })
}

fn memory(raw: file::Memory) -> Result<secret::Settings, Fault> {
    Ok(secret::Settings {
        arena_bytes: optional("memory.arena", raw.arena, |text| size(text, &ARENA_BYTES))?.unwrap_or(ARENA_BYTES_DEFAULT),
        require_secretmem: raw.require_secretmem.unwrap_or(false),
    })
}

fn log(raw: file::Log) -> Result<Log, Fault> {
    Ok(Log {
        level: optional("log.level", raw.level, level)?.unwrap_or(tracing::Level::INFO),
        format: optional("log.format", raw.format, format)?.unwrap_or(LogFormat::Text),
    })
}

fn optional<T>(key: &str, text: Option<String>, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Fault> {
    text.map(|text| parse(&text).ok_or_else(|| Fault::refused(key, text))).transpose()
}

fn required<T>(key: &str, text: Option<String>, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Fault> {
    optional(key, text, parse)?.ok_or_else(|| Fault::missing(key))
}

fn absolute(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    (path.is_absolute() && !text.contains('\0')).then_some(path)
}

fn device(text: &str) -> Option<PathBuf> {
    let name = !text.is_empty() && !text.contains(['/', '\0']) && !matches!(text, "." | "..");
    absolute(text).or_else(|| name.then(|| text.into()))
}

fn label(text: &str, bytes_max: usize) -> Option<String> {
    let fits = !text.trim().is_empty() && text.len() <= bytes_max && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

fn cluster(text: &str) -> Option<String> {
    let fits = !text.trim().is_empty() && text.chars().count() <= CLUSTER_CHARS_MAX && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// `credential:NAME`. A name that could leave the folder, or hide in it, is none.
fn credential(text: &str) -> Option<Credential> {
    let name = text.strip_prefix(CREDENTIAL)?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (plain && !name.is_empty() && !name.starts_with('.') && name.len() <= CREDENTIAL_NAME_BYTES_MAX).then(|| Credential(name.to_owned()))
}

impl Credential {
    /// How the file refers to it.
    pub(super) fn reference(&self) -> String {
        format!("{CREDENTIAL}{}", self.0)
    }
}

fn grace(text: &str) -> Option<Duration> {
    within(text, &CRL_GRACES)
}

fn duration(text: &str) -> Option<Duration> {
    within(text, &DURATIONS)
}

fn size(text: &str, range: &RangeInclusive<usize>) -> Option<usize> {
    units::size(text).filter(|bytes| range.contains(bytes))
}

fn sync(text: &str) -> Option<SyncMode> {
    match text {
        "lifecycle" => Some(SyncMode::Lifecycle),
        "always" => Some(SyncMode::Always),
        _ => None,
    }
}

fn credentials(text: &str) -> Option<Credentials> {
    match text {
        "ignore" => Some(Credentials::Ignore),
        "refuse" => Some(Credentials::Refuse),
        _ => None,
    }
}

fn caller_ivs(text: &str) -> Option<CallerIvs> {
    match text {
        "accept" => Some(CallerIvs::Accept),
        "refuse" => Some(CallerIvs::Refuse),
        _ => None,
    }
}

fn level(text: &str) -> Option<tracing::Level> {
    use tracing::Level;
    [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE].into_iter().find(|level| level.as_str().to_lowercase() == text)
}

fn format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}
