//! A metric asked for.

use deskpulse_core::dimension::Dimension;
use deskpulse_core::fact::Clock;
use deskpulse_core::histogram::Percentile;
use deskpulse_core::kpi::{self, Basis, Formula, Metric, Options, SHORT_ABANDON_MS};
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::v1::MetricSelection;

use super::{GroupBy, check_count, duration};

const PERCENTILES: usize = 100;
const FEATURE: usize = 128;

/// A metric asked for.
pub(crate) struct Asked {
    pub(crate) metric: &'static Metric,
    pub(crate) basis: Basis,
    pub(crate) formula: Formula,
    pub(crate) options: Options,
    /// The variant's name; empty for the metric as such.
    pub(crate) variant: String,
}

impl Asked {
    pub(crate) fn parse(
        field: &str,
        selection: &MetricSelection,
        basis: Option<Basis>,
        clock: Clock,
        now: Timestamp,
    ) -> Result<Self, Fault> {
        let at = |part: &str| format!("{field}.{part}");
        let Some(metric) = kpi::metric(&selection.name) else {
            let message = format!("there is no metric {:?}: ListMetrics lists them", selection.name);
            return Err(Fault::in_field(Reason::UnknownMetric, at("name"), message));
        };
        let Some((basis, formula)) = metric.on(basis) else {
            let known: Vec<&str> = metric.bases.iter().map(|(basis, _)| basis.name()).collect();
            let message = format!("{} can be asked on the basis {} only", metric.name, known.join(" or "));
            return Err(Fault::in_field(Reason::NotApplicable, "basis", message));
        };
        let formula = match (metric.variant(&selection.variant), selection.variant.as_str()) {
            (_, "") => formula,
            (Some(variant), _) => variant.computed,
            (None, unknown) => {
                let known: Vec<&str> = metric.variants.iter().map(|variant| variant.name).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let message = format!("{} has no variant {unknown:?}: it has {known}", metric.name);
                return Err(Fault::in_field(Reason::NotApplicable, at("variant"), message));
            }
        };
        if clock == Clock::Business && !metric.has_business_clock() {
            let message = format!("{} is not kept on the business clock", metric.name);
            return Err(Fault::in_field(Reason::NotApplicable, "clock", message));
        }
        let applicable = |part: &str, given: bool, has: bool| {
            if !given || has {
                return Ok(());
            }
            let message = format!("{} knows no {part}", metric.name);
            Err(Fault::in_field(Reason::NotApplicable, at(part), message))
        };
        applicable("percentiles", !selection.percentiles.is_empty(), metric.has_distribution())?;
        applicable("at_most", !selection.at_most.is_empty(), metric.has_distribution())?;
        applicable("histogram", selection.histogram, metric.has_distribution())?;
        applicable("within", selection.within.is_some(), metric.has_within())?;
        applicable("short_abandon", selection.short_abandon.is_some(), metric.has_short())?;
        applicable("currency", !selection.currency.is_empty(), metric.has_currency())?;
        applicable("feature", !selection.feature.is_empty(), metric.has_feature())?;
        let is_code = |text: &str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        if !selection.currency.is_empty() && !is_code(&selection.currency) {
            let message = format!("{} must be three capital letters, such as EUR", at("currency"));
            return Err(Fault::in_field(Reason::FieldInvalid, at("currency"), message));
        }
        if selection.feature.len() > FEATURE {
            let message = format!("{} has {} bytes, the limit is {FEATURE}", at("feature"), selection.feature.len());
            return Err(Fault::in_field(Reason::FieldTooLong, at("feature"), message));
        }
        check_count(&at("percentiles"), selection.percentiles.len(), PERCENTILES)?;
        check_count(&at("at_most"), selection.at_most.len(), PERCENTILES)?;
        let percentiles = selection
            .percentiles
            .iter()
            .map(|percent| {
                let message = || format!("{percent} is no percentile: give a number from 0 to 100");
                Percentile::new(*percent)
                    .ok_or_else(|| Fault::in_field(Reason::FieldInvalid, at("percentiles"), message()))
            })
            .collect::<Result<_, _>>()?;
        let at_most =
            selection.at_most.iter().map(|bound| duration(&at("at_most"), bound)).collect::<Result<_, _>>()?;
        let within_ms = selection.within.as_ref().map(|within| duration(&at("within"), within)).transpose()?;
        let short = selection.short_abandon.as_ref();
        let short_ms = short.map(|short| duration(&at("short_abandon"), short)).transpose()?;
        let given = |text: &str| (!text.is_empty()).then(|| text.into());
        let options = Options {
            basis,
            clock,
            percentiles,
            at_most,
            within_ms,
            short_ms: short_ms.unwrap_or(SHORT_ABANDON_MS),
            currency: given(&selection.currency),
            feature: given(&selection.feature),
            histogram: selection.histogram,
            now_ms: now.millis(),
        };
        Ok(Self { metric, basis, formula, options, variant: selection.variant.clone() })
    }
}

/// Amounts of different currencies are never added.
pub(super) fn check_currency(index: usize, asked: &Asked, group_by: &[GroupBy]) -> Result<(), Fault> {
    if !asked.metric.has_currency() {
        return Ok(());
    }
    let name = asked.metric.name;
    let grouped = group_by.contains(&GroupBy::Dimension(Dimension::Currency));
    let is_sum = matches!(asked.formula, Formula::SumInCurrency(_));
    if grouped && !is_sum {
        let message = format!("{name} cannot be grouped by currency: name one in metrics[{index}].currency");
        return Err(Fault::in_field(Reason::NotApplicable, "group_by", message));
    }
    if asked.options.currency.is_none() && !grouped {
        let or = if is_sum { ", or group by currency" } else { "" };
        let field = format!("metrics[{index}].currency");
        let message = format!("{field} is required for {name}, such as EUR{or}");
        return Err(Fault::in_field(Reason::FieldRequired, field, message));
    }
    Ok(())
}
