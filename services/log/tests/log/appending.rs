use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use deskpulse_disk::{Fault, SimulatedDisk};
use deskpulse_log::{BlockReader, EmbeddedLog, EventLog, LogError, LogOptions, PartitionId, Position, Surroundings};

use crate::{P0, P1, append, blocks, folder, open};

#[tokio::test]
async fn appended_blocks_read_back_in_order() {
    let dir = folder();
    let log = open(dir.path());
    let positions =
        log.append(vec![(P0, b"a".to_vec()), (P1, b"b".to_vec()), (P0, Vec::new())]).await.expect("is appended");
    assert_eq!(positions, [Position(1), Position(1), Position(2)]);
    assert_eq!(blocks(&log, P0, 1).await, [b"a".to_vec(), Vec::new()]);
    assert_eq!(blocks(&log, P0, 2).await, [Vec::<u8>::new()]);
    assert_eq!(blocks(&log, P1, 1).await, [b"b".to_vec()]);
    assert_eq!(log.append(Vec::new()).await.expect("nothing to do"), []);
}

#[tokio::test]
async fn a_reopened_log_has_the_same_blocks_and_continues_the_positions() {
    let dir = folder();
    let log = open(dir.path());
    assert_eq!(append(&log, P1, "one").await, 1);
    log.close().await.expect("closes");
    let log = open(dir.path());
    assert_eq!(log.head(P0).expect("exists"), Position::START);
    assert_eq!(append(&log, P1, "two").await, 2);
    drop(log);
    let log = open(dir.path());
    assert_eq!(blocks(&log, P1, 1).await, [b"one", b"two"]);
}

#[tokio::test]
async fn a_reader_at_the_end_waits_for_the_next_block_and_learns_of_the_close() {
    let dir = folder();
    let log = open(dir.path());
    let mut reader = log.read(P0, Position(0)).expect("readable");
    let waiting = tokio::spawn(async move {
        let first = reader.next().await.expect("sound").expect("a block");
        let end = reader.next().await.expect("closed, not failed");
        (first, end)
    });
    tokio::task::yield_now().await;
    append(&log, P1, "not this").await;
    append(&log, P0, "this").await;
    log.close().await.expect("closes");
    let (first, end) = waiting.await.expect("ends");
    assert_eq!((&*first.payload, end), (&b"this"[..], None));
    let closed = log.append(vec![(P0, Vec::new())]).await;
    assert!(matches!(closed, Err(LogError::Closed)));
    log.close().await.expect("closing twice is fine");
}

#[tokio::test]
async fn segments_roll_over_and_read_in_order_across() {
    let dir = folder();
    let options = LogOptions { segment_bytes: 400, ..LogOptions::new(2) };
    let log = EmbeddedLog::open(dir.path(), options).expect("opens");
    let mut tailing = log.read(P0, Position(1)).expect("readable");
    let expected: Vec<_> = (0..40).map(|n| vec![n; 70]).collect();
    for payload in &expected {
        append(&log, P1, "other").await;
        append(&log, P0, payload.clone()).await;
        let block = tailing.next().await.expect("sound").expect("a block");
        assert_eq!(*block.payload, *payload.as_slice());
    }
    assert!(log.stats().segments > 10);
    assert_eq!(blocks(&log, P0, 1).await, expected);
    log.close().await.expect("closes");
    let log = EmbeddedLog::open(dir.path(), options).expect("opens");
    assert_eq!(blocks(&log, P0, 17).await, expected[16..]);
    assert_eq!(append(&log, P0, "next").await, 41);
}

#[tokio::test]
async fn an_idle_partition_is_found_again_behind_megabytes_of_others() {
    let dir = folder();
    let log = open(dir.path());
    append(&log, P0, "early").await;
    let mut reader = log.read(P0, Position(1)).expect("readable");
    reader.next().await.expect("sound").expect("a block");
    for _ in 0..20 {
        append(&log, P1, vec![7; 700_000]).await;
    }
    append(&log, P0, "late").await;
    let late = reader.next().await.expect("sound").expect("a block");
    assert_eq!(&*late.payload, b"late");
    log.close().await.expect("closes");
    let log = open(dir.path());
    assert_eq!(blocks(&log, P0, 2).await, [b"late"]);
    assert_eq!(blocks(&log, P1, 15).await, vec![vec![7; 700_000]; 6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_get_contiguous_positions_and_share_syncs() {
    let dir = folder();
    let log = open(dir.path());
    let tasks: Vec<_> = (0..16u32)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for n in 0..25u32 {
                    let partition = PartitionId((task + n) % 2);
                    let payload = format!("{task}/{n}").into_bytes();
                    let position = append(&log, partition, payload.clone()).await;
                    mine.push(((partition, position), payload));
                }
                mine
            })
        })
        .collect();
    let mut all = BTreeMap::new();
    for task in tasks {
        all.extend(task.await.expect("ends"));
    }
    assert_eq!(all.len(), 400);
    for partition in [P0, P1] {
        let expected: Vec<_> =
            all.range((partition, 0)..=(partition, u64::MAX)).map(|(_, payload)| payload.clone()).collect();
        assert_eq!(blocks(&log, partition, 1).await, expected);
    }
    let stats = log.stats();
    assert_eq!((stats.appends, stats.blocks), (400, 400));
    assert!(stats.syncs < stats.appends, "{stats:?}");
}

#[tokio::test]
async fn an_append_that_nobody_waits_for_is_still_written() {
    let dir = folder();
    let log = open(dir.path());
    {
        let mut forgotten = Box::pin(log.append(vec![(P0, b"forgotten".to_vec())]));
        let polled = std::future::poll_fn(|context| {
            let _ = forgotten.as_mut().poll(context);
            std::task::Poll::Ready(())
        });
        polled.await;
    }
    assert_eq!(append(&log, P0, "after").await, 2);
    assert_eq!(blocks(&log, P0, 1).await, [&b"forgotten"[..], b"after"]);
}

#[tokio::test]
async fn what_the_log_cannot_hold_is_refused_by_name() {
    let dir = folder();
    let options = LogOptions { max_block_bytes: 10, ..LogOptions::new(2) };
    let log = EmbeddedLog::open(dir.path(), options).expect("opens");
    let large = log.append(vec![(P0, vec![0; 10]), (P0, vec![0; 11])]).await;
    assert_eq!(large.expect_err("too large").to_string(), "block 1 of the append has 11 bytes, the limit is 10");
    let nowhere = log.append(vec![(P0, vec![]), (PartitionId(2), vec![])]).await;
    assert_eq!(
        nowhere.expect_err("no such partition").to_string(),
        "there is no partition 2, the log has 2, numbered from 0"
    );
    assert!(log.head(PartitionId(9)).is_err());
    assert_eq!(log.head(P0).expect("exists"), Position::START);
    assert!(log.read(P0, Position(1)).is_ok());
    let past = log.read(P0, Position(2)).expect_err("past the head");
    assert!(matches!(past, LogError::PastHead { .. }));
}

#[tokio::test]
async fn after_a_failed_write_the_log_takes_nothing_more_and_says_so() {
    let disk = SimulatedDisk::new(1, 1 << 30);
    let dir = Path::new("/log");
    let open = || {
        let surroundings = Surroundings { disk: Arc::new(disk.clone()), ..Surroundings::default() };
        EmbeddedLog::open_on(dir, LogOptions::new(2), surroundings).expect("opens")
    };
    let log = open();
    let failed = tokio::spawn(log.failed());
    append(&log, P0, "kept").await;
    let mut reader = log.read(P0, Position(2)).expect("readable");
    disk.fail(disk.operations()..u64::MAX, Fault::Device);
    let error = log.append(vec![(P0, b"lost".to_vec())]).await;
    let error = error.expect_err("the write fails");
    assert!(matches!(error, LogError::Failed { .. }));
    let cause = error.source().expect("has a cause").to_string();
    assert!(cause.starts_with("cannot write "), "{cause}");
    let later = log.append(vec![(P0, b"later".to_vec())]).await;
    assert!(matches!(later, Err(LogError::Failed { .. })));
    assert!(matches!(reader.next().await, Err(LogError::Failed { .. })));
    assert!(matches!(failed.await, Ok(LogError::Failed { .. })));
    assert!(matches!(log.close().await, Err(LogError::Failed { .. })));
    disk.end_process();
    // The write may have been done all the same, as a whole or not.
    let kept = blocks(&open(), P0, 1).await;
    assert!(kept == [b"kept"] || kept == [b"kept", b"lost"]);
}
