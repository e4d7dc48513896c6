//! Who talks to whom: the facts of a connection, as labels, as a log line, as JSON.

use crate::{
    access_log::{Entry, Value},
    connection::{Failure, Flag},
    identity::Identity,
    metrics::{self, Labels, UNKNOWN},
    state::{Service, Workload},
};
use serde_json::json;
use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// From the pod's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }

    pub fn reporter(self) -> &'static str {
        match self {
            Self::Inbound => "destination",
            Self::Outbound => "source",
        }
    }
}

/// One end of a connection. The identity is there only when mutual TLS has shown it.
#[derive(Clone, Debug)]
pub struct End {
    pub address: SocketAddr,
    pub workload: Option<Arc<Workload>>,
    pub identity: Option<Identity>,
}

/// Everything that is said of a connection and does not change while it lasts.
#[derive(Clone, Debug)]
pub struct Description {
    pub direction: Direction,
    /// The pod it was accepted in.
    pub pod: Arc<str>,
    pub source: End,
    /// With HBONE, the address of the tunnel.
    pub destination: End,
    pub service: Option<Arc<Service>>,
    /// The app's address inside the tunnel; None without HBONE.
    pub hbone_target: Option<SocketAddr>,
}

/// How many labels say who an end is, and which service.
pub const END_LABELS: usize = 7;
pub const SERVICE_LABELS: usize = 3;

/// Who an end is: workload, canonical service and revision, namespace, cluster, region, zone.
pub fn end_labels(workload: Option<&Workload>) -> [&str; END_LABELS] {
    let of = |field: fn(&Workload) -> &str| known(workload.map_or("", field));
    [
        of(|w| &w.workload_name),
        of(|w| &w.canonical_name),
        of(|w| &w.canonical_revision),
        of(|w| &w.namespace),
        of(|w| &w.cluster),
        of(|w| &w.region),
        of(|w| &w.zone),
    ]
}

/// A service's hostname, namespace and name.
pub fn service_labels(service: Option<&Service>) -> [&str; SERVICE_LABELS] {
    let of = |field: fn(&Service) -> &str| known(service.map_or("", field));
    [of(|s| &s.hostname), of(|s| &s.namespace), of(|s| &s.name)]
}

fn known(text: &str) -> &str {
    if text.is_empty() { UNKNOWN } else { text }
}

fn fill<const N: usize>(labels: &mut Labels, places: [usize; N], values: [&str; N]) {
    for (place, value) in places.into_iter().zip(values) {
        if value != UNKNOWN {
            labels[place] = value.to_owned().into();
        }
    }
}

fn principal(identity: Option<&Identity>) -> Cow<'static, str> {
    identity.map_or(UNKNOWN.into(), |identity| identity.to_string().into())
}

impl Description {
    /// With the response flag of a connection that is well.
    pub fn labels(&self) -> Labels {
        let mut labels: Labels = std::array::from_fn(|_| UNKNOWN.into());
        let source = end_labels(self.source.workload.as_deref());
        let destination = end_labels(self.destination.workload.as_deref());
        fill(&mut labels, metrics::SOURCE_END, source);
        fill(&mut labels, metrics::SOURCE_APP_AND_VERSION, [source[1], source[2]]);
        fill(&mut labels, metrics::DESTINATION_END, destination);
        let of_app = [destination[1], destination[2]];
        fill(&mut labels, metrics::DESTINATION_APP_AND_VERSION, of_app);
        fill(&mut labels, metrics::SERVICE, service_labels(self.service.as_deref()));
        labels[metrics::SOURCE_PRINCIPAL] = principal(self.source.identity.as_ref());
        labels[metrics::DESTINATION_PRINCIPAL] = principal(self.destination.identity.as_ref());
        labels[metrics::REPORTER] = self.direction.reporter().into();
        labels[metrics::REQUEST_PROTOCOL] = "tcp".into();
        labels[metrics::RESPONSE_FLAGS] = Flag::None.as_str().into();
        if self.hbone_target.is_some() {
            labels[metrics::CONNECTION_SECURITY_POLICY] = "mutual_tls".into();
        }
        labels
    }

    /// The access log's entry for its end.
    pub fn entry(&self, sent: u64, received: u64, lasted: Duration, failure: Option<Failure>) -> Entry {
        let mut fields = Vec::with_capacity(17);
        fields.push(("src.addr", Value::Bare(self.source.address.to_string())));
        who_fields(
            &mut fields,
            ["src.workload", "src.namespace", "src.identity", "src.cluster"],
            &self.source,
        );
        fields.push(("dst.addr", Value::Bare(self.destination.address.to_string())));
        if let Some(target) = self.hbone_target {
            fields.push(("dst.hbone_addr", Value::Bare(target.to_string())));
        }
        if let Some(service) = &self.service {
            fields.push(("dst.service", Value::Text(service.hostname.to_string())));
        }
        who_fields(
            &mut fields,
            ["dst.workload", "dst.namespace", "dst.identity", "dst.cluster"],
            &self.destination,
        );
        fields.push(("direction", Value::Text(self.direction.as_str().into())));
        fields.push(("bytes_sent", Value::Number(sent)));
        fields.push(("bytes_recv", Value::Number(received)));
        fields.push(("duration", Value::Text(format!("{}ms", lasted.as_millis()))));
        let failed = failure.is_some();
        if let Some(failure) = failure {
            fields.push(("error", Value::Text(failure.reason)));
        }
        Entry {
            time: SystemTime::now(),
            failed,
            message: "connection complete",
            fields,
        }
    }

    pub fn json(&self) -> serde_json::Value {
        json!({
            "direction": self.direction.as_str(),
            "pod": &*self.pod,
            "protocol": if self.hbone_target.is_some() { "HBONE" } else { "TCP" },
            "source": end_json(&self.source),
            "destination": end_json(&self.destination),
            "service": self.service.as_ref().map(|service| &service.hostname),
            "hboneTarget": self.hbone_target,
        })
    }
}

type Fields = Vec<(&'static str, Value)>;

/// Workload, namespace, identity, cluster.
fn who_fields(fields: &mut Fields, names: [&'static str; 4], end: &End) {
    let [name, namespace, identity, cluster] = names;
    if let Some(workload) = &end.workload {
        fields.push((name, Value::Text(workload.name.clone())));
        fields.push((namespace, Value::Text(workload.namespace.clone())));
    }
    if let Some(shown) = &end.identity {
        fields.push((identity, Value::Text(shown.to_string())));
    }
    if let Some(workload) = end.workload.as_ref().filter(|workload| !workload.cluster.is_empty()) {
        fields.push((cluster, Value::Text(workload.cluster.clone())));
    }
}

fn end_json(end: &End) -> serde_json::Value {
    json!({
        "address": end.address,
        "workload": end.workload.as_ref().map(|workload| &workload.name),
        "namespace": end.workload.as_ref().map(|workload| &workload.namespace),
        "identity": end.identity.as_ref().map(Identity::to_string),
    })
}
