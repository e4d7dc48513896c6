//! Which rules a connection may match, found without looking at all of them.
//!
//! Most rules name exactly who they are about, or which port. Each rule stands in the lists of
//! all (who, port) that it names, and a connection looks into the few lists of what it is; where
//! a rule does not say, or not exactly, it stands in a list that is looked into always. A list
//! is found by a hash alone, and a rule in it is always evaluated whole: standing in a list too
//! many costs time, never a wrong verdict.
//!
//! A change of one policy changes the lists of its own rules; snapshots share the others.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::index::{Claimant, Claims};
use crate::keys::{Who, ports_of, whos_of, whos_that_are};
use crate::listing::{Listing, namespace_of};
use crate::rules::{Effect, Facts, Policy, Rule, Scope};

/// A rule stands in one list for each pair of a who and a port only while the pairs are few;
/// else its ports are passed over. So the lists hold little more than the rules themselves.
const SPARE_PAIRS: usize = 16;

/// The rules of all policies, by what has to be true of a connection for them to match.
#[derive(Clone, Default)]
pub struct Candidates {
    lists: Claims<u64, Candidate>,
    hasher: RandomState,
    /// How many prefixes there are of each family and length; no list of another is looked for.
    lengths: BTreeMap<(bool, u32), usize>,
}

/// A place where policies are found.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Reach<'a> {
    Mesh,
    Namespace(&'a str),
    /// Policies of one namespace, for the workloads that list them.
    Listed(&'a str),
}

/// A policy's rules that stand in one list.
#[derive(Clone)]
struct Candidate {
    policy: Arc<Policy>,
    rules: Arc<[u32]>,
}

impl Claimant for Candidate {
    fn key(&self) -> &str {
        &self.policy.key
    }
}

/// The first match, by the name of its policy and then by its rule, counted from 0.
pub type Found<'a> = (&'a Arc<Policy>, usize);

/// What is asked of the lists for one connection: the hashes of all that it is.
pub struct Question {
    hashes: Vec<u64>,
}

impl Candidates {
    pub fn insert(&mut self, policy: &Arc<Policy>) {
        self.count_lengths(policy, |count| *count += 1);
        for (list, rules) in self.places(policy) {
            let candidate = Candidate {
                policy: policy.clone(),
                rules: rules.into(),
            };
            self.lists.insert(list, candidate);
        }
    }

    /// `policy` is one that was inserted.
    pub fn remove(&mut self, policy: &Policy) {
        self.count_lengths(policy, |count| *count -= 1);
        self.lengths.retain(|_, count| *count > 0);
        for list in self.places(policy).into_keys() {
            self.lists.remove(&list, &policy.key);
        }
    }

    /// What to ask `find` for a connection.
    pub fn question(&self, facts: &Facts) -> Question {
        let whos = whos_that_are(facts, self.lengths.keys().copied());
        let port = facts.attempt.destination.port();
        let pairs = whos.iter().flat_map(|who| [(who, None), (who, Some(port))]);
        Question {
            hashes: pairs.map(|pair| self.hasher.hash_one(pair)).collect(),
        }
    }

    /// The first match among the policies of an effect and a reach; those of a listing only if it has them.
    pub fn find<'a>(
        &'a self,
        (effect, reach): (Effect, Reach),
        listing: &Listing,
        question: &Question,
        facts: &Facts,
    ) -> Option<Found<'a>> {
        let place = self.hasher.hash_one((effect, reach));
        let mut best: Option<Found> = None;
        for hash in &question.hashes {
            let list = self.lists.of(&joined(place, *hash));
            match reach {
                // The shorter of the two is gone through.
                Reach::Listed(_) if listing.names().len() * 8 < list.len() => {
                    for name in listing.names() {
                        if let Ok(at) = list.binary_search_by(|one| one.policy.key.cmp(name)) {
                            best = list[at].better(best, effect, facts);
                        }
                    }
                }
                _ => {
                    let stands = |one: &&Candidate| one.policy.is_in(reach, listing);
                    for one in list.iter().filter(stands) {
                        if best.is_some_and(|(policy, _)| policy.key < one.policy.key) {
                            break;
                        }
                        best = one.better(best, effect, facts);
                    }
                }
            }
        }
        best
    }

    /// The lists that the policy's rules stand in.
    fn places(&self, policy: &Policy) -> HashMap<u64, Vec<u32>> {
        let place = self.hasher.hash_one((policy.effect, policy.reach()));
        let mut places: HashMap<u64, Vec<u32>> = HashMap::new();
        for (number, rule) in policy.rules.iter().enumerate() {
            for pair in pairs_of(rule) {
                let rules = places.entry(joined(place, self.hasher.hash_one(pair))).or_default();
                if rules.last() != Some(&(number as u32)) {
                    rules.push(number as u32);
                }
            }
        }
        places
    }

    fn count_lengths(&mut self, policy: &Policy, change: impl Fn(&mut usize)) {
        for who in policy.rules.iter().flat_map(whos_of) {
            if let Who::Address(prefix) = who {
                change(self.lengths.entry((prefix.is_v6(), prefix.length())).or_default());
            }
        }
    }
}

impl Candidate {
    /// The better one of `best` and the first of these rules that holds.
    fn better<'a>(&'a self, best: Option<Found<'a>>, effect: Effect, facts: &Facts) -> Option<Found<'a>> {
        if self.policy.effect != effect {
            return best;
        }
        let mut numbers = self.rules.iter().map(|number| *number as usize);
        let Some(number) = numbers.find(|number| self.policy.rules[*number].holds(facts)) else {
            return best;
        };
        let found = (&self.policy, number);
        let is_better = |(policy, rule): Found| (&*self.policy.key, number) < (&*policy.key, rule);
        if best.is_none_or(is_better) { Some(found) } else { best }
    }
}

impl Policy {
    fn reach(&self) -> Reach<'_> {
        match self.scope {
            Scope::Mesh => Reach::Mesh,
            Scope::Namespace => Reach::Namespace(&self.namespace),
            Scope::Selected => Reach::Listed(namespace_of(&self.key)),
        }
    }

    fn is_in(&self, reach: Reach, listing: &Listing) -> bool {
        match (self.scope, reach) {
            (Scope::Mesh, Reach::Mesh) => true,
            (Scope::Namespace, Reach::Namespace(namespace)) => self.namespace == namespace,
            (Scope::Selected, Reach::Listed(_)) => listing.has(&self.key),
            _ => false,
        }
    }
}

/// One hash of two; the inputs are random enough for anything simple.
fn joined(one: u64, other: u64) -> u64 {
    (one ^ other.rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn pairs_of(rule: &Rule) -> Vec<(Who<'_>, Option<u16>)> {
    let (whos, ports) = (whos_of(rule), ports_of(rule));
    let ports = match whos.len() * ports.len() <= whos.len() + ports.len() + SPARE_PAIRS {
        true => ports,
        false => vec![None],
    };
    whos.iter()
        .flat_map(|who| ports.iter().map(|port| (*who, *port)))
        .collect()
}
