//! The operations of the specification, each from what came in to what goes out.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::agent::{Question, Standing};
use crate::configuration::{Configuration, NEWEST, SUPPORTED, version_of};
use crate::failure::Failure;
use crate::parameters::{Parameters, PodName};

/// What goes to stdout, if anything does.
pub type Outcome = Result<Option<Value>, Failure>;

/// Carry out the operation that the parameters name; `ask` asks the node agent.
pub fn run(parameters: &Parameters, input: &[u8], ask: impl Fn(&Question) -> Result<Standing, Failure>) -> Outcome {
    match parameters.command.as_str() {
        "ADD" => add(parameters, input, ask),
        "CHECK" => check(parameters, input, ask),
        // Nothing is undone here: the agent follows the pod's end by itself, and no pod may be
        // kept from ending by what the plugin thinks of its configuration.
        "DEL" | "GC" => Ok(None),
        // A node whose plugins are not well starts no pods, and so no agent either.
        "STATUS" => Configuration::parse(input).map(|_| None),
        "VERSION" => Ok(Some(
            json!({"cniVersion": version_of(input), "supportedVersions": SUPPORTED}),
        )),
        other => Err(Failure::Parameter(format!(
            "CNI_COMMAND {other:?} is not known; accepted are ADD, CHECK, DEL, GC, STATUS, VERSION"
        ))),
    }
}

/// What becomes of an operation whose configuration could not be read.
pub fn without_input(parameters: &Parameters, failure: Failure) -> Outcome {
    match parameters.command.as_str() {
        "DEL" | "GC" => Ok(None),
        "VERSION" => Ok(Some(json!({"cniVersion": NEWEST, "supportedVersions": SUPPORTED}))),
        _ => Err(failure),
    }
}

fn add(parameters: &Parameters, input: &[u8], ask: impl Fn(&Question) -> Result<Standing, Failure>) -> Outcome {
    let configuration = Configuration::parse(input)?;
    let result = configuration.previous()?.clone();
    if let Some(pod) = governed(parameters, &configuration)? {
        let body = body("add", &pod, &configuration.addresses()?);
        match ask(&question(&configuration, parameters, body))? {
            Standing::Captured | Standing::Outside => {}
            Standing::Waiting(reason) => return Err(Failure::Later(reason)),
            Standing::Refused(reason) => return Err(Failure::Refused(reason)),
        }
    }
    Ok(Some(result))
}

/// Whether the pod is still captured. That it is does not depend on the agent, so without one nothing is wrong.
fn check(parameters: &Parameters, input: &[u8], ask: impl Fn(&Question) -> Result<Standing, Failure>) -> Outcome {
    let configuration = Configuration::parse(input)?;
    configuration.previous()?;
    if let Some(pod) = governed(parameters, &configuration)? {
        let body = body("check", &pod, &configuration.addresses()?);
        match ask(&question(&configuration, parameters, body)) {
            Ok(Standing::Captured | Standing::Outside) | Err(Failure::Later(_)) => {}
            Ok(Standing::Waiting(reason) | Standing::Refused(reason)) => {
                return Err(Failure::Refused(format!("the pod is not captured: {reason}")));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(None)
}

/// The pod that the agent has to be asked about; None when nobody has to.
fn governed(parameters: &Parameters, configuration: &Configuration) -> Result<Option<PodName>, Failure> {
    let pod = parameters.pod()?;
    Ok(pod.filter(|pod| !configuration.exempt_namespaces.contains(&pod.namespace)))
}

fn body(command: &str, pod: &PodName, addresses: &[IpAddr]) -> Value {
    json!({
        "command": command,
        "name": pod.name,
        "namespace": pod.namespace,
        "uid": pod.uid,
        "addresses": addresses,
    })
}

fn question<'a>(configuration: &'a Configuration, parameters: &'a Parameters, body: Value) -> Question<'a> {
    Question {
        socket: &configuration.socket,
        wait: configuration.wait,
        netns: &parameters.netns,
        body,
    }
}
