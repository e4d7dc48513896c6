//! The label sets that have rows in any worker, and the most there may be.
//!
//! Names of peers come from discovery and from certificates, so a node proxy does not choose how
//! many there are. Beyond the limit a connection is counted in a row whose names are all
//! `overflow`, by reporter, flag and security; `overflown` says how often.

use crate::metrics::{CONNECTION_SECURITY_POLICY, Labels, REPORTER, REQUEST_PROTOCOL, RESPONSE_FLAGS};
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Label sets of one node proxy. With five counters each, a scrape of that many is about 50 MB.
pub const MOST: usize = 10_000;
const OVERFLOW: &str = "overflow";
/// The labels that have few values, whoever the peers are.
const OWN: [usize; 4] = [REPORTER, REQUEST_PROTOCOL, RESPONSE_FLAGS, CONNECTION_SECURITY_POLICY];

/// Shared by the workers. Whoever holds the lock of a worker's rows may wait for this one, never
/// the other way round.
#[derive(Debug, Default)]
pub struct Catalogue {
    entries: Mutex<HashSet<Arc<Labels>>>,
    overflown: AtomicU64,
}

impl Catalogue {
    /// The entry for these labels, or the one that stands for all that found no room.
    pub fn enter(&self, labels: &Labels) -> Arc<Labels> {
        let mut entries = self.locked();
        if let Some(entry) = entries.get(labels) {
            return entry.clone();
        }
        if entries.len() < MOST {
            return inserted(&mut entries, labels.clone());
        }
        self.overflown.fetch_add(1, Relaxed);
        let overflow = overflow(labels);
        match entries.get(&overflow) {
            Some(entry) => entry.clone(),
            None => inserted(&mut entries, overflow),
        }
    }

    /// The label set has no row any more.
    pub fn remove(&self, labels: &Labels) {
        self.locked().remove(labels);
    }

    /// How often there was no room.
    pub fn overflown(&self) -> u64 {
        self.overflown.load(Relaxed)
    }

    fn locked(&self) -> MutexGuard<'_, HashSet<Arc<Labels>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn inserted(entries: &mut HashSet<Arc<Labels>>, labels: Labels) -> Arc<Labels> {
    let entry = Arc::new(labels);
    entries.insert(entry.clone());
    entry
}

fn overflow(labels: &Labels) -> Labels {
    std::array::from_fn(|n| match OWN.contains(&n) {
        true => labels[n].clone(),
        false => OVERFLOW.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::SOURCE_WORKLOAD;

    fn of(reporter: &'static str, peer: usize) -> Labels {
        let mut labels: Labels = std::array::from_fn(|_| "unknown".into());
        labels[REPORTER] = reporter.into();
        labels[SOURCE_WORKLOAD] = peer.to_string().into();
        labels
    }

    #[test]
    fn beyond_the_limit_all_share_a_row_for_each_reporter() {
        let catalogue = Catalogue::default();
        for peer in 0..MOST {
            assert_eq!(*catalogue.enter(&of("source", peer)), of("source", peer));
        }
        assert_eq!(catalogue.overflown(), 0);
        let source = catalogue.enter(&of("source", MOST));
        assert!(Arc::ptr_eq(&source, &catalogue.enter(&of("source", MOST + 1))));
        assert_eq!((&*source[REPORTER], &*source[SOURCE_WORKLOAD]), ("source", "overflow"));
        assert_ne!(catalogue.enter(&of("destination", MOST)), source);
        assert_eq!(catalogue.overflown(), 3);
        assert_eq!(*catalogue.enter(&of("source", 0)), of("source", 0), "those in it stay");
    }

    #[test]
    fn what_is_removed_makes_room() {
        let catalogue = Catalogue::default();
        for peer in 0..MOST {
            catalogue.enter(&of("source", peer));
        }
        catalogue.remove(&of("source", 7));
        assert_eq!(*catalogue.enter(&of("source", MOST)), of("source", MOST));
    }
}
