//! Check: may the client use the key so, and if not, what stands against it.

use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::{DateTime, Interval};
use kmip::*;

use crate::world::*;
use CryptographicUsageMask as Mask;
use ProtocolVersion::{V1_0, V1_2, V1_4};

/// The identifier, or the payload that came with a refusal.
fn check(client: &mut Client<'_>, version: ProtocolVersion, request: &CheckRequest<'_>) -> Result<String, (ResultReason, Option<String>)> {
    let mut batch = Batch::new(version);
    batch.push(request).expect("1.0 has Check");
    let answer = client.ask(&batch.finish().bytes);
    let message = ResponseMessage::read(&answer).expect("answers are legal in their version");
    let [item] = message.items.as_slice() else { panic!("{} items", message.items.len()) };
    let payload = item.payload.map(|payload| CheckResponse::decode(payload, Rules::of_response(version)).expect("legal in its version"));
    match (item.result_status, payload) {
        (ResultStatus::Success, Some(CheckResponse { unique_identifier: Some(id), .. })) => Ok(id.to_owned()),
        (ResultStatus::OperationFailed, payload) => {
            let told = payload.map(|CheckResponse { unique_identifier, usage_limits_count, cryptographic_usage_mask, lease_time }| {
                assert_eq!((unique_identifier, usage_limits_count), (None, None), "neither is told in a refusal");
                format!("{:?} {:?}", cryptographic_usage_mask.map(|mask| mask.0), lease_time.map(|lease| lease.0))
            });
            Err((item.result_reason.expect("a failure has a reason"), told))
        }
        other => panic!("neither: {other:?}"),
    }
}

fn asks(id: &str, mask: i32) -> CheckRequest<'_> {
    CheckRequest { unique_identifier: Some(id), cryptographic_usage_mask: Some(Mask(mask)), ..CheckRequest::default() }
}

#[test]
fn a_use_is_allowed_by_role_mask_and_state_and_else_the_mask_comes_back() {
    let world = World::found();
    let mut cells = 0;
    for keys_key in [false, true] {
        for state in [State::PreActive, State::Active, State::Deactivated, State::Compromised] {
            let mut attributes = wish("billing", &[]);
            attributes[2] = AttributeValue::CryptographicUsageMask(Mask(if keys_key { 48 } else { 12 }));
            let mut admin = world.admin();
            let id = admin.create(V1_0, &attributes).expect("a plain key");
            if [State::Active, State::Deactivated].contains(&state) {
                admin.activate(&id).expect("it is new");
            }
            match state {
                State::Deactivated => drop(admin.revoke(&id, RevocationReasonCode::Unspecified).expect("it is Active")),
                State::Compromised => drop(admin.revoke(&id, RevocationReasonCode::KeyCompromise).expect("it is Pre-Active")),
                _ => {}
            }
            for role in [Role::Service, Role::TenantAdmin] {
                // A service encrypts and decrypts, an admin has keys wrapped; nobody unwraps at a core.
                let may = match (keys_key, role, state) {
                    (false, Role::Service, State::Active) => 12,
                    (false, Role::Service, State::Deactivated) => 8,
                    (true, Role::TenantAdmin, State::Active) => 16,
                    _ => 0,
                };
                for asked in [0, 4, 8, 12, 16, 32, 48, 20, 1, 0x40, i32::MIN, -1] {
                    for version in [V1_0, V1_4] {
                        let told = check(&mut world.client(role, "acme", "billing"), version, &asks(&id, asked));
                        let expected = match asked & !may {
                            0 => Ok(id.clone()),
                            _ => Err((ResultReason::PermissionDenied, Some(format!("Some({asked}) None")))),
                        };
                        assert_eq!(told, expected, "mask {asked:#x}, {role:?}, {state:?}, for keys: {keys_key}, {version}");
                        cells += 1;
                    }
                }
            }
        }
    }
    counted(cells);
}

#[test]
fn only_what_stands_against_the_use_comes_back() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let full = CheckRequest { usage_limits_count: Some(1 << 40), lease_time: Some(Interval(60)), ..asks(&id, 12) };
    let denied = |told: &str| Err((ResultReason::PermissionDenied, Some(told.to_owned())));
    assert_eq!(check(&mut service, V1_2, &full), denied("None Some(60)"));
    assert_eq!(
        check(&mut service, V1_2, &CheckRequest { cryptographic_usage_mask: Some(Mask(1)), ..full.clone() }),
        denied("Some(1) Some(60)")
    );
    assert_eq!(check(&mut service, V1_2, &CheckRequest { lease_time: Some(Interval(0)), ..full.clone() }), Ok(id.clone()));
    assert_eq!(check(&mut service, V1_2, &CheckRequest { unique_identifier: Some(&id), ..CheckRequest::default() }), Ok(id.clone()));
    let negative = CheckRequest { usage_limits_count: Some(-1), ..full };
    assert_eq!(check(&mut service, V1_2, &negative), Err((ResultReason::InvalidField, None)));
}

#[test]
fn the_dates_of_a_key_count_and_a_destroyed_one_is_not_checked() {
    use AttributeValue as A;
    let world = World::found();
    let (mut admin, mut service) = (world.admin(), world.service());
    let at = |seconds| DateTime(START + seconds);
    let dates = [A::ActivationDate(at(0)), A::ProcessStartDate(at(10)), A::ProtectStopDate(at(20))];
    let id = admin.create(V1_2, &wish("billing", &dates)).expect("the dates are in order");
    let allowed = |service: &mut Client<'_>| [4, 8].map(|bit| check(service, V1_2, &asks(&id, bit)).is_ok());
    assert_eq!(allowed(&mut service), [true, false]);
    world.wait(10);
    assert_eq!(allowed(&mut service), [true, true]);
    world.wait(10);
    assert_eq!(allowed(&mut service), [false, true]);
    admin.revoke(&id, RevocationReasonCode::Unspecified).and_then(|_| admin.destroy(&id)).expect("it goes");
    assert_eq!(check(&mut service, V1_2, &asks(&id, 0)), Err((ResultReason::IllegalOperation, None)));
}

#[test]
fn a_failed_check_empties_the_placeholder_and_a_good_one_keeps_it() {
    let world = World::found();
    let mut admin = world.admin();
    for (mask, is_destroyed) in [(0, true), (4, false)] {
        let mut batch = Batch::new(V1_0);
        batch.on_error(BatchErrorContinuationOption::Continue);
        let create = batch.push(&create_request(&wish("billing", &[]))).expect("1.0 has Create");
        batch.push(&CheckRequest { cryptographic_usage_mask: Some(Mask(mask)), ..CheckRequest::default() }).expect("1.0 has Check");
        batch.push(&DestroyRequest::default()).expect("1.0 has Destroy");
        let sent = batch.finish();
        let answer = admin.ask(&sent.bytes);
        let answers = sent.answers(&answer).expect("it answers this request");
        let id = answers.get(&create).expect("a plain key").unique_identifier.to_owned();
        let last = &answers.message.items[2];
        assert_eq!(last.result_reason, (!is_destroyed).then_some(ResultReason::ItemNotFound));
        assert_eq!(admin.state(&id) == State::Destroyed, is_destroyed);
    }
}

#[test]
fn a_check_leaves_one_record_and_changes_nothing() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    world.take_records();
    let before = world.store.rows().clone();
    check(&mut service, V1_4, &asks(&id, 12)).expect("an Active key");
    check(&mut service, V1_4, &asks(&id, 16)).expect_err("it is for data");
    assert_eq!(world.outcomes(), [(Action::Check, Outcome::Success), (Action::Check, Outcome::Denied)]);
    assert_eq!(*world.store.rows(), before);
}
