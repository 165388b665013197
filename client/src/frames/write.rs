//! Frames whose rows become files.

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use polarway_common::Error;

use super::frame::Frame;
use super::rows::number;
use super::sql_text::{checked, identifiers, text};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// How many rows.
    pub rows: u64,
    /// In how many files.
    pub files: u64,
    /// How many bytes these have in all.
    pub bytes: u64,
}

/// Writing, on the cluster. The URL or path is one that the servers can write; one that ends with a slash is a directory. With
/// `partition_by` the rows are in directories `column=value/…`, as Hive has them, and these columns are not in the files.
/// Options of the formats need SQL's COPY.
impl Frame {
    /// Writes the rows into Parquet files.
    ///
    /// ```no_run
    /// # async fn run(client: polarway_client::Client) -> Result<(), polarway_common::Error> {
    /// let written = client.table("ticks").write_parquet("s3://lake/ticks/", &["day"]).await?;
    /// assert!(written.rows == 0 || written.files > 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Frame::collect`]; [`PathNotAllowed`](polarway_common::ErrorKind::PathNotAllowed) where the servers may not write.
    /// After an error no file of it is there.
    pub async fn write_parquet(&self, url: &str, partition_by: &[&str]) -> Result<Written, Error> {
        self.write(url, "PARQUET", partition_by).await
    }

    /// Writes the rows into CSV files with a header and commas.
    ///
    /// # Errors
    /// As [`Frame::write_parquet`].
    pub async fn write_csv(&self, url: &str, partition_by: &[&str]) -> Result<Written, Error> {
        self.write(url, "CSV", partition_by).await
    }

    /// Writes the rows into JSON files, one object a line.
    ///
    /// # Errors
    /// As [`Frame::write_parquet`].
    pub async fn write_json(&self, url: &str, partition_by: &[&str]) -> Result<Written, Error> {
        self.write(url, "JSON", partition_by).await
    }

    async fn write(&self, url: &str, stored_as: &str, partition_by: &[&str]) -> Result<Written, Error> {
        let sql = checked(copy(&self.to_sql()?, url, stored_as, partition_by))?;
        let told: Vec<RecordBatch> = self.client().execute(&sql).await?.try_collect().await?;
        let (rows, files, bytes) =
            (number(&told, "count")?, number(&told, "files")?, number(&told, "bytes")?);
        Ok(Written { rows, files, bytes })
    }
}

/// The statement that writes the rows of a query.
fn copy(sql: &str, url: &str, stored_as: &str, partition_by: &[&str]) -> String {
    let parts = if partition_by.is_empty() {
        String::new()
    } else {
        format!(" PARTITIONED BY ({})", identifiers(partition_by))
    };
    // The line feed ends a comment that the query may end with.
    format!("COPY ({sql}\n) TO {} STORED AS {stored_as}{parts}", text(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_45_names_and_urls_are_quoted() {
        assert_eq!(
            copy("SELECT 1", "it's/", "CSV", &["a", "B \"c"]),
            "COPY (SELECT 1\n) TO 'it''s/' STORED AS CSV PARTITIONED BY (\"a\", \"B \"\"c\")"
        );
        assert_eq!(copy("SELECT 1", "a", "JSON", &[]), "COPY (SELECT 1\n) TO 'a' STORED AS JSON");
    }
}
