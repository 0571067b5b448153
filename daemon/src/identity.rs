//! Who a peer is: ordered rules that read a certificate's names as a principal.
//!
//! A rule looks at one kind of name: a URI SAN, a DNS SAN, the public key or the subject. The first rule whose literal parts are all there
//! decides: what it captured must then be a role and names, or the peer is refused by name of the fault; later rules are not asked.
//!
//! - Texts are compared byte by byte, whole part by whole part: no substring, no other case, no wildcard, no percent-decoding.
//! - Several names of the kind may be there. Those that do not match are passed over; two that match as different principals are a refusal.
//! - `strongroom://acme/billing/service` is a workload. A `tenant-admin` has a tenant and a personal name, which only tells certificates
//!   apart: `strongroom://acme/alice/tenant-admin`. The roles of the appliance stand for no tenant, written `-`:
//!   `strongroom://-/bob/operator`. In place of a personal name `-` will do. An edge's name is that of its group: `strongroom://-/west/edge`.

use std::fmt;

use keys::id::ScopeName;
use keys::policy::{Principal, Role};

mod certificate;
mod explain;
mod rule;
mod template;

pub use certificate::Flaw;
use certificate::Names;
pub use explain::{Explain, Refusal};
pub use rule::{BadRule, RuleText};
use rule::{Captured, Finding, Rule};

/// What stands in a certificate in place of a name that the role does not have.
pub const NO_NAME: &str = "-";
/// The rule of a node that is told none, and the form that `strongroom cert issue` writes.
pub const URI_RULE: &str = "strongroom://{tenant}/{service}/{role}";

/// The rules of a listener, in the order in which they are asked.
#[derive(Debug, Clone)]
pub struct Rules(Vec<Rule>);

impl Default for Rules {
    /// One rule: [`URI_RULE`]. A subject is not trusted unless a rule says so, because any CA fills it in by its own habits.
    fn default() -> Self {
        Self::parse(vec![RuleText { uri: Some(URI_RULE.to_owned()), ..RuleText::default() }]).expect("the rule is well-formed")
    }
}

impl Rules {
    /// Checks rules as the configuration has them. No rule at all is allowed: nobody enters.
    ///
    /// # Errors
    /// [`BadRule`] names the rule, the field, the value and what is accepted.
    pub fn parse(texts: Vec<RuleText>) -> Result<Self, BadRule> {
        texts.into_iter().enumerate().map(|(index, text)| Rule::parse(index, text)).collect::<Result<_, _>>().map(Self)
    }

    /// The rules as the configuration has them.
    pub fn texts(&self) -> impl Iterator<Item = &RuleText> {
        self.0.iter().map(Rule::text)
    }

    /// The principal that a certificate (DER) names, and the index of the rule that says so. The certificate's signature and dates are
    /// the TLS side's business.
    ///
    /// # Errors
    /// [`Refusal`]: one line for the log.
    pub fn principal(&self, certificate: &[u8]) -> Result<(Principal, usize), Refusal> {
        self.decide(&Names::read(certificate).map_err(Refusal::Certificate)?, |_, _| {})
    }

    /// What each rule makes of a certificate (DER), up to the one that decides.
    #[must_use]
    pub fn explain(&self, certificate: &[u8]) -> Explain {
        let names = match Names::read(certificate) {
            Ok(names) => names,
            Err(flaw) => return Explain { names: Vec::new(), steps: Vec::new(), outcome: Err(Refusal::Certificate(flaw)) },
        };
        let mut steps = Vec::new();
        let outcome = self.decide(&names, |rule, finding| steps.push((rule.text().to_string(), finding.to_string())));
        if let Err(refusal) = &outcome
            && *refusal != Refusal::NoRule
        {
            steps.last_mut().expect("a rule has decided").1 = refusal.to_string();
        }
        Explain { names: names.lines(), steps, outcome }
    }

    /// Asks one rule after the other, and tells of each, up to the one that decides.
    fn decide(&self, names: &Names, mut told: impl FnMut(&Rule, &Finding<'_>)) -> Result<(Principal, usize), Refusal> {
        for (index, rule) in self.0.iter().enumerate() {
            let finding = rule.look(names);
            told(rule, &finding);
            match finding {
                Finding::Passed(_) => {}
                Finding::Ambiguous => return Err(Refusal::Ambiguous { rule: index }),
                Finding::Flawed(flaw) => return Err(Refusal::Certificate(flaw)),
                Finding::Captured(captured) => return principal(index, captured, names).map(|principal| (principal, index)),
            }
        }
        Err(Refusal::NoRule)
    }
}

/// Reads what a rule captured as a principal.
fn principal(rule: usize, captured: Captured<'_>, names: &Names) -> Result<Principal, Refusal> {
    let role = Role::from_name(captured.role).ok_or_else(|| Refusal::NotARole { rule, text: Quoted::new(captured.role) })?;
    let scope = |what: &'static str, text: Option<&str>| match text {
        None => Err(Refusal::Unnamed { rule, what, role }),
        Some(text) => text.parse::<ScopeName>().map_err(|_| Refusal::NotAName { rule, what, text: Quoted::new(text) }),
    };
    let personal = |text: Option<&str>| match text {
        None | Some(NO_NAME) => Ok(None),
        text => scope("name", text).map(|_| None),
    };
    let (tenant, service) = match role {
        Role::Service => (Some(scope("tenant", captured.tenant)?), Some(scope("service", captured.service)?)),
        Role::TenantAdmin => (Some(scope("tenant", captured.tenant)?), personal(captured.service)?),
        Role::Edge | Role::Operator | Role::Custodian | Role::Auditor => match captured.tenant {
            None | Some(NO_NAME) if role == Role::Edge && captured.service != Some(NO_NAME) => {
                (None, captured.service.map(|group| scope("edge group", Some(group))).transpose()?)
            }
            None | Some(NO_NAME) => (None, personal(captured.service)?),
            Some(tenant) => return Err(Refusal::TenantOfTheAppliance { rule, role, text: Quoted::new(tenant) }),
        },
    };
    Ok(Principal { role, tenant, service, certificate: names.certificate_sha256 })
}

/// Text out of a certificate, cut and escaped for one line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted(String);

impl Quoted {
    const CHARS_MAX: usize = 200;

    pub(crate) fn new(text: &str) -> Self {
        let short: String = text.chars().take(Self::CHARS_MAX).collect();
        Self(format!("{short:?}"))
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
