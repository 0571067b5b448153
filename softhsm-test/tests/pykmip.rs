//! PyKMIP, an independent client, through every operation that a core serves, in every version of KMIP 1.

use std::path::Path;
use std::process::Command;

use softhsm_test::Appliance;

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
    let output = command.output().expect("the interpreter starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("cases passed"), "{said}");
    drop(appliance.stop());
}
