//! When a row of counters may be forgotten: once it has been read, unchanged, for long enough.
//!
//! Readers alone move the clock. So a counter never vanishes before its last value has been
//! reported, however rarely somebody reads, and no worker does anything for it.

use std::time::{Duration, Instant};

/// For so long a row must have been reported unchanged. Ten minutes are many scrapes, also with
/// one that fails now and then, and a peer that is rolled out anew comes back within them.
pub const IDLE: Duration = Duration::from_secs(600);

/// What a row was when it was reported last, and since when it has been that.
#[derive(Debug)]
pub struct Reported<T>(Option<(T, Instant)>);

impl<T> Default for Reported<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: PartialEq> Reported<T> {
    /// Notes that `value` is reported now; returns whether it has been for long enough.
    pub fn report(&mut self, value: T, now: Instant) -> bool {
        match &self.0 {
            Some((last, since)) if *last == value => now.saturating_duration_since(*since) >= IDLE,
            _ => {
                self.0 = Some((value, now));
                false
            }
        }
    }

    /// Whether `value` is what was reported last.
    pub fn is(&self, value: &T) -> bool {
        self.0.as_ref().is_some_and(|(last, _)| last == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_over_once_it_was_reported_unchanged_for_long_enough() {
        let (mut row, start) = (Reported::default(), Instant::now());
        assert!(!row.report(1, start), "seen for the first time, however old it is");
        assert!(!row.report(1, start + IDLE / 2));
        assert!(!row.report(2, start + IDLE), "it changed");
        assert!(!row.report(2, start + IDLE + IDLE / 2));
        assert!(row.report(2, start + 2 * IDLE));
        assert!(row.is(&2) && !row.is(&3));
    }
}
