//! How soon rows that have been read from a socket are visible, as the server counts it.

use std::net::SocketAddr;

use crate::failure::{Failure, Result};
use crate::scrape;

const BUCKET: &str = "polarway_ingest_arrival_to_visible_seconds_bucket{le=\"";

/// A histogram: upper bounds in seconds with how many lie at or below each, both growing.
#[derive(Debug, Clone, PartialEq)]
pub struct Visible(Vec<(f64, u64)>);

impl Visible {
    /// What the server at this HTTP address has counted so far.
    ///
    /// # Errors
    /// It does not answer, or does not count.
    pub async fn of(http: SocketAddr) -> Result<Self> {
        Self::read(&scrape::metrics(http).await?)
    }

    fn read(text: &str) -> Result<Self> {
        let bucket = |line: &str| {
            let (bound, count) = line.strip_prefix(BUCKET)?.split_once("\"} ")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count.trim().parse().ok()?))
        };
        let buckets: Vec<(f64, u64)> = text.lines().filter_map(bucket).collect();
        if buckets.is_empty() {
            return Err(Failure::new("the server does not count how soon rows are visible"));
        }
        Ok(Self(buckets))
    }

    /// What came after `before`.
    pub fn since(&self, before: &Self) -> Self {
        let counts = self.0.iter().zip(&before.0);
        Self(counts.map(|((bound, now), (_, then))| (*bound, now.saturating_sub(*then))).collect())
    }

    pub fn count(&self) -> u64 {
        self.0.last().map_or(0, |(_, count)| *count)
    }

    /// Milliseconds within which `percent` of them were: the bound of the bucket, so that it is never too small.
    pub fn within_ms(&self, percent: f64) -> Option<f64> {
        let wanted = self.count() as f64 * percent / 100.0;
        let (bound, _) = self.0.iter().find(|(_, count)| *count > 0 && *count as f64 >= wanted)?;
        bound.is_finite().then_some(bound * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(counts: [u64; 3]) -> String {
        let [a, b, c] = counts;
        format!(
            "HTTP/1.0 200 OK\r\n\r\n# TYPE x histogram\n{BUCKET}0.00005\"}} {a}\n{BUCKET}0.001\"}} {b}\n{BUCKET}+Inf\"}} {c}\n"
        )
    }

    #[test]
    fn quantiles_are_bounds_of_what_came_meanwhile() {
        let before = Visible::read(&text([10, 10, 10])).unwrap();
        let all = Visible::read(&text([70, 109, 110])).unwrap().since(&before);
        assert_eq!(all.count(), 100);
        assert_eq!((all.within_ms(50.0), all.within_ms(99.0)), (Some(0.05), Some(1.0)));
        assert_eq!(all.within_ms(100.0), None, "beyond the last bound");
        assert!(Visible::read("HTTP/1.0 404 Not Found\r\n\r\n").is_err());
    }
}
