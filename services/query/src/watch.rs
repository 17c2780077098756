//! The same question, answered again whenever the answer changes.
//!
//! Who asks the same at the same pace shares an evaluation. It goes on for as long as anybody listens, and keeps the latest answer only:
//! a slow listener gets that when it is ready, and holds up nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_edge::server::Drain;
use deskpulse_proto::raw::{QueryMetricsResponse, WatchMetricsResponse};
use deskpulse_proto::v1::{Basis, QueryMetricsRequest, WatchMetricsRequest, WatchRequest, WatchResponse};
use prost::Message as _;
use prost::bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::answer::decoded;
use crate::query_service::Asker;
use crate::question;
use crate::token;

const INTERVAL: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_hours(1);
/// The most different questions watched at once.
const QUESTIONS: usize = 10_000;
/// The most listeners.
const LISTENERS: usize = 50_000;
/// For how long aggregation may be away before listeners are told.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often an answer is looked at again that changes as time passes, with no event.
const TIME_PASSES: Duration = Duration::from_secs(1);

/// What everybody who watches gets.
pub(crate) type Answers = ReceiverStream<Result<WatchMetricsResponse, Status>>;

/// An answer, encoded once for all who listen, and a digest of what it says.
#[derive(Debug, Clone)]
struct Answer {
    encoded: Bytes,
    digest: u64,
}

impl Answer {
    fn new(query: &QueryMetricsRequest, answer: &QueryMetricsResponse) -> Self {
        let encoded = Bytes::from(answer.encode_to_vec());
        // When it was asked is no news, and neither is that the range has moved on with that.
        if query.end_time.is_some() && query.last.is_none() {
            let mut said = answer.clone();
            said.rest.freshness = None;
            return Self { encoded, digest: token::digest(&said) };
        }
        let mut said = decoded(&encoded);
        let asked_at = said.freshness.take().and_then(|freshness| freshness.answer_time);
        let rows = said.rows.iter_mut().chain(&mut said.group_totals).chain(&mut said.total);
        for row in rows {
            row.interval_end.take_if(|end| query.end_time.is_none() && Some(*end) == asked_at);
            // The first interval begins where the range does.
            row.interval_start.take_if(|_| query.last.is_some() && query.interval.is_empty());
        }
        Self { encoded, digest: token::digest(&said) }
    }
}

/// The latest answer, or why there is none any more.
type Latest = Result<Answer, Status>;

/// The questions that are watched.
#[derive(Debug, Clone)]
pub(crate) struct Watches {
    known: Arc<Mutex<HashMap<u64, watch::Sender<Latest>>>>,
    /// Where they are evaluated: not on the thread of whichever listener came first.
    background: Handle,
}

impl Watches {
    /// None yet; they are going to be evaluated here.
    pub(crate) fn new(background: Handle) -> Self {
        Self { known: Arc::default(), background }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, watch::Sender<Latest>>> {
        // No step leaves the table half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a question now and from now on.
    pub(crate) async fn watch(
        &self,
        asker: &Asker,
        drain: &Drain,
        request: WatchMetricsRequest,
    ) -> Result<Answers, Status> {
        let interval = match request.min_interval.as_ref() {
            None => INTERVAL,
            Some(given) => {
                let ms = question::duration("min_interval", given)?;
                let given = Duration::from_millis(ms.unsigned_abs());
                if !(SHORTEST..=LONGEST).contains(&given) {
                    let message = format!("min_interval is {ms} ms, it must be from 100 ms to an hour");
                    return Err(Fault::in_field(Reason::FieldInvalid, "min_interval", message).into());
                }
                given
            }
        };
        let Some(query) = request.query else {
            return Err(Fault::in_field(Reason::FieldRequired, "query", "query is required: what to answer").into());
        };
        if query.page_size != 0 || !query.page_token.is_empty() {
            let message = "a watch has no pages: use limit or top";
            return Err(Fault::in_field(Reason::NotApplicable, "query.page_size", message).into());
        }
        let question = token::digest(&query);
        let known = match request.resume_token.as_str() {
            "" => None,
            resume => Some(token::read("resume_token", question, resume).map(|([digest], _)| digest)?),
        };
        let mut latest = self.subscribe(asker, question, query, interval).await?;
        let (sender, receiver) = mpsc::channel(1);
        let drain = drain.clone();
        tokio::spawn(async move {
            let mut sent = known;
            loop {
                let now = latest.borrow_and_update().clone();
                let message = match now {
                    Ok(answer) if sent == Some(answer.digest) => None,
                    Ok(answer) => {
                        sent = Some(answer.digest);
                        let resume_token = token::write(question, &[answer.digest], "");
                        Some(Ok(WatchMetricsResponse { answer: Some(answer.encoded), resume_token }))
                    }
                    Err(status) => Some(Err(status)),
                };
                let is_last = matches!(message, Some(Err(_)));
                if let Some(message) = message
                    && (sender.send(message).await.is_err() || is_last)
                {
                    return;
                }
                tokio::select! {
                    changed = latest.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                    () = drain.streams_end() => {
                        let _ = sender.send(Err(draining())).await;
                        return;
                    }
                }
            }
        });
        Ok(ReceiverStream::new(receiver))
    }

    /// Listens to a question's answers, the first of which is there.
    async fn subscribe(
        &self,
        asker: &Asker,
        question: u64,
        query: QueryMetricsRequest,
        interval: Duration,
    ) -> Result<watch::Receiver<Latest>, Status> {
        let key = question ^ u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).rotate_left(32);
        let shared = |known: &HashMap<u64, watch::Sender<Latest>>| {
            let sender = known.get(&key).filter(|sender| sender.borrow().is_ok());
            sender.map(watch::Sender::subscribe)
        };
        if let Some(receiver) = shared(&self.known()) {
            return Ok(receiver);
        }
        // What cannot be asked is refused before anything is sent.
        let first = Answer::new(&query, &asker.answer(query.clone()).await?);
        let mut known = self.known();
        if let Some(receiver) = shared(&known) {
            return Ok(receiver);
        }
        let listeners: usize = known.values().map(watch::Sender::receiver_count).sum();
        if known.len() >= QUESTIONS || listeners >= LISTENERS {
            let message = format!(
                "{} questions are watched by {listeners} listeners, the limits are {QUESTIONS} and {LISTENERS}: come back later",
                known.len()
            );
            return Err(Fault::new(Reason::Overloaded, message).into());
        }
        let (sender, receiver) = watch::channel(Ok(first));
        known.insert(key, sender.clone());
        drop(known);
        let (watches, asker) = (self.clone(), asker.clone());
        self.background.spawn(async move {
            loop {
                evaluate(&asker, &query, interval, &sender).await;
                let mut known = watches.known();
                // Somebody may have come to listen in the meantime.
                if sender.receiver_count() == 0 || sender.borrow().is_err() {
                    known.retain(|known, other| *known != key || !other.same_channel(&sender));
                    return;
                }
            }
        });
        Ok(receiver)
    }
}

fn draining() -> Status {
    Fault::new(Reason::Draining, "the service is going down: go on with the last resume token").into()
}

/// Answers a question again and again, until nobody listens or it cannot be answered.
async fn evaluate(asker: &Asker, query: &QueryMetricsRequest, interval: Duration, latest: &watch::Sender<Latest>) {
    let changes_with_time = changes_with_time(query);
    let mut ticks: Option<Streaming<WatchResponse>> = None;
    let mut away_since: Option<Instant> = None;
    loop {
        let started = Instant::now();
        let answered = async {
            if ticks.is_none() {
                let tenant = query.tenant.clone();
                let request = WatchRequest { min_interval_ms: 0, tenant };
                ticks = Some(asker.changes(request).await?);
            }
            asker.answer(query.clone()).await
        };
        match answered.await {
            Ok(response) => {
                away_since = None;
                let answer = Answer::new(query, &response);
                latest.send_if_modified(|latest| {
                    let is_news = latest.as_ref().is_ok_and(|known| known.digest != answer.digest);
                    if is_news {
                        *latest = Ok(answer);
                    }
                    is_news
                });
            }
            Err(status) => {
                ticks = None;
                let since = *away_since.get_or_insert(started);
                if status.code() != Code::Unavailable || since.elapsed() > PATIENCE {
                    let _ = latest.send(Err(status));
                    return;
                }
            }
        }
        sleep_until(started + interval).await;
        let until = Instant::now() + if changes_with_time { TIME_PASSES.saturating_sub(interval) } else { LONGEST };
        tokio::select! {
            () = latest.closed() => return,
            () = changed(&mut ticks, until) => {}
        }
    }
}

/// Waits for a change, or for an instant.
async fn changed(ticks: &mut Option<Streaming<WatchResponse>>, until: Instant) {
    match ticks {
        Some(stream) => {
            if !matches!(timeout_at(until, stream.message()).await, Err(_) | Ok(Ok(Some(_)))) {
                // Aggregation went away.
                *ticks = None;
            }
        }
        None => sleep(SHORTEST).await,
    }
}

/// Whether an answer may change as time passes: what is asked up to now, as of now, or up to an instant that may lie ahead.
fn changes_with_time(query: &QueryMetricsRequest) -> bool {
    query.end_time.is_none() || query.basis() == Basis::AsOf
}
