//! `kmip attributes --add --modify --delete`: changes of an object's attributes, all or none.

use std::str::FromStr;

use ::kmip::ttlv::{DateTime, Value as Custom};
use ::kmip::{
    AddAttributeRequest, AlternativeName, AlternativeNameType, ApplicationSpecificInformation, Attribute, AttributeValue as Value, Batch,
    BatchErrorContinuationOption, BlockCipherMode, CryptographicParameters, DeleteAttributeRequest, ModifyAttributeRequest, Name, NameType,
};
use clap::Args;
use daemon::kmip_client::{KmipClient, KmipError};
use jiff::Timestamp;

use crate::failure::Failure;
use crate::kmip::attribute::Shown;
use crate::kmip::name;

/// The changes asked for.
#[derive(Debug, Default, Args)]
pub(super) struct Changes {
    /// Add an attribute; may repeat
    #[arg(long, value_name = "NAME=VALUE")]
    add: Vec<Given>,
    /// Give an attribute a new value; may repeat
    #[arg(long, value_name = "NAME[INDEX]=VALUE")]
    modify: Vec<Given>,
    /// Remove an attribute; may repeat
    #[arg(long, value_name = "NAME[INDEX]")]
    delete: Vec<Instance>,
}

/// Which instance of which attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Instance {
    name: String,
    index: Option<i32>,
}

/// An attribute as it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    instance: Instance,
    value: Typed,
}

/// A value whose meaning follows from the attribute's name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Typed {
    Text(String),
    Flag(bool),
    Date(i64),
    Mode(BlockCipherMode),
}

impl Changes {
    /// Whether nothing is to be changed.
    pub(super) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.modify.is_empty() && self.delete.is_empty()
    }

    /// Makes the changes in one message: if one is refused, none is made.
    pub(super) fn make(&self, client: &mut KmipClient, batch: Batch, id: &str) -> Result<Vec<Shown>, Failure> {
        let mut batch = batch;
        batch.on_error(BatchErrorContinuationOption::Undo);
        let unique_identifier = Some(id);
        let kmip = |error: ::kmip::Error| Failure::from(KmipError::from(error));
        let deleted: Result<Vec<_>, _> = (self.delete.iter())
            .map(|Instance { name, index }| {
                batch.push(&DeleteAttributeRequest { unique_identifier, attribute_name: name, attribute_index: *index })
            })
            .collect();
        let modified: Result<Vec<_>, _> = (self.modify.iter())
            .map(|given| batch.push(&ModifyAttributeRequest { unique_identifier, attribute: given.attribute() }))
            .collect();
        let added: Result<Vec<_>, _> =
            (self.add.iter()).map(|given| batch.push(&AddAttributeRequest { unique_identifier, attribute: given.attribute() })).collect();
        let (deleted, modified, added) = (deleted.map_err(kmip)?, modified.map_err(kmip)?, added.map_err(kmip)?);
        let sent = batch.finish();
        let answers = client.exchange(&sent)?;
        if let Some(refused) = answers.refusal() {
            return Err(kmip(refused));
        }
        let mut shown = vec![];
        for slot in deleted {
            shown.push(Shown::of(&answers.get(&slot).map_err(kmip)?.attribute));
        }
        for slot in modified {
            shown.push(Shown::of(&answers.get(&slot).map_err(kmip)?.attribute));
        }
        for slot in added {
            shown.push(Shown::of(&answers.get(&slot).map_err(kmip)?.attribute));
        }
        Ok(shown)
    }
}

impl FromStr for Instance {
    type Err = String;

    /// `NAME`, or `NAME[INDEX]`; a blank before the bracket does not count.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, index)) = text.strip_suffix(']').and_then(|text| text.rsplit_once('[')) else {
            return if text.is_empty() { Err("a name is missing".to_owned()) } else { Ok(Self { name: text.to_owned(), index: None }) };
        };
        let index = index.parse().ok().filter(|index| *index >= 0).ok_or_else(|| format!("`{index}` is no index: it is 0, 1, 2 ..."))?;
        Ok(Self { name: name.trim_end().to_owned(), index: Some(index) })
    }
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (instance, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
        let instance: Instance = instance.parse()?;
        let value = Typed::of(&instance.name, value)?;
        Ok(Self { instance, value })
    }
}

impl Typed {
    fn of(name: &str, value: &str) -> Result<Self, String> {
        match name {
            "Sensitive" | "Extractable" => value.parse().map(Self::Flag).map_err(|_| "say true or false".to_owned()),
            "Activation Date" | "Process Start Date" | "Protect Stop Date" | "Deactivation Date" => {
                let date: Timestamp = value.parse().map_err(|_| "write the time as 2026-01-31T12:00:00Z".to_owned())?;
                Ok(Self::Date(date.as_second()))
            }
            "Cryptographic Parameters" => name::block_cipher_mode(value).map(Self::Mode),
            "Application Specific Information" if !value.contains(':') => Err("write NAMESPACE:DATA".to_owned()),
            "Name"
            | "Object Group"
            | "Alternative Name"
            | "Application Specific Information"
            | "Contact Information"
            | "Description"
            | "Comment" => Ok(Self::Text(value.to_owned())),
            custom if custom.starts_with("x-") => Ok(Self::Text(value.to_owned())),
            _ => Err(format!(
                "`{name}` cannot be set from here: use Name, Object Group, Alternative Name, Application Specific Information, Contact \
                 Information, Description, Comment, a date, Sensitive, Extractable, Cryptographic Parameters, or a name that begins with x-"
            )),
        }
    }
}

impl Given {
    fn attribute(&self) -> Attribute<'_> {
        Attribute { index: self.instance.index, value: self.wire_value() }
    }

    fn wire_value(&self) -> Value<'_> {
        let name = self.instance.name.as_str();
        match &self.value {
            Typed::Flag(flag) if name == "Sensitive" => Value::Sensitive(*flag),
            Typed::Flag(flag) => Value::Extractable(*flag),
            Typed::Date(date) => {
                let date = DateTime(*date);
                match name {
                    "Activation Date" => Value::ActivationDate(date),
                    "Process Start Date" => Value::ProcessStartDate(date),
                    "Protect Stop Date" => Value::ProtectStopDate(date),
                    _ => Value::DeactivationDate(date),
                }
            }
            Typed::Mode(mode) => Value::CryptographicParameters(CryptographicParameters {
                block_cipher_mode: Some(*mode),
                ..CryptographicParameters::default()
            }),
            Typed::Text(text) => match name {
                "Name" => Value::Name(Name { value: Some(text), name_type: Some(NameType::UninterpretedTextString) }),
                "Object Group" => Value::ObjectGroup(text),
                "Alternative Name" => {
                    let name_type = Some(AlternativeNameType::UninterpretedTextString);
                    Value::AlternativeName(AlternativeName { value: Some(text), name_type })
                }
                "Application Specific Information" => {
                    let (namespace, data) = text.split_once(':').unwrap_or((text, ""));
                    Value::ApplicationSpecificInformation(ApplicationSpecificInformation { namespace: Some(namespace), data: Some(data) })
                }
                "Contact Information" => Value::ContactInformation(text),
                "Description" => Value::Description(text),
                "Comment" => Value::Comment(text),
                custom => Value::Custom(custom, Custom::TextString(text)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Given {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_instance_is_a_name_with_or_without_an_index() {
        let check = |text: &str, name: &str, index| assert_eq!(text.parse(), Ok(Instance { name: name.to_owned(), index }), "{text}");
        check("Name", "Name", None);
        check("Name[0]", "Name", Some(0));
        check("Object Group [12]", "Object Group", Some(12));
        check("x-a]", "x-a]", None);
        for bad in ["", "Name[-1]", "Name[x]", "Name[]", "Name[99999999999]"] {
            assert!(bad.parse::<Instance>().is_err(), "{bad}");
        }
    }

    #[test]
    fn each_attribute_has_its_type() {
        assert_eq!(value("Comment=a=b").wire_value(), Value::Comment("a=b"));
        assert_eq!(value("Description=").wire_value(), Value::Description(""));
        assert_eq!(value("Contact Information=me").wire_value(), Value::ContactInformation("me"));
        assert_eq!(value("Object Group[1]=g").attribute(), Attribute { index: Some(1), value: Value::ObjectGroup("g") });
        assert_eq!(value("Sensitive=true").wire_value(), Value::Sensitive(true));
        assert_eq!(value("Extractable=false").wire_value(), Value::Extractable(false));
        assert_eq!(value("x-a=b").wire_value(), Value::Custom("x-a", Custom::TextString("b")));
        let date = DateTime(0);
        for (name, expected) in [
            ("Activation Date", Value::ActivationDate(date)),
            ("Process Start Date", Value::ProcessStartDate(date)),
            ("Protect Stop Date", Value::ProtectStopDate(date)),
            ("Deactivation Date", Value::DeactivationDate(date)),
        ] {
            assert_eq!(value(&format!("{name}=1970-01-01T00:00:00Z")).wire_value(), expected);
        }
        let check = |text: &str, expected: Value<'_>| assert_eq!(value(text).wire_value(), expected, "{text}");
        let parameters =
            CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::NISTKeyWrap), ..CryptographicParameters::default() };
        check("Cryptographic Parameters=nist-key-wrap", Value::CryptographicParameters(parameters));
        let information = ApplicationSpecificInformation { namespace: Some("ssl"), data: Some("a:b") };
        check("Application Specific Information=ssl:a:b", Value::ApplicationSpecificInformation(information));
        let name = AlternativeName { value: Some("n"), name_type: Some(AlternativeNameType::UninterpretedTextString) };
        check("Alternative Name=n", Value::AlternativeName(name));
        check("Name=n", Value::Name(Name { value: Some("n"), name_type: Some(NameType::UninterpretedTextString) }));
    }

    #[test]
    fn what_has_no_type_here_is_refused_with_what_has() {
        for bad in [
            "Name",
            "=v",
            "State=Active",
            "y-layer=L3",
            "Sensitive=yes",
            "Activation Date=tomorrow",
            "Cryptographic Parameters=rot13",
            "Application Specific Information=ssl",
        ] {
            assert!(bad.parse::<Given>().is_err(), "{bad}");
        }
        assert!("State=Active".parse::<Given>().expect_err("read only").contains("Object Group"));
    }
}
