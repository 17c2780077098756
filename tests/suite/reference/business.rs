//! Customers, self-service and the costs of teams.

use std::collections::BTreeMap;

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{CustomerLifecycle, Event, LifecycleKind, SelfserviceOutcome};

use super::conversations::Conversation;
use super::timelines::Timelines;
use super::{Dimensions, FOLLOW_UP, Model, Sample, Span, milliseconds};

type Conversations = BTreeMap<String, Conversation>;

pub(crate) fn read(timelines: &Timelines, conversations: &Conversations, model: &mut Model) {
    for (customer, timeline) in timelines.of("customer") {
        let facts: Vec<(i64, &CustomerLifecycle, Dimensions)> = lifecycle(timeline, conversations);
        read_customer(customer, &facts, model);
        read_renewals(customer, &facts, model);
    }
    for (session, timeline) in timelines.of("session") {
        read_session(session, timeline, conversations, model);
    }
    for (team, timeline) in timelines.of("team") {
        let mut dimensions = Dimensions::default().with("team", team);
        for event in timeline {
            dimensions.set_attributes(event);
            let Some(Payload::CostRecorded(cost)) = &event.payload else { unreachable!("teams have only costs") };
            let amount = cost.amount.as_ref().expect("an amount");
            let at = milliseconds(event.time.as_ref());
            let sample = Sample::new("cost", at, &dimensions.with("currency", &amount.currency), team);
            model.sample(sample.value(amount.amount_micros));
        }
    }
}

/// Each event of a customer, with the dimensions of the conversation it names and the customer's own.
fn lifecycle<'a>(
    timeline: &'a [Event],
    conversations: &Conversations,
) -> Vec<(i64, &'a CustomerLifecycle, Dimensions)> {
    let mut own = Dimensions::default();
    let mut facts = Vec::new();
    for event in timeline {
        own.set_attributes(event);
        let Some(Payload::CustomerLifecycle(fact)) = &event.payload else { unreachable!("customers have only these") };
        let at = milliseconds(event.time.as_ref());
        let about = conversations.get(&fact.conversation);
        let mut dimensions = about.map(|about| about.dimensions_at(at).clone()).unwrap_or_default();
        dimensions.values.extend(own.values.clone());
        facts.push((at, fact, dimensions));
    }
    facts
}

fn read_customer(customer: &str, facts: &[(i64, &CustomerLifecycle, Dimensions)], model: &mut Model) {
    let mut active = Some(facts[0].0);
    for (at, fact, dimensions) in facts {
        let sample = |part| Sample::new(part, *at, dimensions, customer).customer(customer).reference(&fact.reference);
        match fact.kind() {
            LifecycleKind::Order => model.sample(sample("orders")),
            LifecycleKind::CrossSellOffered => model.sample(sample("cross_sell_offered")),
            LifecycleKind::CrossSellAccepted => model.sample(sample("cross_sell_accepted")),
            LifecycleKind::UpSellOffered => model.sample(sample("up_sell_offered")),
            LifecycleKind::UpSellAccepted => model.sample(sample("up_sell_accepted")),
            LifecycleKind::FeatureUsed => model.sample(sample("feature_used")),
            LifecycleKind::Activated => {
                model.sample(sample("activated"));
                active = active.or(Some(*at));
            }
            LifecycleKind::Churned => {
                if let Some(since) = active.take() {
                    model.sample(sample("churned"));
                    model.span(Span::new("active_customers", since, Some(*at), &Dimensions::default(), customer));
                }
            }
            LifecycleKind::RenewalDue | LifecycleKind::Renewed | LifecycleKind::Unspecified => {}
        }
    }
    if let Some(since) = active {
        model.span(Span::new("active_customers", since, None, &Dimensions::default(), customer));
    }
}

fn read_renewals(customer: &str, facts: &[(i64, &CustomerLifecycle, Dimensions)], model: &mut Model) {
    let references: std::collections::BTreeSet<&str> =
        facts.iter().map(|(_, fact, _)| fact.reference.as_str()).collect();
    for reference in references {
        // Dues, each with whether it was renewed; renewals that came before any due.
        let mut dues: Vec<(usize, bool)> = Vec::new();
        let mut early = 0;
        for (number, (_, fact, _)) in facts.iter().enumerate() {
            match fact.kind() {
                _ if fact.reference != reference => {}
                LifecycleKind::RenewalDue => {
                    dues.push((number, early > 0));
                    early = (early - 1).max(0);
                }
                LifecycleKind::Renewed => match dues.iter_mut().rfind(|(_, renewed)| !renewed) {
                    Some((_, renewed)) => *renewed = true,
                    None => early += 1,
                },
                _ => {}
            }
        }
        for (number, renewed) in dues {
            let (at, _, dimensions) = &facts[number];
            model.sample(Sample::new("renewals_due", *at, dimensions, customer));
            if renewed {
                model.sample(Sample::new("dues_renewed", *at, dimensions, customer));
            }
        }
    }
}

fn read_session(session: &str, timeline: &[Event], conversations: &Conversations, model: &mut Model) {
    let mut dimensions = Dimensions::default();
    for event in timeline {
        dimensions.set_attributes(event);
    }
    let last = timeline.last().expect("an event");
    let Some(Payload::SelfserviceEnded(ended)) = &last.payload else { unreachable!("sessions only end") };
    let at = milliseconds(last.time.as_ref());
    if matches!(ended.outcome(), SelfserviceOutcome::Unspecified | SelfserviceOutcome::Unknown) {
        return;
    }
    model.sample(Sample::new("sessions", at, &dimensions, session));
    let came = conversations.values().any(|conversation| {
        !conversation.excluded
            && !ended.customer.is_empty()
            && conversation.customer == ended.customer
            && conversation.opened > at
            && conversation.opened <= at + FOLLOW_UP
    });
    if ended.outcome() == SelfserviceOutcome::Resolved && !came {
        model.sample(Sample::new("deflected", at, &dimensions, session));
    }
}
