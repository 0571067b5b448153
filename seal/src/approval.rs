//! An approval: a state of the platform in which a TPM slot may open, signed by the slot's release key (C13).
//!
//! ```text
//! "SRA1" | fmt u16 = 1 | slot_id 16 | policy_gen u32 | release key: x 32, y 32 | created i64 (ms since 1970) |
//! note_bytes u32 | note | registers u8 | registers x number u8, ascending | digest 32 | signature 64      (big-endian)
//!
//! signed  ECDSA P-256, SHA-256(policy digest of TPM2_PolicyPCR with these registers and this digest | slot_id | policy_gen)
//! ```
//! It is a file beside the slot, and lets nobody in who could not read the TPM anyway: whoever removes one shuts that state out, whoever adds one needs
//! the release key. Date and note are for people, and not signed. A slot whose approvals are to end is made anew.

use cipher::ecdsa;
use hsm::{PCRS_MAX, ReleaseKey, TpmApproval};
use keys::id::Time;

use crate::fields::{Reader, put_prefixed};
use crate::name::LABEL_BYTES_MAX;
use crate::{Error, Label, ReleaseSigner, SlotId};

const MAGIC: &[u8; 4] = b"SRA1";
const FORMAT: u16 = 1;
/// The registers of a TPM are 0 to 23.
const PCR_MAX: u8 = 23;
/// Most bytes of an approval file.
pub(crate) const APPROVAL_BYTES_MAX: usize = 512;

/// What a release key signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The slot that may open.
    pub slot: SlotId,
    /// Which policy of that slot; 1 for the one with which it is made.
    pub policy_gen: u32,
    /// Registers of the SHA-256 bank, ascending.
    pub pcrs: Vec<u8>,
    /// SHA-256 of their values, in that order.
    pub digest: [u8; 32],
}

/// A signed state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// What was signed.
    pub state: State,
    /// By whom.
    pub release_key: ReleaseKey,
    /// When.
    pub created: Time,
    /// What people call it.
    pub note: Label,
    signature: [u8; ecdsa::SIGNATURE_BYTES],
}

impl Approval {
    /// Signs a state.
    ///
    /// # Errors
    /// `Invalid` for registers that are none; `Entropy` without randomness.
    pub fn sign(signer: &ReleaseSigner, state: State, created: Time, note: Label) -> Result<Self, Error> {
        check_registers(&state.pcrs)?;
        let mut approval = Self { state, release_key: signer.public(), created, note, signature: [0; ecdsa::SIGNATURE_BYTES] };
        approval.signature = signer.sign(&approval.signed())?;
        Ok(approval)
    }

    /// Was it signed by the key that it names?
    ///
    /// # Errors
    /// `ApprovalForged`.
    pub fn check(&self) -> Result<(), Error> {
        let ReleaseKey { x, y } = self.release_key;
        let public: [u8; ecdsa::PUBLIC_BYTES] = [&[4][..], &x, &y].concat().try_into().expect("a point has two halves");
        ecdsa::verify(&public, &self.signed(), &self.signature).map_err(|_| Error::ApprovalForged)
    }

    /// What the signature is over, before it is hashed.
    fn signed(&self) -> Vec<u8> {
        [&self.for_tpm().approved_policy()[..], &reference(self.state.slot, self.state.policy_gen)].concat()
    }

    pub(crate) fn for_tpm(&self) -> TpmApproval {
        TpmApproval { pcrs: self.state.pcrs.clone(), digest: self.state.digest, signature: self.signature.to_vec() }
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.extend_from_slice(self.state.slot.as_bytes());
        bytes.extend_from_slice(&self.state.policy_gen.to_be_bytes());
        bytes.extend_from_slice(&self.release_key.x);
        bytes.extend_from_slice(&self.release_key.y);
        bytes.extend_from_slice(&self.created.millis().to_be_bytes());
        put_prefixed(&mut bytes, self.note.as_str().as_bytes());
        bytes.push(u8::try_from(self.state.pcrs.len()).expect("checked when it was made"));
        bytes.extend_from_slice(&self.state.pcrs);
        bytes.extend_from_slice(&self.state.digest);
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// Reads the stored form. That the signature fits is [`Approval::check`]'s to say.
    ///
    /// # Errors
    /// `Corrupt`, `NewerFormat`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if reader.array("magic")? != *MAGIC {
            return Err(Error::Corrupt { what: "magic of an approval", at: 0 });
        }
        match reader.u16("format")? {
            FORMAT => {}
            0 => return Err(Error::Corrupt { what: "format", at: MAGIC.len() }),
            format => return Err(Error::NewerFormat { format, known: FORMAT }),
        }
        let slot = SlotId::from_bytes(reader.array("slot id")?);
        let policy_gen = reader.u32("policy generation")?;
        let release_key = ReleaseKey { x: reader.array("release key")?, y: reader.array("release key")? };
        let created = Time::from_millis(reader.array("date").map(i64::from_be_bytes)?);
        let at = reader.at();
        let note = reader.text(LABEL_BYTES_MAX, "note")?.parse().map_err(|_| Error::Corrupt { what: "note", at })?;
        let at = reader.at();
        let count = usize::from(reader.u8("registers")?);
        let pcrs = (0..count.min(PCRS_MAX + 1)).map(|_| reader.u8("registers")).collect::<Result<Vec<_>, _>>()?;
        check_registers(&pcrs).map_err(|_| Error::Corrupt { what: "registers", at })?;
        let state = State { slot, policy_gen, pcrs, digest: reader.array("digest")? };
        let signature = reader.array("signature")?;
        reader.end()?;
        Ok(Self { state, release_key, created, note, signature })
    }
}

/// What an approval is signed for beside the state, and the TPM's policyRef.
pub(crate) fn reference(slot: SlotId, policy_gen: u32) -> Vec<u8> {
    [&slot.as_bytes()[..], &policy_gen.to_be_bytes()].concat()
}

fn check_registers(pcrs: &[u8]) -> Result<(), Error> {
    let ascend = pcrs.windows(2).all(|pair| pair[0] < pair[1]);
    if !pcrs.is_empty() && ascend && pcrs.iter().all(|pcr| *pcr <= PCR_MAX) {
        return Ok(());
    }
    Err(Error::Invalid { field: "registers", wants: "numbers from 0 to 23, ascending, each once" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key pair that is not secret: of these tests.
    const PKCS8: &str = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420\
        c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721a14403420004\
        60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";

    fn signer() -> ReleaseSigner {
        let digits: Vec<u8> = PKCS8.bytes().filter(u8::is_ascii_hexdigit).collect();
        let text = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
        ReleaseSigner::from_pkcs8(&digits.chunks(2).map(text).collect::<Vec<_>>()).expect("the key of RFC 6979, A.2.5")
    }

    fn approval() -> Approval {
        let state = State { slot: SlotId::from_bytes([7; 16]), policy_gen: 1, pcrs: vec![4, 7], digest: [9; 32] };
        let note = "kernel 6.1".parse().expect("a label");
        Approval::sign(&signer(), state, Time::from_millis(1_700_000_000_000), note).expect("there is randomness")
    }

    #[test]
    fn an_approval_is_read_as_it_was_written_and_in_no_other_form() {
        let approval = approval();
        let bytes = approval.encode();
        assert!(bytes.len() <= APPROVAL_BYTES_MAX);
        assert_eq!(Approval::decode(&bytes).expect("its own form"), approval);
        approval.check().expect("it was signed by its key");
        for cut in 0..bytes.len() {
            assert!(matches!(Approval::decode(&bytes[..cut]), Err(Error::Corrupt { .. })), "cut at {cut}");
        }
        assert!(Approval::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn every_flipped_bit_but_those_of_date_and_note_is_refused() {
        let bytes = approval().encode();
        let unsigned = 4 + 2 + 16 + 4 + 64;
        let unsigned = unsigned..unsigned + 8 + 4 + "kernel 6.1".len();
        for bit in (0..bytes.len() * 8).filter(|bit| !unsigned.contains(&(bit / 8))) {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let refused = Approval::decode(&altered).and_then(|approval| approval.check());
            assert!(refused.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn registers_are_those_of_a_tpm_each_once() {
        for pcrs in [vec![], vec![24], vec![7, 7], vec![7, 4], (0..=24).collect()] {
            let state = State { pcrs, ..approval().state };
            let note = "note".parse().expect("a label");
            assert!(matches!(Approval::sign(&signer(), state, Time::from_millis(0), note), Err(Error::Invalid { .. })));
        }
    }
}
