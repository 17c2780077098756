//! How rows are sorted.

use deskpulse_core::kpi::Figure;
use deskpulse_edge::fault::{Fault, Reason};

use super::Asked;

/// The most keys.
const KEYS: usize = 8;
/// The longest list of keys, in bytes.
const LENGTH: usize = 1_024;

/// What rows are sorted by, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Order(Vec<(Key, bool)>);

/// What a row is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Group,
    Time,
    /// A figure of the metric with this index.
    Figure(usize, What),
}

/// Which figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Value,
    Count,
    Sum,
    Min,
    Max,
    /// The percentile with this index.
    Percentile(usize),
}

impl Order {
    /// Reads a list of keys, such as `sla_breaches desc, first_response_time.p90`.
    pub(super) fn parse(text: &str, metrics: &[Asked]) -> Result<Self, Fault> {
        let refused = |message: String| Fault::in_field(Reason::FieldInvalid, "order_by", message);
        if text.len() > LENGTH {
            let message = format!("order_by has {} bytes, the limit is {LENGTH}", text.len());
            return Err(Fault::in_field(Reason::FieldTooLong, "order_by", message));
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let keys: Vec<(Key, bool)> = text
            .split(',')
            .map(|key| {
                let key = key.trim();
                let (name, descending) = match (key.strip_prefix('-'), key.split_once(char::is_whitespace)) {
                    (Some(name), None) => (name, true),
                    (None, None) => (key, false),
                    (None, Some((name, direction))) if direction.trim() == "desc" => (name, true),
                    (None, Some((name, direction))) if direction.trim() == "asc" => (name, false),
                    _ => {
                        return Err(refused(format!(
                            "order_by cannot be read at {key:?}: a key, then desc or nothing"
                        )));
                    }
                };
                Ok((Key::parse(name, metrics).map_err(refused)?, descending))
            })
            .collect::<Result<_, _>>()?;
        if keys.len() > KEYS {
            return Err(refused(format!("order_by has {} keys, the limit is {KEYS}", keys.len())));
        }
        Ok(Self(keys))
    }

    /// The keys, each with whether the greatest comes first.
    pub(crate) fn keys(&self) -> &[(Key, bool)] {
        &self.0
    }

    /// Whether any key is a figure.
    pub(crate) fn has_figures(&self) -> bool {
        self.0.iter().any(|(key, _)| matches!(key, Key::Figure(..)))
    }
}

impl Key {
    fn parse(name: &str, metrics: &[Asked]) -> Result<Self, String> {
        match name {
            "group" => return Ok(Self::Group),
            "time" => return Ok(Self::Time),
            "value" => return Ok(Self::Figure(0, What::Value)),
            "count" => return Ok(Self::Figure(0, What::Count)),
            _ => {}
        }
        let (metric, what) = name.split_once('.').unwrap_or((name, "value"));
        let known = metrics.iter().enumerate().find(|(_, asked)| asked.metric.name == metric);
        let Some((index, asked)) = known else {
            return Err(format!(
                "order_by cannot be read at {name:?}: sort by value, count, group, time, or a metric asked for, such as \
                 {0} or {0}.count",
                metrics.first().map_or("METRIC", |asked| asked.metric.name)
            ));
        };
        let what = match what {
            "value" => What::Value,
            "count" => What::Count,
            "sum" => What::Sum,
            "min" => What::Min,
            "max" => What::Max,
            _ => {
                let percent = what.strip_prefix('p').and_then(|number| number.parse::<f64>().ok());
                let asked_for = |percent: f64| {
                    asked.options.percentiles.iter().position(|known| known.percent().total_cmp(&percent).is_eq())
                };
                let index = percent.and_then(asked_for).ok_or_else(|| {
                    format!(
                        "order_by cannot be read at {name:?}: after the dot comes value, count, sum, min, max, or p and a \
                         percentile asked for"
                    )
                })?;
                What::Percentile(index)
            }
        };
        Ok(Self::Figure(index, what))
    }
}

impl What {
    /// That number of a figure; `None` when there is none.
    pub(crate) fn of(self, figure: &Figure) -> Option<f64> {
        let extent = figure.extent;
        match self {
            Self::Value => figure.value,
            Self::Count => Some(figure.count as f64),
            Self::Sum => extent.map(|(sum, _, _)| sum as f64),
            Self::Min => extent.map(|(_, min, _)| min as f64),
            Self::Max => extent.map(|(_, _, max)| max as f64),
            Self::Percentile(index) => figure.percentiles.get(index).map(|value| *value as f64),
        }
    }
}
