//! How a query over a slow store gains from executors. Measured and not asserted: run it with a release binary
//! (`POLARWAY_BIN`), alone, with `--run-ignored only --no-capture`.

use std::time::{Duration, Instant};

use datafusion::prelude::{ParquetReadOptions, SessionContext};
use polarway_tests::s3::{Faults, S3Server, copy_tree};
use polarway_tests::{Oracle, Order, Setup, assert_same, tpch};

const EXECUTORS: [usize; 3] = [1, 2, 4];
const RUNS: usize = 3;
const FILES: usize = 32;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, which wants the machine for itself"]
async fn row_18_more_executors_wait_for_a_slow_store_together() {
    let sql = "SELECT l_returnflag, count(*), sum(l_quantity) FROM lineitem GROUP BY l_returnflag ORDER BY 1";
    let data = tpch::data("0.1");
    let expected = Oracle::tpch(&data).await.answer(sql).await;
    let server = S3Server::start().await;
    let lake = server.bucket("lake");
    // The same rows in more files: each costs several requests.
    copy_tree(&data.join("lineitem"), &lake.join("whole"));
    let part = lake.join("lineitem");
    std::fs::create_dir_all(&part).unwrap();
    let context = SessionContext::new();
    let whole = lake.join("whole").display().to_string();
    context.register_parquet("whole", whole, ParquetReadOptions::default()).await.unwrap();
    for number in 0..FILES {
        let file = part.join(format!("part-{number}.parquet"));
        let rows = format!("SELECT * FROM whole WHERE l_orderkey % {FILES} = {number}");
        let copy = format!("COPY ({rows}) TO '{}' STORED AS PARQUET", file.display());
        context.sql(&copy).await.unwrap().collect().await.unwrap();
    }
    let mut first = None;
    for executors in EXECUTORS {
        server.fail(Faults::default());
        let setup = server.configure(Setup::cluster(executors).slots(2)).allow("s3://lake");
        let cluster = setup.set("storage.list_ttl", "1h").start().await;
        let session = cluster.session().await;
        session.ok("CREATE EXTERNAL TABLE lineitem STORED AS PARQUET LOCATION 's3://lake/lineitem/'").await;
        session.set_route("staged").await;
        session.ok(sql).await;
        server.fail(Faults { delay: Duration::from_millis(50), ..Faults::default() });
        let mut times = vec![];
        for _ in 0..RUNS {
            let began = Instant::now();
            assert_same(sql, &session.ok(sql).await, &expected, Order::Total);
            times.push(began.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let median = times[RUNS / 2];
        let alone = *first.get_or_insert(median);
        println!(
            "{executors} executors of 2 slots: {median:.2} s, {:.2} times as fast as one",
            alone / median
        );
    }
}
