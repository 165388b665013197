//! Which spans are traced. How they are sent is the telemetry's matter.
//!
//! A statement and what processes do for it are spans of the level `INFO`. Single requests that are made for it (to object
//! stores, to the metadata store, to other executors) are spans of the level `DEBUG` below these: where no traces are sent the
//! log's own level turns them off, and [`is_wanted`] costs one read of a number.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tracing::Span;
use tracing::level_filters::LevelFilter;

/// The target of spans that are traced. Others are the log's alone.
pub const TARGET: &str = "polarway::trace";

/// Spans of single requests that may begin in a second. 2048 spans wait at most until they are sent, for at most 5 s: a query that
/// reads thousands of files leaves room for the spans that tell more.
const MOST_A_SECOND: u64 = 300;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
static RATION: Ration = Ration(AtomicU64::new(0));

/// Whether a request that is about to be made gets a span: it is part of something traced, and there is room. Work in the
/// background is part of nothing.
pub fn is_wanted() -> bool {
    is_traced() && RATION.take(BEGAN.elapsed().as_secs())
}

/// Whether this is called within a traced span, by a process that traces single requests.
pub fn is_traced() -> bool {
    LevelFilter::current() >= LevelFilter::DEBUG
        && Span::current().metadata().is_some_and(|span| span.target() == TARGET)
}

/// The second, in the upper half, and what has been taken of it.
struct Ration(AtomicU64);

impl Ration {
    fn take(&self, second: u64) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let (of, taken) = (seen >> 32, seen & u64::from(u32::MAX));
            let next = match of == second {
                true if taken >= MOST_A_SECOND => return false,
                true => seen + 1,
                false => (second << 32) | 1,
            };
            match self.0.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_48_spans_of_requests_are_rationed_by_the_second() {
        let ration = Ration(AtomicU64::new(0));
        for second in [0, 1, 7] {
            assert!((0..MOST_A_SECOND).all(|_| ration.take(second)));
            assert!(!ration.take(second) && !ration.take(second));
        }
        assert!(ration.take(8));
    }

    #[test]
    fn row_48_what_is_part_of_nothing_has_no_span() {
        assert!(!is_wanted());
    }
}
