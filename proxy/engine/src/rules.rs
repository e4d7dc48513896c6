//! Policies parsed into rules that can be evaluated, and the evaluation of one policy.
//!
//! A policy is an OR of rules, a rule an AND of clauses, a clause an OR of matches, a match an
//! AND of its fields. Emptiness is decided by what it widens: a rule without clauses and a clause
//! without matches always hold; a match without fields says nothing and is passed over, and a
//! clause of nothing else never holds; a policy without rules never matches.

use std::net::IpAddr;
use std::sync::Arc;

use crate::address::Prefix;
use crate::fault::Fault;
use crate::identity::Identity;
use crate::policy::Attempt;
use crate::proto::security as wire;
use crate::workload::to_port;

/// An L4 rule set as discovery sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// "namespace/name".
    pub key: Arc<str>,
    pub name: String,
    pub namespace: String,
    pub scope: Scope,
    pub effect: Effect,
    pub rules: Vec<Rule>,
}

/// What a match of a policy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Effect {
    pub action: Action,
    /// Decides nothing; it is only noted what it would have decided.
    pub is_dry_run: bool,
}

impl Effect {
    pub const DENY: Effect = Effect::enforced(Action::Deny);
    pub const ALLOW: Effect = Effect::enforced(Action::Allow);

    const fn enforced(action: Action) -> Effect {
        Effect {
            action,
            is_dry_run: false,
        }
    }

    /// The same, not enforced.
    pub const fn dry_run(self) -> Effect {
        Effect {
            is_dry_run: true,
            ..self
        }
    }
}

/// Which workloads a policy is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Mesh,
    Namespace,
    /// Those that list it.
    Selected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule(pub Vec<Clause>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause(pub Vec<Match>);

/// Conditions that hold together. A field with values asks for one of them, its `not_` twin for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    pub namespaces: Vec<Text>,
    pub not_namespaces: Vec<Text>,
    pub principals: Vec<Text>,
    pub not_principals: Vec<Text>,
    pub source_ips: Vec<Prefix>,
    pub not_source_ips: Vec<Prefix>,
    pub destination_ips: Vec<Prefix>,
    pub not_destination_ips: Vec<Prefix>,
    pub destination_ports: Vec<u16>,
    pub not_destination_ports: Vec<u16>,
    pub service_accounts: Vec<Account>,
    pub not_service_accounts: Vec<Account>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    Exact(String),
    Prefix(String),
    Suffix(String),
    /// Anything but nothing.
    Presence,
}

/// A service account of any trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub namespace: String,
    pub name: String,
}

/// An attempt, with what all rules ask of it made once.
pub struct Facts<'a> {
    pub attempt: &'a Attempt<'a>,
    pub principal: Option<String>,
}

impl<'a> Facts<'a> {
    pub fn of(attempt: &'a Attempt<'a>) -> Facts<'a> {
        let principal = attempt.source.map(Identity::principal);
        Facts { attempt, principal }
    }
}

impl Policy {
    /// The first rule that holds, counted from 0.
    pub fn matching_rule(&self, facts: &Facts) -> Option<usize> {
        self.rules.iter().position(|rule| rule.holds(facts))
    }
}

impl Rule {
    pub fn holds(&self, facts: &Facts) -> bool {
        self.0.iter().all(|clause| clause.holds(facts))
    }
}

impl Clause {
    pub fn holds(&self, facts: &Facts) -> bool {
        self.0.is_empty() || self.0.iter().any(|one| one.holds(facts) && !one.is_empty())
    }
}

impl Match {
    pub fn is_empty(&self) -> bool {
        *self == Match::default()
    }

    pub fn holds(&self, facts: &Facts) -> bool {
        let (source_ip, destination) = (facts.attempt.source_ip, facts.attempt.destination);
        self.accepts_identity(facts)
            && accepts_ip(&self.source_ips, &self.not_source_ips, source_ip)
            && accepts_ip(&self.destination_ips, &self.not_destination_ips, destination.ip())
            && accepts(&self.destination_ports, &self.not_destination_ports, |port| {
                *port == destination.port()
            })
    }

    fn accepts_identity(&self, facts: &Facts) -> bool {
        let Some((identity, principal)) = facts.attempt.source.zip(facts.principal.as_deref()) else {
            return self.namespaces.is_empty() && self.principals.is_empty() && self.service_accounts.is_empty();
        };
        accepts(&self.namespaces, &self.not_namespaces, |text| {
            text.matches(&identity.namespace)
        }) && accepts(&self.service_accounts, &self.not_service_accounts, |account| {
            account.is(identity)
        }) && accepts(&self.principals, &self.not_principals, |text| text.matches(principal))
    }
}

impl Account {
    pub fn is(&self, identity: &Identity) -> bool {
        *self.namespace == *identity.namespace && *self.name == *identity.service_account
    }
}

impl Text {
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Text::Exact(exact) => text == exact,
            Text::Prefix(prefix) => text.starts_with(prefix),
            Text::Suffix(suffix) => text.ends_with(suffix),
            Text::Presence => !text.is_empty(),
        }
    }
}

fn accepts<T>(any_of: &[T], none_of: &[T], is: impl Fn(&T) -> bool) -> bool {
    (any_of.is_empty() || any_of.iter().any(&is)) && !none_of.iter().any(is)
}

fn accepts_ip(any_of: &[Prefix], none_of: &[Prefix], ip: IpAddr) -> bool {
    accepts(any_of, none_of, |prefix| prefix.contains(ip))
}

impl TryFrom<wire::Authorization> for Policy {
    type Error = Fault;

    /// Extensions of the policy as a whole add to what it does for others, never to what it
    /// means here, so an unknown one is no fault; one inside a match narrows it, and is.
    fn try_from(from: wire::Authorization) -> Result<Policy, Fault> {
        Ok(Policy {
            key: format!("{}/{}", from.namespace, from.name).into(),
            scope: Scope::try_from(from.scope)?,
            effect: Effect {
                action: Action::try_from(from.action)?,
                is_dry_run: from.dry_run,
            },
            rules: parse_all(from.rules, Rule::try_from)?,
            name: from.name,
            namespace: from.namespace,
        })
    }
}

impl TryFrom<i32> for Scope {
    type Error = Fault;

    fn try_from(value: i32) -> Result<Scope, Fault> {
        match wire::Scope::try_from(value) {
            Ok(wire::Scope::Global) => Ok(Scope::Mesh),
            Ok(wire::Scope::Namespace) => Ok(Scope::Namespace),
            Ok(wire::Scope::WorkloadSelector) => Ok(Scope::Selected),
            Err(_) => Err(Fault::UnknownValue { field: "scope", value }),
        }
    }
}

impl TryFrom<i32> for Action {
    type Error = Fault;

    fn try_from(value: i32) -> Result<Action, Fault> {
        match wire::Action::try_from(value) {
            Ok(wire::Action::Allow) => Ok(Action::Allow),
            Ok(wire::Action::Deny) => Ok(Action::Deny),
            Err(_) => Err(Fault::UnknownValue { field: "action", value }),
        }
    }
}

impl TryFrom<wire::Rule> for Rule {
    type Error = Fault;

    fn try_from(from: wire::Rule) -> Result<Rule, Fault> {
        let clause = |clause: wire::Clause| Ok(Clause(parse_all(clause.matches, Match::try_from)?));
        Ok(Rule(parse_all(from.clauses, clause)?))
    }
}

impl TryFrom<wire::Match> for Match {
    type Error = Fault;

    fn try_from(from: wire::Match) -> Result<Match, Fault> {
        if let Some(extension) = from.extensions.into_iter().next() {
            return Err(Fault::Extension(extension.name));
        }
        Ok(Match {
            namespaces: texts(from.namespaces, "namespaces")?,
            not_namespaces: texts(from.not_namespaces, "not_namespaces")?,
            principals: texts(from.principals, "principals")?,
            not_principals: texts(from.not_principals, "not_principals")?,
            source_ips: parse_all(from.source_ips, prefix)?,
            not_source_ips: parse_all(from.not_source_ips, prefix)?,
            destination_ips: parse_all(from.destination_ips, prefix)?,
            not_destination_ips: parse_all(from.not_destination_ips, prefix)?,
            destination_ports: parse_all(from.destination_ports, to_port)?,
            not_destination_ports: parse_all(from.not_destination_ports, to_port)?,
            service_accounts: from.service_accounts.into_iter().map(Account::from).collect(),
            not_service_accounts: from.not_service_accounts.into_iter().map(Account::from).collect(),
        })
    }
}

impl From<wire::ServiceAccountMatch> for Account {
    fn from(from: wire::ServiceAccountMatch) -> Account {
        Account {
            namespace: from.namespace,
            name: from.service_account,
        }
    }
}

fn texts(from: Vec<wire::StringMatch>, field: &'static str) -> Result<Vec<Text>, Fault> {
    use wire::string_match::MatchType;
    parse_all(from, |one| match one.match_type {
        Some(MatchType::Exact(text)) => Ok(Text::Exact(text)),
        Some(MatchType::Prefix(text)) => Ok(Text::Prefix(text)),
        Some(MatchType::Suffix(text)) => Ok(Text::Suffix(text)),
        Some(MatchType::Presence(())) => Ok(Text::Presence),
        None => Err(Fault::UnknownMatch(field)),
    })
}

fn prefix(from: wire::Address) -> Result<Prefix, Fault> {
    Prefix::new(&from.address, from.length)
}

fn parse_all<T, U>(from: Vec<T>, parse: impl Fn(T) -> Result<U, Fault>) -> Result<Vec<U>, Fault> {
    from.into_iter().map(parse).collect()
}
