//! What would become of a connection, and why: the questions that an operator asks.
//!
//! Answered from a snapshot by the same functions that decide for real connections; nothing is
//! counted and nothing is opened.

use crate::{
    identity::Identity,
    policy::{Attempt, Considered, Panel, Trial},
    rules::Action,
    state::{Route, Service, State, Workload},
};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Would the workload at `destination` let this client in?
pub fn arrival(state: &State, destination: SocketAddr, source: Option<&Identity>, source_ip: IpAddr) -> Value {
    let attempt = Attempt {
        source,
        source_ip,
        destination,
    };
    let mut answer = json!({
        "destination": destination,
        "source": source.map(Identity::to_string),
        "sourceIp": source_ip,
        "workload": null,
        "allowed": false,
        "policy": null,
        "rule": null,
        "field": null,
    });
    let claimants = state.claimants_of(destination.ip());
    let [workload] = claimants else {
        answer["reason"] = nobody(destination.ip(), claimants).into();
        return answer;
    };
    let panel = Panel::of(state, workload);
    let verdict = panel.explain(&attempt);
    answer["workload"] = json!(workload.uid);
    answer["allowed"] = json!(verdict.is_allowed);
    answer["policy"] = json!(verdict.policy.as_deref());
    answer["rule"] = json!(verdict.rule);
    answer["field"] = json!(verdict.field);
    answer["reason"] = json!(verdict.reason);
    let (policies, more) = panel.considered(&attempt);
    answer["considered"] = policies.iter().map(considered).collect();
    answer["consideredMore"] = json!(more);
    answer["trial"] = verdict.trial.as_ref().map_or(Value::Null, trial);
    answer
}

fn considered(one: &Considered) -> Value {
    let effect = one.policy.effect;
    json!({
        "policy": &*one.policy.key,
        "action": match effect.action { Action::Allow => "ALLOW", Action::Deny => "DENY" },
        "dryRun": effect.is_dry_run,
        "matches": one.is_match,
        "rule": one.rule,
        "field": one.field,
        "lack": one.lack,
    })
}

fn trial(trial: &Trial) -> Value {
    json!({"allowed": trial.is_allowed, "policy": trial.policy.as_deref()})
}

/// Where would a connection of `source` to `destination` go? Of several endpoints one is shown.
pub fn departure(state: &State, source: &Workload, destination: SocketAddr) -> Value {
    let route = state.route(Some(source), destination, &mut |n| fastrand::u64(0..n.max(1)));
    let (by, service, endpoint, target, reason) = match route {
        Route::Hbone {
            endpoint,
            service,
            target,
            ..
        } => ("hbone", service, Some(endpoint), Some(target), None),
        Route::Direct {
            endpoint,
            service,
            target,
        } => ("direct", service, endpoint, Some(target), None),
        Route::Refuse { service, reason } => ("refused", service, None, None, Some(reason)),
    };
    json!({
        "source": source.uid,
        "destination": destination,
        "route": by,
        "service": service.as_ref().map(|service| &service.hostname),
        "endpoints": service.as_ref().map(|service| endpoints(state, service)),
        "endpoint": endpoint.as_ref().map(|endpoint| &endpoint.uid),
        "identity": endpoint.as_ref().map(|endpoint| endpoint.identity.to_string()),
        "target": target,
        "reason": reason,
    })
}

/// How many endpoints the service has, usable or not.
fn endpoints(state: &State, service: &Service) -> usize {
    state.endpoints_of(service).len()
}

fn nobody(ip: IpAddr, claimants: &[Arc<Workload>]) -> String {
    let uids: Vec<_> = claimants.iter().map(|workload| workload.uid.as_str()).collect();
    match uids.is_empty() {
        true => format!("no workload has the address {ip}"),
        false => format!("address {ip} is claimed by {}", uids.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::identity;
    use crate::proto::security::Action;
    use crate::state::Store;
    use crate::testing::*;

    fn a_mesh() -> Store {
        let store = Store::complete();
        store.put(a_pod("web", "10.0.0.1"));
        store.put(a_service("shop", "10.1.0.1"));
        store.put(endpoint_of("shop", a_pod("back", "10.0.0.2")));
        store
    }

    fn departure_to(store: &Store, destination: &str) -> Value {
        let state = store.load();
        let web = state.workload_of_pod("shop", "web").unwrap().clone();
        departure(&state, &web, socket(destination))
    }

    #[test]
    fn an_arrival_is_explained_by_the_policy_and_the_rule() {
        let store = a_mesh();
        let ports = crate::proto::security::Match {
            destination_ports: vec![80],
            ..Default::default()
        };
        store.put_policy(a_policy("open", Action::Allow, when(ports)));
        let front = identity("front");
        let explained = |to: &str| arrival(&store.load(), socket(to), Some(&front), ip("10.0.0.9"));
        let expected = json!({
            "destination": "10.0.0.1:80",
            "source": "spiffe://cluster.local/ns/shop/sa/front",
            "sourceIp": "10.0.0.9",
            "workload": "Kubernetes//Pod/shop/web",
            "allowed": true,
            "policy": "shop/open",
            "rule": 0,
            "field": "operation.ports",
            "reason": "explicitly allowed by: shop/open",
            "considered": [{
                "policy": "shop/open",
                "action": "ALLOW",
                "dryRun": false,
                "matches": true,
                "rule": 0,
                "field": "operation.ports",
                "lack": null,
            }],
            "consideredMore": 0,
            "trial": null,
        });
        assert_eq!(explained("10.0.0.1:80"), expected);
        assert_eq!(
            explained("10.0.0.1:81")["reason"],
            "allow policies exist, but none allowed (shop/open; nearest: shop/open rule 0: operation.ports does not hold 81)"
        );
        assert_eq!(
            explained("10.0.0.1:81")["considered"][0]["lack"],
            "operation.ports does not hold 81"
        );
        assert_eq!(
            explained("10.0.0.99:80")["reason"],
            "no workload has the address 10.0.0.99"
        );
    }

    #[test]
    fn a_departure_is_explained_by_its_route() {
        let store = a_mesh();
        let expected = json!({
            "source": "Kubernetes//Pod/shop/web",
            "destination": "10.1.0.1:80",
            "route": "hbone",
            "service": "shop.shop.svc.cluster.local",
            "endpoints": 1,
            "endpoint": "Kubernetes//Pod/shop/back",
            "identity": "spiffe://cluster.local/ns/shop/sa/back",
            "target": "10.0.0.2:8080",
            "reason": null,
        });
        assert_eq!(departure_to(&store, "10.1.0.1:80"), expected);
        assert_eq!(departure_to(&store, "192.0.2.1:80")["route"], "direct");
        let refused = departure_to(&store, "10.1.0.1:81");
        assert_eq!(refused["route"], "refused");
        assert_eq!(
            refused["reason"],
            "service shop/shop.shop.svc.cluster.local has no port 81"
        );
    }
}
