//! May this connection reach its destination? The verdict over all policies that apply.
//!
//! Every doubt refuses: discovery that is not complete, a policy that the workload names but
//! nobody sent, one that this engine does not understand. Of what is understood, DENY comes
//! before ALLOW, and where there is any ALLOW, one of them has to match. Of several policies that
//! match, the first by name decides, and its first rule.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::candidates::{Found, Question};
use crate::grounds::{self, Failing};
use crate::identity::Identity;
use crate::policies::Policies;
use crate::roll::Counts;
use crate::rules::{Effect, Facts, Policy};
use crate::standing::Standing;
use crate::state::{NOT_COMPLETE, State};
use crate::workload::Workload;

/// Policies that a refusal names of those that did not allow.
const NAMED: usize = 5;
/// Rules of each policy among which the nearest one is looked for.
const NEAREST_RULES: usize = 16;
/// Policies of each effect that an explanation goes into.
const CONSIDERED: usize = 10;

/// A connection that wants in.
pub struct Attempt<'a> {
    /// From the verified certificate of a tunnel; none for plain TCP.
    pub source: Option<&'a Identity>,
    pub source_ip: IpAddr,
    /// Where the connection will go: the workload's address, the port of its app.
    pub destination: SocketAddr,
}

/// Whether a connection may be, and what decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub is_allowed: bool,
    /// The policy that decided; none if it was the lack of one.
    pub policy: Option<Arc<str>>,
    /// Which of the policy's rules matched, counted from 0.
    pub rule: Option<usize>,
    /// What of the rule it was, as policies are written; where no ALLOW policy matched, what the
    /// nearest one lacked. Known of refusals, and of all that is explained.
    pub field: Option<String>,
    pub reason: String,
    pub trial: Option<Trial>,
}

/// What the dry-run policies would have made of a connection, where that is another thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    pub is_allowed: bool,
    /// As in a verdict.
    pub policy: Option<Arc<str>>,
}

/// What one policy says of a connection, whatever the others do.
pub struct Considered<'a> {
    pub policy: &'a Policy,
    pub is_match: bool,
    /// The rule that matched, or the one that lacked least.
    pub rule: Option<usize>,
    pub field: Option<String>,
    /// What the connection had, if it did not match.
    pub lack: Option<String>,
}

impl<'a> Considered<'a> {
    fn new(policy: &'a Policy, facts: &Facts) -> Considered<'a> {
        if let Some(rule) = policy.matching_rule(facts) {
            return Considered {
                policy,
                is_match: true,
                rule: Some(rule),
                field: Some(grounds::deciding(&policy.rules[rule], facts)),
                lack: None,
            };
        }
        let nearest = grounds::nearest(policy, NEAREST_RULES, facts);
        Considered {
            policy,
            is_match: false,
            rule: nearest.rule,
            field: nearest.field,
            lack: Some(nearest.text),
        }
    }
}

/// The verdict on `attempt` to reach `destination`, by the policies of `state`.
pub fn judge(state: &State, destination: &Workload, attempt: &Attempt) -> Verdict {
    Panel::of(state, destination).judge(attempt)
}

/// The policies in force for one workload, to judge many attempts by.
pub struct Panel<'a> {
    policies: &'a Policies,
    workload: &'a Workload,
    standing: Arc<Standing>,
    is_complete: bool,
}

impl<'a> Panel<'a> {
    pub fn of(state: &'a State, destination: &'a Workload) -> Panel<'a> {
        Panel {
            policies: state.policies(),
            workload: destination,
            standing: state.policies().standing(destination),
            is_complete: state.is_complete(),
        }
    }

    pub fn judge(&self, attempt: &Attempt) -> Verdict {
        self.decide(attempt, false)
    }

    /// The same verdict, and of an allowed connection too the field that decided.
    pub fn explain(&self, attempt: &Attempt) -> Verdict {
        self.decide(attempt, true)
    }

    fn decide(&self, attempt: &Attempt, is_explained: bool) -> Verdict {
        if !self.is_complete {
            return refused(None, None, NOT_COMPLETE.to_owned());
        }
        if let Some((name, reason)) = &self.standing.doubt {
            return refused(Some(name), None, reason.clone());
        }
        let facts = Facts::of(attempt);
        let question = self.policies.question(&facts);
        let case = Case {
            panel: self,
            facts: &facts,
            question: &question,
        };
        let mut verdict = case.verdict(is_explained);
        verdict.trial = case.trial(&verdict);
        verdict
    }

    /// The policies that `attempt` was held against, some of each effect, and how many more there are.
    pub fn considered(&self, attempt: &Attempt) -> (Vec<Considered<'a>>, usize) {
        let facts = Facts::of(attempt);
        let mut taken = Counts::default();
        let mut take = |policy: &&'a Arc<Policy>| taken.add_one(policy.effect) <= CONSIDERED;
        let policies = self.policies.applying_to(self.workload).filter(|policy| take(policy));
        let considered = policies.map(|policy| Considered::new(policy, &facts));
        let considered: Vec<_> = considered.collect();
        let more = self.standing.counts.sum() - considered.len();
        (considered, more)
    }

    fn has_any(&self, effect: Effect) -> bool {
        self.standing.counts.of(effect) > 0
    }
}

/// One attempt before one panel.
struct Case<'a> {
    panel: &'a Panel<'a>,
    facts: &'a Facts<'a>,
    question: &'a Question,
}

impl Case<'_> {
    fn verdict(&self, is_explained: bool) -> Verdict {
        if let Some((policy, rule)) = self.find(Effect::DENY) {
            let name = &policy.key;
            let field = grounds::deciding(&policy.rules[rule], self.facts);
            let reason = format!("explicitly denied by: {name} (rule {rule}: {field})");
            return Verdict {
                field: Some(field),
                ..refused(Some(name), Some(rule), reason)
            };
        }
        if !self.panel.has_any(Effect::ALLOW) {
            return allowed(None, None, "no allow policy applies".to_owned());
        }
        match self.find(Effect::ALLOW) {
            Some((policy, rule)) => Verdict {
                field: is_explained.then(|| grounds::deciding(&policy.rules[rule], self.facts)),
                ..allowed(
                    Some(&policy.key),
                    Some(rule),
                    format!("explicitly allowed by: {}", policy.key),
                )
            },
            None => self.unallowed(),
        }
    }

    fn trial(&self, verdict: &Verdict) -> Option<Trial> {
        let (deny, allow) = (Effect::DENY.dry_run(), Effect::ALLOW.dry_run());
        if !self.panel.has_any(deny) && !self.panel.has_any(allow) {
            return None;
        }
        let becomes = |is_allowed: bool, policy: Option<&Arc<str>>| {
            let policy = policy.cloned();
            Some(Trial { is_allowed, policy })
        };
        let denied = self.find(deny);
        match (verdict.is_allowed, denied) {
            (true, Some((policy, _))) => becomes(false, Some(&policy.key)),
            (true, None) => {
                let is_new = self.panel.has_any(allow) && !self.panel.has_any(Effect::ALLOW);
                let is_unallowed = is_new && self.find(allow).is_none();
                is_unallowed.then(|| becomes(false, None)).flatten()
            }
            (false, None) if verdict.policy.is_none() => self
                .find(allow)
                .and_then(|(policy, _)| becomes(true, Some(&policy.key))),
            (false, _) => None,
        }
    }

    fn find(&self, effect: Effect) -> Option<Found<'_>> {
        let panel = self.panel;
        panel
            .policies
            .find(effect, panel.workload, &panel.standing, self.question, self.facts)
    }

    /// There are ALLOW policies, and none matched: names some, and what the nearest lacks.
    fn unallowed(&self) -> Verdict {
        let panel = self.panel;
        let looked_at = panel.policies.first_allowing(panel.workload, &panel.standing);
        let failing = looked_at
            .iter()
            .map(|policy| (policy, grounds::nearest(policy, NEAREST_RULES, self.facts)));
        let nearest = failing.min_by_key(|(_, failing)| failing.fields);
        let count = panel.standing.counts.of(Effect::ALLOW);
        let reason = format!(
            "allow policies exist, but none allowed ({}; nearest: {})",
            names(&looked_at, count),
            nearest
                .as_ref()
                .map_or_else(String::new, |(policy, failing)| lacking(policy, failing))
        );
        Verdict {
            field: nearest.and_then(|(_, failing)| failing.field),
            ..refused(None, None, reason)
        }
    }
}

/// The first few names, and how many more there are.
fn names(policies: &[Arc<Policy>], count: usize) -> String {
    let some: Vec<&str> = policies.iter().take(NAMED).map(|policy| &*policy.key).collect();
    match count - some.len() {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

fn lacking(policy: &Policy, failing: &Failing) -> String {
    match failing.rule {
        None => format!("{}: {}", policy.key, failing.text),
        Some(rule) => format!("{} rule {rule}: {}", policy.key, failing.text),
    }
}

fn allowed(policy: Option<&Arc<str>>, rule: Option<usize>, reason: String) -> Verdict {
    Verdict {
        is_allowed: true,
        policy: policy.cloned(),
        rule,
        field: None,
        reason,
        trial: None,
    }
}

fn refused(policy: Option<&Arc<str>>, rule: Option<usize>, reason: String) -> Verdict {
    Verdict {
        is_allowed: false,
        ..allowed(policy, rule, reason)
    }
}

#[cfg(test)]
mod tests;
