//! Whatever is written can be read back: random trees of items, and every structure in every version.

use kmip::ttlv::{BigInteger, ByteString, DateTime, Interval, Item, Structure, Value, Writer};
use kmip::*;
use proptest::prelude::*;

/// Failures print their input; nothing is written into the source tree.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

// Trees of items.

/// An item with an owned value.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(Leaf),
    Node(Vec<(u16, Tree)>),
}

#[derive(Clone, Debug)]
enum Leaf {
    Integer(i32),
    LongInteger(i64),
    BigInteger(Vec<u64>),
    Enumeration(u32),
    Boolean(bool),
    Text(String),
    Bytes(Vec<u8>),
    DateTime(i64),
    Interval(u32),
}

fn leaf() -> impl Strategy<Value = Leaf> {
    prop_oneof![
        any::<i32>().prop_map(Leaf::Integer),
        any::<i64>().prop_map(Leaf::LongInteger),
        prop::collection::vec(any::<u64>(), 1..4).prop_map(Leaf::BigInteger),
        any::<u32>().prop_map(Leaf::Enumeration),
        any::<bool>().prop_map(Leaf::Boolean),
        any::<String>().prop_map(Leaf::Text),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Leaf::Bytes),
        any::<i64>().prop_map(Leaf::DateTime),
        any::<u32>().prop_map(Leaf::Interval),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = leaf().prop_map(Tree::Leaf);
    leaf.prop_recursive(6, 64, 6, |inner| prop::collection::vec((any::<u16>(), inner), 0..6).prop_map(Tree::Node))
}

/// A tag of the standard's range or of the extensions', chosen by number.
fn tag(number: u16) -> Tag {
    let [high, low] = number.to_be_bytes();
    Tag::of([if number.is_multiple_of(2) { 0x42 } else { 0x54 }, high, low]).expect("42 and 54 begin tags")
}

fn write(tree: &Tree, tag_number: u16, out: &mut Writer<'_>) {
    let tag = tag(tag_number);
    match tree {
        Tree::Node(children) => {
            let open = out.open(tag);
            for (tag, child) in children {
                write(child, *tag, out);
            }
            out.close(open);
        }
        Tree::Leaf(leaf) => leaf.with_value(|value| value.write(tag, out)),
    }
}

/// Fails if the item is anything but this tree.
fn compare(tree: &Tree, tag_number: u16, item: Item<'_>) {
    assert_eq!(item.tag, tag(tag_number));
    match tree {
        Tree::Node(children) => {
            let mut fields = item.fields().expect("just written");
            for (tag, child) in children {
                compare(child, *tag, fields.next_item().expect("just written").expect("as many as were written"));
            }
            assert!(fields.next_item().expect("just written").is_none());
        }
        Tree::Leaf(leaf) => leaf.with_value(|value| assert_eq!(Value::read(item), Ok(value))),
    }
}

impl Leaf {
    fn with_value(&self, run: impl FnOnce(Value<'_>)) {
        match self {
            Self::Integer(value) => run(Value::Integer(*value)),
            Self::LongInteger(value) => run(Value::LongInteger(*value)),
            Self::BigInteger(value) => {
                let bytes: Vec<_> = value.iter().flat_map(|word| word.to_be_bytes()).collect();
                run(Value::BigInteger(BigInteger(&bytes)));
            }
            Self::Enumeration(value) => run(Value::Enumeration(*value)),
            Self::Boolean(value) => run(Value::Boolean(*value)),
            Self::Text(value) => run(Value::TextString(value)),
            Self::Bytes(value) => run(Value::ByteString(ByteString(value))),
            Self::DateTime(value) => run(Value::DateTime(DateTime(*value))),
            Self::Interval(value) => run(Value::Interval(Interval(*value))),
        }
    }
}

fn encoded(tree: &Tree) -> Vec<u8> {
    let mut bytes = vec![];
    write(tree, 1, &mut Writer::new(&mut bytes, ProtocolVersion::V1_4));
    bytes
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_tree_reads_back_as_it_was_written(tree in tree()) {
        let bytes = encoded(&tree);
        let item = Item::only(&bytes).expect("just written");
        prop_assert_eq!(item.check(), Ok(()));
        compare(&tree, 1, item);
    }

    #[test]
    fn a_tree_cut_anywhere_is_refused(tree in tree(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&tree);
        prop_assert!(Item::only(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(item) = Item::only(&bytes) {
            let _ = item.check();
        }
        let _ = Request::decode(&bytes);
        let _ = ResponseMessage::read(&bytes);
    }

    #[test]
    fn what_passes_the_check_is_written_back_byte_for_byte(tree in tree(), position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encoded(&tree);
        let position = position.index(bytes.len());
        bytes[position] = byte;
        if let Ok(item) = Item::only(&bytes) && item.check().is_ok() {
            let mut again = vec![];
            rewrite(item, &mut Writer::new(&mut again, ProtocolVersion::V1_4));
            prop_assert_eq!(again, bytes);
        }
    }
}

/// As [`tree`], without characters that XML does not have.
fn xml_tree(tree: Tree) -> Tree {
    let is_xml = |c: &char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..);
    match tree {
        Tree::Leaf(Leaf::Text(text)) => Tree::Leaf(Leaf::Text(text.chars().filter(is_xml).collect())),
        Tree::Leaf(leaf) => Tree::Leaf(leaf),
        Tree::Node(children) => Tree::Node(children.into_iter().map(|(tag, child)| (tag, xml_tree(child))).collect()),
    }
}

/// Text of both encodings, and of neither.
fn scribble() -> impl Strategy<Value = String> {
    let words = prop_oneof![
        "[<>/&;=\"'{}\\[\\]:, \\n!?#x0-9a-fA-Z-]{0,6}",
        prop::sample::select(vec![
            "<TTLV tag=\"0x420001\"",
            "type=\"Integer\"",
            "value=\"",
            "\"tag\":",
            "\"type\":",
            "\"value\":[",
            "\"Integer\"",
            "Name"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(words, 0..30).prop_map(|words| words.concat())
}

const TEXT_BYTES_MAX: usize = 1 << 20;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_tree_comes_back_from_json_as_it_was(children in prop::collection::vec((any::<u16>(), tree()), 0..4)) {
        let bytes = encoded(&Tree::Node(children));
        let text = json::write(&bytes).expect("just written");
        prop_assert_eq!(json::read(&text, TEXT_BYTES_MAX), Ok(bytes));
    }

    #[test]
    fn a_tree_comes_back_from_xml_as_it_was(children in prop::collection::vec((any::<u16>(), tree()), 0..4)) {
        let bytes = encoded(&xml_tree(Tree::Node(children)));
        let text = xml::write(&bytes).expect("just written");
        prop_assert_eq!(xml::read(&text, TEXT_BYTES_MAX), Ok(bytes));
    }

    #[test]
    fn no_text_makes_a_transcoder_panic_and_what_it_reads_it_writes(text in scribble()) {
        if let Ok(bytes) = json::read(text.as_bytes(), TEXT_BYTES_MAX) {
            prop_assert_eq!(json::read(&json::write(&bytes).expect("just read"), TEXT_BYTES_MAX), Ok(bytes));
        }
        if let Ok(bytes) = xml::read(text.as_bytes(), TEXT_BYTES_MAX) {
            prop_assert_eq!(xml::read(&xml::write(&bytes).expect("just read"), TEXT_BYTES_MAX), Ok(bytes));
        }
    }

    #[test]
    fn a_text_cut_or_changed_anywhere_is_refused_or_whole(tree in tree(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let bytes = encoded(&xml_tree(Tree::Node(vec![(3, tree)])));
        for (text, read) in [(json::write(&bytes), json::read as fn(&[u8], usize) -> _), (xml::write(&bytes), xml::read)] {
            let mut text = text.expect("just written");
            let at = at.index(text.len() - 1);
            prop_assert!(read(&text[..at], TEXT_BYTES_MAX).is_err());
            text[at] = byte;
            if let Ok(bytes) = read(&text, TEXT_BYTES_MAX) {
                prop_assert_eq!(Item::only(&bytes).and_then(|item| item.check()), Ok(()));
            }
        }
    }
}

/// Reads every value and writes it again.
fn rewrite(item: Item<'_>, out: &mut Writer<'_>) {
    match Value::read(item).expect("checked before") {
        Value::Structure(_) => {
            let open = out.open(item.tag);
            let mut fields = item.fields().expect("checked before");
            while let Some(field) = fields.next_item().expect("checked before") {
                rewrite(field, out);
            }
            out.close(open);
        }
        value => value.write(item.tag, out),
    }
}

// Structures.

/// Draws values one after another from one seed.
struct Draw(u64);

impl Draw {
    /// A number below `bound`, by SplitMix64.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below a usize")
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

/// A type of which any value can be drawn.
trait Any: Sized {
    fn any(draw: &mut Draw) -> Self;
}

impl<T: Any> Any for Option<T> {
    fn any(draw: &mut Draw) -> Self {
        (draw.below(3) > 0).then(|| T::any(draw))
    }
}

impl<T: Any> Any for Vec<T> {
    fn any(draw: &mut Draw) -> Self {
        // Never empty: some fields have to be there.
        (0..=draw.below(3)).map(|_| T::any(draw)).collect()
    }
}

impl Any for i32 {
    fn any(draw: &mut Draw) -> Self {
        draw.one_of(&[0, 1, -1, 128, 256, i32::MIN, i32::MAX])
    }
}

impl Any for i64 {
    fn any(draw: &mut Draw) -> Self {
        draw.one_of(&[0, 1, -1, 1_700_000_000, i64::MIN, i64::MAX])
    }
}

impl Any for bool {
    fn any(draw: &mut Draw) -> Self {
        draw.below(2) == 0
    }
}

impl Any for &'static str {
    fn any(draw: &mut Draw) -> Self {
        draw.one_of(&["", "a", "L3-0199a0de", "eightchr", "Schlüssel für Übung", "\u{10FFFF}", "a long name that needs several words"])
    }
}

impl Any for ByteString<'static> {
    fn any(draw: &mut Draw) -> Self {
        Self(draw.one_of(&[&b""[..], b"\0", b"\x01\x02\x03", b"12345678", b"\xFF\xFE\xFD\xFC\xFB\xFA\xF9\xF8\xF7\xF6\xF5\xF4", &[7; 300]]))
    }
}

impl Any for DateTime {
    fn any(draw: &mut Draw) -> Self {
        Self(i64::any(draw))
    }
}

impl Any for Interval {
    fn any(draw: &mut Draw) -> Self {
        Self(draw.one_of(&[0, 1, u32::MAX]))
    }
}

impl Any for CryptographicUsageMask {
    fn any(draw: &mut Draw) -> Self {
        Self(i32::any(draw))
    }
}

impl Any for StorageStatusMask {
    fn any(draw: &mut Draw) -> Self {
        draw.one_of(&[Self::ON_LINE, Self::ARCHIVAL])
    }
}

/// A structure with one field in it.
const STRUCTURE: &[u8] = b"\x42\x00\x25\x01\x00\x00\x00\x10\x42\x00\x99\x07\x00\x00\x00\x04user\0\0\0\0";

impl Any for Item<'static> {
    fn any(_: &mut Draw) -> Self {
        Self::only(STRUCTURE).expect("one item")
    }
}

impl Any for Structure<'static> {
    fn any(draw: &mut Draw) -> Self {
        Self::read(&Item::any(draw)).expect("well-formed")
    }
}

impl Any for OperationNumber {
    fn any(draw: &mut Draw) -> Self {
        Self(draw.one_of(&[1, 0x1F, 0x2B, 0x99, 0x8000_0001, u32::MAX]))
    }
}

impl Any for Attribute<'static> {
    fn any(draw: &mut Draw) -> Self {
        Self { index: draw.one_of(&[None, Some(0), Some(i32::MAX)]), value: Any::any(draw) }
    }
}

macro_rules! any_value_of {
    ($($type:ty)*) => {$(
        impl Any for $type {
            fn any(draw: &mut Draw) -> Self {
                if draw.below(10) == 0 { Self::Extension(0x8000_0001) } else { draw.one_of(Self::ALL) }
            }
        }
    )*};
}

any_value_of! {
    AlternativeNameType AttestationType BatchErrorContinuationOption BlockCipherMode CertificateType ClientRegistrationMethod
    CredentialType CryptographicAlgorithm DerivationMethod DestroyAction DigitalSignatureAlgorithm DrbgAlgorithm EncodingOption Fips186Variation
    HashingAlgorithm KeyCompressionType KeyFormatType KeyRoleType KeyValueLocationType KeyWrapType LinkType MaskGenerator NameType ObjectGroupMember ObjectType
    Operation PaddingMethod
    ProfileName QueryFunction RecommendedCurve ResultReason ResultStatus RevocationReasonCode RngAlgorithm RngMode SecretDataType
    ShreddingAlgorithm State UnwrapMode UsageLimitsUnit ValidationAuthorityType ValidationType ValidityIndicator WrappingMethod
}

/// Draws each field, and checks the round trip of each structure in a test of its own.
macro_rules! structures {
    ($($test:ident: $type:ty { $($field:ident)* })*) => {$(
        impl Any for $type {
            fn any(draw: &mut Draw) -> Self {
                Self { $($field: Any::any(draw)),* }
            }
        }

        proptest! {
            #![proptest_config(config())]

            #[test]
            fn $test(seed: u64) {
                round_trip(&<$type>::any(&mut Draw(seed)));
            }
        }
    )*};
}

/// Writes and reads the value in each version that has it.
fn round_trip<'a, T>(value: &T)
where
    T: Encode + Decode<'a> + Clone + PartialEq + std::fmt::Debug + 'a,
{
    for version in ProtocolVersion::ALL.into_iter().filter(|version| value.legal_in(*version)) {
        let bytes: &'a [u8] = encode(value, version).leak();
        let item = Item::only(bytes).expect("just written");
        item.check().expect("well-formed throughout");
        // As in Locate, because parts of attributes may not have been drawn.
        let read = T::decode(item, Rules::of(version).locating()).unwrap_or_else(|error| panic!("{version}: {error} in {value:?}"));
        assert_eq!(encode(&read, version), bytes, "{version}");
        if version == ProtocolVersion::LATEST {
            assert_eq!(read, *value);
        }
    }
}

fn encode(value: &impl Encode, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = vec![];
    value.encode(Tag::REQUEST_PAYLOAD, &mut Writer::new(&mut bytes, version));
    bytes
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn attribute(seed: u64) {
        round_trip(&Attribute::any(&mut Draw(seed)));
    }
}

impl Any for AttributeValue<'static> {
    fn any(draw: &mut Draw) -> Self {
        use AttributeName as N;
        match draw.one_of(&[N::ALL, &[N::Comment; 8]].concat()) {
            N::UniqueIdentifier => Self::UniqueIdentifier(Any::any(draw)),
            N::Name => Self::Name(Any::any(draw)),
            N::ObjectType => Self::ObjectType(Any::any(draw)),
            N::CryptographicAlgorithm => Self::CryptographicAlgorithm(Any::any(draw)),
            N::CryptographicLength => Self::CryptographicLength(Any::any(draw)),
            N::CryptographicParameters => Self::CryptographicParameters(Any::any(draw)),
            N::CryptographicDomainParameters => Self::CryptographicDomainParameters(Any::any(draw)),
            N::CertificateType => Self::CertificateType(Any::any(draw)),
            N::CertificateLength => Self::CertificateLength(Any::any(draw)),
            N::X509CertificateIdentifier => Self::X509CertificateIdentifier(Any::any(draw)),
            N::X509CertificateSubject => Self::X509CertificateSubject(Any::any(draw)),
            N::X509CertificateIssuer => Self::X509CertificateIssuer(Any::any(draw)),
            N::CertificateIdentifier => Self::CertificateIdentifier(Any::any(draw)),
            N::CertificateSubject => Self::CertificateSubject(Any::any(draw)),
            N::CertificateIssuer => Self::CertificateIssuer(Any::any(draw)),
            N::DigitalSignatureAlgorithm => Self::DigitalSignatureAlgorithm(Any::any(draw)),
            N::Digest => Self::Digest(Any::any(draw)),
            N::OperationPolicyName => Self::OperationPolicyName(Any::any(draw)),
            N::CryptographicUsageMask => Self::CryptographicUsageMask(Any::any(draw)),
            N::LeaseTime => Self::LeaseTime(Any::any(draw)),
            N::UsageLimits => Self::UsageLimits(Any::any(draw)),
            N::State => Self::State(Any::any(draw)),
            N::InitialDate => Self::InitialDate(Any::any(draw)),
            N::ActivationDate => Self::ActivationDate(Any::any(draw)),
            N::ProcessStartDate => Self::ProcessStartDate(Any::any(draw)),
            N::ProtectStopDate => Self::ProtectStopDate(Any::any(draw)),
            N::DeactivationDate => Self::DeactivationDate(Any::any(draw)),
            N::DestroyDate => Self::DestroyDate(Any::any(draw)),
            N::CompromiseOccurrenceDate => Self::CompromiseOccurrenceDate(Any::any(draw)),
            N::CompromiseDate => Self::CompromiseDate(Any::any(draw)),
            N::RevocationReason => Self::RevocationReason(Any::any(draw)),
            N::ArchiveDate => Self::ArchiveDate(Any::any(draw)),
            N::ObjectGroup => Self::ObjectGroup(Any::any(draw)),
            N::Fresh => Self::Fresh(Any::any(draw)),
            N::Link => Self::Link(Any::any(draw)),
            N::ApplicationSpecificInformation => Self::ApplicationSpecificInformation(Any::any(draw)),
            N::ContactInformation => Self::ContactInformation(Any::any(draw)),
            N::LastChangeDate => Self::LastChangeDate(Any::any(draw)),
            N::AlternativeName => Self::AlternativeName(Any::any(draw)),
            N::KeyValuePresent => Self::KeyValuePresent(Any::any(draw)),
            N::KeyValueLocation => Self::KeyValueLocation(Any::any(draw)),
            N::OriginalCreationDate => Self::OriginalCreationDate(Any::any(draw)),
            N::RandomNumberGenerator => Self::RandomNumberGenerator(Any::any(draw)),
            N::Pkcs12FriendlyName => Self::Pkcs12FriendlyName(Any::any(draw)),
            N::Description => Self::Description(Any::any(draw)),
            // Drawn more often than the others, in favour of custom attributes.
            N::Comment => Self::Custom(draw.one_of(&["x-Product", "y-layer", "x-", "x-NETAPP-Größe"]), custom_value(draw)),
            N::Sensitive => Self::Sensitive(Any::any(draw)),
            N::AlwaysSensitive => Self::AlwaysSensitive(Any::any(draw)),
            N::Extractable => Self::Extractable(Any::any(draw)),
            N::NeverExtractable => Self::NeverExtractable(Any::any(draw)),
            N::StorageStatusMask => Self::StorageStatusMask(Any::any(draw)),
        }
    }
}

impl Any for KeyValue<'static> {
    fn any(draw: &mut Draw) -> Self {
        if draw.below(2) == 0 { Self::Plain(Any::any(draw)) } else { Self::Wrapped(Any::any(draw)) }
    }
}

impl Any for ManagedObject<'static> {
    fn any(draw: &mut Draw) -> Self {
        match draw.below(4) {
            0 => Self::SymmetricKey(Any::any(draw)),
            1 => Self::SecretData(Any::any(draw)),
            2 => Self::Template(Any::any(draw)),
            _ => Self::OpaqueObject(Any::any(draw)),
        }
    }
}

impl Any for KeyMaterial<'static> {
    fn any(draw: &mut Draw) -> Self {
        if draw.below(2) == 0 { Self::Bytes(Any::any(draw)) } else { Self::TransparentSymmetricKey(Any::any(draw)) }
    }
}

impl Any for OpaqueDataType {
    fn any(draw: &mut Draw) -> Self {
        // None is published.
        Self::Extension(draw.one_of(&[0x8000_0000, 0x8FFF_FFFF]))
    }
}

/// A value of each type in turn.
fn custom_value(draw: &mut Draw) -> Value<'static> {
    match draw.below(10) {
        0 => Value::Structure(Any::any(draw)),
        1 => Value::Integer(Any::any(draw)),
        2 => Value::LongInteger(Any::any(draw)),
        3 => Value::BigInteger(BigInteger(&[0xFF; 16])),
        4 => Value::Enumeration(7),
        5 => Value::Boolean(Any::any(draw)),
        6 => Value::TextString(Any::any(draw)),
        7 => Value::ByteString(Any::any(draw)),
        8 => Value::DateTime(Any::any(draw)),
        _ => Value::Interval(Any::any(draw)),
    }
}

structures! {
    version_number: VersionNumber { major minor }
    credential: Credential<'static> { credential_type credential_value }
    template_attribute: TemplateAttribute<'static> { names attributes }
    extension_information: ExtensionInformation<'static> { extension_name extension_tag extension_type }
    nonce: Nonce<'static> { nonce_id nonce_value }
    rng_parameters: RngParameters {
        rng_algorithm cryptographic_algorithm cryptographic_length hashing_algorithm drbg_algorithm recommended_curve fips186_variation
        prediction_resistance
    }
    profile_information: ProfileInformation<'static> { profile_name server_uri server_port }
    validation_information: ValidationInformation<'static> {
        authority_type authority_country authority_uri version_major version_minor validation_type validation_level
        certificate_identifier certificate_uri vendor_uri profiles
    }
    capability_information: CapabilityInformation {
        streaming asynchronous attestation batch_undo batch_continue unwrap_mode destroy_action shredding_algorithm rng_mode
    }
    name: Name<'static> { value name_type }
    cryptographic_parameters: CryptographicParameters<'static> {
        block_cipher_mode padding_method hashing_algorithm key_role_type digital_signature_algorithm cryptographic_algorithm random_iv
        iv_length tag_length fixed_field_length invocation_field_length counter_length initial_counter_value salt_length mask_generator
        mask_generator_hash p_source trailer_field
    }
    cryptographic_domain_parameters: CryptographicDomainParameters { qlength recommended_curve }
    x509_certificate_identifier: X509CertificateIdentifier<'static> { issuer serial_number }
    x509_certificate_subject: X509CertificateSubject<'static> { distinguished_name alternative_names }
    x509_certificate_issuer: X509CertificateIssuer<'static> { distinguished_name alternative_names }
    certificate_identifier: CertificateIdentifier<'static> { issuer serial_number }
    certificate_subject: CertificateSubject<'static> { distinguished_name alternative_names }
    certificate_issuer: CertificateIssuer<'static> { distinguished_name alternative_names }
    digest: Digest<'static> { hashing_algorithm digest_value key_format_type }
    usage_limits: UsageLimits { total count unit }
    revocation_reason: RevocationReason<'static> { code message }
    link: Link<'static> { link_type linked_object_identifier }
    application_specific_information: ApplicationSpecificInformation<'static> { namespace data }
    alternative_name: AlternativeName<'static> { value name_type }
    key_value_location: KeyValueLocation<'static> { value location_type }
    authentication: Authentication<'static> { credentials }
    request_header: RequestHeader<'static> {
        protocol_version maximum_response_size client_correlation_value server_correlation_value asynchronous_indicator
        attestation_capable_indicator attestation_types authentication batch_error_continuation_option batch_order_option time_stamp
        batch_count
    }
    message_extension: MessageExtension<'static> { vendor_identification criticality_indicator vendor_extension }
    response_header: ResponseHeader<'static> {
        protocol_version time_stamp nonce attestation_types client_correlation_value server_correlation_value batch_count
    }
    create_request: CreateRequest<'static> { object_type template_attribute }
    create_response: CreateResponse<'static> { object_type unique_identifier template_attribute }
    register_request: RegisterRequest<'static> { object_type template_attribute object }
    register_response: RegisterResponse<'static> { unique_identifier template_attribute }
    symmetric_key: SymmetricKey<'static> { key_block }
    template: Template<'static> { attributes }
    secret_data: SecretData<'static> { secret_data_type key_block }
    opaque_object: OpaqueObject<'static> { opaque_data_type opaque_data_value }
    key_block: KeyBlock<'static> {
        key_format_type key_compression_type key_value cryptographic_algorithm cryptographic_length key_wrapping_data
    }
    plain_key_value: PlainKeyValue<'static> { key_material attributes }
    transparent_symmetric_key: TransparentSymmetricKey<'static> { key }
    key_wrapping_data: KeyWrappingData<'static> {
        wrapping_method encryption_key_information mac_signature_key_information mac_signature iv_counter_nonce encoding_option
    }
    wrapping_key_information: WrappingKeyInformation<'static> { unique_identifier cryptographic_parameters }
    key_wrapping_specification: KeyWrappingSpecification<'static> {
        wrapping_method encryption_key_information mac_signature_key_information attribute_names encoding_option
    }
    re_key_request: ReKeyRequest<'static> { unique_identifier offset template_attribute }
    re_key_response: ReKeyResponse<'static> { unique_identifier template_attribute }
    re_key_key_pair_request: ReKeyKeyPairRequest<'static> {
        private_key_unique_identifier offset common_template_attribute private_key_template_attribute public_key_template_attribute
    }
    re_key_key_pair_response: ReKeyKeyPairResponse<'static> {
        private_key_unique_identifier public_key_unique_identifier private_key_template_attribute public_key_template_attribute
    }
    check_request: CheckRequest<'static> { unique_identifier usage_limits_count cryptographic_usage_mask lease_time }
    check_response: CheckResponse<'static> { unique_identifier usage_limits_count cryptographic_usage_mask lease_time }
    get_request: GetRequest<'static> { unique_identifier key_format_type key_wrap_type key_compression_type key_wrapping_specification }
    get_response: GetResponse<'static> { object_type unique_identifier object }
    export_request: ExportRequest<'static> {
        unique_identifier key_format_type key_wrap_type key_compression_type key_wrapping_specification
    }
    export_response: ExportResponse<'static> { object_type unique_identifier attributes object }
    import_request: ImportRequest<'static> { unique_identifier replace_existing key_wrap_type attributes object }
    import_response: ImportResponse<'static> { unique_identifier }
    add_attribute_request: AddAttributeRequest<'static> { unique_identifier attribute }
    add_attribute_response: AddAttributeResponse<'static> { unique_identifier attribute }
    modify_attribute_request: ModifyAttributeRequest<'static> { unique_identifier attribute }
    modify_attribute_response: ModifyAttributeResponse<'static> { unique_identifier attribute }
    delete_attribute_request: DeleteAttributeRequest<'static> { unique_identifier attribute_name attribute_index }
    delete_attribute_response: DeleteAttributeResponse<'static> { unique_identifier attribute }
    derivation_parameters: DerivationParameters<'static> {
        cryptographic_parameters initialization_vector derivation_data salt iteration_count
    }
    derive_key_request: DeriveKeyRequest<'static> {
        object_type unique_identifiers derivation_method derivation_parameters template_attribute
    }
    derive_key_response: DeriveKeyResponse<'static> { unique_identifier template_attribute }
    locate_request: LocateRequest<'static> {
        maximum_items offset_items storage_status_mask object_group_member attributes template_attribute
    }
    locate_response: LocateResponse<'static> { located_items unique_identifiers }
    get_attributes_request: GetAttributesRequest<'static> { unique_identifier attribute_names }
    get_attributes_response: GetAttributesResponse<'static> { unique_identifier attributes }
    get_attribute_list_request: GetAttributeListRequest<'static> { unique_identifier }
    get_attribute_list_response: GetAttributeListResponse<'static> { unique_identifier attribute_names }
    activate_request: ActivateRequest<'static> { unique_identifier }
    activate_response: ActivateResponse<'static> { unique_identifier }
    archive_request: ArchiveRequest<'static> { unique_identifier }
    archive_response: ArchiveResponse<'static> { unique_identifier }
    recover_request: RecoverRequest<'static> { unique_identifier }
    recover_response: RecoverResponse<'static> { unique_identifier }
    obtain_lease_request: ObtainLeaseRequest<'static> { unique_identifier }
    obtain_lease_response: ObtainLeaseResponse<'static> { unique_identifier lease_time last_change_date }
    get_usage_allocation_request: GetUsageAllocationRequest<'static> { unique_identifier usage_limits_count }
    get_usage_allocation_response: GetUsageAllocationResponse<'static> { unique_identifier }
    revoke_request: RevokeRequest<'static> { unique_identifier revocation_reason compromise_occurrence_date }
    revoke_response: RevokeResponse<'static> { unique_identifier }
    destroy_request: DestroyRequest<'static> { unique_identifier }
    destroy_response: DestroyResponse<'static> { unique_identifier }
    query_request: QueryRequest { functions }
    query_response: QueryResponse<'static> {
        operations object_types vendor_identification server_information application_namespaces extension_information attestation_types
        rng_parameters profile_information validation_information capability_information client_registration_methods
    }
    discover_versions_request: DiscoverVersionsRequest { versions }
    discover_versions_response: DiscoverVersionsResponse { versions }
    encrypt_request: EncryptRequest<'static> {
        unique_identifier cryptographic_parameters data iv_counter_nonce correlation_value init_indicator final_indicator additional_data
    }
    encrypt_response: EncryptResponse<'static> { unique_identifier data iv_counter_nonce correlation_value authentication_tag }
    decrypt_request: DecryptRequest<'static> {
        unique_identifier cryptographic_parameters data iv_counter_nonce correlation_value init_indicator final_indicator additional_data
        authentication_tag
    }
    decrypt_response: DecryptResponse<'static> { unique_identifier data correlation_value }
    mac_request: MacRequest<'static> { unique_identifier cryptographic_parameters data correlation_value init_indicator final_indicator }
    mac_response: MacResponse<'static> { unique_identifier mac_data correlation_value }
    mac_verify_request: MacVerifyRequest<'static> {
        unique_identifier cryptographic_parameters data mac_data correlation_value init_indicator final_indicator
    }
    mac_verify_response: MacVerifyResponse<'static> { unique_identifier validity_indicator correlation_value }
    rng_retrieve_request: RngRetrieveRequest { data_length }
    rng_retrieve_response: RngRetrieveResponse<'static> { data }
    rng_seed_request: RngSeedRequest<'static> { data }
    rng_seed_response: RngSeedResponse { data_length }
    hash_request: HashRequest<'static> { cryptographic_parameters data correlation_value init_indicator final_indicator }
    hash_response: HashResponse<'static> { data correlation_value }
}
