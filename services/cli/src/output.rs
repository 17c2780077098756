//! Shared rendering: output formats, durations, numbers and tables for people.

use std::fmt::Write as _;

use comfy_table::{LineStyle, Table, TableStyle};

/// How a command prints its answer on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// A table for people.
    #[default]
    Table,
    /// JSON with exact numbers.
    Json,
    /// CSV with exact numbers.
    Csv,
}

/// What stands in a table where there is no value.
pub const ABSENT: &str = "–";

/// An empty table in the house's style: a line under the header, and no other.
#[must_use]
pub fn table() -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')));
    table
}

/// A number of milliseconds for people: `350ms`, `20s`, `2.4s`, `3m 05s`, `1h 05m`, `2d 03h`.
///
/// Rounded to the second unit shown.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "durations stay far below 2^53 milliseconds")]
pub fn duration(milliseconds: f64) -> String {
    let whole = milliseconds.abs().round() as i64;
    let sign = if milliseconds < 0.0 && whole > 0 { "-" } else { "" };
    let rounded_to = |unit: i64| (whole + unit / 2) / unit;
    let body = if whole < 1_000 {
        format!("{whole}ms")
    } else if rounded_to(100) < 600 {
        let tenths = rounded_to(100);
        if tenths % 10 == 0 { format!("{}s", tenths / 10) } else { format!("{}.{}s", tenths / 10, tenths % 10) }
    } else if rounded_to(1_000) < 3_600 {
        let seconds = rounded_to(1_000);
        format!("{}m {:02}s", seconds / 60, seconds % 60)
    } else if rounded_to(60_000) < 1_440 {
        let minutes = rounded_to(60_000);
        format!("{}h {:02}m", minutes / 60, minutes % 60)
    } else {
        let hours = rounded_to(3_600_000);
        format!("{}d {:02}h", hours / 24, hours % 24)
    };
    format!("{sign}{body}")
}

/// A number with thousands separated: `24,918`; up to two decimals where it is not whole.
#[must_use]
pub fn number(value: f64) -> String {
    let text = if (value - value.round()).abs() < 0.005 { format!("{value:.0}") } else { format!("{value:.2}") };
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut grouped = String::from(if whole == "0" && fraction.is_none() { "" } else { sign });
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if let Some(fraction) = fraction {
        let _ = write!(grouped, ".{fraction}");
    }
    grouped
}

/// A share for people: `48.5 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let cases = [
            (0.0, "0ms"),
            (350.0, "350ms"),
            (20_000.0, "20s"),
            (2_449.0, "2.4s"),
            (59_960.0, "1m 00s"),
            (185_000.0, "3m 05s"),
            (3_599_600.0, "1h 00m"),
            (3_900_000.0, "1h 05m"),
            (183_600_000.0, "2d 03h"),
            (-20_000.0, "-20s"),
        ];
        for (milliseconds, text) in cases {
            assert_eq!(duration(milliseconds), text, "{milliseconds}");
        }
    }

    #[test]
    fn numbers_have_their_thousands_separated() {
        for (value, text) in
            [(0.0, "0"), (999.0, "999"), (24_918.0, "24,918"), (-1_234_567.5, "-1,234,567.50"), (-0.001, "0")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!(percent(0.4852), "48.5 %");
    }
}
