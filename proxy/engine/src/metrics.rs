//! Traffic counters by label set, with Istio's labels.
//!
//! Each worker counts for itself, so no cache line is shared; a reader adds the workers' rows up.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
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

/// Index of the label that is known only at the end.
pub const RESPONSE_FLAGS: usize = 21;

/// Values for `LABEL_NAMES`.
pub type Labels = [Cow<'static, str>; LABEL_NAMES.len()];

/// What is counted for one label set. Received is what the client sent, sent is what it got, for
/// both reporters.
#[derive(Debug, Default)]
pub struct Counters {
    pub opened: AtomicU64,
    pub closed: AtomicU64,
    pub failed: AtomicU64,
    pub received: AtomicU64,
    pub sent: AtomicU64,
}

/// A label set with opened, closed, failed, received and sent.
pub type Row = (Labels, [u64; 5]);

/// One worker's counters.
#[derive(Debug, Default)]
pub struct Metrics {
    rows: Mutex<HashMap<Labels, Arc<Counters>>>,
}

impl Metrics {
    /// The counters of a label set; kept by a connection, so that it looks them up once.
    pub fn counters(&self, labels: &Labels) -> Arc<Counters> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counters) = rows.get(labels) {
            return counters.clone();
        }
        rows.entry(labels.clone()).or_default().clone()
    }

    fn add_to(&self, sums: &mut HashMap<Labels, [u64; 5]>) {
        for (labels, counters) in self.rows.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let Counters {
                opened,
                closed,
                failed,
                received,
                sent,
            } = &**counters;
            let row = sums.entry(labels.clone()).or_default();
            for (sum, counter) in row.iter_mut().zip([opened, closed, failed, received, sent]) {
                *sum += counter.load(Relaxed);
            }
        }
    }
}

/// All workers' counters together, in no order.
pub fn sum<'a>(workers: impl Iterator<Item = &'a Metrics>) -> Vec<Row> {
    let mut sums = HashMap::new();
    workers.for_each(|metrics| metrics.add_to(&mut sums));
    sums.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_two_workers_with_the_same_labels_are_added_up() {
        let labels: Labels = std::array::from_fn(|_| "unknown".into());
        let workers = [Metrics::default(), Metrics::default()];
        workers[0].counters(&labels).sent.fetch_add(3, Relaxed);
        workers[1].counters(&labels).sent.fetch_add(4, Relaxed);
        workers[1].counters(&labels).opened.fetch_add(1, Relaxed);
        assert_eq!(sum(workers.iter()), vec![(labels, [1, 0, 0, 0, 7])]);
    }

    #[test]
    fn the_flags_label_is_where_its_index_says() {
        assert_eq!(LABEL_NAMES[RESPONSE_FLAGS], "response_flags");
    }
}
