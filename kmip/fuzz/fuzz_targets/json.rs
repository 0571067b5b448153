//! Any bytes to the JSON transcoder, as text and as a message.
#![no_main]

mod text;

use kmip::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| text::check(bytes, json::read, json::write));
