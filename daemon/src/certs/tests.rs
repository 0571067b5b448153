//! What the small CA makes, read back by another parser, and what it does not sign.

use std::os::unix::fs::PermissionsExt;

use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

use super::*;
use crate::identity::{RuleText, Rules};

const NOW: Time = Time::from_seconds(1_893_456_000);
const DAY: Duration = Duration::from_secs(86_400);

fn day() -> Validity {
    Validity::starting(NOW, DAY).expect("a day is a validity")
}

fn ca() -> Ca {
    Ca::create("Test CA", day()).expect("a CA can be made").0
}

fn name(text: &str) -> ScopeName {
    text.parse().expect("the text is a name")
}

fn client(tenant: Option<&str>, who: &str, role: Role) -> Holder {
    Holder::Client(ClientName::new(tenant.map(name), name(who), role).expect("the name is well-formed"))
}

fn pem(text: &str) -> Pem {
    parse_x509_pem(text.as_bytes()).expect("the text is PEM").1
}

fn parse(pem: &Pem) -> X509Certificate<'_> {
    pem.parse_x509().expect("the certificate reads")
}

fn request(kind: &'static rcgen::SignatureAlgorithm) -> String {
    let key = KeyPair::generate_for(kind).expect("a key can be made");
    let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).expect("the name is well-formed");
    params.distinguished_name.push(DnType::OrganizationName, "globex");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.serialize_request(&key).expect("a request can be made").pem().expect("it prints")
}

#[test]
fn a_client_certificate_says_the_same_by_uri_and_by_subject() {
    let subject = [("O", "{tenant}"), ("OU", "{role}"), ("CN", "{service}")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let by_subject =
        Rules::parse(vec![RuleText { subject: Some(subject.into()), ..RuleText::default() }]).expect("the rule is well-formed");
    for (tenant, who, role) in [
        (Some("acme"), "billing", Role::Service),
        (Some("acme"), "alice", Role::TenantAdmin),
        (None, "bob", Role::Operator),
        (None, "carol", Role::Custodian),
        (None, "dave", Role::Auditor),
        (None, "edge-1", Role::Edge),
    ] {
        let issued = ca().issue(&client(tenant, who, role), day()).expect("it can be issued");
        let der = pem(&issued.certificate).contents;
        let (principal, _) = Rules::default().principal(&der).expect("the default rule matches");
        assert_eq!((principal.role, principal.tenant.as_ref().map(ScopeName::as_str)), (role, tenant));
        assert_eq!(principal.service.as_ref().map(ScopeName::as_str), matches!(role, Role::Service | Role::Edge).then_some(who));
        let (same, _) = by_subject.principal(&der).expect("the subject rule matches");
        assert_eq!(same, principal);
    }
}

#[test]
fn a_role_has_a_tenant_or_has_none() {
    for role in [Role::Service, Role::TenantAdmin] {
        assert!(matches!(ClientName::new(None, name("x"), role), Err(CertError::Tenant { wants_tenant: true, .. })));
    }
    for role in [Role::Edge, Role::Operator, Role::Custodian, Role::Auditor] {
        assert!(matches!(ClientName::new(Some(name("acme")), name("x"), role), Err(CertError::Tenant { wants_tenant: false, .. })));
    }
}

#[test]
fn a_server_certificate_is_for_this_machine_and_the_given_names() {
    let holder = Holder::Server { names: vec!["kms.example.com".to_owned(), "10.0.0.7".to_owned()] };
    let issued = pem(&ca().issue(&holder, day()).expect("it can be issued").certificate);
    let certificate = parse(&issued);
    let names = certificate.subject_alternative_name().expect("the extension reads").expect("there is one");
    let dns: Vec<_> =
        names.value.general_names.iter().filter_map(|name| if let GeneralName::DNSName(dns) = name { Some(*dns) } else { None }).collect();
    let addresses = names
        .value
        .general_names
        .iter()
        .filter_map(|name| if let GeneralName::IPAddress(bytes) = name { Some(bytes.to_vec()) } else { None });
    assert_eq!(dns, ["localhost", "kms.example.com"]);
    assert_eq!(addresses.collect::<Vec<_>>()[..1], [vec![127, 0, 0, 1]]);
    let usage = certificate.extended_key_usage().expect("the extension reads").expect("there is one").value;
    assert!(usage.server_auth && !usage.client_auth && !certificate.is_ca());
    for bad in ["", "a b", "http://x", "a/b", "-x", "a..b", "x\0"] {
        let holder = Holder::Server { names: vec![bad.to_owned()] };
        assert!(matches!(ca().issue(&holder, day()), Err(CertError::ServerName { .. })), "{bad:?}");
    }
}

#[test]
fn a_certificate_is_valid_as_long_as_it_was_told_and_has_a_serial_number_of_its_own() {
    let ca = ca();
    let past = Validity::between(Time::from_seconds(1_000_000_000), Time::from_seconds(1_000_000_060)).expect("a minute is a validity");
    let holder = client(Some("acme"), "billing", Role::Service);
    let (one, two) = (ca.issue(&holder, past).expect("it can be issued"), ca.issue(&holder, past).expect("it can be issued"));
    let (one, two) = (pem(&one.certificate), pem(&two.certificate));
    let (one, two) = (parse(&one), parse(&two));
    assert_eq!((one.validity().not_before.timestamp(), one.validity().not_after.timestamp()), (1_000_000_000, 1_000_000_060));
    assert_ne!(one.raw_serial(), two.raw_serial());
    assert!((1..=20).contains(&one.raw_serial().len()));
}

#[test]
fn impossible_validities_are_refused() {
    let seconds = Time::from_seconds;
    for (from, to) in [(10, 10), (10, 9), (-1, 10), (10, LAST_SECOND + 1), (i64::MAX, i64::MAX)] {
        assert!(matches!(Validity::between(seconds(from), seconds(to)), Err(CertError::Validity)), "{from} {to}");
    }
    assert!(matches!(Validity::starting(NOW, Duration::MAX), Err(CertError::Validity)));
    assert!(matches!(Validity::starting(NOW, Duration::ZERO), Err(CertError::Validity)));
    assert!(Validity::between(seconds(0), seconds(LAST_SECOND)).is_ok());
}

#[test]
fn a_request_gets_its_key_certified_and_none_of_its_wishes() {
    for kind in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256] {
        let request = request(kind);
        let signed = ca().sign(&request, &client(Some("acme"), "billing", Role::Service), day()).expect("it can be signed");
        let signed = pem(&signed);
        let certificate = parse(&signed);
        let der = pem(&request).contents;
        let (_, parsed) = X509CertificationRequest::from_der(&der).expect("the request reads");
        assert_eq!(certificate.public_key().raw, parsed.certification_request_info.subject_pki.raw);
        assert_eq!(certificate.subject().to_string(), "O=acme, OU=service, CN=billing");
        let names = certificate.subject_alternative_name().expect("the extension reads").expect("there is one");
        assert!(matches!(names.value.general_names[..], [GeneralName::URI("strongroom://acme/billing/service")]));
        assert!(!certificate.is_ca());
    }
}

#[test]
fn requests_that_do_not_prove_their_key_are_refused() {
    let holder = client(Some("acme"), "billing", Role::Service);
    let refused = |text: &str| ca().sign(text, &holder, day()).expect_err("it must be refused").to_string();
    assert!(refused("").contains("not PEM"));
    assert!(refused("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n").contains("damaged"));
    let certificate = ca().issue(&holder, day()).expect("it can be issued").certificate;
    assert!(refused(&certificate).contains("a CERTIFICATE, not a CERTIFICATE REQUEST"));
    let good = request(&rcgen::PKCS_ECDSA_P256_SHA256);
    // A character of the last line: the end of the signature.
    let at = good.rfind("\n-----END").expect("it is PEM") - 8;
    let other = if good.as_bytes()[at] == b'A' { "B" } else { "A" };
    let forged = format!("{}{other}{}", &good[..at], &good[at + 1..]);
    assert!(refused(&forged).contains("not by its own key"));
}

#[test]
fn files_are_private_and_replaced_as_a_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (certificate, key) = (folder.path().join("a.pem"), folder.path().join("a.key"));
    std::fs::write(&key, "old").expect("it can be written");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("the mode can be set");
    let issued = ca().issue(&client(None, "bob", Role::Operator), day()).expect("it can be issued");
    issued.write(&certificate, &key).expect("it can be written");
    for (path, text) in [(&certificate, &issued.certificate), (&key, &*issued.key)] {
        assert_eq!(&std::fs::read_to_string(path).expect("it reads"), text);
        assert_eq!(std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder reads").count(), 2, "nothing is left over");
    let missing = folder.path().join("missing/a.pem");
    assert!(issued.write(&missing, &missing).expect_err("no folder").to_string().contains("missing/a.pem"));
}

#[test]
fn a_ca_reads_back_and_mixed_up_files_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let at = |name: &str| folder.path().join(name);
    let (_, issued) = Ca::create("One", day()).expect("a CA can be made");
    issued.write(&at("one.pem"), &at("one.key")).expect("it can be written");
    let one = Ca::load(&at("one.pem"), &at("one.key")).expect("it reads back");
    let (_, other) = Ca::create("Two", day()).expect("a CA can be made");
    other.write(&at("two.pem"), &at("two.key")).expect("it can be written");
    let leaf = one.issue(&client(None, "bob", Role::Operator), day()).expect("it can be issued");
    assert_eq!(parse(&pem(&leaf.certificate)).issuer().to_string(), "CN=One");
    leaf.write(&at("leaf.pem"), &at("leaf.key")).expect("it can be written");
    let refused = |certificate: &str, key: &str| Ca::load(&at(certificate), &at(key)).err().expect("it must be refused").to_string();
    assert!(refused("one.pem", "two.key").contains("does not belong to the key"));
    assert!(refused("leaf.pem", "leaf.key").contains("is not the certificate of a CA"));
    assert!(refused("one.key", "one.key").contains("one.key"));
    assert!(refused("one.pem", "one.pem").contains("no private key"));
    assert!(refused("none.pem", "one.key").contains("none.pem"));
}

#[test]
fn nothing_prints_a_private_key() {
    let issued = ca().issue(&client(None, "bob", Role::Operator), day()).expect("it can be issued");
    assert!(!format!("{issued:?}").contains("PRIVATE KEY"));
}
