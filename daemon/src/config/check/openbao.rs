//! What the configuration says of a keystore on an OpenBao server, checked.

use std::time::Duration;

use super::super::{AppRole, CertificateFiles, Openbao, file};
use super::{Fault, STORE_TIMEOUTS, absolute, credential, optional, required, within};

/// Under the five seconds in which whoever asks has to hear that the store is away.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(4);
const MOUNT_DEFAULT: &str = "strongroom";
const PREFIX_DEFAULT: &str = "keys";
const FOLDER_BYTES_MAX: usize = 128;
const ROLE_BYTES_MAX: usize = 128;

pub(super) fn openbao(at: &str, raw: file::Openbao) -> Result<Openbao, Fault> {
    let key = |name: &str| format!("{at}.{name}");
    let url = required(&key("url"), raw.url, |text| text.parse().ok())?;
    let ca = required(&key("ca"), raw.ca, absolute)?;
    let client = match (optional(&key("cert"), raw.cert, absolute)?, optional(&key("key"), raw.key, absolute)?) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(CertificateFiles { cert, key }),
        (None, Some(_)) => return Err(Fault::missing(key("cert"))),
        (Some(_), None) => return Err(Fault::missing(key("key"))),
    };
    let approle = match raw.approle {
        None if client.is_some() => None,
        approle => {
            let file::AppRole { role_id, secret_id } = approle.unwrap_or_default();
            Some(AppRole {
                role: required(&key("approle.role_id"), role_id, role)?,
                secret: required(&key("approle.secret_id"), secret_id, credential)?,
            })
        }
    };
    Ok(Openbao {
        url,
        mount: optional(&key("mount"), raw.mount, folder)?.unwrap_or_else(|| MOUNT_DEFAULT.to_owned()),
        prefix: optional(&key("prefix"), raw.prefix, folder)?.unwrap_or_else(|| PREFIX_DEFAULT.to_owned()),
        namespace: optional(&key("namespace"), raw.namespace, folder)?,
        ca,
        client,
        approle,
        timeout: optional(&key("timeout"), raw.timeout, |text| within(text, &STORE_TIMEOUTS))?.unwrap_or(TIMEOUT_DEFAULT),
    })
}

/// What can stand in a path as it is.
fn folder(text: &str) -> Option<String> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    (text.len() <= FOLDER_BYTES_MAX && text.split('/').all(is_name)).then(|| text.to_owned())
}

fn role(text: &str) -> Option<String> {
    let is_one = (1..=ROLE_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_one.then(|| text.to_owned())
}
