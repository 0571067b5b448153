//! `kmip create`, `activate`, `attributes`, `locate`, `rekey`, `revoke`, `destroy`: the life of an object.

use ::kmip::ttlv::DateTime;
use ::kmip::{
    ActivateRequest, Attribute, AttributeValue as Value, Batch, CreateRequest, CryptographicAlgorithm, CryptographicUsageMask,
    DestroyRequest, GetAttributeListRequest, GetAttributesRequest, LocateRequest, Name, NameType, ObjectType, ReKeyRequest,
    RevocationReason, RevocationReasonCode, RevokeRequest, TemplateAttribute,
};
use clap::Args;
use daemon::kmip_client::KmipClient;
use jiff::Timestamp;
use serde::Serialize;

use crate::failure::Failure;
use crate::kmip::attribute::Shown;
use crate::kmip::change::Changes;
use crate::kmip::connection::Connection;
use crate::kmip::name;
use crate::output::{Output, clean, pairs};

/// `kmip create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// A name to find it by
    #[arg(long)]
    name: Option<String>,
    /// Algorithm
    #[arg(long, default_value = "aes", value_parser = name::algorithm)]
    algorithm: CryptographicAlgorithm,
    /// Length in bits
    #[arg(long, value_name = "BITS", default_value_t = 256)]
    length: i32,
    /// What it may be used for, separated by commas
    #[arg(long, value_name = "USES", value_delimiter = ',', default_value = "encrypt,decrypt", value_parser = name::usage)]
    mask: Vec<CryptographicUsageMask>,
    /// The group it belongs to; at a core, the service
    #[arg(long, value_name = "GROUP")]
    object_group: Option<String>,
    /// It may leave the server, wrapped by another key
    #[arg(long)]
    extractable: bool,
    /// Activate it at once
    #[arg(long)]
    activate: bool,
}

/// Commands that need an identifier and nothing else.
#[derive(Debug, Args)]
pub(super) struct Identified {
    /// Unique Identifier
    id: String,
}

/// `kmip attributes`.
#[derive(Debug, Args)]
pub(super) struct Attributes {
    /// Unique Identifier
    id: String,
    /// Only these, by the standard's names; all if left out
    #[arg(conflicts_with_all = ["add", "modify", "delete"])]
    names: Vec<String>,
    #[command(flatten)]
    changes: Changes,
}

/// `kmip locate`.
#[derive(Debug, Args)]
pub(super) struct Locate {
    /// With this name
    #[arg(long)]
    name: Option<String>,
    /// In this group
    #[arg(long, value_name = "GROUP")]
    object_group: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    max: Option<i32>,
}

/// `kmip revoke`.
#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// Unique Identifier
    id: String,
    /// Why: unspecified, key-compromise, ca-compromise, affiliation-changed, superseded, cessation-of-operation, privilege-withdrawn
    #[arg(long, default_value = "unspecified", value_parser = name::revocation_reason)]
    reason: RevocationReasonCode,
    /// A remark that is kept with the reason
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// When the key was first known to be compromised, as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    compromised_since: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Changed {
    id: String,
}

#[derive(Debug, Serialize)]
struct Replaced {
    id: String,
    replaces: String,
}

#[derive(Debug, Serialize)]
struct Found {
    ids: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Described {
    id: String,
    attributes: Vec<Shown>,
}

/// Create, and Activate if asked.
pub(super) fn create(out: Output, client: &mut KmipClient, args: &Create) -> Result<(), Failure> {
    let template_attribute = TemplateAttribute { names: vec![], attributes: wanted(args) };
    let request = CreateRequest { object_type: ObjectType::SymmetricKey, template_attribute };
    let id = client.call(&request)?.unique_identifier.to_owned();
    if args.activate {
        client.call(&ActivateRequest { unique_identifier: Some(&id) }).map_err(|error| {
            let failure = Failure::from(error);
            Failure { message: format!("{id} was made, but is not active: {}", failure.message), ..failure }
        })?;
    }
    changed(out, &id)
}

fn wanted(args: &Create) -> Vec<Attribute<'_>> {
    let mask = args.mask.iter().fold(CryptographicUsageMask(0), |mask, bit| mask.with(*bit));
    let mut values =
        vec![Value::CryptographicAlgorithm(args.algorithm), Value::CryptographicLength(args.length), Value::CryptographicUsageMask(mask)];
    values.extend(args.name.as_deref().map(named));
    values.extend(args.object_group.as_deref().map(Value::ObjectGroup));
    values.extend(args.extractable.then_some(Value::Extractable(true)));
    values.into_iter().map(|value| Attribute { index: None, value }).collect()
}

fn named(name: &str) -> Value<'_> {
    Value::Name(Name { value: Some(name), name_type: Some(NameType::UninterpretedTextString) })
}

/// Activate.
pub(super) fn activate(out: Output, client: &mut KmipClient, args: &Identified) -> Result<(), Failure> {
    let id = client.call(&ActivateRequest { unique_identifier: Some(&args.id) })?.unique_identifier.to_owned();
    changed(out, &id)
}

/// Get Attributes, or the attribute operations; shows what was read or changed.
pub(super) fn attributes(out: Output, connection: &Connection, args: &Attributes) -> Result<(), Failure> {
    let client = &mut connection.connect()?;
    if !args.changes.is_empty() {
        let attributes = args.changes.make(client, Batch::new(connection.protocol()), &args.id)?;
        return out.show(&Described { id: args.id.clone(), attributes }, attributes_text);
    }
    let mut names = args.names.clone();
    if names.is_empty() {
        // Where a key stands (`y-layer` and so on) is listed, but told only to who asks for it by name.
        let list = client.call(&GetAttributeListRequest { unique_identifier: Some(&args.id) })?;
        names = list.attribute_names.iter().map(|name| (*name).to_owned()).collect();
    }
    let attribute_names = names.iter().map(String::as_str).collect();
    let answer = client.call(&GetAttributesRequest { unique_identifier: Some(&args.id), attribute_names })?;
    let attributes = answer.attributes.iter().map(Shown::of).collect();
    out.show(&Described { id: answer.unique_identifier.to_owned(), attributes }, attributes_text)
}

fn attributes_text(described: &Described) -> String {
    pairs(&described.attributes.iter().map(|attribute| (attribute.label(), attribute.text())).collect::<Vec<_>>())
}

/// Locate.
pub(super) fn locate(out: Output, client: &mut KmipClient, args: &Locate) -> Result<(), Failure> {
    let values = args.name.as_deref().map(named).into_iter().chain(args.object_group.as_deref().map(Value::ObjectGroup));
    let attributes = values.map(|value| Attribute { index: None, value }).collect();
    let answer = client.call(&LocateRequest { maximum_items: args.max, attributes, ..LocateRequest::default() })?;
    let ids = answer.unique_identifiers.iter().map(|id| (*id).to_owned()).collect();
    out.show(&Found { ids }, |found| found.ids.iter().map(|id| clean(id) + "\n").collect())
}

/// Re-key.
pub(super) fn rekey(out: Output, client: &mut KmipClient, args: &Identified) -> Result<(), Failure> {
    let request = ReKeyRequest { unique_identifier: Some(&args.id), ..ReKeyRequest::default() };
    let id = client.call(&request)?.unique_identifier.to_owned();
    out.show(&Replaced { id, replaces: args.id.clone() }, |replaced| clean(&replaced.id))
}

/// Revoke.
pub(super) fn revoke(out: Output, client: &mut KmipClient, args: &Revoke) -> Result<(), Failure> {
    let request = RevokeRequest {
        unique_identifier: Some(&args.id),
        revocation_reason: RevocationReason { code: Some(args.reason), message: args.message.as_deref() },
        compromise_occurrence_date: args.compromised_since.map(|time| DateTime(time.as_second())),
    };
    let id = client.call(&request)?.unique_identifier.to_owned();
    changed(out, &id)
}

/// Destroy.
pub(super) fn destroy(out: Output, client: &mut KmipClient, args: &Identified) -> Result<(), Failure> {
    let id = client.call(&DestroyRequest { unique_identifier: Some(&args.id) })?.unique_identifier.to_owned();
    changed(out, &id)
}

fn changed(out: Output, id: &str) -> Result<(), Failure> {
    out.show(&Changed { id: id.to_owned() }, |changed| clean(&changed.id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_new_key_gets_one_mask_of_all_uses_and_only_the_attributes_given() {
        let args = Create {
            name: None,
            algorithm: CryptographicAlgorithm::Aes,
            length: 256,
            mask: vec![CryptographicUsageMask::ENCRYPT, CryptographicUsageMask::DECRYPT],
            object_group: None,
            extractable: false,
            activate: false,
        };
        let values: Vec<Value<'_>> = wanted(&args).into_iter().map(|attribute| attribute.value).collect();
        let expected = [
            Value::CryptographicAlgorithm(CryptographicAlgorithm::Aes),
            Value::CryptographicLength(256),
            Value::CryptographicUsageMask(CryptographicUsageMask(12)),
        ];
        assert_eq!(values, expected);
        let args = Create { name: Some("n".to_owned()), object_group: Some("billing".to_owned()), extractable: true, ..args };
        let names: Vec<&str> = wanted(&args).iter().map(|attribute| attribute.value.name()).collect();
        assert_eq!(names[3..], ["Name", "Object Group", "Extractable"]);
    }

    #[test]
    fn attributes_are_aligned_for_people_and_typed_for_programs() {
        let attribute = |value| Shown::of(&Attribute { index: None, value });
        let described = Described {
            id: "L3-1".to_owned(),
            attributes: vec![attribute(Value::CryptographicLength(256)), attribute(Value::ObjectGroup("a\u{1b}b"))],
        };
        assert_eq!(attributes_text(&described), "Cryptographic Length  256\nObject Group          a\\u{1b}b\n");
        let json = serde_json::to_value(&described).expect("a plain structure");
        assert_eq!(json["attributes"][0], json!({"name": "Cryptographic Length", "index": 0, "value": 256}));
    }
}
