//! Durations and sizes as people write them: a number never stands without its unit.

use std::time::Duration;

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `"1h 30m"`; `None` without a unit or with an unknown one.
pub(super) fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// Prints what [`duration`] reads.
pub(super) fn duration_text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Reads `"4MiB"` as bytes; `None` without a unit, with an unknown one, or beyond 64 bits.
pub(super) fn size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim_start();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    usize::try_from(digits.parse::<u64>().ok()?.checked_mul(*factor)?).ok()
}

/// Prints what [`size`] reads, in the largest unit that divides it.
pub(super) fn size_text(bytes: usize) -> String {
    let bytes = bytes as u64;
    let (name, factor) = UNITS.iter().find(|(_, factor)| bytes.is_multiple_of(*factor)).expect("1 divides every number");
    format!("{}{name}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_reads_as_it_prints() {
        for (text, bytes) in [("1B", 1), ("1000B", 1000), ("64KiB", 65_536), ("4MiB", 4 << 20), ("3GiB", 3 << 30)] {
            assert_eq!(size(text), Some(bytes), "{text}");
            assert_eq!(size_text(bytes), text);
        }
        assert_eq!(size("2 MiB"), Some(2 << 20));
    }

    #[test]
    fn a_size_without_a_known_unit_is_refused() {
        for text in ["", "4", "MiB", "4M", "4MB", "4mib", "-4MiB", "4.5MiB", "4MiB ", " 4MiB", "4MiBs", "4 4MiB", "99999999999GiB"] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_duration_reads_as_it_prints() {
        for text in ["30s", "1h", "1m 30s", "250ms", "1day"] {
            let read = duration(text).expect("the text is a duration");
            assert_eq!(duration_text(read), text);
        }
    }

    #[test]
    fn a_duration_without_a_known_unit_is_refused() {
        for text in ["", "30", "s", "30x", "-30s", "1:30", "30s,"] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }
}
