//! How long to wait before the next attempt.

use std::fmt::Debug;
use std::time::Duration;

/// Where chance comes from.
pub trait Jitter: Debug + Send {
    /// From 0 up to 1.
    fn fraction(&mut self) -> f64;
}

/// The system's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomJitter;

impl Jitter for RandomJitter {
    fn fraction(&mut self) -> f64 {
        rand::random()
    }
}

/// Delays that double up to a limit. Each is somewhere in the upper half of its step, so that clients that lost a
/// server together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    healthy_after: Duration,
    failures: u32,
}

impl Backoff {
    #[must_use]
    pub fn new(min: Duration, max: Duration, healthy_after: Duration) -> Self {
        Self { min, max, healthy_after, failures: 0 }
    }

    /// Tells how long a connection has lived. Only one that was healthy makes the delays begin anew: a server that
    /// accepts and hangs up at once is not to be hammered.
    pub fn lived(&mut self, time: Duration) {
        if time >= self.healthy_after {
            self.failures = 0;
        }
    }

    /// The delay before the next attempt; the one after it is longer.
    pub fn next(&mut self, jitter: &mut dyn Jitter) -> Duration {
        let doubled =
            1_u32.checked_shl(self.failures).map_or(self.max, |factor| self.min.saturating_mul(factor));
        let step = doubled.min(self.max);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(0.5 + 0.5 * jitter.fraction().clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct Fixed(f64);

    impl Jitter for Fixed {
        fn fraction(&mut self) -> f64 {
            self.0
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delays_double_to_the_limit() {
        let mut backoff = Backoff::new(SECOND, 10 * SECOND, 5 * SECOND);
        let delays: Vec<_> = (0..6).map(|_| backoff.next(&mut Fixed(1.0)).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
        backoff.lived(4 * SECOND);
        assert_eq!(backoff.next(&mut Fixed(0.0)), 5 * SECOND, "it has not lived long enough");
        backoff.lived(5 * SECOND);
        assert_eq!(backoff.next(&mut Fixed(0.0)), SECOND / 2);
    }

    #[test]
    fn the_system_gives_different_fractions() {
        let fractions: Vec<f64> = (0..32).map(|_| RandomJitter.fraction()).collect();
        assert!(fractions.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        assert!(fractions.iter().any(|fraction| (fraction - fractions[0]).abs() > 1e-6));
    }

    proptest! {
        #[test]
        fn delays_are_capped_jittered_and_reset_by_health_alone(
            min in 1_u64..10_000,
            more in 0_u64..1_000_000,
            healthy in 0_u64..100_000,
            lives in prop::collection::vec((0_u64..200_000, 0.0_f64..1.0), 1..200),
        ) {
            let millis = Duration::from_millis;
            let (min, max) = (millis(min), millis(min + more));
            let mut backoff = Backoff::new(min, max, millis(healthy));
            let mut failures = 0_i32;
            for (life, fraction) in lives {
                backoff.lived(millis(life));
                if life >= healthy {
                    failures = 0;
                }
                let step = (min.as_secs_f64() * 2_f64.powi(failures)).min(max.as_secs_f64());
                let delay = backoff.next(&mut Fixed(fraction));
                failures += 1;
                prop_assert!(delay <= max);
                let seconds = delay.as_secs_f64();
                prop_assert!(seconds >= step * 0.5 - 1e-6 && seconds <= step + 1e-6, "{seconds} of {step}");
                prop_assert!((seconds - step * (0.5 + 0.5 * fraction)).abs() < 1e-6);
            }
        }
    }
}
