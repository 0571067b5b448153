//! `src/v1.rs` is what the published `.proto` says, so that nothing is generated when the product is built.

use std::fs;
use std::path::Path;

const PROTO: &str = "strongroom/keystore/v1/keystore.proto";

/// The first line of the file.
const HEAD: &str = "//! The messages and services of the published `.proto`, as tonic-prost-build writes them: see `tests/generated.rs`.\n";

/// Set to write the file anew instead of comparing it.
const WRITE: &str = "STRONGROOM_WRITE_GENERATED";

#[test]
fn the_types_in_the_source_are_those_of_the_proto() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parsed = protox::compile([PROTO], [root.join("proto")]).expect("the .proto is well formed");
    let out = tempfile::tempdir().expect("a temporary folder");
    tonic_prost_build::configure().out_dir(out.path()).compile_fds(parsed).expect("it can be written as Rust");
    let generated = fs::read_to_string(out.path().join("strongroom.keystore.v1.rs")).expect("it was just written");
    let generated = format!("{HEAD}{generated}");
    let kept = root.join("src/v1.rs");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&kept, &generated).expect("the source can be written");
    }
    let same = fs::read_to_string(&kept).is_ok_and(|text| text == generated);
    assert!(same, "{} is not what {PROTO} says: {WRITE}=1 cargo test -p plugin --test generated", kept.display());
}
