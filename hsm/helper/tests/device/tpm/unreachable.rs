//! A TPM that is not there, does not answer, or has no room.

use std::net::TcpListener;
use std::time::Duration;

use hsm::{DeviceError, Refusal, Tpm};

use super::{PCRS, Platform, device};
use crate::fixture::refusal;

#[test]
fn a_tpm_that_is_gone_is_unusable_until_it_returns() {
    let mut platform = Platform::new();
    let sealed = platform.protect();
    let approval = [platform.approve(&PCRS)];
    platform.swtpm.stop();
    for _ in 0..2 {
        let gone = refusal(platform.open(&approval, &sealed));
        assert!(matches!(&gone, Refusal::TpmUnusable { tcti, .. } if *tcti == platform.swtpm.tcti()), "{gone}");
    }
    platform.swtpm.start();
    assert!(platform.open(&approval, &sealed).is_ok());
}

#[test]
fn a_name_that_leads_to_no_tpm_is_repeated() {
    let platform = Platform::new();
    for wrong in ["", "nonsense", "device:/dev/no-such-tpm", "device:/dev/null", "swtpm:host=127.0.0.1,port=1", "swtpm:path=/run/no"] {
        let refused = refusal(Tpm { tcti: wrong.to_owned() }.describe(&platform.device, &[]));
        assert!(matches!(&refused, Refusal::TpmUnusable { tcti, .. } if tcti == wrong), "{wrong}: {refused:?}");
    }
}

#[test]
fn a_tpm_that_never_answers_is_given_up_at_the_deadline() {
    let platform = Platform::new();
    let (port, _listeners) = super::recorder::listeners();
    let deadline = Duration::from_secs(2);
    let mute = Tpm { tcti: format!("swtpm:host=127.0.0.1,port={port}") };
    let described = mute.describe(&device(&platform.latches, deadline), &[]);
    assert!(matches!(described, Err(DeviceError::TimedOut { .. })), "{described:?}");
    assert!(TcpListener::bind(("127.0.0.1", port)).is_err(), "somebody listened all the time");
}

#[test]
fn a_tpm_without_room_is_a_fault_by_its_command_and_code() {
    let platform = Platform::new();
    // Without a resource manager, each stays where it was made.
    for _ in 0..3 {
        platform.swtpm.tool("tpm2_createprimary", &["-C", "n", "-c", "context"]);
    }
    let full = refusal(platform.tpm().describe(&platform.device, &[]));
    let expected = Refusal::DeviceFault { call: "TPM2_CreatePrimary".to_owned(), code: "TPM_RC_OBJECT_MEMORY (0x902)".to_owned() };
    assert_eq!(full, expected);
    platform.swtpm.tool("tpm2_flushcontext", &["-t"]);
    assert!(platform.tpm().describe(&platform.device, &[]).is_ok());
}

#[test]
fn one_place_beside_the_root_key_is_enough() {
    let platform = Platform::new();
    let sealed = platform.protect();
    let approval = platform.approve(&PCRS);
    platform.swtpm.tool("tpm2_createprimary", &["-C", "n", "-c", "context"]);
    assert!(platform.open(&[approval], &sealed).is_ok());
}
