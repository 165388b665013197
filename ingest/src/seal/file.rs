//! Files of sealed rows, as bytes.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use polarway_storage::streams::EventRange;
use thiserror::Error;

use super::split::{Layout, Share, Split};

/// Why rows cannot be made into files.
#[derive(Debug, Error)]
pub enum SealError {
    #[error("rows cannot be sorted: {0}")]
    Sort(#[from] arrow::error::ArrowError),
    #[error("rows cannot be written as Parquet: {0}")]
    Write(#[from] ParquetError),
}

/// How files are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOptions {
    pub layout: Layout,
    /// Rows of a row group; a scan reads or skips a group as a whole.
    pub group_rows: usize,
}

/// A file that is ready to be put where sealed rows are.
#[derive(Debug, Clone, PartialEq)]
pub struct SealedFile {
    /// Below the directory of data: empty, or `day=2026-11-25/symbol=BTC`.
    pub directory: String,
    pub rows: u64,
    pub events: Option<EventRange>,
    pub content: Bytes,
}

/// The files of the rows in `batches`. Takes processor time in proportion to them, and memory for the files and what
/// decides on the order.
pub fn seal(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    options: &FileOptions,
) -> Result<Vec<SealedFile>, SealError> {
    let split = options.layout.split(schema, batches)?;
    let sizes = batches.iter().flat_map(|batch| batch.columns());
    let bytes = sizes.map(|column| column.to_data().get_slice_memory_size()).sum::<Result<usize, _>>()?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let shares = split.shares.iter();
    shares
        .map(|share| write(schema, &split, share, bytes / rows.max(1) * share.rows.len(), options))
        .collect()
}

fn write(
    schema: &SchemaRef,
    split: &Split<'_>,
    share: &Share,
    bytes: usize,
    options: &FileOptions,
) -> Result<SealedFile, SealError> {
    let properties = properties(schema, options)?;
    // Room that is not used costs nothing; growing would copy, and hold both for a while.
    let mut content = Vec::with_capacity(bytes);
    let mut writer = ArrowWriter::try_new(&mut content, schema.clone(), Some(properties))?;
    for rows in split.rows(share) {
        writer.write(&rows?)?;
    }
    writer.close()?;
    Ok(SealedFile {
        directory: share.directory.clone(),
        rows: share.rows.len() as u64,
        events: share.events,
        content: content.into(),
    })
}

/// Times and large integers mostly grow by little from row to row and repeat seldom: their differences take less room than
/// a dictionary, which would be given up after a while, and less time.
fn properties(schema: &SchemaRef, options: &FileOptions) -> Result<WriterProperties, SealError> {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(options.group_rows));
    for field in schema.fields() {
        let column = || ColumnPath::new(vec![field.name().clone()]);
        match field.data_type() {
            DataType::Int64 | DataType::UInt64 | DataType::Timestamp(..) => {
                builder = builder
                    .set_column_dictionary_enabled(column(), false)
                    .set_column_encoding(column(), Encoding::DELTA_BINARY_PACKED);
            }
            _ => {}
        }
    }
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use arrow::compute::concat_batches;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::hot::samples::{rows, schema};

    #[test]
    fn a_file_holds_its_rows_in_groups_with_statistics() {
        let batches = [rows(0, 1500), rows(1500, 700)];
        let options = FileOptions { layout: Layout::default(), group_rows: 1000 };
        let files = seal(&schema(), &batches, &options).unwrap();
        let [file] = files.as_slice() else { panic!("{} files", files.len()) };
        assert_eq!((file.rows, file.directory.as_str()), (2200, ""));
        let reader = ParquetRecordBatchReaderBuilder::try_new(file.content.clone()).unwrap();
        assert_eq!(reader.schema().fields(), schema().fields());
        assert_eq!(reader.metadata().num_row_groups(), 3);
        assert!(reader.metadata().row_group(1).column(0).statistics().is_some());
        let read: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        assert_eq!(concat_batches(&schema(), &read).unwrap(), rows(0, 2200));
    }
}
