//! The error tables of section 11: each row that can arise is made to arise in each operation offered, and nothing comes of it but the reason and a record.

mod attributes;
mod cryptography;
mod general;
mod life;
mod looking;
pub(crate) mod making;

use keys::id::{Layer, RowId};
use keys::policy::{Action, NodeRole};
use keys::record::Outcome;
use keys::row::Row as StoredRow;
use kmip::ttlv::{ByteString, Writer};
use kmip::*;

use crate::document::probe::{Node, Nodes, all_uses, block};
use crate::matrix::push;
use crate::reasons::Fields;
use crate::world::*;
use AttributeValue as A;
use Operation as O;
use ProtocolVersion::V1_4;
use ResultReason as R;

/// What the standard says of one operation.
struct Table {
    operation: Operation,
    number: u16,
    rows: Vec<Row>,
}

/// A row of such a table.
struct Row {
    error: &'static str,
    reason: R,
    case: Case,
}

enum Case {
    /// A message that makes the error arise, where the node offers the operation.
    Arises(fn(&mut Node<'_>) -> Vec<u8>),
    /// The same, of one of the nodes; at the other it cannot.
    At(NodeRole, fn(&mut Node<'_>) -> Vec<u8>, &'static str),
    /// Why there is none.
    Never(&'static str),
}

fn arises(error: &'static str, reason: R, make: fn(&mut Node<'_>) -> Vec<u8>) -> Row {
    Row { error, reason, case: Case::Arises(make) }
}

fn at_edge(error: &'static str, reason: R, make: fn(&mut Node<'_>) -> Vec<u8>, why_no_core: &'static str) -> Row {
    Row { error, reason, case: Case::At(NodeRole::Edge, make, why_no_core) }
}

fn never(error: &'static str, reason: R, why: &'static str) -> Row {
    Row { error, reason, case: Case::Never(why) }
}

/// What has no table, or one that is shown beside the operation itself.
const WITHOUT: [Operation; 2] = [O::Query, O::DiscoverVersions];

fn tables() -> Vec<Table> {
    [making::tables(), looking::tables(), attributes::tables(), life::tables(), cryptography::tables()].into_iter().flatten().collect()
}

#[test]
fn every_row_of_the_error_tables_has_its_reason_changes_nothing_and_is_recorded() {
    let (nodes, tables) = (Nodes::found(), tables());
    let mut tally = Tally::default();
    for role in [NodeRole::Core, NodeRole::Edge] {
        let node = || if role == NodeRole::Core { nodes.core() } else { nodes.edge() };
        let query = QueryRequest { functions: vec![QueryFunction::QueryOperations] };
        let offered = node().user.call(V1_4, &query, |answer| answer.operations).expect("anybody may ask");
        for operation in &offered {
            let table = tables.iter().find(|table| table.operation == *operation);
            assert!(
                table.is_some() || WITHOUT.contains(operation),
                "errors.rs has no table for {operation:?}: add its rows from section 11"
            );
        }
        for table in tables.iter().filter(|table| offered.contains(&table.operation)) {
            for row in &table.rows {
                match row.case {
                    Case::Arises(make) => tally.arose(role, table, row, ask(&mut node(), table, row, make)),
                    Case::At(of, make, _) if of == role => tally.arose(role, table, row, ask(&mut node(), table, row, make)),
                    Case::At(_, _, why) | Case::Never(why) => tally.never(role, table, row, why),
                }
            }
        }
    }
    tally.print(tables.len());
}

/// Sends the message and looks at everything that must be so.
fn ask(node: &mut Node<'_>, table: &Table, row: &Row, make: fn(&mut Node<'_>) -> Vec<u8>) -> R {
    let case = format!("table {}, {:?} at {:?}: {}", table.number, table.operation, node.role, row.error);
    let message = make(node);
    let world = node.owner.world;
    let uses = [O::Encrypt, O::Decrypt].contains(&table.operation);
    let client = if uses { &mut node.user } else { &mut node.owner };
    let (before, _earlier) = (stored(world), world.take_records());
    let answer = client.ask(&message);
    world.pairs.broken.store(false, std::sync::atomic::Ordering::Relaxed);
    let (operation, status, reason, text) = only_item(&answer);
    assert_eq!((operation, status), (Some(table.operation.into()), ResultStatus::OperationFailed), "{case}");
    assert_eq!(reason, Some(row.reason), "{case}: {text}");
    assert!(text.len() > 8, "{case}: the client is told more than the reason: {text:?}");
    assert!(stored(world) == before, "{case}: nothing changes");
    let records = world.take_records();
    let is_told = |action: Action, outcome: Outcome| action != Action::Unsupported && outcome != Outcome::Success;
    assert!(!records.is_empty() && records.iter().all(|record| is_told(record.action, record.outcome)), "{case}: {records:?}");
    row.reason
}

/// All that is stored, but for what was set aside of numbers that are used once.
pub(crate) fn stored(world: &World) -> Vec<(RowId, StoredRow)> {
    let is_kept = |id: &RowId| !matches!(id.layer, Layer::IvBudget | Layer::UsageBudget | Layer::Bucket);
    world.store.rows().iter().filter(|(id, _)| is_kept(id)).map(|(id, row)| (*id, row.clone())).collect()
}

/// What was shown, and what was not.
#[derive(Default)]
struct Tally {
    shown: Vec<(Operation, &'static str)>,
    requests: usize,
    never: Vec<String>,
}

impl Tally {
    fn arose(&mut self, role: NodeRole, table: &Table, row: &Row, reason: R) {
        assert_eq!(reason, row.reason, "{role:?}");
        self.requests += 1;
        if !self.shown.contains(&(table.operation, row.error)) {
            self.shown.push((table.operation, row.error));
        }
    }

    fn never(&mut self, role: NodeRole, table: &Table, row: &Row, why: &str) {
        self.never.push(format!("{role:?}, table {} {}: {}: {why}", table.number, table.operation.name(), row.error));
    }

    #[expect(clippy::print_stdout, reason = "what is shown and what is not is what the test tells")]
    fn print(&self, tables: usize) {
        for line in &self.never {
            println!("cannot arise: {line}");
        }
        println!("{} requests for {} rows of {tables} tables; {} cells cannot arise", self.requests, self.shown.len(), self.never.len());
    }
}

// What the rows have in common.

fn of<C: Call>(call: &C) -> Vec<u8> {
    let mut batch = Batch::new(V1_4);
    batch.push(call).expect("1.4 has the operation");
    batch.finish().bytes
}

/// A request with these fields of the payload, for what a typed one cannot say.
fn by_hand(operation: Operation, fields: Vec<u8>) -> Vec<u8> {
    let payload = Fields(fields);
    message(V1_4.into(), |_| (), &[&|out: &mut Writer<'_>| item(out, operation.number(), &payload)])
}

const DATA_BYTES: ByteString<'static> = ByteString(b"sixteen bytes...");

/// The plainest request of an operation that names an object.
fn naming(operation: Operation, id: &str) -> Vec<u8> {
    let mut batch = Batch::new(V1_4);
    push_naming(&mut batch, operation, id);
    batch.finish().bytes
}

/// Adds such a request to a batch.
pub(crate) fn push_naming(batch: &mut Batch, operation: Operation, id: &str) {
    let (unique_identifier, data) = (Some(id), Some(DATA_BYTES));
    let pushed = match operation {
        O::ObtainLease => batch.push(&ObtainLeaseRequest { unique_identifier }).map(drop),
        O::GetUsageAllocation => batch.push(&GetUsageAllocationRequest { unique_identifier, usage_limits_count: 1 }).map(drop),
        O::Archive => batch.push(&ArchiveRequest { unique_identifier }).map(drop),
        O::Recover => batch.push(&RecoverRequest { unique_identifier }).map(drop),
        O::Sign => {
            batch.push(&SignRequest { unique_identifier, cryptographic_parameters: sha256(), data, ..SignRequest::default() }).map(drop)
        }
        O::SignatureVerify => {
            let (cryptographic_parameters, signature_data, none) = (sha256(), data, SignatureVerifyRequest::default());
            batch.push(&SignatureVerifyRequest { unique_identifier, cryptographic_parameters, data, signature_data, ..none }).map(drop)
        }
        O::Mac => batch.push(&MacRequest { unique_identifier, cryptographic_parameters: cmac(), data, ..MacRequest::default() }).map(drop),
        O::MacVerify => {
            let (cryptographic_parameters, mac_data, none) = (cmac(), data, MacVerifyRequest::default());
            batch.push(&MacVerifyRequest { unique_identifier, cryptographic_parameters, data, mac_data, ..none }).map(drop)
        }
        O::DeriveKey => batch.push(&making::derivation(&[id])).map(drop),
        other => push(batch, other, unique_identifier),
    };
    pushed.expect("1.4 has all of them");
}

fn sha256() -> Option<CryptographicParameters<'static>> {
    Some(CryptographicParameters { hashing_algorithm: Some(HashingAlgorithm::Sha256), ..CryptographicParameters::default() })
}

fn cmac() -> Option<CryptographicParameters<'static>> {
    Some(CryptographicParameters { cryptographic_algorithm: Some(CryptographicAlgorithm::Aes), ..CryptographicParameters::default() })
}

/// An identifier as the node makes them, of nothing.
fn absent(node: &Node<'_>) -> &'static str {
    match node.role {
        NodeRole::Core => "L3-01890a5d-ac96-774b-bcce-b302099a8057",
        NodeRole::Edge => "01890a5d-ac96-774b-bcce-b302099a8057",
    }
}

const STILL_TOLD: &str = "what its tenant-admin has archived at a core still tells its attributes, and is revoked and destroyed";
const NO_TEMPLATES: &str = "a core keeps no Templates";
const HAS_VALUE: &str = "every object has its Key Value: Register wants it, and Destroy ends all use";
const GENERATOR: &str = "keys are made by the system's generator; without it the node answers General Failure";

/// The rows that operations on one object share.
macro_rules! of_unknown {
    ($operation:ident, $error:literal) => {
        arises($error, R::ItemNotFound, |node| naming(O::$operation, absent(node)))
    };
    ($operation:ident) => {
        of_unknown!($operation, "No object with the specified Unique Identifier exists")
    };
}
macro_rules! of_archived {
    ($operation:ident) => {
        arises("Object is archived", R::ObjectArchived, |node| naming(O::$operation, &archived(node)))
    };
    ($operation:ident at an edge) => {
        at_edge("Object is archived", R::ObjectArchived, |node| naming(O::$operation, &archived(node)), STILL_TOLD)
    };
}
use {of_archived, of_unknown};

/// A key for every use that is archived: at an edge by its service, at a core by the tenant-admin, and not by KMIP.
fn archived(node: &mut Node<'_>) -> String {
    if node.role == NodeRole::Edge {
        let id = node.key(0x000F_FFFF, &[]);
        archive(node, &id);
        return id;
    }
    let id = node.key(DATA, &[A::Extractable(true)]);
    node.owner.revoke(&id, RevocationReasonCode::Superseded).expect("it is Active");
    node.owner.world.retire(&id);
    id
}

fn archive(node: &mut Node<'_>, id: &str) {
    node.owner.call(V1_4, &ArchiveRequest { unique_identifier: Some(id) }, |_| ()).expect("it is at hand");
}

/// The Name of a Template that is archived.
fn archived_template(node: &mut Node<'_>) -> String {
    let (id, name) = node.template(&[A::CryptographicLength(256)]).expect("it is kept");
    archive(node, &id);
    name
}

/// A key that has a Name, which is told: nobody else's.
fn with_name(node: &mut Node<'_>) -> (String, String) {
    let id = node.key(DATA, &[]);
    let name = format!("the name of {id}");
    node.owner.add(V1_4, &id, named(&name)).expect("nobody has it");
    (id, name)
}

/// More Names than an object may have.
fn too_many_names(node: &mut Node<'_>) -> Vec<String> {
    let id = node.key(DATA, &[]);
    (0..17).map(|index| format!("{index} of {id}")).collect()
}

/// Application Data that the server is to make up.
fn no_application_data() -> A<'static> {
    A::ApplicationSpecificInformation(ApplicationSpecificInformation { namespace: Some("ssl"), data: None })
}

/// A Secret Data object, which is no key.
fn secret(node: &mut Node<'_>) -> String {
    let key_block = block(KeyFormatType::Raw, None, b"correct horse battery staple");
    let object = ManagedObject::SecretData(SecretData { secret_data_type: SecretDataType::Password, key_block });
    let id = node.register(object).expect("it is kept");
    node.owner.activate(&id).expect("it is new");
    id
}

fn destroyed(node: &mut Node<'_>) -> String {
    let id = node.key(DATA, &[A::Extractable(true)]);
    node.owner.revoke(&id, RevocationReasonCode::Superseded).expect("it is Active");
    node.owner.destroy(&id).expect("it is Deactivated");
    id
}
