//! The custodian that is a TPM 2.0: it opens the slot key in the states of the platform that the slot's release key has approved (C13).

use std::sync::Arc;

use hsm::{Device, DeviceError, Login, ReleaseKey, Tpm, TpmPolicy, TpmSealed};
use secret::Bytes;

use crate::approval::{Approval, reference};
use crate::custodian::{Consent, Custodian, CustodianKind, Guarded, New, Place, Platform};
use crate::fields::{Reader, put_prefixed};
use crate::pin::{Pin, PinSource};
use crate::{Error, Label};

/// Most bytes of a TPM's structures in a slot; those of a sealed secret are below 300.
const STRUCTURE_BYTES_MAX: usize = 4096;

/// A TPM as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tpm2Settings {
    /// How it is reached.
    pub tpm: Tpm,
    /// Registers for new approvals, ascending.
    pub pcrs: Vec<u8>,
    /// Where the PIN comes from; `None`: slots of this custodian have none.
    pub pin: Option<PinSource>,
}

/// A TPM, ready for jobs.
pub(crate) struct Tpm2 {
    name: Label,
    settings: Tpm2Settings,
    device: Arc<dyn Device>,
}

impl Tpm2 {
    /// Starts nothing.
    pub(crate) fn new(name: Label, settings: Tpm2Settings, device: Arc<dyn Device>) -> Self {
        Self { name, settings, device }
    }

    fn failed(&self, source: DeviceError) -> Error {
        Error::Device { name: self.name.clone(), source }
    }

    fn pin<'a>(&self, consent: Consent<'a>, has_pin: bool) -> Result<Option<Pin<'a>>, Error> {
        match &self.settings.pin {
            _ if !has_pin => Ok(None),
            Some(source) => source.pin(&self.name, consent).map(Some),
            None => PinSource::Typed.pin(&self.name, consent).map(Some),
        }
    }
}

impl Custodian for Tpm2 {
    fn name(&self) -> &Label {
        &self.name
    }

    fn kind(&self) -> CustodianKind {
        CustodianKind::Tpm2
    }

    fn unattended(&self) -> bool {
        !matches!(self.settings.pin, Some(PinSource::Typed))
    }

    fn protect(&self, secret: &Bytes, of: New<'_>, consent: Consent<'_>) -> Result<Guarded, Error> {
        let approval = of.approval.ok_or_else(|| Error::ApprovalNeeded { name: self.name.clone() })?;
        let has_pin = self.settings.pin.is_some();
        let policy_gen = approval.state.policy_gen;
        let policy = TpmPolicy { release_key: approval.release_key, reference: reference(of.header.id, policy_gen), has_pin };
        let pin = self.pin(consent, has_pin)?;
        let login = pin.as_ref().map(|pin| pin.login(consent));
        let sealed = self.settings.tpm.protect(&*self.device, login, &policy, secret).map_err(|source| self.failed(source))?;
        let TpmSealed { root_name, public, private } = sealed;
        let parameters = Parameters { root_name, release_key: policy.release_key, policy_gen, has_pin, public };
        Ok(Guarded { parameters: parameters.encode(), protected: private })
    }

    fn open(&self, at: Place<'_>, consent: Consent<'_>) -> Result<Bytes, Error> {
        let Parameters { root_name, release_key, policy_gen, has_pin, public } = Parameters::decode(&at.guarded.parameters)?;
        let policy = TpmPolicy { release_key, reference: reference(at.header.id, policy_gen), has_pin };
        let sealed = TpmSealed { root_name, public, private: at.guarded.protected.clone() };
        let fits = |approval: &&Approval| approval.release_key == release_key && approval.state.policy_gen == policy_gen;
        let approvals = at.approvals.iter().filter(fits).take(hsm::APPROVALS_MAX).map(Approval::for_tpm).collect();
        let pin = self.pin(consent, has_pin)?;
        let login: Option<Login<'_>> = pin.as_ref().map(|pin| pin.login(consent));
        self.settings.tpm.open(&*self.device, login, &policy, approvals, &sealed).map_err(|source| self.failed(source))
    }

    fn ailing(&self, _: Place<'_>, _: Consent<'_>) -> Vec<(Label, Error)> {
        Vec::new()
    }

    fn people(&self) -> Vec<Label> {
        Vec::new()
    }

    fn follows_platform(&self) -> bool {
        true
    }

    fn platform(&self, pcrs: Option<&[u8]>) -> Result<Option<Platform>, Error> {
        let pcrs = pcrs.unwrap_or(&self.settings.pcrs);
        let report = self.settings.tpm.describe(&*self.device, pcrs).map_err(|source| self.failed(source))?;
        Ok(report.digest.map(|digest| Platform { pcrs: pcrs.to_vec(), digest }))
    }
}

/// What a slot stores for a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// TPM Name of its storage root key.
    pub(crate) root_name: Vec<u8>,
    /// Who approves states of the platform.
    pub(crate) release_key: ReleaseKey,
    /// Which policy; approvals of another one count for nothing.
    pub(crate) policy_gen: u32,
    has_pin: bool,
    public: Vec<u8>,
}

impl Parameters {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_prefixed(&mut bytes, &self.root_name);
        bytes.extend_from_slice(&self.release_key.x);
        bytes.extend_from_slice(&self.release_key.y);
        bytes.extend_from_slice(&self.policy_gen.to_be_bytes());
        bytes.push(u8::from(self.has_pin));
        put_prefixed(&mut bytes, &self.public);
        bytes
    }

    /// Reads what a slot stores.
    ///
    /// # Errors
    /// `Corrupt`, with offsets within the parameters.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let root_name = reader.prefixed(STRUCTURE_BYTES_MAX, "name of the TPM")?.to_vec();
        let release_key = ReleaseKey { x: reader.array("release key")?, y: reader.array("release key")? };
        let policy_gen = reader.u32("policy generation")?;
        let at = reader.at();
        let has_pin = match reader.u8("PIN")? {
            0 => false,
            1 => true,
            _ => return Err(Error::Corrupt { what: "PIN", at }),
        };
        let public = reader.prefixed(STRUCTURE_BYTES_MAX, "sealed object")?.to_vec();
        reader.end()?;
        Ok(Self { root_name, release_key, policy_gen, has_pin, public })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::Slot;

    /// Made by an independent implementation from the layouts in this crate.
    const GOLDEN: &[u8] = include_bytes!("../tests/golden/slot-tpm2-v1.bin");

    #[test]
    fn what_the_first_format_stores_for_a_tpm_is_read_for_ever() {
        let Slot { header, guarded, .. } = Slot::decode(GOLDEN).expect("a slot of the first format");
        let root_name = [&[0, 0x0B][..], &[0xE1; 32]].concat();
        let release_key = ReleaseKey { x: [0xE2; 32], y: [0xE3; 32] };
        let stored = Parameters { root_name, release_key, policy_gen: 3, has_pin: true, public: vec![0xE4; 90] };
        assert_eq!((header.custodian.as_str(), &guarded.protected), ("tpm", &vec![0xE5; 120]));
        assert_eq!(stored.encode(), guarded.parameters);
        assert_eq!(Parameters::decode(&guarded.parameters).ok(), Some(stored));
    }

    #[test]
    fn parameters_are_read_as_they_were_written_and_in_no_other_form() {
        for has_pin in [false, true] {
            let release_key = ReleaseKey { x: [1; 32], y: [2; 32] };
            let parameters = Parameters { root_name: vec![3; 34], release_key, policy_gen: 1, has_pin, public: vec![4; 90] };
            let bytes = parameters.encode();
            assert_eq!(Parameters::decode(&bytes).ok(), Some(parameters));
            for cut in 0..bytes.len() {
                assert!(Parameters::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
            assert!(Parameters::decode(&[&bytes[..], &[0]].concat()).is_err());
            let mut odd = bytes;
            odd[4 + 34 + 64 + 4] = 2;
            assert!(matches!(Parameters::decode(&odd), Err(Error::Corrupt { what: "PIN", .. })));
        }
    }
}
