use super::*;
use crate::proto::security;
use crate::testing::*;

fn address(name: &str, bytes: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    vec![(name.to_owned(), bytes)]
}

#[test]
fn both_types_have_to_come_even_if_empty() {
    let store = Store::new();
    assert!(!store.load().is_complete());
    store.apply(ADDRESS_TYPE, vec![], vec![]);
    assert!(!store.load().is_complete());
    store.apply(AUTHORIZATION_TYPE, vec![], vec![]);
    assert!(store.load().is_complete());
}

#[test]
fn an_unknown_type_completes_nothing_and_rejects_what_it_brings() {
    let store = Store::new();
    let rejected = store.apply("type.googleapis.com/other", address("a", vec![]), vec![]);
    assert_eq!(
        rejected,
        [(
            "a".to_owned(),
            "the type type.googleapis.com/other is not known here".to_owned()
        )]
    );
    assert!(!store.load().is_complete());
}

#[test]
fn a_pod_is_found_by_its_addresses_and_by_its_name() {
    let store = Store::complete();
    let mut pod = a_pod("web", "10.0.0.1");
    pod.addresses.push(raw("fd00::1"));
    assert_eq!(store.put(pod), []);
    let state = store.load();
    let by_name = state.workload_of_pod("shop", "web").unwrap();
    assert_eq!(state.workload_at(ip("10.0.0.1")), Some(by_name));
    assert_eq!(state.workload_at(ip("::ffff:10.0.0.1")), Some(by_name));
    assert_eq!(state.workload_at(ip("fd00::1")), Some(by_name));
    assert_eq!(state.workload_of_pod("other", "web"), None);
}

#[test]
fn what_is_left_out_on_the_wire_is_filled_in() {
    let store = Store::complete();
    store.put(wire::Workload {
        service_account: String::new(),
        ..a_pod("web", "10.0.0.1")
    });
    let state = store.load();
    let web = state.workload_of_pod("shop", "web").unwrap();
    assert_eq!(web.identity.to_string(), "spiffe://cluster.local/ns/shop/sa/default");
    assert_eq!(
        (web.cluster.as_str(), web.capacity, web.workload_type),
        ("Kubernetes", 1, "deployment")
    );
    assert!(web.is_healthy);
}

#[test]
fn a_snapshot_does_not_change_when_the_store_does() {
    let store = Store::complete();
    store.put(a_pod("web", "10.0.0.1"));
    let before = store.load();
    store.remove(&pod_uid("web"));
    assert!(before.workload_at(ip("10.0.0.1")).is_some());
    assert!(store.load().workload_at(ip("10.0.0.1")).is_none());
}

#[test]
fn a_changed_pod_leaves_nothing_of_itself_behind() {
    let store = Store::complete();
    store.put(a_service("a", "10.96.0.1"));
    store.put(endpoint_of("a", a_pod("web", "10.0.0.1")));
    store.put(endpoint_of("b", a_pod("web", "10.0.0.2")));
    let state = store.load();
    assert!(state.workload_at(ip("10.0.0.1")).is_none());
    assert!(state.workload_at(ip("10.0.0.2")).is_some());
    let service = state.services().next().unwrap();
    assert_eq!(state.endpoints_of(service).len(), 0);
}

#[test]
fn unusable_resources_are_rejected_with_the_reason_and_the_rest_is_used() {
    let good = a_pod("good", "10.0.0.9").resource();
    let uid = pod_uid("web");
    let keyed = wire::Workload {
        services: [("web".to_owned(), wire::PortList::default())].into(),
        ..a_pod("web", "10.0.0.1")
    };
    let service_ports = wire::Service {
        ports: vec![port(70000, 80)],
        ..a_service("web", "10.96.0.1")
    };
    let service_key = format!("shop/{}", hostname("web"));
    for (name, one, reason) in [
        (
            &uid,
            wire::Workload {
                addresses: vec![vec![1, 2, 3]],
                ..a_pod("web", "10.0.0.1")
            }
            .resource(),
            "an address has 3 bytes, not 4 or 16",
        ),
        (&uid, keyed.resource(), "the service key \"web\" has no '/'"),
        (
            &uid,
            wire::Workload {
                tunnel_protocol: 2,
                ..a_pod("web", "10.0.0.1")
            }
            .resource(),
            "the tunnel protocol LEGACY_ISTIO_MTLS is not spoken here",
        ),
        (
            &uid,
            wire::Workload {
                tunnel_protocol: 7,
                ..a_pod("web", "10.0.0.1")
            }
            .resource(),
            "tunnel_protocol has the unknown value 7",
        ),
        (
            &uid,
            wire::Workload {
                status: 7,
                ..a_pod("web", "10.0.0.1")
            }
            .resource(),
            "status has the unknown value 7",
        ),
        (
            &uid,
            wire::Workload {
                network_mode: 7,
                ..a_pod("web", "10.0.0.1")
            }
            .resource(),
            "network_mode has the unknown value 7",
        ),
        (&service_key, service_ports.resource(), "70000 is not a port"),
        (
            &service_key,
            wire::Service {
                visibility: 7,
                ..a_service("web", "10.96.0.1")
            }
            .resource(),
            "visibility has the unknown value 7",
        ),
        (
            &"empty".to_owned(),
            ("empty".to_owned(), vec![]),
            "is neither a workload nor a service",
        ),
        (
            &"other".to_owned(),
            ("other".to_owned(), a_pod("web", "10.0.0.1").resource().1),
            "its content names it Kubernetes//Pod/shop/web",
        ),
    ] {
        let store = Store::complete();
        let rejected = store.apply(ADDRESS_TYPE, vec![one, good.clone()], vec![]);
        assert_eq!(rejected, [(name.clone(), reason.to_owned())]);
        assert!(store.load().workload_at(ip("10.0.0.9")).is_some());
        assert!(store.load().workload_at(ip("10.0.0.1")).is_none());
    }
}

#[test]
fn a_rejected_change_leaves_the_last_good_state_in_force() {
    let store = Store::complete();
    store.put(a_pod("web", "10.0.0.1"));
    let rejected = store.apply(ADDRESS_TYPE, address(&pod_uid("web"), vec![0xff]), vec![]);
    assert_eq!(rejected.len(), 1);
    assert!(rejected[0].1.starts_with("cannot be decoded"), "{rejected:?}");
    assert!(store.load().workload_at(ip("10.0.0.1")).is_some());
}

#[test]
fn an_identity_that_is_none_is_rejected() {
    let store = Store::complete();
    let rejected = store.put(wire::Workload {
        service_account: "a/b".to_owned(),
        ..a_pod("web", "10.0.0.1")
    });
    assert_eq!(rejected.len(), 1);
}

#[test]
fn two_claims_to_an_address_are_settled_only_when_one_goes() {
    let store = Store::complete();
    store.put(a_pod("a", "10.0.0.1"));
    store.put(a_pod("b", "10.0.0.1"));
    assert!(store.load().workload_at(ip("10.0.0.1")).is_none());
    assert_eq!(store.load().claimants_of(ip("10.0.0.1")).len(), 2);
    store.remove(&pod_uid("a"));
    assert_eq!(store.load().workload_at(ip("10.0.0.1")).unwrap().name, "b");
}

#[test]
fn an_address_that_moves_in_one_response_is_never_contested() {
    let store = Store::complete();
    store.put(a_pod("a", "10.0.0.1"));
    store.apply(
        ADDRESS_TYPE,
        vec![a_pod("b", "10.0.0.1").resource()],
        vec![pod_uid("a")],
    );
    assert_eq!(store.load().workload_at(ip("10.0.0.1")).unwrap().name, "b");
}

#[test]
fn pods_on_the_nodes_network_do_not_claim_its_address() {
    let store = Store::complete();
    for name in ["a", "b"] {
        store.put(wire::Workload {
            network_mode: 1,
            ..a_pod(name, "192.0.2.1")
        });
    }
    let state = store.load();
    assert_eq!(state.claimants_of(ip("192.0.2.1")).len(), 0);
    assert!(state.workload_of_pod("shop", "a").unwrap().is_host_network);
}

#[test]
fn a_pod_is_not_mistaken_for_an_entry_of_its_name() {
    let store = Store::complete();
    let uid = "Kubernetes/networking.istio.io/WorkloadEntry/shop/web".to_owned();
    store.put(wire::Workload {
        uid: uid.clone(),
        ..a_pod("web", "10.0.0.2")
    });
    assert_eq!(store.load().workload_of_pod("shop", "web").unwrap().uid, uid);
    store.put(a_pod("web", "10.0.0.1"));
    assert_eq!(store.load().workload_of_pod("shop", "web").unwrap().uid, pod_uid("web"));
}

#[test]
fn pods_of_one_name_in_two_clusters_are_not_told_apart() {
    let store = Store::complete();
    store.put(a_pod("web", "10.0.0.1"));
    store.put(wire::Workload {
        uid: "other//Pod/shop/web".to_owned(),
        ..a_pod("web", "10.0.0.2")
    });
    assert!(store.load().workload_of_pod("shop", "web").is_none());
}

#[test]
fn the_dump_speaks_istios_names() {
    let store = Store::complete();
    store.put(endpoint_of("web", a_pod("web-1", "10.0.0.1")));
    store.put(a_service("web", "10.96.0.1"));
    let principals = security::Match {
        principals: vec![exact("cluster.local/ns/shop/sa/a")],
        ..Default::default()
    };
    store.put_policy(a_policy("only-a", security::Action::Allow, when(principals)));
    let dump = store.load().config_dump();
    let workload = &dump["workloads"][0];
    assert_eq!(workload["protocol"], "HBONE");
    assert_eq!(workload["workloadIps"], serde_json::json!(["10.0.0.1"]));
    assert_eq!(workload["trustDomain"], "cluster.local");
    let service = &dump["services"][0];
    assert_eq!(service["vips"], serde_json::json!(["/10.96.0.1"]));
    assert_eq!(
        service["endpoints"][pod_uid("web-1")]["port"],
        serde_json::json!({ "80": 8080 })
    );
    assert_eq!(
        dump["policies"][0],
        serde_json::json!({
            "name": "only-a", "namespace": "shop", "scope": "Namespace", "action": "Allow", "dryRun": false,
            "rules": [[[{ "principals": [{ "Exact": "cluster.local/ns/shop/sa/a" }] }]]],
        })
    );
}

#[test]
fn many_changes_in_any_order_end_in_the_same_state() {
    let names: Vec<String> = (0..300).map(|number| format!("web-{number}")).collect();
    let pod = |number: usize| {
        endpoint_of(
            "web",
            a_pod(&names[number], &format!("10.0.{}.{}", number / 200, number % 200)),
        )
    };
    let (forward, backward) = (Store::complete(), Store::complete());
    forward.put(a_service("web", "10.96.0.1"));
    (0..300).for_each(|number| assert_eq!(forward.put(pod(number)), []));
    let all = (0..300).rev().map(|number| pod(number).resource()).collect();
    assert_eq!(backward.apply(ADDRESS_TYPE, all, vec![]), []);
    backward.put(a_service("web", "10.96.0.1"));
    for store in [&forward, &backward] {
        (0..300)
            .step_by(2)
            .for_each(|number| store.remove(&pod_uid(&names[number])));
    }
    assert_eq!(forward.load().config_dump(), backward.load().config_dump());
    assert_eq!(
        forward
            .load()
            .endpoints_of(forward.load().services().next().unwrap())
            .len(),
        150
    );
}
