//! A pod that the engine serves.

use crate::{
    budget::Share,
    certificates::Certificates,
    handshakes::Handshakes,
    identity::Identity,
    netns::NetworkNamespace,
    state::{State, Store, Workload},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a connection waits for discovery to know its own pod.
const WORKLOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// What the node agent said of it, and its two ends: draining, then aborted.
#[derive(Debug)]
pub struct Pod {
    pub uid: Arc<str>,
    pub name: String,
    pub namespace: String,
    pub identity: Identity,
    pub netns: NetworkNamespace,
    /// Of what all pods may hold.
    pub share: Arc<Share>,
    /// Clients that have not shown yet who they are.
    pub handshakes: Handshakes,
    /// No new connections; tunnels close when they are unused.
    pub draining: CancellationToken,
    /// Every connection ends now.
    pub aborted: CancellationToken,
}

/// What is the same for all workers, and is changed only through the engine's face.
pub struct Shared {
    pub store: Store,
    /// Changes after each change of the store.
    pub applied: watch::Sender<u64>,
    pub certificates: Certificates,
    pub cluster: String,
}

impl Shared {
    /// The mesh, once it is complete and knows `pod`; None when that takes too long.
    pub async fn mesh_with(&self, pod: &Pod) -> Option<(Arc<State>, Arc<Workload>)> {
        if let Some(known) = self.know(pod) {
            return Some(known);
        }
        let mut applied = self.applied.subscribe();
        let knowing = async {
            loop {
                if let Some(known) = self.know(pod) {
                    return Some(known);
                }
                applied.changed().await.ok()?;
            }
        };
        tokio::time::timeout(WORKLOAD_TIMEOUT, knowing).await.ok().flatten()
    }

    /// The mesh, if it is complete and knows `pod` now.
    pub fn know(&self, pod: &Pod) -> Option<(Arc<State>, Arc<Workload>)> {
        let state = self.store.load();
        let workload = state
            .workload_of_pod(&pod.namespace, &pod.name)
            .filter(|_| state.is_complete())?
            .clone();
        Some((state, workload))
    }
}
