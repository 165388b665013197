//! Numbers as people read them.

use chrono::DateTime;

const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];

/// `1.4 MiB`.
pub fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// `1 234 567`, with thin spaces that do not break.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `850 ms`, `4.2 s`, `3 min 5 s`, `2 h 4 min`, `3 d 2 h`.
pub fn millis(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{:.1} s", (millis / 100) as f64 / 10.0),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Rows a second.
pub fn rate(rows: u64, within_ms: u64) -> String {
    let rate = rows as f64 * 1000.0 / within_ms.max(1) as f64;
    if rate > 0.0 && rate < 9.95 { format!("{rate:.1}") } else { count(rate.round() as u64) }
}

/// A moment, as `datetime` has it and as it is shown; UTC.
pub fn moment(unix_ms: u64) -> (String, String) {
    let time = i64::try_from(unix_ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default();
    (time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(), time.format("%m-%d %H:%M:%S").to_string())
}

/// The first words of a statement on one line.
pub fn one_line(text: &str, characters: usize) -> String {
    let mut line = String::new();
    let mut taken = 0;
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
            taken += 1;
        }
        for character in word.chars() {
            if taken >= characters {
                line.push('…');
                return line;
            }
            line.push(character);
            taken += 1;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_49_numbers_have_units_that_fit() {
        let sizes = [0, 1023, 1024, 10 << 10, (1 << 20) - 1, 5 << 30, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "10 KiB", "1.0 MiB", "5.0 GiB", "16384 PiB"]);
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]
        );
        let times = [0, 850, 1_999, 59_999, 60_000, 7_440_000, 266_400_000].map(millis);
        assert_eq!(times, ["0 ms", "850 ms", "1.9 s", "59.9 s", "1 min 0 s", "2 h 4 min", "3 d 2 h"]);
        assert_eq!([rate(0, 0), rate(5, 10_000), rate(123_456, 10_000)], ["0", "0.5", "12\u{202f}346"]);
        assert_eq!(moment(1_796_000_000_123).0, "2026-11-30T00:53:20.123Z");
        assert_eq!(one_line("select\n  1,\t2", 40), "select 1, 2");
        assert_eq!(one_line("select 12345", 9), "select 12…");
    }
}
