//! The OpenAPI document: what the routes say of themselves, under one head.

use std::collections::BTreeMap;

use utoipa::openapi::{Object, OpenApi as Document, RefOr, Schema};
use utoipa::{IntoResponses, OpenApi};
use yaml_rust2::{YamlEmitter, YamlLoader};

use crate::admin::routes;
use crate::admin::types::Problem;

/// What stands above the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Strongroom admin interface",
        description = "For operators, auditors and tenant-admins: over mutual TLS on `listeners.admin`, where the client's certificate says who calls, \
                       and for root and the daemon's own user, as operators, on the Unix socket below data_dir.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "node", description = "The node, its seal and its roots"),
        (name = "kek", description = "The Internal Versioned Key, which wraps the tenants' keys"),
        (name = "tenants", description = "Who keeps keys here"),
        (name = "edges", description = "Which edges may keep whose objects"),
        (name = "keys", description = "The keys of tenants and services: what they are, never what is in them"),
        (name = "keystores", description = "Where rows are stored, and moving them elsewhere"),
        (name = "reports", description = "Evidence, signed by the node")
    ),
    components(schemas(Problem))
)]
struct Head;

/// How any call may be refused; every such answer is problem details (RFC 9457).
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only the document is made of it; the answers are made by admin::status")]
pub(super) enum Refusals {
    /// The request cannot be taken
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(Problem),
    /// The caller's role does not allow it
    #[response(status = 403, content_type = "application/problem+json")]
    Denied(Problem),
    /// There is no such thing for this caller
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// What is there does not allow it now
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// The body is longer than 256 KiB
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not of the documented media type
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(Problem),
    /// Too much of it came of late
    #[response(
        status = 429, content_type = "application/problem+json",
        headers(("Retry-After" = u64, description = "Seconds after which another call comes through, if too many came of one client"))
    )]
    TooMany(Problem),
    /// Stored data did not verify
    #[response(status = 500, content_type = "application/problem+json")]
    Corrupt(Problem),
    /// The node is sealed, or a part of it does not work now
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// The head alone, for the routes to be hung below.
pub(super) fn head() -> Document {
    let mut head = Head::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut head.info.version);
    head
}

/// The whole document.
#[must_use]
pub fn whole() -> Document {
    let mut document = routes::documented().split_for_parts().1;
    merge_tags(&mut document);
    document
}

/// As JSON, for programs.
#[must_use]
pub fn json() -> String {
    serde_json::to_string_pretty(&whole()).expect("texts, numbers, lists and maps of them always print")
}

/// A tagged variant is told as its structure and its tag side by side, and a structure that takes no further fields refuses the tag: nothing would
/// fit both. They become one object.
fn merge_tags(document: &mut Document) {
    let Some(components) = &mut document.components else { return };
    let schemas = components.schemas.clone();
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::OneOf(variants)) = schema else { continue };
        for variant in &mut variants.items {
            if let Some(merged) = merged(&schemas, variant) {
                *variant = RefOr::T(Schema::Object(merged));
            }
        }
    }
}

fn merged(schemas: &BTreeMap<String, RefOr<Schema>>, variant: &RefOr<Schema>) -> Option<Object> {
    let RefOr::T(Schema::AllOf(all)) = variant else { return None };
    let [RefOr::Ref(structure), RefOr::T(Schema::Object(tag))] = all.items.as_slice() else { return None };
    let RefOr::T(Schema::Object(structure)) = schemas.get(structure.ref_location.rsplit('/').next()?)? else { return None };
    let mut merged = structure.clone();
    merged.properties.extend(tag.properties.clone());
    merged.required.extend(tag.required.clone());
    merged.description.clone_from(&all.description);
    Some(merged)
}

/// As YAML, for people: `docs/openapi.yaml`.
#[must_use]
pub fn yaml() -> String {
    let documents = YamlLoader::load_from_str(&json()).expect("every JSON text is a YAML document");
    let mut text = String::new();
    for document in &documents {
        YamlEmitter::new(&mut text).dump(document).expect("writing into a String does not fail");
    }
    text.trim_start_matches("---\n").to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn docs_openapi_yaml_is_what_the_routes_say() {
        let checked_in = include_str!("../../../docs/openapi.yaml");
        assert!(checked_in == yaml(), "docs/openapi.yaml is stale: cargo run --bin strongroom -- openapi > docs/openapi.yaml");
    }

    /// Nothing fitted what the document said of a ceremony, so no client made from it could start one.
    #[test]
    fn a_tagged_variant_takes_its_tag() {
        let document: Value = serde_json::from_str(&json()).expect("it is JSON");
        let variants = document["components"]["schemas"]["NewCeremony"]["oneOf"].as_array().expect("variants");
        assert_eq!(variants.len(), 4);
        for variant in variants {
            assert!(variant["properties"]["operation"]["enum"].is_array() && variant["additionalProperties"] == false, "{variant}");
            assert!(variant["required"].as_array().is_some_and(|names| names.contains(&"operation".into())), "{variant}");
        }
    }

    #[test]
    fn every_operation_says_what_it_does_and_how_it_is_refused() {
        let document: Value = serde_json::from_str(&json()).expect("it is JSON");
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().expect("paths");
        assert!(paths.len() >= 9, "{paths:?}");
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().expect("operations") {
                assert!(operation["summary"].is_string(), "{method} {path}");
                let answers = operation["responses"].as_object().expect("answers");
                assert!(answers.values().all(|answer| answer["description"].is_string()), "{method} {path}: {answers:?}");
                assert!(operation["responses"]["403"]["content"]["application/problem+json"].is_object(), "{method} {path}: {operation}");
            }
        }
    }
}
