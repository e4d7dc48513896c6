//! The plugin's entry in the node's CNI configuration, as the runtime hands it over on stdin.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::failure::Failure;

pub const NEWEST: &str = "1.1.0";
pub const SUPPORTED: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", NEWEST];

const DEFAULT_SOCKET: &str = "/run/weft/cni.sock";
/// Without these a node could not boot: the mesh itself starts through CNI too.
const DEFAULT_EXEMPT: [&str; 2] = ["istio-system", "kube-system"];
const DEFAULT_WAIT_SECONDS: u64 = 20;
/// kubelet gives a sandbox four minutes, and containerd's clients often two.
const LONGEST_WAIT_SECONDS: u64 = 100;

#[derive(Debug)]
pub struct Configuration {
    pub socket: PathBuf,
    pub exempt_namespaces: Vec<String>,
    pub wait: Duration,
    /// The result of the plugins before this one, which is passed on as it is.
    pub previous: Option<Value>,
}

impl Configuration {
    pub fn parse(input: &[u8]) -> Result<Self, Failure> {
        let object = object(input)?;
        let version = object.get("cniVersion").and_then(Value::as_str).unwrap_or("0.1.0");
        if !SUPPORTED.contains(&version) {
            return Err(Failure::Version(format!(
                "cniVersion {version:?} is not supported; accepted are {}",
                SUPPORTED.join(", ")
            )));
        }
        Ok(Self {
            socket: socket(&object)?,
            exempt_namespaces: exempt_namespaces(&object)?,
            wait: wait(&object)?,
            previous: object.get("prevResult").cloned(),
        })
    }

    /// The result to pass on; a failure if there is none, since somebody else has to make the network.
    pub fn previous(&self) -> Result<&Value, Failure> {
        self.previous.as_ref().ok_or_else(|| {
            Failure::Configuration(
                "no prevResult: weft-cni makes no network, it must stand after the plugin that does".to_owned(),
            )
        })
    }

    /// The addresses that the plugins before this one gave to the pod.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, Failure> {
        let ips = self.previous()?.get("ips").and_then(Value::as_array);
        let found: Result<Vec<IpAddr>, Failure> = ips.into_iter().flatten().map(address).collect();
        match found {
            Ok(addresses) if addresses.is_empty() => Err(Failure::Configuration(
                "prevResult names no address of the pod; the plugins before weft-cni must give it one".to_owned(),
            )),
            other => other,
        }
    }
}

/// The version in which to answer, whatever else is wrong with the input.
pub fn version_of(input: &[u8]) -> String {
    let version = object(input)
        .ok()
        .and_then(|object| object.get("cniVersion").and_then(Value::as_str).map(str::to_owned));
    version
        .filter(|each| SUPPORTED.contains(&each.as_str()))
        .unwrap_or_else(|| NEWEST.to_owned())
}

fn object(input: &[u8]) -> Result<Map<String, Value>, Failure> {
    match serde_json::from_slice(input) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Failure::Undecodable(
            "the configuration on stdin is JSON, but no object".to_owned(),
        )),
        Err(error) => Err(Failure::Undecodable(format!(
            "the configuration on stdin is not JSON: {error}"
        ))),
    }
}

fn socket(object: &Map<String, Value>) -> Result<PathBuf, Failure> {
    match object.get("socket") {
        None => Ok(PathBuf::from(DEFAULT_SOCKET)),
        Some(Value::String(path)) if path.starts_with('/') => Ok(PathBuf::from(path)),
        Some(other) => Err(wrong("socket", other, "an absolute path")),
    }
}

fn exempt_namespaces(object: &Map<String, Value>) -> Result<Vec<String>, Failure> {
    const ACCEPTED: &str = "a list of names";
    match object.get("exemptNamespaces") {
        None => Ok(DEFAULT_EXEMPT.map(str::to_owned).to_vec()),
        Some(value) => value
            .as_array()
            .and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect())
            .ok_or_else(|| wrong("exemptNamespaces", value, ACCEPTED)),
    }
}

fn wait(object: &Map<String, Value>) -> Result<Duration, Failure> {
    match object.get("waitSeconds") {
        None => Ok(Duration::from_secs(DEFAULT_WAIT_SECONDS)),
        Some(value) => match value.as_u64() {
            Some(seconds @ 1..=LONGEST_WAIT_SECONDS) => Ok(Duration::from_secs(seconds)),
            _ => Err(wrong("waitSeconds", value, "a whole number from 1 to 100")),
        },
    }
}

fn address(ip: &Value) -> Result<IpAddr, Failure> {
    let text = ip.get("address").and_then(Value::as_str).unwrap_or_default();
    let host = text.split_once('/').map_or(text, |(host, _)| host);
    host.parse()
        .map_err(|_| wrong("prevResult.ips", ip, "objects whose address is ADDRESS/BITS"))
}

fn wrong(field: &str, read: &Value, accepted: &str) -> Failure {
    Failure::Configuration(format!("{field}: {read} cannot be used; accepted is {accepted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(input: &str) -> Result<Configuration, Failure> {
        Configuration::parse(input.as_bytes())
    }

    #[test]
    fn what_is_not_set_has_a_default() {
        let found = parsed(r#"{"cniVersion": "1.0.0"}"#).unwrap();
        assert_eq!(found.socket, PathBuf::from("/run/weft/cni.sock"));
        assert_eq!(found.exempt_namespaces, ["istio-system", "kube-system"]);
        assert_eq!(found.wait, Duration::from_secs(20));
    }

    #[test]
    fn every_key_is_read_and_those_of_others_are_left_alone() {
        let text = r#"{"cniVersion": "0.3.1", "socket": "/x", "exemptNamespaces": [], "waitSeconds": 3, "mtu": 9000}"#;
        let found = parsed(text).unwrap();
        assert_eq!(found.socket, PathBuf::from("/x"));
        assert!(found.exempt_namespaces.is_empty());
        assert_eq!(found.wait, Duration::from_secs(3));
    }

    #[test]
    fn a_version_that_is_not_spoken_is_refused_by_name() {
        for text in [
            "{}",
            r#"{"cniVersion": "0.2.0"}"#,
            r#"{"cniVersion": "2.0.0"}"#,
            r#"{"cniVersion": 1}"#,
        ] {
            assert!(matches!(parsed(text), Err(Failure::Version(_))), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for text in ["", "{", "[]", "7", "\u{0}"] {
            assert!(matches!(parsed(text), Err(Failure::Undecodable(_))), "{text}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_used_is_named_with_what_is_accepted() {
        for (key, value) in [
            ("socket", r#""run/x""#),
            ("socket", "7"),
            ("exemptNamespaces", r#""shop""#),
            ("exemptNamespaces", "[1]"),
            ("waitSeconds", "0"),
            ("waitSeconds", "101"),
            ("waitSeconds", "1.5"),
        ] {
            let failure = parsed(&format!(r#"{{"cniVersion": "1.0.0", "{key}": {value}}}"#)).unwrap_err();
            assert!(failure.to_string().starts_with(key), "{failure}");
            assert!(failure.to_string().contains("accepted is"), "{failure}");
        }
    }

    #[test]
    fn addresses_are_those_of_the_result_before() {
        let ips = r#"[{"address": "10.0.0.5/24", "interface": 2}, {"version": "6", "address": "fd00::5/64"}]"#;
        let found = parsed(&format!(r#"{{"cniVersion": "0.4.0", "prevResult": {{"ips": {ips}}}}}"#)).unwrap();
        let addresses: Vec<String> = found.addresses().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.5", "fd00::5"]);
    }

    #[test]
    fn a_result_without_an_address_is_refused() {
        for previous in [
            "{}",
            r#"{"ips": []}"#,
            r#"{"ips": [{"address": "ten"}]}"#,
            r#"{"ips": [{}]}"#,
        ] {
            let found = parsed(&format!(r#"{{"cniVersion": "1.0.0", "prevResult": {previous}}}"#)).unwrap();
            assert!(
                matches!(found.addresses(), Err(Failure::Configuration(_))),
                "{previous}"
            );
        }
    }

    #[test]
    fn an_answer_is_in_the_version_that_was_asked_for() {
        assert_eq!(version_of(br#"{"cniVersion": "0.4.0"}"#), "0.4.0");
        for text in ["", "{", r#"{"cniVersion": "9"}"#] {
            assert_eq!(version_of(text.as_bytes()), NEWEST);
        }
    }
}
