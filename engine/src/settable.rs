//! Which options a session may set: those that have an effect here, within bounds that the server can bear. The rest is
//! refused, so that `SET` never says yes to what then does nothing.

use std::ops::RangeInclusive;
use std::time::Duration;

use ballista_core::config::BallistaConfig;
use datafusion::prelude::SessionConfig;
use polarway_common::{Error, ErrorKind};

use crate::settings::{NAMESPACE, QuerySettings, TARGET_PARTITIONS, TRACE, USER, set};

/// The SQL dialect that a session's queries are read in.
pub const DIALECT: &str = "datafusion.sql_parser.dialect";
/// How deep a session's statements may nest.
pub const RECURSION_LIMIT: &str = "datafusion.sql_parser.recursion_limit";

const STALL_TIMEOUT: &str = "polarway.stall_timeout";
/// How often a job is looked at; less would give up what has had no time to move.
const LEAST_STALL: Duration = Duration::from_secs(1);

/// Bytes of one value; sessions keep their values for a day.
const MAX_VALUE: usize = 4096;

const FIXED: &str = "is fixed by the server's configuration";
const NO_WRITES: &str = "is about writing files, which is not offered";
const NO_ADAPTIVE: &str = "has no effect: queries are split into stages before they run";

/// Options without an effect, by how their names begin, and why.
static REFUSED: [(&str, &str); 36] = [
    (TRACE, "is told by the server, and by the header `traceparent`"),
    (USER, "is told by the server: it is who sends the statement"),
    (NAMESPACE, "is told by the server: it is the one of who sends the statement"),
    ("datafusion.runtime.", FIXED),
    ("datafusion.catalog.", FIXED),
    ("datafusion.explain.", "has no effect: EXPLAIN always shows the same rows"),
    ("datafusion.format.", "has no effect: results travel as Arrow, and the client formats them"),
    ("datafusion.spark.", "has no effect: Spark's functions are not offered"),
    ("datafusion.sql_parser.enable_options_value_normalization", "has no effect any more"),
    ("datafusion.execution.minimum_parallel_output_files", NO_WRITES),
    ("datafusion.execution.soft_max_rows_per_output_file", NO_WRITES),
    ("datafusion.execution.max_buffered_batches_per_output_file", NO_WRITES),
    ("datafusion.execution.keep_partition_by_columns", NO_WRITES),
    ("datafusion.execution.objectstore_writer_buffer_size", NO_WRITES),
    (
        "datafusion.execution.listing_table_factory_infer_partitions",
        "has no effect: partitions are inferred unless PARTITIONED BY names them",
    ),
    ("datafusion.execution.parquet.data_pagesize_limit", NO_WRITES),
    ("datafusion.execution.parquet.write_batch_size", NO_WRITES),
    ("datafusion.execution.parquet.writer_version", NO_WRITES),
    ("datafusion.execution.parquet.skip_arrow_metadata", NO_WRITES),
    ("datafusion.execution.parquet.compression", NO_WRITES),
    ("datafusion.execution.parquet.dictionary_", NO_WRITES),
    ("datafusion.execution.parquet.statistics_", NO_WRITES),
    ("datafusion.execution.parquet.max_row_group_", NO_WRITES),
    ("datafusion.execution.parquet.created_by", NO_WRITES),
    ("datafusion.execution.parquet.column_index_truncate_length", NO_WRITES),
    ("datafusion.execution.parquet.data_page_row_count_limit", NO_WRITES),
    ("datafusion.execution.parquet.encoding", NO_WRITES),
    ("datafusion.execution.parquet.bloom_filter_on_write", NO_WRITES),
    ("datafusion.execution.parquet.bloom_filter_fpp", NO_WRITES),
    ("datafusion.execution.parquet.bloom_filter_ndv", NO_WRITES),
    ("datafusion.execution.parquet.allow_single_file_parallelism", NO_WRITES),
    ("datafusion.execution.parquet.maximum_", NO_WRITES),
    ("datafusion.execution.parquet.content_defined_chunking", NO_WRITES),
    ("ballista.planner.", NO_ADAPTIVE),
    ("ballista.optimizer.stage_build_side", NO_ADAPTIVE),
    ("ballista.optimizer.hash_join_max_build_partition_bytes", NO_ADAPTIVE),
];

/// Numbers that work. Ballista takes any text and stops at what it cannot read.
static NUMBERS: [(&str, RangeInclusive<usize>); 14] = [
    ("polarway.max_attempts", 1..=100),
    ("polarway.result_parallelism", 1..=256),
    (TARGET_PARTITIONS, 0..=4096),
    ("datafusion.execution.batch_size", 1..=1 << 20),
    ("datafusion.execution.planning_concurrency", 0..=1024),
    ("ballista.shuffle.max_concurrent_read_requests", 1..=1024),
    ("ballista.shuffle.reader.max_bytes_in_flight", 1..=1 << 40),
    ("ballista.shuffle.reader.max_blocks_in_flight_per_address", 1..=1 << 20),
    ("ballista.shuffle.reader.default_block_size_bytes", 1..=1 << 40),
    ("ballista.shuffle.sort_based.batch_size", 1..=1 << 20),
    ("ballista.shuffle.sort_based.memory_limit_per_task_bytes", 0..=1 << 40),
    ("ballista.shuffle.writer_channel_capacity", 1..=1024),
    ("ballista.optimizer.broadcast_join_threshold_bytes", 0..=1 << 40),
    ("ballista.scheduler.max_partitions_per_task", 0..=1 << 20),
];

/// What else of Ballista's options reaches a staged query, with the values that work.
static CHOICES: [(&str, &[&str]); 4] = [
    ("ballista.shuffle.compression.codec", &["none", "lz4", "zstd"]),
    ("ballista.shuffle.force_remote_read", &["true", "false"]),
    ("ballista.shuffle.remote_read_prefer_flight", &["true", "false"]),
    ("ballista.optimizer.not_in_subquery_rewrite", &["true", "false"]),
];

/// Checks one `SET name = value` for sessions that start from `base`.
///
/// # Errors
/// `InvalidSetting`: there is no such option, it has no effect, or the value does not fit.
pub fn check(name: &str, value: &str, base: &SessionConfig) -> Result<(), Error> {
    if value.len() > MAX_VALUE {
        return Err(refused(format!("the value of `{name}` is longer than {MAX_VALUE} bytes")));
    }
    may_be_set(name)?;
    if let Some((_, range)) = NUMBERS.iter().find(|(number, _)| *number == name) {
        in_range(name, value, range)?;
    }
    if let Some((_, choices)) = CHOICES.iter().find(|(choice, _)| *choice == name)
        && !choices.contains(&value)
    {
        return Err(refused(format!("`{name}` cannot be `{value}`"))
            .with_hint(format!("use one of {}", choices.join(", "))));
    }
    if name == RECURSION_LIMIT {
        // A deeper limit would be a way to use up the threads' stacks.
        in_range(name, value, &(1..=base.options().sql_parser.recursion_limit.get()))?;
    }
    let mut config = base.clone();
    set(config.options_mut(), name, value)?;
    let query = QuerySettings::of(&config)?;
    if name == STALL_TIMEOUT && query.stall_timeout.is_some_and(|limit| limit < LEAST_STALL) {
        return Err(refused(format!("`{name}` cannot be `{value}`: one second is the least")));
    }
    Ok(())
}

/// # Errors
/// `InvalidSetting` with the reason, when the option has no effect here.
pub fn may_be_set(name: &str) -> Result<(), Error> {
    if let Some((_, why)) = REFUSED.iter().find(|(start, _)| name.starts_with(start)) {
        let error = refused(format!("`{name}` {why}"));
        return Err(if *why == FIXED {
            error.with_hint("an operator sets it in polarway.toml")
        } else {
            error
        });
    }
    let settable = NUMBERS.iter().any(|(number, _)| *number == name)
        || CHOICES.iter().any(|(choice, _)| *choice == name);
    if BallistaConfig::valid_entries().contains_key(name) && !settable {
        return Err(refused(format!("`{name}` is the server's own business")));
    }
    Ok(())
}

fn in_range(name: &str, value: &str, range: &RangeInclusive<usize>) -> Result<(), Error> {
    // Empty means as the server is configured, for the options that know such a thing.
    if value.is_empty() && name.starts_with("polarway.") {
        return Ok(());
    }
    match value.trim().parse::<usize>() {
        Ok(number) if range.contains(&number) => Ok(()),
        _ => Err(refused(format!("`{name}` cannot be `{value}`")).with_hint(format!(
            "write a whole number from {} to {}",
            range.start(),
            range.end()
        ))),
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::InvalidSetting, message)
}

#[cfg(test)]
mod tests {
    use polarway_common::config::QueryConfig;

    use super::*;
    use crate::settings::{Settings, apply, base_config};

    fn base() -> SessionConfig {
        base_config(&QueryConfig::default())
    }

    fn refusal(name: &str, value: &str) -> Error {
        let error = check(name, value, &base()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidSetting, "{error}");
        error
    }

    #[test]
    fn every_option_is_set_or_refused_with_a_reason() {
        let base = base();
        let (mut set, mut not) = (0, 0);
        for entry in base.options().entries() {
            let Some(value) = entry.value.clone() else { continue };
            if let Err(error) = check(&entry.key, &value, &base) {
                assert_eq!(error.kind, ErrorKind::InvalidSetting, "{error}");
                // What it is already is no wrong value: the option itself is refused.
                assert!(may_be_set(&entry.key).is_err(), "{}: {error}", entry.key);
                not += 1;
                continue;
            }
            let settings = Settings::from([(entry.key.clone(), value.clone())]);
            let entries = apply(base.clone(), &settings).unwrap().options().entries();
            let after = entries.into_iter().find(|after| after.key == entry.key).unwrap();
            assert_eq!(after.value, Some(value), "{}", entry.key);
            set += 1;
        }
        assert!(set > 80 && not > 50, "{set} can be set, {not} cannot");
    }

    #[test]
    fn every_rule_is_about_an_option_that_exists() {
        let known: Vec<String> = base().options().entries().into_iter().map(|entry| entry.key).collect();
        // The runtime's options are not among a session's.
        for (start, _) in REFUSED.iter().filter(|(start, _)| *start != "datafusion.runtime.") {
            assert!(known.iter().any(|key| key.starts_with(start)), "{start}");
        }
        let exact = NUMBERS.iter().map(|(name, _)| *name).chain(CHOICES.iter().map(|(name, _)| *name));
        for name in exact.chain([DIALECT, RECURSION_LIMIT]) {
            assert!(known.iter().any(|key| key == name), "{name}");
        }
    }

    #[test]
    fn a_wrong_name_suggests_and_a_wrong_value_says_why() {
        assert!(refusal("polarway.rout", "staged").hint.unwrap().contains("polarway.route"));
        refusal("polarway.route", "sideways");
        refusal("polarway.timeout", "soon");
        refusal("datafusion.execution.batch_size", "many");
        refusal("datafusion.runtime.memory_limit", "1G");
        refusal("polarway.results", "elsewhere");
        refusal("polarway.max_attempts", "0");
        refusal("polarway.result_parallelism", "1000000");
        refusal("polarway.stall_timeout", "1ms");
        refusal(DIALECT, "klingon");
        refusal(RECURSION_LIMIT, "100000");
        refusal("ballista.shuffle.compression.codec", "gzip");
        refusal("ballista.shuffle.sort_based.batch_size", "many");
        refusal("ballista.testing.chaos_execution.enabled", "true");
        refusal("ballista.planner.adaptive.enabled", "true");
        refusal("ballista.shuffle.no_such_thing", "1");
        refusal("datafusion.execution.parquet.created_by", "me");
        refusal("datafusion.execution.time_zone", &"x".repeat(MAX_VALUE + 1));
        for (name, value) in [
            ("datafusion.execution.batch_size", "10"),
            (TARGET_PARTITIONS, "1"),
            (DIALECT, "postgres"),
            (RECURSION_LIMIT, "20"),
            ("polarway.results", "direct"),
            ("polarway.max_attempts", ""),
            ("polarway.executor_wait", "0s"),
            ("polarway.stall_timeout", "5s"),
            ("ballista.shuffle.compression.codec", "none"),
            ("ballista.optimizer.broadcast_join_threshold_bytes", "0"),
        ] {
            check(name, value, &base()).unwrap();
        }
    }
}
