//! The same question, answered again whenever the answer changes.
//!
//! Who asks the same at the same pace shares an evaluation. It goes on for as long as anybody listens, and keeps the latest answer only:
//! a slow listener gets that when it is ready, and holds up nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deskpulse_core::conversation::FIRST_CONTACT_WINDOW_MS;
use deskpulse_core::time::Timestamp;
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
use crate::query_service::{Asker, now};
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
    /// Everything acknowledged before is counted.
    asked: Instant,
}

impl Answer {
    /// Asks now.
    async fn ask(query: &QueryMetricsRequest, of: &Asker) -> Result<Self, Status> {
        let asked = Instant::now();
        Ok(Self::new(query, &of.answer(query.clone()).await?, asked))
    }

    fn new(query: &QueryMetricsRequest, answer: &QueryMetricsResponse, asked: Instant) -> Self {
        let encoded = Bytes::from(answer.encode_to_vec());
        // When it was asked is no news, and neither is that the range has moved on with that.
        if query.end_time.is_some() && query.last.is_none() {
            let mut said = answer.clone();
            said.rest.freshness = None;
            return Self { encoded, digest: token::digest(&said), asked };
        }
        let mut said = decoded(&encoded);
        let asked_at = said.freshness.take().and_then(|freshness| freshness.answer_time);
        let rows = said.rows.iter_mut().chain(&mut said.group_totals).chain(&mut said.total);
        for row in rows {
            row.interval_end.take_if(|end| query.end_time.is_none() && Some(*end) == asked_at);
            // The first interval begins where the range does.
            row.interval_start.take_if(|_| query.last.is_some() && query.interval.is_empty());
        }
        Self { encoded, digest: token::digest(&said), asked }
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
        // What cannot be asked is refused before anything is sent. Who listens already may have an answer from long ago.
        let first = Answer::ask(&query, asker).await?;
        let mut newest = first.asked;
        let mut latest = self.subscribe(asker, question, query, interval, first.clone())?;
        let (sender, receiver) = mpsc::channel(1);
        let drain = drain.clone();
        tokio::spawn(async move {
            let mut sent = known;
            let mut now: Latest = Ok(first);
            loop {
                let message = match &now {
                    Ok(answer) if answer.asked < newest || sent == Some(answer.digest) => None,
                    Ok(answer) => {
                        newest = answer.asked;
                        sent = Some(answer.digest);
                        let resume_token = token::write(question, &[answer.digest], "");
                        Some(Ok(WatchMetricsResponse { answer: Some(answer.encoded.clone()), resume_token }))
                    }
                    Err(status) => Some(Err(status.clone())),
                };
                let is_last = matches!(message, Some(Err(_)));
                if let Some(message) = message
                    && (sender.send(message).await.is_err() || is_last)
                {
                    return;
                }
                tokio::select! {
                    changed = latest.changed() => match changed {
                        Ok(()) => now.clone_from(&latest.borrow_and_update()),
                        Err(_) => return,
                    },
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

    /// Listens to a question's answers, the first of which is there: any since, older ones perhaps among them.
    fn subscribe(
        &self,
        asker: &Asker,
        question: u64,
        query: QueryMetricsRequest,
        interval: Duration,
        first: Answer,
    ) -> Result<watch::Receiver<Latest>, Status> {
        let key = question ^ u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).rotate_left(32);
        let mut known = self.known();
        let listeners: usize = known.values().map(watch::Sender::receiver_count).sum();
        let shared = known.get(&key).filter(|sender| sender.borrow().is_ok()).map(watch::Sender::subscribe);
        if let Some(mut receiver) = shared.filter(|_| listeners < LISTENERS) {
            receiver.mark_changed();
            return Ok(receiver);
        }
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
    let mut ticks: Option<Streaming<WatchResponse>> = None;
    let mut away_since: Option<Instant> = None;
    let mut started = Instant::now();
    loop {
        let news = async {
            sleep_until(started + interval).await;
            let longest = if changes_with_time(query, now()) { TIME_PASSES.saturating_sub(interval) } else { LONGEST };
            changed(&mut ticks, Instant::now() + longest).await;
        };
        tokio::select! {
            () = latest.closed() => return,
            () = news => {}
        }
        started = Instant::now();
        let answered = async {
            if ticks.is_none() {
                let tenant = query.tenant.clone();
                let request = WatchRequest { min_interval_ms: 0, tenant };
                ticks = Some(asker.changes(request).await?);
            }
            Answer::ask(query, asker).await
        };
        match answered.await {
            Ok(answer) => {
                away_since = None;
                // Each listener knows what it was told: who came lately something else than the others.
                let _ = latest.send_replace(Ok(answer));
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

/// Whether an answer may change as time passes: what is asked up to now, as of now, or up to an instant that lies ahead, or is so near that
/// what began before may still be waited for.
fn changes_with_time(query: &QueryMetricsRequest, now: Timestamp) -> bool {
    let waited_for =
        query.metrics.iter().filter_map(|metric| metric.within.as_ref()).map(|within| within.seconds).max();
    let still_s = waited_for.unwrap_or(0).max(FIRST_CONTACT_WINDOW_MS / 1_000);
    let is_past = |end: &prost_types::Timestamp| end.seconds.saturating_add(still_s) < now.millis() / 1_000;
    query.basis() == Basis::AsOf || !query.end_time.as_ref().is_some_and(is_past)
}
