//! The route by which a pipeline tells that it has deployed a service.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use keys::deploy::Deployed;
use keys::policy::Action;
use keys::record::Subject;

use crate::admin::act::{Answer, Deed, Tries, act};
use crate::admin::document::Refusals;
use crate::admin::kek_routes::request_name;
use crate::admin::peer::Call;
use crate::admin::routes::{existing_tenant, scope_name};
use crate::admin::sent::NamedTwice;
use crate::admin::status::Refused;
use crate::admin::types::ServiceDeployed;
use crate::node::Node;

/// Gives the service's default key its next version; the one before still decrypts. For operators and the tenant-admin.
///
/// A version that was made less than a minute ago stays: so a pipeline that tells every one of its steps makes no more than one version a minute.
#[utoipa::path(
    post, path = "/api/v1/tenants/{tenant}/services/{service}/deployed", tag = "tenants",
    params(
        ("tenant" = String, Path, description = "The tenant's name"), ("service" = String, Path, description = "The service's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names the request: if it comes again within ten minutes, also after a restart, it is told what it has done")
    ),
    responses((status = 200, description = "The default key as it is now", body = ServiceDeployed), Refusals)
)]
pub(super) async fn service_deployed(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    headers: HeaderMap,
    names: NamedTwice,
) -> Answer<Json<ServiceDeployed>> {
    let mut tries = Tries::default();
    loop {
        let deployed = act(&node, &call, Deed::new(Action::DeployService, None), async |vault, unit, subject| {
            let (tenant, service) = names.texts()?;
            let tenant = existing_tenant(vault, &call, tenant).await?;
            let unknown = || Refused::not_found(format!("there is no service `{service}`: see `strongroom service list {}`", tenant.name));
            if tenant.name.is_reserved() {
                return Err(unknown());
            }
            let service = vault.service_by_name(tenant.id, &scope_name(service)?).await?.ok_or_else(unknown)?;
            let deployed = vault.deploy_service(unit, &service, request_name(&headers)?).await?;
            let (rotated, repeated) = (matches!(deployed, Deployed::Rotated(_)), matches!(deployed, Deployed::Repeated(_)));
            let (Deployed::Rotated(key) | Deployed::Kept(key) | Deployed::Repeated(key)) = deployed;
            *subject = Subject::from(&key.header);
            Ok(ServiceDeployed { key: key.header.id.to_string(), version: key.header.version.0, rotated, repeated })
        });
        let deployed = deployed.await;
        if !tries.again(&deployed) {
            return deployed.map(Json);
        }
    }
}
