//! The engine as Python sees it: `agent._engine`. The only file that knows Python.
//!
//! Each method gives up the interpreter lock while it works, and raises agent.errors.EngineError.

use crate::{
    durations,
    engine::{Engine as Inner, Settings},
    error::Error,
    metrics,
};
use pyo3::{
    prelude::*,
    types::{PyDict, PyString},
};
use std::{os::fd::BorrowedFd, time::Duration};

pyo3::import_exception!(agent.errors, EngineError);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        EngineError::new_err(error.to_string())
    }
}

/// Labels, then connections opened, closed, failed, bytes received, sent, and connections open now.
type Row<'py> = (Bound<'py, PyDict>, u64, u64, u64, u64, u64, u64);

/// Two labels, (bound in seconds, how many took no longer) with infinity as the last, seconds in all.
type Histogram = (&'static str, &'static str, Vec<(f64, u64)>, f64);

#[pyclass(module = "agent._engine", frozen)]
struct Engine {
    inner: Inner,
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (
        workers,
        *,
        trust_domain = "cluster.local",
        cluster = "Kubernetes",
        node = "",
        access_log = "plain",
        most_connections = 65536,
    ))]
    fn new(
        py: Python<'_>,
        workers: usize,
        trust_domain: &str,
        cluster: &str,
        node: &str,
        access_log: &str,
        most_connections: usize,
    ) -> PyResult<Self> {
        let settings = Settings {
            workers,
            trust_domain: trust_domain.to_owned(),
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            access_log: access_log.parse()?,
            most_connections,
        };
        let inner = py.detach(|| Inner::start(settings, Box::new(std::io::stdout())))?;
        Ok(Self { inner })
    }

    fn add_pod(
        &self,
        py: Python<'_>,
        uid: &str,
        name: &str,
        namespace: &str,
        service_account: &str,
        netns: i32,
    ) -> PyResult<()> {
        let netns = borrowed(netns)?;
        Ok(py.detach(|| self.inner.add_pod(uid, name, namespace, service_account, netns))?)
    }

    fn remove_pod(&self, py: Python<'_>, uid: &str, drain_seconds: f64) -> PyResult<()> {
        let drain = duration(drain_seconds)?;
        Ok(py.detach(|| self.inner.remove_pod(uid, drain))?)
    }

    fn pods(&self, py: Python<'_>) -> Vec<String> {
        py.detach(|| self.inner.served())
    }

    fn apply(
        &self,
        py: Python<'_>,
        type_url: &str,
        changed: Vec<(String, Vec<u8>)>,
        removed: Vec<String>,
    ) -> Vec<(String, String)> {
        py.detach(|| self.inner.apply(type_url, changed, removed))
    }

    fn set_certificate(
        &self,
        py: Python<'_>,
        identity: &str,
        key: &[u8],
        chain: Vec<Vec<u8>>,
        roots: Vec<Vec<u8>>,
    ) -> PyResult<()> {
        Ok(py.detach(|| self.inner.set_certificate(identity, key, &chain, &roots))?)
    }

    fn remove_certificate(&self, py: Python<'_>, identity: &str) -> PyResult<()> {
        Ok(py.detach(|| self.inner.remove_certificate(identity))?)
    }

    fn wanted_identities(&self, py: Python<'_>) -> Vec<String> {
        py.detach(|| self.inner.wanted_identities())
    }

    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Vec<Row<'py>>> {
        let rows = py.detach(|| self.inner.metrics());
        let as_python = |row: metrics::Row| {
            let labels = PyDict::new(py);
            for (name, value) in metrics::exposed(&row.labels) {
                labels.set_item(PyString::intern(py, name), value)?;
            }
            let [opened, closed, failed, received, sent, open] = row.counts;
            Ok((labels, opened, closed, failed, received, sent, open))
        };
        rows.into_iter().map(as_python).collect()
    }

    fn policy_counts(&self, py: Python<'_>) -> Vec<(String, &'static str, u64)> {
        py.detach(|| self.inner.policy_counts())
    }

    fn metrics_overflown(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.inner.metrics_overflown())
    }

    fn handshake_durations(&self, py: Python<'_>) -> Vec<Histogram> {
        py.detach(|| self.inner.handshake_durations().into_iter().map(histogram).collect())
    }

    fn connect_durations(&self, py: Python<'_>) -> Vec<Histogram> {
        py.detach(|| self.inner.connect_durations().into_iter().map(histogram).collect())
    }

    fn sockets_open(&self, py: Python<'_>) -> Vec<(&'static str, u64)> {
        py.detach(|| self.inner.sockets_open().to_vec())
    }

    fn access_log_level(&self) -> &'static str {
        self.inner.access_log_level().as_str()
    }

    fn set_access_log_level(&self, level: &str) -> PyResult<()> {
        Ok(self.inner.set_access_log_level(level)?)
    }

    fn access_log_dropped(&self) -> u64 {
        self.inner.access_log_dropped()
    }

    #[pyo3(signature = (destination, *, source = None, source_ip))]
    fn explain_arrival(
        &self,
        py: Python<'_>,
        destination: &str,
        source: Option<&str>,
        source_ip: &str,
    ) -> PyResult<String> {
        Ok(py.detach(|| self.inner.explain_arrival(destination, source, source_ip))?)
    }

    fn explain_departure(&self, py: Python<'_>, pod: &str, destination: &str) -> PyResult<String> {
        Ok(py.detach(|| self.inner.explain_departure(pod, destination))?)
    }

    fn connections(&self, py: Python<'_>) -> String {
        py.detach(|| self.inner.connections())
    }

    fn config_dump(&self, py: Python<'_>) -> String {
        py.detach(|| self.inner.config_dump())
    }

    fn drain(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let at_most = duration(seconds)?;
        Ok(py.detach(|| self.inner.drain(at_most))?)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.inner.close());
    }
}

fn histogram(([one, other], sum): durations::Row) -> Histogram {
    let bounds = durations::BOUNDS.iter().map(|bound| *bound as f64 / 1e6);
    let mut reached = 0;
    let cumulative = sum.buckets.iter().map(|count| {
        reached += count;
        reached
    });
    let buckets = bounds.chain([f64::INFINITY]).zip(cumulative).collect();
    (one, other, buckets, sum.microseconds as f64 / 1e6)
}

fn duration(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|error| EngineError::new_err(format!("{seconds} s: {error}")))
}

#[allow(unsafe_code)]
fn borrowed<'a>(descriptor: i32) -> PyResult<BorrowedFd<'a>> {
    if descriptor < 0 {
        return Err(EngineError::new_err(format!("{descriptor} is not a descriptor")));
    }
    // SAFETY: not -1; the caller holds the descriptor open during its call, beyond which this
    // borrow is not kept. A wrong number makes fcntl fail or names another file, which setns refuses.
    Ok(unsafe { BorrowedFd::borrow_raw(descriptor) })
}

#[pymodule]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.py().import("agent.errors")?;
    module.add_class::<Engine>()
}
