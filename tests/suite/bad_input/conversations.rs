//! Events of conversations, and what all events have.

use deskpulse_proto::v1::{Actor, ActorKind, AssigneeKind, ConversationStatus, Dimensions, Event};

use super::{
    YEAR_1, YEAR_10000, any, assigned, attribute, attributes, check_events, dimensioned, in_minutes, instant, letters,
    merged, message, opened, scored, status, updated,
};

#[test]
fn an_event_without_what_every_event_has_is_refused_alone() {
    check_events(vec![
        ("no id", any(|it| it.id.clear()), "id", "FIELD_REQUIRED"),
        ("an id of 129 bytes", any(|it| it.id = letters(129)), "id", "FIELD_TOO_LONG"),
        ("no source", any(|it| it.source.clear()), "source", "FIELD_REQUIRED"),
        ("a source of 129 bytes", any(|it| it.source = letters(129)), "source", "FIELD_TOO_LONG"),
        ("no tenant", any(|it| it.tenant.clear()), "tenant", "FIELD_REQUIRED"),
        ("a tenant that stands for all", any(|it| "-".clone_into(&mut it.tenant)), "tenant", "FIELD_INVALID"),
        ("a tenant of 65 bytes", any(|it| it.tenant = letters(65)), "tenant", "FIELD_TOO_LONG"),
        ("a tenant of 33 letters and 66 bytes", any(|it| it.tenant = "é".repeat(33)), "tenant", "FIELD_TOO_LONG"),
        ("no payload", any(|it| it.payload = None), "payload", "FIELD_REQUIRED"),
        ("nothing at all", Event::default(), "id", "FIELD_REQUIRED"),
        ("nine attributes", attributes(9, 2, 1), "attributes", "FIELD_TOO_LONG"),
        ("an attribute without a name", attribute("", "gold"), "attributes", "FIELD_INVALID"),
        ("an attribute's name of 65 bytes", attributes(1, 65, 1), "attributes", "FIELD_INVALID"),
        ("an attribute's name in capitals", attribute("Plan", "gold"), "attributes", "FIELD_INVALID"),
        ("an attribute's name with a hyphen", attribute("my-plan", "gold"), "attributes", "FIELD_INVALID"),
        ("an attribute's value of 129 bytes", attribute("plan", &letters(129)), "attributes.plan", "FIELD_TOO_LONG"),
    ]);
}

#[test]
fn an_event_at_no_possible_time_is_refused_alone() {
    check_events(vec![
        ("no time", any(|it| it.time = None), "time", "FIELD_REQUIRED"),
        ("negative nanos", instant(0, -1), "time", "FIELD_INVALID"),
        ("nanos of a second", instant(0, 1_000_000_000), "time", "FIELD_INVALID"),
        ("year 0", instant(YEAR_1 - 1, 999_999_999), "time", "FIELD_INVALID"),
        ("year 10000", instant(YEAR_10000, 0), "time", "FIELD_INVALID"),
        ("the first second there is", instant(i64::MIN, 0), "time", "FIELD_INVALID"),
        ("the last second there is", instant(i64::MAX, 999_999_999), "time", "FIELD_INVALID"),
        ("an hour in the future", any(|it| it.time = Some(in_minutes(60))), "time", "TIME_IN_FUTURE"),
        ("eleven minutes in the future", any(|it| it.time = Some(in_minutes(11))), "time", "TIME_IN_FUTURE"),
        ("milliseconds for seconds", instant(1_780_304_400_000, 0), "time", "FIELD_INVALID"),
        ("the year 9000", instant(221_845_392_000, 0), "time", "TIME_IN_FUTURE"),
    ]);
}

#[test]
fn an_opening_that_cannot_be_is_refused_alone() {
    const NAME: [&str; 9] =
        ["channel", "team", "agent", "priority", "topic", "subtopic", "language", "country", "customer_segment"];
    let mut cases = vec![
        ("no conversation", opened(|it| it.conversation.clear()), "conversation_opened.conversation", "FIELD_REQUIRED"),
        (
            "a conversation of 129 bytes",
            opened(|it| it.conversation = letters(129)),
            "conversation_opened.conversation",
            "FIELD_TOO_LONG",
        ),
        (
            "a customer of 129 bytes",
            opened(|it| it.customer = letters(129)),
            "conversation_opened.customer",
            "FIELD_TOO_LONG",
        ),
        ("direction 3", opened(|it| it.direction = 3), "conversation_opened.direction", "FIELD_INVALID"),
        ("direction -1", opened(|it| it.direction = -1), "conversation_opened.direction", "FIELD_INVALID"),
        ("initiator 99", opened(|it| it.initiator = 99), "conversation_opened.initiator", "FIELD_INVALID"),
    ];
    for kind in [ActorKind::Automation, ActorKind::Campaign, ActorKind::System] {
        let event = opened(|it| it.initiator = kind.into());
        cases.push((kind.as_str_name(), event, "conversation_opened.initiator", "FIELD_INVALID"));
    }
    let fields: [fn(&mut Dimensions) -> &mut String; 9] = [
        |it| &mut it.channel,
        |it| &mut it.team,
        |it| &mut it.agent,
        |it| &mut it.priority,
        |it| &mut it.topic,
        |it| &mut it.subtopic,
        |it| &mut it.language,
        |it| &mut it.country,
        |it| &mut it.customer_segment,
    ];
    let paths: Vec<String> = NAME.iter().map(|name| format!("conversation_opened.dimensions.{name}")).collect();
    for (path, field) in paths.iter().zip(fields) {
        let event = dimensioned(|it| *field(it) = letters(129));
        cases.push(("a dimension of 129 bytes", event, String::leak(path.clone()), "FIELD_TOO_LONG"));
    }
    check_events(cases);
}

#[test]
fn a_status_that_cannot_be_is_refused_alone() {
    const INTO: &str = "conversation_status_changed.merged_into";
    let closed = ConversationStatus::Closed;
    check_events(vec![
        (
            "no conversation",
            status(|it| it.conversation.clear()),
            "conversation_status_changed.conversation",
            "FIELD_REQUIRED",
        ),
        ("no status", status(|it| it.status = 0), "conversation_status_changed.status", "FIELD_REQUIRED"),
        ("status 9", status(|it| it.status = 9), "conversation_status_changed.status", "FIELD_INVALID"),
        ("status -1", status(|it| it.status = -1), "conversation_status_changed.status", "FIELD_INVALID"),
        ("merged into nothing", merged(""), INTO, "FIELD_REQUIRED"),
        ("merged into itself", merged("case"), INTO, "FIELD_INVALID"),
        ("merged into 129 bytes", merged(&letters(129)), INTO, "FIELD_TOO_LONG"),
        (
            "closed into another",
            status(|it| {
                it.status = closed.into();
                it.merged_into = "other".to_owned();
            }),
            INTO,
            "FIELD_INVALID",
        ),
        (
            "an actor of kind 99",
            status(|it| it.actor = Some(Actor { kind: 99, id: String::new() })),
            "conversation_status_changed.actor.kind",
            "FIELD_INVALID",
        ),
        (
            "an actor of 129 bytes",
            status(|it| it.actor = Some(Actor { kind: ActorKind::Agent.into(), id: letters(129) })),
            "conversation_status_changed.actor.id",
            "FIELD_TOO_LONG",
        ),
    ]);
}

#[test]
fn an_assignment_that_cannot_be_is_refused_alone() {
    const ASSIGNEE: &str = "conversation_assigned.assignee";
    let nobody = AssigneeKind::Nobody;
    let to = |kind: AssigneeKind| {
        assigned(|it| {
            it.to = kind.into();
            it.assignee.clear();
        })
    };
    check_events(vec![
        (
            "no conversation",
            assigned(|it| it.conversation.clear()),
            "conversation_assigned.conversation",
            "FIELD_REQUIRED",
        ),
        ("to nothing said", assigned(|it| it.to = 0), "conversation_assigned.to", "FIELD_REQUIRED"),
        ("to 5", assigned(|it| it.to = 5), "conversation_assigned.to", "FIELD_INVALID"),
        ("to nobody called ana", assigned(|it| it.to = nobody.into()), ASSIGNEE, "FIELD_INVALID"),
        ("to an agent without a name", to(AssigneeKind::Agent), ASSIGNEE, "FIELD_REQUIRED"),
        ("to a team without a name", to(AssigneeKind::Team), ASSIGNEE, "FIELD_REQUIRED"),
        ("to a bot without a name", to(AssigneeKind::Bot), ASSIGNEE, "FIELD_REQUIRED"),
        ("to 129 bytes", assigned(|it| it.assignee = letters(129)), ASSIGNEE, "FIELD_TOO_LONG"),
        ("a team of 129 bytes", assigned(|it| it.team = letters(129)), "conversation_assigned.team", "FIELD_TOO_LONG"),
        ("reason 6", assigned(|it| it.reason = 6), "conversation_assigned.reason", "FIELD_INVALID"),
    ]);
}

#[test]
fn an_update_that_cannot_be_is_refused_alone() {
    let clear = |names: &[&str]| updated(|it| it.clear = names.iter().map(ToString::to_string).collect());
    let tags = |count: usize, bytes: usize| vec![letters(bytes); count];
    check_events(vec![
        (
            "no conversation",
            updated(|it| it.conversation.clear()),
            "conversation_updated.conversation",
            "FIELD_REQUIRED",
        ),
        (
            "a topic of 129 bytes",
            updated(|it| it.set = Some(Dimensions { topic: letters(129), ..Default::default() })),
            "conversation_updated.set.topic",
            "FIELD_TOO_LONG",
        ),
        ("clearing tags", clear(&["tag"]), "conversation_updated.clear", "FIELD_INVALID"),
        ("clearing nothing said", clear(&[""]), "conversation_updated.clear", "FIELD_INVALID"),
        ("clearing eleven", clear(&["team"; 11]), "conversation_updated.clear", "FIELD_TOO_LONG"),
        ("33 tags", updated(|it| it.add_tags = tags(33, 1)), "conversation_updated.add_tags", "FIELD_TOO_LONG"),
        (
            "33 tags fewer",
            updated(|it| it.remove_tags = tags(33, 1)),
            "conversation_updated.remove_tags",
            "FIELD_TOO_LONG",
        ),
        ("an empty tag", updated(|it| it.add_tags = tags(1, 0)), "conversation_updated.add_tags", "FIELD_REQUIRED"),
        (
            "an empty tag less",
            updated(|it| it.remove_tags = tags(1, 0)),
            "conversation_updated.remove_tags",
            "FIELD_REQUIRED",
        ),
        (
            "a tag of 129 bytes",
            updated(|it| it.add_tags = tags(1, 129)),
            "conversation_updated.add_tags",
            "FIELD_TOO_LONG",
        ),
    ]);
}

#[test]
fn a_message_or_score_that_cannot_be_is_refused_alone() {
    let by = |kind: i32, id: String| message(|it| it.actor = Some(Actor { kind, id }));
    check_events(vec![
        ("no conversation", message(|it| it.conversation.clear()), "message_created.conversation", "FIELD_REQUIRED"),
        ("no actor", message(|it| it.actor = None), "message_created.actor", "FIELD_REQUIRED"),
        ("an actor of no kind", by(0, "ana".to_owned()), "message_created.actor.kind", "FIELD_REQUIRED"),
        ("an actor of kind 7", by(7, "ana".to_owned()), "message_created.actor.kind", "FIELD_INVALID"),
        ("an actor of 129 bytes", by(2, letters(129)), "message_created.actor.id", "FIELD_TOO_LONG"),
        ("visibility 3", message(|it| it.visibility = 3), "message_created.visibility", "FIELD_INVALID"),
        ("sentiment 4", message(|it| it.sentiment = 4), "message_created.sentiment", "FIELD_INVALID"),
        (
            "a quick reply of 129 bytes",
            message(|it| it.quick_reply = letters(129)),
            "message_created.quick_reply",
            "FIELD_TOO_LONG",
        ),
        (
            "a score of no conversation",
            scored(|it| it.conversation.clear()),
            "message_sentiment_scored.conversation",
            "FIELD_REQUIRED",
        ),
        (
            "a score of no message",
            scored(|it| it.message_event_id.clear()),
            "message_sentiment_scored.message_event_id",
            "FIELD_REQUIRED",
        ),
        (
            "a message's id of 129 bytes",
            scored(|it| it.message_event_id = letters(129)),
            "message_sentiment_scored.message_event_id",
            "FIELD_TOO_LONG",
        ),
        ("no score", scored(|it| it.sentiment = 0), "message_sentiment_scored.sentiment", "FIELD_REQUIRED"),
        ("score 4", scored(|it| it.sentiment = 4), "message_sentiment_scored.sentiment", "FIELD_INVALID"),
    ]);
}
