//! How long handshakes and connects take: histograms with fixed buckets.
//!
//! Each worker has its own, so observing is two additions that no other thread contends for:
//! nothing is locked and nothing allocated. A reader adds the workers up.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::description::Direction;

/// Upper bounds of the buckets, in microseconds; what takes longer is in one more. From a
/// handshake on one node to the 10 s after which a connect is given up.
pub const BOUNDS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// What came of a connect or a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    Failed,
    /// The client, or the pod, went away meanwhile.
    Abandoned,
}

/// The way that a connection out of a pod takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Direct,
    Hbone,
}

const OUTCOMES: [Outcome; 3] = [Outcome::Ok, Outcome::Failed, Outcome::Abandoned];
const WAYS: [Way; 2] = [Way::Direct, Way::Hbone];
const DIRECTIONS: [Direction; 2] = [Direction::Inbound, Direction::Outbound];

impl Outcome {
    /// Of what has come to its own end.
    pub fn of<T, E>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(_) => Self::Failed,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Way {
    fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Hbone => "hbone",
        }
    }
}

/// How many of each duration there were, and how long all took together.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

impl Histogram {
    fn observe(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS.partition_point(|bound| *bound < took)].fetch_add(1, Relaxed);
        self.microseconds.fetch_add(took, Relaxed);
    }

    fn add_to(&self, sum: &mut Sum) {
        for (sum, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Relaxed);
        }
        sum.microseconds += self.microseconds.load(Relaxed);
    }
}

/// One histogram of all workers together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Not cumulative: each bucket's own, the last one beyond all bounds.
    pub buckets: [u64; BOUNDS.len() + 1],
    pub microseconds: u64,
}

/// A histogram's labels, in the order of its kind, and what it holds.
pub type Row = ([&'static str; 2], Sum);

/// One worker's histograms.
#[derive(Debug, Default)]
pub struct Durations {
    handshakes: [[Histogram; OUTCOMES.len()]; DIRECTIONS.len()],
    connects: [[Histogram; OUTCOMES.len()]; WAYS.len()],
}

impl Durations {
    /// A TLS handshake begins, with a client (inbound) or a server.
    pub fn handshake(&self, direction: Direction) -> Timer<'_> {
        Timer::since(Instant::now(), &self.handshakes[direction as usize])
    }

    /// A connection that an app opened at `accepted` is on its way to its destination.
    pub fn connect(&self, way: Way, accepted: Instant) -> Timer<'_> {
        Timer::since(accepted, &self.connects[way as usize])
    }
}

/// Something that takes time; counted as abandoned if it is dropped.
#[derive(Debug)]
pub struct Timer<'a> {
    began: Instant,
    histograms: &'a [Histogram; OUTCOMES.len()],
    outcome: Outcome,
}

impl<'a> Timer<'a> {
    fn since(began: Instant, histograms: &'a [Histogram; OUTCOMES.len()]) -> Self {
        let outcome = Outcome::Abandoned;
        Self {
            began,
            histograms,
            outcome,
        }
    }

    /// It has come to this end, now.
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.histograms[self.outcome as usize].observe(self.began.elapsed());
    }
}

/// All workers' handshakes, by reporter and outcome.
pub fn handshakes<'a>(workers: impl Iterator<Item = &'a Durations> + Clone) -> Vec<Row> {
    let sum = |direction: Direction, outcome: Outcome| {
        let each = workers
            .clone()
            .map(|worker| &worker.handshakes[direction as usize][outcome as usize]);
        ([direction.reporter(), outcome.as_str()], added(each))
    };
    pairs(DIRECTIONS, sum)
}

/// All workers' connects, by way and outcome.
pub fn connects<'a>(workers: impl Iterator<Item = &'a Durations> + Clone) -> Vec<Row> {
    let sum = |way: Way, outcome: Outcome| {
        let each = workers
            .clone()
            .map(|worker| &worker.connects[way as usize][outcome as usize]);
        ([way.as_str(), outcome.as_str()], added(each))
    };
    pairs(WAYS, sum)
}

fn pairs<T: Copy>(of: [T; 2], row: impl Fn(T, Outcome) -> Row) -> Vec<Row> {
    let row = &row;
    of.into_iter()
        .flat_map(|one| OUTCOMES.map(|outcome| row(one, outcome)))
        .collect()
}

fn added<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Sum {
    histograms.fold(Sum::default(), |mut sum, histogram| {
        histogram.add_to(&mut sum);
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(microseconds: u64) -> Sum {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(microseconds));
        added(std::iter::once(&histogram))
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_nothing_is_lost_beyond_the_last() {
        for (n, bound) in BOUNDS.iter().enumerate() {
            assert_eq!(observed(*bound).buckets[n], 1, "{bound}");
            assert_eq!(observed(*bound + 1).buckets[n + 1], 1, "{bound} and one");
        }
        assert_eq!(observed(0).buckets[0], 1);
        assert_eq!(observed(2_500).microseconds, 2_500);
    }

    #[test]
    fn workers_are_added_up_by_way_and_outcome() {
        let workers = [Durations::default(), Durations::default()];
        let accepted = Instant::now();
        workers[0].connect(Way::Hbone, accepted).end(Outcome::Ok);
        workers[1].connect(Way::Hbone, accepted).end(Outcome::Ok);
        workers[1].connect(Way::Direct, accepted).end(Outcome::Failed);
        drop(workers[1].connect(Way::Direct, accepted));
        let counts: Vec<_> = connects(workers.iter())
            .into_iter()
            .map(|(labels, sum)| (labels, sum.buckets.iter().sum::<u64>()))
            .collect();
        let expected = [
            (["direct", "ok"], 0),
            (["direct", "failed"], 1),
            (["direct", "abandoned"], 1),
            (["hbone", "ok"], 2),
            (["hbone", "failed"], 0),
            (["hbone", "abandoned"], 0),
        ];
        assert_eq!(counts, expected);
    }

    #[test]
    fn handshakes_are_told_apart_by_who_reports() {
        let worker = Durations::default();
        worker.handshake(Direction::Outbound).end(Outcome::Ok);
        let found = handshakes(std::iter::once(&worker));
        let counted: Vec<_> = found.iter().filter(|(_, sum)| *sum != Sum::default()).collect();
        assert_eq!(counted.len(), 1);
        assert_eq!(counted[0].0, ["source", "ok"]);
    }
}
