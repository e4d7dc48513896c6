use super::*;
use crate::proto::security as wire;
use crate::proto::workload::Extension;
use crate::state::{AUTHORIZATION_TYPE, Store};
use crate::testing::*;
use wire::string_match::MatchType;

const CALLER: &str = "cluster.local/ns/shop/sa/front";

/// A store with the pod "web", the destination of all attempts, listing `policies`.
fn a_mesh(policies: &[&str]) -> Store {
    let store = Store::complete();
    let authorization_policies = policies.iter().map(|name| (*name).to_owned()).collect();
    let web = crate::proto::workload::Workload {
        authorization_policies,
        ..a_pod("web", "10.0.0.1")
    };
    assert_eq!(store.put(web), []);
    store
}

fn judged(store: &Store, source: Option<&str>) -> Verdict {
    let identity = source.map(|principal| format!("spiffe://{principal}").parse::<Identity>().unwrap());
    let attempt = Attempt {
        source: identity.as_ref(),
        source_ip: ip("10.0.0.9"),
        destination: socket("10.0.0.1:8080"),
    };
    let state = store.load();
    judge(&state, state.workload_of_pod("shop", "web").unwrap(), &attempt)
}

const EMPTY: &str = "empty rule, which matches everything";

fn allowed_by(policy: &str) -> Verdict {
    allowed(
        Some(&policy.into()),
        Some(0),
        format!("explicitly allowed by: {policy}"),
    )
}

/// Nobody asks.
fn unasked() -> Verdict {
    allowed(None, None, "no allow policy applies".to_owned())
}

fn denied_by(policy: &str, field: &str) -> Verdict {
    let reason = format!("explicitly denied by: {policy} (rule 0: {field})");
    Verdict {
        field: Some(field.to_owned()),
        ..refused(Some(&policy.into()), Some(0), reason)
    }
}

fn doubted(policy: &str, reason: &str) -> Verdict {
    refused(Some(&policy.into()), None, reason.to_owned())
}

fn unallowed(details: &str, field: Option<&str>) -> Verdict {
    Verdict {
        field: field.map(str::to_owned),
        ..refused(
            None,
            None,
            format!("allow policies exist, but none allowed ({details})"),
        )
    }
}

/// Whether a policy of these rules matches a caller, or plain TCP.
fn matches(rules: Vec<wire::Rule>, source: Option<&str>) -> bool {
    let store = a_mesh(&[]);
    assert_eq!(store.put_policy(a_policy("p", wire::Action::Allow, rules)), []);
    judged(&store, source).policy.as_deref() == Some("shop/p")
}

fn clauses(clauses: Vec<Vec<wire::Match>>) -> Vec<wire::Rule> {
    let clauses = clauses.into_iter().map(|matches| wire::Clause { matches }).collect();
    vec![wire::Rule { clauses }]
}

fn text(kind: MatchType) -> Vec<wire::StringMatch> {
    vec![wire::StringMatch { match_type: Some(kind) }]
}

fn ports(ports: &[u32]) -> wire::Match {
    wire::Match {
        destination_ports: ports.to_vec(),
        ..Default::default()
    }
}

fn prefix(address: &str, length: u32) -> Vec<wire::Address> {
    vec![wire::Address {
        address: raw(address),
        length,
    }]
}

fn account(namespace: &str, name: &str) -> Vec<wire::ServiceAccountMatch> {
    vec![wire::ServiceAccountMatch {
        namespace: namespace.to_owned(),
        service_account: name.to_owned(),
    }]
}

fn anything(name: &str, action: wire::Action) -> wire::Authorization {
    a_policy(name, action, clauses(vec![]))
}

#[test]
fn nothing_is_allowed_before_discovery_is_complete() {
    let store = Store::new();
    store.put(a_pod("web", "10.0.0.1"));
    let expected = refused(None, None, "discovery is not complete".to_owned());
    assert_eq!(judged(&store, Some(CALLER)), expected);
    store.apply(AUTHORIZATION_TYPE, vec![], vec![]);
    assert_eq!(judged(&store, Some(CALLER)), unasked());
}

#[test]
fn emptiness_means_always_never_or_nothing_depending_on_where_it_is() {
    let empty = wire::Match::default;
    let (hit, miss) = (|| ports(&[8080]), || ports(&[1]));
    for (what, rules, expected) in [
        ("no rules", vec![], false),
        ("no clauses", clauses(vec![]), true),
        ("no matches", clauses(vec![vec![]]), true),
        ("an empty match alone", clauses(vec![vec![empty()]]), false),
        ("only empty matches", clauses(vec![vec![empty(), empty()]]), false),
        (
            "an empty match beside one that holds",
            clauses(vec![vec![empty(), hit()]]),
            true,
        ),
        (
            "an empty match beside one that does not",
            clauses(vec![vec![empty(), miss()]]),
            false,
        ),
        (
            "a clause of empty matches beside one that holds",
            clauses(vec![vec![hit()], vec![empty()]]),
            false,
        ),
        (
            "a clause without matches beside one that holds",
            clauses(vec![vec![hit()], vec![]]),
            true,
        ),
        (
            "two clauses of which one holds",
            clauses(vec![vec![hit()], vec![miss()]]),
            false,
        ),
        (
            "two matches of which one holds",
            clauses(vec![vec![miss(), hit()]]),
            true,
        ),
        (
            "two rules of which one holds",
            [when(miss()), when(hit())].concat(),
            true,
        ),
    ] {
        assert_eq!(matches(rules, Some(CALLER)), expected, "{what}");
    }
}

#[test]
fn each_field_holds_for_what_it_names() {
    let default = wire::Match::default;
    for (what, one, expected) in [
        (
            "principal",
            wire::Match {
                principals: vec![exact(CALLER)],
                ..default()
            },
            true,
        ),
        (
            "other principal",
            wire::Match {
                principals: vec![exact("cluster.local/ns/shop/sa/x")],
                ..default()
            },
            false,
        ),
        (
            "one of two principals",
            wire::Match {
                principals: vec![exact("x"), exact(CALLER)],
                ..default()
            },
            true,
        ),
        (
            "a SPIFFE ID is no principal",
            wire::Match {
                principals: vec![exact(&format!("spiffe://{CALLER}"))],
                ..default()
            },
            false,
        ),
        (
            "prefix",
            wire::Match {
                principals: text(MatchType::Prefix("cluster.local/".to_owned())),
                ..default()
            },
            true,
        ),
        (
            "other prefix",
            wire::Match {
                principals: text(MatchType::Prefix("cluster.local/ns/x".to_owned())),
                ..default()
            },
            false,
        ),
        (
            "suffix",
            wire::Match {
                principals: text(MatchType::Suffix("/sa/front".to_owned())),
                ..default()
            },
            true,
        ),
        (
            "other suffix",
            wire::Match {
                principals: text(MatchType::Suffix("/sa/fron".to_owned())),
                ..default()
            },
            false,
        ),
        (
            "presence",
            wire::Match {
                principals: text(MatchType::Presence(())),
                ..default()
            },
            true,
        ),
        (
            "namespace",
            wire::Match {
                namespaces: vec![exact("shop")],
                ..default()
            },
            true,
        ),
        (
            "other namespace",
            wire::Match {
                namespaces: vec![exact("sho")],
                ..default()
            },
            false,
        ),
        (
            "account",
            wire::Match {
                service_accounts: account("shop", "front"),
                ..default()
            },
            true,
        ),
        (
            "account of another namespace",
            wire::Match {
                service_accounts: account("x", "front"),
                ..default()
            },
            false,
        ),
        (
            "other account",
            wire::Match {
                service_accounts: account("shop", "x"),
                ..default()
            },
            false,
        ),
        (
            "source",
            wire::Match {
                source_ips: prefix("10.0.0.0", 24),
                ..default()
            },
            true,
        ),
        (
            "other source",
            wire::Match {
                source_ips: prefix("10.0.1.0", 24),
                ..default()
            },
            false,
        ),
        (
            "destination",
            wire::Match {
                destination_ips: prefix("10.0.0.1", 32),
                ..default()
            },
            true,
        ),
        (
            "other destination",
            wire::Match {
                destination_ips: prefix("10.0.0.2", 32),
                ..default()
            },
            false,
        ),
        ("port", ports(&[1, 8080]), true),
        ("other port", ports(&[80]), false),
        (
            "all of several fields",
            wire::Match {
                namespaces: vec![exact("shop")],
                ..ports(&[8080])
            },
            true,
        ),
        (
            "not all of several fields",
            wire::Match {
                namespaces: vec![exact("x")],
                ..ports(&[8080])
            },
            false,
        ),
    ] {
        assert_eq!(matches(when(one), Some(CALLER)), expected, "{what}");
    }
}

#[test]
fn each_negation_holds_for_what_it_does_not_name() {
    let default = wire::Match::default;
    for (what, one, expected) in [
        (
            "principal",
            wire::Match {
                not_principals: vec![exact(CALLER)],
                ..default()
            },
            false,
        ),
        (
            "other principal",
            wire::Match {
                not_principals: vec![exact("x")],
                ..default()
            },
            true,
        ),
        (
            "one of two",
            wire::Match {
                not_principals: vec![exact("x"), exact(CALLER)],
                ..default()
            },
            false,
        ),
        (
            "presence",
            wire::Match {
                not_principals: text(MatchType::Presence(())),
                ..default()
            },
            false,
        ),
        (
            "namespace",
            wire::Match {
                not_namespaces: vec![exact("shop")],
                ..default()
            },
            false,
        ),
        (
            "other namespace",
            wire::Match {
                not_namespaces: vec![exact("x")],
                ..default()
            },
            true,
        ),
        (
            "account",
            wire::Match {
                not_service_accounts: account("shop", "front"),
                ..default()
            },
            false,
        ),
        (
            "other account",
            wire::Match {
                not_service_accounts: account("shop", "x"),
                ..default()
            },
            true,
        ),
        (
            "source",
            wire::Match {
                not_source_ips: prefix("10.0.0.9", 32),
                ..default()
            },
            false,
        ),
        (
            "other source",
            wire::Match {
                not_source_ips: prefix("10.0.0.8", 32),
                ..default()
            },
            true,
        ),
        (
            "destination",
            wire::Match {
                not_destination_ips: prefix("10.0.0.0", 8),
                ..default()
            },
            false,
        ),
        (
            "other destination",
            wire::Match {
                not_destination_ips: prefix("10.0.0.2", 32),
                ..default()
            },
            true,
        ),
        (
            "port",
            wire::Match {
                not_destination_ports: vec![8080],
                ..default()
            },
            false,
        ),
        (
            "other port",
            wire::Match {
                not_destination_ports: vec![80],
                ..default()
            },
            true,
        ),
        (
            "named and excluded",
            wire::Match {
                not_destination_ports: vec![8080],
                ..ports(&[8080])
            },
            false,
        ),
    ] {
        assert_eq!(matches(when(one), Some(CALLER)), expected, "{what}");
    }
}

#[test]
fn without_an_identity_only_negations_of_it_hold() {
    let default = wire::Match::default;
    for (what, one, expected) in [
        (
            "principal",
            wire::Match {
                principals: vec![exact(CALLER)],
                ..default()
            },
            false,
        ),
        (
            "any principal",
            wire::Match {
                principals: text(MatchType::Presence(())),
                ..default()
            },
            false,
        ),
        (
            "an empty prefix",
            wire::Match {
                principals: text(MatchType::Prefix(String::new())),
                ..default()
            },
            false,
        ),
        (
            "namespace",
            wire::Match {
                namespaces: vec![exact("shop")],
                ..default()
            },
            false,
        ),
        (
            "account",
            wire::Match {
                service_accounts: account("shop", "front"),
                ..default()
            },
            false,
        ),
        (
            "not a principal",
            wire::Match {
                not_principals: vec![exact(CALLER)],
                ..default()
            },
            true,
        ),
        (
            "no principal at all",
            wire::Match {
                not_principals: text(MatchType::Presence(())),
                ..default()
            },
            true,
        ),
        (
            "not a namespace",
            wire::Match {
                not_namespaces: vec![exact("shop")],
                ..default()
            },
            true,
        ),
        (
            "not an account",
            wire::Match {
                not_service_accounts: account("shop", "front"),
                ..default()
            },
            true,
        ),
        ("port", ports(&[8080]), true),
    ] {
        assert_eq!(matches(when(one), None), expected, "{what}");
    }
}

#[test]
fn a_strict_mesh_denies_plain_tcp_and_nothing_else() {
    let store = a_mesh(&["istio-system/istio_converted_static_strict"]);
    let strict = wire::Match {
        not_principals: text(MatchType::Presence(())),
        ..Default::default()
    };
    store.put_policy(wire::Authorization {
        namespace: "istio-system".to_owned(),
        scope: wire::Scope::WorkloadSelector.into(),
        ..a_policy("istio_converted_static_strict", wire::Action::Deny, when(strict))
    });
    let name = "istio-system/istio_converted_static_strict";
    assert_eq!(judged(&store, None), denied_by(name, "source.notPrincipals"));
    assert_eq!(judged(&store, Some(CALLER)), unasked());
}

#[test]
fn deny_comes_before_allow() {
    let store = a_mesh(&[]);
    store.put_policy(anything("a-allow", wire::Action::Allow));
    assert_eq!(judged(&store, Some(CALLER)), allowed_by("shop/a-allow"));
    store.put_policy(anything("b-deny", wire::Action::Deny));
    assert_eq!(judged(&store, Some(CALLER)), denied_by("shop/b-deny", EMPTY));
    store.apply(AUTHORIZATION_TYPE, vec![], vec!["shop/b-deny".to_owned()]);
    assert_eq!(judged(&store, Some(CALLER)), allowed_by("shop/a-allow"));
}

#[test]
fn an_allow_refuses_what_no_allow_matches() {
    let store = a_mesh(&[]);
    store.put_policy(a_policy("nobody", wire::Action::Allow, vec![]));
    assert_eq!(
        judged(&store, Some(CALLER)),
        unallowed(
            "shop/nobody; nearest: shop/nobody: it has no rule that a node proxy can check",
            None
        )
    );
    store.put_policy(anything("anybody", wire::Action::Allow));
    assert_eq!(judged(&store, Some(CALLER)), allowed_by("shop/anybody"));
}

#[test]
fn a_policy_applies_in_its_scope_only() {
    let deny = |namespace: &str, scope: wire::Scope| wire::Authorization {
        namespace: namespace.to_owned(),
        scope: scope.into(),
        ..anything("p", wire::Action::Deny)
    };
    for (policy, listed, applies) in [
        (deny("shop", wire::Scope::Namespace), None, true),
        (deny("other", wire::Scope::Namespace), None, false),
        (deny("root", wire::Scope::Global), None, true),
        (deny("shop", wire::Scope::WorkloadSelector), None, false),
        (deny("shop", wire::Scope::WorkloadSelector), Some("shop/p"), true),
        (deny("root", wire::Scope::WorkloadSelector), Some("root/p"), true),
    ] {
        let store = a_mesh(listed.as_slice());
        store.put_policy(policy.clone());
        assert_eq!(judged(&store, None) != unasked(), applies, "{policy:?}");
    }
}

#[test]
fn a_policy_that_changes_scope_applies_in_the_new_one_only() {
    let store = a_mesh(&[]);
    store.put_policy(wire::Authorization {
        scope: wire::Scope::Global.into(),
        ..anything("p", wire::Action::Deny)
    });
    assert_ne!(judged(&store, None), unasked());
    store.put_policy(wire::Authorization {
        scope: wire::Scope::WorkloadSelector.into(),
        ..anything("p", wire::Action::Deny)
    });
    assert_eq!(judged(&store, None), unasked());
}

#[test]
fn dry_run_is_never_enforced() {
    let store = a_mesh(&["shop/deny"]);
    store.put_policy(wire::Authorization {
        dry_run: true,
        ..anything("deny", wire::Action::Deny)
    });
    store.put_policy(wire::Authorization {
        dry_run: true,
        ..a_policy("allow", wire::Action::Allow, vec![])
    });
    assert!(judged(&store, None).is_allowed);
    let unreadable = wire::Authorization {
        dry_run: true,
        action: 9,
        ..anything("odd", wire::Action::Deny)
    };
    assert_eq!(store.put_policy(unreadable).len(), 1);
    assert!(judged(&store, None).is_allowed);
}

#[test]
fn a_listed_policy_that_nobody_sent_refuses() {
    let store = a_mesh(&["shop/later"]);
    assert_eq!(
        judged(&store, Some(CALLER)),
        doubted("shop/later", "policy shop/later is not known here")
    );
    store.put_policy(anything("later", wire::Action::Allow));
    assert_eq!(judged(&store, Some(CALLER)), allowed_by("shop/later"));
}

#[test]
fn a_policy_that_is_not_understood_is_rejected_and_refuses_what_it_applies_to() {
    let extension = Extension {
        name: "weft.v1.Moon".to_owned(),
        config: None,
    };
    let odd_match = |one: wire::Match| a_policy("p", wire::Action::Deny, when(one));
    for (policy, reason) in [
        (
            wire::Authorization {
                action: 9,
                ..anything("p", wire::Action::Deny)
            },
            "action has the unknown value 9",
        ),
        (
            wire::Authorization {
                scope: 9,
                ..anything("p", wire::Action::Deny)
            },
            "scope has the unknown value 9",
        ),
        (
            odd_match(wire::Match {
                extensions: vec![extension],
                ..Default::default()
            }),
            "a match needs the extension \"weft.v1.Moon\", which is not known here",
        ),
        (
            odd_match(wire::Match {
                principals: vec![wire::StringMatch::default()],
                ..Default::default()
            }),
            "principals holds a match of no known kind",
        ),
        (
            odd_match(wire::Match {
                source_ips: prefix("10.0.0.0", 33),
                ..Default::default()
            }),
            "a prefix of 33 bits is longer than its address",
        ),
        (odd_match(ports(&[65536])), "65536 is not a port"),
    ] {
        let store = a_mesh(&[]);
        assert_eq!(store.put_policy(policy), [("shop/p".to_owned(), reason.to_owned())]);
        let expected = doubted("shop/p", &format!("policy shop/p is not understood: {reason}"));
        assert_eq!(judged(&store, Some(CALLER)), expected);
        store.put_policy(anything("p", wire::Action::Allow));
        assert_eq!(judged(&store, Some(CALLER)), allowed_by("shop/p"));
    }
}

#[test]
fn a_policy_that_is_not_understood_reaches_no_further_than_its_scope() {
    let odd = |namespace: &str, scope: wire::Scope| wire::Authorization {
        namespace: namespace.to_owned(),
        scope: scope.into(),
        action: 9,
        ..anything("p", wire::Action::Deny)
    };
    for (policy, applies) in [
        (odd("other", wire::Scope::Namespace), false),
        (odd("shop", wire::Scope::WorkloadSelector), false),
        (odd("root", wire::Scope::Global), true),
    ] {
        let store = a_mesh(&[]);
        assert_eq!(store.put_policy(policy.clone()).len(), 1);
        assert_eq!(judged(&store, None) != unasked(), applies, "{policy:?}");
    }
}

#[test]
fn a_policy_of_unreadable_scope_may_be_the_whole_meshs() {
    let store = a_mesh(&[]);
    let rejected = store.apply(AUTHORIZATION_TYPE, vec![("other/p".to_owned(), vec![0xff])], vec![]);
    assert_eq!(rejected.len(), 1);
    assert_ne!(judged(&store, None), unasked());
    store.apply(AUTHORIZATION_TYPE, vec![], vec!["other/p".to_owned()]);
    assert_eq!(judged(&store, None), unasked());
}

#[test]
fn a_change_that_is_not_understood_leaves_the_last_good_policy_in_force() {
    let store = a_mesh(&[]);
    store.put_policy(anything("p", wire::Action::Allow));
    let rejected = store.put_policy(wire::Authorization {
        action: 9,
        ..anything("p", wire::Action::Deny)
    });
    assert_eq!(rejected.len(), 1);
    assert_eq!(judged(&store, Some(CALLER)), allowed_by("shop/p"));
}

#[test]
fn an_extension_of_the_policy_as_a_whole_is_passed_over() {
    let extensions = vec![Extension {
        name: "weft.v1.Audit".to_owned(),
        config: None,
    }];
    let store = a_mesh(&[]);
    assert_eq!(
        store.put_policy(wire::Authorization {
            extensions,
            ..anything("p", wire::Action::Allow)
        }),
        []
    );
    assert_eq!(judged(&store, Some(CALLER)), allowed_by("shop/p"));
}

#[test]
fn the_verdict_names_the_rule_that_decided() {
    let store = a_mesh(&[]);
    let rules = [when(ports(&[1])), when(ports(&[2])), when(ports(&[8080]))].concat();
    store.put_policy(a_policy("p", wire::Action::Allow, rules.clone()));
    assert_eq!(judged(&store, None).rule, Some(2));
    store.put_policy(a_policy("p", wire::Action::Deny, rules));
    let verdict = judged(&store, None);
    assert_eq!(
        (verdict.is_allowed, verdict.policy.as_deref(), verdict.rule),
        (false, Some("shop/p"), Some(2))
    );
}

#[test]
fn of_several_that_match_the_first_by_name_decides_wherever_it_comes_from() {
    let store = a_mesh(&["root/c", "shop/b"]);
    let scoped = |namespace: &str, name: &str, scope: wire::Scope| wire::Authorization {
        namespace: namespace.to_owned(),
        scope: scope.into(),
        ..anything(name, wire::Action::Deny)
    };
    for (policy, first) in [
        (scoped("shop", "b", wire::Scope::WorkloadSelector), "shop/b"),
        (scoped("root", "c", wire::Scope::WorkloadSelector), "root/c"),
        (scoped("mesh", "d", wire::Scope::Global), "mesh/d"),
        (scoped("shop", "a", wire::Scope::Namespace), "mesh/d"),
    ] {
        store.put_policy(policy);
        if store.load().policies().standing(&web(&store)).doubt.is_none() {
            assert_eq!(judged(&store, None).policy.as_deref(), Some(first));
        }
    }
}

fn web(store: &Store) -> std::sync::Arc<Workload> {
    store.load().workload_of_pod("shop", "web").unwrap().clone()
}

/// What is said of a verdict by a policy that denies CALLER to port 8080 by this rule.
fn field_of(clauses_of_rule: Vec<Vec<wire::Match>>) -> String {
    let store = a_mesh(&[]);
    store.put_policy(a_policy("p", wire::Action::Deny, clauses(clauses_of_rule)));
    judged(&store, Some(CALLER)).field.unwrap()
}

#[test]
fn a_verdict_says_which_fields_decided_the_most_specific_first() {
    let default = wire::Match::default;
    let caller = || wire::Match {
        principals: vec![exact("other"), exact(CALLER)],
        ..default()
    };
    let namespace = || wire::Match {
        namespaces: vec![exact("shop")],
        ..default()
    };
    let from_mesh = || wire::Match {
        source_ips: prefix("10.0.0.0", 8),
        ..default()
    };
    let to = || wire::Match {
        destination_ips: prefix("10.0.0.1", 32),
        ..default()
    };
    let both = wire::Match {
        namespaces: vec![exact("shop")],
        not_destination_ports: vec![1],
        ..caller()
    };
    for (rule, field) in [
        (vec![], EMPTY),
        (vec![vec![]], EMPTY),
        (vec![vec![caller()]], "source.principals"),
        (
            vec![vec![ports(&[1]), ports(&[8080])], vec![caller()]],
            "source.principals, operation.ports",
        ),
        (
            vec![vec![both]],
            "source.principals, source.namespaces, operation.notPorts",
        ),
        (vec![vec![ports(&[1]), namespace()]], "source.namespaces"),
        (
            vec![vec![namespace()], vec![caller()]],
            "when source.principal, source.namespaces",
        ),
        (
            vec![vec![caller()], vec![ports(&[8080])]],
            "source.principals, when destination.port",
        ),
        (
            vec![vec![from_mesh()], vec![from_mesh()]],
            "source.ipBlocks, when source.ip",
        ),
        (vec![vec![to()]], "when destination.ip"),
    ] {
        assert_eq!(field_of(rule.clone()), field, "{rule:?}");
    }
}

#[test]
fn a_refusal_by_no_allow_policy_names_them_and_what_the_nearest_lacks() {
    let store = a_mesh(&[]);
    let frontend = wire::Match {
        principals: vec![exact("cluster.local/ns/shop/sa/frontend")],
        ..ports(&[8080])
    };
    let far = wire::Match {
        namespaces: vec![exact("bank")],
        ..ports(&[1])
    };
    store.put_policy(a_policy("far", wire::Action::Allow, when(far)));
    let rules = [when(ports(&[1])), when(frontend)].concat();
    store.put_policy(a_policy("frontend-only", wire::Action::Allow, rules[1..].to_vec()));
    let text = "shop/far, shop/frontend-only; nearest: shop/frontend-only rule 0: source.principals does not hold cluster.local/ns/shop/sa/front";
    assert_eq!(judged(&store, Some(CALLER)), unallowed(text, Some("source.principals")));
    let text = "shop/far, shop/frontend-only; nearest: shop/frontend-only rule 0: source.principals needs an identity, and the client has none";
    assert_eq!(judged(&store, None), unallowed(text, Some("source.principals")));
    store.put_policy(a_policy("ports", wire::Action::Allow, rules[..1].to_vec()));
    store.put_policy(a_policy("x", wire::Action::Allow, vec![]));
    store.put_policy(a_policy("y", wire::Action::Allow, vec![]));
    store.put_policy(a_policy("z", wire::Action::Allow, vec![]));
    let text = "shop/far, shop/frontend-only, shop/ports, shop/x, shop/y and 1 more; \
                nearest: shop/frontend-only rule 0: source.principals does not hold cluster.local/ns/shop/sa/front";
    assert_eq!(judged(&store, Some(CALLER)), unallowed(text, Some("source.principals")));
}

#[test]
fn a_dry_run_says_what_it_would_have_changed() {
    let dry = |policy: wire::Authorization| wire::Authorization {
        dry_run: true,
        ..policy
    };
    let trial = |is_allowed: bool, policy: Option<&str>| {
        let policy = policy.map(Into::into);
        Some(Trial { is_allowed, policy })
    };
    let allow_port = |port: u32| a_policy("port", wire::Action::Allow, when(ports(&[port])));
    let deny = || anything("deny", wire::Action::Deny);
    for (policies, expected) in [
        (vec![deny()], None),
        (vec![dry(deny())], trial(false, Some("shop/deny"))),
        (vec![dry(allow_port(8080))], None),
        (vec![dry(allow_port(1))], trial(false, None)),
        (vec![dry(allow_port(1)), anything("all", wire::Action::Allow)], None),
        (
            vec![dry(allow_port(8080)), a_policy("none", wire::Action::Allow, vec![])],
            trial(true, Some("shop/port")),
        ),
        (
            vec![
                dry(allow_port(8080)),
                dry(deny()),
                a_policy("none", wire::Action::Allow, vec![]),
            ],
            None,
        ),
        (vec![dry(allow_port(8080)), anything("no", wire::Action::Deny)], None),
    ] {
        let store = a_mesh(&[]);
        for policy in policies.clone() {
            store.put_policy(policy);
        }
        assert_eq!(judged(&store, None).trial, expected, "{policies:?}");
    }
}

/// Policies "shop/p00" and so on that workloads have to list; none of their rules can be looked up.
fn selected(number: usize) -> wire::Authorization {
    let elsewhere = wire::Match {
        not_source_ips: prefix("10.0.0.9", 32),
        not_destination_ports: vec![number as u32 + 8000],
        ..Default::default()
    };
    let other = wire::Match {
        not_destination_ports: vec![number as u32 + 8000],
        ..Default::default()
    };
    wire::Authorization {
        scope: wire::Scope::WorkloadSelector.into(),
        ..a_policy(
            &format!("p{number:02}"),
            wire::Action::Deny,
            [when(elsewhere), when(other)].concat(),
        )
    }
}

#[test]
fn of_many_policies_that_others_list_only_a_workloads_own_are_held_against_it() {
    for (listed, decides) in [
        (vec![], None),
        (vec!["shop/p80"], None), // denies all but the port 8080
        (vec!["shop/p80", "shop/p98", "shop/p97"], Some("shop/p97")),
        (vec!["shop/p81", "shop/p80", "shop/p11", "shop/p12"], Some("shop/p11")),
    ] {
        let store = a_mesh(&listed);
        for number in 0..99 {
            assert_eq!(store.put_policy(selected(number)), []);
        }
        let verdict = judged(&store, Some(CALLER));
        assert_eq!(
            (verdict.policy.as_deref(), verdict.rule),
            (decides, decides.map(|_| 1)),
            "{listed:?}"
        );
    }
}

#[test]
fn a_change_that_a_workload_does_not_feel_leaves_what_is_known_of_its_policies() {
    let store = a_mesh(&["shop/p01"]);
    store.put_policy(selected(1));
    let known = || store.load().policies().standing(&web(&store));
    let first = known();
    store.put_policy(wire::Authorization {
        rules: vec![],
        ..selected(1)
    });
    assert!(Arc::ptr_eq(&first, &known()));
    assert!(
        judged(&store, None).is_allowed,
        "the new rules are in force nevertheless"
    );
    store.put_policy(wire::Authorization {
        action: wire::Action::Allow.into(),
        ..selected(1)
    });
    assert!(!Arc::ptr_eq(&first, &known()));
}

mod oracle;
