//! A founded core with two tenants, and clients that speak to it through the client half.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures_executor::block_on;
use keys::cluster;
use keys::edge::roots;
use keys::entropy::Randomness;
use keys::hierarchy::MasterKey;
use keys::id::{ClusterId, OutboxSeq, RowId, ScopeName, SessionId, Time};
use keys::lease::Leases;
use keys::policy::verb::RetireKey;
use keys::policy::{Action, Principal, Role};
use keys::port::{AuditSink, Clock, Entropy, Keystore, Pace, PairMaker, Stretcher, Upstream};
use keys::record::{Outcome, Record};
use keys::unit::{CommitError, Unit};
use keys::vault::{EdgeParts, Parts, Vault};
use kmip::ttlv::{DateTime, Writer};
use kmip::*;

use super::fakes::{Counting, FakeAudit, FakeClock, FakePace, FakeStore, FakeUpstream, InlinePairs};

/// When the tests begin, in seconds.
pub(crate) const START: i64 = 1_800_000_000;
/// The appliance's own session.
const SYSTEM: SessionId = SessionId(1);
/// Encrypt and Decrypt.
pub(crate) const DATA: i32 = 12;

/// Tenant `acme` with the services `billing` and `payroll`, and tenant `globex` with `billing`.
pub(crate) struct World {
    pub(crate) vault: Arc<Vault>,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) audit: Arc<FakeAudit>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) pace: Arc<FakePace>,
    pub(crate) pairs: Arc<InlinePairs>,
    sessions: AtomicU64,
}

/// A connected client.
pub(crate) struct Client<'w> {
    pub(crate) world: &'w World,
    pub(crate) caller: Caller,
    pub(crate) sealed: bool,
}

/// How an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) reason: ResultReason,
    pub(crate) message: String,
}

impl World {
    pub(crate) fn found() -> Self {
        block_on(found())
    }

    /// An edge of the group `west`, which is enrolled for both tenants of a core that is founded for it.
    pub(crate) fn edge() -> Self {
        Self::edge_with(None, false)
    }

    /// The same with settings of its own.
    pub(crate) fn edge_with(l4_ttl: Option<Duration>, is_ephemeral: bool) -> Self {
        block_on(edge(l4_ttl, is_ephemeral))
    }

    pub(crate) fn client(&self, role: Role, tenant: &str, service: &str) -> Client<'_> {
        self.client_with(role, tenant, service, Credentials::Ignore)
    }

    pub(crate) fn client_with(&self, role: Role, tenant: &str, service: &str, settings: impl Into<Settings>) -> Client<'_> {
        let words = format!("{}/{tenant}/{service}", role.name());
        let scope = |text: &str| Some(text).filter(|text| !text.is_empty()).map(scope);
        let principal = Principal { role, tenant: scope(tenant), service: scope(service), certificate: [0; 32] };
        let session = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed));
        Client { world: self, caller: Caller::new(principal, session, settings).with_chain(Arc::new([words.into_bytes()])), sealed: false }
    }

    pub(crate) fn admin(&self) -> Client<'_> {
        self.client(Role::TenantAdmin, "acme", "")
    }

    pub(crate) fn service(&self) -> Client<'_> {
        self.client(Role::Service, "acme", "billing")
    }

    /// An Active AES-256 key of acme's billing.
    pub(crate) fn key(&self) -> String {
        let mut admin = self.admin();
        let id = admin.create(ProtocolVersion::V1_2, &wish("billing", &[])).expect("a plain key");
        admin.activate(&id).expect("a new key activates");
        id
    }

    /// The default key of acme's billing.
    pub(crate) fn default_key(&self) -> String {
        block_on(async {
            let tenant = self.vault.tenant_by_name(&scope("acme")).await.expect("the store is well").expect("it was made");
            let service = self.vault.service_by_name(tenant.id, &scope("billing")).await.expect("the store is well");
            service.expect("it was made").default_key.to_string()
        })
    }

    /// Archives a Deactivated key of acme's, as its tenant-admin does by the admin interface.
    pub(crate) fn retire(&self, id: &str) {
        let principal = Principal { role: Role::TenantAdmin, tenant: Some(scope("acme")), service: None, certificate: [0; 32] };
        block_on(async {
            let grants = self.vault.grants(&principal).await.expect("the store is well");
            let mut unit = self.vault.begin(SYSTEM);
            let header = self.vault.header(&unit, &grants, row_id(id)).await.expect("it is acme's");
            let authorized = grants.check::<RetireKey>(&header).expect("it is the admin's");
            self.vault.retire_key(&mut unit, authorized).await.expect("no edge has anything under it");
            commit(unit).await;
        });
    }

    pub(crate) fn wait(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.0.load(Ordering::Relaxed)
    }

    /// The records since the last look, but those of the appliance itself and those that announce what another then tells.
    pub(crate) fn take_records(&self) -> Vec<Record> {
        let mut records = std::mem::take(&mut *self.audit.records());
        records.retain(|record| record.session != SYSTEM && record.outcome != Outcome::Intended);
        records
    }

    /// What the records since the last look say was done, and how it ended.
    pub(crate) fn outcomes(&self) -> Vec<(Action, Outcome)> {
        self.take_records().iter().map(|record| (record.action, record.outcome)).collect()
    }
}

async fn found() -> World {
    let entropy = Arc::new(Counting::default());
    let randomness = Randomness::new(Arc::clone(&entropy) as Arc<dyn Entropy>);
    let master = MasterKey::generate(&randomness).expect("the arena has room");
    let clock = Arc::new(FakeClock(AtomicI64::new(START)));
    let pace = Arc::new(FakePace::default());
    let (store, audit) = (Arc::new(FakeStore::default()), Arc::new(FakeAudit::default()));
    let cluster = ClusterId::new(uuid::Uuid::from_bytes([0xC1; 16]));
    let genesis = cluster::found(cluster, &master, &randomness, clock.now(), [0; 32]).expect("the arena has room");
    let parts = Parts {
        registry: genesis.registry,
        store: Arc::<FakeStore>::clone(&store),
        audit: Arc::<FakeAudit>::clone(&audit),
        clock: Arc::<FakeClock>::clone(&clock),
        pace: Arc::<FakePace>::clone(&pace),
        entropy,
        system: SYSTEM,
        next_outbox: OutboxSeq(1),
        not_before: Time::default(),
    };
    let (vault, writer) = Vault::core(parts).expect("the arena has room");
    std::thread::spawn(move || block_on(writer.run()));
    let mut unit = vault.begin(SYSTEM);
    vault.stage_genesis(&mut unit, genesis.rows);
    commit(unit).await;
    let world = World { vault, store, audit, clock, pace, pairs: Arc::default(), sessions: AtomicU64::new(2) };
    for (tenant, services) in [("acme", ["billing", "payroll"].as_slice()), ("globex", &["billing"])] {
        world.settle(tenant, services).await;
    }
    world
}

/// How long an edge goes on without its core.
pub(crate) const HOLDS: Duration = Duration::from_secs(60);

async fn edge(l4_ttl: Option<Duration>, is_ephemeral: bool) -> World {
    let core = found().await.vault;
    core.ensure_system_tenant().await.expect("the fakes are well");
    let mut unit = core.begin(SYSTEM);
    core.enrol_edges(&mut unit, &scope("west"), &[scope("acme"), scope("globex")], &[]).await.expect("the tenants are there");
    commit(unit).await;
    let upstream: Arc<dyn Upstream> = Arc::new(FakeUpstream { core });
    let lease = upstream.lease().await.expect("it is enrolled");
    // Not the core's own numbers once more.
    let entropy = Arc::new(Counting::starting_at(1 << 40));
    let randomness = Randomness::new(Arc::clone(&entropy) as Arc<dyn Entropy>);
    let (clock, pace) = (Arc::new(FakeClock(AtomicI64::new(START))), Arc::new(FakePace::default()));
    let (store, audit) = (Arc::new(FakeStore::default()), Arc::new(FakeAudit::default()));
    let rows: Arc<dyn Keystore> = Arc::<FakeStore>::clone(&store);
    let (registry, root) = roots(&rows, &*upstream, &lease, &randomness).await.expect("the core is well");
    let parts = Parts {
        registry,
        store: rows,
        audit: Arc::<FakeAudit>::clone(&audit),
        clock: Arc::<FakeClock>::clone(&clock),
        pace: Arc::<FakePace>::clone(&pace),
        entropy,
        system: SYSTEM,
        next_outbox: OutboxSeq(1),
        not_before: Time::default(),
    };
    let leases = Leases::new(lease, pace.now(), clock.now(), HOLDS);
    let pairs = Arc::<InlinePairs>::default();
    let (maker, stretcher): (Arc<dyn PairMaker>, Arc<dyn Stretcher>) =
        (Arc::<InlinePairs>::clone(&pairs), Arc::<InlinePairs>::clone(&pairs));
    let edge =
        EdgeParts { leases, upstream, pairs: maker, stretcher, pool_keys: 8, cache_bytes: 1 << 20, l4_ttl, is_ephemeral, shared_as: None };
    let (vault, writer) = Vault::edge(parts, edge).expect("the arena has room");
    std::thread::spawn(move || block_on(writer.run()));
    let mut unit = vault.begin(SYSTEM);
    vault.stage_edge_roots(&mut unit, root.expect("the store is new"));
    commit(unit).await;
    World { vault, store, audit, clock, pace, pairs, sessions: AtomicU64::new(2) }
}

impl World {
    pub(crate) async fn settle(&self, tenant: &str, services: &[&str]) {
        let mut unit = self.vault.begin(SYSTEM);
        self.vault.create_tenant(&mut unit, &scope(tenant)).await.expect("the name is free");
        commit(unit).await;
        for service in services {
            let mut unit = self.vault.begin(SYSTEM);
            self.vault.create_service(&mut unit, &scope(tenant), &scope(service)).await.expect("the name is free");
            commit(unit).await;
        }
    }
}

async fn commit(unit: Unit) {
    let _receipt = unit.commit().await.expect("the fakes are well");
}

fn scope(text: &str) -> ScopeName {
    text.parse().expect("the test's names are names")
}

impl Client<'_> {
    /// The answer to a message, committed, or withheld with the reason for that. Every item answered has left one record.
    pub(crate) fn try_ask(&mut self, message: &[u8]) -> (Vec<u8>, Option<CommitError>) {
        let vault = (!self.sealed).then_some(&*self.world.vault);
        let audit: Arc<dyn AuditSink> = Arc::<FakeAudit>::clone(&self.world.audit);
        let unit = vault.map_or_else(|| Unit::new(self.caller.session(), audit, None), |vault| vault.begin(self.caller.session()));
        block_on(async {
            let (response, unit) = dispatch(vault, &mut self.caller, unit, message, self.world.clock.now(), b"left over".to_vec()).await;
            match unit.commit().await {
                Ok(receipt) => (response.release(receipt), None),
                Err(error) => (response.withhold(&error), Some(error)),
            }
        })
    }

    pub(crate) fn ask(&mut self, message: &[u8]) -> Vec<u8> {
        let before = self.world.audit.records().len();
        let (answer, withheld) = self.try_ask(message);
        assert_eq!(withheld, None);
        let items = ResponseMessage::read(&answer).expect("answers are legal in their version").items.len();
        let session = self.caller.session();
        let is_own = |record: &&Record| record.session == session && record.outcome != Outcome::Intended;
        let records = self.world.audit.records();
        let own: Vec<_> = records[before..].iter().filter(is_own).collect();
        // A key that leaves has one more, for the key it leaves under, and a pair one for each half: they come behind those of the items.
        let has_two = |action| matches!(action, Action::Get | Action::Export | Action::CreateKeyPair | Action::ReKeyKeyPair);
        let leaving = own.iter().filter(|record| has_two(record.action)).count();
        let records = own.len();
        let is_wrapped = (items..=items + leaving / 2).contains(&records);
        let is_replaced = items == 1 && records > 1 || is_wrapped;
        assert!(records == items || is_replaced, "{items} items left {records} records");
        answer
    }

    /// Does one operation and reads its answer as strictly as the version demands.
    pub(crate) fn call<C: Call, R>(
        &mut self,
        version: ProtocolVersion,
        call: &C,
        read: impl FnOnce(C::Answer<'_>) -> R,
    ) -> Result<R, Failed> {
        let mut batch = Batch::new(version);
        let slot = batch.push(call).expect("the version has the operation");
        let sent = batch.finish();
        let answer = self.ask(&sent.bytes);
        let answers = sent.answers(&answer).map_err(failed)?;
        let answer = answers.get(&slot).map_err(failed)?;
        Ok(read(answer))
    }

    pub(crate) fn create(&mut self, version: ProtocolVersion, attributes: &[AttributeValue<'_>]) -> Result<String, Failed> {
        self.call(version, &create_request(attributes), |answer| answer.unique_identifier.to_owned())
    }

    pub(crate) fn activate(&mut self, id: &str) -> Result<String, Failed> {
        let request = ActivateRequest { unique_identifier: Some(id) };
        self.call(ProtocolVersion::V1_0, &request, |answer| answer.unique_identifier.to_owned())
    }

    pub(crate) fn revoke(&mut self, id: &str, code: RevocationReasonCode) -> Result<String, Failed> {
        self.call(ProtocolVersion::V1_0, &revoke_request(id, code), |answer| answer.unique_identifier.to_owned())
    }

    pub(crate) fn destroy(&mut self, id: &str) -> Result<String, Failed> {
        let request = DestroyRequest { unique_identifier: Some(id) };
        self.call(ProtocolVersion::V1_0, &request, |answer| answer.unique_identifier.to_owned())
    }

    pub(crate) fn rekey(&mut self, version: ProtocolVersion, id: &str) -> Result<String, Failed> {
        let request = ReKeyRequest { unique_identifier: Some(id), ..ReKeyRequest::default() };
        self.call(version, &request, |answer| answer.unique_identifier.to_owned())
    }

    /// The index of the new instance.
    pub(crate) fn add(&mut self, version: ProtocolVersion, id: &str, value: AttributeValue<'_>) -> Result<Option<i32>, Failed> {
        let request = AddAttributeRequest { unique_identifier: Some(id), attribute: bare(value.clone()) };
        self.call(version, &request, |answer| {
            assert_eq!((answer.unique_identifier, &answer.attribute.value), (id, &value), "the new attribute is repeated");
            answer.attribute.index
        })
    }

    pub(crate) fn modify(
        &mut self,
        version: ProtocolVersion,
        id: &str,
        index: Option<i32>,
        value: AttributeValue<'_>,
    ) -> Result<Option<i32>, Failed> {
        let attribute = Attribute { index, value: value.clone() };
        self.call(version, &ModifyAttributeRequest { unique_identifier: Some(id), attribute }, |answer| {
            assert_eq!((answer.unique_identifier, &answer.attribute.value), (id, &value), "the new value is repeated");
            answer.attribute.index
        })
    }

    /// The attribute that is gone, as text.
    pub(crate) fn delete(&mut self, version: ProtocolVersion, id: &str, name: &str, index: Option<i32>) -> Result<String, Failed> {
        let request = DeleteAttributeRequest { unique_identifier: Some(id), attribute_name: name, attribute_index: index };
        self.call(version, &request, |answer| {
            assert_eq!((answer.unique_identifier, answer.attribute.value.name()), (id, name));
            format!("{:?}", answer.attribute)
        })
    }

    /// The instances of one attribute, as index and text.
    pub(crate) fn instances(&mut self, id: &str, name: &str) -> Vec<(Option<i32>, String)> {
        let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: vec![name] };
        let told = self.call(ProtocolVersion::V1_4, &request, |answer| {
            answer.attributes.iter().map(|attribute| (attribute.index, format!("{:?}", attribute.value))).collect()
        });
        told.expect("the key is the client's")
    }

    pub(crate) fn state(&mut self, id: &str) -> State {
        let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: vec!["State"] };
        let state = self.call(ProtocolVersion::V1_0, &request, |answer| match answer.attributes.as_slice() {
            [Attribute { value: AttributeValue::State(state), .. }] => *state,
            other => panic!("not one State: {other:?}"),
        });
        state.expect("the key is the client's")
    }

    pub(crate) fn locate(&mut self, version: ProtocolVersion, attributes: &[AttributeValue<'_>]) -> Result<Vec<String>, Failed> {
        let attributes = attributes.iter().cloned().map(bare).collect();
        let request = LocateRequest { attributes, ..LocateRequest::default() };
        self.call(version, &request, |answer| answer.unique_identifiers.iter().map(ToString::to_string).collect())
    }
}

pub(crate) fn failed(error: Error) -> Failed {
    match error {
        Error::Refused { status: ResultStatus::OperationFailed, reason: Some(reason), message, .. } => Failed { reason, message },
        other => panic!("not a failed operation: {other}"),
    }
}

/// The reason of a failure.
pub(crate) fn why<T: std::fmt::Debug>(result: Result<T, Failed>) -> ResultReason {
    result.expect_err("this is refused").reason
}

pub(crate) fn bare(value: AttributeValue<'_>) -> Attribute<'_> {
    Attribute { index: None, value }
}

/// AES-256 for Encrypt and Decrypt, of this service, with some attributes more.
pub(crate) fn wish<'a>(service: &'a str, more: &[AttributeValue<'a>]) -> Vec<AttributeValue<'a>> {
    let mut attributes = vec![
        AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::Aes),
        AttributeValue::CryptographicLength(256),
        AttributeValue::CryptographicUsageMask(CryptographicUsageMask(DATA)),
        AttributeValue::ObjectGroup(service),
    ];
    attributes.extend_from_slice(more);
    attributes
}

pub(crate) fn named(value: &str) -> AttributeValue<'_> {
    AttributeValue::Name(Name { value: Some(value), name_type: Some(NameType::UninterpretedTextString) })
}

pub(crate) fn create_request<'a>(attributes: &[AttributeValue<'a>]) -> CreateRequest<'a> {
    let attributes = attributes.iter().cloned().map(bare).collect();
    CreateRequest { object_type: ObjectType::SymmetricKey, template_attribute: TemplateAttribute { names: vec![], attributes } }
}

pub(crate) fn revoke_request(id: &str, code: RevocationReasonCode) -> RevokeRequest<'_> {
    RevokeRequest {
        unique_identifier: Some(id),
        revocation_reason: RevocationReason { code: Some(code), message: Some("said the test") },
        compromise_occurrence_date: Some(DateTime(0)),
    }
}

pub(crate) fn row_id(text: &str) -> RowId {
    text.parse().expect("the server's identifiers are identifiers")
}

/// A message written by hand: what stands in the header between Protocol Version and Batch Count, and the items.
pub(crate) fn message(number: VersionNumber, header: impl Fn(&mut Writer<'_>), items: &[&dyn Fn(&mut Writer<'_>)]) -> Vec<u8> {
    let mut bytes = vec![];
    let mut out = Writer::new(&mut bytes, ProtocolVersion::LATEST);
    let message = out.open(Tag::REQUEST_MESSAGE);
    let open = out.open(Tag::REQUEST_HEADER);
    number.encode(Tag::PROTOCOL_VERSION, &mut out);
    header(&mut out);
    out.integer(Tag::BATCH_COUNT, i32::try_from(items.len()).expect("few"));
    out.close(open);
    for write in items {
        let item = out.open(Tag::BATCH_ITEM);
        write(&mut out);
        out.close(item);
    }
    out.close(message);
    bytes
}

/// An item without an identifier of its own, written by hand.
pub(crate) fn item(out: &mut Writer<'_>, operation: u32, payload: &dyn Encode) {
    out.enumeration(Tag::OPERATION, operation);
    payload.encode(Tag::REQUEST_PAYLOAD, out);
}

/// Status, reason and message of the only item of an answer.
pub(crate) fn only_item(answer: &[u8]) -> (Option<OperationNumber>, ResultStatus, Option<ResultReason>, String) {
    let message = ResponseMessage::read(answer).expect("answers are legal in their version");
    match message.items.as_slice() {
        [item] => (item.operation, item.result_status, item.result_reason, item.result_message.unwrap_or_default().to_owned()),
        items => panic!("{} items", items.len()),
    }
}

/// Tells how many cases a table made.
#[expect(clippy::print_stdout, reason = "the number of cells is part of what a matrix shows")]
pub(crate) fn counted(cases: usize) {
    println!("{cases} cases");
}
