//! The enumerations of KMIP 1.4, section 9.1.3.2, with the version in which each value appeared.

use crate::schema::message;

message! {
    /// Credential Type, 9.1.3.2.1.
    enum CredentialType {
        0x00000001 UsernameAndPassword "Username and Password" V1_0;
        0x00000002 Device              "Device"                V1_1;
        0x00000003 Attestation         "Attestation"           V1_2;
    }
}

message! {
    /// Key Compression Type, 9.1.3.2.2.
    enum KeyCompressionType {
        0x00000001 EcPublicKeyTypeUncompressed         "EC Public Key Type Uncompressed"           V1_0;
        0x00000002 EcPublicKeyTypeX9_62CompressedPrime "EC Public Key Type X9.62 Compressed Prime" V1_0;
        0x00000003 EcPublicKeyTypeX9_62CompressedChar2 "EC Public Key Type X9.62 Compressed Char2" V1_0;
        0x00000004 EcPublicKeyTypeX9_62Hybrid          "EC Public Key Type X9.62 Hybrid"           V1_0;
    }
}

message! {
    /// Key Format Type, 9.1.3.2.3.
    enum KeyFormatType {
        0x00000001 Raw                        "Raw"                           V1_0;
        0x00000002 Opaque                     "Opaque"                        V1_0;
        0x00000003 Pkcs1                      "PKCS#1"                        V1_0;
        0x00000004 Pkcs8                      "PKCS#8"                        V1_0;
        0x00000005 X509                       "X.509"                         V1_0;
        0x00000006 ECPrivateKey               "ECPrivateKey"                  V1_0;
        0x00000007 TransparentSymmetricKey    "Transparent Symmetric Key"     V1_0;
        0x00000008 TransparentDsaPrivateKey   "Transparent DSA Private Key"   V1_0;
        0x00000009 TransparentDsaPublicKey    "Transparent DSA Public Key"    V1_0;
        0x0000000A TransparentRsaPrivateKey   "Transparent RSA Private Key"   V1_0;
        0x0000000B TransparentRsaPublicKey    "Transparent RSA Public Key"    V1_0;
        0x0000000C TransparentDhPrivateKey    "Transparent DH Private Key"    V1_0;
        0x0000000D TransparentDhPublicKey     "Transparent DH Public Key"     V1_0;
        0x0000000E TransparentEcdsaPrivateKey "Transparent ECDSA Private Key" V1_0;
        0x0000000F TransparentEcdsaPublicKey  "Transparent ECDSA Public Key"  V1_0;
        0x00000010 TransparentEcdhPrivateKey  "Transparent ECDH Private Key"  V1_0;
        0x00000011 TransparentEcdhPublicKey   "Transparent ECDH Public Key"   V1_0;
        0x00000012 TransparentEcmqvPrivateKey "Transparent ECMQV Private Key" V1_0;
        0x00000013 TransparentEcmqvPublicKey  "Transparent ECMQV Public Key"  V1_0;
        0x00000014 TransparentEcPrivateKey    "Transparent EC Private Key"    V1_3;
        0x00000015 TransparentEcPublicKey     "Transparent EC Public Key"     V1_3;
        0x00000016 Pkcs12                     "PKCS#12"                       V1_4;
    }
}

message! {
    /// Wrapping Method, 9.1.3.2.4.
    enum WrappingMethod {
        0x00000001 Encrypt            "Encrypt"               V1_0;
        0x00000002 MacSign            "MAC/sign"              V1_0;
        0x00000003 EncryptThenMacSign "Encrypt then MAC/sign" V1_0;
        0x00000004 MacSignThenEncrypt "MAC/sign then encrypt" V1_0;
        0x00000005 Tr31               "TR-31"                 V1_0;
    }
}

message! {
    /// Recommended Curve, 9.1.3.2.5.
    enum RecommendedCurve {
        0x00000001 P192             "P-192"            V1_0;
        0x00000002 K163             "K-163"            V1_0;
        0x00000003 B163             "B-163"            V1_0;
        0x00000004 P224             "P-224"            V1_0;
        0x00000005 K233             "K-233"            V1_0;
        0x00000006 B233             "B-233"            V1_0;
        0x00000007 P256             "P-256"            V1_0;
        0x00000008 K283             "K-283"            V1_0;
        0x00000009 B283             "B-283"            V1_0;
        0x0000000A P384             "P-384"            V1_0;
        0x0000000B K409             "K-409"            V1_0;
        0x0000000C B409             "B-409"            V1_0;
        0x0000000D P521             "P-521"            V1_0;
        0x0000000E K571             "K-571"            V1_0;
        0x0000000F B571             "B-571"            V1_0;
        0x00000010 Secp112r1        "SECP112R1"        V1_2;
        0x00000011 Secp112r2        "SECP112R2"        V1_2;
        0x00000012 Secp128r1        "SECP128R1"        V1_2;
        0x00000013 Secp128r2        "SECP128R2"        V1_2;
        0x00000014 Secp160k1        "SECP160K1"        V1_2;
        0x00000015 Secp160r1        "SECP160R1"        V1_2;
        0x00000016 Secp160r2        "SECP160R2"        V1_2;
        0x00000017 Secp192k1        "SECP192K1"        V1_2;
        0x00000018 Secp224k1        "SECP224K1"        V1_2;
        0x00000019 Secp256k1        "SECP256K1"        V1_2;
        0x0000001A Sect113r1        "SECT113R1"        V1_2;
        0x0000001B Sect113r2        "SECT113R2"        V1_2;
        0x0000001C Sect131r1        "SECT131R1"        V1_2;
        0x0000001D Sect131r2        "SECT131R2"        V1_2;
        0x0000001E Sect163r1        "SECT163R1"        V1_2;
        0x0000001F Sect193r1        "SECT193R1"        V1_2;
        0x00000020 Sect193r2        "SECT193R2"        V1_2;
        0x00000021 Sect239k1        "SECT239K1"        V1_2;
        0x00000022 Ansix9p192v2     "ANSIX9P192V2"     V1_2;
        0x00000023 Ansix9p192v3     "ANSIX9P192V3"     V1_2;
        0x00000024 Ansix9p239v1     "ANSIX9P239V1"     V1_2;
        0x00000025 Ansix9p239v2     "ANSIX9P239V2"     V1_2;
        0x00000026 Ansix9p239v3     "ANSIX9P239V3"     V1_2;
        0x00000027 Ansix9c2pnb163v1 "ANSIX9C2PNB163V1" V1_2;
        0x00000028 Ansix9c2pnb163v2 "ANSIX9C2PNB163V2" V1_2;
        0x00000029 Ansix9c2pnb163v3 "ANSIX9C2PNB163V3" V1_2;
        0x0000002A Ansix9c2pnb176v1 "ANSIX9C2PNB176V1" V1_2;
        0x0000002B Ansix9c2tnb191v1 "ANSIX9C2TNB191V1" V1_2;
        0x0000002C Ansix9c2tnb191v2 "ANSIX9C2TNB191V2" V1_2;
        0x0000002D Ansix9c2tnb191v3 "ANSIX9C2TNB191V3" V1_2;
        0x0000002E Ansix9c2pnb208w1 "ANSIX9C2PNB208W1" V1_2;
        0x0000002F Ansix9c2tnb239v1 "ANSIX9C2TNB239V1" V1_2;
        0x00000030 Ansix9c2tnb239v2 "ANSIX9C2TNB239V2" V1_2;
        0x00000031 Ansix9c2tnb239v3 "ANSIX9C2TNB239V3" V1_2;
        0x00000032 Ansix9c2pnb272w1 "ANSIX9C2PNB272W1" V1_2;
        0x00000033 Ansix9c2pnb304w1 "ANSIX9C2PNB304W1" V1_2;
        0x00000034 Ansix9c2tnb359v1 "ANSIX9C2TNB359V1" V1_2;
        0x00000035 Ansix9c2pnb368w1 "ANSIX9C2PNB368W1" V1_2;
        0x00000036 Ansix9c2tnb431r1 "ANSIX9C2TNB431R1" V1_2;
        0x00000037 Brainpoolp160r1  "BRAINPOOLP160R1"  V1_2;
        0x00000038 Brainpoolp160t1  "BRAINPOOLP160T1"  V1_2;
        0x00000039 Brainpoolp192r1  "BRAINPOOLP192R1"  V1_2;
        0x0000003A Brainpoolp192t1  "BRAINPOOLP192T1"  V1_2;
        0x0000003B Brainpoolp224r1  "BRAINPOOLP224R1"  V1_2;
        0x0000003C Brainpoolp224t1  "BRAINPOOLP224T1"  V1_2;
        0x0000003D Brainpoolp256r1  "BRAINPOOLP256R1"  V1_2;
        0x0000003E Brainpoolp256t1  "BRAINPOOLP256T1"  V1_2;
        0x0000003F Brainpoolp320r1  "BRAINPOOLP320R1"  V1_2;
        0x00000040 Brainpoolp320t1  "BRAINPOOLP320T1"  V1_2;
        0x00000041 Brainpoolp384r1  "BRAINPOOLP384R1"  V1_2;
        0x00000042 Brainpoolp384t1  "BRAINPOOLP384T1"  V1_2;
        0x00000043 Brainpoolp512r1  "BRAINPOOLP512R1"  V1_2;
        0x00000044 Brainpoolp512t1  "BRAINPOOLP512T1"  V1_2;
    }
}

message! {
    /// Certificate Type, 9.1.3.2.6.
    enum CertificateType {
        0x00000001 X509 "X.509" V1_0;
        0x00000002 Pgp  "PGP"   V1_0;
    }
}

message! {
    /// Digital Signature Algorithm, 9.1.3.2.7.
    enum DigitalSignatureAlgorithm {
        0x00000001 Md2WithRsaEncryptionPkcs1V1_5    "MD2 with RSA Encryption (PKCS#1 v1.5)"     V1_1;
        0x00000002 Md5WithRsaEncryptionPkcs1V1_5    "MD5 with RSA Encryption (PKCS#1 v1.5)"     V1_1;
        0x00000003 Sha1WithRsaEncryptionPkcs1V1_5   "SHA-1 with RSA Encryption (PKCS#1 v1.5)"   V1_1;
        0x00000004 Sha224WithRsaEncryptionPkcs1V1_5 "SHA-224 with RSA Encryption (PKCS#1 v1.5)" V1_1;
        0x00000005 Sha256WithRsaEncryptionPkcs1V1_5 "SHA-256 with RSA Encryption (PKCS#1 v1.5)" V1_1;
        0x00000006 Sha384WithRsaEncryptionPkcs1V1_5 "SHA-384 with RSA Encryption (PKCS#1 v1.5)" V1_1;
        0x00000007 Sha512WithRsaEncryptionPkcs1V1_5 "SHA-512 with RSA Encryption (PKCS#1 v1.5)" V1_1;
        0x00000008 RsassaPssPkcs1V2_1               "RSASSA-PSS (PKCS#1 v2.1)"                  V1_1;
        0x00000009 DsaWithSha1                      "DSA with SHA-1"                            V1_1;
        0x0000000A DsaWithSha224                    "DSA with SHA224"                           V1_1;
        0x0000000B DsaWithSha256                    "DSA with SHA256"                           V1_1;
        0x0000000C EcdsaWithSha1                    "ECDSA with SHA-1"                          V1_1;
        0x0000000D EcdsaWithSha224                  "ECDSA with SHA224"                         V1_1;
        0x0000000E EcdsaWithSha256                  "ECDSA with SHA256"                         V1_1;
        0x0000000F EcdsaWithSha384                  "ECDSA with SHA384"                         V1_1;
        0x00000010 EcdsaWithSha512                  "ECDSA with SHA512"                         V1_1;
        0x00000011 Sha3_256WithRsaEncryption        "SHA3-256 with RSA Encryption"              V1_4;
        0x00000012 Sha3_384WithRsaEncryption        "SHA3-384 with RSA Encryption"              V1_4;
        0x00000013 Sha3_512WithRsaEncryption        "SHA3-512 with RSA Encryption"              V1_4;
    }
}

message! {
    /// Split Key Method, 9.1.3.2.8.
    enum SplitKeyMethod {
        0x00000001 Xor                         "XOR"                            V1_0;
        0x00000002 PolynomialSharingGf65536    "Polynomial Sharing GF (2^16)"   V1_0;
        0x00000003 PolynomialSharingPrimeField "Polynomial Sharing Prime Field" V1_0;
        0x00000004 PolynomialSharingGf256      "Polynomial Sharing GF (2^8)"    V1_2;
    }
}

message! {
    /// Secret Data Type, 9.1.3.2.9.
    enum SecretDataType {
        0x00000001 Password "Password" V1_0;
        0x00000002 Seed     "Seed"     V1_0;
    }
}

message! {
    /// Opaque Data Type, 9.1.3.2.10.
    enum OpaqueDataType {
    }
}

message! {
    /// Name Type, 9.1.3.2.11.
    enum NameType {
        0x00000001 UninterpretedTextString "Uninterpreted Text String" V1_0;
        0x00000002 Uri                     "URI"                       V1_0;
    }
}

message! {
    /// Object Type, 9.1.3.2.12.
    enum ObjectType {
        0x00000001 Certificate  "Certificate"   V1_0;
        0x00000002 SymmetricKey "Symmetric Key" V1_0;
        0x00000003 PublicKey    "Public Key"    V1_0;
        0x00000004 PrivateKey   "Private Key"   V1_0;
        0x00000005 SplitKey     "Split Key"     V1_0;
        0x00000006 Template     "Template"      V1_0;
        0x00000007 SecretData   "Secret Data"   V1_0;
        0x00000008 OpaqueObject "Opaque Object" V1_0;
        0x00000009 PgpKey       "PGP Key"       V1_2;
    }
}

message! {
    /// Cryptographic Algorithm, 9.1.3.2.13.
    enum CryptographicAlgorithm {
        0x00000001 Des              "DES"              V1_0;
        0x00000002 TripleDES        "3DES"             V1_0;
        0x00000003 Aes              "AES"              V1_0;
        0x00000004 Rsa              "RSA"              V1_0;
        0x00000005 Dsa              "DSA"              V1_0;
        0x00000006 Ecdsa            "ECDSA"            V1_0;
        0x00000007 HmacSha1         "HMAC-SHA1"        V1_0;
        0x00000008 HmacSha224       "HMAC-SHA224"      V1_0;
        0x00000009 HmacSha256       "HMAC-SHA256"      V1_0;
        0x0000000A HmacSha384       "HMAC-SHA384"      V1_0;
        0x0000000B HmacSha512       "HMAC-SHA512"      V1_0;
        0x0000000C HmacMd5          "HMAC-MD5"         V1_0;
        0x0000000D Dh               "DH"               V1_0;
        0x0000000E Ecdh             "ECDH"             V1_0;
        0x0000000F Ecmqv            "ECMQV"            V1_0;
        0x00000010 Blowfish         "Blowfish"         V1_0;
        0x00000011 Camellia         "Camellia"         V1_0;
        0x00000012 Cast5            "CAST5"            V1_0;
        0x00000013 Idea             "IDEA"             V1_0;
        0x00000014 Mars             "MARS"             V1_0;
        0x00000015 Rc2              "RC2"              V1_0;
        0x00000016 Rc4              "RC4"              V1_0;
        0x00000017 Rc5              "RC5"              V1_0;
        0x00000018 Skipjack         "SKIPJACK"         V1_0;
        0x00000019 Twofish          "Twofish"          V1_0;
        0x0000001A Ec               "EC"               V1_2;
        0x0000001B OneTimePad       "One Time Pad"     V1_3;
        0x0000001C ChaCha20         "ChaCha20"         V1_4;
        0x0000001D Poly1305         "Poly1305"         V1_4;
        0x0000001E ChaCha20Poly1305 "ChaCha20Poly1305" V1_4;
        0x0000001F Sha3_224         "SHA3-224"         V1_4;
        0x00000020 Sha3_256         "SHA3-256"         V1_4;
        0x00000021 Sha3_384         "SHA3-384"         V1_4;
        0x00000022 Sha3_512         "SHA3-512"         V1_4;
        0x00000023 HmacSha3_224     "HMAC-SHA3-224"    V1_4;
        0x00000024 HmacSha3_256     "HMAC-SHA3-256"    V1_4;
        0x00000025 HmacSha3_384     "HMAC-SHA3-384"    V1_4;
        0x00000026 HmacSha3_512     "HMAC-SHA3-512"    V1_4;
        0x00000027 Shake128         "SHAKE-128"        V1_4;
        0x00000028 Shake256         "SHAKE-256"        V1_4;
    }
}

message! {
    /// Block Cipher Mode, 9.1.3.2.14.
    enum BlockCipherMode {
        0x00000001 Cbc               "CBC"               V1_0;
        0x00000002 Ecb               "ECB"               V1_0;
        0x00000003 Pcbc              "PCBC"              V1_0;
        0x00000004 Cfb               "CFB"               V1_0;
        0x00000005 Ofb               "OFB"               V1_0;
        0x00000006 Ctr               "CTR"               V1_0;
        0x00000007 Cmac              "CMAC"              V1_0;
        0x00000008 Ccm               "CCM"               V1_0;
        0x00000009 Gcm               "GCM"               V1_0;
        0x0000000A CbcMac            "CBC-MAC"           V1_0;
        0x0000000B Xts               "XTS"               V1_0;
        0x0000000C AESKeyWrapPadding "AESKeyWrapPadding" V1_0;
        0x0000000D NISTKeyWrap       "NISTKeyWrap"       V1_0;
        0x0000000E X9_102Aeskw       "X9.102 AESKW"      V1_0;
        0x0000000F X9_102Tdkw        "X9.102 TDKW"       V1_0;
        0x00000010 X9_102Akw1        "X9.102 AKW1"       V1_0;
        0x00000011 X9_102Akw2        "X9.102 AKW2"       V1_0;
        0x00000012 Aead              "AEAD"              V1_4;
    }
}

message! {
    /// Padding Method, 9.1.3.2.15.
    enum PaddingMethod {
        0x00000001 None      "None"       V1_0;
        0x00000002 Oaep      "OAEP"       V1_0;
        0x00000003 Pkcs5     "PKCS5"      V1_0;
        0x00000004 Ssl3      "SSL3"       V1_0;
        0x00000005 Zeros     "Zeros"      V1_0;
        0x00000006 AnsiX9_23 "ANSI X9.23" V1_0;
        0x00000007 Iso10126  "ISO 10126"  V1_0;
        0x00000008 Pkcs1V1_5 "PKCS1 v1.5" V1_0;
        0x00000009 X9_31     "X9.31"      V1_0;
        0x0000000A Pss       "PSS"        V1_0;
    }
}

message! {
    /// Hashing Algorithm, 9.1.3.2.16.
    enum HashingAlgorithm {
        0x00000001 Md2        "MD2"         V1_0;
        0x00000002 Md4        "MD4"         V1_0;
        0x00000003 Md5        "MD5"         V1_0;
        0x00000004 Sha1       "SHA-1"       V1_0;
        0x00000005 Sha224     "SHA-224"     V1_0;
        0x00000006 Sha256     "SHA-256"     V1_0;
        0x00000007 Sha384     "SHA-384"     V1_0;
        0x00000008 Sha512     "SHA-512"     V1_0;
        0x00000009 Ripemd160  "RIPEMD-160"  V1_0;
        0x0000000A Tiger      "Tiger"       V1_0;
        0x0000000B Whirlpool  "Whirlpool"   V1_0;
        0x0000000C Sha512_224 "SHA-512/224" V1_2;
        0x0000000D Sha512_256 "SHA-512/256" V1_2;
        0x0000000E Sha3_224   "SHA-3-224"   V1_4;
        0x0000000F Sha3_256   "SHA-3-256"   V1_4;
        0x00000010 Sha3_384   "SHA-3-384"   V1_4;
        0x00000011 Sha3_512   "SHA-3-512"   V1_4;
    }
}

message! {
    /// Key Role Type, 9.1.3.2.17.
    enum KeyRoleType {
        0x00000001 Bdk      "BDK"      V1_0;
        0x00000002 Cvk      "CVK"      V1_0;
        0x00000003 Dek      "DEK"      V1_0;
        0x00000004 Mkac     "MKAC"     V1_0;
        0x00000005 Mksmc    "MKSMC"    V1_0;
        0x00000006 Mksmi    "MKSMI"    V1_0;
        0x00000007 Mkdac    "MKDAC"    V1_0;
        0x00000008 Mkdn     "MKDN"     V1_0;
        0x00000009 Mkcp     "MKCP"     V1_0;
        0x0000000A Mkoth    "MKOTH"    V1_0;
        0x0000000B Kek      "KEK"      V1_0;
        0x0000000C Mac16609 "MAC16609" V1_0;
        0x0000000D Mac97971 "MAC97971" V1_0;
        0x0000000E Mac97972 "MAC97972" V1_0;
        0x0000000F Mac97973 "MAC97973" V1_0;
        0x00000010 Mac97974 "MAC97974" V1_0;
        0x00000011 Mac97975 "MAC97975" V1_0;
        0x00000012 Zpk      "ZPK"      V1_0;
        0x00000013 Pvkibm   "PVKIBM"   V1_0;
        0x00000014 Pvkpvv   "PVKPVV"   V1_0;
        0x00000015 Pvkoth   "PVKOTH"   V1_0;
        0x00000016 Dukpt    "DUKPT"    V1_4;
        0x00000017 Iv       "IV"       V1_4;
        0x00000018 Trkbk    "TRKBK"    V1_4;
    }
}

message! {
    /// State, 9.1.3.2.18.
    enum State {
        0x00000001 PreActive            "Pre-Active"            V1_0;
        0x00000002 Active               "Active"                V1_0;
        0x00000003 Deactivated          "Deactivated"           V1_0;
        0x00000004 Compromised          "Compromised"           V1_0;
        0x00000005 Destroyed            "Destroyed"             V1_0;
        0x00000006 DestroyedCompromised "Destroyed Compromised" V1_0;
    }
}

message! {
    /// Revocation Reason Code, 9.1.3.2.19.
    enum RevocationReasonCode {
        0x00000001 Unspecified          "Unspecified"            V1_0;
        0x00000002 KeyCompromise        "Key Compromise"         V1_0;
        0x00000003 CaCompromise         "CA Compromise"          V1_0;
        0x00000004 AffiliationChanged   "Affiliation Changed"    V1_0;
        0x00000005 Superseded           "Superseded"             V1_0;
        0x00000006 CessationOfOperation "Cessation of Operation" V1_0;
        0x00000007 PrivilegeWithdrawn   "Privilege Withdrawn"    V1_0;
    }
}

message! {
    /// Link Type, 9.1.3.2.20.
    enum LinkType {
        0x00000101 CertificateLink          "Certificate Link"            V1_0;
        0x00000102 PublicKeyLink            "Public Key Link"             V1_0;
        0x00000103 PrivateKeyLink           "Private Key Link"            V1_0;
        0x00000104 DerivationBaseObjectLink "Derivation Base Object Link" V1_0;
        0x00000105 DerivedKeyLink           "Derived Key Link"            V1_0;
        0x00000106 ReplacementObjectLink    "Replacement Object Link"     V1_0;
        0x00000107 ReplacedObjectLink       "Replaced Object Link"        V1_0;
        0x00000108 ParentLink               "Parent Link"                 V1_2;
        0x00000109 ChildLink                "Child Link"                  V1_2;
        0x0000010A PreviousLink             "Previous Link"               V1_2;
        0x0000010B NextLink                 "Next Link"                   V1_2;
        0x0000010C Pkcs12CertificateLink    "PKCS#12 Certificate Link"    V1_4;
        0x0000010D Pkcs12PasswordLink       "PKCS#12 Password Link"       V1_4;
    }
}

message! {
    /// Derivation Method, 9.1.3.2.21.
    enum DerivationMethod {
        0x00000001 Pbkdf2         "PBKDF2"          V1_0;
        0x00000002 Hash           "HASH"            V1_0;
        0x00000003 Hmac           "HMAC"            V1_0;
        0x00000004 Encrypt        "ENCRYPT"         V1_0;
        0x00000005 Nist800_108C   "NIST800-108-C"   V1_0;
        0x00000006 Nist800_108F   "NIST800-108-F"   V1_0;
        0x00000007 Nist800_108Dpi "NIST800-108-DPI" V1_0;
        0x00000008 AsymmetricKey  "Asymmetric Key"  V1_4;
    }
}

message! {
    /// Certificate Request Type, 9.1.3.2.22.
    enum CertificateRequestType {
        0x00000001 Crmf   "CRMF"    V1_0;
        0x00000002 Pkcs10 "PKCS#10" V1_0;
        0x00000003 Pem    "PEM"     V1_0;
        0x00000004 Pgp    "PGP"     V1_0;
    }
}

message! {
    /// Validity Indicator, 9.1.3.2.23.
    enum ValidityIndicator {
        0x00000001 Valid   "Valid"   V1_0;
        0x00000002 Invalid "Invalid" V1_0;
        0x00000003 Unknown "Unknown" V1_0;
    }
}

message! {
    /// Query Function, 9.1.3.2.24.
    enum QueryFunction {
        0x00000001 QueryOperations                "Query Operations"                  V1_0;
        0x00000002 QueryObjects                   "Query Objects"                     V1_0;
        0x00000003 QueryServerInformation         "Query Server Information"          V1_0;
        0x00000004 QueryApplicationNamespaces     "Query Application Namespaces"      V1_0;
        0x00000005 QueryExtensionList             "Query Extension List"              V1_1;
        0x00000006 QueryExtensionMap              "Query Extension Map"               V1_1;
        0x00000007 QueryAttestationTypes          "Query Attestation Types"           V1_2;
        0x00000008 QueryRNGs                      "Query RNGs"                        V1_3;
        0x00000009 QueryValidations               "Query Validations"                 V1_3;
        0x0000000A QueryProfiles                  "Query Profiles"                    V1_3;
        0x0000000B QueryCapabilities              "Query Capabilities"                V1_3;
        0x0000000C QueryClientRegistrationMethods "Query Client Registration Methods" V1_3;
    }
}

message! {
    /// Cancellation Result, 9.1.3.2.25.
    enum CancellationResult {
        0x00000001 Canceled       "Canceled"         V1_0;
        0x00000002 UnableToCancel "Unable to Cancel" V1_0;
        0x00000003 Completed      "Completed"        V1_0;
        0x00000004 Failed         "Failed"           V1_0;
        0x00000005 Unavailable    "Unavailable"      V1_0;
    }
}

message! {
    /// Put Function, 9.1.3.2.26.
    enum PutFunction {
        0x00000001 New     "New"     V1_0;
        0x00000002 Replace "Replace" V1_0;
    }
}

message! {
    /// Operation, 9.1.3.2.27.
    enum Operation {
        0x00000001 Create             "Create"               V1_0;
        0x00000002 CreateKeyPair      "Create Key Pair"      V1_0;
        0x00000003 Register           "Register"             V1_0;
        0x00000004 ReKey              "Re-key"               V1_0;
        0x00000005 DeriveKey          "Derive Key"           V1_0;
        0x00000006 Certify            "Certify"              V1_0;
        0x00000007 ReCertify          "Re-certify"           V1_0;
        0x00000008 Locate             "Locate"               V1_0;
        0x00000009 Check              "Check"                V1_0;
        0x0000000A Get                "Get"                  V1_0;
        0x0000000B GetAttributes      "Get Attributes"       V1_0;
        0x0000000C GetAttributeList   "Get Attribute List"   V1_0;
        0x0000000D AddAttribute       "Add Attribute"        V1_0;
        0x0000000E ModifyAttribute    "Modify Attribute"     V1_0;
        0x0000000F DeleteAttribute    "Delete Attribute"     V1_0;
        0x00000010 ObtainLease        "Obtain Lease"         V1_0;
        0x00000011 GetUsageAllocation "Get Usage Allocation" V1_0;
        0x00000012 Activate           "Activate"             V1_0;
        0x00000013 Revoke             "Revoke"               V1_0;
        0x00000014 Destroy            "Destroy"              V1_0;
        0x00000015 Archive            "Archive"              V1_0;
        0x00000016 Recover            "Recover"              V1_0;
        0x00000017 Validate           "Validate"             V1_0;
        0x00000018 Query              "Query"                V1_0;
        0x00000019 Cancel             "Cancel"               V1_0;
        0x0000001A Poll               "Poll"                 V1_0;
        0x0000001B Notify             "Notify"               V1_0;
        0x0000001C Put                "Put"                  V1_0;
        0x0000001D ReKeyKeyPair       "Re-key Key Pair"      V1_1;
        0x0000001E DiscoverVersions   "Discover Versions"    V1_1;
        0x0000001F Encrypt            "Encrypt"              V1_2;
        0x00000020 Decrypt            "Decrypt"              V1_2;
        0x00000021 Sign               "Sign"                 V1_2;
        0x00000022 SignatureVerify    "Signature Verify"     V1_2;
        0x00000023 Mac                "MAC"                  V1_2;
        0x00000024 MacVerify          "MAC Verify"           V1_2;
        0x00000025 RngRetrieve        "RNG Retrieve"         V1_2;
        0x00000026 RngSeed            "RNG Seed"             V1_2;
        0x00000027 Hash               "Hash"                 V1_2;
        0x00000028 CreateSplitKey     "Create Split Key"     V1_2;
        0x00000029 JoinSplitKey       "Join Split Key"       V1_2;
        0x0000002A Import             "Import"               V1_4;
        0x0000002B Export             "Export"               V1_4;
    }
}

message! {
    /// Result Status, 9.1.3.2.28.
    enum ResultStatus {
        0x00000000 Success          "Success"           V1_0;
        0x00000001 OperationFailed  "Operation Failed"  V1_0;
        0x00000002 OperationPending "Operation Pending" V1_0;
        0x00000003 OperationUndone  "Operation Undone"  V1_0;
    }
}

message! {
    /// Result Reason, 9.1.3.2.29.
    enum ResultReason {
        0x00000001 ItemNotFound                     "Item Not Found"                      V1_0;
        0x00000002 ResponseTooLarge                 "Response Too Large"                  V1_0;
        0x00000003 AuthenticationNotSuccessful      "Authentication Not Successful"       V1_0;
        0x00000004 InvalidMessage                   "Invalid Message"                     V1_0;
        0x00000005 OperationNotSupported            "Operation Not Supported"             V1_0;
        0x00000006 MissingData                      "Missing Data"                        V1_0;
        0x00000007 InvalidField                     "Invalid Field"                       V1_0;
        0x00000008 FeatureNotSupported              "Feature Not Supported"               V1_0;
        0x00000009 OperationCanceledByRequester     "Operation Canceled By Requester"     V1_0;
        0x0000000A CryptographicFailure             "Cryptographic Failure"               V1_0;
        0x0000000B IllegalOperation                 "Illegal Operation"                   V1_0;
        0x0000000C PermissionDenied                 "Permission Denied"                   V1_0;
        0x0000000D ObjectArchived                   "Object archived"                     V1_0;
        0x0000000E IndexOutOfBounds                 "Index Out of Bounds"                 V1_0;
        0x0000000F ApplicationNamespaceNotSupported "Application Namespace Not Supported" V1_0;
        0x00000010 KeyFormatTypeNotSupported        "Key Format Type Not Supported"       V1_0;
        0x00000011 KeyCompressionTypeNotSupported   "Key Compression Type Not Supported"  V1_0;
        0x00000012 EncodingOptionError              "Encoding Option Error"               V1_1;
        0x00000013 KeyValueNotPresent               "Key Value Not Present"               V1_2;
        0x00000014 AttestationRequired              "Attestation Required"                V1_2;
        0x00000015 AttestationFailed                "Attestation Failed"                  V1_2;
        0x00000016 Sensitive                        "Sensitive"                           V1_4;
        0x00000017 NotExtractable                   "Not Extractable"                     V1_4;
        0x00000018 ObjectAlreadyExists              "Object Already Exists"               V1_4;
        0x00000100 GeneralFailure                   "General Failure"                     V1_0;
    }
}

message! {
    /// Batch Error Continuation Option, 9.1.3.2.30.
    enum BatchErrorContinuationOption {
        0x00000001 Continue "Continue" V1_0;
        0x00000002 Stop     "Stop"     V1_0;
        0x00000003 Undo     "Undo"     V1_0;
    }
}

message! {
    /// Usage Limits Unit, 9.1.3.2.31.
    enum UsageLimitsUnit {
        0x00000001 Byte   "Byte"   V1_0;
        0x00000002 Object "Object" V1_0;
    }
}

message! {
    /// Encoding Option, 9.1.3.2.32.
    enum EncodingOption {
        0x00000001 NoEncoding   "No Encoding"   V1_1;
        0x00000002 TtlvEncoding "TTLV Encoding" V1_1;
    }
}

message! {
    /// Object Group Member, 9.1.3.2.33.
    enum ObjectGroupMember {
        0x00000001 GroupMemberFresh   "Group Member Fresh"   V1_1;
        0x00000002 GroupMemberDefault "Group Member Default" V1_1;
    }
}

message! {
    /// Alternative Name Type, 9.1.3.2.34.
    enum AlternativeNameType {
        0x00000001 UninterpretedTextString "Uninterpreted Text String" V1_2;
        0x00000002 Uri                     "URI"                       V1_2;
        0x00000003 ObjectSerialNumber      "Object Serial Number"      V1_2;
        0x00000004 EmailAddress            "Email Address"             V1_2;
        0x00000005 DnsName                 "DNS Name"                  V1_2;
        0x00000006 X500DistinguishedName   "X.500 Distinguished Name"  V1_2;
        0x00000007 IpAddress               "IP Address"                V1_2;
    }
}

message! {
    /// Key Value Location Type, 9.1.3.2.35.
    enum KeyValueLocationType {
        0x00000001 UninterpretedTextString "Uninterpreted Text String" V1_2;
        0x00000002 Uri                     "URI"                       V1_2;
    }
}

message! {
    /// Attestation Type, 9.1.3.2.36.
    enum AttestationType {
        0x00000001 TpmQuote           "TPM Quote"            V1_2;
        0x00000002 TcgIntegrityReport "TCG Integrity Report" V1_2;
        0x00000003 SamlAssertion      "SAML Assertion"       V1_2;
    }
}

message! {
    /// RNG Algorithm, 9.1.3.2.37.
    enum RngAlgorithm {
        0x00000001 Unspecified "Unspecified" V1_3;
        0x00000002 Fips186_2   "FIPS 186-2"  V1_3;
        0x00000003 Drbg        "DRBG"        V1_3;
        0x00000004 Nrbg        "NRBG"        V1_3;
        0x00000005 AnsiX9_31   "ANSI X9.31"  V1_3;
        0x00000006 AnsiX9_62   "ANSI X9.62"  V1_3;
    }
}

message! {
    /// DRBG Algorithm, 9.1.3.2.38.
    enum DrbgAlgorithm {
        0x00000001 Unspecified "Unspecified" V1_3;
        0x00000002 DualEc      "Dual-EC"     V1_3;
        0x00000003 Hash        "Hash"        V1_3;
        0x00000004 Hmac        "HMAC"        V1_3;
        0x00000005 Ctr         "CTR"         V1_3;
    }
}

message! {
    /// FIPS186 Variation, 9.1.3.2.39.
    enum Fips186Variation {
        0x00000001 Unspecified     "Unspecified"        V1_3;
        0x00000002 GpXOriginal     "GP x-Original"      V1_3;
        0x00000003 GpXChangeNotice "GP x-Change Notice" V1_3;
        0x00000004 XOriginal       "x-Original"         V1_3;
        0x00000005 XChangeNotice   "x-Change Notice"    V1_3;
        0x00000006 KOriginal       "k-Original"         V1_3;
        0x00000007 KChangeNotice   "k-Change Notice"    V1_3;
    }
}

message! {
    /// Validation Authority Type, 9.1.3.2.40.
    enum ValidationAuthorityType {
        0x00000001 Unspecified    "Unspecified"     V1_3;
        0x00000002 NistCmvp       "NIST CMVP"       V1_3;
        0x00000003 CommonCriteria "Common Criteria" V1_3;
    }
}

message! {
    /// Validation Type, 9.1.3.2.41.
    enum ValidationType {
        0x00000001 Unspecified "Unspecified" V1_3;
        0x00000002 Hardware    "Hardware"    V1_3;
        0x00000003 Software    "Software"    V1_3;
        0x00000004 Firmware    "Firmware"    V1_3;
        0x00000005 Hybrid      "Hybrid"      V1_3;
    }
}

message! {
    /// Profile Name, 9.1.3.2.42.
    enum ProfileName {
        0x00000001 BaselineServerBasicKmipV1_2                       "Baseline Server Basic KMIP v1.2"                           V1_3;
        0x00000002 BaselineServerTlsV1_2KmipV1_2                     "Baseline Server TLS v1.2 KMIP v1.2"                        V1_3;
        0x00000003 BaselineClientBasicKmipV1_2                       "Baseline Client Basic KMIP v1.2"                           V1_3;
        0x00000004 BaselineClientTlsV1_2KmipV1_2                     "Baseline Client TLS v1.2 KMIP v1.2"                        V1_3;
        0x00000005 CompleteServerBasicKmipV1_2                       "Complete Server Basic KMIP v1.2"                           V1_3;
        0x00000006 CompleteServerTlsV1_2KmipV1_2                     "Complete Server TLS v1.2 KMIP v1.2"                        V1_3;
        0x00000007 TapeLibraryClientKmipV1_0                         "Tape Library Client KMIP v1.0"                             V1_3;
        0x00000008 TapeLibraryClientKmipV1_1                         "Tape Library Client KMIP v1.1"                             V1_3;
        0x00000009 TapeLibraryClientKmipV1_2                         "Tape Library Client KMIP v1.2"                             V1_3;
        0x0000000A TapeLibraryServerKmipV1_0                         "Tape Library Server KMIP v1.0"                             V1_3;
        0x0000000B TapeLibraryServerKmipV1_1                         "Tape Library Server KMIP v1.1"                             V1_3;
        0x0000000C TapeLibraryServerKmipV1_2                         "Tape Library Server KMIP v1.2"                             V1_3;
        0x0000000D SymmetricKeyLifecycleClientKmipV1_0               "Symmetric Key Lifecycle Client KMIP v1.0"                  V1_3;
        0x0000000E SymmetricKeyLifecycleClientKmipV1_1               "Symmetric Key Lifecycle Client KMIP v1.1"                  V1_3;
        0x0000000F SymmetricKeyLifecycleClientKmipV1_2               "Symmetric Key Lifecycle Client KMIP v1.2"                  V1_3;
        0x00000010 SymmetricKeyLifecycleServerKmipV1_0               "Symmetric Key Lifecycle Server KMIP v1.0"                  V1_3;
        0x00000011 SymmetricKeyLifecycleServerKmipV1_1               "Symmetric Key Lifecycle Server KMIP v1.1"                  V1_3;
        0x00000012 SymmetricKeyLifecycleServerKmipV1_2               "Symmetric Key Lifecycle Server KMIP v1.2"                  V1_3;
        0x00000013 AsymmetricKeyLifecycleClientKmipV1_0              "Asymmetric Key Lifecycle Client KMIP v1.0"                 V1_3;
        0x00000014 AsymmetricKeyLifecycleClientKmipV1_1              "Asymmetric Key Lifecycle Client KMIP v1.1"                 V1_3;
        0x00000015 AsymmetricKeyLifecycleClientKmipV1_2              "Asymmetric Key Lifecycle Client KMIP v1.2"                 V1_3;
        0x00000016 AsymmetricKeyLifecycleServerKmipV1_0              "Asymmetric Key Lifecycle Server KMIP v1.0"                 V1_3;
        0x00000017 AsymmetricKeyLifecycleServerKmipV1_1              "Asymmetric Key Lifecycle Server KMIP v1.1"                 V1_3;
        0x00000018 AsymmetricKeyLifecycleServerKmipV1_2              "Asymmetric Key Lifecycle Server KMIP v1.2"                 V1_3;
        0x00000019 BasicCryptographicClientKmipV1_2                  "Basic Cryptographic Client KMIP v1.2"                      V1_3;
        0x0000001A BasicCryptographicServerKmipV1_2                  "Basic Cryptographic Server KMIP v1.2"                      V1_3;
        0x0000001B AdvancedCryptographicClientKmipV1_2               "Advanced Cryptographic Client KMIP v1.2"                   V1_3;
        0x0000001C AdvancedCryptographicServerKmipV1_2               "Advanced Cryptographic Server KMIP v1.2"                   V1_3;
        0x0000001D RngCryptographicClientKmipV1_2                    "RNG Cryptographic Client KMIP v1.2"                        V1_3;
        0x0000001E RngCryptographicServerKmipV1_2                    "RNG Cryptographic Server KMIP v1.2"                        V1_3;
        0x0000001F BasicSymmetricKeyFoundryClientKmipV1_0            "Basic Symmetric Key Foundry Client KMIP v1.0"              V1_3;
        0x00000020 IntermediateSymmetricKeyFoundryClientKmipV1_0     "Intermediate Symmetric Key Foundry Client KMIP v1.0"       V1_3;
        0x00000021 AdvancedSymmetricKeyFoundryClientKmipV1_0         "Advanced Symmetric Key Foundry Client KMIP v1.0"           V1_3;
        0x00000022 BasicSymmetricKeyFoundryClientKmipV1_1            "Basic Symmetric Key Foundry Client KMIP v1.1"              V1_3;
        0x00000023 IntermediateSymmetricKeyFoundryClientKmipV1_1     "Intermediate Symmetric Key Foundry Client KMIP v1.1"       V1_3;
        0x00000024 AdvancedSymmetricKeyFoundryClientKmipV1_1         "Advanced Symmetric Key Foundry Client KMIP v1.1"           V1_3;
        0x00000025 BasicSymmetricKeyFoundryClientKmipV1_2            "Basic Symmetric Key Foundry Client KMIP v1.2"              V1_3;
        0x00000026 IntermediateSymmetricKeyFoundryClientKmipV1_2     "Intermediate Symmetric Key Foundry Client KMIP v1.2"       V1_3;
        0x00000027 AdvancedSymmetricKeyFoundryClientKmipV1_2         "Advanced Symmetric Key Foundry Client KMIP v1.2"           V1_3;
        0x00000028 SymmetricKeyFoundryServerKmipV1_0                 "Symmetric Key Foundry Server KMIP v1.0"                    V1_3;
        0x00000029 SymmetricKeyFoundryServerKmipV1_1                 "Symmetric Key Foundry Server KMIP v1.1"                    V1_3;
        0x0000002A SymmetricKeyFoundryServerKmipV1_2                 "Symmetric Key Foundry Server KMIP v1.2"                    V1_3;
        0x0000002B OpaqueManagedObjectStoreClientKmipV1_0            "Opaque Managed Object Store Client KMIP v1.0"              V1_3;
        0x0000002C OpaqueManagedObjectStoreClientKmipV1_1            "Opaque Managed Object Store Client KMIP v1.1"              V1_3;
        0x0000002D OpaqueManagedObjectStoreClientKmipV1_2            "Opaque Managed Object Store Client KMIP v1.2"              V1_3;
        0x0000002E OpaqueManagedObjectStoreServerKmipV1_0            "Opaque Managed Object Store Server KMIP v1.0"              V1_3;
        0x0000002F OpaqueManagedObjectStoreServerKmipV1_1            "Opaque Managed Object Store Server KMIP v1.1"              V1_3;
        0x00000030 OpaqueManagedObjectStoreServerKmipV1_2            "Opaque Managed Object Store Server KMIP v1.2"              V1_3;
        0x00000031 SuiteBMinLOS128ClientKmipV1_0                     "Suite B minLOS_128 Client KMIP v1.0"                       V1_3;
        0x00000032 SuiteBMinLOS128ClientKmipV1_1                     "Suite B minLOS_128 Client KMIP v1.1"                       V1_3;
        0x00000033 SuiteBMinLOS128ClientKmipV1_2                     "Suite B minLOS_128 Client KMIP v1.2"                       V1_3;
        0x00000034 SuiteBMinLOS128ServerKmipV1_0                     "Suite B minLOS_128 Server KMIP v1.0"                       V1_3;
        0x00000035 SuiteBMinLOS128ServerKmipV1_1                     "Suite B minLOS_128 Server KMIP v1.1"                       V1_3;
        0x00000036 SuiteBMinLOS128ServerKmipV1_2                     "Suite B minLOS_128 Server KMIP v1.2"                       V1_3;
        0x00000037 SuiteBMinLOS192ClientKmipV1_0                     "Suite B minLOS_192 Client KMIP v1.0"                       V1_3;
        0x00000038 SuiteBMinLOS192ClientKmipV1_1                     "Suite B minLOS_192 Client KMIP v1.1"                       V1_3;
        0x00000039 SuiteBMinLOS192ClientKmipV1_2                     "Suite B minLOS_192 Client KMIP v1.2"                       V1_3;
        0x0000003A SuiteBMinLOS192ServerKmipV1_0                     "Suite B minLOS_192 Server KMIP v1.0"                       V1_3;
        0x0000003B SuiteBMinLOS192ServerKmipV1_1                     "Suite B minLOS_192 Server KMIP v1.1"                       V1_3;
        0x0000003C SuiteBMinLOS192ServerKmipV1_2                     "Suite B minLOS_192 Server KMIP v1.2"                       V1_3;
        0x0000003D StorageArrayWithSelfEncryptingDriveClientKmipV1_0 "Storage Array with Self Encrypting Drive Client KMIP v1.0" V1_3;
        0x0000003E StorageArrayWithSelfEncryptingDriveClientKmipV1_1 "Storage Array with Self Encrypting Drive Client KMIP v1.1" V1_3;
        0x0000003F StorageArrayWithSelfEncryptingDriveClientKmipV1_2 "Storage Array with Self Encrypting Drive Client KMIP v1.2" V1_3;
        0x00000040 StorageArrayWithSelfEncryptingDriveServerKmipV1_0 "Storage Array with Self Encrypting Drive Server KMIP v1.0" V1_3;
        0x00000041 StorageArrayWithSelfEncryptingDriveServerKmipV1_1 "Storage Array with Self Encrypting Drive Server KMIP v1.1" V1_3;
        0x00000042 StorageArrayWithSelfEncryptingDriveServerKmipV1_2 "Storage Array with Self Encrypting Drive Server KMIP v1.2" V1_3;
        0x00000043 HttpsClientKmipV1_0                               "HTTPS Client KMIP v1.0"                                    V1_3;
        0x00000044 HttpsClientKmipV1_1                               "HTTPS Client KMIP v1.1"                                    V1_3;
        0x00000045 HttpsClientKmipV1_2                               "HTTPS Client KMIP v1.2"                                    V1_3;
        0x00000046 HttpsServerKmipV1_0                               "HTTPS Server KMIP v1.0"                                    V1_3;
        0x00000047 HttpsServerKmipV1_1                               "HTTPS Server KMIP v1.1"                                    V1_3;
        0x00000048 HttpsServerKmipV1_2                               "HTTPS Server KMIP v1.2"                                    V1_3;
        0x00000049 JsonClientKmipV1_0                                "JSON Client KMIP v1.0"                                     V1_3;
        0x0000004A JsonClientKmipV1_1                                "JSON Client KMIP v1.1"                                     V1_3;
        0x0000004B JsonClientKmipV1_2                                "JSON Client KMIP v1.2"                                     V1_3;
        0x0000004C JsonServerKmipV1_0                                "JSON Server KMIP v1.0"                                     V1_3;
        0x0000004D JsonServerKmipV1_1                                "JSON Server KMIP v1.1"                                     V1_3;
        0x0000004E JsonServerKmipV1_2                                "JSON Server KMIP v1.2"                                     V1_3;
        0x0000004F XmlClientKmipV1_0                                 "XML Client KMIP v1.0"                                      V1_3;
        0x00000050 XmlClientKmipV1_1                                 "XML Client KMIP v1.1"                                      V1_3;
        0x00000051 XmlClientKmipV1_2                                 "XML Client KMIP v1.2"                                      V1_3;
        0x00000052 XmlServerKmipV1_0                                 "XML Server KMIP v1.0"                                      V1_3;
        0x00000053 XmlServerKmipV1_1                                 "XML Server KMIP v1.1"                                      V1_3;
        0x00000054 XmlServerKmipV1_2                                 "XML Server KMIP v1.2"                                      V1_3;
        0x00000055 BaselineServerBasicKmipV1_3                       "Baseline Server Basic KMIP v1.3"                           V1_3;
        0x00000056 BaselineServerTlsV1_2KmipV1_3                     "Baseline Server TLS v1.2 KMIP v1.3"                        V1_3;
        0x00000057 BaselineClientBasicKmipV1_3                       "Baseline Client Basic KMIP v1.3"                           V1_3;
        0x00000058 BaselineClientTlsV1_2KmipV1_3                     "Baseline Client TLS v1.2 KMIP v1.3"                        V1_3;
        0x00000059 CompleteServerBasicKmipV1_3                       "Complete Server Basic KMIP v1.3"                           V1_3;
        0x0000005A CompleteServerTlsV1_2KmipV1_3                     "Complete Server TLS v1.2 KMIP v1.3"                        V1_3;
        0x0000005B TapeLibraryClientKmipV1_3                         "Tape Library Client KMIP v1.3"                             V1_3;
        0x0000005C TapeLibraryServerKmipV1_3                         "Tape Library Server KMIP v1.3"                             V1_3;
        0x0000005D SymmetricKeyLifecycleClientKmipV1_3               "Symmetric Key Lifecycle Client KMIP v1.3"                  V1_3;
        0x0000005E SymmetricKeyLifecycleServerKmipV1_3               "Symmetric Key Lifecycle Server KMIP v1.3"                  V1_3;
        0x0000005F AsymmetricKeyLifecycleClientKmipV1_3              "Asymmetric Key Lifecycle Client KMIP v1.3"                 V1_3;
        0x00000060 AsymmetricKeyLifecycleServerKmipV1_3              "Asymmetric Key Lifecycle Server KMIP v1.3"                 V1_3;
        0x00000061 BasicCryptographicClientKmipV1_3                  "Basic Cryptographic Client KMIP v1.3"                      V1_3;
        0x00000062 BasicCryptographicServerKmipV1_3                  "Basic Cryptographic Server KMIP v1.3"                      V1_3;
        0x00000063 AdvancedCryptographicClientKmipV1_3               "Advanced Cryptographic Client KMIP v1.3"                   V1_3;
        0x00000064 AdvancedCryptographicServerKmipV1_3               "Advanced Cryptographic Server KMIP v1.3"                   V1_3;
        0x00000065 RngCryptographicClientKmipV1_3                    "RNG Cryptographic Client KMIP v1.3"                        V1_3;
        0x00000066 RngCryptographicServerKmipV1_3                    "RNG Cryptographic Server KMIP v1.3"                        V1_3;
        0x00000067 BasicSymmetricKeyFoundryClientKmipV1_3            "Basic Symmetric Key Foundry Client KMIP v1.3"              V1_3;
        0x00000068 IntermediateSymmetricKeyFoundryClientKmipV1_3     "Intermediate Symmetric Key Foundry Client KMIP v1.3"       V1_3;
        0x00000069 AdvancedSymmetricKeyFoundryClientKmipV1_3         "Advanced Symmetric Key Foundry Client KMIP v1.3"           V1_3;
        0x0000006A SymmetricKeyFoundryServerKmipV1_3                 "Symmetric Key Foundry Server KMIP v1.3"                    V1_3;
        0x0000006B OpaqueManagedObjectStoreClientKmipV1_3            "Opaque Managed Object Store Client KMIP v1.3"              V1_3;
        0x0000006C OpaqueManagedObjectStoreServerKmipV1_3            "Opaque Managed Object Store Server KMIP v1.3"              V1_3;
        0x0000006D SuiteBMinLOS128ClientKmipV1_3                     "Suite B minLOS_128 Client KMIP v1.3"                       V1_3;
        0x0000006E SuiteBMinLOS128ServerKmipV1_3                     "Suite B minLOS_128 Server KMIP v1.3"                       V1_3;
        0x0000006F SuiteBMinLOS192ClientKmipV1_3                     "Suite B minLOS_192 Client KMIP v1.3"                       V1_3;
        0x00000070 SuiteBMinLOS192ServerKmipV1_3                     "Suite B minLOS_192 Server KMIP v1.3"                       V1_3;
        0x00000071 StorageArrayWithSelfEncryptingDriveClientKmipV1_3 "Storage Array with Self Encrypting Drive Client KMIP v1.3" V1_3;
        0x00000072 StorageArrayWithSelfEncryptingDriveServerKmipV1_3 "Storage Array with Self Encrypting Drive Server KMIP v1.3" V1_3;
        0x00000073 HttpsClientKmipV1_3                               "HTTPS Client KMIP v1.3"                                    V1_3;
        0x00000074 HttpsServerKmipV1_3                               "HTTPS Server KMIP v1.3"                                    V1_3;
        0x00000075 JsonClientKmipV1_3                                "JSON Client KMIP v1.3"                                     V1_3;
        0x00000076 JsonServerKmipV1_3                                "JSON Server KMIP v1.3"                                     V1_3;
        0x00000077 XmlClientKmipV1_3                                 "XML Client KMIP v1.3"                                      V1_3;
        0x00000078 XmlServerKmipV1_3                                 "XML Server KMIP v1.3"                                      V1_3;
        0x00000079 BaselineServerBasicKmipV1_4                       "Baseline Server Basic KMIP v1.4"                           V1_4;
        0x0000007A BaselineServerTlsV1_2KmipV1_4                     "Baseline Server TLS v1.2 KMIP v1.4"                        V1_4;
        0x0000007B BaselineClientBasicKmipV1_4                       "Baseline Client Basic KMIP v1.4"                           V1_4;
        0x0000007C BaselineClientTlsV1_2KmipV1_4                     "Baseline Client TLS v1.2 KMIP v1.4"                        V1_4;
        0x0000007D CompleteServerBasicKmipV1_4                       "Complete Server Basic KMIP v1.4"                           V1_4;
        0x0000007E CompleteServerTlsV1_2KmipV1_4                     "Complete Server TLS v1.2 KMIP v1.4"                        V1_4;
        0x0000007F TapeLibraryClientKmipV1_4                         "Tape Library Client KMIP v1.4"                             V1_4;
        0x00000080 TapeLibraryServerKmipV1_4                         "Tape Library Server KMIP v1.4"                             V1_4;
        0x00000081 SymmetricKeyLifecycleClientKmipV1_4               "Symmetric Key Lifecycle Client KMIP v1.4"                  V1_4;
        0x00000082 SymmetricKeyLifecycleServerKmipV1_4               "Symmetric Key Lifecycle Server KMIP v1.4"                  V1_4;
        0x00000083 AsymmetricKeyLifecycleClientKmipV1_4              "Asymmetric Key Lifecycle Client KMIP v1.4"                 V1_4;
        0x00000084 AsymmetricKeyLifecycleServerKmipV1_4              "Asymmetric Key Lifecycle Server KMIP v1.4"                 V1_4;
        0x00000085 BasicCryptographicClientKmipV1_4                  "Basic Cryptographic Client KMIP v1.4"                      V1_4;
        0x00000086 BasicCryptographicServerKmipV1_4                  "Basic Cryptographic Server KMIP v1.4"                      V1_4;
        0x00000087 AdvancedCryptographicClientKmipV1_4               "Advanced Cryptographic Client KMIP v1.4"                   V1_4;
        0x00000088 AdvancedCryptographicServerKmipV1_4               "Advanced Cryptographic Server KMIP v1.4"                   V1_4;
        0x00000089 RngCryptographicClientKmipV1_4                    "RNG Cryptographic Client KMIP v1.4"                        V1_4;
        0x0000008A RngCryptographicServerKmipV1_4                    "RNG Cryptographic Server KMIP v1.4"                        V1_4;
        0x0000008B BasicSymmetricKeyFoundryClientKmipV1_4            "Basic Symmetric Key Foundry Client KMIP v1.4"              V1_4;
        0x0000008C IntermediateSymmetricKeyFoundryClientKmipV1_4     "Intermediate Symmetric Key Foundry Client KMIP v1.4"       V1_4;
        0x0000008D AdvancedSymmetricKeyFoundryClientKmipV1_4         "Advanced Symmetric Key Foundry Client KMIP v1.4"           V1_4;
        0x0000008E SymmetricKeyFoundryServerKmipV1_4                 "Symmetric Key Foundry Server KMIP v1.4"                    V1_4;
        0x0000008F OpaqueManagedObjectStoreClientKmipV1_4            "Opaque Managed Object Store Client KMIP v1.4"              V1_4;
        0x00000090 OpaqueManagedObjectStoreServerKmipV1_4            "Opaque Managed Object Store Server KMIP v1.4"              V1_4;
        0x00000091 SuiteBMinLOS128ClientKmipV1_4                     "Suite B minLOS_128 Client KMIP v1.4"                       V1_4;
        0x00000092 SuiteBMinLOS128ServerKmipV1_4                     "Suite B minLOS_128 Server KMIP v1.4"                       V1_4;
        0x00000093 SuiteBMinLOS192ClientKmipV1_4                     "Suite B minLOS_192 Client KMIP v1.4"                       V1_4;
        0x00000094 SuiteBMinLOS192ServerKmipV1_4                     "Suite B minLOS_192 Server KMIP v1.4"                       V1_4;
        0x00000095 StorageArrayWithSelfEncryptingDriveClientKmipV1_4 "Storage Array with Self Encrypting Drive Client KMIP v1.4" V1_4;
        0x00000096 StorageArrayWithSelfEncryptingDriveServerKmipV1_4 "Storage Array with Self Encrypting Drive Server KMIP v1.4" V1_4;
        0x00000097 HttpsClientKmipV1_4                               "HTTPS Client KMIP v1.4"                                    V1_4;
        0x00000098 HttpsServerKmipV1_4                               "HTTPS Server KMIP v1.4"                                    V1_4;
        0x00000099 JsonClientKmipV1_4                                "JSON Client KMIP v1.4"                                     V1_4;
        0x0000009A JsonServerKmipV1_4                                "JSON Server KMIP v1.4"                                     V1_4;
        0x0000009B XmlClientKmipV1_4                                 "XML Client KMIP v1.4"                                      V1_4;
        0x0000009C XmlServerKmipV1_4                                 "XML Server KMIP v1.4"                                      V1_4;
    }
}

message! {
    /// Unwrap Mode, 9.1.3.2.43.
    enum UnwrapMode {
        0x00000001 Unspecified  "Unspecified"   V1_3;
        0x00000002 Processed    "Processed"     V1_3;
        0x00000003 NotProcessed "Not Processed" V1_3;
    }
}

message! {
    /// Destroy Action, 9.1.3.2.44.
    enum DestroyAction {
        0x00000001 Unspecified         "Unspecified"           V1_3;
        0x00000002 KeyMaterialDeleted  "Key Material Deleted"  V1_3;
        0x00000003 KeyMaterialShredded "Key Material Shredded" V1_3;
        0x00000004 MetaDataDeleted     "Meta Data Deleted"     V1_3;
        0x00000005 MetaDataShredded    "Meta Data Shredded"    V1_3;
        0x00000006 Deleted             "Deleted"               V1_3;
        0x00000007 Shredded            "Shredded"              V1_3;
    }
}

message! {
    /// Shredding Algorithm, 9.1.3.2.45.
    enum ShreddingAlgorithm {
        0x00000001 Unspecified   "Unspecified"   V1_3;
        0x00000002 Cryptographic "Cryptographic" V1_3;
        0x00000003 Unsupported   "Unsupported"   V1_3;
    }
}

message! {
    /// RNG Mode, 9.1.3.2.46.
    enum RngMode {
        0x00000001 Unspecified            "Unspecified"              V1_3;
        0x00000002 SharedInstantiation    "Shared Instantiation"     V1_3;
        0x00000003 NonSharedInstantiation "Non-Shared Instantiation" V1_3;
    }
}

message! {
    /// Client Registration Method, 9.1.3.2.47.
    enum ClientRegistrationMethod {
        0x00000001 Unspecified        "Unspecified"          V1_3;
        0x00000002 ServerPreGenerated "Server Pre-Generated" V1_3;
        0x00000003 ServerOnDemand     "Server On-Demand"     V1_3;
        0x00000004 ClientGenerated    "Client Generated"     V1_3;
        0x00000005 ClientRegistered   "Client Registered"    V1_3;
    }
}

message! {
    /// Key Wrap Type, 9.1.3.2.48.
    enum KeyWrapType {
        0x00000001 NotWrapped   "Not Wrapped"   V1_4;
        0x00000002 AsRegistered "As Registered" V1_4;
    }
}

message! {
    /// Mask Generator, 9.1.3.2.49.
    enum MaskGenerator {
        0x00000001 Mgf1 "MGF1" V1_4;
    }
}
