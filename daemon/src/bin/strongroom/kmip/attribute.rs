//! Attributes of any server as texts, numbers and lists.

use ::kmip::ttlv::{DateTime, Value as Custom};
use ::kmip::{Attribute, AttributeValue as Value};
use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::kmip::name::usages;

/// One attribute, ready to be shown.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Shown {
    name: String,
    index: i32,
    value: Json,
}

impl Shown {
    /// What to show of an attribute.
    pub(super) fn of(attribute: &Attribute<'_>) -> Self {
        Self { name: attribute.value.name().to_owned(), index: attribute.index.unwrap_or(0), value: json_of(&attribute.value) }
    }

    /// Its name, with the index unless that is 0.
    pub(super) fn label(&self) -> String {
        if self.index == 0 { self.name.clone() } else { format!("{} [{}]", self.name, self.index) }
    }

    /// Its value in words.
    pub(super) fn text(&self) -> String {
        words(&self.value)
    }
}

fn words(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(parts) => parts.iter().map(words).collect::<Vec<_>>().join(", "),
        Json::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| format!("{name} {}", words(value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn json_of(value: &Value<'_>) -> Json {
    match value {
        Value::UniqueIdentifier(text)
        | Value::OperationPolicyName(text)
        | Value::ObjectGroup(text)
        | Value::ContactInformation(text)
        | Value::Pkcs12FriendlyName(text)
        | Value::Description(text)
        | Value::Comment(text) => json!(text),
        Value::Name(name) => json!(name.value),
        Value::ObjectType(kind) => json!(kind.name()),
        Value::CryptographicAlgorithm(algorithm) => json!(algorithm.name()),
        Value::CryptographicLength(bits) => json!(bits),
        Value::CryptographicUsageMask(mask) => json!(usages(*mask)),
        Value::State(state) => json!(state.name()),
        Value::LeaseTime(seconds) => json!(seconds.0),
        Value::InitialDate(date)
        | Value::ActivationDate(date)
        | Value::ProcessStartDate(date)
        | Value::ProtectStopDate(date)
        | Value::DeactivationDate(date)
        | Value::DestroyDate(date)
        | Value::CompromiseOccurrenceDate(date)
        | Value::CompromiseDate(date)
        | Value::ArchiveDate(date)
        | Value::LastChangeDate(date)
        | Value::OriginalCreationDate(date) => json!(rfc3339(*date)),
        Value::Fresh(flag)
        | Value::KeyValuePresent(flag)
        | Value::Sensitive(flag)
        | Value::AlwaysSensitive(flag)
        | Value::Extractable(flag)
        | Value::NeverExtractable(flag) => json!(flag),
        Value::Digest(digest) => json!({
            "algorithm": digest.hashing_algorithm.map(|algorithm| algorithm.name()),
            "value": digest.digest_value.map(|value| HEXLOWER.encode(value.0)),
        }),
        Value::AlternativeName(name) => json!(name.value),
        Value::ApplicationSpecificInformation(information) => json!({"namespace": information.namespace, "data": information.data}),
        Value::CryptographicParameters(parameters) => json!({
            "algorithm": parameters.cryptographic_algorithm.map(|algorithm| algorithm.name()),
            "mode": parameters.block_cipher_mode.map(|mode| mode.name()),
            "padding": parameters.padding_method.map(|padding| padding.name()),
        }),
        Value::Link(link) => json!({"type": link.link_type.map(|kind| kind.name()), "to": link.linked_object_identifier}),
        Value::RevocationReason(reason) => json!({"code": reason.code.map(|code| code.name()), "message": reason.message}),
        Value::Custom(_, value) => custom(value),
        // What no server sends for a symmetric key of its own making.
        other => json!(format!("{other:?}")),
    }
}

fn custom(value: &Custom<'_>) -> Json {
    match value {
        Custom::Integer(number) => json!(number),
        Custom::LongInteger(number) => json!(number),
        Custom::Enumeration(number) => json!(number),
        Custom::Boolean(flag) => json!(flag),
        Custom::TextString(text) => json!(text),
        Custom::ByteString(bytes) => json!(HEXLOWER.encode(bytes.0)),
        Custom::BigInteger(bytes) => json!(HEXLOWER.encode(bytes.0)),
        Custom::DateTime(date) => json!(rfc3339(*date)),
        Custom::Interval(seconds) => json!(seconds.0),
        Custom::Structure(_) => json!("a structure"),
    }
}

fn rfc3339(date: DateTime) -> String {
    daemon::system::rfc3339(keys::id::Time::from_seconds(date.0))
}

#[cfg(test)]
mod tests {
    use ::kmip::ttlv::ByteString;
    use ::kmip::{CryptographicUsageMask, Digest, HashingAlgorithm, Name, NameType, RevocationReason, RevocationReasonCode, State};

    use super::*;

    fn check(value: Value<'_>, json: Json, text: &str) {
        let shown = Shown::of(&Attribute { index: None, value });
        assert_eq!((&shown.value, shown.text().as_str()), (&json, text), "{}", shown.name);
    }

    #[test]
    fn each_type_is_shown_in_its_own_way() {
        check(Value::UniqueIdentifier("L3-1"), json!("L3-1"), "L3-1");
        check(Value::Name(Name { value: Some("n"), name_type: Some(NameType::UninterpretedTextString) }), json!("n"), "n");
        check(Value::CryptographicLength(256), json!(256), "256");
        check(Value::State(State::PreActive), json!("Pre-Active"), "Pre-Active");
        check(Value::InitialDate(DateTime(0)), json!("1970-01-01T00:00:00Z"), "1970-01-01T00:00:00Z");
        check(Value::Extractable(false), json!(false), "false");
        let both = CryptographicUsageMask::ENCRYPT.with(CryptographicUsageMask::DECRYPT);
        check(Value::CryptographicUsageMask(both), json!(["encrypt", "decrypt"]), "encrypt, decrypt");
        let digest =
            Digest { hashing_algorithm: Some(HashingAlgorithm::Sha256), digest_value: Some(ByteString(&[1, 255])), key_format_type: None };
        check(Value::Digest(digest), json!({"algorithm": "SHA-256", "value": "01ff"}), "algorithm SHA-256, value 01ff");
        let reason = RevocationReason { code: Some(RevocationReasonCode::Superseded), message: None };
        check(Value::RevocationReason(reason), json!({"code": "Superseded", "message": null}), "code Superseded");
        check(Value::Custom("y-layer", Custom::TextString("L3")), json!("L3"), "L3");
        check(Value::Custom("x-bytes", Custom::ByteString(ByteString(&[10]))), json!("0a"), "0a");
        check(Value::LeaseTime(::kmip::ttlv::Interval(60)), json!(60), "60");
    }

    #[test]
    fn a_date_out_of_range_is_no_panic() {
        check(Value::ArchiveDate(DateTime(i64::MAX)), json!("out of range"), "out of range");
    }

    #[test]
    fn instances_are_told_apart_by_their_index() {
        let second = Shown::of(&Attribute { index: Some(1), value: Value::ObjectGroup("g") });
        assert_eq!(second.label(), "Object Group [1]");
        assert_eq!(Shown::of(&Attribute { index: Some(0), value: Value::ObjectGroup("g") }).label(), "Object Group");
    }
}
