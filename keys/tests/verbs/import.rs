//! Import: an object takes its place, or another's, in one unit or not at all, and only one of two that want the same.

use futures_executor::block_on;
use keys::Error;
use keys::attributes::{Attributes, UsageLimits};
use keys::edge::NewObject;
use keys::id::{RowId, SessionId};
use keys::import::Import;
use keys::lifecycle::State;
use keys::policy::Grants;
use keys::policy::verb::Get;
use keys::row::{Algorithm, ObjectType};
use keys::unit::Unit;
use secret::Bytes;

use super::{rekey_l3, swept, view};
use crate::fakes::Fails;
use crate::fakes::edge::{Edge, Site};
use crate::named;

const ID: &str = "another server's";

fn object(name: &str, byte: u8) -> NewObject {
    let usage_limits = Some(UsageLimits { total: 10, unit: UsageLimits::OBJECTS });
    let attributes = Attributes { extractable: true, usage_limits, ..named(name) };
    let material = Bytes::init_with(32, |bytes| bytes.fill(byte)).expect("the arena has room");
    NewObject { object_type: ObjectType::SYMMETRIC_KEY, algorithm: Algorithm::AES, bits: 256, attributes, material: Some(material) }
}

/// Stages an import of a key of 32 times this byte, of whose limit 4 of 10 were used.
async fn stage(edge: &Edge, billing: &Grants, byte: u8, replaces: bool) -> Result<(Unit, RowId), Error> {
    let mut unit = edge.vault.begin(SessionId(2));
    let import = Import { id: ID, replaces, object: object(&format!("k{byte}"), byte), state: State::PreActive, used: 4 };
    let made = edge.vault.import(&mut unit, billing, import).await?;
    Ok((unit, made.header.id))
}

async fn import(edge: &Edge, billing: &Grants, byte: u8, replaces: bool) -> Result<RowId, Error> {
    let (unit, id) = stage(edge, billing, byte, replaces).await?;
    let _receipt = unit.commit().await?;
    Ok(id)
}

/// The byte that the key is made of, if there is one, and how much of its limit is left.
async fn found(edge: &Edge, billing: &Grants) -> Option<(u8, u64)> {
    let id = edge.vault.imported_id(billing, ID).expect("the service is there");
    let mut unit = edge.vault.begin(SessionId(2));
    let header = match edge.vault.header(&unit, billing, id).await {
        Err(Error::NotFound) => return None,
        header => header.expect("the fakes are well again"),
    };
    let authorized = billing.check::<Get>(&header).expect("it is one's own");
    let (byte, seen) = edge.vault.reveal(&mut unit, authorized, |bytes, _| bytes[0]).await.expect("it opens");
    let limits = seen.attributes.usage_limits.expect("it has some");
    Some((byte, edge.vault.usage_left(id, &limits).await.expect("the fakes are well again")))
}

#[test]
fn whatever_fails_there_is_the_old_object_or_the_new_one() {
    block_on(async {
        let mut cases = 0;
        for how in [Fails::Before, Fails::After] {
            for nth in 0.. {
                let site = Site::found().await;
                let mut edge = site.edge().await;
                let billing = edge.billing().await;
                let fail = |nth| *edge.store.failing.lock().expect("no test panicked with it") = nth;
                fail(Some((nth, how)));
                let first = import(&edge, &billing, 1, false).await;
                let second = if first.is_ok() { import(&edge, &billing, 2, true).await } else { Err(Error::NotFound) };
                fail(None);
                if second.is_ok() {
                    assert_eq!(nth, 3, "the commits of the attribute key, of the import and of the replacement");
                    break;
                }
                edge.restart().await;
                let is_done = |commit| nth > commit || nth == commit && how == Fails::After;
                let expected = if is_done(2) { Some((2, 6)) } else { is_done(1).then_some((1, 6)) };
                assert_eq!(found(&edge, &billing).await, expected, "{nth} {how:?}");
                assert_eq!(swept(&edge.vault, 64).await, []);
                // The message is sent again.
                let again = import(&edge, &billing, 3, false).await;
                assert_eq!(matches!(again, Err(Error::Exists)), expected.is_some(), "{nth} {how:?}: {again:?}");
                import(&edge, &billing, 4, true).await.expect("it is Pre-Active");
                assert_eq!(found(&edge, &billing).await, Some((4, 6)));
                assert_eq!(swept(&edge.vault, 64).await, []);
                cases += 1;
            }
        }
        assert_eq!(cases, 6);
    });
}

#[test]
fn of_two_that_want_the_same_place_one_gets_it_and_the_other_finds_it_taken() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        for replaces in [false, true] {
            let (one, id) = stage(&edge, &billing, 1, replaces).await.expect("the place is free");
            let (other, same) = stage(&edge, &billing, 2, replaces).await.expect("as far as can be seen");
            assert_eq!(id, same);
            let _receipt = one.commit().await.expect("it is the first");
            let late = Error::from(other.commit().await.expect_err("it is the second"));
            assert!(matches!(late, Error::Raced), "{late}");
            assert_eq!(found(&edge, &billing).await, Some((1, 6)), "{replaces}");
            assert!(matches!(stage(&edge, &billing, 2, false).await.map(|_| ()), Err(Error::Exists)));
        }
        // Another service's is another place.
        let payroll = edge.service("acme", "payroll").await.expect("it is served");
        assert_ne!(edge.vault.imported_id(&payroll, ID), edge.vault.imported_id(&billing, ID));
        import(&edge, &payroll, 7, false).await.expect("nobody's there");
        assert_eq!((found(&edge, &payroll).await, found(&edge, &billing).await), (Some((7, 6)), Some((1, 6))));
        assert_eq!(swept(&edge.vault, 64).await, []);
    });
}

#[test]
fn what_takes_a_place_has_blobs_of_its_own_and_comes_under_the_newest_l3() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let id = import(&edge, &billing, 1, false).await.expect("the place is free");
        let before = edge.row(id);
        rekey_l3(&site.core).await;
        edge.vault.renew_lease().await.expect("the core is well");
        import(&edge, &billing, 2, true).await.expect("it is Pre-Active");
        let after = edge.row(id);
        assert_eq!(after.header.wrap_seq, before.header.wrap_seq + 1);
        assert_eq!(after.header.generation, before.header.generation.next());
        assert!(after.header.parent.version > before.header.parent.version, "it is new, so it lies under the new version");
        // The old row in the place of the new one is one of before.
        let whole = edge.store.rows().clone();
        edge.store.edit(id, |row| row.material.clone_from(&before.material));
        edge.restart().await;
        let header = edge.vault.header(&edge.vault.begin(SessionId(2)), &billing, id).await;
        assert!(matches!(header, Err(Error::Corrupt { .. })), "{header:?}");
        edge.store.rows().clone_from(&whole);
        edge.restart().await;
        assert_eq!(found(&edge, &billing).await, Some((2, 6)));
        assert_eq!(view(&edge.vault, &billing, id).await.attributes.names[0].value, "k2");
    });
}
