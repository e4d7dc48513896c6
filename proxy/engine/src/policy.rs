//! May this connection reach its destination? The verdict over all policies that apply.
//!
//! Every doubt refuses: discovery that is not complete, a policy that the workload names but
//! nobody sent, one that this engine does not understand. Of what is understood, DENY comes
//! before ALLOW, and where there is any ALLOW, one of them has to match.

use std::net::{IpAddr, SocketAddr};

use crate::identity::Identity;
use crate::policies::Entry;
use crate::rules::{Action, Facts, Policy};
use crate::state::{NOT_COMPLETE, State};
use crate::workload::Workload;

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
    pub policy: Option<String>,
    /// Which of the policy's rules matched, counted from 0.
    pub rule: Option<usize>,
    pub reason: String,
}

/// The verdict on `attempt` to reach `destination`, by the policies of `state`.
pub fn judge(state: &State, destination: &Workload, attempt: &Attempt) -> Verdict {
    Panel::of(state, destination).judge(attempt)
}

/// The policies in force for one workload, gathered once to judge many attempts.
pub struct Panel<'a> {
    denying: Vec<(&'a str, &'a Policy)>,
    allowing: Vec<(&'a str, &'a Policy)>,
    /// Why nothing may pass at all.
    doubt: Option<Verdict>,
}

impl<'a> Panel<'a> {
    pub fn of(state: &'a State, destination: &'a Workload) -> Panel<'a> {
        let mut panel = Panel {
            denying: Vec::new(),
            allowing: Vec::new(),
            doubt: None,
        };
        if !state.is_complete() {
            panel.doubt = Some(refused(None, None, NOT_COMPLETE.to_owned()));
            return panel;
        }
        for (name, entry) in state.policies().applying_to(destination) {
            match entry {
                None => return panel.doubting(name, format!("policy {name} is not known here")),
                Some(Entry::NotUnderstood(doubt)) if doubt.is_dry_run => {}
                Some(Entry::NotUnderstood(doubt)) => {
                    return panel.doubting(name, format!("policy {name} is not understood: {}", doubt.reason));
                }
                Some(Entry::Understood(policy)) if policy.is_dry_run => {}
                Some(Entry::Understood(policy)) => match policy.action {
                    Action::Deny => panel.denying.push((name, policy)),
                    Action::Allow => panel.allowing.push((name, policy)),
                },
            }
        }
        panel
    }

    fn doubting(mut self, name: &str, reason: String) -> Panel<'a> {
        self.doubt = Some(refused(Some(name), None, reason));
        self
    }

    pub fn judge(&self, attempt: &Attempt) -> Verdict {
        if let Some(doubt) = &self.doubt {
            return doubt.clone();
        }
        let facts = Facts::of(attempt);
        if let Some((name, rule)) = first_match(&self.denying, &facts) {
            return refused(Some(name), Some(rule), format!("explicitly denied by: {name}"));
        }
        if self.allowing.is_empty() {
            return allowed(None, None, "no allow policy applies".to_owned());
        }
        match first_match(&self.allowing, &facts) {
            Some((name, rule)) => allowed(Some(name), Some(rule), format!("explicitly allowed by: {name}")),
            None => refused(None, None, "allow policies exist, but none allowed".to_owned()),
        }
    }
}

fn first_match<'a>(policies: &[(&'a str, &Policy)], facts: &Facts) -> Option<(&'a str, usize)> {
    policies
        .iter()
        .find_map(|(name, policy)| Some((*name, policy.matching_rule(facts)?)))
}

fn allowed(name: Option<&str>, rule: Option<usize>, reason: String) -> Verdict {
    Verdict {
        is_allowed: true,
        policy: name.map(str::to_owned),
        rule,
        reason,
    }
}

fn refused(name: Option<&str>, rule: Option<usize>, reason: String) -> Verdict {
    Verdict {
        is_allowed: false,
        ..allowed(name, rule, reason)
    }
}

#[cfg(test)]
mod tests;
