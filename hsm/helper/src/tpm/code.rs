//! What a failed command is called on the wire.

use hsm::{Refusal, Tpm};
use tss_esapi::Error;
use tss_esapi::constants::response_code::Tss2ResponseCode;

/// A response code (part 2, 6.6), or the code of a layer below the TPM's commands (TSS 2.0 Overview, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(u32);

impl Code {
    pub(crate) const INITIALIZE: Self = Self(0x100);
    pub(crate) const PCR_CHANGED: Self = Self(0x128);
    pub(crate) const LOCKOUT: Self = Self(0x921);
    pub(crate) const VALUE: Self = Self(0x084);
    pub(crate) const AUTH_FAIL: Self = Self(0x08E);
    pub(crate) const SIGNATURE: Self = Self(0x09B);
    pub(crate) const POLICY_FAIL: Self = Self(0x09D);
    pub(crate) const BAD_AUTH: Self = Self(0x0A2);

    /// The codes that a reader can do something about; the rest go by their number.
    const NAMES: [(Self, &str); 19] = [
        (Self::INITIALIZE, "TPM_RC_INITIALIZE"),
        (Self(0x101), "TPM_RC_FAILURE"),
        (Self(0x120), "TPM_RC_DISABLED"),
        (Self::PCR_CHANGED, "TPM_RC_PCR_CHANGED"),
        (Self(0x14B), "TPM_RC_NV_SPACE"),
        (Self(0x902), "TPM_RC_OBJECT_MEMORY"),
        (Self(0x903), "TPM_RC_SESSION_MEMORY"),
        (Self(0x904), "TPM_RC_MEMORY"),
        (Self(0x905), "TPM_RC_SESSION_HANDLES"),
        (Self(0x906), "TPM_RC_OBJECT_HANDLES"),
        (Self(0x920), "TPM_RC_NV_RATE"),
        (Self::LOCKOUT, "TPM_RC_LOCKOUT"),
        (Self(0x922), "TPM_RC_RETRY"),
        (Self(0x923), "TPM_RC_NV_UNAVAILABLE"),
        (Self::VALUE, "TPM_RC_VALUE"),
        (Self::AUTH_FAIL, "TPM_RC_AUTH_FAIL"),
        (Self::SIGNATURE, "TPM_RC_SIGNATURE"),
        (Self::POLICY_FAIL, "TPM_RC_POLICY_FAIL"),
        (Self::BAD_AUTH, "TPM_RC_BAD_AUTH"),
    ];

    /// `None` if the binding itself failed.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        // The binding keeps the number to itself and writes it out only when asked for words: "Response code value: 0x9a2".
        let words = match error {
            Error::Tss2Error(Tss2ResponseCode::FormatZero(code)) => code.to_string(),
            Error::Tss2Error(Tss2ResponseCode::FormatOne(code)) => code.to_string(),
            Error::Tss2Error(Tss2ResponseCode::Success) | Error::WrapperError(_) => return None,
        };
        let (_, digits) = words.rsplit_once("0x")?;
        u32::from_str_radix(digits, 16).ok().map(Self)
    }

    /// Whether the TPM itself said this, and not tpm2-tss or the way to the TPM. A resource manager says it with a layer of its own.
    fn is_the_tpms(self) -> bool {
        const TPM: u32 = 0;
        const RESOURCE_MANAGER_TPM: u32 = 11;
        matches!(self.0 >> 16, TPM | RESOURCE_MANAGER_TPM)
    }

    /// The code without the number of the handle, parameter or session that it is about.
    fn bare(self) -> Self {
        const FORMAT_ONE: u32 = 0x80;
        let code = self.0 & 0xFFFF;
        if code & FORMAT_ONE == 0 { Self(code) } else { Self(code & 0xBF) }
    }

    pub(crate) fn is(self, other: Self) -> bool {
        self.is_the_tpms() && self.bare() == other
    }

    /// Whether the TPM found fault with a parameter, handle or session of the command, and not with its own state.
    pub(crate) fn blames_the_command(self) -> bool {
        self.is_the_tpms() && self.0 & 0x80 != 0
    }

    /// Whether nothing is wrong but the way to the TPM, or nobody has started it.
    fn is_unreachable(self) -> bool {
        const WAY: [u32; 2] = [10, 14];
        WAY.contains(&(self.0 >> 16)) || self.is(Self::INITIALIZE)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Self::NAMES.iter().find(|(code, _)| self.is(*code)) {
            Some((_, name)) => write!(f, "{name} ({:#x})", self.0),
            None => write!(f, "response code {:#x}", self.0),
        }
    }
}

/// Whether the error is this code of the TPM's.
pub(crate) fn is(error: &Error, code: Code) -> bool {
    Code::of(error).is_some_and(|found| found.is(code))
}

/// Whether the TPM found fault with the command.
pub(crate) fn blames_the_command(error: &Error) -> bool {
    Code::of(error).is_some_and(Code::blames_the_command)
}

/// The TPM's fault, with command and code by name; or that of the way to it.
pub(crate) fn fault(tpm: &Tpm, command: &str, error: Error) -> Refusal {
    match Code::of(&error) {
        Some(code) if code.is_unreachable() => unusable(tpm, error),
        Some(code) => Refusal::DeviceFault { call: command.to_owned(), code: code.to_string() },
        None => Refusal::DeviceFault { call: command.to_owned(), code: error.to_string() },
    }
}

/// No word can be had with the TPM.
pub(crate) fn unusable(tpm: &Tpm, error: Error) -> Refusal {
    let reason =
        Code::of(&error).map_or_else(|| format!("tpm2-tss does not understand the name: {error}"), |code| format!("tpm2-tss: {code}"));
    Refusal::TpmUnusable { tcti: tpm.tcti.clone(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_by_whatever_parameter_or_session_it_is_about() {
        for (code, name) in [(0x98E, "TPM_RC_AUTH_FAIL (0x98e)"), (0x1C4, "TPM_RC_VALUE (0x1c4)"), (0x902, "TPM_RC_OBJECT_MEMORY (0x902)")]
        {
            assert_eq!(Code(code).to_string(), name);
        }
        assert!(Code(0xB098E).is(Code::AUTH_FAIL), "said by a resource manager");
    }

    #[test]
    fn a_code_of_another_layer_is_not_taken_for_the_tpms() {
        // ESAPI's own 0x8E and TCTI's I/O error.
        assert!(!Code(0x7008E).is(Code::AUTH_FAIL));
        assert!(!Code(0x7008E).blames_the_command());
        assert!(Code(0xA000A).is_unreachable());
    }
}
