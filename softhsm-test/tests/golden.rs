//! What earlier releases have left on disk: today's programs open it, and go on with it.
//!
//! `tests/golden/make.sh` adds a folder of the release that is about to be made. None that is there changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use daemon::kmip_client::Endpoint;
use softhsm_test::requests;
use softhsm_test::{Core, Edge, Who, wait_for};

const ARCHIVES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

fn archives() -> Vec<PathBuf> {
    let entries = fs::read_dir(ARCHIVES).expect("it is in the repository").map(|entry| entry.expect("it reads").path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "gz")).collect();
    found.sort();
    assert!(!found.is_empty(), "{ARCHIVES} has no archive");
    found
}

/// Puts what was written then in the place of what `dev` has just made; certificates and configurations stay.
fn put(archive: &Path, nodes: &Edge) {
    for folder in ["core", "edge", "softhsm/tokens", "softhsm/credentials"] {
        fs::remove_dir_all(nodes.core.dir().join(folder)).expect("dev has made it");
    }
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--same-permissions", "--file"]).arg(archive).arg("--directory").arg(nodes.core.dir());
    assert!(tar.status().expect("tar is there").success(), "{}", archive.display());
}

/// Decrypts all that was encrypted at a node then; returns how much that was.
fn decrypt_all(node: &Core, name: &str) -> usize {
    let secrets = fs::read_dir(node.dir().join("secrets")).expect("it is in the archive").map(|entry| entry.expect("it reads").path());
    let mut count = 0;
    for path in secrets {
        let file = path.file_name().and_then(|name| name.to_str()).expect("ASCII");
        // The key's identifier is what it has encrypted.
        let Some((_, id)) = file.split_once('.').filter(|(node, _)| *node == name) else { continue };
        let Endpoint { server, ca, cert, key, .. } = node.endpoint(Who::Service);
        let mut command = node.cli_command(&["kmip", "decrypt", id, "--out", "-", "--in"]);
        command.arg(&path).env("KMIP_CORE", server).env("CA_CERT", ca).env("CLIENT_CERT", cert).env("CLIENT_KEY", key);
        let said = command.output().expect("the binary is there");
        assert!(said.status.success() && said.stdout == id.as_bytes(), "{file}: {}", String::from_utf8_lossy(&said.stderr));
        count += 1;
    }
    count
}

#[test]
fn nodes_that_earlier_releases_wrote_open_and_have_their_keys_their_logs_and_a_future() {
    for archive in archives() {
        let mut nodes = Edge::prepared();
        put(&archive, &nodes);
        // Before anything is added to them.
        for log in [nodes.core.ask(&["audit", "verify"]), nodes.ask(&["audit", "verify"])] {
            assert!(log.contains("verifies"), "{}: {log}", archive.display());
        }
        nodes.start_both();
        assert_eq!((nodes.core.standing(), nodes.standing()), ("unsealed: ".to_owned(), "unsealed: ".to_owned()), "{}", archive.display());
        assert!(nodes.core.ask(&["tenant", "list"]).contains("initech"), "{}", archive.display());
        assert!(nodes.core.ask(&["service", "list", "initech"]).contains("ledger"), "{}", archive.display());
        assert_eq!((decrypt_all(&nodes.core, "core"), decrypt_all(&nodes, "edge")), (2, 3), "{}", archive.display());

        // What lies there is brought under newer keys, and new keys are made beside it.
        let _rotated = nodes.core.ask(&["ivk", "rotate"]);
        let l3 = requests::default_key(&mut nodes.core.connect(Who::Service)).expect("the core is well");
        requests::rekey(&mut nodes.core.connect(Who::TenantAdmin), &l3).expect("a default key is replaced");
        for node in [&nodes.core, &*nodes] {
            let is_done = || node.ask(&["--json", "reencrypt", "status"]).contains("\"done\"");
            assert!(wait_for(is_done), "{}: {}", archive.display(), node.ask(&["reencrypt", "status"]));
        }
        let mut client = nodes.connect(Who::Service);
        let key = requests::create(&mut client, "today").expect("the edge is well");
        requests::activate(&mut client, &key).expect("it is new");
        drop(client);
        nodes.stop_both();
        nodes.start_both();
        assert_eq!((decrypt_all(&nodes.core, "core"), decrypt_all(&nodes, "edge")), (2, 3), "{}", archive.display());
        nodes.stop_both();
    }
}
