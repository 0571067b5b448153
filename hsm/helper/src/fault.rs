//! What a failed PKCS#11 call is called on the wire.

use cryptoki::error::{Error, RvError};
use hsm::Refusal;

/// The device's fault, with the function and the return value by name.
pub(crate) fn fault(error: Error) -> Refusal {
    match error {
        Error::Pkcs11(code, function) => Refusal::DeviceFault { call: format!("C_{function:?}"), code: format!("{code:?}") },
        other => Refusal::DeviceFault { call: "the module".to_owned(), code: other.to_string() },
    }
}

/// The return value, if a PKCS#11 call failed.
pub(crate) fn code(error: &Error) -> Option<RvError> {
    match error {
        Error::Pkcs11(code, _) => Some(*code),
        _ => None,
    }
}
