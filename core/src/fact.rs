//! What events mean: signed, countable facts.

use crate::series::{DimensionValues, Names, SeriesId, Symbol};
use crate::time::Timestamp;

macro_rules! measures {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal),+ $(,)?) => {
        /// What a fact measures. Closed: a new figure begins with a new measure.
        ///
        /// "At the start" marks the twin of a measure that is counted when the conversation (or wait) began, for the
        /// cohort basis.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Measure { $($(#[doc = $doc])* $name),+ }

        impl Measure {
            /// Every measure.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name services call it by.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// The measure with this name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

measures! {
    /// A conversation was opened.
    Opened = "opened",
    /// A public message of the customer.
    MessageReceived = "message_received",
    /// A public message of a human agent.
    MessageSent = "message_sent",
    /// A public message of a bot.
    BotMessage = "bot_message",
    /// A public message of an automation, a campaign or the platform.
    AutomatedMessage = "automated_message",
    /// A private message of anyone.
    PrivateNote = "private_note",
    /// A scored customer message; value -1, 0 or 1.
    SentimentScored = "sentiment_scored",
    /// Milliseconds from the opening to the first reply.
    FirstResponse = "first_response",
    /// The same, at the start.
    FirstResponseAtStart = "first_response_at_start",
    /// Milliseconds from the last handoff before it to the first reply.
    HandoffResponse = "handoff_response",
    /// The same, at the start.
    HandoffResponseAtStart = "handoff_response_at_start",
    /// Milliseconds from an agent's assignment to that agent's first reply.
    AgentFirstResponse = "agent_first_response",
    /// The same, at the start.
    AgentFirstResponseAtStart = "agent_first_response_at_start",
    /// Milliseconds of an answered wait that was not the conversation's first.
    NextReply = "next_reply",
    /// The same, at the start of the wait.
    NextReplyAtStart = "next_reply_at_start",
    /// Milliseconds from the opening to the first assignment to a human.
    Assignment = "assignment",
    /// The same, at the start.
    AssignmentAtStart = "assignment_at_start",
    /// Milliseconds of a wait that a bot answered.
    BotResponse = "bot_response",
    /// The same, at the start of the wait.
    BotResponseAtStart = "bot_response_at_start",
    /// A wait began.
    WaitStarted = "wait_started",
    /// Milliseconds of an answered wait.
    WaitAnswered = "wait_answered",
    /// The same, at the start of the wait and with its dimensions then.
    WaitAnsweredAtStart = "wait_answered_at_start",
    /// A wait not over yet, at its start; value: the start, in milliseconds since 1970. Taken back when it ends.
    WaitOpen = "wait_open",
    /// Level of open waits: +1 where one begins, -1 where it ends; value: the start.
    Unanswered = "unanswered",
    /// Milliseconds from the opening to the first resolution.
    FirstResolution = "first_resolution",
    /// The same, at the start.
    FirstResolutionAtStart = "first_resolution_at_start",
    /// Milliseconds from the opening to the last resolution. Taken back by a reopening.
    FullResolution = "full_resolution",
    /// The same, at the start.
    FullResolutionAtStart = "full_resolution_at_start",
    /// Milliseconds from the start of an episode to its resolution.
    Resolution = "resolution",
    /// The same, at the start.
    ResolutionAtStart = "resolution_at_start",
    /// That, less the time in pending and on hold.
    NetResolution = "net_resolution",
    /// The same, at the start.
    NetResolutionAtStart = "net_resolution_at_start",
    /// Milliseconds from the handoff or the start of the episode, whichever is later, to its resolution.
    HumanResolution = "human_resolution",
    /// The same, at the start.
    HumanResolutionAtStart = "human_resolution_at_start",
    /// Milliseconds of an episode in open or on hold.
    RequesterWait = "requester_wait",
    /// The same, at the start.
    RequesterWaitAtStart = "requester_wait_at_start",
    /// A conversation opened here is resolved now, at the start and with its dimensions then.
    ResolvedAtStart = "resolved_at_start",
    /// A conversation resolved; value: the replies it took. Taken back by a reopening.
    ResolvedReplies = "resolved_replies",
    /// A conversation resolved with at most one reply, no transfer and no reopening soon after a resolution; value: the
    /// contact it was (see [`crate::conversation::contact`]), 0 where the customer is unknown. Taken back by a reopening.
    FirstContact = "first_contact",
    /// A known customer began a conversation; value: the contact it was.
    Contact = "contact",
    /// A conversation was reopened.
    Reopened = "reopened",
    /// A resolution that was undone, at that resolution.
    ResolutionUndone = "resolution_undone",
    /// A conversation passed from one agent to another.
    Transferred = "transferred",
    /// Level of unresolved conversations: +1 where one opens or reopens, -1 where it is resolved; value: the opening.
    Backlog = "backlog",
    /// An event was refused because its id was known with other content.
    ConflictingId = "conflicting_id",
    /// An event that gave a negative duration, counted as 0.
    Skewed = "skewed",
}

/// Whether a fact is stated or taken back. For levels: up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// Counts -1.
    Minus,
    /// Counts +1.
    Plus,
}

impl Weight {
    /// +1 or -1.
    #[must_use]
    pub const fn sign(self) -> i64 {
        match self {
            Self::Plus => 1,
            Self::Minus => -1,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn inverse(self) -> Self {
        match self {
            Self::Plus => Self::Minus,
            Self::Minus => Self::Plus,
        }
    }
}

/// One thing to count. Facts form a group: each can be taken back exactly, and their order does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fact {
    /// What it measures.
    pub measure: Measure,
    /// The instant it counts at.
    pub at: Timestamp,
    /// The dimension values it carries.
    pub series: SeriesId,
    /// What was measured; 0 where only the number counts.
    pub value: i64,
    /// Stated or taken back.
    pub weight: Weight,
}

impl Fact {
    /// The fact that takes this one back.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self { weight: self.weight.inverse(), ..self }
    }
}

/// Facts as they are found, and the tables to intern their dimension values with.
#[derive(Debug)]
pub struct Facts<'a> {
    names: &'a Names,
    list: Vec<Fact>,
}

impl<'a> Facts<'a> {
    /// No facts yet.
    #[must_use]
    pub fn new(names: &'a Names) -> Self {
        Self { names, list: Vec::new() }
    }

    /// The tables that dimension values are interned with.
    #[must_use]
    pub fn names(&self) -> &'a Names {
        self.names
    }

    /// The series of some dimension values.
    #[must_use]
    pub fn series(&self, values: &DimensionValues) -> SeriesId {
        self.names.series(values)
    }

    /// The text of a symbol.
    #[must_use]
    pub fn text(&self, symbol: Symbol) -> &'a str {
        self.names.text(symbol)
    }

    /// States a fact and gives it back, so that it can be taken back.
    pub fn state(&mut self, measure: Measure, at: Timestamp, series: SeriesId, value: i64) -> Fact {
        let fact = Fact { measure, at, series, value, weight: Weight::Plus };
        self.list.push(fact);
        fact
    }

    /// Takes a fact back.
    pub fn take_back(&mut self, fact: Fact) {
        self.list.push(fact.inverse());
    }

    /// States a fact of weight -1: a level goes down.
    pub fn lower(&mut self, measure: Measure, at: Timestamp, series: SeriesId, value: i64) {
        self.list.push(Fact { measure, at, series, value, weight: Weight::Minus });
    }

    /// The facts.
    #[must_use]
    pub fn into_list(self) -> Vec<Fact> {
        self.list
    }
}

/// What leads from the facts `old` to the facts `new`: nothing of what they share, sorted, pairs cancelled.
#[must_use]
pub fn difference(old: &[Fact], new: &[Fact]) -> Vec<Fact> {
    let mut all: Vec<Fact> = new.iter().copied().chain(old.iter().map(|fact| fact.inverse())).collect();
    cancel(&mut all);
    all
}

/// Removes facts together with their inverses; leaves the rest sorted.
pub fn cancel(facts: &mut Vec<Fact>) {
    facts.sort_unstable();
    let key = |fact: &Fact| Fact { weight: Weight::Plus, ..*fact };
    let mut kept = 0;
    let mut from = 0;
    while from < facts.len() {
        let run = facts[from..].iter().take_while(|fact| key(fact) == key(&facts[from])).count();
        let net: i64 = facts[from..from + run].iter().map(|fact| fact.weight.sign()).sum();
        let weight = if net < 0 { Weight::Minus } else { Weight::Plus };
        let fact = Fact { weight, ..facts[from] };
        for _ in 0..net.unsigned_abs() {
            facts[kept] = fact;
            kept += 1;
        }
        from += run;
    }
    facts.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_found_by_their_names() {
        for measure in Measure::ALL {
            assert_eq!(Measure::parse(measure.name()), Some(*measure));
        }
        assert_eq!(Measure::parse("nonsense"), None);
    }

    #[test]
    fn the_difference_of_equal_lists_is_nothing_and_of_others_leads_from_one_to_the_other() {
        let names = Names::default();
        let series = names.series(&DimensionValues::default());
        let fact = |ms: i64| Fact {
            measure: Measure::Opened,
            at: Timestamp::clamped(ms),
            series,
            value: ms,
            weight: Weight::Plus,
        };
        assert!(difference(&[fact(1), fact(2), fact(2)], &[fact(2), fact(1), fact(2)]).is_empty());
        assert_eq!(difference(&[fact(1), fact(2)], &[fact(2), fact(3)]), [fact(1).inverse(), fact(3)]);
        assert_eq!(difference(&[], &[fact(2), fact(1).inverse(), fact(1)]), [fact(2)]);
        assert_eq!(difference(&[fact(2)], &[fact(2), fact(2), fact(2)]), [fact(2), fact(2)]);
    }
}
