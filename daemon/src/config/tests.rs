//! Whole files with whole environments: what loads, what is refused, and in which words.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::kmip::Credentials;
use keys::id::{Layer, TenantId};
use serde_json::Value;
use storage::routed::{Class, Placement, Rule};
use uuid::Uuid;

use super::key::KEYS;
use super::{CertificateFiles, Config, ConfigError, File, Keystore, KeystoreKind, LogFormat, Means, Postgres, Reencrypt, source};
use crate::schedule::Schedule;

const EXAMPLE: &str = include_str!("../../../docs/config.example.yaml");
const EDGE_EXAMPLE: &str = include_str!("../../../docs/config.edge.example.yaml");
const LEAST: &str = "role: core\ndata_dir: /var/lib/strongroom\n";
const CUSTODIAN: &str = "seal: {custodians: [{name: a, pkcs11: {module: /m.so, token: t, key: k, pin: 'credential:p'}}]}\n";
const KMIP: &str = "listeners: {kmip: {bind: '127.0.0.1:0', cert: /c, key: /k, client_ca: /ca, crl: none}}\n";

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, text).expect("the file can be written");
    Config::load(&file, environment.iter().map(|(name, value)| (name.into(), value.into())))
}

/// The refusal of [`LEAST`] with `more` behind it, as one line.
#[track_caller]
fn refused(more: &str, environment: &[(&str, &str)]) -> String {
    load(&(LEAST.to_owned() + more), environment).expect_err("it must be refused").to_string()
}

#[track_caller]
fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "`{error}` does not say `{part}`");
    }
}

/// Where each keystore of the example begins.
const KEYSTORE: &str = "  #main:";

/// The example with every key that is commented out put in place: `#key`, or `#  key` further down in an indented block.
fn whole_example() -> String {
    whole(&with_keystore(EXAMPLE, 0))
}

/// The example with one of the keystores that it shows, which all have the same name: each kind is there.
fn with_keystore(example: &str, number: usize) -> String {
    let (mut seen, mut is_left_out) = (0, false);
    let mut stays = |line: &&str| {
        if *line == KEYSTORE {
            is_left_out = seen != number;
            seen += 1;
        } else if !line.starts_with("  #  ") {
            is_left_out = false;
        }
        !is_left_out
    };
    example.lines().filter(|line| stays(line)).collect::<Vec<_>>().join("\n")
}

fn whole(example: &str) -> String {
    let uncommented = |line: &str| match line.trim_start().strip_prefix('#') {
        Some(rest) if !rest.is_empty() && (!rest.starts_with(' ') || (line.starts_with(' ') && rest.starts_with("  "))) => {
            line.replacen('#', "", 1)
        }
        _ => line.to_owned(),
    };
    example.lines().map(uncommented).collect::<Vec<_>>().join("\n")
}

fn leaves(value: &Value, path: &str, found: &mut BTreeSet<String>, names: &mut BTreeSet<String>) {
    let free = path.ends_with(".subject") || path.ends_with(".environment") || path == "keystores";
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let name = if free { "*" } else { name };
                leaves(value, &if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }, found, names);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| leaves(value, &format!("{path}[]"), found, names)),
        Value::Null => {
            names.insert(path.to_owned());
        }
        _ => {
            names.insert(path.to_owned());
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn the_examples_set_every_key_of_the_file_and_of_the_table() {
    let (mut found, mut names) = (BTreeSet::new(), BTreeSet::new());
    let keystores = EXAMPLE.lines().filter(|line| *line == KEYSTORE).count();
    let cores = (0..keystores).map(|number| with_keystore(EXAMPLE, number));
    for example in cores.chain([EDGE_EXAMPLE.to_owned()]) {
        let (_, file) = source::Layers::read(Path::new("example"), &whole(&example), []).expect("the whole example is well-formed");
        let json = serde_json::to_value(&file).expect("a file always prints");
        leaves(&json, "", &mut found, &mut names);
        Config::try_from(file).expect("the whole example is accepted");
    }
    // A key that is somewhere null and somewhere set, as in two custodians, is set. A null map or list would show up as a name here.
    let is_set =
        |name: &str| found.iter().any(|key| key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])));
    let unset: Vec<_> = names.iter().filter(|name| !is_set(name)).collect();
    assert_eq!(unset, Vec::<&String>::new(), "keys of the file that the example does not set");
    // A list that stands in place of one value.
    let found: BTreeSet<_> = found.iter().map(|key| key.strip_suffix("[]").unwrap_or(key).to_owned()).collect();
    let table: BTreeSet<_> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(found, table);
}

#[test]
fn the_example_loads_as_it_stands() {
    let config = load(EXAMPLE, &[]).expect("the example loads");
    assert_eq!(config.data_dir, Path::new("/var/lib/strongroom"));
    assert_eq!(config.seal.custodians.len(), 1);
}

#[test]
fn the_commented_values_of_the_example_are_the_defaults() {
    let head = |text: &str| load(text, &[]).expect("it loads");
    assert_eq!(format!("{:?}", head(EDGE_EXAMPLE)), format!("{:?}", head(&whole(EDGE_EXAMPLE))));
    let (plain, mut whole) = (head(EXAMPLE), head(&whole_example()));
    whole.seal.custodians.truncate(1);
    whole.identity = plain.identity.clone();
    (whole.listeners.https, whole.listeners.admin, whole.region) = (None, None, None);
    (whole.keystores, whole.placement) = (plain.keystores.clone(), plain.placement.clone());
    assert_eq!(format!("{plain:?}"), format!("{whole:?}"));
}

#[test]
fn role_and_data_dir_are_enough() {
    let config = load(LEAST, &[]).expect("the least file loads");
    assert!(config.listeners.kmip.is_none() && config.listeners.https.is_none() && config.listeners.admin.is_none());
    assert_eq!(config.listeners.health, "127.0.0.1:5699".parse().ok());
    assert!(config.seal.custodians.is_empty());
    assert_eq!(config.seal.probe_interval, Duration::from_secs(3600));
    assert_eq!(config.ivk.schedule, Schedule::Every(Duration::from_secs(30 * 24 * 3600)));
    assert!(config.seal.writes.is_empty());
    assert_eq!(config.seal.device(Path::new("/usr/bin")), Path::new("/usr/bin/strongroom-device"));
    assert_eq!(config.admin.calls_per_second.get(), 100);
    assert_eq!(config.kmip.idle_timeout, Duration::from_secs(3600));
    assert_eq!(config.kmip.message_bytes_max, 1 << 20);
    assert_eq!(config.kmip.settings.credentials, Credentials::Ignore);
    assert_eq!(config.memory.arena_bytes, 2 << 20);
    assert!(!config.memory.require_secretmem);
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(config.identity.texts().count(), 1);
}

#[test]
fn the_health_listener_can_be_turned_off() {
    let config = load(&(LEAST.to_owned() + "listeners: {health: {bind: none}}\n"), &[]).expect("it loads");
    assert_eq!(config.listeners.health, None);
    assert!(config.to_yaml().contains("bind: none"), "{}", config.to_yaml());
    let config = load(LEAST, &[("STRONGROOM__LISTENERS__HEALTH__BIND", "[::1]:9")]).expect("it loads");
    assert_eq!(config.listeners.health, "[::1]:9".parse().ok());
}

#[test]
fn the_ivk_is_rotated_after_an_interval_or_at_times_and_not_both() {
    let schedule = |text: &str| load(&(LEAST.to_owned() + text), &[]).expect("it loads").ivk.schedule;
    assert_eq!(schedule("ivk: {rotate_every: none}"), Schedule::OnDemand);
    for text in ["ivk: {rotate_at: '0 3 1 * *'}", "ivk: {rotate_at: '0 3 1 * *', rotate_every: none}"] {
        assert!(matches!(schedule(text), Schedule::At(calendar) if calendar.text() == "0 3 1 * *"), "{text}");
    }
    let config = load(
        &(LEAST.to_owned()
            + "ivk: {tenants: {rotate_every: 1year}, resources: {rotate_every: 90days}, services: {rotate_at: '0 3 * * SUN', replace_expired: true}}"),
        &[],
    );
    let ivk = config.expect("it loads").ivk;
    assert_eq!((ivk.schedule, ivk.replace_expired), (Schedule::Every(Duration::from_secs(30 * 24 * 3600)), true));
    assert!(matches!((ivk.tenants, ivk.services), (Schedule::Every(_), Schedule::At(_))));
    assert_eq!(ivk.resources, Schedule::Every(Duration::from_secs(90 * 24 * 3600)));
    let both = refused("ivk: {rotate_at: '0 3 1 * *', rotate_every: 7days}", &[]);
    says(&both, &["`ivk.rotate_every` is \"7days\"", "`rotate_at` says already when"]);
    for (key, value) in [
        ("rotate_at", "0 3 1 * *"),
        ("tenants.rotate_every", "30days"),
        ("resources.rotate_every", "30days"),
        ("resources.rotate_at", "0 3 1 * *"),
        ("services.rotate_at", "0 3 1 * *"),
        ("services.replace_expired", "true"),
    ] {
        let variable = format!("STRONGROOM__IVK__{}", key.replace('.', "__").to_uppercase());
        let edge = load(EDGE, &[(&variable, value)]).expect_err("an edge has no IVK").to_string();
        says(&edge, &[&format!("`ivk.{key}` is \"{value}\""), "its core rotates that"]);
    }
}

const POSTGRES: &str = "keystores: {main: {postgres: {url: 'postgresql://strongroom@db:5432/keys', ca: /ca.pem}}}\n";

#[test]
fn rows_are_kept_in_a_file_or_in_one_database() {
    assert_eq!(load(LEAST, &[]).expect("it loads").keystores, vec![]);
    assert_eq!(load(&(LEAST.to_owned() + "keystores: {}\n"), &[]).expect("it loads").placement, Placement::at("embedded"));
    let text = LEAST.to_owned() + POSTGRES;
    let keystore = |environment: &[(&str, &str)]| load(&text, environment).expect("it loads").keystores.pop().expect("there is one");
    let plain = keystore(&[]);
    let database = |keystore: Keystore| match keystore.kind {
        KeystoreKind::Postgres(database) => database,
        KeystoreKind::Openbao(_) | KeystoreKind::Grpc(_) => panic!("it is a database"),
    };
    assert_eq!(plain.name.as_str(), "main");
    let Postgres { url, password, ca, client, connections, timeout } = database(plain);
    assert_eq!(url.as_str(), "postgresql://strongroom@db:5432/keys");
    assert_eq!((password, ca, client), (None, Some("/ca.pem".into()), None));
    assert_eq!((connections, timeout), (8, Duration::from_secs(5)));
    let told = keystore(&[("STRONGROOM__KEYSTORES__MAIN__POSTGRES__POOL", "20"), ("STRONGROOM__KEYSTORES__MAIN__POSTGRES__TIMEOUT", "2s")]);
    let told = database(told);
    assert_eq!((told.connections, told.timeout), (20, Duration::from_secs(2)));
    let whole = text.replace("ca: /ca.pem", "password: 'credential:db', ca: /ca.pem, cert: /c.pem, key: /k.pem, pool: 2, timeout: 100ms");
    let local = text.replace("db:5432", "%2Frun%2Fpostgresql").replace(", ca: /ca.pem", "");
    for text in [&text, &whole, &local] {
        let config = load(text, &[]).expect("it loads");
        let again = load(&config.to_yaml(), &[]).expect("what is shown loads");
        assert_eq!((again.keystores, again.placement), (config.keystores.clone(), Placement::at("main")), "{}", config.to_yaml());
    }
}

const OPENBAO: &str =
    "keystores: {main: {openbao: {url: 'https://bao:8200', ca: /ca.pem, approle: {role_id: r, secret_id: 'credential:s'}}}}\n";

#[test]
fn rows_are_kept_in_a_folder_of_openbao() {
    let keystore = |text: &str| load(&(LEAST.to_owned() + text), &[]).expect("it loads").keystores.pop().expect("there is one");
    let folder = |text: &str| match keystore(text).kind {
        KeystoreKind::Openbao(folder) => folder,
        KeystoreKind::Postgres(_) | KeystoreKind::Grpc(_) => panic!("it is OpenBao's"),
    };
    let plain = folder(OPENBAO);
    assert_eq!((plain.url.as_str(), plain.mount.as_str(), plain.prefix.as_str()), ("https://bao:8200", "strongroom", "keys"));
    assert_eq!((plain.namespace.clone(), plain.client.clone(), plain.timeout), (None, None, Duration::from_secs(4)));
    let by_certificate = OPENBAO.replace("approle: {role_id: r, secret_id: 'credential:s'}", "cert: /c.pem, key: /k.pem");
    assert_eq!(folder(&by_certificate).approle, None);
    let whole =
        OPENBAO.replace("ca: /ca.pem", "ca: /ca.pem, cert: /c.pem, key: /k.pem, mount: a/b, prefix: c/d-1, namespace: e/f, timeout: 100ms");
    assert_eq!((folder(&whole).mount.as_str(), folder(&whole).namespace.as_deref()), ("a/b", Some("e/f")));
    for text in [OPENBAO, &by_certificate, &whole] {
        let config = load(&(LEAST.to_owned() + text), &[]).expect("it loads");
        let again = load(&config.to_yaml(), &[]).expect("what is shown loads");
        assert_eq!(again.keystores, config.keystores, "{}", config.to_yaml());
    }
    let with = |from: &str, to: &str| refused(&OPENBAO.replace(from, to), &[]);
    let secret = with("credential:s", "hunter2");
    says(&secret, &["`keystores.main.openbao.approle.secret_id` is (not shown)", "credential:NAME"]);
    assert!(!secret.contains("hunter2"), "{secret}");
    says(&with("https://bao:8200", "http://bao:8200"), &["`keystores.main.openbao.url` is (not shown)", "https://HOST:PORT"]);
    says(&with("ca: /ca.pem, ", ""), &["`keystores.main.openbao.ca` is missing"]);
    says(&with(", approle: {role_id: r, secret_id: 'credential:s'}", ""), &["`keystores.main.openbao.approle.role_id` is missing"]);
    says(&with(", secret_id: 'credential:s'", ""), &["`keystores.main.openbao.approle.secret_id` is missing"]);
    says(&with("ca: /ca.pem", "ca: /ca.pem, cert: /c.pem"), &["`keystores.main.openbao.key` is missing"]);
    for folder in ["''", "/a", "a/", "a//b", "a b", "..", "a?b", "a%2Fb"] {
        let refused = with("ca: /ca.pem", &format!("ca: /ca.pem, prefix: {folder}"));
        says(&refused, &["`keystores.main.openbao.prefix` is", "joined by `/`"]);
    }
    says(&with("ca: /ca.pem", "ca: /ca.pem, timeout: 61s"), &["`keystores.main.openbao.timeout` is \"61s\"", "from 100ms to 60s"]);
    says(&with("{openbao:", "{postgres: {}, openbao:"), &["`keystores.main` is \"two kinds\"", "of one kind"]);
}

const PLUGIN: &str = "keystores: {main: {grpc: {command: /p, sha256: 0f343b0931126a20f133d67c2b018a3b1e6f5a5a4d9c0e8f7b6a5948372615ff}}}\n";
const UNIT: &str = "keystores: {main: {grpc: {socket: /run/p/socket, user: rows}}}\n";

#[test]
fn rows_are_kept_behind_a_plugin_that_a_unit_or_the_daemon_runs() {
    let whole = PLUGIN.replace("command: /p", "command: /p, args: [-v, x], timeout: 1s");
    for text in [PLUGIN, &whole, UNIT, &UNIT.replace(", user: rows", "")] {
        let config = load(&(LEAST.to_owned() + text), &[]).expect("it loads");
        let again = load(&config.to_yaml(), &[]).expect("what is shown loads");
        assert_eq!(again.keystores, config.keystores, "{}", config.to_yaml());
        assert!(matches!(config.keystores[0].kind, KeystoreKind::Grpc(_)));
    }
}

#[test]
fn a_plugin_that_cannot_be_meant_is_refused() {
    let with = |from: &str, to: &str| refused(&PLUGIN.replace(from, to), &[]);
    says(&refused(&PLUGIN.replace("0f34", "0F34"), &[]), &["`keystores.main.grpc.sha256` is", "64 lower-case hex digits"]);
    says(&refused("keystores: {main: {grpc: {command: /p}}}\n", &[]), &["`keystores.main.grpc.sha256` is missing"]);
    says(&refused("keystores: {main: {grpc: {}}}\n", &[]), &["`keystores.main.grpc.socket` is missing"]);
    says(&with("command: /p", "command: p"), &["`keystores.main.grpc.command` is \"p\"", "absolute path"]);
    says(&with("command: /p", "command: /p, socket: /s"), &["`keystores.main.grpc.socket` is \"/s\"", "not both"]);
    says(&with("command: /p", "command: /p, user: u"), &["`keystores.main.grpc.user` is \"u\"", "own user"]);
    says(&with("command: /p", "command: /p, timeout: 6s"), &["`keystores.main.grpc.timeout` is \"6s\"", "from 100ms to 5s"]);
    says(&with("command: /p", "socket: /s"), &["`keystores.main.grpc.sha256` is", "strongroomd confine"]);
    says(&refused(&UNIT.replace("user: rows", "args: -v"), &[]), &["`keystores.main.grpc.args` is \"-v\"", "strongroomd confine"]);
    says(&with("{grpc:", "{postgres: {url: 'postgresql://u@%2Frun/k'}, grpc:"), &["`keystores.main` is \"two kinds\"", "of one kind"]);
}

#[test]
fn a_database_that_cannot_be_meant_is_refused_and_no_password_repeated() {
    let with = |from: &str, to: &str| refused(&POSTGRES.replace(from, to), &[]);
    let secret = with("strongroom@", "strongroom:hunter2@");
    says(&secret, &["`keystores.main.postgres.url` is (not shown)", "without a password"]);
    assert!(!secret.contains("hunter2"), "{secret}");
    let secret = with("ca: /ca.pem", "ca: /ca.pem, password: hunter2");
    says(&secret, &["`keystores.main.postgres.password` is (not shown)", "credential:NAME"]);
    assert!(!secret.contains("hunter2"), "{secret}");
    says(&with(", ca: /ca.pem", ""), &["`keystores.main.postgres.ca` is missing"]);
    says(&with("ca: /ca.pem", "ca: ca.pem"), &["`keystores.main.postgres.ca` is \"ca.pem\"", "absolute path"]);
    says(&with("ca: /ca.pem", "ca: /ca.pem, cert: /c.pem"), &["`keystores.main.postgres.key` is missing"]);
    says(&with("ca: /ca.pem", "ca: /ca.pem, key: /k.pem"), &["`keystores.main.postgres.cert` is missing"]);
    says(&with("db:5432", "%2Frun"), &["`keystores.main.postgres.ca` is \"/ca.pem\"", "without TLS"]);
    says(&with("ca: /ca.pem", "ca: /ca.pem, pool: 1"), &["`keystores.main.postgres.pool` is \"1\"", "from 2 to 256"]);
    says(&with("ca: /ca.pem", "ca: /ca.pem, timeout: 61s"), &["`keystores.main.postgres.timeout` is \"61s\"", "from 100ms to 60s"]);
    says(&with("{main:", "{Main Store:"), &["`keystores.Main Store` is", "a name of 1 to 63"]);
    says(&with("{main: {postgres", "{main: {postgress"), &["`keystores.main.postgress`", "did you mean `postgres`"]);
    says(&refused("keystores: {main: {}}\n", &[]), &["`keystores.main.postgres.url` is missing", "postgresql://"]);
    let two = "keystores: {a: {postgres: {url: 'postgresql://u@%2Frun/k'}}, b: {postgres: {url: 'postgresql://u@%2Frun/l'}}}\n";
    says(&refused(two, &[]), &["`routing` is \"left out\"", "which of them is the default"]);
    says(&with("{main:", "{embedded:"), &["`keystores.embedded` is \"embedded\"", "another name"]);
    let ephemeral =
        load(&(EDGE.replace("key: /k}", "key: /k, ephemeral: true}") + POSTGRES), &[]).expect_err("it keeps nothing").to_string();
    says(&ephemeral, &["`keystores`", "edge.ephemeral"]);
}

#[test]
fn edges_share_one_database_or_one_plugins_socket_and_nothing_else() {
    let shared = EDGE.replace("key: /k}", "key: /k, shared: true}");
    for keystores in [POSTGRES, "keystores: {main: {grpc: {socket: /run/rows/socket}}}\n"] {
        let loaded = load(&(shared.clone() + keystores), &[]).expect("it loads");
        assert!(loaded.edge.expect("it is an edge").is_shared);
    }
    let bao = "keystores: {main: {openbao: {url: 'https://bao:8200', mount: m, ca: /ca.pem, cert: /c.pem, key: /k.pem}}}\n";
    let routed = TWO.to_owned() + "routing: [{layer: L4, keystore: a}, {keystore: b}]\n";
    // Of a plugin that the daemon starts, each edge would have one of its own.
    for keystores in [String::new(), PLUGIN.to_owned(), bao.to_owned(), POSTGRES.to_owned() + "routing: [{keystore: embedded}]\n", routed] {
        let refused = load(&(shared.clone() + &keystores), &[]).expect_err(&keystores).to_string();
        says(&refused, &["`edge.shared` is \"true\"", "one keystore of kind `postgres`, or behind the `socket` of one plugin"]);
    }
}

const TWO: &str = "keystores: {a: {postgres: {url: 'postgresql://u@%2Frun/k'}}, b: {postgres: {url: 'postgresql://u@%2Frun/l'}}}\n";
const TENANT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

#[test]
fn rows_are_routed_by_the_first_rule_that_fits() {
    let placed = |routing: &str, environment: &[(&str, &str)]| {
        let config = load(&format!("{LEAST}{TWO}{routing}\n"), environment).expect("it loads");
        let again = load(&config.to_yaml(), &[]).expect("what is shown loads");
        assert!(again.placement.agrees_with(&config.placement), "{}", config.to_yaml());
        config.placement
    };
    let rule = |layers: &[Layer], tenant: Option<&str>, keystore: &str| Rule {
        class: Class {
            layers: layers.iter().copied().collect(),
            tenant: tenant.map(|tenant| TenantId::new(Uuid::try_parse(tenant).expect("it is one"))),
        },
        keystore: keystore.to_owned(),
    };
    assert_eq!(placed("routing: [{keystore: b}]", &[]), Placement::at("b"));
    // KS-21 in one line: the default is the node's own file.
    let bao = "routing: [{layer: [L2, L3], keystore: a}]";
    assert_eq!(placed(bao, &[]), Placement::new("embedded", vec![rule(&[Layer::L2, Layer::L3], None, "a")]));
    let told =
        format!("routing: [{{layer: L2.1, tenant: {TENANT}, keystore: a}}, {{tenant: {TENANT}, keystore: embedded}}, {{keystore: b}}]");
    let wanted = Placement::new("b", vec![rule(&[Layer::L21], Some(TENANT), "a"), rule(&[], Some(TENANT), "embedded")]);
    assert_eq!(placed(&told, &[]), wanted);
    assert_eq!(placed(bao, &[("STRONGROOM__ROUTING__0__KEYSTORE", "b")]).rules()[0].keystore, "b");
    assert_eq!(placed(bao, &[("STRONGROOM__ROUTING", "[{keystore: a}]")]), Placement::at("a"));
    let regional = "routing: [{layer: L4, region: eu, keystore: a}, {region: us, keystore: a}, {keystore: b}]";
    assert_eq!(placed(regional, &[("STRONGROOM__REGION", "eu")]), Placement::new("b", vec![rule(&[Layer::L4], None, "a")]));
    assert!(load(&format!("{LEAST}region: us\n{TWO}{regional}"), &[]).is_err(), "the third rule is never come to");
    assert_eq!(placed(regional, &[("STRONGROOM__REGION", "asia")]), Placement::at("b"));
}

#[test]
fn routing_that_cannot_be_meant_is_refused() {
    let refused = |routing: &str| refused(&format!("{TWO}{routing}\n"), &[]);
    for (routing, parts) in [
        ("routing: []", ["`routing` is \"left out\"", "{keystore: NAME}"]),
        ("routing: [{layer: L3}]", ["`routing[0].keystore` is missing", "`embedded`"]),
        ("routing: [{keystore: c}]", ["`routing[0].keystore` is \"c\"", "under `keystores`"]),
        ("routing: [{layer: L5, keystore: a}]", ["`routing[0].layer` is \"L5\"", "L2, L2.1, L3 or L4"]),
        ("routing: [{layer: [], keystore: a}]", ["`routing[0].layer` is \"an empty list\"", "L2, L2.1, L3 or L4"]),
        ("routing: [{tenant: acme, keystore: a}]", ["`routing[0].tenant` is \"acme\"", "strongroom tenant list"]),
        ("routing: [{region: eu, keystore: a}]", ["`region` is missing", "region's name"]),
        ("routing: [{keystore: a}, {layer: L3, keystore: b}]", ["`routing[1]` is \"b\"", "no such rule"]),
        ("routing: [{layer: L3, keystore: a}, {layer: [L3], keystore: b}]", ["`routing[1]` is \"b\"", "no such rule"]),
        ("routing: [{layr: L3, keystore: a}]", ["`routing[0].layr`", "did you mean `layer`"]),
    ] {
        says(&refused(routing), &parts);
    }
    let ephemeral = EDGE.replace("key: /k}", "key: /k, ephemeral: true}") + "routing: [{keystore: embedded}]\n";
    says(&load(&ephemeral, &[]).expect_err("it keeps nothing").to_string(), &["`routing` is", "edge.ephemeral"]);
}

#[test]
fn re_encryption_is_held_back_at_a_core_and_by_numbers_with_a_unit() {
    let held = |text: &str| load(&(LEAST.to_owned() + text), &[]).expect("it loads").reencrypt;
    assert_eq!(held(""), Reencrypt { rate: None, cpu: 100 });
    assert_eq!(held("reencrypt: {rate: unlimited, cpu: 7%}"), Reencrypt { rate: None, cpu: 7 });
    assert_eq!(held("reencrypt: {rate: 1000000/s}"), Reencrypt { rate: NonZeroU32::new(1_000_000), cpu: 100 });
    for (key, value) in [("rate", "5/s"), ("cpu", "5%")] {
        let edge = load(&format!("{EDGE}\nreencrypt: {{{key}: {value}}}\n"), &[]).expect_err("a core's").to_string();
        says(&edge, &[&format!("`reencrypt.{key}` is \"{value}\""), "the walk of a core"]);
    }
}

#[test]
fn the_row_cache_has_bounds() {
    let told = |text: &str| load(&(LEAST.to_owned() + text), &[]).expect("it loads").row_cache;
    assert_eq!((told("").bytes, told("").life), (16 << 20, Duration::from_secs(30)));
    assert_eq!(told("row_cache: {size: 0B, life: 1h}\n"), storage::cached::Settings { bytes: 0, life: Duration::from_hours(1) });
    says(&refused("row_cache: {size: 5GiB}\n", &[]), &["`row_cache.size` is \"5GiB\"", "to 4GiB"]);
    says(&refused("row_cache: {life: 0s}\n", &[]), &["`row_cache.life` is \"0s\"", "from 1s to 1h"]);
}

#[test]
fn what_is_shown_loads_as_the_same_configuration() {
    let odd = "cluster: 'yes: \"no\" # 0123'\nmemory: {arena: 96KiB, require_secretmem: true}\n";
    let monthly = LEAST.to_owned()
        + "ivk: {rotate_at: '0 3 1 * *', tenants: {rotate_at: '0 4 * * *'}, resources: {rotate_at: '0 5 * * *'}, services: {rotate_every: 1day, replace_expired: true}}\nreencrypt: {rate: 500/s, cpu: 20%}\n";
    for text in [LEAST.to_owned(), monthly, whole_example(), EXAMPLE.to_owned(), LEAST.to_owned() + odd + CUSTODIAN + KMIP] {
        let config = load(&text, &[]).expect("it loads");
        let shown = config.to_yaml();
        let again = load(&shown, &[]).expect("what is shown loads");
        assert_eq!(format!("{again:?}"), format!("{config:?}"), "{shown}");
        assert_eq!(again.to_yaml(), shown);
        assert!(shown.starts_with("role: core\ndata_dir:"), "{shown}");
        assert!(!shown.contains('~') && !shown.contains("null"), "{shown}");
    }
}

#[test]
fn a_variable_overrides_a_value() {
    let text = LEAST.to_owned() + CUSTODIAN + KMIP;
    let set = |name, value| load(&text, &[(name, value)]).expect("it loads");
    assert_eq!(set("STRONGROOM__DATA_DIR", "/srv/x").data_dir, Path::new("/srv/x"));
    let kmip = set("STRONGROOM__LISTENERS__KMIP__BIND", "[::1]:5696").listeners.kmip.expect("there is a listener");
    assert_eq!((kmip.bind.to_string().as_str(), kmip.certificates[0].cert.as_path()), ("[::1]:5696", Path::new("/c")));
    assert_eq!(set("STRONGROOM__KMIP__IDLE_TIMEOUT", "5m").kmip.idle_timeout, Duration::from_secs(300));
    assert_eq!(set("STRONGROOM__CLUSTER", "42").cluster, "42");
    assert!(set("STRONGROOM__MEMORY__REQUIRE_SECRETMEM", "true").memory.require_secretmem);
    assert_eq!(set("STRONGROOM__SEAL__CUSTODIANS__0__NAME", "hsm-z").seal.custodians[0].name, "hsm-z");
    let custodians = set("STRONGROOM__SEAL__CUSTODIANS__0__PKCS11__ENVIRONMENT__SOFTHSM2_CONF", "/x").seal.custodians;
    assert!(custodians[0].environment().any(|(name, value)| name == "SOFTHSM2_CONF" && value == "/x"));
    assert_eq!(custodians[0].name, "a");
}

#[test]
fn a_variable_gives_a_whole_list_or_map_and_another_one_an_element_of_it() {
    let rules = "[{uri: 'x://{tenant}/{service}', role: service}, {dns: '{service}.example', tenant: acme, role: service}]";
    let environment = [("STRONGROOM__IDENTITY__RULES", rules), ("STRONGROOM__IDENTITY__RULES__1__TENANT", "globex"), ("PATH", "/bin")];
    let config = load(LEAST, &environment).expect("it loads");
    let texts: Vec<_> = config.identity.texts().collect();
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[1].tenant.as_deref(), Some("globex"));
    let json = r#"{"bind":"127.0.0.1:1","cert":"/c","key":"/k","client_ca":"/a","crl":"none"}"#;
    assert!(load(LEAST, &[("STRONGROOM__LISTENERS__KMIP", json)]).expect("it loads").listeners.kmip.is_some());
    assert_eq!(load(EXAMPLE, &[("STRONGROOM__IDENTITY__RULES", "[]")]).expect("it loads").identity.texts().count(), 0);
}

#[test]
fn a_listener_has_a_certificate_for_each_kind_of_key() {
    let text = "listeners: {kmip: {bind: '127.0.0.1:1', cert: [/c, /d], key: [/k, /l], client_ca: /a, crl: /r, crl_grace: 2days}}\n";
    let of = |environment: &[(&str, &str)]| load(&(LEAST.to_owned() + text), environment).expect("it loads").listeners.kmip;
    let kmip = of(&[]).expect("there is a listener");
    let pairs: Vec<_> = kmip.certificates.iter().map(|files| (files.cert.display().to_string(), files.key.display().to_string())).collect();
    assert_eq!(pairs, [("/c".to_owned(), "/k".to_owned()), ("/d".to_owned(), "/l".to_owned())]);
    assert_eq!((kmip.crl.as_deref(), kmip.crl_grace), (Some(Path::new("/r")), Duration::from_secs(2 * 86_400)));
    let other = of(&[("STRONGROOM__LISTENERS__KMIP__CERT__1", "/x")]).expect("there is a listener");
    assert_eq!(other.certificates[1].cert, Path::new("/x"));
    let one = of(&[("STRONGROOM__LISTENERS__KMIP__CERT", "/x"), ("STRONGROOM__LISTENERS__KMIP__KEY", "[/y]")]);
    assert_eq!(one.expect("there is a listener").certificates, [CertificateFiles { cert: "/x".into(), key: "/y".into() }]);
}

#[test]
fn a_listener_says_where_its_revocation_lists_are_or_that_there_are_none() {
    let said = refused("listeners: {kmip: {bind: '127.0.0.1:0', cert: /c, key: /k, client_ca: /ca}}\n", &[]);
    says(&said, &["`listeners.kmip.crl` is missing", "or `none`"]);
    let kmip = load(&(LEAST.to_owned() + KMIP), &[]).expect("it loads").listeners.kmip.expect("there is a listener");
    assert_eq!((kmip.crl, kmip.crl_grace), (None, Duration::ZERO));
}

#[test]
fn two_configurations_differ_in_the_keys_that_were_changed() {
    let config = |more: &str| load(&(LEAST.to_owned() + more), &[]).expect("it loads");
    let (one, other) = (config(KMIP), config(&KMIP.replace("/c,", "/d,").replace("127.0.0.1:0", "127.0.0.1:1")));
    assert_eq!(one.differences(&one), Vec::<String>::new());
    assert_eq!(one.differences(&other), ["listeners.kmip.bind", "listeners.kmip.cert"]);
    assert_eq!(config("").differences(&one).len(), 6, "a listener more");
    assert_eq!(config("identity: {rules: []}").differences(&config("")), ["identity.rules[0].uri"]);
}

#[test]
fn a_misspelt_key_is_answered_with_the_nearest() {
    says(&refused("kmip: {idle_timout: 1h}\n", &[]), &["config.yaml", "`kmip.idle_timout`", "did you mean `idle_timeout`", "message_max"]);
    says(&refused("listners: {}\n", &[]), &["unknown key `listners`", "did you mean `listeners`"]);
    says(&refused(&CUSTODIAN.replace("token", "tokn"), &[]), &["`seal.custodians[0].pkcs11.tokn`", "`token`"]);
    says(&refused("identity: {rules: [{url: x}]}\n", &[]), &["`identity.rules[0].url`", "`uri`"]);
    says(&refused("Role: core\n", &[]), &["unknown key `Role`"]);
}

#[test]
fn sections_that_this_release_does_not_have_are_unknown_keys() {
    for section in ["listeners: {http: {bind: '0.0.0.0:80'}}", "keystores: {a: {redis: {}}}", "l1: {}"] {
        says(&refused(section, &[]), &["unknown key", "accepted here"]);
    }
    says(&refused("federation: {}", &[]), &["unknown key `federation`", "has nothing like it; a newer one may"]);
    says(&refused("kmip: {gcm_iv: refuse}", &[]), &["unknown key `kmip.gcm_iv`"]);
}

#[test]
fn a_misspelt_variable_is_refused_by_its_name() {
    let error = refused("", &[("STRONGROOM__KMIP__IDLE_TIMOUT", "1h")]);
    says(&error, &["environment variable STRONGROOM__KMIP__IDLE_TIMOUT", "did you mean `STRONGROOM__KMIP__IDLE_TIMEOUT`"]);
    for name in ["STRONGROOM__", "STRONGROOM__role", "STRONGROOM__ROLE__X", "STRONGROOM__L1__NAME", "STRONGROOM__SEAL__CUSTODIANS__X__NAME"]
    {
        says(&refused("", &[(name, "x")]), &["environment variable", name, "unknown key"]);
    }
}

#[test]
fn a_bad_value_of_a_variable_names_the_variable_and_not_the_file() {
    let error = refused("kmip: {idle_timeout: 1h}\n", &[("STRONGROOM__KMIP__IDLE_TIMEOUT", "30")]);
    says(&error, &["environment variable STRONGROOM__KMIP__IDLE_TIMEOUT", "`kmip.idle_timeout` is \"30\"", "with its unit"]);
    assert!(!error.contains("config.yaml"), "{error}");
    let rules = refused("", &[("STRONGROOM__IDENTITY__RULES", "[{uri: 'x*', role: service}]")]);
    says(&rules, &["STRONGROOM__IDENTITY__RULES", "`identity.rules[0].uri` is \"x*\""]);
    says(&refused("", &[("STRONGROOM__IDENTITY__RULES", "[{")]), &["STRONGROOM__IDENTITY__RULES", "YAML on one line"]);
    says(&refused("", &[("STRONGROOM__IDENTITY__RULES", "core")]), &["STRONGROOM__IDENTITY__RULES", "give a list"]);
    says(&refused("", &[("STRONGROOM__SEAL__CUSTODIANS__1__NAME", "b")]), &["`seal.custodians[0]` is empty"]);
}

#[test]
fn a_variable_that_is_not_text_is_refused_by_its_name() {
    use std::os::unix::ffi::OsStringExt;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, LEAST).expect("the file can be written");
    let bytes = std::ffi::OsString::from_vec(vec![0x2f, 0xff]);
    let error = Config::load(&file, [("STRONGROOM__DATA_DIR".into(), bytes.clone())]).expect_err("it must be refused");
    says(&error.to_string(), &["STRONGROOM__DATA_DIR", "not UTF-8"]);
    Config::load(&file, [("OTHER".into(), bytes)]).expect("a stranger's variable is nothing to us");
}

#[test]
fn numbers_without_a_unit_and_texts_without_quotes_are_refused() {
    says(&refused("kmip: {idle_timeout: 30}", &[]), &["config.yaml", "`kmip.idle_timeout` is the number 30", "such as \"30s\""]);
    says(&refused("kmip: {message_max: 1048576}", &[]), &["is the number 1048576", "\"1MiB\""]);
    says(&refused("memory: {arena: '4M'}", &[]), &["`memory.arena` is \"4M\"", "with its unit"]);
    says(&refused("cluster: 42", &[]), &["`cluster` is the number 42", "a display name"]);
    says(&refused("memory: {require_secretmem: yes}", &[]), &["\"yes\"", "`true` or `false`"]);
    says(&refused("memory: {require_secretmem: 1}", &[]), &["the number 1", "`true` or `false`"]);
}

#[test]
fn values_out_of_range_are_refused() {
    for (text, key) in [
        ("kmip: {idle_timeout: 0s}", "kmip.idle_timeout"),
        ("kmip: {idle_timeout: 999ms}", "kmip.idle_timeout"),
        ("kmip: {idle_timeout: 2days}", "kmip.idle_timeout"),
        ("kmip: {message_max: 8191B}", "kmip.message_max"),
        ("kmip: {message_max: 17MiB}", "kmip.message_max"),
        ("kmip: {credentials: accept}", "kmip.credentials"),
        ("memory: {arena: 63KiB}", "memory.arena"),
        ("memory: {arena: 2GiB}", "memory.arena"),
        ("seal: {probe_interval: 0s}", "seal.probe_interval"),
        ("seal: {device: ../x}", "seal.device"),
        ("seal: {writes: tokens}", "seal.writes"),
        ("seal: {writes: [/a, b]}", "seal.writes[1]"),
        ("seal: {device: ''}", "seal.device"),
        ("admin: {calls_per_second: 0}", "admin.calls_per_second"),
        ("admin: {calls_per_second: 10001}", "admin.calls_per_second"),
        ("ivk: {rotate_every: 0s}", "ivk.rotate_every"),
        ("ivk: {rotate_every: 11years}", "ivk.rotate_every"),
        ("ivk: {rotate_at: monthly}", "ivk.rotate_at"),
        ("reencrypt: {rate: '500'}", "reencrypt.rate"),
        ("reencrypt: {rate: 0/s}", "reencrypt.rate"),
        ("reencrypt: {rate: +5/s}", "reencrypt.rate"),
        ("reencrypt: {rate: 1000001/s}", "reencrypt.rate"),
        ("reencrypt: {cpu: 0%}", "reencrypt.cpu"),
        ("reencrypt: {cpu: 101%}", "reencrypt.cpu"),
        ("reencrypt: {cpu: '50'}", "reencrypt.cpu"),
        ("ivk: {tenants: {rotate_every: 0s}}", "ivk.tenants.rotate_every"),
        ("ivk: {resources: {rotate_at: 'never'}}", "ivk.resources.rotate_at"),
        ("ivk: {services: {rotate_at: '0 3 * * *', rotate_every: 1day}}", "ivk.services.rotate_every"),
        ("ivk: {services: {replace_expired: maybe}}", "ivk.services.replace_expired"),
        ("ivk: {rotate_at: '0 0 30 2 *'}", "ivk.rotate_at"),
        ("ivk: {rotate_at: '0 3 1 * *', rotate_every: 30days}", "ivk.rotate_every"),
        ("audit: {sync: never}", "audit.sync"),
        ("log: {level: INFO}", "log.level"),
        ("log: {format: xml}", "log.format"),
        ("cluster: ''", "cluster"),
        ("cluster: \"a\\nb\"", "cluster"),
        ("listeners: {kmip: {bind: 'localhost:5696', cert: /c, key: /k, client_ca: /a}}", "listeners.kmip.bind"),
        ("listeners: {kmip: {bind: '127.0.0.1', cert: /c, key: /k, client_ca: /a}}", "listeners.kmip.bind"),
        ("listeners: {kmip: {bind: '127.0.0.1:1', cert: c, key: /k, client_ca: /a}}", "listeners.kmip.cert"),
        ("listeners: {https: {bind: '127.0.0.1', cert: /c, key: /k, client_ca: /a}}", "listeners.https.bind"),
        ("listeners: {admin: {bind: '127.0.0.1:1', cert: /c, key: k, client_ca: /a}}", "listeners.admin.key"),
        ("listeners: {health: {bind: localhost}}", "listeners.health.bind"),
        ("listeners: {kmip: {bind: '127.0.0.1:1', cert: /c, key: /k, client_ca: /a, crl: no}}", "listeners.kmip.crl"),
        ("listeners: {kmip: {bind: '127.0.0.1:1', cert: /c, key: /k, client_ca: /a, crl: a.crl}}", "listeners.kmip.crl"),
        (
            "listeners: {kmip: {bind: '127.0.0.1:1', cert: /c, key: /k, client_ca: /a, crl: /r, crl_grace: 31days}}",
            "listeners.kmip.crl_grace",
        ),
        ("listeners: {kmip: {bind: '127.0.0.1:1', cert: [], key: [], client_ca: /a, crl: /r}}", "listeners.kmip.cert"),
        ("listeners: {kmip: {bind: '127.0.0.1:1', cert: [/c, d], key: [/k, /l], client_ca: /a, crl: /r}}", "listeners.kmip.cert[1]"),
        ("listeners: {kmip: {bind: '127.0.0.1:1', cert: [/c, /d], key: /k, client_ca: /a, crl: /r}}", "listeners.kmip.key"),
        ("listeners: {kmip: {bind: '127.0.0.1:1', cert: {a: /c}, key: /k, client_ca: /a, crl: /r}}", "listeners.kmip.cert"),
        ("listeners: {health: {bind: off}}", "listeners.health.bind"),
    ] {
        says(&refused(text, &[]), &["config.yaml", &format!("`{key}` is "), "give "]);
    }
}

const EDGE: &str = "role: edge\ndata_dir: /d\nedge: {group: west, upstreams: 'https://core:5697', ca: /ca, cert: /c, key: /k}\n";

#[test]
fn an_edge_has_its_defaults() {
    let edge = load(EDGE, &[]).expect("it loads").edge.expect("it is an edge");
    assert_eq!((edge.group.as_str(), edge.upstreams[0].authority().as_str()), ("west", "core:5697"));
    assert_eq!((edge.lease, edge.offline_ttl), (Duration::from_secs(15), Duration::from_secs(900)));
    assert_eq!((edge.pool_keys, edge.cache_bytes, edge.l4_ttl, edge.is_ephemeral), (256, 32 << 20, None, false));
    let set = [("STRONGROOM__EDGE__POOL", "7"), ("STRONGROOM__EDGE__EPHEMERAL", "true"), ("STRONGROOM__EDGE__L4_TTL", "1h")];
    let edge = load(EDGE, &set).expect("it loads").edge.expect("it is an edge");
    assert_eq!((edge.pool_keys, edge.l4_ttl, edge.is_ephemeral), (7, Some(Duration::from_secs(3600)), true));
}

#[test]
fn an_edge_without_its_core_and_a_core_with_an_edge_are_refused() {
    let bare = load("role: edge\ndata_dir: /d\n", &[]).expect_err("no core").to_string();
    says(&bare, &["`edge.group` is missing"]);
    let custodian = load(&(EDGE.to_owned() + CUSTODIAN), &[]).expect_err("an edge has no slots").to_string();
    says(&custodian, &["`seal.custodians` is", "an edge seals nothing"]);
    let ivk = load(&(EDGE.to_owned() + "\nivk: {rotate_every: 30days}\n"), &[]).expect_err("an edge has no IVK").to_string();
    says(&ivk, &["`ivk.rotate_every` is \"30days\"", "its core rotates that"]);
    says(&refused("edge: {group: west}\n", &[]), &["`edge` is", "role `edge`"]);
    for (from, to, key) in [
        ("https://core:5697", "http://core:5697", "edge.upstreams"),
        ("https://core:5697", "https://core", "edge.upstreams"),
        ("https://core:5697", "https://core:5697/kmip", "edge.upstreams"),
        ("https://core:5697", "https://me@core:5697", "edge.upstreams"),
        ("'https://core:5697'", "[]", "edge.upstreams"),
        ("group: west", "group: West", "edge.group"),
        ("ca: /ca", "ca: ca", "edge.ca"),
        ("key: /k}", "key: /k, lease: 1h}", "edge.lease"),
        ("key: /k}", "key: /k, offline_ttl: 8days}", "edge.offline_ttl"),
        ("key: /k}", "key: /k, pool: 0}", "edge.pool"),
        ("key: /k}", "key: /k, pool: true}", "edge.pool"),
        ("key: /k}", "key: /k, cache: 1B}", "edge.cache"),
        ("key: /k}", "key: /k, l4_ttl: 0s}", "edge.l4_ttl"),
        ("key: /k}", "key: /k, ephemeral: yes please}", "edge.ephemeral"),
        ("key: /k}", "key: /k, shared: perhaps}", "edge.shared"),
    ] {
        let error = load(&EDGE.replace(from, to), &[]).expect_err(to).to_string();
        says(&error, &[&format!("`{key}` is "), "give "]);
    }
}

#[test]
fn what_is_missing_is_named_with_its_form() {
    says(&load("", &[]).expect_err("empty").to_string(), &["`role` is missing", "give `core` or `edge`"]);
    says(&load("role: core\n", &[]).expect_err("no folder").to_string(), &["`data_dir` is missing", "an absolute path"]);
    says(&load("role: core\ndata_dir: relative\n", &[]).expect_err("relative").to_string(), &["`data_dir` is \"relative\""]);
    says(&refused(&KMIP.replace(", key: /k", ""), &[]), &["`listeners.kmip.key` is missing", "PEM"]);
    says(&refused(&CUSTODIAN.replace(", token: t", ""), &[]), &["`seal.custodians[0].pkcs11.token` is missing", "`serial` instead"]);
    says(&refused("seal: {custodians: [{name: a}]}", &[]), &["`seal.custodians[0].pkcs11` is missing"]);
}

#[test]
fn a_custodian_is_one_token_under_one_name() {
    says(&refused(&CUSTODIAN.replace("token: t", "token: t, serial: '1'"), &[]), &["pkcs11.serial` is \"1\"", "`token` instead"]);
    says(&refused(&CUSTODIAN.replace("token: t", "token: t23456789012345678901234567890123"), &[]), &["pkcs11.token`"]);
    says(&refused(&CUSTODIAN.replace("/m.so", "m.so"), &[]), &["pkcs11.module` is \"m.so\""]);
    for name in ["' '", "'a '", "9f1c7b1e-6f0a-4f43-9d57-0f6d5b1a2c3d"] {
        says(&refused(&CUSTODIAN.replace("name: a", &format!("name: {name}")), &[]), &["seal.custodians[0].name`", "no UUID"]);
    }
    let element = CUSTODIAN.trim_start_matches("seal: {custodians: [").trim_end_matches("]}\n");
    says(&refused(&format!("seal: {{custodians: [{element}, {element}]}}"), &[]), &["`seal.custodians[1].name` is \"a\"", "no other"]);
}

#[test]
fn a_card_is_named_by_its_key_alone_and_its_hash_is_one_of_two() {
    let config = load(&whole_example(), &[]).expect("the whole example loads");
    let cards =
        || config.seal.custodians.iter().filter_map(|custodian| if let Means::Card(key) = &custodian.means { Some(key) } else { None });
    let [key] = cards().collect::<Vec<_>>()[..] else { panic!("the example has one card") };
    assert_eq!(key.oaep(), hsm::Oaep::Sha256);
    let card = |key: &str, more: &str| format!("seal: {{custodians: [{{name: a, card: {{public_key: {key:?}{more}}}}}]}}\n");
    let sha1 = load(&(LEAST.to_owned() + &card(&key.pem(), ", oaep: sha1")), &[]).expect("it loads");
    assert!(
        matches!(&sha1.seal.custodians[0].means, Means::Card(of) if of.oaep() == hsm::Oaep::Sha1 && of.fingerprint() == key.fingerprint())
    );
    assert!(sha1.seal.custodians[0].is_person());
    says(&refused(&card(&key.pem(), ", oaep: md5"), &[]), &["`seal.custodians[0].card.oaep` is \"md5\"", "`sha256`, or `sha1`"]);
    says(&refused(&card("/etc/dora.pem", ""), &[]), &["card.public_key` is \"/etc/dora.pem\"", "RSA key of 2048 to 4096 bits in PEM"]);
    says(&refused("seal: {custodians: [{name: a, card: {oaep: sha1}}]}", &[]), &["`seal.custodians[0].card.public_key` is missing"]);
    let both =
        card(&key.pem(), "").replace("card:", "age: {recipient: age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj}, card:");
    says(&refused(&both, &[]), &["seal.custodians[0].card`", "one of `pkcs11`, `tpm2`, `age`, `card` and `shamir`"]);
}

#[test]
fn custodians_agree_on_the_variables_of_their_one_device_process() {
    let custodian = |name: &str, token: &str, variables: &str| {
        format!("{{name: {name}, pkcs11: {{module: /m.so, token: {token}, key: k, environment: {{{variables}}}}}}}")
    };
    let two = |second: &str| format!("seal: {{custodians: [{}, {}]}}\n", custodian("a", "t", "CONF: /x"), custodian("b", "u", second));
    load(&(LEAST.to_owned() + &two("CONF: /x, OTHER: y")), &[]).expect("both say the same");
    says(&refused(&two("CONF: /y"), &[]), &["`seal.custodians[1].pkcs11.environment` is \"CONF=/y\"", "the same value"]);
}

#[test]
fn a_file_that_others_may_write_is_refused_by_who_acts_on_it() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, LEAST).expect("the file can be written");
    let guarded = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("the file is ours");
        Config::load_guarded(&file, [])
    };
    for mode in [0o600, 0o640, 0o644, 0o444] {
        guarded(mode).expect("nobody else can write it");
    }
    for mode in [0o620, 0o602, 0o666] {
        let error = guarded(mode).expect_err("others can write it").to_string();
        says(&error, &[&format!("mode {mode:04o}"), "chmod go-w", "config.yaml"]);
    }
}

#[test]
fn a_pin_is_a_reference_and_a_pin_in_its_place_is_not_repeated() {
    let config = load(&(LEAST.to_owned() + CUSTODIAN), &[]).expect("it loads");
    let Means::Pkcs11(token) = &config.seal.custodians[0].means else { panic!("the example has a token") };
    let pin = token.pin.as_ref().expect("there is a reference");
    assert_eq!(pin.path(Some(Path::new("/run/credentials"))).expect("it resolves"), PathBuf::from("/run/credentials/p"));
    says(&pin.path(None).expect_err("nothing to resolve by").to_string(), &["credential `p`", "CREDENTIALS_DIRECTORY"]);
    for pin in
        ["918273", "'918273'", "'credential:../918273'", "'credential:918273/x'", "'credential:.918273'", "'Credential:918273'", "[918273]"]
    {
        let error = refused(&CUSTODIAN.replace("'credential:p'", pin), &[]);
        says(&error, &["seal.custodians[0].pkcs11.pin` is (not shown)", "credential:NAME"]);
        assert!(!error.contains("918273"), "{error}");
    }
    let error = refused(CUSTODIAN, &[("STRONGROOM__SEAL__CUSTODIANS__0__PKCS11__PIN", "918273")]);
    assert!(!error.contains("918273"), "{error}");
    assert!(load(&(LEAST.to_owned() + &CUSTODIAN.replace(", pin: 'credential:p'", "")), &[]).is_ok(), "a PIN can be typed");
}

#[test]
fn texts_that_are_not_one_map_in_yaml_are_refused_with_the_file() {
    for text in [
        "- role",
        "role",
        "role: core\n role: x",
        "role: [",
        "role: core\n---\nrole: core\n",
        "role: core\nrole: core\ndata_dir: /d\n",
        "\u{0}",
    ] {
        let error = load(text, &[]).expect_err("it must be refused");
        says(&error.to_string(), &["config.yaml"]);
    }
    says(&refused("kmip: []\n", &[]), &["`kmip` is a list", "a map"]);
    says(&refused("identity: {rules: {}}\n", &[]), &["`identity.rules` is a map", "give a list"]);
    says(&refused("cluster: {a: b}\n", &[]), &["`cluster` is a map"]);
    let error = Config::load(Path::new("/nonexistent/config.yaml"), []).expect_err("there is no such file");
    says(&error.to_string(), &["/nonexistent/config.yaml", "No such file"]);
}

#[test]
fn bad_rules_are_named_by_index_and_field() {
    for (rule, parts) in [
        ("{role: service}", &["`identity.rules[0]`", "exactly one of uri, dns, spki and subject"][..]),
        ("{uri: 'x://{tenant}/{service}', dns: a, role: service}", &["exactly one of"]),
        ("{uri: 'x://{tenant}/{service}'}", &["rules[0].role`", "once"]),
        ("{uri: 'x://{tenant}/{service}/{role}', role: service}", &["rules[0].role`", "once"]),
        ("{uri: 'x://{tenant}/{tenant}/{service}', role: service}", &["rules[0].tenant`", "once"]),
        ("{uri: 'x://{tenant}', role: service}", &["rules[0].service`", "has one"]),
        ("{uri: 'x://{service}', role: tenant-admin}", &["rules[0].tenant`", "has one"]),
        ("{uri: 'x://{service}', tenant: acme, role: operator}", &["rules[0].tenant` is \"acme\"", "stands for none"]),
        ("{uri: 'x://{service}', tenant: Acme, role: service}", &["rules[0].tenant` is \"Acme\""]),
        ("{uri: 'x://{tenant}/{service}', role: root}", &["rules[0].role` is \"root\""]),
        ("{uri: 'x://a{tenant}/{service}', role: service}", &["rules[0].uri`", "whole part"]),
        ("{dns: '*.{tenant}.{service}', role: service}", &["rules[0].dns`", "no `*`"]),
        ("{spki: abc, tenant: a, service: b, role: service}", &["rules[0].spki` is \"abc\"", "64 lower-case hex"]),
        ("{subject: {CN: '{service}', Org: '{tenant}'}, role: service}", &["rules[0].subject`", "short names"]),
        ("{subject: {}, tenant: a, service: b, role: service}", &["rules[0].subject`", "at least one"]),
    ] {
        says(&refused(&format!("identity: {{rules: [{rule}]}}"), &[]), parts);
    }
}

#[test]
fn a_file_reads_back_from_what_it_prints() {
    let config = load(EXAMPLE, &[]).expect("the example loads");
    let again = Config::try_from(File::from(&config)).expect("its own file is accepted");
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
}
