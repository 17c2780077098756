use deskpulse_log::{EmbeddedLog, EventLog, LogOptions, PartitionId, Position};
use proptest::prelude::*;

use crate::{blocks, folder};

const PARTITIONS: u32 = 3;

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(u32, Vec<u8>)>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let payload = proptest::collection::vec(any::<u8>(), 0..300);
    let append = proptest::collection::vec((0..PARTITIONS, payload), 1..6);
    let step = prop_oneof![
        4 => append.prop_map(Step::Append),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_appended_reads_back_equal_with_reopenings_between(
        steps in steps(),
        segment_bytes in 100u64..3_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(replay(steps, segment_bytes));
    }
}

async fn replay(steps: Vec<Step>, segment_bytes: u64) {
    let dir = folder();
    let options = LogOptions { segment_bytes, ..LogOptions::new(PARTITIONS) };
    let open = || EmbeddedLog::open(dir.path(), options).expect("opens");
    let mut log = open();
    let mut expected = vec![Vec::new(); PARTITIONS as usize];
    for step in steps {
        match step {
            Step::Append(batch) => {
                let mut positions = Vec::new();
                for (partition, payload) in &batch {
                    let partition = &mut expected[*partition as usize];
                    partition.push(payload.clone());
                    positions.push(Position(partition.len() as u64));
                }
                let batch = batch.into_iter().map(|(p, payload)| (PartitionId(p), payload));
                assert_eq!(log.append(batch.collect()).await.expect("appends"), positions);
            }
            Step::Reopen => {
                log.close().await.expect("closes");
                log = open();
            }
        }
    }
    for (partition, expected) in (0..).map(PartitionId).zip(&expected) {
        assert_eq!(&blocks(&log, partition, 1).await, expected);
        let half = expected.len() / 2;
        assert_eq!(&blocks(&log, partition, half as u64 + 1).await, &expected[half..]);
    }
}
