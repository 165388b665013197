//! The steps of a query, and the SQL that they become.
//!
//! A plan is a graph that never changes: tables and statements at its ends, and steps that each are one SELECT over others.
//! [`Plan::to_sql`] names every step once, in a chain of WITH, so that the statement stays flat however many steps there are
//! (the server's parser limits how deep a statement may nest), and a step that is used twice stands there once.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Plan(Arc<Node>);

struct Node {
    kind: Kind,
    /// The SQL around the names of the inputs: one piece more than there are inputs.
    pieces: Vec<String>,
    inputs: Vec<Plan>,
    /// The names of its columns, where the client knows them.
    columns: Option<Vec<String>>,
    /// The ORDER BY of a step that does nothing else.
    order: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What stands after FROM.
    Table,
    /// A whole statement.
    Query,
}

impl Plan {
    /// A table by its name as SQL has it.
    pub fn table(sql: String, columns: Option<Vec<String>>) -> Self {
        Self::new(Kind::Table, vec![sql], vec![], columns)
    }

    /// A statement that a user has written.
    pub fn statement(sql: &str) -> Self {
        let sql = sql.trim();
        let sql = sql.strip_suffix(';').unwrap_or(sql);
        Self::new(Kind::Query, vec![sql.to_owned()], vec![], None)
    }

    /// A SELECT over this plan: the SQL before its name, and after.
    pub fn step(&self, before: String, after: String, columns: Option<Vec<String>>) -> Self {
        Self::new(Kind::Query, vec![before, after], vec![self.clone()], columns)
    }

    /// A SELECT over this plan and another: the SQL before, between and after their names.
    pub fn step_with(&self, other: &Plan, pieces: [String; 3], columns: Option<Vec<String>>) -> Self {
        Self::new(Kind::Query, pieces.into(), vec![self.clone(), other.clone()], columns)
    }

    /// The rows of this plan in order.
    pub fn ordered_by(&self, keys: String) -> Self {
        let node = Node {
            kind: Kind::Query,
            pieces: vec!["SELECT * FROM ".to_owned(), format!(" ORDER BY {keys}")],
            inputs: vec![self.clone()],
            columns: self.columns().map(<[String]>::to_vec),
            order: Some(keys),
        };
        Self(Arc::new(node))
    }

    fn new(kind: Kind, pieces: Vec<String>, inputs: Vec<Plan>, columns: Option<Vec<String>>) -> Self {
        Self(Arc::new(Node { kind, pieces, inputs, columns, order: None }))
    }

    /// The names of its columns, where the client knows them.
    pub fn columns(&self) -> Option<&[String]> {
        self.0.columns.as_deref()
    }

    /// Of a step that does nothing else than to order: what it orders, and its ORDER BY.
    pub fn order(&self) -> Option<(&Plan, &str)> {
        self.0.inputs.first().zip(self.0.order.as_deref())
    }

    /// The statement that gives the rows.
    pub fn to_sql(&self) -> String {
        let mut names: HashMap<*const Node, String> = HashMap::new();
        let mut steps: Vec<String> = vec![];
        for step in self.parts() {
            if step.id() == self.id() {
                continue;
            }
            let sql = step.write(&names);
            let name = match step.0.kind {
                Kind::Table => sql,
                Kind::Query => {
                    let name = format!("_{}", steps.len() + 1);
                    // The line feed ends a comment that the statement of a user may end with.
                    let end = if step.0.inputs.is_empty() { "\n" } else { "" };
                    steps.push(format!("{name} AS ({sql}{end})"));
                    name
                }
            };
            names.insert(step.id(), name);
        }
        let last = self.write(&names);
        match self.0.kind {
            Kind::Table => format!("SELECT * FROM {last}"),
            Kind::Query if steps.is_empty() => last,
            Kind::Query => format!("WITH {} {last}", steps.join(", ")),
        }
    }

    fn id(&self) -> *const Node {
        Arc::as_ptr(&self.0)
    }

    fn write(&self, names: &HashMap<*const Node, String>) -> String {
        let mut sql = String::new();
        for (index, piece) in self.0.pieces.iter().enumerate() {
            sql.push_str(piece);
            if let Some(name) = self.0.inputs.get(index).and_then(|input| names.get(&input.id())) {
                sql.push_str(name);
            }
        }
        sql
    }

    /// All plans that it is made of, each once and after what it reads; itself at last.
    fn parts(&self) -> Vec<&Plan> {
        let mut found = vec![];
        let mut seen = HashSet::new();
        let mut waiting = vec![(self, false)];
        while let Some((step, is_read)) = waiting.pop() {
            if seen.contains(&step.id()) {
                continue;
            }
            if is_read {
                seen.insert(step.id());
                found.push(step);
            } else {
                waiting.push((step, true));
                waiting.extend(step.0.inputs.iter().rev().map(|below| (below, false)));
            }
        }
        found
    }
}

impl Drop for Node {
    /// Without recursion, which a long chain of steps would run out of stack in.
    fn drop(&mut self) {
        let mut left = mem::take(&mut self.inputs);
        while let Some(Plan(node)) = left.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                left.append(&mut node.inputs);
            }
        }
    }
}
