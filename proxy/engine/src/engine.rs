//! The engine's face: what may be asked of it, from any thread that is not one of its own.

mod counted;

use crate::{
    acceptor::{Acceptor, Listeners},
    access_log::{AccessLog, Format, Writer},
    budget::Budget,
    catalogue::Catalogue,
    certificates::{Certificates, Credentials},
    connection::{Ledger, OpenCount},
    error::Error,
    explanation,
    handshakes::Handshakes,
    identity::Identity,
    metrics::Metrics,
    netns::NetworkNamespace,
    pod::{Pod, Shared},
    sockets,
    state::Store,
    wire::{HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT, plain_address},
    worker::{Entrance, Job, Worker},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    io::{self, Write},
    net::IpAddr,
    os::fd::BorrowedFd,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

type Pods = BTreeMap<Arc<str>, Arc<Pod>>;

/// What does not change while the engine lives.
#[derive(Clone, Debug)]
pub struct Settings {
    pub workers: usize,
    pub trust_domain: String,
    /// The name of our cluster.
    pub cluster: String,
    /// The name of our node.
    pub node: String,
    pub access_log: Format,
    /// Connections that all pods together may hold.
    pub most_connections: usize,
}

/// Moves the bytes of the pods that it is given. Its threads start with it and end with `close`.
pub struct Engine {
    settings: Settings,
    shared: Arc<Shared>,
    acceptor: Acceptor,
    workers: Vec<Worker>,
    writer: Writer,
    log: AccessLog,
    catalogue: Arc<Catalogue>,
    open: Arc<OpenCount>,
    budget: Arc<Budget>,
    pods: Mutex<Pods>,
    /// Aborts every connection, then ends the threads.
    aborted: CancellationToken,
    stop: CancellationToken,
}

impl Engine {
    pub fn start(settings: Settings, log_output: Box<dyn Write + Send>) -> Result<Self, Error> {
        if settings.workers == 0 {
            return Err(Error::Settings("workers is 0, at least 1 is needed".into()));
        }
        if settings.most_connections == 0 {
            return Err(Error::Settings("most_connections is 0, at least 1 is needed".into()));
        }
        let (writer, log) = Writer::start(settings.access_log, log_output)?;
        let (open, stop) = (Arc::new(OpenCount::default()), CancellationToken::new());
        let shared = Arc::new(Shared {
            store: Store::new(),
            applied: watch::Sender::new(0),
            certificates: Certificates::default(),
            cluster: settings.cluster.clone(),
        });
        let catalogue = Arc::new(Catalogue::default());
        let ledger = || Ledger::new(Metrics::new(catalogue.clone()), log.clone(), open.clone());
        let start = |n| Worker::start(n, shared.clone(), ledger(), stop.clone());
        let workers = (0..settings.workers).map(start).collect::<Result<Vec<_>, _>>()?;
        let jobs = workers.iter().map(|worker| worker.jobs.clone()).collect();
        let acceptor = Acceptor::start(jobs, stop.clone())?;
        let (pods, aborted) = (Mutex::default(), CancellationToken::new());
        Ok(Self {
            budget: Budget::new(settings.most_connections),
            settings,
            shared,
            acceptor,
            workers,
            writer,
            log,
            catalogue,
            open,
            pods,
            aborted,
            stop,
        })
    }

    /// Returns once all three listeners in the pod accept connections; after an error none is
    /// left. The same uid with the same namespace is fine, with another one the old is replaced.
    pub fn add_pod(
        &self,
        uid: &str,
        name: &str,
        namespace: &str,
        service_account: &str,
        netns: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        let identity = Identity::new(&self.settings.trust_domain, namespace, service_account)
            .map_err(|error| Error::Settings(format!("pod {namespace}/{name}: {error}")))?;
        let netns = NetworkNamespace::duplicate(netns).map_err(|cause| Error::Namespace {
            pod: format!("{namespace}/{name}"),
            cause,
        })?;
        let pod = Arc::new(Pod {
            uid: uid.into(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            identity,
            netns,
            share: self.budget.share(),
            handshakes: Handshakes::default(),
            draining: CancellationToken::new(),
            aborted: self.aborted.child_token(),
        });
        let mut pods = self.pods()?;
        if let Some(old) = pods.get(uid) {
            if old.netns.inode() == pod.netns.inode() && old.identity == pod.identity {
                return Ok(());
            }
            self.retire(old, Duration::ZERO)?;
            pods.remove(uid);
        }
        self.acceptor.open(&pod, listeners(&pod)?)?;
        pods.insert(pod.uid.clone(), pod);
        Ok(())
    }

    /// Closes the pod's listeners at once, its connections after `drain`.
    pub fn remove_pod(&self, uid: &str, drain: Duration) -> Result<(), Error> {
        match self.pods()?.remove(uid) {
            Some(pod) => self.retire(&pod, drain),
            None => Ok(()),
        }
    }

    fn retire(&self, pod: &Pod, drain: Duration) -> Result<(), Error> {
        self.acceptor.close(&pod.uid)?;
        pod.draining.cancel();
        for worker in &self.workers {
            worker
                .jobs
                .blocking_send(Job::Forget { pod: pod.uid.clone() })
                .map_err(|_| Error::Closed)?;
        }
        if drain.is_zero() {
            pod.aborted.cancel();
            return Ok(());
        }
        self.acceptor.abort_later(pod, drain)
    }

    /// The uids that are served now.
    pub fn served(&self) -> Vec<String> {
        self.locked_pods().keys().map(|uid| uid.to_string()).collect()
    }

    /// Takes one discovery response; returns (name, reason) of what cannot be used.
    pub fn apply(
        &self,
        type_url: &str,
        changed: Vec<(String, Vec<u8>)>,
        removed: Vec<String>,
    ) -> Vec<(String, String)> {
        let rejected = self.shared.store.apply(type_url, changed, removed);
        self.shared.applied.send_modify(|version| *version += 1);
        rejected
    }

    /// Puts a certificate into force for new tunnels and handshakes; everything in PEM.
    pub fn set_certificate(
        &self,
        identity: &str,
        key: &[u8],
        chain: &[Vec<u8>],
        roots: &[Vec<u8>],
    ) -> Result<(), Error> {
        let identity = parse(identity)?;
        self.shared
            .certificates
            .set(Credentials::parse(&identity, key, chain, roots)?);
        Ok(())
    }

    pub fn remove_certificate(&self, identity: &str) -> Result<(), Error> {
        self.shared.certificates.remove(&parse(identity)?);
        Ok(())
    }

    /// The SPIFFE IDs of the pods served now, sorted, each once.
    pub fn wanted_identities(&self) -> Vec<String> {
        let wanted: BTreeSet<String> = self
            .locked_pods()
            .values()
            .map(|pod| pod.identity.to_string())
            .collect();
        wanted.into_iter().collect()
    }

    /// Whether the workload at `destination` would let this client in now, and why; as JSON.
    pub fn explain_arrival(&self, destination: &str, source: Option<&str>, source_ip: &str) -> Result<String, Error> {
        let destination = plain_address(parameter("destination", destination)?);
        let source: Option<Identity> = source.map(|text| parameter("source", text)).transpose()?;
        let source_ip: IpAddr = parameter("source_ip", source_ip)?;
        let state = self.shared.store.load();
        Ok(explanation::arrival(&state, destination, source.as_ref(), source_ip.to_canonical()).to_string())
    }

    /// Where a connection of a served pod to `destination` would go now, and why; as JSON.
    pub fn explain_departure(&self, pod: &str, destination: &str) -> Result<String, Error> {
        let destination = plain_address(parameter("destination", destination)?);
        let state = self.shared.store.load();
        let pods = self.locked_pods();
        let served = pods
            .get(pod)
            .ok_or_else(|| Error::Settings(format!("pod: {pod:?} is not the uid of a pod served here")))?;
        let source = state
            .workload_of_pod(&served.namespace, &served.name)
            .ok_or_else(|| Error::Settings(format!("pod: discovery does not know {pod:?}")))?;
        Ok(explanation::departure(&state, source, destination).to_string())
    }

    /// Open connections as a JSON array.
    pub fn connections(&self) -> String {
        let rows: Vec<_> = self
            .workers
            .iter()
            .flat_map(|worker| worker.ledger.connections())
            .collect();
        serde_json::Value::Array(rows).to_string()
    }

    /// Everything the engine was told, but for keys, as a JSON object.
    pub fn config_dump(&self) -> String {
        let mut dump = self.shared.store.load().config_dump();
        dump["certificates"] = self.shared.certificates.json();
        dump["pods"] = self.locked_pods().values().map(|pod| pod_json(pod)).collect();
        dump["node"] = json!(self.settings.node);
        dump.to_string()
    }

    /// Stops listening everywhere; returns when no connection is left or the time is over.
    pub fn drain(&self, at_most: Duration) -> Result<(), Error> {
        let pods = std::mem::take(&mut *self.pods()?);
        for pod in pods.values() {
            self.retire(pod, Duration::MAX)?;
        }
        self.open.wait_for_none(at_most);
        Ok(())
    }

    /// Aborts what is left and ends all threads; twice is fine.
    pub fn close(&self) {
        self.locked_pods().clear();
        self.aborted.cancel();
        self.stop.cancel();
        self.acceptor.join();
        self.workers.iter().for_each(Worker::join);
        self.writer.end();
    }

    fn pods(&self) -> Result<MutexGuard<'_, Pods>, Error> {
        let pods = self.locked_pods();
        if self.stop.is_cancelled() {
            Err(Error::Closed)
        } else {
            Ok(pods)
        }
    }

    fn locked_pods(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

fn parameter<T: FromStr>(name: &str, text: &str) -> Result<T, Error>
where
    T::Err: Display,
{
    let named = |error: T::Err| Error::Settings(format!("{name}: {text:?}: {error}"));
    text.parse().map_err(named)
}

fn parse(identity: &str) -> Result<Identity, Error> {
    identity
        .parse()
        .map_err(|error: crate::identity::IdentityError| Error::Settings(error.to_string()))
}

fn pod_json(pod: &Pod) -> serde_json::Value {
    json!({
        "uid": &*pod.uid,
        "name": pod.name,
        "namespace": pod.namespace,
        "identity": pod.identity.to_string(),
        "netnsInode": pod.netns.inode(),
    })
}

/// Binds all three ports before any of them listens, so that a taken port shows no half a proxy.
fn listeners(pod: &Pod) -> Result<Listeners, Error> {
    let bind = |entrance, port| match sockets::bound(&pod.netns, port) {
        Ok(socket) => Ok((entrance, port, socket)),
        Err(cause) => Err(taken(pod, port, "bind", cause)),
    };
    let listen = |(entrance, port, socket)| match sockets::listen(socket) {
        Ok(listener) => Ok((entrance, listener)),
        Err(cause) => Err(taken(pod, port, "listen", cause)),
    };
    let outbound = bind(Entrance::Outbound, OUTBOUND_PORT)?;
    let plain = bind(Entrance::Plain, INBOUND_PORT)?;
    let hbone = bind(Entrance::Hbone, HBONE_PORT)?;
    Ok([listen(outbound)?, listen(plain)?, listen(hbone)?])
}

fn taken(pod: &Pod, port: u16, call: &'static str, cause: io::Error) -> Error {
    let advice = match cause.kind() {
        io::ErrorKind::AddrInUse => "; something else in the pod has this port",
        io::ErrorKind::PermissionDenied => "; the kernel does not take this process for a node proxy",
        _ => "",
    };
    Error::Listen {
        port,
        pod: format!("{}/{}", pod.namespace, pod.name),
        call,
        cause,
        advice,
    }
}
