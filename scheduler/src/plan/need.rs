//! Which role a statement needs.

use polarway_common::Role;

use super::statement::{Command, Statement};

impl Statement {
    pub fn needs(&self) -> Role {
        match self {
            // EXPLAIN ANALYZE runs queries only.
            Statement::Query(_) | Statement::Explain(_) => Role::Read,
            Statement::Command(command) => command.needs(),
        }
    }
}

impl Command {
    /// Rows and what is made of them are a writer's business. Who says what is read from where, or what the cluster takes
    /// from outside, lets others read it, and lasts longer than a session: that is an administrator's.
    pub fn needs(&self) -> Role {
        match self {
            Command::Set { .. } | Command::Reset { .. } => Role::Read,
            Command::Write { .. } => Role::Write,
            Command::Stream { .. } => Role::Admin,
            Command::Ddl { .. } => match self.tag() {
                "CREATE VIEW" | "DROP VIEW" | "DROP TABLE" => Role::Write,
                _ => Role::Admin,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::statement::parse;

    #[test]
    fn row_47_each_kind_of_statement_has_its_role() {
        let needed = |sql: &str| parse(sql).unwrap_or_else(|error| panic!("{sql}: {error}")).needs();
        let reads = [
            "SELECT 1",
            "SHOW TABLES",
            "DESCRIBE t",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "SET polarway.timeout = '1s'",
            "RESET polarway.timeout",
        ];
        let writes = [
            "CREATE TABLE t (a INT)",
            "CREATE TABLE t AS SELECT 1 AS a",
            "INSERT INTO t VALUES (1)",
            "INSERT OVERWRITE t VALUES (1)",
            "COPY (SELECT 1) TO '/x/' STORED AS PARQUET",
            "CREATE VIEW v AS SELECT 1",
            "DROP VIEW v",
            "DROP TABLE t",
        ];
        let administers = [
            "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/x'",
            "CREATE SCHEMA s",
            "DROP SCHEMA s",
            "CREATE STREAM s (a INT)",
            "DROP STREAM s",
        ];
        for (statements, role) in
            [(&reads[..], Role::Read), (&writes[..], Role::Write), (&administers[..], Role::Admin)]
        {
            for sql in statements {
                assert_eq!(needed(sql), role, "{sql}");
            }
        }
    }
}
