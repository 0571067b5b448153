//! How a field of each simple type is read and written.

use crate::error::Error;
use crate::mask::{CryptographicUsageMask, StorageStatusMask};
use crate::message::OperationNumber;
use crate::schema::{Decode, Encode, Rules};
use crate::tag::Tag;
use crate::ttlv::{BigInteger, ByteString, DateTime, Interval, Item, ItemType, Structure, Unsigned, Writer};

/// Implements both directions for one type per row: type, item type, reader, writer.
macro_rules! primitives {
    ($life:lifetime $($type:ty: $kind:ident, $read:expr, $write:expr;)*) => {$(
        impl<$life> Decode<$life> for $type {
            const TYPE: ItemType = ItemType::$kind;

            fn decode(item: Item<$life>, _: Rules) -> Result<Self, Error> {
                $read(&item)
            }
        }

        impl<$life> Encode for $type {
            fn encode(&self, tag: Tag, out: &mut Writer<'_>) {
                $write(out, tag, *self);
            }
        }
    )*};
}

primitives! { 'a
    i32:                    Integer,     Item::integer, Writer::integer;
    i64:                    LongInteger, Item::long_integer, Writer::long_integer;
    BigInteger<'a>:         BigInteger,  Item::big_integer, Writer::big_integer;
    Unsigned<'a>:           BigInteger,  Item::unsigned, Writer::unsigned;
    bool:                   Boolean,     Item::boolean, Writer::boolean;
    &'a str:                TextString,  Item::text, Writer::text;
    ByteString<'a>:         ByteString,  Item::bytes, Writer::bytes;
    DateTime:               DateTime,    Item::date_time, Writer::date_time;
    Interval:               Interval,    Item::interval, Writer::interval;
    CryptographicUsageMask: Integer,     |item: &Item<'_>| item.integer().map(Self), |out: &mut Writer<'_>, tag, mask: Self| out.integer(tag, mask.0);
    StorageStatusMask:      Integer,     |item: &Item<'_>| item.integer().map(Self), |out: &mut Writer<'_>, tag, mask: Self| out.integer(tag, mask.0);
    OperationNumber: Enumeration, |item: &Item<'_>| item.enumeration().map(Self), |out: &mut Writer<'_>, tag, number: Self| out.enumeration(tag, number.0);
    Structure<'a>:          Structure,   Structure::read, Writer::structure;
    Item<'a>:               Structure,   undecoded, Writer::item;
}

/// A payload stays as it is until its operation is known; nothing inside it has been checked yet.
fn undecoded<'a>(item: &Item<'a>) -> Result<Item<'a>, Error> {
    item.expect(ItemType::Structure)?;
    Ok(*item)
}
