//! End-to-end tests: real services over real gRPC, on a real disk.
#![expect(clippy::panic, reason = "a check that fails says what it found")]

#[path = "suite/harness.rs"]
mod harness;
#[path = "suite/node.rs"]
mod node;

#[path = "suite/against_reference.rs"]
mod against_reference;
#[path = "suite/asking.rs"]
mod asking;
#[path = "suite/bad_input.rs"]
mod bad_input;
#[path = "suite/cli.rs"]
mod cli;
#[path = "suite/config.rs"]
mod config;
#[path = "suite/conversations.rs"]
mod conversations;
#[path = "suite/faults.rs"]
mod faults;
#[path = "suite/following.rs"]
mod following;
#[path = "suite/kills.rs"]
mod kills;
#[path = "suite/law.rs"]
mod law;
#[path = "suite/layers.rs"]
mod layers;
#[path = "suite/load.rs"]
mod load;
#[path = "suite/offline.rs"]
mod offline;
#[path = "suite/other_clients.rs"]
mod other_clients;
#[path = "suite/readme.rs"]
mod readme;
#[path = "suite/real_data.rs"]
mod real_data;
#[path = "suite/reference.rs"]
mod reference;
#[path = "suite/services.rs"]
mod services;
#[path = "suite/timers.rs"]
mod timers;
#[path = "suite/transcripts.rs"]
mod transcripts;
#[path = "suite/two_years.rs"]
mod two_years;
#[path = "suite/watching.rs"]
mod watching;
#[path = "suite/web.rs"]
mod web;
