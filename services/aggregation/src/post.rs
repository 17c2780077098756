//! Letters between the partitions of a process: messages of conversations that were merged into one of another partition.
//!
//! A letter follows from what its sender has applied. What the sender applied before its last checkpoint it does not apply again
//! after a start, so a letter stands in the store with the sender's checkpoint until its receiver's checkpoint holds it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use deskpulse_core::event::Id;
use deskpulse_core::partition::Letter;
use deskpulse_core::series::{Names, Symbol};
use deskpulse_core::state::Moved;
use deskpulse_core::subject::{SubjectKind, SubjectRef, route};
use tokio::sync::{Notify, watch};

/// The letter boxes of all partitions.
#[derive(Debug)]
pub(crate) struct Post {
    names: Arc<Names>,
    boxes: Vec<LetterBox>,
}

/// Tenant, sender and receiver.
type Route = (Symbol, Id, Box<str>);

/// Letters that wait for a partition. A newer letter between the same conversations takes the place of an older one, so
/// there are never more than merged conversations.
#[derive(Debug)]
struct LetterBox {
    waiting: Mutex<HashMap<Route, Vec<Moved>>>,
    bell: Notify,
    /// How often letters were posted, and up to which of these they have been taken in.
    posted: watch::Sender<u64>,
    taken: watch::Sender<u64>,
    /// Up to which its partition's last checkpoint holds them.
    kept: AtomicU64,
}

/// A letter on its way: to which partition, and the number it has there.
pub(crate) type Sent = (u32, u64);

impl Post {
    /// Letter boxes for partitions that have taken in so many letters each.
    pub(crate) fn new(names: Arc<Names>, taken: &[u64]) -> Self {
        let letter_box = |taken: &u64| LetterBox {
            waiting: Mutex::default(),
            bell: Notify::new(),
            posted: watch::channel(*taken).0,
            taken: watch::channel(*taken).0,
            kept: AtomicU64::new(*taken),
        };
        Self { names, boxes: taken.iter().map(letter_box).collect() }
    }

    /// Puts letters into the boxes of the partitions they are for, and `see`s each with its number.
    pub(crate) fn send(&self, letters: Vec<Letter>, mut see: impl FnMut(Sent, &Letter)) {
        let partitions = u32::try_from(self.boxes.len()).unwrap_or(u32::MAX);
        for letter in letters {
            let conversation = SubjectRef { kind: SubjectKind::Conversation, id: &letter.to };
            let receiver = route(self.names.text(letter.tenant), conversation, partitions);
            if let Some(letter_box) = self.boxes.get(receiver as usize) {
                let mut waiting = letter_box.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let number = *letter_box.posted.borrow() + 1;
                see((receiver, number), &letter);
                waiting.insert((letter.tenant, letter.from, letter.to), letter.messages);
                letter_box.posted.send_replace(number);
                drop(waiting);
                letter_box.bell.notify_one();
            }
        }
    }

    /// Puts letters back that were on their way when the process ended; their numbers stay below those of all later ones.
    pub(crate) fn put_back(&self, mut letters: Vec<(u32, u64, Letter)>) {
        letters.sort_by_key(|(_, number, _)| *number);
        for (receiver, number, letter) in letters {
            let Some(letter_box) = self.boxes.get(receiver as usize) else { continue };
            let mut waiting = letter_box.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if number > letter_box.kept.load(Ordering::Relaxed) {
                waiting.insert((letter.tenant, letter.from, letter.to), letter.messages);
                letter_box.posted.send_modify(|posted| *posted = number.max(*posted));
                letter_box.bell.notify_one();
            }
        }
    }

    /// A partition's checkpoint holds the letters up to there.
    pub(crate) fn is_kept(&self, number: u32, taken: u64) {
        if let Some(letter_box) = self.boxes.get(number as usize) {
            letter_box.kept.store(taken, Ordering::Relaxed);
        }
    }

    /// Whether its receiver's checkpoint holds a letter.
    pub(crate) fn has_kept(&self, (receiver, number): Sent) -> bool {
        self.boxes.get(receiver as usize).is_none_or(|letter_box| number <= letter_box.kept.load(Ordering::Relaxed))
    }

    /// Resolves when there may be letters for a partition.
    pub(crate) async fn rings(&self, number: u32) {
        match self.boxes.get(number as usize) {
            Some(letter_box) => letter_box.bell.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Empties a partition's box. What is returned has to be taken in, and that said with [`Self::taken_in`].
    pub(crate) fn empty(&self, number: u32) -> (Vec<Letter>, u64) {
        let Some(letter_box) = self.boxes.get(number as usize) else { return (Vec::new(), 0) };
        let mut waiting = letter_box.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let letters = waiting.drain();
        let letters = letters.map(|((tenant, from, to), messages)| Letter { tenant, from, to, messages }).collect();
        (letters, *letter_box.posted.borrow())
    }

    /// Says that a partition has taken in what was posted up to there, and has sent what follows from it.
    pub(crate) fn taken_in(&self, number: u32, posted: u64) {
        if let Some(letter_box) = self.boxes.get(number as usize) {
            letter_box.taken.send_replace(posted);
        }
    }

    /// Whether every letter posted so far, and every letter that follows from one, has been taken in.
    pub(crate) fn is_settled(&self) -> bool {
        // Read first: what was posted meanwhile because one of these was taken in shows in the second look.
        let posted = || self.boxes.iter().map(|letter_box| *letter_box.posted.borrow());
        let before: Vec<u64> = posted().collect();
        let is_taken = |(letter_box, posted): (&LetterBox, &u64)| *letter_box.taken.borrow() >= *posted;
        self.boxes.iter().zip(&before).all(is_taken) && posted().eq(before.iter().copied())
    }

    /// Resolves once every letter posted before, and every letter that follows from one, has been taken in.
    pub(crate) async fn settled(&self) {
        loop {
            let posted: Vec<u64> = self.boxes.iter().map(|letter_box| *letter_box.posted.borrow()).collect();
            for (letter_box, posted) in self.boxes.iter().zip(&posted) {
                // The sender lives as long as this does.
                let _ = letter_box.taken.subscribe().wait_for(|taken| taken >= posted).await;
            }
            if self.boxes.iter().zip(&posted).all(|(letter_box, posted)| *letter_box.posted.borrow() == *posted) {
                return;
            }
        }
    }
}
