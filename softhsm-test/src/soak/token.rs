//! The token campaign: the token is pulled from a serving core and put back, many times over (F9).

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::appliance::Who;
use crate::core::Core;
use crate::requests;
use crate::soak::random::Random;
use crate::soak::verified;

/// Service is back this long after the token is.
const RECOVERED_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
struct Tally {
    pulls: u32,
    in_mid_job: u32,
    slowest_recovery: Duration,
    total_recovery: Duration,
}

/// Pulls the token `count` times; says what was seen.
///
/// # Panics
/// If service stops with the token, does not come back with it, a failure has no clear reason, a login is spent, or the core ends.
#[must_use]
pub fn token_campaign(count: u32, seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut core = Core::prepared();
    core.start();
    let slots: serde_json::Value = serde_json::from_str(&core.ask(&["--json", "slot", "list"])).expect("a list in JSON");
    let slot = slots[0]["id"].as_str().expect("there is one slot").to_owned();
    let mut tally = Tally::default();
    for round in 0..count {
        let mid_job = random.within(0..2) == 0;
        if mid_job {
            pull_in_mid_job(&core, &slot);
            tally.in_mid_job += 1;
        } else {
            core.pull_token();
        }
        must_serve(&core, &format!("pulled-{round}"));
        must_fail_clearly(&core, &["slot", "verify", &slot]);
        let _sealed = core.ask(&["seal"]);
        must_fail_clearly(&core, &["unseal"]);
        assert!(core.status().contains("token"), "status says why the node is sealed: {}", core.status());
        core.return_token();
        let returned = Instant::now();
        let _unsealed = core.ask(&["unseal"]);
        must_serve(&core, &format!("returned-{round}"));
        let recovery = returned.elapsed();
        assert!(recovery < RECOVERED_WITHIN, "recovered after {recovery:?}");
        let _verified = core.ask(&["slot", "verify", &slot]);
        (tally.slowest_recovery, tally.total_recovery) = (tally.slowest_recovery.max(recovery), tally.total_recovery + recovery);
        tally.pulls += 1;
        assert_eq!(latches(&core), 0, "a login was spent on a token that is not there");
        assert!(!core.has_ended(), "the core ended");
    }
    core.stop();
    let _last = verified(&core);
    format!(
        "pulls {} ({} in the middle of a device job), cores ended 0, operations refused 0, PINs latched 0; recovery after return: mean {} ms, \
         slowest {} ms",
        tally.pulls,
        tally.in_mid_job,
        tally.total_recovery.as_millis() / u128::from(tally.pulls.max(1)),
        tally.slowest_recovery.as_millis()
    )
}

/// The device process runs while its token goes; the job ends, well or with an error.
fn pull_in_mid_job(core: &Core, slot: &str) {
    let job = core.cli_command(&["slot", "verify", slot]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut job = job.expect("the binary is there");
    core.pull_token();
    let _either = job.wait().expect("it is our child");
}

/// An unsealed core needs no token.
fn must_serve(core: &Core, name: &str) {
    let mut admin = core.connect(Who::TenantAdmin);
    let key = requests::create(&mut admin, name).unwrap_or_else(|error| panic!("Create {name}: {error}"));
    requests::activate(&mut admin, &key).unwrap_or_else(|error| panic!("Activate {name}: {error}"));
    let mut service = core.connect(Who::Service);
    let secret = requests::encrypt(&mut service, &key, b"not on the token".to_vec()).unwrap_or_else(|error| panic!("Encrypt: {error}"));
    let plain = requests::decrypt(&mut service, &secret).unwrap_or_else(|error| panic!("Decrypt: {error}"));
    assert_eq!(plain, secret.plain, "a wrong plaintext");
}

fn must_fail_clearly(core: &Core, arguments: &[&str]) {
    let failed = core.cli(arguments);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && said.contains("token"), "strongroom {} without a token: {said}", arguments.join(" "));
}

/// Marks of refused PINs.
fn latches(core: &Core) -> usize {
    let entries = fs::read_dir(core.data_dir().join("latch")).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "latch")).count()
}
