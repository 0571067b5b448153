//! The tags of KMIP 1.4, section 9.1.3.1.

/// The three-byte number that says which field of the protocol an item is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(u32);

/// Makes one constant per row, and the table of all rows in the order of their numbers.
macro_rules! tags {
    ($($number:literal $name:ident $text:literal;)*) => {
        impl Tag {
            $(#[doc = $text] pub const $name: Self = Self($number);)*

            /// All tags of the standard with their names, in the order of their numbers, without a gap.
            pub const TABLE: &'static [(Self, &'static str)] = &[$((Self($number), $text)),*];
        }
    };
}

impl Tag {
    /// The tag of these three bytes, if they begin with 42 (the standard's own) or 54 (extensions), as 9.1.1.1 demands.
    #[must_use]
    pub const fn of(bytes: [u8; 3]) -> Option<Self> {
        match bytes[0] {
            0x42 | 0x54 => Some(Self(u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]))),
            _ => None,
        }
    }

    /// The three bytes on the wire.
    #[must_use]
    pub const fn bytes(self) -> [u8; 3] {
        let [_, first, second, third] = self.0.to_be_bytes();
        [first, second, third]
    }

    /// The three bytes as a number.
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    /// The name in the standard's table.
    #[must_use]
    pub fn name(self) -> &'static str {
        let first = Self::TABLE[0].0.0;
        let row = self.0.checked_sub(first).and_then(|row| Self::TABLE.get(row as usize));
        row.map_or("a field that the standard does not name", |(_, name)| name)
    }
}

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:06X} {}", self.0, self.name())
    }
}

tags! {
    0x420001 ACTIVATION_DATE                          "Activation Date";
    0x420002 APPLICATION_DATA                         "Application Data";
    0x420003 APPLICATION_NAMESPACE                    "Application Namespace";
    0x420004 APPLICATION_SPECIFIC_INFORMATION         "Application Specific Information";
    0x420005 ARCHIVE_DATE                             "Archive Date";
    0x420006 ASYNCHRONOUS_CORRELATION_VALUE           "Asynchronous Correlation Value";
    0x420007 ASYNCHRONOUS_INDICATOR                   "Asynchronous Indicator";
    0x420008 ATTRIBUTE                                "Attribute";
    0x420009 ATTRIBUTE_INDEX                          "Attribute Index";
    0x42000A ATTRIBUTE_NAME                           "Attribute Name";
    0x42000B ATTRIBUTE_VALUE                          "Attribute Value";
    0x42000C AUTHENTICATION                           "Authentication";
    0x42000D BATCH_COUNT                              "Batch Count";
    0x42000E BATCH_ERROR_CONTINUATION_OPTION          "Batch Error Continuation Option";
    0x42000F BATCH_ITEM                               "Batch Item";
    0x420010 BATCH_ORDER_OPTION                       "Batch Order Option";
    0x420011 BLOCK_CIPHER_MODE                        "Block Cipher Mode";
    0x420012 CANCELLATION_RESULT                      "Cancellation Result";
    0x420013 CERTIFICATE                              "Certificate";
    0x420014 CERTIFICATE_IDENTIFIER                   "Certificate Identifier";
    0x420015 CERTIFICATE_ISSUER                       "Certificate Issuer";
    0x420016 CERTIFICATE_ISSUER_ALTERNATIVE_NAME      "Certificate Issuer Alternative Name";
    0x420017 CERTIFICATE_ISSUER_DISTINGUISHED_NAME    "Certificate Issuer Distinguished Name";
    0x420018 CERTIFICATE_REQUEST                      "Certificate Request";
    0x420019 CERTIFICATE_REQUEST_TYPE                 "Certificate Request Type";
    0x42001A CERTIFICATE_SUBJECT                      "Certificate Subject";
    0x42001B CERTIFICATE_SUBJECT_ALTERNATIVE_NAME     "Certificate Subject Alternative Name";
    0x42001C CERTIFICATE_SUBJECT_DISTINGUISHED_NAME   "Certificate Subject Distinguished Name";
    0x42001D CERTIFICATE_TYPE                         "Certificate Type";
    0x42001E CERTIFICATE_VALUE                        "Certificate Value";
    0x42001F COMMON_TEMPLATE_ATTRIBUTE                "Common Template-Attribute";
    0x420020 COMPROMISE_DATE                          "Compromise Date";
    0x420021 COMPROMISE_OCCURRENCE_DATE               "Compromise Occurrence Date";
    0x420022 CONTACT_INFORMATION                      "Contact Information";
    0x420023 CREDENTIAL                               "Credential";
    0x420024 CREDENTIAL_TYPE                          "Credential Type";
    0x420025 CREDENTIAL_VALUE                         "Credential Value";
    0x420026 CRITICALITY_INDICATOR                    "Criticality Indicator";
    0x420027 CRT_COEFFICIENT                          "CRT Coefficient";
    0x420028 CRYPTOGRAPHIC_ALGORITHM                  "Cryptographic Algorithm";
    0x420029 CRYPTOGRAPHIC_DOMAIN_PARAMETERS          "Cryptographic Domain Parameters";
    0x42002A CRYPTOGRAPHIC_LENGTH                     "Cryptographic Length";
    0x42002B CRYPTOGRAPHIC_PARAMETERS                 "Cryptographic Parameters";
    0x42002C CRYPTOGRAPHIC_USAGE_MASK                 "Cryptographic Usage Mask";
    0x42002D CUSTOM_ATTRIBUTE                         "Custom Attribute";
    0x42002E D                                        "D";
    0x42002F DEACTIVATION_DATE                        "Deactivation Date";
    0x420030 DERIVATION_DATA                          "Derivation Data";
    0x420031 DERIVATION_METHOD                        "Derivation Method";
    0x420032 DERIVATION_PARAMETERS                    "Derivation Parameters";
    0x420033 DESTROY_DATE                             "Destroy Date";
    0x420034 DIGEST                                   "Digest";
    0x420035 DIGEST_VALUE                             "Digest Value";
    0x420036 ENCRYPTION_KEY_INFORMATION               "Encryption Key Information";
    0x420037 G                                        "G";
    0x420038 HASHING_ALGORITHM                        "Hashing Algorithm";
    0x420039 INITIAL_DATE                             "Initial Date";
    0x42003A INITIALIZATION_VECTOR                    "Initialization Vector";
    0x42003B ISSUER                                   "Issuer";
    0x42003C ITERATION_COUNT                          "Iteration Count";
    0x42003D IV_COUNTER_NONCE                         "IV/Counter/Nonce";
    0x42003E J                                        "J";
    0x42003F KEY                                      "Key";
    0x420040 KEY_BLOCK                                "Key Block";
    0x420041 KEY_COMPRESSION_TYPE                     "Key Compression Type";
    0x420042 KEY_FORMAT_TYPE                          "Key Format Type";
    0x420043 KEY_MATERIAL                             "Key Material";
    0x420044 KEY_PART_IDENTIFIER                      "Key Part Identifier";
    0x420045 KEY_VALUE                                "Key Value";
    0x420046 KEY_WRAPPING_DATA                        "Key Wrapping Data";
    0x420047 KEY_WRAPPING_SPECIFICATION               "Key Wrapping Specification";
    0x420048 LAST_CHANGE_DATE                         "Last Change Date";
    0x420049 LEASE_TIME                               "Lease Time";
    0x42004A LINK                                     "Link";
    0x42004B LINK_TYPE                                "Link Type";
    0x42004C LINKED_OBJECT_IDENTIFIER                 "Linked Object Identifier";
    0x42004D MAC_SIGNATURE                            "MAC/Signature";
    0x42004E MAC_SIGNATURE_KEY_INFORMATION            "MAC/Signature Key Information";
    0x42004F MAXIMUM_ITEMS                            "Maximum Items";
    0x420050 MAXIMUM_RESPONSE_SIZE                    "Maximum Response Size";
    0x420051 MESSAGE_EXTENSION                        "Message Extension";
    0x420052 MODULUS                                  "Modulus";
    0x420053 NAME                                     "Name";
    0x420054 NAME_TYPE                                "Name Type";
    0x420055 NAME_VALUE                               "Name Value";
    0x420056 OBJECT_GROUP                             "Object Group";
    0x420057 OBJECT_TYPE                              "Object Type";
    0x420058 OFFSET                                   "Offset";
    0x420059 OPAQUE_DATA_TYPE                         "Opaque Data Type";
    0x42005A OPAQUE_DATA_VALUE                        "Opaque Data Value";
    0x42005B OPAQUE_OBJECT                            "Opaque Object";
    0x42005C OPERATION                                "Operation";
    0x42005D OPERATION_POLICY_NAME                    "Operation Policy Name";
    0x42005E P                                        "P";
    0x42005F PADDING_METHOD                           "Padding Method";
    0x420060 PRIME_EXPONENT_P                         "Prime Exponent P";
    0x420061 PRIME_EXPONENT_Q                         "Prime Exponent Q";
    0x420062 PRIME_FIELD_SIZE                         "Prime Field Size";
    0x420063 PRIVATE_EXPONENT                         "Private Exponent";
    0x420064 PRIVATE_KEY                              "Private Key";
    0x420065 PRIVATE_KEY_TEMPLATE_ATTRIBUTE           "Private Key Template-Attribute";
    0x420066 PRIVATE_KEY_UNIQUE_IDENTIFIER            "Private Key Unique Identifier";
    0x420067 PROCESS_START_DATE                       "Process Start Date";
    0x420068 PROTECT_STOP_DATE                        "Protect Stop Date";
    0x420069 PROTOCOL_VERSION                         "Protocol Version";
    0x42006A PROTOCOL_VERSION_MAJOR                   "Protocol Version Major";
    0x42006B PROTOCOL_VERSION_MINOR                   "Protocol Version Minor";
    0x42006C PUBLIC_EXPONENT                          "Public Exponent";
    0x42006D PUBLIC_KEY                               "Public Key";
    0x42006E PUBLIC_KEY_TEMPLATE_ATTRIBUTE            "Public Key Template-Attribute";
    0x42006F PUBLIC_KEY_UNIQUE_IDENTIFIER             "Public Key Unique Identifier";
    0x420070 PUT_FUNCTION                             "Put Function";
    0x420071 Q                                        "Q";
    0x420072 Q_STRING                                 "Q String";
    0x420073 QLENGTH                                  "Qlength";
    0x420074 QUERY_FUNCTION                           "Query Function";
    0x420075 RECOMMENDED_CURVE                        "Recommended Curve";
    0x420076 REPLACED_UNIQUE_IDENTIFIER               "Replaced Unique Identifier";
    0x420077 REQUEST_HEADER                           "Request Header";
    0x420078 REQUEST_MESSAGE                          "Request Message";
    0x420079 REQUEST_PAYLOAD                          "Request Payload";
    0x42007A RESPONSE_HEADER                          "Response Header";
    0x42007B RESPONSE_MESSAGE                         "Response Message";
    0x42007C RESPONSE_PAYLOAD                         "Response Payload";
    0x42007D RESULT_MESSAGE                           "Result Message";
    0x42007E RESULT_REASON                            "Result Reason";
    0x42007F RESULT_STATUS                            "Result Status";
    0x420080 REVOCATION_MESSAGE                       "Revocation Message";
    0x420081 REVOCATION_REASON                        "Revocation Reason";
    0x420082 REVOCATION_REASON_CODE                   "Revocation Reason Code";
    0x420083 KEY_ROLE_TYPE                            "Key Role Type";
    0x420084 SALT                                     "Salt";
    0x420085 SECRET_DATA                              "Secret Data";
    0x420086 SECRET_DATA_TYPE                         "Secret Data Type";
    0x420087 SERIAL_NUMBER                            "Serial Number";
    0x420088 SERVER_INFORMATION                       "Server Information";
    0x420089 SPLIT_KEY                                "Split Key";
    0x42008A SPLIT_KEY_METHOD                         "Split Key Method";
    0x42008B SPLIT_KEY_PARTS                          "Split Key Parts";
    0x42008C SPLIT_KEY_THRESHOLD                      "Split Key Threshold";
    0x42008D STATE                                    "State";
    0x42008E STORAGE_STATUS_MASK                      "Storage Status Mask";
    0x42008F SYMMETRIC_KEY                            "Symmetric Key";
    0x420090 TEMPLATE                                 "Template";
    0x420091 TEMPLATE_ATTRIBUTE                       "Template-Attribute";
    0x420092 TIME_STAMP                               "Time Stamp";
    0x420093 UNIQUE_BATCH_ITEM_ID                     "Unique Batch Item ID";
    0x420094 UNIQUE_IDENTIFIER                        "Unique Identifier";
    0x420095 USAGE_LIMITS                             "Usage Limits";
    0x420096 USAGE_LIMITS_COUNT                       "Usage Limits Count";
    0x420097 USAGE_LIMITS_TOTAL                       "Usage Limits Total";
    0x420098 USAGE_LIMITS_UNIT                        "Usage Limits Unit";
    0x420099 USERNAME                                 "Username";
    0x42009A VALIDITY_DATE                            "Validity Date";
    0x42009B VALIDITY_INDICATOR                       "Validity Indicator";
    0x42009C VENDOR_EXTENSION                         "Vendor Extension";
    0x42009D VENDOR_IDENTIFICATION                    "Vendor Identification";
    0x42009E WRAPPING_METHOD                          "Wrapping Method";
    0x42009F X                                        "X";
    0x4200A0 Y                                        "Y";
    0x4200A1 PASSWORD                                 "Password";
    0x4200A2 DEVICE_IDENTIFIER                        "Device Identifier";
    0x4200A3 ENCODING_OPTION                          "Encoding Option";
    0x4200A4 EXTENSION_INFORMATION                    "Extension Information";
    0x4200A5 EXTENSION_NAME                           "Extension Name";
    0x4200A6 EXTENSION_TAG                            "Extension Tag";
    0x4200A7 EXTENSION_TYPE                           "Extension Type";
    0x4200A8 FRESH                                    "Fresh";
    0x4200A9 MACHINE_IDENTIFIER                       "Machine Identifier";
    0x4200AA MEDIA_IDENTIFIER                         "Media Identifier";
    0x4200AB NETWORK_IDENTIFIER                       "Network Identifier";
    0x4200AC OBJECT_GROUP_MEMBER                      "Object Group Member";
    0x4200AD CERTIFICATE_LENGTH                       "Certificate Length";
    0x4200AE DIGITAL_SIGNATURE_ALGORITHM              "Digital Signature Algorithm";
    0x4200AF CERTIFICATE_SERIAL_NUMBER                "Certificate Serial Number";
    0x4200B0 DEVICE_SERIAL_NUMBER                     "Device Serial Number";
    0x4200B1 ISSUER_ALTERNATIVE_NAME                  "Issuer Alternative Name";
    0x4200B2 ISSUER_DISTINGUISHED_NAME                "Issuer Distinguished Name";
    0x4200B3 SUBJECT_ALTERNATIVE_NAME                 "Subject Alternative Name";
    0x4200B4 SUBJECT_DISTINGUISHED_NAME               "Subject Distinguished Name";
    0x4200B5 X509_CERTIFICATE_IDENTIFIER              "X.509 Certificate Identifier";
    0x4200B6 X509_CERTIFICATE_ISSUER                  "X.509 Certificate Issuer";
    0x4200B7 X509_CERTIFICATE_SUBJECT                 "X.509 Certificate Subject";
    0x4200B8 KEY_VALUE_LOCATION                       "Key Value Location";
    0x4200B9 KEY_VALUE_LOCATION_VALUE                 "Key Value Location Value";
    0x4200BA KEY_VALUE_LOCATION_TYPE                  "Key Value Location Type";
    0x4200BB KEY_VALUE_PRESENT                        "Key Value Present";
    0x4200BC ORIGINAL_CREATION_DATE                   "Original Creation Date";
    0x4200BD PGP_KEY                                  "PGP Key";
    0x4200BE PGP_KEY_VERSION                          "PGP Key Version";
    0x4200BF ALTERNATIVE_NAME                         "Alternative Name";
    0x4200C0 ALTERNATIVE_NAME_VALUE                   "Alternative Name Value";
    0x4200C1 ALTERNATIVE_NAME_TYPE                    "Alternative Name Type";
    0x4200C2 DATA                                     "Data";
    0x4200C3 SIGNATURE_DATA                           "Signature Data";
    0x4200C4 DATA_LENGTH                              "Data Length";
    0x4200C5 RANDOM_IV                                "Random IV";
    0x4200C6 MAC_DATA                                 "MAC Data";
    0x4200C7 ATTESTATION_TYPE                         "Attestation Type";
    0x4200C8 NONCE                                    "Nonce";
    0x4200C9 NONCE_ID                                 "Nonce ID";
    0x4200CA NONCE_VALUE                              "Nonce Value";
    0x4200CB ATTESTATION_MEASUREMENT                  "Attestation Measurement";
    0x4200CC ATTESTATION_ASSERTION                    "Attestation Assertion";
    0x4200CD IV_LENGTH                                "IV Length";
    0x4200CE TAG_LENGTH                               "Tag Length";
    0x4200CF FIXED_FIELD_LENGTH                       "Fixed Field Length";
    0x4200D0 COUNTER_LENGTH                           "Counter Length";
    0x4200D1 INITIAL_COUNTER_VALUE                    "Initial Counter Value";
    0x4200D2 INVOCATION_FIELD_LENGTH                  "Invocation Field Length";
    0x4200D3 ATTESTATION_CAPABLE_INDICATOR            "Attestation Capable Indicator";
    0x4200D4 OFFSET_ITEMS                             "Offset Items";
    0x4200D5 LOCATED_ITEMS                            "Located Items";
    0x4200D6 CORRELATION_VALUE                        "Correlation Value";
    0x4200D7 INIT_INDICATOR                           "Init Indicator";
    0x4200D8 FINAL_INDICATOR                          "Final Indicator";
    0x4200D9 RNG_PARAMETERS                           "RNG Parameters";
    0x4200DA RNG_ALGORITHM                            "RNG Algorithm";
    0x4200DB DRBG_ALGORITHM                           "DRBG Algorithm";
    0x4200DC FIPS186_VARIATION                        "FIPS186 Variation";
    0x4200DD PREDICTION_RESISTANCE                    "Prediction Resistance";
    0x4200DE RANDOM_NUMBER_GENERATOR                  "Random Number Generator";
    0x4200DF VALIDATION_INFORMATION                   "Validation Information";
    0x4200E0 VALIDATION_AUTHORITY_TYPE                "Validation Authority Type";
    0x4200E1 VALIDATION_AUTHORITY_COUNTRY             "Validation Authority Country";
    0x4200E2 VALIDATION_AUTHORITY_URI                 "Validation Authority URI";
    0x4200E3 VALIDATION_VERSION_MAJOR                 "Validation Version Major";
    0x4200E4 VALIDATION_VERSION_MINOR                 "Validation Version Minor";
    0x4200E5 VALIDATION_TYPE                          "Validation Type";
    0x4200E6 VALIDATION_LEVEL                         "Validation Level";
    0x4200E7 VALIDATION_CERTIFICATE_IDENTIFIER        "Validation Certificate Identifier";
    0x4200E8 VALIDATION_CERTIFICATE_URI               "Validation Certificate URI";
    0x4200E9 VALIDATION_VENDOR_URI                    "Validation Vendor URI";
    0x4200EA VALIDATION_PROFILE                       "Validation Profile";
    0x4200EB PROFILE_INFORMATION                      "Profile Information";
    0x4200EC PROFILE_NAME                             "Profile Name";
    0x4200ED SERVER_URI                               "Server URI";
    0x4200EE SERVER_PORT                              "Server Port";
    0x4200EF STREAMING_CAPABILITY                     "Streaming Capability";
    0x4200F0 ASYNCHRONOUS_CAPABILITY                  "Asynchronous Capability";
    0x4200F1 ATTESTATION_CAPABILITY                   "Attestation Capability";
    0x4200F2 UNWRAP_MODE                              "Unwrap Mode";
    0x4200F3 DESTROY_ACTION                           "Destroy Action";
    0x4200F4 SHREDDING_ALGORITHM                      "Shredding Algorithm";
    0x4200F5 RNG_MODE                                 "RNG Mode";
    0x4200F6 CLIENT_REGISTRATION_METHOD               "Client Registration Method";
    0x4200F7 CAPABILITY_INFORMATION                   "Capability Information";
    0x4200F8 KEY_WRAP_TYPE                            "Key Wrap Type";
    0x4200F9 BATCH_UNDO_CAPABILITY                    "Batch Undo Capability";
    0x4200FA BATCH_CONTINUE_CAPABILITY                "Batch Continue Capability";
    0x4200FB PKCS12_FRIENDLY_NAME                     "PKCS#12 Friendly Name";
    0x4200FC DESCRIPTION                              "Description";
    0x4200FD COMMENT                                  "Comment";
    0x4200FE AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA "Authenticated Encryption Additional Data";
    0x4200FF AUTHENTICATED_ENCRYPTION_TAG             "Authenticated Encryption Tag";
    0x420100 SALT_LENGTH                              "Salt Length";
    0x420101 MASK_GENERATOR                           "Mask Generator";
    0x420102 MASK_GENERATOR_HASHING_ALGORITHM         "Mask Generator Hashing Algorithm";
    0x420103 P_SOURCE                                 "P Source";
    0x420104 TRAILER_FIELD                            "Trailer Field";
    0x420105 CLIENT_CORRELATION_VALUE                 "Client Correlation Value";
    0x420106 SERVER_CORRELATION_VALUE                 "Server Correlation Value";
    0x420107 DIGESTED_DATA                            "Digested Data";
    0x420108 CERTIFICATE_SUBJECT_CN                   "Certificate Subject CN";
    0x420109 CERTIFICATE_SUBJECT_O                    "Certificate Subject O";
    0x42010A CERTIFICATE_SUBJECT_OU                   "Certificate Subject OU";
    0x42010B CERTIFICATE_SUBJECT_EMAIL                "Certificate Subject Email";
    0x42010C CERTIFICATE_SUBJECT_C                    "Certificate Subject C";
    0x42010D CERTIFICATE_SUBJECT_ST                   "Certificate Subject ST";
    0x42010E CERTIFICATE_SUBJECT_L                    "Certificate Subject L";
    0x42010F CERTIFICATE_SUBJECT_UID                  "Certificate Subject UID";
    0x420110 CERTIFICATE_SUBJECT_SERIAL_NUMBER        "Certificate Subject Serial Number";
    0x420111 CERTIFICATE_SUBJECT_TITLE                "Certificate Subject Title";
    0x420112 CERTIFICATE_SUBJECT_DC                   "Certificate Subject DC";
    0x420113 CERTIFICATE_SUBJECT_DN_QUALIFIER         "Certificate Subject DN Qualifier";
    0x420114 CERTIFICATE_ISSUER_CN                    "Certificate Issuer CN";
    0x420115 CERTIFICATE_ISSUER_O                     "Certificate Issuer O";
    0x420116 CERTIFICATE_ISSUER_OU                    "Certificate Issuer OU";
    0x420117 CERTIFICATE_ISSUER_EMAIL                 "Certificate Issuer Email";
    0x420118 CERTIFICATE_ISSUER_C                     "Certificate Issuer C";
    0x420119 CERTIFICATE_ISSUER_ST                    "Certificate Issuer ST";
    0x42011A CERTIFICATE_ISSUER_L                     "Certificate Issuer L";
    0x42011B CERTIFICATE_ISSUER_UID                   "Certificate Issuer UID";
    0x42011C CERTIFICATE_ISSUER_SERIAL_NUMBER         "Certificate Issuer Serial Number";
    0x42011D CERTIFICATE_ISSUER_TITLE                 "Certificate Issuer Title";
    0x42011E CERTIFICATE_ISSUER_DC                    "Certificate Issuer DC";
    0x42011F CERTIFICATE_ISSUER_DN_QUALIFIER          "Certificate Issuer DN Qualifier";
    0x420120 SENSITIVE                                "Sensitive";
    0x420121 ALWAYS_SENSITIVE                         "Always Sensitive";
    0x420122 EXTRACTABLE                              "Extractable";
    0x420123 NEVER_EXTRACTABLE                        "Never Extractable";
    0x420124 REPLACE_EXISTING                         "Replace Existing";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_gap_so_that_a_name_is_found_by_subtraction() {
        for (row, (tag, name)) in (0x42_0001..).zip(Tag::TABLE) {
            assert_eq!((tag.0, tag.name()), (row, *name));
        }
    }

    #[test]
    fn only_tags_that_begin_with_42_or_54_exist() {
        for first in 0..=u8::MAX {
            assert_eq!(Tag::of([first, 0, 1]).is_some(), first == 0x42 || first == 0x54, "{first:02X}");
        }
    }

    #[test]
    fn a_tag_outside_the_table_has_no_name_of_its_own() {
        for bytes in [[0x42, 0, 0], [0x42, 0x01, 0x25], [0x42, 0xFF, 0xFF], [0x54, 0, 1]] {
            let tag = Tag::of(bytes).expect("first byte is 42 or 54");
            assert_eq!((tag.name(), tag.bytes()), ("a field that the standard does not name", bytes));
        }
    }
}
