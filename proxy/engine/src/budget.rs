//! How many connections the pods of a node may hold, so that none takes what the others need.
//!
//! Every connection costs descriptors and memory of the one process that all pods share. As long
//! as there is plenty, any pod may have what it wants. Once three quarters are taken, a pod with
//! more than an even share gets no more: a flood into or out of one pod is refused, and the last
//! quarter is kept for the pods that have little.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Places for the connections of all pods.
#[derive(Debug)]
pub struct Budget {
    most: usize,
    taken: AtomicUsize,
    pods: AtomicUsize,
}

/// One pod's part of it.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    taken: AtomicUsize,
}

/// A place for one connection, given up by being dropped.
#[derive(Debug)]
pub struct Place(Arc<Share>);

impl Budget {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: AtomicUsize::new(0),
            pods: AtomicUsize::new(0),
        })
    }

    /// The part of one more pod, which counts among them for as long as the share lives.
    pub fn share(self: &Arc<Self>) -> Arc<Share> {
        self.pods.fetch_add(1, Relaxed);
        Arc::new(Share {
            budget: self.clone(),
            taken: AtomicUsize::new(0),
        })
    }
}

impl Share {
    /// A place for one more connection of this pod; Err says why there is none.
    pub fn take(self: &Arc<Self>) -> Result<Place, String> {
        let Budget { most, taken, pods } = &*self.budget;
        // Counted first and given back if it was too many: two threads never share the last place.
        let all = taken.fetch_add(1, Relaxed) + 1;
        let own = self.taken.fetch_add(1, Relaxed) + 1;
        let place = Place(self.clone());
        let is_plenty = all <= most - most / 4;
        let is_even = own <= (most / pods.load(Relaxed).max(1)).max(1);
        if is_plenty || (is_even && all <= *most) {
            return Ok(place);
        }
        Err(format!(
            "too many connections: this pod has {} of the node's {most}",
            own - 1
        ))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.pods.fetch_sub(1, Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
        self.0.budget.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(share: &Arc<Share>, number: usize) -> Vec<Place> {
        (0..number).map_while(|_| share.take().ok()).collect()
    }

    #[test]
    fn while_there_is_plenty_a_pod_may_have_more_than_its_share() {
        let budget = Budget::new(100);
        let (busy, _idle) = (budget.share(), [budget.share(), budget.share(), budget.share()]);
        assert_eq!(take(&busy, 75).len(), 75);
    }

    #[test]
    fn the_last_quarter_is_for_the_pods_below_an_even_share() {
        let budget = Budget::new(100);
        let (flooded, other) = (budget.share(), budget.share());
        let held = take(&flooded, 1000);
        assert_eq!(held.len(), 75);
        assert_eq!(
            flooded.take().unwrap_err(),
            "too many connections: this pod has 75 of the node's 100"
        );
        assert_eq!(take(&other, 1000).len(), 25);
    }

    #[test]
    fn places_come_back_and_pods_that_have_gone_leave_theirs_to_the_others() {
        let budget = Budget::new(8);
        let (one, gone) = (budget.share(), budget.share());
        let held = take(&one, 100);
        assert_eq!(held.len(), 6);
        drop(gone);
        let more = take(&one, 100);
        assert_eq!(more.len(), 2);
        drop((held, more));
        assert_eq!(take(&one, 100).len(), 8);
    }
}
