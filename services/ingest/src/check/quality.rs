//! Events of surveys and reviews.

use std::ops::RangeInclusive;

use deskpulse_core::subject::SubjectKind;
use deskpulse_edge::fault::Fault;
use deskpulse_proto::lent::{ReviewPosted, Scale, SurveyAnswered, SurveySent};
use deskpulse_proto::v1::SurveyKind;

use super::Checked;
use super::field::{TEXT, invalid, optional, scale, score, specified, subject};

/// The only scale of a net promoter score.
const NPS: RangeInclusive<i32> = 0..=10;
/// A review's scale where it names none.
const REVIEW: RangeInclusive<i32> = 1..=5;

pub(super) fn sent<'a>(sent: &SurveySent<'a>) -> Result<Checked<'a>, Fault> {
    survey_scale("survey_sent", sent.kind, sent.scale.as_ref())?;
    optional("survey_sent.conversation", sent.conversation, TEXT)?;
    optional("survey_sent.agent", sent.agent, TEXT)?;
    let survey = subject("survey_sent.survey", SubjectKind::Survey, sent.survey)?;
    Ok(Checked::mentioning(survey, sent.conversation))
}

pub(super) fn answered<'a>(answered: &SurveyAnswered<'a>) -> Result<Checked<'a>, Fault> {
    let allowed = survey_scale("survey_answered", answered.kind, answered.scale.as_ref())?;
    optional("survey_answered.conversation", answered.conversation, TEXT)?;
    optional("survey_answered.agent", answered.agent, TEXT)?;
    score("survey_answered.score", answered.score, allowed)?;
    let survey = subject("survey_answered.survey", SubjectKind::Survey, answered.survey)?;
    Ok(Checked::mentioning(survey, answered.conversation))
}

pub(super) fn review<'a>(posted: &ReviewPosted<'a>) -> Result<Checked<'a>, Fault> {
    optional("review_posted.platform", posted.platform, TEXT)?;
    optional("review_posted.customer", posted.customer, TEXT)?;
    optional("review_posted.conversation", posted.conversation, TEXT)?;
    let allowed = scale("review_posted.scale", posted.scale.as_ref())?;
    score("review_posted.rating", posted.rating, Some(allowed.unwrap_or(REVIEW)))?;
    let review = subject("review_posted.review", SubjectKind::Review, posted.review)?;
    Ok(Checked::mentioning(review, posted.conversation))
}

/// The scores a survey of this kind allows, as far as the event alone says.
fn survey_scale(event: &str, kind: i32, named: Option<&Scale>) -> Result<Option<RangeInclusive<i32>>, Fault> {
    let kind: SurveyKind = specified(format_args!("{event}.kind"), kind)?;
    let field = format_args!("{event}.scale");
    let named = scale(field, named)?;
    match kind {
        SurveyKind::Nps if named.as_ref().is_some_and(|named| *named != NPS) => {
            let message =
                format!("{field} of a net promoter score must be 0 to 10: leave it out, or send another kind");
            invalid(field, message)
        }
        SurveyKind::Nps => Ok(Some(NPS)),
        SurveyKind::Unspecified | SurveyKind::Csat | SurveyKind::Ces | SurveyKind::Engagement => Ok(named),
    }
}
