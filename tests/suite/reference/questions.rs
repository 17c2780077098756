//! The metrics: what each is made of.

use std::collections::BTreeSet;

use deskpulse_proto::v1::MetricSelection;

use super::answer::Cell;
use super::figures::Figure;
use super::{HOUR, Sample, Span};

impl<'a> Cell<'a> {
    /// The figure of a metric.
    pub(super) fn figure(&self, selection: &MetricSelection) -> Figure {
        let name = selection.name.as_str();
        match name {
            "reply_time" => self.distribution(&["first_response_time", "next_reply_time"], selection),
            "queue_wait" => self.distribution(&["answered", "abandoned", "left_otherwise"], selection),
            "asa" => self.distribution(&["answered"], selection),
            "csat_mean" => self.distribution(&["csat"], selection),
            "ces_mean" => self.distribution(&["ces"], selection),
            "engagement_mean" => self.distribution(&["engagement"], selection),
            "handle_time" if selection.variant == "per_conversation" => {
                let handled = self.of(&["handle_time"]);
                let sum: i64 = handled.iter().map(|sample| sample.value).sum();
                let value = Figure::ratio(sum, number(distinct(&handled))).value;
                Figure { value, ..Figure::default() }
            }
            "first_response_time"
            | "handoff_response_time"
            | "agent_first_response_time"
            | "next_reply_time"
            | "time_to_assignment"
            | "bot_response_time"
            | "first_resolution_time"
            | "full_resolution_time"
            | "resolution_time"
            | "net_resolution_time"
            | "human_resolution_time"
            | "requester_wait_time"
            | "sla_overrun_time"
            | "talk_time"
            | "hold_time"
            | "wrapup_time"
            | "handle_time" => self.distribution(&[name], selection),
            "conversations_opened"
            | "waits_started"
            | "waits_answered"
            | "resolutions"
            | "conversations_resolved"
            | "reopens"
            | "transfers"
            | "messages_received"
            | "messages_sent"
            | "bot_messages"
            | "automated_messages"
            | "private_notes"
            | "offered"
            | "answered"
            | "abandoned"
            | "non_responses"
            | "callbacks"
            | "voicemails"
            | "overflows"
            | "tasks_assigned"
            | "tasks_completed"
            | "skewed_events"
            | "sla_breaches" => Figure::count(self.of(&[name]).len()),
            "conversations_active" | "conversations_handled" | "customers_served" => {
                Figure::count(number_of(self.distinct(name)))
            }
            "backlog"
            | "unanswered_conversations"
            | "contacts_in_queue"
            | "agents"
            | "backlog_age"
            | "longest_wait"
            | "sla_at_risk"
            | "net_flow" => self.stock(name, selection),
            "online_time" | "available_time" | "handling_time" => Figure::total(self.time(name) as f64),
            "handle_time_apportioned" => Figure::total(self.time("contact_time") as f64),
            "cost_total" => {
                let costs = self.costs(selection);
                let sum: i64 = costs.iter().map(|sample| sample.value).sum();
                Figure { value: (!costs.is_empty()).then_some(sum as f64), ..Figure::count(costs.len()) }
            }
            "throughput" => {
                let (handled, online) = (self.distinct("conversations_handled"), self.time("online_time"));
                let value = (online > 0).then(|| handled as f64 / (online as f64 / HOUR as f64));
                Figure { count: None, value, ..Figure::ratio(handled, online) }
            }
            "attrition_rate" => {
                let length = self.end.min(self.now) - self.start.expect("a rate of leaving needs a start");
                Figure { count: None, ..Figure::ratio(self.count("left") * length, self.time("headcount")) }
            }
            "short_abandons" => Figure::count(number_of(self.short_abandons(selection))),
            "response_rate" => self.response_rate(selection),
            "nps" => {
                let (promoters, detractors) = (self.count("nps_promoter"), self.count("nps_detractor"));
                Figure::percent(promoters - detractors, promoters + detractors + self.count("nps_passive"))
            }
            "enps" => {
                let (promoters, detractors) = (self.count("enps_promoter"), self.count("enps_detractor"));
                Figure::percent(promoters - detractors, promoters + detractors + self.count("enps_passive"))
            }
            _ => self.ratio(name, selection),
        }
    }

    fn ratio(&self, name: &str, selection: &MetricSelection) -> Figure {
        let count = |part| self.count(part);
        let time = |part| self.time(part);
        let resolved = count("conversations_resolved");
        let scored = count("sentiment_positive") + count("sentiment_neutral") + count("sentiment_negative");
        let (numerator, denominator) = match name {
            "resolution_rate" => (resolved, count("conversations_opened")),
            "resolution_ratio" => (count("resolutions"), count("conversations_opened")),
            "reopen_rate" => (count("reopened_resolutions"), count("resolutions")),
            "first_contact_resolution_rate" => (count("first_contact"), resolved),
            "one_touch_rate" => (count("one_touch"), resolved),
            "replies_per_resolution" => {
                (self.of(&["replies_at_resolution"]).iter().map(|sample| sample.value).sum(), resolved)
            }
            "transfer_rate" => (count("transfers"), self.distinct("conversations_handled")),
            "sentiment_positive_rate" => (count("sentiment_positive"), scored),
            "sentiment_negative_rate" => (count("sentiment_negative"), scored),
            "sla_compliance" => (count("sla_met"), count("sla_met") + count("sla_breaches")),
            "csat_score" => (count("csat_good"), count("csat")),
            "survey_response_rate" => (count("surveys_responded"), count("surveys_sent")),
            "ces_easy_rate" => (count("ces_easy"), count("ces")),
            "negative_feedback_rate" => (count("rating_bad"), count("rating")),
            "positive_review_rate" => (count("review_good"), count("review")),
            "bot_containment_rate" => (count("contained"), count("bot_took_part")),
            "handoff_rate" => (count("handed_over"), count("bot_took_part")),
            "deflection_rate" => (count("deflected"), count("sessions")),
            "abandonment_rate" | "service_level" => self.queue_ratio(name, selection),
            "occupancy" if selection.variant == "concurrency_weighted" => {
                let of_agents = self.within.iter().filter(|(span, _)| span.dimensions.get("agent").is_some());
                let contacts = of_agents.filter(|(span, _)| span.part == "contact_time");
                (contacts.map(|(_, time)| time).sum(), time("slot_time"))
            }
            "occupancy" => (time("handling_time"), time("handling_time") + time("available_time")),
            "utilization" => (time("productive_time"), time("online_time")),
            "adherence" => (time("adherent_time"), time("scheduled_time")),
            "shrinkage" => (time("paid_time") - time("paid_working_time"), time("paid_time")),
            "task_completion_rate" => (count("assigned_tasks_completed"), count("tasks_assigned")),
            "churn_rate" => {
                let active = self.before_start.iter().filter(|span| span.part == "active_customers").count();
                (count("churned"), number(active))
            }
            "renewal_rate" => (count("dues_renewed"), count("renewals_due")),
            "adoption_rate" => self.adoption(selection),
            "repeat_purchase_rate" => {
                let orders = self.of(&["orders"]);
                let of = |customer: &str| orders.iter().filter(|order| order.subject == customer).count();
                let customers: BTreeSet<&str> = orders.iter().map(|order| order.subject.as_str()).collect();
                let again = customers.iter().filter(|customer| of(customer) >= 2).count();
                (number(again), number(customers.len()))
            }
            "cross_sell_rate" => (count("cross_sell_accepted"), count("cross_sell_offered")),
            "up_sell_rate" => (count("up_sell_accepted"), count("up_sell_offered")),
            "cost_per_conversation" => {
                let costs = self.costs(selection);
                (costs.iter().map(|sample| sample.value).sum(), self.distinct("conversations_handled"))
            }
            other => panic!("{other} is no metric"),
        };
        Figure::ratio(numerator, denominator)
    }

    fn stock(&self, name: &str, selection: &MetricSelection) -> Figure {
        let open =
            |part: &str| -> Vec<&Span> { self.at_end.iter().copied().filter(|span| span.part == part).collect() };
        match name {
            "unanswered_conversations" => Figure::count(open("unanswered").len()),
            "backlog_age" => {
                let ages = open("backlog").iter().map(|span| self.end - span.since).collect();
                Figure::distribution(ages, selection)
            }
            "longest_wait" => {
                let waits = open("unanswered");
                let oldest = waits.iter().map(|span| span.since).min();
                let of_oldest = waits.iter().filter(|span| Some(span.since) == oldest);
                let conversations = of_oldest.map(|span| span.subject.clone()).collect();
                let value = oldest.map(|oldest| (self.end - oldest) as f64);
                Figure { value, conversations, ..Figure::default() }
            }
            "net_flow" => {
                let before = self.at_start.iter().filter(|span| span.part == "backlog").count();
                Figure::total((number(open("backlog").len()) - number(before)) as f64)
            }
            part => Figure::count(open(part).len()),
        }
    }

    fn response_rate(&self, selection: &MetricSelection) -> Figure {
        let within = selection.within.as_ref().map(duration);
        let answered = self.of(&["waits_answered"]);
        let in_time = answered.iter().filter(|wait| within.is_none_or(|within| wait.value <= within)).count();
        let started = self.of(&["waits_started"]);
        // What is open has no instant to be counted at but its start.
        let pending = within.filter(|_| self.cohort).map(|within| {
            let may_yet = |wait: &&&Sample| wait.reference == "open" && self.now - wait.at < within;
            started.iter().filter(may_yet).count() as u64
        });
        Figure { pending, ..Figure::ratio(number(in_time), number(started.len())) }
    }

    fn queue_ratio(&self, name: &str, selection: &MetricSelection) -> (i64, i64) {
        let within = selection.within.as_ref().map_or(20_000, duration);
        let in_time = |part| number(self.of(&[part]).iter().filter(|wait| wait.value <= within).count());
        let (answered, abandoned) = (self.count("answered"), self.count("abandoned"));
        let (answered_in_time, abandoned_in_time) = (in_time("answered"), in_time("abandoned"));
        let short = self.short_abandons(selection);
        match (name, selection.variant.as_str()) {
            ("abandonment_rate", "") => (abandoned, self.count("offered")),
            ("abandonment_rate", "excluding_short") => (abandoned - short, self.count("offered") - short),
            (_, "answered_of_answered") => (answered_in_time, answered),
            (_, "with_abandons_met") => (answered_in_time + abandoned_in_time, answered + abandoned),
            (_, "without_early_abandons") => (answered_in_time, answered + abandoned - abandoned_in_time),
            (_, "without_short_abandons") => (answered_in_time, answered + abandoned - short),
            (_, "" | "of_offered") => (answered_in_time, answered + abandoned),
            (_, other) => panic!("{other} is no variant of {name}"),
        }
    }

    fn short_abandons(&self, selection: &MetricSelection) -> i64 {
        let short = selection.short_abandon.as_ref().map_or(5_000, duration);
        number(self.of(&["abandoned"]).iter().filter(|wait| wait.value < short).count())
    }

    fn adoption(&self, selection: &MetricSelection) -> (i64, i64) {
        let asked = |reference: &str| selection.feature.is_empty() || selection.feature == reference;
        if self.cohort {
            let customers: BTreeSet<&str> = self.of(&["activated"]).iter().map(|s| s.subject.as_str()).collect();
            let used = |customer: &str| self.ever_used.iter().any(|(who, what)| *who == customer && asked(what));
            return (number(customers.iter().filter(|who| used(who)).count()), number(customers.len()));
        }
        let users: BTreeSet<&str> = self
            .of(&["feature_used"])
            .iter()
            .filter(|sample| asked(&sample.reference))
            .map(|sample| sample.subject.as_str())
            .collect();
        let active = self.at_end.iter().filter(|span| span.part == "active_customers").count();
        (number(users.len()), number(active))
    }

    fn costs(&self, selection: &MetricSelection) -> Vec<&'a Sample> {
        let currency = selection.currency.as_str();
        let mut costs = self.of(&["cost"]);
        costs.retain(|cost| currency.is_empty() || cost.dimensions.get("currency") == Some(currency));
        costs
    }

    /// How many different conversations or customers.
    fn distinct(&self, what: &str) -> i64 {
        let handled = self.of(&["messages_sent", "leg_connected"]);
        number(match what {
            "conversations_active" => {
                distinct(&self.of(&["messages_received", "messages_sent", "bot_messages", "automated_messages"]))
            }
            "conversations_handled" => distinct(&handled),
            "customers_served" => {
                let customers = handled.iter().map(|sample| sample.customer.as_str());
                customers.filter(|customer| !customer.is_empty()).collect::<BTreeSet<_>>().len()
            }
            other => panic!("{other} is not counted distinctly"),
        })
    }

    fn of(&self, parts: &[&str]) -> Vec<&'a Sample> {
        self.samples.iter().copied().filter(|sample| parts.contains(&sample.part)).collect()
    }

    fn count(&self, part: &str) -> i64 {
        number(self.of(&[part]).len())
    }

    fn time(&self, part: &str) -> i64 {
        let of_part = self.within.iter().filter(|(span, _)| span.part == part);
        of_part.map(|(span, time)| span.weight * time).sum()
    }

    fn distribution(&self, parts: &[&str], selection: &MetricSelection) -> Figure {
        let value = |sample: &Sample| if self.business { sample.business } else { sample.value };
        Figure::distribution(self.of(parts).into_iter().map(value).collect(), selection)
    }
}

fn distinct(samples: &[&Sample]) -> usize {
    samples.iter().map(|sample| sample.subject.as_str()).collect::<BTreeSet<_>>().len()
}

fn duration(of: &prost_types::Duration) -> i64 {
    of.seconds * 1_000 + i64::from(of.nanos / 1_000_000)
}

fn number(count: usize) -> i64 {
    i64::try_from(count).expect("few")
}

fn number_of(count: i64) -> usize {
    usize::try_from(count).expect("not below zero")
}
