//! Expressions over columns, written as SQL.

use super::items::SortKey;
use super::sql_text::{float, identifier, integer, text};

/// Chains of these need no parentheses on their left, and the server's parser limits how deep those may go.
const CHAINED: [&str; 4] = ["+", "*", "AND", "OR"];
/// In place of an operator, for SQL of which it is not known what joins its parts.
const UNKNOWN: &str = "";
const NULL: &str = "NULL";

/// An expression over columns: `(col("price") * 2).gt(10)`. It never changes; every method gives another one.
///
/// Its rules are SQL's: a comparison with NULL is NULL, dividing integers gives an integer, aggregates skip NULL. `+`, `-`,
/// `*`, `/` and `%` are those of SQL, `&`, `|` and `!` are AND, OR and NOT. What converts into an expression is a value, a
/// text too: `col("symbol").eq("BTC")`. An `Option` that is `None` is NULL.
///
/// ```
/// use polarway_client::{col, lit, null};
///
/// let cheap = (col("Price") * 2).lt(10) & !col("symbol").is_in(["BTC", "it's"]);
/// assert_eq!(cheap.sql(), r#"(("Price" * 2) < 10) AND (NOT ("symbol" IN ('BTC', 'it''s')))"#);
/// assert_eq!(col("a").eq(None::<i64>).sql(), r#"("a" IS NULL)"#);
/// assert_eq!((lit(-1) - -2).alias("x").name(), Some("x"));
/// assert_eq!(null().cast("BIGINT").sql(), "CAST(NULL AS BIGINT)");
/// ```
#[derive(Debug, Clone)]
#[must_use = "an expression does nothing until a frame has it"]
pub struct Expr {
    sql: String,
    /// What its column is called in a result: what `alias` said, or else the name of its first column.
    name: Option<String>,
    /// The one that a whole of several parts is joined by; none for a whole that needs no parentheses.
    operator: Option<&'static str>,
}

/// A column by its name as it is: quoted, so that case and all signs count.
///
/// ```
/// assert_eq!(polarway_client::col(r#"a "b""#).sql(), r#""a ""b""""#);
/// ```
pub fn col(name: impl Into<String>) -> Expr {
    let name = name.into();
    Expr { sql: identifier(&name), name: Some(name), operator: None }
}

/// A value.
///
/// ```
/// use polarway_client::lit;
///
/// assert_eq!(lit("it's").sql(), "'it''s'");
/// assert_eq!(lit(-1.5).sql(), "(-1.5)");
/// assert_eq!(lit(Some(true)).sql(), "TRUE");
/// ```
pub fn lit(value: impl Into<Expr>) -> Expr {
    value.into()
}

/// NULL, of no type.
pub fn null() -> Expr {
    Expr::literal(NULL.to_owned())
}

/// SQL as it is: `raw("upper(symbol)")`. Never put a value into it that somebody else gave: [`col`] and [`lit`] quote names
/// and values. Without an [`alias`](Expr::alias) the server names its column.
pub fn raw(sql: impl Into<String>) -> Expr {
    Expr { sql: sql.into(), name: None, operator: Some(UNKNOWN) }
}

impl Expr {
    /// It as SQL, without its name.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// What its column is called in a result: what [`alias`](Expr::alias) said, or else the name of its first column. `None` if
    /// the server names it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The same under another name.
    pub fn alias(&self, name: impl Into<String>) -> Self {
        Self { sql: self.sql.clone(), name: Some(name.into()), operator: self.operator }
    }

    /// The value as another SQL type, such as `BIGINT` or `DECIMAL(10, 2)`; the type is SQL, and taken as it is.
    pub fn cast(&self, to: &str) -> Self {
        self.whole(format!("CAST({} AS {to})", self.sql))
    }

    /// Whether there is no value.
    pub fn is_null(&self) -> Self {
        self.whole(format!("({} IS NULL)", self.part()))
    }

    /// Whether there is a value.
    pub fn is_not_null(&self) -> Self {
        self.whole(format!("({} IS NOT NULL)", self.part()))
    }

    /// Whether it is one of these; of none, it never is.
    pub fn is_in<V: Into<Expr>>(&self, values: impl IntoIterator<Item = V>) -> Self {
        let values = values.into_iter().map(|value| -> Expr { value.into() });
        let listed: Vec<String> = values.map(|value| value.sql).collect();
        if listed.is_empty() {
            return self.whole("FALSE".to_owned());
        }
        self.whole(format!("({} IN ({}))", self.part(), listed.join(", ")))
    }

    /// Whether it equals the other; of [`null`], whether there is no value.
    pub fn eq(&self, other: impl Into<Expr>) -> Self {
        let other: Expr = other.into();
        if other.sql == NULL { self.is_null() } else { self.with("=", other) }
    }

    /// Whether it differs from the other; of [`null`], whether there is a value.
    pub fn neq(&self, other: impl Into<Expr>) -> Self {
        let other: Expr = other.into();
        if other.sql == NULL { self.is_not_null() } else { self.with("<>", other) }
    }

    /// Whether it is less.
    pub fn lt(&self, other: impl Into<Expr>) -> Self {
        self.with("<", other)
    }

    /// Whether it is less, or equal.
    pub fn lt_eq(&self, other: impl Into<Expr>) -> Self {
        self.with("<=", other)
    }

    /// Whether it is greater.
    pub fn gt(&self, other: impl Into<Expr>) -> Self {
        self.with(">", other)
    }

    /// Whether it is greater, or equal.
    pub fn gt_eq(&self, other: impl Into<Expr>) -> Self {
        self.with(">=", other)
    }

    /// Whether both are true; the same as `&`.
    pub fn and(&self, other: impl Into<Expr>) -> Self {
        self.with("AND", other)
    }

    /// Whether one of them is true; the same as `|`.
    pub fn or(&self, other: impl Into<Expr>) -> Self {
        self.with("OR", other)
    }

    /// How many values there are, NULL not counted. All rows: `lit(1).count()`.
    pub fn count(&self) -> Self {
        self.whole(format!("count({})", self.sql))
    }

    /// How many different values there are, NULL not counted.
    pub fn count_distinct(&self) -> Self {
        self.whole(format!("count(DISTINCT {})", self.sql))
    }

    /// The sum of all values.
    pub fn sum(&self) -> Self {
        self.whole(format!("sum({})", self.sql))
    }

    /// Their average.
    pub fn avg(&self) -> Self {
        self.whole(format!("avg({})", self.sql))
    }

    /// The least of them.
    pub fn min(&self) -> Self {
        self.whole(format!("min({})", self.sql))
    }

    /// The greatest of them.
    pub fn max(&self) -> Self {
        self.whole(format!("max({})", self.sql))
    }

    /// A key of [`Frame::sort`](crate::Frame::sort), the least value first.
    pub fn asc(&self) -> SortKey {
        SortKey::from(self)
    }

    /// A key of [`Frame::sort`](crate::Frame::sort), the greatest value first.
    pub fn desc(&self) -> SortKey {
        self.asc().reversed()
    }

    /// It as an item of a SELECT.
    pub(super) fn item(&self) -> String {
        match &self.name {
            Some(name) => self.named(name),
            None => self.sql.clone(),
        }
    }

    /// It as an item of a SELECT under this name.
    pub(super) fn named(&self, name: &str) -> String {
        format!("{} AS {}", self.sql, identifier(name))
    }

    /// It as a key of ORDER BY. SQL that a user has written is left as it is.
    pub(super) fn sort_key(&self) -> String {
        // A bare number would count columns.
        let is_number = self.sql.bytes().all(|sign| sign.is_ascii_digit());
        if is_number && self.operator.is_none() { format!("({})", self.sql) } else { self.sql.clone() }
    }

    fn literal(sql: String) -> Self {
        Self { sql, name: Some("literal".to_owned()), operator: None }
    }

    /// Something that is made of it, and needs no parentheses.
    pub(super) fn whole(&self, sql: String) -> Self {
        Self { sql, name: self.name.clone(), operator: None }
    }

    /// It as a part of a whole.
    pub(super) fn part(&self) -> String {
        if self.operator.is_some() { format!("({})", self.sql) } else { self.sql.clone() }
    }

    /// It and another one, with an operator between them.
    pub(super) fn with(&self, operator: &'static str, other: impl Into<Expr>) -> Self {
        let other: Expr = other.into();
        let is_chain = self.operator == Some(operator) && CHAINED.contains(&operator);
        let left = if is_chain { self.sql.clone() } else { self.part() };
        let sql = format!("{left} {operator} {}", other.part());
        Self { sql, name: self.name.clone(), operator: Some(operator) }
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl From<$type> for Expr {
            fn from(value: $type) -> Self {
                Self::literal(integer(i128::from(value)))
            }
        }
    )*};
}

integers!(i8 i16 i32 i64 u8 u16 u32 u64);

impl From<usize> for Expr {
    fn from(value: usize) -> Self {
        Self::literal(value.to_string())
    }
}

impl From<f32> for Expr {
    fn from(value: f32) -> Self {
        Self::from(f64::from(value))
    }
}

impl From<f64> for Expr {
    fn from(value: f64) -> Self {
        Self::literal(float(value))
    }
}

impl From<bool> for Expr {
    fn from(value: bool) -> Self {
        Self::literal(if value { "TRUE" } else { "FALSE" }.to_owned())
    }
}

impl From<&str> for Expr {
    fn from(value: &str) -> Self {
        Self::literal(text(value))
    }
}

impl From<&String> for Expr {
    fn from(value: &String) -> Self {
        Self::literal(text(value))
    }
}

impl From<String> for Expr {
    fn from(value: String) -> Self {
        Self::literal(text(&value))
    }
}

impl From<&Expr> for Expr {
    fn from(value: &Expr) -> Self {
        value.clone()
    }
}

impl<T: Into<Expr>> From<Option<T>> for Expr {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_45_parts_are_in_parentheses_and_chains_are_not() {
        let (a, b) = (col("a"), col("B c"));
        for (expr, sql) in [
            (&a + &b + 1, r#""a" + "B c" + 1"#),
            (&a + (&b + 1), r#""a" + ("B c" + 1)"#),
            (&a - &b - 1, r#"("a" - "B c") - 1"#),
            ((&a + 1) * 2.5 / &b % -3, r#"((("a" + 1) * 2.5) / "B c") % (-3)"#),
            (a.gt(1) & b.lt_eq(2) & true, r#"("a" > 1) AND ("B c" <= 2) AND TRUE"#),
            (a.gt_eq(1).or(b.lt(2)).and(false), r#"(("a" >= 1) OR ("B c" < 2)) AND FALSE"#),
            (!(a.neq("x") | b.is_null()), r#"(NOT (("a" <> 'x') OR ("B c" IS NULL)))"#),
            (-(&a * 2), r#"(- ("a" * 2))"#),
            (raw("a + b") * 2, "(a + b) * 2"),
            (a.eq(null()), r#"("a" IS NULL)"#),
            (a.neq(None::<&str>), r#"("a" IS NOT NULL)"#),
            (a.is_in(Vec::<i64>::new()), "FALSE"),
            ((&a + 1).is_in([1, 2]), r#"(("a" + 1) IN (1, 2))"#),
            ((&a + 1).sum(), r#"sum("a" + 1)"#),
            (a.count_distinct(), r#"count(DISTINCT "a")"#),
            (lit(1).count(), "count(1)"),
            (lit(u64::MAX) - i64::MIN, "18446744073709551615 - (-9223372036854775808)"),
        ] {
            assert_eq!(expr.sql(), sql);
        }
    }

    #[test]
    fn row_45_an_expression_is_called_like_its_first_column() {
        assert_eq!((col("a") + col("b")).sum().name(), Some("a"));
        assert_eq!(col("a").alias("b").cast("BIGINT").item(), r#"CAST("a" AS BIGINT) AS "b""#);
        assert_eq!(lit("x").item(), r#"'x' AS "literal""#);
        assert_eq!(raw("count(*) AS n").item(), "count(*) AS n");
        assert_eq!(raw("count(*)").alias("n").item(), r#"count(*) AS "n""#);
    }
}
