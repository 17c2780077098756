//! Surveys and reviews.

use std::collections::BTreeMap;

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{Event, Scale, SurveyAnswered, SurveyKind, SurveySent};

use super::conversations::Conversation;
use super::timelines::Timelines;
use super::{Config, Dimensions, Model, Sample, milliseconds};

type Conversations = BTreeMap<String, Conversation>;

pub(crate) fn read(timelines: &Timelines, conversations: &Conversations, model: &mut Model) {
    for (id, timeline) in timelines.of("survey") {
        read_survey(id, timeline, conversations, model);
    }
    for (id, timeline) in timelines.of("review") {
        read_review(id, timeline, conversations, model);
    }
}

/// The dimensions of a conversation at an instant, be it left out or not; none where it is not known.
fn conversation_at(conversations: &Conversations, id: &str, instant: i64) -> Dimensions {
    conversations.get(id).map(|conversation| conversation.dimensions_at(instant).clone()).unwrap_or_default()
}

/// Adds a subject's own attributes in force from the events up to this one.
fn with_own_attributes(mut dimensions: Dimensions, timeline: &[Event], up_to: usize) -> Dimensions {
    let mut own = Dimensions::default();
    timeline[..=up_to].iter().for_each(|event| own.set_attributes(event));
    dimensions.values.extend(own.values);
    dimensions
}

fn sent(event: &Event) -> Option<&SurveySent> {
    match &event.payload {
        Some(Payload::SurveySent(sent)) => Some(sent),
        _ => None,
    }
}

fn answered(event: &Event) -> Option<&SurveyAnswered> {
    match &event.payload {
        Some(Payload::SurveyAnswered(answered)) => Some(answered),
        _ => None,
    }
}

fn read_survey(id: &str, timeline: &[Event], conversations: &Conversations, model: &mut Model) {
    let sending = timeline.iter().position(|event| sent(event).is_some());
    // The highest revision, of equal ones the last.
    let answer = (0..timeline.len()).filter(|&n| answered(&timeline[n]).is_some()).max_by_key(|&n| {
        let revision = answered(&timeline[n]).expect("an answer").revision;
        (revision, n)
    });
    let at = |number: usize| milliseconds(timeline[number].time.as_ref());
    let sending_said = sending.and_then(|number| sent(&timeline[number]));
    let answer_said = answer.and_then(|number| answered(&timeline[number]));
    let first_said = |sent: Option<&String>, answer: Option<&String>| -> String {
        sent.into_iter().chain(answer).find(|said| !said.is_empty()).cloned().unwrap_or_default()
    };
    let agent = first_said(sending_said.map(|s| &s.agent), answer_said.map(|a| &a.agent));
    // Credited as of the sending, where that names a conversation, else as of the answer.
    let about_sent = sending_said.filter(|sent| !sent.conversation.is_empty());
    let about_answer = answer_said.filter(|answer| !answer.conversation.is_empty());
    let about = match (about_sent, about_answer) {
        (Some(sent), _) => conversation_at(conversations, &sent.conversation, at(sending.expect("it was sent"))),
        (None, Some(said)) => conversation_at(conversations, &said.conversation, at(answer.expect("it was answered"))),
        (None, None) => Dimensions::default(),
    };
    let about = about.with_any("agent", &agent);
    if let Some(number) = sending {
        let dimensions = with_own_attributes(about.clone(), timeline, number);
        model.sample(Sample::new("surveys_sent", at(number), &dimensions, id));
        if answer.is_some() {
            model.sample(Sample::new("surveys_responded", at(number), &dimensions, id));
        }
    }
    let Some(number) = answer else { return };
    let said = answered(&timeline[number]).expect("an answer");
    let kind = sending_said.map_or(said.kind(), SurveySent::kind);
    let scale = sending_said.and_then(|sent| sent.scale).or(said.scale);
    let (scale, good_from) = scale_of(kind, scale, &model.config);
    let score = said.score.expect("a score").clamp(scale.lowest, scale.highest);
    let dimensions = with_own_attributes(about, timeline, number);
    let mut add = |part| model.samples.push(Sample::new(part, at(number), &dimensions, id).value(score.into()));
    let (good, bad) = (score >= good_from, score < scale.lowest + bottom(scale));
    match kind {
        SurveyKind::Csat => {
            add("csat");
            add("rating");
            if good {
                add("csat_good");
            }
            if bad {
                add("rating_bad");
            }
        }
        SurveyKind::Nps => add(promoter("nps", score)),
        SurveyKind::Ces => {
            add("ces");
            if good {
                add("ces_easy");
            }
        }
        SurveyKind::Engagement => {
            add("engagement");
            if (scale.lowest, scale.highest) == (0, 10) {
                add(promoter("enps", score));
            }
        }
        SurveyKind::Unspecified => unreachable!("refused"),
    }
}

fn promoter(of: &str, score: i32) -> &'static str {
    match (of, score) {
        ("nps", 9..) => "nps_promoter",
        ("nps", 7..) => "nps_passive",
        ("nps", _) => "nps_detractor",
        (_, 9..) => "enps_promoter",
        (_, 7..) => "enps_passive",
        _ => "enps_detractor",
    }
}

/// The scale of a survey, and the lowest score that counts as good.
fn scale_of(kind: SurveyKind, said: Option<Scale>, config: &Config) -> (Scale, i32) {
    let set = config.settings.survey_scales.iter().find(|set| set.kind() == kind);
    let usual = match kind {
        SurveyKind::Nps => Scale { lowest: 0, highest: 10 },
        SurveyKind::Ces => Scale { lowest: 1, highest: 7 },
        SurveyKind::Csat | SurveyKind::Engagement | SurveyKind::Unspecified => Scale { lowest: 1, highest: 5 },
    };
    let scale = said.or(set.and_then(|set| set.scale)).unwrap_or(usual);
    let usually_good = if kind == SurveyKind::Ces { scale.highest - part(scale, 3, 7) + 1 } else { top(scale) };
    (scale, set.and_then(|set| set.good_from).unwrap_or(usually_good))
}

/// So many parts of a scale, rounded, at least one.
fn part(scale: Scale, of: i32, parts: i32) -> i32 {
    let scores = scale.highest - scale.lowest + 1;
    // The nearest whole number; halves cannot be.
    ((scores * of * 2 + parts) / (parts * 2)).max(1)
}

/// The lowest of the top two of five.
fn top(scale: Scale) -> i32 {
    scale.highest - part(scale, 2, 5) + 1
}

/// How many scores are the bottom two of five.
fn bottom(scale: Scale) -> i32 {
    part(scale, 2, 5)
}

fn read_review(id: &str, timeline: &[Event], conversations: &Conversations, model: &mut Model) {
    let posted = |number: usize| match &timeline[number].payload {
        Some(Payload::ReviewPosted(review)) => review,
        _ => unreachable!("reviews are only posted"),
    };
    let number = (0..timeline.len()).max_by_key(|&n| (posted(n).revision, n)).expect("an event");
    let (review, at) = (posted(number), milliseconds(timeline[number].time.as_ref()));
    let scale = review.scale.unwrap_or(Scale { lowest: 1, highest: 5 });
    let rating = review.rating.expect("a rating").clamp(scale.lowest, scale.highest);
    let about = conversation_at(conversations, &review.conversation, at);
    let dimensions = with_own_attributes(about, timeline, number).with_any("platform", &review.platform);
    let mut add = |part| model.samples.push(Sample::new(part, at, &dimensions, id).value(rating.into()));
    add("rating");
    add("review");
    if rating >= top(scale) {
        add("review_good");
    }
    if rating < scale.lowest + bottom(scale) {
        add("rating_bad");
    }
}
