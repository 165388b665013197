//! The verbs over one plan.

use std::collections::HashSet;

use polarway_common::{Error, ErrorKind};

use super::expr::Expr;
use super::items::{Named, SortKey};
use super::plan::Plan;
use super::sql_text::identifier;

impl Plan {
    /// These columns and expressions only.
    pub fn select(&self, items: &[Expr]) -> Result<Plan, Error> {
        if items.is_empty() {
            return Err(refused("select needs a column"));
        }
        let listed: Vec<String> = items.iter().map(Expr::item).collect();
        Ok(self.select_of(&listed.join(", "), String::new(), self.names(items)))
    }

    /// The rows for which it is true.
    pub fn filter(&self, condition: &Expr) -> Plan {
        self.all(format!(" WHERE {}", condition.sql()))
    }

    /// All columns, with these in place of those of their names or after them.
    pub fn with_columns(&self, named: Vec<Named>) -> Result<Plan, Error> {
        if named.is_empty() {
            return Err(refused("with_columns needs a column"));
        }
        let named = pairs(named)?;
        let Some(columns) = self.columns() else {
            let made = named.iter().map(|(name, value)| value.named(name));
            let listed: Vec<String> = std::iter::once("*".to_owned()).chain(made).collect();
            return Ok(self.select_of(&listed.join(", "), String::new(), None));
        };
        let new = named.iter().map(|(name, _)| name).filter(|name| !columns.contains(name));
        let columns: Vec<String> = columns.iter().chain(new).cloned().collect();
        let item = |column: &String| match named.iter().find(|(name, _)| name == column) {
            Some((name, value)) => value.named(name),
            None => identifier(column),
        };
        let listed: Vec<String> = columns.iter().map(item).collect();
        Ok(self.select_of(&listed.join(", "), String::new(), Some(columns)))
    }

    /// One row for each value of the keys, or one in all without keys.
    pub fn aggregate(&self, keys: &[Expr], named: Vec<Named>) -> Result<Plan, Error> {
        if keys.is_empty() && named.is_empty() {
            return Err(refused("agg needs a key or a column"));
        }
        let named = pairs(named)?;
        let aggregates = named.iter().map(|(name, value)| value.named(name));
        let listed: Vec<String> = keys.iter().map(Expr::item).chain(aggregates).collect();
        // By their places in the list, since a key may be any expression.
        let places: Vec<String> = (1..=keys.len()).map(|place| place.to_string()).collect();
        let grouped =
            if places.is_empty() { String::new() } else { format!(" GROUP BY {}", places.join(", ")) };
        let columns = self.names(keys).map(|mut columns| {
            columns.extend(named.iter().map(|(name, _)| name.clone()));
            columns
        });
        Ok(self.select_of(&listed.join(", "), grouped, columns))
    }

    /// The rows in order.
    pub fn sort(&self, keys: &[SortKey]) -> Result<Plan, Error> {
        if keys.is_empty() {
            return Err(refused("sort needs a key"));
        }
        let keys: Vec<String> = keys.iter().map(SortKey::sql).collect();
        Ok(self.ordered_by(keys.join(", ")))
    }

    /// So many rows after the first `offset`; right after a sort, the first of its order.
    pub fn limit(&self, rows: u64, offset: u64) -> Plan {
        let mut part = format!(" LIMIT {rows}");
        if offset > 0 {
            part.push_str(&format!(" OFFSET {offset}"));
        }
        match self.order() {
            Some((below, keys)) => below.all(format!(" ORDER BY {keys}{part}")),
            None => self.all(part),
        }
    }

    /// Equal rows once.
    pub fn distinct(&self) -> Plan {
        self.select_of("DISTINCT *", String::new(), self.known())
    }

    /// How many rows there are, in the column `rows`.
    pub fn count(&self) -> Plan {
        self.select_of("count(*) AS rows", String::new(), Some(vec!["rows".to_owned()]))
    }

    fn all(&self, after: String) -> Plan {
        self.select_of("*", after, self.known())
    }

    fn select_of(&self, listed: &str, after: String, columns: Option<Vec<String>>) -> Plan {
        self.step(format!("SELECT {listed} FROM "), after, columns)
    }

    fn known(&self) -> Option<Vec<String>> {
        self.columns().map(<[String]>::to_vec)
    }

    /// What the columns of a SELECT are called, where that is plain to see.
    fn names(&self, items: &[Expr]) -> Option<Vec<String>> {
        let mut names = vec![];
        for item in items {
            match item.name() {
                Some(name) => names.push(name.to_owned()),
                None if item.sql() == "*" => names.extend(self.known()?),
                None => names.push(name_of(item.sql())?),
            }
        }
        Some(names)
    }
}

/// An error of a verb that was given what it cannot take.
pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Plan, message)
}

/// The names and values; each has a name, and no two the same.
fn pairs(named: Vec<Named>) -> Result<Vec<(String, Expr)>, Error> {
    let mut seen = HashSet::new();
    let mut pairs = vec![];
    for Named { name, value } in named {
        let Some(name) = name else {
            let message = format!("the column `{}` has no name", value.sql());
            return Err(refused(message).with_hint("give it one with alias, or as a pair of name and value"));
        };
        if !seen.insert(name.clone()) {
            return Err(refused(format!("the column `{name}` is given twice")));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// What SQL calls an item of a SELECT that a user has written.
fn name_of(sql: &str) -> Option<String> {
    let sql = sql.trim();
    simple_name(sql).or_else(|| {
        let upper = sql.to_ascii_uppercase();
        // From the last AS on: a quoted name may have the word in it.
        let mut places = upper.rmatch_indices("AS").map(|(place, _)| place);
        places.find_map(|place| {
            let (before, after) = (&sql[..place], &sql[place + 2..]);
            let is_word = before.ends_with(char::is_whitespace) && after.starts_with(char::is_whitespace);
            if is_word && !before.contains(',') { simple_name(after.trim()) } else { None }
        })
    })
}

/// The name that a bare word or a quoted name is.
fn simple_name(sql: &str) -> Option<String> {
    let is_start = |sign: char| sign.is_ascii_alphabetic() || sign == '_';
    if sql.starts_with(is_start) && sql.chars().all(|sign| sign.is_ascii_alphanumeric() || sign == '_') {
        return Some(sql.to_ascii_lowercase());
    }
    let inner = sql.strip_prefix('"')?.strip_suffix('"')?;
    let is_one_name = !inner.replace("\"\"", "").contains('"');
    is_one_name.then(|| inner.replace("\"\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{col, lit, raw};

    fn ticks() -> Plan {
        Plan::table("ticks".to_owned(), None)
    }

    fn known() -> Plan {
        Plan::table("t".to_owned(), Some(vec!["a".to_owned(), "B c".to_owned()]))
    }

    #[test]
    fn row_45_verbs_are_the_sql_they_stand_for() {
        let plan = ticks().filter(&col("price").gt(1)).select(&[col("symbol"), raw("price * 2 AS twice")]);
        let plan = plan.unwrap().sort(&[col("twice").desc().nulls_last(), SortKey::from("symbol")]).unwrap();
        let steps = r#"WITH _1 AS (SELECT * FROM ticks WHERE "price" > 1), "#.to_owned()
            + r#"_2 AS (SELECT "symbol" AS "symbol", price * 2 AS twice FROM _1) SELECT * FROM _2"#;
        assert_eq!(plan.to_sql(), format!(r#"{steps} ORDER BY "twice" DESC NULLS LAST, symbol"#));
        let limited = plan.limit(3, 2);
        let limit = r#" ORDER BY "twice" DESC NULLS LAST, symbol LIMIT 3 OFFSET 2"#;
        assert_eq!(limited.to_sql(), format!("{steps}{limit}"));
        assert_eq!(ticks().to_sql(), "SELECT * FROM ticks");
        assert_eq!(ticks().limit(1, 0).to_sql(), "SELECT * FROM ticks LIMIT 1");
        assert_eq!(ticks().distinct().to_sql(), "SELECT DISTINCT * FROM ticks");
        assert_eq!(ticks().count().to_sql(), "SELECT count(*) AS rows FROM ticks");
        assert_eq!(
            ticks().sort(&[SortKey::from(lit(2))]).unwrap().to_sql(),
            "SELECT * FROM ticks ORDER BY (2)"
        );
    }

    #[test]
    fn row_45_groups_name_keys_by_their_places() {
        let named = vec![("n", "count(*)").into(), ("Total", col("price").sum()).into()];
        let grouped = ticks().aggregate(&[col("symbol"), col("a") % 2], named).unwrap();
        let sql = r#"SELECT "symbol" AS "symbol", "a" % 2 AS "a", count(*) AS "n", sum("price") AS "Total" FROM ticks "#;
        assert_eq!(grouped.to_sql(), format!("{sql}GROUP BY 1, 2"));
        assert_eq!(grouped.columns().unwrap(), ["symbol", "a", "n", "Total"]);
        let all = ticks().aggregate(&[], vec![("n", lit(1).count()).into()]).unwrap();
        assert_eq!(all.to_sql(), r#"SELECT count(1) AS "n" FROM ticks"#);
    }

    #[test]
    fn row_45_columns_are_replaced_where_they_are_known() {
        let made = |plan: &Plan| plan.with_columns(vec![("B c", col("a") + 1).into(), ("d", lit(1)).into()]);
        let plan = made(&known()).unwrap();
        assert_eq!(plan.to_sql(), r#"SELECT "a", "a" + 1 AS "B c", 1 AS "d" FROM t"#);
        assert_eq!(plan.columns().unwrap(), ["a", "B c", "d"]);
        let plan = made(&ticks()).unwrap();
        assert_eq!(plan.to_sql(), r#"SELECT *, "a" + 1 AS "B c", 1 AS "d" FROM ticks"#);
        assert!(plan.columns().is_none());
    }

    #[test]
    fn row_45_a_statement_is_a_step_whatever_it_ends_with() {
        let plan = Plan::statement(" SELECT 1 AS a; ");
        assert_eq!(plan.to_sql(), "SELECT 1 AS a");
        let plan = Plan::statement("SELECT 1 AS a -- one").filter(&raw("a > 0"));
        assert_eq!(plan.to_sql(), "WITH _1 AS (SELECT 1 AS a -- one\n) SELECT * FROM _1 WHERE a > 0");
    }

    #[test]
    fn row_45_long_chains_are_flat_and_go_without_recursion() {
        let mut plan = ticks();
        for _ in 0..50_000 {
            plan = plan.distinct();
        }
        let sql = plan.to_sql();
        assert!(sql.ends_with("SELECT DISTINCT * FROM _49999"));
        assert_eq!(sql.matches(" AS (SELECT DISTINCT * FROM ").count(), 49_999);
    }

    #[test]
    fn what_verbs_cannot_take_is_told() {
        for refused in [
            ticks().select(&[]),
            ticks().sort(&[]),
            ticks().aggregate(&[], vec![]),
            ticks().with_columns(vec![]),
            ticks().with_columns(vec![raw("a + 1").into()]),
            ticks().with_columns(vec![("a", lit(1)).into(), ("a", lit(2)).into()]),
        ] {
            assert_eq!(refused.err().unwrap().kind, ErrorKind::Plan);
        }
    }

    #[test]
    fn names_are_known_where_they_are_plain_to_see() {
        for (sql, name) in [
            ("a", Some("a")),
            (" Price ", Some("price")),
            ("\"B \"\"c\"", Some("B \"c")),
            ("price * 2 AS twice", Some("twice")),
            ("price as \"x AS y\"", Some("x AS y")),
            ("count(*)", None),
            ("price twice", None),
            ("CAST(a AS int)", None),
            ("\"a\" + \"b\"", None),
            ("a AS b, c", None),
            ("a, b AS c", None),
            ("ü AS é", None),
            ("*", None),
        ] {
            assert_eq!(name_of(sql).as_deref(), name, "{sql}");
        }
        assert_eq!(known().select(&[raw("*"), raw("1 AS x")]).unwrap().columns().unwrap(), ["a", "B c", "x"]);
        assert!(ticks().select(&[raw("*")]).unwrap().columns().is_none());
    }
}
