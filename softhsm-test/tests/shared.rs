//! Two edges of one group on one PostgreSQL database, or on one plugin: what one changes the other refuses within two seconds, what there is once is given once, and nothing
//! that one does is damage to the other.
#![expect(clippy::print_stdout, reason = "how long it took, and how often, is part of the result")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use daemon::kmip_client::{KmipClient, KmipError};
use keys::id::RowId;
use kmip::{
    Attribute, AttributeValue, CreateRequest, GetAttributesRequest, ResultReason, RevocationReasonCode, UsageLimits, UsageLimitsUnit,
};
use nix::sys::signal::Signal;
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Core, PluginEdges, SharedEdges, Who, signal, wait_for, wait_for_within};

/// What an edge may still do with what another has changed.
const BOUND: Duration = Duration::from_secs(2);

fn service(edge: &Core) -> KmipClient {
    edge.connect(Who::Service)
}

fn new_key(client: &mut KmipClient, name: &str) -> String {
    let key = requests::create(client, name).expect("it serves");
    requests::activate(client, &key).expect("it serves");
    key
}

fn reason<T>(outcome: &Result<T, KmipError>) -> Option<ResultReason> {
    match outcome {
        Err(KmipError::Kmip(kmip::Error::Refused { reason, .. })) => *reason,
        _ => None,
    }
}

fn contact(client: &mut KmipClient, key: &str) -> Option<String> {
    let asked = GetAttributesRequest { unique_identifier: Some(key), attribute_names: vec!["Contact Information"] };
    let answer = client.call(&asked).expect("it serves");
    answer.attributes.iter().find_map(|Attribute { value, .. }| match value {
        AttributeValue::ContactInformation(contact) => Some((*contact).to_owned()),
        _ => None,
    })
}

/// Uses something again and again until it is no more what it was; how long after `since` it was begun for the last time while it still was.
fn last_success(since: Instant, mut is_as_before: impl FnMut() -> bool) -> Duration {
    let mut last = Duration::ZERO;
    assert!(wait_for_within(Duration::from_secs(30), || {
        // So many that it is warm, whatever it is.
        (0..20).any(|_| {
            let began = since.elapsed();
            let is = is_as_before();
            if is {
                last = began;
            }
            !is
        })
    }));
    last
}

/// What is damaged by the last whole sweep, which is waited for.
fn damage(edge: &Core) -> Vec<String> {
    let mut status = serde_json::Value::Null;
    // A pass over a database is a round trip or more for each row, on a machine that may be busy with other tests.
    let is_swept = wait_for_within(Duration::from_secs(240), || {
        status = serde_json::from_str(&edge.status()).expect("status is JSON");
        status["swept"].is_string()
    });
    assert!(is_swept, "the keystore was not swept: {status}");
    let all = status["warnings"].as_array().expect("a list").iter();
    all.filter_map(|warning| warning.as_str()).filter(|warning| warning.contains("damaged")).map(str::to_owned).collect()
}

fn stop_and_verify(mut edges: SharedEdges) {
    for node in edges.edges.iter_mut().chain([&mut edges.core]) {
        node.stop();
        let _verified = node.ask(&["audit", "verify"]);
    }
}

#[test]
fn what_one_edge_changes_the_other_serves_and_refuses_within_two_seconds() {
    let mut estate = SharedEdges::serving();
    let [mut one, mut other] = estate.edges.each_ref().map(service);
    let mut worst = [Duration::ZERO; 3];
    for round in 0..4 {
        // Now the one, now the other.
        if round % 2 == 1 {
            std::mem::swap(&mut one, &mut other);
        }
        let key = new_key(&mut one, &format!("key-{round}"));
        assert_eq!(requests::locate(&mut other, &format!("key-{round}")).expect("it serves"), std::slice::from_ref(&key));
        assert_eq!(requests::get(&mut other, &key).expect("it serves"), requests::get(&mut one, &key).expect("it serves"));
        let secret = requests::encrypt(&mut one, &key, b"for the other".to_vec()).expect("it serves");
        assert_eq!(requests::decrypt(&mut other, &secret).expect("it serves"), b"for the other");
        assert_eq!(contact(&mut other, &key), None);

        requests::set_contact(&mut one, &key, None, Some("ops")).expect("it serves");
        let changed = Instant::now();
        worst[0] = worst[0].max(last_success(changed, || contact(&mut other, &key).is_none()));

        requests::revoke(&mut one, &key, RevocationReasonCode::CessationOfOperation).expect("it serves");
        let revoked = Instant::now();
        worst[1] = worst[1].max(last_success(revoked, || requests::encrypt(&mut other, &key, b"more".to_vec()).is_ok()));
        assert_eq!(requests::decrypt(&mut other, &secret).expect("a Deactivated key decrypts"), b"for the other");

        requests::destroy(&mut one, &key).expect("it serves");
        let destroyed = Instant::now();
        worst[2] = worst[2].max(last_success(destroyed, || requests::decrypt(&mut other, &secret).is_ok()));
        let gone = reason(&requests::get(&mut one, &key));
        assert!(gone.is_some());
        assert_eq!(reason(&requests::get(&mut other, &key)), gone);
        // What is destroyed leaves its name.
        let _again = requests::create(&mut other, &format!("key-{round}")).expect("the name is free");
    }
    println!("last use of what another edge has changed (attribute), revoked, destroyed: {worst:?} afterwards");
    assert!(worst.iter().all(|last| *last <= BOUND), "{worst:?}");

    // A name that both want at once is one's.
    for round in 0..20 {
        let name = format!("wanted-{round}");
        let made = thread::scope(|scope| {
            let clients = [&mut one, &mut other].map(|client| scope.spawn(|| requests::create(client, &name)));
            clients.map(|client| client.join().expect("it does not panic"))
        });
        let won = made.iter().filter(|made| made.is_ok()).count();
        assert_eq!(won, 1, "{made:?}");
        assert_eq!(requests::locate(&mut one, &name).expect("it serves").len(), 1);
    }
    drop((one, other));
    for edge in &estate.edges {
        assert_eq!(damage(edge), [""; 0]);
    }
    // Moving rows away from under the others is refused.
    let moved = estate.edges[0].cli(&["keystore", "migrate", "--from", "shared", "--to", "embedded"]);
    assert!(String::from_utf8_lossy(&moved.stderr).contains("several edges share the keystore"), "{moved:?}");
    // Who does not know of the others does not open.
    let edge = &mut estate.edges[1];
    edge.stop();
    let config = std::fs::read_to_string(edge.config()).expect("it is there");
    std::fs::write(edge.config(), config.replace("  shared: true\n", "")).expect("the folder is ours");
    edge.start();
    assert!(wait_for(|| edge.standing().contains("set edge.shared to true")), "{}", edge.standing());
    std::fs::write(edge.config(), config).expect("the folder is ours");
    edge.stop();
    edge.start();
    assert!(wait_for(|| edge.standing().starts_with("unsealed")), "{}", edge.standing());
    stop_and_verify(estate);
}

fn limited<'a>(name: &'a str, total: i64) -> CreateRequest<'a> {
    let mut request = requests::creating(name);
    let (total, unit) = (Some(total), Some(UsageLimitsUnit::Object));
    let limits = AttributeValue::UsageLimits(UsageLimits { total, count: None, unit });
    request.template_attribute.attributes.push(Attribute { index: None, value: limits });
    request
}

#[test]
fn a_usage_limit_that_two_edges_spend_at_once_is_spent_once() {
    const LIMIT: i64 = 640;
    let estate = SharedEdges::serving();
    let mut clients = estate.edges.each_ref().map(service);
    let key = clients[0].call(&limited("limited", LIMIT)).expect("it serves").unique_identifier.to_owned();
    requests::activate(&mut clients[0], &key).expect("it serves");
    let spent = thread::scope(|scope| {
        let spends = clients.each_mut().map(|client| {
            let key = &key;
            scope.spawn(move || {
                let mut done = 0;
                loop {
                    match requests::encrypt(client, key, b"one".to_vec()) {
                        Ok(_) => done += 1,
                        Err(KmipError::Kmip(kmip::Error::Refused { .. })) => return done,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        });
        spends.map(|spend| spend.join().expect("it does not panic"))
    });
    println!("of {LIMIT} units the edges have spent {spent:?}");
    assert_eq!(spent.iter().sum::<i64>(), LIMIT);
    assert!(spent.iter().all(|spent| *spent > 0), "{spent:?}");
    drop(clients);
    // IVs of one key are reserved in blocks, each by one edge.
    let mut clients = estate.edges.each_ref().map(service);
    let key = new_key(&mut clients[0], "many");
    for client in &mut clients {
        let _one = requests::encrypt(client, &key, b"one".to_vec()).expect("it serves");
    }
    let uuid = key.parse::<RowId>().expect("an identifier").uuid;
    let layer = keys::id::Layer::IvBudget as u8;
    let generations =
        estate.server.sql(&estate.database, &format!("select generation from strongroom.records where layer = {layer} and id = '{uuid}'"));
    assert_eq!(generations, "2", "each edge has reserved a block");
    drop(clients);
    stop_and_verify(estate);
}

/// Makes keys, uses them and destroys every second one, until it is told to end or the edge is gone; returns what it has kept. Nothing is refused.
fn work(edge: &Core, name: &str, made: &AtomicU64, is_over: &AtomicBool) -> Vec<Secret> {
    let (mut client, mut kept) = (service(edge), Vec::new());
    let mut job = |number: u32| {
        let key = requests::create(&mut client, &format!("{name}-{number}"))?;
        requests::activate(&mut client, &key)?;
        let secret = requests::encrypt(&mut client, &key, key.clone().into_bytes())?;
        if number.is_multiple_of(2) {
            requests::revoke(&mut client, &key, RevocationReasonCode::CessationOfOperation)?;
            requests::destroy(&mut client, &key)?;
            return Ok(None);
        }
        Ok::<_, KmipError>(Some(secret))
    };
    for number in 0.. {
        match job(number) {
            Ok(secret) => kept.extend(secret),
            Err(refused @ KmipError::Kmip(kmip::Error::Refused { .. })) => panic!("{name}-{number}: {refused}"),
            Err(_killed) => break,
        }
        made.fetch_add(1, Ordering::Relaxed);
        if is_over.load(Ordering::Relaxed) {
            break;
        }
    }
    kept
}

#[test]
fn two_edges_under_load_raise_no_alarm_and_outlive_each_others_death() {
    let mut estate = SharedEdges::serving();
    let (made, is_over) = ([const { AtomicU64::new(0) }; 2], AtomicBool::new(false));
    let (steady, killed) = estate.edges.split_at_mut(1);
    let (steady, killed) = (&steady[0], &mut killed[0]);
    let kept = thread::scope(|scope| {
        let (made, is_over) = (&made, &is_over);
        let goes_on = scope.spawn(move || work(steady, "steady", &made[0], is_over));
        let mut kept = Vec::new();
        for round in 0..3 {
            let begun = made[1].load(Ordering::Relaxed);
            let edge = &*killed;
            kept.extend(thread::scope(|scope| {
                let working = scope.spawn(move || work(edge, &format!("killed-{round}"), &made[1], is_over));
                assert!(wait_for(|| made[1].load(Ordering::Relaxed) >= begun + 30), "it does not work");
                signal(edge.pid(), Signal::SIGKILL);
                working.join().expect("it is not refused anything")
            }));
            killed.kill();
            let before = made[0].load(Ordering::Relaxed);
            assert!(wait_for(|| made[0].load(Ordering::Relaxed) >= before + 20), "the other edge does not go on");
            killed.start();
            assert!(wait_for(|| killed.standing().starts_with("unsealed")), "{}", killed.standing());
            // It is swept after each start, under the load of the other one.
            assert_eq!(damage(killed), [""; 0]);
        }
        is_over.store(true, Ordering::Relaxed);
        kept.extend(goes_on.join().expect("it does not panic"));
        kept
    });
    let made = made.map(AtomicU64::into_inner);
    println!("{made:?} keys were made, used and half of them destroyed by the edges; {} are kept", kept.len());
    assert!(made[0] > 60 && made[1] >= 90, "{made:?}");
    for edge in &mut estate.edges {
        edge.stop();
        edge.start();
    }
    for edge in &estate.edges {
        assert_eq!(damage(edge), [""; 0]);
        // All of the quiet store is compared.
        let page = edge.metrics();
        for metric in ["\nstrongroom_sweep_buckets_uncompared 0.0\n", "\nstrongroom_sweep_findings 0.0\n"] {
            assert!(page.contains(metric), "{page}");
        }
        let mut client = service(edge);
        for secret in &kept {
            assert_eq!(requests::decrypt(&mut client, secret).expect("it is kept"), secret.plain);
        }
    }
    stop_and_verify(estate);
}

#[test]
fn what_is_rolled_back_by_hand_both_edges_find() {
    let mut estate = SharedEdges::serving();
    let [mut one, mut other] = estate.edges.each_ref().map(service);
    let key = new_key(&mut one, "key");
    let uuid = key.parse::<RowId>().expect("an identifier").uuid;
    let sql = |estate: &SharedEdges, text: &str| estate.server.sql(&estate.database, text);
    sql(&estate, &format!("create table public.aside as select * from strongroom.records where id = '{uuid}' and layer = 11"));
    // The newest state is the other edge's.
    requests::revoke(&mut other, &key, RevocationReasonCode::KeyCompromise).expect("it serves");
    drop((one, other));
    estate.edges.iter_mut().for_each(Core::stop);
    sql(&estate, &format!("delete from strongroom.records where id = '{uuid}' and layer = 11"));
    sql(&estate, "insert into strongroom.records select * from public.aside");
    estate.edges.iter_mut().for_each(Core::start);
    for edge in &estate.edges {
        let found = damage(edge);
        assert!(found.len() == 1 && found[0].contains("do not add up"), "{found:?}");
    }
    stop_and_verify(estate);
}

#[test]
fn an_edge_whose_database_is_away_stops_after_two_seconds_and_comes_back() {
    let mut estate = SharedEdges::serving();
    let mut client = service(&estate.edges[0]);
    let key = new_key(&mut client, "key");
    let secret = requests::encrypt(&mut client, &key, b"warm".to_vec()).expect("it serves");
    let before = Instant::now();
    estate.server.stop();
    let away = Instant::now();
    let last = last_success(away, || requests::decrypt(&mut client, &secret).is_ok());
    println!("a warm key was used for the last time {last:?} after its database had gone");
    // It had asked half a second before, or a little more.
    assert!(last <= BOUND && away - before + last > BOUND / 2, "{last:?} after {:?}", away - before);
    let refused = requests::decrypt(&mut client, &secret);
    assert_eq!(reason(&refused), Some(ResultReason::GeneralFailure), "{refused:?}");
    assert!(wait_for(|| estate.edges[0].status().contains("what other edges change in the shared keystore")));
    estate.server.start();
    assert!(wait_for(|| requests::decrypt(&mut client, &secret).is_ok()), "it does not come back");
    assert!(wait_for(|| !estate.edges[0].status().contains("what other edges change in the shared keystore")));
    drop(client);
    stop_and_verify(estate);
}

#[test]
fn a_keystore_that_is_one_edges_alone_or_anothers_is_not_joined() {
    let mut estate = SharedEdges::prepared();
    estate.core.start();
    let text = |edge: &Core| std::fs::read_to_string(edge.config()).expect("it is there");
    let shared = text(&estate.edges[0]);
    std::fs::write(estate.edges[0].config(), shared.replace("  shared: true\n", "")).expect("the folder is ours");
    let _made = estate.edges[0].ask(&["init"]);
    let refused = estate.edges[1].cli(&["init"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("set edge.shared to true at that edge"), "{refused:?}");
    // Once it shares, others may come.
    std::fs::write(estate.edges[0].config(), shared).expect("the folder is ours");
    estate.edges[0].start();
    let _key = new_key(&mut service(&estate.edges[0]), "key");
    let _made = estate.edges[1].ask(&["init"]);
    estate.edges[1].start();
    assert!(wait_for(|| estate.edges[1].standing().starts_with("unsealed")), "{}", estate.edges[1].standing());
    assert_eq!(requests::locate(&mut service(&estate.edges[1]), "key").expect("it serves").len(), 1);
    estate.edges[1].stop();
    // A node of another group has no place there.
    let other = text(&estate.edges[1]).replace("group: \"edge\"", "group: \"edge2\"").replace("/edge.", "/edge2.");
    std::fs::write(estate.edges[1].config(), other).expect("the folder is ours");
    std::fs::remove_dir_all(estate.edges[1].data_dir()).expect("the folder is ours");
    let refused = estate.edges[1].cli(&["init"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the rows of another edge group"), "{refused:?}");
}

#[test]
fn two_edges_share_one_plugin_and_one_outlives_the_others_death() {
    let mut estate = PluginEdges::serving();
    let [mut one, mut other] = estate.edges.each_ref().map(service);
    let mut worst = Duration::ZERO;
    for round in 0..4 {
        if round % 2 == 1 {
            std::mem::swap(&mut one, &mut other);
        }
        let name = format!("key-{round}");
        let key = new_key(&mut one, &name);
        assert_eq!(requests::locate(&mut other, &name).expect("it serves"), std::slice::from_ref(&key));
        let secret = requests::encrypt(&mut one, &key, b"for the other".to_vec()).expect("it serves");
        assert_eq!(requests::decrypt(&mut other, &secret).expect("it serves"), b"for the other");
        requests::revoke(&mut one, &key, RevocationReasonCode::CessationOfOperation).expect("it serves");
        requests::destroy(&mut one, &key).expect("it serves");
        let destroyed = Instant::now();
        worst = worst.max(last_success(destroyed, || requests::decrypt(&mut other, &secret).is_ok()));
        assert!(reason(&requests::decrypt(&mut other, &secret)).is_some());
    }
    println!("last use of what another edge has destroyed: {worst:?} afterwards");
    assert!(worst <= BOUND, "{worst:?}");

    for round in 0..20 {
        let name = format!("wanted-{round}");
        let made = thread::scope(|scope| {
            let clients = [&mut one, &mut other].map(|client| scope.spawn(|| requests::create(client, &name)));
            clients.map(|client| client.join().expect("it does not panic"))
        });
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1, "{made:?}");
        assert_eq!(requests::locate(&mut one, &name).expect("it serves").len(), 1);
    }
    drop((one, other));

    let made = [const { AtomicU64::new(0) }; 2];
    let [steady, killed] = &mut estate.edges;
    let (lasting, is_over) = (&*steady, AtomicBool::new(false));
    let kept = thread::scope(|scope| {
        let (made, is_over) = (&made, &is_over);
        let goes_on = scope.spawn(move || work(lasting, "steady", &made[0], is_over));
        let edge = &*killed;
        let mut kept = thread::scope(|scope| {
            let working = scope.spawn(move || work(edge, "killed", &made[1], is_over));
            assert!(wait_for(|| made[1].load(Ordering::Relaxed) >= 20), "it does not work");
            signal(edge.pid(), Signal::SIGKILL);
            working.join().expect("it is not refused anything")
        });
        killed.kill();
        let before = made[0].load(Ordering::Relaxed);
        assert!(wait_for(|| made[0].load(Ordering::Relaxed) >= before + 20), "the other edge does not go on");
        is_over.store(true, Ordering::Relaxed);
        kept.extend(goes_on.join().expect("it does not panic"));
        kept
    });
    // The dead edge's plugin comes back too, and has what either edge was told is done.
    steady.stop();
    estate.restart_plugin(&[]);
    for edge in &mut estate.edges {
        edge.start();
        assert!(wait_for(|| edge.standing().starts_with("unsealed")), "{}", edge.standing());
    }
    for edge in &estate.edges {
        assert_eq!(damage(edge), [""; 0]);
        let mut client = service(edge);
        for secret in &kept {
            assert_eq!(requests::decrypt(&mut client, secret).expect("it is kept"), secret.plain);
        }
    }
    for node in estate.edges.iter_mut().chain([&mut estate.core]) {
        node.stop();
        let _verified = node.ask(&["audit", "verify"]);
    }
}

#[test]
fn a_plugin_without_transactions_is_not_shared() {
    const WHY: &str = "the plugin has no capability `batch`";
    let mut estate = PluginEdges::prepared();
    estate.core.start();
    estate.restart_plugin(&["--rows-only"]);
    let refused = estate.edges[0].cli(&["init"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains(WHY), "{refused:?}");
    // Alone it may be used so, and is not shared afterwards: what waits in this edge's journal nobody else sees.
    let edge = &mut estate.edges[0];
    let shared = std::fs::read_to_string(edge.config()).expect("it is there");
    std::fs::write(edge.config(), shared.replace("  shared: true\n", "")).expect("the folder is ours");
    let _made = edge.ask(&["init"]);
    std::fs::write(edge.config(), shared).expect("the folder is ours");
    let refused = edge.run_to_its_end();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains(WHY), "{refused:?}");
}
