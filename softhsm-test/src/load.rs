//! Clients that are at work at a node while a test does other things to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use daemon::kmip_client::{Endpoint, KmipClient};
use kmip::ProtocolVersion;

use crate::{requests, wait_for};

/// Ends the clients' work when it is dropped, so also if the test fails beside it.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a client of a service does until it `is_over`, counting rounds in `done`: at a core under its default key, at an edge under a new key each time.
///
/// # Panics
/// If it is refused anything.
pub fn work(to: &Endpoint, default_key: Option<&str>, is_over: &AtomicBool, done: &AtomicU64) {
    let mut client = KmipClient::connect(to, ProtocolVersion::V1_4).expect("the node serves");
    // An edge hears of a new service with its next lease.
    assert!(default_key.is_some() || wait_for(|| requests::create(&mut client, "first").is_ok()), "the edge does not serve");
    let mut round = 0_u32;
    while !is_over.load(Ordering::Relaxed) {
        round += 1;
        let key = default_key.map(str::to_owned).unwrap_or_else(|| {
            let key = requests::create(&mut client, &format!("k{round}")).expect("an edge creates");
            requests::activate(&mut client, &key).expect("it is new");
            key
        });
        let secret = requests::encrypt(&mut client, &key, vec![7; 100]).expect("it encrypts");
        assert_eq!(requests::decrypt(&mut client, &secret).expect("it decrypts"), [7; 100]);
        done.fetch_add(1, Ordering::Relaxed);
    }
}
