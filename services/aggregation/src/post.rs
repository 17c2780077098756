//! Letters between the partitions of a process: messages of conversations that were merged into one of another partition.
//!
//! A letter follows from what its sender has applied, so it is never kept: after a start it is written again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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
type Route = (Symbol, Arc<str>, Box<str>);

/// Letters that wait for a partition. A newer letter between the same conversations takes the place of an older one, so
/// there are never more than merged conversations.
#[derive(Debug)]
struct LetterBox {
    waiting: Mutex<HashMap<Route, Vec<Moved>>>,
    bell: Notify,
    /// How often letters were posted, and up to which of these they have been taken in.
    posted: watch::Sender<u64>,
    taken: watch::Sender<u64>,
}

impl Post {
    pub(crate) fn new(names: Arc<Names>, partitions: usize) -> Self {
        let letter_box = || LetterBox {
            waiting: Mutex::default(),
            bell: Notify::new(),
            posted: watch::channel(0).0,
            taken: watch::channel(0).0,
        };
        Self { names, boxes: std::iter::repeat_with(letter_box).take(partitions).collect() }
    }

    /// Puts letters into the boxes of the partitions they are for.
    pub(crate) fn send(&self, letters: Vec<Letter>) {
        let partitions = u32::try_from(self.boxes.len()).unwrap_or(u32::MAX);
        for Letter { tenant, from, to, messages } in letters {
            let conversation = SubjectRef { kind: SubjectKind::Conversation, id: &to };
            let number = route(self.names.text(tenant), conversation, partitions);
            if let Some(letter_box) = self.boxes.get(number as usize) {
                let mut waiting = letter_box.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.insert((tenant, from, to), messages);
                letter_box.posted.send_modify(|posted| *posted += 1);
                drop(waiting);
                letter_box.bell.notify_one();
            }
        }
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
