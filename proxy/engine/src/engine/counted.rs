//! What the engine has counted, and how much of it goes into the access log.

use super::Engine;
use crate::{
    access_log::Level,
    census,
    connection::Ledger,
    durations,
    error::Error,
    metrics::{self, Row},
    sockets_open, tally,
};
use std::{collections::BTreeSet, time::Instant};

impl Engine {
    /// All rows of traffic; those of peers that are gone leave after they have been reported long enough.
    pub fn metrics(&self) -> Vec<Row> {
        let workers = || self.ledgers().map(|ledger| &ledger.metrics);
        let rows = metrics::report(workers(), Instant::now());
        let idle: Vec<_> = rows
            .iter()
            .filter(|row| row.is_idle)
            .map(|row| row.labels.clone())
            .collect();
        if !idle.is_empty() {
            let gone = census::of_the_gone(&self.shared.store.load(), &idle);
            metrics::forget(workers(), &gone);
        }
        rows
    }

    /// How often there was no room for another row of traffic.
    pub fn metrics_overflown(&self) -> u64 {
        self.catalogue.overflown()
    }

    /// How often each policy decided: (policy, effect, count). Policies that are gone leave as
    /// rows of traffic do.
    pub fn policy_counts(&self) -> Vec<(String, &'static str, u64)> {
        let workers = || self.ledgers().map(|ledger| &ledger.tally);
        let rows = tally::report(workers(), Instant::now());
        if rows.iter().any(tally::Row::is_stale) {
            let state = self.shared.store.load();
            let named: BTreeSet<&str> = state.policies().names().collect();
            let stale = rows
                .iter()
                .filter(|row| row.is_stale() && !named.contains(&*row.policy));
            tally::forget(workers(), stale);
        }
        rows.iter().flat_map(tally::Row::effects).collect()
    }

    /// TLS handshakes by reporter and outcome.
    pub fn handshake_durations(&self) -> Vec<durations::Row> {
        durations::handshakes(self.ledgers().map(|ledger| &ledger.durations))
    }

    /// Connects by way and outcome.
    pub fn connect_durations(&self) -> Vec<durations::Row> {
        durations::connects(self.ledgers().map(|ledger| &ledger.durations))
    }

    /// Clients' connections that are open, by reporter.
    pub fn sockets_open(&self) -> [(&'static str, u64); 2] {
        sockets_open::sum(self.ledgers().map(|ledger| &ledger.sockets))
    }

    pub fn access_log_level(&self) -> Level {
        self.log.level()
    }

    /// In force for connections that end from now on.
    pub fn set_access_log_level(&self, level: &str) -> Result<(), Error> {
        self.log.set_level(level.parse()?);
        Ok(())
    }

    /// Lines that were not written because nobody read fast enough.
    pub fn access_log_dropped(&self) -> u64 {
        self.log.dropped()
    }

    fn ledgers(&self) -> impl Iterator<Item = &Ledger> + Clone {
        self.workers.iter().map(|worker| &*worker.ledger)
    }
}
