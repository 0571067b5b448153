//! Certificates made for the purpose against rules: who gets in, and as whom, and which look-alikes do not.

use rcgen::string::{BmpString, PrintableString};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, KeyPair, SanType};

use super::*;

const SUBJECT_RULE: [(&str, &str); 3] = [("O", "{tenant}"), ("OU", "{role}"), ("CN", "{service}")];

/// A self-signed certificate (DER) with these URI and DNS SANs and this subject.
fn certificate(uris: &[&str], dns: &[&str], subject: &[(DnType, DnValue)]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    let uri = |text: &&str| SanType::URI((*text).try_into().expect("the URI is ASCII"));
    let name = |text: &&str| SanType::DnsName((*text).try_into().expect("the name is ASCII"));
    params.subject_alt_names = uris.iter().map(uri).chain(dns.iter().map(name)).collect();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), value.clone());
    }
    signed(params)
}

fn signed(params: CertificateParams) -> Vec<u8> {
    let key = KeyPair::generate().expect("a key can be made");
    params.self_signed(&key).expect("a certificate can be made").der().to_vec()
}

fn with_uri(uri: &str) -> Vec<u8> {
    certificate(&[uri], &[], &[])
}

fn with_subject(o: &str, ou: &str, cn: &str) -> Vec<u8> {
    certificate(
        &[],
        &[],
        &[(DnType::OrganizationName, o.into()), (DnType::OrganizationalUnitName, ou.into()), (DnType::CommonName, cn.into())],
    )
}

fn subject_rule(attributes: &[(&str, &str)]) -> RuleText {
    let map = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    RuleText { subject: Some(map), ..RuleText::default() }
}

fn uri_rule(template: &str) -> RuleText {
    RuleText { uri: Some(template.to_owned()), ..RuleText::default() }
}

fn rules(texts: impl IntoIterator<Item = RuleText>) -> Rules {
    Rules::parse(texts.into_iter().collect()).expect("the rules are well-formed")
}

/// The two rules of `strongroom dev`.
fn both() -> Rules {
    rules([uri_rule(URI_RULE), subject_rule(&SUBJECT_RULE)])
}

/// Role, tenant and service, or the refusal.
fn who(rules: &Rules, certificate: &[u8]) -> Result<(Role, String, String), Refusal> {
    let text = |name: &Option<ScopeName>| name.as_ref().map(ToString::to_string).unwrap_or_default();
    let explain = rules.explain(certificate);
    let (principal, _) = explain.outcome().map_err(Clone::clone)?;
    Ok((principal.role, text(&principal.tenant), text(&principal.service)))
}

#[track_caller]
fn enters(rules: &Rules, certificate: &[u8], role: Role, tenant: &str, service: &str) {
    assert_eq!(who(rules, certificate), Ok((role, tenant.to_owned(), service.to_owned())));
}

#[test]
fn the_uri_names_the_principal() {
    enters(&both(), &with_uri("strongroom://acme/billing/service"), Role::Service, "acme", "billing");
    enters(&both(), &with_uri("strongroom://acme/alice/tenant-admin"), Role::TenantAdmin, "acme", "");
    enters(&both(), &with_uri("strongroom://acme/-/tenant-admin"), Role::TenantAdmin, "acme", "");
    for role in [Role::Edge, Role::Operator, Role::Custodian, Role::Auditor] {
        let name = if role == Role::Edge { "alice" } else { "" };
        enters(&both(), &with_uri(&format!("strongroom://-/alice/{}", role.name())), role, "", name);
        enters(&both(), &with_uri(&format!("strongroom://-/-/{}", role.name())), role, "", "");
    }
}

#[test]
fn the_subject_names_the_principal() {
    enters(&both(), &with_subject("acme", "service", "billing"), Role::Service, "acme", "billing");
    enters(&both(), &with_subject("-", "operator", "bob"), Role::Operator, "", "");
    let printable = |text: &str| DnValue::PrintableString(PrintableString::try_from(text).expect("printable"));
    let subject = [
        (DnType::CommonName, printable("billing")),
        (DnType::OrganizationalUnitName, printable("service")),
        (DnType::OrganizationName, printable("acme")),
    ];
    enters(&both(), &certificate(&[], &[], &subject), Role::Service, "acme", "billing");
}

#[test]
fn the_principal_carries_the_hash_of_its_certificate_and_the_rule_its_index() {
    let der = with_subject("acme", "service", "billing");
    let (principal, rule) = both().principal(&der).expect("it enters");
    assert_eq!(principal.certificate, cipher::mac::sha256(&[&der]));
    assert_eq!(rule, 1);
}

#[test]
fn without_a_rule_nobody_enters() {
    let der = with_uri("strongroom://acme/billing/service");
    assert_eq!(who(&rules([]), &der), Err(Refusal::NoRule));
    assert_eq!(who(&Rules::default(), &with_subject("acme", "service", "billing")), Err(Refusal::NoRule));
    assert_eq!(who(&both(), &certificate(&[], &[], &[])), Err(Refusal::NoRule));
}

#[test]
fn uris_that_only_look_like_ours_match_no_rule() {
    for uri in [
        "STRONGROOM://acme/billing/service",
        "strongroom://acme/billing",
        "strongroom://acme/billing/service/",
        "strongroom://acme/billing/extra/service",
        "strongroom:/acme/billing/service",
        "strongroom:///acme/billing/service",
        "xstrongroom://acme/billing/service",
        "https://example.com/?strongroom://acme/billing/service",
        "strongroomx://acme/billing/service",
        "spiffe://acme/billing/service",
        "",
    ] {
        assert_eq!(who(&both(), &with_uri(uri)), Err(Refusal::NoRule), "{uri}");
    }
}

#[test]
fn captured_texts_that_are_no_names_are_refused_and_do_not_fall_through() {
    // The subject would get in by the second rule; the first one has decided already.
    let good = [
        (DnType::OrganizationName, "acme".into()),
        (DnType::OrganizationalUnitName, "service".into()),
        (DnType::CommonName, "billing".into()),
    ];
    for (uri, wanted) in [
        ("strongroom://Acme/billing/service", "tenant"),
        ("strongroom:///billing/service", "tenant"),
        ("strongroom://*/billing/service", "tenant"),
        ("strongroom://%61cme/billing/service", "tenant"),
        ("strongroom://acme:443/billing/service", "tenant"),
        ("strongroom://user@acme/billing/service", "tenant"),
        ("strongroom://-/billing/service", "tenant"),
        ("strongroom://acme.example/billing/service", "tenant"),
        ("strongroom:// acme/billing/service", "tenant"),
        ("strongroom://acme//service", "service"),
        ("strongroom://acme/BILLING/service", "service"),
        ("strongroom://acme/../service", "service"),
        ("strongroom://acme/-/service", "service"),
        ("strongroom://acme/billing-/service", "service"),
        ("strongroom://acme/{service}/service", "service"),
        ("strongroom://acme/Alice/tenant-admin", "name"),
        ("strongroom://-//operator", "name"),
    ] {
        let refused = who(&both(), &certificate(&[uri], &[], &good));
        assert!(matches!(&refused, Err(Refusal::NotAName { rule: 0, what, .. }) if *what == wanted), "{uri}: {refused:?}");
    }
    for uri in [
        "strongroom://acme/billing/Service",
        "strongroom://acme/billing/",
        "strongroom://acme/billing/service?x",
        "strongroom://acme/billing/service#x",
        "strongroom://acme/billing/service ",
        "strongroom://acme/billing/services",
        "strongroom://acme/billing/tenant_admin",
        "strongroom://acme/billing/%73ervice",
        "strongroom://acme/billing/*",
        "strongroom://acme/billing/root",
    ] {
        let refused = who(&both(), &certificate(&[uri], &[], &good));
        assert!(matches!(refused, Err(Refusal::NotARole { rule: 0, .. })), "{uri}: {refused:?}");
    }
}

#[test]
fn a_tenant_cannot_name_a_role_of_the_appliance() {
    for role in ["operator", "custodian", "auditor", "edge"] {
        let refused = who(&both(), &with_uri(&format!("strongroom://acme/alice/{role}")));
        assert!(matches!(refused, Err(Refusal::TenantOfTheAppliance { rule: 0, .. })), "{role}: {refused:?}");
    }
    // A CA that a rule ties to one tenant issues no operators either, whatever it writes into OU.
    let tied = rules([RuleText { tenant: Some("acme".to_owned()), ..subject_rule(&[("OU", "{role}"), ("CN", "{service}")]) }]);
    let subject = |role: &str| certificate(&[], &[], &[(DnType::OrganizationalUnitName, role.into()), (DnType::CommonName, "x".into())]);
    enters(&tied, &subject("service"), Role::Service, "acme", "x");
    assert!(matches!(who(&tied, &subject("operator")), Err(Refusal::TenantOfTheAppliance { .. })));
}

#[test]
fn a_role_that_the_certificate_chooses_still_needs_its_names() {
    let loose = rules([uri_rule("x://{service}/{role}")]);
    assert!(matches!(who(&loose, &with_uri("x://billing/service")), Err(Refusal::Unnamed { what: "tenant", .. })));
    enters(&loose, &with_uri("x://alice/auditor"), Role::Auditor, "", "");
    let roles = rules([uri_rule("x://{role}")]);
    assert!(matches!(who(&roles, &with_uri("x://service")), Err(Refusal::Unnamed { .. })));
}

#[test]
fn of_several_uris_the_matching_one_counts_and_two_different_ones_are_refused() {
    let good = "strongroom://acme/billing/service";
    enters(&both(), &certificate(&["spiffe://x/y", good, "https://example.com"], &["a.example"], &[]), Role::Service, "acme", "billing");
    enters(&both(), &certificate(&[good, good], &[], &[]), Role::Service, "acme", "billing");
    for other in [
        "strongroom://acme/billing/tenant-admin",
        "strongroom://globex/billing/service",
        "strongroom://acme/ledger/service",
        "strongroom:////",
    ] {
        assert_eq!(who(&both(), &certificate(&[good, other], &[], &[])), Err(Refusal::Ambiguous { rule: 0 }), "{other}");
        assert_eq!(who(&both(), &certificate(&[other, good], &[], &[])), Err(Refusal::Ambiguous { rule: 0 }), "{other}");
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let fixed =
        RuleText { tenant: Some("globex".to_owned()), role: Some("service".to_owned()), ..uri_rule("strongroom://acme/{service}/service") };
    let der = with_uri("strongroom://acme/billing/service");
    enters(&rules([fixed.clone(), uri_rule(URI_RULE)]), &der, Role::Service, "globex", "billing");
    enters(&rules([uri_rule(URI_RULE), fixed]), &der, Role::Service, "acme", "billing");
}

#[test]
fn literals_of_a_template_are_equal_or_nothing() {
    let tied = rules([RuleText {
        tenant: Some("acme".to_owned()),
        role: Some("service".to_owned()),
        ..uri_rule("spiffe://corp.example/ns/prod/sa/{service}")
    }]);
    enters(&tied, &with_uri("spiffe://corp.example/ns/prod/sa/billing"), Role::Service, "acme", "billing");
    for uri in [
        "spiffe://corp.example.evil/ns/prod/sa/billing",
        "spiffe://evilcorp.example/ns/prod/sa/billing",
        "spiffe://corp.example/ns/production/sa/billing",
        "spiffe://corp.example/ns/prod/sa/billing/x",
        "spiffe://CORP.example/ns/prod/sa/billing",
        "spiffe://corp.example/ns//prod/sa/billing",
    ] {
        assert_eq!(who(&tied, &with_uri(uri)), Err(Refusal::NoRule), "{uri}");
    }
}

#[test]
fn a_dns_name_is_compared_label_by_label() {
    let rule = RuleText {
        dns: Some("{service}.{tenant}.clients.example.com".to_owned()),
        role: Some("service".to_owned()),
        ..RuleText::default()
    };
    let rules = rules([rule]);
    let with_dns = |names: &[&str]| certificate(&[], names, &[]);
    enters(&rules, &with_dns(&["www.example.org", "billing.acme.clients.example.com"]), Role::Service, "acme", "billing");
    for name in [
        "billing.acme.clients.example.com.",
        "billing.acme.clients.example.com.evil",
        "x.billing.acme.clients.example.com",
        "acme.clients.example.com",
        "billing.acme.clientsXexample.com",
        "billing.acme.clients.EXAMPLE.com",
    ] {
        assert_eq!(who(&rules, &with_dns(&[name])), Err(Refusal::NoRule), "{name}");
    }
    for name in ["*.acme.clients.example.com", ".acme.clients.example.com", "Billing.acme.clients.example.com"] {
        assert!(matches!(who(&rules, &with_dns(&[name])), Err(Refusal::NotAName { what: "service", .. })), "{name}");
    }
    let two = ["billing.acme.clients.example.com", "billing.globex.clients.example.com"];
    assert_eq!(who(&rules, &with_dns(&two)), Err(Refusal::Ambiguous { rule: 0 }));
}

#[test]
fn a_public_key_is_pinned_whatever_the_names_are() {
    let der = certificate(&["spiffe://whatever"], &[], &[(DnType::CommonName, "Whoever".into())]);
    let pin = |digest: String| RuleText {
        spki: Some(digest),
        tenant: Some("acme".to_owned()),
        service: Some("billing".to_owned()),
        role: Some("service".to_owned()),
        ..RuleText::default()
    };
    let spki = Names::read(&der).expect("the certificate reads").spki_sha256;
    enters(&rules([pin(certificate::hex(&spki))]), &der, Role::Service, "acme", "billing");
    let other = with_uri("spiffe://whatever");
    assert_eq!(who(&rules([pin(certificate::hex(&spki))]), &other), Err(Refusal::NoRule));
    for bad in [
        String::new(),
        "00".repeat(31),
        "00".repeat(33),
        "AB".repeat(32),
        "0g".repeat(32),
        "+1".repeat(32),
        format!("0x{}", "00".repeat(31)),
    ] {
        assert!(Rules::parse(vec![pin(bad.clone())]).is_err(), "{bad}");
    }
}

#[test]
fn a_subject_matches_as_a_whole_or_not_at_all() {
    let tied = rules([RuleText {
        tenant: Some("acme".to_owned()),
        role: Some("service".to_owned()),
        ..subject_rule(&[("O", "Acme Corp"), ("CN", "{service}")])
    }]);
    let with = |attributes: &[(DnType, &str)]| {
        let values: Vec<_> = attributes.iter().map(|(kind, value)| (kind.clone(), DnValue::from(*value))).collect();
        certificate(&[], &[], &values)
    };
    let (o, ou, cn) = (DnType::OrganizationName, DnType::OrganizationalUnitName, DnType::CommonName);
    enters(&tied, &with(&[(cn.clone(), "billing"), (o.clone(), "Acme Corp")]), Role::Service, "acme", "billing");
    for attributes in [
        &[(o.clone(), "Acme Corp"), (ou.clone(), "x"), (cn.clone(), "billing")][..],
        &[(o.clone(), "Acme Corp")],
        &[(cn.clone(), "billing")],
        &[(o.clone(), "Acme Corporation"), (cn.clone(), "billing")],
        &[(o.clone(), "acme corp"), (cn.clone(), "billing")],
        &[(o.clone(), "Acme Corp "), (cn.clone(), "billing")],
        &[(o.clone(), "Acme  Corp"), (cn.clone(), "billing")],
        &[(o.clone(), "x"), (cn.clone(), "billing, O=Acme Corp")],
        &[(ou.clone(), "Acme Corp"), (cn.clone(), "billing")],
    ] {
        assert_eq!(who(&tied, &with(attributes)), Err(Refusal::NoRule), "{attributes:?}");
    }
    for name in ["", "*", "Billing", "billing/CN=ledger", "billing, OU=x", "billing\u{e9}"] {
        let refused = who(&tied, &with(&[(o.clone(), "Acme Corp"), (cn.clone(), name)]));
        assert!(matches!(refused, Err(Refusal::NotAName { .. })), "{name}: {refused:?}");
    }
}

#[test]
fn control_characters_anywhere_refuse_the_certificate_before_any_rule() {
    let control = Err(Refusal::Certificate(Flaw::Control));
    let good = "strongroom://acme/billing/service";
    for uri in ["strongroom://acme/billing/service\0", "strongroom://acme\0.evil/billing/service", "x\n", "\u{7f}"] {
        assert_eq!(who(&both(), &certificate(&[good, uri], &[], &[])), control, "{uri:?}");
    }
    assert_eq!(who(&both(), &certificate(&[good], &["a\0b"], &[])), control);
    for name in ["acme\0", "\0", "ac\nme", "acme\u{1b}[2J", "acme\u{85}"] {
        let subject = [(DnType::OrganizationName, DnValue::from(name))];
        assert_eq!(who(&both(), &certificate(&[good], &[], &subject)), control, "{name:?}");
    }
}

/// A subject that `rcgen` does not write: its RDNs in DER. The names of issuer and subject are swapped in after signing, which is fine,
/// because the rules do not look at the signature.
fn with_rdns(rdns: &[&[u8]]) -> Vec<u8> {
    let content = rdns.concat();
    let name = [&[0x30, u8::try_from(content.len()).expect("a short name")], content.as_slice()].concat();
    let mut subject = DistinguishedName::new();
    // A place-holder of the same length, so that no outer length changes: a CN of the length that is missing.
    let filler = name.len() - 2 - 11;
    subject.push(DnType::CommonName, "x".repeat(filler));
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    let der = signed(params);
    let placeholder: Vec<u8> = [&der_header(filler), "x".repeat(filler).as_bytes()].concat();
    let mut bytes = der;
    while let Some(at) = bytes.windows(placeholder.len()).position(|window| window == placeholder) {
        bytes.splice(at..at + placeholder.len(), name.iter().copied());
    }
    bytes
}

/// `SEQUENCE { SET { SEQUENCE { CN, UTF8String } } }` around so many bytes.
fn der_header(bytes: usize) -> Vec<u8> {
    let length = |inner: usize| u8::try_from(inner).expect("a short name");
    vec![0x30, length(bytes + 11), 0x31, length(bytes + 9), 0x30, length(bytes + 7), 0x06, 3, 0x55, 4, 3, 0x0c, length(bytes)]
}

fn attribute(kind: u8, tag: u8, value: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u8::try_from(bytes).expect("a short value");
    [&[0x30, length(value.len() + 7), 0x06, 3, 0x55, 4, kind, tag, length(value.len())], value].concat()
}

fn rdn(attributes: &[Vec<u8>]) -> Vec<u8> {
    let content = attributes.concat();
    [&[0x31, u8::try_from(content.len()).expect("a short name")], content.as_slice()].concat()
}

#[test]
fn doubtful_subjects_are_refused_by_a_subject_rule_and_nothing_to_another() {
    const CN: u8 = 3;
    const O: u8 = 10;
    const OU: u8 = 11;
    const UTF8: u8 = 0x0c;
    const T61: u8 = 0x14;
    let part = |kind, value: &str| attribute(kind, UTF8, value.as_bytes());
    let good = with_rdns(&[&rdn(&[part(O, "acme")]), &rdn(&[part(OU, "service")]), &rdn(&[part(CN, "billing")])]);
    enters(&both(), &good, Role::Service, "acme", "billing");
    let twice =
        with_rdns(&[&rdn(&[part(O, "acme")]), &rdn(&[part(OU, "service")]), &rdn(&[part(OU, "operator")]), &rdn(&[part(CN, "billing")])]);
    let multi = with_rdns(&[&rdn(&[part(O, "acme")]), &rdn(&[part(OU, "service"), part(CN, "billing")])]);
    let latin = with_rdns(&[&rdn(&[part(O, "acme")]), &rdn(&[part(OU, "service")]), &rdn(&[attribute(CN, T61, b"billing")])]);
    let broken = with_rdns(&[&rdn(&[part(O, "acme")]), &rdn(&[part(OU, "service")]), &rdn(&[attribute(CN, UTF8, b"billin\xff")])]);
    let pinned = |der: &[u8]| {
        let spki = certificate::hex(&Names::read(der).expect("the certificate reads").spki_sha256);
        let fixed = |text: &str| Some(text.to_owned());
        RuleText { spki: Some(spki), tenant: fixed("acme"), service: fixed("billing"), role: fixed("service"), ..RuleText::default() }
    };
    for (der, flaw) in [(twice, Flaw::Twice), (multi, Flaw::MultiValued), (latin, Flaw::NotText), (broken, Flaw::NotText)] {
        assert_eq!(who(&both(), &der), Err(Refusal::Certificate(flaw)));
        enters(&rules([pinned(&der), subject_rule(&SUBJECT_RULE)]), &der, Role::Service, "acme", "billing");
    }
    let wide = DnValue::BmpString(BmpString::try_from("billing").expect("it fits"));
    let subject =
        [(DnType::OrganizationName, "acme".into()), (DnType::OrganizationalUnitName, "service".into()), (DnType::CommonName, wide)];
    assert_eq!(who(&both(), &certificate(&[], &[], &subject)), Err(Refusal::Certificate(Flaw::NotText)));
}

#[test]
fn alternative_names_beyond_ascii_or_without_sense_refuse_the_certificate() {
    const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];
    let raw = |content: Vec<u8>| {
        let extension = CustomExtension::from_oid_content(SUBJECT_ALT_NAME, content);
        let mut params = CertificateParams::default();
        params.custom_extensions = vec![extension];
        signed(params)
    };
    let uri = |text: &[u8]| {
        [&[0x30, u8::try_from(text.len() + 2).expect("short"), 0x86, u8::try_from(text.len()).expect("short")], text].concat()
    };
    enters(&both(), &raw(uri(b"strongroom://acme/billing/service")), Role::Service, "acme", "billing");
    let flaw = Err(Refusal::Certificate(Flaw::AlternativeName));
    assert_eq!(who(&both(), &raw(uri("strongroom://\u{430}cme/billing/service".as_bytes()))), flaw);
    assert_eq!(who(&both(), &raw(uri(b"strongroom://\xff/billing/service"))), flaw);
    assert_eq!(who(&both(), &raw(vec![0x30, 0x20, 0x86])), flaw);
}

#[test]
fn what_is_not_one_certificate_is_refused() {
    let der = with_uri("strongroom://acme/billing/service");
    let encoding = Err(Refusal::Certificate(Flaw::Encoding));
    assert_eq!(who(&both(), &[]), encoding);
    assert_eq!(who(&both(), b"-----BEGIN CERTIFICATE-----"), encoding);
    assert_eq!(who(&both(), &der[..der.len() - 1]), encoding);
    assert_eq!(who(&both(), &[der.as_slice(), &[0]].concat()), encoding);
}

#[test]
fn the_explanation_tells_each_rule_and_the_decision() {
    let lines: Vec<_> = both().explain(&with_subject("acme", "service", "billing")).lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("subject") && line.contains("O=\"acme\"")), "{lines:#?}");
    assert!(lines.iter().any(
        |line| line.starts_with("identity.rules[0] (uri strongroom://") && line.contains("does not match: the certificate has no URI")
    ));
    assert!(lines.iter().any(|line| line.starts_with("identity.rules[1]") && line.ends_with("matches")));
    assert_eq!(lines.last().map(String::as_str), Some("role service, tenant acme, service billing, by identity.rules[1]"));
    let refused = both().principal(&with_uri("strongroom://Acme/billing/service")).expect_err("it is refused").to_string();
    assert!(refused.contains("identity.rules[0] matches, but \"Acme\" is not a tenant"), "{refused}");
}

#[test]
fn texts_out_of_a_certificate_are_cut_and_escaped() {
    let long = format!("strongroom://acme/billing/{}", "\u{22}".repeat(300));
    let line = both().principal(&with_uri(&long)).expect_err("it is refused").to_string();
    assert!(line.len() < 500 && line.contains("\\\""), "{line}");
}
