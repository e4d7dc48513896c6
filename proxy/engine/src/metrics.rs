//! Traffic counters by label set, with Istio's labels.
//!
//! Each worker counts for itself, so no cache line is shared; a reader adds the workers' rows up.
//! A row leaves all workers at once: a sum that fell would be taken for a restart.

use crate::{
    catalogue::Catalogue,
    description::{END_LABELS, SERVICE_LABELS},
    expiry::Reported,
};
use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

/// The labels of every traffic metric, in the order in which `Labels` holds their values.
pub const LABEL_NAMES: [&str; 27] = [
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_service",
    "destination_service_namespace",
    "destination_service_name",
    "destination_workload",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
    "source_region",
    "source_zone",
    "destination_region",
    "destination_zone",
];

/// Where the labels stand that are spoken of by name.
pub const REPORTER: usize = 0;
pub const SOURCE_WORKLOAD: usize = 1;
pub const SOURCE_PRINCIPAL: usize = 5;
pub const DESTINATION_PRINCIPAL: usize = 16;
pub const REQUEST_PROTOCOL: usize = 20;
/// Known only at the end.
pub const RESPONSE_FLAGS: usize = 21;
pub const CONNECTION_SECURITY_POLICY: usize = 22;
/// What says who an end is, as `description::end_labels` has it; the service likewise.
pub const SOURCE_END: [usize; END_LABELS] = [1, 2, 3, 4, 8, 23, 24];
pub const DESTINATION_END: [usize; END_LABELS] = [12, 13, 14, 15, 19, 25, 26];
pub const SERVICE: [usize; SERVICE_LABELS] = [9, 10, 11];
pub const SOURCE_APP_AND_VERSION: [usize; 2] = [6, 7];
pub const DESTINATION_APP_AND_VERSION: [usize; 2] = [17, 18];
/// Region and zone of both ends, which are left out when nothing is known of any.
const LOCALITY: usize = 23;

/// Values for `LABEL_NAMES`.
pub type Labels = [Cow<'static, str>; LABEL_NAMES.len()];

/// Names and values as they are exposed.
pub fn exposed(labels: &Labels) -> impl Iterator<Item = (&'static str, &str)> {
    let is_anywhere = labels[LOCALITY..].iter().any(|value| value != UNKNOWN);
    let shown = if is_anywhere { labels.len() } else { LOCALITY };
    LABEL_NAMES
        .into_iter()
        .zip(labels.iter().map(|value| &**value))
        .take(shown)
}

/// The value of a label that nothing is known for.
pub const UNKNOWN: &str = "unknown";

/// What is counted for one label set. Received is what the client sent, sent is what it got, for
/// both reporters.
#[derive(Debug, Default)]
pub struct Counters {
    pub opened: AtomicU64,
    pub closed: AtomicU64,
    pub failed: AtomicU64,
    pub received: AtomicU64,
    pub sent: AtomicU64,
    /// Connections that are open now. Not opened minus closed: these may end with another flag.
    pub open: AtomicU64,
}

/// Opened, closed, failed, received, sent, and how many are open.
pub type Counts = [u64; 6];

impl Counters {
    fn counts(&self) -> Counts {
        let Self {
            opened,
            closed,
            failed,
            received,
            sent,
            open,
        } = self;
        [opened, closed, failed, received, sent, open].map(|counter| counter.load(Relaxed))
    }
}

/// A label set with what all workers have counted for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub labels: Arc<Labels>,
    pub counts: Counts,
    /// Reported unchanged for long, and no connection uses it.
    pub is_idle: bool,
}

#[derive(Debug, Default)]
struct Kept {
    counters: Arc<Counters>,
    reported: Reported<Counts>,
}

impl Kept {
    fn is_held(&self) -> bool {
        // Whoever counts got its clone under the lock of the rows, which the caller has.
        Arc::strong_count(&self.counters) > 1
    }

    /// Whether nothing has happened since it was reported.
    fn is_as_reported(&self) -> bool {
        !self.is_held() && self.reported.is(&self.counters.counts())
    }
}

type Rows = HashMap<Arc<Labels>, Kept>;

/// One worker's counters.
#[derive(Debug)]
pub struct Metrics {
    catalogue: Arc<Catalogue>,
    rows: Mutex<Rows>,
}

impl Metrics {
    /// The catalogue is that of all workers.
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        let rows = Mutex::default();
        Self { catalogue, rows }
    }

    /// The counters of a label set; kept by a connection, so that it looks them up once.
    pub fn counters(&self, labels: &Labels) -> Arc<Counters> {
        let mut rows = self.locked();
        if let Some(row) = rows.get(labels) {
            return row.counters.clone();
        }
        let entry = self.catalogue.enter(labels);
        rows.entry(entry).or_default().counters.clone()
    }

    fn locked(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, now: Instant, sums: &mut HashMap<Arc<Labels>, (Counts, bool)>) {
        for (labels, row) in &mut *self.locked() {
            let counts = row.counters.counts();
            let is_idle = row.reported.report(counts, now) && !row.is_held();
            let (sum, are_idle) = sums.entry(labels.clone()).or_insert_with(|| (Counts::default(), true));
            *are_idle &= is_idle;
            for (sum, count) in sum.iter_mut().zip(counts) {
                *sum += count;
            }
        }
    }
}

/// All workers' counters together, in no order; they count as reported at `now`.
pub fn report<'a>(workers: impl Iterator<Item = &'a Metrics>, now: Instant) -> Vec<Row> {
    let mut sums = HashMap::new();
    workers.for_each(|metrics| metrics.report(now, &mut sums));
    let row = |(labels, (counts, is_idle))| Row {
        labels,
        counts,
        is_idle,
    };
    sums.into_iter().map(row).collect()
}

/// Takes rows out of all workers, but for those that have been used since they were reported.
pub fn forget<'a>(workers: impl Iterator<Item = &'a Metrics>, stale: &[Arc<Labels>]) {
    let workers: Vec<_> = workers.collect();
    // Always in the same order, and never by a worker that holds its own.
    let mut locked: Vec<_> = workers.iter().map(|metrics| metrics.locked()).collect();
    for labels in stale {
        if locked
            .iter()
            .all(|rows| rows.get(labels).is_none_or(Kept::is_as_reported))
        {
            for rows in &mut locked {
                rows.remove(labels);
            }
            workers[0].catalogue.remove(labels);
        }
    }
}

#[cfg(test)]
mod tests;
