//! The open connections of one worker that a change of the mesh may end.
//!
//! A connection is judged once, when it comes, and enters the docket in the same breath. After a
//! change of the mesh the worker goes through its docket in one pass: per pod whose policies or
//! workload changed, the policies are gathered once and each connection is judged again; per
//! address whose owner changed, the tunnels to it. What stays allowed is not even woken up.

use crate::{
    connection::{Failure, Flag},
    identity::Identity,
    pod::Pod,
    policies::Policies,
    policy::{Attempt, Panel},
    state::{State, Workload},
    tally::{Effect, Tally},
};
use std::{
    cell::RefCell,
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
};
use tokio::sync::oneshot;

/// What a connection into a pod was judged by.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// From the verified certificate of a tunnel; none for plain TCP.
    pub source: Option<Identity>,
    pub source_ip: IpAddr,
    pub destination: SocketAddr,
}

impl Arrival {
    pub fn attempt(&self) -> Attempt<'_> {
        Attempt {
            source: self.source.as_ref(),
            source_ip: self.source_ip,
            destination: self.destination,
        }
    }
}

/// One worker's connections, by what a change has to concern to concern them.
#[derive(Default)]
pub struct Docket(RefCell<Cases>);

#[derive(Default)]
struct Cases {
    inbound: HashMap<Arc<str>, Arrivals>,
    outbound: HashMap<IpAddr, Departures>,
    /// Those of the last review.
    policies: Option<Arc<Policies>>,
    next: u64,
}

/// Connections into one pod.
struct Arrivals {
    name: String,
    namespace: String,
    /// As it was last known: what discovery has forgotten is still bound by its policies.
    workload: Arc<Workload>,
    cases: HashMap<u64, (Arrival, oneshot::Sender<String>)>,
}

/// Tunnelled connections to one address, with the identities that each of them accepts.
#[derive(Default)]
struct Departures {
    owner: Option<Arc<Workload>>,
    cases: HashMap<u64, (Vec<Identity>, oneshot::Sender<String>)>,
}

enum Key {
    Inbound(Arc<str>),
    Outbound(IpAddr),
}

/// A connection's place in the docket; leaves it when dropped.
pub struct Guard {
    docket: Rc<Docket>,
    key: Key,
    id: u64,
    cut: oneshot::Receiver<String>,
}

impl Guard {
    /// Returns when the connection has to end; never, if it may stay.
    pub async fn cut(&mut self) -> Failure {
        match (&mut self.cut).await {
            Ok(reason) => Failure::new(Flag::Deny, format!("connection closed due to policy change: {reason}")),
            Err(_) => std::future::pending().await, // it has been cut before, and whoever asks knows it
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.docket.0.borrow_mut().remove(&self.key, self.id);
    }
}

impl Docket {
    /// Watches over a connection into `pod` that was just allowed by the current snapshot.
    pub fn guard_arrival(self: &Rc<Self>, pod: &Pod, workload: &Arc<Workload>, arrival: Arrival) -> Guard {
        let (sender, cut) = oneshot::channel();
        let mut cases = self.0.borrow_mut();
        let id = cases.next_id();
        let arrivals = cases.inbound.entry(pod.uid.clone()).or_insert_with(|| Arrivals {
            name: pod.name.clone(),
            namespace: pod.namespace.clone(),
            workload: workload.clone(),
            cases: HashMap::new(),
        });
        arrivals.cases.insert(id, (arrival, sender));
        drop(cases);
        self.guard(Key::Inbound(pod.uid.clone()), id, cut)
    }

    /// Watches over a connection that the current snapshot routed to `target`, where one of
    /// `identities` is expected.
    pub fn guard_departure(self: &Rc<Self>, target: IpAddr, identities: &[Identity]) -> Guard {
        let (sender, cut) = oneshot::channel();
        let mut cases = self.0.borrow_mut();
        let id = cases.next_id();
        let departures = cases.outbound.entry(target).or_default();
        departures.owner = None; // this one has not been compared with it
        departures.cases.insert(id, (identities.to_vec(), sender));
        drop(cases);
        self.guard(Key::Outbound(target), id, cut)
    }

    fn guard(self: &Rc<Self>, key: Key, id: u64, cut: oneshot::Receiver<String>) -> Guard {
        let docket = self.clone();
        Guard { docket, key, id, cut }
    }

    /// Cuts what `state` no longer allows.
    pub fn review(&self, state: &State, tally: &Tally) {
        let mut cases = self.0.borrow_mut();
        let is_same = |last: &Arc<Policies>| Arc::ptr_eq(last, state.policies());
        let is_changed = !cases.policies.as_ref().is_some_and(is_same);
        cases.policies = Some(state.policies().clone());
        for arrivals in cases.inbound.values_mut() {
            arrivals.review(state, is_changed, tally);
        }
        for (ip, departures) in &mut cases.outbound {
            departures.review(*ip, state);
        }
    }
}

impl Cases {
    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn remove(&mut self, key: &Key, id: u64) {
        match key {
            Key::Inbound(pod) => {
                if let Some(arrivals) = self.inbound.get_mut(pod) {
                    arrivals.cases.remove(&id);
                    if arrivals.cases.is_empty() {
                        self.inbound.remove(pod);
                    }
                }
            }
            Key::Outbound(ip) => {
                if let Some(departures) = self.outbound.get_mut(ip) {
                    departures.cases.remove(&id);
                    if departures.cases.is_empty() {
                        self.outbound.remove(ip);
                    }
                }
            }
        }
    }
}

impl Arrivals {
    fn review(&mut self, state: &State, are_policies_changed: bool, tally: &Tally) {
        let known = state.workload_of_pod(&self.namespace, &self.name);
        let is_same = known.is_none_or(|known| Arc::ptr_eq(known, &self.workload));
        if is_same && !are_policies_changed {
            return;
        }
        if let Some(known) = known {
            self.workload = known.clone();
        }
        let panel = Panel::of(state, &self.workload);
        let mut verdicts = Vec::new();
        let refused = |_: &u64, (arrival, _): &mut (Arrival, _)| {
            let verdict = panel.judge(&arrival.attempt());
            let is_refused = !verdict.is_allowed;
            verdicts.extend(is_refused.then_some(verdict));
            is_refused
        };
        let cut: Vec<_> = self.cases.extract_if(refused).collect();
        for ((_, (_, sender)), verdict) in cut.into_iter().zip(verdicts) {
            tally.count(verdict.policy.as_deref(), Effect::Cut);
            let _ = sender.send(verdict.reason); // it may be ending by itself
        }
    }
}

impl Departures {
    fn review(&mut self, ip: IpAddr, state: &State) {
        match state.claimants_of(ip) {
            [] => {} // not known: neither allowed nor replaced by another
            [one] => {
                if self.owner.as_ref().is_some_and(|owner| Arc::ptr_eq(owner, one)) {
                    return;
                }
                self.owner = Some(one.clone());
                let reason = format!("{ip} is now {}, which is {}", one.uid, one.identity);
                self.cut(&reason, |accepted| !accepted.contains(&one.identity));
            }
            [one, other, ..] => {
                self.owner = None;
                let reason = format!("address {ip} is claimed by both {} and {}", one.uid, other.uid);
                self.cut(&reason, |_| true);
            }
        }
    }

    fn cut(&mut self, reason: &str, is_over: impl Fn(&[Identity]) -> bool) {
        for (_, (_, sender)) in self.cases.extract_if(|_, (accepted, _)| is_over(accepted)) {
            let _ = sender.send(reason.to_owned()); // it may be ending by itself
        }
    }
}

#[cfg(test)]
mod tests;
