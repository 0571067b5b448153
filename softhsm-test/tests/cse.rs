//! Client-side encryption as MongoDB's drivers do it, as docs/CSE.md describes it: libmongocrypt, with its own KMIP client, keeps its master keys at an edge.

use kmip::RevocationReasonCode;
use softhsm_test::{Appliance, Who, drive, requests};

/// Local and delegated mode, other programs, other services, replacement of the master key and its end.
#[test]
fn libmongocrypt_encrypts_fields_under_master_keys_at_an_edge() {
    let appliance = Appliance::with_edges(1);
    drive(&appliance, "edge", "mongocrypt_edge.py", "L3_ID", &[]);
    drop(appliance.stop());
}

#[test]
fn the_commands_of_the_guide_do_what_it_says() {
    const GUIDE: &str = include_str!("../../docs/CSE.md");
    let appliance = Appliance::with_edges(1);
    let mut client = appliance.connect_at("edge", Who::Service);
    let master = requests::register(&mut client, "master", &[7; 96]).expect("the edge keeps it");
    requests::activate(&mut client, &master).expect("it is Pre-Active");
    let commands: Vec<&str> = GUIDE.lines().map(str::trim_start).filter_map(|line| line.strip_prefix("strongroom ")).collect();
    assert_eq!(commands.len(), 4, "{commands:?}");
    for command in commands {
        let command = command.replace("$MASTER", &master);
        let output = appliance.cli_at("edge", Who::Service, &command.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(requests::get(&mut client, &master).is_err(), "it is destroyed");
    let again = requests::revoke(&mut client, &master, RevocationReasonCode::Superseded);
    assert!(again.is_err(), "it is destroyed");
    drop(appliance.stop());
}
