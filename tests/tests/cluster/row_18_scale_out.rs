//! How a query over a slow store gains from executors: their waits are at the same time. What that comes to in seconds is
//! printed and depends on the machine; run it with a release binary (`POLARWAY_BIN`), alone, with `--no-capture`.

use std::fs::File;
use std::time::{Duration, Instant};

use arrow::compute::concat_batches;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use polarway_tests::s3::{Faults, S3Server, copy_tree};
use polarway_tests::{Oracle, Order, Setup, assert_same, tpch};

const EXECUTORS: [usize; 3] = [1, 2, 4];
const RUNS: usize = 3;
const FILES: usize = 64;
const SLOW: Faults = Faults { delay: Duration::from_millis(50), slow_down: 0.0, cut: 0.0, denied: false };
const SQL: &str =
    "SELECT l_returnflag, count(*), sum(l_quantity) FROM lineitem GROUP BY l_returnflag ORDER BY 1";

/// The median time in seconds, and the most requests that the store had at one time.
struct Measured {
    seconds: f64,
    at_once: usize,
}

/// The rows of `lineitem` in a bucket, in more files: each costs several requests.
async fn files(server: &S3Server, data: &std::path::Path) {
    let lake = server.bucket("lake");
    copy_tree(&data.join("lineitem"), &lake.join("whole"));
    let parts = lake.join("lineitem");
    std::fs::create_dir_all(&parts).unwrap();
    let context = SessionContext::new();
    let whole = lake.join("whole").display().to_string();
    let rows = context.read_parquet(whole, ParquetReadOptions::default()).await.unwrap();
    let rows = rows.collect().await.unwrap();
    let rows = concat_batches(&rows[0].schema(), &rows).unwrap();
    let each = rows.num_rows().div_ceil(FILES);
    for (number, from) in (0..rows.num_rows()).step_by(each).enumerate() {
        let part = rows.slice(from, each.min(rows.num_rows() - from));
        let file = File::create(parts.join(format!("part-{number}.parquet"))).unwrap();
        let mut writer = ArrowWriter::try_new(file, part.schema(), None).unwrap();
        writer.write(&part).unwrap();
        writer.close().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_18_more_executors_wait_for_a_slow_store_together() {
    let data = tpch::data("0.1");
    let expected = Oracle::tpch(&data).await.answer(SQL).await;
    let server = S3Server::start().await;
    files(&server, &data).await;
    let mut all = vec![];
    for executors in EXECUTORS {
        let setup = server.configure(Setup::cluster(executors).slots(2)).allow("s3://lake");
        let cluster = setup.set("storage.list_ttl", "1h").start().await;
        let session = cluster.session().await;
        session.ok("CREATE EXTERNAL TABLE lineitem STORED AS PARQUET LOCATION 's3://lake/lineitem/'").await;
        session.set_route("staged").await;
        session.ok(SQL).await;
        server.fail(SLOW);
        server.take_most_delayed();
        let mut times = vec![];
        for _ in 0..RUNS {
            let began = Instant::now();
            assert_same(SQL, &session.ok(SQL).await, &expected, Order::Total);
            times.push(began.elapsed().as_secs_f64());
        }
        server.fail(Faults::default());
        times.sort_by(f64::total_cmp);
        all.push(Measured { seconds: times[RUNS / 2], at_once: server.take_most_delayed() });
        let [first, .., last] = &all[..] else { continue };
        println!(
            "{executors} executors of 2 slots: {:.2} s, {:.2} times as fast as one; at most {} requests at once",
            last.seconds,
            first.seconds / last.seconds,
            last.at_once
        );
    }
    let [one, two, four] = &all[..] else { panic!("{} clusters", all.len()) };
    println!("one executor of 2 slots: {:.2} s; at most {} requests at once", one.seconds, one.at_once);
    assert!(two.at_once * 10 >= one.at_once * 17, "{} and {}", one.at_once, two.at_once);
    assert!(four.at_once >= one.at_once * 3, "{} and {}", one.at_once, four.at_once);
}
