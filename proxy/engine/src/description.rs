//! Who talks to whom: the facts of a connection, as labels, as a log line, as JSON.

use crate::{
    access_log::{Entry, Value},
    connection::Failure,
    identity::Identity,
    metrics::Labels,
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
    fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }

    fn reporter(self) -> &'static str {
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

fn known(text: &str) -> Cow<'static, str> {
    if text.is_empty() {
        "unknown".into()
    } else {
        text.to_owned().into()
    }
}

fn principal(identity: Option<&Identity>) -> Cow<'static, str> {
    identity.map_or("unknown".into(), |identity| identity.to_string().into())
}

impl Description {
    /// With the response flag of a connection that is well.
    pub fn labels(&self) -> Labels {
        let source = self.source.workload.as_deref();
        let destination = self.destination.workload.as_deref();
        let service = self.service.as_deref();
        let of = |workload: Option<&Workload>, field: fn(&Workload) -> &str| known(workload.map_or("", field));
        let of_service = |field: fn(&Service) -> &str| known(service.map_or("", field));
        [
            self.direction.reporter().into(),
            of(source, |w| &w.workload_name),
            of(source, |w| &w.canonical_name),
            of(source, |w| &w.canonical_revision),
            of(source, |w| &w.namespace),
            principal(self.source.identity.as_ref()),
            of(source, |w| &w.canonical_name),
            of(source, |w| &w.canonical_revision),
            of(source, |w| &w.cluster),
            of_service(|s| &s.hostname),
            of_service(|s| &s.namespace),
            of_service(|s| &s.name),
            of(destination, |w| &w.workload_name),
            of(destination, |w| &w.canonical_name),
            of(destination, |w| &w.canonical_revision),
            of(destination, |w| &w.namespace),
            principal(self.destination.identity.as_ref()),
            of(destination, |w| &w.canonical_name),
            of(destination, |w| &w.canonical_revision),
            of(destination, |w| &w.cluster),
            "tcp".into(),
            "-".into(),
            if self.hbone_target.is_some() {
                "mutual_tls".into()
            } else {
                "unknown".into()
            },
            of(source, |w| &w.region),
            of(source, |w| &w.zone),
            of(destination, |w| &w.region),
            of(destination, |w| &w.zone),
        ]
    }

    /// The access log's entry for its end.
    pub fn entry(&self, sent: u64, received: u64, lasted: Duration, failure: Option<Failure>) -> Entry {
        let mut fields = Vec::with_capacity(15);
        end_fields(
            &mut fields,
            ["src.addr", "src.workload", "src.namespace", "src.identity"],
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
            ["dst.workload", "dst.namespace", "dst.identity"],
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

fn end_fields(fields: &mut Fields, names: [&'static str; 4], end: &End) {
    let [address, workload, namespace, identity] = names;
    fields.push((address, Value::Bare(end.address.to_string())));
    who_fields(fields, [workload, namespace, identity], end);
}

fn who_fields(fields: &mut Fields, names: [&'static str; 3], end: &End) {
    let [name, namespace, identity] = names;
    if let Some(workload) = &end.workload {
        fields.push((name, Value::Text(workload.name.to_string())));
        fields.push((namespace, Value::Text(workload.namespace.to_string())));
    }
    if let Some(shown) = &end.identity {
        fields.push((identity, Value::Text(shown.to_string())));
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
