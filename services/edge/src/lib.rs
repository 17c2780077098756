//! What every service shows to the network: faults as gRPC statuses, transport settings, drain.
//!
//! Knows nothing of events or metrics.

pub mod fault;
pub mod front;
pub mod server;
pub mod upstream;
mod workers;
