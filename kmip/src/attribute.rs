//! The attributes of section 3: one table, and the structure that carries a name, an index and a value.

use crate::enums::{CertificateType, CryptographicAlgorithm, DigitalSignatureAlgorithm, ObjectType, State};
use crate::error::{Error, excerpt};
use crate::mask::{CryptographicUsageMask, StorageStatusMask};
use crate::object::{
    AlternativeName, ApplicationSpecificInformation, CertificateIdentifier, CertificateIssuer, CertificateSubject,
    CryptographicDomainParameters, CryptographicParameters, Digest, KeyValueLocation, Link, Name, RevocationReason, RngParameters,
    UsageLimits, X509CertificateIdentifier, X509CertificateIssuer, X509CertificateSubject,
};
use crate::schema::{Decode, Encode, Rules, message, once, present};
use crate::tag::Tag;
use crate::ttlv::{DateTime, Interval, Item, ItemType, Value, Writer};
use crate::version::ProtocolVersion;

/// How many instances of an attribute an object may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// At most one, with index 0.
    One,
    /// Any number, told apart by their indices.
    Many,
}

/// Who may give an attribute its first value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// The server alone: a client that names it is refused.
    Server,
    /// A client's request, at creation or later; the server may too.
    Client,
}

/// When a client may change a value that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modifiable {
    /// Never.
    Never,
    /// In every state.
    Always,
    /// While the object is Pre-Active.
    PreActive,
    /// While the object is Pre-Active or Active.
    UntilInactive,
    /// While the object is Pre-Active or Active, and the date has not been reached.
    UntilReached,
    /// As long as nothing has been taken from a Get Usage Allocation.
    UntilUsed,
}

/// Whether a client may remove an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletable {
    /// It stays.
    Stays,
    /// It may.
    Goes,
}

/// What the standard says about an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributeRow {
    /// The name, as Attribute Name carries it.
    pub name: &'static str,
    /// Its tag where it stands alone.
    pub tag: Tag,
    /// The type of its value.
    pub kind: ItemType,
    /// One or many.
    pub instances: Instances,
    /// Who sets it first.
    pub set_by: SetBy,
    /// When a client may change it.
    pub modifiable: Modifiable,
    /// Whether a client may remove it.
    pub deletable: Deletable,
    /// First version that has it.
    pub since: ProtocolVersion,
    /// Last version that has it.
    pub until: ProtocolVersion,
}

// Cryptographic Algorithm and Cryptographic Length are set "by the server" in section 3, yet Create requires the client to name the
// first and lets it name the second (Table 165), so they are a client's here. Storage Status Mask is a field of Locate and no
// attribute, but MySQL Enterprise names it as one in Create.
message! {
    attributes<'a> {
        "Unique Identifier":                UniqueIdentifier,               UNIQUE_IDENTIFIER,                &'a str,                            One,  Server, Never,         Stays, V1_0..=V1_4;
        "Name":                             Name,                           NAME,                             Name<'a>,                           Many, Client, Always,        Goes,  V1_0..=V1_4;
        "Object Type":                      ObjectType,                     OBJECT_TYPE,                      ObjectType,                         One,  Server, Never,         Stays, V1_0..=V1_4;
        "Cryptographic Algorithm":          CryptographicAlgorithm,         CRYPTOGRAPHIC_ALGORITHM,          CryptographicAlgorithm,             One,  Client, Never,         Stays, V1_0..=V1_4;
        "Cryptographic Length":             CryptographicLength,            CRYPTOGRAPHIC_LENGTH,             i32,                                One,  Client, Never,         Stays, V1_0..=V1_4;
        "Cryptographic Parameters":         CryptographicParameters,        CRYPTOGRAPHIC_PARAMETERS,         CryptographicParameters<'a>,        Many, Client, Always,        Goes,  V1_0..=V1_4;
        "Cryptographic Domain Parameters":  CryptographicDomainParameters,  CRYPTOGRAPHIC_DOMAIN_PARAMETERS,  CryptographicDomainParameters,      One,  Client, Never,         Stays, V1_0..=V1_4;
        "Certificate Type":                 CertificateType,                CERTIFICATE_TYPE,                 CertificateType,                    One,  Server, Never,         Stays, V1_0..=V1_4;
        "Certificate Length":               CertificateLength,              CERTIFICATE_LENGTH,               i32,                                One,  Server, Never,         Stays, V1_1..=V1_4;
        "X.509 Certificate Identifier":     X509CertificateIdentifier,      X509_CERTIFICATE_IDENTIFIER,      X509CertificateIdentifier<'a>,      One,  Server, Never,         Stays, V1_1..=V1_4;
        "X.509 Certificate Subject":        X509CertificateSubject,         X509_CERTIFICATE_SUBJECT,         X509CertificateSubject<'a>,         One,  Server, Never,         Stays, V1_1..=V1_4;
        "X.509 Certificate Issuer":         X509CertificateIssuer,          X509_CERTIFICATE_ISSUER,          X509CertificateIssuer<'a>,          One,  Server, Never,         Stays, V1_1..=V1_4;
        "Certificate Identifier":           CertificateIdentifier,          CERTIFICATE_IDENTIFIER,           CertificateIdentifier<'a>,          One,  Server, Never,         Stays, V1_0..=V1_4;
        "Certificate Subject":              CertificateSubject,             CERTIFICATE_SUBJECT,              CertificateSubject<'a>,             One,  Server, Never,         Stays, V1_0..=V1_4;
        "Certificate Issuer":               CertificateIssuer,              CERTIFICATE_ISSUER,               CertificateIssuer<'a>,              One,  Server, Never,         Stays, V1_0..=V1_4;
        "Digital Signature Algorithm":      DigitalSignatureAlgorithm,      DIGITAL_SIGNATURE_ALGORITHM,      DigitalSignatureAlgorithm,          Many, Server, Never,         Stays, V1_1..=V1_4;
        "Digest":                           Digest,                         DIGEST,                           Digest<'a>,                         Many, Server, Never,         Stays, V1_0..=V1_4;
        "Operation Policy Name":            OperationPolicyName,            OPERATION_POLICY_NAME,            &'a str,                            One,  Client, Never,         Stays, V1_0..=V1_4;
        "Cryptographic Usage Mask":         CryptographicUsageMask,         CRYPTOGRAPHIC_USAGE_MASK,         CryptographicUsageMask,             One,  Client, Never,         Stays, V1_0..=V1_4;
        "Lease Time":                       LeaseTime,                      LEASE_TIME,                       Interval,                           One,  Server, Never,         Stays, V1_0..=V1_4;
        "Usage Limits":                     UsageLimits,                    USAGE_LIMITS,                     UsageLimits,                        One,  Client, UntilUsed,     Goes,  V1_0..=V1_4;
        "State":                            State,                          STATE,                            State,                              One,  Server, Never,         Stays, V1_0..=V1_4;
        "Initial Date":                     InitialDate,                    INITIAL_DATE,                     DateTime,                           One,  Server, Never,         Stays, V1_0..=V1_4;
        "Activation Date":                  ActivationDate,                 ACTIVATION_DATE,                  DateTime,                           One,  Client, PreActive,     Stays, V1_0..=V1_4;
        "Process Start Date":               ProcessStartDate,               PROCESS_START_DATE,               DateTime,                           One,  Client, UntilReached,  Stays, V1_0..=V1_4;
        "Protect Stop Date":                ProtectStopDate,                PROTECT_STOP_DATE,                DateTime,                           One,  Client, UntilReached,  Stays, V1_0..=V1_4;
        "Deactivation Date":                DeactivationDate,               DEACTIVATION_DATE,                DateTime,                           One,  Client, UntilInactive, Stays, V1_0..=V1_4;
        "Destroy Date":                     DestroyDate,                    DESTROY_DATE,                     DateTime,                           One,  Server, Never,         Stays, V1_0..=V1_4;
        "Compromise Occurrence Date":       CompromiseOccurrenceDate,       COMPROMISE_OCCURRENCE_DATE,       DateTime,                           One,  Server, Never,         Stays, V1_0..=V1_4;
        "Compromise Date":                  CompromiseDate,                 COMPROMISE_DATE,                  DateTime,                           One,  Server, Never,         Stays, V1_0..=V1_4;
        "Revocation Reason":                RevocationReason,               REVOCATION_REASON,                RevocationReason<'a>,               One,  Server, Never,         Stays, V1_0..=V1_4;
        "Archive Date":                     ArchiveDate,                    ARCHIVE_DATE,                     DateTime,                           One,  Server, Never,         Stays, V1_0..=V1_4;
        "Object Group":                     ObjectGroup,                    OBJECT_GROUP,                     &'a str,                            Many, Client, Always,        Goes,  V1_0..=V1_4;
        "Fresh":                            Fresh,                          FRESH,                            bool,                               One,  Client, Never,         Stays, V1_1..=V1_4;
        "Link":                             Link,                           LINK,                             Link<'a>,                           Many, Client, Always,        Goes,  V1_0..=V1_4;
        "Application Specific Information": ApplicationSpecificInformation, APPLICATION_SPECIFIC_INFORMATION, ApplicationSpecificInformation<'a>, Many, Client, Always,        Goes,  V1_0..=V1_4;
        "Contact Information":              ContactInformation,             CONTACT_INFORMATION,              &'a str,                            One,  Client, Always,        Goes,  V1_0..=V1_4;
        "Last Change Date":                 LastChangeDate,                 LAST_CHANGE_DATE,                 DateTime,                           One,  Server, Never,         Stays, V1_0..=V1_4;
        "Alternative Name":                 AlternativeName,                ALTERNATIVE_NAME,                 AlternativeName<'a>,                Many, Client, Always,        Goes,  V1_2..=V1_4;
        "Key Value Present":                KeyValuePresent,                KEY_VALUE_PRESENT,                bool,                               One,  Server, Never,         Stays, V1_2..=V1_4;
        "Key Value Location":               KeyValueLocation,               KEY_VALUE_LOCATION,               KeyValueLocation<'a>,               Many, Client, Always,        Goes,  V1_2..=V1_4;
        "Original Creation Date":           OriginalCreationDate,           ORIGINAL_CREATION_DATE,           DateTime,                           One,  Client, Never,         Stays, V1_2..=V1_4;
        "Random Number Generator":          RandomNumberGenerator,          RANDOM_NUMBER_GENERATOR,          RngParameters,                      One,  Client, Never,         Stays, V1_3..=V1_4;
        "PKCS#12 Friendly Name":            Pkcs12FriendlyName,             PKCS12_FRIENDLY_NAME,             &'a str,                            One,  Client, Always,        Goes,  V1_4..=V1_4;
        "Description":                      Description,                    DESCRIPTION,                      &'a str,                            One,  Client, Always,        Goes,  V1_4..=V1_4;
        "Comment":                          Comment,                        COMMENT,                          &'a str,                            One,  Client, Always,        Goes,  V1_4..=V1_4;
        "Sensitive":                        Sensitive,                      SENSITIVE,                        bool,                               One,  Client, Always,        Stays, V1_4..=V1_4;
        "Always Sensitive":                 AlwaysSensitive,                ALWAYS_SENSITIVE,                 bool,                               One,  Server, Never,         Stays, V1_4..=V1_4;
        "Extractable":                      Extractable,                    EXTRACTABLE,                      bool,                               One,  Client, Always,        Stays, V1_4..=V1_4;
        "Never Extractable":                NeverExtractable,               NEVER_EXTRACTABLE,                bool,                               One,  Server, Never,         Stays, V1_4..=V1_4;
        "Storage Status Mask":              StorageStatusMask,              STORAGE_STATUS_MASK,              StorageStatusMask,                  One,  Client, Never,         Stays, V1_0..=V1_4;
    }
}

/// Attribute, 2.1.1.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute<'a> {
    /// Which instance; left out, it means 0.
    pub index: Option<i32>,
    /// The value, whose variant is the attribute's name.
    pub value: AttributeValue<'a>,
}

impl<'a> AttributeValue<'a> {
    /// Reads the value of the attribute with this name.
    ///
    /// - Errors: `UnknownAttribute` if the name is neither in the table nor begins with `x-` or `y-`; `NotInVersion`; `Invalid` if
    ///   the value has another type than the table says, or is a custom structure with structures inside (3.39).
    pub fn read(name: &'a str, item: Item<'a>, rules: Rules) -> Result<Self, Error> {
        let Some(standard) = AttributeName::of(name) else {
            return read_custom(name, item);
        };
        let row = standard.row();
        rules.require(row.name, row.since, row.until)?;
        if item.kind != row.kind {
            return Err(Error::Invalid { offset: item.offset, field: row.name, why: wanted(row.kind) });
        }
        standard.decode(item, rules)
    }
}

fn read_custom<'a>(name: &'a str, item: Item<'a>) -> Result<AttributeValue<'a>, Error> {
    if !name.starts_with("x-") && !name.starts_with("y-") {
        return Err(Error::UnknownAttribute { offset: item.offset, name: excerpt(name) });
    }
    let value = Value::read(item)?;
    if matches!(value, Value::Structure(fields) if fields.is_nested()) {
        return Err(Error::Invalid { offset: item.offset, field: "Custom Attribute", why: "a structure in it has no structures inside" });
    }
    Ok(AttributeValue::Custom(name, value))
}

/// Why a value is refused, by the type it should have had.
const fn wanted(kind: ItemType) -> &'static str {
    match kind {
        ItemType::Structure => "its value is a Structure",
        ItemType::Integer => "its value is an Integer",
        ItemType::LongInteger => "its value is a Long Integer",
        ItemType::BigInteger => "its value is a Big Integer",
        ItemType::Enumeration => "its value is an Enumeration",
        ItemType::Boolean => "its value is a Boolean",
        ItemType::TextString => "its value is a Text String",
        ItemType::ByteString => "its value is a Byte String",
        ItemType::DateTime => "its value is a Date-Time",
        ItemType::Interval => "its value is an Interval",
    }
}

impl<'a> Decode<'a> for Attribute<'a> {
    const TYPE: ItemType = ItemType::Structure;

    fn decode(item: Item<'a>, rules: Rules) -> Result<Self, Error> {
        let (mut name, mut index, mut value) = (None, None, None);
        let mut fields = item.fields()?;
        while let Some(field) = fields.next_item()? {
            match field.tag {
                Tag::ATTRIBUTE_NAME => once::<&str>(&mut name, field, rules)?,
                Tag::ATTRIBUTE_INDEX => once::<i32>(&mut index, field, rules)?,
                Tag::ATTRIBUTE_VALUE if value.is_none() => value = Some(field),
                Tag::ATTRIBUTE_VALUE => return Err(Error::Duplicate { offset: field.offset, field: field.tag.name() }),
                _ => rules.unknown(field)?,
            }
        }
        let name = present(name, item, Tag::ATTRIBUTE_NAME)?;
        let value = present(value, item, Tag::ATTRIBUTE_VALUE)?;
        if index.is_some_and(|index| index < 0) {
            return Err(Error::Invalid { offset: item.offset, field: Tag::ATTRIBUTE_INDEX.name(), why: "indices begin with 0" });
        }
        Ok(Self { index, value: AttributeValue::read(name, value, rules)? })
    }
}

impl Encode for Attribute<'_> {
    fn encode(&self, tag: Tag, out: &mut Writer<'_>) {
        let open = out.open(tag);
        out.text(Tag::ATTRIBUTE_NAME, self.value.name());
        if let Some(index) = self.index {
            out.integer(Tag::ATTRIBUTE_INDEX, index);
        }
        self.value.encode(Tag::ATTRIBUTE_VALUE, out);
        out.close(open);
    }

    fn legal_in(&self, version: ProtocolVersion) -> bool {
        self.value.legal_in(version)
    }
}
