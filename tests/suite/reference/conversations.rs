//! What a conversation was after each of its events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    ActorKind, AssigneeKind, AssignmentReason, ConversationAssigned, ConversationOpened, ConversationStatus,
    ConversationStatusChanged, ConversationUpdated, CostRecorded, Direction, Event, LegStateChanged, MessageCreated,
    Visibility,
};

use super::timelines::{Timelines, order};
use super::{Dimensions, milliseconds};

#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) id: String,
    pub(crate) opened: i64,
    pub(crate) initiator: ActorKind,
    pub(crate) customer: String,
    /// Deleted, spam or merged away.
    pub(crate) excluded: bool,
    /// The opening, whatever its time, then the other events in order.
    pub(crate) steps: Vec<Step>,
}

/// An event and what held after it.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) at: i64,
    /// None for the opening.
    event: Option<Event>,
    /// The dimensions before the event, but with its attributes.
    pub(crate) before: Dimensions,
    pub(crate) after: Dimensions,
    /// Open, pending or on hold; the last of them while resolved.
    pub(crate) status: ConversationStatus,
    pub(crate) resolved: bool,
}

/// All conversations: their own events, and the messages of those merged into them.
pub(crate) fn read(timelines: &Timelines) -> BTreeMap<String, Conversation> {
    let mut events: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    let mut moved: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for (id, timeline) in timelines.of("conversation") {
        let scored = with_final_sentiments(timeline);
        if let Some(destination) = destination(id, timelines) {
            let messages = scored.iter().filter(|event| matches!(event.payload, Some(Payload::MessageCreated(_))));
            let messages = messages.map(|event| Event { attributes: HashMap::new(), ..event.clone() });
            moved.entry(destination).or_default().extend(messages);
        }
        events.insert(id.to_owned(), scored);
    }
    for (destination, messages) in moved {
        if !messages.is_empty() {
            events.entry(destination).or_default().extend(messages);
        }
    }
    events
        .into_iter()
        .map(|(id, mut timeline)| {
            timeline.sort_by_key(order);
            (id.clone(), Conversation::new(id, timeline))
        })
        .collect()
}

/// The last status that says whether a conversation is left out.
fn standing(timeline: &[Event]) -> Option<&ConversationStatusChanged> {
    use ConversationStatus::{Closed, Resolved};
    let changes = timeline.iter().rev().filter_map(|event| match &event.payload {
        Some(Payload::ConversationStatusChanged(change)) => Some(change),
        _ => None,
    });
    changes.into_iter().find(|change| !matches!(change.status(), Resolved | Closed))
}

/// Where the messages of a merged conversation count; none when nowhere.
fn destination(id: &str, timelines: &Timelines) -> Option<String> {
    let merged_into: BTreeMap<&str, &str> = timelines
        .of("conversation")
        .filter_map(|(id, timeline)| Some((id, standing(timeline)?)))
        .filter(|(_, change)| change.status() == ConversationStatus::Merged)
        .map(|(id, change)| (id, change.merged_into.as_str()))
        .collect();
    let mut passed = BTreeSet::from([id]);
    let mut place = *merged_into.get(id)?;
    while let Some(next) = merged_into.get(place) {
        // In a circle everything is merged away.
        if !passed.insert(place) {
            return None;
        }
        place = next;
    }
    (place != id).then(|| place.to_owned())
}

/// The events, each message with the latest score it was given.
fn with_final_sentiments(timeline: &[Event]) -> Vec<Event> {
    let mut timeline = timeline.to_vec();
    for score in timeline.clone() {
        let Some(Payload::MessageSentimentScored(scored)) = &score.payload else { continue };
        let is_it = |event: &Event| event.source == score.source && event.id == scored.message_event_id;
        for event in timeline.iter_mut().filter(|event| is_it(event)) {
            if let Some(Payload::MessageCreated(message)) = &mut event.payload {
                message.sentiment = scored.sentiment;
            }
        }
    }
    timeline
}

impl Conversation {
    fn new(id: String, mut timeline: Vec<Event>) -> Self {
        let excluded = standing(&timeline).is_some_and(|change| {
            use ConversationStatus::{Deleted, Merged, Spam};
            matches!(change.status(), Merged | Deleted | Spam)
        });
        let is_opening = |event: &Event| matches!(event.payload, Some(Payload::ConversationOpened(_)));
        let opening = timeline.iter().position(is_opening).map(|at| timeline.remove(at));
        // A second opening is ignored, but for its attributes.
        let (at, initiator, customer, first) = if let Some(event) = &opening
            && let Some(Payload::ConversationOpened(opened)) = &event.payload
        {
            (&event.time, initiator(opened), opened.customer.clone(), dimensions_of(event, opened))
        } else {
            let mut first = Dimensions::default();
            first.set_attributes(&timeline[0]);
            apply(&mut first, &timeline[0]);
            (&timeline[0].time, first_author(&timeline), String::new(), first)
        };
        let opened = milliseconds(at.as_ref());
        let mut steps = vec![Step {
            at: opened,
            event: None,
            before: first.clone(),
            after: first,
            status: ConversationStatus::Open,
            resolved: false,
        }];
        for event in timeline {
            let last = steps.last().expect("the opening");
            let mut before = last.after.clone();
            before.set_attributes(&event);
            let mut after = before.clone();
            apply(&mut after, &event);
            let (mut status, mut resolved) = (last.status, last.resolved);
            if let Some(Payload::ConversationStatusChanged(change)) = &event.payload {
                match change.status() {
                    ConversationStatus::Resolved | ConversationStatus::Closed => resolved = true,
                    ConversationStatus::Open | ConversationStatus::Pending | ConversationStatus::OnHold => {
                        (status, resolved) = (change.status(), false);
                    }
                    _ => {}
                }
            }
            let at = milliseconds(event.time.as_ref());
            steps.push(Step { at, event: Some(event), before, after, status, resolved });
        }
        Self { id, opened, initiator, customer, excluded, steps }
    }

    /// The dimensions as of an instant, what happens at it included; before everything, those of the opening.
    pub(crate) fn dimensions_at(&self, instant: i64) -> &Dimensions {
        let step = self.steps.iter().skip(1).rfind(|step| step.at <= instant);
        &step.unwrap_or(&self.steps[0]).after
    }

    /// The steps after the opening, with their numbers.
    pub(crate) fn events(&self) -> impl DoubleEndedIterator<Item = (usize, &Step)> {
        self.steps.iter().enumerate().skip(1)
    }

    pub(crate) fn resolves(&self, step: usize) -> bool {
        step > 0 && self.steps[step].resolved && !self.steps[step - 1].resolved
    }

    pub(crate) fn reopens(&self, step: usize) -> bool {
        step > 0 && !self.steps[step].resolved && self.steps[step - 1].resolved
    }

    /// Whom a resolution is credited to: an agent named, else the conversation's where nobody is; empty for nobody.
    pub(crate) fn resolver(&self, step: usize) -> String {
        let step = &self.steps[step];
        let Some(Payload::ConversationStatusChanged(change)) = step.payload() else { unreachable!("a status") };
        let actor = change.actor.clone().unwrap_or_default();
        match actor.kind() {
            ActorKind::Agent if !actor.id.is_empty() => actor.id,
            ActorKind::Agent | ActorKind::Unspecified => step.after.get("agent").unwrap_or_default().to_owned(),
            _ => String::new(),
        }
    }

    /// Whether an assignment hands the conversation from a bot to humans.
    pub(crate) fn hands_off(&self, step: usize) -> bool {
        let Some(assigned) = self.steps[step].assigned() else { return false };
        let to_humans = matches!(assigned.to(), AssigneeKind::Team | AssigneeKind::Agent);
        let before = self.steps[..step].iter().rev().find_map(Step::assigned);
        let from_bot = before.is_some_and(|before| before.to() == AssigneeKind::Bot);
        to_humans && from_bot || assigned.reason() == AssignmentReason::Handoff
    }

    /// The stretches between the steps `[from, to)`, none of them before `floor`: start, end, dimensions.
    pub(crate) fn pieces(&self, from: usize, to: Option<usize>, floor: i64) -> Vec<(i64, Option<i64>, &Dimensions)> {
        (from..to.unwrap_or(self.steps.len()))
            .map(|step| {
                let end = self.steps.get(step + 1).map(|next| next.at.max(floor));
                (self.steps[step].at.max(floor), end, &self.steps[step].after)
            })
            .collect()
    }
}

impl Step {
    fn payload(&self) -> Option<&Payload> {
        self.event.as_ref()?.payload.as_ref()
    }

    pub(crate) fn message(&self) -> Option<&MessageCreated> {
        match self.payload()? {
            Payload::MessageCreated(message) => Some(message),
            _ => None,
        }
    }

    pub(crate) fn public_message(&self) -> Option<&MessageCreated> {
        self.message().filter(|message| message.visibility() != Visibility::Private)
    }

    fn public_message_by(&self, kind: ActorKind) -> bool {
        self.public_message().is_some_and(|message| author(message) == kind)
    }

    pub(crate) fn is_reply(&self) -> bool {
        self.public_message_by(ActorKind::Agent)
    }

    pub(crate) fn is_from_customer(&self) -> bool {
        self.public_message_by(ActorKind::Customer)
    }

    pub(crate) fn is_from_bot(&self) -> bool {
        self.public_message_by(ActorKind::Bot)
    }

    /// Whom a reply is credited to: its author, else the conversation's agent; empty for nobody.
    pub(crate) fn replier(&self) -> String {
        let named = self.message().and_then(|message| message.actor.clone()).unwrap_or_default().id;
        if named.is_empty() { self.after.get("agent").unwrap_or_default().to_owned() } else { named }
    }

    pub(crate) fn assigned(&self) -> Option<&ConversationAssigned> {
        match self.payload()? {
            Payload::ConversationAssigned(assigned) => Some(assigned),
            _ => None,
        }
    }

    pub(crate) fn assigned_agent(&self) -> Option<&str> {
        self.assigned().filter(|assigned| assigned.to() == AssigneeKind::Agent).map(|to| to.assignee.as_str())
    }

    pub(crate) fn status_changed(&self) -> Option<&ConversationStatusChanged> {
        match self.payload()? {
            Payload::ConversationStatusChanged(change) => Some(change),
            _ => None,
        }
    }

    pub(crate) fn leg(&self) -> Option<&LegStateChanged> {
        match self.payload()? {
            Payload::LegStateChanged(leg) => Some(leg),
            _ => None,
        }
    }

    pub(crate) fn cost(&self) -> Option<&CostRecorded> {
        match self.payload()? {
            Payload::CostRecorded(cost) => Some(cost),
            _ => None,
        }
    }
}

pub(crate) fn author(message: &MessageCreated) -> ActorKind {
    message.actor.as_ref().expect("an actor").kind()
}

fn initiator(opened: &ConversationOpened) -> ActorKind {
    match opened.initiator() {
        ActorKind::Unspecified if opened.direction() == Direction::Outbound => ActorKind::Agent,
        ActorKind::Unspecified => ActorKind::Customer,
        said => said,
    }
}

/// Who began a conversation whose opening is missing: the author of its first public message, as far as there is one.
fn first_author(timeline: &[Event]) -> ActorKind {
    let public = timeline.iter().find_map(|event| match &event.payload {
        Some(Payload::MessageCreated(message)) if message.visibility() != Visibility::Private => Some(message),
        _ => None,
    });
    match public.map(author) {
        Some(ActorKind::Customer) => ActorKind::Customer,
        Some(ActorKind::Agent) => ActorKind::Agent,
        _ => ActorKind::Bot,
    }
}

fn dimensions_of(event: &Event, opened: &ConversationOpened) -> Dimensions {
    let mut dimensions = Dimensions::default();
    set_standard(&mut dimensions, opened.dimensions.as_ref());
    match opened.direction() {
        Direction::Inbound => dimensions.set("direction", "inbound"),
        Direction::Outbound => dimensions.set("direction", "outbound"),
        Direction::Unspecified => {}
    }
    dimensions.set_attributes(event);
    dimensions
}

/// Sets those that are not empty.
fn set_standard(dimensions: &mut Dimensions, set: Option<&deskpulse_proto::v1::Dimensions>) {
    let Some(set) = set else { return };
    for (name, value) in [
        ("channel", &set.channel),
        ("team", &set.team),
        ("agent", &set.agent),
        ("priority", &set.priority),
        ("topic", &set.topic),
        ("subtopic", &set.subtopic),
        ("language", &set.language),
        ("country", &set.country),
        ("customer_segment", &set.customer_segment),
    ] {
        if !value.is_empty() {
            dimensions.set(name, value);
        }
    }
}

/// What an event changes of the dimensions, its attributes apart.
fn apply(dimensions: &mut Dimensions, event: &Event) {
    match event.payload.as_ref().expect("a payload") {
        Payload::ConversationAssigned(assigned) => match assigned.to() {
            AssigneeKind::Agent => {
                dimensions.set("agent", &assigned.assignee);
                *dimensions = dimensions.with_any("team", &assigned.team);
            }
            AssigneeKind::Team => {
                dimensions.set("agent", "");
                dimensions.set("team", &assigned.assignee);
            }
            AssigneeKind::Bot | AssigneeKind::Nobody => dimensions.set("agent", ""),
            AssigneeKind::Unspecified => unreachable!("refused"),
        },
        Payload::ConversationUpdated(updated) => update(dimensions, updated),
        _ => {}
    }
}

fn update(dimensions: &mut Dimensions, updated: &ConversationUpdated) {
    set_standard(dimensions, updated.set.as_ref());
    for name in &updated.clear {
        dimensions.set(name, "");
    }
    for tag in &updated.remove_tags {
        dimensions.tags.remove(tag);
    }
    for tag in &updated.add_tags {
        if dimensions.tags.len() < 64 {
            dimensions.tags.insert(tag.clone());
        }
    }
}
