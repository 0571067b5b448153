//! Revoke: what the reason makes of a key, and what is kept of it.

use futures_executor::block_on;
use keys::Error;
use keys::attributes::Revocation;
use keys::id::{RowId, SessionId, Time};
use keys::lifecycle::{Event, State};
use keys::policy::verb::Revoke;
use keys::policy::{Grants, Refusal};
use keys::vault::{Vault, View};

use super::{default_key, must_be_sound, view};
use crate::fakes::{START_SECONDS, World, settle};
use crate::{change, create, named};

fn reason(code: u32) -> Revocation {
    Revocation { code, message: Some("why".to_owned()) }
}

pub(super) async fn revoke(vault: &Vault, admin: &Grants, id: RowId, code: u32, occurred: Option<Time>) -> Result<View, Error> {
    let mut unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, admin, id).await?;
    let revoked = vault.revoke(&mut unit, admin.check::<Revoke>(&header)?, reason(code), occurred).await?;
    let _receipt = unit.commit().await?;
    Ok(revoked)
}

#[test]
fn only_the_two_compromise_reasons_compromise_a_key() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (now, earlier) = (Time::from_seconds(START_SECONDS), Time::from_seconds(START_SECONDS - 60));
        for code in 1..=7 {
            for occurred in [None, Some(earlier)] {
                let id = create(&vault, &service, named(&format!("{code} {occurred:?}"))).await.expect("the name is free");
                change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
                let told = revoke(&vault, &admin, id, code, occurred).await.expect("an Active key is revoked");
                let stored = view(&vault, &admin, id).await;
                assert_eq!((told.state, &told.header, &told.attributes), (stored.state, &stored.header, &stored.attributes), "{code}");
                assert_eq!(stored.attributes.revocation, Some(reason(code)));
                let dates = stored.attributes.dates;
                if code == 2 || code == 3 {
                    assert_eq!((stored.state, dates.compromise, dates.deactivation), (State::Compromised, Some(now), None), "{code}");
                    assert_eq!(dates.compromise_occurrence, occurred.or(Some(dates.initial)), "{code}");
                } else {
                    assert_eq!((stored.state, dates.compromise, dates.deactivation), (State::Deprecated, None, Some(now)), "{code}");
                    assert_eq!(dates.compromise_occurrence, None, "{code}");
                }
            }
        }
        must_be_sound(&vault, &admin, &service).await;
    });
}

#[test]
fn a_default_key_a_revoked_key_and_anothers_key_are_not_revoked() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (stranger, _) = settle(&vault, "globex", "billing").await;
        let default = default_key(&vault, &service).await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        revoke(&vault, &admin, id, 5, None).await.expect("a Pre-Active key is revoked");
        let before = world.store.rows().clone();
        for code in [1, 2] {
            assert!(matches!(revoke(&vault, &admin, default, code, None).await, Err(Error::Denied { .. })), "{code}");
            assert!(matches!(revoke(&vault, &stranger, id, code, None).await, Err(Error::NotFound)), "{code}");
        }
        assert!(matches!(revoke(&vault, &admin, id, 5, None).await, Err(Error::WrongState { is: State::Deprecated, .. })));
        let header = view(&vault, &admin, id).await.header;
        assert_eq!(service.check::<Revoke>(&header).map(|_| ()), Err(Refusal::Denied));
        assert_eq!(*world.store.rows(), before);
    });
}
