//! What verbs take: columns, columns under names, and keys of an order.

use super::expr::{Expr, raw};

/// What a verb takes for a column or a condition: an [`Expr`], or a text, which is SQL and taken as it is:
/// `"price * 2 AS twice"`. Never put a value into a text that somebody else gave; [`col`](crate::col) and
/// [`lit`](crate::lit) quote names and values.
#[derive(Debug, Clone)]
pub struct Column(pub(super) Expr);

impl From<Expr> for Column {
    fn from(expr: Expr) -> Self {
        Self(expr)
    }
}

impl From<&Expr> for Column {
    fn from(expr: &Expr) -> Self {
        Self(expr.clone())
    }
}

impl From<&str> for Column {
    fn from(sql: &str) -> Self {
        Self(raw(sql))
    }
}

impl From<String> for Column {
    fn from(sql: String) -> Self {
        Self(raw(sql))
    }
}

/// A column that is made, and its name: `("twice", col("price") * 2)`, or an expression with a name of its own.
#[derive(Debug, Clone)]
pub struct Named {
    pub(super) name: Option<String>,
    pub(super) value: Expr,
}

impl<N: Into<String>, C: Into<Column>> From<(N, C)> for Named {
    fn from((name, value): (N, C)) -> Self {
        let Column(value) = value.into();
        Self { name: Some(name.into()), value }
    }
}

impl From<Expr> for Named {
    fn from(value: Expr) -> Self {
        Self { name: value.name().map(str::to_owned), value }
    }
}

impl From<&Expr> for Named {
    fn from(value: &Expr) -> Self {
        Self::from(value.clone())
    }
}

/// A key that rows are ordered by: an [`Expr`], what its methods [`asc`](Expr::asc) and [`desc`](Expr::desc) give, or a text,
/// which is SQL and taken as it is. Unless told otherwise, NULL counts as greater than all values.
#[derive(Debug, Clone)]
#[must_use = "a key does nothing until a frame has it"]
pub struct SortKey {
    key: Expr,
    is_descending: bool,
    nulls: &'static str,
}

impl SortKey {
    /// With NULL before all values.
    pub fn nulls_first(self) -> Self {
        Self { nulls: " NULLS FIRST", ..self }
    }

    /// With NULL after all values.
    pub fn nulls_last(self) -> Self {
        Self { nulls: " NULLS LAST", ..self }
    }

    pub(super) fn reversed(self) -> Self {
        Self { is_descending: !self.is_descending, ..self }
    }

    pub(super) fn sql(&self) -> String {
        format!("{}{}{}", self.key.sort_key(), if self.is_descending { " DESC" } else { "" }, self.nulls)
    }
}

impl From<Expr> for SortKey {
    fn from(key: Expr) -> Self {
        Self { key, is_descending: false, nulls: "" }
    }
}

impl From<&Expr> for SortKey {
    fn from(key: &Expr) -> Self {
        Self::from(key.clone())
    }
}

impl From<&str> for SortKey {
    fn from(sql: &str) -> Self {
        Self::from(raw(sql))
    }
}

impl From<String> for SortKey {
    fn from(sql: String) -> Self {
        Self::from(raw(sql))
    }
}
