//! What dry-run policies would have made of a connection, for the books: nothing comes of it.

use crate::{
    access_log::{Entry, Value},
    connection::Ledger,
    docket::Arrival,
    policy::Trial,
    tally::Effect,
};
use std::time::SystemTime;

/// Counts it, and writes a line into the access log.
pub fn note(ledger: &Ledger, trial: &Trial, arrival: &Arrival) {
    let effect = match trial.is_allowed {
        true => Effect::WouldAllow,
        false => Effect::WouldRefuse,
    };
    ledger.tally.count(trial.policy.as_deref(), effect);
    ledger.log.write(entry(trial, effect, arrival));
}

/// Of the client's port nothing is said: the line of the connection itself has it.
fn entry(trial: &Trial, effect: Effect, arrival: &Arrival) -> Entry {
    let mut fields = vec![("src.addr", Value::Bare(arrival.source_ip.to_canonical().to_string()))];
    if let Some(identity) = &arrival.source {
        fields.push(("src.identity", Value::Text(identity.to_string())));
    }
    fields.push(("dst.addr", Value::Bare(arrival.destination.to_string())));
    fields.push(("effect", Value::Text(effect.as_str().to_owned())));
    if let Some(policy) = &trial.policy {
        fields.push(("policy", Value::Text(policy.to_string())));
    }
    Entry {
        time: SystemTime::now(),
        failed: false,
        message: "dry run",
        fields,
    }
}
