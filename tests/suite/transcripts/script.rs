//! Reading a transcript.

use deskpulse_proto::v1::{Basis, Clock, Event};
use jiff::civil::{Date, DateTime, date};
use jiff::tz::TimeZone;

use super::answer::{Expectation, Figures};
use super::config::Config;
use super::event;
use crate::harness::{Question, ask, timestamp};

/// How a transcript writes times.
#[derive(Clone)]
pub(super) struct Local {
    pub(super) zone: TimeZone,
    day: Date,
}

impl Local {
    /// The instant of a date, a date and time, or a time of the day in force.
    pub(super) fn time(&self, text: &str) -> prost_types::Timestamp {
        let full = if text.contains('-') { text.to_owned() } else { format!("{}T{text}", self.day) };
        let local: DateTime = full.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        timestamp(&local.to_zoned(self.zone.clone()).expect("a local time").timestamp().to_string())
    }
}

/// A transcript, read.
pub(super) struct Script {
    tenant: String,
    local: Local,
    context: Question,
    pub(super) config: Config,
    pub(super) events: Vec<Event>,
    pub(super) expectations: Vec<Expectation>,
}

impl Script {
    pub(super) fn new(tenant: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            local: Local { zone: TimeZone::UTC, day: date(2026, 6, 1) },
            context: ask(tenant, ""),
            config: Config::new(tenant),
            events: Vec::new(),
            expectations: Vec::new(),
        }
    }

    /// Reads a whole transcript; lines that begin with `#` are left out.
    pub(super) fn of(tenant: &str, transcript: &str) -> Self {
        let mut script = Self::new(tenant);
        for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            script.read(line);
        }
        script
    }

    pub(super) fn read(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "zone" => self.local.zone = TimeZone::get(words[1]).expect("a zone"),
            "day" => self.local.day = words[1].parse().expect("a day"),
            "=" => self.expect(line, &words[1..]),
            "|" => {
                let question = self.expectations.last_mut().expect("rows follow a question");
                question.add_row(&words[1..], &self.local);
            }
            "calendar" | "tenant" | "team" | "scale" | "policy" => self.config.read(&words, &self.local),
            word if word.starts_with(|letter: char| letter.is_ascii_digit()) => {
                let event = event::read(&words, &self.tenant, self.events.len(), &self.local);
                self.events.push(event);
            }
            word => set(&mut self.context, &self.local, word, &words[1..].join(" ")),
        }
    }

    /// A question such as `reply_time clock=business count 4 p50 20m`, and what is expected of its answer.
    fn expect(&mut self, line: &str, words: &[&str]) {
        let mut question = self.context.clone();
        words[0].clone_into(&mut question.0.metrics[0].name);
        let is_option = |word: &&str| word.contains('=') && !word.starts_with("<=");
        let options: Vec<&str> = words[1..].iter().copied().take_while(is_option).collect();
        for (key, value) in options.iter().filter_map(|word| word.split_once('=')) {
            set(&mut question, &self.local, key, value);
        }
        let figures = Figures::read(&words[1 + options.len()..], &self.local);
        self.expectations.push(Expectation::new(line, question, figures, &self.local));
    }
}

/// Says something of a question; an empty value takes it back.
fn set(question: &mut Question, local: &Local, key: &str, value: &str) {
    let given = Some(value).filter(|value| !value.is_empty());
    let request = &mut question.0;
    let metric = &mut request.metrics[0];
    let constant = |prefix: &str| format!("{prefix}_{}", given.unwrap_or("unspecified").to_uppercase());
    match key {
        "filter" => value.clone_into(&mut request.filter),
        "from" => request.start_time = given.map(|value| local.time(value)),
        "to" => request.end_time = given.map(|value| local.time(value)),
        "group" => request.group_by = value.split([',', ' ']).filter(|n| !n.is_empty()).map(str::to_owned).collect(),
        "interval" => value.clone_into(&mut request.interval),
        "order" => value.clone_into(&mut request.order_by),
        "zone" => value.clone_into(&mut request.time_zone),
        "limit" => request.limit = given.map_or(0, |value| value.parse().expect("a number")),
        "basis" => request.basis = Basis::from_str_name(&constant("BASIS")).expect("a basis").into(),
        "clock" => request.clock = Clock::from_str_name(&constant("CLOCK")).expect("a clock").into(),
        "variant" => value.clone_into(&mut metric.variant),
        "currency" => value.clone_into(&mut metric.currency),
        "feature" => value.clone_into(&mut metric.feature),
        "within" => metric.within = given.map(duration),
        "short" => metric.short_abandon = given.map(duration),
        other => panic!("{other} is nothing a transcript knows"),
    }
}

/// A length of time such as `1h30m`, as the contract carries it.
pub(super) fn duration(text: &str) -> prost_types::Duration {
    let length: jiff::SignedDuration = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    prost_types::Duration { seconds: length.as_secs(), nanos: length.subsec_nanos() }
}
