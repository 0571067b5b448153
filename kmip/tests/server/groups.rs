//! Object Groups at an edge: members that were served to nobody, and the default one.

use kmip::*;

use crate::world::*;
use AttributeValue as A;
use ProtocolVersion::{V1_1, V1_4};
use ResultReason as R;

fn member(client: &mut Client<'_>, version: ProtocolVersion, member: ObjectGroupMember, filter: &[A<'_>]) -> Result<Vec<String>, Failed> {
    let attributes = filter.iter().cloned().map(bare).collect();
    let request = LocateRequest { object_group_member: Some(member), attributes, ..LocateRequest::default() };
    client.call(version, &request, |answer| answer.unique_identifiers.iter().map(ToString::to_string).collect())
}

fn in_group(client: &mut Client<'_>, group: &str) -> String {
    client.create(V1_4, &wish("billing", &[A::ObjectGroup(group)])).expect("a plain key")
}

/// Locates one fresh member of a group and gets it, in one message: `None` if there is none any more.
fn taken(client: &mut Client<'_>, version: ProtocolVersion, group: &str) -> Option<String> {
    let mut batch = Batch::new(version);
    let found = LocateRequest {
        maximum_items: Some(1),
        object_group_member: Some(ObjectGroupMember::GroupMemberFresh),
        attributes: vec![bare(A::ObjectGroup(group))],
        ..LocateRequest::default()
    };
    batch.push(&found).expect("1.1 has the field");
    let got = batch.push(&GetRequest::default()).expect("1.0 has it");
    let sent = batch.finish();
    let answer = client.ask(&sent.bytes);
    let answers = sent.answers(&answer).expect("it fits the request");
    match answers.get(&got) {
        Ok(got) => Some(got.unique_identifier.to_owned()),
        Err(error) => {
            assert_eq!(failed(error).reason, R::ItemNotFound, "Locate found nothing that could be got");
            None
        }
    }
}

/// Keys are made ahead in a group, and each client that comes takes one.
#[test]
fn work_is_handed_out_once_each() {
    let world = World::edge();
    let mut service = world.service();
    for version in ProtocolVersion::ALL.into_iter().filter(|version| *version >= V1_1) {
        let group = format!("ahead {version}");
        let made: Vec<String> = (0..3).map(|_| in_group(&mut service, &group)).collect();
        let other = in_group(&mut service, "others");
        let fresh = |client: &mut Client<'_>| {
            member(client, version, ObjectGroupMember::GroupMemberFresh, &[A::ObjectGroup(&group)]).expect("a client searches").len()
        };
        assert_eq!(fresh(&mut service), 3);
        let mut handed: Vec<String> = Vec::new();
        for left in (0..3).rev() {
            let mut client = world.service();
            handed.push(taken(&mut client, version, &group).expect("there is one left"));
            assert_eq!(fresh(&mut client), left, "{version}");
            // Looking at one, or for it, serves it to nobody.
            let _looked = client.state(&other);
        }
        assert_eq!(taken(&mut service, version, &group), None, "all are served");
        handed.sort_unstable();
        let mut expected = made;
        expected.sort_unstable();
        assert_eq!(handed, expected, "each to one client");
        assert_eq!(service.locate(version, &[A::ObjectGroup(&group), A::Fresh(false)]).map(|found| found.len()), Ok(3));
        assert_eq!(service.instances(&other, "Fresh")[0].1, "Fresh(true)");
        // What replaces one has been served to nobody.
        let new = service.rekey(V1_4, &handed[0]).expect("it is the newest");
        assert_eq!(taken(&mut service, version, &group), Some(new));
        service.destroy(&other).expect("it is Pre-Active");
    }
}

#[test]
fn a_key_that_was_not_returned_stays_fresh() {
    let world = World::edge();
    let mut service = world.service();
    let id = in_group(&mut service, "ahead");
    service.modify(V1_4, &id, None, A::Sensitive(true)).expect("it becomes that");
    let get = GetRequest { unique_identifier: Some(&id), ..GetRequest::default() };
    assert_eq!(why(service.call(V1_4, &get, |_| ())), R::Sensitive);
    assert_eq!(why(world.admin().call(V1_4, &get, |_| ())), R::PermissionDenied);
    // Of an answer that did not leave, nothing counts.
    world.wait(1);
    let other = in_group(&mut service, "ahead");
    let mut batch = Batch::new(V1_4);
    batch.on_error(BatchErrorContinuationOption::Undo);
    batch.push(&GetRequest { unique_identifier: Some(&other), ..GetRequest::default() }).expect("1.4 has it");
    batch.push(&ActivateRequest { unique_identifier: Some("nothing") }).expect("1.4 has it");
    let sent = batch.finish();
    let answer = service.ask(&sent.bytes);
    assert!(sent.answers(&answer).expect("it fits the request").refusal().is_some());
    let fresh = member(&mut service, V1_4, ObjectGroupMember::GroupMemberFresh, &[A::ObjectGroup("ahead")]);
    assert_eq!(fresh, Ok(vec![other, id]));
}

#[test]
fn the_default_member_is_the_newest_active_one_of_those_asked_for() {
    let world = World::edge();
    let mut service = world.service();
    let default = |client: &mut Client<'_>, filter: &[A<'_>]| member(client, V1_1, ObjectGroupMember::GroupMemberDefault, filter);
    let group = [A::ObjectGroup("g")];
    assert_eq!(default(&mut service, &group), Ok(vec![]), "there is no member");
    let first = in_group(&mut service, "g");
    assert_eq!(default(&mut service, &group), Ok(vec![]), "none is Active");
    service.activate(&first).expect("it is new");
    world.wait(1);
    let second = in_group(&mut service, "g");
    assert_eq!(default(&mut service, &group), Ok(vec![first.clone()]), "the newer one is not Active");
    service.activate(&second).expect("it is new");
    assert_eq!(default(&mut service, &group), Ok(vec![second.clone()]));
    world.wait(1);
    let elsewhere = in_group(&mut service, "other");
    service.activate(&elsewhere).expect("it is new");
    assert_eq!(default(&mut service, &group), Ok(vec![second.clone()]), "of its group");
    assert_eq!(default(&mut service, &[]), Ok(vec![elsewhere]), "of all");
    assert_eq!(default(&mut service, &[A::ObjectGroup("g"), A::CryptographicLength(128)]), Ok(vec![]), "of those asked for");
    world.wait(1);
    let third = service.rekey(V1_4, &second).expect("it is Active");
    assert_eq!(default(&mut service, &group), Ok(vec![third.clone()]), "the replacement");
    service.revoke(&third, RevocationReasonCode::Superseded).expect("it is Active");
    assert_eq!(default(&mut service, &group), Ok(vec![second.clone()]));
    // One page of one item, and the rest of the batch is about it.
    let mut batch = Batch::new(V1_4);
    let found = LocateRequest {
        object_group_member: Some(ObjectGroupMember::GroupMemberDefault),
        offset_items: Some(0),
        attributes: vec![bare(A::ObjectGroup("g"))],
        ..LocateRequest::default()
    };
    let found = batch.push(&found).expect("1.4 has it");
    let got = batch.push(&GetRequest::default()).expect("1.4 has it");
    let sent = batch.finish();
    let answer = service.ask(&sent.bytes);
    let answers = sent.answers(&answer).expect("it fits the request");
    assert_eq!(answers.get(&found).expect("it is found").located_items, Some(1));
    assert_eq!(answers.get(&got).expect("it is the service's").unique_identifier, second);
    let mut stranger = world.client(keys::policy::Role::Service, "globex", "billing");
    assert_eq!(default(&mut stranger, &group), Ok(vec![]), "another's group of that name");
}
