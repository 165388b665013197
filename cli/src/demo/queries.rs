//! What the demo asks.

/// A statement and the route it is to take.
pub struct DemoQuery {
    pub name: &'static str,
    pub title: &'static str,
    /// Value of `polarway.route`.
    pub route: &'static str,
    pub sql: &'static str,
}

pub const QUERIES: [DemoQuery; 5] = [
    DemoQuery {
        name: "small",
        title: "nations of a region; one process answers it",
        route: "auto",
        sql: "SELECT n_name, r_name FROM nation JOIN region ON n_regionkey = r_regionkey \
              WHERE r_name = 'ASIA' ORDER BY n_name",
    },
    DemoQuery {
        name: "Q1",
        title: "pricing summary report",
        route: "staged",
        sql: include_str!("../../../examples/tpch/q01.sql"),
    },
    DemoQuery {
        name: "Q5",
        title: "local supplier volume",
        route: "staged",
        sql: include_str!("../../../examples/tpch/q05.sql"),
    },
    DemoQuery {
        name: "Q9",
        title: "product type profit measure",
        route: "staged",
        sql: include_str!("../../../examples/tpch/q09.sql"),
    },
    DemoQuery {
        name: "Q18",
        title: "large volume customer",
        route: "staged",
        sql: include_str!("../../../examples/tpch/q18.sql"),
    },
];

impl DemoQuery {
    /// The statement without its semicolon.
    pub fn statement(&self) -> &'static str {
        self.sql.trim_end().trim_end_matches(';')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_one_statement() {
        for query in &QUERIES {
            assert!(!query.statement().contains(';'), "{}", query.name);
        }
    }
}
