//! The payloads of the operations of section 4, requests and responses.

use crate::attribute::Attribute;
use crate::client::Call;
use crate::enums::{
    AttestationType, ClientRegistrationMethod, DerivationMethod, KeyCompressionType, KeyFormatType, KeyWrapType, ObjectGroupMember,
    ObjectType, Operation, QueryFunction, ValidityIndicator,
};
use crate::key_block::{KeyWrappingSpecification, ManagedObject};
use crate::mask::{CryptographicUsageMask, StorageStatusMask};
use crate::object::{
    CapabilityInformation, CryptographicParameters, DerivationParameters, ExtensionInformation, ProfileInformation, RevocationReason,
    RngParameters, TemplateAttribute, ValidationInformation,
};
use crate::schema::message;
use crate::ttlv::{ByteString, DateTime, Interval, Structure};
use crate::version::VersionNumber;

message! {
    /// Create, 4.1.
    struct CreateRequest<'a> {
        OBJECT_TYPE:        object_type,        ObjectType,            required, V1_0..=V1_4;
        TEMPLATE_ATTRIBUTE: template_attribute, TemplateAttribute<'a>, required, V1_0..=V1_4;
    }
}

message! {
    /// Create, 4.1: the new object.
    struct CreateResponse<'a> {
        OBJECT_TYPE:        object_type,        ObjectType,            required, V1_0..=V1_4;
        UNIQUE_IDENTIFIER:  unique_identifier,  &'a str,               required, V1_0..=V1_4;
        TEMPLATE_ATTRIBUTE: template_attribute, TemplateAttribute<'a>, optional, V1_0..=V1_4;
    }
}

message! {
    /// Create Key Pair, 4.2.
    #[derive(Default)]
    struct CreateKeyPairRequest<'a> {
        COMMON_TEMPLATE_ATTRIBUTE:      common_template_attribute,      TemplateAttribute<'a>, optional, V1_0..=V1_4;
        PRIVATE_KEY_TEMPLATE_ATTRIBUTE: private_key_template_attribute, TemplateAttribute<'a>, optional, V1_0..=V1_4;
        PUBLIC_KEY_TEMPLATE_ATTRIBUTE:  public_key_template_attribute,  TemplateAttribute<'a>, optional, V1_0..=V1_4;
    }
}

message! {
    /// Create Key Pair, 4.2: the two new objects.
    struct CreateKeyPairResponse<'a> {
        PRIVATE_KEY_UNIQUE_IDENTIFIER:  private_key_unique_identifier,  &'a str,               required, V1_0..=V1_4;
        PUBLIC_KEY_UNIQUE_IDENTIFIER:   public_key_unique_identifier,   &'a str,               required, V1_0..=V1_4;
        PRIVATE_KEY_TEMPLATE_ATTRIBUTE: private_key_template_attribute, TemplateAttribute<'a>, optional, V1_0..=V1_4;
        PUBLIC_KEY_TEMPLATE_ATTRIBUTE:  public_key_template_attribute,  TemplateAttribute<'a>, optional, V1_0..=V1_4;
    }
}

message! {
    /// Register, 4.3. The object has to be there also in 1.0 and 1.1, whose tables let it be left out.
    struct RegisterRequest<'a> {
        OBJECT_TYPE:        object_type,        ObjectType,            required, V1_0..=V1_4;
        TEMPLATE_ATTRIBUTE: template_attribute, TemplateAttribute<'a>, required, V1_0..=V1_4;
        CERTIFICATE | SYMMETRIC_KEY | PRIVATE_KEY | PUBLIC_KEY | TEMPLATE | SECRET_DATA | OPAQUE_OBJECT:
                            object,             ManagedObject<'a>,     one_of,   V1_0..=V1_4;
    }
}

message! {
    /// Register, 4.3: the new object.
    struct RegisterResponse<'a> {
        UNIQUE_IDENTIFIER:  unique_identifier,  &'a str,               required, V1_0..=V1_4;
        TEMPLATE_ATTRIBUTE: template_attribute, TemplateAttribute<'a>, optional, V1_0..=V1_4;
    }
}

message! {
    /// Re-key, 4.4. Offset is in seconds after now.
    #[derive(Default)]
    struct ReKeyRequest<'a> {
        UNIQUE_IDENTIFIER:  unique_identifier,  &'a str,               optional, V1_0..=V1_4;
        OFFSET:             offset,             Interval,              optional, V1_0..=V1_4;
        TEMPLATE_ATTRIBUTE: template_attribute, TemplateAttribute<'a>, optional, V1_0..=V1_4;
    }
}

message! {
    /// Re-key, 4.4: the replacement.
    struct ReKeyResponse<'a> {
        UNIQUE_IDENTIFIER:  unique_identifier,  &'a str,               required, V1_0..=V1_4;
        TEMPLATE_ATTRIBUTE: template_attribute, TemplateAttribute<'a>, optional, V1_0..=V1_4;
    }
}

message! {
    /// Re-key Key Pair, 4.5. Offset is in seconds after now.
    #[derive(Default)]
    struct ReKeyKeyPairRequest<'a> {
        PRIVATE_KEY_UNIQUE_IDENTIFIER:  private_key_unique_identifier,  &'a str,               optional, V1_1..=V1_4;
        OFFSET:                         offset,                         Interval,              optional, V1_1..=V1_4;
        COMMON_TEMPLATE_ATTRIBUTE:      common_template_attribute,      TemplateAttribute<'a>, optional, V1_1..=V1_4;
        PRIVATE_KEY_TEMPLATE_ATTRIBUTE: private_key_template_attribute, TemplateAttribute<'a>, optional, V1_1..=V1_4;
        PUBLIC_KEY_TEMPLATE_ATTRIBUTE:  public_key_template_attribute,  TemplateAttribute<'a>, optional, V1_1..=V1_4;
    }
}

message! {
    /// Re-key Key Pair, 4.5: the two replacements.
    struct ReKeyKeyPairResponse<'a> {
        PRIVATE_KEY_UNIQUE_IDENTIFIER:  private_key_unique_identifier,  &'a str,               required, V1_1..=V1_4;
        PUBLIC_KEY_UNIQUE_IDENTIFIER:   public_key_unique_identifier,   &'a str,               required, V1_1..=V1_4;
        PRIVATE_KEY_TEMPLATE_ATTRIBUTE: private_key_template_attribute, TemplateAttribute<'a>, optional, V1_1..=V1_4;
        PUBLIC_KEY_TEMPLATE_ATTRIBUTE:  public_key_template_attribute,  TemplateAttribute<'a>, optional, V1_1..=V1_4;
    }
}

message! {
    /// Derive Key, 4.6.
    struct DeriveKeyRequest<'a> {
        OBJECT_TYPE:           object_type,           ObjectType,               required, V1_0..=V1_4;
        UNIQUE_IDENTIFIER:     unique_identifiers,    &'a str,                  several,  V1_0..=V1_4;
        DERIVATION_METHOD:     derivation_method,     DerivationMethod,         required, V1_0..=V1_4;
        DERIVATION_PARAMETERS: derivation_parameters, DerivationParameters<'a>, required, V1_0..=V1_4;
        TEMPLATE_ATTRIBUTE:    template_attribute,    TemplateAttribute<'a>,    required, V1_0..=V1_4;
    }
}

message! {
    /// Derive Key, 4.6: the new object.
    struct DeriveKeyResponse<'a> {
        UNIQUE_IDENTIFIER:  unique_identifier,  &'a str,               required, V1_0..=V1_4;
        TEMPLATE_ATTRIBUTE: template_attribute, TemplateAttribute<'a>, optional, V1_0..=V1_4;
    }
}

message! {
    /// Locate, 4.9. Template-Attribute is not in the table: FortiGate puts the attributes inside one.
    #[derive(Default)]
    struct LocateRequest<'a> {
        MAXIMUM_ITEMS:       maximum_items,       i32,                   optional, V1_0..=V1_4;
        OFFSET_ITEMS:        offset_items,        i32,                   optional, V1_3..=V1_4;
        STORAGE_STATUS_MASK: storage_status_mask, StorageStatusMask,     optional, V1_0..=V1_4;
        OBJECT_GROUP_MEMBER: object_group_member, ObjectGroupMember,     optional, V1_1..=V1_4;
        ATTRIBUTE:           attributes,          Attribute<'a>,         repeated, V1_0..=V1_4;
        TEMPLATE_ATTRIBUTE:  template_attribute,  TemplateAttribute<'a>, optional, V1_0..=V1_4;
    }
}

message! {
    /// Locate, 4.9: what was found.
    #[derive(Default)]
    struct LocateResponse<'a> {
        LOCATED_ITEMS:     located_items,      i32,     optional, V1_3..=V1_4;
        UNIQUE_IDENTIFIER: unique_identifiers, &'a str, repeated, V1_0..=V1_4;
    }
}

message! {
    /// Check, 4.10.
    #[derive(Default)]
    struct CheckRequest<'a> {
        UNIQUE_IDENTIFIER:        unique_identifier,        &'a str,                optional, V1_0..=V1_4;
        USAGE_LIMITS_COUNT:       usage_limits_count,       i64,                    optional, V1_0..=V1_4;
        CRYPTOGRAPHIC_USAGE_MASK: cryptographic_usage_mask, CryptographicUsageMask, optional, V1_0..=V1_4;
        LEASE_TIME:               lease_time,               Interval,               optional, V1_0..=V1_4;
    }
}

message! {
    /// Check, 4.10: the object if it may be used so, else what stands against it.
    #[derive(Default)]
    struct CheckResponse<'a> {
        UNIQUE_IDENTIFIER:        unique_identifier,        &'a str,                optional, V1_0..=V1_4;
        USAGE_LIMITS_COUNT:       usage_limits_count,       i64,                    optional, V1_0..=V1_4;
        CRYPTOGRAPHIC_USAGE_MASK: cryptographic_usage_mask, CryptographicUsageMask, optional, V1_0..=V1_4;
        LEASE_TIME:               lease_time,               Interval,               optional, V1_0..=V1_4;
    }
}

message! {
    /// Get, 4.11.
    #[derive(Default)]
    struct GetRequest<'a> {
        UNIQUE_IDENTIFIER:          unique_identifier,          &'a str,                      optional, V1_0..=V1_4;
        KEY_FORMAT_TYPE:            key_format_type,            KeyFormatType,                optional, V1_0..=V1_4;
        KEY_WRAP_TYPE:              key_wrap_type,              KeyWrapType,                  optional, V1_4..=V1_4;
        KEY_COMPRESSION_TYPE:       key_compression_type,       KeyCompressionType,           optional, V1_0..=V1_4;
        KEY_WRAPPING_SPECIFICATION: key_wrapping_specification, KeyWrappingSpecification<'a>, optional, V1_0..=V1_4;
    }
}

message! {
    /// Get, 4.11: the object.
    struct GetResponse<'a> {
        OBJECT_TYPE:       object_type,       ObjectType,        required, V1_0..=V1_4;
        UNIQUE_IDENTIFIER: unique_identifier, &'a str,           required, V1_0..=V1_4;
        CERTIFICATE | SYMMETRIC_KEY | PRIVATE_KEY | PUBLIC_KEY | TEMPLATE | SECRET_DATA | OPAQUE_OBJECT:
                           object,            ManagedObject<'a>, one_of,   V1_0..=V1_4;
    }
}

message! {
    /// Export, 4.40.
    #[derive(Default)]
    struct ExportRequest<'a> {
        UNIQUE_IDENTIFIER:          unique_identifier,          &'a str,                      optional, V1_4..=V1_4;
        KEY_FORMAT_TYPE:            key_format_type,            KeyFormatType,                optional, V1_4..=V1_4;
        KEY_WRAP_TYPE:              key_wrap_type,              KeyWrapType,                  optional, V1_4..=V1_4;
        KEY_COMPRESSION_TYPE:       key_compression_type,       KeyCompressionType,           optional, V1_4..=V1_4;
        KEY_WRAPPING_SPECIFICATION: key_wrapping_specification, KeyWrappingSpecification<'a>, optional, V1_4..=V1_4;
    }
}

message! {
    /// Export, 4.40: the object and all its attributes.
    struct ExportResponse<'a> {
        OBJECT_TYPE:       object_type,       ObjectType,        required, V1_4..=V1_4;
        UNIQUE_IDENTIFIER: unique_identifier, &'a str,           required, V1_4..=V1_4;
        ATTRIBUTE:         attributes,        Attribute<'a>,     several,  V1_4..=V1_4;
        CERTIFICATE | SYMMETRIC_KEY | PRIVATE_KEY | PUBLIC_KEY | TEMPLATE | SECRET_DATA | OPAQUE_OBJECT:
                           object,            ManagedObject<'a>, one_of,   V1_4..=V1_4;
    }
}

message! {
    /// Import, 4.41.
    struct ImportRequest<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str,           required, V1_4..=V1_4;
        REPLACE_EXISTING:  replace_existing,  bool,              optional, V1_4..=V1_4;
        KEY_WRAP_TYPE:     key_wrap_type,     KeyWrapType,       optional, V1_4..=V1_4;
        ATTRIBUTE:         attributes,        Attribute<'a>,     several,  V1_4..=V1_4;
        CERTIFICATE | SYMMETRIC_KEY | PRIVATE_KEY | PUBLIC_KEY | TEMPLATE | SECRET_DATA | OPAQUE_OBJECT:
                           object,            ManagedObject<'a>, one_of,   V1_4..=V1_4;
    }
}

message! {
    /// Import, 4.41: done.
    struct ImportResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, required, V1_4..=V1_4;
    }
}

message! {
    /// Get Attributes, 4.12.
    #[derive(Default)]
    struct GetAttributesRequest<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, optional, V1_0..=V1_4;
        ATTRIBUTE_NAME:    attribute_names,   &'a str, repeated, V1_0..=V1_4;
    }
}

message! {
    /// Get Attributes, 4.12: the values.
    struct GetAttributesResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str,       required, V1_0..=V1_4;
        ATTRIBUTE:         attributes,        Attribute<'a>, repeated, V1_0..=V1_4;
    }
}

message! {
    /// Get Attribute List, 4.13.
    #[derive(Default)]
    struct GetAttributeListRequest<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, optional, V1_0..=V1_4;
    }
}

message! {
    /// Get Attribute List, 4.13: the names.
    struct GetAttributeListResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, required, V1_0..=V1_4;
        ATTRIBUTE_NAME:    attribute_names,   &'a str, several,  V1_0..=V1_4;
    }
}

message! {
    /// Add Attribute, 4.14.
    struct AddAttributeRequest<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str,       optional, V1_0..=V1_4;
        ATTRIBUTE:         attribute,         Attribute<'a>, required, V1_0..=V1_4;
    }
}

message! {
    /// Add Attribute, 4.14: the new instance.
    struct AddAttributeResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str,       required, V1_0..=V1_4;
        ATTRIBUTE:         attribute,         Attribute<'a>, required, V1_0..=V1_4;
    }
}

message! {
    /// Modify Attribute, 4.15.
    struct ModifyAttributeRequest<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str,       optional, V1_0..=V1_4;
        ATTRIBUTE:         attribute,         Attribute<'a>, required, V1_0..=V1_4;
    }
}

message! {
    /// Modify Attribute, 4.15: the instance with its new value.
    struct ModifyAttributeResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str,       required, V1_0..=V1_4;
        ATTRIBUTE:         attribute,         Attribute<'a>, required, V1_0..=V1_4;
    }
}

message! {
    /// Delete Attribute, 4.16.
    struct DeleteAttributeRequest<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, optional, V1_0..=V1_4;
        ATTRIBUTE_NAME:    attribute_name,    &'a str, required, V1_0..=V1_4;
        ATTRIBUTE_INDEX:   attribute_index,   i32,     optional, V1_0..=V1_4;
    }
}

message! {
    /// Delete Attribute, 4.16: the instance that is gone.
    struct DeleteAttributeResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str,       required, V1_0..=V1_4;
        ATTRIBUTE:         attribute,         Attribute<'a>, required, V1_0..=V1_4;
    }
}

message! {
    /// Obtain Lease, 4.17.
    #[derive(Default)]
    struct ObtainLeaseRequest<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, optional, V1_0..=V1_4;
    }
}

message! {
    /// Obtain Lease, 4.17: how long it lasts, and what the client knows since when.
    struct ObtainLeaseResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str,  required, V1_0..=V1_4;
        LEASE_TIME:        lease_time,        Interval, required, V1_0..=V1_4;
        LAST_CHANGE_DATE:  last_change_date,  DateTime, required, V1_0..=V1_4;
    }
}

message! {
    /// Get Usage Allocation, 4.18.
    struct GetUsageAllocationRequest<'a> {
        UNIQUE_IDENTIFIER:  unique_identifier,  &'a str, optional, V1_0..=V1_4;
        USAGE_LIMITS_COUNT: usage_limits_count, i64,     required, V1_0..=V1_4;
    }
}

message! {
    /// Get Usage Allocation, 4.18: done.
    struct GetUsageAllocationResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, required, V1_0..=V1_4;
    }
}

message! {
    /// Activate, 4.19.
    #[derive(Default)]
    struct ActivateRequest<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, optional, V1_0..=V1_4;
    }
}

message! {
    /// Activate, 4.19: done.
    struct ActivateResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, required, V1_0..=V1_4;
    }
}

message! {
    /// Revoke, 4.20.
    struct RevokeRequest<'a> {
        UNIQUE_IDENTIFIER:          unique_identifier,          &'a str,              optional, V1_0..=V1_4;
        REVOCATION_REASON:          revocation_reason,          RevocationReason<'a>, required, V1_0..=V1_4;
        COMPROMISE_OCCURRENCE_DATE: compromise_occurrence_date, DateTime,             optional, V1_0..=V1_4;
    }
}

message! {
    /// Revoke, 4.20: done.
    struct RevokeResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, required, V1_0..=V1_4;
    }
}

message! {
    /// Destroy, 4.21.
    #[derive(Default)]
    struct DestroyRequest<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, optional, V1_0..=V1_4;
    }
}

message! {
    /// Destroy, 4.21: done.
    struct DestroyResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, required, V1_0..=V1_4;
    }
}

message! {
    /// Archive, 4.22.
    #[derive(Default)]
    struct ArchiveRequest<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, optional, V1_0..=V1_4;
    }
}

message! {
    /// Archive, 4.22: done.
    struct ArchiveResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, required, V1_0..=V1_4;
    }
}

message! {
    /// Recover, 4.23.
    #[derive(Default)]
    struct RecoverRequest<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, optional, V1_0..=V1_4;
    }
}

message! {
    /// Recover, 4.23: done.
    struct RecoverResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str, required, V1_0..=V1_4;
    }
}

message! {
    /// Query, 4.25.
    struct QueryRequest {
        QUERY_FUNCTION: functions, QueryFunction, several, V1_0..=V1_4;
    }
}

message! {
    /// Query, 4.25: what the server offers. Empty if there is nothing to return.
    #[derive(Default)]
    struct QueryResponse<'a> {
        OPERATION:                  operations,                  Operation,                 repeated, V1_0..=V1_4;
        OBJECT_TYPE:                object_types,                ObjectType,                repeated, V1_0..=V1_4;
        VENDOR_IDENTIFICATION:      vendor_identification,       &'a str,                   optional, V1_0..=V1_4;
        SERVER_INFORMATION:         server_information,          Structure<'a>,             optional, V1_0..=V1_4;
        APPLICATION_NAMESPACE:      application_namespaces,      &'a str,                   repeated, V1_0..=V1_4;
        EXTENSION_INFORMATION:      extension_information,       ExtensionInformation<'a>,  repeated, V1_1..=V1_4;
        ATTESTATION_TYPE:           attestation_types,           AttestationType,           repeated, V1_2..=V1_4;
        RNG_PARAMETERS:             rng_parameters,              RngParameters,             repeated, V1_3..=V1_4;
        PROFILE_INFORMATION:        profile_information,         ProfileInformation<'a>,    repeated, V1_3..=V1_4;
        VALIDATION_INFORMATION:     validation_information,      ValidationInformation<'a>, repeated, V1_3..=V1_4;
        CAPABILITY_INFORMATION:     capability_information,      CapabilityInformation,     repeated, V1_3..=V1_4;
        CLIENT_REGISTRATION_METHOD: client_registration_methods, ClientRegistrationMethod,  repeated, V1_3..=V1_4;
    }
}

message! {
    /// Discover Versions, 4.26: the client's versions, the preferred one first.
    #[derive(Default)]
    struct DiscoverVersionsRequest {
        PROTOCOL_VERSION: versions, VersionNumber, repeated, V1_1..=V1_4;
    }
}

message! {
    /// Discover Versions, 4.26: the versions of both sides, the preferred one first.
    #[derive(Default)]
    struct DiscoverVersionsResponse {
        PROTOCOL_VERSION: versions, VersionNumber, repeated, V1_1..=V1_4;
    }
}

message! {
    /// Encrypt, 4.29.
    #[derive(Default)]
    struct EncryptRequest<'a> {
        UNIQUE_IDENTIFIER:                        unique_identifier,        &'a str,                     optional, V1_2..=V1_4;
        CRYPTOGRAPHIC_PARAMETERS:                 cryptographic_parameters, CryptographicParameters<'a>, optional, V1_2..=V1_4;
        DATA:                                     data,                     ByteString<'a>,              optional, V1_2..=V1_4;
        IV_COUNTER_NONCE:                         iv_counter_nonce,         ByteString<'a>,              optional, V1_2..=V1_4;
        CORRELATION_VALUE:                        correlation_value,        ByteString<'a>,              optional, V1_3..=V1_4;
        INIT_INDICATOR:                           init_indicator,           bool,                        optional, V1_3..=V1_4;
        FINAL_INDICATOR:                          final_indicator,          bool,                        optional, V1_3..=V1_4;
        AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA: additional_data,          ByteString<'a>,              optional, V1_4..=V1_4;
    }
}

message! {
    /// Encrypt, 4.29: the ciphertext.
    struct EncryptResponse<'a> {
        UNIQUE_IDENTIFIER:            unique_identifier,  &'a str,        required, V1_2..=V1_4;
        DATA:                         data,               ByteString<'a>, optional, V1_2..=V1_4;
        IV_COUNTER_NONCE:             iv_counter_nonce,   ByteString<'a>, optional, V1_2..=V1_4;
        CORRELATION_VALUE:            correlation_value,  ByteString<'a>, optional, V1_3..=V1_4;
        AUTHENTICATED_ENCRYPTION_TAG: authentication_tag, ByteString<'a>, optional, V1_4..=V1_4;
    }
}

message! {
    /// Decrypt, 4.30.
    #[derive(Default)]
    struct DecryptRequest<'a> {
        UNIQUE_IDENTIFIER:                        unique_identifier,        &'a str,                     optional, V1_2..=V1_4;
        CRYPTOGRAPHIC_PARAMETERS:                 cryptographic_parameters, CryptographicParameters<'a>, optional, V1_2..=V1_4;
        DATA:                                     data,                     ByteString<'a>,              optional, V1_2..=V1_4;
        IV_COUNTER_NONCE:                         iv_counter_nonce,         ByteString<'a>,              optional, V1_2..=V1_4;
        CORRELATION_VALUE:                        correlation_value,        ByteString<'a>,              optional, V1_3..=V1_4;
        INIT_INDICATOR:                           init_indicator,           bool,                        optional, V1_3..=V1_4;
        FINAL_INDICATOR:                          final_indicator,          bool,                        optional, V1_3..=V1_4;
        AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA: additional_data,          ByteString<'a>,              optional, V1_4..=V1_4;
        AUTHENTICATED_ENCRYPTION_TAG:             authentication_tag,       ByteString<'a>,              optional, V1_4..=V1_4;
    }
}

message! {
    /// Decrypt, 4.30: the plaintext.
    struct DecryptResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str,        required, V1_2..=V1_4;
        DATA:              data,              ByteString<'a>, optional, V1_2..=V1_4;
        CORRELATION_VALUE: correlation_value, ByteString<'a>, optional, V1_3..=V1_4;
    }
}

message! {
    /// Sign, 4.31.
    #[derive(Default)]
    struct SignRequest<'a> {
        UNIQUE_IDENTIFIER:        unique_identifier,        &'a str,                     optional, V1_2..=V1_4;
        CRYPTOGRAPHIC_PARAMETERS: cryptographic_parameters, CryptographicParameters<'a>, optional, V1_2..=V1_4;
        DATA:                     data,                     ByteString<'a>,              optional, V1_2..=V1_4;
        DIGESTED_DATA:            digested_data,            ByteString<'a>,              optional, V1_4..=V1_4;
        CORRELATION_VALUE:        correlation_value,        ByteString<'a>,              optional, V1_3..=V1_4;
        INIT_INDICATOR:           init_indicator,           bool,                        optional, V1_3..=V1_4;
        FINAL_INDICATOR:          final_indicator,          bool,                        optional, V1_3..=V1_4;
    }
}

message! {
    /// Sign, 4.31: the signature.
    struct SignResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str,        required, V1_2..=V1_4;
        SIGNATURE_DATA:    signature_data,    ByteString<'a>, optional, V1_2..=V1_4;
        CORRELATION_VALUE: correlation_value, ByteString<'a>, optional, V1_3..=V1_4;
    }
}

message! {
    /// Signature Verify, 4.32.
    #[derive(Default)]
    struct SignatureVerifyRequest<'a> {
        UNIQUE_IDENTIFIER:        unique_identifier,        &'a str,                     optional, V1_2..=V1_4;
        CRYPTOGRAPHIC_PARAMETERS: cryptographic_parameters, CryptographicParameters<'a>, optional, V1_2..=V1_4;
        DATA:                     data,                     ByteString<'a>,              optional, V1_2..=V1_4;
        DIGESTED_DATA:            digested_data,            ByteString<'a>,              optional, V1_4..=V1_4;
        SIGNATURE_DATA:           signature_data,           ByteString<'a>,              optional, V1_2..=V1_4;
        CORRELATION_VALUE:        correlation_value,        ByteString<'a>,              optional, V1_3..=V1_4;
        INIT_INDICATOR:           init_indicator,           bool,                        optional, V1_3..=V1_4;
        FINAL_INDICATOR:          final_indicator,          bool,                        optional, V1_3..=V1_4;
    }
}

message! {
    /// Signature Verify, 4.32: the verdict.
    struct SignatureVerifyResponse<'a> {
        UNIQUE_IDENTIFIER:  unique_identifier,  &'a str,           required, V1_2..=V1_4;
        VALIDITY_INDICATOR: validity_indicator, ValidityIndicator, required, V1_2..=V1_4;
        DATA:               data,               ByteString<'a>,    optional, V1_2..=V1_4;
        CORRELATION_VALUE:  correlation_value,  ByteString<'a>,    optional, V1_3..=V1_4;
    }
}

message! {
    /// MAC, 4.33.
    #[derive(Default)]
    struct MacRequest<'a> {
        UNIQUE_IDENTIFIER:        unique_identifier,        &'a str,                     optional, V1_2..=V1_4;
        CRYPTOGRAPHIC_PARAMETERS: cryptographic_parameters, CryptographicParameters<'a>, optional, V1_2..=V1_4;
        DATA:                     data,                     ByteString<'a>,              optional, V1_2..=V1_4;
        CORRELATION_VALUE:        correlation_value,        ByteString<'a>,              optional, V1_3..=V1_4;
        INIT_INDICATOR:           init_indicator,           bool,                        optional, V1_3..=V1_4;
        FINAL_INDICATOR:          final_indicator,          bool,                        optional, V1_3..=V1_4;
    }
}

message! {
    /// MAC, 4.33: the code.
    struct MacResponse<'a> {
        UNIQUE_IDENTIFIER: unique_identifier, &'a str,        required, V1_2..=V1_4;
        MAC_DATA:          mac_data,          ByteString<'a>, optional, V1_2..=V1_4;
        CORRELATION_VALUE: correlation_value, ByteString<'a>, optional, V1_3..=V1_4;
    }
}

message! {
    /// MAC Verify, 4.34.
    #[derive(Default)]
    struct MacVerifyRequest<'a> {
        UNIQUE_IDENTIFIER:        unique_identifier,        &'a str,                     optional, V1_2..=V1_4;
        CRYPTOGRAPHIC_PARAMETERS: cryptographic_parameters, CryptographicParameters<'a>, optional, V1_2..=V1_4;
        DATA:                     data,                     ByteString<'a>,              optional, V1_2..=V1_4;
        MAC_DATA:                 mac_data,                 ByteString<'a>,              optional, V1_2..=V1_4;
        CORRELATION_VALUE:        correlation_value,        ByteString<'a>,              optional, V1_3..=V1_4;
        INIT_INDICATOR:           init_indicator,           bool,                        optional, V1_3..=V1_4;
        FINAL_INDICATOR:          final_indicator,          bool,                        optional, V1_3..=V1_4;
    }
}

message! {
    /// MAC Verify, 4.34: whether the code is that of the data.
    struct MacVerifyResponse<'a> {
        UNIQUE_IDENTIFIER:  unique_identifier,  &'a str,           required, V1_2..=V1_4;
        VALIDITY_INDICATOR: validity_indicator, ValidityIndicator, required, V1_2..=V1_4;
        CORRELATION_VALUE:  correlation_value,  ByteString<'a>,    optional, V1_3..=V1_4;
    }
}

message! {
    /// RNG Retrieve, 4.35. Data Length is in bytes.
    struct RngRetrieveRequest {
        DATA_LENGTH: data_length, i32, required, V1_2..=V1_4;
    }
}

message! {
    /// RNG Retrieve, 4.35: random bytes.
    struct RngRetrieveResponse<'a> {
        DATA: data, ByteString<'a>, required, V1_2..=V1_4;
    }
}

message! {
    /// RNG Seed, 4.36.
    struct RngSeedRequest<'a> {
        DATA: data, ByteString<'a>, required, V1_2..=V1_4;
    }
}

message! {
    /// RNG Seed, 4.36: how many bytes of it are used.
    struct RngSeedResponse {
        DATA_LENGTH: data_length, i32, required, V1_2..=V1_4;
    }
}

message! {
    /// Hash, 4.37.
    struct HashRequest<'a> {
        CRYPTOGRAPHIC_PARAMETERS: cryptographic_parameters, CryptographicParameters<'a>, required, V1_2..=V1_4;
        DATA:                     data,                     ByteString<'a>,              optional, V1_2..=V1_4;
        CORRELATION_VALUE:        correlation_value,        ByteString<'a>,              optional, V1_3..=V1_4;
        INIT_INDICATOR:           init_indicator,           bool,                        optional, V1_3..=V1_4;
        FINAL_INDICATOR:          final_indicator,          bool,                        optional, V1_3..=V1_4;
    }
}

message! {
    /// Hash, 4.37: the hash.
    struct HashResponse<'a> {
        DATA:              data,              ByteString<'a>, optional, V1_2..=V1_4;
        CORRELATION_VALUE: correlation_value, ByteString<'a>, optional, V1_3..=V1_4;
    }
}

/// Says which operation a request payload belongs to, and what answers it.
macro_rules! calls {
    ($($request:ty => $operation:ident, $response:ident $(<$life:lifetime>)?;)*) => {$(
        impl Call for $request {
            const OPERATION: Operation = Operation::$operation;
            type Answer<'a> = $response $(<$life>)?;
        }
    )*};
}

calls! {
    CreateRequest<'_>           => Create,           CreateResponse<'a>;
    CreateKeyPairRequest<'_>    => CreateKeyPair,    CreateKeyPairResponse<'a>;
    RegisterRequest<'_>         => Register,         RegisterResponse<'a>;
    ReKeyRequest<'_>            => ReKey,            ReKeyResponse<'a>;
    ReKeyKeyPairRequest<'_>     => ReKeyKeyPair,     ReKeyKeyPairResponse<'a>;
    DeriveKeyRequest<'_>        => DeriveKey,        DeriveKeyResponse<'a>;
    LocateRequest<'_>           => Locate,           LocateResponse<'a>;
    CheckRequest<'_>            => Check,            CheckResponse<'a>;
    GetRequest<'_>              => Get,              GetResponse<'a>;
    GetAttributesRequest<'_>    => GetAttributes,    GetAttributesResponse<'a>;
    GetAttributeListRequest<'_> => GetAttributeList, GetAttributeListResponse<'a>;
    AddAttributeRequest<'_>     => AddAttribute,     AddAttributeResponse<'a>;
    ModifyAttributeRequest<'_>  => ModifyAttribute,  ModifyAttributeResponse<'a>;
    DeleteAttributeRequest<'_>  => DeleteAttribute,  DeleteAttributeResponse<'a>;
    ObtainLeaseRequest<'_>      => ObtainLease,      ObtainLeaseResponse<'a>;
    GetUsageAllocationRequest<'_> => GetUsageAllocation, GetUsageAllocationResponse<'a>;
    ActivateRequest<'_>         => Activate,         ActivateResponse<'a>;
    RevokeRequest<'_>           => Revoke,           RevokeResponse<'a>;
    DestroyRequest<'_>          => Destroy,          DestroyResponse<'a>;
    ArchiveRequest<'_>          => Archive,          ArchiveResponse<'a>;
    RecoverRequest<'_>          => Recover,          RecoverResponse<'a>;
    QueryRequest                => Query,            QueryResponse<'a>;
    DiscoverVersionsRequest     => DiscoverVersions, DiscoverVersionsResponse;
    EncryptRequest<'_>          => Encrypt,          EncryptResponse<'a>;
    DecryptRequest<'_>          => Decrypt,          DecryptResponse<'a>;
    SignRequest<'_>             => Sign,             SignResponse<'a>;
    SignatureVerifyRequest<'_>  => SignatureVerify,  SignatureVerifyResponse<'a>;
    MacRequest<'_>              => Mac,              MacResponse<'a>;
    MacVerifyRequest<'_>        => MacVerify,        MacVerifyResponse<'a>;
    RngRetrieveRequest          => RngRetrieve,      RngRetrieveResponse<'a>;
    RngSeedRequest<'_>          => RngSeed,          RngSeedResponse;
    HashRequest<'_>             => Hash,             HashResponse<'a>;
    ExportRequest<'_>           => Export,           ExportResponse<'a>;
    ImportRequest<'_>           => Import,           ImportResponse<'a>;
}
