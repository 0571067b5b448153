//! Object keys of edges: wrapped and opened under the L3s of the tenants that a group is enrolled for, and by nobody else.

use futures_executor::block_on;
use keys::policy::{Action, Role};
use keys::record::Outcome;
use keys::row::Header;
use kmip::ttlv::ByteString;
use kmip::*;

use crate::world::*;
use ProtocolVersion::{V1_2, V1_4};
use ResultReason as R;

const KEY: [u8; 32] = [0x5A; 32];
const PLACE: [u8; 16] = [0xB1; 16];

fn mode() -> CryptographicParameters<'static> {
    CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::Extension(0x8000_0001)), ..CryptographicParameters::default() }
}

fn wrapping(id: &str) -> EncryptRequest<'_> {
    EncryptRequest {
        unique_identifier: Some(id),
        cryptographic_parameters: Some(mode()),
        data: Some(ByteString(&KEY)),
        additional_data: Some(ByteString(&PLACE)),
        ..EncryptRequest::default()
    }
}

fn opening<'a>(id: &'a str, blob: &'a [u8], place: &'a [u8]) -> DecryptRequest<'a> {
    DecryptRequest {
        unique_identifier: Some(id),
        cryptographic_parameters: Some(mode()),
        data: Some(ByteString(blob)),
        additional_data: Some(ByteString(place)),
        ..DecryptRequest::default()
    }
}

fn wrap(client: &mut Client<'_>, request: &EncryptRequest<'_>) -> Result<Vec<u8>, Failed> {
    client.call(V1_4, request, |answer| answer.data.expect("a whole answer").0.to_vec())
}

fn open(client: &mut Client<'_>, request: &DecryptRequest<'_>) -> Result<Vec<u8>, Failed> {
    client.call(V1_4, request, |answer| answer.data.expect("a whole answer").0.to_vec())
}

fn enrol(world: &World, group: &str, tenants: &[&str]) {
    let name = |text: &str| text.parse().expect("a name");
    let tenants: Vec<_> = tenants.iter().map(|tenant| name(tenant)).collect();
    block_on(async {
        world.vault.ensure_system_tenant().await.expect("the fakes are well");
        let mut unit = world.vault.begin(keys::id::SessionId(1));
        world.vault.enrol_edges(&mut unit, &name(group), &tenants, &[]).await.expect("the tenants are there");
        let _receipt = unit.commit().await.expect("the fakes are well");
    });
}

fn revoke(world: &World, group: &str) {
    block_on(async {
        let mut unit = world.vault.begin(keys::id::SessionId(1));
        world.vault.revoke_edges(&mut unit, &group.parse().expect("a name")).await.expect("it is enrolled");
        let _receipt = unit.commit().await.expect("the fakes are well");
    });
}

fn edge<'w>(world: &'w World, group: &str) -> Client<'w> {
    world.client(Role::Edge, "", group)
}

#[test]
fn an_edge_gets_its_object_key_back_from_the_same_place_only() {
    let world = World::found();
    enrol(&world, "west", &["acme"]);
    enrol(&world, "east", &["acme"]);
    let (id, other) = (world.key(), world.key());
    let mut west = edge(&world, "west");
    world.take_records();
    let blob = wrap(&mut west, &wrapping(&id)).expect("it is enrolled");
    assert_eq!(open(&mut west, &opening(&id, &blob, &PLACE)), Ok(KEY.to_vec()));
    assert_eq!(world.outcomes(), [(Action::WrapObjectKey, Outcome::Success), (Action::UnwrapObjectKey, Outcome::Success)]);
    assert!(!blob.windows(KEY.len()).any(|part| part == KEY), "the key is in the blob");
    assert_ne!(wrap(&mut west, &wrapping(&id)).expect("it is enrolled"), blob, "each blob has a key of its own");
    for (client, id, place) in
        [(&mut edge(&world, "west"), &id, &[0xB2; 16]), (&mut edge(&world, "east"), &id, &PLACE), (&mut west, &other, &PLACE)]
    {
        assert_eq!(why(open(client, &opening(id, &blob, place))), R::CryptographicFailure);
    }
    for at in 0..blob.len() {
        let mut changed = blob.clone();
        changed[at] ^= 1;
        assert_eq!(why(open(&mut edge(&world, "west"), &opening(&id, &changed, &PLACE))), R::CryptographicFailure, "byte {at}");
    }
}

#[test]
fn only_edges_of_an_enrolled_group_wrap_and_no_key_of_another_tenant() {
    let world = World::found();
    enrol(&world, "west", &["acme"]);
    let id = world.key();
    let blob = wrap(&mut edge(&world, "west"), &wrapping(&id)).expect("it is enrolled");
    world.take_records();
    for (role, tenant, service) in [
        (Role::Service, "acme", "billing"),
        (Role::TenantAdmin, "acme", ""),
        (Role::Service, "globex", "billing"),
        (Role::Service, "system", "west"),
        (Role::TenantAdmin, "system", ""),
        (Role::Operator, "", ""),
        (Role::Operator, "", "west"),
        (Role::Auditor, "", "west"),
        (Role::Custodian, "", "west"),
        (Role::Edge, "", ""),
        (Role::Edge, "", "north"),
        (Role::Edge, "acme", "billing"),
    ] {
        let mut client = world.client(role, tenant, service);
        assert_eq!(why(wrap(&mut client, &wrapping(&id))), R::PermissionDenied, "{role:?} {tenant}/{service}");
        assert_eq!(why(open(&mut client, &opening(&id, &blob, &PLACE))), R::PermissionDenied, "{role:?} {tenant}/{service}");
    }
    assert!(world.outcomes().iter().all(|(_, outcome)| *outcome == Outcome::Denied));
    enrol(&world, "east", &["globex"]);
    let mut east = edge(&world, "east");
    assert_eq!(why(wrap(&mut east, &wrapping(&id))), R::ItemNotFound);
    assert_eq!(why(open(&mut east, &opening(&id, &blob, &PLACE))), R::ItemNotFound);
    assert_eq!(why(wrap(&mut east, &wrapping("L3-01890a5d-ac96-774b-bcce-b302099a8057"))), R::ItemNotFound);
    assert_eq!(why(wrap(&mut east, &wrapping("nonsense"))), R::ItemNotFound);
}

#[test]
fn a_revoked_group_is_refused_at_once_and_one_enrolled_again_is_served() {
    let world = World::found();
    enrol(&world, "west", &["acme"]);
    let id = world.key();
    let mut west = edge(&world, "west");
    let blob = wrap(&mut west, &wrapping(&id)).expect("it is enrolled");
    revoke(&world, "west");
    assert_eq!(why(wrap(&mut west, &wrapping(&id))), R::ItemNotFound);
    assert_eq!(why(open(&mut west, &opening(&id, &blob, &PLACE))), R::ItemNotFound);
    enrol(&world, "west", &["globex"]);
    assert_eq!(open(&mut west, &opening(&id, &blob, &PLACE)), Ok(KEY.to_vec()), "its tenants are still enrolled");
}

#[test]
fn an_edge_does_nothing_else_with_an_l3() {
    let world = World::found();
    enrol(&world, "west", &["acme"]);
    let id = world.key();
    let mut west = edge(&world, "west");
    let data = EncryptRequest { cryptographic_parameters: None, additional_data: None, ..wrapping(&id) };
    assert_eq!(why(wrap(&mut west, &data)), R::ItemNotFound);
    let attributes = GetAttributesRequest { unique_identifier: Some(&id), attribute_names: vec![] };
    assert_eq!(why(west.call(V1_4, &attributes, |_| ())), R::ItemNotFound);
}

#[test]
fn what_is_no_object_key_is_refused_by_its_field() {
    let world = World::found();
    enrol(&world, "west", &["acme"]);
    let id = world.key();
    let mut west = edge(&world, "west");
    let short = ByteString(&KEY[..31]);
    let cases = [
        ("Data", EncryptRequest { data: Some(short), ..wrapping(&id) }),
        ("Data", EncryptRequest { data: None, ..wrapping(&id) }),
        ("Authenticated Encryption Additional Data", EncryptRequest { additional_data: None, ..wrapping(&id) }),
        ("Authenticated Encryption Additional Data", EncryptRequest { additional_data: Some(short), ..wrapping(&id) }),
        ("Block Cipher Mode", EncryptRequest { iv_counter_nonce: Some(ByteString(&[0; 12])), ..wrapping(&id) }),
        ("Block Cipher Mode", EncryptRequest { init_indicator: Some(true), ..wrapping(&id) }),
        (
            "Cryptographic Parameters",
            EncryptRequest { cryptographic_parameters: Some(CryptographicParameters { tag_length: Some(16), ..mode() }), ..wrapping(&id) },
        ),
        ("Unique Identifier", EncryptRequest { unique_identifier: None, ..wrapping(&id) }),
    ];
    for (field, request) in cases {
        let failed = wrap(&mut west, &request).expect_err("it is no object key");
        assert!(failed.message.contains(field), "{field}: {failed:?}");
    }
    let old = EncryptRequest { additional_data: None, ..wrapping(&id) };
    let answer = west.call(V1_2, &old, |_| ());
    assert_eq!(why(answer), R::InvalidField, "before 1.4 there is no field for the identifier");
}

#[test]
fn the_state_of_the_l3_decides() {
    let world = World::found();
    enrol(&world, "west", &["acme"]);
    let id = world.key();
    let mut west = edge(&world, "west");
    let blob = wrap(&mut west, &wrapping(&id)).expect("it is Active");
    world.admin().revoke(&id, RevocationReasonCode::Superseded).expect("it is Active");
    assert_eq!(why(wrap(&mut west, &wrapping(&id))), R::PermissionDenied);
    assert_eq!(open(&mut west, &opening(&id, &blob, &PLACE)), Ok(KEY.to_vec()), "Deactivated keys still open");
    world.admin().revoke(&id, RevocationReasonCode::KeyCompromise).expect("it is Deactivated");
    assert_eq!(why(wrap(&mut west, &wrapping(&id))), R::PermissionDenied);
    assert_eq!(open(&mut west, &opening(&id, &blob, &PLACE)), Ok(KEY.to_vec()), "what lies under it has to be taken out");
    world.admin().destroy(&id).expect("it is Compromised");
    assert_eq!(why(open(&mut west, &opening(&id, &blob, &PLACE))), R::PermissionDenied);
}

/// An edge was told to come again later, with all the keys that it had asked to be opened with the one under the damaged L3.
#[test]
fn a_damaged_l3_opens_nothing_now_nor_later_and_keeps_no_other_back() {
    let world = World::found();
    enrol(&world, "west", &["acme"]);
    let (sound, damaged) = (world.key(), world.key());
    let mut west = edge(&world, "west");
    let blobs = [&sound, &damaged].map(|id| wrap(&mut west, &wrapping(id)).expect("it is Active"));
    // Changed, so that nothing of it is kept open.
    world.admin().add(V1_4, &damaged, named("damaged")).expect("it is acme's");
    let row = world.store.rows()[&row_id(&damaged)].clone();
    let header = Header { generation: row.header.generation.next(), ..row.header };
    let mut material = row.material.expect("it has some");
    *material.last_mut().expect("a blob has bytes") ^= 1;
    let row = world.vault.registry().seal_row(header, Some(material), row.attributes, row.terms);
    world.store.rows().insert(row_id(&damaged), row);
    world.take_records();
    assert_eq!(why(open(&mut west, &opening(&damaged, &blobs[1], &PLACE))), R::CryptographicFailure);
    assert_eq!(world.outcomes(), [(Action::UnwrapObjectKey, Outcome::Corrupt)]);
    assert_eq!(why(wrap(&mut west, &wrapping(&damaged))), R::CryptographicFailure);
    assert_eq!(open(&mut west, &opening(&sound, &blobs[0], &PLACE)), Ok(KEY.to_vec()));
}
