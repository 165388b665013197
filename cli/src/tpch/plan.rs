//! Which files hold which part of which table.

use std::path::{Path, PathBuf};

use super::table::Table;

/// Rows of a file when the number of files is not given: enough files for every core, none too small to scan well.
const ROWS_A_FILE: u64 = 2_000_000;
/// A file with fewer rows is not worth opening, so smaller tables get fewer files than asked for.
const MIN_ROWS_A_FILE: u64 = 10_000;
const MAX_FILES: u64 = 4096;

/// The data to make.
#[derive(Debug, Clone)]
pub struct Plan {
    pub scale_factor: f64,
    /// Directory that gets one directory a table.
    pub output: PathBuf,
    /// Files of a large table.
    pub parts: Option<u16>,
    pub tables: Vec<Table>,
}

/// One file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    pub table: Table,
    /// Counted from one.
    pub part: u16,
    pub parts: u16,
    pub path: PathBuf,
}

impl Plan {
    /// Every file, those of the largest table first, so that the last to be finished are small.
    pub fn files(&self) -> Vec<DataFile> {
        let tables =
            Table::ALL.into_iter().filter(|table| self.tables.is_empty() || self.tables.contains(table));
        tables.flat_map(|table| self.files_of(table)).collect()
    }

    fn files_of(&self, table: Table) -> impl Iterator<Item = DataFile> {
        let parts = file_count(table.rows(self.scale_factor), self.parts);
        let directory = self.directory(table);
        (1..=parts).map(move |part| DataFile {
            table,
            part,
            parts,
            path: directory.join(format!("part-{}.parquet", part - 1)),
        })
    }

    pub fn directory(&self, table: Table) -> PathBuf {
        table_directory(&self.output, table)
    }

    /// About how many rows there will be in all.
    pub fn rows(&self) -> u64 {
        let mut tables: Vec<_> = self.files().into_iter().map(|file| file.table).collect();
        tables.dedup();
        tables.into_iter().map(|table| table.rows(self.scale_factor)).sum()
    }
}

/// Where a table's files are below the output directory.
pub fn table_directory(output: &Path, table: Table) -> PathBuf {
    output.join(table.name())
}

fn file_count(rows: u64, asked: Option<u16>) -> u16 {
    let wanted = asked.map_or_else(|| rows.div_ceil(ROWS_A_FILE), u64::from);
    let sensible = (rows / MIN_ROWS_A_FILE).max(1);
    u16::try_from(wanted.min(sensible).clamp(1, MAX_FILES)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(scale_factor: f64, parts: Option<u16>, tables: Vec<Table>) -> Plan {
        Plan { scale_factor, output: "data".into(), parts, tables }
    }

    fn count(plan: &Plan, table: Table) -> usize {
        plan.files().iter().filter(|file| file.table == table).count()
    }

    #[test]
    fn large_tables_are_split_and_small_ones_are_not() {
        let plan = plan(1.0, None, vec![]);
        assert_eq!(count(&plan, Table::Lineitem), 3);
        assert_eq!(count(&plan, Table::Orders), 1);
        assert_eq!(count(&plan, Table::Region), 1);
    }

    #[test]
    fn the_number_of_files_can_be_chosen_for_tables_that_are_large_enough() {
        let plan = plan(0.1, Some(8), vec![]);
        assert_eq!(count(&plan, Table::Lineitem), 8);
        assert_eq!(count(&plan, Table::Orders), 8);
        assert_eq!(count(&plan, Table::Part), 2);
        assert_eq!(count(&plan, Table::Nation), 1);
    }

    #[test]
    fn files_are_numbered_from_zero_in_their_tables_directory() {
        let plan = plan(1.0, Some(2), vec![Table::Orders]);
        let paths: Vec<_> = plan.files().into_iter().map(|file| file.path).collect();
        assert_eq!(paths, [Path::new("data/orders/part-0.parquet"), Path::new("data/orders/part-1.parquet")]);
        assert_eq!(plan.rows(), 1_500_000);
    }
}
