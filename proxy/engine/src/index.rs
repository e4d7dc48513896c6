//! Maps that are cheap to copy and to change a little.
//!
//! A snapshot of the mesh is immutable, yet most changes touch one pod of many thousands. An
//! [`Index`] is spread over shards, each behind an `Arc`: a copy shares all of them, and a change
//! copies only the shard it is in.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

const SHARDS: usize = 256;

/// A hash map whose clones share what neither of them changed.
#[derive(Clone)]
pub struct Index<K, V> {
    shards: Vec<Arc<HashMap<K, V>>>,
    hasher: RandomState,
}

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Arc::default()).collect();
        Index {
            shards,
            hasher: RandomState::new(),
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Index<K, V> {
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shards[self.shard(key)].get(key)
    }

    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.shard_mut(&key).insert(key, value)
    }

    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get(key)?;
        self.shard_mut(key).remove(key)
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }

    fn shard_mut<Q: Hash + ?Sized>(&mut self, key: &Q) -> &mut HashMap<K, V> {
        let shard = self.shard(key);
        Arc::make_mut(&mut self.shards[shard])
    }
}

/// Something that claims a key and is told from the other claimants by its own key.
pub trait Claimant: Clone {
    fn key(&self) -> &str;
}

/// Which claimants each key has: one, normally. Their order is that of their keys.
#[derive(Clone)]
pub struct Claims<K, V>(Index<K, Arc<Vec<V>>>);

impl<K, V> Default for Claims<K, V> {
    fn default() -> Self {
        Claims(Index::default())
    }
}

impl<K: Hash + Eq + Clone, V: Claimant> Claims<K, V> {
    pub fn of<Q>(&self, key: &Q) -> &[V]
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(key).map_or(&[], |claimants| claimants)
    }

    /// A claimant of the same key gives way.
    pub fn insert(&mut self, key: K, claimant: V) {
        let entry = self.0.shard_mut(&key).entry(key).or_default();
        let claimants = Arc::make_mut(entry);
        match claimants.binary_search_by(|other| other.key().cmp(claimant.key())) {
            Ok(position) => claimants[position] = claimant,
            Err(position) => claimants.insert(position, claimant),
        }
    }

    /// Removing a claim that is not there changes nothing.
    pub fn remove<Q>(&mut self, key: &Q, claimant: &str)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let shard = self.0.shard_mut(key);
        let Some(entry) = shard.get_mut(key) else {
            return;
        };
        let claimants = Arc::make_mut(entry);
        if let Ok(position) = claimants.binary_search_by(|other| other.key().cmp(claimant)) {
            claimants.remove(position);
        }
        if claimants.is_empty() {
            shard.remove(key);
        }
    }
}
