//! Slots whose shards people keep, who open them by the `age` program.

use std::fs;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use data_encoding::{BASE64, HEXLOWER};
use hsm::Oaep;
use seal::{CardKey, CustodianSettings, Error, Keepers, Means, PlainShard, Recipient, Seal, ShamirSettings, SlotId};
use softhsm_test::{LABEL, People, altered_shard};

use crate::fixture::{Bench, add, cluster, expected, integrity, is_master, label, master, other_cluster};

const NAMES: [&str; 3] = ["anna", "ben", "clara"];

fn person(people: &People, name: &str) -> CustodianSettings {
    let means = Means::Person(Recipient::Age(people.recipient(name).parse().expect("a recipient")));
    CustodianSettings { name: label(name), region: Some(label("vault")), means }
}

fn all(people: &People) -> Vec<CustodianSettings> {
    all_of(people, &NAMES)
}

fn all_of(people: &People, names: &[&str]) -> Vec<CustodianSettings> {
    names.iter().map(|name| person(people, name)).collect()
}

fn shard(people: &People, name: &str, keepers: &Keepers) -> Arc<PlainShard> {
    let kept = keepers.shards.iter().find(|shard| shard.keeper == label(name)).expect("it keeps one");
    Arc::new(PlainShard::parse(&people.decrypted(name, &kept.protected)).expect("a whole shard"))
}

fn several(threshold: u8, keepers: &[&str]) -> CustodianSettings {
    let keepers = keepers.iter().map(|keeper| label(keeper)).collect();
    CustodianSettings { name: label("board"), region: None, means: Means::Shamir(ShamirSettings { threshold, keepers }) }
}

/// A slot of which two of three people open; it waits for their shards.
fn waiting() -> (Bench, People, Seal, SlotId, Keepers) {
    let (bench, people) = (Bench::new(), People::new(&NAMES));
    let seal = bench.seal_with([all(&people), vec![several(2, &NAMES)]].concat());
    let id = add(&seal, "recovery", "board").expect("the slot is made").header.id;
    let (_, keepers) = seal.keepers("recovery").expect("readable").expect("it is split");
    (bench, people, seal, id, keepers)
}

#[test]
fn a_slot_of_people_counts_once_all_have_read_their_shards_back() {
    let (bench, people, seal, id, keepers) = waiting();
    assert!(keepers.is_pending && keepers.threshold == 2 && keepers.shards.len() == 3);
    assert!(keepers.shards.iter().all(|shard| shard.region == Some(label("vault"))));
    assert!(seal.list().expect("readable").slots.is_empty() && bench.files(".pending").len() == 1);
    assert!(matches!(seal.unseal(expected(), None), Err(Error::NoSlots { .. })), "it does not count");
    let mut given: Vec<Arc<PlainShard>> = NAMES[..2].iter().map(|name| shard(&people, name, &keepers)).collect();
    let missing = seal.admit(id, &given, &integrity()).expect_err("one is missing");
    assert!(matches!(&missing, Error::ShardsNotReadBack { missing, .. } if missing[..] == [label("clara")]), "{missing}");
    given.push(shard(&people, "clara", &keepers));
    assert_eq!(seal.admit(id, &given, &integrity()).expect("all are there").header.id, id);
    assert!(bench.files(".pending").is_empty() && bench.files(".slot").len() == 1);

    for pair in [[0, 1], [1, 2], [2, 0]] {
        let two: Vec<Arc<PlainShard>> = pair.iter().map(|at| shard(&people, NAMES[*at], &keepers)).collect();
        assert!(is_master(&seal.unseal_by(expected(), None, &two).expect("two open").master), "{pair:?}");
    }
    let one = [shard(&people, "ben", &keepers)];
    let told = seal.unseal_by(expected(), None, &one).expect_err("one does not").to_string();
    assert!(told.contains("1 of the 2 shards") && told.contains("`anna` opens the shard by") && !told.contains("`ben`"), "{told}");
    // The same one twice is one.
    let twice = [shard(&people, "ben", &keepers), shard(&people, "ben", &keepers)];
    assert!(seal.unseal_by(expected(), None, &twice).is_err());
    assert!(seal.probe(expected()).expect("readable").is_empty(), "it needs people");
}

#[test]
fn a_shard_is_named_for_what_it_is() {
    let (_bench, people, seal, id, keepers) = waiting();
    let anna = shard(&people, "anna", &keepers);
    let weighed = seal.weigh(&anna, cluster()).expect("it is of the slot");
    assert_eq!((weighed.slot, weighed.keeper, weighed.threshold, weighed.is_pending), (id, label("anna"), 2, true));
    assert_eq!(weighed.people, NAMES.map(label));
    assert!(matches!(seal.weigh(&anna, other_cluster()), Err(Error::ShardForeign { .. })));

    let (_other_bench, other_people, other_seal, _, other_keepers) = waiting();
    let old = shard(&other_people, "anna", &other_keepers);
    assert!(matches!(seal.weigh(&old, cluster()), Err(Error::ShardOld)));
    assert!(other_seal.weigh(&old, cluster()).is_ok());
}

#[test]
fn an_altered_shard_with_a_right_checksum_is_named_by_its_keeper() {
    let (_bench, people, seal, _, keepers) = waiting();
    let text = people.decrypted("ben", &keepers.shards[1].protected);
    let altered = altered_shard(&text);
    let altered = PlainShard::parse(&altered).expect("its checksum is right");
    let told = seal.weigh(&altered, cluster()).expect_err("it is not what was split");
    assert!(matches!(&told, Error::ShardUnfit { keeper } if *keeper == label("ben")), "{told}");
}

#[test]
fn people_and_a_token_keep_shards_together() {
    let (bench, people) = (Bench::new(), People::new(&NAMES));
    let custodians = [all(&people), vec![bench.custodian("hsm", LABEL), several(2, &["anna", "hsm", "ben"])]].concat();
    let seal = bench.seal_with(custodians);
    let id = add(&seal, "recovery", "board").expect("the slot is made").header.id;
    let (_, keepers) = seal.keepers("recovery").expect("readable").expect("it is split");
    let given = ["anna", "ben"].map(|name| shard(&people, name, &keepers));
    seal.admit(id, &given, &integrity()).expect("the token opens its own");
    seal.check_table(&integrity()).expect("it is on record");
    let one = [shard(&people, "ben", &keepers)];
    assert!(is_master(&seal.unseal_by(expected(), None, &one).expect("a person and the token").master));
    bench.hsm.delete_token(LABEL);
    assert!(seal.unseal_by(expected(), None, &one).is_err());
    assert!(is_master(&seal.unseal_by(expected(), None, &given).expect("two people").master));
}

#[test]
fn the_manifest_tells_who_got_what_and_is_bound_to_the_slot() {
    let (bench, _people, seal, ..) = waiting();
    let manifest = seal.manifest("recovery").expect("it is whole").expect("it is split");
    let read: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!((read["threshold"].as_u64(), read["shards"].as_array().map(Vec::len)), (Some(2), Some(3)));
    assert_eq!((read["shards"][1]["keeper"].as_str(), read["shards"][1]["region"].as_str()), (Some("ben"), Some("vault")));
    // Somebody else is written into the slot as a keeper.
    let file = bench.files(".pending").remove(0);
    let mut bytes = fs::read(&file).expect("readable");
    let at = bytes.windows(3).position(|window| window == b"ben").expect("the keeper is in the slot");
    bytes[at..at + 3].copy_from_slice(b"bea");
    fs::write(&file, bytes).expect("writable");
    assert!(matches!(seal.manifest("recovery"), Err(Error::Forged)));
}

#[test]
fn a_person_keeps_no_whole_slot_and_no_two_shards() {
    let (bench, people) = (Bench::new(), People::new(&NAMES));
    let seal = bench.seal_with(all(&people));
    assert!(matches!(add(&seal, "recovery", "anna"), Err(Error::KeepsShardsOnly { name }) if name == label("anna")));
    let twin = CustodianSettings { name: label("twin"), ..person(&people, "anna") };
    let seal = bench.seal_with(vec![person(&people, "anna"), twin, several(2, &["anna", "twin"])]);
    assert!(matches!(add(&seal, "recovery", "board"), Err(Error::Invalid { field: "keepers of shards", .. })));
    assert!(bench.files(".pending").is_empty() && bench.files(".new").is_empty());
}

#[test]
fn a_slot_that_waits_is_removed_by_nobody_having_to_open_another() {
    let (bench, people, seal, id, keepers) = waiting();
    let removed = seal.remove("recovery", expected(), (&master(), &integrity()), None).expect("nobody relies on it");
    assert_eq!((removed.id, bench.files(".pending").len()), (id, 0));
    assert!(matches!(seal.weigh(&shard(&people, "anna", &keepers), cluster()), Err(Error::ShardOld)));
}

#[test]
fn a_card_keeps_a_shard_once_and_is_named_by_the_digest_of_its_key() {
    let (bench, people) = (Bench::new(), People::new(&NAMES[..2]));
    let [one, other] = [KeySize::Rsa2048, KeySize::Rsa3072].map(|size| PrivateDecryptingKey::generate(size).expect("there is randomness"));
    let spki = |private: &PrivateDecryptingKey| -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = private.public_key().as_der().expect("it has a form");
        der.as_ref().to_vec()
    };
    let holder = |name: &str, private: &PrivateDecryptingKey, oaep| {
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(&spki(private)));
        let means = Means::Person(Recipient::Card(CardKey::from_pem(&pem, oaep).expect("an RSA key")));
        CustodianSettings { name: label(name), region: None, means }
    };
    let settings =
        |cards: Vec<CustodianSettings>, keepers: &[&str]| [all_of(&people, &NAMES[..2]), cards, vec![several(2, keepers)]].concat();
    // One key under two names is one card, whatever the hash.
    let cards = vec![holder("dora", &one, Oaep::Sha256), holder("emil", &one, Oaep::Sha1)];
    let twice = bench.seal_with(settings(cards, &["anna", "dora", "emil"]));
    assert!(matches!(add(&twice, "recovery", "board"), Err(Error::Invalid { field: "keepers of shards", .. })));
    assert!(bench.files(".pending").is_empty() && bench.files(".new").is_empty());
    assert!(matches!(add(&twice, "recovery", "dora"), Err(Error::KeepsShardsOnly { name }) if name == label("dora")));

    let cards = vec![holder("dora", &one, Oaep::Sha256), holder("emil", &other, Oaep::Sha1)];
    let seal = bench.seal_with(settings(cards, &["anna", "dora", "emil"]));
    let id = add(&seal, "recovery", "board").expect("the slot is made").header.id;
    let manifest: serde_json::Value =
        serde_json::from_str(&seal.manifest("recovery").expect("readable").expect("it is split")).expect("JSON");
    let (_, keepers) = seal.keepers("recovery").expect("readable").expect("it is split");
    let mut given = vec![shard(&people, "anna", &keepers)];
    for (at, private, oaep) in [(1, one, &OAEP_SHA256_MGF1SHA256), (2, other, &OAEP_SHA1_MGF1SHA1)] {
        let part = &manifest["shards"][at];
        assert_eq!(
            (&part["kind"], &part["key_sha256"]),
            (&"card".into(), &HEXLOWER.encode(&cipher::mac::sha256(&[&spki(&private)])).into())
        );
        let private = OaepPrivateDecryptingKey::new(private).expect("a sound key");
        let mut place = vec![0; private.min_output_size()];
        let text = private.decrypt(oaep, &keepers.shards[at].protected, &mut place, None).expect("it is its own");
        given.push(Arc::new(PlainShard::parse(text).expect("a whole shard")));
    }
    let missing = seal.admit(id, &given[..2], &integrity()).expect_err("one card was not tried");
    assert!(matches!(&missing, Error::ShardsNotReadBack { missing, .. } if missing[..] == [label("emil")]), "{missing}");
    seal.admit(id, &given, &integrity()).expect("all are there");
    assert!(is_master(&seal.unseal_by(expected(), None, &given[1..]).expect("two cards open").master));
    let told = seal.unseal_by(expected(), None, &given[..1]).expect_err("one does not").to_string();
    assert!(told.contains("`dora` opens the shard by their card") && told.contains("--shard"), "{told}");
    // The slot is not lost with either card.
    assert_eq!(seal.list().expect("readable").too_few(), None);
}
