//! How often, and for how long, a request is repeated.

use std::time::Duration;

/// The budget of one request with all its repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts, the first included.
    pub attempts: u32,
    /// For all attempts and the pauses between them.
    pub total: Duration,
    /// Before the second attempt; doubles for each that follows.
    pub first_pause: Duration,
    pub longest_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 12,
            // The pauses alone take half of it.
            total: Duration::from_secs(60),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
        }
    }
}

impl Retry {
    /// The pause after the attempt of this number (counting from one), or `None` if it was the last. It is somewhere in
    /// the upper half of its step, so that executors that lost the store together do not come back together.
    ///
    /// `chance` is from 0 to 1.
    pub fn pause_after(&self, attempt: u32, chance: f64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let step = self.first_pause.saturating_mul(factor).min(self.longest_pause);
        Some(step.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end() {
        let retry = Retry {
            attempts: 5,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_millis(300),
            ..Retry::default()
        };
        let pauses: Vec<_> = (1..=5).map(|attempt| retry.pause_after(attempt, 1.0)).collect();
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(pauses, [millis(100), millis(200), millis(300), millis(300), None]);
        assert_eq!(retry.pause_after(1, 0.0), millis(50));
    }
}
