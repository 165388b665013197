//! What SQL can say, on every route, against the oracle.

use std::path::Path;

use polarway_tests::{Oracle, Order, Setup, assert_same, difference, files};

/// Small tables of several files, with nulls, nested values, decimals, times with zones.
async fn write_tables(root: &Path) {
    let people = |from: u64, to: u64| {
        format!(
            "SELECT value AS id,
                CASE WHEN value % 4 <> 0 THEN value % 7 END AS team,
                CASE WHEN value % 9 = 0 THEN NULL WHEN value % 3 = 0 THEN 'Ünï ' || value ELSE 'name ' || (value % 20) END AS name,
                CAST(value * 1.25 - 100 AS DECIMAL(12, 2)) AS pay,
                CASE WHEN value % 11 <> 0 THEN CAST(value AS DOUBLE) / 7 END AS score,
                DATE '2023-01-01' + CAST(value % 500 AS INT) AS born,
                to_timestamp(1680000000 + value * 7919) AS seen,
                arrow_cast(to_timestamp(1680000000 + value * 3571), 'Timestamp(Microsecond, Some(\"Europe/Berlin\"))') AS seen_there,
                value % 2 = 0 AS active,
                CASE WHEN value % 5 <> 0 THEN make_array(value, value * 2, NULL, value % 3) END AS numbers,
                named_struct('x', value % 10, 'y', 'p' || (value % 6)) AS point,
                CASE WHEN value % 6 <> 0 THEN make_array('a' || (value % 3), 'b') ELSE make_array() END AS tags
            FROM generate_series({from}, {to})"
        )
    };
    let teams = |from: u64, to: u64| {
        format!(
            "SELECT value AS id, 'team ' || value AS title, CASE WHEN value <> 3 THEN value % 2 END AS grade
            FROM generate_series({from}, {to})"
        )
    };
    for table in ["people", "teams"] {
        std::fs::create_dir_all(root.join(table)).unwrap();
    }
    for (number, (from, to)) in [(1, 150), (151, 300), (301, 400)].into_iter().enumerate() {
        files::parquet(&root.join(format!("people/{number}.parquet")), &people(from, to)).await;
    }
    for (number, (from, to)) in [(0, 4), (5, 9)].into_iter().enumerate() {
        files::parquet(&root.join(format!("teams/{number}.parquet")), &teams(from, to)).await;
    }
}

/// Statements by topic. One that ends with an ORDER BY has a total order.
const STATEMENTS: &[(&str, &[&str])] = &[
    (
        "joins",
        &[
            "SELECT p.id, t.title FROM people p JOIN teams t ON p.team = t.id",
            "SELECT p.id, t.title FROM people p LEFT JOIN teams t ON p.team = t.id",
            "SELECT p.id, t.title FROM people p RIGHT JOIN teams t ON p.team = t.id",
            "SELECT p.id, t.title FROM people p FULL OUTER JOIN teams t ON p.team = t.id AND p.id < 50",
            "SELECT t.title FROM teams t LEFT SEMI JOIN people p ON p.team = t.id",
            "SELECT t.title FROM teams t LEFT ANTI JOIN people p ON p.team = t.id",
            "SELECT q.other FROM people p RIGHT SEMI JOIN (SELECT id AS other FROM people WHERE active) q ON p.id = q.other",
            "SELECT count(*) FROM people p CROSS JOIN teams t",
            "SELECT count(*) FROM people a, people b WHERE a.id + b.id = 100",
            "SELECT count(*) FROM people a JOIN people b ON a.id < b.id AND a.team = b.team",
            "SELECT count(*), min(a.id) FROM people a JOIN teams t ON a.id > t.id * 30",
            "SELECT id, name, title FROM people NATURAL JOIN (SELECT id, title FROM teams) t",
            "SELECT id, title FROM people JOIN teams USING (id)",
            "SELECT a.id, b.id FROM people a FULL JOIN people b ON a.id = b.id + 395 WHERE a.id > 390 OR b.id < 10 OR a.id IS NULL",
            "SELECT a.id, b.title, c.title FROM people a LEFT JOIN teams b ON a.team = b.id LEFT JOIN teams c ON b.grade = c.id WHERE a.id < 40",
            "SELECT p.id, q.id FROM people p JOIN people q ON (p.team IS NOT DISTINCT FROM q.team) AND p.id = q.id - 1",
        ],
    ),
    (
        "aggregates",
        &[
            "SELECT count(*), count(team), count(DISTINCT team), sum(pay), avg(pay), min(name), max(born) FROM people",
            "SELECT team, count(*), sum(pay), avg(score), min(seen), bool_and(active) FROM people GROUP BY team",
            "SELECT team, active, count(*) FROM people GROUP BY GROUPING SETS ((team), (active), ())",
            "SELECT team, active, sum(pay), grouping(team) FROM people GROUP BY ROLLUP (team, active)",
            "SELECT team, active, count(DISTINCT name) FROM people GROUP BY CUBE (team, active)",
            "SELECT team, count(*) FILTER (WHERE active), sum(pay) FILTER (WHERE pay > 100) FROM people GROUP BY team",
            "SELECT team, count(*) FROM people GROUP BY team HAVING count(*) > 45",
            "SELECT stddev(score), var_pop(score), corr(score, id), covar_samp(score, id) FROM people",
            "SELECT median(score), approx_distinct(id) > 300 FROM people",
            "SELECT team, array_agg(id ORDER BY id), string_agg(name, ',' ORDER BY id) FROM people WHERE id < 60 GROUP BY team",
            "SELECT first_value(name ORDER BY id), last_value(name ORDER BY id) FROM people",
            "SELECT DISTINCT team, active FROM people",
            "SELECT DISTINCT ON (team) team, id FROM people ORDER BY team, id",
            "SELECT count(*) FROM people WHERE id < 0",
            "SELECT sum(pay) FROM people WHERE id < 0",
            "SELECT team, sum(pay) FROM people WHERE id < 0 GROUP BY team",
            "SELECT bit_and(id), bit_or(id), bit_xor(id) FROM people",
            "SELECT date_trunc('month', born) AS m, count(*) FROM people GROUP BY date_trunc('month', born) ORDER BY m",
        ],
    ),
    (
        "windows",
        &[
            "SELECT id, row_number() OVER (PARTITION BY team ORDER BY id) FROM people",
            "SELECT id, rank() OVER (ORDER BY team), dense_rank() OVER (ORDER BY team NULLS FIRST) FROM people",
            "SELECT id, sum(pay) OVER (PARTITION BY team ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM people",
            "SELECT id, lag(id, 2, -1) OVER (PARTITION BY active ORDER BY id), lead(name) OVER (ORDER BY id) FROM people",
            "SELECT id, first_value(pay) OVER w, last_value(pay) OVER w, nth_value(id, 3) OVER w FROM people WINDOW w AS (PARTITION BY team ORDER BY id)",
            "SELECT id, ntile(7) OVER (ORDER BY id), cume_dist() OVER (ORDER BY id), percent_rank() OVER (ORDER BY id) FROM people",
            "SELECT id, avg(score) OVER (ORDER BY born RANGE BETWEEN INTERVAL '10' DAY PRECEDING AND CURRENT ROW) FROM people",
            "SELECT * FROM (SELECT id, team, row_number() OVER (PARTITION BY team ORDER BY pay DESC) AS r FROM people) WHERE r <= 2",
            "SELECT team, sum(count(*)) OVER (ORDER BY team) FROM people GROUP BY team",
        ],
    ),
    (
        "common table expressions",
        &[
            "WITH a AS (SELECT * FROM people WHERE active), b AS (SELECT team, count(*) AS n FROM a GROUP BY team) SELECT * FROM b",
            "WITH a AS (SELECT id, team FROM people) SELECT x.id FROM a x JOIN a y ON x.id = y.id + 1 WHERE y.team = 2",
            "WITH a (x, y) AS (VALUES (1, 'one'), (2, 'two')) SELECT a.y, p.name FROM a JOIN people p ON p.id = a.x",
        ],
    ),
    (
        "subqueries",
        &[
            "SELECT id FROM people WHERE pay > (SELECT avg(pay) FROM people)",
            "SELECT id FROM people p WHERE pay > (SELECT avg(q.pay) FROM people q WHERE q.team = p.team)",
            "SELECT title FROM teams t WHERE EXISTS (SELECT 1 FROM people p WHERE p.team = t.id AND p.id > 398)",
            "SELECT title FROM teams t WHERE NOT EXISTS (SELECT 1 FROM people p WHERE p.team = t.id)",
            "SELECT id FROM people WHERE team IN (SELECT id FROM teams WHERE grade = 1)",
            "SELECT id FROM people WHERE team NOT IN (SELECT id FROM teams WHERE grade = 1)",
            "SELECT id FROM teams WHERE grade NOT IN (SELECT grade FROM teams WHERE id > 2)",
            "SELECT title, (SELECT count(*) FROM people p WHERE p.team = t.id) AS n FROM teams t",
            "SELECT title, (SELECT max(pay) FROM people) AS top FROM teams",
            "SELECT x.team, x.n FROM (SELECT team, count(*) AS n FROM people GROUP BY team) x WHERE x.n = (SELECT max(n) FROM (SELECT count(*) AS n FROM people GROUP BY team) y)",
            "SELECT id FROM people WHERE (SELECT count(*) FROM teams WHERE grade IS NULL) = 1 AND id < 5",
        ],
    ),
    (
        "set operations",
        &[
            "SELECT team FROM people UNION SELECT id FROM teams",
            "SELECT team FROM people UNION ALL SELECT id FROM teams",
            "SELECT team FROM people INTERSECT SELECT id FROM teams",
            "SELECT id FROM teams EXCEPT SELECT team FROM people",
            "SELECT team FROM people EXCEPT ALL SELECT id FROM teams",
            "SELECT team FROM people INTERSECT ALL SELECT id FROM teams",
            "(SELECT id FROM teams LIMIT 3) UNION ALL (SELECT 100) ORDER BY id LIMIT 1",
            "SELECT 'people' AS what, count(*) FROM people UNION ALL SELECT 'teams', count(*) FROM teams",
        ],
    ),
    (
        "order and limit",
        &[
            "SELECT id FROM people ORDER BY id LIMIT 10",
            "SELECT id FROM people ORDER BY id LIMIT 10 OFFSET 395",
            "SELECT id FROM people ORDER BY id OFFSET 390",
            "SELECT id, team FROM people ORDER BY team NULLS FIRST, id",
            "SELECT id, team FROM people ORDER BY team DESC NULLS LAST, id DESC",
            "SELECT id, name FROM people ORDER BY name DESC, id",
            "SELECT id, score FROM people ORDER BY score NULLS FIRST, id LIMIT 50",
            "SELECT id, pay FROM people ORDER BY abs(pay), id",
            "SELECT id FROM people LIMIT 0",
            "SELECT count(*) FROM (SELECT id FROM people LIMIT 77)",
            "SELECT count(*) FROM (SELECT id FROM people LIMIT 50 OFFSET 380)",
            "SELECT id, title FROM teams ORDER BY 2 DESC",
        ],
    ),
    (
        "nested values",
        &[
            "SELECT id, unnest(numbers) AS n FROM people",
            "SELECT id, unnest(tags) AS tag, point FROM people WHERE id < 50",
            "SELECT tag, count(*) FROM (SELECT unnest(tags) AS tag FROM people) GROUP BY tag",
            "SELECT id, numbers[1], numbers[2], array_length(numbers) FROM people",
            "SELECT id, point['x'], point['y'] FROM people WHERE point['x'] > 6",
            "SELECT point['y'] AS y, count(*) FROM people GROUP BY point['y']",
            "SELECT point, count(*) FROM people GROUP BY point",
            "SELECT id, array_to_string(tags, '/'), array_has(tags, 'a1'), cardinality(numbers) FROM people",
            "SELECT id, array_append(tags, 'z'), array_concat(tags, tags) FROM people WHERE id < 30",
            "SELECT id, numbers, tags, point FROM people",
            "SELECT id, named_struct('a', id, 'b', name) AS s, make_array(id, team) AS l FROM people WHERE id < 30",
            "SELECT id, map(make_array('k', 'l'), make_array(id, team)) AS m FROM people WHERE id < 20",
            "SELECT id, map(make_array('k', 'l'), make_array(id, team))['k'] AS v FROM people WHERE id < 20",
            "SELECT count(DISTINCT numbers) FROM people",
            "SELECT p.id FROM people p JOIN people q ON p.point = q.point AND p.id = q.id + 30",
        ],
    ),
    (
        "decimals",
        &[
            "SELECT sum(pay), avg(pay), min(pay), max(pay) FROM people",
            "SELECT id, pay * 1.1, pay / 3, pay + id, round(pay, 1), CAST(pay AS DECIMAL(20, 6)) FROM people",
            "SELECT team, sum(pay * pay), avg(pay / 7) FROM people GROUP BY team",
            "SELECT count(*) FROM people WHERE pay = 25.00",
            "SELECT CAST(pay AS BIGINT) AS a, CAST(pay AS VARCHAR) AS b, CAST(pay AS DOUBLE) AS c FROM people WHERE id < 20",
        ],
    ),
    (
        "times",
        &[
            "SELECT id, born + INTERVAL '1' MONTH, born - DATE '2023-01-01', extract(dow FROM born) FROM people",
            "SELECT id, date_part('hour', seen), date_trunc('day', seen), to_char(seen, '%Y/%m/%d %H:%M') FROM people",
            "SELECT id, seen_there, date_trunc('hour', seen_there), extract(hour FROM seen_there) FROM people",
            "SELECT seen_there AT TIME ZONE 'America/New_York' FROM people WHERE id < 30",
            "SELECT min(seen_there), max(seen_there) FROM people",
            "SELECT date_bin(INTERVAL '15 minutes', seen) AS slot, count(*) FROM people GROUP BY 1",
            "SELECT count(*) FROM people WHERE seen BETWEEN TIMESTAMP '2023-04-01T00:00:00' AND TIMESTAMP '2023-04-10T00:00:00'",
            "SELECT count(*) FROM people WHERE born IN (DATE '2023-01-05', DATE '2023-02-01')",
            "SELECT id, CAST(seen AS DATE), CAST(born AS TIMESTAMP), to_unixtime(seen) FROM people",
        ],
    ),
    (
        "texts",
        &[
            "SELECT id, upper(name), length(name), substr(name, 2, 3), reverse(name), left(name, 2) FROM people",
            "SELECT id, name || '-' || id, concat(name, NULL, 'x'), concat_ws('/', name, team) FROM people",
            "SELECT id, replace(name, 'name', 'n'), split_part(name, ' ', 2), strpos(name, 'm') FROM people",
            "SELECT count(*) FROM people WHERE name LIKE 'name 1%'",
            "SELECT count(*) FROM people WHERE name ILIKE 'ünï%'",
            "SELECT count(*) FROM people WHERE name SIMILAR TO 'name [0-9]'",
            "SELECT count(*) FROM people WHERE name ~ '^name 1[0-5]$'",
            "SELECT id, regexp_replace(name, '[0-9]+', '#'), lpad(name, 10, '*'), trim(name) FROM people",
            "SELECT id, md5(name), encode(CAST(name AS BYTEA), 'hex') FROM people WHERE id < 50",
            "SELECT name, count(*) FROM people GROUP BY name ORDER BY name NULLS FIRST",
        ],
    ),
    (
        "expressions",
        &[
            "SELECT id, CASE WHEN team = 1 THEN 'one' WHEN team > 4 THEN 'many' ELSE 'some' END FROM people",
            "SELECT id, CASE team WHEN 0 THEN 'zero' END, coalesce(team, -1), nullif(team, 2) FROM people",
            "SELECT id, team IS NULL, team IS NOT DISTINCT FROM NULL, active AND team > 2, NOT active FROM people",
            "SELECT id, id % 7, -id, abs(pay), power(id, 2), sqrt(score), ceil(score), floor(score), ln(id) FROM people",
            "SELECT id, greatest(id, team), least(id, team), nvl(team, 9) FROM people",
            "SELECT id, id & 6, id | 1, id ^ 3, id << 2 FROM people",
            "SELECT id, CAST(id AS VARCHAR) AS t, TRY_CAST(name AS INT) AS n, CAST(active AS INT) AS a FROM people",
            "SELECT * FROM (VALUES (1, 'a', NULL), (2, 'b', 3.5)) AS v (x, y, z)",
            "SELECT v.y, p.id FROM (VALUES (1, 'a'), (2, 'b')) AS v (x, y) JOIN people p ON p.id = v.x",
            "SELECT 1 AS one, 'x' AS x, NULL AS n, TRUE AS t, 1.5 AS d, DATE '2024-02-29' AS day",
            "SELECT id, score / 0, CAST(0 AS DOUBLE) / 0 FROM people WHERE id < 5",
            "SELECT count(*) FROM people WHERE id IN (1, 2, 3, 500) OR team BETWEEN 5 AND 6",
            "SELECT * EXCEPT (numbers, tags, point) FROM people WHERE id = 7",
            "SELECT t.* FROM people p JOIN teams t ON p.team = t.id WHERE p.id = 9",
            "SELECT id AS \"An Id\", name AS \"select\" FROM people WHERE id = 3",
            "SELECT g.value, p.name FROM generate_series(1, 3) g JOIN people p ON p.id = g.value",
            "SELECT arrow_typeof(pay), arrow_typeof(born), arrow_typeof(active) FROM people WHERE id = 1",
        ],
    ),
];

const RECURSIVE: [&str; 2] = [
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 20) SELECT p.id FROM r JOIN people p ON p.id = r.n",
    "WITH RECURSIVE chain AS (
        SELECT id, team FROM people WHERE id = 1
        UNION ALL SELECT p.id, p.team FROM people p JOIN chain c ON p.id = c.id * 2
    ) SELECT * FROM chain",
];

#[tokio::test(flavor = "multi_thread")]
async fn oracle_features_on_every_route() {
    let files = tempfile::tempdir().unwrap();
    write_tables(files.path()).await;
    let oracle = Oracle::default();
    let cluster = Setup::cluster(2).allow(files.path()).start().await;
    let up = Setup::up().allow(files.path()).start().await;
    let (staged, direct, local) = (cluster.session().await, cluster.session().await, up.session().await);
    for table in ["people", "teams"] {
        let path = files.path().join(table);
        oracle.parquet(table, &path).await;
        let ddl = format!("CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{}/'", path.display());
        staged.ok(&ddl).await;
        local.ok(&ddl).await;
    }
    staged.set_route("staged").await;
    direct.set_route("direct").await;
    let mut faults = vec![];
    let mut compared = 0;
    let all =
        STATEMENTS.iter().flat_map(|(topic, statements)| statements.iter().map(move |sql| (*topic, *sql)));
    let recursive = RECURSIVE.map(|sql| ("recursion", sql));
    for (topic, sql) in all.chain(recursive) {
        let expected = match oracle.try_answer(sql).await {
            Ok(expected) => expected,
            Err(error) => {
                faults.push(format!("{topic}, oracle: {sql}\n    {error}"));
                continue;
            }
        };
        let ordered = sql.rsplit(')').next().is_some_and(|tail| tail.contains("ORDER BY"))
            || sql.contains("DISTINCT ON");
        let order = if ordered { Order::Total } else { Order::None };
        let routes = [("staged", &staged), ("direct on an executor", &direct), ("in one process", &local)];
        for (route, session) in routes.into_iter().skip(usize::from(topic == "recursion")) {
            compared += 1;
            let fault = match session.query(sql).await {
                Ok(answer) => difference(&answer, &expected, order),
                Err(error) => Some(format!("{:?}: {error}", error.kind)),
            };
            if let Some(fault) = fault {
                faults.push(format!("{topic}, {route}: {sql}\n    {fault}"));
            }
        }
    }
    assert!(faults.is_empty(), "{} of {compared} differ:\n{}", faults.len(), faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sessions_time_zone_reaches_functions_on_every_route() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("ticks.parquet");
    files::parquet(&path, "SELECT value * 3600 AS at FROM generate_series(0, 99) AS t(value)").await;
    let cluster = Setup::cluster(2).allow(files.path()).start().await;
    let (session, oracle) = (cluster.session().await, Oracle::default());
    oracle.parquet("ticks", &path).await;
    session.ok(&format!("CREATE EXTERNAL TABLE ticks STORED AS PARQUET LOCATION '{}'", path.display())).await;
    session.ok("SET TIME ZONE = '+02:00'").await;
    oracle.answer("SET TIME ZONE = '+02:00'").await;
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        for sql in [
            "SELECT CAST(min(to_timestamp(at)) AS VARCHAR) FROM ticks",
            "SELECT CAST(to_timestamp('1970-01-01T00:00:00Z') AS VARCHAR), count(*) FROM ticks GROUP BY 1",
            "SELECT arrow_typeof(now()), count(*) FROM ticks GROUP BY 1",
        ] {
            assert_same(sql, &session.ok(sql).await, &*oracle.answer(sql).await, Order::None);
        }
        let now = "SELECT CAST(max(now()) AS VARCHAR) LIKE '%+02:00' FROM ticks";
        assert_eq!(session.value(now).await, "true", "{route}");
    }
    session.ok("RESET datafusion.execution.time_zone").await;
    assert_eq!(session.value("SELECT CAST(now() AS VARCHAR) LIKE '%+02:00'").await, "false");
}
