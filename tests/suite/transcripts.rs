//! Transcripts: what happened, line by line, and what the figures must be.
//!
//! ```text
//! zone Europe/Berlin
//! calendar office zone=Europe/Berlin mon-fri 09:00-17:00
//! tenant calendar=office
//! policy gold first_response=60m,business,lead=10m where priority=high
//!
//! 2026-03-27T16:30 c1 opened priority=high
//! 2026-03-27T16:40 c1 assigned ann
//! 2026-03-30T09:30 c1 reply ann
//!
//! = first_response_time clock=business count 1 sum 1h
//! = sla_compliance group=sla_target
//! | first_response numerator 1 denominator 1
//! ```
//!
//! **What happened** is a local time, a subject and what it did ([`event`]). Times without a date are of the `day` (at
//! first 2026-06-01, a Monday), in the `zone` (at first UTC). A subject is a conversation, or a kind and a name:
//! `agent:ann`, `customer:kim`, `survey:s1`, `review:r1`, `task:t1`, `session:x1`, `team:first`. `#name` gives an event an
//! id, `retracted name` takes it back; `seq=3` is the source's own order, `attr.site=bonn` a custom dimension.
//!
//! **Configuration** begins with `calendar`, `tenant`, `team`, `scale` or `policy` ([`config`]).
//!
//! **What is expected** begins with `=`: a metric, what to ask of it (`clock=business`), and the figures of the answer's
//! only row ([`answer`]); where it is grouped or cut into intervals, each row follows behind a `|`: the values of the group,
//! the start of the interval, the figures. What to ask of many metrics stands on a line of its own, holds for the lines
//! after it, and is taken back by its name alone: `filter`, `group`, `from`, `to`, `basis`, `clock`, `interval`, `variant`,
//! `within`, `short`, `currency`, `feature`, `order`, `limit` ([`script`]). Intervals are cut in the `zone` of the transcript, with `zone=tenant` in the tenant's.
//!
//! Every transcript is sent in order, reversed, with every event twice, and with its configuration after its events; the
//! figures must not change.

#[path = "transcripts/answer.rs"]
mod answer;
#[path = "transcripts/config.rs"]
mod config;
#[path = "transcripts/event.rs"]
mod event;
#[path = "transcripts/script.rs"]
mod script;

#[path = "transcripts/bots.rs"]
mod bots;
#[path = "transcripts/business.rs"]
mod business;
#[path = "transcripts/catalogue.rs"]
mod catalogue;
#[path = "transcripts/corrections.rs"]
mod corrections;
#[path = "transcripts/found.rs"]
mod found;
#[path = "transcripts/quality.rs"]
mod quality;
#[path = "transcripts/queue.rs"]
mod queue;
#[path = "transcripts/resolution.rs"]
mod resolution;
#[path = "transcripts/response.rs"]
mod response;
#[path = "transcripts/sla.rs"]
mod sla;
#[path = "transcripts/traps.rs"]
mod traps;
#[path = "transcripts/volume.rs"]
mod volume;
#[path = "transcripts/worked_cases.rs"]
mod worked_cases;
#[path = "transcripts/workforce.rs"]
mod workforce;

use script::Script;

use crate::harness::{Suite, run};

/// How a transcript is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    InOrder,
    Reversed,
    Twice,
    ConfigurationLast,
}

/// Batches a transcript is sent in: one event each, so that "reversed" really arrives in that order, unless it is long.
const BATCHES: usize = 200;

/// Sends a transcript in several ways and checks its figures after each.
fn check(transcript: &str) {
    let suite = Suite::start();
    run(async {
        for sending in [Sending::InOrder, Sending::Reversed, Sending::Twice, Sending::ConfigurationLast] {
            let tenant = format!("{sending:?}");
            let mut script = Script::of(&tenant, transcript);
            let configuration_first = sending != Sending::ConfigurationLast;
            if !configuration_first && script.config.is_empty() {
                continue;
            }
            match sending {
                Sending::InOrder | Sending::ConfigurationLast => {}
                Sending::Reversed => script.events.reverse(),
                Sending::Twice => script.events.extend_from_within(..),
            }
            if configuration_first {
                script.config.send(suite.url()).await;
            }
            let client = suite.client();
            for batch in script.events.chunks(script.events.len() / BATCHES + 1) {
                let outcome = client.send(batch.to_vec()).await;
                assert_eq!(outcome.rejected, 0, "{tenant}: {outcome:?}");
            }
            if !configuration_first {
                script.config.send(suite.url()).await;
            }
            for expectation in script.expectations {
                expectation.check(&client, &tenant).await;
            }
        }
    });
}

/// A story up to an instant: without the events after it. Times must be written in full and alike.
fn until(story: &str, time: &str) -> String {
    let known = |line: &&str| {
        let first = line.split_whitespace().next().unwrap_or_default();
        !first.starts_with(|letter: char| letter.is_ascii_digit()) || first <= time
    };
    story.split_inclusive('\n').filter(known).collect()
}
