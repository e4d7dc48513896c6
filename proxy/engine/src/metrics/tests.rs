//! Rows are added up, stay while somebody may come back to them, and leave all workers at once.

use super::*;
use crate::{
    catalogue, census,
    description::{Description, Direction, End},
    expiry::IDLE,
    state::Store,
    testing::{a_pod, pod_uid, socket},
};
use std::time::Duration;

fn workers() -> [Metrics; 2] {
    let catalogue = Arc::new(Catalogue::default());
    [Metrics::new(catalogue.clone()), Metrics::new(catalogue)]
}

fn unknown() -> Labels {
    std::array::from_fn(|_| UNKNOWN.into())
}

/// A plain connection from `client` into pod web, with who they are in discovery now.
fn arrival(store: &Store, client: &str) -> Labels {
    let state = store.load();
    let end = |name: &str| End {
        address: socket("10.0.0.1:80"),
        workload: state.workload_of_pod("shop", name).cloned(),
        identity: None,
    };
    let description = Description {
        direction: Direction::Inbound,
        pod: "1".into(),
        source: end(client),
        destination: end("web"),
        service: None,
        hbone_target: None,
    };
    description.labels()
}

fn a_store(pods: &[&str]) -> Store {
    let store = Store::complete();
    for name in pods {
        let mut pod = a_pod(name, "10.0.0.1");
        pod.workload_name = (*name).to_owned();
        store.put(pod);
    }
    store
}

fn expire(workers: &[Metrics; 2], store: &Store, now: Instant) -> usize {
    let rows = report(workers.iter(), now);
    let idle: Vec<_> = rows
        .iter()
        .filter(|row| row.is_idle)
        .map(|row| row.labels.clone())
        .collect();
    let gone = census::of_the_gone(&store.load(), &idle);
    forget(workers.iter(), &gone);
    report(workers.iter(), now).len()
}

#[test]
fn rows_of_two_workers_with_the_same_labels_are_added_up() {
    let workers = workers();
    workers[0].counters(&unknown()).sent.fetch_add(3, Relaxed);
    workers[1].counters(&unknown()).sent.fetch_add(4, Relaxed);
    workers[1].counters(&unknown()).opened.fetch_add(1, Relaxed);
    let expected = Row {
        labels: Arc::new(unknown()),
        counts: [1, 0, 0, 0, 7, 0],
        is_idle: false,
    };
    assert_eq!(report(workers.iter(), Instant::now()), vec![expected]);
}

#[test]
fn labels_are_where_their_indexes_say() {
    let named = |n: usize| LABEL_NAMES[n];
    assert_eq!(named(REPORTER), "reporter");
    assert_eq!(named(SOURCE_WORKLOAD), "source_workload");
    assert_eq!(named(SOURCE_PRINCIPAL), "source_principal");
    assert_eq!(named(DESTINATION_PRINCIPAL), "destination_principal");
    assert_eq!(named(REQUEST_PROTOCOL), "request_protocol");
    assert_eq!(named(RESPONSE_FLAGS), "response_flags");
    assert_eq!(named(CONNECTION_SECURITY_POLICY), "connection_security_policy");
    let of_an_end = [
        "workload",
        "canonical_service",
        "canonical_revision",
        "workload_namespace",
        "cluster",
        "region",
        "zone",
    ];
    assert_eq!(SOURCE_END.map(named), of_an_end.map(|name| format!("source_{name}")));
    assert_eq!(
        DESTINATION_END.map(named),
        of_an_end.map(|name| format!("destination_{name}"))
    );
    let of_the_service = [
        "destination_service",
        "destination_service_namespace",
        "destination_service_name",
    ];
    assert_eq!(SERVICE.map(named), of_the_service);
}

#[test]
fn region_and_zone_are_exposed_only_where_one_is_known() {
    assert_eq!(exposed(&unknown()).count(), LOCALITY);
    let mut somewhere = unknown();
    somewhere[LOCALITY + 3] = "eu-1a".into();
    assert_eq!(exposed(&somewhere).last(), Some(("destination_zone", "eu-1a")));
    assert_eq!(exposed(&somewhere).count(), LABEL_NAMES.len());
}

#[test]
fn a_row_of_a_peer_that_has_gone_leaves_all_workers_once_it_is_idle() {
    let (workers, store, start) = (workers(), a_store(&["web", "job"]), Instant::now());
    let labels = arrival(&store, "job");
    for worker in &workers {
        worker.counters(&labels).opened.fetch_add(1, Relaxed);
    }
    assert_eq!(expire(&workers, &store, start), 1);
    assert_eq!(expire(&workers, &store, start + IDLE), 1, "the peer is still there");
    store.remove(&pod_uid("job"));
    workers[1].counters(&labels).opened.fetch_add(1, Relaxed);
    assert_eq!(expire(&workers, &store, start + IDLE), 1, "it has just been used");
    assert_eq!(expire(&workers, &store, start + 2 * IDLE), 0);
}

#[test]
fn a_row_stays_while_a_connection_uses_it_or_has_used_it_since_the_report() {
    let (workers, store, start) = (workers(), a_store(&["web", "job"]), Instant::now());
    let labels = arrival(&store, "job");
    let held = workers[0].counters(&labels);
    store.remove(&pod_uid("job"));
    expire(&workers, &store, start);
    assert_eq!(expire(&workers, &store, start + 2 * IDLE), 1, "a connection is open");
    held.closed.fetch_add(1, Relaxed);
    drop(held);
    forget(workers.iter(), &[Arc::new(labels)]);
    assert_eq!(
        report(workers.iter(), start).len(),
        1,
        "its last value has not been reported"
    );
}

#[test]
fn a_peer_that_discovery_never_knew_is_forgotten_and_one_without_a_name_is_not() {
    let (workers, store, start) = (workers(), a_store(&["web"]), Instant::now());
    workers[0].counters(&arrival(&store, "nobody"));
    let mut stranger = arrival(&store, "nobody");
    stranger[SOURCE_PRINCIPAL] = "spiffe://cluster.local/ns/far/sa/away".into();
    workers[0].counters(&stranger);
    assert_eq!(expire(&workers, &store, start), 2);
    assert_eq!(expire(&workers, &store, start + IDLE), 1);
}

#[test]
fn ten_thousand_peers_that_come_and_go_leave_nothing_behind() {
    let (workers, store, start) = (workers(), a_store(&["web"]), Instant::now());
    let mut most = 0;
    for round in 0..10 {
        let now = start + round * IDLE;
        for n in 0..1000 {
            let name = format!("job-{round}-{n}");
            let mut pod = a_pod(&name, "10.0.0.2");
            pod.workload_name = name.clone();
            store.put(pod);
            let labels = arrival(&store, &name);
            workers[n % 2].counters(&labels).opened.fetch_add(1, Relaxed);
            store.remove(&pod_uid(&name));
        }
        most = most.max(expire(&workers, &store, now));
    }
    assert!(most <= 2000, "{most} rows at a time");
    assert_eq!(expire(&workers, &store, start + 11 * IDLE), 0);
    assert_eq!(workers[0].locked().len() + workers[1].locked().len(), 0);
    assert_eq!(workers[0].catalogue.overflown(), 0);
}

#[test]
fn ten_thousand_peers_at_once_are_at_most_the_limit() {
    let workers = workers();
    for n in 0..2 * catalogue::MOST {
        let mut labels = unknown();
        labels[SOURCE_WORKLOAD] = n.to_string().into();
        workers[n % 2].counters(&labels).opened.fetch_add(1, Relaxed);
    }
    let rows = report(workers.iter(), Instant::now());
    assert_eq!(rows.len(), catalogue::MOST + 1);
    let overflow: Vec<_> = rows
        .iter()
        .filter(|row| row.labels[SOURCE_WORKLOAD] == "overflow")
        .collect();
    assert_eq!(overflow[0].counts[0], catalogue::MOST as u64, "nothing is lost");
    assert_eq!(workers[0].catalogue.overflown(), catalogue::MOST as u64);
}

#[test]
fn what_changes_meanwhile_is_no_longer_idle() {
    let (workers, start) = (workers(), Instant::now());
    workers[0].counters(&unknown()).opened.fetch_add(1, Relaxed);
    let is_idle = |now| report(workers.iter(), now)[0].is_idle;
    assert!(!is_idle(start));
    assert!(is_idle(start + IDLE));
    workers[0].counters(&unknown()).sent.fetch_add(1, Relaxed);
    assert!(!is_idle(start + IDLE + Duration::from_secs(1)));
}
