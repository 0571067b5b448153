//! Any bytes to the server: each whole frame gets a legal answer, and nothing falls over.
#![no_main]

mod server;

use kmip::{Frames, Framing, MESSAGE_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let frames = Frames::of_requests(MESSAGE_BYTES_MAX);
    let mut rest = bytes;
    while let Ok(Framing::Message(length)) = frames.next(rest) {
        let (message, after) = rest.split_at(length);
        server::ask(message);
        rest = after;
    }
    // Framing finds few of them: the decoder has to stand what framing lets through as well as what it does not.
    server::ask(bytes);
});
