//! Clients that others wrote in Python, driven from outside by the scripts in `softhsm-test/python`.

use std::path::Path;
use std::process::Command;

use crate::{Appliance, Who};

/// Lets a script do its cases at the node of that name, with the key that `dev.env` has as `key`, and tells how many there were.
///
/// # Panics
/// If a case fails.
pub fn drive(appliance: &Appliance, node: &str, script: &str, key: &str, more: &[String]) {
    let python = std::env::var("STRONGROOM_TEST_PYTHON")
        .expect("STRONGROOM_TEST_PYTHON names a Python that has these clients: run the tests by `cargo xtask check`, which makes one");
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

/// Prints how many cases of a foreign client there were.
#[expect(clippy::print_stdout, reason = "how many cases there were is part of the result")]
pub fn told(count: &str) {
    println!("{count}");
}
