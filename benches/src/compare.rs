//! One line of the published table: ours against another, and whether the aim is met.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::ProcessPeak;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Seconds,
    Milliseconds,
    RequestsPerSecond,
    RowsPerSecond,
    /// Written in megabytes of a million bytes.
    Bytes,
}

/// What was promised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// Ours divided by the other's.
    RatioAtMost(f64),
    /// Ours divided by the other's.
    RatioAtLeast(f64),
    /// Ours less the other's, in the figure's unit.
    DifferenceAtMost(f64),
    /// Ours alone, in the figure's unit.
    Below(f64),
    /// Ours alone, in the figure's unit.
    AtLeast(f64),
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub what: String,
    pub unit: Unit,
    pub ours: Option<f64>,
    /// Name of what ours is compared with; empty when an aim stands alone.
    pub against: String,
    pub other: Option<f64>,
    /// Ours divided by the other's.
    pub ratio: Option<f64>,
    pub aim: Option<Aim>,
    /// `None` without an aim, or when the other side could not be measured.
    pub met: Option<bool>,
    pub notes: Vec<String>,
    pub ours_rss: Vec<ProcessPeak>,
    pub other_rss: Vec<ProcessPeak>,
}

impl Comparison {
    /// A line whose ratio is computed and whose aim, if it has one, is judged. `failed` is the number of our
    /// requests that failed: with any, no aim is met.
    pub fn new(
        what: impl Into<String>,
        unit: Unit,
        (ours, other): (Option<f64>, Option<f64>),
        against: impl Into<String>,
        aim: Option<Aim>,
        failed: u64,
    ) -> Self {
        let ratio = ours.zip(other).filter(|(_, other)| *other > 0.0).map(|(ours, other)| ours / other);
        let met = aim.and_then(|aim| judge(aim, ours, other, failed));
        Self {
            what: what.into(),
            unit,
            ours,
            against: against.into(),
            other,
            ratio,
            aim,
            met,
            notes: Vec::new(),
            ours_rss: Vec::new(),
            other_rss: Vec::new(),
        }
    }

    /// The same line with the peaks of both sides' processes.
    #[must_use]
    pub fn with_rss(mut self, ours: Vec<ProcessPeak>, other: Vec<ProcessPeak>) -> Self {
        (self.ours_rss, self.other_rss) = (ours, other);
        self
    }

    /// The same line with remarks that belong beneath it.
    #[must_use]
    pub fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes = notes;
        self
    }
}

fn judge(aim: Aim, ours: Option<f64>, other: Option<f64>, failed: u64) -> Option<bool> {
    let Some(ours) = ours.filter(|_| failed == 0) else { return Some(false) };
    match aim {
        Aim::RatioAtMost(limit) => other.map(|other| ours <= limit * other),
        Aim::RatioAtLeast(limit) => other.map(|other| ours >= limit * other),
        Aim::DifferenceAtMost(limit) => other.map(|other| ours - other <= limit),
        Aim::Below(limit) => Some(ours < limit),
        Aim::AtLeast(limit) => Some(ours >= limit),
    }
}

impl Unit {
    /// `value` with as many digits as its size deserves, and the unit.
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds => format!("{} s", digits(value)),
            Unit::Milliseconds => format!("{} ms", digits(value)),
            Unit::RequestsPerSecond => format!("{} /s", digits(value)),
            Unit::RowsPerSecond => format!("{} M rows/s", digits(value / 1e6)),
            Unit::Bytes => format!("{:.0} MB", value / 1e6),
        }
    }
}

/// Three significant digits, or all of a number's whole ones.
pub fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

impl Aim {
    /// The aim in the table's words, for a figure in `unit`.
    pub fn show(self, unit: Unit) -> String {
        match self {
            Aim::RatioAtMost(limit) => format!("≤ {limit}x"),
            Aim::RatioAtLeast(limit) => format!("≥ {limit}x"),
            Aim::DifferenceAtMost(limit) => format!("≤ {} more", unit.show(limit)),
            Aim::Below(limit) => format!("< {}", unit.show(limit)),
            Aim::AtLeast(limit) => format!("≥ {}", unit.show(limit)),
        }
    }
}

impl fmt::Display for ProcessPeak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, Unit::Bytes.show(self.peak_rss_bytes as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(aim: Aim, ours: Option<f64>, other: Option<f64>, failed: u64) -> Option<bool> {
        Comparison::new("x", Unit::Seconds, (ours, other), "peer", Some(aim), failed).met
    }

    #[test]
    fn each_aim_is_judged_in_its_direction() {
        let at_most = Aim::RatioAtMost(1.05);
        assert_eq!(met(at_most, Some(10.0), Some(10.0), 0), Some(true));
        assert_eq!(met(at_most, Some(10.6), Some(10.0), 0), Some(false));
        let at_least = Aim::RatioAtLeast(1.3);
        assert_eq!(met(at_least, Some(13.1), Some(10.0), 0), Some(true));
        assert_eq!(met(at_least, Some(12.9), Some(10.0), 0), Some(false));
        assert_eq!(met(Aim::DifferenceAtMost(1.0), Some(1.9), Some(1.0), 0), Some(true));
        assert_eq!(met(Aim::DifferenceAtMost(1.0), Some(2.1), Some(1.0), 0), Some(false));
        assert_eq!(met(Aim::Below(5.0), Some(5.0), None, 0), Some(false));
        assert_eq!(met(Aim::Below(5.0), Some(4.9), None, 0), Some(true));
        assert_eq!(met(Aim::AtLeast(5.0), Some(5.0), None, 0), Some(true));
        assert_eq!(met(Aim::AtLeast(5.0), Some(4.9), None, 0), Some(false));
    }

    #[test]
    fn our_failures_miss_the_aim_and_a_missing_peer_leaves_it_open() {
        assert_eq!(met(Aim::RatioAtMost(1.0), Some(1.0), Some(2.0), 1), Some(false));
        assert_eq!(met(Aim::RatioAtMost(1.0), None, Some(2.0), 0), Some(false));
        assert_eq!(met(Aim::RatioAtMost(1.0), Some(1.0), None, 0), None);
    }

    #[test]
    fn the_ratio_needs_both_sides() {
        let line = |ours, other| Comparison::new("x", Unit::Seconds, (ours, other), "peer", None, 0).ratio;
        assert_eq!(line(Some(3.0), Some(2.0)), Some(1.5));
        assert_eq!(line(Some(3.0), None), None);
        assert_eq!(line(Some(3.0), Some(0.0)), None);
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(Unit::Seconds.show(123.4), "123 s");
        assert_eq!(Unit::Milliseconds.show(1.234), "1.23 ms");
        assert_eq!(Unit::RowsPerSecond.show(12_340_000.0), "12.3 M rows/s");
        assert_eq!(Unit::Bytes.show(767_600_000.0), "768 MB");
        assert_eq!(Aim::DifferenceAtMost(1.0).show(Unit::Milliseconds), "≤ 1.00 ms more");
        assert_eq!(Aim::RatioAtLeast(1.3).show(Unit::RequestsPerSecond), "≥ 1.3x");
    }
}
