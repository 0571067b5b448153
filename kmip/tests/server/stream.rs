//! Encrypt and Decrypt in parts: what comes out, to whom a stream belongs, what ends it, and that no keystream is used twice.

use std::sync::atomic::Ordering;

use futures_executor::block_on;
use keys::id::SessionId;
use keys::policy::{Action, Principal, Role};
use keys::record::Outcome;
use keys::stream::{COLLECTED_BYTES_MAX, STREAMS_PER_PRINCIPAL_MAX};
use kmip::ttlv::{ByteString, Writer};
use kmip::*;

use crate::world::*;
use ProtocolVersion::{V1_2, V1_3, V1_4};

/// What a part returns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Out {
    data: Vec<u8>,
    iv: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    tag: Option<Vec<u8>>,
}

/// A whole ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sealed {
    data: Vec<u8>,
    iv: Vec<u8>,
    tag: Option<Vec<u8>>,
}

fn parameters(mode: BlockCipherMode) -> Option<CryptographicParameters<'static>> {
    Some(CryptographicParameters { block_cipher_mode: Some(mode), ..CryptographicParameters::default() })
}

const GCM: BlockCipherMode = BlockCipherMode::Gcm;
const CBC: BlockCipherMode = BlockCipherMode::Cbc;

fn owned(field: Option<ByteString<'_>>) -> Option<Vec<u8>> {
    field.map(|bytes| bytes.0.to_vec())
}

fn encrypt(client: &mut Client<'_>, version: ProtocolVersion, request: &EncryptRequest<'_>) -> Result<Out, Failed> {
    client.call(version, request, |answer| Out {
        data: owned(answer.data).expect("every answer has some, if only none"),
        iv: owned(answer.iv_counter_nonce),
        value: owned(answer.correlation_value),
        tag: owned(answer.authentication_tag),
    })
}

fn decrypt(client: &mut Client<'_>, version: ProtocolVersion, request: &DecryptRequest<'_>) -> Result<Out, Failed> {
    client.call(version, request, |answer| Out {
        data: owned(answer.data).expect("every answer has some, if only none"),
        value: owned(answer.correlation_value),
        ..Out::default()
    })
}

fn first<'a>(id: &'a str, mode: BlockCipherMode, data: &'a [u8]) -> EncryptRequest<'a> {
    EncryptRequest {
        unique_identifier: Some(id),
        cryptographic_parameters: parameters(mode),
        data: Some(ByteString(data)),
        init_indicator: Some(true),
        ..EncryptRequest::default()
    }
}

fn next<'a>(id: &'a str, value: &'a [u8], data: &'a [u8]) -> EncryptRequest<'a> {
    let (unique_identifier, correlation_value) = (Some(id), Some(ByteString(value)));
    EncryptRequest { unique_identifier, correlation_value, data: Some(ByteString(data)), ..EncryptRequest::default() }
}

fn last<'a>(id: &'a str, value: &'a [u8], data: &'a [u8]) -> EncryptRequest<'a> {
    EncryptRequest { final_indicator: Some(true), ..next(id, value, data) }
}

fn first_opening<'a>(id: &'a str, mode: BlockCipherMode, iv: &'a [u8], data: &'a [u8]) -> DecryptRequest<'a> {
    DecryptRequest {
        unique_identifier: Some(id),
        cryptographic_parameters: parameters(mode),
        data: Some(ByteString(data)),
        iv_counter_nonce: Some(ByteString(iv)),
        init_indicator: Some(true),
        ..DecryptRequest::default()
    }
}

fn next_opening<'a>(id: &'a str, value: &'a [u8], data: &'a [u8]) -> DecryptRequest<'a> {
    let (unique_identifier, correlation_value) = (Some(id), Some(ByteString(value)));
    DecryptRequest { unique_identifier, correlation_value, data: Some(ByteString(data)), ..DecryptRequest::default() }
}

fn last_opening<'a>(id: &'a str, value: &'a [u8], data: &'a [u8]) -> DecryptRequest<'a> {
    DecryptRequest { final_indicator: Some(true), ..next_opening(id, value, data) }
}

/// Begins a stream that encrypts `data` and returns its Correlation Value.
fn begun(client: &mut Client<'_>, id: &str, mode: BlockCipherMode, data: &[u8]) -> Vec<u8> {
    encrypt(client, V1_4, &first(id, mode, data)).expect("an Active key encrypts").value.expect("it goes on")
}

fn encrypt_in(client: &mut Client<'_>, version: ProtocolVersion, id: &str, mode: BlockCipherMode, parts: [&[u8]; 3]) -> Sealed {
    let one = encrypt(client, version, &first(id, mode, parts[0])).expect("an Active key encrypts");
    let value = one.value.expect("it goes on");
    let two = encrypt(client, version, &next(id, &value, parts[1])).expect("it is under way");
    assert_eq!((&two.iv, two.value.as_ref(), &two.tag), (&None, Some(&value), &None), "the value stays");
    let three = encrypt(client, version, &last(id, &value, parts[2])).expect("it is under way");
    assert_eq!((&three.iv, &three.value), (&None, &None));
    assert_eq!(one.tag, None);
    Sealed { data: [one.data, two.data, three.data].concat(), iv: one.iv.expect("the server made one"), tag: three.tag }
}

fn decrypt_in(client: &mut Client<'_>, id: &str, mode: BlockCipherMode, sealed: &Sealed, cuts: [usize; 2]) -> Result<Vec<u8>, Failed> {
    let [one, two, three] = cut(&sealed.data, cuts);
    let one = decrypt(client, V1_4, &first_opening(id, mode, &sealed.iv, one))?;
    let value = one.value.expect("it goes on");
    let two = decrypt(client, V1_4, &next_opening(id, &value, two))?;
    let with_tag = DecryptRequest { authentication_tag: sealed.tag.as_deref().map(ByteString), ..last_opening(id, &value, three) };
    let three = decrypt(client, V1_4, &with_tag)?;
    if mode == GCM {
        assert_eq!((&one.data[..], &two.data[..]), (&[][..], &[][..]), "released before the tag was seen");
    }
    assert_eq!(three.value, None);
    Ok([one.data, two.data, three.data].concat())
}

fn cut(data: &[u8], cuts: [usize; 2]) -> [&[u8]; 3] {
    [&data[..cuts[0]], &data[cuts[0]..cuts[1]], &data[cuts[1]..]]
}

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
}

/// The same service on a host with another certificate.
fn other_host(world: &World) -> Client<'_> {
    let [tenant, service] = ["acme", "billing"].map(|name| Some(name.parse().expect("a name")));
    let principal = Principal { role: Role::Service, tenant, service, certificate: [1; 32] };
    Client { world, caller: Caller::new(principal, SessionId(1000), Credentials::Ignore), sealed: false }
}

fn not_under_way<T: std::fmt::Debug>(result: Result<T, Failed>) {
    let failed = result.expect_err("it is not under way");
    assert_eq!((failed.reason, &failed.message[..]), (ResultReason::ItemNotFound, "no operation is under way with this Correlation Value"));
}

#[test]
fn every_cut_in_three_opens_as_a_whole_and_every_whole_opens_in_three() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    for mode in [GCM, CBC] {
        for bytes in [0, 1, 16, 17, 33] {
            let text = text(bytes);
            // CBC begins with a whole block.
            for one in [0, 1, 15, 16, 17, 32, 33].into_iter().filter(|one| *one <= bytes && (mode == GCM || *one >= 16)) {
                for other in [0, 1, 15, 16, 17, 32, 33].into_iter().filter(|other| (one..=bytes).contains(other)) {
                    let sealed = encrypt_in(&mut service, V1_4, &id, mode, cut(&text, [one, other]));
                    let whole = DecryptRequest {
                        init_indicator: None,
                        authentication_tag: sealed.tag.as_deref().map(ByteString),
                        ..first_opening(&id, mode, &sealed.iv, &sealed.data)
                    };
                    let opened = decrypt(&mut service, V1_4, &whole).map(|out| out.data);
                    assert_eq!(opened.as_deref(), Ok(&text[..]), "{mode:?} {bytes} cut at {one}, {other}");
                    let opened = decrypt_in(&mut service, &id, mode, &sealed, [one, other]);
                    assert_eq!(opened.as_deref(), Ok(&text[..]), "{mode:?} {bytes} cut at {one}, {other}");
                }
            }
        }
    }
}

#[test]
fn cbc_holds_back_its_last_whole_block_and_what_may_be_padding() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let one = encrypt(&mut service, V1_4, &first(&id, CBC, &text(17))).expect("it encrypts");
    assert_eq!((one.data.len(), one.iv.as_ref().map(Vec::len)), (0, Some(16)));
    let value = one.value.expect("it goes on");
    assert_eq!(encrypt(&mut service, V1_4, &next(&id, &value, &text(14))).map(|out| out.data.len()), Ok(0));
    assert_eq!(encrypt(&mut service, V1_4, &next(&id, &value, &text(1))).map(|out| out.data.len()), Ok(16));
    assert_eq!(encrypt(&mut service, V1_4, &last(&id, &value, b"")).map(|out| out.data.len()), Ok(32));

    let sealed = encrypt_in(&mut service, V1_4, &id, CBC, [&text(31), b"", b""]);
    let value = decrypt(&mut service, V1_4, &first_opening(&id, CBC, &sealed.iv, &sealed.data[..16]));
    let value = value.map(|out| (out.data.len(), out.value)).expect("it decrypts");
    assert_eq!(value.0, 0, "it may be the last block");
    let value = value.1.expect("it goes on");
    assert_eq!(decrypt(&mut service, V1_4, &next_opening(&id, &value, &sealed.data[16..])).map(|out| out.data.len()), Ok(16));
    assert_eq!(decrypt(&mut service, V1_4, &last_opening(&id, &value, b"")).map(|out| out.data.len()), Ok(15));
}

/// Whoever knows the block before (the IV is the first of them) chooses the next plaintext so that the block cipher gets just what it wants.
#[test]
fn cbc_in_parts_encrypts_no_block_that_was_chosen_by_the_one_before() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    for too_short in [0, 1, 15] {
        assert_eq!(why(encrypt(&mut service, V1_4, &first(&id, CBC, &text(too_short)))), ResultReason::InvalidField, "{too_short}");
    }
    let one = encrypt(&mut service, V1_4, &first(&id, CBC, &[0; 16])).expect("it encrypts");
    assert_eq!(one.data, b"", "the IV is told, and no block yet");
    let value = one.value.expect("it goes on");
    let mut seen = Vec::new();
    for known in [16, 32, 48] {
        for half in [&[0; 7][..], &[0; 9]] {
            seen.extend(encrypt(&mut service, V1_4, &next(&id, &value, half)).expect("it is under way").data);
        }
        assert_eq!(seen.len(), known, "a block comes out when the next one is fixed");
    }
    seen.extend(encrypt(&mut service, V1_4, &last(&id, &value, b"")).expect("it is under way").data);
    let sealed = Sealed { data: seen, iv: one.iv.expect("made"), tag: None };
    assert_eq!(decrypt_in(&mut service, &id, CBC, &sealed, [0, 0]).as_deref(), Ok(&[0; 64][..]));
}

#[test]
fn before_1_4_the_tag_ends_the_data_of_the_last_part() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let sealed = encrypt_in(&mut service, V1_3, &id, GCM, [b"five ", b"and seven", b""]);
    assert_eq!((sealed.data.len(), sealed.tag.as_ref()), (14 + 16, None));
    for cuts in [[0, 0], [14, 14], [14, 20], [20, 29], [30, 30]] {
        assert_eq!(decrypt_in(&mut service, &id, GCM, &sealed, cuts).as_deref(), Ok(&b"five and seven"[..]), "{cuts:?}");
    }
}

#[test]
fn gcm_releases_nothing_unless_the_tag_verifies_and_the_tag_comes_once() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let request = EncryptRequest { additional_data: Some(ByteString(b"row 7")), ..first(&id, GCM, b"a cell") };
    let one = encrypt(&mut service, V1_4, &request).expect("it encrypts");
    let (iv, value) = (one.iv.expect("made"), one.value.expect("it goes on"));
    let two = encrypt(&mut service, V1_4, &last(&id, &value, b" and more")).expect("it is under way");
    let (data, tag) = ([one.data, two.data].concat(), two.tag.expect("1.4 has the field"));
    let mut wrong = tag.clone();
    wrong[15] ^= 1;

    let mut check = |additional: &[u8], early: Option<&[u8]>, middle: Option<&[u8]>, late: Option<&[u8]>| {
        let opening = first_opening(&id, GCM, &iv, &data[..3]);
        let opening =
            DecryptRequest { additional_data: Some(ByteString(additional)), authentication_tag: early.map(ByteString), ..opening };
        let one = decrypt(&mut service, V1_4, &opening)?;
        let value = one.value.expect("it goes on");
        let two = next_opening(&id, &value, &data[3..9]);
        let two = decrypt(&mut service, V1_4, &DecryptRequest { authentication_tag: middle.map(ByteString), ..two })?;
        assert_eq!((&one.data[..], &two.data[..]), (&b""[..], &b""[..]));
        let three = last_opening(&id, &value, &data[9..]);
        let three = decrypt(&mut service, V1_4, &DecryptRequest { authentication_tag: late.map(ByteString), ..three });
        not_under_way(decrypt(&mut service, V1_4, &last_opening(&id, &value, b"")));
        three.map(|out| out.data)
    };
    let (right, wrong) = (Some(&tag[..]), Some(&wrong[..]));
    assert_eq!(check(b"row 7", right, None, None).as_deref(), Ok(&b"a cell and more"[..]));
    assert_eq!(check(b"row 7", None, None, right).as_deref(), Ok(&b"a cell and more"[..]));
    for (additional, early, late) in
        [(&b"row 7"[..], wrong, None), (b"row 7", None, wrong), (b"row 7", None, None), (b"row 8", right, None), (b"", None, right)]
    {
        let failed = check(additional, early, None, late).expect_err("it does not verify");
        assert_eq!((failed.reason, &failed.message[..]), (ResultReason::CryptographicFailure, "the data cannot be decrypted"));
    }
    assert_eq!(why(check(b"row 7", right, None, right)), ResultReason::InvalidField);
    assert_eq!(why(check(b"row 7", None, right, None)), ResultReason::InvalidField);
}

#[test]
fn whatever_value_is_not_ones_own_gets_the_same_answer_to_the_byte() {
    let world = World::found();
    let (mut service, mut host, [id, other]) = (world.service(), other_host(&world), [world.key(), world.key()]);
    let value = begun(&mut service, &id, GCM, b"some");
    let others = begun(&mut host, &id, GCM, b"some");
    let ask = |client: &mut Client<'_>, request: &EncryptRequest<'_>| {
        let mut batch = Batch::new(V1_4);
        batch.push(request).expect("1.4 has Encrypt");
        client.ask(&batch.finish().bytes)
    };
    let unknown = ask(&mut service, &next(&id, &[0; 16], b"data"));
    let on_other_key = ask(&mut service, &next(&other, &[0; 16], b"data"));
    world.take_records();
    assert_eq!(ask(&mut service, &next(&id, &others, b"data")), unknown, "another principal's");
    assert_eq!(ask(&mut host, &next(&id, &value, b"data")), unknown, "another principal's");
    assert_eq!(ask(&mut service, &next(&other, &value, b"data")), on_other_key, "another key");
    for strange in [&b""[..], &value[1..], &[0; 17], &[0; 1000]] {
        assert_eq!(ask(&mut service, &next(&id, strange, b"data")), unknown, "no value at all");
    }
    assert_eq!(world.outcomes(), [(Action::Encrypt, Outcome::NotFound); 7]);
    not_under_way(decrypt(&mut service, V1_4, &next_opening(&id, &value, b"data")));
    // None of it did anything to the stream.
    assert_eq!(encrypt(&mut service, V1_4, &last(&id, &value, b"thing")).map(|out| out.data.len()), Ok(5));
    assert_eq!(encrypt(&mut host, V1_4, &last(&id, &others, b"thing")).map(|out| out.data.len()), Ok(5));
}

#[test]
fn another_connection_of_the_same_principal_goes_on() {
    let world = World::found();
    let id = world.key();
    let value = begun(&mut world.service(), &id, CBC, b"one connection is here");
    assert_eq!(encrypt(&mut world.service(), V1_3, &last(&id, &value, b"another")).map(|out| out.data.len()), Ok(32));
}

#[test]
fn what_is_wrong_in_itself_is_refused_by_name_and_leaves_the_stream_as_it_was() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let value = begun(&mut service, &id, GCM, b"some");
    let good = next(&id, &value, b"data");
    let mut check = |request: EncryptRequest<'_>, reason, word: &str| {
        let failed = encrypt(&mut service, V1_4, &request).expect_err(word);
        assert_eq!(failed.reason, reason, "{word}");
        assert!(failed.message.contains(word), "{}", failed.message);
    };
    let (missing, field) = (ResultReason::InvalidMessage, ResultReason::InvalidField);
    check(EncryptRequest { init_indicator: Some(true), ..good.clone() }, field, "Init Indicator");
    check(EncryptRequest { init_indicator: Some(true), final_indicator: Some(true), ..good.clone() }, field, "Init Indicator");
    check(EncryptRequest { data: None, ..good.clone() }, missing, "Data");
    check(EncryptRequest { correlation_value: None, ..last(&id, &value, b"data") }, missing, "Correlation Value");
    check(EncryptRequest { iv_counter_nonce: Some(ByteString(&[0; 12])), ..good.clone() }, field, "IV/Counter/Nonce");
    check(EncryptRequest { additional_data: Some(ByteString(b"more")), ..good.clone() }, field, "Additional Data");
    check(EncryptRequest { cryptographic_parameters: parameters(CBC), ..good.clone() }, ResultReason::ItemNotFound, "under way");
    check(
        EncryptRequest { cryptographic_parameters: parameters(BlockCipherMode::Ctr), ..good.clone() },
        ResultReason::FeatureNotSupported,
        "Mode",
    );
    check(EncryptRequest { unique_identifier: None, ..good.clone() }, ResultReason::ItemNotFound, "Unique Identifier");
    let repeated = EncryptRequest { cryptographic_parameters: parameters(GCM), final_indicator: Some(true), ..good };
    assert_eq!(encrypt(&mut service, V1_4, &repeated).map(|out| (out.data.len(), out.tag.is_some())), Ok((4, true)));

    let one = decrypt(&mut service, V1_4, &first_opening(&id, CBC, &[0; 16], &[0; 32])).expect("CBC takes anything");
    let value = one.value.expect("it goes on");
    let good = next_opening(&id, &value, &[0; 16]);
    for (wrong, reason) in [
        (DecryptRequest { iv_counter_nonce: Some(ByteString(&[0; 16])), ..good.clone() }, field),
        (DecryptRequest { additional_data: Some(ByteString(b"more")), ..good.clone() }, field),
        (DecryptRequest { authentication_tag: Some(ByteString(&[0; 16])), ..good.clone() }, field),
        (DecryptRequest { init_indicator: Some(true), ..good.clone() }, field),
        (DecryptRequest { cryptographic_parameters: parameters(GCM), ..good.clone() }, ResultReason::ItemNotFound),
    ] {
        assert_eq!(why(decrypt(&mut service, V1_4, &wrong)), reason);
    }
    assert_eq!(decrypt(&mut service, V1_4, &good).map(|out| out.data.len()), Ok(16));
}

#[test]
fn a_first_part_is_judged_like_a_whole_request() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let iv = EncryptRequest { iv_counter_nonce: Some(ByteString(&[0; 12])), ..first(&id, GCM, b"data") };
    assert_eq!(why(encrypt(&mut service, V1_4, &iv)), ResultReason::InvalidField);
    let additional = EncryptRequest { additional_data: Some(ByteString(b"row 7")), ..first(&id, CBC, b"data") };
    assert_eq!(why(encrypt(&mut service, V1_4, &additional)), ResultReason::InvalidField);
    assert_eq!(why(encrypt(&mut service, V1_4, &first(&id, BlockCipherMode::Ctr, b"data"))), ResultReason::FeatureNotSupported);
    assert_eq!(why(encrypt(&mut world.admin(), V1_4, &first(&id, GCM, b"data"))), ResultReason::PermissionDenied);
    assert_eq!(
        why(encrypt(&mut world.client(Role::Service, "globex", "billing"), V1_4, &first(&id, GCM, b"data"))),
        ResultReason::ItemNotFound
    );
    let no_iv = DecryptRequest { iv_counter_nonce: None, ..first_opening(&id, CBC, b"", b"data") };
    assert_eq!(why(decrypt(&mut service, V1_4, &no_iv)), ResultReason::InvalidMessage);
    assert_eq!(why(decrypt(&mut service, V1_4, &first_opening(&id, CBC, &[0; 15], b"data"))), ResultReason::CryptographicFailure);
    // Neither is taken in before its length is known: it would be kept.
    for iv in [0, 11, 13, 1 << 20] {
        let iv = vec![0; iv];
        let request = first_opening(&id, GCM, &iv, b"data");
        assert_eq!(why(decrypt(&mut service, V1_4, &request)), ResultReason::CryptographicFailure, "IV of {}", iv.len());
    }
    for tag in [0, 15, 17, 1 << 20] {
        let tag = vec![0; tag];
        let request = DecryptRequest { authentication_tag: Some(ByteString(&tag)), ..first_opening(&id, GCM, &[0; 12], b"data") };
        assert_eq!(why(decrypt(&mut service, V1_4, &request)), ResultReason::CryptographicFailure, "tag of {}", tag.len());
    }
    let tagged = DecryptRequest { authentication_tag: Some(ByteString(&[0; 16])), ..first_opening(&id, CBC, &[0; 16], b"data") };
    assert_eq!(why(decrypt(&mut service, V1_4, &tagged)), ResultReason::InvalidField);
}

#[test]
fn after_the_last_part_and_after_a_failed_one_there_is_no_stream() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    for mode in [GCM, CBC] {
        let value = begun(&mut service, &id, mode, b"sixteen or more bytes");
        encrypt(&mut service, V1_4, &last(&id, &value, b"thing")).expect("it is under way");
        not_under_way(encrypt(&mut service, V1_4, &next(&id, &value, b"more")));
        not_under_way(encrypt(&mut service, V1_4, &last(&id, &value, b"more")));
    }
    let one = decrypt(&mut service, V1_4, &first_opening(&id, CBC, &[0; 16], &[0; 20])).expect("CBC takes anything");
    let value = one.value.expect("it goes on");
    assert_eq!(why(decrypt(&mut service, V1_4, &last_opening(&id, &value, b""))), ResultReason::CryptographicFailure);
    not_under_way(decrypt(&mut service, V1_4, &last_opening(&id, &value, &[0; 12])));
}

#[test]
fn a_stream_lives_sixty_seconds_from_its_last_part() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let value = begun(&mut service, &id, GCM, b"some");
    for _ in 0..3 {
        world.wait(60);
        encrypt(&mut service, V1_4, &next(&id, &value, b"more")).expect("it is under way");
    }
    world.wait(61);
    not_under_way(encrypt(&mut service, V1_4, &next(&id, &value, b"more")));
    // A clock that is put back does not bring it back.
    world.wait(-61);
    not_under_way(encrypt(&mut service, V1_4, &next(&id, &value, b"more")));
}

#[test]
fn a_key_that_changes_its_state_ends_its_streams_and_is_asked_at_every_part() {
    for end in [RevocationReasonCode::CessationOfOperation, RevocationReasonCode::KeyCompromise] {
        let world = World::found();
        let (mut admin, mut service, id) = (world.admin(), world.service(), world.key());
        let sealed = encrypt_in(&mut service, V1_4, &id, CBC, [b"sixteen or more bytes", b"", b"thing"]);
        let [encrypting, gcm] = [CBC, GCM].map(|mode| begun(&mut service, &id, mode, b"sixteen or more bytes"));
        let decrypting = decrypt(&mut service, V1_4, &first_opening(&id, CBC, &sealed.iv, &sealed.data)).expect("it decrypts");
        let decrypting = decrypting.value.expect("it goes on");
        admin.revoke(&id, end).expect("an Active key is revoked");
        assert_eq!(why(encrypt(&mut service, V1_4, &next(&id, &encrypting, b"more"))), ResultReason::PermissionDenied);
        assert_eq!(why(encrypt(&mut service, V1_4, &last(&id, &gcm, b"more"))), ResultReason::PermissionDenied);
        not_under_way(encrypt(&mut service, V1_4, &next(&id, &encrypting, b"more")));
        let opening = first_opening(&id, CBC, &sealed.iv, &sealed.data);
        if end == RevocationReasonCode::KeyCompromise {
            assert_eq!(why(decrypt(&mut service, V1_4, &last_opening(&id, &decrypting, b""))), ResultReason::PermissionDenied);
            assert_eq!(why(decrypt(&mut service, V1_4, &opening)), ResultReason::PermissionDenied);
            continue;
        }
        // Decrypt is still allowed, but the stream began under another state.
        not_under_way(decrypt(&mut service, V1_4, &last_opening(&id, &decrypting, b"")));
        let anew = decrypt(&mut service, V1_4, &opening).expect("it decrypts still").value.expect("it goes on");
        admin.destroy(&id).expect("a revoked key is destroyed");
        assert_eq!(why(decrypt(&mut service, V1_4, &last_opening(&id, &anew, b""))), ResultReason::PermissionDenied);
    }
}

/// Neither an attribute nor anything else that moves the key's generation, but not its state, is a reason to begin anew.
#[test]
fn an_edited_attribute_does_not_end_a_stream() {
    let world = World::found();
    let (mut admin, mut service, id) = (world.admin(), world.service(), world.key());
    let value = begun(&mut service, &id, GCM, b"some");
    let attribute = bare(AttributeValue::ContactInformation("the one who edits"));
    let request = AddAttributeRequest { unique_identifier: Some(&id), attribute };
    admin.call(V1_4, &request, |answer| answer.unique_identifier.to_owned()).expect("there was none");
    assert_eq!(encrypt(&mut service, V1_4, &last(&id, &value, b"thing")).map(|out| out.data.len()), Ok(5));
}

#[test]
fn a_principal_has_its_share_of_streams_and_no_more() {
    let world = World::found();
    let (mut service, mut host, id) = (world.service(), other_host(&world), world.key());
    let values: Vec<_> = (0..STREAMS_PER_PRINCIPAL_MAX).map(|_| begun(&mut service, &id, GCM, b"some")).collect();
    let failed = encrypt(&mut service, V1_4, &first(&id, GCM, b"some")).expect_err("that is one too many");
    assert_eq!(failed.reason, ResultReason::PermissionDenied);
    assert!(failed.message.contains("64"), "{}", failed.message);
    assert_eq!(why(decrypt(&mut service, V1_4, &first_opening(&id, CBC, &[0; 16], b""))), ResultReason::PermissionDenied);
    begun(&mut host, &id, GCM, b"some");
    encrypt(&mut service, V1_4, &last(&id, &values[7], b"")).expect("it is under way");
    begun(&mut service, &id, GCM, b"some");
    assert_eq!(why(encrypt(&mut service, V1_4, &first(&id, CBC, &[0; 16]))), ResultReason::PermissionDenied);
    world.wait(61);
    begun(&mut service, &id, GCM, b"some");
}

#[test]
fn many_first_parts_in_one_message_are_counted_one_by_one() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    begun(&mut service, &id, GCM, b"some");
    let mut batch = Batch::new(V1_4);
    batch.on_error(BatchErrorContinuationOption::Continue);
    let slots: Vec<_> = (0..STREAMS_PER_PRINCIPAL_MAX).map(|_| batch.push(&first(&id, GCM, b"some")).expect("1.4 has Encrypt")).collect();
    let sent = batch.finish();
    let answer = service.ask(&sent.bytes);
    let answers = sent.answers(&answer).expect("it fits the request");
    let begun = slots.iter().filter(|slot| answers.get(slot).is_ok()).count();
    assert_eq!(begun, STREAMS_PER_PRINCIPAL_MAX - 1);
}

#[test]
fn decrypt_of_gcm_collects_up_to_its_limit_and_says_so() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let most = vec![0; COLLECTED_BYTES_MAX];
    let one = |service: &mut Client<'_>, data: &[u8]| decrypt(service, V1_4, &first_opening(&id, GCM, &[0; 12], data));
    let value = one(&mut service, &most).expect("it is collected").value.expect("it goes on");
    let failed = decrypt(&mut service, V1_4, &last_opening(&id, &value, b"x")).expect_err("that is a byte too many");
    assert_eq!(failed.reason, ResultReason::InvalidField);
    assert!(failed.message.contains("15728640"), "{}", failed.message);
    not_under_way(decrypt(&mut service, V1_4, &last_opening(&id, &value, b"")));
    // Three such streams are a principal's share; what ends makes room.
    let values: Vec<_> = (0..3).map(|_| one(&mut service, &most).expect("it is collected").value.expect("it goes on")).collect();
    assert_eq!(why(one(&mut service, &most)), ResultReason::PermissionDenied);
    begun(&mut service, &id, GCM, b"what collects nothing still goes on");
    assert_eq!(why(decrypt(&mut service, V1_4, &last_opening(&id, &values[0], b""))), ResultReason::CryptographicFailure);
    one(&mut service, &most).expect("there is room again");
}

/// Whatever keeps an answer from its client, the state that the part had left is not used a second time: for GCM it stands for a keystream.
#[test]
fn a_part_whose_answer_does_not_leave_ends_the_stream() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let part = |value: &[u8], prepare: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new(V1_4);
        prepare(&mut batch);
        batch.push(&next(&id, value, b"one text")).expect("1.4 has Encrypt");
        batch
    };
    let gone = |service: &mut Client<'_>, value: &[u8], what: &str| {
        let after = encrypt(service, V1_4, &next(&id, value, b"another!"));
        assert_eq!(after.map_err(|failed| failed.reason), Err(ResultReason::ItemNotFound), "{what}");
    };

    let value = begun(&mut service, &id, GCM, b"some");
    world.audit.down.store(true, Ordering::Relaxed);
    let (_, withheld) = service.try_ask(&part(&value, &|_| ()).finish().bytes);
    world.audit.down.store(false, Ordering::Relaxed);
    assert!(withheld.is_some());
    gone(&mut service, &value, "the record could not be written");

    let value = begun(&mut service, &id, GCM, b"some");
    let mut batch = part(&value, &|batch| batch.on_error(BatchErrorContinuationOption::Undo));
    batch.push(&next(&id, &[0; 16], b"data")).expect("1.4 has Encrypt");
    service.ask(&batch.finish().bytes);
    gone(&mut service, &value, "Undo");

    let value = begun(&mut service, &id, GCM, b"some");
    let small = part(&value, &|batch| batch.maximum_response_size(200)).finish();
    let answer = service.ask(&small.bytes);
    assert_eq!(only_item(&answer).2, Some(ResultReason::ResponseTooLarge));
    gone(&mut service, &value, "an answer too large");

    let value = begun(&mut service, &id, GCM, b"some");
    let message = part(&value, &|_| ()).finish().bytes;
    let (unit, now) = (world.vault.begin(service.caller.session()), keys::id::Time::from_seconds(START));
    let (_response, unit) = block_on(dispatch(Some(&world.vault), &mut service.caller, unit, &message, now, vec![]));
    // While its answer has not left, nobody else goes on with it.
    gone(&mut world.service(), &value, "in use");
    let _receipt = block_on(unit.commit()).expect("the log is well");
    gone(&mut service, &value, "committed, but never answered");
}

#[test]
fn parts_of_one_stream_in_one_message_follow_each_other() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let one = encrypt(&mut service, V1_4, &first(&id, GCM, b"one")).expect("it encrypts");
    let (iv, value) = (one.iv.expect("made"), one.value.expect("it goes on"));
    let mut batch = Batch::new(V1_4);
    let two = batch.push(&next(&id, &value, b" two")).expect("1.4 has Encrypt");
    let three = batch.push(&last(&id, &value, b" three")).expect("1.4 has Encrypt");
    let sent = batch.finish();
    let answer = service.ask(&sent.bytes);
    let answers = sent.answers(&answer).expect("it fits the request");
    let (two, three) = (answers.get(&two).expect("it encrypts"), answers.get(&three).expect("it encrypts"));
    let data = [one.data, owned(two.data).expect("some"), owned(three.data).expect("some")].concat();
    let sealed = Sealed { data, iv, tag: owned(three.authentication_tag) };
    assert_eq!(decrypt_in(&mut service, &id, GCM, &sealed, [2, 7]).as_deref(), Ok(&b"one two three"[..]));
}

/// The first part's answer stands; but where the second one failed there is no way on.
#[test]
fn a_part_that_fails_after_another_in_one_message_ends_the_stream() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let value = decrypt(&mut service, V1_4, &first_opening(&id, CBC, &[0; 16], &[0; 16])).expect("CBC takes anything");
    let value = value.value.expect("it goes on");
    let mut batch = Batch::new(V1_4);
    batch.on_error(BatchErrorContinuationOption::Continue);
    let good = batch.push(&next_opening(&id, &value, &[0; 16])).expect("1.4 has Decrypt");
    let bad = batch.push(&last_opening(&id, &value, b"x")).expect("1.4 has Decrypt");
    let sent = batch.finish();
    let answer = service.ask(&sent.bytes);
    let answers = sent.answers(&answer).expect("it fits the request");
    assert!(answers.get(&good).is_ok() && answers.get(&bad).is_err());
    not_under_way(decrypt(&mut service, V1_4, &next_opening(&id, &value, &[0; 16])));
}

#[test]
fn every_part_leaves_a_record_of_its_key() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    world.take_records();
    encrypt_in(&mut service, V1_4, &id, GCM, [b"one", b"two", b"three"]);
    let records = world.take_records();
    assert_eq!(records.len(), 3);
    for record in records {
        assert_eq!((record.action, record.outcome, record.object), (Action::Encrypt, Outcome::Success, Some(row_id(&id))));
    }
}

#[test]
fn versions_before_1_3_do_not_know_the_fields() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let ask = |service: &mut Client<'_>, version: ProtocolVersion, request: &EncryptRequest<'_>| {
        let mut bytes = vec![];
        request.encode(Tag::REQUEST_PAYLOAD, &mut Writer::new(&mut bytes, V1_4));
        let write = |out: &mut Writer<'_>| {
            out.enumeration(Tag::OPERATION, Operation::Encrypt.number());
            out.encoded(&bytes);
        };
        only_item(&service.ask(&message(version.into(), |_| (), &[&write])))
    };
    for request in [first(&id, GCM, b"data"), next(&id, &[0; 16], b"data"), EncryptRequest { init_indicator: None, ..last(&id, &[], b"") }]
    {
        let (_, status, reason, message) = ask(&mut service, V1_2, &request);
        assert_eq!((status, reason), (ResultStatus::OperationFailed, Some(ResultReason::InvalidField)));
        assert!(message.contains("1.2"), "{message}");
    }
    assert_eq!(ask(&mut service, V1_3, &first(&id, GCM, b"data")).1, ResultStatus::Success);
}
