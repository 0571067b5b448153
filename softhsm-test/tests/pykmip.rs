//! PyKMIP, an independent client, through every operation that a core serves, in every version of KMIP 1.

use std::path::Path;
use std::process::Command;

use softhsm_test::{Appliance, Who};

#[test]
fn pykmip_does_everything_a_core_serves_in_every_version() {
    let python = std::env::var("STRONGROOM_TEST_PYTHON")
        .expect("STRONGROOM_TEST_PYTHON names a Python that has PyKMIP: run the tests by `cargo xtask check`, which makes one");
    let appliance = Appliance::start();
    let address = appliance.value("KMIP_CORE");
    let (host, port) = address.rsplit_once(':').expect("HOST:PORT");
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python/pykmip_core.py")).args([host, port]);
    for name in ["CA_CERT", "TENANT_ADMIN_CERT", "TENANT_ADMIN_KEY", "CLIENT_CERT", "CLIENT_KEY", "CLIENT2_CERT", "CLIENT2_KEY", "L3_ID2"] {
        command.arg(appliance.value(name));
    }
    command.args(keys_to_export(&appliance));
    let output = command.output().expect("the interpreter starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let count = said.lines().last().filter(|line| line.contains("cases passed"));
    told(count.unwrap_or_else(|| panic!("no count at the end of {said}")));
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

#[expect(clippy::print_stdout, reason = "how many cases there were is part of the result")]
fn told(count: &str) {
    println!("{count}");
}
