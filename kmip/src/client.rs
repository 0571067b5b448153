//! The client's half: builds a request of one or several operations and reads the answer to it.

use std::marker::PhantomData;

use crate::enums::{BatchErrorContinuationOption, Operation, ResultStatus};
use crate::error::Error;
use crate::message::{OperationNumber, RequestBatchItem, RequestHeader, ResponseBatchItem, ResponseMessage};
use crate::schema::{Decode, Encode, Rules};
use crate::tag::Tag;
use crate::ttlv::{ByteString, Item, Writer};
use crate::version::ProtocolVersion;

/// A request payload: which operation it asks for, and what comes back.
pub trait Call: Encode {
    /// The operation.
    const OPERATION: Operation;
    /// The response payload.
    type Answer<'a>: Decode<'a>;
}

/// Operations to be sent in one message.
pub struct Batch {
    version: ProtocolVersion,
    items: Vec<u8>,
    operations: Vec<Operation>,
    on_error: Option<BatchErrorContinuationOption>,
    maximum_response_size: Option<i32>,
}

/// The place of one operation in a batch, with the type of its answer.
pub struct Slot<C> {
    position: usize,
    call: PhantomData<C>,
}

/// A finished request, and what is needed to read its answer.
pub struct Sent {
    /// The whole Request Message.
    pub bytes: Vec<u8>,
    version: ProtocolVersion,
    operations: Vec<Operation>,
}

/// The answer to a request: it fits the request in version, number and order.
pub struct Answers<'a> {
    rules: Rules,
    /// The header and all items, as received.
    pub message: ResponseMessage<'a>,
}

impl Batch {
    /// An empty batch in this version.
    #[must_use]
    pub const fn new(version: ProtocolVersion) -> Self {
        Self { version, items: vec![], operations: vec![], on_error: None, maximum_response_size: None }
    }

    /// What the server is to do when an operation fails; Stop unless this is called. Counts for batches of several operations.
    pub const fn on_error(&mut self, option: BatchErrorContinuationOption) {
        self.on_error = Some(option);
    }

    /// The longest answer that is welcome, in bytes.
    pub const fn maximum_response_size(&mut self, bytes: i32) {
        self.maximum_response_size = Some(bytes);
    }

    /// Adds an operation. Without a Unique Identifier it works on what the operation before it made or found.
    ///
    /// - Errors: `NotInVersion` if the batch's version has no such operation.
    pub fn push<C: Call>(&mut self, request: &C) -> Result<Slot<C>, Error> {
        if C::OPERATION.since() > self.version {
            return Err(Error::NotInVersion { field: C::OPERATION.name(), version: self.version });
        }
        let position = self.operations.len();
        let mut payload = vec![];
        request.encode(Tag::REQUEST_PAYLOAD, &mut Writer::new(&mut payload, self.version));
        let item = RequestBatchItem {
            operation: C::OPERATION.into(),
            unique_batch_item_id: Some(ByteString(&item_id(position))),
            payload: Item::only(&payload).expect("just written"),
            message_extension: None,
        };
        item.encode(Tag::BATCH_ITEM, &mut Writer::new(&mut self.items, self.version));
        self.operations.push(C::OPERATION);
        Ok(Slot { position, call: PhantomData })
    }

    /// The message with everything pushed so far.
    #[must_use]
    pub fn finish(self) -> Sent {
        let several = self.operations.len() > 1;
        let header = RequestHeader {
            protocol_version: self.version.into(),
            maximum_response_size: self.maximum_response_size,
            client_correlation_value: None,
            server_correlation_value: None,
            asynchronous_indicator: None,
            attestation_capable_indicator: None,
            attestation_types: vec![],
            authentication: None,
            batch_error_continuation_option: self.on_error.filter(|_| several),
            batch_order_option: several.then_some(true),
            time_stamp: None,
            batch_count: i32::try_from(self.operations.len()).expect("a batch has at most 64 items"),
        };
        let mut bytes = vec![];
        let mut out = Writer::new(&mut bytes, self.version);
        let message = out.open(Tag::REQUEST_MESSAGE);
        header.encode(Tag::REQUEST_HEADER, &mut out);
        out.encoded(&self.items);
        out.close(message);
        Sent { bytes, version: self.version, operations: self.operations }
    }
}

impl Sent {
    /// Reads the answer.
    ///
    /// - Errors: whatever is wrong with the bytes; `Refused` if the server could not read the request; `Mismatched` if it is the
    ///   answer to something else.
    pub fn answers<'a>(&self, bytes: &'a [u8]) -> Result<Answers<'a>, Error> {
        let message = ResponseMessage::read(bytes)?;
        if let [only] = message.items.as_slice()
            && only.operation.is_none()
        {
            check_success(only)?;
        }
        if message.header.protocol_version != self.version.into() {
            return Err(Error::Mismatched { what: "it is in another protocol version" });
        }
        if message.items.len() > self.operations.len() {
            return Err(Error::Mismatched { what: "it has more items" });
        }
        for (position, (item, operation)) in message.items.iter().zip(&self.operations).enumerate() {
            if item.operation != Some(OperationNumber::from(*operation)) {
                return Err(Error::Mismatched { what: "it answers another operation" });
            }
            if item.unique_batch_item_id != Some(ByteString(&item_id(position))) {
                return Err(Error::Mismatched { what: "it has another Unique Batch Item ID" });
            }
        }
        Ok(Answers { rules: Rules::of_response(self.version), message })
    }
}

impl<'a> Answers<'a> {
    /// Why the batch did not succeed as a whole: the first operation that failed, if one did.
    #[must_use]
    pub fn refusal(&self) -> Option<Error> {
        // An operation that was undone is not why.
        let failed = self.message.items.iter().find(|item| item.result_status == ResultStatus::OperationFailed);
        failed.and_then(|item| check_success(item).err())
    }

    /// The answer to one operation of the batch.
    ///
    /// - Errors: `Refused` if it failed; `Mismatched` if the server did not come to it or sent no payload; whatever is wrong with
    ///   the payload.
    pub fn get<C: Call>(&self, slot: &Slot<C>) -> Result<C::Answer<'a>, Error> {
        let item = self.message.items.get(slot.position);
        let item = item.ok_or(Error::Mismatched { what: "the server stopped before this operation" })?;
        check_success(item)?;
        let payload = item.payload.ok_or(Error::Mismatched { what: "a success without a payload" })?;
        C::Answer::decode(payload, self.rules)
    }
}

/// The Unique Batch Item ID of the item at this position.
fn item_id(position: usize) -> [u8; 8] {
    (position as u64).to_be_bytes()
}

fn check_success(item: &ResponseBatchItem<'_>) -> Result<(), Error> {
    if item.result_status == ResultStatus::Success {
        return Ok(());
    }
    Err(Error::Refused {
        operation: item.operation.and_then(|operation| Operation::of(operation.0)),
        status: item.result_status,
        reason: item.result_reason,
        message: item.result_message.unwrap_or_default().to_owned(),
    })
}
