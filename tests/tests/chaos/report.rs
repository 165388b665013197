//! What is left of a run, as a part of a document.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::events::Event;
use crate::ledger::Ledger;
use crate::load::Outcome;

pub struct Report {
    pub seed: u64,
    pub minutes: f64,
    pub took: Duration,
    pub events: BTreeMap<Event, usize>,
    pub outcome: Outcome,
    pub ledger: Ledger,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { right, again, failed, wrong, longest, gap } = &self.outcome;
        let requests = self.outcome.requests();
        writeln!(f, "| what | |\n|---|---|")?;
        writeln!(f, "| seed, minutes | {}, {} |", self.seed, self.minutes)?;
        writeln!(f, "| requests | {requests} |")?;
        writeln!(f, "| right answers | {right} ({:.3} %) |", self.outcome.right_share() * 100.0)?;
        writeln!(f, "| of them after the client asked again | {again} |")?;
        writeln!(f, "| errors that were left | {failed:?} |")?;
        writeln!(f, "| wrong answers | {} |", wrong.len())?;
        writeln!(f, "| longest request | {:.1} s |", longest.as_secs_f64())?;
        writeln!(f, "| longest time without any answer | {:.1} s |", gap.as_secs_f64())?;
        let Ledger { computed, stored, taken_over, again } = &self.ledger;
        writeln!(
            f,
            "| tasks computed, outputs stored, tasks taken over | {computed}, {stored}, {taken_over} |"
        )?;
        writeln!(f, "| stored tasks that ran again | {} |", again.len())?;
        for (event, count) in &self.events {
            writeln!(f, "| {event:?} | {count} |")?;
        }
        writeln!(f, "| until everything had settled | {:.0} s |", self.took.as_secs_f64())
    }
}
