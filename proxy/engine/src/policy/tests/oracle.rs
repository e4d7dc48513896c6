//! The index against plain evaluation: any policies, any connection, one verdict.

use super::*;
use crate::policies::Entry;
use fastrand::Rng;

const ROUNDS: u64 = 400;
const ATTEMPTS: usize = 25;
const ACCOUNTS: [&str; 3] = ["front", "back", "x"];
const NAMESPACES: [&str; 3] = ["shop", "bank", "root"];
const ADDRESSES: [&str; 4] = ["10.0.0.9", "10.1.0.9", "fd00::9", "::ffff:10.0.0.9"];
const PORTS: [u32; 3] = [80, 81, 8080];

fn some<T>(rng: &mut Rng, one: impl Fn(&mut Rng) -> T) -> Vec<T> {
    let count = [0, 0, 1, 1, 2][rng.usize(..5)];
    (0..count).map(|_| one(rng)).collect()
}

fn rarely<T>(rng: &mut Rng, one: impl Fn(&mut Rng) -> T) -> Vec<T> {
    if rng.u8(..6) == 0 { some(rng, one) } else { vec![] }
}

fn a_text(rng: &mut Rng, text: String) -> wire::StringMatch {
    let middle = text.len() / 2;
    let kind = match rng.u8(..8) {
        0 => MatchType::Prefix(text[..middle].to_owned()),
        1 => MatchType::Suffix(text[middle..].to_owned()),
        2 => MatchType::Presence(()),
        _ => MatchType::Exact(text),
    };
    wire::StringMatch { match_type: Some(kind) }
}

fn a_name(rng: &mut Rng, names: &[&str]) -> String {
    names[rng.usize(..names.len())].to_owned()
}

fn a_principal(rng: &mut Rng) -> String {
    let namespace = a_name(rng, &NAMESPACES);
    format!("cluster.local/ns/{namespace}/sa/{}", a_name(rng, &ACCOUNTS))
}

fn a_prefix(rng: &mut Rng) -> wire::Address {
    let (text, length) = [
        ("10.0.0.9", 32),
        ("10.0.0.0", 16),
        ("10.0.0.0", 8),
        ("0.0.0.0", 0),
        ("fd00::", 8),
        ("fd00::9", 128),
        ("::", 0),
        ("::ffff:10.0.0.0", 104),
    ][rng.usize(..8)];
    wire::Address {
        address: raw(text),
        length,
    }
}

fn an_account(rng: &mut Rng) -> wire::ServiceAccountMatch {
    wire::ServiceAccountMatch {
        namespace: a_name(rng, &NAMESPACES),
        service_account: a_name(rng, &ACCOUNTS),
    }
}

fn a_match(rng: &mut Rng) -> wire::Match {
    let principal = |rng: &mut Rng| a_principal(rng);
    let of_principal = |rng: &mut Rng| {
        let text = principal(rng);
        a_text(rng, text)
    };
    let of_namespace = |rng: &mut Rng| {
        let text = a_name(rng, &NAMESPACES);
        a_text(rng, text)
    };
    wire::Match {
        principals: some(rng, of_principal),
        not_principals: rarely(rng, of_principal),
        namespaces: rarely(rng, of_namespace),
        not_namespaces: rarely(rng, of_namespace),
        service_accounts: rarely(rng, an_account),
        not_service_accounts: rarely(rng, an_account),
        source_ips: rarely(rng, a_prefix),
        not_source_ips: rarely(rng, a_prefix),
        destination_ips: rarely(rng, a_prefix),
        not_destination_ips: rarely(rng, a_prefix),
        destination_ports: some(rng, |rng| PORTS[rng.usize(..3)]),
        not_destination_ports: rarely(rng, |rng| PORTS[rng.usize(..3)]),
        extensions: vec![],
    }
}

fn a_rule(rng: &mut Rng) -> wire::Rule {
    let a_clause = |rng: &mut Rng| wire::Clause {
        matches: some(rng, a_match),
    };
    wire::Rule {
        clauses: some(rng, a_clause),
    }
}

fn any_policy(rng: &mut Rng, name: usize) -> wire::Authorization {
    wire::Authorization {
        name: format!("p{name}"),
        namespace: a_name(rng, &NAMESPACES),
        scope: rng.i32(0..3),
        action: rng.i32(0..2),
        rules: some(rng, a_rule),
        dry_run: rng.u8(..5) == 0,
        extensions: vec![],
    }
}

/// The first match of an effect by going through everything in the order of the names.
fn plainly<'a>(entries: &[&'a Policy], effect: Effect, facts: &Facts) -> Option<(&'a str, usize)> {
    let of_effect = entries.iter().filter(|policy| policy.effect == effect);
    let mut matches = of_effect.filter_map(|policy| Some((&*policy.key, policy.matching_rule(facts)?)));
    matches.next()
}

fn applies(policy: &Policy, workload: &Workload) -> bool {
    let is_listed = workload.policies.names().contains(&policy.key);
    is_listed
        || match policy.scope {
            crate::rules::Scope::Mesh => true,
            crate::rules::Scope::Namespace => policy.namespace == workload.namespace,
            crate::rules::Scope::Selected => false,
        }
}

type Outcome = (bool, Option<String>, Option<usize>, Option<(bool, Option<String>)>);

fn expected(state: &State, workload: &Workload, attempt: &Attempt) -> Outcome {
    let entries = state.policies().entries();
    let understood = entries.iter().filter_map(|entry| match entry {
        Entry::Understood(policy) => Some(&**policy),
        Entry::NotUnderstood(_) => None,
    });
    let policies: Vec<&Policy> = understood.filter(|policy| applies(policy, workload)).collect();
    for name in workload.policies.names() {
        if !policies.iter().any(|policy| policy.key == *name) {
            return (false, Some(name.to_string()), None, None);
        }
    }
    let facts = Facts::of(attempt);
    let any = |effect: Effect| policies.iter().any(|policy| policy.effect == effect);
    let verdict = |is_dry_too: bool| -> (bool, Option<(&str, usize)>) {
        let first = |effect: Effect| {
            let dry = if is_dry_too {
                plainly(&policies, effect.dry_run(), &facts)
            } else {
                None
            };
            plainly(&policies, effect, &facts).or(dry)
        };
        if let Some(denied) = first(Effect::DENY) {
            return (false, Some(denied));
        }
        let has_allow = any(Effect::ALLOW) || (is_dry_too && any(Effect::ALLOW.dry_run()));
        if !has_allow {
            return (true, None);
        }
        let allowed = first(Effect::ALLOW);
        (allowed.is_some(), allowed)
    };
    let (is_allowed, by) = verdict(false);
    let (would_be, would_by) = verdict(true);
    let trial = (would_be != is_allowed).then(|| (would_be, would_by.map(|(name, _)| name.to_owned())));
    (
        is_allowed,
        by.map(|(name, _)| name.to_owned()),
        by.map(|(_, rule)| rule),
        trial,
    )
}

fn found(verdict: &Verdict) -> Outcome {
    let text = |policy: &Option<Arc<str>>| policy.as_deref().map(str::to_owned);
    let trial = verdict
        .trial
        .as_ref()
        .map(|trial| (trial.is_allowed, text(&trial.policy)));
    (verdict.is_allowed, text(&verdict.policy), verdict.rule, trial)
}

#[test]
fn the_index_finds_what_plain_evaluation_finds_through_any_changes() {
    let (mut kinds, mut most) = (std::collections::HashMap::<_, usize>::new(), 0);
    for seed in 0..ROUNDS {
        let mut rng = Rng::with_seed(seed);
        let store = Store::complete();
        let mut known: Vec<String> = Vec::new();
        for step in 0..12 {
            let policies: Vec<_> = (0..rng.usize(1..4))
                .map(|_| {
                    let n = rng.usize(..10);
                    any_policy(&mut rng, n)
                })
                .collect();
            let resources: Vec<_> = policies.into_iter().map(Resource::resource).collect();
            known.extend(resources.iter().map(|(name, _)| name.clone()));
            let gone = rarely(&mut rng, |rng| known[rng.usize(..known.len())].clone());
            assert_eq!(store.apply(AUTHORIZATION_TYPE, resources, gone), []);
            if step % 3 == 0 {
                let listed = some(&mut rng, |rng| known[rng.usize(..known.len())].clone());
                store.put(crate::proto::workload::Workload {
                    authorization_policies: listed,
                    ..a_pod("web", "10.0.0.1")
                });
            }
            let state = store.load();
            most = most.max(state.policies().entries().len());
            let workload = state.workload_of_pod("shop", "web").unwrap();
            for _ in 0..ATTEMPTS {
                let principal = a_principal(&mut rng);
                let source = (rng.u8(..4) > 0).then(|| format!("spiffe://{principal}").parse().unwrap());
                let attempt = Attempt {
                    source: source.as_ref(),
                    source_ip: ip(ADDRESSES[rng.usize(..4)]),
                    destination: SocketAddr::new(ip("10.0.0.1"), PORTS[rng.usize(..3)] as u16),
                };
                let verdict = judge(&state, workload, &attempt);
                let expected = expected(&state, workload, &attempt);
                assert_eq!(found(&verdict), expected, "seed {seed}, step {step}");
                let kind = (
                    expected.0,
                    expected.1.is_some(),
                    expected.2.is_some(),
                    expected.3.is_some(),
                );
                *kinds.entry(kind).or_default() += 1;
            }
        }
    }
    let seen = |kind: (bool, bool, bool, bool)| kinds.get(&kind).copied().unwrap_or_default();
    for kind in [
        (true, false, false, false), // by no policy
        (true, true, true, false),
        (false, false, false, false), // by the lack of one
        (false, true, true, false),
        (false, true, false, false), // in doubt
        (true, false, false, true),  // a dry run would have refused
        (true, true, true, true),
        (false, false, false, true), // a dry run would have allowed
    ] {
        assert!(seen(kind) > 100, "{kind:?}: {kinds:?}");
    }
    assert!(most > 15);
}
