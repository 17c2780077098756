//! The meaning of customer-service events.
//!
//! Event → Fact → Grid → Kpi → Query: an [`event`] is what a platform reported; a [`fact`] is what it means; the
//! [`grid`] counts; a [`kpi`] is a formula over a [`snapshot`]; a query is the question.
//!
//! Nothing here knows clocks, threads, I/O or protobuf: time enters as an argument, so the same events give the same
//! answers, live or replayed.

pub mod agent;
pub mod archive;
pub mod calendar;
pub mod conversation;
pub mod customer;
pub mod dimension;
pub mod event;
pub mod fact;
pub mod feedback;
pub mod filter;
pub mod grid;
pub mod histogram;
pub mod interval;
pub mod kpi;
pub mod partition;
pub mod rules;
pub mod series;
pub mod snapshot;
pub mod state;
pub mod subject;
pub mod task;
pub mod time;
pub mod timeline;
