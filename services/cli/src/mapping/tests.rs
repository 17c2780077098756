use std::collections::BTreeMap;
use std::path::PathBuf;

use deskpulse_proto::v1;
use v1::event::Payload;

use jiff::Timestamp;

use super::*;
use crate::import::source::{Entry, Sources};

const HEAD: &str = "tenant = \"t\"\nsource = \"s\"\n";

/// What a mapping makes of a CSV text: one word for each event, or `line column: reason`.
fn outcome(mapping: &str, csv: &str) -> Vec<String> {
    let mapping = Mapping::parse(&format!("{HEAD}{mapping}")).unwrap().with_overrides(None, None).unwrap();
    let dialect = mapping.dialect(Path::new("x.csv")).unwrap();
    let mut mapper = Mapper::new(mapping);
    let mut lines = csv.lines().zip(1..);
    let header = mapper.mapping().fixed_header().unwrap_or_else(|| dialect.split(lines.next().unwrap().0));
    mapper.begin(&header).unwrap();
    let mut words = Vec::new();
    let describe = |place: Place, outcome: rows::RowOutcome| match outcome {
        Ok(events) => events.into_iter().map(|event| event.id).collect(),
        Err(bad) => vec![format!("{} {}: {}", place.line, bad.column, bad.reason)],
    };
    for (line, number) in lines {
        let place = Place { file: 0, line: number };
        words.extend(describe(place, mapper.push(place, &dialect.split(line)).unwrap()));
    }
    mapper
        .finish(|place, outcome| {
            words.extend(describe(place, outcome));
            Ok(())
        })
        .unwrap();
    words
}

fn refusal(mapping: &str) -> String {
    format!("{:#}", Mapping::parse(mapping).unwrap_err())
}

#[test]
fn a_row_makes_as_many_events_as_its_conditions_let_and_none_when_one_of_them_is_bad() {
    let mapping = r#"
when = [{ column = "kind", not_in = ["test"] }]
[time]
formats = ["unix_s"]
[translate.state]
"New" = "open"
"Solved" = "resolved"
[[event]]
name = "opened"
type = "conversation_opened"
id = "{id}"
time = "{at}"
fields = { conversation = "{id}", "dimensions.channel" = "{kind}" }
[[event]]
name = "status"
type = "conversation_status_changed"
id = "{id}-{state|state}"
time = "{at}"
when = [{ column = "state", is_set = true }]
fields = { conversation = "{id}", status = "{state|state}" }
"#;
    let csv = "id,at,kind,state\n1,5,mail,New\n2,6,test,New\n3,7,,\n4,8,mail,Odd\n5,x,mail,New\n6,9\n,9,mail,New";
    assert_eq!(
        outcome(mapping, csv),
        [
            "1",
            "1-open",
            "3",
            "5 state: [translate.state] has no entry for \"Odd\"",
            "6 at: \"x\" is not a time of the form unix_s",
            "7 : 2 columns where the header has 4",
            "8 id: no value for the event's id"
        ]
    );
}

#[test]
fn the_last_row_of_a_key_is_the_last_of_the_file_or_of_the_order() {
    let rest = r#"
mode = "last_row_per_key"
key = ["id"]
[time]
formats = ["unix_s"]
[[event]]
name = "e"
type = "conversation_opened"
id = "{id}-{version}"
time = "{at}"
"#;
    let csv = "id,version,at\na,10,1\nb,1,1\na,9,2\nb,2,2\nb,2,3\n,1,1";
    assert_eq!(outcome(rest, csv), ["7 id: no value for the key", "a-9", "b-2"]);
    assert_eq!(
        outcome(&format!("order_by = [\"version\"]\n{rest}"), csv),
        ["7 id: no value for the key", "a-10", "b-2"]
    );
}

#[test]
fn changes_are_told_from_the_row_before_of_the_same_key() {
    let rest = r#"
mode = "changes"
key = ["id"]
[time]
formats = ["unix_s"]
[[event]]
name = "status"
type = "conversation_status_changed"
time = "{at}"
id = "{id}-{version}-{status}"
when = [{ column = "status", changed = true }, { column = "status", is_set = true }]
[[event]]
name = "freed"
type = "conversation_assigned"
time = "{at}"
id = "{id}-{version}-freed"
when = [{ column = "agent", changed = true }, { column = "agent", is_set = false }]
fields = { conversation = "{id}", to = "nobody" }
"#;
    let csv = "id,version,at,status,agent\na,1,1,new,\nb,1,1,new,x\na,3,3,done,\na,2,2,new,\nb,10,9,new,\nb,2,2,open,x";
    assert_eq!(outcome(rest, csv), ["a-1-new", "b-1-new", "a-3-done", "a-2-new", "b-10-freed", "b-2-open"]);
    assert_eq!(
        outcome(&format!("order_by = [\"version\"]\n{rest}"), csv),
        ["a-1-new", "a-3-done", "b-1-new", "b-2-open", "b-10-new", "b-10-freed"]
    );
}

#[test]
fn a_change_in_a_row_that_is_refused_is_told_by_the_next_row_of_its_key() {
    let rest = r#"
mode = "changes"
key = ["id"]
[time]
formats = ["unix_s"]
[[event]]
name = "status"
type = "conversation_status_changed"
time = "{at}"
id = "{id}-{version}-{status}"
when = [{ column = "status", changed = true }]
"#;
    let csv = "id,version,at,status\n\
               a,1,1,open\na,2,x,resolved\na,3,3,resolved\na,4,4,resolved\n\
               b,1,x,open\nb,2,y,open\nb,3,3,open";
    let refused = |line: u64, time: &str| format!("{line} at: \"{time}\" is not a time of the form unix_s");
    let told = ["a-1-open".to_owned(), refused(3, "x"), "a-3-resolved".to_owned()];
    let told = [&told[..], &[refused(6, "x"), refused(7, "y"), "b-3-open".to_owned()]].concat();
    assert_eq!(outcome(rest, csv), told);
    assert_eq!(outcome(&format!("order_by = [\"version\"]\n{rest}"), csv), told);
}

#[test]
fn keys_of_several_columns_are_told_apart_whatever_they_hold() {
    let rest = r#"
key = ["site", "number"]
[time]
formats = ["unix_s"]
[[event]]
name = "opened"
type = "conversation_opened"
time = "{at}"
fields = { conversation = "{site} {number}" }
"#;
    let csv = "site,number,at\nx:y,z,1\nx,y:z,1\nx\\,y,1\nx\\:y,z,1\nplain-1/2,3,1";
    let ids = [r"opened:x\:y:z", r"opened:x:y\:z", r"opened:x\\:y", r"opened:x\\\:y:z", "opened:plain-1/2:3"];
    assert_eq!(outcome(rest, csv), ids);
    assert_eq!(outcome(&format!("mode = \"last_row_per_key\"\n{rest}"), csv), ids);
    let separator = "site,number,at\nx\u{1f}y,z,1\nx,y\u{1f}z,1";
    assert_eq!(outcome(&format!("mode = \"last_row_per_key\"\n{rest}"), separator).len(), 2);
}

#[test]
fn columns_may_have_nulls_of_their_own_names_of_their_own_and_spaces_around() {
    let mapping = r#"
key = ["id"]
[input]
columns = ["id", "day", "start", "stop"]
nulls = ["-"]
trim = true
[columns.start]
nulls = ["0:00:00"]
[time]
formats = ["%y%m%d %H:%M:%S"]
[[event]]
name = "e"
type = "leg_state_changed"
time = { first_of = ["{day} {start}", "{day} {stop}"] }
fields = { conversation = "{id}", leg = "1", state = "queued" }
"#;
    assert_eq!(
        outcome(mapping, "1,990201,0:00:00, 7:02:47 \n2,990201,0:00:00,-"),
        ["e:1", "2 day, start, day, stop: no value for the event's time"]
    );
}

#[test]
fn every_mistake_in_a_mapping_is_named_by_its_key() {
    let event = |rest: &str| {
        format!(
            "{HEAD}[[event]]\nname = \"e\"\ntype = \"conversation_status_changed\"\nid = \"{{i}}\"\ntime = \"{{t}}\"\n{rest}"
        )
    };
    for (mapping, part) in [
        (event("colour = 1"), "colour"),
        (
            event("fields = { colour = \"x\" }"),
            "event.e: fields.colour: ConversationStatusChanged has no field `colour`",
        ),
        (event("fields = { actor = \"x\" }"), "fields.actor: `actor` is a message"),
        (event("fields = { status = \"solved\" }"), "fields.status: \"solved\" is none of open, pending, on_hold"),
        (event("fields = { status = \"{s|x}\" }"), "there is no [translate.x]"),
        (event("fields = { status = \"{s\" }"), "has no partner"),
        (event("fields = { status = \"{s|a}\" }\n[translate.a]\nNew = \"neu\""), "\"neu\" is none of"),
        (event("when = [{ column = \"s\", changed = true }]"), "when[0]: `changed` needs mode"),
        (event("when = [{ column = \"s\" }]"), "when[0]: a condition is"),
        (event("[time]\nformats = [\"iso\"]"), "time.formats"),
        (event("[time]\nzone = \"Mars\""), "time.zone"),
        (event("[input]\ndelimiter = \"§\""), "input.delimiter"),
        (format!("mode = \"changes\"\n{}", event("")), "key:"),
        (event("").replace("id = \"{i}\"\n", ""), "event.e: id:"),
        (event("").replace("status_changed", "status"), "event.e: type:"),
        ("event = []".to_owned(), "event: at least one"),
    ] {
        let text = refusal(&mapping);
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let mapping = Mapping::parse(&event("")).unwrap();
    let error = Mapper::new(mapping).begin(&StringRecord::from(vec!["i", "u"])).unwrap_err();
    assert_eq!(error.to_string(), "column `t` is not in the header, which has `i`, `u`");
}

#[test]
fn the_mapping_in_the_documentation_is_valid() {
    let text = include_str!("../mapping.rs");
    let example: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .skip_while(|line| line.trim() != "```toml")
        .skip(1)
        .take_while(|line| line.trim() != "```")
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    Mapping::parse(&example.join("\n")).unwrap();
}

/// The events of a real file, or `None` with a note where the file is absent.
fn replay(name: &str) -> Option<Vec<v1::Event>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap().join("../..");
    let data = root.join(format!("../shared/data/{name}.csv.gz"));
    if !data.exists() {
        eprintln!("skipped: {} is absent", data.display());
        return None;
    }
    let mapping = Mapping::load(&root.join(format!("tests/mappings/{name}.toml"))).unwrap();
    let mut events = Vec::new();
    let sources = Sources { files: vec![data], mapping: Some(mapping), tenant: None, source: None };
    let rows = sources
        .read(&mut |entry| {
            match entry {
                Entry::Event { event, .. } => events.push(*event),
                Entry::Bad { line, bad, .. } => panic!("line {line}: {bad:?}"),
            }
            Ok(())
        })
        .unwrap();
    assert!(rows > 0);
    Some(events)
}

#[test]
fn servicenow_incidents_become_an_opening_and_a_resolution_each() {
    let Some(events) = replay("servicenow_incidents") else { return };
    assert_eq!(events.len(), 2 * 24_918);
    let Some(Payload::ConversationOpened(opened)) = &events[0].payload else { panic!("{:?}", events[0]) };
    assert_eq!((events[0].id.as_str(), events[0].tenant.as_str()), ("opened:INC0000045", "acme"));
    assert_eq!((opened.conversation.as_str(), opened.customer.as_str()), ("INC0000045", "Caller 2403"));
    let dimensions = opened.dimensions.as_ref().unwrap();
    assert_eq!((dimensions.channel.as_str(), dimensions.team.as_str()), ("Phone", "Group 56"));
    assert_eq!((dimensions.agent.as_str(), dimensions.priority.as_str()), ("", "3 - Moderate"));
    let Some(Payload::ConversationStatusChanged(resolved)) = &events[1].payload else { panic!("{:?}", events[1]) };
    assert_eq!(resolved.status(), v1::ConversationStatus::Resolved);
    assert_eq!(resolved.actor.as_ref().unwrap().id, "Resolved by 149");

    let seconds = |event: &v1::Event| event.time.as_ref().unwrap().seconds;
    let total: i64 = events.chunks(2).map(|pair| (seconds(&pair[1]) - seconds(&pair[0])).max(0)).sum();
    assert_eq!(total, 15_907_861_680);
    let mut channels = BTreeMap::new();
    for event in &events {
        if let Some(Payload::ConversationOpened(opened)) = &event.payload {
            *channels.entry(opened.dimensions.as_ref().unwrap().channel.as_str()).or_insert(0) += 1;
        }
    }
    let expected = [("Direct opening", 4), ("Email", 59), ("IVR", 9), ("Phone", 24_688), ("Self service", 158)];
    assert_eq!(channels, BTreeMap::from(expected));
    let april_end = "2016-05-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second();
    let backlog = events.chunks(2).filter(|pair| seconds(&pair[0]) <= april_end && seconds(&pair[1]) > april_end);
    assert_eq!(backlog.count(), 1341);
}

#[test]
fn twitter_messages_become_messages_and_the_brand_a_team() {
    let Some(events) = replay("twitter_support_5000") else { return };
    let count = |kind: v1::ActorKind| {
        let of_kind = |event: &&v1::Event| match &event.payload {
            Some(Payload::MessageCreated(message)) => message.actor.as_ref().unwrap().kind() == kind,
            _ => false,
        };
        events.iter().filter(of_kind).count()
    };
    assert_eq!((count(v1::ActorKind::Customer), count(v1::ActorKind::Agent)), (2778, 2222));
    assert_eq!(events.len(), 5000 + 2222);
    assert_eq!((events[0].id.as_str(), events[0].sequence), ("message:1", Some(1)));
    assert_eq!(events[0].time.as_ref().unwrap().seconds, 1_509_487_847);
    assert!(matches!(&events[1].payload, Some(Payload::ConversationUpdated(updated))
        if updated.set.as_ref().unwrap().team == "sprintcare" && updated.conversation == "1"));
}
