//! Any bytes to the XML transcoder, as text and as a message.
#![no_main]

mod text;

use kmip::xml;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| text::check(bytes, xml::read, xml::write));
