//! Joins of two plans: which of their rows belong together, and what the columns are called then.

use polarway_common::Error;

use super::plan::Plan;
use super::sql_text::{identifier, identifiers};
use super::steps::refused;

/// Which rows a join gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// Pairs of rows that belong together.
    Inner,
    /// Those, and the other rows of the left side with NULL beside them.
    Left,
    /// Those, and the other rows of the right side.
    Right,
    /// Those, and the other rows of both sides.
    Full,
    /// The rows of the left side that have one on the right.
    Semi,
    /// The rows of the left side that have none on the right.
    Anti,
    /// Every row of one side with every row of the other; it has no keys.
    Cross,
}

impl JoinKind {
    fn sql(self) -> &'static str {
        match self {
            Self::Inner => "INNER JOIN",
            Self::Left => "LEFT JOIN",
            Self::Right => "RIGHT JOIN",
            Self::Full => "FULL JOIN",
            Self::Semi => "LEFT SEMI JOIN",
            Self::Anti => "LEFT ANTI JOIN",
            Self::Cross => "CROSS JOIN",
        }
    }
}

/// The columns whose values have to be equal, by their names as they are: a name, an array or slice of names, or what
/// [`On::pairs`] gives.
///
/// Columns of the same name become one, which comes first. Then come the other columns of the left side, then those of the
/// right, with a suffix where their names are taken. Of pairs, all columns of both sides are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct On {
    /// Those of the left side and of the right.
    pairs: Vec<(String, String)>,
    /// Whether both are called the same and become one column.
    is_shared: bool,
    suffix: String,
}

impl On {
    /// Columns that are called differently: those of the left side, and those of the right.
    pub fn pairs<L: Into<String>, R: Into<String>>(names: impl IntoIterator<Item = (L, R)>) -> Self {
        let pairs = names.into_iter().map(|(left, right)| (left.into(), right.into())).collect();
        Self { pairs, is_shared: false, suffix: "_right".to_owned() }
    }

    /// No columns, for [`JoinKind::Cross`].
    pub fn nothing() -> Self {
        Self::pairs(Vec::<(String, String)>::new())
    }

    /// With another suffix than `_right` for columns of the right side whose names the left one has.
    #[must_use]
    pub fn suffix(self, suffix: impl Into<String>) -> Self {
        Self { suffix: suffix.into(), ..self }
    }

    fn shared<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let pair = |name: String| (name.clone(), name);
        let names = names.into_iter().map(|name| pair(name.into()));
        Self { is_shared: true, ..Self::pairs(names) }
    }

    fn condition(&self) -> String {
        let equal =
            |(left, right): &(String, String)| format!("l.{} = r.{}", identifier(left), identifier(right));
        self.pairs.iter().map(equal).collect::<Vec<_>>().join(" AND ")
    }
}

impl From<&str> for On {
    fn from(name: &str) -> Self {
        Self::shared([name])
    }
}

impl From<String> for On {
    fn from(name: String) -> Self {
        Self::shared([name])
    }
}

impl<N: Into<String>, const COUNT: usize> From<[N; COUNT]> for On {
    fn from(names: [N; COUNT]) -> Self {
        Self::shared(names)
    }
}

impl<N: Into<String> + Clone> From<&[N]> for On {
    fn from(names: &[N]) -> Self {
        Self::shared(names.iter().cloned())
    }
}

impl Plan {
    /// The rows of two plans side by side; of [`JoinKind::Semi`] and [`JoinKind::Anti`] those of the left one only.
    pub fn join(&self, right: &Plan, kind: JoinKind, on: &On) -> Result<Plan, Error> {
        match (kind, on.pairs.is_empty()) {
            (JoinKind::Cross, false) => return Err(refused("a cross join has no keys")),
            (JoinKind::Cross, true) | (_, false) => {}
            (_, true) => return Err(refused("a join needs the names of columns")),
        }
        let (listed, columns) = if matches!(kind, JoinKind::Semi | JoinKind::Anti) {
            ("l.*".to_owned(), self.columns().map(<[String]>::to_vec))
        } else {
            columns(self, right, kind, on)
        };
        let condition = if on.pairs.is_empty() { String::new() } else { format!(" ON {}", on.condition()) };
        let pieces =
            [format!("SELECT {listed} FROM "), format!(" AS l {} ", kind.sql()), format!(" AS r{condition}")];
        Ok(self.step_with(right, pieces, columns))
    }
}

/// The list of the SELECT and its names: shared keys, then the other columns of the left, then of the right.
fn columns(left: &Plan, right: &Plan, kind: JoinKind, on: &On) -> (String, Option<Vec<String>>) {
    let shared: Vec<String> =
        if on.is_shared { on.pairs.iter().map(|(name, _)| name.clone()).collect() } else { vec![] };
    let mut items: Vec<String> = shared.iter().map(|name| key(name, kind)).collect();
    let mut names = shared.clone();
    for (side, plan) in [("l", left), ("r", right)] {
        let Some(columns) = plan.columns() else {
            let excluded = if shared.is_empty() {
                String::new()
            } else {
                format!(" EXCLUDE ({})", identifiers(&shared))
            };
            items.push(format!("{side}.*{excluded}"));
            continue;
        };
        for name in columns.iter().filter(|name| !shared.contains(name)) {
            let is_taken = side == "r" && names.contains(name);
            let called = if is_taken { format!("{name}{}", on.suffix) } else { name.clone() };
            items.push(format!("{side}.{} AS {}", identifier(name), identifier(&called)));
            names.push(called);
        }
    }
    let is_known = left.columns().is_some() && right.columns().is_some();
    (items.join(", "), is_known.then_some(names))
}

fn key(name: &str, kind: JoinKind) -> String {
    let quoted = identifier(name);
    match kind {
        JoinKind::Full => format!("coalesce(l.{quoted}, r.{quoted}) AS {quoted}"),
        JoinKind::Right => format!("r.{quoted} AS {quoted}"),
        _ => format!("l.{quoted} AS {quoted}"),
    }
}

#[cfg(test)]
mod tests {
    use polarway_common::ErrorKind;

    use super::*;

    fn plan(name: &str, columns: &[&str]) -> Plan {
        let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        Plan::table(name.to_owned(), if columns.is_empty() { None } else { Some(columns) })
    }

    fn joined(left: &Plan, right: &Plan, kind: JoinKind, on: impl Into<On>) -> Plan {
        left.join(right, kind, &on.into()).unwrap()
    }

    #[test]
    fn row_45_shared_keys_come_once_and_first() {
        let (left, right) = (plan("a", &["x", "K y"]), plan("b", &["K y", "x", "z"]));
        let found = joined(&left, &right, JoinKind::Left, On::from("K y").suffix("_b"));
        let rest =
            r#"l."x" AS "x", r."x" AS "x_b", r."z" AS "z" FROM a AS l LEFT JOIN b AS r ON l."K y" = r."K y""#;
        assert_eq!(found.to_sql(), format!(r#"SELECT l."K y" AS "K y", {rest}"#));
        assert_eq!(found.columns().unwrap(), ["K y", "x", "x_b", "z"]);
        let found = joined(&left, &right, JoinKind::Full, ["K y", "x"]);
        let keys = r#"coalesce(l."K y", r."K y") AS "K y", coalesce(l."x", r."x") AS "x", r."z" AS "z""#;
        let on = r#"l."K y" = r."K y" AND l."x" = r."x""#;
        assert_eq!(found.to_sql(), format!("SELECT {keys} FROM a AS l FULL JOIN b AS r ON {on}"));
        let found = joined(&plan("a", &[]), &right, JoinKind::Right, &["x"][..]);
        let items = r#"r."x" AS "x", l.* EXCLUDE ("x"), r."K y" AS "K y", r."z" AS "z""#;
        assert_eq!(
            found.to_sql(),
            format!(r#"SELECT {items} FROM a AS l RIGHT JOIN b AS r ON l."x" = r."x""#)
        );
        assert!(found.columns().is_none());
    }

    #[test]
    fn row_45_pairs_leave_all_columns() {
        let (left, right) = (plan("a", &["x"]), plan("b", &["k", "x"]));
        let found = joined(&left, &right, JoinKind::Inner, On::pairs([("x", "k")]));
        let items = r#"l."x" AS "x", r."k" AS "k", r."x" AS "x_right""#;
        assert_eq!(
            found.to_sql(),
            format!(r#"SELECT {items} FROM a AS l INNER JOIN b AS r ON l."x" = r."k""#)
        );
        let found = joined(&left, &right, JoinKind::Anti, On::pairs([("x", "k")]));
        assert_eq!(found.to_sql(), r#"SELECT l.* FROM a AS l LEFT ANTI JOIN b AS r ON l."x" = r."k""#);
        assert_eq!(found.columns().unwrap(), ["x"]);
        let found = joined(&plan("a", &[]), &plan("b", &[]), JoinKind::Cross, On::nothing());
        assert_eq!(found.to_sql(), "SELECT l.*, r.* FROM a AS l CROSS JOIN b AS r");
    }

    #[test]
    fn row_45_a_plan_that_is_used_twice_stands_there_once() {
        let once = plan("a", &[]).distinct();
        let found = joined(&once, &once.limit(1, 0), JoinKind::Semi, "x");
        let steps = "WITH _1 AS (SELECT DISTINCT * FROM a), _2 AS (SELECT * FROM _1 LIMIT 1) ";
        let last = r#"SELECT l.* FROM _1 AS l LEFT SEMI JOIN _2 AS r ON l."x" = r."x""#;
        assert_eq!(found.to_sql(), format!("{steps}{last}"));
    }

    #[test]
    fn keys_that_do_not_fit_are_told() {
        let (left, right) = (plan("a", &[]), plan("b", &[]));
        for (kind, on) in [(JoinKind::Cross, On::from("x")), (JoinKind::Inner, On::nothing())] {
            assert_eq!(left.join(&right, kind, &on).err().unwrap().kind, ErrorKind::Plan);
        }
    }
}
