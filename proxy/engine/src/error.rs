//! What a command to the engine can fail with; the text is meant for an operator.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("certificate for {identity}: {reason}")]
    Certificate { identity: String, reason: String },

    #[error("port {port} in pod {pod}: {call}: {cause}{advice}")]
    Listen {
        port: u16,
        pod: String,
        call: &'static str,
        cause: io::Error,
        advice: &'static str,
    },

    #[error("network namespace of pod {pod}: {cause}")]
    Namespace { pod: String, cause: io::Error },

    #[error("{0}")]
    Settings(String),

    #[error("cannot start a thread: {0}")]
    Thread(io::Error),

    #[error("the engine is closed")]
    Closed,
}
