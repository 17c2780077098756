//! Holds partitions: follows the log, folds events into facts, answers with mergeable partial figures.
//!
//! Everything here is a function of the log and can be rebuilt from it at any time.

mod aggregation_service;
mod config;
pub mod decode;
mod follow;
mod post;

pub use aggregation_service::AggregationApi;
pub use follow::Aggregation;
