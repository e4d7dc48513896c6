//! Why a resource of discovery cannot be used. The texts go back to the controller in its NACK.

use crate::identity::IdentityError;

/// Found while parsing; whatever it is about keeps its last good state.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("cannot be decoded: {0}")]
    Undecodable(#[from] prost::DecodeError),
    #[error("the type {0} is not known here")]
    UnknownType(String),
    #[error("is neither a workload nor a service")]
    NoKind,
    #[error("its content names it {0}")]
    Misnamed(String),
    #[error("an address has {0} bytes, not 4 or 16")]
    AddressLength(usize),
    #[error("a prefix of {0} bits is longer than its address")]
    PrefixLength(u32),
    #[error("{0} is not a port")]
    Port(u32),
    #[error("the service key {0:?} has no '/'")]
    ServiceKey(String),
    #[error("{field} has the unknown value {value}")]
    UnknownValue { field: &'static str, value: i32 },
    #[error("the tunnel protocol LEGACY_ISTIO_MTLS is not spoken here")]
    LegacyTunnel,
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("{0} holds a match of no known kind")]
    UnknownMatch(&'static str),
    #[error("a match needs the extension {0:?}, which is not known here")]
    Extension(String),
}
