//! What holds for every text and every transcoder: nothing falls over, nothing grows, and what was read once is read again as the same.

use kmip::ttlv::{Item, ItemType};
use kmip::{Error, TextError};

/// Most that a message may have; small, so that texts reach it.
const MESSAGE_BYTES_MAX: usize = 4096;

type Read = fn(&[u8], usize) -> Result<Vec<u8>, TextError>;
type Write = fn(&[u8]) -> Result<Vec<u8>, Error>;

/// Reads the input as a text, and writes it as a message, if it is one.
pub(crate) fn check(input: &[u8], read: Read, write: Write) {
    match read(input, MESSAGE_BYTES_MAX) {
        Ok(ttlv) => {
            assert!(ttlv.len() <= MESSAGE_BYTES_MAX && ttlv.len() <= 2 * input.len(), "{} B of {}", ttlv.len(), input.len());
            // It grows by doubling, and only by what the text has.
            assert!(ttlv.capacity() <= 4 * input.len() + 64, "room for {} B of {}", ttlv.capacity(), input.len());
            comes_back(&ttlv, read, write);
        }
        Err(error) => assert!(error.to_string().len() < 1000 && error.line > 0 || error.column == 0, "{error}"),
    }
    let message = Item::only(input).and_then(|message| message.expect(ItemType::Structure).and_then(|()| message.check()));
    if message.is_ok() && input.len() <= MESSAGE_BYTES_MAX {
        // XML has no way to say some characters, so the second reading is held against the first.
        let text = write(input).expect("a well-formed message");
        comes_back(&read(&text, 4 * MESSAGE_BYTES_MAX).expect("just written"), read, write);
    }
}

fn comes_back(ttlv: &[u8], read: Read, write: Write) {
    assert_eq!(Item::only(ttlv).and_then(|message| message.check()), Ok(()));
    let text = write(ttlv).expect("just read");
    assert_eq!(read(&text, 4 * MESSAGE_BYTES_MAX).as_deref(), Ok(ttlv));
}
