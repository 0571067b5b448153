//! The operations offered, one file each: a typed request, a few verbs of the vault, the response payload.

mod activate;
mod archive;
mod attribute;
mod check;
mod create;
mod create_key_pair;
mod decrypt;
mod derive_key;
mod destroy;
mod discover_versions;
mod encrypt;
mod get;
mod get_attribute_list;
mod get_attributes;
mod get_usage_allocation;
mod hash;
mod import;
pub(crate) mod locate;
mod mac;
pub(crate) mod object_key;
mod obtain_lease;
mod query;
mod re_key;
mod re_key_pair;
mod register;
mod revoke;
mod rng;
mod rsa;
mod sign;

use keys::id::{Layer, RowId};
use keys::policy::{Action, NodeRole};

use crate::context::Context;
use crate::enums::{ObjectType, Operation, ResultReason};
use crate::failure::Failure;
use crate::forward;
use crate::message::{OperationNumber, RequestBatchItem};
use crate::payload::{
    ActivateRequest, AddAttributeRequest, ArchiveRequest, CheckRequest, CreateKeyPairRequest, CreateRequest, DecryptRequest,
    DeleteAttributeRequest, DeriveKeyRequest, DestroyRequest, DiscoverVersionsRequest, EncryptRequest, ExportRequest,
    GetAttributeListRequest, GetAttributesRequest, GetRequest, GetUsageAllocationRequest, HashRequest, ImportRequest, LocateRequest,
    MacRequest, MacVerifyRequest, ModifyAttributeRequest, ObtainLeaseRequest, QueryRequest, ReKeyKeyPairRequest, ReKeyRequest,
    RecoverRequest, RegisterRequest, RevokeRequest, RngRetrieveRequest, RngSeedRequest, SignRequest, SignatureVerifyRequest,
};
use crate::schema::Decode;
use crate::tag::Tag;
use crate::ttlv::{Item, Writer};
use crate::version::ProtocolVersion;

/// What is offered, under which action it is allowed and recorded, and by whom; Query lists it.
const OFFERED: &[(Operation, Action, By)] = &[
    (Operation::Create, Action::Create, By::All),
    (Operation::CreateKeyPair, Action::CreateKeyPair, By::Edge),
    (Operation::Register, Action::Register, By::Edge),
    (Operation::ReKey, Action::ReKey, By::All),
    (Operation::DeriveKey, Action::DeriveKey, By::Edge),
    (Operation::Locate, Action::Locate, By::All),
    (Operation::Check, Action::Check, By::All),
    (Operation::Get, Action::Get, By::All),
    (Operation::GetAttributes, Action::GetAttributes, By::All),
    (Operation::GetAttributeList, Action::GetAttributeList, By::All),
    (Operation::AddAttribute, Action::AddAttribute, By::All),
    (Operation::ModifyAttribute, Action::ModifyAttribute, By::All),
    (Operation::DeleteAttribute, Action::DeleteAttribute, By::All),
    (Operation::ObtainLease, Action::ObtainLease, By::Edge),
    (Operation::GetUsageAllocation, Action::GetUsageAllocation, By::Edge),
    (Operation::Activate, Action::Activate, By::All),
    (Operation::Revoke, Action::Revoke, By::All),
    (Operation::Destroy, Action::Destroy, By::All),
    (Operation::Archive, Action::Archive, By::Edge),
    (Operation::Recover, Action::Recover, By::Edge),
    (Operation::Query, Action::Query, By::All),
    (Operation::ReKeyKeyPair, Action::ReKeyKeyPair, By::Edge),
    (Operation::DiscoverVersions, Action::DiscoverVersions, By::All),
    (Operation::Encrypt, Action::Encrypt, By::All),
    (Operation::Decrypt, Action::Decrypt, By::All),
    (Operation::Sign, Action::Sign, By::Edge),
    (Operation::SignatureVerify, Action::SignatureVerify, By::Edge),
    (Operation::Mac, Action::Mac, By::Edge),
    (Operation::MacVerify, Action::MacVerify, By::Edge),
    (Operation::RngRetrieve, Action::RngRetrieve, By::Edge),
    (Operation::RngSeed, Action::RngSeed, By::Edge),
    (Operation::Hash, Action::Hash, By::Edge),
    (Operation::Import, Action::Import, By::Edge),
    (Operation::Export, Action::Export, By::All),
];

/// Which nodes offer an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    All,
    Edge,
}

impl By {
    fn has(self, node: NodeRole) -> bool {
        match self {
            Self::All => true,
            Self::Edge => node == NodeRole::Edge,
        }
    }
}

/// The operations that a node offers.
pub(crate) fn offered(node: NodeRole) -> impl Iterator<Item = Operation> {
    OFFERED.iter().filter(move |row| row.2.has(node)).map(|row| row.0)
}

/// Most searches of one message: each may look at as many rows as the domain lets one.
pub(crate) const SEARCHES_MAX: usize = 16;

/// The object types that a node keeps.
pub(crate) fn object_types(node: NodeRole) -> Vec<ObjectType> {
    match node {
        NodeRole::Core => vec![ObjectType::SymmetricKey],
        NodeRole::Edge => vec![
            ObjectType::Certificate,
            ObjectType::SymmetricKey,
            ObjectType::PublicKey,
            ObjectType::PrivateKey,
            ObjectType::Template,
            ObjectType::SecretData,
            ObjectType::OpaqueObject,
        ],
    }
}

/// Under which action an item is recorded.
pub(crate) fn action(operation: OperationNumber, version: ProtocolVersion) -> Action {
    let known = operation.known_in(version);
    OFFERED.iter().find(|row| Some(row.0) == known).map_or(Action::Unsupported, |row| row.1)
}

/// Whether the operation leaves an object in the ID Placeholder, or (Check) says whether what is there may be used. Its failure has to empty
/// it: what follows in the batch was meant for that object and no other.
pub(crate) fn decides_on_placeholder(operation: OperationNumber) -> bool {
    let making = [Operation::Create, Operation::CreateKeyPair, Operation::Register, Operation::DeriveKey, Operation::Import];
    let replacing = [Operation::ReKey, Operation::ReKeyKeyPair];
    let deciding = [Operation::Locate, Operation::Check, Operation::Recover, Operation::Export];
    making.into_iter().chain(replacing).chain(deciding).any(|one| operation == one.into())
}

/// Does one item and writes the response payload. What it wrote or staged before it failed is the caller's to take back.
///
/// The rarer operations lie on the heap while they run: else every idle connection would have room for the largest of them.
pub(crate) async fn run(context: &mut Context<'_>, item: &RequestBatchItem<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let (rules, payload) = (context.rules, item.payload);
    if let Some(layer) = forward::layer_at_core(context.vault.node(), context.grants.role(), context.rules, item) {
        return Box::pin(forward::run(context, item, layer, out)).await;
    }
    let node = context.vault.node();
    match item.operation.known_in(rules.version).filter(|operation| !is_elsewhere(*operation, node)) {
        Some(Operation::Create) => Box::pin(create::run(context, CreateRequest::decode(payload, rules)?, out)).await,
        Some(Operation::CreateKeyPair) => Box::pin(create_key_pair::run(context, CreateKeyPairRequest::decode(payload, rules)?, out)).await,
        Some(Operation::Register) => Box::pin(register::run(context, RegisterRequest::decode(payload, rules)?, out)).await,
        Some(Operation::ReKey) => Box::pin(re_key::run(context, ReKeyRequest::decode(payload, rules)?, out)).await,
        Some(Operation::ReKeyKeyPair) => Box::pin(re_key_pair::run(context, ReKeyKeyPairRequest::decode(payload, rules)?, out)).await,
        Some(Operation::DeriveKey) => Box::pin(derive_key::run(context, DeriveKeyRequest::decode(payload, rules)?, out)).await,
        Some(Operation::Locate) => Box::pin(locate::run(context, LocateRequest::decode(payload, rules.locating())?, out)).await,
        Some(Operation::Check) => Box::pin(check::run(context, CheckRequest::decode(payload, rules)?, out)).await,
        Some(Operation::Get) => Box::pin(get::get(context, GetRequest::decode(payload, rules)?, out)).await,
        Some(Operation::GetAttributes) => get_attributes::run(context, GetAttributesRequest::decode(payload, rules)?, out).await,
        Some(Operation::GetAttributeList) => get_attribute_list::run(context, GetAttributeListRequest::decode(payload, rules)?, out).await,
        Some(Operation::AddAttribute) => Box::pin(attribute::add(context, AddAttributeRequest::decode(payload, rules)?, out)).await,
        Some(Operation::ModifyAttribute) => {
            Box::pin(attribute::modify(context, ModifyAttributeRequest::decode(payload, rules)?, out)).await
        }
        Some(Operation::DeleteAttribute) => {
            Box::pin(attribute::delete(context, DeleteAttributeRequest::decode(payload, rules)?, out)).await
        }
        Some(Operation::ObtainLease) => Box::pin(obtain_lease::run(context, ObtainLeaseRequest::decode(payload, rules)?, out)).await,
        Some(Operation::GetUsageAllocation) => {
            Box::pin(get_usage_allocation::run(context, GetUsageAllocationRequest::decode(payload, rules)?, out)).await
        }
        Some(Operation::Activate) => Box::pin(activate::run(context, ActivateRequest::decode(payload, rules)?, out)).await,
        Some(Operation::Revoke) => Box::pin(revoke::run(context, RevokeRequest::decode(payload, rules)?, out)).await,
        Some(Operation::Destroy) => Box::pin(destroy::run(context, DestroyRequest::decode(payload, rules)?, out)).await,
        Some(Operation::Archive) => Box::pin(archive::archive(context, ArchiveRequest::decode(payload, rules)?, out)).await,
        Some(Operation::Recover) => Box::pin(archive::recover(context, RecoverRequest::decode(payload, rules)?, out)).await,
        Some(Operation::Query) => query::run(context, &QueryRequest::decode(payload, rules)?, out),
        Some(Operation::DiscoverVersions) => discover_versions::run(context, &DiscoverVersionsRequest::decode(payload, rules)?, out),
        Some(Operation::Encrypt) => encrypt::run(context, EncryptRequest::decode(payload, rules)?, out).await,
        Some(Operation::Decrypt) => decrypt::run(context, DecryptRequest::decode(payload, rules)?, out).await,
        Some(Operation::Sign) => Box::pin(sign::sign(context, SignRequest::decode(payload, rules)?, out)).await,
        Some(Operation::SignatureVerify) => {
            Box::pin(sign::signature_verify(context, SignatureVerifyRequest::decode(payload, rules)?, out)).await
        }
        Some(Operation::Mac) => Box::pin(mac::generate(context, MacRequest::decode(payload, rules)?, out)).await,
        Some(Operation::MacVerify) => Box::pin(mac::verify(context, MacVerifyRequest::decode(payload, rules)?, out)).await,
        Some(Operation::RngRetrieve) => rng::retrieve(context, &RngRetrieveRequest::decode(payload, rules)?, out),
        Some(Operation::RngSeed) => rng::seed(context, &RngSeedRequest::decode(payload, rules)?, out),
        Some(Operation::Hash) => hash::run(context, HashRequest::decode(payload, rules)?, out),
        Some(Operation::Import) => Box::pin(import::run(context, ImportRequest::decode(payload, rules)?, out)).await,
        Some(Operation::Export) => Box::pin(get::export(context, ExportRequest::decode(payload, rules)?, out)).await,
        _ => Err(refusal(item.operation.known_in(rules.version), node, payload)),
    }
}

/// Does only another kind of node offer it?
fn is_elsewhere(operation: Operation, node: NodeRole) -> bool {
    OFFERED.iter().any(|row| row.0 == operation && !row.2.has(node))
}

/// Why an operation is not done here. What plainly is for an edge gets an answer that says so.
fn refusal(operation: Option<Operation>, node: NodeRole, payload: Item<'_>) -> Failure {
    let makes_pair = matches!(operation, Some(Operation::CreateKeyPair | Operation::ReKeyKeyPair));
    if node == NodeRole::Core && operation.is_some() && (makes_pair || names_l4(payload).unwrap_or(false)) {
        return Failure::held_by_edge();
    }
    let message = match node {
        NodeRole::Core => "this operation is not offered by a core in this protocol version",
        NodeRole::Edge => "this operation is not offered by an edge in this protocol version",
    };
    Failure::invalid(ResultReason::OperationNotSupported, message)
}

/// Whether a payload that is not decoded names an L4 or a type of object that only edges keep.
fn names_l4(payload: Item<'_>) -> Result<bool, crate::error::Error> {
    let mut fields = payload.fields()?;
    while let Some(field) = fields.next_item()? {
        let is_l4 = match field.tag {
            Tag::UNIQUE_IDENTIFIER => field.text()?.parse::<RowId>().is_ok_and(|id| id.layer == Layer::L4),
            Tag::OBJECT_TYPE => field.enumeration()? != ObjectType::SymmetricKey.number(),
            _ => false,
        };
        if is_l4 {
            return Ok(true);
        }
    }
    Ok(false)
}
