//! Add, Modify and Delete Attribute.

use super::*;

const NAMESPACE: &str = "The particular Application Namespace is not supported, and Application Data cannot be generated";

pub(super) fn tables() -> Vec<Table> {
    vec![add(), modify(), delete()]
}

fn adding(id: &str, index: Option<i32>, value: A<'_>) -> Vec<u8> {
    of(&AddAttributeRequest { unique_identifier: Some(id), attribute: Attribute { index, value } })
}

fn modifying(id: &str, index: Option<i32>, value: A<'_>) -> Vec<u8> {
    of(&ModifyAttributeRequest { unique_identifier: Some(id), attribute: Attribute { index, value } })
}

fn deleting(id: &str, attribute_name: &str, attribute_index: Option<i32>) -> Vec<u8> {
    of(&DeleteAttributeRequest { unique_identifier: Some(id), attribute_name, attribute_index })
}

fn add() -> Table {
    let rows = vec![
        of_unknown!(AddAttribute),
        arises("Attempt to add a read-only attribute", R::PermissionDenied, |node| {
            adding(&node.key(DATA, &[]), None, A::State(State::Active))
        }),
        arises("Attempt to add an attribute that is not supported for this object", R::PermissionDenied, |node| {
            adding(&node.key(DATA, &[]), None, A::Pkcs12FriendlyName("friend"))
        }),
        arises("The specified attribute already exists", R::IllegalOperation, |node| {
            adding(&node.key(DATA, &[A::Comment("one")]), None, A::Comment("another"))
        }),
        arises("New attribute contains Attribute Index", R::InvalidField, |node| adding(&node.key(DATA, &[]), Some(0), A::Comment("one"))),
        arises("Trying to add a Name attribute with the same value that another object already has", R::IllegalOperation, |node| {
            let (id, (_, name)) = (node.key(DATA, &[]), with_name(node));
            adding(&id, None, named(&name))
        }),
        arises("The server limit on instances has been reached", R::IndexOutOfBounds, |node| {
            let names = too_many_names(node);
            let id = node.key(DATA, &names[1..].iter().map(|name| named(name)).collect::<Vec<_>>());
            adding(&id, None, named(&names[0]))
        }),
        arises(NAMESPACE, R::ApplicationNamespaceNotSupported, |node| adding(&node.key(DATA, &[]), None, no_application_data())),
        of_archived!(AddAttribute),
    ];
    Table { operation: O::AddAttribute, number: 341, rows }
}

fn modify() -> Table {
    let rows = vec![
        of_unknown!(ModifyAttribute),
        arises("A specified attribute does not exist", R::InvalidField, |node| {
            modifying(&node.key(DATA, &[]), None, A::Comment("none yet"))
        }),
        arises("No matching attribute instance exists", R::ItemNotFound, |node| {
            let (id, name) = with_name(node);
            modifying(&id, Some(7), named(&format!("not {name}")))
        }),
        arises("The specified attribute is read-only", R::PermissionDenied, |node| {
            modifying(&node.key(DATA, &[]), None, A::State(State::Deactivated))
        }),
        arises("Trying to set the Name attribute value to a value already used by another object", R::IllegalOperation, |node| {
            let ((id, _), (_, name)) = (with_name(node), with_name(node));
            modifying(&id, None, named(&name))
        }),
        arises(NAMESPACE, R::ApplicationNamespaceNotSupported, |node| {
            let data = ApplicationSpecificInformation { namespace: Some("ssl"), data: Some("ours") };
            modifying(&node.key(DATA, &[A::ApplicationSpecificInformation(data)]), None, no_application_data())
        }),
        of_archived!(ModifyAttribute),
    ];
    Table { operation: O::ModifyAttribute, number: 342, rows }
}

fn delete() -> Table {
    let rows = vec![
        of_unknown!(DeleteAttribute),
        arises("Attempt to delete a read-only/REQUIRED attribute", R::PermissionDenied, |node| {
            deleting(&node.key(DATA, &[]), "Cryptographic Algorithm", None)
        }),
        arises("No matching attribute instance exists", R::ItemNotFound, |node| deleting(&with_name(node).0, "Name", Some(7))),
        arises("No attribute with the specified name exists", R::ItemNotFound, |node| {
            deleting(&node.key(DATA, &[]), "Favourite Colour", None)
        }),
        of_archived!(DeleteAttribute),
    ];
    Table { operation: O::DeleteAttribute, number: 343, rows }
}
