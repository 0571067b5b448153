//! Encrypt, Decrypt, Sign, Signature Verify, MAC, MAC Verify, Hash and the generator.

use super::*;

const STREAM: &str = "No outstanding operation with the specified Correlation Value exists";
const VALUE: Option<ByteString<'static>> = Some(ByteString(&[7; 16]));
const WHOLE: &str = "every key was judged when it came, and data that does not fit is refused by its field: Invalid Field";

pub(super) fn tables() -> Vec<Table> {
    vec![encrypt(), decrypt(), sign(), signature_verify(), mac(), mac_verify(), rng_retrieve(), rng_seed(), hash()]
}

fn no_value() -> Row {
    never("The Key Value is not present on the server", R::KeyValueNotPresent, HAS_VALUE)
}

fn encrypt() -> Table {
    let rows = vec![
        of_unknown!(Encrypt),
        arises("Object specified is not able to be used for encryption", R::PermissionDenied, |node| {
            naming(O::Encrypt, &node.key(0x30, &[]))
        }),
        never("Cryptographic error during encryption", R::CryptographicFailure, WHOLE),
        of_archived!(Encrypt),
        no_value(),
        arises(STREAM, R::ItemNotFound, |node| {
            let (id, data) = (node.key(DATA, &[]), Some(DATA_BYTES));
            of(&EncryptRequest { unique_identifier: Some(&id), data, correlation_value: VALUE, ..EncryptRequest::default() })
        }),
    ];
    Table { operation: O::Encrypt, number: 353, rows }
}

fn decrypt() -> Table {
    let rows = vec![
        of_unknown!(Decrypt),
        arises("Object specified is not able to be used for decryption", R::PermissionDenied, |node| {
            naming(O::Decrypt, &node.key(0x30, &[]))
        }),
        arises("Cryptographic error during decryption", R::CryptographicFailure, |node| naming(O::Decrypt, &node.key(DATA, &[]))),
        of_archived!(Decrypt),
        no_value(),
        arises(STREAM, R::ItemNotFound, |node| {
            let (id, data) = (node.key(DATA, &[]), Some(DATA_BYTES));
            of(&DecryptRequest { unique_identifier: Some(&id), data, correlation_value: VALUE, ..DecryptRequest::default() })
        }),
    ];
    Table { operation: O::Decrypt, number: 354, rows }
}

/// The halves of an Active pair on a curve.
fn pair(node: &mut Node<'_>) -> [String; 2] {
    node.curve_pair(RecommendedCurve::P256).expect("it is offered")
}

fn archived_half(node: &mut Node<'_>, half: usize) -> String {
    let id = pair(node)[half].clone();
    archive(node, &id);
    id
}

fn sign() -> Table {
    let rows = vec![
        of_unknown!(Sign),
        arises("Object specified is not able to be used for signing", R::PermissionDenied, |node| {
            naming(O::Sign, &node.key(0x000F_FFFF, &[]))
        }),
        never("Cryptographic error during signing", R::CryptographicFailure, WHOLE),
        arises("Object is archived", R::ObjectArchived, |node| naming(O::Sign, &archived_half(node, 0))),
        no_value(),
        arises(STREAM, R::ItemNotFound, |node| {
            let ([private, _], data) = (pair(node), Some(DATA_BYTES));
            of(&SignRequest { unique_identifier: Some(&private), data, correlation_value: VALUE, ..SignRequest::default() })
        }),
    ];
    Table { operation: O::Sign, number: 355, rows }
}

fn signature_verify() -> Table {
    let rows = vec![
        of_unknown!(SignatureVerify),
        arises("Object specified is not able to be used for signature verification", R::PermissionDenied, |node| {
            naming(O::SignatureVerify, &node.key(0x000F_FFFF, &[]))
        }),
        never(
            "Cryptographic error during signature verification",
            R::CryptographicFailure,
            "a signature that does not verify, whatever it is, is told to be invalid",
        ),
        arises("Object is archived", R::ObjectArchived, |node| naming(O::SignatureVerify, &archived_half(node, 1))),
        no_value(),
        arises(STREAM, R::ItemNotFound, |node| {
            let ([_, public], data) = (pair(node), Some(DATA_BYTES));
            let none = SignatureVerifyRequest::default();
            of(&SignatureVerifyRequest { unique_identifier: Some(&public), data, correlation_value: VALUE, ..none })
        }),
    ];
    Table { operation: O::SignatureVerify, number: 356, rows }
}

fn mac() -> Table {
    let rows = vec![
        of_unknown!(Mac),
        arises("Object specified is not able to be used for MACing", R::PermissionDenied, |node| naming(O::Mac, &node.key(DATA, &[]))),
        never("Cryptographic error during MACing", R::CryptographicFailure, WHOLE),
        of_archived!(Mac),
        no_value(),
        arises(STREAM, R::ItemNotFound, |node| {
            let (id, data) = (node.key(0x180, &[]), Some(DATA_BYTES));
            let cryptographic_parameters = cmac();
            let none = MacRequest::default();
            of(&MacRequest { unique_identifier: Some(&id), cryptographic_parameters, data, correlation_value: VALUE, ..none })
        }),
    ];
    Table { operation: O::Mac, number: 357, rows }
}

fn mac_verify() -> Table {
    let rows = vec![
        of_unknown!(MacVerify),
        arises("Object specified is not able to be used for MAC verification", R::PermissionDenied, |node| {
            naming(O::MacVerify, &node.key(DATA, &[]))
        }),
        never(
            "Cryptographic error during MAC verification",
            R::CryptographicFailure,
            "a code that does not verify, whatever it is, is told to be invalid",
        ),
        of_archived!(MacVerify),
        no_value(),
        arises(STREAM, R::ItemNotFound, |node| {
            let (id, data) = (node.key(0x180, &[]), Some(DATA_BYTES));
            let cryptographic_parameters = cmac();
            let none = MacVerifyRequest::default();
            of(&MacVerifyRequest { unique_identifier: Some(&id), cryptographic_parameters, data, correlation_value: VALUE, ..none })
        }),
    ];
    Table { operation: O::MacVerify, number: 358, rows }
}

fn rng_retrieve() -> Table {
    let rows = vec![never("Cryptographic error during RNG Retrieve", R::CryptographicFailure, GENERATOR)];
    Table { operation: O::RngRetrieve, number: 359, rows }
}

fn rng_seed() -> Table {
    let rows = vec![never("Cryptographic error during RNG Seed", R::CryptographicFailure, "a seed is accepted and not used")];
    Table { operation: O::RngSeed, number: 360, rows }
}

fn hash() -> Table {
    let rows = vec![
        never("Cryptographic error during HASH", R::CryptographicFailure, "every hash takes all data"),
        arises(STREAM, R::ItemNotFound, |_| {
            let sha256 = CryptographicParameters { hashing_algorithm: Some(HashingAlgorithm::Sha256), ..Default::default() };
            of(&HashRequest {
                cryptographic_parameters: sha256,
                data: Some(DATA_BYTES),
                correlation_value: VALUE,
                init_indicator: None,
                final_indicator: None,
            })
        }),
    ];
    Table { operation: O::Hash, number: 361, rows }
}
