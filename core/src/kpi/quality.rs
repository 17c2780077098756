//! Quality: what customers and agents say in surveys and reviews.

use super::{Basis, CONTRACT, Formula, Metric, Term, Unit, ratio};
use crate::fact::Measure;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "csat_score",
        unit: Unit::Ratio,
        description: "Share of the satisfaction answers in the top part of their scale: the top two of five, unless \
                      configured otherwise. One answer a survey, the latest revision.",
        formula: "good answers / answers",
        bases: &[(Basis::Event, ratio!(Term::Sum(Measure::CsatGood), Term::Count(&[Measure::CsatGood])))],
        credited_to: "owner when the survey was sent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "csat_mean",
        unit: Unit::Score,
        description: "Mean score of the satisfaction answers, on the scales they were asked on.",
        formula: "sum of scores / answers",
        bases: &[(Basis::Event, Formula::Mean(Measure::CsatScore))],
        credited_to: "owner when the survey was sent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "survey_response_rate",
        unit: Unit::Ratio,
        description: "Of the surveys sent in the interval, the share answered by now.",
        formula: "answered / sent",
        bases: &[(
            Basis::Cohort,
            ratio!(Term::Count(&[Measure::SurveyResponded]), Term::Count(&[Measure::SurveySent])),
        )],
        credited_to: "owner when the survey was sent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "nps",
        unit: Unit::Score,
        description: "Net promoter score: 9 and 10 promote, 0 to 6 detract.",
        formula: "100 × (promoters − detractors) / answers",
        bases: &[(
            Basis::Event,
            Formula::Ratio {
                above: &[(1, Term::Sum(Measure::NpsRating))],
                below: &[(1, Term::Count(&[Measure::NpsRating]))],
                times: 100.0,
            },
        )],
        credited_to: "owner when the survey was sent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "ces_mean",
        unit: Unit::Score,
        description: "Mean score of the effort answers, on the scales they were asked on.",
        formula: "sum of scores / answers",
        bases: &[(Basis::Event, Formula::Mean(Measure::CesScore))],
        credited_to: "owner when the survey was sent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "ces_easy_rate",
        unit: Unit::Ratio,
        description: "Share of the effort answers that found it easy: 5 or more of 7, in the same proportion of other \
                      scales, unless configured otherwise.",
        formula: "easy answers / answers",
        bases: &[(Basis::Event, ratio!(Term::Sum(Measure::CesEasy), Term::Count(&[Measure::CesEasy])))],
        credited_to: "owner when the survey was sent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "negative_feedback_rate",
        unit: Unit::Ratio,
        description: "Share of the satisfaction answers and reviews in the bottom two of five, in the same proportion \
                      of other scales.",
        formula: "bad ratings / ratings",
        bases: &[(Basis::Event, ratio!(Term::Sum(Measure::FeedbackBad), Term::Count(&[Measure::FeedbackBad])))],
        credited_to: "owner when the survey was sent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "positive_review_rate",
        unit: Unit::Ratio,
        description: "Share of the reviews in the top two of five, in the same proportion of other scales. One rating \
                      a review, the latest revision.",
        formula: "good reviews / reviews",
        bases: &[(Basis::Event, ratio!(Term::Sum(Measure::ReviewGood), Term::Count(&[Measure::ReviewGood])))],
        credited_to: "owner when the review was posted",
        source: CONTRACT,
        variants: &[],
    },
];
