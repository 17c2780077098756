use std::time::Duration;

use deskpulse_log::Position;
use deskpulse_log::verdicts::{FAR_LAG, HOLD_LAG, KEPT_BLOCKS, MAX_LAG, Verdict, Verdicts};

use crate::{P0, P1};

const LONG: Duration = Duration::from_mins(1);

fn duplicate(index: u32) -> Verdict {
    Verdict { duplicates: vec![index], conflicts: Vec::new() }
}

#[tokio::test]
async fn a_verdict_is_given_as_soon_as_the_block_is_applied() {
    let verdicts = Verdicts::new(2);
    let aggregator = verdicts.attach(P0, Position(10));
    assert_eq!(verdicts.applied(P0), Some(Position(10)));
    assert_eq!(verdicts.applied(P1), None);
    let waiting = tokio::spawn({
        let verdicts = verdicts.clone();
        async move { verdicts.wait(P0, Position(12), LONG).await }
    });
    tokio::task::yield_now().await;
    aggregator.report(Position(11), Verdict::default());
    aggregator.report(Position(12), duplicate(3));
    assert_eq!(waiting.await.expect("ends"), Some(duplicate(3)));
    let empty = verdicts.wait(P0, Position(11), LONG).await;
    assert_eq!(empty, Some(Verdict::default()));
}

#[tokio::test]
async fn nobody_is_waited_for_who_is_absent_or_too_far_behind() {
    let verdicts = Verdicts::new(1);
    assert_eq!(verdicts.wait(P0, Position(1), LONG).await, None);
    assert_eq!(verdicts.wait(P1, Position(1), LONG).await, None);
    let aggregator = verdicts.attach(P0, Position(5));
    let far = Position(5 + MAX_LAG + 1);
    assert_eq!(verdicts.wait(P0, far, LONG).await, None);
    let before_it_came = verdicts.wait(P0, Position(5), LONG).await;
    assert_eq!(before_it_came, None);
    let too_late = verdicts.wait(P0, Position(6), Duration::ZERO).await;
    assert_eq!(too_late, None);
    drop(aggregator);
    assert_eq!(verdicts.applied(P0), None);
}

#[tokio::test]
async fn a_block_is_held_back_until_the_aggregator_has_caught_up_or_gone() {
    let verdicts = Verdicts::new(1);
    let head = Position(100 + HOLD_LAG + 2);
    verdicts.hold(P0, head, LONG).await;
    verdicts.hold(P1, head, LONG).await;
    let aggregator = verdicts.attach(P0, Position(100));
    let hold = |head: Position| {
        let verdicts = verdicts.clone();
        tokio::spawn(async move { verdicts.hold(P0, head, LONG).await })
    };
    // Neither who keeps up nor who is far away is waited for.
    verdicts.hold(P0, Position(100 + HOLD_LAG), LONG).await;
    verdicts.hold(P0, Position(100 + FAR_LAG + 1), LONG).await;
    verdicts.hold(P0, head, Duration::ZERO).await;
    let waiting = hold(head);
    tokio::task::yield_now().await;
    aggregator.report(Position(101), Verdict::default());
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    aggregator.report(Position(102), Verdict::default());
    waiting.await.expect("ends");
    let waiting = hold(Position(100 + FAR_LAG));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(aggregator);
    waiting.await.expect("ends");
}

#[tokio::test]
async fn whoever_waits_is_let_go_when_the_aggregator_detaches() {
    let verdicts = Verdicts::new(1);
    let aggregator = verdicts.attach(P0, Position::START);
    let waiting = tokio::spawn({
        let verdicts = verdicts.clone();
        async move { verdicts.wait(P0, Position(1), LONG).await }
    });
    tokio::task::yield_now().await;
    drop(aggregator);
    assert_eq!(waiting.await.expect("ends"), None);
}

#[tokio::test]
async fn verdicts_are_kept_for_the_newest_blocks_only() {
    let verdicts = Verdicts::new(1);
    let aggregator = verdicts.attach(P0, Position::START);
    for position in 1..=KEPT_BLOCKS + 2 {
        aggregator.report(Position(position), duplicate(0));
    }
    let forgotten = verdicts.wait(P0, Position(2), LONG).await;
    assert_eq!(forgotten, None);
    let kept = verdicts.wait(P0, Position(3), LONG).await;
    assert_eq!(kept, Some(duplicate(0)));
}

#[tokio::test]
async fn an_aggregator_that_was_replaced_is_not_heard() {
    let verdicts = Verdicts::new(1);
    let old = verdicts.attach(P0, Position(7));
    let new = verdicts.attach(P0, Position(3));
    old.report(Position(8), duplicate(1));
    drop(old);
    assert_eq!(verdicts.applied(P0), Some(Position(3)));
    new.report(Position(4), duplicate(2));
    new.report(Position(4), duplicate(9));
    let verdict = verdicts.wait(P0, Position(4), LONG).await;
    assert_eq!(verdict, Some(duplicate(2)));
}
