//! Rows become batches, ahead of the connections that send them.

use std::thread;
use std::time::{Duration, Instant};

use prost::bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::LoadError;
use crate::encode;
use crate::random::mixed;
use crate::row::Row;

/// How many encoded bytes wait at most: what is beyond that is encoded while sending. A week of 9 million events fits.
const AHEAD_BYTES: usize = 1 << 30;
/// About what an event takes.
const EVENT_BYTES: usize = 116;

/// An encoded `StreamEventsRequest`.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) sequence: u64,
    pub(crate) bytes: Bytes,
    pub(crate) events: u32,
    /// How many events went into batches before this one, on any connection.
    pub(crate) before: u64,
    /// When it is to be sent, where a rate says so.
    pub(crate) intended: Option<Instant>,
}

/// How many batches one of `connections` queues holds.
pub(crate) fn queue_length(batch: u32, connections: u32) -> usize {
    (AHEAD_BYTES / EVENT_BYTES / batch as usize / connections as usize).max(2)
}

/// What is begun of a connection's next batch.
struct Open {
    queue: mpsc::Sender<Batch>,
    sequence: u64,
    events: u32,
    bytes: Vec<u8>,
}

/// Encodes rows into batches, each conversation's to the same queue, until the rows end or nobody takes them any more.
///
/// Says through `ready` that all is encoded, or that a queue is full: a load begins then.
pub(crate) fn encode(
    rows: impl Iterator<Item = Result<Row, LoadError>>,
    batch: u32,
    queues: Vec<mpsc::Sender<Batch>>,
    ready: oneshot::Sender<()>,
) -> Result<(), LoadError> {
    let mut encoding = Encoding { batch, before: 0, ready: Some(ready) };
    let mut opens: Vec<Open> = queues.into_iter().map(Open::new).collect();
    let count = opens.len() as u64;
    let mut scratch = Vec::with_capacity(256);
    for row in rows {
        let row = row?;
        let connection = if count == 1 { 0 } else { mixed(row.conversation) % count };
        let Some(open) = usize::try_from(connection).ok().and_then(|index| opens.get_mut(index)) else { continue };
        if open.events == 0 {
            open.bytes.reserve(batch as usize * EVENT_BYTES);
            encode::sequence(open.sequence, &mut open.bytes);
        }
        encode::event(&row, &mut scratch, &mut open.bytes);
        open.events += 1;
        if open.events == batch && !encoding.close(open) {
            return Ok(());
        }
    }
    for open in opens.iter_mut().filter(|open| open.events > 0) {
        if !encoding.close(open) {
            return Ok(());
        }
    }
    encoding.say_ready();
    Ok(())
}

impl Open {
    fn new(queue: mpsc::Sender<Batch>) -> Self {
        Self { queue, sequence: 1, events: 0, bytes: Vec::new() }
    }
}

struct Encoding {
    batch: u32,
    before: u64,
    ready: Option<oneshot::Sender<()>>,
}

impl Encoding {
    fn say_ready(&mut self) {
        if let Some(ready) = self.ready.take() {
            // Nobody waits when the load was given up.
            let _ = ready.send(());
        }
    }

    /// Queues what is begun; false where its connection takes no more.
    fn close(&mut self, open: &mut Open) -> bool {
        debug_assert!(open.events <= self.batch);
        let batch = Batch {
            sequence: open.sequence,
            bytes: Bytes::from(std::mem::take(&mut open.bytes)),
            events: open.events,
            before: self.before,
            intended: None,
        };
        self.before += u64::from(open.events);
        (open.sequence, open.events) = (open.sequence + 1, 0);
        match open.queue.try_send(batch) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(batch)) => {
                self.say_ready();
                open.queue.blocking_send(batch).is_ok()
            }
        }
    }
}

/// Hands batches on when a rate says so, on a thread of its own: a runtime's timers are a millisecond coarse.
pub(crate) fn paced(mut batches: mpsc::Receiver<Batch>, rate: u64, start: Instant) -> mpsc::Receiver<Batch> {
    let (due, paced) = mpsc::channel(1);
    thread::spawn(move || {
        while let Some(mut batch) = batches.blocking_recv() {
            let intended = start + Duration::from_secs_f64(batch.before as f64 / rate as f64);
            batch.intended = Some(intended);
            if !wait_until(intended, || due.is_closed()) || due.blocking_send(batch).is_err() {
                return;
            }
        }
    });
    paced
}

/// Ticks so many a second, the first at `start`, on a thread of its own.
pub(crate) fn ticks(per_second: u32, start: Instant) -> mpsc::Receiver<Instant> {
    let (due, ticks) = mpsc::channel(1_024);
    thread::spawn(move || {
        for tick in 0_u32.. {
            let intended = start + Duration::from_secs_f64(f64::from(tick) / f64::from(per_second));
            if !wait_until(intended, || due.is_closed()) || due.blocking_send(intended).is_err() {
                return;
            }
        }
    });
    ticks
}

/// Waits until an instant; false where `given_up` says so before.
fn wait_until(instant: Instant, given_up: impl Fn() -> bool) -> bool {
    loop {
        let left = instant.saturating_duration_since(Instant::now());
        if left.is_zero() || given_up() {
            return left.is_zero();
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use deskpulse_proto::v1::StreamEventsRequest;
    use deskpulse_proto::v1::event::Payload;
    use prost::Message as _;

    use super::*;
    use crate::workload::generate;

    #[test]
    fn each_conversation_keeps_to_one_connection_and_to_its_order() {
        let workload = generate(10_000, 8);
        let (queues, mut received): (Vec<_>, Vec<_>) = (0..3).map(|_| mpsc::channel(100)).unzip();
        let (ready, mut is_ready) = oneshot::channel();
        encode(workload.rows().map(Ok), 300, queues, ready).unwrap();
        is_ready.try_recv().unwrap();
        let mut order: HashMap<String, Vec<String>> = HashMap::new();
        let mut home: HashMap<String, usize> = HashMap::new();
        let (mut all, mut before) = (0, Vec::new());
        for (connection, queue) in received.iter_mut().enumerate() {
            let mut sequence = 0;
            while let Ok(batch) = queue.try_recv() {
                let request = StreamEventsRequest::decode(batch.bytes).unwrap();
                sequence += 1;
                assert_eq!((request.sequence, batch.sequence), (sequence, sequence));
                assert_eq!(request.events.len(), batch.events as usize);
                before.push((batch.before, batch.events));
                all += batch.events;
                for event in request.events {
                    let conversation = match event.payload.unwrap() {
                        Payload::ConversationOpened(it) => it.conversation,
                        Payload::MessageCreated(it) => it.conversation,
                        Payload::ConversationAssigned(it) => it.conversation,
                        Payload::ConversationStatusChanged(it) => it.conversation,
                        Payload::SurveyAnswered(it) => it.conversation,
                        other => unreachable!("{other:?} is not of the workload"),
                    };
                    assert_eq!(*home.entry(conversation.clone()).or_insert(connection), connection);
                    order.entry(conversation).or_default().push(event.id);
                }
            }
            assert!(sequence > 5, "each connection has work");
        }
        assert_eq!(all, 10_000);
        before.sort_unstable();
        assert!(before.windows(2).all(|pair| pair[0].0 + u64::from(pair[0].1) == pair[1].0));
        let mut want: HashMap<String, Vec<String>> = HashMap::new();
        for row in workload.rows() {
            let id = format!("{:032x}", u128::from_be_bytes(row.event_id));
            want.entry(format!("{:016x}", row.conversation)).or_default().push(id);
        }
        assert_eq!(order, want);
    }

    #[test]
    fn a_load_larger_than_the_queues_begins_when_one_is_full_and_ends_when_nobody_takes_it() {
        let workload = generate(10_000, 9);
        let (queue, mut batches) = mpsc::channel(2);
        let (ready, is_ready) = oneshot::channel();
        thread::scope(|scope| {
            let encoding = scope.spawn(|| encode(workload.rows().map(Ok), 100, vec![queue], ready));
            is_ready.blocking_recv().unwrap();
            assert_eq!(batches.blocking_recv().unwrap().events, 100);
            drop(batches);
            encoding.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_rate_says_when_each_batch_is_due() {
        let start = Instant::now();
        let (queue, batches) = mpsc::channel(10);
        let (ready, _is_ready) = oneshot::channel();
        encode(generate(50, 1).rows().map(Ok), 10, vec![queue], ready).unwrap();
        let mut paced = paced(batches, 1_000, start);
        for number in 0..5 {
            let batch = paced.blocking_recv().unwrap();
            assert_eq!(batch.intended, Some(start + Duration::from_millis(10 * number)));
            assert!(Instant::now() >= batch.intended.unwrap());
        }
        assert!(paced.blocking_recv().is_none());
    }
}
