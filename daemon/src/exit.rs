//! With which code the daemon ends: whether another start can help, for the unit's `RestartPreventExitStatus=`.
//!
//! A wrong PIN is not here: the node runs on, sealed, and asks the token no second time until an operator says so.

use audit::AuditError;
use keys::port::StoreError;

use crate::boot::BootError;
use crate::layout::LayoutError;

/// Something passes, or was mended meanwhile: another start may help.
pub const AGAIN: u8 = 1;
/// What is stored is damaged or gone, and has to be put back from a copy; or it is of a newer release, which has to be installed (`EX_DATAERR`).
pub const DAMAGED: u8 = 65;
/// A self-test failed: this machine or this build computes wrongly (`EX_SOFTWARE`).
pub const WRONG: u8 = 70;
/// The configuration, or what it names, has to be corrected by a person (`EX_CONFIG`).
pub const CONFIGURATION: u8 = 78;

/// The code for a start or a run that ended so.
#[must_use]
pub fn code(error: &BootError) -> u8 {
    match error {
        BootError::SelfTest(_) => WRONG,
        BootError::Layout(LayoutError::Damaged { .. } | LayoutError::Newer { .. })
        | BootError::StoreMissing { .. }
        | BootError::Store(StoreError::Corrupt { .. })
        | BootError::Audit(AuditError::Broken(_) | AuditError::OtherLog { .. } | AuditError::OtherKey { .. }) => DAMAGED,
        BootError::Memory(_)
        | BootError::Layout(LayoutError::Uninitialised { .. } | LayoutError::Initialised { .. } | LayoutError::SocketPath { .. })
        | BootError::Config(_)
        | BootError::Passed(_)
        | BootError::Seal(_)
        | BootError::OtherRole { .. }
        | BootError::RowsElsewhere { .. }
        | BootError::RowsMoving { .. }
        | BootError::KeystoreGone { .. }
        | BootError::StoreTls { .. }
        | BootError::Plugin { .. }
        | BootError::PluginUser { .. }
        | BootError::PluginTaken { .. }
        | BootError::PluginUnshared { .. }
        | BootError::Password { .. }
        | BootError::Tls { .. } => CONFIGURATION,
        BootError::Harden(_)
        | BootError::Layout(LayoutError::InUse { .. } | LayoutError::Io { .. })
        | BootError::Store(
            StoreError::Conflict { .. }
            | StoreError::Full { .. }
            | StoreError::Unavailable { .. }
            | StoreError::Sealed { .. }
            | StoreError::Denied { .. }
            | StoreError::Poisoned,
        )
        | BootError::Audit(AuditError::Io { .. } | AuditError::InUse { .. })
        | BootError::Unseal(_)
        | BootError::Bind { .. }
        | BootError::Socket { .. }
        | BootError::Fallen { .. }
        | BootError::Late { .. }
        | BootError::Io(_) => AGAIN,
    }
}
