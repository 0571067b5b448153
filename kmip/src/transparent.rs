//! Keys of pairs as their numbers, 2.1.7: the Key Material of the transparent formats for RSA and elliptic curves.
//!
//! Those for curves were one structure under the names of ECDSA, ECDH and ECMQV before 1.3 gave them one name.

use crate::enums::RecommendedCurve;
use crate::schema::message;
use crate::ttlv::{ByteString, Unsigned};

message! {
    /// Transparent RSA Private Key, 2.1.7.4.
    struct TransparentRsaPrivateKey<'a> {
        MODULUS:          modulus,          Unsigned<'a>, required, V1_0..=V1_4;
        PRIVATE_EXPONENT: private_exponent, Unsigned<'a>, optional, V1_0..=V1_4;
        PUBLIC_EXPONENT:  public_exponent,  Unsigned<'a>, optional, V1_0..=V1_4;
        P:                p,                Unsigned<'a>, optional, V1_0..=V1_4;
        Q:                q,                Unsigned<'a>, optional, V1_0..=V1_4;
        PRIME_EXPONENT_P: prime_exponent_p, Unsigned<'a>, optional, V1_0..=V1_4;
        PRIME_EXPONENT_Q: prime_exponent_q, Unsigned<'a>, optional, V1_0..=V1_4;
        CRT_COEFFICIENT:  crt_coefficient,  Unsigned<'a>, optional, V1_0..=V1_4;
    }
}

message! {
    /// Transparent RSA Public Key, 2.1.7.5.
    struct TransparentRsaPublicKey<'a> {
        MODULUS:         modulus,         Unsigned<'a>, required, V1_0..=V1_4;
        PUBLIC_EXPONENT: public_exponent, Unsigned<'a>, required, V1_0..=V1_4;
    }
}

message! {
    /// Transparent EC Private Key, 2.1.7.14.
    struct TransparentEcPrivateKey<'a> {
        RECOMMENDED_CURVE: recommended_curve, RecommendedCurve, required, V1_0..=V1_4;
        D:                 d,                 Unsigned<'a>,     required, V1_0..=V1_4;
    }
}

message! {
    /// Transparent EC Public Key, 2.1.7.15.
    struct TransparentEcPublicKey<'a> {
        RECOMMENDED_CURVE: recommended_curve, RecommendedCurve, required, V1_0..=V1_4;
        Q_STRING:          q_string,          ByteString<'a>,   required, V1_0..=V1_4;
    }
}
