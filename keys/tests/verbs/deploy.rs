//! The next version of a default key that a deployment brings (ARCH-19).

use std::sync::atomic::Ordering;

use futures_executor::block_on;
use keys::Error;
use keys::deploy::{Deployed, FRESH_MILLIS};
use keys::id::{RowId, SessionId};
use keys::policy::Grants;
use keys::vault::Vault;

use super::{default_key, must_be_sound};
use crate::fakes::{START_SECONDS, World, settle};
use crate::{decrypts, encrypts};

async fn deployed(vault: &Vault, service: &Grants, request: Option<u8>) -> Result<(&'static str, RowId), Error> {
    let mut unit = vault.begin(SessionId(2));
    let service = vault.service(service.service().expect("a service")).await?;
    let deployed = vault.deploy_service(&mut unit, &service, request.map(|byte| [byte; 32])).await?;
    let _receipt = unit.commit().await?;
    Ok(match deployed {
        Deployed::Rotated(key) => ("rotated", key.header.id),
        Deployed::Kept(key) => ("kept", key.header.id),
        Deployed::Repeated(key) => ("repeated", key.header.id),
    })
}

#[test]
fn a_deployment_rotates_once_a_minute_and_once_for_each_request() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let first = default_key(&vault, &service).await;
        let bytes = encrypts(&vault, &service, first).await.expect("it is Active");
        let at = |seconds| world.clock.0.store(START_SECONDS + seconds, Ordering::Relaxed);
        let minute = FRESH_MILLIS / 1000;
        let told = async |request| deployed(&vault, &service, request).await.expect("the fakes are well");
        assert_eq!(told(Some(1)).await, ("kept", first), "the service was made just now");
        at(minute - 1);
        assert_eq!(told(None).await, ("kept", first));
        at(minute);
        let (what, second) = told(Some(1)).await;
        assert_eq!((what, second), ("rotated", default_key(&vault, &service).await));
        assert_eq!(told(Some(1)).await, ("repeated", second));
        assert_eq!(told(Some(2)).await, ("kept", second));
        at(2 * minute);
        let (what, third) = told(Some(2)).await;
        assert_eq!((what, third), ("rotated", default_key(&vault, &service).await));

        let again = world.unseal().await.expect("the roots open");
        assert_eq!(deployed(&again, &service, Some(1)).await.expect("the fakes are well"), ("repeated", second), "also after a restart");
        assert_eq!(default_key(&again, &service).await, third);
        assert_eq!(decrypts(&again, &service, first).await.expect("it still decrypts"), bytes);
        must_be_sound(&again, &admin, &service).await;
    });
}
