//! The command line's work: importing files, asking questions, generating a contact centre's week.
//!
//! Everything here talks to Deskpulse through its public gRPC contract only, as any other client would.

pub mod conversations;
pub mod export;
pub mod failure;
pub mod generate;
pub mod import;
mod input;
pub mod mapping;
pub mod output;
pub mod query;
pub mod watch;
