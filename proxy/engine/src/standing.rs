//! What is known of all policies of one workload before any connection comes.

use std::sync::{Arc, OnceLock};

use crate::policies::Doubt;
use crate::roll::Counts;

/// Good for one version of the policies only.
#[derive(Debug, Default)]
pub struct Standing {
    pub version: u64,
    /// Why nothing may pass at all: the first of these policies, and what is wrong with it.
    pub doubt: Option<(Arc<str>, String)>,
    /// Each policy counted once.
    pub counts: Counts,
    pub listed: Counts,
    /// The first of those that allow; worked out when one is asked for.
    pub allowing: OnceLock<Vec<Arc<str>>>,
    /// Listed, though meant for all workloads of somewhere else.
    pub strays: Vec<Arc<str>>,
}

impl Standing {
    /// A doubt of a dry run is none.
    pub fn doubt(&mut self, doubt: &Doubt) {
        if !doubt.is_dry_run {
            self.doubt_at(&doubt.key, || {
                format!("policy {} is not understood: {}", doubt.key, doubt.reason)
            });
        }
    }

    /// Of several the first by name stays.
    pub fn doubt_at(&mut self, name: &Arc<str>, reason: impl Fn() -> String) {
        if self.doubt.as_ref().is_none_or(|(first, _)| name < first) {
            self.doubt = Some((name.clone(), reason()));
        }
    }
}
