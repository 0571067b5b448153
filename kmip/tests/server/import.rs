//! Export and Import at an edge: an object moves with its past, under the identifier that it had, and no further than its client's own reach.

use keys::id::Layer;
use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::{ByteString, DateTime, Item, Value, Writer};
use kmip::*;

use crate::edge::{KEY, Thing, WRAPPER, for_wrapping, get, key, mask, opaque, plainly, register, registering, secret, specification};
use crate::pairs::certificate;
use crate::world::*;
use AttributeValue as A;
use ProtocolVersion::{V1_0, V1_4};
use ResultReason as R;

const OTHER: [u8; 32] = *b"another one of thirty-two bytes.";

/// What Export has answered.
struct Exported(Vec<u8>);

impl Exported {
    fn read(&self) -> ExportResponse<'_> {
        let item = Item::only(&self.0).expect("just written");
        ExportResponse::decode(item, Rules::of_response(V1_4)).expect("just written")
    }

    /// The attributes that do not tell where the object stands.
    fn told(&self) -> Vec<String> {
        let attributes = self.read().attributes;
        let moves = |attribute: &&Attribute<'_>| {
            let name = attribute.value.name();
            name != "Unique Identifier" && (!name.starts_with("y-") || name.ends_with("-type"))
        };
        attributes.iter().filter(moves).map(|attribute| format!("{attribute:?}")).collect()
    }
}

fn export(client: &mut Client<'_>, id: &str) -> Result<Exported, Failed> {
    let request = ExportRequest { unique_identifier: Some(id), ..ExportRequest::default() };
    client.call(V1_4, &request, |answer| {
        assert_eq!((answer.unique_identifier, answer.object_type), (id, answer.object.object_type()));
        let mut bytes = vec![];
        answer.encode(Tag::RESPONSE_PAYLOAD, &mut Writer::new(&mut bytes, V1_4));
        Exported(bytes)
    })
}

fn request<'a>(id: &'a str, object: ManagedObject<'a>, attributes: Vec<Attribute<'a>>) -> ImportRequest<'a> {
    ImportRequest { unique_identifier: id, replace_existing: None, key_wrap_type: None, attributes, object }
}

fn importing<'a>(id: &'a str, thing: &'a Thing, attributes: &[A<'a>]) -> ImportRequest<'a> {
    request(id, thing.object(), attributes.iter().cloned().map(bare).collect())
}

fn import(client: &mut Client<'_>, request: &ImportRequest<'_>) -> Result<String, Failed> {
    client.call(V1_4, request, |answer| answer.unique_identifier.to_owned())
}

fn replacing(request: ImportRequest<'_>) -> ImportRequest<'_> {
    ImportRequest { replace_existing: Some(true), ..request }
}

fn material(client: &mut Client<'_>, id: &str) -> Result<Vec<u8>, Failed> {
    get(client, V1_4, &plainly(id)).map(|thing| thing.material)
}

/// The identifier that this server gave to what was imported under `id`.
fn own(client: &mut Client<'_>, id: &str) -> String {
    let found = client.locate(V1_4, &[A::Custom("y-imported-as", Value::TextString(id))]).expect("a search");
    assert_eq!(client.locate(V1_0, &[A::UniqueIdentifier(id)]).as_ref(), Ok(&found), "by either");
    let [own] = found.as_slice() else { panic!("not one: {found:?}") };
    own.clone()
}

fn half(kind: ObjectType) -> ManagedObject<'static> {
    let pair = cipher::pair::generate(cipher::pair::PairKind::Ec(cipher::pair::Curve::P256)).expect("it is offered");
    let bytes = if kind == ObjectType::PrivateKey { pair.private } else { pair.public };
    let bytes: &'static [u8] = Box::leak(bytes.expose(<[u8]>::to_vec).into_boxed_slice());
    let key_block = KeyBlock {
        key_format_type: if kind == ObjectType::PrivateKey { KeyFormatType::ECPrivateKey } else { KeyFormatType::X509 },
        key_compression_type: None,
        key_value: Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(bytes)), attributes: vec![] })),
        cryptographic_algorithm: Some(CryptographicAlgorithm::Ecdsa),
        cryptographic_length: Some(256),
        key_wrapping_data: None,
    };
    match kind {
        ObjectType::PrivateKey => ManagedObject::PrivateKey(PrivateKey { key_block }),
        _ => ManagedObject::PublicKey(PublicKey { key_block }),
    }
}

/// Brings a new object into this state.
fn bring(client: &mut Client<'_>, id: &str, state: State) {
    if matches!(state, State::Active | State::Deactivated) {
        client.activate(id).expect("it is new");
    }
    match state {
        State::Deactivated => drop(client.revoke(id, RevocationReasonCode::Superseded).expect("it is Active")),
        State::Compromised => drop(client.revoke(id, RevocationReasonCode::KeyCompromise).expect("it is new")),
        State::Destroyed => drop(client.destroy(id).expect("it is new")),
        _ => {}
    }
    assert_eq!(client.state(id), state);
}

#[test]
fn an_object_of_every_type_and_state_moves_to_another_server_with_all_that_was_known_of_it() {
    let (from, to) = (World::edge(), World::edge());
    to.wait(1000);
    let (mut source, mut target) = (from.service(), to.service());
    let parameters = CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::Gcm), ..CryptographicParameters::default() };
    let attributes = [
        mask(DATA),
        named("invoices"),
        named("and more"),
        A::ObjectGroup("vip"),
        A::Comment("kept"),
        A::Custom("x-note", Value::TextString("mine")),
        A::CryptographicParameters(parameters),
        A::DeactivationDate(DateTime(START + 100_000)),
        A::ContactInformation("me"),
        A::OriginalCreationDate(DateTime(7)),
    ];
    let der = certificate();
    let x509 = ManagedObject::Certificate(Certificate { certificate_type: CertificateType::X509, certificate_value: ByteString(&der) });
    let (symmetric, password, blob) =
        (key(&KEY), secret(SecretDataType::Password, KeyFormatType::Opaque, b"correct horse"), opaque(b"whatever"));
    let objects = [symmetric.object(), password.object(), blob.object(), x509, half(ObjectType::PrivateKey), half(ObjectType::PublicKey)];
    let mut cases = 0;
    for object in objects {
        for state in [State::PreActive, State::Active, State::Deactivated, State::Compromised] {
            let id = register(&mut source, V1_4, &registering(object.clone(), &attributes)).expect("it is kept");
            source.delete(V1_4, &id, "Name", Some(0)).expect("it has two");
            bring(&mut source, &id, state);
            let left = export(&mut source, &id).expect("it leaves as by Get");
            let answer = left.read();
            to.take_records();
            let came = import(&mut target, &request(&id, answer.object.clone(), answer.attributes.clone()));
            assert_eq!(came.as_ref(), Ok(&id), "{:?} {state:?}", object.object_type());
            let records = to.take_records();
            let told: Vec<_> = records.iter().map(|record| (record.action, record.outcome)).collect();
            assert_eq!(told, [(Action::Import, Outcome::Success)]);
            let again = export(&mut target, &id).expect("it leaves again");
            assert_eq!((again.told(), again.read().object), (left.told(), answer.object), "{:?} {state:?}", object.object_type());
            assert_eq!(row_id(&own(&mut target, &id)).layer, Layer::L4);
            for (client, id) in [(&mut source, id.clone()), (&mut target, id)] {
                client.delete(V1_4, &id, "Name", Some(1)).expect("the next one is to have it");
            }
            cases += 1;
        }
    }
    counted(cases);
}

#[test]
fn export_goes_by_sensitive_extractable_archive_owner_and_state() {
    let world = World::edge();
    let mut service = world.service();
    let with = for_wrapping(&mut service, &key(&WRAPPER), 0x10);
    let wrapped = |id: &str, client: &mut Client<'_>| {
        let key_wrapping_specification = Some(specification(&with));
        let request = ExportRequest { unique_identifier: Some(id), key_wrapping_specification, ..ExportRequest::default() };
        client.call(V1_4, &request, |answer| answer.object.key_block().is_some_and(|block| block.key_wrapping_data.is_some()))
    };
    let made =
        |client: &mut Client<'_>, more: A<'static>| register(client, V1_4, &key(&KEY).request(&[mask(DATA), more])).expect("it is kept");
    let sensitive = made(&mut service, A::Sensitive(true));
    assert_eq!(export(&mut service, &sensitive).map(drop).map_err(|failed| failed.reason), Err(R::Sensitive));
    assert_eq!(wrapped(&sensitive, &mut service), Ok(true));
    let stays = made(&mut service, A::Extractable(false));
    assert_eq!(export(&mut service, &stays).map(drop).map_err(|failed| failed.reason), Err(R::NotExtractable));
    assert_eq!(why(wrapped(&stays, &mut service)), R::NotExtractable);
    let away = made(&mut service, A::Comment("put away"));
    service.call(V1_0, &ArchiveRequest { unique_identifier: Some(&away) }, |_| ()).expect("it is put away");
    assert_eq!(export(&mut service, &away).map(drop).map_err(|failed| failed.reason), Err(R::ObjectArchived));
    let plain = made(&mut service, A::Comment("fresh"));
    let fresh = |exported: &Exported| exported.read().attributes.iter().any(|attribute| attribute.value == A::Fresh(true));
    assert!(!fresh(&export(&mut service, &plain).expect("it may leave")), "it has left with that");
    for (role, tenant, name, reason) in [
        (Role::TenantAdmin, "acme", "", R::PermissionDenied),
        (Role::Service, "acme", "payroll", R::ItemNotFound),
        (Role::Service, "globex", "billing", R::ItemNotFound),
        (Role::Operator, "", "", R::ItemNotFound),
    ] {
        let outcome = export(&mut world.client(role, tenant, name), &plain).map(drop);
        assert_eq!(outcome.map_err(|failed| failed.reason), Err(reason), "{role:?} {tenant} {name}");
    }
}

#[test]
fn of_a_destroyed_object_export_gives_all_but_the_material_and_nothing_can_be_imported_in_its_place() {
    let world = World::edge();
    let mut service = world.service();
    let der = certificate();
    let x509 = ManagedObject::Certificate(Certificate { certificate_type: CertificateType::X509, certificate_value: ByteString(&der) });
    let (symmetric, password, blob) = (key(&KEY), secret(SecretDataType::Password, KeyFormatType::Opaque, b"p"), opaque(b"b"));
    for object in [symmetric.object(), password.object(), blob.object(), x509, half(ObjectType::PrivateKey), half(ObjectType::PublicKey)] {
        let id = register(&mut service, V1_4, &registering(object.clone(), &[mask(DATA)])).expect("it is kept");
        let before = export(&mut service, &id).expect("it may leave");
        bring(&mut service, &id, State::Destroyed);
        let left = export(&mut service, &id).expect("its attributes are there");
        let answer = left.read();
        assert!(answer.attributes.iter().any(|attribute| attribute.value == A::State(State::Destroyed)));
        match (&answer.object, &object) {
            (ManagedObject::Certificate(left), _) => assert!(left.certificate_value.0.is_empty()),
            (ManagedObject::OpaqueObject(left), _) => assert!(left.opaque_data_value.0.is_empty()),
            (left, object) => {
                let (left, whole) = (left.key_block().expect("a key"), object.key_block().expect("a key"));
                assert_eq!((left.key_format_type, &left.key_value), (whole.key_format_type, &None));
            }
        }
        let whole = before.read();
        let rows = world.store.rows().clone();
        for (replace, reason) in [(None, R::ObjectAlreadyExists), (Some(false), R::ObjectAlreadyExists), (Some(true), R::PermissionDenied)]
        {
            let back = ImportRequest { replace_existing: replace, ..request(&id, whole.object.clone(), whole.attributes.clone()) };
            assert_eq!(why(import(&mut service, &back)), reason, "{replace:?}");
        }
        assert_eq!(*world.store.rows(), rows);
    }
    // The same of what was imported itself.
    let id = import(&mut service, &importing("other-server/7", &symmetric, &[mask(DATA)])).expect("it is new");
    bring(&mut service, &id, State::Destroyed);
    assert_eq!(why(import(&mut service, &importing(&id, &symmetric, &[mask(DATA)]))), R::ObjectAlreadyExists);
    assert_eq!(why(import(&mut service, &replacing(importing(&id, &symmetric, &[mask(DATA)])))), R::PermissionDenied);
}

#[test]
fn what_was_imported_goes_by_its_identifier_for_its_own_service_and_for_nobody_else() {
    let world = World::edge();
    let long = "x".repeat(256);
    let ids = ["1", "KEY-0007", "01890A5D-AC96-774B-BCCE-B302099A8057", "01890a5d-ac96-774b-bcce-b302099a8057", "ключ", "L9-1", &long];
    let owners = [("acme", "billing"), ("acme", "payroll"), ("globex", "billing")];
    for id in ids {
        let before = world.store.rows().len();
        for (number, (tenant, name)) in owners.into_iter().enumerate() {
            let mut client = world.client(Role::Service, tenant, name);
            let thing = Thing { material: vec![u8::try_from(number).expect("few"); 32], ..key(&KEY) };
            assert_eq!(why(material(&mut client, id)), R::ItemNotFound, "others have it, and nobody");
            assert_eq!(import(&mut client, &importing(id, &thing, &[mask(DATA), named(id)])).as_deref(), Ok(id));
            assert_eq!(why(import(&mut client, &importing(id, &thing, &[mask(DATA)]))), R::ObjectAlreadyExists);
        }
        assert!(world.store.rows().len() >= before + owners.len());
        let mut own_ids = Vec::new();
        for (number, (tenant, name)) in owners.into_iter().enumerate() {
            let mut client = world.client(Role::Service, tenant, name);
            let own = own(&mut client, id);
            let bytes = vec![u8::try_from(number).expect("few"); 32];
            assert_eq!((material(&mut client, id).as_ref(), material(&mut client, &own).as_ref()), (Ok(&bytes), Ok(&bytes)));
            client.activate(id).expect("it is new");
            assert_eq!((client.state(id), client.state(&own)), (State::Active, State::Active));
            let encrypt =
                EncryptRequest { unique_identifier: Some(id), data: Some(ByteString(b"an invoice")), ..EncryptRequest::default() };
            client.call(V1_4, &encrypt, |answer| assert_eq!(answer.unique_identifier, id)).expect("it is Active");
            own_ids.push(own);
        }
        for other in &own_ids[1..] {
            assert_eq!(why(material(&mut world.service(), other)), R::ItemNotFound);
        }
        assert_eq!(why(world.admin().activate(id)), R::ItemNotFound, "of which service?");
        world.admin().revoke(&own_ids[0], RevocationReasonCode::Superseded).expect("that says which");
        assert_eq!(world.service().state(id), State::Deactivated);
        world.service().destroy(id).expect("it is Deactivated");
    }
    counted(ids.len() * owners.len());
}

/// A client that guesses identifiers learns nothing from importing under them, and does nothing to whose they are.
#[test]
fn an_identifier_of_somebody_else_is_as_good_as_one_of_nobody() {
    let world = World::edge();
    let mut owner = world.client(Role::Service, "globex", "billing");
    let theirs = register(&mut owner, V1_4, &key(&KEY).request(&[mask(DATA), named("theirs")])).expect("it is kept");
    let row = world.store.rows()[&row_id(&theirs)].clone();
    let mut service = world.service();
    let thing = Thing { material: OTHER.to_vec(), ..key(&KEY) };
    let ask = |client: &mut Client<'_>, id: &str, replace| {
        let mut batch = Batch::new(V1_4);
        let request = ImportRequest { replace_existing: replace, ..importing(id, &thing, &[mask(DATA)]) };
        batch.push(&request).expect("1.4 has Import");
        let answer = client.ask(&batch.finish().bytes);
        String::from_utf8_lossy(&answer).replace(id, "ID")
    };
    let free = "01890a5d-ac96-774b-bcce-b302099a8057";
    for replace in [Some(true), None, Some(true)] {
        let (taken, free) = (ask(&mut service, &theirs, replace), ask(&mut service, free, replace));
        assert_eq!(taken, free, "{replace:?}");
    }
    assert_eq!(material(&mut service, &theirs), Ok(OTHER.to_vec()), "its own by that name");
    service.destroy(&theirs).expect("its own");
    assert_eq!(world.store.rows()[&row_id(&theirs)], row, "nothing was done to it");
    assert_eq!(material(&mut owner, &theirs), Ok(KEY.to_vec()));
    assert_eq!(owner.locate(V1_4, &[named("theirs")]), Ok(vec![theirs]));
}

/// Whether an object in one state may be replaced by one in another: it could be destroyed, and its identifier goes on or stays.
#[test]
fn only_what_could_be_destroyed_is_replaced_and_no_identifier_goes_back() {
    const STATES: [State; 4] = [State::PreActive, State::Active, State::Deactivated, State::Compromised];
    let world = World::edge();
    let mut service = world.service();
    let thing = Thing { material: OTHER.to_vec(), ..key(&KEY) };
    let mut cases = 0;
    for (is, before) in STATES.into_iter().enumerate() {
        for (becomes, after) in STATES.into_iter().enumerate() {
            for is_own in [true, false] {
                let id = match is_own {
                    true => register(&mut service, V1_4, &key(&KEY).request(&[mask(DATA), named("old")])).expect("it is kept"),
                    false => {
                        let id = format!("{before:?} {after:?}");
                        import(&mut service, &importing(&id, &key(&KEY), &[mask(DATA), named("old")])).expect("it is new")
                    }
                };
                bring(&mut service, &id, before);
                let (rows, case) = (world.store.rows().clone(), format!("{before:?} {after:?} {is_own}"));
                let attributes = [mask(0x04), A::State(after), named("new")];
                assert_eq!(why(import(&mut service, &importing(&id, &thing, &attributes))), R::ObjectAlreadyExists, "{case}");
                world.audit.records().clear();
                let replaced = import(&mut service, &replacing(importing(&id, &thing, &attributes)));
                let told: Vec<_> = world.audit.records().iter().map(|record| (record.action, record.outcome)).collect();
                if before != State::Active && becomes >= is {
                    assert_eq!(replaced.as_ref(), Ok(&id), "{case}");
                    assert_eq!(told, [(Action::Import, Outcome::Intended), (Action::Import, Outcome::Success)], "it cannot be taken back");
                    assert_eq!((service.state(&id), material(&mut service, &id)), (after, Ok(OTHER.to_vec())), "{case}");
                    assert_eq!(service.locate(V1_4, &[named("old")]), Ok(vec![]), "{case}");
                    assert_eq!(service.locate(V1_4, &[named("new")]).expect("a search").len(), 1, "{case}");
                    service.delete(V1_4, &id, "Name", None).expect("it has one");
                } else {
                    assert_eq!(why(replaced), R::PermissionDenied, "{case}");
                    assert_eq!(told, [(Action::Import, Outcome::WrongState)], "{case}");
                    assert_eq!(*world.store.rows(), rows, "{case}");
                    service.delete(V1_4, &id, "Name", None).expect("it has one");
                }
                cases += 1;
            }
        }
    }
    let away = register(&mut service, V1_4, &key(&KEY).request(&[mask(DATA)])).expect("it is kept");
    service.call(V1_0, &ArchiveRequest { unique_identifier: Some(&away) }, |_| ()).expect("it is put away");
    assert_eq!(why(import(&mut service, &replacing(importing(&away, &thing, &[mask(DATA)])))), R::ObjectArchived);
    counted(cases + 1);
}

#[test]
fn what_a_client_cannot_know_or_must_not_claim_is_refused_and_keeps_nothing() {
    let world = World::edge();
    let mut service = world.service();
    register(&mut service, V1_4, &key(&OTHER).request(&[mask(DATA), named("taken")])).expect("it is kept");
    let later = DateTime(world.now() + 1);
    let limits = |total, count| A::UsageLimits(UsageLimits { total: Some(total), count: Some(count), unit: Some(UsageLimitsUnit::Byte) });
    let digest = cipher::mac::sha256(&[b"something else"]);
    let digest = A::Digest(Digest {
        hashing_algorithm: Some(HashingAlgorithm::Sha256),
        digest_value: Some(ByteString(&digest)),
        key_format_type: Some(KeyFormatType::Raw),
    });
    let cases: Vec<(&str, Vec<A<'_>>, R)> = vec![
        ("destroyed", vec![A::State(State::Destroyed)], R::InvalidField),
        ("destroyed and compromised", vec![A::State(State::DestroyedCompromised)], R::InvalidField),
        ("a Destroy Date", vec![A::DestroyDate(DateTime(7))], R::InvalidField),
        ("fresh", vec![A::Fresh(true)], R::InvalidField),
        ("always, and not now", vec![A::AlwaysSensitive(true)], R::InvalidField),
        ("never, and now", vec![A::NeverExtractable(true)], R::InvalidField),
        ("compromised, and not said", vec![A::CompromiseDate(DateTime(7)), A::State(State::Active)], R::InvalidField),
        ("made tomorrow", vec![A::InitialDate(later)], R::InvalidField),
        ("changed tomorrow", vec![A::LastChangeDate(later)], R::InvalidField),
        ("archived tomorrow", vec![A::ArchiveDate(later)], R::InvalidField),
        ("more left than there was", vec![limits(10, 11)], R::InvalidField),
        ("less than nothing left", vec![limits(10, -1)], R::InvalidField),
        ("another digest", vec![digest], R::InvalidField),
        ("another type", vec![A::ObjectType(ObjectType::SecretData)], R::InvalidField),
        ("another algorithm", vec![A::CryptographicAlgorithm(CryptographicAlgorithm::HmacSha256)], R::InvalidField),
        ("another length", vec![A::CryptographicLength(128)], R::InvalidField),
        ("a certificate's", vec![A::CertificateLength(7)], R::InvalidField),
        ("two states", vec![A::State(State::Active), A::State(State::Active)], R::InvalidField),
        ("a negative mask", vec![mask(-1)], R::InvalidField),
        ("a name of another object", vec![named("taken")], R::InvalidField),
        ("an end before its beginning", vec![A::ActivationDate(DateTime(9)), A::DeactivationDate(DateTime(8))], R::InvalidField),
        ("no material", vec![A::KeyValuePresent(false)], R::InvalidField),
    ];
    let rows = world.store.rows().clone();
    let thing = key(&KEY);
    for (case, attributes, reason) in &cases {
        world.take_records();
        let failed = import(&mut service, &importing("1", &thing, attributes)).expect_err(case);
        assert_eq!(failed.reason, *reason, "{case}: {}", failed.message);
        assert_eq!(world.outcomes(), [(Action::Import, Outcome::Invalid)], "{case}");
    }
    let long = "x".repeat(257);
    for id in ["", &long, "L2-01890a5d-ac96-774b-bcce-b302099a8057", "L3-01890a5d-ac96-774b-bcce-b302099a8057"] {
        assert_eq!(why(import(&mut service, &importing(id, &thing, &[mask(DATA)]))), R::InvalidField, "{id}");
    }
    let indexed = |index| Attribute { index: Some(index), ..bare(A::Custom("x-note", Value::Integer(1))) };
    assert_eq!(why(import(&mut service, &request("1", thing.object(), vec![indexed(3), indexed(3)]))), R::InvalidField);
    let large = opaque(&vec![1; keys::edge::MATERIAL_BYTES_MAX + 1]);
    assert_eq!(why(import(&mut service, &importing("1", &large, &[mask(0)]))), R::InvalidField);
    assert_eq!(*world.store.rows(), rows, "nothing was stored");
    counted(cases.len() + 6);
}

#[test]
fn who_keeps_nothing_of_its_own_imports_nothing() {
    let thing = key(&KEY);
    let edge = World::edge();
    let rows = edge.store.rows().clone();
    for (role, tenant, service) in [
        (Role::TenantAdmin, "acme", ""),
        (Role::Operator, "", ""),
        (Role::Auditor, "", ""),
        (Role::Edge, "", "west"),
        (Role::Service, "acme", "nothing"),
        (Role::Service, "nobody", "billing"),
    ] {
        let mut client = edge.client(role, tenant, service);
        assert_eq!(why(import(&mut client, &importing("1", &thing, &[mask(DATA)]))), R::PermissionDenied, "{role:?} {tenant}");
        assert_eq!(why(import(&mut client, &replacing(importing("1", &thing, &[mask(DATA)])))), R::PermissionDenied, "{role:?} {tenant}");
    }
    assert_eq!(*edge.store.rows(), rows);
    let memory = World::edge_with(None, true);
    assert_eq!(why(import(&mut memory.service(), &importing("1", &thing, &[mask(DATA)]))), R::PermissionDenied);
    let core = World::found();
    for mut client in [core.service(), core.admin()] {
        assert_eq!(why(import(&mut client, &importing("1", &thing, &[mask(DATA)]))), R::OperationNotSupported);
    }
}

#[test]
fn what_was_claimed_of_an_object_is_never_more_than_it_was_here() {
    let world = World::edge();
    let mut service = world.service();
    let flags = |client: &mut Client<'_>, id: &str| {
        ["Always Sensitive", "Never Extractable"].map(|name| client.instances(id, name)[0].1.contains("true"))
    };
    let closed = [mask(DATA), A::Sensitive(true), A::Extractable(false)];
    let always = [A::AlwaysSensitive(true), A::NeverExtractable(true)];
    let not_always = [A::AlwaysSensitive(false), A::NeverExtractable(false)];
    let thing = key(&KEY);
    for (id, more, expected) in [("1", &[][..], true), ("2", &always, true), ("3", &not_always, false)] {
        import(&mut service, &importing(id, &thing, &[&closed[..], more].concat())).expect("it is new");
        assert_eq!(flags(&mut service, id), [expected; 2], "{id}");
    }
    // An identifier keeps what was true of it.
    import(&mut service, &replacing(importing("3", &thing, &[&closed[..], &always].concat()))).expect("it is Pre-Active");
    assert_eq!(flags(&mut service, "3"), [false; 2]);
    import(&mut service, &replacing(importing("2", &thing, &[mask(DATA)]))).expect("it is Pre-Active");
    assert_eq!(flags(&mut service, "2"), [false; 2]);
    import(&mut service, &replacing(importing("2", &thing, &[&closed[..], &always].concat()))).expect("it is Pre-Active");
    assert_eq!(flags(&mut service, "2"), [false; 2], "once it was not");
    assert_eq!(service.instances("1", "Fresh")[0].1, "Fresh(false)");
    // Links between versions are shown, and nothing is done for them: it is this server's own Re-key that counts.
    let link = A::Link(Link { link_type: Some(LinkType::ReplacementObjectLink), linked_object_identifier: Some("2") });
    import(&mut service, &importing("4", &thing, &[mask(DATA), A::State(State::Active), link])).expect("it is new");
    assert!(service.instances("4", "Link")[0].1.contains("ReplacementObjectLink"));
    let next = service.rekey(V1_4, "4").expect("nothing has replaced it here");
    assert_eq!(service.instances(&next, "y-imported-as"), [], "it was made here");
    assert_ne!(own(&mut service, "4"), next, "of one object that is so");
}

#[test]
fn usage_limits_come_as_used_as_they_were_and_stay_so() {
    let world = World::edge();
    let mut service = world.service();
    let limits = |total, count| A::UsageLimits(UsageLimits { total: Some(total), count, unit: Some(UsageLimitsUnit::Object) });
    let thing = key(&KEY);
    let active = |more| [mask(DATA), A::State(State::Active), more];
    let protects = |client: &mut Client<'_>, id: &str| {
        let request = EncryptRequest { unique_identifier: Some(id), data: Some(ByteString(b"an invoice")), ..EncryptRequest::default() };
        client.call(V1_4, &request, |_| ())
    };
    let left = |client: &mut Client<'_>, id: &str| {
        let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: vec!["Usage Limits"] };
        client.call(V1_4, &request, |answer| match answer.attributes.as_slice() {
            [Attribute { value: A::UsageLimits(limits), .. }] => limits.count.expect("counted"),
            others => panic!("{others:?}"),
        })
    };
    for (id, count, uses) in [("none left", Some(0), 0), ("two left", Some(2), 2), ("all left", Some(5), 5), ("unsaid", None, 5)] {
        import(&mut service, &importing(id, &thing, &active(limits(5, count)))).expect("it is new");
        assert_eq!(left(&mut service, id), Ok(uses), "{id}");
        for _ in 0..uses {
            protects(&mut service, id).expect("there is some left");
        }
        assert_eq!(why(protects(&mut service, id)), R::PermissionDenied, "{id}");
    }
    // What was used stays used, also by whoever replaces the object.
    let id = "two left";
    service.revoke(id, RevocationReasonCode::Superseded).expect("it is Active");
    let ended = |more: Vec<A<'static>>| [vec![mask(DATA), A::State(State::Deactivated)], more].concat();
    let rows = world.store.rows().clone();
    for more in [vec![], vec![limits(6, None)], vec![limits(100, Some(100))]] {
        assert_eq!(why(import(&mut service, &replacing(importing(id, &thing, &ended(more))))), R::PermissionDenied);
    }
    assert_eq!(*world.store.rows(), rows);
    import(&mut service, &replacing(importing(id, &thing, &ended(vec![limits(5, Some(5))])))).expect("the same limits");
    assert_eq!(left(&mut service, id), Ok(0), "nobody's word brings it back");
}

#[test]
fn what_comes_wrapped_is_unwrapped_if_that_is_asked_for_and_never_kept_as_it_came() {
    let world = World::edge();
    let mut service = world.service();
    // The wrapping key itself comes from the other server, under its identifier there.
    let kw = CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::NISTKeyWrap), ..CryptographicParameters::default() };
    let attributes = [mask(0x30), A::State(State::Active), A::CryptographicParameters(kw)];
    import(&mut service, &importing("kek-1", &key(&WRAPPER), &attributes)).expect("it is new");
    let mut bytes = vec![0; 40];
    cipher::keywrap::KeyWrap::Kw.wrap(&WRAPPER, &KEY, &mut bytes).expect("the lengths fit");
    let data = KeyWrappingData {
        wrapping_method: WrappingMethod::Encrypt,
        encryption_key_information: Some(WrappingKeyInformation { unique_identifier: "kek-1", cryptographic_parameters: None }),
        mac_signature_key_information: None,
        mac_signature: None,
        iv_counter_nonce: None,
        encoding_option: Some(EncodingOption::NoEncoding),
    };
    let thing = key(&KEY);
    let ManagedObject::SymmetricKey(plain) = thing.object() else { panic!("a key") };
    let block = KeyBlock { key_value: Some(KeyValue::Wrapped(ByteString(&bytes))), key_wrapping_data: Some(data), ..plain.key_block };
    let object = ManagedObject::SymmetricKey(SymmetricKey { key_block: block });
    let with = |key_wrap_type| ImportRequest { key_wrap_type, ..request("7", object.clone(), vec![bare(mask(DATA))]) };
    let rows = world.store.rows().clone();
    for asked in [None, Some(KeyWrapType::AsRegistered), Some(KeyWrapType::Extension(0x8000_0001))] {
        let failed = import(&mut service, &with(asked)).expect_err("it would be kept wrapped");
        assert_eq!((failed.reason, failed.message.contains("Not Wrapped")), (R::InvalidField, true), "{}", failed.message);
    }
    assert_eq!(*world.store.rows(), rows);
    world.take_records();
    import(&mut service, &with(Some(KeyWrapType::NotWrapped))).expect("it opens");
    let objects: Vec<_> = world.take_records().iter().map(|record| (record.action, record.outcome, record.object)).collect();
    let [of_key, of_wrapper] = ["7", "kek-1"].map(|id| Some(row_id(&own(&mut service, id))));
    assert_eq!(objects, [of_key, of_wrapper].map(|id| (Action::Import, Outcome::Success, id)));
    assert_eq!(material(&mut service, "7"), Ok(KEY.to_vec()));
    // And leaves under it again, named as its client names it.
    let wanted = ExportRequest {
        unique_identifier: Some("7"),
        key_wrapping_specification: Some(specification("kek-1")),
        ..ExportRequest::default()
    };
    let left = service.call(V1_4, &wanted, |answer| match &answer.object.key_block().expect("a key").key_value {
        Some(KeyValue::Wrapped(bytes)) => bytes.0.to_vec(),
        other => panic!("not wrapped: {other:?}"),
    });
    assert_eq!(left, Ok(bytes.clone()));
    let mut flipped = bytes.clone();
    flipped[7] ^= 1;
    let mut block = object.key_block().expect("a key").clone();
    block.key_value = Some(KeyValue::Wrapped(ByteString(&flipped)));
    let other = ManagedObject::SymmetricKey(SymmetricKey { key_block: block });
    let forged = ImportRequest { key_wrap_type: Some(KeyWrapType::NotWrapped), ..request("8", other, vec![bare(mask(DATA))]) };
    world.take_records();
    assert_eq!(why(import(&mut service, &forged)), R::CryptographicFailure);
    assert_eq!(world.outcomes(), [(Action::Import, Outcome::Refused); 2]);
    assert_eq!(why(material(&mut service, "8")), R::ItemNotFound);
}

#[test]
fn a_template_moves_with_what_it_holds_and_takes_no_other_place() {
    let (from, to) = (World::edge(), World::edge());
    let (mut source, mut target) = (from.service(), to.service());
    let held = [A::CryptographicAlgorithm(CryptographicAlgorithm::Aes), A::CryptographicLength(192), mask(DATA), A::Comment("by gold")];
    let template = ManagedObject::Template(Template { attributes: held.into_iter().map(bare).collect() });
    let id = register(&mut source, V1_4, &registering(template, &[named("gold")])).expect("it is kept");
    let left = export(&mut source, &id).expect("it is its own");
    let answer = left.read();
    import(&mut target, &request(&id, answer.object.clone(), answer.attributes.clone())).expect("it is new");
    assert_eq!(export(&mut target, &id).expect("it is its own").read().object, answer.object);
    let gold = Name { value: Some("gold"), name_type: Some(NameType::UninterpretedTextString) };
    let template_attribute = TemplateAttribute { names: vec![gold], attributes: vec![] };
    let create = CreateRequest { object_type: ObjectType::SymmetricKey, template_attribute };
    let made = target.call(V1_4, &create, |answer| answer.unique_identifier.to_owned()).expect("by its name");
    assert_eq!(get(&mut target, V1_4, &plainly(&made)).map(|thing| thing.bits), Ok(Some(192)));
    assert!(target.instances(&made, "Comment")[0].1.contains("by gold"));
    let rows = to.store.rows().clone();
    let thing = key(&KEY);
    assert_eq!(why(import(&mut target, &replacing(importing(&id, &thing, &[mask(DATA)])))), R::InvalidField, "a key in its place");
    let other = replacing(request(&made, answer.object.clone(), vec![bare(named("silver"))]));
    assert_eq!(why(import(&mut target, &other)), R::InvalidField, "in a key's place");
    let kind = request("7", answer.object.clone(), vec![bare(A::ObjectType(ObjectType::SymmetricKey))]);
    assert_eq!(why(import(&mut target, &kind)), R::InvalidField, "it is none");
    assert_eq!(*to.store.rows(), rows);
    import(&mut target, &replacing(request(&id, answer.object.clone(), vec![bare(named("gold"))]))).expect("a Template in its place");
    // Of a Template that is destroyed nothing is left, so it may come again.
    target.destroy(&id).expect("its own");
    assert_eq!(export(&mut target, &id).map(drop).map_err(|failed| failed.reason), Err(R::ItemNotFound));
    import(&mut target, &request(&id, answer.object.clone(), answer.attributes.clone())).expect("nothing is there");
}

#[test]
fn an_import_fills_the_placeholder_and_is_undone_with_its_batch() {
    let world = World::edge();
    let mut service = world.service();
    let (thing, attributes) = (key(&KEY), [mask(DATA), A::State(State::Active)]);
    let look = GetAttributesRequest { unique_identifier: None, attribute_names: vec!["State"] };
    let mut batch = Batch::new(V1_4);
    batch.push(&importing("7", &thing, &attributes)).expect("1.4 has Import");
    let looked = batch.push(&look).expect("1.0 has it");
    let sent = batch.finish();
    let answer = service.ask(&sent.bytes);
    let answers = sent.answers(&answer).expect("it answers this request");
    let found = answers.get(&looked).expect("the placeholder has it");
    assert_eq!((found.unique_identifier.to_owned(), &found.attributes[0].value), (own(&mut service, "7"), &A::State(State::Active)));
    let rows = world.store.rows().clone();
    let mut batch = Batch::new(V1_4);
    batch.on_error(BatchErrorContinuationOption::Undo);
    batch.push(&importing("8", &thing, &attributes)).expect("1.4 has Import");
    // Found within the batch that brings it, and by the name it comes under.
    let found = GetAttributesRequest { unique_identifier: Some("8"), attribute_names: vec!["State"] };
    batch.push(&found).expect("1.0 has it");
    batch.push(&importing("8", &thing, &attributes)).expect("1.4 has Import");
    let sent = batch.finish();
    world.take_records();
    service.ask(&sent.bytes);
    let outcomes = [(Action::Import, Outcome::Undone), (Action::GetAttributes, Outcome::Undone), (Action::Import, Outcome::Invalid)];
    assert_eq!(world.outcomes(), outcomes);
    assert_eq!(*world.store.rows(), rows);
    assert_eq!(why(material(&mut service, "8")), R::ItemNotFound);
    // A failed import leaves no placeholder that an item after it could mean.
    let mut batch = Batch::new(V1_4);
    batch.on_error(BatchErrorContinuationOption::Continue);
    batch.push(&importing("7", &thing, &attributes)).expect("1.4 has Import");
    batch.push(&look).expect("1.0 has it");
    let sent = batch.finish();
    world.take_records();
    service.ask(&sent.bytes);
    assert_eq!(world.outcomes(), [(Action::Import, Outcome::Invalid), (Action::GetAttributes, Outcome::NotFound)]);
}
