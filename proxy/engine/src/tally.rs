//! How often each policy decided.
//!
//! Each worker counts for itself, so no cache line is shared; a reader adds the workers up. The
//! row of a policy that is gone leaves all workers at once, as the rows of traffic do.

use crate::expiry::Reported;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Stands for "no policy decided": never a policy's name, which is "namespace/name".
const NO_POLICY: &str = "none";

/// What came of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// A connection was let in.
    Allowed,
    /// A connection was not let in.
    Refused,
    /// An open connection was ended.
    Cut,
    /// A connection was not let in; a dry run would have let it in.
    WouldAllow,
    /// A connection was let in; a dry run would not have.
    WouldRefuse,
}

impl Effect {
    const ALL: [Effect; 5] = [
        Self::Allowed,
        Self::Refused,
        Self::Cut,
        Self::WouldAllow,
        Self::WouldRefuse,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::WouldAllow => "would-allow",
            Self::WouldRefuse => "would-refuse",
        }
    }
}

type Counts = [u64; Effect::ALL.len()];

#[derive(Debug, Default)]
struct Kept {
    counts: Counts,
    reported: Reported<Counts>,
}

/// One worker's counts.
#[derive(Debug, Default)]
pub struct Tally(Mutex<HashMap<String, Kept>>);

impl Tally {
    pub fn count(&self, policy: Option<&str>, effect: Effect) {
        let name = policy.unwrap_or(NO_POLICY);
        let mut rows = self.locked();
        match rows.get_mut(name) {
            Some(row) => row.counts[effect as usize] += 1,
            None => rows.entry(name.to_owned()).or_default().counts[effect as usize] += 1,
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all workers have counted for one policy.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub policy: String,
    counts: Counts,
    /// Reported unchanged for long.
    is_idle: bool,
}

impl Row {
    /// (policy, effect, count); what never happened is left out.
    pub fn effects(&self) -> impl Iterator<Item = (String, &'static str, u64)> {
        let effects = Effect::ALL.into_iter();
        let counted = effects.map(|effect| (self.policy.clone(), effect.as_str(), self.counts[effect as usize]));
        counted.filter(|(_, _, count)| *count > 0)
    }

    /// Whether it may be forgotten if this policy is gone.
    pub fn is_stale(&self) -> bool {
        self.is_idle && self.policy != NO_POLICY
    }
}

/// All workers' counts together, in the order of the policies; they count as reported at `now`.
pub fn report<'a>(workers: impl Iterator<Item = &'a Tally>, now: Instant) -> Vec<Row> {
    let mut sums: BTreeMap<String, (Counts, bool)> = BTreeMap::new();
    for tally in workers {
        for (policy, row) in &mut *tally.locked() {
            let is_idle = row.reported.report(row.counts, now);
            let (sum, are_idle) = sums.entry(policy.clone()).or_insert_with(|| (Counts::default(), true));
            *are_idle &= is_idle;
            for (sum, count) in sum.iter_mut().zip(row.counts) {
                *sum += count;
            }
        }
    }
    let row = |(policy, (counts, is_idle))| Row {
        policy,
        counts,
        is_idle,
    };
    sums.into_iter().map(row).collect()
}

/// Takes rows out of all workers, but for those that have counted since they were reported.
pub fn forget<'a>(workers: impl Iterator<Item = &'a Tally>, gone: impl Iterator<Item = &'a Row>) {
    // Always in the same order, and never by a worker that holds its own.
    let mut locked: Vec<_> = workers.map(Tally::locked).collect();
    for Row { policy, .. } in gone {
        let is_as_reported = |row: &Kept| row.reported.is(&row.counts);
        if locked.iter().all(|rows| rows.get(policy).is_none_or(is_as_reported)) {
            for rows in &mut locked {
                rows.remove(policy);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expiry::IDLE;

    fn effects(rows: &[Row]) -> Vec<(String, &'static str, u64)> {
        rows.iter().flat_map(Row::effects).collect()
    }

    #[test]
    fn counts_of_two_workers_are_added_up_by_policy_and_effect() {
        let workers = [Tally::default(), Tally::default()];
        workers[0].count(Some("shop/a"), Effect::Allowed);
        workers[1].count(Some("shop/a"), Effect::Allowed);
        workers[1].count(Some("shop/a"), Effect::Cut);
        workers[1].count(None, Effect::Refused);
        workers[0].count(Some("shop/b"), Effect::WouldRefuse);
        let expected = [
            ("none".to_owned(), "refused", 1),
            ("shop/a".to_owned(), "allowed", 2),
            ("shop/a".to_owned(), "cut", 1),
            ("shop/b".to_owned(), "would-refuse", 1),
        ];
        assert_eq!(effects(&report(workers.iter(), Instant::now())), expected);
    }

    #[test]
    fn the_row_of_a_policy_leaves_all_workers_unless_it_has_counted_since() {
        let (workers, start) = ([Tally::default(), Tally::default()], Instant::now());
        workers[0].count(None, Effect::Allowed);
        for worker in &workers {
            worker.count(Some("shop/a"), Effect::Allowed);
        }
        assert!(report(workers.iter(), start).iter().all(|row| !row.is_stale()));
        let rows = report(workers.iter(), start + IDLE);
        let stale: Vec<_> = rows.iter().filter(|row| row.is_stale()).collect();
        assert_eq!(stale.len(), 1, "that no policy decided is always a row");
        workers[1].count(Some("shop/a"), Effect::Cut);
        forget(workers.iter(), stale.iter().copied());
        assert_eq!(
            effects(&report(workers.iter(), start + IDLE)).len(),
            3,
            "it has just counted"
        );
        report(workers.iter(), start + IDLE);
        let rows = report(workers.iter(), start + 2 * IDLE);
        forget(workers.iter(), rows.iter().filter(|row| row.is_stale()));
        let left = [("none".to_owned(), "allowed", 1)];
        assert_eq!(effects(&report(workers.iter(), start + 2 * IDLE)), left);
    }
}
