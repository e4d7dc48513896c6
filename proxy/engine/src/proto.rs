//! Discovery's protobuf messages as prost generates them from agent/proto. Only `state` and the
//! modules that parse for it see them; the rest of the engine works on the parsed types.

#![allow(missing_docs, clippy::all, clippy::pedantic)]

pub mod workload {
    include!(concat!(env!("OUT_DIR"), "/istio.workload.rs"));
}

pub mod security {
    include!(concat!(env!("OUT_DIR"), "/istio.security.rs"));
}
