//! The rotation campaign: as the kill campaign, while an operator rotates the IVK and a tenant-admin its tenant's key without a pause (F1, C23).
//!
//! After each restart exactly one version of the IVK is Active, no number is missing, every rotation that was acknowledged is there, and the walk that
//! then begins brings every key under the newest versions.

use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::appliance::wait_for;
use crate::core::Core;
use crate::soak::kill::{Beside, killed};
use crate::soak::random::Random;

/// Tenants of a folder, each with a service: so many more keys for a walk.
const TENANTS: u32 = 60;
/// One of so many rotations is a tenant's.
const TENANTS_TURN: u64 = 4;

/// Runs `count` rounds of load, rotation, kill, restart and check; says what was seen.
///
/// # Panics
/// At the first thing that is missing or does not verify.
#[must_use]
pub fn rotation_campaign(count: u32, seed: u64) -> String {
    let (mut versions, mut acknowledged, mut walks) = (0, 0, 0);
    let tally = killed(count, seed, Rotations::default, |rotations| {
        versions += rotations.known - 1;
        acknowledged += rotations.acknowledged.into_inner();
        walks += rotations.walks;
    });
    format!(
        "{tally}; rotations acknowledged {acknowledged}, lost 0; versions of the IVK made {versions}, gaps 0, at each of {walks} restarts one Active \
         and every key brought under it"
    )
}

/// What is known of one folder.
#[derive(Debug)]
struct Rotations {
    /// The newest version of the IVK at the last look.
    known: u64,
    /// The newest that was acknowledged since.
    newest: AtomicU64,
    acknowledged: AtomicU64,
    walks: u32,
}

impl Default for Rotations {
    fn default() -> Self {
        Self { known: 1, newest: AtomicU64::new(1), acknowledged: AtomicU64::new(0), walks: 0 }
    }
}

impl Beside for Rotations {
    fn prepare(&mut self, core: &Core) {
        for number in 0..TENANTS {
            let tenant = format!("tenant-{number}");
            let _made = core.ask(&["tenant", "create", &tenant]);
            let _made = core.ask(&["service", "create", &tenant, "billing"]);
        }
    }

    fn work(&self, core: &Core, random: &mut Random) {
        loop {
            let rotated =
                if random.within(0..TENANTS_TURN) == 0 { rotate_tenants_key(core) } else { core.cli(&["--json", "ivk", "rotate"]) };
            if !rotated.status.success() {
                let why = String::from_utf8_lossy(&rotated.stderr).into_owned();
                assert!(!core.status().contains("\"unsealed\""), "the core serves, but does not rotate: {why}");
                return;
            }
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            let rotated: Value = serde_json::from_slice(&rotated.stdout).expect("an answer in JSON");
            // A tenant's key has an identifier, a version of the IVK has none.
            if rotated["id"].is_null() {
                self.newest.fetch_max(rotated["version"].as_u64().expect("a number"), Ordering::Relaxed);
            }
        }
    }

    fn check(&mut self, core: &Core) {
        let versions = json(core, &["ivk", "status"]);
        let versions = versions.as_array().expect("a list");
        let numbers: Vec<u64> = versions.iter().filter_map(|ivk| ivk["version"].as_u64()).collect();
        let newest = numbers.first().copied().expect("there is one");
        assert!(numbers.iter().copied().eq((1..=newest).rev()), "the versions have a gap: {numbers:?}");
        let active: Vec<&Value> = versions.iter().filter(|ivk| ivk["status"] == "active").map(|ivk| &ivk["version"]).collect();
        assert_eq!(active, [newest], "exactly one version is Active, the newest");
        let acknowledged = self.newest.load(Ordering::Relaxed);
        assert!(newest == acknowledged || newest == acknowledged + 1, "{acknowledged} was acknowledged, {newest} is there");
        self.newest.store(newest, Ordering::Relaxed);
        self.known = newest;

        let is_done = || json(core, &["reencrypt", "status"])["state"] == "done";
        assert!(wait_for(is_done), "the walk does not end: {}", json(core, &["reencrypt", "status"]));
        let walk = json(core, &["reencrypt", "status"]);
        assert_eq!(walk["refused"], 0, "{walk}");
        for key in keys(core, "L2") {
            assert_eq!(key["wrapped_by"]["version"], newest, "{key}");
        }
        let active: Vec<Value> = keys(core, "L2").into_iter().filter(|key| key["state"] == "active").collect();
        for key in keys(core, "L3") {
            let parent = active.iter().find(|parent| parent["tenant"] == key["tenant"]).expect("a tenant has an Active key");
            assert_eq!(key["wrapped_by"]["id"], parent["id"], "{key}");
        }
        self.walks += 1;
    }
}

fn json(core: &Core, arguments: &[&str]) -> Value {
    serde_json::from_str(&core.ask(&[&["--json"], arguments].concat())).expect("an answer in JSON")
}

fn keys(core: &Core, layer: &str) -> Vec<Value> {
    json(core, &["key", "list", "--layer", layer, "--limit", "1000"])["keys"].as_array().expect("a list").clone()
}

/// As the tenant-admin of `acme`, whose clients are at work.
fn rotate_tenants_key(core: &Core) -> Output {
    let shown = core.cli(&["--json", "tenant", "show", "acme"]);
    let Ok(shown) = serde_json::from_slice::<Value>(&shown.stdout) else { return shown };
    let id = shown["key"].as_str().expect("a tenant has a key").to_owned();
    let ca = core.dir().join("pki/ca.pem");
    let admin = ["ADMIN_CORE", "TENANT_ADMIN_CERT", "TENANT_ADMIN_KEY"].map(|name| core.value(name));
    let [address, cert, key] = &admin;
    let ca = ca.to_str().expect("the folder's name is text");
    core.cli(&["--json", "--admin", address, "--admin-ca", ca, "--admin-cert", cert, "--admin-key", key, "key", "rotate", &id])
}
