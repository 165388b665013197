//! Everything at once: clients that go on asking while processes die, stand still and are cut off. `make chaos MINUTES=…`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "chaos/events.rs"]
mod events;
#[path = "chaos/ledger.rs"]
mod ledger;
#[path = "chaos/load.rs"]
mod load;
#[path = "chaos/report.rs"]
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use polarway_tests::etcd::Etcd;
use polarway_tests::s3::{Faults, S3Server};
use polarway_tests::{Cluster, Oracle, Session, Setup, assert_same, http, tpch, until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::events::{Event, Events};
use crate::ledger::Ledger;
use crate::load::Load;
use crate::report::Report;

const CEILING: Duration = Duration::from_secs(180);
const EXECUTORS: usize = 3;
const CLIENTS: usize = 6;
/// Queries of this age have ended, and their directories in the store's bucket with them.
const OVER: Duration = Duration::from_secs(120);
/// Pauses between two events.
const PAUSES: std::ops::Range<f64> = 4.0..16.0;

/// What everything runs on.
pub struct World {
    pub etcd: Etcd,
    pub store: S3Server,
    pub cluster: Cluster,
}

impl World {
    async fn start() -> Self {
        let (etcd, store) = (Etcd::start().await, S3Server::start().await);
        store.bucket("shuffle");
        let setup = store
            .configure(Setup::cluster(EXECUTORS).slots(1).schedulers(2))
            .allow(tpch::data("0.1"))
            .set("metastore.etcd", etcd.url())
            .set("metastore.lease_ttl", "2s")
            .set("shuffle.url", "s3://shuffle/chaos")
            .set("shuffle.upload_after", "100ms")
            .set("shuffle.orphan_after", "30s")
            .set("log.format", "json")
            .set("log.level", ledger::LEVEL);
        let cluster = setup.start().await;
        tpch::create_tables(&cluster.session().await, &tpch::data("0.1")).await;
        Self { etcd, store, cluster }
    }

    /// How many keys of jobs and of stored output there are.
    async fn keys(&self) -> u64 {
        self.etcd.count("polarway/job/").await + self.etcd.count("polarway/shuffle/").await
    }

    /// Whatever was done must have been undone, and nothing be left of it.
    async fn settle(&self, oracle: &Oracle) {
        self.store.fail(Faults::default());
        self.cluster.until_executors(EXECUTORS).await;
        for scheduler in [&self.cluster.front].into_iter().chain(&self.cluster.others) {
            let address = scheduler.http();
            until("no query runs", CEILING, || async move {
                (http::metric(address, "polarway_queries_running").await == 0.0).then_some(())
            })
            .await;
        }
        until("all slots are free", CEILING, || async {
            let used = self.cluster.sum_of_executors("polarway_executor_slots_used").await;
            (used == 0.0).then_some(())
        })
        .await;
        self.cluster.until_no_shuffle().await;
        until("no keys of queries are left", CEILING, || async { (self.keys().await == 0).then_some(()) })
            .await;
        until("no objects are left", CEILING, || async {
            self.store.objects("shuffle").is_empty().then_some(())
        })
        .await;
        for front in self.cluster.fronts() {
            let session = Session::connect(front).await;
            session.set_route("staged").await;
            let sql = tpch::query(9);
            assert_same("at the end", &session.ok(&sql).await, &*oracle.answer(&sql).await, tpch::order(9));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make chaos`"]
async fn row_20_whatever_dies_answers_are_right_and_nothing_is_left() {
    let minutes =
        std::env::var("POLARWAY_CHAOS_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let seed = polarway_tests::chaos::seed();
    let mut chance = StdRng::seed_from_u64(seed);
    let mut world = World::start().await;
    let oracle = Arc::new(Oracle::tpch(&tpch::data("0.1")).await);
    let load = Load::start(&world.cluster.fronts(), &oracle, CLIENTS, seed).await;

    let began = Instant::now();
    let mut events = Events::default();
    while began.elapsed() < Duration::from_secs_f64(minutes * 60.0) {
        tokio::time::sleep(Duration::from_secs_f64(chance.random_range(PAUSES))).await;
        let event = Event::any(&mut chance);
        println!("{:>6.1} s  {event:?}", began.elapsed().as_secs_f64());
        events.happen(&mut world, event, &mut chance).await;
        world.store.forget_empty_directories("shuffle", OVER);
    }
    let outcome = load.stop().await;
    println!("{outcome:#?}");
    world.settle(&oracle).await;
    let took = began.elapsed();
    let ledger = Ledger::read(world.cluster.dir());
    let report = Report { seed, minutes, took, events: events.counts, outcome, ledger };
    let text = report.to_string();
    println!("{text}");
    if let Ok(path) = std::env::var("POLARWAY_CHAOS_REPORT") {
        std::fs::write(path, &text).unwrap();
    }
    assert!(report.outcome.wrong.is_empty(), "{:#?}", report.outcome.wrong);
    assert!(report.outcome.right_share() >= 0.999, "{text}");
    assert!(report.ledger.stored > 0, "{text}");
    assert!(report.ledger.again.is_empty(), "{:#?}", report.ledger.again);
}
