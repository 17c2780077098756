//! The embedded store does what its twin in memory does.

use std::ops::ControlFlow;

use deskpulse_store::{Change, MemoryStore, Store, snapshot};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Pair, all, open, simulated};

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Change>),
    Get(Vec<u8>),
    Scan { from: Vec<u8>, to: Vec<u8>, most: usize },
    Reopen,
    EndProcess,
    LosePower,
    Snapshot,
    LoadElsewhere,
}

/// Few keys, so that they meet, of very different lengths.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(0_u8..4, 0..4),
        1 => (0_u8..3).prop_map(|byte| vec![byte; 3_000]),
    ]
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        2 => Just(None),
        4 => vec(any::<u8>(), 0..300).prop_map(Some),
        1 => (any::<u8>(), 0_usize..60_000).prop_map(|(byte, length)| Some(vec![byte; length])),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let change = (key(), value()).prop_map(|(key, value)| Change { key, value });
    prop_oneof![
        6 => vec(change, 0..40).prop_map(Step::Commit),
        4 => key().prop_map(Step::Get),
        4 => (key(), key(), 0_usize..30).prop_map(|(from, to, most)| Step::Scan { from, to, most }),
        1 => Just(Step::Reopen),
        1 => Just(Step::EndProcess),
        1 => Just(Step::LosePower),
        1 => Just(Step::Snapshot),
        1 => Just(Step::LoadElsewhere),
    ]
}

fn some(store: &dyn Store, from: &[u8], to: &[u8], most: usize) -> Vec<Pair> {
    let mut pairs = Vec::new();
    store
        .scan(from, to, &mut |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            if pairs.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .expect("a sound store");
    pairs
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_its_twin_does(seed in any::<u64>(), steps in vec(step(), 1..40)) {
        let (world, disk, folder) = simulated(seed);
        let twin = MemoryStore::default();
        let mut opened = Some(open(&disk, &folder).expect("a new store"));
        for step in steps {
            let store = &opened.as_ref().expect("open").store;
            match step {
                Step::Commit(changes) => {
                    twin.commit(changes.clone()).expect("small changes");
                    store.commit(changes).expect("a sound disk");
                }
                Step::Get(key) => prop_assert_eq!(store.get(&key).expect("sound"), twin.get(&key).expect("sound")),
                Step::Scan { from, to, most } => {
                    prop_assert_eq!(some(store, &from, &to, most), some(&twin, &from, &to, most));
                }
                Step::Reopen => {
                    drop(opened.take());
                    opened = Some(open(&disk, &folder).expect("a sound store"));
                }
                Step::EndProcess => {
                    world.end_process();
                    drop(opened.take());
                    opened = Some(open(&disk, &folder).expect("a sound store"));
                }
                Step::LosePower => {
                    world.crash();
                    drop(opened.take());
                    world.restart();
                    opened = Some(open(&disk, &folder).expect("a sound store"));
                }
                Step::Snapshot => {
                    let written = snapshot::write(store, &disk, &folder, b"here").expect("a sound disk");
                    prop_assert_eq!(written.pairs, all(&twin).len() as u64);
                    let found = snapshot::newest_sound(disk.as_ref(), &folder).expect("a sound disk");
                    prop_assert_eq!(found.sound, Some(written));
                }
                Step::LoadElsewhere => {
                    let written = snapshot::write(store, &disk, &folder, b"").expect("a sound disk");
                    let other = MemoryStore::default();
                    snapshot::load_into(disk.as_ref(), &folder, &written.file, &other).expect("a sound snapshot");
                    prop_assert_eq!(all(&other), all(&twin));
                }
            }
        }
        prop_assert_eq!(all(&opened.expect("open").store), all(&twin));
    }
}
