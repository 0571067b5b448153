//! A text of parts between separators, each a literal or a placeholder for the whole part.

/// What a placeholder captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Tenant,
    Service,
    Role,
}

impl Slot {
    pub(super) const ALL: [Self; 3] = [Self::Tenant, Self::Service, Self::Role];

    /// Its name, as between braces and as a key of a rule.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Service => "service",
            Self::Role => "role",
        }
    }
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Literal(String),
    Capture(Slot),
}

impl Part {
    /// `{tenant}` or a literal; `None` for a brace, a wildcard or a control character anywhere else, which would not do what it seems to.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            return Slot::ALL.into_iter().find(|slot| slot.name() == name).map(Self::Capture);
        }
        let plain = !text.contains(['{', '}', '*']) && !text.chars().any(char::is_control);
        plain.then(|| Self::Literal(text.to_owned()))
    }

    /// `Some` if `text` fits: what was captured, if anything.
    pub(super) fn fit<'a>(&self, text: &'a str) -> Option<Option<(Slot, &'a str)>> {
        match self {
            Self::Literal(literal) => (literal == text).then_some(None),
            Self::Capture(slot) => Some(Some((*slot, text))),
        }
    }
}

/// The parts of a URI (between `/`) or of a DNS name (between `.`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    separator: char,
    parts: Vec<Part>,
}

impl Template {
    pub(super) fn parse(text: &str, separator: char) -> Option<Self> {
        let parts = text.split(separator).map(Part::parse).collect::<Option<Vec<_>>>()?;
        (!text.is_empty()).then_some(Self { separator, parts })
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.parts.iter().filter_map(|part| match part {
            Part::Capture(slot) => Some(*slot),
            Part::Literal(_) => None,
        })
    }

    /// What was captured, if `text` has as many parts and all literals are equal.
    pub(super) fn fit<'a>(&self, text: &'a str) -> Option<Vec<(Slot, &'a str)>> {
        let texts: Vec<_> = text.split(self.separator).collect();
        if texts.len() != self.parts.len() {
            return None;
        }
        let fits: Option<Vec<_>> = self.parts.iter().zip(texts).map(|(part, text)| part.fit(text)).collect();
        fits.map(|captures| captures.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "strongroom://{tenant}/{service}/{role}";

    #[test]
    fn a_placeholder_takes_a_whole_part() {
        let template = Template::parse(URI, '/').expect("the template is well-formed");
        let captured = template.fit("strongroom://acme/billing/service").expect("the URI fits");
        assert_eq!(captured, [(Slot::Tenant, "acme"), (Slot::Service, "billing"), (Slot::Role, "service")]);
    }

    #[test]
    fn texts_of_another_shape_do_not_fit() {
        let template = Template::parse(URI, '/').expect("the template is well-formed");
        for text in [
            "",
            "strongroom://acme/billing",
            "strongroom://acme/billing/service/",
            "strongroom://acme/billing/x/service",
            "Strongroom://acme/billing/service",
            "strongroom:/acme/billing/service",
            "xstrongroom://acme/billing/service",
            "strongroom:///acme/billing/service",
            " strongroom://acme/billing/service",
            "spiffe://acme/billing/service",
        ] {
            assert_eq!(template.fit(text), None, "{text}");
        }
    }

    #[test]
    fn a_template_with_part_of_a_part_captured_is_refused() {
        for text in ["", "x{tenant}", "{tenant}x", "{tenant}{service}", "{}", "{tenants}", "{Tenant}", "a/{", "a/*/b", "*.example", "a\n"] {
            assert_eq!(Template::parse(text, '/'), None, "{text}");
        }
    }
}
