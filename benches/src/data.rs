//! The data: TPC-H from the product's own generator, and Parquet files of other shapes written here. Everything is
//! made once and kept, under a name that tells its parameters.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tokio::process::Command;

use crate::failure::{Context, Failure, Result};

/// Tables of TPC-H, each a directory of Parquet files.
pub const TPCH_TABLES: [&str; 8] =
    ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

const BATCH_ROWS: usize = 65_536;
const SYMBOLS: [&str; 8] = ["AAPL", "AMZN", "BTCUSDT", "ETHUSDT", "GOOG", "META", "MSFT", "NVDA"];
/// 2026-01-01T00:00:00Z.
const FIRST_MICROSECOND: i64 = 1_767_225_600_000_000;

/// Where generated data is kept.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// A store under `root`, made if it is not there.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).context(|| format!("making {}", root.display()))?;
        Ok(Self { root: root.canonicalize()? })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of TPC-H at `scale`, with one directory of `parts` files for each of `tables`.
    ///
    /// # Errors
    /// The generator cannot be started or fails.
    pub async fn tpch(&self, polarway: &Path, scale: f64, parts: usize, tables: &[&str]) -> Result<PathBuf> {
        let some = if tables == TPCH_TABLES { String::new() } else { format!("-{}", tables.join("-")) };
        let place = self.root.join(format!("tpch-sf{scale}-p{parts}{some}"));
        if place.is_dir() {
            return Ok(place);
        }
        let beside = self.fresh(&place)?;
        let output = Command::new(polarway)
            .args(["tpch", "--scale-factor", &scale.to_string(), "--parts", &parts.to_string(), "--output"])
            .arg(&beside)
            .args(tables.iter().flat_map(|table| ["--table", *table]))
            .stdin(Stdio::null())
            .output()
            .await
            .context(|| format!("starting {}", polarway.display()))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::new(format!("generating TPC-H at scale {scale}: {words}")));
        }
        settle(&beside, &place)
    }

    /// `count` files of `rows` rows each in four columns: an integer, a float, a timestamp and a short string that
    /// repeats.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn wide(&self, count: usize, rows: usize) -> Result<Vec<PathBuf>> {
        let place = self.root.join(format!("wide-{count}x{rows}"));
        if !place.is_dir() {
            let beside = self.fresh(&place)?;
            for index in 0..count {
                write_wide(&wide_path(&beside, index), rows, index as u64)?;
            }
            settle(&beside, &place)?;
        }
        Ok((0..count).map(|index| wide_path(&place, index)).collect())
    }

    /// A Parquet file with one row: `id` and `value`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn one_row(&self) -> Result<PathBuf> {
        let place = self.root.join("one-row");
        if !place.is_dir() {
            let beside = self.fresh(&place)?;
            write_one_row(&beside.join("one.parquet"))?;
            settle(&beside, &place)?;
        }
        Ok(place.join("one.parquet"))
    }

    fn fresh(&self, place: &Path) -> Result<PathBuf> {
        let mut beside = place.as_os_str().to_owned();
        beside.push(".partial");
        let beside = PathBuf::from(beside);
        if beside.exists() {
            fs::remove_dir_all(&beside).context(|| format!("removing {}", beside.display()))?;
        }
        fs::create_dir_all(&beside).context(|| format!("making {}", beside.display()))?;
        Ok(beside)
    }
}

/// Data is whole once its directory has its final name.
fn settle(beside: &Path, place: &Path) -> Result<PathBuf> {
    fs::rename(beside, place).context(|| format!("renaming to {}", place.display()))?;
    Ok(place.to_owned())
}

fn wide_path(directory: &Path, index: usize) -> PathBuf {
    directory.join(format!("file-{index:03}.parquet"))
}

/// Writes a Parquet file with the single row `id = 1, value = 42.0`.
///
/// # Errors
/// The file cannot be written.
pub fn write_one_row(path: &Path) -> Result<()> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("value", DataType::Float64, false),
    ]));
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![1])), Arc::new(Float64Array::from(vec![42.0]))];
    write(path, &Arc::clone(&schema), [RecordBatch::try_new(schema, columns)])
}

/// Writes `rows` rows of the wide shape; equal seeds give equal files.
fn write_wide(path: &Path, rows: usize, seed: u64) -> Result<()> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("price", DataType::Float64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("symbol", DataType::Utf8, false),
    ]));
    let mut random = Random::new(seed);
    let batches = (0..rows).step_by(BATCH_ROWS).map(|first| {
        let ids = first as i64..(first + BATCH_ROWS).min(rows) as i64;
        let draws: Vec<u64> = ids.clone().map(|_| random.draw()).collect();
        let price = |draw: &u64| (draw >> 11) as f64 / (1_u64 << 53) as f64 * 1_000.0;
        let symbol = |draw: &u64| SYMBOLS.get((draw % 8) as usize).copied();
        RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                Arc::new(Int64Array::from_iter_values(ids.clone())),
                Arc::new(Float64Array::from_iter_values(draws.iter().map(price))),
                Arc::new(TimestampMicrosecondArray::from_iter_values(
                    ids.map(|id| FIRST_MICROSECOND + id * 1_000),
                )),
                Arc::new(draws.iter().map(symbol).collect::<StringArray>()),
            ],
        )
    });
    write(path, &schema, batches)
}

fn write(
    path: &Path,
    schema: &Arc<Schema>,
    batches: impl IntoIterator<Item = std::result::Result<RecordBatch, arrow::error::ArrowError>>,
) -> Result<()> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = File::create(path).context(|| format!("making {}", path.display()))?;
    let mut writer = ArrowWriter::try_new(file, Arc::clone(schema), Some(properties))?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(())
}

/// Bytes of all files under `directory`.
///
/// # Errors
/// A directory cannot be read.
pub fn size_of(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory).context(|| format!("reading {}", directory.display()))? {
        let entry = entry?;
        let facts = entry.metadata()?;
        bytes += if facts.is_dir() { size_of(&entry.path())? } else { facts.len() };
    }
    Ok(bytes)
}

/// SplitMix64: enough for column values, and the same on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    #[test]
    fn wide_files_have_their_rows_and_are_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let paths = store.wide(2, 70_000).unwrap();
        let rows = |path: &Path| -> usize {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
            assert_eq!(reader.schema().fields().len(), 4);
            reader.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum()
        };
        assert_eq!(paths.iter().map(|path| rows(path)).collect::<Vec<_>>(), [70_000, 70_000]);
        let written = fs::metadata(&paths[0]).unwrap().modified().unwrap();
        store.wide(2, 70_000).unwrap();
        assert_eq!(fs::metadata(&paths[0]).unwrap().modified().unwrap(), written);
        assert!(size_of(store.root()).unwrap() > 100_000);
    }
}
