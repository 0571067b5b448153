//! Approving states of the platform for the slots that a TPM opens.

use crate::custodian::{CustodianKind, Platform};
use crate::tpm2::Parameters;
use crate::{Approval, Error, Label, Seal};

impl Seal {
    /// The approvals of a slot, by id or label, oldest first.
    ///
    /// # Errors
    /// `NoSuchSlot`, `LabelAmbiguous`, `Io`.
    pub fn approvals(&self, name: &str) -> Result<Vec<Approval>, Error> {
        self.dir.approvals(self.list()?.find(name)?.header.id)
    }

    /// Takes in an approval of the slot that it names, and does not ask the TPM: whether the state is the present one shows when the slot opens.
    ///
    /// # Errors
    /// `Busy`, `NoSuchSlot`, `ApprovalForged`, `ApprovalUnfit` if it is signed by another key or for another policy than the slot's; `Io`.
    pub fn approve(&self, approval: &Approval) -> Result<(), Error> {
        approval.check()?;
        let _claim = self.writer.claim()?;
        let id = approval.state.slot;
        let unfit = |why| Err(Error::ApprovalUnfit { slot: id, why });
        let listing = self.list()?;
        let slot = listing.find(&id.to_string())?;
        if slot.header.kind != CustodianKind::Tpm2 {
            return unfit("it is no slot of a TPM");
        }
        let Parameters { release_key, policy_gen, .. } = Parameters::decode(&slot.guarded.parameters)?;
        if approval.release_key != release_key {
            return unfit("it is signed by another release key than the slot follows; sign it with that one");
        }
        if approval.state.policy_gen != policy_gen {
            return unfit("it is for another policy of the slot; sign it for the present one");
        }
        if self.dir.approvals(id)?.len() >= hsm::APPROVALS_MAX {
            return unfit("the slot has as many approvals as it may: make it anew, which ends the old ones");
        }
        self.dir.keep(approval)
    }

    /// How the platform of a custodian stands, by its registers or by these instead.
    ///
    /// # Errors
    /// `NoCustodian`, `NoPlatform`, `Device`.
    pub fn platform(&self, custodian: &Label, pcrs: Option<&[u8]>) -> Result<Platform, Error> {
        self.custodian(custodian)?.platform(pcrs)?.ok_or_else(|| Error::NoPlatform { name: custodian.clone() })
    }
}
