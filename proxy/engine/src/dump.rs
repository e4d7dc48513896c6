//! The state as JSON, with the field names of Istio's `config_dump`, so that its tools read it.

use std::fmt::Display;

use serde_json::{Map, Value, json};

use crate::policies::Entry;
use crate::rules::{Account, Action, Match, Policy, Scope, Text};
use crate::state::{Endpoint, State};
use crate::workload::{Families, Mode, Ports, Service, Workload};

impl State {
    /// `{"workloads": […], "services": […], "policies": […]}`, each in the order of its names.
    pub fn config_dump(&self) -> Value {
        let mut workloads: Vec<_> = self.workloads().collect();
        workloads.sort_by(|one, other| one.uid.cmp(&other.uid));
        let mut services: Vec<_> = self.services().collect();
        services.sort_by(|one, other| one.key.cmp(&other.key));
        json!({
            "workloads": list(workloads, |one| workload(one)),
            "services": list(services, |one| service(one, self.endpoints_of(one))),
            "policies": list(self.policies().entries(), policy_entry),
        })
    }
}

fn workload(one: &Workload) -> Value {
    let mut dump = json!({
        "uid": one.uid,
        "workloadIps": texts(&one.addresses),
        "protocol": if one.is_hbone { "HBONE" } else { "TCP" },
        "name": one.name,
        "namespace": one.namespace,
        "trustDomain": &*one.identity.trust_domain,
        "serviceAccount": &*one.identity.service_account,
        "workloadName": one.workload_name,
        "workloadType": one.workload_type,
        "canonicalName": one.canonical_name,
        "canonicalRevision": one.canonical_revision,
        "networkMode": if one.is_host_network { "HostNetwork" } else { "Standard" },
        "network": one.network,
        "hostname": one.hostname,
        "node": one.node,
        "status": if one.is_healthy { "Healthy" } else { "Unhealthy" },
        "clusterId": one.cluster,
        "locality": { "region": one.region, "zone": one.zone, "subzone": one.subzone },
        "capacity": one.capacity,
        "authorizationPolicies": texts(one.policies.names()),
        "services": list(&one.services, |(key, _)| json!(&**key)),
    });
    add_waypoint(&mut dump, one.waypoint.as_deref());
    dump
}

fn service(one: &Service, endpoints: &[Endpoint]) -> Value {
    let vips = one.vips.iter().map(|vip| format!("/{vip}"));
    let ranges = one.ranges.iter().map(|range| format!("/{range}"));
    let endpoints: Map<String, Value> = endpoints
        .iter()
        .map(|one| (one.workload.uid.clone(), endpoint(one)))
        .collect();
    let mut dump = json!({
        "name": one.name,
        "namespace": one.namespace,
        "hostname": one.hostname,
        "vips": vips.chain(ranges).collect::<Vec<_>>(),
        "ports": ports(&one.ports),
        "endpoints": endpoints,
        "subjectAltNames": texts(&one.subject_alt_names),
        "loadBalancer": {
            "mode": mode(one.balancing.mode),
            "routingPreferences": list(&one.balancing.scopes, |scope| json!(format!("{scope:?}"))),
            "healthPolicy": if one.balancing.takes_unhealthy { "AllowAll" } else { "OnlyHealthy" },
        },
        "ipFamilies": families(one.families),
        "canonical": one.is_canonical,
        "visibility": if one.is_namespace_private { "Namespace" } else { "Public" },
    });
    add_waypoint(&mut dump, one.waypoint.as_deref());
    dump
}

fn endpoint(one: &Endpoint) -> Value {
    json!({
        "workloadUid": one.workload.uid,
        "port": ports(&one.ports),
        "status": if one.workload.is_healthy { "Healthy" } else { "Unhealthy" },
    })
}

fn policy_entry(entry: &Entry) -> Value {
    match entry {
        Entry::Understood(one) => policy(one),
        Entry::NotUnderstood(doubt) => json!({
            "name": doubt.key.split_once('/').map_or(&*doubt.key, |(_, name)| name),
            "namespace": doubt.namespace,
            "scope": scope(doubt.scope),
            "dryRun": doubt.is_dry_run,
            "notUnderstood": doubt.reason,
        }),
    }
}

fn policy(one: &Policy) -> Value {
    json!({
        "name": one.name,
        "namespace": one.namespace,
        "scope": scope(one.scope),
        "action": match one.effect.action { Action::Allow => "Allow", Action::Deny => "Deny" },
        "dryRun": one.effect.is_dry_run,
        "rules": list(&one.rules, |rule| list(&rule.0, |clause| list(&clause.0, conditions))),
    })
}

fn conditions(one: &Match) -> Value {
    let fields = [
        ("namespaces", list(&one.namespaces, text)),
        ("notNamespaces", list(&one.not_namespaces, text)),
        ("principals", list(&one.principals, text)),
        ("notPrincipals", list(&one.not_principals, text)),
        ("sourceIps", texts(&one.source_ips)),
        ("notSourceIps", texts(&one.not_source_ips)),
        ("destinationIps", texts(&one.destination_ips)),
        ("notDestinationIps", texts(&one.not_destination_ips)),
        ("destinationPorts", json!(one.destination_ports)),
        ("notDestinationPorts", json!(one.not_destination_ports)),
        ("serviceAccounts", list(&one.service_accounts, account)),
        ("notServiceAccounts", list(&one.not_service_accounts, account)),
    ];
    let said = fields.into_iter().filter(|(_, values)| *values != json!([]));
    said.map(|(name, values)| (name.to_owned(), values))
        .collect::<Map<_, _>>()
        .into()
}

fn text(one: &Text) -> Value {
    match one {
        Text::Exact(text) => json!({ "Exact": text }),
        Text::Prefix(text) => json!({ "Prefix": text }),
        Text::Suffix(text) => json!({ "Suffix": text }),
        Text::Presence => json!({ "Presence": {} }),
    }
}

fn account(one: &Account) -> Value {
    json!({ "namespace": one.namespace, "serviceAccount": one.name })
}

fn scope(one: Scope) -> &'static str {
    match one {
        Scope::Mesh => "Global",
        Scope::Namespace => "Namespace",
        Scope::Selected => "WorkloadSelector",
    }
}

fn mode(one: Mode) -> &'static str {
    match one {
        Mode::Any => "Standard",
        Mode::Strict => "Strict",
        Mode::Failover => "Failover",
        Mode::Passthrough => "Passthrough",
    }
}

fn families(one: Families) -> &'static str {
    match one {
        Families::Any => "Dual",
        Families::V4 => "IPv4",
        Families::V6 => "IPv6",
    }
}

fn ports(one: &Ports) -> Value {
    one.iter()
        .map(|(port, target)| (port.to_string(), json!(target)))
        .collect::<Map<_, _>>()
        .into()
}

fn add_waypoint(dump: &mut Value, waypoint: Option<&str>) {
    if let Some(destination) = waypoint {
        dump["waypoint"] = json!({ "destination": destination });
    }
}

fn list<T>(from: impl IntoIterator<Item = T>, dump: impl Fn(T) -> Value) -> Value {
    from.into_iter().map(dump).collect::<Vec<_>>().into()
}

fn texts<T: Display>(from: &[T]) -> Value {
    list(from, |one| json!(one.to_string()))
}
