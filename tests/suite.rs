#[path = "suite/harness.rs"]
mod harness;

#[path = "suite/transcripts.rs"]
mod transcripts;
