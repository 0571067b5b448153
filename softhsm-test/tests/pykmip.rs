//! PyKMIP, an independent client, through every operation that a core or an edge serves, in every version of KMIP 1.

use softhsm_test::{Appliance, Who, drive};

#[test]
fn pykmip_does_everything_a_core_serves_in_every_version() {
    let appliance = Appliance::start();
    drive(&appliance, "core", "pykmip_core.py", "L3_ID2", &keys_to_export(&appliance));
    drop(appliance.stop());
}

#[test]
fn pykmip_does_everything_an_edge_serves_in_every_version() {
    let appliance = Appliance::with_edges(1);
    drive(&appliance, "edge", "pykmip_edge.py", "L3_ID", &[]);
    drop(appliance.stop());
}

/// A key that may leave, and a key to wrap it with, made by the command line: PyKMIP cannot say Extractable, nor add an attribute.
fn keys_to_export(appliance: &Appliance) -> [String; 2] {
    let run = |arguments: &[&str]| {
        let output = appliance.cli(Who::TenantAdmin, arguments);
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let key = run(&["kmip", "create", "--extractable", "--activate"]);
    let with = run(&["kmip", "create", "--mask", "wrap-key,unwrap-key", "--activate"]);
    let modes = ["Cryptographic Parameters=NISTKeyWrap", "Cryptographic Parameters=AESKeyWrapPadding"];
    let shown = run(&["kmip", "attributes", &with, "--add", modes[0], "--add", modes[1]]);
    assert!(shown.contains("NISTKeyWrap") && shown.contains("AESKeyWrapPadding"), "{shown}");
    [key, with]
}
