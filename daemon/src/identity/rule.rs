//! One rule: which name of a certificate it looks at, what must be equal, and what it captures.

use std::collections::BTreeMap;
use std::fmt;

use keys::id::ScopeName;
use keys::policy::Role;
use serde::{Deserialize, Serialize};

use super::certificate::{ATTRIBUTES, Flaw, Names};
use super::template::{Part, Slot, Template};

const TEMPLATE: &str = "parts that are literals or {tenant}, {service} or {role}, each placeholder a whole part and no `*`";
const ONE_KIND: &str = "exactly one of uri, dns, spki and subject";
const ONE_SOURCE: &str = "each of tenant, service and role once: as a placeholder or as a fixed value";

/// A rule as the configuration has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuleText {
    /// Template of a URI SAN.
    pub uri: Option<String>,
    /// Template of a DNS SAN.
    pub dns: Option<String>,
    /// SHA-256 of the SubjectPublicKeyInfo, 64 lower-case hex digits.
    pub spki: Option<String>,
    /// Every attribute of the subject with its template.
    pub subject: Option<BTreeMap<String, String>>,
    /// The tenant, where it is not captured.
    pub tenant: Option<String>,
    /// The service, where it is not captured.
    pub service: Option<String>,
    /// The role, where it is not captured.
    pub role: Option<String>,
}

/// Why a rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {index}: `{field}` is {value:?}: give {wants}")]
pub struct BadRule {
    /// Which rule, from 0.
    pub index: usize,
    /// Which key of it; empty for the rule as a whole.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What is accepted.
    pub wants: &'static str,
}

/// A rule that can be asked.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    text: RuleText,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    Uri(Template),
    Dns(Template),
    Spki([u8; 32]),
    Subject(Vec<(&'static str, Part)>),
}

/// What a rule says of a certificate.
#[derive(Debug)]
pub(super) enum Finding<'a> {
    /// It does not match, and why.
    Passed(&'static str),
    /// It matches two names as different principals.
    Ambiguous,
    /// The name it looks at cannot be read with certainty.
    Flawed(Flaw),
    /// It matches.
    Captured(Captured<'a>),
}

/// Texts that a matching rule captured or fixes; not judged yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Captured<'a> {
    pub(super) tenant: Option<&'a str>,
    pub(super) service: Option<&'a str>,
    pub(super) role: &'a str,
}

impl fmt::Display for Finding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(why) => write!(f, "does not match: {why}"),
            Self::Ambiguous => f.write_str("matches two names differently"),
            Self::Flawed(flaw) => flaw.fmt(f),
            Self::Captured(_) => f.write_str("matches"),
        }
    }
}

impl Rule {
    pub(super) fn parse(index: usize, text: RuleText) -> Result<Self, BadRule> {
        let bad = |(field, value, wants)| BadRule { index, field, value, wants };
        let matcher = Matcher::parse(&text).map_err(bad)?;
        let captured = matcher.slots();
        Slot::ALL.into_iter().try_for_each(|slot| text.check_source(slot, &captured)).map_err(bad)?;
        text.check_role(&captured).map_err(bad)?;
        Ok(Self { text, matcher })
    }

    pub(super) fn text(&self) -> &RuleText {
        &self.text
    }

    /// Asks the rule about a certificate.
    pub(super) fn look<'a>(&'a self, names: &'a Names) -> Finding<'a> {
        match &self.matcher {
            Matcher::Uri(template) => self.among(template, &names.uris, "the certificate has no URI SAN of this form"),
            Matcher::Dns(template) => self.among(template, &names.dns, "the certificate has no DNS SAN of this form"),
            Matcher::Spki(pin) if *pin == names.spki_sha256 => Finding::Captured(self.captured(&[])),
            Matcher::Spki(_) => Finding::Passed("the public key is another"),
            Matcher::Subject(wanted) => match &names.subject {
                Ok(subject) => self.subject(wanted, subject),
                Err(flaw) => Finding::Flawed(*flaw),
            },
        }
    }

    fn among<'a>(&'a self, template: &Template, texts: &'a [String], otherwise: &'static str) -> Finding<'a> {
        let mut found = texts.iter().filter_map(|text| template.fit(text)).map(|captures| self.captured(&captures));
        match found.next() {
            None => Finding::Passed(otherwise),
            Some(first) if found.all(|other| other == first) => Finding::Captured(first),
            Some(_) => Finding::Ambiguous,
        }
    }

    /// The subject must have the wanted attributes and no others; one it has beyond them would be a part that nobody compared.
    fn subject<'a>(&'a self, wanted: &[(&'static str, Part)], subject: &'a [(String, String)]) -> Finding<'a> {
        if subject.iter().any(|(name, _)| wanted.iter().all(|(other, _)| other != name)) {
            return Finding::Passed("the subject has an attribute that the rule does not name");
        }
        let mut captures = Vec::new();
        for (name, part) in wanted {
            let Some((_, value)) = subject.iter().find(|(other, _)| other == name) else {
                return Finding::Passed("the subject lacks an attribute that the rule names");
            };
            match part.fit(value) {
                None => return Finding::Passed("an attribute of the subject has another value"),
                Some(capture) => captures.extend(capture),
            }
        }
        Finding::Captured(self.captured(&captures))
    }

    fn captured<'a>(&'a self, captures: &[(Slot, &'a str)]) -> Captured<'a> {
        let of = |slot| captures.iter().find(|(other, _)| *other == slot).map(|(_, text)| *text).or(self.text.fixed(slot).as_deref());
        let role = of(Slot::Role).expect("a rule without a source of the role is refused when it is read");
        Captured { tenant: of(Slot::Tenant), service: of(Slot::Service), role }
    }
}

/// Field, value and what is accepted.
type Refused = (&'static str, String, &'static str);

impl Matcher {
    fn parse(text: &RuleText) -> Result<Self, Refused> {
        match (&text.uri, &text.dns, &text.spki, &text.subject) {
            (Some(uri), None, None, None) => Template::parse(uri, '/').map(Self::Uri).ok_or_else(|| ("uri", uri.clone(), TEMPLATE)),
            (None, Some(dns), None, None) => Template::parse(dns, '.').map(Self::Dns).ok_or_else(|| ("dns", dns.clone(), TEMPLATE)),
            (None, None, Some(spki), None) => {
                digest(spki).map(Self::Spki).ok_or_else(|| ("spki", spki.clone(), "SHA-256 of the public key as 64 lower-case hex digits"))
            }
            (None, None, None, Some(subject)) => attributes(subject).map(Self::Subject),
            _ => Err(("", text.to_string(), ONE_KIND)),
        }
    }

    fn slots(&self) -> Vec<Slot> {
        match self {
            Self::Uri(template) | Self::Dns(template) => template.slots().collect(),
            Self::Spki(_) => Vec::new(),
            Self::Subject(wanted) => {
                wanted.iter().filter_map(|(_, part)| if let Part::Capture(slot) = part { Some(*slot) } else { None }).collect()
            }
        }
    }
}

fn attributes(subject: &BTreeMap<String, String>) -> Result<Vec<(&'static str, Part)>, Refused> {
    let printed = || format!("{subject:?}");
    if subject.is_empty() {
        return Err(("subject", printed(), "at least one attribute"));
    }
    let one = |(name, value): (&String, &String)| {
        let known = ATTRIBUTES.iter().find(|(known, _)| known == name);
        let known = known.ok_or_else(|| {
            ("subject", printed(), "attributes by their short names: CN, O, OU, C, ST, L, UID, serialNumber, emailAddress")
        })?;
        let part = Part::parse(value).filter(|_| !value.is_empty()).ok_or_else(|| ("subject", printed(), TEMPLATE))?;
        Ok((known.0, part))
    };
    subject.iter().map(one).collect()
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| if byte.is_ascii_uppercase() { None } else { char::from(byte).to_digit(16) };
    let bytes: Option<Vec<u8>> =
        text.as_bytes().chunks(2).map(|pair| u8::try_from(digit(pair[0])? << 4 | digit(*pair.get(1)?)?).ok()).collect();
    bytes?.try_into().ok()
}

impl RuleText {
    /// A slot is filled once, and by a good value if a fixed one. The role is always filled.
    fn check_source(&self, slot: Slot, captured: &[Slot]) -> Result<(), Refused> {
        let fixed = self.fixed(slot);
        let sources = captured.iter().filter(|other| **other == slot).count() + usize::from(fixed.is_some());
        if sources > 1 || (slot == Slot::Role && sources == 0) {
            return Err(self.refused(slot, ONE_SOURCE));
        }
        let (good, wants): (fn(&str) -> bool, _) = match slot {
            Slot::Role => (|text| Role::from_name(text).is_some(), "the name of a role"),
            Slot::Tenant | Slot::Service => (|text| text.parse::<ScopeName>().is_ok(), "1 to 63 of a-z, 0-9 and -"),
        };
        if fixed.as_deref().is_none_or(good) { Ok(()) } else { Err(self.refused(slot, wants)) }
    }

    /// A fixed role has the names that it needs and no tenant that it cannot have.
    fn check_role(&self, captured: &[Slot]) -> Result<(), Refused> {
        let has = |slot| captured.contains(&slot) || self.fixed(slot).is_some();
        match self.role.as_deref().and_then(Role::from_name) {
            Some(Role::Service | Role::TenantAdmin) if !has(Slot::Tenant) => {
                Err(self.refused(Slot::Tenant, "a tenant, fixed or as {tenant}: this role has one"))
            }
            Some(Role::Service) if !has(Slot::Service) => {
                Err(self.refused(Slot::Service, "a service, fixed or as {service}: this role has one"))
            }
            Some(Role::Edge | Role::Operator | Role::Custodian | Role::Auditor) if self.tenant.is_some() => {
                Err(self.refused(Slot::Tenant, "no tenant: this role stands for none"))
            }
            _ => Ok(()),
        }
    }

    fn refused(&self, slot: Slot, wants: &'static str) -> Refused {
        (slot.name(), self.fixed(slot).clone().unwrap_or_default(), wants)
    }

    fn fixed(&self, slot: Slot) -> &Option<String> {
        match slot {
            Slot::Tenant => &self.tenant,
            Slot::Service => &self.service,
            Slot::Role => &self.role,
        }
    }
}

/// One line, in the order of the configuration.
impl fmt::Display for RuleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut put = |name: &str, value: Option<&str>| parts.extend(value.map(|value| format!("{name} {value}")));
        put("uri", self.uri.as_deref());
        put("dns", self.dns.as_deref());
        put("spki", self.spki.as_deref());
        let subject =
            |map: &BTreeMap<String, String>| map.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ");
        put("subject", self.subject.as_ref().map(subject).as_deref());
        put("tenant", self.tenant.as_deref());
        put("service", self.service.as_deref());
        put("role", self.role.as_deref());
        f.write_str(if parts.is_empty() { "an empty rule".to_owned() } else { parts.join(", ") }.as_str())
    }
}
