//! The standard's names as a person types them: case, blanks and punctuation do not count.

use ::kmip::{BlockCipherMode, CryptographicAlgorithm, CryptographicUsageMask as Mask, RevocationReasonCode};

/// The bits of the usage mask, by name.
const USAGES: [(&str, Mask); 20] = [
    ("sign", Mask::SIGN),
    ("verify", Mask::VERIFY),
    ("encrypt", Mask::ENCRYPT),
    ("decrypt", Mask::DECRYPT),
    ("wrap-key", Mask::WRAP_KEY),
    ("unwrap-key", Mask::UNWRAP_KEY),
    ("export", Mask::EXPORT),
    ("mac-generate", Mask::MAC_GENERATE),
    ("mac-verify", Mask::MAC_VERIFY),
    ("derive-key", Mask::DERIVE_KEY),
    ("content-commitment", Mask::CONTENT_COMMITMENT),
    ("key-agreement", Mask::KEY_AGREEMENT),
    ("certificate-sign", Mask::CERTIFICATE_SIGN),
    ("crl-sign", Mask::CRL_SIGN),
    ("generate-cryptogram", Mask::GENERATE_CRYPTOGRAM),
    ("validate-cryptogram", Mask::VALIDATE_CRYPTOGRAM),
    ("translate-encrypt", Mask::TRANSLATE_ENCRYPT),
    ("translate-decrypt", Mask::TRANSLATE_DECRYPT),
    ("translate-wrap", Mask::TRANSLATE_WRAP),
    ("translate-unwrap", Mask::TRANSLATE_UNWRAP),
];

/// A key's algorithm.
pub(super) fn algorithm(text: &str) -> Result<CryptographicAlgorithm, String> {
    named(text, CryptographicAlgorithm::ALL, |algorithm| algorithm.name())
}

/// How a block cipher is used.
pub(super) fn block_cipher_mode(text: &str) -> Result<BlockCipherMode, String> {
    named(text, BlockCipherMode::ALL, |mode| mode.name())
}

/// Why a key is revoked.
pub(crate) fn revocation_reason(text: &str) -> Result<RevocationReasonCode, String> {
    named(text, RevocationReasonCode::ALL, |reason| reason.name())
}

/// One use of a key.
pub(super) fn usage(text: &str) -> Result<Mask, String> {
    named(text, &USAGES, |(name, _)| name).map(|(_, mask)| mask)
}

/// The names of a mask's bits.
pub(super) fn usages(mask: Mask) -> Vec<&'static str> {
    USAGES.iter().filter(|(_, bit)| mask.has(*bit)).map(|(name, _)| *name).collect()
}

fn named<T: Copy>(text: &str, all: &[T], name: impl Fn(&T) -> &'static str) -> Result<T, String> {
    let wanted = letters(text);
    let found = all.iter().find(|value| letters(name(value)) == wanted);
    found.copied().ok_or_else(|| {
        let names: Vec<String> = all.iter().map(|value| name(value).to_lowercase().replace(' ', "-")).collect();
        format!("use one of {}", names.join(", "))
    })
}

fn letters(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_they_are_written() {
        assert_eq!(algorithm("aes"), Ok(CryptographicAlgorithm::Aes));
        assert_eq!(algorithm("HMAC-SHA256"), Ok(CryptographicAlgorithm::HmacSha256));
        assert_eq!(revocation_reason("key-compromise"), Ok(RevocationReasonCode::KeyCompromise));
        assert_eq!(revocation_reason("Cessation of Operation"), Ok(RevocationReasonCode::CessationOfOperation));
        assert_eq!(usage("WrapKey"), Ok(Mask::WRAP_KEY));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        assert!(algorithm("rot13").expect_err("no such algorithm").contains("aes, "));
        assert!(revocation_reason("").expect_err("no reason").contains("key-compromise"));
        assert!(usage("encrypt decrypt").expect_err("two at once").contains("encrypt, decrypt"));
    }

    #[test]
    fn every_use_has_a_bit_of_its_own() {
        let all = USAGES.iter().fold(Mask(0), |mask, (_, bit)| mask.with(*bit));
        assert_eq!(all.0.count_ones(), 20);
        assert_eq!(usages(all).len(), 20);
        assert_eq!(usages(Mask::ENCRYPT.with(Mask::DECRYPT)), ["encrypt", "decrypt"]);
        assert!(usages(Mask(0)).is_empty());
    }
}
