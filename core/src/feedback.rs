//! What surveys and reviews mean: one answer each, the latest revision.

use crate::conversation::set_attributes;
use crate::dimension::Dimension;
use crate::event::{CreditKey, Event, Payload, Scale, SurveyContext, SurveyKind};
use crate::fact::{Facts, Holding, Measure};
use crate::series::{DimensionValues, Symbol};
use crate::time::Timestamp;

/// What a survey has come to.
#[derive(Debug, Default)]
pub struct Survey {
    values: DimensionValues,
    sent: Option<(Timestamp, SurveyContext)>,
    answer: Option<Answer>,
    holding: Holding,
}

/// What a review has come to.
#[derive(Debug, Default)]
pub struct Review {
    values: DimensionValues,
    rating: Option<Rating>,
    holding: Holding,
}

/// The answer that counts.
#[derive(Debug, Clone, Copy)]
struct Answer {
    at: Timestamp,
    context: SurveyContext,
    score: i32,
    revision: u32,
}

/// The rating that counts.
#[derive(Debug, Clone, Copy)]
struct Rating {
    at: Timestamp,
    platform: Option<Symbol>,
    score: i32,
    scale: Scale,
    about: Option<CreditKey>,
    revision: u32,
}

impl SurveyKind {
    fn usual_scale(self) -> Scale {
        let (lowest, highest) = match self {
            Self::Csat | Self::Engagement => (1, 5),
            Self::Nps => (0, 10),
            Self::Ces => (1, 7),
        };
        Scale { lowest, highest }
    }
}

impl Scale {
    const NPS: Self = Self { lowest: 0, highest: 10 };

    /// How many of the scale's scores `part` of `of` are, at least one; a half rounds up.
    fn share(self, part: i32, of: i32) -> i32 {
        let scores = self.highest - self.lowest + 1;
        ((2 * scores * part + of) / (2 * of)).max(1)
    }

    /// Whether a score is in the top two fifths.
    fn is_good(self, score: i32) -> bool {
        score > self.highest - self.share(2, 5)
    }

    /// Whether a score is in the bottom two fifths.
    fn is_bad(self, score: i32) -> bool {
        score < self.lowest + self.share(2, 5)
    }
}

/// 1 for a promoter, -1 for a detractor, 0 between.
fn promotes(score: i32) -> i64 {
    match score {
        9.. => 1,
        7..=8 => 0,
        _ => -1,
    }
}

impl Survey {
    /// Walks over the next event.
    pub(crate) fn step(&mut self, event: &Event, facts: &mut Facts) {
        set_attributes(&mut self.values, event);
        match &event.payload {
            Payload::SurveySent(context) => {
                self.sent.get_or_insert((event.time, **context));
            }
            Payload::SurveyAnswered { context, score, revision }
                if self.answer.is_none_or(|known| known.revision <= *revision) =>
            {
                self.answer = Some(Answer { at: event.time, context: **context, score: *score, revision: *revision });
            }
            _ => {}
        }
        let mut now = facts.fresh();
        self.state(&mut now);
        self.holding.become_now(now, facts);
    }

    fn state(&self, facts: &mut Facts) {
        let sent = self.sent.map(|(_, context)| context);
        let said = |of: fn(&SurveyContext) -> Option<Symbol>| {
            sent.as_ref().and_then(of).or_else(|| self.answer.as_ref().and_then(|answer| of(&answer.context)))
        };
        let about = sent.and_then(|sent| sent.about).or(self.answer.and_then(|answer| answer.context.about));
        let mut values = self.values.clone();
        values.set(&Dimension::Agent, said(|context| context.agent));
        let series = facts.series(&values.credited(about));
        if let Some((at, _)) = self.sent {
            facts.state(Measure::SurveySent, at, series, 0);
            if self.answer.is_some() {
                facts.state(Measure::SurveyResponded, at, series, 0);
            }
        }
        let Some(answer) = self.answer else { return };
        let kind = sent.map_or(answer.context.kind, |sent| sent.kind);
        let rule = facts.rules().survey(kind);
        let scale = sent.and_then(|sent| sent.scale).or(answer.context.scale).or(rule.scale);
        let scale = scale.unwrap_or(kind.usual_scale());
        let score = answer.score.clamp(scale.lowest, scale.highest);
        let mut count = |measure, value: i64| {
            facts.state(measure, answer.at, series, value);
        };
        match kind {
            SurveyKind::Csat => {
                count(Measure::CsatScore, score.into());
                let is_good = rule.good_from.map_or(scale.is_good(score), |good_from| score >= good_from);
                count(Measure::CsatGood, is_good.into());
                count(Measure::FeedbackBad, scale.is_bad(score).into());
            }
            SurveyKind::Nps => count(Measure::NpsRating, promotes(score)),
            SurveyKind::Ces => {
                let easy_from = rule.good_from.unwrap_or(scale.highest - scale.share(3, 7) + 1);
                count(Measure::CesScore, score.into());
                count(Measure::CesEasy, i64::from(score >= easy_from));
            }
            SurveyKind::Engagement => {
                count(Measure::EngagementScore, score.into());
                if scale == Scale::NPS {
                    count(Measure::EnpsRating, promotes(score));
                }
            }
        }
    }
}

impl Review {
    /// Walks over the next event.
    pub(crate) fn step(&mut self, event: &Event, facts: &mut Facts) {
        set_attributes(&mut self.values, event);
        if let Payload::ReviewPosted { platform, rating, scale, about, revision } = event.payload
            && self.rating.is_none_or(|known| known.revision <= revision)
        {
            self.rating = Some(Rating { at: event.time, platform, score: rating, scale, about, revision });
        }
        let mut now = facts.fresh();
        if let Some(rating) = self.rating {
            let values = self.values.with(&Dimension::Platform, rating.platform).credited(rating.about);
            let series = facts.series(&values);
            now.state(Measure::ReviewGood, rating.at, series, rating.scale.is_good(rating.score).into());
            now.state(Measure::FeedbackBad, rating.at, series, rating.scale.is_bad(rating.score).into());
        }
        self.holding.become_now(now, facts);
    }
}
