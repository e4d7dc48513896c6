use super::*;
use crate::fixtures::identity;
use crate::handshakes::Handshakes;
use crate::netns::NetworkNamespace;
use crate::proto::security as wire;
use crate::state::Store;
use crate::tally;
use crate::testing::*;
use std::{fs::File, os::fd::AsFd, time::Instant};
use tokio_util::sync::CancellationToken;

/// The pod "web" of namespace shop, in this process's own network namespace.
fn web() -> Pod {
    let own = File::open("/proc/self/ns/net").unwrap();
    Pod {
        share: crate::budget::Budget::new(1).share(),
        uid: "web-1".into(),
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
        identity: identity("web"),
        netns: NetworkNamespace::duplicate(own.as_fd()).unwrap(),
        handshakes: Handshakes::default(),
        draining: CancellationToken::new(),
        aborted: CancellationToken::new(),
    }
}

/// A mesh with "web", and what a worker keeps of its connections.
struct World {
    store: Store,
    docket: Rc<Docket>,
    tally: Tally,
}

impl World {
    fn new() -> World {
        let store = Store::complete();
        store.put(a_pod("web", "10.0.0.1"));
        let (docket, tally) = (Rc::default(), Tally::default());
        World { store, docket, tally }
    }

    fn arrival_of(&self, account: Option<&str>) -> Guard {
        let state = self.store.load();
        let arrival = Arrival {
            source: account.map(identity),
            source_ip: ip("10.0.0.9"),
            destination: socket("10.0.0.1:8080"),
        };
        self.docket
            .guard_arrival(&web(), state.workload_of_pod("shop", "web").unwrap(), arrival)
    }

    fn departure_to(&self, address: &str, accounts: &[&str]) -> Guard {
        let identities: Vec<_> = accounts.iter().map(|account| identity(account)).collect();
        self.docket.guard_departure(ip(address), &identities)
    }

    fn review(&self) {
        self.docket.review(&self.store.load(), &self.tally);
    }

    fn counts(&self) -> Vec<(String, &'static str, u64)> {
        let rows = tally::report([&self.tally].into_iter(), Instant::now());
        rows.iter().flat_map(tally::Row::effects).collect()
    }
}

/// Why the connection has to end, if it has to.
fn reason(guard: &mut Guard) -> Option<String> {
    guard.cut.try_recv().ok()
}

fn denying(account: &str) -> wire::Authorization {
    let principals = vec![exact(&identity(account).principal())];
    let one = wire::Match {
        principals,
        ..Default::default()
    };
    a_policy("no", wire::Action::Deny, when(one))
}

fn denial() -> Option<String> {
    Some("explicitly denied by: shop/no (rule 0: source.principals)".to_owned())
}

#[test]
fn a_new_policy_cuts_what_it_denies_and_leaves_the_rest() {
    let world = World::new();
    let (mut front, mut back) = (world.arrival_of(Some("front")), world.arrival_of(Some("back")));
    let mut plain = world.arrival_of(None);
    world.store.put_policy(denying("front"));
    world.review();
    assert_eq!(
        [reason(&mut front), reason(&mut back), reason(&mut plain)],
        [denial(), None, None]
    );
    assert_eq!(world.counts(), [("shop/no".to_owned(), "cut", 1)]);
}

#[test]
fn a_connection_is_cut_once() {
    let world = World::new();
    let mut front = world.arrival_of(Some("front"));
    world.store.put_policy(denying("front"));
    world.review();
    world.store.put_policy(denying("front"));
    world.review();
    assert_eq!(reason(&mut front), denial());
    assert_eq!(world.counts(), [("shop/no".to_owned(), "cut", 1)]);
}

#[test]
fn a_change_of_the_workloads_own_list_of_policies_is_noticed() {
    let world = World::new();
    let everything = vec![wire::Rule { clauses: vec![] }];
    let selected = wire::Authorization {
        scope: wire::Scope::WorkloadSelector.into(),
        ..a_policy("no", wire::Action::Deny, everything)
    };
    world.store.put_policy(selected);
    let mut front = world.arrival_of(Some("front"));
    world.review();
    assert_eq!(reason(&mut front), None);
    let mut pod = a_pod("web", "10.0.0.1");
    pod.authorization_policies = vec!["shop/no".to_owned()];
    world.store.put(pod);
    world.review();
    let denial = "explicitly denied by: shop/no (rule 0: empty rule, which matches everything)";
    assert_eq!(reason(&mut front).as_deref(), Some(denial));
}

#[test]
fn a_pod_that_discovery_forgets_stays_bound_by_its_policies() {
    let world = World::new();
    let mut front = world.arrival_of(Some("front"));
    world.store.remove(&pod_uid("web"));
    world.review();
    assert_eq!(reason(&mut front), None);
    world.store.put_policy(denying("front"));
    world.review();
    assert_eq!(reason(&mut front), denial());
}

#[test]
fn a_change_between_the_judgement_and_the_next_review_is_not_missed() {
    let world = World::new();
    world.review();
    let mut front = world.arrival_of(Some("front"));
    world.store.put_policy(denying("front"));
    world.store.put(a_pod("other", "10.0.0.2"));
    world.review();
    assert_eq!(reason(&mut front), denial());
}

#[test]
fn an_ended_connection_leaves_the_docket() {
    let world = World::new();
    drop((world.arrival_of(None), world.departure_to("10.0.0.2", &["back"])));
    let cases = world.docket.0.borrow();
    assert!(cases.inbound.is_empty() && cases.outbound.is_empty());
}

#[test]
fn a_tunnel_is_cut_when_its_address_belongs_to_another_identity() {
    let world = World::new();
    world.store.put(a_pod("back", "10.0.0.2"));
    let mut open = world.departure_to("10.0.0.2", &["back"]);
    let mut accepting = world.departure_to("10.0.0.2", &["back", "other"]);
    world.review();
    assert_eq!(reason(&mut open), None);
    world.store.remove(&pod_uid("back"));
    world.review();
    assert_eq!(reason(&mut open), None, "nobody has the address");
    world.store.put(a_pod("other", "10.0.0.2"));
    world.review();
    let expected = "10.0.0.2 is now Kubernetes//Pod/shop/other, which is spiffe://cluster.local/ns/shop/sa/other";
    assert_eq!(reason(&mut open).as_deref(), Some(expected));
    assert_eq!(reason(&mut accepting), None);
}

#[test]
fn a_tunnel_is_cut_when_two_claim_its_address() {
    let world = World::new();
    world.store.put(a_pod("back", "10.0.0.2"));
    let mut open = world.departure_to("10.0.0.2", &["back"]);
    world.review();
    world.store.put(a_pod("other", "10.0.0.2"));
    world.review();
    let expected = "address 10.0.0.2 is claimed by both Kubernetes//Pod/shop/back and Kubernetes//Pod/shop/other";
    assert_eq!(reason(&mut open).as_deref(), Some(expected));
}

#[test]
fn a_tunnel_stays_when_its_endpoint_leaves_the_service_or_is_unhealthy() {
    let world = World::new();
    world.store.put(a_service("shop", "10.1.0.1"));
    world.store.put(endpoint_of("shop", a_pod("back", "10.0.0.2")));
    let mut open = world.departure_to("10.0.0.2", &["back"]);
    world.review();
    let mut unhealthy = a_pod("back", "10.0.0.2");
    unhealthy.status = crate::proto::workload::WorkloadStatus::Unhealthy.into();
    world.store.put(unhealthy);
    world.review();
    assert_eq!(reason(&mut open), None);
}

#[tokio::test]
async fn what_is_cut_is_said_to_be_denied_and_why() {
    let world = World::new();
    let mut front = world.arrival_of(Some("front"));
    world.store.put_policy(denying("front"));
    world.review();
    let expected = "connection closed due to policy change: explicitly denied by: shop/no (rule 0: source.principals)";
    assert_eq!(front.cut().await, Failure::new(Flag::Deny, expected));
}
