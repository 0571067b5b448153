//! What an edge may serve, and for how long: told by its core, and forgotten when the core has been silent for too long.
//!
//! The bounds are those of docs/config.edge.example.yaml; what was measured is printed.

use std::time::{Duration, Instant};

use daemon::kmip_client::{KmipClient, KmipError};
use kmip::ResultReason;
use nix::sys::signal::Signal;
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Edge, Who, signal, wait_for_within};

/// `edge.lease` of these tests.
const LEASE: Duration = Duration::from_secs(1);
/// `edge.offline_ttl` of these tests.
const OFFLINE_TTL: Duration = Duration::from_secs(3);
/// How long a word of the core may take to count at the edge beyond its lease (F18).
const SLACK: Duration = Duration::from_secs(2);
/// How much longer than `offline_ttl` an edge may go on: the time of a call.
const TOLERANCE: Duration = Duration::from_secs(1);
/// How soon service goes on once the core is back.
const BACK_WITHIN: Duration = Duration::from_secs(3);
/// Longest time that any one request of a client may take.
const CALL_WITHIN: Duration = Duration::from_secs(3);

fn reason<T>(outcome: &Result<T, KmipError>) -> Option<ResultReason> {
    match outcome {
        Err(KmipError::Kmip(kmip::Error::Refused { reason, .. })) => *reason,
        Err(error) => panic!("not a refusal: {error}"),
        Ok(_) => None,
    }
}

fn sealed(client: &mut KmipClient, name: &str) -> Secret {
    let key = requests::create(client, name).expect("the edge is well");
    requests::activate(client, &key).expect("the edge is well");
    requests::encrypt(client, &key, name.as_bytes().to_vec()).expect("the edge is well")
}

/// Asks again and again until the secret is decrypted, or is not, as wanted; returns how long that took.
fn until(is_opened: bool, limit: Duration, client: &mut KmipClient, secret: &Secret) -> Duration {
    let began = Instant::now();
    let mut last = String::new();
    let is_so = wait_for_within(limit, || {
        let asked = Instant::now();
        let opened = requests::decrypt(client, secret);
        assert!(asked.elapsed() < CALL_WITHIN, "one request took {:?}", asked.elapsed());
        last = format!("{opened:?}");
        opened.is_ok() == is_opened
    });
    assert!(is_so, "not so within {limit:?}: {last}");
    began.elapsed()
}

#[expect(clippy::print_stdout, reason = "how long it took is part of the result")]
fn told(what: &str, took: Duration) {
    println!("{what} after {:.2} s", took.as_secs_f64());
}

#[test]
fn a_tenant_that_is_disabled_at_the_core_is_refused_at_the_edge_within_its_lease() {
    let mut edge = Edge::prepared_with(&["lease: 1s"]);
    edge.start_both();
    let (mut acme, mut globex) = (edge.connect(Who::Service), edge.connect(Who::OtherService));
    let (ours, theirs) = (sealed(&mut acme, "ours"), sealed(&mut globex, "theirs"));
    for round in 0..2 {
        let _disabled = edge.core.ask(&["tenant", "disable", "acme"]);
        let took = until(false, LEASE + SLACK, &mut acme, &ours);
        told("disabled: refused", took);
        let refused = requests::decrypt(&mut acme, &ours);
        assert_eq!(reason(&refused), Some(ResultReason::PermissionDenied), "{refused:?}");
        assert!(refused.is_err_and(|error| error.to_string().contains("disabled")), "the reason is not named");
        assert!(requests::create(&mut edge.connect(Who::Service), "while disabled").is_err());
        assert_eq!(requests::decrypt(&mut globex, &theirs).expect("globex is served on"), b"theirs");
        let _fresh = sealed(&mut globex, &format!("meanwhile {round}"));
        let _enabled = edge.core.ask(&["tenant", "enable", "acme"]);
        told("enabled: served", until(true, LEASE + SLACK, &mut acme, &ours));
    }
    drop((acme, globex));
    edge.stop_both();
}

#[test]
fn an_edge_group_that_is_revoked_serves_nobody_until_it_is_enrolled_again() {
    let mut edge = Edge::prepared_with(&["lease: 1s"]);
    edge.start_both();
    let (mut acme, mut globex) = (edge.connect(Who::Service), edge.connect(Who::OtherService));
    let (ours, theirs) = (sealed(&mut acme, "ours"), sealed(&mut globex, "theirs"));
    let _revoked = edge.core.ask(&["edge", "revoke", "edge"]);
    told("revoked: refused", until(false, LEASE + SLACK, &mut acme, &ours));
    until(false, CALL_WITHIN, &mut globex, &theirs);
    assert!(requests::create(&mut acme, "late").is_err() && requests::locate(&mut acme, "ours").is_err());
    assert!(edge.status().contains("nothing is served"), "{}", edge.status());
    // Started anew it does not come to open, and says why.
    edge.kill();
    edge.start();
    assert!(edge.standing().starts_with("sealed: ") && edge.standing().contains("revoked"), "{}", edge.standing());
    let _enrolled = edge.core.ask(&["edge", "enrol", "edge", "--tenant", "acme"]);
    assert!(wait_for_within(Duration::from_secs(5), || edge.standing() == "unsealed: "), "{}", edge.standing());
    let mut acme = edge.connect(Who::Service);
    assert_eq!(requests::decrypt(&mut acme, &ours).expect("it is enrolled again"), b"ours");
    drop((acme, globex));
    edge.stop_both();
}

/// Takes the core away, looks until the edge stops, brings the core back, looks until the edge goes on.
fn outlive(take_away: impl FnOnce(&mut Edge), bring_back: impl FnOnce(&mut Edge)) {
    let mut edge = Edge::prepared_with(&["lease: 1s", "offline_ttl: 3s", "pool: 8"]);
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let secret = sealed(&mut client, "warm");
    take_away(&mut edge);
    let gone = Instant::now();
    let early = OFFLINE_TTL - LEASE;
    let mut made = 0;
    while gone.elapsed() < early {
        assert_eq!(requests::decrypt(&mut client, &secret).expect("it is warm, and the lease holds"), b"warm");
        if made < 4 && gone.elapsed() < early / 2 {
            made += 1;
            let _from_the_pool = sealed(&mut client, &format!("offline {made}"));
        }
    }
    assert_eq!(made, 4, "too slow to tell");
    until(false, OFFLINE_TTL + TOLERANCE - gone.elapsed(), &mut client, &secret);
    told("offline: refused", gone.elapsed());
    let refused = requests::decrypt(&mut client, &secret);
    assert_eq!(reason(&refused), Some(ResultReason::GeneralFailure), "{refused:?}");
    assert!(refused.is_err_and(|error| error.to_string().contains("core")), "what is missing is not named");
    assert_eq!(reason(&requests::locate(&mut client, "warm")), Some(ResultReason::GeneralFailure));
    assert!(edge.status().contains("nothing is served"), "{}", edge.status());
    bring_back(&mut edge);
    told("core back: served", until(true, BACK_WITHIN, &mut client, &secret));
    let _fresh = sealed(&mut client, "back again");
    drop(client);
    edge.stop_both();
}

#[test]
fn an_edge_outlives_a_core_that_was_killed_for_as_long_as_it_may() {
    outlive(|edge| edge.core.kill(), |edge| edge.core.start());
}

/// A stopped core takes connections and never answers, so each call of the edge ends at its deadline.
#[test]
fn an_edge_outlives_a_core_that_does_not_answer_for_as_long_as_it_may() {
    outlive(|edge| signal(edge.core.pid(), Signal::SIGSTOP), |edge| signal(edge.core.pid(), Signal::SIGCONT));
}

#[test]
fn a_sealed_core_is_no_core_and_an_unsealed_one_is_one_again() {
    outlive(|edge| drop(edge.core.ask(&["seal"])), |edge| drop(edge.core.ask(&["unseal"])));
}

#[test]
fn without_its_core_an_edge_makes_keys_while_its_pool_lasts() {
    let mut edge = Edge::prepared_with(&["lease: 1s", "pool: 8"]);
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let secret = sealed(&mut client, "warm");
    edge.core.kill();
    let mut made = Vec::new();
    let refused = loop {
        let asked = Instant::now();
        let created = requests::create(&mut client, &format!("offline {}", made.len()));
        assert!(asked.elapsed() < CALL_WITHIN, "one request took {:?}", asked.elapsed());
        match created {
            Ok(key) => made.push(key),
            refused => break refused,
        }
        assert!(made.len() < 2000, "the pool has no end");
    };
    assert!(made.len() >= 4, "only {} of the pool's keys were used", made.len());
    assert_eq!(reason(&refused), Some(ResultReason::GeneralFailure), "{refused:?}");
    assert_eq!(requests::decrypt(&mut client, &secret).expect("it is warm"), b"warm");
    for key in &made {
        requests::activate(&mut client, key).expect("it was acknowledged");
        let sealed = requests::encrypt(&mut client, key, b"offline".to_vec()).expect("it is warm");
        assert_eq!(requests::decrypt(&mut client, &sealed).expect("it is warm"), b"offline");
    }
    edge.core.start();
    assert!(wait_for_within(BACK_WITHIN, || requests::create(&mut client, "back").is_ok()), "no key is made with the core back");
    drop(client);
    edge.kill();
    edge.start();
    let mut client = edge.connect(Who::Service);
    for key in &made {
        assert!(requests::encrypt(&mut client, key, b"online".to_vec()).is_ok(), "{key}, made offline, is lost");
    }
    drop(client);
    edge.stop_both();
}

#[test]
fn an_edge_that_starts_without_a_core_says_so_and_opens_by_itself() {
    let mut edge = Edge::prepared_with(&["lease: 1s"]);
    edge.start_both();
    let secret = sealed(&mut edge.connect(Who::Service), "before");
    edge.stop();
    edge.core.stop();

    edge.start();
    let core = edge.value("HTTPS_CORE").replace("https://", "");
    assert!(edge.standing().starts_with("sealed: ") && edge.standing().contains(&core), "{}", edge.standing());
    assert_eq!(edge.cli(&["status"]).status.code(), Some(3), "a sealed node exits with 3");
    let refused = requests::decrypt(&mut edge.connect(Who::Service), &secret);
    assert_eq!(reason(&refused), Some(ResultReason::GeneralFailure), "{refused:?}");

    // A core that runs but is sealed is none yet.
    edge.core.pull_token();
    edge.core.start();
    assert!(wait_for_within(Duration::from_secs(5), || edge.standing().contains("the core is sealed")), "{}", edge.standing());
    assert!(edge.standing().starts_with("sealed: "), "{}", edge.standing());
    edge.core.return_token();
    let _unsealed = edge.core.ask(&["unseal"]);
    let back = Instant::now();
    assert!(wait_for_within(Duration::from_secs(5), || edge.standing() == "unsealed: "), "{}", edge.standing());
    told("core unsealed: edge open", back.elapsed());
    assert_eq!(requests::decrypt(&mut edge.connect(Who::Service), &secret).expect("all is well"), b"before");
    edge.stop_both();
}

/// What an operator has sealed stays sealed, whatever the core says.
#[test]
fn an_edge_that_was_sealed_by_request_stays_so_until_it_is_unsealed() {
    let mut edge = Edge::prepared_with(&["lease: 1s"]);
    edge.start_both();
    let secret = sealed(&mut edge.connect(Who::Service), "before");
    let _sealed = edge.ask(&["seal"]);
    let began = Instant::now();
    assert!(!wait_for_within(LEASE + SLACK, || !edge.standing().starts_with("sealed: sealed by request")), "{}", edge.standing());
    assert!(began.elapsed() >= LEASE + SLACK);
    assert!(requests::decrypt(&mut edge.connect(Who::Service), &secret).is_err());
    let _unsealed = edge.ask(&["unseal"]);
    assert_eq!(requests::decrypt(&mut edge.connect(Who::Service), &secret).expect("it is open"), b"before");
    edge.stop_both();
}
