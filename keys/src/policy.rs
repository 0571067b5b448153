//! Who may do what: one table of action, node role, layer and principal role, and the proof values that it hands out.
//!
//! `Grants` are resolved once per connection and policy epoch. [`Grants::check`] and its like for edges are the only makers of [`Authorized`], and every `Vault` verb that
//! touches an object consumes one, so an operation that forgets to ask does not compile.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::edges::EdgeGroup;
use crate::id::{Generation, Layer, RowId, ScopeName, ServiceId, TenantId};
use crate::port::Scope;
use crate::row::{Header, Owner};

/// Where this process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// Owns L2, L2.1 and L3.
    Core,
    /// Owns L4.
    Edge,
}

/// What a principal is; the number is stored in audit records and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Role {
    /// A workload: uses its service's keys.
    Service = 1,
    /// Governs its tenant's keys, sees no clear material.
    TenantAdmin = 2,
    /// An edge node.
    Edge = 3,
    /// Runs the appliance, touches no tenant's material.
    Operator = 4,
    /// Holds a shard and approves ceremonies.
    Custodian = 5,
    /// Reads audit, metrics and reports.
    Auditor = 6,
}

impl Role {
    /// Every role, for tables and tests.
    pub const ALL: [Self; 6] = [Self::Service, Self::TenantAdmin, Self::Edge, Self::Operator, Self::Custodian, Self::Auditor];

    /// The role's name in certificates, config and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::TenantAdmin => "tenant-admin",
            Self::Edge => "edge",
            Self::Operator => "operator",
            Self::Custodian => "custodian",
            Self::Auditor => "auditor",
        }
    }

    /// The inverse of [`Role::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// Everything that is authorized and audited; the number is stored and never reused. 1 to 99 are KMIP's own operation numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u16)]
pub enum Action {
    /// KMIP Create.
    Create = 1,
    /// KMIP Create Key Pair.
    CreateKeyPair = 2,
    /// KMIP Register.
    Register = 3,
    /// KMIP Re-key.
    ReKey = 4,
    /// KMIP Derive Key.
    DeriveKey = 5,
    /// KMIP Locate.
    Locate = 8,
    /// KMIP Check.
    Check = 9,
    /// KMIP Get.
    Get = 10,
    /// KMIP Get Attributes.
    GetAttributes = 11,
    /// KMIP Get Attribute List.
    GetAttributeList = 12,
    /// KMIP Add Attribute.
    AddAttribute = 13,
    /// KMIP Modify Attribute.
    ModifyAttribute = 14,
    /// KMIP Delete Attribute.
    DeleteAttribute = 15,
    /// KMIP Obtain Lease.
    ObtainLease = 16,
    /// KMIP Get Usage Allocation, or a node's own share of a key's Usage Limits.
    GetUsageAllocation = 17,
    /// KMIP Activate.
    Activate = 18,
    /// KMIP Revoke.
    Revoke = 19,
    /// KMIP Destroy.
    Destroy = 20,
    /// KMIP Archive.
    Archive = 21,
    /// KMIP Recover.
    Recover = 22,
    /// KMIP Query.
    Query = 24,
    /// KMIP Re-key Key Pair.
    ReKeyKeyPair = 29,
    /// KMIP Discover Versions.
    DiscoverVersions = 30,
    /// KMIP Encrypt.
    Encrypt = 31,
    /// KMIP Decrypt.
    Decrypt = 32,
    /// KMIP Sign.
    Sign = 33,
    /// KMIP Signature Verify.
    SignatureVerify = 34,
    /// KMIP MAC.
    Mac = 35,
    /// KMIP MAC Verify.
    MacVerify = 36,
    /// KMIP RNG Retrieve.
    RngRetrieve = 37,
    /// KMIP RNG Seed.
    RngSeed = 38,
    /// KMIP Hash.
    Hash = 39,
    /// KMIP Import.
    Import = 42,
    /// KMIP Export.
    Export = 43,
    /// A KMIP operation that this node does not offer.
    Unsupported = 99,
    /// First start of a cluster.
    Init = 100,
    /// The node became able to serve keys.
    Unseal = 101,
    /// The node forgot its keys.
    Seal = 102,
    /// The process started.
    Start = 103,
    /// The process stopped in good order.
    Stop = 104,
    /// Status, lists of tenants and services, and other reads of the admin interface.
    Inspect = 110,
    /// A tenant was made.
    CreateTenant = 111,
    /// A service was made.
    CreateService = 112,
    /// A seal slot was test-opened.
    VerifySlot = 113,
    /// The list of keys of the admin interface.
    ListKeys = 114,
    /// An edge group was enrolled, or its tenants changed.
    EnrolEdge = 115,
    /// An edge group was revoked.
    RevokeEdge = 116,
    /// A tenant was disabled: nothing of it is served.
    DisableTenant = 117,
    /// A tenant that was disabled is served again.
    EnableTenant = 118,
    /// A state of the platform was approved for a TPM's slot.
    ApproveState = 119,
    /// A peer without a rule, or a certificate that does not hold.
    Connect = 120,
    /// The MasterKey was sealed in a further slot.
    AddSlot = 123,
    /// A seal slot was removed.
    RemoveSlot = 124,
    /// Somebody looked who keeps the shards of a slot, or what custodians are asked.
    ListShards = 125,
    /// A person gave a shard of a slot.
    GiveShard = 126,
    /// A block of random IVs was reserved for a key.
    ReserveIvs = 121,
    /// Certificates, CAs, revocation lists or identity rules were read anew, and taken or refused.
    ReloadTrust = 122,
    /// Custodians were asked to approve something.
    StartCeremony = 127,
    /// A custodian approved or cancelled a ceremony.
    Vote = 128,
    /// A ceremony ended: done, failed, cancelled or out of time.
    EndCeremony = 129,
    /// The background sweep found a damaged record.
    Sweep = 130,
    /// The root records were wrapped under another MasterKey.
    RekeyMaster = 131,
    /// The IVK has a new version.
    RotateIvk = 132,
    /// Keys were wrapped under a newer version of what is above them.
    Reencrypt = 133,
    /// Re-encryption was started, paused or resumed.
    ControlReencryption = 134,
    /// Others approve ceremonies from then on.
    ChangeRoster = 135,
    /// A version of the IVK was archived, because no key lies under it any more.
    RetireIvk = 136,
    /// A version of an L3 was archived, because no edge needs it any more.
    RetireKey = 138,
    /// An earlier version of an L2.1 became Active again.
    RollBack = 139,
    /// A version of the IVK was destroyed, after its custodians had approved it.
    DestroyIvk = 137,
    /// A key's end by its dates was written down.
    Expire = 152,
    /// Everything below a key that others may know is to get new material.
    OrderRenewal = 153,
    /// Everything below such a key has got new material.
    EndRenewal = 154,
    /// A service was deployed: its default key gets a next version.
    DeployService = 155,
    /// A report on rotation was made and signed.
    ReportRotation = 156,
    /// A version of the IVK was made that waits to be rotated to.
    GenerateIvk = 157,
    /// Calls of the admin interface were turned away, because more came of one client than may.
    LimitCalls = 158,
    /// A key was sealed anew whose blobs and whose parent's record named different algorithms.
    RepairKey = 159,
    /// The IVK was rotated because a tenant had left.
    OffBoardTenant = 160,
    /// The program behind a keystore was started.
    StartPlugin = 161,
    /// It was not started, because it is another one than was pinned, or cannot run.
    RefusePlugin = 162,
    /// It has ended by itself, or was ended because it hung.
    EndPlugin = 163,
    /// Rows are to be moved from one keystore to another.
    MigrateKeystore = 165,
    /// Such rows are to stay where they are.
    AbortMigration = 166,
    /// Such rows belong to the other keystore from now on.
    SwitchKeystore = 167,
    /// Nothing is left of them where they were, or of their copies if they stay.
    EndMigration = 168,
    /// A node began to use a keystore that others may share with it.
    JoinKeystore = 171,
    /// A keystore that was away when the node started is awaited, has come, or is another one than is meant.
    AwaitKeystore = 175,
    /// An edge's object key was wrapped under an L3.
    WrapObjectKey = 140,
    /// An edge's object key was opened.
    UnwrapObjectKey = 141,
    /// KMIP Encrypt with AES-GCM and an IV of the client's choice.
    EncryptWithOwnIv = 145,
    /// An edge was told what it may serve.
    RenewLease = 142,
    /// An edge made the key for the attributes of a service's objects.
    MakeAttributeKey = 143,
    /// An edge brought objects under a newer L3.
    Rewrap = 144,
    /// An edge sent an item to its core for a client.
    Forward = 146,
    /// A core was asked to do an item for an edge's client.
    Delegate = 147,
    /// An edge told which versions of L3s it has left.
    ReportReferences = 150,
    /// A resource of a tenant was made, with its L2.1.
    CreateResource = 151,
}

impl Action {
    /// Every action, for tables and tests.
    pub const ALL: [Self; 98] = [
        Self::Create,
        Self::CreateKeyPair,
        Self::Register,
        Self::ReKey,
        Self::DeriveKey,
        Self::Locate,
        Self::Check,
        Self::Get,
        Self::GetAttributes,
        Self::GetAttributeList,
        Self::AddAttribute,
        Self::ModifyAttribute,
        Self::DeleteAttribute,
        Self::ObtainLease,
        Self::GetUsageAllocation,
        Self::Activate,
        Self::Revoke,
        Self::Destroy,
        Self::Archive,
        Self::Recover,
        Self::Query,
        Self::ReKeyKeyPair,
        Self::DiscoverVersions,
        Self::Encrypt,
        Self::Decrypt,
        Self::Sign,
        Self::SignatureVerify,
        Self::Mac,
        Self::MacVerify,
        Self::RngRetrieve,
        Self::RngSeed,
        Self::Hash,
        Self::Import,
        Self::Export,
        Self::Unsupported,
        Self::Init,
        Self::Unseal,
        Self::Seal,
        Self::Start,
        Self::Stop,
        Self::Inspect,
        Self::CreateTenant,
        Self::CreateService,
        Self::VerifySlot,
        Self::ListKeys,
        Self::EnrolEdge,
        Self::RevokeEdge,
        Self::DisableTenant,
        Self::EnableTenant,
        Self::ApproveState,
        Self::StartCeremony,
        Self::Vote,
        Self::EndCeremony,
        Self::ListShards,
        Self::GiveShard,
        Self::AddSlot,
        Self::RemoveSlot,
        Self::Connect,
        Self::ReserveIvs,
        Self::ReloadTrust,
        Self::Sweep,
        Self::RekeyMaster,
        Self::RotateIvk,
        Self::Reencrypt,
        Self::ControlReencryption,
        Self::ChangeRoster,
        Self::RetireIvk,
        Self::RetireKey,
        Self::RollBack,
        Self::DestroyIvk,
        Self::Expire,
        Self::OrderRenewal,
        Self::EndRenewal,
        Self::DeployService,
        Self::ReportRotation,
        Self::GenerateIvk,
        Self::LimitCalls,
        Self::RepairKey,
        Self::StartPlugin,
        Self::RefusePlugin,
        Self::EndPlugin,
        Self::OffBoardTenant,
        Self::MigrateKeystore,
        Self::AbortMigration,
        Self::SwitchKeystore,
        Self::EndMigration,
        Self::AwaitKeystore,
        Self::JoinKeystore,
        Self::WrapObjectKey,
        Self::UnwrapObjectKey,
        Self::EncryptWithOwnIv,
        Self::RenewLease,
        Self::MakeAttributeKey,
        Self::Rewrap,
        Self::Forward,
        Self::Delegate,
        Self::ReportReferences,
        Self::CreateResource,
    ];
}

/// Who is at the other end, as the certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// In which role.
    pub role: Role,
    /// Of which tenant.
    pub tenant: Option<ScopeName>,
    /// For which service.
    pub service: Option<ScopeName>,
    /// SHA-256 of the certificate; zeroes for the local admin.
    pub certificate: [u8; 32],
}

/// What the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// This node does it.
    Here,
    /// A core does it.
    Upstream,
    /// Nobody does it for this principal.
    Refused,
}

/// The policy table: what a principal in `role` may do to an object of `layer` (`None`: the action names no object) at a node.
///
/// Ownership comes on top: [`Grants::check`] asks for it first, so that a stranger learns nothing.
#[must_use]
pub fn verdict(action: Action, node: NodeRole, layer: Option<Layer>, role: Role) -> Verdict {
    use Action as A;
    if node == NodeRole::Edge && matches!(layer, Some(Layer::L2 | Layer::L21 | Layer::L3)) {
        // The client's item goes to the core, which decides by the same table; what a core does for edges themselves is no client's to ask.
        let is_clients = matches!(role, Role::Service | Role::TenantAdmin);
        let is_done_there = verdict(action, NodeRole::Core, layer, role) == Verdict::Here;
        return if is_clients && is_done_there { Verdict::Upstream } else { Verdict::Refused };
    }
    let allowed = match (node, action, layer) {
        (_, A::Query | A::DiscoverVersions, None) => true,
        (NodeRole::Core, A::Create, Some(Layer::L3)) => role == Role::TenantAdmin,
        (NodeRole::Core, A::Activate | A::Revoke | A::Destroy | A::ReKey | A::RetireKey, Some(Layer::L3)) => role == Role::TenantAdmin,
        (NodeRole::Core, A::ReKey | A::Revoke, Some(Layer::L2 | Layer::L21)) => role == Role::TenantAdmin,
        (NodeRole::Core, A::RollBack, Some(Layer::L21)) => role == Role::TenantAdmin,
        (NodeRole::Core, A::Destroy, Some(Layer::L2 | Layer::L21)) => role == Role::TenantAdmin,
        (NodeRole::Core, A::RetireKey, Some(Layer::L2 | Layer::L21)) => role == Role::TenantAdmin,
        (NodeRole::Core, A::AddAttribute | A::ModifyAttribute | A::DeleteAttribute, Some(Layer::L3)) => role == Role::TenantAdmin,
        (NodeRole::Core, A::Get | A::Export, Some(Layer::L3)) => role == Role::TenantAdmin,
        (NodeRole::Core, A::Check, Some(Layer::L3)) => matches!(role, Role::Service | Role::TenantAdmin),
        (NodeRole::Core, A::Encrypt | A::Decrypt, Some(Layer::L3)) => role == Role::Service,
        (NodeRole::Core, A::WrapObjectKey | A::UnwrapObjectKey, Some(Layer::L3)) => role == Role::Edge,
        (NodeRole::Core, A::Locate, None) => matches!(role, Role::Service | Role::TenantAdmin),
        (NodeRole::Core, A::GetAttributes | A::GetAttributeList, Some(Layer::L3)) => matches!(role, Role::Service | Role::TenantAdmin),
        (NodeRole::Core, A::GetAttributes | A::GetAttributeList, Some(Layer::L2 | Layer::L21)) => role == Role::TenantAdmin,
        (NodeRole::Core, A::Seal | A::Unseal | A::CreateTenant | A::CreateService, None) => role == Role::Operator,
        (NodeRole::Core, A::VerifySlot | A::ApproveState | A::AddSlot | A::RemoveSlot, None) => role == Role::Operator,
        (NodeRole::Core, A::GenerateIvk | A::RotateIvk | A::RetireIvk | A::DestroyIvk | A::ControlReencryption, None) => {
            role == Role::Operator
        }
        (_, A::MigrateKeystore | A::AbortMigration, None) => role == Role::Operator,
        (NodeRole::Core, A::RepairKey, None) => role == Role::Operator,
        (NodeRole::Core, A::ReportRotation, None) => matches!(role, Role::Operator | Role::Auditor),
        (NodeRole::Core, A::ListShards, None) => matches!(role, Role::Operator | Role::Auditor | Role::Custodian),
        (NodeRole::Core, A::StartCeremony | A::Vote | A::EndCeremony | A::GiveShard, None) => {
            matches!(role, Role::Operator | Role::Custodian)
        }
        (NodeRole::Core, A::EnrolEdge | A::RevokeEdge | A::DisableTenant | A::EnableTenant, None) => role == Role::Operator,
        (NodeRole::Core, A::DeployService, None) => matches!(role, Role::Operator | Role::TenantAdmin),
        (NodeRole::Core, A::RenewLease | A::ReportReferences, None) => role == Role::Edge,
        (NodeRole::Core, A::Inspect, Some(Layer::EdgeGroup)) => matches!(role, Role::Operator | Role::Auditor),
        (NodeRole::Core, A::Inspect, None) => matches!(role, Role::Operator | Role::Auditor),
        (NodeRole::Core, A::Inspect, Some(Layer::Tenant | Layer::Service)) | (NodeRole::Core, A::ListKeys, None) => {
            matches!(role, Role::Operator | Role::Auditor | Role::TenantAdmin)
        }
        (NodeRole::Edge, A::Create | A::Register | A::ReKey | A::Encrypt | A::Decrypt | A::Get, Some(Layer::L4)) => role == Role::Service,
        (NodeRole::Edge, A::CreateKeyPair | A::ReKeyKeyPair | A::Sign | A::SignatureVerify, Some(Layer::L4)) => role == Role::Service,
        (NodeRole::Edge, A::Import | A::Export, Some(Layer::L4)) => role == Role::Service,
        (NodeRole::Edge, A::DeriveKey | A::Mac | A::MacVerify | A::ObtainLease | A::GetUsageAllocation, Some(Layer::L4)) => {
            role == Role::Service
        }
        (NodeRole::Edge, A::Archive | A::Recover, Some(Layer::L4)) => matches!(role, Role::Service | Role::TenantAdmin),
        (NodeRole::Edge, A::RngRetrieve | A::RngSeed | A::Hash, None) => matches!(role, Role::Service | Role::TenantAdmin),
        (NodeRole::Edge, A::AddAttribute | A::ModifyAttribute | A::DeleteAttribute, Some(Layer::L4)) => role == Role::Service,
        (NodeRole::Edge, A::Activate | A::Revoke | A::Destroy, Some(Layer::L4)) => matches!(role, Role::Service | Role::TenantAdmin),
        (NodeRole::Edge, A::GetAttributes | A::GetAttributeList | A::Check, Some(Layer::L4)) => {
            matches!(role, Role::Service | Role::TenantAdmin)
        }
        (NodeRole::Edge, A::Locate, None) => matches!(role, Role::Service | Role::TenantAdmin),
        (NodeRole::Edge, A::Seal | A::Unseal | A::ControlReencryption, None) => role == Role::Operator,
        (NodeRole::Edge, A::Inspect, None) => matches!(role, Role::Operator | Role::Auditor),
        _ => false,
    };
    if allowed { Verdict::Here } else { Verdict::Refused }
}

/// Why an action is not done for this principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The object is another's, or there is none: the same answer.
    #[error("no such object")]
    NotFound,
    /// The object is the principal's own, but its role may not do this.
    #[error("the principal's role does not allow this operation")]
    Denied,
}

/// What one principal may do, with its names resolved to ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grants {
    node: NodeRole,
    role: Role,
    tenant: Option<TenantId>,
    service: Option<ServiceId>,
}

impl Grants {
    /// Resolved grants; `tenant` and `service` are `None` where the principal names none or they do not exist.
    pub(crate) fn new(node: NodeRole, role: Role, tenant: Option<TenantId>, service: Option<ServiceId>) -> Self {
        Self { node, role, tenant, service }
    }

    /// The principal's role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The principal's tenant, if it has one that exists.
    #[must_use]
    pub fn tenant(&self) -> Option<TenantId> {
        self.tenant
    }

    /// The principal's service, if it has one that exists.
    #[must_use]
    pub fn service(&self) -> Option<ServiceId> {
        self.service
    }

    /// Whose rows its requests read: its tenant's. Those who are above tenants, and edges, which serve several, read everybody's.
    pub(crate) fn scope(&self) -> Scope {
        match (self.role, self.tenant) {
            (Role::Service | Role::TenantAdmin, Some(tenant)) => Scope::Tenant(tenant),
            _ => Scope::Node,
        }
    }

    /// May the principal do `V` to the object behind `header`?
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for another owner's object, [`Refusal::Denied`] for its own.
    pub fn check<V: Verb>(&self, header: &Header) -> Result<Authorized<V>, Refusal> {
        if !self.owns(&header.owner) {
            return Err(Refusal::NotFound);
        }
        match verdict(V::ACTION, self.node, Some(header.id.layer), self.role) {
            Verdict::Here => Ok(Authorized::of(header)),
            Verdict::Upstream | Verdict::Refused => Err(Refusal::Denied),
        }
    }

    /// May the principal do an action that names no object yet: Create of a `layer`, Locate, Query, admin calls?
    ///
    /// # Errors
    /// [`Refusal::Denied`].
    pub fn check_plain(&self, action: Action, layer: Option<Layer>) -> Result<(), Refusal> {
        match verdict(action, self.node, layer, self.role) {
            Verdict::Here => Ok(()),
            Verdict::Upstream | Verdict::Refused => Err(Refusal::Denied),
        }
    }

    /// May an edge ask its core for this?
    ///
    /// # Errors
    /// [`Refusal::Denied`] if no core would do it for the principal.
    pub fn check_upstream(&self, action: Action, layer: Layer) -> Result<(), Refusal> {
        match verdict(action, self.node, Some(layer), self.role) {
            Verdict::Upstream => Ok(()),
            Verdict::Here | Verdict::Refused => Err(Refusal::Denied),
        }
    }

    /// May the principal see the record of `tenant`, those of its services and its list of keys? A tenant-admin: of its own tenant only.
    ///
    /// - `action`: [`Action::Inspect`] or [`Action::ListKeys`].
    ///
    /// # Errors
    /// [`Refusal::Denied`] by role; [`Refusal::NotFound`] for another tenant, whether or not there is one.
    pub fn check_tenant(&self, action: Action, tenant: TenantId) -> Result<(), Refusal> {
        let layer = (action == Action::Inspect).then_some(Layer::Tenant);
        self.check_plain(action, layer)?;
        if self.role == Role::TenantAdmin && self.tenant != Some(tenant) {
            return Err(Refusal::NotFound);
        }
        Ok(())
    }

    /// May an edge of `group` do `V` to the object behind `header`? The one other maker of [`Authorized`].
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for the object of a tenant that the group is not enrolled for, [`Refusal::Denied`] by role.
    pub(crate) fn check_edge<V: Verb>(&self, group: &EdgeGroup, header: &Header) -> Result<Authorized<V>, Refusal> {
        if self.role != Role::Edge || !group.serves(&header.owner) {
            return Err(Refusal::NotFound);
        }
        match verdict(V::ACTION, self.node, Some(header.id.layer), self.role) {
            Verdict::Here => Ok(Authorized::of(header)),
            Verdict::Upstream | Verdict::Refused => Err(Refusal::Denied),
        }
    }

    /// A service owns what is its service's; a tenant-admin, all of its tenant. Nobody else owns objects.
    pub(crate) fn owns(&self, owner: &Owner) -> bool {
        let Some(tenant) = self.tenant.filter(|tenant| *tenant == owner.tenant && *tenant != TenantId::SYSTEM) else {
            return false;
        };
        match self.role {
            Role::TenantAdmin => tenant == owner.tenant,
            Role::Service => self.service.is_some() && self.service == owner.service,
            Role::Edge | Role::Operator | Role::Custodian | Role::Auditor => false,
        }
    }
}

/// Proof that a principal may do `V` to one generation of one object; consumed by the `Vault` verb that does it.
#[derive(Debug)]
pub struct Authorized<V: Verb> {
    id: RowId,
    generation: Generation,
    tenant: TenantId,
    verb: PhantomData<V>,
}

impl<V: Verb> Authorized<V> {
    /// The object.
    #[must_use]
    pub fn id(&self) -> RowId {
        self.id
    }

    /// The generation that was looked at.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whose rows it takes to do it.
    pub(crate) fn scope(&self) -> Scope {
        Scope::Tenant(self.tenant)
    }

    fn of(header: &Header) -> Self {
        Self { id: header.id, generation: header.generation, tenant: header.owner.tenant, verb: PhantomData }
    }
}

/// An action on an object, as a type.
pub trait Verb {
    /// The row of the policy table.
    const ACTION: Action;
}

/// Verbs on an object; each names its row of the policy table.
pub mod verb {
    use super::{Action, Verb};
    use crate::lifecycle::Purpose;

    /// Verbs that use key material, for a purpose that the lifecycle must allow.
    pub trait UsesMaterial: Verb {
        /// What the key's state must allow.
        const PURPOSE: Purpose;
        /// The bit of the Cryptographic Usage Mask that must be set.
        const MASK: u32;
    }

    /// Verbs that are an event of an object's life.
    pub trait Changes: Verb {}

    /// Verbs that edit an object's attributes.
    pub trait Edits: Verb {}

    /// Verbs that hand out an object's material, wrapped.
    pub trait Exports: Verb {}

    /// KMIP Encrypt.
    #[derive(Debug)]
    pub struct Encrypt;
    /// KMIP Decrypt.
    #[derive(Debug)]
    pub struct Decrypt;
    /// KMIP Sign.
    #[derive(Debug)]
    pub struct Sign;
    /// KMIP Signature Verify.
    #[derive(Debug)]
    pub struct SignatureVerify;
    /// KMIP Derive Key, from this object.
    #[derive(Debug)]
    pub struct DeriveKey;
    /// KMIP MAC.
    #[derive(Debug)]
    pub struct Mac;
    /// KMIP MAC Verify.
    #[derive(Debug)]
    pub struct MacVerify;
    /// KMIP Get Attributes.
    #[derive(Debug)]
    pub struct GetAttributes;
    /// KMIP Get Attribute List.
    #[derive(Debug)]
    pub struct GetAttributeList;
    /// KMIP Check.
    #[derive(Debug)]
    pub struct Check;
    /// KMIP Obtain Lease.
    #[derive(Debug)]
    pub struct ObtainLease;
    /// KMIP Get Usage Allocation.
    #[derive(Debug)]
    pub struct GetUsageAllocation;
    /// KMIP Archive.
    #[derive(Debug)]
    pub struct Archive;
    /// KMIP Recover.
    #[derive(Debug)]
    pub struct Recover;
    /// KMIP Activate.
    #[derive(Debug)]
    pub struct Activate;
    /// KMIP Revoke.
    #[derive(Debug)]
    pub struct Revoke;
    /// KMIP Destroy.
    #[derive(Debug)]
    pub struct Destroy;
    /// KMIP Re-key.
    #[derive(Debug)]
    pub struct ReKey;
    /// KMIP Re-key Key Pair, of one half.
    #[derive(Debug)]
    pub struct ReKeyKeyPair;
    /// To let an earlier version of an L2.1 take over again.
    #[derive(Debug)]
    pub struct RollBack;
    /// To archive a version that another one has replaced.
    #[derive(Debug)]
    pub struct RetireKey;
    /// KMIP Add Attribute.
    #[derive(Debug)]
    pub struct AddAttribute;
    /// KMIP Modify Attribute.
    #[derive(Debug)]
    pub struct ModifyAttribute;
    /// KMIP Delete Attribute.
    #[derive(Debug)]
    pub struct DeleteAttribute;
    /// KMIP Get.
    #[derive(Debug)]
    pub struct Get;
    /// KMIP Export.
    #[derive(Debug)]
    pub struct Export;
    /// To wrap an edge's object key.
    #[derive(Debug)]
    pub struct WrapObjectKey;
    /// To open an edge's object key.
    #[derive(Debug)]
    pub struct UnwrapObjectKey;
    /// To wrap what Get or Export hands out. Who may do the one may do the other, so it is no row of the table of its own.
    #[derive(Debug)]
    pub struct WrapWith;
    /// To open what comes wrapped. Who may bring an object may bring it so, so that this is no row of the table of its own either.
    #[derive(Debug)]
    pub struct UnwrapWith;

    impl Verb for Encrypt {
        const ACTION: Action = Action::Encrypt;
    }
    impl Verb for Decrypt {
        const ACTION: Action = Action::Decrypt;
    }
    impl Verb for Sign {
        const ACTION: Action = Action::Sign;
    }
    impl Verb for SignatureVerify {
        const ACTION: Action = Action::SignatureVerify;
    }
    impl Verb for DeriveKey {
        const ACTION: Action = Action::DeriveKey;
    }
    impl Verb for Mac {
        const ACTION: Action = Action::Mac;
    }
    impl Verb for MacVerify {
        const ACTION: Action = Action::MacVerify;
    }
    impl Verb for GetAttributes {
        const ACTION: Action = Action::GetAttributes;
    }
    impl Verb for GetAttributeList {
        const ACTION: Action = Action::GetAttributeList;
    }
    impl Verb for Check {
        const ACTION: Action = Action::Check;
    }
    impl Verb for ObtainLease {
        const ACTION: Action = Action::ObtainLease;
    }
    impl Verb for GetUsageAllocation {
        const ACTION: Action = Action::GetUsageAllocation;
    }
    impl Verb for Archive {
        const ACTION: Action = Action::Archive;
    }
    impl Verb for Recover {
        const ACTION: Action = Action::Recover;
    }
    impl Verb for Activate {
        const ACTION: Action = Action::Activate;
    }
    impl Verb for Revoke {
        const ACTION: Action = Action::Revoke;
    }
    impl Verb for Destroy {
        const ACTION: Action = Action::Destroy;
    }
    impl Verb for ReKey {
        const ACTION: Action = Action::ReKey;
    }
    impl Verb for ReKeyKeyPair {
        const ACTION: Action = Action::ReKeyKeyPair;
    }
    impl Verb for RollBack {
        const ACTION: Action = Action::RollBack;
    }
    impl Verb for AddAttribute {
        const ACTION: Action = Action::AddAttribute;
    }
    impl Verb for ModifyAttribute {
        const ACTION: Action = Action::ModifyAttribute;
    }
    impl Verb for DeleteAttribute {
        const ACTION: Action = Action::DeleteAttribute;
    }
    impl Verb for Get {
        const ACTION: Action = Action::Get;
    }
    impl Verb for Export {
        const ACTION: Action = Action::Export;
    }
    impl Verb for RetireKey {
        const ACTION: Action = Action::RetireKey;
    }
    impl Verb for WrapObjectKey {
        const ACTION: Action = Action::WrapObjectKey;
    }
    impl Verb for UnwrapObjectKey {
        const ACTION: Action = Action::UnwrapObjectKey;
    }
    impl Verb for WrapWith {
        const ACTION: Action = Action::Get;
    }
    impl Verb for UnwrapWith {
        const ACTION: Action = Action::Register;
    }
    impl UsesMaterial for Encrypt {
        const PURPOSE: Purpose = Purpose::Protect;
        const MASK: u32 = 0x04;
    }
    impl UsesMaterial for WrapObjectKey {
        const PURPOSE: Purpose = Purpose::Protect;
        const MASK: u32 = 0x04;
    }
    /// Of a compromised L3 too: an edge brings what lies under it under another one, and uses nothing before that.
    impl UsesMaterial for UnwrapObjectKey {
        const PURPOSE: Purpose = Purpose::Rewrap;
        const MASK: u32 = 0x08;
    }
    impl UsesMaterial for Decrypt {
        const PURPOSE: Purpose = Purpose::Process;
        const MASK: u32 = 0x08;
    }
    impl UsesMaterial for Sign {
        const PURPOSE: Purpose = Purpose::Protect;
        const MASK: u32 = 0x01;
    }
    impl UsesMaterial for SignatureVerify {
        const PURPOSE: Purpose = Purpose::Process;
        const MASK: u32 = 0x02;
    }
    impl UsesMaterial for DeriveKey {
        const PURPOSE: Purpose = Purpose::Protect;
        const MASK: u32 = 0x200;
    }
    impl UsesMaterial for Mac {
        const PURPOSE: Purpose = Purpose::Protect;
        const MASK: u32 = 0x80;
    }
    impl UsesMaterial for MacVerify {
        const PURPOSE: Purpose = Purpose::Process;
        const MASK: u32 = 0x100;
    }
    impl UsesMaterial for WrapWith {
        const PURPOSE: Purpose = Purpose::Protect;
        const MASK: u32 = 0x10;
    }
    impl UsesMaterial for UnwrapWith {
        const PURPOSE: Purpose = Purpose::Process;
        const MASK: u32 = 0x20;
    }
    impl Changes for Activate {}
    impl Changes for Revoke {}
    impl Edits for AddAttribute {}
    // What is derived is linked to.
    impl Edits for DeriveKey {}
    impl Edits for ModifyAttribute {}
    impl Edits for DeleteAttribute {}
    impl Exports for Get {}
    impl Exports for Export {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Here, Refused};

    #[test]
    fn core_refuses_every_action_on_an_l4() {
        for action in Action::ALL {
            for role in Role::ALL {
                assert_eq!(verdict(action, NodeRole::Core, Some(Layer::L4), role), Refused, "{action:?} {role:?}");
            }
        }
    }

    #[test]
    fn exactly_the_stated_cells_of_core_are_allowed() {
        let layers = [None, Some(Layer::Ivk), Some(Layer::Tenant), Some(Layer::L2), Some(Layer::L21), Some(Layer::L3), Some(Layer::L4)];
        let mut allowed = Vec::new();
        for action in Action::ALL {
            for layer in layers {
                for role in Role::ALL {
                    if verdict(action, NodeRole::Core, layer, role) == Here {
                        allowed.push((action, layer, role));
                    }
                }
            }
        }
        let count = |action| allowed.iter().filter(|cell| cell.0 == action).count();
        assert_eq!(count(Action::Query) + count(Action::DiscoverVersions), 12);
        assert_eq!(allowed.iter().filter(|cell| cell.2 == Role::Service).count(), 2 + 2 + 1 + 2 + 1);
        assert!(allowed.iter().all(|cell| cell.2 != Role::Operator || !matches!(cell.1, Some(Layer::L2 | Layer::L21 | Layer::L3))));
    }

    #[test]
    fn a_name_reads_back_as_its_role() {
        for role in Role::ALL {
            assert_eq!(Role::from_name(role.name()), Some(role));
        }
        assert_eq!(Role::from_name("Operator"), None);
    }
}
