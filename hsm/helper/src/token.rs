//! The loaded module, and the one token of it that the job means.

use std::mem::ManuallyDrop;
use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::Error;
use cryptoki::mechanism::MechanismType;
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use hsm::{KeyKind, Refusal, TokenName, TokenReport};

use crate::fault::fault;

/// A module after C_Initialize. It is never unloaded: the process exits instead, without running the module's destructors.
pub(crate) struct Module {
    api: ManuallyDrop<Pkcs11>,
}

/// A token that is there.
pub(crate) struct Found {
    slot: Slot,
    pub(crate) info: TokenInfo,
}

impl Module {
    pub(crate) fn load(path: &Path) -> Result<Self, Refusal> {
        let unusable = |error: Error| Refusal::ModuleUnusable { module: path.to_owned(), reason: error.to_string() };
        let api = ManuallyDrop::new(Pkcs11::new(path).map_err(unusable)?);
        api.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(unusable)?;
        Ok(Self { api })
    }

    /// Ends the use of the module. What it answers changes nothing: the work is done or refused by now, and the process ends.
    pub(crate) fn finalize(self) {
        let _answer = Pkcs11::clone(&self.api).finalize();
    }

    /// The token of that name among the initialised ones. A slot that cannot tell what is in it is passed over.
    pub(crate) fn find(&self, name: &TokenName) -> Result<Found, Refusal> {
        let slots = self.api.get_slots_with_token().map_err(fault)?;
        let tokens = slots.into_iter().filter_map(|slot| Some(Found { slot, info: self.api.get_token_info(slot).ok()? }));
        let tokens: Vec<_> = tokens.filter(|found| found.info.token_initialized()).collect();
        let seen = tokens.len();
        let mut matching: Vec<_> = tokens.into_iter().filter(|found| found.is(name)).collect();
        match (matching.pop(), matching.len()) {
            (None, _) => Err(Refusal::TokenMissing { wanted: name.to_string(), seen }),
            (Some(found), 0) => Ok(found),
            (Some(_), others) => Err(Refusal::TokenAmbiguous { wanted: name.to_string(), count: others + 1 }),
        }
    }

    pub(crate) fn mechanisms(&self, found: &Found) -> Result<Vec<MechanismType>, Refusal> {
        self.api.get_mechanism_list(found.slot).map_err(fault)
    }

    pub(crate) fn session(&self, found: &Found, writing: bool) -> Result<Session, Refusal> {
        if writing { self.api.open_rw_session(found.slot) } else { self.api.open_ro_session(found.slot) }.map_err(fault)
    }

    pub(crate) fn describe(&self, found: &Found) -> Result<TokenReport, Refusal> {
        let mechanisms = self.mechanisms(found)?;
        let info = &found.info;
        Ok(TokenReport {
            label: info.label().to_owned(),
            serial: info.serial_number().to_owned(),
            model: format!("{} {}", info.manufacturer_id(), info.model()),
            key_kinds: [KeyKind::Aes256, KeyKind::Rsa3072].into_iter().filter(|kind| missing(*kind, &mechanisms).is_none()).collect(),
            pin_count_low: info.user_pin_count_low(),
            pin_final_try: info.user_pin_final_try(),
            pin_locked: info.user_pin_locked(),
        })
    }
}

impl Found {
    fn is(&self, name: &TokenName) -> bool {
        match name {
            TokenName::Label(label) => self.info.label() == label,
            TokenName::Serial(serial) => self.info.serial_number() == serial,
        }
    }
}

/// The first mechanism that making and using a key of this kind needs and the token lacks.
pub(crate) fn missing(kind: KeyKind, offered: &[MechanismType]) -> Option<MechanismType> {
    let needed = match kind {
        KeyKind::Aes256 => [MechanismType::AES_KEY_GEN, MechanismType::AES_GCM],
        KeyKind::Rsa3072 => [MechanismType::RSA_PKCS_KEY_PAIR_GEN, MechanismType::RSA_PKCS_OAEP],
    };
    needed.into_iter().find(|needed| !offered.contains(needed))
}
