//! When a key is replaced by its next version without anybody asking: after an interval, or at times of a calendar in UTC.
//!
//! What is due follows from when the version in force was made and from nothing else, so there is no list of runs: however many were missed, one makes
//! up for them, and a restored node knows as well. Calendars are read in UTC, which knows no summer time, so no run is skipped or done twice.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Year};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use keys::id::Time;

/// The part of the interval by which a run may come later, so that keys that were made together are not replaced together.
const JITTER: u64 = 10;
/// The same for times of a calendar, which somebody chose to be there then.
const CALENDAR_JITTER_MAX: Duration = Duration::from_secs(15 * 60);
/// Longest text of a calendar.
const CALENDAR_BYTES_MAX: usize = 128;

/// When a key is replaced by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// Never: when somebody asks.
    OnDemand,
    /// When its version in force is so old, or a tenth of that older.
    Every(Duration),
    /// At the first of these times after its version in force was made, or up to 15 minutes later.
    At(Box<Calendar>),
}

/// Times of a calendar in UTC, as cron has them: minute, hour, day of month, month, day of week, and before them the second, if it is not 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    text: String,
    times: Cron,
}

impl Calendar {
    /// Reads `"0 3 1 * *"`; `None` for what is no such text, and for what no day fits, such as the 31st of February.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > CALENDAR_BYTES_MAX || text.contains(char::is_control) {
            return None;
        }
        let times = CronParser::builder().year(Year::Disallowed).build().parse(text).ok()?;
        let calendar = Self { text: text.to_owned(), times };
        calendar.after(Time::from_millis(0)).map(|_| calendar)
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first of its times after `time`.
    fn after(&self, time: Time) -> Option<Time> {
        let next = self.times.find_next_occurrence(&civil(time)?, false).ok()?;
        let stamp = next.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(Time::from_millis(stamp.as_millisecond()))
    }
}

/// The date and time of day in UTC.
fn civil(time: Time) -> Option<DateTime> {
    Some(TimeZone::UTC.to_datetime(jiff::Timestamp::from_millisecond(time.millis()).ok()?))
}

impl Schedule {
    /// When the version after one that was made at `made` is due; `None`: when somebody asks.
    ///
    /// The date of one that is to come later than the version after one of `now` is of a clock that was set back since, and forgotten. It is due now, so that
    /// nothing is waited for longer than for two intervals.
    ///
    /// - `whose`: what tells this key from others, by which its delay is drawn: a restart does not move it.
    #[must_use]
    pub fn due(&self, made: Time, now: Time, whose: &[&[u8]]) -> Option<Time> {
        let is_lost = made > now && self.after(now, whose).is_some_and(|due| due < made);
        if is_lost { Some(now) } else { self.after(made, whose) }
    }

    /// When the version after one that was made at `made` is due by that date.
    fn after(&self, made: Time, whose: &[&[u8]]) -> Option<Time> {
        let (first, jitter) = match self {
            Self::OnDemand => return None,
            Self::Every(every) => {
                let every = millis(*every);
                (later(made, every), every / JITTER)
            }
            Self::At(calendar) => {
                let first = calendar.after(made)?;
                let gap = calendar.after(first).map_or(u64::MAX, |second| u64::try_from(second.millis() - first.millis()).unwrap_or(0));
                (first, (gap / JITTER).min(millis(CALENDAR_JITTER_MAX)))
            }
        };
        let drawn = cipher::mac::sha256(&[&[&b"jitter"[..]], whose].concat());
        let drawn = u64::from_be_bytes(*drawn.first_chunk().expect("a hash has 32 bytes"));
        Some(later(first, drawn % (jitter + 1)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn later(time: Time, millis: u64) -> Time {
    Time::from_millis(time.millis().saturating_add(i64::try_from(millis).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time::from_millis(text.parse::<jiff::Timestamp>().expect("a time").as_millisecond())
    }

    fn calendar(text: &str) -> Schedule {
        Schedule::At(Box::new(Calendar::parse(text).unwrap_or_else(|| panic!("{text} is a calendar"))))
    }

    /// The due time of many keys of one age, in seconds after `from`.
    fn dues(schedule: &Schedule, made: &str, from: &str) -> Vec<i64> {
        let due = |key: u32| schedule.due(at(made), at(made), &[&key.to_be_bytes()]).expect("it has a time");
        let due = |key: u32| due(key).seconds() - at(from).seconds();
        (0..200).map(due).collect()
    }

    #[track_caller]
    fn check(text: &str, made: &str, expected: &str) {
        let dues = dues(&calendar(text), made, expected);
        assert!(dues.iter().all(|seconds| (0..=900).contains(seconds)), "{text} after {made}: {dues:?}");
    }

    #[test]
    fn a_calendar_is_read_in_utc() {
        check("0 3 1 * *", "2026-01-31T12:00:00Z", "2026-02-01T03:00:00Z");
        check("0 3 1 * *", "2026-02-01T03:00:00Z", "2026-03-01T03:00:00Z");
        check("0 3 * * SUN", "2026-11-23T05:00:00Z", "2026-11-29T03:00:00Z");
        check("30 2 L * *", "2028-02-01T00:00:00Z", "2028-02-29T02:30:00Z");
        check("0 0 1 1,7 *", "2026-01-01T00:00:00Z", "2026-07-01T00:00:00Z");
        check("0 12 * * FRI#2", "2026-11-01T00:00:00Z", "2026-11-13T12:00:00Z");
    }

    /// 2026-03-29 and 2026-10-25 are the days on which Europe's clocks are put forward and back, 2026-03-08 and 2026-11-01 North America's.
    #[test]
    fn no_day_has_an_hour_more_or_less() {
        for day in ["2026-03-08", "2026-03-29", "2026-10-25", "2026-11-01"] {
            let hours = calendar("0 * * * *");
            let mut made = at(&format!("{day}T00:00:00Z"));
            for hour in 1..=24 {
                let Schedule::At(calendar) = &hours else { panic!("it is one") };
                made = calendar.after(made).expect("there is a next hour");
                assert_eq!(made.seconds(), at(&format!("{day}T00:00:00Z")).seconds() + hour * 3600, "{day}");
            }
        }
    }

    #[test]
    fn however_many_runs_were_missed_one_is_due() {
        let (hourly, now) = (calendar("0 * * * *"), at("2026-06-01T12:34:56Z"));
        let due = hourly.due(at("2026-01-01T00:30:00Z"), now, &[b"k"]).expect("it has a time");
        assert!(due < now, "it was due long ago");
        // That run makes a version of now, and the next one is in the future.
        assert!(hourly.due(now, now, &[b"k"]).is_some_and(|due| due > now && due < at("2026-06-01T13:06:01Z")));
    }

    #[test]
    fn a_delay_is_at_most_a_tenth_and_in_a_calendar_a_quarter_of_an_hour() {
        let day = Schedule::Every(Duration::from_secs(86_400));
        for (schedule, made, from, most) in [
            (&day, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", 8640),
            (&calendar("0 3 * * *"), "2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z", 900),
            (&calendar("*/10 * * * *"), "2026-01-01T03:00:00Z", "2026-01-01T03:10:00Z", 60),
        ] {
            let all = dues(schedule, made, from);
            let (least, greatest) = (all.iter().min().expect("some"), all.iter().max().expect("some"));
            assert!(*least >= 0 && *greatest <= most, "{schedule:?}: {least} to {greatest}");
            assert!(greatest - least > most / 2, "they are spread: {least} to {greatest} of {most}");
            assert_eq!(all, dues(schedule, made, from), "a restart does not move them");
        }
        let now = at("2026-01-01T00:00:00Z");
        assert_eq!(Schedule::OnDemand.due(now, now, &[]), None);
        assert_eq!(Schedule::Every(Duration::MAX).due(now, now, &[]).map(Time::millis), Some(i64::MAX));
    }

    /// A version that was made by a clock ahead of today's was replaced when that clock's time came again, years later.
    #[test]
    fn a_version_from_a_lost_future_is_due_now_and_one_from_a_clock_a_little_ahead_in_its_time() {
        let now = at("2026-06-01T12:00:00Z");
        for (schedule, near, far) in [
            (Schedule::Every(Duration::from_secs(86_400)), "2026-06-02T11:59:00Z", "2026-06-03T12:00:00Z"),
            (calendar("0 3 * * *"), "2026-06-02T02:59:00Z", "2026-06-02T12:00:00Z"),
            (calendar("0 3 * * *"), "2026-06-01T12:00:01Z", "2036-06-01T12:00:00Z"),
        ] {
            assert_eq!(schedule.due(at(near), now, &[b"k"]), schedule.due(at(near), at(near), &[b"k"]), "{schedule:?}");
            assert_eq!(schedule.due(at(far), now, &[b"k"]), Some(now), "{schedule:?}");
        }
        assert_eq!(Schedule::OnDemand.due(at("2036-06-01T12:00:00Z"), now, &[]), None);
        assert_eq!(Schedule::Every(Duration::MAX).due(Time::from_millis(i64::MAX), now, &[]).map(Time::millis), Some(i64::MAX));
    }

    #[test]
    fn what_no_day_fits_is_no_calendar() {
        let long = format!("0 3 {} * *", "1,".repeat(70) + "1");
        for text in
            ["", "30days", "0 3 1 *", "0 0 31 2 *", "60 3 * * *", "0 24 * * *", "0 3 1 13 *", "0 0 3 1 * * 2030", "0 3\n1 * *", &long]
        {
            assert_eq!(Calendar::parse(text), None, "{text:?}");
        }
        assert!(Calendar::parse("15 0 3 1 * *").is_some(), "with seconds");
    }
}
