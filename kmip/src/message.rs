//! Requests and responses as a whole: headers, batch items, and how an unreadable request is answered (sections 6 and 7).

use crate::enums::{AttestationType, BatchErrorContinuationOption, Operation, ResultReason, ResultStatus};
use crate::error::{Error, excerpt};
use crate::object::{Credential, Nonce};
use crate::reason::reason;
use crate::schema::{Decode, Encode, Rules, message};
use crate::tag::Tag;
use crate::ttlv::{ByteString, DateTime, Item, Structure, Writer};
use crate::version::{ProtocolVersion, VersionNumber};

/// How many items a batch may have (C24).
pub const BATCH_ITEMS_MAX: usize = 64;

message! {
    /// Authentication, 6.6.
    struct Authentication<'a> {
        CREDENTIAL: credentials, Credential<'a>, several, V1_0..=V1_4;
    }
}

message! {
    /// Request Header, Table 282.
    struct RequestHeader<'a> {
        PROTOCOL_VERSION:                protocol_version,                VersionNumber,                required, V1_0..=V1_4;
        MAXIMUM_RESPONSE_SIZE:           maximum_response_size,           i32,                          optional, V1_0..=V1_4;
        CLIENT_CORRELATION_VALUE:        client_correlation_value,        &'a str,                      optional, V1_4..=V1_4;
        SERVER_CORRELATION_VALUE:        server_correlation_value,        &'a str,                      optional, V1_4..=V1_4;
        ASYNCHRONOUS_INDICATOR:          asynchronous_indicator,          bool,                         optional, V1_0..=V1_4;
        ATTESTATION_CAPABLE_INDICATOR:   attestation_capable_indicator,   bool,                         optional, V1_2..=V1_4;
        ATTESTATION_TYPE:                attestation_types,               AttestationType,              repeated, V1_2..=V1_4;
        AUTHENTICATION:                  authentication,                  Authentication<'a>,           optional, V1_0..=V1_4;
        BATCH_ERROR_CONTINUATION_OPTION: batch_error_continuation_option, BatchErrorContinuationOption, optional, V1_0..=V1_4;
        BATCH_ORDER_OPTION:              batch_order_option,              bool,                         optional, V1_0..=V1_4;
        TIME_STAMP:                      time_stamp,                      DateTime,                     optional, V1_0..=V1_4;
        BATCH_COUNT:                     batch_count,                     i32,                          required, V1_0..=V1_4;
    }
}

message! {
    /// Request Batch Item, Table 283. The operation is a bare number, so that an unknown one fails alone.
    struct RequestBatchItem<'a> {
        OPERATION:            operation,            OperationNumber,      required, V1_0..=V1_4;
        UNIQUE_BATCH_ITEM_ID: unique_batch_item_id, ByteString<'a>,       optional, V1_0..=V1_4;
        REQUEST_PAYLOAD:      payload,              Item<'a>,             required, V1_0..=V1_4;
        MESSAGE_EXTENSION:    message_extension,    MessageExtension<'a>, optional, V1_0..=V1_4;
    }
}

message! {
    /// Message Extension, 6.16.
    struct MessageExtension<'a> {
        VENDOR_IDENTIFICATION: vendor_identification, &'a str,       required, V1_0..=V1_4;
        CRITICALITY_INDICATOR: criticality_indicator, bool,          required, V1_0..=V1_4;
        VENDOR_EXTENSION:      vendor_extension,      Structure<'a>, required, V1_0..=V1_4;
    }
}

message! {
    /// Request Message, Table 280.
    struct RequestMessage<'a> {
        REQUEST_HEADER: header, RequestHeader<'a>,    required, V1_0..=V1_4;
        BATCH_ITEM:     items,  RequestBatchItem<'a>, several,  V1_0..=V1_4;
    }
}

message! {
    /// Response Header, Table 284.
    struct ResponseHeader<'a> {
        PROTOCOL_VERSION:         protocol_version,         VersionNumber,   required, V1_0..=V1_4;
        TIME_STAMP:               time_stamp,               DateTime,        required, V1_0..=V1_4;
        NONCE:                    nonce,                    Nonce<'a>,       optional, V1_2..=V1_4;
        ATTESTATION_TYPE:         attestation_types,        AttestationType, repeated, V1_2..=V1_4;
        CLIENT_CORRELATION_VALUE: client_correlation_value, &'a str,         optional, V1_4..=V1_4;
        SERVER_CORRELATION_VALUE: server_correlation_value, &'a str,         optional, V1_4..=V1_4;
        BATCH_COUNT:              batch_count,              i32,             required, V1_0..=V1_4;
    }
}

message! {
    /// Response Batch Item, Table 285.
    ///
    /// A server writes it with [`Self::encode_fields`] and the payload's fields behind, so `payload` and `message_extension` are for
    /// reading.
    struct ResponseBatchItem<'a> {
        OPERATION:                      operation,                      OperationNumber,      optional, V1_0..=V1_4;
        UNIQUE_BATCH_ITEM_ID:           unique_batch_item_id,           ByteString<'a>,       optional, V1_0..=V1_4;
        RESULT_STATUS:                  result_status,                  ResultStatus,         required, V1_0..=V1_4;
        RESULT_REASON:                  result_reason,                  ResultReason,         optional, V1_0..=V1_4;
        RESULT_MESSAGE:                 result_message,                 &'a str,              optional, V1_0..=V1_4;
        ASYNCHRONOUS_CORRELATION_VALUE: asynchronous_correlation_value, ByteString<'a>,       optional, V1_0..=V1_4;
        RESPONSE_PAYLOAD:               payload,                        Item<'a>,             optional, V1_0..=V1_4;
        MESSAGE_EXTENSION:              message_extension,              MessageExtension<'a>, optional, V1_0..=V1_4;
    }
}

message! {
    /// Response Message, Table 281.
    struct ResponseMessage<'a> {
        RESPONSE_HEADER: header, ResponseHeader<'a>,    required, V1_0..=V1_4;
        BATCH_ITEM:      items,  ResponseBatchItem<'a>, several,  V1_0..=V1_4;
    }
}

/// The number of an operation, known or not, in the request's version or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationNumber(pub u32);

impl OperationNumber {
    /// The operation, if this version has it.
    #[must_use]
    pub fn known_in(self, version: ProtocolVersion) -> Option<Operation> {
        Operation::of(self.0).filter(|operation| operation.since() <= version)
    }
}

impl From<Operation> for OperationNumber {
    fn from(operation: Operation) -> Self {
        Self(operation.number())
    }
}

/// A request that could be read: its header and items, their payloads still undecoded.
#[derive(Debug)]
pub struct Request<'a> {
    /// How its payloads are to be read and answered.
    pub rules: Rules,
    /// Header and batch items, as many as the header says.
    pub message: RequestMessage<'a>,
}

/// A request that could not be read, and the version in which to say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The request's version if that much could be read, else the latest.
    pub version: ProtocolVersion,
    /// Why.
    pub error: Error,
}

impl<'a> Request<'a> {
    /// Reads a whole message, borrowing from it.
    ///
    /// - Errors: anything wrong with the message outside the payloads; a critical extension, too (6.16).
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let in_latest = |error| Unreadable { version: ProtocolVersion::LATEST, error };
        let message = Item::only(bytes).map_err(in_latest)?;
        let number = version_number(message, Tag::REQUEST_MESSAGE, Tag::REQUEST_HEADER).map_err(in_latest)?;
        let rules = number.rules().map_err(in_latest)?;
        let message = checked_request(message, rules).map_err(|error| Unreadable { version: rules.version, error })?;
        Ok(Self { rules, message })
    }
}

fn checked_request(message: Item<'_>, rules: Rules) -> Result<RequestMessage<'_>, Error> {
    let message_offset = message.offset;
    let message = RequestMessage::decode(message, rules)?;
    if message.items.len() > BATCH_ITEMS_MAX {
        return Err(Error::TooMany { offset: message_offset, field: Tag::BATCH_ITEM.name(), most: BATCH_ITEMS_MAX });
    }
    check_batch_count(message.header.batch_count, message.items.len())?;
    let mut extensions = message.items.iter().filter_map(|item| item.message_extension.as_ref());
    match extensions.find(|extension| extension.criticality_indicator) {
        Some(critical) => Err(Error::CriticalExtension { vendor: excerpt(critical.vendor_identification) }),
        None => Ok(message),
    }
}

impl<'a> ResponseMessage<'a> {
    /// Reads a whole response, borrowing from it.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let message = Item::only(bytes)?;
        let number = version_number(message, Tag::RESPONSE_MESSAGE, Tag::RESPONSE_HEADER)?;
        let version = number.spoken().ok_or(Error::OtherMajorVersion { major: number.major, minor: number.minor })?;
        let message = Self::decode(message, Rules::of_response(version))?;
        check_batch_count(message.header.batch_count, message.items.len())?;
        Ok(message)
    }
}

/// The version in the header of a message; it says how everything else is to be read, so it has to come first (Table 282).
fn version_number(message: Item<'_>, message_tag: Tag, header_tag: Tag) -> Result<VersionNumber, Error> {
    let wanted = |offset, expected| Error::Malformed { offset, expected };
    if message.tag != message_tag {
        return Err(wanted(message.offset, "a message of the other direction"));
    }
    let header = message.fields()?.next_item()?.filter(|header| header.tag == header_tag);
    let header = header.ok_or_else(|| wanted(message.offset, "a message that begins with its header"))?;
    let version = header.fields()?.next_item()?.filter(|version| version.tag == Tag::PROTOCOL_VERSION);
    let version = version.ok_or_else(|| wanted(header.offset, "a header that begins with Protocol Version"))?;
    VersionNumber::decode(version, Rules::of(ProtocolVersion::LATEST))
}

fn check_batch_count(stated: i32, items: usize) -> Result<(), Error> {
    if usize::try_from(stated) == Ok(items) {
        return Ok(());
    }
    Err(Error::Invalid { offset: 0, field: Tag::BATCH_COUNT.name(), why: "it is not the number of batch items" })
}

impl Unreadable {
    /// Writes the answer: a header and one failed batch item without Operation (11.1).
    pub fn answer(&self, time_stamp: DateTime, out: &mut Vec<u8>) {
        let why = self.error.to_string();
        let header = ResponseHeader {
            protocol_version: self.version.into(),
            time_stamp,
            nonce: None,
            attestation_types: vec![],
            client_correlation_value: None,
            server_correlation_value: None,
            batch_count: 1,
        };
        let failed = ResponseBatchItem {
            result_reason: Some(reason(&self.error).nearest_in(self.version)),
            result_message: Some(&why),
            ..ResponseBatchItem::of(ResultStatus::OperationFailed)
        };
        let message = ResponseMessage { header, items: vec![failed] };
        message.encode(Tag::RESPONSE_MESSAGE, &mut Writer::new(out, self.version));
    }
}

impl ResponseBatchItem<'_> {
    /// An item that says nothing but how the operation ended.
    #[must_use]
    pub const fn of(result_status: ResultStatus) -> Self {
        Self {
            operation: None,
            unique_batch_item_id: None,
            result_status,
            result_reason: None,
            result_message: None,
            asynchronous_correlation_value: None,
            payload: None,
            message_extension: None,
        }
    }
}
