//! Obtain Lease, Get Usage Allocation, Activate, Revoke, Destroy, Archive and Recover.

use super::*;
use crate::reasons::written;

pub(super) fn tables() -> Vec<Table> {
    vec![obtain_lease(), get_usage_allocation(), activate(), revoke(), destroy(), archive_table(), recover()]
}

fn compromised(node: &mut Node<'_>) -> String {
    let id = node.key(DATA, &[]);
    node.owner.revoke(&id, RevocationReasonCode::KeyCompromise).expect("it is Active");
    id
}

fn a_template(node: &mut Node<'_>) -> String {
    let (id, _) = node.template(&[A::CryptographicLength(256)]).expect("it is kept");
    id
}

fn limited(node: &mut Node<'_>) -> String {
    node.key(DATA, &[A::UsageLimits(UsageLimits { total: Some(9), count: None, unit: Some(UsageLimitsUnit::Object) })])
}

fn obtain_lease() -> Table {
    let rows = vec![
        of_unknown!(ObtainLease),
        arises("The server determines that a new lease is not permitted to be issued", R::PermissionDenied, |node| {
            naming(O::ObtainLease, &compromised(node))
        }),
        of_archived!(ObtainLease),
    ];
    Table { operation: O::ObtainLease, number: 344, rows }
}

fn get_usage_allocation() -> Table {
    let rows = vec![
        of_unknown!(GetUsageAllocation),
        arises("Object has no Usage Limits attribute", R::IllegalOperation, |node| naming(O::GetUsageAllocation, &node.key(DATA, &[]))),
        arises("No Usage Limits Count is specified", R::InvalidMessage, |node| {
            let id = limited(node);
            by_hand(O::GetUsageAllocation, written(|out| out.text(Tag::UNIQUE_IDENTIFIER, &id)))
        }),
        of_archived!(GetUsageAllocation),
        arises("The server was not able to grant the requested amount of usage allocation", R::PermissionDenied, |node| {
            let id = limited(node);
            of(&GetUsageAllocationRequest { unique_identifier: Some(&id), usage_limits_count: 10 })
        }),
    ];
    Table { operation: O::GetUsageAllocation, number: 345, rows }
}

const HAS_STATE: &str = "a core keeps no Templates, and all its keys have a state";

fn activate() -> Table {
    let rows = vec![
        of_unknown!(Activate),
        at_edge(
            "Unique Identifier specifies a template or other object that is not able to be activated",
            R::IllegalOperation,
            |node| naming(O::Activate, &a_template(node)),
            HAS_STATE,
        ),
        arises("Object is not in Pre-Active state", R::PermissionDenied, |node| naming(O::Activate, &node.key(DATA, &[]))),
        of_archived!(Activate),
    ];
    Table { operation: O::Activate, number: 346, rows }
}

fn revoke() -> Table {
    let rows = vec![
        of_unknown!(Revoke),
        arises("Revocation Reason is not recognized", R::InvalidField, |node| {
            of(&revoke_request(&node.key(DATA, &[]), RevocationReasonCode::Extension(0x8000_0001)))
        }),
        at_edge(
            "Unique Identifier specifies a template or other object that is not able to be revoked",
            R::IllegalOperation,
            |node| naming(O::Revoke, &a_template(node)),
            HAS_STATE,
        ),
        of_archived!(Revoke at an edge),
    ];
    Table { operation: O::Revoke, number: 347, rows }
}

fn destroy() -> Table {
    let rows = vec![
        of_unknown!(Destroy),
        arises("Object exists, but has already been destroyed", R::PermissionDenied, |node| naming(O::Destroy, &destroyed(node))),
        arises("Object is not in Pre-Active, Deactivated or Compromised state", R::PermissionDenied, |node| {
            naming(O::Destroy, &node.key(DATA, &[]))
        }),
        of_archived!(Destroy at an edge),
    ];
    Table { operation: O::Destroy, number: 348, rows }
}

fn archive_table() -> Table {
    let rows =
        vec![of_unknown!(Archive), arises("Object is already archived", R::ObjectArchived, |node| naming(O::Archive, &archived(node)))];
    Table { operation: O::Archive, number: 349, rows }
}

fn recover() -> Table {
    Table { operation: O::Recover, number: 350, rows: vec![of_unknown!(Recover)] }
}
