//! Warnings, breaches and rules that begin to hold: told once, when they come true.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use deskpulse_core::fact::{Anchor, Clock, Measure};
use deskpulse_core::filter::Filter;
use deskpulse_core::snapshot::{Part, Reduction};
use deskpulse_core::subject::ALL_TENANTS;
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_edge::server::Drain;
use deskpulse_proto::v1::threshold_rule::Bound;
use deskpulse_proto::v1::{
    AlertKind, CollectPlan, ListPlace, ListSubjectsRequest, QueryMetricsRequest, SubjectFigure, ThresholdRule, Unit,
    WatchAlertsRequest, WatchAlertsResponse, WatchRequest,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::answer::{decoded, timestamp};
use crate::query_service::{Asker, now};
use crate::question;
use crate::{token, wire};

const RULES: usize = 20;
const NAME: usize = 64;
const HOUR_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// How often rules are looked at, and everything else where nothing has changed.
const PACE: Duration = Duration::from_secs(1);
/// The least time between two looks.
const SHORTEST: Duration = Duration::from_millis(100);
/// How late something may become known and still be told.
const LATENESS_MS: i64 = HOUR_MS;
/// The most warnings and breaches of that time.
const RECENT: usize = 100_000;
/// Warnings and breaches read at once.
const PAGE: u32 = 1_000;
/// How often a listener is told where it stands.
const STANDS_EVERY: Duration = Duration::from_mins(1);
/// For how long aggregation may be away before a listener is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a listener gets.
pub(crate) type Alerts = ReceiverStream<Result<WatchAlertsResponse, Status>>;

/// The instant of a warning or breach, in milliseconds since 1970, and a digest of what tells it from others of that instant.
type Identity = (i64, u64);

/// A rule and how it stands.
struct Rule {
    name: String,
    query: QueryMetricsRequest,
    last_ms: i64,
    bound: Bound,
    hold_ms: i64,
    /// Since when it has been seen to hold.
    since: Option<Timestamp>,
    /// Whether that was told.
    is_told: bool,
}

/// A listener: what to tell it, and how far it has been told.
struct Listener {
    tenant: String,
    filter: String,
    rules: Vec<Rule>,
    /// A digest of the request that all its tokens share.
    question: u64,
    /// Everything up to here was told, but for what becomes known late.
    told_upto: Identity,
    /// What was told, by its instant, for as long as more of that time may become known.
    told: BTreeSet<Identity>,
}

/// What says in a token that a rule was told.
const TOLD: char = 't';

/// Tells of alerts from now on, or from where a token says.
pub(crate) async fn watch(asker: &Asker, drain: &Drain, request: WatchAlertsRequest) -> Result<Alerts, Status> {
    let mut listener = Listener::parse(asker, &request).await?;
    // What is known already was told, or is not news; and what cannot be asked is refused before anything is sent.
    let known = listener.known(asker, listener.told_upto.0).await?;
    listener.told = known.iter().map(identity).filter(|known| *known <= listener.told_upto).collect();
    let (sender, receiver) = mpsc::channel(16);
    let (asker, drain) = (asker.clone(), drain.clone());
    tokio::spawn(async move {
        tokio::select! {
            ended = tell(&asker, &mut listener, &sender) => {
                if let Err(status) = ended {
                    let _ = sender.send(Err(status)).await;
                }
            }
            () = sender.closed() => {}
            () = drain.streams_end() => {
                let message = "the service is going down: go on with the last resume token";
                let _ = sender.send(Err(Fault::new(Reason::Draining, message).into())).await;
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

type Sender = mpsc::Sender<Result<WatchAlertsResponse, Status>>;

/// Looks again whenever something has changed, and once a second; ends when nobody listens or aggregation stays away.
async fn tell(asker: &Asker, listener: &mut Listener, sender: &Sender) -> Result<(), Status> {
    let mut changes = None;
    let mut away_since: Option<Instant> = None;
    let mut stands_since: Option<Instant> = None;
    loop {
        let started = Instant::now();
        if stands_since.is_none_or(|since| since.elapsed() >= STANDS_EVERY) {
            stands_since = Some(started);
            let stands = WatchAlertsResponse { resume_token: listener.token(), ..WatchAlertsResponse::default() };
            if sender.send(Ok(stands)).await.is_err() {
                return Ok(());
            }
        }
        let looked = async {
            if changes.is_none() {
                let request = WatchRequest { min_interval_ms: 0, tenant: listener.tenant.clone() };
                changes = Some(asker.changes(request).await?);
            }
            listener.look(asker).await
        };
        match looked.await {
            Ok(alerts) => {
                away_since = None;
                for alert in alerts {
                    if sender.send(Ok(alert)).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Err(status) => {
                changes = None;
                let since = *away_since.get_or_insert(started);
                if status.code() != Code::Unavailable || since.elapsed() > PATIENCE {
                    return Err(status);
                }
            }
        }
        sleep(SHORTEST).await;
        if let Some(stream) = &mut changes {
            // A deadline that passes is a change, too.
            if matches!(timeout_at(started + PACE, stream.message()).await, Ok(Err(_) | Ok(None))) {
                changes = None;
            }
        }
    }
}

impl Listener {
    async fn parse(asker: &Asker, request: &WatchAlertsRequest) -> Result<Self, Status> {
        question::check_tenant(&request.tenant)?;
        if request.tenant == ALL_TENANTS {
            let message = "alerts are watched tenant by tenant: name one";
            return Err(Fault::in_field(Reason::NotApplicable, "tenant", message).into());
        }
        question::parse_filter(&request.filter)?;
        question::check_count("rules", request.rules.len(), RULES)?;
        let mut rules = Vec::with_capacity(request.rules.len());
        let mut names = HashSet::new();
        for (index, rule) in request.rules.iter().enumerate() {
            let field = format!("rules[{index}]");
            let rule = Rule::parse(&field, &request.tenant, rule)?;
            if !names.insert(rule.name.clone()) {
                let message = format!("{field}.name is {:?}, as another rule's: give each its own", rule.name);
                return Err(Fault::in_field(Reason::FieldInvalid, format!("{field}.name"), message).into());
            }
            // Asked once, so that a rule nobody can answer is refused.
            asker.answer(rule.at(now())).await.map_err(|status| within(&field, status))?;
            rules.push(rule);
        }
        let question = {
            let same = WatchAlertsRequest { resume_token: String::new(), ..request.clone() };
            token::digest(&same)
        };
        let mut told_upto = (now().millis(), u64::MAX);
        if !request.resume_token.is_empty() {
            let ([at_ms, digest], states) = token::read("resume_token", question, &request.resume_token)?;
            told_upto = told_upto.min((at_ms.cast_signed(), digest));
            for (rule, state) in rules.iter_mut().zip(states.split('.')) {
                rule.resume(state);
            }
        }
        let (tenant, filter) = (request.tenant.clone(), request.filter.clone());
        Ok(Self { tenant, filter, rules, question, told_upto, told: BTreeSet::new() })
    }

    /// What is to be told now.
    async fn look(&mut self, asker: &Asker) -> Result<Vec<WatchAlertsResponse>, Status> {
        let now = now();
        let oldest_ms = self.told_upto.0.min(now.millis() - LATENESS_MS);
        let mut news: Vec<(Identity, SubjectFigure)> = Vec::new();
        let known = self.known(asker, self.told_upto.0).await?;
        let mut values = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            values.push(rule.value(asker, now).await?);
        }
        // From here on nothing fails: what is marked as told is told.
        for fact in known {
            let identity = identity(&fact);
            if identity.0 <= now.millis() && self.told.insert(identity) {
                news.push((identity, fact));
            }
        }
        news.sort_unstable_by_key(|(identity, _)| *identity);
        self.told = self.told.split_off(&(oldest_ms, 0));
        let mut alerts = Vec::with_capacity(news.len());
        for (identity, fact) in news {
            // What became known late lies before what was told.
            self.told_upto = self.told_upto.max(identity);
            alerts.push(WatchAlertsResponse { resume_token: self.token(), ..alert(fact) });
        }
        self.told_upto = (now.millis(), u64::MAX);
        let (mut told, mut states) = (Vec::new(), Vec::new());
        for (index, (rule, value)) in self.rules.iter_mut().zip(values).enumerate() {
            let before = rule.state();
            let alert = rule.look(value, now);
            // Until it is told, a rule stands as before, but for since when it has held.
            states.push(match &alert {
                Some(alert) if alert.ended => before,
                Some(_) => rule.state().trim_end_matches(TOLD).to_owned(),
                None => rule.state(),
            });
            told.extend(alert.map(|alert| (index, alert)));
        }
        for (index, alert) in told {
            states[index] = self.rules[index].state();
            alerts.push(WatchAlertsResponse { resume_token: self.token_of(&states), ..alert });
        }
        Ok(alerts)
    }

    fn token(&self) -> String {
        self.token_of(&self.rules.iter().map(Rule::state).collect::<Vec<_>>())
    }

    /// A token with which rules go on from these states.
    fn token_of(&self, states: &[String]) -> String {
        token::write(self.question, &[self.told_upto.0.cast_unsigned(), self.told_upto.1], &states.join("."))
    }

    /// Every warning and breach from an instant on, or from an hour before it, up to now.
    async fn known(&self, asker: &Asker, from_ms: i64) -> Result<Vec<SubjectFigure>, Status> {
        let from_ms = from_ms.min(now().millis() - LATENESS_MS);
        let part = |measure| Part {
            measures: vec![measure],
            anchor: Anchor::Completion,
            clock: Clock::Calendar,
            reduction: Reduction::Count,
            at_most: Vec::new(),
            filter: Filter::Everything,
        };
        let plan = CollectPlan {
            parts: [Measure::SlaBreached, Measure::SlaAtRisk].map(|measure| wire::part(&part(measure))).to_vec(),
            filter: self.filter.clone(),
            bounds_ms: vec![from_ms, now().millis() + 1],
            buckets: vec![0],
            now_ms: now().millis(),
            ..CollectPlan::default()
        };
        let (mut after, mut moment): (Option<ListPlace>, u64) = (None, 0);
        let mut all = Vec::new();
        loop {
            let request = ListSubjectsRequest {
                tenant: self.tenant.clone(),
                plan: Some(plan.clone()),
                by_time: true,
                descending: false,
                after,
                limit: PAGE,
                moment,
            };
            let page = asker.list(request).await?;
            after = page.figures.last().and_then(|figure| figure.place);
            moment = page.moment;
            all.extend(page.figures);
            if moment == 0 {
                return Ok(all);
            }
            if all.len() >= RECENT {
                let message = format!("there are more than {RECENT} alerts an hour: narrow the filter");
                return Err(Fault::in_field(Reason::TooManyRows, "filter", message).into());
            }
        }
    }
}

impl Rule {
    fn parse(field: &str, tenant: &str, rule: &ThresholdRule) -> Result<Self, Fault> {
        let at = |part: &str| format!("{field}.{part}");
        if rule.name.is_empty() {
            return Err(Fault::in_field(Reason::FieldRequired, at("name"), format!("{} is required", at("name"))));
        }
        if rule.name.len() > NAME {
            let message = format!("{} has {} bytes, the limit is {NAME}", at("name"), rule.name.len());
            return Err(Fault::in_field(Reason::FieldTooLong, at("name"), message));
        }
        let Some(metric) = rule.metric.clone() else {
            return Err(Fault::in_field(Reason::FieldRequired, at("metric"), format!("{} is required", at("metric"))));
        };
        if metric.percentiles.len() + metric.at_most.len() > 1 || metric.histogram {
            let message = format!("{} must be one figure: a value, one percentile or one share", at("metric"));
            return Err(Fault::in_field(Reason::NotApplicable, at("metric"), message));
        }
        let bound = match rule.bound {
            Some(Bound::Over(bound) | Bound::Under(bound)) if !bound.is_finite() => {
                let message = format!("{field}: {bound} is no bound");
                return Err(Fault::in_field(Reason::FieldInvalid, at("over"), message));
            }
            Some(bound) => bound,
            None => {
                let message = format!("{field} needs a bound: over or under");
                return Err(Fault::in_field(Reason::FieldRequired, at("over"), message));
            }
        };
        let given = |name: &str, given: Option<&prost_types::Duration>| {
            given.map(|given| question::duration(&at(name), given)).transpose()
        };
        let last_ms = given("last", rule.last.as_ref())?.unwrap_or(HOUR_MS);
        let hold_ms = given("hold", rule.hold.as_ref())?.unwrap_or(0);
        if last_ms == 0 || hold_ms > DAY_MS {
            let (name, limit) = if last_ms == 0 { ("last", "more than 0") } else { ("hold", "at most a day") };
            let message = format!("{} must be {limit}", at(name));
            return Err(Fault::in_field(Reason::FieldInvalid, at(name), message));
        }
        let query = QueryMetricsRequest {
            tenant: tenant.to_owned(),
            metrics: vec![metric],
            filter: rule.filter.clone(),
            ..QueryMetricsRequest::default()
        };
        Ok(Self { name: rule.name.clone(), query, last_ms, bound, hold_ms, since: None, is_told: false })
    }

    /// Its question, asked at an instant.
    fn at(&self, now: Timestamp) -> QueryMetricsRequest {
        let start = Timestamp::clamped(now.millis() - self.last_ms);
        QueryMetricsRequest {
            start_time: Some(timestamp(start.millis())),
            end_time: Some(timestamp(now.millis())),
            ..self.query.clone()
        }
    }

    /// Its figure at an instant; `None` where there is none.
    async fn value(&self, asker: &Asker, now: Timestamp) -> Result<Option<f64>, Status> {
        let answer = asker.answer(self.at(now)).await?;
        let answer = decoded(&answer.encode_to_vec());
        let figure = answer.rows.first().and_then(|row| row.values.first());
        let value = figure.and_then(|figure| {
            let percentile = figure.percentiles.first().map(|percentile| percentile.value);
            percentile.or_else(|| figure.shares.first().map(|share| share.share)).or(figure.value)
        });
        // A count of nothing is 0, other figures of nothing are none.
        let is_count = figure.is_some_and(|figure| figure.unit() == Unit::Count && figure.denominator.is_none());
        Ok(value.or(is_count.then_some(0.0)))
    }

    /// Tells when it has begun to hold for as long as it has to, and when it has ceased to.
    fn look(&mut self, value: Option<f64>, now: Timestamp) -> Option<WatchAlertsResponse> {
        let holds = value.is_some_and(|value| match self.bound {
            Bound::Over(bound) => value > bound,
            Bound::Under(bound) => value < bound,
        });
        let alert = |ended, time: Timestamp| WatchAlertsResponse {
            kind: AlertKind::Threshold.into(),
            time: Some(timestamp(time.millis())),
            rule: self.name.clone(),
            value,
            ended,
            ..WatchAlertsResponse::default()
        };
        if !holds {
            self.since = None;
            let was_told = std::mem::take(&mut self.is_told);
            return was_told.then(|| alert(true, now));
        }
        let since = *self.since.get_or_insert(now);
        let due = Timestamp::clamped(since.millis() + self.hold_ms);
        let is_news = !self.is_told && due <= now;
        let told = is_news.then(|| alert(false, due));
        self.is_told |= is_news;
        told
    }

    /// How it stands, for a token.
    fn state(&self) -> String {
        let since = self.since.map(|since| since.millis().to_string()).unwrap_or_default();
        if self.is_told { format!("{since}{TOLD}") } else { since }
    }

    fn resume(&mut self, state: &str) {
        let since = state.trim_end_matches(TOLD);
        self.since = since.parse().ok().and_then(Timestamp::from_millis);
        self.is_told = self.since.is_some() && state.ends_with(TOLD);
    }
}

fn identity(fact: &SubjectFigure) -> Identity {
    let dimension = |name: &str| fact.dimensions.get(name).cloned().unwrap_or_default();
    let same = WatchAlertsResponse {
        conversation: fact.conversation.clone(),
        rule: dimension("sla_policy"),
        sla_target: dimension("sla_target"),
        resume_token: fact.measure.clone(),
        // A target of a kind may run several times.
        deadline: fact.deadline_ms.map(timestamp),
        ..WatchAlertsResponse::default()
    };
    (fact.at_ms, token::digest(&same))
}

fn alert(fact: SubjectFigure) -> WatchAlertsResponse {
    let mut dimensions = fact.dimensions;
    let is_breach = fact.measure == Measure::SlaBreached.name();
    WatchAlertsResponse {
        kind: if is_breach { AlertKind::SlaBreach } else { AlertKind::SlaWarning }.into(),
        time: Some(timestamp(fact.at_ms)),
        conversation: fact.conversation,
        rule: dimensions.remove("sla_policy").unwrap_or_default(),
        sla_target: dimensions.remove("sla_target").unwrap_or_default(),
        deadline: fact.deadline_ms.map(timestamp),
        dimensions,
        ..WatchAlertsResponse::default()
    }
}

/// A refusal of a question within a request.
fn within(field: &str, status: Status) -> Status {
    use tonic_types::StatusExt as _;
    let details = status.get_error_details();
    let violation = details.bad_request().and_then(|bad| bad.field_violations.first().cloned());
    match (violation, details.error_info().and_then(|info| Reason::named(&info.reason))) {
        (Some(violation), Some(reason)) => {
            let inner = violation.field.replacen("metrics[0]", "metric", 1);
            Fault::in_field(reason, format!("{field}.{inner}"), violation.description).into()
        }
        _ => status,
    }
}
