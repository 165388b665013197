//! What readers call an output, and what it is stored as.

use ballista_core::serde::scheduler::ShuffleLayout;
use polarway_common::{Attempt, Writer};
use polarway_storage::shuffle::{FileKind, FileName, OutputId};

/// The output that a reader in `job` calls `file_id`; none if the job is no attempt at a query.
pub fn output_id(job: &str, stage: usize, file_id: u64) -> Option<OutputId> {
    let Attempt { run, number } = job.parse().ok()?;
    let writer = Writer::from(file_id);
    let stage = u32::try_from(stage).ok()?;
    Some(OutputId { run, attempt: writer.attempt.unwrap_or(number), stage, task: writer.task })
}

/// What later attempts call the output.
pub fn file_id(id: &OutputId) -> u64 {
    Writer { attempt: Some(id.attempt), task: id.task }.into()
}

/// The file of an output that has `partition`.
pub fn file_name(layout: ShuffleLayout, partition: usize, kind: FileKind) -> Option<FileName> {
    let partition = match layout {
        ShuffleLayout::Sort => None,
        ShuffleLayout::Passthrough => Some(u32::try_from(partition).ok()?),
    };
    Some(FileName { partition, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_keeps_its_name_in_later_attempts() {
        let written = output_id("q-1-a1", 3, 4).unwrap();
        assert_eq!(written, OutputId { run: "q-1".into(), attempt: 1, stage: 3, task: 4 });
        assert_eq!(output_id("q-1-a2", 3, file_id(&written)), Some(written.clone()));
        assert_ne!(output_id("q-1-a2", 3, 4), Some(written));
        assert_eq!(output_id("somebody's-job", 3, 4), None);
    }
}
