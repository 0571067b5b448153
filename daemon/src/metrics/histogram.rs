//! A histogram of durations that is counted without a lock.

use std::time::Duration;

use super::Count;

/// Upper bounds of the buckets in microseconds; one more bucket takes what is longer.
const BOUNDS_MICROS: [u64; 15] =
    [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 5_000_000];

/// Durations, counted by how long they were.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Count; BOUNDS_MICROS.len() + 1],
    nanos: Count,
}

impl Histogram {
    /// Counts one.
    pub(crate) fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS_MICROS.partition_point(|bound| *bound < micros)].add(1);
        self.nanos.add(u64::try_from(duration.as_nanos()).unwrap_or(0));
    }

    /// Each bucket's upper bound in seconds with what it counted, the last without bound; buckets are not cumulative.
    pub(crate) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS_MICROS.iter().map(|micros| Duration::from_micros(*micros).as_secs_f64()).chain([f64::INFINITY]);
        bounds.zip(self.buckets.iter().map(Count::value)).collect()
    }

    /// All durations together, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanos.value()).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_takes_it() {
        let check = |duration: Duration, bound: f64| {
            let histogram = Histogram::default();
            histogram.observe(duration);
            let full: Vec<_> = histogram.buckets().into_iter().filter(|(_, count)| *count > 0).collect();
            assert_eq!(full, [(bound, 1)], "{duration:?}");
        };
        check(Duration::ZERO, 0.000_05);
        check(Duration::from_micros(50), 0.000_05);
        check(Duration::from_micros(51), 0.000_1);
        check(Duration::from_secs(5), 5.0);
        check(Duration::from_micros(5_000_001), f64::INFINITY);
        check(Duration::MAX, f64::INFINITY);
    }
}
