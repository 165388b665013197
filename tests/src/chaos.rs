//! Randomness that can be repeated.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The seed of one test, which it prints; `POLARWAY_TEST_SEED` repeats it.
pub fn seed() -> u64 {
    let seed = std::env::var("POLARWAY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("POLARWAY_TEST_SEED={seed}");
    seed
}

/// The chaos of one test.
pub fn seeded() -> StdRng {
    StdRng::seed_from_u64(seed())
}
