//! Why a rule matched a connection or did not, in the words that policies are written in.
//!
//! What discovery sends no longer says whether something was written under `from`, `to` or
//! `when`. It is told from the order, which is Istio's: `to`, `from`, then each condition; a rule
//! of nothing but conditions may therefore be told in the words of `from` and `to`.

use crate::address::Prefix;
use crate::rules::{Account, Clause, Facts, Match, Policy, Rule, Text};

/// A rule that did not match, and in how many fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Counted from 0; none if the policy has no rules.
    pub rule: Option<usize>,
    /// The first field that failed, the most specific one.
    pub field: Option<String>,
    /// The field and what the connection had.
    pub text: String,
    pub fields: usize,
}

/// The fields by which a rule holds, most specific first.
pub fn deciding(rule: &Rule, facts: &Facts) -> String {
    let mut found: Vec<(&Term, Place)> = Vec::new();
    for (clause, place) in rule.0.iter().zip(places(rule)) {
        let holding = clause.0.iter().find(|one| !one.is_empty() && one.holds(facts));
        found.extend(
            TERMS
                .iter()
                .filter(|term| holding.is_some_and(|one| (term.is_set)(one)))
                .map(|term| (term, place)),
        );
    }
    found.sort_by_key(|(term, _)| TERMS.iter().position(|other| std::ptr::eq(*term, other)));
    let mut names: Vec<&str> = found.into_iter().map(|(term, place)| term.name(place)).collect();
    names.dedup();
    match names.is_empty() {
        true => "empty rule, which matches everything".to_owned(),
        false => names.join(", "),
    }
}

/// The rule that lacks least, of the first `most` ones of a policy that does not match.
pub fn nearest(policy: &Policy, most: usize, facts: &Facts) -> Failing {
    let rules = policy.rules.iter().enumerate().take(most);
    let nearest = rules.min_by_key(|(_, rule)| rule.0.iter().map(|clause| lack(clause, facts)).sum::<usize>());
    match nearest {
        Some((number, rule)) => failing(number, rule, facts),
        None => Failing {
            rule: None,
            field: None,
            text: "it has no rule that a node proxy can check".to_owned(),
            fields: usize::MAX,
        },
    }
}

/// How many fields a clause fails in; more than none also if it has none and cannot hold.
fn lack(clause: &Clause, facts: &Facts) -> usize {
    if clause.holds(facts) {
        return 0;
    }
    let matches = clause.0.iter().filter(|one| !one.is_empty());
    matches.map(|one| failing_terms(one, facts).count()).min().unwrap_or(1)
}

fn failing_terms<'a>(one: &'a Match, facts: &'a Facts) -> impl Iterator<Item = &'static Term> + 'a {
    TERMS
        .iter()
        .filter(|term| (term.is_set)(one) && !(term.holds)(one, facts))
}

fn failing(number: usize, rule: &Rule, facts: &Facts) -> Failing {
    let clauses = rule
        .0
        .iter()
        .zip(places(rule))
        .filter(|(clause, _)| !clause.holds(facts));
    let mut all: Vec<(&Term, Place)> = Vec::new();
    let mut empty = 0;
    for (clause, place) in clauses {
        match least_failing(clause, facts) {
            Some(terms) => all.extend(terms.into_iter().map(|term| (term, place))),
            None => empty += 1,
        }
    }
    all.sort_by_key(|(term, _)| TERMS.iter().position(|other| std::ptr::eq(*term, other)));
    let first = all.first().map(|(term, place)| (*term, *place));
    Failing {
        rule: Some(number),
        field: first.map(|(term, place)| term.name(place).to_owned()),
        text: first.map_or_else(
            || "it asks for nothing that node proxies know".to_owned(),
            |(term, place)| term.failure(place, facts),
        ),
        fields: all.len() + empty,
    }
}

/// The failing terms of the match that lacks least; none if all matches are empty, which never hold.
fn least_failing(clause: &Clause, facts: &Facts) -> Option<Vec<&'static Term>> {
    let matches = clause.0.iter().filter(|one| !one.is_empty());
    let failing = matches.map(|one| failing_terms(one, facts).collect());
    failing.min_by_key(Vec::len)
}

/// Where in a rule a clause was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Entry,
    Condition,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Operation,
    Source,
    /// No condition but `destination.ip`, which is called the same everywhere; or both sides mixed.
    Other,
}

fn places(rule: &Rule) -> Vec<Place> {
    let mut next = Some(Side::Operation); // the earliest entry that may still come
    let place = |clause: &Clause| {
        let side = side(clause);
        let is_entry = side == Side::Other || next.is_some_and(|next| side >= next);
        next = match (is_entry, side) {
            (true, Side::Operation) => Some(Side::Source),
            _ => None,
        };
        if is_entry { Place::Entry } else { Place::Condition }
    };
    rule.0.iter().map(place).collect()
}

/// What all matches of a clause are about.
fn side(clause: &Clause) -> Side {
    let is = |side: Side| {
        clause
            .0
            .iter()
            .all(|one| TERMS.iter().all(|term| term.side == side || !(term.is_set)(one)))
    };
    match (is(Side::Operation), is(Side::Source)) {
        (true, _) => Side::Operation,
        (_, true) => Side::Source,
        _ => Side::Other,
    }
}

/// One field of a match.
struct Term {
    /// Its name in an entry of `from` or `to`, and as a condition.
    names: [&'static str; 2],
    side: Side,
    /// Asks for none of its values.
    is_negative: bool,
    is_set: fn(&Match) -> bool,
    holds: fn(&Match, &Facts) -> bool,
    had: fn(&Facts) -> Option<String>,
}

impl Term {
    fn name(&self, place: Place) -> &'static str {
        self.names[place as usize]
    }

    fn failure(&self, place: Place, facts: &Facts) -> String {
        let name = self.name(place);
        match ((self.had)(facts), self.is_negative) {
            (Some(had), false) => format!("{name} does not hold {had}"),
            (Some(had), true) => format!("{name} holds {had}"),
            (None, _) => format!("{name} needs an identity, and the client has none"),
        }
    }
}

/// Most specific first.
static TERMS: [Term; 12] = [
    Term {
        names: ["source.principals", "when source.principal"],
        side: Side::Source,
        is_negative: false,
        is_set: |one| !one.principals.is_empty(),
        holds: |one, facts| is_principal(&one.principals, facts),
        had: principal,
    },
    Term {
        names: ["source.serviceAccounts", "source.serviceAccounts"],
        side: Side::Source,
        is_negative: false,
        is_set: |one| !one.service_accounts.is_empty(),
        holds: |one, facts| is_account(&one.service_accounts, facts),
        had: account,
    },
    Term {
        names: ["source.ipBlocks", "when source.ip"],
        side: Side::Source,
        is_negative: false,
        is_set: |one| !one.source_ips.is_empty(),
        holds: |one, facts| is_source(&one.source_ips, facts),
        had: source,
    },
    Term {
        names: ["source.namespaces", "when source.namespace"],
        side: Side::Source,
        is_negative: false,
        is_set: |one| !one.namespaces.is_empty(),
        holds: |one, facts| is_namespace(&one.namespaces, facts),
        had: namespace,
    },
    Term {
        names: ["when destination.ip", "when destination.ip"],
        side: Side::Other,
        is_negative: false,
        is_set: |one| !one.destination_ips.is_empty(),
        holds: |one, facts| is_destination(&one.destination_ips, facts),
        had: destination,
    },
    Term {
        names: ["operation.ports", "when destination.port"],
        side: Side::Operation,
        is_negative: false,
        is_set: |one| !one.destination_ports.is_empty(),
        holds: |one, facts| is_port(&one.destination_ports, facts),
        had: port,
    },
    Term {
        names: ["source.notPrincipals", "when source.principal (notValues)"],
        side: Side::Source,
        is_negative: true,
        is_set: |one| !one.not_principals.is_empty(),
        holds: |one, facts| !is_principal(&one.not_principals, facts),
        had: principal,
    },
    Term {
        names: ["source.notServiceAccounts", "source.notServiceAccounts"],
        side: Side::Source,
        is_negative: true,
        is_set: |one| !one.not_service_accounts.is_empty(),
        holds: |one, facts| !is_account(&one.not_service_accounts, facts),
        had: account,
    },
    Term {
        names: ["source.notIpBlocks", "when source.ip (notValues)"],
        side: Side::Source,
        is_negative: true,
        is_set: |one| !one.not_source_ips.is_empty(),
        holds: |one, facts| !is_source(&one.not_source_ips, facts),
        had: source,
    },
    Term {
        names: ["source.notNamespaces", "when source.namespace (notValues)"],
        side: Side::Source,
        is_negative: true,
        is_set: |one| !one.not_namespaces.is_empty(),
        holds: |one, facts| !is_namespace(&one.not_namespaces, facts),
        had: namespace,
    },
    Term {
        names: ["when destination.ip (notValues)", "when destination.ip (notValues)"],
        side: Side::Other,
        is_negative: true,
        is_set: |one| !one.not_destination_ips.is_empty(),
        holds: |one, facts| !is_destination(&one.not_destination_ips, facts),
        had: destination,
    },
    Term {
        names: ["operation.notPorts", "when destination.port (notValues)"],
        side: Side::Operation,
        is_negative: true,
        is_set: |one| !one.not_destination_ports.is_empty(),
        holds: |one, facts| !is_port(&one.not_destination_ports, facts),
        had: port,
    },
];

fn is_principal(texts: &[Text], facts: &Facts) -> bool {
    let principal = facts.principal.as_deref();
    principal.is_some_and(|principal| texts.iter().any(|text| text.matches(principal)))
}

fn is_account(accounts: &[Account], facts: &Facts) -> bool {
    let identity = facts.attempt.source;
    identity.is_some_and(|identity| accounts.iter().any(|account| account.is(identity)))
}

fn is_namespace(texts: &[Text], facts: &Facts) -> bool {
    let identity = facts.attempt.source;
    identity.is_some_and(|identity| texts.iter().any(|text| text.matches(&identity.namespace)))
}

fn is_source(prefixes: &[Prefix], facts: &Facts) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(facts.attempt.source_ip))
}

fn is_destination(prefixes: &[Prefix], facts: &Facts) -> bool {
    prefixes
        .iter()
        .any(|prefix| prefix.contains(facts.attempt.destination.ip()))
}

fn is_port(ports: &[u16], facts: &Facts) -> bool {
    ports.contains(&facts.attempt.destination.port())
}

fn principal(facts: &Facts) -> Option<String> {
    facts.principal.clone()
}

fn account(facts: &Facts) -> Option<String> {
    let identity = facts.attempt.source?;
    Some(format!("{}/{}", identity.namespace, identity.service_account))
}

fn namespace(facts: &Facts) -> Option<String> {
    Some(facts.attempt.source?.namespace.to_string())
}

fn source(facts: &Facts) -> Option<String> {
    Some(facts.attempt.source_ip.to_canonical().to_string())
}

fn destination(facts: &Facts) -> Option<String> {
    Some(facts.attempt.destination.ip().to_canonical().to_string())
}

fn port(facts: &Facts) -> Option<String> {
    Some(facts.attempt.destination.port().to_string())
}
