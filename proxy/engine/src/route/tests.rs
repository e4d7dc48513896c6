use super::*;
use crate::address::Prefix;
use crate::proto::workload as wire;
use crate::state::Store;
use crate::testing::*;

const VIP: &str = "10.96.0.1:80";

/// The route of a client that is unknown, with the first of all possible endpoints.
fn route(store: &Store, destination: &str) -> Route {
    store.load().route(None, socket(destination), &mut |_| 0)
}

fn route_from(store: &Store, source: &str, destination: &str) -> Route {
    let state = store.load();
    let source = state.workload_of_pod("shop", source).expect("the source");
    state.route(Some(source), socket(destination), &mut |_| 0)
}

/// One line that says all a test looks at.
fn told(route: Route) -> String {
    match route {
        Route::Hbone { endpoint, target, .. } => format!("hbone {} {target}", endpoint.name),
        Route::Direct {
            endpoint: Some(endpoint),
            target,
            ..
        } => format!("direct {} {target}", endpoint.name),
        Route::Direct {
            endpoint: None, target, ..
        } => format!("direct {target}"),
        Route::Refuse { reason, .. } => reason,
    }
}

fn a_mesh(endpoints: &[(&str, &str)]) -> Store {
    let store = Store::complete();
    store.put(a_service("web", "10.96.0.1"));
    for (name, address) in endpoints {
        store.put(endpoint_of("web", a_pod(name, address)));
    }
    store
}

fn balancing(mode: wire::load_balancing::Mode, scopes: &[wire::load_balancing::Scope]) -> Option<wire::LoadBalancing> {
    let routing_preference = scopes.iter().map(|scope| i32::from(*scope)).collect();
    Some(wire::LoadBalancing {
        mode: mode.into(),
        routing_preference,
        ..Default::default()
    })
}

#[test]
fn nothing_is_routed_before_discovery_is_complete() {
    assert_eq!(told(route(&Store::new(), "192.0.2.1:80")), "discovery is not complete");
}

#[test]
fn an_unknown_address_is_left_as_it_is() {
    assert_eq!(told(route(&a_mesh(&[]), "192.0.2.1:443")), "direct 192.0.2.1:443");
}

#[test]
fn a_virtual_address_leads_to_an_endpoint_by_tunnel() {
    let store = a_mesh(&[("a", "10.0.0.1")]);
    let Route::Hbone {
        endpoint,
        service,
        target,
        identities,
    } = route(&store, VIP)
    else {
        panic!("no tunnel")
    };
    assert_eq!(endpoint.name, "a");
    assert_eq!(service.unwrap().name, "web");
    assert_eq!(target, socket("10.0.0.1:8080"));
    assert_eq!(identities, [Identity::new("cluster.local", "shop", "a").unwrap()]);
}

#[test]
fn a_services_other_names_are_accepted_besides_the_endpoints_own() {
    let store = a_mesh(&[("a", "10.0.0.1")]);
    let names = [
        "spiffe://cluster.local/ns/shop/sa/vm",
        "spiffe://cluster.local/ns/shop/sa/a",
        "example.com",
    ];
    let subject_alt_names = names.map(str::to_owned).to_vec();
    store.put(wire::Service {
        subject_alt_names,
        ..a_service("web", "10.96.0.1")
    });
    let Route::Hbone { identities, .. } = route(&store, VIP) else {
        panic!("no tunnel")
    };
    let expected = ["a", "vm"].map(|account| Identity::new("cluster.local", "shop", account).unwrap());
    assert_eq!(identities, expected);
}

#[test]
fn an_endpoint_outside_the_mesh_is_reached_by_plain_tcp() {
    let store = a_mesh(&[]);
    store.put(wire::Workload {
        tunnel_protocol: 0,
        ..endpoint_of("web", a_pod("a", "10.0.0.1"))
    });
    assert_eq!(told(route(&store, VIP)), "direct a 10.0.0.1:8080");
}

#[test]
fn a_pods_own_address_leads_to_it() {
    let store = a_mesh(&[("a", "10.0.0.1")]);
    assert_eq!(told(route(&store, "10.0.0.1:9000")), "hbone a 10.0.0.1:9000");
    assert_eq!(told(route(&store, "[::ffff:10.0.0.1]:9000")), "hbone a 10.0.0.1:9000");
    assert_eq!(told(route_from(&store, "a", "10.0.0.1:9000")), "direct a 10.0.0.1:9000");
}

#[test]
fn a_port_that_the_service_has_not_is_refused() {
    let reason = "service shop/web.shop.svc.cluster.local has no port 81";
    assert_eq!(told(route(&a_mesh(&[("a", "10.0.0.1")]), "10.96.0.1:81")), reason);
}

#[test]
fn a_service_with_no_usable_endpoint_is_refused() {
    let reason = "no healthy endpoint of service shop/web.shop.svc.cluster.local";
    for unusable in [
        wire::Workload {
            status: 1,
            ..a_pod("a", "10.0.0.1")
        },
        wire::Workload {
            capacity: Some(0),
            ..a_pod("a", "10.0.0.1")
        },
        wire::Workload {
            addresses: vec![],
            ..a_pod("a", "10.0.0.1")
        },
        wire::Workload {
            network: "far".to_owned(),
            ..a_pod("a", "10.0.0.1")
        },
    ] {
        let store = a_mesh(&[]);
        assert_eq!(store.put(endpoint_of("web", unusable)), []);
        assert_eq!(told(route(&store, VIP)), reason);
    }
}

#[test]
fn an_endpoint_that_is_removed_is_not_chosen_again() {
    let store = a_mesh(&[("a", "10.0.0.1"), ("b", "10.0.0.2")]);
    assert_eq!(told(route(&store, VIP)), "hbone a 10.0.0.1:8080");
    store.remove(&pod_uid("a"));
    assert_eq!(told(route(&store, VIP)), "hbone b 10.0.0.2:8080");
    store.remove(&pod_uid("b"));
    assert_eq!(
        told(route(&store, VIP)),
        "no healthy endpoint of service shop/web.shop.svc.cluster.local"
    );
}

#[test]
fn a_service_may_take_endpoints_that_are_not_ready() {
    let store = a_mesh(&[]);
    store.put(wire::Workload {
        status: 1,
        ..endpoint_of("web", a_pod("a", "10.0.0.1"))
    });
    let load_balancing = Some(wire::LoadBalancing {
        health_policy: 1,
        ..Default::default()
    });
    store.put(wire::Service {
        load_balancing,
        ..a_service("web", "10.96.0.1")
    });
    assert_eq!(told(route(&store, VIP)), "hbone a 10.0.0.1:8080");
}

#[test]
fn a_named_port_is_resolved_by_each_endpoint() {
    let store = a_mesh(&[]);
    store.put(wire::Service {
        ports: vec![port(80, 0)],
        ..a_service("web", "10.96.0.1")
    });
    store.put(endpoint_with("web", vec![], a_pod("a", "10.0.0.1")));
    store.put(endpoint_with("web", vec![port(80, 3000)], a_pod("b", "10.0.0.2")));
    assert_eq!(told(route(&store, VIP)), "hbone b 10.0.0.2:3000");
}

#[test]
fn an_endpoint_without_ports_of_its_own_has_the_services() {
    let store = a_mesh(&[]);
    store.put(endpoint_with("web", vec![], a_pod("a", "10.0.0.1")));
    assert_eq!(told(route(&store, VIP)), "hbone a 10.0.0.1:8080");
}

#[test]
fn connections_are_shared_out_by_capacity() {
    let store = a_mesh(&[("b", "10.0.0.2")]);
    store.put(wire::Workload {
        capacity: Some(3),
        ..endpoint_of("web", a_pod("a", "10.0.0.1"))
    });
    store.put(wire::Workload {
        capacity: Some(0),
        ..endpoint_of("web", a_pod("c", "10.0.0.3"))
    });
    let chosen = |number| {
        let route = store.load().route(None, socket(VIP), &mut |total| {
            assert_eq!(total, 4);
            number
        });
        told(route)
    };
    let chosen: Vec<String> = (0..4).map(chosen).collect();
    let (a, b) = ("hbone a 10.0.0.1:8080", "hbone b 10.0.0.2:8080");
    assert_eq!(chosen, [a, a, a, b]);
}

#[test]
fn the_requested_family_is_preferred() {
    let store = a_mesh(&[]);
    let addresses = vec![raw("10.0.0.1"), raw("fd00::1")];
    store.put(endpoint_of(
        "web",
        wire::Workload {
            addresses,
            ..a_pod("a", "10.0.0.1")
        },
    ));
    let vips = vec![vip_of("10.96.0.1"), vip_of("fd96::1")];
    let service = wire::Service {
        addresses: vips,
        ..a_service("web", "10.96.0.1")
    };
    store.put(service.clone());
    assert_eq!(told(route(&store, VIP)), "hbone a 10.0.0.1:8080");
    assert_eq!(told(route(&store, "[fd96::1]:80")), "hbone a [fd00::1]:8080");
    store.put(wire::Service {
        ip_families: wire::IpFamilies::Ipv4Only.into(),
        ..service
    });
    assert_eq!(told(route(&store, "[fd96::1]:80")), "hbone a 10.0.0.1:8080");
}

#[test]
fn strict_scopes_leave_no_way_elsewhere() {
    use wire::load_balancing::{Mode, Scope};
    let store = a_mesh(&[]);
    store.put(wire::Service {
        load_balancing: balancing(Mode::Strict, &[Scope::Node]),
        ..a_service("web", "10.96.0.1")
    });
    let on = |node: &str, pod| wire::Workload {
        node: node.to_owned(),
        ..pod
    };
    store.put(on("one", a_pod("client", "10.0.0.9")));
    store.put(on("two", endpoint_of("web", a_pod("a", "10.0.0.1"))));
    let none = "no healthy endpoint of service shop/web.shop.svc.cluster.local";
    assert_eq!(told(route_from(&store, "client", VIP)), none);
    store.put(on("one", endpoint_of("web", a_pod("b", "10.0.0.2"))));
    assert_eq!(told(route_from(&store, "client", VIP)), "hbone b 10.0.0.2:8080");
    assert_eq!(told(route(&store, VIP)), none);
}

#[test]
fn failover_takes_the_closest_that_there_are() {
    use wire::load_balancing::{Mode, Scope};
    let store = a_mesh(&[]);
    let load_balancing = balancing(Mode::Failover, &[Scope::Network, Scope::Region, Scope::Zone]);
    store.put(wire::Service {
        load_balancing,
        ..a_service("web", "10.96.0.1")
    });
    let place = |region: &str, zone: &str, pod| {
        let locality = wire::Locality {
            region: region.to_owned(),
            zone: zone.to_owned(),
            ..Default::default()
        };
        wire::Workload {
            locality: Some(locality),
            ..pod
        }
    };
    store.put(place("north", "x", a_pod("client", "10.0.0.9")));
    // The zone's name is the client's, yet in another region: the walk ends at the region.
    store.put(place("south", "x", endpoint_of("web", a_pod("far", "10.0.0.1"))));
    assert_eq!(told(route_from(&store, "client", VIP)), "hbone far 10.0.0.1:8080");
    store.put(place("north", "y", endpoint_of("web", a_pod("near", "10.0.0.2"))));
    assert_eq!(told(route_from(&store, "client", VIP)), "hbone near 10.0.0.2:8080");
    store.put(place("north", "x", endpoint_of("web", a_pod("next-door", "10.0.0.3"))));
    assert_eq!(told(route_from(&store, "client", VIP)), "hbone next-door 10.0.0.3:8080");
}

#[test]
fn passthrough_keeps_the_address_that_was_asked_for() {
    let store = a_mesh(&[("a", "10.0.0.1")]);
    let load_balancing = balancing(wire::load_balancing::Mode::Passthrough, &[]);
    store.put(wire::Service {
        load_balancing,
        ..a_service("web", "10.96.0.1")
    });
    let Route::Direct {
        service: Some(_),
        target,
        ..
    } = route(&store, VIP)
    else {
        panic!("not passed through")
    };
    assert_eq!(target, socket(VIP));
}

#[test]
fn a_range_belongs_to_the_longest_one_that_holds_the_address() {
    let store = a_mesh(&[]);
    for (name, length, target) in [("wide", 16, "10.0.0.1"), ("narrow", 24, "10.0.0.2")] {
        let range = wire::NetworkAddress {
            length: Some(length),
            ..vip_of("198.51.100.0")
        };
        store.put(wire::Service {
            addresses: vec![range],
            ..a_service(name, "10.96.0.1")
        });
        store.put(endpoint_of(name, a_pod(&format!("{name}-1"), target)));
    }
    assert_eq!(told(route(&store, "198.51.100.7:80")), "hbone narrow-1 10.0.0.2:8080");
    assert_eq!(told(route(&store, "198.51.7.7:80")), "hbone wide-1 10.0.0.1:8080");
    store.put(a_pod("inside", "198.51.100.9"));
    assert_eq!(told(route(&store, "198.51.100.9:80")), "hbone inside 198.51.100.9:80");
    assert_eq!(
        Prefix::new(&raw("198.51.100.0"), 24).unwrap().to_string(),
        "198.51.100.0/24"
    );
}

#[test]
fn a_private_service_is_there_only_for_its_namespace() {
    let store = a_mesh(&[("a", "10.0.0.1"), ("client", "10.0.0.9")]);
    store.put(wire::Service {
        visibility: 1,
        ..a_service("web", "10.96.0.1")
    });
    assert_eq!(told(route(&store, VIP)), "direct 10.96.0.1:80");
    assert_eq!(told(route_from(&store, "client", VIP)), "hbone a 10.0.0.1:8080");
}

#[test]
fn of_several_services_at_an_address_the_clients_own_comes_before_the_canonical_one() {
    let store = a_mesh(&[("client", "10.0.0.9")]);
    let elsewhere = |name: &str, canonical| wire::Service {
        namespace: "other".to_owned(),
        hostname: format!("{name}.example.com"),
        canonical,
        ..a_service(name, "10.96.0.1")
    };
    let name = |route: Route| match route {
        Route::Hbone { service, .. } | Route::Direct { service, .. } | Route::Refuse { service, .. } => {
            service.unwrap().name.clone()
        }
    };
    store.put(elsewhere("first", false));
    store.put(elsewhere("official", true));
    assert_eq!(name(route_from(&store, "client", VIP)), "web");
    assert_eq!(name(route(&store, VIP)), "official");
    store.remove("other/official.example.com");
    assert_eq!(name(route(&store, VIP)), "first");
}

#[test]
fn a_service_takes_no_traffic_to_a_workload_of_another_namespace() {
    let store = a_mesh(&[("a", "10.0.0.1")]);
    let thief = |canonical| wire::Service {
        namespace: "other".to_owned(),
        hostname: "thief.example.com".to_owned(),
        canonical,
        ..a_service("thief", "10.0.0.1")
    };
    for canonical in [false, true] {
        store.put(thief(canonical));
        assert_eq!(told(route(&store, "10.0.0.1:80")), "hbone a 10.0.0.1:80");
    }
    store.put(wire::Workload {
        namespace: "other".to_owned(),
        ..endpoint_of("thief", a_pod("accomplice", "10.0.0.1"))
    });
    assert!(told(route(&store, "10.0.0.1:80")).contains("is claimed by both"));
}

#[test]
fn an_address_that_two_claim_is_refused_and_both_are_named() {
    let store = a_mesh(&[("a", "10.0.0.1"), ("b", "10.0.0.1")]);
    let reason = format!(
        "address 10.0.0.1 is claimed by both {} and {}",
        pod_uid("a"),
        pod_uid("b")
    );
    assert_eq!(told(route(&store, "10.0.0.1:80")), reason);
    assert_eq!(told(route(&store, VIP)), reason);
    store.remove(&pod_uid("a"));
    assert_eq!(told(route(&store, "10.0.0.1:80")), "hbone b 10.0.0.1:80");
    assert_eq!(told(route(&store, VIP)), "hbone b 10.0.0.1:8080");
}

#[test]
fn what_is_known_but_cannot_be_used_is_refused_and_never_reached_in_the_clear() {
    let store = Store::complete();
    let mut pod = wire::Workload {
        tunnel_protocol: 7,
        ..a_pod("web", "10.0.0.1")
    };
    pod.addresses.push(raw("fd00::1"));
    assert_eq!(store.put(pod).len(), 1);
    let reason = format!(
        "what discovery says of {} cannot be used: tunnel_protocol has the unknown value 7",
        pod_uid("web")
    );
    for address in ["10.0.0.1:80", "[fd00::1]:80", "[::ffff:10.0.0.1]:80"] {
        assert_eq!(told(route(&store, address)), reason);
    }
    let private = wire::Service {
        visibility: 7,
        ..a_service("web", "10.96.0.1")
    };
    assert_eq!(store.put(private).len(), 1);
    assert!(told(route(&store, VIP)).contains("visibility has the unknown value 7"));

    store.put(a_pod("web", "10.0.0.1"));
    assert_eq!(told(route(&store, "10.0.0.1:80")), "hbone web 10.0.0.1:80");
    assert_eq!(
        told(route(&store, "[fd00::1]:80")),
        "direct [fd00::1]:80",
        "not its own any more"
    );
}

#[test]
fn what_cannot_be_used_stands_in_nobodys_way() {
    let store = a_mesh(&[("a", "10.0.0.1")]);
    let unusable = |name, address| wire::Workload {
        status: 7,
        ..a_pod(name, address)
    };
    store.put(unusable("b", "10.0.0.1"));
    store.put(wire::Workload {
        network_mode: wire::NetworkMode::HostNetwork.into(),
        ..unusable("on-the-node", "192.0.2.1")
    });
    store.put(unusable("gone", "10.0.0.3"));
    store.remove(&pod_uid("gone"));
    assert_eq!(told(route(&store, "10.0.0.1:80")), "hbone a 10.0.0.1:80");
    assert_eq!(told(route(&store, "192.0.2.1:80")), "direct 192.0.2.1:80");
    assert_eq!(told(route(&store, "10.0.0.3:80")), "direct 10.0.0.3:80");
}

#[test]
fn two_entries_for_one_external_server_do_not_stand_in_each_others_way() {
    let store = a_mesh(&[]);
    for name in ["a", "b"] {
        store.put(wire::Workload {
            tunnel_protocol: 0,
            ..endpoint_of("web", a_pod(name, "203.0.113.1"))
        });
    }
    assert_eq!(told(route(&store, VIP)), "direct a 203.0.113.1:8080");
}

#[test]
fn what_needs_a_waypoint_is_refused() {
    let store = a_mesh(&[("a", "10.0.0.1")]);
    let gateway = waypoint("gate.shop.svc.cluster.local");
    let reason = "must go through waypoint shop/gate.shop.svc.cluster.local, which this version cannot";
    let through = |service| wire::Service {
        waypoint: Some(gateway.clone()),
        ..service
    };
    store.put(through(a_service("web", "10.96.0.1")));
    assert_eq!(told(route(&store, VIP)), reason);
    let weighted = wire::WeightedWaypoint {
        destination: Some(gateway.clone()),
        weight: 1,
    };
    store.put(wire::Service {
        weighted_waypoints: vec![weighted],
        ..a_service("web", "10.96.0.1")
    });
    assert_eq!(told(route(&store, VIP)), reason);
    store.put(wire::Workload {
        waypoint: Some(gateway.clone()),
        ..a_pod("b", "10.0.0.2")
    });
    assert_eq!(told(route(&store, "10.0.0.2:80")), reason);
    assert_eq!(told(route_from(&store, "b", "10.0.0.2:80")), "direct b 10.0.0.2:80");
}
