//! What the configuration says of a keystore behind a plugin, checked.

use super::super::{Grpc, Runs, file};
use super::{Fault, PLUGIN_TIMEOUT_DEFAULT, PLUGIN_TIMEOUTS, What, absolute, hash_of_hex, optional, required, within};

/// Either way of running a plugin, with what belongs to it and nothing of the other.
pub(super) fn grpc(at: &str, raw: file::Grpc) -> Result<Grpc, Fault> {
    let key = |name: &str| format!("{at}.{name}");
    let refused = |name: &str, told: Option<String>, form| match told {
        Some(told) => Err(Fault { key: key(name), what: What::RefusedFor(told, form) }),
        None => Ok(()),
    };
    let timeout = optional(&key("timeout"), raw.timeout, |text| within(text, &PLUGIN_TIMEOUTS))?.unwrap_or(PLUGIN_TIMEOUT_DEFAULT);
    let arguments = match raw.args {
        None => Vec::new(),
        Some(file::OneOrMore::One(one)) => vec![one],
        Some(file::OneOrMore::More(more)) => more,
    };
    if arguments.iter().any(|argument| argument.contains('\0')) {
        return Err(Fault::refused(key("args"), arguments.join(" ")));
    }
    let runs = match (raw.socket, raw.command) {
        (socket, Some(command)) => {
            refused("socket", socket, "`socket` or `command`, not both")?;
            refused("user", raw.user, "nothing: a plugin of `command` runs as the daemon's own user")?;
            let command = required(&key("command"), Some(command), absolute)?;
            let sha256 = required(&key("sha256"), raw.sha256, |text| hash_of_hex(text).ok())?;
            Runs::Daemon { command, sha256, arguments }
        }
        (socket, None) => {
            let unit = "nothing: say it in the plugin's own unit, by `strongroomd confine`";
            refused("sha256", raw.sha256, unit)?;
            refused("args", arguments.into_iter().next(), unit)?;
            let socket = required(&key("socket"), socket, absolute)?;
            Runs::Unit { socket, user: optional(&key("user"), raw.user, |text| (!text.is_empty()).then(|| text.to_owned()))? }
        }
    };
    Ok(Grpc { runs, timeout })
}
