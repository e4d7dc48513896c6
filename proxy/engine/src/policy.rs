//! May this connection reach its destination? The verdict over all policies that apply.
//!
//! Every doubt refuses: discovery that is not complete, a policy that the workload names but
//! nobody sent, one that this engine does not understand. Of what is understood, DENY comes
//! before ALLOW, and where there is any ALLOW, one of them has to match.

use std::net::{IpAddr, SocketAddr};

use crate::identity::Identity;
use crate::policies::Entry;
use crate::rules::{Action, Policy};
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `policy` is the ALLOW that matched, or none if there is none.
    Allowed {
        policy: Option<String>,
    },
    Refused {
        policy: Option<String>,
        reason: String,
    },
}

/// The verdict on `attempt` to reach `destination`, by the policies of `state`.
pub fn judge(state: &State, destination: &Workload, attempt: &Attempt) -> Verdict {
    if !state.is_complete() {
        return Verdict::Refused {
            policy: None,
            reason: NOT_COMPLETE.to_owned(),
        };
    }
    let mut enforced = Vec::new();
    for (name, entry) in state.policies().applying_to(destination) {
        match entry {
            None => return refused(name, format!("policy {name} is not known here")),
            Some(Entry::NotUnderstood(doubt)) if doubt.is_dry_run => {}
            Some(Entry::NotUnderstood(doubt)) => {
                return refused(name, format!("policy {name} is not understood: {}", doubt.reason));
            }
            Some(Entry::Understood(policy)) if policy.is_dry_run => {}
            Some(Entry::Understood(policy)) => enforced.push((name, policy.as_ref())),
        }
    }
    judge_by(&enforced, attempt)
}

fn judge_by(enforced: &[(&str, &Policy)], attempt: &Attempt) -> Verdict {
    let of = |action| enforced.iter().filter(move |(_, policy)| policy.action == action);
    if let Some((name, _)) = of(Action::Deny).find(|(_, policy)| policy.matches(attempt)) {
        return refused(name, format!("explicitly denied by: {name}"));
    }
    if of(Action::Allow).next().is_none() {
        return Verdict::Allowed { policy: None };
    }
    match of(Action::Allow).find(|(_, policy)| policy.matches(attempt)) {
        Some((name, _)) => Verdict::Allowed {
            policy: Some((*name).to_owned()),
        },
        None => Verdict::Refused {
            policy: None,
            reason: "allow policies exist, but none allowed".to_owned(),
        },
    }
}

fn refused(name: &str, reason: String) -> Verdict {
    Verdict::Refused {
        policy: Some(name.to_owned()),
        reason,
    }
}

#[cfg(test)]
mod tests;
