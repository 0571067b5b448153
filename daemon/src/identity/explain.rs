//! What the rules made of a certificate, rule by rule, for `strongroom cert explain` and for the log.

use std::fmt;

use keys::policy::{Principal, Role};

use super::Quoted;
use super::certificate::Flaw;

/// What the rules made of a certificate. `Display` is one line: who it is, or why nobody.
#[derive(Debug, Clone)]
pub struct Explain {
    pub(super) names: Vec<String>,
    /// Rule and finding, up to the rule that decided.
    pub(super) steps: Vec<(String, String)>,
    pub(super) outcome: Result<(Principal, usize), Refusal>,
}

/// Why a certificate names nobody. Rules are counted from 0, as in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No rule matches.
    #[error("no identity rule matches the certificate")]
    NoRule,
    /// Its names are doubtful.
    #[error("{0}")]
    Certificate(Flaw),
    /// One rule matches two names as different principals.
    #[error("identity.rules[{rule}] matches two names of the certificate as different principals")]
    Ambiguous {
        /// The rule.
        rule: usize,
    },
    /// What was captured as role is none.
    #[error("identity.rules[{rule}] matches, but {text} is not a role")]
    NotARole {
        /// The rule.
        rule: usize,
        /// What was captured.
        text: Quoted,
    },
    /// What was captured as tenant, service or personal name cannot be one.
    #[error(
        "identity.rules[{rule}] matches, but {text} is not a {what}: 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
    )]
    NotAName {
        /// The rule.
        rule: usize,
        /// tenant, service or name.
        what: &'static str,
        /// What was captured.
        text: Quoted,
    },
    /// The role has a tenant or service, and the rule gives none.
    #[error("identity.rules[{rule}] matches, but gives no {what} for the role {role}", role = .role.name())]
    Unnamed {
        /// The rule.
        rule: usize,
        /// tenant or service.
        what: &'static str,
        /// The role.
        role: Role,
    },
    /// A role of the appliance together with a tenant.
    #[error("identity.rules[{rule}] matches, but the role {role} stands for no tenant (`-`), not for {text}", role = .role.name())]
    TenantOfTheAppliance {
        /// The rule.
        rule: usize,
        /// The role.
        role: Role,
        /// The tenant that was captured or is fixed.
        text: Quoted,
    },
}

impl Explain {
    /// The principal and the rule that names it, or why there is none.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn outcome(&self) -> Result<(&Principal, usize), &Refusal> {
        self.outcome.as_ref().map(|(principal, rule)| (principal, *rule))
    }

    /// The certificate's names, what each rule found, and the outcome: one line each.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let steps = self.steps.iter().enumerate().map(|(index, (rule, finding))| format!("identity.rules[{index}] ({rule}): {finding}"));
        self.names.iter().cloned().chain(steps).chain([self.to_string()])
    }
}

impl fmt::Display for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (principal, rule) = match &self.outcome {
            Ok(decided) => decided,
            Err(refusal) => return refusal.fmt(f),
        };
        write!(f, "role {}", principal.role.name())?;
        for (what, name) in [("tenant", &principal.tenant), ("service", &principal.service)] {
            if let Some(name) = name {
                write!(f, ", {what} {name}")?;
            }
        }
        write!(f, ", by identity.rules[{rule}]")
    }
}
