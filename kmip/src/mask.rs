//! The two bit masks of section 9.1.3.3.

/// Cryptographic Usage Mask, 9.1.3.3.1: what an object may be used for. 0 is legal and forbids nothing but cryptography.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CryptographicUsageMask(pub i32);

impl CryptographicUsageMask {
    /// May make signatures.
    pub const SIGN: Self = Self(0x0000_0001);
    /// May check signatures.
    pub const VERIFY: Self = Self(0x0000_0002);
    /// May encrypt data.
    pub const ENCRYPT: Self = Self(0x0000_0004);
    /// May decrypt data.
    pub const DECRYPT: Self = Self(0x0000_0008);
    /// May wrap other keys.
    pub const WRAP_KEY: Self = Self(0x0000_0010);
    /// May unwrap other keys.
    pub const UNWRAP_KEY: Self = Self(0x0000_0020);
    /// May leave the system.
    pub const EXPORT: Self = Self(0x0000_0040);
    /// May make message authentication codes.
    pub const MAC_GENERATE: Self = Self(0x0000_0080);
    /// May check message authentication codes.
    pub const MAC_VERIFY: Self = Self(0x0000_0100);
    /// May be the base of derived keys.
    pub const DERIVE_KEY: Self = Self(0x0000_0200);
    /// May sign for non-repudiation.
    pub const CONTENT_COMMITMENT: Self = Self(0x0000_0400);
    /// May agree on keys.
    pub const KEY_AGREEMENT: Self = Self(0x0000_0800);
    /// May sign certificates.
    pub const CERTIFICATE_SIGN: Self = Self(0x0000_1000);
    /// May sign revocation lists.
    pub const CRL_SIGN: Self = Self(0x0000_2000);
    /// May generate EMV cryptograms.
    pub const GENERATE_CRYPTOGRAM: Self = Self(0x0000_4000);
    /// May validate EMV cryptograms.
    pub const VALIDATE_CRYPTOGRAM: Self = Self(0x0000_8000);
    /// May encrypt while translating.
    pub const TRANSLATE_ENCRYPT: Self = Self(0x0001_0000);
    /// May decrypt while translating.
    pub const TRANSLATE_DECRYPT: Self = Self(0x0002_0000);
    /// May wrap while translating.
    pub const TRANSLATE_WRAP: Self = Self(0x0004_0000);
    /// May unwrap while translating.
    pub const TRANSLATE_UNWRAP: Self = Self(0x0008_0000);

    /// The names in the standard's table.
    pub const TABLE: &'static [(Self, &'static str)] = &[
        (Self::SIGN, "Sign"),
        (Self::VERIFY, "Verify"),
        (Self::ENCRYPT, "Encrypt"),
        (Self::DECRYPT, "Decrypt"),
        (Self::WRAP_KEY, "Wrap Key"),
        (Self::UNWRAP_KEY, "Unwrap Key"),
        (Self::EXPORT, "Export"),
        (Self::MAC_GENERATE, "MAC Generate"),
        (Self::MAC_VERIFY, "MAC Verify"),
        (Self::DERIVE_KEY, "Derive Key"),
        (Self::CONTENT_COMMITMENT, "Content Commitment"),
        (Self::KEY_AGREEMENT, "Key Agreement"),
        (Self::CERTIFICATE_SIGN, "Certificate Sign"),
        (Self::CRL_SIGN, "CRL Sign"),
        (Self::GENERATE_CRYPTOGRAM, "Generate Cryptogram"),
        (Self::VALIDATE_CRYPTOGRAM, "Validate Cryptogram"),
        (Self::TRANSLATE_ENCRYPT, "Translate Encrypt"),
        (Self::TRANSLATE_DECRYPT, "Translate Decrypt"),
        (Self::TRANSLATE_WRAP, "Translate Wrap"),
        (Self::TRANSLATE_UNWRAP, "Translate Unwrap"),
    ];

    /// Both masks together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every bit of `other` is set here too.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Storage Status Mask, 9.1.3.3.2: where Locate searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageStatusMask(pub i32);

impl StorageStatusMask {
    /// Objects at hand; what is meant when the field is left out.
    pub const ON_LINE: Self = Self(0x0000_0001);
    /// Objects put away by Archive.
    pub const ARCHIVAL: Self = Self(0x0000_0002);

    /// The names in the standard's table.
    pub const TABLE: &'static [(Self, &'static str)] = &[(Self::ON_LINE, "On-line storage"), (Self::ARCHIVAL, "Archival storage")];

    /// Whether every bit of `other` is set here too.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

#[cfg(test)]
mod tests {
    use super::CryptographicUsageMask as Mask;

    #[test]
    fn a_mask_has_what_it_was_made_of_and_nothing_else() {
        let mask = Mask::ENCRYPT.with(Mask::DECRYPT);
        assert_eq!(mask.0, 12);
        assert!(mask.has(Mask::ENCRYPT) && mask.has(mask) && mask.has(Mask(0)));
        assert!(!mask.has(Mask::SIGN) && !mask.has(Mask::ENCRYPT.with(Mask::WRAP_KEY)));
    }
}
