//! Which part of an operation a request is, by its Correlation Value, Init Indicator and Final Indicator (section 4).

use cipher::stream::STATE_BYTES;
use secret::Key;

use crate::failure::Failure;
use crate::ttlv::ByteString;

/// The fields by which a client spreads one operation over several requests.
pub(crate) struct Indicators<'a> {
    pub(crate) correlation_value: Option<ByteString<'a>>,
    pub(crate) init: Option<bool>,
    pub(crate) last: Option<bool>,
}

/// What a request brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Everything.
    Whole(&'a [u8]),
    /// The beginning.
    First(&'a [u8]),
    /// More of what is under way.
    Next(Next<'a>),
}

/// More of what is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next<'a> {
    /// The Correlation Value, as the client gives it.
    pub(crate) value: &'a [u8],
    /// The data of this part.
    pub(crate) data: &'a [u8],
    /// Whether it is the end.
    pub(crate) is_last: bool,
}

impl<'a> Indicators<'a> {
    /// Data may be left out where an indicator is true.
    pub(crate) fn part(&self, data: Option<ByteString<'a>>) -> Result<Part<'a>, Failure> {
        let (init, last) = (self.init.unwrap_or(false), self.last.unwrap_or(false));
        let data = match data {
            Some(ByteString(data)) => data,
            None if init || last => &[],
            None => return Err(Failure::missing("Data is missing")),
        };
        match (self.correlation_value, init, last) {
            (None, false, false) | (None, true, true) => Ok(Part::Whole(data)),
            (None, true, false) => Ok(Part::First(data)),
            (None, false, true) => Err(Failure::missing("Correlation Value is missing: which operation is to be finished?")),
            (Some(_), true, _) => Err(Failure::field("Init Indicator: what has a Correlation Value has begun already")),
            (Some(ByteString(value)), false, is_last) => Ok(Part::Next(Next { value, data, is_last })),
        }
    }
}

/// The one answer for a value that is unknown, another's, of another key or direction, in use or too old (11.30, 11.31).
pub(crate) fn not_under_way() -> Failure {
    Failure { message: "no operation is under way with this Correlation Value".into(), ..Failure::not_found() }
}

/// A field that was told with the first part, and holds for all.
pub(crate) fn only_first(field: &'static str) -> Failure {
    Failure::field(format!("{field}: leave it out, it belongs to the first request of an operation in parts"))
}

/// The state after a part, written into locked memory.
pub(crate) fn state_after(
    before: &Key<STATE_BYTES>,
    part: impl FnOnce(&[u8; STATE_BYTES], &mut [u8; STATE_BYTES]) -> Result<(), Failure>,
) -> Result<Key<STATE_BYTES>, Failure> {
    Key::try_init_with(|after| before.expose(|before| part(before, after)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enums::ResultReason;

    fn check(value: bool, init: Option<bool>, last: Option<bool>, data: bool, expected: Result<Part<'static>, ResultReason>) {
        let correlation_value = value.then_some(ByteString(b"value"));
        let part = Indicators { correlation_value, init, last }.part(data.then_some(ByteString(b"data")));
        assert_eq!(part.map_err(|failure| failure.reason), expected, "{value} {init:?} {last:?} {data}");
    }

    #[test]
    fn every_combination_of_the_fields_is_one_kind_of_part_or_refused() {
        let (yes, missing, field) = (Some(true), Err(ResultReason::InvalidMessage), Err(ResultReason::InvalidField));
        let next = |data, is_last| Ok(Part::Next(Next { value: b"value", data, is_last }));
        for no in [None, Some(false)] {
            check(false, no, no, true, Ok(Part::Whole(b"data")));
            check(false, no, no, false, missing);
            check(false, yes, no, true, Ok(Part::First(b"data")));
            check(false, yes, no, false, Ok(Part::First(b"")));
            check(false, no, yes, true, missing);
            check(false, no, yes, false, missing);
            check(true, no, no, true, next(b"data", false));
            check(true, no, no, false, missing);
            check(true, no, yes, true, next(b"data", true));
            check(true, no, yes, false, next(b"", true));
            check(true, yes, no, true, field);
        }
        check(false, yes, yes, true, Ok(Part::Whole(b"data")));
        check(false, yes, yes, false, Ok(Part::Whole(b"")));
        check(true, yes, yes, true, field);
    }
}
