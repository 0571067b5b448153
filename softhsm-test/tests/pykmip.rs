//! PyKMIP, an independent client, through every operation that a core or an edge serves, in every version of KMIP 1.

use std::path::Path;
use std::process::Command;

use softhsm_test::{Appliance, Who};

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

/// Lets a script do its cases at the node of that name, with the key that `dev.env` has as `key`.
fn drive(appliance: &Appliance, node: &str, script: &str, key: &str, more: &[String]) {
    let python = std::env::var("STRONGROOM_TEST_PYTHON")
        .expect("STRONGROOM_TEST_PYTHON names a Python that has PyKMIP: run the tests by `cargo xtask check`, which makes one");
    let address = appliance.endpoint_at(node, Who::Service).server;
    let (host, port) = address.rsplit_once(':').expect("HOST:PORT");
    let mut command = Command::new(python);
    // What Python compiles stays out of the source tree.
    command.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script)).args([host, port]);
    for name in ["CA_CERT", "TENANT_ADMIN_CERT", "TENANT_ADMIN_KEY", "CLIENT_CERT", "CLIENT_KEY", "CLIENT2_CERT", "CLIENT2_KEY", key] {
        command.arg(appliance.value(name));
    }
    let output = command.args(more).output().expect("the interpreter starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let count = said.lines().last().filter(|line| line.contains("cases passed"));
    told(&format!("{node}: {}", count.unwrap_or_else(|| panic!("no count at the end of {said}"))));
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
