//! A second, naive implementation of what the metrics mean, to compare the suite with.
//!
//! It holds all events of a scenario in memory, sorts them, reads from them a flat list of *samples* (something happened at
//! an instant and took so long) and *spans* (something held from one instant to another), and answers questions by going
//! through both lists. Nothing here is fast, merged, incremental or shared with the core.

#[path = "reference/answer.rs"]
mod answer;
#[path = "reference/business.rs"]
mod business;
#[path = "reference/calendar.rs"]
mod calendar;
#[path = "reference/compare.rs"]
mod compare;
#[path = "reference/conversations.rs"]
mod conversations;
#[path = "reference/dialogues.rs"]
mod dialogues;
#[path = "reference/figures.rs"]
mod figures;
#[path = "reference/filter.rs"]
mod filter;
#[path = "reference/inquiry.rs"]
mod inquiry;
#[path = "reference/legs.rs"]
mod legs;
#[path = "reference/people.rs"]
mod people;
#[path = "reference/quality.rs"]
mod quality;
#[path = "reference/questions.rs"]
mod questions;
#[path = "reference/resolutions.rs"]
mod resolutions;
#[path = "reference/responses.rs"]
mod responses;
#[path = "reference/scenario.rs"]
mod scenario;
#[path = "reference/settings.rs"]
mod settings;
#[path = "reference/sla.rs"]
mod sla;
#[path = "reference/stories.rs"]
mod stories;
#[path = "reference/timelines.rs"]
mod timelines;
#[path = "reference/worked_cases.rs"]
mod worked_cases;
#[path = "reference/workforce.rs"]
mod workforce;

use std::collections::{BTreeMap, BTreeSet};

use deskpulse_proto::v1::{ConfigChange, Event};

pub(crate) use compare::compare;
pub(crate) use scenario::{Scenario, scenario};

use calendar::Config;
use conversations::Conversation;
use timelines::Timelines;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// W: how long the customer has to come back.
const FOLLOW_UP: i64 = 7 * DAY;

/// Values of dimensions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dimensions {
    values: BTreeMap<String, String>,
    tags: BTreeSet<String>,
}

impl Dimensions {
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Sets a dimension, or clears it when the value is empty.
    fn set(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            self.values.remove(name);
        } else {
            self.values.insert(name.to_owned(), value.to_owned());
        }
    }

    fn with(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.set(name, value);
        changed
    }

    /// As `with`, but an empty value keeps what is there.
    fn with_any(&self, name: &str, value: &str) -> Self {
        if value.is_empty() { self.clone() } else { self.with(name, value) }
    }

    fn set_attributes(&mut self, event: &Event) {
        for (name, value) in event.attributes.iter().collect::<BTreeMap<_, _>>() {
            self.set(&format!("attributes.{name}"), value);
        }
    }
}

/// Something that happened at an instant.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// What happened, by a name of our own; mostly that of the metric.
    part: &'static str,
    at: i64,
    dimensions: Dimensions,
    /// The instant it counts at on the cohort basis, and the dimensions in force then.
    cohort: i64,
    cohort_dimensions: Dimensions,
    /// A duration on the calendar clock, a score, an amount.
    value: i64,
    /// The duration on the business clock; `value` where there is none.
    business: i64,
    /// The conversation, survey, customer... it is about.
    subject: String,
    customer: String,
    reference: String,
}

impl Sample {
    fn new(part: &'static str, at: i64, dimensions: &Dimensions, subject: &str) -> Self {
        Self {
            part,
            at,
            dimensions: dimensions.clone(),
            cohort: at,
            cohort_dimensions: dimensions.clone(),
            value: 0,
            business: 0,
            subject: subject.to_owned(),
            customer: String::new(),
            reference: String::new(),
        }
    }

    fn cohort(mut self, at: i64, dimensions: &Dimensions) -> Self {
        self.cohort = at;
        self.cohort_dimensions = dimensions.clone();
        self
    }

    fn value(mut self, value: i64) -> Self {
        self.value = value;
        self.business = value;
        self
    }

    /// A duration: the stretches added, less the stretches taken away, on both clocks; never below zero.
    fn lasting(mut self, config: &Config, added: &[(i64, i64)], taken: &[(i64, i64)]) -> Self {
        let measure = |clock| {
            let sum = |parts: &[(i64, i64)]| -> i64 {
                parts.iter().map(|&(from, to)| calendar::length(clock, from, to)).sum()
            };
            (sum(added) - sum(taken)).max(0)
        };
        self.value = measure(None);
        self.business = measure(config.business(self.dimensions.get("team")));
        self
    }

    fn customer(mut self, customer: &str) -> Self {
        customer.clone_into(&mut self.customer);
        self
    }

    fn reference(mut self, reference: &str) -> Self {
        reference.clone_into(&mut self.reference);
        self
    }
}

/// Something that held from one instant (inclusive) to another (exclusive), or still does.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    part: &'static str,
    from: i64,
    to: Option<i64>,
    dimensions: Dimensions,
    subject: String,
    /// What its age is counted from.
    since: i64,
    /// What its time counts for: the slots of an agent, else 1.
    weight: i64,
}

impl Span {
    fn new(part: &'static str, from: i64, to: Option<i64>, dimensions: &Dimensions, subject: &str) -> Self {
        let (dimensions, subject) = (dimensions.clone(), subject.to_owned());
        Self { part, from, to, dimensions, subject, since: from, weight: 1 }
    }
}

/// Everything known of a scenario.
#[derive(Debug)]
pub(crate) struct Model {
    config: Config,
    now: i64,
    samples: Vec<Sample>,
    spans: Vec<Span>,
}

impl Model {
    /// Reads the events of one tenant; of events with one id the first of the slice counts.
    pub(crate) fn new(events: &[Event], config: &[ConfigChange], now_ms: i64) -> Self {
        let config = Config::new(config, now_ms);
        let timelines = Timelines::new(events);
        let conversations: BTreeMap<String, Conversation> = conversations::read(&timelines);
        let mut model = Self { config, now: now_ms, samples: Vec::new(), spans: Vec::new() };
        for conversation in conversations.values().filter(|conversation| !conversation.excluded) {
            responses::read(conversation, &mut model);
            resolutions::read(conversation, &conversations, &mut model);
            legs::read(conversation, &mut model);
            sla::read(conversation, &mut model);
            stories::read(conversation, &mut model);
        }
        quality::read(&timelines, &conversations, &mut model);
        workforce::read(&timelines, &mut model);
        business::read(&timelines, &conversations, &mut model);
        // A span of no length never holds.
        model.spans.retain(|span| span.to.is_none_or(|to| span.from < to));
        model
    }

    fn sample(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    fn span(&mut self, span: Span) {
        self.spans.push(span);
    }
}

/// Milliseconds since 1970; finer digits are cut off.
fn milliseconds(time: Option<&prost_types::Timestamp>) -> i64 {
    let time = time.expect("a time");
    time.seconds * 1_000 + i64::from(time.nanos / 1_000_000)
}
