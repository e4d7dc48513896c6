//! What a runtime is told when an operation fails, with the codes of the CNI specification.

use serde_json::{Value, json};
use thiserror::Error;

/// The text is for whoever reads the pod's events, and says what to do.
#[derive(Debug, Error, PartialEq)]
pub enum Failure {
    #[error("{0}")]
    Version(String),
    #[error("{0}")]
    Parameter(String),
    #[error("{0}")]
    Input(String),
    #[error("{0}")]
    Undecodable(String),
    #[error("{0}")]
    Configuration(String),
    /// The runtime is to try again: the pod waits.
    #[error("{0}")]
    Later(String),
    /// The agent turned the request down.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    /// The error object that goes to stdout.
    pub fn answer(&self, version: &str) -> Value {
        json!({"cniVersion": version, "code": self.code(), "msg": self.title(), "details": self.to_string()})
    }

    /// Codes below 100 are the specification's, others the plugin's own.
    fn code(&self) -> u32 {
        match self {
            Self::Version(_) => 1,
            Self::Parameter(_) => 4,
            Self::Input(_) => 5,
            Self::Undecodable(_) => 6,
            Self::Configuration(_) => 7,
            Self::Later(_) => 11,
            Self::Refused(_) => 100,
        }
    }

    /// Runtimes show `msg` first, and some show `details` not at all: so it has the reason too.
    fn title(&self) -> String {
        match self {
            Self::Later(reason) => format!("weft-cni: the pod waits, try again later: {reason}"),
            other => format!("weft-cni: {other}"),
        }
    }
}
