//! States of the platform: approved, not approved, approved by somebody else or for something else.

use hsm::{Refusal, ReleaseKey, TpmApproval, TpmPolicy};

use super::{PCRS, PIN, Platform, REFERENCE, Release, secret};
use crate::fixture::refusal;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digest of [`PCRS`] that a refusal speaks of.
fn state_in(refusal: &Refusal) -> [u8; 32] {
    match refusal {
        Refusal::NotApproved { states } if states.len() == 1 && states[0].0 == PCRS => states[0].1,
        other => panic!("another refusal: {other}"),
    }
}

#[test]
fn a_new_state_is_refused_with_its_digest_and_opens_once_that_is_signed() {
    let platform = Platform::new();
    let sealed = platform.protect_with_pin(PIN);
    let before = platform.approve(&PCRS);
    platform.swtpm.extend(16);

    let refused = refusal(platform.open_with_pin(PIN, std::slice::from_ref(&before), &sealed));
    let now = state_in(&refused);
    assert_ne!(now, before.digest);
    assert!(refused.to_string().contains(&hex(&now)), "{refused}");
    assert!(refused.to_string().contains("sha256:7,16"), "{refused}");
    assert_eq!((platform.latch_count(), platform.swtpm.lockout_counter()), (0, 0));

    let after = platform.release.approve(&PCRS, now, REFERENCE);
    assert!(platform.open_with_pin(PIN, &[before, after], &sealed).expect("it opens").ct_eq(&secret()));
}

#[test]
fn a_register_that_no_approval_names_may_change() {
    let platform = Platform::new();
    let sealed = platform.protect();
    let approval = platform.approve(&PCRS);
    platform.swtpm.extend(8);
    assert!(platform.open(&[approval], &sealed).is_ok());
}

#[test]
fn approvals_may_speak_of_different_registers() {
    let platform = Platform::new();
    let sealed = platform.protect();
    let all: Vec<u8> = (0..24).collect();
    let (old, few, many) = (platform.approve(&[16]), platform.approve(&[0, 23]), platform.approve(&all));
    platform.swtpm.extend(16);
    match refusal(platform.open(&[old.clone(), many.clone()], &sealed)) {
        Refusal::NotApproved { states } => {
            assert_eq!(states.iter().map(|(pcrs, _)| pcrs.clone()).collect::<Vec<_>>(), [all.clone(), vec![16]])
        }
        other => panic!("another refusal: {other}"),
    }
    assert!(platform.open(&[old, many, few], &sealed).is_ok());
    assert!(platform.open(&[platform.approve(&all)], &sealed).is_ok());
}

#[test]
fn without_any_approval_nothing_opens() {
    let platform = Platform::new();
    assert_eq!(refusal(platform.open(&[], &platform.protect())), Refusal::NotApproved { states: Vec::new() });
}

#[test]
fn an_approval_by_another_key_or_for_another_reference_is_none() {
    let platform = Platform::new();
    let sealed = platform.protect();
    let digest = platform.approve(&PCRS).digest;
    for forged in [Release::new().approve(&PCRS, digest, REFERENCE), platform.release.approve(&PCRS, digest, b"slot 1, policy 2")] {
        assert_eq!(state_in(&refusal(platform.open(std::slice::from_ref(&forged), &sealed))), digest);
        // It does not stand in the way of a good one either.
        assert!(platform.open(&[forged, platform.approve(&PCRS)], &sealed).is_ok());
    }
}

#[test]
fn an_approval_with_any_altered_field_is_none() {
    let platform = Platform::new();
    let sealed = platform.protect();
    let good = platform.approve(&PCRS);
    let check = |altered: TpmApproval| {
        let refused = refusal(platform.open(std::slice::from_ref(&altered), &sealed));
        assert!(matches!(refused, Refusal::NotApproved { .. }), "{altered:?}: {refused}");
    };
    for at in 0..64 {
        let mut altered = good.clone();
        altered.signature[at] ^= 1 << (at % 8);
        check(altered);
    }
    for at in (0..32).step_by(8) {
        let mut altered = good.clone();
        altered.digest[at] ^= 1 << (at / 8);
        check(altered);
    }
    for pcrs in [vec![], vec![7], vec![6, 16], vec![7, 17], vec![7, 71], vec![16, 7], vec![7, 7, 16], vec![7, 16, 255], (0..=255).collect()]
    {
        check(TpmApproval { pcrs, ..good.clone() });
    }
    for signature in [vec![], vec![0; 64], vec![0xFF; 64], good.signature[..63].to_vec(), [good.signature.as_slice(), &[0]].concat()] {
        check(TpmApproval { signature, ..good.clone() });
    }
    assert!(platform.open(&[good], &sealed).is_ok());
}

/// Whoever could name the release key could approve anything: the object itself knows which one it is.
#[test]
fn another_release_key_in_the_policy_opens_nothing() {
    let platform = Platform::new();
    let sealed = platform.protect();
    let thief = Release::new();
    let approval = thief.approve(&PCRS, platform.approve(&PCRS).digest, REFERENCE);
    for release_key in [thief.public(), ReleaseKey { x: [7; 32], y: [7; 32] }] {
        let policy = TpmPolicy { release_key, ..platform.policy(false) };
        let opened = platform.tpm().open(&platform.device, None, &policy, vec![approval.clone()], &sealed);
        assert_eq!(refusal(opened), Refusal::BadCiphertext);
    }
}

/// The independent word on what is signed: tpm2-tools let the TPM itself make the policy.
#[test]
fn the_approved_policy_is_what_a_trial_session_of_the_tpm_makes() {
    let platform = Platform::new();
    platform.swtpm.extend(16);
    for pcrs in [PCRS.as_slice(), &[0], &[0, 8, 15, 23]] {
        let list = format!("sha256:{}", pcrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        platform.swtpm.tool("tpm2_startauthsession", &["-S", "trial"]);
        platform.swtpm.tool("tpm2_policypcr", &["-S", "trial", "-l", &list, "-L", "policy"]);
        platform.swtpm.tool("tpm2_flushcontext", &["trial"]);
        let policy = std::fs::read(platform.swtpm.path().join("policy")).expect("it was written");
        assert_eq!(platform.approve(pcrs).approved_policy().as_slice(), policy, "{list}");
    }
}

/// The same for the object's own policy. The release key's public area stands here byte for byte, so that no other template can take its place:
/// what is sealed under it would not open any more.
#[test]
fn the_objects_policy_is_what_a_trial_session_of_the_tpm_makes() {
    let platform = Platform::new();
    let (swtpm, key) = (&platform.swtpm, platform.release.public());
    let file = |name: &str, bytes: &[u8]| std::fs::write(swtpm.path().join(name), bytes).expect("writable");
    // ECC, SHA-256, sign | userWithAuth, no policy, no cipher, ECDSA with SHA-256, P-256, no KDF.
    let template = [0x00, 0x23, 0x00, 0x0B, 0x00, 0x04, 0x00, 0x40, 0, 0, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0B, 0x00, 0x03, 0x00, 0x10];
    let area = [template.as_slice(), &[0, 32], &key.x, &[0, 32], &key.y].concat();
    file("key", &[[0, u8::try_from(area.len()).expect("88")].as_slice(), &area].concat());
    file("reference", REFERENCE);
    file("approved", &platform.approve(&PCRS).approved_policy());
    swtpm.tool("tpm2_loadexternal", &["-C", "o", "-u", "key", "-c", "loaded", "-n", "name"]);
    swtpm.tool("tpm2_flushcontext", &["-t"]);

    for (sealed, has_pin) in [(platform.protect(), false), (platform.protect_with_pin(PIN), true)] {
        swtpm.tool("tpm2_startauthsession", &["-S", "trial"]);
        swtpm.tool("tpm2_policyauthorize", &["-S", "trial", "-L", "policy", "-i", "approved", "-q", "reference", "-n", "name"]);
        if has_pin {
            swtpm.tool("tpm2_policyauthvalue", &["-S", "trial", "-L", "policy"]);
        }
        swtpm.tool("tpm2_flushcontext", &["trial"]);
        // TPMT_PUBLIC: type, name algorithm and attributes are 8 bytes, the policy's length is 2.
        assert_eq!(sealed.public[10..42], std::fs::read(swtpm.path().join("policy")).expect("it was written"));
    }
}
