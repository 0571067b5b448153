//! One damaged row: it is refused by its id, and all others are found and changed as before.

use std::path::{Path, PathBuf};

use keys::id::ROW_ID_BYTES;
use keys::port::{Change, Keystore, StoreError};
use redb::{Database, TableDefinition};
use storage::conformance::sample::{batch, changed, id, query, row};
use storage::embedded::Embedded;
use tempfile::TempDir;

const ROWS: TableDefinition<&[u8; ROW_ID_BYTES], &[u8]> = TableDefinition::new("rows");

/// A closed store with rows 1 to 3, which share term 1, and have terms 11 to 13.
async fn sample() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.redb");
    let store = Embedded::open(&path).expect("a new file opens");
    let rows = (1..=3).map(|number| Change::Insert(row(number, &[1, 10 + number]))).collect::<Vec<_>>();
    store.commit(batch(rows)).await.expect("the store is sound");
    (folder, path)
}

/// Puts bytes in the place of row 2 and leaves the index as it is; `None` removes the row.
fn replace(path: &Path, bytes: Option<&[u8]>) {
    let database = Database::open(path).expect("it is a database");
    let transaction = database.begin_write().expect("it can be written");
    let mut rows = transaction.open_table(ROWS).expect("the table is there");
    match bytes {
        Some(bytes) => rows.insert(&id(2).to_bytes(), bytes).map(drop),
        None => rows.remove(&id(2).to_bytes()).map(drop),
    }
    .expect("it can be written");
    drop(rows);
    transaction.commit().expect("it can be written");
}

/// Every search that would list row 2 lists the others, page by page too, and changes of the others go on.
async fn check_others(store: &Embedded) {
    let (first, third) = (row(1, &[1, 11]), row(3, &[1, 13]));
    for terms in [&[][..], &[1]] {
        let found = store.find(&query(terms, None, 9)).await.expect("the others are served");
        assert_eq!(found, [third.clone(), first.clone()]);
        let page = store.find(&query(terms, Some(3), 1)).await.expect("the others are served");
        assert!(page.iter().eq([&first]), "a page is short although there are more rows");
    }
    assert_eq!(store.find(&query(&[12], None, 9)).await.expect("the search is served"), []);
    assert_eq!(store.find(&query(&[1, 12], None, 9)).await.expect("the search is served"), []);
    let update = Change::Update { expected: first.header.generation, row: changed(&first, &[1]) };
    store.commit(batch([update])).await.expect("the others can be changed");
}

#[tokio::test]
async fn a_row_that_does_not_decode_hides_no_other() {
    let other = row(3, &[1, 12]).encode();
    for bytes in [&b""[..], b"no row", &row(2, &[1, 12]).encode()[..40], &other] {
        let (_folder, path) = sample().await;
        replace(&path, Some(bytes));
        let store = Embedded::open(&path).expect("the file opens");
        check_others(&store).await;
        let error = store.retrieve(id(2)).await.expect_err("it is no row");
        assert!(matches!(&error, StoreError::Corrupt { at, .. } if *at == id(2).to_string()), "{error:?}");
        let error = store.commit(batch([Change::Insert(row(2, &[1]))])).await.expect_err("nothing is built on damage");
        assert!(matches!(&error, StoreError::Corrupt { at, .. } if *at == id(2).to_string()), "{error:?}");
    }
}

#[tokio::test]
async fn an_index_entry_without_its_row_hides_no_other() {
    let (_folder, path) = sample().await;
    replace(&path, None);
    let store = Embedded::open(&path).expect("the file opens");
    check_others(&store).await;
    assert_eq!(store.retrieve(id(2)).await.expect("it reads"), None);
}

#[tokio::test]
async fn a_row_is_not_found_by_a_term_that_it_does_not_carry() {
    let (_folder, path) = sample().await;
    let other = row(2, &[]);
    replace(&path, Some(&other.encode()));
    let store = Embedded::open(&path).expect("the file opens");
    assert_eq!(store.find(&query(&[12], None, 9)).await.expect("the search is served"), []);
    assert_eq!(store.find(&query(&[1], None, 9)).await.expect("the search is served"), [row(3, &[1, 13]), row(1, &[1, 11])]);
    assert_eq!(store.retrieve(id(2)).await.expect("its MAC tells"), Some(other));
}

/// A walk over the rows went round in a circle: below the last of the three came the damaged key, below that the first, below that the damaged key.
#[tokio::test]
async fn a_search_ends_where_a_damaged_key_is_out_of_order() {
    let (_folder, path) = sample().await;
    let mut bytes = std::fs::read(&path).expect("it is there");
    let [first, second, third] = [1, 2, 3].map(|number| id(number).to_bytes());
    let keys = [&first[..], &second[..], &third[..]].concat();
    let places: Vec<usize> = bytes.windows(keys.len()).enumerate().filter(|(_, window)| *window == keys).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the engine keeps keys otherwise");
    for at in places {
        bytes[at + ROW_ID_BYTES..at + 2 * ROW_ID_BYTES].copy_from_slice(&id(0).to_bytes());
    }
    std::fs::write(&path, bytes).expect("it is ours");
    let store = Embedded::open(&path).expect("the file opens");
    let error = store.find(&query(&[], None, 9)).await.expect_err("the rows are not in order");
    assert!(matches!(&error, StoreError::Corrupt { what, .. } if what.contains("not in order")), "{error:?}");
    assert_eq!(store.retrieve(id(3)).await.expect("it is served"), Some(row(3, &[1, 13])));
}
