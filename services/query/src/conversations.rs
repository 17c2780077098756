//! The conversations behind a figure.

use deskpulse_core::fact::{Measure, ValueKind};
use deskpulse_core::subject::ALL_TENANTS;
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::v1::{
    self, CollectPlan, ConversationFigure, Freshness, ListConversationsRequest, ListConversationsResponse, ListPlace,
    ListSubjectsRequest, ListSubjectsResponse, SubjectFigure,
};

use crate::answer::{clock, timestamp, unit};
use crate::query_service::basis_on_the_wire;
use crate::question::{self, Asked};
use crate::{token, wire};

/// Conversations on a page that says no size.
const DEFAULT: usize = 50;
/// The most conversations on a page.
const MOST: usize = 1_000;

/// A list that can be asked for.
pub(crate) struct Wanted {
    pub(crate) to_list: ListSubjectsRequest,
    asked: Asked,
    /// That of what is listed of each: not always the metric's, as a level counts what has lasted for some time.
    unit: v1::Unit,
    /// A digest of the request that all pages share.
    question: u64,
    now: Timestamp,
}

impl Wanted {
    /// Checks a request; `now` is when it arrived.
    pub(crate) fn parse(request: ListConversationsRequest, now: Timestamp) -> Result<Self, Fault> {
        question::check_tenant(&request.tenant)?;
        if request.tenant == ALL_TENANTS {
            let message = "conversations are listed tenant by tenant: name one";
            return Err(Fault::in_field(Reason::NotApplicable, "tenant", message));
        }
        let same = ListConversationsRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let question = token::digest(&same);
        let size = match usize::try_from(request.page_size) {
            Ok(0) => DEFAULT,
            Ok(size) => size.min(MOST),
            Err(_) => {
                let message =
                    format!("page_size is {}, it must be from 0 to {MOST}: 0 means {DEFAULT}", request.page_size);
                return Err(Fault::in_field(Reason::FieldInvalid, "page_size", message));
            }
        };
        let (mut after, mut moment, mut now) = (None, 0, now);
        if !request.page_token.is_empty() {
            let ([of, at, first, second, whose, which], _) = token::read("page_token", question, &request.page_token)?;
            let halves = |both: u64| {
                [both >> 32, both & u64::from(u32::MAX)].map(|half| u32::try_from(half).unwrap_or(u32::MAX))
            };
            let ([partition, subject], [series, nth]) = (halves(whose), halves(which));
            moment = of;
            now = Timestamp::clamped(at.cast_signed());
            after = Some(ListPlace {
                first: first.cast_signed(),
                second: second.cast_signed(),
                partition,
                subject,
                series,
                nth,
            });
        }
        let (basis, clock) = question::basis_and_clock(request.basis, request.clock)?;
        let Some(selection) = &request.metric else {
            return Err(Fault::in_field(Reason::FieldRequired, "metric", "metric is required: name one"));
        };
        for (what, is_given) in [
            ("percentiles", !selection.percentiles.is_empty()),
            ("at_most", !selection.at_most.is_empty()),
            ("histogram", selection.histogram),
        ] {
            if is_given {
                let message = format!("a list of conversations has no {what}");
                return Err(Fault::in_field(Reason::NotApplicable, format!("metric.{what}"), message));
            }
        }
        let asked = Asked::parse("metric", selection, basis, clock, now)?;
        let parts = asked.formula.behind(&asked.options);
        let measures = || parts.iter().flat_map(|part| part.measures.iter().copied());
        if measures().next().is_none() {
            let message = format!("no conversations stand behind {} one by one", asked.metric.name);
            return Err(Fault::in_field(Reason::NotApplicable, "metric.name", message));
        }
        if !measures().all(Measure::is_about_conversations) {
            let message = format!("{} is not about conversations", asked.metric.name);
            return Err(Fault::in_field(Reason::NotApplicable, "metric.name", message));
        }
        question::parse_filter(&request.filter)?;
        let start = question::instant("start_time", request.start_time.as_ref())?.unwrap_or(Timestamp::MIN);
        let end = question::instant("end_time", request.end_time.as_ref())?.unwrap_or(now);
        if start >= end {
            return Err(Fault::in_field(Reason::InvalidRange, "end_time", "the range ends at or before its start"));
        }
        let (by_time, descending) = order(&request.order_by, measures().map(Measure::value_kind))?;
        // Of what is counted, each has lasted for some time, or is due.
        let unit = match measures().next().map(Measure::value_kind) {
            Some(ValueKind::Duration | ValueKind::Start | ValueKind::Deadline) => v1::Unit::Milliseconds,
            Some(ValueKind::Number | ValueKind::Nothing) | None => unit(asked.metric.unit),
        };
        let to_list = ListSubjectsRequest {
            tenant: request.tenant,
            plan: Some(CollectPlan {
                parts: parts.iter().map(wire::part).collect(),
                filter: request.filter,
                bounds_ms: vec![start.millis(), end.millis()],
                buckets: vec![0],
                now_ms: now.millis(),
                ..CollectPlan::default()
            }),
            by_time,
            descending,
            after,
            limit: u32::try_from(size).unwrap_or(u32::MAX),
            moment,
        };
        Ok(Self { to_list, asked, unit, question, now })
    }

    /// The answer, from what aggregation listed.
    pub(crate) fn answer(&self, listed: ListSubjectsResponse) -> ListConversationsResponse {
        let may_be_behind = listed.positions.iter().any(|position| position.may_be_behind);
        let last = listed.figures.last().and_then(|figure| figure.place);
        let token = |place: ListPlace| {
            let both = |upper: u32, lower: u32| u64::from(upper) << 32 | u64::from(lower);
            let (whose, which) = (both(place.partition, place.subject), both(place.series, place.nth));
            let now = self.now.millis().cast_unsigned();
            let numbers = [listed.moment, now, place.first.cast_unsigned(), place.second.cast_unsigned(), whose, which];
            token::write(self.question, &numbers, "")
        };
        ListConversationsResponse {
            // A moment is pinned where there is more of it.
            next_page_token: last.filter(|_| listed.moment != 0).map(token).unwrap_or_default(),
            conversations: listed.figures.into_iter().map(figure).collect(),
            total_size: listed.total,
            unit: self.unit.into(),
            basis: basis_on_the_wire(self.asked.basis).into(),
            clock: clock(&self.asked).into(),
            freshness: Some(Freshness {
                positions: listed.positions,
                answer_time: Some(timestamp(self.now.millis())),
                complete_until: (!may_be_behind).then(|| timestamp(listed.asked_at_ms)),
            }),
        }
    }
}

fn figure(figure: SubjectFigure) -> ConversationFigure {
    ConversationFigure {
        subject: if figure.subject == figure.conversation { String::new() } else { figure.subject },
        conversation: figure.conversation,
        time: Some(timestamp(figure.at_ms)),
        value: figure.value,
        dimensions: figure.dimensions,
        tags: figure.tags,
        start_time: figure.start_ms.map(timestamp),
        deadline: figure.deadline_ms.map(timestamp),
    }
}

/// Whether a list is ordered by time, and whether the greatest come first.
fn order(text: &str, mut kinds: impl Iterator<Item = ValueKind>) -> Result<(bool, bool), Fault> {
    let key = text.trim();
    let (key, descending) = match (key.strip_prefix('-'), key.strip_suffix(" desc")) {
        (Some(key), _) => (key, true),
        (None, Some(key)) => (key.trim_end(), true),
        (None, None) => (key, false),
    };
    match (key, descending) {
        ("", false) => Ok(match kinds.next() {
            Some(ValueKind::Nothing) | None => (true, true),
            Some(ValueKind::Deadline) => (false, false),
            Some(ValueKind::Number | ValueKind::Duration | ValueKind::Start) => (false, true),
        }),
        ("value", descending) => Ok((false, descending)),
        ("time", descending) => Ok((true, descending)),
        _ => {
            let message = "order_by is value or time, with desc behind it for the greatest first";
            Err(Fault::in_field(Reason::FieldInvalid, "order_by", message))
        }
    }
}
