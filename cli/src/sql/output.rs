//! Where results go: standard output or a file.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use tempfile::NamedTempFile;
use thiserror::Error;

use super::format::{Format, TextWriter};

/// Bytes that a Parquet writer may hold back before it closes a row group.
const ROW_GROUP_BYTES: usize = 128 << 20;

#[derive(Debug, Error)]
pub enum OutputError {
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
    #[error("cannot write {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot write this result in this format: {0}")]
    Format(#[from] ArrowError),
    #[error("cannot write Parquet: {0}")]
    Parquet(#[from] ParquetError),
    #[error("parquet is written to files only; name one with -o FILE (or \\o FILE)")]
    ParquetNeedsFile,
    #[error("{} holds a result already and a Parquet file holds one; name another with \\o FILE", .0.display())]
    ParquetHoldsOne(PathBuf),
}

impl OutputError {
    /// Whether the reader of standard output has gone, which ends the shell without a complaint.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, OutputError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Takes results one after the other. A file is created by the first of them.
pub struct Output {
    pub format: Format,
    file: Option<Target>,
}

pub struct Target {
    path: PathBuf,
    state: TargetState,
}

enum TargetState {
    Absent,
    Text(File),
    Parquet,
}

/// Takes the batches of one result.
pub enum ResultWriter<'a> {
    Text {
        text: TextWriter,
        to: Box<dyn Write + 'a>,
    },
    /// Written beside its target and renamed at the end, so that no half file is ever taken for a result.
    Parquet {
        writer: Box<ArrowWriter<NamedTempFile>>,
        target: &'a mut Target,
    },
}

impl Output {
    pub fn new(format: Format, file: Option<PathBuf>) -> Self {
        let mut output = Self { format, file: None };
        output.redirect(file);
        output
    }

    /// Sends later results to `file`, or to standard output.
    pub fn redirect(&mut self, file: Option<PathBuf>) {
        self.file = file.map(|path| Target { path, state: TargetState::Absent });
    }

    pub fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Begins a result.
    pub fn begin(&mut self, schema: &SchemaRef) -> Result<ResultWriter<'_>, OutputError> {
        match (TextWriter::new(self.format, schema), &mut self.file) {
            (Some(text), None) => Ok(ResultWriter::Text { text, to: Box::new(io::stdout().lock()) }),
            (Some(text), Some(target)) => Ok(ResultWriter::Text { text, to: Box::new(target.text()?) }),
            (None, None) => Err(OutputError::ParquetNeedsFile),
            (None, Some(target)) => target.parquet(schema),
        }
    }
}

impl Target {
    fn text(&mut self) -> Result<&mut File, OutputError> {
        if matches!(self.state, TargetState::Absent) {
            self.state = TargetState::Text(create(&self.path)?);
        }
        match &mut self.state {
            TargetState::Text(file) => Ok(file),
            TargetState::Absent | TargetState::Parquet => {
                Err(OutputError::ParquetHoldsOne(self.path.clone()))
            }
        }
    }

    fn parquet(&mut self, schema: &SchemaRef) -> Result<ResultWriter<'_>, OutputError> {
        if !matches!(self.state, TargetState::Absent) {
            return Err(OutputError::ParquetHoldsOne(self.path.clone()));
        }
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .build();
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory.unwrap_or(Path::new(".")))
            .map_err(|source| OutputError::File { path: self.path.clone(), source })?;
        let writer = ArrowWriter::try_new(file, Arc::clone(schema), Some(properties))?;
        Ok(ResultWriter::Parquet { writer: Box::new(writer), target: self })
    }
}

impl ResultWriter<'_> {
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<(), OutputError> {
        match self {
            ResultWriter::Text { text, to } => text.rows(batch, |piece| Ok(to.write_all(piece)?)),
            ResultWriter::Parquet { writer, .. } => Ok(writer.write(batch)?),
        }
    }

    /// Ends the result; without it there is no Parquet file.
    pub fn finish(self) -> Result<(), OutputError> {
        match self {
            ResultWriter::Text { mut text, mut to } => {
                to.write_all(&text.finish()?)?;
                Ok(to.flush()?)
            }
            ResultWriter::Parquet { writer, target } => {
                let renamed = writer.into_inner()?.persist(&target.path);
                renamed
                    .map_err(|error| OutputError::File { path: target.path.clone(), source: error.error })?;
                target.state = TargetState::Parquet;
                Ok(())
            }
        }
    }
}

fn create(path: &Path) -> Result<File, OutputError> {
    File::create(path).map_err(|source| OutputError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn batch() -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    fn write(output: &mut Output) -> Result<(), OutputError> {
        let mut writer = output.begin(&batch().schema())?;
        writer.batch(&batch())?;
        writer.finish()
    }

    #[test]
    fn results_in_a_text_file_follow_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.csv");
        let mut output = Output::new(Format::Csv, Some(path.clone()));
        assert!(!path.exists(), "nothing is overwritten before there is a result");
        write(&mut output).unwrap();
        write(&mut output).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "n\n1\n2\nn\n1\n2\n");
    }

    #[test]
    fn a_parquet_file_holds_one_result() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.parquet");
        let mut output = Output::new(Format::Parquet, Some(path.clone()));
        write(&mut output).unwrap();
        for format in [Format::Parquet, Format::Csv] {
            output.format = format;
            assert!(matches!(write(&mut output), Err(OutputError::ParquetHoldsOne(_))));
        }
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        let batches: Vec<_> = reader.build().unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(batches, [batch()]);
    }

    #[test]
    fn a_result_that_does_not_end_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let mut output = Output::new(Format::Parquet, Some(directory.path().join("out.parquet")));
        let mut writer = output.begin(&batch().schema()).unwrap();
        writer.batch(&batch()).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        write(&mut output).unwrap();
    }

    #[test]
    fn parquet_never_goes_to_standard_output() {
        let error = write(&mut Output::new(Format::Parquet, None)).unwrap_err();
        assert!(matches!(error, OutputError::ParquetNeedsFile));
    }

    #[test]
    fn a_file_that_cannot_be_created_is_named() {
        let mut output = Output::new(Format::Csv, Some("/nonexistent/x.csv".into()));
        assert!(write(&mut output).unwrap_err().to_string().contains("/nonexistent/x.csv"));
    }
}
