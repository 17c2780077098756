//! What facts measure.

use serde::{Deserialize, Serialize};

macro_rules! measures {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal),+ $(,)?) => {
        /// What a fact measures. Closed: a new figure begins with a new measure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// A tag was put on a conversation; carries that tag alone.
    Tagged = "tagged",
    /// A scored customer message; value -1, 0 or 1.
    SentimentScored = "sentiment_scored",
    /// Milliseconds from the opening to the first reply.
    FirstResponse = "first_response",
    /// Milliseconds from the last handoff before it to the first reply.
    HandoffResponse = "handoff_response",
    /// Milliseconds from an agent's assignment to that agent's first reply.
    AgentFirstResponse = "agent_first_response",
    /// Milliseconds of an answered wait that was not the conversation's first.
    NextReply = "next_reply",
    /// Milliseconds from the opening to the first assignment to a human.
    Assignment = "assignment",
    /// Milliseconds of a wait that a bot answered.
    BotResponse = "bot_response",
    /// A wait began.
    WaitStarted = "wait_started",
    /// Milliseconds of an answered wait; at the start with its dimensions then.
    WaitAnswered = "wait_answered",
    /// A wait not over yet, at its start; value: the start, in milliseconds since 1970. Taken back when it ends.
    WaitOpen = "wait_open",
    /// Level of open waits: +1 where one begins, -1 where it ends; value: the start.
    Unanswered = "unanswered",
    /// Milliseconds from the opening to the first resolution.
    FirstResolution = "first_resolution",
    /// Milliseconds from the opening to the last resolution. Taken back by a reopening.
    FullResolution = "full_resolution",
    /// Milliseconds from the start of an episode to its resolution.
    Resolution = "resolution",
    /// That, less the time in pending and on hold.
    NetResolution = "net_resolution",
    /// Milliseconds from the handoff or the start of the episode, whichever is later, to its resolution.
    HumanResolution = "human_resolution",
    /// Milliseconds of an episode in open or on hold.
    RequesterWait = "requester_wait",
    /// A conversation opened here is resolved now: at the start only, and with its dimensions then.
    ResolvedNow = "resolved_now",
    /// A conversation resolved; value: the replies it took. Taken back by a reopening.
    ResolvedReplies = "resolved_replies",
    /// A conversation resolved with at most one reply and one connected leg, no transfer and no reopening soon after a
    /// resolution; value: the contact it was (customer and topic), 0 where the customer is unknown. Taken back by a
    /// reopening.
    FirstContact = "first_contact",
    /// A known customer began a conversation; value: the contact it was.
    Contact = "contact",
    /// A known customer began a conversation; value: the customer.
    CustomerContact = "customer_contact",
    /// A human was there for a known customer; value: the customer.
    CustomerServed = "customer_served",
    /// A conversation was reopened.
    Reopened = "reopened",
    /// A resolution that was undone, at that resolution.
    ResolutionUndone = "resolution_undone",
    /// A conversation passed from one agent to another.
    Transferred = "transferred",
    /// Level of unresolved conversations: +1 where one opens or reopens, -1 where it is resolved; value: the opening.
    Backlog = "backlog",
    /// A bot took part in a conversation.
    BotTookPart = "bot_took_part",
    /// A conversation a bot took part in was handed to humans.
    HandedOver = "handed_over",
    /// A conversation a bot took part in was resolved without a human. Taken back by a reopening.
    Contained = "contained",
    /// A leg was queued.
    Offered = "offered",
    /// Milliseconds from queued to connected.
    AnsweredWait = "answered_wait",
    /// Milliseconds from queued to abandoned.
    AbandonedWait = "abandoned_wait",
    /// Milliseconds from queued to any other end.
    OtherWait = "other_wait",
    /// Level of queued legs; value: when they were queued.
    InQueue = "in_queue",
    /// A leg was connected to an agent.
    LegConnected = "leg_connected",
    /// Milliseconds of a leg in conversation.
    Talk = "talk",
    /// Milliseconds of a leg on hold.
    Hold = "hold",
    /// Milliseconds of a leg in wrap-up.
    Wrapup = "wrapup",
    /// The three together.
    Handle = "handle",
    /// Level of legs being handled, from connected to ended; value 1.
    Handling = "handling",
    /// An alert that was declined or expired.
    NonResponse = "non_response",
    /// A leg ended in a callback.
    Callback = "callback",
    /// A leg ended in voicemail.
    Voicemail = "voicemail",
    /// A leg ended in an overflow queue.
    Overflow = "overflow",
    /// An SLA target was met.
    SlaMet = "sla_met",
    /// An SLA target was missed, at its deadline.
    SlaBreached = "sla_breached",
    /// Milliseconds beyond the target, at fulfilment.
    SlaOverrun = "sla_overrun",
    /// Level of targets near their deadline; value: the deadline.
    SlaAtRisk = "sla_at_risk",
    /// A survey was sent.
    SurveySent = "survey_sent",
    /// A survey sent then has been answered by now.
    SurveyResponded = "survey_responded",
    /// The score of a satisfaction survey.
    CsatScore = "csat_score",
    /// Whether it was good: 0 or 1.
    CsatGood = "csat_good",
    /// A promoter (1), passive (0) or detractor (-1).
    NpsRating = "nps_rating",
    /// The score of an effort survey.
    CesScore = "ces_score",
    /// Whether it was easy: 0 or 1.
    CesEasy = "ces_easy",
    /// The score of an engagement survey.
    EngagementScore = "engagement_score",
    /// A promoter (1), passive (0) or detractor (-1) among employees.
    EnpsRating = "enps_rating",
    /// Whether a review was good: 0 or 1.
    ReviewGood = "review_good",
    /// Whether a satisfaction survey or a review was bad: 0 or 1.
    FeedbackBad = "feedback_bad",
    /// A task was assigned for the first time.
    TaskAssigned = "task_assigned",
    /// A task is completed.
    TaskCompleted = "task_completed",
    /// A self-service session ended with a known outcome.
    SessionKnown = "session_known",
    /// A self-service session ended resolved; value: the customer, 0 where unknown.
    SessionResolved = "session_resolved",
    /// A customer was activated.
    Activated = "activated",
    /// Level of customers; value 1.
    Customers = "customers",
    /// A customer left.
    Churned = "churned",
    /// A contract was due for renewal.
    RenewalDue = "renewal_due",
    /// A contract due then was renewed, at the due date.
    Renewed = "renewed",
    /// A customer used a feature; at the start: one for each feature ever used, at the activation.
    FeatureUsed = "feature_used",
    /// A customer ordered.
    Ordered = "ordered",
    /// A customer was offered another product.
    CrossSellOffered = "cross_sell_offered",
    /// A customer took another product.
    CrossSellAccepted = "cross_sell_accepted",
    /// A customer was offered a better product.
    UpSellOffered = "up_sell_offered",
    /// A customer took a better product.
    UpSellAccepted = "up_sell_accepted",
    /// A cost, in millionths.
    Cost = "cost",
    /// Level of agents available; value 1, like all levels of agents.
    AgentAvailable = "agent_available",
    /// Level of agents busy or in wrap-up.
    AgentHandling = "agent_handling",
    /// Level of agents online but neither available nor handling.
    AgentAway = "agent_away",
    /// Level of agents known to be offline.
    AgentOffline = "agent_offline",
    /// Level of agents online; value: their slots.
    AgentSlots = "agent_slots",
    /// Level of agents scheduled for anything.
    Scheduled = "scheduled",
    /// Level of agents doing the kind of thing they are scheduled for.
    Adherent = "adherent",
    /// Level of agents paid by schedule.
    Paid = "paid",
    /// Level of agents paid by schedule and available or handling.
    PaidWorking = "paid_working",
    /// Level of agents online in productive scheduled time.
    Productive = "productive",
    /// Level of agents employed.
    Headcount = "headcount",
    /// An agent left.
    Left = "left",
    /// An event of another subject names this conversation; value: its credit key. Carries the dimension values then.
    Credit = "credit",
    /// The tenant has business hours, so durations are kept on both clocks.
    BusinessHours = "business_hours",
    /// An event was refused because its id was known with other content.
    ConflictingId = "conflicting_id",
    /// An event that gave a negative duration, counted as 0.
    Skewed = "skewed",
}

/// What the value of a fact says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Nothing that is shown to anybody.
    Nothing,
    /// A score, a number or an amount.
    Number,
    /// How long something took, in milliseconds.
    Duration,
    /// When something began, in milliseconds since 1970.
    Start,
    /// When something is due, in milliseconds since 1970.
    Deadline,
}

impl Measure {
    /// Whether it is also counted at the start of what it measures.
    #[must_use]
    pub const fn has_start(self) -> bool {
        self.has_clocks()
            || matches!(
                self,
                Self::ResolvedNow
                    | Self::BotTookPart
                    | Self::HandedOver
                    | Self::Contained
                    | Self::AnsweredWait
                    | Self::AbandonedWait
                    | Self::OtherWait
                    | Self::TaskCompleted
                    | Self::FeatureUsed
            )
    }

    /// Whether it is a duration that is kept on both clocks.
    #[must_use]
    pub const fn has_clocks(self) -> bool {
        matches!(
            self,
            Self::FirstResponse
                | Self::HandoffResponse
                | Self::AgentFirstResponse
                | Self::NextReply
                | Self::Assignment
                | Self::BotResponse
                | Self::WaitAnswered
                | Self::FirstResolution
                | Self::FullResolution
                | Self::Resolution
                | Self::NetResolution
                | Self::HumanResolution
                | Self::RequesterWait
        )
    }

    /// Whether its facts may carry the dimension values of a conversation that another subject's event names.
    #[must_use]
    pub const fn is_credited(self) -> bool {
        matches!(
            self,
            Self::SurveySent
                | Self::SurveyResponded
                | Self::CsatScore
                | Self::CsatGood
                | Self::NpsRating
                | Self::CesScore
                | Self::CesEasy
                | Self::EngagementScore
                | Self::EnpsRating
                | Self::ReviewGood
                | Self::FeedbackBad
                | Self::Activated
                | Self::Churned
                | Self::RenewalDue
                | Self::Renewed
                | Self::FeatureUsed
                | Self::Ordered
                | Self::CrossSellOffered
                | Self::CrossSellAccepted
                | Self::UpSellOffered
                | Self::UpSellAccepted
        )
    }

    /// What the values of its facts say.
    #[must_use]
    pub const fn value_kind(self) -> ValueKind {
        match self {
            Self::FirstResponse
            | Self::HandoffResponse
            | Self::AgentFirstResponse
            | Self::NextReply
            | Self::Assignment
            | Self::BotResponse
            | Self::WaitAnswered
            | Self::FirstResolution
            | Self::FullResolution
            | Self::Resolution
            | Self::NetResolution
            | Self::HumanResolution
            | Self::RequesterWait
            | Self::AnsweredWait
            | Self::AbandonedWait
            | Self::OtherWait
            | Self::Talk
            | Self::Hold
            | Self::Wrapup
            | Self::Handle
            | Self::SlaOverrun => ValueKind::Duration,
            Self::WaitOpen | Self::Unanswered | Self::Backlog | Self::InQueue => ValueKind::Start,
            Self::SlaAtRisk => ValueKind::Deadline,
            Self::SentimentScored
            | Self::ResolvedReplies
            | Self::CsatScore
            | Self::CsatGood
            | Self::NpsRating
            | Self::CesScore
            | Self::CesEasy
            | Self::EngagementScore
            | Self::EnpsRating
            | Self::ReviewGood
            | Self::FeedbackBad
            | Self::Cost
            | Self::AgentSlots => ValueKind::Number,
            Self::Opened
            | Self::MessageReceived
            | Self::MessageSent
            | Self::BotMessage
            | Self::AutomatedMessage
            | Self::PrivateNote
            | Self::Tagged
            | Self::WaitStarted
            | Self::ResolvedNow
            | Self::FirstContact
            | Self::Contact
            | Self::CustomerContact
            | Self::CustomerServed
            | Self::Reopened
            | Self::ResolutionUndone
            | Self::Transferred
            | Self::BotTookPart
            | Self::HandedOver
            | Self::Contained
            | Self::Offered
            | Self::LegConnected
            | Self::Handling
            | Self::NonResponse
            | Self::Callback
            | Self::Voicemail
            | Self::Overflow
            | Self::SlaMet
            | Self::SlaBreached
            | Self::SurveySent
            | Self::SurveyResponded
            | Self::TaskAssigned
            | Self::TaskCompleted
            | Self::SessionKnown
            | Self::SessionResolved
            | Self::Activated
            | Self::Customers
            | Self::Churned
            | Self::RenewalDue
            | Self::Renewed
            | Self::FeatureUsed
            | Self::Ordered
            | Self::CrossSellOffered
            | Self::CrossSellAccepted
            | Self::UpSellOffered
            | Self::UpSellAccepted
            | Self::AgentAvailable
            | Self::AgentHandling
            | Self::AgentAway
            | Self::AgentOffline
            | Self::Scheduled
            | Self::Adherent
            | Self::Paid
            | Self::PaidWorking
            | Self::Productive
            | Self::Headcount
            | Self::Left
            | Self::Credit
            | Self::BusinessHours
            | Self::ConflictingId
            | Self::Skewed => ValueKind::Nothing,
        }
    }

    /// Whether all its facts are about a conversation, or about what may name one (a survey, a review, a customer's order).
    #[must_use]
    pub const fn is_about_conversations(self) -> bool {
        !matches!(
            self,
            Self::TaskAssigned
                | Self::TaskCompleted
                | Self::SessionKnown
                | Self::SessionResolved
                | Self::Customers
                | Self::Cost
                | Self::AgentAvailable
                | Self::AgentHandling
                | Self::AgentAway
                | Self::AgentOffline
                | Self::AgentSlots
                | Self::Scheduled
                | Self::Adherent
                | Self::Paid
                | Self::PaidWorking
                | Self::Productive
                | Self::Headcount
                | Self::Left
                | Self::BusinessHours
                | Self::ConflictingId
                | Self::Skewed
        )
    }

    /// Whether its facts may lie in the future and become true when their instant has come, unless events prevent it.
    #[must_use]
    pub const fn is_timed(self) -> bool {
        matches!(
            self,
            Self::SlaBreached
                | Self::SlaAtRisk
                | Self::Scheduled
                | Self::Adherent
                | Self::Paid
                | Self::PaidWorking
                | Self::Productive
        )
    }
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
}
