//! `tenant`: who keeps keys here.

use clap::Subcommand;
use daemon::admin::types::{NewTenant, ResourceInfo, TenantInfo};
use keys::id::ScopeName;

use crate::context::{Context, wait};
use crate::failure::Failure;
use crate::output::{pairs, table};

/// `tenant ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Tenant {
    /// Make a tenant with its key (L2)
    Create {
        /// Its name: a-z, 0-9 and -, at most 63
        name: ScopeName,
    },
    /// List all tenants
    List,
    /// Show one tenant
    Show {
        /// Its name
        name: ScopeName,
    },
    /// Serve a tenant nothing any more: at once here, at edges with their next lease
    Disable {
        /// Its name
        name: ScopeName,
        /// It has left for good: the Internal Versioned Key is rotated too
        #[arg(long)]
        off_board: bool,
    },
    /// Serve a tenant again that was disabled
    Enable {
        /// Its name
        name: ScopeName,
    },
}

/// Runs `tenant ...`.
pub(crate) fn run(context: &Context, command: &Tenant) -> Result<(), Failure> {
    let client = context.client()?;
    let one = |tenant: TenantInfo| context.out.show(&tenant, tenant_text);
    match command {
        Tenant::Create { name } => one(wait(client.create_tenant(&NewTenant { name: name.to_string() }))?),
        Tenant::Show { name } => one(wait(client.tenant(name.as_str()))?),
        Tenant::Disable { name, off_board: true } => one(wait(client.off_board_tenant(name.as_str()))?),
        Tenant::Disable { name, off_board: false } => one(wait(client.set_tenant_disabled(name.as_str(), true))?),
        Tenant::Enable { name } => one(wait(client.set_tenant_disabled(name.as_str(), false))?),
        Tenant::List => context.out.show(&wait(client.tenants())?, |tenants| tenants_text(tenants)),
    }
}

fn tenant_text(tenant: &TenantInfo) -> String {
    let TenantInfo { name, id, key, status, resources } = tenant.clone();
    let mut rows = vec![("tenant", name), ("status", status), ("id", id), ("key", key)];
    rows.extend(resources.iter().map(|ResourceInfo { name, key, version, newest }| {
        let beyond = if newest > version { format!(", rolled back from {newest}") } else { String::new() };
        ("resource", format!("{name}: {key} (version {version}{beyond})"))
    }));
    pairs(&rows)
}

fn tenants_text(tenants: &[TenantInfo]) -> String {
    let row = |tenant: &TenantInfo| vec![tenant.name.clone(), tenant.status.clone(), tenant.id.clone(), tenant.key.clone()];
    table(
        &["tenant", "status", "id", "key"],
        tenants.iter().map(row).collect(),
        "no tenants yet: make one by `strongroom tenant create NAME`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme() -> TenantInfo {
        TenantInfo {
            name: "acme".to_owned(),
            id: "t1".to_owned(),
            key: "L2-1".to_owned(),
            status: "enabled".to_owned(),
            resources: Vec::new(),
        }
    }

    #[test]
    fn a_tenant_is_shown_alone_or_as_a_row() {
        assert_eq!(tenant_text(&acme()), "tenant  acme\nstatus  enabled\nid      t1\nkey     L2-1\n");
        let resource = |version| ResourceInfo { name: "ledger".to_owned(), key: "L21-1".to_owned(), version, newest: 2 };
        let text = tenant_text(&TenantInfo { resources: vec![resource(2), resource(1)], ..acme() });
        assert!(text.contains("resource  ledger: L21-1 (version 2)\n"), "{text}");
        assert!(text.contains("resource  ledger: L21-1 (version 1, rolled back from 2)\n"), "{text}");
        assert_eq!(tenants_text(&[acme()]), "TENANT  STATUS   ID  KEY\nacme    enabled  t1  L2-1\n");
    }

    #[test]
    fn an_empty_list_says_what_to_do() {
        assert!(tenants_text(&[]).contains("strongroom tenant create"));
    }
}
