//! The policies that a workload names, and what is known of them all together.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::standing::Standing;

/// Names ("namespace/name") of the policies that select a workload, in their order, each once.
#[derive(Default)]
pub struct Listing {
    names: Vec<Arc<str>>,
    namespaces: Vec<Arc<str>>,
    /// As it was last asked for; good for the policies of its own version only.
    pub standing: ArcSwapOption<Standing>,
}

impl Listing {
    pub fn new(names: Vec<String>) -> Listing {
        let mut names: Vec<Arc<str>> = names.into_iter().map(Arc::from).collect();
        names.sort();
        names.dedup();
        let mut namespaces: Vec<Arc<str>> = names.iter().map(|name| namespace_of(name).into()).collect();
        namespaces.dedup(); // names of one namespace follow each other
        Listing {
            names,
            namespaces,
            standing: ArcSwapOption::empty(),
        }
    }

    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The namespaces that the policies are of, each once.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.iter().map(|namespace| &**namespace)
    }

    pub fn has(&self, name: &str) -> bool {
        self.names.binary_search_by(|other| (**other).cmp(name)).is_ok()
    }
}

/// The namespace in a policy's name.
pub fn namespace_of(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}

impl Clone for Listing {
    fn clone(&self) -> Self {
        Listing {
            names: self.names.clone(),
            namespaces: self.namespaces.clone(),
            standing: ArcSwapOption::empty(),
        }
    }
}

impl PartialEq for Listing {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl Eq for Listing {}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names.fmt(f)
    }
}
