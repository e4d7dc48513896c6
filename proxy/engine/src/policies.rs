//! Which policies there are, and which of them apply to a workload.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prost::Message;

use crate::fault::Fault;
use crate::proto::security as wire;
use crate::rules::{Policy, Scope};
use crate::workload::Workload;

/// All policies by their resource name, "namespace/name".
#[derive(Clone, Default)]
pub struct Policies {
    entries: BTreeMap<Arc<str>, Entry>,
    mesh: Vec<Arc<str>>,
    namespaces: HashMap<String, Vec<Arc<str>>>,
}

#[derive(Clone, Debug)]
pub enum Entry {
    Understood(Arc<Policy>),
    /// It exists, so what it may apply to is refused until it can be read.
    NotUnderstood(Arc<Doubt>),
}

/// As much as could be read of a policy that cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    pub namespace: String,
    /// The whole mesh if the scope itself cannot be read.
    pub scope: Scope,
    pub is_dry_run: bool,
    pub reason: String,
}

impl Policies {
    /// Takes a policy in. On an error the last good one stays in force; without a last good one
    /// whatever it may apply to is refused.
    pub fn insert(&mut self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let fault = match parse(name, bytes) {
            Ok(policy) => {
                self.put(name, Entry::Understood(Arc::new(policy)));
                return Ok(());
            }
            Err(fault) => fault,
        };
        if !matches!(self.entries.get(name), Some(Entry::Understood(_))) {
            self.put(name, Entry::NotUnderstood(Arc::new(Doubt::new(name, bytes, &fault))));
        }
        Err(fault)
    }

    /// Removing an unknown name changes nothing.
    pub fn remove(&mut self, name: &str) {
        if let Some(entry) = self.entries.remove(name) {
            if let Some(names) = self.names_mut(&entry) {
                names.retain(|other| **other != *name);
            }
            self.namespaces.retain(|_, names| !names.is_empty());
        }
    }

    /// Names and entries of all policies for `workload`; a name it lists may have no entry.
    pub fn applying_to<'a>(&'a self, workload: &'a Workload) -> impl Iterator<Item = (&'a str, Option<&'a Entry>)> {
        let listed = workload.policies.iter().map(String::as_str);
        let namespace = self.namespaces.get(&workload.namespace).into_iter().flatten();
        let scoped = namespace.chain(&self.mesh).map(|name| &**name);
        listed.chain(scoped).map(|name| (name, self.entries.get(name)))
    }

    /// All entries in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (&**name, entry))
    }

    fn put(&mut self, name: &str, entry: Entry) {
        self.remove(name);
        let key: Arc<str> = name.into();
        if let Some(names) = self.names_mut(&entry) {
            names.push(key.clone());
        }
        self.entries.insert(key, entry);
    }

    /// The list of names that finds `entry` for workloads that do not list it.
    fn names_mut(&mut self, entry: &Entry) -> Option<&mut Vec<Arc<str>>> {
        let (scope, namespace) = match entry {
            Entry::Understood(policy) => (policy.scope, &policy.namespace),
            Entry::NotUnderstood(doubt) => (doubt.scope, &doubt.namespace),
        };
        match scope {
            Scope::Mesh => Some(&mut self.mesh),
            Scope::Namespace => Some(self.namespaces.entry(namespace.clone()).or_default()),
            Scope::Selected => None,
        }
    }
}

fn parse(name: &str, bytes: &[u8]) -> Result<Policy, Fault> {
    let message = wire::Authorization::decode(bytes)?;
    let content = format!("{}/{}", message.namespace, message.name);
    if content != name {
        return Err(Fault::Misnamed(content));
    }
    Policy::try_from(message)
}

impl Doubt {
    fn new(name: &str, bytes: &[u8], fault: &Fault) -> Doubt {
        let message = wire::Authorization::decode(bytes).ok();
        let scope = message.as_ref().and_then(|message| Scope::try_from(message.scope).ok());
        Doubt {
            namespace: name.split_once('/').map_or("", |(namespace, _)| namespace).to_owned(),
            scope: scope.unwrap_or(Scope::Mesh),
            is_dry_run: message.is_some_and(|message| message.dry_run),
            reason: fault.to_string(),
        }
    }
}
