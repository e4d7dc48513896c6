//! Whom labels name that discovery does not know any more: their rows may be forgotten.

use crate::{
    description::{END_LABELS, SERVICE_LABELS, end_labels, service_labels},
    identity::Identity,
    metrics::{DESTINATION_END, DESTINATION_PRINCIPAL, Labels, SERVICE, SOURCE_END, SOURCE_PRINCIPAL},
    state::State,
};
use std::{collections::HashSet, sync::Arc};

/// Those who are named, until they are found.
#[derive(Default)]
struct Missing<'a> {
    ends: HashSet<[&'a str; END_LABELS]>,
    services: HashSet<[&'a str; SERVICE_LABELS]>,
    identities: HashSet<Identity>,
}

/// Of these label sets, those that name somebody who is gone. An identity that discovery does not
/// know, of a peer from elsewhere, always is: nobody will say when it has gone.
pub fn of_the_gone(state: &State, rows: &[Arc<Labels>]) -> Vec<Arc<Labels>> {
    let mut missing = Missing::default();
    rows.iter().for_each(|labels| missing.add(labels));
    missing.find(state);
    let gone = rows.iter().filter(|labels| missing.is_named_by(labels));
    gone.cloned().collect()
}

impl<'a> Missing<'a> {
    fn add(&mut self, labels: &'a Labels) {
        self.ends.extend(ends(labels));
        self.services.insert(service(labels));
        self.identities.extend(identities(labels));
    }

    /// One pass, for there are many more workloads than rows. Nobody is never missing.
    fn find(&mut self, state: &'a State) {
        self.ends.remove(&end_labels(None));
        self.services.remove(&service_labels(None));
        for workload in state.workloads() {
            self.ends.remove(&end_labels(Some(workload)));
            self.identities.remove(&workload.identity);
        }
        for service in state.services() {
            self.services.remove(&service_labels(Some(service)));
        }
    }

    fn is_named_by(&self, labels: &Labels) -> bool {
        ends(labels).iter().any(|end| self.ends.contains(end))
            || self.services.contains(&service(labels))
            || identities(labels).any(|identity| self.identities.contains(&identity))
    }
}

fn ends(labels: &Labels) -> [[&str; END_LABELS]; 2] {
    [SOURCE_END, DESTINATION_END].map(|places| places.map(|n| &*labels[n]))
}

fn service(labels: &Labels) -> [&str; SERVICE_LABELS] {
    SERVICE.map(|n| &*labels[n])
}

/// Without mutual TLS a principal is "unknown", which is none.
fn identities(labels: &Labels) -> impl Iterator<Item = Identity> {
    [SOURCE_PRINCIPAL, DESTINATION_PRINCIPAL]
        .into_iter()
        .filter_map(|n| labels[n].parse().ok())
}
