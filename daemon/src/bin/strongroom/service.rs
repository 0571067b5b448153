//! `service`: for which of a tenant's workloads keys are kept.

use clap::Subcommand;
use daemon::admin::types::{NewService, ServiceInfo};
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
        Service::Create { tenant, name } => {
            let made = wait(client.create_service(tenant.as_str(), &NewService { name: name.to_string() }))?;
            context.out.show(&made, service_text)
        }
        Service::List { tenant } => context.out.show(&wait(client.services(tenant.as_str()))?, |services| services_text(services)),
    }
}

fn service_text(service: &ServiceInfo) -> String {
    pairs(&[
        ("service", service.name.clone()),
        ("tenant", service.tenant.clone()),
        ("id", service.id.clone()),
        ("default key", service.default_key.clone()),
    ])
}

fn services_text(services: &[ServiceInfo]) -> String {
    let row = |service: &ServiceInfo| vec![service.name.clone(), service.id.clone(), service.default_key.clone()];
    let nothing = "no services yet: make one by `strongroom service create TENANT NAME`";
    table(&["service", "id", "default key"], services.iter().map(row).collect(), nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_shown_alone_or_as_a_row() {
        let billing =
            ServiceInfo { tenant: "acme".to_owned(), name: "billing".to_owned(), id: "s1".to_owned(), default_key: "L3-1".to_owned() };
        assert_eq!(service_text(&billing), "service      billing\ntenant       acme\nid           s1\ndefault key  L3-1\n");
        assert_eq!(services_text(&[billing]), "SERVICE  ID  DEFAULT KEY\nbilling  s1  L3-1\n");
    }

    #[test]
    fn an_empty_list_says_what_to_do() {
        assert!(services_text(&[]).contains("strongroom service create"));
    }
}
