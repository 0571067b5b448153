//! Opening the embedded store: what is kept, who may, and what is refused.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use keys::id::OutboxSeq;
use keys::port::{Batch, Change, Keystore, StoreError};
use redb::{Database, TableDefinition};
use storage::conformance::sample::{entry, id, query, row};
use storage::embedded::{Embedded, OpenError};
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.redb");
    (folder, path)
}

fn open_error(error: &StoreError) -> &OpenError {
    let source = error.source().unwrap_or_else(|| panic!("{error:?} has no source"));
    source.downcast_ref().unwrap_or_else(|| panic!("{error:?} is no OpenError"))
}

#[tokio::test]
async fn a_commit_is_there_after_opening_again() {
    let (_folder, path) = place();
    let store = Embedded::open(&path).expect("a new file opens");
    let insert = Batch { changes: vec![Change::Insert(row(1, &[7]))], outbox: vec![entry(3)], settled: None };
    store.commit(insert).await.expect("the store is sound");
    drop(store);
    let store = Embedded::open(&path).expect("the file opens again");
    assert_eq!(store.retrieve(id(1)).await.expect("it reads"), Some(row(1, &[7])));
    assert_eq!(store.find(&query(&[7], None, 9)).await.expect("it reads"), [row(1, &[7])]);
    assert_eq!(store.outbox(OutboxSeq(0), 9).await.expect("it reads"), [entry(3)]);
}

#[test]
fn a_new_file_is_for_its_owner_only() {
    let (_folder, path) = place();
    let _store = Embedded::open(&path).expect("a new file opens");
    let mode = std::fs::metadata(&path).expect("the file is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn a_second_opener_is_told_who_holds_the_file() {
    let (_folder, path) = place();
    let first = Embedded::open(&path).expect("a new file opens");
    let error = Embedded::open(&path).err().expect("the file is held");
    assert!(matches!(open_error(&error), OpenError::Held { .. }), "{error:?}");
    assert!(open_error(&error).to_string().contains("another strongroomd"));
    drop(first);
    Embedded::open(&path).expect("the file is free again");
}

/// The error of opening a file whose schema number was changed; the file must be as it was.
fn opened_with_schema(number: u64) -> StoreError {
    const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
    let (_folder, path) = place();
    drop(Embedded::open(&path).expect("a new file opens"));
    let database = Database::open(&path).expect("it is a database");
    let transaction = database.begin_write().expect("it can be written");
    transaction.open_table(META).expect("the table is there").insert("schema", number).expect("it can be written");
    transaction.commit().expect("it can be written");
    drop(database);
    let before = std::fs::read(&path).expect("the file is there");
    let error = Embedded::open(&path).err().expect("the schema is another");
    assert!(std::fs::read(&path).expect("the file is there") == before, "the file was changed");
    error
}

#[test]
fn a_newer_schema_is_refused_by_name_and_the_file_left_untouched() {
    let error = opened_with_schema(5);
    assert!(matches!(open_error(&error), OpenError::Newer { found: 5, known: 4, .. }), "{error:?}");
}

#[test]
fn an_older_schema_is_refused_by_name_and_the_file_left_untouched() {
    for older in 0..3 {
        let error = opened_with_schema(older);
        assert!(matches!(open_error(&error), OpenError::Older { found, known: 3, .. } if *found == older), "{error:?}");
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_untouched() {
    let (_folder, path) = place();
    for content in [&b""[..], b"hello", &[0xff; 100_000]] {
        std::fs::write(&path, content).expect("the folder is there");
        let error = Embedded::open(&path).err().expect("it is no database");
        assert!(matches!(error, StoreError::Corrupt { .. } | StoreError::Unavailable { .. }), "{error:?}");
        assert!(std::fs::read(&path).expect("the file is there") == content, "the file was changed");
    }
}

#[test]
fn a_file_left_by_an_interrupted_first_start_is_made_anew() {
    let (_folder, path) = place();
    std::fs::write(path.with_added_extension("new"), b"half").expect("the folder is there");
    drop(Embedded::open(&path).expect("a new file opens"));
    assert!(!path.with_added_extension("new").exists());
}

#[test]
fn another_programs_database_is_refused() {
    let (_folder, path) = place();
    drop(Database::create(&path).expect("the folder is there"));
    let error = Embedded::open(&path).err().expect("it is no keystore");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

#[test]
fn a_missing_folder_is_not_made() {
    let (folder, _) = place();
    let error = Embedded::open(&folder.path().join("missing/rows.redb")).err().expect("there is no folder");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(!folder.path().join("missing").exists());
}
