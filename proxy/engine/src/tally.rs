//! How often each policy decided.
//!
//! Each worker counts for itself, so no cache line is shared; a reader adds the workers up.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
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
}

impl Effect {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Cut => "cut",
        }
    }
}

/// One worker's counts.
#[derive(Debug, Default)]
pub struct Tally(Mutex<HashMap<String, [u64; 3]>>);

impl Tally {
    pub fn count(&self, policy: Option<&str>, effect: Effect) {
        let name = policy.unwrap_or(NO_POLICY);
        let mut counts = self.locked();
        match counts.get_mut(name) {
            Some(row) => row[effect as usize] += 1,
            None => counts.entry(name.to_owned()).or_default()[effect as usize] += 1,
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, [u64; 3]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All workers' counts together, (policy, effect, count), by policy; what never happened is left out.
pub fn sum<'a>(workers: impl Iterator<Item = &'a Tally>) -> Vec<(String, &'static str, u64)> {
    let mut sums = BTreeMap::new();
    for tally in workers {
        for (name, row) in tally.locked().iter() {
            for effect in [Effect::Allowed, Effect::Refused, Effect::Cut] {
                *sums.entry((name.clone(), effect)).or_default() += row[effect as usize];
            }
        }
    }
    let happened = sums.into_iter().filter(|(_, count)| *count > 0);
    happened
        .map(|((name, effect), count)| (name, effect.as_str(), count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_two_workers_are_added_up_by_policy_and_effect() {
        let workers = [Tally::default(), Tally::default()];
        workers[0].count(Some("shop/a"), Effect::Allowed);
        workers[1].count(Some("shop/a"), Effect::Allowed);
        workers[1].count(Some("shop/a"), Effect::Cut);
        workers[1].count(None, Effect::Refused);
        let expected = [
            ("none".to_owned(), "refused", 1),
            ("shop/a".to_owned(), "allowed", 2),
            ("shop/a".to_owned(), "cut", 1),
        ];
        assert_eq!(sum(workers.iter()), expected);
    }
}
