//! What root finds in the memory, the core image and the files of a core or an edge: no key in any state, and how the programs are linked.

use std::fs;
use std::path::Path;
use std::process::Command;

use softhsm_test::memscan::{edge_memory_campaign, memory_campaign};
use softhsm_test::{Core, binary};

/// Enough to find what lies open for longer than moments; the full counts are the campaigns `memory` and `edge-memory`.
const SAMPLES: u64 = 25;

#[test]
fn no_state_of_a_core_shows_a_key_to_root() {
    let table = memory_campaign(SAMPLES);
    let missed = table.missed();
    assert!(missed.is_empty(), "{missed:#?}\n{table}");
}

#[test]
fn no_state_of_an_edge_shows_a_key_to_root() {
    let table = edge_memory_campaign(SAMPLES);
    let missed = table.missed();
    assert!(missed.is_empty(), "{missed:#?}\n{table}");
}

/// With lazy binding the resolver spills the registers of the first call of each function, keys and all, to the stack (C15).
#[test]
fn every_program_is_bound_at_its_start_and_read_only_then() {
    for (name, package) in [("strongroomd", "daemon"), ("strongroom", "daemon"), ("strongroom-device", "hsm-helper")] {
        let program = binary(name, package);
        let dynamic = readelf("--dynamic", &program);
        assert!(dynamic.contains("BIND_NOW") || dynamic.contains("Flags: NOW"), "{name} is bound lazily:\n{dynamic}");
        let headers = readelf("--program-headers", &program);
        assert!(headers.contains("GNU_RELRO"), "{name} leaves its relocations writable:\n{headers}");
        assert!(headers.contains("Position-Independent Executable"), "{name} is loaded at a fixed address:\n{headers}");
        let stack = headers.lines().find(|line| line.contains("GNU_STACK")).unwrap_or_default();
        assert!(stack.contains(" RW "), "{name} can run code on its stack: {stack}");
    }
}

#[test]
fn a_core_that_crashes_may_write_no_core_file() {
    let mut core = Core::prepared();
    core.start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", core.pid())).expect("the core runs");
    let core_file = limits.lines().find(|line| line.starts_with("Max core file size")).expect("Linux limits it");
    assert_eq!(core_file.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core_file}");
}

fn readelf(what: &str, program: &Path) -> String {
    let output = Command::new("readelf").args([what, "--wide"]).arg(program).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("cannot run readelf ({error}): apt-get install binutils"));
    assert!(output.status.success(), "readelf: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
