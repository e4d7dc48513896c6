//! Which policies there are, and which of them apply to a workload.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prost::Message;

use crate::candidates::{Candidates, Found, Question, Reach};
use crate::fault::Fault;
use crate::index::Index;
use crate::listing::namespace_of;
use crate::proto::security as wire;
use crate::roll::Roll;
use crate::rules::{Effect, Facts, Policy, Scope};
use crate::standing::Standing;
use crate::workload::Workload;

/// ALLOW policies among which a refusal looks for the nearest one.
const FIRST_ALLOWING: usize = 16;

/// All policies by their resource name, "namespace/name". Cheap to clone.
#[derive(Clone, Default)]
pub struct Policies {
    entries: Index<Arc<str>, Entry>,
    mesh: Arc<Roll>,
    namespaces: Index<Arc<str>, Arc<Roll>>,
    candidates: Candidates,
    /// Another one, never used before, whenever what a `Standing` says may have changed.
    version: u64,
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
    pub key: Arc<str>,
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
                self.put(Entry::Understood(Arc::new(policy)));
                return Ok(());
            }
            Err(fault) => fault,
        };
        if !matches!(self.entries.get(name), Some(Entry::Understood(_))) {
            self.put(Entry::NotUnderstood(Arc::new(Doubt::new(name, bytes, &fault))));
        }
        Err(fault)
    }

    /// Removing an unknown name changes nothing.
    pub fn remove(&mut self, name: &str) {
        if self.take(name).is_some() {
            self.version = a_new_version();
        }
    }

    /// What is known of the policies of a workload; worked out when they have changed since it was last asked.
    pub fn standing(&self, workload: &Workload) -> Arc<Standing> {
        let cached = workload.policies.standing.load_full();
        if let Some(standing) = cached.filter(|standing| standing.version == self.version) {
            return standing;
        }
        let standing = Arc::new(self.new_standing(workload));
        workload.policies.standing.store(Some(standing.clone()));
        standing
    }

    /// The first match, by name and then by rule, among the policies of one effect that apply to a workload.
    pub fn find<'a>(
        &'a self,
        effect: Effect,
        workload: &Workload,
        standing: &'a Standing,
        question: &Question,
        facts: &Facts,
    ) -> Option<Found<'a>> {
        if standing.counts.of(effect) == 0 {
            return None;
        }
        let listing = &workload.policies;
        let own = self.namespaces.get(workload.namespace.as_str());
        let is_wanted = |roll: &Roll| roll.counts.of(effect) > 0;
        let mesh = is_wanted(&self.mesh).then_some(Reach::Mesh);
        let namespace = own
            .filter(|roll| is_wanted(roll))
            .map(|_| Reach::Namespace(&workload.namespace));
        let has_listed = standing.listed.of(effect) > 0;
        let listed = listing.namespaces().filter(|_| has_listed).map(Reach::Listed);
        let reaches = mesh.into_iter().chain(namespace).chain(listed);
        let found = reaches.filter_map(|reach| self.candidates.find((effect, reach), listing, question, facts));
        let strays = standing.strays.iter().filter_map(|name| self.understood(name));
        let wanted = strays.filter(|policy| policy.effect == effect);
        let stray = wanted.filter_map(|policy| Some((policy, policy.matching_rule(facts)?)));
        found.chain(stray).min_by(|one, other| one.0.key.cmp(&other.0.key))
    }

    /// What to ask `find` for a connection.
    pub fn question(&self, facts: &Facts) -> Question {
        self.candidates.question(facts)
    }

    /// The understood policies for a workload: those that it lists, of its namespace, of the mesh.
    pub fn applying_to<'a>(&'a self, workload: &'a Workload) -> impl Iterator<Item = &'a Arc<Policy>> {
        let names = workload.policies.names().iter();
        let listed = names
            .filter_map(|name| self.understood(name))
            .filter(|policy| !is_reached(policy, workload));
        let namespace = self.namespaces.get(workload.namespace.as_str());
        let rolls = namespace.into_iter().chain([&self.mesh]);
        listed.chain(rolls.flat_map(|roll| &roll.understood))
    }

    /// The first enforced ALLOW policies for a workload, no more than a fixed number of them.
    pub fn first_allowing(&self, workload: &Workload, standing: &Standing) -> Vec<Arc<Policy>> {
        let names = standing.allowing.get_or_init(|| {
            let allowing = self
                .applying_to(workload)
                .filter(|policy| policy.effect == Effect::ALLOW);
            allowing.take(FIRST_ALLOWING).map(|policy| policy.key.clone()).collect()
        });
        names.iter().filter_map(|name| self.understood(name).cloned()).collect()
    }

    /// The names of all, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.values().map(|entry| &**entry.key())
    }

    /// All entries in the order of their names.
    pub fn entries(&self) -> Vec<&Entry> {
        let mut entries: Vec<_> = self.entries.values().collect();
        entries.sort_by_key(|entry| entry.key());
        entries
    }

    fn understood(&self, name: &str) -> Option<&Arc<Policy>> {
        match self.entries.get(name)? {
            Entry::Understood(policy) => Some(policy),
            Entry::NotUnderstood(_) => None,
        }
    }

    fn new_standing(&self, workload: &Workload) -> Standing {
        let mut standing = Standing {
            version: self.version,
            ..Standing::default()
        };
        for name in workload.policies.names() {
            match self.entries.get(name) {
                None => standing.doubt_at(name, || format!("policy {name} is not known here")),
                Some(Entry::NotUnderstood(doubt)) => standing.doubt(doubt),
                Some(Entry::Understood(policy)) if policy.scope == Scope::Selected => {
                    standing.listed.add_one(policy.effect);
                }
                Some(Entry::Understood(policy)) if is_reached(policy, workload) => {}
                Some(Entry::Understood(policy)) => {
                    standing.counts.add_one(policy.effect);
                    standing.strays.push(name.clone());
                }
            }
        }
        standing.counts.add(&standing.listed);
        let namespace = self.namespaces.get(workload.namespace.as_str());
        for roll in namespace.into_iter().chain([&self.mesh]) {
            standing.counts.add(&roll.counts);
            for doubt in &roll.doubtful {
                standing.doubt(doubt);
            }
        }
        standing
    }

    fn put(&mut self, entry: Entry) {
        let old = self.take(entry.key());
        if !old.is_some_and(|old| entry.stands_like(&old)) {
            self.version = a_new_version();
        }
        if let Entry::Understood(policy) = &entry {
            self.candidates.insert(policy);
        }
        self.change_roll(&entry, |roll| roll.insert(&entry));
        self.entries.insert(entry.key().clone(), entry);
    }

    fn take(&mut self, name: &str) -> Option<Entry> {
        let entry = self.entries.remove(name)?;
        if let Entry::Understood(policy) = &entry {
            self.candidates.remove(policy);
        }
        self.change_roll(&entry, |roll| roll.remove(&entry));
        Some(entry)
    }

    /// Changes the roll that `entry` is on, if it is on one.
    fn change_roll(&mut self, entry: &Entry, change: impl FnOnce(&mut Roll)) {
        let (scope, namespace) = entry.scope();
        match scope {
            Scope::Selected => {}
            Scope::Mesh => change(Arc::make_mut(&mut self.mesh)),
            Scope::Namespace => {
                let mut roll = self.namespaces.remove(namespace).unwrap_or_default();
                change(Arc::make_mut(&mut roll));
                if !roll.is_empty() {
                    self.namespaces.insert(namespace.into(), roll);
                }
            }
        }
    }
}

/// Whether a policy applies to a workload also if it does not list it.
fn is_reached(policy: &Policy, workload: &Workload) -> bool {
    match policy.scope {
        Scope::Mesh => true,
        Scope::Namespace => policy.namespace == workload.namespace,
        Scope::Selected => false,
    }
}

/// Versions of all sets of policies are told apart, since workloads do not know which set they are asked by.
fn a_new_version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Relaxed) + 1
}

impl Entry {
    pub fn key(&self) -> &Arc<str> {
        match self {
            Entry::Understood(policy) => &policy.key,
            Entry::NotUnderstood(doubt) => &doubt.key,
        }
    }

    fn scope(&self) -> (Scope, &str) {
        match self {
            Entry::Understood(policy) => (policy.scope, &policy.namespace),
            Entry::NotUnderstood(doubt) => (doubt.scope, &doubt.namespace),
        }
    }

    /// Whether a standing says the same with the one as with the other.
    fn stands_like(&self, other: &Entry) -> bool {
        match (self, other) {
            (Entry::Understood(one), Entry::Understood(other)) => {
                (one.scope, &one.namespace, one.effect) == (other.scope, &other.namespace, other.effect)
            }
            _ => false,
        }
    }
}

fn parse(name: &str, bytes: &[u8]) -> Result<Policy, Fault> {
    let message = wire::Authorization::decode(bytes)?;
    let policy = Policy::try_from(message)?;
    match *policy.key == *name {
        true => Ok(policy),
        false => Err(Fault::Misnamed(policy.key.to_string())),
    }
}

impl Doubt {
    fn new(name: &str, bytes: &[u8], fault: &Fault) -> Doubt {
        let message = wire::Authorization::decode(bytes).ok();
        let scope = message.as_ref().and_then(|message| Scope::try_from(message.scope).ok());
        Doubt {
            key: name.into(),
            namespace: namespace_of(name).to_owned(),
            scope: scope.unwrap_or(Scope::Mesh),
            is_dry_run: message.is_some_and(|message| message.dry_run),
            reason: fault.to_string(),
        }
    }
}
