//! Query, 4.25.

use keys::policy::{Action, NodeRole};

use super::{object_types, offered};
use crate::context::Context;
use crate::enums::{DestroyAction, QueryFunction, RngMode};
use crate::failure::Failure;
use crate::object::CapabilityInformation;
use crate::payload::{QueryRequest, QueryResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::template::GENERATOR;
use crate::ttlv::Writer;

/// Vendor Identification: the product and its version, nothing about where it runs.
const VENDOR: &str = concat!("strongroom ", env!("CARGO_PKG_VERSION"));

pub(super) fn run(context: &Context<'_>, request: &QueryRequest, out: &mut Writer<'_>) -> Result<(), Failure> {
    context.grants.check_plain(Action::Query, None)?;
    let mut response = QueryResponse::default();
    for function in &request.functions {
        match function {
            QueryFunction::QueryOperations => response.operations = offered(context.vault.node()).collect(),
            QueryFunction::QueryObjects => response.object_types = object_types(context.vault.node()),
            QueryFunction::QueryServerInformation => response.vendor_identification = Some(VENDOR),
            QueryFunction::QueryRNGs => response.rng_parameters = vec![GENERATOR],
            QueryFunction::QueryCapabilities => response.capability_information = vec![capabilities(context.vault.node())],
            // Nothing to list: no namespaces, extensions, attestation, validations, profiles or registration methods.
            QueryFunction::QueryApplicationNamespaces
            | QueryFunction::QueryExtensionList
            | QueryFunction::QueryExtensionMap
            | QueryFunction::QueryAttestationTypes
            | QueryFunction::QueryValidations
            | QueryFunction::QueryProfiles
            | QueryFunction::QueryClientRegistrationMethods => {}
            QueryFunction::Extension(_) => return Err(Failure::field("Query Function: there is no such function")),
        }
    }
    response.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

fn capabilities(node: NodeRole) -> CapabilityInformation {
    CapabilityInformation {
        streaming: Some(true),
        asynchronous: Some(false),
        attestation: Some(false),
        batch_undo: Some(true),
        batch_continue: Some(true),
        destroy_action: Some(DestroyAction::KeyMaterialDeleted),
        // The system's one generator is everybody's; a core gives nothing of it.
        rng_mode: (node == NodeRole::Edge).then_some(RngMode::SharedInstantiation),
        ..CapabilityInformation::default()
    }
}
