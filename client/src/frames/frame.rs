//! A query that is composed step by step.

use std::fmt;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use polarway_common::Error;

use super::expr::Expr;
use super::items::{Column, Named, SortKey};
use super::join::{JoinKind, On};
use super::plan::Plan;
use super::rows::{explained, number};
use super::sql_text::checked;
use crate::{Client, Handle, QueryStream};

/// Rows that are on the cluster, and what is to be made of them: verbs, which run nothing, and methods that run them as one
/// statement.
///
/// Frames begin at [`Client::table`], [`Client::read_parquet`] and its like, [`Client::sql`] and [`Client::frame`]. They never
/// change, are cheap to clone, and may be used any number of times. An error of a verb, such as a `select` of nothing, is given
/// when the frame is run.
///
/// ```no_run
/// use polarway_client::{Client, JoinKind, col, lit};
///
/// # async fn run(client: Client) -> Result<(), polarway_common::Error> {
/// let orders = client.read_parquet("data/orders/");
/// let customers = client.read_csv("data/customers.csv").select(["id", "country"]);
/// let totals = orders
///     .filter(col("total").gt(100) & col("status").neq("cancelled"))
///     .join(&customers, "id", JoinKind::Inner)
///     .group_by(["country"])
///     .agg([("orders", lit(1).count()), ("total", col("total").sum())])
///     .sort([col("total").desc()])
///     .limit(10);
/// for batch in totals.collect().await? {
///     assert_eq!(batch.num_columns(), 3);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a frame does nothing until it is run, as by collect"]
pub struct Frame {
    client: Client,
    plan: Result<Plan, Error>,
}

impl Frame {
    pub(super) fn new(client: &Client, plan: Result<Plan, Error>) -> Self {
        Self { client: client.clone(), plan }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The statement that gives the rows.
    ///
    /// # Errors
    /// [`ErrorKind::Plan`](polarway_common::ErrorKind::Plan): the first of a verb that was given what it cannot take; or a name
    /// or text has a NUL.
    pub fn to_sql(&self) -> Result<String, Error> {
        match &self.plan {
            Ok(plan) => checked(plan.to_sql()),
            Err(error) => Err(error.clone()),
        }
    }

    /// These columns and expressions only.
    pub fn select<C: Into<Column>>(&self, columns: impl IntoIterator<Item = C>) -> Self {
        let items = expressions(columns);
        self.then(|plan| plan.select(&items))
    }

    /// The rows for which the condition is true; not those for which it is NULL.
    pub fn filter(&self, condition: impl Into<Column>) -> Self {
        let Column(condition) = condition.into();
        self.then(|plan| Ok(plan.filter(&condition)))
    }

    /// All columns, with these in place of those of their names or after them.
    ///
    /// The columns of files, tables and statements are not known before they are run. There, a column that is there already is
    /// an error of kind [`Plan`](polarway_common::ErrorKind::Plan); those of handles, and after a `select`, are replaced.
    pub fn with_columns<N: Into<Named>>(&self, columns: impl IntoIterator<Item = N>) -> Self {
        let columns = named(columns);
        self.then(|plan| plan.with_columns(columns))
    }

    /// Groups of rows that have equal keys, for [`Grouped::agg`].
    pub fn group_by<C: Into<Column>>(&self, keys: impl IntoIterator<Item = C>) -> Grouped {
        Grouped { frame: self.clone(), keys: expressions(keys) }
    }

    /// One row: these aggregates of all rows.
    pub fn agg<N: Into<Named>>(&self, columns: impl IntoIterator<Item = N>) -> Self {
        Grouped { frame: self.clone(), keys: vec![] }.agg(columns)
    }

    /// The rows of both that have equal keys, side by side; [`On`] tells what the columns are called then. `other` has to be
    /// of the same cluster.
    ///
    /// The columns of files, tables and statements are not known before they are run. Where both sides have such columns of one
    /// name beside the keys, a `select` has to come first.
    pub fn join(&self, other: &Frame, on: impl Into<On>, kind: JoinKind) -> Self {
        let on: On = on.into();
        self.then(|plan| match &other.plan {
            Ok(right) => plan.join(right, kind, &on),
            Err(error) => Err(error.clone()),
        })
    }

    /// The rows in order. It holds for the result, and for a [`limit`](Frame::limit) right after it; other verbs may lose it.
    pub fn sort<K: Into<SortKey>>(&self, keys: impl IntoIterator<Item = K>) -> Self {
        let keys: Vec<SortKey> = keys.into_iter().map(Into::into).collect();
        self.then(|plan| plan.sort(&keys))
    }

    /// So many rows at most.
    pub fn limit(&self, rows: u64) -> Self {
        self.limit_offset(rows, 0)
    }

    /// So many rows at most, after the first `offset`.
    pub fn limit_offset(&self, rows: u64, offset: u64) -> Self {
        self.then(|plan| Ok(plan.limit(rows, offset)))
    }

    /// Equal rows once.
    pub fn distinct(&self) -> Self {
        self.then(|plan| Ok(plan.distinct()))
    }

    /// All rows.
    ///
    /// # Errors
    /// As [`Frame::to_sql`] and [`Client::execute`].
    pub async fn collect(&self) -> Result<Vec<RecordBatch>, Error> {
        self.stream().await?.try_collect().await
    }

    /// The rows as the cluster makes them, with bounded memory.
    ///
    /// # Errors
    /// As [`Frame::to_sql`] and [`Client::execute`].
    pub async fn stream(&self) -> Result<QueryStream, Error> {
        self.client.execute(&self.to_sql()?).await
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// As [`Frame::collect`].
    pub async fn count(&self) -> Result<u64, Error> {
        let counted = self.then(|plan| Ok(plan.count()));
        number(&counted.collect().await?, "rows")
    }

    /// How it would run, as text: each of the server's plans under its name.
    ///
    /// # Errors
    /// As [`Frame::collect`].
    pub async fn explain(&self) -> Result<String, Error> {
        self.explained("EXPLAIN").await
    }

    /// How it runs, as text: it is run, and measured.
    ///
    /// # Errors
    /// As [`Frame::collect`].
    pub async fn explain_analyze(&self) -> Result<String, Error> {
        self.explained("EXPLAIN ANALYZE").await
    }

    /// Leases it, as [`Client::create_handle`] does: for `ttl`, unless it is renewed.
    ///
    /// # Errors
    /// As [`Frame::to_sql`] and [`Client::create_handle`].
    pub async fn handle(&self, ttl: Duration) -> Result<Handle, Error> {
        self.client.create_handle(&self.to_sql()?, ttl).await
    }

    async fn explained(&self, how: &str) -> Result<String, Error> {
        let sql = format!("{how} {}", self.to_sql()?);
        let plans: Vec<RecordBatch> = self.client.execute(&sql).await?.try_collect().await?;
        explained(&plans)
    }

    fn then(&self, step: impl FnOnce(&Plan) -> Result<Plan, Error>) -> Self {
        let plan = match &self.plan {
            Ok(plan) => step(plan),
            Err(error) => Err(error.clone()),
        };
        Self { client: self.client.clone(), plan }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Frame").field(&self.to_sql()).finish()
    }
}

/// Groups of rows, of which [`agg`](Grouped::agg) makes one row each.
#[derive(Debug, Clone)]
#[must_use = "groups do nothing without agg"]
pub struct Grouped {
    frame: Frame,
    keys: Vec<Expr>,
}

impl Grouped {
    /// The keys, and these aggregates of the rows of each group.
    pub fn agg<N: Into<Named>>(&self, columns: impl IntoIterator<Item = N>) -> Frame {
        let columns = named(columns);
        self.frame.then(|plan| plan.aggregate(&self.keys, columns))
    }
}

fn expressions<C: Into<Column>>(columns: impl IntoIterator<Item = C>) -> Vec<Expr> {
    let expression = |column: C| {
        let Column(expr) = column.into();
        expr
    };
    columns.into_iter().map(expression).collect()
}

fn named<N: Into<Named>>(columns: impl IntoIterator<Item = N>) -> Vec<Named> {
    columns.into_iter().map(Into::into).collect()
}
