//! What lies on the disk of a core: no key byte, no Name, no attribute value beyond the visible header.

use std::path::{Path, PathBuf};

use daemon::system::SystemEntropy;
use keys::attributes::{Attributes, Group, Name, Other};
use keys::entropy::Randomness;
use keys::hierarchy::MasterKey;
use keys::id::{ScopeName, Time};
use keys::policy::verb::Decrypt;
use keys::policy::{Principal, Role};
use keys::tenancy::NewServiceKey;
use softhsm_test::{SESSION, domain};

fn contains(file: &Path, needle: &[u8]) -> bool {
    std::fs::read(file).expect("the file reads").windows(needle.len()).any(|window| window == needle)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn scope(name: &str) -> ScopeName {
    name.parse().expect("a name")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_byte_name_or_attribute_value_is_in_any_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let master = MasterKey::generate(&Randomness::new(std::sync::Arc::new(SystemEntropy))).expect("the arena has room");
    let (vault, writing) = domain(dir.path(), &master);

    let mut unit = vault.begin(SESSION);
    vault.create_tenant(&mut unit, &scope("tenant-in-the-clear")).await.expect("the name is free");
    let _receipt = unit.commit().await.expect("the store is well");
    let mut unit = vault.begin(SESSION);
    vault.create_service(&mut unit, &scope("tenant-in-the-clear"), &scope("service-in-the-clear")).await.expect("the name is free");
    let _receipt = unit.commit().await.expect("the store is well");
    let principal = Principal {
        role: Role::Service,
        tenant: Some(scope("tenant-in-the-clear")),
        service: Some(scope("service-in-the-clear")),
        certificate: [0; 32],
    };
    let grants = vault.grants(&principal).await.expect("the store is well");
    let attributes = Attributes {
        names: vec![Name { value: "name-in-the-clear".to_owned(), kind: 1, index: 0 }],
        usage_mask: 0x0C,
        dates: keys::lifecycle::Dates { activation: Some(Time::from_seconds(1)), ..keys::lifecycle::Dates::default() },
        object_groups: vec![Group { value: "group-in-the-clear".to_owned(), index: 0 }],
        others: vec![Other { name: "x-custom".to_owned(), index: 0, value: b"value-in-the-clear".to_vec() }],
        ..Attributes::default()
    };
    let mut unit = vault.begin(SESSION);
    let new = NewServiceKey { service: grants.service().expect("it exists"), bits: 256, attributes };
    let header = vault.create_service_key(&mut unit, new).await.expect("the name is free");
    let _receipt = unit.commit().await.expect("the store is well");

    let unit = vault.begin(SESSION);
    let header = vault.header(&unit, &grants, header.id).await.expect("it is stored");
    let authorized = grants.check::<Decrypt>(&header).expect("its own");
    let key = vault.open(&unit, authorized, |key, _| Ok(key.to_vec())).await.expect("it opens");
    let digest = cipher::mac::sha256(&[&key]);
    let _receipt = unit.commit().await.expect("the log is well");
    drop(vault);
    writing.await.expect("the writer ends in good order");

    let secrets: [(&str, &[u8]); 10] = [
        ("key", &key),
        ("half a key", &key[..16]),
        ("MasterKey", &master.expose(|bytes| *bytes)),
        ("Digest", &digest),
        ("Name", b"name-in-the-clear"),
        ("Object Group", b"group-in-the-clear"),
        ("custom attribute's name", b"x-custom"),
        ("custom attribute's value", b"value-in-the-clear"),
        ("tenant's name", b"tenant-in-the-clear"),
        ("service's name", b"service-in-the-clear"),
    ];
    let files = files_below(dir.path());
    assert!(files.len() >= 2, "store and log: {files:?}");
    for (what, secret) in secrets {
        for file in &files {
            assert!(!contains(file, secret), "{what} is in {}", file.display());
        }
        // The search itself works: what is planted is found.
        let planted = dir.path().join("planted");
        std::fs::write(&planted, [b"before", secret, b"after"].concat()).expect("the folder is ours");
        assert!(contains(&planted, secret), "{what} is not found where it was planted");
    }
    // The search does see the store's rows: the visible header has the key's own id in it.
    assert!(files.iter().any(|file| contains(file, header.id.uuid.as_bytes())), "the row is not where this test looks");
}
