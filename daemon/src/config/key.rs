//! Every key of the configuration file with its accepted form: one table for reading, for errors and for environment variables.

/// Environment variables that override a key begin with this; its parts are joined by [`JOINT`].
const PREFIX: &str = "STRONGROOM__";
const JOINT: &str = "__";
/// Two names are alike if the Jaro-Winkler measure says at least this.
const ALIKE: f64 = 0.8;
/// How many alike names an error proposes.
const ALIKE_MAX: usize = 2;

const ABSOLUTE_PATH: &str = "an absolute path";
const SOCKET: &str = "an IP address and port, such as \"0.0.0.0:5696\" or \"[::]:5696\"";
const PEM_FILE: &str = "the absolute path of a PEM file";
const PEM_FILES: &str = "the absolute path of a PEM file, or a list of up to 4, one for each kind of key";
const CRL: &str = "the absolute path of a PEM file with a CRL of each CA in `client_ca`, or `none`, which lets revoked clients in";
const GRACE: &str = "a duration with its unit, from 0s to 30days";
const DURATION: &str = "a duration with its unit, from 1s to 1day, such as \"30s\" or \"1h 30m\"";
const LIFE: &str = "a duration with its unit, from 1s to 10 years, or `none`";
const CALENDAR: &str = "times in UTC as cron has them: minute, hour, day of month, month and day of week, such as \"0 3 1 * *\", or `none`";
const TEMPLATE: &str = "a fixed value, or a {tenant}, {service} or {role} placeholder that takes a whole part";

const TRUTH: &str = "`true` or `false`";
const CALLS: &str = "a number of calls a second, from 1 to 10000";
const POOL: &str = "a number from 1 to 16384";
const CONNECTIONS: &str = "a number of connections from 2 to 256";
const STORE_TIMEOUT: &str = "a duration with its unit, from 100ms to 60s";
const FOLDER: &str = "names of letters, digits, `-` and `_`, joined by `/`, 128 characters at most";
const REGION: &str = "a region's name, 1 to 64 bytes without a space at either end";
const THRESHOLD: &str = "a number from 2 to that of the keepers";

/// A value of the file.
pub(super) struct Key {
    /// Its place: names joined by `.`, `[]` for any element of a list, `*` for any name.
    pub(super) path: &'static str,
    /// What is accepted, to follow "give".
    pub(super) form: &'static str,
    /// A list of such values will do as well.
    or_list: bool,
}

const fn key(path: &'static str, form: &'static str) -> Key {
    Key { path, form, or_list: false }
}

const fn key_or_list(path: &'static str, form: &'static str) -> Key {
    Key { path, form, or_list: true }
}

/// Every value of the file.
pub(super) const KEYS: &[Key] = &[
    key("role", "`core` or `edge`"),
    key("data_dir", ABSOLUTE_PATH),
    key("cluster", "a display name of 1 to 64 characters, none of them a control character"),
    key("listeners.kmip.bind", SOCKET),
    key_or_list("listeners.kmip.cert", PEM_FILES),
    key_or_list("listeners.kmip.key", PEM_FILES),
    key("listeners.kmip.client_ca", PEM_FILE),
    key("listeners.kmip.crl", CRL),
    key("listeners.kmip.crl_grace", GRACE),
    key("listeners.https.bind", SOCKET),
    key_or_list("listeners.https.cert", PEM_FILES),
    key_or_list("listeners.https.key", PEM_FILES),
    key("listeners.https.client_ca", PEM_FILE),
    key("listeners.https.crl", CRL),
    key("listeners.https.crl_grace", GRACE),
    key("listeners.admin.bind", SOCKET),
    key_or_list("listeners.admin.cert", PEM_FILES),
    key_or_list("listeners.admin.key", PEM_FILES),
    key("listeners.admin.client_ca", PEM_FILE),
    key("listeners.admin.crl", CRL),
    key("listeners.admin.crl_grace", GRACE),
    key("listeners.health.bind", "an IP address and port, such as \"127.0.0.1:5699\", or `none`"),
    key("identity.rules[].uri", TEMPLATE),
    key("identity.rules[].dns", TEMPLATE),
    key("identity.rules[].spki", "the SHA-256 of the public key (SubjectPublicKeyInfo) as 64 lower-case hex digits"),
    key("identity.rules[].subject.*", TEMPLATE),
    key("identity.rules[].tenant", "a tenant's name"),
    key("identity.rules[].service", "a service's name"),
    key("identity.rules[].role", "service, tenant-admin, edge, operator, custodian or auditor"),
    key(
        "keystores.*.postgres.url",
        "postgresql://USER@HOST:PORT/DATABASE without a password, or with a folder of sockets as %2Frun%2Fpostgresql",
    ),
    key("keystores.*.postgres.password", "credential:NAME, the name of a file in $CREDENTIALS_DIRECTORY; a password is never written here"),
    key("keystores.*.postgres.ca", PEM_FILE),
    key("keystores.*.postgres.cert", PEM_FILE),
    key("keystores.*.postgres.key", PEM_FILE),
    key("keystores.*.postgres.pool", CONNECTIONS),
    key("keystores.*.postgres.timeout", STORE_TIMEOUT),
    key("keystores.*.openbao.url", "https://HOST:PORT, without a path"),
    key("keystores.*.openbao.mount", FOLDER),
    key("keystores.*.openbao.prefix", FOLDER),
    key("keystores.*.openbao.namespace", FOLDER),
    key("keystores.*.openbao.ca", PEM_FILE),
    key("keystores.*.openbao.cert", PEM_FILE),
    key("keystores.*.openbao.key", PEM_FILE),
    key("keystores.*.openbao.approle.role_id", "the id of the role, 1 to 128 printable characters without a space"),
    key(
        "keystores.*.openbao.approle.secret_id",
        "credential:NAME, the name of a file in $CREDENTIALS_DIRECTORY; the secret is never written here",
    ),
    key("keystores.*.openbao.timeout", STORE_TIMEOUT),
    key(
        "keystores.*.grpc.socket",
        "the absolute path of the Unix socket that the plugin's own unit listens on, or `command` instead of it",
    ),
    key("keystores.*.grpc.user", "the name or number of the user that the plugin's own unit runs as"),
    key("keystores.*.grpc.command", "the absolute path of a plugin that the daemon itself starts, or `socket` instead of it"),
    key_or_list("keystores.*.grpc.args", "an argument of the plugin, or a list of them"),
    key("keystores.*.grpc.sha256", "the SHA-256 of the plugin's program as 64 lower-case hex digits, as sha256sum prints it"),
    key("keystores.*.grpc.timeout", "a duration with its unit, from 100ms to 5s"),
    key("region", REGION),
    key("row_cache.size", "a size with its unit, from 0B (nothing is kept) to 4GiB, such as \"16MiB\""),
    key("row_cache.life", "a duration with its unit, from 1s to 1h"),
    key_or_list("routing[].layer", "L2, L2.1, L3 or L4, or a list of them"),
    key("routing[].tenant", "a tenant's id, which `strongroom tenant list` prints"),
    key("routing[].region", REGION),
    key("routing[].keystore", "the name of a keystore under `keystores`, or `embedded`, the node's own file"),
    key("seal.device", "an absolute path, or the name of a program in the daemon's own folder"),
    key_or_list("seal.writes", "the absolute path of a folder or file that a PKCS#11 module writes to, or a list of up to 64"),
    key("seal.probe_interval", DURATION),
    key(
        "seal.custodians[].name",
        "a name of 1 to 64 bytes that no other custodian has; no UUID, no control character, no space at either end",
    ),
    key("seal.custodians[].region", "where it is, 1 to 64 bytes; shown with the shards that it keeps"),
    key("seal.custodians[].age.recipient", "the public key that age-keygen prints: `age1` and 58 more characters"),
    key("seal.custodians[].card.public_key", "the card's RSA key of 2048 to 4096 bits in PEM (`BEGIN PUBLIC KEY`), or a certificate of it"),
    key("seal.custodians[].card.oaep", "`sha256`, or `sha1` for a card that has only that"),
    key("seal.custodians[].pkcs11.module", "the absolute path of a PKCS#11 module"),
    key("seal.custodians[].pkcs11.token", "the token's label, 1 to 32 bytes, or `serial` instead of it"),
    key("seal.custodians[].pkcs11.serial", "the token's serial number, 1 to 16 characters, or `token` instead of it"),
    key("seal.custodians[].pkcs11.key", "the label of the seal key on the token, 1 to 64 bytes"),
    key("seal.custodians[].pkcs11.pin", "credential:NAME, the name of a file in $CREDENTIALS_DIRECTORY; a PIN is never written here"),
    key("seal.custodians[].pkcs11.environment.*", "a text for a variable of the device process"),
    key("seal.custodians[].tpm2.tcti", "how tpm2-tss reaches the TPM, such as \"device:/dev/tpmrm0\""),
    key("seal.custodians[].tpm2.pcrs", "sha256: and registers from 0 to 23, ascending, such as \"sha256:7,14\""),
    key(
        "seal.custodians[].tpm2.pin",
        "credential:NAME, the name of a file in $CREDENTIALS_DIRECTORY, or `typed`; without it slots have no PIN",
    ),
    key("seal.custodians[].shamir.threshold", THRESHOLD),
    key_or_list(
        "seal.custodians[].shamir.keepers",
        "a list of 2 to 255 names of other custodians, each with a device or recipient of its own",
    ),
    key("ivk.rotate_every", LIFE),
    key("ivk.rotate_at", CALENDAR),
    key("ivk.tenants.rotate_every", LIFE),
    key("ivk.tenants.rotate_at", CALENDAR),
    key("ivk.resources.rotate_every", LIFE),
    key("ivk.resources.rotate_at", CALENDAR),
    key("ivk.services.rotate_every", LIFE),
    key("ivk.services.rotate_at", CALENDAR),
    key("ivk.services.replace_expired", TRUTH),
    key("reencrypt.rate", "keys that are moved each second, from \"1/s\" to \"1000000/s\", or `unlimited`"),
    key("reencrypt.cpu", "a share of one processor, from \"1%\" to \"100%\""),
    key("edge.group", "the name of the edge group, 1 to 63 of a-z, 0-9 and -"),
    key_or_list("edge.upstreams", "https://HOST:PORT of a core's HTTPS listener, or a list of up to 16, the preferred one first"),
    key("edge.ca", PEM_FILE),
    key("edge.cert", PEM_FILE),
    key("edge.key", PEM_FILE),
    key("edge.ephemeral", TRUTH),
    key("edge.shared", TRUTH),
    key("edge.lease", "a duration with its unit, from 1s to 5m"),
    key("edge.offline_ttl", "a duration with its unit, from 0s to 7days"),
    key("edge.pool", POOL),
    key("edge.cache", "a size with its unit, from 64KiB to 4GiB, such as \"32MiB\""),
    key("edge.l4_ttl", LIFE),
    key("admin.calls_per_second", CALLS),
    key("kmip.idle_timeout", DURATION),
    key("kmip.message_max", "a size with its unit, from 8KiB to 16MiB, such as \"1MiB\""),
    key("kmip.credentials", "`ignore` or `refuse`"),
    key("kmip.gcm_caller_iv", "`accept` or `refuse`"),
    key("audit.sync", "`lifecycle` or `always`"),
    key("memory.arena", "a size with its unit, from 64KiB to 1GiB, such as \"2MiB\""),
    key("memory.require_secretmem", TRUTH),
    key("log.level", "`error`, `warn`, `info`, `debug` or `trace`"),
    key("log.format", "`text` or `json`"),
];

/// What stands at a place of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One value.
    Value,
    /// One value, or a list of such.
    ValueOrList,
    /// A map of names.
    Map,
    /// A list.
    List,
    /// Nothing: no such key.
    Unknown,
}

/// What the table has at `path`, given in the table's own spelling; the root is "".
pub(super) fn shape(path: &str) -> Shape {
    for key in KEYS {
        let Some(rest) = key.path.strip_prefix(path) else { continue };
        match rest.as_bytes().first() {
            None if key.or_list => return Shape::ValueOrList,
            None => return Shape::Value,
            Some(b'[') => return Shape::List,
            Some(b'.') => return Shape::Map,
            Some(_) if path.is_empty() => return Shape::Map,
            Some(_) => {}
        }
    }
    // An element of a list that stands in place of one value.
    let is_element = |key: &&Key| key.or_list && path.strip_suffix("[]") == Some(key.path);
    if KEYS.iter().any(|key| is_element(&key)) { Shape::Value } else { Shape::Unknown }
}

/// The names that the table has below the map at `path`.
pub(super) fn names(path: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for key in KEYS {
        let rest = if path.is_empty() { Some(key.path) } else { key.path.strip_prefix(path).and_then(|rest| rest.strip_prefix('.')) };
        let name = rest.map(|rest| rest.split(['.', '[']).next().expect("a split has a first part"));
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

/// The table's spelling of `name` below the map at `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    let name = if names(path) == ["*"] { "*" } else { name };
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The accepted form at `path`, in the table's spelling.
pub(super) fn form(path: &str) -> &'static str {
    match KEYS.iter().find(|key| key.path == path || (key.or_list && path.strip_suffix("[]") == Some(key.path))) {
        Some(key) => key.form,
        None if shape(path) == Shape::List => "a list",
        None => "a map of names and values",
    }
}

/// Is it a truth value that stands at `path`?
pub(super) fn is_truth(path: &str) -> bool {
    form(path) == TRUTH
}

/// Is it a number that stands at `path`?
pub(super) fn is_number(path: &str) -> bool {
    matches!(form(path), CALLS | CONNECTIONS | POOL | THRESHOLD)
}

/// A key as written, `seal.custodians[0].name`, in the table's spelling.
pub(super) fn spelling(written: &str) -> String {
    let mut path = String::new();
    for part in written.split('.') {
        let (name, element) = part.split_once('[').map_or((part, ""), |(name, _)| (name, "[]"));
        path = join(&path, name) + element;
    }
    path
}

/// Those of `accepted` that look like `name`, the likeliest first.
pub(super) fn near(name: &str, accepted: &[String]) -> Vec<String> {
    let mut alike: Vec<_> =
        accepted.iter().map(|other| (strsim::jaro_winkler(name, other), other)).filter(|(measure, _)| *measure >= ALIKE).collect();
    alike.sort_by(|left, right| right.0.total_cmp(&left.0));
    alike.into_iter().take(ALIKE_MAX).map(|(_, other)| other.clone()).collect()
}

/// Is this an environment variable for us?
pub(super) fn is_ours(variable: &str) -> bool {
    variable.starts_with(PREFIX)
}

/// The key that a variable overrides, as it would be written; where a part is unknown, the variables that would do there.
pub(super) fn of_variable(variable: &str) -> Result<String, Vec<String>> {
    let (mut written, mut path) = (String::new(), String::new());
    let mut parts = variable.strip_prefix(PREFIX).unwrap_or_default().split(JOINT);
    while let Some(part) = parts.next() {
        match shape(&path) {
            Shape::List | Shape::ValueOrList if part.parse::<u8>().is_ok() => {
                written += &format!("[{part}]");
                path += "[]";
            }
            Shape::Map if names(&path) == ["*"] && !part.is_empty() => {
                path += ".*";
                // The names of a map of values are somebody else's: neither lower-cased nor split.
                let name = match shape(&path) {
                    Shape::Map => part.to_lowercase(),
                    _ => parts.by_ref().fold(part.to_owned(), |name, part| name + JOINT + part),
                };
                written += &format!(".{name}");
            }
            Shape::Map => {
                let name = names(&path).into_iter().find(|name| name.to_uppercase() == part);
                let name =
                    name.ok_or_else(|| names(&path).into_iter().map(|name| variable_of(&dotted(&written, name))).collect::<Vec<_>>())?;
                written = dotted(&written, name);
                path = join(&path, name);
            }
            Shape::List => return Err(vec![variable_of(&(written + "[0]"))]),
            Shape::Value | Shape::ValueOrList | Shape::Unknown => return Err(vec![variable_of(&written)]),
        }
    }
    Ok(written)
}

/// The variable that overrides a key as written.
pub(super) fn variable_of(written: &str) -> String {
    PREFIX.to_owned() + &written.replace('[', JOINT).replace(']', "").replace('.', JOINT).to_uppercase()
}

fn dotted(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_follow_the_table() {
        for (path, wanted) in [
            ("", Shape::Map),
            ("role", Shape::Value),
            ("listeners", Shape::Map),
            ("listeners.kmip", Shape::Map),
            ("listeners.kmip.cert", Shape::ValueOrList),
            ("listeners.kmip.cert[]", Shape::Value),
            ("identity.rules", Shape::List),
            ("identity.rules[]", Shape::Map),
            ("identity.rules[].subject", Shape::Map),
            ("identity.rules[].subject.*", Shape::Value),
            ("keystores.*", Shape::Map),
            ("keystores.*.postgres.pool", Shape::Value),
            ("rol", Shape::Unknown),
            ("listeners.km", Shape::Unknown),
            ("listeners.http", Shape::Unknown),
        ] {
            assert_eq!(shape(path), wanted, "{path}");
        }
    }

    #[test]
    fn a_variable_names_its_key() {
        for (variable, key) in [
            ("STRONGROOM__ROLE", "role"),
            ("STRONGROOM__LISTENERS__KMIP__CLIENT_CA", "listeners.kmip.client_ca"),
            ("STRONGROOM__LISTENERS__KMIP__CERT", "listeners.kmip.cert"),
            ("STRONGROOM__LISTENERS__KMIP__CERT__1", "listeners.kmip.cert[1]"),
            ("STRONGROOM__IDENTITY__RULES", "identity.rules"),
            ("STRONGROOM__SEAL__CUSTODIANS__0__PKCS11__PIN", "seal.custodians[0].pkcs11.pin"),
            ("STRONGROOM__KEYSTORES__MAIN__POSTGRES__URL", "keystores.main.postgres.url"),
            ("STRONGROOM__SEAL__CUSTODIANS__1__PKCS11__ENVIRONMENT__Soft__Conf", "seal.custodians[1].pkcs11.environment.Soft__Conf"),
        ] {
            assert_eq!(of_variable(variable).as_deref(), Ok(key));
            assert_eq!(variable_of(key).to_uppercase(), variable.to_uppercase());
        }
    }

    #[test]
    fn a_variable_without_a_key_is_answered_with_those_that_would_do() {
        for (variable, proposed) in [
            ("STRONGROOM__ROLES", "STRONGROOM__ROLE"),
            ("STRONGROOM__role", "STRONGROOM__ROLE"),
            ("STRONGROOM__ROLE__X", "STRONGROOM__ROLE"),
            ("STRONGROOM__", "STRONGROOM__ROLE"),
            ("STRONGROOM__KMIP__IDLETIMEOUT", "STRONGROOM__KMIP__IDLE_TIMEOUT"),
            ("STRONGROOM__IDENTITY__RULES__FIRST", "STRONGROOM__IDENTITY__RULES__0"),
        ] {
            let proposals = of_variable(variable).expect_err("there is no such key");
            assert!(proposals.iter().any(|name| name == proposed), "{variable}: {proposals:?}");
        }
    }
}
