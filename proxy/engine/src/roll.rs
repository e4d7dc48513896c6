//! The policies of one reach, and how many there are of each effect.

use std::sync::Arc;

use crate::policies::{Doubt, Entry};
use crate::rules::{Effect, Policy};

/// What applies to a workload without its naming it, each in the order of the names.
#[derive(Clone, Default)]
pub struct Roll {
    pub understood: Vec<Arc<Policy>>,
    pub doubtful: Vec<Arc<Doubt>>,
    /// How many of each effect.
    pub counts: Counts,
}

/// How many policies there are of each effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([usize; 4]);

impl Counts {
    pub fn of(&self, effect: Effect) -> usize {
        self.0[Self::place(effect)]
    }

    /// How many there are of it now.
    pub fn add_one(&mut self, effect: Effect) -> usize {
        let count = &mut self.0[Self::place(effect)];
        *count += 1;
        *count
    }

    pub fn sum(&self) -> usize {
        self.0.iter().sum()
    }

    fn place(effect: Effect) -> usize {
        effect.action as usize * 2 + usize::from(effect.is_dry_run)
    }

    pub fn add(&mut self, other: &Counts) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

impl Roll {
    pub fn is_empty(&self) -> bool {
        self.understood.is_empty() && self.doubtful.is_empty()
    }

    pub fn insert(&mut self, entry: &Entry) {
        match entry {
            Entry::Understood(policy) => {
                self.counts.add_one(policy.effect);
                insert_at(&mut self.understood, policy, |one| &one.key);
            }
            Entry::NotUnderstood(doubt) => insert_at(&mut self.doubtful, doubt, |one| &one.key),
        }
    }

    pub fn remove(&mut self, entry: &Entry) {
        match entry {
            Entry::Understood(policy) => {
                self.counts.0[Counts::place(policy.effect)] -= 1;
                remove_at(&mut self.understood, &policy.key, |one| &one.key);
            }
            Entry::NotUnderstood(doubt) => remove_at(&mut self.doubtful, &doubt.key, |one| &one.key),
        }
    }
}

fn insert_at<T>(list: &mut Vec<Arc<T>>, new: &Arc<T>, key: impl Fn(&T) -> &Arc<str>) {
    let at = list.partition_point(|one| key(one) < key(new));
    list.insert(at, new.clone());
}

fn remove_at<T>(list: &mut Vec<Arc<T>>, gone: &str, key: impl Fn(&T) -> &Arc<str>) {
    if let Ok(at) = list.binary_search_by(|one| (**key(one)).cmp(gone)) {
        list.remove(at);
    }
}
