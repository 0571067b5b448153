//! The names that XML and JSON use: those of the standard's tables, in camel case.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use crate::enums::{
    AlternativeNameType, AttestationType, BatchErrorContinuationOption, BlockCipherMode, CancellationResult, CertificateRequestType,
    CertificateType, ClientRegistrationMethod, CredentialType, CryptographicAlgorithm, DerivationMethod, DestroyAction,
    DigitalSignatureAlgorithm, DrbgAlgorithm, EncodingOption, Fips186Variation, HashingAlgorithm, KeyCompressionType, KeyFormatType,
    KeyRoleType, KeyValueLocationType, KeyWrapType, LinkType, MaskGenerator, NameType, ObjectGroupMember, ObjectType, OpaqueDataType,
    Operation, PaddingMethod, ProfileName, PutFunction, QueryFunction, RecommendedCurve, ResultReason, ResultStatus, RevocationReasonCode,
    RngAlgorithm, RngMode, SecretDataType, ShreddingAlgorithm, SplitKeyMethod, State, UnwrapMode, UsageLimitsUnit, ValidationAuthorityType,
    ValidationType, ValidityIndicator, WrappingMethod,
};
use crate::mask::{CryptographicUsageMask, StorageStatusMask};
use crate::tag::Tag;

/// Which list the values of a field come from, for every Enumeration of the standard.
const LISTS: &[(Tag, &[(u32, &str)])] = &[
    (Tag::ALTERNATIVE_NAME_TYPE, AlternativeNameType::TABLE),
    (Tag::ATTESTATION_TYPE, AttestationType::TABLE),
    (Tag::BATCH_ERROR_CONTINUATION_OPTION, BatchErrorContinuationOption::TABLE),
    (Tag::BLOCK_CIPHER_MODE, BlockCipherMode::TABLE),
    (Tag::CANCELLATION_RESULT, CancellationResult::TABLE),
    (Tag::CERTIFICATE_REQUEST_TYPE, CertificateRequestType::TABLE),
    (Tag::CERTIFICATE_TYPE, CertificateType::TABLE),
    (Tag::CLIENT_REGISTRATION_METHOD, ClientRegistrationMethod::TABLE),
    (Tag::CREDENTIAL_TYPE, CredentialType::TABLE),
    (Tag::CRYPTOGRAPHIC_ALGORITHM, CryptographicAlgorithm::TABLE),
    (Tag::DERIVATION_METHOD, DerivationMethod::TABLE),
    (Tag::DESTROY_ACTION, DestroyAction::TABLE),
    (Tag::DIGITAL_SIGNATURE_ALGORITHM, DigitalSignatureAlgorithm::TABLE),
    (Tag::DRBG_ALGORITHM, DrbgAlgorithm::TABLE),
    (Tag::ENCODING_OPTION, EncodingOption::TABLE),
    (Tag::FIPS186_VARIATION, Fips186Variation::TABLE),
    (Tag::HASHING_ALGORITHM, HashingAlgorithm::TABLE),
    (Tag::KEY_COMPRESSION_TYPE, KeyCompressionType::TABLE),
    (Tag::KEY_FORMAT_TYPE, KeyFormatType::TABLE),
    (Tag::KEY_ROLE_TYPE, KeyRoleType::TABLE),
    (Tag::KEY_VALUE_LOCATION_TYPE, KeyValueLocationType::TABLE),
    (Tag::KEY_WRAP_TYPE, KeyWrapType::TABLE),
    (Tag::LINK_TYPE, LinkType::TABLE),
    (Tag::MASK_GENERATOR, MaskGenerator::TABLE),
    (Tag::MASK_GENERATOR_HASHING_ALGORITHM, HashingAlgorithm::TABLE),
    (Tag::NAME_TYPE, NameType::TABLE),
    (Tag::OBJECT_GROUP_MEMBER, ObjectGroupMember::TABLE),
    (Tag::OBJECT_TYPE, ObjectType::TABLE),
    (Tag::OPAQUE_DATA_TYPE, OpaqueDataType::TABLE),
    (Tag::OPERATION, Operation::TABLE),
    (Tag::PADDING_METHOD, PaddingMethod::TABLE),
    (Tag::PROFILE_NAME, ProfileName::TABLE),
    (Tag::PUT_FUNCTION, PutFunction::TABLE),
    (Tag::QUERY_FUNCTION, QueryFunction::TABLE),
    (Tag::RECOMMENDED_CURVE, RecommendedCurve::TABLE),
    (Tag::RESULT_REASON, ResultReason::TABLE),
    (Tag::RESULT_STATUS, ResultStatus::TABLE),
    (Tag::REVOCATION_REASON_CODE, RevocationReasonCode::TABLE),
    (Tag::RNG_ALGORITHM, RngAlgorithm::TABLE),
    (Tag::RNG_MODE, RngMode::TABLE),
    (Tag::SECRET_DATA_TYPE, SecretDataType::TABLE),
    (Tag::SHREDDING_ALGORITHM, ShreddingAlgorithm::TABLE),
    (Tag::SPLIT_KEY_METHOD, SplitKeyMethod::TABLE),
    (Tag::STATE, State::TABLE),
    (Tag::UNWRAP_MODE, UnwrapMode::TABLE),
    (Tag::USAGE_LIMITS_UNIT, UsageLimitsUnit::TABLE),
    (Tag::VALIDATION_AUTHORITY_TYPE, ValidationAuthorityType::TABLE),
    (Tag::VALIDATION_TYPE, ValidationType::TABLE),
    (Tag::VALIDITY_INDICATOR, ValidityIndicator::TABLE),
    (Tag::WRAPPING_METHOD, WrappingMethod::TABLE),
];

static TAGS: LazyLock<List> = LazyLock::new(|| List::of(Tag::TABLE.iter().map(|(tag, name)| (tag.number(), *name))));
static VALUES: LazyLock<HashMap<Tag, List>> =
    LazyLock::new(|| LISTS.iter().map(|(tag, table)| (*tag, List::of(table.iter().copied()))).collect());
static USAGES: LazyLock<List> =
    LazyLock::new(|| List::of(CryptographicUsageMask::TABLE.iter().map(|(bit, name)| (bit.0.cast_unsigned(), *name))));
static STORAGES: LazyLock<List> =
    LazyLock::new(|| List::of(StorageStatusMask::TABLE.iter().map(|(bit, name)| (bit.0.cast_unsigned(), *name))));

/// One table, looked up by number and by name.
#[derive(Debug)]
pub(crate) struct List {
    names: BTreeMap<u32, String>,
    numbers: HashMap<String, u32>,
}

impl List {
    fn of(table: impl Iterator<Item = (u32, &'static str)>) -> Self {
        let names: BTreeMap<u32, String> = table.map(|(number, name)| (number, camel_case(name))).collect();
        let numbers = names.iter().map(|(number, name)| (name.clone(), *number)).collect();
        Self { names, numbers }
    }

    /// The name of this number.
    pub(crate) fn name(&self, number: u32) -> Option<&str> {
        self.names.get(&number).map(String::as_str)
    }

    /// The number of this name, spelt exactly so.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }
}

/// The name of a tag of the standard.
pub(crate) fn name_of(tag: Tag) -> Option<&'static str> {
    TAGS.name(tag.number())
}

/// The tag of the standard with this name.
pub(crate) fn tag_named(name: &str) -> Option<Tag> {
    let [_, bytes @ ..] = TAGS.number(name)?.to_be_bytes();
    Tag::of(bytes)
}

/// The names of a field's values, if it is an Enumeration of the standard.
pub(crate) fn values_of(tag: Tag) -> Option<&'static List> {
    VALUES.get(&tag)
}

/// The names of a field's bits, if it is one of the two masks.
pub(crate) fn bits_of(tag: Tag) -> Option<&'static List> {
    match tag {
        Tag::CRYPTOGRAPHIC_USAGE_MASK => Some(&USAGES),
        Tag::STORAGE_STATUS_MASK => Some(&STORAGES),
        _ => None,
    }
}

/// A name of the standard as one word, by the six rules of the profiles' section on normalizing names.
fn camel_case(name: &str) -> String {
    let unbracketed: Vec<char> = name.chars().map(|c| if matches!(c, '(' | ')') { ' ' } else { c }).collect();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let parted: String = unbracketed
        .iter()
        .enumerate()
        .map(|(at, c)| match unbracketed[at + 1..] {
            _ if is_word(*c) => *c,
            [letter, lower, ..] if letter.is_ascii_alphabetic() && lower.is_ascii_lowercase() => ' ',
            _ if c.is_whitespace() => ' ',
            _ => '_',
        })
        .collect();
    let mut joined = String::with_capacity(parted.len());
    for (place, word) in parted.split_whitespace().enumerate() {
        let digits = if place == 0 { word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len() } else { 0 };
        let (leading, rest) = word.split_at(digits);
        let mut letters = rest.chars();
        joined.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        joined.push_str(letters.as_str());
        joined.push_str(leading);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: &str) {
        assert_eq!(camel_case(name), expected, "{name}");
    }

    /// The right-hand side is as the published test cases of the profiles, or their text, spell it.
    #[test]
    fn names_are_normalized_as_the_profiles_spell_them() {
        check("Unique Batch Item ID", "UniqueBatchItemID");
        check("IV/Counter/Nonce", "IVCounterNonce");
        check("Template-Attribute", "TemplateAttribute");
        check("Common Template-Attribute", "CommonTemplateAttribute");
        check("MAC/Signature Key Information", "MACSignatureKeyInformation");
        check("3DES", "DES3");
        check("PKCS#1", "PKCS_1");
        check("X.509", "X_509");
        check("HMAC-SHA256", "HMAC_SHA256");
        check("ANSI X9.31", "ANSIX9_31");
        check("SHA-1", "SHA_1");
        check("SHA-512/256", "SHA_512_256");
        check("P-256", "P_256");
        check("Pre-Active", "PreActive");
        check("Re-key Key Pair", "ReKeyKeyPair");
        check("On-line storage", "OnLineStorage");
        check("Polynomial Sharing GF (2^16)", "PolynomialSharingGF2_16");
        check("MD2 with RSA Encryption (PKCS#1 v1.5)", "MD2WithRSAEncryptionPKCS_1V1_5");
        check("Encrypt then MAC/sign", "EncryptThenMACSign");
        check("X9.102 AESKW", "X9_102AESKW");
        check("TLS v1.2", "TLSV1_2");
        check("q", "Q");
    }

    /// Every element of the published cases whose name is not simply the standard's without its spaces.
    #[test]
    fn what_the_published_cases_name_is_found() {
        for (name, tag) in [
            ("AuthenticatedEncryptionAdditionalData", Tag::AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA),
            ("IVCounterNonce", Tag::IV_COUNTER_NONCE),
            ("MACData", Tag::MAC_DATA),
            ("PSource", Tag::P_SOURCE),
            ("PrivateKeyTemplateAttribute", Tag::PRIVATE_KEY_TEMPLATE_ATTRIBUTE),
            ("RNGAlgorithm", Tag::RNG_ALGORITHM),
            ("RandomIV", Tag::RANDOM_IV),
            ("RequestMessage", Tag::REQUEST_MESSAGE),
            ("UniqueBatchItemID", Tag::UNIQUE_BATCH_ITEM_ID),
        ] {
            assert_eq!((tag_named(name), name_of(tag)), (Some(tag), Some(name)));
        }
        for (field, name, number) in [
            (Tag::OPERATION, "ReKeyKeyPair", Operation::ReKeyKeyPair.number()),
            (Tag::OPERATION, "RNGRetrieve", Operation::RngRetrieve.number()),
            (Tag::OPERATION, "MACVerify", Operation::MacVerify.number()),
            (Tag::OPERATION, "ReCertify", Operation::ReCertify.number()),
            (Tag::RNG_ALGORITHM, "ANSIX9_31", RngAlgorithm::AnsiX9_31.number()),
            (Tag::CRYPTOGRAPHIC_ALGORITHM, "DES3", CryptographicAlgorithm::TripleDES.number()),
            (Tag::KEY_FORMAT_TYPE, "PKCS_1", KeyFormatType::Pkcs1.number()),
            (Tag::HASHING_ALGORITHM, "SHA_256", HashingAlgorithm::Sha256.number()),
            (Tag::MASK_GENERATOR_HASHING_ALGORITHM, "SHA_1", HashingAlgorithm::Sha1.number()),
            (Tag::BLOCK_CIPHER_MODE, "NISTKeyWrap", BlockCipherMode::NISTKeyWrap.number()),
            (Tag::PADDING_METHOD, "PKCS5", PaddingMethod::Pkcs5.number()),
            (Tag::OBJECT_TYPE, "PGPKey", ObjectType::PgpKey.number()),
            (Tag::MASK_GENERATOR, "MGF1", MaskGenerator::Mgf1.number()),
            (Tag::STATE, "PreActive", State::PreActive.number()),
        ] {
            let list = values_of(field).expect("an enumeration");
            assert_eq!((list.number(name), list.name(number)), (Some(number), Some(name)));
        }
        let bits = bits_of(Tag::CRYPTOGRAPHIC_USAGE_MASK).expect("a mask");
        assert_eq!((bits.number("MACGenerate"), bits.name(8)), (Some(0x80), Some("Decrypt")));
    }

    #[test]
    fn no_two_entries_of_a_table_share_a_name_and_each_is_one_word() {
        let lists = VALUES.values().chain([&*TAGS, &*USAGES, &*STORAGES]);
        for list in lists {
            assert_eq!(list.names.len(), list.numbers.len());
            for name in list.numbers.keys() {
                let is_name =
                    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                assert!(is_name, "{name}");
            }
        }
    }
}
