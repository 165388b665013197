//! Which way a query goes. A pure decision over facts that the plan tells.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use polarway_common::config::Route;
use polarway_common::{ByteSize, Error, ErrorKind};

/// What the decision rests on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    pub files: usize,
    /// Bytes of the files that the plan reads, after pruning.
    pub bytes: u64,
    /// The first node that cannot be split into stages rightly, by name.
    pub unsplittable: Option<&'static str>,
    /// Whether the plan loses something when it is encoded, so that it must run in the scheduler's own process.
    pub local_only: bool,
    /// Whether it computes more than the catalog and the statement themselves give: without a file, too, a query can
    /// be long.
    pub computes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Answered by the scheduler itself: no file is read.
    Metadata,
    /// One process runs the whole plan.
    Direct,
    /// Stages over the executors.
    Staged,
}

impl Target {
    pub fn name(self) -> &'static str {
        match self {
            Target::Metadata => "metadata",
            Target::Direct => "direct",
            Target::Staged => "staged",
        }
    }
}

/// A target and the reason, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub target: Target,
    pub reason: String,
}

/// # Errors
/// `Unsupported` when the session insists on stages for a plan that cannot be split.
pub fn decide(
    facts: &Facts,
    wanted: Route,
    direct_max_bytes: u64,
    slots: u32,
    local_cores: Option<u32>,
) -> Result<Decision, Error> {
    let decision = |target, reason: String| Ok(Decision { target, reason });
    if let Some(node) = facts.unsplittable {
        if wanted == Route::Staged {
            return Err(Error::new(ErrorKind::Unsupported, format!("{node} cannot be split into stages"))
                .with_hint("SET polarway.route = 'auto' lets one process run it"));
        }
        if facts.files > 0 {
            return decision(Target::Direct, format!("{node} cannot be split into stages"));
        }
    }
    if facts.files == 0 {
        return decision(Target::Metadata, "reads no files".to_owned());
    }
    let size = ByteSize(facts.bytes).approx();
    match wanted {
        Route::Direct => decision(Target::Direct, "polarway.route = 'direct'".to_owned()),
        Route::Staged => decision(Target::Staged, "polarway.route = 'staged'".to_owned()),
        Route::Auto if facts.bytes <= direct_max_bytes => decision(
            Target::Direct,
            format!(
                "reads {size} in {} files, within direct_max_bytes = {}",
                facts.files,
                ByteSize(direct_max_bytes)
            ),
        ),
        Route::Auto if local_cores.is_some_and(|cores| slots <= cores) => decision(
            Target::Direct,
            format!(
                "reads {size} in {} files, and the executors have no more cores than this process",
                facts.files
            ),
        ),
        Route::Auto if slots < 2 => decision(
            Target::Direct,
            format!("reads {size} in {} files, but the executors have {slots} slots", facts.files),
        ),
        Route::Auto => decision(
            Target::Staged,
            format!(
                "reads {size} in {} files, more than direct_max_bytes = {}",
                facts.files,
                ByteSize(direct_max_bytes)
            ),
        ),
    }
}

/// Reads the facts off a physical plan.
pub fn facts(plan: &Arc<dyn ExecutionPlan>) -> Facts {
    let mut facts = Facts::default();
    let mut paths = HashSet::new();
    visit(plan, &mut facts, &mut paths);
    facts.files = paths.len();
    facts
}

/// A large file may be split into ranges for several partitions; it is one file all the same.
fn visit(plan: &Arc<dyn ExecutionPlan>, facts: &mut Facts, paths: &mut HashSet<String>) {
    let name = plan.name();
    facts.computes |= computes(plan);
    if matches!(name, "RecursiveQueryExec" | "WorkTableExec") {
        facts.unsplittable.get_or_insert("a recursive query");
    }
    if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
        if let Some(scan) = source.data_source().downcast_ref::<FileScanConfig>() {
            if scan.file_compression_type != FileCompressionType::UNCOMPRESSED {
                // The encoding of text scans has no place for their compression.
                facts.unsplittable.get_or_insert("a scan of compressed text");
                facts.local_only = true;
            }
            for file in scan.file_groups.iter().flat_map(|group| group.iter()) {
                paths.insert(file.object_meta.location.to_string());
                facts.bytes += match &file.range {
                    Some(range) => u64::try_from(range.end - range.start).unwrap_or_default(),
                    None => file.object_meta.size,
                };
            }
        } else if source.data_source().downcast_ref::<MemorySourceConfig>().is_none() {
            facts.unsplittable.get_or_insert("an unknown data source");
        }
    } else if plan.children().is_empty()
        && plan.downcast_ref::<EmptyExec>().is_none()
        && plan.downcast_ref::<PlaceholderRowExec>().is_none()
        && plan.output_partitioning().partition_count() > 1
    {
        // A leaf that Ballista cannot restrict to one partition would give its rows once a task.
        facts.unsplittable.get_or_insert("an unknown leaf with several partitions");
    }
    for child in plan.children() {
        visit(child, facts, paths);
    }
}

/// Whether the node makes many rows out of few. Leaves that do not: the `information_schema` (the only streaming
/// tables there are), VALUES, and no rows or one.
fn computes(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match (plan.children().len(), plan.name()) {
        (0, name) => {
            let values = plan
                .downcast_ref::<DataSourceExec>()
                .is_some_and(|source| source.data_source().downcast_ref::<MemorySourceConfig>().is_some());
            !values && !matches!(name, "EmptyExec" | "PlaceholderRowExec" | "StreamingTableExec")
        }
        (1, name) => name == "UnnestExec",
        (_, name) => !matches!(name, "UnionExec" | "InterleaveExec"),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    const GIB: u64 = 1 << 30;

    fn target(facts: Facts, wanted: Route, slots: u32) -> Target {
        decide(&facts, wanted, GIB, slots, None).unwrap().target
    }

    #[test]
    fn row_02_small_goes_direct_and_large_staged() {
        let small = Facts { files: 3, bytes: 10, ..Facts::default() };
        let large = Facts { files: 3, bytes: 2 * GIB, ..Facts::default() };
        assert_eq!(target(small, Route::Auto, 8), Target::Direct);
        assert_eq!(target(large, Route::Auto, 8), Target::Staged);
        assert_eq!(target(large, Route::Auto, 1), Target::Direct);
        assert_eq!(target(small, Route::Staged, 8), Target::Staged);
        assert_eq!(target(large, Route::Direct, 8), Target::Direct);
        assert!(decide(&large, Route::Auto, GIB, 8, None).unwrap().reason.contains("2"));
        assert_eq!(decide(&large, Route::Auto, GIB, 8, Some(8)).unwrap().target, Target::Direct);
        assert_eq!(decide(&large, Route::Auto, GIB, 8, Some(2)).unwrap().target, Target::Staged);
    }

    #[test]
    fn row_02_metadata_never_starts_a_job() {
        assert_eq!(target(Facts::default(), Route::Staged, 8), Target::Metadata);
        assert_eq!(target(Facts::default(), Route::Auto, 8), Target::Metadata);
    }

    #[test]
    fn a_plan_that_cannot_be_split_is_not_split() {
        let recursive =
            Facts { files: 1, bytes: 2 * GIB, unsplittable: Some("a recursive query"), ..Facts::default() };
        assert_eq!(target(recursive, Route::Auto, 8), Target::Direct);
        assert_eq!(decide(&recursive, Route::Staged, GIB, 8, None).unwrap_err().kind, ErrorKind::Unsupported);
    }
    #[tokio::test]
    async fn row_08_what_computes_without_files_is_told_from_what_does_not() {
        let config = SessionConfig::new().with_information_schema(true);
        let context = SessionContext::new_with_config(config);
        let computes = async |sql: &str| {
            let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
            let facts = facts(&plan);
            assert_eq!(facts.files, 0);
            facts.computes
        };
        for sql in [
            "SELECT 1",
            "SELECT now(), 'a' || 'b'",
            "VALUES (1), (2)",
            "SELECT 1 UNION ALL SELECT 2",
            "SHOW ALL",
            "SELECT count(*) FROM information_schema.tables WHERE table_name LIKE 'a%'",
            "SELECT 1 WHERE false",
        ] {
            assert!(!computes(sql).await, "{sql}");
        }
        for sql in [
            "SELECT * FROM generate_series(1, 10)",
            "SELECT sum(a.value) FROM range(10) a CROSS JOIN range(10) b",
            "SELECT * FROM (VALUES (1), (2)) a CROSS JOIN (VALUES (1), (2)) b",
            "SELECT unnest(make_array(1, 2))",
            "WITH RECURSIVE n AS (SELECT 1 AS v UNION ALL SELECT v + 1 FROM n WHERE v < 9) SELECT * FROM n",
        ] {
            assert!(computes(sql).await, "{sql}");
        }
    }
}
