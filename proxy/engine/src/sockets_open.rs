//! How many connections of clients are open, by reporter: apps' own on one side, and on the other
//! tunnels and plain connections from outside. A tunnel is one, however many streams it carries.

use crate::description::Direction;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One worker's.
#[derive(Debug, Default)]
pub struct SocketsOpen([AtomicU64; 2]);

impl SocketsOpen {
    /// Counts one until what is returned is dropped.
    pub fn hold(&self, direction: Direction) -> Held<'_> {
        let open = &self.0[direction as usize];
        open.fetch_add(1, Relaxed);
        Held(open)
    }
}

/// A socket that is open.
#[derive(Debug)]
pub struct Held<'a>(&'a AtomicU64);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// All workers' together, (reporter, count).
pub fn sum<'a>(workers: impl Iterator<Item = &'a SocketsOpen> + Clone) -> [(&'static str, u64); 2] {
    [Direction::Inbound, Direction::Outbound].map(|direction| {
        let open = workers.clone().map(|worker| worker.0[direction as usize].load(Relaxed));
        (direction.reporter(), open.sum())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_counts_while_it_is_held() {
        let workers = [SocketsOpen::default(), SocketsOpen::default()];
        let held = workers[0].hold(Direction::Outbound);
        let other = workers[1].hold(Direction::Outbound);
        assert_eq!(sum(workers.iter()), [("destination", 0), ("source", 2)]);
        drop((held, other));
        assert_eq!(sum(workers.iter()), [("destination", 0), ("source", 0)]);
    }
}
