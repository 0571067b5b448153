//! `service`: for which of a tenant's workloads keys are kept.

use clap::Subcommand;
use daemon::admin::types::{NewService, ServiceDeployed, ServiceInfo};
use keys::id::ScopeName;

use crate::context::{Context, wait};
use crate::failure::Failure;
use crate::output::{pairs, table};

/// `service ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Make a service with its default key (L3, Active)
    Create {
        /// Its tenant's name
        tenant: ScopeName,
        /// Its name: a-z, 0-9 and -, at most 63
        name: ScopeName,
        /// Have its keys wrapped by the L2.1 of this resource of the tenant, which is made if there is none
        #[arg(long, value_name = "NAME")]
        resource: Option<ScopeName>,
    },
    /// Tell that a service was deployed: its default key gets a next version, unless it got one less than a minute ago
    Deployed {
        /// Its tenant's name
        tenant: ScopeName,
        /// Its name
        name: ScopeName,
    },
    /// List a tenant's services
    List {
        /// The tenant's name
        tenant: ScopeName,
    },
}

/// Runs `service ...`.
pub(crate) fn run(context: &Context, command: &Service) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Service::Create { tenant, name, resource } => {
            let new = NewService { name: name.to_string(), resource: resource.as_ref().map(ScopeName::to_string) };
            let made = wait(client.create_service(tenant.as_str(), &new))?;
            context.out.show(&made, service_text)
        }
        Service::Deployed { tenant, name } => {
            context.out.show(&wait(client.service_deployed(tenant.as_str(), name.as_str()))?, deployed_text)
        }
        Service::List { tenant } => context.out.show(&wait(client.services(tenant.as_str()))?, |services| services_text(services)),
    }
}

fn service_text(service: &ServiceInfo) -> String {
    let mut rows = vec![("service", service.name.clone()), ("tenant", service.tenant.clone()), ("id", service.id.clone())];
    rows.extend(service.resource.clone().map(|resource| ("resource", resource)));
    rows.push(("default key", service.default_key.clone()));
    pairs(&rows)
}

fn deployed_text(deployed: &ServiceDeployed) -> String {
    let ServiceDeployed { key, version, rotated, .. } = deployed;
    let what = if *rotated { "is in use from now on" } else { "stays: it was made less than a minute ago" };
    pairs(&[("default key", key.clone()), ("version", format!("{version} {what}"))])
}

fn services_text(services: &[ServiceInfo]) -> String {
    let row = |service: &ServiceInfo| {
        let resource = service.resource.clone().unwrap_or_else(|| "-".to_owned());
        vec![service.name.clone(), service.id.clone(), resource, service.default_key.clone()]
    };
    let nothing = "no services yet: make one by `strongroom service create TENANT NAME`";
    table(&["service", "id", "resource", "default key"], services.iter().map(row).collect(), nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_shown_alone_or_as_a_row() {
        let billing = ServiceInfo {
            tenant: "acme".to_owned(),
            name: "billing".to_owned(),
            id: "s1".to_owned(),
            default_key: "L3-1".to_owned(),
            resource: None,
        };
        assert_eq!(service_text(&billing), "service      billing\ntenant       acme\nid           s1\ndefault key  L3-1\n");
        assert_eq!(services_text(std::slice::from_ref(&billing)), "SERVICE  ID  RESOURCE  DEFAULT KEY\nbilling  s1  -         L3-1\n");
        let of_ledger = ServiceInfo { resource: Some("ledger".to_owned()), ..billing };
        assert!(service_text(&of_ledger).contains("resource     ledger\n"));
        assert!(services_text(&[of_ledger]).ends_with("billing  s1  ledger    L3-1\n"));
    }

    #[test]
    fn a_deployment_says_what_became_of_the_key() {
        let deployed = |rotated| ServiceDeployed { key: "L3-1".to_owned(), version: 7, rotated, repeated: false };
        assert!(deployed_text(&deployed(true)).contains("7 is in use"));
        assert!(deployed_text(&deployed(false)).contains("7 stays"));
    }

    #[test]
    fn an_empty_list_says_what_to_do() {
        assert!(services_text(&[]).contains("strongroom service create"));
    }
}
