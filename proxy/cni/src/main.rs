//! `weft-cni`: a CNI plugin that holds a pod's start until the node agent has captured it.
//!
//! It is chained after the plugins that give a pod its network, changes nothing of what they
//! did, and asks the node agent over a unix socket. It needs no API server. The CNI
//! specification (0.3.1 to 1.1.0) says what comes in: the operation and its parameters in the
//! environment, the configuration on stdin; the answer goes to stdout.
//!
//! Reading order: `plugin` (the operations), `configuration` and `parameters` (what comes in),
//! `agent` (the question), `failure` (what is said when it does not work).

mod agent;
mod configuration;
mod failure;
mod parameters;
mod plugin;

use std::io::{Read, Write, stdin, stdout};
use std::process::ExitCode;

use crate::failure::Failure;
use crate::parameters::Parameters;

/// A configuration with a result of many addresses takes a few KiB.
const LONGEST_INPUT: u64 = 1 << 20;

fn main() -> ExitCode {
    let parameters = Parameters::from(|name| std::env::var(name).ok());
    let (outcome, version) = match read_input() {
        Ok(input) => (
            plugin::run(&parameters, &input, agent::ask),
            configuration::version_of(&input),
        ),
        Err(failure) => (
            plugin::without_input(&parameters, failure),
            configuration::NEWEST.to_owned(),
        ),
    };
    let (text, code) = match outcome {
        Ok(answer) => (
            answer.map(|value| value.to_string()).unwrap_or_default(),
            ExitCode::SUCCESS,
        ),
        Err(failure) => (failure.answer(&version).to_string(), ExitCode::FAILURE),
    };
    match stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE, // nobody is left to be told
    }
}

fn read_input() -> Result<Vec<u8>, Failure> {
    let mut input = Vec::new();
    stdin()
        .take(LONGEST_INPUT + 1)
        .read_to_end(&mut input)
        .map_err(|error| Failure::Input(format!("stdin: {error}")))?;
    if input.len() as u64 > LONGEST_INPUT {
        return Err(Failure::Input(format!(
            "the configuration on stdin is longer than {LONGEST_INPUT} bytes"
        )));
    }
    Ok(input)
}
