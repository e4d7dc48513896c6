//! What a rule certainly asks of a connection, in a form that can be looked up.
//!
//! Of a rule's clauses one is taken that says most exactly who, and one that names ports: all
//! clauses have to hold, so a connection that fails one of these two cannot match. A clause says
//! what any of its matches says, so it says nothing if one of them does not.

use std::net::IpAddr;

use crate::address::Prefix;
use crate::rules::{Clause, Facts, Match, Rule, Text};

/// Somebody, as rules name them and as a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who<'a> {
    Anybody,
    /// Without an identity.
    Nobody,
    /// With any identity.
    Somebody,
    Namespace(&'a str),
    Account(&'a str, &'a str),
    Principal(&'a str),
    Address(Prefix),
}

/// How exactly a match says who: the higher, the fewer connections are meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    Kind,
    Namespace,
    Address,
    Identity,
}

/// Who has to be asking for the rule to hold: any of these. Empty if it can never hold.
pub fn whos_of(rule: &Rule) -> Vec<Who<'_>> {
    let said = rule.0.iter().filter_map(whos_of_clause);
    let most_exact = said.max_by_key(|(precision, whos)| (*precision, std::cmp::Reverse(whos.len())));
    most_exact.map_or_else(|| vec![Who::Anybody], |(_, whos)| whos)
}

/// To which port: any of these, None being any port.
pub fn ports_of(rule: &Rule) -> Vec<Option<u16>> {
    let said = rule.0.iter().filter_map(ports_of_clause);
    said.min_by_key(Vec::len).unwrap_or_else(|| vec![None])
}

/// All that a connection is; of addresses the prefixes of these families and lengths.
pub fn whos_that_are<'a>(facts: &'a Facts, lengths: impl Iterator<Item = (bool, u32)>) -> Vec<Who<'a>> {
    let mut whos = vec![Who::Anybody];
    match facts.attempt.source.zip(facts.principal.as_deref()) {
        None => whos.push(Who::Nobody),
        Some((identity, principal)) => whos.extend([
            Who::Somebody,
            Who::Namespace(&identity.namespace),
            Who::Account(&identity.namespace, &identity.service_account),
            Who::Principal(principal),
        ]),
    }
    let ip: IpAddr = facts.attempt.source_ip.to_canonical();
    let fitting = lengths.filter(|(is_v6, _)| *is_v6 == ip.is_ipv6());
    whos.extend(fitting.map(|(_, length)| Who::Address(Prefix::around(ip, length))));
    whos
}

/// Empty matches never hold, so they add nobody.
fn holding(clause: &Clause) -> Option<impl Iterator<Item = &Match>> {
    (!clause.0.is_empty()).then(|| clause.0.iter().filter(|one| !one.is_empty()))
}

fn whos_of_clause(clause: &Clause) -> Option<(Precision, Vec<Who<'_>>)> {
    let mut least = Precision::Identity;
    let mut whos = Vec::new();
    for one in holding(clause)? {
        let (precision, more) = whos_of_match(one)?;
        least = least.min(precision);
        whos.extend(more);
    }
    Some((least, whos))
}

fn whos_of_match(one: &Match) -> Option<(Precision, Vec<Who<'_>>)> {
    if let Some(principals) = exact(&one.principals) {
        return Some((
            Precision::Identity,
            principals.into_iter().map(Who::Principal).collect(),
        ));
    }
    if !one.service_accounts.is_empty() {
        let accounts = one.service_accounts.iter();
        let whos = accounts.map(|account| Who::Account(&account.namespace, &account.name));
        return Some((Precision::Identity, whos.collect()));
    }
    if !one.source_ips.is_empty() {
        let prefixes = one.source_ips.iter().map(|prefix| Who::Address(prefix.normal()));
        return Some((Precision::Address, prefixes.collect()));
    }
    if let Some(namespaces) = exact(&one.namespaces) {
        return Some((
            Precision::Namespace,
            namespaces.into_iter().map(Who::Namespace).collect(),
        ));
    }
    if !one.principals.is_empty() || !one.namespaces.is_empty() {
        return Some((Precision::Kind, vec![Who::Somebody]));
    }
    let excluded = one.not_principals.iter().chain(&one.not_namespaces);
    let excludes_all = excluded.into_iter().any(|text| *text == Text::Presence);
    excludes_all.then(|| (Precision::Kind, vec![Who::Nobody]))
}

/// The texts, if there are any and all are exact.
fn exact(texts: &[Text]) -> Option<Vec<&str>> {
    let exact = texts.iter().map(|text| match text {
        Text::Exact(text) => Some(text.as_str()),
        _ => None,
    });
    exact.collect::<Option<Vec<_>>>().filter(|texts| !texts.is_empty())
}

fn ports_of_clause(clause: &Clause) -> Option<Vec<Option<u16>>> {
    let mut ports = Vec::new();
    for one in holding(clause)? {
        if one.destination_ports.is_empty() {
            return None;
        }
        ports.extend(one.destination_ports.iter().copied().map(Some));
    }
    Some(ports)
}
