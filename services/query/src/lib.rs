//! Answers questions: collects partial figures from aggregation, merges them, evaluates formulas.
//!
//! Stateless. Knows nothing of the log.

mod alerts;
mod answer;
mod config_service;
mod conversations;
mod query_service;
mod question;
mod token;
mod watch;
mod wire;

pub use answer::Piece;
pub use config_service::ConfigApi;
pub use query_service::{Collect, Collecting, QueryApi, WorkOut};
