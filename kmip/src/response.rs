//! A finished answer, held back until its audit records and changes are safe.

use keys::answers::Forwarded;
use keys::id::Layer;
use keys::unit::{CommitError, Receipt, Unit};
use keys::vault::Vault;

use crate::enums::{Operation, ResultReason, ResultStatus};
use crate::message::{OperationNumber, ResponseBatchItem, ResponseMessage};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::Writer;
use crate::version::ProtocolVersion;

/// The answer to one message. Its bytes are out of reach until the message's unit is committed.
#[must_use = "a client waits for it"]
pub struct Response {
    bytes: Vec<u8>,
    version: ProtocolVersion,
}

impl Response {
    /// Holds back `bytes`, a whole Response Message of this version.
    pub(crate) fn new(bytes: Vec<u8>, version: ProtocolVersion) -> Self {
        Self { bytes, version }
    }

    /// Stages the answer with the changes that it tells of, for a request that may come again.
    ///
    /// # Errors
    /// As [`Vault::remember`].
    pub async fn remember(&self, vault: &Vault, unit: &mut Unit, forwarded: &Forwarded) -> Result<(), keys::Error> {
        vault.remember(unit, forwarded, &self.bytes).await
    }

    /// The answer's bytes, in the buffer that dispatch was given.
    #[must_use]
    pub fn release(self, receipt: Receipt) -> Vec<u8> {
        receipt.answered();
        self.bytes
    }

    /// What is answered instead when the unit left nothing behind: every item failed, and nothing else is said.
    #[must_use]
    pub fn withhold(self, error: &CommitError) -> Vec<u8> {
        let message = ResponseMessage::read(&self.bytes).expect("dispatch writes legal responses");
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut out = Writer::new(&mut bytes, self.version);
        let open = out.open(Tag::RESPONSE_MESSAGE);
        message.header.encode(Tag::RESPONSE_HEADER, &mut out);
        for item in &message.items {
            let (reason, text) = uncommitted(error, item.operation);
            let failed = ResponseBatchItem {
                operation: item.operation,
                unique_batch_item_id: item.unique_batch_item_id,
                result_reason: Some(reason),
                result_message: Some(text),
                ..ResponseBatchItem::of(ResultStatus::OperationFailed)
            };
            failed.encode(Tag::BATCH_ITEM, &mut out);
        }
        out.close(open);
        bytes
    }
}

/// Why an item was not committed, as its client may know it.
fn uncommitted(error: &CommitError, operation: Option<OperationNumber>) -> (ResultReason, &'static str) {
    let is_one_of = |operations: [Operation; 2]| operations.into_iter().any(|one| operation == Some(one.into()));
    let taken = "another request took the Name at the same time";
    match error {
        CommitError::Conflict { id } if id.layer == Layer::Name && is_one_of([Operation::Create, Operation::ReKey]) => {
            (ResultReason::InvalidField, taken)
        }
        CommitError::Conflict { id } if id.layer == Layer::Name && is_one_of([Operation::AddAttribute, Operation::ModifyAttribute]) => {
            (ResultReason::IllegalOperation, taken)
        }
        CommitError::Conflict { .. } => {
            (ResultReason::GeneralFailure, "another request changed the object at the same time; repeat the request")
        }
        CommitError::Unavailable { .. } => (ResultReason::GeneralFailure, "a part of the appliance is unavailable; try again later"),
    }
}
