//! How many clients of a pod may be in their handshakes at a time.
//!
//! Until a handshake is over nobody knows who the client is, and each one holds a descriptor of
//! the whole node's. Too many end the oldest, never the newest: an honest client is done in
//! milliseconds, so that a flood of silent ones keeps nobody out.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};
use tokio::sync::oneshot;

const MOST: usize = 1024;

/// The handshakes of one pod that are under way.
#[derive(Debug, Default)]
pub struct Handshakes {
    ongoing: Mutex<VecDeque<oneshot::Sender<()>>>,
}

/// A place among them, given up by being dropped.
#[derive(Debug)]
pub struct Handshake(oneshot::Receiver<()>);

impl Handshakes {
    /// Takes a place; the oldest loses its own if there are too many.
    pub fn begin(&self) -> Handshake {
        let (place, lost) = oneshot::channel();
        let mut ongoing = self.ongoing.lock().unwrap_or_else(PoisonError::into_inner);
        if ongoing.len() >= MOST {
            ongoing.retain(|place| !place.is_closed());
        }
        if ongoing.len() >= MOST {
            ongoing.pop_front();
        }
        ongoing.push_back(place);
        Handshake(lost)
    }
}

impl Handshake {
    /// Returns when the place is lost to a newer one.
    pub async fn lost(&mut self) {
        // Nothing is ever sent: it ends with an error, and that is the message.
        let _ = (&mut self.0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    async fn is_lost(handshake: &mut Handshake) -> bool {
        timeout(Duration::ZERO, handshake.lost()).await.is_ok()
    }

    #[tokio::test]
    async fn too_many_end_the_oldest_and_never_the_newest() {
        let handshakes = Handshakes::default();
        let mut held: Vec<_> = (0..MOST + 2).map(|_| handshakes.begin()).collect();
        assert!(is_lost(&mut held[0]).await);
        assert!(is_lost(&mut held[1]).await);
        assert!(!is_lost(&mut held[2]).await);
        assert!(!is_lost(held.last_mut().unwrap()).await);
    }

    #[tokio::test]
    async fn those_that_are_over_cost_nobody_a_place() {
        let handshakes = Handshakes::default();
        let mut oldest = handshakes.begin();
        for _ in 0..3 * MOST {
            drop(handshakes.begin());
        }
        assert!(!is_lost(&mut oldest).await);
    }
}
