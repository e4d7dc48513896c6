//! Whom discovery knows now, in the words of the labels: a row about anybody else may be forgotten.

use crate::{
    description::{END_LABELS, SERVICE_LABELS, end_labels, service_labels},
    identity::Identity,
    metrics::{DESTINATION_END, DESTINATION_PRINCIPAL, Labels, SERVICE, SOURCE_END, SOURCE_PRINCIPAL},
    state::State,
};
use std::collections::HashSet;

/// The ends, services and identities that labels may name; nobody is one of each.
pub struct Census<'a> {
    ends: HashSet<[&'a str; END_LABELS]>,
    services: HashSet<[&'a str; SERVICE_LABELS]>,
    identities: HashSet<&'a Identity>,
}

impl<'a> Census<'a> {
    pub fn of(state: &'a State) -> Self {
        let nobody = std::iter::once(end_labels(None));
        let no_service = std::iter::once(service_labels(None));
        Self {
            ends: state
                .workloads()
                .map(|one| end_labels(Some(one)))
                .chain(nobody)
                .collect(),
            services: state
                .services()
                .map(|one| service_labels(Some(one)))
                .chain(no_service)
                .collect(),
            identities: state.workloads().map(|one| &one.identity).collect(),
        }
    }

    /// Whether everybody whom these labels name is still there. An identity that discovery does
    /// not know, of a peer from elsewhere, never is: nobody will say when it has gone.
    pub fn knows(&self, labels: &Labels) -> bool {
        self.ends.contains(&SOURCE_END.map(|n| &*labels[n]))
            && self.ends.contains(&DESTINATION_END.map(|n| &*labels[n]))
            && self.services.contains(&SERVICE.map(|n| &*labels[n]))
            && self.knows_identity(&labels[SOURCE_PRINCIPAL])
            && self.knows_identity(&labels[DESTINATION_PRINCIPAL])
    }

    fn knows_identity(&self, principal: &str) -> bool {
        // What is no identity is "unknown": no mutual TLS.
        principal
            .parse()
            .map_or(true, |identity: Identity| self.identities.contains(&identity))
    }
}
