//! The base objects of section 2.1 and the structures of the attributes of section 3.

use crate::attribute::Attribute;
use crate::enums::{
    AlternativeNameType, BlockCipherMode, CredentialType, CryptographicAlgorithm, DestroyAction, DigitalSignatureAlgorithm, DrbgAlgorithm,
    Fips186Variation, HashingAlgorithm, KeyFormatType, KeyRoleType, KeyValueLocationType, LinkType, MaskGenerator, NameType, PaddingMethod,
    ProfileName, RecommendedCurve, RevocationReasonCode, RngAlgorithm, RngMode, ShreddingAlgorithm, UnwrapMode, UsageLimitsUnit,
    ValidationAuthorityType, ValidationType,
};
use crate::schema::message;
use crate::ttlv::{ByteString, Structure};

// Section 2.1: base objects.

message! {
    /// Credential, 2.1.2. What it proves is decided by the client's certificate, so its value is not interpreted.
    struct Credential<'a> {
        CREDENTIAL_TYPE:  credential_type,  CredentialType, required, V1_0..=V1_4;
        CREDENTIAL_VALUE: credential_value, Structure<'a>,  required, V1_0..=V1_4;
    }
}

message! {
    /// Template-Attribute, 2.1.8: what a new object is to be like.
    #[derive(Default)]
    struct TemplateAttribute<'a> {
        NAME:      names,      Name<'a>,      repeated, V1_0..=V1_4;
        ATTRIBUTE: attributes, Attribute<'a>, repeated, V1_0..=V1_4;
    }
}

message! {
    /// Extension Information, 2.1.9.
    struct ExtensionInformation<'a> {
        EXTENSION_NAME: extension_name, &'a str, required, V1_1..=V1_4;
        EXTENSION_TAG:  extension_tag,  i32,     optional, V1_1..=V1_4;
        EXTENSION_TYPE: extension_type, i32,     optional, V1_1..=V1_4;
    }
}

message! {
    /// Nonce, 2.1.14.
    struct Nonce<'a> {
        NONCE_ID:    nonce_id,    ByteString<'a>, required, V1_2..=V1_4;
        NONCE_VALUE: nonce_value, ByteString<'a>, required, V1_2..=V1_4;
    }
}

message! {
    /// Derivation Parameters, 4.6; the last two are PBKDF2's.
    #[derive(Default)]
    struct DerivationParameters<'a> {
        CRYPTOGRAPHIC_PARAMETERS: cryptographic_parameters, CryptographicParameters<'a>, optional, V1_0..=V1_4;
        INITIALIZATION_VECTOR:    initialization_vector,    ByteString<'a>,              optional, V1_0..=V1_4;
        DERIVATION_DATA:          derivation_data,          ByteString<'a>,              optional, V1_0..=V1_4;
        SALT:                     salt,                     ByteString<'a>,              optional, V1_0..=V1_4;
        ITERATION_COUNT:          iteration_count,          i32,                         optional, V1_0..=V1_4;
    }
}

message! {
    /// RNG Parameters, 2.1.18.
    struct RngParameters {
        RNG_ALGORITHM:           rng_algorithm,           RngAlgorithm,           required, V1_3..=V1_4;
        CRYPTOGRAPHIC_ALGORITHM: cryptographic_algorithm, CryptographicAlgorithm, optional, V1_3..=V1_4;
        CRYPTOGRAPHIC_LENGTH:    cryptographic_length,    i32,                    optional, V1_3..=V1_4;
        HASHING_ALGORITHM:       hashing_algorithm,       HashingAlgorithm,       optional, V1_3..=V1_4;
        DRBG_ALGORITHM:          drbg_algorithm,          DrbgAlgorithm,          optional, V1_3..=V1_4;
        RECOMMENDED_CURVE:       recommended_curve,       RecommendedCurve,       optional, V1_3..=V1_4;
        FIPS186_VARIATION:       fips186_variation,       Fips186Variation,       optional, V1_3..=V1_4;
        PREDICTION_RESISTANCE:   prediction_resistance,   bool,                   optional, V1_3..=V1_4;
    }
}

message! {
    /// Profile Information, 2.1.19.
    struct ProfileInformation<'a> {
        PROFILE_NAME: profile_name, ProfileName, required, V1_3..=V1_4;
        SERVER_URI:   server_uri,   &'a str,     optional, V1_3..=V1_4;
        SERVER_PORT:  server_port,  i32,         optional, V1_3..=V1_4;
    }
}

message! {
    /// Validation Information, 2.1.20.
    struct ValidationInformation<'a> {
        VALIDATION_AUTHORITY_TYPE:         authority_type,         ValidationAuthorityType, required, V1_3..=V1_4;
        VALIDATION_AUTHORITY_COUNTRY:      authority_country,      &'a str,                 optional, V1_3..=V1_4;
        VALIDATION_AUTHORITY_URI:          authority_uri,          &'a str,                 optional, V1_3..=V1_4;
        VALIDATION_VERSION_MAJOR:          version_major,          i32,                     required, V1_3..=V1_4;
        VALIDATION_VERSION_MINOR:          version_minor,          i32,                     optional, V1_3..=V1_4;
        VALIDATION_TYPE:                   validation_type,        ValidationType,          required, V1_3..=V1_4;
        VALIDATION_LEVEL:                  validation_level,       i32,                     required, V1_3..=V1_4;
        VALIDATION_CERTIFICATE_IDENTIFIER: certificate_identifier, &'a str,                 optional, V1_3..=V1_4;
        VALIDATION_CERTIFICATE_URI:        certificate_uri,        &'a str,                 optional, V1_3..=V1_4;
        VALIDATION_VENDOR_URI:             vendor_uri,             &'a str,                 optional, V1_3..=V1_4;
        VALIDATION_PROFILE:                profiles,               &'a str,                 repeated, V1_3..=V1_4;
    }
}

message! {
    /// Capability Information, 2.1.21.
    #[derive(Default)]
    struct CapabilityInformation {
        STREAMING_CAPABILITY:      streaming,           bool,               optional, V1_3..=V1_4;
        ASYNCHRONOUS_CAPABILITY:   asynchronous,        bool,               optional, V1_3..=V1_4;
        ATTESTATION_CAPABILITY:    attestation,         bool,               optional, V1_3..=V1_4;
        BATCH_UNDO_CAPABILITY:     batch_undo,          bool,               optional, V1_4..=V1_4;
        BATCH_CONTINUE_CAPABILITY: batch_continue,      bool,               optional, V1_4..=V1_4;
        UNWRAP_MODE:               unwrap_mode,         UnwrapMode,         optional, V1_3..=V1_4;
        DESTROY_ACTION:            destroy_action,      DestroyAction,      optional, V1_3..=V1_4;
        SHREDDING_ALGORITHM:       shredding_algorithm, ShreddingAlgorithm, optional, V1_3..=V1_4;
        RNG_MODE:                  rng_mode,            RngMode,            optional, V1_3..=V1_4;
    }
}

// Section 3: structures of attributes.

message! {
    /// Name, 3.2.
    #[derive(Copy)]
    struct Name<'a> {
        NAME_VALUE: value,     &'a str,  criterion, V1_0..=V1_4;
        NAME_TYPE:  name_type, NameType, criterion, V1_0..=V1_4;
    }
}

message! {
    /// Cryptographic Parameters, 3.6. Tag Length is in bytes; the other lengths, Salt Length apart, are in bits.
    #[derive(Default)]
    struct CryptographicParameters<'a> {
        BLOCK_CIPHER_MODE:                block_cipher_mode,           BlockCipherMode,           optional, V1_0..=V1_4;
        PADDING_METHOD:                   padding_method,              PaddingMethod,             optional, V1_0..=V1_4;
        HASHING_ALGORITHM:                hashing_algorithm,           HashingAlgorithm,          optional, V1_0..=V1_4;
        KEY_ROLE_TYPE:                    key_role_type,               KeyRoleType,               optional, V1_0..=V1_4;
        DIGITAL_SIGNATURE_ALGORITHM:      digital_signature_algorithm, DigitalSignatureAlgorithm, optional, V1_2..=V1_4;
        CRYPTOGRAPHIC_ALGORITHM:          cryptographic_algorithm,     CryptographicAlgorithm,    optional, V1_2..=V1_4;
        RANDOM_IV:                        random_iv,                   bool,                      optional, V1_2..=V1_4;
        IV_LENGTH:                        iv_length,                   i32,                       optional, V1_2..=V1_4;
        TAG_LENGTH:                       tag_length,                  i32,                       optional, V1_2..=V1_4;
        FIXED_FIELD_LENGTH:               fixed_field_length,          i32,                       optional, V1_2..=V1_4;
        INVOCATION_FIELD_LENGTH:          invocation_field_length,     i32,                       optional, V1_2..=V1_4;
        COUNTER_LENGTH:                   counter_length,              i32,                       optional, V1_2..=V1_4;
        INITIAL_COUNTER_VALUE:            initial_counter_value,       i32,                       optional, V1_2..=V1_4;
        SALT_LENGTH:                      salt_length,                 i32,                       optional, V1_4..=V1_4;
        MASK_GENERATOR:                   mask_generator,              MaskGenerator,             optional, V1_4..=V1_4;
        MASK_GENERATOR_HASHING_ALGORITHM: mask_generator_hash,         HashingAlgorithm,          optional, V1_4..=V1_4;
        P_SOURCE:                         p_source,                    ByteString<'a>,            optional, V1_4..=V1_4;
        TRAILER_FIELD:                    trailer_field,               i32,                       optional, V1_4..=V1_4;
    }
}

message! {
    /// Cryptographic Domain Parameters, 3.7. Qlength is in bits.
    #[derive(Copy, Default)]
    struct CryptographicDomainParameters {
        QLENGTH:           qlength,           i32,              optional, V1_0..=V1_4;
        RECOMMENDED_CURVE: recommended_curve, RecommendedCurve, optional, V1_0..=V1_4;
    }
}

message! {
    /// X.509 Certificate Identifier, 3.10, in DER.
    #[derive(Copy)]
    struct X509CertificateIdentifier<'a> {
        ISSUER_DISTINGUISHED_NAME: issuer,        ByteString<'a>, criterion, V1_1..=V1_4;
        CERTIFICATE_SERIAL_NUMBER: serial_number, ByteString<'a>, criterion, V1_1..=V1_4;
    }
}

message! {
    /// X.509 Certificate Subject, 3.11, in DER.
    struct X509CertificateSubject<'a> {
        SUBJECT_DISTINGUISHED_NAME: distinguished_name, ByteString<'a>, criterion, V1_1..=V1_4;
        SUBJECT_ALTERNATIVE_NAME:   alternative_names,  ByteString<'a>, repeated,  V1_1..=V1_4;
    }
}

message! {
    /// X.509 Certificate Issuer, 3.12, in DER.
    struct X509CertificateIssuer<'a> {
        ISSUER_DISTINGUISHED_NAME: distinguished_name, ByteString<'a>, criterion, V1_1..=V1_4;
        ISSUER_ALTERNATIVE_NAME:   alternative_names,  ByteString<'a>, repeated,  V1_1..=V1_4;
    }
}

message! {
    /// Certificate Identifier, 3.13; superseded by X.509 Certificate Identifier in 1.1. PGP certificates have no Serial Number.
    #[derive(Copy)]
    struct CertificateIdentifier<'a> {
        ISSUER:        issuer,        &'a str, criterion, V1_0..=V1_4;
        SERIAL_NUMBER: serial_number, &'a str, optional,  V1_0..=V1_4;
    }
}

message! {
    /// Certificate Subject, 3.14; superseded by X.509 Certificate Subject in 1.1.
    struct CertificateSubject<'a> {
        CERTIFICATE_SUBJECT_DISTINGUISHED_NAME: distinguished_name, &'a str, criterion, V1_0..=V1_4;
        CERTIFICATE_SUBJECT_ALTERNATIVE_NAME:   alternative_names,  &'a str, repeated,  V1_0..=V1_4;
    }
}

message! {
    /// Certificate Issuer, 3.15; superseded by X.509 Certificate Issuer in 1.1.
    struct CertificateIssuer<'a> {
        CERTIFICATE_ISSUER_DISTINGUISHED_NAME: distinguished_name, &'a str, criterion, V1_0..=V1_4;
        CERTIFICATE_ISSUER_ALTERNATIVE_NAME:   alternative_names,  &'a str, repeated,  V1_0..=V1_4;
    }
}

message! {
    /// Digest, 3.17.
    #[derive(Copy)]
    struct Digest<'a> {
        HASHING_ALGORITHM: hashing_algorithm, HashingAlgorithm, criterion, V1_0..=V1_4;
        DIGEST_VALUE:      digest_value,      ByteString<'a>,   optional,  V1_0..=V1_4;
        KEY_FORMAT_TYPE:   key_format_type,   KeyFormatType,    optional,  V1_1..=V1_4;
    }
}

message! {
    /// Usage Limits, 3.21. A client sets Total and Unit only; Count is the server's.
    #[derive(Copy)]
    struct UsageLimits {
        USAGE_LIMITS_TOTAL: total, i64,             optional, V1_0..=V1_4;
        USAGE_LIMITS_COUNT: count, i64,             optional, V1_0..=V1_4;
        USAGE_LIMITS_UNIT:  unit,  UsageLimitsUnit, optional, V1_0..=V1_4;
    }
}

message! {
    /// Revocation Reason, 3.31.
    #[derive(Copy)]
    struct RevocationReason<'a> {
        REVOCATION_REASON_CODE: code,    RevocationReasonCode, criterion, V1_0..=V1_4;
        REVOCATION_MESSAGE:     message, &'a str,              optional,  V1_0..=V1_4;
    }
}

message! {
    /// Link, 3.35.
    #[derive(Copy)]
    struct Link<'a> {
        LINK_TYPE:                link_type,                LinkType, criterion, V1_0..=V1_4;
        LINKED_OBJECT_IDENTIFIER: linked_object_identifier, &'a str,  criterion, V1_0..=V1_4;
    }
}

message! {
    /// Application Specific Information, 3.36.
    #[derive(Copy)]
    struct ApplicationSpecificInformation<'a> {
        APPLICATION_NAMESPACE: namespace, &'a str, criterion, V1_0..=V1_4;
        APPLICATION_DATA:      data,      &'a str, optional,  V1_0..=V1_4;
    }
}

message! {
    /// Alternative Name, 3.40.
    #[derive(Copy)]
    struct AlternativeName<'a> {
        ALTERNATIVE_NAME_VALUE: value,     &'a str,             criterion, V1_2..=V1_4;
        ALTERNATIVE_NAME_TYPE:  name_type, AlternativeNameType, criterion, V1_2..=V1_4;
    }
}

message! {
    /// Key Value Location, 3.42.
    #[derive(Copy)]
    struct KeyValueLocation<'a> {
        KEY_VALUE_LOCATION_VALUE: value,         &'a str,              criterion, V1_2..=V1_4;
        KEY_VALUE_LOCATION_TYPE:  location_type, KeyValueLocationType, criterion, V1_2..=V1_4;
    }
}
