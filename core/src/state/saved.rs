//! A subject in the archive: its timeline, what came from outside and what it sent; not its state, which is folded again.
//!
//! A short timeline stands in the subject's own value. A long one is cut into weeks, each under a key of its own, so that
//! an agent of many years does not have to be written again with every event.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Mention, Moved, Outside, Subject};
use crate::archive::{Archive, Change, Key, Kind, Parts, Unreadable, encode};
use crate::event::Id;
use crate::grid::SubjectNumber;
use crate::rules::Rules;
use crate::series::{Names, Symbol};
use crate::subject::SubjectKind;
use crate::timeline::Timeline;

/// What stands under a subject's number, before the events of a short timeline.
#[derive(Debug, Serialize, Deserialize)]
struct Saved<'a> {
    id: Id,
    kind: u8,
    tenant: Symbol,
    mentions: Cow<'a, [Mention]>,
    moved: Cow<'a, BTreeMap<Id, Vec<Moved>>>,
    sent: Cow<'a, Option<(Box<str>, Vec<Moved>)>>,
}

fn key(partition: u32, number: SubjectNumber) -> Key {
    Key::new(partition, Kind::Subject).u32(number.0)
}

fn damaged(number: SubjectNumber, error: &postcard::Error) -> Unreadable {
    Unreadable(format!("subject {}: {error}", number.0))
}

/// The id of a subject in the archive.
pub(crate) fn id_in(archive: &dyn Archive, partition: u32, number: SubjectNumber) -> Result<Option<Id>, Unreadable> {
    let Some(bytes) = archive.get(&key(partition, number).done())? else { return Ok(None) };
    let (id, _): (Id, _) = postcard::take_from_bytes(&bytes).map_err(|error| damaged(number, &error))?;
    Ok(Some(id))
}

impl Subject {
    /// Writes down what of it is not in the archive yet.
    pub(crate) fn save(&mut self, partition: u32, number: SubjectNumber, tenant: Symbol, changes: &mut Vec<Change>) {
        let (events, weeks) = self.timeline.unsaved();
        for (week, events) in weeks {
            changes.push(Change { key: key(partition, number).i64(week).done(), value: Some(events.to_vec()) });
        }
        let saved = Saved {
            id: self.id.clone(),
            kind: self.kind as u8,
            tenant,
            mentions: Cow::Borrowed(&self.outside().mentions),
            moved: Cow::Borrowed(&self.outside().moved),
            sent: Cow::Borrowed(&self.outside().sent),
        };
        let mut value = encode(&saved);
        value.extend_from_slice(events);
        changes.push(Change { key: key(partition, number).done(), value: Some(value) });
        self.timeline.saved();
    }

    /// A subject from the archive, its state as its events and the rules make it.
    pub(crate) fn load(
        archive: &dyn Archive,
        partition: u32,
        number: SubjectNumber,
        kind: SubjectKind,
        (names, rules): (&Names, &Rules),
    ) -> Result<Self, Unreadable> {
        let own = key(partition, number).done();
        let bytes = archive.get(&own)?.ok_or_else(|| Unreadable(format!("subject {} is missing", number.0)))?;
        let (Saved { id, mentions, moved, sent, .. }, events) =
            postcard::take_from_bytes(&bytes).map_err(|error| damaged(number, &error))?;
        let mut weeks = Vec::new();
        if events.is_empty() {
            let mut damage = Ok(());
            archive.scan(&own, &mut |key, week| {
                if key.len() == own.len() {
                    return;
                }
                let mut parts = Parts::of(key);
                match parts.u32().and_then(|_| parts.i64()) {
                    Ok(number) => weeks.push((number, week.to_vec())),
                    Err(error) => damage = Err(error),
                }
            })?;
            damage?;
        }
        let mut subject = Self::new(kind, id);
        subject.timeline = Timeline::restored(events, weeks)?;
        let (mentions, moved, sent) = (mentions.into_owned(), moved.into_owned(), sent.into_owned());
        if !mentions.is_empty() || !moved.is_empty() || sent.is_some() {
            subject.outside = Some(Box::new(Outside { mentions, moved, sent }));
        }
        subject.state = subject.fold_all(names, rules).0;
        Ok(subject)
    }

    /// What leads from its facts by some rules to those by others.
    pub(crate) fn under_other_rules(&self, names: &Names, old: &Rules, new: &Rules) -> Vec<crate::fact::Fact> {
        let active = self.timeline.active();
        let events = self.with_moved(&active, names);
        crate::fact::difference(&self.fold(&events, names, old).1, &self.fold(&events, names, new).1)
    }
}
