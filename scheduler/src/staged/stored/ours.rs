//! The runs that this process has.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// See the module's page. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Ours(Arc<Mutex<HashMap<String, usize>>>);

/// That this process has a run, for as long as this is there: also where whoever began the run is dropped in the middle of
/// it. The same query can be asked again while its last run is being ended, so there may be several of one run.
#[derive(Debug)]
pub struct Having {
    run: String,
    ours: Ours,
}

impl Ours {
    pub fn have(&self, run: &str) -> Having {
        *self.0.lock().entry(run.to_owned()).or_default() += 1;
        Having { run: run.to_owned(), ours: self.clone() }
    }

    pub fn contains(&self, run: &str) -> bool {
        self.0.lock().contains_key(run)
    }
}

impl Drop for Having {
    fn drop(&mut self) {
        let mut ours = self.ours.0.lock();
        if let Some(count) = ours.get_mut(&self.run) {
            *count -= 1;
            if *count == 0 {
                ours.remove(&self.run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_ours_as_long_as_anybody_has_it() {
        let ours = Ours::default();
        let (first, second) = (ours.have("q"), ours.have("q"));
        drop(first);
        assert!(ours.contains("q") && !ours.contains("r"));
        drop(second);
        assert!(!ours.contains("q"));
    }
}
