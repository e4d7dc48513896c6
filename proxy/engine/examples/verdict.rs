//! How long a verdict takes: many policies that all apply to one workload, one connection at a time.
//!
//! `verdict POLICIES` prints one line of JSON, all in nanoseconds. `first`, `last` and `none` are
//! medians of judging one attempt with the state at hand, as it is done for each new connection;
//! not in them is what the connection costs otherwise, nor the one look at the policies that is
//! taken for a workload after some came or went. The policies have ten rules each, every rule for
//! one caller and one port of its own; the first and the last rule match, and `none` is matched
//! by nobody: it is refused, and the refusal names the nearest policy. `build` is taking all
//! policies in, `change` is taking in one that changed.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use prost::Message;
use weft_engine::identity::Identity;
use weft_engine::policy::{Attempt, judge};
use weft_engine::proto::{security, workload};
use weft_engine::state::{ADDRESS_TYPE, AUTHORIZATION_TYPE, State, Store};

const RULES: usize = 10;
const ROUNDS: usize = 2001;
const ADDRESS: [u8; 4] = [10, 0, 0, 1];

fn main() {
    let argument = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let count: usize = argument.filter(|count| *count > 0).expect("usage: verdict POLICIES");
    let store = a_mesh();
    let build = timed(|| apply(&store, (0..count).map(|number| a_policy(number, RULES))));
    let state = store.load();
    let [first, last, none] = [0, count * RULES - 1, count * RULES]
        .map(|caller| median(|| assert!(judged(&state, caller) == (caller < count * RULES))));
    let change = median(|| apply(&store, std::iter::once(a_policy(count / 2, RULES))));
    let [build, first, last, none, change] = [build, first, last, none, change].map(|time| time.as_nanos());
    println!(
        r#"{{"policies": {count}, "first": {first}, "last": {last}, "none": {none}, "build": {build}, "change": {change}}}"#
    );
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn median(work: impl Fn()) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS).map(|_| timed(&work)).collect();
    times.sort();
    times[ROUNDS / 2]
}

/// Whether the caller with this number gets in, each one to the port of its rule.
fn judged(state: &State, caller: usize) -> bool {
    let source: Identity = format!("spiffe://{}", principal(caller)).parse().expect("an identity");
    let attempt = Attempt {
        source: Some(&source),
        source_ip: [10, 0, 0, 9].into(),
        destination: SocketAddr::from((ADDRESS, port(caller))),
    };
    let web = state.workload_at(ADDRESS.into()).expect("the workload");
    black_box(judge(state, web, &attempt)).is_allowed
}

fn principal(caller: usize) -> String {
    format!("cluster.local/ns/shop/sa/caller-{caller}")
}

fn port(caller: usize) -> u16 {
    1 + (caller % 65535) as u16
}

fn a_policy(number: usize, rules: usize) -> security::Authorization {
    security::Authorization {
        name: format!("policy-{number:05}"),
        namespace: "shop".to_owned(),
        scope: security::Scope::Namespace.into(),
        action: security::Action::Allow.into(),
        rules: (0..rules).map(|rule| a_rule(number * rules + rule)).collect(),
        ..Default::default()
    }
}

fn a_rule(caller: usize) -> security::Rule {
    let exact = security::string_match::MatchType::Exact(principal(caller));
    let from = security::Match {
        principals: vec![security::StringMatch {
            match_type: Some(exact),
        }],
        ..Default::default()
    };
    let to = security::Match {
        destination_ports: vec![port(caller).into()],
        ..Default::default()
    };
    let clauses = [to, from].map(|one| security::Clause { matches: vec![one] });
    security::Rule {
        clauses: clauses.into(),
    }
}

fn a_mesh() -> Store {
    let store = Store::new();
    let web = workload::Workload {
        uid: "Kubernetes//Pod/shop/web".to_owned(),
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
        addresses: vec![ADDRESS.to_vec()],
        ..Default::default()
    };
    let uid = web.uid.clone();
    let address = workload::Address {
        r#type: Some(workload::address::Type::Workload(web)),
    };
    assert!(
        store
            .apply(ADDRESS_TYPE, vec![(uid, address.encode_to_vec())], vec![])
            .is_empty()
    );
    store
}

fn apply(store: &Store, policies: impl Iterator<Item = security::Authorization>) {
    let resources = policies.map(|one| (format!("{}/{}", one.namespace, one.name), one.encode_to_vec()));
    assert!(store.apply(AUTHORIZATION_TYPE, resources.collect(), vec![]).is_empty());
}
