//! Holds partitions: follows the log, folds events into facts, answers with mergeable partial figures.
//!
//! Everything here is a function of the log and can be rebuilt from it at any time.

mod aggregation_service;
mod config;
pub mod decode;
mod follow;
mod keep;
mod keeping;
mod pinned;
mod post;
mod report;
mod rest;
mod retention;
mod snapshots;
mod work;

pub use aggregation_service::{AggregationApi, encode};
pub use follow::{Aggregation, Describe};
pub use keep::{KeepError, KeepOptions, Opened, folder_of};
pub use rest::{AtRest, Follows, has_meaning, look_at, positions_in};
